package process

import (
	"context"
	"io"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// Viewer reads the bytes that a terminal shows from an offset on. Like a
// [Follower] it misses nothing unless it stalls. It is not safe for concurrent
// use.
type Viewer struct {
	p        *process
	attached *attachment
	cursor   uint64
	buf      []byte
	pace     pace
}

// Screen is what a [Viewer] found. Bytes before Offset that follow the last
// ones are no longer kept if Gap is set.
type Screen struct {
	Gap    bool
	From   uint64 // where the gap starts
	Offset uint64 // of the first byte of Data
	Data   []byte // valid until the next call
}

// View attaches to a terminal. With since it starts at that offset in bytes, or
// at the first one that is kept; without, with what comes next.
func (s *Supervisor) View(id string, since *uint64) (*Viewer, error) {
	p, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if !p.child.TTY() {
		return nil, errNoTerminal()
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	v := &Viewer{p: p, cursor: p.out.offset}
	if since != nil {
		v.cursor = min(*since, v.cursor)
	}
	p.out.seen = p.out.next() - 1
	v.attached = p.out.attach(p.out.next() - uint64(len(p.out.at(v.cursor))))
	return v, nil
}

// Close ends the viewer: no output waits for it any more. After [io.EOF] it does
// nothing.
func (v *Viewer) Close() { v.p.out.detach(v.attached) }

func errNoTerminal() *api.Error {
	return api.Conflict(api.CodeNotATerminal, "process is not running in tty mode")
}

// screenBytes bounds what a viewer gets at once.
const screenBytes = 64 << 10

// Offset is where the next bytes start.
func (v *Viewer) Offset() uint64 { return v.cursor }

// Exit says how the process ended; valid after Next gave [io.EOF].
func (v *Viewer) Exit() child.Exit { return v.p.child.Exit() }

// Next waits for output. It returns [io.EOF] after the last byte, once the
// process has ended.
func (v *Viewer) Next(ctx context.Context) (Screen, error) {
	out := v.p.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.gather(&v.pace, func() int64 { return int64(out.offset - v.cursor) })
	for {
		screen := v.take()
		if screen.Gap || len(screen.Data) > 0 {
			return screen, nil
		}
		if out.ended {
			out.detachLocked(v.attached)
			return Screen{}, io.EOF
		}
		if err := out.awaitChange(ctx); err != nil {
			return Screen{}, err
		}
	}
}

// take moves the cursor over the next bytes. The caller holds the log's mutex.
func (v *Viewer) take() Screen {
	out := v.p.out
	screen := Screen{From: v.cursor}
	chunks := out.at(v.cursor)
	start := out.offset // where nothing is kept
	if len(chunks) > 0 {
		start = chunks[0].offset
	}
	if start > v.cursor {
		screen.Gap = true
		v.cursor = start
	}
	screen.Offset = v.cursor
	n := 0
	for ; n < len(chunks); n++ {
		c := &chunks[n]
		data := c.data[max(v.cursor, c.offset)-c.offset:]
		if c.offset > v.cursor || n > 0 && len(screen.Data)+len(data) > screenBytes {
			break // after a gap, or enough
		}
		switch n {
		case 0:
			screen.Data = data // which is never changed
		case 1:
			v.buf = append(append(v.buf[:0], screen.Data...), data...)
			screen.Data = v.buf
		default:
			v.buf = append(v.buf, data...)
			screen.Data = v.buf
		}
		v.cursor += uint64(len(data))
	}
	if screen.Gap || n > 0 {
		out.advance(v.attached, out.next()-uint64(len(chunks)-n))
	}
	v.pace.took(len(screen.Data))
	return screen
}
