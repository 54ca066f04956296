package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
)

// CreateSessionOptions say how a session starts. The zero value is a session in
// the home folder of the server, with the agent's own settings, that answers
// every question of the agent with [NoReply].
type CreateSessionOptions struct {
	CWD        string          // folder in the sandbox; empty means the one of [WithDir], else the server's home
	MCPServers []acp.MCPServer // tool servers the agent should use

	Mode         string // a mode of the agent; empty means the agent's choice
	Model        string
	ThoughtLevel string

	// OnPermission answers the agent's questions. Without it the questions come
	// out of [Session.Stream], and [Session.Prompt] answers them with [NoReply].
	OnPermission PermissionHandler
}

// ResumeSessionOptions say how a session goes on.
type ResumeSessionOptions struct {
	CreateSessionOptions

	// Transcript is what was said before, as [Session.Transcript] gave it. It is
	// used when the agent cannot find its session again: then a new one starts,
	// whose first prompt tells of it. Empty means that this is an error instead.
	Transcript string
}

// How a session came back, as [Session.Restored] says.
const (
	Resumed  = "resumed"  // the agent went on with it
	Loaded   = "loaded"   // the agent read it from its own records
	Replayed = "replayed" // it is a new one that is told what was said
)

// A Session is a conversation with an agent. It is made by
// [Client.CreateSession] or [Client.ResumeSession], and its methods may be
// called from several goroutines. When the agent's process has ended, the next
// call starts it anew and brings the session back.
type Session struct {
	c     *Client
	agent string
	opts  CreateSessionOptions

	opening chan struct{} // holds a token while the session is opened
	sending chan struct{} // holds a token while a prompt or a cancel is sent

	mu       sync.Mutex
	id       string
	conn     *connection
	modes    *acp.SessionModes
	models   *acp.SessionModels
	options  []acp.ConfigOption
	title    string
	restored string
	chosen   map[string]string // settings made here, by category, for when the session comes back
	replay   string            // what the next prompt must tell first
	script   transcript
	turn     *turn
	closed   bool
}

// CreateSession starts a session with an agent, and the agent if it does not
// run. When a setting cannot be made the session is closed again.
func (c *Client) CreateSession(ctx context.Context, agent string, opts CreateSessionOptions) (*Session, error) {
	s, err := c.newSession(ctx, agent, opts)
	if err != nil {
		return nil, fmt.Errorf("create session: %w", err)
	}
	if _, err := s.live(ctx); err != nil {
		return nil, fmt.Errorf("create session: %w", err)
	}
	if err := s.settings(ctx); err != nil {
		s.discard()
		return nil, fmt.Errorf("create session: %w", err)
	}
	return s, nil
}

// ResumeSession goes on with the session that an agent knows as id, which may
// be of another client or of an earlier life of the sandbox.
func (c *Client) ResumeSession(ctx context.Context, agent, id string, opts ResumeSessionOptions) (*Session, error) {
	if id == "" {
		return nil, errors.New("resume session: id is empty")
	}
	s, err := c.newSession(ctx, agent, opts.CreateSessionOptions)
	if err != nil {
		return nil, fmt.Errorf("resume session: %w", err)
	}
	s.id = id
	s.script.keep(opts.Transcript)
	if _, err := s.live(ctx); err != nil {
		return nil, fmt.Errorf("resume session %s: %w", id, err)
	}
	if err := s.settings(ctx); err != nil {
		s.discard()
		return nil, fmt.Errorf("resume session %s: %w", id, err)
	}
	return s, nil
}

func (c *Client) newSession(ctx context.Context, agent string, opts CreateSessionOptions) (*Session, error) {
	if agent == "" {
		return nil, errors.New("agent is empty")
	}
	if opts.CWD == "" {
		dir, err := c.workDir(ctx)
		if err != nil {
			return nil, err
		}
		opts.CWD = dir
	}
	opts.MCPServers = append([]acp.MCPServer{}, opts.MCPServers...)
	return &Session{
		c: c, agent: agent, opts: opts,
		opening: make(chan struct{}, 1),
		sending: make(chan struct{}, 1),
		chosen:  make(map[string]string),
	}, nil
}

// settings makes the settings asked for at the start.
func (s *Session) settings(ctx context.Context) error {
	for _, setting := range []struct {
		value string
		set   func(context.Context, string) error
	}{{s.opts.Mode, s.SetMode}, {s.opts.Model, s.SetModel}, {s.opts.ThoughtLevel, s.SetThoughtLevel}} {
		if setting.value == "" {
			continue
		}
		if err := setting.set(ctx, setting.value); err != nil {
			return err
		}
	}
	return nil
}

