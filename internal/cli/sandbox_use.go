package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// inSandbox runs do with a client of the sandbox that the first argument names.
func (g *globals) inSandbox(do remoteFunc) func(*cobra.Command, []string) error {
	return g.local(func(ctx context.Context, args []string) error {
		g.sandbox = args[0]
		client := g.dial()
		defer client.Close()
		return g.explain(client, do(ctx, client, args[1:]))
	})
}

func newSandboxExec(g *globals) *cobra.Command {
	o := &runFlags{}
	cmd := &cobra.Command{
		Use:   "exec ID PROGRAM [ARG...]",
		Short: "Run a program in a sandbox to its end",
		Long: `Run a program in a sandbox to its end, in the workspace, showing what it writes as
it does. What it leaves running lives until the sandbox is killed, restarted, or
removed. No shell is involved: to have one, run sh -c "...".

Exit codes: those of sandbox-agent process run.`,
		Example: `  sandbox-agent sandbox exec 3kq7x2 ls -l
  sandbox-agent sandbox exec --timeout 5m 3kq7x2 go test ./...`,
		Args:              arguments(2, -1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.inSandbox(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			if args[0] == "--" {
				args = args[1:]
			}
			if len(args) == 0 {
				return usagef("name a program to run")
			}
			return o.run(ctx, g, c, args)
		}),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.DurationVar(&o.timeout, "timeout", 0, "time the program has, such as 90s (default as long as it takes)")
	f.BoolVarP(&o.stdin, "stdin", "i", false, "hand on standard input")
	return cmd
}

func newSandboxShell(g *globals) *cobra.Command {
	o := &terminalOptions{}
	cmd := &cobra.Command{
		Use:   "shell ID",
		Short: "Open a shell in a sandbox",
		Long: `Open a terminal with a login shell in a sandbox. ctrl-] leaves it running; come back
with sandbox-agent terminal --sandbox ID --attach PROCESS.`,
		Example:           "  sandbox-agent sandbox shell 3kq7x2",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.inSandbox(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			return o.run(ctx, g, c, args)
		}),
	}
	cmd.Flags().StringVar(&o.key, "detach-key", "ctrl-]", "key that leaves the shell, as ctrl-X; none for no key")
	return cmd
}

func newSandboxCopy(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "cp FROM... TO",
		Short: "Copy files into or out of a sandbox",
		Long: `Copy files and directories into or out of a sandbox. A path of a sandbox starts with
its id and a colon, as in 3kq7x2:notes.txt, and is relative to the home directory
in there, or absolute. Otherwise it is sandbox-agent fs cp.`,
		Example: `  sandbox-agent sandbox cp main.go 3kq7x2:/workspace/
  sandbox-agent sandbox cp 3kq7x2:/workspace/. result`,
		Args:              arguments(2, -1),
		ValidArgsFunction: g.completeSandboxPath,
		RunE: g.local(func(ctx context.Context, args []string) error {
			var paths []string
			for _, arg := range args {
				id, name, ok := strings.Cut(arg, ":")
				if !ok || id == "" || strings.ContainsAny(id, "/.") {
					paths = append(paths, arg)
					continue
				}
				if g.sandbox != "" && g.sandbox != id {
					return usagef("copy from or to one sandbox at a time, not %s and %s", g.sandbox, id)
				}
				g.sandbox = id
				paths = append(paths, ":"+name)
			}
			if g.sandbox == "" {
				return usagef("neither side is in a sandbox; its paths start with an id and a colon, as in ID:%s", args[len(args)-1])
			}
			client := g.dial()
			defer client.Close()
			return g.explain(client, g.copyAll(ctx, client, paths[:len(paths)-1], paths[len(paths)-1]))
		}),
	}
}

func newSandboxLogs(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "logs ID",
		Short: "Print the newest output of the server of a sandbox",
		Long: `Print the newest output of the server of a sandbox and of what started it, at most a
megabyte. It is there also when the sandbox has failed.`,
		Example:           "  sandbox-agent sandbox logs 3kq7x2",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.local(func(ctx context.Context, args []string) error {
			s, err := g.findSandbox(ctx, args[0])
			if err != nil {
				return err
			}
			logger, ok := provider.As[provider.Logger](s.provider)
			if !ok {
				return cannotSandbox(s, "keep a log of")
			}
			data, err := logger.Logs(ctx, s.ID)
			if err != nil {
				return err
			}
			_, err = g.env.Out.Write(data)
			return err
		}),
	}
}

