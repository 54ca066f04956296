package sqlite

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

func TestRemovedJournalIsNoticed(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"directory removed": os.RemoveAll,
		"directory moved":   func(dir string) error { return os.Rename(dir, dir+"-elsewhere") },
		"file removed":      func(dir string) error { return os.Remove(filepath.Join(dir, "journal.db")) },
		"file replaced": func(dir string) error {
			path := filepath.Join(dir, "journal.db")
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			store := mustOpen(t, filepath.Join(dir, "journal.db"))
			var log bytes.Buffer
			j, err := journal.Open(store, journal.Options{RetryDelay: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			put := func() (uint64, error) {
				seq, err := j.Append("a", journal.FromAgent, []byte("x"))
				if err == nil {
					err = j.Wait(t.Context(), "a", seq)
				}
				return seq, err
			}
			if _, err := put(); err != nil {
				t.Fatal(err)
			}
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			if seq, err := put(); seq != 2 || !errors.Is(err, api.CodeStorageFailed) || !strings.Contains(err.Error(), "moved or removed") {
				t.Errorf("entry %d: %v", seq, err)
			}
			if err := j.PutRecord(t.Context(), "k", "id", []byte("{}")); !errors.Is(err, api.CodeStorageFailed) {
				t.Errorf("a record: %v", err)
			}
			if !errors.Is(j.Health(), api.CodeStorageFailed) {
				t.Errorf("health: %v", j.Health())
			}
			// What is in memory is there for readers.
			if b, err := j.Reader("a", 1).Next(t.Context()); err != nil || len(b.Entries) != 1 {
				t.Errorf("reader: %+v, %v", b, err)
			}
			if err := j.Close(); err == nil {
				t.Error("closed as if all were stored")
			}
			if !strings.Contains(log.String(), "cannot be stored") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}
