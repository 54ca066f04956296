package compat

import (
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// A hub is a connection of a client that takes the server for the one agent that it
// talks to, as the Python client does: it names an agent when it opens a session, not
// when it connects. What it asks of that agent is done with sessions of the server,
// which the hub owns.
type hub struct {
	id      string
	base    uint64 // last event before it was opened
	created int64
}

// stream is the hub's stream in the journal.
func (h *hub) stream() string { return "virtual/" + h.id }

// Hubs are the open hubs of a server and what their clients can read. It is the
// Mirror of the sessions.
type Hubs struct {
	journal *journal.Journal
	log     *slog.Logger

	mu      sync.RWMutex
	open    map[string]*hub
	waiting map[string]chan struct{} // closed when a connection of that id opens
}

// NewHubs returns no open hub. The events of those to come go to j.
func NewHubs(j *journal.Journal, log *slog.Logger) *Hubs {
	return &Hubs{journal: j, log: log, open: make(map[string]*hub), waiting: make(map[string]chan struct{})}
}

// get returns an open hub, or nil.
func (hs *Hubs) get(id string) *hub {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return hs.open[id]
}

// all returns the open hubs, in no order.
func (hs *Hubs) all() []*hub {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	list := make([]*hub, 0, len(hs.open))
	for _, h := range hs.open {
		list = append(list, h)
	}
	return list
}

// make opens a hub. One that is open stays as it is.
func (hs *Hubs) make(id string) (*hub, error) {
	h := &hub{id: id, created: time.Now().UnixMilli()}
	var err error
	if h.base, err = hs.journal.Last(h.stream()); err != nil {
		return nil, err
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if other := hs.open[id]; other != nil {
		return other, nil
	}
	hs.open[id] = h
	hs.wake(id)
	return h, nil
}

// wake ends the waits for a connection. The caller holds mu.
func (hs *Hubs) wake(id string) {
	if c := hs.waiting[id]; c != nil {
		close(c)
		delete(hs.waiting, id)
	}
}

// opened notes that a connection that is no hub was opened.
func (hs *Hubs) opened(id string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.wake(id)
}

// wait returns a channel that is closed when a connection opens.
func (hs *Hubs) wait(id string) <-chan struct{} {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.waiting[id] == nil {
		hs.waiting[id] = make(chan struct{})
	}
	return hs.waiting[id]
}

// close ends a hub and the streams of its readers. It reports whether it was open.
func (hs *Hubs) close(id string) bool {
	hs.mu.Lock()
	h := hs.open[id]
	delete(hs.open, id)
	hs.mu.Unlock()
	if h == nil {
		return false
	}
	hs.journal.End(h.stream())
	return true
}

// reader returns a reader of what the client of a hub receives. A nil after starts
// with the first event since the hub was opened.
func (hs *Hubs) reader(h *hub, after *uint64) *journal.Reader {
	from := h.base
	if after != nil {
		from = *after
	}
	return hs.journal.Reader(h.stream(), from)
}

// send adds a frame to what the client of a hub receives.
func (hs *Hubs) send(h *hub, frame []byte) {
	if _, err := hs.journal.Append(h.stream(), journal.FromAgent, frame); err != nil {
		hs.log.Warn("journal the frame of a hub", "server", h.id, "error", err)
	}
}

// Notified implements [session.Mirror].
func (hs *Hubs) Notified(owner string, frame []byte) {
	if h := hs.get(owner); h != nil {
		hs.send(h, frame)
	}
}

// Asked implements [session.Mirror]. The request goes out under the id of the
// permission, as the ids of several agents may be equal.
func (hs *Hubs) Asked(owner string, p api.Permission, frame []byte) {
	h := hs.get(owner)
	if h == nil {
		return
	}
	var request struct {
		Params map[string]json.RawMessage `json:"params"`
	}
	if json.Unmarshal(frame, &request) != nil || request.Params == nil {
		return
	}
	id, err := json.Marshal(p.ID)
	if err == nil {
		request.Params["permission"], err = json.Marshal(p) // where older clients look for it
	}
	if err == nil {
		frame, err = acp.RequestFrame(id, acp.MethodRequestPermission, request.Params)
	}
	if err != nil {
		hs.log.Error("encode the permission request for a hub", "server", h.id, "permission", p.ID, "error", err)
		return
	}
	hs.send(h, frame)
}
