package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/sandboxagent/sandboxagent/acp"
)

// A Reply answers a [PermissionRequest]. Besides the constants, the id of one of
// the request's options is a reply.
type Reply string

// The replies that any agent is asked for by kind.
const (
	Once   Reply = "once"   // allow this call
	Always Reply = "always" // allow this call and others like it; once when the agent offers no more
	Reject Reply = "reject" // do not allow it

	// NoReply tells the agent that nobody chose, which most agents take as a
	// reason to end the turn.
	NoReply Reply = "cancelled"
)

// A PermissionHandler answers the questions of an agent. It is called with the
// questions of a session one after the other, in their order among the updates
// and in the goroutine that reads the turn. Its context ends when the turn is
// cancelled or over. An error is returned by the turn, and to the agent nobody chose.
type PermissionHandler func(ctx context.Context, req *PermissionRequest) (Reply, error)

// AllowAll is a [PermissionHandler] that allows everything, once each time.
func AllowAll(context.Context, *PermissionRequest) (Reply, error) { return Once, nil }

// RejectAll is a [PermissionHandler] that allows nothing.
func RejectAll(context.Context, *PermissionRequest) (Reply, error) { return Reject, nil }

// AllowKinds returns a [PermissionHandler] that allows tools of the given kinds,
// for example [acp.ToolRead] and [acp.ToolEdit], and rejects all others.
func AllowKinds(kinds ...string) PermissionHandler {
	return func(_ context.Context, req *PermissionRequest) (Reply, error) {
		if slices.Contains(kinds, req.ToolCall.Kind) {
			return Once, nil
		}
		return Reject, nil
	}
}

// A PermissionRequest is a question of an agent: whether it may make a call. Its
// ToolCall is all that the turn has told of the call, also where the question
// itself only names it.
type PermissionRequest struct {
	ID string // of this request within its connection
	acp.PermissionRequest

	conn  *connection
	rpcID json.RawMessage

	mu       sync.Mutex
	answered bool
}

func newPermission(conn *connection, rpcID json.RawMessage, params acp.PermissionRequest) *PermissionRequest {
	return &PermissionRequest{ID: string(rpcID), PermissionRequest: params, conn: conn, rpcID: rpcID}
}

// errAnswered is for a second answer to the same question.
var errAnswered = errors.New("permission request was answered before")

// Replies returns what the agent offers.
func (p *PermissionRequest) Replies() []Reply {
	var replies []Reply
	for _, reply := range []Reply{Once, Always, Reject} {
		if _, ok := p.option(reply); ok {
			replies = append(replies, reply)
		}
	}
	return replies
}

// option finds the option that a reply means. Agents give their options any id
// they like, so the kind decides.
func (p *PermissionRequest) option(reply Reply) (acp.PermissionOption, bool) {
	switch reply {
	case Once:
		return p.Option(acp.AllowOnce)
	case Always:
		return p.Option(acp.AllowAlways, acp.AllowOnce)
	case Reject:
		return p.Option(acp.RejectOnce, acp.RejectAlways)
	}
	for _, o := range p.Options {
		if o.OptionID == string(reply) {
			return o, true
		}
	}
	return acp.PermissionOption{}, false
}

// Reply answers the question. The first answer counts; a second one is an error.
// A reply that the agent does not offer is an [*UnsupportedReplyError] and tells
// the agent that nobody chose.
func (p *PermissionRequest) Reply(reply Reply) error {
	if reply == NoReply || reply == "" {
		return p.answer(acp.Cancelled())
	}
	option, ok := p.option(reply)
	if ok {
		return p.answer(acp.Selected(option.OptionID))
	}
	unsupported := &UnsupportedReplyError{PermissionID: p.ID, Reply: reply, Available: p.Replies()}
	if err := p.answer(acp.Cancelled()); err != nil {
		return errors.Join(unsupported, err)
	}
	return unsupported
}

func (p *PermissionRequest) answer(result acp.PermissionResult) error {
	p.mu.Lock()
	if p.answered {
		p.mu.Unlock()
		return errAnswered
	}
	p.answered = true
	p.mu.Unlock()
	frame, err := acp.ResultFrame(p.rpcID, result)
	if err != nil {
		return err
	}
	return p.conn.reply(frame)
}

// cancel answers that nobody chose, unless there is an answer.
func (p *PermissionRequest) cancel() {
	if err := p.answer(acp.Cancelled()); err != nil && !errors.Is(err, errAnswered) && p.conn.ctx.Err() == nil {
		p.conn.c.log.Warn("answer permission request", "agent", p.conn.agent, "error", err)
	}
}

// decide asks a handler and answers for it.
func (p *PermissionRequest) decide(ctx context.Context, handler PermissionHandler) error {
	if ctx.Err() != nil {
		p.cancel()
		return nil
	}
	reply, err := handler(ctx, p)
	if err != nil || ctx.Err() != nil {
		p.cancel()
		return err
	}
	if err = p.Reply(reply); errors.Is(err, errAnswered) {
		return nil // the handler did it itself
	}
	return err
}
