package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite/tail"
)

// salvageBytes is how much is written to the new store at once.
const salvageBytes = 1 << 20

// salvageProbes is at how many places of a stream it is entered.
const salvageProbes = 64

// errKnown ends a walk where another one has been.
var errKnown = errors.New("known already")

// Salvaged is what was found in a damaged file.
type Salvaged struct {
	journal.Tally
	Lost int // blocks and records that are known of and cannot be read
}

// Salvage copies what is readable of a damaged journal, and of its tail, into an
// empty store. The files are not changed. Entries that are gone are gaps of their streams; streams
// whose names are gone are called salvaged/1 and so on. If nothing can be read
// at all it returns a problem of the code data_corrupt.
func Salvage(ctx context.Context, path string, to journal.Store) (found Salvaged, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return found, fmt.Errorf("salvage journal: %w", err)
	}
	// To open would make a missing file.
	if _, err := os.Stat(path); err != nil {
		return found, fmt.Errorf("salvage journal: %w", err)
	}
	lock, err := lockData(path)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	// Only a reader without the right to write leaves the log of the file alone, and SQLite
	// opens a file that was cut only for those who say that they repair it.
	db, err := connectAs("ro", path, "writable_schema(1)")
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s := salvage{db: db, to: to}
	if s.tail, err = tail.ReadAll(path); err != nil {
		return found, fmt.Errorf("salvage journal: %w", err)
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil && len(s.tail) == 0 {
		return found, openError(path, err)
	}
	if err := s.streams(ctx); err != nil {
		return s.found, fmt.Errorf("salvage journal: %w", err)
	}
	if err := s.records(ctx); err != nil {
		return s.found, fmt.Errorf("salvage journal: %w", err)
	}
	return s.found, nil
}

type salvage struct {
	db    *sql.DB
	to    journal.Store
	tail  map[string][]journal.Block
	found Salvaged
}

// scan reads rows until they end or cannot be read.
func (s *salvage) scan(ctx context.Context, row func(*sql.Rows) error, query string, args ...any) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return
	}
	defer rows.Close()
	for rows.Next() && row(rows) == nil {
	}
}

// fromBothEnds reads rows from each end of an order to where the damage is.
func (s *salvage) fromBothEnds(ctx context.Context, row func(*sql.Rows) error, query, key string, args ...any) {
	for _, order := range []string{" ASC", " DESC"} {
		s.scan(ctx, row, query+" ORDER BY "+key+order, args...)
	}
}

// names returns the streams by id, from the table and from its index.
func (s *salvage) names(ctx context.Context) map[int64]string {
	names := make(map[int64]string)
	row := func(rows *sql.Rows) error {
		var id int64
		var name string
		err := rows.Scan(&id, &name)
		if err == nil {
			names[id] = name
		}
		return err
	}
	s.fromBothEnds(ctx, row, "SELECT id, name FROM streams", "id")
	s.fromBothEnds(ctx, row, "SELECT id, name FROM streams", "name")
	for id, more := int64(-1), true; more; {
		more = false
		s.scan(ctx, func(rows *sql.Rows) error {
			more = true
			return rows.Scan(&id)
		}, "SELECT stream FROM blocks WHERE stream > ? ORDER BY stream LIMIT 1", id)
		if _, known := names[id]; more && !known {
			names[id] = fmt.Sprintf("salvaged/%d", id)
		}
	}
	return names
}

