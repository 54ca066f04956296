package sandboxagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// A Cmd is a program to be run in the sandbox. It works as [os/exec.Cmd] does,
// as far as a program on another machine can: there is no shell, and a Cmd is
// used once.
type Cmd struct {
	Path string
	Args []string // with the name of the program first, as in os/exec
	Dir  string   // empty means the working directory of the server
	Env  []string // KEY=value, added to the environment of the server

	Stdin io.Reader // nil means no input

	// Stdout and Stderr get the output. What has no writer is dropped, and one
	// writer for both gets them in their order. When a writer fails the program
	// is ended with SIGPIPE.
	Stdout, Stderr io.Writer

	// Timeout is how long the program may run before it is killed. 0 means as
	// long as the context allows.
	Timeout time.Duration

	Process *Process         // set by Start
	Info    *api.ProcessInfo // set by Wait: how it ended

	c       *Client
	ctx     context.Context
	cancel  context.CancelFunc
	pipes   []*io.PipeWriter // ours, to be closed when the program has ended
	copying sync.WaitGroup
	undo    func() bool // takes the killing back
	waited  bool

	giveUp    context.Context // bounds the following of output after a kill
	endFollow context.CancelFunc

	mu     sync.Mutex
	failed error // first trouble with input or output
}

// Command returns a Cmd that runs a program. When ctx ends the program is
// killed with everything it started.
func (c *Client) Command(ctx context.Context, name string, arg ...string) *Cmd {
	return &Cmd{Path: name, Args: append([]string{name}, arg...), c: c, ctx: ctx}
}

// An ExitError means that a program ran and failed.
type ExitError struct {
	*api.ProcessInfo

	// Stderr is the end of what the program wrote there, if [Cmd.Output] ran it
	// and nobody else took it.
	Stderr []byte
}

func (e *ExitError) Error() string {
	if e.ExitSignal != "" {
		return "signal: " + e.ExitSignal
	}
	if e.ProcessInfo.ExitCode == nil {
		return "exit status unknown"
	}
	return fmt.Sprintf("exit status %d", *e.ProcessInfo.ExitCode)
}

// ExitCode returns the exit code, -1 when a signal ended the program.
func (e *ExitError) ExitCode() int {
	if e.ProcessInfo.ExitCode == nil {
		return -1
	}
	return *e.ProcessInfo.ExitCode
}

// String returns the program and its arguments, for people.
func (c *Cmd) String() string { return strings.Join(c.Args, " ") }

// Run starts the program and waits for its end. A program that ran and failed
// is an [*ExitError]; one that was killed because its time was over also
// matches context.DeadlineExceeded.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// maxStderr is how much an ExitError holds, in bytes.
const maxStderr = 32 << 10

// Output is [Cmd.Run] that returns what the program wrote to its standard
// output.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("sandboxagent: Stdout already set")
	}
	var out bytes.Buffer
	c.Stdout = &out
	var tail *tailWriter
	if c.Stderr == nil {
		tail = new(tailWriter)
		c.Stderr = tail
	}
	err := c.Run()
	var exit *ExitError
	if errors.As(err, &exit) && tail != nil {
		exit.Stderr = tail.data
	}
	return out.Bytes(), err
}

// tailWriter keeps the end of what is written.
type tailWriter struct{ data []byte }

func (w *tailWriter) Write(p []byte) (int, error) {
	w.data = append(w.data, p...)
	if extra := len(w.data) - maxStderr; extra > 0 {
		w.data = append(w.data[:0], w.data[extra:]...)
	}
	return len(p), nil
}

// CombinedOutput is [Cmd.Run] that returns what the program wrote to both of its
// outputs, in order.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("sandboxagent: Stdout or Stderr already set")
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// StdinPipe returns a pipe to the program's input, for use after Start. The
// input ends when it is closed.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil || c.Process != nil {
		return nil, errors.New("sandboxagent: Stdin already set, or program started")
	}
	r, w := io.Pipe()
	c.Stdin = r
	return w, nil
}

