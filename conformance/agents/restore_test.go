//go:build conformance

package agents

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

// agentPID returns the process id of the only agent.
func agentPID(ctx context.Context, t *testing.T, sandbox *sandboxagent.Client) int {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, sandbox.BaseURL()+"/v1/acp?all=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list api.ACPServerList
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list.Servers) != 1 || list.Servers[0].PID == 0 {
		t.Fatalf("connections are %+v", list.Servers)
	}
	return list.Servers[0].PID
}

// TestKilledAgentRemembers kills Claude in the middle of a turn of a session that
// the server keeps. With the next prompt the model hears what was said before.
func TestKilledAgentRemembers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	model := fakemodel.New(fakemodel.Options{})
	vendor := httptest.NewServer(model)
	defer vendor.Close()
	sandbox := startServer(ctx, t, real{id: "claude"}, vendor.URL)
	session, err := sandbox.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "claude", CWD: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("my favourite bird is the hoopoe")); err != nil {
		t.Fatal(err)
	}
	before := len(model.Requests())
	ended := make(chan error, 1)
	go func() {
		_, err := session.Prompt(ctx, sandboxagent.Text("fake:delay 60s and then answer"))
		ended <- err
	}()
	for len(model.Requests()) == before {
		select {
		case err := <-ended:
			t.Fatalf("the turn ended before the agent was killed: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := syscall.Kill(agentPID(ctx, t, sandbox), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the turn of a killed agent ended well")
	}

	told := len(model.Requests())
	turn, err := session.Prompt(ctx, sandboxagent.Text("what is my favourite bird"))
	if err != nil {
		t.Fatal(err)
	}
	if turn.StopReason != "end_turn" {
		t.Errorf("the turn ended with %s", turn.StopReason)
	}
	var after strings.Builder
	for _, r := range model.Requests()[told:] {
		for _, m := range r.Messages {
			after.WriteString(m.Text + "\n")
		}
	}
	if !strings.Contains(after.String(), "hoopoe") {
		t.Errorf("the model was not told of what was said before: %s", &after)
	}
	info, err := session.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.Restored == nil {
		t.Error("the session does not say that it was restored")
	}
}
