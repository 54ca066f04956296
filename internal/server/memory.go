package server

import (
	"runtime"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/memory"
)

const (
	// settleDelay is how long there must be little to do after the start until
	// its memory is given back, and quietTime the same for busy times.
	settleDelay = 250 * time.Millisecond
	quietTime   = 30 * time.Second

	// quietBytes are allocated at most where there is little to do.
	quietBytes = 1 << 20

	// churnBytes is what must have been allocated since memory was last given
	// back, else there is little to give.
	churnBytes = 8 << 20
)

// finishStart does what a start leaves for after it, and then gives back memory that
// is not needed: that of the start, and later on that of busy times, when these
// are over.
func (s *Server) finishStart() {
	s.router.Describe() // before a client has to wait for it
	ballast := make([]byte, s.cfg.Ballast)
	defer runtime.KeepAlive(ballast)
	ticker := time.NewTicker(settleDelay)
	defer ticker.Stop()
	q := quiet{last: allocated()}
	for {
		select {
		case <-s.base.Done():
			return
		case <-ticker.C:
		}
		if q.over(allocated()) {
			ticker.Reset(quietTime)
			debug.FreeOSMemory()
			memory.ReleaseProgram()
		}
	}
}

// quiet finds out when a busy time is over, of which the start is the first.
type quiet struct {
	last, released uint64 // allocated bytes at the last call, and at the last true
}

// over reports whether it is, from how much was ever allocated.
func (q *quiet) over(allocated uint64) bool {
	over := allocated-q.last < quietBytes && (q.released == 0 || allocated-q.released >= churnBytes)
	if q.last = allocated; over {
		q.released = allocated
	}
	return over
}

// allocated returns how many bytes were ever allocated.
func allocated() uint64 {
	sample := []gometrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	gometrics.Read(sample)
	return sample[0].Value.Uint64()
}
