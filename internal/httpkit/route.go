package httpkit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sandboxagent/sandboxagent/api"
)

// Body is an operation's answer that has nothing but a JSON body.
type Body[T any] struct{ Body T }

// Answer wraps a result for [Route]; it lets a handler end in one line.
func Answer[T any](v *T, err error) (*Body[T], error) {
	if err != nil {
		return nil, err
	}
	return &Body[T]{Body: *v}, nil
}

// HandlerFunc is a handler that streams, upgrades, or reads its body itself.
// An error it returns before it has written anything becomes a problem.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Op starts the description of an operation. The id is the name that clients
// and documents use for it.
func Op(id, method, path, tag, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary}
}

// endpoint is one method of one path.
type endpoint struct {
	pattern  string           // the path, as the mux knows it
	serve    http.HandlerFunc // of the framework; nil before describe, and unless it speaks JSON both ways
	booleans []string         // query parameters that are true or false; none before describe
}

// Route registers an operation whose request and answer are JSON: I and O are
// huma input and output structs.
func Route[I, O any](rt *Router, o huma.Operation, h func(context.Context, *I) (*O, error)) {
	rt.complete(&o)
	if _, takesBody := reflect.TypeFor[I]().FieldByName("Body"); takesBody {
		o.Middlewares = append(o.Middlewares, rt.wantType)
	}
	e := rt.newEndpoint(o)
	rt.mount(o.Method, e, func(w http.ResponseWriter, r *http.Request) {
		rt.Describe()
		e.serve(w, r)
	})
	rt.later(func() { huma.Register(rt.api, o, h) })
}

// wantType refuses a body that does not say what it is, which the framework takes
// for JSON. Of a type that is given it takes only JSON.
func (rt *Router) wantType(ctx huma.Context, next func(huma.Context)) {
	if ctx.Header("Content-Type") == "" {
		huma.WriteErr(rt.api, ctx, http.StatusUnsupportedMediaType, "content-type must be application/json")
		return
	}
	next(ctx)
}

// Handle registers an operation that decodes and encodes itself. The operation
// describes its parameters, body and answers for the document.
func (rt *Router) Handle(o huma.Operation, h HandlerFunc) {
	rt.complete(&o)
	rt.mount(o.Method, rt.newEndpoint(o), func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			rt.WriteProblem(w, r, err)
		}
	})
	rt.later(func() {
		if o.Responses == nil {
			o.Responses = map[string]*huma.Response{}
		}
		rt.problemResponse(&o)
		rt.api.OpenAPI().AddOperation(&o)
	})
}

// newEndpoint returns the new endpoint of an operation.
func (rt *Router) newEndpoint(o huma.Operation) *endpoint {
	e := &endpoint{pattern: o.Path}
	if e.pattern == "/" {
		e.pattern = "/{$}" // to the mux, a slash alone is every path
	}
	rt.endpoints[o.Method+" "+o.Path] = e
	return e
}

// mount puts a handler behind the checks that need to know its endpoint.
func (rt *Router) mount(method string, e *endpoint, h http.HandlerFunc) {
	rt.mux.HandleFunc(method+" "+e.pattern, func(w http.ResponseWriter, r *http.Request) {
		w.(*recorder).pattern = e.pattern
		err := rt.authorize(w, r, e.pattern)
		if err == nil {
			err = rt.checkQuery(r, e)
		}
		if err != nil {
			rt.WriteProblem(w, r, err)
			return
		}
		if rt.cfg.Before != nil {
			rt.cfg.Before(r)
		}
		h(w, r)
	})
}

// later puts off a part of the description of the API until [Router.Describe].
func (rt *Router) later(part func()) { rt.descriptions = append(rt.descriptions, part) }

// newDescribe returns the function that makes the description of the API: the
// document, and what requests and answers in JSON are decoded and encoded by.
// That takes a third of a start and is not needed to be healthy, so it comes
// after that, and what needs it calls describe before.
func (rt *Router) newDescribe() func() {
	return sync.OnceFunc(func() {
		for _, part := range rt.descriptions {
			part()
		}
		rt.descriptions = nil
		for _, item := range rt.api.OpenAPI().Paths {
			for _, o := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
				if o != nil {
					rt.endpoints[o.Method+" "+o.Path].booleans = booleans(o)
				}
			}
		}
	})
}

// Bounded says in the description that a property of a wire type has a bound, such as
// minLength 1, which the handler enforces with an error of its own: the bounds that are
// tags of a type are enforced before it, with the status 422.
func (rt *Router) Bounded(t reflect.Type, property, keyword string, bound any) {
	rt.later(func() {
		schemas := rt.api.OpenAPI().Components.Schemas
		ref := schemas.Schema(t, true, t.Name())
		schema := ref
		if ref.Ref != "" {
			schema = schemas.SchemaFromRef(ref.Ref)
		}
		p := schema.Properties[property]
		if p.Extensions == nil {
			p.Extensions = make(map[string]any)
		}
		p.Extensions[keyword] = bound
	})
}

