package child

import (
	"bytes"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// room is how many of the processes and threads that the user may have are left to
// this program: the runtime ends it when it cannot have a thread that it needs, and one
// is needed for each call that waits for a disk. It is a quarter, but not less or more
// than these, and never more than half.
const (
	minRoom = 32
	maxRoom = 128
)

// processLimit returns the limit of children for RLIMIT_NPROC, which counts the
// processes and threads of a user, and raises that of this program to what it may be.
// It is infinite where there is none; it does not bind root.
var processLimit = sync.OnceValue(func() unix.Rlimit {
	var own unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NPROC, nil, &own) != nil {
		return unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	}
	limit := own
	if own.Max != unix.RLIM_INFINITY {
		limit.Max -= min(own.Max/2, max(minRoom, min(maxRoom, own.Max/4)))
		limit.Cur = min(limit.Cur, limit.Max)
		_ = unix.Prlimit(0, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: own.Max, Max: own.Max}, nil)
	}
	return limit
})

// leaveRoom keeps a child, and what it starts, from taking the room: also what it has
// started before, but for what has forked twice by then.
func leaveRoom(pid int) {
	limit := processLimit()
	if limit.Max == unix.RLIM_INFINITY || unix.Prlimit(pid, unix.RLIMIT_NPROC, &limit, nil) != nil {
		return // there is no limit, or the process has ended
	}
	number := strconv.Itoa(pid)
	started, _ := os.ReadFile("/proc/" + number + "/task/" + number + "/children") // none where the kernel does not say
	for field := range bytes.FieldsSeq(started) {
		if child, err := strconv.Atoi(string(field)); err == nil {
			leaveRoom(child)
		}
	}
}
