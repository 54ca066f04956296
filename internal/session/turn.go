package session

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// turn is a prompt of ours and what becomes of it.
type turn struct {
	id       string
	s        *session
	prompt   acp.Prompt
	ctx      context.Context // ends when the turn is cancelled before the agent has it
	cancel   context.CancelFunc
	first    uint64        // its events have this number or a higher one
	waits    bool          // the agent could not have it at once, and an event says so
	recorded chan struct{} // closed when that event is in the journal, or need not be
	taken    chan struct{} // closed when the prompt is on its way to the agent
	done     chan struct{} // closed when result and err are set

	result api.SessionTurn
	err    error

	// Guarded by session.mu.
	started     bool   // an event says that it no longer waits
	call        string // id of the request
	sent        bool
	again       bool       // goes to a second agent, as the first has not read it
	start, last uint64     // events of the request and of its answer
	used        *acp.Usage // as the answer tells
	text        strings.Builder
	after       acp.MessageBorder
	cut         bool
	cancelled   bool
}

// Turn is a prompt that was accepted.
type Turn struct{ t *turn }

// Started says where the turn begins.
func (t Turn) Started() api.SessionTurnStarted {
	return api.SessionTurnStarted{Turn: t.t.id, FirstEvent: t.t.first}
}

// Keep returns once the prompt is on disk, so that it is not lost with the server.
func (t Turn) Keep(ctx context.Context) error {
	if t.t.waits {
		return nil // Prompt has seen to it
	}
	select {
	case <-t.t.taken:
	case <-t.t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	t.t.s.mu.Lock()
	seq := t.t.start
	t.t.s.mu.Unlock()
	t.t.persist(ctx, seq)
	return nil
}

// Done is closed when the turn has ended.
func (t Turn) Done() <-chan struct{} { return t.t.done }

// Behind reports whether an event comes after the end of the turn.
func (t Turn) Behind(event uint64) bool {
	select {
	case <-t.t.done:
		return event > t.t.result.LastEvent
	default:
		return false
	}
}

// Wait returns how the turn ended; all of its events are on disk then, unless it
// says that they are unsaved. A context that ends leaves the turn alone.
func (t Turn) Wait(ctx context.Context) (*api.SessionTurn, error) {
	select {
	case <-t.t.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t.t.err != nil {
		return nil, t.t.err
	}
	result := t.t.result
	return &result, nil
}

// Prompt starts a turn. While another one is under way it fails with
// session_busy, unless the request wants to be queued. A prompt that has to wait
// is on disk when Prompt returns.
func (m *Manager) Prompt(ctx context.Context, id string, req api.SessionPromptRequest) (Turn, error) {
	s, err := m.find(id)
	if err != nil {
		return Turn{}, err
	}
	if m.cfg.Roster.Paused() {
		return Turn{}, api.Paused()
	}
	if i := slices.IndexFunc(req.Prompt, func(b acp.ContentBlock) bool { return b.Type == "" }); i >= 0 {
		return Turn{}, api.InvalidRequest(api.CodeInvalidPrompt, "block %d of the prompt has no type; use text, image, audio, resource, or resource_link", i+1)
	}
	if !slices.ContainsFunc(req.Prompt, says) {
		return Turn{}, api.InvalidRequest(api.CodeInvalidPrompt, "prompt must have text or content blocks")
	}
	t := &turn{id: turnPrefix + newID(), s: s, prompt: req.Prompt, recorded: make(chan struct{}), taken: make(chan struct{}), done: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(m.ctx)
	s.mu.Lock()
	err = s.accepts(req.Queue)
	if err == nil {
		t.first, t.waits = s.rec.Last+1, s.busy() || s.link == nil
		s.queue = append(s.queue, t)
		if s.rec.First == "" {
			s.rec.First = clip(strings.TrimSpace(req.Prompt.Text()), 400)
		}
		if !s.working {
			if s.working = m.spawn(s.work); !s.working {
				s.queue = nil
				err = shuttingDown()
			}
		}
	}
	s.mu.Unlock()
	if err != nil {
		t.cancel()
		return Turn{}, err
	}
	t.tell(ctx)
	return Turn{t}, nil
}

// says reports whether there is anything in a block for the agent.
func says(b acp.ContentBlock) bool {
	return b.Type != acp.ContentText || strings.TrimSpace(b.Text) != ""
}

// tell records a prompt that has to wait, so that it is not lost with the server.
func (t *turn) tell(ctx context.Context) {
	defer close(t.recorded)
	if t.waits {
		t.persist(ctx, t.queued())
	}
}

func (t *turn) queued() (event uint64) {
	return t.s.notify(api.EventPromptQueued, api.SessionPromptQueued{Turn: t.id, Prompt: t.prompt})
}

// persist waits until an event of the turn is on disk, and reports whether it is.
// Nobody is held back while the disk fails.
func (t *turn) persist(ctx context.Context, event uint64) bool {
	err := t.s.m.cfg.Journal.Wait(ctx, stream(t.s.id), event)
	if err != nil {
		t.s.m.log.Warn("turn is not on disk", "session", t.s.id, "turn", t.id, "error", err)
	}
	return err == nil
}

// accepts returns the reason why a prompt cannot be taken. The caller holds mu.
func (s *session) accepts(queue bool) error {
	switch {
	case s.rec.DestroyedAt != 0:
		return destroyed(s.id)
	case s.busy() && !queue:
		e := api.Conflict(api.CodeSessionBusy, "session %s works on another prompt; cancel it, wait, or ask to be queued", s.id)
		e.SessionID = s.id
		return e
	case len(s.queue) >= s.m.cfg.Limits.MaxQueued:
		e := api.Conflict(api.CodeSessionBusy, "maxQueuedPrompts (%d) prompts wait for session %s", s.m.cfg.Limits.MaxQueued, s.id)
		e.SessionID = s.id
		return e.With("limit", "maxQueuedPrompts")
	}
	return nil
}

func destroyed(id string) error {
	e := api.Conflict(api.CodeSessionDestroyed, "session %s was destroyed", id)
	e.SessionID = id
	return e
}

// work is the goroutine that does the turns of a session, one after the other.
func (s *session) work() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.working = false
			s.mu.Unlock()
			return
		}
		t := s.queue[0]
		s.queue = slices.Clone(s.queue[1:])
		s.turn = t
		s.mu.Unlock()
		t.run()
	}
}

