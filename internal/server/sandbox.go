package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/sandboxagent/sandboxagent/api"
)

// sandboxRoutes are the routes of the sandbox as a whole. In a server on its own
// they act on all its agents and processes; a gateway answers them with what its
// provider can do.
func (s *Server) sandboxRoutes() {
	route(s, op("getSandbox", http.MethodGet, "/v1/sandbox", "sandbox", "State of the sandbox"), s.getSandbox)
	route(s, op("pauseSandbox", http.MethodPost, "/v1/sandbox/pause", "sandbox", "Stop all agents and processes where they are"), s.pauseSandbox)
	route(s, op("resumeSandbox", http.MethodPost, "/v1/sandbox/resume", "sandbox", "Let them go on"), s.resumeSandbox)
	route(s, op("restartSandbox", http.MethodPost, "/v1/sandbox/restart", "sandbox", "End all agents and processes; sessions come back with their next prompt"), s.restartSandbox)

	kill := op("killSandbox", http.MethodPost, "/v1/sandbox/kill", "sandbox", "End all agents and processes at once, and the server")
	kill.DefaultStatus = http.StatusOK
	route(s, kill, s.killSandbox)
	destroy := op("destroySandbox", http.MethodDelete, "/v1/sandbox", "sandbox", "End all agents and processes, and the server")
	destroy.DefaultStatus = http.StatusOK
	route(s, destroy, s.destroySandbox)
}

func (s *Server) sandbox() *api.Sandbox {
	state := &api.Sandbox{Status: api.SandboxRunning}
	switch {
	case s.stopping.Load():
		state.Status = api.SandboxStopping
	case s.children.Paused():
		state.Status = api.SandboxPaused
	}
	for _, a := range s.bridge.List() {
		if a.PID != 0 {
			state.Agents++
		}
	}
	if list, err := s.processes.List(""); err == nil {
		for _, p := range list.Processes {
			if p.PID != 0 {
				state.Processes++
			}
		}
	}
	return state
}

func (s *Server) getSandbox(context.Context, *struct{}) (*body[api.Sandbox], error) {
	return answer(s.sandbox(), nil)
}

func (s *Server) pauseSandbox(context.Context, *struct{}) (*body[api.Sandbox], error) {
	if err := s.children.Pause(); err != nil {
		s.log.Warn("pause sandbox", "error", err)
		state := s.sandbox()
		state.Incomplete = true
		return answer(state, nil)
	}
	return answer(s.sandbox(), nil)
}

func (s *Server) resumeSandbox(context.Context, *struct{}) (*body[api.Sandbox], error) {
	s.children.Resume()
	return answer(s.sandbox(), nil)
}

func (s *Server) restartSandbox(ctx context.Context, _ *struct{}) (*body[api.Sandbox], error) {
	err := errors.Join(s.bridge.StopAll(ctx), s.processes.StopAll(ctx), s.children.KillOrphans())
	s.children.Resume()
	return answer(s.sandbox(), err)
}

func (s *Server) destroySandbox(context.Context, *struct{}) (*body[api.Sandbox], error) {
	return s.end()
}

func (s *Server) killSandbox(context.Context, *struct{}) (*body[api.Sandbox], error) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if err := errors.Join(s.children.Kill(), s.processes.StopAll(now)); err != nil {
		s.log.Warn("kill sandbox", "error", err)
	}
	return s.end()
}

// end asks the program that runs the server to stop it. The response is still sent, since a
// server that shuts down waits for the requests at hand.
func (s *Server) end() (*body[api.Sandbox], error) {
	if s.cfg.Stop == nil {
		return nil, api.NewError(api.KindNotSupported, "", "this server cannot be ended by its clients")
	}
	s.stopping.Store(true)
	state := s.sandbox()
	s.cfg.Stop()
	return answer(state, nil)
}
