package child

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// A mark tells whose child a process is that has forked twice and made a session of
// its own, so that no parent, session, or group tells it any more: the soft limit of
// RLIMIT_LOCKS, a number that is as good as infinity. A process inherits it from its
// parent, keeps it over exec, and cannot lose it by closing descriptors or with an
// empty environment. No kernel has enforced this limit since Linux 2.4.25, see
// [getrlimit(2)].
//
// Only a process that sets its own limits is not found by it: one that logs in by PAM,
// or that is told to (ulimit -x). The same holds where the kernel does not know the
// limit, such as in gVisor.
//
// [getrlimit(2)]: https://man7.org/linux/man-pages/man2/getrlimit.2.html
type mark uint64

// A mark is the number of this run of the program, of nine digits, and that of the
// child, of nine digits too.
const (
	runMin   = 100_000_000
	childMax = 1_000_000_000
)

// marking gives marks. It is a variable of the package because what it changes, the
// limits of this program, are one too. The lock is held while a process is started, so
// that none gets the mark of another one. That costs nothing: the runtime starts one
// process at a time.
var marking struct {
	sync.Mutex
	run  uint64 // 0 before the first mark
	last uint64
	none bool // the kernel gives none
}

// thisRun returns the digits that every mark of this run of the program starts with,
// nothing if it gives none.
func thisRun() string {
	if !family.adopts.Load() {
		return ""
	}
	marking.Lock()
	defer marking.Unlock()
	return strconv.FormatUint(runNumber(), 10)
}

// runNumber is thisRun as a number. The caller holds the lock.
func runNumber() uint64 {
	if marking.run == 0 {
		marking.run = runMin + rand.Uint64N(9*runMin)
	}
	return marking.run
}

// startMarked starts a process that has a mark of its own, or none where there are no
// marks: only a program that starts processes by this package alone gives them, as
// others would get one by accident.
func startMarked(cmd *exec.Cmd) (m mark, err error) {
	if !family.adopts.Load() {
		return 0, cmd.Start()
	}
	marking.Lock()
	defer marking.Unlock()
	var before unix.Rlimit
	if marking.none || unix.Prlimit(0, unix.RLIMIT_LOCKS, nil, &before) != nil {
		return 0, cmd.Start()
	}
	marking.last = (marking.last + 1) % childMax
	number := runNumber()*childMax + marking.last
	if unix.Prlimit(0, unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: number, Max: before.Max}, nil) != nil {
		marking.none = true
		return 0, cmd.Start()
	}
	err = cmd.Start()
	_ = unix.Prlimit(0, unix.RLIMIT_LOCKS, &before, nil) // it was allowed a moment ago
	return mark(number), err
}

// startUnmarked starts a process that no end of a child or of this program ends.
func startUnmarked(cmd *exec.Cmd) error {
	marking.Lock()
	defer marking.Unlock()
	return cmd.Start()
}

// on reports whether a process has the mark.
func (m mark) on(pid int) bool {
	var limit unix.Rlimit
	return unix.Prlimit(pid, unix.RLIMIT_LOCKS, nil, &limit) == nil && limit.Cur == uint64(m)
}

// strays returns the adopted processes with the mark: what the child that has it
// started, and what has left its session and outlived its parent.
func (m mark) strays() (pids []int) {
	if m == 0 {
		return nil
	}
	for _, pid := range adopted() {
		if m.on(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// adopted returns the children of this program that may be orphans. The kernel gives
// them to the first thread.
func adopted() (pids []int) {
	self := os.Getpid()
	number := strconv.Itoa(self)
	list, err := os.ReadFile("/proc/self/task/" + number + "/children")
	if err != nil { // a kernel without that file
		for _, p := range tree.Table() {
			if p.Parent == self {
				pids = append(pids, p.PID)
			}
		}
		return pids
	}
	for field := range bytes.FieldsSeq(list) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
