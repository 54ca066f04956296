package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
)

// How a cancelled turn ends.
const (
	// cancelWait is how long the result of a cancelled turn is waited for.
	cancelWait = 5 * time.Second

	// cancelAgain is when the agent is told again: its first notice may have
	// been faster than the prompt.
	cancelAgain = 500 * time.Millisecond

	// cancelSend bounds the sending of a notice.
	cancelSend = 5 * time.Second
)

// Prompt gives the agent a task and returns the turn when it has ended. There is
// no limit of time but ctx: when that ends the agent is told to stop, is given a
// moment to do so, and the turn so far is returned with the error of ctx.
//
// A turn that the agent ended is no error whatever its StopReason. With any
// error but a failure to start, the turn so far is returned too. A session does
// one turn at a time; a second one is [ErrSessionBusy].
func (s *Session) Prompt(ctx context.Context, prompt ...ContentBlock) (*Turn, error) {
	var updates []Update
	for u, err := range s.stream(ctx, prompt, false) {
		if u.Turn != nil {
			u.Turn.Updates = updates
			return u.Turn, err
		}
		if err != nil {
			return nil, err
		}
		updates = append(updates, u)
	}
	panic("unreachable: a stream ends with a turn or an error")
}

// Stream is [Session.Prompt] that yields the updates of the turn as they come,
// in the order in which the agent sent them. The turn starts with the loop. Its
// last update is of kind [UpdateTurnEnd], together with the error if the turn
// did not end properly; only a turn that could not start yields an error alone.
//
// A session without OnPermission yields the questions of the agent as updates of
// kind [UpdatePermission], to be answered with [PermissionRequest.Reply] before
// the loop goes on; else the answer is [NoReply]. With OnPermission they are
// yielded after they were answered. Leaving the loop cancels the turn.
func (s *Session) Stream(ctx context.Context, prompt ...ContentBlock) iter.Seq2[Update, error] {
	return s.stream(ctx, prompt, true)
}

func (s *Session) stream(ctx context.Context, prompt []ContentBlock, ask bool) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		conn, t, err := s.begin(ctx, prompt)
		if err != nil {
			yield(Update{}, fmt.Errorf("prompt: %w", err))
			return
		}
		defer t.cancel()
		stop := context.AfterFunc(ctx, func() { s.cancelTurn(context.WithoutCancel(ctx), conn, t) })
		defer stop()
		turn := new(Turn)
		failed, left := s.pump(ctx, t, turn, yield, ask)
		if left {
			if stop() {
				conn.background(func() { s.cancelTurn(context.WithoutCancel(ctx), conn, t) })
			}
			t.discard()
			return
		}
		if err := t.end(turn); err != nil {
			failed = errors.Join(fmt.Errorf("prompt: %w", err), failed)
		}
		if ctx.Err() != nil && (failed != nil || turn.StopReason != acp.StopEndTurn) {
			failed = errors.Join(ctx.Err(), failed)
		}
		yield(Update{Update: acp.Update{Kind: UpdateTurnEnd}, Turn: turn}, failed)
	}
}

// pump adds updates to turn and passes them on until the turn has ended, or is
// given up after its context. It returns what went wrong with the agent's
// questions, and whether the consumer has left.
func (s *Session) pump(ctx context.Context, t *turn, turn *Turn, yield func(Update, error) bool, ask bool) (failed error, left bool) {
	var giveUp <-chan time.Time
	cancelled := ctx.Done()
	for {
		updates, last := t.take()
		for i, u := range updates {
			turn.add(u)
			if u.Permission != nil && (s.opts.OnPermission != nil || !ask) {
				failed = errors.Join(failed, s.decide(t, u.Permission))
			}
			on := yield(u, nil)
			if u.Permission != nil {
				u.Permission.cancel()
			}
			if !on {
				for _, rest := range updates[i+1:] {
					if rest.Permission != nil {
						rest.Permission.cancel()
					}
				}
				return failed, true
			}
		}
		if last {
			return failed, false
		}
		select {
		case <-t.ready:
		case <-cancelled:
			cancelled = nil
			giveUp = time.After(cancelWait)
		case <-giveUp:
			t.discard()
			return failed, false
		}
	}
}

// decide answers a question by the session's handler.
func (s *Session) decide(t *turn, request *PermissionRequest) error {
	if s.opts.OnPermission == nil {
		request.cancel()
		return nil
	}
	if err := request.decide(t.ctx, s.opts.OnPermission); err != nil {
		return fmt.Errorf("permission: %w", err)
	}
	return nil
}

// end takes the result into turn. A turn that has none was given up.
func (t *turn) end(turn *Turn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over {
		return errors.New("the agent did not stop in time")
	}
	turn.StopReason, turn.Usage = t.result.StopReason, t.result.Usage
	return t.err
}

