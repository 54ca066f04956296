package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// moody is an agent with modes, of which the first is the one that it starts in.
// It answers "env NAME" with a variable, "pwd" with its working directory, "opened" with the parameters of its
// session, and "ask CALL" with what becomes of a permission request for that tool
// call.
func moody(in io.Reader, out io.Writer, names []string) error {
	modes := &acp.SessionModes{CurrentModeID: names[0]}
	for _, name := range names {
		modes.AvailableModes = append(modes.AvailableModes, acp.Mode{ID: name, Name: name})
	}
	if names[0] == "" {
		modes = nil
	}
	abilities := acp.SessionCapabilities{Resume: acp.Present}
	if names[0] == "yolo" {
		abilities.Resume = nil
	}
	var opened json.RawMessage
	var turns int64 // that it has answered, of which its usage is the sum
	var conn *acp.Conn
	answer := func(ctx context.Context, sid, text string) string {
		word, rest, _ := strings.Cut(text, " ")
		switch word {
		case "env":
			return os.Getenv(rest)
		case "pwd":
			dir, err := os.Getwd()
			return fmt.Sprint(dir, err)
		case "opened":
			return string(opened)
		case "ask":
			var call acp.ToolCall
			if err := json.Unmarshal([]byte(rest), &call); err != nil {
				return err.Error()
			}
			var result acp.PermissionResult
			err := conn.Call(ctx, acp.MethodRequestPermission, acp.PermissionRequest{SessionID: sid, ToolCall: call, Options: []acp.PermissionOption{
				{OptionID: "yes", Name: "Yes", Kind: acp.AllowOnce}, {OptionID: "no", Name: "No", Kind: acp.RejectOnce},
			}}, &result)
			if err != nil {
				return err.Error()
			}
			return result.Outcome.OptionID
		}
		if modes == nil {
			return ""
		}
		return modes.CurrentModeID
	}
	conn = acp.NewConn(in, out, acp.ConnOptions{Handle: func(ctx context.Context, m *acp.Incoming) {
		switch m.Method {
		case acp.MethodInitialize:
			_ = m.Reply(acp.InitializeResult{
				ProtocolVersion: 1, AuthMethods: []acp.AuthMethod{},
				AgentCapabilities: acp.AgentCapabilities{LoadSession: true, SessionCapabilities: abilities},
			})
		case acp.MethodSessionLoad: // answered before the history is told
			_ = m.Decode(&opened)
			_ = m.Reply(acp.SessionResult{Modes: modes})
			var p struct{ SessionID string }
			_ = m.Decode(&p)
			tell := func(u acp.Update) {
				_ = conn.Notify(acp.MethodSessionUpdate, acp.SessionNotification{SessionID: p.SessionID, Update: u})
			}
			go func() {
				for range 20 {
					tell(acp.Update{Kind: acp.UpdateAgentMessage, Content: acp.TextBlock("old")})
				}
				tell(acp.Update{Kind: acp.UpdateCommands})
			}()
		case acp.MethodSessionNew, acp.MethodSessionResume:
			_ = m.Decode(&opened)
			result := acp.SessionResult{Modes: modes}
			if m.Method == acp.MethodSessionNew {
				result.SessionID = fmt.Sprintf("moody-%d", os.Getpid())
			}
			_ = m.Reply(result)
		case acp.MethodSetMode:
			var p acp.SetModeRequest
			_ = m.Decode(&p)
			if p.ModeID == "normal" {
				_ = m.Fail(acp.Errorf(acp.CodeInternalError, "the mode is forbidden here"))
				return
			}
			modes.CurrentModeID = p.ModeID
			_ = m.Reply(struct{}{})
		case acp.MethodSessionPrompt:
			var p acp.PromptRequest
			_ = m.Decode(&p)
			go func() { // a permission request waits for its reply, which comes over the connection
				_ = conn.Notify(acp.MethodSessionUpdate, acp.SessionNotification{SessionID: p.SessionID, Update: acp.Update{
					Kind: acp.UpdateAgentMessage, Content: acp.TextBlock(answer(ctx, p.SessionID, p.Prompt.Text())),
				}})
				turns++
				_ = m.Reply(acp.PromptResult{StopReason: acp.StopEndTurn, Usage: &acp.Usage{InputTokens: 100 * turns, OutputTokens: turns, TotalTokens: 101 * turns}})
			}()
		case acp.MethodSessionCancel:
		default:
			_ = m.Fail(acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", m.Method))
		}
	}})
	return conn.Run(context.Background())
}

// problem returns the problem with which a request fails.
func (r *rig) problem(method, path, body string) *api.Error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var problem *api.Error
	if err := r.send(ctx, method, path, body, nil); !errors.As(err, &problem) {
		r.t.Fatalf("%s %s: no problem but %v", method, path, err)
	}
	return problem
}

