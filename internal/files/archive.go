package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sandboxagent/sandboxagent/api"
)

// Packing is how an archive is compressed.
type Packing string

// The packings.
const (
	PackNone Packing = ""
	PackGzip Packing = "gzip"
	PackZstd Packing = "zstd"
)

// Archive is a directory or file that is ready to be sent as a tar archive.
type Archive struct {
	Path    string
	packing Packing
	root    *os.Root // the directory, or the one the file is in
	top     string   // "." or the file's name
}

// Archive opens path, links followed, to be written as a tar archive by
// [Archive.Write]. All that can be refused is refused here, before the
// first byte. The caller closes the archive.
func (f *FS) Archive(_ context.Context, path string, packing Packing) (*Archive, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return nil, err
	}
	switch packing {
	case PackNone, PackGzip, PackZstd:
	default:
		return nil, api.InvalidRequest("", "unknown packing %s (want gzip or zstd)", string(packing))
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, problem(err, path)
	}
	a := &Archive{Path: path, packing: packing, top: "."}
	dir := path
	if !info.IsDir() {
		if err := regular(info, path); err != nil {
			return nil, err
		}
		real, err := followLinks(path)
		if err != nil {
			return nil, problem(err, path)
		}
		dir = parent(real)
		a.top = real[len(trimSlash(dir)):]
		for a.top != "" && a.top[0] == '/' {
			a.top = a.top[1:]
		}
	}
	if a.root, err = os.OpenRoot(dir); err != nil {
		return nil, problem(err, path)
	}
	return a, nil
}

// Close releases the archive.
func (a *Archive) Close() error { return a.root.Close() }

// Write streams the archive to w until it is complete, ctx ends or an error.
// Names are relative to the directory, links stay links, permissions and times
// are kept. Sockets, FIFOs and devices are left out. A file that shrinks while
// it is read is filled up with zeros, of one that grows the end is not read.
// After an error what was written is not a complete archive, and reading it says
// so.
func (a *Archive) Write(ctx context.Context, w io.Writer) error {
	switch a.packing {
	case PackGzip:
		zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		if err := a.write(ctx, zw); err != nil {
			return err
		}
		return zw.Close()
	case PackZstd:
		zw, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		if err := a.write(ctx, zw); err != nil {
			return err
		}
		return zw.Close()
	}
	return a.write(ctx, w)
}

func (a *Archive) write(ctx context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	err := fs.WalkDir(a.root.FS(), a.top, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return gone(entryProblem(err, join(a.Path, name)))
		}
		if name == "." {
			return nil
		}
		return gone(entryProblem(a.add(ctx, tw, name), join(a.Path, name)))
	})
	if err == nil {
		err = tw.Close()
	}
	return problem(err, a.Path)
}

// entryProblem is [problem] of an entry at path, which its text names.
func entryProblem(err error, path string) error {
	var no syscall.Errno
	if !errors.As(err, &no) || no == syscall.ENOENT {
		return problem(err, path)
	}
	return api.StreamError(codeOf(no), "archive %s: %w", path, osError{no}).With("path", path)
}

// gone ignores the error of what was removed since its directory was listed.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (a *Archive) add(ctx context.Context, tw *tar.Writer, name string) error {
	info, err := a.root.Lstat(name)
	if err != nil {
		return err
	}
	target := ""
	var file *os.File
	switch info.Mode().Type() {
	case fs.ModeDir:
	case fs.ModeSymlink:
		if target, err = a.root.Readlink(name); err != nil {
			return err
		}
	case 0:
		if file, err = a.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
			return err
		}
		defer file.Close()
		if info, err = file.Stat(); err != nil || !info.Mode().IsRegular() {
			return err
		}
	default:
		return nil
	}
	hdr, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("describe %s: %w", name, err)
	}
	hdr.Name = name
	if info.IsDir() {
		hdr.Name += "/"
	}
	hdr.Format = tar.FormatPAX // keeps the fractions of times
	hdr.Uname, hdr.Gname = "", ""
	hdr.AccessTime, hdr.ChangeTime = time.Time{}, time.Time{}
	if err := tw.WriteHeader(hdr); err != nil || file == nil {
		return err
	}
	n, err := copyStream(ctx, tw, io.LimitReader(file, info.Size()))
	if err == nil && n < info.Size() {
		_, err = copyStream(ctx, tw, io.LimitReader(zeros{}, info.Size()-n))
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
