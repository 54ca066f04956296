package run

import (
	"bytes"
	"os"
	"strings"
	"sync"
)

// maxLog is how large a log gets before it becomes the older one, in bytes.
const maxLog = 512 << 10

// rotatingLog is the log of a sandbox: the newest file and the one before it.
type rotatingLog struct {
	name string

	mu   sync.Mutex
	file *os.File
	size int64
	tail []byte // the last output of the server, for errors
}

func openLog(name string) (*rotatingLog, error) {
	l := &rotatingLog{name: name}
	return l, l.open()
}

func (l *rotatingLog) open() error {
	file, err := os.OpenFile(l.name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write never fails: a log that cannot be written must not stop a server.
func (l *rotatingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, p...)
	l.tail = l.tail[max(0, len(l.tail)-4<<10):]
	if l.size > maxLog && os.Rename(l.name, l.name+".1") == nil {
		old := l.file
		if l.open() == nil {
			old.Close()
		}
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

// lastLines quotes the end of the log for an error.
func (l *rotatingLog) lastLines() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := bytes.TrimSpace(l.tail)
	if len(text) == 0 {
		return ""
	}
	lines := strings.Split(string(text), "\n")
	return "; its last output: " + strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (l *rotatingLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
