//go:build !unix

package file

import (
	"fmt"
	"os"
)

// lockFile keeps nobody out on this system: a store is for one process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}
