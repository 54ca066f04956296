package server_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// limitCase starts a server with a low limit and reaches it.
type limitCase struct {
	limits api.Limits
	agent  []string // command of the agent "own", if there is one
	reach  func(t *testing.T, in *instance)
}

// limitCases has a case for every member of [api.Limits], by its name on the wire.
var limitCases = map[string]limitCase{
	"maxBodyBytes": {limits: api.Limits{MaxBodyBytes: 100}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "POST", "/v1/processes/run", `{"command":"`+strings.Repeat("x", 200)+`"}`, 413, "maxBodyBytes")
	}},
	"maxContentBytes": {limits: api.Limits{MaxContentBytes: 1000}, reach: func(t *testing.T, in *instance) {
		in.mockSession(t, "s")
		in.refuses(t, "POST", "/v1/acp/s", `{"jsonrpc":"2.0","method":"note","params":{"text":"`+strings.Repeat("x", 2000)+`"}}`, 413, "maxContentBytes")
	}},
	"maxFileBytes": {limits: api.Limits{MaxFileBytes: 10}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "PUT", "/v1/fs/file?path=f", strings.Repeat("x", 11), 413, "maxFileBytes")
	}},
	"maxUploadBytes": {limits: api.Limits{MaxUploadBytes: 1000}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "POST", "/v1/fs/upload-batch?path=d", archiveOf(t, 1, 5000), 413, "maxUploadBytes")
	}},
	"maxUploadEntries": {limits: api.Limits{MaxUploadEntries: 2}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "POST", "/v1/fs/upload-batch?path=d", archiveOf(t, 3, 1), 413, "maxUploadEntries")
	}},
	"maxBatchFiles": {limits: api.Limits{MaxBatchFiles: 1}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "POST", "/v1/fs/batch", `{"files":[{"path":"a","content":""},{"path":"b","content":""}]}`, 413, "maxBatchFiles")
	}},
	"maxWatches": {limits: api.Limits{MaxWatches: 2}, reach: func(t *testing.T, in *instance) {
		for i := range 4 {
			in.check(t, scenario{method: "POST", path: fmt.Sprintf("/v1/fs/mkdir?path=tree/d%d", i), status: 200})
		}
		in.refuses(t, "GET", "/v1/fs/watch?path=tree&recursive=true", "", 400, "maxWatches")
	}},
	"maxMatches": {limits: api.Limits{MaxMatches: 1}, reach: func(t *testing.T, in *instance) {
		for i := range 3 {
			in.check(t, scenario{method: "PUT", path: fmt.Sprintf("/v1/fs/file?path=tree/f%d", i), body: "x", status: 200})
		}
		in.check(t, scenario{path: "/v1/fs/search?path=tree&name=f*", status: 200, want: []string{`"truncated":true`}})
	}},
	"maxHttpConnections": {limits: api.Limits{MaxHTTPConnections: 3}, reach: func(t *testing.T, in *instance) {
		for range 3 {
			in.dial(t, "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		await(t, "a connection to be refused", func() bool {
			c := in.dial(t, "GET /v1/health HTTP/1.0\r\nHost: localhost\r\n\r\n")
			defer c.Close()
			text, _ := io.ReadAll(c)
			return strings.Contains(string(text), `"limit":"maxHttpConnections"`)
		})
	}},
	"maxHeaderBytes": {limits: api.Limits{MaxHeaderBytes: 1000}, reach: func(t *testing.T, in *instance) {
		c := in.dial(t, "GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("x", 10_000)+"\r\n\r\n")
		if text, _ := io.ReadAll(c); !strings.Contains(string(text), " 431 ") {
			t.Errorf("response %s", text)
		}
	}},
	"headerTimeoutMs": {limits: api.Limits{HeaderTimeoutMs: 50}, reach: func(t *testing.T, in *instance) {
		c := in.dial(t, "GET /v1/health HTTP/1.1\r\nHo")
		if text, err := io.ReadAll(c); err != nil || strings.Contains(string(text), " 200 ") {
			t.Errorf("response %s, %v", text, err)
		}
	}},
	"bodyStallMs": {limits: api.Limits{BodyStallMs: 50}, reach: func(t *testing.T, in *instance) {
		c := in.dial(t, "POST /v1/processes/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
		if text, _ := io.ReadAll(c); !strings.Contains(string(text), `"limit":"bodyStallMs"`) {
			t.Errorf("response %s", text)
		}
	}},
	"responseStallMs": {limits: api.Limits{ResponseStallMs: 50}, reach: func(t *testing.T, in *instance) {
		if err := errors.Join(os.WriteFile(filepath.Join(in.home, "big"), nil, 0o600), os.Truncate(filepath.Join(in.home, "big"), 256<<20)); err != nil {
			t.Fatal(err)
		}
		in.dial(t, "GET /v1/fs/file?path=big HTTP/1.1\r\nHost: localhost\r\n\r\n")
		await(t, "the request of a client that reads nothing to end", func() bool {
			return strings.Contains(in.check(t, scenario{path: "/metrics", status: 200}), `requests_total{method="GET",route="/v1/fs/file"`)
		})
	}},
	"maxConnections": {limits: api.Limits{MaxConnections: 1}, reach: func(t *testing.T, in *instance) {
		in.mockSession(t, "a")
		in.refuses(t, "POST", "/v1/acp/b?agent=mock", initialize, 503, "maxConnections")
	}},
	"maxPendingRequests": {limits: api.Limits{MaxPendingRequests: 1}, reach: func(t *testing.T, in *instance) {
		id := in.mockSession(t, "s")
		ctx, cancel := context.WithCancel(t.Context())
		answers := make(chan string, 2)
		for request := range cap(answers) { // one waits, the other is refused
			go func() {
				_, text := in.send(t, ctx, "POST", "/v1/acp/s", fmt.Sprintf(silence, request+7, id))
				answers <- text
			}()
		}
		if text := <-answers; !strings.Contains(text, `"limit":"maxPendingRequests"`) {
			t.Errorf("no request is refused: %s", text)
		}
		cancel()
		<-answers
	}},
	"maxQueuedBytes": {limits: api.Limits{MaxQueuedBytes: 300_000, WriteStallMs: 2000}, agent: []string{"sleep", "1000"}, reach: func(t *testing.T, in *instance) {
		frame := `{"jsonrpc":"2.0","method":"note","params":{"text":"` + strings.Repeat("x", 200_000) + `"}}`
		answers := make(chan string, 4)
		for range cap(answers) {
			go func() {
				_, text := in.send(t, t.Context(), "POST", "/v1/acp/s?agent=own", frame)
				answers <- text
			}()
		}
		all := ""
		for range cap(answers) {
			all += <-answers
		}
		if !strings.Contains(all, `"limit":"maxQueuedBytes"`) {
			t.Errorf("no frame is refused: %s", all)
		}
	}},
	"writeStallMs": {limits: api.Limits{WriteStallMs: 50}, agent: []string{"sleep", "1000"}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "POST", "/v1/acp/s?agent=own", `{"jsonrpc":"2.0","method":"note","params":{"text":"`+strings.Repeat("x", 300_000)+`"}}`, 504, "writeStallMs")
	}},
	"maxFrameBytes": {limits: api.Limits{MaxFrameBytes: 10_000}, reach: func(t *testing.T, in *instance) {
		id := in.mockSession(t, "s")
		in.prompt(t, "s", id, "/longline 30000")
		in.awaitEvents(t, id, "maxFrameBytes (10000)")
	}},
	"requestTimeoutMs": {limits: api.Limits{RequestTimeoutMs: 50}, agent: []string{"sh", "-c", "cat >/dev/null"}, reach: func(t *testing.T, in *instance) {
		in.refuses(t, "POST", "/v1/acp/s?agent=own", initialize, 504, "requestTimeoutMs")
	}},
	"maxSessions": {limits: api.Limits{MaxSessions: 1}, reach: func(t *testing.T, in *instance) {
		in.kept(t, "mock")
		in.refuses(t, "POST", "/v1/sessions", `{"agent":"mock"}`, 503, "maxSessions")
	}},
	"maxQueuedPrompts": {limits: api.Limits{MaxQueuedPrompts: 1}, reach: func(t *testing.T, in *instance) {
		id := in.kept(t, "mock")
		in.background(t, "/v1/sessions/"+id+"/prompt", `{"prompt":"/silence"}`)
		in.awaitEvents(t, id, "/silence")
		in.background(t, "/v1/sessions/"+id+"/prompt", `{"prompt":"later","queue":true}`)
		in.awaitEvents(t, id, api.EventPromptQueued)
		in.refuses(t, "POST", "/v1/sessions/"+id+"/prompt", `{"prompt":"still later","queue":true}`, 409, "maxQueuedPrompts")
	}},
	"maxPrimerBytes": {limits: api.Limits{MaxPrimerBytes: 200}, agent: []string{"SELF", "mock"}, reach: func(t *testing.T, in *instance) {
		id := in.kept(t, "own")
		in.turn(t, id, "/echo "+strings.Repeat("long ", 1000))
		in.turn(t, id, "/exit")
		in.awaitStatus(t, id, api.SessionStopped, api.SessionFailed)
		in.turn(t, id, "again")
		in.awaitEvents(t, id, "[the earlier part is left out]")
	}},
	"maxTurnTextBytes": {limits: api.Limits{MaxTurnTextBytes: 5}, reach: func(t *testing.T, in *instance) {
		if text := in.turn(t, in.kept(t, "mock"), "/echo hello there"); !strings.Contains(text, `"textTruncated":true`) {
			t.Errorf("turn %s", text)
		}
	}},
	"idleTimeoutMs": {limits: api.Limits{IdleTimeoutMs: 50}, reach: func(t *testing.T, in *instance) {
		id := in.kept(t, "mock")
		in.turn(t, id, "hello")
		in.awaitStatus(t, id, api.SessionStopped)
	}},
	"cancelTimeoutMs": {limits: api.Limits{CancelTimeoutMs: 50}, reach: func(t *testing.T, in *instance) {
		id := in.kept(t, "mock")
		in.background(t, "/v1/sessions/"+id+"/prompt", `{"prompt":"/hang"}`)
		in.awaitEvents(t, id, "/hang")
		in.check(t, scenario{method: "POST", path: "/v1/sessions/" + id + "/cancel", status: 200})
		in.awaitStatus(t, id, api.SessionStopped, api.SessionFailed)
	}},
	"maxTotalLogBytes": {limits: api.Limits{MaxTotalLogBytes: 50_000}, reach: func(t *testing.T, in *instance) {
		id := in.process(t, `{"command":"sh","args":["-c","head -c 2000000 /dev/zero | tr '\\0' 'x'"]}`)
		in.awaitProcess(t, id)
		if logs := in.check(t, scenario{path: "/v1/processes/" + id + "/logs", status: 200}); len(logs) > 1_000_000 {
			t.Errorf("%d bytes of logs are kept", len(logs))
		}
	}},
	"maxConcurrentRuns": {limits: api.Limits{MaxConcurrentRuns: 1}, reach: func(t *testing.T, in *instance) {
		ctx, cancel := context.WithCancel(t.Context())
		answers := make(chan string, 2)
		for range cap(answers) { // one runs, the other is refused
			go func() {
				_, text := in.send(t, ctx, "POST", "/v1/processes/run", `{"command":"sleep","args":["1000"]}`)
				answers <- text
			}()
		}
		if text := <-answers; !strings.Contains(text, `"limit":"maxConcurrentRuns"`) {
			t.Errorf("no run is refused: %s", text)
		}
		cancel()
		<-answers
	}},
	"runGraceMs": {limits: api.Limits{RunGraceMs: 50}, reach: func(t *testing.T, in *instance) {
		in.check(t, scenario{method: "POST", path: "/v1/processes/run", header: jsonHeader, status: 200, want: []string{`"timedOut":true`},
			body: `{"command":"sh","args":["-c","trap '' TERM; while :; do sleep 1000; done"],"timeoutMs":50}`})
	}},
	"maxFinishedProcesses": {limits: api.Limits{MaxFinishedProcesses: 1}, reach: func(t *testing.T, in *instance) {
		for range 3 {
			in.process(t, `{"command":"true"}`)
		}
		await(t, "ended processes to be forgotten", func() bool {
			return strings.Count(in.check(t, scenario{path: "/v1/processes", status: 200}), `"pid"`) <= 1
		})
	}},
	"finishedProcessAgeMs": {limits: api.Limits{FinishedProcessAgeMs: 1}, reach: func(t *testing.T, in *instance) {
		in.process(t, `{"command":"true"}`)
		await(t, "an ended process to be forgotten", func() bool {
			in.process(t, `{"command":"true"}`)
			return strings.Count(in.check(t, scenario{path: "/v1/processes", status: 200}), `"status":"exited"`) <= 1
		})
	}},
	"inputTimeoutMs": {limits: api.Limits{InputTimeoutMs: 50}, reach: func(t *testing.T, in *instance) {
		id := in.process(t, `{"command":"sleep","args":["1000"]}`)
		await(t, "input to be refused", func() bool {
			_, text := in.send(t, t.Context(), "POST", "/v1/processes/"+id+"/input", `{"data":"`+strings.Repeat("x", 60_000)+`","encoding":"text"}`)
			return strings.Contains(text, string(api.CodeInputTimeout))
		})
	}},
	"followStallMs": {limits: api.Limits{FollowStallMs: 50}, reach: func(t *testing.T, in *instance) {
		id := in.process(t, `{"command":"sh","args":["-c","head -c 100000000 /dev/zero"],"awaitReaders":1}`)
		in.dial(t, "GET /v1/processes/"+id+"/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
		in.awaitProcess(t, id)
	}},
	"journalWindowBytes":   {limits: api.Limits{JournalWindowBytes: 1}, reach: everyEvent},
	"journalBacklogBytes":  {limits: api.Limits{JournalBacklogBytes: 1}, reach: everyEvent},
	"maxJournalEntries":    {limits: api.Limits{MaxJournalEntries: 300}, reach: dropsEvents},
	"maxJournalBytes":      {limits: api.Limits{MaxJournalBytes: 100_000}, reach: dropsEvents},
	"maxJournalTotalBytes": {limits: api.Limits{MaxJournalTotalBytes: 200_000}, reach: dropsEvents},
	"journalRetentionDays": {limits: api.Limits{JournalRetentionDays: 1}, reach: func(t *testing.T, in *instance) {
		in.check(t, scenario{method: "POST", path: "/v1/sessions/import", header: map[string]string{"Content-Type": "application/x-ndjson"}, status: 200, body: `{"type":"journal","format":1,"created":1}
{"type":"record","kind":"session","id":"old","data":{"id":"old","agent":"mock","agentSessionId":"a","server":"c","createdAt":1,"updatedAt":1,"cwd":"/","usage":{},"last":1}}
{"type":"entry","stream":"session/old","seq":1,"time":1,"dir":"client","frame":{"jsonrpc":"2.0","method":"note"}}
{"type":"end","records":1,"streams":1,"entries":1}
`})
		if err := in.server.TrimNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		in.check(t, scenario{path: "/v1/sessions/old/events", status: 200, want: []string{`"gap":`}})
	}},
	"shutdownTimeoutMs": {limits: api.Limits{ShutdownTimeoutMs: 200}, reach: func(t *testing.T, in *instance) {
		in.dial(t, "GET /v1/fs/file?path=nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n") // is heard out for longer
		in.stop()
	}},
}

