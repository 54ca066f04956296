package server

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// heartbeat is the longest silence on an event stream.
const heartbeat = 15 * time.Second

// eventStream writes server-sent events. Events are collected with [eventStream.add]
// and go out with [eventStream.flush], so that a reader that is behind gets
// many in one write. It is not safe for concurrent use.
type eventStream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf *bytes.Buffer // nil while nothing was added
}

// streamBuffers are shared by all event streams, of which most wait at any time.
var streamBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is how large a buffer may be that is kept for the next stream.
const maxPooled = 4 * flushBytes

// newEventStream sends the headers of an event stream. An error means that the
// client wants no more: it has gone, or asked with HEAD.
func newEventStream(w http.ResponseWriter, r *http.Request) (*eventStream, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &eventStream{w: w, rc: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		return s, http.ErrBodyNotAllowed
	}
	return s, s.rc.Flush()
}

// add appends an event. Data must be one line; carriage returns, which are
// white space in JSON but line ends in an event stream, become blanks.
func (s *eventStream) add(event string, id uint64, data []byte) {
	buf := s.buffer()
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

// size returns the bytes that wait to be flushed.
func (s *eventStream) size() int {
	if s.buf == nil {
		return 0
	}
	return s.buf.Len()
}

// buffer returns where to write what flush sends.
func (s *eventStream) buffer() *bytes.Buffer {
	if s.buf == nil {
		s.buf = streamBuffers.Get().(*bytes.Buffer)
	}
	return s.buf
}

// comment appends a line that clients ignore.
func (s *eventStream) comment(text string) {
	s.buffer().WriteString(": " + text + "\n\n")
}

// flush sends what was added.
func (s *eventStream) flush() error {
	if s.buf == nil {
		return nil
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	if s.buf.Reset(); s.buf.Cap() <= maxPooled {
		streamBuffers.Put(s.buf)
	}
	s.buf = nil
	return s.rc.Flush()
}
