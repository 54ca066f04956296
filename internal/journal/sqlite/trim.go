package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// trimBlocks is how many blocks a transaction drops, so that appending goes on
// in between.
const trimBlocks = 128

// trimSome drops up to trimBlocks blocks of a stream and returns how many.
func (s *Store) trimSome(ctx context.Context, stream string, keep journal.Retention, now time.Time) (info journal.StreamInfo, n int, err error) {
	// Most streams have nothing to drop; that is found without the writer.
	if info, err = s.stored(ctx, stream); err != nil {
		return info, 0, err
	}
	next, n, err := s.dropped(ctx, info, keep, now)
	if err != nil || n == 0 {
		return info, 0, err
	}
	freed := info.Bytes - next.Bytes
	err = s.transact(ctx, func() error {
		ctx := context.WithoutCancel(ctx)
		_, err := s.conn.ExecContext(ctx,
			"DELETE FROM blocks WHERE stream = (SELECT id FROM streams WHERE name = ?) AND first < ?", stream, next.First)
		if err != nil {
			return err
		}
		_, err = s.conn.ExecContext(ctx,
			"UPDATE streams SET first = ?, bytes = bytes - ? WHERE name = ?", next.First, freed, stream)
		return err
	})
	if err != nil {
		return info, 0, err
	}
	return next, n, nil
}

// dropped returns what a stream is without the n blocks that the retention
// drops.
func (s *Store) dropped(ctx context.Context, info journal.StreamInfo, keep journal.Retention, now time.Time) (_ journal.StreamInfo, n int, err error) {
	rows, err := s.reader.QueryContext(ctx, `
		SELECT first, last, newest, length(data) FROM blocks
		WHERE stream = (SELECT id FROM streams WHERE name = ?) ORDER BY first LIMIT ?`, info.Name, trimBlocks+1)
	if err != nil {
		return info, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var first, last uint64
		var newest, size int64
		if err := rows.Scan(&first, &last, &newest, &size); err != nil {
			return info, 0, err
		}
		info.First = max(info.First, first)
		if n == trimBlocks || !keep.Drops(info, last, newest, size, now) {
			break
		}
		n++
		info.First = last + 1
		info.Bytes -= size
	}
	return info, n, rows.Err()
}
