package server

import (
	"context"
	"reflect"

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
	httpkit.Route(s.router, o, h)
}

func (s *Server) handle(o huma.Operation, h httpkit.HandlerFunc) { s.router.Handle(o, h) }

func (s *Server) schema(t reflect.Type) *huma.Schema { return s.router.Schema(t) }

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
