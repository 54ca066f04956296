package permission

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sandboxagent/sandboxagent/api"
)

// Check returns a copy of a policy that is ready to be kept: with a default, and
// with ids for its rules. A nil policy asks about everything. What it refuses has
// the code [api.CodeInvalidPermissionRule].
func Check(p *api.PermissionPolicy) (*api.PermissionPolicy, error) {
	if p == nil {
		return &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAsk)}, nil
	}
	out := *p
	if out.Default = maps.Clone(p.Default); len(out.Default) == 0 {
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
		out.Rules[i].By, out.Rules[i].CreatedAt = "", 0 // the reply always alone has them
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
	case r.Command != "":
		if _, err := parsePattern(r.Command); err != nil {
			return invalid("command of rule %d cannot be used: %w; write its words as in a shell, quoted where they are not plain", n, err)
		}
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
