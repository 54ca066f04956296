package fakemodel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// bodies are requests in each dialect for the same thing: TEXT with a write and
// a shell tool, streamed or not.
var bodies = map[string]struct{ path, body string }{
	"anthropic": {"/v1/messages?beta=true", `{"model":"m","stream":STREAM,"system":[{"type":"text","text":"Primary working directory: /w"}],"messages":[{"role":"user","content":[{"type":"text","text":"<system-reminder>write no.txt with x</system-reminder>"},{"type":"text","text":"TEXT"}]}],"tools":[{"name":"Write","input_schema":{"type":"object","properties":{"file_path":{"type":"string"},"content":{"type":"string"}},"required":["file_path","content"]}},{"name":"Bash","input_schema":{"type":"object","properties":{"command":{"type":"string"},"description":{"type":"string"}},"required":["command","description"]}}]}`},
	"responses": {"/v1/responses", `{"model":"m","stream":STREAM,"input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"be good"}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context><cwd>/w</cwd></environment_context>"}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"TEXT"}]}],"tools":[{"type":"function","name":"exec_command","parameters":{"type":"object","properties":{"cmd":{"type":"string"},"sandbox_permissions":{"type":"string","enum":["use_default","require_escalated"]},"justification":{"type":"string"}},"required":["cmd"]}},{"type":"web_search"}]}`},
	"chat":      {"/v1/chat/completions", `{"model":"m","stream":STREAM,"messages":[{"role":"system","content":"Working directory: /w"},{"role":"user","content":"TEXT"}],"tools":[{"type":"function","function":{"name":"write","parameters":{"type":"object","properties":{"filePath":{"type":"string"},"content":{"type":"string"},"risk":{"type":"string","enum":["low","high"]}},"required":["filePath","content","risk"]}}}]}`},
	"gemini":    {"/v1beta/models/m:METHOD", `{"systemInstruction":{"parts":[{"text":"be good"}]},"contents":[{"role":"user","parts":[{"text":"TEXT"}]}],"tools":[{"functionDeclarations":[{"name":"write_file","parametersJsonSchema":{"type":"OBJECT","properties":{"file_path":{"type":"STRING"},"content":{"type":"STRING"}},"required":["file_path","content"]}}]}]}`},
}

