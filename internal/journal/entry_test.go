package journal_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

func TestBlockRoundTrip(t *testing.T) {
	want := []journal.Entry{
		{Seq: 7, Time: 1_700_000_000_000, Dir: journal.FromAgent, Frame: []byte(`{"id":1}`)},
		{Seq: 8, Time: 1_700_000_000_005, Dir: journal.FromClient, Frame: []byte{}},
		{Seq: 9, Time: 1_699_999_999_000, Dir: journal.FromAgent, Frame: bytes.Repeat([]byte("x"), 70_000)},
	}
	data := journal.EncodeBlock(nil, want)
	got, err := journal.DecodeBlock(nil, 7, data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("round trip: %v, %v", got, err)
	}
	if _, err := journal.DecodeBlock(nil, 7, append(data, 0)); !errors.Is(err, journal.ErrBadBlock) {
		t.Errorf("a byte too many: %v", err)
	}
	for n := range 40 {
		if _, err := journal.DecodeBlock(nil, 7, data[:n]); !errors.Is(err, journal.ErrBadBlock) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 255, 255, 255, 255, 15, 0})
	f.Add([]byte("\x01\x02\x02\x06\x00a 1\x07\x01a 2")) // of the first version
	f.Add(journal.EncodeBlock(nil, []journal.Entry{
		{Seq: 1, Time: 5, Dir: journal.FromAgent, Frame: []byte("one")},
		{Seq: 2, Time: 4, Dir: journal.FromClient, Frame: []byte("two")},
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := journal.DecodeBlock(nil, 1, data)
		if err != nil || len(entries) == 0 {
			return
		}
		again, err := journal.DecodeBlock(nil, 1, journal.EncodeBlock(nil, entries))
		if err != nil || !reflect.DeepEqual(again, entries) {
			t.Errorf("round trip of %q: %v, %v", data, again, err)
		}
	})
}
