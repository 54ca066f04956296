package acp

import (
	"encoding/json"
	"math"
	"strconv"
)

// A Version is a protocol version. It also reads from a string that holds a
// number ("1", "1.0") or a date, the latter as 0: clients older than the
// protocol's first release send those.
type Version int

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Version) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(data) > 0 && data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != n || math.Abs(n) > math.MaxInt32 {
		n = 0
	}
	*v = Version(n)
	return nil
}

// Implementation names a program that takes part.
type Implementation struct {
	Name    string `json:"name"`
	Title   string `json:"title,omitempty"`
	Version string `json:"version"`
}

// InitializeRequest are the params of initialize.
type InitializeRequest struct {
	ProtocolVersion    Version            `json:"protocolVersion"`
	ClientCapabilities ClientCapabilities `json:"clientCapabilities"`
	ClientInfo         *Implementation    `json:"clientInfo,omitempty"`
}

// ClientCapabilities say what an agent may ask of its client.
type ClientCapabilities struct {
	FS       FSCapabilities             `json:"fs"`
	Terminal bool                       `json:"terminal"`
	Session  *ClientSessionCapabilities `json:"session,omitempty"`
}

// ClientSessionCapabilities say what of sessions a client knows.
type ClientSessionCapabilities struct {
	ConfigOptions ClientConfigOptions `json:"configOptions"`
}

// ClientConfigOptions are the types of config option that a client knows besides
// select.
type ClientConfigOptions struct {
	Boolean json.RawMessage `json:"boolean,omitempty"` // there when its value is present
}

// FSCapabilities are the file methods of a client.
type FSCapabilities struct {
	ReadTextFile  bool `json:"readTextFile"`
	WriteTextFile bool `json:"writeTextFile"`
}

// InitializeResult is what an agent says of itself.
type InitializeResult struct {
	ProtocolVersion   Version           `json:"protocolVersion"`
	AgentCapabilities AgentCapabilities `json:"agentCapabilities"`
	AuthMethods       []AuthMethod      `json:"authMethods"`
	AgentInfo         *Implementation   `json:"agentInfo,omitempty"`
	Meta              json.RawMessage   `json:"_meta,omitempty"`
}

// AgentCapabilities say which optional methods and contents an agent takes.
type AgentCapabilities struct {
	LoadSession         bool                `json:"loadSession"`
	PromptCapabilities  PromptCapabilities  `json:"promptCapabilities"`
	MCPCapabilities     MCPCapabilities     `json:"mcpCapabilities"`
	SessionCapabilities SessionCapabilities `json:"sessionCapabilities"`
	Meta                json.RawMessage     `json:"_meta,omitempty"`
}

// PromptCapabilities are the content blocks a prompt may hold besides text.
type PromptCapabilities struct {
	Image           bool `json:"image"`
	Audio           bool `json:"audio"`
	EmbeddedContext bool `json:"embeddedContext"`
}

// MCPCapabilities are the transports of MCP servers besides stdio.
type MCPCapabilities struct {
	HTTP bool `json:"http"`
	SSE  bool `json:"sse"`
}

// SessionCapabilities are the optional session methods: one is there when its
// value is present, whatever it is.
type SessionCapabilities struct {
	List   json.RawMessage `json:"list,omitempty"`
	Resume json.RawMessage `json:"resume,omitempty"`
	Close  json.RawMessage `json:"close,omitempty"`
	Delete json.RawMessage `json:"delete,omitempty"`
	Fork   json.RawMessage `json:"fork,omitempty"`
}

// Present is the value of a capability that an agent of ours has.
var Present = json.RawMessage(`{}`)

// AuthMethod is one way to sign in.
type AuthMethod struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// AuthenticateRequest are the params of authenticate.
type AuthenticateRequest struct {
	MethodID string `json:"methodId"`
}
