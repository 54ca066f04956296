// Package postgres keeps records of sessions in a PostgreSQL database. It links
// a driver.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/sandboxagent/sandboxagent/store/internal/table"
)

// Store is a [sandboxagent.SessionStore]. It is made by [Open] and must be
// closed. Any number of processes may use the same database.
type Store struct{ *table.Store }

// Open opens the store in the database at a URL or connection string. Its
// tables, sessions, events and session_store, are in the first schema of the
// search path, which the parameter search_path of the URL sets; the schema must
// be there.
func Open(ctx context.Context, connection string) (*Store, error) {
	config, err := pgx.ParseConfig(connection)
	if err != nil {
		return nil, fmt.Errorf("read URL of PostgreSQL: %w", err)
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(8)
	s, err := New(ctx, db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", config.Database, err), db.Close())
	}
	return s, nil
}

// New returns a store in a database of the caller, made with any driver of
// PostgreSQL. Whoever opened the database may close it instead of the store.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	s, err := table.New(ctx, db, table.Dialect{Numbered: true, Bytes: "BYTEA", Text: `TEXT COLLATE "C"`})
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.DB().Close() }
