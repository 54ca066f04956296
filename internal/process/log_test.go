package process

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

func newLog(limit int64) *outputLog { return newOutputLog(limit, new(atomic.Int64), time.Minute) }

func TestLogQueries(t *testing.T) {
	s := newSupervisor(t, Limits{})
	id := create(t, s, script(`true`))
	follow(t, s, id, "")
	p, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []api.LogStream{"stdout", "stderr", "stdout", "stderr", "stderr"} {
		p.out.append(stream, []byte("data"))
	}
	tests := []struct {
		name string
		q    LogQuery
		want []uint64
	}{
		{"all", LogQuery{}, []uint64{1, 2, 3, 4, 5}},
		{"stream", LogQuery{Stream: "stdout"}, []uint64{1, 3}},
		{"since", LogQuery{Since: 3}, []uint64{4, 5}},
		{"since the end", LogQuery{Since: 5}, nil},
		{"since after the end", LogQuery{Since: 99}, nil},
		{"tail", LogQuery{Tail: ptr(2)}, []uint64{4, 5}},
		{"tail of a stream", LogQuery{Tail: ptr(2), Stream: "stdout"}, []uint64{1, 3}},
		{"tail of more than there is", LogQuery{Tail: ptr(9)}, []uint64{1, 2, 3, 4, 5}},
		{"no tail", LogQuery{Tail: ptr(0)}, nil},
		{"since and tail", LogQuery{Since: 4, Tail: ptr(2)}, []uint64{5}},
		{"limit", LogQuery{Since: 1, Limit: 2}, []uint64{2, 3}},
		{"another stream", LogQuery{Stream: "pty"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logs, err := s.Logs(id, tt.q)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, e := range logs.Entries {
				got = append(got, e.Sequence)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Fatalf("got %v, want %v", got, tt.want)
				}
			}
		})
	}
	_, err = s.Logs(id, LogQuery{Stream: "zz"})
	wantCode(t, err, api.CodeInvalidQuery, 400)
}

// Whatever is appended, the log keeps its bounds and its accounts, and sequences
// and offsets fit together.
func TestLogKeepsItsBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := newLog(1000)
	for i := range 5000 {
		l.append(api.LogPTY, make([]byte, 1+random.IntN(60)*random.IntN(60)))
		if i%500 == 0 {
			l.setLimit(int64(1 + random.IntN(3000)))
		}
		var bytes int64
		offset := l.offset
		for k := len(l.chunks) - 1; k >= 0; k-- {
			if l.chunks[k].end() != offset {
				t.Fatalf("append %d: chunk %d ends at %d, want %d", i, k, l.chunks[k].end(), offset)
			}
			offset = l.chunks[k].offset - uint64(l.chunks[k].skipped)
			bytes += int64(len(l.chunks[k].data))
		}
		switch {
		case bytes != l.bytes || bytes > l.limit || len(l.chunks) > l.maxChunks():
			t.Fatalf("append %d: %d bytes in %d chunks, accounted %d, limit %d", i, bytes, len(l.chunks), l.bytes, l.limit)
		case l.total.Load() != bytes+int64(len(l.chunks))*chunkCost:
			t.Fatalf("append %d: total %d", i, l.total.Load())
		case l.first+uint64(len(l.chunks)) != uint64(i)+2:
			t.Fatalf("append %d: first %d of %d", i, l.first, len(l.chunks))
		}
	}
	l.discard()
	if l.total.Load() != 0 {
		t.Errorf("total after discard = %d", l.total.Load())
	}
}
