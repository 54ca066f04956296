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

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/lazyregexp"
)

// shownBytes is how much of a faulty line is kept to show.
const shownBytes = 64 << 10

// maxStderrLine is the longest line of standard error that is kept whole.
const maxStderrLine = 8 << 10

// A lineReader reads into a small buffer, which most agents hold while they are silent,
// and into a large one, which all share, while there is more to read than that.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// lineReader cuts an agent's output into lines, each in memory of its own. It takes
// memory when it is first read.
type lineReader struct {
	r   io.Reader
	max int64

	small   []byte
	large   *[largeBuffer]byte // nil while the small one is enough
	from    int                // what was read and not returned is in the buffer
	to      int                // up to here
	scanned int                // and has no end of a line up to here
	err     error              // of the last read, once all before it was returned
}

func newLineReader(r io.Reader, max int64) *lineReader {
	return &lineReader{r: r, max: max}
}

// release gives memory back. The reader must not be used after it.
func (l *lineReader) release() {
	if l.large != nil {
		largeBuffers.Put(l.large)
	}
	*l = lineReader{}
}

// longLineError stands for a line over the limit, which was passed over.
type longLineError struct {
	max   int64
	size  int64
	start []byte // of the line
	msg   acp.Message
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
func (l *lineReader) buffered() int { return l.to - l.from }

// more reports whether next has a line without reading.
func (l *lineReader) more() bool {
	ahead := l.buffer()[l.from:l.to]
	return bytes.IndexByte(bytes.TrimLeftFunc(ahead, unicode.IsSpace), '\n') >= 0
}

func (l *lineReader) buffer() []byte {
	if l.large != nil {
		return l.large[:]
	}
	return l.small
}

// part returns the bytes up to the next end of a line, or, with bufio.ErrBufferFull,
// a part of a line that is longer than the large buffer, or the last bytes with the
// error that ended the output. They are valid until the next call.
func (l *lineReader) part() ([]byte, error) {
	for {
		buf := l.buffer()
		if i := bytes.IndexByte(buf[l.scanned:l.to], '\n'); i >= 0 {
			part := buf[l.from : l.scanned+i+1]
			l.from = l.scanned + i + 1
			l.scanned = l.from
			return part, nil
		}
		l.scanned = l.to
		if l.err != nil || l.large != nil && l.from == 0 && l.to == largeBuffer {
			part, err := buf[l.from:l.to], l.err
			l.from, l.to, l.scanned = 0, 0, 0
			if err == nil {
				err = bufio.ErrBufferFull
			}
			return part, err
		}
		l.fill()
	}
}

// fill reads once.
func (l *lineReader) fill() {
	l.makeRoom()
	for range 100 {
		n, err := l.r.Read(l.buffer()[l.to:])
		l.to += n
		l.err = err
		if n > 0 || err != nil {
			return
		}
	}
	l.err = io.ErrNoProgress
}

// makeRoom moves what is in the buffer to where there is room behind it.
func (l *lineReader) makeRoom() {
	switch kept := l.to - l.from; {
	case l.small == nil:
		l.small = make([]byte, smallBuffer)
	case kept == 0 && l.large != nil:
		largeBuffers.Put(l.large)
		l.large = nil
	case kept > 0 && l.large == nil && l.to == smallBuffer:
		l.large = largeBuffers.Get().(*[largeBuffer]byte)
		copy(l.large[:], l.small[l.from:l.to])
	case l.from > 0:
		copy(l.buffer(), l.buffer()[l.from:l.to])
	default:
		return
	}
	l.from, l.to, l.scanned = 0, l.to-l.from, l.scanned-l.from
}

func (l *lineReader) line() ([]byte, error) {
	part, err := l.part()
	if err == nil && int64(len(part)) > l.max+1 {
		e := l.tooLong(part)
		var o outline
		o.Write(part)
		e.msg = o.message()
		return nil, e
	}
	if err == nil {
		return bytes.Clone(part), nil
	}
	line := bytes.Clone(part)
	for err == bufio.ErrBufferFull {
		if int64(len(line)) > l.max {
			return nil, l.skip(line)
		}
		part, err = l.part()
		line = append(line, part...)
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	return line, err
}

// tooLong returns the error of a line that begins with start.
func (l *lineReader) tooLong(start []byte) *longLineError {
	return &longLineError{max: l.max, size: int64(len(start)), start: bytes.Clone(start[:min(len(start), shownBytes)])}
}

// skip reads to the end of a line that is too long.
func (l *lineReader) skip(start []byte) error {
	e := l.tooLong(start)
	var o outline
	o.Write(start)
	for {
		part, err := l.part()
		e.size += int64(len(part))
		o.Write(part)
		if err != bufio.ErrBufferFull {
			e.msg = o.message()
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

// unclean matches what some agents write around a frame: byte order marks, escape
// sequences of terminals (ECMA-48), and control characters.
var unclean = lazyregexp.New(`(?:\x{FEFF}|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]|[\x00-\x20\x7f\x{80}-\x{9f}])+`)

// cleaned returns a line without what stands around its frame; ok is false when no
// frame is left.
func cleaned(line []byte) (frame []byte, msg acp.Message, ok bool) {
	if at := unclean().FindIndex(line); at != nil && at[0] == 0 {
		line = line[at[1]:]
	}
	if end := bytes.LastIndexByte(line, '}') + 1; end > 0 && end < len(line) {
		if at := unclean().FindIndex(line[end:]); at != nil && at[0] == 0 && end+at[1] == len(line) {
			line = line[:end]
		}
	}
	msg, err := acp.Parse(line)
	return line, msg, err == nil && msg.Kind != acp.Other
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
	defer lines.release()
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
