package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/sandboxagent/sandboxagent/api"
)

const (
	defaultSchema  = "sandbox_agent"
	connectTimeout = 5 * time.Second
	lockTimeout    = "2s" // an owner that was killed is noticed within this
)

// What PostgreSQL says by SQLSTATE.
const (
	lockNotAvailable = "55P03"
	adminShutdown    = "57P01"
	crashShutdown    = "57P02"
	dataCorrupted    = "XX001"
	indexCorrupted   = "XX002"
)

//go:embed migrations/*.sql
var migrations embed.FS

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// parse reads a URL, whose parameter schema is ours.
func parse(url string) (config *pgxpool.Config, schema string, err error) {
	config, err = pgxpool.ParseConfig(url)
	if err != nil {
		return nil, "", api.InvalidRequest(api.CodeInvalidRequest, "read URL of PostgreSQL: %w", err)
	}
	params := config.ConnConfig.RuntimeParams
	schema = params["schema"]
	delete(params, "schema")
	if schema == "" {
		schema = defaultSchema
	}
	if !schemaName.MatchString(schema) {
		return nil, "", api.InvalidRequest(api.CodeInvalidRequest,
			"schema %q of the URL of PostgreSQL is not made of a to z, 0 to 9 and _", schema)
	}
	// Nothing but the schema is on the path, so no table of others is ever meant.
	params["search_path"] = schema
	// An owner whose machine is gone gives the lock back in about half a minute.
	for name, value := range map[string]string{
		"application_name":        "sandbox-agent journal",
		"tcp_keepalives_idle":     "15",
		"tcp_keepalives_interval": "5",
		"tcp_keepalives_count":    "3",
	} {
		if _, set := params[name]; !set {
			params[name] = value
		}
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	return config, schema, nil
}

// lock makes the session of conn the owner of the journal; the server gives the
// lock back with the session.
func (s *Store) lock(ctx context.Context, conn *pgx.Conn) error {
	const key = "hashtextextended('sandbox-agent journal ' || $1, 0)"
	if _, err := conn.Exec(ctx, "SELECT set_config('lock_timeout', $1, false)", lockTimeout); err != nil {
		return fmt.Errorf("lock journal: %w", err)
	}
	_, err := conn.Exec(ctx, "SELECT pg_advisory_lock("+key+")", s.schema)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == lockNotAvailable {
		return api.NewError(api.KindUnavailable, api.CodeDataLocked,
			"the journal in schema %s of database %s is in use by another process (%s)",
			s.schema, s.config.ConnConfig.Database, owner(ctx, conn, s.schema))
	}
	if err != nil {
		return fmt.Errorf("lock journal: %w", err)
	}
	return nil
}

// owner describes the session that has the lock.
func owner(ctx context.Context, conn *pgx.Conn, schema string) string {
	var text string
	err := conn.QueryRow(ctx, `
		SELECT format('session %s from %s since %s', a.pid, coalesce(host(a.client_addr), 'this machine'), date_trunc('second', a.backend_start))
		FROM pg_locks l JOIN pg_stat_activity a USING (pid),
			LATERAL (SELECT hashtextextended('sandbox-agent journal ' || $1, 0) AS key) k
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
			AND l.classid::bigint = (k.key >> 32) & 4294967295 AND l.objid::bigint = k.key & 4294967295
		LIMIT 1`, schema).Scan(&text)
	if err != nil {
		return "unknown session"
	}
	return text
}

// migrate brings the tables up to what this program knows.
func (s *Store) migrate(ctx context.Context) error {
	db := stdlib.OpenDB(*s.config.ConnConfig.Copy())
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("load migrations: %w", err)
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read version of schema: %w", err)
	}
	if current > known {
		return api.NewError(api.KindUnavailable, api.CodeDataTooNew,
			"schema %s was written by a newer version of this program (version %d, this one knows %d)", s.schema, current, known)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema %s: %w", s.schema, err)
	}
	return nil
}

// fault gives damage a code of its own.
func (s *Store) fault(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && (e.Code == dataCorrupted || e.Code == indexCorrupted) {
		return api.NewError(api.KindUnavailable, api.CodeDataCorrupt,
			"the journal in schema %s of database %s is damaged: %w", s.schema, s.config.ConnConfig.Database, err)
	}
	return err
}

// broken reports whether the connection failed rather than the statement.
func broken(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == adminShutdown || e.Code == crashShutdown
	}
	return true
}
