package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// virtual is a connection of a client that knows one server for all agents: it
// names the agent when it opens a session, not when it connects. We are the
// agent it talks to, and do what it asks with sessions of our own.
type virtual struct {
	id      string
	stream  string
	base    uint64 // last event before it was opened
	created int64
}

// dateVersion is how such a client gives the version of the protocol.
var dateVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

// PostVirtual hands over a frame that a client posted to a connection without
// naming an agent. ok is false if the connection is none of this kind, nor opened
// as one by this frame. The reply is nil for what has none.
func (m *Manager) PostVirtual(ctx context.Context, id string, msg acp.Message, frame []byte) (reply []byte, ok bool, err error) {
	v := m.virtual(id)
	if v == nil {
		if !m.opensVirtual(ctx, id, msg, frame) {
			return nil, false, nil
		}
		if v, err = m.openVirtual(id); err != nil {
			return nil, true, err
		}
	}
	if msg.Reserved {
		reply, err = bridge.RefuseReserved(msg)
		return reply, true, err
	}
	switch msg.Kind {
	case acp.Request:
		reply, err = m.answerVirtual(ctx, v, msg, frame)
		return reply, true, err
	case acp.Response:
		m.answeredVirtual(v, msg, frame)
	case acp.Notification:
		if msg.Method == acp.MethodSessionCancel {
			m.spawn(func() {
				if _, err := m.Cancel(m.ctx, msg.SessionID); err != nil {
					m.log.Debug("cancel", "session", msg.SessionID, "error", err)
				}
			})
		}
	}
	return nil, true, nil
}

func (m *Manager) virtual(id string) *virtual {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.virtuals[id]
}

// opensVirtual reports whether a frame opens a virtual connection: initialize
// with a date as the version, or a request for a session that was opened on one
// of that id before it was closed or the server restarted.
func (m *Manager) opensVirtual(ctx context.Context, id string, msg acp.Message, frame []byte) bool {
	if msg.Kind != acp.Request {
		return false
	}
	if msg.Method != acp.MethodInitialize {
		s := m.lookup(msg.SessionID)
		if s == nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.rec.Virtual == id
	}
	var p struct {
		ProtocolVersion json.RawMessage `json:"protocolVersion"`
	}
	var version string
	if !decodeMember(frame, "params", &p) || json.Unmarshal(p.ProtocolVersion, &version) != nil || !dateVersion.MatchString(version) {
		return false
	}
	after := uint64(0)
	_, err := m.bridge.Events(ctx, id, &after)
	return errors.Is(err, api.CodeSessionNotFound)
}

func (m *Manager) openVirtual(id string) (*virtual, error) {
	name := "virtual/" + id
	base, err := m.cfg.Journal.Last(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.virtuals[id]; v != nil {
		return v, nil
	}
	if m.closed {
		return nil, shuttingDown()
	}
	v := &virtual{id: id, stream: name, base: base, created: time.Now().UnixMilli()}
	m.virtuals[id] = v
	return v, nil
}

// VirtualEvents returns a reader of what a virtual connection tells its client;
// ok is false if there is no such connection. A nil after starts with the first
// event since it was opened.
func (m *Manager) VirtualEvents(id string, after *uint64) (reader *journal.Reader, ok bool) {
	v := m.virtual(id)
	if v == nil {
		return nil, false
	}
	from := v.base
	if after != nil {
		from = *after
	}
	return m.cfg.Journal.Reader(v.stream, from), true
}

// Virtuals returns the virtual connections, in no order. One runs while an agent
// of its sessions does.
func (m *Manager) Virtuals() []api.ACPServer {
	running := make(map[string]bool)
	for _, s := range m.all() {
		s.mu.Lock()
		id := s.rec.Virtual
		s.mu.Unlock()
		running[id] = running[id] || m.bridge.Running(s.server())
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]api.ACPServer, 0, len(m.virtuals))
	for _, v := range m.virtuals {
		server := api.ACPServer{ServerID: v.id, CreatedAtMs: v.created, Status: "exited"}
		if running[v.id] {
			server.Status = "running"
		}
		list = append(list, server)
	}
	return list
}

