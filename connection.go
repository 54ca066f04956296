package sandboxagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

const (
	// settleWait is how long an answer that came by POST waits for the event
	// stream to pass it when that stream has nothing new.
	settleWait = 2 * time.Second

	// streamPatience is how long an event stream may be unreachable before the
	// calls that wait on it are given up.
	streamPatience = 30 * time.Second

	// exitWait is how long the last words of an agent, which come by POST, are
	// waited for when the event stream says that it is gone.
	exitWait = 100 * time.Millisecond

	// maxEarly bounds the updates kept of sessions whose opening has not been
	// answered yet.
	maxEarly = 1024
)

// An agentSlot holds the one connection of a client to an agent.
type agentSlot struct {
	opening chan struct{} // holds a token while a connection is made
	conn    *connection   // guarded by Client.mu
}

// connection returns the live connection to an agent, making one if need be.
func (c *Client) connection(ctx context.Context, agent string) (*connection, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("client: %w", ErrClosed)
	}
	slot := c.agents[agent]
	if slot == nil {
		slot = &agentSlot{opening: make(chan struct{}, 1)}
		c.agents[agent] = slot
	}
	c.mu.Unlock()
	select {
	case slot.opening <- struct{}{}:
		defer func() { <-slot.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	old := slot.conn
	c.mu.Unlock()
	if old != nil {
		if old.failure() == nil {
			return old, nil
		}
		old.close() // it is dead; what is left of it on the server is of no use
	}
	conn, err := c.openConnection(ctx, agent)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		slot.conn = conn
	}
	c.mu.Unlock()
	if closed {
		conn.close()
		return nil, fmt.Errorf("client: %w", ErrClosed)
	}
	return conn, nil
}

// A connection is one agent process and the frames to and from it. A request
// goes out as a POST; its answer counts when the event stream has passed it, so
// that everything the agent said before is seen before.
type connection struct {
	c     *Client
	agent string
	path  string
	info  acp.InitializeResult

	ctx    context.Context // ends when the connection is dead
	cancel context.CancelFunc
	work   sync.WaitGroup // of all goroutines

	posted    atomic.Bool  // something was sent, so the server may know the id
	lastEvent atomic.Int64 // Unix nanoseconds
	held      atomic.Bool  // the reader waits for the consumer of a turn

	mu       sync.Mutex
	lastID   uint64
	seen     uint64 // newest event that was handled
	pending  map[string]*pendingCall
	sessions map[string]*Session
	opening  int // session/new calls under way
	early    map[string][]Update
	exit     *AgentExitedError // as POST told it
	err      error             // why the connection is dead
}

// A pendingCall waits for its answer. Settled is closed when result and err
// stand.
type pendingCall struct {
	sent    chan struct{} // closed when the request is on the wire, or never will be
	written sync.Once
	settled chan struct{}
	result  json.RawMessage
	err     error

	// arrived, if not nil, runs when the answer counts and before any later
	// event is handled.
	arrived func(result json.RawMessage, err error)
	turn    bool // the answer ends a turn, whose updates must not be overtaken
}

func (c *Client) openConnection(ctx context.Context, agent string) (*connection, error) {
	conn := &connection{
		c:        c,
		agent:    agent,
		path:     route("v1", "acp", "sdk-"+agent+"-"+newUUID()),
		pending:  make(map[string]*pendingCall),
		sessions: make(map[string]*Session),
		early:    make(map[string][]Update),
	}
	conn.ctx, conn.cancel = context.WithCancel(c.lifetime)
	if err := conn.initialize(ctx); err != nil {
		conn.close()
		return nil, fmt.Errorf("start agent %s: %w", agent, err)
	}
	conn.work.Go(conn.follow)
	conn.authenticate(ctx)
	return conn, nil
}

