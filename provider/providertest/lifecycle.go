package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

func (s *suite) testReach(t *testing.T) {
	i := s.create(t, provider.Spec{Name: "reach"})
	for token, want := range map[string]int{string(i.Token): http.StatusOK, "wrong": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		if got := call(t, i, token, http.MethodGet, "/v1/health", nil, nil); got != want {
			t.Errorf("with token %q: status %d", token, got)
		}
	}
	if got := fmt.Sprintf("%v %+v", i.Token, i); strings.Contains(got, string(i.Token)) {
		t.Error("the token is printed")
	}
	seen := s.sh(t, i.ID, "cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'")
	if strings.Contains(seen, string(i.Token)) {
		t.Error("the token can be read in the sandbox")
	}
}

func (s *suite) testExec(t *testing.T) {
	i := s.create(t, provider.Spec{})
	if got := s.sh(t, i.ID, "pwd"); got != i.WorkDir {
		t.Errorf("working directory is %s, want %s", got, i.WorkDir)
	}
	s.sh(t, i.ID, `test -w . && test -w "$HOME" && test -w /tmp`)
	result := Shell(t, s.p, i.ID, "echo out; echo err >&2; exit 7")
	if *result.ExitCode != 7 || result.Stdout != "out\n" || result.Stderr != "err\n" {
		t.Errorf("got %+v", result)
	}
	var session struct{ ID, CWD string }
	if status := call(t, i, string(i.Token), http.MethodPost, "/v1/sessions", map[string]any{"agent": "mock"}, &session); status/100 != 2 || session.CWD != i.WorkDir {
		t.Errorf("a session works in %q: status %d", session.CWD, status)
	}
	s.tellUsers(t, i, session.ID)
	process := map[string]any{"command": "sh", "args": []string{"-c", "pwd >where.new; mv where.new where"}}
	if status := call(t, i, string(i.Token), http.MethodPost, "/v1/processes", process, nil); status/100 != 2 {
		t.Errorf("start process: status %d", status)
	}
	if got := s.sh(t, i.ID, "while ! test -e where; do sleep 0.01; done; cat where"); got != i.WorkDir {
		t.Errorf("a process works in %q", got)
	}
	marker := newMarker()
	s.sh(t, i.ID, "setsid sleep "+marker+" >/dev/null 2>&1 &")
	Wait(t, "what exec left running runs", func() bool { return len(processes(marker)) > 0 })
	if err := s.p.Destroy(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	if left := processes(marker); len(left) > 0 {
		t.Errorf("destroy left %v", left)
	}
}

// hello is a prompt.
var hello = map[string]any{"prompt": []map[string]string{{"type": "text", "text": "hello"}}}

// tellUsers prints who the creator, the server, an agent, and a command are, on the
// host and inside. It has the server start an agent.
func (s *suite) tellUsers(t *testing.T, i *provider.Instance, session string) {
	t.Helper()
	if status := call(t, i, string(i.Token), http.MethodPost, "/v1/sessions/"+session+"/prompt", hello, nil); status/100 != 2 {
		t.Fatalf("prompt: status %d", status)
	}
	st := s.status(t, i.ID)
	server, agent := userOf(t, st.Server.PID), -1
	for _, pid := range below(st.ShimPID) {
		if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasSuffix(string(cmdline), "\x00mock\x00") {
			agent = userOf(t, pid)
		}
	}
	t.Logf("creator: user %d; server on the host: user %d; agent on the host: user %d; command in the sandbox: %s",
		os.Geteuid(), server, agent, s.sh(t, i.ID, "id"))
	if agent != server {
		t.Errorf("the agent is user %d, and the server user %d", agent, server)
	}
	if i.Capabilities.Isolation != "none" && (server == 0 || agent == 0) {
		t.Error("a sandbox runs as root of the host")
	}
}

func userOf(t *testing.T, pid int) int {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// below returns the descendants of a process.
func below(root int) (pids []int) {
	parents := make(map[int][]int)
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(name, "stat"))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(name))
		parent, _ := strconv.Atoi(fields[1])
		parents[parent] = append(parents[parent], pid)
	}
	for next := []int{root}; len(next) > 0; next = next[1:] {
		pids = append(pids, parents[next[0]]...)
		next = append(next, parents[next[0]]...)
	}
	return pids
}

