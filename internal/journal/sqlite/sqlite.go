// Package sqlite keeps a journal in one SQLite file. What it has written
// survives the death of the process at any moment, and the last transactions
// may be lost, never damaged, when the machine loses power.
package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite/tail"
)

const lockSuffix = ".lock"

// Store is a [journal.Store] in a file. It writes through one connection and
// reads through others, so that readers never wait for the writer. Blocks go to
// a small file first, the tail, and from there to SQLite a moment later.
type Store struct {
	path   string
	lock   *filelock.Lock
	writer *sql.DB // of one connection
	reader *sql.DB

	made   *os.File     // the file, if this process has made it; held as closing it would end SQLite's locks
	synced func() error // waits until that is on the disk

	read    *sql.Stmt
	bounds  *sql.Stmt
	writing sync.Mutex
	conn    *sql.Conn
	begin   *sql.Stmt
	commit  *sql.Stmt
	insert  *sql.Stmt
	update  *sql.Stmt
	known   map[string]known

	self syscall.Stat_t // the file, as Open has found it

	tail     mover
	reserved *tail.Reservation // guarded by tail.mu
	damage   []journal.Damage  // that Open has found
}

// known is what the writer remembers of a stream, so that it need not ask.
type known struct {
	id   int64
	last uint64
}

var _ journal.Store = (*Store)(nil)

// Open opens the journal in a file, or makes one, with its directory. Problems
// have the codes data_locked (another process has it open), data_corrupt,
// data_too_new, and not_supported if path is a URL.
func Open(path string) (*Store, error) { return openTuned(path, defaultTuning) }

