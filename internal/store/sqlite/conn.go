package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"strconv"

	"zombiezen.com/go/sqlite"

	"github.com/consentwire/consentwire/internal/store/db"
)

// conn is one connection with its prepared statements. It serves one goroutine
// at a time.
//
// It implements db.Conn. It does not go by database/sql, whose locks, conversions and boxes cost more
// than most of our statements.
type conn struct {
	c     *sqlite.Conn
	stmts map[string][]*sqlite.Stmt // those that nobody uses
}

// connect opens a file that exists and runs the pragmas in the order given:
// the page size must be set before the journal mode makes the file.
func connect(file string, flags sqlite.OpenFlags, pragmas []string, vfs string) (_ *conn, err error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	name := "file://" + (&url.URL{Path: abs}).EscapedPath()
	if vfs != "" {
		name += "?" + url.Values{"vfs": {vfs}}.Encode()
	}
	z, err := sqlite.OpenConn(name, flags|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	z.SetBusyTimeout(busyTimeout)
	c := &conn{c: z, stmts: make(map[string][]*sqlite.Stmt)}
	for _, p := range pragmas {
		if _, err := c.Exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("pragma %s: %w", p, err), c.close())
		}
	}
	return c, nil
}

// prepared returns a statement for a query, which is one of few texts: never
// one that holds a value. It is the caller's until done.
func (c *conn) prepared(query string, args []any) (*sqlite.Stmt, error) {
	var st *sqlite.Stmt
	if free := c.stmts[query]; len(free) > 0 {
		st = free[len(free)-1]
		c.stmts[query] = free[:len(free)-1]
	} else {
		var rest int
		var err error
		if st, rest, err = c.c.PrepareTransient(query); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		if rest != 0 {
			return nil, errors.Join(errors.New("prepare: more than one statement"), st.Finalize())
		}
	}
	if n := st.BindParamCount(); n != len(args) {
		c.done(query, st)
		return nil, fmt.Errorf("the statement takes %d values, not %d", n, len(args))
	}
	for i, a := range args {
		if err := bind(st, i+1, a); err != nil {
			c.done(query, st)
			return nil, err
		}
	}
	return st, nil
}

// done gives a statement back.
func (c *conn) done(query string, st *sqlite.Stmt) {
	_ = st.Reset()         // the error of the last step, which was told
	_ = st.ClearBindings() // never fails
	c.stmts[query] = append(c.stmts[query], st)
}

func bind(st *sqlite.Stmt, i int, a any) error {
	switch a := a.(type) {
	case nil:
		st.BindNull(i)
	case int64:
		st.BindInt64(i, a)
	case int:
		st.BindInt64(i, int64(a))
	case string:
		st.BindText(i, a)
	case []byte:
		if a == nil {
			st.BindNull(i)
		} else {
			st.BindBytes(i, a)
		}
	case bool:
		st.BindBool(i, a)
	default:
		v := reflect.ValueOf(a)
		switch {
		case v.CanInt():
			st.BindInt64(i, v.Int())
		case v.Kind() == reflect.String:
			st.BindText(i, v.String())
		default:
			return fmt.Errorf("a value of the type %T cannot be kept", a)
		}
	}
	return nil
}

// Exec implements db.Conn.
func (c *conn) Exec(query string, args ...any) (int64, error) {
	st, err := c.prepared(query, args)
	if err != nil {
		return 0, err
	}
	defer c.done(query, st)
	for more := true; more; {
		if more, err = st.Step(); err != nil {
			return 0, err
		}
	}
	return int64(c.c.Changes()), nil
}

// Later implements db.Conn: at once.
func (c *conn) Later(changed *int, query string, args ...any) error {
	n, err := c.Exec(query, args...)
	if changed != nil {
		*changed += int(n)
	}
	return err
}

// Flush implements db.Conn.
func (c *conn) Flush() error { return nil }

// do runs a statement that begins or ends a transaction or a part of one.
func (c *conn) do(query string) error {
	st, err := c.prepared(query, nil)
	if err != nil {
		return err
	}
	defer c.done(query, st)
	_, err = st.Step()
	return err
}

// Begin implements db.Conn.
func (c *conn) Begin(write bool) error {
	if write {
		return c.do("BEGIN IMMEDIATE")
	}
	return c.do("BEGIN")
}

// Commit implements db.Conn.
func (c *conn) Commit() error { return c.do("COMMIT") }

// Rollback implements db.Conn.
func (c *conn) Rollback() error { return c.do("ROLLBACK") }

// Room implements db.Conn.
func (c *conn) Room(string, int64) error { return nil }

// Days implements db.Conn: there are none.
func (c *conn) Days(string) ([]int64, error) { return nil, nil }

// LockDays implements db.Conn.
func (c *conn) LockDays() (bool, error) { return false, nil }

// DropDay implements db.Conn.
func (c *conn) DropDay(table string, _ int64) error {
	return fmt.Errorf("table %s keeps no days apart", table)
}

// Size implements db.Conn.
func (c *conn) Size() (bytes int64, err error) {
	all, free, err := c.pages()
	return (all - free) * pageSize, err
}

