//go:build unix

package file

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
)

// lockFile makes this process the one that uses a store, until the file is
// closed or the process has ended.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = api.NewError(api.KindUnavailable, api.CodeDataLocked, "%s is held: another process uses the store", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
