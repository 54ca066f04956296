package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/secrets"
)

// A run alongside a server, which holds the journal of the data directory, has a
// journal of its own. The next program that holds that of the directory takes it in.

// journalFile is the journal of the data directory.
func (g *globals) journalFile() string { return filepath.Join(g.data(), journalName) }

// journalName is the name of the journal in a data directory.
const journalName = "journal.db"

// runJournal is where the events of this run go when it cannot have the journal
// of the data directory.
func (g *globals) runJournal() string {
	return filepath.Join(g.runs(), fmt.Sprintf("%d.db", os.Getpid()))
}

// runs is the directory of such journals.
func (g *globals) runs() string { return filepath.Join(g.data(), "runs") }

// adoptRuns takes the runs that have ended into the journal of the data directory,
// unless a server holds it. What cannot be taken in stays where it is.
func (g *globals) adoptRuns(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(g.runs(), "*.db"))
	if err != nil || len(names) == 0 {
		return err
	}
	log, err := g.logger(slog.LevelWarn)
	if err != nil {
		return err
	}
	j, err := openJournal(g.journalFile(), log)
	if errors.Is(err, api.CodeDataLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		if err := adoptRun(ctx, j, name, g.journalFile()); err != nil {
			failed = append(failed, fmt.Errorf("take in %s: %w", name, err))
		}
	}
	return errors.Join(append(failed, j.Close())...)
}

// openJournal opens the journal in a file, for this command alone.
func openJournal(name string, log *slog.Logger) (*journal.Journal, error) {
	store, err := sqlite.Open(name)
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(store, journal.Options{Logger: log})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return j, nil
}

// adoptRun moves all that the journal of a run holds, unless the run goes on.
func adoptRun(ctx context.Context, j *journal.Journal, name, into string) error {
	if sqlite.Held(name) {
		return nil
	}
	store, err := sqlite.Open(name)
	if err != nil {
		return err
	}
	run, err := journal.Open(store, journal.Options{})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	r, w := io.Pipe()
	go func() {
		_, err := run.Export(ctx, w, journal.Selection{})
		w.CloseWithError(err)
	}()
	_, err = j.Import(ctx, r, journal.ImportOptions{})
	r.CloseWithError(err)
	if err == nil {
		err = secrets.Move(name+secrets.DirSuffix, into+secrets.DirSuffix)
	}
	if err = errors.Join(err, run.Close()); err != nil {
		return err
	}
	files, err := filepath.Glob(name + "*")
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}
