package sandboxagent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// follow reads everything the agent says until the connection is dead.
func (conn *connection) follow() {
	f := follower{
		c:        conn.c,
		request:  request{path: conn.path},
		ended:    func() bool { return false }, // it ends for good when the server says 404
		patience: streamPatience,
	}
	for e, err := range f.events(conn.ctx) {
		if err != nil {
			if isGone(err) {
				err = fmt.Errorf("agent %s: the server closed the connection: %w", conn.agent, err)
			} else {
				err = fmt.Errorf("agent %s: event stream: %w", conn.agent, err)
			}
			conn.fail(err)
			return
		}
		conn.lastEvent.Store(time.Now().UnixNano())
		conn.handle(e)
	}
}

// handle takes one event. One that came before, on a stream that was opened
// anew, is dropped.
func (conn *connection) handle(e event) {
	seq, err := strconv.ParseUint(e.id, 10, 64)
	if err == nil {
		if seq <= conn.seen && e.name == "message" {
			return
		}
		conn.seen = seq
	}
	switch e.name {
	case "message":
		conn.receive(seq, bytes.Clone(e.data))
	case "gap":
		var gap api.Gap
		if json.Unmarshal(e.data, &gap) == nil {
			conn.lost(seq, gap)
		}
	}
}

// lost tells every turn that events are missing.
func (conn *connection) lost(seq uint64, gap api.Gap) {
	conn.c.log.Warn("events are lost", "agent", conn.agent, "from", gap.From, "to", gap.To)
	conn.mu.Lock()
	sessions := make([]*Session, 0, len(conn.sessions))
	for _, s := range conn.sessions {
		sessions = append(sessions, s)
	}
	conn.mu.Unlock()
	for _, s := range sessions {
		s.receive(conn, Update{Update: acp.Update{Kind: UpdateGap}, EventID: seq, Gap: &gap})
	}
}

// receive takes one frame of the agent, in the agent's order.
func (conn *connection) receive(seq uint64, frame []byte) {
	msg, err := acp.Parse(frame)
	if err != nil {
		conn.c.log.Warn("frame is no JSON", "agent", conn.agent, "event", seq, "error", err)
		return
	}
	switch {
	case msg.Kind == acp.Response:
		result, err := readResponse(frame)
		conn.settle(string(msg.ID), result, err)
	case msg.Kind == acp.Request && msg.Method == acp.MethodRequestPermission:
		conn.permissionAsked(seq, msg, frame)
	case msg.Kind == acp.Request:
		refusal, err := acp.ErrorFrame(msg.ID, acp.Errorf(acp.CodeMethodNotFound, "method not found: %s", msg.Method))
		if err == nil {
			conn.replyLater(refusal)
		}
	case msg.Kind == acp.Notification && msg.Method == acp.MethodSessionUpdate:
		conn.updated(seq, frame)
	case msg.Kind == acp.Notification && msg.Method == acp.MethodAdapterExited:
		conn.exited(frame)
	}
}

func (conn *connection) updated(seq uint64, frame []byte) {
	var wire struct {
		Params acp.SessionNotification `json:"params"`
	}
	if err := json.Unmarshal(frame, &wire); err != nil {
		conn.c.log.Warn("decode session update", "agent", conn.agent, "event", seq, "error", err)
		return
	}
	update := Update{Update: wire.Params.Update, EventID: seq}
	id := wire.Params.SessionID
	conn.mu.Lock()
	s := conn.sessions[id]
	if s == nil && conn.opening > 0 && len(conn.early[id]) < maxEarly {
		conn.early[id] = append(conn.early[id], update)
	}
	conn.mu.Unlock()
	if s != nil {
		s.receive(conn, update)
	}
}

func (conn *connection) permissionAsked(seq uint64, msg acp.Message, frame []byte) {
	var wire struct {
		Params acp.PermissionRequest `json:"params"`
	}
	if err := json.Unmarshal(frame, &wire); err != nil {
		conn.c.log.Warn("decode permission request", "agent", conn.agent, "event", seq, "error", err)
	}
	request := newPermission(conn, bytes.Clone(msg.ID), wire.Params)
	conn.mu.Lock()
	s := conn.sessions[msg.SessionID]
	conn.mu.Unlock()
	if s == nil {
		conn.background(request.cancel)
		return
	}
	s.receive(conn, Update{Update: acp.Update{Kind: UpdatePermission}, EventID: seq, Permission: request})
}

// replyLater answers without making the reader wait.
func (conn *connection) replyLater(frame []byte) {
	conn.background(func() {
		if err := conn.reply(frame); err != nil && conn.ctx.Err() == nil {
			conn.c.log.Warn("answer agent", "agent", conn.agent, "error", err)
		}
	})
}

// exited ends the connection because the agent has.
func (conn *connection) exited(frame []byte) {
	var wire struct {
		Params struct {
			Code   *int   `json:"code"`
			Signal string `json:"signal"`
		} `json:"params"`
	}
	if err := json.Unmarshal(frame, &wire); err != nil {
		conn.c.log.Warn("decode agent exit", "agent", conn.agent, "error", err)
	}
	conn.mu.Lock()
	waiting := len(conn.pending) > 0
	conn.mu.Unlock()
	deadline := time.Now().Add(exitWait)
	for waiting && conn.lastWords() == nil && time.Now().Before(deadline) {
		select {
		case <-conn.ctx.Done():
			return
		case <-time.After(exitWait / 20):
		}
	}
	if exit := conn.lastWords(); exit != nil {
		conn.fail(exit)
		return
	}
	conn.fail(&AgentExitedError{Agent: conn.agent, ExitCode: wire.Params.Code, Signal: wire.Params.Signal})
}

func (conn *connection) lastWords() *AgentExitedError {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.exit
}
