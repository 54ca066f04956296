package acp

import "encoding/json"

// Kinds of session update that [Update] reads into fields.
const (
	UpdateUserMessage   = "user_message_chunk"
	UpdateAgentMessage  = "agent_message_chunk"
	UpdateAgentThought  = "agent_thought_chunk"
	UpdateToolCall      = "tool_call"
	UpdateToolCallDelta = "tool_call_update"
	UpdatePlan          = "plan"
	UpdateCommands      = "available_commands_update"
	UpdateCurrentMode   = "current_mode_update"
	UpdateConfigOption  = "config_option_update"
	UpdateSessionInfo   = "session_info_update"
	UpdateUsage         = "usage_update"
)

// SessionNotification are the params of session/update.
type SessionNotification struct {
	SessionID string          `json:"sessionId"`
	Update    Update          `json:"update"`
	Meta      json.RawMessage `json:"_meta,omitempty"`
}

// An Update is one step of a session. Kind says which of the other fields is
// set; for a kind not listed above there is only Raw.
type Update struct {
	Kind          string
	Content       ContentBlock   // the three message chunks
	MessageID     string         // likewise: of which message; empty where the agent gives none
	ToolCall      ToolCall       // tool_call and tool_call_update
	Plan          []PlanEntry    // plan
	Commands      []Command      // available_commands_update
	ModeID        string         // current_mode_update
	ConfigOptions []ConfigOption // config_option_update
	Info          SessionInfo    // session_info_update
	Usage         ContextUsage   // usage_update

	// Raw is the update as received. It is written only for unknown kinds.
	Raw json.RawMessage
}

// PlanEntry is one step of a plan. Status is pending, in_progress or completed;
// Priority high, medium or low.
type PlanEntry struct {
	Content  string `json:"content"`
	Priority string `json:"priority"`
	Status   string `json:"status"`
}

// Command is a slash command an agent offers.
type Command struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Input       json.RawMessage `json:"input,omitempty"`
}

// ContextUsage says how full the context is, in tokens.
type ContextUsage struct {
	Used int64 `json:"used"`
	Size int64 `json:"size"`
	Cost *Cost `json:"cost,omitempty"`
}

// Cost is what a session has cost so far; Currency is an ISO 4217 code.
type Cost struct {
	Amount   float64 `json:"amount"`
	Currency string  `json:"currency"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (u *Update) UnmarshalJSON(data []byte) error {
	var head struct {
		Kind string `json:"sessionUpdate"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	*u = Update{Kind: head.Kind, Raw: append(json.RawMessage(nil), data...)}
	switch u.Kind {
	case UpdateToolCall, UpdateToolCallDelta:
		return json.Unmarshal(data, &u.ToolCall)
	case UpdateSessionInfo:
		return json.Unmarshal(data, &u.Info)
	case UpdateUsage:
		return json.Unmarshal(data, &u.Usage)
	case UpdateUserMessage, UpdateAgentMessage, UpdateAgentThought:
		return json.Unmarshal(data, &struct {
			Content   *ContentBlock `json:"content"`
			MessageID *string       `json:"messageId"`
		}{&u.Content, &u.MessageID})
	case UpdatePlan, UpdateCommands, UpdateCurrentMode, UpdateConfigOption:
		return json.Unmarshal(data, &struct {
			Plan          *[]PlanEntry    `json:"entries"`
			Commands      *[]Command      `json:"availableCommands"`
			ModeID        *string         `json:"currentModeId"`
			ConfigOptions *[]ConfigOption `json:"configOptions"`
		}{&u.Plan, &u.Commands, &u.ModeID, &u.ConfigOptions})
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (u Update) MarshalJSON() ([]byte, error) {
	type kind struct {
		Kind string `json:"sessionUpdate"`
	}
	k := kind{u.Kind}
	switch u.Kind {
	case UpdateUserMessage, UpdateAgentMessage, UpdateAgentThought:
		return encode(struct {
			kind
			Content   ContentBlock `json:"content"`
			MessageID string       `json:"messageId,omitempty"`
		}{k, u.Content, u.MessageID})
	case UpdateToolCall, UpdateToolCallDelta:
		return encode(struct {
			kind
			ToolCall
		}{k, u.ToolCall})
	case UpdatePlan:
		return encode(struct {
			kind
			Entries []PlanEntry `json:"entries"`
		}{k, append([]PlanEntry{}, u.Plan...)})
	case UpdateCommands:
		return encode(struct {
			kind
			Commands []Command `json:"availableCommands"`
		}{k, append([]Command{}, u.Commands...)})
	case UpdateCurrentMode:
		return encode(struct {
			kind
			ModeID string `json:"currentModeId"`
		}{k, u.ModeID})
	case UpdateConfigOption:
		return encode(struct {
			kind
			ConfigOptions []ConfigOption `json:"configOptions"`
		}{k, append([]ConfigOption{}, u.ConfigOptions...)})
	case UpdateSessionInfo:
		return encode(struct {
			kind
			SessionInfo
		}{k, u.Info})
	case UpdateUsage:
		return encode(struct {
			kind
			ContextUsage
		}{k, u.Usage})
	}
	if u.Raw != nil {
		return u.Raw, nil
	}
	return encode(k)
}
