package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// foreign is a client that speaks to an agent itself.
type foreign struct {
	*rig
	server string
	calls  int
}

// open connects to an agent.
func (r *rig) open(server, agent string) *foreign {
	r.t.Helper()
	f := &foreign{rig: r, server: server}
	r.do("POST", "/v1/acp/"+server+"?agent="+agent, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`, nil)
	return f
}

func (f *foreign) frame(method, params string) string {
	f.calls++
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}`, f.calls, method, params)
}

// call makes a request and returns its result.
func (f *foreign) call(method, params string) map[string]any {
	f.t.Helper()
	var reply struct {
		Result map[string]any
		Error  json.RawMessage
	}
	f.do("POST", "/v1/acp/"+f.server, f.frame(method, params), &reply)
	if reply.Error != nil {
		f.t.Fatalf("%s: %s", method, reply.Error)
	}
	return reply.Result
}

// answer answers a question of the agent.
func (f *foreign) answer(id json.RawMessage, option string) {
	f.t.Helper()
	f.do("POST", "/v1/acp/"+f.server, `{"jsonrpc":"2.0","id":`+string(id)+`,"result":{"outcome":{"outcome":"selected","optionId":"`+option+`"}}}`, nil)
}

// heard returns what the agent has said so far, up to the first event with a text.
func (f *foreign) heard(last string) string {
	f.t.Helper()
	resp, err := f.http.Get(f.url + "/v1/acp/" + f.server)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	var all strings.Builder
	for e := range testkit.Events(resp.Body) {
		all.WriteString(e.Data + "\n")
		if strings.Contains(e.Data, last) {
			break
		}
	}
	return all.String()
}

func (f *foreign) newSession() string {
	f.t.Helper()
	id, _ := f.call("session/new", `{"cwd":"`+f.home+`","mcpServers":[]}`)["sessionId"].(string)
	return id
}

func TestForeignSessionsShareAConnection(t *testing.T) {
	r := start(t, "", api.Limits{})
	f := r.open("shared", "keeper")
	one, two := f.newSession(), f.newSession()
	for i, id := range []string{one, two, one} {
		f.call("session/prompt", fmt.Sprintf(`{"sessionId":"%s","prompt":[{"type":"text","text":"/echo text-%d"}]}`, id, i))
	}
	for id, want := range map[string][3]int{one: {1, 0, 1}, two: {0, 1, 0}} {
		events := r.events(id)
		for i, n := range want {
			if got := count(events, fmt.Sprintf(`"text":"text-%d"`, i)); got != n {
				t.Errorf("session %s has text-%d in %d events, want %d", id, i, got, n)
			}
		}
		if s := r.get(id); s.ID != id || s.Status != api.SessionIdle || s.Permissions != nil {
			t.Errorf("session %+v", s)
		}
	}
	f.call("session/set_mode", `{"sessionId":"`+one+`","modeId":"plan"}`)
	if s := r.get(one); s.Mode != "plan" {
		t.Errorf("mode %s", s.Mode)
	}
	if s := r.get(two); s.Mode != "normal" {
		t.Errorf("mode of the other session %s", s.Mode)
	}
}

// TestForeignLoadFails has a client try to load a session that works elsewhere: it
// works on, and nothing of it is lost.
func TestForeignLoadFails(t *testing.T) {
	r := start(t, "", api.Limits{})
	id := r.create(`{"agent":"keeper"}`).ID
	r.prompt(id, "/echo first")
	f := r.open("other", "keeper")
	var list api.ACPServerList
	r.do("GET", "/v1/acp", "", &list)
	if err := syscall.Kill(list.Servers[0].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	load := f.frame("session/load", `{"sessionId":"`+r.get(id).AgentSessionID+`","cwd":"`+r.home+`","mcpServers":[]}`)
	await(t, "the request to be with the agent", func() bool { // then its id is taken
		ctx, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer leave()
		return errors.Is(r.send(ctx, "POST", "/v1/acp/other", load, nil), api.CodeDuplicateID)
	})
	r.promptAsync(id, "/permission", "")
	p := r.awaitPermission(id)
	r.do("POST", "/v1/sessions/"+id+"/permissions/"+p.ID, `{"reply":"once"}`, nil)
	r.awaitStatus(id, api.SessionIdle)
	r.prompt(id, "/burst 50")
	if err := syscall.Kill(list.Servers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the agent to be gone", func() bool {
		r.do("GET", "/v1/acp", "", &list)
		return list.Servers[0].Status == "exited"
	})
	r.prompt(id, "/echo last")
	events := r.events(id)
	if n := count(events, "agent_message_chunk"); n != 1+1+50+1 {
		t.Errorf("%d events of what the agent said", n)
	}
	if n := count(events, api.EventSessionStopped); n != 0 {
		t.Errorf("the session was stopped %d times", n)
	}
}

