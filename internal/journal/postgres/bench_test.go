//go:build conformance

package postgres_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

var frame = bytes.Repeat([]byte("f"), 250)

// fill appends n frames to some streams in turn, and waits for them.
func fill(b *testing.B, url string, n, streams int) {
	b.Helper()
	j := journaltest.Open(b, mustOpen(b, url), journal.Options{})
	for i := range n {
		if _, err := j.Append(fmt.Sprintf("stream/%d", i%streams), journal.FromAgent, frame); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	fill(b, place(shared), b.N, 1)
}

func BenchmarkReplay100k(b *testing.B) {
	const entries = 100_000
	url := place(shared)
	fill(b, url, entries, 1)
	for b.Loop() {
		j := journaltest.Open(b, mustOpen(b, url), journal.Options{})
		for r := j.Reader("stream/0", 0); r.Cursor() < entries; {
			if batch, err := r.Next(b.Context()); err != nil || batch.Gap != nil {
				b.Fatal(batch.Gap, err)
			}
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenMillion(b *testing.B) {
	url := place(shared)
	fill(b, url, 1_000_000, 200)
	for b.Loop() {
		j := journaltest.Open(b, mustOpen(b, url), journal.Options{})
		if list, err := j.Streams(b.Context(), ""); err != nil || len(list) != 200 {
			b.Fatal(list, err)
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
