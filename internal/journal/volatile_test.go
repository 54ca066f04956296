package journal_test

import (
	"context"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// What is in memory alone is there like everything else, never reaches the store,
// and ends with the journal.
func TestMemoryStreamsNeverReachTheStore(t *testing.T) {
	ctx := context.Background()
	store := journal.Memory() // stands for a disk: it outlives the journal
	open := func() *journal.Journal {
		t.Helper()
		j, err := journal.Open(store, journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := open()
	const volatile, kept = journal.MemoryPrefix + "session/a", "session/a"
	for _, name := range []string{volatile, kept, volatile} {
		seq, err := j.Append(name, journal.FromAgent, []byte(`{"a":1}`))
		if err == nil {
			err = j.Wait(ctx, name, seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{journal.MemoryPrefix + "kind", "kind"} {
		if err := j.PutRecord(ctx, kind, "id", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		if _, err := j.GetRecord(ctx, kind, "id"); err != nil {
			t.Error(err)
		}
	}
	batch, err := j.Reader(volatile, 0).Next(ctx)
	if err != nil || len(batch.Entries) != 2 {
		t.Errorf("read %+v, %v", batch, err)
	}
	if list, err := j.Streams(ctx, ""); err != nil || len(list) != 2 {
		t.Errorf("streams are %+v, %v", list, err)
	}
	if err := j.Trim(ctx); err != nil {
		t.Error(err)
	}
	list, err := store.Streams(ctx, "")
	if err != nil || len(list) != 1 || list[0].Name != kept {
		t.Errorf("the store has %+v, %v", list, err)
	}
	if kinds, err := store.RecordKinds(ctx); err != nil || len(kinds) != 1 {
		t.Errorf("the store has records of %v, %v", kinds, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open()
	defer j.Close()
	if last, err := j.Last(volatile); err != nil || last != 0 {
		t.Errorf("the stream in memory ends at %d, %v", last, err)
	}
	if last, err := j.Last(kept); err != nil || last != 1 {
		t.Errorf("the other one ends at %d, %v", last, err)
	}
}
