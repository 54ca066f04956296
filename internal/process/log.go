package process

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// chunkCost is what a chunk costs in memory beside its data.
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

// outputLog holds the last output of one process. Readers come with a cursor and
// take what they have not seen, at their own speed; nobody waits for them.
type outputLog struct {
	total *atomic.Int64 // bytes of all logs

	mu      sync.Mutex
	limit   int64
	chunks  []chunk
	first   uint64 // sequence of chunks[0]; the next one if there is none
	bytes   int64  // of data
	offset  uint64 // bytes that were ever appended
	ended   bool
	gone    bool          // nothing is kept any more
	changed chan struct{} // closed with the next change; nil if nobody waits
}

func newOutputLog(limit int64, total *atomic.Int64) *outputLog {
	return &outputLog{limit: limit, total: total, first: 1}
}

// append adds a piece of output and drops the oldest ones that are over the
// limit. The log owns data from then on.
func (l *outputLog) append(stream api.LogStream, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := chunk{stream: stream, time: time.Now().UnixMilli(), offset: l.offset, data: data}
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
	l.chunks = append(l.chunks, c)
	l.bytes += int64(len(c.data))
	l.total.Add(int64(len(c.data)) + chunkCost)
	l.trim()
	l.wake()
}

// maxChunks keeps a log of tiny pieces from costing much more than its data.
func (l *outputLog) maxChunks() int { return int(max(1024, l.limit/64)) }

func (l *outputLog) trim() {
	n := 0
	for bytes := l.bytes; n < len(l.chunks) && (bytes > l.limit || len(l.chunks)-n > l.maxChunks()); n++ {
		bytes -= int64(len(l.chunks[n].data))
	}
	l.drop(n)
}

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

// dropBytes forgets the oldest chunks, about so many bytes of them.
func (l *outputLog) dropBytes(want int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for ; n < len(l.chunks) && want > 0; n++ {
		want -= int64(len(l.chunks[n].data)) + chunkCost
	}
	l.drop(n)
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
	l.ended, l.gone = true, true
	l.wake()
}

func (l *outputLog) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// wait returns a channel that is closed with the next change. The caller holds
// l.mu and looked before.
func (l *outputLog) wait() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
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
		Data: c.data, Encoding: "base64", SkippedBytes: c.skipped,
	}
}
