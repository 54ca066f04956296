package bridge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"sync"
	"syscall"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// The states of a connection, as [api.ACPServer] shows them.
const (
	statusStarting = "starting"
	statusRunning  = "running"
	statusExited   = "exited"
)

// conn is one ACP connection: an id of a client's choice, a stream of events,
// and the agent processes that feed it, one after the other.
type conn struct {
	b      *Bridge
	id     string
	agent  string
	stream string // of what the agent says
	client string // and of what clients say

	mu         sync.Mutex
	rec        record
	state      string
	registered bool          // a process was started once, so the id is taken
	started    chan struct{} // closed when the start under way has ended
	startErr   error         // how the last start ended
	run        *run          // the newest process; nil before the first
	exitErr    error         // what to answer while no process runs
	closed     bool
}

func newConn(b *Bridge, rec record) *conn {
	return &conn{b: b, id: rec.ID, agent: rec.Agent, stream: rec.Stream, client: clientStream(rec.Stream), rec: rec, state: statusExited}
}

// connectionOf makes the connection of a record of an earlier run of the server. If
// its agent ran when that server ended, the stream says now that it is gone.
func connectionOf(ctx context.Context, b *Bridge, rec record) (*conn, error) {
	c := newConn(b, rec)
	c.registered = true
	e := exitProblem(rec.Agent, child.Exit{}, nil)
	c.exitErr = e.With("message", "the agent ended with an earlier run of the server; start it again with the agent query parameter")
	if !rec.Running {
		return c, nil
	}
	if _, err := b.cfg.Journal.Append(c.stream, journal.FromAgent, exitFrame(child.Exit{})); err != nil {
		return nil, err
	}
	c.rec.Running = false
	return c, saveRecord(ctx, b.cfg.Journal, c.rec)
}

// beginStart reports whether the caller has to start an agent. If so it must call
// start or abandon.
func (c *conn) beginStart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != statusExited {
		return false
	}
	c.state, c.started = statusStarting, make(chan struct{})
	return true
}

func (c *conn) abandon() { c.endStart(nil, nil) }

// endStart ends a start that beginStart began.
func (c *conn) endStart(r *run, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startErr = err
	c.state = statusExited
	if r != nil {
		c.run, c.registered, c.state = r, true, statusRunning
	}
	close(c.started)
}

// awaitStart waits for the start under way, if any, and returns how it ended.
func (c *conn) awaitStart(ctx context.Context) error {
	c.mu.Lock()
	started := c.started
	c.mu.Unlock()
	if started == nil {
		return nil
	}
	select {
	case <-started:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.startErr
}

// start launches the agent with env added to its environment. The caller has
// claimed it.
func (c *conn) start(ctx context.Context, place Place) error {
	r, err := c.launch(ctx, place)
	if err != nil {
		c.endStart(nil, err)
		return err
	}
	c.endStart(r, nil)
	r.begin()
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		r.stop()
	}
	return nil
}

func (c *conn) launch(ctx context.Context, place Place) (*run, error) {
	spec, err := c.b.cfg.Observer.Launch(ctx, c.agent)
	if err != nil {
		return nil, err
	}
	base, err := c.b.cfg.Journal.Last(c.stream)
	if err != nil {
		return nil, err
	}
	spec.Stdin, spec.Roster = true, c.b.cfg.Roster
	spec.Env = append(spec.Env, place.Env...)
	spec.Args = append(spec.Args, place.Args...)
	spec.Dir = cmp.Or(place.Dir, spec.Dir)
	proc, err := child.Start(spec)
	if errors.Is(err, child.ErrPaused) {
		return nil, api.Paused()
	}
	if err != nil {
		e := api.StreamError(api.CodeAgentStartFailed, "failed to start agent process: %w", err)
		e.Agent = c.agent
		return nil, e
	}
	c.mu.Lock()
	c.rec.Base, c.rec.Running = base, true
	rec := c.rec
	c.mu.Unlock()
	if err := saveRecord(ctx, c.b.cfg.Journal, rec); err != nil {
		c.b.log.Warn("connection is not on disk", "server", c.id, "error", err)
	}
	c.b.log.Info("agent started", "server", c.id, "agent", c.agent, "pid", proc.PID())
	return newRun(c, proc), nil
}

// exited is called by a run when its process is gone.
func (c *conn) exited(r *run, err error) {
	c.mu.Lock()
	if c.run != r {
		c.mu.Unlock()
		return
	}
	c.state, c.exitErr, c.rec.Running = statusExited, err, false
	rec, closed := c.rec, c.closed
	c.mu.Unlock()
	if closed {
		return
	}
	if err := saveRecord(context.Background(), c.b.cfg.Journal, rec); err != nil {
		c.b.log.Warn("connection is not on disk", "server", c.id, "error", err)
	}
}

