package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// A PermissionResolvedError tells who was faster with an answer. It matches
// [ErrPermissionResolved].
type PermissionResolvedError struct {
	PermissionID string
	Reply        string // as in [api.PermissionResolved]
	OptionID     string
	By           string
	At           time.Time
}

func (e *PermissionResolvedError) Error() string {
	return fmt.Sprintf("permission %s was answered with %s by %s", e.PermissionID, e.Reply, e.By)
}

// Is reports whether target is [ErrPermissionResolved].
func (e *PermissionResolvedError) Is(target error) bool { return target == ErrPermissionResolved }

// Permissions returns the questions of the agent that wait for an answer, the
// oldest first. The list may be a moment behind the event that asks; see
// [ServerSession.OnPermission].
func (s *ServerSession) Permissions(ctx context.Context) ([]api.Permission, error) {
	list, err := get[api.PermissionList](ctx, s.c, s.route("permissions"), nil)
	if err != nil {
		return nil, s.failed("list permissions of", err)
	}
	return list.Permissions, nil
}

// ReplyPermission answers a question by its id. A reply is one of [Once],
// [Always], [Reject], [NoReply] or the id of an option; one that is not offered
// is an [*UnsupportedReplyError] and leaves the question open. The first answer
// of all clients counts; a later one is a [*PermissionResolvedError].
//
// Always makes a rule, which [ServerSession.ForgetPermissionRule] takes back.
func (s *ServerSession) ReplyPermission(ctx context.Context, id string, reply Reply) (*api.PermissionResolved, error) {
	if reply == NoReply || reply == "" {
		reply = api.ReplyCancel
	}
	resolved, err := call[api.PermissionResolved](ctx, s.c, http.MethodPost, s.route("permissions", id), nil, api.PermissionReply{Reply: string(reply)})
	if err != nil {
		return nil, fmt.Errorf("reply to permission of session %s: %w", s.ID, permissionError(id, reply, err))
	}
	return resolved, nil
}

// PermissionRules returns what decides the questions of the agent.
func (s *ServerSession) PermissionRules(ctx context.Context) (*api.PermissionRules, error) {
	rules, err := get[api.PermissionRules](ctx, s.c, s.route("permissions", "rules"), nil)
	return rules, s.failed("get permission rules of", err)
}

// ForgetPermissionRule takes back one rule that the reply [Always] has made, or
// all of them when id is empty.
func (s *ServerSession) ForgetPermissionRule(ctx context.Context, id string) error {
	path := s.route("permissions", "rules")
	if id != "" {
		path = s.route("permissions", "rules", id)
	}
	return s.failed("forget permission rule of", s.c.do(ctx, http.MethodDelete, path, nil, nil))
}

// A SessionPermissionHandler answers the questions of a [ServerSession]. An
// empty reply leaves a question to others.
type SessionPermissionHandler func(ctx context.Context, p api.Permission) (Reply, error)

// OnPermission answers the questions of the agent, those that wait and those to
// come, until ctx ends, which is no error, or the handler or the server fails.
// The handler is asked one question at a time. That another client was faster is
// no error.
func (s *ServerSession) OnPermission(ctx context.Context, handler SessionPermissionHandler) error {
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	a := &answerer{s: s, handler: handler, done: make(map[string]bool)}
	if _, err := a.answer(ctx, 0); err != nil {
		return ended(ctx, err)
	}
	for e, err := range s.Events(ctx, info.LastEvent) {
		if err != nil {
			return err
		}
		if e.Gap == nil && e.Method() != acp.MethodRequestPermission {
			continue
		}
		if err := a.await(ctx, e.EventIndex); err != nil {
			return ended(ctx, err)
		}
	}
	return nil
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// answerer answers questions, each once.
type answerer struct {
	s       *ServerSession
	handler SessionPermissionHandler
	done    map[string]bool
	newest  uint64 // event of the newest question that was seen
}

// The list of questions may be a moment behind the events.
const (
	listAgain = 20 * time.Millisecond
	listTries = 10
)

// await answers what waits, once the question of the event is among it or it is
// clear that the policy has decided it.
func (a *answerer) await(ctx context.Context, event uint64) error {
	for range listTries {
		found, err := a.answer(ctx, event)
		if err != nil || found {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listAgain):
		}
	}
	return nil
}

// answer asks the handler for all that waits. It reports whether the question of
// an event was among it, now or before.
func (a *answerer) answer(ctx context.Context, event uint64) (found bool, err error) {
	list, err := a.s.Permissions(ctx)
	if err != nil {
		return false, err
	}
	for _, p := range list {
		a.newest = max(a.newest, p.Event)
		if a.done[p.ID] {
			continue
		}
		a.done[p.ID] = true
		reply, err := a.handler(ctx, p)
		if err != nil {
			return false, err
		}
		if reply == "" {
			continue
		}
		_, err = a.s.ReplyPermission(ctx, p.ID, reply)
		if err != nil && !errors.Is(err, ErrPermissionResolved) && !errors.Is(err, api.CodeNotFound) {
			return false, err
		}
	}
	return a.newest >= event, nil
}

// refusal is a problem of the server with a type of its own.
type refusal struct {
	typed   error
	problem error
}

func (r refusal) Error() string   { return r.typed.Error() }
func (r refusal) Unwrap() []error { return []error{r.typed, r.problem} }

// sessionError gives problems their types.
func sessionError(agent string, err error) error {
	var p *api.Error
	if !errors.As(err, &p) {
		return err
	}
	switch p.Code {
	case api.CodeAgentError:
		code, ok := p.Details["rpcCode"].(float64)
		if !ok {
			return err // the server's own word
		}
		typed := &RPCError{Code: int(code), Message: word(p, "rpcMessage")}
		if data, ok := p.Details["rpcData"]; ok {
			typed.Data, _ = json.Marshal(data)
		}
		return refusal{typed, err}
	case api.CodeAgentProcessExited:
		if p.Agent != "" {
			agent = p.Agent
		}
		return refusal{agentExited(agent, err), err}
	case api.CodeUnsupportedCategory:
		return refusal{&UnsupportedCategoryError{SessionID: p.SessionID, Category: word(p, "category"), Available: words(p, "availableCategories")}, err}
	case api.CodeUnsupportedValue:
		return refusal{&UnsupportedValueError{
			SessionID: p.SessionID, Category: word(p, "category"), ConfigID: word(p, "configId"),
			Value: word(p, "requestedValue"), Allowed: words(p, "allowedValues"),
		}, err}
	case api.CodeUnsupportedConfigOption:
		return refusal{&UnsupportedOptionError{SessionID: p.SessionID, ConfigID: word(p, "configId"), Available: words(p, "availableConfigIds")}, err}
	}
	return err
}

func permissionError(id string, reply Reply, err error) error {
	var p *api.Error
	if !errors.As(err, &p) {
		return err
	}
	switch p.Code {
	case api.CodePermissionResolved:
		at, _ := p.Details["at"].(float64)
		return refusal{&PermissionResolvedError{
			PermissionID: id, Reply: word(p, "reply"), OptionID: word(p, "optionId"), By: word(p, "by"), At: time.UnixMilli(int64(at)),
		}, err}
	case api.CodeReplyNotAvailable:
		typed := &UnsupportedReplyError{PermissionID: id, Reply: reply}
		for _, r := range words(p, "availableReplies") {
			typed.Available = append(typed.Available, Reply(r))
		}
		return refusal{typed, err}
	}
	return err
}

func word(p *api.Error, key string) string {
	text, _ := p.Details[key].(string)
	return text
}

func words(p *api.Error, key string) []string {
	list, _ := p.Details[key].([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}
