package journaltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// deadline is how long anything here may take on a slow machine.
const deadline = 60 * time.Second

// Open opens a journal that is closed with the test.
func Open(tb testing.TB, store journal.Store, opts journal.Options) *journal.Journal {
	tb.Helper()
	j, err := journal.Open(store, opts)
	if err != nil {
		tb.Fatalf("open journal: %v", err)
	}
	tb.Cleanup(func() {
		if err := j.Close(); err != nil && !errors.Is(err, journal.ErrClosed) {
			tb.Errorf("close journal: %v", err)
		}
	})
	return j
}

// Append appends n entries whose frames hold their numbers, and waits for them.
func Append(tb testing.TB, j *journal.Journal, stream string, n int) uint64 {
	tb.Helper()
	last, err := j.Last(stream)
	if err != nil {
		tb.Fatal(err)
	}
	for range n {
		if last, err = j.Append(stream, journal.FromAgent, fmt.Appendf(nil, "%s %d", stream, last+1)); err != nil {
			tb.Fatalf("append: %v", err)
		}
	}
	if err := j.Wait(tb.Context(), stream, last); err != nil {
		tb.Fatalf("wait: %v", err)
	}
	return last
}

// Follow reads until the entry last was read and returns an error if there was
// anything but the entries behind after, each once and whole. It starts anew
// with a chance of one in anew, if that is positive.
func Follow(ctx context.Context, j *journal.Journal, stream string, after, last uint64, anew int) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	r := j.Reader(stream, after)
	for after < last {
		b, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("next after %d: %w", after, err)
		}
		if b.Gap != nil {
			return fmt.Errorf("gap %+v after %d", *b.Gap, after)
		}
		for _, e := range b.Entries {
			if e.Seq != after+1 {
				return fmt.Errorf("entry %d after %d", e.Seq, after)
			}
			after++
			if want := fmt.Sprintf("%s %d", stream, e.Seq); string(e.Frame) != want {
				return fmt.Errorf("entry %d is %q", e.Seq, e.Frame)
			}
			if anew > 0 && rand.IntN(anew) == 0 {
				r = j.Reader(stream, after)
				break
			}
		}
		if anew > 0 && rand.IntN(anew) == 0 {
			runtime.Gosched()
		}
	}
	return nil
}

func testRestart(t *testing.T, open func() journal.Store) {
	const each = 701
	for round := range uint64(3) {
		j := Open(t, open(), journal.Options{})
		first, last, err := j.Bounds("a")
		if err != nil || first != 1 || last != each*round {
			t.Fatalf("round %d: bounds %d-%d, %v", round, first, last, err)
		}
		last = Append(t, j, "a", each-1)
		if err := Follow(t.Context(), j, "a", 0, last, 0); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		// Close writes what nobody has waited for.
		if _, err := j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", last+1)); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append("a", journal.FromAgent, nil); !errors.Is(err, journal.ErrClosed) {
			t.Errorf("append to a closed journal: %v", err)
		}
	}
}

