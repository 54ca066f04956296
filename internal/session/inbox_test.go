package session_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// TestInboxMakesGoodWhatAKillHasKeptFromIt starts a server on a journal in which
// two requests were asked and not resolved: one that its session has resolved, and
// one of a session that is gone.
func TestInboxMakesGoodWhatAKillHasKeptFromIt(t *testing.T) {
	r := start(t, "", api.Limits{})
	r.create(`{"agent":"plain","id":"s"}`)
	r.create(`{"agent":"scripted","id":"asks"}`)
	r.promptAsync("asks", `{"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":`+someOptions+`}}`, "")
	p := r.awaitPermission("asks")
	r.do("POST", "/v1/sessions/asks/permissions/"+p.ID, `{"reply":"reject"}`, nil)
	r.awaitStatus("asks", api.SessionIdle)
	r.stop()

	store, err := sqlite.Open(filepath.Join(r.data, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{
		fmt.Sprintf(`{"type":"asked","sessionId":"asks","permissionId":%q,"event":%d}`, p.ID, p.Event),
		`{"type":"asked","sessionId":"gone","permissionId":"perm-gone-7","event":7}`,
	} {
		if _, err := j.Append("permissions", journal.FromAgent, []byte(e)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // it is not done twice
		r = start(t, r.data, api.Limits{})
		var list api.PermissionInbox
		r.do("GET", "/v1/permissions", "", &list)
		if len(list.Permissions) != 0 || list.Cursor != 6 {
			t.Fatalf("the inbox is %+v, want 6 events: asked, resolved, both again, and two resolved", list)
		}
		r.stop()
	}
	r = start(t, r.data, api.Limits{})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v1/permissions/stream?after=4", nil)
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got strings.Builder
	for buf := make([]byte, 4096); strings.Count(got.String(), "\n\n") < 2; {
		n, err := resp.Body.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buf[:n])
	}
	for _, want := range []string{
		`"permissionId":"` + p.ID + `","event":` + fmt.Sprint(p.Event) + `,"resolved":{"permissionId":"` + p.ID + `","reply":"reject"`,
		`"permissionId":"perm-gone-7","event":7,"resolved":{"permissionId":"perm-gone-7","reply":"cancel"`,
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the stream has not %s in %s", want, got.String())
		}
	}
}