const (
	initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`
	silence    = `{"jsonrpc":"2.0","id":%d,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/silence"}]}}`
)

// TestEveryLimitIsReached takes the limits from the API itself, so that none is without
// a case.
func TestEveryLimitIsReached(t *testing.T) {
	in := start(t, app.Config{})
	var document struct {
		Components struct {
			Schemas struct {
				Limits struct {
					Properties map[string]json.RawMessage `json:"properties"`
				}
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(in.check(t, scenario{path: "/openapi.json", status: 200})), &document); err != nil {
		t.Fatal(err)
	}
	names := document.Components.Schemas.Limits.Properties
	if len(names) == 0 {
		t.Fatal("the API has no limits")
	}
	for name := range limitCases {
		if names[name] == nil {
			t.Errorf("the API has no limit %s", name)
		}
	}
	for name := range names {
		t.Run(name, func(t *testing.T) {
			c, ok := limitCases[name]
			if !ok {
				t.Fatal("no case reaches this limit")
			}
			cfg := app.Config{Limits: c.limits}
			if c.agent != nil {
				command := append([]string{}, c.agent...)
				if command[0] == "SELF" {
					command[0] = self(t)
				} else if path, err := exec.LookPath(command[0]); err == nil {
					command[0] = path
				}
				cfg.AgentCommands = map[string][]string{"own": command}
			}
			in := start(t, cfg)
			in.check(t, scenario{path: "/v1/limits", status: 200, want: []string{`"` + name + `":`}})
			c.reach(t, in)
		})
	}
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// everyEvent has an agent say much, and reads all of it.
func everyEvent(t *testing.T, in *instance) {
	const frames = 2000
	id := in.mockSession(t, "s")
	in.prompt(t, "s", id, fmt.Sprintf("/burst %d", frames))
	zero := uint64(0)
	all := in.events(t, "/v1/acp/s", &zero, nil, func(e event) bool { return strings.Contains(string(e.Data), "end_turn") })
	contiguous(t, 0, all)
	if len(all) < frames {
		t.Errorf("%d events", len(all))
	}
}

// dropsEvents has an agent say much, and waits until the first events are gone.
func dropsEvents(t *testing.T, in *instance) {
	id := in.mockSession(t, "s")
	await(t, "the oldest events to be dropped", func() bool {
		in.prompt(t, "s", id, "/burst 2000")
		_, text := in.send(t, t.Context(), "GET", "/v1/sessions/"+id+"/events?perPage=1", "")
		return strings.Contains(text, `"gap":`)
	})
}

// send makes a request and returns status and body; both are empty if ctx ends.
func (in *instance) send(t *testing.T, ctx context.Context, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, in.url+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/v1/fs/upload-batch") {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	resp, err := in.client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// refuses makes a request that a limit forbids.
func (in *instance) refuses(t *testing.T, method, path, body string, status int, limit string) {
	t.Helper()
	got, text := in.send(t, t.Context(), method, path, body)
	if got != status || !strings.Contains(text, `"limit":"`+limit+`"`) {
		t.Errorf("%s %s: status %d, want %d and the limit %s: %s", method, path, got, status, limit, text)
	}
}

// background makes a request until the test ends.
func (in *instance) background(t *testing.T, path, body string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { in.send(t, ctx, "POST", path, body) })
	t.Cleanup(func() { cancel(); done.Wait() })
}

// dial connects and sends text.
func (in *instance) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_, _ = io.WriteString(c, text) // may be refused already
	return c
}

func (in *instance) prompt(t *testing.T, connection, session, text string) {
	t.Helper()
	in.rpc(t, "/v1/acp/"+connection, fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d","method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":%q}]}}`, promptID.Add(1), session, text))
}

// kept makes a session of the server and returns its id.
func (in *instance) kept(t *testing.T, agent string) string {
	t.Helper()
	var s api.Session
	body := in.check(t, scenario{method: "POST", path: "/v1/sessions", header: jsonHeader, body: fmt.Sprintf(`{"agent":%q,"permissions":{"default":"allow"}}`, agent), status: 201})
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	return s.ID
}

func (in *instance) turn(t *testing.T, id, text string) string {
	t.Helper()
	return in.check(t, scenario{method: "POST", path: "/v1/sessions/" + id + "/prompt", header: jsonHeader, body: fmt.Sprintf(`{"prompt":%q}`, text), status: 200})
}

func (in *instance) awaitEvents(t *testing.T, id, part string) {
	t.Helper()
	await(t, "an event with "+part, func() bool {
		_, text := in.send(t, t.Context(), "GET", "/v1/sessions/"+id+"/events", "")
		return strings.Contains(text, part)
	})
}

func (in *instance) awaitStatus(t *testing.T, id string, statuses ...string) {
	t.Helper()
	await(t, "the session to be "+strings.Join(statuses, " or "), func() bool {
		_, text := in.send(t, t.Context(), "GET", "/v1/sessions/"+id, "")
		for _, status := range statuses {
			if strings.Contains(text, `"status":"`+status+`"`) {
				return true
			}
		}
		return false
	})
}

func (in *instance) process(t *testing.T, body string) string {
	t.Helper()
	var p api.ProcessInfo
	if err := json.Unmarshal([]byte(in.check(t, scenario{method: "POST", path: "/v1/processes", header: jsonHeader, body: body, status: 200})), &p); err != nil {
		t.Fatal(err)
	}
	return p.ID
}

func (in *instance) awaitProcess(t *testing.T, id string) {
	t.Helper()
	await(t, "the process to end", func() bool {
		return strings.Contains(in.check(t, scenario{path: "/v1/processes/" + id, status: 200}), `"status":"exited"`)
	})
}

// archiveOf returns a tar archive of so many files of that size.
func archiveOf(t *testing.T, files, size int) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range files {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint("f", i), Mode: 0o644, Size: int64(size)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// promptID is the id of the last prompt.
var promptID atomic.Int64
