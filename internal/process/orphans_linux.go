package process

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// family knows the children that somebody here waits for, once orphans are
// adopted. It is a variable of the package because what it is about, the children
// of this program, is one too.
var family struct {
	adopts atomic.Bool
	mu     sync.Mutex
	ours   map[int]*exec.Cmd
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
	family.ours = make(map[int]*exec.Cmd)
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

// startOurs starts a child that its caller waits for. The lock is held so that a
// child which ends at once is not taken for an orphan.
func startOurs(cmd *exec.Cmd) error {
	if !family.adopts.Load() {
		return cmd.Start()
	}
	family.mu.Lock()
	defer family.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		family.ours[cmd.Process.Pid] = cmd
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
	if pid := cmd.Process.Pid; family.ours[pid] == cmd {
		delete(family.ours, pid)
	}
	buryOrphans()
}

// buryOrphans waits for ended children until the next one is ours, whose waiter
// comes back here. The caller holds family.mu.
func buryOrphans() {
	for {
		pid := endedChild()
		if pid == 0 || family.ours[pid] != nil {
			return
		}
		if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != nil && err != syscall.EINTR {
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
