package process

import (
	"cmp"
	"context"
	"io"
	"math"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
)

// LogQuery selects a part of a log.
type LogQuery struct {
	Stream api.LogStream // empty means pty for a terminal and combined otherwise
	Since  uint64        // only what has a greater sequence
	Tail   *int          // only so many of the last ones
	Limit  int           // only so many of the first ones; 0 means all
}

// stream returns the stream that a query asks for.
func (p *process) stream(q LogQuery) (api.LogStream, error) {
	switch q.Stream {
	case api.LogStdout, api.LogStderr, api.LogCombined, api.LogPTY:
		return q.Stream, nil
	case "":
		if p.child.TTY() {
			return api.LogPTY, nil
		}
		return api.LogCombined, nil
	}
	return "", api.InvalidRequest(api.CodeInvalidQuery, "unknown stream %q, expected one of stdout, stderr, combined, pty", q.Stream)
}

// Logs returns what is kept of the output of a process. The data of the entries
// is shared and must not be changed.
func (s *Supervisor) Logs(id string, q LogQuery) (*api.ProcessLogs, error) {
	p, err := s.find(id)
	if err != nil {
		return nil, err
	}
	stream, err := p.stream(q)
	if err != nil {
		return nil, err
	}
	logs := &api.ProcessLogs{ProcessID: id, Stream: stream, Entries: []api.LogEntry{}}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	since := q.Since
	if q.Tail != nil {
		since = p.out.tailStart(since, stream, max(0, *q.Tail))
	}
	chunks, seq, gap := p.out.after(since)
	logs.Gap = gap
	for i := range chunks {
		if !matches(stream, chunks[i].stream) {
			continue
		}
		if q.Limit > 0 && len(logs.Entries) == q.Limit {
			logs.More = true
			break
		}
		logs.Entries = append(logs.Entries, entryOf(seq+uint64(i), &chunks[i]))
	}
	p.out.advance(nil, p.out.next())
	return logs, nil
}

// Follower reads the log of a process from a cursor on. It misses nothing that
// is kept when it starts and nothing that comes: where more would be dropped
// than it has taken, the process waits in its writes. But one that takes nothing
// for [Limits.FollowStall] is not waited for, and then finds a gap. It is not
// safe for concurrent use.
type Follower struct {
	out      *outputLog
	attached *attachment
	stream   api.LogStream
	cursor   uint64
	entries  []api.LogEntry
	pace     pace
}

// LogBatch is what a [Follower] found: an optional gap, and entries after it.
type LogBatch struct {
	Gap     *api.LogGap
	Entries []api.LogEntry // valid until the next call; their data for ever
}

// Follow returns a reader of what a log holds and of what comes.
func (s *Supervisor) Follow(id string, q LogQuery) (*Follower, error) {
	p, err := s.find(id)
	if err != nil {
		return nil, err
	}
	stream, err := p.stream(q)
	if err != nil {
		return nil, err
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	since := q.Since
	if q.Tail != nil {
		since = p.out.tailStart(since, stream, max(0, *q.Tail))
	}
	return p.out.follow(stream, since), nil
}

// follow returns a follower of what has a greater sequence than since. The caller
// holds l.mu.
func (l *outputLog) follow(stream api.LogStream, since uint64) *Follower {
	since = min(since, math.MaxInt64)
	l.seen = max(l.seen, min(since, l.next()-1))
	return &Follower{out: l, attached: l.attach(since + 1), stream: stream, cursor: since}
}

// Close ends the follower: no output waits for it any more. After [io.EOF] it
// does nothing.
func (f *Follower) Close() { f.out.detach(f.attached) }

// batchEntries and batchBytes bound one batch of a follower.
const (
	batchEntries = 256
	batchBytes   = 1 << 20
)

// Next waits for something new. It returns [io.EOF] after the last of it, once
// the process has ended.
func (f *Follower) Next(ctx context.Context) (LogBatch, error) {
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	f.out.gather(&f.pace, func() int64 { return f.out.pending(f.cursor + 1) })
	for {
		batch, more := f.take()
		if batch.Gap != nil || len(batch.Entries) > 0 {
			return batch, nil
		}
		if more { // of other streams only
			continue
		}
		if f.out.ended {
			f.out.detachLocked(f.attached)
			return LogBatch{}, io.EOF
		}
		if err := f.out.awaitChange(ctx); err != nil {
			return LogBatch{}, err
		}
	}
}

// take moves the cursor over the next chunks. The caller holds the log's mutex.
func (f *Follower) take() (batch LogBatch, more bool) {
	chunks, seq, gap := f.out.after(f.cursor)
	f.entries = f.entries[:0]
	size, n := 0, 0
	for ; n < len(chunks) && len(f.entries) < batchEntries && size < batchBytes; n++ {
		if matches(f.stream, chunks[n].stream) {
			f.entries = append(f.entries, entryOf(seq+uint64(n), &chunks[n]))
			size += len(chunks[n].data)
		}
	}
	if gap != nil || n > 0 {
		f.cursor = seq + uint64(n) - 1
		f.out.advance(f.attached, f.cursor+1)
	}
	f.pace.took(size)
	return LogBatch{Gap: gap, Entries: f.entries}, n < len(chunks)
}

// Sizes of the blocks that output is read into, and of one read.
const (
	minBlock = 4 << 10
	maxBlock = 256 << 10
	maxRead  = 64 << 10
)

// ownShare is what a log may hold even if the others leave no room for it, so
// that a process does not wait for readers of another one.
const ownShare = 256 << 10

// pump moves output into the log of p until its end. It reads into blocks that
// the log shares, so nothing is copied.
func (s *Supervisor) pump(p *process, r io.Reader, stream api.LogStream) {
	block := make([]byte, 0, minBlock)
	for {
		limit := s.settings.Load().MaxLogBytesPerProcess
		if cap(block)-len(block) < min(cap(block)/2, maxRead/4) {
			block = make([]byte, 0, min(2*int64(cap(block)), maxBlock, max(minBlock, limit/4)))
		}
		n, err := r.Read(block[len(block):min(cap(block), len(block)+int(min(maxRead, limit)))])
		if n > 0 {
			p.out.append(stream, block[len(block):len(block)+n])
			block = block[:len(block)+n]
			for !s.shrink() && p.out.size() > ownShare && p.out.pause() {
			}
		}
		if err != nil {
			if err != io.EOF {
				s.log.Warn("read output", "id", p.id, "stream", stream, "error", err)
			}
			return
		}
	}
}

// shrink drops old output while all logs together are too large: of the
// processes that ended first, and then of the one with the most that readers do
// not hold. It reports whether the logs are within their bound.
func (s *Supervisor) shrink() bool {
	over := s.logBytes.Load() - s.limits.MaxTotalLogBytes
	if over <= 0 {
		return true
	}
	over += s.limits.MaxTotalLogBytes / 16 // so that this is rare
	s.mu.Lock()
	finished := slices.Clone(s.finished)
	s.mu.Unlock()
	for _, p := range finished {
		if over > 0 {
			over -= p.out.dropBytes(over)
		}
	}
	all := s.all()
	slices.SortFunc(all, func(a, b *process) int { return cmp.Compare(b.out.size(), a.out.size()) })
	for _, p := range all {
		if over <= 0 {
			break
		}
		over -= p.out.dropBytes(min(over, p.out.size()/2))
	}
	return s.logBytes.Load() <= s.limits.MaxTotalLogBytes
}
