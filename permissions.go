package sandboxagent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sandboxagent/sandboxagent/api"
)

// Permissions returns the permission requests of all sessions that wait for a
// reply, the oldest first, and the cursor at which [Client.PermissionEvents] goes
// on from there.
func (c *Client) Permissions(ctx context.Context) (*api.PermissionInbox, error) {
	inbox, err := get[api.PermissionInbox](ctx, c, route("v1", "permissions"), nil)
	if err != nil {
		return nil, fmt.Errorf("list permission requests: %w", err)
	}
	return inbox, nil
}

// ReplyPermission replies to a permission request of a session by its id, as
// [Session.Reply] does, with all that a reply can say.
func (c *Client) ReplyPermission(ctx context.Context, session, id string, reply api.PermissionReply) (*api.PermissionResolved, error) {
	resolved, err := call[api.PermissionResolved](ctx, c, http.MethodPost, route("v1", "sessions", session, "permissions", id), nil, reply)
	if err != nil {
		return nil, fmt.Errorf("reply to permission request of session %s: %w", session, permissionError(id, Reply(cmp.Or(reply.OptionID, reply.Reply)), err))
	}
	return resolved, nil
}

// CheckPermissions returns what a policy says to a tool call, or to those of a
// session, and which rules it has weighed. It changes nothing.
func (c *Client) CheckPermissions(ctx context.Context, req api.PermissionCheckRequest) (*api.PermissionCheck, error) {
	check, err := call[api.PermissionCheck](ctx, c, http.MethodPost, route("v1", "permissions", "check"), nil, req)
	if err != nil {
		return nil, fmt.Errorf("check permissions: %w", err)
	}
	return check, nil
}

// A PermissionEvent reports a permission request of any session. In a gap, and where
// the cursor was ahead of the server, it has only Gap or Reset.
type PermissionEvent struct {
	api.PermissionEvent

	// Gap is set where events are missing because the server no longer keeps them.
	Gap *api.Gap

	// Reset is set where the server has lost what was read last: what follows is
	// numbered from Last on.
	Reset *api.Reset
}

// PermissionEvents yields the events of the permission requests of all sessions
// behind the one numbered after, those there are and then those to come, in order
// and each once, until ctx ends. It reconnects when the connection breaks or the
// server is away. An error is the last thing it yields; the end of ctx is none.
//
// Reply to a request with [Client.ReplyPermission].
func (c *Client) PermissionEvents(ctx context.Context, after uint64) iter.Seq2[PermissionEvent, error] {
	return func(yield func(PermissionEvent, error) bool) {
		f := &follower{
			c:       c,
			request: request{path: route("v1", "permissions", "stream"), query: url.Values{"after": {strconv.FormatUint(after, 10)}}},
			ended:   func() bool { return false }, // no event is the last one
		}
		last := after
		for raw, err := range f.events(ctx) {
			e, fresh := PermissionEvent{}, false
			if err == nil {
				e, fresh, err = decodePermission(raw, &last)
			}
			if err != nil {
				yield(PermissionEvent{}, fmt.Errorf("follow permission requests: %w", err))
				return
			}
			if fresh && !yield(e, nil) {
				return
			}
		}
	}
}

// decodePermission returns an event; fresh is false for one that came before. last
// is the number of the newest one.
func decodePermission(raw event, last *uint64) (e PermissionEvent, fresh bool, err error) {
	switch raw.name {
	case "gap":
		e.Gap = new(api.Gap)
		if err := json.Unmarshal(raw.data, e.Gap); err != nil {
			return e, false, fmt.Errorf("decode gap: %w", err)
		}
		fresh = e.Gap.To > *last
		*last = max(*last, e.Gap.To)
	case "reset":
		e.Reset = new(api.Reset)
		if err := json.Unmarshal(raw.data, e.Reset); err != nil {
			return e, false, fmt.Errorf("decode reset: %w", err)
		}
		fresh, *last = true, e.Reset.Last
	case "message":
		if err := json.Unmarshal(raw.data, &e.PermissionEvent); err != nil {
			return e, false, fmt.Errorf("decode permission event: %w", err)
		}
		if e.Seq > *last+1 {
			return e, false, fmt.Errorf("permission event %d came after %d", e.Seq, *last)
		}
		fresh = e.Seq > *last
		*last = max(*last, e.Seq)
	}
	return e, fresh, nil
}
