package agents

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func mustInstall(t *testing.T, c *Catalogue, id string, req api.AgentInstallRequest) *api.AgentInstallResult {
	t.Helper()
	result, err := c.Install(t.Context(), id, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestInstall(t *testing.T) {
	m := newMachine(t)
	m.npm("claude-agent-acp", "cp package-lock.json seen.json")
	c := m.catalogue()
	var phases []string
	result, err := c.Install(t.Context(), "claude", api.AgentInstallRequest{}, func(e api.AgentInstallEvent) {
		phases = append(phases, e.Phase+" "+e.Message)
	})
	if err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(m.data, "bin/agent_processes/claude-acp")
	version := "0.101.0"
	want := &api.AgentInstallResult{Artifacts: []api.AgentArtifact{{Kind: "agent_process", Path: launcher, Source: "fallback", Version: &version}}}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Error(diff)
	}
	wantPhases := []string{
		"download npm: @agentclientprotocol/claude-agent-acp@0.101.0",
		"download added 1 package",
		"download got one.tgz",
		"verify starting Claude Code",
		"activate " + launcher,
	}
	if len(phases) == len(wantPhases) {
		slices.Sort(phases[1:3]) // npm says one on standard output and one on standard error
	}
	if diff := cmp.Diff(wantPhases, phases); diff != "" {
		t.Error(diff)
	}
	out, err := exec.Command(launcher).Output()
	if err != nil || string(out) != "help of claude-agent-acp\n" {
		t.Errorf("launcher says %q, %v", out, err)
	}
	rec, ok := c.installed(claude)
	if !ok {
		t.Fatal("not installed")
	}
	locked, err := os.ReadFile(filepath.Join(rec.dir, "seen.json"))
	if err != nil || !strings.Contains(string(locked), `"integrity": "sha512-`) {
		t.Errorf("npm did not get the lock: %v", err)
	}
	info, err := c.Info(t.Context(), "claude", InfoOptions{Config: true})
	if err != nil || !info.Installed || info.Source != api.AgentFromLauncher || info.Version != version || info.Path != rec.program() {
		t.Errorf("info %+v, %v", info, err)
	}

	again := mustInstall(t, c, "claude", api.AgentInstallRequest{})
	if diff := cmp.Diff(&api.AgentInstallResult{AlreadyInstalled: true, Artifacts: []api.AgentArtifact{}}, again); diff != "" {
		t.Error(diff)
	}
	if got := mustInstall(t, c, "claude", api.AgentInstallRequest{Reinstall: true}); got.AlreadyInstalled {
		t.Error("reinstall did nothing")
	}
	if entries, err := os.ReadDir(filepath.Join(m.data, "store/claude")); err != nil || len(entries) != 2 { // and the link to it
		t.Errorf("%d installs are kept, %v", len(entries), err)
	}
	if runs := m.npmRuns(); len(runs) != 2 {
		t.Errorf("npm ran %d times: %q", len(runs), runs)
	}
}

func TestInstallersGetNoCredentialsAndRunNoScripts(t *testing.T) {
	m := newMachine(t)
	m.npm("opencode", `env >env; mkdir -p node_modules/opencode-ai`)
	m.env = append(m.env, "ANTHROPIC_API_KEY=secret", "OPENAI_API_KEY=secret", "NPM_TOKEN=secret", "SANDBOX_AGENT_TOKEN=secret",
		"AWS_SECRET_ACCESS_KEY=secret", "GITHUB_TOKEN=secret", "HTTPS_PROXY=http://proxy.test", "npm_config_registry=https://mirror.test")
	c := m.catalogue()
	for _, request := range []struct {
		req  api.AgentInstallRequest
		want string
	}{
		{api.AgentInstallRequest{}, " --ignore-scripts=true"},
		{api.AgentInstallRequest{Reinstall: true, AgentProcessVersion: "1.2.3"}, " --ignore-scripts=true opencode-ai@1.2.3"},
	} {
		mustInstall(t, c, "opencode", request.req)
		runs := m.npmRuns()
		if last := runs[len(runs)-1]; !strings.HasSuffix(last, request.want) {
			t.Errorf("npm %s, want %s", last, request.want)
		}
		rec, _ := c.installed(opencode)
		env, err := os.ReadFile(filepath.Join(rec.dir, "env"))
		if err != nil || strings.Contains(string(env), "secret") {
			t.Errorf("npm got %s, %v", env, err)
		}
		for _, want := range []string{"HTTPS_PROXY=http://proxy.test", "npm_config_registry=https://mirror.test"} {
			if !strings.Contains(string(env), want) {
				t.Errorf("npm did not get %s", want)
			}
		}
	}
}

func TestProgramOfThisMachineNeedsNoScript(t *testing.T) {
	m := newMachine(t)
	programs := platformPackages("opencode", "", "-baseline", "-musl")
	bring := func(pkg, body string) string {
		program := filepath.Join("node_modules", pkg, "bin", "opencode")
		return fmt.Sprintf("mkdir -p %s; printf '#!/bin/sh\n%s\n' >%s; chmod 755 %s\n", filepath.Dir(program), body, program, program)
	}
	// The first is for a processor that this is not.
	m.npm("opencode", bring(programs[0], "kill -ILL $$")+bring(programs[1], "echo baseline")+bring(programs[2], "echo musl"))
	c := m.catalogue()
	mustInstall(t, c, "opencode", api.AgentInstallRequest{})
	out, err := exec.Command(c.launcher(opencode)).Output()
	if err != nil || string(out) != "baseline\n" {
		t.Errorf("the launcher starts %q, %v", out, err)
	}
}

func TestVersionsAreChecked(t *testing.T) {
	m := newMachine(t)
	m.npm("claude-agent-acp", `mkdir -p node_modules/.bin; printf '#!/bin/sh\necho "$CLAUDE_CODE_EXECUTABLE"' >node_modules/.bin/claude; chmod 755 node_modules/.bin/claude`)
	c := m.catalogue()
	result := mustInstall(t, c, "claude", api.AgentInstallRequest{AgentProcessVersion: "0.99.1", AgentVersion: "2.1.330"})
	runs := m.npmRuns()
	if len(runs) != 1 || !strings.HasSuffix(runs[0], " @agentclientprotocol/claude-agent-acp@0.99.1 @anthropic-ai/claude-code@2.1.330") {
		t.Errorf("npm got %q", runs)
	}
	if len(result.Artifacts) != 2 || result.Artifacts[1].Kind != "native_agent" || *result.Artifacts[1].Version != "2.1.330" {
		t.Errorf("got %+v", result.Artifacts)
	}
	launcher := m.storeLauncher("claude")
	if !strings.Contains(launcher, `export CLAUDE_CODE_EXECUTABLE="$here"/'node_modules/.bin/claude'`) || !strings.HasSuffix(result.Artifacts[1].Path, "/node_modules/.bin/claude") {
		t.Errorf("launcher %s of %+v", launcher, result)
	}
	if !mustInstall(t, c, "claude", api.AgentInstallRequest{AgentProcessVersion: "0.99.1"}).AlreadyInstalled {
		t.Error("the version that is there was installed again")
	}
	if mustInstall(t, c, "claude", api.AgentInstallRequest{AgentProcessVersion: "0.101.0"}).AlreadyInstalled {
		t.Error("another version was not installed")
	}
	for _, bad := range []string{"../../x", "latest", "1.2", "1.2.3 --global", "file:/tmp/x", "1.2.3/..", "https://x.test/a.tgz", "v1.2.3\n"} {
		for _, req := range []api.AgentInstallRequest{{AgentVersion: bad}, {AgentProcessVersion: bad}} {
			if _, err := c.Install(t.Context(), "claude", req, nil); !errors.Is(err, api.CodeInvalidVersion) {
				t.Errorf("%q: got %v", bad, err)
			}
		}
	}
	if _, err := c.Install(t.Context(), "nope", api.AgentInstallRequest{}, nil); !errors.Is(err, api.CodeUnsupportedAgent) {
		t.Errorf("got %v", err)
	}
}

// A failure says which source and what to do, and leaves what was there.
func TestFailuresSayWhy(t *testing.T) {
	for name, test := range map[string]struct {
		command string
		npm     string
		words   []string
	}{
		"unreachable": {"claude-agent-acp", "echo npm error code EAI_AGAIN >&2; echo npm error request to https://registry.test/x failed >&2; exit 1",
			[]string{"claude-agent-acp@0.101.0", "cannot be reached", "npm config set registry", "https://registry.test/x"}},
		"missing":  {"claude-agent-acp", "echo npm error code E404 >&2; exit 1", []string{"does not have it"}},
		"checksum": {"claude-agent-acp", "echo npm error code EINTEGRITY >&2; exit 1", []string{"checksum"}},
		"bin":      {"something-else", "mkdir -p node_modules/@agentclientprotocol/claude-agent-acp; echo '{}' >node_modules/@agentclientprotocol/claude-agent-acp/package.json", []string{"brings no program claude-agent-acp"}},
		"broken":   {"claude-agent-acp", `mkdir -p node_modules/.bin; printf '#!/bin/sh\necho no such library >&2; exit 9' >node_modules/.bin/claude-agent-acp; chmod 755 node_modules/.bin/claude-agent-acp; exit 0`, []string{"does not start", "exit code 9", "no such library"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			old := m.launcherFile("claude", "#!/bin/sh\necho old\n")
			m.npm(test.command, test.npm)
			c := m.catalogue()
			_, err := c.Install(t.Context(), "claude", api.AgentInstallRequest{Reinstall: true}, nil)
			var problem *api.Error
			if !errors.As(err, &problem) || !errors.Is(err, api.CodeInstallFailed) || problem.Agent != "claude" {
				t.Fatalf("got %#v", err)
			}
			stderr, _ := problem.Details["stderr"].(string)
			for _, word := range test.words {
				if !strings.Contains(stderr, word) {
					t.Errorf("reason lacks %q: %s", word, stderr)
				}
			}
			if data, err := os.ReadFile(old); err != nil || !strings.Contains(string(data), "echo old") {
				t.Errorf("the old launcher is %q, %v", data, err)
			}
			if entries, err := os.ReadDir(filepath.Join(m.data, "store/claude")); err != nil || len(entries) != 0 {
				t.Errorf("%v is left over, %v", entries, err)
			}
		})
	}
	m := newMachine(t)
	_, err := m.catalogue().Install(t.Context(), "claude", api.AgentInstallRequest{}, nil)
	if err == nil || !strings.Contains(err.Error(), "npm is needed") {
		t.Errorf("without npm: %v", err)
	}
	_, err = m.catalogue().Launch(t.Context(), "claude")
	if !errors.Is(err, api.CodeInstallFailed) {
		t.Errorf("launch without npm: %v", err)
	}
}

// The program is killed in the middle of an install: it does not count, and the
// next one cleans up.
func TestHalfAnInstallDoesNotCount(t *testing.T) {
	m := newMachine(t)
	reached := filepath.Join(m.home, "reached")
	m.npm("claude-agent-acp", `mkdir -p node_modules/.bin; printf '#!/bin/sh\n' >node_modules/.bin/claude-agent-acp; chmod 755 node_modules/.bin/*; if [ ! -e `+reached+` ]; then touch `+reached+`; sleep 600; fi`)
	victim := exec.Command(os.Args[0], "-test.run=^TestInstallVictim$")
	victim.Env = append(os.Environ(), "INSTALL_VICTIM_DATA="+m.data, "INSTALL_VICTIM_PATH="+m.bin)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "npm to run", func() bool { _, err := os.Stat(reached); return err == nil })
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()

	c := m.catalogue()
	if info, err := c.Info(t.Context(), "claude", InfoOptions{}); err != nil || info.Installed {
		t.Errorf("a half install counts: %+v, %v", info, err)
	}
	mustInstall(t, c, "claude", api.AgentInstallRequest{})
	if info, err := c.Info(t.Context(), "claude", InfoOptions{}); err != nil || !info.Installed {
		t.Errorf("the second install does not count: %+v, %v", info, err)
	}
	if entries, err := os.ReadDir(filepath.Join(m.data, "store/claude")); err != nil || len(entries) != 2 { // and the link to it
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestInstallVictim is the program that TestHalfAnInstallDoesNotCount kills; by itself it
// has nothing to install.
func TestInstallVictim(t *testing.T) {
	data := os.Getenv("INSTALL_VICTIM_DATA")
	if data == "" {
		return
	}
	c := New(Config{DataDir: data, Env: []string{"PATH=" + os.Getenv("INSTALL_VICTIM_PATH")}})
	_, err := c.Install(context.Background(), "claude", api.AgentInstallRequest{}, nil)
	t.Fatalf("the install ended: %v", err)
}

// A caller that goes away ends npm and all it started.
func TestInstallCancelled(t *testing.T) {
	m := newMachine(t)
	pid := filepath.Join(m.home, "pid")
	m.npm("claude-agent-acp", "sleep 600 & echo $! >"+pid+".new; mv "+pid+".new "+pid+"; wait")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		testkit.Await(t, "npm to run", func() bool { _, err := os.Stat(pid); return err == nil })
		cancel()
	}()
	_, err := m.catalogue().Install(ctx, "claude", api.AgentInstallRequest{}, nil)
	if !errors.Is(err, api.CodeInstallFailed) || !strings.Contains(err.Error(), "npm was stopped") {
		t.Errorf("got %v", err)
	}
	data, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "the child of npm to end", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(data)))
		return os.IsNotExist(err)
	})
}

