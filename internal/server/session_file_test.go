package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

var linesBody = map[string]string{"Content-Type": "application/x-ndjson"}

// sessionFile is an export of sessions that have some events of a size each.
func sessionFile(ids []string, events, size int) string {
	var b strings.Builder
	b.WriteString(`{"type":"journal","format":1}` + "\n")
	for _, id := range ids {
		fmt.Fprintf(&b, `{"type":"record","kind":"session","id":%q,"data":{"id":%[1]q,"agent":"mock","agentSessionId":"of-%[1]s","createdAt":1,"updatedAt":1,"cwd":"/"}}`+"\n", id)
	}
	for _, id := range ids {
		for seq := range events {
			fmt.Fprintf(&b, `{"type":"entry","stream":"session/%s","seq":%d,"time":%d,"dir":"agent","frame":{"jsonrpc":"2.0","method":"x","params":%q}}`+"\n",
				id, seq+1, 1800000000000+seq, strings.Repeat("x", size))
		}
	}
	fmt.Fprintf(&b, `{"type":"end","records":%d,"streams":%[1]d,"entries":%d}`+"\n", len(ids), len(ids)*events)
	return b.String()
}

// eventsIn returns how many events an export has of each session, which must be
// whole and have every event once.
func eventsIn(t *testing.T, file string) map[string]uint64 {
	t.Helper()
	last := map[string]uint64{}
	for line := range strings.Lines(file) {
		e := decode[struct {
			Type, Stream string
			Seq          uint64
		}](t, line)
		if e.Type != "entry" {
			continue
		}
		id := strings.TrimPrefix(e.Stream, "session/")
		if last[id]++; e.Seq != last[id] {
			t.Fatalf("event %d of %s is at place %d", e.Seq, id, last[id])
		}
	}
	if !strings.Contains(file, "\n"+`{"type":"end",`) || !strings.HasSuffix(file, "}\n") {
		t.Fatalf("the file is cut")
	}
	return last
}

func (in *instance) session(t *testing.T, id string) api.Session {
	t.Helper()
	return decode[api.Session](t, in.check(t, scenario{path: "/v1/sessions/" + id, status: 200}))
}

