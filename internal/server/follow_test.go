package server

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestRepliesWaitForEventStreams(t *testing.T) {
	for name, test := range map[string]struct {
		do       func(fs *followers) // alongside the wait
		expected bool
		waits    bool // until the deadline
	}{
		"no stream":                      {do: func(*followers) {}},
		"a stream that is there already": {do: func(fs *followers) { fs.add("c", 7) }},
		"one that gets there": {do: func(fs *followers) {
			f, _ := fs.add("c", 3)
			go f.advance(8)
		}},
		"one that ends": {do: func(fs *followers) {
			_, remove := fs.add("c", 3)
			go remove()
		}},
		"one that does not get there": {do: func(fs *followers) {
			f, _ := fs.add("c", 3)
			go f.advance(6)
		}, waits: true},
		"one of another connection": {do: func(fs *followers) { fs.add("d", 1) }},
		"two, of which one is slow": {do: func(fs *followers) { fs.add("c", 9); fs.add("c", 1) }, waits: true},
		"one that is expected":      {do: func(fs *followers) { go fs.add("c", 9) }, expected: true},
		"one that never comes":      {do: func(*followers) {}, expected: true, waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := new(followers)
				test.do(fs)
				deadline, cancel := context.WithTimeout(t.Context(), followWait)
				defer cancel()
				fs.await(t.Context(), "c", 7, test.expected)
				synctest.Wait()
				if waited := deadline.Err() != nil; waited != test.waits {
					t.Errorf("waited for the deadline: %v", waited)
				}
			})
		})
	}
}

// A client that reads slowly holds one reply back and no more, until it has read what
// was waited for.
func TestSlowStreamIsNotWaitedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := new(followers)
		f, _ := fs.add("c", 1)
		waits := func(event uint64) bool {
			deadline, cancel := context.WithTimeout(t.Context(), followWait)
			defer cancel()
			fs.await(t.Context(), "c", event, false)
			synctest.Wait()
			return deadline.Err() != nil
		}
		if !waits(5) || waits(6) || waits(7) {
			t.Error("not only the first reply waited")
		}
		f.advance(7)
		if !waits(8) {
			t.Error("a stream that has caught up is not waited for")
		}
	})
}
