package session

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// wire passes frames as a bridge would.
type wire struct {
	t *testing.T
	m *Manager
}

// pass observes frames. Each has the connection, or the connection and the agent
// after a slash, then > for what a client sends, < for what an agent sends, or ! for
// the end of the agent. It returns the last verdict.
func (w *wire) pass(frames ...string) (v bridge.Verdict) {
	w.t.Helper()
	for _, text := range frames {
		at := strings.IndexAny(text, "<>!")
		server, agent, named := strings.Cut(text[:at], "/")
		if !named {
			agent = "x"
		}
		e := bridge.Event{Server: server, Agent: agent, From: journal.FromAgent, Frame: []byte(text[at+1:])}
		switch text[at] {
		case '!':
			e.Frame, e.Exit = nil, api.NewError(api.KindAgentProcessExited, "", "the agent crashed")
		case '>':
			e.From = journal.FromClient
		}
		if e.Exit == nil {
			var err error
			if e.Msg, err = acp.Parse(e.Frame); err != nil {
				w.t.Fatal(err)
			}
		}
		v = w.m.Observe(e)
	}
	return v
}

// told returns the events of every session in short: who sent it, and the method or
// the id that is replied to.
func (w *wire) told() map[string][]string {
	w.t.Helper()
	out := make(map[string][]string)
	for _, s := range w.m.all() {
		for _, e := range eventsOf(w.t, w.m, s.id, 0) {
			msg, err := acp.Parse(e.Payload)
			if err != nil {
				w.t.Fatal(err)
			}
			word := msg.Method
			if word == "" {
				word = "reply " + string(msg.ID)
			}
			out[s.id] = append(out[s.id], e.Sender+" "+word)
		}
	}
	return out
}

func request(id, method, sid string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{"sessionId":"` + sid + `","cwd":"/"}}`
}

func update(sid, body string) string {
	return `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"` + sid + `","update":{` + body + `}}}`
}

func result(id, body string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":{` + body + `}}`
}

func failure(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32603,"message":"no"}}`
}

func permissionFor(id, sid string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"session/request_permission","params":{"sessionId":"` + sid + `","toolCall":{"toolCallId":"c"},"options":[{"optionId":"y","name":"Y","kind":"allow_once"}]}}`
}

const speaks = `"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hi"}`

// opened is how a client opens the session a on the connection c.
var opened = []string{"c>" + request("1", "session/new", ""), "c<" + result("1", `"sessionId":"a"`)}

