package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// A SessionStore keeps records of sessions for a client that wants its own, for
// example because its sandboxes do not last. Packages below store implement it;
// package store/storetest checks another one. All methods may be called from
// several goroutines, and what they take and give is the caller's.
type SessionStore interface {
	// Session returns a session. One that is not there matches
	// [ErrSessionNotFound].
	Session(ctx context.Context, id string) (*api.Session, error)

	// Sessions returns up to limit sessions by time of creation, then id. The
	// cursor is empty at first and then what next was; next is empty at the end.
	// A limit of 0 is 100.
	Sessions(ctx context.Context, cursor string, limit int) (list []api.Session, next string, err error)

	// PutSession adds a session, or replaces the one of the same id.
	PutSession(ctx context.Context, session api.Session) error

	// Events returns up to limit events of a session by number, those behind
	// the one numbered after. There are no more when it returns fewer. A limit
	// of 0 is 100. A session without events, or that is not there, has none.
	Events(ctx context.Context, sessionID string, after uint64, limit int) ([]api.SessionEvent, error)

	// PutEvent adds an event, once: one whose id is there changes nothing. The
	// payload is kept byte by byte. Another event of the same number in the
	// same session is an error.
	PutEvent(ctx context.Context, event api.SessionEvent) error
}

// Record copies the session and its events into a store until ctx ends, which is
// no error, or the store or the server fails. It goes on where the store ends,
// so that it may be called again after any end, and by several at once: each
// event is there once. Events that the server no longer keeps are missing in the
// store too.
func (s *ServerSession) Record(ctx context.Context, store SessionStore) error {
	r, err := s.recorder(ctx, store)
	if err == nil {
		err = r.run(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("record session %s: %w", s.ID, err)
}

// Copy is [ServerSession.Record] that ends with what is there now.
func (s *ServerSession) Copy(ctx context.Context, store SessionStore) error {
	r, err := s.recorder(ctx, store)
	if err != nil {
		return fmt.Errorf("copy session %s: %w", s.ID, err)
	}
	for e, err := range s.History(ctx, r.last) {
		if err == nil && e.Gap == nil {
			err = store.PutEvent(ctx, e.SessionEvent)
		}
		if err != nil {
			return fmt.Errorf("copy session %s: %w", s.ID, err)
		}
	}
	if err := r.describe(ctx); err != nil {
		return fmt.Errorf("copy session %s: %w", s.ID, err)
	}
	return nil
}

// recorder copies one session.
type recorder struct {
	s     *ServerSession
	store SessionStore
	last  uint64 // newest event in the store
}

func (s *ServerSession) recorder(ctx context.Context, store SessionStore) (*recorder, error) {
	info, err := get[api.Session](ctx, s.c, s.route(), nil)
	if err != nil {
		return nil, err
	}
	r := &recorder{s: s, store: store}
	if r.last, err = lastStored(ctx, store, info.ID); err != nil {
		return nil, err
	}
	return r, store.PutSession(ctx, *info)
}

func (r *recorder) run(ctx context.Context) error {
	for e, err := range r.s.Events(ctx, r.last) {
		if err != nil {
			return err
		}
		if e.Gap != nil {
			continue
		}
		if err := r.store.PutEvent(ctx, e.SessionEvent); err != nil {
			return err
		}
		if !changes(e.SessionEvent) {
			continue
		}
		if err := r.describe(ctx); err != nil {
			return err
		}
	}
	return nil
}

// describe brings the session in the store up to date.
func (r *recorder) describe(ctx context.Context) error {
	for {
		info, err := get[api.Session](ctx, r.s.c, r.s.route(), nil)
		switch {
		case err == nil:
			return r.store.PutSession(ctx, *info)
		case !transient(err):
			return err
		}
		if err := sleep(ctx, reopenFirst); err != nil {
			return err
		}
	}
}

// changes reports whether a session may look different after an event: at the
// ends of turns, and when the server says so.
func changes(e api.SessionEvent) bool {
	var m struct {
		Method string `json:"method"`
		Params struct {
			Update struct {
				Kind string `json:"sessionUpdate"`
			} `json:"update"`
		} `json:"params"`
	}
	if json.Unmarshal(e.Payload, &m) != nil {
		return false
	}
	switch m.Method {
	case acp.MethodSessionUpdate:
		switch m.Params.Update.Kind {
		case acp.UpdateCurrentMode, acp.UpdateConfigOption, acp.UpdateSessionInfo:
			return true
		}
		return false
	case acp.MethodSessionPrompt, acp.MethodRequestPermission, acp.MethodSessionCancel:
		return false
	}
	return true
}

// lastStored returns the number of the newest event of a session in a store, by
// halving what is in question, since a store may hold very many.
func lastStored(ctx context.Context, store SessionStore, id string) (uint64, error) {
	behind := func(n uint64) (next uint64, err error) {
		list, err := store.Events(ctx, id, n, 1)
		if err != nil || len(list) == 0 {
			return 0, err
		}
		return list[0].EventIndex, nil
	}
	low, high := uint64(0), uint64(1)
	for {
		next, err := behind(high - 1)
		if err != nil {
			return 0, err
		}
		if next == 0 {
			break // all are below high
		}
		low = next
		high = 2 * next
		if high < next {
			return 0, errors.New("event number out of range")
		}
	}
	for low+1 < high {
		middle := low + (high-low)/2
		next, err := behind(middle - 1)
		switch {
		case err != nil:
			return 0, err
		case next == 0:
			high = middle
		default:
			low = next
		}
	}
	return low, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
