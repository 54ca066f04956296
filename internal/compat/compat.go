// Package compat is what only the npm client 0.4.2 and the Python client 0.1.5 need,
// which are to work against this server as they are. [Clients] stands between the
// routes of ACP connections and the bridge: the requests of other clients pass
// through it unchanged.
package compat

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

// Clients are the ACP connections of a server as its clients see them. Its methods
// may be called from several goroutines.
type Clients struct {
	sessions *session.Manager
	bridge   *bridge.Bridge
	hubs     *Hubs
	version  string // of the server
	arrivals arrivals
}

// New returns the connections of sessions, whose Mirror is hubs.
func New(sessions *session.Manager, hubs *Hubs, version string) *Clients {
	return &Clients{sessions: sessions, bridge: sessions.Bridge(), hubs: hubs, version: version}
}

// Post takes the frame that has arrived, as [bridge.Bridge.Post] does.
func (a *Arrival) Post(ctx context.Context, agent string, hasAgent bool, frame []byte) ([]byte, error) {
	c, id := a.c, a.id
	msg, err := acp.Parse(frame)
	if err == nil {
		a.known(msg)
		a.keepOrder(ctx, msg)
	}
	if hasAgent {
		reply, err := c.bridge.Post(ctx, id, agent, true, frame)
		c.hubs.opened(id)
		return reply, err
	}
	if err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidJSON, "invalid JSON body: %w", err)
	}
	h, err := c.hub(ctx, id, msg, frame)
	if err != nil {
		return nil, err
	}
	if h != nil {
		return c.postToHub(ctx, h, msg, frame)
	}
	if err = c.rejoin(ctx, id, msg); err == nil {
		var reply []byte
		if reply, err = c.bridge.Post(ctx, id, "", false, frame); err == nil {
			return reply, nil
		}
	}
	if reply, ok := c.survivable(id, msg, err); ok {
		return reply, nil
	}
	return nil, err
}

// Reader is what reads the events of a connection, as a [journal.Reader] does.
type Reader interface {
	Next(ctx context.Context) (journal.Batch, error)
	Cursor() uint64
}

// Events returns a reader of the events of a connection, as [bridge.Bridge.Events]
// does. For a client that opens its event stream before there is a connection, the
// reader waits for that.
func (c *Clients) Events(r *http.Request, id string, after *uint64) (Reader, error) {
	reader, err := c.events(r.Context(), id, after)
	if errors.Is(err, api.CodeSessionNotFound) && isPython(r) {
		return &awaited{clients: c, id: id, after: after}, nil
	}
	return reader, err
}

func (c *Clients) events(ctx context.Context, id string, after *uint64) (Reader, error) {
	if h := c.hubs.get(id); h != nil {
		return c.hubs.reader(h, after), nil
	}
	reader, err := c.bridge.Events(ctx, id, after)
	switch {
	case err != nil:
		return nil, err
	case c.sessions.Owns(id):
		return reader, nil
	}
	return &withoutOwn{reader}, nil
}

// withoutOwn reads the events of a client's connection without the replies to what the
// server asked there by itself, when it opened the session again: the client cannot know
// their ids.
type withoutOwn struct{ *journal.Reader }

// Next implements [Reader].
func (r *withoutOwn) Next(ctx context.Context) (journal.Batch, error) {
	for {
		batch, err := r.Reader.Next(ctx)
		isOwn := func(e journal.Entry) bool { return session.OwnReply(e.Frame) }
		if err != nil || !slices.ContainsFunc(batch.Entries, isOwn) {
			return batch, err
		}
		batch.Entries = slices.DeleteFunc(slices.Clone(batch.Entries), isOwn) // others read the same batch
		if len(batch.Entries) > 0 {
			return batch, nil
		}
	}
}

// Shown returns the number of the last event that readers of a connection can get, or
// zero where there is none.
func (c *Clients) Shown(id string) uint64 {
	if h := c.hubs.get(id); h != nil {
		last, _ := c.hubs.journal.Shown(h.stream())
		return last
	}
	return c.bridge.Shown(id)
}

// List returns the connections in no order, those that sessions have for themselves
// only if all is true.
func (c *Clients) List(all bool) []api.ACPServer {
	list := slices.DeleteFunc(c.bridge.List(), func(a api.ACPServer) bool { return !all && c.sessions.Owns(a.ServerID) })
	return append(list, c.listHubs()...)
}

// Close ends a connection and its agent. One that does not exist is no error.
func (c *Clients) Close(ctx context.Context, id string) error {
	if c.closeHub(id) {
		return nil
	}
	err := c.bridge.Close(ctx, id)
	c.sessions.Forget(id)
	return err
}

// Prepare looks at a request that is about to be served, for what its client left
// out. It is the Before of the server's router.
func (c *Clients) Prepare(r *http.Request) {
	if id, ok := idOfPython(r); ok {
		c.nameSession(id)
	}
}
