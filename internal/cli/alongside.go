package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

// A server that finds the default data directory in use by another one keeps its
// data in a directory of its own below that: servers/2, servers/3, and so on, the
// first that no server uses. Only the installed agents are shared. The sessions stay
// in the directory: the next server that falls back to it has them, and the commands
// for sessions find them there.

// firstAlongside is the number of the first such directory: the server of the data
// directory itself is the first one.
const firstAlongside = 2

// alongside returns where such directories are.
func (g *globals) alongside() string { return filepath.Join(g.data(), "servers") }

// lockAlongside takes the lock for choosing and for removing such a directory.
func lockAlongside(ctx context.Context, root string) (*filelock.Lock, error) {
	return filelock.Acquire(ctx, filepath.Join(root, "lock"), nil)
}

// serve runs a server until its context ends.
type serve func(context.Context, net.Listener) error

// openServer opens the server on its data directory, or on one of its own when the
// default one is in use.
func (g *globals) openServer(ctx context.Context, cfg app.Config) (serve, error) {
	srv, err := app.Open(cfg)
	if err == nil {
		return srv.Serve, nil
	}
	if !errors.Is(err, api.CodeDataLocked) {
		return nil, err
	}
	holder := g.holder(cmp.Or(cfg.Journal, g.journalFile()))
	if cfg.Journal != "" {
		return nil, api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"the journal %s is in use by %s; stop that, or name another file with --journal", cfg.Journal, holder)
	}
	if g.dataDir != "" {
		return nil, api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"the data directory %s is in use by %s; stop that, or name another directory with --data-dir", g.data(), holder)
	}
	cfg.AgentsDir = cfg.DataDir
	inUse, root := g.data(), g.alongside()
	serve, err := g.openAlongside(ctx, root, cfg)
	if err != nil {
		return nil, fmt.Errorf("the data directory %s is in use by %s: open another: %w; name one with --data-dir", inUse, holder, err)
	}
	cfg.Logger.Warn("the data directory is in use by another process, so this server has one of its own; its sessions are in sandbox-agent sessions ls --all",
		"dataDir", g.data(), "inUse", inUse, "by", holder)
	return func(ctx context.Context, l net.Listener) error { return errors.Join(serve(ctx, l), removeUnused(root)) }, nil
}

// openAlongside opens the server on the first directory that no server uses, which
// then is the data directory.
func (g *globals) openAlongside(ctx context.Context, root string, cfg app.Config) (serve, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockAlongside(ctx, root)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	for n := firstAlongside; ; n++ {
		cfg.DataDir = filepath.Join(root, strconv.Itoa(n))
		if sqlite.Held(filepath.Join(cfg.DataDir, journalName)) {
			continue
		}
		made := os.Mkdir(cfg.DataDir, 0o700)
		srv, err := app.Open(cfg)
		switch {
		case err == nil:
			g.dataDir = cfg.DataDir
			return srv.Serve, nil
		case made == nil:
			return nil, errors.Join(err, os.RemoveAll(cfg.DataDir))
		case !errors.Is(err, api.CodeDataLocked):
			cfg.Logger.Warn("skip a data directory that cannot be opened", "dataDir", cfg.DataDir, "error", err)
		}
	}
}

// removeUnused removes the directories that no server uses and that hold no session.
func removeUnused(root string) error {
	lock, err := lockAlongside(context.Background(), root)
	if err != nil {
		return err
	}
	defer lock.Release()
	for _, dir := range dataDirsIn(root) {
		name := filepath.Join(dir, journalName)
		if sqlite.Held(name) {
			continue
		}
		if kept, err := hasSessions(name); err != nil || kept {
			continue // one that cannot be read may hold some
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove unused data directory: %w", err)
		}
	}
	return nil
}

func hasSessions(journalFile string) (bool, error) {
	j, err := openJournal(journalFile, slog.New(slog.DiscardHandler))
	if err != nil {
		return false, err
	}
	records, err := j.ListRecords(context.Background(), session.RecordKind, "")
	return len(records) > 0, errors.Join(err, j.Close())
}

// dataDirsIn returns the data directories in the directory of those that servers
// fell back to, in the order of their numbers.
func dataDirsIn(root string) []string {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n >= firstAlongside && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	dirs := make([]string, len(numbers))
	for i, n := range numbers {
		dirs[i] = filepath.Join(root, strconv.Itoa(n))
	}
	return dirs
}

// holder says which process has a journal open: by its id, and by its address if it
// is a server that commands find.
func (g *globals) holder(journalFile string) string {
	pid := sqlite.Owner(journalFile)
	s, ok := readState(filepath.Join(filepath.Dir(journalFile), stateName))
	switch {
	case ok && s.Process == pid && syscall.Kill(pid, 0) != syscall.ESRCH:
		return fmt.Sprintf("the server at %s (pid %d)", s.URL, s.PID)
	case pid > 0:
		return fmt.Sprintf("another process (pid %d)", pid)
	}
	return "another process"
}
