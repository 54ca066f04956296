package tail

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// File is one of the two files, and what it holds that SQLite may lack.
type File struct {
	file *os.File
	size int64 // of the whole records in the file
	torn bool  // there may be more behind size

	found   []record // that have not been loaded
	damaged int      // bytes that were found in the file and are of no record
	runs    []*Run
	index   map[string]*Run
	bytes   int64
}

// Run is what a file holds of one stream.
type Run struct {
	Blocks []journal.Block // in order, never empty
}

// openFile opens a file of the tail, or makes one, and finds the records in it.
func openFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open tail: %w", err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read tail: %w", err), f.Close())
	}
	found, size, damaged := decode(data)
	return &File{file: f, size: int64(size), torn: size < len(data), found: found, damaged: damaged}, nil
}

// Runs returns what SQLite may lack, by stream. It stays as it is once nothing is
// appended to the file any more.
func (f *File) Runs() []*Run { return f.runs }

// Empty reports whether the file holds nothing that SQLite may lack.
func (f *File) Empty() bool { return len(f.runs) == 0 }

// Bytes is the size of the blocks of all runs and the names of their streams.
func (f *File) Bytes() int64 { return f.bytes }

// Size is that of the whole records in the file.
func (f *File) Size() int64 { return f.size }

func (f *File) add(b journal.Block) {
	r := f.index[b.Stream]
	if r == nil {
		r = new(Run)
		if f.index == nil {
			f.index = make(map[string]*Run)
		}
		f.index[b.Stream] = r
		f.runs = append(f.runs, r)
	}
	r.Blocks = append(r.Blocks, b)
	f.bytes += int64(len(b.Data) + len(b.Stream))
}

// write puts a record at the end of the file, wholly or not at all.
func (f *File) write(record []byte) error {
	if err := f.Clean(); err != nil {
		return err
	}
	if _, err := f.file.WriteAt(record, f.size); err != nil {
		f.torn = true
		return errors.Join(fmt.Errorf("write tail: %w", err), f.Clean())
	}
	f.size += int64(len(record))
	return nil
}

// Clean cuts off what is behind the whole records. Until that is done nothing
// is written: a later, shorter record would leave a part of it.
func (f *File) Clean() error {
	if !f.torn {
		return nil
	}
	if err := f.file.Truncate(f.size); err != nil {
		return fmt.Errorf("cut tail: %w", err)
	}
	f.torn = false
	return nil
}

// Forget drops all runs, which SQLite has now. The next Clean cuts the file.
func (f *File) Forget() {
	f.torn = f.torn || f.size > 0
	f.size, f.bytes, f.runs, f.index = 0, 0, nil, nil
}