func TestSessionFiles(t *testing.T) {
	in := start(t, app.Config{Token: "secret", Limits: api.Limits{MaxSessions: 3, MaxUploadBytes: 20_000, MaxFrameBytes: 10}})
	post := func(name, body string, status int, want ...string) scenario {
		return scenario{name: name, method: "POST", path: "/v1/sessions/import", status: status, body: body, want: want,
			header: map[string]string{"Content-Type": "application/x-ndjson; charset=utf-8", "Authorization": "Bearer secret"}}
	}
	get := func(name, query string, status int, want ...string) scenario {
		return scenario{name: name, path: "/v1/sessions/export" + query, status: status, want: want, header: map[string]string{"Authorization": "Bearer secret"}}
	}
	one := sessionFile([]string{"one"}, 3, 10)
	head, record, _ := strings.Cut(one, "\n")
	record, _, _ = strings.Cut(record, "\n")
	with := func(line string, records, streams, entries int) string {
		return fmt.Sprintf("%s\n%s\n%s\n"+`{"type":"end","records":%d,"streams":%d,"entries":%d}`, head, record, line, records, streams, entries)
	}
	config := `{"type":"record","kind":"session-config","id":"%s","data":%s}`
	in.run(t, []scenario{
		get("none", "", 200, `{"type":"end","records":0,"streams":0,"entries":0}`),
		{name: "export without a token", path: "/v1/sessions/export", status: 401},
		{name: "import without a token", method: "POST", path: "/v1/sessions/import", header: linesBody, body: one, status: 401},
		{name: "import of another type", method: "POST", path: "/v1/sessions/import", status: 415, body: one,
			header: map[string]string{"Authorization": "Bearer secret", "Content-Type": "application/json"}, want: []string{"application/x-ndjson"}},
		get("id that is not there", "?ids=nobody", 404, `"code":"session_not_found"`),
		get("no id", "?ids=", 404, `"code":"session_not_found"`),

		{name: "session of a route's name", method: "POST", path: "/v1/sessions", status: 400, body: `{"agent":"mock","id":"export"}`,
			header: map[string]string{"Authorization": "Bearer secret", "Content-Type": "application/json"}, want: []string{`"code":"invalid_session_id"`}},

		post("nothing", "", 400, `"code":"invalid_request"`),
		post("cut", one[:strings.LastIndex(one, `{"type":"end"`)], 400, `"code":"invalid_request"`, "the end is missing"),
		post("cut line", one[:len(one)-3], 400, `"code":"invalid_request"`, "line 6 of the export"),
		post("event missing", strings.Replace(one, `"entries":3`, `"entries":4`, 1), 400, `"code":"invalid_request"`),
		post("id of a route", sessionFile([]string{"import"}, 1, 1), 400, `"code":"invalid_session_id"`),
		post("id of another", strings.Replace(one, `{"id":"one"`, `{"id":"two"`, 1), 400, `"code":"invalid_session_id"`),
		post("no session", strings.Replace(one, `"data":{`, `"data":{"bound":1,`, 1), 400, "read session one"),
		post("record of something else", with(`{"type":"record","kind":"connection","id":"c","data":{}}`, 2, 0, 0), 400, "no record of a session"),
		post("stream of something else", with(`{"type":"entry","stream":"acp/x","seq":1,"time":1,"dir":"agent","frame":{}}`, 1, 1, 1), 400, "no stream of a session"),
		post("configuration of another", with(fmt.Sprintf(config, "two/mcp", "{}"), 2, 0, 0), 400, "no record of a session"),
		post("configuration of no kind", with(fmt.Sprintf(config, "one/x", "{}"), 2, 0, 0), 400, "no record of a session"),
		post("configuration that is none", with(fmt.Sprintf(config, "one/mcp", `{"mcpServers":{"a":1}}`), 2, 0, 0), 400, "read configuration one/mcp"),
		post("many sessions", sessionFile([]string{"a", "b", "c", "d"}, 1, 1), 503, `"code":"limit_exceeded"`, `"limit":"maxSessions"`),
		post("large file", sessionFile([]string{"a"}, 3, 10_000), 413, `"code":"limit_exceeded"`, "maxUploadBytes (20000)"),
		{name: "still none", path: "/v1/sessions", header: map[string]string{"Authorization": "Bearer secret"}, status: 200, want: []string{`"total":0`}},

		post("one", one, 200, `{"sessions":["one"],"events":3}`),
		post("one again", one, 409, `"code":"session_already_exists"`, `"sessionId":"one"`),
		post("one and others", sessionFile([]string{"a", "one"}, 1, 1), 409, `"code":"session_already_exists"`),
		post("events whose session is lost", strings.NewReplacer(record+"\n", "", `"records":1`, `"records":0`).Replace(one), 200, `{"sessions":[],"events":0}`),
		post("another with the agent's id for one", strings.ReplaceAll(sessionFile([]string{"two"}, 1, 1), "of-two", "of-one"), 200),
		{name: "which is that of one", path: "/v1/sessions/of-one", header: map[string]string{"Authorization": "Bearer secret"}, status: 200, want: []string{`"id":"one"`}},
		get("export", "?ids=of-one,one", 200, `"id":"one"`, `{"type":"end","records":1,"streams":1,"entries":3}`),
	})
	in.check(t, scenario{method: "HEAD", path: "/v1/sessions/export", header: map[string]string{"Authorization": "Bearer secret"}, status: 200,
		headers: map[string]string{"Content-Type": "application/x-ndjson"}})
	in.check(t, scenario{path: "/v1/sessions?q=one", header: map[string]string{"Authorization": "Bearer secret"}, status: 200, want: []string{`"total":2`, `"lastEvent":3`}})

	large := start(t, app.Config{Limits: api.Limits{MaxFrameBytes: 10, MaxBodyBytes: 10, MaxContentBytes: 10}})
	large.check(t, scenario{method: "POST", path: "/v1/sessions/import", header: linesBody, status: 413, body: sessionFile([]string{"one"}, 1, 2<<20),
		want: []string{`"code":"limit_exceeded"`, "maxFrameBytes"}})
}

