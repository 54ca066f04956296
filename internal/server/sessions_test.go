package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

var jsonBody = map[string]string{"Content-Type": "application/json"}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return v
}

// create starts a session of the mock agent with the members of a body.
func (in *instance) create(t *testing.T, members string) api.Session {
	t.Helper()
	return decode[api.Session](t, in.check(t, scenario{method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock"` + members + `}`, status: 201}))
}

// stream reads server-sent events until stop says so, and returns their names
// and data.
func (in *instance) stream(t *testing.T, req *http.Request, stop func(event, data string) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := in.client.Do(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d", req.URL, resp.StatusCode)
	}
	for e := range testkit.Events(resp.Body) {
		if stop(e.Name, e.Data) {
			return
		}
	}
	t.Fatalf("%s ended", req.URL)
}

func TestSessionRoutes(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, `,"id":"first","title":"One","mode":"plan","model":"mock-fast","thoughtLevel":"high","metadata":{"a":1},"env":{"SECRET":"hush"}`)
	path := "/v1/sessions/first"
	in.run(t, []scenario{
		{name: "get", path: path, status: 200, want: []string{`"id":"first"`, `"status":"idle"`, `"title":"One"`, `"mode":"plan"`, `"model":"mock-fast"`, `"thoughtLevel":"high"`, `"metadata":{"a":1}`, `"agentSessionId":"` + s.AgentSessionID}, not: []string{"hush"}},
		{name: "get by the agent's id", path: "/v1/sessions/" + s.AgentSessionID, status: 200, want: []string{`"id":"first"`}},
		{name: "get unknown", path: "/v1/sessions/none", status: 404, want: []string{`"code":"session_not_found"`}},
		{name: "create twice", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock","id":"first"}`, status: 409, want: []string{`"code":"session_already_exists"`}},
		{name: "create with a bad id", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock","id":".."}`, status: 400, want: []string{`"code":"invalid_session_id"`}},
		{name: "create with an unknown agent", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"nobody"}`, status: 400, want: []string{`unsupported_agent`}},
		{name: "create in no folder", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock","cwd":"/does/not/exist"}`, status: 400, want: []string{`"code":"path_not_found"`}},
		{name: "create with a bad rule", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock","permissions":{"rules":[{"path":"[","decision":"allow"}]}}`, status: 400, want: []string{`"code":"invalid_permission_rule"`}},
		{name: "create with a bad mode", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock","id":"gone","mode":"wild"}`, status: 400, want: []string{`"code":"unsupported_value"`}},
		{name: "which leaves nothing", path: "/v1/sessions/gone", status: 404},
		{name: "list", path: "/v1/sessions?page=1&perPage=10", status: 200, want: []string{`"id":"first"`, `"page":1`, `"perPage":10`, `"total":1`}},
		{name: "list none", path: "/v1/sessions?q=nothing-like-it", status: 200, want: []string{`"sessions":[]`, `"total":0`}},
		{name: "list by text", path: "/v1/sessions?q=ONE&agent=mock&status=idle", status: 200, want: []string{`"id":"first"`}},
		{name: "list with a bad cursor", path: "/v1/sessions?cursor=x", status: 400, want: []string{`"code":"invalid_cursor"`}},
		{name: "list with a bad page", path: "/v1/sessions?page=x", status: 400, want: []string{`"code":"invalid_query"`}},
		{name: "model", method: "POST", path: path + "/model", header: jsonBody, body: `{"model":"mock"}`, status: 200, want: []string{`"model":"mock"`}},
		{name: "unknown model", method: "POST", path: path + "/model", header: jsonBody, body: `{"model":"gpt"}`, status: 400, want: []string{`"code":"unsupported_value"`, `"allowedValues":["mock","mock-fast"]`, `"configId":"model"`}},
		{name: "mode", method: "POST", path: path + "/mode", header: jsonBody, body: `{"mode":"normal"}`, status: 200, want: []string{`"mode":"normal"`}},
		{name: "mode by its name in the protocol", method: "POST", path: path + "/mode", header: jsonBody, body: `{"modeId":"plan"}`, status: 200, want: []string{`"mode":"plan"`}},
		{name: "thought level", method: "POST", path: path + "/thought-level", header: jsonBody, body: `{"thoughtLevel":"low"}`, status: 200, want: []string{`"thoughtLevel":"low"`}},
		{name: "option", method: "POST", path: path + "/config-options", header: jsonBody, body: `{"configId":"mode","value":"normal"}`, status: 200, want: []string{`"mode":"normal"`, `"currentModeId":"normal"`}},
		{name: "unknown option", method: "POST", path: path + "/config-options", header: jsonBody, body: `{"configId":"nope","value":"x"}`, status: 400, want: []string{`"code":"unsupported_config_option"`, `"availableConfigIds":["model","mode","thought_level"]`}},
		{name: "empty option", method: "POST", path: path + "/config-options", header: jsonBody, body: `{"configId":"mode","value":" "}`, status: 400},
		{name: "options", path: path + "/config-options", status: 200, want: []string{`{"configOptions":[{"id":"model"`}},
		{name: "modes", path: path + "/modes", status: 200, want: []string{`"modes":[{"id":"normal"`, `"currentModeId":"normal"`}},
		{name: "patch", method: "PATCH", path: path, header: jsonBody, body: `{"title":"Two","metadata":{"b":2},"permissions":{"default":"allow"}}`, status: 200, want: []string{`"title":"Two"`, `"metadata":{"b":2}`, `"default":"allow"`}},
		{name: "prompt", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":"hello"}`, status: 200, want: []string{`"stopReason":"end_turn"`, `"text":"You said: hello"`}},
		{name: "prompt of blocks", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":[{"type":"text","text":"blocks"}]}`, status: 200, want: []string{`You said: blocks`}},
		{name: "prompt of nothing", method: "POST", path: path + "/prompt", header: jsonBody, body: `{}`, status: 400, want: []string{`"code":"invalid_prompt"`}},
		{name: "prompt without words", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":" "}`, status: 400, want: []string{`"code":"invalid_prompt"`}},
		{name: "prompt that is a number", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":1}`, status: 422, want: []string{`"detail":"invalid request: prompt: `}},
		{name: "prompt that is no object", method: "POST", path: path + "/prompt", header: jsonBody, body: `[]`, status: 422, want: []string{`"detail":"invalid request: body: expected object, not array"`}},
		{name: "prompt that is no JSON", method: "POST", path: path + "/prompt", header: jsonBody, body: `{`, status: 400, want: []string{`"code":"invalid_json"`}},
		{name: "prompt that fails", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":"/error -32050 no luck"}`, status: 502, want: []string{`"code":"agent_error"`, `no luck`, `"rpcCode":-32050`}},
		{name: "prompt that the agent dies of", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":"/crash 3"}`, status: 500, want: []string{`"code":"agent_process_exited"`, `"exitCode":3`}},
		{name: "which stops it", path: path, status: 200, want: []string{`"status":"stopped"`}},
		{name: "restore", method: "POST", path: path + "/restore", status: 200, want: []string{`"status":"idle"`, `"restored":{"how":"primed"`, `"mode":"normal"`, `"thoughtLevel":"low"`}},
		{name: "found by the former id of the agent", path: "/v1/sessions/" + s.AgentSessionID, status: 200, want: []string{`"id":"first"`}},
		{name: "cancel nothing", method: "POST", path: path + "/cancel", status: 200, want: []string{`"cancelled":0`}},
		{name: "events", path: path + "/events?after=2&limit=1", status: 200, want: []string{`"id":"first:3"`, `"eventIndex":3`, `"sender":"client"`, `"connectionId":"session-first"`, `"nextCursor":"3"`}},
		{name: "events by page", path: path + "/events?page=2&perPage=2", status: 200, want: []string{`"eventIndex":3`, `"eventIndex":4`, `"page":2`, `"perPage":2`}, not: []string{`"eventIndex":5`}},
		{name: "events behind all numbers", path: path + "/events?after=18446744073709551615", status: 200, want: []string{`"events":[]`}},
		{name: "events behind the end", path: path + "/events?after=100000", status: 200, want: []string{`"events":[]`}, not: []string{"nextCursor"}},
		{name: "stream with a bad cursor", path: path + "/events/stream?after=x", status: 400, want: []string{`"code":"invalid_cursor"`}},
		{name: "transcript", path: path + "/transcript", status: 200, want: []string{"# Session first transcript", "user: hello", "agent: You said: hello"}, headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		{name: "transcript as a document", path: path + "/transcript?format=markdown", status: 200, want: []string{"# Two", "## User\n\nhello"}},
		{name: "transcript as data", path: path + "/transcript?format=json", status: 200, want: []string{`"role":"user","text":"hello"`}},
		{name: "transcript as a song", path: path + "/transcript?format=song", status: 400},
		{name: "no permissions", path: path + "/permissions", status: 200, want: []string{`"permissions":[]`}},
		{name: "unknown permission", method: "POST", path: path + "/permissions/none", header: jsonBody, body: `{"reply":"once"}`, status: 404, want: []string{`"code":"permission_not_found"`}},
		{name: "no rules", path: path + "/permissions/rules", status: 200, want: []string{`"default":"allow","rules":[],"remembered":[]`}},
		{name: "unknown rule", method: "DELETE", path: path + "/permissions/rules/none", status: 404, want: []string{`"code":"permission_rule_not_found"`}},
		{name: "forget all rules", method: "DELETE", path: path + "/permissions/rules", status: 204},
		{name: "no servers", path: path + "/mcp/config", status: 200, want: []string{`{"mcpServers":{}}`}},
		{name: "set servers", method: "PUT", path: path + "/mcp/config", header: jsonBody, body: `{"mcpServers":{"tool":{"type":"local","command":"true"}}}`, status: 204},
		{name: "servers", path: path + "/mcp/config", status: 200, want: []string{`"tool":{"type":"local","command":"true"`}},
		{name: "set skills", method: "PUT", path: path + "/skills/config", header: jsonBody, body: `{"skills":{"s":{"sources":[{"type":"local","source":"/nowhere"}]}}}`, status: 204},
		{name: "skills", path: path + "/skills/config", status: 200, want: []string{`"/nowhere"`}},
		{name: "destroy", method: "DELETE", path: path, status: 204},
		{name: "destroy again", method: "DELETE", path: path, status: 204},
		{name: "destroyed", path: path, status: 200, want: []string{`"status":"destroyed"`, `"destroyedAt":`}},
		{name: "prompt what is destroyed", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":"x"}`, status: 409, want: []string{`"code":"session_destroyed"`}},
		{name: "history stays", path: path + "/transcript", status: 200, want: []string{"user: hello"}},
		{name: "back to life", method: "POST", path: path + "/restore", status: 200, want: []string{`"status":"idle"`}},
		{name: "whose agent has the servers", path: path + "/events?limit=1000", status: 200, want: []string{`"mcpServers":[{"name":"tool"`}},
		{name: "purge", method: "DELETE", path: path + "?purge=true", status: 204},
		{name: "nothing is left", path: path, status: 404},
	})
}

// TestSessionSkills configures skills for a folder and for one session in it.
func TestSessionSkills(t *testing.T) {
	in := start(t, app.Config{})
	for _, name := range []string{"of-folder", "of-session"} {
		dir := filepath.Join(in.home, "sources", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text := "---\nname: " + name + "\ndescription: test\n---\n"
		if err := os.WriteFile(filepath.Join(dir, "SKILL.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name string) string {
		return `{"skills":{"` + name + `":{"sources":[{"type":"local","source":"sources/` + name + `"}]}}}`
	}
	in.check(t, scenario{method: "PUT", path: "/v1/config/skills?directory=" + in.home, header: jsonBody, body: set("of-folder"), status: 204})
	s := in.create(t, "")
	installed := func() []string {
		names, err := filepath.Glob(filepath.Join(in.home, ".agents", "skills", "*", "SKILL.md"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if got := installed(); len(got) != 1 || !strings.Contains(got[0], "of-folder") {
		t.Errorf("at first there are %v", got)
	}
	in.check(t, scenario{method: "PUT", path: "/v1/sessions/" + s.ID + "/skills/config", header: jsonBody, body: set("of-session"), status: 204})
	in.check(t, scenario{method: "DELETE", path: "/v1/sessions/" + s.ID, status: 204})
	in.check(t, scenario{method: "POST", path: "/v1/sessions/" + s.ID + "/restore", status: 200})
	if got := installed(); len(got) != 2 {
		t.Errorf("after the next start there are %v", got)
	}
}

func TestSessionTurnStream(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, "")
	req, err := http.NewRequest(http.MethodPost, in.url+"/v1/sessions/"+s.ID+"/prompt", strings.NewReader(`{"prompt":"/burst 500"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	next := uint64(3) // behind session/new and its answer
	var result api.SessionTurn
	in.stream(t, req, func(event, data string) bool {
		if event == "result" {
			result = decode[api.SessionTurn](t, data)
			return true
		}
		if e := decode[api.SessionEvent](t, data); event != "message" || e.EventIndex != next {
			t.Fatalf("got %s %d, want %d", event, e.EventIndex, next)
		}
		next++
		return false
	})
	if result.StopReason != "end_turn" || result.FirstEvent != 3 || result.LastEvent != next-1 || next < 500 {
		t.Errorf("result %+v after event %d", result, next-1)
	}
}

// TestSessionTurnStreamEnds follows turns that come one right after the other: the
// stream of each has nothing of the next one.
func TestSessionTurnStreamEnds(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, "")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			req, err := http.NewRequest(http.MethodPost, in.url+"/v1/sessions/"+s.ID+"/prompt", strings.NewReader(`{"prompt":"/burst 50","queue":true}`))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "text/event-stream")
			last := uint64(0)
			in.stream(t, req, func(event, data string) bool {
				if event != "result" {
					if e := decode[api.SessionEvent](t, data); !strings.Contains(string(e.Payload), api.EventPromptQueued) {
						last = e.EventIndex
					}
					return false
				}
				if result := decode[api.SessionTurn](t, data); result.LastEvent != last {
					t.Errorf("the turn ended with event %d, its stream with %d", result.LastEvent, last)
				}
				return true
			})
		})
	}
	all.Wait()
}

func TestSessionTurnStreamFails(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, "")
	req, err := http.NewRequest(http.MethodPost, in.url+"/v1/sessions/"+s.ID+"/prompt", strings.NewReader(`{"prompt":"/error -32001 broken"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	in.stream(t, req, func(event, data string) bool {
		if event != "error" {
			return false
		}
		if e := decode[api.Error](t, data); e.Code != api.CodeAgentError || e.RequestID == "" {
			t.Errorf("got %s", data)
		}
		return true
	})
}

// TestSessionAsync follows a turn that nobody waits for, as one of the clients
// that the session tells of.
func TestSessionAsync(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, "")
	started := decode[api.SessionTurnStarted](t, in.check(t, scenario{method: "POST", path: "/v1/sessions/" + s.ID + "/prompt",
		header: map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}, body: `{"prompt":"quick"}`, status: 202}))
	if started.FirstEvent != 3 || started.Turn == "" {
		t.Errorf("started %+v", started)
	}
	req, err := http.NewRequest(http.MethodGet, in.url+"/v1/sessions/"+s.ID+"/events/stream?after=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Client-Name", "watcher")
	in.stream(t, req, func(_, data string) bool {
		e := decode[api.SessionEvent](t, data)
		if !strings.Contains(string(e.Payload), `"stopReason"`) {
			return false
		}
		now := decode[api.Session](t, in.check(t, scenario{path: "/v1/sessions/" + s.ID, status: 200}))
		if len(now.Clients) != 1 || now.Clients[0].Client != "watcher" {
			t.Errorf("clients %+v", now.Clients)
		}
		return true
	})
	await(t, "the watcher to be gone", func() bool {
		return len(decode[api.Session](t, in.check(t, scenario{path: "/v1/sessions/" + s.ID, status: 200})).Clients) == 0
	})
}

// TestSessionPermissions has people answer the agent: remembered, undone, late.
func TestSessionPermissions(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, "")
	path := "/v1/sessions/" + s.ID
	ask := func(prompt string) api.Permission {
		in.check(t, scenario{method: "POST", path: path + "/prompt", header: map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}, body: `{"prompt":"` + prompt + `"}`, status: 202})
		var list api.PermissionList
		await(t, "a permission", func() bool {
			list = decode[api.PermissionList](t, in.check(t, scenario{path: path + "/permissions", status: 200}))
			return len(list.Permissions) == 1
		})
		in.check(t, scenario{path: path, status: 200, want: []string{`"status":"waiting"`, `"pendingPermissions":1`}})
		return list.Permissions[0]
	}
	idle := func() {
		await(t, "the turn to end", func() bool {
			return decode[api.Session](t, in.check(t, scenario{path: path, status: 200})).Status == api.SessionIdle
		})
	}
	p := ask("write a.txt with one")
	in.run(t, []scenario{
		{name: "busy", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":"x"}`, status: 409, want: []string{`"code":"session_busy"`}},
		{name: "reply that is not offered", method: "POST", path: path + "/permissions/" + p.ID, header: jsonBody, body: `{"reply":"perhaps"}`, status: 400, want: []string{`"code":"reply_not_available"`, `"availableReplies":["once","always","reject","cancel"]`}},
		{name: "always", method: "POST", path: path + "/permissions/" + p.ID, header: map[string]string{"Content-Type": "application/json", "X-Client-Name": "ann"}, body: `{"reply":"always","scope":"directory"}`, status: 200, want: []string{`"by":"ann"`, `"optionId":"allow-once"`, `"rule":"rule-`}},
		{name: "late", method: "POST", path: path + "/permissions/" + p.ID, header: jsonBody, body: `{"reply":"reject"}`, status: 409, want: []string{`"code":"permission_resolved"`, `"by":"ann"`, `"reply":"always"`}},
	})
	idle()
	in.run(t, []scenario{
		{name: "remembered", method: "POST", path: path + "/prompt", header: jsonBody, body: `{"prompt":"write b.txt with two"}`, status: 200, want: []string{`"stopReason":"end_turn"`}},
		{name: "recorded", path: path + "/events", status: 200, want: []string{`"method":"_session/permission_resolved"`, `"by":"ann"`, `"by":"policy"`}},
	})
	for name, want := range map[string]string{"a.txt": "one", "b.txt": "two"} {
		if data, err := os.ReadFile(filepath.Join(in.home, name)); err != nil || strings.TrimSpace(string(data)) != want {
			t.Errorf("%s has %q, %v", name, data, err)
		}
	}
	rules := decode[api.PermissionRules](t, in.check(t, scenario{path: path + "/permissions/rules", status: 200}))
	if len(rules.Remembered) != 1 || rules.Remembered[0].Kind != "edit" || rules.Remembered[0].By != "ann" {
		t.Fatalf("rules %+v", rules)
	}
	in.check(t, scenario{method: "DELETE", path: path + "/permissions/rules/" + rules.Remembered[0].ID, status: 204})
	p = ask("write c.txt with three")
	in.check(t, scenario{method: "POST", path: path + "/permissions/" + p.ID, header: jsonBody, body: `{"reply":"reject"}`, status: 200})
	idle()
	p = ask("write d.txt with four")
	in.check(t, scenario{method: "POST", path: path + "/permissions/" + p.ID, header: jsonBody, body: `{"optionId":"allow-once"}`, status: 200, want: []string{`"reply":"option"`}})
	idle()
	p = ask("write e.txt with five")
	in.check(t, scenario{method: "POST", path: path + "/cancel", status: 200, want: []string{`"cancelled":1,"forced":false`}})
	idle()
	in.check(t, scenario{method: "POST", path: path + "/permissions/" + p.ID, header: jsonBody, body: `{"reply":"once"}`, status: 409, want: []string{`"by":"cancel"`}})
	for name, there := range map[string]bool{"c.txt": false, "d.txt": true, "e.txt": false} {
		if _, err := os.Stat(filepath.Join(in.home, name)); (err == nil) != there {
			t.Errorf("%s: %v, want it there: %v", name, err, there)
		}
	}
}

// TestSessionOfACPClient opens a session as a foreign client does, and finds it
// among the others.
func TestSessionOfACPClient(t *testing.T) {
	in := start(t, app.Config{})
	post := func(query, frame string) string {
		return in.check(t, scenario{method: "POST", path: "/v1/acp/foreign" + query, header: jsonBody, body: frame, status: 200})
	}
	post("?agent=mock", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`)
	opened := decode[struct{ Result struct{ SessionID string } }](t, post("", `{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"`+in.home+`","mcpServers":[],"_meta":{"sandboxagent.dev/sessionId":"mine"}}}`))
	sid := opened.Result.SessionID
	post("", `{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"`+sid+`","prompt":[{"type":"text","text":"from afar"}]}}`)
	in.run(t, []scenario{
		{name: "listed", path: "/v1/sessions?q=afar", status: 200, want: []string{`"id":"mine"`, `"agentSessionId":"` + sid, `"lastConnectionId":"foreign"`, `"title":"from afar"`, `"status":"idle"`}, not: []string{`"permissions"`}},
		{name: "by the agent's id", path: "/v1/sessions/" + sid, status: 200, want: []string{`"id":"mine"`}},
		{name: "its events", path: "/v1/sessions/mine/events", status: 200, want: []string{`"eventIndex":1`, `"method":"session/new"`, `"method":"session/prompt"`, `"id":2,"result":{"stopReason":"end_turn"`, `"connectionId":"foreign"`}},
		{name: "prompt by the route", method: "POST", path: "/v1/sessions/mine/prompt", header: jsonBody, body: `{"prompt":"from here"}`, status: 200, want: []string{`You said: from here`}},
		{name: "on its own connection", path: "/v1/acp", status: 200, want: []string{`"serverId":"foreign"`}, not: []string{"session-mine"}},
		{name: "the client leaves", method: "DELETE", path: "/v1/acp/foreign", status: 204},
		{name: "and it goes on", method: "POST", path: "/v1/sessions/mine/prompt", header: jsonBody, body: `{"prompt":"still here"}`, status: 200, want: []string{`You said: still here`}},
		{name: "on a connection of the server's", path: "/v1/sessions/mine", status: 200, want: []string{`"lastConnectionId":"session-mine"`, `"how":"primed"`}},
	})
}

// TestClientHasNoNameOfTheServer has clients call themselves what stands for the
// server's own decisions.
func TestClientHasNoNameOfTheServer(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	for _, name := range []string{"policy", "expiry", "agent", "cancel", "server", "Policy", " POLICY ", "pol\u200bicy", "connection", "connection  x"} {
		for _, sc := range []scenario{
			{method: "POST", path: "/v1/sessions/s/permissions/p", body: `{"reply":"once"}`, header: map[string]string{"Content-Type": "application/json"}},
			{path: "/v1/sessions/s/events/stream", header: map[string]string{}},
		} {
			sc.header["X-Client-Name"] = name
			sc.status, sc.want = 400, []string{`"code":"reserved_name"`}
			in.check(t, sc)
		}
	}
	in.check(t, scenario{method: "POST", path: "/v1/sessions/s/permissions/p", body: `{"reply":"once"}`, status: 404,
		header: map[string]string{"Content-Type": "application/json", "X-Client-Name": "policy bot"}})
}
