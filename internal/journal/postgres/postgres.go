// Package postgres keeps a journal in a schema of a PostgreSQL database. One
// process at a time owns it; what it has written survives a crash of either
// side. While the server cannot be reached every call fails, and the next one
// connects again.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// writeTimeout bounds a transaction when the network swallows it.
const writeTimeout = 30 * time.Second

// maxKnown bounds what the writer remembers.
const maxKnown = 4096

// Store is a [journal.Store] in a schema. It writes through the one connection
// that has the lock, so that a process that has lost it cannot write.
type Store struct {
	schema string
	config *pgxpool.Config
	pool   *pgxpool.Pool // for reading

	mu    sync.Mutex
	conn  *pgx.Conn
	epoch int64             // of this owner; 0 until it is one
	taken error             // set once there was another owner
	known map[string]uint64 // the last entries of streams
}

var _ journal.Store = (*Store)(nil)

// Open opens the journal in a database, or makes one. The URL is as libpq's,
// with the schema, which is made if it is missing, as the parameter "schema";
// without, it is sandbox_agent. Problems have the codes invalid_request,
// data_locked (another process owns it) and data_too_new.
func Open(ctx context.Context, url string) (*Store, error) {
	config, schema, err := parse(url)
	if err != nil {
		return nil, err
	}
	s := &Store{schema: schema, config: config, known: make(map[string]uint64)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.own(ctx); err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, s.config)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	s.pool = pool
	return nil
}

// own connects unless that is done, and takes the lock. Between two
// connections another process may have had it: then this one has no business
// here any more.
func (s *Store) own(ctx context.Context) error {
	if s.taken != nil {
		return s.taken
	}
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	clear(s.known)
	conn, err := pgx.ConnectConfig(ctx, s.config.ConnConfig.Copy())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if err := s.become(ctx, conn); err != nil {
		return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	s.conn = conn
	return nil
}

func (s *Store) become(ctx context.Context, conn *pgx.Conn) error {
	if err := s.lock(ctx, conn); err != nil {
		return err
	}
	if s.epoch == 0 {
		if err := s.create(ctx, conn); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, "UPDATE owner SET epoch = epoch + 1 RETURNING epoch").Scan(&s.epoch); err != nil {
			return fmt.Errorf("own journal: %w", err)
		}
		return nil
	}
	var epoch int64
	if err := conn.QueryRow(ctx, "SELECT epoch FROM owner").Scan(&epoch); err != nil {
		return fmt.Errorf("own journal: %w", err)
	}
	if epoch != s.epoch {
		s.taken = api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"another process has taken over the journal in schema %s of database %s while the connection was lost; restart this one",
			s.schema, s.config.ConnConfig.Database)
		return s.taken
	}
	return nil
}

func (s *Store) create(ctx context.Context, conn *pgx.Conn) error {
	var there bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", s.schema).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{s.schema}.Sanitize())
	}
	if err != nil {
		return fmt.Errorf("make schema %s: %w", s.schema, err)
	}
	return s.migrate(ctx)
}

