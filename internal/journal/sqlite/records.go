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
	return s.transact(ctx, func() error { return s.putRecord(context.WithoutCancel(ctx), kind, id, data) })
}

// PutRecords stores records of one kind in one transaction.
func (s *Store) PutRecords(ctx context.Context, kind string, records []journal.Record) error {
	return s.transact(ctx, func() error {
		for _, r := range records {
			if err := s.putRecord(context.WithoutCancel(ctx), kind, r.ID, r.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// putRecord is for a transaction.
func (s *Store) putRecord(ctx context.Context, kind, id string, data []byte) error {
	if data == nil {
		data = []byte{}
	}
	_, err := s.conn.ExecContext(ctx, "INSERT OR REPLACE INTO records (kind, id, data, updated) VALUES (?, ?, ?, ?)",
		kind, id, data, time.Now().UnixMilli())
	if err != nil {
		return fmt.Errorf("put record: %w", err)
	}
	return nil
}

// GetRecord returns a record.
func (s *Store) GetRecord(ctx context.Context, kind, id string) ([]byte, error) {
	var data []byte
	err := s.reader.QueryRowContext(ctx, "SELECT data FROM records WHERE kind = ? AND id = ?", kind, id).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, api.NotFound("record", kind+"/"+id)
	}
	if err != nil {
		return nil, fmt.Errorf("get record: %w", s.fault(err))
	}
	return data, nil
}

// ListRecords returns the records of a kind.
func (s *Store) ListRecords(ctx context.Context, kind, prefix string) (list []journal.Record, err error) {
	rows, err := s.reader.QueryContext(ctx,
		"SELECT id, data, updated FROM records WHERE kind = ? AND id >= ? ORDER BY id", kind, prefix)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", s.fault(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r journal.Record
		if err := rows.Scan(&r.ID, &r.Data, &r.Updated); err != nil {
			return nil, fmt.Errorf("list records: %w", s.fault(err))
		}
		if !strings.HasPrefix(r.ID, prefix) {
			break
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list records: %w", s.fault(err))
	}
	return list, nil
}

// RecordKinds returns the kinds of which there are records.
func (s *Store) RecordKinds(ctx context.Context) (kinds []string, err error) {
	rows, err := s.reader.QueryContext(ctx, "SELECT DISTINCT kind FROM records ORDER BY kind")
	if err != nil {
		return nil, fmt.Errorf("list kinds of records: %w", s.fault(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			return nil, fmt.Errorf("list kinds of records: %w", err)
		}
		kinds = append(kinds, kind)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list kinds of records: %w", s.fault(err))
	}
	return kinds, nil
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
