//go:build conformance

package agents

import (
	"os"
	"path/filepath"
	"testing"

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

// What the policy of a session says holds for a real agent. Each case is a
// session of Claude Code.
func TestPolicyHoldsForARealAgent(t *testing.T) {
	rule := func(decision, kind, path, command string) api.PermissionRule {
		return api.PermissionRule{Decision: decision, Kind: kind, Path: path, Command: command}
	}
	for _, test := range []struct {
		name   string
		policy api.PermissionPolicy
		do     func(t *testing.T, d *desk)
	}{
		{"a rule that rejects wins over always", policy(api.DecideAsk, rule(api.DecideReject, "edit", "secret.txt", "")), func(t *testing.T, d *desk) {
			d.reply = sandboxagent.Always
			if d.say("write a2.txt with hello"); !d.has("a2.txt") {
				t.Error("what was allowed for good was not written")
			}
			if d.say("write secret.txt with hello"); d.has("secret.txt") {
				t.Error("secret.txt was written")
			}
		}},
		{"a stricter default wins over always", policy(api.DecideAsk), func(t *testing.T, d *desk) {
			d.reply = sandboxagent.Always
			d.say("run touch once.txt")
			if !d.has("once.txt") {
				t.Error("what was allowed for good did not run")
			}
			if err := os.Remove(filepath.Join(d.dir, "once.txt")); err != nil {
				t.Fatal(err)
			}
			d.decree(policy(api.DecideReject))
			if d.say("run touch once.txt"); d.has("once.txt") {
				t.Error("the command ran again")
			}
		}},
		{"every command of a line is judged", policy(api.DecideAllow, rule(api.DecideReject, "", "", "rm *")), func(t *testing.T, d *desk) {
			for _, line := range []string{"true; rm -rf precious", "cat x || env rm -rf precious", "echo $(rm -rf precious)"} {
				d.put("precious")
				if d.say("run " + line); !d.has("precious") {
					t.Errorf("%s: precious is gone", line)
				}
			}
			if d.say("run touch other; true"); !d.has("other") {
				t.Error("what the policy allows did not run")
			}
		}},
		{"a comment is no argument", policy(api.DecideReject, rule(api.DecideAllow, "", "", "rm * --dry-run")), func(t *testing.T, d *desk) {
			d.put("victim")
			if d.say("run rm -rf victim # --dry-run"); !d.has("victim") {
				t.Error("victim is gone")
			}
		}},
		{"always does not cover other code of an interpreter", policy(api.DecideAsk), func(t *testing.T, d *desk) {
			d.put("x")
			d.reply = sandboxagent.Once
			for _, p := range d.say("run bash -c 'touch one'") {
				if len(p.Always) > 0 {
					d.reply = sandboxagent.Always
				}
			}
			d.say("run bash -c 'touch one'")
			d.reply = sandboxagent.Reject
			if asked := d.say("run bash -c 'rm -rf x'"); len(asked) == 0 || !d.has("x") {
				t.Errorf("asked %d times; x exists: %t", len(asked), d.has("x"))
			}
		}},
		{"a link does not lead out of what is allowed", policy(api.DecideReject, rule(api.DecideAllow, "edit", "src/**", "")), func(t *testing.T, d *desk) {
			outside := directory(t, 0, "outside-")
			d.put("src/a.txt")
			if err := os.Symlink(outside, filepath.Join(d.dir, "src", "link")); err != nil {
				t.Fatal(err)
			}
			d.say("write src/link/f.txt with hello")
			if _, err := os.Stat(filepath.Join(outside, "f.txt")); err == nil {
				t.Error("f.txt was written outside")
			}
			if d.say("write src/b.txt with hello"); !d.has("src/b.txt") {
				t.Error("what the policy allows was not written")
			}
		}},
		{"a path that leads up is judged where it ends", policy(api.DecideReject, rule(api.DecideAllow, "edit", "src/**", "")), func(t *testing.T, d *desk) {
			d.put("src/a.txt")
			if d.say("write src/../up.txt with hello"); d.has("up.txt") {
				t.Error("up.txt was written")
			}
		}},
		{"a redirection is an edit", policy(api.DecideAllow, rule(api.DecideReject, "edit", "", "")), func(t *testing.T, d *desk) {
			if d.say("run echo hello > e.txt"); d.has("e.txt") {
				t.Error("e.txt was written")
			}
		}},
		{"a rule by kind does not allow commands", policy(api.DecideReject, rule(api.DecideAllow, "execute", "", "")), func(t *testing.T, d *desk) {
			if d.say("run touch k.txt"); d.has("k.txt") {
				t.Error("k.txt was made")
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t, real{id: "claude"}, test.policy, fakemodel.Options{})
			test.do(t, d)
			if d.rejected() == 0 && len(d.asked) == 0 {
				t.Error("the agent asked about nothing")
			}
		})
	}
}
