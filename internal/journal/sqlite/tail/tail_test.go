package tail

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
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

func FuzzTail(f *testing.F) {
	var seed []byte
	for number, blocks := range [][]journal.Block{{numbered("a", 1, 3)}, {numbered("", 4, 4), numbered("b", 1<<60, 1<<60)}, nil} {
		record, _, err := EncodeGroup(uint64(number+7), blocks)
		if err != nil {
			f.Fatal(err)
		}
		seed = append(seed, record...)
		f.Add(seed)
	}
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		groups, size, _ := DecodeTail(data)
		if size > len(data) || len(groups) > 0 != (size > 0) {
			t.Fatalf("%d records in %d of %d bytes", len(groups), size, len(data))
		}
		var again []byte
		for _, g := range groups {
			record, _, err := EncodeGroup(g.Number, g.Blocks)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, record...)
		}
		same, n, damaged := DecodeTail(again)
		if n != len(again) || damaged != 0 || len(same) != len(groups) {
			t.Fatalf("%d records became %d", len(groups), len(same))
		}
		for i := range groups {
			if !reflect.DeepEqual(same[i], groups[i]) {
				t.Fatalf("record %+v became %+v", groups[i], same[i])
			}
		}
		// What is whole stays, whatever comes behind.
		if _, n, _ := DecodeTail(append(again, data...)); n < len(again) {
			t.Fatalf("%d of %d bytes", n, len(again))
		}
	})
}
