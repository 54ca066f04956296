package compat_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

const (
	byHTTPX    = "python-httpx/0.28.1"
	introduces = `{"jsonrpc":"2.0","id":"1","method":"initialize","params":{"protocolVersion":"2025-03-18","clientInfo":{"name":"sandboxagent-python","version":"0.1.5"}}}`
)

func TestHubOpensWithAVersionThatIsADate(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/default"}
	stream := []string{"Accept", "text/event-stream"}
	c.get(c.path, 404, nil, stream...)
	c.post(`{"jsonrpc":"2.0","id":"1","method":"initialize","params":{"protocolVersion":1}}`, 400, "agent_required")
	c.post(introduces, 200, `"id":"1"`, `"protocolVersion":1`)
	c.get("/v1/acp", 200, []string{`"serverId":"default"`})
	c.post(`{"jsonrpc":"2.0","id":"2","method":"session/create","params":{"agent":"nobody"}}`, 200, `"error"`, "nobody")
	c.post(`{"jsonrpc":"2.0","id":"2","method":"session/create","params":{}}`, 200, `"code":-32602`)
	if status, body := c.Send(t, "DELETE", c.path, ""); status != 204 {
		t.Errorf("DELETE: status %d: %s", status, body)
	}
	c.get(c.path, 404, nil, stream...)
}

func TestHubServesSessionsOfAllAgents(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/default"}
	c.post(introduces, 200)
	opened := c.post(`{"jsonrpc":"2.0","id":"3","method":"session/create","params":{"agent":"mock"}}`, 200, `"sessionId"`, `"modes"`, `"configOptions"`)
	id := decode[struct{ Result api.Session }](t, opened).Result.AgentSessionID
	c.post(`{"jsonrpc":"2.0","id":"4","method":"session/set_mode","params":{"sessionId":"`+id+`","mode":"plan"}}`, 200, `"id":"4","result"`)
	c.post(`{"jsonrpc":"2.0","id":"5","method":"session/set_config_option","params":{"sessionId":"`+id+`","configId":"mode","value":"normal"}}`, 200, `"configOptions"`)
	c.post(`{"jsonrpc":"2.0","id":"6","method":"session/prompt","params":{"sessionId":"`+id+`","prompt":"hello there","streaming":false}}`, 200, `"stopReason":"end_turn"`)
	c.post(`{"jsonrpc":"2.0","id":"7","method":"session/nonsense","params":{}}`, 200, `"code":-32601`)
	c.post(`{"jsonrpc":"2.0","id":"8","method":"session/prompt","params":{"sessionId":"none","prompt":"x"}}`, 200, `"code":-32002`)
	c.Send(t, "DELETE", c.path, "")
	c.post(`{"jsonrpc":"2.0","id":"1","method":"initialize","params":{"protocolVersion":"2025-03-18"}}`, 200)
	c.post(`{"jsonrpc":"2.0","id":"2","method":"session/load","params":{"sessionId":"`+id+`"}}`, 200, `"agentSessionId"`)
	c.post(`{"jsonrpc":"2.0","id":"3","method":"session/prompt","params":{"sessionId":"`+id+`","prompt":"again"}}`, 200, `"stopReason":"end_turn"`)
}

