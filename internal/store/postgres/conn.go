package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/consentwire/consentwire/internal/store/db"
)

// How long things may take before the server is given up.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = 60 * time.Second
	connectPause     = 250 * time.Millisecond // after a connection failed
)

// How a transaction begins. The server ends one whose node is frozen, with the
// locks that it holds, so that the others go on; and a statement that waits for a
// lock for long is given up and tried again.
const (
	beginRead  = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '60s'"
	beginWrite = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '3s'; SET LOCAL lock_timeout = '10s'"
)

// conn is one connection with its prepared statements. It implements db.Conn.
//
// It connects when a transaction begins and there is none, so that it outlives
// the server's restarts.
type conn struct {
	s     *server
	c     *pgconn.PgConn // nil: not connected
	later time.Time      // before that no connection is tried
	stmts map[string]*statement
	rooms map[partition]bool // that are there
	fresh []partition        // of these, those that this transaction made
}

// statement is a prepared statement.
type statement struct {
	name    string
	params  []uint32 // types
	results []uint32
	formats []int16 // of the results
}

// notConnected is the error of a statement outside of a connection.
var errNotConnected = errors.New("there is no connection to the database")

// connect opens a connection. Its session keeps what is promised here: what is
// committed is on the disk, and nobody waits for ever.
func (s *server) connect(ctx context.Context) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return pgconn.ConnectConfig(ctx, s.config.Copy())
}

func (c *conn) ensure() error {
	if c.c != nil && !c.c.IsClosed() {
		return nil
	}
	if c.s.closed.Load() {
		return errNotConnected
	}
	if time.Now().Before(c.later) {
		return errNotConnected
	}
	p, err := c.s.connect(context.Background())
	if err != nil {
		c.later = time.Now().Add(connectPause)
		return err
	}
	c.c, c.stmts = p, make(map[string]*statement)
	c.unmade()
	return nil
}

// close closes the connection.
func (c *conn) close() error {
	if c.c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	return c.c.Close(ctx)
}

