// Package changes brings back what was changed in a copy of a directory. The tree at
// the beginning, the base, is recorded in a store that those who change the copy
// cannot reach. A later tree is compared with it, shown as a patch, and applied to
// the original.
//
// What works in the copy is not trusted. The package reads and writes through
// [os.Root], so that no link leads it out of a tree, not even one that appears while
// it works. Git, which stores contents, prints patches, and merges lines, sees only
// the store: neither its configuration, attributes, hooks, nor filters come from a
// tree. What lies in a directory called .git is not a part of a tree.
package changes

import (
	"compress/gzip"
	"encoding/gob"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
)

// An Entry is a file, a symbolic link, or a directory of a tree.
type Entry struct {
	Path string      // relative to the top, with slashes
	Mode fs.FileMode // its type and permission bits, and nothing else
	Hash string      // of the content of a file or the target of a link, as git names blobs
	Size int64       // of that content, in bytes

	// Ignored says that an ignore file of the tree leaves it out. The store of a
	// base does not have the content of what is ignored.
	Ignored bool

	// Stamp tells whether a file is still the one that was read. It is zero where
	// the file may have changed since without a sign of it.
	Stamp Stamp
}

// A Stamp is what changes when a file does: nobody without privileges can set the
// time of the change.
type Stamp struct {
	Inode, Changed uint64
}

// missing is the entry of a path that a tree does not have.
func (e Entry) missing() bool { return e.Path == "" }

// same reports whether two entries look alike to a program that works in the tree.
func (e Entry) same(other Entry) bool {
	return e.missing() == other.missing() && e.Mode == other.Mode && e.Hash == other.Hash
}

// A Tree is what a directory had in it at some time, sorted by path. A directory
// stands before what is in it.
type Tree struct {
	Entries []Entry
	Skipped []Skipped // what could not be a part of it
}

// Skipped is something that a tree leaves out, with the reason in words.
type Skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// index returns the entries by their paths.
func (t *Tree) index() map[string]Entry {
	index := make(map[string]Entry, len(t.Entries))
	for _, e := range t.Entries {
		index[e.Path] = e
	}
	return index
}

// skips reports whether a path, or something above it, is left out of the tree.
func (t *Tree) skips(path string) bool {
	return slices.ContainsFunc(t.Skipped, func(s Skipped) bool {
		return s.Path == path || s.Path == "." || strings.HasPrefix(path, s.Path+"/")
	})
}

// sort puts the entries in their order.
func (t *Tree) sort() {
	slices.SortFunc(t.Entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// Save writes the tree into the file name, whole or not at all.
func (t *Tree) Save(name string) error {
	return atomicfile.WriteFunc(name, atomicfile.Options{}, func(w io.Writer) error {
		zip := gzip.NewWriter(w)
		if err := gob.NewEncoder(zip).Encode(t); err != nil {
			return err
		}
		return zip.Close()
	})
}

// Load returns the tree of a file that Save wrote.
func Load(name string) (*Tree, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var t Tree
	if err := gob.NewDecoder(zip).Decode(&t); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &t, nil
}
