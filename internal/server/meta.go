package server

import (
	"context"
	_ "embed"
	"net/http"
	"runtime"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

//go:embed docs.html
var docsPage []byte

// metaRoutes are the routes about the server itself.
func (s *Server) metaRoutes() {
	root := op("getRoot", http.MethodGet, "/", "server", "Name of the server")
	root.Responses = map[string]*huma.Response{"200": s.jsonResponse("Name of the server", typeOf[api.Root]())}
	s.handle(root, s.getRoot)

	// Health is asked for often, and before the API is described.
	health := op("getHealth", http.MethodGet, "/v1/health", "server", "Whether the server answers")
	health.Responses = map[string]*huma.Response{"200": s.jsonResponse("OK", typeOf[api.Health]())}
	s.handle(health, s.getHealth)

	route(s, op("getVersion", http.MethodGet, "/v1/version", "server", "Version of the server"), s.getVersion)
	route(s, op("getLimits", http.MethodGet, "/v1/limits", "server", "Bounds that the server holds"), s.getLimits)

	metrics := op("getMetrics", http.MethodGet, "/metrics", "server", "Metrics in the Prometheus text format")
	metrics.Responses = map[string]*huma.Response{"200": {Description: "Metrics", Content: map[string]*huma.MediaType{"text/plain": {}}}}
	s.handle(metrics, s.router.ServeMetrics)

	document := op("getOpenAPI", http.MethodGet, "/openapi.json", "server", "This document")
	document.Responses = map[string]*huma.Response{"200": {Description: "OpenAPI 3.1", Content: map[string]*huma.MediaType{"application/json": {}}}}
	s.handle(document, s.getOpenAPI)

	docs := op("getDocs", http.MethodGet, "/docs", "server", "Documentation of this API, for a browser")
	docs.Responses = map[string]*huma.Response{"200": {Description: "A page that needs nothing from elsewhere", Content: map[string]*huma.MediaType{"text/html": {}}}}
	s.handle(docs, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
		_, err := w.Write(docsPage)
		return err
	})
}

func (s *Server) getRoot(w http.ResponseWriter, r *http.Request) error {
	return httpkit.Reply(w, http.StatusOK, api.Root{Docs: "/docs", Name: "Sandbox Agent"}, nil)
}

func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) error {
	return httpkit.Reply(w, http.StatusOK, api.Health{Status: "ok"}, nil)
}

func (s *Server) getVersion(context.Context, *struct{}) (*body[api.Version], error) {
	return answer(&api.Version{
		Name:      "sandbox-agent",
		Version:   s.cfg.Version,
		Commit:    s.cfg.Commit,
		GoVersion: runtime.Version(),
		OS:        runtime.GOOS,
		Arch:      runtime.GOARCH,
		DataDir:   s.cfg.DataDir,
		AgentUser: s.cfg.AgentUser,
		StartedAt: s.started.UnixMilli(),
	}, nil)
}

func (s *Server) getLimits(context.Context, *struct{}) (*body[api.Limits], error) {
	limits := s.limits
	return answer(&limits, nil)
}

func (s *Server) getOpenAPI(w http.ResponseWriter, r *http.Request) error {
	data, err := s.router.Document()
	if err != nil {
		return err
	}
	return httpkit.ReplyJSON(w, http.StatusOK, data)
}

// OpenAPI returns the OpenAPI 3.1 document of the API as JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.router.Document() }
