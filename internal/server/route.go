package server

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

// What every handler uses of package httpkit, under short names.

type body[T any] = httpkit.Body[T]

func answer[T any](v *T, err error) (*body[T], error) { return httpkit.Answer(v, err) }

func op(id, method, path, tag, summary string) huma.Operation {
	return httpkit.Op(id, method, path, tag, summary)
}

func route[I, O any](s *Server, o huma.Operation, h func(context.Context, *I) (*O, error)) {
	if s.cfg.AsUser == nil || !touchesFiles(o.Path) {
		httpkit.Route(s.router, o, h)
		return
	}
	httpkit.Route(s.router, o, func(ctx context.Context, in *I) (out *O, err error) {
		err = s.cfg.AsUser(func() (err error) {
			out, err = h(ctx, in)
			return err
		})
		return out, err
	})
}

func (s *Server) handle(o huma.Operation, h httpkit.HandlerFunc) {
	if s.cfg.AsUser == nil || !touchesFiles(o.Path) {
		s.router.Handle(o, h)
		return
	}
	s.router.Handle(o, func(w http.ResponseWriter, r *http.Request) error {
		return s.cfg.AsUser(func() error { return h(w, r) })
	})
}

// touchesFiles reports whether the routes of a path do what the client says to files of
// the user that agents run as: with the rights of that user.
func touchesFiles(path string) bool {
	return strings.HasPrefix(path, "/v1/fs/") || strings.HasPrefix(path, "/v1/config/") || strings.HasPrefix(path, "/v1/agents")
}

func (s *Server) schema(t reflect.Type) *huma.Schema { return s.router.Schema(t) }

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
