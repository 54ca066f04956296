package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
)

// Store keeps a text for each id: in a file that only its owner can read, or in memory.
// Its methods may be called from several goroutines. Ids are file names.
type Store struct {
	dir string // empty means in memory alone

	mu     sync.Mutex
	memory map[string][]byte
}

// NewStore returns a store in a directory, which is made when it is needed; an empty name
// means one in memory.
func NewStore(dir string) *Store { return &Store{dir: dir, memory: make(map[string][]byte)} }

// DirSuffix follows the name of a journal in the name of the directory with the secrets of
// its sessions.
const DirSuffix = "-secrets"

const suffix = ".json"

func (s *Store) file(id string) string { return filepath.Join(s.dir, id+suffix) }

// Put keeps a text, which is on disk when it returns.
func (s *Store) Put(id string, text []byte) error {
	if s.dir == "" {
		return s.PutMemory(id, text)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keep secrets: %w", err)
	}
	if err := atomicfile.Write(s.file(id), text, atomicfile.Options{Mode: 0o600}); err != nil {
		return fmt.Errorf("keep secrets: %w", err)
	}
	return nil
}

// PutMemory keeps a text in memory alone.
func (s *Store) PutMemory(id string, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[id] = bytes.Clone(text)
	return nil
}

// Get returns a text, nil if there is none.
func (s *Store) Get(id string) ([]byte, error) {
	s.mu.Lock()
	text, ok := s.memory[id]
	s.mu.Unlock()
	if ok || s.dir == "" {
		return text, nil
	}
	text, err := os.ReadFile(s.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	return text, nil
}

// Delete forgets a text. One that is not there is no error.
func (s *Store) Delete(id string) error {
	s.mu.Lock()
	delete(s.memory, id)
	s.mu.Unlock()
	if s.dir == "" {
		return nil
	}
	err := wipe(s.file(id))
	if err == nil {
		err = os.Remove(s.file(id))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget secrets: %w", err)
	}
	return nil
}

// Keep forgets all texts on disk but those of some ids.
func (s *Store) Keep(known func(id string) bool) error {
	if s.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var failed []error
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), suffix)
		if ok && !known(id) {
			failed = append(failed, s.Delete(id))
		}
	}
	return errors.Join(append(failed, err)...)
}

// wipe writes over a file, so that its text is not in what is free on the disk, as far as
// the file system writes in place. The file need not exist.
func wipe(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.WriteAt(make([]byte, info.Size()), 0)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Move moves the texts of another directory into one, in place of those that are there
// already, and removes the other directory. It need not exist.
func Move(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	for _, entry := range entries {
		if err == nil {
			err = os.Rename(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()))
		}
	}
	if err == nil {
		err = os.Remove(from)
	}
	if err != nil {
		return fmt.Errorf("move secrets: %w", err)
	}
	return nil
}
