package api

import "encoding/json"

// PermissionCheckRequest asks what a policy says to a tool call, or to those of a
// session, without any of them being made. Either Session or a call is needed, and
// either Session or Policy.
type PermissionCheckRequest struct {
	_ struct{} `additionalProperties:"false"`

	Policy   *PermissionPolicy `json:"policy,omitempty" doc:"That of the session when absent"`
	Session  string            `json:"session,omitempty" doc:"Session whose working directory and remembered rules count. A given policy is checked as if the session had it: remembered rules that a stricter default revokes do not count. Without a call, the tool calls of the session are checked."`
	ToolCall json.RawMessage   `json:"toolCall,omitempty" doc:"A tool call as in session/request_permission"`
	Command  string            `json:"command,omitempty" doc:"A command line instead of a tool call"`
	CWD      string            `json:"cwd,omitempty" doc:"Working directory; that of the session, or else the home directory, when absent, and the start of relative ones"`
}

// PermissionCheck is what a policy says to tool calls, in their order.
type PermissionCheck struct {
	Calls   []PermissionCheckCall `json:"calls"`
	Omitted int                   `json:"omitted,omitempty" doc:"Earlier tool calls of the session that are not in the list"`
}

// PermissionCheckCall is what a policy says to one tool call. For the calls of a
// session it also says whether there was a permission request, and its reply.
type PermissionCheckCall struct {
	PermissionVerdict

	ToolCallID string `json:"toolCallId,omitempty"`
	Title      string `json:"title,omitempty" doc:"As the agent calls it; it decides nothing"`
	Kind       string `json:"kind,omitempty" doc:"As the agent calls it"`

	Event    uint64              `json:"event,omitempty" doc:"Number of the event that asks, or of the first one of a call that the agent made without asking"`
	Asked    bool                `json:"asked,omitempty" doc:"Whether the agent asked for a permission"`
	Resolved *PermissionResolved `json:"resolved,omitempty" doc:"How the permission request was resolved"`
}
