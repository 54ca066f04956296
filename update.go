package sandboxagent

import (
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Kinds of [Update] that the Agent Client Protocol does not have.
const (
	UpdatePermission = "permission_request"  // Permission is set, and waits for a reply
	UpdateResolved   = "permission_resolved" // Resolved is set
	UpdateTurnEnd    = "turn_end"            // Turn is set; the last update of a stream
	UpdateGap        = "gap"                 // Gap is set: the server no longer keeps these events
	UpdateReset      = "reset"               // Event.Reset is set: the server has lost what was read last
	UpdateEvent      = "event"               // any other event, such as a prompt, for who wants all of them
)

// A Turn is how the work of an agent on one prompt ended.
type Turn = api.SessionTurn

// An Update is one step of a turn. Kind, which is one of package acp's or of
// those above, says which of the other fields is set.
type Update struct {
	acp.Update
	Event SessionEvent // that the update is read from; none with a Turn

	Permission *api.Permission
	Resolved   *api.PermissionResolved
	Turn       *Turn
	Gap        *api.Gap
}

// MarshalJSON writes an update of the protocol as the agent sent it, and the
// others in the same manner.
func (u Update) MarshalJSON() ([]byte, error) {
	type kind struct {
		Kind string `json:"sessionUpdate"`
	}
	k := kind{u.Kind}
	switch {
	case u.Permission != nil:
		return json.Marshal(struct {
			kind
			ID       string                 `json:"permissionId"`
			ToolCall acp.ToolCall           `json:"toolCall"`
			Options  []acp.PermissionOption `json:"options"`
		}{k, u.Permission.ID, u.Permission.ToolCall, u.Permission.Options})
	case u.Resolved != nil:
		return json.Marshal(struct {
			kind
			*api.PermissionResolved
		}{k, u.Resolved})
	case u.Turn != nil:
		return json.Marshal(struct {
			kind
			*Turn
		}{k, u.Turn})
	case u.Gap != nil:
		return json.Marshal(struct {
			kind
			*api.Gap
		}{k, u.Gap})
	case u.Event.Reset != nil:
		return json.Marshal(struct {
			kind
			*api.Reset
		}{k, u.Event.Reset})
	case u.Kind == UpdateEvent:
		return json.Marshal(struct {
			kind
			Event api.SessionEvent `json:"event"`
		}{k, u.Event.SessionEvent})
	case u.Raw != nil:
		return u.Raw, nil
	}
	return u.Update.MarshalJSON()
}
