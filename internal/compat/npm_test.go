package compat_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// keeper is an agent that keeps its sessions for its next process.
func keeper(t *testing.T) map[string][]string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]string{"keeper": {exe, "mock", t.TempDir()}}
}

// The npm client gives up its connection at any refusal: the end of its agent comes as
// the response to a request, and the next request finds the agent again, with the
// session, also after a restart of the server.
func TestNPMClientSurvivesTheEndOfItsAgent(t *testing.T) {
	cfg := app.Config{DataDir: t.TempDir(), Home: t.TempDir(), AgentCommands: keeper(t)}
	c := connection{serve.Start(t, cfg), t, "/v1/acp/sdk"}
	first := c
	first.path += "?agent=keeper"
	first.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1,"clientInfo":{"name":"sandbox-agent-sdk","version":"v1"}}}`, 200)
	opened := c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, c.Home), 200)
	id := decode[struct{ Result struct{ SessionID string } }](t, opened).Result.SessionID
	prompt := func(n int, text string, parts ...string) {
		t.Helper()
		c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":%q}]}}`, n, id, text), 200, parts...)
	}
	prompt(2, "the password is swordfish")
	prompt(3, "/crash 3", `"id":3,"error":{"code":-32603,"message":"agent process exited: keeper"`, `"exitCode":3`)
	c.post(fmt.Sprintf(`{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":%q}}`, id), 202)
	remembers := func(n int) {
		t.Helper()
		prompt(n, "what did I say", `"stopReason":"end_turn"`)
		var all []string
		c.Follow(t, c.path, func(e testkit.Event) bool {
			all = append(all, e.Data)
			return strings.Contains(e.Data, fmt.Sprintf(`"id":%d,`, n))
		}, "Last-Event-ID", "0")
		for _, data := range all {
			if strings.HasPrefix(data, `{"jsonrpc":"2.0","id":"`) {
				t.Errorf("the client got a reply to what the server asked: %s", data)
			}
		}
		if last := fmt.Sprint(all[len(all)-6:]); !strings.Contains(last, "swordfish") {
			t.Errorf("the agent has forgotten: %s", last)
		}
	}
	remembers(4)
	c.Stop()
	c.Server = serve.Start(t, cfg)
	remembers(5)
}

// Another client learns that its agent has ended.
func TestOtherClientsLearnThatTheirAgentHasEnded(t *testing.T) {
	c := connection{serve.Start(t, app.Config{AgentCommands: keeper(t)}), t, "/v1/acp/other"}
	first := c
	first.path += "?agent=keeper"
	first.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1,"clientInfo":{"name":"other","version":"1"}}}`, 200)
	opened := c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, c.Home), 200)
	id := decode[struct{ Result struct{ SessionID string } }](t, opened).Result.SessionID
	for n, text := range []string{"/crash 3", "go on"} {
		c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":%q}]}}`, n+2, id, text), 500, `"code":"agent_process_exited"`)
	}
}