// initialize starts the agent. Its answer is taken from the POST, for the event
// stream is there only after it.
func (conn *connection) initialize(ctx context.Context) error {
	frame, err := acp.RequestFrame(json.RawMessage("0"), acp.MethodInitialize, acp.InitializeRequest{
		ProtocolVersion: acp.ProtocolVersion,
		ClientInfo:      &acp.Implementation{Name: "sandboxagent-go", Version: "1"},
	})
	if err != nil {
		return err
	}
	body, err := conn.send(ctx, frame, url.Values{"agent": {conn.agent}})
	if err != nil {
		return agentExited(conn.agent, err)
	}
	result, err := readResponse(body)
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	if err := json.Unmarshal(result, &conn.info); err != nil {
		return fmt.Errorf("initialize: decode answer: %w", err)
	}
	return nil
}

// authenticate signs in where the agent offers a way that needs nobody: keys
// that it finds in its environment.
func (conn *connection) authenticate(ctx context.Context) {
	for _, method := range conn.info.AuthMethods {
		switch method.ID {
		case "codex-api-key", "openai-api-key", "anthropic-api-key":
			// An agent without such a key refuses, and may be signed in all the same.
			if _, err := conn.call(ctx, acp.MethodAuthenticate, acp.AuthenticateRequest{MethodID: method.ID}); err != nil {
				conn.c.log.Debug("authenticate", "agent", conn.agent, "method", method.ID, "error", err)
			}
			return
		}
	}
}

