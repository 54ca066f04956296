package child

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/child/cgroup"
	"github.com/sandboxagent/sandboxagent/internal/child/tree"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
)

// DefaultDrain is how long after the exit of a child its output may still grow
// when a descendant holds the pipes.
const DefaultDrain = 250 * time.Millisecond

// killWait bounds the wait for processes that were sent SIGKILL; only a process
// stuck inside the kernel outlasts it.
const killWait = 5 * time.Second

// Spec says what to start. Only Path is required.
type Spec struct {
	Path string   // a file, or a name to look up in the PATH of Env
	Args []string // without the program's own name
	Dir  string   // working directory; empty means that of this program
	Env  []string // the whole environment; nil means that of this program

	// Stdin gives the child a pipe as its standard input. Without it the child
	// reads end of file at once.
	Stdin bool

	// TTY gives the child a terminal of that size as its standard input, output
	// and error, in place of pipes.
	TTY *Size

	// Files become the descriptors 3, 4, ... of the child. The caller closes them.
	Files []*os.File

	// User is who runs the child, with no way to gain rights, and who owns its pipes or
	// its terminal; nil means the user of this program.
	User *user.User

	// Sys is what else the system is to do for the child, such as giving it another
	// user; nil means nothing. Its session and terminal are set by Start.
	Sys *syscall.SysProcAttr

	// Contained says that the caller sees to it that the child, and all that it
	// starts, is found and ends with this program: it gets no guard and no control
	// group.
	Contained bool

	// Roster, if not nil, knows the child from now on, and may refuse it.
	Roster *Roster

	// Drain is how long after the exit of the child Stdout and Stderr wait for
	// descendants that hold them open. Zero means [DefaultDrain], a negative
	// value that they wait until the descendants are gone.
	Drain time.Duration
}

// Size is the size of a terminal in characters.
type Size struct{ Cols, Rows uint16 }

// Exit says how a process ended. Code is nil exactly if a signal ended it.
type Exit struct {
	Code   *int
	Signal string // such as "SIGKILL"
}

// String says in words how the process ended.
func (e Exit) String() string {
	switch {
	case e.Code != nil:
		return fmt.Sprintf("exit code %d", *e.Code)
	case e.Signal != "":
		return e.Signal
	}
	return "unknown"
}

// Child is a process in a session of its own. Its methods may be called from
// several goroutines.
//
// Its owner must read Stdout and Stderr to the end, which closes them, or
// close them. Stdin is closed when the process has ended.
type Child struct {
	// Stdin is nil unless the child was given a pipe or a terminal. It has deadlines.
	Stdin *os.File

	// Stdout and Stderr give [io.EOF] when nobody can write to them any more,
	// and at the latest after the drain time of the Spec; what is in the pipe
	// then is still delivered. Stderr is nil if the child has a terminal.
	Stdout, Stderr io.ReadCloser

	pid     int
	guarded bool
	tty     *os.File // the master side
	roster  *Roster  // nil for one that nothing pauses
	output  []*output
	done    chan struct{}
	exit    Exit        // valid once done is closed
	left    bool        // something of the session outlived the process; likewise
	unread  int         // bytes of input; likewise, and -1 means unknown
	empty   atomic.Bool // nothing of the session is left

	stopping sync.Mutex // one Stop at a time

	// signalled is what was there when a signal was last sent. What has left the session
	// is nobody's once its parent has ended of that signal.
	signalled atomic.Pointer[[]tree.Process]

	grouped sync.RWMutex  // held while group is used
	group   *cgroup.Group // nil without a group, or when nothing is left in it

	mark mark // what has left the session is known by it, where there is no group
}

// TryWrite writes to the input of the child as much as it takes without waiting.
// It must not be used together with Write of Stdin.
func (c *Child) TryWrite(p []byte) (n int, err error) {
	raw, err := c.Stdin.SyscallConn()
	if err != nil {
		return 0, err
	}
	rawErr := raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), p)
		return true
	})
	if rawErr != nil {
		return 0, rawErr
	}
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return 0, nil
	}
	return max(n, 0), err
}

// Start starts a process. The caller owns the Child and its streams.
func Start(spec Spec) (*Child, error) {
	heedSignals()
	path, err := lookPath(spec.Path, spec.Env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path:        path,
		Args:        append([]string{spec.Path}, spec.Args...),
		Dir:         spec.Dir,
		Env:         spec.Env,
		ExtraFiles:  spec.Files,
		SysProcAttr: new(syscall.SysProcAttr),
	}
	if spec.Sys != nil {
		*cmd.SysProcAttr = *spec.Sys
	}
	cmd.SysProcAttr.Setsid = true
	if spec.User != nil {
		cmd.SysProcAttr.Credential = spec.User.Credential()
	}
	c := &Child{done: make(chan struct{}), roster: spec.Roster}
	leave, err := spec.Roster.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	theirs, err := c.connect(cmd, spec)
	defer closeAll(theirs)
	switch {
	case err != nil:
	case spec.Contained:
		err = startOurs(cmd, (*exec.Cmd).Start)
	case spec.User == nil:
		cmd, err = c.startGrouped(cmd)
	default:
		err = own(theirs, spec.User)
		if err == nil {
			err = spec.User.Start(func() (err error) {
				cmd, err = c.startGrouped(cmd)
				return err
			})
		}
	}
	if err != nil {
		c.CloseStreams()
		return nil, startError(err, spec.Dir)
	}
	c.pid = cmd.Process.Pid
	leaveRoom(c.pid)
	c.guarded = !spec.Contained
	if c.guarded {
		guardSession(c.pid)
	}
	spec.Roster.add(c)
	go c.wait(cmd, spec.Drain)
	return c, nil
}

