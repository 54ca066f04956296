package journal

import (
	"context"
	"io"
	"math"
)

// readLimit bounds what is read of the store at once.
var readLimit = Limit{Entries: 1024, Bytes: 256 << 10}

// Reader follows a stream. It is not safe for concurrent use, and needs no
// closing.
type Reader struct {
	j     *Journal
	name  string
	s     *stream
	after uint64
}

// Batch is what a reader gets at once: a reset, a gap, or entries that follow each
// other. They are shared and must not be changed. A gap is what retention has
// dropped, what was lost while the store failed, or what is damaged.
type Batch struct {
	Reset   *Reset
	Gap     *Gap
	Entries []Entry
}

// Reset takes a reader back whose cursor is ahead of the stream: the events up to
// there were lost, or are those of another stream that had this name before. What
// follows is behind Last.
type Reset struct {
	Cursor uint64 // where the reader was
	Last   uint64 // where it is now
}

// Reader returns a reader of the entries of a stream behind after. The stream
// need not exist. If after lies behind its end the reader gets a [Reset] first.
func (j *Journal) Reader(stream string, after uint64) *Reader {
	return &Reader{j: j, name: stream, after: min(after, math.MaxInt64)}
}

// Cursor returns the number of the last entry that Next has given, or of the
// last one of a gap.
func (r *Reader) Cursor() uint64 { return r.after }

// Next waits until there are entries behind the cursor and returns the first
// ones, at most some hundred KiB unless a single frame is larger. Entries that
// are no longer kept come as one gap. The error is [io.EOF] once the stream has
// ended and all of it was read, or has been deleted; [ErrClosed]; of the
// context; or a problem of the code storage_failed, after which Next may be
// tried again.
func (r *Reader) Next(ctx context.Context) (Batch, error) {
	if r.s == nil {
		s, err := r.j.stream(ctx, r.name)
		if err != nil {
			return Batch{}, err
		}
		r.s = s
	}
	for {
		if err := ctx.Err(); err != nil {
			return Batch{}, err
		}
		p, err := r.poll()
		if err != nil {
			return Batch{}, err
		}
		if p.wake != nil {
			select {
			case <-p.wake:
			case <-ctx.Done():
				return Batch{}, ctx.Err()
			case <-r.j.done:
				return Batch{}, ErrClosed
			}
			continue
		}
		if p.diskTo != 0 {
			p.batch, err = r.j.readDisk(ctx, r.s, r.after+1, p.diskTo)
			if err != nil {
				return Batch{}, err
			}
		}
		switch b := p.batch; {
		case b.Reset != nil:
			r.after = b.Reset.Last
		case b.Gap != nil:
			r.after = b.Gap.To
		default:
			r.after = b.Entries[len(b.Entries)-1].Seq
		}
		return p.batch, nil
	}
}

// polled is one of: a batch, a number up to which the store has to be read,
// a channel to wait on.
type polled struct {
	batch  Batch
	diskTo uint64
	wake   <-chan struct{}
}

func (r *Reader) poll() (polled, error) {
	s, next := r.s, r.after+1
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.deleted:
		return polled{}, io.EOF
	case r.after > s.last:
		return polled{batch: Batch{Reset: &Reset{Cursor: r.after, Last: s.published}}}, nil
	case next < s.first:
		return polled{batch: Batch{Gap: &Gap{next, s.first - 1}}}, nil
	case next > s.published:
		if s.ended && s.published == s.last {
			return polled{}, io.EOF
		}
		return polled{wake: r.j.wait(s)}, nil
	}
	entries, found := s.window.read(next, s.published)
	if len(entries) > 0 {
		return polled{batch: Batch{Entries: entries}}, nil
	}
	if lost, ok := s.lostAt(next); ok {
		return polled{batch: Batch{Gap: &Gap{next, min(lost.To, found-1)}}}, nil
	}
	return polled{diskTo: found - 1}, nil
}

// readDisk returns entries from next up to last, or the gap that is there.
func (j *Journal) readDisk(ctx context.Context, s *stream, next, last uint64) (Batch, error) {
	if entries := j.cache.get(s, next, last); len(entries) > 0 {
		return Batch{Entries: entries}, nil
	}
	// Readers that are behind by the same amount wait for one of them to read.
	select {
	case s.disk <- struct{}{}:
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	}
	defer func() { <-s.disk }()
	if entries := j.cache.get(s, next, last); len(entries) > 0 {
		return Batch{Entries: entries}, nil
	}
	blocks, err := j.store.Read(ctx, s.name, next-1, readLimit)
	if ctx.Err() != nil {
		return Batch{}, ctx.Err()
	}
	if err != nil {
		return Batch{}, storageError("read %s: %w", s.name, err)
	}
	if len(blocks) == 0 {
		return Batch{Gap: &Gap{next, last}}, nil
	}
	if first := blocks[0].First; first > next {
		return Batch{Gap: &Gap{next, min(first-1, last)}}, nil
	}
	var entries []Entry
	for i, b := range blocks {
		if i > 0 && b.First != blocks[i-1].Last+1 {
			break
		}
		more, err := b.decode(entries)
		if err == nil {
			entries = more
			continue
		}
		if i > 0 {
			break
		}
		j.opts.Logger.Error("entries of the journal are damaged, readers get a gap",
			"stream", s.name, "from", b.First, "to", b.Last, "error", err)
		return Batch{Gap: &Gap{next, min(b.Last, last)}}, nil
	}
	j.cache.put(s, entries)
	return Batch{Entries: between(entries, next, last)}, nil
}

// between returns the entries with numbers from first to last.
func between(entries []Entry, first, last uint64) []Entry {
	base, end := entries[0].Seq, entries[len(entries)-1].Seq
	if first < base || first > end || last < first {
		return nil
	}
	to := min(last, end) - base + 1
	return entries[first-base : to : to]
}
