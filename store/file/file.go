// Package file keeps records of sessions in the files of one folder: of each
// session one file that describes it, as JSON, and one with its events, a line
// of JSON each.
//
// Events that were put survive the death of the process; the newest may be lost,
// never damaged, when the machine loses power.
package file

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/store/internal/page"
)

const (
	sessionSuffix = ".json"
	eventSuffix   = ".events.jsonl"
	lockName      = "lock"

	maxName = 200 // file systems take 255 bytes, with what is added
	maxOpen = 128 // files of events
)

// Store is a [sandboxagent.SessionStore]. It is made by [Open] and must be
// closed.
type Store struct {
	dir  string
	lock *filelock.Lock

	mu       sync.Mutex
	sessions map[string]page.Key // by id
	logs     map[string]*log     // by id of the session; at most maxOpen
	closed   bool
}

var _ sandboxagent.SessionStore = (*Store)(nil)

// Open opens the store in a folder, or makes one there that only its owner can
// read. One that another process has open matches [api.CodeDataLocked].
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	lock, err := filelock.Try(filepath.Join(dir, lockName))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, api.NewError(api.KindUnavailable, api.CodeDataLocked, "%s is held: another process uses the store", filepath.Join(dir, lockName))
	}
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock, sessions: make(map[string]page.Key), logs: make(map[string]*log)}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// load finds the sessions. Their events are read when they are needed.
func (s *Store) load() error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	for _, entry := range names {
		name, ok := strings.CutSuffix(entry.Name(), sessionSuffix)
		if !ok {
			continue
		}
		session, err := s.read(name)
		if err != nil {
			return err
		}
		s.sessions[session.ID] = page.KeyOf(*session)
	}
	return nil
}

// Close closes the files. Nothing may be called afterwards, but Close again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, s.lock.Release())...)
}

// fileName makes a file name of an id. Letters that file systems may take for
// one another, or for a path, are written as numbers.
func fileName(id string) string {
	var b strings.Builder
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	name := "s-" + b.String()
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(id))
		name = name[:maxName-2*len(sum)-1] + "~" + hex.EncodeToString(sum[:])
	}
	return name
}

func (s *Store) read(name string) (*api.Session, error) {
	path := filepath.Join(s.dir, name+sessionSuffix)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	session := new(api.Session)
	if err := json.Unmarshal(data, session); err != nil {
		return nil, api.NewError(api.KindUnavailable, api.CodeDataCorrupt, "%s is damaged: %w", path, err)
	}
	return session, nil
}

// Session implements [sandboxagent.SessionStore].
func (s *Store) Session(_ context.Context, id string) (*api.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if _, ok := s.sessions[id]; !ok {
		return nil, api.SessionNotFound(id)
	}
	return s.read(fileName(id))
}

var errClosed = fmt.Errorf("store: %w", sandboxagent.ErrClosed)

