package session

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// life are frames of a session with everything that a record is derived from, a step
// each. The first character says who sends: > a client, < the agent.
var life = []string{
	`>{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}`,
	`<{"jsonrpc":"2.0","id":1,"result":{"sessionId":"s","modes":{"currentModeId":"ask","availableModes":[{"id":"ask","name":"Ask"},{"id":"plan","name":"Plan"}]},"models":{"currentModelId":"small","availableModels":[{"modelId":"small","name":"S"},{"modelId":"big","name":"B"}]},"configOptions":[{"id":"web","name":"Web","type":"select","currentValue":"off","options":[{"value":"off","name":"Off"},{"value":"on","name":"On"}]}]}}`,
	`>{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"s","prompt":[{"type":"text","text":"the first words"}]}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hello"}}}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"session_info_update","title":"A title"}}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"usage_update","used":10,"size":100,"cost":{"amount":8,"currency":"USD"}}}}`,
	`<{"jsonrpc":"2.0","id":2,"result":{"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}}`,
	`>{"jsonrpc":"2.0","id":3,"method":"session/set_mode","params":{"sessionId":"s","modeId":"plan"}}`,
	`<{"jsonrpc":"2.0","id":3,"result":{}}`,
	`>{"jsonrpc":"2.0","id":4,"method":"session/set_model","params":{"sessionId":"s","modelId":"big"}}`,
	`<{"jsonrpc":"2.0","id":4,"result":{}}`,
	`>{"jsonrpc":"2.0","id":5,"method":"session/set_config_option","params":{"sessionId":"s","configId":"web","value":"on"}}`,
	`<{"jsonrpc":"2.0","id":5,"result":{}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"current_mode_update","currentModeId":"ask"}}}`,
	`>{"jsonrpc":"2.0","id":6,"method":"session/set_mode","params":{"sessionId":"s","modeId":"none"}}`,
	`<{"jsonrpc":"2.0","id":6,"error":{"code":-32602,"message":"no such mode"}}`,
	`>{"jsonrpc":"2.0","id":7,"method":"session/prompt","params":{"sessionId":"s","prompt":[{"type":"text","text":"more"}]}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"tool_call","toolCallId":"c","title":"look","kind":"read"}}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"usage_update","used":30,"size":100,"cost":{"amount":3,"currency":"USD"}}}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"usage_update","used":40,"size":100,"cost":{"amount":5,"currency":"USD"}}}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"config_option_update","configOptions":[{"id":"web","name":"Web","type":"select","currentValue":"off","options":[{"value":"off","name":"Off"},{"value":"on","name":"On"}]}]}}}`,
	`<{"jsonrpc":"2.0","id":7,"result":{"stopReason":"end_turn","usage":{"inputTokens":10,"outputTokens":20,"totalTokens":30}}}`,
	`<{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"session_info_update","title":"Another title"}}}`,
}

// see shows a manager a frame of a life.
func see(t *testing.T, m *Manager, frame string) {
	t.Helper()
	from := map[byte]journal.Direction{'>': journal.FromClient, '<': journal.FromAgent}[frame[0]]
	msg, err := acp.Parse([]byte(frame[1:]))
	if err != nil {
		t.Fatal(err)
	}
	m.Observe(bridge.Event{Server: "c", Agent: "a", From: from, Msg: msg, Frame: []byte(frame[1:])})
}

// ledger is a journal in memory, and a manager on it.
func ledger(t *testing.T) (*journal.Journal, *Manager) {
	t.Helper()
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return j, manage(t, j)
}

