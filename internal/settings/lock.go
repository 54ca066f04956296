package settings

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock excludes every other holder of the lock on a folder, in this process and
// in others, until unlock is called or the process ends. The folder itself
// carries the lock, so that no lock file is left among a user's files. It waits
// as long as ctx allows, and fails with [fs.ErrNotExist] when there is no folder.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	// Asking again, rather than a call that blocks, keeps the wait bound to ctx.
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := flock(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for lock of %s: %w", dir, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}
