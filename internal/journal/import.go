package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// importBytes is how much of a stream is written at once.
const importBytes = 1 << 20

// importPrefix starts the names that streams have until all of an import is there.
// What a killed import has left of them is removed when the journal is opened, or
// trimmed.
const importPrefix = "import/"

// ImportOptions change what is imported on its way. A nil function keeps it.
type ImportOptions struct {
	// Stream returns the new name; an empty one leaves the stream out.
	Stream func(name string) (string, error)
	// Record returns the new id and document, which may name streams; an empty id
	// leaves the record out.
	Record func(kind, id string, data []byte) (newID string, newData []byte, err error)
}

// Import reads what Export has written, and counts what it has kept. Either all of
// it is there in the end or nothing, whenever the process is killed: a file that is
// not whole is a problem of the code invalid_request, and a stream or record that
// exists one of the code already_exists. Numbers and times stay as they were. Nobody
// else may write what is imported meanwhile.
func (j *Journal) Import(ctx context.Context, r io.Reader, opts ImportOptions) (Tally, error) {
	if err := j.Health(); err != nil {
		return Tally{}, err
	}
	m := importer{
		j: j, opts: opts, nonce: rand.Text(),
		streams: make(map[string]*incoming), taken: make(map[string]bool), records: make(map[recordKey][]byte),
	}
	j.imports.Add(1)
	defer j.imports.Add(-1)
	err := m.read(ctx, r)
	if err == nil {
		err = m.flush(ctx)
	}
	if err == nil {
		err = m.install(ctx)
	}
	if err != nil {
		return Tally{}, errors.Join(fmt.Errorf("import journal: %w", err), m.undo(context.WithoutCancel(ctx)))
	}
	return m.kept, nil
}

type importer struct {
	j       *Journal
	opts    ImportOptions
	nonce   string               // tells imports apart
	streams map[string]*incoming // by the name in the file
	taken   map[string]bool      // new names
	records map[recordKey][]byte
	tally   Tally // what was read
	kept    Tally

	current *incoming // stream of entries
	entries []Entry
	bytes   int
}

// incoming is a stream that is being imported.
type incoming struct {
	name  string // new
	out   bool   // it is left out
	draft string // name it has meanwhile
	last  uint64 // entry that was read
	wrote uint64 // entry that was written
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
		return api.TooLarge("maxFrameBytes", m.j.opts.MaxFrameBytes)
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
	m.tally.Records++
	if key.id == "" && l.ID != "" {
		return nil
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
	m.kept.Records++
	return nil
}

func (m *importer) entry(ctx context.Context, l line, n int) error {
	frame, err := l.data(l.Frame, n)
	if err != nil {
		return err
	}
	if int64(len(frame)) > m.j.opts.MaxFrameBytes {
		return api.TooLarge("maxFrameBytes", m.j.opts.MaxFrameBytes)
	}
	s := m.streams[l.Stream]
	if s == nil {
		if s, err = m.begin(l.Stream, n); err != nil {
			return err
		}
	}
	if l.Seq <= s.last {
		return malformed(n, "entry %d of %s is out of order", l.Seq, l.Stream)
	}
	s.last = l.Seq
	m.tally.Entries++
	if s.out {
		return nil
	}
	if s != m.current || m.bytes >= importBytes {
		if err := m.flush(ctx); err != nil {
			return err
		}
		m.current = s
	}
	m.entries = append(m.entries, Entry{Seq: l.Seq, Time: l.Time, Dir: l.Dir, Frame: frame})
	m.bytes += len(frame) + entryCost
	m.kept.Entries++
	return nil
}

// begin gives a stream of the file, which line n is the first of, its new name.
func (m *importer) begin(stream string, n int) (*incoming, error) {
	s := &incoming{name: stream, draft: fmt.Sprintf("%s%s/%d", importPrefix, m.nonce, len(m.streams))}
	if m.opts.Stream != nil {
		var err error
		if s.name, err = m.opts.Stream(stream); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	m.streams[stream] = s
	m.tally.Streams++
	if s.out = s.name == "" && m.opts.Stream != nil; s.out {
		return s, nil
	}
	m.kept.Streams++
	if err := checkName(s.name); err != nil {
		return nil, err
	}
	if strings.HasPrefix(s.name, importPrefix) {
		return nil, malformed(n, "a stream may not be named %s", s.name)
	}
	last, err := m.j.Last(s.name)
	if err == nil && (last > 0 || m.taken[s.name]) {
		err = streamExists(s.name)
	}
	m.taken[s.name] = true
	return s, err
}

func streamExists(name string) error {
	return api.Conflict(api.CodeAlreadyExists, "there is a stream %s", name)
}

// flush writes the entries that were read.
func (m *importer) flush(ctx context.Context) error {
	if len(m.entries) == 0 {
		return nil
	}
	s := m.current
	before := s.wrote
	s.wrote = m.entries[len(m.entries)-1].Seq // a write that has failed may have taken effect all the same
	if err := m.j.put(ctx, s.draft, before, blocksOf(s.draft, m.entries)); err != nil {
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
	s.changed.wake()
	return nil
}

// install gives the streams their names and stores the records, all at once.
func (m *importer) install(ctx context.Context) error {
	j := m.j
	j.maintain.Lock()
	defer j.maintain.Unlock()
	j.commitMu.Lock()
	defer j.commitMu.Unlock()
	names := make(map[string]string, len(m.streams))
	for _, s := range m.streams {
		if s.out {
			continue
		}
		if last, err := j.Last(s.name); err != nil || last > 0 {
			return cmp.Or(err, streamExists(s.name))
		}
		names[s.draft] = s.name
	}
	records := make(map[string][]Record)
	for key, data := range m.records {
		records[key.kind] = append(records[key.kind], Record{ID: key.id, Data: data})
	}
	err := j.store.Install(ctx, names, records)
	for draft, name := range names { // an install that has failed may have taken effect all the same
		j.discard(draft)
		j.discard(name)
	}
	if err != nil {
		return storageError("%w", err)
	}
	return nil
}

// undo removes what was written.
func (m *importer) undo(ctx context.Context) error {
	var errs []error
	for _, s := range m.streams {
		if s.wrote > 0 {
			errs = append(errs, m.j.Delete(ctx, s.draft))
		}
	}
	return errors.Join(errs...)
}

// removeDrafts removes what imports have left that were killed or could not be
// undone, unless one is under way. What cannot be removed belongs to none and does
// no harm.
func (j *Journal) removeDrafts(ctx context.Context) {
	drafts, err := j.store.Streams(ctx, importPrefix)
	if j.imports.Load() > 0 { // one that begins now has none of these
		return
	}
	for _, s := range drafts {
		err = errors.Join(err, j.Delete(ctx, s.Name))
	}
	if err != nil {
		j.opts.Logger.Warn("remove what is left of an import", "error", err)
	}
}
