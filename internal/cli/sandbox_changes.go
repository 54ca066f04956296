package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// differ returns what shows and applies the changes of a sandbox.
func (s foundSandbox) differ() (provider.Differ, error) {
	if d, ok := s.provider.(provider.Differ); ok {
		return d, nil
	}
	return nil, cannotSandbox(s, "compare the workspace of")
}

func newSandboxDiff(g *globals) *cobra.Command {
	var ignored, stat, commits bool
	cmd := &cobra.Command{
		Use:   "diff ID",
		Short: "Show what was changed in a sandbox",
		Long: `Show what was changed in the workspace of a sandbox since it was made, or since its
changes were last applied, as a patch that git apply takes. Commits that were made
in the sandbox are in it as one change; --as-commits prints them one by one, as
git am takes them. What .gitignore leaves out is counted, and shown with --ignored.

What the patch cannot say follows on standard error: what was left out, and which of
the files make something on your machine run what is in them. Of a sandbox that was
removed, the patch is that of what had not been applied.`,
		Example: `  sandbox-agent sandbox diff 3kq7x2
  sandbox-agent sandbox diff 3kq7x2 --stat
  sandbox-agent sandbox diff 3kq7x2 --as-commits | git am`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.local(func(ctx context.Context, args []string) error {
			s, err := g.findSandbox(ctx, args[0])
			if err != nil {
				return g.archivedPatch(ctx, args[0], err)
			}
			d, err := s.differ()
			if err != nil {
				return err
			}
			cols, _ := g.terminalSize()
			opts := provider.DiffOptions{Ignored: ignored, Width: int(cols)}
			out, flush := g.patchWriter()
			switch {
			case g.json:
			case stat:
				opts.Stat = out
			case commits:
				opts.Commits = out
			default:
				opts.Patch = out
			}
			changes, err := d.Diff(ctx, s.ID, opts)
			if err == nil {
				err = flush()
			}
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, changes)
			}
			g.changeNotes(changes)
			return nil
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&ignored, "ignored", false, "include what ignore files leave out")
	f.BoolVar(&stat, "stat", false, "print a summary instead of the patch")
	f.BoolVar(&commits, "as-commits", false, "print the commits that were made in the sandbox instead of the patch")
	cmd.MarkFlagsMutuallyExclusive("stat", "as-commits")
	cmd.MarkFlagsMutuallyExclusive("ignored", "as-commits")
	return cmd
}

// archivedPatch prints the patch of a sandbox that was removed, or returns err if
// there is none.
func (g *globals) archivedPatch(ctx context.Context, id string, err error) error {
	archived, failed := g.archived(ctx)
	if failed != nil {
		return err
	}
	for _, a := range archived {
		if a.ID != id || a.Changes == 0 {
			continue
		}
		file, err := os.Open(filepath.Join(a.Dir, "changes.patch"))
		if err != nil {
			return err
		}
		defer file.Close()
		out, flush := g.patchWriter()
		if _, err := io.Copy(out, file); err != nil {
			return err
		}
		return flush()
	}
	return err
}

