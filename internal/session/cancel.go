package session

import (
	"context"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func (m *Manager) sendCancel(l *link, sid string) {
	frame, err := acp.RequestFrame(nil, acp.MethodSessionCancel, acp.SessionRequest{SessionID: sid})
	if err != nil {
		m.log.Error("encode cancel", "error", err)
		return
	}
	m.send(l, frame)
}

// Cancel ends the turn under way and the queued ones: what the agent asks is
// answered with cancelled, and an agent of ours that has not ended the turn
// within the cancel timeout is stopped, after which the next prompt restores
// the session. It returns when that has happened, which a context that ends
// does not prevent.
func (m *Manager) Cancel(ctx context.Context, id string) (*api.SessionCancelResult, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	type outcome struct {
		result *api.SessionCancelResult
		err    error
	}
	done := make(chan outcome, 1)
	if !m.spawn(func() {
		result, err := s.cancel(m.ctx)
		done <- outcome{result, err}
	}) {
		return nil, shuttingDown()
	}
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// StartCancel is [Manager.Cancel] for callers that do not wait until it has happened.
func (m *Manager) StartCancel(id string) {
	s := m.lookup(id)
	if s == nil {
		return
	}
	m.spawn(func() {
		if _, err := s.cancel(m.ctx); err != nil {
			m.log.Debug("cancel", "session", s.id, "error", err)
		}
	})
}

func (s *session) cancel(ctx context.Context) (*api.SessionCancelResult, error) {
	s.mu.Lock()
	queued := s.queue
	s.queue = nil
	t, l, sid, running, owned := s.turn, s.link, s.rec.AgentSessionID, s.running, s.owned()
	if t != nil {
		t.cancelled = true
	}
	void := s.takePending()
	s.mu.Unlock()
	for _, q := range queued {
		q.abandon()
	}
	result := &api.SessionCancelResult{Cancelled: len(queued)}
	for _, p := range void {
		s.resolve(p, acp.Cancelled(), api.PermissionResolved{Reply: api.ReplyCancel, By: api.ByCancel})
	}
	if t == nil && running == 0 {
		return result, nil
	}
	result.Cancelled++
	if t != nil {
		t.cancel()
	}
	if l != nil {
		s.m.sendCancel(l, sid)
	}
	limit, stop := context.WithTimeout(ctx, s.m.cfg.Limits.CancelTimeout)
	defer stop()
	if s.awaitEnd(limit, t) == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		return nil, shuttingDown()
	}
	if !owned && (t == nil || l == nil || l.id != s.server()) {
		e := api.NewError(api.KindTimeout, api.CodeCancelTimeout, "timeout: the agent did not end the turn within cancelTimeoutMs (%d), and belongs to an ACP client", s.m.cfg.Limits.CancelTimeout.Milliseconds())
		return nil, e
	}
	result.Forced = true
	if err := s.halt(ctx, "the agent did not obey cancel"); err != nil {
		return nil, err
	}
	return result, s.awaitEnd(ctx, t)
}

// awaitEnd waits for a turn, or without one until no prompt runs.
func (s *session) awaitEnd(ctx context.Context, t *turn) error {
	if t == nil {
		return s.awaitQuiet(ctx)
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abandon ends a turn that never began.
func (t *turn) abandon() {
	t.cancel()
	<-t.recorded
	t.result = api.SessionTurn{Turn: t.id, StopReason: acp.StopCancelled}
	t.endEvent(api.EventPromptDropped, nil)
	close(t.done)
}
