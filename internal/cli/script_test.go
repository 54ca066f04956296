package cli_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandboxagent/sandboxagent/internal/cli"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// TestMain lets the test program be sandbox-agent, for scripts and for the
// children of a server.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sandbox-agent": func() { os.Exit(cli.Main(cli.System())) },
	})
}

// noRaceSleep keeps programs with the race detector from sleeping at their end.
const noRaceSleep = "atexit_sleep_ms=0"

// patience is how long a condition may take to come true.
const patience = 30 * time.Second

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("GORACE", noRaceSleep)
			env.Setenv("PORT", strconv.Itoa(freePort(t)))
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o755)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve":  serve,
			"await":  await,
			"status": status,
			"gone":   gone,
		},
	})
}

// freePort returns a port that nobody listened on a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

var listening = regexp.MustCompile(`listening on (http://\S+)`)

// serve [flag...] starts a server that ends with the script, and sets
// SANDBOX_AGENT_ENDPOINT to its address.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("serve cannot be negated")
	}
	program, err := lookPath(ts, "sandbox-agent")
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"server", "--port", "0"}, args...)...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "XDG_DATA_HOME=" + ts.Getenv("XDG_DATA_HOME"), "SANDBOX_AGENT_TOKEN=" + ts.Getenv("SANDBOX_AGENT_TOKEN")}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			ts.Logf("server: %v\n%s", err, log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	m := listening.FindStringSubmatch(line)
	if m == nil {
		ts.Fatalf("the server said %q, %v", line, err)
	}
	ts.Setenv("SANDBOX_AGENT_ENDPOINT", m[1])
}

// await file pattern waits until a file matches a regular expression; with !,
// until it is gone.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg && len(args) != 1 || !neg && len(args) != 2 {
		ts.Fatalf("usage: await file pattern, ! await file")
	}
	name := ts.MkAbs(args[0])
	ok := func() bool {
		data, err := os.ReadFile(name)
		if neg {
			return errors.Is(err, os.ErrNotExist)
		}
		return err == nil && regexp.MustCompile(args[1]).Match(data)
	}
	if !eventually(ok) {
		data, err := os.ReadFile(name)
		ts.Fatalf("%v did not come true; %v, content:\n%s", args, err, data)
	}
}

// status code command [argument...] runs a command that must exit with the code.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status code command [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// gone file waits until the process whose id is in a file has ended.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	ts.Check(err)
	if !eventually(func() bool { return ended(pid) }) {
		ts.Fatalf("process %d is still there", pid)
	}
}

// ended reports whether a process is gone, or a zombie that nobody here can
// wait for.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && strings.HasPrefix(state, "Z")
}

// eventually reports whether a condition comes true.
var eventually = testkit.Until

// lookPath finds a program on the PATH of a script.
func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s on PATH", name)
}
