package changes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// CopyOptions say how a tree is copied.
type CopyOptions struct {
	// UID and GID own the copy; a negative UID keeps it with this process.
	UID, GID int

	// MaxBytes bounds the contents together. 0 means no bound.
	MaxBytes int64

	// Progress, if not nil, is called now and then from the goroutine of Copy.
	Progress func(files int, bytes int64)
}

// Copy copies what is in the directory from into the directory to, which exists and is
// empty: files, links, and directories with their permission bits and times, the
// directories called .git as well. It shares the blocks of files where the file system
// can. Sockets, devices, and named pipes are left out. A file that cannot be read
// fails the copy. What is there after a failure is for the caller to remove.
func Copy(ctx context.Context, from, to string, opts CopyOptions) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer target.Close()
	c := &copier{ctx: ctx, opts: opts, done: counter{report: opts.Progress}}
	if err := c.dir(source, target, "", 0); err != nil {
		return err
	}
	if len(c.failed) > 0 {
		return fmt.Errorf("copy %s: %s; make them readable, or move them away", from, firstOf(c.failed, 5))
	}
	return nil
}

type copier struct {
	ctx    context.Context
	opts   CopyOptions
	done   counter
	failed []string
}

func (c *copier) dir(from, to *os.Root, name string, depth int) error {
	if depth > maxDepth {
		return api.InvalidRequest(api.CodeLimitExceeded, "%s is more than %d directories deep", name, maxDepth)
	}
	names, err := readNames(from)
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s: %v", cmpDot(name), errors.Unwrap(err)))
		return nil
	}
	for _, base := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if c.done.files > maxEntries {
			return api.InvalidRequest(api.CodeLimitExceeded, "there are more than %d files", maxEntries)
		}
		info, err := from.Lstat(base)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.entry(from, to, path.Join(name, base), info, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) entry(from, to *os.Root, name string, info fs.FileInfo, depth int) error {
	base := path.Base(name)
	switch {
	case info.IsDir():
		return c.subdir(from, to, name, info, depth)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := from.Readlink(base)
		if err != nil {
			return err
		}
		c.done.add(0)
		return errors.Join(to.Symlink(link, base), c.own(to, base))
	case info.Mode().IsRegular():
		return c.file(from, to, name, info)
	}
	return nil
}

func (c *copier) subdir(from, to *os.Root, name string, info fs.FileInfo, depth int) error {
	base := path.Base(name)
	source, err := openDir(from, base, info)
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s: %v", name, reason(err)))
		return nil
	}
	defer source.Close()
	if err := to.Mkdir(base, 0o700); err != nil {
		return err
	}
	target, err := to.OpenRoot(base)
	if err != nil {
		return err
	}
	defer target.Close()
	c.done.add(0)
	if err := c.dir(source, target, name, depth+1); err != nil {
		return err
	}
	return errors.Join(c.own(to, base), to.Chmod(base, info.Mode().Perm()), to.Chtimes(base, time.Time{}, info.ModTime()))
}

func (c *copier) file(from, to *os.Root, name string, info fs.FileInfo) error {
	base := path.Base(name)
	source, err := openFile(from, base, info)
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s: %v", name, reason(err)))
		return nil
	}
	defer source.Close()
	target, err := to.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer target.Close()
	size := info.Size()
	if c.opts.MaxBytes > 0 && c.done.bytes+size > c.opts.MaxBytes {
		return api.InvalidRequest(api.CodeLimitExceeded, "the files are larger than %d bytes together", c.opts.MaxBytes)
	}
	if !shareBlocks(target, source) {
		if size, err = io.Copy(target, source); err != nil {
			return err
		}
	}
	c.done.add(size)
	return errors.Join(c.own(to, base), target.Chmod(info.Mode().Perm()), target.Close(), to.Chtimes(base, time.Time{}, info.ModTime()))
}

// own gives a file of the copy to its owner.
func (c *copier) own(to *os.Root, base string) error {
	if c.opts.UID < 0 {
		return nil
	}
	return to.Lchown(base, c.opts.UID, c.opts.GID)
}

// reason is an error without the path and the operation that it names.
func reason(err error) error {
	if inner := new(fs.PathError); errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// firstOf joins the first few of a list, and says how many more there are.
func firstOf(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(list[:n], ", "), len(list)-n)
}
