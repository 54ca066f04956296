package server

import (
	"context"
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/process"
)

// launchAgent says how to start an agent, installing it first if need be.
func (s *Server) launchAgent(ctx context.Context, id string) (process.Spec, error) {
	command, err := s.agents.Launch(ctx, id)
	if err != nil {
		return process.Spec{}, err
	}
	return process.Spec{Path: command.Path, Args: command.Args, Env: command.Env, Dir: command.Dir}, nil
}

func (s *Server) knownAgent(id string) bool {
	_, err := s.agents.Agent(id)
	return err == nil
}

// prepareFrame gives a session that is about to be opened what was configured
// for its folder: MCP servers in the parameters, skills where the agent looks
// for them. Skills that cannot be had are logged; a broken configuration of MCP
// servers fails the request, since the agent would lack tools without a word.
func (s *Server) prepareFrame(ctx context.Context, agent string, msg acp.Message, frame []byte) ([]byte, error) {
	switch msg.Method {
	case acp.MethodSessionNew, acp.MethodSessionLoad, acp.MethodSessionResume:
	default:
		return frame, nil
	}
	var request struct {
		Params json.RawMessage `json:"params"`
	}
	var params struct {
		CWD string `json:"cwd"`
	}
	if json.Unmarshal(frame, &request) != nil || json.Unmarshal(request.Params, &params) != nil || params.CWD == "" {
		return frame, nil // the agent is the one to say what is wrong with it
	}
	if a, err := s.agents.Agent(agent); err == nil && len(a.SkillDirs) > 0 {
		if err := s.installSkills(ctx, params.CWD, a.SkillDirs); err != nil {
			s.log.Warn("install skills", "agent", agent, "directory", params.CWD, "error", err)
		}
	}
	merged, err := s.settings.MergeMCP(request.Params, params.CWD)
	if err != nil {
		return nil, err
	}
	if string(merged) == string(request.Params) {
		return frame, nil
	}
	return json.Marshal(struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
	}{"2.0", msg.ID, msg.Method, merged})
}
