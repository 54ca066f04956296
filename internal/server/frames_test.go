package server_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/acp/schema"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// taped is the mock with tapes of what its processes read and write, in files
// "in.PID" and "out.PID" of dir.
func taped(t *testing.T, dir string) map[string][]string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const script = `tee "$1/in.$$" | { "$0" mock "$2"; kill 0; } | tee "$1/out.$$"`
	return map[string][]string{"mock": {"/bin/sh", "-c", script, exe, dir, t.TempDir()}}
}

// Whatever the server sends an agent as its client, and the mock the server, is as the
// schema of the protocol has it.
func TestFramesFollowTheSchema(t *testing.T) {
	tapes := t.TempDir()
	in := start(t, app.Config{AgentCommands: taped(t, tapes)})
	in.create(t, `,"id":"s","mode":"plan","model":"mock-fast","thoughtLevel":"high","mcpServers":[{"name":"tool","command":"true","args":["a"],"env":[{"name":"A","value":"b"}]},{"type":"http","name":"far","url":"http://127.0.0.1:1/","headers":[{"name":"H","value":"v"}]}]`)
	path := "/v1/sessions/s"
	post := func(sub, body string, status int) {
		t.Helper()
		in.check(t, scenario{method: "POST", path: path + sub, header: jsonBody, body: body, status: status})
	}
	post("/mode", `{"mode":"normal"}`, 200)
	post("/model", `{"model":"mock"}`, 200)
	post("/thought-level", `{"thoughtLevel":"low"}`, 200)
	post("/config-options", `{"configId":"mode","value":"normal"}`, 200)
	post("/prompt", `{"prompt":"hello"}`, 200)
	post("/prompt", `{"prompt":[{"type":"text","text":"/plan"},{"type":"image","data":"","mimeType":"image/png"},{"type":"audio","data":"","mimeType":"audio/wav"},{"type":"resource_link","uri":"file:///x","name":"x"},{"type":"resource","resource":{"uri":"file:///y","text":"y"}},{"type":"text","text":"/thought hm"}]}`, 200)
	post("/prompt", `{"prompt":"/error -32000 no"}`, 502)
	for _, reply := range []string{"once", "reject", "cancel", "always"} {
		in.check(t, scenario{method: "POST", path: path + "/prompt", header: map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}, body: `{"prompt":"write ` + reply + `.txt with x"}`, status: 202})
		var list api.PermissionList
		await(t, "a permission", func() bool {
			list = decode[api.PermissionList](t, in.check(t, scenario{path: path + "/permissions", status: 200}))
			return len(list.Permissions) == 1
		})
		post("/permissions/"+list.Permissions[0].ID, `{"reply":"`+reply+`"}`, 200)
		await(t, "the turn to end", func() bool {
			return decode[api.Session](t, in.check(t, scenario{path: path, status: 200})).Status == api.SessionIdle
		})
	}
	in.check(t, scenario{method: "POST", path: path + "/prompt", header: map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}, body: `{"prompt":"/silence"}`, status: 202})
	post("/cancel", "", 200)
	in.check(t, scenario{method: "PATCH", path: path, header: jsonBody, body: `{"permissions":{"default":"allow"}}`, status: 200})
	post("/prompt", `{"prompt":"run echo out; echo err >&2"}`, 200)
	post("/prompt", `{"prompt":"/crash 3"}`, 500)
	post("/restore", "", 200)
	post("/prompt", `{"prompt":"what did I say"}`, 200)
	in.check(t, scenario{method: "DELETE", path: path, status: 204})
	post("/restore", "", 200)
	in.check(t, scenario{method: "DELETE", path: path + "?purge=true", status: 204})
	in.rpc(t, "/v1/acp/raw?agent=mock", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`)
	in.stop()
	names, err := filepath.Glob(filepath.Join(tapes, "in.*"))
	if err != nil || len(names) < 3 {
		t.Fatalf("tapes of %d processes, %v", len(names), err)
	}
	seen := map[string]bool{}
	for _, name := range names {
		checkTape(t, name, strings.Replace(name, "in.", "out.", 1), seen)
	}
	for _, method := range []string{acp.MethodInitialize, acp.MethodSessionNew, acp.MethodSessionPrompt, acp.MethodSessionCancel, acp.MethodSetConfigOption, acp.MethodSessionUpdate, acp.MethodRequestPermission} {
		if !seen[method] {
			t.Errorf("there was no %s", method)
		}
	}
	if !seen[acp.MethodSessionLoad] && !seen[acp.MethodSessionResume] {
		t.Error("no session was restored")
	}
}

// checkTape checks the frames of one process. The requests of the server come first,
// then all that the agent said, and then the responses of the server: each follows what
// it answers.
func checkTape(t *testing.T, in, out string, seen map[string]bool) {
	t.Helper()
	frames := schema.Conversation{Extensions: []string{acp.MethodSetModel}}
	var responses [][]byte
	check := func(side string, line []byte, by func([]byte) error) {
		if msg, err := acp.Parse(line); err == nil {
			seen[msg.Method] = true
		}
		if err := by(line); err != nil {
			t.Errorf("the %s sent %.400s: %v", side, line, err)
		}
	}
	for _, line := range linesOf(t, in) {
		if msg, err := acp.Parse(line); err == nil && msg.Kind == acp.Response {
			responses = append(responses, line)
			continue
		}
		check("server", line, frames.FromClient)
	}
	for _, line := range linesOf(t, out) {
		check("agent", line, frames.FromAgent)
	}
	for _, line := range responses {
		check("server", line, frames.FromClient)
	}
}

func linesOf(t *testing.T, name string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}