// Sessions implements [sandboxagent.SessionStore].
func (s *Store) Sessions(_ context.Context, cursor string, limit int) (list []api.Session, next string, err error) {
	after, started, err := page.Parse(cursor)
	if err != nil {
		return nil, "", err
	}
	limit = cmp.Or(limit, page.Limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, "", errClosed
	}
	keys := make([]page.Key, 0, len(s.sessions))
	for _, key := range s.sessions {
		if !started || key.Compare(after) > 0 {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, page.Key.Compare)
	if len(keys) > limit {
		keys = keys[:limit]
		next = keys[limit-1].Cursor()
	}
	for _, key := range keys {
		session, err := s.read(fileName(key.ID))
		if err != nil {
			return nil, "", err
		}
		list = append(list, *session)
	}
	return list, next, nil
}

// PutSession implements [sandboxagent.SessionStore]. The file is replaced as a
// whole.
func (s *Store) PutSession(_ context.Context, session api.Session) error {
	if session.ID == "" {
		return errors.New("put session: id is empty")
	}
	data, err := json.MarshalIndent(session, "", "  ")
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	path := filepath.Join(s.dir, fileName(session.ID)+sessionSuffix)
	if err := atomicfile.Write(path, append(data, '\n'), atomicfile.Options{}); err != nil {
		return fmt.Errorf("put session: %w", err)
	}
	s.sessions[session.ID] = page.KeyOf(session)
	return nil
}

// Events implements [sandboxagent.SessionStore].
func (s *Store) Events(_ context.Context, id string, after uint64, limit int) ([]api.SessionEvent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.log(id, false)
	if err != nil || l == nil {
		return nil, err
	}
	from, found := l.search(after)
	if found {
		from++
	}
	to := min(from+cmp.Or(limit, page.Limit), len(l.list))
	list := make([]api.SessionEvent, 0, to-from)
	for _, p := range l.list[from:to] {
		e, err := l.read(p)
		if err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		list = append(list, e)
	}
	return list, nil
}

// PutEvent implements [sandboxagent.SessionStore].
func (s *Store) PutEvent(_ context.Context, e api.SessionEvent) error {
	if e.ID == "" || e.SessionID == "" {
		return errors.New("put event: id is empty")
	}
	line, err := encode(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.log(e.SessionID, true)
	if err != nil {
		return err
	}
	if l.ids[e.ID] {
		return nil
	}
	if _, found := l.search(e.EventIndex); found {
		return fmt.Errorf("put event %s: session %s has event %d already", e.ID, e.SessionID, e.EventIndex)
	}
	if _, err := l.file.WriteAt(line, l.end); err != nil {
		return fmt.Errorf("put event: %w", err)
	}
	l.add(e, len(line))
	return nil
}

// log returns the events of a session; nil if there are none and none are to be
// made. The caller holds mu.
func (s *Store) log(id string, create bool) (*log, error) {
	if s.closed {
		return nil, errClosed
	}
	if l := s.logs[id]; l != nil {
		return l, nil
	}
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(filepath.Join(s.dir, fileName(id)+eventSuffix), flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	l := &log{file: f, ids: make(map[string]bool)}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for other, open := range s.logs {
		if len(s.logs) < maxOpen {
			break
		}
		delete(s.logs, other)
		if err := open.close(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	s.logs[id] = l
	return l, nil
}

func (l *log) close() error {
	if err := errors.Join(l.file.Sync(), l.file.Close()); err != nil {
		return fmt.Errorf("close events: %w", err)
	}
	return nil
}

// A log is the file with the events of one session, and where in it they are.
type log struct {
	file *os.File
	end  int64 // of what is whole
	ids  map[string]bool
	list []place // by number
}

type place struct {
	index uint64
	at    int64
	size  int
}

func (l *log) search(index uint64) (at int, found bool) {
	return slices.BinarySearchFunc(l.list, index, func(p place, index uint64) int { return cmp.Compare(p.index, index) })
}

// add notes an event that stands at the end of the file.
func (l *log) add(e api.SessionEvent, size int) {
	at, _ := l.search(e.EventIndex)
	l.list = slices.Insert(l.list, at, place{e.EventIndex, l.end, size})
	l.ids[e.ID] = true
	l.end += int64(size)
}

// load reads what is there. A last line that is not whole was never put: the
// process died while it was written.
func (l *log) load() error {
	in := bufio.NewReaderSize(l.file, 256<<10)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return l.file.Truncate(l.end)
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		e, err := decode(line)
		if err != nil {
			return api.NewError(api.KindUnavailable, api.CodeDataCorrupt, "%s is damaged at byte %d: %w", l.file.Name(), l.end, err)
		}
		l.add(e, len(line))
	}
}

func (l *log) read(p place) (api.SessionEvent, error) {
	line := make([]byte, p.size)
	if _, err := l.file.ReadAt(line, p.at); err != nil {
		return api.SessionEvent{}, err
	}
	return decode(line)
}

// record is a line. A payload that would not come back as it is stands in
// base64.
type record struct {
	api.SessionEvent
	Payload json.RawMessage `json:"payload,omitempty"`
	Base64  []byte          `json:"base64,omitempty"`
}

func encode(e api.SessionEvent) ([]byte, error) {
	payload := e.Payload
	e.Payload = nil
	head, err := json.Marshal(record{SessionEvent: e})
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	line := head[:len(head)-1]
	if plain(payload) {
		line = append(append(line, `,"payload":`...), payload...)
	} else {
		line = append(line, `,"base64":"`...)
		line = append(base64.StdEncoding.AppendEncode(line, payload), '"')
	}
	return append(line, "}\n"...), nil
}

// plain reports whether a payload comes back unchanged as a value in a line.
func plain(payload []byte) bool {
	return !bytes.ContainsAny(payload, "\r\n") && len(bytes.TrimSpace(payload)) == len(payload) && json.Valid(payload)
}

func decode(line []byte) (api.SessionEvent, error) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return api.SessionEvent{}, err
	}
	r.SessionEvent.Payload = r.Payload
	if r.Base64 != nil {
		r.SessionEvent.Payload = r.Base64
	}
	return r.SessionEvent, nil
}
