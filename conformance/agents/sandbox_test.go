//go:build conformance

package agents

import (
	"bytes"
	"context"
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

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/bubblewrap"
)

// realKey is the key of the user, which no sandbox has.
const realKey = "sk-real-8c1f0a52d6e94b37"

// TestTaskInSandbox gives each agent a task in a sandbox that reaches models only, with
// the scripted one on the loopback of this machine: the model sees the key of the user,
// and nothing in the sandbox does.
func TestTaskInSandbox(t *testing.T) {
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Fatal(err)
	}
	for _, agent := range []real{{id: "claude"}, {id: "opencode"}, {id: "codex", escalate: true}, {id: "gemini"}} {
		t.Run(agent.id, func(t *testing.T) { taskInSandbox(t, agent) })
	}
}

func taskInSandbox(t *testing.T, agent real) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	model := fakemodel.New(fakemodel.Options{Escalate: agent.escalate})
	var asked, without atomic.Int64
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if key := r.Header.Get("X-Api-Key") + r.Header.Get("X-Goog-Api-Key") + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); key != realKey {
			without.Add(1)
			t.Errorf("%s %s with the key %q", r.Method, r.URL, key)
		}
		model.ServeHTTP(w, r)
	}))
	defer vendor.Close()
	data := filepath.Join(cache, "data")
	if err := agents.New(agents.Config{DataDir: data, Env: os.Environ()}).Share(ctx, agent.id, nil); err != nil {
		t.Fatal(err)
	}
	state, work := directory(t, 0, "state-"), directory(t, 0, "work-")
	makes := bubblewrap.New(bubblewrap.Config{StateDir: state, Binary: binary, Store: filepath.Join(data, "store"), Env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"ANTHROPIC_BASE_URL=" + vendor.URL, "OPENAI_BASE_URL=" + vendor.URL + "/v1", "GOOGLE_GEMINI_BASE_URL=" + vendor.URL,
		"ANTHROPIC_API_KEY=" + realKey, "OPENAI_API_KEY=" + realKey, "GEMINI_API_KEY=" + realKey,
	}})
	sandbox, err := sandboxagent.Start(ctx, sandboxagent.WithProvider(makes), sandboxagent.WithSpec(provider.Spec{
		Agent: agent.id, Network: provider.NetworkModel, Workspace: provider.Workspace{Dir: work},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sandbox.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	session, err := sandbox.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent:        agent.id,
		OnPermission: func(context.Context, api.Permission) (sandboxagent.Reply, error) { return sandboxagent.Once, nil },
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
	written, err := os.ReadFile(filepath.Join(work, "notes.txt"))
	if err != nil || strings.TrimSpace(string(written)) != "hello from "+agent.id {
		t.Errorf("notes.txt is %q, %v", written, err)
	}
	if asked.Load() == 0 || without.Load() > 0 {
		t.Errorf("the model was asked %d times, %d of them without the key", asked.Load(), without.Load())
	}
	seen, err := sandbox.Exec(ctx, "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'")
	if err != nil || !strings.Contains(seen.Stdout, "sk-sandbox-") || strings.Contains(seen.Stdout, realKey) {
		t.Errorf("processes of the sandbox have the key, or no phantom: %v", err)
	}
	for _, dir := range []string{state, work} { // the journal and the home of the agent are below the first
		if err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(name)
			if bytes.Contains(content, []byte(realKey)) {
				t.Errorf("%s has the key", name)
			}
			return err
		}); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}