// send posts one frame and returns the body of the answer, empty for 202.
func (conn *connection) send(ctx context.Context, frame []byte, query url.Values) ([]byte, error) {
	conn.posted.Store(true)
	resp, err := conn.c.send(ctx, request{
		method: http.MethodPost, path: conn.path, query: query,
		body: bytes.NewReader(frame), size: int64(len(frame)), media: "application/json",
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return body, nil
}

// readResponse returns the result of a response frame.
func readResponse(frame []byte) (json.RawMessage, error) {
	var response struct {
		Result json.RawMessage `json:"result"`
		Error  *acp.RPCError   `json:"error"`
	}
	if err := json.Unmarshal(frame, &response); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if response.Error != nil {
		return nil, response.Error
	}
	return response.Result, nil
}

// call sends a request and waits for its answer. When ctx ends first the
// request stays with the agent.
func (conn *connection) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	p, err := conn.start(method, params, &pendingCall{})
	if err != nil {
		return nil, err
	}
	return conn.await(ctx, p)
}

// await waits for the answer of a call.
func (conn *connection) await(ctx context.Context, p *pendingCall) (json.RawMessage, error) {
	select {
	case <-p.settled:
		return p.result, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start sends a request and returns p, which settles later.
func (conn *connection) start(method string, params any, p *pendingCall) (*pendingCall, error) {
	p.sent, p.settled = make(chan struct{}), make(chan struct{})
	conn.mu.Lock()
	if conn.err != nil {
		conn.mu.Unlock()
		return nil, conn.err
	}
	conn.lastID++
	id := strconv.FormatUint(conn.lastID, 10)
	frame, err := acp.RequestFrame(json.RawMessage(id), method, params)
	if err != nil {
		conn.mu.Unlock()
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	conn.pending[id] = p
	conn.work.Go(func() { conn.post(id, p, frame) })
	conn.mu.Unlock()
	return p, nil
}

// post sends the frame of a call and takes care of what the POST itself brings.
func (conn *connection) post(id string, p *pendingCall, frame []byte) {
	ctx, cancel := context.WithCancel(conn.ctx)
	defer cancel()
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			written.Store(info.Err == nil)
			p.written.Do(func() { close(p.sent) })
		},
	})
	defer p.written.Do(func() { close(p.sent) })
	// The POST may bring nothing new after the stream brought the answer, but
	// its connection can be used again if it ends by itself.
	go func() {
		select {
		case <-p.settled:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(settleWait):
			cancel()
		case <-ctx.Done():
		}
	}()
	body, err := conn.send(ctx, frame, nil)
	var problem *api.Error
	switch {
	case err == nil && len(body) == 0:
		return // accepted; the answer comes on the stream
	case err == nil:
		result, err := readResponse(body)
		conn.settleUnlessPassed(id, p, func() { conn.settle(id, result, err) })
	case errors.As(err, &problem) && problem.Code == api.CodeAgentProcessExited:
		var exited *AgentExitedError
		errors.As(agentExited(conn.agent, err), &exited)
		conn.mu.Lock()
		conn.exit = exited
		conn.mu.Unlock()
		conn.settleUnlessPassed(id, p, func() { conn.fail(exited) })
	case errors.As(err, &problem) && problem.Type != "about:blank" || !written.Load():
		conn.settle(id, nil, err)
	default:
		// The way back broke, say by a proxy that allows no long requests. The
		// agent has the request and its answer comes on the stream.
		conn.c.log.Debug("answer awaited on the event stream", "agent", conn.agent, "error", err)
	}
}

// settleUnlessPassed gives the event stream the time to pass the answer of a
// call, and settles it when the stream has nothing to say.
func (conn *connection) settleUnlessPassed(id string, p *pendingCall, settle func()) {
	since := time.Now()
	ticker := time.NewTicker(settleWait / 8)
	defer ticker.Stop()
	for {
		select {
		case <-p.settled:
			return
		case <-conn.ctx.Done():
			return
		case <-ticker.C:
		}
		if last := time.Unix(0, conn.lastEvent.Load()); last.After(since) {
			since = last
		}
		if time.Since(since) >= settleWait && !(p.turn && conn.held.Load()) {
			conn.c.log.Warn("event stream is behind the answer", "agent", conn.agent, "request", id)
			settle()
			return
		}
	}
}

// settle gives a call its answer. Only the first one counts.
func (conn *connection) settle(id string, result json.RawMessage, err error) {
	conn.mu.Lock()
	p := conn.pending[id]
	delete(conn.pending, id)
	conn.mu.Unlock()
	if p != nil {
		p.settle(result, err)
	}
}

func (p *pendingCall) settle(result json.RawMessage, err error) {
	p.result, p.err = result, err
	if p.arrived != nil {
		p.arrived(result, err)
	}
	close(p.settled)
}

// notify sends a notification.
func (conn *connection) notify(ctx context.Context, method string, params any) error {
	frame, err := acp.RequestFrame(nil, method, params)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	_, err = conn.send(ctx, frame, nil)
	return err
}

// reply answers a request of the agent. An agent waits for it without end, so
// it is sent again when the way is broken.
func (conn *connection) reply(frame []byte) error {
	for try := 1; ; try++ {
		_, err := conn.send(conn.ctx, frame, nil)
		if err == nil || try == maxTries || !transient(err) {
			return err
		}
		select {
		case <-conn.ctx.Done():
			return err
		case <-time.After(retryWait << try):
		}
	}
}

// background runs f for the connection, unless that is dead.
func (conn *connection) background(f func()) {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.err == nil {
		conn.work.Go(f)
	}
}

// failure returns why the connection is dead, nil while it is not.
func (conn *connection) failure() error {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.err
}

// fail ends the connection: everything that waits gets err.
func (conn *connection) fail(err error) {
	conn.mu.Lock()
	if conn.err != nil {
		conn.mu.Unlock()
		return
	}
	conn.err = err
	waiting := conn.pending
	conn.pending = make(map[string]*pendingCall)
	conn.mu.Unlock()
	for _, p := range waiting {
		p.settle(nil, err)
	}
	conn.cancel()
}

// close ends the connection and its agent.
func (conn *connection) close() error {
	conn.fail(fmt.Errorf("agent connection: %w", ErrClosed))
	var err error
	if conn.posted.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = conn.c.do(ctx, http.MethodDelete, conn.path, nil, nil)
		if isGone(err) {
			err = nil
		}
	}
	conn.work.Wait()
	if err != nil {
		return fmt.Errorf("close agent %s: %w", conn.agent, err)
	}
	return nil
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
