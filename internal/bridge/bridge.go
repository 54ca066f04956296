// Package bridge carries the Agent Client Protocol between HTTP clients and
// agent processes on standard input and output. It owns the processes and their
// frames; what a frame says is the business of the two ends, so frames are
// forwarded as the bytes they came in.
//
// Every frame goes to the journal first and is seen by clients only once the
// journal has it, so a client that comes back with a cursor finds everything
// that it or another client has seen.
package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// Config is what a Bridge needs. Journal and Observer are required; zero limits
// mean the defaults of [DefaultLimits].
type Config struct {
	Journal  *journal.Journal
	Observer Observer
	Roster   *Roster // what the agents are paused with; nil means that they are not
	Limits   Limits
	Logger   *slog.Logger // nil means none
}

// Spec says how to start an agent.
type Spec = child.Spec

// Roster knows the agents, among others, and pauses them.
type Roster = child.Roster

// Observer knows what the bridge does not: which agents there are, and what
// becomes of what passes. Its methods are called from several goroutines.
type Observer interface {
	// Known reports whether agent is an agent at all.
	Known(agent string) bool

	// Launch says how to start an agent, installing it first if need be. Its
	// errors reach the client as they are.
	Launch(ctx context.Context, agent string) (Spec, error)

	// Prepare may replace a request of a client on a connection before it is
	// written to the agent; it gets the whole frame.
	Prepare(ctx context.Context, server, agent string, msg acp.Message, frame []byte) ([]byte, error)

	// Conceal returns what journal and Observe get of a frame to the agent, which has
	// references in place of secrets; the agent gets the frame.
	Conceal(msg acp.Message, frame []byte) []byte

	// Explain may replace the error with which an agent answers a request, for the
	// client that waits for it; it gets the last lines of the agent's standard
	// error. Events stay as the agent said them.
	Explain(agent string, frame []byte, stderr []string) []byte

	// Observe gets everything that passes: a client's frame before the agent can
	// read it, an agent's frame when it has been appended to the journal. The calls
	// for one connection are in order in each direction, and hold up that
	// direction, so Observe must not wait for the other one.
	Observe(Event) Verdict
}

// A Verdict is what becomes of an observed frame. The zero value lets it pass.
type Verdict struct {
	Drop bool // keeps a frame of a client from the agent

	// Stream and Seq name an entry of the journal that has to be on disk, beside
	// the frame itself, before a client is given this reply of the agent. An empty
	// Stream names none.
	Stream string
	Seq    uint64
}

// An Event is a frame on its way, or the end of an agent's process.
type Event struct {
	Server string // id of the connection
	Agent  string
	From   journal.Direction
	Msg    acp.Message
	Frame  []byte // nil at the end of the process, and where it was dropped; must not be changed

	// Dropped says why a frame of the agent that is no reply was dropped, of which
	// Msg is all that is known. Empty for all others.
	Dropped string

	Exit *api.Error // at the end of the process, why later posts fail
}

// Limits bound a Bridge.
type Limits struct {
	MaxConnections int           // live agent processes
	MaxPending     int           // unanswered requests of one connection
	MaxQueuedBytes int64         // waiting to be written to one agent
	MaxFrameBytes  int64         // one line of an agent
	RequestTimeout time.Duration // for a reply; session/prompt and authenticate are exempt
	WriteStall     time.Duration // for an agent to take a frame from its input
	StopGrace      time.Duration // between asking an agent to end and killing it
}

// DefaultLimits are the limits where Config has zeros.
var DefaultLimits = Limits{
	MaxConnections: 1024,
	MaxPending:     1024,
	MaxQueuedBytes: 16 << 20,
	MaxFrameBytes:  32 << 20,
	RequestTimeout: 2 * time.Minute,
	WriteStall:     10 * time.Second,
	StopGrace:      500 * time.Millisecond,
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	return Limits{
		MaxConnections: cmp.Or(l.MaxConnections, d.MaxConnections),
		MaxPending:     cmp.Or(l.MaxPending, d.MaxPending),
		MaxQueuedBytes: cmp.Or(l.MaxQueuedBytes, d.MaxQueuedBytes),
		MaxFrameBytes:  cmp.Or(l.MaxFrameBytes, d.MaxFrameBytes),
		RequestTimeout: cmp.Or(l.RequestTimeout, d.RequestTimeout),
		WriteStall:     cmp.Or(l.WriteStall, d.WriteStall),
		StopGrace:      cmp.Or(l.StopGrace, d.StopGrace),
	}
}

// Bridge holds the ACP connections of one server. Its methods may be called
// from several goroutines.
type Bridge struct {
	cfg Config
	log *slog.Logger

	loading sync.Mutex // held while a connection is taken from the records, or off them

	mu      sync.Mutex
	conns   map[string]*conn
	leaving map[string]<-chan struct{} // by id, of closed connections whose agent is not gone yet
	closed  bool

	closing sync.WaitGroup // agents that are being stopped
}