func openTuned(path string, tuning tuning) (*Store, error) {
	if scheme, _, isURL := strings.Cut(path, "://"); isURL {
		return nil, api.InvalidRequest(api.CodeNotSupported, "this program keeps journals in files, not in %s", scheme)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockData(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, lock: lock, known: make(map[string]known), tail: mover{tuning: tuning}, reserved: &tail.Reservation{}}
	if err := s.open(path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(path string) error {
	ctx := context.Background()
	made, err := create(path)
	if err != nil {
		return err
	}
	if made != nil {
		s.syncCreated(made)
	}
	// SQLite gives the other files of the journal the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	if err := syscall.Stat(path, &s.self); err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	// What is deleted is overwritten: a purge leaves no text.
	if s.writer, err = connect(path, "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-2048)", "secure_delete(1)",
		"wal_autocheckpoint(1000)", "journal_size_limit(16777216)"); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if err := migrate(ctx, s.writer, path); err != nil {
		return err
	}
	if s.conn, err = s.writer.Conn(ctx); err != nil {
		return openError(path, err)
	}
	if s.reader, err = connect(path, "query_only(1)", "cache_size(-1024)"); err != nil {
		return err
	}
	s.reader.SetMaxOpenConns(2)
	s.reader.SetMaxIdleConns(1)
	if err := s.prepare(ctx, path); err != nil {
		return err
	}
	return s.openTail(ctx)
}

func connect(path string, pragmas ...string) (*sql.DB, error) {
	return connectAs("rwc", path, pragmas...)
}

// connectAs connects with one of SQLite's modes: ro, rw or rwc.
func connectAs(mode, path string, pragmas ...string) (*sql.DB, error) {
	query := url.Values{"mode": {mode}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	uri := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func (s *Store) prepare(ctx context.Context, path string) error {
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.insert, "INSERT INTO blocks (stream, first, last, oldest, newest, data) VALUES (?, ?, ?, ?, ?, ?)"},
		{&s.update, "UPDATE streams SET first = iif(first > last, ?, first), last = ?, bytes = bytes + ?, updated = ? WHERE id = ?"},
	} {
		stmt, err := s.conn.PrepareContext(ctx, p.query)
		if err != nil {
			return openError(path, err)
		}
		*p.stmt = stmt
	}
	var err error
	// The inner queries do not depend on the row, so they run once.
	if s.read, err = s.reader.PrepareContext(ctx, `
		SELECT first, last, oldest, newest, data FROM blocks
		WHERE stream = (SELECT id FROM streams WHERE name = ?1)
		AND first >= coalesce((
			SELECT first FROM blocks
			WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND first <= ?2
			ORDER BY first DESC LIMIT 1), 0)
		ORDER BY first`); err != nil {
		return openError(path, err)
	}
	if s.bounds, err = s.reader.PrepareContext(ctx, selectStreams+" WHERE name = ?"); err != nil {
		return openError(path, err)
	}
	return nil
}

// Damage returns what could not be read of the tail when the store was opened.
func (s *Store) Damage() []journal.Damage { return s.damage }

// Close gives the file and its lock back.
func (s *Store) Close() error {
	errs := []error{s.closeTail()}
	for _, stmt := range []*sql.Stmt{s.read, s.bounds, s.begin, s.commit, s.insert, s.update} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	// The writer goes last: it folds the log into the file.
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.made != nil {
		_ = s.synced()
		errs = append(errs, s.made.Close())
	}
	return errors.Join(append(errs, s.lock.Release())...)
}

// present returns an error once the file is no longer where it was opened. What is
// written then goes to files that no name leads to, and SQLite does not notice.
func (s *Store) present() error {
	var now syscall.Stat_t
	err := syscall.Stat(s.path, &now)
	if err == nil && now.Ino == s.self.Ino && now.Dev == s.self.Dev {
		return nil
	}
	if err == nil {
		err = errors.New("it is another file")
	}
	return fmt.Errorf("journal %s was moved or removed while it was open, restart the server: %w", s.path, err)
}

// transact runs do in a transaction of the writer. What it has changed in
// s.known is forgotten if the transaction fails.
func (s *Store) transact(ctx context.Context, do func() error) (err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.present(); err != nil {
		return err
	}
	if s.synced != nil {
		if err := s.synced(); err != nil {
			return err
		}
	}
	// A transaction is short, and one cut in the middle helps nobody.
	ctx = context.WithoutCancel(ctx)
	if _, err := s.begin.ExecContext(ctx); err != nil {
		return fmt.Errorf("begin transaction: %w", s.fault(err))
	}
	if err := do(); err != nil {
		return s.rollback(ctx, err)
	}
	if _, err := s.commit.ExecContext(ctx); err != nil {
		return s.rollback(ctx, fmt.Errorf("commit transaction: %w", err))
	}
	return nil
}

func (s *Store) rollback(ctx context.Context, cause error) error {
	clear(s.known)
	// SQLite has rolled back by itself after the graver errors, and says so.
	_, _ = s.conn.ExecContext(ctx, "ROLLBACK")
	return s.fault(cause)
}

// maxKnown bounds what the writer remembers.
const maxKnown = 4096

// writerStream returns the stream of a block, which it adds if it is new.
func (s *Store) writerStream(ctx context.Context, b *journal.Block) (known, error) {
	if k, ok := s.known[b.Stream]; ok {
		return k, nil
	}
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	var k known
	err := s.conn.QueryRowContext(ctx, "SELECT id, last FROM streams WHERE name = ?", b.Stream).Scan(&k.id, &k.last)
	if !errors.Is(err, sql.ErrNoRows) {
		return k, err
	}
	res, err := s.conn.ExecContext(ctx,
		"INSERT INTO streams (name, first, last, bytes, created, updated) VALUES (?, ?, 0, 0, ?, ?)",
		b.Stream, b.First, b.Oldest, b.Newest)
	if err != nil {
		return k, err
	}
	k.id, err = res.LastInsertId()
	return k, err
}

// Read returns blocks of a stream.
func (s *Store) Read(ctx context.Context, stream string, after uint64, limit journal.Limit) (blocks []journal.Block, err error) {
	waiting := s.waitingOf(stream)
	rows, err := s.read.QueryContext(ctx, stream, after+1)
	if err != nil {
		return nil, fmt.Errorf("read blocks: %w", s.fault(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var end uint64
	for limit.Entries > 0 && limit.Bytes > 0 && rows.Next() {
		b := journal.Block{Stream: stream}
		if err := rows.Scan(&b.First, &b.Last, &b.Oldest, &b.Newest, &b.Data); err != nil {
			return nil, fmt.Errorf("read blocks: %w", s.fault(err))
		}
		end = b.Last
		if b.Last <= after {
			continue
		}
		limit.Entries -= int(b.Last - b.First + 1)
		limit.Bytes -= len(b.Data)
		blocks = append(blocks, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read blocks: %w", s.fault(err))
	}
	for _, b := range waiting {
		if limit.Entries <= 0 || limit.Bytes <= 0 {
			break
		}
		if b.First <= end || b.Last <= after {
			continue
		}
		b.Data = bytes.Clone(b.Data)
		limit.Entries -= int(b.Last - b.First + 1)
		limit.Bytes -= len(b.Data)
		blocks = append(blocks, b)
	}
	return blocks, nil
}

const selectStreams = "SELECT name, first, last, bytes, created, updated, merged FROM streams"

func scanStream(row interface{ Scan(...any) error }) (info journal.StreamInfo, err error) {
	err = row.Scan(&info.Name, &info.First, &info.Last, &info.Bytes, &info.Created, &info.Updated, &info.Merged)
	return info, err
}

// Stream returns what is known of a stream.
func (s *Store) Stream(ctx context.Context, stream string) (journal.StreamInfo, error) {
	waiting := s.waitingOf(stream)
	info, err := s.stored(ctx, stream)
	if err != nil {
		return info, err
	}
	extend(&info, waiting)
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	s.reservedOf(stream, &info)
	return info, nil
}

// stored returns what SQLite knows of a stream.
func (s *Store) stored(ctx context.Context, stream string) (journal.StreamInfo, error) {
	info, err := scanStream(s.bounds.QueryRowContext(ctx, stream))
	if errors.Is(err, sql.ErrNoRows) {
		return journal.StreamInfo{}, nil
	}
	if err != nil {
		return journal.StreamInfo{}, fmt.Errorf("read stream: %w", s.fault(err))
	}
	return info, nil
}

// Streams returns the streams whose name starts with prefix.
func (s *Store) Streams(ctx context.Context, prefix string) ([]journal.StreamInfo, error) {
	waiting := s.allWaiting()
	list, err := s.allStored(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for i := range list {
		extend(&list[i], waiting[list[i].Name])
		delete(waiting, list[i].Name)
	}
	for name, blocks := range waiting {
		if strings.HasPrefix(name, prefix) {
			var info journal.StreamInfo
			extend(&info, blocks)
			list = append(list, info)
		}
	}
	list = s.withReserved(list, prefix)
	slices.SortFunc(list, func(a, b journal.StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// allStored returns what SQLite knows of the streams whose name starts with prefix.
func (s *Store) allStored(ctx context.Context, prefix string) (list []journal.StreamInfo, err error) {
	rows, err := s.reader.QueryContext(ctx, selectStreams+" WHERE name >= ? ORDER BY name", prefix)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", s.fault(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		info, err := scanStream(rows)
		if err != nil {
			return nil, fmt.Errorf("list streams: %w", s.fault(err))
		}
		// Names that share a prefix stand together.
		if !strings.HasPrefix(info.Name, prefix) {
			break
		}
		list = append(list, info)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", s.fault(err))
	}
	return list, nil
}

// Delete removes a stream, so that nothing of its text is in the files of the store.
func (s *Store) Delete(ctx context.Context, stream string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.withoutTail(func() error { return s.delete(ctx, stream) }); err != nil {
		return err
	}
	s.cutLog(ctx)
	return nil
}

// cutLog folds the log of SQLite into the file and cuts it off: it holds earlier contents
// of pages. While a reader needs it, or the disk is full, it stays until the next call, or
// until the store closes; writers do not wait for that.
func (s *Store) cutLog(ctx context.Context) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for _, do := range []string{"PRAGMA busy_timeout(200)", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA busy_timeout(5000)"} {
		_, _ = s.conn.ExecContext(ctx, do) // what was to be deleted is deleted
	}
}

func (s *Store) delete(ctx context.Context, stream string) error {
	return s.transact(ctx, func() error {
		delete(s.known, stream)
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM blocks WHERE stream = (SELECT id FROM streams WHERE name = ?)", stream); err != nil {
			return fmt.Errorf("delete blocks: %w", err)
		}
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM streams WHERE name = ?", stream); err != nil {
			return fmt.Errorf("delete stream: %w", err)
		}
		return nil
	})
}

// Install renames streams and stores records.
func (s *Store) Install(ctx context.Context, names map[string]string, records map[string][]journal.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	return s.withoutTail(func() error {
		return s.transact(ctx, func() error {
			clear(s.known)
			for old, name := range names {
				if _, err := s.conn.ExecContext(ctx, "UPDATE streams SET name = ? WHERE name = ?", name, old); err != nil {
					return fmt.Errorf("name stream %s: %w", name, err)
				}
			}
			for kind, list := range records {
				for _, r := range list {
					if err := s.putRecord(ctx, kind, r.ID, r.Data); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// Trim applies a retention to some streams, or to all.
func (s *Store) Trim(ctx context.Context, only []string, keep journal.Retention, now time.Time) ([]journal.StreamInfo, error) {
	if err := s.flush(false); err != nil {
		return nil, fmt.Errorf("trim: %w", err)
	}
	names := only
	if only == nil {
		all, err := s.allStored(ctx, "")
		if err != nil {
			return nil, err
		}
		for _, info := range all {
			names = append(names, info.Name)
		}
	}
	var changed []journal.StreamInfo
	for _, name := range names {
		any := false
		for more := true; more; {
			info, n, err := s.trimSome(ctx, name, keep, now)
			if err != nil {
				return changed, fmt.Errorf("trim %s: %w", name, err)
			}
			if n > 0 && any {
				changed = changed[:len(changed)-1]
			}
			if n > 0 {
				changed, any = append(changed, info), true
			}
			more = n == trimBlocks
		}
	}
	return changed, nil
}
