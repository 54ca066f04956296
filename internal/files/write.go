package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// WriteOptions say how to write. The zero value replaces the content.
type WriteOptions struct {
	// Mode sets the permission bits. Nil keeps those of an existing file; a
	// new one gets 0666 less the umask, and is made executable for those who
	// may read it when it starts with "#!".
	Mode *fs.FileMode
	// Append adds to the end of an existing file.
	Append bool
}

// Write replaces the content of the file path by what r gives until EOF, making
// the directories above it. Readers see the old content or the new, never a part:
// the body goes to a hidden file next to the target, which then takes its place
// and keeps its mode, owner, extended attributes, and access control list. Links
// are written through. When r fails, ctx ends or the body is over the limit, nothing is changed and nothing is left. See
// [FS.Recover] for what a process that is killed leaves.
//
// Where the target cannot be replaced (its directory is read-only, it is a mount
// point or of /proc, its owner or an attribute cannot be kept), and where it has
// other names, which are to show the new content as well, the body is staged
// elsewhere and then copied into the file.
func (f *FS) Write(ctx context.Context, path string, r io.Reader, opts WriteOptions) (api.FileWriteResult, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return api.FileWriteResult{}, err
	}
	s := &staged{path: path, opts: opts, change: &change{}}
	if err := s.stage(ctx, f, r); err != nil {
		s.change.undo()
		return api.FileWriteResult{}, err
	}
	if err := s.commit(ctx); err != nil {
		s.change.undo()
		return api.FileWriteResult{}, problem(err, path)
	}
	s.change.end(nil) // nothing is hidden any more
	return api.FileWriteResult{Path: path, BytesWritten: s.size}, nil
}

// staged is a body on disk that is not yet in its place.
type staged struct {
	path string      // as the caller named it
	dest string      // path with links followed
	old  fs.FileInfo // what is at path, nil if nothing
	temp string      // the hidden file
	size int64

	change *change // that it is part of

	opts   WriteOptions
	direct bool // temp is to be copied into the file, not renamed over it
}

// stage reads r into a hidden file. What fits into one buffer is read before
// anything is made: so a short body takes no note, and however slowly it comes,
// the hidden file is there for a moment only.
func (s *staged) stage(ctx context.Context, f *FS, r io.Reader) error {
	if err := s.look(); err != nil {
		return problem(err, s.path)
	}
	body := reader{ctx, newCapped(r, "maxFileBytes", f.cfg.MaxFileBytes)}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := io.ReadFull(body, *buf)
	short := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !short {
		return bodyError(err)
	}
	if !short && s.change.steps == nil { // a batch has its note already
		s.change.notes = f.cfg.Notes
	}
	temp, err := s.create(f.cfg.TempDir)
	if err != nil {
		return problem(err, s.path)
	}
	defer temp.Close()
	if n > 0 {
		_, err = temp.Write((*buf)[:n])
	}
	s.size = int64(n)
	if err == nil && !short {
		var more int64
		more, err = io.CopyBuffer(struct{ io.Writer }{temp}, body, *buf)
		s.size += more
	}
	if err == nil && !s.direct {
		err = s.dress(temp)
	}
	var re readError
	if errors.As(err, &re) {
		return bodyError(err)
	}
	return problem(err, s.path)
}

// look finds what is at the path, and refuses what cannot be written.
func (s *staged) look() error {
	if strings.HasSuffix(s.path, "/") {
		return syscall.EISDIR
	}
	info, err := os.Lstat(s.path)
	if err == nil && info.Mode().Type() == fs.ModeSymlink {
		return s.lookThrough()
	}
	s.dest = s.path
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.direct = s.opts.Append
	return s.replace(info)
}

// lookThrough is look for a symbolic link.
func (s *staged) lookThrough() error {
	var err error
	if s.dest, err = followLinks(s.path); err != nil {
		return err
	}
	info, err := os.Stat(s.path)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	// A link of /proc need not point where it says.
	target, err := os.Lstat(s.dest)
	s.direct = s.opts.Append || err != nil || !os.SameFile(info, target)
	return s.replace(info)
}

