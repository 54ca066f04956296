package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// standInNPM puts an npm on a PATH of its own that installs a program named like
// the adapter of claude, or fails if the file broken is beside it.
func standInNPM(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"node": "echo v24.9.0",
		"npm": `if [ -e ` + dir + `/broken ]; then echo npm error code EAI_AGAIN >&2; exit 1; fi
echo npm http fetch GET 200 https://registry.test/x >&2
mkdir -p node_modules/.bin
printf '#!/bin/sh\necho help' >node_modules/.bin/claude-agent-acp
chmod 755 node_modules/.bin/claude-agent-acp`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAgents(t *testing.T) {
	bin := standInNPM(t)
	in := start(t, app.Config{Env: []string{"PATH=" + bin + ":/usr/bin:/bin", "OPENAI_API_KEY=k", "ANTHROPIC_API_KEY="}})
	var list api.AgentList
	if err := json.Unmarshal([]byte(in.check(t, scenario{path: "/v1/agents", status: 200, not: []string{`"configOptions"`, `"version"`, `"path"`, `"serverStatus"`, "null"}})), &list); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range list.Agents {
		ids = append(ids, a.ID)
	}
	if got := strings.Join(ids, " "); !strings.HasPrefix(got, "claude codex opencode amp pi cursor mock ") {
		t.Errorf("agents are %s", got)
	}
	in.run(t, []scenario{
		{name: "one", path: "/v1/agents/mock", status: 200, want: []string{`{"id":"mock","installed":true,"credentialsAvailable":true,"capabilities":{"planMode":true,`}, not: []string{"configOptions"}},
		{name: "config", path: "/v1/agents/mock?config=true&no_cache=true", status: 200, want: []string{`"version":"builtin"`, `"id":"model","name":"Model","options":[{"name":"Mock","value":"mock"}`}},
		{name: "credentials", path: "/v1/agents/codex", status: 200, want: []string{`"installed":false,"credentialsAvailable":true`}},
		{name: "empty is no credential", path: "/v1/agents/claude", status: 200, want: []string{`"credentialsAvailable":false`}},
		{name: "list with config", path: "/v1/agents?config=true", status: 200, want: []string{`"configOptions"`}},
		{name: "unknown", path: "/v1/agents/nope", status: 400, want: []string{`"detail":"unsupported agent: nope"`, `"agent":"nope"`, `:unsupported_agent"`}},
		{name: "case counts", path: "/v1/agents/Claude", status: 400},
		{name: "bad bool", path: "/v1/agents?config=maybe", status: 400},
		{name: "install unknown", method: http.MethodPost, path: "/v1/agents/nope/install", status: 400, want: []string{`:unsupported_agent"`}},
		{name: "install no json", method: http.MethodPost, path: "/v1/agents/claude/install", body: "{", status: 400, want: []string{`"invalid_json"`}},
		{name: "install what is no request", method: http.MethodPost, path: "/v1/agents/claude/install", body: `{"reinstall":"x"}`, status: 422, want: []string{`"detail":"invalid request: reinstall: expected bool, not string"`}},
		{name: "install version", method: http.MethodPost, path: "/v1/agents/claude/install", body: `{"agentProcessVersion":"../../x"}`, status: 400, want: []string{`"invalid_version"`}},
		{name: "install without body", method: http.MethodPost, path: "/v1/agents/claude/install", status: 200,
			want: []string{`{"already_installed":false,"artifacts":[{"kind":"agent_process","path":"`, `/bin/agent_processes/claude-acp","source":"fallback","version":"0.101.0"}]}`}},
		{name: "installed", path: "/v1/agents/claude?config=true", status: 200, want: []string{`"installed":true`, `"version":"0.101.0"`}},
		{name: "install again", method: http.MethodPost, path: "/v1/agents/claude/install", body: `{"agentVersion":null}`, status: 200, want: []string{`{"already_installed":true,"artifacts":[]}`}},
		{name: "install as a stream", method: http.MethodPost, path: "/v1/agents/claude/install", body: `{"reinstall":true}`, header: map[string]string{"Accept": "text/event-stream"}, status: 200,
			want: []string{"event: progress\ndata: {\"agent\":\"claude\",\"phase\":\"download\"", "event: result\ndata: {\"already_installed\":false"}},
		{name: "uninstall", method: http.MethodDelete, path: "/v1/agents/claude/install", status: 204},
		{name: "uninstall again", method: http.MethodDelete, path: "/v1/agents/claude/install", status: 204},
		{name: "uninstall unknown", method: http.MethodDelete, path: "/v1/agents/nope/install", status: 400},
		{name: "uninstall what is not ours", method: http.MethodDelete, path: "/v1/agents/mock/install", status: 409, want: []string{`"not_installed_here"`}},
	})
	if err := os.WriteFile(filepath.Join(bin, "broken"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	in.run(t, []scenario{
		{name: "install fails", method: http.MethodPost, path: "/v1/agents/claude/install", body: "{}", status: 500,
			want: []string{`"type":"urn:sandbox-agent:error:install_failed"`, `"agent":"claude"`, `"stderr":"npm could not install @agentclientprotocol/claude-agent-acp@0.101.0: the npm registry cannot be reached`}},
		{name: "install fails as a stream", method: http.MethodPost, path: "/v1/agents/claude/install", header: map[string]string{"Accept": "text/event-stream"}, status: 200,
			want: []string{"event: error\ndata: {\"type\":\"urn:sandbox-agent:error:install_failed\""}},
		{name: "install on first use fails", method: http.MethodPost, path: "/v1/acp/s?agent=claude", header: jsonHeader, body: `{"id":0,"method":"initialize"}`, status: 500,
			want: []string{`"type":"urn:sandbox-agent:error:install_failed"`, `"agent":"claude"`}},
		{name: "and leaves no connection", path: "/v1/acp", status: 200, want: []string{`{"servers":[]}`}},
	})
}

// The status of an agent follows its connections.
func TestAgentServerStatus(t *testing.T) {
	in := start(t, app.Config{})
	in.check(t, scenario{method: http.MethodPost, path: "/v1/acp/a?agent=mock", header: map[string]string{"Content-Type": "application/json"},
		body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`, status: 200})
	in.check(t, scenario{path: "/v1/agents/mock", status: 200, want: []string{`"serverStatus":{"status":"running","uptimeMs":`}})
	in.check(t, scenario{method: http.MethodDelete, path: "/v1/acp/a", status: 204})
	in.check(t, scenario{path: "/v1/agents/mock", status: 200, not: []string{"serverStatus"}})
}
