package server

import (
	"bytes"
	"net/http"
	"strconv"
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
	buf bytes.Buffer
}

// newEventStream sends the headers of an event stream.
func newEventStream(w http.ResponseWriter) (*eventStream, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &eventStream{w: w, rc: http.NewResponseController(w)}
	return s, s.rc.Flush()
}

// add appends an event. Data must be one line; carriage returns, which are
// white space in JSON but line ends in an event stream, become blanks.
func (s *eventStream) add(event string, id uint64, data []byte) {
	s.buf.WriteString("event: ")
	s.buf.WriteString(event)
	if id > 0 {
		s.buf.WriteString("\nid: ")
		s.buf.Write(strconv.AppendUint(s.buf.AvailableBuffer(), id, 10))
	}
	s.buf.WriteString("\ndata: ")
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(data, []byte{'\r'}, []byte{' '})
	}
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
}

// size returns the bytes that wait to be flushed.
func (s *eventStream) size() int { return s.buf.Len() }

// comment appends a line that clients ignore.
func (s *eventStream) comment(text string) {
	s.buf.WriteString(": " + text + "\n\n")
}

// flush sends what was added.
func (s *eventStream) flush() error {
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	s.buf.Reset()
	return s.rc.Flush()
}
