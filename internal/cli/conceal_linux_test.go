package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// ordinary is a user without rights, which nothing else of a test runs as.
const ordinary = 65534

// builtProgram returns a program sandbox-agent that every user can run. The test program
// is not it: it does not make the parent of a server as early.
func builtProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(openDir(t), "sandbox-agent")
	program, err := build()
	if err == nil {
		err = os.WriteFile(path, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// build builds sandbox-agent once for all tests.
var build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sandbox-agent-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sandbox-agent")
	out, err := exec.Command("go", "build", "-o", path, "github.com/sandboxagent/sandboxagent/cmd/sandbox-agent").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("build sandbox-agent: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// openDir returns a directory that every user can enter: the ones of the testing
// package are below one that only its owner can.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox-agent-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// builtServer is a server of the built program, in a process of its own.
type builtServer struct {
	*sandboxagent.Client
	cmd *exec.Cmd
	url string
	log *serverLog
}

// serverLog is what a server that runs has logged so far.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startBuilt starts cmd, which is a server, and waits until it says where it listens.
func startBuilt(t *testing.T, cmd *exec.Cmd, token string) *builtServer {
	t.Helper()
	s := &builtServer{cmd: cmd, log: new(serverLog)}
	cmd.Stderr = s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	_, address, ok := strings.Cut(line, "listening on ")
	if !ok {
		t.Fatalf("the server printed %q, %v\n%s", line, err, s.log)
	}
	s.url = strings.TrimSpace(address)
	var options []sandboxagent.Option
	if token != "" {
		options = append(options, sandboxagent.WithToken(token))
	}
	s.Client = sandboxagent.New(s.url, options...)
	t.Cleanup(func() { s.Client.Close() })
	return s
}

// sh runs a line of shell on the server and returns what it printed.
func (s *builtServer) sh(t *testing.T, script string) string {
	t.Helper()
	result, err := s.RunProcess(t.Context(), api.ProcessRunRequest{Command: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	return result.Stdout + result.Stderr
}

// programs returns the ids of the server's parent and of the server.
func (s *builtServer) programs(t *testing.T) []int {
	t.Helper()
	pids := []int{s.cmd.Process.Pid}
	for _, p := range tree.Table() {
		if p.Parent == pids[0] {
			pids = append(pids, p.PID)
		}
	}
	if len(pids) != 2 {
		t.Fatalf("processes of the server: %v", pids)
	}
	return pids
}

// shown returns what the kernel shows of a process to its user.
func shown(t *testing.T, pid int) string {
	t.Helper()
	var all []byte
	for _, name := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return string(all)
}

func TestTokenIsNotShownByTheKernel(t *testing.T) {
	program := builtProgram(t)
	const needle = "needle-of-this-test"
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "place-of-"+needle)
	if err := os.WriteFile(tokenFile, []byte(needle), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args  []string
		env   []string
		files bool
	}{
		"flag":                    {args: []string{"server", "--token", needle}},
		"flag with an equal sign": {args: []string{"server", "--token=" + needle}},
		"letter":                  {args: []string{"server", "-t" + needle}},
		"flag before the command": {args: []string{"--token", needle, "server"}},
		"daemon":                  {args: []string{"daemon", "serve", "--token", needle}},
		"environment":             {args: []string{"server"}, env: []string{"SANDBOX_AGENT_TOKEN=" + needle}},
		"environment, twice":      {args: []string{"server"}, env: []string{"SANDBOX_AGENT_TOKEN=" + needle, "A=b", "SANDBOX_AGENT_TOKEN_OLD=" + needle}},
		"file":                    {args: []string{"server", "--token-file", tokenFile}},
		"descriptor":              {args: []string{"server", "--token-file", "fd:3"}, files: true},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			cmd := exec.Command(program, append(test.args, "--port", "0", "--data-dir", data)...)
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + data, "KEPT=yes"}, test.env...)
			if test.files {
				file, err := os.Open(tokenFile)
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				cmd.ExtraFiles = []*os.File{file}
			}
			s := startBuilt(t, cmd, needle)
			for _, pid := range s.programs(t) {
				if text := shown(t, pid); strings.Contains(text, needle) || !strings.Contains(text, "KEPT=yes") {
					t.Errorf("process %d shows %q", pid, text)
				}
			}
			if text := s.sh(t, `cat /proc/$PPID/environ /proc/$PPID/cmdline; env`); strings.Contains(text, needle) || !strings.Contains(text, "KEPT=yes") {
				t.Errorf("a process of the server sees %q", text)
			}
		})
	}
}

func TestSocketOfAServerIsNotInItsArguments(t *testing.T) {
	program := builtProgram(t)
	socket := filepath.Join(openDir(t), "needle.sock")
	data := t.TempDir()
	cmd := exec.Command(program, "server", "--listen", "unix:"+socket, "--no-token", "--data-dir", data)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + data}
	s := startBuilt(t, cmd, "")
	for _, pid := range s.programs(t) {
		if text := shown(t, pid); strings.Contains(text, "needle") {
			t.Errorf("process %d shows %q", pid, text)
		}
	}
}

// A daemon is given its token by the command that starts it.
func TestTokenOfADaemonIsNotShownByTheKernel(t *testing.T) {
	program := builtProgram(t)
	const needle = "needle-of-a-daemon"
	data, port := t.TempDir(), strconv.Itoa(freePort(t))
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(program, append(args, "--data-dir", data, "--port", port)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + data, "SANDBOX_AGENT_TOKEN=" + needle}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("daemon", "start")
	defer run("daemon", "stop")
	c := sandboxagent.New("http://127.0.0.1:"+port, sandboxagent.WithToken(needle))
	defer c.Close()
	result, err := c.RunProcess(context.Background(), api.ProcessRunRequest{Command: "/bin/sh", Args: []string{"-c",
		`parent=$(cut -d' ' -f4 /proc/$PPID/stat); cat /proc/$PPID/environ /proc/$PPID/cmdline /proc/$parent/environ /proc/$parent/cmdline`}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(result.Stdout, needle) || !strings.Contains(result.Stdout, "daemon") {
		t.Errorf("shown: %q", result.Stdout)
	}
}

// An ordinary user's agents are of the same user as the server, and still must not read
// its memory, files, and environment.
func TestServerOfAnOrdinaryUserIsUnreadable(t *testing.T) {
	program := builtProgram(t)
	const needle = "needle-of-a-user"
	data := openDir(t)
	cmd := exec.Command(program, "server", "--token", needle, "--port", "0", "--data-dir", filepath.Join(data, "data"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + data}
	if os.Geteuid() == 0 {
		if err := os.Chown(data, ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
		cmd.Dir = data
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	}
	s := startBuilt(t, cmd, needle)
	for _, pid := range s.programs(t) {
		for _, name := range []string{"environ", "mem", "maps", "fd/0", "auxv"} {
			out := s.sh(t, fmt.Sprintf("head -c 1 /proc/%d/%s >/dev/null && echo read", pid, name))
			if strings.Contains(out, "read\n") || !strings.Contains(out, "denied") {
				t.Errorf("%s of process %d: %s", name, pid, out)
			}
		}
		if out := s.sh(t, fmt.Sprintf("tr '\\0' ' ' </proc/%d/cmdline", pid)); strings.Contains(out, needle) || !strings.Contains(out, "server") {
			t.Errorf("arguments of process %d: %s", pid, out)
		}
	}
}
