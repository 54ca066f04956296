package journal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// vacuumBytes is how much the enforcer has to drop until it gives room back.
const vacuumBytes = 4 << 20

// BeforeDrop has do called whenever the retention is about to be applied, before it is
// decided what goes: for those who keep what they have made of the entries, and are to
// write that first.
func (j *Journal) BeforeDrop(do func()) { j.beforeDrop.Store(&do) }

func (j *Journal) announceDrop() {
	if do := j.beforeDrop.Load(); do != nil {
		(*do)()
	}
}

// Trim drops what the retention does not keep, joins small blocks, so that old
// streams are read fast, and gives room back. The caller repeats it now and then;
// limits of size the journal keeps by itself. While the store fails it does nothing.
func (j *Journal) Trim(ctx context.Context) error {
	j.cache.clear()
	if j.Health() != nil {
		return nil
	}
	j.removeDrafts(ctx)
	j.announceDrop()
	infos, err := j.store.Streams(ctx, "")
	if err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	j.dropping.Lock()
	err = j.drop(ctx, infos)
	j.dropping.Unlock()
	if err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	for _, info := range infos {
		if err := j.merge(ctx, info); err != nil {
			return fmt.Errorf("trim journal: %w", err)
		}
	}
	j.freed.Store(0)
	if err := j.store.Vacuum(ctx); err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	return nil
}

// drop applies the retention to all streams.
func (j *Journal) drop(ctx context.Context, infos []StreamInfo) error {
	if j.opts.Retention != (Retention{}) {
		if err := j.dropOf(ctx, nil, j.opts.Retention, infos); err != nil {
			return err
		}
	}
	return j.dropTotals(ctx)
}

// dropTotals drops what is over the limits of all streams together, and of those in
// memory.
func (j *Journal) dropTotals(ctx context.Context) error {
	if limit := j.opts.Retention.TotalBytes; limit > 0 {
		if err := j.dropTotal(ctx, "", limit); err != nil {
			return err
		}
	}
	return j.dropTotal(ctx, MemoryPrefix, maxMemoryBytes)
}

// dropOf applies a retention to the streams in only, or to all if that is nil.
// infos are as they were before.
func (j *Journal) dropOf(ctx context.Context, only []string, keep Retention, infos []StreamInfo) error {
	before := make(map[string]int64, len(infos))
	for _, info := range infos {
		before[info.Name] = info.Bytes
	}
	changed, err := j.store.Trim(ctx, only, keep, time.Now())
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

// dropTotal drops what is over the limit of all streams together whose names begin
// with prefix.
func (j *Journal) dropTotal(ctx context.Context, prefix string, limit int64) error {
	infos, err := j.store.Streams(ctx, prefix)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, info := range infos {
		total += info.Bytes
	}
	slices.SortFunc(infos, func(a, b StreamInfo) int { return cmp.Compare(a.Updated, b.Updated) })
	for _, info := range infos {
		if total <= limit {
			break
		}
		// The last block of a stream stays, and with it a trace of what was there.
		keep := Retention{MaxBytes: max(1, info.Bytes-(total-limit))}
		freed := j.freed.Load()
		if err := j.dropOf(ctx, []string{info.Name}, keep, []StreamInfo{info}); err != nil {
			return err
		}
		total -= j.freed.Load() - freed
	}
	return nil
}

// enforcer drops what is over the limits of size soon after they are reached,
// until the journal closes.
func (j *Journal) enforcer() {
	defer close(j.enforced)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-j.closing
		cancel()
	}()
	for {
		select {
		case <-j.closing:
			return
		case <-j.over:
		}
		if err := j.enforce(ctx); err != nil && ctx.Err() == nil {
			j.opts.Logger.Warn("journal is over its limits, and cannot be cut", "error", err)
		}
	}
}

// grew notes that bytes and entries were written, and wakes the enforcer when that
// is an eighth of a limit. commitMu is held.
func (j *Journal) grew(bytes, entries int64) {
	j.grownBytes += bytes
	j.grownEntries += entries
	keep := j.opts.Retention
	reached := func(grown, limit int64) bool { return limit > 0 && grown >= max(limit/8, 1) }
	if reached(j.grownBytes, keep.MaxBytes) || reached(j.grownBytes, keep.TotalBytes) || reached(j.grownEntries, keep.MaxEntries) || reached(j.grownBytes, maxMemoryBytes) {
		j.grownBytes, j.grownEntries = 0, 0
		select {
		case j.over <- struct{}{}:
		default:
		}
	}
}

// enforce applies the limits of size.
func (j *Journal) enforce(ctx context.Context) error {
	if j.Health() != nil {
		return nil
	}
	j.dropping.Lock()
	defer j.dropping.Unlock()
	j.announceDrop()
	infos, err := j.store.Streams(ctx, "")
	if err != nil {
		return err
	}
	keep := j.opts.Retention
	keep.MaxAge = 0
	over := []string{}
	for _, info := range infos {
		if keep.MaxBytes > 0 && info.Bytes > keep.MaxBytes || keep.MaxEntries > 0 && int64(info.Last-info.First) >= keep.MaxEntries {
			over = append(over, info.Name)
		}
	}
	if len(over) > 0 {
		if err := j.dropOf(ctx, over, keep, infos); err != nil {
			return err
		}
	}
	if err := j.dropTotals(ctx); err != nil {
		return err
	}
	if j.freed.Load() < vacuumBytes {
		return nil
	}
	j.freed.Store(0)
	return j.store.Vacuum(ctx)
}
