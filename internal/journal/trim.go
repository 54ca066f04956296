package journal

import (
	"context"
	"fmt"
	"time"
)

// vacuumBytes is how much has to be dropped until room is given back.
const vacuumBytes = 4 << 20

// Trim drops what the retention does not keep, joins small blocks, so that old
// streams are read fast, and gives room back once it is worth it. The caller
// repeats it now and then. While the store fails it does nothing.
func (j *Journal) Trim(ctx context.Context) error {
	j.cache.clear()
	if j.Health() != nil {
		return nil
	}
	j.removeDrafts(ctx)
	infos, err := j.store.Streams(ctx, "")
	if err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	if j.opts.Retention != (Retention{}) {
		if err := j.drop(ctx, infos); err != nil {
			return fmt.Errorf("trim journal: %w", err)
		}
	}
	for _, info := range infos {
		if err := j.merge(ctx, info); err != nil {
			return fmt.Errorf("trim journal: %w", err)
		}
	}
	if j.freed.Load() < vacuumBytes {
		return nil
	}
	j.freed.Store(0)
	if err := j.store.Vacuum(ctx); err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	return nil
}

// drop applies the retention to all streams.
func (j *Journal) drop(ctx context.Context, infos []StreamInfo) error {
	before := make(map[string]int64, len(infos))
	for _, info := range infos {
		before[info.Name] = info.Bytes
	}
	changed, err := j.store.Trim(ctx, j.opts.Retention, time.Now())
	for _, info := range changed {
		j.freed.Add(max(0, before[info.Name]-info.Bytes))
		j.streamsMu.RLock()
		s := j.streams[info.Name]
		j.streamsMu.RUnlock()
		if s != nil {
			s.mu.Lock()
			s.first = max(s.first, info.First)
			s.mu.Unlock()
		}
	}
	return err
}
