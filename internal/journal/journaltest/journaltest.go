// Package journaltest is what every [journal.Store] has to pass, alone and
// under a journal.
package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// A Factory makes an empty place for data and returns a function that opens a
// store in it; it is called again only after the store before was closed.
type Factory func(tb testing.TB) (open func() journal.Store)

// Run runs the suite.
func Run(t *testing.T, factory Factory) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func() journal.Store)
	}{
		{"AppendAndRead", testAppendAndRead},
		{"AtomicAppend", testAtomicAppend},
		{"ReadLimits", testReadLimits},
		{"Hole", testHole},
		{"Streams", testStreams},
		{"Delete", testDelete},
		{"Install", testInstall},
		{"TrimEntries", testTrimEntries},
		{"TrimBytes", testTrimBytes},
		{"TrimAge", testTrimAge},
		{"Replace", testReplace},
		{"Vacuum", testVacuum},
		{"Names", testNames},
		{"Records", testRecords},
		{"Restart", testRestart},
		{"Readers", testReaders},
		{"Gap", testGap},
		{"Limits", testLimits},
		{"EndAndDelete", testEndAndDelete},
		{"WindowAndStore", testWindowAndStore},
		{"Merge", testMerge},
		{"ExportImport", testExportImport},
		{"Drafts", testDrafts},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, factory(t)) })
	}
}

// wide is a limit that nothing here reaches.
var wide = journal.Limit{Entries: 1 << 30, Bytes: 1 << 30}

// block returns a block of entries first to last, one millisecond apart, whose
// frames hold their numbers.
func block(stream string, first, last uint64) journal.Block {
	var entries []journal.Entry
	for seq := first; seq <= last; seq++ {
		entries = append(entries, journal.Entry{Seq: seq, Time: int64(1000 + seq), Dir: journal.FromAgent, Frame: fmt.Appendf(nil, "%s %d", stream, seq)})
	}
	return journal.Block{
		Stream: stream, First: first, Last: last,
		Oldest: entries[0].Time, Newest: entries[len(entries)-1].Time,
		Data: journal.EncodeBlock(nil, entries),
	}
}

func store(t *testing.T, open func() journal.Store) journal.Store {
	t.Helper()
	s := open()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

func appendBlocks(t *testing.T, s journal.Store, blocks ...journal.Block) {
	t.Helper()
	if err := s.AppendBlocks(t.Context(), blocks); err != nil {
		t.Fatalf("append: %v", err)
	}
}

func ranges(t *testing.T, s journal.Store, stream string, after uint64, limit journal.Limit) string {
	t.Helper()
	blocks, err := s.Read(t.Context(), stream, after, limit)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	out := ""
	for _, b := range blocks {
		want := block(stream, b.First, b.Last)
		if !bytes.Equal(b.Data, want.Data) || b.Oldest != want.Oldest || b.Newest != want.Newest || b.Stream != stream {
			t.Fatalf("block %d-%d of %s came back changed", b.First, b.Last, stream)
		}
		out += fmt.Sprintf("[%d-%d]", b.First, b.Last)
	}
	return out
}

func wantRanges(t *testing.T, s journal.Store, stream string, after uint64, limit journal.Limit, want string) {
	t.Helper()
	if got := ranges(t, s, stream, after, limit); got != want {
		t.Errorf("read %s after %d: got %s, want %s", stream, after, got, want)
	}
}

func testAppendAndRead(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	wantRanges(t, s, "a", 0, wide, "")
	blocks := []journal.Block{block("a", 1, 3), block("a", 4, 4), block("b", 1, 2), block("a", 5, 9)}
	appendBlocks(t, s, blocks...)
	for _, b := range blocks {
		clear(b.Data) // the store must have its own
	}
	wantRanges(t, s, "a", 0, wide, "[1-3][4-4][5-9]")
	wantRanges(t, s, "a", 2, wide, "[1-3][4-4][5-9]")
	wantRanges(t, s, "a", 3, wide, "[4-4][5-9]")
	wantRanges(t, s, "a", 8, wide, "[5-9]")
	wantRanges(t, s, "a", 9, wide, "")
	wantRanges(t, s, "a", 1000, wide, "")
	wantRanges(t, s, "b", 0, wide, "[1-2]")
}

func testAtomicAppend(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 3))
	for _, bad := range [][]journal.Block{
		{block("b", 1, 2), block("a", 3, 4)},
		{block("c", 1, 2), block("c", 2, 3)},
	} {
		if err := s.AppendBlocks(t.Context(), bad); !errors.Is(err, journal.ErrOutOfOrder) {
			t.Fatalf("append of a block again: %v, want %v", err, journal.ErrOutOfOrder)
		}
	}
	wantRanges(t, s, "b", 0, wide, "")
	wantRanges(t, s, "c", 0, wide, "")
	appendBlocks(t, s, block("a", 4, 4), block("b", 1, 1))
	wantRanges(t, s, "a", 0, wide, "[1-3][4-4]")
	wantRanges(t, s, "b", 0, wide, "[1-1]")
}

