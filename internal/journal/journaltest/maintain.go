package journaltest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

func replace(t *testing.T, s journal.Store, b journal.Block) {
	t.Helper()
	if err := s.Replace(t.Context(), b); err != nil {
		t.Fatalf("replace: %v", err)
	}
}

func testReplace(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 1), block("a", 2, 2), block("a", 3, 5), block("a", 6, 6), block("a", 8, 9), block("b", 1, 9))
	for _, other := range []journal.Block{
		block("a", 1, 4), block("a", 4, 6), block("a", 6, 8), block("a", 6, 9), block("a", 10, 12), block("c", 1, 2),
	} {
		replace(t, s, other)
	}
	wantRanges(t, s, "a", 0, wide, "[1-1][2-2][3-5][6-6][8-9]")
	replace(t, s, block("a", 2, 6))
	wantRanges(t, s, "a", 0, wide, "[1-1][2-6][8-9]")
	wantRanges(t, s, "a", 3, wide, "[2-6][8-9]")
	wantRanges(t, s, "b", 0, wide, "[1-9]")
	info, err := s.Stream(t.Context(), "a")
	want := int64(len(block("a", 1, 1).Data) + len(block("a", 2, 6).Data) + len(block("a", 8, 9).Data))
	if err != nil || info.Bytes != want || info.Merged != 6 || info.First != 1 || info.Last != 9 {
		t.Errorf("stream: %+v, %v, want %d bytes", info, err, want)
	}
	replace(t, s, journal.Block{Stream: "a", Last: 9})
	wantRanges(t, s, "a", 0, wide, "[1-1][2-6][8-9]")
	list, err := s.Streams(t.Context(), "a")
	if err != nil || len(list) != 1 || list[0].Merged != 9 {
		t.Errorf("streams: %+v, %v", list, err)
	}
	appendBlocks(t, s, block("a", 10, 12))
	wantRanges(t, s, "a", 6, wide, "[8-9][10-12]")
}

// testVacuum takes away most of what is there; what is left must still be.
func testVacuum(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	for seq := uint64(1); seq < 2000; seq += 100 {
		appendBlocks(t, s, block("a", seq, seq+99), block("b", seq, seq+99))
	}
	if err := s.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	trim(t, s, journal.Retention{MaxEntries: 150}, 0)
	for range 2 {
		if err := s.Vacuum(t.Context()); err != nil {
			t.Fatalf("vacuum: %v", err)
		}
	}
	wantRanges(t, s, "a", 0, wide, "[1801-1900][1901-2000]")
	appendBlocks(t, s, block("a", 2001, 2001))
	wantRanges(t, s, "a", 1900, wide, "[1901-2000][2001-2001]")
}

func testNames(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	names := []string{"", " ", "'\"\\", "A", "Z", "_", "a%", "a_", "a\tb", "ab", strings.Repeat("l", journal.MaxNameBytes), "Ü", "ü", "日本", "🙂"}
	for _, name := range names {
		appendBlocks(t, s, block(name, 1, 1))
	}
	list, err := s.Streams(t.Context(), "")
	if err != nil || len(list) != len(names) {
		t.Fatalf("streams: %d, %v", len(list), err)
	}
	for i := 1; i < len(list); i++ {
		if list[i-1].Name >= list[i].Name {
			t.Errorf("%q stands before %q", list[i-1].Name, list[i].Name)
		}
	}
	for _, name := range names {
		wantRanges(t, s, name, 0, wide, "[1-1]")
	}
	for prefix, want := range map[string]int{"a": 4, "a%": 1, "a_": 1, "ü": 1, "\\": 0} {
		if list, err := s.Streams(t.Context(), prefix); err != nil || len(list) != want {
			t.Errorf("streams from %q: %+v, %v, want %d", prefix, list, err, want)
		}
	}
}

// testMerge joins what was written frame by frame and looks for all of it.
func testMerge(t *testing.T, open func() journal.Store) {
	s := open()
	const singles = 1500
	var blocks []journal.Block
	for seq := uint64(1); seq <= singles; seq++ {
		blocks = append(blocks, block("a", seq, seq))
	}
	blocks = append(blocks, block("a", singles+1, singles+2000), block("a", singles+2001, singles+2001))
	appendBlocks(t, s, blocks...)
	j := Open(t, s, journal.Options{WindowBytes: 1})
	for range 2 {
		if err := j.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := Follow(t.Context(), j, "a", 0, singles+2001, 0); err != nil {
			t.Fatal(err)
		}
	}
	merged, err := s.Read(t.Context(), "a", 0, wide)
	if err != nil || len(merged) > 10 {
		t.Errorf("%d blocks are left, %v", len(merged), err)
	}
	info, err := s.Stream(t.Context(), "a")
	var size int64
	for _, b := range merged {
		size += int64(len(b.Data))
	}
	if err != nil || info.Bytes != size || info.Merged != singles+2000 || info.First != 1 {
		t.Errorf("stream: %+v, %v, want %d bytes", info, err, size)
	}
	// The next frames join those that were too few.
	for range 300 {
		Append(t, j, "a", 1)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Follow(t.Context(), j, "a", 0, singles+2301, 0); err != nil {
		t.Error(err)
	}
	if again, err := s.Read(t.Context(), "a", 0, wide); err != nil || len(again) > len(merged)+50 {
		t.Errorf("%d blocks are left, %v", len(again), err)
	}
	if err := j.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(600) {
		if _, err := j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", seq+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Wait(t.Context(), "a", 600); err != nil {
		t.Fatal(err)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Follow(t.Context(), j, "a", 0, 600, 0); err != nil {
		t.Errorf("a stream that was deleted: %v", err)
	}
}
