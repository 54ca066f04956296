package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/sandboxagent/sandboxagent/api"
)

// importBytes is how much of a stream is written at once.
const importBytes = 1 << 20

// ImportOptions change what is imported on its way. A nil function keeps it.
type ImportOptions struct {
	Stream func(name string) string // returns the new name
	// Record returns the new id and document, which may name streams.
	Record func(kind, id string, data []byte) (newID string, newData []byte, err error)
}

// Import reads what Export has written. Either all of it is there in the end or
// nothing: a file that is not whole is a problem of the code invalid_request,
// and a stream or record that exists one of the code already_exists. Numbers
// and times stay as they were. Records come last, so that what a killed import
// leaves behind belongs to none.
func (j *Journal) Import(ctx context.Context, r io.Reader, opts ImportOptions) (Tally, error) {
	if err := j.Health(); err != nil {
		return Tally{}, err
	}
	m := importer{
		j: j, opts: opts,
		names: make(map[string]string), taken: make(map[string]bool),
		streams: make(map[string]uint64), records: make(map[recordKey][]byte),
	}
	err := m.read(ctx, r)
	if err == nil {
		err = m.flush(ctx)
	}
	if err == nil {
		err = m.putRecords(ctx)
	}
	if err != nil {
		return Tally{}, errors.Join(fmt.Errorf("import journal: %w", err), m.undo(context.WithoutCancel(ctx)))
	}
	return m.tally, nil
}

type importer struct {
	j       *Journal
	opts    ImportOptions
	names   map[string]string // of streams, to the new ones
	taken   map[string]bool   // new names
	streams map[string]uint64 // new names of what is begun, to the last entry that is written
	records map[recordKey][]byte
	put     []recordKey
	tally   Tally

	stream  string // new name of entries
	entries []Entry
	bytes   int
}

func (m *importer) read(ctx context.Context, r io.Reader) error {
	lines := bufio.NewScanner(r)
	longest := min(2*m.j.opts.MaxFrameBytes+64<<10, math.MaxInt32)
	lines.Buffer(nil, int(longest))
	n, ended := 0, false
	for lines.Scan() {
		n++
		if err := ctx.Err(); err != nil {
			return err
		}
		if ended {
			return malformed(n, "there is more behind the end")
		}
		l, err := parseLine(lines.Bytes(), n)
		if err != nil {
			return err
		}
		switch l.Type {
		case "journal":
		case "record":
			err = m.record(ctx, l, n)
		case "entry":
			err = m.entry(ctx, l, n)
		case "end":
			ended = true
			if got := (Tally{l.Records, l.Streams, l.Entries}); got != m.tally {
				err = malformed(n, "the end counts %+v, there were %+v", got, m.tally)
			}
		}
		if err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return api.TooLarge("max_frame_bytes", m.j.opts.MaxFrameBytes)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !ended {
		return malformed(n, "the end is missing")
	}
	return nil
}

func malformed(n int, format string, args ...any) error {
	return api.InvalidRequest(api.CodeInvalidRequest, "line %d of the export: %w", n, fmt.Errorf(format, args...))
}

// parseLine reads the line with the number n, the first being 1.
func parseLine(text []byte, n int) (line, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return l, malformed(n, "%w", err)
	}
	if (n == 1) != (l.Type == "journal") {
		return l, malformed(n, "the head is missing or not alone")
	}
	switch l.Type {
	case "journal":
		if l.Format != exportFormat {
			return l, malformed(n, "unknown format %d", l.Format)
		}
	case "record":
		if l.Kind == "" || checkName(l.Kind) != nil || checkName(l.ID) != nil {
			return l, malformed(n, "bad kind or id of a record")
		}
	case "entry":
		if l.Seq == 0 || l.Seq > math.MaxInt64/2 || l.Dir != FromAgent && l.Dir != FromClient {
			return l, malformed(n, "bad seq or dir of an entry")
		}
	case "end":
	default:
		return l, malformed(n, "unknown type %q", l.Type)
	}
	return l, nil
}

// data returns a copy of what a line carries.
func (l line) data(value json.RawMessage, n int) ([]byte, error) {
	if (value == nil) == (l.Base64 == nil) {
		return nil, malformed(n, "there must be either a value or base64")
	}
	if value != nil {
		return bytes.Clone(value), nil
	}
	data, err := base64.StdEncoding.DecodeString(*l.Base64)
	if err != nil {
		return nil, malformed(n, "%w", err)
	}
	return data, nil
}

