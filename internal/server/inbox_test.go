package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

func (in *instance) inbox(t *testing.T) api.PermissionInbox {
	t.Helper()
	return decode[api.PermissionInbox](t, in.check(t, scenario{path: "/v1/permissions", status: 200}))
}

// permissionEvents reads the stream behind after until done says so.
func (in *instance) permissionEvents(t *testing.T, after uint64, done func(api.PermissionEvent) bool) (all []api.PermissionEvent) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/v1/permissions/stream?after=%d", in.url, after), nil)
	if err != nil {
		t.Fatal(err)
	}
	in.stream(t, req, func(name, data string) bool {
		e := decode[api.PermissionEvent](t, data)
		all = append(all, e)
		return name == "message" && done(e)
	})
	return all
}

// askAsync has the agent of a session ask for a permission.
func (in *instance) askAsync(t *testing.T, id string) {
	t.Helper()
	header := map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}
	in.check(t, scenario{method: "POST", path: "/v1/sessions/" + id + "/prompt", header: header, body: `{"prompt":"/permission"}`, status: 202})
}

// TestPermissionsOfAllSessions follows the permission requests of several sessions,
// one of which decides for itself.
func TestPermissionsOfAllSessions(t *testing.T) {
	in := start(t, app.Config{})
	if list := in.inbox(t); len(list.Permissions) != 0 || list.Cursor != 0 {
		t.Errorf("the inbox of an empty server is %+v", list)
	}
	for _, id := range []string{"one", "two"} {
		in.create(t, `,"id":"`+id+`"`)
		in.askAsync(t, id)
	}
	in.create(t, `,"id":"allows","permissions":{"default":"allow"}`)
	in.check(t, scenario{method: "POST", path: "/v1/sessions/allows/prompt", header: jsonBody, body: `{"prompt":"/permission"}`, status: 200})
	var list api.PermissionInbox
	await(t, "both requests", func() bool { list = in.inbox(t); return len(list.Permissions) == 2 })
	if list.Cursor != 3 {
		t.Errorf("the cursor is %d after 2 requests and a resolution", list.Cursor)
	}
	for _, p := range list.Permissions {
		in.check(t, scenario{method: "POST", path: "/v1/sessions/" + p.SessionID + "/permissions/" + p.ID, header: jsonBody, body: `{"reply":"once"}`, status: 200})
	}
	all := in.permissionEvents(t, 0, func(e api.PermissionEvent) bool { return e.Seq == 5 })
	asked, resolved := map[string]bool{}, map[string]string{}
	for i, e := range all {
		if e.Seq != uint64(i+1) {
			t.Errorf("event %d has the number %d", i+1, e.Seq)
		}
		switch {
		case e.Type == api.PermissionAsked && (e.Permission == nil || e.Permission.ID != e.PermissionID || e.Permission.ToolCall.Title != "Do nothing" || e.Permission.SessionID != e.SessionID):
			t.Errorf("the event that asks is %+v", e)
		case e.Type == api.PermissionAsked:
			asked[e.PermissionID] = true
		case e.Resolved == nil || e.Resolved.PermissionID != e.PermissionID:
			t.Errorf("the event that resolves is %+v", e)
		default:
			resolved[e.PermissionID] = e.Resolved.By
		}
		if strings.HasPrefix(e.PermissionID, "perm-allows") && e.Type == api.PermissionAsked {
			t.Error("a request that the policy decides is asked")
		}
	}
	if len(asked) != 2 || len(resolved) != 3 {
		t.Errorf("asked %v, resolved %v", asked, resolved)
	}
	if list := in.inbox(t); len(list.Permissions) != 0 || list.Cursor != 5 {
		t.Errorf("the inbox is %+v", list)
	}
	rest := in.permissionEvents(t, 3, func(e api.PermissionEvent) bool { return e.Seq == 5 })
	if len(rest) != 2 || rest[0].Seq != 4 {
		t.Errorf("behind 3 there are %+v", rest)
	}

	// Nothing of what was asked is left of a session that is purged.
	in.check(t, scenario{method: "DELETE", path: "/v1/sessions/one?purge=true", status: 204})
	for _, e := range in.permissionEvents(t, 0, func(e api.PermissionEvent) bool { return e.Seq == 5 }) {
		if e.SessionID == "one" && e.Permission != nil {
			t.Errorf("the event of a purged session still has %+v", e.Permission)
		}
	}
	in.run(t, []scenario{
		{name: "no event stream", path: "/v1/permissions/stream", header: map[string]string{"Accept": "application/json"}, status: 406},
		{name: "cursor that is none", path: "/v1/permissions/stream?after=x", status: 400, want: []string{`"code":"invalid_cursor"`}},
		{name: "id that is none", path: "/v1/permissions/stream", header: map[string]string{"Last-Event-ID": "-1"}, status: 400, want: []string{`"code":"invalid_cursor"`}},
	})
}

