package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

type ruleInput struct {
	ID   string `path:"id"`
	Rule string `path:"rule" doc:"Id of the rule"`
}

// permissionDefault describes the two forms of [api.PermissionDefault].
type permissionDefault struct{}

func (permissionDefault) Schema(huma.Registry) *huma.Schema {
	one := &huma.Schema{Type: huma.TypeString, Enum: []any{api.DecideAsk, api.DecideAllow, api.DecideReject}}
	kinds := map[string]*huma.Schema{api.DefaultKind: one}
	for _, kind := range api.PermissionKinds {
		kinds[kind] = one
	}
	return &huma.Schema{OneOf: []*huma.Schema{one, {Type: huma.TypeObject, Properties: kinds, AdditionalProperties: false}},
		Description: "One decision, or one per kind of tool call with * for the others"}
}

// permissionRoutes are the routes of what agents ask.
func (s *Server) permissionRoutes() {
	route(s, sessionOp("listSessionPermissions", http.MethodGet, "/v1/sessions/{id}/permissions", "Permission requests that wait for a reply"), func(_ context.Context, in *sessionInput) (*body[api.PermissionList], error) {
		return answer(s.sessions.Permissions(in.ID))
	})
	route(s, sessionOp("listSessionPermissionRules", http.MethodGet, "/v1/sessions/{id}/permissions/rules", "Rules that decide permission requests"), func(_ context.Context, in *sessionInput) (*body[api.PermissionRules], error) {
		return answer(s.sessions.Rules(in.ID))
	})
	forget := sessionOp("clearSessionPermissionRules", http.MethodDelete, "/v1/sessions/{id}/permissions/rules", "Forget all that was allowed by always")
	route(s, forget, func(ctx context.Context, in *sessionInput) (*struct{}, error) {
		return nil, s.sessions.DeleteRule(ctx, in.ID, "")
	})
	route(s, sessionOp("deleteSessionPermissionRule", http.MethodDelete, "/v1/sessions/{id}/permissions/rules/{rule}", "Forget a rule"), func(ctx context.Context, in *ruleInput) (*struct{}, error) {
		return nil, s.sessions.DeleteRule(ctx, in.ID, in.Rule)
	})

	s.inboxRoutes()

	reply := sessionOp("replySessionPermission", http.MethodPost, "/v1/sessions/{id}/permissions/{permission}", "Reply to a permission request")
	reply.Description = "The first reply counts; a later one is a conflict that has the first one."
	reply.Parameters = []*huma.Param{sessionParam(),
		{Name: "permission", In: "path", Required: true, Description: "Id of the permission", Schema: &huma.Schema{Type: "string"}},
		{Name: "X-Client-Name", In: "header", Description: "Who is recorded as the one who answered; the address when absent", Schema: &huma.Schema{Type: "string"}}}
	reply.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: s.schema(typeOf[api.PermissionReply]())}}}
	reply.Responses = map[string]*huma.Response{"200": {Description: "The reply that the agent got", Content: map[string]*huma.MediaType{
		"application/json": {Schema: s.schema(typeOf[api.PermissionResolved]())}}}}
	s.handle(reply, func(w http.ResponseWriter, r *http.Request) error {
		var req api.PermissionReply
		if err := s.readBody(w, r, &req); err != nil {
			return err
		}
		by, err := clientName(r)
		if err != nil {
			return err
		}
		res, err := s.sessions.ReplyPermission(r.Context(), r.PathValue("id"), r.PathValue("permission"), req, by)
		if err != nil {
			return err
		}
		return httpkit.Reply(w, http.StatusOK, res, nil)
	})
}
