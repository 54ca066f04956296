package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/server"
)

// open makes a server that is called without a socket.
func open(b *testing.B) (*server.Server, string) {
	b.Helper()
	home := b.TempDir()
	srv, err := app.Open(app.Config{DataDir: b.TempDir(), Home: home, Env: os.Environ()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { srv.Close() })
	return srv, home
}

// sink is a response writer that keeps nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

func do(b *testing.B, srv http.Handler, method, target string, body []byte) {
	req := httptest.NewRequest(method, target, bytes.NewReader(body))
	req.Host = "127.0.0.1"
	req.Header.Set("Content-Type", "application/json")
	w := &sink{header: http.Header{}}
	srv.ServeHTTP(w, req)
	if w.status >= 400 {
		b.Fatalf("%s %s: status %d", method, target, w.status)
	}
}

func BenchmarkHealth(b *testing.B) {
	srv, _ := open(b)
	req := httptest.NewRequest(http.MethodGet, "/v1/health", nil)
	req.Host = "127.0.0.1:2468"
	b.ReportAllocs()
	for b.Loop() {
		srv.ServeHTTP(&sink{header: http.Header{}}, req)
	}
}

func BenchmarkFile4K(b *testing.B) {
	srv, _ := open(b)
	data := bytes.Repeat([]byte("x"), 4096)
	b.ReportAllocs()
	for b.Loop() {
		do(b, srv, http.MethodPut, "/v1/fs/file?path=a.bin", data)
		do(b, srv, http.MethodGet, "/v1/fs/file?path=a.bin", nil)
	}
}

func BenchmarkEntries5000(b *testing.B) {
	srv, home := open(b)
	for i := range 5000 {
		if err := os.WriteFile(filepath.Join(home, fmt.Sprintf("file-%04d.txt", i)), nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		do(b, srv, http.MethodGet, "/v1/fs/entries?path=.", nil)
	}
}

func BenchmarkRunTrue(b *testing.B) {
	srv, _ := open(b)
	b.ReportAllocs()
	for b.Loop() {
		do(b, srv, http.MethodPost, "/v1/processes/run", []byte(`{"command":"/bin/true"}`))
	}
}
