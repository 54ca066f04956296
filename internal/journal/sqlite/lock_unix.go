//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// lockFile takes the lock of a data file, which the kernel gives back when the
// process ends, however it ends. Closing the file unlocks it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		owner, _ := os.ReadFile(path)
		return nil, api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"%s is in use by another process (%s)", strings.TrimSuffix(path, lockSuffix), strings.TrimSpace(string(owner)))
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "pid %d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return f, nil
}

// Held reports whether the journal in a file is open somewhere. Unlike [Open] it
// does not wait for somebody who is about to leave it.
func Held(path string) bool {
	f, err := os.Open(path + lockSuffix)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// lockWait is how long a lock is tried for. A process that was killed while it
// started a child leaves its lock to that child until the child runs its own
// program, which is a matter of milliseconds.
const lockWait = time.Second

func tryLock(f *os.File) error {
	for deadline := time.Now().Add(lockWait); ; time.Sleep(5 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
	}
}
