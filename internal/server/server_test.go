package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// syncBuffer is a buffer for a logger that several goroutines use.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// terminal starts a shell with a terminal and returns its record.
func (in *instance) terminal(t *testing.T, header map[string]string) api.ProcessInfo {
	t.Helper()
	var info api.ProcessInfo
	text := in.check(t, scenario{method: "POST", path: "/v1/processes", header: with(header, "Content-Type", "application/json"), status: 200, body: `{"command":"sh","tty":true,"interactive":true}`})
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatal(err)
	}
	return info
}

// TestTokenIsNotLogged sends the token in every way it can be sent, to a
// server that logs all it can.
func TestTokenIsNotLogged(t *testing.T) {
	const token = "c0ffee-is-secret"
	var log syncBuffer
	in := start(t, app.Config{Token: token, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	bearer := map[string]string{"Authorization": "Bearer " + token}
	in.check(t, scenario{path: "/v1/health", header: bearer, status: 200})
	in.check(t, scenario{path: "/v1/health?access_token=" + token, status: 401})
	in.check(t, scenario{path: "/v1/nowhere?access_token=" + token, status: 404})
	shell := in.terminal(t, bearer)
	conn, _, err := websocket.Dial(t.Context(), in.url+"/v1/processes/"+shell.ID+"/terminal/ws?access_token="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(websocket.StatusNormalClosure, "")
	in.stop()
	if !strings.Contains(log.String(), "/v1/health") {
		t.Errorf("nothing is logged: %s", log.String())
	}
	if strings.Contains(log.String(), token) {
		t.Errorf("the token is in the log: %s", log.String())
	}
}

// TestShutdownEndsWhatIsAlive ends a server with an agent, an event stream, a prompt and a
// terminal alive. All of them end with it.
func TestShutdownEndsWhatIsAlive(t *testing.T) {
	in := start(t, app.Config{})
	id := in.mockSession(t, "s")
	agent := in.agentPID(t)
	shell := in.terminal(t, nil)
	conn, _, err := websocket.Dial(t.Context(), in.url+"/v1/processes/"+shell.ID+"/terminal/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for err == nil {
			_, _, err = conn.Read(context.Background())
		}
		if code := websocket.CloseStatus(err); code != websocket.StatusGoingAway && code != websocket.StatusNormalClosure {
			t.Errorf("the terminal ended with %v", err)
		}
	})
	begun := make(chan struct{}, 100)
	wg.Go(func() {
		in.events(t, "/v1/acp/s", nil, nil, func(event) bool { begun <- struct{}{}; return false })
	})
	wg.Go(func() {
		in.check(t, scenario{method: "POST", path: "/v1/acp/s", header: jsonHeader, status: 503, want: []string{`"code":"shutting_down"`},
			body: `{"jsonrpc":"2.0","id":9,"method":"session/prompt","params":{"sessionId":"` + id + `","prompt":[{"type":"text","text":"/silence"}]}}`})
	})
	wg.Go(func() {
		in.check(t, scenario{method: "POST", path: "/v1/processes/run", header: jsonHeader, status: 503, want: []string{`"code":"shutting_down"`},
			body: `{"command":"sh","args":["-c","touch running; sleep 600"],"cwd":"` + in.home + `"}`})
	})
	<-begun
	await(t, "the prompt to be with the agent", func() bool {
		return strings.Contains(in.check(t, scenario{path: "/v1/sessions?status=" + api.SessionRunning, status: 200}), `"total":1`)
	})
	await(t, "the command to run", func() bool {
		_, err := os.Stat(filepath.Join(in.home, "running"))
		return err == nil
	})
	in.stop()
	wg.Wait()
	for what, pid := range map[string]int{"agent": agent, "shell": shell.PID} {
		await(t, "the "+what+" to be gone", func() bool { return state(pid) == "" })
	}
}

// TestOneTokenGuardsAll asks for every route of the API without the token,
// which is the power over the whole sandbox.
func TestOneTokenGuardsAll(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	guarded := 0
	for _, route := range in.server.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		guarded++
		path = strings.NewReplacer("{", "", "}", "").Replace(path)
		in.check(t, scenario{method: method, path: path, status: 401, want: []string{`"code":"token_invalid"`}})
	}
	if guarded < 40 {
		t.Errorf("only %d routes were tried", guarded)
	}
}

// TestNoTelemetry looks at what a server leaves behind: nothing that names
// it to anybody. That nothing but agents' installs and git calls out is held by
// the imports.
func TestNoTelemetry(t *testing.T) {
	data := t.TempDir()
	in := start(t, app.Config{DataDir: data})
	in.mockSession(t, "s")
	in.stop()
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if strings.Contains(d.Name(), "telemetry") {
			t.Errorf("there is %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
