package model

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A dialect is a way to speak to models.
type dialect struct {
	vendor string

	// fail returns the body of an error.
	fail func(status int, kind, message string) any
}

var (
	messages = dialect{anthropic, func(_ int, kind, message string) any {
		return map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}}
	}}
	completions = dialect{openai, func(_ int, kind, message string) any {
		return map[string]any{"error": map[string]any{"message": message, "type": kind, "code": kind, "param": nil}}
	}}
	generate = dialect{google, func(status int, _, message string) any {
		return map[string]any{"error": map[string]any{"code": status, "message": message, "status": googleStatus[status]}}
	}}
)

// googleStatus are the names that Google has for statuses, see [google.rpc.Code].
//
// [google.rpc.Code]: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
var googleStatus = map[int]string{
	http.StatusBadRequest: "FAILED_PRECONDITION", http.StatusNotFound: "NOT_FOUND",
	http.StatusRequestEntityTooLarge: "INVALID_ARGUMENT", http.StatusBadGateway: "UNAVAILABLE",
}

// refuse answers as the dialect does. The statuses are those that agents show the
// text of and do not try again on; a missing key is 400 for that reason.
func refuse(w http.ResponseWriter, d dialect, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(d.fail(status, kind, message)) // a client that is gone needs none
}

// A path is one that is forwarded. Its pattern is that of the whole path as it was
// sent; the first group is the version, which clients with a base URL of another form
// leave out, and the second what follows it.
type path struct {
	method  string
	pattern *regexp.Regexp
	version string // if the client left it out
	query   []string
	dialect func(r *http.Request) dialect
}

const (
	version = `^/(?:(v1)/)?`
	name    = `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`
)

func is(d dialect) func(*http.Request) dialect { return func(*http.Request) dialect { return d } }

// paths are all that is forwarded. The upstream gets the path that is put together
// from the groups, never the one that was sent.
var paths = []path{
	{http.MethodPost, regexp.MustCompile(version + `(messages|messages/count_tokens)$`), "v1", []string{"beta"}, is(messages)},
	{http.MethodPost, regexp.MustCompile(version + `(chat/completions|responses)$`), "v1", nil, is(completions)},
	{http.MethodPost, regexp.MustCompile(`^/(v1|v1beta)/(models/` + name + `:(?:generateContent|streamGenerateContent|countTokens))$`), "", []string{"alt"}, is(generate)},
	{http.MethodGet, regexp.MustCompile(`^/(v1beta)/(models|models/` + name + `)$`), "", []string{"pageSize", "pageToken"}, is(generate)},
	{http.MethodGet, regexp.MustCompile(version + `(models|models/` + name + `)$`), "v1", []string{"limit", "after_id", "before_id"}, dialectOf},
}

// A route is where one request goes.
type route struct {
	dialect       dialect
	version, path string
	query         url.Values
}

// match returns where a request goes. The target must be a path, as it is sent to a
// server and not to a proxy.
func match(r *http.Request) (route, bool) {
	sent, query, _ := strings.Cut(r.RequestURI, "?")
	for _, p := range paths {
		groups := p.pattern.FindStringSubmatch(sent)
		if groups == nil || r.Method != p.method {
			continue
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return route{}, false
		}
		for key := range values {
			if !slices.Contains(p.query, key) {
				delete(values, key) // above all a key that is given there
			}
		}
		to := route{dialect: p.dialect(r), version: groups[1], path: groups[2], query: values}
		if to.version == "" {
			to.version = p.version
		}
		return to, true
	}
	return route{}, false
}

// dialectOf guesses the dialect of a request whose path does not say it from the
// credential that it shows.
func dialectOf(r *http.Request) dialect {
	switch {
	case r.Header.Get("X-Goog-Api-Key") != "" || strings.HasPrefix(r.RequestURI, "/v1beta/"):
		return generate
	case r.Header.Get("Anthropic-Version") != "" || r.Header.Get("X-Api-Key") != "":
		return messages
	}
	return completions
}

// url returns the URL at an upstream. The base of OpenAI has the version in it.
func (t route) url(base *url.URL) *url.URL {
	elements := []string{t.version, t.path}
	if t.dialect.vendor == openai {
		elements = elements[1:]
	}
	to := base.JoinPath(elements...)
	to.RawQuery = t.query.Encode()
	return to
}

type targetKey struct{}

func withTarget(ctx context.Context, t *target) context.Context {
	return context.WithValue(ctx, targetKey{}, t)
}

func targetOf(ctx context.Context) *target {
	t, ok := ctx.Value(targetKey{}).(*target)
	if !ok {
		panic("model: a request without a target")
	}
	return t
}
