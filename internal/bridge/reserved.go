package bridge

import (
	"bytes"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// reservedError is what the sender of a reserved method is told.
func reservedError(method string) *acp.RPCError {
	return acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s is reserved for events of the server", method)
}

// RefuseReserved answers a client's frame whose method is reserved: a request
// with a JSON-RPC error, anything else with a problem.
func RefuseReserved(msg acp.Message) (reply []byte, err error) {
	if msg.Kind == acp.Request {
		return acp.ErrorFrame(bytes.Clone(msg.ID), reservedError(msg.Method))
	}
	return nil, api.InvalidRequest(api.CodeReservedMethod, "send frame: method %q is reserved for events of the server; use another one", msg.Method)
}
