package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/fakeagent"
)

// mockAgent is the id of the agent that this program is itself.
const mockAgent = "mock"

func newMock(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "mock",
		Aliases: []string{"mock-agent-process"},
		Short:   "Be the built-in mock agent on standard input and output",
		Long:    fakeagent.Usage(),
		Example: "  sandbox-agent run --agent other --agent-command 'other=sandbox-agent mock' hello",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			state := filepath.Join(g.data(), "mock")
			if g.env.lookup(api.EnvEphemeral) != "" {
				state = ""
			}
			return fakeagent.Run(cmd.Context(), g.env.In, g.env.Out, fakeagent.Options{
				StateDir:     state,
				Version:      Version().Version,
				Stderr:       g.env.Err,
				ListAgents:   g.listAgentsFrame,
				InstallAgent: g.installAgentFrame,
			})
		},
	}
}

// StartedAsMock reports whether a server within this program has started it as
// the mock agent.
func StartedAsMock() bool {
	exe, err := os.Executable()
	return err == nil && len(os.Args) > 1 && os.Args[1] == "mock" && os.Getenv("SANDBOX_AGENT_BIN") == exe
}

// catalogue returns the agents of this machine, for commands that work without
// a server.
func (g *globals) catalogue() *agents.Catalogue {
	return agents.New(agents.Config{
		DataDir:  g.data(),
		Home:     g.env.Home,
		Env:      g.env.forChildren(),
		SelfExe:  g.env.Exe,
		Store:    g.env.lookup(api.EnvAgentStore),
		Registry: g.env.lookup("SANDBOX_AGENT_ACP_REGISTRY_URL"),
	})
}

// listAgentsFrame answers the extension method by which the command line of the
// earlier server asks for the agents.
func (g *globals) listAgentsFrame(ctx context.Context) (json.RawMessage, error) {
	return json.Marshal(g.catalogue().List(ctx, agents.InfoOptions{Config: true}))
}

// installAgentFrame answers the extension method by which it installs one.
func (g *globals) installAgentFrame(ctx context.Context, params json.RawMessage) (json.RawMessage, error) {
	var request struct {
		Agent string `json:"agent"`
		api.AgentInstallRequest
	}
	if err := json.Unmarshal(params, &request); err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidJSON, "decode params: %w", err)
	}
	result, err := g.catalogue().Install(ctx, request.Agent, request.AgentInstallRequest, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}
