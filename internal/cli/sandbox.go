package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
)

// sandboxActions are the commands that change the state of a sandbox.
var sandboxActions = []struct {
	use, short, long string
	do               func(*sandboxagent.Client, context.Context) error
}{
	{"pause", "Stop all agents and processes where they are",
		"Stop all agents and processes where they are, until resume. The server answers on.",
		(*sandboxagent.Client).PauseSandbox},
	{"resume", "Let agents and processes go on",
		"Let agents and processes go on after pause. Without one nothing happens.",
		(*sandboxagent.Client).ResumeSandbox},
	{"restart", "End all agents and processes",
		"End all agents and processes. Files and sessions stay; a session comes back with its\nnext prompt.",
		(*sandboxagent.Client).RestartSandbox},
	{"destroy", "End all agents and processes, and the server",
		"End all agents and processes, and the server. On a server of its own its data stays.",
		(*sandboxagent.Client).DestroySandbox},
	{"kill", "End a sandbox at once",
		"Do what destroy does, without asking agents and processes to end first.",
		(*sandboxagent.Client).KillSandbox},
}

func newSandbox(g *globals) *cobra.Command {
	cmd := noun(g, "sandbox", "Pause, resume, restart and end a sandbox",
		`Pause, resume, restart and end a sandbox. On a server of its own these act on all
of its agents and processes; behind a gateway, on the sandbox itself.`,
		newSandboxStatus(g))
	for _, action := range sandboxActions {
		cmd.AddCommand(&cobra.Command{
			Use:     action.use,
			Short:   action.short,
			Long:    action.long,
			Example: "  sandbox-agent sandbox " + action.use,
			Args:    arguments(0, 0),
			RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
				return action.do(client, ctx)
			}),
		})
	}
	return g.endpointFlag(cmd, defaultEndpoint)
}

func newSandboxStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show whether a sandbox is paused, and how much runs in it",
		Long:  "Show whether a sandbox is running or paused, and how many agents and processes run in it.",
		Example: `  sandbox-agent sandbox status
  sandbox-agent sandbox status --json --endpoint http://127.0.0.1:2468`,
		Args: arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
			state, err := client.Sandbox(ctx)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, state)
			}
			fmt.Fprintf(g.env.Out, "%s; agents: %d, processes: %d\n", state.Status, state.Agents, state.Processes)
			return nil
		}),
	}
}
