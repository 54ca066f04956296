package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"sort"
	"strconv"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// Events returns up to limit events behind after, in order; 0 means 100.
func (m *Manager) Events(ctx context.Context, id string, after uint64, limit int) (*api.SessionEvents, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, maxPage)
	after = min(after, math.MaxInt64) // leaves room to count on
	first, last, err := m.cfg.Journal.Bounds(s.stream())
	if err != nil {
		return nil, err
	}
	out := &api.SessionEvents{Events: []api.SessionEvent{}, Page: int(after/uint64(limit)) + 1, PerPage: limit, Total: last}
	if after > last {
		out.Reset = &api.Reset{Cursor: after, Last: last}
		return out, nil
	}
	to := min(after+uint64(limit), last)
	if after+1 < first {
		out.Gap = &api.Gap{From: after + 1, To: first - 1}
		after = first - 1
		to = min(after+uint64(limit), last)
	}
	reader := m.cfg.Journal.Reader(s.stream(), after)
	encode := s.encoder()
	for after < to {
		batch, err := reader.Next(ctx)
		if err != nil {
			return nil, s.unread(err)
		}
		if g := batch.Gap; g != nil {
			out.Gap, after = &api.Gap{From: g.From, To: g.To}, g.To
		}
		for _, e := range batch.Entries {
			if e.Seq > to {
				break
			}
			out.Events = append(out.Events, encode(e))
			after = e.Seq
		}
	}
	if after < last {
		out.NextCursor = strconv.FormatUint(after, 10)
	}
	return out, nil
}

// unread says why the history cannot be read: it ends when it is purged.
func (s *session) unread(err error) error {
	if errors.Is(err, io.EOF) {
		return api.SessionNotFound(s.id)
	}
	return err
}

// EventPage is [Manager.Events] by the number of a page, from 1, of the events
// that are kept. The gap before them is on the first one.
func (m *Manager) EventPage(ctx context.Context, id string, page, limit int) (*api.SessionEvents, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	after := uint64(0)
	if page > 1 {
		first, _, err := m.cfg.Journal.Bounds(s.stream())
		if err != nil {
			return nil, err
		}
		if after = math.MaxInt64; uint64(page-1) < after/maxPage {
			after = first - 1 + uint64(page-1)*uint64(limit)
		}
	}
	out, err := m.Events(ctx, id, after, limit)
	if err == nil {
		out.Page, out.Reset = page, nil // a page behind the last one is empty
	}
	return out, err
}

// Follow returns a reader of the events of a session behind after, and what
// turns its entries into events.
func (m *Manager) Follow(id string, after uint64) (*journal.Reader, func(journal.Entry) api.SessionEvent, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, nil, err
	}
	return m.cfg.Journal.Reader(s.stream(), after), s.encoder(), nil
}

// encoder returns the function that makes events of entries. It is not safe for
// concurrent use.
func (s *session) encoder() func(journal.Entry) api.SessionEvent {
	var bound []binding
	fresh := uint64(0)
	return func(e journal.Entry) api.SessionEvent {
		if e.Seq > fresh { // bindings are made before the events they hold for
			s.mu.Lock()
			bound, fresh = s.rec.Bound, s.rec.Last
			s.mu.Unlock()
		}
		return api.SessionEvent{
			ID: s.id + ":" + strconv.FormatUint(e.Seq, 10), EventIndex: e.Seq, SessionID: s.id,
			CreatedAt: e.Time, ConnectionID: serverAt(bound, e.Seq), Sender: sender(e), Payload: e.Frame,
		}
	}
}

// serverAt returns the connection that a session was open on as of an event, ""
// for an event from before the first binding.
func serverAt(bound []binding, event uint64) string {
	i := sort.Search(len(bound), func(i int) bool { return bound[i].From > event })
	if i == 0 {
		return ""
	}
	return bound[i-1].Server
}

// noticeStart is how the frames of [session.notify] begin.
var noticeStart = []byte(`{"jsonrpc":"2.0","method":"_session/`)

// sender says who sent an event. The bridge takes no frame of an agent or a
// client whose method is one of the server's own.
func sender(e journal.Entry) string {
	if e.Dir == journal.FromAgent && bytes.HasPrefix(e.Frame, noticeStart) {
		return api.SenderServer
	}
	return string(e.Dir)
}

// Attach notes that a client follows a session, until the function it returns
// is called.
func (m *Manager) Attach(id, client string) (detach func(), err error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	key := newID()
	s.mu.Lock()
	s.clients[key] = api.SessionClient{ID: key, Client: client, Since: time.Now().UnixMilli()}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients, key)
		s.used = time.Now()
	}, nil
}
