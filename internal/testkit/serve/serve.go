// Package serve starts whole servers for tests: within the test, or as a process of
// its own that a test can kill.
package serve

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/server"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// Server is a server on a socket of this machine.
type Server struct {
	*server.Server
	URL    string
	Home   string // its working directory
	Data   string // its data directory
	Client *http.Client

	stop func()
}

// Start serves until the end of the test. What cfg lacks is filled in: directories of
// the test, an environment with PATH and HOME, and the test binary as the program
// that is the mock agent, for which see [Program].
func Start(t testing.TB, cfg app.Config) *Server {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	if cfg.Home == "" {
		cfg.Home = t.TempDir()
	}
	if cfg.Env == nil {
		cfg.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cfg.Home}
	}
	if cfg.SelfExe == "" {
		cfg.SelfExe = self(t)
	}
	srv, err := app.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, listener) }()
	s := &Server{Server: srv, URL: "http://" + listener.Addr().String(), Home: cfg.Home, Data: cfg.DataDir, Client: newClient()}
	s.stop = sync.OnceFunc(func() {
		cancel()
		s.Client.CloseIdleConnections()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// Stop shuts the server down. The test ends with an error if that fails. Further calls
// do nothing.
func (s *Server) Stop() { s.stop() }

// Send sends a request, whose body is JSON unless it is empty, and returns the status
// and the body of the response. More arguments are names and values of headers.
func (s *Server) Send(t testing.TB, method, path, body string, headers ...string) (status int, response string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// Follow reads an event stream until stop says so. The test ends with an error if
// the stream ends before.
func (s *Server) Follow(t testing.TB, path string, stop func(testkit.Event) bool, headers ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, resp.Status)
	}
	for e := range testkit.Events(resp.Body) {
		if stop(e) {
			return
		}
	}
	t.Errorf("GET %s: the stream ended", path)
}

// newClient returns a client whose connections no other one uses.
func newClient() *http.Client { return &http.Client{Transport: &http.Transport{}} }

// self returns the path of the test binary.
func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}
