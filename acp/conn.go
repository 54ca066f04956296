package acp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// DefaultMaxLine bounds a line in bytes where nothing else is said.
const DefaultMaxLine = 64 << 20

// ErrLineTooLong is what ConnOptions.Invalid gets for a line over the bound.
var ErrLineTooLong = errors.New("line too long")

// ErrConnClosed is returned by calls whose answer can no longer come.
var ErrConnClosed = errors.New("connection closed")

// ConnOptions configure a [Conn]. The zero value answers every request with
// "method not found" and drops the rest.
type ConnOptions struct {
	// Handle gets every frame that is not the answer to a call of ours, in the
	// order of arrival and one at a time. It delays all later frames, answers to
	// calls included, so what takes time belongs in a goroutine.
	Handle func(ctx context.Context, in *Incoming)

	// Invalid gets lines that are not JSON, cut at MaxLine. They are dropped when
	// it is nil. The line is valid only during the call.
	Invalid func(line []byte, err error)

	MaxLine int // bytes; zero means [DefaultMaxLine]
}

// A Conn is one end of line-delimited JSON-RPC over two streams. Its methods may
// be called from several goroutines. It closes neither stream.
type Conn struct {
	in   *bufio.Reader
	opts ConnOptions

	outMu sync.Mutex
	out   *bufio.Writer

	mu      sync.Mutex
	last    uint64
	pending map[string]chan answer
	closed  bool
}

// An answer is a response frame, or nil when there will be none.
type answer []byte

// NewConn returns a Conn that is idle until Run is called.
func NewConn(in io.Reader, out io.Writer, opts ConnOptions) *Conn {
	if opts.MaxLine <= 0 {
		opts.MaxLine = DefaultMaxLine
	}
	return &Conn{
		in:      bufio.NewReaderSize(in, 64<<10),
		out:     bufio.NewWriterSize(out, 64<<10),
		opts:    opts,
		pending: map[string]chan answer{},
	}
}

// An Incoming is a frame from the other side. Line is the frame itself and
// belongs to the receiver.
type Incoming struct {
	Message
	Line []byte

	conn *Conn
}

// Decode reads the params into v. A fault is an *RPCError to answer with.
func (in *Incoming) Decode(v any) error {
	frame := struct {
		Params any `json:"params"`
	}{v}
	if err := json.Unmarshal(in.Line, &frame); err != nil {
		return Errorf(CodeInvalidParams, "Invalid params: %v", err)
	}
	return nil
}

// Reply answers a request; nil is an empty object. It must not be called for
// other frames.
func (in *Incoming) Reply(result any) error {
	frame, err := ResultFrame(in.ID, result)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return in.conn.Send(frame)
}

// Fail refuses a request. An err that is not an *RPCError becomes an internal error
// with its text.
func (in *Incoming) Fail(err error) error {
	var fault *RPCError
	if !errors.As(err, &fault) {
		fault = Errorf(CodeInternalError, "Internal error: %v", err)
	}
	frame, err := ErrorFrame(in.ID, fault)
	if err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	return in.conn.Send(frame)
}

// Run reads frames until the input ends, which is not an error. Calls still waiting
// then fail with [ErrConnClosed]. The context is handed to Handle; ending it
// does not end a read, so the owner of the input must.
func (c *Conn) Run(ctx context.Context) error {
	defer c.abandon()
	for {
		line, err := c.readLine()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, ErrLineTooLong) {
			c.invalid(line, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			c.dispatch(ctx, line)
		}
	}
}

func (c *Conn) dispatch(ctx context.Context, line []byte) {
	m, err := Parse(line)
	if err != nil {
		c.invalid(line, err)
		return
	}
	if m.Kind == Response && c.deliver(string(m.ID), line) {
		return
	}
	in := &Incoming{Message: m, Line: line, conn: c}
	if c.opts.Handle != nil {
		c.opts.Handle(ctx, in)
	} else if m.Kind == Request {
		_ = in.Fail(Errorf(CodeMethodNotFound, "Method not found: %s", m.Method))
	}
}

func (c *Conn) invalid(line []byte, err error) {
	if c.opts.Invalid != nil {
		c.opts.Invalid(line, err)
	}
}

// readLine returns the next line in memory of its own. Of a line over the bound
// it returns the beginning with ErrLineTooLong, having read all of it.
func (c *Conn) readLine() ([]byte, error) {
	var line []byte
	tooLong := false
	for {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		if len(bytes.TrimRight(line, "\r\n")) > c.opts.MaxLine {
			line, tooLong = line[:c.opts.MaxLine], true
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(line) > 0, err == nil:
			if tooLong {
				return line[:c.opts.MaxLine], ErrLineTooLong
			}
			return line, nil
		default:
			return nil, err
		}
	}
}

// Call sends a request and reads the result into result, unless that is nil. A
// refusal is returned as an *RPCError. When ctx ends first the response is
// dropped; the other side is not notified.
func (c *Conn) Call(ctx context.Context, method string, params, result any) error {
	id, wait, err := c.expect()
	if err != nil {
		return err
	}
	defer c.forget(id)
	frame, err := RequestFrame(json.RawMessage(id), method, params)
	if err != nil {
		return fmt.Errorf("encode params: %w", err)
	}
	if err := c.Send(frame); err != nil {
		return err
	}
	select {
	case line := <-wait:
		if line == nil {
			return ErrConnClosed
		}
		return decodeAnswer(line, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func decodeAnswer(line []byte, result any) error {
	var frame struct {
		Result json.RawMessage `json:"result"`
		Error  *RPCError       `json:"error"`
	}
	if err := json.Unmarshal(line, &frame); err != nil {
		return fmt.Errorf("decode response: %w", err)
	}
	if frame.Error != nil {
		return frame.Error
	}
	if result == nil || len(frame.Result) == 0 {
		return nil
	}
	if err := json.Unmarshal(frame.Result, result); err != nil {
		return fmt.Errorf("decode result: %w", err)
	}
	return nil
}

// Notify sends a notification.
func (c *Conn) Notify(method string, params any) error {
	frame, err := RequestFrame(nil, method, params)
	if err != nil {
		return fmt.Errorf("encode params: %w", err)
	}
	return c.Send(frame)
}

// Send writes one frame as it is, and with it all that Queue has left.
func (c *Conn) Send(frame []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	c.put(frame)
	return c.out.Flush()
}

// Queue is Send for frames that come in great numbers: they reach the other side
// when the buffer is full, or with the next Send or Flush.
func (c *Conn) Queue(frame []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	return c.put(frame)
}

// Flush writes what Queue has left.
func (c *Conn) Flush() error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	return c.out.Flush()
}

// put relies on bufio.Writer keeping its first error.
func (c *Conn) put(frame []byte) error {
	_, _ = c.out.Write(frame)
	return c.out.WriteByte('\n')
}

func (c *Conn) expect() (string, <-chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return "", nil, ErrConnClosed
	}
	c.last++
	id := strconv.FormatUint(c.last, 10)
	wait := make(chan answer, 1)
	c.pending[id] = wait
	return id, wait, nil
}

func (c *Conn) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// deliver hands a response to its call and reports whether there is one.
func (c *Conn) deliver(id string, line []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait, ok := c.pending[id]
	if ok {
		delete(c.pending, id)
		wait <- line
	}
	return ok
}

func (c *Conn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for id, wait := range c.pending {
		delete(c.pending, id)
		wait <- nil
	}
}
