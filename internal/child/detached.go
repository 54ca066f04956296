package child

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Detached is a process that outlives this program: a daemon. It is the one
// thing this package starts that nothing here ends.
type Detached struct {
	pid   int
	done  chan struct{}
	state *os.ProcessState
}

// StartDetached starts a daemon in a session of its own. It reads end of file,
// and writes its output and errors to out, which the caller closes. Of spec only
// Path, Args, Dir, Env and Files count.
func StartDetached(spec Spec, out *os.File) (*Detached, error) {
	path, err := lookPath(spec.Path, spec.Env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path:        path,
		Args:        append([]string{spec.Path}, spec.Args...),
		Dir:         spec.Dir,
		Env:         spec.Env,
		Stdout:      out,
		Stderr:      out,
		ExtraFiles:  spec.Files,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := startOurs(cmd, startUnmarked); err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	d := &Detached{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		endedOurs(cmd)
		d.state = cmd.ProcessState
		close(d.done)
	}()
	return d, nil
}

// PID returns the process id.
func (d *Detached) PID() int { return d.pid }

// Done is closed when the process has ended, if that is while this program runs.
func (d *Detached) Done() <-chan struct{} { return d.done }

// String says how the process ended, such as "exit status 1", once Done is
// closed.
func (d *Detached) String() string { return d.state.String() }
