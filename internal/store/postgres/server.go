// Package postgres keeps everything in a PostgreSQL database that any number of
// nodes share. It is the database of many nodes (db.Database): connections,
// schema, partitions, and word of what other nodes changed.
//
// It trusts the server with the disk and refuses one that was told not to wait
// for it.
package postgres

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/schema"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readConns is how many reads of one node can go on at a time.
const readConns = 4

// minVersion is the oldest server that is supported.
const minVersion = 150000

// Server is a database on a PostgreSQL server, 15 or newer. It implements
// db.Opener.
//
// Each node holds seven connections: five for statements, which use prepared
// statements and transactions only, and two that listen. Through PgBouncer in
// transaction mode the five work with max_prepared_statements above 0 (1.21 or
// newer); listening does not, and then other nodes' changes are found by the
// poll, within 2 s.
type Server struct {
	URL       string // postgres://…
	NoMigrate bool   // an old schema is an error
	Log       *slog.Logger
}

// server is a database that is open. It implements db.Database.
type server struct {
	config  *pgconn.Config
	log     *slog.Logger
	writer  *conn
	readers []db.Conn
	closed  atomic.Bool
	*news

	forgets  atomic.Bool // it loses prepared statements, so there are none
	madeUpto int64       // the day from which partitions ahead are to be looked for again
}

// Open implements db.Opener.
//
// Errors, all fault.Unavailable: "database_unreachable"; "database_unsafe" when
// the server does not wait for its disk; "database_old" when it is older than
// PostgreSQL 15; "schema_old" with NoMigrate; "schema_new" when a later version
// of the program made it; "migration_failed"; "store_unreadable".
func (o Server) Open(ctx context.Context) (_ db.Database, err error) {
	s, err := o.server()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := o.migrate(ctx); err != nil {
		return nil, err
	}
	if err := s.writer.ensure(); err != nil {
		return nil, unreachable(err)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	for range readConns {
		s.readers = append(s.readers, &conn{s: s})
	}
	return s, nil
}

// server reads the URL.
func (o Server) server() (*server, error) {
	cfg, err := pgconn.ParseConfig(o.URL)
	if err != nil {
		return nil, malformed()
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "consentwire"
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, c net.Conn) (net.Conn, error) {
		under := c
		if t, ok := c.(*tls.Conn); ok {
			under = t.NetConn()
		}
		if t, ok := under.(*net.TCPConn); ok {
			return c, t.SetKeepAliveConfig(keepAlive)
		}
		return c, nil
	}
	s := &server{config: cfg, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.writer = &conn{s: s}
	s.news = newNews(s)
	return s, nil
}

// check refuses a server that is too old or does not keep what it was given.
func (s *server) check() error {
	for name, want := range map[string]string{"fsync": "on", "full_page_writes": "on"} {
		got, err := s.setting(name)
		if err != nil {
			return unreachable(err)
		}
		if got != want {
			return fault.New(fault.Unavailable, "database_unsafe", fmt.Sprintf("The database has %s = %s, so what it acknowledges may be lost; set it to %s.", name, got, want))
		}
	}
	if got, err := s.setting("synchronous_commit"); err != nil {
		return unreachable(err)
	} else if got == "off" {
		return fault.New(fault.Unavailable, "database_unsafe", "The database has synchronous_commit = off, so what it acknowledges may be lost; set it to on.")
	}
	version, err := s.setting("server_version_num")
	if err != nil {
		return unreachable(err)
	}
	var n int
	if _, err := fmt.Sscan(version, &n); err != nil || n < minVersion {
		return fault.New(fault.Unavailable, "database_old", "The database is older than PostgreSQL 15.")
	}
	return nil
}

func (s *server) setting(name string) (value string, err error) {
	err = s.writer.Get([]any{&value}, "SELECT current_setting(?)", name)
	return value, err
}

// malformed is the error of an address. Its own text may show the password.
func malformed() error {
	return fault.New(fault.Unavailable, "database_url", "The address of the database cannot be read; it is postgres://user:password@host:port/name.")
}

func unreachable(err error) error {
	return fault.Wrap(fault.Unavailable, "database_unreachable", "The database cannot be reached.", secretless(err))
}

// secretless keeps the connection's address out of an error.
func secretless(err error) error {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return errors.New("no connection")
	}
	return err
}

// Migrate brings the schema of a database up to date. Its errors are those of
// Server.Open.
func Migrate(ctx context.Context, o Server) error {
	o.NoMigrate = false
	return o.migrate(ctx)
}

// migrate brings the schema up to date. One node does it at a time: it holds a
// lock for as long as a transaction lasts, for a session may be shared.
func (o Server) migrate(ctx context.Context) (err error) {
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return malformed()
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing that a shared connection would have to remember
	d := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.PingContext(ctx); err != nil {
		return unreachable(err)
	}
	lock, err := d.BeginTx(ctx, nil)
	if err != nil {
		return unreachable(err)
	}
	defer func() {
		if e := lock.Rollback(); e != nil && err == nil {
			err = unreachable(e)
		}
	}()
	for _, query := range []string{
		"SELECT set_config('idle_in_transaction_session_timeout', '0', true), set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)",
		"SELECT pg_advisory_xact_lock(hashtext('consentwire schema'))",
	} {
		if _, err := lock.ExecContext(ctx, query); err != nil {
			return unreachable(err)
		}
	}
	return schema.Migrate(ctx, goose.DialectPostgres, d, migrations, o.NoMigrate, func(err error) error {
		return fault.Wrap(fault.Unavailable, "store_unreadable", "The schema of the database cannot be read.", err)
	})
}

// Writer implements db.Database.
func (s *server) Writer() db.Conn { return s.writer }

// Readers implements db.Database.
func (s *server) Readers() []db.Conn { return s.readers }

// Shared implements db.Database.
func (s *server) Shared() bool { return true }

// Fatal implements db.Database: the disk is the server's to look after.
func (s *server) Fatal(error) bool { return false }

// code returns the SQLSTATE of an error; empty: it is none of the server's.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// Busy implements db.Database: the same may succeed later.
func (s *server) Busy(err error) bool { return s.Lost(err) }

// Lost implements db.Database.
func (s *server) Lost(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, errNotConnected) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return true
	}
	if _, ok := errors.AsType[*lostError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	c := code(err)
	// Connection, operator's intervention, resources; and a transaction that we left alone for too long.
	return len(c) == 5 && (c[:2] == "08" || c[:2] == "57" || c[:2] == "53" || c == "25P03")
}

// Clash implements db.Database.
func (s *server) Clash(err error) bool {
	switch code(err) {
	case "40P01", "40001", "55P03": // deadlock, serialization failure, lock not available
		return true
	}
	return isStale(err) || hasNoRoom(err) // the next time without, or with one
}

// Unique implements db.Database.
func (s *server) Unique(err error) bool { return code(err) == "23505" }

// Grown implements db.Database.
func (s *server) Grown(bool) error { return nil }

// Due implements db.Database.
func (s *server) Due() <-chan time.Time { return nil }

// Again implements db.Database.
func (s *server) Again() error { return nil }

// Close implements db.Database.
func (s *server) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	s.news.close()
	var errs []error
	for _, c := range s.readers {
		errs = append(errs, c.(*conn).close())
	}
	return errors.Join(append(errs, s.writer.close())...)
}