func TestSessionStartsInTheModeThatAsks(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"starts in another mode", `{"agent":"claude"}`, "default"},
		{"the client names a mode", `{"agent":"claude","mode":"plan"}`, "plan"},
		{"the client names the mode that it starts in", `{"agent":"claude","mode":"auto"}`, "auto"},
		{"the policy allows everything", `{"agent":"claude","permissions":{"default":"allow"}}`, "default"},
		{"its own settings started it elsewhere", `{"agent":"gemini"}`, "default"},
		{"nothing is known of the agent", `{"agent":"moody"}`, "first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, "", api.Limits{})
			s := r.create(test.body)
			if s.Mode != test.want {
				t.Errorf("the record has mode %q, want %q", s.Mode, test.want)
			}
			if turn := r.prompt(s.ID, "mode"); turn.Text != test.want {
				t.Errorf("the agent is in mode %q, want %q", turn.Text, test.want)
			}
		})
	}
}

// A session that comes back is in the same mode.
func TestRestoredSessionKeepsTheModeThatAsks(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{`{"agent":"claude"}`, "default"},
		{`{"agent":"claude","mode":"plan"}`, "plan"},
	} {
		r := start(t, "", api.Limits{})
		s := r.create(test.body)
		pid, err := os.FindProcess(r.pid(s.ID))
		if err != nil {
			t.Fatal(err)
		}
		if err := pid.Kill(); err != nil {
			t.Fatal(err)
		}
		r.awaitStatus(s.ID, api.SessionStopped)
		if turn := r.prompt(s.ID, "mode"); turn.Text != test.want {
			t.Errorf("%s: the agent is in mode %q, want %q", test.body, turn.Text, test.want)
		}
	}
}

func TestAgentThatCannotAskIsRefused(t *testing.T) {
	const reject = `"permissions":{"default":"allow","rules":[{"command":"rm *","decision":"reject"}]}`
	for _, test := range []struct{ name, body, words string }{
		{"it never asks, and the policy asks by default", `{"agent":"pi"}`, "pi never asks"},
		{"it never asks, and the policy rejects", `{"agent":"pi","permissions":{"default":"reject"}}`, "pi never asks"},
		{"it never asks, and a rule rejects", `{"agent":"pi",` + reject + `}`, "pi never asks"},
		{"it never asks, and a rule asks", `{"agent":"pi","permissions":{"default":"allow","rules":[{"kind":"edit","decision":"ask"}]}}`, "pi never asks"},
		{"it has no mode that asks", `{"agent":"qwen"}`, "does not take the mode default"},
		{"it refuses the mode that asks", `{"agent":"droid","permissions":{"default":"reject"}}`, "does not take the mode normal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, "", api.Limits{})
			problem := r.problem("POST", "/v1/sessions", test.body)
			if problem.Code != api.CodeAgentCannotAsk || problem.Status != 400 {
				t.Errorf("status %d, code %s", problem.Status, problem.Code)
			}
			for _, words := range []string{test.words, `{"default":"allow"}`, "--permissions allow"} {
				if !strings.Contains(problem.Detail, words) {
					t.Errorf("%q does not say %q", problem.Detail, words)
				}
			}
			var list api.SessionList
			if r.do("GET", "/v1/sessions", "", &list); list.Total != 0 {
				t.Errorf("%d sessions are kept", list.Total)
			}
		})
	}
}

