package sandboxagent

import (
	"log/slog"
	"net/http"
	"os"
)

// An Option changes how a [Client] is made.
type Option func(*Client)

// WithToken sets the bearer token that every request carries.
func WithToken(token string) Option {
	return func(c *Client) { c.token = token }
}

// WithHTTPClient sets the client that sends the requests. It must not have a
// Timeout, which would also cut streams and long turns.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) { c.http = h }
}

// WithHeader adds a header to every request. A token given with [WithToken]
// wins over an Authorization header.
func WithHeader(key, value string) Option {
	return func(c *Client) { c.header.Add(key, value) }
}

// WithLogger sets where the client logs what it recovers from by itself, such as
// streams that it had to open again. Without it nothing is logged.
func WithLogger(log *slog.Logger) Option {
	return func(c *Client) { c.log = log }
}

// WithReconnect sets a function that is called when an event stream cannot reach
// its server, with the reason, and with nil once it can again. Streams call it
// from the goroutine that reads them, which waits for it.
func WithReconnect(f func(err error)) Option {
	return func(c *Client) { c.reconnect = f }
}

// WithDir sets the directory in the sandbox that sessions work in when they name
// none. Without it that is the home directory of the server.
func WithDir(dir string) Option {
	return func(c *Client) { c.dir = dir }
}

// FromEnv takes what was not given otherwise from the environment: the base URL
// from SANDBOX_AGENT_ENDPOINT when it is empty, the token from SANDBOX_AGENT_TOKEN,
// and for [Start] the program from SANDBOX_AGENT_BIN. Options after it win
// over it.
func FromEnv() Option {
	return func(c *Client) {
		if c.baseURL == "" {
			c.baseURL = os.Getenv("SANDBOX_AGENT_ENDPOINT")
		}
		if c.token == "" {
			c.token = os.Getenv("SANDBOX_AGENT_TOKEN")
		}
		c.binary = os.Getenv("SANDBOX_AGENT_BIN")
	}
}
