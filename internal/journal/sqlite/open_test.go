package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite/tail"
)

// A journal that cannot be opened keeps what only its tail has, so that it is there
// once the cause is gone.
func TestTailStaysWhenTheJournalCannotBeOpened(t *testing.T) {
	for _, c := range []struct {
		name          string
		spoil, repair func(t *testing.T, path string)
	}{
		{"the other file of the tail", func(t *testing.T, path string) {
			replaceByDirectory(t, tail.Paths(path)[1])
		}, func(t *testing.T, path string) { removeDirectory(t, tail.Paths(path)[1]) }},
		{"the reserved numbers", func(t *testing.T, path string) {
			replaceByDirectory(t, path+tail.ReserveSuffix)
		}, func(t *testing.T, path string) { removeDirectory(t, path+tail.ReserveSuffix) }},
		{"the table of streams", func(t *testing.T, path string) {
			query(t, path, "ALTER TABLE streams RENAME COLUMN merged TO gone")
		}, func(t *testing.T, path string) { query(t, path, "ALTER TABLE streams RENAME COLUMN gone TO merged") }},
		{"a stream", func(t *testing.T, path string) {
			query(t, path, "INSERT INTO streams (name, first, last, bytes, created, updated) VALUES ('b', 'x', 0, 0, 0, 0)")
		}, func(t *testing.T, path string) { query(t, path, "DELETE FROM streams WHERE name = 'b'") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
			mustAppend(t, s, numbered("a", 1, 3), numbered("b", 1, 2))
			path := filepath.Join(t.TempDir(), "journal.db")
			copyFiles(t, s.path, path)
			mustClose(t, s)
			c.spoil(t, path)
			if s, err := openTuned(path, lazy); err == nil {
				mustClose(t, s)
				t.Fatal("the journal could be opened")
			}
			c.repair(t, path)
			s = mustOpenTuned(t, path, lazy)
			wantEntries(t, s, "a", 3)
			wantEntries(t, s, "b", 2)
			mustClose(t, s)
		})
	}
}

func replaceByDirectory(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func removeDirectory(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, path, text string) {
	t.Helper()
	db, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
