package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
)

// lockedBuffer is a buffer that a server and a test use at once.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// A client that leaves before the response is no fault of the server, and is counted as
// what it is.
func TestClientThatLeavesIsNoError(t *testing.T) {
	log := new(lockedBuffer)
	in := start(t, app.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	in.mockSession(t, "s")
	began := filepath.Join(in.home, "began")
	script := `{"command":"sh","args":["-c","echo >` + began + `; exec sleep 1000"]}`
	for _, tt := range []struct {
		route, path, body string
		begun             func() bool
	}{
		{"/v1/processes/run", "/v1/processes/run", script, func() bool { _, err := os.Stat(began); return err == nil }},
		{"/v1/acp/{id}", "/v1/acp/s", `{"jsonrpc":"2.0","id":7,"method":"session/prompt","params":{"sessionId":"mock","prompt":[{"type":"text","text":"/silence"}]}}`,
			func() bool { return true }},
	} {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.url+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		left := make(chan struct{})
		go func() {
			defer close(left)
			if resp, err := in.client.Do(req); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}()
		await(t, "the request to begin", tt.begun)
		leave()
		<-left
	}
	await(t, "the run to be counted", func() bool {
		metrics := in.check(t, scenario{path: "/metrics", status: 200})
		return strings.Contains(metrics, `route="/v1/processes/run",status="499"`)
	})
	for _, fault := range []string{"request failed", "level=ERROR"} {
		if strings.Contains(log.String(), fault) {
			t.Errorf("the log says %q:\n%s", fault, log)
		}
	}
	if metrics := in.check(t, scenario{path: "/metrics", status: 200}); strings.Contains(metrics, `"500"`) || strings.Contains(metrics, `"502"`) {
		t.Errorf("an error is counted:\n%s", metrics)
	}
}
