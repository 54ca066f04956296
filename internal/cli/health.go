package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
)

func newHealth(g *globals) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tell whether a server answers",
		Long: `Tell whether a server answers. With --wait it is asked again until it does, or
refuses the token.

Exit codes: 0 it answers; 1 it does not, or refuses the token; 2 the command was
not understood.`,
		Example: `  sandbox-agent health
  sandbox-agent health --wait 30s --endpoint http://127.0.0.1:3000 && echo up`,
		Args: arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			if wait > 0 {
				limit, cancel := context.WithTimeout(ctx, wait)
				defer cancel()
				if err := c.WaitReady(limit); err != nil {
					return err
				}
			}
			health, err := c.Health(ctx)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, health)
			}
			_, err = fmt.Fprintln(g.env.Out, health.Status)
			return err
		}),
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for an answer")
	return g.endpointFlag(cmd, defaultEndpoint)
}

func newInspector(g *globals) *cobra.Command {
	return g.endpointFlag(&cobra.Command{
		Use:   "inspector",
		Short: "Print the address of a server's page",
		Long: `Print the address of a server's page for people: sessions, agents, processes and
files. It asks for the token where the server has one.`,
		Example: "  xdg-open \"$(sandbox-agent inspector)\"",
		Args:    arguments(0, 0),
		RunE: g.remote(func(_ context.Context, c *sandboxagent.Client, _ []string) error {
			if g.json {
				return printJSON(g.env.Out, map[string]string{"url": c.InspectorURL()})
			}
			_, err := fmt.Fprintln(g.env.Out, c.InspectorURL())
			return err
		}),
	}, defaultEndpoint)
}
