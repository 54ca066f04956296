// Package storetest checks implementations of [sandboxagent.SessionStore].
package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Run checks a kind of store. Each call of empty returns the function that
// opens a new, empty store, and opens it again when it is called again; a store
// that keeps nothing returns the same one. A store that has a Close method is
// closed before it is opened again, and at the end.
func Run(t *testing.T, empty func(t testing.TB) (open func() sandboxagent.SessionStore)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *opened)
	}{
		{"Sessions", sessions},
		{"SessionFields", sessionFields},
		{"SessionPages", sessionPages},
		{"Events", events},
		{"EventOnce", eventOnce},
		{"EventPages", eventPages},
		{"Payload", payload},
		{"Isolation", isolation},
		{"Names", names},
		{"Concurrency", concurrency},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &opened{t: t, open: empty(t)}
			s.SessionStore = s.open()
			t.Cleanup(s.close)
			test.run(t, s)
		})
	}
}

// opened is a store that can be opened again.
type opened struct {
	sandboxagent.SessionStore
	t    *testing.T
	open func() sandboxagent.SessionStore
}

func (s *opened) close() {
	s.t.Helper()
	if c, ok := s.SessionStore.(interface{ Close() error }); ok {
		if err := c.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	}
}

func (s *opened) again() {
	s.t.Helper()
	s.close()
	s.SessionStore = s.open()
}

func (s *opened) put(id string, at int64) api.Session {
	s.t.Helper()
	session := api.Session{ID: id, Agent: "mock", CreatedAt: at, Status: api.SessionIdle}
	if err := s.PutSession(s.t.Context(), session); err != nil {
		s.t.Fatal(err)
	}
	return session
}

