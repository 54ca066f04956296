package fakeagent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a real ACP client of an agent that runs in this process.
type client struct {
	t    *testing.T
	conn *acp.Conn
	stop func() // ends the agent's input and waits for it

	mu       sync.Mutex
	updates  []acp.Update
	other    []string // frames that are no update
	rubbish  []string
	asked    int
	answer   func(acp.PermissionRequest) acp.PermissionResult
	onUpdate func(acp.Update)
}

func start(t *testing.T, opts Options) *client {
	t.Helper()
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	c := &client{t: t}
	frames := &frames{t: t}
	c.conn = acp.NewConn(cr, &lineWriter{to: cw, check: frames.fromClient}, acp.ConnOptions{Handle: c.handle, Invalid: func(line []byte, _ error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rubbish = append(c.rubbish, string(line))
	}})
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.conn.Run(context.Background()) })
	wg.Go(func() {
		if err := Run(context.Background(), ar, &lineWriter{to: aw, check: frames.fromAgent}, opts); err != nil {
			t.Errorf("agent: %v", err)
		}
		_ = aw.Close()
	})
	c.stop = sync.OnceFunc(func() {
		_ = cw.Close()
		wg.Wait()
	})
	t.Cleanup(c.stop)
	return c
}

func (c *client) handle(_ context.Context, in *acp.Incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch in.Method {
	case acp.MethodSessionUpdate:
		var p acp.SessionNotification
		if err := in.Decode(&p); err != nil {
			c.t.Error(err)
		}
		c.updates = append(c.updates, p.Update)
		if c.onUpdate != nil {
			c.onUpdate(p.Update)
		}
	case acp.MethodRequestPermission:
		var p acp.PermissionRequest
		if err := in.Decode(&p); err != nil {
			c.t.Error(err)
		}
		c.asked++
		if c.answer != nil {
			result := c.answer(p)
			go func() { _ = in.Reply(result) }()
		}
	default:
		c.other = append(c.other, string(in.Line))
	}
}

func (c *client) call(method string, params, result any) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.conn.Call(ctx, method, params, result); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

func (c *client) open(cwd string) string {
	c.t.Helper()
	var r acp.SessionResult
	c.call(acp.MethodSessionNew, acp.NewSessionRequest{CWD: cwd, MCPServers: []acp.MCPServer{}}, &r)
	return r.SessionID
}

func (c *client) prompt(session, text string) acp.PromptResult {
	c.t.Helper()
	var r acp.PromptResult
	c.call(acp.MethodSessionPrompt, acp.PromptRequest{SessionID: session, Prompt: acp.Prompt{acp.TextBlock(text)}}, &r)
	return r
}

// take returns the kinds of the updates so far, their texts joined, and forgets them.
func (c *client) take() (kinds, text string, calls []acp.ToolCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ks []string
	for _, u := range c.updates {
		ks = append(ks, u.Kind)
		if u.Kind == acp.UpdateAgentMessage {
			text += u.Content.Text
		}
		if u.Kind == acp.UpdateToolCall || u.Kind == acp.UpdateToolCallDelta {
			calls = append(calls, u.ToolCall)
		}
	}
	c.updates = nil
	return strings.Join(ks, " "), text, calls
}

func choose(kind string) func(acp.PermissionRequest) acp.PermissionResult {
	return func(r acp.PermissionRequest) acp.PermissionResult {
		o, ok := r.Option(kind)
		if !ok {
			return acp.Cancelled()
		}
		return acp.Selected(o.OptionID)
	}
}

func TestInitialize(t *testing.T) {
	c := start(t, Options{Version: "1.2"})
	for _, version := range []string{`1`, `"1.0"`, `"2025-03-18"`} {
		var r map[string]any
		c.call(acp.MethodInitialize, json.RawMessage(`{"protocolVersion":`+version+`}`), &r)
		if r["protocolVersion"] != 1.0 || r["agentInfo"].(map[string]any)["version"] != "1.2" {
			t.Errorf("version %s: %v", version, r)
		}
	}
}

