package httpkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// Bounds are what connections may take of a server. A zero bounds nothing.
type Bounds struct {
	MaxConnections int           // that are open at once
	MaxHeaderBytes int           // of one request
	HeaderTimeout  time.Duration // for the header of a request to arrive
	BodyStall      time.Duration // for the next part of a body to arrive
	ResponseStall  time.Duration // for a client to take the next part of a response
}

// idleTimeout is how long a connection of an authorized client may wait for its next
// request.
const idleTimeout = 2 * time.Minute

// Serve answers requests on l until the server that it returns is shut down; failed
// receives the error that ends it before that. The contexts of requests end with base.
//
// Until a client has made a request that is authorized, its connection may wait only
// for HeaderTimeout between two requests.
func (rt *Router) Serve(l net.Listener, base context.Context) (hs *http.Server, failed <-chan error) {
	b := rt.cfg.Bounds
	hs = &http.Server{
		Handler:           rt,
		ReadHeaderTimeout: b.HeaderTimeout,
		MaxHeaderBytes:    b.MaxHeaderBytes,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(rt.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	ended := make(chan error, 1)
	go func() {
		ended <- fmt.Errorf("serve: %w", hs.Serve(&listener{Listener: l, bounds: b, refusing: make(chan struct{}, maxRefusing)}))
	}()
	return hs, ended
}

// connKey is where the context of a request has its *conn.
type connKey struct{}

// trust notes that the client of a request is authorized.
func trust(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.trusted.Store(true)
	}
}

// trusted reports whether the client of a request is authorized, or is not one of a
// listener of ours.
func trusted(r *http.Request) bool {
	c, ok := r.Context().Value(connKey{}).(*conn)
	return !ok || c.trusted.Load()
}

// listener bounds the connections that are open at once.
type listener struct {
	net.Listener
	bounds   Bounds
	open     atomic.Int64
	refusing chan struct{} // a token for each connection that is being refused
}

// Accept returns the next connection that is within the bound. Others get a response
// that says so.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= int64(l.bounds.MaxConnections) || l.bounds.MaxConnections <= 0 {
			return &conn{Conn: c, listener: l}, nil
		}
		l.open.Add(-1)
		l.refuse(c)
	}
}

const (
	// maxRefusing is how many connections are refused with time to read why.
	maxRefusing = 64
	refuseTime  = time.Second
)

// refuse says why a connection is closed. It does not wait.
func (l *listener) refuse(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(refuseTime))
	_, err := c.Write(tooManyConnections(l.bounds.MaxConnections))
	select {
	case l.refusing <- struct{}{}:
	default:
		err = errors.Join(err, errors.New("many are refused already"))
	}
	if err != nil {
		_ = c.Close()
		return
	}
	go func() {
		// What is closed with a request unread loses the response too.
		if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_, _ = io.CopyN(io.Discard, c, 64<<10)
		}
		_ = c.Close()
		<-l.refusing
	}()
}

// tooManyConnections is the whole response to a client over the bound.
func tooManyConnections(limit int) []byte {
	e := api.NewError(api.KindUnavailable, api.CodeLimitExceeded,
		"maxHttpConnections (%d) connections are open; close one first", limit).With("limit", "maxHttpConnections").With("value", limit)
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		e.Status, len(body), body)
}

// conn is a connection of a client. It ends writes that do not move, counts as open
// until it is closed, and does not wait long for those who are not authorized.
type conn struct {
	net.Conn
	listener *listener
	closed   sync.Once
	trusted  atomic.Bool

	armed atomic.Int64 // when a write that has not moved ends, Unix nanoseconds; 0 is never
	alien atomic.Bool  // other code has set a deadline for writes
}

func (c *conn) Close() error {
	c.closed.Do(func() { c.listener.open.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite ends what the client reads, which it still has to be sent.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if wait := c.listener.bounds.HeaderTimeout; wait > 0 && !t.IsZero() && !c.trusted.Load() {
		if last := time.Now().Add(wait); t.After(last) {
			t = last
		}
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.alien.Store(!t.IsZero())
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) Write(p []byte) (n int, err error) {
	c.arm(false)
	n, err = c.Conn.Write(p)
	for sent, queue := n, -1; err != nil && c.moved(err, sent > 0, &queue); n += sent {
		sent, err = c.Conn.Write(p[n:])
	}
	return n, err
}

// sendBytes is how much of a file is sent between two looks at whether it moves.
const sendBytes = 4 << 20

// ReadFrom implements [io.ReaderFrom], so that the system can send files by itself.
func (c *conn) ReadFrom(r io.Reader) (n int64, err error) {
	from, ok := c.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	for queue := -1; ; {
		c.arm(false)
		part := io.LimitedReader{R: r, N: sendBytes}
		sent, err := from.ReadFrom(&part)
		n += sent
		if err != nil && !c.moved(err, sent > 0, &queue) {
			return n, err
		}
		if err == nil && sent < sendBytes {
			return n, nil
		}
	}
}

// arm sets the deadline of the next write, unless one that is far enough is set.
func (c *conn) arm(again bool) {
	stall := c.listener.bounds.ResponseStall
	if stall <= 0 || c.alien.Load() {
		return
	}
	now := time.Now()
	if !again && c.armed.Load()-now.UnixNano() > int64(stall/2) {
		return
	}
	end := now.Add(stall)
	if c.Conn.SetWriteDeadline(end) == nil {
		c.armed.Store(end.UnixNano())
	}
}

// moved reports whether a write that has ended with err is to go on, as only its time
// was over: it has sent something, or the client has taken something since the look
// before. queue is what the system had to send at that look; it is -1 at the first
// one, which only looks.
func (c *conn) moved(err error, sent bool, queue *int) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.alien.Load() || c.armed.Load() == 0 {
		return false
	}
	before := *queue
	*queue = unsent(c.Conn)
	if !sent && (*queue < 0 || before >= 0 && *queue >= before) {
		return false
	}
	c.arm(true)
	return true
}
