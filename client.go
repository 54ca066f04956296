package sandboxagent

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// A Client talks to one sandbox-agent server. It is made by [New], [Connect] or
// [Start], and may be used from several goroutines.
type Client struct {
	baseURL string
	token   string
	binary  string // what FromEnv found for Start
	dir     string
	header  http.Header
	http    *http.Client
	log     *slog.Logger

	reconnect func(err error) // called when streams lose the server and find it again; may be nil

	base    *url.URL
	baseErr error
}

// New returns a client of the server at baseURL, for example
// "http://127.0.0.1:2468". It does no I/O; a base URL that cannot be used is
// reported by the first call.
func New(baseURL string, opts ...Option) *Client {
	c := &Client{
		baseURL: baseURL,
		header:  make(http.Header),
		log:     slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		opt(c)
	}
	if c.http == nil {
		c.http = &http.Client{Transport: newTransport()}
	}
	c.base, c.baseErr = parseBase(c.baseURL)
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

// Close closes the connections that are idle. What was made on the server stays,
// and calls still work afterwards.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}
