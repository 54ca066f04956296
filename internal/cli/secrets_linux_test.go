package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
)

// spellings are the ways in which a text may be in a file.
func spellings(needle string) [][]byte {
	quoted, _ := json.Marshal(needle)
	all := [][]byte{[]byte(needle), quoted[1 : len(quoted)-1], []byte(url.QueryEscape(needle)), []byte(url.PathEscape(needle))}
	for shift := range 3 { // where it may begin in what is encoded
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + needle))
		all = append(all, []byte(text[4:len(text)-4]))
	}
	return all
}

// filesWith returns the files below a directory that have a needle in some spelling.
func filesWith(t *testing.T, dir string, needles ...string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, needle := range needles {
			for _, text := range spellings(needle) {
				if bytes.Contains(data, text) {
					names = append(names, strings.TrimPrefix(path, dir)+": "+needle)
					break
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// recordingServer starts a server with an agent "rec": the mock, with everything that it
// is given in a file.
func recordingServer(t *testing.T, data, given string, env ...string) *builtServer {
	t.Helper()
	program := builtProgram(t)
	script := `env >>"$0"; tee -a "$0" | "` + program + `" mock`
	cmd := exec.Command(program, "server", "--no-token", "--port", "0", "--data-dir", data, "--log-level", "debug",
		"--agent-command", "rec=/bin/sh -c '"+script+"' "+given)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(given)}, env...)
	return startBuilt(t, cmd, "")
}

func (s *builtServer) call(t *testing.T, method, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.Contains(path, "import") {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(resp.Body); err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s %s: %s, %s, %v", method, path, resp.Status, &answer, err)
	}
	return answer.String()
}

func (s *builtServer) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
}

func TestSecretsReachTheAgentAndNothingElse(t *testing.T) {
	data, given := t.TempDir(), filepath.Join(t.TempDir(), "given")
	work := t.TempDir()
	const configured = "n33dle of the/environment+of \"the\" server"
	s := recordingServer(t, data, given, "MY_TOKEN_OF_MCP="+configured)
	s.call(t, http.MethodPut, "/v1/config/mcp?directory="+url.QueryEscape(work)+"&mcpName=remote", `{"type":"remote","url":"http://127.0.0.1:9/mcp","envHeaders":{"Y":"MY_TOKEN_OF_MCP"}}`)

	needles := []string{"n33dle-env-of-session/+ä", "n33dle-env-of-mcp/+\"", "n33dle-header-of-mcp", "n33dle-in-url", "n33dle-in-argument", "n33dle-stored-for-session", "n33dle-of-client-env", "n33dle-of-authenticate", configured}
	session, err := s.CreateSession(t.Context(), sandboxagent.SessionOptions{
		Agent: "rec", CWD: work, ID: "one", Env: map[string]string{"MY_VARIABLE": needles[0]},
		MCPServers: []acp.MCPServer{
			{Name: "a", Command: "a", Args: []string{"--api-key", needles[4]}, Env: []acp.NameValue{{Name: "A_TOKEN", Value: needles[1]}}},
			{Name: "b", Type: "http", URL: "https://me:" + needles[3] + "@127.0.0.1/x", Headers: []acp.NameValue{{Name: "Authorization", Value: "Bearer " + needles[2]}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(t.Context(), sandboxagent.Text("hello")); err != nil {
		t.Fatal(err)
	}
	s.call(t, http.MethodPut, "/v1/sessions/one/mcp/config", `{"mcpServers":{"c":{"type":"local","command":["c"],"env":{"C":"`+needles[5]+`"}}}}`)
	s.call(t, http.MethodPost, "/v1/acp/raw?agent=rec", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`)
	s.call(t, http.MethodPost, "/v1/acp/raw", `{"jsonrpc":"2.0","id":2,"method":"session/new","params":{"cwd":"`+work+`","mcpServers":[{"name":"d","command":"d","args":[],"env":[{"name":"D","value":"`+needles[6]+`"}]}]}}`)
	s.call(t, http.MethodPost, "/v1/acp/raw", `{"jsonrpc":"2.0","id":3,"method":"authenticate","params":{"methodId":"x","_meta":{"apiKey":"`+needles[7]+`"}}}`)

	shown := s.call(t, http.MethodGet, "/v1/sessions/one", "") + s.call(t, http.MethodGet, "/v1/sessions/one/events", "") +
		s.call(t, http.MethodGet, "/v1/sessions/export", "")
	if !strings.Contains(shown, "{{secret A_TOKEN}}") {
		t.Error("the exported frames have no references")
	}
	for _, needle := range needles {
		for _, text := range spellings(needle) {
			if strings.Contains(shown, string(text)) || strings.Contains(s.log.String(), string(text)) {
				t.Errorf("%s is shown or logged", needle)
			}
		}
	}

	// The agent has all of them: also that of a server which starts again.
	reached := func(when string, needles ...string) {
		t.Helper()
		text, err := os.ReadFile(given)
		if err != nil {
			t.Fatal(err)
		}
		for _, needle := range needles {
			quoted, _ := json.Marshal(needle)
			if !bytes.Contains(text, quoted[1:len(quoted)-1]) && !bytes.Contains(text, []byte(needle)) {
				t.Errorf("%s: the agent was not given %s", when, needle)
			}
		}
		if bytes.Contains(text, []byte("{{secret")) {
			t.Errorf("%s: the agent was given a reference: %s", when, text)
		}
	}
	reached("at first", append([]string{needles[0], needles[1], needles[2], needles[3], needles[4]}, needles[6:]...)...)
	s.stop(t)
	if found := filesWith(t, data, needles...); len(found) == 0 || strings.Contains(strings.Join(found, "\n"), "journal.db:") {
		t.Errorf("files with secrets: %v", found)
	} else {
		for _, name := range found {
			if !strings.HasPrefix(name, "/journal.db-secrets/") {
				t.Errorf("a file has a secret: %s", name)
			}
		}
	}
	secretFiles, err := filepath.Glob(filepath.Join(data, "journal.db-secrets", "*"))
	if err != nil || len(secretFiles) != 1 {
		t.Fatalf("%v, %v", secretFiles, err)
	}
	if info, err := os.Stat(secretFiles[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Remove(given); err != nil {
		t.Fatal(err)
	}
	s = recordingServer(t, data, given, "MY_TOKEN_OF_MCP="+configured)
	if _, err := s.Session("one").Prompt(t.Context(), sandboxagent.Text("hello again")); err != nil {
		t.Fatal(err)
	}
	reached("after a restart", append(append([]string{}, needles[:6]...), configured)...)

	s.call(t, http.MethodDelete, "/v1/sessions/one?purge=true", "")
	s.call(t, http.MethodDelete, "/v1/acp/raw", "")
	s.stop(t)
	if found := filesWith(t, data, needles...); len(found) > 0 {
		t.Errorf("after a purge: %v", found)
	}
}

// What an earlier build has in its records is moved, and an import with parts that are
// wanted brings no values.
func TestSecretsOfAnImportAreSealed(t *testing.T) {
	data, given := t.TempDir(), filepath.Join(t.TempDir(), "given")
	s := recordingServer(t, data, given)
	if _, err := s.CreateSession(t.Context(), sandboxagent.SessionOptions{Agent: "rec", ID: "old", CWD: data, Env: map[string]string{"K": "v-of-k"}}); err != nil {
		t.Fatal(err)
	}
	file := s.call(t, http.MethodGet, "/v1/sessions/export", "")
	if strings.Contains(file, "v-of-k") || !strings.Contains(file, "{{secret K}}") {
		t.Fatalf("export: %s", file)
	}
	s.call(t, http.MethodDelete, "/v1/sessions/old?purge=true", "")
	s.call(t, http.MethodPost, "/v1/sessions/import?keep=env", strings.ReplaceAll(file, "{{secret K}}", "n33dle-of-an-import"))
	if _, err := s.Session("old").Prompt(t.Context(), sandboxagent.Text("hello")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(given); err != nil || !bytes.Contains(text, []byte("K=n33dle-of-an-import")) {
		t.Errorf("the agent was given %s, %v", text, err)
	}
	if again := s.call(t, http.MethodGet, "/v1/sessions/export", ""); strings.Contains(again, "n33dle") {
		t.Errorf("export after the import: %s", again)
	}
}

// A purge leaves no text of a session: not in the journal, its free pages, its log, and
// its tail, and not in the records of the mock, whoever had opened the session.
func TestPurgeLeavesNoText(t *testing.T) {
	home := t.TempDir()
	data := filepath.Join(home, ".local", "share", "sandbox-agent")
	s := recordingServer(t, data, filepath.Join(home, "given"))
	needles := []string{"n33dle of a prompt", "n33dle on a connection of its own", "n33dle in a title", "n33dle that is \"quoted\"/ü"}
	for i, id := range []string{"one", "two", "kept"} {
		session, err := s.CreateSession(t.Context(), sandboxagent.SessionOptions{Agent: "mock", CWD: home, ID: id, Title: needles[2]})
		if err != nil {
			t.Fatal(err)
		}
		text := needles[0] + " " + needles[3]
		if id == "kept" {
			text = "kept text"
		}
		for range 20 + i {
			if _, err := session.Prompt(t.Context(), sandboxagent.Text("say "+text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.call(t, http.MethodPost, "/v1/acp/raw?agent=mock", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`)
	reply := s.call(t, http.MethodPost, "/v1/acp/raw", `{"jsonrpc":"2.0","id":2,"method":"session/new","params":{"cwd":"`+home+`","mcpServers":[]}}`)
	var opened struct {
		Result struct {
			SessionID string `json:"sessionId"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(reply), &opened); err != nil || opened.Result.SessionID == "" {
		t.Fatalf("%s, %v", reply, err)
	}
	s.call(t, http.MethodPost, "/v1/acp/raw", `{"jsonrpc":"2.0","id":3,"method":"session/prompt","params":{"sessionId":"`+opened.Result.SessionID+`","prompt":[{"type":"text","text":"`+needles[1]+`"}]}}`)
	s.call(t, http.MethodPatch, "/v1/sessions/kept", `{"title":"another"}`)

	for _, id := range []string{"one", "two", opened.Result.SessionID} {
		s.call(t, http.MethodDelete, "/v1/sessions/"+id+"?purge=true", "")
	}
	s.call(t, http.MethodDelete, "/v1/acp/raw", "")
	if found := filesWith(t, home, needles...); len(found) > 0 {
		t.Errorf("while the server runs: %v", found)
	}
	s.stop(t)
	if found := filesWith(t, home, needles...); len(found) > 0 {
		t.Errorf("after its end: %v", found)
	}
	if found := filesWith(t, home, "kept text"); !strings.Contains(strings.Join(found, "\n"), "journal.db:") {
		t.Errorf("the session that is kept has text only in %v", found)
	}
}
