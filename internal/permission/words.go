package permission

import (
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Words says what a rule does, for people.
func Words(r api.PermissionRule) string {
	verb := map[string]string{api.DecideAllow: "allow", api.DecideAsk: "ask about", api.DecideReject: "reject"}[r.Decision]
	var what []string
	switch {
	case r.Command != "" && strings.Contains(r.Command, "*"):
		what = append(what, "commands like `"+r.Command+"`")
	case r.Command != "":
		what = append(what, "the command `"+r.Command+"`, word for word")
	case r.Kind == acp.ToolExecute:
		what = append(what, "every command")
	case r.Kind != "" && r.Path == "":
		what = append(what, "every call of kind "+r.Kind)
	case r.Kind != "":
		what = append(what, "calls of kind "+r.Kind)
	default:
		what = append(what, "every call")
	}
	if r.Path != "" {
		what = append(what, "on "+r.Path)
	}
	return verb + " " + strings.Join(what, " ")
}
