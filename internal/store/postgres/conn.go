package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"slices"
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
	connectPause     = 50 * time.Millisecond // after a connection failed
)

// How a transaction begins. The server ends one whose node is frozen, with the
// locks that it holds, so that the others go on; and a statement that waits for a
// lock for long is given up and tried again. A commit has no such limit: the
// server would stop waiting for its replicas and say that it is done.
const (
	beginRead     = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	beginWrite    = "BEGIN ISOLATION LEVEL READ COMMITTED"
	settingsRead  = "SELECT set_config('idle_in_transaction_session_timeout', '60s', true), set_config('statement_timeout', '60s', true)"
	settingsWrite = "SELECT set_config('idle_in_transaction_session_timeout', '3s', true), set_config('lock_timeout', '10s', true)"
)

// A lost node's, or database's, connection is noticed within 30 s though nothing
// is sent over it.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// The statements of a queue that begin and end things.
const (
	savepoint = "SAVEPOINT w"
	release   = "RELEASE w"
	commit    = "COMMIT"
)

// maxQueued is how many statements may wait for each other.
const maxQueued = 512

// conn is one connection with its prepared statements. It implements db.Conn.
//
// It connects when a transaction begins and there is none, so that it outlives
// the server's restarts. What needs no answer is sent with what does, for each
// message is under way for long.
type conn struct {
	s      *server
	c      *pgconn.PgConn            // nil: not connected
	later  time.Time                 // before that no connection is tried
	ending *pgconn.MultiResultReader // the end of a transaction that read, whose answer nobody waits for
	stmts  map[string]*statement
	rooms  map[partition]bool // that are there
	fresh  []partition        // of these, those that this transaction made

	queue   []queued // not sent yet
	open    bool     // there is a transaction
	reads   bool     // it only reads
	values  [][]byte // of one statement; used again
	formats []int16
	free    []*rows // that nobody uses
}

// statement is a statement whose types are known. The server has it prepared,
// unless the connection is one that forgets.
type statement struct {
	sd      *pgconn.StatementDescription
	formats []int16 // of the results
}

// queued is a statement that waits to be sent.
type queued struct {
	query   string     // of ours, or, without a statement, the server's
	st      *statement // nil: it has no values, and no results
	values  [][]byte
	formats []int16
	changed *int // is told how many rows
}

// errNotConnected is the error of a statement outside of a connection.
var errNotConnected = errors.New("there is no connection to the database")

// lostError is an error after which the connection is gone.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// lose marks an error after which the connection is gone.
func (c *conn) lose(err error) error {
	if err != nil && c.c != nil && c.c.IsClosed() {
		return &lostError{err}
	}
	return err
}

// connect opens a connection.
func (s *server) connect(ctx context.Context) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return pgconn.ConnectConfig(ctx, s.config.Copy())
}

