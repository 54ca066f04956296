package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
)

func newSandbox(g *globals) *cobra.Command {
	cmd := noun(g, "sandbox", "Pause, resume, restart and end a sandbox",
		`Pause, resume, restart and end a sandbox. On a server of its own these act on all
of its agents and processes; behind a gateway, on the sandbox itself.`,
		newSandboxStatus(g),
		newSandboxAction(g, "pause", "Stop all agents and processes where they are", (*sandboxagent.Client).PauseSandbox),
		newSandboxAction(g, "resume", "Let agents and processes go on", (*sandboxagent.Client).ResumeSandbox),
		newSandboxAction(g, "restart", "End all agents and processes; sessions come back with their next prompt", (*sandboxagent.Client).RestartSandbox),
		newSandboxAction(g, "destroy", "End all agents and processes, and the server", (*sandboxagent.Client).DestroySandbox),
		newSandboxAction(g, "kill", "End all agents and processes without asking them, and the server", (*sandboxagent.Client).KillSandbox))
	return g.endpointFlag(cmd, defaultEndpoint)
}

func newSandboxStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show whether the sandbox is paused and how much runs in it",
		Args:  arguments(0, 0),
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

func newSandboxAction(g *globals, use, short string, do func(*sandboxagent.Client, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
			return do(client, ctx)
		}),
	}
}
