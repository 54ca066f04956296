package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// permissionsHelp is the text of the flag --permissions.
const permissionsHelp = "what becomes of permission requests: ask, allow, reject, or a policy as JSON or in a file"

// policy reads the value of --permissions.
func (g *globals) policy(value string) (api.PermissionPolicy, error) {
	if slices.Contains([]string{api.DecideAsk, api.DecideAllow, api.DecideReject}, value) {
		return api.PermissionPolicy{Default: api.DefaultDecision(value)}, nil
	}
	policy, err := g.readPolicy(value)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return api.PermissionPolicy{}, usagef("--permissions %s is neither ask, allow or reject, nor a file, nor JSON", value)
	case err != nil:
		return api.PermissionPolicy{}, usagef("--permissions: %w", err)
	}
	return *policy, nil
}

// What plain policies do.
const (
	asksPolicy   = "it asks first"
	allowsPolicy = "everything is allowed"
)

// describePolicy says in a few words what becomes of permission requests.
func describePolicy(p *api.PermissionPolicy) string {
	if p == nil {
		return asksPolicy
	}
	if isUnattended(p) {
		return permission.UnattendedText
	}
	words := map[string]string{api.DecideAsk: asksPolicy, api.DecideAllow: allowsPolicy, api.DecideReject: "everything is rejected"}
	text := "each kind of tool call is decided by the policy"
	if len(p.Default) == 0 || len(p.Default) == 1 && p.Default[api.DefaultKind] != "" {
		text = words[p.Default.For(api.DefaultKind)]
	}
	switch len(p.Rules) {
	case 0:
	case 1:
		text += ", but for 1 rule"
	default:
		text += fmt.Sprintf(", but for %d rules", len(p.Rules))
	}
	return text
}

// isUnattended reports whether a policy is the one for runs without a terminal.
func isUnattended(p *api.PermissionPolicy) bool {
	u := permission.Unattended()
	return p != nil && maps.Equal(p.Default, u.Default) && slices.EqualFunc(p.Rules, u.Rules, func(a, b api.PermissionRule) bool {
		return a.Kind == b.Kind && a.Path == b.Path && a.Command == b.Command && a.Decision == b.Decision
	})
}
