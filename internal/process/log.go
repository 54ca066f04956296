package process

import (
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// chunkCost is what a chunk costs in memory besides its data.
const chunkCost = 80

// chunk is one piece of output. Its data is never changed, so that readers may
// keep it.
type chunk struct {
	stream  api.LogStream
	time    int64  // unix milliseconds
	offset  uint64 // of its first kept byte among all bytes of the log
	skipped int64  // bytes before that were not kept
	data    []byte
}

func (c *chunk) end() uint64 { return c.offset + uint64(len(c.data)) }

// maxJoined bounds the pieces that are joined to one chunk.
const maxJoined = 64 << 10

// outputLog holds the last output of one process. Readers come with a cursor and
// take what they have not seen, at their own speed. Output waits for those that
// are attached, within the stall time, and never for others.
type outputLog struct {
	total *atomic.Int64 // bytes of all logs
	stall time.Duration // see Limits.FollowStall

	mu      sync.Mutex
	limit   int64
	chunks  []chunk
	first   uint64 // sequence of chunks[0]; the next one if there is none
	bytes   int64  // of data
	offset  uint64 // bytes that were ever appended
	ended   bool
	gone    bool          // nothing is kept any more
	changed chan struct{} // closed with the next change; nil if nobody waits
	seen    uint64        // highest sequence that a reader has got

	readers  []*attachment
	expected []*attachment // of readers, those that stand for ones to come
	freed    chan struct{} // closed when readers have moved; nil if no output waits
	delayed  bool          // output has waited
	released bool          // output waits no more
}

func newOutputLog(limit int64, total *atomic.Int64, stall time.Duration) *outputLog {
	return &outputLog{limit: limit, total: total, stall: stall, first: 1}
}

// append adds a piece of output and drops the oldest ones that are over the
// limit, if need be once the attached readers have taken them. The log owns data
// from then on, and so does it of the rest of its capacity: a piece that was read
// right behind the one before may become one chunk with it.
func (l *outputLog) append(stream api.LogStream, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awaitRoom(int64(len(data)))
	now := time.Now()
	c := chunk{stream: stream, time: now.UnixMilli(), offset: l.offset, data: data}
	l.offset += uint64(len(data))
	if over := int64(len(data)) - l.limit; over > 0 {
		c.skipped = over
		c.offset += uint64(over)
		c.data = slices.Clone(data[over:])
	}
	if l.gone {
		l.first++
		return
	}
	if !l.join(&c) {
		for _, a := range l.readers {
			if a.next >= l.next() {
				a.active = now
			}
		}
		l.chunks = append(l.chunks, c)
		l.total.Add(chunkCost)
	}
	l.bytes += int64(len(c.data))
	l.total.Add(int64(len(c.data)))
	l.trim()
	l.wake()
}

// next is the sequence of the next chunk.
func (l *outputLog) next() uint64 { return l.first + uint64(len(l.chunks)) }

// join makes a piece a part of the last chunk, if it lies right behind it in
// memory, came in the same millisecond, and nobody was given that chunk yet.
func (l *outputLog) join(c *chunk) bool {
	if len(l.chunks) == 0 || l.next()-1 <= l.seen {
		return false
	}
	last := &l.chunks[len(l.chunks)-1]
	n := len(last.data)
	if last.stream != c.stream || last.time != c.time || n+len(c.data) > maxJoined ||
		len(c.data) == 0 || cap(last.data) < n+len(c.data) || &last.data[:n+1][n] != &c.data[0] {
		return false
	}
	last.data = last.data[:n+len(c.data)]
	return true
}

// maxChunks keeps a log of tiny pieces from costing much more than its data.
func (l *outputLog) maxChunks() int { return int(max(1024, l.limit/64)) }

// surplus returns how many of the oldest chunks are over the limit once so many
// bytes in so many chunks were added.
func (l *outputLog) surplus(bytes int64, chunks int) int {
	n := 0
	for bytes += l.bytes; n < len(l.chunks) && (bytes > l.limit || len(l.chunks)-n+chunks > l.maxChunks()); n++ {
		bytes -= int64(len(l.chunks[n].data))
	}
	return n
}

// trim drops what is over the limit, except for what readers are about to take.
func (l *outputLog) trim() { l.drop(l.loose(l.surplus(0, 0))) }

// drop forgets the n oldest chunks.
func (l *outputLog) drop(n int) {
	if n == 0 {
		return
	}
	var bytes int64
	for i := range l.chunks[:n] {
		bytes += int64(len(l.chunks[i].data))
	}
	clear(l.chunks[:n]) // lets the data go; append moves the rest in time
	l.chunks = l.chunks[n:]
	l.first += uint64(n)
	l.bytes -= bytes
	l.total.Add(-bytes - int64(n)*chunkCost)
}

// dropBytes forgets the oldest chunks, about so many bytes of them, except for
// what readers are about to take. It returns how much that was.
func (l *outputLog) dropBytes(want int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, int64(0)
	for loose := l.loose(len(l.chunks)); n < loose && size < want; n++ {
		size += int64(len(l.chunks[n].data)) + chunkCost
	}
	l.drop(n)
	return size
}

func (l *outputLog) setLimit(limit int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = limit
	l.trim()
}

// size is what the log costs.
func (l *outputLog) size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes + int64(len(l.chunks))*chunkCost
}

// end says that no reader is to wait for more.
func (l *outputLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
}

// discard ends the log and forgets everything.
func (l *outputLog) discard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(len(l.chunks))
	l.chunks = nil
	l.ended, l.gone, l.released = true, true, true
	l.makeRoom()
	l.wake()
}

func (l *outputLog) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// awaitChange waits for the next change. The caller holds l.mu, which is free
// meanwhile.
func (l *outputLog) awaitChange(ctx context.Context) error {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// matches reports whether a chunk belongs to the stream that was asked for.
func matches(asked, stream api.LogStream) bool {
	return asked == api.LogCombined || asked == stream
}

// after returns the chunks with a sequence greater than seq, and what is missing
// between the two. The caller holds l.mu and does not keep the slice.
func (l *outputLog) after(seq uint64) (chunks []chunk, first uint64, gap *api.LogGap) {
	if seq+1 < l.first {
		gap = &api.LogGap{From: seq + 1, To: l.first - 1}
		seq = l.first - 1
	}
	i := min(seq+1-l.first, uint64(len(l.chunks)))
	return l.chunks[i:], l.first + i, gap
}

// tailStart returns the cursor before the last n chunks of a stream after seq.
// The caller holds l.mu.
func (l *outputLog) tailStart(seq uint64, stream api.LogStream, n int) uint64 {
	chunks, first, _ := l.after(seq)
	i := len(chunks)
	for i > 0 && n > 0 {
		i--
		if matches(stream, chunks[i].stream) {
			n--
		}
	}
	return first + uint64(i) - 1
}

// at returns the chunks that hold the byte at offset and what follows. The
// caller holds l.mu.
func (l *outputLog) at(offset uint64) []chunk {
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].end() > offset })
	return l.chunks[i:]
}

// entryOf returns what clients see of a chunk.
func entryOf(seq uint64, c *chunk) api.LogEntry {
	return api.LogEntry{
		Sequence: seq, Stream: c.stream, TimestampMs: c.time,
		Data: c.data[:len(c.data):len(c.data)], Encoding: "base64", SkippedBytes: c.skipped,
	}
}
