package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// trimBlocks is how many blocks a transaction drops, so that appending goes on
// in between.
const trimBlocks = 128

// oldest is what the retention has to know of a block.
type oldest struct {
	first, last  uint64
	newest, size int64
}

// Trim applies a retention to some streams, or to all.
func (s *Store) Trim(ctx context.Context, only []string, keep journal.Retention, now time.Time) ([]journal.StreamInfo, error) {
	type stream struct {
		journal.StreamInfo
		oldest
	}
	scan := func(row pgx.CollectableRow) (c stream, err error) {
		err = row.Scan(&c.Name, &c.First, &c.Last, &c.Bytes, &c.Created, &c.Updated, &c.Merged,
			&c.last, &c.newest, &c.size)
		return c, err
	}
	streams, err := read(ctx, s, scan, `
		SELECT s.name, s.first, s.last, s.bytes, s.created, s.updated, s.merged, b.last, b.newest, octet_length(b.data)
		FROM streams s, LATERAL (SELECT * FROM blocks WHERE stream = s.id ORDER BY first LIMIT 1) b
		WHERE $1::text[] IS NULL OR s.name = ANY($1) ORDER BY name`, only)
	if err != nil {
		return nil, fmt.Errorf("trim streams: %w", err)
	}
	var changed []journal.StreamInfo
	for _, c := range streams {
		if !keep.Drops(c.StreamInfo, c.last, c.newest, c.size, now) {
			continue
		}
		info, more := c.StreamInfo, true
		for more {
			if info, more, err = s.trimSome(ctx, info.Name, keep, now); err != nil {
				return changed, fmt.Errorf("trim %s: %w", c.Name, err)
			}
		}
		if info.First != c.First {
			changed = append(changed, info)
		}
	}
	return changed, nil
}

// trimSome drops up to trimBlocks blocks of a stream and reports whether there
// may be more to drop.
func (s *Store) trimSome(ctx context.Context, stream string, keep journal.Retention, now time.Time) (info journal.StreamInfo, more bool, err error) {
	if info, err = s.Stream(ctx, stream); err != nil {
		return info, false, err
	}
	scan := func(row pgx.CollectableRow) (o oldest, err error) {
		err = row.Scan(&o.first, &o.last, &o.newest, &o.size)
		return o, err
	}
	blocks, err := read(ctx, s, scan, `
		SELECT first, last, newest, octet_length(data) FROM blocks
		WHERE stream = (SELECT id FROM streams WHERE name = $1) ORDER BY first LIMIT $2`, stream, trimBlocks+1)
	if err != nil {
		return info, false, err
	}
	n, before := 0, info.Bytes
	for _, b := range blocks {
		info.First = max(info.First, b.first)
		if n == trimBlocks || !keep.Drops(info, b.last, b.newest, b.size, now) {
			break
		}
		n++
		info.First = b.last + 1
		info.Bytes -= b.size
	}
	if n == 0 {
		return info, false, nil
	}
	// Not twice: what is taken off the size is.
	err = s.write(ctx, false, func(ctx context.Context, conn *pgx.Conn) error {
		return atomically(ctx, conn, func(batch *pgx.Batch) {
			batch.Queue("DELETE FROM blocks WHERE stream = (SELECT id FROM streams WHERE name = $1) AND first < $2",
				stream, int64(info.First))
			batch.Queue("UPDATE streams SET first = $2, bytes = bytes - $3 WHERE name = $1",
				stream, int64(info.First), before-info.Bytes)
		})
	})
	return info, n == trimBlocks, err
}

// Replace puts a block in the place of smaller ones, or notes how far that is
// done.
func (s *Store) Replace(ctx context.Context, b journal.Block) error {
	err := s.write(ctx, true, func(ctx context.Context, conn *pgx.Conn) error {
		if b.Data == nil {
			_, err := conn.Exec(ctx, "UPDATE streams SET merged = $2 WHERE name = $1", b.Stream, int64(b.Last))
			return err
		}
		var id, size int64
		var same bool
		// Only this connection writes, so that nothing changes in between.
		err := conn.QueryRow(ctx, `
			SELECT coalesce(max(stream), 0), coalesce(sum(octet_length(data)), 0),
				coalesce(min(first) = $2 AND max(last) = $3 AND sum(last - first + 1) = $3 - $2 + 1, false)
			FROM blocks WHERE stream = (SELECT id FROM streams WHERE name = $1) AND first BETWEEN $2 AND $3`,
			b.Stream, int64(b.First), int64(b.Last)).Scan(&id, &size, &same)
		if err != nil || !same {
			return err
		}
		return atomically(ctx, conn, func(batch *pgx.Batch) {
			batch.Queue("DELETE FROM blocks WHERE stream = $1 AND first BETWEEN $2 AND $3", id, int64(b.First), int64(b.Last))
			batch.Queue("INSERT INTO blocks (stream, first, last, oldest, newest, data) VALUES ($1, $2, $3, $4, $5, $6)",
				id, int64(b.First), int64(b.Last), b.Oldest, b.Newest, b.Data)
			batch.Queue("UPDATE streams SET bytes = bytes + $2, merged = $3 WHERE id = $1",
				id, int64(len(b.Data))-size, int64(b.Last))
		})
	})
	if err != nil {
		return fmt.Errorf("replace blocks: %w", err)
	}
	return nil
}

// Vacuum lets the server use the room of what was dropped again; it also does
// that by itself, later.
func (s *Store) Vacuum(ctx context.Context) error {
	for _, table := range []string{"blocks", "streams"} {
		if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE) "+table, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("vacuum %s: %w", table, s.fault(err))
		}
	}
	return nil
}
