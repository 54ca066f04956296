package session

import (
	"context"
	"slices"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// A Mirror receives what the agents of owned sessions send, besides the journal. Its
// methods are called in the order in which an agent sends; they may neither wait nor
// call the Manager.
type Mirror interface {
	// Notified receives a notification.
	Notified(owner string, frame []byte)

	// Asked receives a permission request that waits for a reply, and its frame.
	Asked(owner string, p api.Permission, frame []byte)
}

// noMirror is the Mirror of a Manager that has been given none.
type noMirror struct{}

func (noMirror) Notified(string, []byte) {}

func (noMirror) Asked(string, api.Permission, []byte) {}

// Owned is a session that has an owner: a connection of its client that is not the
// one on which the agent is.
type Owned struct {
	api.Session
	Owner string
	Named bool // a client has called it by an id
}

// CreateOwned is [Manager.Create] for an owner, whose client has no means to choose
// a policy: an agent that cannot ask may do everything then.
func (m *Manager) CreateOwned(ctx context.Context, owner string, req api.SessionCreateRequest) (*api.Session, error) {
	return m.create(ctx, req, owner)
}

// Owned returns the sessions that have an owner, the newest first.
func (m *Manager) Owned() []Owned {
	all := m.all()
	slices.SortFunc(all, newestFirst)
	var list []Owned
	for _, s := range all {
		s.mu.Lock()
		owner, named := s.rec.Owner, s.rec.Named
		s.mu.Unlock()
		if owner != "" {
			list = append(list, Owned{Session: s.describe(), Owner: owner, Named: named})
		}
	}
	return list
}

// Owner returns the owner of a session, "" if there is none or no such session.
func (m *Manager) Owner(id string) string {
	s := m.lookup(id)
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Owner
}

// SetOwner gives a session to an owner.
func (m *Manager) SetOwner(id, owner string) error {
	s, err := m.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.rec.Owner = owner
	s.mu.Unlock()
	s.changed()
	return nil
}

// StopIdle stops the agents of the sessions of an owner, but for those that work. It
// does not wait for that.
func (m *Manager) StopIdle(owner string) {
	for _, s := range m.all() {
		s.mu.Lock()
		his := s.rec.Owner == owner
		s.mu.Unlock()
		if his {
			m.spawn(func() { s.reap(time.Now()) })
		}
	}
}

// Named reports whether a session has an id, or could never have it. An owned one
// counts as named from then on.
func (m *Manager) Named(id string) bool {
	if !validID(id) {
		return true
	}
	s := m.lookup(id)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec.Named = s.rec.Named || s.rec.Owner != ""
	return true
}

// Name lets an owned session be found by one more id, unless a client has called it
// by another one before.
func (m *Manager) Name(id, name string) {
	s := m.lookup(id)
	if s == nil {
		return
	}
	s.mu.Lock()
	won := !s.rec.Named
	if won {
		s.rec.Named, s.rec.Former = true, append(s.rec.Former, name)
	}
	s.mu.Unlock()
	if !won {
		return
	}
	m.mu.Lock()
	m.agentIDs[name] = s
	m.mu.Unlock()
	m.log.Info("session is also known by another id", "session", s.id, "id", name)
	s.changed()
}

// Works reports whether an agent works on a prompt of a session.
func (m *Manager) Works(id string) bool {
	s := m.lookup(id)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running > 0
}

// Client returns what the client of a connection calls itself: in its introduction
// to the agent, else as it did when it opened the session there; "" if neither is
// known.
func (m *Manager) Client(connection, sessionID string) string {
	m.mu.RLock()
	l := m.links[connection]
	m.mu.RUnlock()
	if l != nil {
		l.mu.Lock()
		client := l.client
		l.mu.Unlock()
		if client != "" {
			return client
		}
	}
	s := m.lookup(sessionID)
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.Server != connection {
		return ""
	}
	return s.rec.Client
}

// Rejoin starts the agent of a client's connection again, if it has ended, and makes
// it open the session that the client had open there. It does nothing when the
// session is not known, is open, was open on another connection since, or was
// destroyed.
func (m *Manager) Rejoin(ctx context.Context, connection, sessionID string, client acp.Implementation) error {
	s := m.lookup(sessionID)
	if s == nil || !s.left(connection) {
		return nil
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	if !s.left(connection) {
		return nil
	}
	if err := m.bridge.Start(ctx, connection, s.rec.Agent, bridge.Place{}); err != nil {
		return err
	}
	l := m.link(connection, s.rec.Agent)
	var info acp.InitializeResult
	if err := s.call(ctx, l, nil, acp.MethodInitialize, acp.InitializeRequest{ProtocolVersion: acp.ProtocolVersion, ClientInfo: &client}, &info); err != nil {
		return err
	}
	how, err := s.reopen(ctx, l, info, sessionID)
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

// left reports whether the session was open on a connection last, and no agent has
// it open now.
func (s *session) left(connection string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == nil && s.rec.Server == connection && s.rec.DestroyedAt == 0
}
