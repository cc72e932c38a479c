//go:build postgres

package postgres

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// open opens a database with a table to try things with.
func open(t *testing.T, url string) *server {
	t.Helper()
	d, err := Server{URL: url}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	s := d.(*server)
	must(t, s.writer.do("CREATE TABLE IF NOT EXISTS trial (id bigint PRIMARY KEY, n bigint, s text, b bytea)"))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// count returns how many rows the table has, read over a connection of its own.
func count(t *testing.T, s *server) (n int) {
	t.Helper()
	c := s.readers[0]
	must(t, c.Begin(false))
	must(t, c.Get([]any{&n}, "SELECT COUNT(*) FROM trial"))
	must(t, c.Rollback())
	return n
}

func TestConn_values(t *testing.T) {
	t.Parallel()
	type name string
	s := open(t, pgtest.Shared(t).Database(t))
	c := s.writer
	var none []byte
	for i, row := range [][3]any{
		{int64(-1), "text", []byte{0, 1, 255}},
		{7, name("named"), []byte{}},
		{true, "", none},
		{nil, nil, nil},
	} {
		must(t, c.Begin(true))
		if _, err := c.Exec("INSERT INTO trial (id, n, s, b) VALUES (?, ?, ?, ?)", i, row[0], row[1], row[2]); err != nil {
			t.Fatal(err)
		}
		must(t, c.Commit())
	}
	var n sql.NullInt64
	var text sql.NullString
	var b []byte
	for i, want := range []string{"{-1 true} {text true} [0 1 255] false", "{7 true} {named true} [] false", "{1 true} { true} [] true", "{0 false} { false} [] true"} {
		must(t, c.Get([]any{&n, &text, &b}, "SELECT n, s, b FROM trial WHERE id = ?", i))
		if got := fmt.Sprint(n, text, b, b == nil); got != want {
			t.Errorf("row %d: got %s, want %s", i, got, want)
		}
	}
	var yes bool
	var named name
	must(t, c.Get([]any{&yes, &named}, "SELECT n, s FROM trial WHERE id = 1"))
	if !yes || named != "named" {
		t.Errorf("got %v and %q, want true and \"named\"", yes, named)
	}
	if err := c.Get([]any{&named}, "SELECT s FROM trial WHERE id = 3"); err == nil {
		t.Error("got no error, want NULL to be no text")
	}
	if err := c.Get([]any{&yes}, "SELECT 1 FROM trial WHERE id = 99"); !errors.Is(err, db.ErrNoRow) {
		t.Errorf("got %v, want the miss", err)
	}
	if err := c.Get([]any{&yes}, "SELECT 1 FROM trial WHERE s = ?", "a\x00b"); !errors.Is(err, db.ErrNoRow) {
		t.Errorf("got %v, want a text that cannot be kept not to be found", err)
	}
}

// TestConn_rows: other statements may run while rows are read, which keep their
// values.
func TestConn_rows(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.Shared(t).Database(t))
	c := s.writer
	for i := range 100 {
		must(t, c.Later(nil, "INSERT INTO trial (id, b) VALUES (?, ?)", i, bytes.Repeat([]byte{byte(i)}, i)))
	}
	rows, err := c.Query("SELECT id, b FROM trial ORDER BY id")
	must(t, err)
	var buf []byte
	for want := 0; rows.Next(); want++ {
		var id int
		must(t, rows.Scan(&id, nil))
		var other []byte
		must(t, c.Get([]any{&other}, "SELECT b FROM trial WHERE id = ?", 99-want))
		buf, err = rows.Bytes(1, buf)
		must(t, err)
		if id != want || !bytes.Equal(buf, bytes.Repeat([]byte{byte(want)}, want)) || len(other) != 99-want {
			t.Fatalf("got row %d with %d bytes, want %d", id, len(buf), want)
		}
	}
	must(t, rows.Close())
	must(t, rows.Close())
	if rows.Next() {
		t.Error("got a row after the end")
	}
}

// TestConn_later: what was put off is done in order, before whatever asks; an
// error of it comes to light in time, and undoes its part only.
func TestConn_later(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.Shared(t).Database(t))
	c := s.writer
	const insert = "INSERT INTO trial (id) VALUES (?)"
	must(t, c.Begin(true))
	changed := 0
	must(t, c.Later(&changed, insert, 1))
	must(t, c.Later(&changed, insert, 2))
	var n int
	must(t, c.Get([]any{&n}, "SELECT COUNT(*) FROM trial"))
	if n != 2 || changed != 2 {
		t.Errorf("got %d rows and %d changed, want 2 and 2", n, changed)
	}
	for _, first := range []bool{true, false} {
		must(t, c.Savepoint())
		if first {
			must(t, c.Later(nil, insert, 3))
			must(t, c.Flush())
		}
		must(t, c.Later(nil, insert, 1))
		if err := c.Flush(); !s.Unique(err) {
			t.Errorf("got %v, want the row that is there already", err)
		}
		must(t, c.RollbackTo())
	}
	must(t, c.Savepoint())
	must(t, c.RollbackTo()) // nothing was sent in between
	must(t, c.Savepoint())
	must(t, c.Later(nil, insert, 4))
	must(t, c.Flush())
	must(t, c.Release())
	must(t, c.Commit())
	if got := count(t, s); got != 3 {
		t.Errorf("got %d rows, want 3", got)
	}
	must(t, c.Begin(true))
	must(t, c.Later(nil, insert, 5))
	must(t, c.Rollback())
	must(t, c.Begin(true))
	must(t, c.Commit())
	must(t, c.Begin(true))
	must(t, c.Later(nil, insert, 1))
	if err := c.Commit(); !s.Unique(err) {
		t.Errorf("got %v, want the commit to fail", err)
	}
	must(t, c.Rollback())
	if got := count(t, s); got != 3 {
		t.Errorf("got %d rows, want 3", got)
	}
}

