package sandboxagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Prompt gives the agent a task and returns how the turn ended, whatever its
// StopReason; all of its events are on disk then, unless it says that they are
// unsaved. An agent without a process is started first.
//
// The only limit of time is ctx, whose end leaves the turn to the server:
// [Session.Cancel] ends it. A connection that breaks does no harm either, except
// that the id of the turn is not known then.
//
// A session does one turn at a time, for all clients; a second prompt is
// [ErrSessionBusy] unless Queue is set. An error of the handler of
// [Session.OnPermission] comes together with the turn.
func (s *Session) Prompt(ctx context.Context, prompt ...ContentBlock) (*Turn, error) {
	for u, err := range s.Stream(ctx, prompt...) {
		if err != nil || u.Turn != nil {
			return u.Turn, err
		}
	}
	return nil, s.failed("prompt", ctx.Err())
}

// PromptAsync gives the agent a task and returns where its turn begins: the
// events of the turn follow in [Session.Events].
func (s *Session) PromptAsync(ctx context.Context, prompt ...ContentBlock) (*api.SessionTurnStarted, error) {
	resp, err := s.sendPrompt(ctx, prompt, http.Header{"Prefer": {"respond-async"}}, "")
	if err != nil {
		return nil, s.failed("prompt", err)
	}
	started, err := decode[api.SessionTurnStarted](resp)
	return started, s.failed("prompt", err)
}

// Stream is [Session.Prompt] that yields what happens in the session meanwhile,
// in order and each once. Its last update is of kind [UpdateTurnEnd], unless the
// turn ended with an error, which is yielded alone.
//
// A permission request that neither the policy nor a handler replies to is an
// update of kind [UpdatePermission], for [Session.Reply]; the turn waits for the
// reply of any client. When ctx ends, or the loop is left, the turn goes on.
func (s *Session) Stream(ctx context.Context, prompt ...ContentBlock) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		w := &turnWatch{s: s, said: acp.Prompt(prompt), replies: newReplier(ctx, s)}
		turn, err := w.run(ctx, yield, prompt)
		failed := w.replies.close()
		switch {
		case errors.Is(err, errStopped):
		case err != nil:
			yield(Update{}, s.failed("prompt", errors.Join(err, failed)))
		default:
			yield(Update{Update: acp.Update{Kind: UpdateTurnEnd}, Turn: turn}, s.failed("reply to permission request of", failed))
		}
	}
}

func (s *Session) sendPrompt(ctx context.Context, prompt []ContentBlock, header http.Header, accept string) (*http.Response, error) {
	if len(prompt) == 0 {
		return nil, errors.New("nothing to say")
	}
	body, err := json.Marshal(api.SessionPromptRequest{Prompt: prompt, Queue: s.Queue})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return s.c.send(ctx, request{
		method: http.MethodPost, path: s.route("prompt"), header: header, accept: accept,
		body: bytes.NewReader(body), size: int64(len(body)), media: "application/json",
	})
}

// A turnWatch follows one turn to its end.
type turnWatch struct {
	s       *Session
	said    acp.Prompt
	replies *replier // nil without a handler

	seen  atomic.Uint64 // newest event
	first uint64        // event of the prompt, once it has come
	call  string        // id of the prompt
	text  strings.Builder
	after acp.MessageBorder
	ended *api.SessionTurn // what the events say of the end
	err   error            // with which the agent ended the turn
}

// run does the turn. The end of the response has the end of the turn; where
// the response breaks off, the events of the session have it.
func (w *turnWatch) run(ctx context.Context, yield func(Update, error) bool, prompt []ContentBlock) (*api.SessionTurn, error) {
	info, err := get[api.Session](ctx, w.s.c, w.s.route(), nil)
	if err != nil {
		return nil, err
	}
	w.seen.Store(info.LastEvent) // an answer that breaks off at once does not say
	if w.replies != nil && info.PendingPermissions > 0 {
		if err := w.replies.look(ctx); err != nil {
			return nil, err
		}
	}
	result, err := w.answer(ctx, yield, prompt)
	if !errors.Is(err, errBrokeOff) {
		return result, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.s.c.log.Debug("prompt broke off, follow its events", "session", w.s.ID, "after", w.seen.Load(), "error", err)
	return w.follow(ctx, yield)
}

// errBrokeOff means that the server has the prompt, and that its answer came to
// an end before the turn.
var errBrokeOff = errors.New("answer broke off")

func (w *turnWatch) answer(ctx context.Context, yield func(Update, error) bool, prompt []ContentBlock) (*api.SessionTurn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := w.s.sendPrompt(ctx, prompt, nil, "text/event-stream")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	watch := time.AfterFunc(silence, cancel)
	defer watch.Stop()
	events := newEventReader(&watched{resp.Body, watch}, maxEvent)
	reader := eventDecoder{}
	for {
		raw, err := events.next()
		switch {
		case errors.Is(err, errEventTooLong):
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errBrokeOff, err)
		}
		switch raw.name {
		case "result":
			result := new(api.SessionTurn)
			return result, json.Unmarshal(raw.data, result)
		case "error":
			problem := new(api.Error)
			if err := json.Unmarshal(raw.data, problem); err != nil {
				return nil, fmt.Errorf("decode error: %w", err)
			}
			return nil, problem
		}
		if reader.last == 0 {
			reader.begin(raw)
		}
		e, fresh, err := reader.decode(raw)
		if err != nil {
			return nil, err
		}
		if !fresh {
			continue
		}
		watch.Stop()
		if err := w.show(ctx, e, yield); err != nil {
			return nil, err
		}
		watch.Reset(silence)
	}
}

