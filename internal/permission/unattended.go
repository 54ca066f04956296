package permission

import (
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Unattended is the policy where no user can be asked: reading, searching and
// thinking are allowed; changes to files below the working directory are, except
// to protected paths; all else, above all commands, is rejected.
func Unattended() *api.PermissionPolicy {
	p := &api.PermissionPolicy{Default: api.PermissionDefault{
		api.DefaultKind: api.DecideReject, acp.ToolRead: api.DecideAllow, acp.ToolSearch: api.DecideAllow, acp.ToolThink: api.DecideAllow,
	}}
	for _, kind := range []string{acp.ToolEdit, acp.ToolDelete, acp.ToolMove} {
		p.Rules = append(p.Rules,
			api.PermissionRule{ID: "below-" + kind, Kind: kind, Path: "**", Decision: api.DecideAllow},
			api.PermissionRule{ID: "protected-" + kind, Kind: kind, Path: "**/.git/**", Decision: api.DecideReject})
	}
	return p
}
