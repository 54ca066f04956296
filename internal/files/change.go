package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// change is an operation of several steps that happens as a whole or not at
// all: either done or undo ends it. A step is noted before it is made, in memory
// and, where there is a directory for notes, in a file by which [FS.Recover] undoes
// what a process that was killed has left.
//
// Undoing goes by what is there, since a step in the file may not have been made,
// or have been taken back already. The zero value has no note.
type change struct {
	notes string   // directory for the note; empty means none
	file  *os.File // the note, from the first step on
	path  string   // of the note
	root  *os.Root // of relative paths
	steps []step
}

// step is one of a change. Its paths are absolute, or below the root.
type step struct {
	do       string
	path, to string
	extra    string
}

// asideSuffix ends the name of what a batch has replaced.
const asideSuffix = "-old"

const (
	doRoot = "root" // path is the directory of relative paths
	doMake = "make" // path is a directory that is missing, and to be made
	doHide = "hide" // path has a hidden name, and goes in the end
	doMove = "move" // path becomes to; extra is its inode
	doSwap = "swap" // path and to change places; extra is the inode of path
	doKeep = "keep" // path takes the place of to, whose content goes to extra
	doFill = "fill" // the content of path goes into to, whose own goes to extra
)

func (f *FS) change() *change { return &change{notes: f.cfg.Notes} }

// add notes a step that is about to be made.
func (c *change) add(s step) {
	c.note(s)
	c.steps = append(c.steps, s)
}

// drop forgets the last step, which has failed without a trace.
func (c *change) drop() { c.steps = c.steps[:len(c.steps)-1] }

// openRoot makes path the directory of relative paths.
func (c *change) openRoot(path string) (err error) {
	c.note(step{do: doRoot, path: path})
	c.root, err = os.OpenRoot(path)
	return err
}

// makeDirs makes the directory path and what is missing above it.
func (c *change) makeDirs(path string) error {
	if c.notes != "" {
		for _, dir := range missingDirs(path) {
			c.note(step{do: doMake, path: dir})
		}
	}
	made, err := makeDirs(path)
	for _, dir := range made {
		c.steps = append(c.steps, step{do: doMake, path: dir})
	}
	return err
}

// hide says that something with the hidden name path is about to be made.
func (c *change) hide(path string) { c.add(step{do: doHide, path: path}) }

// move renames path, which info describes, to a name that is not taken.
func (c *change) move(path, to string, info fs.FileInfo) error {
	c.add(step{doMove, path, to, inode(info)})
	err := c.rename(path, to)
	if err != nil {
		c.drop()
	}
	return err
}

func (c *change) rename(path, to string) error {
	if c.root != nil {
		return c.root.Rename(path, to)
	}
	return renameNew(path, to)
}

// swap lets path, which info describes, and to change places in one step.
func (c *change) swap(path, to string, info fs.FileInfo) error {
	c.add(step{doSwap, path, to, inode(info)})
	err := exchange(path, to)
	if err != nil {
		c.drop()
	}
	return err
}

// replace renames path to to, which is not a directory, and keeps the old one as
// keep. A mount point gets the content of path instead, if that is a file.
func (c *change) replace(path, to, keep string) error {
	c.add(step{doKeep, path, to, keep})
	at := c.tree(path)
	linked, err := setAside(at, to, keep)
	if err == nil {
		if err = at.Rename(path, to); err == nil {
			return nil
		}
		if linked {
			err = errors.Join(err, at.RemoveAll(keep))
		} else {
			err = errors.Join(err, at.Rename(keep, to))
		}
	}
	c.drop()
	info, lerr := at.Lstat(path)
	if errors.Is(err, syscall.EBUSY) && lerr == nil && info.Mode().IsRegular() {
		return c.fill(path, to, keep)
	}
	return err
}

// fill writes the content, the mode and the time of the regular file path into
// the regular file to, which stays the file that it is, and keeps what was in it
// as keep, a name that the caller has hidden. Readers can see it half written.
func (c *change) fill(path, to, keep string) error {
	at := c.tree(path)
	if err := copyContent(at, to, keep, os.O_CREATE|os.O_EXCL); err != nil {
		return err
	}
	c.add(step{doFill, path, to, keep})
	return copyContent(at, path, to, os.O_TRUNC)
}

