// Package memory keeps records of sessions in memory, for tests and for
// programs whose records may go with them.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/internal/page"
)

// Options bound a [Store]. Zeros mean the defaults, negative numbers no bound.
type Options struct {
	MaxSessions int // 1024; then the oldest goes, with its events
	MaxEvents   int // of one session, 10,000; then the oldest goes
}

// Store is a [sandboxagent.SessionStore]. It is made by [New].
type Store struct {
	opts Options

	mu       sync.Mutex
	sessions map[string]session
	events   map[string]*events
}

// session is encoded, so that nobody has a hold on it.
type session struct {
	at   int64
	data []byte
}

// events are those of one session, by number.
type events struct {
	ids  map[string]bool
	list []api.SessionEvent
}

var _ sandboxagent.SessionStore = (*Store)(nil)

// New returns an empty store.
func New(opts Options) *Store {
	opts.MaxSessions = cmp.Or(opts.MaxSessions, 1024)
	opts.MaxEvents = cmp.Or(opts.MaxEvents, 10_000)
	return &Store{opts: opts, sessions: make(map[string]session), events: make(map[string]*events)}
}

// Session implements [sandboxagent.SessionStore].
func (s *Store) Session(_ context.Context, id string) (*api.Session, error) {
	s.mu.Lock()
	stored, ok := s.sessions[id]
	s.mu.Unlock()
	if !ok {
		return nil, api.SessionNotFound(id)
	}
	return decode(stored.data)
}

func decode(data []byte) (*api.Session, error) {
	out := new(api.Session)
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("decode session: %w", err)
	}
	return out, nil
}

// Sessions implements [sandboxagent.SessionStore].
func (s *Store) Sessions(_ context.Context, cursor string, limit int) (list []api.Session, next string, err error) {
	after, started, err := page.Parse(cursor)
	if err != nil {
		return nil, "", err
	}
	limit = cmp.Or(limit, page.Limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.ordered()
	from := 0
	if started {
		var found bool
		if from, found = slices.BinarySearchFunc(keys, after, page.Key.Compare); found {
			from++
		}
	}
	to := min(from+limit, len(keys))
	for _, key := range keys[from:to] {
		one, err := decode(s.sessions[key.ID].data)
		if err != nil {
			return nil, "", err
		}
		list = append(list, *one)
	}
	if to < len(keys) {
		next = keys[to-1].Cursor()
	}
	return list, next, nil
}

// ordered returns the keys of all sessions, the oldest first. The caller holds
// mu.
func (s *Store) ordered() []page.Key {
	keys := make([]page.Key, 0, len(s.sessions))
	for id, one := range s.sessions {
		keys = append(keys, page.Key{At: one.at, ID: id})
	}
	slices.SortFunc(keys, page.Key.Compare)
	return keys
}

// PutSession implements [sandboxagent.SessionStore].
func (s *Store) PutSession(_ context.Context, put api.Session) error {
	if put.ID == "" {
		return errors.New("put session: id is empty")
	}
	data, err := json.Marshal(put)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.sessions[put.ID]
	if s.sessions[put.ID] = (session{put.CreatedAt, data}); known {
		return nil
	}
	if s.opts.MaxSessions > 0 && len(s.sessions) > s.opts.MaxSessions {
		oldest := s.ordered()[0].ID
		delete(s.sessions, oldest)
		delete(s.events, oldest)
	}
	return nil
}

// Events implements [sandboxagent.SessionStore].
func (s *Store) Events(_ context.Context, id string, after uint64, limit int) ([]api.SessionEvent, error) {
	limit = cmp.Or(limit, page.Limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.events[id]
	if kept == nil {
		return nil, nil
	}
	from, found := kept.search(after)
	if found {
		from++
	}
	list := slices.Clone(kept.list[from:min(from+limit, len(kept.list))])
	for i := range list {
		list[i].Payload = bytes.Clone(list[i].Payload)
	}
	return list, nil
}

func (e *events) search(index uint64) (at int, found bool) {
	return slices.BinarySearchFunc(e.list, index, func(e api.SessionEvent, index uint64) int { return cmp.Compare(e.EventIndex, index) })
}

// PutEvent implements [sandboxagent.SessionStore].
func (s *Store) PutEvent(_ context.Context, e api.SessionEvent) error {
	if e.ID == "" || e.SessionID == "" {
		return errors.New("put event: id is empty")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.events[e.SessionID]
	if kept == nil {
		kept = &events{ids: make(map[string]bool)}
		s.events[e.SessionID] = kept
	}
	if kept.ids[e.ID] {
		return nil
	}
	at, found := kept.search(e.EventIndex)
	if found {
		return fmt.Errorf("put event %s: session %s has event %d already", e.ID, e.SessionID, e.EventIndex)
	}
	e.Payload = bytes.Clone(e.Payload)
	kept.ids[e.ID] = true
	kept.list = slices.Insert(kept.list, at, e)
	if s.opts.MaxEvents > 0 && len(kept.list) > s.opts.MaxEvents {
		delete(kept.ids, kept.list[0].ID)
		kept.list = slices.Delete(kept.list, 0, 1)
	}
	return nil
}
