package agents

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Whoever adds an agent says how it asks.
func TestEveryAgentSaysHowItAsks(t *testing.T) {
	unmeasured := []string{"amp", "cursor"} // their programs or accounts are not to be had
	for _, a := range All() {
		asking := a.asking()
		switch {
		case slices.Contains(unmeasured, a.ID):
			if asking.How != api.AsksUnknown {
				t.Errorf("%s was not measured, and asks by %s", a.ID, asking.How)
			}
		case asking.How == api.AsksUnknown:
			t.Errorf("%s does not say how it asks", a.ID)
		case asking.How == api.AsksNever && (asking.Mode != "" || a.AskEnv != nil):
			t.Errorf("%s cannot ask, and has means to", a.ID)
		case asking.How != api.AsksNever && asking.Mode == "":
			t.Errorf("%s has no mode in which it asks", a.ID)
		case (asking.How == api.AsksByEnvironment) && a.AskEnv == nil, (a.AskEnv != nil || a.AskFiles != nil) != (len(asking.Variables) > 0):
			t.Errorf("%s: its variables are %v", a.ID, asking.Variables)
		}
		if asking.How == api.AsksNever && a.Capabilities.Permissions {
			t.Errorf("%s cannot ask, and claims to", a.ID)
		}
		for _, file := range a.AskFiles {
			if !slices.Contains(asking.Variables, file.variable) {
				t.Errorf("%s sets %s, and does not say so", a.ID, file.variable)
			}
		}
		if a.AskEnv == nil {
			continue
		}
		for name := range a.AskEnv(nil) {
			if !slices.Contains(asking.Variables, name) {
				t.Errorf("%s sets %s, and does not say so", a.ID, name)
			}
		}
	}
}

func TestAskEnv(t *testing.T) {
	m := newMachine(t)
	for _, test := range []struct {
		name, agent   string
		here, session map[string]string
		want          map[string]string
	}{
		{"nothing is set", "opencode", nil, nil, map[string]string{
			"OPENCODE_PERMISSION":     `{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}`,
			"OPENCODE_CONFIG_CONTENT": `{"agent":{"build":{"permission":{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}},"explore":{"permission":{"bash*":"deny","edit*":"deny"}}}}`,
		}},
		{"a relative", "kilo", nil, nil, map[string]string{
			"KILO_PERMISSION":     `{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}`,
			"KILO_CONFIG_CONTENT": `{"agent":{"code":{"permission":{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}},"explore":{"permission":{"bash*":"deny","edit*":"deny"}}}}`,
		}},
		{"the server has a permission", "opencode", map[string]string{"OPENCODE_PERMISSION": `{"edit":"allow","webfetch":"deny"}`}, nil, map[string]string{
			"OPENCODE_PERMISSION":     `{"bash*":"ask","edit":"allow","edit*":"ask","task*":{"*":"deny","explore":"allow"},"webfetch":"deny"}`,
			"OPENCODE_CONFIG_CONTENT": `{"agent":{"build":{"permission":{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}},"explore":{"permission":{"bash*":"deny","edit*":"deny"}}}}`,
		}},
		{"a configuration with a decision for the agent", "opencode", nil, map[string]string{"OPENCODE_CONFIG_CONTENT": `{"agent":{"build":{"permission":"allow"},"x":1},"model":"m"}`}, map[string]string{
			"OPENCODE_PERMISSION":     `{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}`,
			"OPENCODE_CONFIG_CONTENT": `{"agent":{"build":{"permission":{"*":"allow","bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}},"explore":{"permission":{"bash*":"deny","edit*":"deny"}},"x":1},"model":"m"}`,
		}},
		{"a configuration that is not JSON", "opencode", map[string]string{"OPENCODE_CONFIG_CONTENT": `{ // mine`, "OPENCODE_PERMISSION": "null"}, nil, map[string]string{
			"OPENCODE_PERMISSION": `{"bash*":"ask","edit*":"ask","task*":{"*":"deny","explore":"allow"}}`,
		}},
		{"the session says otherwise", "opencode", nil, map[string]string{"OPENCODE_PERMISSION": `{"edit":"allow"}`}, nil},
		{"everything is allowed by the environment", "copilot", map[string]string{"COPILOT_ALLOW_ALL": "true"}, nil, map[string]string{"COPILOT_ALLOW_ALL": "false"}},
		{"it needs none", "claude", nil, nil, nil},
		{"it is not known", "other", nil, nil, nil},
	} {
		c := m.catalogue(func(cfg *Config) {
			for key, value := range test.here {
				cfg.Env = append(cfg.Env, key+"="+value)
			}
		})
		got, err := c.AskEnv(test.agent, "/w", test.session, false)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", test.name, err, diff)
		}
	}
}

