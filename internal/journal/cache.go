package journal

import "sync"

// cacheRuns times the read limit is what the cache holds at most.
const cacheRuns = 16

// cache keeps what was read of the store lately, for readers that follow each
// other through an old part of a stream. The zero value is ready.
type cache struct {
	mu    sync.Mutex
	runs  [cacheRuns]cachedRun
	clock uint64
}

type cachedRun struct {
	s       *stream
	entries []Entry
	used    uint64
}

func (c *cache) get(s *stream, first, last uint64) []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.runs {
		run := &c.runs[i]
		if run.s != s {
			continue
		}
		if entries := between(run.entries, first, last); len(entries) > 0 {
			c.clock++
			run.used = c.clock
			return entries
		}
	}
	return nil
}

func (c *cache) put(s *stream, entries []Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := &c.runs[0]
	for i := range c.runs {
		if c.runs[i].used < oldest.used {
			oldest = &c.runs[i]
		}
	}
	c.clock++
	*oldest = cachedRun{s: s, entries: entries, used: c.clock}
}

func (c *cache) drop(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.runs {
		if c.runs[i].s == s {
			c.runs[i] = cachedRun{}
		}
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs = [cacheRuns]cachedRun{}
}
