package files

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

const (
	binaryHead   = 8 << 10  // a NUL in these first bytes makes a file binary
	lineBuffer   = 64 << 10 // longer lines are searched as streams
	maxGenerated = 16 << 20 // bytes read of a file that the kernel generates

	// generatedWait is how long a file that the kernel generates may take to be
	// read: the log of the kernel, for one, has no end.
	generatedWait = time.Second
)

// file searches the lines of one file. A file that cannot be read has none.
func (s *search) file(path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if !generated(file, info) {
		return s.content(path, file)
	}
	file.SetReadDeadline(time.Now().Add(generatedWait))
	stop := endWith(s.ctx, file)
	defer stop()
	return s.content(path, io.LimitReader(file, maxGenerated))
}

// content searches what content gives, block by block as long as a block holds
// whole lines.
func (s *search) content(path string, content io.Reader) error {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buf, have, line := *pooled, 0, 1
	for first := true; ; first = false {
		n, err := content.Read(buf[have:])
		have += n
		if first && bytes.IndexByte(buf[:min(have, binaryHead)], 0) >= 0 {
			return nil
		}
		end := have
		if err == nil {
			if i := bytes.LastIndexByte(buf[:have], '\n'); i >= 0 {
				end = i + 1
			} else if have < len(buf) {
				continue
			} else {
				return s.stream(path, io.MultiReader(bytes.NewReader(buf), content), line)
			}
		}
		if merr := s.lines(path, buf[:end], &line); merr != nil {
			return merr
		}
		if err != nil {
			return nil // EOF, or what cannot be read
		}
		have = copy(buf, buf[end:have])
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
	}
}

// lines emits the matches in data, which is whole lines beginning with the
// number in line, and moves line on.
func (s *search) lines(path string, data []byte, line *int) error {
	for len(data) > 0 {
		if s.re == nil {
			i := bytes.Index(data, s.needle)
			if i < 0 {
				*line += bytes.Count(data, []byte{'\n'})
				return nil
			}
			start := bytes.LastIndexByte(data[:i], '\n') + 1
			*line += bytes.Count(data[:start], []byte{'\n'})
			data = data[start:]
		}
		text, rest, found := bytes.Cut(data, []byte{'\n'})
		if err := s.match(path, text, *line, s.column(text)); err != nil {
			return err
		}
		if found {
			*line++
		}
		data = rest
	}
	return nil
}

// match emits a match in the line that begins with text, if column is not
// negative.
func (s *search) match(path string, text []byte, line, column int) error {
	if column < 0 {
		return nil
	}
	text = bytes.TrimSuffix(text, []byte{'\r'})
	if len(text) > maxMatchText {
		text = text[:maxMatchText]
	}
	return s.emit(api.FileSearchMatch{
		Path:      strings.ToValidUTF8(path, "\uFFFD"),
		EntryType: api.EntryFile,
		Line:      line,
		Column:    column + 1,
		Text:      strings.ToValidUTF8(string(text), "\uFFFD"),
	})
}

// column returns where in text the first match begins, -1 if there is none.
func (s *search) column(text []byte) int {
	if s.re == nil {
		return bytes.Index(text, s.needle)
	}
	if loc := s.re.FindIndex(text); loc != nil {
		return loc[0]
	}
	return -1
}

// stream searches line by line what has lines of any length.
func (s *search) stream(path string, content io.Reader, line int) error {
	r := bufio.NewReaderSize(content, lineBuffer)
	for ; ; line++ {
		text, end := r.ReadSlice('\n')
		var err error
		if end == bufio.ErrBufferFull {
			end, err = s.longLine(path, text, r, line)
		} else {
			text = bytes.TrimSuffix(text, []byte{'\n'})
			err = s.match(path, text, line, s.column(text))
		}
		if err != nil {
			return err
		}
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if end != nil {
			return nil // EOF, or what cannot be read
		}
	}
}

// longLine searches a line of which head has been read from r, and reads r up to
// the next line. end is not nil if that was the last one.
func (s *search) longLine(path string, head []byte, r *bufio.Reader, line int) (end, err error) {
	start := bytes.Clone(head[:maxMatchText])
	rest := &restOfLine{r: r}
	column := s.streamColumn(io.MultiReader(bytes.NewReader(head), rest))
	for rest.next() {
	}
	return rest.end, s.match(path, start, line, column)
}

// streamColumn is [search.column] of a line of any length.
func (s *search) streamColumn(line io.Reader) int {
	if s.re != nil {
		if loc := s.re.FindReaderIndex(bufio.NewReader(line)); loc != nil {
			return loc[0]
		}
		return -1
	}
	// The end of one window, one byte shorter than the needle, begins the next,
	// so that a match across the border is found, and found once.
	overlap := len(s.needle) - 1
	window := make([]byte, overlap+lineBuffer)
	have := 0
	for passed := 0; ; {
		n, err := line.Read(window[have:])
		have += n
		if i := bytes.Index(window[:have], s.needle); i >= 0 {
			return passed + i
		}
		if err != nil {
			return -1
		}
		keep := min(have, overlap)
		passed += have - keep
		copy(window, window[have-keep:have])
		have = keep
	}
}

// restOfLine reads what r has up to the end of the line, and no byte more.
type restOfLine struct {
	r     *bufio.Reader
	chunk []byte
	ended bool
	end   error // once the line has ended: why no other line follows
}

// next reads a chunk; it returns false after the last one.
func (l *restOfLine) next() bool {
	if l.ended {
		return false
	}
	chunk, err := l.r.ReadSlice('\n')
	l.chunk = bytes.TrimSuffix(chunk, []byte{'\n'})
	if err != bufio.ErrBufferFull {
		l.ended, l.end = true, err
	}
	return true
}

func (l *restOfLine) Read(p []byte) (int, error) {
	for len(l.chunk) == 0 {
		if !l.next() {
			return 0, io.EOF
		}
	}
	n := copy(p, l.chunk)
	l.chunk = l.chunk[n:]
	return n, nil
}
