package sandboxagent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/sandboxagent/sandboxagent/api"
)

// TerminalOptions say how a terminal is attached to. The zero value shows what
// comes next.
type TerminalOptions struct {
	// Since, if not nil, is the offset in bytes of the output to start with. 0
	// replays all that is kept; [Terminal.Offset] of an earlier attachment goes
	// on where that ended.
	Since *uint64

	Cols, Rows uint16 // size to set; 0 leaves it
}

// StartTerminal starts a program in a terminal and attaches to it from its first
// byte. TTY and AwaitReaders of the request are set; Since of the options is not
// used.
func (c *Client) StartTerminal(ctx context.Context, req api.ProcessCreateRequest, opts TerminalOptions) (*Terminal, error) {
	req.TTY, req.AwaitReaders = true, 1
	p, err := c.StartProcess(ctx, req)
	if err != nil {
		return nil, err
	}
	opts.Since = new(uint64)
	t, err := p.Attach(ctx, opts)
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWait)
		defer cancel()
		_, killErr := p.Kill(stop, StopOptions{})
		return nil, errors.Join(err, killErr)
	}
	return t, nil
}

// Attach connects to the terminal of the process. The context bounds the
// attachment as a whole; the process goes on when it ends. One without a
// terminal matches [api.CodeNotATerminal].
func (p *Process) Attach(ctx context.Context, opts TerminalOptions) (*Terminal, error) {
	t := &Terminal{Process: p, parent: ctx}
	t.ctx, t.cancel = context.WithCancel(ctx)
	if opts.Since != nil {
		t.offset, t.known = *opts.Since, true
	}
	conn, err := t.dial()
	if err == nil && opts.Cols > 0 && opts.Rows > 0 {
		t.conn = conn
		err = t.Resize(ctx, opts.Cols, opts.Rows)
	}
	if err != nil {
		t.cancel()
		if conn != nil {
			conn.CloseNow()
		}
		return nil, p.failed("attach to", err)
	}
	t.conn = conn
	return t, nil
}

// A Terminal is an attachment to the terminal of a process. Reading gives its
// output, writing is typing. A connection that breaks is opened again at the
// same place of the output. Read and Write may be called from different goroutines.
type Terminal struct {
	Process *Process

	parent context.Context // given to Attach
	ctx    context.Context // ends with it and with Close
	cancel context.CancelFunc

	reading sync.Mutex // of one Read at a time; guards rest and ended
	rest    []byte
	ended   bool

	writing sync.Mutex // of one Write at a time

	mu      sync.Mutex
	conn    *websocket.Conn
	offset  uint64 // of the next byte that Read gives
	known   bool   // offset is one of the process
	typeErr error  // what the server said of input
}

// maxScreen bounds one frame of output, in bytes.
const maxScreen = 4 << 20

// dial opens the WebSocket, from the offset on where that is known.
func (t *Terminal) dial() (*websocket.Conn, error) {
	c := t.Process.c
	if c.baseErr != nil {
		return nil, c.baseErr
	}
	query := url.Values{}
	t.mu.Lock()
	if t.known {
		query.Set("since", strconv.FormatUint(t.offset, 10))
	}
	t.mu.Unlock()
	target := c.base.String() + t.Process.route("terminal", "ws")
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	header := c.header.Clone()
	if c.token != "" {
		header.Set("Authorization", "Bearer "+c.token)
	}
	conn, resp, err := websocket.Dial(t.ctx, target, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header})
	if err != nil {
		if resp != nil && resp.StatusCode >= 400 {
			return nil, readProblem(resp)
		}
		return nil, clean(err)
	}
	conn.SetReadLimit(maxScreen)
	return conn, nil
}

