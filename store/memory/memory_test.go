package memory_test

import (
	"fmt"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/memory"
	"github.com/sandboxagent/sandboxagent/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(testing.TB) func() sandboxagent.SessionStore {
		s := memory.New(memory.Options{})
		return func() sandboxagent.SessionStore { return s }
	})
}

func TestBounds(t *testing.T) {
	s := memory.New(memory.Options{MaxSessions: 2, MaxEvents: 3})
	for i := range 4 {
		id := fmt.Sprint(i)
		if err := s.PutSession(t.Context(), api.Session{ID: id, CreatedAt: int64(i)}); err != nil {
			t.Fatal(err)
		}
		for n := range uint64(5) {
			if err := s.PutEvent(t.Context(), api.SessionEvent{ID: fmt.Sprint(id, n), SessionID: id, EventIndex: n + 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, _, err := s.Sessions(t.Context(), "", 0)
	if err != nil || len(list) != 2 || list[0].ID != "2" {
		t.Errorf("sessions are %+v, %v", list, err)
	}
	if gone, err := s.Events(t.Context(), "0", 0, 0); err != nil || len(gone) != 0 {
		t.Errorf("events of a session that went are %+v, %v", gone, err)
	}
	if kept, err := s.Events(t.Context(), "3", 0, 0); err != nil || len(kept) != 3 || kept[0].EventIndex != 3 {
		t.Errorf("events are %+v, %v", kept, err)
	}
}

func BenchmarkPutEvent(b *testing.B) {
	s := memory.New(memory.Options{MaxEvents: -1})
	for i := 0; b.Loop(); i++ {
		if err := s.PutEvent(b.Context(), api.SessionEvent{ID: fmt.Sprint(i), SessionID: "a", EventIndex: uint64(i + 1), Payload: []byte(`{}`)}); err != nil {
			b.Fatal(err)
		}
	}
}
