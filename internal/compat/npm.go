package compat

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// npmClient is what the npm client calls itself. It takes every response to a POST
// but 2xx as the end of its connection, ends no prompt after that, and never names
// the agent again, so it cannot recover by itself.
const npmClient = "sandbox-agent-sdk"

// isNPM reports whether the npm client uses a connection.
func (c *Clients) isNPM(id string, msg acp.Message) bool {
	return c.sessions.Client(id, msg.SessionID) == npmClient
}

// Follows reports whether the client of a connection has its event stream by the time
// that a frame is answered, or has asked for it: the npm client opens it with its second
// request, which is the one for a session, and the Python client with the first. Either
// reports whether the client takes a reply from its event stream as well as from the
// response, and needs it from one of them alone, as the npm client does.
func (c *Clients) Follows(id string, frame []byte) (follows, either bool) {
	msg, err := acp.Parse(frame)
	if err != nil || msg.Method != acp.MethodSessionPrompt {
		return false, false
	}
	npm := c.isNPM(id, msg)
	return npm || c.hubs.get(id) != nil, npm
}

// rejoin starts the agent of the npm client's connection again, if it has ended, and
// makes it open the session that a request is about. For other clients it does
// nothing: they learn that their agent has ended.
func (c *Clients) rejoin(ctx context.Context, id string, msg acp.Message) error {
	if msg.Kind != acp.Request || msg.SessionID == "" || !c.isNPM(id, msg) {
		return nil
	}
	return c.sessions.Rejoin(ctx, id, msg.SessionID, acp.Implementation{Name: npmClient, Version: "v1"})
}

// survivable turns the refusal of a frame into a reply that the npm client survives:
// for a request a JSON-RPC error with the problem as its data, for the rest nothing,
// as if the agent had received it. ok is false for other clients.
func (c *Clients) survivable(id string, msg acp.Message, refusal error) (reply []byte, ok bool) {
	var problem *api.Error
	if !errors.As(refusal, &problem) || !c.isNPM(id, msg) {
		return nil, false
	}
	if msg.Kind != acp.Request {
		return nil, true
	}
	data, err := json.Marshal(problem)
	if err != nil {
		return nil, false
	}
	e := acp.Errorf(acp.CodeInternalError, "%s", problem.Detail)
	e.Data = data
	reply, err = acp.ErrorFrame(msg.ID, e)
	return reply, err == nil
}
