//go:build conformance

package agents

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

// nobody is the user id of an ordinary user.
const nobody = 65534

// users are the users as which agents are tried: root and an ordinary user where
// this test is root, else its own.
func users() map[string]int {
	if os.Geteuid() != 0 {
		return map[string]int{"user": 0}
	}
	return map[string]int{"root": 0, "user": nobody}
}

// desk is a session of a real agent, in a working directory of its own.
type desk struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	sandbox *sandboxagent.Client
	session *sandboxagent.Session

	mu    sync.Mutex
	asked []api.Permission
	reply sandboxagent.Reply // to what the policy asks about
}

// newDesk starts a server with an agent and opens a session under a policy.
func newDesk(t *testing.T, agent real, policy api.PermissionPolicy, options fakemodel.Options) *desk {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	options.Escalate = agent.escalate
	vendor := httptest.NewServer(fakemodel.New(options))
	t.Cleanup(vendor.Close)
	d := &desk{t: t, ctx: ctx, dir: directory(t, agent.uid, "work-"), reply: sandboxagent.Once}
	d.sandbox = startServer(ctx, t, agent, vendor.URL)
	var err error
	d.session, err = d.sandbox.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent: agent.id, CWD: d.dir, Mode: agent.mode, Permissions: policy, OnPermission: d.answer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// answer replies to what the policy asks about, and keeps it.
func (d *desk) answer(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, p)
	return d.reply, nil
}

// policy is the policy with a default for all kinds.
func policy(decision string, rules ...api.PermissionRule) api.PermissionPolicy {
	return api.PermissionPolicy{Default: api.DefaultDecision(decision), Rules: rules}
}