// errCancelled ends a turn that was cancelled before the agent had it.
var errCancelled = errors.New("cancelled")

// exitTimeout bounds the wait for the bridge to tell of an agent's end.
const exitTimeout = 10 * time.Second

// run does the turn and tells how it ended.
func (t *turn) run() {
	s := t.s
	<-t.recorded
	reply, err := t.attempt()
	if agentGone(err) {
		// Waiters are told before observers; the session is not free until both are.
		ctx, stop := context.WithTimeout(s.m.ctx, exitTimeout)
		_ = s.awaitQuiet(ctx)
		stop()
	}
	s.mu.Lock()
	t.result = api.SessionTurn{Turn: t.id, FirstEvent: t.start, LastEvent: t.last, Text: t.text.String(), TextTruncated: t.cut}
	s.mu.Unlock()
	if err == nil {
		err = t.read(reply)
	}
	s.mu.Lock()
	cancelled := t.cancelled
	s.mu.Unlock()
	said := t.result.StopReason
	if cancelled { // some agents say something else, or nothing
		t.result.StopReason, err = acp.StopCancelled, nil
	}
	if t.result.LastEvent == 0 || cancelled && said != acp.StopCancelled {
		t.endEvent(api.EventTurnEnded, err)
	}
	if s.m.ctx.Err() == nil {
		t.result.Unsaved = !t.persist(s.m.ctx, t.result.LastEvent)
	}
	t.err = err
	s.mu.Lock()
	s.turn = nil
	s.used = time.Now()
	if s.rec.Reason = ""; err != nil {
		s.rec.Reason = err.Error()
	}
	s.mu.Unlock()
	t.cancel()
	s.changed()
	close(t.done)
}

