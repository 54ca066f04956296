package process

import "time"

// attachment is a reader of a log that the output waits for: what it has not
// taken yet is not dropped as long as it makes progress. One that takes nothing
// for the stall time is no longer waited for, until it takes something again. The
// mutex of the log guards it.
type attachment struct {
	next   uint64    // sequence of the first chunk it has not wholly taken
	active time.Time // when it last took something, or first had something to take
}

// attach makes a reader one that output waits for. The caller holds l.mu.
func (l *outputLog) attach(next uint64) *attachment {
	a := &attachment{next: next, active: time.Now()}
	l.readers = append(l.readers, a)
	if n := len(l.expected); n > 0 {
		l.detachLocked(l.expected[n-1])
		l.expected = l.expected[:n-1]
	}
	return a
}

// expect makes output wait for n readers that are to come, each of which takes
// the place of one. Those that do not come hold nothing up after the stall time.
func (l *outputLog) expect(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		a := &attachment{next: 1, active: time.Now()}
		l.readers, l.expected = append(l.readers, a), append(l.expected, a)
	}
}

// detach is the end of a reader. A second time does nothing.
func (l *outputLog) detach(a *attachment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.detachLocked(a)
}

func (l *outputLog) detachLocked(a *attachment) {
	for i, other := range l.readers {
		if other == a {
			l.readers = append(l.readers[:i], l.readers[i+1:]...)
			l.makeRoom()
			return
		}
	}
}

// advance notes that a reader has taken the chunks before next. The caller holds
// l.mu.
func (l *outputLog) advance(a *attachment, next uint64) {
	l.seen = max(l.seen, next-1)
	if a == nil {
		return
	}
	a.next, a.active = next, time.Now()
	l.makeRoom()
}

// makeRoom drops what only a reader has kept, and wakes output that waits.
func (l *outputLog) makeRoom() {
	l.trim()
	if l.freed != nil {
		close(l.freed)
		l.freed = nil
	}
}

// held returns how long the n oldest chunks have to be kept if no reader moves; not
// positive means that they can go.
func (l *outputLog) held(n int) time.Duration {
	if n == 0 || len(l.readers) == 0 || l.released {
		return 0
	}
	var wait time.Duration
	now := time.Now()
	for _, a := range l.readers {
		if a.next < l.first+uint64(n) {
			wait = max(wait, l.stall-now.Sub(a.active))
		}
	}
	return wait
}

// loose returns how many of the n oldest chunks can go.
func (l *outputLog) loose(n int) int {
	if n == 0 || len(l.readers) == 0 || l.released {
		return n
	}
	now := time.Now()
	for _, a := range l.readers {
		if a.next < l.first+uint64(n) && now.Sub(a.active) < l.stall {
			n = int(max(a.next, l.first) - l.first)
		}
	}
	return n
}

// awaitRoom waits until size bytes more do not push out what a reader is about
// to take. The caller holds l.mu, which is free meanwhile.
func (l *outputLog) awaitRoom(size int64) {
	for {
		wait := l.held(l.surplus(size, 1))
		if wait <= 0 {
			return
		}
		l.await(wait)
	}
}

// await waits until readers made room, or for d. The caller holds l.mu, which is
// free meanwhile.
func (l *outputLog) await(d time.Duration) {
	if l.freed == nil {
		l.freed = make(chan struct{})
	}
	freed := l.freed
	l.delayed = true
	l.mu.Unlock()
	timer := time.NewTimer(d)
	select {
	case <-freed:
	case <-timer.C:
	}
	timer.Stop()
	l.mu.Lock()
	l.delayed = true
}

// pause waits a little for readers to make room in all logs together. It reports
// whether that can help.
func (l *outputLog) pause() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.await(pauseTime)
	}
	return !l.released
}

// pauseTime is short because the room may be made in another log.
const pauseTime = 10 * time.Millisecond

// release says that output is to wait for no reader any more.
func (l *outputLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	l.makeRoom()
}

// wasDelayed reports whether output had to wait for a reader since it was last
// asked, and how much was ever appended.
func (l *outputLog) wasDelayed() (delayed bool, offset uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delayed = l.delayed || l.freed != nil
	l.delayed = false
	return delayed, l.offset
}