// Two installs at once, of two catalogues as in two programs: one runs, the
// other waits and finds it done.
func TestOneInstallAtATime(t *testing.T) {
	m := newMachine(t)
	waiting := filepath.Join(m.home, "waiting")
	m.npm("claude-agent-acp", "while [ ! -e "+waiting+" ]; do sleep 0.01; done")
	var mu sync.Mutex
	already, waited := 0, 0
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			result, err := m.catalogue().Install(t.Context(), "claude", api.AgentInstallRequest{}, func(e api.AgentInstallEvent) {
				if e.Phase == "wait" {
					mu.Lock()
					waited++
					mu.Unlock()
					if err := os.WriteFile(waiting, nil, 0o644); err != nil {
						t.Error(err)
					}
				}
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if result.AlreadyInstalled {
				already++
			}
		})
	}
	wg.Wait()
	if runs := m.npmRuns(); len(runs) != 1 || already != 1 || waited != 1 {
		t.Errorf("npm ran %d times, %d waited, %d found it done", len(runs), waited, already)
	}
}

// bringNode is what an npm does that installs Node.js where it is asked to.
const bringNode = `case "$PWD" in */node/*)
	for d in linux-x64 linux-arm64 darwin-x64 darwin-arm64; do mkdir -p node_modules/node-$d/bin; printf '#!/bin/sh\necho v24.9.0\n' >node_modules/node-$d/bin/node; chmod 755 node_modules/node-$d/bin/node; done;; esac`

