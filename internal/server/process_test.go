package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

var jsonHeader = map[string]string{"Content-Type": "application/json"}

func post(name, path, body string, status int, want ...string) scenario {
	return scenario{name: name, method: "POST", path: path, header: jsonHeader, body: body, status: status, want: want}
}

func TestProcessRoutes(t *testing.T) {
	in := start(t, app.Config{})
	const sleep = `{"command":"sleep","args":["1000"],"cwd":null,"unknown":1}`
	in.run(t, []scenario{
		{name: "empty list", path: "/v1/processes", status: 200, want: []string{`{"processes":[]}`}},
		{name: "bad owner", path: "/v1/processes?owner=zzz", status: 400, want: []string{"invalid_query"}},
		post("blank command", "/v1/processes", `{"command":" "}`, 400, "command must not be empty"),
		post("no command", "/v1/processes", `{}`, 422, "command"),
		post("no JSON", "/v1/processes", `{`, 400),
		{name: "other type", method: "POST", path: "/v1/processes", header: map[string]string{"Content-Type": "text/plain"}, body: `{"command":"true"}`, status: 415, want: []string{"unsupported_media_type"}},
		{name: "no type", method: "POST", path: "/v1/processes", body: `{"command":"true"}`, status: 415, want: []string{"content-type must be application/json"}},
		post("unknown program", "/v1/processes", `{"command":"/none"}`, 502, "failed to spawn process"),
		post("unknown program with tty", "/v1/processes", `{"command":"/none","tty":true}`, 502, "failed to spawn tty process"),
		post("create", "/v1/processes", sleep, 200, `{"id":"proc_3","command":"sleep","args":["1000"],"tty":false,"interactive":false,"owner":"user","status":"running","pid":`),
		{name: "get", path: "/v1/processes/proc_3", status: 200, want: []string{`"status":"running"`}},
		{name: "get unknown", path: "/v1/processes/nope", status: 404, want: []string{`"detail":"not found: process nope"`, `"details":{"id":"nope","resource":"process"}`}},
		{name: "delete running", method: "DELETE", path: "/v1/processes/proc_3", status: 409, want: []string{"process is still running; stop or kill it before delete"}},
		{name: "resize without terminal", method: "POST", path: "/v1/processes/proc_3/terminal/resize", header: jsonHeader, body: `{"cols":1,"rows":1}`, status: 409, want: []string{"process is not running in tty mode"}},
		post("resize out of range", "/v1/processes/proc_3/terminal/resize", `{"cols":70000,"rows":1}`, 422),
		post("resize below range", "/v1/processes/proc_3/terminal/resize", `{"cols":1,"rows":-1}`, 422),
		{name: "terminal without terminal", path: "/v1/processes/proc_3/terminal/ws", status: 409, want: []string{"not_a_terminal"}},
		{name: "terminal of nothing", path: "/v1/processes/nope/terminal/ws", status: 404},
		post("input", "/v1/processes/proc_3/input", `{"data":"aGk="}`, 200, `{"bytesWritten":2}`),
		post("text input", "/v1/processes/proc_3/input", `{"data":"hello","encoding":"text"}`, 200, `{"bytesWritten":5}`),
		post("null encoding", "/v1/processes/proc_3/input", `{"data":"aGk=","encoding":null}`, 200, `{"bytesWritten":2}`),
		post("bad input of unknown", "/v1/processes/nope/input", `{"data":"!"}`, 400, "invalid base64 input"),
		post("bad encoding", "/v1/processes/proc_3/input", `{"data":"","encoding":"hex"}`, 400, "encoding must be one of: base64, utf8, text"),
		post("large input of unknown", "/v1/processes/nope/input", `{"encoding":"text","data":"`+strings.Repeat("x", 65537)+`"}`, 413, "input payload exceeds maxInputBytesPerRequest (65536)"),
		post("input of unknown", "/v1/processes/nope/input", `{"data":""}`, 404),
		post("close stdin", "/v1/processes/proc_3/stdin/close", ``, 200, `"id":"proc_3"`),
		post("input after that", "/v1/processes/proc_3/input", `{"data":""}`, 409, "process does not accept stdin"),
		{name: "bad stream", path: "/v1/processes/proc_3/logs?stream=zz", status: 400},
		{name: "bad since", path: "/v1/processes/proc_3/logs?since=x", status: 400},
		{name: "bad tail", path: "/v1/processes/proc_3/logs?tail=-1", status: 400},
		{name: "bad follow", path: "/v1/processes/proc_3/logs?follow=1", status: 400},
		{name: "empty log", path: "/v1/processes/proc_3/logs", status: 200, want: []string{`{"processId":"proc_3","stream":"combined","entries":[]}`}},
		{name: "log of unknown", path: "/v1/processes/nope/logs?follow=true", status: 404},
		{name: "unknown signal", method: "POST", path: "/v1/processes/proc_3/stop?signal=NOPE", status: 400, want: []string{"unknown_signal"}},
		{name: "bad wait", method: "POST", path: "/v1/processes/proc_3/stop?waitMs=x", status: 400},
		{name: "stop with signal", method: "POST", path: "/v1/processes/proc_3/stop?signal=INT&waitMs=60000", status: 200, want: []string{`"status":"exited","exitSignal":"SIGINT"`}, not: []string{"exitCode", `"pid"`}},
		{name: "stop again", method: "POST", path: "/v1/processes/proc_3/stop", status: 200, want: []string{"SIGINT"}},
		post("kill, signal in body", "/v1/processes/proc_3/kill", `{"signal":"SIGTERM"}`, 200),
		post("kill, number in body", "/v1/processes/proc_3/kill", `{"signal":15}`, 200),
		post("kill, unknown in body", "/v1/processes/proc_3/kill", `{"signal":"x"}`, 400, "unknown_signal"),
		{name: "kill of unknown", method: "POST", path: "/v1/processes/nope/kill", status: 404},
		post("signal without one", "/v1/processes/proc_3/signal", ``, 400, "unknown_signal"),
		{name: "delete", method: "DELETE", path: "/v1/processes/proc_3", status: 204},
		{name: "delete again", method: "DELETE", path: "/v1/processes/proc_3", status: 404},
		post("run", "/v1/processes/run", `{"command":"sh","args":["-c","echo out; echo err >&2; exit 3"]}`, 200,
			`{"exitCode":3,"timedOut":false,"stdout":"out\n","stderr":"err\n","stdoutTruncated":false,"stderrTruncated":false,"durationMs":`),
		post("run out of time", "/v1/processes/run", `{"command":"sleep","args":["1000"],"timeout":0.1}`, 200, `{"exitCode":null,"timedOut":true`),
		post("run truncates", "/v1/processes/run", `{"command":"echo","args":["hello"],"maxOutputBytes":2}`, 200, `"stdout":"he"`, `"stdoutTruncated":true`),
		post("run unknown", "/v1/processes/run", `{"command":"no-such-program"}`, 502, `"code":"program_not_found"`),
		post("run nowhere", "/v1/processes/run", `{"command":"true","cwd":"/none"}`, 502, "failed to spawn process: chdir /none: no such file or directory", `"code":"path_not_found"`),
		{name: "config", path: "/v1/processes/config", status: 200, want: []string{`{"maxConcurrentProcesses":64,"defaultRunTimeoutMs":30000,"maxRunTimeoutMs":300000,"maxOutputBytes":1048576,"maxLogBytesPerProcess":10485760,"maxInputBytesPerRequest":65536}`}},
		post("zero in config", "/v1/processes/config", `{"maxOutputBytes":0}`, 400, "byte limits must be greater than 0"),
		post("part of config", "/v1/processes/config", `{"maxConcurrentProcesses":1}`, 200, `{"maxConcurrentProcesses":1,"defaultRunTimeoutMs":30000`),
		post("one process", "/v1/processes", sleep, 200),
		post("one too many", "/v1/processes", sleep, 409, "max concurrent process limit reached (1)"),
	})
}

