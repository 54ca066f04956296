package session

import (
	"context"
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// Agents is what a Manager has to know of agents. Its methods are called from
// several goroutines.
type Agents interface {
	// Known returns the problem with an agent's id, nil if there is none.
	Known(agent string) error

	// Launch says how to start an agent, installing it first if need be.
	Launch(ctx context.Context, agent string) (bridge.Spec, error)

	// Options returns the choices of an agent that does not tell them itself.
	Options(agent string) []acp.ConfigOption

	// Prepare adds what is configured, for the working directory and for the
	// session, to the parameters with which a session is opened. A session that a
	// client opens on its own connection has nothing stored.
	// It returns what of that the agent will lack all the same.
	Prepare(ctx context.Context, agent string, own Stored, params json.RawMessage) (json.RawMessage, []api.SessionNotice, error)

	// SignIn returns the methods by which an agent can sign in without a person,
	// best first.
	SignIn(agent string) []string

	// Explain may replace the error with which an agent answers a request; it gets
	// the last lines of the agent's standard error.
	Explain(agent string, frame []byte, stderr []string) []byte

	// CheckStored returns the problem with what is to be stored for a session, one
	// of [StoredMCP] and [StoredSkills].
	CheckStored(what string, data []byte) error

	// Asking returns how an agent comes to ask before it acts.
	Asking(agent string) api.AgentAsking

	// Forget removes what an agent keeps of sessions that are purged, by the ids that
	// it gave them, as far as that is known.
	Forget(agent string, sessions []string) error

	// AskEnv returns the variables that make an agent ask, given those of its
	// session, which works in cwd. With always they make it ask about what its own
	// settings allow too; an error says why it cannot be made to.
	AskEnv(agent, cwd string, session map[string]string, always bool) (map[string]string, error)

	// AskArgs returns the arguments that make an agent ask about what its own settings
	// allow too.
	AskArgs(agent string) ([]string, error)

	// AskParams adds to the parameters that open a session what makes an agent ask
	// even about what its own settings allow.
	AskParams(agent string, params json.RawMessage) (json.RawMessage, error)

	// Normalize returns a tool call of a session that works in cwd as policies
	// judge it.
	Normalize(agent, cwd string, call acp.ToolCall) acp.ToolCall

	// ReplaysLate reports whether an agent tells the history of a session after it
	// has answered session/load, and ends it with its commands.
	ReplaysLate(agent string) bool

	// SumsUsage reports whether the usage in the answers of an agent is that of the
	// whole session, not of the turn.
	SumsUsage(agent string) bool
}

// Stored is what was stored for a session; what was not is empty.
type Stored struct{ MCP, Skills []byte }

// noAgents is the Agents of a Manager that has been given none.
type noAgents struct{}

func (noAgents) Known(string) error { return nil }

func (noAgents) Launch(_ context.Context, agent string) (bridge.Spec, error) {
	return bridge.Spec{}, api.NewError(api.KindUnsupportedAgent, "", "%s", agent)
}

func (noAgents) Options(string) []acp.ConfigOption { return nil }

func (noAgents) Prepare(_ context.Context, _ string, _ Stored, params json.RawMessage) (json.RawMessage, []api.SessionNotice, error) {
	return params, nil, nil
}

func (noAgents) SignIn(string) []string { return nil }

func (noAgents) Explain(_ string, frame []byte, _ []string) []byte { return frame }

func (noAgents) CheckStored(string, []byte) error { return nil }

func (noAgents) Asking(string) api.AgentAsking { return api.AgentAsking{How: api.AsksUnknown} }

func (noAgents) Forget(string, []string) error { return nil }

func (noAgents) AskEnv(string, string, map[string]string, bool) (map[string]string, error) {
	return nil, nil
}

func (noAgents) AskArgs(string) ([]string, error) { return nil, nil }

func (noAgents) AskParams(_ string, params json.RawMessage) (json.RawMessage, error) {
	return params, nil
}

func (noAgents) Normalize(_, _ string, call acp.ToolCall) acp.ToolCall { return call }

func (noAgents) ReplaysLate(string) bool { return false }

func (noAgents) SumsUsage(string) bool { return false }

// observer is a Manager as its bridge sees it.
type observer struct{ m *Manager }

func (o observer) Known(agent string) bool { return o.m.cfg.Agents.Known(agent) == nil }

func (o observer) Launch(ctx context.Context, agent string) (bridge.Spec, error) {
	return o.m.cfg.Agents.Launch(ctx, agent)
}

func (o observer) Explain(agent string, frame []byte, stderr []string) []byte {
	return o.m.cfg.Agents.Explain(agent, frame, stderr)
}

func (o observer) Observe(e bridge.Event) bridge.Verdict { return o.m.Observe(e) }

// Prepare gives a session that is about to be opened what is configured for it.
func (o observer) Prepare(ctx context.Context, server, agent string, msg acp.Message, frame []byte) ([]byte, error) {
	switch msg.Method {
	case acp.MethodSessionNew, acp.MethodSessionLoad, acp.MethodSessionResume:
	default:
		return frame, nil
	}
	var request struct {
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(frame, &request) != nil {
		return frame, nil // the agent is the one to say what is wrong with it
	}
	s := o.m.link(server, agent).opens(msg.ID)
	own, err := o.m.storedFor(ctx, s)
	if err != nil {
		return nil, err
	}
	params, lacks, err := o.m.cfg.Agents.Prepare(ctx, agent, own, request.Params)
	if err != nil {
		return nil, err
	}
	for _, notice := range lacks {
		o.m.log.Warn("the agent lacks what is configured", "server", server, "agent", agent, "about", notice.About, "name", notice.Name, "reason", notice.Text)
		if s != nil {
			s.notify(api.EventSessionNotice, notice)
		}
	}
	if string(params) == string(request.Params) {
		return frame, nil
	}
	return json.Marshal(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
	}{"2.0", msg.ID, msg.Method, params})
}

// storedFor returns what is stored for a session, nothing for nil.
func (m *Manager) storedFor(ctx context.Context, s *session) (own Stored, err error) {
	if s == nil {
		return own, nil
	}
	if own.MCP, err = m.Stored(ctx, s.id, StoredMCP); err != nil {
		return own, err
	}
	own.Skills, err = m.Stored(ctx, s.id, StoredSkills)
	return own, err
}
