package session

import (
	"cmp"
	"context"
	"encoding/json"
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

// settle ends what was open in a session when the server did, or when it was
// exported: the agent and its turn, the questions that it asked, and the prompts
// that waited. Nobody works on them any more, and who comes back must not wait for
// them. The record may be older than the end, so the events tell, also of what
// turns have used.
func (s *session) settle(ctx context.Context, why string) {
	open, err := s.unsettled(ctx)
	if err != nil {
		s.m.log.Error("what was open in a session cannot be told", "session", s.id, "error", err)
	}
	turn, own := cmp.Or(open.started, s.rec.Turn), s.rec.Server == s.server()
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
	if len(open.prompts) > 0 && own {
		s.notify(api.EventTurnEnded, api.SessionTurnEnded{Turn: turn, Error: why})
	}
	for _, turn := range open.waiting {
		s.notify(api.EventPromptDropped, api.SessionTurnEnded{Turn: turn, Error: why})
	}
}

// unsettled reads what is open since the record was sure that nothing was.
func (s *session) unsettled(ctx context.Context) (open unsettled, err error) {
	open.prompts = make(map[string]bool)
	reader := s.m.cfg.Journal.Reader(s.stream(), min(s.rec.Settled, s.rec.Last))
	for reader.Cursor() < s.rec.Last {
		batch, err := reader.Next(ctx)
		if err != nil {
			return open, err
		}
		for _, e := range batch.Entries {
			open.take(s, e)
		}
	}
	return open, nil
}

// unsettled is what some events of a session have begun and not ended.
type unsettled struct {
	prompts map[string]bool // that the agent has, by the id of the request
	started string          // turn of the newest one, if it had waited
	waiting []string        // turns
	asks    []uint64        // events that ask
	stopped bool            // the agent has, and said nothing since
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
		u.prompts[string(msg.ID)] = true
		s.rec.begins(e.Frame)
	case msg.Kind == acp.Request && client && opens(msg.Method):
		s.rec.Summed = acp.Usage{}
	case msg.Kind == acp.Request && !client && msg.Method == acp.MethodRequestPermission:
		u.asks = append(u.asks, e.Seq)
	case msg.Kind == acp.Response && !client && u.prompts[string(msg.ID)]:
		delete(u.prompts, string(msg.ID))
		u.started = ""
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
		u.prompts[string(p.Request)], u.started = true, p.Turn
	case api.EventPromptDropped, api.EventTurnEnded:
		u.waiting = slices.DeleteFunc(u.waiting, waits)
	case api.EventPermissionResolved:
		u.asks = slices.DeleteFunc(u.asks, func(event uint64) bool { return s.permissionID(event) == p.PermissionID })
	case api.EventPermissionInvalid:
		u.asks = slices.DeleteFunc(u.asks, func(event uint64) bool { return event == p.Event })
	case api.EventSessionStopped:
		clear(u.prompts)
		u.started, u.stopped = "", true
	}
}
