//go:build !linux

package child

import (
	"os"
	"syscall"
)

// pipe makes a pipe between us and a child.
func pipe(toChild bool) (ours, theirs *os.File, err error) {
	r, w, err := os.Pipe()
	if toChild {
		return w, r, err
	}
	return r, w, err
}

// startInGroup does nothing: this system has no control groups.
func startInGroup(*syscall.SysProcAttr, int) {}

// awaitEnd does nothing here.
func awaitEnd(int) {}

// unread says that it does not know.
func unread(*os.File) int { return -1 }
