package changes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/protected"
)

// A change is a path that is not as it was. One of its entries may be missing.
type change struct {
	path     string
	was, now Entry
	ignored  bool
}

// compare returns what differs, sorted by path.
func compare(base, now *Tree) []change {
	var changes []change
	later := now.index()
	for _, was := range base.Entries {
		is := later[was.Path]
		delete(later, was.Path)
		if was.same(is) {
			continue
		}
		ignored := was.Ignored && (is.missing() || is.Ignored)
		changes = append(changes, change{was.Path, was, is, ignored})
	}
	for _, is := range later {
		changes = append(changes, change{is.Path, Entry{}, is, is.Ignored})
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.path, b.path) })
	return changes
}

// A Comparison is what differs between a base and a later tree. It keeps the contents
// of that tree, so that what is shown is what is applied. It is not for concurrent
// use. Close removes what it keeps.
type Comparison struct {
	base, now *Tree
	store     *Store // of both
	dir       string // of temporary files
	changes   []change
	left      []change       // those that are ignored, and left out
	lock      *filelock.Lock // of the workspace
}

// compareTo reads the tree in dir and compares it with base, whose contents are in s.
// Temporary files go into the directory temp.
func (s *Store) compareTo(ctx context.Context, base *Tree, dir, temp string, opts ScanOptions, ignored bool) (*Comparison, error) {
	branch, err := s.branch(filepath.Join(temp, "store"))
	if err != nil {
		return nil, err
	}
	c := &Comparison{base: base, store: branch, dir: temp}
	opts.Known, opts.Kept = base, make(map[string]bool)
	for _, e := range base.Entries {
		if !e.Ignored {
			opts.Kept[e.Path] = true
		}
	}
	opts.Contents = func(e Entry) bool { return ignored || !e.Ignored }
	c.now, err = branch.scan(ctx, dir, opts, refNow, func(now *Tree) func(Entry) bool {
		c.sift(compare(base, now), now, ignored)
		return c.shown()
	})
	return c, err
}

// sift takes the changes that are a part of the comparison.
func (c *Comparison) sift(all []change, now *Tree, ignored bool) {
	for _, ch := range all {
		switch {
		case now.skips(ch.path): // it is not gone, but it cannot be read
		case ch.ignored && !ignored:
			c.left = append(c.left, ch)
		default:
			c.changes = append(c.changes, ch)
		}
	}
}

// shown selects what git is to see of the later tree: what changed, and what the base
// has the content of.
func (c *Comparison) shown() func(Entry) bool {
	shown := make(map[string]bool)
	for _, e := range c.base.Entries {
		shown[e.Path] = !e.Ignored
	}
	for _, ch := range c.changes {
		shown[ch.path] = true
	}
	return func(e Entry) bool { return shown[e.Path] }
}

// Close removes the contents of the later tree.
func (c *Comparison) Close() error { return errors.Join(os.RemoveAll(c.dir), c.lock.Release()) }

// Empty reports whether nothing differs but what is ignored.
func (c *Comparison) Empty() bool { return len(c.changes) == 0 }

// Changes returns what differs.
func (c *Comparison) Changes(ctx context.Context) (*api.Changes, error) {
	lines, err := c.lines(ctx)
	if err != nil {
		return nil, err
	}
	result := &api.Changes{Files: []api.Change{}, Ignored: files(c.left), Skipped: skipped(c.now.Skipped)}
	filled := c.filled()
	for _, ch := range c.changes {
		if filled[ch.path] && !(ch.was.Mode.IsDir() && ch.now.Mode.IsDir()) {
			continue // what is in it says so
		}
		file := ch.view()
		if n, ok := lines[ch.path]; ok {
			file.Binary, file.Insertions, file.Deletions = n.binary, n.added, n.deleted
		}
		result.Insertions += file.Insertions
		result.Deletions += file.Deletions
		result.Files = append(result.Files, file)
	}
	return result, nil
}

