package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/provider"
)

// Bounds of what is kept of sandboxes that were destroyed.
const (
	maxArchives     = 100
	maxArchiveBytes = 1 << 30 // of all together
	maxJournalBytes = 256 << 20
	maxPatchBytes   = 64 << 20
)

// recordFile is the file of an archive that says what it is of.
const recordFile = "archived.json"

func (s *Store) archives() string { return filepath.Join(s.cfg.StateDir, "archive") }

// Destroy archives the sandbox before it is destroyed. If that fails, it is killed and
// stays.
func (s *Store) Destroy(ctx context.Context, id string) error {
	dir, record, err := s.Find(id)
	if err != nil {
		return err
	}
	lock, err := filelock.Acquire(ctx, filepath.Join(string(dir), "archive.lock"), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process was faster
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	status, err := dir.ReadStatus()
	if err != nil || !status.Born {
		return s.Store.Destroy(ctx, id)
	}
	if err := s.Kill(ctx, id); err != nil {
		return err
	}
	if err := s.archive(ctx, dir, record); err != nil {
		return fmt.Errorf("archive sandbox %s before it is destroyed: %w", id, err)
	}
	return s.Store.Destroy(ctx, id)
}

// archive keeps the journal and the patch of a sandbox that does not run any more.
func (s *Store) archive(ctx context.Context, dir shim.Dir, record shim.Record) error {
	final := filepath.Join(s.archives(), record.ID)
	temp := final + ".new"
	if err := errors.Join(os.RemoveAll(temp), os.MkdirAll(temp, 0o700)); err != nil {
		return err
	}
	kept := provider.Archived{
		ID: record.ID, Provider: record.Provider, Name: record.Spec.Name, Workspace: record.Spec.Workspace,
		CreatedAt: record.CreatedAt, DestroyedAt: time.Now().UTC(), Dir: final,
	}
	var partial []string
	if err := s.copyJournal(dir, temp); err != nil {
		partial = append(partial, "the journal: "+err.Error())
	}
	count, err := s.keepPatch(ctx, record, filepath.Join(temp, "changes.patch"))
	if err != nil {
		partial = append(partial, "the patch: "+err.Error())
	}
	kept.Changes, kept.Partial = count, strings.Join(partial, "; ")
	data, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(temp, recordFile), data, 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(final), os.Rename(temp, final)); err != nil {
		return err
	}
	return s.trim(ctx)
}

// keepPatch writes what was not applied.
func (s *Store) keepPatch(ctx context.Context, record shim.Record, name string) (int, error) {
	if record.Spec.Workspace.Mode == provider.WorkspaceBind {
		return 0, nil
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	patch := &bounded{w: file, left: maxPatchBytes}
	result, err := s.Diff(ctx, record.ID, provider.DiffOptions{Patch: patch})
	switch {
	case patch.full:
		return 0, errors.Join(fmt.Errorf("it is larger than %d MiB", maxPatchBytes>>20), os.Remove(name))
	case err != nil:
		return 0, err
	case len(result.Files) == 0:
		return 0, os.Remove(name)
	}
	return len(result.Files), file.Close()
}

// bounded writes up to a number of bytes.
type bounded struct {
	w    io.Writer
	left int64
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		b.full = true
		return 0, errors.New("too large")
	}
	b.left -= int64(len(p))
	return b.w.Write(p)
}

// copyJournal copies the files of the journal. Those in the sandbox could write where
// it lies: no link is followed out of there, and only regular files are read.
func (s *Store) copyJournal(dir shim.Dir, to string) error {
	top, err := os.OpenRoot(string(dir))
	if err != nil {
		return err
	}
	defer top.Close()
	root, err := top.OpenRoot(s.cfg.Journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	list, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	left := int64(maxJournalBytes)
	for _, entry := range list {
		if !strings.HasPrefix(entry.Name(), "journal.db") || !entry.Type().IsRegular() {
			continue
		}
		if err := copyFile(root, entry.Name(), filepath.Join(to, entry.Name()), &left); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(root *os.Root, name, to string, left *int64) error {
	source, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	if *left -= info.Size(); *left < 0 {
		return fmt.Errorf("it is larger than %d MiB", maxJournalBytes>>20)
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer target.Close()
	if _, err := io.CopyN(target, source, info.Size()); err != nil {
		return err
	}
	return target.Close()
}

// Archived implements [provider.Archiver].
func (s *Store) Archived(_ context.Context) ([]provider.Archived, error) {
	all, err := s.readArchives()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(a provider.Archived) bool { return a.Provider != s.provider }), nil
}

// readArchives returns the archives of all providers, newest first.
func (s *Store) readArchives() ([]provider.Archived, error) {
	entries, err := os.ReadDir(s.archives())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []provider.Archived
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(s.archives(), entry.Name(), recordFile))
		if err != nil || strings.HasSuffix(entry.Name(), ".new") {
			continue // being made, or being removed
		}
		var a provider.Archived
		if err := json.Unmarshal(data, &a); err != nil {
			return nil, fmt.Errorf("read archive %s: %w", entry.Name(), err)
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b provider.Archived) int { return b.DestroyedAt.Compare(a.DestroyedAt) })
	return all, nil
}

// trim removes the oldest archives that are over the bounds.
func (s *Store) trim(ctx context.Context) error {
	all, err := s.readArchives()
	if err != nil {
		return err
	}
	var total int64
	for i, a := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		total += sizeOf(a.Dir)
		if i == 0 || i < maxArchives && total <= maxArchiveBytes {
			continue
		}
		if err := os.RemoveAll(a.Dir); err != nil {
			return err
		}
	}
	return nil
}

func sizeOf(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // another process removes it
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}
