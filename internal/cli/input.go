package cli

import (
	"bufio"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Why a line does not answer a permission request.
const (
	typedBefore  = "typed before the request was shown"
	pastedAlong  = "pasted with other lines"
	pasteSettles = 50 * time.Millisecond  // within which the rest of a pasted text arrives
	slowDraw     = 100 * time.Millisecond // a terminal that takes longer was held, as by Ctrl-S
)

// typed is a line of input, without its line break.
type typed struct {
	begun string // what was there of it when the newest permission request was shown
	text  string // what was typed after that
	stale string // why it answers no permission request; empty if it may
	end   bool   // it is the end of the input
}

// line is all of the line, without space around it.
func (t typed) line() string { return strings.TrimSpace(t.begun + t.text) }

// input reads standard input line by line, when a caller waits for a line. Of a
// terminal it knows which lines were typed, or begun, before a permission request
// was shown: they are not replies, since the user had not seen it. Lines
// of a file or a pipe are never stale.
type input struct {
	fd    int           // of the terminal; -1 without one
	lines *bufio.Reader // without a terminal

	ready  chan struct{} // has room for one: queue may have lines
	wanted *sync.Cond    // want was set

	mu    sync.Mutex
	want  bool // a caller waits for a line
	queue []typed
	begun string // the beginning of the next line, which is stale
	stale string // why
	part  string // a piece of the next line that was handed over with Ctrl-D
}

func newInput(env Environment) *input {
	in := &input{fd: -1, ready: make(chan struct{}, 1)}
	in.wanted = sync.NewCond(&in.mu)
	if file, ok := fileOf(env.In); ok && env.InTerminal {
		in.fd = int(file.Fd())
	} else {
		in.lines = bufio.NewReader(env.In)
	}
	// It is not waited for, since nothing ends a Read of standard input.
	go in.read()
	return in
}

// await asks for a line. The channel receives when take may have one.
func (in *input) await() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) > 0 {
		in.announce()
	} else {
		in.want = true
		in.wanted.Signal()
	}
	return in.ready
}

func (in *input) announce() {
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// take returns the next line, if there is one.
func (in *input) take() (typed, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return typed{}, false
	}
	t := in.queue[0]
	in.queue = slices.Delete(in.queue, 0, 1)
	return t, true
}

// next waits for a line, or for the end of ctx.
func (in *input) next(ctx context.Context) (typed, error) {
	for {
		if t, ok := in.take(); ok {
			return t, nil
		}
		select {
		case <-in.await():
		case <-ctx.Done():
			return typed{}, ctx.Err()
		}
	}
}

// show shows a permission request by calling draw. Everything that was typed by
// then is stale; early reports whether there is any. While the terminal is held
// nobody sees what is drawn, so that a draw that took long is done again.
func (in *input) show(draw func(early bool)) {
	for {
		early := in.age(typedBefore)
		started := time.Now()
		draw(early)
		if in.fd < 0 || time.Since(started) < slowDraw {
			return
		}
	}
}

// drop forgets the lines that are stale. One that is not finished stays stale.
func (in *input) drop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue = slices.DeleteFunc(in.queue, func(t typed) bool { return t.stale != "" })
}

// followed reports whether more of the input came with the line that was taken
// last, as when text is pasted. What did is stale.
func (in *input) followed() bool {
	if in.fd < 0 {
		return false
	}
	time.Sleep(pasteSettles)
	return in.age(pastedAlong)
}

// age makes stale, for a reason, what a terminal was given so far. It reports
// whether there is any.
func (in *input) age(why string) bool {
	if in.fd < 0 {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	early := len(in.queue) > 0
	for i := range in.queue {
		if in.queue[i].stale == "" {
			in.queue[i].stale = why
		}
	}
	rest := in.part + unread(in.fd)
	in.part = ""
	if rest == "" {
		return early
	}
	in.stale = why
	for {
		end := strings.IndexAny(rest, "\n\x00") // the second is Ctrl-D
		if end < 0 {
			in.begun += rest
			return true
		}
		switch {
		case rest[end] == '\n':
			in.queue = append(in.queue, typed{text: in.begun + rest[:end], stale: why})
			in.begun = ""
		case end > 0: // within a line it only hands over what there is
			in.begun += rest[:end]
		default:
			in.queue = append(in.queue, typed{end: true, stale: why})
		}
		rest = rest[end+1:]
	}
}

// read reads a line whenever one is wanted.
func (in *input) read() {
	for {
		in.mu.Lock()
		for !in.want || len(in.queue) > 0 {
			in.wanted.Wait()
		}
		in.mu.Unlock()
		if in.fd >= 0 {
			in.readTerminal()
			continue
		}
		line, err := in.lines.ReadString('\n')
		in.mu.Lock()
		in.add(strings.TrimSuffix(line, "\n"), err != nil)
		in.mu.Unlock()
	}
}

// readTerminal waits until the terminal has a line, and reads it. A line is
// either in the terminal or in the queue, which mu guards.
func (in *input) readTerminal() {
	hasLine := func(timeout int) bool {
		fds := []unix.PollFd{{Fd: int32(in.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, timeout)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	}
	if !hasLine(-1) {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) > 0 || !hasLine(0) {
		return
	}
	buf := make([]byte, 4<<10) // no line of a terminal is longer
	n, err := unix.Read(in.fd, buf)
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		return
	}
	line, whole := strings.CutSuffix(string(buf[:max(n, 0)]), "\n")
	if !whole && n > 0 {
		in.part += line
		return
	}
	line, in.part = in.part+line, ""
	in.add(line, !whole)
}

// add puts a line, or the end of the input and what came before it, in the
// queue. The caller holds mu.
func (in *input) add(line string, end bool) {
	if line != "" || in.begun != "" || !end {
		t := typed{begun: in.begun, text: line}
		if in.begun != "" {
			t.stale = in.stale
		}
		in.queue = append(in.queue, t)
		in.begun = ""
	}
	if end {
		in.queue = append(in.queue, typed{end: true})
	}
	in.want = false
	in.announce()
}

// unread takes what was typed at a terminal and nobody has read, the line that is
// not finished included: a terminal that edits lines keeps that one to itself.
func unread(fd int) string {
	lines, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return ""
	}
	keys := *lines
	keys.Lflag &^= unix.ICANON
	keys.Cc[unix.VMIN], keys.Cc[unix.VTIME] = 0, 0
	if unix.IoctlSetTermios(fd, setTermios, &keys) != nil {
		return ""
	}
	var text strings.Builder
	buf := make([]byte, 4<<10)
	for {
		n, err := unix.Read(fd, buf)
		if n <= 0 && !errors.Is(err, unix.EINTR) {
			break
		}
		text.Write(buf[:max(n, 0)])
	}
	_ = unix.IoctlSetTermios(fd, setTermios, lines) // it is the mode it was in
	return text.String()
}