// TestMoveSessions takes the sessions of a server while their agents work and five
// readers follow, to another one, where they go on.
func TestMoveSessions(t *testing.T) {
	from := start(t, app.Config{})
	from.create(t, `,"id":"talk","env":{"KEY":"kept"}`)
	from.create(t, `,"id":"busy"`)
	from.check(t, scenario{method: "PUT", path: "/v1/sessions/talk/mcp/config", header: jsonBody, body: `{"mcpServers":{"tool":{"type":"local","command":"true","cwd":"sub"}}}`, status: 204})
	from.check(t, scenario{method: "POST", path: "/v1/sessions/talk/prompt", header: jsonBody, body: `{"prompt":"my word is pelican"}`, status: 200})
	async := map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}
	from.check(t, scenario{method: "POST", path: "/v1/sessions/talk/prompt", header: async, body: `{"prompt":"/silence"}`, status: 202})
	from.check(t, scenario{method: "POST", path: "/v1/sessions/busy/prompt", header: async, body: `{"prompt":"/burst 1000000"}`, status: 202})

	var readers sync.WaitGroup
	begun, ended := make(chan struct{}, 5), make(chan struct{})
	for range 5 {
		readers.Go(func() {
			req, err := http.NewRequest(http.MethodGet, from.url+"/v1/sessions/busy/events/stream", nil)
			if err != nil {
				t.Error(err)
				return
			}
			next := uint64(1)
			from.stream(t, req, func(_, data string) bool {
				if e := decode[api.SessionEvent](t, data); e.EventIndex != next {
					t.Errorf("event %d came as number %d", e.EventIndex, next)
				}
				if next++; next == 1000 {
					begun <- struct{}{}
				}
				select {
				case <-ended:
					return true
				default:
					return false
				}
			})
		})
	}
	for range 5 {
		<-begun
	}
	before := map[string]uint64{"talk": from.session(t, "talk").LastEvent, "busy": from.session(t, "busy").LastEvent}
	file := from.check(t, scenario{path: "/v1/sessions/export", status: 200})
	after := map[string]uint64{"talk": from.session(t, "talk").LastEvent, "busy": from.session(t, "busy").LastEvent}
	close(ended)
	from.check(t, scenario{method: "POST", path: "/v1/sessions/busy/cancel", status: 200})
	readers.Wait()
	got := eventsIn(t, file)
	for id := range before {
		if got[id] < before[id] || got[id] > after[id] {
			t.Errorf("%s had %d events before the export and %d behind it; the file has %d", id, before[id], after[id], got[id])
		}
	}

	to := start(t, app.Config{})
	result := decode[api.SessionImport](t, to.check(t, scenario{method: "POST", path: "/v1/sessions/import?keep=env,mcp", header: linesBody, body: file, status: 200}))
	if len(result.Sessions) != 2 || result.Events != int(got["talk"]+got["busy"]) {
		t.Errorf("imported %+v", result)
	}
	for id, last := range got {
		s := to.session(t, id)
		if s.Status != api.SessionStopped || s.Turn != "" || s.LastEvent <= last {
			t.Errorf("session is %+v", s)
		}
	}
	to.run(t, []scenario{
		{name: "found", path: "/v1/sessions?q=PELICAN", status: 200, want: []string{`"total":1`, `"id":"talk"`}},
		{name: "read", path: "/v1/sessions/talk/transcript", status: 200, want: []string{"user: my word is pelican", "The turn ended: the session was moved"}},
		{name: "configured", path: "/v1/sessions/talk/mcp/config", status: 200, want: []string{`"tool"`}},
		{name: "prompted", method: "POST", path: "/v1/sessions/talk/prompt", header: jsonBody, body: `{"prompt":"what did I say"}`, status: 200, want: []string{"pelican"}},
		{name: "with its servers", path: "/v1/sessions/talk/events?limit=1000", status: 200, want: []string{`"mcpServers":[{"name":"tool"`, filepath.Join(from.home, "sub")}},
		{name: "and environment", path: "/v1/sessions/export?ids=talk", status: 200, want: []string{`"env":{"KEY":"{{secret KEY}}"}`}},
		{name: "purged", method: "DELETE", path: "/v1/sessions/talk?purge=true", status: 204},
	})
	// What was purged may come again, and has nothing of before.
	only := from.check(t, scenario{path: "/v1/sessions/export?ids=talk", status: 200})
	to.check(t, scenario{method: "POST", path: "/v1/sessions/import", header: linesBody, body: only, status: 200, want: []string{`{"sessions":["talk"]`}})
	if again := to.session(t, "talk"); again.Status != api.SessionStopped {
		t.Errorf("session is %+v", again)
	}
}