func (m *importer) record(ctx context.Context, l line, n int) error {
	data, err := l.data(l.Data, n)
	if err != nil {
		return err
	}
	key := recordKey{l.Kind, l.ID}
	if m.opts.Record != nil {
		if key.id, data, err = m.opts.Record(l.Kind, l.ID, data); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	_, twice := m.records[key]
	_, err = m.j.GetRecord(ctx, key.kind, key.id)
	if twice || err == nil {
		return api.Conflict(api.CodeAlreadyExists, "there is a record %s %s", key.kind, key.id)
	}
	if !errors.Is(err, api.CodeRecordNotFound) {
		return err
	}
	m.records[key] = data
	m.tally.Records++
	return nil
}

func (m *importer) entry(ctx context.Context, l line, n int) error {
	frame, err := l.data(l.Frame, n)
	if err != nil {
		return err
	}
	if int64(len(frame)) > m.j.opts.MaxFrameBytes {
		return api.TooLarge("max_frame_bytes", m.j.opts.MaxFrameBytes)
	}
	name, known := m.names[l.Stream]
	if !known {
		if name, err = m.begin(l.Stream); err != nil {
			return err
		}
	}
	if name != m.stream || m.bytes >= importBytes {
		if err := m.flush(ctx); err != nil {
			return err
		}
		m.stream = name
	}
	last := m.streams[name]
	if k := len(m.entries); k > 0 {
		last = m.entries[k-1].Seq
	}
	if l.Seq <= last {
		return malformed(n, "entry %d of %s is out of order", l.Seq, l.Stream)
	}
	m.entries = append(m.entries, Entry{Seq: l.Seq, Time: l.Time, Dir: l.Dir, Frame: frame})
	m.bytes += len(frame) + entryCost
	m.tally.Entries++
	return nil
}

// begin gives a stream of the file its new name.
func (m *importer) begin(stream string) (string, error) {
	name := stream
	if m.opts.Stream != nil {
		name = m.opts.Stream(stream)
	}
	if err := checkName(name); err != nil {
		return "", err
	}
	if m.taken[name] {
		return "", api.Conflict(api.CodeAlreadyExists, "two streams would be %s", name)
	}
	m.names[stream], m.taken[name] = name, true
	m.tally.Streams++
	return name, nil
}

// flush writes the entries that were read.
func (m *importer) flush(ctx context.Context) error {
	if len(m.entries) == 0 {
		return nil
	}
	last := m.streams[m.stream]
	err := m.j.put(ctx, m.stream, last, blocksOf(m.stream, m.entries))
	if err != nil && errors.Is(err, api.CodeAlreadyExists) {
		return err
	}
	// A write that has failed may have taken effect all the same.
	m.streams[m.stream] = m.entries[len(m.entries)-1].Seq
	if err != nil {
		return err
	}
	m.entries, m.bytes = m.entries[:0], 0
	return nil
}

// blocksOf cuts entries, which may have holes, into blocks.
func blocksOf(stream string, entries []Entry) []Block {
	var blocks []Block
	for len(entries) > 0 {
		b := Block{Stream: stream, First: entries[0].Seq, Oldest: entries[0].Time, Newest: entries[0].Time}
		n, size := 0, 0
		for n < len(entries) && n < mergeEntries && size < mergeBytes && entries[n].Seq == b.First+uint64(n) {
			b.Oldest, b.Newest = min(b.Oldest, entries[n].Time), max(b.Newest, entries[n].Time)
			size += len(entries[n].Frame)
			n++
		}
		b.Last = entries[n-1].Seq
		b.Data = EncodeBlock(nil, entries[:n])
		blocks, entries = append(blocks, b), entries[n:]
	}
	return blocks
}

// put writes blocks behind the entry last of a stream, past the queue. Nobody
// else may append to that stream.
func (j *Journal) put(ctx context.Context, stream string, last uint64, blocks []Block) error {
	j.commitMu.Lock()
	defer j.commitMu.Unlock()
	s, err := j.stream(ctx, stream)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != last || s.durable != last {
		return api.Conflict(api.CodeAlreadyExists, "there is a stream %s", stream)
	}
	if err := j.store.AppendBlocks(ctx, blocks); err != nil {
		return storageError("import %s: %w", stream, err)
	}
	if last == 0 {
		s.first = blocks[0].First
	}
	s.last = blocks[len(blocks)-1].Last
	s.published, s.durable = s.last, s.last
	s.wakeAll()
	return nil
}

func (m *importer) putRecords(ctx context.Context) error {
	for key, data := range m.records {
		if err := m.j.PutRecord(ctx, key.kind, key.id, data); err != nil {
			return err
		}
		m.put = append(m.put, key)
	}
	return nil
}

// undo removes what was written.
func (m *importer) undo(ctx context.Context) error {
	var errs []error
	for _, key := range m.put {
		errs = append(errs, m.j.DeleteRecord(ctx, key.kind, key.id))
	}
	for name := range m.streams {
		errs = append(errs, m.j.Delete(ctx, name))
	}
	return errors.Join(errs...)
}
