package fakeagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
)

// maxHistory is how many updates of a session are sent again.
const maxHistory = 2000

// maxHistoryFile is the size in bytes at which a history file is cut down to
// maxHistory updates.
const maxHistoryFile = 8 << 20

// A store keeps sessions in a directory: <id>.json is the session and is replaced as
// a whole, <id>.jsonl its history and grows by a line an update, so that the cost
// of a turn does not grow with the session. The zero value keeps nothing.
type store struct{ dir string }

func (st store) path(id, suffix string) string { return filepath.Join(st.dir, id+suffix) }

// save replaces the session's file.
func (st store) save(s *session) error {
	if st.dir == "" {
		return nil
	}
	data, err := json.Marshal(s.snapshot())
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	if err := os.MkdirAll(st.dir, 0o700); err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	return st.replace(st.path(s.id, ".json"), data)
}

// replace does not wait for the disk: a turn of the mock takes no longer for it.
func (st store) replace(path string, data []byte) error {
	if err := atomicfile.Write(path, data, atomicfile.Options{NoSync: true}); err != nil {
		return fmt.Errorf("write session file: %w", err)
	}
	return nil
}

// extend appends the updates that are not on disk yet.
func (st store) extend(s *session) error {
	s.mu.Lock()
	fresh := s.history[len(s.history)-s.unsaved:]
	s.unsaved = 0
	s.mu.Unlock()
	if st.dir == "" || len(fresh) == 0 {
		return nil
	}
	lines, err := encodeLines(fresh)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(st.path(s.id, ".jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open history: %w", err)
	}
	_, err = f.Write(lines)
	size, sizeErr := f.Seek(0, 2)
	if err = errors.Join(err, sizeErr, f.Close()); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	if size > maxHistoryFile {
		return st.cut(s)
	}
	return nil
}

// cut rewrites a history file with the updates that would be sent again.
func (st store) cut(s *session) error {
	s.mu.Lock()
	kept := s.history[max(0, len(s.history)-maxHistory):]
	s.mu.Unlock()
	lines, err := encodeLines(kept)
	if err != nil {
		return err
	}
	return st.replace(st.path(s.id, ".jsonl"), lines)
}

func encodeLines(updates []acp.Update) ([]byte, error) {
	var lines []byte
	for _, u := range updates {
		line, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("encode history: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines, nil
}

// load reads a session. A last line that a crash has cut is dropped.
func (st store) load(id string) (meta, []acp.Update, error) {
	missing := acp.Errorf(acp.CodeResourceNotFound, "Session not found: %s", id)
	if st.dir == "" || id == "" || strings.ContainsAny(id, `/\.`) {
		return meta{}, nil, missing
	}
	data, err := os.ReadFile(st.path(id, ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return meta{}, nil, missing
	}
	if err != nil {
		return meta{}, nil, fmt.Errorf("read session: %w", err)
	}
	var m meta
	if err := json.Unmarshal(data, &m); err != nil {
		return meta{}, nil, fmt.Errorf("decode session: %w", err)
	}
	lines, err := os.ReadFile(st.path(id, ".jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return meta{}, nil, fmt.Errorf("read history: %w", err)
	}
	var history []acp.Update
	for line := range bytes.Lines(lines) {
		var u acp.Update
		if json.Unmarshal(line, &u) == nil {
			history = append(history, u)
		}
	}
	return m, history[max(0, len(history)-maxHistory):], nil
}

// list reads what every session is. Files that are none are passed over.
func (st store) list() (map[string]meta, error) {
	all := map[string]meta{}
	if st.dir == "" {
		return all, nil
	}
	files, err := filepath.Glob(st.path("*", ".json"))
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		var m meta
		if err == nil && json.Unmarshal(data, &m) == nil && m.ID != "" {
			all[m.ID] = m
		}
	}
	return all, nil
}
