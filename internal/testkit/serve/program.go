package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/fakeagent"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// Program is for the TestMain of a package: it makes the test binary the program that
// its arguments name, and reports whether they name one. "mock" is the mock agent,
// which keeps its sessions in the directory of a second argument; "serve" is a server
// on the directory of its second argument.
func Program() bool {
	args := append(os.Args[1:], "", "")
	var err error
	switch args[0] {
	case "mock":
		err = fakeagent.Run(context.Background(), os.Stdin, os.Stdout, fakeagent.Options{StateDir: args[1]})
	case "serve":
		err = UntilInputEnds(app.Config{DataDir: args[1], Home: args[1], Env: os.Environ(), SelfExe: os.Args[0]})
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// UntilInputEnds is a server as the whole of a program: it prints its address on
// standard output, and ends when standard input does.
func UntilInputEnds(cfg app.Config) error {
	srv, err := app.Open(cfg)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println("http://" + listener.Addr().String())
	return srv.Serve(ctx, listener)
}

// Process is a server that [UntilInputEnds] runs in a process of its own.
type Process struct {
	*exec.Cmd
	URL    string
	Client *http.Client

	stdin io.Closer
	wait  func() error
}

// Spawn starts the test binary as a program. It ends with the test. A child that a
// killed server was about to start may hold the lock of the data for a moment, so that
// is tried again.
func Spawn(t testing.TB, args ...string) *Process {
	t.Helper()
	for deadline := time.Now().Add(testkit.Patience); ; {
		p, err := Run(t, exec.Command(self(t), args...))
		if err == nil {
			return p
		}
		if !strings.Contains(err.Error(), "in use by another process") || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Run starts a command that is the test binary as a program. It ends with the test.
func Run(t testing.TB, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, Client: newClient()}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.wait = sync.OnceValue(cmd.Wait)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stdin.Close()
		return nil, fmt.Errorf("the server prints no address: %w: %s", p.wait(), said.String())
	}
	p.URL = strings.TrimSpace(line)
	t.Cleanup(func() {
		p.Client.CloseIdleConnections()
		if err := p.End(); err != nil && !p.killed() {
			t.Errorf("the server ends with %v: %s", err, said.String())
		}
	})
	return p, nil
}

// killed reports whether the process has ended by a signal.
func (p *Process) killed() bool { return p.ProcessState.ExitCode() == -1 }

// End has the server end, and waits until it has.
func (p *Process) End() error {
	p.stdin.Close()
	return p.wait()
}

// Kill ends the server with SIGKILL, and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Process.Kill(); err != nil {
		return err
	}
	_ = p.wait() // it says how it was killed
	return nil
}
