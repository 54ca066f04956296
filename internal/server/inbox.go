package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

type permissionCheckInput struct {
	Body api.PermissionCheckRequest
}

// inboxRoutes are the routes of the permission requests of all sessions.
func (s *Server) inboxRoutes() {
	route(s, op("listPermissions", http.MethodGet, "/v1/permissions", "permissions", "Permission requests of all sessions that wait for a reply"), func(ctx context.Context, _ *struct{}) (*body[api.PermissionInbox], error) {
		return answer(s.sessions.PermissionInbox(ctx))
	})

	check := op("checkPermissions", http.MethodPost, "/v1/permissions/check", "permissions", "What a policy says to tool calls, and why")
	check.Description = "A dry run: no tool call is made and no policy is changed."
	route(s, check, func(ctx context.Context, in *permissionCheckInput) (*body[api.PermissionCheck], error) {
		return answer(s.sessions.CheckPermissions(ctx, in.Body))
	})

	follow := op("streamPermissions", http.MethodGet, "/v1/permissions/stream", "permissions", "Permission requests of all sessions as they are asked and resolved, as server-sent events")
	follow.Parameters = []*huma.Param{
		{Name: "after", In: "query", Description: "Start behind this event; 0, the first one that is kept, when absent", Schema: &huma.Schema{Type: "integer"}},
		{Name: "Last-Event-ID", In: "header", Description: "Counts before after", Schema: &huma.Schema{Type: "integer"}}}
	follow.Responses = map[string]*huma.Response{"200": {Description: "Events named message, gap for events that are no longer kept, and reset where the cursor is ahead of the newest event", Content: map[string]*huma.MediaType{
		"text/event-stream": {Schema: s.schema(typeOf[api.PermissionEvent]())},
	}}}
	s.handle(follow, s.streamPermissions)
}

func (s *Server) streamPermissions(w http.ResponseWriter, r *http.Request) error {
	if !httpkit.Accepts(r, "text/event-stream") {
		return api.NewError(api.KindNotAcceptable, "", "accept must allow text/event-stream")
	}
	after, err := eventCursor(r)
	if err != nil {
		return err
	}
	reader, event := s.sessions.FollowPermissions(r.Context(), after)
	return s.streamJournal(w, r, reader, nil, func(stream *httpkit.Stream, e journal.Entry) {
		data, err := json.Marshal(event(e))
		if err != nil {
			s.log.Error("encode permission event", "id", httpkit.RequestID(w), "error", err)
			return
		}
		stream.Add("message", e.Seq, data)
	})
}