// discard closes a session that nobody got.
func (s *Session) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.c.log.Debug("close session", "session", s.ID(), "error", err)
	}
}

// live returns the connection that the session is open on, opening it first
// where it is not.
func (s *Session) live(ctx context.Context) (*connection, error) {
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	conn, closed := s.conn, s.closed
	s.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("session %s: %w", s.ID(), ErrClosed)
	}
	if conn != nil && conn.failure() == nil {
		return conn, nil
	}
	next, err := s.c.connection(ctx, s.agent)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx, next); err != nil {
		return nil, err
	}
	if conn != nil {
		s.c.log.Info("session is back", "session", s.ID(), "agent", s.agent, "how", s.Restored())
		s.chooseAgain(ctx, next)
	}
	return next, nil
}

// open makes the session on conn: a new one when it never was, else by the best
// way the agent has.
func (s *Session) open(ctx context.Context, conn *connection) error {
	id := s.ID()
	if id == "" {
		return s.openNew(ctx, conn, "")
	}
	var found error
	for _, way := range []struct {
		has            bool
		method, result string
	}{
		{len(conn.info.AgentCapabilities.SessionCapabilities.Resume) > 0, acp.MethodSessionResume, Resumed},
		{conn.info.AgentCapabilities.LoadSession, acp.MethodSessionLoad, Loaded},
	} {
		if !way.has {
			continue
		}
		err := s.openOld(ctx, conn, way.method, id, way.result)
		var refused *RPCError
		if err == nil || !errors.As(err, &refused) {
			return err
		}
		found = errors.Join(found, err)
	}
	s.mu.Lock()
	text := s.script.String()
	s.mu.Unlock()
	if text == "" {
		if found == nil {
			found = fmt.Errorf("agent %s cannot go on with sessions: %w", s.agent, ErrUnsupported)
		}
		return found
	}
	if err := s.openNew(ctx, conn, Replayed); err != nil {
		return err
	}
	s.mu.Lock()
	s.replay = text
	s.mu.Unlock()
	return nil
}

// openOld makes a session by session/resume or session/load.
func (s *Session) openOld(ctx context.Context, conn *connection, method, id, how string) error {
	s.mu.Lock()
	kept := s.script
	if how == Loaded {
		s.script = transcript{} // the agent tells it all again
	}
	s.mu.Unlock()
	conn.adopt(id, s)
	raw, err := conn.call(ctx, method, acp.LoadSessionRequest{SessionID: id, CWD: s.opts.CWD, MCPServers: s.opts.MCPServers})
	if err == nil {
		err = s.opened(conn, id, raw, how)
	}
	s.mu.Lock()
	if err != nil || s.script.empty() {
		s.script = kept
	}
	s.mu.Unlock()
	if err != nil {
		conn.forget(id, s)
		return fmt.Errorf("%s: %w", method, err)
	}
	s.askOptions(ctx)
	return nil
}

// openNew makes a session by session/new.
func (s *Session) openNew(ctx context.Context, conn *connection, how string) error {
	conn.mu.Lock()
	conn.opening++
	conn.mu.Unlock()
	defer func() {
		conn.mu.Lock()
		if conn.opening--; conn.opening == 0 {
			clear(conn.early)
		}
		conn.mu.Unlock()
	}()
	// The session is known from the moment its id is, so that what the agent
	// says of it next is not lost.
	var opened error
	p := &pendingCall{arrived: func(raw json.RawMessage, err error) {
		if err == nil {
			opened = s.opened(conn, "", raw, how)
		}
	}}
	p, err := conn.start(acp.MethodSessionNew, acp.NewSessionRequest{CWD: s.opts.CWD, MCPServers: s.opts.MCPServers}, p)
	if err != nil {
		return err
	}
	if _, err := conn.await(ctx, p); err != nil {
		return fmt.Errorf("%s: %w", acp.MethodSessionNew, err)
	}
	if opened != nil {
		return fmt.Errorf("%s: %w", acp.MethodSessionNew, opened)
	}
	s.askOptions(ctx)
	return nil
}

// opened takes what the agent says of a session it has opened.
func (s *Session) opened(conn *connection, id string, raw json.RawMessage, how string) error {
	var result acp.SessionResult
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if id == "" {
		id = result.SessionID
	}
	if id == "" {
		return fmt.Errorf("agent %s answered without a sessionId", s.agent)
	}
	s.mu.Lock()
	s.id, s.conn, s.restored = id, conn, how
	s.modes, s.models, s.options = result.Modes, result.Models, result.ConfigOptions
	s.mu.Unlock()
	for _, u := range conn.adopt(id, s) {
		s.receive(conn, u)
	}
	return nil
}

