package httpkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// FlushBytes is how much of an event stream is collected before it is sent.
const FlushBytes = 64 << 10

// Heartbeat is the longest silence on an event stream.
const Heartbeat = 15 * time.Second

// Stream writes server-sent events. Events are collected with [Stream.Add]
// and go out with [Stream.Flush], so that a reader that is behind gets
// many in one write. It is not safe for concurrent use.
type Stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf *bytes.Buffer // nil while nothing was added
}

// streamBuffers are shared by all event streams, of which most wait at any time.
var streamBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is how large a buffer may be that is kept for the next stream.
const maxPooled = 4 * FlushBytes

// NewStream sends the headers of an event stream. An error means that the
// client wants no more: it has gone, or asked with HEAD.
func NewStream(w http.ResponseWriter, r *http.Request) (*Stream, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &Stream{w: w, rc: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		return s, http.ErrBodyNotAllowed
	}
	return s, s.rc.Flush()
}

// Add appends an event. Data must be one line; carriage returns, which are
// white space in JSON but line ends in an event stream, become blanks.
func (s *Stream) Add(event string, id uint64, data []byte) {
	buf := s.Buffer()
	buf.WriteString("event: ")
	buf.WriteString(event)
	if id > 0 {
		buf.WriteString("\nid: ")
		buf.Write(strconv.AppendUint(buf.AvailableBuffer(), id, 10))
	}
	buf.WriteString("\ndata: ")
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(data, []byte{'\r'}, []byte{' '})
	}
	buf.Write(data)
	buf.WriteString("\n\n")
}

// Size returns the bytes that wait to be flushed.
func (s *Stream) Size() int {
	if s.buf == nil {
		return 0
	}
	return s.buf.Len()
}

// Buffer returns where to write what flush sends.
func (s *Stream) Buffer() *bytes.Buffer {
	if s.buf == nil {
		s.buf = streamBuffers.Get().(*bytes.Buffer)
	}
	return s.buf
}

// Comment appends a line that clients ignore.
func (s *Stream) Comment(text string) {
	s.Buffer().WriteString(": " + text + "\n\n")
}

// Flush sends what was added. Its only error is [ErrGone].
func (s *Stream) Flush() error {
	if s.buf == nil {
		return nil
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return ErrGone
	}
	if s.buf.Reset(); s.buf.Cap() <= maxPooled {
		streamBuffers.Put(s.buf)
	}
	s.buf = nil
	if s.rc.Flush() != nil {
		return ErrGone
	}
	return nil
}

// ErrGone means that the client of a stream does not take it any more.
var ErrGone = errors.New("the client has gone")

// Send adds an event with a value as JSON and sends it.
func (s *Stream) Send(event string, id uint64, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.Add(event, id, data)
	return s.Flush()
}

// FlushFull sends what was added if that is much. It is for loops that add more
// than a client should wait for.
func (s *Stream) FlushFull() error {
	if s.Size() < FlushBytes {
		return nil
	}
	return s.Flush()
}

// Follow sends what next adds, again and again, until next fails with the error
// that Follow returns. Next waits until it has something to add; its context ends
// with ctx, and when nothing was sent for so long that a heartbeat is due, for which
// it has to return the error of the context. A client that has gone is [ErrGone].
func (s *Stream) Follow(ctx context.Context, next func(ctx context.Context) error) error {
	for {
		wait, cancel := context.WithTimeout(ctx, Heartbeat)
		err := next(wait)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			s.Comment("heartbeat")
		} else if err != nil {
			return err
		}
		if err := s.Flush(); err != nil {
			return err
		}
	}
}

// Receive returns the next value of a channel. A channel that is closed is
// [io.EOF]. It is for [Stream.Follow].
func Receive[T any](ctx context.Context, from <-chan T) (v T, err error) {
	select {
	case v, ok := <-from:
		if !ok {
			return v, io.EOF
		}
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}
