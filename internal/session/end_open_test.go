package session

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// openJournal returns a journal in memory.
func openJournal(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// startOn runs a manager on a journal; stop ends it with its agents.
func startOn(t *testing.T, cfg Config) (m *Manager, stop func()) {
	t.Helper()
	cfg.CWD = "/"
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m, func() {
		t.Helper()
		if err := m.Bridge().Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// write adds events to a stream, and returns when readers can get them. Each begins with who sends it: > is the client, < is
// the agent or the server.
func write(t *testing.T, j *journal.Journal, stream string, events ...string) {
	t.Helper()
	last := uint64(0)
	for _, e := range events {
		dir := journal.FromAgent
		if e[0] == '>' {
			dir = journal.FromClient
		}
		var err error
		if last, err = j.Append(stream, dir, []byte(e[1:])); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Wait(t.Context(), stream, last); err != nil {
		t.Fatal(err)
	}
}

// eventsOf returns the events of a session behind a number, all that were appended.
func eventsOf(t *testing.T, m *Manager, id string, after uint64) []api.SessionEvent {
	t.Helper()
	stream, last := m.lookup(id).newest()
	if err := m.cfg.Journal.Wait(t.Context(), stream, last); err != nil {
		t.Fatal(err)
	}
	list, err := m.Events(t.Context(), id, after, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list.Events
}

// keep stores the record of a session.
func keep(t *testing.T, j *journal.Journal, rec record) {
	t.Helper()
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.PutRecord(t.Context(), RecordKind, rec.ID, data); err != nil {
		t.Fatal(err)
	}
}

// The events of the session s, whose agent knows it as a.
func sent(id, method string) string {
	return fmt.Sprintf(`>{"jsonrpc":"2.0","id":%s,"method":"%s","params":{"sessionId":"a","prompt":[{"type":"text","text":"words of %s"}]}}`, id, method, strings.Trim(id, `"`))
}

func reply(id string) string {
	return fmt.Sprintf(`<{"jsonrpc":"2.0","id":%s,"result":{"stopReason":"end_turn","usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5}}}`, id)
}

func notice(method, params string) string {
	return fmt.Sprintf(`<{"jsonrpc":"2.0","method":"%s","params":{%s}}`, method, params)
}

func ofTurn(method, turn string) string { return notice(method, `"turn":"`+turn+`"`) }

func waitsWith(turn string) string {
	return notice(api.EventPromptQueued, `"turn":"`+turn+`","prompt":[{"type":"text","text":"words of `+turn+`"}]`)
}

func resolved(event int) string {
	return notice(api.EventPermissionResolved, fmt.Sprintf(`"permissionId":"perm-s-%d","reply":"once","by":"u"`, event))
}

const (
	asksUser = `<{"jsonrpc":"2.0","id":"q","method":"session/request_permission","params":{"sessionId":"a","toolCall":{"toolCallId":"c"},"options":[{"optionId":"y","name":"Y","kind":"allow_once"}]}}`
	said     = `<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"a","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hi"}}}}`
	ended    = `<{"jsonrpc":"2.0","method":"_session/stopped","params":{"reason":"crash"}}`
)

// settledWith returns what the server has added behind an event, in short.
func settledWith(t *testing.T, m *Manager, after uint64) []string {
	t.Helper()
	out := []string{}
	for _, e := range eventsOf(t, m, "s", after) {
		var frame struct {
			Method string
			Params struct{ Turn, PermissionID, Reply, Error, Reason string }
		}
		if err := json.Unmarshal(e.Payload, &frame); err != nil {
			t.Fatal(err)
		}
		p := frame.Params
		word := strings.TrimPrefix(frame.Method, "_session/")
		for _, more := range []string{p.Turn, p.PermissionID, p.Reply, p.Error, p.Reason} {
			if more != "" {
				word += " " + more
			}
		}
		out = append(out, word)
	}
	return out
}

// own is the record of a session on a connection of its own, as written right after
// it was created.
func own() record {
	return record{ID: "s", Agent: "x", AgentSessionID: "a", Server: "session-s", Bound: []binding{{From: 1, Server: "session-s"}}, Live: true}
}

// recordNow returns the record of the session s.
func recordNow(m *Manager) record {
	s := m.lookup("s")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

func TestSettlingEndsWhatTheEndOfTheServerLeftOpen(t *testing.T) {
	const stopped = "stopped the server ended"
	foreign := func(r *record) { r.Server, r.Bound = "c", []binding{{From: 1, Server: "c"}} }
	for _, test := range []struct {
		name   string
		change func(*record)
		events []string
		want   []string
	}{
		{"nothing was said", nil, nil, []string{stopped}},
		{"a prompt without a reply", func(r *record) { r.Turn = "t1" }, []string{sent(`"n-1"`, "session/prompt"), said},
			[]string{stopped, "turn_ended t1 the server ended"}},
		{"a prompt with its reply", nil, []string{sent(`"n-1"`, "session/prompt"), said, reply(`"n-1"`)}, []string{stopped}},
		{"a reply whose id is spelt in another way", nil, []string{sent(`"n-1"`, "session/prompt"), reply(`"\u006e-1"`)}, []string{stopped}},
		{"a prompt of a client on its own connection", foreign, []string{sent("1", "session/prompt"), said}, []string{stopped}},
		{"a prompt that waits", nil, []string{waitsWith("t1")}, []string{stopped, "prompt_dropped t1 the server ended"}},
		{"two prompts that wait", nil, []string{waitsWith("t1"), waitsWith("t2")},
			[]string{stopped, "prompt_dropped t1 the server ended", "prompt_dropped t2 the server ended"}},
		{"a prompt that was dropped before", nil, []string{waitsWith("t1"), ofTurn(api.EventPromptDropped, "t1")}, []string{stopped}},
		{"a turn whose prompt never reached the agent", nil, []string{waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1")},
			[]string{stopped, "turn_ended t1 the server ended"}},
		{"one turn under way and one that waits", nil,
			[]string{waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1"), sent(`"n-1"`, "session/prompt"), waitsWith("t2"), said},
			[]string{stopped, "turn_ended t1 the server ended", "prompt_dropped t2 the server ended"}},
		{"the second of two turns", nil,
			[]string{waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1"), sent(`"n-1"`, "session/prompt"), waitsWith("t2"), reply(`"n-1"`), ofTurn(api.EventTurnStarted, "t2"), sent(`"n-2"`, "session/prompt")},
			[]string{stopped, "turn_ended t2 the server ended"}},
		{"a permission request", func(r *record) { r.Turn = "t1" }, []string{sent(`"n-1"`, "session/prompt"), asksUser},
			[]string{"permission_resolved perm-s-2 cancel", stopped, "turn_ended t1 the server ended"}},
		{"two permission requests with one reply", func(r *record) { r.Turn = "t1" }, []string{sent(`"n-1"`, "session/prompt"), asksUser, asksUser, resolved(2)},
			[]string{"permission_resolved perm-s-3 cancel", stopped, "turn_ended t1 the server ended"}},
		{"a permission request that was refused", nil, []string{asksUser, notice(api.EventPermissionInvalid, `"event":1,"error":"x"`)}, []string{stopped}},
		{"a permission request on a client's connection", foreign, []string{sent("1", "session/prompt"), asksUser},
			[]string{"permission_resolved perm-s-2 cancel", stopped}},
		{"an agent that has ended", nil, []string{sent(`"n-1"`, "session/prompt"), reply(`"n-1"`), ended}, []string{}},
		{"an agent that has ended in a turn", func(r *record) { r.Turn = "t1" }, []string{sent(`"n-1"`, "session/prompt"), said, ended},
			[]string{"turn_ended t1 the server ended"}},
		{"an agent that has ended in the turn of a client", foreign, []string{sent("1", "session/prompt"), ended}, []string{}},
		{"a turn that ended with its agent", nil, []string{sent(`"n-1"`, "session/prompt"), ended, ofTurn(api.EventTurnEnded, "t1")}, []string{}},
		{"an agent that was restored for an unread prompt", nil,
			[]string{sent(`"n-1"`, "session/prompt"), ended, sent(`"n-2"`, "session/resume"), reply(`"n-2"`), notice(api.EventPromptResent, `"turn":"t1","request":"n-1"`)},
			[]string{stopped, "turn_ended t1 the server ended"}},
		{"a turn that was resent and has its reply", nil,
			[]string{sent(`"n-1"`, "session/prompt"), ended, notice(api.EventPromptResent, `"turn":"t1","request":"n-1"`), said, reply(`"n-1"`)},
			[]string{stopped}},
		{"a prompt of a client before the session moved to a connection of its own",
			func(r *record) { r.Bound = []binding{{From: 1, Server: "c"}, {From: 2, Server: "session-s"}} },
			[]string{sent("1", "session/prompt"), sent(`"n-2"`, "session/load"), reply(`"n-2"`)}, []string{stopped}},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := openJournal(t)
			rec := own()
			if test.change != nil {
				test.change(&rec)
			}
			write(t, j, "session/s", test.events...)
			for _, again := range []bool{false, true} {
				keep(t, j, rec) // as if the record were not saved since
				m, stop := startOn(t, Config{Journal: j})
				if got := settledWith(t, m, uint64(len(test.events))); !slices.Equal(got, test.want) {
					t.Errorf("settled again: %v: %q, want %q", again, got, test.want)
				}
				s, err := m.Get("s")
				if err != nil || s.Status != api.SessionStopped || s.Reason == "" || s.PendingPermissions != 0 || s.Turn != "" {
					t.Errorf("settled again: %v: %+v, %v", again, s, err)
				}
				stop()
			}
		})
	}
}

// Every event of a long conversation may be the last one before the server is killed.
func TestSettlingAfterAnyEventLeavesNothingOpen(t *testing.T) {
	whole := []string{
		sent(`"n-0"`, "session/new"), `<{"jsonrpc":"2.0","id":"n-0","result":{"sessionId":"a"}}`,
		waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1"), sent(`"n-1"`, "session/prompt"), said,
		asksUser, waitsWith("t2"), resolved(7), asksUser, waitsWith("t3"), reply(`"n-1"`), resolved(10),
		ofTurn(api.EventTurnStarted, "t2"), sent(`"n-2"`, "session/prompt"), ended,
		sent(`"n-3"`, "session/resume"), reply(`"n-3"`), notice(api.EventPromptResent, `"turn":"t2","request":"n-2"`), asksUser,
		ofTurn(api.EventPromptDropped, "t3"), resolved(20), ended, ofTurn(api.EventTurnEnded, "t2"),
	}
	for n := range len(whole) + 1 {
		t.Run(fmt.Sprintf("after event %d", n), func(t *testing.T) {
			j := openJournal(t)
			write(t, j, "session/s", whole[:n]...)
			keep(t, j, own())
			m, stop := startOn(t, Config{Journal: j})
			defer stop()
			frames := ""
			asked := 0
			for _, e := range eventsOf(t, m, "s", 0) {
				frames += string(e.Payload) + "\n"
				if strings.Contains(string(e.Payload), "request_permission") {
					asked++
					id := fmt.Sprintf(`"permissionId":"perm-s-%d"`, e.EventIndex)
					defer func() {
						if got := strings.Count(frames, id); got != 1 {
							t.Errorf("the permission request of event %d is resolved %d times", e.EventIndex, got)
						}
					}()
				}
			}
			for turn, request := range map[string]string{"t1": "n-1", "t2": "n-2", "t3": "-"} {
				want := min(1, strings.Count(frames, api.EventPromptQueued+`","params":{"turn":"`+turn))
				got := strings.Count(frames, `"id":"`+request+`","result"`)
				for _, end := range []string{api.EventTurnEnded, api.EventPromptDropped} {
					got += strings.Count(frames, end+`","params":{"turn":"`+turn)
				}
				if got != want {
					t.Errorf("turn %s ends %d times, want %d", turn, got, want)
				}
			}
			if asked > 0 && !strings.Contains(frames, api.EventSessionStopped) {
				t.Error("nothing tells that the agent has ended")
			}
		})
	}
}

// What a user said stands in the transcript, whether or not the agent got it.
func TestTranscriptHasThePromptOfATurnThatNeverReachedTheAgent(t *testing.T) {
	for name, events := range map[string][]string{
		"it waited":        {waitsWith("t1")},
		"it was to begin":  {waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1")},
		"it failed":        {waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1"), ofTurn(api.EventTurnEnded, "t1")},
		"the agent has it": {waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1"), sent(`"t1"`, "session/prompt")},
		"it ended later":   {waitsWith("t1"), ofTurn(api.EventTurnStarted, "t1"), sent(`"t1"`, "session/prompt"), ended, ofTurn(api.EventTurnEnded, "t1")},
	} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t)
			write(t, j, "session/s", events...)
			keep(t, j, own())
			m, stop := startOn(t, Config{Journal: j})
			defer stop()
			eventsOf(t, m, "s", 0)
			script, err := m.Transcript(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			said := []string{}
			for _, message := range script.Messages {
				if message.Role == roleUser {
					said = append(said, message.Text)
				}
			}
			if !slices.Equal(said, []string{"words of t1"}) {
				t.Errorf("the user said %q", said)
			}
		})
	}
}

// The record of a session may be older than its events, and newer: it can be on disk
// before the events that it tells of.
func TestRecordBehindOrAheadOfItsEventsIsSettled(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*record)
	}{
		{"behind", func(*record) {}},
		{"behind and settled at an earlier event", func(r *record) { r.Live, r.Settled, r.Last = false, 1, 1 }},
		{"ahead and with an agent", func(r *record) { r.Settled, r.Counted, r.Last = 50, 50, 50 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := openJournal(t)
			write(t, j, "session/s", said, sent(`"n-1"`, "session/prompt"), reply(`"n-1"`))
			rec := own()
			test.change(&rec)
			ahead := rec.Last > 3
			keep(t, j, rec)
			m, stop := startOn(t, Config{Journal: j})
			now := recordNow(m)
			if now.Last != 4 || now.Settled > 4 || now.Counted > 4 {
				t.Errorf("the record says last %d, settled %d, counted %d", now.Last, now.Settled, now.Counted)
			}
			want := int64(5)
			if ahead {
				want = 0 // it says that all of it is counted
			}
			if got := int64(now.Usage.TotalTokens); got != want {
				t.Errorf("%d tokens are counted, want %d", got, want)
			}
			stop()
		})
	}
	t.Run("ahead, then killed in a turn", func(t *testing.T) {
		j := openJournal(t)
		write(t, j, "session/s", said)
		rec := own()
		rec.Live, rec.Settled, rec.Counted, rec.Last = false, 50, 50, 50
		rec.Server, rec.Bound = "c", append(rec.Bound, binding{From: 51, Server: "c"})
		keep(t, j, rec)
		m, stop := startOn(t, Config{Journal: j})
		w := &wire{t: t, m: m}
		w.pass(`session-s>{"jsonrpc":"2.0","id":"n-1","method":"session/load","params":{"sessionId":"a","cwd":"/"}}`,
			`session-s<{"jsonrpc":"2.0","id":"n-1","result":{}}`,
			"session-s"+sent(`"n-2"`, "session/prompt"), "session-s"+reply(`"n-2"`),
			"session-s"+sent(`"n-3"`, "session/prompt"), "session-s"+asksUser)
		if got := recordNow(m).Usage.TotalTokens; got != 5 {
			t.Errorf("%d tokens are counted, want 5", got)
		}
		stop() // the record is saved as it is, which is as a kill would leave it
		m, stop = startOn(t, Config{Journal: j})
		defer stop()
		want := []string{"permission_resolved perm-s-7 cancel", "stopped the server ended", "turn_ended the server ended"}
		if got := settledWith(t, m, 7); !slices.Equal(got, want) {
			t.Errorf("settled with %q, want %q", got, want)
		}
		if got := eventsOf(t, m, "s", 0)[3].ConnectionID; got != "session-s" {
			t.Errorf("the prompt is of the connection %q", got)
		}
	})
}
