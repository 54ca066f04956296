package session_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestAgentStartsInTheWorkingDirectoryOfItsSession(t *testing.T) {
	r := start(t, "", api.Limits{})
	dir := filepath.Join(r.home, "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := r.create(`{"agent":"moody","cwd":"project"}`)
	if got := r.prompt(s.ID, "pwd").Text; got != dir+"<nil>" {
		t.Errorf("the agent runs in %s, want %s", got, dir)
	}
	home := r.create(`{"agent":"moody"}`)
	if got := r.prompt(home.ID, "pwd").Text; got != r.home+"<nil>" {
		t.Errorf("the agent of a session without a directory runs in %s, want %s", got, r.home)
	}
}

// A session whose working directory was removed says so, and goes on once it is
// there again.
func TestWorkingDirectoryThatWasRemovedIsSaid(t *testing.T) {
	r := start(t, "", api.Limits{})
	dir := filepath.Join(r.home, "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := r.create(`{"agent":"moody","cwd":"project"}`)
	agent, err := os.FindProcess(r.pid(s.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Kill(); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(s.ID, api.SessionStopped)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/prompt", "/restore"} {
		problem := r.problem("POST", "/v1/sessions/"+s.ID+path, promptBody("pwd", ""))
		if problem.Code != api.CodePathNotFound || !strings.Contains(problem.Detail, "its working directory "+dir+" is not there") {
			t.Errorf("%s: %s: %s", path, problem.Code, problem.Detail)
		}
	}
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if problem := r.problem("POST", "/v1/sessions/"+s.ID+"/prompt", promptBody("pwd", "")); problem.Code != api.CodePathNotFound {
		t.Errorf("a file in its place: %s: %s", problem.Code, problem.Detail)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := r.prompt(s.ID, "pwd").Text; got != dir+"<nil>" {
		t.Errorf("the agent runs in %s, want %s", got, dir)
	}
}
