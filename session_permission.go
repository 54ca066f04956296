package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// A PermissionResolvedError says which client replied first. It matches
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

// A Reply is the answer to a permission request. Besides the constants, the id of
// one of the request's options is a reply.
type Reply string

// The replies of all agents.
const (
	Once   Reply = api.ReplyOnce   // allow this call
	Always Reply = api.ReplyAlways // allow this call and others like it
	Reject Reply = api.ReplyReject // do not allow it
	Cancel Reply = api.ReplyCancel // choose none, which most agents take as a reason to end the turn
)

// Permissions returns the permission requests that wait for a reply, the oldest
// first. A request whose event was seen is in the list, unless it is resolved.
func (s *Session) Permissions(ctx context.Context) ([]api.Permission, error) {
	list, err := get[api.PermissionList](ctx, s.c, s.route("permissions"), nil)
	if err != nil {
		return nil, s.failed("list permissions of", err)
	}
	return list.Permissions, nil
}

// permission returns the permission request of an event, nil when it does not
// wait for a reply.
func (s *Session) permission(ctx context.Context, event uint64) (*api.Permission, error) {
	list, err := s.Permissions(ctx)
	for i := range list {
		if list[i].Event == event {
			return &list[i], nil
		}
	}
	return nil, err
}

// Reply replies to a permission request by its id. A reply that is not offered is
// an [*UnsupportedReplyError] and leaves the request open. The first reply of all
// clients counts; a later one is a [*PermissionResolvedError].
//
// [Always] makes a rule, which [Session.ForgetPermissionRule] takes back.
func (s *Session) Reply(ctx context.Context, id string, reply Reply) (*api.PermissionResolved, error) {
	return s.c.ReplyPermission(ctx, s.ID, id, api.PermissionReply{Reply: string(reply)})
}

// PermissionRules returns what decides the permission requests of the agent.
func (s *Session) PermissionRules(ctx context.Context) (*api.PermissionRules, error) {
	rules, err := get[api.PermissionRules](ctx, s.c, s.route("permissions", "rules"), nil)
	return rules, s.failed("get permission rules of", err)
}

// ForgetPermissionRule takes back one rule that the reply [Always] has made, or
// all of them when id is empty.
func (s *Session) ForgetPermissionRule(ctx context.Context, id string) error {
	path := s.route("permissions", "rules")
	if id != "" {
		path = s.route("permissions", "rules", id)
	}
	return s.failed("forget permission rule of", s.c.do(ctx, http.MethodDelete, path, nil, nil))
}

// A PermissionHandler replies to permission requests. It is called with one
// request at a time. Its context ends when the reply is not needed any more, and
// it has to return then. An empty reply leaves the request to other clients.
type PermissionHandler func(ctx context.Context, p api.Permission) (Reply, error)

// AllowAll is a [PermissionHandler] that allows everything, once each time.
func AllowAll(context.Context, api.Permission) (Reply, error) { return Once, nil }

// RejectAll is a [PermissionHandler] that allows nothing.
func RejectAll(context.Context, api.Permission) (Reply, error) { return Reject, nil }

// AllowKinds returns a [PermissionHandler] that allows tool calls of the given
// kinds, for example [acp.ToolRead] and [acp.ToolEdit], and rejects all others.
func AllowKinds(kinds ...string) PermissionHandler {
	return func(_ context.Context, p api.Permission) (Reply, error) {
		if slices.Contains(kinds, p.ToolCall.Kind) {
			return Once, nil
		}
		return Reject, nil
	}
}

// OnPermission registers the handler that replies to the permission requests of
// the session while [Session.Prompt] or [Session.Stream] runs on this handle. It
// replaces the one before; nil removes it. It does no I/O and does not block;
// [Session.ServePermissions] is for requests of turns that others start.
//
// The handler is called in a goroutine of its own. A request that it fails to
// reply to is cancelled, and its error is that of the prompt.
func (s *Session) OnPermission(handler PermissionHandler) {
	if handler == nil {
		s.handler.Store(nil)
		return
	}
	s.handler.Store(&handler)
}

