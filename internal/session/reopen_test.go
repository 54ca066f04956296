package session

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// openers are the agents of a manager whose agent is the test binary as an opener.
type openers struct {
	noAgents
	named  []string // what the agent can do
	lacks  []api.SessionNotice
	asking api.AgentAsking
}

func (o openers) Launch(context.Context, string) (bridge.Spec, error) {
	exe, err := os.Executable()
	return bridge.Spec{Path: exe, Args: append([]string{"opener", "agent"}, o.named...)}, err
}

func (o openers) ReplaysLate(string) bool { return slices.Contains(o.named, "late") }

func (o openers) Prepare(_ context.Context, _ string, _ Stored, params json.RawMessage) (json.RawMessage, []api.SessionNotice, error) {
	return params, o.lacks, nil
}

func (o openers) Asking(string) api.AgentAsking { return o.asking }

// stoppedSession runs a manager whose session s has said something and has no agent.
func stoppedSession(t *testing.T, agents openers, change func(*record)) (*Manager, func()) {
	t.Helper()
	j := openJournal(t)
	write(t, j, "session/s", sent(`"secret"`, "session/prompt"),
		"<"+update("a", `"sessionUpdate":"tool_call","toolCallId":"c","title":"Read it","status":"completed","rawOutput":"what it read","content":[{"type":"content","content":{"type":"text","text":"what it read"}}]`),
		said, reply(`"secret"`))
	rec := own()
	rec.CWD = "/"
	if change != nil {
		change(&rec)
	}
	keep(t, j, rec)
	return startOn(t, Config{Journal: j, Agents: agents})
}

func TestStoppedSessionGoesOnInTheBestWayOfItsAgent(t *testing.T) {
	for _, test := range []struct {
		name  string
		agent []string
		how   string
		ways  string // that the agent was asked for, in order
	}{
		{"it resumes", []string{"resume"}, api.RestoredResumed, "resume"},
		{"it resumes and loads", []string{"resume", "load"}, api.RestoredResumed, "resume"},
		{"it loads", []string{"load"}, api.RestoredLoaded, "load"},
		{"it loads and tells the history late", []string{"load", "late"}, api.RestoredLoaded, "load"},
		{"it can do neither", nil, api.RestoredPrimed, "new"},
		{"it fails to resume and loads", []string{"resume", "load", "session/resume"}, api.RestoredLoaded, "resume load"},
		{"it fails to resume, and loads late", []string{"resume", "load", "late", "session/resume"}, api.RestoredLoaded, "resume load"},
		{"it fails to resume", []string{"resume", "session/resume"}, api.RestoredPrimed, "resume new"},
		{"it fails to load", []string{"load", "session/load"}, api.RestoredPrimed, "load new"},
		{"it fails at both", []string{"resume", "load", "session/resume", "session/load"}, api.RestoredPrimed, "resume load new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, stop := stoppedSession(t, openers{named: test.agent}, nil)
			defer stop()
			s, err := m.Restore(t.Context(), "s")
			if err != nil {
				t.Fatal(err)
			}
			if s.Status != api.SessionIdle || s.Restored == nil || s.Restored.How != test.how {
				t.Errorf("the session is %s, restored %+v; want %s", s.Status, s.Restored, test.how)
			}
			primed := test.how == api.RestoredPrimed
			if (s.AgentSessionID == "a") == primed || m.lookup("a") == nil {
				t.Errorf("the agent knows the session as %q", s.AgentSessionID)
			}
			for _, first := range []bool{true, false} {
				turn, err := m.Prompt(t.Context(), "s", api.SessionPromptRequest{Prompt: acp.Prompt{acp.TextBlock("go on")}})
				if err != nil {
					t.Fatal(err)
				}
				result, err := turn.Wait(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ways, rest, _ := strings.Cut(result.Text, "|")
				if ways != test.ways || !strings.HasSuffix(rest, "go on") {
					t.Errorf("the agent was asked to %q and told %q; want %q", ways, rest, test.ways)
				}
				if told := strings.Contains(rest, "words of secret"); told != (primed && first) {
					t.Errorf("it was told what was said before: %v, in the first prompt: %v", told, first)
				}
				if strings.Contains(rest, "what it read") {
					t.Error("it was told the output of a tool")
				}
				if primed && first && !strings.Contains(rest, "```record\n") {
					t.Errorf("what was said before is not in a fence: %q", rest)
				}
			}
			for _, e := range eventsOf(t, m, "s", 0) {
				if strings.Contains(string(e.Payload), "told before") {
					t.Errorf("event %d is of the history: %s", e.EventIndex, e.Payload)
				}
			}
		})
	}
}

func TestSessionThatCannotBeRestoredSaysWhy(t *testing.T) {
	never := openers{named: []string{"resume"}, asking: api.AgentAsking{How: api.AsksNever}}
	policy := func(decision string) func(*record) {
		return func(r *record) { r.Policy = &api.PermissionPolicy{Default: api.DefaultDecision(decision)} }
	}
	for _, test := range []struct {
		name   string
		agents openers
		change func(*record)
		code   api.Code // empty where the session is restored
	}{
		{"its working directory is missing", openers{}, func(r *record) { r.CWD = "/does/not/exist" }, api.CodePathNotFound},
		{"its working directory is a file", openers{}, func(r *record) { r.CWD = "/proc/self/status" }, api.CodePathNotFound},
		{"its agent opens no session", openers{named: []string{"session/new"}}, nil, api.CodeAgentError},
		{"its agent fails at every way", openers{named: []string{"load", "session/load", "session/new"}}, nil, api.CodeAgentError},
		{"its agent does not initialize", openers{named: []string{"initialize"}}, nil, api.CodeAgentError},
		{"its agent never asks and the policy does", never, policy(api.DecideAsk), api.CodeAgentCannotAsk},
		{"its agent never asks and the policy rejects", never, policy(api.DecideReject), api.CodeAgentCannotAsk},
		{"its agent never asks and the policy allows", never, policy(api.DecideAllow), ""},
		{"its agent never asks and the client has no policy", never, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, stop := stoppedSession(t, test.agents, test.change)
			defer stop()
			for range 2 { // what is half open must not be in the way of the next try
				_, err := m.Restore(t.Context(), "s")
				if test.code == "" && err != nil || test.code != "" && !errors.Is(err, test.code) {
					t.Fatalf("restored with %v, want %q", err, test.code)
				}
				s, err := m.Get("s")
				if err != nil {
					t.Fatal(err)
				}
				want := api.SessionFailed
				if test.code == "" {
					want = api.SessionIdle
				}
				if s.Status != want || (s.Reason == "") != (test.code == "") {
					t.Errorf("the session is %s, reason %q; want %s", s.Status, s.Reason, want)
				}
			}
		})
	}
}
