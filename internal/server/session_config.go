package server

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/session"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// sessionDir is where the configuration of one session is.
func (s *Server) sessionDir(id string) string {
	return filepath.Join(s.cfg.DataDir, "sessions", id)
}

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
		known, err := s.sessions.Get(r.PathValue("id"))
		if err != nil {
			return err
		}
		all, err := set.All(s.sessionDir(known.ID))
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
		known, err := s.sessions.Get(r.PathValue("id"))
		if err != nil {
			return err
		}
		data, err := s.readConfig(w, r)
		if err != nil {
			return err
		}
		dir := s.sessionDir(known.ID)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return noContent(w, set.Replace(r.Context(), dir, data))
	})
}

// installSkills makes the folders in which an agent looks for skills hold those
// of the session's folder, and of the session itself if it has any.
func (s *Server) installSkills(ctx context.Context, cwd string, targets []string) error {
	id := session.ID(ctx)
	if id == "" {
		return s.settings.InstallSkills(ctx, cwd, targets)
	}
	dir := s.sessionDir(id)
	own, err := s.settings.Skills.All(dir)
	if err != nil || len(own) == 0 {
		return errors.Join(err, s.settings.InstallSkills(ctx, cwd, targets))
	}
	all, err := s.settings.Skills.All(cwd)
	if err != nil {
		return err
	}
	both := make(map[string]api.SkillsConfig, len(all)+len(own))
	maps.Copy(both, all)
	maps.Copy(both, own) // what the session says itself wins
	for name, entry := range both {
		entry.Sources = slices.Clone(entry.Sources)
		for i := range entry.Sources {
			if source := &entry.Sources[i]; source.Type == "local" && !filepath.IsAbs(source.Source) {
				source.Source = filepath.Join(cwd, source.Source)
			}
		}
		both[name] = entry
	}
	data, err := json.Marshal(api.SkillsSet{Skills: both})
	if err != nil {
		return err
	}
	merged := filepath.Join(dir, "merged")
	if err := os.MkdirAll(merged, 0o700); err != nil {
		return err
	}
	if err := s.settings.Skills.Replace(ctx, merged, data); err != nil {
		return err
	}
	absolute := make([]string, 0, len(targets))
	for _, target := range targets {
		if !filepath.IsAbs(target) {
			target = filepath.Join(cwd, target)
		}
		absolute = append(absolute, target)
	}
	return s.settings.InstallSkills(ctx, merged, absolute)
}
