package compat

import (
	"encoding/json"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// permissionReply reads the response to a permission request: as the protocol has it,
// or with a word for the outcome. What cannot be read cancels.
func permissionReply(frame []byte) api.PermissionReply {
	var response struct {
		Result struct {
			Outcome json.RawMessage `json:"outcome"`
		} `json:"result"`
	}
	var outcome acp.Outcome
	if json.Unmarshal(frame, &response) != nil {
		return api.PermissionReply{Reply: api.ReplyCancel}
	}
	raw := response.Result.Outcome
	if json.Unmarshal(raw, &outcome.Outcome) != nil {
		_ = json.Unmarshal(raw, &outcome) // else it is empty, which cancels
	}
	if outcome.OptionID != "" {
		return api.PermissionReply{OptionID: outcome.OptionID}
	}
	switch strings.ToLower(outcome.Outcome) {
	case "allow", "allowed", "approve", "approved", "accept", "accepted", "yes", acp.AllowOnce:
		return api.PermissionReply{Reply: api.ReplyOnce}
	case acp.AllowAlways:
		return api.PermissionReply{Reply: api.ReplyAlways}
	case "deny", "denied", "rejected", "no", acp.RejectOnce, acp.RejectAlways:
		return api.PermissionReply{Reply: api.ReplyReject}
	case "", acp.OutcomeCancelled, acp.OutcomeSelected:
		return api.PermissionReply{Reply: api.ReplyCancel}
	}
	return api.PermissionReply{Reply: outcome.Outcome}
}
