// Package providertest is the suite that every provider passes, on real sandboxes.
// What a provider says it can do it is held to, and what it says it cannot it has
// to refuse.
//
// The test binary is the program sandbox-agent, and the process that sandboxes are
// made in and found again from: its TestMain calls [Main].
package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// A Provider is what the suite needs of one: all abilities.
type Provider interface {
	provider.Provider
	provider.Pauser
	provider.Resumer
	provider.Restarter
	provider.Killer
	provider.Execer
	provider.Logger
	provider.Pruner
	provider.Differ
	provider.Keeper
	provider.Archiver
}

// Config says what to test.
type Config struct {
	// New returns the provider with its sandboxes below a directory, run by a
	// program.
	New func(stateDir, binary string) Provider
}

// The variables that make the test binary a process that works on sandboxes.
const (
	actVariable   = "PROVIDERTEST_ACT"
	stateVariable = "PROVIDERTEST_STATE"
)

// Main runs the tests, or what this process was started for. Program is the
// program sandbox-agent.
func Main(m *testing.M, c Config, program func() int) int {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		return program()
	}
	if act := os.Getenv(actVariable); act != "" {
		if err := perform(c.New(os.Getenv(stateVariable), self()), act); err != nil {
			fmt.Println("error", err)
			return 1
		}
		return 0
	}
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(home)
	os.Setenv("GORACE", "atexit_sleep_ms=0") // shims with the race detector do not sleep at their end
	os.Unsetenv("XDG_DATA_HOME")
	os.Setenv("HOME", home) // which the provider local shares
	return m.Run()
}

// perform is what another process does in the tests. It prints what came of it.
func perform(p Provider, act string) error {
	ctx := context.Background()
	verb, id, _ := strings.Cut(act, " ")
	switch verb {
	case "create", "create-bound":
		i, err := p.Create(ctx, provider.Spec{Bound: verb == "create-bound"})
		if err != nil {
			return err
		}
		fmt.Println(i.ID)
	case "create-slow":
		fmt.Println("creating")
		_, err := p.Create(ctx, provider.Spec{Bootstrap: []provider.Command{{Args: []string{"sleep", id}}}})
		return err
	case "exec":
		result, err := p.Exec(ctx, id, api.ProcessRunRequest{Command: "echo", Args: []string{"reached"}})
		if err != nil {
			return err
		}
		fmt.Print(result.Stdout)
		return nil
	}
	select {} // until it is killed
}

func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

// suite is one run of the tests.
type suite struct {
	c     Config
	p     Provider
	state string
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	s := &suite{c: c, state: TempDir(t)}
	s.p = c.New(s.state, self())
	t.Cleanup(func() { s.destroyAll(t) })
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the server is reached with its token alone", s.testReach},
		{"exec runs in the workspace", s.testExec},
		{"files, environment, and bootstrap are in place when create returns", s.testBootstrap},
		{"a bootstrap command that fails leaves nothing but its output", s.testBootstrapFails},
		{"what cannot be honoured is refused", s.testRefusals},
		{"a bound workspace is that of the host", s.testBind},
		{"a copy is changed, compared, applied, and archived", s.testCopy},
		{"what was made in an empty workspace is brought out", s.testEmptyChanges},
		{"pause stops every process and resume lets them go on", s.testPause},
		{"restart ends processes and keeps files and sessions", s.testRestart},
		{"kill ends everything, and restart brings it back", s.testKill},
		{"destroy leaves nothing", s.testDestroy},
		{"a sandbox is found by its labels", s.testLabels},
		{"another process finds a sandbox", s.testReconnect},
		{"a sandbox outlives its killed creator", s.testCreatorKilled},
		{"a creation ends with its killed creator", s.testCreatorKilledEarly},
		{"a bound sandbox ends with its creator", s.testBound},
		{"a sandbox whose shim is killed has failed, with nothing left", s.testShimKilled},
		{"a sandbox whose server is killed has failed, with nothing left", s.testServerKilled},
		{"a client that ends the server stops the sandbox", s.testServerEnded},
		{"many at once do not disturb each other", s.testConcurrent},
		{"a time to live ends in a pause", s.testTTL},
		{"a memory hog is limited", s.testMemory},
		{"a fork flood is limited", s.testForks},
	} {
		if !t.Run(test.name, test.run) {
			s.logAll(t)
		}
	}
}

