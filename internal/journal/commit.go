package journal

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxCommitBytes bounds a transaction, so that what comes behind a large one
// does not wait for long.
const maxCommitBytes = 4 << 20

// taken is what a transaction writes of one stream.
type taken struct {
	s    *stream
	runs [][]Entry
	upto uint64
}

// run is the committer. It ends when the journal closes, after a last attempt
// to write everything.
func (j *Journal) run() {
	defer close(j.done)
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	pause := backoff.ExponentialBackOff{InitialInterval: j.opts.RetryDelay, Multiplier: 2, MaxInterval: 16 * j.opts.RetryDelay}
	armed := false
	for closing := false; !closing; {
		due := false
		select {
		case <-j.committer.c:
		case <-retry.C:
			due = true
		case <-j.closing:
			closing, due = true, true
		}
		switch {
		case j.commitAll(due):
			pause.Reset()
			armed = false
		case due || !armed:
			retry.Reset(pause.NextBackOff())
			armed = true
		}
	}
}

// Hold says that the caller is about to append some entries and calls Release
// after the last one, soon and without waiting for anything in between. Readers
// and those who Wait are not held up, they only may have to wake the committer.
func (j *Journal) Hold() { j.committer.hold() }

// Release ends a Hold: what was appended is written now, by the caller. That
// saves waking the committer and being woken by it, which costs more than the
// writing does if there is little to write. If another goroutine is writing, or the
// store fails, Release leaves it to the committer.
func (j *Journal) Release() {
	if !j.committer.release() {
		return
	}
	if j.commitMu.TryLock() {
		well := j.commitLocked(false)
		j.commitMu.Unlock()
		if well {
			return
		}
	}
	j.committer.wake()
}

// commitAll writes everything that is queued and reports whether the store is
// well. A store that has failed is not tried unless due is set: what is queued
// is shown without.
func (j *Journal) commitAll(due bool) bool {
	j.commitMu.Lock()
	defer j.commitMu.Unlock()
	return j.commitLocked(due)
}

// commitLocked is commitAll for who holds commitMu.
func (j *Journal) commitLocked(due bool) bool {
	if j.Health() != nil {
		if !due {
			j.publishUnsaved()
			return false
		}
		if err := j.requeueFailed(); err != nil {
			j.publishUnsaved()
			return false
		}
	}
	for {
		batch := j.take()
		if len(batch) == 0 {
			if j.Health() != nil {
				return false
			}
			j.endReserve()
			return true
		}
		blocks := j.encode(batch)
		if err := j.store.AppendBlocks(context.Background(), blocks); err != nil {
			j.fail(batch, err)
			j.publishUnsaved()
			return false
		}
		j.grew(sizeOf(blocks))
		j.recovered()
		j.publish(batch)
		j.evict()
	}
}

// take removes a transaction's worth of entries from the queue.
func (j *Journal) take() []taken {
	j.mu.Lock()
	queue := j.queue
	j.queue = nil
	j.mu.Unlock()
	var batch []taken
	budget := int64(maxCommitBytes)
	for i, s := range queue {
		if budget <= 0 {
			j.putBack(queue[i:])
			break
		}
		s.mu.Lock()
		t, all := s.take(&budget)
		s.queued = !all
		s.mu.Unlock()
		if len(t.runs) > 0 {
			batch = append(batch, t)
		}
		if !all {
			j.putBack(queue[i:])
			break
		}
	}
	return batch
}

// putBack returns streams whose queued flag is set to the head of the queue.
func (j *Journal) putBack(queue []*stream) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(queue[:len(queue):len(queue)], j.queue...)
}

func (s *stream) take(budget *int64) (t taken, all bool) {
	t.s = s
	if s.deleted {
		return t, true
	}
	for i := s.window.at(s.durable + 1); i < len(s.window.chunks); i++ {
		if *budget <= 0 {
			return t, false
		}
		c := s.window.chunks[i]
		t.runs = append(t.runs, c.behind(s.durable))
		t.upto = c.last()
		*budget -= c.unsaved(s.durable)
	}
	return t, true
}

func (j *Journal) encode(batch []taken) []Block {
	// Blocks are parts of one buffer, which may move while it grows.
	type span struct{ from, to int }
	var spans []span
	var blocks []Block
	buf := j.encoded[:0]
	for _, t := range batch {
		for _, run := range t.runs {
			b := Block{Stream: t.s.name, First: run[0].Seq, Last: run[len(run)-1].Seq, Oldest: run[0].Time, Newest: run[0].Time}
			for i := range run {
				b.Oldest, b.Newest = min(b.Oldest, run[i].Time), max(b.Newest, run[i].Time)
			}
			from := len(buf)
			buf = EncodeBlock(buf, run)
			spans = append(spans, span{from, len(buf)})
			blocks = append(blocks, b)
		}
	}
	for i, s := range spans {
		blocks[i].Data = buf[s.from:s.to:s.to]
	}
	j.encoded = nil
	if cap(buf) <= maxChunkBytes {
		j.encoded = buf
	}
	return blocks
}

// sizeOf returns what blocks take, and how many entries they have.
func sizeOf(blocks []Block) (bytes, entries int64) {
	for i := range blocks {
		bytes += int64(len(blocks[i].Data))
		entries += int64(blocks[i].Last - blocks[i].First + 1)
	}
	return bytes, entries
}

// publish shows what has been written.
func (j *Journal) publish(batch []taken) {
	var shown int64
	for _, t := range batch {
		s := t.s
		s.mu.Lock()
		if s.unsaved > 0 {
			before := s.unsaved
			for _, run := range t.runs {
				for _, e := range run {
					if e.Seq <= s.published {
						s.unsaved -= cost(e)
					}
				}
			}
			j.unsaved -= before - s.unsaved
		}
		shown += s.unpublished(t.upto)
		s.durable = t.upto
		s.published = max(s.published, t.upto)
		j.windowBytes.Add(-s.window.shrink(j.opts.WindowBytes, s.durable))
		s.changed.wake()
		s.mu.Unlock()
	}
	j.release(shown)
}

// evict releases the windows of the streams that nothing was appended to for
// the longest time, when there are too many.
func (j *Journal) evict() {
	if j.windowBytes.Load() <= j.opts.TotalWindowBytes {
		return
	}
	j.mu.Lock()
	candidates := make([]*stream, 0, j.recent.Len())
	for e := j.recent.Front(); e != nil; e = e.Next() {
		candidates = append(candidates, e.Value.(*stream))
	}
	j.mu.Unlock()
	for _, s := range candidates {
		if j.windowBytes.Load() <= j.opts.TotalWindowBytes {
			return
		}
		s.mu.Lock()
		j.windowBytes.Add(-s.window.shrink(0, s.durable))
		if len(s.window.chunks) == 0 {
			j.mu.Lock()
			if s.recent != nil {
				j.recent.Remove(s.recent)
				s.recent = nil
			}
			j.mu.Unlock()
		}
		s.mu.Unlock()
	}
}
