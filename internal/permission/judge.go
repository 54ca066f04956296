// Package permission is the one judge of tool calls: what a call of an agent
// touches, what the rules of a session say about it, and what the reply always
// would remember. It judges what agents ask about; it starts nothing, and it does
// not see what an agent does without asking.
package permission

import (
	"crypto/rand"
	"encoding/hex"
	"slices"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Judge is what decides the tool calls of one session.
type Judge struct {
	Policy     *api.PermissionPolicy // nil asks about everything
	Remembered []api.PermissionRule  // made by the reply always
	Dir        string                // working directory of the session, absolute
}

// Check returns a copy of a policy that is ready to be kept: with a default, and
// with ids for its rules. A nil policy asks about everything. What it refuses has
// the code [api.CodeInvalidPermissionRule].
func Check(p *api.PermissionPolicy) (*api.PermissionPolicy, error) {
	if p == nil {
		return &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAsk)}, nil
	}
	out := *p
	if len(out.Default) == 0 {
		out.Default = api.DefaultDecision(api.DecideAsk)
	}
	for kind, d := range out.Default {
		switch {
		case kind != api.DefaultKind && !slices.Contains(api.PermissionKinds, kind):
			return nil, invalid("default names a kind that does not exist: %q; use one of %q or %q", kind, api.PermissionKinds, api.DefaultKind)
		case !decision(d):
			return nil, invalid("default cannot be %q; use ask, allow or reject", d)
		}
	}
	out.Rules = slices.Clone(p.Rules)
	for i := range out.Rules {
		if err := checkRule(i+1, out.Rules[i]); err != nil {
			return nil, err
		}
		if out.Rules[i].ID == "" {
			out.Rules[i].ID = NewID()
		}
	}
	return &out, nil
}

func checkRule(n int, r api.PermissionRule) error {
	switch {
	case !decision(r.Decision):
		return invalid("decision of rule %d cannot be %q; use ask, allow or reject", n, r.Decision)
	case r.Kind != "" && !slices.Contains(api.PermissionKinds, r.Kind):
		return invalid("rule %d names a kind that does not exist: %q; use one of %q", n, r.Kind, api.PermissionKinds)
	case AllowsAll(r):
		return invalid("rule %d allows everything; give it a kind, a path or a command, or set the default to allow", n)
	case r.Path != "" && !doublestar.ValidatePattern(r.Path):
		return invalid("path of rule %d is not a pattern: %q", n, r.Path)
	}
	return nil
}

// AllowsAll reports whether a rule allows without saying what. [Check] refuses it.
func AllowsAll(r api.PermissionRule) bool {
	return r.Decision == api.DecideAllow && r.Kind == "" && r.Path == "" && r.Command == ""
}

func invalid(format string, args ...any) error {
	return api.InvalidRequest(api.CodeInvalidPermissionRule, "check permissions: "+format, args...)
}

func decision(d string) bool {
	return d == api.DecideAsk || d == api.DecideAllow || d == api.DecideReject
}

// NewID returns an id for a rule.
func NewID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "rule-" + hex.EncodeToString(b[:])
}

// Verdict decides a tool call: a rule that rejects wins, then one that asks, then
// one that allows, then the default, over the policy and what is remembered
// alike.
func (j Judge) Verdict(call acp.ToolCall) api.PermissionVerdict {
	t := target(call, j.Dir)
	v := api.PermissionVerdict{Kinds: []string{t.kind}, Paths: t.paths}
	if t.command != "" {
		v.Commands = []string{t.command}
	}
	var rules []api.PermissionRule
	if j.Policy != nil {
		rules = append(rules, j.Policy.Rules...)
	}
	rules = slices.DeleteFunc(append(rules, j.Remembered...), func(r api.PermissionRule) bool { return !t.matches(r) })
	for _, d := range []string{api.DecideReject, api.DecideAsk, api.DecideAllow} {
		for i, r := range rules {
			if r.Decision == d {
				v.Decision, v.Rule, v.Beaten = d, &r, slices.Delete(rules, i, i+1)
				v.Reason = "rule " + r.ID + " says " + d
				return v
			}
		}
	}
	v.Decision = api.DecideAsk
	if j.Policy != nil {
		v.Decision = j.Policy.Default.For(t.kind)
	}
	v.Reason = "the default says " + v.Decision
	return v
}

// Forget takes out of the remembered rules what a stricter default revokes: each
// rule that allows a kind for which the new default is stricter than the old one.
func Forget(remembered []api.PermissionRule, old, next api.PermissionDefault) (kept, dropped []api.PermissionRule) {
	for _, r := range remembered {
		kinds := []string{r.Kind}
		if r.Kind == "" {
			kinds = api.PermissionKinds
		}
		if slices.ContainsFunc(kinds, func(kind string) bool { return strictness(next.For(kind)) > strictness(old.For(kind)) }) {
			dropped = append(dropped, r)
		} else {
			kept = append(kept, r)
		}
	}
	return kept, dropped
}

func strictness(decision string) int {
	return slices.Index([]string{api.DecideAllow, api.DecideAsk, api.DecideReject}, decision)
}