// say prompts the agent and returns what it asked about. However the turn ends is
// right, as agents differ in what they make of a rejection.
func (d *desk) say(text string) []api.Permission {
	d.t.Helper()
	d.mu.Lock()
	d.asked = nil
	d.mu.Unlock()
	if _, err := d.session.Prompt(d.ctx, sandboxagent.Text(text)); err != nil {
		d.t.Fatalf("prompt %q: %v", text, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

// decree replaces the policy.
func (d *desk) decree(p api.PermissionPolicy) {
	d.t.Helper()
	if _, err := d.session.Update(d.ctx, api.SessionPatch{Permissions: &p}); err != nil {
		d.t.Fatal(err)
	}
}

// rejected counts the permission requests that the policy has rejected so far.
func (d *desk) rejected() int {
	d.t.Helper()
	n := 0
	for e, err := range d.session.History(d.ctx, 0) {
		if err != nil {
			d.t.Fatal(err)
		}
		if text := string(e.Payload); strings.Contains(text, api.EventPermissionResolved) &&
			strings.Contains(text, `"by":"policy"`) && strings.Contains(text, `"reply":"reject"`) {
			n++
		}
	}
	return n
}

func (d *desk) has(name string) bool {
	_, err := os.Lstat(filepath.Join(d.dir, name))
	return err == nil
}

// put makes a file in the working directory.
func (d *desk) put(name string) {
	d.t.Helper()
	file := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("precious\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// asking are the agents that are tried, each in an empty home. Settings are
// those by which users of an agent spare themselves its questions.
var asking = []struct {
	real
	settings map[string]string // files below the home
}{
	{real{id: "claude"}, map[string]string{".claude/settings.json": `{"permissions":{"allow":["Bash(touch:*)","Write","Edit"],"defaultMode":"acceptEdits"}}`}},
	// It asks only for more than its sandbox allows.
	{real{id: "codex", escalate: true}, map[string]string{".codex/config.toml": "approval_policy = \"never\"\nsandbox_mode = \"danger-full-access\"\n"}},
	{real{id: "opencode"}, map[string]string{".config/opencode/opencode.json": `"permission": {"edit": "allow", "bash": "allow", "*": "allow"}, "default_agent": "mine",
		"agent": {"build": {"permission": "allow"}, "mine": {"mode": "primary", "permission": {"edit": "allow", "bash": "allow"}}},`}},
	{real{id: "gemini"}, map[string]string{
		".gemini/settings.json":      `"tools": {"allowed": ["run_shell_command", "write_file", "replace"], "core": ["run_shell_command", "write_file"]}, "general": {"defaultApprovalMode": "auto_edit"},`,
		".gemini/policies/mine.toml": "[[rule]]\ntoolName = \"*\"\ndecision = \"allow\"\npriority = 999\n",
	}},
	{real{id: "qwen"}, map[string]string{".qwen/settings.json": `"permissions": {"allow": ["Bash", "Bash(touch *)", "Write", "Edit"]}, "tools": {"allowed": ["run_shell_command", "write_file"], "approvalMode": "yolo"},`}},
	{real{id: "copilot", env: []string{"COPILOT_ALLOW_ALL=true"}}, nil},
	{real{id: "kilo"}, map[string]string{".config/kilo/kilo.json": `"permission": {"edit": "allow", "bash": "allow", "*": "allow"}, "default_agent": "mine",
		"agent": {"code": {"permission": "allow"}, "mine": {"mode": "primary", "permission": {"edit": "allow", "bash": "allow"}}},`}},
	{real{id: "droid"}, map[string]string{".factory/settings.json": `"autonomyMode": "auto-high", "autonomyLevel": "high", "interactionMode": "auto",
		"permissionRules": {"version": 1, "rules": [{"id": "mine", "decision": "allow", "match": {"prefix": ["touch"]}, "tests": {"match": ["touch nope.txt"], "noMatch": ["ls"]}}]},`}},
}

// Each agent asks before it edits and before it runs a command, whatever mode it
// starts in by itself; and where the policy rejects, nothing is written.
func TestEveryAgentAsks(t *testing.T) {
	catalogue := agents.New(agents.Config{})
	for _, agent := range asking {
		for name, uid := range users() {
			t.Run(agent.id+"/"+name, func(t *testing.T) {
				agent := agent.real
				agent.uid = uid
				d := newDesk(t, agent, policy(api.DecideReject), fakemodel.Options{})
				info, err := d.session.Info(d.ctx)
				if err != nil {
					t.Fatal(err)
				}
				if mode := catalogue.Asking(agent.id).Mode; info.Mode != mode && info.Mode != "" {
					t.Errorf("the session is in mode %q, and it asks in %q", info.Mode, mode)
				}
				d.say("write no.txt with hello")
				if n := d.rejected(); n == 0 {
					t.Error("it was not asked whether no.txt may be written")
				}
				before := d.rejected()
				d.say("run touch nope.txt")
				if n := d.rejected(); n == before {
					t.Error("it was not asked whether nope.txt may be touched")
				}
				d.empty()

				d.decree(policy(api.DecideAsk))
				d.asks("write yes.txt with hello", "yes.txt", acp.ToolEdit)
				d.asks("run touch sure.txt", "sure.txt", acp.ToolExecute)
			})
		}
	}
}

// empty checks that nothing was written.
func (d *desk) empty() {
	d.t.Helper()
	files, err := os.ReadDir(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range files {
		d.t.Errorf("%s was written", file.Name())
	}
}

// asks gives a task that makes a file, which the agent has to ask about first.
func (d *desk) asks(task, file, kind string) {
	d.t.Helper()
	d.reply = sandboxagent.Reject
	asked := d.say(task)
	if len(asked) == 0 || d.has(file) {
		d.t.Errorf("%s: asked %d times; %s exists: %t", task, len(asked), file, d.has(file))
		return
	}
	if got := asked[0].ToolCall.Kind; got != kind && got != acp.ToolExecute { // Codex edits by commands
		d.t.Errorf("%s: asked about a call of kind %s", task, got)
	}
	d.reply = sandboxagent.Once
	if asked = d.say(task); len(asked) == 0 || !d.has(file) {
		d.t.Errorf("%s, allowed: asked %d times; %s exists: %t", task, len(asked), file, d.has(file))
	}
}

// What its user allows in the settings of an agent is asked about where the
// policy rejects it.
func TestSettingsOfTheUserDoNotAllowWhatThePolicyRejects(t *testing.T) {
	for _, agent := range asking {
		if agent.settings == nil {
			continue
		}
		for name, uid := range users() {
			t.Run(agent.id+"/"+name, func(t *testing.T) {
				agent := agent
				agent.real.settings, agent.uid = agent.settings, uid
				d := newDesk(t, agent.real, policy(api.DecideReject), fakemodel.Options{})
				d.say("write no.txt with hello")
				d.say("run touch nope.txt")
				d.empty()
				if d.rejected() < 2 {
					t.Errorf("it asked %d times", d.rejected())
				}
			})
		}
	}
}

// Droid runs what is in a list of its user whatever else it is told, so that a
// session whose policy rejects something is refused while there is such a list.
func TestSettingsThatCannotBeOutrankedRefuseTheSession(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	vendor := httptest.NewServer(fakemodel.New(fakemodel.Options{}))
	defer vendor.Close()
	droid := real{id: "droid", settings: map[string]string{".factory/settings.json": `"commandAllowlist": ["touch nope.txt"],`}}
	sandbox := startServer(ctx, t, droid, vendor.URL)
	options := sandboxagent.SessionOptions{Agent: "droid", CWD: directory(t, 0, "work-"), Permissions: policy(api.DecideReject)}
	if _, err := sandbox.CreateSession(ctx, options); !errors.Is(err, api.CodeAgentCannotAsk) || !strings.Contains(err.Error(), "commandAllowlist") {
		t.Errorf("under a policy that rejects: %v", err)
	}
	options.Permissions = policy(api.DecideAllow)
	if _, err := sandbox.CreateSession(ctx, options); err != nil {
		t.Errorf("under a policy that allows: %v", err)
	}
}

// What an agent that is called for a task would do unasked is not done, whether it
// comes with the program or is the user's own.
func TestAgentsForTasksDoNotActUnasked(t *testing.T) {
	const own = `"agent": {"helper": {"mode": "subagent", "description": "Helps.", "permission": {"*": "allow", "edit": "allow", "bash": "allow"}},
		"general": {"permission": {"edit": "allow", "bash": "allow"}}, "explore": {"permission": {"edit": "allow", "bash": "allow"}}},`
	rejects, allows := policy(api.DecideReject), policy(api.DecideAllow, api.PermissionRule{Path: "no.txt", Decision: api.DecideReject})
	for _, test := range []struct {
		agent, file, helper string
		policy              api.PermissionPolicy
	}{
		{"opencode", ".config/opencode/opencode.json", "helper", allows},
		{"opencode", ".config/opencode/opencode.json", "general", allows},
		{"opencode", ".config/opencode/opencode.json", "explore", rejects},
		{"kilo", ".config/kilo/kilo.json", "helper", allows},
	} {
		t.Run(test.agent+"/"+test.helper, func(t *testing.T) {
			input := json.RawMessage(`{"description":"help","prompt":"run touch no.txt","subagent_type":"` + test.helper + `"}`)
			script := []fakemodel.Turn{{Calls: []fakemodel.Call{{Name: "task", Input: input}}}}
			d := newDesk(t, real{id: test.agent, settings: map[string]string{test.file: own}}, test.policy, fakemodel.Options{Script: script})
			d.say("have it done by the other one")
			d.empty()
		})
	}
}
