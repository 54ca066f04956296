// Package compat is what only the npm client 0.4.2 and the Python client 0.1.5 need,
// which are to work against this server as they are. [Clients] stands between the
// routes of ACP connections and the bridge: the requests of other clients pass
// through it unchanged.
package compat

import (
	"context"
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
		return c.bridge.Post(ctx, id, agent, true, frame)
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

// Events returns a reader of the events of a connection, as [bridge.Bridge.Events]
// does.
func (c *Clients) Events(ctx context.Context, id string, after *uint64) (*journal.Reader, error) {
	if h := c.hubs.get(id); h != nil {
		return c.hubs.reader(h, after), nil
	}
	return c.bridge.Events(ctx, id, after)
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
