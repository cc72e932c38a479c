// Package db is what the relational store asks of a database, so that one set
// of statements serves all of them. It holds no SQL and no logic.
//
// Statements are written in the part of SQL that SQLite and PostgreSQL share,
// with ? for each value, and a few words of SQLite's own that the other
// translates.
package db

import (
	"context"
	"errors"
	"time"
)

// ErrNoRow is the miss of a statement that must find a row.
var ErrNoRow = errors.New("no row")

// Opener makes a Database ready: it connects, takes what locks it needs, and
// brings the schema up to date. Its errors are those of relational.Open.
type Opener interface {
	Open(ctx context.Context) (Database, error)
}

// Database is one that is open. What it keeps belongs to the store until Close.
type Database interface {
	// Writer is the connection that writes. It serves the committer alone.
	Writer() Conn
	// Readers are the connections that read.
	Readers() []Conn
	// Shared tells whether other processes write to it too. What the store
	// remembers of it then holds for one transaction only.
	Shared() bool

	// Fatal tells whether an error leaves it unknown what the disk holds. An
	// error of the statement itself, such as a broken constraint, does not.
	Fatal(err error) bool
	// Busy tells whether an error means that another process is in the way, so
	// that the same may succeed later.
	Busy(err error) bool
	// Lost tells whether an error means that the database cannot be reached for
	// now. A transaction that had begun left nothing, unless it was being
	// committed: then it is unknown.
	Lost(err error) bool
	// Clash tells whether an error means that two transactions were in each
	// other's way; this one left nothing and is to be tried again.
	Clash(err error) bool
	// Unique tells whether an error is a row that is there already.
	Unique(err error) bool

	// Grown is called after each group that was committed, on the committer's
	// goroutine; erased says that it destroyed something, which must not remain
	// in any log. Idle is called when no write waits. What Due returns is ready
	// when the committer should call Again though nothing is to be written; nil:
	// it need not. Their errors are fatal.
	Grown(erased bool) error
	Idle() error
	Due() <-chan time.Time
	Again() error

	// Tell tells the other processes what a commit touched, in one line; it returns
	// at once. Hear sets what is called with that: of the others only, one after
	// the other. Empty: something may have been missed. It is called once, before
	// the first commit. What is told may be lost.
	Tell(change []byte)
	Hear(fn func(change []byte))

	// Close closes the connections and gives the locks back. Idempotent.
	Close() error
}

// Conn is one connection with its prepared statements, of which there are few:
// no text holds a value. It serves one goroutine at a time.
//
// A value is nil, an integer, a bool, a string or bytes, of any named type of
// these kinds; a nil slice of bytes is NULL. A destination points to one of
// these, or to sql.NullInt64 or sql.NullString; a nil one skips a column. What is NULL can be read into
// bytes, which are then nil, and into the last two.
type Conn interface {
	// Begin begins a transaction: one that reads a snapshot, or one that writes.
	Begin(write bool) error
	// Commit ends it, durably; with an error it is unknown whether it did.
	Commit() error
	// Rollback ends it without a trace.
	Rollback() error
	// Savepoint begins a part of a transaction, Release ends it, and RollbackTo
	// undoes and ends it. There is one at a time.
	Savepoint() error
	Release() error
	RollbackTo() error

	// Room sees to it that table event or attempt takes a row of a time, in Unix
	// milliseconds; it is called before one is inserted.
	Room(table string, at int64) error
	// Days returns the days, each by its begin in Unix milliseconds, that table
	// event or attempt keeps apart, in order; none, where it keeps no days apart.
	// DropDay drops one with all its rows, after LockDays: that keeps everybody
	// else away from both tables until the transaction ends, unless somebody has
	// them for long; false: somebody has, and it is to be tried later.
	Days(table string) ([]int64, error)
	LockDays() (free bool, err error)
	DropDay(table string, day int64) error
	// Size returns how many bytes the data takes; room that is free for other data
	// does not count, where that is known. Shrink gives some of it back, at most so
	// many pages, where there is much.
	Size() (bytes int64, err error)
	Shrink(pages int) error

	// Exec runs a statement and returns how many rows it changed.
	Exec(query string, args ...any) (int64, error)
	// Later runs a statement whose outcome is not needed yet, so that it can go
	// with others. How many rows it changed is added to changed, which may be nil,
	// when that is known; its error may be that of a later call, and is known once
	// Flush or Commit have returned. The values must not be changed until then.
	Later(changed *int, query string, args ...any) error
	// Flush runs what Later left to do.
	Flush() error
	// Get reads the first row of a statement, which may write; ErrNoRow.
	Get(dst []any, query string, args ...any) error
	// Query runs a statement that returns rows. The caller closes them. Other
	// statements may run before.
	Query(query string, args ...any) (Rows, error)
}

// Rows are the rows of a statement, one after the other.
type Rows interface {
	// Next goes on to the next row; false: there is none, or Err says why.
	Next() bool
	// Scan reads the row.
	Scan(dst ...any) error
	// Bytes reads a column into buf, grown when it is too short, and returns
	// it; nil: the column is NULL. It counts from 0.
	Bytes(column int, buf []byte) ([]byte, error)
	// Err returns what ended the rows too early.
	Err() error
	// Close ends the statement. Idempotent.
	Close() error
}
