package child

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// family has the children that this program waits for, once orphans are
// adopted. It is a variable of the package because what it is about, the children
// of this program, is one too.
var family struct {
	adopts   atomic.Bool
	mu       sync.Mutex
	starting map[*exec.Cmd]bool // on the way to be ours
	ours     map[int]*exec.Cmd

	// suspect is an ended child that is an orphan unless one of the starts in
	// before made it; 0 if there is none.
	suspect int
	before  map[*exec.Cmd]bool
}

// AdoptOrphans makes this program wait for the processes that its children leave
// behind, when these end. They would stay as zombies otherwise wherever the first
// process of the machine cares for none, and in a container that is often this
// program itself. It is called before the first child is started, and only by a
// program that starts none but by this package: it would take their exit from
// those who wait for them.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	family.mu.Lock()
	defer family.mu.Unlock()
	if family.adopts.Swap(true) {
		return nil
	}
	family.starting, family.ours = make(map[*exec.Cmd]bool), make(map[int]*exec.Cmd)
	wantGroups()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			family.mu.Lock()
			buryOrphans()
			family.mu.Unlock()
		}
	}()
	return nil
}

// orphans returns the adopted processes with all that they have started.
func orphans(table []tree.Process) []tree.Process {
	if !family.adopts.Load() {
		return nil
	}
	guardian := guardPID()
	family.mu.Lock()
	defer family.mu.Unlock()
	// What is being started looks like an orphan. It is the matter of a moment.
	for tries := 0; len(family.starting) > 0 && tries < 1000; tries++ {
		family.mu.Unlock()
		time.Sleep(time.Millisecond)
		family.mu.Lock()
	}
	self := os.Getpid()
	return tree.Below(table, func(p tree.Process) bool {
		return p.Parent == self && p.PID != guardian && family.ours[p.PID] == nil
	})
}

// orphanGrace is how long orphans have to end when they are asked to.
const orphanGrace = 500 * time.Millisecond

// EndOrphans ends the adopted processes, which is what a child started that made a
// session of its own and outlived it. A program calls it last, after its children
// have ended.
func EndOrphans() {
	if !family.adopts.Load() {
		return
	}
	defer closeGroups()
	defer disarmGuard()
	sig, asked := syscall.SIGTERM, time.Now()
	for signalOrphans(sig) && time.Since(asked) < orphanGrace+killWait {
		if sig = 0; time.Since(asked) > orphanGrace { // 0 is sent to nobody
			sig = syscall.SIGKILL
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// signalOrphans reports whether there are any.
func signalOrphans(sig syscall.Signal) (found bool) {
	guardian := guardPID()
	family.mu.Lock() // what is an orphan now is waited for by nobody else
	defer family.mu.Unlock()
	for _, e := range tree.Table() {
		if e.Parent == os.Getpid() && e.PID != guardian && family.ours[e.PID] == nil && len(family.starting) == 0 {
			found = syscall.Kill(e.PID, sig) == nil || found
		}
	}
	return found
}

// startOurs starts, by a function, a child that its caller waits for.
func startOurs(cmd *exec.Cmd, start func(*exec.Cmd) error) error {
	if !family.adopts.Load() {
		return start(cmd)
	}
	family.mu.Lock()
	family.starting[cmd] = true
	family.mu.Unlock()
	err := start(cmd)
	family.mu.Lock()
	defer family.mu.Unlock()
	delete(family.starting, cmd)
	if err == nil {
		family.ours[cmd.Process.Pid] = cmd
	}
	if delete(family.before, cmd); family.suspect != 0 && len(family.before) == 0 {
		pid := family.suspect
		family.suspect = 0
		if family.ours[pid] == nil {
			bury(pid)
		}
		buryOrphans()
	}
	return err
}

// endedOurs says that a child was waited for. Orphans that the kernel kept behind
// it are waited for now.
func endedOurs(cmd *exec.Cmd) {
	if !family.adopts.Load() {
		return
	}
	family.mu.Lock()
	defer family.mu.Unlock()
	pid := cmd.Process.Pid
	if family.ours[pid] == cmd {
		delete(family.ours, pid)
	}
	if family.suspect == pid {
		family.suspect = 0
	}
	buryOrphans()
}

// buryOrphans waits for ended children until the next one is ours, whose waiter
// comes back here, or may turn out to be. The caller holds family.mu.
func buryOrphans() {
	for family.suspect == 0 {
		pid := endedChild()
		if pid == 0 || family.ours[pid] != nil {
			return
		}
		if len(family.starting) > 0 {
			family.suspect, family.before = pid, maps.Clone(family.starting)
			return
		}
		bury(pid)
	}
}

func bury(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != syscall.EINTR {
			return
		}
	}
}

// childInfo is what siginfo_t holds for the end of a child.
type childInfo struct {
	signo, errno, code int32
	fields             struct {
		_   [0]uintptr // the kernel aligns what follows like a pointer
		pid int32
	}
	_ [112]byte
}

// endedChild returns the id of a child that has ended and was not waited for, and
// leaves it so. It is 0 if there is none.
func endedChild() int {
	var info childInfo
	err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0
	}
	return int(info.fields.pid)
}
