// Package sqlite keeps everything in one file, for one process. It is the
// database of one node (db.Database): connections, settings, schema, the lock of
// the data folder, and the write-ahead log.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"zombiezen.com/go/sqlite"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/schema"
)

// The files of the data folder. SQLite adds "-wal" and "-shm" to the first.
const (
	FileName = "consentwire.db"
	LockName = "consentwire.lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readConns is how many reads can go on at a time.
const readConns = 4

// busyTimeout is how long a statement waits for another program that has the
// file.
const busyTimeout = time.Second

// What each connection is told. The page holds an event of 1 to 3 KiB without
// an overflow page; page size and vacuum are fixed when the file is made. What
// is deleted is overwritten. The committer does the checkpoints.
var (
	writePragmas = []string{
		"page_size(8192)", "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "synchronous(FULL)",
		"secure_delete(ON)", "wal_autocheckpoint(0)", "journal_size_limit(67108864)", "mmap_size(0)",
		"cache_size(-16000)", "temp_store(MEMORY)", "foreign_keys(OFF)", "trusted_schema(OFF)",
	}
	readPragmas = []string{
		"query_only(ON)", "mmap_size(0)", "cache_size(-4000)", "temp_store(MEMORY)", "trusted_schema(OFF)",
	}
)

// File is a data folder. It implements db.Opener.
type File struct {
	Dir       string       // which exists
	NoMigrate bool         // an old schema is an error
	Log       *slog.Logger // nil: none
	VFS       string       // SQLite's file system; empty: the system's
}

// file is a data folder that is open. It implements db.Database.
type file struct {
	wal
	writer  *conn
	readers []db.Conn
	lock    *os.File
}

// Open implements db.Opener. It makes the file when there is none.
//
// Errors, all fault.Unavailable: "store_locked" when another process has it
// open; "schema_old" with NoMigrate; "schema_new" when a later version of the
// program made it; "store_unreadable" when the file is none of ours or cannot be
// opened.
func (f File) Open(ctx context.Context) (_ db.Database, err error) {
	d := &file{}
	if d.lock, err = lockDir(f.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := f.migrate(ctx); err != nil {
		return nil, err
	}
	name := filepath.Join(f.Dir, FileName)
	if d.writer, err = connect(name, sqlite.OpenReadWrite, writePragmas, f.VFS); err != nil {
		return nil, unreadable(err)
	}
	for range readConns {
		c, err := connect(name, sqlite.OpenReadOnly, readPragmas, f.VFS)
		if err != nil {
			return nil, unreadable(err)
		}
		d.readers = append(d.readers, c)
	}
	d.wal = wal{c: d.writer, log: f.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	// The log that a crash left may hold what was erased before.
	if err := d.writer.Get([]any{&d.erased}, "SELECT EXISTS (SELECT 1 FROM tombstone)"); err != nil {
		return nil, unreadable(err)
	}
	return d, nil
}

// migrate opens the file once to bring its schema up to date.
func (f File) migrate(ctx context.Context) error {
	db, err := openFile(ctx, f.Dir, f.VFS)
	if err != nil {
		return err
	}
	if err := schema.Migrate(ctx, goose.DialectSQLite3, db, migrations, f.NoMigrate, unreadable); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return unreadable(err)
	}
	return nil
}

// Migrate brings the schema of a data folder up to date and closes it again.
// It needs no key. Its errors are those of File.Open.
func Migrate(ctx context.Context, f File) (err error) {
	lock, err := lockDir(f.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlockDir(lock)) }()
	f.NoMigrate = false
	return f.migrate(ctx)
}

// Writer implements db.Database.
func (d *file) Writer() db.Conn { return d.writer }

// Readers implements db.Database.
func (d *file) Readers() []db.Conn { return d.readers }

// Shared implements db.Database.
func (d *file) Shared() bool { return false }

// Fatal implements db.Database.
func (d *file) Fatal(err error) bool { return fatal(err) }

func fatal(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultFull, sqlite.ResultIOErr, sqlite.ResultCorrupt, sqlite.ResultNotADB,
		sqlite.ResultCantOpen, sqlite.ResultReadOnly, sqlite.ResultPerm, sqlite.ResultNoMem:
		return true
	}
	return false
}

// Busy implements db.Database.
func (d *file) Busy(err error) bool { return sqlite.ErrCode(err).ToPrimary() == sqlite.ResultBusy }

// Lost implements db.Database.
func (d *file) Lost(error) bool { return false }

// Clash implements db.Database.
func (d *file) Clash(error) bool { return false }

// Tell implements db.Database: there is nobody else.
func (d *file) Tell([]byte) {}

// Hear implements db.Database.
func (d *file) Hear(func([]byte)) {}

// Unique implements db.Database.
func (d *file) Unique(err error) bool {
	return sqlite.ErrCode(err) == sqlite.ResultConstraintUnique
}

// Close implements db.Database. The connection that writes goes last but for
// the lock: SQLite carries the log over into the file then, and removes it.
func (d *file) Close() error {
	if d.lock == nil {
		return nil
	}
	var errs []error
	for _, c := range d.readers {
		errs = append(errs, c.(*conn).close())
	}
	if d.writer != nil {
		errs = append(errs, d.writer.close())
	}
	errs = append(errs, unlockDir(d.lock))
	d.lock = nil
	return errors.Join(errs...)
}

// lockDir takes the lock of a data folder. It ends with the process, whatever
// ends it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- a fixed name in our own data folder
	if err != nil {
		return nil, unreadable(err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fault.New(fault.Unavailable, "store_locked",
			"Another process has the data folder open; only one may.")
	}
	return nil, unreadable(err)
}

// unlockDir gives the lock back. Closing alone would not, while a process that
// is just being started still has a copy of the descriptor.
func unlockDir(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// openFile opens the file for writing; it makes one that nobody else may read.
func openFile(ctx context.Context, dir, vfs string) (*sql.DB, error) {
	name := filepath.Join(dir, FileName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- a fixed name in our own data folder
	if err != nil {
		return nil, unreadable(err)
	}
	err = f.Chmod(0o600) // SQLite gives its other files the same mode
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, unreadable(err)
	}
	db := sql.OpenDB(dsn{file: name, mode: "rw", pragmas: writePragmas, vfs: vfs})
	db.SetMaxOpenConns(1)
	var mode string
	err = db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode)
	if err == nil && mode != "wal" {
		err = fmt.Errorf("journal mode %q instead of wal", mode) // e.g. a file system without shared memory
	}
	if err != nil {
		return nil, errors.Join(unreadable(err), db.Close())
	}
	return db, nil
}

func unreadable(err error) error {
	return fault.Wrap(fault.Unavailable, "store_unreadable", "The store cannot be opened in the data folder.", err)
}
