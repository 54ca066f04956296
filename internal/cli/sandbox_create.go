package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/all"
)

// createOptions are the flags of sandbox create.
type createOptions struct {
	provider, name, root, workspace, mode, network, memory string
	agent                                                  string
	env, files, bootstrap, labels                          []string
	cpus                                                   float64
	pids                                                   int64
	ttl                                                    time.Duration
	strict                                                 bool
}

func newSandboxCreate(g *globals) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a sandbox",
		Long: `Make a sandbox and print its id, as the last line. It is running when the command
returns, and goes on running until it is removed.

The provider bubblewrap isolates by Linux namespaces: the sandbox sees programs and
libraries of this machine and its workspace. The provider local isolates nothing: what
runs there can do whatever you can.

The network none has nothing but a loopback. The network model reaches model providers
with the keys of your environment and of your agents, which the sandbox never sees; it
is what agents other than the mock need. The network open also reaches the internet, but
no address of this machine or of a private network.

The workspace is an empty directory of the sandbox, or with --workspace a directory
of this machine, which the sandbox changes at once; its .git is read-only there. With
--mode copy the sandbox works on a copy of that directory, in which it can commit;
sandbox diff shows what was changed, and sandbox apply brings it back.

With --agent the agent is installed first where sandboxes find it, if it is not there
yet: once for all sandboxes of this user, which cannot change it.

Files are written and bootstrap commands run before the command returns. If one of
them fails, nothing is left of the sandbox.`,
		Example: `  sandbox-agent sandbox create
  sandbox-agent sandbox create --agent claude --workspace .
  sandbox-agent sandbox create --mode copy --workspace .
  sandbox-agent sandbox create --workspace . --network model --memory 2g
  sandbox-agent sandbox create --file setup.sh=setup.sh --bootstrap "sh setup.sh"`,
		Args: arguments(0, 0),
		RunE: g.local(func(ctx context.Context, _ []string) error {
			spec, err := o.spec(g)
			if err != nil {
				return err
			}
			s, err := g.createSandbox(ctx, o.provider, spec)
			if err != nil {
				return err
			}
			for _, result := range s.Bootstrap {
				fmt.Fprint(g.env.Err, result.Stdout, result.Stderr)
			}
			if g.json {
				return printJSON(g.env.Out, viewOf(s))
			}
			fmt.Fprintln(g.env.Out, s.ID)
			return nil
		}),
	}
	f := cmd.Flags()
	makers := all.Providers()
	names := make([]string, len(makers))
	for i, maker := range makers {
		names[i] = maker.Name
	}
	f.StringVarP(&o.provider, "provider", "p", "bubblewrap", "what makes it: "+strings.Join(names, " or "))
	f.StringVar(&o.name, "name", "", "name, for people")
	f.StringVarP(&o.agent, "agent", "a", "", "agent that it is for (see sandbox-agent agents list)")
	f.StringVar(&o.root, "root", "", "directory with a root file system to use in place of this machine's")
	f.StringVarP(&o.workspace, "workspace", "w", "", "directory to work in")
	f.StringVar(&o.mode, "mode", "", "how the workspace comes about: bind, copy, or empty (default bind with --workspace, else empty)")
	f.StringVar(&o.network, "network", "", "what it has of a network: none, model, or open (default model with --agent, if that needs one)")
	f.StringArrayVar(&o.env, "env", nil, "variable for all that runs in it, as NAME=VALUE (repeatable)")
	f.StringArrayVar(&o.files, "file", nil, "file to write into it, as PATH=FILE; PATH is below the workspace, absolute, or begins with ~/ (repeatable)")
	f.StringArrayVar(&o.bootstrap, "bootstrap", nil, "line for sh to run in the workspace (repeatable)")
	f.StringArrayVarP(&o.labels, "label", "l", nil, "label, as NAME=VALUE (repeatable)")
	f.StringVar(&o.memory, "memory", "", "most memory, such as 512m or 2g")
	f.Float64Var(&o.cpus, "cpus", 0, "most processor time, in processors")
	f.Int64Var(&o.pids, "pids", 0, "most processes and threads")
	f.DurationVar(&o.ttl, "ttl", 0, "time after which it is paused, such as 2h (default never)")
	f.BoolVar(&o.strict, "strict", false, "forbid user namespaces in it as well")
	complete := func(flag string, values ...string) {
		must(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
	}
	must(cmd.RegisterFlagCompletionFunc("agent", g.completeAgent))
	complete("provider", names...)
	complete("mode", string(provider.WorkspaceBind), string(provider.WorkspaceCopy), string(provider.WorkspaceEmpty))
	complete("network", string(provider.NetworkNone), string(provider.NetworkModel), string(provider.NetworkOpen))
	return cmd
}

