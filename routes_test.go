package sandboxagent_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent"
)

// noMethod are the routes for people, for other programs, and for the Python
// client, which the SDK has no methods for.
var noMethod = []string{
	"GET /", "GET /docs", "GET /metrics", "GET /openapi.json",
	"DELETE /v1/mcp", "DELETE /v1/skills",
}

// routes are those of the API's document.
var routes = sync.OnceValue(func() *http.ServeMux {
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	data, err := os.ReadFile("api/openapi.json")
	if err == nil {
		err = json.Unmarshal(data, &document)
	}
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	for path, methods := range document.Paths {
		for method := range methods {
			route := strings.ToUpper(method) + " " + path
			mux.Handle(route, http.NotFoundHandler())
			unasked.Store(route, true)
		}
	}
	for _, route := range noMethod {
		unasked.Delete(route)
	}
	return mux
})

// unasked are the routes that no test of the SDK has asked for yet.
var unasked sync.Map

// watched notes which routes the SDK asks for.
type watched struct{ *http.Transport }

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	_, route := routes().Handler(r)
	unasked.Delete(route)
	return w.Transport.RoundTrip(r)
}

// withWatch is an option of the clients of these tests.
func withWatch() sandboxagent.Option {
	return sandboxagent.WithHTTPClient(&http.Client{Transport: watched{&http.Transport{MaxIdleConnsPerHost: 32}}})
}

// tests are all tests, and then the check that the SDK has a method for every
// route, which a test calls.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	code := t.m.Run()
	if whole := flag.Lookup("test.run").Value.String() == ""; code != 0 || !whole {
		return code
	}
	unasked.Range(func(route, _ any) bool {
		fmt.Fprintf(os.Stderr, "no test of the SDK asks for %s\n", route)
		code = 1
		return true
	})
	return code
}
