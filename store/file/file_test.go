package file_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/file"
	"github.com/sandboxagent/sandboxagent/store/storetest"
)

func mustOpen(t testing.TB, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) func() sandboxagent.SessionStore {
		dir := filepath.Join(t.TempDir(), "store")
		return func() sandboxagent.SessionStore { return mustOpen(t, dir) }
	})
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if _, err := file.Open(dir); !errors.Is(err, api.CodeDataLocked) {
		t.Errorf("second process: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.PutSession(t.Context(), api.Session{ID: "a"}); !errors.Is(err, sandboxagent.ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
	if err := mustOpen(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

func putEvents(t testing.TB, s *file.Store, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		e := api.SessionEvent{ID: fmt.Sprint("e", i), SessionID: "a", EventIndex: i, Payload: []byte(`{"n":1}`)}
		if err := s.PutEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func events(t testing.TB, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.events.jsonl"))
	if err != nil || len(found) != 1 {
		t.Fatalf("files of events: %v, %v", found, err)
	}
	return found[0]
}

// A process that dies while it writes an event leaves a part of a line, which
// was never put.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	putEvents(t, s, 1, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := events(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(whole)/3; cut++ {
		if err := os.WriteFile(path, whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, dir)
		if list, err := s.Events(t.Context(), "a", 0, 0); err != nil || len(list) != 2 {
			t.Fatalf("%d bytes cut: events are %+v, %v", cut, list, err)
		}
		putEvents(t, s, 3, 4)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir)
		if list, err := s.Events(t.Context(), "a", 0, 0); err != nil || len(list) != 4 {
			t.Fatalf("%d bytes cut and put again: events are %+v, %v", cut, list, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	putEvents(t, s, 1, 2)
	if err := s.PutSession(t.Context(), api.Session{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(events(t, dir), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	if _, err := s.Events(t.Context(), "a", 0, 0); !errors.Is(err, api.CodeDataCorrupt) {
		t.Errorf("damaged events: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "s-a.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Open(dir); !errors.Is(err, api.CodeDataCorrupt) {
		t.Errorf("damaged session: %v", err)
	}
}

func BenchmarkPutEvent(b *testing.B) {
	s := mustOpen(b, b.TempDir())
	defer s.Close()
	for i := uint64(1); b.Loop(); i++ {
		e := api.SessionEvent{ID: fmt.Sprint(i), SessionID: "a", EventIndex: i, Payload: []byte(`{"jsonrpc":"2.0"}`)}
		if err := s.PutEvent(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// More sessions than files may be open at once.
func TestManySessions(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	defer s.Close()
	for round := range uint64(2) {
		for i := range 200 {
			id := fmt.Sprint(i)
			e := api.SessionEvent{ID: fmt.Sprint(id, ":", round), SessionID: id, EventIndex: round + 1, Payload: []byte(`1`)}
			if err := s.PutEvent(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 200 {
		if list, err := s.Events(t.Context(), fmt.Sprint(i), 0, 0); err != nil || len(list) != 2 {
			t.Fatalf("session %d has %+v, %v", i, list, err)
		}
	}
}
