// Package session keeps the conversations with agents: every one of a server,
// whether it was opened over the session routes or by an ACP client of its own.
// A session is a record, a stream of events in the journal, and, while somebody
// needs it, an agent behind a connection of the bridge. Agents come and go;
// sessions stay.
//
// It knows nothing of HTTP and starts no processes.
package session

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/secrets"
)

// Config is what a Manager needs. Journal and CWD are required.
type Config struct {
	Journal *journal.Journal

	// Volatile says that the journal is in memory alone.
	Volatile bool

	// Mirror receives what the agents of owned sessions send. Nil means nobody does.
	Mirror Mirror

	// Agents knows what is particular about each agent. Nil means that nothing is
	// known of any, and that none can be started.
	Agents Agents

	// Secrets keeps what sessions are given and no client may read. Nil means in memory.
	Secrets *secrets.Store

	CWD     string // absolute; where sessions work that name no directory
	Version string // what agents are told of the client
	Limits  Limits // zeros mean those of DefaultLimits
	Bridge  bridge.Limits
	Roster  *bridge.Roster // what agents are paused with; nil means that they are not
	Logger  *slog.Logger
}

// Limits bound a Manager.
type Limits struct {
	IdleTimeout   time.Duration // after which the agent of an idle session is stopped; negative means never
	CancelTimeout time.Duration // for a turn to end after cancel, else its agent is stopped
	MaxQueued     int           // prompts that wait for one session
	PrimerBytes   int           // of transcript that a new agent session is told
	TextBytes     int           // of text in the answer to a prompt
	MaxSessions   int           // records, destroyed ones included
}

// DefaultLimits are the limits where Config has zeros.
var DefaultLimits = Limits{
	IdleTimeout:   15 * time.Minute,
	CancelTimeout: 10 * time.Second,
	MaxQueued:     16,
	PrimerBytes:   100_000,
	TextBytes:     1 << 20,
	MaxSessions:   100_000,
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	return Limits{
		IdleTimeout:   cmp.Or(l.IdleTimeout, d.IdleTimeout),
		CancelTimeout: cmp.Or(l.CancelTimeout, d.CancelTimeout),
		MaxQueued:     cmp.Or(l.MaxQueued, d.MaxQueued),
		PrimerBytes:   cmp.Or(l.PrimerBytes, d.PrimerBytes),
		TextBytes:     cmp.Or(l.TextBytes, d.TextBytes),
		MaxSessions:   cmp.Or(l.MaxSessions, d.MaxSessions),
	}
}

// Manager holds the sessions of one server. Its methods may be called from
// several goroutines.
type Manager struct {
	cfg    Config
	log    *slog.Logger
	bridge *bridge.Bridge

	nonce string // starts the ids of our requests, so that no two runs share one
	calls atomic.Uint64

	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	background sync.WaitGroup // guarded by mu against a late Go

	// Locks are taken in this order: link.mu, session.mu, Manager.mu.
	mu       sync.RWMutex
	sessions map[string]*session
	reserved map[string]bool     // ids of sessions to come, and of those that are not quite gone
	agentIDs map[string]*session // by present and former ids of the agent
	links    map[string]*link    // by connection
	doomed   map[string]bool     // connections whose frames go when they close
	closed   bool

	saving saver
	inbox  inbox
}