// TestPermissionStreamAcrossKills kills the server again and again while sessions
// ask and clients reply. The stream tells of each request as the session does, and
// a reader that comes back with its last number gets every event once.
func TestPermissionStreamAcrossKills(t *testing.T) {
	const rounds, sessions = 4, 3
	dir := t.TempDir()
	var seen []api.PermissionEvent // by a reader that never starts over
	for round := range rounds {
		in, cmd := startChild(t, dir)
		ids := make([]string, sessions)
		for i := range ids {
			ids[i] = fmt.Sprintf("s%d-%d", round, i)
			in.create(t, `,"id":"`+ids[i]+`"`)
		}
		ctx, stop := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		for _, id := range ids {
			busy.Go(func() { in.keepAsking(ctx, id) })
		}
		busy.Go(func() { in.keepReplying(ctx) })
		after := uint64(len(seen))
		seen = append(seen, in.permissionEvents(t, after, func(e api.PermissionEvent) bool { return e.Seq >= after+20 })...)
		if err := cmd.Kill(); err != nil {
			t.Fatal(err)
		}
		stop()
		busy.Wait()
	}
	in, _ := startChild(t, dir)
	list := in.inbox(t)
	if len(list.Permissions) != 0 {
		t.Errorf("%d requests of killed agents wait", len(list.Permissions))
	}
	if after := uint64(len(seen)); after < list.Cursor {
		seen = append(seen, in.permissionEvents(t, after, func(e api.PermissionEvent) bool { return e.Seq == list.Cursor })...)
	}
	asked, resolved := map[string]int{}, map[string]int{}
	for i, e := range seen {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has the number %d", i+1, e.Seq)
		}
		if e.Type == api.PermissionAsked {
			asked[e.PermissionID]++
		} else {
			resolved[e.PermissionID]++
		}
	}
	for id, n := range asked {
		if n != 1 || resolved[id] != 1 {
			t.Errorf("%s was asked %d times and resolved %d times", id, n, resolved[id])
		}
	}
	told := 0
	for _, s := range decode[api.SessionList](t, in.check(t, scenario{path: "/v1/sessions", status: 200})).Sessions {
		for _, e := range in.sessionEvents(t, s.ID) {
			var frame struct {
				Method string
				Params api.PermissionResolved
			}
			if json.Unmarshal(e.Payload, &frame) == nil && frame.Method == api.EventPermissionResolved {
				told++
				if resolved[frame.Params.PermissionID] != 1 {
					t.Errorf("%s is resolved in its session, and %d times in the stream", frame.Params.PermissionID, resolved[frame.Params.PermissionID])
				}
			}
		}
	}
	if told != len(resolved) || told == 0 {
		t.Errorf("the sessions tell of %d resolved requests, the stream of %d", told, len(resolved))
	}
}

// keepAsking has a session ask for permissions until ctx ends or the server is gone.
func (in *instance) keepAsking(ctx context.Context, id string) {
	for in.quietly(ctx, http.MethodPost, "/v1/sessions/"+id+"/prompt", `{"prompt":"/permission","queue":true}`) != nil {
	}
}

// keepReplying replies to every permission request until ctx ends or the server is
// gone.
func (in *instance) keepReplying(ctx context.Context) {
	for {
		data := in.quietly(ctx, http.MethodGet, "/v1/permissions", "")
		var list api.PermissionInbox
		if json.Unmarshal(data, &list) != nil {
			return
		}
		for _, p := range list.Permissions {
			in.quietly(ctx, http.MethodPost, "/v1/sessions/"+p.SessionID+"/permissions/"+p.ID, `{"reply":"once"}`)
		}
	}
}