func (c *conn) pages() (all, free int64, err error) {
	if err = c.Get([]any{&all}, "PRAGMA page_count"); err == nil {
		err = c.Get([]any{&free}, "PRAGMA freelist_count")
	}
	return all, free, err
}

// Shrink implements db.Conn. A quarter of the file stays free, for what comes.
func (c *conn) Shrink(pages int) error {
	all, free, err := c.pages()
	if err != nil || 4*free <= all {
		return err
	}
	rows, err := c.Query("PRAGMA incremental_vacuum(" + strconv.Itoa(pages) + ")")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() { // a step for each page
		continue
	}
	return rows.Err()
}

// Savepoint implements db.Conn.
func (c *conn) Savepoint() error { return c.do("SAVEPOINT w") }

// Release implements db.Conn.
func (c *conn) Release() error { return c.do("RELEASE w") }

// RollbackTo implements db.Conn.
func (c *conn) RollbackTo() error {
	if err := c.do("ROLLBACK TO w"); err != nil {
		return err
	}
	return c.do("RELEASE w")
}

// rows are the rows of a query, one after the other.
type rows struct {
	c     *conn
	query string
	st    *sqlite.Stmt
	err   error
}

// Query implements db.Conn.
func (c *conn) Query(query string, args ...any) (db.Rows, error) {
	st, err := c.prepared(query, args)
	if err != nil {
		return nil, err
	}
	return &rows{c: c, query: query, st: st}, nil
}

// Next goes on to the next row; false: there is none, or Err says why.
func (r *rows) Next() bool {
	if r.err != nil || r.st == nil {
		return false
	}
	more, err := r.st.Step()
	r.err = err
	return more && err == nil
}

// Err returns what ended the rows too early.
func (r *rows) Err() error { return r.err }

// Close gives the statement back. Idempotent.
func (r *rows) Close() error {
	if r.st != nil {
		r.c.done(r.query, r.st)
		r.st = nil
	}
	return nil
}

// Scan reads the row.
func (r *rows) Scan(dst ...any) error { return scan(r.st, dst) }

// Bytes implements db.Rows.
func (r *rows) Bytes(i int, buf []byte) ([]byte, error) { return column(r.st, i, buf[:0]), nil }

func scan(st *sqlite.Stmt, dst []any) error {
	if n := st.ColumnCount(); n != len(dst) {
		return fmt.Errorf("the row has %d columns, not %d", n, len(dst))
	}
	for i, d := range dst {
		switch d := d.(type) {
		case nil:
			continue
		case *[]byte:
			*d = column(st, i, nil)
			continue
		case *sql.NullString:
			if d.Valid = !st.ColumnIsNull(i); d.Valid {
				d.String = st.ColumnText(i)
			}
			continue
		case *sql.NullInt64:
			if d.Valid = !st.ColumnIsNull(i); d.Valid {
				d.Int64 = st.ColumnInt64(i)
			}
			continue
		case *any:
			*d = anything(st, i)
			continue
		}
		if st.ColumnIsNull(i) {
			return fmt.Errorf("the column %s is NULL", st.ColumnName(i))
		}
		switch d := d.(type) {
		case *int64:
			*d = st.ColumnInt64(i)
		case *int:
			*d = st.ColumnInt(i)
		case *string:
			*d = st.ColumnText(i)
		case *bool:
			*d = st.ColumnBool(i)
		default:
			v := reflect.ValueOf(d).Elem()
			switch {
			case v.CanInt():
				v.SetInt(st.ColumnInt64(i))
			case v.Kind() == reflect.String:
				v.SetString(st.ColumnText(i))
			default:
				return fmt.Errorf("a column cannot be read into %T", d)
			}
		}
	}
	return nil
}

// anything returns a column's value as it is kept.
func anything(st *sqlite.Stmt, i int) any {
	switch st.ColumnType(i) {
	case sqlite.TypeInteger:
		return st.ColumnInt64(i)
	case sqlite.TypeFloat:
		return st.ColumnFloat(i)
	case sqlite.TypeText:
		return st.ColumnText(i)
	case sqlite.TypeBlob:
		return column(st, i, nil)
	}
	return nil
}

// column returns a copy of a column's bytes in buf, or where there is room;
// nil for NULL.
func column(st *sqlite.Stmt, i int, buf []byte) []byte {
	if st.ColumnIsNull(i) {
		return nil
	}
	n := st.ColumnLen(i)
	if cap(buf) < n || buf == nil {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	st.ColumnBytes(i, buf)
	return buf
}

// Get implements db.Conn.
func (c *conn) Get(dst []any, query string, args ...any) error {
	st, err := c.prepared(query, args)
	if err != nil {
		return err
	}
	defer c.done(query, st)
	more, err := st.Step()
	switch {
	case err != nil:
		return err
	case !more:
		return db.ErrNoRow
	}
	return scan(st, dst)
}

// close closes the statements and the connection. Idempotent.
func (c *conn) close() error {
	if c.c == nil {
		return nil
	}
	var errs []error
	for _, free := range c.stmts {
		for _, st := range free {
			errs = append(errs, st.Finalize())
		}
	}
	errs = append(errs, c.c.Close())
	c.c = nil
	return errors.Join(errs...)
}
