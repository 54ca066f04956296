package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// BenchmarkPrompt is a round trip of a prompt in a real session, over a socket, as a
// client makes it. cpu-us/op is the processor time of the server and its client.
func BenchmarkPrompt(b *testing.B) {
	mock := filepath.Join(b.TempDir(), "mock")
	if out, err := exec.Command("go", "build", "-o", mock, "./testdata/mock").CombinedOutput(); err != nil {
		b.Fatalf("build the agent: %v\n%s", err, out)
	}
	srv, err := app.Open(app.Config{DataDir: b.TempDir(), Home: b.TempDir(), Env: os.Environ(), AgentCommands: map[string][]string{"mock": {mock}}, Ballast: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, listener) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			b.Error(err)
		}
	}()
	post := func(query, frame string) []byte {
		resp, err := http.Post("http://"+listener.Addr().String()+"/v1/acp/bench"+query, "application/json", strings.NewReader(frame))
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("status %d, %v: %s", resp.StatusCode, err, body)
		}
		return body
	}
	post("?agent=mock", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`)
	var opened struct{ Result struct{ SessionID string } }
	if err := json.Unmarshal(post("", `{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}`), &opened); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before, id := processorTime(b), 2
	for b.Loop() {
		post("", fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/echo hello"}]}}`, id, opened.Result.SessionID))
		id++
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
