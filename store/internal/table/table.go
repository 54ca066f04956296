// Package table keeps records of sessions in the tables of a database, for the
// stores that know how to open one.
package table

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/internal/page"
)

// version is that of the tables. Another one is not touched.
const version = 1

// A Dialect is what databases do not agree on.
type Dialect struct {
	Numbered bool   // parameters are $1, $2 instead of ?
	Bytes    string // type of bytes
	Text     string // type of text that is ordered byte by byte
}

// Store is a [sandboxagent.SessionStore] in three tables. The document of a
// session and the payload of an event are bytes, so that they come back as they
// were.
type Store struct {
	db      *sql.DB
	dialect Dialect
}

var _ sandboxagent.SessionStore = (*Store)(nil)

// New returns a store in db, which stays the caller's, and makes its tables if
// they are not there. Tables of a later version match [api.CodeDataTooNew].
func New(ctx context.Context, db *sql.DB, dialect Dialect) (*Store, error) {
	s := &Store{db: db, dialect: dialect}
	err := s.migrate(ctx)
	if err != nil && !errors.Is(err, api.CodeDataTooNew) {
		err = s.migrate(ctx) // PostgreSQL fails when another process makes them just then
	}
	if err != nil {
		return nil, fmt.Errorf("make tables: %w", err)
	}
	return s, nil
}

// DB returns the database.
func (s *Store) DB() *sql.DB { return s.db }

func (s *Store) migrate(ctx context.Context) error {
	text, blob := s.dialect.Text, s.dialect.Bytes
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS session_store (version INTEGER NOT NULL PRIMARY KEY)`,
		`CREATE TABLE IF NOT EXISTS sessions (
			id ` + text + ` NOT NULL PRIMARY KEY,
			agent ` + text + ` NOT NULL,
			created_at BIGINT NOT NULL,
			status ` + text + ` NOT NULL,
			document ` + blob + ` NOT NULL)`,
		`CREATE INDEX IF NOT EXISTS sessions_order ON sessions (created_at, id)`,
		`CREATE TABLE IF NOT EXISTS events (
			session_id ` + text + ` NOT NULL,
			event_index BIGINT NOT NULL,
			id ` + text + ` NOT NULL UNIQUE,
			created_at BIGINT NOT NULL,
			connection_id ` + text + ` NOT NULL,
			sender ` + text + ` NOT NULL,
			payload ` + blob + ` NOT NULL,
			PRIMARY KEY (session_id, event_index))`,
	} {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if _, err := s.db.ExecContext(ctx, s.sql(`INSERT INTO session_store (version) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM session_store)`), version); err != nil {
		return err
	}
	var found int
	if err := s.db.QueryRowContext(ctx, `SELECT MAX(version) FROM session_store`).Scan(&found); err != nil {
		return err
	}
	if found > version {
		return api.NewError(api.KindUnavailable, api.CodeDataTooNew, "the tables were made by a newer version of this program (version %d, this one knows %d)", found, version)
	}
	return nil
}

// sql writes the parameters of a statement, which are question marks, as the
// database wants them.
func (s *Store) sql(statement string) string {
	if !s.dialect.Numbered {
		return statement
	}
	var b strings.Builder
	for i, part := range strings.Split(statement, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// Session implements [sandboxagent.SessionStore].
func (s *Store) Session(ctx context.Context, id string) (*api.Session, error) {
	var document []byte
	err := s.db.QueryRowContext(ctx, s.sql(`SELECT document FROM sessions WHERE id = ?`), id).Scan(&document)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, api.SessionNotFound(id)
	}
	if err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	return decode(document)
}

func decode(document []byte) (*api.Session, error) {
	session := new(api.Session)
	if err := json.Unmarshal(document, session); err != nil {
		return nil, fmt.Errorf("decode session: %w", err)
	}
	return session, nil
}

// Sessions implements [sandboxagent.SessionStore].
func (s *Store) Sessions(ctx context.Context, cursor string, limit int) (list []api.Session, next string, err error) {
	after, started, err := page.Parse(cursor)
	if err != nil {
		return nil, "", err
	}
	limit = cmp.Or(limit, page.Limit)
	where, args := "", []any{}
	if started {
		where, args = ` WHERE created_at > ? OR created_at = ? AND id > ?`, []any{after.At, after.At, after.ID}
	}
	rows, err := s.db.QueryContext(ctx, s.sql(`SELECT document FROM sessions`+where+` ORDER BY created_at, id LIMIT ?`), append(args, limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if len(list) == limit {
			return list, page.KeyOf(list[limit-1]).Cursor(), nil
		}
		var document []byte
		if err := rows.Scan(&document); err != nil {
			return nil, "", fmt.Errorf("list sessions: %w", err)
		}
		session, err := decode(document)
		if err != nil {
			return nil, "", err
		}
		list = append(list, *session)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	return list, "", nil
}

// PutSession implements [sandboxagent.SessionStore].
func (s *Store) PutSession(ctx context.Context, session api.Session) error {
	if session.ID == "" {
		return errors.New("put session: id is empty")
	}
	document, err := json.Marshal(session)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	_, err = s.db.ExecContext(ctx, s.sql(`INSERT INTO sessions (id, agent, created_at, status, document) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET agent = excluded.agent, created_at = excluded.created_at, status = excluded.status, document = excluded.document`),
		session.ID, session.Agent, session.CreatedAt, session.Status, document)
	if err != nil {
		return fmt.Errorf("put session: %w", err)
	}
	return nil
}

// Events implements [sandboxagent.SessionStore].
func (s *Store) Events(ctx context.Context, sessionID string, after uint64, limit int) ([]api.SessionEvent, error) {
	rows, err := s.db.QueryContext(ctx, s.sql(`SELECT id, event_index, session_id, created_at, connection_id, sender, payload
		FROM events WHERE session_id = ? AND event_index > ? ORDER BY event_index LIMIT ?`), sessionID, int64(after), cmp.Or(limit, page.Limit))
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var list []api.SessionEvent
	for rows.Next() {
		var e api.SessionEvent
		var index int64
		var payload []byte
		if err := rows.Scan(&e.ID, &index, &e.SessionID, &e.CreatedAt, &e.ConnectionID, &e.Sender, &payload); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		e.EventIndex, e.Payload = uint64(index), payload
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return list, nil
}

// PutEvent implements [sandboxagent.SessionStore].
func (s *Store) PutEvent(ctx context.Context, e api.SessionEvent) error {
	if e.ID == "" || e.SessionID == "" {
		return errors.New("put event: id is empty")
	}
	// With no target, since PostgreSQL lets the first writer of an event win only
	// in the indexes that are named, and fails the second in the others.
	done, err := s.db.ExecContext(ctx, s.sql(`INSERT INTO events (id, event_index, session_id, created_at, connection_id, sender, payload)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`),
		e.ID, int64(e.EventIndex), e.SessionID, e.CreatedAt, e.ConnectionID, e.Sender, []byte(e.Payload))
	if err != nil {
		return fmt.Errorf("put event %s: %w", e.ID, err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var found int
	err = s.db.QueryRowContext(ctx, s.sql(`SELECT 1 FROM events WHERE id = ?`), e.ID).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("put event %s: another event of session %s has its index, %d", e.ID, e.SessionID, e.EventIndex)
	}
	if err != nil {
		return fmt.Errorf("put event %s: %w", e.ID, err)
	}
	return nil
}
