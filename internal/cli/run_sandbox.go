package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/all"
)

// enterSandbox makes run work in the sandbox that was named, or in a new one of the
// provider that was. A new one is bound to the directory to work in, and stays: it
// has the session.
func (o *runOptions) enterSandbox(ctx context.Context, g *globals) error {
	for _, maker := range all.Providers() {
		if maker.Name != o.sandbox {
			continue
		}
		if o.resume != "" {
			return usagef("--resume goes on in the sandbox of the session; give its id with --sandbox")
		}
		spec := provider.Spec{Agent: o.agent, Workspace: provider.Workspace{Dir: g.path(o.cwd)}}
		if g.needsModel(o.agent) {
			spec.Network = maker.ForModels
		}
		s, err := g.createSandbox(ctx, maker.Name, spec)
		if err != nil {
			return err
		}
		fmt.Fprintf(g.env.Err, "· sandbox %s; remove it with sandbox-agent sandbox rm %s\n", s.ID, s.ID)
		g.sandbox, o.cwd = s.ID, s.WorkDir
		return nil
	}
	s, err := g.findSandbox(ctx, o.sandbox)
	if err != nil {
		return err
	}
	maker, err := g.maker(s.Provider)
	if err != nil {
		return err
	}
	if o.agent != "" {
		if err := g.installFor(ctx, maker, o.agent); err != nil {
			return err
		}
	}
	g.sandbox = s.ID
	if o.cwd == "" && o.resume == "" {
		o.cwd = s.WorkDir
	}
	return nil
}

// needsModel reports whether the agent of a run needs a model. Without an id it is the
// one that would run on this machine.
func (g *globals) needsModel(id string) bool {
	if id == "" {
		id = g.catalogue().FirstReady()
	}
	agent, err := g.catalogue().Agent(id)
	return err != nil || agent.NeedsModel()
}

// completeRunSandbox completes providers and ids of sandboxes.
func (g *globals) completeRunSandbox(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ids, directive := g.completeSandbox(cmd, args, prefix)
	for _, maker := range all.Providers() {
		ids = append(ids, cobra.CompletionWithDesc(maker.Name, maker.Short))
	}
	return ids, directive
}
