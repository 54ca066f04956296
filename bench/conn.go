package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// conn is one kept-alive HTTP connection that sends prepared requests one after
// the other: much cheaper than a general client, so that more of the machine is
// left for the server. It is not safe for concurrent use.
type conn struct {
	nc   net.Conn
	r    *bufio.Reader
	addr string
	buf  []byte
}

// patience is how long anything may take.
const patience = time.Minute

func dial(addr string) (*conn, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{nc: nc, r: bufio.NewReaderSize(nc, 64<<10), addr: addr}, nil
}

func (c *conn) close() { c.nc.Close() }

// request prepares a request. Body may be nil.
func request(addr, method, target, contentType string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, addr)
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// do sends a prepared request and returns the status and the body of the
// answer, which is valid until the next call.
func (c *conn) do(req []byte) (status int, body []byte, err error) {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	if _, err := c.nc.Write(req); err != nil {
		return 0, nil, err
	}
	status, length, err := c.head()
	if err != nil {
		return 0, nil, err
	}
	c.buf = c.buf[:0]
	if length >= 0 {
		err = c.take(length)
	} else {
		err = c.chunks()
	}
	return status, c.buf, err
}

// expect is do for requests that have one right answer.
func (c *conn) expect(req []byte, want int) ([]byte, error) {
	status, body, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if status != want {
		return nil, &statusError{status, string(body[:min(len(body), 300)])}
	}
	return body, nil
}

// statusError is an answer of another status than was asked for.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("answer %d: %s", e.status, e.body) }

// head reads status line and headers. The length is -1 if the body is chunked.
func (c *conn) head() (status int, length int64, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return status, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, 0, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			length = -1
		}
	}
}

func (c *conn) take(n int64) error {
	from := len(c.buf)
	if need := from + int(n); need > cap(c.buf) {
		grown := make([]byte, from, 2*need)
		copy(grown, c.buf)
		c.buf = grown
	}
	c.buf = c.buf[:from+int(n)]
	_, err := io.ReadFull(c.r, c.buf[from:])
	return err
}

func (c *conn) chunks() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 64)
		if err != nil {
			return fmt.Errorf("chunk header: %w", err)
		}
		if err := c.take(size); err != nil {
			return err
		}
		if end, err := c.r.ReadSlice('\n'); err != nil || len(end) > 2 {
			return errors.Join(err, errors.New("chunk has no end"))
		}
		if size == 0 {
			return nil
		}
	}
}
