//go:build !linux

package files

import (
	"errors"
	"os"
	"testing"
)

func mountTmpfs(string) error { return errors.ErrUnsupported }

func killedChild(string, string) error { return errors.ErrUnsupported }

func selfExe(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func childMounts(*FS, string) error { return errors.ErrUnsupported }
