package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// vacuumPages is how many pages a step gives back, so that appending goes on in
// between.
const vacuumPages = 1024

// Replace puts a block in the place of smaller ones, or notes how far that is done.
func (s *Store) Replace(ctx context.Context, b journal.Block) error {
	if len(s.waitingOf(b.Stream)) > 0 {
		if err := s.flush(false); err != nil {
			return fmt.Errorf("replace blocks: %w", err)
		}
	}
	return s.transact(ctx, func() error {
		ctx := context.WithoutCancel(ctx)
		if b.Data == nil {
			_, err := s.conn.ExecContext(ctx, "UPDATE streams SET merged = ? WHERE name = ?", b.Last, b.Stream)
			return err
		}
		var first, last, entries, size sql.NullInt64
		err := s.conn.QueryRowContext(ctx, `
			SELECT min(first), max(last), sum(last - first + 1), sum(length(data)) FROM blocks
			WHERE stream = (SELECT id FROM streams WHERE name = ?) AND first BETWEEN ? AND ?`,
			b.Stream, b.First, b.Last).Scan(&first, &last, &entries, &size)
		if err != nil {
			return fmt.Errorf("replace blocks: %w", err)
		}
		if uint64(first.Int64) != b.First || uint64(last.Int64) != b.Last || uint64(entries.Int64) != b.Last-b.First+1 {
			return nil
		}
		for _, do := range []struct {
			query string
			args  []any
		}{
			{"DELETE FROM blocks WHERE stream = (SELECT id FROM streams WHERE name = ?) AND first BETWEEN ? AND ?",
				[]any{b.Stream, b.First, b.Last}},
			{`INSERT INTO blocks (stream, first, last, oldest, newest, data)
				SELECT id, ?2, ?3, ?4, ?5, ?6 FROM streams WHERE name = ?1`,
				[]any{b.Stream, b.First, b.Last, b.Oldest, b.Newest, b.Data}},
			{"UPDATE streams SET bytes = bytes + ?2, merged = ?3 WHERE name = ?1",
				[]any{b.Stream, int64(len(b.Data)) - size.Int64, b.Last}},
		} {
			if _, err := s.conn.ExecContext(ctx, do.query, do.args...); err != nil {
				return fmt.Errorf("replace blocks: %w", err)
			}
		}
		return nil
	})
}

// Vacuum cuts unused pages off the end of the file, some at a time. Files of
// which SQLite does not keep track of them only use them again.
func (s *Store) Vacuum(ctx context.Context) error {
	for {
		left, err := s.vacuumSome(ctx)
		if err != nil {
			return fmt.Errorf("vacuum: %w", s.fault(err))
		}
		if left == 0 {
			return nil
		}
	}
}

func (s *Store) vacuumSome(ctx context.Context) (left int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	var mode, before int
	if err := s.conn.QueryRowContext(ctx, "SELECT auto_vacuum, freelist_count FROM pragma_auto_vacuum, pragma_freelist_count").Scan(&mode, &before); err != nil {
		return 0, err
	}
	if mode == 0 || before == 0 {
		return 0, nil
	}
	// The pragma works while its rows are read.
	rows, err := s.conn.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages))
	if err != nil {
		return 0, err
	}
	for rows.Next() {
	}
	if err := rows.Close(); err != nil {
		return 0, err
	}
	if err := s.conn.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&left); err != nil {
		return 0, err
	}
	if left < before && left > 0 {
		return left, nil
	}
	// The file itself shrinks when the log is folded into it.
	_, err = s.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	return 0, err
}
