package bridge

import (
	"encoding/json"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// exitFrame is the event that tells readers of a stream that the agent ended.
func exitFrame(exit child.Exit) []byte {
	params := struct {
		Code    *int   `json:"code"`
		Success bool   `json:"success"`
		Signal  string `json:"signal,omitempty"`
	}{exit.Code, exit.Code != nil && *exit.Code == 0, exit.Signal}
	data, err := json.Marshal(params)
	if err != nil {
		panic(err) // nothing in params can fail
	}
	return []byte(`{"jsonrpc":"2.0","method":"_adapter/agent_exited","params":` + string(data) + `}`)
}

// exitProblem is what clients get that wait for, or write to, an ended agent.
func exitProblem(agent string, exit child.Exit, stderr []string) *api.Error {
	e := api.NewError(api.KindAgentProcessExited, "", "%s", agent)
	e.Agent = agent
	if exit.Code != nil {
		e.With("exitCode", *exit.Code)
	}
	if exit.Signal != "" {
		e.With("signal", exit.Signal)
	}
	if len(stderr) > 0 {
		e.With("stderr", strings.Join(stderr, "\n"))
	}
	return e
}
