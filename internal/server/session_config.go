package server

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/internal/session"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// sessionConfigRoutes registers the routes of the stored configuration of
// sessions, which counts beside that of the session's folder from the next start
// of its agent on.
func sessionConfigRoutes[Whole, Entry any](s *Server, noun, label string, set *settings.Set[Entry], whole func(map[string]Entry) Whole) {
	content := map[string]*huma.MediaType{"application/json": {Schema: s.schema(typeOf[Whole]())}}
	path := "/v1/sessions/{id}/" + noun + "/config"
	get := s.sessionOp("get"+label, http.MethodGet, path, "Configuration of "+noun+" for one session")
	get.Parameters = []*huma.Param{sessionParam()}
	get.Responses = map[string]*huma.Response{"200": {Description: "The set", Content: content}}
	s.handle(get, func(w http.ResponseWriter, r *http.Request) error {
		s.claimSession(r.UserAgent(), r.PathValue("id"))
		all, err := sessionConfig(r.Context(), s, r.PathValue("id"), noun, set)
		if err != nil {
			return err
		}
		return writeConfig(w, whole(all))
	})
	put := s.sessionOp("put"+label, http.MethodPut, path, "Replace the configuration of "+noun+" for one session")
	put.Description = "It counts from the next start of the session's agent on, beside that of its folder."
	put.Parameters = []*huma.Param{sessionParam()}
	put.RequestBody = &huma.RequestBody{Required: true, Content: content}
	put.Responses = map[string]*huma.Response{"204": {Description: "Stored"}}
	s.handle(put, func(w http.ResponseWriter, r *http.Request) error {
		s.claimSession(r.UserAgent(), r.PathValue("id"))
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
		return noContent(w, s.sessions.SetStored(r.Context(), r.PathValue("id"), noun, data))
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

// checkSessionConfig returns the problem with what an import brings for a session.
func (s *Server) checkSessionConfig(noun string, data []byte) (err error) {
	if noun == session.StoredMCP {
		_, err = s.settings.MCP.Decode(data)
	} else {
		_, err = s.settings.Skills.Decode(data)
	}
	return err
}

// addSessionMCP adds the MCP servers of a session to the parameters with which it
// is opened.
func (s *Server) addSessionMCP(ctx context.Context, id string, params json.RawMessage) (json.RawMessage, error) {
	all, err := sessionConfig(ctx, s, id, session.StoredMCP, s.settings.MCP)
	if err != nil || len(all) == 0 {
		return params, err
	}
	var opened struct {
		CWD string `json:"cwd"`
	}
	if err := json.Unmarshal(params, &opened); err != nil {
		return nil, err
	}
	return s.settings.AddMCP(params, opened.CWD, all)
}

// installSkills makes the folders in which an agent looks for skills hold those
// of the session's folder, and of the session itself if it has any.
func (s *Server) installSkills(ctx context.Context, cwd string, targets []string) error {
	id := session.ID(ctx)
	if id == "" {
		return s.settings.InstallSkills(ctx, cwd, targets)
	}
	own, err := sessionConfig(ctx, s, id, session.StoredSkills, s.settings.Skills)
	if err != nil || len(own) == 0 {
		return errors.Join(err, s.settings.InstallSkills(ctx, cwd, targets))
	}
	all, err := s.settings.Skills.All(cwd)
	if err != nil {
		return err
	}
	both := maps.Clone(all)
	maps.Copy(both, own) // what the session says itself wins
	return s.settings.InstallEntries(ctx, cwd, both, targets)
}