func (s *salvage) streams(ctx context.Context) error {
	names := s.names(ctx)
	written := make(map[string]bool)
	for _, id := range slices.Sorted(maps.Keys(names)) {
		// A damaged name may be one that there is.
		name := names[id]
		if written[name] {
			name = fmt.Sprintf("salvaged/%d", id)
		}
		written[name] = true
		if err := s.stream(ctx, id, name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.tail)) {
		if !written[name] {
			c := copier{s: s, name: name}
			if err := c.finish(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// stream copies the blocks of a stream, one by one: the order of their keys
// can be walked past blocks that are damaged.
func (s *salvage) stream(ctx context.Context, id int64, name string) error {
	firsts := make(map[int64]bool)
	row := func(rows *sql.Rows) error {
		var first int64
		if err := rows.Scan(&first); err != nil {
			return err
		}
		if firsts[first] {
			return errKnown
		}
		firsts[first] = true
		return nil
	}
	// Between two damaged pages there may be whole ones, which are reached only
	// from within.
	var end int64
	s.scan(ctx, func(rows *sql.Rows) error { return rows.Scan(&end) }, "SELECT last FROM streams WHERE id = ?", id)
	for i := range int64(salvageProbes) {
		at := end / salvageProbes * i
		s.scan(ctx, row, "SELECT first FROM blocks WHERE stream = ? AND first >= ? ORDER BY first", id, at)
		s.scan(ctx, row, "SELECT first FROM blocks WHERE stream = ? AND first < ? ORDER BY first DESC", id, at)
	}
	s.fromBothEnds(ctx, row, "SELECT first FROM blocks WHERE stream = ?", "first", id)
	c := copier{s: s, name: name}
	for _, first := range slices.Sorted(maps.Keys(firsts)) {
		b := journal.Block{Stream: name}
		err := s.db.QueryRowContext(ctx, "SELECT first, last, oldest, newest, data FROM blocks WHERE stream = ? AND first = ?", id, first).
			Scan(&b.First, &b.Last, &b.Oldest, &b.Newest, &b.Data)
		if err != nil {
			b = journal.Block{}
		}
		if err := c.add(ctx, b); err != nil {
			return err
		}
	}
	return c.finish(ctx)
}

// copier writes the blocks of one stream to the new store.
type copier struct {
	s       *salvage
	name    string
	blocks  []journal.Block
	size    int
	entries int
	last    uint64
}

func (c *copier) add(ctx context.Context, b journal.Block) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.First <= c.last || !whole(b) {
		c.s.found.Lost++
		return nil
	}
	c.last = b.Last
	c.blocks, c.size, c.entries = append(c.blocks, b), c.size+len(b.Data), c.entries+int(b.Last-b.First+1)
	if c.size < salvageBytes {
		return nil
	}
	err := c.s.to.AppendBlocks(ctx, c.blocks)
	c.blocks, c.size = c.blocks[:0], 0
	return err
}

// finish adds what of the stream is only in the tail.
func (c *copier) finish(ctx context.Context) error {
	for _, b := range c.s.tail[c.name] {
		if b.First > c.last {
			if err := c.add(ctx, b); err != nil {
				return err
			}
		}
	}
	if c.entries == 0 {
		return ctx.Err()
	}
	c.s.found.Streams++
	c.s.found.Entries += c.entries
	return c.s.to.AppendBlocks(ctx, c.blocks)
}

func whole(b journal.Block) bool {
	entries, err := journal.DecodeBlock(nil, b.First, b.Data)
	return err == nil && len(entries) > 0 && entries[len(entries)-1].Seq == b.Last
}

func (s *salvage) records(ctx context.Context) error {
	type key struct{ kind, id string }
	keys := make(map[key]bool)
	s.fromBothEnds(ctx, func(rows *sql.Rows) error {
		var k key
		err := rows.Scan(&k.kind, &k.id)
		if err == nil {
			keys[k] = true
		}
		return err
	}, "SELECT kind, id FROM records", "kind")
	for k := range keys {
		var data []byte
		if err := s.db.QueryRowContext(ctx, "SELECT data FROM records WHERE kind = ? AND id = ?", k.kind, k.id).Scan(&data); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.found.Lost++
			continue
		}
		switch _, err := s.to.GetRecord(ctx, k.kind, k.id); {
		case err == nil:
			return api.Conflict(api.CodeAlreadyExists, "there is a record %s %s", k.kind, k.id)
		case !errors.Is(err, api.CodeRecordNotFound):
			return err
		}
		if err := s.to.PutRecord(ctx, k.kind, k.id, data); err != nil {
			return err
		}
		s.found.Records++
	}
	return nil
}