// booleans returns the names of the query parameters that are true or false.
func booleans(o *huma.Operation) (names []string) {
	for _, p := range o.Parameters {
		if p.In == "query" && p.Schema != nil && p.Schema.Type == huma.TypeBoolean {
			names = append(names, p.Name)
		}
	}
	return names
}

// Schema returns a reference to the schema of a wire type, or the schema if the
// type has no name. It may be used by a description, and not before.
func (rt *Router) Schema(t reflect.Type) *huma.Schema {
	schema := &huma.Schema{}
	rt.later(func() { *schema = *rt.api.OpenAPI().Components.Schemas.Schema(t, true, t.Name()) })
	return schema
}

// LimitBody bounds the body of a typed route. The limit's name goes into the
// error of a body that is longer.
func LimitBody(o *huma.Operation, limit string, bytes int64) {
	o.MaxBodyBytes = bytes + 1 // huma refuses a body of just that length
	o.Metadata = map[string]any{"limit": limit}
}

// bodyTooLarge is the error of a body over the limit of its operation.
func bodyTooLarge(o *huma.Operation) *api.Error {
	limit, _ := o.Metadata["limit"].(string)
	return api.TooLarge(limit, o.MaxBodyBytes-1)
}

// complete fills what all operations have in common.
func (rt *Router) complete(o *huma.Operation) {
	if o.MaxBodyBytes == 0 {
		LimitBody(o, "maxBodyBytes", rt.cfg.MaxBodyBytes)
	}
	if o.BodyReadTimeout == 0 {
		o.BodyReadTimeout = -1 // a body may take its time as long as it moves
	}
	if strings.HasPrefix(o.Path, "/v1/") && o.Security == nil {
		o.Security = []map[string][]string{{"bearer": {}}}
	}
}

// problemResponse documents the problem document as the answer to every error.
func (rt *Router) problemResponse(o *huma.Operation) {
	schema := rt.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Error](), true, "Error")
	o.Responses["default"] = &huma.Response{
		Description: "Error",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
	}
}

// Routes returns every route of the document as "METHOD /path/{with}", sorted.
func (rt *Router) Routes() []string {
	return slices.Sorted(maps.Keys(rt.endpoints))
}

// everything is the pattern of what no other pattern matches.
const everything = "/"

// methods are those of our routes, HEAD aside.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// unrouted answers requests that no route is for: the path is not known, or not
// with that method.
func (rt *Router) unrouted(w http.ResponseWriter, r *http.Request) {
	var pattern string
	var allowed []string
	for _, method := range methods {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, p := rt.mux.Handler(probe); p != everything {
			_, pattern, _ = strings.Cut(p, " ")
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
	}
	if pattern == "" {
		rt.WriteProblem(w, r, NotFound())
		return
	}
	w.(*recorder).pattern = pattern
	w.Header().Set("Allow", strings.Join(allowed, ","))
	if err := rt.authorize(w, r, pattern); err != nil {
		rt.WriteProblem(w, r, err)
		return
	}
	rt.WriteProblem(w, r, api.NewError(api.KindMethodNotAllowed, "", "%s is not allowed here; allowed: %s", r.Method, strings.Join(allowed, ", ")))
}

// canonical reports whether the mux would leave an escaped path as it is.
func canonical(escaped string) bool {
	if escaped == "/" || escaped == "/ui/" {
		return true
	}
	return escaped != "" && escaped[0] == '/' && !strings.HasSuffix(escaped, "/") && path.Clean(escaped) == escaped
}

// adapter gives huma's handlers to the endpoints they are for.
type adapter struct{ *Router }

func (a adapter) Handle(o *huma.Operation, h func(huma.Context)) {
	a.endpoints[o.Method+" "+o.Path].serve = func(w http.ResponseWriter, r *http.Request) {
		h(humago.NewContext(o, r, w))
	}
}

// newAPI makes the huma API of a router: our problem documents, no links or schema
// members in answers, unknown members of requests ignored, null as absent.
func newAPI(rt *Router) huma.API {
	config := huma.DefaultConfig(rt.cfg.Title, rt.cfg.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.AllowAdditionalPropertiesByDefault = true
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.Info.Description = rt.cfg.Description
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	for from, to := range rt.cfg.Schemas {
		config.Components.Schemas.RegisterTypeAlias(from, to)
	}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "The token the server was started with. Not needed when it was started without one."},
	}
	config.Transformers = []huma.Transformer{func(ctx huma.Context, _ string, v any) (any, error) {
		problem, ok := v.(*api.Error)
		if !ok {
			return v, nil
		}
		_, w := humago.Unwrap(ctx)
		if problem.Code == api.CodeInternal { // see frameworkError
			return rt.Problem(RequestID(w), problem.Unwrap()), nil
		}
		return rt.Problem(RequestID(w), problem), nil
	}}
	return huma.NewAPI(config, adapter{rt})
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
