package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/provider"
)

// sandboxActions are the commands that change the state of a sandbox.
var sandboxActions = []struct {
	use, short, long string
	server           func(*sandboxagent.Client, context.Context) error

	// provider returns what the provider of a sandbox does, or nil if it cannot.
	provider func(provider.Provider) func(context.Context, string) error
}{
	{"pause", "Stop everything in a sandbox where it is",
		"Stop everything in a sandbox where it is, until resume. Without an ID the agents and\nprocesses of the server at the endpoint are stopped, which answers on.",
		(*sandboxagent.Client).PauseSandbox,
		func(p provider.Provider) func(context.Context, string) error {
			if p, ok := provider.As[provider.Pauser](p); ok {
				return p.Pause
			}
			return nil
		}},
	{"resume", "Let a paused sandbox go on",
		"Let a paused sandbox go on. Without an ID that is the server at the endpoint.",
		(*sandboxagent.Client).ResumeSandbox,
		func(p provider.Provider) func(context.Context, string) error {
			if p, ok := provider.As[provider.Resumer](p); ok {
				return p.Resume
			}
			return nil
		}},
	{"restart", "End everything in a sandbox and start its server again",
		"End everything in a sandbox and start its server again, also one that was killed or has\nfailed. Files and sessions stay; a session comes back with its next prompt. Without an\nID the agents and processes of the server at the endpoint are ended.",
		(*sandboxagent.Client).RestartSandbox,
		func(p provider.Provider) func(context.Context, string) error {
			if p, ok := provider.As[provider.Restarter](p); ok {
				return p.Restart
			}
			return nil
		}},
	{"destroy", "End all agents and processes, and the server",
		"End all agents and processes, and the server at the endpoint. Its data stays. With an ID\nit is sandbox-agent sandbox rm.",
		(*sandboxagent.Client).DestroySandbox, nil},
	{"kill", "End everything in a sandbox at once",
		"End everything in a sandbox at once. Its files stay, and restart brings it back. Without\nan ID the server at the endpoint is ended, without asking agents and processes first.",
		(*sandboxagent.Client).KillSandbox,
		func(p provider.Provider) func(context.Context, string) error {
			if p, ok := provider.As[provider.Killer](p); ok {
				return p.Kill
			}
			return nil
		}},
}

func newSandbox(g *globals) *cobra.Command {
	cmd := noun(g, "sandbox", "Make sandboxes, work in them, and end them",
		`Make sandboxes, work in them, and end them. An ID is that of a sandbox, its name, or
the beginning of its id that no other has. All other commands work on the server of
a sandbox with --sandbox ID.`,
		newSandboxCreate(g), newSandboxList(g), newSandboxShow(g), newSandboxExec(g), newSandboxShell(g), newSandboxCopy(g),
		newSandboxLogs(g), newSandboxKeys(g), newSandboxDiff(g), newSandboxApply(g), newSandboxRemove(g), newSandboxPrune(g), newSandboxStatus(g))
	for _, action := range sandboxActions {
		cmd.AddCommand(&cobra.Command{
			Use:               action.use + " [ID]",
			Short:             action.short,
			Long:              action.long,
			Example:           "  sandbox-agent sandbox " + action.use + " 3kq7x2",
			Args:              arguments(0, 1),
			ValidArgsFunction: g.completeSandbox,
			RunE: g.local(func(ctx context.Context, args []string) error {
				name := g.sandbox
				if len(args) > 0 {
					name = args[0]
				}
				switch {
				case name == "":
					client := g.dial()
					defer client.Close()
					return g.explain(client, action.server(client, ctx))
				case action.provider == nil:
					return g.removeSandbox(ctx, name, false)
				}
				s, err := g.findSandbox(ctx, name)
				if err != nil {
					return err
				}
				do := action.provider(s.provider)
				if do == nil {
					return cannotSandbox(s, action.use)
				}
				return do(ctx, s.ID)
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
