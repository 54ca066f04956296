package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

func newSupervisor(t testing.TB, limits Limits) *Supervisor {
	t.Helper()
	s := NewSupervisor(Config{Limits: limits, DefaultDir: t.TempDir(), Env: []string{"PATH=/usr/bin:/bin"}})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // kill at once
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func script(text string) api.ProcessCreateRequest {
	return api.ProcessCreateRequest{Command: "/bin/sh", Args: []string{"-c", text}}
}

func create(t testing.TB, s *Supervisor, req api.ProcessCreateRequest) string {
	t.Helper()
	info, err := s.Create(req, api.OwnerUser)
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

// follow reads a log to its end, or until it holds want.
func follow(t testing.TB, s *Supervisor, id, want string) (text string, gaps int) {
	t.Helper()
	f, err := s.Follow(id, LogQuery{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var b strings.Builder
	for {
		batch, err := f.Next(ctx)
		if err == io.EOF {
			return b.String(), gaps
		}
		if err != nil {
			t.Fatalf("follow %s after %q: %v", id, b.String(), err)
		}
		if batch.Gap != nil {
			gaps++
		}
		for _, e := range batch.Entries {
			b.Write(e.Data)
		}
		if want != "" && strings.Contains(b.String(), want) {
			return b.String(), gaps
		}
	}
}

func code(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func wantCode(t *testing.T, err error, want api.Code, status int) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != want || e.Status != status {
		t.Errorf("error = %v (%s), want %s with status %d", err, code(err), want, status)
	}
}

func ptr[T any](v T) *T { return &v }

func TestCreateLifecycle(t *testing.T) {
	s := newSupervisor(t, Limits{})
	dir := t.TempDir()
	req := script(`read line; echo "$line $VAR $(pwd)"; echo err >&2; exit 3`)
	req.Cwd, req.Env, req.Interactive = &dir, map[string]string{"VAR": "value"}, true
	info, err := s.Create(req, api.OwnerUser)
	if err != nil {
		t.Fatal(err)
	}
	if info.ID != "proc_1" || info.Status != api.ProcessRunning || info.PID == 0 || info.Cwd != dir || !info.Interactive || info.Owner != api.OwnerUser {
		t.Errorf("created %+v", info)
	}
	wantCode(t, s.Delete(info.ID), api.CodeProcessRunning, 409)
	if n, err := s.Input(t.Context(), info.ID, []byte("hello\n")); n != 6 || err != nil {
		t.Errorf("input = %d, %v", n, err)
	}
	text, _ := follow(t, s, info.ID, "")
	for _, want := range []string{"hello value " + dir + "\n", "err\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("log %q lacks %q", text, want)
		}
	}
	info, err = s.Get(info.ID)
	if err != nil || info.Status != api.ProcessExited || info.ExitCode == nil || *info.ExitCode != 3 || info.PID != 0 || info.ExitedAtMs == 0 {
		t.Errorf("ended %+v, %v", info, err)
	}
	_, err = s.Input(t.Context(), info.ID, nil)
	wantCode(t, err, api.CodeProcessNotRunning, 409)
	wantCode(t, s.CloseStdin(t.Context(), info.ID), api.CodeProcessNotRunning, 409)
	if again, err := s.Stop(t.Context(), info.ID, "", 0); err != nil || again.ExitedAtMs != info.ExitedAtMs {
		t.Errorf("stop of an ended process: %+v, %v", again, err)
	}
	if err := s.Delete(info.ID); err != nil {
		t.Error(err)
	}
	_, err = s.Get(info.ID)
	wantCode(t, err, api.CodeProcessNotFound, 404)
	wantCode(t, s.Delete(info.ID), api.CodeProcessNotFound, 404)
	if held := s.logBytes.Load(); held != 0 {
		t.Errorf("logs hold %d bytes after delete", held)
	}
}

// Who sees that a process has ended finds all it wrote.
func TestEndIsToldAfterOutput(t *testing.T) {
	s := newSupervisor(t, Limits{})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for range 25 {
				req := script(`echo last words`)
				req.TTY = i%2 == 0
				info, err := s.Create(req, api.OwnerUser)
				for err == nil && info.Status == api.ProcessRunning {
					info, err = s.Get(info.ID)
				}
				if err != nil {
					t.Error(err)
					return
				}
				logs, err := s.Logs(info.ID, LogQuery{})
				if err != nil || len(logs.Entries) != 1 {
					t.Errorf("ended with %+v, %v", logs, err)
				}
			}
		})
	}
	clients.Wait()
}