// CloseVirtual ends a virtual connection. The agents of its sessions are stopped
// behind it, but for those that work; the sessions stay.
func (m *Manager) CloseVirtual(id string) (ok bool) {
	m.mu.Lock()
	v := m.virtuals[id]
	delete(m.virtuals, id)
	m.mu.Unlock()
	if v == nil {
		return false
	}
	m.cfg.Journal.End(v.stream)
	for _, s := range m.all() {
		s.mu.Lock()
		his := s.rec.Virtual == id
		s.mu.Unlock()
		if his {
			m.spawn(func() { s.reap(time.Now()) })
		}
	}
	return true
}

// tell adds a frame to what the client hears.
func (m *Manager) tell(v *virtual, frame []byte) uint64 {
	seq, err := m.cfg.Journal.Append(v.stream, journal.FromAgent, frame)
	if err != nil {
		m.log.Warn("journal virtual connection", "server", v.id, "error", err)
	}
	return seq
}

// mirror repeats what an agent says on the virtual connection of its session.
func (m *Manager) mirror(id string, frame []byte) {
	if id == "" {
		return
	}
	if v := m.virtual(id); v != nil {
		m.tell(v, frame)
	}
}

// mirrorPermission asks a question on the virtual connection of its session.
// The agent's own id would not do, since those of several agents meet there.
func (m *Manager) mirrorPermission(s *session, p *permissionRequest, frame []byte) {
	s.mu.Lock()
	id := s.rec.Virtual
	s.mu.Unlock()
	v := m.virtual(id)
	if v == nil {
		return
	}
	var params map[string]json.RawMessage
	if !decodeMember(frame, "params", &params) {
		return
	}
	whole, err := json.Marshal(p.Permission) // where older clients look for it
	if err != nil {
		m.log.Error("encode permission", "error", err)
		return
	}
	params["permission"] = whole
	asked, err := acp.RequestFrame(json.RawMessage(`"`+p.ID+`"`), acp.MethodRequestPermission, params)
	if err != nil {
		m.log.Error("encode permission", "error", err)
		return
	}
	m.tell(v, asked)
}

// answeredVirtual takes a client's answer to a question.
func (m *Manager) answeredVirtual(v *virtual, msg acp.Message, frame []byte) {
	var id string
	if json.Unmarshal(msg.ID, &id) != nil {
		return
	}
	for _, s := range m.all() {
		s.mu.Lock()
		p := s.pending[id]
		s.mu.Unlock()
		if p == nil {
			continue
		}
		by := api.ByConnection(v.id)
		reply := virtualReply(frame)
		if reply.Reply == api.ReplyAlways && len(p.Always) == 0 {
			reply.Reply = api.ReplyOnce
		}
		_, err := m.ReplyPermission(m.ctx, s.id, id, reply, by)
		if errors.Is(err, api.CodeReplyNotAvailable) {
			_, err = m.ReplyPermission(m.ctx, s.id, id, api.PermissionReply{Reply: api.ReplyCancel}, by)
		}
		if err != nil {
			m.log.Debug("answer permission", "session", s.id, "error", err)
		}
		return
	}
}

