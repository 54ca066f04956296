// Package atomicfile replaces files in one step: a reader, and a program that
// starts after a crash, finds the old content or the new, never a part. It is for
// files that this program owns; package files, which writes the files of users
// through links and into mount points, does more.
//
// The new content is written to a hidden file in the same directory and renamed
// over the old one. A symbolic link is replaced, not followed.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Options say how a file is replaced. The zero value makes a file that its owner
// alone can read and that is on disk when the call returns.
type Options struct {
	// Mode has the permission bits, whatever the umask is. Zero means 0600.
	Mode fs.FileMode
	// KeepMode keeps the permission bits of a file that exists.
	KeepMode bool
	// NoSync does not wait for the disk: the content survives the end of the
	// process, but after a loss of power the file may be empty.
	NoSync bool
}

// Write makes data the content of the file path. If it fails, nothing is left, and
// the file is as it was, unless the disk fails to record the new name. The
// directory has to exist. Errors name path, as a [*fs.PathError].
func Write(path string, data []byte, opts Options) error {
	return WriteFunc(path, opts, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFunc is [Write] of what a function writes. If the function fails or
// panics, the file is as it was; an error of its own is returned as it is.
func WriteFunc(path string, opts Options, write func(io.Writer) error) (err error) {
	if opts.Mode == 0 {
		opts.Mode = 0o600
	}
	if info, err := os.Stat(path); opts.KeepMode && err == nil {
		opts.Mode = info.Mode().Perm()
	}
	temp, err := create(path)
	if err != nil {
		return failed(path, err)
	}
	done := false
	defer func() {
		if !done {
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	if err := write(temp); err != nil {
		return failedIn(temp, path, err)
	}
	if err := finish(temp, opts); err != nil {
		return failed(path, err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return failed(path, err)
	}
	done = true
	if opts.NoSync {
		return nil
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return failed(path, err)
	}
	return nil
}

func finish(temp *os.File, opts Options) error {
	err := temp.Chmod(opts.Mode)
	if err == nil && !opts.NoSync {
		err = fsync(temp)
	}
	return errors.Join(err, temp.Close())
}

// failed names the file that was to be replaced, not the hidden one.
func failed(path string, err error) error {
	if linkErr, ok := errors.AsType[*os.LinkError](err); ok {
		err = linkErr.Err
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return &fs.PathError{Op: "write", Path: path, Err: err}
}

// failedIn is failed for an error of the function that writes, which may be its own.
func failedIn(temp *os.File, path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && pathErr.Path == temp.Name() {
		return failed(path, err)
	}
	return err
}

const suffix = ".new"

// stem is what the names of the hidden files for path start with, short enough
// that no name is too long for a file system.
func stem(path string) string {
	base := filepath.Base(path)
	if len(base) > 100 {
		base = base[:100]
	}
	return "." + base + "."
}

func create(path string) (*os.File, error) {
	for {
		name := stem(path) + strconv.FormatUint(rand.Uint64(), 10) + suffix
		file, err := os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
}

// syncDir makes a rename durable, where the file system can.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return nil // a directory that may be written, but not read
	}
	defer file.Close()
	err = fsync(file)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// fsync is a variable for the tests of what happens when a disk fails.
var fsync = (*os.File).Sync

// Clean removes what killed writers of path have left. The caller ensures that
// nobody writes the file at the same time, by a lock for example.
func Clean(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean up after writers: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if isLeft(entry.Name(), path) {
			errs = append(errs, os.Remove(filepath.Join(filepath.Dir(path), entry.Name())))
		}
	}
	return errors.Join(errs...)
}

func isLeft(name, path string) bool {
	name, begins := strings.CutPrefix(name, stem(path))
	number, ends := strings.CutSuffix(name, suffix)
	_, err := strconv.ParseUint(number, 10, 64)
	return begins && ends && err == nil
}
