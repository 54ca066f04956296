package sandboxagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/sandboxagent/sandboxagent/api"
)

// AgentsOptions say how much [Client.Agents] and [Client.Agent] return.
type AgentsOptions struct {
	Config  bool // also versions, paths and settings, for which programs are run
	NoCache bool // look again instead of returning what was found before
}

func (o AgentsOptions) query() url.Values {
	q := url.Values{}
	if o.Config {
		q.Set("config", "true")
	}
	if o.NoCache {
		q.Set("no_cache", "true")
	}
	return q
}

// Agents lists the agents that the server knows, installed or not.
func (c *Client) Agents(ctx context.Context, opts AgentsOptions) ([]api.AgentInfo, error) {
	list, err := get[api.AgentList](ctx, c, "/v1/agents", opts.query())
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	return list.Agents, nil
}

// Agent describes one agent. One that the server does not know is
// [api.CodeUnsupportedAgent].
func (c *Client) Agent(ctx context.Context, id string, opts AgentsOptions) (*api.AgentInfo, error) {
	info, err := get[api.AgentInfo](ctx, c, route("v1", "agents", id), opts.query())
	if err != nil {
		return nil, fmt.Errorf("get agent: %w", err)
	}
	return info, nil
}

// InstallAgentOptions say what to install. The zero value installs what is
// missing, in the versions known to run.
type InstallAgentOptions struct {
	api.AgentInstallRequest

	// OnProgress, if not nil, is called for each step of the install, in the
	// goroutine of the call.
	OnProgress func(api.AgentInstallEvent)
}

// InstallAgent installs an agent on the server. Installing what is already
// installed is not an error.
func (c *Client) InstallAgent(ctx context.Context, id string, opts InstallAgentOptions) (*api.AgentInstallResult, error) {
	result, err := c.installAgent(ctx, id, opts)
	if err != nil {
		return nil, fmt.Errorf("install agent: %w", err)
	}
	return result, nil
}

func (c *Client) installAgent(ctx context.Context, id string, opts InstallAgentOptions) (*api.AgentInstallResult, error) {
	target := route("v1", "agents", id, "install")
	if opts.OnProgress == nil {
		return call[api.AgentInstallResult](ctx, c, http.MethodPost, target, nil, opts.AgentInstallRequest)
	}
	body, err := json.Marshal(opts.AgentInstallRequest)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, request{
		method: http.MethodPost, path: target,
		body: bytes.NewReader(body), size: int64(len(body)), media: "application/json",
		accept: "text/event-stream, application/json",
	})
	if err != nil {
		return nil, err
	}
	if media := resp.Header.Get("Content-Type"); media != "" && media != "text/event-stream" {
		return decode[api.AgentInstallResult](resp) // a server that reports no progress
	}
	defer resp.Body.Close()
	return readInstall(newEventReader(resp.Body, maxReply), opts.OnProgress)
}

func readInstall(events *eventReader, progress func(api.AgentInstallEvent)) (*api.AgentInstallResult, error) {
	for {
		e, err := events.next()
		if errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch e.name {
		case "progress":
			var step api.AgentInstallEvent
			if json.Unmarshal(e.data, &step) == nil {
				progress(step)
			}
		case "result":
			result := new(api.AgentInstallResult)
			return result, json.Unmarshal(e.data, result)
		case "error":
			problem := new(api.Error)
			if err := json.Unmarshal(e.data, problem); err != nil {
				return nil, err
			}
			return nil, problem
		}
	}
}

// UninstallAgent removes what [Client.InstallAgent] put in place. An agent that
// is not installed is not an error; one that is installed elsewhere, or built in, is
// [api.CodeNotInstalledHere].
func (c *Client) UninstallAgent(ctx context.Context, id string) error {
	if err := c.do(ctx, http.MethodDelete, route("v1", "agents", id, "install"), nil, nil); err != nil {
		return fmt.Errorf("uninstall agent: %w", err)
	}
	return nil
}

// ACPServers lists the agent connections of the server, whichever client made them.
func (c *Client) ACPServers(ctx context.Context) ([]api.ACPServer, error) {
	list, err := get[api.ACPServerList](ctx, c, "/v1/acp", nil)
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return list.Servers, nil
}