// StdoutPipe returns a pipe from the program's output. It is read to its end
// before Wait is called, which closes it once the program has ended.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) { return c.outPipe(&c.Stdout) }

// StderrPipe is [Cmd.StdoutPipe] of the other output.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) { return c.outPipe(&c.Stderr) }

func (c *Cmd) outPipe(to *io.Writer) (io.ReadCloser, error) {
	if *to != nil || c.Process != nil {
		return nil, errors.New("sandboxagent: output already set, or program started")
	}
	r, w := io.Pipe()
	*to = w
	c.pipes = append(c.pipes, w)
	return r, nil
}

// Start starts the program and returns. Wait must be called after it.
func (c *Cmd) Start() error {
	if c.Process != nil {
		return errors.New("sandboxagent: already started")
	}
	req := api.ProcessCreateRequest{Command: c.Path, Env: make(map[string]string, len(c.Env)), AwaitReaders: len(c.outputs())}
	if len(c.Args) > 1 {
		req.Args = c.Args[1:]
	}
	if c.Dir != "" {
		req.Cwd = &c.Dir
	}
	for _, variable := range c.Env {
		key, value, ok := strings.Cut(variable, "=")
		if !ok || key == "" {
			return fmt.Errorf("start %s: environment has %q, want KEY=value", c.Path, variable)
		}
		req.Env[key] = value
	}
	p, err := c.c.StartProcess(c.ctx, req)
	if err != nil {
		for _, pipe := range c.pipes {
			pipe.Close()
		}
		return err
	}
	c.Process = p
	c.ctx, c.cancel = withTimeout(c.ctx, c.Timeout)
	c.giveUp, c.endFollow = context.WithCancel(context.WithoutCancel(c.ctx))
	c.undo = context.AfterFunc(c.ctx, c.kill)
	c.startCopying()
	return nil
}

func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return context.WithCancel(ctx)
}

// killWait is how long a killed program's end is waited for.
const killWait = 5 * time.Second

// kill ends a program whose time is over.
func (c *Cmd) kill() {
	ctx, cancel := context.WithTimeout(c.giveUp, killWait)
	defer cancel()
	if _, err := c.Process.Kill(ctx, StopOptions{Wait: killWait}); err != nil {
		c.c.log.Warn("kill process", "process", c.Process.ID, "error", err)
		c.endFollow()
	}
}

// startCopying starts what moves input and output.
func (c *Cmd) startCopying() {
	go c.feed()
	outputs := c.outputs()
	if len(outputs) == 0 {
		outputs = []output{{api.LogCombined, nil}}
	}
	for _, o := range outputs {
		c.copying.Go(func() { c.drain(o.stream, o.to) })
	}
}

// output is a stream of output and who gets it.
type output struct {
	stream api.LogStream
	to     io.Writer
}

// outputs returns what is wanted of the program's output.
func (c *Cmd) outputs() []output {
	if c.Stdout != nil && same(c.Stdout, c.Stderr) {
		return []output{{api.LogCombined, c.Stdout}}
	}
	var wanted []output
	if c.Stdout != nil {
		wanted = append(wanted, output{api.LogStdout, c.Stdout})
	}
	if c.Stderr != nil {
		wanted = append(wanted, output{api.LogStderr, c.Stderr})
	}
	return wanted
}

// same reports whether two writers are one. Writers that cannot be compared are
// two.
func same(a, b io.Writer) bool {
	defer func() { _ = recover() }()
	return a == b
}