func (o *createOptions) spec(g *globals) (provider.Spec, error) {
	spec := provider.Spec{
		Name: o.name, Agent: o.agent, Network: provider.Network(o.network), Strict: o.strict, TTL: o.ttl,
		Workspace: provider.Workspace{Mode: provider.WorkspaceMode(o.mode)},
		Resources: provider.Resources{CPUs: o.cpus, PIDs: o.pids},
	}
	switch {
	case o.workspace != "":
		spec.Workspace.Dir = g.path(o.workspace)
	case spec.Workspace.Mode == provider.WorkspaceBind || spec.Workspace.Mode == provider.WorkspaceCopy:
		spec.Workspace.Dir = g.path(".")
	}
	if o.root != "" {
		spec.Root = g.path(o.root)
	}
	var err error
	if spec.Resources.Memory, err = parseSize(o.memory); err != nil {
		return spec, err
	}
	if spec.Env, err = pairs("--env", o.env); err != nil {
		return spec, err
	}
	if spec.Labels, err = pairs("--label", o.labels); err != nil {
		return spec, err
	}
	for _, pair := range o.files {
		name, from, ok := strings.Cut(pair, "=")
		if !ok {
			return spec, usagef("--file %q is not of the form PATH=FILE", pair)
		}
		from = g.path(from)
		info, err := os.Stat(from)
		if err != nil {
			return spec, err
		}
		content, err := os.ReadFile(from)
		if err != nil {
			return spec, err
		}
		spec.Files = append(spec.Files, provider.File{Path: name, Mode: info.Mode() & fs.ModePerm, Content: content})
	}
	for _, line := range o.bootstrap {
		spec.Bootstrap = append(spec.Bootstrap, provider.Command{Args: []string{"sh", "-c", line}})
	}
	return spec, nil
}

// parseSize reads a number of bytes, with k, m, or g for powers of 1024.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimRight(strings.ToLower(text), "kmgib")
	factor, known := map[string]int64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[strings.TrimRight(strings.ToLower(text[len(digits):]), "ib")]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n <= 0 || n > 1<<62/factor {
		return 0, usagef("size %q: use a number of bytes, or one with k, m, or g", text)
	}
	return n * factor, nil
}

// createSandbox makes a sandbox, after it has said what the user has to know.
func (g *globals) createSandbox(ctx context.Context, name string, spec provider.Spec) (foundSandbox, error) {
	maker, err := g.maker(name)
	if err != nil {
		return foundSandbox{}, err
	}
	_, cfg := g.providers()
	copied := &copyProgress{g: g}
	cfg.Progress = copied.show
	p := maker.New(cfg)
	note := func(text string) { fmt.Fprintf(g.env.Err, "· %s\n", text) }
	if maker.Notice != "" {
		note(maker.Notice)
	} else if dir := spec.Workspace.Dir; dir != "" && cmp.Or(spec.Workspace.Mode, provider.WorkspaceBind) == provider.WorkspaceBind {
		note("the sandbox changes " + dir + " itself; .git is read-only there")
		note("nested repositories, submodules, .envrc, and build files can be changed: look at them before you run what they name")
	}
	if pruner, ok := provider.As[provider.Pruner](p); ok {
		if _, err := pruner.Prune(ctx); err != nil {
			fmt.Fprintln(g.env.Err, "sandbox-agent: prune:", err)
		}
	}
	if spec.Agent != "" {
		if err := g.installFor(ctx, maker, spec.Agent); err != nil {
			return foundSandbox{}, err
		}
		if spec.Network == "" && g.needsModel(spec.Agent) {
			spec.Network = maker.ForModels
		}
	}
	i, err := p.Create(ctx, spec)
	copied.end()
	if err != nil && ctx.Err() != nil {
		err = errors.Join(errors.New("interrupted; nothing is left of the sandbox"), err)
	}
	if err != nil {
		return foundSandbox{}, err
	}
	g.noteModels(i.Models, i.Warnings)
	return foundSandbox{i, p}, nil
}

// noteModels says which models a sandbox reaches, and what else the user has to know.
func (g *globals) noteModels(models, warnings []string) {
	if len(models) > 0 {
		fmt.Fprintf(g.env.Err, "· it reaches models of %s with your key, which it does not see\n", strings.Join(models, ", "))
	}
	for _, warning := range warnings {
		fmt.Fprintf(g.env.Err, "· %s\n", warning)
	}
}

// copyProgress shows on a terminal how far a directory is copied.
type copyProgress struct {
	g     *globals
	shown bool
}

func (p *copyProgress) show(files int, bytes int64) {
	if !p.g.env.ErrTerminal || p.g.json {
		return
	}
	p.shown = true
	fmt.Fprintf(p.g.env.Err, "\r· copying the workspace: %s, %d MiB%s", countOf(files, "file"), bytes>>20, eraseLine)
}

func (p *copyProgress) end() {
	if p.shown {
		fmt.Fprint(p.g.env.Err, "\r"+eraseLine)
	}
}

// installFor installs an agent where the sandboxes of a provider find it, if it is not
// there yet.
func (g *globals) installFor(ctx context.Context, maker all.Maker, agent string) error {
	steps := &installSteps{g: g}
	defer steps.end()
	if maker.Store {
		return g.catalogue().Share(ctx, agent, steps.tell)
	}
	_, err := g.catalogue().Install(ctx, agent, api.AgentInstallRequest{}, steps.tell)
	return err
}
