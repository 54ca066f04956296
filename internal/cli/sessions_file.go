package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// How the journal names what belongs to sessions.
const (
	sessionRecord = "session"
	sessionStream = "session/"
)

func newSessionsExport(g *globals) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "export [ID...]",
		Short: "Write sessions to a file",
		Long: `Write sessions, all or those named by the server's id, with their events and their
configuration to standard output or a file: lines of JSON, which sessions import
reads. The file holds all that the sessions hold, secrets in their environment too.

It works on the data folder of this machine, and so needs the server that uses it
to be stopped. From a server that runs, sessions events --json tells what happened.`,
		Example: `  sandbox-agent sessions export --output sessions.ndjson
  sandbox-agent sessions export 3f2a | gzip >3f2a.ndjson.gz`,
		Args: arguments(0, -1),
		RunE: g.local(func(ctx context.Context, args []string) error {
			j, err := g.openData(false)
			if err != nil {
				return err
			}
			tally, err := exportSessions(ctx, g, j, g.data(), output, args)
			if err = errors.Join(err, j.Close()); err != nil {
				return err
			}
			fmt.Fprintf(g.env.Err, "sandbox-agent: %s written\n", counted(tally))
			return nil
		}),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, which comes into being whole or not at all")
	return cmd
}

func newSessionsImport(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "import [FILE]",
		Short: "Read sessions from a file",
		Long: `Read what sessions export has written, from a file or standard input: all of it, or
nothing when the file is not whole or one of its sessions is there already.

It works on the data folder of this machine, and so needs the server that uses it
to be stopped. The next prompt to a session brings its agent back.`,
		Example: `  sandbox-agent sessions import sessions.ndjson
  gunzip <3f2a.ndjson.gz | sandbox-agent sessions import`,
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
			j, err := g.openData(true)
			if err != nil {
				return err
			}
			tally, err := j.Import(ctx, in, journal.ImportOptions{})
			if err == nil {
				var configs int
				configs, err = restoreConfig(ctx, j, g.data())
				tally.Records -= configs
			}
			if err = errors.Join(err, j.Close()); err != nil {
				return err
			}
			fmt.Fprintf(g.env.Err, "sandbox-agent: %s read\n", counted(tally))
			return nil
		}),
	}
}

func newSessionsSalvage(g *globals) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "salvage FILE",
		Short: "Write what is readable of a damaged journal to a file",
		Long: `Write the sessions that are readable of a damaged journal, such as a journal.db that
was moved aside, to standard output or a file, which sessions import reads. Events
that are lost are gaps. The journal, and its tail beside it, are left as they are.`,
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
		return fmt.Errorf("make folder: %w", err)
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
	tally, err := exportSessions(ctx, g, j, filepath.Dir(damaged), output, nil)
	if err = errors.Join(err, j.Close()); err != nil {
		return err
	}
	fmt.Fprintf(g.env.Err, "sandbox-agent: %s written; %d blocks and records are lost for sure\n", counted(tally), found.Lost)
	return nil
}

func counted(t journal.Tally) string {
	noun := "sessions"
	if t.Records == 1 {
		noun = "session"
	}
	return fmt.Sprintf("%d %s with %d events", t.Records, noun, t.Entries)
}

// openData opens the journal of the data folder, for this command alone.
func (g *globals) openData(create bool) (*journal.Journal, error) {
	log, err := g.logger(slog.LevelWarn)
	if err != nil {
		return nil, err
	}
	path := g.journalFile()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !create {
		return nil, fmt.Errorf("there are no sessions in %s; name another folder with --data-dir", g.data())
	}
	store, err := sqlite.Open(path)
	if errors.Is(err, api.CodeDataLocked) {
		return nil, fmt.Errorf("%w; stop the server that uses %s first, for example with sandbox-agent daemon stop", err, g.data())
	}
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(store, journal.Options{Logger: log})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return j, nil
}

// exportSessions writes sessions of a journal, with what is configured for them in
// its data folder.
func exportSessions(ctx context.Context, g *globals, j *journal.Journal, data, output string, ids []string) (tally journal.Tally, err error) {
	records, err := j.ListRecords(ctx, sessionRecord, "")
	if err != nil {
		return journal.Tally{}, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(records, func(r journal.Record) bool { return r.ID == id }) {
			return journal.Tally{}, api.SessionNotFound(id)
		}
	}
	wanted := func(id string) bool { return len(ids) == 0 || slices.Contains(ids, id) }
	var configs []string
	defer func() {
		err = errors.Join(err, forgetConfig(context.WithoutCancel(ctx), j, configs))
		tally.Records -= len(configs)
	}()
	for _, r := range records {
		if !wanted(r.ID) {
			continue
		}
		more, err := recordConfig(ctx, j, data, r.ID)
		if configs = append(configs, more...); err != nil {
			return tally, err
		}
	}
	selection := journal.Selection{
		Record: func(kind, id string) bool {
			return kind == sessionRecord && wanted(id) || kind == sessionConfig && slices.Contains(configs, id)
		},
		Stream: func(name string) bool {
			id, ok := strings.CutPrefix(name, sessionStream)
			return ok && wanted(id)
		},
	}
	if output == "" {
		return j.Export(ctx, g.env.Out, selection)
	}
	err = writeWhole(g.path(output), func(w io.Writer) (err error) {
		tally, err = j.Export(ctx, w, selection)
		return err
	})
	return tally, err
}

// writeWhole makes a file that only its owner can read, or leaves what was there.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".export-")
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
