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
	"strings"
	"time"
	"unicode/utf8"
)

const exportFormat = 1

// Selection is what to export. A nil function takes all.
type Selection struct {
	Stream func(name string) bool
	Record func(kind, id string) bool

	// Records, unless it is nil, gives records to export in the place of those
	// of the journal, before the ends of the streams are looked at.
	Records func(put func(kind, id string, data []byte) error) error
}

// Tally counts what an export or import has moved.
type Tally struct {
	Records, Streams, Entries int
}

// line is one line of an export. Frames and records that are JSON stand there
// as they are, byte by byte; others in base64.
type line struct {
	Type    string          `json:"type"` // journal, record, entry, end
	Format  int             `json:"format"`
	Kind    string          `json:"kind"`
	ID      string          `json:"id"`
	Stream  string          `json:"stream"`
	Seq     uint64          `json:"seq"`
	Time    int64           `json:"time"`
	Dir     Direction       `json:"dir"`
	Frame   json.RawMessage `json:"frame"`
	Data    json.RawMessage `json:"data"`
	Base64  *string         `json:"base64"`
	Records int             `json:"records"`
	Streams int             `json:"streams"`
	Entries int             `json:"entries"`
}

// Export writes records and streams as lines of JSON: a head with the number of
// the format, the records, the entries of each stream, and a count of all at the
// end, so that a cut file is known. Behind the records it notes where each stream
// ends, and goes up to there: what is appended later is missing.
func (j *Journal) Export(ctx context.Context, w io.Writer, sel Selection) (Tally, error) {
	e := exporter{j: j, w: bufio.NewWriterSize(w, 64<<10)}
	if err := e.export(ctx, sel); err != nil {
		return e.tally, fmt.Errorf("export journal: %w", err)
	}
	return e.tally, nil
}

type exporter struct {
	j     *Journal
	w     *bufio.Writer
	buf   []byte
	tally Tally
}

func (e *exporter) export(ctx context.Context, sel Selection) error {
	if _, err := fmt.Fprintf(e.w, "{\"type\":\"journal\",\"format\":%d,\"created\":%d}\n", exportFormat, time.Now().UnixMilli()); err != nil {
		return err
	}
	if sel.Records == nil {
		sel.Records = func(put func(kind, id string, data []byte) error) error { return e.records(ctx, sel.Record, put) }
	}
	if err := sel.Records(e.record); err != nil {
		return err
	}
	infos, err := e.j.Streams(ctx, "")
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.First > info.Last || strings.HasPrefix(info.Name, importPrefix) || sel.Stream != nil && !sel.Stream(info.Name) {
			continue
		}
		if err := e.stream(ctx, info); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(e.w, "{\"type\":\"end\",\"records\":%d,\"streams\":%d,\"entries\":%d}\n",
		e.tally.Records, e.tally.Streams, e.tally.Entries); err != nil {
		return err
	}
	return e.w.Flush()
}

// records gives the records of the journal that are wanted.
func (e *exporter) records(ctx context.Context, wanted func(kind, id string) bool, put func(kind, id string, data []byte) error) error {
	kinds, err := e.j.RecordKinds(ctx)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		list, err := e.j.ListRecords(ctx, kind, "")
		if err != nil {
			return err
		}
		for _, r := range list {
			if wanted != nil && !wanted(kind, r.ID) {
				continue
			}
			if err := put(kind, r.ID, r.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *exporter) record(kind, id string, data []byte) error {
	buf := append(e.buf[:0], `{"type":"record","kind":`...)
	buf = appendString(buf, kind)
	buf = append(buf, `,"id":`...)
	buf = appendString(buf, id)
	e.tally.Records++
	return e.write(buf, "data", data)
}

func (e *exporter) stream(ctx context.Context, info StreamInfo) error {
	name := appendString(nil, info.Name)
	before := e.tally.Entries
	for r := e.j.Reader(info.Name, info.First-1); r.Cursor() < info.Last; {
		batch, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break // deleted meanwhile
		}
		if err != nil {
			return err
		}
		for _, entry := range batch.Entries {
			if entry.Seq > info.Last {
				break
			}
			buf := append(e.buf[:0], `{"type":"entry","stream":`...)
			buf = append(buf, name...)
			buf = fmt.Appendf(buf, `,"seq":%d,"time":%d,"dir":"%s"`, entry.Seq, entry.Time, entry.Dir)
			if err := e.write(buf, "frame", entry.Frame); err != nil {
				return err
			}
			e.tally.Entries++
		}
	}
	if e.tally.Entries > before {
		e.tally.Streams++
	}
	return nil
}

// write ends a line with its data, which has the given name if it is JSON.
func (e *exporter) write(buf []byte, name string, data []byte) error {
	if plain(data) {
		buf = fmt.Appendf(buf, `,"%s":`, name)
		buf = append(buf, data...)
	} else {
		buf = append(buf, `,"base64":"`...)
		buf = base64.StdEncoding.AppendEncode(buf, data)
		buf = append(buf, '"')
	}
	buf = append(buf, "}\n"...)
	_, err := e.w.Write(buf)
	e.buf = buf[:0]
	return err
}

// plain reports whether data comes back unchanged as a JSON value in a line.
func plain(data []byte) bool {
	return utf8.Valid(data) && !bytes.ContainsAny(data, "\r\n") && len(bytes.TrimSpace(data)) == len(data) && json.Valid(data)
}

// appendString appends a name, which is UTF-8, as JSON.
func appendString(buf []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string fails
	}
	return append(buf, quoted...)
}