// New returns a Bridge without connections. Close it to end its agents.
func New(cfg Config) *Bridge {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Bridge{cfg: cfg, log: cfg.Logger, conns: make(map[string]*conn), leaving: make(map[string]<-chan struct{})}
}

// Post hands one frame of a client to the agent behind id, which is started
// first if agent is not empty and none runs. For a request it waits for the
// agent's reply and returns its frame; for anything else it returns nil as soon
// as the agent has the frame.
//
// A context that ends while the reply is awaited leaves the request with the
// agent; the reply goes to the journal all the same.
func (b *Bridge) Post(ctx context.Context, id, agent string, hasAgent bool, frame []byte) ([]byte, error) {
	msg, err := acp.Parse(frame)
	if err == nil && !utf8.Valid(frame) {
		err = errors.New("it is not UTF-8")
	}
	if err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidJSON, "invalid JSON body: %w", err)
	}
	if hasAgent && !b.cfg.Observer.Known(agent) {
		e := api.NewError(api.KindUnsupportedAgent, "", "%s", agent)
		e.Agent = agent
		return nil, e
	}
	c, err := b.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case c == nil && !hasAgent:
		return nil, api.InvalidRequest(api.CodeAgentRequired,
			"missing required 'agent' query parameter for first POST to /v1/acp/%s", id)
	case c != nil && hasAgent && c.agent != agent:
		return nil, api.Conflict(api.CodeAgentMismatch,
			"server '%s' already exists for agent '%s'; requested '%s'", id, c.agent, agent)
	}
	if !isObject(frame) {
		return nil, api.InvalidRequest(api.CodeInvalidFrame, "request body must be a JSON-RPC object")
	}
	if msg.Reserved {
		return RefuseReserved(msg)
	}
	if hasAgent {
		if c, err = b.ensure(ctx, id, agent, Place{}); err != nil {
			return nil, err
		}
	}
	return c.post(ctx, msg, frame)
}

// Place is where an agent runs.
type Place struct {
	Dir  string   // working directory; empty is the one that Launch says
	Env  []string // added to its environment, as "K=V"
	Args []string // added to its arguments

	// Volatile keeps the frames of a new connection in memory alone.
	Volatile bool
}

// Start starts the agent behind id in a place, if it does not run. It is for
// callers inside the server; clients use Post.
func (b *Bridge) Start(ctx context.Context, id, agent string, place Place) error {
	c, err := b.lookup(ctx, id)
	if err != nil {
		return err
	}
	if c != nil && c.agent != agent {
		return api.Conflict(api.CodeAgentMismatch, "server '%s' already exists for agent '%s'; requested '%s'", id, c.agent, agent)
	}
	_, err = b.ensure(ctx, id, agent, place)
	return err
}