// endEvent is the event of a turn's end that has no answer of the agent, or one that
// says something else. It comes after one that has the prompt, though the agent may never have had it.
func (t *turn) endEvent(method string, err error) {
	t.s.mu.Lock()
	untold := !t.waits && !t.sent
	t.s.mu.Unlock()
	if untold {
		t.queued()
	}
	params := api.SessionTurnEnded{Turn: t.id, StopReason: t.result.StopReason}
	if err != nil {
		params.Error = err.Error()
	}
	t.result.LastEvent = t.s.notify(method, params)
	if t.result.FirstEvent == 0 {
		t.result.FirstEvent = t.result.LastEvent
	}
}

// read takes the answer to the prompt.
func (t *turn) read(reply []byte) error {
	var frame struct {
		Result acp.PromptResult `json:"result"`
		Error  *acp.RPCError    `json:"error"`
	}
	if err := json.Unmarshal(reply, &frame); err != nil {
		return agentError(t.s.rec.Agent, acp.MethodSessionPrompt, acp.Errorf(acp.CodeInternalError, "the answer cannot be read: %v", err))
	}
	if frame.Error != nil {
		return agentError(t.s.rec.Agent, acp.MethodSessionPrompt, frame.Error)
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.result.StopReason, t.result.Usage = frame.Result.StopReason, t.used
	return nil
}

// agentError is the problem of a request that the agent refused.
func agentError(agent, method string, rpc *acp.RPCError) error {
	e := api.StreamError(api.CodeAgentError, "%s: %w", method, rpc)
	e.Agent = agent
	e.With("rpcCode", rpc.Code).With("rpcMessage", rpc.Message)
	if len(rpc.Data) > 0 {
		e.With("rpcData", rpc.Data)
	}
	return e
}

// attempt hands the prompt to the agent, which is restored first if need be, and
// returns its answer. A prompt that a dying agent never read is tried again.
func (t *turn) attempt() ([]byte, error) {
	s := t.s
	for tries := 1; ; tries++ {
		if err := s.awaitQuiet(t.ctx); err != nil {
			return nil, t.stopCause(err)
		}
		l, err := s.open(t.ctx)
		if err != nil {
			return nil, t.stopCause(err)
		}
		s.unlock()
		frame, err := t.frame()
		if err != nil {
			return nil, err
		}
		reply, err := s.m.bridge.Post(s.m.ctx, l.id, "", false, frame)
		if err == nil {
			return reply, nil
		}
		s.mu.Lock()
		lost := t.sent && (t.again || !errors.Is(err, bridge.ErrUnread))
		t.again = t.sent
		s.mu.Unlock()
		if lost || tries > 2 || !agentGone(err) {
			return nil, t.stopCause(err)
		}
		if err := s.detach(t.ctx, l); err != nil {
			return nil, t.stopCause(err)
		}
	}
}

// stopCause names why a turn ends with an error that came of a context.
func (t *turn) stopCause(err error) error {
	switch {
	case t.s.m.ctx.Err() != nil:
		return shuttingDown()
	case errors.Is(err, context.Canceled):
		return errCancelled
	}
	return err
}

// agentGone reports whether a post failed because the agent's process had ended.
func agentGone(err error) bool {
	return errors.Is(err, api.CodeAgentProcessExited) || errors.Is(err, api.CodeConnectionClosed) || errors.Is(err, api.CodeAgentRequired)
}

// frame encodes the prompt, after what the agent must be told first.
func (t *turn) frame() ([]byte, error) {
	s := t.s
	s.mu.Lock()
	primer, sid, again := s.rec.Primer, s.rec.AgentSessionID, t.again
	s.mu.Unlock()
	blocks := t.prompt
	if primer {
		primer, err := s.primer(t.ctx, t.start)
		if err != nil {
			return nil, err
		}
		if primer != "" {
			block := acp.TextBlock(primer)
			block.Meta = json.RawMessage(`{"` + api.MetaPrimer + `":true}`)
			blocks = append(acp.Prompt{block}, blocks...)
		}
	}
	id := json.RawMessage(t.call)
	if !again {
		id = s.m.promptID(t.id)
	}
	s.mu.Lock()
	t.call = string(id)
	cancelled, starts := t.cancelled, t.waits && !t.started
	t.started = t.started || starts && !cancelled
	s.mu.Unlock()
	if cancelled {
		return nil, errCancelled
	}
	switch {
	case again:
		s.notify(api.EventPromptResent, api.SessionPromptResent{Turn: t.id, Request: id})
	case starts:
		s.notify(api.EventTurnStarted, map[string]string{"turn": t.id})
	}
	return acp.RequestFrame(id, acp.MethodSessionPrompt, acp.PromptRequest{SessionID: sid, Prompt: blocks})
}

// say adds a chunk to the text of the turn. The caller holds the session's mu.
func (t *turn) say(text, messageID string, limit int) {
	if text == "" {
		return
	}
	if t.after.Begins(acp.UpdateAgentMessage, messageID) && t.text.Len() > 0 {
		text = acp.MessageSeparator + text
	}
	if room := limit - t.text.Len(); len(text) > room {
		text, t.cut = clip(text, max(room, 0)), true
	}
	t.text.WriteString(text)
}

// resent returns the event of a prompt that goes to a second agent, 0 for other
// requests.
func (s *session) resent(key string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.turn; t != nil && t.again && t.call == key {
		return t.start
	}
	return 0
}

// prompted notes that a prompt is on its way to the agent.
func (s *session) prompted(key string, frame []byte, seq uint64) {
	s.mu.Lock()
	s.running++
	clear(s.calls)
	t := s.turn
	ours := t != nil && t.call == key
	cancelled := ours && t.cancelled
	if ours && !t.sent {
		t.sent, t.start = true, seq
		close(t.taken)
	}
	s.rec.begins(frame)
	s.rec.applied(seq)
	l, sid := s.link, s.rec.AgentSessionID
	s.mu.Unlock()
	if cancelled && l != nil {
		s.m.sendCancel(l, sid) // the one sent before came before the prompt
	}
	s.changed()
}

// begins takes a prompt into the record, if it is the first one.
func (r *record) begins(frame []byte) {
	var p acp.PromptRequest
	if r.First == "" && decodeMember(frame, "params", &p) {
		r.First = clip(strings.TrimSpace(p.Prompt.Text()), 400)
	}
}

// count adds what an answer, which is an event, tells of usage. It returns the
// usage of the turn; sums says that the agent tells that of the whole session
// since its process has it open.
func (r *record) count(u *acp.Usage, answer uint64, sums bool) *acp.Usage {
	if u == nil || answer <= r.Counted {
		return u
	}
	r.Counted = answer
	if sums {
		turn := less(*u, r.Summed)
		r.Summed, u = *u, &turn
	}
	r.Usage.InputTokens += u.InputTokens
	r.Usage.OutputTokens += u.OutputTokens
	r.Usage.TotalTokens += u.TotalTokens
	r.Usage.ThoughtTokens += u.ThoughtTokens
	r.Usage.CachedReadTokens += u.CachedReadTokens
	r.Usage.CachedWriteTokens += u.CachedWriteTokens
	return u
}

// less returns what a sum of usage has grown by.
func less(sum, before acp.Usage) acp.Usage {
	sum.InputTokens -= before.InputTokens
	sum.OutputTokens -= before.OutputTokens
	sum.TotalTokens -= before.TotalTokens
	sum.ThoughtTokens -= before.ThoughtTokens
	sum.CachedReadTokens -= before.CachedReadTokens
	sum.CachedWriteTokens -= before.CachedWriteTokens
	return sum
}

// promptAnswered takes the answer to a prompt.
func (s *session) promptAnswered(key string, e bridge.Event, seq uint64) {
	var result acp.PromptResult
	if !e.Msg.IsError {
		decodeMember(e.Frame, "result", &result)
	}
	s.mu.Lock()
	if s.running > 0 {
		s.running--
	}
	used := s.rec.count(result.Usage, seq, s.m.cfg.Agents.SumsUsage(s.rec.Agent))
	s.rec.applied(seq)
	if t := s.turn; t != nil && t.call == key {
		t.last, t.used = seq, used
		s.rec.Primer = false
	}
	s.wakeQuiet()
	var void []*permissionRequest
	if s.running == 0 {
		void = s.takePending()
	}
	s.mu.Unlock()
	for _, p := range void {
		s.void(p)
	}
	s.changed()
}
