package session

import (
	"context"
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// applied notes that the derived part of a record has an event that changes it, and all
// such events before. It is to be called in the same critical section as the change.
func (r *record) applied(seq uint64) { r.Applied = max(r.Applied, seq) }

// forgetDerived makes a record as it was before the first event, settings excepted.
func (r *record) forgetDerived() {
	fresh := record{}
	r.AgentTitle, r.TitledBy, r.First = "", "", ""
	r.Options, r.Modes, r.Models = nil, nil, nil
	r.Usage, r.Counted, r.Summed, r.SpentBefore = fresh.Usage, 0, fresh.Summed, 0
	r.Applied = 0
}

// fold takes events, in order, into the derived part of a record, as Observe does while
// they happen. Those that the record has change nothing, but may be requests whose
// replies it lacks. The session's mu is held, or nobody else has the session.
type fold struct {
	s     *session
	calls map[string]foldedCall // requests without a reply, by their ids
}

type foldedCall struct {
	method string
	frame  []byte
}

// end forgets what only the agent of a turn needs.
func (f *fold) end() { clear(f.s.calls) }

func (f *fold) take(e journal.Entry) {
	msg, err := acp.Parse(e.Frame)
	if err != nil {
		return
	}
	r, lacks := &f.s.rec, e.Seq > f.s.rec.Applied
	key := acp.IDKey(msg.ID)
	switch client := e.Dir == journal.FromClient; {
	case client && msg.Kind == acp.Request:
		if f.calls == nil {
			f.calls = make(map[string]foldedCall)
		}
		f.calls[key] = foldedCall{msg.Method, e.Frame}
		if lacks && msg.Method == acp.MethodSessionPrompt {
			r.begins(e.Frame)
			r.applied(e.Seq)
		}
	case !client && msg.Kind == acp.Response:
		call, known := f.calls[key]
		delete(f.calls, key)
		if known && lacks && !msg.IsError {
			f.reply(call, e)
			r.applied(e.Seq)
		}
	case !client && msg.Kind == acp.Notification && msg.Method == acp.MethodSessionUpdate && lacks:
		var n struct {
			Params struct {
				Update acp.Update `json:"update"`
			} `json:"params"`
		}
		if json.Unmarshal(e.Frame, &n) == nil {
			f.s.apply(&n.Params.Update)
			r.applied(e.Seq)
		}
	}
}

// reply takes the reply to a request.
func (f *fold) reply(call foldedCall, e journal.Entry) {
	s, r := f.s, &f.s.rec
	switch {
	case call.method == acp.MethodSessionPrompt:
		var result acp.PromptResult
		decodeMember(e.Frame, "result", &result)
		r.count(result.Usage, e.Seq, s.m.cfg.Agents.SumsUsage(r.Agent))
		r.Primer = false
	case sets(call.method):
		s.set(call.method, call.frame, e.Frame)
	case opens(call.method):
		var params struct {
			SessionID string `json:"sessionId"`
		}
		var result acp.SessionResult
		if !decodeMember(call.frame, "params", &params) || !decodeMember(e.Frame, "result", &result) {
			return
		}
		r.Summed = acp.Usage{}
		if r.AgentSessionID = result.SessionID; call.method != acp.MethodSessionNew {
			r.AgentSessionID = params.SessionID
		}
		var options []acp.ConfigOption
		if result.ConfigOptions == nil {
			options = s.m.cfg.Agents.Options(r.Agent)
		}
		s.describes(result, options)
	}
}

// current makes the derived part of a session's record that of this code, when it is
// first needed: records of other versions are made again from the first event. Where
// that is no longer kept, the record stands for it.
func (m *Manager) current(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.outdated {
		return
	}
	s.outdated = false
	if err := s.recompute(m.ctx); err != nil {
		m.log.Error("state of a session is not computed again", "session", s.id, "version", s.rec.Version, "error", err)
		return
	}
	s.rec.Version = recordVersion
	s.changed()
}

// recompute makes the derived part of the record from the first event. The caller holds
// mu.
func (s *session) recompute(ctx context.Context) error {
	j, name := s.m.cfg.Journal, s.stream()
	first, last, err := j.Bounds(name)
	if err != nil || first > 1 {
		return err
	}
	before := s.rec
	s.rec.forgetDerived()
	s.rec.AgentSessionID = ""
	f := fold{s: s}
	defer f.end()
	for reader := j.Reader(name, 0); reader.Cursor() < last; {
		batch, err := reader.Next(ctx)
		if err != nil {
			s.rec = before
			return err
		}
		for _, e := range batch.Entries {
			f.take(e)
		}
	}
	s.rec.AgentSessionID, s.rec.Primer = before.AgentSessionID, before.Primer
	return nil
}
