package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/all"
)

// enterSandbox makes run work in the sandbox that was named, or in a new one of the
// provider that was. A new one has a copy of the directory to work in, unless that is
// to be bound, and stays: it has the session.
func (o *runOptions) enterSandbox(ctx context.Context, g *globals) error {
	for _, maker := range all.Providers() {
		if maker.Name != o.sandbox {
			continue
		}
		if o.resume != "" {
			return usagef("--resume goes on in the sandbox of the session; give its id with --sandbox")
		}
		workspace := provider.Workspace{Mode: provider.WorkspaceCopy, Dir: g.path(o.cwd)}
		if o.bind {
			workspace.Mode = provider.WorkspaceBind
		}
		spec := provider.Spec{Agent: o.agent, Workspace: workspace}
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

// leaveSandbox shows what was changed in the sandbox that run worked in, and brings it
// back if the user says so. A turn that failed, or was cancelled, leaves that to the
// user. What is left stays in the sandbox.
func (o *runOptions) leaveSandbox(ctx context.Context, g *globals, ask *asker, failed bool) error {
	s, err := g.findSandbox(ctx, g.sandbox)
	if err != nil {
		return err
	}
	d, err := s.differ()
	if err != nil || s.Spec.Workspace.Mode != provider.WorkspaceCopy {
		return nil // the directory itself was changed
	}
	var stat bytes.Buffer
	cols, _ := g.terminalSize()
	changes, err := d.Diff(ctx, s.ID, provider.DiffOptions{Stat: &stat, Width: int(cols)})
	if err != nil {
		return err
	}
	for line := range strings.Lines(stat.String()) {
		fmt.Fprintln(g.env.Err, harmless(strings.TrimRight(line, "\n")))
	}
	g.changeNotes(changes)
	if len(changes.Files) == 0 {
		return nil
	}
	apply := o.apply
	if !apply && !failed && g.asks() {
		apply, err = o.confirmApply(ctx, g, s, ask)
	}
	if err != nil {
		return err
	}
	if !apply || failed {
		fmt.Fprintf(g.env.Err, "· the changes are in the sandbox; see them with sandbox-agent sandbox diff %s, bring them back with sandbox-agent sandbox apply %s\n", s.ID, s.ID)
		return nil
	}
	_, err = g.applySandbox(ctx, s, provider.ApplyOptions{})
	return err
}

// confirmApply asks whether the changes are to be brought back, and shows them first if
// the user likes.
func (o *runOptions) confirmApply(ctx context.Context, g *globals, s foundSandbox, ask *asker) (bool, error) {
	d, err := s.differ()
	if err != nil {
		return false, err
	}
	question := fmt.Sprintf("Apply these changes to %s? [y]es, [d]iff, [n]o: ", printable(s.Spec.Workspace.Dir))
	for {
		reply := "n"
		err := ask.line(ctx, question, func(line string) bool {
			switch strings.ToLower(line) {
			case "y", "yes", "d", "diff", "n", "no":
				reply = strings.ToLower(line)[:1]
				return true
			}
			return false
		})
		if err != nil || reply != "d" {
			return reply == "y", err
		}
		out, flush := g.patchWriter()
		if _, err := d.Diff(ctx, s.ID, provider.DiffOptions{Patch: out}); err != nil {
			return false, err
		}
		if err := flush(); err != nil {
			return false, err
		}
	}
}

// completeRunSandbox completes providers and ids of sandboxes.
func (g *globals) completeRunSandbox(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ids, directive := g.completeSandbox(cmd, args, prefix)
	for _, maker := range all.Providers() {
		ids = append(ids, cobra.CompletionWithDesc(maker.Name, maker.Short))
	}
	return ids, directive
}
