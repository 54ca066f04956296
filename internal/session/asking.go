package session

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
)

// asks is how much an agent is made to ask about.
type asks int

const (
	asksFreely asks = iota // as its own settings say: the policy allows everything
	asksFirst              // before it acts, but for what its user allows in its own settings
	asksAlways             // that too, as the policy may reject it
)

// needs returns how much of what an agent does a policy has to be asked about.
func needs(p *api.PermissionPolicy) asks {
	if p == nil {
		return asksFreely // the client decides itself, and so does not rely on us
	}
	if slices.ContainsFunc(p.Rules, func(r api.PermissionRule) bool { return r.Decision != api.DecideAllow }) {
		return asksAlways
	}
	level := asksFreely
	for _, kind := range api.PermissionKinds {
		switch p.Default.For(kind) {
		case api.DecideReject:
			return asksAlways
		case api.DecideAsk:
			level = asksFirst
		}
	}
	return level
}

// canAsk returns the problem with an agent that cannot ask, where a policy has
// something to ask about or to reject.
func (m *Manager) canAsk(agent string, policy *api.PermissionPolicy) error {
	if needs(policy) > asksFreely && m.cfg.Agents.Asking(agent).How == api.AsksNever {
		return api.AgentCannotAsk(agent, agent+" never asks before it acts")
	}
	return nil
}

// mayStart is canAsk for the agent of a session. The client of an owned one knows
// nothing of policies.
func (s *session) mayStart() error {
	s.mu.Lock()
	policy, owned := s.rec.Policy, s.rec.Owner != ""
	s.mu.Unlock()
	if owned {
		return nil
	}
	return s.m.canAsk(s.rec.Agent, policy)
}

// environ returns the variables that the agent of a session is started with, as
// "K=V", and notes how much they make it ask. The caller holds mu.
func (s *session) environ() ([]string, error) {
	s.asks = needs(s.rec.Policy)
	vars := s.env()
	if s.asks > asksFreely {
		if vars == nil {
			vars = make(map[string]string)
		}
		asking, err := s.m.cfg.Agents.AskEnv(s.rec.Agent, cmp.Or(s.rec.CWD, s.m.cfg.CWD), vars, s.asks == asksAlways)
		if err != nil {
			return nil, err
		}
		maps.Copy(vars, asking)
	}
	env := make([]string, 0, len(vars))
	for key, value := range vars {
		env = append(env, key+"="+value)
	}
	if s.rec.Ephemeral || s.m.cfg.Volatile {
		env = append(env, api.EnvEphemeral+"=1")
	}
	return env, nil
}

// outgrown reports whether the policy has to be asked about more than the agent
// was started for, so that it has to start again. The caller holds mu.
func (s *session) outgrown() bool {
	return s.owned() && s.running == 0 && s.asks < needs(s.rec.Policy)
}

// startMode puts the agent of a session that was just opened into the mode that
// a client has chosen, else into the one in which it asks. A chosen mode that a
// restored agent does not have any more counts as not chosen.
func (s *session) startMode(ctx context.Context, l *link, restored bool) error {
	s.mu.Lock()
	chosen, current := s.rec.Chosen[chosenMode], s.rec.mode()
	s.mu.Unlock()
	if chosen != "" {
		if chosen == current {
			return nil
		}
		err := s.useMode(ctx, l, chosen)
		if err == nil || !restored {
			return err
		}
		s.m.log.Warn("mode is lost", "session", s.id, "mode", chosen, "error", err)
	}
	asking := s.m.cfg.Agents.Asking(s.rec.Agent).Mode
	if asking == "" || asking == current {
		return nil
	}
	s.mu.Lock()
	modes, needed := s.rec.modes(), needs(s.rec.Policy) > asksFreely
	s.mu.Unlock()
	if modes == nil { // another program than the one we know
		s.m.log.Warn("agent has no modes, so whether it asks before it acts is not known", "session", s.id, "agent", s.rec.Agent)
		return nil
	}
	err := s.useMode(ctx, l, asking)
	if err == nil || !needed {
		return nil
	}
	if !errors.Is(err, api.CodeAgentError) && !errors.Is(err, api.CodeUnsupportedValue) {
		return err // the agent is gone, or the client is
	}
	return api.AgentCannotAsk(s.rec.Agent, s.rec.Agent+" does not take the mode "+asking+", in which it asks before it acts ("+err.Error()+"); another mode counts if it is named when the session is created")
}
