package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/compat"
)

// followWait is how long the reply to a request waits for the event streams of its
// connection. A client that reads more slowly gets replies before the events.
const followWait = 500 * time.Millisecond

// followers are the event streams of connections, by the id of the connection. They
// let a reply to a request leave after the events before it: clients read the two from
// different sockets, and take what they have of the events for all when the reply comes.
// The zero value has none.
type followers struct {
	mu     sync.Mutex
	of     map[string][]*follower
	joined map[string]chan struct{} // closed when the first one comes, and made by who waits for it
}

// A follower is one event stream that is being written.
type follower struct {
	mu      sync.Mutex
	written uint64        // last event that was written
	late    uint64        // event that was waited for in vain; until it is written, nothing waits
	moved   chan struct{} // closed at the next write, and made by who waits for it
}

// add registers an event stream that has been written up to an event. Call remove when
// it ends.
func (fs *followers) add(id string, written uint64) (f *follower, remove func()) {
	f = &follower{written: written}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.of == nil {
		fs.of = make(map[string][]*follower)
	}
	fs.of[id] = append(fs.of[id], f)
	if joined := fs.joined[id]; joined != nil {
		close(joined)
		delete(fs.joined, id)
	}
	return f, func() {
		f.advance(^uint64(0))
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if fs.of[id] = slices.DeleteFunc(fs.of[id], func(other *follower) bool { return other == f }); len(fs.of[id]) == 0 {
			delete(fs.of, id)
		}
	}
}

// advance notes that the stream has been written up to an event.
func (f *follower) advance(written uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if written <= f.written {
		return
	}
	f.written = written
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// behind returns a channel that is closed when the stream moves on, or nil if it has
// been written up to an event or is not waited for.
func (f *follower) behind(event uint64) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.written >= event || f.written < f.late {
		return nil
	}
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return f.moved
}

// await returns when the event streams of a connection have been written up to an
// event, at the latest after followWait, and reports whether there is one and all were.
// Where one is expected, it is waited for as well.
func (fs *followers) await(ctx context.Context, id string, event uint64, expected bool) (written bool) {
	ctx, cancel := context.WithTimeout(ctx, followWait)
	defer cancel()
	list, joined := fs.list(id, expected)
	if joined != nil {
		select {
		case <-joined:
		case <-ctx.Done():
			return false
		}
		list, _ = fs.list(id, false)
	}
	written = len(list) > 0
	for _, f := range list {
		for moved := f.behind(event); moved != nil; moved = f.behind(event) {
			select {
			case <-moved:
			case <-ctx.Done(): // the others are looked at, and not waited for
				f.giveUp(event)
			}
		}
		written = written && f.has(event)
	}
	return written
}

// has reports whether the stream has been written up to an event.
func (f *follower) has(event uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written >= event
}

// list returns the event streams of a connection, and, if there is none and one is
// expected, a channel that is closed when one comes.
func (fs *followers) list(id string, expected bool) (list []*follower, joined <-chan struct{}) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if list = slices.Clone(fs.of[id]); len(list) > 0 || !expected {
		return list, nil
	}
	if fs.joined == nil {
		fs.joined = make(map[string]chan struct{})
	}
	if fs.joined[id] == nil {
		fs.joined[id] = make(chan struct{})
	}
	return nil, fs.joined[id]
}

func (f *follower) giveUp(event uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = max(f.late, event)
}

// track returns a function that notes, before each batch of a reader, that the batch
// before it was written.
func (f *follower) track(reader compat.Reader) func() {
	return func() { f.advance(reader.Cursor()) }
}
