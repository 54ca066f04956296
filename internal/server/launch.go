package server

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// launchAgent says how to start an agent, installing it first if need be.
func (s *Server) launchAgent(ctx context.Context, id string) (child.Spec, error) {
	command, err := s.agents.Launch(ctx, id)
	if err != nil {
		return child.Spec{}, err
	}
	return child.Spec{Path: command.Path, Args: command.Args, Env: command.Env, Dir: command.Dir}, nil
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

// explainError adds to the data of an error what people can do about it, where the
// agent is known to leave that out, and what the agent said on standard error.
func (s *Server) explainError(agent string, frame []byte, stderr []string) []byte {
	a, err := s.agents.Agent(agent)
	if err != nil || len(a.Hints) == 0 {
		return frame
	}
	var reply struct {
		ID    json.RawMessage `json:"id"`
		Error struct {
			Code    int                        `json:"code"`
			Message string                     `json:"message"`
			Data    map[string]json.RawMessage `json:"data"`
		} `json:"error"`
	}
	var details string
	if json.Unmarshal(frame, &reply) != nil || json.Unmarshal(reply.Error.Data["details"], &details) != nil {
		return frame
	}
	for part, hint := range a.Hints {
		if !strings.Contains(details, part) {
			continue
		}
		data := reply.Error.Data
		data["hint"], _ = json.Marshal(hint)
		data["agentStderr"], _ = json.Marshal(strings.Join(stderr, "\n"))
		explained := acp.RPCError{Code: reply.Error.Code, Message: reply.Error.Message}
		explained.Data, _ = json.Marshal(data)
		if said, err := acp.ErrorFrame(reply.ID, &explained); err == nil {
			return said
		}
	}
	return frame
}
