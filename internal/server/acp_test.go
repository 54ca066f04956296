package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// with returns header with one more.
func with(header map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range header {
		out[k] = v
	}
	return out
}

func TestACPPost(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	in := start(t, app.Config{AgentCommands: map[string][]string{"broken": {broken}}})
	initialize := `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`
	tooLong := `{"jsonrpc":"2.0","id":1,"method":"x","params":"` + strings.Repeat("x", 32<<20) + `"}`
	in.run(t, []scenario{
		{name: "no content type", method: "POST", path: "/v1/acp/s?agent=mock", body: initialize, status: 415, want: []string{"content-type must be application/json", `"type":"urn:sandbox-agent:error:unsupported_media_type"`}},
		{name: "text", method: "POST", path: "/v1/acp/s?agent=mock", header: map[string]string{"Content-Type": "text/plain"}, body: initialize, status: 415},
		{name: "problem is no JSON here", method: "POST", path: "/v1/acp/s?agent=mock", header: map[string]string{"Content-Type": "application/problem+json"}, body: initialize, status: 415},
		{name: "accept", method: "POST", path: "/v1/acp/s?agent=mock", header: with(jsonHeader, "Accept", "text/html"), body: initialize, status: 406, want: []string{"accept must allow application/json"}},
		{name: "empty body", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, status: 400, want: []string{"invalid JSON body", `"code":"invalid_json"`}},
		{name: "no JSON", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, body: `{"a":`, status: 400, want: []string{`"code":"invalid_json"`}},
		{name: "unknown agent", method: "POST", path: "/v1/acp/s?agent=nope", header: jsonHeader, body: initialize, status: 400, want: []string{`"type":"urn:sandbox-agent:error:unsupported_agent"`, `unsupported agent: nope`, `"agent":"nope"`}},
		{name: "agent in capitals", method: "POST", path: "/v1/acp/s?agent=Mock", header: jsonHeader, body: initialize, status: 400},
		{name: "empty agent", method: "POST", path: "/v1/acp/s?agent=", header: jsonHeader, body: initialize, status: 400, want: []string{`unsupported agent: "`}},
		{name: "no agent", method: "POST", path: "/v1/acp/s1", header: jsonHeader, body: initialize, status: 400, want: []string{`missing required 'agent' query parameter for first POST to /v1/acp/s1`}},
		{name: "array", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, body: `[]`, status: 400, want: []string{"request body must be a JSON-RPC object"}},
		{name: "string", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, body: `"x"`, status: 400, want: []string{`"code":"invalid_frame"`}},
		{name: "more than one value", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, body: initialize + initialize, status: 400, want: []string{`"code":"invalid_json"`}},
		{name: "no UTF-8", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, body: "{\"method\":\"\xff\"}", status: 400, want: []string{`"code":"invalid_json"`}},
		{name: "id that is no text", method: "POST", path: "/v1/acp/a%00b?agent=mock", header: jsonHeader, body: initialize, status: 400, want: []string{`"code":"invalid_request"`}},
		{name: "agent twice", method: "POST", path: "/v1/acp/s?agent=mock&agent=mock", header: jsonHeader, body: initialize, status: 400, want: []string{"duplicate field `agent`"}},
		{name: "agent that does not start", method: "POST", path: "/v1/acp/s?agent=broken", header: jsonHeader, body: initialize, status: 502, want: []string{`"type":"urn:sandbox-agent:error:stream_error"`, "failed to start agent process: ", "no such file or directory"}},
		{name: "too long", method: "POST", path: "/v1/acp/s?agent=mock", header: jsonHeader, body: tooLong, status: 413, want: []string{`"title":"Payload Too Large"`, "maxContentBytes (33554432)"}},
		{name: "nothing was started", path: "/v1/acp", status: 200, want: []string{`{"servers":[]}`}},
		{name: "first frame", method: "POST", path: "/v1/acp/a%2Fb?agent=mock", header: with(jsonHeader, "Accept", "application/json;q=0.5, text/plain"), body: initialize, status: 200, want: []string{`"protocolVersion":1`, `"id":0`}, headers: map[string]string{"Content-Type": "application/json"}},
		{name: "weighted accept", method: "POST", path: "/v1/acp/a%2Fb", header: with(jsonHeader, "Accept", "text/html, application/*;q=0"), body: initialize, status: 200},
		{name: "same agent again", method: "POST", path: "/v1/acp/a%2Fb?agent=mock", header: map[string]string{"Content-Type": "application/json; charset=utf-8", "Accept": "*/*"}, body: initialize, status: 200},
		{name: "another agent", method: "POST", path: "/v1/acp/a%2Fb?agent=claude", header: jsonHeader, body: initialize, status: 409, want: []string{`server 'a/b' already exists for agent 'mock'; requested 'claude'`}},
		{name: "unknown agent later", method: "POST", path: "/v1/acp/a%2Fb?agent=nope", header: jsonHeader, body: initialize, status: 400},
		{name: "notification", method: "POST", path: "/v1/acp/a%2Fb", header: jsonHeader, body: `{"method":"session/cancel","params":{"sessionId":"x"}}`, status: 202},
		{name: "object of no kind", method: "POST", path: "/v1/acp/a%2Fb", header: jsonHeader, body: `{"foo":1}`, status: 202},
		{name: "unknown method is echoed", method: "POST", path: "/v1/acp/a%2Fb", header: jsonHeader, body: `{"jsonrpc":"2.0","id":"1.0","method":"what/ever","params":{"n":1.0}}`, status: 200, want: []string{`"id":"1.0"`, `"echoed"`}},
		{name: "listed", path: "/v1/acp", status: 200, want: []string{`"serverId":"a/b","agent":"mock"`, `"status":"running"`}},
		{name: "stream without accept", path: "/v1/acp/a%2Fb", header: map[string]string{"Accept": "application/json"}, status: 406},
		{name: "stream with a bad cursor", path: "/v1/acp/a%2Fb", header: map[string]string{"Last-Event-ID": "x"}, status: 400, want: []string{"Last-Event-ID must be a positive integer"}},
		{name: "stream of nobody", path: "/v1/acp/nobody", status: 404, want: []string{`"type":"urn:sandbox-agent:error:session_not_found"`, `"sessionId":"nobody"`}},
		{name: "wrong method", method: "PUT", path: "/v1/acp/a%2Fb", status: 405, headers: map[string]string{"Allow": "GET,HEAD,POST,DELETE"}},
		{name: "close", method: "DELETE", path: "/v1/acp/a%2Fb", status: 204},
		{name: "close again", method: "DELETE", path: "/v1/acp/a%2Fb", status: 204},
		{name: "gone", path: "/v1/acp/a%2Fb", status: 404},
		{name: "list is empty again", path: "/v1/acp", status: 200, want: []string{`{"servers":[]}`}},
	})
}

