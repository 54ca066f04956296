package sandboxagent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"
)

// maxEvent bounds one server-sent event, in bytes. It is above what a server
// lets an agent say in one line.
const maxEvent = 64 << 20

// errEventTooLong ends a stream with an event over maxEvent.
var errEventTooLong = fmt.Errorf("event over %d bytes", maxEvent)

// An event is one server-sent event. Its data is the reader's until the next
// event is read.
type event struct {
	name string // "message" when the stream gives none
	id   string // of the newest event that had one
	data []byte
}

// An eventReader reads server-sent events.
type eventReader struct {
	in     *bufio.Reader
	max    int
	lastID string
	retry  time.Duration // what the server asks to wait before coming back; 0 when it does not
	line   []byte
	data   []byte
}

func newEventReader(r io.Reader, max int) *eventReader {
	return &eventReader{in: bufio.NewReaderSize(r, 64<<10), max: max}
}

// next returns the next event that has data. It returns io.EOF at the end, also
// in the middle of an event, which then never came.
func (r *eventReader) next() (event, error) {
	e := event{}
	r.data = r.data[:0]
	hasData := false
	for {
		line, err := r.readLine()
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			if hasData {
				e.id, e.data = r.lastID, r.data[:len(r.data)-1]
				if e.name == "" {
					e.name = "message"
				}
				return e, nil
			}
			e.name = ""
			continue
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if len(r.data)+len(value) > r.max {
				return event{}, errEventTooLong
			}
			hasData = true
			r.data = append(append(r.data, value...), '\n')
		case "id":
			if bytes.IndexByte(value, 0) < 0 && !bytes.Equal(value, []byte(r.lastID)) {
				r.lastID = string(value)
			}
		case "retry":
			if ms, ok := digits(value); ok {
				r.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// digits reads a number of at most nine digits.
func digits(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// readLine returns a line without its end, which is LF or CR LF. The bare CR
// that the format also allows is not known here: no server sends it, and
// telling it from CR LF would make every event wait for the byte after it.
func (r *eventReader) readLine() ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		if err == nil && len(r.line) == 0 {
			return trimEnd(part), nil
		}
		if len(r.line)+len(part) > r.max+64 {
			return nil, errEventTooLong
		}
		r.line = append(r.line, part...)
		switch {
		case err == nil:
			return trimEnd(r.line), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})
}

// The waits between attempts to open a stream again.
const (
	reopenFirst = 100 * time.Millisecond
	reopenLast  = 5 * time.Second

	// silence is how long a stream may say nothing, three heartbeats of the
	// server, before its connection counts as dead.
	silence = 45 * time.Second

	// streamGiveUp is how long an event stream may be unreachable before the
	// calls that wait on it are given up.
	streamGiveUp = 30 * time.Second
)

// A follower reads an event stream, and opens it again where it broke.
type follower struct {
	c       *Client
	request request
	lastID  string // where to begin; empty means where the server says

	// ended is asked when the server has ended the stream properly, and may say
	// that this was the end. Nil means it is.
	ended func() bool

	// once means that a stream that broke is not opened again.
	once bool

	// giveUp is how long to go on trying while the server cannot be reached.
	// Zero means until the context ends.
	giveUp time.Duration

	away bool // the server could not be reached when it was last tried
}

// events yields events until the stream ends for good. An error is the last
// thing it yields.
func (f *follower) events(ctx context.Context) iter.Seq2[event, error] {
	return func(yield func(event, error) bool) {
		wait, lost := reopenFirst, time.Time{}
		for ctx.Err() == nil {
			got, err := f.read(ctx, yield)
			if err == errStopped || ctx.Err() != nil {
				return
			}
			if err == nil && (f.once || f.ended == nil || f.ended()) {
				return
			}
			if got {
				wait, lost = reopenFirst, time.Time{}
			}
			if lost.IsZero() {
				lost = time.Now()
			}
			if err != nil && (f.once || !transient(err) || errors.Is(err, errEventTooLong) || f.c.baseErr != nil ||
				f.giveUp > 0 && time.Since(lost) > f.giveUp) {
				yield(event{}, err)
				return
			}
			f.c.log.Debug("open event stream again", "path", f.request.path, "after", f.lastID, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, reopenLast)
		}
	}
}

// errStopped means that the consumer of events has had enough.
var errStopped = errors.New("stopped")

// read reads one response to its end. A nil error means that the server ended
// it; got, that at least one event came.
func (f *follower) read(parent context.Context, yield func(event, error) bool) (got bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	r := f.request
	r.method, r.accept = http.MethodGet, "text/event-stream"
	r.header = http.Header{"Cache-Control": {"no-cache"}}
	if f.lastID != "" {
		r.header.Set("Last-Event-ID", f.lastID)
	}
	watch := time.AfterFunc(silence, cancel)
	defer watch.Stop()
	resp, err := f.c.send(ctx, r)
	if parent.Err() == nil {
		f.report(err)
	}
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	reader := newEventReader(&watched{resp.Body, watch}, maxEvent)
	for {
		e, err := reader.next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, fmt.Errorf("read events: %w", err)
		}
		got = true
		if e.id != "" {
			f.lastID = e.id
		}
		// Time that the consumer takes is not silence of the server.
		watch.Stop()
		if !yield(e, nil) {
			return got, errStopped
		}
		watch.Reset(silence)
	}
}

// report says when the server is out of reach, and when it is back.
func (f *follower) report(err error) {
	away := err != nil && transient(err)
	if f.c.reconnect == nil || away == f.away {
		return
	}
	if f.away = away; !away {
		err = nil
	}
	f.c.reconnect(err)
}

// watched puts a watch back with every read that gave something.
type watched struct {
	io.Reader
	watch *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.watch.Reset(silence)
	}
	return n, err
}
