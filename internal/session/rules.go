package session

import (
	"context"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// judge is what decides the tool calls of the session. The caller holds mu.
func (s *session) judge() permission.Judge {
	return permission.Judge{Policy: s.rec.Policy, Remembered: s.rec.Remembered, Dir: s.rec.CWD}
}

// Rules returns what decides the questions of a session.
func (m *Manager) Rules(id string) (*api.PermissionRules, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &api.PermissionRules{Default: api.DefaultDecision(api.DecideAsk), Rules: []api.PermissionRule{}, Remembered: append([]api.PermissionRule{}, s.rec.Remembered...)}
	if p := s.rec.Policy; p != nil {
		out.Default, out.Rules = p.Default, append(out.Rules, p.Rules...)
	}
	out.Words = make(map[string]string)
	for _, r := range slices.Concat(out.Rules, out.Remembered) {
		out.Words[r.ID] = permission.Words(r)
	}
	return out, nil
}

// DeleteRule forgets a rule, for good when it returns: the agent's next permission
// request is asked about again.
// An empty rule id forgets all that the reply always has made.
func (m *Manager) DeleteRule(ctx context.Context, id, rule string) error {
	s, err := m.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	same := func(r api.PermissionRule) bool { return rule == "" || r.ID == rule }
	n := len(s.rec.Remembered)
	s.rec.Remembered = slices.DeleteFunc(slices.Clone(s.rec.Remembered), same)
	found := len(s.rec.Remembered) < n || rule == ""
	if p := s.rec.Policy; p != nil && !found {
		policy := *p
		policy.Rules = slices.DeleteFunc(slices.Clone(p.Rules), same)
		found = len(policy.Rules) < len(p.Rules)
		s.rec.Policy = &policy
	}
	s.mu.Unlock()
	if !found {
		return api.NotFound("permission_rule", rule)
	}
	return m.save(ctx, s)
}
