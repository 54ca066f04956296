package sandboxagent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// StartOptions say how to start a server on this machine. The zero value starts
// the sandbox-agent of PATH on a free port of 127.0.0.1 with a token of its own.
type StartOptions struct {
	// Binary is the sandbox-agent program. When it is empty SANDBOX_AGENT_BIN is
	// used if [FromEnv] is among Options, and PATH is searched last.
	Binary string

	Host  string // to listen on; empty means 127.0.0.1
	Port  int    // to listen on; 0 means a free one
	Token string // empty means a random one

	Dir  string    // folder the server and sessions start in; empty means this process's
	Env  []string  // of the server, as in [exec.Cmd]; nil means this process's
	Args []string  // more flags of "sandbox-agent server"
	Logs io.Writer // gets what the server prints; nil means it is dropped

	// StopTimeout is how long the server has to end when the sandbox is closed,
	// before it is killed. 0 means ten seconds.
	StopTimeout time.Duration

	Options []Option // of the client
}

// A Sandbox is a server that was started for this program, and a client of it.
type Sandbox struct {
	*Client

	cmd   *exec.Cmd
	grace time.Duration
	done  chan struct{} // closed when the server is gone

	closing sync.Once
	err     error
}

// Start runs a server on this machine and returns when it answers. The context
// bounds the start only: the server runs until [Sandbox.Close], or until this
// program ends, in whatever way. Its token is handed over in the environment,
// where other users cannot read it.
func Start(ctx context.Context, opts StartOptions) (*Sandbox, error) {
	sandbox, err := start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("start sandbox-agent: %w", err)
	}
	return sandbox, nil
}

func start(ctx context.Context, opts StartOptions) (*Sandbox, error) {
	binary, err := findBinary(opts)
	if err != nil {
		return nil, err
	}
	if opts.Token == "" {
		opts.Token = newToken()
	}
	host := opts.Host
	if host == "" {
		host = "127.0.0.1"
	}
	out := &serverOutput{to: opts.Logs, found: make(chan string, 1)}
	cmd := exec.Command(binary, append([]string{"server", "--stop-with-stdin", "--host", host, "--port", fmt.Sprint(opts.Port)}, opts.Args...)...)
	if _, err := os.Stat(opts.Dir); err != nil && opts.Dir != "" {
		// With a group of its own exec would say that the program is missing.
		return nil, &fs.PathError{Op: "chdir", Path: opts.Dir, Err: errors.Unwrap(err)}
	}
	cmd.Dir = opts.Dir
	env := opts.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(slices.Clip(env), "SANDBOX_AGENT_TOKEN="+opts.Token)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	// The pipe ends with this program, and so does the server.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Sandbox{cmd: cmd, grace: opts.StopTimeout, done: make(chan struct{})}
	if s.grace == 0 {
		s.grace = 10 * time.Second
	}
	go func() {
		cmd.Wait() // how it ended is in ProcessState
		close(s.done)
	}()
	url, err := s.awaitURL(ctx, out)
	if err == nil {
		s.Client = New(url, append(slices.Clip(opts.Options), WithToken(opts.Token))...)
		if s.Client.dir == "" {
			s.Client.dir, err = workingDir(opts.Dir)
		}
	}
	if err == nil {
		err = s.awaitReady(ctx, out)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func workingDir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return os.Getwd()
}

// findBinary returns the program to start.
func findBinary(opts StartOptions) (string, error) {
	if opts.Binary != "" {
		return exec.LookPath(opts.Binary)
	}
	if named := New("http://localhost", opts.Options...).binary; named != "" {
		found, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("SANDBOX_AGENT_BIN: %w", err)
		}
		return found, nil
	}
	found, err := exec.LookPath("sandbox-agent")
	if err != nil {
		return "", fmt.Errorf("%w; install it, or name it in StartOptions.Binary or in SANDBOX_AGENT_BIN with FromEnv", err)
	}
	return found, nil
}

func newToken() string {
	var raw [24]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// awaitURL waits until the server prints where it listens.
func (s *Sandbox) awaitURL(ctx context.Context, out *serverOutput) (string, error) {
	select {
	case url := <-out.found:
		return url, nil
	case <-s.done:
		return "", s.exited(out)
	case <-ctx.Done():
		return "", fmt.Errorf("wait for its address: %w%s", ctx.Err(), out.quote())
	}
}

// awaitReady waits until the server answers, or is gone.
func (s *Sandbox) awaitReady(ctx context.Context, out *serverOutput) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := make(chan error, 1)
	go func() { ready <- s.WaitReady(ctx) }()
	select {
	case err := <-ready:
		return err
	case <-s.done:
		cancel(nil)
		<-ready
		return s.exited(out)
	}
}

// exited says how the server ended before it answered.
func (s *Sandbox) exited(out *serverOutput) error {
	return fmt.Errorf("it ended before it answered: %s%s", s.cmd.ProcessState, out.quote())
}

// PID returns the id of the server's process.
func (s *Sandbox) PID() int { return s.cmd.Process.Pid }

// Done returns a channel that is closed when the server has ended.
func (s *Sandbox) Done() <-chan struct{} { return s.done }

// Close ends the agents of the client and then the server with everything that
// it runs: it asks, waits, and kills. Closing twice is no error.
func (s *Sandbox) Close() error {
	s.closing.Do(func() {
		if s.Client != nil {
			s.err = s.Client.Close()
		}
		select {
		case <-s.done:
			s.err = nil // there was nobody to say goodbye to
			return
		default:
		}
		askToEnd(s.cmd.Process)
		timer := time.NewTimer(s.grace)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			killGroup(s.cmd.Process)
			<-s.done
			s.err = errors.Join(s.err, fmt.Errorf("sandbox-agent did not end within %v and was killed", s.grace))
		}
	})
	return s.err
}

// serverOutput looks for the server's address in what it prints, and keeps the
// end of it for errors.
type serverOutput struct {
	to    io.Writer
	found chan string

	mu   sync.Mutex
	tail []byte
	told bool
}

// maxTail is how much of a server's output an error quotes, in bytes.
const maxTail = 4 << 10

var listening = regexp.MustCompile(`listening on (https?://\S+)\s`)

func (o *serverOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, p...)
	if !o.told {
		if m := listening.FindSubmatch(o.tail); m != nil {
			o.told = true
			o.found <- reachable(string(m[1]))
		}
	}
	if len(o.tail) > 2*maxTail {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-maxTail:]...)
	}
	if o.to != nil {
		o.to.Write(p) // a log that cannot be written must not stop the server
	}
	return len(p), nil
}

// reachable replaces an address that means all of them by one that can be
// dialled.
func reachable(url string) string {
	return strings.NewReplacer("//0.0.0.0", "//127.0.0.1", "//[::]", "//[::1]").Replace(url)
}

// quote returns the last output for an error text.
func (o *serverOutput) quote() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.TrimSpace(string(o.tail[max(0, len(o.tail)-maxTail):]))
	if text == "" {
		return ""
	}
	return "; its last output: " + text
}