// archived returns what the providers keep of sandboxes that were removed.
func (g *globals) archived(ctx context.Context) ([]provider.Archived, error) {
	makers, cfg := g.providers()
	all := []provider.Archived{}
	for _, maker := range makers {
		archiver, ok := maker.New(cfg).(provider.Archiver)
		if !ok {
			continue
		}
		list, err := archiver.Archived(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// changeNotes says on standard error what a patch does not.
func (g *globals) changeNotes(changes *api.Changes) {
	note := func(format string, args ...any) { fmt.Fprintf(g.env.Err, "· "+format+"\n", args...) }
	if len(changes.Files) == 0 {
		note("no changes")
	}
	for _, file := range changes.Files {
		if file.Runs != "" {
			note("look at %s before you use it: %s", printable(file.Path), file.Runs)
		}
	}
	for _, s := range changes.Skipped {
		note("left out: %s: %s", printable(s.Path), s.Reason)
	}
	if changes.Ignored > 0 {
		note("%s that .gitignore leaves out changed as well; include them with --ignored", countOf(changes.Ignored, "file"))
	}
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func newSandboxApply(g *globals) *cobra.Command {
	var opts provider.ApplyOptions
	cmd := &cobra.Command{
		Use:   "apply ID",
		Short: "Bring the changes of a sandbox back",
		Long: `Write what sandbox diff shows into the directory that the workspace was copied from,
all of it or nothing. .git stays as it is. Where you have changed the same files since,
nothing is written; --merge joins the lines that both sides changed, as git does.

With --to the changes go into another directory, such as a second clone, or an empty
one for a workspace that began empty.`,
		Example: `  sandbox-agent sandbox apply 3kq7x2
  sandbox-agent sandbox apply 3kq7x2 --merge
  sandbox-agent sandbox apply 3kq7x2 --to ../review`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSandbox,
		RunE: g.local(func(ctx context.Context, args []string) error {
			s, err := g.findSandbox(ctx, args[0])
			if err != nil {
				return err
			}
			if opts.Dir != "" {
				opts.Dir = g.path(opts.Dir)
			}
			applied, err := g.applySandbox(ctx, s, opts)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, applied)
			}
			for _, file := range applied.Files {
				fmt.Fprintf(g.env.Out, "%-8s %s\n", file.Status, printable(file.Path))
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&opts.Dir, "to", "", "directory to write to instead of the one that was copied")
	f.BoolVar(&opts.Merge, "merge", false, "join the lines of files that were changed on both sides")
	f.BoolVar(&opts.Ignored, "ignored", false, "include what ignore files leave out")
	return cmd
}

// applySandbox brings the changes of a sandbox back, and says on standard error what
// deserves a look.
func (g *globals) applySandbox(ctx context.Context, s foundSandbox, opts provider.ApplyOptions) (*api.Applied, error) {
	d, err := s.differ()
	if err != nil {
		return nil, err
	}
	applied, err := d.Apply(ctx, s.ID, opts)
	if err != nil {
		return nil, err
	}
	g.changeNotes(&api.Changes{Files: applied.Files, Skipped: append(applied.Skipped, applied.Left...)})
	for _, name := range applied.Merged {
		fmt.Fprintf(g.env.Err, "· merged %s with your own changes\n", printable(name))
	}
	if len(applied.Files) > 0 {
		fmt.Fprintf(g.env.Err, "· applied %s to %s\n", countOf(len(applied.Files), "change"), applied.Dir)
	}
	return applied, nil
}

// patchWriter returns standard output for a patch. A terminal gets it in colours, and
// without characters that would do something to it; flush writes what is left.
func (g *globals) patchWriter() (out io.Writer, flush func() error) {
	if !g.env.OutTerminal {
		return g.env.Out, func() error { return nil }
	}
	p := &patchPainter{g: g}
	return p, p.flush
}

// maxPainted bounds a line that is painted; a longer one is cut in pieces.
const maxPainted = 64 << 10

type patchPainter struct {
	g    *globals
	line []byte
}

func (p *patchPainter) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		piece, rest, whole := bytes.Cut(data, []byte("\n"))
		p.line = append(p.line, piece...)
		data = rest
		if !whole && len(p.line) < maxPainted {
			continue
		}
		if err := p.print(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (p *patchPainter) flush() error {
	if len(p.line) == 0 {
		return nil
	}
	return p.print()
}

func (p *patchPainter) print() error {
	text := harmless(string(p.line))
	p.line = p.line[:0]
	colour := ""
	switch {
	case strings.HasPrefix(text, "diff --git"), strings.HasPrefix(text, "---"), strings.HasPrefix(text, "+++"):
		colour = bold
	case strings.HasPrefix(text, "+"):
		colour = green
	case strings.HasPrefix(text, "-"):
		colour = red
	case strings.HasPrefix(text, "@@"):
		colour = cyan
	}
	if colour != "" {
		text = p.g.colour(colour, text)
	}
	_, err := fmt.Fprintln(p.g.env.Out, text)
	return err
}

// harmless writes characters that move the cursor, change colours, or turn the
// direction of the text as the escapes that Go has for them.
func harmless(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\t' || strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
