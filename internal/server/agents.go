package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

// AgentQuery is what both routes that describe agents take. It is exported for
// the framework, which cannot fill what is embedded otherwise.
type AgentQuery struct {
	Config  bool `query:"config" doc:"Also return version, path and choices, for which programs are run"`
	NoCache bool `query:"no_cache" doc:"Look again instead of returning what was found before"`
}

func (q AgentQuery) options() agents.InfoOptions {
	return agents.InfoOptions{Config: q.Config, Fresh: q.NoCache}
}

type agentInput struct {
	AgentQuery
	Agent string `path:"agent" doc:"Id of the agent"`
}

// agentRoutes are the routes of the agents themselves, not of what they say.
func (s *Server) agentRoutes() {
	route(s, op("listAgents", http.MethodGet, "/v1/agents", "agents", "Agents, installed or not"), s.listAgents)
	route(s, op("getAgent", http.MethodGet, "/v1/agents/{agent}", "agents", "One agent"), s.getAgent)

	id := &huma.Param{Name: "agent", In: "path", Required: true, Description: "Id of the agent", Schema: &huma.Schema{Type: "string"}}

	install := op("installAgent", http.MethodPost, "/v1/agents/{agent}/install", "agents", "Install an agent")
	install.Description = "The response comes when the install is done. With Accept: text/event-stream the steps are events named progress, and the last event is named result or error."
	install.Parameters = []*huma.Param{id}
	install.RequestBody = &huma.RequestBody{Description: "May be absent", Content: map[string]*huma.MediaType{
		"application/json": {Schema: s.schema(typeOf[api.AgentInstallRequest]())},
	}}
	install.Responses = map[string]*huma.Response{"200": {Description: "Installed, or was there", Content: map[string]*huma.MediaType{
		"application/json":  {Schema: s.schema(typeOf[api.AgentInstallResult]())},
		"text/event-stream": {Schema: s.schema(typeOf[api.AgentInstallEvent]())},
	}}}
	s.handle(install, s.installAgent)

	remove := op("uninstallAgent", http.MethodDelete, "/v1/agents/{agent}/install", "agents", "Remove an installed agent")
	remove.Description = "Removes what the data directory has of it. An agent that is installed elsewhere is a conflict."
	remove.Parameters = []*huma.Param{id}
	remove.Responses = map[string]*huma.Response{"204": {Description: "Removed, or was not there"}}
	s.handle(remove, s.uninstallAgent)
}

func (s *Server) listAgents(ctx context.Context, in *AgentQuery) (*body[api.AgentList], error) {
	list := s.agents.List(ctx, in.options())
	status := s.agentStatus()
	for i := range list.Agents {
		list.Agents[i].ServerStatus = status[list.Agents[i].ID]
	}
	return answer(&list, nil)
}

func (s *Server) getAgent(ctx context.Context, in *agentInput) (*body[api.AgentInfo], error) {
	info, err := s.agents.Info(ctx, in.Agent, in.options())
	if err != nil {
		return nil, err
	}
	info.ServerStatus = s.agentStatus()[info.ID]
	return answer(info, nil)
}

// agentStatus returns the status of every agent with a connection: running if
// one of its processes is, with the age of the oldest that runs.
func (s *Server) agentStatus() map[string]*api.AgentServerStatus {
	now := time.Now().UnixMilli()
	all := make(map[string]*api.AgentServerStatus)
	for _, conn := range s.bridge.List() {
		status := all[conn.Agent]
		if status == nil {
			status = &api.AgentServerStatus{Status: "stopped"}
			all[conn.Agent] = status
		}
		if conn.Status == "exited" {
			continue
		}
		status.Status = "running"
		if age := now - conn.CreatedAtMs; status.UptimeMs == nil || *status.UptimeMs < age {
			status.UptimeMs = &age
		}
	}
	return all
}

// installAgent takes no body, and any content type, as {}.
func (s *Server) installAgent(w http.ResponseWriter, r *http.Request) error {
	if s.children.Paused() {
		return api.Paused()
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.limits.MaxBodyBytes))
	if err != nil {
		return err
	}
	var request api.AgentInstallRequest
	if len(data) > 0 {
		if err := decodeBody(data, &request); err != nil {
			return err
		}
	}
	id := r.PathValue("agent")
	if _, err := s.agents.Agent(id); err != nil {
		return err
	}
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return s.streamInstall(w, r, id, request)
	}
	result, err := s.agents.Install(r.Context(), id, request, nil)
	if err != nil {
		return err
	}
	return httpkit.Reply(w, http.StatusOK, result, nil)
}

// streamInstall installs and sends the steps. A client that leaves ends the
// install.
func (s *Server) streamInstall(w http.ResponseWriter, r *http.Request, id string, request api.AgentInstallRequest) error {
	stream, err := httpkit.NewStream(w, r)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := make(chan api.AgentInstallEvent, 64)
	var result *api.AgentInstallResult
	var failure error
	go func() {
		defer close(events)
		result, failure = s.agents.Install(ctx, id, request, func(e api.AgentInstallEvent) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	err = stream.Follow(ctx, func(ctx context.Context) error {
		e, err := httpkit.Receive(ctx, events)
		if err != nil {
			return err
		}
		return stream.Send("progress", 0, e)
	})
	if !errors.Is(err, io.EOF) {
		cancel()
		for range events { // until the install has cleared up
		}
		return nil
	}
	if failure != nil {
		_ = stream.Send("error", 0, s.router.Problem(httpkit.RequestID(w), failure))
		return nil
	}
	_ = stream.Send("result", 0, result)
	return nil
}

func (s *Server) uninstallAgent(w http.ResponseWriter, r *http.Request) error {
	return httpkit.NoContent(w, s.agents.Uninstall(r.Context(), r.PathValue("agent")))
}
