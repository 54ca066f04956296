// Package httpkit is what the HTTP servers of this module have in common: routes
// with their description in OpenAPI, problem documents, tokens, the checks that keep
// web pages out, event streams, bounds of bodies, and metrics. It knows no noun: what
// a route does is its server's.
package httpkit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"
)

// Config says how a [Router] answers. MaxBodyBytes and Logger are required.
type Config struct {
	Title, Version, Description string // of the document

	// Schemas names the types whose schema stands for that of another type.
	Schemas map[reflect.Type]reflect.Type

	// Namespace begins the names of the metrics.
	Namespace string

	Token        string   // what routes below /v1/ and /metrics require; empty requires none
	AllowedHosts []string // Host names served without a token besides loopback; * means any
	CORS         CORS

	// Before is called with every request that may be served, before its route is. Nil
	// means nothing is.
	Before func(*http.Request)

	MaxBodyBytes int64  // of a request whose route has no bound of its own
	Bounds       Bounds // of connections
	Logger       *slog.Logger
}

// Router is an [http.Handler] that serves the routes it was given by [Route],
// [Router.Handle], and [Router.Page], which are to be called before it serves.
type Router struct {
	cfg      Config
	log      *slog.Logger
	nonce    string        // begins the ids of requests
	requests atomic.Uint64 // that had no id

	mux          *http.ServeMux
	api          huma.API
	endpoints    map[string]*endpoint // by "METHOD /path"
	descriptions []func()             // parts of what describe makes
	describe     func()
	document     func() ([]byte, error)
	metrics      *metrics
	serveMetrics http.Handler
}

// New returns a router without routes.
func New(cfg Config) *Router {
	setFrameworkErrors()
	rt := &Router{
		cfg:       cfg,
		log:       cfg.Logger,
		nonce:     rand.Text()[:12],
		mux:       http.NewServeMux(),
		endpoints: make(map[string]*endpoint),
		metrics:   newMetrics(cfg.Namespace),
	}
	rt.serveMetrics = rt.metrics.handler()
	rt.mux.HandleFunc(everything, rt.unrouted)
	rt.api = newAPI(rt)
	rt.describe = rt.newDescribe()
	rt.document = sync.OnceValues(func() ([]byte, error) {
		rt.Describe()
		return json.Marshal(rt.api.OpenAPI())
	})
	return rt
}

// Describe makes what the description of the API is needed for, unless that has
// been done. It takes a third of a start, so it is called after that, when
// no client waits for it yet.
func (rt *Router) Describe() { rt.describe() }

// Document returns the OpenAPI 3.1 document of the routes as JSON.
func (rt *Router) Document() ([]byte, error) { return rt.document() }

// setFrameworkErrors makes huma answer with our problem documents. Huma keeps
// the constructors in package variables; every router sets the same ones.
var setFrameworkErrors = sync.OnceFunc(func() {
	huma.NewError = frameworkError
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if status == http.StatusRequestEntityTooLarge {
			return bodyTooLarge(ctx.Operation())
		}
		for i := range errs {
			if hasLeft(ctx.Context()) && errors.Is(errs[i], context.Canceled) {
				return clientLeft()
			}
			errs[i] = endedBy(ctx.Context(), errs[i])
		}
		return frameworkError(status, msg, errs...)
	}
})

// Page serves GET requests of a pattern outside the API: they are not in the
// document and need no token.
func (rt *Router) Page(pattern string, h http.HandlerFunc) {
	rt.mount(http.MethodGet, &endpoint{pattern: pattern}, h)
}

// Answered reports whether the header of an answer has been sent.
func Answered(w http.ResponseWriter) bool {
	rec, ok := w.(*recorder)
	return ok && rec.status != 0
}
