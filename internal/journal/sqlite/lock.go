package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// lockWait is how long a lock is tried for. A process that was killed while it
// started a child leaves its lock to that child until the child runs its own
// program, which is a matter of milliseconds.
const lockWait = time.Second

// endingWait is how much longer a lock is tried for whose holder is ending.
const endingWait = 4 * time.Second

// ending stands in the lock file after the id of a holder that is about to release it.
const ending = "ending"

// lockData takes the lock of a data file and writes into it who has it.
func lockData(path string) (*filelock.Lock, error) {
	lock, err := acquire(path, lockWait)
	var owner []byte
	if errors.Is(err, filelock.ErrHeld) {
		owner, _ = os.ReadFile(path + lockSuffix)
		if bytes.Contains(owner, []byte(ending)) {
			lock, err = acquire(path, endingWait)
		}
	}
	if errors.Is(err, filelock.ErrHeld) {
		return nil, api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"%s is in use by another process (%s)", path, bytes.TrimSpace(owner))
	}
	if err != nil {
		return nil, err
	}
	if err := writeOwner(lock, ""); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return lock, nil
}

func acquire(path string, wait time.Duration) (*filelock.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return filelock.Acquire(ctx, path+lockSuffix, nil)
}

// writeOwner writes into a lock that this process has it, and a word about it.
func writeOwner(lock *filelock.Lock, word string) error {
	text := strings.TrimSpace(fmt.Sprintf("pid %d %s", os.Getpid(), word)) + "\n"
	err := lock.File().Truncate(0)
	if err == nil {
		_, err = lock.File().WriteAt([]byte(text), 0)
	}
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// Ending notes that this process is about to close the store. A process that opens it waits
// for that, for up to five seconds.
func (s *Store) Ending() error { return writeOwner(s.lock, ending) }

// Owner returns the id of the process that has the journal in a file open, or had it
// last. It is zero when that is not known.
func Owner(path string) int {
	owner, err := os.ReadFile(path + lockSuffix)
	var pid int
	if _, scanErr := fmt.Sscanf(string(owner), "pid %d", &pid); err != nil || scanErr != nil {
		return 0
	}
	return pid
}

// Held reports whether the journal in a file is open somewhere. Unlike [Open] it
// does not wait for a holder that is about to end.
func Held(path string) bool { return filelock.Held(path + lockSuffix) }
