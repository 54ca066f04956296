// Package permission is the one judge of tool calls: what a call of an agent
// touches, what the rules of a session say about it, and what the reply always
// would remember. It judges what agents ask about; it starts nothing, and it does
// not see what an agent does without asking. What it decides is stated in
// docs/guide/permissions.md.
package permission

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Judge is what decides the tool calls of one session. It has no state, so that
// it may be used concurrently.
type Judge struct {
	Policy     *api.PermissionPolicy // nil asks about everything
	Remembered []api.PermissionRule  // made by the reply always
	Dir        string                // working directory of the session, absolute
}

// Verdict decides a tool call: a rule that rejects wins, then one that asks, then
// one that allows, then the default, over the policy and what is remembered
// alike. Each thing that the call does is decided by itself, and the strictest
// decision is that of the call.
func (j Judge) Verdict(call acp.ToolCall) api.PermissionVerdict {
	return j.judge(read(call, j.Dir))
}

func (j Judge) judge(acts []act) api.PermissionVerdict {
	rules := j.rules()
	var v api.PermissionVerdict
	var won *rule
	for i := range acts {
		d, r, why := j.decide(&acts[i], rules)
		if v.Decision == "" || strictness(d) > strictness(v.Decision) {
			v.Decision, won, v.Reason = d, r, why
		}
		describe(&v, &acts[i])
	}
	if won != nil {
		v.Rule = &won.PermissionRule
	}
	for _, r := range rules {
		if r != won && slices.ContainsFunc(acts, func(a act) bool { return r.matches(&a) == yes }) {
			v.Beaten = append(v.Beaten, r.PermissionRule)
		}
	}
	return v
}

// decide returns the decision for one act, the rule that makes it or is the cause
// of asking, and why.
func (j Judge) decide(a *act, rules []*rule) (decision string, cause *rule, why string) {
	sure := false
	for _, r := range rules {
		found := r.matches(a)
		switch {
		case r.Decision == api.DecideAllow || found == no:
		case r.Decision == api.DecideReject && found == yes:
			return api.DecideReject, r, fmt.Sprintf("%s: %s", a.text, r.says())
		case found == yes && !sure:
			cause, sure, why = r, true, fmt.Sprintf("%s: %s", a.text, r.says())
		case cause == nil:
			cause, why = r, fmt.Sprintf("%s: %s, which may match%s", a.text, r.says(), because(a))
		}
	}
	if sure {
		return api.DecideAsk, cause, why
	}
	d, r, otherwise := j.unopposed(a, rules)
	if cause != nil && d != api.DecideReject {
		return api.DecideAsk, cause, why
	}
	return d, r, otherwise
}

// unopposed returns the decision for an act that no rule is against for certain.
func (j Judge) unopposed(a *act, rules []*rule) (decision string, cause *rule, why string) {
	for _, r := range rules {
		if r.Decision == api.DecideAllow && r.matches(a) == yes {
			return api.DecideAllow, r, fmt.Sprintf("%s: %s", a.text, r.says())
		}
	}
	if a.inner || a.named {
		return api.DecideAllow, nil, a.text + ": no rule is against it"
	}
	d := api.DecideAsk
	if j.Policy != nil {
		d = j.Policy.Default.For(a.kind)
	}
	if a.may && d == api.DecideReject {
		d = api.DecideAsk
	}
	return d, nil, fmt.Sprintf("%s: the default for %s is %s%s", a.text, a.kind, d, because(a))
}

func because(a *act) string {
	if a.unclear == "" {
		return ""
	}
	return "; it is not understood, as " + a.unclear
}

// rules returns all rules, ready to be matched.
func (j Judge) rules() []*rule {
	var list []*rule
	add := func(r api.PermissionRule, remembered bool) {
		out := &rule{PermissionRule: r, remembered: remembered}
		if r.Command != "" {
			out.command, _ = parsePattern(r.Command)
		}
		if r.Path != "" {
			out.path = newGlob(r.Path, j.Dir)
		}
		list = append(list, out)
	}
	if j.Policy != nil {
		for _, r := range j.Policy.Rules {
			add(r, false)
		}
	}
	for _, r := range j.Remembered {
		add(r, true)
	}
	return list
}

// says describes a rule.
func (r *rule) says() string {
	var b strings.Builder
	b.WriteString("rule")
	if r.remembered {
		b.WriteString(" remembered by always")
	}
	if r.ID != "" {
		b.WriteString(" " + r.ID)
	}
	b.WriteString(" (" + r.Decision)
	for _, part := range []struct{ name, value string }{{"kind", r.Kind}, {"path", r.Path}, {"command", r.Command}} {
		if part.value != "" {
			fmt.Fprintf(&b, ", %s %s", part.name, part.value)
		}
	}
	return b.String() + ")"
}

// describe adds an act to what a verdict tells of the call.
func describe(v *api.PermissionVerdict, a *act) {
	add := func(list *[]string, text string) {
		if text != "" && !slices.Contains(*list, text) {
			*list = append(*list, text)
		}
	}
	if a.unclear != "" {
		add(&v.NotUnderstood, a.text+": "+a.unclear)
	}
	if a.named || a.may {
		return
	}
	add(&v.Kinds, a.kind)
	if a.command && a.words != nil {
		add(&v.Commands, a.text)
	}
	if a.path != nil {
		add(&v.Paths, a.path.String())
	}
	for _, m := range a.mentions {
		if len(m.forms) > 0 {
			add(&v.Paths, m.String())
		}
	}
}

func strictness(decision string) int {
	return slices.Index([]string{api.DecideAllow, api.DecideAsk, api.DecideReject}, decision)
}
