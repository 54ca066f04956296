//go:build !unix

package sqlite

import (
	"fmt"
	"os"
)

// lockFile locks nothing where there is no flock; SQLite's own locks keep the
// file whole.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}

// Held reports false where there is no flock.
func Held(string) bool { return false }
