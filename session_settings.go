package sandboxagent

import (
	"context"
	"net/http"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// SetModel chooses a model. One that the agent does not offer is an
// [*UnsupportedValueError], and an agent that offers no choice is an
// [*UnsupportedCategoryError].
func (s *Session) SetModel(ctx context.Context, model string) error {
	return s.set(ctx, "model", api.SessionModelRequest{Model: model})
}

// SetMode chooses a mode; see [Session.SetModel] for what may go wrong.
func (s *Session) SetMode(ctx context.Context, mode string) error {
	return s.set(ctx, "mode", api.SessionModeRequest{ModeID: mode})
}

// SetThoughtLevel chooses how hard the agent thinks; see
// [Session.SetModel] for what may go wrong.
func (s *Session) SetThoughtLevel(ctx context.Context, level string) error {
	return s.set(ctx, "thought-level", api.SessionThoughtLevelRequest{ThoughtLevel: level})
}

// SetConfigOption sets an option of the agent by its id; a boolean one to true or
// false. One that the agent does
// not have is an [*UnsupportedOptionError].
func (s *Session) SetConfigOption(ctx context.Context, id, value string) error {
	return s.set(ctx, "config-options", api.SessionConfigOptionRequest{ConfigID: id, Value: api.OptionValue(value)})
}

func (s *Session) set(ctx context.Context, what string, req any) error {
	return s.failed("set "+what+" of", s.c.do(ctx, http.MethodPost, s.route(what), nil, req))
}

// ConfigOptions returns the options of the agent as they are now.
func (s *Session) ConfigOptions(ctx context.Context) ([]acp.ConfigOption, error) {
	list, err := get[api.SessionConfigOptions](ctx, s.c, s.route("config-options"), nil)
	if err != nil {
		return nil, s.failed("get options of", err)
	}
	return list.ConfigOptions, nil
}

// Modes returns the modes of the agent, none when it has none.
func (s *Session) Modes(ctx context.Context) (*api.SessionModeList, error) {
	list, err := get[api.SessionModeList](ctx, s.c, s.route("modes"), nil)
	return list, s.failed("get modes of", err)
}

// MCPConfig returns the MCP servers configured for this session alone.
func (s *Session) MCPConfig(ctx context.Context) (*api.MCPServers, error) {
	set, err := get[api.MCPServers](ctx, s.c, s.route("mcp", "config"), nil)
	return set, s.failed("get MCP servers of", err)
}

// SetMCPConfig replaces the MCP servers configured for this session alone. They
// count from the next start of its agent on.
func (s *Session) SetMCPConfig(ctx context.Context, set api.MCPServers) error {
	return s.failed("set MCP servers of", s.c.do(ctx, http.MethodPut, s.route("mcp", "config"), nil, set))
}

// SkillsConfig returns the skills configured for this session alone.
func (s *Session) SkillsConfig(ctx context.Context) (*api.SkillsSet, error) {
	set, err := get[api.SkillsSet](ctx, s.c, s.route("skills", "config"), nil)
	return set, s.failed("get skills of", err)
}

// SetSkillsConfig replaces the skills configured for this session alone. They
// count from the next start of its agent on.
func (s *Session) SetSkillsConfig(ctx context.Context, set api.SkillsSet) error {
	return s.failed("set skills of", s.c.do(ctx, http.MethodPut, s.route("skills", "config"), nil, set))
}