// A Node.js that is too old for an agent gets a newer one alongside it, which the
// launcher puts in front of PATH.
func TestInstallNode(t *testing.T) {
	m := newMachine(t)
	m.program("node", "echo v20.20.2")
	m.npm("pi-acp", `printf '#!/bin/sh\n' >pi; `+bringNode+`
	mkdir -p node_modules/.bin; printf '#!/bin/sh\necho pi' >node_modules/.bin/pi; chmod 755 node_modules/.bin/pi`)
	c := m.catalogue()
	result := mustInstall(t, c, "pi", api.AgentInstallRequest{})
	if len(result.Artifacts) != 2 || *result.Artifacts[1].Version != "0.87.1" {
		t.Errorf("got %+v", result.Artifacts)
	}
	if launcher := m.storeLauncher("pi"); !strings.Contains(launcher, filepath.Join("../../node", nodeVersion, "node_modules")) {
		t.Errorf("launcher %s", launcher)
	}
	home := filepath.Join(m.data, "store", "node", nodeVersion)
	for dir := home; dir != m.data; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s has mode %v, %v: other users cannot run the agent", dir, info.Mode(), err)
		}
	}
	if err := os.Chmod(home, 0o700); err != nil { // as earlier versions made it
		t.Fatal(err)
	}
	mustInstall(t, c, "pi", api.AgentInstallRequest{Reinstall: true})
	if info, err := os.Stat(home); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%s has mode %v, %v after the agent was installed again", home, info.Mode(), err)
	}
	if runs := m.npmRuns(); len(runs) != 3 {
		t.Errorf("npm ran %d times, not for node, pi and pi: %q", len(runs), runs)
	}

	// A Node.js that cannot be used is not replaced by another one of PATH in
	// silence.
	if err := os.Rename(home, home+".gone"); err != nil {
		t.Fatal(err)
	}
	for _, check := range c.Doctor(t.Context()) {
		if check.Agent == "pi" && (check.Status != api.CheckBroken || !strings.Contains(check.Stderr, "cannot be used by this user")) {
			t.Errorf("doctor says %+v", check)
		}
	}
}