// begin takes the place of the first event from itself.
func (d *eventDecoder) begin(raw event) {
	var first struct {
		EventIndex uint64 `json:"eventIndex"`
	}
	if raw.name == "message" && json.Unmarshal(raw.data, &first) == nil && first.EventIndex > 0 {
		d.last = first.EventIndex - 1
	}
}

// show notes what an event says of the turn and yields it. A permission request
// is one that waits for a reply, or else an event like any other.
func (w *turnWatch) show(ctx context.Context, e SessionEvent, yield func(Update, error) bool) error {
	w.take(e)
	u, ok := e.Update()
	if !ok {
		u = Update{Update: acp.Update{Kind: UpdateEvent}, Event: e}
	}
	switch method := e.Method(); {
	case e.Gap != nil && w.replies != nil:
		if err := w.replies.look(ctx); err != nil {
			return err
		}
	case method == acp.MethodRequestPermission:
		p, err := w.s.permission(ctx, e.EventIndex)
		if err != nil {
			return err
		}
		if p != nil {
			u.Kind, u.Permission = UpdatePermission, p
			w.replies.ask(*p)
		}
	case method == api.EventPermissionResolved:
		resolved := new(api.PermissionResolved)
		if e.Params(resolved) == nil {
			u.Kind, u.Resolved = UpdateResolved, resolved
			w.replies.resolved(resolved.PermissionID)
		}
	}
	if !yield(u, nil) {
		return errStopped
	}
	return nil
}

// take notes what an event says of the turn.
func (w *turnWatch) take(e SessionEvent) {
	w.seen.Store(e.Cursor())
	m := e.message()
	switch m.Method {
	case acp.MethodSessionPrompt:
		if w.call == "" && e.Sender == "client" && w.ours(e) {
			w.call, w.first = string(m.ID), e.EventIndex
		}
	case acp.MethodSessionUpdate:
		if u, ok := e.Update(); ok && w.call != "" {
			w.say(&u.Update)
		}
	case "":
		if w.call != "" && e.Sender == "agent" && string(m.ID) == w.call {
			w.end(e, m)
		}
	}
}

// say adds what the agent says to the text of the turn.
func (w *turnWatch) say(u *acp.Update) {
	if u.Kind == acp.UpdateAgentMessage && u.Content.Text == "" {
		return
	}
	begins := w.after.Begins(u.Kind, u.MessageID)
	if u.Kind != acp.UpdateAgentMessage {
		return
	}
	if begins && w.text.Len() > 0 {
		w.text.WriteString(acp.MessageSeparator)
	}
	w.text.WriteString(u.Content.Text)
}

// ours reports whether an event is the prompt of this turn. Without a queue
// the first one is. In a queue the text of the prompt decides: a client that
// sent the same one before us gets its turn before us.
func (w *turnWatch) ours(e SessionEvent) bool {
	if !w.s.Queue {
		return true
	}
	said, ok := e.Prompt()
	return ok && slices.EqualFunc(said, w.said, func(a, b ContentBlock) bool {
		return a.Type == b.Type && a.Text == b.Text && a.URI == b.URI && a.Data == b.Data
	})
}

// end takes the answer to the prompt.
func (w *turnWatch) end(e SessionEvent, m message) {
	var result acp.PromptResult
	if m.Error != nil {
		w.err = api.StreamError(api.CodeAgentError, "%s: %w", acp.MethodSessionPrompt, m.Error)
	} else if err := json.Unmarshal(m.Result, &result); err != nil {
		w.err = fmt.Errorf("decode answer: %w", err)
	}
	w.ended = &api.SessionTurn{
		StopReason: result.StopReason, Usage: result.Usage, Text: w.text.String(),
		FirstEvent: w.first, LastEvent: e.EventIndex,
	}
}

// follow watches the turn by the events of the session, and by asking the server
// whether it still has a turn, since one that was killed leaves no answer.
func (w *turnWatch) follow(ctx context.Context, yield func(Update, error) bool) (*api.SessionTurn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.ended != nil {
		return w.ended, w.err
	}
	var over atomic.Uint64 // last event of the session when it had no turn any more, plus one
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if last, ok := w.awaitIdle(ctx); ok {
			over.Store(last + 1)
			if w.seen.Load() >= last {
				cancel()
			}
		}
	}()
	defer func() { cancel(); <-asked }()
	for e, err := range w.s.Events(ctx, w.seen.Load()) {
		if err != nil {
			return nil, err
		}
		if err := w.show(ctx, e, yield); err != nil {
			return nil, err
		}
		if w.ended != nil {
			return w.ended, w.err
		}
		if last := over.Load(); last > 0 && w.seen.Load()+1 >= last {
			return nil, ErrTurnInterrupted
		}
	}
	if over.Load() > 0 {
		return nil, ErrTurnInterrupted
	}
	return nil, ctx.Err()
}

// idleAgain is how often a server is asked whether a turn goes on whose answer
// broke off.
const idleAgain = time.Second

// awaitIdle waits until the session has no turn and returns its last event. It
// reports false when ctx has ended or the session is gone.
func (w *turnWatch) awaitIdle(ctx context.Context) (last uint64, ok bool) {
	for ctx.Err() == nil {
		info, err := w.s.Info(ctx)
		if err == nil && info.Turn == "" && info.Queued == 0 {
			return info.LastEvent, true
		}
		if err != nil && !transient(err) {
			return 0, false
		}
		select {
		case <-ctx.Done():
		case <-time.After(idleAgain):
		}
	}
	return 0, false
}
