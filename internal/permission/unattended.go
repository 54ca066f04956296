package permission

import (
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/protected"
)

// Unattended is the policy where no user can be asked: reading, searching and
// thinking are allowed; changes to files below the working directory are, except
// to protected paths; all else, above all commands, is rejected
// (docs/design/0002-headless-permissions.md).
func Unattended() *api.PermissionPolicy {
	paths := "{" + strings.Join(protected.Globs(), ",") + "}"
	p := &api.PermissionPolicy{Default: api.PermissionDefault{
		api.DefaultKind: api.DecideReject, acp.ToolRead: api.DecideAllow, acp.ToolSearch: api.DecideAllow, acp.ToolThink: api.DecideAllow,
	}}
	for _, kind := range []string{acp.ToolEdit, acp.ToolDelete, acp.ToolMove} {
		p.Rules = append(p.Rules,
			api.PermissionRule{ID: "below-" + kind, Kind: kind, Path: "**", Decision: api.DecideAllow},
			api.PermissionRule{ID: "protected-" + kind, Kind: kind, Path: paths, Decision: api.DecideReject})
	}
	return p
}

// UnattendedText says in one line what [Unattended] decides.
const UnattendedText = "edits below the working directory are allowed, except of protected paths (.git, shell and agent settings); reading is allowed; all else, such as commands, is rejected"