func event(session string, index uint64) api.SessionEvent {
	return api.SessionEvent{
		ID: fmt.Sprintf("%s:%d", session, index), EventIndex: index, SessionID: session, CreatedAt: int64(1000 + index),
		ConnectionID: "c", Sender: "agent", Payload: []byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"n","params":%d}`, index)),
	}
}

func (s *opened) putEvents(session string, indexes ...uint64) {
	s.t.Helper()
	for _, i := range indexes {
		if err := s.PutEvent(s.t.Context(), event(session, i)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// wantEvents checks the numbers of the events behind after.
func (s *opened) wantEvents(session string, after uint64, limit int, want ...uint64) {
	s.t.Helper()
	list, err := s.Events(s.t.Context(), session, after, limit)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []uint64
	for _, e := range list {
		got = append(got, e.EventIndex)
		if !reflect.DeepEqual(e, event(session, e.EventIndex)) {
			s.t.Errorf("event is %+v", e)
		}
	}
	if !reflect.DeepEqual(got, want) {
		s.t.Errorf("events of %q behind %d are %v, want %v", session, after, got, want)
	}
}

func sessions(t *testing.T, s *opened) {
	ctx := t.Context()
	if _, err := s.Session(ctx, "a"); !errors.Is(err, sandboxagent.ErrSessionNotFound) {
		t.Errorf("session that is not there: %v", err)
	}
	list, next, err := s.Sessions(ctx, "", 0)
	if err != nil || len(list) != 0 || next != "" {
		t.Errorf("empty store has %v, %q, %v", list, next, err)
	}
	session := s.put("a", 5)
	session.Title, session.Status = "changed", api.SessionDestroyed
	if err := s.PutSession(ctx, session); err != nil {
		t.Fatal(err)
	}
	s.again()
	got, err := s.Session(ctx, "a")
	if err != nil || !reflect.DeepEqual(*got, session) {
		t.Errorf("session is %+v, %v", got, err)
	}
	if err := s.PutSession(ctx, api.Session{Agent: "mock"}); err == nil {
		t.Error("a session without an id was taken")
	}
}

// sessionFields keeps what the earlier clients' stores lost.
func sessionFields(t *testing.T, s *opened) {
	at := int64(9)
	session := api.Session{
		ID: "a", Agent: "mock", AgentSessionID: "b", LastConnectionID: "c", CreatedAt: 1, UpdatedAt: 2, DestroyedAt: &at,
		Title: "é\n\"", CWD: "/w", Status: "stopped", Reason: "idle", Model: "m", Mode: "plan", ThoughtLevel: "low",
		ConfigOptions: []acp.ConfigOption{{ID: "model", Name: "Model", Type: "select", CurrentValue: "m", Options: []acp.ConfigValue{{Value: "m", Name: "M"}}}},
		Modes:         &acp.SessionModes{CurrentModeID: "plan", AvailableModes: []acp.Mode{{ID: "plan", Name: "Plan"}}},
		Usage:         api.SessionUsage{InputTokens: 1 << 53, Cost: &acp.Cost{Amount: 0.5, Currency: "USD"}},
		LastEvent:     7, Restored: &api.SessionRestored{How: api.RestoredLoad, At: 3},
		Permissions: &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAllow)}, Metadata: map[string]any{"k": "v"},
	}
	if err := s.PutSession(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	s.again()
	got, err := s.Session(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, session) {
		t.Errorf("session is\n%+v, want\n%+v", *got, session)
	}
}

func sessionPages(t *testing.T, s *opened) {
	for _, p := range []struct {
		id string
		at int64
	}{{"c", 2}, {"a", 3}, {"b", 2}, {"e", 1}, {"d", 2}} {
		s.put(p.id, p.at)
	}
	s.again()
	for _, limit := range []int{0, 1, 2, 4, 5, 100} {
		got, cursor := "", ""
		for pages := 0; ; pages++ {
			list, next, err := s.Sessions(t.Context(), cursor, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(list) > limit {
				t.Errorf("page of %d has %d", limit, len(list))
			}
			for _, session := range list {
				got += session.ID
			}
			if cursor = next; cursor == "" {
				break
			}
			if pages > 5 {
				t.Fatal("pages do not end")
			}
		}
		if got != "ebcda" {
			t.Errorf("pages of %d give %s, want ebcda", limit, got)
		}
	}
}

func events(t *testing.T, s *opened) {
	s.wantEvents("a", 0, 0)
	s.put("a", 1)
	s.putEvents("a", 1, 2, 5, 4)
	s.putEvents("b", 1)
	s.wantEvents("a", 0, 0, 1, 2, 4, 5)
	s.again()
	s.wantEvents("a", 0, 0, 1, 2, 4, 5)
	s.wantEvents("a", 2, 0, 4, 5)
	s.wantEvents("a", 5, 0)
	s.wantEvents("b", 0, 0, 1)
	s.putEvents("a", 3, 6)
	s.wantEvents("a", 1, 0, 2, 3, 4, 5, 6)
}

func eventOnce(t *testing.T, s *opened) {
	s.putEvents("a", 1, 2, 1, 2, 2)
	s.wantEvents("a", 0, 0, 1, 2)
	s.again()
	s.putEvents("a", 1, 2)
	s.wantEvents("a", 0, 0, 1, 2)
	other := event("a", 2)
	other.ID = "another"
	if err := s.PutEvent(t.Context(), other); err == nil {
		t.Error("a second event of one number was taken")
	}
	if err := s.PutEvent(t.Context(), api.SessionEvent{SessionID: "a", EventIndex: 9}); err == nil {
		t.Error("an event without an id was taken")
	}
	s.wantEvents("a", 0, 0, 1, 2)
}

func eventPages(t *testing.T, s *opened) {
	for i := uint64(1); i <= 250; i++ {
		s.putEvents("a", i)
	}
	s.again()
	for _, limit := range []int{0, 1, 99, 250, 1000} {
		after, count := uint64(0), 0
		for {
			list, err := s.Events(t.Context(), "a", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			most := limit
			if most == 0 {
				most = 100
			}
			if len(list) > most {
				t.Errorf("page of %d has %d", most, len(list))
			}
			for _, e := range list {
				if e.EventIndex != after+1 {
					t.Fatalf("event %d behind %d", e.EventIndex, after)
				}
				after = e.EventIndex
				count++
			}
			if len(list) < most {
				break
			}
		}
		if count != 250 {
			t.Errorf("pages of %d give %d events", limit, count)
		}
	}
}

// payload keeps the bytes of frames, whatever they are.
func payload(t *testing.T, s *opened) {
	big := make([]byte, 2<<20)
	for i := range big {
		big[i] = 'x'
	}
	for i, text := range []string{
		`{"b":1,"a":12345678901234567890,"a":1e400}`, ` { "spaced" :  [ 1 , 2 ] } `, `{"n":"\u0000é\u2028<>&"}`,
		"{\"raw\":\"\xff\xfe\"}", `"` + string(big) + `"`, `null`,
	} {
		e := event("a", uint64(i+1))
		e.Payload = []byte(text)
		if err := s.PutEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		s.again()
		list, err := s.Events(t.Context(), "a", uint64(i), 1)
		if err != nil || len(list) != 1 || string(list[0].Payload) != text {
			t.Errorf("payload %.60q came back otherwise: %d events, %v", text, len(list), err)
		}
	}
}

// isolation gives nobody a hold on what is stored.
func isolation(t *testing.T, s *opened) {
	session := api.Session{ID: "a", Agent: "mock", CreatedAt: 1, Metadata: map[string]any{"k": "v"}}
	if err := s.PutSession(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	session.Metadata["k"] = "changed"
	e := event("a", 1)
	if err := s.PutEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	e.Payload[0] = '['
	for range 2 {
		got, err := s.Session(t.Context(), "a")
		if err != nil || got.Metadata["k"] != "v" {
			t.Errorf("session is %+v, %v", got, err)
		}
		got.Metadata["k"] = "changed"
		list, err := s.Events(t.Context(), "a", 0, 0)
		if err != nil || len(list) != 1 || list[0].Payload[0] != '{' {
			t.Errorf("events are %+v, %v", list, err)
		}
		list[0].Payload[0] = '['
	}
}

// names keeps sessions apart whatever their ids.
func names(t *testing.T, s *opened) {
	ids := []string{"a", "A", "../a", "a/b", ".", "..", "a b", "é", "a%2Fb", "a:1", "con", strings.Repeat("LONG", 32), strings.Repeat("LONG", 31) + "long"}
	for i, id := range ids {
		s.put(id, int64(i))
		s.putEvents(id, uint64(i+1))
	}
	s.again()
	for i, id := range ids {
		if got, err := s.Session(t.Context(), id); err != nil || got.CreatedAt != int64(i) {
			t.Errorf("session %q is %+v, %v", id, got, err)
		}
		s.wantEvents(id, 0, 0, uint64(i+1))
	}
}

func concurrency(t *testing.T, s *opened) {
	var all sync.WaitGroup
	for writer := range 4 {
		all.Go(func() {
			for i := uint64(1); i <= 50; i++ {
				if err := s.PutEvent(t.Context(), event("shared", i)); err != nil {
					t.Error(err)
				}
				own := fmt.Sprint(writer)
				if err := s.PutEvent(t.Context(), event(own, i)); err != nil {
					t.Error(err)
				}
				if err := s.PutSession(t.Context(), api.Session{ID: own, CreatedAt: 1, LastEvent: i}); err != nil {
					t.Error(err)
				}
				if _, err := s.Events(t.Context(), "shared", 0, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, id := range []string{"shared", "0", "3"} {
		list, err := s.Events(t.Context(), id, 0, 100)
		if err != nil || len(list) != 50 {
			t.Errorf("%s has %d events, %v", id, len(list), err)
		}
	}
}
