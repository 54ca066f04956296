package server_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/server"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// TestMain makes the test binary the mock agent and the server too, as the real program is.
func TestMain(m *testing.M) {
	if serve.Program() {
		return
	}
	goleak.VerifyTestMain(tests{m})
}

// tests are all tests, and then the check that no route was left out.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	code := t.m.Run()
	if whole := flag.Lookup("test.run").Value.String() == ""; code != 0 || !whole {
		return code
	}
	for route := range routes {
		if !hit[route] {
			fmt.Fprintf(os.Stderr, "no scenario has a request to %s\n", route)
			code = 1
		}
	}
	return code
}

// What the servers of these tests serve, and what was asked of them, as
// "METHOD /path/{with}".
var (
	hitMu  sync.Mutex
	routes = map[string]bool{}
	hit    = map[string]bool{}
)

var requestCount = regexp.MustCompile(`sandbox_agent_http_requests_total\{method="([A-Z]+)",route="([^"]+)"`)

// count notes which routes a server has answered, as its own metrics tell it.
func (in *instance) count() {
	resp, err := in.client.Get(in.url + "/metrics")
	if err != nil {
		return // it was ended by its test
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		in.t.Error(err)
	}
	hitMu.Lock()
	defer hitMu.Unlock()
	for _, m := range requestCount.FindAllStringSubmatch(string(text), -1) {
		hit[m[1]+" "+strings.Replace(m[2], "{$}", "", 1)] = true
	}
	hit["GET /metrics"] = hit["GET /metrics"] || resp.StatusCode == 200
	for _, route := range in.server.Routes() {
		routes[route] = true
	}
}

// instance is a real server on a socket of this machine.
type instance struct {
	t      *testing.T
	url    string
	home   string
	server *server.Server
	client *http.Client
	stop   func()
}

// start serves until the end of the test. What cfg lacks is filled in.
func start(t *testing.T, cfg app.Config) *instance {
	t.Helper()
	s := serve.Start(t, cfg)
	in := &instance{t: t, url: s.URL, home: s.Home, server: s.Server, client: s.Client}
	in.stop = sync.OnceFunc(func() {
		in.count()
		s.Stop()
	})
	t.Cleanup(in.stop)
	return in
}

// scenario is one request and what its answer must have.
type scenario struct {
	name    string
	method  string // GET if empty
	path    string // with query
	header  map[string]string
	body    string
	status  int
	want    []string          // parts of the body
	not     []string          // parts the body must not have
	headers map[string]string // headers of the answer, exact
}

func (in *instance) run(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) { in.check(t, sc) })
	}
}

// check sends one request and returns the body of the answer.
func (in *instance) check(t *testing.T, sc scenario) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	method := sc.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, in.url+sc.path, strings.NewReader(sc.body))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range sc.header {
		if key == "Host" {
			req.Host = value
		}
		req.Header.Set(key, value)
	}
	resp, err := in.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if resp.StatusCode != sc.status {
		t.Errorf("%s %s: status %d, want %d: %s", method, sc.path, resp.StatusCode, sc.status, text)
	}
	if resp.StatusCode >= 400 && method != http.MethodHead {
		checkProblem(t, resp, data)
	}
	for _, part := range sc.want {
		if !strings.Contains(text, part) {
			t.Errorf("%s %s: %s is not in %s", method, sc.path, part, text)
		}
	}
	for _, part := range sc.not {
		if strings.Contains(text, part) {
			t.Errorf("%s %s: %s is in %s", method, sc.path, part, text)
		}
	}
	for key, value := range sc.headers {
		if got := resp.Header.Get(key); got != value {
			t.Errorf("%s %s: header %s is %q, want %q", method, sc.path, key, got, value)
		}
	}
	return text
}

// checkProblem holds every error to the form of a problem document.
func checkProblem(t *testing.T, resp *http.Response, data []byte) {
	t.Helper()
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("error has content type %q: %s", got, data)
		return
	}
	var problem struct {
		Type, Title, Detail, Code, RequestID string
		Status                               int
	}
	if err := json.Unmarshal(data, &problem); err != nil {
		t.Errorf("decode problem: %v", err)
	}
	if !strings.HasPrefix(problem.Type, "urn:sandbox-agent:error:") || problem.Title == "" || problem.Code == "" ||
		problem.Status != resp.StatusCode || problem.RequestID == "" || problem.RequestID != resp.Header.Get("X-Request-Id") {
		t.Errorf("incomplete problem: %s", data)
	}
}
