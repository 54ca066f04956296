package journal

import (
	"context"
	"fmt"
	"time"
)

// Blocks are joined until they hold this much, because a read costs mostly by
// the block. The span of time is bounded so that a retention by age stays true.
const (
	mergeEntries = 256
	mergeBytes   = 64 << 10
	mergeSpan    = time.Hour
)

var mergeLimit = Limit{Entries: 4 * mergeEntries, Bytes: 4 * mergeBytes}

// merge joins the small blocks of a stream, which come of frames that were
// written one at a time.
func (j *Journal) merge(ctx context.Context, s StreamInfo) error {
	for at := s.Merged; s.Last-at >= mergeEntries; {
		upto, err := j.mergeSome(ctx, s.Name, at)
		if err != nil {
			return fmt.Errorf("merge blocks of %s: %w", s.Name, err)
		}
		if upto == at {
			return nil
		}
		at = upto
	}
	return nil
}

// mergeSome joins blocks behind after and returns up to where it is done.
func (j *Journal) mergeSome(ctx context.Context, stream string, after uint64) (upto uint64, err error) {
	// A stream that is deleted in between and written again must not get blocks
	// of the old one.
	j.maintain.Lock()
	defer j.maintain.Unlock()
	blocks, err := j.store.Read(ctx, stream, after, mergeLimit)
	if err != nil {
		return after, err
	}
	upto, noted := after, after
	for len(blocks) > 0 {
		n, complete := joinable(blocks)
		if !complete {
			break
		}
		if joined, ok := join(blocks[:n]); ok {
			if err := j.store.Replace(ctx, joined); err != nil {
				return after, err
			}
			noted = joined.Last
		}
		upto, blocks = blocks[n-1].Last, blocks[n:]
	}
	if noted < upto {
		err = j.store.Replace(ctx, Block{Stream: stream, Last: upto})
	}
	return upto, err
}

// joinable returns how many of the first blocks make one, and whether nothing
// that is still to come can be joined to them.
func joinable(blocks []Block) (n int, complete bool) {
	size, oldest := 0, blocks[0].Oldest
	for i, b := range blocks {
		switch {
		case i > 0 && (b.First != blocks[i-1].Last+1 || b.Newest-oldest > mergeSpan.Milliseconds()),
			i > 0 && size+len(b.Data) > mergeBytes:
			return i, true
		}
		size += len(b.Data)
		oldest = min(oldest, b.Oldest)
		if b.Last-blocks[0].First+1 >= mergeEntries || size >= mergeBytes {
			return i + 1, true
		}
	}
	return len(blocks), false
}

// Join returns blocks of one stream, in order, with small ones that follow each
// other made one, as [Journal.Trim] does with those that are stored.
func Join(blocks []Block) []Block {
	var joined []Block
	for len(blocks) > 0 {
		n, _ := joinable(blocks)
		if b, ok := join(blocks[:n]); ok {
			joined = append(joined, b)
		} else {
			joined = append(joined, blocks[:n]...)
		}
		blocks = blocks[n:]
	}
	return joined
}

// join returns blocks that follow each other as one. It reports false if there
// is nothing to join, and leaves what is damaged for readers to come upon.
func join(blocks []Block) (Block, bool) {
	var entries []Entry
	var err error
	joined := blocks[0]
	for _, b := range blocks {
		if entries, err = b.decode(entries); err != nil {
			return Block{}, false
		}
		joined.Last = b.Last
		joined.Oldest, joined.Newest = min(joined.Oldest, b.Oldest), max(joined.Newest, b.Newest)
	}
	joined.Data = EncodeBlock(nil, entries)
	return joined, len(blocks) > 1
}