// TempDir is a directory that other users may enter.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Context ends before the test binary would.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (s *suite) destroyAll(t *testing.T) {
	for i, err := range s.p.List(context.Background(), nil) {
		if err == nil {
			err = s.p.Destroy(context.Background(), i.ID)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// logAll shows what the sandboxes said when a test has failed.
func (s *suite) logAll(t *testing.T) {
	for i, err := range s.p.List(context.Background(), nil) {
		if err != nil {
			t.Log(err)
			continue
		}
		logs, err := s.p.Logs(context.Background(), i.ID)
		t.Logf("%s %s %s: %s %v", i.ID, i.State, i.Reason, logs, err)
	}
}

// create makes a sandbox that ends with the test.
func (s *suite) create(t *testing.T, spec provider.Spec) *provider.Instance {
	t.Helper()
	return Create(t, s.p, spec)
}

// Create makes a sandbox that ends with the test.
func Create(t testing.TB, p provider.Provider, spec provider.Spec) *provider.Instance {
	t.Helper()
	i, err := p.Create(Context(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := p.Destroy(context.Background(), i.ID)
		if _, getErr := p.Get(context.Background(), i.ID); err != nil && getErr == nil {
			t.Error(err)
		}
	})
	if i.State != provider.Running {
		t.Fatalf("created sandbox is %s", i.State)
	}
	return i
}

func (s *suite) get(t *testing.T, id string) *provider.Instance {
	t.Helper()
	i, err := s.p.Get(Context(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// sh runs a shell script in a sandbox and returns what it printed; it must end
// well.
func (s *suite) sh(t *testing.T, id, script string) string {
	t.Helper()
	result := Shell(t, s.p, id, script)
	if result.ExitCode == nil || *result.ExitCode != 0 {
		t.Fatalf("%s: %s%s%s", script, describe(result), result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout)
}

// Shell runs a shell script in a sandbox.
func Shell(t testing.TB, p provider.Execer, id, script string) *api.ProcessRunResult {
	t.Helper()
	result, err := p.Exec(Context(t), id, api.ProcessRunRequest{Command: "sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return result
}

func describe(result *api.ProcessRunResult) string {
	if result.ExitCode != nil {
		return fmt.Sprintf("exit code %d: ", *result.ExitCode)
	}
	return fmt.Sprintf("%s (timed out: %v): ", result.ExitSignal, result.TimedOut)
}

// call does one exchange with the server of a sandbox.
func call(t *testing.T, i *provider.Instance, token, method, path string, in, out any) int {
	t.Helper()
	var body io.Reader = http.NoBody
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(Context(t), method, "http://sandbox"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return i.Dial(ctx) }}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	}
	return resp.StatusCode
}

// another starts a process that does something with the same sandboxes, and
// returns it with the first line that it prints.
func (s *suite) another(t *testing.T, act string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(self())
	cmd.Env = append(os.Environ(), actVariable+"="+act, stateVariable+"="+s.state)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line := make([]byte, 0, 64)
	for b := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; line = append(line, b...) {
		if _, err := out.Read(b); err != nil {
			t.Fatalf("%s: %v after %q", act, err, line)
		}
	}
	if bytes.HasPrefix(line, []byte("error")) {
		t.Fatalf("%s: %s", act, line)
	}
	return cmd, strings.TrimSpace(string(line))
}

// Wait waits until a condition holds.
func Wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// processes returns the processes of the host with a text in their arguments.
func processes(text string) (pids []string) {
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		cmdline, err := os.ReadFile(filepath.Join(name, "cmdline"))
		if err == nil && bytes.Contains(cmdline, []byte(text)) && filepath.Base(name) != fmt.Sprint(os.Getpid()) {
			pids = append(pids, filepath.Base(name))
		}
	}
	return pids
}

// cgroups returns the cgroups of a sandbox.
func cgroups(id string) (dirs []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(name string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasSuffix(name, "sandbox-agent."+id) {
			dirs = append(dirs, name)
		}
		return nil
	})
	return dirs
}
