//go:build !linux

package child

import "syscall"

// alive reports whether a process is in the table.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
