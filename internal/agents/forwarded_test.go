package agents

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

const modelsURL = "http://127.0.0.1:1"

// environment returns the variables in which an agent starts, those of its questions
// included.
func environment(c *Catalogue, id string) map[string]string {
	a, err := c.Agent(id)
	if err != nil {
		panic(err)
	}
	env := make(map[string]string)
	for _, kv := range c.environ(a) {
		key, value, _ := strings.Cut(kv, "=")
		env[key] = value
	}
	asking, err := c.AskEnv(id, "", nil, false)
	if err != nil {
		panic(err)
	}
	maps.Copy(env, asking)
	return env
}

func TestAgentsOfASandboxUseItsForwarder(t *testing.T) {
	for id, prefix := range map[string]string{opencode.ID: "OPENCODE", kilo.ID: "KILO"} {
		name := prefix + "_CONFIG_CONTENT"
		read := func(env ...string) (config struct {
			Provider map[string]struct{ Options map[string]any }
			Disabled []string `json:"disabled_providers"`
			Agent    map[string]any
			Theme    string
		}) {
			t.Helper()
			text := environment(New(Config{Env: env}), id)[name]
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				t.Fatalf("%s: %q: %v", id, text, err)
			}
			return config
		}
		forwarded := read(api.EnvModels + "=" + modelsURL)
		for provider, want := range map[string]string{"anthropic": "/v1", "openai": "/v1", "google": "/v1beta"} {
			if got := forwarded.Provider[provider].Options["baseURL"]; got != modelsURL+want {
				t.Errorf("%s: %s is at %v", id, provider, got)
			}
		}
		if len(forwarded.Disabled) != 1 || len(forwarded.Agent) == 0 {
			t.Errorf("%s: %+v", id, forwarded)
		}
		users := read(api.EnvModels+"="+modelsURL, name+`={"theme":"x","provider":{"openai":{"options":{"baseURL":"http://127.0.0.1:2"}}}}`)
		if users.Theme != "x" || users.Provider["openai"].Options["baseURL"] != "http://127.0.0.1:2" || users.Provider["anthropic"].Options["baseURL"] == nil {
			t.Errorf("%s: what the user configures does not count: %+v", id, users)
		}
		if plain := read(); plain.Provider != nil || plain.Disabled != nil {
			t.Errorf("%s: without a forwarder: %+v", id, plain)
		}
	}
}

func TestArgumentsForTheForwarder(t *testing.T) {
	for name, test := range map[string]struct {
		env      []string
		commands map[string][]string
		want     bool
	}{
		"in a sandbox":          {[]string{api.EnvModels + "=" + modelsURL}, nil, true},
		"elsewhere":             {nil, nil, false},
		"a command of the user": {[]string{api.EnvModels + "=" + modelsURL}, map[string][]string{codex.ID: {"/bin/sh", "-l"}}, false},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, codex.Command), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		catalogue := New(Config{DataDir: t.TempDir(), Env: append(test.env, "PATH="+dir), AgentCommands: test.commands})
		command, err := catalogue.Launch(t.Context(), codex.ID)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(command.Args, func(arg string) bool { return strings.Contains(arg, modelsURL+"/v1") })
		if got != test.want {
			t.Errorf("%s: arguments %q", name, command.Args)
		}
	}
}
