package session

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// maxEarly bounds what is kept of a session whose opening is not answered yet.
const maxEarly = 256

// link is what is known of one connection of the bridge: which session a frame
// belongs to.
type link struct {
	id, agent string

	mu       sync.Mutex // makes one order of both directions
	client   string     // how the client calls itself
	expected map[string]*session
	calls    map[string]*call
	asks     map[string]*ask
	sessions map[string]*session // by id of the agent
	gone     bool                // the agent has ended, and none said anything since
	closed   bool                // the connection was closed: nobody needs this after the agent's end
	opening  int                 // unanswered requests that open a session
	early    map[string][][]byte // what the agent said of sessions that are being opened
}

// call is a request of a client that the agent has not answered.
type call struct {
	method  string
	session *session
	frame   []byte
	fresh   bool // opens a session that has no events
}

// ask is a request of the agent. An answered one is kept until the next prompt,
// so that later answers are known as such.
type ask struct {
	session    *session
	permission *permissionRequest
	answered   bool
}

// introduced notes what the client of a connection calls itself.
func (l *link) introduced(frame []byte) {
	var request struct {
		Params acp.InitializeRequest `json:"params"`
	}
	if json.Unmarshal(frame, &request) == nil && request.Params.ClientInfo != nil {
		l.client = request.Params.ClientInfo.Name
	}
}

func newLink(id, agent string) *link {
	l := &link{id: id, agent: agent, expected: make(map[string]*session)}
	l.reset()
	return l
}

// reset forgets what an agent knew that has ended.
func (l *link) reset() {
	l.calls, l.asks = make(map[string]*call), make(map[string]*ask)
	l.sessions, l.early = make(map[string]*session), make(map[string][][]byte)
	l.opening = 0
}

// expect says that our request with that id opens s.
func (l *link) expect(id json.RawMessage, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected[string(id)] = s
}

// opens returns the session that our request with that id opens, nil if the request
// is a client's.
func (l *link) opens(id json.RawMessage) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expected[string(id)]
}

func (l *link) unexpect(id json.RawMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.expected, string(id))
}

// session returns the session that an agent knows as id, if it is open here or
// about to be.
// The caller holds mu.
func (l *link) session(id string) *session {
	s := l.sessions[id]
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l && s.replay != l || s.purged {
		return nil
	}
	return s
}

// Observe takes what passes the bridge. It is the Observe of [bridge.Config]. It
// keeps answers from agents that come after another one, and replies from clients
// until the session has them on disk too.
func (m *Manager) Observe(e bridge.Event) (v bridge.Verdict) {
	l := m.link(e.Server, e.Agent)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = e.Exit != nil
	switch {
	case e.Exit != nil:
		if l.closed {
			m.dropLink(l)
		}
		m.exited(l, e.Exit)
	case e.Dropped != "":
		m.dropped(l, e)
	case e.From == journal.FromClient && e.Msg.Kind == acp.Response:
		v.Drop = !l.answered(e)
	case e.From == journal.FromClient:
		m.fromClient(l, e)
	case e.Msg.Kind == acp.Response:
		if s := m.replied(l, e); s != nil {
			v.Stream, v.Seq = s.newest()
		}
	default:
		m.fromAgent(l, e)
	}
	return v
}

// dropped notes in a session that a frame of its agent is lost.
func (m *Manager) dropped(l *link, e bridge.Event) {
	s := l.session(e.Msg.SessionID)
	if s == nil {
		s = m.owner(l.id)
	}
	if s != nil {
		s.notify(api.EventFrameDropped, api.FrameDropped{Method: e.Msg.Method, Error: e.Dropped})
	}
}

// Forget lets go of what is known of a connection that was closed.
func (m *Manager) Forget(server string) {
	m.closedConnection(server)
	m.mu.RLock()
	l := m.links[server]
	m.mu.RUnlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed = !l.gone; l.gone {
		m.dropLink(l)
	}
}

func (m *Manager) dropLink(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links[l.id] == l {
		delete(m.links, l.id)
	}
}