// askOptions takes the settings of an agent that tells none from the server's
// catalogue. Without an answer there are none.
func (s *Session) askOptions(ctx context.Context) {
	s.mu.Lock()
	known := s.options != nil
	s.mu.Unlock()
	if known {
		return
	}
	options, err := s.c.agentOptions(ctx, s.agent)
	if err != nil {
		s.c.log.Debug("settings of agent", "agent", s.agent, "error", err)
		return
	}
	s.mu.Lock()
	if s.options == nil {
		s.options = options
	}
	s.mu.Unlock()
}

// adopt routes what is said of a session id to s, and returns what was said
// already.
func (conn *connection) adopt(id string, s *Session) []Update {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	conn.sessions[id] = s
	early := conn.early[id]
	delete(conn.early, id)
	return early
}

func (conn *connection) forget(id string, s *Session) {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.sessions[id] == s {
		delete(conn.sessions, id)
	}
}

// ID returns the id by which the agent knows the session. It changes when a
// session comes back as [Replayed].
func (s *Session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Agent returns the id of the agent.
func (s *Session) Agent() string { return s.agent }

// CWD returns the folder in the sandbox that the session works in.
func (s *Session) CWD() string { return s.opts.CWD }

// Title returns what the agent calls the session, if anything.
func (s *Session) Title() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.title
}

// Restored says how the session came back: [Resumed], [Loaded], [Replayed], or
// empty when it never had to.
func (s *Session) Restored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restored
}

// Transcript returns what was said, the oldest left out when it is long. It is
// for [ResumeSessionOptions].
func (s *Session) Transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script.String()
}

// Modes returns the modes of the session, nil when the agent has none.
func (s *Session) Modes() *acp.SessionModes {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.modes == nil {
		return nil
	}
	modes := *s.modes
	modes.AvailableModes = slices.Clone(modes.AvailableModes)
	return &modes
}

// ConfigOptions returns the settings of the session as they are now.
func (s *Session) ConfigOptions() []acp.ConfigOption {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.options)
}

// Close ends the session: its turn is cancelled, and the agent is told that the
// session is not needed where it wants to know. The agent keeps running for
// other sessions until [Client.Close]. Closing twice is no error.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	conn, id, t := s.conn, s.id, s.turn
	s.mu.Unlock()
	if conn == nil || conn.failure() != nil {
		return nil
	}
	if t != nil {
		s.cancelTurn(ctx, conn, t)
		select {
		case <-t.ended:
		case <-ctx.Done():
		case <-time.After(cancelWait):
		}
	}
	defer conn.forget(id, s)
	if len(conn.info.AgentCapabilities.SessionCapabilities.Close) == 0 {
		return nil
	}
	if _, err := conn.call(ctx, acp.MethodSessionClose, acp.SessionRequest{SessionID: id}); err != nil {
		return fmt.Errorf("close session %s: %w", id, err)
	}
	return nil
}

// RawSend calls a method of the agent that this package has no name for. The
// session's id is added to params, which may be nil. [acp.MethodSessionCancel]
// is refused: use [Session.Cancel]; prompts are refused too.
func (s *Session) RawSend(ctx context.Context, method string, params map[string]any) (json.RawMessage, error) {
	conn, params, err := s.rawParams(ctx, method, params)
	if err != nil {
		return nil, err
	}
	result, err := conn.call(ctx, method, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return result, nil
}

// RawNotify is [Session.RawSend] for notifications, which have no answer.
func (s *Session) RawNotify(ctx context.Context, method string, params map[string]any) error {
	conn, params, err := s.rawParams(ctx, method, params)
	if err != nil {
		return err
	}
	if err := conn.notify(ctx, method, params); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

func (s *Session) rawParams(ctx context.Context, method string, params map[string]any) (*connection, map[string]any, error) {
	switch method {
	case acp.MethodSessionCancel:
		return nil, nil, fmt.Errorf("%s: use Session.Cancel", method)
	case acp.MethodSessionPrompt:
		return nil, nil, fmt.Errorf("%s: use Session.Prompt or Session.Stream", method)
	}
	conn, err := s.live(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := map[string]any{"sessionId": s.ID()}
	for key, value := range params {
		all[key] = value
	}
	return conn, all, nil
}
