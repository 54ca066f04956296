package tail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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

func mustOpen(t *testing.T, path string) *Tail {
	t.Helper()
	tail, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tail.Close() })
	return tail
}

// mustLoad opens a tail of which SQLite has nothing.
func mustLoad(t *testing.T, path string) *Tail {
	t.Helper()
	tail := mustOpen(t, path)
	if err := tail.Load(func(journal.Block) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	return tail
}

func mustAppend(t *testing.T, tail *Tail, blocks ...journal.Block) {
	t.Helper()
	if err := tail.Append(blocks); err != nil {
		t.Fatal(err)
	}
}

// wantBlocks checks what a tail has of a stream, and what a process that is killed
// now leaves of it.
func wantBlocks(t *testing.T, tail *Tail, path, stream string, want ...journal.Block) {
	t.Helper()
	if got := tail.Blocks(stream); !reflect.DeepEqual(got, want) {
		t.Errorf("stream %s: %v, want %v", stream, got, want)
	}
	if got := tail.All()[stream]; !reflect.DeepEqual(got, want) {
		t.Errorf("stream %s among all: %v, want %v", stream, got, want)
	}
	left, err := ReadAll(path)
	if err != nil || !reflect.DeepEqual(left[stream], want) {
		t.Errorf("stream %s in the files: %v, %v, want %v", stream, left[stream], err, want)
	}
	last := uint64(0)
	if len(want) > 0 {
		last = want[len(want)-1].Last
	}
	if got := tail.Last(stream); got != last {
		t.Errorf("stream %s ends with %d, want %d", stream, got, last)
	}
}

func TestBlocksKeepTheirOrderAcrossFilesAndRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	one, two, three, four := numbered("a", 1, 3), numbered("a", 4, 4), numbered("a", 5, 9), numbered("a", 10, 11)
	tail := mustLoad(t, path)
	if !tail.Empty() || tail.Bytes() != 0 {
		t.Errorf("a new tail has %d bytes", tail.Bytes())
	}
	mustAppend(t, tail, one, numbered("b", 1, 1))
	tail.Swap()
	mustAppend(t, tail, two)
	wantBlocks(t, tail, path, "a", one, two)
	tail = mustLoad(t, path)
	wantBlocks(t, tail, path, "a", one, two)
	wantBlocks(t, tail, path, "b", numbered("b", 1, 1))
	wantBlocks(t, tail, path, "c")
	mustAppend(t, tail, three)
	if tail.Idle().Empty() {
		t.Error("what was appended last went to the file with the older blocks")
	}
	// SQLite has the older ones now.
	tail.Idle().Forget()
	if err := tail.Idle().Clean(); err != nil {
		t.Fatal(err)
	}
	tail.Swap()
	mustAppend(t, tail, four)
	wantBlocks(t, tail, path, "a", two, three, four)
	wantBlocks(t, mustLoad(t, path), path, "a", two, three, four)
}

func TestLoadLeavesOutWhatIsStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	tail := mustLoad(t, path)
	mustAppend(t, tail, numbered("a", 1, 3))
	tail.Swap()
	mustAppend(t, tail, numbered("a", 4, 6))
	tail = mustOpen(t, path)
	if err := tail.Load(func(b journal.Block) (bool, error) { return b.First > 3, nil }); err != nil {
		t.Fatal(err)
	}
	wantBlocks(t, tail, path, "a", numbered("a", 4, 6))
	if tail.Idle().Size() != 0 || tail.Active().Size() == 0 {
		t.Errorf("files of %d and %d bytes", tail.Idle().Size(), tail.Active().Size())
	}
	if err := tail.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tail.RemoveEmpty(); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, path := range Paths(path) {
		if _, err := os.Stat(path); err == nil {
			left = append(left, filepath.Base(path))
		}
	}
	if !slices.Equal(left, []string{"journal.db-tail1"}) {
		t.Errorf("left are %v", left)
	}
}

func TestLoadThatFailsLeavesTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	tail := mustLoad(t, path)
	mustAppend(t, tail, numbered("a", 1, 3))
	failure := errors.New("cannot say")
	if err := mustOpen(t, path).Load(func(journal.Block) (bool, error) { return false, failure }); !errors.Is(err, failure) {
		t.Errorf("load: %v", err)
	}
	wantBlocks(t, mustLoad(t, path), path, "a", numbered("a", 1, 3))
}

// TestAppendIsWholeOrNothing makes writes to the file fail, and stop half way.
func TestAppendIsWholeOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	tail := mustLoad(t, path)
	mustAppend(t, tail, numbered("a", 1, 3))
	f := tail.Active()
	readOnly, err := os.Open(f.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	writable := f.file
	f.file = readOnly
	for range 2 {
		if err := tail.Append([]journal.Block{numbered("a", 4, 6), numbered("b", 1, 9)}); err == nil {
			t.Fatal("a write to a file that cannot be written")
		}
	}
	f.file = writable
	wantBlocks(t, tail, path, "a", numbered("a", 1, 3))
	wantBlocks(t, tail, path, "b")
	if _, err := f.file.WriteAt(bytes.Repeat([]byte("x"), 1000), f.size); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, tail, numbered("a", 4, 4))
	if info, err := f.file.Stat(); err != nil || info.Size() != f.Size() {
		t.Errorf("%d bytes, %v, want %d", info.Size(), err, f.Size())
	}
	wantBlocks(t, tail, path, "a", numbered("a", 1, 3), numbered("a", 4, 4))
}

func TestDamageIsCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	tail := mustLoad(t, path)
	mustAppend(t, tail, numbered("a", 1, 1))
	from := tail.Active().Size()
	mustAppend(t, tail, numbered("a", 2, 2))
	to := tail.Active().Size()
	mustAppend(t, tail, numbered("a", 3, 3))
	if _, err := tail.Active().file.WriteAt([]byte{0xff}, from+headSize+3); err != nil {
		t.Fatal(err)
	}
	tail = mustLoad(t, path)
	wantBlocks(t, tail, path, "a", numbered("a", 1, 1), numbered("a", 3, 3))
	if got, want := tail.Damage(), []journal.Damage{{File: Paths(path)[0], Bytes: to - from}}; !slices.Equal(got, want) {
		t.Errorf("damage %v, want %v", got, want)
	}
}

func TestOpenSaysWhatCannotBeOpened(t *testing.T) {
	for i := range 2 {
		path := filepath.Join(t.TempDir(), "journal.db")
		if err := os.Mkdir(Paths(path)[i], 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), Paths(path)[i]) {
			t.Errorf("open: %v", err)
		}
	}
}

func FuzzTail(f *testing.F) {
	var seed []byte
	for number, blocks := range [][]journal.Block{{numbered("a", 1, 3)}, {numbered("", 4, 4), numbered("b", 1<<60, 1<<60)}, nil} {
		record, _, err := encodeRecord(uint64(number+7), blocks)
		if err != nil {
			f.Fatal(err)
		}
		seed = append(seed, record...)
		f.Add(seed)
	}
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, size, _ := decode(data)
		if size > len(data) || len(records) > 0 != (size > 0) {
			t.Fatalf("%d records in %d of %d bytes", len(records), size, len(data))
		}
		var again []byte
		for _, r := range records {
			record, _, err := encodeRecord(r.number, r.blocks)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, record...)
		}
		same, n, damaged := decode(again)
		if n != len(again) || damaged != 0 || len(same) != len(records) {
			t.Fatalf("%d records became %d", len(records), len(same))
		}
		for i := range records {
			if !reflect.DeepEqual(same[i], records[i]) {
				t.Fatalf("record %+v became %+v", records[i], same[i])
			}
		}
		// What is whole stays, whatever comes behind.
		if _, n, _ := decode(append(again, data...)); n < len(again) {
			t.Fatalf("%d of %d bytes", n, len(again))
		}
	})
}
