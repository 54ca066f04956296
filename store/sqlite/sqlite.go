// Package sqlite keeps records of sessions in a SQLite database. It links a
// SQLite engine in pure Go.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver

	"github.com/sandboxagent/sandboxagent/store/internal/table"
)

// Store is a [sandboxagent.SessionStore]. It is made by [Open] and must be
// closed. What it has taken survives the death of the process. Several
// processes may have the same file open.
type Store struct{ *table.Store }

// Open opens the store in a file, or makes one, with its folder, that only its
// owner can read.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	query := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	uri := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // writers wait here, in order, rather than fail
	s, err := New(ctx, db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return s, nil
}

// New returns a store in a database of the caller, made with any driver of
// SQLite. Its tables are sessions, events and session_store. Whoever opened the
// database may close it instead of the store.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	s, err := table.New(ctx, db, table.Dialect{Bytes: "BLOB", Text: "TEXT"})
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.DB().Close() }
