package server_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// filesWith returns the files below a directory that hold a text.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A session that is ephemeral, or of a server whose journal is in memory, works as
// any other, leaves no byte of what was said in the data directory, also while it
// goes on, and is gone with its server.
func TestEphemeralSessionLeavesNothing(t *testing.T) {
	const marker = "quetzalcoatl"
	for name, test := range map[string]struct{ journal, members string }{
		"session": {"", `,"ephemeral":true`},
		"journal": {app.MemoryJournal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			data := filepath.Join(home, "sandbox-agent") // where the mock agent keeps its own as well
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			cfg := app.Config{DataDir: data, Journal: test.journal, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_DATA_HOME=" + home}}
			in := start(t, cfg)
			s := in.create(t, `,"id":"`+marker+`-id","title":"`+marker+`","metadata":{"a":"`+marker+`"},"permissions":{"default":"ask"}`+test.members)
			if !s.Ephemeral {
				t.Errorf("session is %+v", s)
			}
			in.askAsync(t, s.ID) // asks for a permission
			var inbox api.PermissionInbox
			await(t, "the agent to ask", func() bool {
				inbox = in.inbox(t)
				return len(inbox.Permissions) == 1
			})
			in.run(t, []scenario{
				{name: "reply", method: "POST", header: jsonBody, path: "/v1/sessions/" + s.ID + "/permissions/" + inbox.Permissions[0].ID, body: `{"reply":"once"}`, status: 200},
				{name: "prompt", method: "POST", header: jsonBody, path: "/v1/sessions/" + s.ID + "/prompt", body: `{"prompt":"/echo ` + marker + `","queue":true}`, status: 200, want: []string{`"text":"` + marker + `"`}},
				{name: "config", method: "PUT", header: jsonBody, path: "/v1/sessions/" + s.ID + "/mcp/config", body: `{"mcpServers":{"` + marker + `":{"type":"local","command":"true"}}}`, status: 204},
				{name: "config again", path: "/v1/sessions/" + s.ID + "/mcp/config", status: 200, want: []string{marker}},
				{name: "events", path: "/v1/sessions/" + s.ID + "/events", status: 200, want: []string{marker}},
				{name: "transcript", path: "/v1/sessions/" + s.ID + "/transcript", status: 200, want: []string{marker}},
				{name: "list", path: "/v1/sessions", status: 200, want: []string{s.ID}},
			})
			if test.members != "" {
				in.run(t, []scenario{
					{name: "export", path: "/v1/sessions/export?ids=" + s.ID, status: 400, want: []string{"is ephemeral"}},
					{name: "export of all", path: "/v1/sessions/export", status: 200, not: []string{marker}},
				})
			}
			if found := filesWith(t, data, marker); len(found) > 0 {
				t.Errorf("while it goes on, it is in %v", found)
			}
			in.stop()
			if found := filesWith(t, data, marker); len(found) > 0 {
				t.Errorf("it is in %v", found)
			}
			next := start(t, cfg)
			next.run(t, []scenario{{name: "gone", path: "/v1/sessions/" + s.ID, status: 404}})
		})
	}
}

// In the life of its server an ephemeral session is restored like any other, and
// purged like any other.
func TestEphemeralSessionIsRestoredWhileItsServerLives(t *testing.T) {
	in := start(t, app.Config{})
	s := in.create(t, `,"ephemeral":true`)
	prompt := func(text, want string) {
		t.Helper()
		in.run(t, []scenario{{name: text, method: "POST", header: jsonBody, path: "/v1/sessions/" + s.ID + "/prompt", body: `{"prompt":"` + text + `"}`, status: http.StatusOK, want: []string{want}}})
	}
	prompt("my word is hoopoe", "hoopoe")
	in.run(t, []scenario{{name: "crash", method: "POST", header: jsonBody, path: "/v1/sessions/" + s.ID + "/prompt", body: `{"prompt":"/crash 3"}`, status: http.StatusInternalServerError}})
	prompt("what did I say", "hoopoe")
	in.run(t, []scenario{
		{name: "purge", method: "DELETE", path: "/v1/sessions/" + s.ID + "?purge=true", status: 204},
		{name: "gone", path: "/v1/sessions/" + s.ID, status: 404},
	})
	again := in.create(t, `,"id":"`+s.ID+`"`)
	if again.Ephemeral || again.Status != api.SessionIdle {
		t.Errorf("session is %+v", again)
	}
}
