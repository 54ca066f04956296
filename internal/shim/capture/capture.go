// Package capture connects what the programs of a sandbox dial with the internet, by
// one rule: only addresses of the public internet, and none that this host calls its
// own.
//
// The kernel hands every connection of the sandbox to a listener in its network
// namespace, see package run. A name that is looked up there gets an address that
// stands for it; a connection to that is known by the name, which is looked up again.
// The rule is applied to the very address that is dialled, when it is dialled, so it
// does not matter what a name led to before.
//
// The package has no policy about names, and looks into no connection.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	maxConns    = 512 // at once; more are reset
	dialTimeout = 30 * time.Second
	maxNotices  = 256 // destinations of which the log says that they were refused
)

// Config is the world that connections go to.
type Config struct {
	// Resolver looks names up. Its methods may be called from several goroutines.
	Resolver *net.Resolver

	// Routed reports an address that this host does not send to others: one of its
	// own, above all.
	Routed func(netip.Addr) error

	Log *log.Logger
}

// Capture serves the listeners of one sandbox. Its methods may be called from several
// goroutines.
type Capture struct {
	cfg    Config
	names  names
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	free   chan struct{}

	mu      sync.Mutex
	closed  bool
	open    map[io.Closer]bool
	noticed map[string]bool
	serving sync.WaitGroup
}

// New returns a capture that serves nothing yet.
func New(cfg Config) *Capture {
	c := &Capture{cfg: cfg, free: make(chan struct{}, maxConns), open: make(map[io.Closer]bool), noticed: make(map[string]bool)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close closes all listeners and connections and returns when they are.
func (c *Capture) Close() {
	c.mu.Lock()
	c.closed = true
	for closer := range c.open {
		closer.Close()
	}
	c.mu.Unlock()
	c.cancel()
	c.serving.Wait()
}

// own has Close close something, until it is dropped. It reports whether there is still
// time; if not, it is closed.
func (c *Capture) own(closer io.Closer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		closer.Close()
		return false
	}
	c.open[closer] = true
	c.serving.Add(1)
	return true
}

// drop closes what was owned.
func (c *Capture) drop(closer io.Closer) {
	c.mu.Lock()
	delete(c.open, closer)
	c.mu.Unlock()
	closer.Close()
	c.serving.Done()
}

// check reports an address that must not be dialled.
func (c *Capture) check(addr netip.Addr) error {
	if err := Check(addr); err != nil {
		return err
	}
	return c.cfg.Routed(addr)
}

// refused notes once that a destination was refused.
func (c *Capture) refused(destination string, err error) {
	c.mu.Lock()
	known := c.noticed[destination] || len(c.noticed) >= maxNotices
	if !known {
		c.noticed[destination] = true
	}
	c.mu.Unlock()
	if !known {
		c.cfg.Log.Printf("%s: %v", destination, err)
	}
}

// ServeTCP connects what is accepted from l with where it was going, until l is closed,
// which it does as well.
func (c *Capture) ServeTCP(l *net.TCPListener) {
	c.accept(l, func(conn *net.TCPConn) { c.connect(conn, l.Addr()) })
}

// ServeDNSStream is [Capture.ServeDNS] over TCP.
func (c *Capture) ServeDNSStream(l *net.TCPListener) {
	c.accept(l, func(conn *net.TCPConn) { c.serveStream(conn) })
}

func (c *Capture) accept(l *net.TCPListener, serve func(*net.TCPConn)) {
	if !c.own(l) {
		return
	}
	defer c.drop(l)
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			if c.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // this process has no descriptor left
			continue
		}
		select {
		case c.free <- struct{}{}:
		default:
			reset(conn)
			continue
		}
		if !c.own(conn) {
			return
		}
		go func() {
			defer func() { <-c.free }()
			defer c.drop(conn)
			serve(conn)
		}()
	}
}

// reset ends a connection so that the other side sees an error.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// connect connects one connection of the sandbox.
func (c *Capture) connect(conn *net.TCPConn, own net.Addr) {
	to, err := originalDestination(conn)
	if err != nil || to.String() == own.String() {
		reset(conn) // it was made to the listener itself
		return
	}
	upstream, err := c.dial(to)
	if err != nil {
		reset(conn)
		return
	}
	if !c.own(upstream) {
		return
	}
	defer c.drop(upstream)
	relay(conn, upstream)
}

// dial connects to where the sandbox wanted to. The rule is applied to each address that
// is tried.
func (c *Capture) dial(to netip.AddrPort) (*net.TCPConn, error) {
	host := to.Addr().Unmap().String()
	if Fake.Contains(to.Addr().Unmap()) {
		name, ok := c.names.name(to.Addr().Unmap())
		if !ok {
			return nil, errSpecial
		}
		host = name + "."
	}
	d := net.Dialer{Timeout: dialTimeout, Resolver: c.cfg.Resolver, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if err := c.check(addr.Addr()); err != nil {
			c.refused(net.JoinHostPort(host, fmt.Sprint(to.Port())), err)
			return err
		}
		return nil
	}}
	conn, err := d.DialContext(c.ctx, "tcp", net.JoinHostPort(host, fmt.Sprint(to.Port())))
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// relay copies both ways until both sides have ended. An end is handed on as an end, and
// an error as an error.
func relay(a, b *net.TCPConn) {
	var ways sync.WaitGroup
	pass := func(to, from *net.TCPConn) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			reset(to)
			reset(from)
		}
	}
	ways.Go(func() { pass(a, b) })
	ways.Go(func() { pass(b, a) })
	ways.Wait()
}

// NewResolver returns the resolver of this host.
func NewResolver() *net.Resolver { return &net.Resolver{PreferGo: true} }