// begin sends a prompt.
func (s *Session) begin(ctx context.Context, prompt []ContentBlock) (*connection, *turn, error) {
	if len(prompt) == 0 {
		return nil, nil, errors.New("nothing to say")
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	t := newTurn()
	if err := s.claim(ctx, t); err != nil {
		t.cancel()
		return nil, nil, err
	}
	conn, err := s.live(ctx)
	if err == nil {
		err = s.prompt(ctx, conn, t, prompt)
	}
	if err != nil {
		s.release(t)
		t.finish(nil, err)
		return nil, nil, err
	}
	return conn, t, nil
}

// prompt sends what a turn starts with.
func (s *Session) prompt(ctx context.Context, conn *connection, t *turn, prompt []ContentBlock) error {
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if t.ctx.Err() != nil { // cancelled before the agent heard of it
		s.release(t)
		t.finish(json.RawMessage(`{"stopReason":"`+acp.StopCancelled+`"}`), nil)
		return nil
	}
	s.mu.Lock()
	blocks := acp.Prompt(prompt)
	if s.replay != "" {
		blocks = append(acp.Prompt{Text(replayText(s.replay))}, blocks...)
	}
	request := acp.PromptRequest{SessionID: s.id, Prompt: blocks}
	s.mu.Unlock()
	p, err := conn.start(acp.MethodSessionPrompt, request, &pendingCall{turn: true, arrived: func(raw json.RawMessage, err error) {
		s.release(t)
		t.finish(raw, err)
	}})
	if err != nil {
		return err
	}
	s.mu.Lock()
	t.call, s.replay = p, ""
	s.script.add("User", acp.Prompt(prompt).Text())
	s.mu.Unlock()
	return nil
}

// claim makes t the turn of the session. One that was cancelled is waited for.
func (s *Session) claim(ctx context.Context, t *turn) error {
	for {
		s.mu.Lock()
		old, closed := s.turn, s.closed
		if old == nil && !closed {
			s.turn = t
		}
		s.mu.Unlock()
		switch {
		case closed:
			return fmt.Errorf("session %s: %w", s.ID(), ErrClosed)
		case old == nil:
			return nil
		case old.ctx.Err() == nil:
			return fmt.Errorf("session %s: %w", s.ID(), ErrSessionBusy)
		}
		select {
		case <-old.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Session) release(t *turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn == t {
		s.turn = nil
	}
}

// Cancel tells the agent to stop the turn under way, which then ends with
// [acp.StopCancelled]. Without one it does nothing.
func (s *Session) Cancel(ctx context.Context) error {
	s.mu.Lock()
	conn, t := s.conn, s.turn
	s.mu.Unlock()
	if conn == nil || t == nil {
		return nil
	}
	t.cancel()
	if err := s.notifyCancel(ctx, conn, t); err != nil {
		return fmt.Errorf("cancel turn: %w", err)
	}
	conn.background(func() { s.insist(conn, t) })
	return nil
}

// cancelTurn tells the agent to stop, and tells it again if it goes on.
func (s *Session) cancelTurn(ctx context.Context, conn *connection, t *turn) {
	t.cancel()
	if err := s.notifyCancel(ctx, conn, t); err != nil && conn.ctx.Err() == nil {
		s.c.log.Warn("cancel turn", "session", s.ID(), "error", err)
	}
	s.insist(conn, t)
}

// insist tells the agent once more to stop when it does not: the first notice
// may have been faster on its way than the prompt.
func (s *Session) insist(conn *connection, t *turn) {
	select {
	case <-t.ended:
		return
	case <-conn.ctx.Done():
		return
	case <-time.After(cancelAgain):
	}
	if err := s.notifyCancel(conn.ctx, conn, t); err != nil && conn.ctx.Err() == nil {
		s.c.log.Warn("cancel turn again", "session", s.ID(), "error", err)
	}
}

// notifyCancel tells the agent to stop t, unless that is over. No prompt is sent
// meanwhile, so that the notice cannot hit a later turn.
func (s *Session) notifyCancel(ctx context.Context, conn *connection, t *turn) error {
	ctx, cancel := context.WithTimeout(ctx, cancelSend)
	defer cancel()
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	case <-t.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	call := t.call
	s.mu.Unlock()
	if call == nil {
		return nil // it will not be sent, as the turn's context has ended
	}
	select {
	case <-t.ended:
		return nil
	default:
	}
	select {
	case <-call.sent:
	case <-ctx.Done():
		return ctx.Err()
	}
	return conn.notify(ctx, acp.MethodSessionCancel, acp.SessionRequest{SessionID: s.ID()})
}

// receive takes an update of the agent. It runs in the reader of the connection.
func (s *Session) receive(conn *connection, u Update) {
	s.mu.Lock()
	t := s.turn
	switch u.Kind {
	case acp.UpdateAgentMessage:
		s.script.add("Agent", u.Content.Text)
	case acp.UpdateUserMessage:
		if t == nil {
			s.script.add("User", u.Content.Text)
		}
	case acp.UpdateConfigOption:
		s.options = u.ConfigOptions
		s.modeFromOptions()
	case acp.UpdateCurrentMode:
		s.modeChanged(u.ModeID)
	case acp.UpdateSessionInfo:
		if u.Info.Title != "" {
			s.title = u.Info.Title
		}
	}
	s.mu.Unlock()
	switch {
	case t != nil:
		t.push(conn.ctx, u, conn.held.Store)
	case u.Permission != nil && s.opts.OnPermission != nil:
		conn.background(func() {
			if err := u.Permission.decide(conn.ctx, s.opts.OnPermission); err != nil && conn.ctx.Err() == nil {
				s.c.log.Warn("permission", "session", s.ID(), "error", err)
			}
		})
	case u.Permission != nil:
		conn.background(u.Permission.cancel)
	}
}
