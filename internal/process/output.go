package process

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// maxRest is how much is read from a pipe whose time is over. It is the largest
// pipe that Linux gives; more than that was written after the end.
const maxRest = 1 << 20

// output is our end of a pipe or terminal that a child writes to. Read and Close
// may run at the same time.
type output struct {
	file *os.File
	rest int // bytes read after the end; only Read uses it
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
	n, err := o.file.Read(p)
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

// readRest reads without waiting.
func (o *output) readRest(p []byte) (int, error) {
	if o.rest >= maxRest {
		return 0, io.EOF
	}
	conn, err := o.file.SyscallConn()
	if err != nil {
		return 0, io.EOF
	}
	var n int
	var readErr error
	err = conn.Control(func(fd uintptr) {
		for {
			n, readErr = syscall.Read(int(fd), p)
			if readErr != syscall.EINTR {
				return
			}
		}
	})
	if err != nil || readErr != nil || n <= 0 {
		return 0, io.EOF
	}
	o.rest += n
	return n, nil
}

// Close closes our end; a child that writes to it gets SIGPIPE.
func (o *output) Close() error { return o.file.Close() }
