package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

// eventCounter counts the server-sent events of one stream and checks that
// their ids go up one by one.
type eventCounter struct {
	events   int64  // with a data line
	first    uint64 // id; 0 if there was none
	last     uint64 // highest id
	skipped  int64  // ids that are missing between first and last
	repeated int64  // events whose id is not greater than an earlier one
	bytes    int64  // of data lines, without their name
}

// errStop is what a callback returns to end a count without an error.
var errStop = errors.New("stop")

// count reads events until r ends or each returns an error; errStop and the end
// of r are no errors. Each may be nil; it gets the data line of every event,
// which it must not keep.
func (c *eventCounter) count(r *bufio.Reader, each func(data []byte) error) error {
	for {
		line, err := r.ReadSlice('\n')
		whole := line
		for errors.Is(err, bufio.ErrBufferFull) {
			whole = bytes.Clone(whole)
			line, err = r.ReadSlice('\n')
			whole = append(whole, line...)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.line(whole, each); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
}

var (
	idPrefix   = []byte("id: ")
	dataPrefix = []byte("data: ")
)

func (c *eventCounter) line(line []byte, each func([]byte) error) error {
	if bytes.HasPrefix(line, idPrefix) {
		id, err := strconv.ParseUint(string(bytes.TrimSpace(line[len(idPrefix):])), 10, 64)
		if err != nil {
			return err
		}
		c.id(id)
		return nil
	}
	if !bytes.HasPrefix(line, dataPrefix) {
		return nil
	}
	data := bytes.TrimRight(line[len(dataPrefix):], "\r\n")
	c.events++
	c.bytes += int64(len(data))
	if each == nil {
		return nil
	}
	return each(data)
}

func (c *eventCounter) id(id uint64) {
	switch {
	case c.first == 0:
		c.first, c.last = id, id
	case id <= c.last:
		c.repeated++
	default:
		c.skipped += int64(id - c.last - 1)
		c.last = id
	}
}

// stamped notes when bytes last came, so that a stream that never ends can be
// left, and its silence at the end is not counted.
type stamped struct {
	r    io.Reader
	last atomic.Int64 // unix ns; 0 before the first byte
}

func (s *stamped) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n > 0 {
		s.last.Store(time.Now().UnixNano())
	}
	return n, err
}

func (s *stamped) at() time.Time { return time.Unix(0, s.last.Load()) }
