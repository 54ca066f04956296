// Package tail has the small checksummed files alongside a SQLite journal: the two
// of the tail, in which blocks are until SQLite has them, and that of the numbers
// that were reserved while the disk was full. It knows what is in the files, what
// of a damaged one is good, and how a record gets there wholly or not at all. It
// knows neither SQLite nor when blocks go there, and does not lock: one caller at a
// time uses a file.
package tail

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// suffixes name the two files, after the name of the SQLite file.
var suffixes = [2]string{"-tail0", "-tail1"}

// Paths returns the paths of the two files alongside the SQLite file at path.
func Paths(path string) [2]string { return [2]string{path + suffixes[0], path + suffixes[1]} }

// Tail is the two files: one takes what is appended while the other goes to SQLite.
type Tail struct {
	paths  [2]string
	files  [2]*File
	active int
	number uint64 // of the last record
}

// Open opens both files alongside the SQLite file at path, or makes them. Nothing
// may be appended before Load has returned.
func Open(path string) (*Tail, error) {
	t := &Tail{paths: Paths(path)}
	for i, path := range t.paths {
		f, err := openFile(path)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		t.files[i] = f
	}
	a, b := t.files[0].found, t.files[1].found
	if len(b) > 0 && (len(a) == 0 || a[0].number < b[0].number) {
		t.active = 1
	}
	return t, nil
}

// Load takes the blocks that were found in the files and that SQLite lacks, in
// order; lacks says so of each.
func (t *Tail) Load(lacks func(journal.Block) (bool, error)) error {
	for _, f := range t.Files() {
		for _, r := range f.found {
			t.number = max(t.number, r.number)
			for _, b := range r.blocks {
				missing, err := lacks(b)
				if err != nil {
					return err
				}
				if missing {
					f.add(b)
				}
			}
		}
		f.found = nil
		if f.Empty() {
			f.Forget()
		}
		if err := f.Clean(); err != nil {
			return err
		}
	}
	return nil
}

// Damage returns what Open has found in the files that is of no record.
func (t *Tail) Damage() (damage []journal.Damage) {
	for i, f := range t.files {
		if f.damaged > 0 {
			damage = append(damage, journal.Damage{File: t.paths[i], Bytes: int64(f.damaged)})
		}
	}
	return damage
}

// Active returns the file that takes what is appended.
func (t *Tail) Active() *File { return t.files[t.active] }

// Idle returns the other file, whose blocks are older.
func (t *Tail) Idle() *File { return t.files[1-t.active] }

// Files returns both, the idle one first.
func (t *Tail) Files() [2]*File { return [2]*File{t.Idle(), t.Active()} }

// Swap makes the idle file, which is to be empty, the active one.
func (t *Tail) Swap() { t.active = 1 - t.active }

// Append writes a record of blocks to the active file, wholly or not at all. It
// keeps a copy of them.
func (t *Tail) Append(blocks []journal.Block) error {
	f := t.Active()
	record, own, err := encodeRecord(t.number+1, blocks)
	if err != nil {
		return err
	}
	if err := f.write(record); err != nil {
		return err
	}
	t.number++
	for _, b := range own {
		f.add(b)
	}
	return nil
}

// Empty reports whether the tail holds nothing that SQLite may lack.
func (t *Tail) Empty() bool { return t.files[0].Empty() && t.files[1].Empty() }

// Bytes is the size of the blocks in both files.
func (t *Tail) Bytes() int64 { return t.files[0].bytes + t.files[1].bytes }

// Last returns the number of the last entry of a stream, 0 if the tail has none.
func (t *Tail) Last(stream string) (last uint64) {
	for _, f := range t.files {
		if r := f.index[stream]; r != nil {
			last = max(last, r.Blocks[len(r.Blocks)-1].Last)
		}
	}
	return last
}

// Blocks returns the blocks of a stream, in order.
func (t *Tail) Blocks(stream string) (blocks []journal.Block) {
	for _, f := range t.Files() {
		if r := f.index[stream]; r != nil {
			blocks = append(blocks, r.Blocks...)
		}
	}
	return blocks
}

// All returns the blocks of all streams, in order.
func (t *Tail) All() map[string][]journal.Block {
	all := make(map[string][]journal.Block)
	for _, f := range t.Files() {
		for name, r := range f.index {
			all[name] = append(all[name], r.Blocks...)
		}
	}
	return all
}

// Close closes the files, which stay where they are.
func (t *Tail) Close() error {
	var errs []error
	for _, f := range t.files {
		if f != nil {
			errs = append(errs, f.file.Close())
		}
	}
	return errors.Join(errs...)
}

// RemoveEmpty removes the files that hold nothing that SQLite may lack, of a tail
// that was loaded and is closed.
func (t *Tail) RemoveEmpty() error {
	var errs []error
	for i, f := range t.files {
		if f.Empty() {
			errs = append(errs, os.Remove(t.paths[i]))
		}
	}
	return errors.Join(errs...)
}

// ReadAll returns the blocks in both files alongside the SQLite file at path, by
// stream and in the order in which they were appended. It changes no file; one that
// is missing is empty.
func ReadAll(path string) (map[string][]journal.Block, error) {
	var records []record
	for _, path := range Paths(path) {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		found, _, _ := decode(data)
		records = append(records, found...)
	}
	slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.number, b.number) })
	streams := make(map[string][]journal.Block)
	for _, r := range records {
		for _, b := range r.blocks {
			streams[b.Stream] = append(streams[b.Stream], b)
		}
	}
	return streams, nil
}
