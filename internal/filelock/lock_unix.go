//go:build unix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func tryLock(file *os.File, exclusive bool) (held bool, err error) {
	how := unix.LOCK_SH | unix.LOCK_NB
	if exclusive {
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	for {
		switch err := unix.Flock(int(file.Fd()), how); {
		case errors.Is(err, unix.EWOULDBLOCK):
			return true, nil
		case !errors.Is(err, unix.EINTR):
			return false, err
		}
	}
}

// A Part is a byte of a file that a process locks, see [Part.Owner].
type Part int64

// Lock makes this process the one that holds the part of a file that is open for
// writing. If it does not wait and another process holds it, the error matches
// [ErrHeld]. Other goroutines of the process are not kept out. Closing any
// descriptor of the file releases all its parts.
func (p Part) Lock(file *os.File, wait bool) error {
	how := unix.F_SETLK
	if wait {
		how = unix.F_SETLKW
	}
	err := p.set(file, how, unix.F_WRLCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrHeld
	}
	return err
}

// Unlock releases the part.
func (p Part) Unlock(file *os.File) error { return p.set(file, unix.F_SETLK, unix.F_UNLCK) }

func (p Part) set(file *os.File, how int, kind int16) error {
	for {
		lock := unix.Flock_t{Type: kind, Start: int64(p), Len: 1}
		err := unix.FcntlFlock(file.Fd(), how, &lock)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Owner returns the process that holds the part, unless it is this one. The
// kernel names it, so it is alive, whatever is written in the file.
func (p Part) Owner(file *os.File) (pid int, held bool) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(p), Len: 1}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0, false
	}
	return int(lock.Pid), true
}
