package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// PutRecord stores a record.
func (s *Store) PutRecord(ctx context.Context, kind, id string, data []byte) error {
	if data == nil {
		data = []byte{}
	}
	err := s.write(ctx, true, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			INSERT INTO records (kind, id, data, updated) VALUES ($1, $2, $3, $4)
			ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data, updated = excluded.updated`,
			kind, id, data, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("put record: %w", err)
	}
	return nil
}

// PutRecords stores records of one kind in one statement.
func (s *Store) PutRecords(ctx context.Context, kind string, records []journal.Record) error {
	ids, datas := make([]string, len(records)), make([][]byte, len(records))
	for i, r := range records {
		ids[i], datas[i] = r.ID, append([]byte{}, r.Data...)
	}
	err := s.write(ctx, true, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			INSERT INTO records (kind, id, data, updated)
			SELECT $1, id, data, $4 FROM unnest($2::text[], $3::bytea[]) AS r (id, data)
			ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data, updated = excluded.updated`,
			kind, ids, datas, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("put records: %w", err)
	}
	return nil
}

// Install renames streams and stores records.
func (s *Store) Install(ctx context.Context, names map[string]string, records map[string][]journal.Record) error {
	var olds, news, kinds, ids []string
	var datas [][]byte
	for old, name := range names {
		olds, news = append(olds, old), append(news, name)
	}
	for kind, list := range records {
		for _, r := range list {
			kinds, ids, datas = append(kinds, kind), append(ids, r.ID), append(datas, append([]byte{}, r.Data...))
		}
	}
	err := s.write(ctx, true, func(ctx context.Context, conn *pgx.Conn) error {
		clear(s.known)
		return atomically(ctx, conn, func(batch *pgx.Batch) {
			batch.Queue(`
				UPDATE streams s SET name = n.name
				FROM unnest($1::text[], $2::text[]) AS n (old, name) WHERE s.name = n.old`, olds, news)
			batch.Queue(`
				INSERT INTO records (kind, id, data, updated)
				SELECT kind, id, data, $4 FROM unnest($1::text[], $2::text[], $3::bytea[]) AS r (kind, id, data)
				ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data, updated = excluded.updated`,
				kinds, ids, datas, time.Now().UnixMilli())
		})
	})
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return nil
}

// GetRecord returns a record.
func (s *Store) GetRecord(ctx context.Context, kind, id string) ([]byte, error) {
	list, err := read(ctx, s, pgx.RowTo[[]byte], "SELECT data FROM records WHERE kind = $1 AND id = $2", kind, id)
	if err != nil {
		return nil, fmt.Errorf("get record: %w", err)
	}
	if len(list) == 0 {
		return nil, api.NotFound("record", kind+"/"+id)
	}
	return list[0], nil
}

// ListRecords returns the records of a kind.
func (s *Store) ListRecords(ctx context.Context, kind, prefix string) ([]journal.Record, error) {
	list, err := read(ctx, s, pgx.RowToStructByPos[journal.Record], `
		SELECT id, data, updated FROM records
		WHERE kind = $1 AND id >= $2 AND starts_with(id, $2) ORDER BY id`, kind, prefix)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	return list, nil
}

// RecordKinds returns the kinds of which there are records.
func (s *Store) RecordKinds(ctx context.Context) ([]string, error) {
	list, err := read(ctx, s, pgx.RowTo[string], "SELECT DISTINCT kind FROM records ORDER BY kind")
	if err != nil {
		return nil, fmt.Errorf("list kinds of records: %w", err)
	}
	return list, nil
}

// DeleteRecord removes a record.
func (s *Store) DeleteRecord(ctx context.Context, kind, id string) error {
	err := s.write(ctx, true, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DELETE FROM records WHERE kind = $1 AND id = $2", kind, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete record: %w", err)
	}
	return nil
}
