package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sandboxagent/sandboxagent/api"
)

// schemaVersion is the number of the last migration, which is also what each
// migration sets as user_version: reading that is all that a start costs when
// nothing has to be done.
const schemaVersion = 2

//go:embed migrations/*.sql
var migrations embed.FS

// create makes an empty journal if there is none. It is made beside its place,
// without waiting for the disk, and moved there once it is on the disk as a
// whole: step by step SQLite would wait for the disk nine times.
func create(ctx context.Context, path string) (err error) {
	if info, err := os.Lstat(path); err == nil && info.Size() > 0 {
		return nil
	}
	draft := path + "-new"
	f, err := os.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	db, err := connect(draft, "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "synchronous(OFF)")
	if err != nil {
		return err
	}
	// Closing folds the log into the file.
	if err := errors.Join(migrate(ctx, db, draft), db.Close()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	return os.Rename(draft, path)
}

func migrate(ctx context.Context, db *sql.DB, path string) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return openError(path, err)
	}
	switch {
	case version == schemaVersion:
		return checkSchema(ctx, db, path)
	case version > schemaVersion:
		return api.NewError(api.KindUnavailable, api.CodeDataTooNew,
			"%s was written by a newer version of this program (schema %d, this one knows %d)", path, version, schemaVersion)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("load migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return openError(path, fmt.Errorf("migrate schema: %w", err))
	}
	return nil
}

// checkSchema touches the root of every table, which finds most damage and
// files of other programs without reading the data.
func checkSchema(ctx context.Context, db *sql.DB, path string) error {
	for _, query := range []string{
		"SELECT id FROM streams LIMIT 1",
		"SELECT first FROM blocks LIMIT 1",
		"SELECT id FROM records LIMIT 1",
	} {
		var ignored any
		err := db.QueryRowContext(ctx, query).Scan(&ignored)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return openError(path, err)
		}
	}
	return nil
}

// openError gives damage a code of its own.
func openError(path string, err error) error {
	var e *driver.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR:
			return damaged(path, err)
		}
	}
	return fmt.Errorf("open %s: %w", path, err)
}

func damaged(path string, err error) error {
	return api.NewError(api.KindUnavailable, api.CodeDataCorrupt,
		"%s is damaged or not a journal; stop the server and move the file aside; sandbox-agent sessions salvage gets back what is readable: %w", path, err)
}

// fault gives damage that an open store comes upon a code of its own.
func (s *Store) fault(err error) error {
	var e *driver.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return damaged(s.path, err)
		}
	}
	return err
}
