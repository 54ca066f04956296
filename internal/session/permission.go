package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// maxResolved bounds the answered permissions that are remembered, so that who
// comes late learns what was answered.
const maxResolved = 256

// maxExpiry is as good as never, and can be added to a time.
const maxExpiry = 100 * 365 * 24 * time.Hour

// permissionRequest is one permission request of the agent.
type permissionRequest struct {
	api.Permission
	link    *link
	call    json.RawMessage // id of the agent's request
	answer  []byte          // our answer; nil while there is none; guarded by session.mu
	request acp.PermissionRequest
	timer   *time.Timer
}

// asked takes a permission request of the agent, whose event has the number seq,
// and answers it where the policy does.
func (s *session) asked(l *link, id json.RawMessage, req acp.PermissionRequest, frame []byte, seq uint64) *permissionRequest {
	now := time.Now()
	p := &permissionRequest{link: l, call: slices.Clone(id)}
	s.mu.Lock()
	s.remember(req.ToolCall)
	whole := s.calls[req.ToolCall.ID]
	shown := whole
	shown.Content, shown.RawOutput = req.ToolCall.Content, req.ToolCall.RawOutput
	req.ToolCall = shown
	p.request = req
	p.Permission = api.Permission{
		ID: s.permissionID(seq), SessionID: s.id, AgentSessionID: s.rec.AgentSessionID, ToolCall: shown,
		Options: req.Options, CreatedAt: now.UnixMilli(), Event: seq,
	}
	judge, judged := s.judge(), s.m.cfg.Agents.Normalize(s.rec.Agent, s.rec.CWD, whole)
	verdict := judge.Verdict(judged)
	outcome, res, ok := decided(req, verdict.Decision)
	var after time.Duration
	if !ok {
		p.Always, p.NoAlways = judge.Always(judged)
		p.AvailableReplies = replies(req, len(p.Always) > 0)
		if s.rec.Policy != nil && s.rec.Policy.ExpireAfter > 0 {
			after = time.Duration(min(s.rec.Policy.ExpireAfter, maxExpiry.Milliseconds())) * time.Millisecond
			p.ExpiresAt = now.Add(after).UnixMilli()
		}
	}
	s.mu.Unlock()
	if ok {
		if res.By = api.ByPolicy; verdict.Rule != nil {
			res.Rule = verdict.Rule.ID
		}
		s.resolve(p, outcome, res)
		return p
	}
	s.m.inbox.asked(s, p)
	owner := s.hold(p, after)
	if owner != "" {
		s.m.cfg.Mirror.Asked(owner, p.Permission, frame)
	}
	s.changed()
	return p
}

// permissionID is the id of the question that an event asks. It can be told from
// the event alone, and no other session has it.
func (s *session) permissionID(event uint64) string {
	return "perm-" + s.id + "-" + strconv.FormatUint(event, 10)
}

// hold keeps a permission request until a reply comes, or until it expires if after
// is not 0. It returns the owner of the session.
func (s *session) hold(p *permissionRequest, after time.Duration) (owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[p.ID] = p
	if after == 0 {
		return s.rec.Owner
	}
	p.timer = time.AfterFunc(after, func() {
		if s.takeRequest(p) {
			s.resolve(p, acp.Cancelled(), api.PermissionResolved{Reply: api.ReplyCancel, By: api.ByExpiry})
		}
	})
	return s.rec.Owner
}

// takeRequest takes a permission request, to which the caller alone replies then.
func (s *session) takeRequest(p *permissionRequest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[p.ID] != p {
		return false
	}
	s.drop(p)
	return true
}

// drop takes a question off the list. The caller holds mu.
func (s *session) drop(p *permissionRequest) {
	delete(s.pending, p.ID)
	if p.timer != nil {
		p.timer.Stop()
	}
}

// takePending takes all questions for the caller alone to answer, the oldest
// first. The caller holds mu.
func (s *session) takePending() []*permissionRequest {
	list := make([]*permissionRequest, 0, len(s.pending))
	for _, p := range s.pending {
		list = append(list, p)
	}
	for _, p := range list {
		s.drop(p)
	}
	slices.SortFunc(list, func(a, b *permissionRequest) int { return int(a.Event) - int(b.Event) })
	return list
}

// resolve answers a question that the caller has claimed.
func (s *session) resolve(p *permissionRequest, outcome acp.PermissionResult, res api.PermissionResolved) {
	s.record(p, res)
	frame, err := s.answer(p, outcome)
	if err != nil {
		s.m.log.Error("encode permission", "session", s.id, "error", err)
		return
	}
	s.m.send(p.link, frame)
}

// answer returns the frame of our answer to a question, which is the one that
// counts from now on.
func (s *session) answer(p *permissionRequest, outcome acp.PermissionResult) ([]byte, error) {
	frame, err := acp.ResultFrame(p.call, outcome)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.answer = frame
	return frame, err
}

