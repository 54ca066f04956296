package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// PutRecord stores a record.
func (s *Store) PutRecord(ctx context.Context, kind, id string, data []byte) error {
	if data == nil {
		data = []byte{}
	}
	return s.transact(ctx, func() error {
		_, err := s.conn.ExecContext(context.WithoutCancel(ctx),
			"INSERT OR REPLACE INTO records (kind, id, data, updated) VALUES (?, ?, ?, ?)",
			kind, id, data, time.Now().UnixMilli())
		if err != nil {
			return fmt.Errorf("put record: %w", err)
		}
		return nil
	})
}

// GetRecord returns a record.
func (s *Store) GetRecord(ctx context.Context, kind, id string) ([]byte, error) {
	var data []byte
	err := s.reader.QueryRowContext(ctx, "SELECT data FROM records WHERE kind = ? AND id = ?", kind, id).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, api.NotFound("record", kind+"/"+id)
	}
	if err != nil {
		return nil, fmt.Errorf("get record: %w", err)
	}
	return data, nil
}

// ListRecords returns the records of a kind.
func (s *Store) ListRecords(ctx context.Context, kind, prefix string) (list []journal.Record, err error) {
	rows, err := s.reader.QueryContext(ctx,
		"SELECT id, data, updated FROM records WHERE kind = ? AND id >= ? ORDER BY id", kind, prefix)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r journal.Record
		if err := rows.Scan(&r.ID, &r.Data, &r.Updated); err != nil {
			return nil, fmt.Errorf("list records: %w", err)
		}
		if !strings.HasPrefix(r.ID, prefix) {
			break
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// DeleteRecord removes a record.
func (s *Store) DeleteRecord(ctx context.Context, kind, id string) error {
	return s.transact(ctx, func() error {
		_, err := s.conn.ExecContext(context.WithoutCancel(ctx), "DELETE FROM records WHERE kind = ? AND id = ?", kind, id)
		if err != nil {
			return fmt.Errorf("delete record: %w", err)
		}
		return nil
	})
}