func TestRequirePreinstall(t *testing.T) {
	in := start(t, app.Config{RequirePreinstall: true})
	in.check(t, scenario{method: "POST", path: "/v1/acp/s?agent=claude", header: jsonHeader, body: `{"id":1,"method":"initialize"}`, status: 404,
		want: []string{`"type":"urn:sandbox-agent:error:agent_not_installed"`, `"agent":"claude"`}})
}

// TestBadAgents says what a client hears of an agent that dies, hangs, writes
// what is no frame, or does not read.
func TestBadAgents(t *testing.T) {
	commands := map[string][]string{
		"leaver": {"sh", "-c", "read line; echo goodbye >&2; exit 7"},
		"silent": {"sh", "-c", "cat >/dev/null"},
		"nobody": {"sleep", "600"},
		"pi":     {"sh", "-c", `read line; echo '{"jsonrpc":"2.0","id":3,"error":{"code":-32603,"message":"Internal error","data":{"details":"Cannot call write after a stream was destroyed","n":1.0}}}'; cat`},
	}
	in := start(t, app.Config{AgentCommands: commands})
	hasty := start(t, app.Config{AgentCommands: commands, Limits: api.Limits{RequestTimeoutMs: 50, WriteStallMs: 100}})
	frame := `{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"text":"%s"}}`
	small, large := fmt.Sprintf(frame, ""), fmt.Sprintf(frame, strings.Repeat("x", 1<<20))
	session := in.mockSession(t, "s")
	prompt := func(text string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":%q}]}}`, session, text)
	}
	in.run(t, []scenario{
		{name: "dies", method: "POST", path: "/v1/acp/leaver?agent=leaver", header: jsonHeader, body: small, status: 500,
			want: []string{`"detail":"agent process exited: leaver"`, `"details":{"exitCode":7,"stderr":"goodbye"}`}},
		{name: "has no key", method: "POST", path: "/v1/acp/pi?agent=pi", header: jsonHeader, body: small, status: 200,
			want: []string{`"code":-32603,"message":"Internal error"`, `"hint":"pi has ended, mostly for want of an API key`, `"agentStderr":"`, `"n":1.0`}},
		{name: "writes rubbish", method: "POST", path: "/v1/acp/s", header: jsonHeader, body: prompt("/rubbish what?"), status: 200, want: []string{`"stopReason":"end_turn"`}},
		{name: "writes a line of 50 MB", method: "POST", path: "/v1/acp/s", header: jsonHeader, body: prompt("/longline 52428800"), status: 200, want: []string{`"stopReason":"end_turn"`}},
	})
	hasty.run(t, []scenario{
		{name: "hangs", method: "POST", path: "/v1/acp/silent?agent=silent", header: jsonHeader, body: small, status: 504,
			want: []string{`"title":"Timeout"`, "requestTimeoutMs (50)", "timed out waiting for agent response"}},
		{name: "does not read", method: "POST", path: "/v1/acp/nobody?agent=nobody", header: jsonHeader, body: large, status: 504,
			want: []string{`"code":"agent_not_reading"`, "writeStallMs 100"}},
	})
	said := fmt.Sprint(in.events(t, "/v1/acp/s", nil, nil, func(e event) bool { return strings.Contains(e.Data, "maxFrameBytes") }))
	for _, part := range []string{`"method":"_adapter/invalid_stdout"`, `"raw":"what?"`, "exceeds maxFrameBytes (33554432)"} {
		if !strings.Contains(said, part) {
			t.Errorf("%s is not on the stream", part)
		}
	}
}

