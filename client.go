package sandboxagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Client talks to one sandbox-agent server. It is made by [New], [Connect] or
// [Start], and may be used from several goroutines. [Client.Close] ends the
// agents it started.
type Client struct {
	baseURL string
	token   string
	binary  string // what FromEnv found for Start
	dir     string
	header  http.Header
	http    *http.Client
	log     *slog.Logger

	base    *url.URL
	baseErr error

	lifetime context.Context // ends with Close
	end      context.CancelFunc

	mu     sync.Mutex
	agents map[string]*agentSlot
	closed bool
}

// New returns a client of the server at baseURL, for example
// "http://127.0.0.1:2468". It does no I/O; a base URL that cannot be used is
// reported by the first call.
func New(baseURL string, opts ...Option) *Client {
	c := &Client{
		baseURL: baseURL,
		header:  make(http.Header),
		log:     slog.New(slog.DiscardHandler),
		agents:  make(map[string]*agentSlot),
	}
	for _, opt := range opts {
		opt(c)
	}
	if c.http == nil {
		c.http = &http.Client{Transport: newTransport()}
	}
	c.base, c.baseErr = parseBase(c.baseURL)
	c.lifetime, c.end = context.WithCancel(context.Background())
	return c
}

func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(text), "/"))
	if err != nil && strings.Contains(text, "://") {
		return nil, fmt.Errorf("parse base URL: %w", err)
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("base URL %q: want http:// or https:// and a host", text)
	}
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// newTransport is the default transport with room for the connections that
// open turns and streams hold.
func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 32
	return t
}

// Connect returns a client of the server at baseURL once that server answers.
// It waits for as long as ctx allows, except that a refused token ends it at
// once.
func Connect(ctx context.Context, baseURL string, opts ...Option) (*Client, error) {
	c := New(baseURL, opts...)
	if err := c.WaitReady(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// BaseURL returns the URL of the server, without a slash at its end.
func (c *Client) BaseURL() string {
	if c.base == nil {
		return c.baseURL
	}
	return c.base.String()
}

// InspectorURL returns the address of the server's web page. It holds no
// secret; a page of a server with a token asks for it.
func (c *Client) InspectorURL() string { return c.BaseURL() + "/ui/" }

// Close ends the agents that this client started, and with them its sessions.
// What else was made on the server stays. It takes at most some seconds, and
// closing twice is no error. Calls other than those on sessions still work
// afterwards.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	var open []*connection
	for _, slot := range c.agents {
		if slot.conn != nil {
			open = append(open, slot.conn)
		}
	}
	c.mu.Unlock()
	c.end()
	errs := make([]error, len(open))
	var closing sync.WaitGroup
	for i, conn := range open {
		closing.Go(func() { errs[i] = conn.close() })
	}
	closing.Wait()
	c.http.CloseIdleConnections()
	return errors.Join(errs...)
}

// closeTimeout bounds what Close waits for one agent.
const closeTimeout = 2 * time.Second
