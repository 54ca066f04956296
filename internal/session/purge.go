package session

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// The streams of connections, and of the clients that have several sessions on one, hold
// what passed in a session as well.
const (
	connectionStreams = "acp/"
	clientStreams     = "virtual/"
)

// forgetFrames deletes the frames of the connections that a purged session was open on,
// and that no other session was. Those of a connection that is open are deleted when it
// closes.
func (m *Manager) forgetFrames(ctx context.Context, s *session) error {
	s.mu.Lock()
	servers := []string{s.server()}
	for _, b := range s.rec.Bound {
		servers = append(servers, b.Server)
	}
	owner := s.rec.Owner
	s.mu.Unlock()
	slices.Sort(servers)
	var failed []error
	for _, server := range slices.Compact(servers) {
		failed = append(failed, m.forgetConnection(ctx, server))
	}
	if owner != "" && !m.owns(owner) {
		failed = append(failed, m.deleteStream(ctx, clientStreams+owner))
	}
	return errors.Join(failed...)
}

func (m *Manager) forgetConnection(ctx context.Context, server string) error {
	if m.bound(server) {
		return nil
	}
	if m.bridge.Running(server) {
		m.mu.Lock()
		m.doomed[server] = true
		m.mu.Unlock()
		return nil
	}
	for _, prefix := range []string{connectionStreams, journal.MemoryPrefix + connectionStreams} {
		streams, err := m.cfg.Journal.Streams(ctx, prefix+server+"/")
		if err != nil {
			return err
		}
		for _, info := range streams {
			if rest := strings.TrimPrefix(info.Name, prefix+server+"/"); strings.Count(strings.TrimSuffix(rest, "/client"), "/") > 0 {
				continue // of another connection, whose id begins so
			}
			if err := m.deleteStream(ctx, info.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) deleteStream(ctx context.Context, name string) error {
	return m.cfg.Journal.Delete(ctx, name)
}

// closedConnection forgets the frames of a connection that was closed, if a session that
// was open on it has been purged.
func (m *Manager) closedConnection(server string) {
	m.mu.Lock()
	doomed := m.doomed[server]
	delete(m.doomed, server)
	m.mu.Unlock()
	if !doomed {
		return
	}
	if err := m.forgetConnection(m.ctx, server); err != nil && m.ctx.Err() == nil {
		m.log.Error("frames of a purged session are left", "server", server, "error", err)
	}
}

// bound reports whether a session was open on a connection.
func (m *Manager) bound(server string) bool {
	return slices.ContainsFunc(m.all(), func(s *session) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.rec.Bound, func(b binding) bool { return b.Server == server })
	})
}

// owns reports whether the client of a connection has a session.
func (m *Manager) owns(client string) bool {
	return slices.ContainsFunc(m.all(), func(s *session) bool { return s.rec.Owner == client })
}