func (m *Manager) exited(l *link, why *api.Error) {
	open, calls, asks := l.sessions, l.calls, l.asks
	l.reset()
	for _, c := range calls {
		if c.session != nil && c.method == acp.MethodSessionPrompt {
			c.session.lost(l)
		}
	}
	for _, a := range asks {
		if p := a.permission; p != nil && a.session.elsewhere(l) && a.session.takeRequest(p) {
			a.session.void(p)
		}
	}
	for _, s := range open {
		s.mu.Lock()
		here := s.link == l
		if s.replay == l {
			s.endReplay()
		}
		s.mu.Unlock()
		if here {
			s.stopped(why.Error())
		}
	}
}

// elsewhere reports whether a session is not open on a connection any more.
func (s *session) elsewhere(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != l
}

// lost notes that the agent of a connection will not answer a prompt, if the
// session is open elsewhere by now.
func (s *session) lost(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l && s.running > 0 {
		s.running--
		s.wakeQuiet()
	}
}

// opens reports whether a method opens a session.
func opens(method string) bool {
	return method == acp.MethodSessionNew || method == acp.MethodSessionLoad || method == acp.MethodSessionResume
}

func (m *Manager) fromClient(l *link, e bridge.Event) {
	key := acp.IDKey(e.Msg.ID)
	switch e.Msg.Kind {
	case acp.Request:
		if e.Msg.Method == acp.MethodInitialize {
			l.introduced(e.Frame)
		}
		if opens(e.Msg.Method) {
			m.opening(l, key, e)
			return
		}
		s := l.session(e.Msg.SessionID)
		if s == nil {
			return
		}
		l.calls[key] = &call{method: e.Msg.Method, session: s, frame: e.Frame}
		seq := s.resent(key)
		if seq == 0 {
			seq = s.append(journal.FromClient, e.Frame)
		}
		if sets(e.Msg.Method) {
			s.mu.Lock()
			s.asking++
			s.mu.Unlock()
		}
		if e.Msg.Method == acp.MethodSessionPrompt {
			s.mu.Lock()
			s.endReplay() // what comes now is the answer
			s.mu.Unlock()
			maps.DeleteFunc(l.asks, func(_ string, a *ask) bool { return a.answered && a.session == s })
			s.prompted(key, e.Frame, seq)
		}
	case acp.Notification:
		if s := l.session(e.Msg.SessionID); s != nil {
			s.append(journal.FromClient, e.Frame)
		}
	}
}

// answered takes the answer of a client to a request of the agent. It returns
// false when another one counts.
func (l *link) answered(e bridge.Event) bool {
	a := l.asks[acp.IDKey(e.Msg.ID)]
	if a == nil {
		return true // of no session
	}
	s, p := a.session, a.permission
	open := p != nil && s.takeRequest(p)
	if a.answered || p != nil && !open && !s.answeredWith(p, e.Frame) {
		return false
	}
	a.answered = true
	s.append(journal.FromClient, e.Frame)
	if open {
		s.answered(p, e.Frame)
	}
	return true
}

// opening notes a request that opens a session.
func (m *Manager) opening(l *link, key string, e bridge.Event) {
	c := &call{method: e.Msg.Method, frame: e.Frame, session: l.expected[key]}
	delete(l.expected, key)
	if c.session == nil && e.Msg.Method != acp.MethodSessionNew {
		c.session = m.known(l, e.Msg.SessionID)
	}
	if s := c.session; s != nil {
		s.mu.Lock()
		c.fresh = s.rec.Last == 0
		s.mu.Unlock()
		if e.Msg.Method == acp.MethodSessionLoad && !c.fresh {
			// What the agent tells next is in the events already.
			l.sessions[e.Msg.SessionID] = s
			s.mu.Lock()
			s.replay = l
			s.mu.Unlock()
		}
	}
	l.calls[key] = c
	l.opening++
}

// known returns the session of an agent that has an id, if it is one of ours.
func (m *Manager) known(l *link, id string) *session {
	m.mu.RLock()
	s := m.agentIDs[id]
	m.mu.RUnlock()
	if s == nil || s.rec.Agent != l.agent {
		return nil
	}
	m.current(s)
	return s
}

// replied takes a reply of the agent. It returns the session that has it now, or
// nil.
func (m *Manager) replied(l *link, e bridge.Event) *session {
	key := acp.IDKey(e.Msg.ID)
	c := l.calls[key]
	if c == nil {
		return nil
	}
	delete(l.calls, key)
	if opens(c.method) {
		return m.opened(l, c, e)
	}
	seq := c.session.append(journal.FromAgent, e.Frame)
	c.session.replied(c, key, e, seq)
	return c.session
}

