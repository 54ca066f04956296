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
// may be one that no update has told of.
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