// A permission request comes with an id of the server and with what it asks, in the
// stream of the hub; a word replies to it.
func TestHubPassesPermissionRequestsOn(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/default"}
	c.post(introduces, 200)
	opened := c.post(`{"jsonrpc":"2.0","id":"3","method":"session/create","params":{"agent":"mock"}}`, 200)
	id := decode[struct{ Result api.Session }](t, opened).Result.AgentSessionID
	c.post(`{"jsonrpc":"2.0","id":"4","method":"session/prompt","params":{"sessionId":"`+id+`","prompt":"hello there"}}`, 200)
	done := make(chan string, 1)
	go func() {
		_, body := c.Send(t, "POST", c.path, `{"jsonrpc":"2.0","id":"9","method":"session/prompt","params":{"sessionId":"`+id+`","prompt":"write v.txt with text","attachments":[{"path":"/etc/hosts"}]}}`)
		done <- body
	}()
	said := false
	c.Follow(t, c.path, func(e testkit.Event) bool {
		said = said || strings.Contains(e.Data, "hello there") && strings.Contains(e.Data, "agent_message_chunk")
		frame := decode[struct {
			ID     json.RawMessage
			Method string
		}](t, e.Data)
		if frame.Method != "session/request_permission" {
			return false
		}
		if !said || !strings.Contains(e.Data, `"permission":{`) || !strings.HasPrefix(string(frame.ID), `"perm-`) {
			t.Errorf("the permission request is %s", e.Data)
		}
		c.post(`{"jsonrpc":"2.0","id":`+string(frame.ID)+`,"result":{"outcome":{"outcome":"once"}}}`, 202)
		return true
	})
	if body := <-done; !strings.Contains(body, `"stopReason":"end_turn"`) {
		t.Errorf("the turn ends with %s", body)
	}
	if _, err := os.Stat(filepath.Join(c.Home, "v.txt")); err != nil {
		t.Error(err)
	}
}

// The Python client calls the session that it opened by an id that it made up.
func TestPythonClientNamesItsSession(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/default"}
	c.post(introduces, 200)
	opened := c.post(`{"jsonrpc":"2.0","id":"3","method":"session/create","params":{"agent":"mock"}}`, 200)
	id := decode[struct{ Result api.Session }](t, opened).Result.AgentSessionID
	const own, another = "01234567-89ab-cdef-0123-456789abcdef", "11234567-89ab-cdef-0123-456789abcdef"
	model := func(headers ...string) (int, string) {
		return c.Send(t, "POST", "/v1/sessions/"+own+"/model", `{"model":"mock-fast"}`, headers...)
	}
	if status, body := model(); status != 404 {
		t.Errorf("another client gets status %d: %s", status, body)
	}
	if status, body := model("User-Agent", byHTTPX); status != 200 || !strings.Contains(body, `"agentSessionId":"`+id) {
		t.Errorf("the client that opened the session gets status %d: %s", status, body)
	}
	c.get("/v1/sessions/"+own, 200, []string{`"model":"mock-fast"`})
	// A session that has an id gets no other one.
	c.get("/v1/sessions/"+another, 404, nil, "User-Agent", byHTTPX)
}

// Of several sessions that have no id of the client yet, the one just opened is meant.
func TestPythonClientNamesTheNewestSession(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/default"}
	c.post(introduces, 200)
	open := func() string {
		opened := c.post(`{"jsonrpc":"2.0","id":"3","method":"session/create","params":{"agent":"mock"}}`, 200)
		return decode[struct{ Result api.Session }](t, opened).Result.AgentSessionID
	}
	open()
	testkit.Await(t, "a name to come soon after its session", func() bool {
		newest := open()
		status, body := c.Send(t, "GET", "/v1/sessions/mine", "", "User-Agent", byHTTPX)
		if status != 200 {
			return false // the machine is slow
		}
		if !strings.Contains(body, `"agentSessionId":"`+newest) {
			t.Errorf("the name is given to %s, not to %s", body, newest)
		}
		return true
	})
}

// The client of a hub has no means to say what it permits.
func TestHubUsesAnAgentThatCannotAsk(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := connection{serve.Start(t, app.Config{AgentCommands: map[string][]string{"pi": {exe, "mock"}}}), t, "/v1/acp/default"}
	c.post(introduces, 200)
	opened := c.post(`{"jsonrpc":"2.0","id":1,"method":"session/create","params":{"agent":"pi","cwd":"`+c.Home+`"}}`, 200)
	id := decode[struct{ Result api.Session }](t, opened).Result.AgentSessionID
	c.get("/v1/sessions/"+id, 200, []string{`"agent":"pi"`})
	if status, body := c.Send(t, "POST", "/v1/sessions", `{"agent":"pi"}`); status == 201 {
		t.Errorf("a client that can say what it permits gets %s", body)
	}
}
