package changes

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
)

// ApplyOptions say how changes get into a directory.
type ApplyOptions struct {
	// Merge joins the lines of a file that changed on both sides, as git merge-file
	// does. Without it such a file fails the call.
	Merge bool
}

// Apply changes the directory dir as the copy was changed. What already is as in the
// copy is left alone, so that a call that was killed can be made again. If a path is
// neither as in the base nor as in the copy, nothing is written, and the error, which
// matches [api.CodeChangesConflict], names the paths. A failure in the middle is
// undone.
func (c *Comparison) Apply(ctx context.Context, dir string, opts ApplyOptions) (*api.Applied, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := c.refuseDisguises(); err != nil {
		return nil, err
	}
	p := &plan{c: c, root: root, dir: dir}
	if err := p.make(ctx, opts); err != nil {
		return nil, err
	}
	if err := p.carryOut(ctx); err != nil {
		return nil, err
	}
	files, err := c.Changes(ctx)
	if err != nil {
		return nil, err
	}
	return &api.Applied{Dir: dir, Files: files.Files, Merged: p.merged, Left: p.left, Skipped: files.Skipped}, nil
}

// refuseDisguises keeps out trees that were made to be taken for a repository.
func (c *Comparison) refuseDisguises() error {
	var names []string
	for _, s := range c.now.Skipped {
		if Disguised(path.Base(s.Path)) {
			names = append(names, s.Path)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return api.Conflict(api.CodeChangesConflict,
		"apply changes: some systems take the names of these paths for .git, and would run programs that they name: %s; remove them in the sandbox", firstOf(names, 5))
}

// step is what becomes of one path of the target.
type step struct {
	change
	found   Entry  // what the target has
	content string // file of the new content, if it is not that of the store
}

// plan is how a directory is changed: first all is read and judged, then all written.
type plan struct {
	c      *Comparison
	root   *os.Root
	dir    string
	steps  []step
	merged []string
	left   []api.SkippedPath
}

func (p *plan) make(ctx context.Context, opts ApplyOptions) error {
	var conflicts []string
	becomes := make(map[string]fs.FileMode)
	for _, ch := range p.c.changes {
		if !ch.now.missing() {
			becomes[ch.path] = ch.now.Mode
		}
	}
	for _, ch := range p.c.changes {
		found, err := entryAt(p.root, ch.path)
		if err != nil {
			return err
		}
		s := step{change: ch, found: found}
		switch {
		case found.same(ch.now):
			continue
		case !p.parentsFit(ch, becomes):
			conflicts = append(conflicts, ch.path)
		case found.alike(ch.was):
			p.steps = append(p.steps, s)
		case found.alike(ch.now):
		case opts.Merge:
			ok, err := p.merge(ctx, &s)
			if err != nil {
				return err
			}
			if !ok {
				conflicts = append(conflicts, ch.path)
				continue
			}
			p.steps = append(p.steps, s)
			p.merged = append(p.merged, ch.path)
		default:
			conflicts = append(conflicts, ch.path)
		}
	}
	if len(conflicts) == 0 {
		return nil
	}
	hint := "apply with --merge to join what both sides changed, or to another directory with --to"
	if opts.Merge {
		hint = "both sides changed the same lines, or one removed what the other changed; apply to another directory with --to, and join them by hand"
	}
	return api.Conflict(api.CodeChangesConflict, "apply changes: %s has moved on since the sandbox began: %s; %s", p.dir, firstOf(conflicts, 10), hint).
		With("paths", conflicts)
}

// alike is same but for permissions that a checkout does not keep: those to read and
// write of a file, and all of a directory.
func (e Entry) alike(other Entry) bool {
	if e.missing() || other.missing() {
		return e.missing() && other.missing()
	}
	executable := (e.Mode&0o111 != 0) == (other.Mode&0o111 != 0)
	return e.Mode.Type() == other.Mode.Type() && e.Hash == other.Hash && (executable || !e.Mode.IsRegular())
}

// parentsFit reports whether what is above a path is, or becomes, directories, and not
// links that lead somewhere else.
func (p *plan) parentsFit(ch change, becomes map[string]fs.FileMode) bool {
	if ch.now.missing() {
		return true
	}
	for dir := path.Dir(ch.path); dir != "."; dir = path.Dir(dir) {
		if mode, ok := becomes[dir]; ok {
			if !mode.IsDir() {
				return false
			}
			continue
		}
		info, err := p.root.Lstat(dir)
		if err == nil && !info.IsDir() {
			return false
		}
	}
	return true
}

// entryAt returns what is at a path without following a link on the way. What is
// below a file or a link is missing.
func entryAt(root *os.Root, name string) (Entry, error) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		info, err := root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return Entry{}, nil
		}
		if err != nil && !isNotDir(err) {
			return Entry{}, err
		}
	}
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err != nil && isNotDir(err) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: name, Mode: info.Mode() & (fs.ModeType | fs.ModePerm), Size: info.Size()}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		e.Mode = fs.ModeSymlink
		target, err := root.Readlink(name)
		if err != nil {
			return e, err
		}
		e.Hash = hashOf([]byte(target))
	case info.Mode().IsRegular():
		e.Hash, err = hashFile(root, name, info)
	}
	return e, err
}

func hashOf(content []byte) string {
	hash := sha1.New()
	fmt.Fprintf(hash, "blob %d\x00", len(content))
	hash.Write(content)
	return hex.EncodeToString(hash.Sum(nil))
}

func hashFile(root *os.Root, name string, found fs.FileInfo) (string, error) {
	file, err := openFile(root, name, found)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha1.New()
	fmt.Fprintf(hash, "blob %d\x00", found.Size())
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// carryOut writes what is planned. What it replaces goes into a store of its own
// first, from which a failure is undone.
func (p *plan) carryOut(ctx context.Context) error {
	undo, err := p.keep(ctx)
	if err != nil {
		return fmt.Errorf("keep what is replaced: %w", err)
	}
	w := &writer{root: p.root, steps: p.steps, store: p.c.store}
	err = w.write(ctx)
	p.left = w.left
	if err == nil {
		return nil
	}
	back := &writer{root: p.root, store: undo}
	for _, s := range p.steps {
		back.steps = append(back.steps, step{change: change{path: s.path, was: s.now, now: s.found}})
	}
	if failed := back.write(context.WithoutCancel(ctx)); failed != nil {
		return fmt.Errorf("apply changes: %w; undo them: %w; %s is half changed; apply again to go on", err, failed, p.dir)
	}
	return fmt.Errorf("apply changes: %w; nothing is changed", err)
}

// keep stores what the steps replace.
func (p *plan) keep(ctx context.Context) (*Store, error) {
	undo, err := Create(p.c.store.git, path.Join(p.c.dir, "undo"))
	if err != nil {
		return nil, err
	}
	scan := &scanner{ctx: ctx, tree: &Tree{}}
	names := make([]string, 0, len(p.steps))
	for _, s := range p.steps {
		if !s.found.missing() && !s.found.Mode.IsDir() {
			names = append(names, s.path)
		}
	}
	slices.Sort(names)
	return undo, undo.keep(ctx, p.root, scan, names)
}
