// Package tail has the small checksummed files alongside a SQLite journal: the two
// of the tail, in which blocks are until SQLite has them, and that of the numbers
// that were reserved while the disk was full. It knows what is in the files, what
// of a damaged one is good, and how a record gets there wholly or not at all. It
// knows neither SQLite nor when blocks go there, and does not lock: one caller at a
// time uses a file.
package tail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// A tail file is a row of records, each of them what one AppendBlocks has
// written: the length and the CRC-32C of the rest, four bytes each, a version
// byte, the number of the record, and blocks up to its end. Numbers go on by one,
// from file to file. A record that is cut ends the file; one that is damaged is
// passed over, and readers get a gap for what it held.
const (
	tailVersion = 1
	tailHead    = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Suffixes name the two files of the tail, after the name of the SQLite file.
var Suffixes = [2]string{"-tail0", "-tail1"}

var errBadRecord = errors.New("malformed record")

// Group is a record of a tail file.
type Group struct {
	Number uint64
	Blocks []journal.Block
}

// EncodeGroup returns the record of some blocks, and the blocks as parts of it.
func EncodeGroup(number uint64, blocks []journal.Block) ([]byte, []journal.Block, error) {
	size := tailHead + 1 + binary.MaxVarintLen64
	for i := range blocks {
		size += len(blocks[i].Stream) + len(blocks[i].Data) + 6*binary.MaxVarintLen64
	}
	if size > math.MaxInt32 {
		return nil, nil, fmt.Errorf("encode blocks: %d bytes are too many at once", size)
	}
	buf := make([]byte, tailHead, size)
	buf = append(buf, tailVersion)
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
	binary.LittleEndian.PutUint32(buf, uint32(len(buf)-tailHead))
	binary.LittleEndian.PutUint32(buf[4:], crc32.Checksum(buf[tailHead:], castagnoli))
	return buf, own, nil
}

// DecodeTail returns the whole records of a tail file and the bytes that they
// take, damaged ones between them included. Their blocks are parts of data.
// damaged counts the bytes that are of none.
func DecodeTail(data []byte) (groups []Group, size, damaged int) {
	number := uint64(0)
	for at := 0; len(data)-at > tailHead; {
		g, n, ok := decodeRecord(data[at:])
		if !ok || g.Number <= number {
			at = nextRecord(data, at, number)
			continue
		}
		groups, number = append(groups, g), g.Number
		damaged += at - size
		at += n
		size = at
	}
	return groups, size, damaged + len(data) - size
}

// decodeRecord returns the record that data starts with, and its size.
func decodeRecord(data []byte) (g Group, size int, ok bool) {
	n := uint64(binary.LittleEndian.Uint32(data))
	if n > uint64(len(data)-tailHead) {
		return g, 0, false
	}
	body := data[tailHead : tailHead+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return g, 0, false
	}
	g, err := decodeGroup(body)
	return g, tailHead + int(n), err == nil
}

// maxMissing is how many records may be damaged in a row. It bounds where a
// search takes bytes for the head of a record.
const maxMissing = 1 << 16

// nextRecord returns where a record can start behind the damaged one at at, whose
// length is not to be trusted. number is that of the last good record, 0 if there
// is none.
func nextRecord(data []byte, at int, number uint64) int {
	for at++; len(data)-at > tailHead; at++ {
		if data[at+tailHead] != tailVersion || uint64(binary.LittleEndian.Uint32(data[at:])) > uint64(len(data)-at-tailHead) {
			continue
		}
		next, n := binary.Uvarint(data[at+tailHead+1:])
		if n > 0 && next > number && (number == 0 || next-number <= maxMissing) {
			return at
		}
	}
	return len(data)
}

func decodeGroup(body []byte) (g Group, err error) {
	if len(body) == 0 || body[0] != tailVersion {
		return g, fmt.Errorf("decode record: unknown version: %w", errBadRecord)
	}
	d := decoder{rest: body[1:]}
	g.Number = d.uvarint()
	for len(d.rest) > 0 && !d.bad {
		b := journal.Block{Stream: string(d.bytes())}
		b.First = d.uvarint()
		b.Last = b.First + d.uvarint()
		b.Oldest, b.Newest = d.varint(), d.varint()
		b.Data = d.bytes()
		d.bad = d.bad || b.First == 0 || b.Last < b.First
		g.Blocks = append(g.Blocks, b)
	}
	if d.bad {
		return Group{}, fmt.Errorf("decode record %d: %w", g.Number, errBadRecord)
	}
	return g, nil
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

// Half is one of the two tail files, and what it holds that SQLite may lack.
type Half struct {
	File *os.File
	Size int64 // of the whole records in the file
	torn bool  // there may be more behind Size

	Damaged int // bytes that were found in the file and are of no record
	Runs    []*Run
	Index   map[string]*Run
	Bytes   int64 // of the blocks and the names of their streams
}

// Run is what a half holds of one stream.
type Run struct {
	Blocks []journal.Block // in order
}

// Last returns the number of the last entry of the run.
func (r *Run) Last() uint64 { return r.Blocks[len(r.Blocks)-1].Last }

// Add notes a block that is in the file and SQLite may lack.
func (h *Half) Add(b journal.Block) {
	r := h.Index[b.Stream]
	if r == nil {
		r = new(Run)
		if h.Index == nil {
			h.Index = make(map[string]*Run)
		}
		h.Index[b.Stream] = r
		h.Runs = append(h.Runs, r)
	}
	r.Blocks = append(r.Blocks, b)
	h.Bytes += int64(len(b.Data) + len(b.Stream))
}

// Write puts a record at the end of the file, wholly or not at all.
func (h *Half) Write(record []byte) error {
	if err := h.Clean(); err != nil {
		return err
	}
	if _, err := h.File.WriteAt(record, h.Size); err != nil {
		h.torn = true
		return errors.Join(fmt.Errorf("write tail: %w", err), h.Clean())
	}
	h.Size += int64(len(record))
	return nil
}

// Clean cuts off what is behind the whole records. Until that is done nothing
// may be written: a later, shorter record would leave a part of it.
func (h *Half) Clean() error {
	if !h.torn {
		return nil
	}
	if err := h.File.Truncate(h.Size); err != nil {
		return fmt.Errorf("cut tail: %w", err)
	}
	h.torn = false
	return nil
}

// Forget drops what SQLite has now.
func (h *Half) Forget() {
	h.torn = h.torn || h.Size > 0
	h.Size, h.Bytes, h.Runs, h.Index = 0, 0, nil, nil
}

// ReadHalf opens a tail file, or makes one, and returns the records in it.
func ReadHalf(path string) (*Half, []Group, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open tail: %w", err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read tail: %w", err), f.Close())
	}
	groups, size, damaged := DecodeTail(data)
	return &Half{File: f, Size: int64(size), torn: size < len(data), Damaged: damaged}, groups, nil
}