func TestAskParams(t *testing.T) {
	c := newMachine(t).catalogue()
	const given = `{"cwd":"/w","mcpServers":[]}`
	got, err := c.AskParams("claude", json.RawMessage(given))
	want := `{"_meta":{"claudeCode":{"options":{"settings":{"permissions":{"ask":["Bash","Edit","Write","NotebookEdit"]}}}}},"cwd":"/w","mcpServers":[]}`
	if err != nil || string(got) != want {
		t.Errorf("claude is opened with %s, %v", got, err)
	}
	for _, id := range []string{"codex", "other"} {
		if got, err := c.AskParams(id, json.RawMessage(given)); err != nil || string(got) != given {
			t.Errorf("%s is opened with %s, %v", id, got, err)
		}
	}
	if _, err := c.AskParams("claude", json.RawMessage(`[]`)); err == nil {
		t.Error("parameters that are no object are taken")
	}
}

// The calls are those that the agents send, in the versions that are pinned.
func TestNormalize(t *testing.T) {
	const edited = `{"file_path":"/w/src/a.txt"}`
	for _, test := range []struct {
		name, agent, call string
		input             string   // what is judged
		paths             []string // likewise
	}{
		{"command", "claude", `{"kind":"execute","title":"touch a","rawInput":{"command":"touch a","description":"Touch /etc/a"},"locations":[{"path":"/w/a"}]}`, `{"command":"touch a"}`, []string{"/w/a"}},
		{"edit", "claude", `{"kind":"edit","title":"Write src/a.txt","rawInput":{"file_path":"/w/src/a.txt","content":"/etc/passwd\n"},"content":[{"type":"diff","path":"/w/src/a.txt","oldText":null,"newText":"x"}],"locations":[{"path":"/w/src/a.txt"}]}`, edited, []string{"/w/src/a.txt"}},
		{"edit whose diff is of another file", "claude", `{"kind":"edit","rawInput":{"file_path":"/w/src/a.txt"},"content":[{"type":"diff","path":"/etc/passwd","oldText":null,"newText":"x"}]}`, `{"file_path":"/w/src/a.txt"}`, nil},
		{"list of arguments", "claude", `{"kind":"execute","rawInput":{"command":"bash","args":["-c","rm a"]}}`, `{"command":"bash","args":["-c","rm a"]}`, nil},
		{"input that is no object", "claude", `{"kind":"execute","rawInput":["rm"]}`, `["rm"]`, nil},

		{"shell of bash", "codex", `{"kind":"execute","title":"touch a","rawInput":{"call_id":"1","command":["/bin/bash","-lc","touch a"],"cwd":"/w","parsed_cmd":[{"type":"unknown","cmd":"touch b"}],"proposed_execpolicy_amendment":["touch","a"],"available_decisions":["approved",{"approved_execpolicy_amendment":{}},"abort"]}}`, `{"command":"touch a"}`, nil},
		{"shell within the line", "codex", `{"kind":"execute","rawInput":{"command":["/bin/sh","-c","bash -lc 'rm a'"]}}`, `{"command":"bash -lc 'rm a'"}`, nil},
		{"another directory", "codex", `{"kind":"execute","rawInput":{"command":["/bin/bash","-lc","rm a"],"cwd":"/it's"}}`, `{"command":"cd '/it'\\''s' && rm a"}`, nil},
		{"shell of another grammar", "codex", `{"kind":"execute","rawInput":{"command":["/bin/zsh","-lc","rm a"],"cwd":"/w"}}`, `{"command":"'/bin/zsh' '-lc' 'rm a'"}`, nil},
		{"no shell", "codex", `{"kind":"execute","rawInput":{"command":["git","commit","-m","it's; rm a"]}}`, `{"command":"'git' 'commit' '-m' 'it'\\''s; rm a'"}`, nil},
		{"two more words after the line", "codex", `{"kind":"execute","rawInput":{"command":["bash","-c","\"$0\"","rm","a"]}}`, `{"command":"'bash' '-c' '\"$0\"' 'rm' 'a'"}`, nil},
		{"patch", "codex", `{"kind":"edit","rawInput":{"changes":{"/w/a":{"add":{}}}},"locations":[{"path":"/w/a"}]}`, `{"changes":{"/w/a":{"add":{}}}}`, []string{"/w/a"}},
		{"a command called an edit", "codex", `{"kind":"edit","rawInput":{"command":["bash","-lc","rm a"]}}`, `{"command":"rm a"}`, nil},

		{"command", "gemini", `{"kind":"execute","title":"touch a; ls","content":[{"type":"content","content":{"type":"text","text":"[current working directory /home]"}}],"locations":[]}`, `{"command":"touch a; ls"}`, []string{}},
		{"command elsewhere", "gemini", `{"kind":"execute","title":"rm a","content":[{"type":"content","content":{"type":"text","text":"[in sub] (remove it)"}}]}`, `{"command":"cd 'sub' && rm a"}`, nil},
		{"command elsewhere, and the model takes pains", "gemini", `{"kind":"execute","title":"rm a","content":[{"type":"content","content":{"type":"text","text":"[in /w] x]"}}]}`, `{"command":"cd '/w] x' && rm a"}`, nil},
		{"edit", "gemini", `{"kind":"edit","title":"Writing to src/a.txt","content":[{"type":"diff","path":"/w/src/a.txt","oldText":"","newText":"x"}],"locations":[{"path":"/w/src/a.txt"}]}`, ``, []string{"/w/src/a.txt"}},

		{"command", "qwen", `{"kind":"execute","title":"touch a","rawInput":{"command":"touch a","is_background":false}}`, `{"command":"touch a"}`, nil},
		{"command elsewhere", "qwen", `{"kind":"execute","rawInput":{"command":"touch a","directory":"/etc"}}`, `{"command":"cd '/etc' && touch a"}`, nil},

		{"command", "opencode", `{"kind":"execute","title":"touch a","locations":[],"rawInput":{"command":"touch a"}}`, `{"command":"touch a"}`, []string{}},
		{"edit", "opencode", `{"kind":"edit","title":"/w/src/a.txt","locations":[{"path":"/w/src/a.txt"}],"rawInput":{"filepath":"/w/src/a.txt","diff":"--- /w/src/a.txt\n+++ /w/src/a.txt\n"},"content":[{"type":"diff","path":"/w/src/a.txt","oldText":"","newText":"x"}]}`, edited, []string{"/w/src/a.txt"}},
		{"edit of several files", "opencode", `{"kind":"edit","locations":[{"path":"/w/a"},{"path":"/etc/b"}],"rawInput":{"filepath":"a, ../etc/b","diff":"d"}}`, `{"filepath":"a, ../etc/b","diff":"d"}`, []string{"/w/a", "/etc/b"}},
		{"outside", "opencode", `{"kind":"other","title":"/etc","locations":[{"path":"/etc/x"},{"path":"/etc"}],"rawInput":{"filepath":"/etc/x","parentDir":"/etc"}}`, `{"filepath":"/etc/x","parentDir":"/etc"}`, []string{"/etc/x", "/etc"}},

		{"command", "copilot", `{"kind":"execute","title":"Run touch a","rawInput":{"command":"touch a","commands":["touch a"]}}`, `{"command":"touch a"}`, nil},
		{"edit", "copilot", `{"kind":"edit","title":"Create file","rawInput":{"fileName":"/w/src/a.txt","diff":"\ndiff --git a/w/src/a.txt b/w/src/a.txt\n"}}`, edited, []string{"/w/src/a.txt"}},

		{"command", "droid", "{\"kind\":\"execute\",\"title\":\"`touch a` (low)\",\"rawInput\":{\"command\":\"touch a\",\"riskLevel\":\"low\",\"riskLevelReason\":\"it / is\",\"summary\":\"Run\"}}", `{"command":"touch a"}`, nil},
		{"edit", "droid", `{"kind":"edit","title":"Create src/a.txt","rawInput":{"content":"x","file_path":"src/a.txt"},"locations":[{"path":"src/a.txt"}]}`, `{"file_path":"src/a.txt"}`, []string{"src/a.txt"}},

		{"anything", "other", `{"kind":"execute","title":"t","rawInput":{"command":["bash","-lc","x"]}}`, `{"command":["bash","-lc","x"]}`, nil},
	} {
		t.Run(test.agent+" "+test.name, func(t *testing.T) {
			var call acp.ToolCall
			if err := json.Unmarshal([]byte(test.call), &call); err != nil {
				t.Fatal(err)
			}
			got := New(Config{}).Normalize(test.agent, "/w", call)
			if input := strings.ReplaceAll(string(got.RawInput), `\u0026`, "&"); input != test.input {
				t.Errorf("input %s, want %s", got.RawInput, test.input)
			}
			var paths []string
			if got.Locations != nil {
				paths = []string{}
			}
			for _, l := range got.Locations {
				paths = append(paths, l.Path)
			}
			if diff := cmp.Diff(test.paths, paths); diff != "" {
				t.Error(diff)
			}
			if len(got.Content) != len(call.Content) {
				t.Error("what the call shows is gone")
			}
		})
	}
}

