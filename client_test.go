package sandboxagent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/local"
)

// serve answers requests with handler for the time of a test.
func serve(t *testing.T, handler http.HandlerFunc) string {
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func TestConnectWaits(t *testing.T) {
	var asked atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 5 {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, `{"status":"ok","more":1}`)
	})
	c, err := sandboxagent.Connect(testContext(t), url+"/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.BaseURL() != url || c.InspectorURL() != url+"/ui/" {
		t.Errorf("URLs are %s and %s", c.BaseURL(), c.InspectorURL())
	}
}

func TestConnectGivesUp(t *testing.T) {
	refused := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"type":"urn:sandbox-agent:error:token_invalid","title":"Token Invalid","status":401,"detail":"token invalid"}`)
	})
	if _, err := sandboxagent.Connect(testContext(t), refused); !errors.Is(err, sandboxagent.ErrUnauthorized) {
		t.Errorf("refused token: %v", err)
	}
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond)
	defer cancel()
	if _, err := sandboxagent.Connect(ctx, dead.URL); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dead server: %v", err)
	}
	for _, url := range []string{"", "localhost:80", "127.0.0.1:80", "ftp://x", "http://", "http://a b"} {
		if _, err := sandboxagent.Connect(testContext(t), url); err == nil || !strings.Contains(err.Error(), "want http://") && !strings.Contains(err.Error(), "parse base URL") {
			t.Errorf("error of %q is %v", url, err)
		}
	}
}

func TestRequestHeaders(t *testing.T) {
	var got http.Header
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		io.WriteString(w, `{"status":"ok"}`)
	})
	c := sandboxagent.New(url, sandboxagent.WithHeader("X-Team", "a"), sandboxagent.WithHeader("Authorization", "Basic x"),
		sandboxagent.WithToken("secret"))
	defer c.Close()
	if _, err := c.Health(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got.Get("X-Team") != "a" || got.Get("Authorization") != "Bearer secret" || got.Get("X-Request-Id") == "" {
		t.Errorf("headers are %v", got)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, media, body string
		status            int
		is                []error
		text              string
	}{
		{"ours", "application/problem+json", `{"type":"urn:sandbox-agent:error:invalid_request","title":"Invalid Request","status":400,"detail":"invalid request: path not found: /x","code":"path_not_found"}`,
			400, []error{api.CodePathNotFound, fs.ErrNotExist}, "path not found: /x"},
		{"earlier server", "application/problem+json", `{"type":"urn:sandbox-agent:error:invalid_request","title":"Invalid Request","status":400,"detail":"invalid request: path not found: /x"}`,
			400, []error{fs.ErrNotExist}, "path not found: /x"},
		{"kind as code", "application/problem+json", `{"type":"urn:sandbox-agent:error:session_not_found","title":"Session Not Found","status":404}`,
			404, []error{sandboxagent.ErrSessionNotFound}, "Session Not Found"},
		{"plain text", "text/plain", "Failed to deserialize query string", 400, nil, "Failed to deserialize query string"},
		{"page of a proxy", "text/html", "<html>nope</html>", 500, nil, "HTTP status 500"},
		{"nothing", "", "", 401, []error{sandboxagent.ErrUnauthorized}, "HTTP status 401"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.media)
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			c := sandboxagent.New(url)
			defer c.Close()
			_, err := c.Health(testContext(t))
			var problem *api.Error
			if !errors.As(err, &problem) || problem.Status != tt.status || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error is %v", err)
			}
			for _, is := range tt.is {
				if !errors.Is(err, is) {
					t.Errorf("%v is not %v", err, is)
				}
			}
		})
	}
}

func TestReadsAreTriedAgain(t *testing.T) {
	var asked atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{"version":"1"}`)
	})
	c := sandboxagent.New(url)
	defer c.Close()
	if v, err := c.Version(testContext(t)); err != nil || v.Version != "1" {
		t.Errorf("got %+v, %v", v, err)
	}
	asked.Store(0)
	if _, err := c.InstallAgent(testContext(t), "mock", sandboxagent.InstallAgentOptions{}); err == nil || asked.Load() != 1 {
		t.Errorf("a POST was sent %d times, %v", asked.Load(), err)
	}
}

func TestInstallProgress(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/agents/bad/install" {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "event: error\ndata: {\"title\":\"Install Failed\",\"status\":500,\"code\":\"install_failed\"}\n\n")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: progress\ndata: {\"agent\":\"x\",\"phase\":\"download\",\"message\":\"m\"}\n\nevent: result\ndata: {\"already_installed\":true}\n\n")
	})
	c := sandboxagent.New(url)
	defer c.Close()
	var steps []api.AgentInstallEvent
	opts := sandboxagent.InstallAgentOptions{OnProgress: func(e api.AgentInstallEvent) { steps = append(steps, e) }}
	result, err := c.InstallAgent(testContext(t), "x", opts)
	if err != nil || !result.AlreadyInstalled || len(steps) != 1 || steps[0].Phase != "download" {
		t.Errorf("got %+v, %v, %v", result, steps, err)
	}
	if _, err := c.InstallAgent(testContext(t), "bad", opts); !errors.Is(err, api.CodeInstallFailed) {
		t.Errorf("error is %v", err)
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv("SANDBOX_AGENT_ENDPOINT", "http://127.0.0.1:7")
	t.Setenv("SANDBOX_AGENT_TOKEN", "t")
	c := sandboxagent.New("", sandboxagent.FromEnv())
	defer c.Close()
	if c.BaseURL() != "http://127.0.0.1:7" || sandboxagent.Token(c) != "t" {
		t.Errorf("client is of %s", c.BaseURL())
	}
	d := sandboxagent.New("http://127.0.0.1:8")
	defer d.Close()
	if d.BaseURL() != "http://127.0.0.1:8" || sandboxagent.Token(d) != "" {
		t.Error("the environment was read unasked")
	}
}

