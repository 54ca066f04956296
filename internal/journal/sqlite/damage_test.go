package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite/tail"
)

const damagedStreams, damagedEntries, damagedRecords = 5, 1000, 300

// sound makes a journal of some hundred pages.
func sound(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := journaltest.Open(t, mustOpen(t, path), journal.Options{})
	for n := range damagedStreams {
		for range damagedEntries / 50 {
			journaltest.Append(t, j, fmt.Sprintf("stream/%d", n), 50)
		}
	}
	for n := range damagedRecords {
		if err := j.PutRecord(t.Context(), "kind", fmt.Sprint(n), fmt.Appendf(nil, "record %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// damages are what becomes of the file, by name.
func damages(data []byte) map[string][]byte {
	all := map[string][]byte{"cut in half": data[:len(data)/2/4096*4096], "cut in a page": data[:len(data)/3+77], "without a head": data[4096:]}
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 0))
		bad := append([]byte(nil), data...)
		for range 1 + seed%3 {
			at := 4096 + random.IntN(len(bad)-4096-512)
			for i := at; i < at+512; i++ {
				bad[i] = byte(random.Uint32())
			}
		}
		all[fmt.Sprintf("random bytes %d", seed)] = bad
	}
	return all
}

// genuine checks what a damaged file may still give: what was there, nothing else.
func genuine(stream string, e journal.Entry) error {
	if want := fmt.Sprintf("%s %d", stream, e.Seq); string(e.Frame) != want {
		return fmt.Errorf("entry %d of %s is %q", e.Seq, stream, e.Frame)
	}
	return nil
}

func isDamage(err error, path string) bool {
	return errors.Is(err, api.CodeDataCorrupt) && strings.Contains(err.Error(), path)
}

func TestDamaged(t *testing.T) {
	data := sound(t)
	noticed := 0
	for name, bad := range damages(data) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			store, err := Open(path)
			if err != nil {
				noticed++
				if !isDamage(err, path) {
					t.Errorf("open: %v", err)
				}
				return
			}
			j, err := journal.Open(store, journal.Options{RetryDelay: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			missing := false
			for n := range damagedStreams {
				whole, err := readDamaged(t.Context(), j, fmt.Sprintf("stream/%d", n))
				missing = missing || !whole
				if err != nil && !isDamage(err, path) {
					t.Errorf("read: %v", err)
				}
			}
			if missing {
				noticed++
			}
			// What comes now is there for readers, stored or not.
			goOn(t, j, path)
			if err := j.Close(); err != nil && !isDamage(err, path) {
				t.Errorf("close: %v", err)
			}
		})
	}
	if noticed < 3 {
		t.Errorf("damage was noticed %d times; the test damages nothing", noticed)
	}
}

// readDamaged reads a stream to its end, or to an error.
func readDamaged(ctx context.Context, j *journal.Journal, stream string) (whole bool, err error) {
	_, last, err := j.Bounds(stream)
	if err != nil {
		return false, err
	}
	whole = last == damagedEntries
	for r := j.Reader(stream, 0); r.Cursor() < last; {
		b, err := r.Next(ctx)
		if err != nil {
			return false, err
		}
		whole = whole && b.Gap == nil
		for _, e := range b.Entries {
			if err := genuine(stream, e); err != nil {
				return false, err
			}
		}
	}
	return whole, nil
}