func TestInstallFromRegistry(t *testing.T) {
	const document = `{"version":"1.0.0","agents":[
	  {"id":"claude-acp","version":"9.8.7","distribution":{"npx":{"package":"@x/other-acp@9.8.7","args":["--acp","it's"],"env":{"K":"a'b"}}}},
	  {"id":"gemini","version":"1.0.0","distribution":{"npx":{"package":"/tmp/evil"}}},
	  {"id":"codex-acp","version":"1.0.0","distribution":{"binary":{}}}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, document) }))
	defer server.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	m := newMachine(t)
	file := m.write(filepath.Join(m.home, "registry.json"), document, 0o644)
	for name, test := range map[string]struct{ registry, id, command, pkg, warning string }{
		"http":        {server.URL, "claude", "other-acp", "@x/other-acp@9.8.7", ""},
		"file":        {file, "claude", "other-acp", "@x/other-acp@9.8.7", ""},
		"file url":    {"file://" + file, "claude", "other-acp", "@x/other-acp@9.8.7", ""},
		"unreachable": {gone.URL, "claude", "claude-agent-acp", "", "refused"},
		"no file":     {file + ".none", "claude", "claude-agent-acp", "", "no such file"},
		"no entry":    {file, "kilo", "kilo", "", "has no entry"},
		"not npm":     {file, "codex", "codex-acp", "", "has no npm package"},
		"evil":        {file, "gemini", "gemini", "", "is not a name and a version"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.npm(test.command, `mkdir -p node_modules/@x/other-acp; echo '{"bin":{"other-acp":"x.js"}}' >node_modules/@x/other-acp/package.json`)
			var said []string
			c := m.catalogue(func(c *Config) { c.Registry = test.registry })
			result, err := c.Install(t.Context(), test.id, api.AgentInstallRequest{}, func(e api.AgentInstallEvent) { said = append(said, e.Message) })
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(said, "\n")
			if test.warning != "" {
				if result.Artifacts[0].Source != api.ArtifactFromFallback || !strings.Contains(all, test.warning) || !strings.Contains(all, test.registry) {
					t.Errorf("%+v, said %s", result, all)
				}
				return
			}
			if result.Artifacts[0].Source != api.ArtifactFromRegistry || *result.Artifacts[0].Version != "9.8.7" || !strings.HasSuffix(m.npmRuns()[0], " "+test.pkg) {
				t.Errorf("%+v, npm %q", result, m.npmRuns())
			}
			launcher := m.storeLauncher("claude")
			if !strings.Contains(launcher, `export K='a'\''b'`) || !strings.Contains(launcher, ` '--acp' 'it'\''s' "$@"`) {
				t.Errorf("launcher %s", launcher)
			}
		})
	}
}

