//go:build conformance

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
	"github.com/sandboxagent/sandboxagent/internal/journal/postgres"
	server "github.com/sandboxagent/sandboxagent/internal/testkit/postgres"
)

// deadline is how long anything here may take on a slow machine.
const deadline = 60 * time.Second

var shared *server.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = server.Start(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := errors.Join(shared.Close(), goleak.Find()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

var schemas atomic.Int64

// place returns the URL of an empty schema.
func place(s *server.Server) string {
	return fmt.Sprintf("%s&schema=test_%d", s.URL("postgres"), schemas.Add(1))
}

func mustOpen(tb testing.TB, url string) *postgres.Store {
	tb.Helper()
	s, err := postgres.Open(tb.Context(), url)
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	return s
}

func TestStore(t *testing.T) {
	journaltest.Run(t, func(tb testing.TB) func() journal.Store {
		url := place(shared)
		return func() journal.Store { return mustOpen(tb, url) }
	})
}

func TestLocked(t *testing.T) {
	url := place(shared)
	s := mustOpen(t, url)
	if other, err := postgres.Open(t.Context(), url); !errors.Is(err, api.CodeDataLocked) {
		t.Errorf("second owner: %v, %v", other, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.PutRecord(t.Context(), "a", "b", nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
}

func TestTooNew(t *testing.T) {
	url := place(shared)
	if err := mustOpen(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	schema := fmt.Sprintf("test_%d", schemas.Load())
	if err := shared.Exec(t.Context(), "INSERT INTO "+schema+".goose_db_version (version_id, is_applied) VALUES (1000, true)"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), url); !errors.Is(err, api.CodeDataTooNew) {
		t.Errorf("open: %v", err)
	}
}

// cut ends every session of the store's.
const cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'sandbox-agent journal'"

func TestReconnect(t *testing.T) {
	s := mustOpen(t, place(shared))
	j := journaltest.Open(t, s, journal.Options{RetryDelay: 10 * time.Millisecond})
	last := journaltest.Append(t, j, "a", 10)
	for range 5 {
		if err := shared.Exec(t.Context(), cut); err != nil {
			t.Fatal(err)
		}
		// Readers and records do not even notice.
		if err := j.PutRecord(t.Context(), "kind", "id", []byte("data")); err != nil {
			t.Fatalf("put: %v", err)
		}
		if data, err := j.GetRecord(t.Context(), "kind", "id"); err != nil || string(data) != "data" {
			t.Fatalf("get: %q, %v", data, err)
		}
		if err := shared.Exec(t.Context(), cut); err != nil {
			t.Fatal(err)
		}
		last = appendThrough(t, j, last)
	}
	if err := journaltest.Follow(t.Context(), j, "a", 0, last, 0); err != nil {
		t.Error(err)
	}
}

// appendThrough appends, and waits until it is stored in spite of failures.
func appendThrough(t *testing.T, j *journal.Journal, last uint64) uint64 {
	t.Helper()
	for range 100 {
		seq, err := j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", last+1))
		if err != nil || seq != last+1 {
			t.Fatalf("append %d: %d, %v", last+1, seq, err)
		}
		last = seq
	}
	stored(t, j, last)
	return last
}

func stored(t *testing.T, j *journal.Journal, last uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := j.Wait(ctx, "a", last)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not stored: %v", err)
		case <-again.C:
		}
	}
}

// TestServerAway stops the whole server, for longer than a transaction takes.
func TestServerAway(t *testing.T) {
	own, err := server.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	url := place(own)
	j := journaltest.Open(t, mustOpen(t, url), journal.Options{RetryDelay: 10 * time.Millisecond})
	last := journaltest.Append(t, j, "a", 1000)
	if err := own.Stop(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if last, err = j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", last+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := journaltest.Follow(t.Context(), j, "a", last-1, last, 0); err != nil {
		t.Fatalf("read without a server: %v", err)
	}
	if err := j.Wait(t.Context(), "a", last); !errors.Is(err, api.CodeStorageFailed) || j.Health() == nil {
		t.Errorf("wait without a server: %v", err)
	}
	if err := own.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored(t, j, last)
	if err := j.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = journaltest.Open(t, mustOpen(t, url), journal.Options{})
	if err := journaltest.Follow(t.Context(), j, "a", 0, last, 0); err != nil {
		t.Error(err)
	}
}

// TestTakenOver lets another process have the journal while the connection of
// the first is lost. The first must not write any more.
func TestTakenOver(t *testing.T) {
	url := place(shared)
	j, err := journal.Open(mustOpen(t, url), journal.Options{RetryDelay: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	last := journaltest.Append(t, j, "a", 10)
	if err := shared.Exec(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	other := journaltest.Open(t, mustOpen(t, url), journal.Options{})
	journaltest.Append(t, other, "a", 10)
	if _, err := j.Append("a", journal.FromAgent, []byte("astray")); err != nil {
		t.Fatal(err)
	}
	for !errors.Is(j.Health(), api.CodeStorageFailed) && !errors.Is(j.Health(), api.CodeDataLocked) {
		if err := j.Wait(t.Context(), "a", last+1); err == nil {
			t.Fatal("a journal without the lock was written")
		}
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.PutRecord(t.Context(), "a", "b", nil); !errors.Is(err, api.CodeDataLocked) {
		t.Errorf("put: %v", err)
	}
	if err := j.Close(); err == nil {
		t.Error("closing says nothing of what was never stored")
	}
	other = journaltest.Open(t, mustOpen(t, url), journal.Options{})
	if err := journaltest.Follow(t.Context(), other, "a", 0, 20, 0); err != nil {
		t.Error(err)
	}
}