// newMarker is a number of seconds that no other process sleeps.
func newMarker() string { return fmt.Sprintf("9%d", time.Now().UnixNano()%1e15) }

func (s *suite) testBootstrap(t *testing.T) {
	i := s.create(t, provider.Spec{
		Files: []provider.File{
			{Path: "deep/er/run.sh", Content: []byte("#!/bin/sh\necho \"$GREETING from $PWD\" | tee told\n")},
			{Path: "secret", Mode: 0o600, Content: []byte("s\x00\xff")},
			{Path: "~/.config/demo", Content: []byte("home")},
		},
		Env:       map[string]string{"GREETING": "hello, \"world\" $HOME"},
		Bootstrap: []provider.Command{{Args: []string{"deep/er/run.sh"}}, {Args: []string{"cat", "told"}}},
	})
	want := `hello, "world" $HOME from ` + i.WorkDir + "\n"
	if len(i.Bootstrap) != 2 || i.Bootstrap[0].Stdout != want || i.Bootstrap[1].Stdout != want {
		t.Errorf("bootstrap: %+v", i.Bootstrap)
	}
	if got := s.sh(t, i.ID, `stat -c '%a' deep/er/run.sh secret ~/.config/demo; wc -c <secret; cat ~/.config/demo`); got != "755\n600\n644\n3\nhome" {
		t.Errorf("files: %q", got)
	}
	if s.get(t, i.ID).Capabilities.Isolation == "none" {
		s.sh(t, i.ID, "rm ~/.config/demo") // it is the home directory of the test
	}
}

func (s *suite) testBootstrapFails(t *testing.T) {
	marker := newMarker()
	_, err := s.p.Create(Context(t), provider.Spec{Labels: map[string]string{"case": "half"}, Bootstrap: []provider.Command{
		{Args: []string{"sh", "-c", "setsid sleep " + marker + " & echo so far; echo no such luck >&2; exit 3"}},
	}})
	if !errors.Is(err, api.CodeBootstrapFailed) || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("got %v", err)
	}
	for i := range s.p.List(Context(t), map[string]string{"case": "half"}) {
		t.Errorf("%s is left", i.ID)
	}
	if left := processes(marker); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	ctx, cancel := context.WithTimeout(Context(t), 500*time.Millisecond)
	defer cancel()
	_, err = s.p.Create(ctx, provider.Spec{Bootstrap: []provider.Command{{Args: []string{"sleep", marker}}}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a creation that takes too long: %v", err)
	}
	if left := processes(marker); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	s.nothingUnlisted(t)
}

