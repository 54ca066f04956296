package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Direction says who sent a frame.
type Direction string

// The two ends of a connection.
const (
	FromAgent  Direction = "agent"
	FromClient Direction = "client"
)

// Entry is one frame of a stream. Frame is shared between all readers and must
// not be changed.
type Entry struct {
	Seq   uint64 // from 1, without holes
	Time  int64  // unix milliseconds
	Dir   Direction
	Frame []byte
}

// Gap is a range of entries, both ends included, that are gone.
type Gap struct {
	From, To uint64
}

// Block is a run of consecutive entries of one stream, the unit in which a
// [Store] keeps them.
type Block struct {
	Stream         string
	First, Last    uint64
	Oldest, Newest int64  // unix milliseconds
	Data           []byte // see [EncodeBlock]
}

// Blocks of version 1 end without a checksum; they are still read.
const (
	blockPlain   = 1
	blockVersion = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrBadBlock is what a block that cannot be decoded gives.
var ErrBadBlock = errors.New("malformed block")

// decode appends the entries of a block to dst.
func (b Block) decode(dst []Entry) ([]Entry, error) {
	before := len(dst)
	dst, err := DecodeBlock(dst, b.First, b.Data)
	if err == nil && uint64(len(dst)-before) != b.Last-b.First+1 {
		err = fmt.Errorf("decode block: %d entries: %w", len(dst)-before, ErrBadBlock)
	}
	if err != nil {
		return dst[:before], err
	}
	return dst, nil
}

// EncodeBlock appends the encoding of consecutive entries to buf: a version
// byte, the number of entries and the time of the first one as varints, then
// for each entry its length and direction in one varint, the milliseconds since
// the entry before and the frame; at the end the CRC-32C of all that.
func EncodeBlock(buf []byte, entries []Entry) []byte {
	if len(entries) == 0 {
		return buf
	}
	start, now := len(buf), entries[0].Time
	buf = append(buf, blockVersion)
	buf = binary.AppendUvarint(buf, uint64(len(entries)))
	buf = binary.AppendVarint(buf, now)
	for i := range entries {
		e := &entries[i]
		head := uint64(len(e.Frame)) << 1
		if e.Dir == FromClient {
			head |= 1
		}
		buf = binary.AppendUvarint(buf, head)
		buf = binary.AppendVarint(buf, e.Time-now)
		buf = append(buf, e.Frame...)
		now = e.Time
	}
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// DecodeBlock appends the entries of an encoded block to dst, the first one
// with the sequence number first. The frames are parts of data.
func DecodeBlock(dst []Entry, first uint64, data []byte) ([]Entry, error) {
	switch {
	case len(data) > 4 && data[0] == blockVersion:
		end := len(data) - 4
		if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
			return dst, fmt.Errorf("decode block: wrong checksum: %w", ErrBadBlock)
		}
		data = data[:end]
	case len(data) == 0 || data[0] != blockPlain:
		return dst, fmt.Errorf("decode block: unknown version: %w", ErrBadBlock)
	}
	data = data[1:]
	count, n := binary.Uvarint(data)
	if n <= 0 || count > uint64(len(data)) {
		return dst, fmt.Errorf("decode block: bad count: %w", ErrBadBlock)
	}
	data = data[n:]
	now, n := binary.Varint(data)
	if n <= 0 {
		return dst, fmt.Errorf("decode block: bad time: %w", ErrBadBlock)
	}
	data = data[n:]
	for i := range count {
		head, n := binary.Uvarint(data)
		if n <= 0 {
			return dst, fmt.Errorf("decode block: bad length: %w", ErrBadBlock)
		}
		data = data[n:]
		delta, n := binary.Varint(data)
		if n <= 0 {
			return dst, fmt.Errorf("decode block: bad time: %w", ErrBadBlock)
		}
		data = data[n:]
		size := head >> 1
		if size > uint64(len(data)) {
			return dst, fmt.Errorf("decode block: short frame: %w", ErrBadBlock)
		}
		now += delta
		dir := FromAgent
		if head&1 == 1 {
			dir = FromClient
		}
		dst = append(dst, Entry{Seq: first + i, Time: now, Dir: dir, Frame: data[:size:size]})
		data = data[size:]
	}
	if len(data) != 0 {
		return dst, fmt.Errorf("decode block: %d bytes left over: %w", len(data), ErrBadBlock)
	}
	return dst, nil
}
