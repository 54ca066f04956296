package journal

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/sandboxagent/sandboxagent/api"
)

// stream is the part of a stream that is in memory:
// first <= durable+1, durable <= published <= last.
type stream struct {
	name   string
	loadMu sync.Mutex
	loaded atomic.Bool
	disk   chan struct{} // of size 1, held while a reader reads the store

	mu        sync.Mutex
	window    window
	first     uint64 // the first entry that is kept
	durable   uint64 // the last entry on disk
	published uint64 // the last entry that readers may see
	last      uint64 // the last entry appended
	unsaved   int64  // bytes shown that are not on disk
	lost      []Gap  // dropped while the store failed, in order
	changed   broadcast
	queued    bool // in Journal.queue
	hurried   bool // while queued: the committer was woken for it
	ended     bool
	deleted   bool

	recent *list.Element // guarded by Journal.mu
}

// stream returns the stream of a name, which need not have any entries.
func (j *Journal) stream(ctx context.Context, name string) (*stream, error) {
	j.streamsMu.RLock()
	s := j.streams[name]
	j.streamsMu.RUnlock()
	if s == nil {
		j.streamsMu.Lock()
		if s = j.streams[name]; s == nil {
			s = &stream{name: name, disk: make(chan struct{}, 1)}
			j.streams[name] = s
		}
		j.streamsMu.Unlock()
	}
	if s.loaded.Load() {
		return s, nil
	}
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	if s.loaded.Load() {
		return s, nil
	}
	info, err := j.store.Stream(ctx, name)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, storageError("read bounds of %s: %w", name, err)
	}
	s.mu.Lock()
	s.first = max(info.First, 1)
	s.last, s.published, s.durable = info.Last, info.Last, info.Last
	s.mu.Unlock()
	s.loaded.Store(true)
	return s, nil
}

// storageError has the code storage_failed, or data_corrupt or data_locked if
// its cause says so.
func storageError(format string, args ...any) *api.Error {
	err := api.NewError(api.KindUnavailable, api.CodeStorageFailed, format, args...)
	for _, code := range []api.Code{api.CodeDataCorrupt, api.CodeDataLocked} {
		if errors.Is(err.Unwrap(), code) {
			err.Code = code
		}
	}
	return err
}

// unpublished returns the size of the entries that are not shown, up to upto.
func (s *stream) unpublished(upto uint64) int64 {
	var n int64
	for i := s.window.at(s.published + 1); i < len(s.window.chunks); i++ {
		for _, e := range s.window.chunks[i].behind(s.published) {
			if e.Seq > upto {
				return n
			}
			n += cost(e)
		}
	}
	return n
}

// lostAt returns the lost range that seq is part of.
func (s *stream) lostAt(seq uint64) (Gap, bool) {
	for _, g := range s.lost {
		if g.From <= seq && seq <= g.To {
			return g, true
		}
	}
	return Gap{}, false
}

func (s *stream) addLost(from, to uint64) {
	if n := len(s.lost); n > 0 && s.lost[n-1].To+1 == from {
		s.lost[n-1].To = to
		return
	}
	s.lost = append(s.lost, Gap{from, to})
}

// describe brings info up to what readers can see. It reports false if there
// is nothing.
func (s *stream) describe(info *StreamInfo) bool {
	if !s.loaded.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted || s.published == 0 {
		return false
	}
	info.First, info.Last = s.first, s.published
	if len(s.window.chunks) == 0 {
		return true
	}
	if info.Created == 0 {
		info.Created = s.window.chunks[0].entries[0].Time
	}
	for i := s.window.at(s.durable + 1); i < len(s.window.chunks); i++ {
		for _, e := range s.window.chunks[i].behind(s.durable) {
			if e.Seq <= s.published {
				info.Bytes += int64(len(e.Frame))
				info.Updated = e.Time
			}
		}
	}
	return true
}
