package settings

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/child"
)

func configure(t *testing.T, s *Settings, dir, body string) {
	t.Helper()
	if err := s.MCP.Replace(t.Context(), dir, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

func TestMCPServers(t *testing.T) {
	s, dir := newSettings(t)
	if list, err := s.MCPServers(dir); err != nil || len(list) != 0 {
		t.Fatalf("got %v, %v", list, err)
	}
	configure(t, s, "sub", `{
		"b":{"command":["npx","-y"],"args":["srv"],"env":{"Z":"1","A":"<2>"}},
		"a":{"command":"x","enabled":true},
		"off":{"command":"x","enabled":false},
		"cwd":{"command":"x","args":["1"],"cwd":"in"},
		"web":{"url":"https://h/","headers":{"authorization":"old","K":"v"},"bearerTokenEnvVar":"TOKEN","envHeaders":{"X-Tok":"TOKEN","X-Gone":"MISSING","X-Empty":"EMPTY"}},
		"sse":{"url":"https://s/","transport":"sse"}}`)
	list, err := s.MCPServers("sub")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"name":"a","command":"x","args":[],"env":[]}`,
		`{"name":"b","command":"npx","args":["-y","srv"],"env":[{"name":"A","value":"<2>"},{"name":"Z","value":"1"}]}`,
		`{"name":"cwd","command":"/bin/sh","args":["-c","cd -- \"$0\" && exec \"$@\"","` + filepath.Join(dir, "sub", "in") + `","x","1"],"env":[]}`,
		`{"type":"sse","name":"sse","url":"https://s/","headers":[]}`,
		`{"type":"http","name":"web","url":"https://h/","headers":[{"name":"Authorization","value":"Bearer sesame"},{"name":"K","value":"v"},{"name":"X-Tok","value":"sesame"}]}`,
	}
	if len(list) != len(want) {
		t.Fatalf("got %d servers: %s", len(list), list)
	}
	for i := range want {
		if string(list[i]) != want[i] {
			t.Errorf("\n got %s\nwant %s", list[i], want[i])
		}
	}
}

// The shell that goes to the folder first hands everything on as it is.
func TestServerFolderIsHonoured(t *testing.T) {
	s, dir := newSettings(t)
	odd := `it's "$HOME" -n`
	if err := os.Mkdir(filepath.Join(dir, odd), 0o755); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"a": map[string]any{
		"command": "/bin/sh", "args": []string{"-c", `pwd; printf '%s|' "$@"`, "sh", "a b", "", "$x", "-n"}, "cwd": odd,
	}})
	if err != nil {
		t.Fatal(err)
	}
	configure(t, s, dir, string(body))
	list, err := s.MCPServers(dir)
	if err != nil {
		t.Fatal(err)
	}
	var entry stdioServer
	if err := json.Unmarshal(list[0], &entry); err != nil {
		t.Fatal(err)
	}
	proc, err := child.Start(child.Spec{Path: entry.Command, Args: entry.Args, Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Stop(0)
	var out bytes.Buffer
	if _, err := out.ReadFrom(proc.Stdout); err != nil {
		t.Fatal(err)
	}
	proc.Stderr.Close()
	<-proc.Done()
	if want := filepath.Join(dir, odd) + "\na b||$x|-n|"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
}

func TestMergeMCP(t *testing.T) {
	s, dir := newSettings(t)
	params := `{"cwd":"/w", "mcpServers": []}`
	if got, err := s.MergeMCP(json.RawMessage(params), dir); err != nil || string(got) != params {
		t.Errorf("without configuration: %s, %v", got, err)
	}
	configure(t, s, dir, `{"a":{"command":"x"},"b":{"url":"u"}}`)
	a := `{"name":"a","command":"x","args":[],"env":[]}`
	b := `{"type":"http","name":"b","url":"u","headers":[]}`
	for _, tt := range []struct{ params, want string }{
		{``, `{"mcpServers":[` + a + `,` + b + `]}`},
		{`{}`, `{"mcpServers":[` + a + `,` + b + `]}`},
		{`{ "cwd" : "/w", "n": 12345678901234567890.10 }`, `{ "cwd" : "/w", "n": 12345678901234567890.10 ,"mcpServers":[` + a + `,` + b + `]}`},
		{`{"mcpServers":[],"cwd":"/w"}`, `{"mcpServers":[` + a + `,` + b + `],"cwd":"/w"}`},
		{`{"mcpServers": null ,"cwd":"/w"}`, `{"mcpServers": [` + a + `,` + b + `] ,"cwd":"/w"}`},
		{`{"mcpServers":[ {"name":"b","command":"mine"} ]}`, `{"mcpServers":[ {"name":"b","command":"mine"} ,` + a + `]}`},
		{`{"mcpServers":[{"name":"b"},{"name":"a"}]}`, `{"mcpServers":[{"name":"b"},{"name":"a"}]}`},
		{`{"mcpServers":[7]}`, `{"mcpServers":[7,` + a + `,` + b + `]}`},
		{`{"mcpServers":{"a":1}}`, `{"mcpServers":{"a":1}}`},
		{`[1]`, `[1]`},
		{`{"x":{"mcpServers":[]},"mcpServers":[]}`, `{"x":{"mcpServers":[]},"mcpServers":[` + a + `,` + b + `]}`},
	} {
		got, err := s.MergeMCP(json.RawMessage(tt.params), dir)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s\n got %s, %v\nwant %s", tt.params, got, err, tt.want)
		}
	}
	if _, err := s.MergeMCP(json.RawMessage(`{"cwd":`), dir); err == nil {
		t.Error("took what is not JSON")
	}
}

// Whatever the client sends, its own members come out as they went in.
func FuzzMergeMCP(f *testing.F) {
	dir := f.TempDir()
	s := New(Options{Directory: dir, Data: dir})
	if err := s.MCP.Put(f.Context(), dir, "a", []byte(`{"type":"local","command":"x"}`)); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{`{}`, `{"mcpServers":[{"name":"b"}],"cwd":"/"}`, `{"a":1.0e9,"mcpServers":null}`, ` { "mcpServers" : [ ] } `, `[]`, `{"mcpServers":[1 , 2 ] , "mcpServers":[]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, params []byte) {
		got, err := s.MergeMCP(params, dir)
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(params, &before) != nil {
			if len(bytes.TrimSpace(params)) > 0 && !bytes.Equal(got, params) {
				t.Fatalf("%s became %s", params, got)
			}
			return
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%s became %s: %v", params, got, err)
		}
		for name, raw := range before {
			if name != "mcpServers" && !bytes.Equal(raw, after[name]) {
				t.Fatalf("%s of %s became %s", name, params, after[name])
			}
		}
		if !strings.Contains(string(after["mcpServers"]), `"a"`) && (before["mcpServers"] == nil || string(before["mcpServers"]) == "null") && len(before)+1 == len(after) {
			t.Fatalf("%s misses the server: %s", params, got)
		}
	})
}
