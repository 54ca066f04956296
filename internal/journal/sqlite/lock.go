package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// lockWait is how long a lock is tried for. A process that was killed while it
// started a child leaves its lock to that child until the child runs its own
// program, which is a matter of milliseconds.
const lockWait = time.Second

// lockData takes the lock of a data file and writes into it who has it.
func lockData(path string) (*filelock.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	lock, err := filelock.Acquire(ctx, path+lockSuffix, nil)
	if errors.Is(err, filelock.ErrHeld) {
		owner, _ := os.ReadFile(path + lockSuffix)
		return nil, api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"%s is in use by another process (%s)", path, bytes.TrimSpace(owner))
	}
	if err != nil {
		return nil, err
	}
	if err = lock.File().Truncate(0); err == nil {
		_, err = fmt.Fprintf(lock.File(), "pid %d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), lock.Release())
	}
	return lock, nil
}

// Held reports whether the journal in a file is open somewhere. Unlike [Open] it
// does not wait for a holder that is about to end.
func Held(path string) bool { return filelock.Held(path + lockSuffix) }
