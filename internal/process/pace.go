package process

import "time"

// A reader that keeps up with a flood would be woken for every few kilobytes of
// it. So one that has just got much, and now finds little, lets it gather for a
// moment; whatever comes after a silence, or in small pieces, goes out at once.
const (
	bulkBytes  = 2 << 10  // much
	gatherEnds = 32 << 10 // no longer little
	gatherTime = time.Millisecond
)

// pace is what a reader knows of its last result. The zero value is a reader
// that had none.
type pace struct {
	size int
	at   time.Time
}

// took notes the size of a result.
func (p *pace) took(size int) {
	p.size = size
	if size >= bulkBytes {
		p.at = time.Now()
	}
}

// gather waits for more to come if a reader does well to wait. Pending tells how
// much there is. The caller holds l.mu, which is free meanwhile.
func (l *outputLog) gather(p *pace, pending func() int64) {
	if p.size < bulkBytes || l.ended || pending() >= gatherEnds || time.Since(p.at) > 2*gatherTime {
		return
	}
	l.mu.Unlock()
	time.Sleep(gatherTime)
	l.mu.Lock()
}

// pending returns how many bytes the chunks from a sequence on have.
func (l *outputLog) pending(seq uint64) (size int64) {
	chunks, _, _ := l.after(seq - 1)
	for i := range chunks {
		if size += int64(len(chunks[i].data)); size >= gatherEnds {
			break
		}
	}
	return size
}