// answeredWith reports whether a frame is our answer to a question.
func (s *session) answeredWith(p *permissionRequest, frame []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.answer != nil && bytes.Equal(p.answer, frame)
}

// void notes that a question needs no answer any more.
func (s *session) void(p *permissionRequest) {
	s.record(p, api.PermissionResolved{Reply: api.ReplyCancel, By: api.ByAgent})
}

func (s *session) record(p *permissionRequest, res api.PermissionResolved) {
	s.mu.Lock()
	res = s.note(p, res)
	s.mu.Unlock()
	s.publish(p, res)
}

// publish makes an event of how a request was resolved.
func (s *session) publish(p *permissionRequest, res api.PermissionResolved) {
	s.notify(api.EventPermissionResolved, res)
	s.m.inbox.resolved(s.id, s.rec.Ephemeral, p.Event, res)
	s.changed()
}

// note remembers how a request was resolved, for clients that reply too late. The
// caller holds mu.
func (s *session) note(p *permissionRequest, res api.PermissionResolved) api.PermissionResolved {
	res.PermissionID, res.At = p.ID, time.Now().UnixMilli()
	if len(s.resolved) >= maxResolved {
		s.resolved = slices.Clone(s.resolved[maxResolved/2:])
	}
	s.resolved = append(s.resolved, res)
	return res
}

// answered records the answer that an ACP client has given itself to a question
// that the caller has claimed.
func (s *session) answered(p *permissionRequest, frame []byte) {
	var result acp.PermissionResult
	decodeMember(frame, "result", &result)
	res := api.PermissionResolved{Reply: api.ReplyCancel, OptionID: result.Outcome.OptionID, By: api.ByConnection(p.link.id)}
	if result.Outcome.Outcome == acp.OutcomeSelected {
		res.Reply = api.ReplyOption
	}
	s.record(p, res)
}

// Permissions returns the questions of a session that wait for an answer, the
// oldest first. A question whose event a client has seen is there, unless it was
// answered.
func (m *Manager) Permissions(id string) (*api.PermissionList, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		l.mu.Lock() // waits for the observer of a frame that is an event already
		defer l.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &api.PermissionList{Permissions: make([]api.Permission, 0, len(s.pending))}
	for _, p := range s.pending {
		list.Permissions = append(list.Permissions, p.Permission)
	}
	slices.SortFunc(list.Permissions, func(a, b api.Permission) int { return int(a.Event) - int(b.Event) })
	return list, nil
}

// ReplyPermission answers a question; by names who does. The first answer
// counts: a later one fails with permission_resolved, which tells of the first.
func (m *Manager) ReplyPermission(ctx context.Context, id, permissionID string, req api.PermissionReply, by string) (*api.PermissionResolved, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	p := s.pending[permissionID]
	if p == nil {
		defer s.mu.Unlock()
		return nil, s.missing(permissionID)
	}
	outcome, res, err := p.choose(req)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	rule, remembered := p.remembers(res, req.Scope)
	if res.Reply == api.ReplyAlways && !remembered {
		s.mu.Unlock()
		return nil, p.unavailable(api.ReplyAlways + " " + req.Scope)
	}
	s.drop(p)
	if remembered {
		rule.ID, rule.By, rule.CreatedAt = permission.NewID(), by, time.Now().UnixMilli()
		s.rec.Remembered = append(slices.Clone(s.rec.Remembered), rule)
		res.Rule = rule.ID
	}
	res.By = by
	res = s.note(p, res)
	s.mu.Unlock()
	if remembered {
		if err := m.save(ctx, s); err != nil {
			m.log.Warn("a remembered rule is not on disk", "session", s.id, "rule", rule.ID, "error", err)
		}
	}
	s.publish(p, res)
	frame, err := s.answer(p, outcome)
	if err != nil {
		return nil, err
	}
	if _, err := m.bridge.Post(m.ctx, p.link.id, "", false, frame); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return &res, nil
}

// missing is the problem of a question that does not wait. The caller holds mu.
func (s *session) missing(id string) error {
	for _, res := range s.resolved {
		if res.PermissionID == id {
			e := api.Conflict(api.CodePermissionResolved, "permission %s was answered with %s by %s", id, res.Reply, res.By)
			return e.With("reply", res.Reply).With("optionId", res.OptionID).With("by", res.By).With("at", res.At)
		}
	}
	return api.NotFound("permission", id)
}

// remembers returns the rule that a reply makes; ok is false when it makes none.
func (p *permissionRequest) remembers(res api.PermissionResolved, scope string) (rule api.PermissionRule, ok bool) {
	if res.Reply != api.ReplyAlways {
		return rule, false
	}
	i := slices.IndexFunc(p.Always, func(a api.PermissionAlways) bool { return a.Scope == cmp.Or(scope, api.AlwaysExact) })
	if i < 0 {
		return rule, false
	}
	return p.Always[i].Rule, true
}