func testReadLimits(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 10), block("a", 11, 20), block("a", 21, 30))
	size := len(block("a", 1, 10).Data)
	wantRanges(t, s, "a", 0, journal.Limit{Entries: 1, Bytes: 1}, "[1-10]")
	wantRanges(t, s, "a", 0, journal.Limit{Entries: 11, Bytes: 1 << 20}, "[1-10][11-20]")
	wantRanges(t, s, "a", 0, journal.Limit{Entries: 1000, Bytes: size + 1}, "[1-10][11-20]")
	wantRanges(t, s, "a", 15, journal.Limit{Entries: 1, Bytes: 1}, "[11-20]")
}

func testHole(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 5), block("a", 11, 15))
	wantRanges(t, s, "a", 0, wide, "[1-5][11-15]")
	wantRanges(t, s, "a", 7, wide, "[11-15]")
}

func testStreams(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	if info, err := s.Stream(t.Context(), "x"); err != nil || info != (journal.StreamInfo{}) {
		t.Fatalf("unknown stream: %+v, %v", info, err)
	}
	appendBlocks(t, s, block("acp/b", 1, 5), block("acp/a", 1, 2), block("acp%", 1, 1), block("b", 1, 1))
	appendBlocks(t, s, block("acp/b", 6, 7))
	list, err := s.Streams(t.Context(), "acp/")
	if err != nil || len(list) != 2 || list[0].Name != "acp/a" || list[1].Name != "acp/b" {
		t.Fatalf("streams: %+v, %v", list, err)
	}
	want := journal.StreamInfo{
		Name: "acp/b", First: 1, Last: 7, Created: 1001, Updated: 1007,
		Bytes: int64(len(block("acp/b", 1, 5).Data) + len(block("acp/b", 6, 7).Data)),
	}
	if list[1] != want {
		t.Errorf("stream: got %+v, want %+v", list[1], want)
	}
	if info, err := s.Stream(t.Context(), "acp/b"); err != nil || info != want {
		t.Errorf("stream: got %+v, %v, want %+v", info, err, want)
	}
	if list, err := s.Streams(t.Context(), ""); err != nil || len(list) != 4 {
		t.Errorf("all streams: %+v, %v", list, err)
	}
}

func testDelete(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 5), block("b", 1, 5))
	for range 2 {
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	wantRanges(t, s, "a", 0, wide, "")
	appendBlocks(t, s, block("a", 1, 2))
	wantRanges(t, s, "a", 0, wide, "[1-2]")
	wantRanges(t, s, "b", 0, wide, "[1-5]")
}