// TestForeignLoadTakesOver has a client load a session whose agent works and will
// say no more.
func TestForeignLoadTakesOver(t *testing.T) {
	r := start(t, "", api.Limits{})
	for i, text := range []string{"/silence", "/permission"} {
		id := r.create(`{"agent":"keeper"}`).ID
		r.prompt(id, "/echo first")
		r.promptAsync(id, text, "")
		if text == "/permission" {
			r.awaitPermission(id)
		}
		if err := syscall.Kill(r.pid(id), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		f := r.open(fmt.Sprintf("over-%d", i), "keeper")
		f.call("session/load", `{"sessionId":"`+r.get(id).AgentSessionID+`","cwd":"`+r.home+`","mcpServers":[]}`)
		r.awaitStatus(id, api.SessionIdle)
		if turn := r.prompt(id, "/echo on"); turn.Text != "on" {
			t.Errorf("the agent says %q", turn.Text)
		}
	}
}

// TestForeignLoad has a client load a session that another one opened: what the
// agent tells again is no new event.
func TestForeignLoad(t *testing.T) {
	r := start(t, "", api.Limits{})
	f := r.open("before", "keeper")
	id := f.newSession()
	f.call("session/prompt", `{"sessionId":"`+id+`","prompt":[{"type":"text","text":"/echo said once"}]}`)
	r.do("DELETE", "/v1/acp/before", "", nil)
	r.awaitStatus(id, api.SessionStopped)
	g := r.open("after", "keeper")
	g.call("session/load", `{"sessionId":"`+id+`","cwd":"`+r.home+`","mcpServers":[]}`)
	g.call("session/prompt", `{"sessionId":"`+id+`","prompt":[{"type":"text","text":"/echo again"}]}`)
	events := r.events(id)
	if n := count(events, `"text":"said once"`); n != 1 {
		t.Errorf("what was said is in %d events", n)
	}
	if n := count(events, `"text":"again"`); n != 1 {
		t.Errorf("what was said after it is in %d events", n)
	}
	if s := r.get(id); s.LastConnectionID != "after" || s.Status != api.SessionIdle {
		t.Errorf("session %+v", s)
	}
	if first, last := events[0], events[len(events)-1]; first.ConnectionID != "before" || last.ConnectionID != "after" {
		t.Errorf("connections %s and %s", first.ConnectionID, last.ConnectionID)
	}
}

// TestForeignPermission is asked of a client, and answered by it or by another.
func TestForeignPermission(t *testing.T) {
	r := start(t, "", api.Limits{})
	f := r.open("asked", "keeper")
	id := f.newSession()
	for _, by := range []string{"the client", "somebody else"} {
		done := make(chan error, 1)
		frame := f.frame("session/prompt", `{"sessionId":"`+id+`","prompt":[{"type":"text","text":"/permission"}]}`)
		go func() { done <- r.send(t.Context(), "POST", "/v1/acp/asked", frame, nil) }()
		p := r.awaitPermission(id)
		var asked struct{ ID json.RawMessage }
		// The question is known a moment before its event is on disk.
		await(t, "the event of the question", func() bool {
			for _, e := range r.events(id) {
				if e.EventIndex == p.Event {
					return json.Unmarshal(e.Payload, &asked) == nil
				}
			}
			return false
		})
		if by == "the client" {
			f.answer(asked.ID, "allow-once")
		} else {
			r.do("POST", "/v1/sessions/"+id+"/permissions/"+p.ID, `{"reply":"once"}`, nil)
		}
		f.answer(asked.ID, "reject-once")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		f.answer(asked.ID, "reject-once")
		err := r.send(t.Context(), "POST", "/v1/sessions/"+id+"/permissions/"+p.ID, `{"reply":"once"}`, nil)
		if !errors.Is(err, api.CodePermissionResolved) {
			t.Errorf("%s: late answer: %v", by, err)
		}
	}
	f.call("session/prompt", `{"sessionId":"`+id+`","prompt":[{"type":"text","text":"/echo the last word"}]}`)
	if said := f.heard("the last word"); !strings.Contains(said, "I was allowed to") || strings.Contains(said, "mock/client_response") {
		t.Errorf("the agent heard of late answers:\n%s", said)
	}
	events := r.events(id)
	if count(events, `"by":"connection asked"`) != 1 || count(events, api.EventPermissionResolved) != 2 || count(events, "I was allowed to") != 2 {
		t.Error("the events do not tell who answered")
	}
}

func TestForeignAgentDies(t *testing.T) {
	r := start(t, "", api.Limits{})
	f := r.open("mortal", "keeper")
	id := f.newSession()
	f.call("session/prompt", `{"sessionId":"`+id+`","prompt":[{"type":"text","text":"remember me"}]}`)
	var list api.ACPServerList
	r.do("GET", "/v1/acp", "", &list)
	if err := syscall.Kill(list.Servers[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(id, api.SessionStopped)
	if turn := r.prompt(id, "what did i say"); !strings.Contains(turn.Text, "remember me") {
		t.Errorf("the agent says %q", turn.Text)
	}
}