func TestPlainTalk(t *testing.T) {
	c := start(t, Options{})
	id := c.open(t.TempDir())
	r := c.prompt(id, "hello there")
	if r.StopReason != acp.StopEndTurn || r.Usage == nil || r.Usage.OutputTokens == 0 {
		t.Errorf("result %+v", r)
	}
	kinds, text, _ := c.take()
	if want := "agent_thought_chunk agent_message_chunk agent_message_chunk usage_update session_info_update"; kinds != want {
		t.Errorf("updates %s", kinds)
	}
	if text != "You said: hello there" || c.asked != 0 {
		t.Errorf("text %q, asked %d", text, c.asked)
	}
	c.prompt(id, "what did I say?")
	if _, text, _ = c.take(); text != `You said before: "hello there"` {
		t.Errorf("text %q", text)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Options{})
	c.answer = choose(acp.AllowOnce)
	id := c.open(dir)
	if r := c.prompt(id, "add a README that says hello"); r.StopReason != acp.StopEndTurn {
		t.Errorf("stop reason %s", r.StopReason)
	}
	kinds, text, calls := c.take()
	if want := "plan agent_thought_chunk tool_call tool_call_update tool_call_update plan agent_message_chunk usage_update session_info_update"; kinds != want {
		t.Errorf("updates %s", kinds)
	}
	call := calls[0]
	if call.Status != acp.StatusPending || call.Kind != acp.ToolEdit || call.Content[0].OldText != nil || call.Content[0].NewText != "hello\n" ||
		call.Locations[0].Path != filepath.Join(dir, "README.md") || len(call.RawInput) == 0 {
		t.Errorf("tool call %+v", call)
	}
	if calls[2].Status != acp.StatusCompleted || c.asked != 1 || text != "I wrote README.md." {
		t.Errorf("calls %+v, asked %d, text %q", calls, c.asked, text)
	}
	expectFile(t, dir, "README.md", "hello\n")
	c.prompt(id, "add a README that says welcome")
	c.take()
	expectFile(t, dir, "README.md", "hello\nwelcome\n")
	c.prompt(id, "write README.md with hello")
	c.take()
	expectFile(t, dir, "README.md", "hello\n")

	c.prompt(id, "replace hello with goodbye in README.md")
	_, _, calls = c.take()
	if old := calls[0].Content[0].OldText; old == nil || *old != "hello\n" {
		t.Errorf("old text %v", old)
	}
	c.prompt(id, `append "more" to README.md`)
	expectFile(t, dir, "README.md", "goodbye\nmore\n")
	c.prompt(id, "rename README.md to b.txt")
	expectFile(t, dir, "b.txt", "goodbye\nmore\n")
	c.prompt(id, "delete b.txt")
	if _, err := os.Stat(filepath.Join(dir, "b.txt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func expectFile(t *testing.T, dir, name, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
	}
}

func TestRunCommand(t *testing.T) {
	c := start(t, Options{})
	c.answer = choose(acp.AllowAlways)
	id := c.open(t.TempDir())
	c.prompt(id, "run echo out; echo err >&2")
	_, _, calls := c.take()
	last := calls[len(calls)-1]
	if got := last.Content[0].Content.Text; !strings.Contains(got, "out\n") || !strings.Contains(got, "err\n") || last.Status != acp.StatusCompleted {
		t.Errorf("call %+v with %q", last, got)
	}
	c.prompt(id, "run exit 3")
	_, text, calls := c.take()
	if calls[len(calls)-1].Status != acp.StatusFailed || !strings.Contains(text, "exit code 3") {
		t.Errorf("text %q", text)
	}
	if c.asked != 1 {
		t.Errorf("asked %d times although always allowed", c.asked)
	}
}

func TestRefusals(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	c := start(t, Options{})
	c.answer = choose(acp.RejectOnce)
	id := c.open(dir)
	r := c.prompt(id, "write a.txt with x")
	_, _, calls := c.take()
	if r.StopReason != acp.StopEndTurn || calls[len(calls)-1].Status != acp.StatusFailed {
		t.Errorf("rejected: %s, %+v", r.StopReason, calls)
	}
	c.mu.Lock()
	c.answer = func(acp.PermissionRequest) acp.PermissionResult { return acp.Cancelled() }
	c.mu.Unlock()
	if r := c.prompt(id, "write a.txt with x"); r.StopReason != acp.StopCancelled {
		t.Errorf("cancelled: %s", r.StopReason)
	}
	c.mu.Lock()
	c.answer = choose(acp.AllowOnce)
	c.mu.Unlock()
	for _, path := range []string{"../a.txt", "/etc/a.txt", "link/a.txt", filepath.Join(outside, "a.txt")} {
		c.prompt(id, "write `"+path+"` with x")
	}
	c.call(acp.MethodSetMode, acp.SetModeRequest{SessionID: id, ModeID: "plan"}, nil)
	c.take()
	c.prompt(id, "write a.txt with x")
	if kinds, text, _ := c.take(); strings.Contains(kinds, "tool_call") || !strings.Contains(text, "plan mode") {
		t.Errorf("plan mode: %s %q", kinds, text)
	}
	for _, d := range []string{dir, outside} {
		entries, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "link" {
				t.Errorf("%s was made in %s", e.Name(), d)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	c := start(t, Options{})
	id := c.open(t.TempDir())
	var r acp.SetConfigOptionResult
	c.call(acp.MethodSetConfigOption, acp.SetConfigOptionRequest{SessionID: id, ConfigID: "thought_level", Value: "high"}, &r)
	if o := acp.OptionByID(r.ConfigOptions, "thought_level"); o == nil || o.CurrentValue != "high" {
		t.Errorf("options %+v", r.ConfigOptions)
	}
	c.call(acp.MethodSetModel, acp.SetModelRequest{SessionID: id, ModelID: "mock-fast"}, nil)
	c.call(acp.MethodSetMode, acp.SetModeRequest{SessionID: id, ModeID: "plan"}, nil)
	if kinds, _, _ := c.take(); kinds != "config_option_update current_mode_update" {
		t.Errorf("updates %s", kinds)
	}
	for _, p := range []acp.SetConfigOptionRequest{{SessionID: id, ConfigID: "model", Value: "gpt"}, {SessionID: id, ConfigID: "x", Value: "y"}} {
		var fault *acp.RPCError
		if err := c.conn.Call(t.Context(), acp.MethodSetConfigOption, p, nil); !errors.As(err, &fault) || fault.Code != acp.CodeInvalidParams {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestSessionsSurvive(t *testing.T) {
	opts := Options{StateDir: filepath.Join(t.TempDir(), "state")}
	dir := t.TempDir()
	c := start(t, opts)
	id := c.open(dir)
	c.prompt(id, "the word is plum")
	c.call(acp.MethodSetModel, acp.SetModelRequest{SessionID: id, ModelID: "mock-fast"}, nil)
	c.stop()

	// A crash may leave half a line.
	f, err := os.OpenFile(filepath.Join(opts.StateDir, id+".jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"sessionUpdate":"agent_mess`)
	_ = f.Close()

	c = start(t, opts)
	var list acp.ListSessionsResult
	c.call(acp.MethodSessionList, acp.ListSessionsRequest{CWD: dir}, &list)
	if len(list.Sessions) != 1 || list.Sessions[0].SessionID != id || list.Sessions[0].Title != "the word is plum" {
		t.Errorf("list %+v", list)
	}
	var r acp.SessionResult
	c.call(acp.MethodSessionLoad, acp.LoadSessionRequest{SessionID: id, CWD: dir, MCPServers: []acp.MCPServer{}}, &r)
	if kinds, text, _ := c.take(); kinds != "user_message_chunk agent_thought_chunk agent_message_chunk agent_message_chunk" || text != "You said: the word is plum" {
		t.Errorf("replay %s %q", kinds, text)
	}
	if r.Models.CurrentModelID != "mock-fast" {
		t.Errorf("model %s", r.Models.CurrentModelID)
	}
	c.prompt(id, "what did I say?")
	if _, text, _ := c.take(); !strings.Contains(text, "plum") {
		t.Errorf("text %q", text)
	}
	c.call(acp.MethodSessionClose, acp.SessionRequest{SessionID: id}, nil)
	c.call(acp.MethodSessionResume, acp.LoadSessionRequest{SessionID: id, CWD: dir, MCPServers: []acp.MCPServer{}}, nil)
	if kinds, _, _ := c.take(); kinds != "" {
		t.Errorf("resume told %s", kinds)
	}
	var fault *acp.RPCError
	if err := c.conn.Call(t.Context(), acp.MethodSessionLoad, acp.LoadSessionRequest{SessionID: "../x", CWD: dir, MCPServers: []acp.MCPServer{}}, nil); !errors.As(err, &fault) || fault.Code != acp.CodeResourceNotFound {
		t.Errorf("load of nothing: %v", err)
	}
}

func TestCancel(t *testing.T) {
	for _, text := range []string{"/silence", "/delay 1h", "/burst 1000000000", "write a.txt with x", "/permission", "run sleep 1000"} {
		t.Run(text, func(t *testing.T) {
			c := start(t, Options{})
			id := c.open(t.TempDir())
			if strings.HasPrefix(text, "run") {
				c.answer = choose(acp.AllowOnce)
			}
			var cancel sync.Once
			send := func() {
				cancel.Do(func() { go func() { _ = c.conn.Notify(acp.MethodSessionCancel, acp.SessionRequest{SessionID: id}) }() })
			}
			c.onUpdate = func(u acp.Update) {
				if u.Kind != acp.UpdateToolCallDelta && u.Kind != acp.UpdateAgentMessage && u.Kind != acp.UpdateToolCall {
					return
				}
				if !strings.HasPrefix(text, "run") || u.ToolCall.Status == acp.StatusInProgress {
					send()
				}
			}
			if text == "/silence" || text == "/delay 1h" {
				// The prompt is registered as it is read, so the cancel behind it finds it.
				result := make(chan acp.PromptResult, 1)
				go func() { result <- c.prompt(id, text) }()
				testkit.Await(t, "the turn to end", func() bool {
					send()
					_ = c.conn.Notify(acp.MethodSessionCancel, acp.SessionRequest{SessionID: id})
					return len(result) == 1
				})
				if r := <-result; r.StopReason != acp.StopCancelled {
					t.Errorf("stop reason %s", r.StopReason)
				}
				return
			}
			if r := c.prompt(id, text); r.StopReason != acp.StopCancelled {
				t.Errorf("stop reason %s", r.StopReason)
			}
		})
	}
}

func TestTurnsOfASessionQueue(t *testing.T) {
	c := start(t, Options{})
	id := c.open(t.TempDir())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r := c.prompt(id, "/echo x"); r.StopReason != acp.StopEndTurn {
				t.Errorf("stop reason %s", r.StopReason)
			}
		})
	}
	wg.Wait()
}

// TestWireOfTheOldMock checks what the earlier mock sent, byte for byte in its payloads.
func TestWireOfTheOldMock(t *testing.T) {
	in := `{"id":12345678901234567890123,"method":"foo/bar","params":{"z":1,"a":1.0}}
{"jsonrpc":"2.0","id":"x","result":{"ok":1}}
{"method":"some/note"}
not json
{"jsonrpc":"2.0","id":1,"method":"_sandboxagent/agent/list"}
`
	var out bytes.Buffer
	if err := Run(t.Context(), strings.NewReader(in), &out, Options{}); err != nil {
		t.Fatal(err)
	}
	want := `{"jsonrpc":"2.0","method":"mock/echo","params":{"message":{"id":12345678901234567890123,"method":"foo/bar","params":{"z":1,"a":1.0}}}}
{"jsonrpc":"2.0","id":12345678901234567890123,"result":{"echoed":{"id":12345678901234567890123,"method":"foo/bar","params":{"z":1,"a":1.0}}}}
{"jsonrpc":"2.0","method":"mock/echo","params":{"message":{"jsonrpc":"2.0","id":"x","result":{"ok":1}}}}
{"jsonrpc":"2.0","method":"mock/client_response","params":{"id":"x","result":{"ok":1},"error":null}}
{"jsonrpc":"2.0","method":"mock/echo","params":{"message":{"method":"some/note"}}}
{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error: expected null at offset 0"}}
{"jsonrpc":"2.0","id":1,"result":{"agents":[{"id":"mock","name":"Mock","installed":true,"credentialsAvailable":true,"version":"builtin"}]}}
`
	if out.String() != want {
		t.Errorf("\n got %s\nwant %s", out.String(), want)
	}
}

func TestDeaf(t *testing.T) {
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, ar, aw, Options{}) }()
	lines := bufio.NewScanner(cr)
	if _, err := fmt.Fprintf(cw, `{"id":1,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`+"\n", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	var opened struct{ Result acp.SessionResult }
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &opened) != nil {
		t.Fatalf("got %s", lines.Text())
	}
	if _, err := fmt.Fprintf(cw, `{"id":2,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/deaf"}]}}`+"\n", opened.Result.SessionID); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() && !strings.Contains(lines.Text(), `"id":2`) {
	}
	if _, err := io.WriteString(cw, `{"id":3,"method":"initialize"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = aw.Close()
	for lines.Scan() {
		t.Errorf("a deaf agent said %s", lines.Text())
	}
}

func BenchmarkBurst(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	a := newAgent(ctx, cancel, Options{})
	a.conn = acp.NewConn(strings.NewReader(""), io.Discard, acp.ConnOptions{})
	t := &turn{agent: a, session: openSession(meta{ID: newID()}, nil)}
	b.SetBytes(250)
	b.ResetTimer()
	if err := t.burst(ctx, fmt.Sprintf("%d 250", b.N)); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkPrompt(b *testing.B) {
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	c := acp.NewConn(cr, cw, acp.ConnOptions{Handle: func(context.Context, *acp.Incoming) {}})
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(context.Background()) })
	wg.Go(func() { _ = Run(context.Background(), ar, aw, Options{StateDir: b.TempDir()}); _ = aw.Close() })
	var s acp.SessionResult
	if err := c.Call(b.Context(), acp.MethodSessionNew, acp.NewSessionRequest{CWD: b.TempDir(), MCPServers: []acp.MCPServer{}}, &s); err != nil {
		b.Fatal(err)
	}
	p := acp.PromptRequest{SessionID: s.SessionID, Prompt: acp.Prompt{acp.TextBlock("hello")}}
	for b.Loop() {
		if err := c.Call(b.Context(), acp.MethodSessionPrompt, p, nil); err != nil {
			b.Fatal(err)
		}
	}
	_ = cw.Close()
	wg.Wait()
}
