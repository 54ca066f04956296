package compat

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
)

// An Arrival is a request with a frame, from its header on. A client that does not
// wait for the response to a prompt before it cancels it uses two connections of HTTP,
// which keep no order between them. So a cancel waits for the prompts that began to
// arrive before it: an agent drops a cancel that has nothing to cancel.
type Arrival struct {
	c  *Clients
	id string // of the ACP connection

	mu      sync.Mutex
	frame   bool   // it is here
	session string // whose prompt it is; "" if it is none
}

// arrivals are those of all connections.
type arrivals struct {
	mu  sync.Mutex
	all map[string][]*Arrival // by connection, in their order
}

// The bounds of what a cancel waits for.
const (
	orderLimit = 2 * time.Second // for prompts that arrive

	// unseenLimit is for a prompt of the npm client of which nothing has been seen: it
	// sends one without waiting and then cancels it, and the connection with the prompt
	// may be read later. Other clients know what they wait for.
	unseenLimit = 100 * time.Millisecond

	orderPoll = 2 * time.Millisecond
)

// Arrive notes that a frame begins to arrive on a connection. End is called when it
// has been dealt with.
func (c *Clients) Arrive(id string) *Arrival {
	a := &Arrival{c: c, id: id}
	c.arrivals.mu.Lock()
	defer c.arrivals.mu.Unlock()
	if c.arrivals.all == nil {
		c.arrivals.all = make(map[string][]*Arrival)
	}
	c.arrivals.all[id] = append(c.arrivals.all[id], a)
	return a
}

// End forgets an arrival.
func (a *Arrival) End() {
	in := &a.c.arrivals
	in.mu.Lock()
	defer in.mu.Unlock()
	rest := slices.DeleteFunc(in.all[a.id], func(other *Arrival) bool { return other == a })
	if in.all[a.id] = rest; len(rest) == 0 {
		delete(in.all, a.id)
	}
}

// earlier returns the arrivals of the same connection that began before.
func (a *Arrival) earlier() []*Arrival {
	in := &a.c.arrivals
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.all[a.id][:slices.Index(in.all[a.id], a)])
}

// known says what the frame is.
func (a *Arrival) known(msg acp.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frame = true
	if msg.Kind == acp.Request && msg.Method == acp.MethodSessionPrompt {
		a.session = msg.SessionID
	}
}

// mayPrompt reports whether the arrival is, or may turn out to be, a prompt of a
// session.
func (a *Arrival) mayPrompt(session string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.frame || a.session == session
}

// keepOrder waits, with a cancel, until an agent works on the session that it is about,
// or no prompt of it can be on the way any more.
func (a *Arrival) keepOrder(ctx context.Context, msg acp.Message) {
	if msg.Kind != acp.Notification || msg.Method != acp.MethodSessionCancel || a.c.sessions.Works(msg.SessionID) {
		return
	}
	earlier, limit := a.earlier(), orderLimit
	began := time.Now()
	poll := time.NewTicker(orderPoll)
	defer poll.Stop()
	for {
		earlier = slices.DeleteFunc(earlier, func(e *Arrival) bool { return !e.mayPrompt(msg.SessionID) || e.ended() })
		if len(earlier) == 0 {
			if limit = 0; a.c.isNPM(a.id, msg) {
				limit = unseenLimit
			}
		}
		if a.c.sessions.Works(msg.SessionID) || time.Since(began) >= limit {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}

// ended reports whether End was called.
func (a *Arrival) ended() bool {
	in := &a.c.arrivals
	in.mu.Lock()
	defer in.mu.Unlock()
	return !slices.Contains(in.all[a.id], a)
}