func (c *conn) ensure() error {
	c.settle()
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

// settle hears the answer that nobody waited for.
func (c *conn) settle() {
	if c.ending != nil {
		_ = c.ending.Close() // then the connection is closed
		c.ending = nil
	}
}

// close closes the connection.
func (c *conn) close() error {
	c.settle()
	if c.c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	return c.c.Close(ctx)
}

// do runs statements without values, and without prepared statements, at once.
func (c *conn) do(query string) error {
	c.settle()
	if c.c == nil || c.c.IsClosed() {
		return errNotConnected
	}
	if len(c.queue) > 0 {
		if _, err := c.send(nil, nil); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	return c.lose(c.c.Exec(ctx, query).Close())
}

// Begin implements db.Conn.
func (c *conn) Begin(write bool) error {
	c.queue, c.open, c.fresh = c.queue[:0], false, c.fresh[:0]
	if err := c.ensure(); err != nil {
		return err
	}
	begin, settings := beginRead, settingsRead
	if write {
		begin, settings = beginWrite, settingsWrite
	}
	c.open, c.reads = true, !write
	c.queue = append(c.queue, queued{query: begin}, queued{query: settings})
	return nil
}

// Commit implements db.Conn.
func (c *conn) Commit() error {
	if c.c == nil || c.c.IsClosed() {
		return errNotConnected
	}
	c.open = false
	if c.unsent() && len(c.queue) == 2 { // nothing was done
		c.queue = c.queue[:0]
		return nil
	}
	c.queue = append(c.queue, queued{query: commit})
	tag, err := c.exchange(nil, nil) // once: whether it came to something may be unknown
	c.queue = c.queue[:0]
	if err != nil {
		return err
	}
	if tag.String() != commit { // a transaction that had failed
		return fmt.Errorf("the database answered %q to a commit", tag)
	}
	return nil
}

// unsent tells whether the server does not even know of the transaction.
func (c *conn) unsent() bool {
	return len(c.queue) > 0 && c.queue[0].st == nil && (c.queue[0].query == beginRead || c.queue[0].query == beginWrite)
}

// Rollback implements db.Conn. A connection that is lost has rolled back.
func (c *conn) Rollback() error {
	c.unmade()
	c.settle()
	c.queue, c.open = c.queue[:0], false
	switch {
	case c.c == nil || c.c.IsClosed() || c.c.TxStatus() == idle:
		return nil
	case c.reads:
		c.ending = c.c.Exec(context.Background(), "ROLLBACK")
		return nil
	}
	if err := c.do("ROLLBACK"); err != nil {
		return c.close()
	}
	return nil
}

// idle is the server's word for a connection without a transaction. Source:
// PostgreSQL, message formats, ReadyForQuery.
const idle = 'I'

// Savepoint implements db.Conn.
func (c *conn) Savepoint() error { return c.control(savepoint) }

// Release implements db.Conn.
func (c *conn) Release() error { return c.control(release) }

// control queues a statement that begins or ends a part of a transaction.
func (c *conn) control(query string) error {
	if c.c == nil || c.c.IsClosed() {
		return errNotConnected
	}
	c.queue = append(c.queue, queued{query: query})
	return nil
}

// RollbackTo implements db.Conn.
func (c *conn) RollbackTo() error {
	c.unmade()
	for i := len(c.queue) - 1; i >= 0; i-- {
		if c.queue[i].st == nil && c.queue[i].query == savepoint { // it was not even sent
			c.queue = c.queue[:i]
			return nil
		}
	}
	c.queue = c.queue[:0]
	return c.do("ROLLBACK TO w; RELEASE w")
}

// prepared returns the statement for a query of ours. Its name is made of its
// text, so that no other node's can be mistaken for it where connections are
// shared (PgBouncer).
func (c *conn) prepared(query string) (*statement, error) {
	if c.c == nil || c.c.IsClosed() {
		return nil, errNotConnected
	}
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	text := translate(query)
	name := ""
	if !c.s.forgets.Load() {
		sum := sha256.Sum256([]byte(text))
		name = "cw_" + hex.EncodeToString(sum[:12])
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	sd, err := c.c.Prepare(ctx, name, text, nil)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", c.lose(err))
	}
	st := &statement{sd: sd}
	for _, f := range sd.Fields {
		format := int16(pgtype.BinaryFormatCode)
		if f.DataTypeOID == pgtype.NumericOID {
			format = pgtype.TextFormatCode
		}
		st.formats = append(st.formats, format)
	}
	c.stmts[query] = st
	return st, nil
}

// bind prepares a query and encodes its values, which hold until they are used
// again.
func (c *conn) bind(query string, args []any) (q queued, err error) {
	c.settle()
	for try := 0; ; try++ {
		if q.st, err = c.prepared(query); err == nil || c.c == nil || !c.again(err, try) {
			break
		}
	}
	if err != nil {
		return q, err
	}
	if n := len(q.st.sd.ParamOIDs); n != len(args) {
		return q, fmt.Errorf("the statement takes %d values, not %d", n, len(args))
	}
	q.query, q.values, q.formats = query, c.values[:0], c.formats[:0]
	for i, a := range args {
		v, format, err := encode(q.st.sd.ParamOIDs[i], a)
		if err != nil {
			return q, err
		}
		if format == pgtype.TextFormatCode && bytes.IndexByte(v, 0) >= 0 {
			return q, errNUL
		}
		q.values, q.formats = append(q.values, v), append(q.formats, format)
	}
	c.values, c.formats = q.values, q.formats
	return q, nil
}

// again tells whether what failed can be tried once more, on another connection:
// so it is while the server has not confirmed that the transaction began.
func (c *conn) again(err error, try int) bool {
	stale := isStale(err)
	if stale {
		c.s.forget(err)
	}
	if try > 0 || !c.open || !c.unsent() || !stale && !c.c.IsClosed() {
		return false
	}
	if stale {
		_ = c.close() // it is given up
	}
	if c.ensure() != nil {
		return false
	}
	for i := range c.queue {
		if q := &c.queue[i]; q.st != nil {
			if q.st, err = c.prepared(q.query); err != nil {
				return false
			}
		}
	}
	return true
}

// isStale tells whether a connection does not have a prepared statement any
// more, as it was.
func isStale(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	// invalid_sql_statement_name, duplicate_prepared_statement; and feature_not_supported: another result type
	return ok && (e.Code == "26000" || e.Code == "42P05" || e.Code == "0A000" && e.Routine == "RevalidateCachedQuery")
}

// forget lets the server's connections do without prepared statements, if they
// lose them: so it is behind a PgBouncer that does not know of them.
func (s *server) forget(err error) {
	if code(err) != "0A000" && !s.forgets.Swap(true) {
		s.log.Warn("the database forgets prepared statements, so it is asked without; a PgBouncer before it should be version 1.21 or newer with max_prepared_statements above 0")
	}
}

// errEnded is the error of a statement in a transaction that was lost.
var errEnded = &lostError{errors.New("the transaction was lost with its connection")}

// send sends the queue, and then q, and reads all that comes back: what q
// changed, and its rows into r, if there is one.
func (c *conn) send(q *queued, r *rows) (tag pgconn.CommandTag, err error) {
	for try := 0; ; try++ {
		switch {
		case c.c == nil || c.c.IsClosed():
			err = errNotConnected
		case c.open && !c.unsent() && c.c.TxStatus() == idle:
			err = errEnded
		default:
			tag, err = c.exchange(q, r)
		}
		if err == nil || c.c == nil || !c.again(err, try) {
			break
		}
		if q != nil {
			if q.st, err = c.prepared(q.query); err != nil {
				break
			}
		}
	}
	c.queue = c.queue[:0]
	return tag, err
}

// exchange is one round trip.
func (c *conn) exchange(q *queued, r *rows) (tag pgconn.CommandTag, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	var batch pgconn.Batch
	for i := range c.queue {
		c.queue[i].into(&batch)
	}
	if q != nil {
		q.into(&batch)
	}
	m := c.c.ExecBatch(ctx, &batch)
	for n := 0; m.NextResult(); n++ {
		rr := m.ResultReader()
		if n == len(c.queue) && r != nil {
			r.read(rr)
		}
		if tag, err = rr.Close(); err != nil {
			break
		}
		if n < len(c.queue) && c.queue[n].changed != nil {
			*c.queue[n].changed += int(tag.RowsAffected())
		}
	}
	if e := m.Close(); err == nil {
		err = e
	}
	if hasNoRoom(err) {
		clear(c.rooms) // another node dropped some
	}
	return tag, c.lose(err)
}

// into adds a statement to those that are sent together.
func (q *queued) into(batch *pgconn.Batch) {
	switch {
	case q.st == nil:
		batch.ExecParams(q.query, nil, nil, nil, nil)
	case q.st.sd.Name == "":
		batch.ExecParams(q.st.sd.SQL, q.values, q.st.sd.ParamOIDs, q.formats, q.st.formats)
	default:
		batch.ExecStatement(q.st.sd, q.values, q.formats, q.st.formats)
	}
}

// errNUL is the error of a text that PostgreSQL cannot hold, and so does not.
var errNUL = errors.New("the database keeps no text with U+0000")

// Exec implements db.Conn.
func (c *conn) Exec(query string, args ...any) (int64, error) {
	q, err := c.bind(query, args)
	if err != nil {
		return 0, err
	}
	tag, err := c.send(&q, nil)
	return tag.RowsAffected(), err
}

// Later implements db.Conn.
func (c *conn) Later(changed *int, query string, args ...any) error {
	q, err := c.bind(query, args)
	if err != nil {
		return err
	}
	q.values, q.formats, q.changed = slices.Clone(q.values), slices.Clone(q.formats), changed
	if c.queue = append(c.queue, q); len(c.queue) >= maxQueued {
		return c.Flush()
	}
	return nil
}

// Flush implements db.Conn.
func (c *conn) Flush() error {
	for i := range c.queue {
		if c.queue[i].st != nil {
			_, err := c.send(nil, nil)
			return err
		}
	}
	return nil
}

// Get implements db.Conn.
func (c *conn) Get(dst []any, query string, args ...any) error {
	r, err := c.Query(query, args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.Next() {
		return db.ErrNoRow
	}
	return r.Scan(dst...)
}

// Query implements db.Conn.
func (c *conn) Query(query string, args ...any) (db.Rows, error) {
	q, err := c.bind(query, args)
	if errors.Is(err, errNUL) && strings.HasPrefix(query, "SELECT") {
		return &rows{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &rows{c: c}
	if n := len(c.free); n > 0 {
		r, c.free = c.free[n-1], c.free[:n-1]
	}
	if _, err := c.send(&q, r); err != nil {
		_ = r.Close() // there are none
		return nil, err
	}
	r.types = q.st.sd.Fields
	return r, nil
}

// rows are the rows of a statement, which were all read. The values of all of
// them stand one behind the other.
type rows struct {
	c     *conn // nil: they are not given back
	types []pgconn.FieldDescription

	buf  []byte
	ends []int // of each value in buf; negative: it is NULL, and the one before ends at the inverse
	row  [][]byte
	at   int // the next row's first value
	from int // where it begins
}

// read reads all rows.
func (r *rows) read(rr *pgconn.ResultReader) {
	if r.buf == nil {
		r.buf = make([]byte, 0, 256) // what is empty is not NULL
	}
	r.buf, r.ends, r.at, r.from, r.row = r.buf[:0], r.ends[:0], 0, 0, r.row[:0]
	for rr.NextRow() {
		for _, v := range rr.Values() {
			if r.buf = append(r.buf, v...); v == nil {
				r.ends = append(r.ends, ^len(r.buf))
			} else {
				r.ends = append(r.ends, len(r.buf))
			}
		}
	}
}

// Next implements db.Rows.
func (r *rows) Next() bool {
	if r.at >= len(r.ends) {
		return false
	}
	r.row = r.row[:0]
	for _, end := range r.ends[r.at : r.at+len(r.types)] {
		if end < 0 {
			r.row = append(r.row, nil)
			continue
		}
		r.row = append(r.row, r.buf[r.from:end:end])
		r.from = end
	}
	r.at += len(r.types)
	return true
}

// Err implements db.Rows.
func (r *rows) Err() error { return nil }

// maxKept is how much room for rows is kept.
const maxKept = 4 << 20

// Close implements db.Rows.
func (r *rows) Close() error {
	if c := r.c; c != nil && cap(r.buf) <= maxKept {
		r.c, r.ends, r.at = nil, r.ends[:0], 0
		c.free = append(c.free, &rows{c: c, buf: r.buf[:0], ends: r.ends, row: r.row[:0]})
		r.buf, r.ends, r.row = nil, nil, nil
	}
	return nil
}

// Scan implements db.Rows.
func (r *rows) Scan(dst ...any) error { return scan(r.types, r.row, dst) }

// Bytes implements db.Rows.
func (r *rows) Bytes(column int, buf []byte) ([]byte, error) {
	switch v := r.row[column]; {
	case v == nil:
		return nil, nil
	case buf == nil:
		return bytes.Clone(v), nil
	default:
		return append(buf[:0], v...), nil
	}
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

func scan(types []pgconn.FieldDescription, row [][]byte, dst []any) error {
	if len(row) != len(dst) {
		return fmt.Errorf("the row has %d columns, not %d", len(row), len(dst))
	}
	for i, d := range dst {
		v := row[i]
		switch d := d.(type) {
		case nil:
			continue
		case *[]byte:
			*d = bytes.Clone(v)
			continue
		case *sql.NullInt64:
			*d = sql.NullInt64{}
			if v != nil {
				n, err := number(types[i].DataTypeOID, v)
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
			*d = anything(types[i].DataTypeOID, v)
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
			n, err := number(types[i].DataTypeOID, v)
			if err != nil {
				return err
			}
			*d = n != 0
			continue
		}
		e := reflect.ValueOf(d).Elem()
		switch {
		case e.CanInt():
			n, err := number(types[i].DataTypeOID, v)
			if err != nil {
				return err
			}
			e.SetInt(n)
		case e.Kind() == reflect.String:
			e.SetString(string(v))
		case e.Kind() == reflect.Bool:
			n, err := number(types[i].DataTypeOID, v)
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
		return bytes.Clone(v)
	}
	return string(v)
}

// dayLength is how long a partition is, in milliseconds, and dayForm how it is
// named.
const (
	dayLength = 24 * 60 * 60 * 1000
	dayForm   = "20060102"
)

// partition names a day's part of a table.
type partition struct {
	table string
	day   int64 // since 1970, UTC
}

func (p partition) String() string {
	return p.table + "_" + time.UnixMilli(p.day*dayLength).UTC().Format(dayForm)
}

// Room implements db.Conn. What is made in a transaction that is rolled back is
// made again.
func (c *conn) Room(table string, at int64) error {
	p := partition{table, at / dayLength}
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

// dayLock is how long is waited for those who read and write the days.
const dayLock = "200ms"

// Days implements db.Conn.
func (c *conn) Days(table string) (days []int64, err error) {
	rows, err := c.Query("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(?) ORDER BY 1", table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		at, err := time.Parse(dayForm, strings.TrimPrefix(name, table+"_"))
		if err != nil {
			return nil, fmt.Errorf("table %s is no day: %w", name, err)
		}
		days = append(days, at.UnixMilli())
	}
	return days, rows.Err()
}

// LockDays implements db.Conn.
func (c *conn) LockDays() (free bool, err error) {
	if err := c.do("SAVEPOINT d; SET LOCAL lock_timeout = '" + dayLock + "'"); err != nil {
		return false, err
	}
	err = c.do("LOCK TABLE event, attempt IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout = '10s'; RELEASE d")
	if code(err) == "55P03" { // lock_not_available
		return false, c.do("ROLLBACK TO d; RELEASE d")
	}
	return err == nil, err
}

// DropDay implements db.Conn. A partition is dropped where it hangs, and not
// detached before: DETACH CONCURRENTLY is no part of a transaction.
func (c *conn) DropDay(table string, day int64) error {
	p := partition{table, day / dayLength}
	delete(c.rooms, p)
	return c.do("DROP TABLE " + p.String())
}

// Size implements db.Conn: of the log and the attempts, which make up most.
func (c *conn) Size() (bytes int64, err error) {
	err = c.Get([]any{&bytes}, `SELECT CAST(COALESCE(SUM(pg_total_relation_size(inhrelid)), 0) AS bigint)
		FROM pg_inherits WHERE inhparent IN (to_regclass('event'), to_regclass('attempt'))`)
	return bytes, err
}

// Shrink implements db.Conn: the database vacuums itself.
func (c *conn) Shrink(int) error { return nil }

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
		ALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR VALUES FROM (%[3]d) TO (%[4]d)`, p, p.table, p.day*dayLength, (p.day+1)*dayLength))
}

// hasNoRoom tells whether a row's partition is not there.
func hasNoRoom(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23514" && e.Routine == "ExecFindPartition"
}

// unmade forgets the partitions that a rollback took away.
func (c *conn) unmade() {
	for _, p := range c.fresh {
		delete(c.rooms, p)
	}
	c.fresh = c.fresh[:0]
}
