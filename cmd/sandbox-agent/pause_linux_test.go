package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// still reports whether all tickers stand still, with what they have started.
func (p *program) still(t *testing.T) bool {
	t.Helper()
	for _, name := range planted {
		ticker := p.pid(t, name)
		all := append(descendants(ticker.PID), ticker)
		for _, one := range all {
			if !one.Still() {
				return false
			}
		}
	}
	return true
}

func (p *program) sandbox(t *testing.T, verb string) (status string) {
	t.Helper()
	var state struct {
		Status     string
		Incomplete bool
	}
	if err := json.Unmarshal([]byte(p.must(t, "POST", "/v1/sandbox/"+verb, struct{}{})), &state); err != nil {
		t.Fatal(err)
	}
	if state.Incomplete {
		t.Errorf("%s was not complete", verb)
	}
	return state.Status
}

func TestPauseStopsEverything(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			p := serve(t, w, dir, probe(t, dir)...)
			p.plant(t)
			p.must(t, "POST", "/v1/sessions", map[string]any{"agent": "mock", "id": "before"})
			// One that a user has stopped stays so.
			p.must(t, "POST", "/v1/processes", map[string]any{"command": "sh", "args": []string{"-c", "echo $$ >" + filepath.Join(dir, "held.pid") + "; kill -STOP $$; sleep 1000"}})
			await(t, "the process to stop itself", func() bool {
				_, err := os.Stat(filepath.Join(dir, "held.pid"))
				return err == nil && p.pid(t, "held").Stopped()
			})
			for range 2 {
				if status := p.sandbox(t, "pause"); status != "paused" {
					t.Fatalf("the sandbox is %s", status)
				}
				if !p.still(t) {
					t.Error("something runs on")
				}
			}
			before := make(map[string]int64)
			for _, name := range planted {
				before[name] = p.ticks(name)
			}
			for _, work := range []struct {
				path string
				body any
			}{
				{"/v1/processes", map[string]any{"command": "true"}},
				{"/v1/processes/run", map[string]any{"command": "true"}},
				{"/v1/sessions", map[string]any{"agent": "mock"}},
				{"/v1/sessions/before/prompt", map[string]any{"prompt": "hello"}},
				{"/v1/acp/a", map[string]any{"jsonrpc": "2.0", "id": 2, "method": "session/new", "params": map[string]any{"cwd": dir, "mcpServers": []any{}}}},
				{"/v1/acp/b?agent=mock", map[string]any{"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": map[string]any{"protocolVersion": 1}}},
			} {
				if status, text := p.call(t, "POST", work.path, work.body); status != 409 || !strings.Contains(text, `"code":"sandbox_paused"`) {
					t.Errorf("%s: %d %s", work.path, status, text)
				}
			}
			for _, name := range planted {
				if now := p.ticks(name); now != before[name] {
					t.Errorf("%s ticked %d times", name, now-before[name])
				}
			}
			if status := p.sandbox(t, "resume"); status != "running" {
				t.Errorf("the sandbox is %s", status)
			}
			for _, name := range planted {
				await(t, "the ticker "+name, func() bool { return p.ticks(name) > before[name] })
			}
			if !p.pid(t, "held").Stopped() {
				t.Error("what a user had stopped was continued")
			}
			if text := p.must(t, "POST", "/v1/sessions/before/prompt", map[string]any{"prompt": "/echo awake"}); !strings.Contains(text, "awake") {
				t.Errorf("after the pause the session says %s", text)
			}
		})
	}
}

func TestSandboxEndsEverything(t *testing.T) {
	for _, w := range worlds() {
		for _, verb := range []string{"restart", "kill", "pause and restart", "pause and kill"} {
			t.Run(w.name+"/"+verb, func(t *testing.T) {
				t.Parallel()
				dir := scratch(t)
				p := serve(t, w, dir, probe(t, dir)...)
				p.plant(t)
				var all []tree.Process
				for _, name := range planted {
					ticker := p.pid(t, name)
					all = append(append(all, descendants(ticker.PID)...), ticker)
				}
				verb, paused := strings.CutPrefix(verb, "pause and ")
				if paused {
					p.sandbox(t, "pause")
				}
				status := p.sandbox(t, verb)
				await(t, "everything to be gone", func() bool { return len(running(all)) == 0 })
				if verb == "kill" {
					<-p.ended
					return
				}
				if status != "running" {
					t.Errorf("the sandbox is %s", status)
				}
				p.must(t, "POST", "/v1/processes/run", map[string]any{"command": "true"})
			})
		}
	}
}

// TestKillOfProcessReachesWhatLeftIt kills processes whose descendants have left their
// session. One that has forked twice belongs to nothing without a control group.
func TestKillOfProcessReachesWhatLeftIt(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			p := serve(t, w, dir)
			lines := map[string]string{"setsid": "setsid sh -c '%s' & wait", "clean": "env -i setsid sh -c '%s' & wait", "left": "setsid -f sh -c '%s'"}
			if grouped(p.server) {
				lines["forked"] = "(setsid sh -c '(setsid sh -c \"%s\" &)' &)"
			} else {
				delete(lines, "left")
			}
			for name, line := range lines {
				var made struct{ ID string }
				script := filepath.Join(dir, name+".sh")
				if err := os.WriteFile(script, []byte(ticker(dir, name)), 0o644); err != nil {
					t.Fatal(err)
				}
				line = fmt.Sprintf(line, "exec sh "+script)
				created := p.must(t, "POST", "/v1/processes", map[string]any{"command": "sh", "args": []string{"-c", line}})
				if err := json.Unmarshal([]byte(created), &made); err != nil {
					t.Fatal(err)
				}
				await(t, "the ticker "+name, func() bool { return p.ticks(name) > 1 })
				found := p.pid(t, name)
				p.must(t, "POST", "/v1/processes/"+made.ID+"/kill", struct{}{})
				await(t, "the ticker "+name+" to be gone", func() bool { return len(running([]tree.Process{found})) == 0 })
			}
		})
	}
}

// grouped reports whether a server has control groups.
func grouped(pid int) bool {
	for _, pattern := range []string{"/sys/fs/cgroup/sandbox-agent-%d", "/sys/fs/cgroup/unified/sandbox-agent-%d", "/sys/fs/cgroup/freezer/sandbox-agent-%d"} {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/root"+pattern, pid, pid)); err == nil {
			return true
		}
	}
	return false
}

func TestKillLeavesNoControlGroups(t *testing.T) {
	for _, victim := range []string{"server", "parent"} {
		t.Run(victim, func(t *testing.T) {
			dir := scratch(t)
			p := serve(t, worlds()[0], dir, probe(t, dir)...)
			p.plant(t)
			had := grouped(p.server)
			if os.Getuid() == 0 && !had {
				t.Error("a server of root has no control groups")
			}
			pid := p.server
			if victim == "parent" {
				pid = p.Process.Pid
			}
			server := p.server
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-p.ended
			await(t, "the control groups to be gone", func() bool {
				for _, dir := range []string{"", "unified/", "freezer/"} {
					if _, err := os.Stat(fmt.Sprintf("/sys/fs/cgroup/%ssandbox-agent-%d", dir, server)); err == nil {
						return false
					}
				}
				return true
			})
		})
	}
}