// New returns a Manager with the sessions of the journal and a bridge for their
// agents. Close it before the bridge and the journal.
func New(cfg Config) (*Manager, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Agents == nil {
		cfg.Agents = noAgents{}
	}
	if cfg.Secrets == nil {
		cfg.Secrets = secrets.NewStore("")
	}
	if cfg.Mirror == nil {
		cfg.Mirror = noMirror{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		cfg:      cfg,
		log:      cfg.Logger,
		nonce:    ownRequest + rand.Text()[:8],
		sessions: make(map[string]*session),
		reserved: make(map[string]bool),
		agentIDs: make(map[string]*session),
		links:    make(map[string]*link),
		doomed:   make(map[string]bool),
	}
	m.bridge = bridge.New(bridge.Config{Journal: cfg.Journal, Observer: observer{m}, Roster: cfg.Roster, Limits: cfg.Bridge, Logger: cfg.Logger})
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.saving.init(m)
	m.inbox.m = m
	if err := m.load(m.ctx); err != nil {
		m.cancel()
		return nil, err
	}
	m.background.Go(m.saving.run)
	if cfg.Limits.IdleTimeout > 0 {
		m.background.Go(m.reap)
	}
	return m, nil
}

// Close ends the turns under way, keeps the sessions for the next run, and
// returns when nothing of the manager runs any more or the context ends. It
// leaves agents to the bridge.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	done := make(chan struct{})
	go func() {
		m.background.Wait()
		m.inbox.checkpoint(ctx)
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bridge returns the connections with agents, also those that clients opened
// themselves.
func (m *Manager) Bridge() *bridge.Bridge { return m.bridge }

// spawn runs f in a goroutine that Close waits for. After Close it does not.
func (m *Manager) spawn(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.background.Go(f)
	return true
}

func shuttingDown() error {
	return api.NewError(api.KindUnavailable, api.CodeShuttingDown, "the server is shutting down")
}

// callID returns an id for a request of ours.
func (m *Manager) callID() json.RawMessage {
	id := append([]byte{'"'}, m.nonce...)
	id = append(id, '-')
	id = appendUint(id, m.calls.Add(1))
	return append(id, '"')
}

// promptID returns an id for the prompt of a turn. It names the turn, so that the
// journal alone says which turn was open when the server was killed.
func (m *Manager) promptID(turn string) json.RawMessage {
	id := bytes.TrimSuffix(m.callID(), []byte{'"'})
	return append(append(append(id, '-'), turn...), '"')
}

// turnOf returns the turn that the id of a prompt of ours names; empty if it names
// none.
func turnOf(id json.RawMessage) string {
	if !bytes.HasPrefix(id, []byte(`"`+ownRequest)) {
		return ""
	}
	_, turn, ok := strings.Cut(strings.Trim(string(id), `"`), "-"+turnPrefix)
	if !ok {
		return ""
	}
	return turnPrefix + turn
}

// turnPrefix begins the ids of turns.
const turnPrefix = "turn-"

// ownRequest begins the ids of the requests of all runs of a manager.
const ownRequest = "_server-"

// OwnReply reports whether a frame is the reply of an agent to a request of a manager
// itself, which is nothing to a client of the connection.
func OwnReply(frame []byte) bool {
	if !bytes.Contains(frame, []byte(`"`+ownRequest)) {
		return false
	}
	msg, err := acp.Parse(frame)
	return err == nil && msg.Kind == acp.Response && bytes.HasPrefix(msg.ID, []byte(`"`+ownRequest))
}

// find returns the session with an id of ours or of its agent.
func (m *Manager) find(id string) (*session, error) {
	if s := m.lookup(id); s != nil {
		m.current(s)
		return s, nil
	}
	return nil, api.SessionNotFound(id)
}

// lookup is find for those to whom it is no error that there is none.
func (m *Manager) lookup(id string) *session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.sessions[id]; s != nil {
		return s
	}
	return m.agentIDs[id]
}

// taken reports whether an id is no more free for a session. The caller holds mu.
func (m *Manager) taken(id string) bool {
	return m.sessions[id] != nil || m.reserved[id]
}

// link returns the connection with an id, made if it is not known.
func (m *Manager) link(id, agent string) *link {
	m.mu.RLock()
	l := m.links[id]
	m.mu.RUnlock()
	if l != nil {
		return l
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l = m.links[id]; l == nil {
		l = newLink(id, agent)
		m.links[id] = l
	}
	return l
}

// reap stops the agents of sessions that nobody used for the idle timeout.
func (m *Manager) reap() {
	idle := m.cfg.Limits.IdleTimeout
	ticker := time.NewTicker(max(min(idle/4, time.Minute), time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case now := <-ticker.C:
			for _, s := range m.all() {
				if s.idleSince(now.Add(-idle)) {
					s.reap(now.Add(-idle))
				}
			}
		}
	}
}

// makeRoom stops the agent that has been idle the longest. It reports whether
// there was one.
func (m *Manager) makeRoom() bool {
	var oldest *session
	var since time.Time
	for _, s := range m.all() {
		if used, ok := s.idle(); ok && (oldest == nil || used.Before(since)) {
			oldest, since = s, used
		}
	}
	return oldest != nil && oldest.reap(time.Now())
}

// all returns all sessions, in no order.
func (m *Manager) all() []*session {
	m.mu.RLock()
	list := make([]*session, 0, len(m.sessions))
	for _, s := range m.sessions {
		list = append(list, s)
	}
	m.mu.RUnlock()
	for _, s := range list {
		m.current(s)
	}
	return list
}
