package server

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/ui"
)

// uiRoutes are the addresses of the inspector. They are not part of the API and
// of its document, and need no token: the page asks for one.
func (s *Server) uiRoutes() {
	page := ui.New()
	serve := func(base func(name string) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("path")
			if !page.Serve(w, r, name, base(name)) {
				s.router.WriteProblem(w, r, httpkit.NotFound())
			}
		}
	}
	s.router.Page("/ui", serve(func(string) string { return "ui/" }))
	s.router.Page("/ui/{path...}", serve(func(name string) string {
		return cmp.Or(strings.Repeat("../", strings.Count(name, "/")), "./")
	}))
}