func (m *Manager) fromAgent(l *link, e bridge.Event) {
	key := acp.IDKey(e.Msg.ID)
	switch e.Msg.Kind {
	case acp.Request:
		s := l.session(e.Msg.SessionID)
		if e.Msg.Method == acp.MethodRequestPermission {
			m.permissionAsked(l, s, e)
			return
		}
		if s != nil {
			s.append(journal.FromAgent, e.Frame)
			l.asks[key] = &ask{session: s}
		}
		if m.Owns(l.id) {
			m.refuse(l, e, acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", e.Msg.Method))
		}
	case acp.Notification:
		m.notified(l, e)
	}
}

// permissionAsked takes a permission request; s is the session it is of, nil when
// none is open on the connection by that id. What cannot be read is refused, also
// where a client may answer, so that no turn waits for nothing. A request of a
// session that is not ours is left to the client whose connection it is.
func (m *Manager) permissionAsked(l *link, s *session, e bridge.Event) {
	req, why := acp.ReadPermissionRequest(e.Frame)
	request, own := e.Msg.Kind == acp.Request, m.owner(l.id)
	seq, a := uint64(0), &ask{session: s}
	if s != nil {
		seq = s.append(journal.FromAgent, e.Frame)
		if request {
			l.asks[acp.IDKey(e.Msg.ID)] = a
		}
	}
	switch {
	case why == nil && !request:
		why = acp.Errorf(acp.CodeInvalidRequest, "Invalid request: %s has no id", e.Msg.Method)
	case why == nil && s != nil:
		a.permission = s.asked(l, e.Msg.ID, req, e.Frame, seq)
		return
	case why == nil && own == nil:
		return
	case why == nil:
		why = acp.Errorf(acp.CodeInvalidParams, "Invalid params: no session %q is open on this connection", e.Msg.SessionID)
	}
	m.log.Warn("permission request of an agent is refused", "agent", l.agent, "server", l.id, "agentSession", e.Msg.SessionID, "error", why.Message)
	if s == nil {
		s = own
	}
	if s != nil {
		s.notify(api.EventPermissionInvalid, api.PermissionInvalid{Event: seq, Error: why.Message})
	}
	if request {
		m.refuse(l, e, why)
	}
}

// refuse answers a request of an agent with an error.
func (m *Manager) refuse(l *link, e bridge.Event, why *acp.RPCError) {
	frame, err := acp.ErrorFrame(bytes.Clone(e.Msg.ID), why)
	if err != nil {
		m.log.Error("encode refusal", "error", err)
		return
	}
	m.send(l, frame)
}

// Owns reports whether a connection belongs to a session of ours, and so is no
// business of clients.
func (m *Manager) Owns(server string) bool { return m.owner(server) != nil }

// owner returns the session that has a connection for itself, or nil.
func (m *Manager) owner(server string) *session {
	id, ok := strings.CutPrefix(server, ownPrefix)
	if !ok {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sessions[id]
}

// send hands a frame to an agent from a goroutine of its own, as Observe must
// not wait for the agent.
func (m *Manager) send(l *link, frame []byte) {
	m.spawn(func() {
		if _, err := m.bridge.Post(m.ctx, l.id, "", false, frame); err != nil && m.ctx.Err() == nil {
			m.log.Debug("send to agent", "server", l.id, "error", err)
		}
	})
}

func (m *Manager) notified(l *link, e bridge.Event) {
	if e.Msg.Method == acp.MethodRequestPermission {
		m.permissionAsked(l, l.session(e.Msg.SessionID), e)
		return
	}
	if e.Msg.SessionID == "" {
		return
	}
	s := l.session(e.Msg.SessionID)
	if s == nil {
		if early := l.early[e.Msg.SessionID]; l.opening > 0 && len(early) < maxEarly {
			l.early[e.Msg.SessionID] = append(early, e.Frame)
		}
		return
	}
	s.mu.Lock()
	replaying, owner := s.replay == l, s.rec.Owner
	s.mu.Unlock()
	if replaying {
		if updateKind(e.Frame) == acp.UpdateCommands {
			s.toldLate()
		}
		return
	}
	seq := s.append(journal.FromAgent, e.Frame)
	if e.Msg.Method == acp.MethodSessionUpdate {
		s.updated(e.Frame, seq)
	}
	if owner != "" {
		m.cfg.Mirror.Notified(owner, e.Frame)
	}
}

// opened takes the answer to a request that opens a session. It returns the
// session, nil if there is none.
func (m *Manager) opened(l *link, c *call, e bridge.Event) *session {
	if l.opening--; l.opening == 0 {
		defer clear(l.early)
	}
	s := c.session
	if s != nil {
		s.mu.Lock()
		switch {
		case s.replay != l:
		case c.method == acp.MethodSessionLoad && !c.fresh && !e.Msg.IsError && m.cfg.Agents.ReplaysLate(l.agent):
			s.late = make(chan struct{})
		default:
			s.endReplay()
		}
		s.mu.Unlock()
	}
	if e.Msg.IsError {
		return nil
	}
	var params struct {
		SessionID string          `json:"sessionId"`
		CWD       string          `json:"cwd"`
		Meta      json.RawMessage `json:"_meta"`
	}
	var result acp.SessionResult
	if !decodeMember(c.frame, "params", &params) || !decodeMember(e.Frame, "result", &result) {
		return nil
	}
	sid := result.SessionID
	if c.method != acp.MethodSessionNew {
		sid = params.SessionID
	}
	if sid == "" {
		return nil
	}
	if s == nil {
		s = m.adopt(l, sid, params.CWD, text(params.Meta, api.MetaSessionID))
		c.fresh = true
		if s == nil {
			return nil
		}
	}
	m.bind(l, s, sid)
	s.append(journal.FromClient, c.frame)
	seq := s.append(journal.FromAgent, e.Frame)
	s.described(result, seq)
	for _, frame := range l.early[sid] {
		if c.method == acp.MethodSessionLoad && !c.fresh {
			break
		}
		seq := s.append(journal.FromAgent, frame)
		s.updated(frame, seq)
	}
	delete(l.early, sid)
	// The client must not know of a session that a killed server forgets, and no event
	// says on which connection a session is open.
	if err := m.save(m.ctx, s); err != nil {
		m.log.Warn("session is not on disk", "session", s.id, "error", err)
		s.changed()
	}
	return s
}

// adopt makes the record of a session that an ACP client has opened.
func (m *Manager) adopt(l *link, sid, cwd, wanted string) *session {
	now := time.Now().UnixMilli()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.full() {
		m.log.Warn("session of an ACP client is not recorded", "server", l.id, "agentSession", sid)
		return nil
	}
	id := wanted
	if !validID(id) || m.taken(id) {
		id = sid
	}
	for !validID(id) || m.taken(id) {
		id = newID()
	}
	s := newSession(m, record{ID: id, Agent: l.agent, Client: l.client, CWD: cwd, CreatedAt: now, UpdatedAt: now})
	m.sessions[id] = s
	return s
}

// bind notes that a session is open on a connection under an id of the agent.
func (m *Manager) bind(l *link, s *session, sid string) {
	m.mu.Lock()
	m.agentIDs[sid] = s
	m.mu.Unlock()
	l.sessions[sid] = s
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.rec.AgentSessionID; old != sid {
		if old != "" {
			s.rec.Former = append(s.rec.Former, old)
		}
		s.rec.AgentSessionID = sid
	}
	if s.rec.Server != l.id {
		s.rec.Server = l.id
		s.rec.Bound = append(s.rec.Bound, binding{From: s.rec.Last + 1, Server: l.id})
	}
	if l.id != s.server() && s.owned() {
		m.abandon(s)
	}
	s.link, s.failed, s.rec.Reason, s.rec.Summed = l, false, "", acp.Usage{}
}

// abandon stops the agent of a session's own connection, as a client has opened
// the session on another one.
func (m *Manager) abandon(s *session) {
	m.spawn(func() {
		if err := m.bridge.Stop(m.ctx, s.server()); err != nil {
			m.log.Debug("stop agent", "session", s.id, "error", err)
		}
	})
}

// decodeMember decodes one member of a frame.
func decodeMember(frame []byte, name string, v any) bool {
	value, ok := acp.Member(frame, name)
	return ok && (len(value) == 0 || json.Unmarshal(value, v) == nil)
}
