package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite/tail"
)

// numbered returns a block whose frames hold their numbers.
func numbered(stream string, first, last uint64) journal.Block {
	var entries []journal.Entry
	for seq := first; seq <= last; seq++ {
		entries = append(entries, journal.Entry{Seq: seq, Time: int64(seq), Dir: journal.FromAgent, Frame: fmt.Appendf(nil, "%s %d", stream, seq)})
	}
	return journal.Block{
		Stream: stream, First: first, Last: last, Oldest: int64(first), Newest: int64(last),
		Data: journal.EncodeBlock(nil, entries),
	}
}

func mustAppend(t *testing.T, s *Store, blocks ...journal.Block) {
	t.Helper()
	if err := s.AppendBlocks(t.Context(), blocks); err != nil {
		t.Fatalf("append: %v", err)
	}
}

// wantEntries checks that a stream holds the entries up to last, each once.
func wantEntries(t *testing.T, s *Store, stream string, last uint64) {
	t.Helper()
	info, err := s.Stream(t.Context(), stream)
	if err != nil || info.Last != last {
		t.Errorf("stream %s: %+v, %v, want %d entries", stream, info, err, last)
	}
	blocks, err := s.Read(t.Context(), stream, 0, journal.Limit{Entries: 1 << 30, Bytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	next, size := uint64(1), int64(0)
	for _, b := range blocks {
		if want := numbered(stream, next, b.Last); b.First != next || !reflect.DeepEqual(b, want) {
			t.Fatalf("block %d-%d of %s where %d was to come", b.First, b.Last, stream, next)
		}
		next, size = b.Last+1, size+int64(len(b.Data))
	}
	if next != last+1 || size != info.Bytes {
		t.Errorf("%s has %d bytes up to %d, want %d, %+v", stream, size, next-1, last, info)
	}
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestTailTorn cuts and damages the last record at each of its bytes.
func TestTailTorn(t *testing.T) {
	s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
	defer mustClose(t, s)
	mustAppend(t, s, numbered("a", 1, 3), numbered("b", 1, 1))
	whole := s.tail.files.Active().Size()
	mustAppend(t, s, numbered("a", 4, 5), numbered("b", 2, 2))
	to := filepath.Join(t.TempDir(), "journal.db")
	files := copyFiles(t, s.path, to)
	data := files[tail.Paths(to)[0]]
	for at := int(whole); at < len(data); at++ {
		bad := []byte(data)
		bad[at] ^= 0x40
		for name, content := range map[string][]byte{"cut": []byte(data[:at]), "changed": bad, "zeros": append([]byte(data[:at]), make([]byte, 64)...)} {
			if err := os.WriteFile(tail.Paths(to)[0], content, 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustOpenTuned(t, to, lazy)
			wantEntries(t, s, "a", 3)
			wantEntries(t, s, "b", 1)
			// What comes next takes the place of the damage.
			mustAppend(t, s, numbered("a", 4, 4))
			if info, err := os.Stat(tail.Paths(to)[0]); err != nil || info.Size() != s.tail.files.Active().Size() {
				t.Fatalf("%s at %d: %d bytes, %v, want %d", name, at, info.Size(), err, s.tail.files.Active().Size())
			}
			if found, err := tail.ReadAll(to); err != nil || len(found["a"]) != 2 || len(found["b"]) != 1 {
				t.Fatalf("%s at %d: found %v, %v", name, at, found, err)
			}
			// The next round must not find this one in SQLite.
			s.tail.files.Active().Forget()
			mustClose(t, s)
		}
	}
}

// TestTailKeepsWhatFollowsDamage changes each byte of a record that others follow.
func TestTailKeepsWhatFollowsDamage(t *testing.T) {
	s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
	defer mustClose(t, s)
	mustAppend(t, s, numbered("a", 1, 2))
	from := int(s.tail.files.Active().Size())
	mustAppend(t, s, numbered("a", 3, 4), numbered("b", 1, 1))
	to := int(s.tail.files.Active().Size())
	mustAppend(t, s, numbered("a", 5, 6))
	mustAppend(t, s, numbered("b", 2, 3), numbered("a", 7, 7))
	path := filepath.Join(t.TempDir(), "journal.db")
	whole := copyFiles(t, s.path, path)[tail.Paths(path)[0]]
	for at := from; at < to; at++ {
		bad := []byte(whole)
		bad[at] ^= 0x10
		if err := os.WriteFile(tail.Paths(path)[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		store := mustOpenTuned(t, path, lazy)
		var log bytes.Buffer
		j := journaltest.Open(t, store, journal.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if got := readAll(t, j, "a", 7); got != "1 2 gap3-4 5 6 7" {
			t.Errorf("byte %d: a is %s", at, got)
		}
		if got := readAll(t, j, "b", 3); got != "gap1-1 2 3" {
			t.Errorf("byte %d: b is %s", at, got)
		}
		if !strings.Contains(log.String(), "damaged") || !strings.Contains(log.String(), fmt.Sprint("bytes=", to-from)) {
			t.Errorf("byte %d: log %q", at, log.String())
		}
		if seq, err := j.Append("a", journal.FromAgent, []byte("next")); seq != 8 || err != nil {
			t.Errorf("byte %d: the next entry is %d, %v", at, seq, err)
		}
		if err := j.Wait(t.Context(), "a", 8); err != nil {
			t.Fatal(err)
		}
		// The next round must not find this one in SQLite.
		store.tail.files.Active().Forget()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		copyFiles(t, s.path, path)
	}
}

// readAll returns the numbers of the entries of a stream up to last, and its gaps.
func readAll(t *testing.T, j *journal.Journal, stream string, last uint64) string {
	t.Helper()
	var got []string
	for reader := j.Reader(stream, 0); reader.Cursor() < last; {
		batch, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if g := batch.Gap; g != nil {
			got = append(got, fmt.Sprintf("gap%d-%d", g.From, g.To))
		}
		for _, e := range batch.Entries {
			got = append(got, fmt.Sprint(e.Seq))
		}
	}
	return strings.Join(got, " ")
}

// TestTailOld opens what a crash leaves between a flush and the cut of the file.
func TestTailOld(t *testing.T) {
	for _, join := range []bool{false, true} {
		for later := range uint64(3) {
			t.Run(fmt.Sprint(join, later), func(t *testing.T) {
				s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
				mustAppend(t, s, numbered("a", 1, 1))
				if err := s.flush(join); err != nil {
					t.Fatal(err)
				}
				mustAppend(t, s, numbered("a", 2, 4), numbered("b", 1, 1))
				mustAppend(t, s, numbered("a", 5, 10))
				old, err := os.ReadFile(tail.Paths(s.path)[1])
				if err != nil || len(old) == 0 {
					t.Fatalf("%d bytes, %v", len(old), err)
				}
				if err := s.flush(join); err != nil {
					t.Fatal(err)
				}
				if later > 0 {
					mustAppend(t, s, numbered("a", 11, 10+later))
				}
				to := filepath.Join(t.TempDir(), "journal.db")
				copyFiles(t, s.path, to)
				mustClose(t, s)
				if err := os.WriteFile(tail.Paths(to)[1], old, 0o600); err != nil {
					t.Fatal(err)
				}
				s = mustOpenTuned(t, to, lazy)
				wantEntries(t, s, "a", 10+later)
				wantEntries(t, s, "b", 1)
				mustAppend(t, s, numbered("a", 11+later, 20))
				s = crash(t, s)
				wantEntries(t, s, "a", 20)
				wantEntries(t, s, "b", 1)
				mustClose(t, s)
				s = mustOpenTuned(t, s.path, lazy)
				wantEntries(t, s, "a", 20)
				mustClose(t, s)
			})
		}
	}
}

// crash opens what a process that is killed now leaves of a store.
func crash(t *testing.T, s *Store) *Store {
	t.Helper()
	to := filepath.Join(t.TempDir(), "journal.db")
	copyFiles(t, s.path, to)
	mustClose(t, s)
	return mustOpenTuned(t, to, lazy)
}

// TestTailBoth opens both files with blocks that SQLite lacks, in each order.
func TestTailBoth(t *testing.T) {
	for turns := range 2 {
		s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
		for turn := range uint64(turns) {
			mustAppend(t, s, numbered("x", turn+1, turn+1))
			if err := s.flush(false); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, s, numbered("a", 1, 3))
		s.tail.files.Swap()
		mustAppend(t, s, numbered("a", 4, 6), numbered("b", 1, 2))
		s = crash(t, s)
		wantEntries(t, s, "a", 6)
		mustAppend(t, s, numbered("a", 7, 9))
		s = crash(t, s)
		wantEntries(t, s, "a", 9)
		if err := s.flush(true); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, s, "a", 9)
		wantEntries(t, s, "b", 2)
		if blocks, err := s.Read(t.Context(), "a", 0, journal.Limit{Entries: 100, Bytes: 1 << 20}); err != nil || len(blocks) != 2 {
			t.Errorf("blocks that were not joined: %d, %v", len(blocks), err)
		}
		mustClose(t, s)
	}
}

// TestTailDelete looks for a stream that a crash must not bring back.
func TestTailDelete(t *testing.T) {
	s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
	mustAppend(t, s, numbered("a", 1, 3))
	s.tail.files.Swap()
	mustAppend(t, s, numbered("a", 4, 6), numbered("b", 1, 2))
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	s = crash(t, s)
	wantEntries(t, s, "a", 0)
	wantEntries(t, s, "b", 2)
	mustAppend(t, s, numbered("a", 1, 2))
	s = crash(t, s)
	wantEntries(t, s, "a", 2)
	mustClose(t, s)
	for _, path := range tail.Paths(s.path) {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s after a close: %v", path, err)
		}
	}
}

// TestTailFailing makes SQLite refuse blocks: they wait, up to the bound, and
// go there once it takes them.
func TestTailFailing(t *testing.T) {
	tuning := tuning{every: time.Millisecond, full: 1 << 10, bound: 4 << 10, retry: time.Millisecond}
	s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), tuning)
	refuse := func(query string) {
		t.Helper()
		s.writing.Lock()
		defer s.writing.Unlock()
		if _, err := s.conn.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	refuse("CREATE TEMP TRIGGER refuse BEFORE INSERT ON blocks BEGIN SELECT raise(ABORT, 'no more'); END")
	last := uint64(0)
	var err error
	for err == nil {
		if err = s.AppendBlocks(t.Context(), []journal.Block{numbered("a", last+1, last+10)}); err == nil {
			last += 10
		}
	}
	if last < 100 || !strings.Contains(err.Error(), "no more") {
		t.Fatalf("after %d entries: %v", last, err)
	}
	wantEntries(t, s, "a", last)
	if err := s.Delete(t.Context(), "a"); err == nil {
		t.Error("deleted what could not be moved")
	}
	wantEntries(t, s, "a", last)
	copied := filepath.Join(t.TempDir(), "journal.db")
	copyFiles(t, s.path, copied)
	refuse("DROP TRIGGER refuse")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err != nil && ctx.Err() == nil {
		err = s.AppendBlocks(ctx, []journal.Block{numbered("a", last+1, last+10)})
	}
	wantEntries(t, s, "a", last+10)
	mustClose(t, s)
	s = mustOpenTuned(t, copied, tuning)
	wantEntries(t, s, "a", last)
	mustClose(t, s)
}

// A block that could not be written is not there, and its number is free.
func TestTailThatCannotBeWritten(t *testing.T) {
	s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
	mustAppend(t, s, numbered("a", 1, 3))
	if err := s.tail.files.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := s.AppendBlocks(t.Context(), []journal.Block{numbered("a", 4, 6), numbered("b", 1, 9)})
		if !errors.Is(err, os.ErrClosed) {
			t.Fatalf("a write to a file that cannot be written: %v", err)
		}
	}
	wantEntries(t, s, "a", 3)
	wantEntries(t, s, "b", 0)
	if err := s.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v", err)
	}
	s = mustOpenTuned(t, s.path, lazy)
	wantEntries(t, s, "a", 3)
	mustAppend(t, s, numbered("a", 4, 4))
	wantEntries(t, s, "a", 4)
	mustClose(t, s)
}

// TestTailJournal reads and appends at full speed while blocks move.
func TestTailJournal(t *testing.T) {
	for _, tuning := range []tuning{
		{every: 50 * time.Microsecond, full: 1, bound: 1, retry: time.Millisecond, join: true},
		{every: time.Millisecond, full: 16 << 10, bound: 32 << 10, retry: time.Millisecond, join: true},
	} {
		store := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), tuning)
		j := journaltest.Open(t, store, journal.Options{WindowBytes: 1, BacklogBytes: 32 << 10})
		const last = 20_000
		errs := make(chan error)
		for i := range 4 {
			go func() { errs <- journaltest.Follow(t.Context(), j, "a", 0, last, 100*i) }()
		}
		for seq := 1; seq <= last; seq++ {
			if _, err := j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", seq)); err != nil {
				t.Fatal(err)
			}
			if seq%1000 == 0 {
				if err := j.Trim(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAppendWhileAnEmptyTailIsMoved appends to a tail that is moved again and again,
// mostly while nothing waits in it.
func TestAppendWhileAnEmptyTailIsMoved(t *testing.T) {
	s := mustOpenTuned(t, filepath.Join(t.TempDir(), "journal.db"), lazy)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := s.flush(false); err != nil {
				done <- err
				return
			}
		}
	}()
	const last = 2000
	for seq := uint64(1); seq <= last; seq++ {
		mustAppend(t, s, numbered("a", seq, seq))
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantEntries(t, s, "a", last)
	mustClose(t, s)
}

func TestTailClosed(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "journal.db"))
	mustClose(t, s)
	if err := s.AppendBlocks(t.Context(), []journal.Block{numbered("a", 1, 1)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("delete: %v", err)
	}
}
