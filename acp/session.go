package acp

import "encoding/json"

// NewSessionRequest are the params of session/new.
type NewSessionRequest struct {
	CWD        string          `json:"cwd"`
	MCPServers []MCPServer     `json:"mcpServers"`
	Meta       json.RawMessage `json:"_meta,omitempty"`
}

// LoadSessionRequest are the params of session/load and of session/resume.
type LoadSessionRequest struct {
	SessionID  string          `json:"sessionId"`
	CWD        string          `json:"cwd"`
	MCPServers []MCPServer     `json:"mcpServers"`
	Meta       json.RawMessage `json:"_meta,omitempty"`
}

// SessionResult answers session/new, and session/load and session/resume, which
// leave SessionID out. What an agent does not have is nil.
type SessionResult struct {
	SessionID     string          `json:"sessionId,omitempty"`
	Modes         *SessionModes   `json:"modes,omitempty"`
	Models        *SessionModels  `json:"models,omitempty"`
	ConfigOptions []ConfigOption  `json:"configOptions,omitempty"`
	Meta          json.RawMessage `json:"_meta,omitempty"`
}

// SessionRequest are the params of methods that need no more than the session:
// session/close, session/delete and session/cancel.
type SessionRequest struct {
	SessionID string `json:"sessionId"`
}

// ListSessionsRequest are the params of session/list; its zero value lists the
// first page of all.
type ListSessionsRequest struct {
	CWD    string `json:"cwd,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

// ListSessionsResult is one page. NextCursor is empty on the last one.
type ListSessionsResult struct {
	Sessions   []SessionInfo `json:"sessions"`
	NextCursor string        `json:"nextCursor,omitempty"`
}

// SessionInfo describes one session; UpdatedAt is in RFC 3339.
type SessionInfo struct {
	SessionID string `json:"sessionId,omitempty"`
	CWD       string `json:"cwd,omitempty"`
	Title     string `json:"title,omitempty"`
	UpdatedAt string `json:"updatedAt,omitempty"`
}

// Stop reasons of a turn.
const (
	StopEndTurn         = "end_turn"
	StopMaxTokens       = "max_tokens"
	StopMaxTurnRequests = "max_turn_requests"
	StopRefusal         = "refusal"
	StopCancelled       = "cancelled"
)

// PromptRequest are the params of session/prompt.
type PromptRequest struct {
	SessionID string          `json:"sessionId"`
	Prompt    Prompt          `json:"prompt"`
	Meta      json.RawMessage `json:"_meta,omitempty"`
}

// PromptResult ends a turn. Usage is nil when the agent does not count.
type PromptResult struct {
	StopReason string          `json:"stopReason"`
	Usage      *Usage          `json:"usage,omitempty"`
	Meta       json.RawMessage `json:"_meta,omitempty"`
}

// Usage counts the tokens of one turn; some agents count the whole session.
type Usage struct {
	InputTokens       int64 `json:"inputTokens"`
	OutputTokens      int64 `json:"outputTokens"`
	TotalTokens       int64 `json:"totalTokens"`
	ThoughtTokens     int64 `json:"thoughtTokens,omitempty"`
	CachedReadTokens  int64 `json:"cachedReadTokens,omitempty"`
	CachedWriteTokens int64 `json:"cachedWriteTokens,omitempty"`
}

// Transports of an MCP server. One that is started as a child has none.
const (
	MCPHTTP = "http"
	MCPSSE  = "sse"
)

// MCPServer is a tool server an agent should use in a session.
type MCPServer struct {
	Type    string      `json:"type,omitempty"`
	Name    string      `json:"name"`
	Command string      `json:"command,omitempty"`
	Args    []string    `json:"args,omitempty"`
	Env     []NameValue `json:"env,omitempty"`
	URL     string      `json:"url,omitempty"`
	Headers []NameValue `json:"headers,omitempty"`
}

// NameValue is a variable or a header.
type NameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// MarshalJSON writes the lists a transport requires even if they are empty.
func (m MCPServer) MarshalJSON() ([]byte, error) {
	if m.Type == MCPHTTP || m.Type == MCPSSE {
		return encode(struct {
			Type    string      `json:"type"`
			Name    string      `json:"name"`
			URL     string      `json:"url"`
			Headers []NameValue `json:"headers"`
		}{m.Type, m.Name, m.URL, append([]NameValue{}, m.Headers...)})
	}
	return encode(struct {
		Name    string      `json:"name"`
		Command string      `json:"command"`
		Args    []string    `json:"args"`
		Env     []NameValue `json:"env"`
	}{m.Name, m.Command, append([]string{}, m.Args...), append([]NameValue{}, m.Env...)})
}