// ServePermissions replies to the permission requests of the session, those that
// wait and those to come, whichever client started the turn. It blocks until ctx
// ends, which is not an error, or the handler or the server fails. That another
// client replies first is not an error.
func (s *Session) ServePermissions(ctx context.Context, handler PermissionHandler) error {
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := startReplier(ctx, s, handler)
	r.failed = cancel
	err = r.serve(ctx, info.LastEvent)
	if failed := r.close(); failed != nil {
		return s.failed("reply to permission request of", failed)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// A replier has a handler reply to permission requests. A nil one does nothing.
type replier struct {
	s       *Session
	handler PermissionHandler
	failed  func(error) // may be nil; called with the first error of the handler

	ctx    context.Context
	cancel context.CancelFunc
	turn   chan struct{} // holds a token while the handler runs
	work   sync.WaitGroup

	mu   sync.Mutex
	open map[string]context.CancelFunc // requests that the handler has or will have, by id
	errs []error
}

// newReplier returns a replier with the handler of a session, nil if there is none.
func newReplier(ctx context.Context, s *Session) *replier {
	handler := s.handler.Load()
	if handler == nil {
		return nil
	}
	return startReplier(ctx, s, *handler)
}

func startReplier(ctx context.Context, s *Session, handler PermissionHandler) *replier {
	r := &replier{s: s, handler: handler, turn: make(chan struct{}, 1), open: make(map[string]context.CancelFunc)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// serve follows the events after the one numbered after.
func (r *replier) serve(ctx context.Context, after uint64) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	for e, err := range r.s.Events(ctx, after) {
		if err != nil {
			return err
		}
		switch {
		case e.Gap != nil || e.Method() == acp.MethodRequestPermission:
			if err := r.look(ctx); err != nil {
				return err
			}
		case e.Method() == api.EventPermissionResolved:
			var resolved api.PermissionResolved
			if e.Params(&resolved) == nil {
				r.resolved(resolved.PermissionID)
			}
		}
	}
	return nil
}

// look takes all requests that wait.
func (r *replier) look(ctx context.Context) error {
	list, err := r.s.Permissions(ctx)
	for _, p := range list {
		r.ask(p)
	}
	return err
}

// ask has the handler reply to a request, unless it has been asked.
func (r *replier) ask(p api.Permission) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[p.ID] != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	r.open[p.ID] = cancel
	r.work.Go(func() {
		defer cancel()
		select {
		case r.turn <- struct{}{}:
			defer func() { <-r.turn }()
		case <-ctx.Done():
			return
		}
		if err := r.reply(ctx, p); err != nil {
			r.mu.Lock()
			r.errs = append(r.errs, err)
			r.mu.Unlock()
			if r.failed != nil {
				r.failed(err)
			}
		}
	})
}

// reply asks the handler and sends what it says.
func (r *replier) reply(ctx context.Context, p api.Permission) error {
	if ctx.Err() != nil {
		return nil
	}
	reply, err := r.handler(ctx, p)
	if ctx.Err() != nil || err == nil && reply == "" {
		return nil
	}
	if err == nil {
		_, err = r.s.Reply(ctx, p.ID, reply)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrPermissionResolved) || errors.Is(err, api.CodeNotFound) {
		return nil
	}
	_, cancelErr := r.s.Reply(ctx, p.ID, Cancel)
	if errors.Is(cancelErr, ErrPermissionResolved) || ctx.Err() != nil {
		cancelErr = nil
	}
	return errors.Join(err, cancelErr)
}

// resolved ends the wait for a reply that is not needed any more.
func (r *replier) resolved(id string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.open[id]; cancel != nil {
		cancel()
	}
}

// close waits for the handler and returns its errors.
func (r *replier) close() error {
	if r == nil {
		return nil
	}
	r.cancel()
	r.work.Wait()
	return errors.Join(r.errs...)
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