// files counts changes of files and links.
func files(changes []change) (n int) {
	for _, ch := range changes {
		if !ch.onlyDirs() {
			n++
		}
	}
	return n
}

// filled returns the directories that came or went with something in them.
func (c *Comparison) filled() map[string]bool {
	filled := make(map[string]bool)
	for _, ch := range c.changes {
		for dir := path.Dir(ch.path); dir != "."; dir = path.Dir(dir) {
			filled[dir] = true
		}
	}
	dirs := make(map[string]bool)
	for _, ch := range c.changes {
		if ch.onlyDirs() && filled[ch.path] {
			dirs[ch.path] = true
		}
	}
	return dirs
}

// onlyDirs reports whether no file or link came, went, or changed.
func (ch change) onlyDirs() bool {
	return (ch.was.missing() || ch.was.Mode.IsDir()) && (ch.now.missing() || ch.now.Mode.IsDir())
}

func (ch change) view() api.Change {
	v := api.Change{Path: ch.path, Status: api.ChangeModified, Size: ch.now.Size, Ignored: ch.ignored}
	switch {
	case ch.was.missing():
		v.Status = api.ChangeAdded
	case ch.now.missing():
		v.Status = api.ChangeDeleted
	}
	if !ch.was.missing() {
		v.OldMode = octal(ch.was.Mode)
	}
	if !ch.now.missing() {
		v.Mode, v.Runs = octal(ch.now.Mode), protected.Why(ch.path)
	}
	return v
}

// octal writes a mode as stat(2) has it.
func octal(mode fs.FileMode) string {
	kind := 0o100000
	switch {
	case mode.IsDir():
		kind = 0o040000
	case mode&fs.ModeSymlink != 0:
		return "120000"
	}
	return fmt.Sprintf("%06o", kind|int(mode.Perm()))
}

func skipped(list []Skipped) []api.SkippedPath {
	var paths []api.SkippedPath
	for _, s := range list {
		paths = append(paths, api.SkippedPath(s))
	}
	return paths
}

// lineCount is what git counts in a file.
type lineCount struct {
	added, deleted int
	binary         bool
}

// lines counts the lines that differ, see [git-diff(1)] about numstat.
//
// [git-diff(1)]: https://git-scm.com/docs/git-diff#_other_diff_formats
func (c *Comparison) lines(ctx context.Context) (map[string]lineCount, error) {
	var out bytes.Buffer
	if err := c.diff(ctx, &out, "--numstat", "-z", "--no-renames"); err != nil {
		return nil, err
	}
	counts := make(map[string]lineCount)
	for record := range strings.SplitSeq(out.String(), "\x00") {
		fields := strings.SplitN(record, "\t", 3)
		if len(fields) < 3 {
			continue
		}
		n := lineCount{binary: fields[0] == "-"}
		n.added, _ = strconv.Atoi(fields[0]) // - is 0
		n.deleted, _ = strconv.Atoi(fields[1])
		counts[fields[2]] = n
	}
	return counts, nil
}

func (c *Comparison) diff(ctx context.Context, out io.Writer, args ...string) error {
	args = append([]string{"diff-tree", "-r", "--no-ext-diff", "--no-textconv"}, args...)
	return c.store.run(ctx, nil, out, append(args, refBase, refNow)...)
}

// Patch writes what differs as a patch that git apply takes. Empty directories, and
// permissions other than that to execute, are not in a patch.
func (c *Comparison) Patch(ctx context.Context, out io.Writer) error {
	return c.diff(ctx, out, "--patch", "--binary", "--full-index", "--find-renames")
}

// Stat writes a summary of what differs for people, in width columns.
func (c *Comparison) Stat(ctx context.Context, out io.Writer, width int) error {
	return c.diff(ctx, out, fmt.Sprintf("--stat=%d", width), "--summary", "--find-renames")
}