// rpc posts a frame and returns the reply.
func (in *instance) rpc(t *testing.T, path, frame string) string {
	t.Helper()
	return in.check(t, scenario{method: "POST", path: path, header: jsonHeader, body: frame, status: 200})
}

// mockSession opens a session on the mock and returns its id.
func (in *instance) mockSession(t *testing.T, server string) string {
	t.Helper()
	in.rpc(t, "/v1/acp/"+server+"?agent=mock", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`)
	var reply struct{ Result struct{ SessionID string } }
	if err := json.Unmarshal([]byte(in.rpc(t, "/v1/acp/"+server, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, t.TempDir()))), &reply); err != nil || reply.Result.SessionID == "" {
		t.Fatalf("no session: %v", err)
	}
	return reply.Result.SessionID
}

// event is one server-sent event.
type event = testkit.Event

// events reads a stream from after (nil is no cursor) until done says so or the
// stream ends. Until slow, if not nil, is closed, it reads 20 kB in a second.
func (in *instance) events(t *testing.T, path string, after *uint64, slow <-chan struct{}, done func(event) bool) []event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if after != nil {
		req.Header.Set("Last-Event-ID", strconv.FormatUint(*after, 10))
	}
	resp, err := in.client.Do(req)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("stream: %s %v", resp.Status, resp.Header)
		return nil
	}
	var body io.Reader = resp.Body
	if slow != nil {
		body = &slowReader{resp.Body, slow}
	}
	var all []event
	for e := range testkit.Events(body) {
		all = append(all, e)
		if done(e) {
			break
		}
	}
	return all
}

// slowReader reads 2 kB ten times a second until it is let go.
type slowReader struct {
	r    io.Reader
	slow <-chan struct{}
}

func (s *slowReader) Read(p []byte) (int, error) {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-s.slow:
		return s.r.Read(p)
	case <-timer.C:
		return s.r.Read(p[:min(len(p), 2000)])
	}
}

func contiguous(t *testing.T, after uint64, all []event) {
	t.Helper()
	for i, e := range all {
		if e.Name != "message" || e.ID != after+uint64(i)+1 {
			t.Fatalf("place %d has event %s %d", i, e.Name, e.ID)
		}
	}
}

func TestACPStream(t *testing.T) {
	in := start(t, app.Config{})
	id := in.mockSession(t, "s")
	in.rpc(t, "/v1/acp/s", fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"hello"}]}}`, id))
	end := func(e event) bool { return strings.Contains(e.Data, `"id":2`) }
	all := in.events(t, "/v1/acp/s", nil, nil, end)
	contiguous(t, 0, all)
	if !strings.Contains(all[0].Data, `"id":0`) || !strings.Contains(fmt.Sprint(all), "agent_message_chunk") {
		t.Errorf("replay lacks the replies or the updates: %v", all)
	}
	two := uint64(2)
	rest := in.events(t, "/v1/acp/s", &two, nil, end)
	contiguous(t, 2, rest)
	if len(rest) != len(all)-2 {
		t.Errorf("replay after 2 has %d events of %d", len(rest), len(all))
	}

	ended := make(chan []event)
	begun := make(chan struct{}, len(all)+8)
	go func() {
		ended <- in.events(t, "/v1/acp/s", &two, nil, func(event) bool { begun <- struct{}{}; return false })
	}()
	<-begun
	in.check(t, scenario{method: "DELETE", path: "/v1/acp/s", status: 204})
	last := <-ended // the stream ends with its source
	if !strings.Contains(last[len(last)-1].Data, "_adapter/agent_exited") {
		t.Errorf("stream ended with %v", last)
	}
}