// virtualReply reads an answer: as the protocol has it, or with a word for the
// outcome.
func virtualReply(frame []byte) api.PermissionReply {
	var result struct {
		Outcome json.RawMessage `json:"outcome"`
	}
	var outcome acp.Outcome
	if !decodeMember(frame, "result", &result) {
		return api.PermissionReply{Reply: api.ReplyCancel}
	}
	if json.Unmarshal(result.Outcome, &outcome.Outcome) != nil {
		_ = json.Unmarshal(result.Outcome, &outcome) // else it is empty, which cancels
	}
	if outcome.OptionID != "" {
		return api.PermissionReply{OptionID: outcome.OptionID}
	}
	word := strings.ToLower(outcome.Outcome)
	switch word {
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

// answerVirtual does what a client asks and returns the frame of the answer,
// which its event stream has too.
func (m *Manager) answerVirtual(ctx context.Context, v *virtual, msg acp.Message, frame []byte) ([]byte, error) {
	result, err := m.doVirtual(ctx, v, msg.Method, frame)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	id := bytes.Clone(msg.ID)
	reply, encodeErr := acp.ResultFrame(id, result)
	if err != nil {
		reply, encodeErr = acp.ErrorFrame(id, rpcError(err))
	}
	if encodeErr != nil {
		return nil, encodeErr
	}
	m.tell(v, reply)
	return reply, nil
}

// rpcError tells a problem of ours as an agent would.
func rpcError(err error) *acp.RPCError {
	var rpc *acp.RPCError
	if errors.As(err, &rpc) {
		return rpc
	}
	var e *api.Error
	if !errors.As(err, &e) {
		return acp.Errorf(acp.CodeInternalError, "%v", err)
	}
	out := acp.Errorf(acp.CodeInternalError, "%s", e.Error())
	switch {
	case e.Code == api.CodeSessionNotFound:
		out.Code = acp.CodeResourceNotFound
	case e.Status == 400:
		out.Code = acp.CodeInvalidParams
	}
	if data, err := json.Marshal(map[string]any{"code": e.Code, "details": e.Details}); err == nil {
		out.Data = data
	}
	return out
}

// virtualParams are the parameters of every request such a client makes.
type virtualParams struct {
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

// virtualSession is how a session is described to such a client.
type virtualSession struct {
	SessionID      string             `json:"sessionId"`
	AgentSessionID string             `json:"agentSessionId"`
	Modes          *acp.SessionModes  `json:"modes,omitempty"`
	ConfigOptions  []acp.ConfigOption `json:"configOptions,omitempty"`
}

func (m *Manager) doVirtual(ctx context.Context, v *virtual, method string, frame []byte) (any, error) {
	var p virtualParams
	var params json.RawMessage
	decodeMember(frame, "params", &params)
	if err := json.Unmarshal(params, &p); len(params) > 0 && err != nil {
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
			AgentInfo:   &acp.Implementation{Name: "sandbox-agent", Title: "Sandbox Agent", Version: m.cfg.Version},
		}, nil
	case acp.MethodAuthenticate:
		return struct{}{}, nil
	case acp.MethodSessionNew, "session/create":
		return m.newVirtual(ctx, v, p)
	case acp.MethodSessionLoad, acp.MethodSessionResume:
		return m.loadVirtual(ctx, v, p)
	case acp.MethodSessionPrompt:
		return m.promptVirtual(ctx, p)
	case acp.MethodSetMode:
		_, err := m.SetMode(ctx, p.SessionID, p.ModeID+p.Mode)
		return struct{}{}, err
	case acp.MethodSetModel:
		_, err := m.SetModel(ctx, p.SessionID, p.ModelID+p.Model)
		return struct{}{}, err
	case acp.MethodSetConfigOption:
		s, err := m.SetConfigOption(ctx, p.SessionID, p.ConfigID, string(p.Value))
		if err != nil {
			return nil, err
		}
		return acp.SetConfigOptionResult{ConfigOptions: s.ConfigOptions}, nil
	case acp.MethodSessionList:
		return m.listVirtual(v), nil
	}
	return nil, acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", method)
}

func (m *Manager) newVirtual(ctx context.Context, v *virtual, p virtualParams) (any, error) {
	if p.Agent == "" {
		return nil, acp.Errorf(acp.CodeInvalidParams, "Invalid params: agent is missing")
	}
	req := api.SessionCreateRequest{Agent: p.Agent, ID: text(p.Meta, api.MetaSessionID), CWD: p.CWD, MCPServers: p.MCPServers}
	if req.CWD == "" {
		req.CWD = p.SessionInit.CWD
	}
	if req.MCPServers == nil {
		req.MCPServers = p.SessionInit.MCPServers
	}
	s, err := m.create(ctx, req, v.id)
	if err != nil {
		return nil, err
	}
	return virtualSession{s.ID, s.AgentSessionID, s.Modes, s.ConfigOptions}, nil
}

func (m *Manager) loadVirtual(ctx context.Context, v *virtual, p virtualParams) (any, error) {
	s, err := m.find(p.SessionID)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.rec.Virtual = v.id
	s.mu.Unlock()
	out, err := m.Restore(ctx, s.id)
	if err != nil {
		return nil, err
	}
	return virtualSession{out.ID, out.AgentSessionID, out.Modes, out.ConfigOptions}, nil
}

// promptVirtual queues the prompt while another one is under way, as such a
// client has no other means to wait.
func (m *Manager) promptVirtual(ctx context.Context, p virtualParams) (any, error) {
	prompt := slices.Clone(p.Prompt)
	for _, raw := range p.Attachments {
		prompt = append(prompt, attachment(raw))
	}
	turn, err := m.Prompt(ctx, p.SessionID, api.SessionPromptRequest{Prompt: prompt, Queue: true})
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

func (m *Manager) listVirtual(v *virtual) acp.ListSessionsResult {
	out := acp.ListSessionsResult{Sessions: []acp.SessionInfo{}}
	for _, s := range m.all() {
		s.mu.Lock()
		if s.rec.Virtual == v.id {
			out.Sessions = append(out.Sessions, acp.SessionInfo{
				SessionID: s.id, CWD: s.rec.CWD, Title: s.rec.title(),
				UpdatedAt: time.UnixMilli(s.rec.UpdatedAt).UTC().Format(time.RFC3339),
			})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(out.Sessions, func(a, b acp.SessionInfo) int {
		return strings.Compare(b.UpdatedAt+b.SessionID, a.UpdatedAt+a.SessionID)
	})
	return out
}

// claimTime is within what time of its creation the newest of several sessions
// is taken to be the one meant.
const claimTime = 2 * time.Second

// Claim finds the session that a client means by an id of its own, which it
// never told us: the Python client 0.1.5 makes up an id, opens the session over
// a virtual connection, and then uses its id in the session routes. An unknown
// id becomes one more id of the only session that can be meant, which is one that
// was not called by any id yet. If there are several it is the newest, right
// after it was opened; later, none.
func (m *Manager) Claim(id string) {
	if !validID(id) {
		return
	}
	if s, err := m.find(id); err == nil {
		s.mu.Lock()
		s.rec.Claimed = s.rec.Claimed || s.rec.Virtual != ""
		s.mu.Unlock()
		return
	}
	var found []*session
	for _, s := range m.all() {
		s.mu.Lock()
		virtual, open := s.rec.Virtual, s.rec.DestroyedAt == 0 && !s.rec.Claimed
		s.mu.Unlock()
		if open && virtual != "" && m.virtual(virtual) != nil {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return
	}
	slices.SortFunc(found, newestFirst)
	s := found[0]
	if len(found) > 1 && time.Since(time.UnixMilli(s.rec.CreatedAt)) > claimTime {
		return
	}
	s.mu.Lock()
	won := !s.rec.Claimed
	if won {
		s.rec.Claimed, s.rec.Former = true, append(s.rec.Former, id)
	}
	s.mu.Unlock()
	if !won {
		return
	}
	m.mu.Lock()
	m.agentIDs[id] = s
	m.mu.Unlock()
	m.log.Info(fmt.Sprintf("session is also known as %s", id), "session", s.id)
	s.changed()
}
