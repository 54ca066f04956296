package journal

import "slices"

const (
	maxChunkEntries = 256
	maxChunkBytes   = 256 << 10

	// entryCost is what an entry takes in memory besides its frame.
	entryCost = 64
)

// chunk is a run of consecutive entries. Its array never moves, so readers hold
// parts of it while the stream appends behind them.
type chunk struct {
	entries []Entry
	bytes   int64
}

func (c *chunk) first() uint64 { return c.entries[0].Seq }
func (c *chunk) last() uint64  { return c.entries[len(c.entries)-1].Seq }

// unsaved returns the size of the entries behind durable.
func (c *chunk) unsaved(durable uint64) int64 {
	var n int64
	for _, e := range c.behind(durable) {
		n += cost(e)
	}
	return n
}

// behind returns the entries with numbers over after.
func (c *chunk) behind(after uint64) []Entry {
	switch first := c.first(); {
	case after < first:
		return c.entries
	case after >= c.last():
		return nil
	default:
		return c.entries[after-first+1:]
	}
}

func cost(e Entry) int64 { return int64(len(e.Frame)) + entryCost }

// window is the end of a stream in memory: all entries that are not on disk,
// and as many of the others as there is room for.
type window struct {
	chunks []*chunk
	bytes  int64
}

func (w *window) append(e Entry) {
	var c *chunk
	if n := len(w.chunks); n > 0 {
		c = w.chunks[n-1]
	}
	if c == nil || len(c.entries) == cap(c.entries) || c.bytes >= maxChunkBytes {
		// A stream of few entries, as most are, should not cost a full chunk.
		size := maxChunkEntries >> (4 - 2*min(len(w.chunks), 2))
		c = &chunk{entries: make([]Entry, 0, size)}
		w.chunks = append(w.chunks, c)
	}
	c.entries = append(c.entries, e)
	c.bytes += cost(e)
	w.bytes += cost(e)
}

// at returns the index of the first chunk that ends at seq or later.
func (w *window) at(seq uint64) int {
	n := len(w.chunks)
	// Readers near the head are the common case.
	if n > 0 && w.chunks[n-1].first() <= seq {
		if w.chunks[n-1].last() >= seq {
			return n - 1
		}
		return n
	}
	i, _ := slices.BinarySearchFunc(w.chunks, seq, func(c *chunk, seq uint64) int {
		if c.last() < seq {
			return -1
		}
		return 1
	})
	return i
}

// read returns the entries of one chunk from seq up to limit. If seq is not
// here it returns none, and the next number up to limit that is, or limit+1.
func (w *window) read(seq, limit uint64) ([]Entry, uint64) {
	i := w.at(seq)
	if i == len(w.chunks) || w.chunks[i].first() > limit {
		return nil, limit + 1
	}
	c := w.chunks[i]
	if c.first() > seq {
		return nil, c.first()
	}
	from, to := seq-c.first(), min(limit, c.last())-c.first()+1
	return c.entries[from:to:to], seq
}

// drop removes a chunk.
func (w *window) drop(i int) {
	w.bytes -= w.chunks[i].bytes
	w.chunks = slices.Delete(w.chunks, i, i+1)
}

// shrink removes the oldest chunks that are wholly on disk until at most keep
// bytes are left, and returns how many bytes it freed.
func (w *window) shrink(keep int64, durable uint64) int64 {
	before, n := w.bytes, 0
	for n < len(w.chunks) && w.bytes > keep && w.chunks[n].last() <= durable {
		w.bytes -= w.chunks[n].bytes
		n++
	}
	if n > 0 {
		w.chunks = slices.Delete(w.chunks, 0, n)
	}
	return before - w.bytes
}
