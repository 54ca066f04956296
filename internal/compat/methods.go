package compat

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// params are the parameters of every request on a hub.
type params struct {
	SessionID   string                 `json:"sessionId"`
	Agent       string                 `json:"agent"`
	CWD         string                 `json:"cwd"`
	MCPServers  []api.SessionMCPServer `json:"mcpServers"`
	SessionInit struct {
		CWD        string                 `json:"cwd"`
		MCPServers []api.SessionMCPServer `json:"mcpServers"`
	} `json:"sessionInit"`
	Meta        json.RawMessage   `json:"_meta"`
	Prompt      acp.Prompt        `json:"prompt"`
	Attachments []json.RawMessage `json:"attachments"`
	Mode        string            `json:"mode"`
	ModeID      string            `json:"modeId"`
	Model       string            `json:"model"`
	ModelID     string            `json:"modelId"`
	ConfigID    string            `json:"configId"`
	Value       api.OptionValue   `json:"value"`
}

// sessionID returns the id that the client chose for a session, "" if it chose none.
func (p params) sessionID() string {
	var meta map[string]json.RawMessage
	var id string
	if json.Unmarshal(p.Meta, &meta) != nil || json.Unmarshal(meta[api.MetaSessionID], &id) != nil {
		return ""
	}
	return id
}

// opened is how a session is described to the client of a hub.
type opened struct {
	SessionID      string             `json:"sessionId"`
	AgentSessionID string             `json:"agentSessionId"`
	Modes          *acp.SessionModes  `json:"modes,omitempty"`
	ConfigOptions  []acp.ConfigOption `json:"configOptions,omitempty"`
}

func describe(s *api.Session) opened {
	return opened{s.ID, s.AgentSessionID, s.Modes, s.ConfigOptions}
}

// call does what a request on a hub says and returns its result.
func (c *Clients) call(ctx context.Context, h *hub, method string, frame []byte) (any, error) {
	var request struct {
		Params json.RawMessage `json:"params"`
	}
	var p params
	err := json.Unmarshal(frame, &request)
	if err == nil && len(request.Params) > 0 {
		err = json.Unmarshal(request.Params, &p)
	}
	if err != nil {
		return nil, acp.Errorf(acp.CodeInvalidParams, "Invalid params: %v", err)
	}
	switch method {
	case acp.MethodInitialize:
		return acp.InitializeResult{
			ProtocolVersion: acp.ProtocolVersion,
			AgentCapabilities: acp.AgentCapabilities{
				LoadSession:         true,
				PromptCapabilities:  acp.PromptCapabilities{Image: true, EmbeddedContext: true},
				SessionCapabilities: acp.SessionCapabilities{List: acp.Present, Resume: acp.Present},
			},
			AuthMethods: []acp.AuthMethod{},
			AgentInfo:   &acp.Implementation{Name: "sandbox-agent", Title: "Sandbox Agent", Version: c.version},
		}, nil
	case acp.MethodAuthenticate:
		return struct{}{}, nil
	case acp.MethodSessionNew, "session/create":
		return c.create(ctx, h, p)
	case acp.MethodSessionLoad, acp.MethodSessionResume:
		return c.load(ctx, h, p)
	case acp.MethodSessionPrompt:
		return c.prompt(ctx, p)
	case acp.MethodSetMode:
		_, err := c.sessions.SetMode(ctx, p.SessionID, p.ModeID+p.Mode)
		return struct{}{}, err
	case acp.MethodSetModel:
		_, err := c.sessions.SetModel(ctx, p.SessionID, p.ModelID+p.Model)
		return struct{}{}, err
	case acp.MethodSetConfigOption:
		s, err := c.sessions.SetConfigOption(ctx, p.SessionID, p.ConfigID, string(p.Value))
		if err != nil {
			return nil, err
		}
		return acp.SetConfigOptionResult{ConfigOptions: s.ConfigOptions}, nil
	case acp.MethodSessionList:
		return c.sessionsOf(h), nil
	}
	return nil, acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", method)
}

func (c *Clients) create(ctx context.Context, h *hub, p params) (any, error) {
	if p.Agent == "" {
		return nil, acp.Errorf(acp.CodeInvalidParams, "Invalid params: agent is missing")
	}
	req := api.SessionCreateRequest{Agent: p.Agent, ID: p.sessionID(), CWD: p.CWD, MCPServers: p.MCPServers}
	if req.CWD == "" {
		req.CWD = p.SessionInit.CWD
	}
	if req.MCPServers == nil {
		req.MCPServers = p.SessionInit.MCPServers
	}
	s, err := c.sessions.CreateOwned(ctx, h.id, req)
	if err != nil {
		return nil, err
	}
	return describe(s), nil
}

func (c *Clients) load(ctx context.Context, h *hub, p params) (any, error) {
	if err := c.sessions.SetOwner(p.SessionID, h.id); err != nil {
		return nil, err
	}
	s, err := c.sessions.Restore(ctx, p.SessionID)
	if err != nil {
		return nil, err
	}
	return describe(s), nil
}

// prompt queues the prompt while another one is under way, as the client has no other
// means to wait.
func (c *Clients) prompt(ctx context.Context, p params) (any, error) {
	prompt := slices.Clone(p.Prompt)
	for _, raw := range p.Attachments {
		prompt = append(prompt, attachment(raw))
	}
	turn, err := c.sessions.Prompt(ctx, p.SessionID, api.SessionPromptRequest{Prompt: prompt, Queue: true})
	if err != nil {
		return nil, err
	}
	result, err := turn.Wait(ctx)
	if err != nil {
		return nil, err
	}
	return acp.PromptResult{StopReason: result.StopReason, Usage: result.Usage}, nil
}

// attachment makes a content block of what a client attaches: a block, or an
// object with a path, a URL or a text.
func attachment(raw json.RawMessage) acp.ContentBlock {
	var b struct {
		acp.ContentBlock
		Path    string `json:"path"`
		URL     string `json:"url"`
		Content string `json:"content"`
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return acp.TextBlock(string(raw))
	}
	switch b.Type {
	case acp.ContentText, acp.ContentImage, acp.ContentAudio, acp.ContentResource, acp.ContentResourceLink:
		return b.ContentBlock
	}
	uri := b.URI + b.URL
	if uri == "" && b.Path != "" {
		uri = "file://" + b.Path
	}
	if uri == "" {
		return acp.TextBlock(b.Text + b.Content)
	}
	name := b.Name
	if name == "" {
		name = uri[strings.LastIndexByte(uri, '/')+1:]
	}
	return acp.ContentBlock{Type: acp.ContentResourceLink, URI: uri, Name: name, MimeType: b.MimeType}
}

// utc formats a time in milliseconds as ACP has it.
func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// newestChangeFirst orders sessions for a list.
func newestChangeFirst(a, b acp.SessionInfo) int {
	return strings.Compare(b.UpdatedAt+b.SessionID, a.UpdatedAt+a.SessionID)
}