func testReaders(t *testing.T, open func() journal.Store) {
	const streams, entries, readers = 3, 4000, 12
	j := Open(t, open(), journal.Options{WindowBytes: 32 << 10, BacklogBytes: 64 << 10})
	var wg sync.WaitGroup
	for n := range streams {
		stream := fmt.Sprintf("stream/%d", n)
		for i := range readers {
			wg.Go(func() {
				if err := Follow(t.Context(), j, stream, 0, entries, 10+100*i); err != nil {
					t.Errorf("%s, reader %d: %v", stream, i, err)
				}
			})
		}
		wg.Go(func() {
			for seq := uint64(1); seq <= entries; seq++ {
				if got, err := j.Append(stream, journal.FromAgent, fmt.Appendf(nil, "%s %d", stream, seq)); err != nil || got != seq {
					t.Errorf("append %d: %d, %v", seq, got, err)
					return
				}
				if rand.IntN(100) == 0 {
					if err := j.Wait(t.Context(), stream, seq); err != nil {
						t.Errorf("wait: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// testLimits appends much more than the limits allow, and never trims.
func testLimits(t *testing.T, open func() journal.Store) {
	frame := make([]byte, 1000)
	for name, keep := range map[string]journal.Retention{
		"bytes of a stream": {MaxBytes: 200_000}, "entries of a stream": {MaxEntries: 200}, "bytes of all": {TotalBytes: 600_000},
	} {
		t.Run(name, func(t *testing.T) {
			store := open()
			j, err := journal.Open(store, journal.Options{Retention: keep})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				for _, stream := range []string{"old", "a", "b", "c"} {
					if err := j.Delete(t.Context(), stream); err != nil {
						t.Error(err)
					}
				}
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			}()
			for i := range 3000 {
				stream := []string{"a", "b", "c"}[i%3]
				if i < 300 {
					stream = "old"
				}
				seq, err := j.Append(stream, journal.FromAgent, frame)
				if err == nil {
					err = j.Wait(t.Context(), stream, seq)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			deadline := time.Now().Add(time.Minute)
			for {
				infos, err := j.Streams(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				over := overLimit(infos, keep)
				if over == "" {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("after a minute: %s: %+v", over, infos)
				}
				time.Sleep(10 * time.Millisecond)
			}
			first, last, err := j.Bounds("a")
			if err != nil || last != 900 || first == 1 {
				t.Fatalf("a has %d to %d, %v", first, last, err)
			}
			if b, err := j.Reader("a", 0).Next(t.Context()); err != nil || b.Gap == nil || *b.Gap != (journal.Gap{From: 1, To: first - 1}) {
				t.Errorf("reader gets %+v, %v, want a gap up to %d", b.Gap, err, first-1)
			}
			oldFirst, oldLast, err := j.Bounds("old")
			if err != nil || oldLast != 300 || oldFirst == 1 {
				t.Errorf("old has %d to %d, %v", oldFirst, oldLast, err)
			}
		})
	}
}

// overLimit says what is more than a quarter and a block over its limit.
func overLimit(infos []journal.StreamInfo, keep journal.Retention) string {
	const blockBytes, blockEntries = 64 << 10, 256
	total := int64(0)
	for _, info := range infos {
		total += info.Bytes
		if info.First == 1 {
			return info.Name + " is whole" // the store may have cut it, but readers do not know yet
		}
		if keep.MaxBytes > 0 && info.Bytes > keep.MaxBytes*5/4+blockBytes {
			return fmt.Sprintf("%s has %d bytes", info.Name, info.Bytes)
		}
		if n := int64(info.Last - info.First); keep.MaxEntries > 0 && n > keep.MaxEntries*5/4+blockEntries {
			return fmt.Sprintf("%s has %d entries", info.Name, n)
		}
	}
	if keep.TotalBytes > 0 && total > keep.TotalBytes*5/4+int64(len(infos))*blockBytes {
		return fmt.Sprintf("all have %d bytes", total)
	}
	return ""
}

func testGap(t *testing.T, open func() journal.Store) {
	j := Open(t, open(), journal.Options{Retention: journal.Retention{MaxEntries: 300}})
	Append(t, j, "a", 100)
	early := j.Reader("a", 0)
	if b, err := early.Next(t.Context()); err != nil || b.Gap != nil || b.Entries[0].Seq != 1 {
		t.Fatalf("before trim: %+v, %v", b.Gap, err)
	}
	for range 9 {
		Append(t, j, "a", 100)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, last, err := j.Bounds("a")
	if err != nil || first <= 1 || first > 701 || last != 1000 {
		t.Fatalf("bounds: %d-%d, %v", first, last, err)
	}
	for _, r := range []*journal.Reader{early, j.Reader("a", 0), j.Reader("a", 17)} {
		cursor := r.Cursor()
		if cursor+1 < first {
			b, err := r.Next(t.Context())
			if err != nil || b.Gap == nil || *b.Gap != (journal.Gap{From: cursor + 1, To: first - 1}) {
				t.Fatalf("after %d: gap %+v, %v", cursor, b.Gap, err)
			}
		}
		if err := Follow(t.Context(), j, "a", r.Cursor(), last, 0); err != nil {
			t.Error(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = Open(t, open(), journal.Options{})
	b, err := j.Reader("a", 5).Next(t.Context())
	if err != nil || b.Gap == nil || *b.Gap != (journal.Gap{From: 6, To: first - 1}) {
		t.Errorf("after a restart: gap %+v, %v", b.Gap, err)
	}
}

func testEndAndDelete(t *testing.T, open func() journal.Store) {
	j := Open(t, open(), journal.Options{})
	Append(t, j, "a", 10)
	r := j.Reader("a", 10)
	eof := make(chan error, 1)
	go func() {
		_, err := r.Next(t.Context())
		eof <- err
	}()
	j.End("a")
	if err := <-eof; !errors.Is(err, io.EOF) {
		t.Fatalf("reader of an ended stream: %v", err)
	}
	if err := Follow(t.Context(), j, "a", 0, 10, 0); err != nil {
		t.Errorf("ended stream: %v", err)
	}
	Append(t, j, "a", 1)
	if b, err := r.Next(t.Context()); err != nil || b.Entries[0].Seq != 11 {
		t.Fatalf("reopened stream: %v", err)
	}
	if err := j.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("reader of a deleted stream: %v", err)
	}
	if seq := Append(t, j, "a", 1); seq != 1 {
		t.Errorf("stream that was deleted goes on at %d", seq)
	}
	if list, err := j.Streams(t.Context(), "a"); err != nil || len(list) != 1 || list[0].Last != 1 {
		t.Errorf("streams: %+v, %v", list, err)
	}
}

// testWindowAndStore reads a stream of which only the end is in memory, from
// every number on.
func testWindowAndStore(t *testing.T, open func() journal.Store) {
	j := Open(t, open(), journal.Options{WindowBytes: 20 << 10, TotalWindowBytes: 40 << 10})
	for range 6 {
		Append(t, j, "a", 100)
		Append(t, j, "a", 1)
		Append(t, j, "b", 300)
	}
	last, err := j.Last("a")
	if err != nil || last != 606 {
		t.Fatalf("last: %d, %v", last, err)
	}
	for after := range last {
		if err := Follow(t.Context(), j, "a", after, last, 0); err != nil {
			t.Fatalf("from %d: %v", after, err)
		}
	}
}