// nothingUnlisted checks that there is no directory without a sandbox.
func (s *suite) nothingUnlisted(t *testing.T) {
	t.Helper()
	listed := 0
	for _, err := range s.p.List(Context(t), nil) {
		if err != nil {
			t.Error(err)
		}
		listed++
	}
	entries, err := os.ReadDir(filepath.Join(s.state, "sandboxes"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != listed {
		t.Errorf("%d sandboxes are listed, and there are %v", listed, entries)
	}
}

func (s *suite) testRefusals(t *testing.T) {
	caps := s.create(t, provider.Spec{}).Capabilities
	for name, test := range map[string]struct {
		spec provider.Spec
		want api.Code
	}{
		"copy of nothing": {provider.Spec{Workspace: provider.Workspace{Mode: provider.WorkspaceCopy, Dir: "/nonexistent/directory"}}, api.CodeInvalidSpec},
		"no such mode":    {provider.Spec{Workspace: provider.Workspace{Mode: "move"}}, api.CodeInvalidSpec},
		"relative":        {provider.Spec{Workspace: provider.Workspace{Dir: "tmp"}}, api.CodeInvalidSpec},
		"missing":         {provider.Spec{Workspace: provider.Workspace{Dir: "/nonexistent/directory"}}, api.CodeInvalidSpec},
		"network":         {provider.Spec{Network: "everything"}, api.CodeUnsupportedSpec},
		"image":           {provider.Spec{Image: "debian"}, api.CodeUnsupportedSpec},
		"disk":            {provider.Spec{Resources: provider.Resources{Disk: 1 << 30}}, api.CodeUnsupportedSpec},
		"little memory":   {provider.Spec{Resources: provider.Resources{Memory: 1}}, api.CodeInvalidSpec},
		"variable":        {provider.Spec{Env: map[string]string{"A B": "c"}}, api.CodeInvalidSpec},
		"token":           {provider.Spec{Env: map[string]string{"SANDBOX_AGENT_TOKEN": "x"}}, api.CodeInvalidSpec},
		"file above":      {provider.Spec{Files: []provider.File{{Path: "a/../../b"}}}, api.CodeInvalidSpec},
		"file twice":      {provider.Spec{Files: []provider.File{{Path: "a"}, {Path: "./a"}}}, api.CodeInvalidSpec},
		"set-id file":     {provider.Spec{Files: []provider.File{{Path: "a", Mode: 0o755 | os.ModeSetuid}}}, api.CodeInvalidSpec},
		"name":            {provider.Spec{Name: "../x"}, api.CodeInvalidSpec},
		"label":           {provider.Spec{Labels: map[string]string{"": "x"}}, api.CodeInvalidSpec},
		"empty command":   {provider.Spec{Bootstrap: []provider.Command{{}}}, api.CodeInvalidSpec},
		"negative limit":  {provider.Spec{Resources: provider.Resources{PIDs: -1}}, api.CodeInvalidSpec},
	} {
		if _, err := s.p.Create(Context(t), test.spec); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	for limit, resources := range map[string]provider.Resources{"memory": {Memory: 1 << 30}, "cpus": {CPUs: 1}, "pids": {PIDs: 500}} {
		if slices.Contains(caps.Limits, limit) {
			continue
		}
		if _, err := s.p.Create(Context(t), provider.Spec{Resources: resources}); !errors.Is(err, api.CodeUnsupportedSpec) {
			t.Errorf("limit of %s, which this host does not have: %v", limit, err)
		}
	}
	for _, err := range []error{
		s.p.Destroy(Context(t), "nosuchbox"), s.p.Pause(Context(t), "../../etc"), s.p.Restart(Context(t), "nosuchbox"), s.p.Kill(Context(t), ""),
	} {
		if !errors.Is(err, api.CodeSandboxNotFound) {
			t.Errorf("an id that does not exist: %v", err)
		}
	}
	s.nothingUnlisted(t)
}

func (s *suite) testBind(t *testing.T) {
	work := TempDir(t)
	if err := os.WriteFile(filepath.Join(work, "from-host"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	worktree := TempDir(t) // whose .git is a file
	gitFile := filepath.Join(worktree, ".git")
	if err := os.WriteFile(gitFile, []byte("gitdir: /nonexistent/repository/.git/worktrees/x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	in := s.create(t, provider.Spec{Workspace: provider.Workspace{Dir: worktree}})
	if err := s.p.Destroy(Context(t), in.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(gitFile); err != nil {
		t.Error(err)
	}
	i := s.create(t, provider.Spec{Workspace: provider.Workspace{Dir: work}})
	s.sh(t, i.ID, "cat from-host && echo changed >from-host && mkdir -p d && echo y >d/from-sandbox && chmod 700 d")
	data, err := os.ReadFile(filepath.Join(work, "d", "from-sandbox"))
	if err != nil || string(data) != "y\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := s.p.Destroy(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(work)
	if err != nil || len(entries) != 2 {
		t.Errorf("after destroy the workspace has %v, %v", entries, err)
	}
}

// count starts a process in a session of its own that counts, with a parent that
// has ended.
func (s *suite) count(t *testing.T, id string) (value func() int) {
	t.Helper()
	i := s.get(t, id)
	s.sh(t, id, "(setsid sh -c 'n=0; while :; do n=$((n+1)); echo $n >count.new; mv count.new count; done' >/dev/null 2>&1 &)")
	file := filepath.Join(i.WorkDir, "count")
	if i.Spec.Workspace.Mode == provider.WorkspaceEmpty {
		file = filepath.Join(s.state, "sandboxes", id, "workspace", "count")
	} else if i.Spec.Workspace.Dir != "" {
		file = filepath.Join(i.Spec.Workspace.Dir, "count")
	}
	value = func() int {
		data, _ := os.ReadFile(file)
		n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		return n
	}
	Wait(t, "the counter counts", func() bool { return value() > 0 })
	return value
}

func (s *suite) testPause(t *testing.T) {
	i := s.create(t, provider.Spec{})
	value := s.count(t, i.ID)
	for range 2 { // pausing twice is no error
		if err := s.p.Pause(Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.get(t, i.ID); got.State != provider.Paused {
		t.Errorf("paused sandbox is %s", got.State)
	}
	before, spent := value(), s.processorTime(t, i.ID)
	time.Sleep(200 * time.Millisecond) // something that runs would count thousands
	if after := value(); after != before {
		t.Errorf("counted from %d to %d while paused", before, after)
	}
	if after := s.processorTime(t, i.ID); after != spent || spent == 0 {
		t.Errorf("used processor time from %d to %d ticks while paused", spent, after)
	}
	if _, err := s.p.Exec(Context(t), i.ID, api.ProcessRunRequest{Command: "true"}); !errors.Is(err, api.CodeSandboxPaused) {
		t.Errorf("exec while paused: %v", err)
	}
	for range 2 {
		if err := s.p.Resume(Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
	}
	Wait(t, "the counter goes on", func() bool { return value() > before })
	if err := s.p.Pause(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.p.Destroy(Context(t), i.ID); err != nil {
		t.Errorf("destroy a paused sandbox: %v", err)
	}
	s.nothingLeft(t, i.ID)
}

// processorTime returns what all processes of a sandbox have used, in ticks.
func (s *suite) processorTime(t *testing.T, id string) (ticks int) {
	t.Helper()
	for _, pid := range below(s.status(t, id).ShimPID) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		for _, field := range fields[11:15] { // its own, and that of children that have ended
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
	}
	return ticks
}

// nothingLeft checks that nothing bears the id of a sandbox.
func (s *suite) nothingLeft(t *testing.T, id string) {
	t.Helper()
	if _, err := s.p.Get(Context(t), id); !errors.Is(err, api.CodeSandboxNotFound) {
		t.Errorf("get: %v", err)
	}
	if left := processes(id); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if left := cgroups(id); len(left) > 0 {
		t.Errorf("cgroups %v are left", left)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), id) {
		t.Error("a mount is left")
	}
	if left, _ := filepath.Glob(filepath.Join(s.state, "sandboxes", "*"+id+"*")); len(left) > 0 {
		t.Errorf("files %v are left", left)
	}
}

func (s *suite) testRestart(t *testing.T) {
	i := s.create(t, provider.Spec{})
	var session struct{ ID string }
	if status := call(t, i, string(i.Token), http.MethodPost, "/v1/sessions", map[string]any{"agent": "mock"}, &session); status/100 != 2 || session.ID == "" {
		t.Fatalf("create session: status %d, %+v", status, session)
	}
	if status := call(t, i, string(i.Token), http.MethodPost, "/v1/sessions/"+session.ID+"/prompt", hello, nil); status/100 != 2 {
		t.Fatalf("prompt: status %d", status)
	}
	marker := newMarker()
	s.sh(t, i.ID, "echo kept >file; setsid sleep "+marker+" >/dev/null 2>&1 &")
	Wait(t, "the process runs", func() bool { return len(processes(marker)) > 0 })
	for range 2 { // also one that was restarted
		if err := s.p.Restart(Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
	}
	if left := processes(marker); len(left) > 0 {
		t.Errorf("restart left %v", left)
	}
	i = s.get(t, i.ID)
	if got := s.sh(t, i.ID, "cat file"); got != "kept" {
		t.Errorf("file: %q", got)
	}
	if status := call(t, i, string(i.Token), http.MethodPost, "/v1/sessions/"+session.ID+"/prompt", hello, nil); status/100 != 2 {
		t.Errorf("prompt of a session after restart: status %d", status)
	}
	var info api.Session
	if status := call(t, i, string(i.Token), http.MethodGet, "/v1/sessions/"+session.ID, nil, &info); status != http.StatusOK || info.Restored == nil {
		t.Errorf("session after restart: status %d, %+v", status, info)
	}
}

func (s *suite) testKill(t *testing.T) {
	i := s.create(t, provider.Spec{})
	marker := newMarker()
	s.sh(t, i.ID, "echo kept >file; setsid sleep "+marker+" >/dev/null 2>&1 &")
	for range 2 {
		if err := s.p.Kill(Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
	}
	if left := processes(marker); len(left) > 0 {
		t.Errorf("kill left %v", left)
	}
	got := s.get(t, i.ID)
	if got.State != provider.Stopped {
		t.Errorf("killed sandbox is %s", got.State)
	}
	if _, err := got.Dial(Context(t)); !errors.Is(err, api.CodeSandboxNotRunning) {
		t.Errorf("dial: %v", err)
	}
	if err := s.p.Pause(Context(t), i.ID); !errors.Is(err, api.CodeSandboxNotRunning) {
		t.Errorf("pause: %v", err)
	}
	if err := s.p.Restart(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.sh(t, i.ID, "cat file"); got != "kept" {
		t.Errorf("file: %q", got)
	}
}

func (s *suite) testDestroy(t *testing.T) {
	i := s.create(t, provider.Spec{})
	s.count(t, i.ID)
	s.sh(t, i.ID, "mkdir -p closed/in && touch closed/in/file && chmod 0 closed")
	if err := s.p.Destroy(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	s.nothingLeft(t, i.ID)
	if err := s.p.Destroy(Context(t), i.ID); !errors.Is(err, api.CodeSandboxNotFound) {
		t.Errorf("destroy again: %v", err)
	}
	s.nothingUnlisted(t)
}

func (s *suite) testLabels(t *testing.T) {
	one := s.create(t, provider.Spec{Labels: map[string]string{"team": "a", "tier": "x"}})
	two := s.create(t, provider.Spec{Labels: map[string]string{"team": "a"}})
	for _, test := range []struct {
		labels map[string]string
		want   []string
	}{
		{map[string]string{"team": "a"}, []string{one.ID, two.ID}},
		{map[string]string{"team": "a", "tier": "x"}, []string{one.ID}},
		{map[string]string{"team": "b"}, nil},
		{map[string]string{"tier": ""}, nil},
	} {
		var got []string
		for i, err := range s.p.List(Context(t), test.labels) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, i.ID)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.labels, got, test.want)
		}
	}
}

func (s *suite) testReconnect(t *testing.T) {
	i := s.create(t, provider.Spec{})
	if _, got := s.another(t, "exec "+i.ID); got != "reached" {
		t.Errorf("got %q", got)
	}
}

func (s *suite) testConcurrent(t *testing.T) {
	var running sync.WaitGroup
	for range 6 {
		running.Go(func() {
			i := s.create(t, provider.Spec{})
			var same sync.WaitGroup
			for n := range 4 {
				same.Go(func() {
					for _, err := range []error{s.p.Pause(Context(t), i.ID), s.p.Resume(Context(t), i.ID)} {
						if err != nil {
							t.Errorf("pause and resume at once (%d): %v", n, err)
						}
					}
				})
			}
			same.Wait()
			if err := s.p.Resume(Context(t), i.ID); err != nil {
				t.Error(err)
			}
			result, err := s.p.Exec(Context(t), i.ID, api.ProcessRunRequest{Command: "echo", Args: []string{i.ID}})
			if err != nil || result.Stdout != i.ID+"\n" {
				t.Errorf("%+v, %v", result, err)
			}
			for range 3 {
				same.Go(func() {
					if err := s.p.Destroy(Context(t), i.ID); err != nil && !errors.Is(err, api.CodeSandboxNotFound) {
						t.Errorf("destroy at once: %v", err)
					}
				})
			}
			same.Wait()
			s.nothingLeft(t, i.ID)
		})
	}
	running.Wait()
	s.nothingUnlisted(t)
}

func (s *suite) testTTL(t *testing.T) {
	i, err := s.p.Create(Context(t), provider.Spec{TTL: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.p.Destroy(Context(t), i.ID)
	Wait(t, "the sandbox is paused", func() bool { return s.get(t, i.ID).State == provider.Paused })
	if err := s.p.Resume(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	s.sh(t, i.ID, "true")
}