// Close gives the journal back.
func (s *Store) Close() error {
	if s.pool != nil {
		s.pool.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = journal.ErrClosed
	if s.conn == nil || s.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	// The server ends the session with the connection, however that closes.
	_ = s.conn.Close(ctx)
	return nil
}

// write runs do on the connection of the owner. One that turns out to be lost
// is made again: if do may run twice, or has not sent anything yet.
func (s *Store) write(ctx context.Context, twice bool, do func(context.Context, *pgx.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	// A transaction is short, and one cut in the middle costs the connection.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	for again := true; ; again = false {
		if err := s.own(ctx); err != nil {
			return err
		}
		err := do(ctx, s.conn)
		if err == nil {
			return nil
		}
		clear(s.known)
		if !again || !s.conn.IsClosed() || !twice && !pgconn.SafeToRetry(err) {
			return s.fault(err)
		}
	}
}

// atomically sends statements at once; they take effect all or none.
func atomically(ctx context.Context, conn *pgx.Conn, fill func(*pgx.Batch)) error {
	var batch pgx.Batch
	fill(&batch)
	// Without statements of its own about that, a batch is one transaction.
	return conn.SendBatch(ctx, &batch).Close()
}

// AppendBlocks writes blocks in one transaction.
func (s *Store) AppendBlocks(ctx context.Context, blocks []journal.Block) error {
	if len(blocks) == 0 {
		return nil
	}
	err := s.write(ctx, false, func(ctx context.Context, conn *pgx.Conn) error {
		lasts, err := s.lasts(ctx, conn, blocks)
		if err != nil {
			return err
		}
		rows, err := newRows(blocks, lasts)
		if err != nil {
			return err
		}
		if err := atomically(ctx, conn, rows.queue); err != nil {
			return err
		}
		for i, name := range rows.streams.names {
			s.known[name] = uint64(rows.streams.lasts[i])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("append blocks: %w", err)
	}
	return nil
}

// lasts returns the last entries of the streams of blocks.
func (s *Store) lasts(ctx context.Context, conn *pgx.Conn, blocks []journal.Block) (map[string]uint64, error) {
	lasts := make(map[string]uint64)
	var ask []string
	for i := range blocks {
		name := blocks[i].Stream
		if _, seen := lasts[name]; seen {
			continue
		}
		last, known := s.known[name]
		lasts[name] = last
		if !known {
			ask = append(ask, name)
		}
	}
	if len(s.known)+len(ask) > maxKnown {
		clear(s.known)
	}
	if len(ask) == 0 {
		return lasts, nil
	}
	rows, err := conn.Query(ctx, "SELECT name, last FROM streams WHERE name = ANY($1)", ask)
	if err != nil {
		return nil, err
	}
	var name string
	var last uint64
	_, err = pgx.ForEachRow(rows, []any{&name, &last}, func() error {
		lasts[name] = last
		return nil
	})
	return lasts, err
}

// rows are blocks by column, as arrays for the server.
type rows struct {
	names                        []string
	firsts, last, oldest, newest []int64
	data                         [][]byte
	streams                      struct {
		names                                  []string
		firsts, lasts, bytes, created, updated []int64
	}
}

// newRows sorts blocks into columns, and checks them against the last entries
// of their streams.
func newRows(blocks []journal.Block, lasts map[string]uint64) (*rows, error) {
	var r rows
	at := make(map[string]int, len(lasts))
	for i := range blocks {
		b := &blocks[i]
		if b.First <= lasts[b.Stream] {
			return nil, fmt.Errorf("%s: %w", b.Stream, journal.ErrOutOfOrder)
		}
		lasts[b.Stream] = b.Last
		r.names = append(r.names, b.Stream)
		r.firsts = append(r.firsts, int64(b.First))
		r.last = append(r.last, int64(b.Last))
		r.oldest = append(r.oldest, b.Oldest)
		r.newest = append(r.newest, b.Newest)
		r.data = append(r.data, b.Data)

		s := &r.streams
		n, seen := at[b.Stream]
		if !seen {
			n = len(s.names)
			at[b.Stream] = n
			s.names = append(s.names, b.Stream)
			s.firsts = append(s.firsts, int64(b.First))
			s.lasts = append(s.lasts, 0)
			s.bytes = append(s.bytes, 0)
			s.created = append(s.created, b.Oldest)
			s.updated = append(s.updated, 0)
		}
		s.lasts[n], s.updated[n] = int64(b.Last), b.Newest
		s.bytes[n] += int64(len(b.Data))
	}
	return &r, nil
}

func (r *rows) queue(batch *pgx.Batch) {
	s := &r.streams
	batch.Queue(`
		INSERT INTO streams AS s (name, first, last, bytes, created, updated)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
		ON CONFLICT (name) DO UPDATE SET
			first = CASE WHEN s.first > s.last THEN excluded.first ELSE s.first END,
			last = excluded.last, bytes = s.bytes + excluded.bytes, updated = excluded.updated`,
		s.names, s.firsts, s.lasts, s.bytes, s.created, s.updated)
	batch.Queue(`
		INSERT INTO blocks (stream, first, last, oldest, newest, data)
		SELECT s.id, b.first, b.last, b.oldest, b.newest, b.data
		FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
			AS b (name, first, last, oldest, newest, data) JOIN streams s USING (name)`,
		r.names, r.firsts, r.last, r.oldest, r.newest, r.data)
}

// read collects the rows of a query. A connection that was lost in the pool is
// found out by using it.
func read[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	for again := true; ; again = false {
		rows, err := s.pool.Query(ctx, query, args...)
		var list []T
		if err == nil {
			list, err = pgx.CollectRows(rows, scan)
		}
		if err == nil {
			return list, nil
		}
		if !again || ctx.Err() != nil || !broken(err) {
			return nil, s.fault(err)
		}
	}
}

// Read returns blocks of a stream.
func (s *Store) Read(ctx context.Context, stream string, after uint64, limit journal.Limit) ([]journal.Block, error) {
	if after >= math.MaxInt64 {
		return nil, nil
	}
	scan := func(row pgx.CollectableRow) (journal.Block, error) {
		b := journal.Block{Stream: stream}
		err := row.Scan(&b.First, &b.Last, &b.Oldest, &b.Newest, &b.Data)
		return b, err
	}
	// The sums are of what stands before a row.
	blocks, err := read(ctx, s, scan, `
		SELECT first, last, oldest, newest, data FROM (
			SELECT b.*,
				sum(last - first + 1) OVER w - (last - first + 1) AS entries,
				sum(octet_length(data)) OVER w - octet_length(data) AS bytes
			FROM blocks b
			WHERE stream = (SELECT id FROM streams WHERE name = $1) AND last >= $2
				AND first >= coalesce((SELECT max(first) FROM blocks
					WHERE stream = (SELECT id FROM streams WHERE name = $1) AND first <= $2), 0)
			WINDOW w AS (ORDER BY first) ORDER BY first LIMIT $3
		) AS b WHERE entries < $3 AND bytes < $4 ORDER BY first`,
		stream, int64(after+1), int64(limit.Entries), int64(limit.Bytes))
	if err != nil {
		return nil, fmt.Errorf("read blocks: %w", err)
	}
	return blocks, nil
}

const selectStreams = "SELECT name, first, last, bytes, created, updated, merged FROM streams"

func scanStream(row pgx.CollectableRow) (info journal.StreamInfo, err error) {
	err = row.Scan(&info.Name, &info.First, &info.Last, &info.Bytes, &info.Created, &info.Updated, &info.Merged)
	return info, err
}

// Stream returns what is known of a stream. After a loss of the connection that
// is what this owner has written, or an error.
func (s *Store) Stream(ctx context.Context, stream string) (journal.StreamInfo, error) {
	if err := s.write(ctx, true, func(context.Context, *pgx.Conn) error { return nil }); err != nil {
		return journal.StreamInfo{}, fmt.Errorf("read stream: %w", err)
	}
	list, err := read(ctx, s, scanStream, selectStreams+" WHERE name = $1", stream)
	if err != nil {
		return journal.StreamInfo{}, fmt.Errorf("read stream: %w", err)
	}
	if len(list) == 0 {
		return journal.StreamInfo{}, nil
	}
	return list[0], nil
}

// Streams returns the streams whose name starts with prefix.
func (s *Store) Streams(ctx context.Context, prefix string) ([]journal.StreamInfo, error) {
	list, err := read(ctx, s, scanStream, selectStreams+" WHERE name >= $1 AND starts_with(name, $1) ORDER BY name", prefix)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return list, nil
}

// Delete removes a stream.
func (s *Store) Delete(ctx context.Context, stream string) error {
	err := s.write(ctx, true, func(ctx context.Context, conn *pgx.Conn) error {
		delete(s.known, stream)
		return atomically(ctx, conn, func(batch *pgx.Batch) {
			batch.Queue("DELETE FROM blocks WHERE stream = (SELECT id FROM streams WHERE name = $1)", stream)
			batch.Queue("DELETE FROM streams WHERE name = $1", stream)
		})
	})
	if err != nil {
		return fmt.Errorf("delete stream: %w", err)
	}
	return nil
}