// replace notes what is there now, unless it cannot be written.
func (s *staged) replace(info fs.FileInfo) error {
	if info.IsDir() {
		return syscall.EISDIR
	}
	if err := regular(info, s.path); err != nil {
		return err
	}
	s.old = info
	if info.Sys().(*syscall.Stat_t).Nlink > 1 {
		s.direct = true
	}
	// Replacing needs no right to the file itself, and a caller who may not
	// write a file is not to change it.
	return unix.Faccessat(unix.AT_FDCWD, s.path, unix.W_OK, unix.AT_EACCESS)
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// create makes the hidden file, next to the target if it can, and the directories above
// a new one.
func (s *staged) create(tempDir string) (*os.File, error) {
	if !s.direct {
		perm := fs.FileMode(0o600)
		if s.old == nil && s.opts.Mode == nil {
			perm = 0o666
		}
		temp, err := s.createTemp(parent(s.dest), perm)
		if missing(err) && s.old == nil && s.dest == s.path { // not for a broken link
			if err = s.change.makeDirs(parent(s.path)); err == nil {
				temp, err = s.createTemp(parent(s.path), perm)
			}
		}
		if err == nil || s.old == nil || !cannotCreate(err) {
			return temp, err
		}
		s.direct = true
	}
	return s.createTemp(tempDir, 0o600)
}

func cannotCreate(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrNotExist)
}

// tempPrefix starts the names of everything that is not yet, or no longer, in
// its place.
const tempPrefix = ".sandbox-agent-"

func (s *staged) createTemp(dir string, perm fs.FileMode) (*os.File, error) {
	for {
		s.temp = tempName(dir, "write")
		s.change.hide(s.temp)
		file, err := openFile(s.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if err == nil {
			return file, nil
		}
		s.change.drop()
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

func tempName(dir, what string) string {
	return join(dir, tempPrefix+what+"-"+strconv.FormatUint(rand.Uint64(), 36))
}

// dress gives the hidden file the owner and mode it is to have in its place.
func (s *staged) dress(temp *os.File) error {
	if s.old == nil {
		if s.opts.Mode != nil {
			return temp.Chmod(*s.opts.Mode)
		}
		var head [2]byte
		if n, _ := temp.ReadAt(head[:], 0); n < 2 || string(head[:]) != "#!" {
			return nil
		}
		info, err := temp.Stat()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()
		return temp.Chmod(mode | mode&0o444>>2)
	}
	info, err := temp.Stat()
	if err != nil {
		return err
	}
	has, want := info.Sys().(*syscall.Stat_t), s.old.Sys().(*syscall.Stat_t)
	if has.Uid != want.Uid || has.Gid != want.Gid {
		if temp.Chown(int(want.Uid), int(want.Gid)) != nil {
			s.direct = true
			return nil
		}
	}
	if copyAttributes(s.dest, temp) != nil {
		s.direct = true
		return nil
	}
	mode := s.old.Mode().Perm()
	if s.opts.Mode != nil {
		mode = *s.opts.Mode
	}
	return temp.Chmod(mode) // after the access control list, which changes it
}

// commit puts the body in its place.
func (s *staged) commit(ctx context.Context) error {
	if s.direct {
		return s.copyIn(ctx)
	}
	if s.opts.Append && s.old == nil {
		err := renameNew(s.temp, s.dest)
		if errors.Is(err, fs.ErrExist) {
			return s.copyIn(ctx) // another program made it meanwhile
		}
		return err
	}
	// The system call itself, since [os.Rename] looks for a directory there first.
	err := unix.Rename(s.temp, s.dest)
	if s.old != nil && irreplaceable(err) {
		return s.copyIn(ctx)
	}
	return err
}

// irreplaceable reports whether err is that of renaming over a mount point or in
// a directory that may not be written.
func irreplaceable(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, fs.ErrPermission)
}

// copyIn writes the staged body into the existing file and removes the hidden
// one. An append that fails half way is taken back.
func (s *staged) copyIn(ctx context.Context) error {
	temp, err := os.Open(s.temp)
	if err != nil {
		return err
	}
	defer temp.Close()
	flag := os.O_WRONLY | os.O_TRUNC
	if s.opts.Append {
		flag = os.O_WRONLY | os.O_APPEND
	}
	file, err := os.OpenFile(s.path, flag|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	// From here on a cancelled request must not leave half a file.
	if _, err := copyStream(context.WithoutCancel(ctx), file, temp); err != nil {
		if s.opts.Append {
			file.Truncate(info.Size())
		}
		return err
	}
	if s.opts.Mode != nil {
		if err := file.Chmod(*s.opts.Mode); err != nil {
			return err
		}
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Remove(s.temp)
}
