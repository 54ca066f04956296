package session

import (
	"context"
	"time"
)

// replayTimeout bounds the wait for an agent that tells its history after it has
// said that the session is loaded.
const replayTimeout = 10 * time.Second

// endReplay notes that what the agent says from now on is new. The caller holds
// mu.
func (s *session) endReplay() {
	s.replay = nil
	if s.late != nil {
		close(s.late)
		s.late = nil
	}
}

// toldLate is endReplay for a history that is told after the answer, if there is
// one.
func (s *session) toldLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late != nil {
		s.endReplay()
	}
}

// awaitReplay waits for the end of a history that is told after the answer, so
// that it is not taken for the answer to the next prompt.
func (s *session) awaitReplay(ctx context.Context) error {
	s.mu.Lock()
	late := s.late
	s.mu.Unlock()
	if late == nil {
		return nil
	}
	timeout := time.NewTimer(replayTimeout)
	defer timeout.Stop()
	select {
	case <-late:
	case <-timeout.C:
		s.m.log.Warn("agent does not say where its history ends", "session", s.id)
		s.toldLate()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
