// Package filelock takes locks on files that hold between the goroutines of one
// program and between programs. The kernel releases a lock when its holder ends,
// also when that is killed. It is not a mutex for one process, and it does not
// hold across machines.
//
// A lock file stays when the lock is released: removing it would let a second
// holder in, with a lock on a new file of the same name. A program that is
// started while its parent holds a lock does not inherit it, but for the moment
// between the fork and the exec.
//
// The locks of [Lock] belong to an open file, see [flock(2)]. Those of [Part]
// belong to a process, and the kernel names it, see [fcntl_locking(2)]. Neither
// kind sees the other.
//
// [flock(2)]: https://man7.org/linux/man-pages/man2/flock.2.html
// [fcntl_locking(2)]: https://man7.org/linux/man-pages/man2/fcntl_locking.2.html
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// ErrHeld means that another holder has the lock.
var ErrHeld = errors.New("lock is held")

const (
	// moment is how long [Try] asks for a lock: that of a killed holder can
	// pass to a child until the exec of the child, and [Held] takes it to ask.
	moment  = 200 * time.Millisecond
	maxPoll = 20 * time.Millisecond
)

// A Lock is an exclusive lock that is held until Release. Its methods may be
// called from any goroutine.
type Lock struct {
	file    *os.File
	release func() error
}

func newLock(file *os.File) *Lock {
	return &Lock{file: file, release: sync.OnceValue(file.Close)}
}

// File returns the open lock file, in which the holder may leave a note about
// itself. It is closed by Release.
func (l *Lock) File() *os.File { return l.file }

// Release ends the lock. Further calls return what the first one returned.
func (l *Lock) Release() error { return l.release() }

// Try takes the lock of the file path, and makes the file, readable by its owner
// alone, if it does not exist. If the lock is held for longer than a moment, the
// error matches [ErrHeld].
func Try(path string) (*Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	return Acquire(ctx, path, nil)
}

// Acquire is [Try] that waits until ctx ends, and then returns an error that
// matches both [ErrHeld] and the error of ctx. It calls waiting, which may be nil,
// once before it waits.
func Acquire(ctx context.Context, path string, waiting func()) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	return acquire(ctx, file, waiting)
}

// AcquireDir is [Acquire] for a directory, which carries the lock itself: no lock
// file is left among the files of a user. A missing directory matches
// [fs.ErrNotExist].
func AcquireDir(ctx context.Context, dir string) (*Lock, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory to lock: %w", err)
	}
	return acquire(ctx, file, nil)
}

// acquire owns file. The kernel has no wait for a lock that a context could end,
// so it asks again and again.
func acquire(ctx context.Context, file *os.File, waiting func()) (*Lock, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, maxPoll) {
		err := TryFile(file)
		if err == nil {
			return newLock(file), nil
		}
		if !errors.Is(err, ErrHeld) {
			return nil, errors.Join(err, file.Close())
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w (%w)", err, context.Cause(ctx)), file.Close())
		case <-time.After(pause):
		}
	}
}

// TryFile takes the lock of an open file at once or fails with an error that
// matches [ErrHeld]. Closing the file releases the lock.
func TryFile(file *os.File) error {
	held, err := tryLock(file, true)
	if err != nil {
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	if held {
		return fmt.Errorf("lock %s: %w", file.Name(), ErrHeld)
	}
	return nil
}

// Held reports whether the lock of the file path is held. It is false for a file
// that does not exist or cannot be read. The answer can be old when it arrives: a
// program that needs the lock takes it.
func Held(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	held, err := tryLock(file, false)
	return held && err == nil
}
