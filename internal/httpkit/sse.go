package httpkit

import (
	"bytes"
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

// Flush sends what was added.
func (s *Stream) Flush() error {
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
