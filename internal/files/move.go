package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// Mkdir makes the directory path and what is missing above it. An existing directory
// is not an error.
func (f *FS) Mkdir(_ context.Context, path string) (api.FilePath, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return api.FilePath{}, err
	}
	if _, err := makeDirs(path); err != nil {
		return api.FilePath{}, problem(err, path)
	}
	return api.FilePath{Path: path}, nil
}

// Delete removes the file, link or empty directory path, with recursive a directory
// and all that is in it. A link goes, never what it points at. It refuses
// the root directory, home and the directories home is in, even when they are empty.
func (f *FS) Delete(_ context.Context, path string, recursive bool) (api.FilePath, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return api.FilePath{}, err
	}
	name := trimSlash(path)
	info, err := os.Lstat(name)
	if err == nil && info.IsDir() {
		err = f.guard(info, path)
	}
	if err != nil {
		return api.FilePath{}, problem(err, path)
	}
	if recursive && info.IsDir() {
		err = os.RemoveAll(name)
	} else if info.IsDir() {
		err = syscall.Rmdir(name)
	} else {
		err = syscall.Unlink(name)
	}
	return api.FilePath{Path: path}, problem(err, path)
}

// Move renames from to to, making the directories above to. Links are moved, not
// followed. Something at to is an error unless overwrite is set; then it is
// replaced in one step, where the filesystem can let two names change places,
// and else put aside first. Between filesystems the tree is copied completely
// before anything changes, and the source goes once the copy is in its place. A
// file moved onto one that is a mount point, which can only be written, becomes
// the content of it.
// When Move fails both paths are as before, and no directory it made is left; so it is
// after [FS.Recover] when the process was killed.
func (f *FS) Move(ctx context.Context, from, to string, overwrite bool) (api.FileMoveResult, error) {
	from, err := f.Resolve(from)
	if err != nil {
		return api.FileMoveResult{}, err
	}
	if to, err = f.Resolve(to); err != nil {
		return api.FileMoveResult{}, err
	}
	m := move{fs: f, from: trimSlash(from), to: trimSlash(to), overwrite: overwrite}
	if err := m.run(ctx); err != nil {
		return api.FileMoveResult{}, err
	}
	return api.FileMoveResult{From: from, To: to}, nil
}

type move struct {
	fs        *FS
	from, to  string
	overwrite bool
	src, dst  fs.FileInfo // dst is nil when nothing is at to
}

func (m *move) run(ctx context.Context) error {
	var err error
	if m.src, err = os.Lstat(m.from); err != nil {
		return problem(err, m.from)
	}
	if m.src.IsDir() {
		if err := m.fs.guard(m.src, m.from); err != nil {
			return err
		}
	}
	m.dst, err = os.Lstat(m.to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return problem(err, m.to)
	}
	if err := m.check(); err != nil {
		return err
	}
	if m.dst != nil && os.SameFile(m.src, m.dst) {
		return problem(m.sameFile(), m.from)
	}
	err = m.attempt(ctx, m.rename)
	if errors.Is(err, syscall.EXDEV) {
		err = m.attempt(ctx, m.across)
	}
	if errors.Is(err, syscall.EBUSY) && m.src.Mode().IsRegular() && m.dst != nil && m.dst.Mode().IsRegular() {
		err = m.attempt(ctx, m.into)
	}
	// The source was there when it was looked at.
	if errors.Is(err, fs.ErrNotExist) {
		return problem(err, m.from)
	}
	return problem(err, m.to)
}

// attempt moves by do, all or nothing.
func (m *move) attempt(ctx context.Context, do func(context.Context, *change) error) error {
	c := m.fs.change()
	err := c.makeDirs(parent(m.to))
	if err == nil {
		err = do(ctx, c)
	}
	if err != nil {
		return errors.Join(err, c.undo())
	}
	c.done()
	return nil
}

// check refuses what must not be, before anything is touched.
func (m *move) check() error {
	if m.dst != nil && !m.overwrite {
		return api.InvalidRequest(api.CodeAlreadyExists, "destination already exists: %s", m.to).With("path", m.to)
	}
	if m.dst != nil && m.dst.IsDir() {
		if err := m.fs.guard(m.dst, m.to); err != nil {
			return err
		}
	}
	if m.src.IsDir() && within(m.to, m.src) {
		return osProblem(api.CodeMoveIntoItself, syscall.EINVAL, m.to)
	}
	if m.dst != nil && m.dst.IsDir() && within(m.from, m.dst) {
		return osProblem(api.CodeMoveIntoItself, syscall.EINVAL, m.to)
	}
	return nil
}

// within reports whether path lies somewhere below dir. It asks the filesystem,
// so that links on the way do not mislead it.
func within(path string, dir fs.FileInfo) bool {
	up := parent(path)
	for {
		real, err := filepath.EvalSymlinks(up)
		if err == nil {
			up = real
			break
		}
		if up == "/" || up == "" {
			return false
		}
		up = parent(up)
	}
	for ; ; up = parent(up) {
		if info, err := os.Stat(up); err == nil && os.SameFile(info, dir) {
			return true
		}
		if up == "/" || up == "" {
			return false
		}
	}
}

