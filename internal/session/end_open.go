package session

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// Why what was open is ended: at the next start, or by an import.
const (
	serverEnded = "the server ended"
	moved       = "the session was moved"
)

// endOpen ends what was open in a session when the server did, or when it was
// exported: the agent and its turn, the questions that it asked, and the prompts
// that waited. Nobody works on them any more, and who comes back must not wait for
// them. The record may be older than the end, so the events tell, also of what
// turns have used.
func (s *session) endOpen(ctx context.Context, why string) {
	open, err := s.unsettled(ctx)
	if err != nil {
		s.m.log.Error("what was open in a session cannot be told", "session", s.id, "error", err)
	}
	turn := cmp.Or(open.started, s.rec.Turn)
	for _, event := range open.asks {
		id := s.permissionID(event)
		s.pending[id] = &permissionRequest{Permission: api.Permission{ID: id, Event: event}}
	}
	if open.stopped && len(open.asks) == 0 {
		s.rec.Reason = why // its agent was stopped before
		s.changed()
	} else {
		s.stopped(why)
	}
	if open.turn() {
		s.notify(api.EventTurnEnded, api.SessionTurnEnded{Turn: turn, Error: why})
	}
	for _, turn := range open.waiting {
		s.notify(api.EventPromptDropped, api.SessionTurnEnded{Turn: turn, Error: why})
	}
}

// unsettled reads what is open since the record was sure that nothing was.
func (s *session) unsettled(ctx context.Context) (open unsettled, err error) {
	open.prompts = make(map[string]bool)
	f := fold{s: s}
	defer f.end()
	reader := s.m.cfg.Journal.Reader(s.stream(), min(s.rec.Settled, s.rec.Last))
	for reader.Cursor() < s.rec.Last {
		batch, err := reader.Next(ctx)
		if err != nil {
			return open, err
		}
		for _, e := range batch.Entries {
			open.take(s, e)
			f.take(e)
		}
	}
	return open, nil
}

// unsettled is what some events of a session have begun and not ended.
type unsettled struct {
	prompts map[string]bool // without a reply, by the id of the request; true for those of our turns
	started string          // turn of the newest one, if it had waited
	waiting []string        // turns
	asks    []uint64        // events that ask
	stopped bool            // the agent has, and said nothing since
}

// turn reports whether a turn of ours has begun, also one whose prompt has not
// reached the agent, and no event says how it ended.
func (u *unsettled) turn() bool {
	return u.started != "" || slices.Contains(slices.Collect(maps.Values(u.prompts)), true)
}

// forget drops the prompts of our turns, or all others.
func (u *unsettled) forget(ours bool) {
	maps.DeleteFunc(u.prompts, func(_ string, of bool) bool { return of == ours })
}

func (u *unsettled) take(s *session, e journal.Entry) {
	msg, err := acp.Parse(e.Frame)
	if err != nil {
		return
	}
	client := e.Dir == journal.FromClient
	notice := !client && msg.Reserved
	u.stopped = u.stopped && notice
	switch {
	case msg.Kind == acp.Request && client && msg.Method == acp.MethodSessionPrompt:
		u.prompts[acp.IDKey(msg.ID)] = cmp.Or(serverAt(s.rec.Bound, e.Seq), s.rec.Server) == s.server()
		u.started = cmp.Or(turnOf(msg.ID), u.started)
		s.rec.begins(e.Frame)
	case msg.Kind == acp.Request && client && opens(msg.Method):
		s.rec.Summed = acp.Usage{}
	case msg.Kind == acp.Request && !client && msg.Method == acp.MethodRequestPermission:
		u.asks = append(u.asks, e.Seq)
	case msg.Kind == acp.Response && !client:
		ours, open := u.prompts[acp.IDKey(msg.ID)]
		if !open {
			return
		}
		delete(u.prompts, acp.IDKey(msg.ID))
		if ours || u.started == turnOf(msg.ID) {
			u.started = ""
		}
		var result acp.PromptResult
		decodeMember(e.Frame, "result", &result)
		s.rec.count(result.Usage, e.Seq, s.m.cfg.Agents.SumsUsage(s.rec.Agent))
	case notice:
		u.notice(s, msg.Method, e.Frame)
	}
}

// notice takes what the server itself said.
func (u *unsettled) notice(s *session, method string, frame []byte) {
	var p struct {
		Turn         string          `json:"turn"`
		PermissionID string          `json:"permissionId"`
		Event        uint64          `json:"event"`
		Request      json.RawMessage `json:"request"`
	}
	if !decodeMember(frame, "params", &p) {
		return
	}
	waits := func(turn string) bool { return turn == p.Turn }
	switch method {
	case api.EventPromptQueued:
		u.waiting = append(u.waiting, p.Turn)
	case api.EventTurnStarted:
		u.waiting, u.started = slices.DeleteFunc(u.waiting, waits), p.Turn
	case api.EventPromptResent:
		u.prompts[acp.IDKey(p.Request)], u.started = true, p.Turn
	case api.EventPromptDropped:
		u.waiting = slices.DeleteFunc(u.waiting, waits)
	case api.EventTurnEnded:
		u.waiting, u.started = slices.DeleteFunc(u.waiting, waits), ""
		u.forget(true)
	case api.EventPermissionResolved:
		u.asks = slices.DeleteFunc(u.asks, func(event uint64) bool { return s.permissionID(event) == p.PermissionID })
	case api.EventPermissionInvalid:
		u.asks = slices.DeleteFunc(u.asks, func(event uint64) bool { return event == p.Event })
	case api.EventSessionStopped:
		// A turn goes on without its agent: another one may get the prompt.
		u.forget(false)
		u.stopped = true
	}
}