func TestAgentThatCannotAskRunsUnderAPolicyThatAllowsAll(t *testing.T) {
	for _, agent := range []string{"pi", "qwen", "droid"} {
		r := start(t, "", api.Limits{})
		s := r.create(`{"agent":"` + agent + `","permissions":{"default":"allow","rules":[{"kind":"edit","path":"**","decision":"allow"}]}}`)
		r.prompt(s.ID, "mode")
		if agent != "pi" {
			continue
		}
		for _, patch := range []string{`{"permissions":{"default":"reject"}}`, `{"permissions":{}}`} {
			if problem := r.problem("PATCH", "/v1/sessions/"+s.ID, patch); problem.Code != api.CodeAgentCannotAsk {
				t.Errorf("PATCH %s: code %s", patch, problem.Code)
			}
		}
	}
}

func TestAgentIsStartedWithTheVariablesThatMakeItAsk(t *testing.T) {
	r := start(t, "", api.Limits{})
	value := func(s api.Session, name string) string {
		t.Helper()
		return r.prompt(s.ID, "env "+name).Text
	}
	asks := r.create(`{"agent":"opencode"}`)
	if got := value(asks, "OPENCODE_PERMISSION"); !strings.Contains(got, `"edit*":"ask"`) || !strings.Contains(got, `"bash*":"ask"`) {
		t.Errorf("it is started with %q", got)
	}
	own := r.create(`{"agent":"opencode","env":{"OPENCODE_PERMISSION":"{\"edit\":\"allow\"}"}}`)
	if got := value(own, "OPENCODE_PERMISSION"); got != `{"edit":"allow"}` {
		t.Errorf("what the client has set becomes %q", got)
	}
	content := r.create(`{"agent":"opencode","env":{"OPENCODE_CONFIG_CONTENT":"{\"model\":\"m\"}"}}`)
	if got := value(content, "OPENCODE_CONFIG_CONTENT"); !strings.Contains(got, `"model":"m"`) || !strings.Contains(got, `"edit*":"ask"`) {
		t.Errorf("the configuration of the client becomes %q", got)
	}
	free := r.create(`{"agent":"opencode","permissions":{"default":"allow"}}`)
	if got := value(free, "OPENCODE_PERMISSION"); got != "" {
		t.Errorf("under a policy that allows everything it is started with %q", got)
	}
	if body := fmt.Sprint(r.get(asks.ID)); strings.Contains(body, "edit*") {
		t.Errorf("the record shows the variables: %s", body)
	}

	before := r.pid(free.ID)
	r.do("PATCH", "/v1/sessions/"+free.ID, `{"permissions":{"default":"reject"}}`, nil)
	if got := value(free, "OPENCODE_PERMISSION"); !strings.Contains(got, `"edit*":"ask"`) {
		t.Errorf("after the policy rejects, it runs with %q", got)
	}
	if now := r.pid(free.ID); now == before {
		t.Error("the agent was not started again")
	}
	again := r.pid(free.ID)
	r.do("PATCH", "/v1/sessions/"+free.ID, `{"permissions":{"default":"ask"}}`, nil)
	if r.prompt(free.ID, "mode"); r.pid(free.ID) != again {
		t.Error("the agent was started again for a policy that asks for less")
	}
}