func TestCreateRefuses(t *testing.T) {
	s := newSupervisor(t, Limits{Config: api.ProcessConfig{MaxConcurrentProcesses: 1}})
	missing := "/does/not/exist"
	tests := []struct {
		name   string
		req    api.ProcessCreateRequest
		code   api.Code
		status int
	}{
		{"blank command", api.ProcessCreateRequest{Command: " \t"}, api.CodeCommandEmpty, 400},
		{"unknown program", api.ProcessCreateRequest{Command: "no-such-program"}, api.CodeProgramNotFound, 502},
		{"unknown file", api.ProcessCreateRequest{Command: missing, TTY: true}, api.CodeProgramNotFound, 502},
		{"NUL", api.ProcessCreateRequest{Command: "/bin/true", Args: []string{"\x00"}}, api.CodeInvalidRequest, 400},
		{"unknown folder", api.ProcessCreateRequest{Command: "/bin/true", Cwd: &missing}, api.CodePathNotFound, 502},
		{"file as folder", api.ProcessCreateRequest{Command: "/bin/true", Cwd: ptr("/bin/true")}, api.CodeNotADirectory, 502},
		{"no program", api.ProcessCreateRequest{Command: "/dev/null"}, api.CodePermissionDenied, 502},
		{"bad variable", api.ProcessCreateRequest{Command: "/bin/true", Env: map[string]string{"A=B": ""}}, api.CodeInvalidRequest, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Create(tt.req, api.OwnerUser)
			wantCode(t, err, tt.code, tt.status)
		})
	}
	id := create(t, s, script(`sleep 1000`))
	_, err := s.Create(script(`true`), api.OwnerUser)
	wantCode(t, err, api.CodeProcessLimit, 409)
	if _, err := s.Kill(t.Context(), id, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	eventually(t, "place is free", func() bool {
		_, err := s.Create(script(`true`), api.OwnerUser)
		return err == nil
	})
}

func TestRunsAreBounded(t *testing.T) {
	s := newSupervisor(t, Limits{MaxRuns: 1})
	_, err := s.Run(t.Context(), api.ProcessRunRequest{Command: "no-such-program"})
	wantCode(t, err, api.CodeProgramNotFound, 502)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := s.Run(ctx, api.ProcessRunRequest{Command: "sleep", Args: []string{"1000"}})
		ended <- err
	}()
	eventually(t, "it runs", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.runs) == 1 })
	_, err = s.Run(t.Context(), api.ProcessRunRequest{Command: "true"})
	wantCode(t, err, api.CodeProcessLimit, 409)
	if err == nil || err.Error() != "conflict: max concurrent run limit reached (1)" {
		t.Errorf("error = %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.Run(t.Context(), api.ProcessRunRequest{Command: "true"}); err != nil {
		t.Error(err)
	}
}

func TestSignals(t *testing.T) {
	tests := []struct{ signal, want string }{
		{"", "SIGTERM"}, {"SIGINT", "SIGINT"}, {"int", "SIGINT"}, {"1", "SIGHUP"}, {"USR1", "SIGUSR1"}, {"SIGKILL", "SIGKILL"},
	}
	s := newSupervisor(t, Limits{})
	for _, tt := range tests {
		id := create(t, s, api.ProcessCreateRequest{Command: "sleep", Args: []string{"1000"}})
		info, err := s.Stop(t.Context(), id, tt.signal, time.Minute)
		if err != nil || info.Status != api.ProcessExited || info.ExitSignal != tt.want || info.ExitCode != nil {
			t.Errorf("stop with %q: %+v, %v", tt.signal, info, err)
		}
	}
	id := create(t, s, script(`trap '' TERM; echo ready; while :; do sleep 1000; done`))
	follow(t, s, id, "ready")
	info, err := s.Stop(t.Context(), id, "", 10*time.Millisecond)
	if err != nil || info.Status != api.ProcessRunning {
		t.Errorf("stop of a deaf process: %+v, %v", info, err)
	}
	for _, bad := range []string{"SIGNOPE", "0", "-9", "999", "SIG", "15x"} {
		_, err := s.Signal(t.Context(), id, bad, 0)
		wantCode(t, err, api.CodeUnknownSignal, 400)
	}
	_, err = s.Kill(t.Context(), "nope", "", 0)
	wantCode(t, err, api.CodeProcessNotFound, 404)
}

func TestPauseAndResume(t *testing.T) {
	s := newSupervisor(t, Limits{})
	id := create(t, s, api.ProcessCreateRequest{Command: "cat"})
	if _, err := s.Input(t.Context(), id, []byte("one ")); err != nil {
		t.Fatal(err)
	}
	follow(t, s, id, "one ")
	if err := s.roster.Pause(); err != nil {
		t.Fatal(err)
	}
	p, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "process is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.child.PID()))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	_, err = s.Create(script("true"), api.OwnerUser)
	wantCode(t, err, api.CodeSandboxPaused, 409)
	_, err = s.Run(t.Context(), api.ProcessRunRequest{Command: "true"})
	wantCode(t, err, api.CodeSandboxPaused, 409)
	s.roster.Resume()
	if _, err := s.Input(t.Context(), id, []byte("two")); err != nil {
		t.Fatal(err)
	}
	follow(t, s, id, "one two")
}

