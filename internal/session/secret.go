package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/secrets"
)

// kept is what a session needs for its agent and nobody may see: what its record and its
// configuration have references for.
type kept struct {
	Env        map[string]string          `json:"env,omitempty"`
	MCPServers []acp.MCPServer            `json:"mcpServers,omitempty"`
	Stored     map[string]json.RawMessage `json:"stored,omitempty"`
}

// seal takes the secrets out of a record, and reports whether there were any.
func seal(rec *record) (k kept, found bool, err error) {
	k = kept{Env: rec.Env, MCPServers: rec.MCPServers}
	if len(rec.Env) > 0 {
		rec.Env = make(map[string]string, len(k.Env))
		for key, value := range k.Env {
			if value != "" {
				value = secrets.Reference(key)
			}
			rec.Env[key] = value
			found = found || value != k.Env[key]
		}
	}
	if len(rec.MCPServers) > 0 {
		rec.MCPServers, err = concealed(k.MCPServers)
		found = found || err == nil && !equalServers(rec.MCPServers, k.MCPServers)
	}
	return k, found, err
}

// concealed returns servers with references in place of secrets.
func concealed(servers []acp.MCPServer) (shown []acp.MCPServer, err error) {
	data, err := json.Marshal(servers)
	if err == nil {
		err = json.Unmarshal(secrets.Conceal(data), &shown)
	}
	if err != nil {
		return nil, fmt.Errorf("conceal MCP servers: %w", err)
	}
	return shown, nil
}

func equalServers(a, b []acp.MCPServer) bool {
	one, errOne := json.Marshal(a)
	other, errOther := json.Marshal(b)
	return errOne == nil && errOther == nil && bytes.Equal(one, other)
}

// kept reads the secrets of a session.
func (m *Manager) kept(id string) (k kept, err error) {
	data, err := m.cfg.Secrets.Get(id)
	if err == nil && data != nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return k, fmt.Errorf("read secrets of session %s: %w", id, err)
	}
	return k, nil
}

// keep stores the secrets of a session.
func (m *Manager) keep(id string, ephemeral bool, k kept) error {
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode secrets of session %s: %w", id, err)
	}
	if ephemeral {
		return m.cfg.Secrets.PutMemory(id, data)
	}
	return m.cfg.Secrets.Put(id, data)
}

// env returns the variables of the session with their values. Those whose value is not
// kept, as after an import, are left out. The caller holds mu.
func (s *session) env() map[string]string {
	if len(s.rec.Env) == 0 {
		return nil
	}
	k, err := s.m.kept(s.id)
	if err != nil {
		s.m.log.Error("variables of a session are lost", "session", s.id, "error", err)
	}
	vars := make(map[string]string, len(s.rec.Env))
	for key, shown := range s.rec.Env {
		value, ok := k.Env[key]
		switch {
		case shown != secrets.Reference(key):
			vars[key] = shown
		case ok:
			vars[key] = value
		default:
			s.m.log.Warn("variable of a session has no value here, and is left out", "session", s.id, "variable", key)
		}
	}
	return vars
}

// servers returns the MCP servers of the session with their secrets. A variable or a
// header whose value is not kept is left out.
func (s *session) servers() ([]acp.MCPServer, error) {
	s.mu.Lock()
	list := append([]acp.MCPServer{}, s.rec.MCPServers...)
	s.mu.Unlock()
	if len(list) == 0 {
		return list, nil
	}
	k, err := s.m.kept(s.id)
	if err != nil {
		return nil, err
	}
	if shown, err := concealed(k.MCPServers); err == nil && equalServers(shown, list) {
		return k.MCPServers, nil
	}
	for i := range list {
		list[i].Env, list[i].Headers = withValues(list[i].Env), withValues(list[i].Headers)
	}
	return list, nil
}

func withValues(pairs []acp.NameValue) []acp.NameValue {
	return slices.DeleteFunc(slices.Clone(pairs), func(p acp.NameValue) bool { return p.Value == secrets.Reference(p.Name) })
}

// Conceal keeps secrets out of the journal. A prompt is what a user says, and has none
// but in what programs add to it.
func (o observer) Conceal(msg acp.Message, frame []byte) []byte {
	if msg.Method == acp.MethodSessionPrompt && !bytes.Contains(frame, []byte(`"_meta"`)) {
		return frame
	}
	return secrets.Conceal(frame)
}

// sealLoaded moves the secrets of a record that has them itself, as those of earlier
// builds do, and reports whether there were any.
func (m *Manager) sealLoaded(rec *record) bool {
	k, found, err := seal(rec)
	if err == nil && found {
		var before kept
		if before, err = m.kept(rec.ID); err == nil {
			k.Stored = before.Stored
			err = m.keep(rec.ID, false, k)
		}
	}
	if err != nil {
		m.log.Error("secrets of a session are lost", "session", rec.ID, "error", err)
	}
	return found
}

// sealStored moves the secrets of what earlier builds have stored for sessions, and
// forgets those of sessions that are gone.
func (m *Manager) sealStored(ctx context.Context) error {
	records, err := m.cfg.Journal.ListRecords(ctx, storedKind, "")
	if err != nil {
		return fmt.Errorf("load configuration of sessions: %w", err)
	}
	for _, r := range records {
		id, what, _ := strings.Cut(r.ID, "/")
		if s := m.sessions[id]; s != nil && !bytes.Equal(secrets.Conceal(r.Data), r.Data) {
			if err := m.store(ctx, s, what, r.Data); err != nil {
				return err
			}
		}
	}
	return m.cfg.Secrets.Keep(func(id string) bool { return m.sessions[id] != nil })
}

// store keeps what is configured for a session: as it is among the secrets, and with
// references among the records. The caller holds saving, or is the only one.
func (m *Manager) store(ctx context.Context, s *session, what string, data []byte) error {
	k, err := m.kept(s.id)
	if err != nil {
		return err
	}
	shown := secrets.Conceal(data)
	delete(k.Stored, what)
	if !bytes.Equal(shown, data) {
		if k.Stored == nil {
			k.Stored = make(map[string]json.RawMessage)
		}
		k.Stored[what] = data
	}
	if err := m.keep(s.id, s.rec.Ephemeral, k); err != nil {
		return err
	}
	return m.cfg.Journal.PutRecord(ctx, s.storedKind(), s.id+"/"+what, shown)
}

// Stored returns what SetStored has stored for a session, or nothing.
func (m *Manager) Stored(ctx context.Context, id, what string) ([]byte, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	k, err := m.kept(s.id)
	if err != nil {
		return nil, err
	}
	if data := k.Stored[what]; data != nil {
		return data, nil
	}
	return m.storedRecord(ctx, s, what)
}

// SetStored stores something for a session, until it is purged.
func (m *Manager) SetStored(ctx context.Context, id, what string, data []byte) error {
	s, err := m.find(id)
	if err != nil {
		return err
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	purged := s.purged
	s.mu.Unlock()
	if purged {
		return api.SessionNotFound(id)
	}
	return m.store(ctx, s, what, data)
}