func TestFramesBecomeEventsOfTheSessionThatTheyAreOf(t *testing.T) {
	begun := []string{"client session/new", "agent reply 1"}
	with := func(more ...string) map[string][]string {
		return map[string][]string{"a": append(slices.Clone(begun), more...)}
	}
	for _, test := range []struct {
		name  string
		pass  []string // after the session a was opened on c
		want  map[string][]string
		fresh bool // no session was opened
	}{
		{"a client opens a session", nil, with(), false},
		{"what an agent says before its reply comes behind it",
			[]string{"c>" + request("1", "session/new", ""), "c<" + update("a", speaks), "c<" + result("1", `"sessionId":"a"`)},
			with("agent session/update"), true},
		{"an agent that cannot open a session", []string{"c>" + request("1", "session/new", ""), "c<" + update("a", speaks), "c<" + failure("1")}, map[string][]string{}, true},
		{"a reply without an id of a session", []string{"c>" + request("1", "session/new", ""), "c<" + result("1", "")}, map[string][]string{}, true},
		{"requests of no session", []string{"c>" + request("0", "initialize", ""), "c<" + result("0", "")}, with(), false},
		{"updates of a foreign id", []string{"c<" + update("other", speaks), "c<" + update("", speaks)}, with(), false},
		{"updates on another connection", []string{"d<" + update("a", speaks)}, with(), false},
		{"prompts on another connection", []string{"d>" + request("2", "session/prompt", "a"), "d<" + result("2", "")}, with(), false},
		{"two requests whose ids differ in their type alone",
			[]string{"c>" + request("2", "session/prompt", "a"), "c>" + request(`"2"`, "session/set_mode", "a"), "c<" + result(`"2"`, ""), "c<" + result("2", "")},
			with("client session/prompt", "client session/set_mode", `agent reply "2"`, "agent reply 2"), false},
		{"a reply that comes twice", []string{"c>" + request("2", "session/prompt", "a"), "c<" + result("2", ""), "c<" + result("2", ""), "c<" + failure("2")},
			with("client session/prompt", "agent reply 2"), false},
		{"a reply to nothing", []string{"c<" + result("9", ""), "c<" + failure("null")}, with(), false},
		{"a notification of the client", []string{`c>{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"a"}}`}, with("client session/cancel"), false},
		{"what an agent says behind its end", []string{"c>" + request("2", "session/prompt", "a"), "c!", "c<" + result("2", ""), "c<" + update("a", speaks)},
			with("client session/prompt", "server _session/stopped"), false},
		{"a connection takes the session over",
			[]string{"d>" + request("2", "session/load", "a"), "d<" + update("a", speaks), "c<" + update("a", speaks), "d<" + result("2", ""), "d<" + update("a", speaks), "c<" + update("a", speaks)},
			with("agent session/update", "client session/load", "agent reply 2", "agent session/update"), false},
		{"the agent that had the session ends after it was taken over",
			[]string{"d>" + request("2", "session/load", "a"), "d<" + result("2", ""), "c!", "d<" + update("a", speaks)},
			with("client session/load", "agent reply 2", "agent session/update"), false},
		{"a connection cannot take the session over",
			[]string{"d>" + request("2", "session/load", "a"), "d<" + update("a", speaks), "d<" + failure("2"), "d<" + update("a", speaks), "c<" + update("a", speaks)},
			with("agent session/update"), false},
		{"the agent ends before the session is taken over",
			[]string{"d>" + request("2", "session/load", "a"), "d!", "d<" + update("a", speaks), "c<" + update("a", speaks)},
			with("agent session/update"), false},
		{"resuming tells no history",
			[]string{"d>" + request("2", "session/resume", "a"), "d<" + result("2", ""), "d<" + update("a", speaks)},
			with("client session/resume", "agent reply 2", "agent session/update"), false},
		{"a permission request that the turn outlives",
			[]string{"c>" + request("2", "session/prompt", "a"), "c<" + permissionFor(`"q"`, "a"), "c<" + result("2", ""), "c>" + result(`"q"`, `"outcome":{"outcome":"cancelled"}`)},
			with("client session/prompt", "agent session/request_permission", "agent reply 2", "server _session/permission_resolved"), false},
		{"a reply of the client to a permission request, and another one",
			[]string{"c>" + request("2", "session/prompt", "a"), "c<" + permissionFor(`"q"`, "a"), "c>" + result(`"q"`, `"outcome":{"outcome":"selected","optionId":"y"}`), "c>" + result(`"q"`, `"outcome":{"outcome":"cancelled"}`)},
			with("client session/prompt", "agent session/request_permission", `client reply "q"`, "server _session/permission_resolved"), false},
		{"a request of the agent that is no permission request",
			[]string{"c<" + request(`"f"`, "fs/read_text_file", "a"), "c>" + result(`"f"`, ""), "c>" + result(`"f"`, "")},
			with("agent fs/read_text_file", `client reply "f"`), false},
		{"an agent that ends while it asks", []string{"c>" + request("2", "session/prompt", "a"), "c<" + permissionFor("7", "a"), "c!"},
			with("client session/prompt", "agent session/request_permission", "server _session/permission_resolved", "server _session/stopped"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, stop := startOn(t, Config{Journal: openJournal(t)})
			defer stop()
			w := &wire{t, m}
			if !test.fresh {
				w.pass(opened...)
			}
			w.pass(test.pass...)
			if got := w.told(); !maps.EqualFunc(got, test.want, slices.Equal) {
				t.Errorf("events %q, want %q", got, test.want)
			}
		})
	}
}

