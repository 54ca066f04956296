package agents

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestOrder(t *testing.T) {
	m := newMachine(t)
	var ids []string
	for _, info := range m.catalogue().List(t.Context(), InfoOptions{}).Agents {
		ids = append(ids, info.ID)
	}
	want := []string{"claude", "codex", "opencode", "amp", "pi", "cursor", "mock", "gemini", "qwen", "copilot", "kilo", "droid"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

// Each agent has a golden file; a new one is made with -update.
func TestInfoGolden(t *testing.T) {
	m := newMachine(t)
	c := m.catalogue()
	for _, a := range All() {
		t.Run(a.ID, func(t *testing.T) {
			info, err := c.Info(t.Context(), a.ID, InfoOptions{Config: true})
			if err != nil {
				t.Fatal(err)
			}
			info.Path = strings.Replace(info.Path, m.data, "$DATA", 1)
			got, err := json.MarshalIndent(info, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", a.ID+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What an agent pins is what its lock holds.
func TestLocks(t *testing.T) {
	known := map[string]bool{"node": true}
	for _, a := range All() {
		if a.Lock == lockNone {
			continue
		}
		known[a.ID] = true
		data, err := fs.ReadFile(locks, path.Join("locks", a.ID, "package-lock.json"))
		if err != nil {
			t.Error(err)
			continue
		}
		var lock struct {
			Packages map[string]struct {
				Version, Integrity string
				Link               bool
			}
		}
		if err := json.Unmarshal(data, &lock); err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Packages {
			if got := lock.Packages["node_modules/"+p.Name].Version; got != p.Version {
				t.Errorf("%s pins %s@%s, its lock has %q", a.ID, p.Name, p.Version, got)
			}
		}
		for name, p := range lock.Packages {
			if name != "" && p.Integrity == "" {
				t.Errorf("%s: %s has no checksum", a.ID, name)
			}
		}
	}
	dirs, err := fs.ReadDir(locks, "locks")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !known[dir.Name()] {
			t.Errorf("lock %s belongs to no agent", dir.Name())
		}
	}
}

func TestLaunchOrder(t *testing.T) {
	m := newMachine(t)
	configured := func(c *Config) {
		c.AgentCommands = map[string][]string{"claude": {"mine", "--flag"}, "mock": {"mine"}, "other": {"mine", "x"}}
	}
	mine := m.program("mine", "true")
	check := func(c *Catalogue, id, path string, args ...string) {
		t.Helper()
		got, err := c.Launch(t.Context(), id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			return
		}
		if got.Path != path || !slices.Equal(got.Args, args) {
			t.Errorf("%s is started by %s %q, not by %s %q", id, got.Path, got.Args, path, args)
		}
		if !slices.Contains(got.Env, "SANDBOX_AGENT_BIN=/opt/sandbox-agent") || !slices.Contains(got.Env, "HOME="+m.home) {
			t.Errorf("%s: environment is %q", id, got.Env)
		}
	}
	plain := m.catalogue()
	check(plain, "mock", "/opt/sandbox-agent", "mock")
	onPath := m.program("claude-agent-acp", "true")
	check(plain, "claude", onPath)
	opencode := m.program("opencode", "true")
	check(plain, "opencode", opencode, "acp")
	own := m.write(filepath.Join(m.data, "bin", "opencode"), "#!/bin/sh\n", 0o755)
	check(plain, "opencode", own, "acp")

	check(m.catalogue(configured), "claude", mine, "--flag")
	check(m.catalogue(configured), "mock", mine)
	check(m.catalogue(configured), "other", mine, "x")

	launcher := m.launcherFile("claude", "#!/bin/sh\n")
	check(m.catalogue(configured), "claude", launcher)
	check(plain, "claude", launcher)
	launcher = m.launcherFile("mock", "#!/bin/sh\n")
	check(plain, "mock", launcher)
}

func TestLaunchProblems(t *testing.T) {
	m := newMachine(t)
	strict := m.catalogue(func(c *Config) {
		c.RequirePreinstall = true
		c.AgentCommands = map[string][]string{"gone": {"gone-program"}, "../x": {"/bin/sh"}}
	})
	m.program("pi-acp", "true")
	m.program("claude", "true")
	m.launcherFile("codex", "")                                                // what a crash left
	m.launcherFile("droid", "#!/bin/sh\n"+launcherMark+"1-x\nexec /nowhere\n") // its install is gone
	m.write(filepath.Join(m.bin, "amp-acp"), "#!/bin/sh\n", 0o644)             // may not be run
	for id, text := range map[string]string{
		"pi":     "not pi, which it needs",
		"claude": "not claude-agent-acp, which speaks ACP for it",
		"codex":  "sandbox-agent agents install codex",
		"droid":  "agents install droid",
		"amp":    "agents install amp",
		"gone":   "gone-program is not a program",
	} {
		_, err := strict.Launch(t.Context(), id)
		var problem *api.Error
		if !errors.As(err, &problem) || !errors.Is(err, api.CodeAgentNotInstalled) || problem.Agent != id || problem.Status != 404 {
			t.Errorf("%s: got %#v", id, err)
			continue
		}
		if !strings.HasPrefix(problem.Detail, "agent not installed: "+id) || !strings.Contains(problem.Detail, text) {
			t.Errorf("%s: detail %q lacks %q", id, problem.Detail, text)
		}
		if info, err := strict.Info(t.Context(), id, InfoOptions{}); err != nil || info.Installed {
			t.Errorf("%s: info %+v, %v", id, info, err)
		}
	}
	for _, id := range []string{"nope", "../x", "Claude", ""} {
		if _, err := strict.Launch(t.Context(), id); !errors.Is(err, api.CodeUnsupportedAgent) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

func TestEnvOfAgent(t *testing.T) {
	m := newMachine(t)
	m.program("copilot", "true")
	got, err := m.catalogue().Launch(t.Context(), "copilot")
	if err != nil || !slices.Contains(got.Env, "COPILOT_AUTO_UPDATE=false") {
		t.Errorf("got %q, %v", got.Env, err)
	}
	m.env = append(m.env, "COPILOT_AUTO_UPDATE=true")
	got, err = m.catalogue().Launch(t.Context(), "copilot")
	if err != nil || slices.Contains(got.Env, "COPILOT_AUTO_UPDATE=false") {
		t.Errorf("the user's value does not win: %q, %v", got.Env, err)
	}
	m.program("claude-agent-acp", "true")
	for value, kept := range map[string]bool{"1": true, "yes": false} {
		m.env = append(m.env, "IS_SANDBOX="+value)
		got, err = m.catalogue().Launch(t.Context(), "claude")
		if err != nil || slices.Contains(got.Env, "IS_SANDBOX="+value) != kept {
			t.Errorf("claude got %q, %v, where IS_SANDBOX is %s", got.Env, err, value)
		}
	}
}

func TestFirstReady(t *testing.T) {
	m := newMachine(t)
	check := func(want string) {
		t.Helper()
		if got := m.catalogue().FirstReady(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check("mock")
	m.program("codex-acp", "true")
	m.program("pi-acp", "true")
	m.program("pi", "true")
	check("mock")
	m.write(filepath.Join(m.home, ".pi/agent/auth.json"), `{"x":{"type":"api_key"}}`, 0o600)
	check("pi")
	m.env = append(m.env, "OPENAI_API_KEY=sk-1")
	check("codex")
	m.program("claude-agent-acp", "true")
	check("codex")
	m.env = append(m.env, "ANTHROPIC_API_KEY=sk-2")
	check("claude")
}

func TestVersion(t *testing.T) {
	m := newMachine(t)
	asks := filepath.Join(m.home, "asks")
	m.program("claude", `echo "$1" >>`+asks+`; echo; echo "9.9.9 (Fake claude)"; echo more`)
	m.program("claude-agent-acp", "true")
	m.program("gemini", `[ "$1" = -V ] && echo 1.2.3 >&2 && exit 0; exit 2`)
	m.program("qwen", "exit 3")
	c := m.catalogue()
	get := func(id string, fresh bool) *api.AgentInfo {
		info, err := c.Info(t.Context(), id, InfoOptions{Config: true, Fresh: fresh})
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if info := get("claude", false); info.Version != "9.9.9" || info.Path != filepath.Join(m.bin, "claude") {
		t.Errorf("claude: %+v", info)
	}
	get("claude", false)
	get("claude", true)
	if data, err := os.ReadFile(asks); err != nil || string(data) != "--version\n--version\n" {
		t.Errorf("asked %q, %v", data, err)
	}
	if info := get("gemini", false); info.Version != "1.2.3" {
		t.Errorf("gemini: %+v", info)
	}
	if info := get("qwen", false); info.Version != "" || !strings.Contains(info.ConfigError, "exit code 3") {
		t.Errorf("qwen: %+v", info)
	}
	c = m.catalogue(func(cfg *Config) { cfg.AgentCommands = map[string][]string{"mine": {"mine", "serve"}} })
	ran := filepath.Join(m.home, "ran")
	path := m.program("mine", ": >"+ran)
	if info := get("mine", false); info.Version != "" || info.Path != path || info.ConfigError != "" {
		t.Errorf("mine: %+v", info)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a configured command was run for something else")
	}
	if info := get("mock", false); info.Version != "builtin" || info.Path != filepath.Join(m.data, "bin", "mock") {
		t.Errorf("mock: %+v", info)
	}
}

// A program that never answers, and leaves a child that holds its output, does
// not hold up the list.
func TestVersionOfSilentProgram(t *testing.T) {
	m := newMachine(t)
	m.program("codex-acp", "PATH=/usr/bin:/bin; sleep 600 & sleep 600")
	info, err := m.catalogue().Info(t.Context(), "codex", InfoOptions{Config: true})
	if err != nil || info.Version != "" || !strings.Contains(info.ConfigError, "no answer within 3s") {
		t.Errorf("got %+v, %v", info, err)
	}
}

func TestOlderThan(t *testing.T) {
	for _, test := range []struct {
		version, floor string
		want           bool
	}{
		{"20.20.2", "22.19", true},
		{"22.18.9", "22.19", true},
		{"22.19.0", "22.19", false},
		{"v24.0.0", "22.19", false},
		{"", "20.0", true},
		{"", "", false},
		{"22", "22.19", true},
		{"x.y", "22.19", true},
	} {
		floor := test.floor
		if got := floor != "" && olderThan(test.version, floor); got != test.want {
			t.Errorf("olderThan(%q, %q) = %v", test.version, test.floor, got)
		}
	}
}

func BenchmarkList(b *testing.B) {
	c := New(Config{DataDir: b.TempDir(), Env: []string{"PATH=/usr/bin:/bin"}, SelfExe: "/opt/sandbox-agent"})
	for b.Loop() {
		c.List(b.Context(), InfoOptions{})
	}
}

func TestDoctor(t *testing.T) {
	m := newMachine(t)
	m.program("claude-agent-acp", "true")
	m.program("codex-acp", "echo cannot find module >&2; exit 7")
	m.program("gemini", "true")
	m.launcherFile("cursor", "#!/bin/sh\n")
	self := m.program("self", `[ "$1 $2" = "mock --help" ]`)
	m.env = append(m.env, "GEMINI_API_KEY=k", "FACTORY_API_KEY=k")
	checks := make(map[string]api.AgentCheck)
	for _, k := range m.catalogue(func(c *Config) { c.SelfExe = self }).Doctor(t.Context()) {
		checks[k.Agent] = k
	}
	for id, want := range map[string]string{
		"claude": api.CheckNoCredentials,
		"codex":  api.CheckBroken,
		"gemini": api.CheckReady,
		"mock":   api.CheckReady,
		"cursor": api.CheckBroken, // its adapter is there, but not what that needs
		"droid":  api.CheckNotInstalled,
	} {
		if k := checks[id]; k.Status != want || k.Detail == "" || want != api.CheckReady && k.Hint == "" {
			t.Errorf("%s: %+v, want %s", id, k, want)
		}
	}
	const found = "; a credential for it was found"
	if with, without := checks["droid"].Detail, checks["qwen"].Detail; !strings.HasSuffix(with, found) || strings.HasSuffix(without, found) {
		t.Errorf("not installed, with and without credentials: %s, %s", with, without)
	}
	if k := checks["codex"]; k.Stderr != "cannot find module" || !strings.Contains(k.Detail, "exit code 7") {
		t.Errorf("codex: %+v", k)
	}
}