// own makes the streams of a child files of its user, who could not open /dev/stdout or
// the terminal otherwise.
func own(streams []*os.File, u *user.User) error {
	for _, file := range streams {
		if err := file.Chown(int(u.UID), int(u.GID)); err != nil {
			return fmt.Errorf("hand over a stream: %w", err)
		}
	}
	return nil
}

// startGrouped starts a child in a control group of its own, where there are such. It
// returns the command that was started.
func (c *Child) startGrouped(cmd *exec.Cmd) (*exec.Cmd, error) {
	c.group = newGroup()
	fd, into := c.group.Descriptor()
	if !into {
		err := c.start(cmd)
		if err != nil {
			c.ungroup()
			return nil, err
		}
		c.group.Add(cmd.Process.Pid)
		return cmd, nil
	}
	plain := *cmd.SysProcAttr
	startInGroup(cmd.SysProcAttr, fd)
	err := c.start(cmd)
	if err == nil {
		return cmd, nil
	}
	// The kernel, or what filters its calls, may not start processes in groups.
	c.ungroup()
	again := &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Dir: cmd.Dir, Env: cmd.Env, ExtraFiles: cmd.ExtraFiles,
		Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr, SysProcAttr: &plain}
	if c.start(again) != nil {
		return nil, err
	}
	closeGroups()
	return again, nil
}

// start starts the process and gives it a mark.
func (c *Child) start(cmd *exec.Cmd) error {
	return startOurs(cmd, func(cmd *exec.Cmd) (err error) {
		c.mark, err = startMarked(cmd)
		return err
	})
}

// startError names the working directory where that is what is wrong: the kernel says
// it of the program.
func startError(err error, dir string) error {
	if dir == "" {
		return err
	}
	info, dirErr := os.Stat(dir)
	switch {
	case dirErr != nil:
		return &fs.PathError{Op: "chdir", Path: dir, Err: errors.Unwrap(dirErr)}
	case !info.IsDir():
		return &fs.PathError{Op: "chdir", Path: dir, Err: syscall.ENOTDIR}
	}
	return err
}

// heedSignals makes children heed SIGHUP and SIGINT although this program was
// started to ignore them, as nohup and shells do with what they run in the
// background: a child inherits what is ignored, and could not be stopped by these
// then. We go on ignoring them, since nobody reads what is notified.
var heedSignals = sync.OnceFunc(func() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
})

// connect makes the streams of c and gives their other ends to cmd. It returns
// these ends, which the caller closes, even with an error.
func (c *Child) connect(cmd *exec.Cmd, spec Spec) (theirs []*os.File, err error) {
	if spec.TTY != nil {
		return c.connectTTY(cmd, *spec.TTY)
	}
	if spec.Stdin {
		w, r, err := pipe(true)
		if err != nil {
			return theirs, fmt.Errorf("make pipe: %w", err)
		}
		theirs = append(theirs, r)
		cmd.Stdin, c.Stdin = r, w
	} else if cmd.Stdin, err = nothing(); err != nil {
		return theirs, err
	}
	for _, end := range []struct {
		ours   *io.ReadCloser
		theirs *io.Writer
	}{{&c.Stdout, &cmd.Stdout}, {&c.Stderr, &cmd.Stderr}} {
		r, w, err := pipe(false)
		if err != nil {
			return theirs, fmt.Errorf("make pipe: %w", err)
		}
		theirs = append(theirs, w)
		out := &output{file: r}
		c.output = append(c.output, out)
		*end.ours, *end.theirs = out, w
	}
	return theirs, nil
}

func (c *Child) connectTTY(cmd *exec.Cmd, size Size) (theirs []*os.File, err error) {
	master, slave, err := openTTY(size)
	if err != nil {
		return nil, err
	}
	out := &output{file: master, tty: true}
	c.tty, c.Stdin, c.Stdout = master, master, out
	c.output = []*output{out}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty = true // of descriptor 0, the zero value of Ctty
	return []*os.File{slave}, nil
}

// nothing is the standard input of all children that get none.
var nothing = sync.OnceValues(func() (*os.File, error) { return os.Open(os.DevNull) })

