package reaper

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/sandboxagent/sandboxagent/internal/child/cgroup"
	"github.com/sandboxagent/sandboxagent/internal/child/conceal"
	"github.com/sandboxagent/sandboxagent/internal/child/tree"
	"github.com/sandboxagent/sandboxagent/internal/memory"
)

// Early makes this process the parent of a server if its arguments are those of one,
// and then it does not return. In the server itself it is [Join]. In a test of the main
// package it is nothing: the flags of a test (-test.run) look like a token (-t est.run),
// and would be hidden.
func Early() {
	if strings.HasSuffix(os.Args[0], ".test") {
		return
	}
	Join()
	if parent == 0 && serves(conceal.Args()[1:]) {
		_, _ = os.Stderr.WriteString("sandbox-agent: " + run().Error() + "\n")
		os.Exit(1)
	}
}

// Join makes this process, if a parent has started it, the server of that parent, with
// which it ends. A program calls it before it reads its environment.
func Join() {
	conceal.Take()
	text, is := os.LookupEnv(variable)
	if !is {
		return
	}
	_ = os.Unsetenv(variable)
	if text == orphaned {
		strike()
	}
	number, descriptor, hidden := strings.Cut(text, ",")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return
	}
	conceal.Process()
	if hidden {
		adoptHidden(descriptor)
	}
	watch(pid)
}

// adoptHidden reads what the parent has hidden, and closes the descriptor.
func adoptHidden(descriptor string) {
	fd, err := strconv.Atoi(descriptor)
	if err != nil {
		return
	}
	file := os.NewFile(uintptr(fd), "hidden")
	defer file.Close()
	if hidden, err := io.ReadAll(file); err == nil {
		conceal.Adopt(hidden)
	}
}

// handOver is the way of what is hidden to a server: a pipe, whose end for reading the
// server inherits. Nil means that nothing is hidden.
type handOver struct {
	hidden     []byte
	inherited  int
	ours       *os.File
	descriptor string
}

func newHandOver() (*handOver, error) {
	hidden := conceal.Hidden()
	if hidden == nil {
		return nil, nil
	}
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// This process starts nothing but the server.
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(ends[0]), syscall.F_SETFD, 0); errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	return &handOver{hidden, ends[0], os.NewFile(uintptr(ends[1]), "hidden"), "," + strconv.Itoa(ends[0])}, nil
}

// suffix is what the value of the variable ends with.
func (h *handOver) suffix() string {
	if h == nil {
		return ""
	}
	return h.descriptor
}

// finish writes what is hidden to the server, if it was started, and closes the pipe.
func (h *handOver) finish(started bool) {
	if h == nil {
		return
	}
	_ = syscall.Close(h.inherited)
	if started {
		_, _ = h.ours.Write(h.hidden) // a server that has ended does not need it
	}
	_ = h.ours.Close()
}

// Ensure makes this process the parent of a server, unless it has one, and then it
// returns only with an error. It is for a server whose arguments [Early] did not
// recognise.
func Ensure() error {
	if parent != 0 {
		return nil
	}
	return run()
}

// orphaned is the value of the variable for what is left of a server without a parent.
const orphaned = "gone"

// deathSignal is what the kernel sends a server whose parent has died. Nothing else
// uses it; the server looks at its parent when it comes.
const deathSignal = syscall.Signal(40)

// endLimit bounds how long the parent tries to kill what a server has left behind.
// Only what sits inside the kernel, or belongs to another user, outlasts it.
const endLimit = 2500 * time.Millisecond

// run starts the server and waits for it. It returns only if it cannot.
func run() error {
	// The signal of death comes with the end of the thread that has started the
	// server, not of the process.
	runtime.LockOSThread()
	conceal.Process()
	if err := adopt(); err != nil {
		return os.NewSyscallError("adopt orphans", err)
	}
	exe, err := executable()
	if err != nil {
		return os.NewSyscallError("find this program", err)
	}
	strangers := make(map[int]bool) // children of the program that this process ran before
	if !childless() {
		for _, p := range tree.DescendantsOf(os.Getpid())(tree.Table()) {
			strangers[p.PID] = true
		}
	}
	signals := make(chan os.Signal, 128)
	signal.Notify(signals, forwarded()...)
	hidden, err := newHandOver()
	if err != nil {
		return err
	}
	server, err := syscall.ForkExec(exe, os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), variable+"="+strconv.Itoa(os.Getpid())+hidden.suffix()),
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Pdeathsig: deathSignal,
			// A SIGKILL to the group of the parent must leave the server to clear up.
			// With a terminal, though, both have to be in its foreground.
			Setpgid: !isTerminal(0),
		},
	})
	hidden.finish(err == nil)
	if err != nil {
		return os.NewSyscallError("start the server", err)
	}
	memory.ReleaseProgram()
	for sig := range signals {
		number := sig.(syscall.Signal)
		switch number {
		case syscall.SIGCHLD:
			if status, ended := reap(server); ended {
				end(server, status, strangers)
			}
			continue
		case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			_ = syscall.Kill(server, number)
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			continue
		}
		_ = syscall.Kill(server, number)
	}
	return nil
}

