package session

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// fragileClient is how the npm client 0.4.2 calls itself. It takes any answer to
// a POST but 2xx as the end of its connection, settles no prompt after that, and
// never names the agent again, so it cannot come back by itself.
const fragileClient = "sandbox-agent-sdk"

// introduced notes which client speaks on a connection.
func (l *link) introduced(frame []byte) {
	var request struct {
		Params acp.InitializeRequest `json:"params"`
	}
	if json.Unmarshal(frame, &request) == nil && request.Params.ClientInfo != nil {
		l.client = request.Params.ClientInfo.Name
	}
}

// Revive starts the agent of a fragile client's connection anew, if it is gone,
// and makes it know the session again that a message of the client is about. It
// does nothing for other clients, which are told that their agent is gone.
func (m *Manager) Revive(ctx context.Context, server string, msg acp.Message) error {
	if msg.Kind != acp.Request || msg.SessionID == "" {
		return nil
	}
	s := m.lookup(msg.SessionID)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	lost := s.link == nil && s.rec.Client == fragileClient && s.rec.Server == server && s.rec.DestroyedAt == 0
	s.mu.Unlock()
	if !lost {
		return nil
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.Lock()
	lost = s.link == nil
	s.mu.Unlock()
	if !lost {
		return nil
	}
	if err := m.bridge.Start(ctx, server, s.rec.Agent, bridge.Place{}); err != nil {
		return err
	}
	l := m.link(server, s.rec.Agent)
	var info acp.InitializeResult
	if err := s.call(ctx, l, nil, acp.MethodInitialize, acp.InitializeRequest{
		ProtocolVersion: acp.ProtocolVersion,
		ClientInfo:      &acp.Implementation{Name: fragileClient, Version: "v1"},
	}, &info); err != nil {
		return err
	}
	how, err := s.reopen(ctx, l, info, msg.SessionID)
	if err != nil {
		return err
	}
	if how == "" {
		return api.Conflict(api.CodeAgentError, "%s cannot go on with a session of an earlier process", s.rec.Agent)
	}
	s.restored(how)
	s.chooseAgain(ctx, l)
	return nil
}

// Soften turns the refusal of a frame into an answer that a fragile client
// survives: for a request a JSON-RPC error with the problem as its data, for the
// rest nothing, as if the agent had taken it. ok is false for other clients.
func (m *Manager) Soften(server string, frame []byte, refusal error) (reply []byte, ok bool) {
	msg, err := acp.Parse(frame)
	var problem *api.Error
	if err != nil || !errors.As(refusal, &problem) || !m.fragile(server, msg.SessionID) {
		return nil, false
	}
	if msg.Kind != acp.Request {
		return nil, true
	}
	data, err := json.Marshal(problem)
	if err != nil {
		return nil, false
	}
	e := acp.Errorf(acp.CodeInternalError, "%s", problem.Detail)
	e.Data = data
	reply, err = acp.ErrorFrame(msg.ID, e)
	return reply, err == nil
}

// fragile reports whether a fragile client speaks on a connection.
func (m *Manager) fragile(server, sessionID string) bool {
	m.mu.RLock()
	l := m.links[server]
	m.mu.RUnlock()
	if l != nil {
		l.mu.Lock()
		client := l.client
		l.mu.Unlock()
		if client != "" {
			return client == fragileClient
		}
	}
	s, err := m.find(sessionID)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Client == fragileClient && s.rec.Server == server
}
