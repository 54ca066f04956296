package bridge_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// TestAgentCannotSendEventsOfTheServer has an agent send what the server alone
// may say. The event that readers get instead holds it as text.
func TestAgentCannotSendEventsOfTheServer(t *testing.T) {
	for name, line := range map[string]string{
		"session event":     `{"jsonrpc":"2.0","method":"_session/permission_resolved","params":{"sessionId":"s","by":"policy"}}`,
		"end of a process":  `{"jsonrpc":"2.0","method":"_adapter/agent_exited","params":{"code":0,"success":true}}`,
		"server event":      `{"jsonrpc":"2.0","method":"_server/permission_asked","params":{}}`,
		"escaped":           `{"jsonrpc":"2.0","meth\u006fd":"\u005fsession/stopped"}`,
		"behind another":    `{"jsonrpc":"2.0","method":"_session/stopped","method":"session/update","params":{}}`,
		"in another case":   `{"jsonrpc":"2.0","Method":"_session/stopped","method":"session/update","params":{}}`,
		"with a result too": `{"jsonrpc":"2.0","method":"_session/stopped","result":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, bridge.Limits{})
			observed := false
			f.reads = func(e bridge.Event) bridge.Verdict {
				observed = observed || e.Msg.Reserved || strings.Contains(e.Msg.Method, "_session")
				return bridge.Verdict{}
			}
			text, _ := json.Marshal(line)
			f.mustPost("c", "a", `{"jsonrpc":"2.0","id":1,"method":"rubbish","params":{"text":`+string(text)+`}}`)
			start := uint64(0)
			got := f.events("c", &start, func(e journal.Entry) bool { return e.Seq == 1 })[0]
			msg, err := acp.Parse(got.Frame)
			if err != nil || msg.Method != acp.MethodAdapterBadStdout {
				t.Errorf("the event is %s", got.Frame)
			}
			var event struct{ Params struct{ Error, Raw string } }
			if err := json.Unmarshal(got.Frame, &event); err != nil || event.Params.Raw != line || !strings.Contains(event.Params.Error, "reserved") {
				t.Errorf("the event does not tell of %s: %s", line, got.Frame)
			}
			if observed {
				t.Error("the observer takes it for an event")
			}
		})
	}
}

func TestReservedRequestOfAnAgentIsRefused(t *testing.T) {
	for name, id := range map[string]string{"number": `7`, "text": `"x"`, "null": `null`} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, bridge.Limits{})
			line := `{"jsonrpc":"2.0","id":` + id + `,"method":"_session/permission_resolved","params":{}}`
			text, _ := json.Marshal(line)
			f.mustPost("c", "a", `{"jsonrpc":"2.0","id":1,"method":"rubbish","params":{"text":`+string(text)+`}}`)
			start := uint64(0)
			all := f.events("c", &start, has(`"told"`))
			told := string(all[len(all)-1].Frame)
			if !strings.Contains(told, `"id":`+id+`,`) || !strings.Contains(told, `-32601`) {
				t.Errorf("the agent was told %s", told)
			}
			if n := f.said.Load(); n != 1 {
				t.Errorf("the observer was told of %d frames of clients, want the request alone", n)
			}
		})
	}
}

func TestClientCannotSendEventsOfTheServer(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("c", "a", `{"jsonrpc":"2.0","id":1,"method":"x"}`)
	reply := f.mustPost("c", "", `{"jsonrpc":"2.0","id":2,"method":"_adapter/agent_exited"}`)
	if !strings.Contains(reply, `"id":2,`) || !strings.Contains(reply, "-32601") {
		t.Errorf("the reply to a request is %s", reply)
	}
	for _, frame := range []string{
		`{"jsonrpc":"2.0","method":"_session/permission_resolved","params":{"sessionId":"s"}}`,
		`{"jsonrpc":"2.0","method":"_server/x"}`,
		`{"jsonrpc":"2.0","METHOD":"_session/stopped","method":"session/cancel"}`,
	} {
		_, err := f.post("c", "", frame)
		wantCode(t, err, api.CodeReservedMethod)
	}
	if n := f.said.Load(); n != 1 {
		t.Errorf("%d frames of the client are on their way, want the first alone", n)
	}
	if _, err := f.post("new", "a", `{"jsonrpc":"2.0","method":"_session/stopped"}`); err == nil {
		t.Error("a reserved notification starts an agent")
	}
	if f.Running("new") {
		t.Error("the agent of a refused notification runs")
	}
}