// TestSettingsThatAsk reads the private settings of agents that ask by a file.
func TestSettingsThatAsk(t *testing.T) {
	m := newMachine(t)
	machine := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(machine, []byte(`{"permissions":{"ask":["Mine"],"deny":["Bash(rm *)"]},"adminPolicyPaths":["/mine.toml"],"x":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ agent, variable, none, some string }{
		{"qwen", "QWEN_CODE_SYSTEM_SETTINGS_PATH", `^{"permissions":{"ask":\["Bash",.*\]}}$`, `"ask":\["Mine","Bash",.*"deny":\["Bash\(rm \*\)"\].*"x":1`},
	} {
		c := m.catalogue()
		if vars, err := c.AskEnv(test.agent, "/w", nil, false); err != nil || len(vars) > 0 {
			t.Errorf("%s, where its own settings count: %v, %v", test.agent, vars, err)
		}
		for _, given := range []struct {
			env  map[string]string
			want string
		}{{nil, test.none}, {map[string]string{test.variable: machine}, test.some}} {
			c := m.catalogue(func(cfg *Config) {
				for key, value := range given.env {
					cfg.Env = append(cfg.Env, key+"="+value)
				}
			})
			vars, err := c.AskEnv(test.agent, "/w", nil, true)
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.AskEnv(test.agent, "/w", nil, true)
			if err != nil || again[test.variable] != vars[test.variable] {
				t.Errorf("%s: %v after %v, %v", test.agent, again, vars, err)
			}
			data, err := os.ReadFile(vars[test.variable])
			if err != nil || !regexp.MustCompile(given.want).Match(data) {
				t.Errorf("%s: %s, %v", test.agent, data, err)
			}
			if info, err := os.Stat(vars[test.variable]); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v, %v", test.agent, info.Mode(), err)
			}
		}
		if vars, err := c.AskEnv(test.agent, "/w", map[string]string{test.variable: machine}, true); err != nil || len(vars) > 0 {
			t.Errorf("%s, where the session names a file: %v, %v", test.agent, vars, err)
		}
	}
	if err := os.WriteFile(machine, []byte("{ // mine\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := m.catalogue(func(cfg *Config) { cfg.Env = append(cfg.Env, "QWEN_CODE_SYSTEM_SETTINGS_PATH="+machine) })
	if _, err := c.AskEnv("qwen", "/w", nil, true); err == nil || !strings.Contains(err.Error(), machine) {
		t.Errorf("with settings of the machine that are not JSON: %v", err)
	}
}

// TestSettingsThatCannotBeOutranked looks for what makes an agent act unasked.
func TestSettingsThatCannotBeOutranked(t *testing.T) {
	m := newMachine(t)
	home, work := t.TempDir(), t.TempDir()
	c := m.catalogue(func(cfg *Config) { cfg.Env = append(cfg.Env, "HOME="+home) })
	for _, test := range []struct{ file, text, want string }{
		{"", "", ""},
		{filepath.Join(home, ".factory/settings.json"), `{"commandAllowlist":[]}`, ""},
		{filepath.Join(home, ".factory/settings.json"), `{"commandAllowlist":["ls"]}`, "settings.json"},
		{filepath.Join(home, ".factory/settings.local.json"), `{"commandAllowlist":["ls"]}`, "settings.local.json"},
		{filepath.Join(work, ".factory/settings.json"), `{"commandAllowlist":["ls"]}`, work},
		{filepath.Join(work, ".factory/settings.json"), `not JSON`, ""},
	} {
		if test.file != "" {
			if err := os.MkdirAll(filepath.Dir(test.file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(test.file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := c.AskEnv("droid", work, nil, true)
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s in %s: %v", test.text, test.file, err)
		}
		if _, err := c.AskEnv("droid", work, nil, false); err != nil {
			t.Errorf("%s in %s, where its own settings count: %v", test.text, test.file, err)
		}
		if test.file != "" {
			if err := os.Remove(test.file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestArgumentsThatAsk reads the file that an argument names.
func TestArgumentsThatAsk(t *testing.T) {
	c := newMachine(t).catalogue()
	args, err := c.AskArgs("gemini")
	if err != nil || len(args) != 2 || args[0] != "--admin-policy" {
		t.Fatalf("%q, %v", args, err)
	}
	data, err := os.ReadFile(args[1])
	if err != nil || string(data) != geminiPolicy {
		t.Errorf("%s, %v", data, err)
	}
	for _, id := range []string{"claude", "other"} {
		if args, err := c.AskArgs(id); err != nil || len(args) > 0 {
			t.Errorf("%s: %q, %v", id, args, err)
		}
	}
}
