package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

// TestVacuum drops most of a file in each of the two ways, while somebody
// appends, and looks at its size.
func TestVacuum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	store := mustOpen(t, path)
	j := journaltest.Open(t, store, journal.Options{Retention: journal.Retention{MaxEntries: 1000}})
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for _, drop := range []struct {
		name string
		do   func() error
	}{
		{"delete", func() error { return j.Delete(t.Context(), "big") }},
		{"retention", func() error { return store.flush(false) }},
	} {
		var last uint64
		for range 16 << 10 {
			last = appendTo(t, j, "big", make([]byte, 1024))
		}
		if err := j.Wait(t.Context(), "big", last); err != nil {
			t.Fatal(err)
		}
		if err := drop.do(); err != nil {
			t.Fatal(err)
		}
		before := size()
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 10 {
				journaltest.Append(t, j, "busy/"+drop.name, 10)
			}
		})
		if err := j.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		// The limit of size has done most of it while entries came.
		if after := size(); after > before/4 && after > 8<<20 {
			t.Errorf("%s: %d bytes became %d", drop.name, before, after)
		}
		if err := journaltest.Follow(t.Context(), j, "busy/"+drop.name, 0, 100, 0); err != nil {
			t.Errorf("%s: %v", drop.name, err)
		}
	}
}

func appendTo(t *testing.T, j *journal.Journal, stream string, frame []byte) uint64 {
	t.Helper()
	seq, err := j.Append(stream, journal.FromAgent, frame)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// TestUpgrade opens a file of the first schema.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	first, err := migrations.ReadFile("migrations/00001_journal.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, path, string(first)+`
		CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
		INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);
		INSERT INTO streams (name, first, last, bytes, created, updated) VALUES ('a', 1, 2, 8, 1, 2);
		INSERT INTO blocks VALUES (1, 1, 2, 1, 1, x'01020206006120310600612032')`)
	j := journaltest.Open(t, mustOpen(t, path), journal.Options{})
	if err := journaltest.Follow(t.Context(), j, "a", 0, 2, 0); err != nil {
		t.Fatalf("old block: %v", err)
	}
	if seq := appendTo(t, j, "a", fmt.Appendf(nil, "a 3")); seq != 3 {
		t.Errorf("the stream goes on at %d", seq)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
}
