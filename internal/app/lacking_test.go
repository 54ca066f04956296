package app

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/session"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// TestWhatAnAgentLacks opens sessions with MCP servers and skills that their agent
// will not have, and with some that it will.
func TestWhatAnAgentLacks(t *testing.T) {
	work, data := t.TempDir(), t.TempDir()
	program := filepath.Join(work, "tools", "server")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "tools", "text"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	env := []string{"PATH=" + filepath.Dir(program)}
	k := knownAgents{
		Catalogue: agents.New(agents.Config{DataDir: data, Env: env}),
		settings:  settings.New(settings.Options{Directory: work, Data: data, Env: env, Log: log}),
		log:       log,
	}
	for _, test := range []struct {
		name, agent, servers string
		skills               string // source in this file system; empty means none
		want                 []string
	}{
		{"a program that is not there", "claude", `{"name":"a","command":"nowhere","args":[],"env":[]}`, "", []string{"mcp a: its program nowhere is not found"}},
		{"a path that is not there", "claude", `{"name":"a","command":"/nowhere/server"}`, "", []string{"mcp a: its program /nowhere/server is not found"}},
		{"a file that is no program", "claude", `{"name":"a","command":"./tools/text"}`, "", []string{"mcp a: its program ./tools/text is not found"}},
		{"programs that are there", "claude", `{"name":"a","command":"server"},{"name":"b","command":"./tools/server"},{"name":"c","command":"` + program + `"}`, "", nil},
		{"one of two", "gemini", `{"name":"a","command":"server"},{"name":"b","command":"nowhere"}`, "", []string{"mcp b: its program"}},
		{"a transport that the agent does not take", "copilot", `{"name":"a","command":"server"},{"name":"b","type":"http","url":"http://127.0.0.1:1/","headers":[]}`, "", []string{"mcp a: it takes MCP servers over HTTP and SSE alone"}},
		{"an agent without MCP servers", "pi", `{"name":"a","command":"server"},{"name":"b","type":"http","url":"http://127.0.0.1:1/"},{"name":"c","type":"sse","url":"http://127.0.0.1:1/"}`, "", []string{"mcp a: it takes no", "mcp b: it takes no", "mcp c: it takes no"}},
		{"skills that are not there", "claude", "", "/nowhere/skills", []string{"skills : skills could not be put"}},
		{"an agent that is not known", "other", `{"name":"a","command":"nowhere"}`, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var own session.Stored
			if test.skills != "" {
				own.Skills, _ = json.Marshal(map[string]api.SkillsConfig{"mine": {Sources: []api.SkillSource{{Type: "local", Source: test.skills}}}})
			}
			params := fmt.Sprintf(`{"cwd":%q,"mcpServers":[%s]}`, work, test.servers)
			_, lacks, err := k.Prepare(t.Context(), test.agent, own, json.RawMessage(params))
			if err != nil {
				t.Fatal(err)
			}
			if len(lacks) != len(test.want) {
				t.Fatalf("it lacks %+v, want %q", lacks, test.want)
			}
			for i, want := range test.want {
				what, why, _ := strings.Cut(want, ": ")
				if got := lacks[i]; got.About+" "+got.Name != what || !strings.Contains(got.Text, why) {
					t.Errorf("it lacks %+v, want %s", got, want)
				}
			}
		})
	}
}