// TestConn_lost: a connection that ended while nobody used it is made anew; in a
// transaction everything fails from then on, and nothing is done outside of it.
func TestConn_lost(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Shared(t).Database(t))
	s := open(t, proxy.URL())
	c := s.writer
	const insert = "INSERT INTO trial (id) VALUES (?)"
	for i := range 3 {
		proxy.Break()
		must(t, c.Begin(true))
		if i > 0 {
			must(t, c.Later(nil, insert, -i)) // is prepared on the new connection, too
		}
		if _, err := c.Exec(insert, i); err != nil {
			t.Fatalf("got %v, want another connection", err)
		}
		must(t, c.Commit())
	}
	must(t, c.Begin(true))
	if _, err := c.Exec(insert, 10); err != nil {
		t.Fatal(err)
	}
	proxy.Break()
	for i := range 3 {
		if _, err := c.Exec(insert, 11+i); !s.Lost(err) {
			t.Errorf("got %v, want the transaction to be lost", err)
		}
	}
	if err := c.Commit(); !s.Lost(err) {
		t.Errorf("got %v, want the commit to fail", err)
	}
	must(t, c.Rollback())
	if got := count(t, s); got != 5 {
		t.Errorf("got %d rows, want 5", got)
	}
}

// TestConn_commitLost: nobody is told that a commit came to something, or to
// nothing, whose answer was lost.
func TestConn_commitLost(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Shared(t).Database(t))
	s := open(t, proxy.URL())
	for i, tt := range []struct {
		at   pgtest.Cut
		want int
	}{{pgtest.BeforeCommit, 0}, {pgtest.AfterCommit, 1}} {
		must(t, s.writer.Begin(true))
		if _, err := s.writer.Exec("INSERT INTO trial (id) VALUES (?)", i); err != nil {
			t.Fatal(err)
		}
		proxy.Cut(tt.at)
		if err := s.writer.Commit(); !s.Lost(err) {
			t.Errorf("got %v, want the commit to be lost", err)
		}
		must(t, s.writer.Rollback())
		pgtest.Wait(t, "the server to end", func() bool { return count(t, s) == tt.want })
	}
}

// TestConn_forgotten: where sessions are shared and prepared statements go
// astray, statements are sent without.
func TestConn_forgotten(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.Shared(t).Database(t))
	c := s.writer
	const insert = "INSERT INTO trial (id, s) VALUES (?, ?)"
	must(t, c.Begin(true))
	if _, err := c.Exec(insert, 1, "a"); err != nil {
		t.Fatal(err)
	}
	must(t, c.Commit())
	must(t, c.do("DEALLOCATE ALL"))
	must(t, c.Begin(true))
	if _, err := c.Exec(insert, 2, "b"); err != nil {
		t.Fatalf("got %v, want it to be sent once more", err)
	}
	must(t, c.Commit())
	must(t, c.do("DEALLOCATE ALL"))
	must(t, c.Begin(true))
	must(t, c.Later(nil, insert, 3, "c"))
	var text string
	must(t, c.Get([]any{&text}, "SELECT s FROM trial WHERE id = ?", 3))
	must(t, c.do("DEALLOCATE ALL"))
	must(t, c.Get([]any{&text}, "SELECT s FROM trial WHERE id = ?", 3))
	must(t, c.Commit())
	if text != "c" || count(t, s) != 3 {
		t.Errorf("got %q and %d rows, want \"c\" and 3", text, count(t, s))
	}
	if !s.forgets.Load() {
		t.Error("got prepared statements, want none")
	}
	// In the middle of a transaction it is one that is to be tried again.
	s.forgets.Store(false)
	must(t, c.close())
	must(t, c.Begin(true))
	if _, err := c.Exec(insert, 4, "d"); err != nil {
		t.Fatal(err)
	}
	must(t, c.do("DEALLOCATE ALL"))
	if _, err := c.Exec(insert, 5, "e"); !s.Clash(err) {
		t.Errorf("got %v, want the transaction to be tried again", err)
	}
	must(t, c.Rollback())
}

