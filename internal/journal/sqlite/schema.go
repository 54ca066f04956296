package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
)

// schemaVersion is the number of the last migration, which is also what each
// migration sets as user_version: reading that is all that a start costs when
// nothing has to be done.
const schemaVersion = 2

//go:embed migrations/*.sql
var migrations embed.FS

// empty is a journal that has had every migration. To make it again after one
// was added, run the tests of this package with -update.
//
//go:embed empty.db
var empty []byte

// create makes an empty journal if there is none. The caller holds the lock of the
// journal. It does not wait for the disk, and does not go through the
// migrations, which takes a quarter of a start. The file, if there is one, is
// for [Store.syncCreated].
func create(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && (info.Size() > 0 || !info.Mode().IsRegular()) {
		return nil, nil
	}
	err := atomicfile.Clean(path)
	if err == nil {
		err = atomicfile.Write(path, empty, atomicfile.Options{NoSync: true})
	}
	if err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	return f, nil
}

// syncDelay is how long a new journal has until it goes to the disk by itself.
// While it goes there the other files of the journal cannot be made.
const syncDelay = 100 * time.Millisecond

// syncCreated makes sure that a journal that was made now goes to the disk, behind
// the start. Nothing is written into it before that, so a loss of power leaves
// the empty journal or none, and not a damaged one.
func (s *Store) syncCreated(made *os.File) {
	s.made = made
	s.synced = sync.OnceValue(func() error {
		if err := made.Sync(); err != nil {
			return fmt.Errorf("make journal: %w", err)
		}
		return nil
	})
	time.AfterFunc(syncDelay, func() { _ = s.synced() }) // the first write returns the error
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
	// A number where none can be is what damage leaves that SQLite does not notice.
	if _, ok := errors.AsType[*strconv.NumError](err); ok {
		return damaged(s.path, err)
	}
	return err
}
