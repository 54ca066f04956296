//go:build !linux

package child

import (
	"syscall"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// members knows nothing here: only the process group is reached.
func members([]tree.Process, int, bool) []tree.Process { return nil }

// remains reports whether the group of an ended process has others in it.
func remains(sid int) bool { return syscall.Kill(-sid, 0) == nil }

// ending does not know.
func ending(int) bool { return false }
