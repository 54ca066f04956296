package fakeagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/acp/schema"
)

// beyond are the methods of the mock that the schema does not have: one that agents had
// before options, and the echo.
var beyond = []string{acp.MethodSetModel, "mock/echo", "mock/client_response", "example/anything", "ping", "sessions/x"}

// frames checks all that a test and the mock say to each other against the schema.
type frames struct {
	t *testing.T

	mu  sync.Mutex
	all schema.Conversation
}

func (f *frames) fromClient(line []byte) { f.note("client", line, f.all.FromClient) }
func (f *frames) fromAgent(line []byte)  { f.note("agent", line, f.all.FromAgent) }

func (f *frames) note(side string, line []byte, check func([]byte) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all.Extensions = beyond
	if !json.Valid(line) || line[0] != '{' {
		return // what /rubbish and its like write
	}
	if err := check(line); err != nil && side == "agent" {
		f.t.Errorf("the agent sent %.300s: %v", line, err)
	}
}

// lineWriter checks whole lines before it writes them.
type lineWriter struct {
	to    io.Writer
	check func(line []byte)
	rest  []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			break
		}
		if len(line) > 0 {
			w.check(line)
		}
		w.rest = rest
	}
	return w.to.Write(p)
}

func TestRefusesWhatAStrictAgentRefuses(t *testing.T) {
	stdio := `{"name":"x","command":"/bin/x","args":[],"env":[]}`
	for name, test := range map[string]struct {
		method, params string
		code           int // 0: the schema decides, and refuses
	}{
		"relative directory":           {"session/new", `{"cwd":"sub","mcpServers":[]}`, acp.CodeInvalidParams},
		"a directory above":            {"session/new", `{"cwd":"../x","mcpServers":[]}`, acp.CodeInvalidParams},
		"empty directory":              {"session/new", `{"cwd":"","mcpServers":[]}`, acp.CodeInvalidParams},
		"home directory":               {"session/new", `{"cwd":"~/x","mcpServers":[]}`, acp.CodeInvalidParams},
		"relative additional":          {"session/new", `{"cwd":"/","mcpServers":[],"additionalDirectories":["x"]}`, acp.CodeInvalidParams},
		"no directory":                 {"session/new", `{"mcpServers":[]}`, 0},
		"a directory that is a number": {"session/new", `{"cwd":1,"mcpServers":[]}`, 0},
		"no servers":                   {"session/new", `{"cwd":"/"}`, 0},
		"servers by name":              {"session/new", `{"cwd":"/","mcpServers":{"x":` + stdio + `}}`, 0},
		"a server without a command":   {"session/new", `{"cwd":"/","mcpServers":[{"name":"x","args":[],"env":[]}]}`, 0},
		"a server without arguments":   {"session/new", `{"cwd":"/","mcpServers":[{"name":"x","command":"/x","env":[]}]}`, 0},
		"an environment by name":       {"session/new", `{"cwd":"/","mcpServers":[{"name":"x","command":"/x","args":[],"env":{"A":"b"}}]}`, 0},
		"a variable without a value":   {"session/new", `{"cwd":"/","mcpServers":[{"name":"x","command":"/x","args":[],"env":[{"name":"A"}]}]}`, 0},
		"a server without a URL":       {"session/new", `{"cwd":"/","mcpServers":[{"type":"http","name":"x","headers":[]}]}`, 0},
		"a server of a strange type":   {"session/new", `{"cwd":"/","mcpServers":[{"type":"smoke","name":"x"}]}`, 0},
		"the second server":            {"session/new", `{"cwd":"/","mcpServers":[` + stdio + `,7]}`, 0},
		"params that are a list":       {"session/new", `[]`, 0},
		"a load without a session":     {"session/load", `{"cwd":"/","mcpServers":[]}`, 0},
		"a load without servers":       {"session/load", `{"sessionId":"s","cwd":"/"}`, 0},
		"a relative load":              {"session/load", `{"sessionId":"s","cwd":"x","mcpServers":[]}`, acp.CodeInvalidParams},
		"a resume without a directory": {"session/resume", `{"sessionId":"s"}`, 0},
		"a prompt without a session":   {"session/prompt", `{"prompt":[]}`, 0},
		"a prompt that is a text":      {"session/prompt", `{"sessionId":"s","prompt":"hello"}`, 0},
		"a block without a type":       {"session/prompt", `{"sessionId":"s","prompt":[{"text":"hello"}]}`, 0},
		"a text block without a text":  {"session/prompt", `{"sessionId":"s","prompt":[{"type":"text"}]}`, 0},
		"an image without a type":      {"session/prompt", `{"sessionId":"s","prompt":[{"type":"image","data":""}]}`, 0},
		"a resource of nothing":        {"session/prompt", `{"sessionId":"s","prompt":[{"type":"resource","resource":{"uri":"x"}}]}`, 0},
		"a block of a strange type":    {"session/prompt", `{"sessionId":"s","prompt":[{"type":"smell"}]}`, 0},
		"a mode without a name":        {"session/set_mode", `{"sessionId":"s","mode":"plan"}`, 0},
		"an option without a value":    {"session/set_config_option", `{"sessionId":"s","configId":"mode"}`, 0},
		"an option that is no boolean": {"session/set_config_option", `{"sessionId":"s","configId":"mode","type":"boolean","value":true}`, acp.CodeInvalidParams},
		"a list from a number":         {"session/list", `{"cursor":1}`, 0},
		"a version of nothing":         {"initialize", `{}`, 0},
		"a negative version":           {"initialize", `{"protocolVersion":-1}`, 0},
		"a method without a name":      {"authenticate", `{}`, 0},
		"a fork":                       {"session/fork", `{"sessionId":"s","cwd":"/","mcpServers":[]}`, acp.CodeMethodNotFound},
		"a deletion":                   {"session/delete", `{"sessionId":"s"}`, acp.CodeMethodNotFound},
		"a logout":                     {"logout", `{}`, acp.CodeMethodNotFound},
		"a later logout":               {"auth/logout", `{}`, acp.CodeMethodNotFound},
		"a method of a client":         {"fs/read_text_file", `{"sessionId":"s","path":"/etc/passwd"}`, acp.CodeMethodNotFound},
		"a misspelt method":            {"session/New", `{"cwd":"/","mcpServers":[]}`, acp.CodeMethodNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			frame := `{"jsonrpc":"2.0","id":1,"method":"` + test.method + `","params":` + test.params + `}`
			want := test.code
			if want == 0 {
				want = acp.CodeInvalidParams
				if new(schema.Conversation).FromClient([]byte(frame)) == nil {
					t.Fatal("the schema takes it")
				}
			}
			var out bytes.Buffer
			if err := Run(t.Context(), strings.NewReader(frame+"\n"), &out, Options{}); err != nil {
				t.Fatal(err)
			}
			var got struct{ Error *acp.RPCError }
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Error == nil || got.Error.Code != want {
				t.Errorf("got %s, %v", out.String(), err)
			}
		})
	}
}