// Two agents may have the same id for sessions of theirs.
func TestIDOfAnotherAgentIsAnotherSession(t *testing.T) {
	m, stop := startOn(t, Config{Journal: openJournal(t)})
	defer stop()
	w := &wire{t, m}
	w.pass(opened...)
	w.pass("d/y>"+request("1", "session/load", "a"), "d/y<"+result("1", ""), "d/y<"+update("a", speaks), "c<"+update("a", speaks))
	told := w.told()
	if want := []string{"client session/new", "agent reply 1", "agent session/update"}; !slices.Equal(told["a"], want) {
		t.Errorf("the first session has %q", told["a"])
	}
	delete(told, "a")
	for id, events := range told {
		if want := []string{"client session/load", "agent reply 1", "agent session/update"}; !slices.Equal(events, want) {
			t.Errorf("%s has %q", id, events)
		}
	}
	if len(told) != 1 {
		t.Errorf("%d other sessions, want 1", len(told))
	}
}

// The connection of a session has requests of the server, one of which opens it.
func TestRequestsOfTheServerAreOfTheSessionThatTheyOpen(t *testing.T) {
	j := openJournal(t)
	rec := own()
	rec.AgentSessionID, rec.Live = "", false
	keep(t, j, rec)
	m, stop := startOn(t, Config{Journal: j})
	defer stop()
	w := &wire{t, m}
	m.link("session-s", "x").expect(json.RawMessage(`"n-2"`), m.lookup("s"))
	w.pass("session-s>"+request(`"n-1"`, "initialize", ""), "session-s<"+result(`"n-1"`, ""),
		"session-s>"+request(`"n-2"`, "session/new", ""), "session-s<"+update("a", speaks), "session-s<"+result(`"n-2"`, `"sessionId":"a"`),
		"session-s<"+permissionFor("1", "unknown"), "session-s<"+request("2", "fs/read_text_file", "a"))
	m.Observe(bridge.Event{Server: "session-s", Agent: "x", From: journal.FromAgent, Msg: acp.Message{Kind: acp.Notification, Method: "session/update"}, Dropped: "too long"})
	want := []string{"client session/new", `agent reply "n-2"`, "agent session/update", "server _session/permission_invalid", "agent fs/read_text_file", "server _session/frame_dropped"}
	if got := w.told(); len(got) != 1 || !slices.Equal(got["s"], want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if s, err := m.Get("a"); err != nil || s.ID != "s" || s.Status != api.SessionIdle {
		t.Errorf("by the id of its agent: %+v, %v", s, err)
	}
}

// Of two replies to a permission request the agent gets the first.
func TestSecondReplyToAPermissionRequestIsKeptFromTheAgent(t *testing.T) {
	m, stop := startOn(t, Config{Journal: openJournal(t)})
	defer stop()
	w := &wire{t, m}
	w.pass(opened...)
	w.pass("c>"+request("2", "session/prompt", "a"), "c<"+permissionFor("7", "a"))
	yes, no := "c>"+result("7", `"outcome":{"outcome":"selected","optionId":"y"}`), "c>"+result("7", `"outcome":{"outcome":"cancelled"}`)
	if w.pass(yes).Drop {
		t.Error("the first reply is dropped")
	}
	for _, late := range []string{no, yes} {
		if !w.pass(late).Drop {
			t.Errorf("%s passes", late)
		}
	}
	if w.pass("c>" + result(`"7"`, "")).Drop {
		t.Error("a reply to a request that is of no session is dropped")
	}
}

func TestUpdatesAndRepliesChangeTheRecord(t *testing.T) {
	modes := `"modes":{"currentModeId":"plan","availableModes":[{"id":"plan","name":"P"},{"id":"act","name":"A"}]}`
	options := func(model, mode string) string {
		return `"configOptions":[{"id":"m","name":"M","type":"select","category":"model","currentValue":"` + model + `","options":[{"value":"big","name":"B"},{"value":"small","name":"S"}]},` +
			`{"id":"o","name":"O","type":"select","category":"mode","currentValue":"` + mode + `","options":[{"value":"plan","name":"P"},{"value":"act","name":"A"}]}]`
	}
	set := func(method, params string) string {
		return `c>{"jsonrpc":"2.0","id":3,"method":"` + method + `","params":{"sessionId":"a",` + params + `}}`
	}
	says := func(body string) string { return "c<" + update("a", body) }
	prompt, done := "c>"+request("2", "session/prompt", "a"), "c<"+result("2", `"usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5}`)
	for _, test := range []struct {
		name  string
		begin string // members of the reply that opens the session
		pass  []string
		want  func(s *api.Session) bool
	}{
		{"the title of the agent", "", []string{says(`"sessionUpdate":"session_info_update","title":"one"`), says(`"sessionUpdate":"session_info_update","title":"two"`)},
			func(s *api.Session) bool { return s.Title == "two" }},
		{"a title that is empty", "", []string{says(`"sessionUpdate":"session_info_update","title":"one"`), says(`"sessionUpdate":"session_info_update"`)},
			func(s *api.Session) bool { return s.Title == "one" }},
		{"what the agent has spent", "", []string{says(`"sessionUpdate":"usage_update","used":10,"size":100,"cost":{"amount":2,"currency":"USD"}`), says(`"sessionUpdate":"usage_update","used":20,"size":100,"cost":{"amount":3,"currency":"USD"}`)},
			func(s *api.Session) bool {
				return s.Usage.ContextUsed == 20 && s.Usage.ContextSize == 100 && s.Usage.Cost.Amount == 3
			}},
		{"an agent that counts from zero", "", []string{says(`"sessionUpdate":"usage_update","used":10,"size":100,"cost":{"amount":2,"currency":"USD"}`), says(`"sessionUpdate":"usage_update","used":1,"size":100,"cost":{"amount":1,"currency":"USD"}`)},
			func(s *api.Session) bool { return s.Usage.Cost.Amount == 3 }},
		{"the tokens of two turns", "", []string{prompt, done, prompt, done},
			func(s *api.Session) bool {
				return s.Usage.TotalTokens == 10 && s.Usage.InputTokens == 4 && s.Status == api.SessionIdle
			}},
		{"a reply that comes twice", "", []string{prompt, done, done}, func(s *api.Session) bool { return s.Usage.TotalTokens == 5 }},
		{"the mode that the agent is in", modes, []string{says(`"sessionUpdate":"current_mode_update","currentModeId":"act"`)},
			func(s *api.Session) bool { return s.Mode == "act" && s.Modes.CurrentModeID == "act" }},
		{"the mode of an option", options("big", "plan"), []string{says(`"sessionUpdate":"current_mode_update","currentModeId":"act"`)},
			func(s *api.Session) bool { return s.Mode == "act" && s.Model == "big" }},
		{"a mode that an option does not have", options("big", "plan"), []string{says(`"sessionUpdate":"current_mode_update","currentModeId":"other"`)},
			func(s *api.Session) bool { return s.Mode == "plan" }},
		{"new options", modes + "," + options("big", "plan"), []string{says(`"sessionUpdate":"config_option_update",` + options("small", "act"))},
			func(s *api.Session) bool {
				return s.Model == "small" && s.Mode == "act" && s.Modes.CurrentModeID == "act"
			}},
		{"a client sets an option", options("big", "plan"), []string{set("session/set_config_option", `"configId":"m","value":"small"`), "c<" + result("3", options("small", "plan"))},
			func(s *api.Session) bool { return s.Model == "small" }},
		{"an agent that only says that the option is set", options("big", "plan"), []string{set("session/set_config_option", `"configId":"m","value":"small"`), "c<" + result("3", "")},
			func(s *api.Session) bool { return s.Model == "small" }},
		{"an option that the agent refuses", options("big", "plan"), []string{set("session/set_config_option", `"configId":"m","value":"small"`), "c<" + failure("3")},
			func(s *api.Session) bool { return s.Model == "big" }},
		{"a client sets the mode", modes, []string{set("session/set_mode", `"modeId":"act"`), "c<" + result("3", "")},
			func(s *api.Session) bool { return s.Mode == "act" }},
		{"a mode before the reply to it", modes, []string{set("session/set_mode", `"modeId":"act"`)},
			func(s *api.Session) bool { return s.Mode == "plan" }},
		{"a prompt under way", "", []string{prompt}, func(s *api.Session) bool { return s.Status == api.SessionRunning }},
		{"a permission request", "", []string{prompt, "c<" + permissionFor("7", "a")},
			func(s *api.Session) bool { return s.Status == api.SessionWaiting && s.PendingPermissions == 1 }},
		{"a permission request with its reply", "", []string{prompt, "c<" + permissionFor("7", "a"), "c>" + result("7", `"outcome":{"outcome":"cancelled"}`)},
			func(s *api.Session) bool { return s.Status == api.SessionRunning && s.PendingPermissions == 0 }},
		{"an agent that has ended", "", []string{prompt, "c<" + permissionFor("7", "a"), "c!"},
			func(s *api.Session) bool {
				return s.Status == api.SessionStopped && s.PendingPermissions == 0 && strings.Contains(s.Reason, "crashed")
			}},
		{"an update that cannot be read", "", []string{says(`"sessionUpdate":"usage_update","used":"many"`), says(`"sessionUpdate":7`), says(`"x":1`)},
			func(s *api.Session) bool { return s.Status == api.SessionIdle && s.LastEvent == 5 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, stop := startOn(t, Config{Journal: openJournal(t)})
			defer stop()
			w := &wire{t, m}
			begin := `"sessionId":"a"`
			if test.begin != "" {
				begin += "," + test.begin
			}
			w.pass("c>"+request("1", "session/new", ""), "c<"+result("1", begin))
			w.pass(test.pass...)
			eventsOf(t, m, "a", 0) // the newest event is told once readers can get it
			if s, err := m.Get("a"); err != nil || !test.want(s) {
				t.Errorf("the session is %+v, %v", s, err)
			}
		})
	}
}

// A permission request shows what the agent has said of its tool call before.
func TestPermissionRequestHasWhatWasSaidOfItsToolCall(t *testing.T) {
	m, stop := startOn(t, Config{Journal: openJournal(t)})
	defer stop()
	w := &wire{t, m}
	w.pass(opened...)
	w.pass("c>"+request("2", "session/prompt", "a"),
		"c<"+update("a", `"sessionUpdate":"tool_call","toolCallId":"c","title":"Write a.txt","kind":"edit","rawInput":{"path":"a.txt"}`),
		"c<"+update("a", `"sessionUpdate":"tool_call_update","toolCallId":"c","title":"Write b.txt"`),
		"c<"+permissionFor("7", "a"))
	list, err := m.Permissions("a")
	if err != nil || len(list.Permissions) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if c := list.Permissions[0].ToolCall; c.Title != "Write b.txt" || c.Kind != "edit" || string(c.RawInput) != `{"path":"a.txt"}` {
		t.Errorf("the tool call is %+v", c)
	}
}

// mirrored is a Mirror that keeps what it receives.
type mirrored []string

func (m *mirrored) Notified(owner string, frame []byte) { *m = append(*m, owner+" "+string(frame)) }

func (m *mirrored) Asked(owner string, p api.Permission, _ []byte) {
	*m = append(*m, owner+" "+p.ID)
}

// What the agent of an owned session sends reaches the owner, in order, and nothing of
// other sessions does. A permission request has an id of the server, as those of two
// agents may be equal.
func TestMirrorReceivesOwnedSessionsAlone(t *testing.T) {
	j := openJournal(t)
	for _, id := range []string{"s", "other"} {
		rec := own()
		rec.ID, rec.Server, rec.Bound, rec.Live = id, "session-"+id, nil, false
		if rec.AgentSessionID = "of-" + id; id == "s" {
			rec.Owner = "v"
		}
		keep(t, j, rec)
	}
	var received mirrored
	m, stop := startOn(t, Config{Journal: j, Mirror: &received})
	defer stop()
	w := &wire{t, m}
	for _, id := range []string{"s", "other"} {
		c, sid := "session-"+id, "of-"+id
		w.pass(c+">"+request("1", "session/load", sid), c+"<"+result("1", ""), c+">"+request("2", "session/prompt", sid),
			c+"<"+update(sid, speaks), c+"<"+permissionFor("7", sid))
	}
	if want := []string{"v " + update("of-s", speaks), "v perm-s-5"}; !slices.Equal(received, want) {
		t.Errorf("the owner receives %q, want %q", received, want)
	}
	if told := w.told(); len(told["s"]) != 5 || len(told["other"]) != 5 {
		t.Errorf("events %q", told)
	}
}
