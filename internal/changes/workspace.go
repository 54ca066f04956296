package changes

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/git"
)

// A Workspace is a directory whose changes are known. Its methods may be called from
// several goroutines and processes at once; they wait for each other.
type Workspace struct {
	Dir string // where the work is done

	// State is a directory that those who work in Dir can neither read nor write. It
	// holds the base.
	State string

	Git git.Git
}

func (w Workspace) store() *Store       { return Open(w.Git, filepath.Join(w.State, "store")) }
func (w Workspace) baseFile() string    { return filepath.Join(w.State, "base") }
func (w Workspace) excludeFile() string { return filepath.Join(w.State, "exclude") }

// Copy makes the workspace a copy of the directory from, and its base. Dir exists and
// is empty, and State does not exist.
func (w Workspace) Copy(ctx context.Context, from string, opts CopyOptions) error {
	if err := Copy(ctx, from, w.Dir, opts); err != nil {
		return err
	}
	exclude, err := os.ReadFile(filepath.Join(from, ".git", "info", "exclude"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
		return err
	}
	head := w.headOf(ctx, from)
	err = w.begin(func(store *Store) (*Tree, error) {
		scan := ScanOptions{Kept: w.tracked(ctx, from), Exclude: exclude, Contents: kept, Progress: opts.Progress}
		return store.scan(ctx, w.Dir, scan, refBase, func(*Tree) func(Entry) bool { return kept })
	}, exclude)
	if err != nil {
		return err
	}
	return os.WriteFile(w.headFile(), []byte(head), 0o600)
}

// Empty makes an empty directory the base.
func (w Workspace) Empty(ctx context.Context) error {
	return w.begin(func(store *Store) (*Tree, error) { return &Tree{}, store.name(ctx, &Tree{}) }, nil)
}

func (w Workspace) begin(scan func(*Store) (*Tree, error), exclude []byte) error {
	if err := os.Mkdir(w.State, 0o700); err != nil {
		return err
	}
	store, err := Create(w.Git, filepath.Join(w.State, "store"))
	if err != nil {
		return err
	}
	base, err := scan(store)
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.excludeFile(), exclude, 0o600); err != nil {
		return err
	}
	return base.Save(w.baseFile())
}

// name makes git see a tree as the base.
func (s *Store) name(ctx context.Context, base *Tree) error {
	return s.fill(ctx, func(out *bufio.Writer) error {
		commit(out, refBase, base, kept)
		return nil
	})
}

// tracked returns what the repository of a directory tracks, which is no less a part
// of it when an ignore file leaves it out. A directory without a readable repository
// tracks nothing.
func (w Workspace) tracked(ctx context.Context, dir string) map[string]bool {
	var out bytes.Buffer
	if err := w.Git.Run(ctx, git.Command{Args: []string{"ls-files", "-z", "--cached"}, Dir: dir, Stdout: &out}); err != nil {
		return nil
	}
	paths := make(map[string]bool)
	for name := range strings.SplitSeq(out.String(), "\x00") {
		paths[name] = true
	}
	return paths
}

// Compare returns what differs from the base. With ignored it has what ignore files
// leave out as well. Others wait until it is closed.
func (w Workspace) Compare(ctx context.Context, ignored bool) (*Comparison, error) {
	lock, err := filelock.Acquire(ctx, filepath.Join(w.State, "lock"), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, api.NewError(api.KindNotSupported, "", "the workspace has no base to compare it with")
	}
	if err != nil {
		return nil, err
	}
	c, err := w.compare(ctx, ignored)
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	c.lock = lock
	return c, nil
}

func (w Workspace) compare(ctx context.Context, ignored bool) (*Comparison, error) {
	base, err := Load(w.baseFile())
	if err != nil {
		return nil, err
	}
	exclude, err := os.ReadFile(w.excludeFile())
	if err != nil {
		return nil, err
	}
	temp := filepath.Join(w.State, "compare")
	if err := errors.Join(os.RemoveAll(temp), os.Mkdir(temp, 0o700)); err != nil { // one that was killed left its own
		return nil, err
	}
	c, err := w.store().compareTo(ctx, base, w.Dir, temp, ScanOptions{Exclude: exclude}, ignored)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("compare the workspace with its base: %w", err), os.RemoveAll(temp))
	}
	return c, nil
}

// Advance makes what was applied the base: it is not a change any more. What was left
// out stays one.
func (w Workspace) Advance(ctx context.Context, c *Comparison) error {
	if err := c.moveObjects(filepath.Join(w.State, "store", "objects")); err != nil {
		return err
	}
	before, left := c.base.index(), make(map[string]bool, len(c.left))
	for _, ch := range c.left {
		left[ch.path] = true
	}
	next := &Tree{}
	for _, e := range c.now.Entries {
		if !left[e.Path] {
			next.Entries = append(next.Entries, e)
		}
	}
	for path := range left {
		if was := before[path]; !was.missing() {
			next.Entries = append(next.Entries, was)
		}
	}
	next.sort()
	if err := w.store().name(ctx, next); err != nil {
		return err
	}
	return next.Save(w.baseFile())
}