func goOn(t *testing.T, j *journal.Journal, path string) {
	t.Helper()
	const stream = "new"
	last, err := j.Last(stream)
	if err != nil && !isDamage(err, path) {
		t.Fatalf("last: %v", err)
	}
	if err != nil {
		return
	}
	for seq := last + 1; seq <= last+100; seq++ {
		if _, err := j.Append(stream, journal.FromAgent, fmt.Appendf(nil, "%s %d", stream, seq)); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	if err := j.Wait(t.Context(), stream, last+100); err != nil && !isDamage(err, path) {
		t.Errorf("wait: %v", err)
	}
	if err := journaltest.Follow(t.Context(), j, stream, last, last+100, 0); err != nil {
		t.Errorf("read what came later: %v", err)
	}
}

func TestSalvage(t *testing.T) {
	data := sound(t)
	all := damages(data)
	all["nothing"] = data
	for name, bad := range all {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			store := journal.Memory()
			found, err := Salvage(t.Context(), path, store)
			if name == "without a head" {
				if !isDamage(err, path) {
					t.Errorf("salvage: %+v, %v", found, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("salvage: %v", err)
			}
			// What a cut takes away may be the way to all the rest; random damage
			// may hit a page that leads to many others.
			if want := damagedStreams * damagedEntries / 10; found.Entries < want && !strings.HasPrefix(name, "cut") {
				t.Errorf("found %+v, less than %d entries", found, want)
			}
			if name == "nothing" && found != (Salvaged{Tally: journal.Tally{Records: damagedRecords, Streams: damagedStreams, Entries: damagedStreams * damagedEntries}}) {
				t.Errorf("found %+v in a sound file", found)
			}
			checkSalvaged(t, store, found)
			if after, err := os.ReadFile(path); err != nil || string(after) != string(bad) {
				t.Errorf("the damaged file has changed: %v", err)
			}
		})
	}
	salvageLog(t)
	if _, err := Salvage(t.Context(), filepath.Join(t.TempDir(), "none"), journal.Memory()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("salvage of no file: %v", err)
	}
}

func checkSalvaged(t *testing.T, store journal.Store, found Salvaged) {
	t.Helper()
	j := journaltest.Open(t, store, journal.Options{})
	infos, err := j.Streams(t.Context(), "")
	if err != nil || len(infos) != found.Streams {
		t.Fatalf("%d streams, %v, want %d", len(infos), err, found.Streams)
	}
	entries := 0
	for _, info := range infos {
		for r := j.Reader(info.Name, 0); r.Cursor() < info.Last; {
			b, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range b.Entries {
				stream, _, _ := strings.Cut(string(e.Frame), " ")
				if err := genuine(stream, e); err != nil || !strings.HasPrefix(stream, "stream/") {
					t.Fatalf("%s: %v", stream, err)
				}
			}
			entries += len(b.Entries)
		}
	}
	if entries != found.Entries {
		t.Errorf("%d entries, want %d", entries, found.Entries)
	}
}

// salvageLog salvages what a killed server leaves: entries that are only in the
// log beside the file and in the tail, which stay as they are too.
func salvageLog(t *testing.T) {
	t.Helper()
	from, to := filepath.Join(t.TempDir(), "journal.db"), filepath.Join(t.TempDir(), "copy.db")
	store := mustOpenTuned(t, from, lazy)
	j := journaltest.Open(t, store, journal.Options{})
	journaltest.Append(t, j, "stream/0", 100)
	if err := store.flush(false); err != nil {
		t.Fatal(err)
	}
	journaltest.Append(t, j, "stream/0", 50)
	journaltest.Append(t, j, "stream/1", 7)
	want := copyFiles(t, from, to)
	found, err := Salvage(t.Context(), to, journal.Memory())
	if err != nil || found != (Salvaged{Tally: journal.Tally{Streams: 2, Entries: 157}}) {
		t.Errorf("salvage with a log: %+v, %v", found, err)
	}
	for path, data := range want {
		if after, err := os.ReadFile(path); err != nil || string(after) != data {
			t.Errorf("%s has changed: %v", path, err)
		}
	}
	if err := os.WriteFile(to, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(to + "-wal"); err != nil {
		t.Fatal(err)
	}
	if found, err := Salvage(t.Context(), to, journal.Memory()); err != nil || found.Entries != 57 {
		t.Errorf("salvage of a tail alone: %+v, %v", found, err)
	}
}

// copyFiles copies a journal as a process that is killed now leaves it.
func copyFiles(t *testing.T, from, to string) map[string]string {
	t.Helper()
	copied := make(map[string]string)
	for _, suffix := range []string{"", "-wal", "-tail0", "-tail1", tail.ReserveSuffix} {
		data, err := os.ReadFile(from + suffix)
		if err != nil {
			t.Fatal(err)
		}
		copied[to+suffix] = string(data)
		if err := os.WriteFile(to+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}
