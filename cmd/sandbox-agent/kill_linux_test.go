package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// binary is the program that is tested: that of SANDBOX_AGENT_BIN, or one of this tree.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if binary = os.Getenv("SANDBOX_AGENT_BIN"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sandbox-agent-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other users start it
		fmt.Println(err)
		return 1
	}
	binary = filepath.Join(dir, "sandbox-agent")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// nobody is an ordinary user.
const nobody = 65534

// world is where a server runs.
type world struct {
	name     string
	ordinary bool // as an ordinary user
	covered  bool // without a cgroup file system
	noPath   bool

	user      uint32 // if not 0, and not ordinary
	processes int    // how many the user may have; 0 means any number
	env       []string
}

// worlds are those that this test can make.
func worlds() []world {
	if os.Getuid() != 0 {
		return []world{{name: "ordinary user"}}
	}
	return []world{
		{name: "root"},
		{name: "root without cgroups", covered: true},
		{name: "ordinary user", ordinary: true},
	}
}

// program is a running server: the process that was started, its child, and where it
// answers.
type program struct {
	*exec.Cmd
	dir    string
	url    string
	server int
	err    *bytes.Buffer
	ended  chan struct{}
}

// serve starts a server in a directory of its own.
func serve(t *testing.T, w world, dir string, args ...string) *program {
	t.Helper()
	args = append([]string{binary, "server", "--port", "0", "--no-token", "--data-dir", filepath.Join(dir, "data")}, args...)
	if w.covered {
		args = append([]string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /sys/fs/cgroup && exec "$@"`, "sh"}, args...)
	}
	if w.processes > 0 {
		args = append([]string{"bash", "-c", fmt.Sprintf(`ulimit -u %d; exec "$@"`, w.processes), "bash"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, w.env...)
	if w.noPath {
		cmd.Env = cmd.Env[1:]
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if w.ordinary {
		w.user = nobody
	}
	if w.user != 0 {
		if err := os.Chown(dir, int(w.user), nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: w.user, Gid: nobody}
	}
	p := &program{Cmd: cmd, dir: dir, err: new(bytes.Buffer), ended: make(chan struct{})}
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = out, p.err
	err = cmd.Start()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	match := regexp.MustCompile(`listening on (http://\S+)`).FindStringSubmatch(line)
	if err != nil || match == nil {
		cmd.Process.Kill()
		<-p.ended
		t.Fatalf("the server printed %q: %v\n%s", line, err, p.err)
	}
	p.url = match[1]
	for _, c := range descendants(cmd.Process.Pid) {
		if c.Parent == cmd.Process.Pid {
			p.server = c.PID
		}
	}
	if p.server == 0 {
		t.Fatal("the server has no process of its own")
	}
	return p
}

// scratch makes a directory that every user can enter.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kill-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func descendants(pid int) []tree.Process { return tree.DescendantsOf(pid)(tree.Table()) }

// await waits for a condition.
var await = testkit.Await

// call sends a request and returns status and body.
func (p *program) call(t *testing.T, method, path string, body any) (int, string) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, p.err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// must is a call that succeeds.
func (p *program) must(t *testing.T, method, path string, body any) string {
	t.Helper()
	status, text := p.call(t, method, path, body)
	if status < 200 || status > 299 {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// ticker is a script that writes its id to a file, and then a line to another one for
// as long as it runs.
func ticker(dir, name string) string {
	file := filepath.Join(dir, name)
	return fmt.Sprintf(`echo $$ >%[1]s.new; mv %[1]s.new %[1]s.pid; while :; do echo x >>%[1]s.tick; sleep 0.02; done`, file)
}

// planted are tickers that try to leave whoever started them.
var planted = []string{"plain", "setsid", "forked", "clean", "terminal", "ran", "agent"}

// plant starts all of them through the server.
func (p *program) plant(t *testing.T) {
	t.Helper()
	script := func(name string) string {
		path := filepath.Join(p.dir, name+".sh")
		if err := os.WriteFile(path, []byte(ticker(p.dir, name)), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, line := range map[string]string{
		"plain":    "sh %s",
		"setsid":   "setsid sh %s & wait",
		"forked":   "(setsid sh -c '(setsid sh %s &)' &)",
		"clean":    "env -i setsid sh %s & wait",
		"terminal": "trap '' HUP TERM; setsid nohup sh %s & wait",
	} {
		line = fmt.Sprintf(line, script(name))
		p.must(t, "POST", "/v1/processes", map[string]any{"command": "sh", "args": []string{"-c", line}, "tty": name == "terminal"})
	}
	p.must(t, "POST", "/v1/processes/run", map[string]any{"command": "sh", "args": []string{"-c", fmt.Sprintf("setsid -f sh %s", script("ran"))}})
	p.must(t, "POST", "/v1/acp/a?agent=probe", map[string]any{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": map[string]any{"protocolVersion": 1}})
	for _, name := range planted {
		await(t, "the ticker "+name, func() bool { return p.ticks(name) > 1 })
	}
}

// probe is the flag for an agent that starts a ticker of its own before it is the mock.
func probe(t *testing.T, dir string) []string {
	t.Helper()
	path := filepath.Join(dir, "probe.sh")
	text := fmt.Sprintf("setsid sh -c '%s' </dev/null >/dev/null 2>&1 &\nexec %s mock\n", ticker(dir, "agent"), binary)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"--agent-command", "probe=/bin/sh " + path}
}

// pid returns the process of a ticker.
func (p *program) pid(t *testing.T, name string) tree.Process {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	found, ok := tree.Find(pid)
	if !ok {
		t.Fatalf("the ticker %s does not run", name)
	}
	return found
}

// ticks returns how often a ticker has ticked.
func (p *program) ticks(name string) int64 {
	info, err := os.Stat(filepath.Join(p.dir, name+".tick"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// running returns those of some processes that still run.
func running(all []tree.Process) (left []tree.Process) {
	for _, p := range all {
		if now, ok := tree.Find(p.PID); ok && now.Start == p.Start {
			left = append(left, now)
		}
	}
	return left
}

// everything returns the processes of a program: it, its server, and all below.
func (p *program) everything(t *testing.T) []tree.Process {
	t.Helper()
	all := descendants(p.Process.Pid)
	for _, name := range planted {
		all = append(all, p.pid(t, name))
	}
	return all
}

func TestKillLeavesNothing(t *testing.T) {
	for _, w := range worlds() {
		for _, victim := range []string{"server", "parent", "group of the parent", "both at once"} {
			t.Run(w.name+"/"+victim, func(t *testing.T) {
				t.Parallel()
				dir := scratch(t)
				p := serve(t, w, dir, probe(t, dir)...)
				p.plant(t)
				all := p.everything(t)
				for _, pid := range map[string][]int{
					"server": {p.server}, "parent": {p.Process.Pid}, "group of the parent": {p.Process.Pid},
					"both at once": {p.Process.Pid, p.server},
				}[victim] {
					if victim == "both at once" { // so that neither sees the other one end
						if err := syscall.Kill(p.server, syscall.SIGSTOP); err != nil {
							t.Fatal(err)
						}
					}
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "everything to be gone", func() bool { return len(running(all)) == 0 })
				<-p.ended
				if status := p.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
					t.Errorf("ended with %v", p.ProcessState)
				}
				// The data are free for the next one.
				next := serve(t, w, dir, probe(t, dir)...)
				if err := next.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				<-next.ended
				if !next.ProcessState.Success() {
					t.Errorf("the next one ended with %v\n%s", next.ProcessState, next.err)
				}
			})
		}
	}
}

func TestSignalsEndServerInOrder(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		for _, target := range []string{"parent", "server"} {
			t.Run(fmt.Sprintf("%v to the %s", sig, target), func(t *testing.T) {
				t.Parallel()
				dir := scratch(t)
				p := serve(t, world{}, dir, probe(t, dir)...)
				p.plant(t)
				all := p.everything(t)
				pid := p.Process.Pid
				if target == "server" {
					pid = p.server
				}
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
				<-p.ended
				if !p.ProcessState.Success() || !strings.Contains(p.err.String(), "shutting down") {
					t.Errorf("ended with %v\n%s", p.ProcessState, p.err)
				}
				if left := running(all); len(left) > 0 {
					t.Errorf("left behind: %+v", left)
				}
			})
		}
	}
}

// TestParentEndsAsServer starts what ends by itself.
func TestParentEndsAsServer(t *testing.T) {
	out, err := exec.Command(binary, "server", "--no-such-flag").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("unknown flag")) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := exec.Command(binary, "--log-level", "error", "server", "--help").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Serve the HTTP API")) {
		t.Errorf("%v: %s", err, out)
	}
}
