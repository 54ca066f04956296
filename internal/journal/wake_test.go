package journal

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// takeAll receives all wake-ups that wait, and returns how many they were.
func (w *waker) takeAll() (n int) {
	for {
		select {
		case <-w.c:
			n++
		default:
			return n
		}
	}
}

func TestWakerWakesOnceForAllThatWaits(t *testing.T) {
	hold := func(w *waker) { w.hold() }
	left := func(want bool) func(*waker) {
		return func(w *waker) {
			if got := w.release(); got != want {
				t.Errorf("release is %v, want %v", got, want)
			}
		}
	}
	for _, test := range []struct {
		name  string
		steps []func(*waker)
		want  int
	}{
		{"nothing", nil, 0},
		{"one", []func(*waker){(*waker).wake}, 1},
		{"several", []func(*waker){(*waker).wake, (*waker).wake, (*waker).wakeUnlessHeld}, 1},
		{"without a hold", []func(*waker){(*waker).wakeUnlessHeld}, 1},
		{"in a hold", []func(*waker){hold, (*waker).wakeUnlessHeld}, 0},
		{"at once in a hold", []func(*waker){hold, (*waker).wake}, 1},
		{"released", []func(*waker){hold, (*waker).wakeUnlessHeld, (*waker).wakeUnlessHeld, left(true)}, 0},
		{"released with nothing left", []func(*waker){hold, left(false)}, 0},
		{"released with a wake-up at once", []func(*waker){hold, (*waker).wake, left(false)}, 1},
		{"released twice", []func(*waker){hold, hold, (*waker).wakeUnlessHeld, left(true), left(false)}, 0},
		{"left between releases", []func(*waker){hold, hold, left(false), (*waker).wakeUnlessHeld, left(true)}, 0},
		{"after a release", []func(*waker){hold, left(false), (*waker).wakeUnlessHeld}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWaker()
			for _, step := range test.steps {
				step(w)
			}
			if got := w.takeAll(); got != test.want {
				t.Errorf("%d wake-ups, want %d", got, test.want)
			}
		})
	}
}

func TestWakerSaysWhetherItIsHeld(t *testing.T) {
	w := newWaker()
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() {}, false}, {w.hold, true}, {w.hold, true},
		{func() { w.release() }, true}, {func() { w.release() }, false},
	} {
		step.do()
		if got := w.held(); got != step.want {
			t.Errorf("step %d: held is %v, want %v", i, got, step.want)
		}
	}
}

func TestWakerWakesAfterADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 5 * time.Millisecond
		w := newWaker()
		want := func(when string, n int) {
			t.Helper()
			synctest.Wait()
			if got := w.takeAll(); got != n {
				t.Errorf("%s: %d wake-ups, want %d", when, got, n)
			}
		}
		w.wakeAfter(delay)
		time.Sleep(delay - 1)
		want("before the delay is over", 0)
		w.wakeAfter(delay)
		time.Sleep(time.Nanosecond)
		want("after the delay", 1)
		time.Sleep(delay)
		want("for a call while one was under way", 0)
		w.hold()
		w.wakeAfter(delay)
		time.Sleep(delay)
		want("after the next delay, in a hold", 1)
	})
}

// TestWakerLosesNothing has many goroutines leave work and wake in each way that
// there is, while one does what it finds.
func TestWakerLosesNothing(t *testing.T) {
	const workers, each = 8, 2000
	for name, wake := range map[string]func(w *waker, work func()){
		"at once":         func(w *waker, work func()) { work(); w.wake() },
		"unless held":     func(w *waker, work func()) { work(); w.wakeUnlessHeld() },
		"after a delay":   func(w *waker, work func()) { work(); w.wakeAfter(time.Microsecond) },
		"between holds":   func(w *waker, work func()) { leaveHeld(w, func() {}); work(); w.wakeUnlessHeld() },
		"within a hold":   func(w *waker, work func()) { leaveHeld(w, func() { work(); w.wakeUnlessHeld() }) },
		"in and past one": func(w *waker, work func()) { leaveHeld(w, work); work(); w.wakeUnlessHeld() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWaker()
			var left, total, done atomic.Int64
			work := func() { total.Add(1); left.Add(1) }
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					for range each {
						wake(w, work)
					}
				})
			}
			finished := make(chan struct{})
			go func() { all.Wait(); close(finished) }()
			deadline := time.After(time.Minute)
			for ended := false; !ended || done.Load() < total.Load(); {
				select {
				case <-w.c:
					done.Add(left.Swap(0))
				case <-finished:
					ended, finished = true, nil
				case <-deadline:
					t.Fatalf("%d of %d done, and nothing wakes", done.Load(), total.Load())
				}
			}
		})
	}
}

// leaveHeld does something in a hold, and what follows from its release.
func leaveHeld(w *waker, do func()) {
	w.hold()
	do()
	if w.release() {
		w.wake()
	}
}

func TestBroadcastWakesAllWhoWait(t *testing.T) {
	var b broadcast
	b.wake() // none waits
	if b.awaited() {
		t.Error("awaited by none")
	}
	isClosed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	one, other := b.wait(), b.wait()
	if isClosed(one) || isClosed(other) || !b.awaited() {
		t.Error("woken without a change")
	}
	b.wake()
	if !isClosed(one) || !isClosed(other) || b.awaited() {
		t.Error("not woken by a change")
	}
	next := b.wait()
	if isClosed(next) || !b.awaited() {
		t.Error("woken by an earlier change")
	}
	b.wake()
	if !isClosed(next) {
		t.Error("not woken by the next change")
	}
}

// TestBroadcastLosesNothing has readers wait for each of many changes.
func TestBroadcastLosesNothing(t *testing.T) {
	const changes = 10_000
	var mu sync.Mutex
	var b broadcast
	value := 0
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			deadline := time.After(time.Minute)
			for {
				mu.Lock()
				seen, changed := value, b.wait()
				mu.Unlock()
				if seen == changes {
					return
				}
				select {
				case <-changed:
				case <-deadline:
					t.Errorf("not woken after change %d", seen)
					return
				}
			}
		})
	}
	for range changes {
		mu.Lock()
		value++
		b.wake()
		mu.Unlock()
	}
	readers.Wait()
}
