// Package workspace keeps the workspaces of the sandboxes of this host that belong to
// their sandboxes: it copies the directory that a sandbox works on, shows and applies
// what was changed, and archives what would be lost when a sandbox is destroyed.
package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/changes"
	"github.com/sandboxagent/sandboxagent/internal/git"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/provider"
)

// Config says how the sandboxes of a provider keep their workspaces.
type Config struct {
	shim.Config

	// Owner returns the user and group of the host that own the files of a sandbox;
	// nil means that they stay with this process.
	Owner func(id string) (uid, gid int)

	// Journal is where the journal lies: a directory below that of a sandbox, which
	// those in the sandbox may write.
	Journal string

	// Progress, if not nil, is called now and then while a directory is copied.
	Progress func(files int, bytes int64)
}

// Store holds the sandboxes of one provider. It adds the abilities Differ, Keeper, and
// Archiver to those of [shim.Store].
type Store struct {
	*shim.Store
	cfg      Config
	provider string
}

// Open returns the sandboxes that the provider keeps below cfg.StateDir. It does no
// I/O.
func Open(cfg Config, name string) *Store {
	s := &Store{cfg: cfg, provider: name}
	cfg.Config.Prepare = s.prepare
	s.Store = shim.Open(cfg.Config, name)
	return s
}

// maxCopy bounds a copy for which no limit of the disk is set.
const maxCopy = 64 << 30

func of(dir shim.Dir) changes.Workspace {
	return changes.Workspace{Dir: dir.Workspace(), State: filepath.Join(string(dir), "base"), Git: git.Git{}}
}

// prepare copies the directory of a workspace that is to be a copy.
func (s *Store) prepare(ctx context.Context, dir shim.Dir, record shim.Record) error {
	spec := record.Spec
	if spec.Workspace.Mode != provider.WorkspaceCopy {
		return nil
	}
	info, err := os.Stat(spec.Workspace.Dir)
	if err != nil {
		return api.InvalidRequest(api.CodeInvalidSpec, "workspace: %w", err)
	}
	if !info.IsDir() {
		return api.InvalidRequest(api.CodeInvalidSpec, "workspace: %s is not a directory", spec.Workspace.Dir)
	}
	if err := os.Mkdir(dir.Workspace(), 0o700); err != nil {
		return err
	}
	opts := changes.CopyOptions{UID: -1, GID: -1, MaxBytes: maxCopy, Progress: s.cfg.Progress}
	if spec.Resources.Disk > 0 {
		opts.MaxBytes = spec.Resources.Disk
	}
	if s.cfg.Owner != nil {
		opts.UID, opts.GID = s.cfg.Owner(record.ID)
	}
	err = of(dir).Copy(ctx, spec.Workspace.Dir, opts)
	if missing := new(git.NotFoundError); errors.As(err, &missing) {
		return provider.Unsupported("workspace mode copy needs git on this host (%w); install it, or use mode bind", missing)
	}
	if err != nil {
		return fmt.Errorf("create sandbox: %w", err)
	}
	return nil
}

// compare compares the workspace of a sandbox with its base. The caller closes it.
func (s *Store) compare(ctx context.Context, id string, ignored bool) (changes.Workspace, *changes.Comparison, shim.Record, error) {
	dir, record, err := s.Find(id)
	if err != nil {
		return changes.Workspace{}, nil, record, err
	}
	w := of(dir)
	switch record.Spec.Workspace.Mode {
	case provider.WorkspaceBind:
		return w, nil, record, provider.Unsupported("the workspace of sandbox %s is bound: what it changes is in %s at once", id, record.Spec.Workspace.Dir)
	case provider.WorkspaceEmpty:
		if err := w.Empty(ctx); err != nil && !errors.Is(err, fs.ErrExist) {
			return w, nil, record, err
		}
	}
	c, err := w.Compare(ctx, ignored)
	return w, c, record, err
}

// Diff implements [provider.Differ].
func (s *Store) Diff(ctx context.Context, id string, opts provider.DiffOptions) (*api.Changes, error) {
	w, c, record, err := s.compare(ctx, id, opts.Ignored)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	result, err := c.Changes(ctx)
	if err != nil {
		return nil, err
	}
	width := opts.Width
	if width == 0 {
		width = 80
	}
	for _, part := range []struct {
		to    io.Writer
		write func(io.Writer) error
	}{
		{opts.Stat, func(to io.Writer) error { return c.Stat(ctx, to, width) }},
		{opts.Patch, func(to io.Writer) error { return c.Patch(ctx, to) }},
		{opts.Commits, func(to io.Writer) error { return w.Commits(ctx, record.Spec.Workspace.Dir, to) }},
	} {
		if part.to == nil {
			continue
		}
		if err := part.write(part.to); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// Apply implements [provider.Differ].
func (s *Store) Apply(ctx context.Context, id string, opts provider.ApplyOptions) (*api.Applied, error) {
	w, c, record, err := s.compare(ctx, id, opts.Ignored)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	own := record.Spec.Workspace.Dir
	target := opts.Dir
	if target == "" {
		target = own
	}
	if target == "" {
		return nil, api.InvalidRequest("", "the workspace of sandbox %s began empty: name the directory that its files go to", id)
	}
	if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	applied, err := c.Apply(ctx, target, changes.ApplyOptions{Merge: opts.Merge})
	if err != nil {
		return nil, err
	}
	if own == "" || filepath.Clean(target) == filepath.Clean(own) {
		err = w.Advance(ctx, c)
	}
	return applied, err
}

// Kept counts the changes that were not applied.
func (s *Store) Kept(ctx context.Context, id string) (int, error) {
	_, record, err := s.Find(id)
	if err != nil || record.Spec.Workspace.Mode == provider.WorkspaceBind {
		return 0, err
	}
	result, err := s.Diff(ctx, id, provider.DiffOptions{})
	if err != nil {
		return 0, err
	}
	return len(result.Files), nil
}