func ask(t *testing.T, url, dialect, text string, stream bool) (int, string) {
	t.Helper()
	b := bodies[dialect]
	method, flag := "generateContent", "false"
	if stream {
		method, flag = "streamGenerateContent?alt=sse", "true"
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(strings.ReplaceAll(b.body, "STREAM", flag), `"TEXT"`, string(quoted))
	return post(t, url+strings.ReplaceAll(b.path, "METHOD", method), body)
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(data)
}

func serve(t *testing.T, opts Options) (*Server, string) {
	t.Helper()
	s := New(opts)
	hs := httptest.NewServer(s)
	t.Cleanup(func() {
		hs.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s, hs.URL
}

// TestTranscripts compares whole answers with testdata; -update writes it anew.
func TestTranscripts(t *testing.T) {
	for dialect := range bodies {
		for name, text := range map[string]string{"text": "hello to you, and good day", "write": "write a.txt with some words", "error": "/error 429 slow down"} {
			for _, stream := range []bool{false, true} {
				file := dialect + "-" + name + ".json"
				if stream {
					file = dialect + "-" + name + ".sse"
				}
				t.Run(file, func(t *testing.T) {
					_, url := serve(t, Options{})
					status, got := ask(t, url, dialect, text, stream)
					if wantStatus := map[bool]int{true: 429, false: 200}[name == "error"]; status != wantStatus {
						t.Errorf("status %d", status)
					}
					golden(t, file, got)
				})
			}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s\n got %s\nwant %s", path, got, want)
	}
}

func TestIntents(t *testing.T) {
	for text, want := range map[string]intent{
		"add a README that says hello":                         {path: "README.md", content: "hello\n"},
		"write notes.txt with some text":                       {path: "notes.txt", content: "some text\n"},
		"please create a file called sub/a.txt containing 'x'": {path: "sub/a.txt", content: "x\n"},
		"write hello there to out.txt":                         {path: "out.txt", content: "hello there\n"},
		"create empty.go":                                      {path: "empty.go"},
		"run ls -la":                                           {command: "ls -la"},
		"run the command `make`":                               {command: "make"},
		"hello":                                                {},
		"write a poem":                                         {},
		"how do I run it?":                                     {},
	} {
		if got := parseIntent(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestUnwrap(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                                "plain",
		"<system-reminder>x</system-reminder>": "",
		"<system-reminder>x":                   "",
		"<permissions instructions>x</permissions instructions>":                    "",
		"<current_datetime>1</current_datetime>\n\ndo it\n\n<reminder>y</reminder>": "do it",
		"<div>kept</div>": "<div>kept</div>",
	} {
		if got := unwrap(text); got != want {
			t.Errorf("unwrap(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestToolChoice(t *testing.T) {
	shell := Tool{Name: "exec_command", Schema: json.RawMessage(`{"properties":{"cmd":{"type":"string"},"sandbox_permissions":{"enum":["use_default","require_escalated"]},"justification":{"type":"string"}},"required":["cmd"]}`)}
	user := func(text string) []Message { return []Message{{"user", text}} }
	for name, tt := range map[string]struct {
		req  Request
		want string
	}{
		"shell in place of write": {Request{Messages: user("write d/a.txt with it's"), Tools: []Tool{shell}}, `exec_command {"cmd":"mkdir -p 'd' \u0026\u0026 printf %s 'it'\\''s\n' \u003e 'd/a.txt'","justification":"Run mkdir -p 'd' \u0026\u0026 printf %s 'it'\\''s","sandbox_permissions":"require_escalated"}`},
		"ask first":               {Request{Messages: user("run make, ask first"), Tools: []Tool{shell}}, `exec_command {"cmd":"make","justification":"Run make","sandbox_permissions":"require_escalated"}`},
		"command as list":         {Request{Messages: user("run make"), Tools: []Tool{{Name: "shell", Schema: json.RawMessage(`{"properties":{"command":{"type":"array"}},"required":["command"]}`)}}}, `shell {"command":["/bin/sh","-c","make"]}`},
		"required keys":           {Request{Messages: user("run make"), Tools: []Tool{{Name: "Execute", Schema: json.RawMessage(`{"properties":{"command":{"type":"string"},"summary":{"type":"string"},"riskLevel":{"enum":["low","high"]},"n":{"type":"integer","minimum":5}},"required":["command","summary","riskLevel","n"]}`)}}}, `Execute {"command":"make","n":5,"riskLevel":"low","summary":"Run make"}`},
		"forced":                  {Request{Messages: user("hi"), Choice: "*", Tools: []Tool{{Name: "respond", Schema: json.RawMessage(`{"properties":{"ok":{"type":"boolean"},"tags":{"type":"array"}},"required":["ok","tags"]}`)}}}, `respond {"ok":false,"tags":[]}`},
		"absolute path":           {Request{Messages: append([]Message{{"system", "Working directory: /w/x\nmore"}}, user("write a.txt with x")...), Tools: []Tool{{Name: "write", Schema: json.RawMessage(`{"properties":{"path":{},"content":{}},"required":["path","content"]}`)}}}, `write {"content":"x\n","path":"/w/x/a.txt"}`},
	} {
		turn := decide(tt.req, false)
		if len(turn.Calls) != 1 {
			t.Errorf("%s: %+v", name, turn)
			continue
		}
		if got := turn.Calls[0].Name + " " + string(turn.Calls[0].Input); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

func TestConversation(t *testing.T) {
	tools := []Tool{{Name: "write"}}
	after := []Message{{"user", "write a.txt with x"}, {"call", "write {}"}, {"result", "wrote it\nwell"}}
	if got := decide(Request{Messages: after, Tools: tools}, false); got.Text != "Done. The tool said: wrote it" || got.Calls != nil {
		t.Errorf("after a result: %+v", got)
	}
	again := append(after, Message{"assistant", "Done."}, Message{"user", "what did I say?"})
	if got := decide(Request{Messages: again, Tools: tools}, false); got.Text != `You said before: "write a.txt with x"` {
		t.Errorf("recall: %+v", got)
	}
	if got := decide(Request{Messages: after[:1]}, false); got.Calls != nil || got.Text == "" {
		t.Errorf("without tools: %+v", got)
	}
	title := Request{Messages: after[:1], Format: json.RawMessage(`{"type":"object","properties":{"title":{"type":"string"}},"required":["title"]}`)}
	if got := decide(title, false); got.Text != `{"title":"scripted"}` {
		t.Errorf("with a format: %+v", got)
	}
	got := decide(Request{Messages: []Message{{"user", "fake:delay 2s /error 503 no"}}, Tools: tools}, false)
	if got.Error == nil || got.Error.Status != 503 || got.Error.Message != "no" || time.Duration(got.Delay) != 2*time.Second {
		t.Errorf("keywords: %+v", got)
	}
}

func TestScript(t *testing.T) {
	script, err := ReadScript(strings.NewReader(`[{"text":"first"},{"error":{"status":500,"message":"boom"}},{"calls":[{"name":"write","input":{"n":12345678901234567890}}],"delay":"1ms"}]`))
	if err != nil {
		t.Fatal(err)
	}
	s, url := serve(t, Options{Script: script})
	// A background request must not use up a turn.
	if _, body := post(t, url+"/v1/chat/completions", `{"messages":[{"role":"user","content":"title?"}]}`); !strings.Contains(body, "You said: title?") {
		t.Error(body)
	}
	for _, want := range []string{`"content":"first"`, `"message":"boom"`, `{\"n\":12345678901234567890}`, `You said: hi`} {
		if _, body := ask(t, url, "chat", "hi", false); !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if got := s.Requests(); len(got) != 5 || got[1].Dialect != "chat" || got[1].Tools[0].Name != "write" || got[1].Messages[1].Text != "hi" {
		t.Errorf("requests %+v", got)
	}
	for _, bad := range []string{`{`, `[{"txt":"x"}]`, `[{"delay":"soon"}]`, `[{"error":{"status":200}}]`} {
		if _, err := ReadScript(strings.NewReader(bad)); err == nil {
			t.Errorf("script %s passed", bad)
		}
	}
}

func TestOtherEndpoints(t *testing.T) {
	_, url := serve(t, Options{})
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"HEAD", "/api/hello", "", 200}, {"GET", "/v1/models", "", 200}, {"GET", "/__requests", "", 200}, {"GET", "/v1/responses", "", 404},
		{"POST", "/v1/messages/count_tokens", "{}", 200}, {"POST", "/nothing", "{}", 404}, {"POST", "/v1/messages", "{", 400}, {"POST", "/v1/responses", "[]", 400},
	} {
		req, err := http.NewRequest(tt.method, url+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, r.StatusCode, tt.status)
		}
	}
}

// TestClientGone expects a handler to return when its client has left.
func TestClientGone(t *testing.T) {
	for _, text := range []string{"/delay 1h x", "/long 1000000"} {
		done := make(chan struct{})
		s := New(Options{})
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			s.ServeHTTP(w, r)
		}))
		ctx, cancel := context.WithCancel(t.Context())
		body := strings.ReplaceAll(strings.ReplaceAll(bodies["chat"].body, "STREAM", "true"), "TEXT", text)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, hs.URL+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			testkit.Until(func() bool { return len(s.Requests()) > 0 })
			cancel()
		}()
		if r, err := http.DefaultClient.Do(req); err == nil {
			if _, err = io.Copy(io.Discard, r.Body); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", text, err)
			}
			_ = r.Body.Close()
		}
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the handler goes on", text)
		}
		hs.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
	}
}

func TestWire(t *testing.T) {
	home := t.TempDir()
	for agent := range wirings {
		env, err := Wire(agent, "http://127.0.0.1:1/", home)
		if err != nil {
			t.Fatal(err)
		}
		if env[0] != "HOME="+home || len(env) < 2 || strings.Contains(strings.Join(env, " "), "BASE/") {
			t.Errorf("%s: %v", agent, env)
		}
		for name := range wirings[agent].files {
			data, err := os.ReadFile(filepath.Join(home, name))
			if err != nil {
				t.Error(err)
			}
			if strings.HasSuffix(name, ".json") && !json.Valid(data) {
				t.Errorf("%s is no JSON: %s", name, data)
			}
		}
	}
	toml, _ := os.ReadFile(filepath.Join(home, ".codex/config.toml"))
	if !bytes.Contains(toml, []byte(`base_url = "http://127.0.0.1:1/v1"`)) {
		t.Errorf("config %s", toml)
	}
	if _, err := Wire("nobody", "http://x", home); err == nil {
		t.Error("an unknown agent was wired")
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b.body))
	}
	f.Add([]byte(`{"messages":[{"content":[{"text":7}]}],"input":"x","tools":[{"type":"namespace","name":"n","tools":[{"name":"t"}]}],"tool_choice":"required"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, d := range dialects {
			req, err := d.decode("/v1beta/models/m:generateContent", body)
			if err != nil {
				continue
			}
			if turn := decide(req, true); turn.Error == nil && turn.Text == "" && len(turn.Calls) == 0 && turn.Thinking == "" {
				t.Errorf("%s: nothing to say to %s", name, body)
			}
			if _, err := json.Marshal(d.whole(1, req, Turn{Text: "x"})); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func BenchmarkTurn(b *testing.B) {
	s := New(Options{})
	body := strings.ReplaceAll(bodies["anthropic"].body, "STREAM", "true")
	for b.Loop() {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(body)))
	}
}

// TestWireNamesTheModel holds the environment of every agent to variables that
// hold the address of the model, not part of their names.
func TestWireNamesTheModel(t *testing.T) {
	const base = "http://127.0.0.1:1"
	for agent := range wirings {
		env, err := Wire(agent, base, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range env {
			name, value, ok := strings.Cut(kv, "=")
			if !ok || strings.ContainsAny(name, ":/{}") || strings.Contains(value, "BASE") {
				t.Errorf("%s has %q", agent, kv)
			}
		}
	}
}
