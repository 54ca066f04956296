package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// routeWords stand in paths where an id would.
var routeWords = []string{"export", "import"}

// validID reports whether an id can stand in a path and in the name of a stream.
func validID(id string) bool {
	if id == "" || len(id) > 128 || id == "." || id == ".." || slices.Contains(routeWords, id) {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	})
}

func invalidID(id string) error {
	return api.InvalidRequest(api.CodeInvalidSessionID,
		"the id of a session may have letters, digits, '.', '_' and '-', at most 128, and be none of %s: %q", strings.Join(routeWords, ", "), id)
}

// Create starts a session with an agent of its own and makes the settings asked
// for. When that fails nothing of the session stays.
func (m *Manager) Create(ctx context.Context, req api.SessionCreateRequest) (*api.Session, error) {
	return m.create(ctx, req, "")
}

func (m *Manager) create(ctx context.Context, req api.SessionCreateRequest, owner string) (*api.Session, error) {
	if m.cfg.Roster.Paused() {
		return nil, api.Paused()
	}
	s, secret, err := m.insert(req, owner)
	if err != nil {
		return nil, err
	}
	if secret != nil {
		err = m.keep(s.id, s.rec.Ephemeral, *secret)
	}
	if err == nil {
		err = m.save(ctx, s)
	}
	if err == nil {
		err = m.begin(ctx, s, req)
	}
	if err != nil {
		m.purge(context.WithoutCancel(ctx), s)
		return nil, err
	}
	if err := m.save(ctx, s); err != nil {
		return nil, err
	}
	out := s.describe()
	return &out, nil
}

// insert checks a request and makes the session known. What is secret in the request is
// not in the session; it is nil if nothing is.
func (m *Manager) insert(req api.SessionCreateRequest, owner string) (*session, *kept, error) {
	if req.Agent == "" {
		return nil, nil, api.InvalidRequest("", "agent must not be empty")
	}
	if err := m.cfg.Agents.Known(req.Agent); err != nil {
		return nil, nil, err
	}
	if req.ID == "" {
		req.ID = newID()
	}
	if !validID(req.ID) {
		return nil, nil, invalidID(req.ID)
	}
	if err := api.CheckEnv(req.Env); err != nil {
		return nil, nil, err
	}
	policy, err := permission.Check(req.Permissions)
	if err != nil {
		return nil, nil, err
	}
	if err := m.canAsk(req.Agent, policy); err != nil {
		if owner == "" || req.Permissions != nil {
			return nil, nil, err
		}
		policy = &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAllow)} // its client knows nothing of policies
	}
	cwd, err := m.directory(req.CWD)
	if err != nil {
		return nil, nil, err
	}
	var servers []acp.MCPServer
	for _, server := range req.MCPServers {
		servers = append(servers, acp.MCPServer(server))
	}
	now := time.Now().UnixMilli()
	rec := record{
		ID: req.ID, Agent: req.Agent, Owner: owner, CreatedAt: now, UpdatedAt: now,
		Ephemeral: req.Ephemeral, Title: req.Title, CWD: cwd, MCPServers: servers, Env: req.Env,
		Policy: policy, Metadata: req.Metadata,
	}
	k, found, err := seal(&rec)
	if err != nil {
		return nil, nil, err
	}
	var secret *kept
	if found {
		secret = &k
	}
	s := newSession(m, rec)
	if req.Mode != "" {
		s.choose(chosenMode, req.Mode)
	}
	s.starting = true
	s.rec.Server = s.server()
	s.rec.Bound = []binding{{From: 1, Server: s.server()}}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, shuttingDown()
	}
	if err := m.room(req.ID); err != nil {
		return nil, nil, err
	}
	m.sessions[s.id] = s
	return s, secret, nil
}

// room returns why there can be no session of an id. The caller holds mu.
func (m *Manager) room(id string) error {
	switch {
	case m.taken(id):
		e := api.NewError(api.KindSessionAlreadyExists, api.CodeSessionExists, "%s", id)
		e.SessionID = id
		return e
	case m.full():
		return api.NewError(api.KindUnavailable, api.CodeLimitExceeded, "maxSessions (%d) sessions are kept; purge one first", m.cfg.Limits.MaxSessions).With("limit", "maxSessions")
	}
	return nil
}

// full reports whether there are as many sessions as may be. The caller holds mu.
func (m *Manager) full() bool {
	return len(m.sessions)+len(m.reserved) >= m.cfg.Limits.MaxSessions
}

// directory makes the working directory of a session absolute, and checks that it exists.
func (m *Manager) directory(cwd string) (string, error) {
	if !filepath.IsAbs(cwd) {
		cwd = filepath.Join(m.cfg.CWD, cwd)
	}
	cwd = filepath.Clean(cwd)
	info, err := os.Stat(cwd)
	if err != nil || !info.IsDir() {
		return "", api.InvalidRequest(api.CodePathNotFound, "cwd is not a directory: %s", cwd).With("path", cwd)
	}
	return cwd, nil
}

