package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/sqlite"
	"github.com/sandboxagent/sandboxagent/store/storetest"
)

func mustOpen(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) func() sandboxagent.SessionStore {
		path := filepath.Join(t.TempDir(), "folder", "store.db")
		return func() sandboxagent.SessionStore { return mustOpen(t, path) }
	})
}

// The database may be of the caller, with tables of its own.
func TestNew(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "mine.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 {
		s, err := sqlite.New(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.PutSession(t.Context(), api.Session{ID: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("INSERT INTO session_store (version) VALUES (99)"); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.New(t.Context(), db); !errors.Is(err, api.CodeDataTooNew) {
		t.Errorf("tables of a later version: %v", err)
	}
}

// Two processes may write to one file.
func TestShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	one, two := mustOpen(t, path), mustOpen(t, path)
	defer one.Close()
	defer two.Close()
	done := make(chan error, 2)
	for _, s := range []*sqlite.Store{one, two} {
		go func() {
			for i := uint64(1); i <= 50; i++ {
				e := api.SessionEvent{ID: fmt.Sprint(i), SessionID: "a", EventIndex: i, Payload: []byte("1")}
				if err := s.PutEvent(t.Context(), e); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if list, err := one.Events(t.Context(), "a", 0, 1000); err != nil || len(list) != 50 {
		t.Errorf("%d events, %v", len(list), err)
	}
}

func BenchmarkPutEvent(b *testing.B) {
	s := mustOpen(b, filepath.Join(b.TempDir(), "store.db"))
	defer s.Close()
	for i := uint64(1); b.Loop(); i++ {
		e := api.SessionEvent{ID: fmt.Sprint(i), SessionID: "a", EventIndex: i, Payload: []byte(`{"jsonrpc":"2.0"}`)}
		if err := s.PutEvent(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