func testInstall(t *testing.T, open func() journal.Store) {
	s, ctx := open(), t.Context()
	renamed := func(old string, b journal.Block) journal.Block {
		b.Stream = old
		return b
	}
	appendBlocks(t, s, block("there", 1, 2), renamed("import/x/0", block("a", 1, 3)), renamed("import/x/1", block("b", 4, 6)))
	if err := s.PutRecord(ctx, "k", "old", []byte("old")); err != nil {
		t.Fatal(err)
	}
	records := map[string][]journal.Record{"k": {{ID: "a", Data: []byte("one")}, {ID: "b"}}, "l": {{ID: "a", Data: []byte("two")}}}
	if err := s.Install(ctx, map[string]string{"import/x/0": "a", "import/x/1": "there"}, records); err == nil {
		t.Error("a name was given twice")
	}
	wantRanges(t, s, "a", 0, wide, "")
	if list, err := s.ListRecords(ctx, "k", ""); err != nil || len(list) != 1 {
		t.Errorf("a failure has left %+v, %v", list, err)
	}
	if err := s.Install(ctx, map[string]string{"import/x/0": "a", "import/x/1": "b", "import/x/2": "none"}, records); err != nil {
		t.Fatal(err)
	}
	appendBlocks(t, s, block("a", 4, 4), block("import/y/0", 1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = store(t, open)
	wantRanges(t, s, "a", 0, wide, "[1-3][4-4]")
	wantRanges(t, s, "b", 0, wide, "[4-6]")
	wantRanges(t, s, "import/x/0", 0, wide, "")
	if data, err := s.GetRecord(ctx, "k", "a"); err != nil || string(data) != "one" {
		t.Errorf("record: %q, %v", data, err)
	}
	if kinds, err := s.RecordKinds(ctx); err != nil || !slices.Equal(kinds, []string{"k", "l"}) {
		t.Errorf("kinds: %q, %v", kinds, err)
	}
}

// testDrafts opens a journal whose process was killed in the middle of an import.
func testDrafts(t *testing.T, open func() journal.Store) {
	s := open()
	appendBlocks(t, s, block("a", 1, 2), block("import/y/0", 1, 1), block("import/y/1", 1, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	j := Open(t, open(), journal.Options{})
	if list, err := j.Streams(t.Context(), ""); err != nil || len(list) != 1 || list[0].Name != "a" {
		t.Errorf("streams: %+v, %v", list, err)
	}
}

func trim(t *testing.T, s journal.Store, keep journal.Retention, now int64) []journal.StreamInfo {
	t.Helper()
	changed, err := s.Trim(t.Context(), nil, keep, time.UnixMilli(now))
	if err != nil {
		t.Fatalf("trim: %v", err)
	}
	return changed
}

func testTrimEntries(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	for seq := uint64(1); seq < 1000; seq += 2 {
		appendBlocks(t, s, block("a", seq, seq+1))
	}
	appendBlocks(t, s, block("b", 1, 5))
	changed := trim(t, s, journal.Retention{MaxEntries: 5}, 0)
	if len(changed) != 1 || changed[0].Name != "a" || changed[0].First != 995 || changed[0].Last != 1000 {
		t.Fatalf("changed: %+v", changed)
	}
	wantRanges(t, s, "a", 0, wide, "[995-996][997-998][999-1000]")
	wantRanges(t, s, "b", 0, wide, "[1-5]")
	info, err := s.Stream(t.Context(), "a")
	if err != nil || info != changed[0] || info.Bytes != 3*int64(len(block("a", 995, 996).Data))+1 {
		t.Errorf("stream: %+v, %v", info, err)
	}
	if changed := trim(t, s, journal.Retention{}, 1<<40); len(changed) != 0 {
		t.Errorf("zero retention dropped from %+v", changed)
	}
}

func testTrimBytes(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 3), block("a", 4, 6), block("a", 7, 9))
	size := int64(len(block("a", 1, 3).Data))
	trim(t, s, journal.Retention{MaxBytes: 2*size + 1}, 0)
	wantRanges(t, s, "a", 0, wide, "[1-3][4-6][7-9]")
	trim(t, s, journal.Retention{MaxBytes: 2 * size}, 0)
	wantRanges(t, s, "a", 0, wide, "[4-6][7-9]")
}

func testTrimAge(t *testing.T, open func() journal.Store) {
	s := store(t, open)
	appendBlocks(t, s, block("a", 1, 3), block("a", 4, 6))
	keep := journal.Retention{MaxAge: time.Second}
	trim(t, s, keep, 2003)
	wantRanges(t, s, "a", 0, wide, "[1-3][4-6]")
	trim(t, s, keep, 2004)
	wantRanges(t, s, "a", 0, wide, "[4-6]")
	trim(t, s, keep, 9000)
	wantRanges(t, s, "a", 0, wide, "")
	if info, err := s.Stream(t.Context(), "a"); err != nil || info.First != 7 || info.Last != 6 || info.Bytes != 0 {
		t.Fatalf("stream without entries: %+v, %v", info, err)
	}
	if err := s.AppendBlocks(t.Context(), []journal.Block{block("a", 6, 6)}); !errors.Is(err, journal.ErrOutOfOrder) {
		t.Errorf("append below the end: %v", err)
	}
	appendBlocks(t, s, block("a", 7, 8))
	if info, err := s.Stream(t.Context(), "a"); err != nil || info.First != 7 || info.Last != 8 {
		t.Errorf("stream that went on: %+v, %v", info, err)
	}
}

func testRecords(t *testing.T, open func() journal.Store) {
	s, ctx := open(), t.Context()
	if _, err := s.GetRecord(ctx, "session", "a"); !errors.Is(err, api.CodeRecordNotFound) {
		t.Fatalf("get of no record: %v", err)
	}
	for _, r := range [][3]string{
		{"session", "x/2", "two"}, {"session", "x/1", "old"}, {"session", "x/1", "older"},
		{"session", "y", ""}, {"connection", "x/1", "other"}, {"other", "z", "z"},
	} {
		if err := s.PutRecord(ctx, r[0], r[1], []byte(r[2])); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutRecords(ctx, "session", []journal.Record{{ID: "x/1", Data: []byte("one")}, {ID: "z"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutRecords(ctx, "session", nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.DeleteRecord(ctx, "connection", "x/1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = store(t, open)
	if data, err := s.GetRecord(ctx, "session", "x/1"); err != nil || string(data) != "one" {
		t.Errorf("get: %q, %v", data, err)
	}
	if data, err := s.GetRecord(ctx, "session", "y"); err != nil || len(data) != 0 {
		t.Errorf("get of an empty record: %q, %v", data, err)
	}
	if data, err := s.GetRecord(ctx, "session", "z"); err != nil || len(data) != 0 {
		t.Errorf("get of an empty record, put with another: %q, %v", data, err)
	}
	list, err := s.ListRecords(ctx, "session", "x/")
	if err != nil || len(list) != 2 || list[0].ID != "x/1" || string(list[1].Data) != "two" || list[0].Updated == 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if kinds, err := s.RecordKinds(ctx); err != nil || !slices.Equal(kinds, []string{"other", "session"}) {
		t.Errorf("kinds: %q, %v", kinds, err)
	}
	if list, err := s.ListRecords(ctx, "connection", ""); err != nil || len(list) != 0 {
		t.Errorf("list of deleted: %+v, %v", list, err)
	}
}
