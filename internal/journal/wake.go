package journal

import (
	"sync/atomic"
	"time"
)

// waker wakes one goroutine, which receives from c and then looks at everything
// there is to do. A caller first leaves what is to be done where the goroutine finds
// it. No wake-up is lost: it waits in c until it is received, and those that come
// meanwhile are one with it. All methods are safe for concurrent use and never block.
type waker struct {
	c     chan struct{} // has room for one
	timed atomic.Bool   // wakeAfter will wake
	holds atomic.Int32
	left  atomic.Bool // wakeUnlessHeld may have left something to a release
}

func newWaker() *waker { return &waker{c: make(chan struct{}, 1)} }

// wake wakes the goroutine, whether or not there is a hold.
func (w *waker) wake() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// wakeAfter wakes the goroutine once delay has passed. While it is about to do so,
// more calls change nothing.
func (w *waker) wakeAfter(delay time.Duration) {
	if !w.timed.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(delay, func() {
		w.timed.Store(false) // before the wake-up: who comes after it needs another
		w.wake()
	})
}

// wakeUnlessHeld wakes the goroutine, or, where there is a hold, leaves it to the
// release of one.
func (w *waker) wakeUnlessHeld() {
	w.left.Store(true) // before the look at holds, as release does the reverse
	if !w.held() {
		w.wake()
	}
}

// held reports whether there is a hold.
func (w *waker) held() bool { return w.holds.Load() > 0 }

// hold starts a hold, which a release ends. There may be several at once.
func (w *waker) hold() { w.holds.Add(1) }

// release ends a hold. If it returns true, there may be something to do that the
// goroutine was not woken for, and the caller has to do it or to call wake. Only one
// of several releases is told, the first.
func (w *waker) release() bool {
	w.holds.Add(-1)
	return w.left.Swap(false)
}

// broadcast wakes all goroutines that wait for a change of a value. The lock of the
// value guards it: a goroutine that holds the lock from its look at the value until
// wait has returned misses no change. The zero value is ready for use.
type broadcast struct {
	c chan struct{} // nil while none waits
}

// wait returns a channel that is closed at the next wake.
func (b *broadcast) wait() <-chan struct{} {
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

// awaited reports whether wait was called after the last wake.
func (b *broadcast) awaited() bool { return b.c != nil }

// wake closes what wait has returned.
func (b *broadcast) wake() {
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}
