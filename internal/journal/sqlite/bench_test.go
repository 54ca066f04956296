package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

var frame = bytes.Repeat([]byte("f"), 250)

func benchJournal(b *testing.B) *journal.Journal {
	return journaltest.Open(b, mustOpen(b, filepath.Join(b.TempDir(), "journal.db")), journal.Options{})
}

func appendFrame(b *testing.B, j *journal.Journal, stream string) uint64 {
	seq, err := j.Append(stream, journal.FromAgent, frame)
	if err != nil {
		b.Fatal(err)
	}
	return seq
}

func BenchmarkAppend(b *testing.B) {
	b.Run("stream", func(b *testing.B) {
		j := benchJournal(b)
		var last uint64
		for b.Loop() {
			last = appendFrame(b, j, "a")
		}
		if err := j.Wait(b.Context(), "a", last); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		j := benchJournal(b)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				appendFrame(b, j, "a")
			}
		})
		last, err := j.Last("a")
		if err != nil {
			b.Fatal(err)
		}
		if err := j.Wait(b.Context(), "a", last); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("wait", func(b *testing.B) {
		j := benchJournal(b)
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			if err := j.Wait(b.Context(), "a", appendFrame(b, j, "a")); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		reportQuantiles(b, took)
	})
	b.Run("visible", func(b *testing.B) {
		j := benchJournal(b)
		r := j.Reader("a", 0)
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			appendFrame(b, j, "a")
			if _, err := r.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		reportQuantiles(b, took)
	})
}

func reportQuantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

func BenchmarkReplay100k(b *testing.B) {
	for _, batch := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "journal.db")
			j := journaltest.Open(b, mustOpen(b, path), journal.Options{})
			for n := 0; n < 100_000; n += batch {
				var last uint64
				for range batch {
					last = appendFrame(b, j, "a")
				}
				if err := j.Wait(b.Context(), "a", last); err != nil {
					b.Fatal(err)
				}
			}
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			j = journaltest.Open(b, mustOpen(b, path), journal.Options{})
			for b.Loop() {
				// Every round reads the disk.
				if err := j.Trim(b.Context()); err != nil {
					b.Fatal(err)
				}
				drain(b.Context(), b, j.Reader("a", 0), 100_000)
			}
		})
	}
}

// BenchmarkReplaySingles reads what was written one frame at a time, before and
// after Trim has merged it.
func BenchmarkReplaySingles(b *testing.B) {
	const entries = 100_000
	path := filepath.Join(b.TempDir(), "journal.db")
	store := mustOpen(b, path)
	for seq := uint64(1); seq <= entries; seq += 1000 {
		var blocks []journal.Block
		for i := range uint64(1000) {
			e := journal.Entry{Seq: seq + i, Time: int64(seq), Dir: journal.FromAgent, Frame: frame}
			blocks = append(blocks, journal.Block{
				Stream: "a", First: e.Seq, Last: e.Seq, Oldest: e.Time, Newest: e.Time,
				Data: journal.EncodeBlock(nil, []journal.Entry{e}),
			})
		}
		if err := store.AppendBlocks(b.Context(), blocks); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	replay := func(b *testing.B) {
		for b.Loop() {
			j := journaltest.Open(b, mustOpen(b, path), journal.Options{})
			drain(b.Context(), b, j.Reader("a", 0), entries)
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("before", replay)
	j := journaltest.Open(b, mustOpen(b, path), journal.Options{})
	start := time.Now()
	if err := j.Trim(b.Context()); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("after", func(b *testing.B) {
		replay(b)
		b.ReportMetric(took.Seconds(), "merge-s")
	})
}

func drain(ctx context.Context, b *testing.B, r *journal.Reader, last uint64) {
	for want := uint64(1); r.Cursor() < last; {
		batch, err := r.Next(ctx)
		if err != nil || batch.Gap != nil || batch.Entries[0].Seq != want {
			b.Errorf("next: %+v, %v", batch.Gap, err)
			return
		}
		want = r.Cursor() + 1
	}
}

// BenchmarkReaders appends as fast as readers of the same stream follow.
func BenchmarkReaders(b *testing.B) {
	for _, readers := range []int{1, 20, 1000} {
		b.Run(fmt.Sprint(readers), func(b *testing.B) {
			j := benchJournal(b)
			var wg sync.WaitGroup
			for range readers {
				wg.Go(func() { drain(context.Background(), b, j.Reader("a", 0), uint64(b.N)) })
			}
			b.ResetTimer()
			for range b.N {
				appendFrame(b, j, "a")
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)*float64(readers)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

func BenchmarkOpenMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "journal.db")
	j := journaltest.Open(b, mustOpen(b, path), journal.Options{})
	for n := range 1_000_000 {
		appendFrame(b, j, fmt.Sprintf("stream/%d", n%200))
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		j, err := journal.Open(mustOpen(b, path), journal.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if list, err := j.Streams(b.Context(), ""); err != nil || len(list) != 200 {
			b.Fatal(list, err)
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
