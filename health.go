package sandboxagent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// Health asks the server whether it answers.
func (c *Client) Health(ctx context.Context) (*api.Health, error) {
	return get[api.Health](ctx, c, "/v1/health", nil)
}

// Version returns the version of the server.
func (c *Client) Version(ctx context.Context) (*api.Version, error) {
	return get[api.Version](ctx, c, "/v1/version", nil)
}

// Limits returns the bounds that the server holds.
func (c *Client) Limits(ctx context.Context) (*api.Limits, error) {
	return get[api.Limits](ctx, c, "/v1/limits", nil)
}

// The waits between two health requests.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = time.Second
)

// WaitReady returns nil once the server answers that it is healthy. It asks
// again until ctx ends, and gives up at once when the server refuses the token
// or asking again is of no use. The error says what the last try met.
func (c *Client) WaitReady(ctx context.Context) error {
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		err := c.ready(ctx)
		if err == nil {
			return nil
		}
		if hopeless(err) || c.baseErr != nil {
			return fmt.Errorf("reach %s: %w", c.BaseURL(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last try: %w)", c.BaseURL(), ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// ready is one try, which may take a second: a server that is starting can
// leave a connection unanswered.
func (c *Client) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	health, err := c.Health(ctx)
	if err != nil {
		return err
	}
	if health.Status != "ok" {
		return fmt.Errorf("health is %q", health.Status)
	}
	return nil
}

// hopeless reports whether a server has refused the caller as such.
func hopeless(err error) bool {
	var problem *api.Error
	return errors.As(err, &problem) && (problem.Status == http.StatusUnauthorized || problem.Status == http.StatusForbidden)
}