// What is taken away from good params, or made null or a number there, is refused
// wherever the schema refuses it.
func TestRefusesWhatTheSchemaRefuses(t *testing.T) {
	server := map[string]any{"name": "x", "command": "/x", "args": []any{"a"}, "env": []any{map[string]any{"name": "A", "value": "b"}}}
	remote := map[string]any{"type": "sse", "name": "x", "url": "http://x", "headers": []any{map[string]any{"name": "A", "value": "b"}}}
	servers := []any{server, remote}
	blocks := []any{
		map[string]any{"type": "text", "text": "/echo x"},
		map[string]any{"type": "image", "data": "", "mimeType": "image/png"},
		map[string]any{"type": "resource_link", "uri": "file:///x", "name": "x"},
		map[string]any{"type": "resource", "resource": map[string]any{"uri": "file:///x", "text": "x"}},
	}
	for method, params := range map[string]map[string]any{
		acp.MethodInitialize:      {"protocolVersion": 1},
		acp.MethodSessionNew:      {"cwd": "/", "mcpServers": servers},
		acp.MethodSessionLoad:     {"sessionId": "s", "cwd": "/", "mcpServers": servers},
		acp.MethodSessionResume:   {"sessionId": "s", "cwd": "/", "mcpServers": servers},
		acp.MethodSessionPrompt:   {"sessionId": "s", "prompt": blocks},
		acp.MethodSessionClose:    {"sessionId": "s"},
		acp.MethodSetMode:         {"sessionId": "s", "modeId": "plan"},
		acp.MethodSetConfigOption: {"sessionId": "s", "configId": "mode", "value": "plan"},
	} {
		tried := 0
		for _, changed := range changes(params) {
			frame, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": changed})
			if err != nil {
				t.Fatal(err)
			}
			if new(schema.Conversation).FromClient(frame) == nil {
				continue
			}
			tried++
			var out bytes.Buffer
			if err := Run(t.Context(), bytes.NewReader(append(frame, '\n')), &out, Options{}); err != nil {
				t.Fatal(err)
			}
			var got struct{ Error *acp.RPCError }
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Error == nil || got.Error.Code != acp.CodeInvalidParams {
				t.Errorf("%s: got %s, %v", frame, out.String(), err)
			}
		}
		if tried == 0 {
			t.Errorf("nothing was tried of %s", method)
		}
	}
}

// changes returns copies of a value that each differ in one place.
func changes(v any) []any {
	other := []any{nil, 7.5, true, "7", []any{7}, map[string]any{}}
	all := other
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			without := maps.Clone(v)
			delete(without, key)
			all = append(all, without)
			for _, changed := range changes(member) {
				with := maps.Clone(v)
				with[key] = changed
				all = append(all, with)
			}
		}
	case []any:
		for i, element := range v {
			for _, changed := range changes(element) {
				with := append([]any{}, v...)
				with[i] = changed
				all = append(all, with)
			}
		}
	}
	return all
}

// What is not of the protocol is echoed, as the agent of that name always did.
func TestEchoesOtherMethods(t *testing.T) {
	c := start(t, Options{})
	for _, method := range []string{"example/anything", "_mine/x", "ping", "sessions/x"} {
		var got struct{ Echoed struct{ Method string } }
		if err := c.conn.Call(t.Context(), method, map[string]int{"n": 1}, &got); err != nil || got.Echoed.Method != method {
			t.Errorf("%s: %+v, %v", method, got, err)
		}
	}
	var fault *acp.RPCError
	if err := c.conn.Call(t.Context(), "session/fork", nil, nil); !errors.As(err, &fault) || fault.Code != acp.CodeMethodNotFound {
		t.Errorf("session/fork: %v", err)
	}
}
