package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sandboxagent/sandboxagent/api"
)

// body is an operation's answer that has nothing but a JSON body.
type body[T any] struct{ Body T }

// answer wraps a result for huma; it lets a handler end in one line.
func answer[T any](v *T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{Body: *v}, nil
}

// handlerFunc is a handler that streams, upgrades, or reads its body itself.
// An error it returns before it has written anything becomes a problem.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// op starts the description of an operation. The id is the name that clients
// and documents use for it.
func op(id, method, path, tag, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary}
}

// route registers an operation whose request and answer are JSON: I and O are
// huma input and output structs.
func route[I, O any](s *Server, o huma.Operation, h func(context.Context, *I) (*O, error)) {
	s.complete(&o)
	if _, takesBody := typeOf[I]().FieldByName("Body"); takesBody {
		o.Middlewares = append(o.Middlewares, s.wantType)
	}
	huma.Register(s.api, o, h)
	s.note(o)
}

// wantType refuses a body that does not say what it is, which the framework takes
// for JSON. Of a type that is given it takes only JSON.
func (s *Server) wantType(ctx huma.Context, next func(huma.Context)) {
	if ctx.Header("Content-Type") == "" {
		huma.WriteErr(s.api, ctx, http.StatusUnsupportedMediaType, "content-type must be application/json")
		return
	}
	next(ctx)
}

// handle registers an operation that decodes and encodes itself. The operation
// describes its parameters, body and answers for the document.
func (s *Server) handle(o huma.Operation, h handlerFunc) {
	s.complete(&o)
	if o.Responses == nil {
		o.Responses = map[string]*huma.Response{}
	}
	s.problemResponse(&o)
	s.api.OpenAPI().AddOperation(&o)
	pattern := o.Path
	if pattern == "/" {
		pattern = "/{$}" // to the mux, a slash alone is every path
	}
	s.mux.HandleFunc(o.Method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.writeProblem(w, r, err)
		}
	})
	s.note(o)
}

// limitBody bounds the body of a typed route. The limit's name goes into the
// error of a body that is longer.
func limitBody(o *huma.Operation, limit string, bytes int64) {
	o.MaxBodyBytes = bytes + 1 // huma refuses a body of just that length
	o.Metadata = map[string]any{"limit": limit}
}

// bodyTooLarge is the error of a body over the limit of its operation.
func bodyTooLarge(o *huma.Operation) *api.Error {
	limit, _ := o.Metadata["limit"].(string)
	return api.TooLarge(limit, o.MaxBodyBytes-1)
}

// complete fills what all operations have in common.
func (s *Server) complete(o *huma.Operation) {
	if o.MaxBodyBytes == 0 {
		limitBody(o, "maxBodyBytes", s.limits.MaxBodyBytes)
	}
	if o.BodyReadTimeout == 0 {
		o.BodyReadTimeout = time.Minute
	}
	if strings.HasPrefix(o.Path, "/v1/") && o.Security == nil {
		o.Security = []map[string][]string{{"bearer": {}}}
	}
}

// problemResponse documents the problem document as the answer to every error.
func (s *Server) problemResponse(o *huma.Operation) {
	schema := s.api.OpenAPI().Components.Schemas.Schema(typeOf[api.Error](), true, "Error")
	o.Responses["default"] = &huma.Response{
		Description: "Error",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
	}
}

// note remembers a route: for [Server.Routes], and which of its query
// parameters are booleans.
func (s *Server) note(o huma.Operation) {
	key := o.Method + " " + o.Path
	s.operations[key] = nil
	item := s.api.OpenAPI().Paths[o.Path]
	for _, known := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if known == nil || known.Method != o.Method {
			continue
		}
		for _, p := range known.Parameters {
			if p.In == "query" && p.Schema != nil && p.Schema.Type == huma.TypeBoolean {
				s.operations[key] = append(s.operations[key], p.Name)
			}
		}
	}
}

// Routes returns every route the server answers as "METHOD /path/{with}", sorted.
func (s *Server) Routes() []string {
	return slices.Sorted(maps.Keys(s.operations))
}

// match finds the route of a request: the path pattern, and whether the method
// is one of the allowed ones. A path that is not in canonical form matches
// nothing, so the mux never redirects.
func (s *Server) match(r *http.Request) (pattern string, allowed []string, ok bool) {
	if !canonical(r.URL.EscapedPath()) {
		return "", nil, false
	}
	if _, p := s.mux.Handler(r); p != "" {
		_, pattern, _ = strings.Cut(p, " ")
		return pattern, nil, true
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, p := s.mux.Handler(probe); p != "" {
			_, pattern, _ = strings.Cut(p, " ")
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
	}
	return pattern, allowed, false
}

// canonical reports whether the mux would leave an escaped path as it is.
func canonical(escaped string) bool {
	if escaped == "/" || escaped == "/ui/" {
		return true
	}
	return escaped != "" && escaped[0] == '/' && !strings.HasSuffix(escaped, "/") && path.Clean(escaped) == escaped
}

// newAPI makes the huma API on mux: our problem documents, no links or schema
// members in answers, unknown members of requests ignored, null as absent.
func newAPI(s *Server, mux *http.ServeMux, version string) huma.API {
	config := huma.DefaultConfig("Sandbox Agent", version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.AllowAdditionalPropertiesByDefault = true
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.Info.Description = "One server inside a sandbox for coding agents, sessions, files, processes and terminals."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "The token the server was started with. Not needed when it was started without one."},
	}
	config.Transformers = []huma.Transformer{func(ctx huma.Context, _ string, v any) (any, error) {
		problem, ok := v.(*api.Error)
		switch {
		case ok && problem.Code == api.CodeInternal: // see frameworkError
			return s.problem(requestID(ctx.Context()), problem.Unwrap()), nil
		case ok:
			return s.problem(requestID(ctx.Context()), problem), nil
		}
		return v, nil
	}}
	return humago.New(mux, config)
}

// jsonFormat reads a body once as a plain value, for validation, and once into
// its type. The plain value loses members that are null, since null means
// absent to the earlier clients.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		var data bytes.Buffer
		encoder := json.NewEncoder(&data)
		encoder.SetEscapeHTML(false) // what agents said stays as they said it
		if err := encoder.Encode(v); err != nil {
			return err
		}
		_, err := w.Write(bytes.TrimSuffix(data.Bytes(), []byte{'\n'}))
		return err
	},
	Unmarshal: func(data []byte, v any) error {
		if err := json.Unmarshal(data, v); err != nil {
			return err
		}
		if plain, ok := v.(*any); ok {
			dropNull(*plain)
		}
		return nil
	},
}

func dropNull(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil {
				delete(v, key)
			} else {
				dropNull(member)
			}
		}
	case []any:
		for _, element := range v {
			dropNull(element)
		}
	}
}
