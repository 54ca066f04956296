//go:build conformance

package agents

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

// A run that is interrupted while its agent asks a failing model again ends with
// 130, whatever the agent makes of it.
func TestInterruptedRetriesEndWith130(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	model := fakemodel.New(fakemodel.Options{})
	vendor := httptest.NewServer(model)
	defer vendor.Close()
	cmd, said := runCommand(ctx, t, real{id: "opencode"}, vendor.URL, "fake:error 429 slow down")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for asked := 0; asked < 2 && ctx.Err() == nil; {
		asked = 0
		for _, r := range model.Requests() {
			if len(r.Tools) > 0 {
				asked++ // more than once is again
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its state says it
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// A run whose model fails for good says why, and ends with an error.
func TestRunSaysWhyItsModelFails(t *testing.T) {
	for _, test := range []struct{ agent, task, want string }{
		{"codex", "fake:error 401 the key has expired", "401"},
		{"qwen", "fake:error 401 the key has expired", "the key has expired"},
		{"codex", "fake:error 400 no such model here", "no such model here"},
	} {
		t.Run(test.agent+" "+test.task, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			vendor := httptest.NewServer(fakemodel.New(fakemodel.Options{}))
			defer vendor.Close()
			cmd, said := runCommand(ctx, t, real{id: test.agent}, vendor.URL, test.task)
			if err := cmd.Run(); err == nil {
				t.Error("it ended well")
			}
			if !strings.Contains(said.String(), test.want) {
				t.Errorf("it said %s", said)
			}
		})
	}
}

// runCommand returns the command that has an agent do a task, with what it will have
// said on both streams.
func runCommand(ctx context.Context, t *testing.T, agent real, url, task string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	data, home, env := prepare(ctx, t, agent, url)
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program(t, agent.uid), "run", "--data-dir", data, "--agent", agent.id, task)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = home, env, &said, &said
	return cmd, &said
}
