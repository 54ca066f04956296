package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

func newSessionsExport(g *globals) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "export [ID...]",
		Short: "Write sessions to a file",
		Long: `Write sessions, all or those named, with their events and their configuration to
standard output or a file: lines of JSON, which sessions import reads. The file
holds all that the sessions hold, but references in place of the values of
variables, headers, and tokens. Sessions may go on meanwhile.

` + whichSessions,
		Example: `  sandbox-agent sessions export --output sessions.ndjson
  sandbox-agent sessions export 3f2a | gzip >3f2a.ndjson.gz
  sandbox-agent sessions export --data-dir /old/sandbox-agent --output old.ndjson`,
		Args:              arguments(0, -1),
		ValidArgsFunction: g.completeSession,
		RunE: g.local(func(ctx context.Context, args []string) error {
			return g.withFileSessions(ctx, false, func(at fileSessions) error {
				var done sandboxagent.Exported
				args := slices.Clone(args)
				for i, id := range args {
					session, err := g.findSession(ctx, at.Client, id)
					if err != nil {
						return err
					}
					args[i] = session.ID
				}
				err := g.writeOutput(output, func(w io.Writer) (err error) {
					done, err = at.ExportSessions(ctx, w, args...)
					return err
				})
				switch {
				case err != nil:
					return err
				case g.json && output != "":
					return printJSON(g.env.Out, done)
				}
				fmt.Fprintf(g.env.Err, "sandbox-agent: %s written, from %s\n", counted(done.Sessions, done.Events), at.where)
				return nil
			})
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, which comes into being whole or not at all")
	return cmd
}

func newSessionsImport(g *globals) *cobra.Command {
	var keep []string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Read sessions from a file",
		Long: `Read what sessions export has written, from a file or standard input: all of it, or
nothing when the file is not whole or one of its sessions is there already. The
next prompt to a session brings its agent back.

The environment of agents, MCP servers, skills, policies, remembered rules, and
settings such as the mode are dropped and listed, as a file from elsewhere could
run programs and allow itself anything with them. --keep takes them along.

` + whichSessions,
		Example: `  sandbox-agent sessions import sessions.ndjson
  sandbox-agent sessions import --keep env,mcp,policy mine.ndjson
  gunzip <3f2a.ndjson.gz | sandbox-agent sessions import
  sandbox-agent sessions import --data-dir /new/sandbox-agent old.ndjson`,
		Args: arguments(0, 1),
		RunE: g.local(func(ctx context.Context, args []string) error {
			in := g.env.In
			if len(args) > 0 {
				f, err := os.Open(g.path(args[0]))
				if err != nil {
					return fmt.Errorf("open file: %w", err)
				}
				defer f.Close()
				in = f
			}
			return g.withFileSessions(ctx, true, func(at fileSessions) error {
				done, err := at.ImportSessions(ctx, in, sandboxagent.ImportOptions{Keep: keep})
				switch {
				case err != nil:
					return err
				case g.json:
					return printJSON(g.env.Out, done)
				}
				fmt.Fprintf(g.env.Err, "sandbox-agent: %s read, into %s\n", counted(len(done.Sessions), done.Events), at.where)
				for _, d := range done.Dropped {
					fmt.Fprintf(g.env.Err, "sandbox-agent: dropped from %s: %s (%s); import it with --keep %s if you trust the file\n", d.Session, d.Part, printable(strings.Join(d.Names, ", ")), d.Part)
				}
				return nil
			})
		}),
	}
	cmd.Flags().StringSliceVar(&keep, "keep", nil, "parts to take along: "+strings.Join(api.ImportParts, ", "))
	must(cmd.RegisterFlagCompletionFunc("keep", cobra.FixedCompletions(api.ImportParts, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// whichSessions is the part of the help that export and import share.
const whichSessions = `The sessions are those of the server, as for the other commands here. With
--data-dir they are those in that directory, whose server must not run; so they are,
in the default directory, when no server was named and none answers.`

// fileSessions are the sessions that files are written from or read into.
type fileSessions struct {
	*sandboxagent.Client
	where string // for people
}

// withFileSessions runs do on the sessions of the server, or on those of the data
// directory with a server inside this program. A command that writes may make it.
func (g *globals) withFileSessions(ctx context.Context, writes bool, do func(fileSessions) error) error {
	if g.endpoint != "" && g.dataDir != "" {
		return usagef("--endpoint and --data-dir name two places; give one of them")
	}
	client := g.dial()
	defer client.Close()
	if g.dataDir == "" {
		named := g.givenEndpoint() != ""
		if named || !unreachable(ctx, client) {
			return g.explain(client, do(fileSessions{client, client.BaseURL()}))
		}
	}
	if _, err := os.Stat(g.journalFile()); errors.Is(err, fs.ErrNotExist) && !writes {
		if g.dataDir == "" {
			return fmt.Errorf("no server answers at %s, and %s has no sessions; name a server with --endpoint, or a directory with --data-dir", client.BaseURL(), g.data())
		}
		return fmt.Errorf("%s has no sessions; name another directory with --data-dir, or a server with --endpoint", g.data())
	}
	cfg, err := g.insideConfig(&serverOptions{})
	if err != nil {
		return err
	}
	// The limits and the retention of the server of that directory are not known here.
	cfg.Limits.JournalRetentionDays, cfg.Limits.MaxUploadBytes = math.MaxInt32, math.MaxInt64
	inside, err := g.openInside(cfg)
	if errors.Is(err, api.CodeDataLocked) {
		return fmt.Errorf("%w; name the server that uses %s with --endpoint, or stop it first, for example with sandbox-agent daemon stop", err, g.data())
	}
	if err != nil {
		return err
	}
	defer inside.stop()
	return do(fileSessions{inside.client, g.data()})
}

// unreachable reports whether nobody answers.
func unreachable(ctx context.Context, client *sandboxagent.Client) bool {
	_, err := client.Health(ctx)
	return undialled(err)
}

func newSessionsSalvage(g *globals) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "salvage FILE",
		Short: "Write what is readable of a damaged journal to a file",
		Long: `Write the sessions that are readable of a damaged journal, such as a journal.db that
was moved aside, to standard output or a file, which sessions import reads. Events
that are lost are gaps. The journal and its tail are left as they are.`,
		Example: `  sandbox-agent sessions salvage --output saved.ndjson damaged/journal.db
  sandbox-agent sessions import saved.ndjson`,
		Args: arguments(1, 1),
		RunE: g.local(func(ctx context.Context, args []string) error {
			return g.salvage(ctx, g.path(args[0]), output)
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, which comes into being whole or not at all")
	return cmd
}

func (g *globals) salvage(ctx context.Context, damaged, output string) error {
	dir, err := os.MkdirTemp("", "salvage-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(filepath.Join(dir, "journal.db"))
	if err != nil {
		return err
	}
	found, err := sqlite.Salvage(ctx, damaged, store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	sessions, events := 0, 0
	selection := session.Selection
	selection.Record = func(kind, id string) bool {
		wanted := session.Selection.Record(kind, id)
		if wanted && kind == session.RecordKind {
			sessions++
		}
		return wanted
	}
	err = g.writeOutput(output, func(w io.Writer) error {
		tally, err := j.Export(ctx, w, selection)
		events = tally.Entries
		return err
	})
	if err = errors.Join(err, j.Close()); err != nil {
		return err
	}
	fmt.Fprintf(g.env.Err, "sandbox-agent: %s written; %d blocks and records are lost for sure\n", counted(sessions, events), found.Lost)
	return nil
}

func counted(sessions, events int) string {
	noun := "sessions"
	if sessions == 1 {
		noun = "session"
	}
	return fmt.Sprintf("%d %s with %d events", sessions, noun, events)
}

// writeOutput writes to a file, or to standard output if that has no name.
func (g *globals) writeOutput(name string, write func(io.Writer) error) error {
	if name == "" {
		return write(g.env.Out)
	}
	return atomicfile.WriteFunc(g.path(name), atomicfile.Options{}, write)
}