// sameFile moves a file onto itself, which changes nothing, or onto another
// hard link of it, where rename(2) would do nothing and leave both names.
func (m *move) sameFile() error {
	a, errA := os.Stat(parent(m.from))
	b, errB := os.Stat(parent(m.to))
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if os.SameFile(a, b) && filepath.Base(m.from) == filepath.Base(m.to) {
		return nil
	}
	if m.src.IsDir() {
		return syscall.EBUSY // one directory at two places is a mount
	}
	return syscall.Unlink(m.from)
}

// rename moves within a filesystem.
func (m *move) rename(_ context.Context, c *change) error {
	if m.dst == nil {
		if err := m.taken(renameNew(m.from, m.to)); err != nil || m.dst == nil {
			return err
		}
	}
	if !m.src.IsDir() && !m.dst.IsDir() {
		return unix.Rename(m.from, m.to)
	}
	swapped, err := m.place(c, m.from, m.src)
	if err != nil || !swapped {
		return err
	}
	aside := tempName(parent(m.from), "move")
	c.hide(aside)
	return c.move(m.from, aside, m.dst)
}

// across moves between filesystems: copy to a hidden name next to the
// destination, rename the copy to it, and rename the source away.
func (m *move) across(ctx context.Context, c *change) error {
	copied := tempName(parent(m.to), "move")
	c.hide(copied)
	if err := copyTree(ctx, m.from, copied); err != nil {
		return err
	}
	info, err := os.Lstat(copied)
	if err != nil {
		return err
	}
	if m.dst == nil {
		if err := m.taken(c.move(copied, m.to, info)); err != nil {
			return err
		}
	}
	if m.dst != nil {
		if _, err := m.place(c, copied, info); err != nil {
			return err
		}
	}
	aside := tempName(parent(m.from), "move")
	c.hide(aside)
	return c.move(m.from, aside, m.src)
}

// into moves into a file that is a mount point, and so can only be written: its
// content becomes that of the source, which goes.
func (m *move) into(_ context.Context, c *change) error {
	keep := tempName(parent(m.to), "move")
	c.hide(keep)
	if err := c.fill(m.from, m.to, keep); err != nil {
		return err
	}
	aside := tempName(parent(m.from), "move")
	c.hide(aside)
	return c.move(m.from, aside, m.src)
}

// taken looks at what is at the destination after all, when a rename to it has
// failed for that. It returns nil if the rename has succeeded or may replace it.
func (m *move) taken(err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if !m.overwrite {
		return api.InvalidRequest(api.CodeAlreadyExists, "destination already exists: %s", m.to).With("path", m.to)
	}
	m.dst, err = os.Lstat(m.to)
	return err
}

// place puts src, which info describes, in the place of the destination. That
// is then at src if they were swapped, and else put aside.
func (m *move) place(c *change, src string, info fs.FileInfo) (swapped bool, err error) {
	err = c.swap(src, m.to, info)
	if err == nil || errors.Is(err, syscall.EXDEV) {
		return err == nil, err
	}
	// Not every filesystem can swap, and it takes the right to write to directories
	// that get another parent.
	aside := tempName(parent(m.to), "move")
	c.hide(aside)
	if err := c.move(m.to, aside, m.dst); err != nil {
		return false, err
	}
	return false, c.move(src, m.to, info)
}

// unlinked drops the two paths from a rename error, which name hidden files.
func unlinked(err error) error {
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// copyTree copies src, links not followed, with modes, times and, where that is
// permitted, owners. Sockets and devices are refused. On an error the caller
// removes what there is of dst.
func copyTree(ctx context.Context, src, dst string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	switch info.Mode().Type() {
	case 0:
		err = copyFile(ctx, src, dst)
	case fs.ModeDir:
		err = copyDir(ctx, src, dst)
	case fs.ModeSymlink:
		target, lerr := os.Readlink(src)
		if lerr != nil {
			return lerr
		}
		if err := os.Symlink(target, dst); err != nil {
			return err
		}
		os.Lchown(dst, int(st.Uid), int(st.Gid))
		return nil
	case fs.ModeNamedPipe:
		err = unix.Mkfifo(dst, 0o600)
	default:
		err = syscall.EOPNOTSUPP
	}
	if err != nil {
		return err
	}
	// The owner first: a change of it clears bits of the mode.
	os.Lchown(dst, int(st.Uid), int(st.Gid))
	if err := os.Chmod(dst, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(dst, info.ModTime(), info.ModTime())
}

func copyDir(ctx context.Context, src, dst string) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(src)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	for _, name := range names {
		if err := copyTree(ctx, join(src, name), join(dst, name)); err != nil {
			return err
		}
	}
	return err
}

func copyFile(ctx context.Context, src, dst string) error {
	in, err := os.OpenFile(src, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = copyStream(ctx, out, in)
	return errors.Join(err, out.Close())
}

func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return syscall.EEXIST
	}
	return unlinked(os.Rename(from, to))
}