func newSandboxKeys(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "keys ID",
		Short: "Hand your model keys to a sandbox",
		Long: `Hand your model keys to a sandbox, in place of those that it was made with: those of
the environment of this command and of your agents, with the servers that variables
such as ANTHROPIC_BASE_URL name. They count from the next request on. The keys go to
the process that owns the sandbox, which keeps them in memory; the sandbox does not
see them.`,
		Example:           "  ANTHROPIC_API_KEY=... sandbox-agent sandbox keys 3kq7x2",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.local(func(ctx context.Context, args []string) error {
			s, err := g.findSandbox(ctx, args[0])
			if err != nil {
				return err
			}
			setter, ok := provider.As[provider.KeySetter](s.provider)
			if !ok {
				return cannotSandbox(s, "hand keys to")
			}
			warnings, err := setter.SetKeys(ctx, s.ID)
			if err != nil {
				return err
			}
			now, err := s.provider.Get(ctx, s.ID)
			if err != nil {
				return err
			}
			g.noteModels(now.Models, warnings)
			return nil
		}),
	}
}

func cannotSandbox(s foundSandbox, verb string) error {
	return api.NewError(api.KindNotSupported, "", "the provider %s cannot %s a sandbox", s.Provider, verb)
}

func newSandboxRemove(g *globals) *cobra.Command {
	var discard bool
	cmd := &cobra.Command{
		Use:   "rm ID...",
		Short: "Remove sandboxes with all that they keep",
		Long: `Remove sandboxes with all that they keep: everything that runs in them is killed, and
their home directories, sessions, and workspaces are deleted. A directory that was bound
or copied stays. A sandbox with changes that were not applied is only removed with
--discard. The journal, and a patch of those changes, are archived for the newest 100
sandboxes; see sandbox-agent sandbox ls --archived.`,
		Example: `  sandbox-agent sandbox rm 3kq7x2
  sandbox-agent sandbox rm --discard 3kq7x2 9fw0aa`,
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.local(func(ctx context.Context, args []string) error {
			var failed []error
			for _, name := range args {
				failed = append(failed, g.removeSandbox(ctx, name, discard))
			}
			return errors.Join(failed...)
		}),
	}
	cmd.Flags().BoolVar(&discard, "discard", false, "remove sandboxes with changes that were not applied as well")
	return cmd
}

func (g *globals) removeSandbox(ctx context.Context, name string, discard bool) error {
	s, err := g.findSandbox(ctx, name)
	if err != nil {
		return err
	}
	keeper, ok := provider.As[provider.Keeper](s.provider)
	if ok && !discard {
		n, err := keeper.Kept(ctx, s.ID)
		if err != nil {
			return err
		}
		if n > 0 {
			return api.Conflict(api.CodeUnsavedWork, "sandbox %s has %s not yet applied; look at them with sandbox-agent sandbox diff %s, bring them back with sandbox apply, or remove the sandbox with --discard", s.ID, countOf(n, "change"), s.ID)
		}
	}
	return s.provider.Destroy(ctx, s.ID)
}

func newSandboxPrune(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "End and remove what is left of sandboxes that do not exist",
		Long: `End and remove what is left of sandboxes that do not exist: of creations that were
killed halfway, and of sandboxes whose shim was killed, which are reported failed.
No sandbox that sandbox ls shows is removed.`,
		Example: "  sandbox-agent sandbox prune",
		Args:    arguments(0, 0),
		RunE: g.local(func(ctx context.Context, _ []string) error {
			makers, cfg := g.providers()
			total := provider.Pruned{Failed: []string{}, Removed: []string{}}
			for _, maker := range makers {
				pruner, ok := provider.As[provider.Pruner](maker.New(cfg))
				if !ok {
					continue
				}
				pruned, err := pruner.Prune(ctx)
				if err != nil {
					return err
				}
				total.Failed = append(total.Failed, pruned.Failed...)
				total.Removed = append(total.Removed, pruned.Removed...)
			}
			if g.json {
				return printJSON(g.env.Out, total)
			}
			for _, id := range total.Failed {
				fmt.Fprintf(g.env.Out, "%s has failed: its shim was killed\n", id)
			}
			for _, id := range total.Removed {
				fmt.Fprintf(g.env.Out, "%s was never finished, and is removed\n", id)
			}
			return nil
		}),
	}
}
