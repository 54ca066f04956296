package app

import (
	"cmp"
	"math"
	"syscall"
)

// machine is what bounds how much a server may hold at once. A zero is not known, and
// bounds nothing.
type machine struct {
	files  uint64 // that this process may have open
	pids   uint64 // that this user, or the control group of this process, may have
	memory uint64 // in bytes, that this process may have with all its children
}

// What an agent takes at least: three pipes and a descriptor of its process, the
// threads of a small runtime, and the memory of the smallest agents there are.
const (
	agentFiles  = 8
	agentPIDs   = 8
	agentMemory = 8 << 20
)

// agents returns how many agents may run at once. It is no promise that as many large
// ones fit, but a bound that the machine does not reach before.
func (m machine) agents() int {
	n := min(known(m.files)/agentFiles, known(m.pids)/agentPIDs, known(m.memory)/agentMemory)
	return int(min(max(n, 16), 4096))
}

// connections returns how many connections of clients may be open at once: half of the
// files, since agents, processes, and the journal need the others.
func (m machine) connections() int {
	return int(min(max(known(m.files)/2, 64), 8192))
}

func known(n uint64) uint64 { return cmp.Or(n, math.MaxUint64) }

// maxFiles returns how many files this process may have open.
func maxFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}
