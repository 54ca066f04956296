package httpkit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type greetInput struct {
	Loud bool `query:"loud"`
	Body struct {
		Name string `json:"name" minLength:"1"`
	}
}

type greeting struct {
	Text string `json:"text"`
}

// newRouter serves a typed route, one that answers itself, and a page.
func newRouter(cfg httpkit.Config) *httpkit.Router {
	cfg.Title, cfg.Version, cfg.Namespace = "Test", "1", "test"
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = 100
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	rt := httpkit.New(cfg)
	httpkit.Route(rt, httpkit.Op("greet", http.MethodPost, "/v1/greet", "test", "Greet"),
		func(_ context.Context, in *greetInput) (*httpkit.Body[greeting], error) {
			if in.Body.Name == "nobody" {
				return nil, api.NewError(api.KindConflict, "", "nobody is there")
			}
			return httpkit.Answer(&greeting{"hello <" + in.Body.Name + ">"}, nil)
		})
	rt.Handle(httpkit.Op("fail", http.MethodGet, "/v1/fail", "test", "Fail"), func(http.ResponseWriter, *http.Request) error {
		return errors.New("a secret of ours")
	})
	rt.Handle(httpkit.Op("panic", http.MethodGet, "/v1/panic", "test", "Panic"), func(http.ResponseWriter, *http.Request) error {
		panic("a secret of ours")
	})
	rt.Handle(httpkit.Op("metrics", http.MethodGet, "/metrics", "test", "Metrics"), rt.ServeMetrics)
	rt.Page("/page", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a page") })
	return rt
}

func TestRouter(t *testing.T) {
	var log bytes.Buffer
	open := newRouter(httpkit.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	guarded := newRouter(httpkit.Config{Token: "secret"})
	shared := newRouter(httpkit.Config{AllowedHosts: []string{"box.example"}, CORS: httpkit.CORS{Origins: []string{"https://friend.example"}}})
	jsonType := "Content-Type: application/json"
	for _, test := range []struct {
		name         string
		rt           *httpkit.Router
		method, path string
		header, body string
		status       int
		want         string
	}{
		{"typed", open, "POST", "/v1/greet", jsonType, `{"name":"ann"}`, 200, `{"text":"hello <ann>"}`},
		{"null is absent", open, "POST", "/v1/greet", jsonType, `{"name":"ann","more":null}`, 200, `hello <ann>`},
		{"problem of the handler", open, "POST", "/v1/greet", jsonType, `{"name":"nobody"}`, 409, `nobody is there`},
		{"wrong shape", open, "POST", "/v1/greet", jsonType, `{"name":7}`, 422, `"code":"invalid_request"`},
		{"no JSON", open, "POST", "/v1/greet", jsonType, `{`, 400, `"code":"invalid_json"`},
		{"no type", open, "POST", "/v1/greet", "", `{"name":"ann"}`, 415, `content-type must be application/json`},
		{"too long", open, "POST", "/v1/greet", jsonType, `{"name":"` + strings.Repeat("x", 100) + `"}`, 413, `"limit":"maxBodyBytes"`},
		{"query", open, "POST", "/v1/greet?loud=maybe", jsonType, `{"name":"ann"}`, 400, `"code":"invalid_query"`},
		{"key twice", open, "GET", "/v1/fail?a=1&a=2", "", "", 400, "duplicate field `a`"},
		{"error of ours", open, "GET", "/v1/fail", "", "", 500, `"requestId"`},
		{"panic", open, "GET", "/v1/panic", "", "", 500, `"requestId"`},
		{"method", open, "DELETE", "/v1/greet", "", "", 405, `allowed: POST`},
		{"path", open, "GET", "/v1/none", "", "", 404, `endpoint not found`},
		{"path that is not canonical", open, "GET", "//v1/fail", "", "", 404, `endpoint not found`},
		{"page", open, "GET", "/page", "", "", 200, "a page"},
		{"foreign host", open, "GET", "/page", "Host: evil.example", "", 403, `"code":"host_forbidden"`},
		{"foreign origin", open, "GET", "/page", "Origin: https://evil.example", "", 403, `"code":"origin_forbidden"`},
		{"no token", guarded, "GET", "/v1/fail", "", "", 401, `"code":"token_invalid"`},
		{"wrong token", guarded, "GET", "/v1/fail", "Authorization: Bearer secrets", "", 401, `"code":"token_invalid"`},
		{"right token", guarded, "GET", "/v1/fail", "Authorization: Bearer secret", "", 500, ""},
		{"metrics need the token", guarded, "GET", "/metrics", "", "", 401, ""},
		{"a page needs none", guarded, "GET", "/page", "", "", 200, "a page"},
		{"allowed host", shared, "GET", "/page", "Host: box.example:80", "", 200, "a page"},
		{"allowed origin", shared, "GET", "/page", "Origin: https://friend.example", "", 200, "a page"},
		{"preflight", shared, "OPTIONS", "/v1/anything", "Origin: https://friend.example", "", 200, ""},
		{"metrics", open, "GET", "/metrics", "", "", 200, `test_http_requests_total{method="GET",route="/v1/fail",status="500"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := httptest.NewRequest(test.method, "http://localhost"+test.path, strings.NewReader(test.body))
			req.URL.Path, req.URL.Opaque = strings.Split(test.path, "?")[0], ""
			if name, value, ok := strings.Cut(test.header, ": "); ok {
				req.Header.Set(name, value)
				if name == "Host" {
					req.Host = value
				}
			}
			w := httptest.NewRecorder()
			test.rt.ServeHTTP(w, req)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("status %d, %s; want %d and %s", w.Code, w.Body, test.status, test.want)
			}
			if strings.Contains(w.Body.String(), "a secret of ours") {
				t.Errorf("the client sees %s", w.Body)
			}
			if problem := w.Header().Get("Content-Type") == "application/problem+json"; problem != (test.status >= 400) {
				t.Errorf("status %d has the type %s", w.Code, w.Header().Get("Content-Type"))
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("the response has no request id")
			}
		})
	}
	if strings.Count(log.String(), "a secret of ours") != 2 {
		t.Errorf("the log has not both errors: %s", log.String())
	}
}

func TestDocumentHasAllRoutes(t *testing.T) {
	rt := newRouter(httpkit.Config{})
	text, err := rt.Document()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		OpenAPI string
		Info    struct{ Title string }
		Paths   map[string]map[string]struct {
			OperationID string
			Responses   map[string]any
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	if document.OpenAPI != "3.1.0" || document.Info.Title != "Test" {
		t.Errorf("document %+v", document)
	}
	for _, route := range rt.Routes() {
		method, path, _ := strings.Cut(route, " ")
		o := document.Paths[path][strings.ToLower(method)]
		if o.OperationID == "" || o.Responses["default"] == nil {
			t.Errorf("%s is described as %+v", route, o)
		}
	}
	if len(rt.Routes()) != 4 {
		t.Errorf("routes %v", rt.Routes())
	}
}

// An event stream is silent for no longer than a heartbeat, and ends with what the
// source of its events says.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		stream, err := httpkit.NewStream(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		values := make(chan int)
		done := make(chan error, 1)
		go func() {
			done <- stream.Follow(t.Context(), func(ctx context.Context) error {
				v, err := httpkit.Receive(ctx, values)
				if err != nil {
					return err
				}
				stream.Add("value", uint64(v), []byte("a\rb"))
				return nil
			})
		}()
		values <- 7
		time.Sleep(2*httpkit.Heartbeat + time.Second)
		values <- 8
		close(values)
		if err := <-done; !errors.Is(err, io.EOF) {
			t.Errorf("the stream ends with %v", err)
		}
		want := "event: value\nid: 7\ndata: a b\n\n: heartbeat\n\n: heartbeat\n\nevent: value\nid: 8\ndata: a b\n\n"
		if got := w.Body.String(); got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	})
}

// gone is a client that takes no more.
type gone struct{ *httptest.ResponseRecorder }

func (gone) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestFollowEndsWithItsClient(t *testing.T) {
	stream, err := httpkit.NewStream(gone{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Follow(t.Context(), func(context.Context) error {
		stream.Add("value", 1, []byte("{}"))
		return nil
	})
	if !errors.Is(err, httpkit.ErrGone) {
		t.Errorf("a client that has gone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = stream.Follow(ctx, func(ctx context.Context) error {
		_, err := httpkit.Receive(ctx, make(chan int))
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a request that has ended: %v", err)
	}
}

func TestReplies(t *testing.T) {
	w := httptest.NewRecorder()
	if err := httpkit.Reply(w, http.StatusAccepted, map[string]string{"a": "<b>"}, nil); err != nil {
		t.Fatal(err)
	}
	if w.Code != 202 || w.Body.String() != `{"a":"<b>"}` || w.Header().Get("Content-Length") != "11" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("reply %d %s %v", w.Code, w.Body, w.Header())
	}
	broken := errors.New("broken")
	w = httptest.NewRecorder()
	if err := errors.Join(httpkit.Reply(w, 200, nil, broken), httpkit.NoContent(w, broken)); !errors.Is(err, broken) || w.Body.Len() > 0 {
		t.Errorf("a failed handler: %v, %s", err, w.Body)
	}
	if err := httpkit.NoContent(w, nil); err != nil || w.Code != 204 {
		t.Errorf("no content: %v, %d", err, w.Code)
	}
}

func TestHeadersOfStreams(t *testing.T) {
	request := func(name, value string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if value != "" {
			r.Header.Set(name, value)
		}
		return r
	}
	for accept, want := range map[string]bool{"": true, "*/*": true, "text/*;q=0.5": true, "application/json, Text/Event-Stream": true, "application/json": false} {
		if got := httpkit.Accepts(request("Accept", accept), "text/event-stream"); got != want {
			t.Errorf("Accept %q: %v", accept, got)
		}
	}
	if id, err := httpkit.LastEventID(request("Last-Event-ID", "")); id != nil || err != nil {
		t.Errorf("no cursor: %v, %v", id, err)
	}
	if id, err := httpkit.LastEventID(request("Last-Event-ID", " 7 ")); err != nil || *id != 7 {
		t.Errorf("cursor: %v, %v", id, err)
	}
	if _, err := httpkit.LastEventID(request("Last-Event-ID", "-1")); !errors.Is(err, api.CodeInvalidCursor) {
		t.Errorf("bad cursor: %v", err)
	}
}
