//go:build conformance

package agents

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

var (
	cacheFlag = flag.String("agents.cache", "", "directory in which agents are installed, and kept (default sandbox-agent-conformance in the user's cache; of root in /var/cache, so that other users can run them)")

	cache  string
	binary string // our server
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build makes a program of this module in a folder.
func build(dir, pkg string) (string, error) {
	program := filepath.Join(dir, filepath.Base(pkg))
	out, err := exec.Command("go", "build", "-o", program, "github.com/sandboxagent/sandboxagent/"+pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return program, nil
}

func setUp(m *testing.M) (int, error) {
	cache = *cacheFlag
	if cache == "" {
		dir, err := cacheDir()
		if err != nil {
			return 0, err
		}
		cache = filepath.Join(dir, "sandbox-agent-conformance")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return 0, err
	}
	temp, err := os.MkdirTemp("", "sandbox-agent-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(temp)
	built := os.Getenv("SANDBOX_AGENT_BIN")
	if built == "" {
		built, err = build(temp, "cmd/sandbox-agent")
	}
	if err != nil {
		return 0, err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return 0, err
	}
	binary = filepath.Join(temp, "server") // where every user can run it
	if err := copyProgram(binary, built); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// cacheDir is where caches are kept, for root one that other users can read.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache", nil
	}
	return os.UserCacheDir()
}

func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// real is a real agent, and what it runs with.
type real struct {
	id       string
	mode     string            // of its session; empty leaves it to the server
	escalate bool              // the model asks for more than the sandbox of the agent allows
	env      []string          // in addition to what makes it use the scripted model
	settings map[string]string // members added to the settings that do, or whole files, by name below the home
	uid      int               // user that the server and the agent run as; 0 is the user of this test
	changed  []string          // flags of a middleman between the agent and the server; nil puts none there
}

// TestTask gives each agent a task: it writes a file, asks for it first, gets the
// permission and ends its turn; and the events of the session have all of it.
func TestTask(t *testing.T) {
	for _, agent := range []real{
		{id: "claude"},
		{id: "codex", escalate: true}, // it asks only for more than its sandbox allows
		{id: "opencode"},
		{id: "gemini"}, // tells of a call by the question alone, and has no settings but models
	} {
		t.Run(agent.id, func(t *testing.T) { task(t, agent) })
	}
}

func task(t *testing.T, agent real) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	model := fakemodel.New(fakemodel.Options{Escalate: agent.escalate})
	vendor := httptest.NewServer(model)
	defer vendor.Close()
	sandbox := startServer(ctx, t, agent, vendor.URL)
	work := t.TempDir()

	var mu sync.Mutex
	var asked []api.Permission
	session, err := sandbox.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent: agent.id, CWD: work, Mode: agent.mode,
		OnPermission: func(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, p)
			if _, err := os.Stat(filepath.Join(work, "notes.txt")); err == nil {
				t.Error("the file is there before the permission")
			}
			return sandboxagent.Once, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	turn, err := session.Prompt(ctx, sandboxagent.Text("write notes.txt with hello from "+agent.id))
	if err != nil {
		t.Fatal(err)
	}
	if turn.StopReason != acp.StopEndTurn || turn.Text == "" {
		t.Errorf("the turn ended with %s and said %q", turn.StopReason, turn.Text)
	}
	if len(asked) != 1 {
		t.Errorf("it asked %d times: %+v", len(asked), asked)
	}
	data, err := os.ReadFile(filepath.Join(work, "notes.txt"))
	if err != nil || strings.TrimSpace(string(data)) != "hello from "+agent.id {
		t.Errorf("notes.txt is %q, %v", data, err)
	}
	if len(model.Requests()) == 0 {
		t.Error("the model was not asked")
	}
	checkEvents(ctx, t, session)
	if err := session.Destroy(ctx); err != nil {
		t.Error(err)
	}
}

// startServer starts our server with an agent that uses the model at url.
func startServer(ctx context.Context, t *testing.T, agent real, url string) *sandboxagent.Client {
	t.Helper()
	data, home, env := prepare(ctx, t, agent, url)
	return serve(ctx, t, program(t, agent.uid), home, env, "--data-dir", data)
}

// prepare installs an agent with our own installer, and makes a data directory that
// has it, and a home and an environment in which it uses the model at url.
func prepare(ctx context.Context, t *testing.T, agent real, url string) (data, home string, env []string) {
	t.Helper()
	catalogue := agents.New(agents.Config{DataDir: filepath.Join(cache, "data"), Env: os.Environ()})
	if _, err := catalogue.Install(ctx, agent.id, api.AgentInstallRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	data = directory(t, agent.uid, "data-")
	installed := []string{"bin", "store"}
	if agent.changed != nil {
		installed = []string{"store"}
		launchChanged(t, agent, filepath.Join(data, "bin", "agent_processes"))
	}
	for _, name := range installed {
		if err := os.Symlink(filepath.Join(cache, "data", name), filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	home = directory(t, agent.uid, "home-")
	wired, err := fakemodel.Wire(agent.id, url, home)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range agent.settings {
		addSettings(t, filepath.Join(home, name), text)
	}
	own(t, home, agent.uid)
	return data, home, append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, append(wired, agent.env...)...)
}

// launchChanged writes the launcher of an agent, in a directory of launchers, that
// starts it with a middleman in between.
func launchChanged(t *testing.T, agent real, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	middleman, err := build(dir, "conformance/agents/middleman")
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"exec", middleman}
	words = append(words, agent.changed...)
	words = append(words, filepath.Join(cache, "data", "bin", "agent_processes", agent.id+"-acp"))
	for i, word := range words[1:] {
		words[i+1] = shellwords.Quote(word)
	}
	script := "#!/bin/sh\n" + strings.Join(words, " ") + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, agent.id+"-acp"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// serve starts a server that ends with the test, and returns a client of it.
func serve(ctx context.Context, t *testing.T, program, dir string, env []string, flags ...string) *sandboxagent.Client {
	t.Helper()
	cmd := exec.Command(program, append([]string{"server", "--port", "0", "--stop-with-stdin"}, flags...)...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(env, "SANDBOX_AGENT_TOKEN="+token), t.Output()
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	var url string
	if _, err := fmt.Fscanf(out, "Sandbox Agent %s listening on %s", new(string), &url); err != nil {
		t.Fatalf("read the address of the server: %v", err)
	}
	client, err := sandboxagent.Connect(ctx, url, sandboxagent.WithToken(token), sandboxagent.WithDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// directory returns a new directory of a user, which the test removes. It is not in
// the temporary directory, where Codex refuses to have its home.
func directory(t *testing.T, uid int, prefix string) string {
	t.Helper()
	dir, err := os.MkdirTemp(cache, prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, dir, uid)
	return dir
}

// own gives a tree to a user.
func own(t *testing.T, root string, uid int) {
	t.Helper()
	if uid == 0 {
		return
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// program returns our server as a program that runs as a user.
func program(t *testing.T, uid int) string {
	t.Helper()
	if uid == 0 {
		return binary
	}
	name := filepath.Join(directory(t, uid, "program-"), "server")
	script := fmt.Sprintf("#!/bin/sh\nexec setpriv --reuid=%d --regid=%d --clear-groups %s \"$@\"\n", uid, uid, binary)
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// addSettings writes a file of settings, or adds members to the object that is
// there.
func addSettings(t *testing.T, name, text string) {
	t.Helper()
	if old, err := os.ReadFile(name); err == nil {
		if filepath.Ext(name) == ".json" {
			text = strings.Replace(string(old), "{", "{"+text, 1)
		} else {
			text += string(old)
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkEvents reads the events of a session from the beginning and looks for the
// course of the task in them.
func checkEvents(ctx context.Context, t *testing.T, session *sandboxagent.Session) {
	t.Helper()
	// Codex asks before it tells of the call, Claude after.
	steps := []string{"session/new", "session/request_permission", "completed", "agent_message_chunk", "end_turn"}
	next := 0
	last := uint64(0)
	for e, err := range session.History(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.EventIndex != last+1 {
			t.Errorf("event %d follows event %d", e.EventIndex, last)
		}
		last = e.EventIndex
		if e.Sender == "agent" && next < len(steps) && matches(t, e.Payload, steps[next]) {
			next++
		}
	}
	if next < len(steps) {
		t.Errorf("the %d events have no %s after %v", last, steps[next], steps[:next])
	}
}

// token is that of the servers of this test, to ask them by hand.
const token = "conformance"

// matches reports whether a frame of the agent is the step of a task: the result
// of a request, a request, or an update, by what only they have.
func matches(t *testing.T, frame []byte, step string) bool {
	t.Helper()
	var f struct {
		Method string
		Params struct {
			Update struct{ SessionUpdate, Status string }
		}
		Result struct {
			SessionID  string
			StopReason string
		}
	}
	if err := json.Unmarshal(frame, &f); err != nil {
		t.Errorf("event is no frame: %v: %s", err, frame)
		return false
	}
	switch step {
	case "session/new":
		return f.Result.SessionID != ""
	case "session/request_permission":
		return f.Method == step
	case "completed":
		return f.Params.Update.Status == step
	case "end_turn":
		return f.Result.StopReason == step
	}
	return f.Params.Update.SessionUpdate == step
}
