package sandboxagent

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sandboxagent/sandboxagent/api"
)

// Sandbox returns what runs in the sandbox, and whether it is paused.
func (c *Client) Sandbox(ctx context.Context) (*api.Sandbox, error) {
	state, err := get[api.Sandbox](ctx, c, "/v1/sandbox", nil)
	if err != nil {
		return nil, fmt.Errorf("get sandbox: %w", err)
	}
	return state, nil
}

// PauseSandbox stops all agents and processes where they are, until
// [Client.ResumeSandbox]. A server on its own stays reachable; behind a gateway
// the provider pauses the whole sandbox. Pausing twice is not an error.
func (c *Client) PauseSandbox(ctx context.Context) error {
	return c.sandboxAction(ctx, "pause", http.MethodPost, "/v1/sandbox/pause")
}

// ResumeSandbox lets agents and processes go on.
func (c *Client) ResumeSandbox(ctx context.Context) error {
	return c.sandboxAction(ctx, "resume", http.MethodPost, "/v1/sandbox/resume")
}

// RestartSandbox ends all agents and processes. Files and sessions stay; a
// session comes back with its next prompt.
func (c *Client) RestartSandbox(ctx context.Context) error {
	return c.sandboxAction(ctx, "restart", http.MethodPost, "/v1/sandbox/restart")
}

// DestroySandbox ends all agents and processes, and the server. Calls after it
// fail. It does not close the client.
func (c *Client) DestroySandbox(ctx context.Context) error {
	return c.sandboxAction(ctx, "destroy", http.MethodDelete, "/v1/sandbox")
}

// KillSandbox is [Client.DestroySandbox] without asking agents and processes
// first.
func (c *Client) KillSandbox(ctx context.Context) error {
	return c.sandboxAction(ctx, "kill", http.MethodPost, "/v1/sandbox/kill")
}

func (c *Client) sandboxAction(ctx context.Context, verb, method, path string) error {
	if err := c.do(ctx, method, path, nil, nil); err != nil {
		return fmt.Errorf("%s sandbox: %w", verb, err)
	}
	return nil
}