func TestInstallMock(t *testing.T) {
	m := newMachine(t)
	self := m.program(`se"lf $x`, `echo "$@"`)
	c := m.catalogue(func(c *Config) { c.SelfExe = self })
	result := mustInstall(t, c, "mock", api.AgentInstallRequest{})
	if result.AlreadyInstalled || result.Artifacts[0].Source != "builtin" || *result.Artifacts[0].Version != "builtin" {
		t.Errorf("got %+v", result)
	}
	out, err := exec.Command(result.Artifacts[0].Path, "more").Output()
	if err != nil || string(out) != "mock more\n" {
		t.Errorf("launcher says %q, %v", out, err)
	}
	if !mustInstall(t, c, "mock", api.AgentInstallRequest{}).AlreadyInstalled {
		t.Error("installed twice")
	}
}

func TestUninstall(t *testing.T) {
	m := newMachine(t)
	m.npm("claude-agent-acp", "")
	c := m.catalogue()
	mustInstall(t, c, "claude", api.AgentInstallRequest{})
	if err := c.Uninstall(t.Context(), "claude"); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Info(t.Context(), "claude", InfoOptions{Config: true}); err != nil || info.Installed || info.Version != "" {
		t.Errorf("still there: %+v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(m.data, "store/claude")); !os.IsNotExist(err) {
		t.Errorf("files are left: %v", err)
	}
	if err := c.Uninstall(t.Context(), "claude"); err != nil {
		t.Errorf("got %v", err)
	}
	m.program("claude-agent-acp", "true")
	if err := c.Uninstall(t.Context(), "claude"); !errors.Is(err, api.CodeNotInstalledHere) {
		t.Errorf("got %v", err)
	}
	if err := c.Uninstall(t.Context(), "mock"); !errors.Is(err, api.CodeNotInstalledHere) {
		t.Errorf("got %v", err)
	}
}

func FuzzParsePackage(f *testing.F) {
	for _, s := range []string{"a@1.2.3", "@s/n@1.0.0-rc.1", "a", "../x@1.2.3", "a@file:x", "@@1.0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		p, err := parsePackage(spec, "1.0.0")
		if err == nil && (strings.ContainsAny(p.Name+p.Version, ": \\\n\x00") || strings.HasPrefix(p.Name, "/") || strings.HasPrefix(p.Name, ".") || strings.HasPrefix(p.Name, "-")) {
			t.Errorf("%q is taken as %q", spec, p.Name+"@"+p.Version)
		}
	})
}

func FuzzRegistry(f *testing.F) {
	f.Add([]byte(`{"agents":[{"id":"x","distribution":{"npx":{"package":"a@1.2.3"}}}]}`))
	f.Add([]byte(`{"agents":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entry, err := parseRegistry(data, "x")
		if err == nil && (entry.ID != "x" || entry.Distribution.NPX == nil) {
			t.Errorf("got %+v", entry)
		}
	})
}
