package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// socket is the client's side of a WebSocket. A library would do more for each
// frame than the servers do, and so hide what differs between them.
type socket struct{ *conn }

// The kinds of frame that matter here.
const (
	frameText   = 1
	frameBinary = 2
	frameClose  = 8
)

func dialSocket(addr, target string) (*socket, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	status, _, err := c.do(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", target, addr))
	if err == nil && status != 101 {
		err = &statusError{status: status}
	}
	if err == nil {
		err = c.nc.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return &socket{c}, nil
}

// input sends text, as it stands in JSON, to a terminal. It is short.
func (s *socket) input(text string) error {
	text = `{"type":"input","data":"` + text + `"}`
	frame := []byte{1<<7 | frameText, 1<<7 | byte(len(text)), 0, 0, 0, 0} // a mask of zeros changes nothing
	_, err := s.nc.Write(append(frame, text...))
	return err
}

// next returns the next frame; its data is valid until the next call. At the close
// of the socket the error is [io.EOF].
func (s *socket) next() (kind byte, data []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(s.r, head[:2]); err != nil {
		return 0, nil, err
	}
	kind = head[0] & 0xf
	size := uint64(head[1])
	switch size {
	case 126:
		_, err = io.ReadFull(s.r, head[:2])
		size = uint64(binary.BigEndian.Uint16(head[:2]))
	case 127:
		_, err = io.ReadFull(s.r, head[:8])
		size = binary.BigEndian.Uint64(head[:8])
	}
	s.buf = s.buf[:0]
	if err == nil {
		err = s.take(int64(size))
	}
	if err == nil && kind == frameClose {
		err = io.EOF
	}
	return kind, s.buf, err
}