func TestStart(t *testing.T) {
	home := t.TempDir()
	sandbox, err := sandboxagent.Start(testContext(t), localIn(home)...)
	if err != nil {
		t.Fatal(err)
	}
	session, err := sandbox.CreateSession(testContext(t), sandboxagent.SessionOptions{Agent: "mock", OnPermission: sandboxagent.AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(testContext(t), sandboxagent.Text("create a file called hello.txt")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(home, "hello.txt")); err != nil {
		t.Error(err)
	}
	stranger := sandboxagent.New(sandbox.BaseURL())
	defer stranger.Close()
	if _, err := stranger.Health(testContext(t)); !errors.Is(err, sandboxagent.ErrUnauthorized) {
		t.Errorf("without token: %v", err)
	}
	if logs, err := sandbox.Logs(testContext(t)); err != nil || !strings.Contains(string(logs), "listening on") {
		t.Errorf("logs are %q, %v", logs, err)
	}
	again, err := sandboxagent.Start(testContext(t), append(localIn(home), sandboxagent.WithSandbox(sandbox.ID()))...)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := again.Exec(testContext(t), "pwd"); err != nil || strings.TrimSpace(result.Stdout) != home {
		t.Errorf("found again, it works in %v, %v", result, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if instance, err := sandbox.Instance(testContext(t)); err != nil || instance.State != provider.Running {
		t.Errorf("after the close of who found it: %v, %v", instance, err)
	}
	for range 2 {
		if err := sandbox.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := sandbox.Instance(testContext(t)); !errors.Is(err, api.CodeSandboxNotFound) {
		t.Errorf("after close: %v", err)
	}
}

func TestSandboxLifecycle(t *testing.T) {
	sandbox, err := sandboxagent.Start(testContext(t), localIn(t.TempDir())...)
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	ctx := testContext(t)
	steps := []struct {
		name string
		do   func(context.Context) error
		want provider.State
	}{
		{"pause", sandbox.Pause, provider.Paused},
		{"resume", sandbox.Resume, provider.Running},
		{"restart", sandbox.Restart, provider.Running},
		{"kill", sandbox.Kill, provider.Stopped},
		{"restart", sandbox.Restart, provider.Running},
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		instance, err := sandbox.Instance(ctx)
		if err != nil || instance.State != step.want {
			t.Fatalf("after %s: %+v, %v", step.name, instance, err)
		}
		_, err = sandbox.Health(ctx)
		if (err == nil) != (step.want == provider.Running) {
			t.Errorf("health after %s: %v", step.name, err)
		}
	}
	if err := sandbox.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Pause(ctx); !errors.Is(err, api.CodeSandboxNotFound) {
		t.Errorf("pause after destroy: %v", err)
	}
}

// A sandbox that Start made without more ends with its program, however that ends.
func TestStartedSandboxEndsWithItsProgram(t *testing.T) {
	dir := t.TempDir()
	program := exec.CommandContext(testContext(t), os.Args[0])
	program.Env = append(os.Environ(), starterDir+"="+dir)
	program.Stderr = t.Output()
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	_, err = fmt.Fscanln(out, &id)
	program.Process.Kill()
	program.Wait()
	if err != nil {
		t.Fatal(err)
	}
	p := local.New(local.Config{StateDir: dir})
	testkit.Await(t, "the sandbox to be gone", func() bool {
		_, err := p.Get(testContext(t), id)
		return errors.Is(err, api.CodeSandboxNotFound)
	})
}

func TestStartFails(t *testing.T) {
	script := func(body string) sandboxagent.StartOption {
		file := filepath.Join(t.TempDir(), "sandbox-agent")
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
		return sandboxagent.WithLocal(local.Config{StateDir: t.TempDir(), Binary: file})
	}
	_, err := sandboxagent.Start(testContext(t), script("echo no such luck >&2; exit 7"))
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("early exit: %v", err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
	defer cancel()
	_, err = sandboxagent.Start(ctx, script("cat <&4 >/dev/null"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent program: %v", err)
	}
	_, err = sandboxagent.Start(testContext(t), append(localIn(t.TempDir()), sandboxagent.WithSpec(provider.Spec{Workspace: provider.Workspace{Dir: "/nonexistent"}}))...)
	if !errors.Is(err, api.CodeInvalidSpec) || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("bad directory: %v", err)
	}
	_, err = sandboxagent.Start(testContext(t), append(localIn(t.TempDir()), sandboxagent.WithSandbox("nosuchbox"))...)
	if !errors.Is(err, api.CodeSandboxNotFound) {
		t.Errorf("bad id: %v", err)
	}
	t.Setenv("SANDBOX_AGENT_BIN", "/nonexistent/sandbox-agent")
	_, err = sandboxagent.Start(testContext(t), sandboxagent.WithClient(sandboxagent.FromEnv()))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "SANDBOX_AGENT_BIN") {
		t.Errorf("bad variable: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = sandboxagent.Start(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "SANDBOX_AGENT_BIN") {
		t.Errorf("not found: %v", err)
	}
}
