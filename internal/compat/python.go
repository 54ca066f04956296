package compat

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

// newTime is how long the newest of several sessions is taken for the one that the
// Python client means.
const newTime = 2 * time.Second

// isPython reports whether the Python client may have sent a request.
func isPython(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("User-Agent"), "python-httpx/")
}

// awaited reads the events of a connection that does not exist yet: the Python client
// opens its event stream first, and tries again only when its first turn is over.
type awaited struct {
	clients *Clients
	id      string
	after   *uint64
	reader  Reader // once it exists
}

func (a *awaited) Next(ctx context.Context) (journal.Batch, error) {
	for a.reader == nil {
		opened := a.clients.hubs.wait(a.id) // before the look, so that none is missed
		reader, err := a.clients.events(ctx, a.id, a.after)
		switch {
		case err == nil:
			a.reader = reader
		case !errors.Is(err, api.CodeSessionNotFound):
			return journal.Batch{}, err
		default:
			select {
			case <-opened:
			case <-ctx.Done():
				return journal.Batch{}, ctx.Err()
			}
		}
	}
	return a.reader.Next(ctx)
}

func (a *awaited) Cursor() uint64 {
	if a.reader == nil {
		return 0
	}
	return a.reader.Cursor()
}

// idOfPython returns the id of the session that a request of the Python client is
// about.
func idOfPython(r *http.Request) (id string, ok bool) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/sessions/")
	if !ok || !isPython(r) {
		return "", false
	}
	id, _, _ = strings.Cut(path, "/")
	return id, true
}

// nameSession finds the session that the Python client means by an id that it made
// up: it opens the session on a hub, and then uses its id in the session routes. An
// unknown id becomes one more id of the only session that can be meant, which is one
// on an open hub that no client has called by an id yet. Of several it is the newest,
// just after it was opened; later it is none.
func (c *Clients) nameSession(id string) {
	if c.sessions.Named(id) {
		return
	}
	var found []session.Owned
	for _, s := range c.sessions.Owned() {
		if s.DestroyedAt == nil && !s.Named && c.hubs.get(s.Owner) != nil {
			found = append(found, s)
		}
	}
	if len(found) == 0 || len(found) > 1 && time.Since(time.UnixMilli(found[0].CreatedAt)) > newTime {
		return
	}
	c.sessions.Name(found[0].ID, id)
}
