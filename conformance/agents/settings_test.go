//go:build conformance

package agents

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

// heard returns all that a model was told, as JSON.
func heard(t *testing.T, model *fakemodel.Server) string {
	t.Helper()
	data, err := json.Marshal(model.Requests())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestSettingsReachTheAgent configures an MCP server and a skill for a folder.
// Claude, started there, offers the server's tool to the model, calls it, and
// hands the secret word on; and the skill is where Claude looks for skills.
func TestSettingsReachTheAgent(t *testing.T) {
	const word = "quetzalcoatl"
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	lookup, err := build(t.TempDir(), "conformance/agents/mcpserver")
	if err != nil {
		t.Fatal(err)
	}
	model := fakemodel.New(fakemodel.Options{Script: []fakemodel.Turn{
		{Calls: []fakemodel.Call{{Name: "mcp__secrets__lookup", Input: json.RawMessage(`{}`)}}},
		{Text: "I have looked it up."},
	}})
	vendor := httptest.NewServer(model)
	defer vendor.Close()
	// Claude hides the tools of MCP servers behind a search otherwise.
	sandbox := startServer(ctx, t, real{id: "claude", env: []string{"ENABLE_TOOL_SEARCH=false"}}, vendor.URL)

	work, skills := t.TempDir(), t.TempDir()
	skill := "---\nname: bird-watching\ndescription: How to tell a pelican from a heron.\n---\nLook at the beak.\n"
	if err := os.MkdirAll(filepath.Join(skills, "bird-watching"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(skills, "bird-watching", "SKILL.md"), []byte(skill), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.SetMCPServer(ctx, work, "secrets", api.MCPServer{Type: "local", Command: api.MCPCommand{lookup}, Args: []string{"-word", word}}); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.SetSkill(ctx, work, "birds", api.SkillsConfig{Sources: []api.SkillSource{{Type: "local", Source: skills}}}); err != nil {
		t.Fatal(err)
	}

	session, err := sandbox.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "claude", CWD: work, Mode: "default", OnPermission: sandboxagent.AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("look up the secret word")); err != nil {
		t.Fatal(err)
	}
	told := heard(t, model)
	if !strings.Contains(told, word) {
		t.Errorf("the model never saw the answer of the MCP server: %s", told)
	}
	if !strings.Contains(told, "bird-watching") {
		t.Error("the model was not told of the skill")
	}
	installed, err := os.ReadFile(filepath.Join(work, ".claude", "skills", "bird-watching", "SKILL.md"))
	if err != nil || string(installed) != skill {
		t.Errorf("the skill is %q, %v", installed, err)
	}
}