// wait is the goroutine that each running child has.
func (c *Child) wait(cmd *exec.Cmd, drain time.Duration) {
	awaitEnd(c.pid)
	_ = cmd.Wait() // how it ended is in ProcessState
	endedOurs(cmd)
	c.exit = exitOf(cmd.ProcessState)
	c.unread = -1
	if c.Stdin != nil && c.tty == nil {
		c.unread = unread(c.Stdin)
		_ = c.Stdin.Close()
	}
	if drain == 0 {
		drain = DefaultDrain
	}
	if drain > 0 {
		c.endOutput(time.Now().Add(drain))
	}
	c.disown()
	close(c.done)
}

// disown reports to the guard that the process is gone, or that it left others behind.
func (c *Child) disown() {
	if errors.Is(syscall.Kill(-c.pid, 0), syscall.ESRCH) && (c.tty == nil || !remains(c.pid)) && c.groupEmpty() && !c.signalledRemain() && len(c.strays()) == 0 {
		unguardSession(c.pid)
		c.over()
		return
	}
	c.left = true
	if c.guarded {
		guardRemains(c.pid)
	}
}

// over says that nothing of the child is left.
func (c *Child) over() {
	c.empty.Store(true)
	c.ungroup()
	c.roster.remove(c)
}

// strays returns what the child has started that forked twice and made a session of
// its own, where no group says so. It does not return what these have started.
func (c *Child) strays() []int {
	c.grouped.RLock()
	grouped := c.group != nil
	c.grouped.RUnlock()
	if grouped {
		return nil
	}
	return c.mark.strays()
}

func (c *Child) groupEmpty() bool {
	c.grouped.RLock()
	defer c.grouped.RUnlock()
	return c.group.Empty()
}

// ungroup gives the control group back, which may be that of another child then.
func (c *Child) ungroup() {
	c.grouped.Lock()
	defer c.grouped.Unlock()
	c.group.Release()
	c.group = nil
}

// members returns everything of the child that lives: its session, its control group
// or what has its mark, and all descendants of these.
func (c *Child) members(table []tree.Process) []tree.Process {
	all := members(table, c.pid, c.Exited())
	c.grouped.RLock()
	pids := c.group.PIDs()
	c.grouped.RUnlock()
	pids = append(pids, c.strays()...)
	before := c.signalled.Load()
	if len(pids) == 0 && before == nil {
		return all
	}
	in := make(map[int]bool, len(pids)+len(all))
	for _, pid := range pids {
		in[pid] = true
	}
	for _, p := range all {
		in[p.PID] = true
	}
	return tree.Below(table, func(p tree.Process) bool { return in[p.PID] || before != nil && p.In(*before) })
}

func exitOf(state *os.ProcessState) Exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Exit{Signal: signalName(status.Signal())}
	}
	code := state.ExitCode()
	return Exit{Code: &code}
}

// TTY reports whether the child has a terminal.
func (c *Child) TTY() bool { return c.tty != nil }

// Resize changes the size of the terminal, which the child has.
func (c *Child) Resize(size Size) error { return setSize(c.tty, size) }

// Left reports whether something of the session outlived the process. It is valid
// once Done is closed.
func (c *Child) Left() bool { return c.left }

// PID returns the process id, which is also the id of its group and session.
func (c *Child) PID() int { return c.pid }

// Done is closed when the process has ended and was waited for.
func (c *Child) Done() <-chan struct{} { return c.done }

// Exit says how the process ended; it is the zero value until Done is closed.
func (c *Child) Exit() Exit {
	if !c.Exited() {
		return Exit{}
	}
	return c.exit
}

// Unread returns how many bytes of what its input has taken nobody has read or can
// read any more. ok is false before Done is closed, and where the kernel does not
// know: the input is not a pipe, was closed before the end, or is still open in a
// process that outlived this one.
func (c *Child) Unread() (n int, ok bool) {
	if !c.Exited() || c.unread < 0 {
		return 0, false
	}
	return c.unread, true
}

// Exited reports whether Done is closed.
func (c *Child) Exited() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// EndOutput lets Stdout and Stderr end with what is in the pipes now.
func (c *Child) EndOutput() { c.endOutput(time.Now()) }

// endOutput lets Stdout and Stderr end at t, with what is in the pipes then.
func (c *Child) endOutput(t time.Time) {
	for _, out := range c.output {
		out.endAt(t)
	}
}

// CloseStreams closes all streams, for a child whose output nobody reads.
func (c *Child) CloseStreams() {
	if c.Stdin != nil {
		_ = c.Stdin.Close()
	}
	for _, out := range c.output {
		_ = out.Close()
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// sandboxVariable marks what runs in a sandbox without namespaces, see package shim.
const sandboxVariable = "SANDBOX_AGENT_SANDBOX"

// sandboxEnv is the environment of processes of ours that need none. A sandbox that is
// swept finds them by it, also when they are stopped.
func sandboxEnv() []string {
	if id := os.Getenv(sandboxVariable); id != "" {
		return []string{sandboxVariable + "=" + id}
	}
	return []string{}
}
