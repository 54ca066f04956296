package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// dateVersion is how the client of a hub gives the version of the protocol.
var dateVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

// hub returns the hub that a frame is for, which the frame may open; nil if it is for
// no hub.
func (c *Clients) hub(ctx context.Context, id string, msg acp.Message, frame []byte) (*hub, error) {
	if h := c.hubs.get(id); h != nil || !c.opensHub(ctx, id, msg, frame) {
		return h, nil
	}
	return c.hubs.make(id)
}

// opensHub reports whether a frame opens a hub: initialize with a date as the
// version, or a request for a session that a hub of that id owned before it was
// closed or the server restarted.
func (c *Clients) opensHub(ctx context.Context, id string, msg acp.Message, frame []byte) bool {
	if msg.Kind != acp.Request {
		return false
	}
	if msg.Method != acp.MethodInitialize {
		return c.sessions.Owner(msg.SessionID) == id
	}
	var request struct {
		Params struct {
			ProtocolVersion json.RawMessage `json:"protocolVersion"`
		} `json:"params"`
	}
	var version string
	if json.Unmarshal(frame, &request) != nil || json.Unmarshal(request.Params.ProtocolVersion, &version) != nil || !dateVersion.MatchString(version) {
		return false
	}
	after := uint64(0)
	_, err := c.bridge.Events(ctx, id, &after)
	return errors.Is(err, api.CodeSessionNotFound)
}

// postToHub does what a frame says and returns the reply, nil for what has none.
func (c *Clients) postToHub(ctx context.Context, h *hub, msg acp.Message, frame []byte) ([]byte, error) {
	if msg.Reserved {
		return bridge.RefuseReserved(msg)
	}
	switch msg.Kind {
	case acp.Request:
		return c.callHub(ctx, h, msg, frame)
	case acp.Response:
		c.replyPermission(ctx, h, msg, frame)
	case acp.Notification:
		if msg.Method == acp.MethodSessionCancel {
			c.sessions.StartCancel(msg.SessionID)
		}
	}
	return nil, nil
}

// callHub does what a request says and returns the response, which is among the
// events of the hub too.
func (c *Clients) callHub(ctx context.Context, h *hub, msg acp.Message, frame []byte) ([]byte, error) {
	result, err := c.call(ctx, h, msg.Method, frame)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	id := bytes.Clone(msg.ID)
	var reply []byte
	if err != nil {
		reply, err = acp.ErrorFrame(id, rpcError(err))
	} else {
		reply, err = acp.ResultFrame(id, result)
	}
	if err != nil {
		return nil, err
	}
	c.hubs.send(h, reply)
	return reply, nil
}

// rpcError returns an error as an agent would report it.
func rpcError(err error) *acp.RPCError {
	var rpc *acp.RPCError
	if errors.As(err, &rpc) {
		return rpc
	}
	var e *api.Error
	if !errors.As(err, &e) {
		return acp.Errorf(acp.CodeInternalError, "%v", err)
	}
	out := acp.Errorf(acp.CodeInternalError, "%s", e.Error())
	switch {
	case e.Code == api.CodeSessionNotFound:
		out.Code = acp.CodeResourceNotFound
	case e.Status == 400:
		out.Code = acp.CodeInvalidParams
	}
	if data, err := json.Marshal(map[string]any{"code": e.Code, "details": e.Details}); err == nil {
		out.Data = data
	}
	return out
}

// replyPermission takes the response of a client to a permission request. A reply
// that the request does not offer cancels it.
func (c *Clients) replyPermission(ctx context.Context, h *hub, msg acp.Message, frame []byte) {
	var id string
	if json.Unmarshal(msg.ID, &id) != nil {
		return
	}
	p := c.sessions.PendingPermission(id)
	if p == nil {
		return
	}
	ctx = context.WithoutCancel(ctx) // the client may leave when it has sent its reply
	by, reply := api.ByConnection(h.id), permissionReply(frame)
	if reply.Reply == api.ReplyAlways && len(p.Always) == 0 {
		reply.Reply = api.ReplyOnce
	}
	_, err := c.sessions.ReplyPermission(ctx, p.SessionID, id, reply, by)
	if errors.Is(err, api.CodeReplyNotAvailable) {
		_, err = c.sessions.ReplyPermission(ctx, p.SessionID, id, api.PermissionReply{Reply: api.ReplyCancel}, by)
	}
	if err != nil {
		c.hubs.log.Debug("reply to permission request", "permission", id, "error", err)
	}
}

// listHubs returns the open hubs. One runs while the agent of a session of its does.
func (c *Clients) listHubs() []api.ACPServer {
	running := make(map[string]bool)
	for _, s := range c.sessions.Owned() {
		running[s.Owner] = running[s.Owner] || c.bridge.Running(s.LastConnectionID)
	}
	var list []api.ACPServer
	for _, h := range c.hubs.all() {
		server := api.ACPServer{ServerID: h.id, CreatedAtMs: h.created, Status: "exited"}
		if running[h.id] {
			server.Status = "running"
		}
		list = append(list, server)
	}
	return list
}

// closeHub closes a hub. The agents of its sessions are stopped after that, but for
// those that work; the sessions stay. It reports whether there was a hub.
func (c *Clients) closeHub(id string) bool {
	if !c.hubs.close(id) {
		return false
	}
	c.sessions.StopIdle(id)
	return true
}

// sessionsOf returns the sessions of a hub, the newest change first.
func (c *Clients) sessionsOf(h *hub) acp.ListSessionsResult {
	out := acp.ListSessionsResult{Sessions: []acp.SessionInfo{}}
	for _, s := range c.sessions.Owned() {
		if s.Owner == h.id {
			out.Sessions = append(out.Sessions, acp.SessionInfo{SessionID: s.ID, CWD: s.CWD, Title: s.Title, UpdatedAt: utc(s.UpdatedAt)})
		}
	}
	slices.SortFunc(out.Sessions, newestChangeFirst)
	return out
}