// quietly sends a request and returns the body of the response, nil when there is
// none.
func (in *instance) quietly(ctx context.Context, method, path, body string) []byte {
	req, err := http.NewRequestWithContext(ctx, method, in.url+path, strings.NewReader(body))
	if err != nil {
		return nil
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := in.client.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var data json.RawMessage
	if json.NewDecoder(resp.Body).Decode(&data) != nil {
		return nil
	}
	return data
}

// sessionEvents returns all events of a session.
func (in *instance) sessionEvents(t *testing.T, id string) (all []api.SessionEvent) {
	t.Helper()
	for cursor := "0"; cursor != ""; {
		page := decode[api.SessionEvents](t, in.check(t, scenario{path: "/v1/sessions/" + id + "/events?limit=1000&after=" + cursor, status: 200}))
		all = append(all, page.Events...)
		cursor = page.NextCursor
	}
	return all
}

// TestCheckPermissions tries policies on calls, without any of them being made.
func TestCheckPermissions(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	in.check(t, scenario{method: "PATCH", path: "/v1/sessions/s", header: jsonBody, body: `{"permissions":{"default":"allow"}}`, status: 200})
	in.check(t, scenario{method: "POST", path: "/v1/sessions/s/prompt", header: jsonBody, body: `{"prompt":"write a.txt with one"}`, status: 200})
	in.check(t, scenario{method: "POST", path: "/v1/sessions/s/prompt", header: jsonBody, body: `{"prompt":"/permission"}`, status: 200})
	const policy = `{"default":"allow","rules":[{"id":"no-rm","command":"rm *","decision":"reject"},{"id":"rm-x","command":"rm x","decision":"ask"},{"id":"all-rm","command":"rm *","decision":"allow"}]}`
	check := func(name, body string, status int, want ...string) scenario {
		return scenario{name: name, method: "POST", path: "/v1/permissions/check", header: jsonBody, body: body, status: status, want: want}
	}
	in.run(t, []scenario{
		check("a command", `{"policy":`+policy+`,"command":"rm x"}`, 200, `"decision":"reject"`, `"rule":{"id":"no-rm"`, `"beaten":[{"id":"rm-x"`, `{"id":"all-rm"`, `"commands":["rm x"]`),
		check("a tool call", `{"policy":{"default":"ask","rules":[{"kind":"edit","path":"src/**","decision":"allow"}]},"cwd":"/w","toolCall":{"toolCallId":"c","kind":"edit","locations":[{"path":"src/a"}]}}`, 200, `"decision":"allow"`, `"toolCallId":"c"`, `"paths":["/w/src/a"]`),
		check("the default", `{"policy":{"default":{"read":"allow","*":"reject"}},"toolCall":{"kind":"fetch"}}`, 200, `"decision":"reject"`),
		check("the policy of a session", `{"session":"s","command":"ls"}`, 200, `"decision":"allow"`),
		check("its calls", `{"session":"s"}`, 200, `"calls":[{"decision":"allow"`, `a.txt`, `"asked":true`, `"resolved":{"permissionId":"perm-s-`, `"by":"policy"`),
		check("its calls under another policy", `{"session":"s","policy":{"default":"allow","rules":[{"id":"no-txt","path":"**/*.txt","decision":"reject"}]}}`, 200, `"decision":"reject"`, `"no-txt"`, `"decision":"allow"`),
		check("unknown member of a rule", `{"policy":{"rules":[{"cmd":"rm *","decision":"reject"}]},"command":"rm x"}`, 422, "cmd"),
		check("unknown member", `{"policie":{},"command":"rm x"}`, 422, "policie"),
		check("rule that allows all", `{"policy":{"rules":[{"decision":"allow"}]},"command":"rm x"}`, 400, `"code":"invalid_permission_rule"`),
		check("no call", `{"policy":{}}`, 400, "give a toolCall, a command or a session"),
		check("no policy", `{"command":"ls"}`, 400, "give one, or a session"),
		check("two calls", `{"policy":{},"command":"ls","toolCall":{}}`, 400, "give one of them"),
		check("call that is none", `{"policy":{},"toolCall":["rm"]}`, 400, "read toolCall"),
		check("call of another shape", `{"policy":{},"toolCall":{"kind":7}}`, 400, "read toolCall"),
		check("no such session", `{"session":"nobody"}`, 404, `"code":"session_not_found"`),
	})
	if rules := decode[api.PermissionRules](t, in.check(t, scenario{path: "/v1/sessions/s/permissions/rules", status: 200})); len(rules.Rules) != 0 {
		t.Errorf("a check has left the rules %+v", rules.Rules)
	}
}