// begin starts the agent of a new session and makes its settings, besides the mode
// that it starts in.
func (m *Manager) begin(ctx context.Context, s *session, req api.SessionCreateRequest) error {
	l, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer s.unlock()
	if req.Model != "" {
		if err := s.setModel(ctx, l, req.Model); err != nil {
			return err
		}
	}
	if req.ThoughtLevel == "" {
		return nil
	}
	return s.setCategory(ctx, l, acp.CategoryThoughtLevel, req.ThoughtLevel)
}

// Get returns a session by its id or by one of its agent.
func (m *Manager) Get(id string) (*api.Session, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	out := s.describe()
	return &out, nil
}

// Update changes what a patch has.
func (m *Manager) Update(ctx context.Context, id string, patch api.SessionPatch) (*api.Session, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	var policy *api.PermissionPolicy
	if patch.Permissions != nil {
		if policy, err = permission.Check(patch.Permissions); err != nil {
			return nil, err
		}
	}
	if err := m.canAsk(s.rec.Agent, policy); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if patch.Title != nil {
		s.rec.Title = *patch.Title
	}
	if patch.Metadata != nil {
		s.rec.Metadata = patch.Metadata
	}
	var forgotten []api.PermissionRule
	if policy != nil {
		var old api.PermissionDefault
		if s.rec.Policy != nil {
			old = s.rec.Policy.Default
		}
		s.rec.Remembered, forgotten = permission.Forget(s.rec.Remembered, old, policy.Default)
		s.rec.Policy = policy
	}
	s.mu.Unlock()
	if len(forgotten) > 0 {
		s.notify(api.EventPermissionRulesForgotten, api.PermissionRulesForgotten{Rules: forgotten})
	}
	if err := m.save(ctx, s); err != nil {
		return nil, err
	}
	out := s.describe()
	out.ForgottenRules = forgotten
	return &out, nil
}

// Restore starts the agent of a session without a prompt. A destroyed session
// comes back to life.
func (m *Manager) Restore(ctx context.Context, id string) (*api.Session, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.rec.DestroyedAt = 0
	s.mu.Unlock()
	return m.change(ctx, id, func(*session, *link) error { return nil })
}

// Destroy ends a session: its questions are cancelled, its turn ends, an agent
// of its own is stopped. Its history is kept, unless purge wants it gone too.
// Destroying twice is no error.
func (m *Manager) Destroy(ctx context.Context, id string, purge bool) error {
	s, err := m.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	first := s.rec.DestroyedAt == 0
	if first {
		s.rec.DestroyedAt = time.Now().UnixMilli()
	}
	s.mu.Unlock()
	if err := s.end(ctx); err != nil {
		return err
	}
	if purge {
		return m.purge(ctx, s)
	}
	if first {
		if err := m.cfg.Journal.Wait(ctx, s.stream(), s.notify(api.EventSessionDestroyed, struct{}{})); err != nil {
			m.log.Warn("end of session is not on disk", "session", s.id, "error", err)
		}
	}
	return m.save(ctx, s)
}

// end cancels what a session does and stops its agent.
func (s *session) end(ctx context.Context) error {
	s.mu.Lock()
	busy, owned := s.busy() || len(s.pending) > 0, s.owned() || s.starting
	s.mu.Unlock()
	if busy {
		limited, stop := context.WithTimeout(ctx, time.Second)
		_, err := s.cancel(limited)
		stop()
		if err != nil && limited.Err() == nil && !errors.Is(err, api.CodeCancelTimeout) {
			return err
		}
	}
	if owned {
		return s.halt(ctx, "destroyed")
	}
	return nil
}

// purge removes all of a session, and then lets another one have its id.
func (m *Manager) purge(ctx context.Context, s *session) error {
	err := s.end(ctx)
	s.mu.Lock()
	s.purged = true
	ids := append([]string{s.rec.AgentSessionID}, s.rec.Former...)
	s.mu.Unlock()
	m.mu.Lock()
	if m.sessions[s.id] != s {
		m.mu.Unlock()
		return err // another request does it
	}
	delete(m.sessions, s.id)
	m.reserved[s.id] = true
	for _, id := range ids {
		if m.agentIDs[id] == s {
			delete(m.agentIDs, id)
		}
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.reserved, s.id)
	}()
	defer m.Forget(s.server()) // without the lock: who holds that of a link saves
	s.saving.Lock()
	defer s.saving.Unlock()
	closed := m.bridge.Close(ctx, s.server())
	return errors.Join(err, closed,
		m.cfg.Agents.Forget(s.rec.Agent, ids),
		m.cfg.Journal.DeleteRecord(ctx, s.storedKind(), s.id+"/"+StoredMCP),
		m.cfg.Journal.DeleteRecord(ctx, s.storedKind(), s.id+"/"+StoredSkills),
		m.cfg.Journal.DeleteRecord(ctx, RecordKind, s.id),
		m.cfg.Secrets.Delete(s.id),
		m.forgetFrames(ctx, s),
		m.cfg.Journal.Delete(ctx, s.stream())) // last: what was deleted before it is overwritten by then
}