// Read reads output. It returns io.EOF when the process has ended, or when the
// terminal was closed here. Output that the server has dropped is an
// [*OutputLostError], after which reading goes on.
func (t *Terminal) Read(p []byte) (int, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	if t.ctx.Err() != nil {
		return 0, t.left()
	}
	for len(t.rest) == 0 {
		if t.ended {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		if err := t.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	t.mu.Lock()
	t.offset += uint64(n)
	t.mu.Unlock()
	return n, nil
}

// left is what Read returns when the attachment is over on this side.
func (t *Terminal) left() error {
	if err := t.parent.Err(); err != nil {
		return err
	}
	return io.EOF
}

// receive takes one frame.
func (t *Terminal) receive() error {
	t.mu.Lock()
	conn := t.conn
	t.mu.Unlock()
	kind, data, err := conn.Read(t.ctx)
	switch {
	case err != nil && t.ctx.Err() != nil:
		return t.left()
	case err != nil && websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		t.ended = true
		return io.EOF
	case err != nil:
		return t.again(err)
	case kind == websocket.MessageBinary:
		t.rest = data
		return nil
	}
	var event api.TerminalEvent
	if err := json.Unmarshal(data, &event); err != nil {
		return fmt.Errorf("decode terminal event: %w", err)
	}
	return t.event(event)
}

func (t *Terminal) event(event api.TerminalEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch event.Type {
	case "ready":
		if event.Offset != nil && !t.known {
			t.offset, t.known = *event.Offset, true
		}
	case "gap":
		if event.From == nil || event.To == nil {
			return nil
		}
		t.offset = *event.To
		return &OutputLostError{*event.From, *event.To}
	case "exit":
		t.ended = true
	case "error":
		t.typeErr = errors.New(event.Message)
	}
	return nil
}

// again opens the connection that broke.
func (t *Terminal) again(broken error) error {
	t.mu.Lock()
	t.conn.CloseNow()
	t.mu.Unlock()
	lost := time.Now()
	for wait := reopenFirst; ; wait = min(2*wait, reopenLast) {
		conn, err := t.dial()
		if err == nil {
			t.mu.Lock()
			t.conn = conn
			t.mu.Unlock()
			return nil
		}
		if !transient(err) || time.Since(lost) > streamGiveUp {
			return t.Process.failed("attach to", errors.Join(broken, err))
		}
		select {
		case <-t.ctx.Done():
			return t.left()
		case <-time.After(wait):
		}
	}
}

// Write types. An error that the server reports of what was typed before is
// returned by a later Write.
func (t *Terminal) Write(p []byte) (int, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	total := 0
	for len(p) > 0 {
		part := p[:min(maxInput, len(p))]
		err := t.send(struct {
			Type     string `json:"type"`
			Data     string `json:"data"`
			Encoding string `json:"encoding"`
		}{"input", base64.StdEncoding.EncodeToString(part), "base64"})
		if err != nil {
			return total, t.Process.failed("write to", err)
		}
		total += len(part)
		p = p[len(part):]
	}
	return total, nil
}

func (t *Terminal) send(frame any) error {
	t.mu.Lock()
	conn, err := t.conn, t.typeErr
	t.typeErr = nil
	t.mu.Unlock()
	if err != nil {
		return err
	}
	data, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	if t.ctx.Err() != nil {
		return ErrClosed
	}
	return conn.Write(t.ctx, websocket.MessageText, data)
}

// Resize sets the size of the terminal in characters.
func (t *Terminal) Resize(ctx context.Context, cols, rows uint16) error {
	err := t.Process.c.do(ctx, http.MethodPost, t.Process.route("terminal", "resize"), nil, api.TerminalSize{Cols: cols, Rows: rows})
	return t.Process.failed("resize", err)
}

// Offset returns where the output goes on, in bytes: what to attach with later.
func (t *Terminal) Offset() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.offset
}

// Wait returns how the process ended, once it has. The output need not be read
// for that.
func (t *Terminal) Wait(ctx context.Context) (*api.ProcessInfo, error) { return t.Process.Wait(ctx) }

// Detach leaves the terminal, whose process goes on, and returns the offset to
// come back with.
func (t *Terminal) Detach() (uint64, error) {
	err := t.Close()
	return t.Offset(), err
}

// Close leaves the terminal. The process goes on; [Process.Kill] ends it.
func (t *Terminal) Close() error {
	if t.ctx.Err() != nil {
		return nil
	}
	t.mu.Lock()
	conn := t.conn
	t.mu.Unlock()
	t.cancel()
	conn.CloseNow()
	return nil
}
