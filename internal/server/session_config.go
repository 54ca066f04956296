package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// sessionConfigRoutes registers the routes of the stored configuration of
// sessions, which counts in addition to that of the working directory from the next start
// of its agent on.
func sessionConfigRoutes[Whole, Entry any](s *Server, noun, label string, set *settings.Set[Entry], whole func(map[string]Entry) Whole) {
	content := map[string]*huma.MediaType{"application/json": {Schema: s.schema(typeOf[Whole]())}}
	path := "/v1/sessions/{id}/" + noun + "/config"
	get := sessionOp("get"+label, http.MethodGet, path, "Configuration of "+noun+" for one session")
	get.Parameters = []*huma.Param{sessionParam()}
	get.Responses = map[string]*huma.Response{"200": {Description: "The set", Content: content}}
	s.handle(get, func(w http.ResponseWriter, r *http.Request) error {
		all, err := sessionConfig(r.Context(), s, r.PathValue("id"), noun, set)
		if err != nil {
			return err
		}
		return httpkit.Reply(w, http.StatusOK, whole(all), nil)
	})
	put := sessionOp("put"+label, http.MethodPut, path, "Replace the configuration of "+noun+" for one session")
	put.Description = "It counts from the next start of the agent on, in addition to that of the working directory."
	put.Parameters = []*huma.Param{sessionParam()}
	put.RequestBody = &huma.RequestBody{Required: true, Content: content}
	put.Responses = map[string]*huma.Response{"204": {Description: "Stored"}}
	s.handle(put, func(w http.ResponseWriter, r *http.Request) error {
		if _, err := s.sessions.Get(r.PathValue("id")); err != nil {
			return err
		}
		data, err := s.readConfig(w, r)
		if err != nil {
			return err
		}
		all, err := set.Decode(data)
		if err != nil {
			return err
		}
		if data, err = json.Marshal(whole(all)); err != nil {
			return err
		}
		return httpkit.NoContent(w, s.sessions.SetStored(r.Context(), r.PathValue("id"), noun, data))
	})
}

// sessionConfig returns what is stored for a session. It is never nil without an
// error.
func sessionConfig[Entry any](ctx context.Context, s *Server, id, noun string, set *settings.Set[Entry]) (map[string]Entry, error) {
	data, err := s.sessions.Stored(ctx, id, noun)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return map[string]Entry{}, nil
	}
	return set.Decode(data)
}
