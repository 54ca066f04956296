package process

import (
	"context"
	"io"

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
		if p.child.tty != nil {
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
	return logs, nil
}

// Follower reads the log of a process from a cursor on, as fast as its caller
// likes. It misses nothing that is kept, and says what is not. It needs no Close.
type Follower struct {
	out     *outputLog
	stream  api.LogStream
	cursor  uint64
	entries []api.LogEntry
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
	f := &Follower{out: p.out, stream: stream, cursor: q.Since}
	if q.Tail != nil {
		p.out.mu.Lock()
		f.cursor = p.out.tailStart(q.Since, stream, max(0, *q.Tail))
		p.out.mu.Unlock()
	}
	return f, nil
}

// batchEntries and batchBytes bound one batch of a follower.
const (
	batchEntries = 256
	batchBytes   = 1 << 20
)

// Next waits for something new. It returns [io.EOF] after the last of it, once
// the process has ended.
func (f *Follower) Next(ctx context.Context) (LogBatch, error) {
	for {
		f.out.mu.Lock()
		batch, more := f.take()
		if batch.Gap != nil || len(batch.Entries) > 0 {
			f.out.mu.Unlock()
			return batch, nil
		}
		if more { // of other streams only
			f.out.mu.Unlock()
			continue
		}
		if f.out.ended {
			f.out.mu.Unlock()
			return LogBatch{}, io.EOF
		}
		changed := f.out.wait()
		f.out.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return LogBatch{}, ctx.Err()
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
	}
	return LogBatch{Gap: gap, Entries: f.entries}, n < len(chunks)
}

// Sizes of the blocks that output is read into.
const (
	minBlock = 4 << 10
	maxBlock = 256 << 10
)

// pump moves output into the log of p until its end. It reads into blocks that
// the log shares, so nothing is copied.
func (s *Supervisor) pump(p *process, r io.Reader, stream api.LogStream) {
	block := make([]byte, 0, minBlock)
	for {
		if cap(block)-len(block) < min(cap(block)/2, readSize/4) {
			size := min(2*int64(cap(block)), maxBlock, max(minBlock, s.settings.Load().MaxLogBytesPerProcess/4))
			block = make([]byte, 0, size)
		}
		n, err := r.Read(block[len(block):min(cap(block), len(block)+readSize)])
		if n > 0 {
			end := len(block) + n
			p.out.append(stream, block[len(block):end:end])
			block = block[:end]
			s.shrink()
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
// processes that ended first, and then of the one with the most.
func (s *Supervisor) shrink() {
	over := s.logBytes.Load() - s.limits.MaxTotalLogBytes
	if over <= 0 {
		return
	}
	over += s.limits.MaxTotalLogBytes / 16 // so that this is rare
	s.mu.Lock()
	finished := make([]*process, len(s.finished))
	copy(finished, s.finished)
	s.mu.Unlock()
	for _, p := range finished {
		if size := p.out.size(); size > 0 && over > 0 {
			p.out.dropBytes(over)
			over -= size
		}
	}
	if over <= 0 {
		return
	}
	var largest *process
	var most int64
	for _, p := range s.all() {
		if size := p.out.size(); size > most {
			largest, most = p, size
		}
	}
	if largest != nil {
		largest.out.dropBytes(min(over, most/2))
	}
}
