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

// Mkdir makes the folder path and what is missing above it. An existing folder
// is no error.
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

// Delete removes the file, link or empty folder path, with recursive a folder
// and all that is in it. A link goes, never what it points at. It refuses
// the root folder, home and the folders home is in, even when they are empty.
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

// Move renames from to to, making the folders above to. Links are moved, not
// followed. Something at to is an error unless overwrite is set; then a file
// is replaced in one step, and a folder is put aside first and removed only
// once from is in its place. Between filesystems the tree is copied completely
// before anything changes. When Move fails both paths are as before, and no
// folder it made is left.
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
	made, err := makeDirs(parent(m.to))
	if err == nil {
		err = m.place(ctx, m.from)
		if errors.Is(err, syscall.EXDEV) {
			err = m.across(ctx)
		}
	}
	if err != nil {
		removeDirs(made)
		// The source was there when it was looked at.
		if errors.Is(err, fs.ErrNotExist) {
			return problem(err, m.from)
		}
	}
	return problem(err, m.to)
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
		return syscall.EBUSY // one folder at two places is a mount
	}
	return syscall.Unlink(m.from)
}

// place renames src to its destination, in place of what is there.
func (m *move) place(_ context.Context, src string) error {
	if m.dst == nil {
		err := renameNew(src, m.to)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if !m.overwrite {
			return api.InvalidRequest(api.CodeAlreadyExists, "destination already exists: %s", m.to).With("path", m.to)
		}
		if m.dst, err = os.Lstat(m.to); err != nil {
			return err
		}
	}
	if !m.src.IsDir() && !m.dst.IsDir() {
		return unlinked(os.Rename(src, m.to))
	}
	aside := tempName(parent(m.to), "move")
	if err := unlinked(os.Rename(m.to, aside)); err != nil {
		return err
	}
	if err := renameNew(src, m.to); err != nil {
		return errors.Join(err, os.Rename(aside, m.to))
	}
	// The move is done; what is left of the old folder has a hidden name.
	os.RemoveAll(aside)
	return nil
}

// unlinked drops the two paths from a rename error, which name hidden files.
func unlinked(err error) error {
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// across moves between filesystems: copy to a hidden name beside the
// destination, take the source away by a rename, put the copy in its place.
// Each step before the last is undone when a later one fails.
func (m *move) across(ctx context.Context) error {
	copied := tempName(parent(m.to), "move")
	if err := copyTree(ctx, m.from, copied); err != nil {
		os.RemoveAll(copied)
		return err
	}
	aside := tempName(parent(m.from), "move")
	if err := unlinked(os.Rename(m.from, aside)); err != nil {
		os.RemoveAll(copied)
		return err
	}
	if err := m.place(ctx, copied); err != nil {
		os.RemoveAll(copied)
		return errors.Join(err, os.Rename(aside, m.from))
	}
	os.RemoveAll(aside)
	return nil
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