func createProcess(t *testing.T, in *instance, req api.ProcessCreateRequest) string {
	t.Helper()
	data, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var info api.ProcessInfo
	if err := json.Unmarshal([]byte(in.check(t, post("create", "/v1/processes", string(data), 200))), &info); err != nil {
		t.Fatal(err)
	}
	return info.ID
}

func TestProcessLogStream(t *testing.T) {
	in := start(t, app.Config{})
	id := createProcess(t, in, api.ProcessCreateRequest{Command: "sh", Args: []string{"-c", `echo one; read x; echo two; exit 5`}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	read := func(after string) (text string, last string) {
		req, err := http.NewRequestWithContext(ctx, "GET", in.url+"/v1/processes/"+id+"/logs?follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		if after != "" {
			req.Header.Set("Last-Event-ID", after)
		}
		resp, err := in.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for e := range testkit.Events(resp.Body) {
			switch e.Name {
			case "log":
				last = strconv.FormatUint(e.ID, 10)
				var entry api.LogEntry
				if err := json.Unmarshal([]byte(e.Data), &entry); err != nil || entry.Encoding != "base64" || fmt.Sprint(entry.Sequence) != last {
					t.Errorf("entry %s: %v", e.Data, err)
				}
				if text += string(entry.Data); text == "one\n" {
					in.check(t, post("go on", "/v1/processes/"+id+"/input", `{"data":"Cg=="}`, 200))
				}
			case "exit":
				text += e.Data
			}
		}
		return text, last
	}
	text, last := read("")
	if !strings.HasPrefix(text, "one\ntwo\n{") || !strings.Contains(text, `"exitCode":5`) {
		t.Errorf("stream = %q", text)
	}
	if text, _ := read(last); !strings.HasPrefix(text, "{") {
		t.Errorf("stream after the last entry = %q", text)
	}
	if text, _ := read("1"); !strings.HasPrefix(text, "two\n{") {
		t.Errorf("stream after the first entry = %q", text)
	}
}

// More than a log holds, written as fast as it goes, comes whole through a stream
// that is open.
func TestProcessLogStreamLosesNothing(t *testing.T) {
	const size = 8 << 20
	in := start(t, app.Config{Limits: api.Limits{FollowStallMs: 600_000}})
	in.check(t, post("small log", "/v1/processes/config", `{"maxLogBytesPerProcess":200000}`, 200))
	id := createProcess(t, in, api.ProcessCreateRequest{Command: "sh", Args: []string{"-c", fmt.Sprintf(`read go; head -c %d /dev/zero`, size)}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", in.url+"/v1/processes/"+id+"/logs?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := in.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in.check(t, post("go", "/v1/processes/"+id+"/input", `{"data":"Cg=="}`, 200))
	got, next := 0, uint64(1)
	for event := range testkit.Events(resp.Body) {
		if event.Name == "gap" {
			t.Fatalf("gap after %d bytes", got)
		}
		if event.Name != "log" {
			continue
		}
		var e api.LogEntry
		if err := json.Unmarshal([]byte(event.Data), &e); err != nil || e.Sequence != next || e.Encoding != "base64" || e.Stream != api.LogStdout {
			t.Fatalf("entry %.200s, want sequence %d, %v", event.Data, next, err)
		}
		next++
		got += len(e.Data)
	}
	if got != size {
		t.Errorf("got %d of %d bytes", got, size)
	}
}

// viewer is the client side of a terminal.
type viewer struct {
	t    *testing.T
	ctx  context.Context
	conn *websocket.Conn
}

func connect(t *testing.T, in *instance, id, query string) *viewer {
	t.Helper()
	return connectWith(t, in, id, query, nil)
}

// connectWith is connect with a function for the pings of the server.
func connectWith(t *testing.T, in *instance, id, query string, pinged func(context.Context, []byte) bool) *viewer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, in.url+"/v1/processes/"+id+"/terminal/ws"+query, &websocket.DialOptions{HTTPClient: in.client, OnPingReceived: pinged})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(-1)
	v := &viewer{t, ctx, conn}
	if ready := v.event(); ready.Type != "ready" || ready.ProcessID != id {
		t.Errorf("first frame = %+v", ready)
	}
	return v
}

func (v *viewer) send(frame string) {
	v.t.Helper()
	if err := v.conn.Write(v.ctx, websocket.MessageText, []byte(frame)); err != nil {
		v.t.Error(err)
	}
}

// event skips output up to the next text frame.
func (v *viewer) event() api.TerminalEvent {
	v.t.Helper()
	for {
		kind, data, err := v.conn.Read(v.ctx)
		if err != nil {
			v.t.Fatal(err)
		}
		var event api.TerminalEvent
		if kind == websocket.MessageText {
			if err := json.Unmarshal(data, &event); err != nil {
				v.t.Fatal(err)
			}
			return event
		}
	}
}

// until reads output until it ends with want.
func (v *viewer) until(want string) []byte {
	v.t.Helper()
	var got []byte
	for !bytes.HasSuffix(got, []byte(want)) {
		kind, data, err := v.conn.Read(v.ctx)
		if err != nil || kind != websocket.MessageBinary {
			v.t.Fatalf("after %d bytes, ending in %q: frame %s, %v", len(got), got[max(0, len(got)-40):], data, err)
		}
		got = append(got, data...)
	}
	return got
}

func (v *viewer) closed(want websocket.StatusCode) {
	v.t.Helper()
	for {
		_, _, err := v.conn.Read(v.ctx)
		if err == nil {
			continue
		}
		if got := websocket.CloseStatus(err); got != want {
			v.t.Errorf("close code %d (%v), want %d", got, err, want)
		}
		return
	}
}

// What is between a terminal and its viewer closes connections on which nothing
// happens, so that something does. A viewer that does not answer stays.
func TestIdleTerminalIsPinged(t *testing.T) {
	t.Parallel()
	in := start(t, app.Config{})
	id := createProcess(t, in, api.ProcessCreateRequest{TTY: true, Command: "sh", Args: []string{"-c", `stty -echo; echo hello; read line; echo "got $line"`}})
	var viewers []*viewer
	for _, answers := range []bool{true, false} {
		pings := make(chan struct{}, 1)
		v := connectWith(t, in, id, "?since=0", func(context.Context, []byte) bool {
			select {
			case pings <- struct{}{}:
			default:
			}
			return answers
		})
		viewers = append(viewers, v)
		v.until("hello\r\n")
		go func() {
			<-pings
			v.send(`{"type":"foo"}`) // is answered by an error, which ends the wait below
		}()
	}
	for _, v := range viewers {
		if event := v.event(); event.Type != "error" {
			t.Errorf("after a ping came %+v", event)
		}
	}
	viewers[0].send(`{"type":"input","data":"text\n"}`)
	for _, v := range viewers {
		v.until("got text\r\n")
		if event := v.event(); event.Type != "exit" {
			t.Errorf("at the end came %+v", event)
		}
	}
}

func TestTerminal(t *testing.T) {
	in := start(t, app.Config{})
	id := createProcess(t, in, api.ProcessCreateRequest{TTY: true, Command: "sh", Args: []string{"-c",
		`stty -echo; echo hello; while read line; do case $line in size) stty size;; flood) head -c 2000000 /dev/zero | tr '\0' x; echo .;; end) exit 4;; *) echo "got $line";; esac; done`}})
	a := connect(t, in, id, "?since=0")
	a.until("hello\r\n")
	b := connect(t, in, id, "")

	a.send(`{"type":"input","data":"text\n"}`)
	a.until("got text\r\n")
	b.until("got text\r\n")
	b.send(`{"type":"input","encoding":"base64","data":"` + base64.StdEncoding.EncodeToString([]byte("bin\n")) + `"}`)
	a.until("got bin\r\n")
	a.send(`{"type":"resize","cols":132,"rows":50}`)
	a.send(`{"type":"input","data":"size\n","encoding":null}`)
	a.until("50 132\r\n")

	for frame, want := range map[string]string{
		`nope`:                           "invalid terminal frame",
		`{"type":"foo"}`:                 "unknown type `foo`",
		`{"type":"resize","cols":70000}`: "invalid terminal frame",
		`{"type":"input","data":"!","encoding":"base64"}`:              "invalid base64 input",
		`{"type":"input","data":"","encoding":"hex"}`:                  "encoding must be one of",
		`{"type":"input","data":"` + strings.Repeat("x", 65537) + `"}`: "input payload exceeds maxInputBytesPerRequest (65536)",
	} {
		a.send(frame)
		if event := a.event(); event.Type != "error" || !strings.Contains(event.Message, want) {
			t.Errorf("%.60s: %+v, want %s", frame, event, want)
		}
	}
	if err := a.conn.Write(a.ctx, websocket.MessageBinary, []byte("x")); err != nil {
		t.Error(err)
	}
	if event := a.event(); event.Type != "error" || !strings.Contains(event.Message, "binary input is not supported") {
		t.Errorf("binary frame: %+v", event)
	}

	// b reads nothing while a reads all, and then misses nothing.
	b.until("50 132\r\n")
	a.send(`{"type":"input","data":"flood\n"}`)
	whole := a.until(".\r\n")
	if bytes.Count(whole, []byte("x")) != 2000000 {
		t.Errorf("got %d bytes", len(whole))
	}
	if got := b.until(".\r\n"); !bytes.Equal(got, whole) {
		t.Errorf("slow viewer got %d of %d bytes", len(got), len(whole))
	}

	a.send(`{"type":"close"}`)
	a.closed(websocket.StatusNormalClosure)
	b.send(`{"type":"input","data":"end\n"}`)
	if event := b.event(); event.Type != "exit" || event.ExitCode == nil || *event.ExitCode != 4 {
		t.Errorf("last event = %+v", event)
	}
	b.closed(websocket.StatusNormalClosure)

	late := connect(t, in, id, "")
	if event := late.event(); event.Type != "exit" || event.ExitCode == nil || *event.ExitCode != 4 {
		t.Errorf("attached after the end: %+v", event)
	}
	late.closed(websocket.StatusNormalClosure)
	if got := connect(t, in, id, "?since=5").until(".\r\n"); !bytes.HasPrefix(got, []byte("\r\ngot text\r\n")) {
		t.Errorf("replay starts with %.30q", got)
	}
	in.check(t, post("resize after the end", "/v1/processes/"+id+"/terminal/resize", `{"cols":1,"rows":1}`, 409, "PTY resize handle unavailable"))
}

func TestTerminalRefusals(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	authorized := map[string]string{"Authorization": "Bearer secret", "Content-Type": "application/json"}
	in.check(t, scenario{method: "POST", path: "/v1/processes", header: authorized, body: `{"command":"cat","tty":true}`, status: 200})
	const path = "/v1/processes/proc_1/terminal/ws"
	in.run(t, []scenario{
		{name: "no token", path: path, status: 401},
		{name: "bad token", path: path + "?access_token=x", status: 401},
		{name: "no upgrade", path: path + "?access_token=secret", status: 400, want: []string{"Connection header did not include 'upgrade'"}},
		{name: "bad offset", path: path + "?access_token=secret&since=x", status: 400},
		{name: "foreign origin", path: path + "?access_token=secret", header: map[string]string{"Origin": "https://evil.example"}, status: 403, want: []string{"origin_forbidden"}},
	})
}

// A server that stops says so to every viewer, of a busy terminal too.
func TestTerminalGoesAway(t *testing.T) {
	in := start(t, app.Config{Limits: api.Limits{ShutdownTimeoutMs: 600_000}})
	quiet := connect(t, in, createProcess(t, in, api.ProcessCreateRequest{Command: "cat", TTY: true}), "")
	var viewers []*viewer
	for range 4 {
		v := connect(t, in, createProcess(t, in, api.ProcessCreateRequest{Command: "yes", TTY: true}), "")
		v.until("y\r\n")
		viewers = append(viewers, v)
	}
	var stop sync.WaitGroup
	stop.Go(in.stop)
	for _, v := range append(viewers, quiet) {
		v.closed(websocket.StatusGoingAway)
	}
	stop.Wait()
}
