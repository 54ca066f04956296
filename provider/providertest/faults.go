package providertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

func (s *suite) testCreatorKilled(t *testing.T) {
	creator, id := s.another(t, "create")
	t.Cleanup(func() { s.p.Destroy(Context(t), id) })
	value := s.count(t, id)
	creator.Process.Kill()
	creator.Wait()
	before := value()
	Wait(t, "the counter goes on", func() bool { return value() > before })
	if got := s.get(t, id); got.State != provider.Running {
		t.Errorf("sandbox is %s: %s", got.State, got.Reason)
	}
}

func (s *suite) testCreatorKilledEarly(t *testing.T) {
	marker := newMarker()
	creator, _ := s.another(t, "create-slow "+marker)
	dirs := func() []string {
		all, _ := filepath.Glob(filepath.Join(s.state, "sandboxes", "*", "status.json"))
		return all
	}
	old := len(dirs())
	Wait(t, "the creation is under way", func() bool { return len(dirs()) > old || len(processes(marker)) > 0 })
	creator.Process.Kill()
	creator.Wait()
	Wait(t, "what was created is gone", func() bool {
		if _, err := s.p.Prune(Context(t)); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(s.state, "sandboxes"))
		return err == nil && len(entries) == s.listed(t) && len(processes(marker)) == 0
	})
}

func (s *suite) listed(t *testing.T) (n int) {
	for range s.p.List(Context(t), nil) {
		n++
	}
	return n
}

func (s *suite) testBound(t *testing.T) {
	creator, id := s.another(t, "create-bound")
	s.sh(t, id, "true")
	creator.Process.Kill()
	creator.Wait()
	Wait(t, "the sandbox is gone", func() bool {
		_, err := s.p.Get(Context(t), id)
		return errors.Is(err, api.CodeSandboxNotFound)
	})
	Wait(t, "its shim is gone", func() bool { return len(processes(id)) == 0 })
	s.nothingLeft(t, id)
}

// status is what the suite reads of a directory.
type status struct {
	ShimPID int
	Server  struct{ PID int }
	Cgroups []string
}

func (s *suite) status(t *testing.T, id string) (st status) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.state, "sandboxes", id, "status.json"))
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (s *suite) testShimKilled(t *testing.T) {
	for _, paused := range []bool{false, true} {
		i := s.create(t, provider.Spec{})
		marker := newMarker()
		s.sh(t, i.ID, "echo kept >file; (setsid setsid sleep "+marker+" >/dev/null 2>&1 &)")
		if paused {
			if err := s.p.Pause(Context(t), i.ID); err != nil {
				t.Fatal(err)
			}
		}
		st := s.status(t, i.ID)
		if err := syscall.Kill(st.ShimPID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		Wait(t, "the sandbox has failed", func() bool { return s.get(t, i.ID).State == provider.Failed })
		if got := s.get(t, i.ID); !strings.Contains(got.Reason, fmt.Sprint(st.ShimPID)) || !strings.Contains(got.Reason, "killed") {
			t.Errorf("reason is %q", got.Reason)
		}
		pruned, err := s.p.Prune(Context(t))
		if err != nil || !slices.Contains(pruned.Failed, i.ID) {
			t.Errorf("prune: %+v, %v", pruned, err)
		}
		Wait(t, "what ran in it is gone", func() bool { return len(processes(marker)) == 0 && len(processes(i.ID)) == 0 })
		if left := cgroups(i.ID); len(left) > 0 {
			t.Errorf("cgroups %v are left", left)
		}
		if err := s.p.Restart(Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
		if got := s.sh(t, i.ID, "cat file"); got != "kept" {
			t.Errorf("file after restart: %q", got)
		}
		if got := s.get(t, i.ID); got.Reason != "" {
			t.Errorf("a sandbox that was restarted has the reason %q", got.Reason)
		}
	}
}

func (s *suite) testServerKilled(t *testing.T) {
	for name, kill := range map[string]func(id string) error{
		"from the host": func(id string) error { return syscall.Kill(s.status(t, id).Server.PID, syscall.SIGKILL) },
		"from inside": func(id string) error { // by a command, whose parent it is
			_, err := s.p.Exec(Context(t), id, api.ProcessRunRequest{Command: "sh", Args: []string{"-c", "kill -9 $PPID"}})
			if err == nil {
				return errors.New("the server lives on")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := s.create(t, provider.Spec{})
			marker := newMarker()
			s.sh(t, i.ID, "(setsid setsid sleep "+marker+" >/dev/null 2>&1 &)")
			if err := kill(i.ID); err != nil {
				t.Fatal(err)
			}
			Wait(t, "the sandbox has failed", func() bool { return s.get(t, i.ID).State == provider.Failed })
			if got := s.get(t, i.ID).Reason; !strings.Contains(got, "SIGKILL") && !strings.Contains(got, "exit code 137") {
				t.Errorf("reason is %q", got)
			}
			if left := processes(marker); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
			if err := s.p.Kill(Context(t), i.ID); err != nil {
				t.Errorf("kill what has failed: %v", err)
			}
			Wait(t, "the shim is gone", func() bool { return len(processes(i.ID)) == 0 })
			if left := cgroups(i.ID); len(left) > 0 {
				t.Errorf("cgroups %v are left", left)
			}
		})
	}
}

func (s *suite) testServerEnded(t *testing.T) {
	for _, request := range []struct{ method, path string }{{http.MethodDelete, "/v1/sandbox"}, {http.MethodPost, "/v1/sandbox/kill"}} {
		i := s.create(t, provider.Spec{})
		marker := newMarker()
		s.sh(t, i.ID, "echo kept >file; (setsid setsid sleep "+marker+" >/dev/null 2>&1 &)")
		if status := call(t, i, string(i.Token), request.method, request.path, nil, nil); status != http.StatusOK {
			t.Errorf("%s %s: status %d", request.method, request.path, status)
		}
		Wait(t, "the sandbox has stopped", func() bool { return s.get(t, i.ID).State == provider.Stopped })
		if left := processes(marker); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
		if err := s.p.Restart(Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
		if got := s.sh(t, i.ID, "cat file"); got != "kept" {
			t.Errorf("file after restart: %q", got)
		}
	}
}

func (s *suite) testMemory(t *testing.T) {
	i := s.create(t, provider.Spec{})
	if !slices.Contains(i.Capabilities.Limits, "memory") {
		return // that it is refused is tested above
	}
	i = s.create(t, provider.Spec{Resources: provider.Resources{Memory: 192 << 20}})
	result := Shell(t, s.p, i.ID, "head -c 600m /dev/zero | tail | wc -c")
	if result.Stdout == "629145600\n" {
		t.Error("a process took 600 MB of 192 MiB")
	}
	s.sh(t, i.ID, "true")
}

func (s *suite) testForks(t *testing.T) {
	i := s.create(t, provider.Spec{})
	if !slices.Contains(i.Capabilities.Limits, "pids") {
		return
	}
	i = s.create(t, provider.Spec{Resources: provider.Resources{PIDs: 64}})
	marker := newMarker()
	Shell(t, s.p, i.ID, "n=0; while [ $n -lt 200 ]; do sleep "+marker+" >/dev/null 2>&1 & n=$((n+1)); done")
	if n := len(processes(marker)); n > 64 {
		t.Errorf("%d processes of 64", n)
	}
	if status := call(t, i, string(i.Token), "GET", "/v1/health", nil, nil); status != 200 {
		t.Errorf("status %d with a fork flood", status)
	}
	if err := s.p.Kill(Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	if left := processes(marker); len(left) > 0 {
		t.Errorf("kill left %v", left)
	}
}
