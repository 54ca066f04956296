package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/fakeagent"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// TestMain makes the test binary the agents and the server of the tests too.
func TestMain(m *testing.M) {
	args := os.Args
	if len(args) < 3 {
		goleak.VerifyTestMain(m)
		return
	}
	var err error
	switch args[1] {
	case "keeper": // keeps its sessions in a folder, for load and resume
		err = fakeagent.Run(context.Background(), os.Stdin, os.Stdout, fakeagent.Options{StateDir: args[2]})
	case "loader": // the same, without resume
		err = fakeagent.Run(context.Background(), os.Stdin, noResume{os.Stdout}, fakeagent.Options{StateDir: args[2]})
	case "plain": // forgets its sessions, and says what it is told
		err = plain(os.Stdin, os.Stdout)
	case "scripted":
		err = scripted(os.Stdin, os.Stdout)
	case "opener": // opens sessions in the ways that are named
		err = opener(os.Stdin, os.Stdout, args[2:])
	case "moody": // has the modes that are named
		err = moody(os.Stdin, os.Stdout, args[2:])
	case "serve":
		err = serveAlone(args[2], args[3])
	case "small-disk":
		err = serveOnSmallDisk(args[2], args[3])
	default:
		goleak.VerifyTestMain(m)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type noResume struct{ io.Writer }

func (w noResume) Write(p []byte) (int, error) {
	_, err := w.Writer.Write(bytes.ReplaceAll(p, []byte(`"resume":{}`), []byte(`"other":{}`)))
	return len(p), err
}

// plain is an agent that can do nothing but begin sessions. It repeats every
// block of a prompt.
func plain(in io.Reader, out io.Writer) error {
	conn := acp.NewConn(in, out, acp.ConnOptions{})
	n, spent := 0, 0.0
	conn = acp.NewConn(in, out, acp.ConnOptions{Handle: func(_ context.Context, m *acp.Incoming) {
		switch m.Method {
		case acp.MethodInitialize:
			_ = m.Reply(acp.InitializeResult{ProtocolVersion: 1, AuthMethods: []acp.AuthMethod{}})
		case acp.MethodSessionNew:
			n++
			_ = m.Reply(acp.SessionResult{SessionID: fmt.Sprintf("plain-%d-%d", os.Getpid(), n)})
		case acp.MethodSessionPrompt:
			var p acp.PromptRequest
			_ = m.Decode(&p)
			for i, b := range p.Prompt {
				_ = conn.Notify(acp.MethodSessionUpdate, acp.SessionNotification{SessionID: p.SessionID, Update: acp.Update{
					Kind: acp.UpdateAgentMessage, Content: acp.TextBlock(fmt.Sprintf("[%d:%s]", i, b.Text)),
				}})
			}
			spent++
			_ = conn.Notify(acp.MethodSessionUpdate, acp.SessionNotification{SessionID: p.SessionID, Update: acp.Update{
				Kind: acp.UpdateSessionInfo, Info: acp.SessionInfo{Title: "of " + p.Prompt.Text()},
			}})
			_ = conn.Notify(acp.MethodSessionUpdate, acp.SessionNotification{SessionID: p.SessionID, Update: acp.Update{
				Kind: acp.UpdateUsage, Usage: acp.ContextUsage{Cost: &acp.Cost{Amount: spent, Currency: "USD"}},
			}})
			_ = m.Reply(acp.PromptResult{StopReason: acp.StopEndTurn})
		case acp.MethodSessionCancel:
		default:
			_ = m.Fail(acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", m.Method))
		}
	}})
	return conn.Run(context.Background())
}

func config(data, home string) (app.Config, error) {
	exe, err := os.Executable()
	if err != nil {
		return app.Config{}, err
	}
	return app.Config{
		DataDir: data, Home: home, SelfExe: exe, Env: []string{"PATH=/usr/bin:/bin", "HOME=" + home},
		AgentCommands: map[string][]string{
			"keeper": {exe, "keeper", data + "/agent"},
			"loader": {exe, "loader", data + "/agent"},
			"plain":  {exe, "plain", "agent"},

			"moody":    {exe, "moody", "first", "second"},
			"claude":   {exe, "moody", "auto", "default", "plan"},
			"gemini":   {exe, "moody", "yolo", "default"},
			"codex":    {exe, "moody", "read-only"},
			"opencode": {exe, "moody", "build", "plan"},
			"qwen":     {exe, "moody", "auto", "yolo"},
			"droid":    {exe, "moody", "auto-high", "normal"},
			"copilot":  {exe, "moody", "https://agentclientprotocol.com/protocol/session-modes#agent"},
			"pi":       {exe, "moody", ""},

			"scripted": {exe, "scripted", "agent"},
		},
	}, nil
}

// serveAlone is the server as a process of its own.
func serveAlone(data, home string) error {
	cfg, err := config(data, home)
	if err != nil {
		return err
	}
	return serve.UntilInputEnds(cfg)
}

// rig is a server and a client of it.
type rig struct {
	t    *testing.T
	url  string
	data string
	home string
	http *http.Client
	stop func()
}

// start runs a server within the test, on data if that is not empty.
func start(t *testing.T, data string, limits api.Limits) *rig {
	t.Helper()
	home := t.TempDir()
	if data == "" {
		data = t.TempDir()
	}
	cfg, err := config(data, home)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Limits = limits
	s := serve.Start(t, cfg)
	return &rig{t: t, url: s.URL, data: data, home: home, http: s.Client, stop: s.Stop}
}

// of returns a client of a server that is a process.
func of(t *testing.T, p *serve.Process, data, home string) *rig {
	return &rig{t: t, url: p.URL, data: data, home: home, http: p.Client}
}

// send makes a request and decodes the answer into out, if that is not nil. A
// problem is returned as an error.
func (r *rig) send(ctx context.Context, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "#async") {
		req.Header.Set("Prefer", "respond-async")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		problem := new(api.Error)
		if err := json.Unmarshal(data, problem); err != nil {
			return fmt.Errorf("status %d: %s", resp.StatusCode, data)
		}
		return problem
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
}

// patience is how long anything may take on a busy machine.
const patience = 5 * time.Minute

// do is send that must succeed.
func (r *rig) do(method, path, body string, out any) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.send(ctx, method, path, body, out); err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (r *rig) create(body string) api.Session {
	r.t.Helper()
	var s api.Session
	r.do("POST", "/v1/sessions", body, &s)
	return s
}

func (r *rig) get(id string) api.Session {
	r.t.Helper()
	var s api.Session
	r.do("GET", "/v1/sessions/"+id, "", &s)
	return s
}

func promptBody(text string, more string) string {
	data, _ := json.Marshal(text)
	return `{"prompt":` + string(data) + more + `}`
}

func (r *rig) prompt(id, text string) api.SessionTurn {
	r.t.Helper()
	var turn api.SessionTurn
	r.do("POST", "/v1/sessions/"+id+"/prompt", promptBody(text, ""), &turn)
	return turn
}

func (r *rig) promptAsync(id, text, more string) {
	r.t.Helper()
	r.do("POST", "/v1/sessions/"+id+"/prompt#async", promptBody(text, more), nil)
}

// events returns all events of a session, which must be without holes.
func (r *rig) events(id string) []api.SessionEvent {
	r.t.Helper()
	var all []api.SessionEvent
	for cursor := "0"; cursor != ""; {
		var page api.SessionEvents
		r.do("GET", "/v1/sessions/"+id+"/events?limit=1000&after="+cursor, "", &page)
		all = append(all, page.Events...)
		cursor = page.NextCursor
	}
	for i, e := range all {
		if e.EventIndex != uint64(i+1) {
			r.t.Fatalf("event %d has number %d", i+1, e.EventIndex)
		}
	}
	return all
}

func count(events []api.SessionEvent, part string) int {
	n := 0
	for _, e := range events {
		if strings.Contains(string(e.Payload), part) {
			n++
		}
	}
	return n
}

// pid returns the process of a session's agent, 0 if there is none.
func (r *rig) pid(id string) int {
	r.t.Helper()
	var list api.ACPServerList
	r.do("GET", "/v1/acp?all=true", "", &list)
	for _, s := range list.Servers {
		if s.ServerID == "session-"+id {
			return s.PID
		}
	}
	return 0
}

// await waits for a condition.
var await = testkit.Await

func (r *rig) awaitStatus(id, status string) {
	r.t.Helper()
	await(r.t, "status "+status, func() bool { return r.get(id).Status == status })
}

// awaitPrompt waits until the agent has been sent a prompt.
func (r *rig) awaitPrompt(id, text string) {
	r.t.Helper()
	await(r.t, "the prompt "+text, func() bool { return count(r.events(id), text) > 0 })
}

func (r *rig) awaitPermission(id string) api.Permission {
	r.t.Helper()
	var list api.PermissionList
	await(r.t, "a permission", func() bool {
		r.do("GET", "/v1/sessions/"+id+"/permissions", "", &list)
		return len(list.Permissions) > 0
	})
	return list.Permissions[0]
}
