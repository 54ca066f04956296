package acp

import "encoding/json"

// Kinds of permission option. The answer is chosen by kind, since every agent
// has its own ids.
const (
	AllowOnce    = "allow_once"
	AllowAlways  = "allow_always"
	RejectOnce   = "reject_once"
	RejectAlways = "reject_always"
)

// PermissionRequest are the params of session/request_permission. The tool call
// may be one that no update has announced.
type PermissionRequest struct {
	SessionID string             `json:"sessionId"`
	ToolCall  ToolCall           `json:"toolCall"`
	Options   []PermissionOption `json:"options"`
	Meta      json.RawMessage    `json:"_meta,omitempty"`
}

// PermissionOption is one possible answer. Two may be of one kind.
type PermissionOption struct {
	OptionID string `json:"optionId"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
}

// ReadPermissionRequest returns the params of a frame that asks for a permission.
// Unlike the rest of this package it is strict: what cannot be read whole cannot
// be judged. The error is one for the agent.
func ReadPermissionRequest(frame []byte) (req PermissionRequest, why *RPCError) {
	var envelope map[string]json.RawMessage
	var params struct {
		SessionID json.RawMessage   `json:"sessionId"`
		ToolCall  json.RawMessage   `json:"toolCall"`
		Options   []json.RawMessage `json:"options"`
	}
	if err := json.Unmarshal(frame, &envelope); err != nil {
		return req, Errorf(CodeInvalidParams, "Invalid params: %v", err)
	}
	raw := envelope["params"]
	if !isObject(raw) {
		return req, Errorf(CodeInvalidParams, "Invalid params: params is not an object")
	}
	err := json.Unmarshal(raw, &params)
	if err == nil {
		err = json.Unmarshal(raw, &req)
	}
	switch {
	case err != nil:
		return req, Errorf(CodeInvalidParams, "Invalid params: %v", err)
	case req.SessionID == "":
		return req, Errorf(CodeInvalidParams, "Invalid params: sessionId is missing")
	case !isObject(params.ToolCall):
		return req, Errorf(CodeInvalidParams, "Invalid params: toolCall is not an object")
	case req.ToolCall.ID == "":
		return req, Errorf(CodeInvalidParams, "Invalid params: toolCall.toolCallId is missing")
	case params.Options == nil:
		return req, Errorf(CodeInvalidParams, "Invalid params: options is missing")
	}
	for i, o := range params.Options {
		if !isObject(o) {
			return req, Errorf(CodeInvalidParams, "Invalid params: options[%d] is not an object", i)
		}
	}
	return req, nil
}

func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }

// Option returns the first option of the first kind that has one.
func (r PermissionRequest) Option(kinds ...string) (PermissionOption, bool) {
	for _, kind := range kinds {
		for _, o := range r.Options {
			if o.Kind == kind {
				return o, true
			}
		}
	}
	return PermissionOption{}, false
}

// Outcomes of a permission request.
const (
	OutcomeSelected  = "selected"
	OutcomeCancelled = "cancelled"
)

// PermissionResult answers a permission request.
type PermissionResult struct {
	Outcome Outcome `json:"outcome"`
}

// Outcome is the chosen option, or none when the turn was cancelled.
type Outcome struct {
	Outcome  string `json:"outcome"`
	OptionID string `json:"optionId,omitempty"`
}

// Selected answers with an option.
func Selected(optionID string) PermissionResult {
	return PermissionResult{Outcome{OutcomeSelected, optionID}}
}

// Cancelled answers that nobody will choose.
func Cancelled() PermissionResult {
	return PermissionResult{Outcome{Outcome: OutcomeCancelled}}
}
