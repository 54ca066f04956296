package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/provider"
)

// sandboxView is what --json prints of a sandbox. It has no secrets: of the
// environment only the names.
type sandboxView struct {
	ID           string                `json:"id"`
	Name         string                `json:"name,omitempty"`
	Provider     string                `json:"provider"`
	Agent        string                `json:"agent,omitempty"`
	State        provider.State        `json:"state"`
	Reason       string                `json:"reason,omitempty"`
	CreatedAt    time.Time             `json:"createdAt"`
	URL          string                `json:"url,omitempty"`
	WorkDir      string                `json:"workDir,omitempty"`
	Workspace    provider.Workspace    `json:"workspace"`
	Network      provider.Network      `json:"network,omitempty"`
	Models       []string              `json:"models,omitempty"` // that it reaches
	Resources    provider.Resources    `json:"resources"`
	Env          []string              `json:"env"`
	Labels       map[string]string     `json:"labels,omitempty"`
	Capabilities provider.Capabilities `json:"capabilities"`
}

func viewOf(s foundSandbox) sandboxView {
	network := s.Spec.Network
	if network == "" && len(s.Capabilities.Networks) > 0 {
		network = s.Capabilities.Networks[0]
	}
	return sandboxView{
		ID: s.ID, Name: s.Spec.Name, Provider: s.Provider, Agent: s.Spec.Agent, State: s.State, Reason: s.Reason, CreatedAt: s.CreatedAt,
		URL: s.URL, WorkDir: s.WorkDir, Workspace: s.Spec.Workspace, Network: network, Models: s.Models, Resources: s.Spec.Resources,
		Env: slices.Sorted(maps.Keys(s.Spec.Env)), Labels: s.Spec.Labels, Capabilities: s.Capabilities,
	}
}

func newSandboxList(g *globals) *cobra.Command {
	var labels []string
	var archived bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the sandboxes of this machine",
		Long: `List the sandboxes of this machine, oldest first for each provider: id, state,
provider with its isolation, age, name, and the directory that it works on.

--archived lists what is kept of sandboxes that were removed: a directory with the
journal, which a server reads as its --data-dir, and a patch of the changes that had
not been applied, which sandbox diff prints.`,
		Example: `  sandbox-agent sandbox ls
  sandbox-agent sandbox ls --label team=web --json`,
		Args: arguments(0, 0),
		RunE: g.local(func(ctx context.Context, _ []string) error {
			if archived {
				return g.listArchived(ctx)
			}
			wanted, err := pairs("--label", labels)
			if err != nil {
				return err
			}
			list, err := g.sandboxes(ctx, wanted)
			if err != nil {
				return err
			}
			if g.json {
				views := make([]sandboxView, len(list))
				for i, s := range list {
					views[i] = viewOf(s)
				}
				return printJSON(g.env.Out, views)
			}
			t := table{none: "no sandboxes"}
			t.row("ID", "STATE", "PROVIDER", "AGE", "NAME", "WORKSPACE")
			for _, s := range list {
				t.row(s.ID, string(s.State), s.Provider+" (isolates: "+s.Capabilities.Isolation+")",
					time.Since(s.CreatedAt).Round(time.Second).String(), cmp.Or(s.Spec.Name, "-"), printable(cmp.Or(s.Spec.Workspace.Dir, "-")))
			}
			return t.print(g)
		}),
	}
	cmd.Flags().StringArrayVarP(&labels, "label", "l", nil, "only those with this label, as NAME=VALUE (repeatable)")
	cmd.Flags().BoolVar(&archived, "archived", false, "list what is kept of sandboxes that were removed")
	cmd.MarkFlagsMutuallyExclusive("label", "archived")
	return cmd
}

func (g *globals) listArchived(ctx context.Context) error {
	list, err := g.archived(ctx)
	if err != nil {
		return err
	}
	if g.json {
		return printJSON(g.env.Out, list)
	}
	t := table{}
	t.row("ID", "PROVIDER", "REMOVED", "NAME", "CHANGES", "DIRECTORY")
	for _, a := range list {
		t.row(a.ID, a.Provider, a.DestroyedAt.Local().Format(time.DateTime), cmp.Or(a.Name, "-"), strconv.Itoa(a.Changes), printable(a.Dir))
		if a.Partial != "" {
			fmt.Fprintf(g.env.Err, "· %s is not kept whole: %s\n", a.ID, a.Partial)
		}
	}
	return t.print(g)
}

func newSandboxShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show what a sandbox is and does",
		Long: `Show what a sandbox is and does: its state and the reason if it has failed, and
what this machine lets the provider do. Of the environment only names are shown.`,
		Example:           "  sandbox-agent sandbox show 3kq7x2",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.local(func(ctx context.Context, args []string) error {
			s, err := g.findSandbox(ctx, args[0])
			if err != nil {
				return err
			}
			v := viewOf(s)
			if g.json {
				return printJSON(g.env.Out, v)
			}
			for _, line := range []struct{ name, value string }{
				{"id", v.ID}, {"name", v.Name}, {"state", string(v.State)}, {"reason", v.Reason},
				{"agent", v.Agent}, {"provider", v.Provider}, {"isolation", v.Capabilities.Isolation}, {"created", v.CreatedAt.Local().Format(time.DateTime)},
				{"url", v.URL}, {"work directory", v.WorkDir}, {"workspace", strings.TrimSpace(string(v.Workspace.Mode) + " " + v.Workspace.Dir)},
				{"network", string(v.Network)}, {"models", strings.Join(v.Models, ", ")}, {"limits", limitsOf(v)}, {"pause by", v.Capabilities.Pause},
				{"environment", strings.Join(v.Env, " ")}, {"labels", labelsOf(v.Labels)},
			} {
				if line.value != "" {
					fmt.Fprintf(g.env.Out, "%-15s %s\n", line.name, printable(line.value))
				}
			}
			return nil
		}),
	}
}

func limitsOf(v sandboxView) string {
	var set []string
	for _, limit := range []struct {
		name  string
		value any
		set   bool
	}{{"memory", v.Resources.Memory, v.Resources.Memory > 0}, {"cpus", v.Resources.CPUs, v.Resources.CPUs > 0}, {"pids", v.Resources.PIDs, v.Resources.PIDs > 0}} {
		if limit.set {
			set = append(set, fmt.Sprintf("%s=%v", limit.name, limit.value))
		}
	}
	possible := "this machine allows none"
	if len(v.Capabilities.Limits) > 0 {
		possible = "possible: " + strings.Join(v.Capabilities.Limits, ", ")
	}
	return strings.TrimSpace(strings.Join(set, " ") + " (" + possible + ")")
}

func labelsOf(labels map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, name+"="+labels[name])
	}
	return strings.Join(list, " ")
}
