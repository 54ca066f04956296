package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/internal/child/conceal"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	shimrun "github.com/sandboxagent/sandboxagent/internal/shim/run"
)

// newShim is the process that owns a sandbox. Providers start it.
func newShim(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "shim DIR",
		Short:   "Own the sandbox in a directory",
		Hidden:  true,
		Example: "  sandbox-agent shim /var/lib/sandbox-agent/sandboxes/3kq7x2",
		Args:    arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			conceal.Process()
			return shimrun.Run(shim.Dir(filepath.Clean(args[0])), shimrun.Options{
				Exe: g.env.Exe, Signals: g.env.Signals,
			})
		},
	}
}

// newEnterNetwork is what a sandbox starts with that has a network of its own. Shims
// start it.
func newEnterNetwork(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:                "enter-network FD WHAT PROGRAM [ARG...]",
		Short:              "Make what a network namespace needs and become a program",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return shimrun.EnterNetwork(args, g.env.Env) },
	}
}