// TestConn_schemaChanges: another node may have added a column.
func TestConn_schemaChanges(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.Shared(t).Database(t))
	c := s.writer
	read := func() error {
		must(t, c.Begin(true))
		rows, err := c.Query("SELECT t.* FROM trial t")
		if err == nil {
			err = rows.Close()
		}
		return errors.Join(err, c.Commit())
	}
	must(t, read())
	must(t, c.do("ALTER TABLE trial ADD COLUMN more bigint"))
	must(t, read())
	if s.forgets.Load() {
		t.Error("got no prepared statements any more")
	}
}

// TestRoom: a partition is there when a row needs it, whatever was rolled back
// and whoever makes it at the same time.
func TestRoom(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	nodes := []*server{open(t, url), open(t, url), open(t, url)}
	put := func(c *conn, at int64) error {
		if err := c.Room("event", at); err != nil {
			return err
		}
		_, err := c.Exec(`INSERT INTO event (app, seq, event_id, feed, type, subject, sequence, occurred_at, recorded_at, body)
			VALUES (1, ?, ?, '', '', '', 1, 0, ?, x'')`, at, fmt.Sprint("evt_", at), at)
		return err
	}
	times := []int64{0, -1, -dayLength, -dayLength - 1, dayLength - 1, dayLength, 20_000 * dayLength, 20_000*dayLength - 1}
	for _, at := range times {
		c := nodes[0].writer
		must(t, c.Begin(true))
		must(t, c.Savepoint())
		must(t, put(c, at))
		must(t, c.RollbackTo())
		must(t, put(c, at))
		must(t, c.Rollback())
		must(t, c.Begin(true))
		must(t, put(c, at))
		must(t, c.Commit())
	}
	var wg sync.WaitGroup
	for n, s := range nodes {
		wg.Go(func() {
			for i := range 20 {
				at := (30_000+int64(i))*dayLength + int64(n)
				err := s.writer.Begin(true)
				if err == nil {
					err = put(s.writer, at)
				}
				if err == nil {
					err = s.writer.Commit()
				}
				if err != nil {
					t.Errorf("node %d: %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	var n int
	must(t, nodes[0].writer.Get([]any{&n}, "SELECT COUNT(*) FROM event"))
	if want := len(times) + 60; n != want {
		t.Errorf("got %d rows, want %d", n, want)
	}
	// The days to come are made ahead.
	must(t, nodes[1].Idle())
	for d := range int64(ahead + 1) {
		p := partition{"attempt", time.Now().UnixMilli()/dayLength + d}
		var there bool
		must(t, nodes[1].writer.Get([]any{&there}, "SELECT to_regclass(?) IS NOT NULL", p.String()))
		if !there {
			t.Errorf("there is no %s", p)
		}
	}
}

// TestOpen_atOnce: of many nodes that start at once on an empty database one
// makes the tables, and the others wait.
func TestOpen_atOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			d, err := Server{URL: url}.Open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOpen_refuses(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Own(t)
	one := func(statement string) string {
		t.Helper()
		if out, err := cluster.SQL("postgres", statement); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return statement
	}
	url := cluster.Database(t)
	name, _, _ := strings.Cut(url[strings.LastIndex(url, "/")+1:], "?")
	for _, tt := range []struct {
		name, before, after string
		server              Server
		want                string
	}{
		{"no tables, and none to be made", "", "", Server{URL: url, NoMigrate: true}, "schema_old"},
		{"commits that do not wait for the disk", "ALTER DATABASE " + name + " SET synchronous_commit = off", "ALTER DATABASE " + name + " RESET ALL", Server{URL: url}, "database_unsafe"},
		{"no address", "", "", Server{URL: "postgres://hunter2:hunter2@["}, "database_url"},
		{"nobody there", "", "", Server{URL: "postgres://hunter2:hunter2@127.0.0.1:1/x"}, "database_unreachable"},
		{"no such database", "", "", Server{URL: cluster.URL("hunter2")}, "database_unreachable"},
	} {
		if tt.before != "" {
			one(tt.before)
		}
		d, err := tt.server.Open(t.Context())
		if fault.CodeOf(err) != tt.want || strings.Contains(fmt.Sprint(err, errors.Unwrap(err)), "hunter2") {
			t.Errorf("%s: got %v, want %s, and no secret", tt.name, err, tt.want)
		}
		if err == nil {
			must(t, d.Close())
		}
		if tt.after != "" {
			one(tt.after)
		}
	}
	must(t, open(t, url).Close())
	one("ALTER SYSTEM SET fsync = off")
	one("SELECT pg_reload_conf()")
	pgtest.Wait(t, "a server without fsync to be refused", func() bool {
		d, err := Server{URL: url}.Open(t.Context())
		if err == nil {
			must(t, d.Close())
		}
		return fault.CodeOf(err) == "database_unsafe"
	})
	one("ALTER SYSTEM RESET fsync")
	one("SELECT pg_reload_conf()")
	if out, err := cluster.SQL(name, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := (Server{URL: url}).Open(t.Context()); fault.CodeOf(err) != "schema_new" {
		t.Errorf("got %v, want schema_new", err)
	}
}
