package acp

import "encoding/json"

// States of a tool call.
const (
	StatusPending    = "pending"
	StatusInProgress = "in_progress"
	StatusCompleted  = "completed"
	StatusFailed     = "failed"
)

// Kinds of tool, for icons and for permission rules.
const (
	ToolRead       = "read"
	ToolEdit       = "edit"
	ToolDelete     = "delete"
	ToolMove       = "move"
	ToolSearch     = "search"
	ToolExecute    = "execute"
	ToolThink      = "think"
	ToolFetch      = "fetch"
	ToolSwitchMode = "switch_mode"
	ToolOther      = "other"
)

// A ToolCall is a call, or what an update says of one: then all but ID may be
// empty, which means "as it was".
type ToolCall struct {
	ID        string          `json:"toolCallId"`
	Title     string          `json:"title,omitempty"`
	Kind      string          `json:"kind,omitempty"`
	Status    string          `json:"status,omitempty"`
	Content   []ToolContent   `json:"content,omitempty"`
	Locations []Location      `json:"locations,omitempty"`
	RawInput  json.RawMessage `json:"rawInput,omitempty"`
	RawOutput json.RawMessage `json:"rawOutput,omitempty"`
	Meta      json.RawMessage `json:"_meta,omitempty"`
}

// Location is a place a tool touches. Line counts from 1; 0 is unknown.
type Location struct {
	Path string `json:"path"`
	Line int    `json:"line,omitempty"`
}

// Types of tool content.
const (
	ToolContentBlock    = "content"
	ToolContentDiff     = "diff"
	ToolContentTerminal = "terminal"
)

// ToolContent is something a tool call shows.
type ToolContent struct {
	Type       string        `json:"type"`
	Content    *ContentBlock `json:"content,omitempty"`    // content
	Path       string        `json:"path,omitempty"`       // diff
	OldText    *string       `json:"oldText,omitempty"`    // diff; nil when the file is new
	NewText    string        `json:"newText,omitempty"`    // diff
	TerminalID string        `json:"terminalId,omitempty"` // terminal
}

// MarshalJSON writes both texts of a diff, whatever they are.
func (c ToolContent) MarshalJSON() ([]byte, error) {
	if c.Type != ToolContentDiff {
		type plain ToolContent
		return encode(plain(c))
	}
	return encode(struct {
		Type    string  `json:"type"`
		Path    string  `json:"path"`
		OldText *string `json:"oldText"`
		NewText string  `json:"newText"`
	}{c.Type, c.Path, c.OldText, c.NewText})
}

// Merge applies an update to a call: what the update leaves out stays, lists are
// replaced as wholes, and members of _meta are replaced one by one.
func (t *ToolCall) Merge(u ToolCall) {
	for _, s := range []struct {
		to   *string
		from string
	}{{&t.ID, u.ID}, {&t.Title, u.Title}, {&t.Kind, u.Kind}, {&t.Status, u.Status}} {
		if s.from != "" {
			*s.to = s.from
		}
	}
	if u.Content != nil {
		t.Content = u.Content
	}
	if u.Locations != nil {
		t.Locations = u.Locations
	}
	if present(u.RawInput) {
		t.RawInput = u.RawInput
	}
	if present(u.RawOutput) {
		t.RawOutput = u.RawOutput
	}
	if present(u.Meta) {
		t.Meta = mergeObjects(t.Meta, u.Meta)
	}
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func mergeObjects(old, new json.RawMessage) json.RawMessage {
	var to, from map[string]json.RawMessage
	if json.Unmarshal(old, &to) != nil || json.Unmarshal(new, &from) != nil {
		return new
	}
	for k, v := range from {
		to[k] = v
	}
	merged, err := json.Marshal(to)
	if err != nil {
		return new
	}
	return merged
}