func manage(t *testing.T, j *journal.Journal) *Manager {
	t.Helper()
	m, err := New(Config{Journal: j, CWD: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func end(t *testing.T, j *journal.Journal, m *Manager) {
	t.Helper()
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// checkpoint returns the record of the only session as it is now; nothing without one.
func checkpoint(t *testing.T, m *Manager) []byte {
	t.Helper()
	all := m.all()
	if len(all) == 0 {
		return nil
	}
	data, _, err := all[0].encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// derivedOf returns the parts of a record that are derived from events.
func derivedOf(t *testing.T, data []byte) string {
	t.Helper()
	rec, _, err := decodeRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{rec.AgentTitle, rec.TitledBy, rec.First, rec.Options, rec.Modes, rec.Models, rec.Chosen, rec.Usage, rec.Counted, rec.SpentBefore})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRecordIsThatOfItsEvents ends a server after each step of a life, with each record
// that it may have written by then. What the next one makes of both is what was there,
// and what the events give from the first one on.
func TestRecordIsThatOfItsEvents(t *testing.T) {
	j, m := ledger(t)
	defer end(t, j, m)
	var checkpoints [][]byte // after each step
	for step, frame := range life {
		see(t, m, frame)
		now := checkpoint(t, m)
		checkpoints = append(checkpoints, now)
		if now == nil {
			continue
		}
		last, err := j.Last(stream("s"))
		if err != nil {
			t.Fatal(err)
		}
		events := entries(t, j, last)
		for before, data := range checkpoints {
			if data != nil {
				if got := restarted(t, events, data); got != derivedOf(t, now) {
					t.Fatalf("with the record of step %d, after step %d: %s, want %s", before, step, got, derivedOf(t, now))
				}
			}
		}
		other := bytes.Replace(now, []byte(`"version":1`), []byte(`"version":99,"agentTitle":"of other code"`), 1)
		if got := restarted(t, events, other); got != derivedOf(t, now) {
			t.Fatalf("from the first event, after step %d: %s, want %s", step, got, derivedOf(t, now))
		}
	}
}

// entries returns the events of the session up to last.
func entries(t *testing.T, j *journal.Journal, last uint64) (all []journal.Entry) {
	t.Helper()
	for r := j.Reader(stream("s"), 0); r.Cursor() < last; {
		batch, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batch.Entries...)
	}
	return all
}

// restarted returns what a server makes of events and a record.
func restarted(t *testing.T, events []journal.Entry, data []byte) string {
	t.Helper()
	j, m := ledger(t)
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if _, err := j.Append(stream("s"), e.Dir, e.Frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Wait(t.Context(), stream("s"), uint64(len(events))); err != nil {
		t.Fatal(err)
	}
	if err := j.PutRecord(t.Context(), RecordKind, "s", data); err != nil {
		t.Fatal(err)
	}
	m = manage(t, j)
	defer end(t, j, m)
	return derivedOf(t, checkpoint(t, m))
}

// TestRecordOfOtherCodeStandsForDroppedEvents has a record of another version whose
// first events are no longer kept.
func TestRecordOfOtherCodeStandsForDroppedEvents(t *testing.T) {
	j, m := ledger(t)
	for _, frame := range life {
		see(t, m, frame)
	}
	now := checkpoint(t, m)
	end(t, j, m)
	store := journal.Memory()
	if err := store.AppendBlocks(t.Context(), []journal.Block{{Stream: stream("s"), First: 30, Last: 30, Data: journal.EncodeBlock(nil, []journal.Entry{
		{Seq: 30, Dir: journal.FromAgent, Frame: []byte(`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"plan","entries":[]}}}`)},
	})}}); err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(now, []byte(`"version":1`), []byte(`"version":99`), 1)
	if err := store.PutRecord(t.Context(), RecordKind, "s", other); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m = manage(t, j)
	defer end(t, j, m)
	if got := checkpoint(t, m); !strings.Contains(string(got), "Another title") || !strings.Contains(string(got), `"version":1`) {
		t.Errorf("the record is %s", got)
	}
}

// TestDroppingWaitsForRecords applies a retention right after a change.
func TestDroppingWaitsForRecords(t *testing.T) {
	j, m := ledger(t)
	defer end(t, j, m)
	for _, frame := range life {
		see(t, m, frame)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := j.GetRecord(t.Context(), RecordKind, "s")
	if err != nil || derivedOf(t, data) != derivedOf(t, checkpoint(t, m)) {
		t.Errorf("the record that is kept is %s, %v", data, err)
	}
}