// forwarded lists the signals that the parent takes notice of: all but those that
// nobody can, or that the runtime makes for itself. A hang-up that was ignored from
// the start stays so, for both.
func forwarded() []os.Signal {
	var all []os.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		switch {
		case n == syscall.SIGKILL, n == syscall.SIGSTOP, n == syscall.SIGURG, n == syscall.SIGPIPE, n >= 32 && n <= 34:
		case n == syscall.SIGHUP && signal.Ignored(n):
		default:
			all = append(all, n)
		}
	}
	return all
}

// reap waits for all children that have ended, and returns how the server has, if it is
// among them.
func reap(server int) (status syscall.WaitStatus, ended bool) {
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid <= 0:
			return status, ended
		case pid == server:
			status, ended = s, true
		}
	}
}

// childless reports whether this process has no children, not even ended ones. It costs
// one call, and the process table of a busy machine a tenth of a second.
func childless() bool {
	const all = 0 // P_ALL
	_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, all, 0, 0, syscall.WEXITED|syscall.WNOHANG|syscall.WNOWAIT, 0, 0)
	return errno == syscall.ECHILD
}

// end kills what the server has left behind, and ends this process as the server has
// ended.
func end(server int, status syscall.WaitStatus, strangers map[int]bool) {
	left := func(table []tree.Process) []tree.Process {
		return tree.Below(table, func(p tree.Process) bool { return p.Parent == os.Getpid() && !strangers[p.PID] })
	}
	if !childless() {
		tree.Kill(left, endLimit, func() { reap(0) })
	}
	cgroup.Remove(server)
	if !status.Signaled() {
		os.Exit(status.ExitStatus())
	}
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // the server's is enough
	signal.Reset(status.Signal())
	_ = syscall.Kill(os.Getpid(), status.Signal())
	time.Sleep(10 * time.Millisecond) // for the first process of a container, which no signal ends
	os.Exit(128 + int(status.Signal()))
}

// watch makes this process the server of a parent: it ends with it.
func watch(pid int) {
	parent = pid
	died := make(chan os.Signal, 1)
	signal.Notify(died, deathSignal)
	go func() {
		for range died {
			if os.Getppid() != pid {
				follow()
			}
		}
	}()
	if os.Getppid() != pid { // before it could be signalled
		follow()
	}
}

// follow ends this server after its parent. The program is executed again, in the
// place of the server, only to kill what the server has started: nothing of the server
// must run on and write down that its agents have ended, or start them again.
func follow() {
	_ = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), variable+"="+orphaned))
	strike()
}

// A server outlives its parent by some ten milliseconds. The limits are for a machine
// that is busy, or full of processes.
const (
	strikePause = 75 * time.Millisecond
	strikeLimit = endLimit
	sweepLimit  = 100 * time.Millisecond // for the control groups to be empty
)

// strike kills all descendants of this process, and ends it.
func strike() {
	tree.Strike(tree.DescendantsOf(os.Getpid()), strikePause, strikeLimit)
	deadline := time.Now().Add(sweepLimit)
	for !cgroup.Remove(os.Getpid()) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // what was killed takes a moment to go
	}
	os.Exit(128 + int(syscall.SIGKILL))
}

// adopt makes the descendants of this process its children when their parents end.
func adopt() error {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// executable returns a path of this program by which it is known in lists of
// processes. One that was replaced or removed meanwhile is still there as
// /proc/self/exe.
func executable() (string, error) {
	const self = "/proc/self/exe"
	path, err := os.Readlink(self)
	if err != nil {
		return "", err
	}
	mine, err := os.Stat(self)
	if err != nil {
		return "", err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(mine, there) {
		return self, nil
	}
	return path, nil
}

func isTerminal(fd int) bool {
	var settings syscall.Termios
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TCGETS, uintptr(unsafe.Pointer(&settings)))
	return errno == 0
}
