package process

import (
	"context"
	"io"

	"github.com/sandboxagent/sandboxagent/api"
)

// Viewer reads the bytes that a terminal shows from an offset on, as fast as its
// caller likes.
type Viewer struct {
	p      *process
	cursor uint64
	buf    []byte
}

// Screen is what a [Viewer] found. Bytes before Offset that follow the last
// ones are no longer there if Gap is set.
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
	if p.child.tty == nil {
		return nil, errNoTerminal()
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	v := &Viewer{p: p, cursor: p.out.offset}
	if since != nil {
		v.cursor = min(*since, v.cursor)
	}
	return v, nil
}

func errNoTerminal() *api.Error {
	return api.Conflict(api.CodeNotATerminal, "process is not running in tty mode")
}

// screenBytes bounds what a viewer gets at once.
const screenBytes = 64 << 10

// Offset is where the next bytes start.
func (v *Viewer) Offset() uint64 { return v.cursor }

// Exit says how the process ended; valid after Next gave [io.EOF].
func (v *Viewer) Exit() Exit { return v.p.child.Exit() }

// Next waits for output. It returns [io.EOF] after the last byte, once the
// process has ended.
func (v *Viewer) Next(ctx context.Context) (Screen, error) {
	out := v.p.out
	for {
		out.mu.Lock()
		screen := v.take()
		if screen.Gap || len(screen.Data) > 0 {
			out.mu.Unlock()
			return screen, nil
		}
		if out.ended {
			out.mu.Unlock()
			return Screen{}, io.EOF
		}
		changed := out.wait()
		out.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Screen{}, ctx.Err()
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
	v.buf = v.buf[:0]
	for i := range chunks {
		c := &chunks[i]
		data := c.data[max(v.cursor, c.offset)-c.offset:]
		if c.offset > v.cursor || len(v.buf) > 0 && len(v.buf)+len(data) > screenBytes {
			break // after a gap, or enough
		}
		v.buf = append(v.buf, data...)
		v.cursor += uint64(len(data))
	}
	screen.Data = v.buf
	return screen
}