// Some agents tell in each answer what the session has used since their process
// has it open.
func TestUsageThatAgentsSumUpIsCountedOnce(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"copilot"}`)
	for range 3 {
		if turn := r.prompt(s.ID, "mode"); turn.Usage == nil || turn.Usage.TotalTokens != 101 {
			t.Errorf("the turn used %+v", turn.Usage)
		}
	}
	if u := r.get(s.ID).Usage; u.TotalTokens != 303 || u.InputTokens != 300 || u.OutputTokens != 3 {
		t.Errorf("three turns used %+v", u)
	}
	agent, err := os.FindProcess(r.pid(s.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Kill(); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(s.ID, api.SessionStopped)
	for range 2 { // a new process counts from zero
		if turn := r.prompt(s.ID, "mode"); turn.Usage == nil || turn.Usage.TotalTokens != 101 {
			t.Errorf("the turn used %+v", turn.Usage)
		}
	}
	if u := r.get(s.ID).Usage; u.TotalTokens != 505 {
		t.Errorf("five turns used %+v", u)
	}

	other := r.create(`{"agent":"moody"}`)
	r.prompt(other.ID, "mode")
	r.prompt(other.ID, "mode")
	if u := r.get(other.ID).Usage; u.TotalTokens != 303 {
		t.Errorf("an agent that tells of turns has used %+v", u)
	}
}

// What its user allows in the settings of an agent does not count where the
// policy of the session may reject it.
func TestSettingsOfTheUserDoNotOutrankAReject(t *testing.T) {
	for _, test := range []struct {
		permissions string
		want        bool
	}{
		{`{"default":"reject"}`, true},
		{`{"default":"allow","rules":[{"command":"rm *","decision":"reject"}]}`, true},
		{`{"default":"allow","rules":[{"kind":"edit","decision":"ask"}]}`, true},
		{`{"default":"ask"}`, false},
		{`{"default":"allow"}`, false},
	} {
		r := start(t, "", api.Limits{})
		s := r.create(`{"agent":"claude","permissions":` + test.permissions + `}`)
		opened := r.prompt(s.ID, "opened").Text
		if got := strings.Contains(opened, `"ask":["Bash","Edit","Write","NotebookEdit"]`); got != test.want {
			t.Errorf("%s: opened with %s", test.permissions, opened)
		}
	}
}

// Rules see the command wherever an agent has put it.
func TestRulesSeeTheCommandOfEachAgent(t *testing.T) {
	const codex = `{"toolCallId":"1","kind":"execute","title":"touch a","rawInput":{"command":["/bin/bash","-lc","touch a"],"parsed_cmd":[{"type":"unknown","cmd":"touch a"}],"proposed_execpolicy_amendment":["touch","a"]}}`
	const gemini = `{"toolCallId":"1","kind":"execute","title":"touch a","content":[{"type":"content","content":{"type":"text","text":"[current working directory /home]"}}],"locations":[]}`
	for agent, call := range map[string]string{"codex": codex, "gemini": gemini} {
		for _, test := range []struct{ permissions, want string }{
			{`{"default":"allow","rules":[{"command":"touch *","decision":"reject"}]}`, "no"},
			{`{"default":"reject","rules":[{"command":"touch *","decision":"allow"}]}`, "yes"},
			{`{"default":"reject","rules":[{"command":"rm *","decision":"allow"}]}`, "no"},
		} {
			r := start(t, "", api.Limits{})
			s := r.create(`{"agent":"` + agent + `","permissions":` + test.permissions + `}`)
			if got := r.prompt(s.ID, "ask "+call).Text; got != test.want {
				t.Errorf("%s under %s: %q, want %q", agent, test.permissions, got, test.want)
			}
			// A dry run says the same, of the past call and of one that is given.
			for _, given := range []string{"", `,"toolCall":` + call} {
				var check api.PermissionCheck
				r.do("POST", "/v1/permissions/check", `{"session":"`+s.ID+`"`+given+`}`, &check)
				want := map[string]string{"yes": api.DecideAllow, "no": api.DecideReject}[test.want]
				if len(check.Calls) != 1 || check.Calls[0].Decision != want {
					t.Errorf("%s under %s: a dry run says %+v, want %s", agent, test.permissions, check.Calls, want)
				}
			}
		}
	}
}

// An agent that tells its history after it has said that the session is loaded
// does not say it again: not in the text of the next turn, and not in the events.
func TestHistoryThatIsToldLateIsNotAnAnswer(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"gemini"}`)
	r.prompt(s.ID, "mode")
	agent, err := os.FindProcess(r.pid(s.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Kill(); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(s.ID, api.SessionStopped)
	if turn := r.prompt(s.ID, "mode"); turn.Text != "default" {
		t.Errorf("the turn says %q", turn.Text)
	}
	if info := r.get(s.ID); info.Restored == nil || info.Restored.How != api.RestoredLoaded {
		t.Errorf("restored: %+v", info.Restored)
	}
	if n := count(r.events(s.ID), `"text":"old"`); n > 0 {
		t.Errorf("%d events tell the history again", n)
	}
	if turn := r.prompt(s.ID, "mode"); turn.Text != "default" {
		t.Errorf("a later turn says %q", turn.Text)
	}
}