// upload begins an import that gets its file piece by piece.
func (in *instance) upload(t *testing.T) (body *io.PipeWriter, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.url+"/v1/sessions/import", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", linesBody["Content-Type"])
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := in.client.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	return w, func() {
		cancel()
		r.Close() // which the client waits for
		<-done
	}
}

// written is how much there is on disk of the journal in a folder.
func written(dir string) (bytes int64) {
	names, _ := filepath.Glob(filepath.Join(dir, "journal.db*"))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// TestLeaveImport ends an import in its middle. While it goes on nobody else gets
// its ids, and afterwards nothing is left of it.
func TestLeaveImport(t *testing.T) {
	dir := t.TempDir()
	in := start(t, app.Config{DataDir: dir})
	file := sessionFile([]string{"a", "b"}, 2000, 2000)
	before := written(dir)
	body, leave := in.upload(t)
	if _, err := io.WriteString(body, file[:len(file)*3/4]); err != nil {
		t.Fatal(err)
	}
	await(t, "a part to be written", func() bool { return written(dir) > before+4<<20 })
	in.run(t, []scenario{
		{name: "not there", path: "/v1/sessions", status: 200, want: []string{`"total":0`}},
		{name: "not to be read", path: "/v1/sessions/a/events", status: 404},
		{name: "not in an export", path: "/v1/sessions/export", status: 200, want: []string{`"records":0,"streams":0`}},
		{name: "not free", method: "POST", path: "/v1/sessions", header: jsonBody, body: `{"agent":"mock","id":"a"}`, status: 409, want: []string{`"code":"session_already_exists"`}},
		{name: "not free for another import", method: "POST", path: "/v1/sessions/import", header: linesBody, body: file, status: 409, want: []string{`"code":"session_already_exists"`}},
	})
	leave()
	await(t, "the ids to be free", func() bool {
		req, err := http.NewRequest(http.MethodPost, in.url+"/v1/sessions/import", strings.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", linesBody["Content-Type"])
		resp, err := in.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if s := in.session(t, "b"); s.LastEvent != 2000 {
		t.Errorf("session is %+v", s)
	}
}

// TestLeaveExport ends an export in its middle; the next one is whole.
func TestLeaveExport(t *testing.T) {
	in := start(t, app.Config{})
	file := sessionFile([]string{"a"}, 20_000, 1000)
	in.check(t, scenario{method: "POST", path: "/v1/sessions/import", header: linesBody, body: file, status: 200})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+"/v1/sessions/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := in.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	if got := eventsIn(t, in.check(t, scenario{path: "/v1/sessions/export", status: 200})); got["a"] != 20_000 {
		t.Errorf("there are %d events", got["a"])
	}
}

// TestKillServerInImport kills the server when it has had a part of a file, or all
// of it: then all sessions are there, or none and nothing that is in the way.
func TestKillServerInImport(t *testing.T) {
	var ids []string
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("s%d", i))
	}
	file := sessionFile(ids, 100, 2000)
	dir := t.TempDir()
	for round := range 12 {
		in, cmd := startChild(t, dir)
		body, leave := in.upload(t)
		eighths := min(round, 8)
		io.WriteString(body, file[:len(file)*eighths/8]) // fails once they are there
		if eighths == 8 {
			body.Close()
		}
		if err := cmd.Kill(); err != nil {
			t.Fatal(err)
		}
		leave()
	}
	in, _ := startChild(t, dir)
	list := decode[api.SessionList](t, in.check(t, scenario{path: "/v1/sessions", status: 200}))
	switch list.Total {
	case 0:
		in.check(t, scenario{method: "POST", path: "/v1/sessions/import", header: linesBody, body: file, status: 200})
	case len(ids):
	default:
		t.Errorf("there are %d sessions", list.Total)
	}
	for id, last := range eventsIn(t, in.check(t, scenario{path: "/v1/sessions/export", status: 200})) {
		if last != 100 {
			t.Errorf("%s has %d events", id, last)
		}
	}
}
