package bridge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"unicode"
	"unicode/utf8"
)

// shownBytes is how much of a faulty line is kept to show.
const shownBytes = 64 << 10

// maxStderrLine is the longest line of standard error that is kept whole.
const maxStderrLine = 8 << 10

// lineReader cuts an agent's output into lines, each in memory of its own.
type lineReader struct {
	r   *bufio.Reader
	max int64
}

func newLineReader(r io.Reader, max int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// longLineError stands for a line over the limit, which was passed over.
type longLineError struct {
	max   int64
	size  int64
	start []byte // of the line
}

func (e *longLineError) Error() string {
	return fmt.Sprintf("line of %d bytes exceeds maxFrameBytes (%d)", e.size, e.max)
}

// next returns the next line that is not blank, without its end. A last line
// without an end counts. It returns io.EOF after the last line and a
// *longLineError for a line over the limit, after which it can go on.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.line()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// buffered returns how many bytes of further lines have been read already.
func (l *lineReader) buffered() int { return l.r.Buffered() }

// more reports whether next has a line without reading.
func (l *lineReader) more() bool {
	ahead, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(bytes.TrimLeftFunc(ahead, unicode.IsSpace), '\n') >= 0
}

func (l *lineReader) line() ([]byte, error) {
	part, err := l.r.ReadSlice('\n')
	if err == nil {
		return bytes.Clone(part), nil
	}
	line := bytes.Clone(part)
	for err == bufio.ErrBufferFull {
		if int64(len(line)) > l.max {
			return nil, l.skip(line)
		}
		part, err = l.r.ReadSlice('\n')
		line = append(line, part...)
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	return line, err
}

// skip reads to the end of a line that is too long.
func (l *lineReader) skip(start []byte) error {
	e := &longLineError{max: l.max, size: int64(len(start)), start: bytes.Clone(start[:min(len(start), shownBytes)])}
	for {
		part, err := l.r.ReadSlice('\n')
		e.size += int64(len(part))
		if err != bufio.ErrBufferFull {
			return e // an end of file comes again with the next read
		}
	}
}

// invalidFrame is the event that stands for a line that is no frame.
func invalidFrame(reason string, raw []byte) []byte {
	if len(raw) > shownBytes {
		raw = raw[:shownBytes]
		for len(raw) > 0 && !utf8.Valid(raw[max(0, len(raw)-utf8.UTFMax):]) {
			raw = raw[:len(raw)-1]
		}
	}
	frame := struct {
		JSONRPC string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{"2.0", "_adapter/invalid_stdout", struct {
		Error string `json:"error"`
		Raw   string `json:"raw"`
	}{reason, string(raw)}}
	data, err := json.Marshal(frame)
	if err != nil {
		panic(err) // strings always encode
	}
	return data
}

// replyID finds the id of a reply in the start of a frame that was cut off.
func replyID(start []byte) (json.RawMessage, bool) {
	d := json.NewDecoder(bytes.NewReader(start))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	var id json.RawMessage
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			break
		}
		switch key {
		case "method":
			return nil, false
		case "id":
			id = value
		}
	}
	return id, id != nil
}

// stderrLines is how many lines of an agent's standard error go into errors.
const stderrLines = 16

// tail keeps the last lines of an agent's standard error.
type tail struct {
	mu   sync.Mutex
	last []string
}

// read reads r to its end.
func (t *tail) read(r io.Reader, log *slog.Logger) {
	lines := newLineReader(r, maxStderrLine)
	for {
		line, err := lines.next()
		if long, ok := err.(*longLineError); ok {
			line, err = long.start, nil
		}
		if err != nil {
			return
		}
		text := string(bytes.ToValidUTF8(line, []byte("\uFFFD")))
		log.Debug("agent stderr", "line", text)
		t.mu.Lock()
		t.last = append(t.last, text)
		if len(t.last) > stderrLines {
			t.last = t.last[1:]
		}
		t.mu.Unlock()
	}
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.last...)
}
