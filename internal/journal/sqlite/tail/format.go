package tail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// A tail file is a row of records, each of them what one Append has written: a
// head, a version byte, the number of the record, and blocks up to its end. Numbers
// go on by one, from file to file. A record that is cut ends the file; one that is
// damaged is passed over, and readers get a gap for what it held.
const version = 1

// headSize is the size of a head: the length and the CRC-32C of what follows, four
// bytes each.
const headSize = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal fills the head of buf, for which there is room.
func seal(buf []byte) {
	binary.LittleEndian.PutUint32(buf, uint32(len(buf)-headSize))
	binary.LittleEndian.PutUint32(buf[4:], crc32.Checksum(buf[headSize:], castagnoli))
}

// unseal returns what follows the head that data starts with, if it is whole.
func unseal(data []byte) (body []byte, ok bool) {
	if len(data) < headSize {
		return nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	if n > uint64(len(data)-headSize) {
		return nil, false
	}
	body = data[headSize : headSize+n]
	return body, crc32.Checksum(body, castagnoli) == binary.LittleEndian.Uint32(data[4:])
}

var errBadRecord = errors.New("malformed record")

// record is a record of a tail file.
type record struct {
	number uint64
	blocks []journal.Block
}

// encodeRecord returns the record of some blocks, and the blocks as parts of it.
func encodeRecord(number uint64, blocks []journal.Block) ([]byte, []journal.Block, error) {
	size := headSize + 1 + binary.MaxVarintLen64
	for i := range blocks {
		size += len(blocks[i].Stream) + len(blocks[i].Data) + 6*binary.MaxVarintLen64
	}
	if size > math.MaxInt32 {
		return nil, nil, fmt.Errorf("encode blocks: %d bytes are too many at once", size)
	}
	buf := make([]byte, headSize, size)
	buf = append(buf, version)
	buf = binary.AppendUvarint(buf, number)
	own := make([]journal.Block, len(blocks))
	for i, b := range blocks {
		buf = binary.AppendUvarint(buf, uint64(len(b.Stream)))
		buf = append(buf, b.Stream...)
		buf = binary.AppendUvarint(buf, b.First)
		buf = binary.AppendUvarint(buf, b.Last-b.First)
		buf = binary.AppendVarint(buf, b.Oldest)
		buf = binary.AppendVarint(buf, b.Newest)
		buf = binary.AppendUvarint(buf, uint64(len(b.Data)))
		from := len(buf)
		buf = append(buf, b.Data...)
		b.Data = buf[from:len(buf):len(buf)]
		own[i] = b
	}
	seal(buf)
	return buf, own, nil
}

// decode returns the whole records of a tail file and the bytes that they
// take, damaged ones between them included. Their blocks are parts of data.
// damaged counts the bytes that are of none.
func decode(data []byte) (records []record, size, damaged int) {
	number := uint64(0)
	for at := 0; len(data)-at > headSize; {
		r, n, ok := decodeRecord(data[at:])
		if !ok || r.number <= number {
			at = nextRecord(data, at, number)
			continue
		}
		records, number = append(records, r), r.number
		damaged += at - size
		at += n
		size = at
	}
	return records, size, damaged + len(data) - size
}

// decodeRecord returns the record that data starts with, and its size.
func decodeRecord(data []byte) (r record, size int, ok bool) {
	body, ok := unseal(data)
	if !ok {
		return r, 0, false
	}
	r, err := decodeBody(body)
	return r, headSize + len(body), err == nil
}

// maxMissing is how many records may be damaged in a row. It bounds where a
// search takes bytes for the head of a record.
const maxMissing = 1 << 16

// nextRecord returns where a record can start behind the damaged one at at, whose
// length is not to be trusted. number is that of the last good record, 0 if there
// is none.
func nextRecord(data []byte, at int, number uint64) int {
	for at++; len(data)-at > headSize; at++ {
		if data[at+headSize] != version || uint64(binary.LittleEndian.Uint32(data[at:])) > uint64(len(data)-at-headSize) {
			continue
		}
		next, n := binary.Uvarint(data[at+headSize+1:])
		if n > 0 && next > number && (number == 0 || next-number <= maxMissing) {
			return at
		}
	}
	return len(data)
}

func decodeBody(body []byte) (r record, err error) {
	if len(body) == 0 || body[0] != version {
		return r, fmt.Errorf("decode record: unknown version: %w", errBadRecord)
	}
	d := decoder{rest: body[1:]}
	r.number = d.uvarint()
	for len(d.rest) > 0 && !d.bad {
		b := journal.Block{Stream: string(d.bytes())}
		b.First = d.uvarint()
		b.Last = b.First + d.uvarint()
		b.Oldest, b.Newest = d.varint(), d.varint()
		b.Data = d.bytes()
		d.bad = d.bad || b.First == 0 || b.Last < b.First
		r.blocks = append(r.blocks, b)
	}
	if d.bad {
		return record{}, fmt.Errorf("decode record %d: %w", r.number, errBadRecord)
	}
	return r, nil
}

// decoder takes values off the front of a record.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.skip(n)
	return v
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.bad, n = true, len(d.rest)
	}
	d.rest = d.rest[n:]
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad, n = true, 0
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}
