// Package move carries an embedded store over into a PostgreSQL database that
// several nodes can share, with everything: cursors, what waits for a retry,
// attempts, tokens, sealed keys, chains.
//
// It knows no table: both have the same ones, with the same columns. It sends
// nothing, opens no seal, and leaves either everything there or nothing.
package move

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/db"
)

// Mark is the row of table meta that tells that a store was moved: it must not be
// served any more, or its log would be delivered twice.
const Mark = "moved"

// batch is how many rows go into one statement, for tables of up to 20 columns:
// a statement takes 65,535 values.
const batch = 128

// Report tells what was moved.
type Report struct {
	Tables, Rows int64
	Again        bool // it had been moved before, and only the mark was missing
}

// Move carries everything over in one transaction of the target, which must be
// empty. The source is marked right before that is committed: should the process
// end in between, the move is to be run again.
//
// Errors: those of opening either; fault.Conflict "target_not_empty";
// fault.Unavailable "move_failed", after which the target is as it was.
func Move(ctx context.Context, from, to db.Opener) (r Report, err error) {
	source, err := from.Open(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := to.Open(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	m := mover{ctx: ctx, from: source.Writer(), read: source.Readers()[0], to: target.Writer()}
	marked, err := m.marked()
	if err != nil {
		return r, failed(err)
	}
	used, same, err := m.compare()
	switch {
	case err != nil:
		return r, failed(err)
	case used && same && marked:
		r.Again = true
		return r, nil
	case used:
		return r, fault.New(fault.Conflict, "target_not_empty", "The database has data already; a store is moved into an empty one.")
	}
	if err := m.run(&r); err != nil {
		_ = m.to.Rollback() // it may not have begun
		return r, failed(err)
	}
	if err := m.mark(); err != nil {
		_ = m.to.Rollback() // nothing is there yet
		return r, failed(err)
	}
	if err := m.to.Commit(); err != nil {
		if target.Lost(err) {
			return r, fault.Wrap(fault.Unavailable, "move_failed",
				"The database did not confirm the move, so it is unknown whether it is done; run the command again.", err)
		}
		return r, failed(errors.Join(err, m.unmark()))
	}
	return r, nil
}

func failed(err error) error {
	if fault.KindOf(err) != fault.Internal {
		return err
	}
	return fault.Wrap(fault.Unavailable, "move_failed", "The store could not be moved; the database is as it was.", err)
}

type mover struct {
	ctx      context.Context
	from     db.Conn // writes the mark
	read, to db.Conn
}

func (m *mover) marked() (yes bool, err error) {
	err = m.from.Get([]any{&yes}, "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?)", Mark)
	return yes, err
}

// compare tells whether the target is used, and whether by this very store: the
// key of look-up hashes is a store's own.
func (m *mover) compare() (used, same bool, err error) {
	if err = m.to.Begin(false); err != nil {
		return false, false, err
	}
	defer func() { err = errors.Join(err, m.to.Rollback()) }()
	err = m.to.Get([]any{&used}, "SELECT EXISTS (SELECT 1 FROM application) OR EXISTS (SELECT 1 FROM meta)")
	if err != nil || !used {
		return used, false, err
	}
	var ours, theirs []byte
	err = m.from.Get([]any{&ours}, "SELECT value FROM meta WHERE name = 'index'")
	if err == nil {
		err = m.to.Get([]any{&theirs}, "SELECT value FROM meta WHERE name = 'index'")
	}
	if errors.Is(err, db.ErrNoRow) {
		return used, false, nil
	}
	return used, err == nil && string(ours) == string(theirs), err
}

func (m *mover) mark() error {
	_, err := m.from.Exec("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", Mark, []byte{1})
	return err
}

func (m *mover) unmark() error {
	_, err := m.from.Exec("DELETE FROM meta WHERE name = ?", Mark)
	return err
}

// run copies every table within one transaction of the target, which it leaves
// open.
func (m *mover) run(r *Report) (err error) {
	if err := m.read.Begin(false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.read.Rollback()) }()
	tables, err := m.names(m.read, `SELECT name FROM sqlite_schema WHERE type = 'table'
		AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE 'goose%' ORDER BY name`)
	if err != nil {
		return err
	}
	if err := m.to.Begin(true); err != nil {
		return err
	}
	// Nobody else begins to use it meanwhile.
	if _, err := m.to.Exec("LOCK TABLE meta, application IN EXCLUSIVE MODE"); err != nil {
		return err
	}
	for _, t := range tables {
		n, err := m.table(t)
		if err != nil {
			return fmt.Errorf("table %s: %w", t, err)
		}
		r.Tables++
		r.Rows += n
	}
	return m.identities()
}

// names returns the texts of a query of one column.
func (m *mover) names(c db.Conn, query string, args ...any) (list []string, err error) {
	rows, err := c.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, rows.Err()
}

// kept are columns that say which process has what: nobody has anything.
var kept = map[string]any{"endpoint.owner": "", "endpoint.lease_until": int64(0), "endpoint_part.owner": "", "endpoint_part.lease_until": int64(0)}

// table copies one table and returns how many rows it has, which is what the
// target then has.
func (m *mover) table(name string) (n int64, err error) {
	columns, err := m.names(m.read, "SELECT name FROM pragma_table_info(?) ORDER BY cid", name)
	if err != nil {
		return 0, err
	}
	where := ""
	switch name {
	case "node":
		return 0, nil
	case "meta":
		where = " WHERE name <> '" + Mark + "'"
	}
	room := map[string]string{"event": "recorded_at", "attempt": "at"}[name]
	rows, err := m.read.Query("SELECT " + strings.Join(columns, ", ") + " FROM " + name + where) // #nosec G202 -- names of our own schema
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	values := make([]any, len(columns))
	dst := make([]any, len(columns))
	for i := range values {
		dst[i] = &values[i]
	}
	args := make([]any, 0, batch*len(columns))
	flush := func() error {
		if len(args) == 0 {
			return nil
		}
		if err := m.ctx.Err(); err != nil {
			return err
		}
		_, err := m.to.Exec(insert(name, columns, len(args)/len(columns)), args...)
		args = args[:0]
		return err
	}
	for rows.Next() {
		if err := rows.Scan(dst...); err != nil {
			return n, err
		}
		for i, c := range columns {
			if v, ok := kept[name+"."+c]; ok {
				values[i] = v
			}
			if c == room {
				at, ok := values[i].(int64)
				if !ok {
					return n, fmt.Errorf("%s is no time", c)
				}
				if err := m.to.Room(name, at); err != nil {
					return n, err
				}
			}
		}
		args = append(args, values...)
		if n++; len(args) == cap(args) {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return n, err
	}
	if err := flush(); err != nil {
		return n, err
	}
	var there int64
	if err := m.to.Get([]any{&there}, "SELECT COUNT(*) FROM "+name); err != nil {
		return n, err
	}
	if there != n {
		return n, fmt.Errorf("%d rows are there, not %d", there, n)
	}
	return n, nil
}

// insert returns the statement that inserts some rows.
func insert(table string, columns []string, rows int) string {
	row := "(?" + strings.Repeat(", ?", len(columns)-1) + ")"
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES " + row + strings.Repeat(", "+row, rows-1) // #nosec G202 -- names of our own schema
}

// identities lets the columns that the database numbers go on behind what was
// copied.
func (m *mover) identities() error {
	list, err := m.names(m.to, `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND is_identity = 'YES' ORDER BY 1`)
	if err != nil {
		return err
	}
	for _, name := range list {
		table, column, _ := strings.Cut(name, ".")
		var next int64
		err := m.to.Get([]any{&next}, "SELECT setval(pg_get_serial_sequence(?, ?), (SELECT COALESCE(MAX("+column+"), 0) + 1 FROM "+table+"), false)", // #nosec G202 -- names of our own schema
			table, column)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