// TestHeadOfStreams asks for nothing but the headers of streams that do not end.
// Each answer is whole, so that the connection is free for the next request.
func TestHeadOfStreams(t *testing.T) {
	in := start(t, app.Config{})
	in.mockSession(t, "s")
	shell := in.terminal(t, nil)
	session := in.check(t, scenario{method: "POST", path: "/v1/sessions", header: jsonHeader, status: 201, body: `{"agent":"mock"}`})
	var made api.Session
	if err := json.Unmarshal([]byte(session), &made); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/acp/s", "/v1/sessions/" + made.ID + "/events/stream", "/v1/processes/" + shell.ID + "/logs?follow=true", "/v1/fs/watch"} {
		in.check(t, scenario{method: "HEAD", path: path, status: 200, headers: map[string]string{"Content-Type": "text/event-stream"}})
		in.check(t, scenario{path: "/v1/health", status: 200})
	}
}

func TestNoEventIsLost(t *testing.T) {
	const updates = 20_000
	in := start(t, app.Config{})
	id := in.mockSession(t, "s")
	end := func(e event) bool { return strings.Contains(e.Data, `"id":9,`) || strings.HasSuffix(e.Data, `"id":9}`) }
	var wg sync.WaitGroup
	counts := make([]int, 21)
	burst := make(chan struct{})
	read := func(i int, slow <-chan struct{}) {
		defer wg.Done()
		all := in.events(t, "/v1/acp/s", nil, slow, end)
		contiguous(t, 0, all)
		for _, e := range all {
			if strings.Contains(e.Data, "agent_message_chunk") {
				counts[i]++
			}
		}
	}
	for i := range counts {
		wg.Add(1)
		var slow <-chan struct{}
		if i == 0 {
			slow = burst // far behind when the burst ends, so it reads from disk
		}
		go read(i, slow)
	}
	in.rpc(t, "/v1/acp/s", fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/burst %d 100"}]}}`, id, updates))
	close(burst)
	wg.Wait()
	for i, n := range counts {
		if n < updates {
			t.Errorf("reader %d got %d of %d updates", i, n, updates)
		}
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	in := start(t, app.Config{})
	in.mockSession(t, "s")
	ended := make(chan struct{})
	begun := make(chan struct{}, 1)
	go func() {
		defer close(ended)
		in.events(t, "/v1/acp/s", nil, nil, func(event) bool {
			select {
			case begun <- struct{}{}:
			default:
			}
			return false
		})
	}()
	<-begun
	in.stop()
	<-ended
}

func TestRestartKeepsEvents(t *testing.T) {
	data := t.TempDir()
	in := start(t, app.Config{DataDir: data})
	in.mockSession(t, "s")
	in.stop()
	again := start(t, app.Config{DataDir: data})
	zero := uint64(0)
	all := again.events(t, "/v1/acp/s", &zero, nil, func(e event) bool { return strings.Contains(e.Data, "agent_exited") })
	contiguous(t, 0, all)
	if len(all) < 3 {
		t.Errorf("only %d events survived", len(all))
	}
	var problem api.Error
	if err := json.Unmarshal([]byte(again.check(t, scenario{method: "POST", path: "/v1/acp/s", header: jsonHeader, body: `{"id":5,"method":"x"}`, status: 500})), &problem); err != nil || problem.Code != api.CodeAgentProcessExited {
		t.Errorf("problem %+v %v", problem, err)
	}
	again.rpc(t, "/v1/acp/s?agent=mock", `{"jsonrpc":"2.0","id":6,"method":"initialize","params":{"protocolVersion":1}}`)
}

// An agent starts although the directory in which the server was started is gone.
func TestAgentStartsWithoutTheDirectoryOfTheServer(t *testing.T) {
	in := start(t, app.Config{})
	gone := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	in.check(t, scenario{method: "POST", path: "/v1/acp/x?agent=mock", header: jsonBody, body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`, status: 200, want: []string{`"protocolVersion":1`}})
	in.check(t, scenario{method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock"}`, status: 201, want: []string{`"status":"idle"`}})
}
