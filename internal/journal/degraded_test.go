package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

// flaky is a store whose writes fail on demand, before or after they have
// taken effect.
type flaky struct {
	journal.Store
	fails, failsAfter atomic.Bool
	attempts          atomic.Int64
}

var errDisk = errors.New("no space left on device")

func (f *flaky) AppendBlocks(ctx context.Context, blocks []journal.Block) error {
	f.attempts.Add(1)
	if f.fails.Load() {
		return errDisk
	}
	err := f.Store.AppendBlocks(ctx, blocks)
	if err == nil && f.failsAfter.Load() {
		return errDisk
	}
	return err
}

func (f *flaky) Delete(ctx context.Context, stream string) error {
	if f.fails.Load() {
		return errDisk
	}
	return f.Store.Delete(ctx, stream)
}

func mustAppend(t *testing.T, j *journal.Journal, stream string, from, to uint64) {
	t.Helper()
	for want := from; want <= to; want++ {
		seq, err := j.Append(stream, journal.FromAgent, fmt.Appendf(nil, "%s %d", stream, want))
		if err != nil || seq != want {
			t.Fatalf("append %d: %d, %v", want, seq, err)
		}
	}
}

func TestDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &flaky{Store: journal.Memory()}
		j := journaltest.Open(t, store, journal.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		journaltest.Append(t, j, "a", 10)
		store.fails.Store(true)
		for seq := uint64(11); seq <= 500; seq++ {
			mustAppend(t, j, "a", seq, seq)
			synctest.Wait()
		}
		mustAppend(t, j, "b", 1, 5)
		if err := j.Wait(t.Context(), "a", 500); !errors.Is(err, api.CodeStorageFailed) {
			t.Fatalf("wait on a failing disk: %v", err)
		}
		if err := j.Wait(t.Context(), "a", 10); err != nil {
			t.Errorf("wait for what is on disk: %v", err)
		}
		if err := j.Health(); !errors.Is(err, errDisk) || !errors.Is(err, api.CodeStorageFailed) {
			t.Errorf("health: %v", err)
		}
		if n := store.attempts.Load(); n > 5 {
			t.Errorf("the failing store was tried %d times in no time", n)
		}
		if err := journaltest.Follow(t.Context(), j, "a", 0, 500, 7); err != nil {
			t.Errorf("read on a failing disk: %v", err)
		}
		store.fails.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := j.Health(); err != nil {
			t.Fatalf("health after recovery: %v", err)
		}
		if err := j.Wait(t.Context(), "a", 500); err != nil {
			t.Errorf("wait after recovery: %v", err)
		}
		if n := bytes.Count(log.Bytes(), []byte("\n")); n != 2 {
			t.Errorf("%d lines were logged, want 2:\n%s", n, &log)
		}
		mustAppend(t, j, "a", 501, 600)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = journaltest.Open(t, store, journal.Options{})
		for stream, last := range map[string]uint64{"a": 600, "b": 5} {
			if err := journaltest.Follow(t.Context(), j, stream, 0, last, 0); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDegradedAmbiguous fails transactions that have taken effect.
func TestDegradedAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: journal.Memory()}
		j := journaltest.Open(t, store, journal.Options{})
		store.failsAfter.Store(true)
		mustAppend(t, j, "a", 1, 300)
		synctest.Wait()
		mustAppend(t, j, "a", 301, 310)
		synctest.Wait()
		store.failsAfter.Store(false)
		if err := j.Health(); err == nil {
			t.Fatal("the failure went unnoticed")
		}
		time.Sleep(time.Minute)
		if err := j.Wait(t.Context(), "a", 310); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = journaltest.Open(t, store, journal.Options{})
		if err := journaltest.Follow(t.Context(), j, "a", 0, 310, 0); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDegradedBound drops the oldest entries when a store fails for too long.
func TestDegradedBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: journal.Memory()}
		j := journaltest.Open(t, store, journal.Options{DegradedBytes: 200 << 10})
		journaltest.Append(t, j, "a", 10)
		store.fails.Store(true)
		for seq := uint64(11); seq <= 5000; seq += 10 {
			mustAppend(t, j, "a", seq, seq+9)
			synctest.Wait()
		}
		check := func(when string) {
			t.Helper()
			if err := journaltest.Follow(t.Context(), j, "a", 0, 10, 0); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			r := j.Reader("a", 10)
			b, err := r.Next(t.Context())
			if err != nil || b.Gap == nil || b.Gap.From != 11 || b.Gap.To < 1000 || b.Gap.To > 4500 {
				t.Fatalf("%s: gap %+v, %v", when, b.Gap, err)
			}
			if err := journaltest.Follow(t.Context(), j, "a", r.Cursor(), 5000, 0); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
		check("degraded")
		store.fails.Store(false)
		time.Sleep(time.Minute)
		if err := j.Wait(t.Context(), "a", 5000); err != nil {
			t.Fatal(err)
		}
		if err := j.Wait(t.Context(), "a", 100); !errors.Is(err, api.CodeStorageFailed) {
			t.Errorf("wait for a dropped entry: %v", err)
		}
		check("recovered")
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = journaltest.Open(t, store, journal.Options{})
		check("restarted")
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// stuck is a store whose writes wait.
type stuck struct {
	journal.Store
	gate chan struct{}
}

func (s *stuck) AppendBlocks(ctx context.Context, blocks []journal.Block) error {
	<-s.gate
	return s.Store.AppendBlocks(ctx, blocks)
}

func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuck{Store: journal.Memory(), gate: make(chan struct{})}
		j := journaltest.Open(t, store, journal.Options{BacklogBytes: 10_000})
		var appended atomic.Int64
		go func() {
			j.Hold() // which must not keep the committer from making room
			defer j.Release()
			for j.Health() == nil {
				if _, err := j.Append("a", journal.FromAgent, make([]byte, 936)); err != nil {
					return
				}
				appended.Add(1)
			}
		}()
		r, got := j.Reader("a", 0), atomic.Int64{}
		go func() {
			for {
				b, err := r.Next(t.Context())
				if err != nil {
					return
				}
				got.Add(int64(len(b.Entries)))
			}
		}()
		synctest.Wait()
		if n := appended.Load(); n != 11 {
			t.Fatalf("%d entries were taken, want 11", n)
		}
		if n := got.Load(); n != 0 {
			t.Fatalf("a reader saw %d entries that are not stored", n)
		}
		if _, err := j.TryAppend("b", journal.FromClient, nil); !errors.Is(err, journal.ErrFull) {
			t.Errorf("append without waiting: %v, want %v", err, journal.ErrFull)
		}
		store.gate <- struct{}{}
		synctest.Wait()
		if n := appended.Load(); n <= 11 || got.Load() == 0 {
			t.Errorf("after a write %d entries were taken, %d read", n, got.Load())
		}
		close(store.gate)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReleaseFailing has the store fail at the writing of a Release.
func TestReleaseFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: journal.Memory()}
		j := journaltest.Open(t, store, journal.Options{})
		store.fails.Store(true)
		j.Hold()
		mustAppend(t, j, "a", 1, 1)
		j.Release()
		if !errors.Is(j.Health(), api.CodeStorageFailed) {
			t.Errorf("health: %v", j.Health())
		}
		store.fails.Store(false)
		time.Sleep(time.Second) // until the committer has tried again
		if err := j.Wait(t.Context(), "a", 1); err != nil || j.Health() != nil {
			t.Errorf("after a second: %v, health %v", err, j.Health())
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWaiting(t *testing.T) {
	j := journaltest.Open(t, journal.Memory(), journal.Options{MaxFrameBytes: 10})
	if _, err := j.Append("a", journal.FromAgent, make([]byte, 11)); !errors.Is(err, api.CodeLimitExceeded) {
		t.Errorf("large frame: %v", err)
	}
	if _, err := j.Append("a", "up", nil); err == nil {
		t.Error("unknown direction was taken")
	}
	for _, name := range []string{"a\x00b", "\xff", strings.Repeat("n", journal.MaxNameBytes+1)} {
		if _, err := j.Append(name, journal.FromAgent, nil); err == nil {
			t.Errorf("the name %.10q was taken", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 3) // as many as wait at once
	go func() {
		_, err := j.Reader("unknown", 0).Next(ctx)
		results <- err
	}()
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := j.Wait(t.Context(), "unknown", 5); !errors.Is(err, api.CodeStreamDeleted) {
		t.Errorf("wait for what was never appended: %v", err)
	}
	// A cursor at the end waits for what comes behind it.
	journaltest.Append(t, j, "a", 3)
	go func() {
		b, err := j.Reader("a", 3).Next(t.Context())
		if err == nil && b.Entries[0].Seq != 4 {
			err = fmt.Errorf("got entry %d, want 4", b.Entries[0].Seq)
		}
		results <- err
	}()
	journaltest.Append(t, j, "a", 2)
	if err := <-results; err != nil {
		t.Error(err)
	}
	// One that is ahead of all that was appended is taken back, and waits there.
	for _, after := range []uint64{6, 100, math.MaxUint64} {
		r := j.Reader("a", after)
		want := journal.Reset{Cursor: min(after, math.MaxInt64), Last: 5}
		if b, err := r.Next(t.Context()); err != nil || b.Reset == nil || *b.Reset != want || r.Cursor() != 5 {
			t.Errorf("reader behind %d: %+v, %v, now behind %d; want %+v", after, b, err, r.Cursor(), want)
		}
		go func() {
			_, err := r.Next(t.Context())
			results <- err
		}()
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-results; !errors.Is(err, journal.ErrClosed) {
			t.Errorf("reader of a closed journal: %v", err)
		}
	}
}
