package agents

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// An agent that was installed for sandboxes runs where the store is mounted
// elsewhere, with the Node.js of the store and nothing on PATH.
func TestShare(t *testing.T) {
	m := newMachine(t)
	m.npm("claude-agent-acp", bringNode)
	c := m.catalogue()
	var said []string
	for range 2 { // the second finds it done
		if err := c.Share(t.Context(), "claude", func(e api.AgentInstallEvent) { said = append(said, e.Phase) }); err != nil {
			t.Fatal(err)
		}
	}
	if runs := m.npmRuns(); len(runs) != 2 || !strings.Contains(strings.Join(said, " "), "node") {
		t.Errorf("npm ran %q, said %q", runs, said)
	}
	mounted := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(StoreDir(m.data), mounted); err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Glob(filepath.Join(mounted, "claude", "0*", "node_modules", ".bin", "claude-agent-acp"))
	if err != nil || len(program) != 1 {
		t.Fatal(program, err)
	}
	if err := os.WriteFile(program[0], []byte("#!/bin/sh\ncommand -v node\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	inside := New(Config{DataDir: t.TempDir(), Store: mounted, Env: []string{"PATH=/nonexistent"}})
	cmd, err := inside.Launch(t.Context(), "claude")
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command(cmd.Path, cmd.Args...)
	run.Env = []string{"PATH=/nonexistent"}
	out, err := run.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/node/"+nodeVersion+"/") {
		t.Errorf("node of the agent is %s, %v", out, err)
	}
	info, err := inside.Info(t.Context(), "claude", InfoOptions{Config: true})
	if err != nil || !info.Installed || info.Version != "0.101.0" {
		t.Errorf("info %+v, %v", info, err)
	}
}

func TestCatalogueWithAStoreInstallsNothingByItself(t *testing.T) {
	m := newMachine(t)
	m.npm("codex-acp", "")
	c := m.catalogue(func(c *Config) { c.Store = t.TempDir() })
	_, err := c.Launch(t.Context(), "codex")
	if !errors.Is(err, api.CodeAgentNotInstalled) || !strings.Contains(err.Error(), "on the host") {
		t.Errorf("got %v", err)
	}
	if runs := m.npmRuns(); len(runs) > 0 {
		t.Errorf("npm ran: %q", runs)
	}
}

// What a user runs in place of an agent is not touched when sandboxes get it, and not
// what sandboxes get.
func TestShareKeepsWhatTheUserRuns(t *testing.T) {
	for name, has := range map[string]func(m *machine) string{
		"a launcher of the user": func(m *machine) string { return m.launcherFile("opencode", "#!/bin/sh\necho own\n") },
		"a program on PATH":      func(m *machine) string { return m.program("opencode", "echo own") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.npm("opencode", "mkdir -p node_modules/opencode-ai; "+bringNode)
			own := has(m)
			c := m.catalogue()
			if err := c.Share(t.Context(), "opencode", nil); err != nil {
				t.Fatal(err)
			}
			if f, ok := c.find(opencode); !ok || f.path != own {
				t.Errorf("the user starts %+v", f)
			}
			if data, err := os.ReadFile(own); err != nil || !strings.Contains(string(data), "echo own") {
				t.Errorf("what the user starts is %q, %v", data, err)
			}
			if text := m.storeLauncher("opencode"); strings.Contains(text, "own") {
				t.Errorf("sandboxes see %s", text)
			}
		})
	}
}

func TestShareOfAgentsThatNeedNoInstallOrHaveNone(t *testing.T) {
	m := newMachine(t)
	c := m.catalogue()
	if err := c.Share(t.Context(), "mock", nil); err != nil {
		t.Errorf("an agent that every server has: %v", err)
	}
	if err := c.Share(t.Context(), "nonesuch", nil); !errors.Is(err, api.CodeUnsupportedAgent) {
		t.Errorf("an agent that is unknown: %v", err)
	}
	if err := c.Share(t.Context(), "amp", nil); !errors.Is(err, api.CodeInstallFailed) {
		t.Errorf("an agent that cannot be installed: %v", err)
	}
}
