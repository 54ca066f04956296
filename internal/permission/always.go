package permission

import (
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Always returns what the reply always to a call would remember, the narrowest
// first; or why the reply is not available.
func (j Judge) Always(call acp.ToolCall) (choices []api.PermissionAlways, why string) {
	if v := j.Verdict(call); v.Decision == api.DecideAsk && v.Rule != nil {
		return nil, "a rule says that this is asked about"
	}
	t := target(call, j.Dir)
	rule := api.PermissionRule{Kind: t.kind, Decision: api.DecideAllow}
	switch {
	case t.command != "" && !strings.Contains(t.command, "*"):
		rule.Command = t.command
		return []api.PermissionAlways{{Scope: api.AlwaysExact, Text: "run `" + t.command + "`, word for word", Rule: rule}}, ""
	case t.command == "" && len(t.paths) == 1:
		rule.Path = t.paths[0]
		dir := rule
		dir.Path = filepath.Dir(rule.Path) + "/*"
		return []api.PermissionAlways{
			{Scope: api.AlwaysExact, Text: t.kind + " " + rule.Path, Rule: rule},
			{Scope: api.AlwaysDirectory, Text: t.kind + " files in " + filepath.Dir(rule.Path), Rule: dir},
		}, ""
	}
	return nil, "the call names no one command or file that a rule could remember"
}