// Stop ends the agent behind id and keeps the connection, whose events go on
// when the agent is started again. It returns when the agent is gone.
func (b *Bridge) Stop(ctx context.Context, id string) error {
	c, err := b.lookup(ctx, id)
	if c == nil || err != nil {
		return err
	}
	done := make(chan struct{})
	b.closing.Go(func() {
		defer close(done)
		c.halt()
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StopAll ends every agent and keeps the connections, as Stop does for one.
func (b *Bridge) StopAll(ctx context.Context) error {
	var all errgroup.Group
	for _, s := range b.List() {
		all.Go(func() error { return b.Stop(ctx, s.ServerID) })
	}
	return all.Wait()
}

// Running reports whether the agent behind id runs or starts.
func (b *Bridge) Running(id string) bool {
	b.mu.Lock()
	c := b.conns[id]
	b.mu.Unlock()
	return c != nil && c.status() != statusExited
}

// lookup returns the connection of id, or nil. One of an earlier run of the
// server is taken from the journal's records, as one whose agent has exited.
func (b *Bridge) lookup(ctx context.Context, id string) (*conn, error) {
	b.mu.Lock()
	c := b.conns[id]
	b.mu.Unlock()
	if c != nil {
		return c, nil
	}
	b.loading.Lock()
	defer b.loading.Unlock()
	b.mu.Lock()
	c = b.conns[id]
	b.mu.Unlock()
	if c != nil {
		return c, nil
	}
	rec, err := loadRecord(ctx, b.cfg.Journal, id)
	if rec == nil || err != nil {
		return nil, err
	}
	if c, err = connectionOf(ctx, b, *rec); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if made := b.conns[id]; made != nil {
		return made, nil
	}
	b.conns[id] = c
	return c, nil
}

// ensure returns the connection of id with its agent running or about to.
func (b *Bridge) ensure(ctx context.Context, id, agent string, place Place) (*conn, error) {
	if !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
		return nil, api.InvalidRequest("", "%q is no id of a connection, since it is not text", id)
	}
	b.mu.Lock()
	for b.leaving[id] != nil { // two agents of one id could not be told apart
		gone := b.leaving[id]
		b.mu.Unlock()
		select {
		case <-gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		b.mu.Lock()
	}
	if b.closed {
		b.mu.Unlock()
		return nil, api.NewError(api.KindUnavailable, api.CodeShuttingDown, "the server is shutting down")
	}
	c := b.conns[id]
	if c == nil {
		c = newConn(b, newRecord(id, agent, place.Volatile))
		b.conns[id] = c
	}
	if b.cfg.Roster.Paused() && c.status() != statusRunning {
		b.dropIfUnused(c)
		b.mu.Unlock()
		return nil, api.Paused()
	}
	starting := c.beginStart()
	if starting && b.running() > b.cfg.Limits.MaxConnections {
		c.abandon()
		b.dropIfUnused(c)
		b.mu.Unlock()
		return nil, api.NewError(api.KindUnavailable, api.CodeLimitExceeded,
			"maxConnections (%d) agents are running; close one first", b.cfg.Limits.MaxConnections).With("limit", "maxConnections")
	}
	b.mu.Unlock()
	if !starting {
		return c, c.awaitStart(ctx)
	}
	// Others may wait for this start, so it outlives the request that asked.
	if err := c.start(context.WithoutCancel(ctx), place); err != nil {
		b.mu.Lock()
		b.dropIfUnused(c)
		b.mu.Unlock()
		return nil, err
	}
	return c, nil
}

// dropIfUnused forgets a connection whose first start failed, so that nothing
// is registered for it. The caller holds mu.
func (b *Bridge) dropIfUnused(c *conn) {
	if !c.everStarted() && b.conns[c.id] == c {
		delete(b.conns, c.id)
	}
}

// running counts the agents that run or start. The caller holds mu.
func (b *Bridge) running() int {
	n := 0
	for _, c := range b.conns {
		if c.status() != statusExited {
			n++
		}
	}
	return n
}

// Events returns a reader of what the agent behind id says. A nil after starts
// with the first frame of the agent's present (or last) process, any other
// after the event of that number, which may be of an earlier process. The
// reader ends with io.EOF after the connection was closed.
func (b *Bridge) Events(ctx context.Context, id string, after *uint64) (*journal.Reader, error) {
	c, err := b.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, api.SessionNotFound(id)
	}
	from := c.base()
	if after != nil {
		from = *after
	}
	return b.cfg.Journal.Reader(c.stream, from), nil
}

// Shown returns the number of the last event that readers of a connection can get. It
// is zero for one that this run of the server has not used.
func (b *Bridge) Shown(id string) uint64 {
	b.mu.Lock()
	c := b.conns[id]
	b.mu.Unlock()
	if c == nil {
		return 0
	}
	last, _ := b.cfg.Journal.Shown(c.stream)
	return last
}

// List returns the connections of this run of the server, sorted by id.
func (b *Bridge) List() []api.ACPServer {
	b.mu.Lock()
	list := make([]api.ACPServer, 0, len(b.conns))
	for _, c := range b.conns {
		list = append(list, c.describe())
	}
	b.mu.Unlock()
	slices.SortFunc(list, func(x, y api.ACPServer) int { return cmp.Compare(x.ServerID, y.ServerID) })
	return list
}

// Close ends the connection of id: its event streams, its unanswered requests,
// and its agent with everything that the agent started. It returns when the
// agent is gone or after a second; the rest then happens behind it. Closing
// what does not exist is no error.
func (b *Bridge) Close(ctx context.Context, id string) error {
	c, err := b.lookup(ctx, id)
	if c == nil || err != nil {
		return err
	}
	gone := make(chan struct{})
	b.loading.Lock()
	b.mu.Lock()
	before := b.leaving[id]
	b.leaving[id] = gone
	if b.conns[id] == c {
		delete(b.conns, id)
	}
	b.mu.Unlock()
	err = deleteRecord(ctx, b.cfg.Journal, id)
	b.loading.Unlock()
	b.closing.Go(func() {
		c.close()
		if before != nil {
			<-before
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if close(gone); b.leaving[id] == gone {
			delete(b.leaving, id)
		}
	})
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}

// killWait bounds the wait for agents that were killed.
const killWait = time.Second

// Shutdown ends all agents, keeps the records of their connections for the next
// run of the server, and refuses new ones. It returns when the agents are gone;
// those that are left when the context ends are killed.
func (b *Bridge) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	conns := b.conns
	b.conns = make(map[string]*conn)
	b.mu.Unlock()
	for _, c := range conns {
		b.closing.Go(c.close)
	}
	done := make(chan struct{})
	go func() {
		b.closing.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, c := range conns {
		_ = c.signal(syscall.SIGKILL) // who is gone by now is no fault
	}
	select {
	case <-done:
	case <-time.After(killWait):
	}
	return fmt.Errorf("stop agents: %w", ctx.Err())
}
