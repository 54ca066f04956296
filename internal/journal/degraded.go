package journal

import (
	"context"
	"maps"
)

// fail notes that the store does not work and returns a batch to the queue.
func (j *Journal) fail(batch []taken, err error) {
	if j.health.Load() == nil {
		j.opts.Logger.Error("journal cannot be stored, going on in memory", "error", err)
	}
	j.health.Store(storageError("store journal: %w", err))
	for _, t := range batch {
		t.s.mu.Lock()
		if !t.s.queued {
			t.s.queued = true
			j.putBack([]*stream{t.s})
		}
		t.s.mu.Unlock()
	}
}

func (j *Journal) recovered() {
	if j.health.Swap(nil) != nil {
		j.opts.Logger.Info("journal is stored again")
	}
}

// reserve notes the numbers that are about to be shown, so that a process that
// comes after this one does not use them again. commitMu is held.
func (j *Journal) reserve() {
	err := j.store.Reserve(maps.Clone(j.reserved))
	if err != nil && !j.unreserved {
		j.opts.Logger.Error("numbers of events cannot be reserved, and may be used again if the process ends now", "error", err)
	}
	j.unreserved = err != nil
}

// endReserve forgets what is reserved, once everything is on disk. commitMu is
// held.
func (j *Journal) endReserve() {
	if len(j.reserved) > 0 {
		clear(j.reserved)
		j.reserve()
	}
}

// publishUnsaved shows everything that is queued although it is not on disk.
func (j *Journal) publishUnsaved() {
	j.mu.Lock()
	queue := j.queue
	j.queue = nil
	j.mu.Unlock()
	for _, s := range queue {
		s.mu.Lock()
		s.queued = false
		if !s.deleted {
			j.failed[s] = struct{}{}
			j.reserved[s.name] = s.last
		}
		s.mu.Unlock()
	}
	if len(queue) > 0 {
		j.reserve()
	}
	for _, s := range queue {
		s.mu.Lock()
		if !s.deleted {
			j.showUnsaved(s, j.reserved[s.name])
		}
		s.mu.Unlock()
	}
	for j.unsaved > j.opts.DegradedBytes && j.dropOldest() {
	}
}

// showUnsaved shows the entries of a stream up to upto. Its mu is held.
func (j *Journal) showUnsaved(s *stream, upto uint64) {
	n := s.unpublished(upto)
	s.published = max(s.published, upto)
	s.unsaved += n
	j.unsaved += n
	j.release(n)
	s.changed.wake()
}

// dropOldest forgets the oldest entries that are shown but not on disk. It
// reports false if there are none.
func (j *Journal) dropOldest() bool {
	var oldest *stream
	var when int64
	for s := range j.failed {
		s.mu.Lock()
		if i := s.window.at(s.durable + 1); i < len(s.window.chunks) {
			t := s.window.chunks[i].behind(s.durable)[0].Time
			if oldest == nil || t < when {
				oldest, when = s, t
			}
		}
		s.mu.Unlock()
	}
	if oldest == nil {
		return false
	}
	s := oldest
	s.mu.Lock()
	defer s.mu.Unlock()
	j.reserved[s.name] = s.last
	j.reserve()
	j.showUnsaved(s, s.last)
	i := s.window.at(s.durable + 1)
	c := s.window.chunks[i]
	n := c.unsaved(s.durable)
	s.addLost(c.behind(s.durable)[0].Seq, c.last())
	s.unsaved -= n
	j.unsaved -= n
	j.windowBytes.Add(-c.bytes)
	s.window.drop(i)
	return true
}

// requeueFailed prepares another attempt to write what the store refused. A
// transaction may have taken effect although it was reported as failed, so it
// asks the store what it has.
func (j *Journal) requeueFailed() error {
	for s := range j.failed {
		info, err := j.store.Stream(context.Background(), s.name)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if durable := min(info.Last, s.published); durable > s.durable {
			before := s.unsaved
			for i := s.window.at(s.durable + 1); i < len(s.window.chunks); i++ {
				for _, e := range s.window.chunks[i].behind(s.durable) {
					if e.Seq <= durable {
						s.unsaved -= cost(e)
					}
				}
			}
			j.unsaved -= before - s.unsaved
			s.durable = durable
			s.changed.wake()
		}
		delete(j.failed, s)
		if !s.queued {
			s.queued = true
			j.putBack([]*stream{s})
		}
		s.mu.Unlock()
	}
	return nil
}