func TestConfig(t *testing.T) {
	s := newSupervisor(t, Limits{})
	if c := s.Config(); c != DefaultConfig() {
		t.Errorf("config = %+v", c)
	}
	c, err := s.SetConfig(api.ProcessConfigPatch{MaxRunTimeoutMs: ptr(int64(1000)), MaxConcurrentProcesses: ptr(2)})
	if err != nil || c.DefaultRunTimeoutMs != 1000 || c.MaxConcurrentProcesses != 2 || c.MaxOutputBytes != 1<<20 {
		t.Errorf("config = %+v, %v", c, err)
	}
	before := s.Config()
	for text, patch := range map[string]api.ProcessConfigPatch{
		"maxConcurrentProcesses must be greater than 0": {MaxConcurrentProcesses: ptr(0)},
		"timeouts must be greater than 0":               {DefaultRunTimeoutMs: ptr(int64(0))},
		"byte limits must be greater than 0":            {MaxOutputBytes: ptr(int64(-1)), MaxConcurrentProcesses: ptr(9)},
	} {
		_, err := s.SetConfig(patch)
		wantCode(t, err, api.CodeInvalidConfig, 400)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error = %v, want %s", err, text)
		}
	}
	if s.Config() != before {
		t.Error("a refused change changed something")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := NewSupervisor(Config{Limits: Limits{StopGrace: time.Millisecond}})
	id := create(t, s, script(`trap '' TERM HUP; sleep 1000 & echo $!; wait; wait`))
	text, _ := follow(t, s, id, "\n")
	left, err := s.Run(t.Context(), api.ProcessRunRequest{Command: "/bin/sh", Args: []string{"-c", `nohup sleep 1000 >/dev/null 2>&1 & echo $!`}})
	if err != nil {
		t.Fatal(err)
	}
	if pid := pidOf(t, left.Stdout); !alive(pid) {
		t.Error("a process in the background did not outlive its run")
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	for _, pid := range []int{pidOf(t, text), pidOf(t, left.Stdout)} {
		eventually(t, "process is gone", func() bool { return !alive(pid) })
	}
	_, err = s.Create(script(`true`), api.OwnerUser)
	wantCode(t, err, api.CodeShuttingDown, 503)
	_, err = s.Run(t.Context(), api.ProcessRunRequest{Command: "true"})
	wantCode(t, err, api.CodeShuttingDown, 503)
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// zombies counts our children that nobody waited for.
func zombies(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		stat, err := os.ReadFile("/proc/" + name.Name() + "/stat")
		if err == nil && strings.Contains(string(stat), fmt.Sprintf(") Z %d ", os.Getpid())) {
			n++
		}
	}
	return n
}

func TestThousandProcesses(t *testing.T) {
	s := newSupervisor(t, Limits{Config: api.ProcessConfig{MaxConcurrentProcesses: 100}, MaxFinished: 50})
	scripts := []string{`echo hi`, `cat`, `sleep 1000`, `sleep 1000 & wait`, `head -c 100000 /dev/zero`}
	round := func(n int) {
		var work sync.WaitGroup
		places := make(chan struct{}, 100)
		for i := range n {
			places <- struct{}{}
			work.Go(func() {
				defer func() { <-places }()
				req := script(scripts[i%len(scripts)])
				req.TTY = i%7 == 0
				info, err := s.Create(req, api.OwnerUser)
				for code(err) == api.CodeProcessLimit { // its predecessor is gone, but not yet counted out
					runtime.Gosched()
					info, err = s.Create(req, api.OwnerUser)
				}
				if err != nil {
					t.Error(err)
					return
				}
				signal := []string{"KILL", "TERM", "INT"}[rand.IntN(3)]
				wait := time.Duration(rand.IntN(10)) * time.Millisecond
				if _, err := s.Signal(t.Context(), info.ID, signal, wait); err != nil && code(err) != api.CodeProcessNotFound {
					t.Error(err)
				}
				if _, err := s.Kill(t.Context(), info.ID, "", time.Minute); err != nil && code(err) != api.CodeProcessNotFound {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := s.Delete(info.ID); err != nil && code(err) != api.CodeProcessNotFound {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()
	}
	round(10) // makes what exists once: the guard, the poller
	eventually(t, "all are counted out", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.running == 0 })
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	round(1000)
	eventually(t, "all are counted out", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.running == 0 })
	eventually(t, "no zombie", func() bool { return zombies(t) == 0 })
	eventually(t, "no file more than before", func() bool { return openFiles(t) <= files })
	eventually(t, "no goroutine more than before", func() bool { return runtime.NumGoroutine() <= goroutines })
	list, err := s.List("")
	if err != nil || len(list.Processes) > 50 {
		t.Errorf("%d processes are kept, %v", len(list.Processes), err)
	}
}