// drain copies one stream of output until the program ends.
func (c *Cmd) drain(stream api.LogStream, to io.Writer) {
	opts := LogsOptions{Stream: stream}
	if to == nil {
		opts.Tail = -1
	}
	info, err := c.Process.follow(c.giveUp, opts, func(e api.LogEntry, err error) bool {
		if err == nil && e.SkippedBytes > 0 {
			err = fmt.Errorf("%d bytes of output are no longer kept", e.SkippedBytes)
		}
		if err == nil && to != nil {
			_, err = to.Write(e.Data)
			_, pipe := to.(*io.PipeWriter)
			switch {
			case err == nil:
			case pipe && errors.Is(err, io.ErrClosedPipe):
				to = nil // by the caller's choice
			default:
				c.breakPipe()
			}
		}
		if err != nil && to != nil {
			c.fail(err)
			to = nil // the end is still of interest
		}
		return true
	})
	if pipe, ok := to.(*io.PipeWriter); ok {
		pipe.CloseWithError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if info != nil {
		c.Info = info
	}
	if err != nil && c.failed == nil {
		c.failed = err
	}
}

// breakPipe signals a program whose output is no longer read, as the kernel does on
// the same machine.
func (c *Cmd) breakPipe() {
	if err := c.Process.Signal(c.ctx, "SIGPIPE"); err != nil {
		c.c.log.Debug("break pipe", "process", c.Process.ID, "error", err)
	}
}

func (c *Cmd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

// feed copies the input. A program that ended, or that reads no more of it, is
// not an error.
func (c *Cmd) feed() {
	var err error
	if c.Stdin != nil {
		_, err = io.Copy(inputWriter{c.ctx, c.Process}, c.Stdin)
		if pipe, ok := c.Stdin.(*io.PipeReader); ok {
			pipe.CloseWithError(io.ErrClosedPipe)
		}
	}
	c.failInput(err)
	c.failInput(c.Process.CloseInput(c.ctx))
}

func (c *Cmd) failInput(err error) {
	if err != nil && c.ctx.Err() == nil && !refused(err) {
		c.fail(fmt.Errorf("input: %w", err))
	}
}

// refused reports whether a process ended or wants no more input.
func refused(err error) bool {
	for _, code := range []api.Code{api.CodeProcessNotRunning, api.CodeProcessNotFound, api.CodeStdinClosed, api.CodeInputFailed} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// inputWriter writes to the input of a process, which may take its time.
type inputWriter struct {
	ctx context.Context
	p   *Process
}

func (w inputWriter) Write(b []byte) (int, error) {
	for total := 0; ; {
		n, err := w.p.Input(w.ctx, b[total:])
		total += n
		if !errors.Is(err, api.CodeInputTimeout) || w.ctx.Err() != nil {
			return total, err
		}
	}
}

// Wait waits for the end of a program that Start started, and of its output. It
// does not wait for Stdin to end. The server forgets the process then; to keep
// it use [Client.StartProcess].
func (c *Cmd) Wait() error {
	if c.Process == nil {
		return errors.New("sandboxagent: not started")
	}
	if c.waited {
		return errors.New("sandboxagent: Wait was already called")
	}
	c.waited = true
	c.closePipes()
	c.copying.Wait()
	killed := !c.undo()
	over := c.ctx.Err()
	c.cancel()
	c.endFollow()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), killWait)
	defer cancel()
	if err := c.Process.Delete(ctx); err != nil {
		c.c.log.Debug("forget process", "process", c.Process.ID, "error", err)
	}
	return c.result(killed, over)
}

// closePipes waits for the end of a program whose output may be left unread.
func (c *Cmd) closePipes() {
	if len(c.pipes) == 0 {
		return
	}
	if _, err := c.Process.Wait(c.giveUp); err != nil {
		c.c.log.Debug("wait for process", "process", c.Process.ID, "error", err)
	}
	for _, pipe := range c.pipes {
		pipe.CloseWithError(fs.ErrClosed)
	}
}

func (c *Cmd) result(killed bool, over error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch {
	case c.Info == nil && over == nil:
		err = fmt.Errorf("wait for %s: %w", c.Path, c.failed)
	case c.Info == nil:
		err = over
	case c.Info.ExitCode == nil || *c.Info.ExitCode != 0:
		err = &ExitError{ProcessInfo: c.Info}
		switch {
		case killed && over != nil && c.Info.ExitSignal != "":
			err = fmt.Errorf("%w (%w)", err, over)
		case c.failed != nil && c.Info.ExitSignal == "SIGPIPE":
			err = fmt.Errorf("%w (%w)", err, c.failed)
		}
	case c.failed != nil:
		err = c.failed
	}
	return err
}
