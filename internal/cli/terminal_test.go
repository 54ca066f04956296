package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// person sits at a terminal in which sandbox-agent runs.
type person struct {
	t    *testing.T
	tty  *os.File
	cmd  *exec.Cmd
	done chan struct{} // closed when the screen has ended

	mu     sync.Mutex
	screen bytes.Buffer
}

// sit starts sandbox-agent in a terminal of 80 by 24.
func sit(t *testing.T, env []string, args ...string) *person {
	t.Helper()
	return sitAt(t, 80, env, args...)
}

// sitAt starts sandbox-agent in a terminal of so many columns.
func sitAt(t *testing.T, cols uint16, env []string, args ...string) *person {
	t.Helper()
	cmd := exec.Command("sandbox-agent", args...)
	cmd.Env = env
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: cols, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, tty: tty, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		buf := make([]byte, 4<<10)
		for {
			n, err := tty.Read(buf)
			p.mu.Lock()
			p.screen.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		tty.Close()
		<-p.done
	})
	return p
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := p.tty.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// sees waits for something on the screen and returns what matched.
func (p *person) sees(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	if !eventually(func() bool { return re.MatchString(p.text()) }) {
		p.t.Fatalf("no %q on the screen:\n%s", pattern, p.text())
	}
	return re.FindStringSubmatch(p.text())
}

// leaves waits for the end of the command and returns its exit code.
func (p *person) leaves() int {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// startServer starts a server that ends with the test, and returns the
// environment in which commands find it.
func startServer(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + filepath.Join(dir, "data"), "TERM=xterm", "SHELL=/bin/sh", "GORACE=" + noRaceSleep}
	cmd, endpoint := serveAt(t, env, 0)
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return append(env, "SANDBOX_AGENT_ENDPOINT="+endpoint)
}

// serveAt starts a server at a port, which the caller ends, and returns it with
// its address.
func serveAt(t *testing.T, env []string, port int) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("sandbox-agent", "server", "--port", strconv.Itoa(port))
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 256)
	n, err := out.Read(line)
	m := listening.FindSubmatch(line[:n])
	if m == nil {
		cmd.Process.Kill()
		t.Fatalf("the server said %q, %v", line[:n], err)
	}
	return cmd, string(m[1])
}

func TestTerminal(t *testing.T) {
	env := startServer(t)

	t.Run("detach and come back", func(t *testing.T) {
		p := sit(t, env, "terminal", "sh")
		p.types("stty size; echo first-$((20+3))\r")
		p.sees(`(?s)24 80\r\n.*first-23`)
		if err := pty.Setsize(p.tty, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
			t.Fatal(err)
		}
		// The size travels by a way of its own, so the program is asked until it has it.
		p.types("until stty size | grep '30 100'; do :; done\r")
		p.sees(`\n30 100\r`)
		p.types("cat\r")
		p.types("word\r")
		p.sees(`word\r\n(\S* )?word`) // the shell may show a prompt in between, for what was typed ahead
		p.types("\x03")               // is the program's, not ours
		p.sees(`\^C\r\n\S* `)
		p.types("echo after-$((40+2))\r")
		p.sees("after-42")
		p.types("\x1d")
		id := p.sees(`come back with: sandbox-agent terminal --attach (proc_\d+)`)[1]
		if code := p.leaves(); code != 0 {
			t.Errorf("detached with exit code %d", code)
		}

		again := sit(t, env, "terminal", "--attach", id)
		again.sees("(?s)first-23.*after-42")
		again.types("exit 5\r")
		if code := again.leaves(); code != 5 {
			t.Errorf("exit code %d, want 5; screen:\n%s", code, again.text())
		}
	})

	t.Run("only what comes next", func(t *testing.T) {
		p := sit(t, env, "terminal", "--detach-key", "ctrl-b", "cat")
		p.types("before\r")
		p.sees(`before\r\nbefore`)
		p.types("\x02")
		id := p.sees(`--attach (proc_\d+)`)[1]
		p.leaves()
		again := sit(t, env, "terminal", "--attach", id, "--no-replay", "--detach-key", "none")
		again.types("\x1dlater\r")
		again.sees(`later\r\n.*later`)
		if strings.Contains(again.text(), "before") {
			t.Errorf("replayed:\n%s", again.text())
		}
		again.types("\x03")
		if code := again.leaves(); code != 130 {
			t.Errorf("exit code %d, want 130", code)
		}
	})

	t.Run("login shell", func(t *testing.T) {
		p := sit(t, env, "terminal")
		p.types("echo $TERM-shell; exit\r")
		p.sees("xterm-shell")
		if code := p.leaves(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})

	t.Run("without a terminal", func(t *testing.T) {
		cmd := exec.Command("sandbox-agent", "terminal", "sh", "-c", `read line; echo "got:$line"; cat; exit 3`)
		cmd.Env = env
		cmd.Stdin = strings.NewReader("words\n")
		cmd.WaitDelay = time.Second
		timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		out, err := cmd.Output()
		if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "got:words") {
			t.Errorf("got %q, %v", out, err)
		}
	})

	t.Run("usage", func(t *testing.T) {
		for _, args := range [][]string{{"--attach", "proc_1", "sh"}, {"--detach-key", "q"}, {"--detach-key", "ctrl-qq"}, {"--env", "x"}} {
			cmd := exec.Command("sandbox-agent", append([]string{"terminal"}, args...)...)
			cmd.Env = env
			if cmd.Run(); cmd.ProcessState.ExitCode() != 2 {
				t.Errorf("terminal %q: exit code %d, want 2", args, cmd.ProcessState.ExitCode())
			}
		}
	})
}