// do runs a statement without values.
func (c *conn) do(query string) error {
	if c.c == nil || c.c.IsClosed() {
		return errNotConnected
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	return c.c.Exec(ctx, query).Close()
}

// Begin implements db.Conn.
func (c *conn) Begin(write bool) error {
	query := beginRead
	if write {
		query = beginWrite
	}
	if err := c.ensure(); err != nil {
		return err
	}
	err := c.do(query)
	if err != nil && c.c.IsClosed() { // it had ended while nobody used it
		if err = c.ensure(); err == nil {
			err = c.do(query)
		}
	}
	c.fresh = c.fresh[:0]
	return err
}

// Commit implements db.Conn.
func (c *conn) Commit() error {
	if c.c == nil || c.c.IsClosed() {
		return errNotConnected
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	r := c.c.Exec(ctx, "COMMIT")
	var tag string
	for r.NextResult() {
		t, err := r.ResultReader().Close()
		if err != nil {
			_ = r.Close() // the first error is the one
			return err
		}
		tag = t.String()
	}
	if err := r.Close(); err != nil {
		return err
	}
	if tag != "COMMIT" { // a transaction that had failed
		return fmt.Errorf("the database answered %q to a commit", tag)
	}
	return nil
}

// Rollback implements db.Conn. A connection that is lost has rolled back.
func (c *conn) Rollback() error {
	c.unmade()
	if c.c == nil || c.c.IsClosed() {
		return nil
	}
	if err := c.do("ROLLBACK"); err != nil {
		return c.close()
	}
	return nil
}

// Savepoint implements db.Conn.
func (c *conn) Savepoint() error { return c.do("SAVEPOINT w") }

// Release implements db.Conn.
func (c *conn) Release() error { return c.do("RELEASE w") }

// RollbackTo implements db.Conn.
func (c *conn) RollbackTo() error {
	c.unmade()
	return c.do("ROLLBACK TO w; RELEASE w")
}

// prepared returns the prepared statement for a query of ours.
func (c *conn) prepared(ctx context.Context, query string) (*statement, error) {
	if c.c == nil || c.c.IsClosed() {
		return nil, errNotConnected
	}
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	st := &statement{name: "s" + strconv.Itoa(len(c.stmts))}
	d, err := c.c.Prepare(ctx, st.name, translate(query), nil)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	st.params = d.ParamOIDs
	for _, f := range d.Fields {
		st.results = append(st.results, f.DataTypeOID)
		format := int16(pgtype.BinaryFormatCode)
		if f.DataTypeOID == pgtype.NumericOID {
			format = pgtype.TextFormatCode
		}
		st.formats = append(st.formats, format)
	}
	c.stmts[query] = st
	return st, nil
}

// run runs a statement and reads all its rows.
func (c *conn) run(query string, args []any) (*pgconn.Result, *statement, error) {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	st, err := c.prepared(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	if len(st.params) != len(args) {
		return nil, nil, fmt.Errorf("the statement takes %d values, not %d", len(st.params), len(args))
	}
	values, formats := make([][]byte, len(args)), make([]int16, len(args))
	for i, a := range args {
		if values[i], formats[i], err = encode(st.params[i], a); err != nil {
			return nil, nil, err
		}
		if formats[i] == pgtype.TextFormatCode && bytes.IndexByte(values[i], 0) >= 0 {
			return nil, nil, errNUL
		}
	}
	r := c.c.ExecPrepared(ctx, st.name, values, formats, st.formats).Read()
	return r, st, r.Err
}

// errNUL is the error of a text that PostgreSQL cannot hold, and so does not.
var errNUL = errors.New("the database keeps no text with U+0000")

// Exec implements db.Conn.
func (c *conn) Exec(query string, args ...any) (int64, error) {
	r, _, err := c.run(query, args)
	if err != nil {
		return 0, err
	}
	return r.CommandTag.RowsAffected(), nil
}

// Get implements db.Conn.
func (c *conn) Get(dst []any, query string, args ...any) error {
	r, st, err := c.run(query, args)
	if errors.Is(err, errNUL) && strings.HasPrefix(query, "SELECT") {
		return db.ErrNoRow
	}
	if err != nil {
		return err
	}
	if len(r.Rows) == 0 {
		return db.ErrNoRow
	}
	return scan(st.results, r.Rows[0], dst)
}

// Query implements db.Conn.
func (c *conn) Query(query string, args ...any) (db.Rows, error) {
	r, st, err := c.run(query, args)
	if errors.Is(err, errNUL) && strings.HasPrefix(query, "SELECT") {
		return &rows{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &rows{types: st.results, list: r.Rows}, nil
}

// rows are the rows of a statement, which were all read.
type rows struct {
	types []uint32
	list  [][][]byte // behind the present one
	row   [][]byte
}

// Next implements db.Rows.
func (r *rows) Next() bool {
	if len(r.list) == 0 {
		return false
	}
	r.row, r.list = r.list[0], r.list[1:]
	return true
}

// Err implements db.Rows.
func (r *rows) Err() error { return nil }

// Close implements db.Rows.
func (r *rows) Close() error { r.list = nil; return nil }

// Scan implements db.Rows.
func (r *rows) Scan(dst ...any) error { return scan(r.types, r.row, dst) }

// Bytes implements db.Rows.
func (r *rows) Bytes(column int, buf []byte) ([]byte, error) {
	if v := r.row[column]; v != nil {
		return append(buf[:0], v...), nil
	}
	return nil, nil
}

// encode makes a value of a type, in binary.
func encode(oid uint32, a any) (value []byte, format int16, err error) {
	const text, bin = pgtype.TextFormatCode, pgtype.BinaryFormatCode
	var n int64
	switch a := a.(type) {
	case nil:
		return nil, bin, nil
	case []byte:
		if a == nil {
			return nil, bin, nil
		}
		if oid != pgtype.ByteaOID {
			return a, text, nil
		}
		return a, bin, nil
	case string:
		return stringAs(oid, a)
	case int64:
		n = a
	case int:
		n = int64(a)
	case bool:
		if a {
			n = 1
		}
	default:
		v := reflect.ValueOf(a)
		switch {
		case v.CanInt():
			n = v.Int()
		case v.Kind() == reflect.String:
			return stringAs(oid, v.String())
		default:
			return nil, 0, fmt.Errorf("a value of the type %T cannot be kept", a)
		}
	}
	switch oid {
	case pgtype.Int8OID:
		return binary.BigEndian.AppendUint64(nil, uint64(n)), bin, nil // #nosec G115 -- the same bits
	case pgtype.Int4OID:
		if n > math.MaxInt32 || n < math.MinInt32 {
			return nil, 0, fmt.Errorf("%d does not fit into four bytes", n)
		}
		return binary.BigEndian.AppendUint32(nil, uint32(n)), bin, nil // #nosec G115 -- checked
	case pgtype.BoolOID:
		return []byte{byte(min(n, 1))}, bin, nil // #nosec G115 -- 0 or 1
	}
	return strconv.AppendInt(nil, n, 10), text, nil
}

// stringAs encodes a text. As bytes it is what SQLite would keep.
func stringAs(oid uint32, s string) ([]byte, int16, error) {
	if oid == pgtype.ByteaOID {
		return []byte(s), pgtype.BinaryFormatCode, nil
	}
	return []byte(s), pgtype.TextFormatCode, nil
}

// number decodes a number or a truth value.
func number(oid uint32, v []byte) (int64, error) {
	switch {
	case oid == pgtype.Int8OID && len(v) == 8:
		return int64(binary.BigEndian.Uint64(v)), nil // #nosec G115 -- the same bits
	case oid == pgtype.Int4OID && len(v) == 4:
		return int64(int32(binary.BigEndian.Uint32(v))), nil // #nosec G115 -- the same bits
	case oid == pgtype.BoolOID && len(v) == 1:
		return int64(v[0]), nil
	case oid == pgtype.NumericOID:
		return strconv.ParseInt(string(v), 10, 64)
	}
	return 0, fmt.Errorf("a column of the type %d is no number", oid)
}

func scan(types []uint32, row [][]byte, dst []any) error {
	if len(row) != len(dst) {
		return fmt.Errorf("the row has %d columns, not %d", len(row), len(dst))
	}
	for i, d := range dst {
		v := row[i]
		switch d := d.(type) {
		case nil:
			continue
		case *[]byte:
			*d = v
			continue
		case *sql.NullInt64:
			*d = sql.NullInt64{}
			if v != nil {
				n, err := number(types[i], v)
				if err != nil {
					return err
				}
				*d = sql.NullInt64{Int64: n, Valid: true}
			}
			continue
		case *sql.NullString:
			*d = sql.NullString{String: string(v), Valid: v != nil}
			continue
		case *any:
			*d = anything(types[i], v)
			continue
		}
		if v == nil {
			return fmt.Errorf("column %d is NULL", i)
		}
		switch d := d.(type) {
		case *string:
			*d = string(v)
			continue
		case *bool:
			n, err := number(types[i], v)
			if err != nil {
				return err
			}
			*d = n != 0
			continue
		}
		e := reflect.ValueOf(d).Elem()
		switch {
		case e.CanInt():
			n, err := number(types[i], v)
			if err != nil {
				return err
			}
			e.SetInt(n)
		case e.Kind() == reflect.String:
			e.SetString(string(v))
		case e.Kind() == reflect.Bool:
			n, err := number(types[i], v)
			if err != nil {
				return err
			}
			e.SetBool(n != 0)
		default:
			return fmt.Errorf("a column cannot be read into %T", d)
		}
	}
	return nil
}

// anything returns a column's value as it is kept.
func anything(oid uint32, v []byte) any {
	if v == nil {
		return nil
	}
	if n, err := number(oid, v); err == nil {
		return n
	}
	if oid == pgtype.ByteaOID {
		return v
	}
	return string(v)
}

// day is how long a partition is, in milliseconds.
const day = 24 * 60 * 60 * 1000

// partition names a day's part of a table.
type partition struct {
	table string
	day   int64 // since 1970, UTC
}

func (p partition) String() string {
	return p.table + "_" + time.UnixMilli(p.day*day).UTC().Format("20060102")
}

// Room implements db.Conn. What is made in a transaction that is rolled back is
// made again.
func (c *conn) Room(table string, at int64) error {
	p := partition{table, at / day}
	if at < 0 {
		p.day-- // before 1970
	}
	if c.rooms[p] {
		return nil
	}
	made, err := c.make(p)
	if err != nil {
		return err
	}
	if c.rooms == nil {
		c.rooms = make(map[partition]bool)
	}
	c.rooms[p] = true
	if made {
		c.fresh = append(c.fresh, p)
	}
	return nil
}

// make makes a partition, if there is none. It is attached rather than made in
// place, for that does not wait for those who read and write the others.
func (c *conn) make(p partition) (made bool, err error) {
	var there bool
	if err := c.Get([]any{&there}, "SELECT to_regclass(?) IS NOT NULL", p.String()); err != nil || there {
		return false, err
	}
	if err := c.do("SELECT pg_advisory_xact_lock(hashtext('consentwire partition'))"); err != nil {
		return false, err
	}
	// Not by to_regclass, which may not have heard yet of what others committed.
	if err := c.Get([]any{&there}, `SELECT EXISTS (SELECT 1 FROM pg_class
		WHERE relname = ? AND relnamespace = current_schema()::regnamespace)`, p.String()); err != nil || there {
		return false, err
	}
	return true, c.do(fmt.Sprintf(`CREATE TABLE %[1]s (LIKE %[2]s INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
		ALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR VALUES FROM (%[3]d) TO (%[4]d)`, p, p.table, p.day*day, (p.day+1)*day))
}

// unmade forgets the partitions that a rollback took away.
func (c *conn) unmade() {
	for _, p := range c.fresh {
		delete(c.rooms, p)
	}
	c.fresh = c.fresh[:0]
}
