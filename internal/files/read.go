package files

import (
	"context"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// File is an open regular file. The caller closes it. Reading what blocks, as
// some of /proc does, fails once the context given to [FS.Open] ends.
type File struct {
	*os.File // to be handed on as *os.File, so that the kernel can send it

	Path     string    // as resolved
	Size     int64     // bytes, -1 where it is only known after reading, as for most of /proc
	Modified time.Time // zero when Size is -1
	ETag     string    // strong, quoted; empty when Size is -1
	Mode     fs.FileMode

	stop func() // of watching the context; nil when reading cannot block
}

// Close closes the file.
func (f *File) Close() error {
	if f.stop != nil {
		f.stop()
	}
	return f.File.Close()
}

// endWith lets a read of file that waits fail once ctx ends. The file was opened
// with O_NONBLOCK, so that a read waits in the poller or not at all. The caller
// calls stop before it closes the file.
func endWith(ctx context.Context, file *os.File) (stop func()) {
	end := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
	return func() { end() }
}

// Open opens the regular file path for reading, links followed. It never
// blocks on a FIFO or a device, it refuses them. Since writes replace files,
// an open file goes on showing what it was when it was opened.
func (f *FS) Open(ctx context.Context, path string) (*File, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return nil, err
	}
	// Opening a device can have effects, so it is looked at before and, since
	// it may be exchanged in between, after.
	info, err := os.Stat(path)
	if err != nil {
		return nil, problem(err, path)
	}
	if err := regular(info, path); err != nil {
		return nil, err
	}
	file, err := openFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, problem(err, path)
	}
	info, err = file.Stat()
	if err == nil {
		err = regular(info, path)
	}
	if err != nil {
		file.Close()
		return nil, problem(err, path)
	}
	opened := &File{File: file, Path: path, Size: -1, Mode: info.Mode().Perm()}
	if generated(file, info) {
		opened.stop = endWith(ctx, file)
	} else {
		opened.Size = info.Size()
		opened.Modified = info.ModTime()
		opened.ETag = etag(info)
	}
	return opened, nil
}

// regular refuses what is not a regular file, with the text of the earlier
// server.
func regular(info fs.FileInfo, path string) error {
	if info.Mode().IsRegular() {
		return nil
	}
	code := api.CodeNotAFile
	if info.IsDir() {
		code = api.CodeIsADirectory
	}
	return api.InvalidRequest(code, "path is not a file: %s", path).With("path", path)
}

// etag names a version of a file: another inode, size or time of change is
// another version. The time of the inode's change cannot be set back by hand.
func etag(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	b := make([]byte, 0, 72)
	for _, n := range []uint64{st.Ino, uint64(st.Size), uint64(info.ModTime().UnixNano()), uint64(changeTime(st))} {
		b = strconv.AppendUint(append(b, '-'), n, 16)
	}
	b[0] = '"'
	return string(append(b, '"'))
}

// openFile is [os.OpenFile] for regular files: it does not try whether the poller
// takes them, which costs more than opening a small one.
func openFile(path string, flag int, perm fs.FileMode) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flag|unix.O_CLOEXEC, uint32(perm.Perm()))
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case syscall.EINTR:
		default:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}
