package child

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bulkBytes is how much makes a read one of many.
const bulkBytes = 2 << 10

// MaxRest is how much is read from a pipe whose time is over. It is the largest
// pipe that Linux gives; more than that was written after the end.
const MaxRest = 1 << 20

// output is our end of a pipe or terminal that a child writes to. Read and Close
// may run at the same time.
type output struct {
	file *os.File
	tty  bool
	bulk bool // the last read gave much; only Read uses it
	rest int  // bytes read after the end; likewise
}

// endAt makes Read give io.EOF from t on, after what the pipe holds then.
func (o *output) endAt(t time.Time) { _ = o.file.SetReadDeadline(t) }

// Read reads what is there, and waits only if nothing is. At the end it closes.
func (o *output) Read(p []byte) (int, error) {
	n, err := o.read(p)
	if err == io.EOF {
		_ = o.file.Close()
	}
	return n, err
}

func (o *output) read(p []byte) (int, error) {
	n, err := o.readNext(p)
	o.bulk = n >= bulkBytes
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return o.readRest(p)
	case errors.Is(err, syscall.EIO):
		// The way a terminal says that its other side is closed.
		return n, io.EOF
	case errors.Is(err, os.ErrClosed):
		return n, io.EOF
	}
	return n, err
}

// flowPause is how many milliseconds a thread waits for a terminal that is in full
// flow.
const flowPause = 2

// readNext reads, and waits if nothing is there. A terminal gives four kilobytes
// at once and then needs a moment to move up the next; a thread that waits for
// them in the kernel has them much sooner than the poller of the runtime.
func (o *output) readNext(p []byte) (int, error) {
	if !o.tty || !o.bulk {
		return o.file.Read(p)
	}
	conn, err := o.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var readErr error
	err = conn.Read(func(fd uintptr) (done bool) {
		for waited := false; ; waited = true {
			n, readErr = readNow(int(fd), p)
			if readErr != syscall.EAGAIN {
				return true
			}
			if waited {
				return false
			}
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, flowPause)
		}
	})
	switch {
	case err != nil:
		return o.file.Read(p) // says in the usual way that it is closed, or out of time
	case readErr != nil:
		return 0, readErr
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// readNow reads from a file that does not block.
func readNow(fd int, p []byte) (int, error) {
	for {
		if n, err := syscall.Read(fd, p); err != syscall.EINTR {
			return n, err
		}
	}
}

// readRest reads without waiting.
func (o *output) readRest(p []byte) (int, error) {
	if o.rest >= MaxRest {
		return 0, io.EOF
	}
	conn, err := o.file.SyscallConn()
	if err != nil {
		return 0, io.EOF
	}
	var n int
	var readErr error
	err = conn.Control(func(fd uintptr) { n, readErr = readNow(int(fd), p) })
	if err != nil || readErr != nil || n <= 0 {
		return 0, io.EOF
	}
	o.rest += n
	return n, nil
}

// Close closes our end; a child that writes to it gets SIGPIPE.
func (o *output) Close() error { return o.file.Close() }