// post hands a frame to the process that runs now.
func (c *conn) post(ctx context.Context, msg acp.Message, frame []byte) ([]byte, error) {
	c.mu.Lock()
	r, state, err := c.run, c.state, c.exitErr
	c.mu.Unlock()
	if state == statusStarting {
		if err := c.awaitStart(ctx); err != nil {
			return nil, err
		}
		return c.post(ctx, msg, frame)
	}
	if state == statusExited {
		return nil, err
	}
	if msg.Kind == acp.Request && c.b.cfg.Roster.Paused() {
		return nil, api.Paused()
	}
	if msg.Method == acp.MethodInitialize {
		frame = c.spokenVersion(wholeProtocolVersion(frame))
	}
	if msg.Kind == acp.Request {
		if frame, err = c.b.cfg.Observer.Prepare(ctx, c.id, c.agent, msg, frame); err != nil {
			return nil, err
		}
	}
	if frame, err = oneLine(frame); err != nil {
		return nil, err
	}
	return r.post(ctx, msg, frame)
}

// halt ends the process that runs now and returns when it is gone.
func (c *conn) halt() {
	c.mu.Lock()
	r := c.run
	c.mu.Unlock()
	if r != nil {
		r.stop()
	}
}

func (c *conn) signal(sig syscall.Signal) error {
	c.mu.Lock()
	r, state := c.run, c.state
	c.mu.Unlock()
	if state != statusRunning {
		return nil
	}
	return r.child.Signal(sig)
}

// close ends the connection for good and returns when its agent is gone.
func (c *conn) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.halt()
	c.b.cfg.Journal.End(c.stream)
}

// observe hands what passes to the observer.
func (c *conn) observe(e Event) Verdict {
	e.Server, e.Agent = c.id, c.agent
	return c.b.cfg.Observer.Observe(e)
}

func (c *conn) base() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Base
}

func (c *conn) status() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *conn) everStarted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registered
}

func (c *conn) describe() api.ACPServer {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := api.ACPServer{ServerID: c.id, Agent: c.agent, CreatedAtMs: c.rec.CreatedMs, Status: c.state}
	if c.state == statusRunning {
		select {
		case <-c.run.child.Done(): // the number may be another process by now
		default:
			s.PID = c.run.child.PID()
		}
	}
	if _, last, err := c.b.cfg.Journal.Bounds(c.stream); err == nil {
		s.LastEvent = last
	}
	return s
}

func isObject(frame []byte) bool {
	frame = bytes.TrimLeft(frame, " \t\r\n")
	return len(frame) > 0 && frame[0] == '{'
}

// oneLine returns a frame without line ends, which would end it early on the
// agent's input. Only white space is touched, so ids and numbers stay as sent.
func oneLine(frame []byte) ([]byte, error) {
	if bytes.IndexByte(frame, '\n') < 0 && bytes.IndexByte(frame, '\r') < 0 {
		return frame, nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, frame); err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidJSON, "invalid JSON body: %w", err)
	}
	return line.Bytes(), nil
}

var textProtocolVersion = regexp.MustCompile(`("protocolVersion"\s*:\s*)"(\d+)(\.\d+)?"`)

// wholeProtocolVersion turns a protocol version that an older client sends as
// text ("1.0") into the whole number that agents insist on. Other text stays
// for the agent to judge.
func wholeProtocolVersion(frame []byte) []byte {
	m := textProtocolVersion.FindSubmatchIndex(frame)
	if m == nil {
		return frame
	}
	n, err := strconv.Atoi(string(frame[m[4]:m[5]]))
	if err != nil {
		return frame
	}
	out := append([]byte(nil), frame[:m[3]]...)
	out = strconv.AppendInt(out, int64(n), 10)
	return append(out, frame[m[1]:]...)
}

var protocolVersion = regexp.MustCompile(`("protocolVersion"\s*:\s*)(\d+)`)

// spokenVersion lowers the version of the protocol that a client asks for to the one
// that is spoken here: sessions are read from the frames of a connection, and those
// of later versions have other shapes. The agent answers with the lower version,
// as one that knows no later version does.
func (c *conn) spokenVersion(frame []byte) []byte {
	m := protocolVersion.FindSubmatchIndex(frame)
	if m == nil {
		return frame
	}
	n, err := strconv.Atoi(string(frame[m[4]:m[5]]))
	if err == nil && n <= acp.ProtocolVersion {
		return frame
	}
	c.log().Info("client asks for a later version of the protocol, and gets the one that is spoken here", "asked", string(frame[m[4]:m[5]]), "version", acp.ProtocolVersion)
	out := strconv.AppendInt(bytes.Clone(frame[:m[3]]), acp.ProtocolVersion, 10)
	return append(out, frame[m[1]:]...)
}

func (c *conn) log() *slog.Logger { return c.b.log.With("server", c.id, "agent", c.agent) }