// copyContent copies a regular file and, where that is permitted, its mode and its
// time of change.
func copyContent(at tree, from, to string, flag int) error {
	in, err := at.OpenFile(from, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err == nil {
		err = regular(info, from)
	}
	if err != nil {
		return err
	}
	out, err := at.OpenFile(to, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|flag, 0o600)
	if err != nil {
		return err
	}
	// Once begun, a cancelled request must not leave half a file.
	_, err = copyStream(context.Background(), out, in)
	err = errors.Join(err, unlessDenied(out.Chmod(info.Mode().Perm())), out.Close())
	return errors.Join(err, unlessDenied(at.Chtimes(to, info.ModTime(), info.ModTime())))
}

// unlessDenied forgives what only the owner of a file may do.
func unlessDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// setAside gives path the name keep. A second name leaves the first in place; not
// every filesystem and not every file allows one.
func setAside(at tree, path, keep string) (linked bool, err error) {
	if at.Link(path, keep) == nil {
		return true, nil
	}
	if info, err := at.Lstat(path); err == nil && info.IsDir() {
		return false, syscall.EISDIR
	}
	return false, at.Rename(path, keep)
}

// done ends a change that has succeeded and removes what is hidden.
func (c *change) done() {
	c.markDone()
	c.end(c.clear())
}

// undo ends a change that has failed: it takes back what was done.
func (c *change) undo() error {
	err := c.takeBack()
	c.end(err)
	return err
}

// end closes the note. With an error it stays for the next process.
func (c *change) end(err error) {
	if c.file != nil {
		if err == nil {
			os.Remove(c.path)
		}
		c.file.Close()
	}
	if c.root != nil {
		c.root.Close()
	}
}

// clear removes what is hidden.
func (c *change) clear() error {
	var errs []error
	for _, s := range c.steps {
		if s.do == doHide {
			errs = append(errs, c.remove(s.path))
		}
	}
	return errors.Join(errs...)
}

// takeBack undoes the steps, the last one first. When something cannot be put
// back it goes on, but removes nothing any more.
func (c *change) takeBack() error {
	var errs []error
	for i := len(c.steps) - 1; i >= 0; i-- {
		s := c.steps[i]
		var err error
		switch s.do {
		case doMove:
			err = c.moveBack(s)
		case doSwap:
			err = c.swapBack(s)
		case doKeep:
			err = c.putBack(s)
		case doFill:
			err = copyContent(c.tree(s.path), s.extra, s.to, os.O_TRUNC)
		case doHide:
			if len(errs) == 0 {
				err = c.remove(s.path)
			}
		case doMake:
			syscall.Rmdir(s.path) // unless it is in use
		}
		if err != nil && !missing(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// moveBack undoes a move. What has the hidden name is what was moved; what has
// another name may have been made by another program meanwhile.
func (c *change) moveBack(s step) error {
	at := c.tree(s.path)
	to, err := at.Lstat(s.to)
	if err != nil || !isHidden(s.to) && inode(to) != s.extra {
		return err
	}
	if _, err = at.Lstat(s.path); err == nil {
		return &os.LinkError{Op: "put back", Old: s.to, New: s.path, Err: syscall.EEXIST}
	} else if !missing(err) {
		return err
	}
	err = at.Rename(s.to, s.path)
	if errors.Is(err, fs.ErrPermission) && to.IsDir() {
		// To give a directory another parent takes the right to write to it.
		if at.Chmod(s.to, to.Mode()|0o700) == nil {
			err = at.Rename(s.to, s.path)
		}
	}
	return err
}

func (c *change) swapBack(s step) error {
	at := c.tree(s.path)
	path, err := at.Lstat(s.path)
	if err != nil {
		return err
	}
	to, err := at.Lstat(s.to)
	if err != nil {
		return err
	}
	switch s.extra {
	case inode(to):
		return exchange(s.to, s.path)
	case inode(path):
		return nil
	}
	return &os.LinkError{Op: "put back", Old: s.to, New: s.path, Err: syscall.EEXIST}
}

func (c *change) putBack(s step) error {
	at := c.tree(s.path)
	if _, err := at.Lstat(s.extra); err != nil {
		return err
	}
	return at.Rename(s.extra, s.to)
}

// remove removes what has the hidden name path, if anything.
func (c *change) remove(path string) error {
	if !isHidden(path) {
		return nil
	}
	at := c.tree(path)
	err := at.RemoveAll(path)
	if errors.Is(err, fs.ErrPermission) {
		makeWritable(at, path)
		err = at.RemoveAll(path)
	}
	if missing(err) {
		return nil
	}
	return err
}

// makeWritable lets directories be emptied that were read-only where they come from.
func makeWritable(at tree, path string) {
	if info, err := at.Lstat(path); err != nil || !info.IsDir() {
		return
	}
	at.Chmod(path, 0o700)
	dir, err := at.Open(path)
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	dir.Close()
	for _, name := range names {
		makeWritable(at, join(path, name))
	}
}

// isHidden reports whether path ends in a name that tempName makes.
func isHidden(path string) bool {
	rest, ok := strings.CutPrefix(path[strings.LastIndexByte(path, '/')+1:], tempPrefix)
	what, random, _ := strings.Cut(strings.TrimSuffix(rest, asideSuffix), "-")
	_, err := strconv.ParseUint(random, 36, 64)
	return ok && err == nil && (what == "write" || what == "upload" || what == "move")
}

// inode identifies a file. The device does not count: that of a container
// changes when it is started again.
func inode(info fs.FileInfo) string {
	return strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
}

// tree is what the steps of a change work on.
type tree interface {
	Lstat(path string) (fs.FileInfo, error)
	Open(path string) (*os.File, error)
	Rename(from, to string) error
	Link(from, to string) error
	OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error)
	Chmod(path string, mode fs.FileMode) error
	Chtimes(path string, accessed, modified time.Time) error
	RemoveAll(path string) error
}

func (c *change) tree(path string) tree {
	if c.root != nil && !strings.HasPrefix(path, "/") {
		return c.root
	}
	return machine{}
}

// machine is the tree of absolute paths.
type machine struct{}

func (machine) Lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }
func (machine) Open(path string) (*os.File, error)     { return os.Open(path) }
func (machine) OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag, mode)
}
func (machine) Rename(from, to string) error              { return unix.Rename(from, to) }
func (machine) Link(from, to string) error                { return os.Link(from, to) }
func (machine) Chmod(path string, mode fs.FileMode) error { return os.Chmod(path, mode) }
func (machine) Chtimes(path string, accessed, modified time.Time) error {
	return os.Chtimes(path, accessed, modified)
}
func (machine) RemoveAll(path string) error { return os.RemoveAll(path) }
