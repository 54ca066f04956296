package httpkit

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

const requestIDHeader = "X-Request-Id"

// RequestID returns the id of the request that w answers.
func RequestID(w http.ResponseWriter) string { return w.Header().Get(requestIDHeader) }

// newRequestID returns an id that no other request has, of this server or another.
func (rt *Router) newRequestID() string {
	return rt.nonce + "-" + strconv.FormatUint(rt.requests.Add(1), 36)
}

// The values of headers that every response has.
var (
	noSniff    = []string{"nosniff"}
	sameOrigin = []string{"same-origin"}
)

// ServeHTTP runs the checks that hold for every request, in the order of the
// earlier server, and then the route: request id, CORS, host and origin, route
// known, token, method, query. The last four are those of [Router.mount] and
// [Router.unrouted].
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	id := r.Header.Get(requestIDHeader)
	if id == "" || len(id) > 128 {
		id = rt.newRequestID()
	}
	rec := &recorder{ResponseWriter: w, pattern: "none"}
	header := rec.Header()
	header[requestIDHeader] = []string{id}
	// A browser takes nothing for what it was not sent as, and gives pages of other
	// origins nothing, unless they ask by CORS.
	header["X-Content-Type-Options"] = noSniff
	header["Cross-Origin-Resource-Policy"] = sameOrigin
	var sent *sentBody
	if r.ContentLength != 0 {
		rc := http.NewResponseController(w)
		sent = &sentBody{Reader: r.Body, rc: rc, stall: rt.cfg.Bounds.BodyStall}
		rec.sent = sent
		rc.EnableFullDuplex()          // fails where it is not needed; without it refusals wait for the body
		r = r.WithContext(r.Context()) // that of net/http keeps its body
		r.Body = io.NopCloser(sent)    // what is closed cannot be heard out
	}
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler {
				panic(fault)
			}
			rt.log.Error("panic in handler", "id", id, "fault", fault, "stack", string(debug.Stack()))
			if rec.status == 0 {
				rt.WriteProblem(rec, r, api.NewError(api.KindInternal, "", "the server failed on this request; its log has the details under this request id"))
			}
		}
		rt.observe(r, rec, time.Since(started))
		if sent != nil {
			sent.hearOut(rec, r)
		}
	}()

	if rt.cfg.CORS.answer(rec, r) {
		return
	}
	if err := rt.checkBrowser(r); err != nil {
		rt.WriteProblem(rec, r, err)
		return
	}
	// The mux would redirect to the canonical path.
	if !canonical(r.URL.EscapedPath()) {
		rt.WriteProblem(rec, r, NotFound())
		return
	}
	rt.mux.ServeHTTP(rec, r)
}

// checkQuery refuses what a query may not hold: bad escapes, repeated keys, and
// booleans that are neither true nor false.
func (rt *Router) checkQuery(r *http.Request, e *endpoint) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return api.InvalidRequest(api.CodeInvalidQuery, "query string does not parse: %w", err)
	}
	for key, all := range values {
		if len(all) > 1 {
			return api.InvalidRequest(api.CodeInvalidQuery, "duplicate field `%s` in the query string", key)
		}
	}
	rt.Describe()
	for _, name := range e.booleans {
		if value, given := values[name]; given && value[0] != "true" && value[0] != "false" {
			return api.InvalidRequest(api.CodeInvalidQuery, "query string does not parse: %s: provided string was not `true` or `false`", name)
		}
	}
	return nil
}

// observe logs and counts a finished request. Queries are left out of the log
// because they may hold a token.
func (rt *Router) observe(r *http.Request, rec *recorder, took time.Duration) {
	status := cmp.Or(rec.status, http.StatusOK)
	if hasLeft(r.Context()) && (rec.status == 0 || rec.status >= http.StatusInternalServerError) {
		status = statusClientLeft
	}
	method := r.Method
	if !slices.Contains(methods, method) && method != http.MethodHead && method != http.MethodOptions {
		method = "other" // clients must not make up series
	}
	rt.metrics.request(method, rec.pattern, status, took)
	if rt.log.Enabled(r.Context(), slog.LevelDebug) {
		rt.log.Debug("request", "id", RequestID(rec), "method", r.Method, "path", r.URL.Path, "status", status, "took", took)
	}
}

// statusClientLeft is counted for a request whose client has left before the response,
// as nginx does. It is not a fault of the server.
const statusClientLeft = 499

// hasLeft reports whether the client of a request has left. A server that stops ends
// requests with a cause of its own.
func hasLeft(ctx context.Context) bool { return context.Cause(ctx) == context.Canceled }

// clientLeft is the problem of such a request, which nobody reads.
func clientLeft() *api.Error {
	e := api.NewError(api.KindUnavailable, "", "the client has left")
	e.Status = statusClientLeft
	return e
}

// recorder notes the status of an answer and the pattern of its route. It passes
// every optional ability of the writer below through Unwrap, which
// http.ResponseController looks for.
type recorder struct {
	http.ResponseWriter
	status  int
	pattern string
	sent    *sentBody // nil without a body
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusBadRequest && w.sent != nil && !w.sent.ended {
		w.Header().Set("Connection", "close") // what is left of the body would have to be read first
	}
	if w.status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// CORS says which pages of other origins may call the server. The zero value
// allows none.
//
// It is written by hand because no library gives the responses that the clients of
// the earlier server know: every OPTIONS request is answered with 200 and the allowed
// methods and headers, whatever its path and with or without an Origin, and names of
// headers are in lower case. github.com/rs/cors answers a preflight of an origin that
// is not allowed with neither, and passes on an OPTIONS request that is none.
type CORS struct {
	Origins     []string // exact origins, or * for any
	Methods     []string // empty or * means any
	Headers     []string // empty or * means any
	Credentials bool     // whether a page may send cookies and authorization
}

// allows reports whether pages of origin may read answers.
func (c CORS) allows(origin string) bool {
	return origin != "" && (slices.Contains(c.Origins, origin) || slices.Contains(c.Origins, "*"))
}

// vary is the Vary header of every answer.
var vary = []string{"origin, access-control-request-method, access-control-request-headers"}

// answer sets the CORS headers and answers preflights, which need neither a
// token nor a known path. It reports whether the request is done.
//
// A wildcard is not valid together with credentials (Fetch standard, 3.3.5),
// so with credentials the preflight's own wishes are named back.
func (c CORS) answer(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h["Vary"] = vary
	if origin := r.Header.Get("Origin"); c.allows(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
	}
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if r.Method != http.MethodOptions {
		return false
	}
	h.Set("Access-Control-Allow-Methods", c.list(c.Methods, r.Header.Get("Access-Control-Request-Method")))
	h.Set("Access-Control-Allow-Headers", strings.ToLower(c.list(c.Headers, r.Header.Get("Access-Control-Request-Headers"))))
	w.WriteHeader(http.StatusOK)
	return true
}

func (c CORS) list(configured []string, requested string) string {
	switch {
	case len(configured) > 0 && !slices.Contains(configured, "*"):
		return strings.Join(configured, ",")
	case c.Credentials && requested != "":
		return requested
	}
	return "*"
}
