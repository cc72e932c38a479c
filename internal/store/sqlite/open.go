package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	zombie "zombiezen.com/go/sqlite"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
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

// Open opens the store of a data folder, makes its file when there is none,
// and brings its schema up to date.
//
// Errors, all fault.Unavailable: "store_locked" when another process has it
// open; "schema_old" with Options.NoMigrate; "schema_new" when a later version
// of the program made it; "master_key_missing" without a ring;
// "master_key_wrong" when the ring lacks a key that seals something in the file:
// the one it was made with, or another that came first in the ring since, until
// Rewrap is done; "store_unreadable" when the file is none of ours or cannot be
// opened.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o.Keys == nil {
		return nil, fault.New(fault.Unavailable, "master_key_missing", "The store needs the master key that seals it.")
	}
	s := &Store{
		log: o.Log, onCommit: o.OnCommit, onEvent: o.OnEvent, keys: o.Keys,
		stop: make(chan struct{}), done: make(chan struct{}),
		readers: make(chan *conn, readConns),
	}
	s.writes.wake = make(chan struct{}, 1)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.lock, err = lockDir(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	db, err := openFile(ctx, o.Dir, o.vfs)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db, o.NoMigrate); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return nil, unreadable(err)
	}
	file := filepath.Join(o.Dir, FileName)
	if s.writer, err = connect(file, zombie.OpenReadWrite, writePragmas, o.vfs); err != nil {
		return nil, unreadable(err)
	}
	if err := s.unlock(); err != nil {
		return nil, err
	}
	for range readConns {
		c, err := connect(file, zombie.OpenReadOnly, readPragmas, o.vfs)
		if err != nil {
			return nil, unreadable(err)
		}
		s.readers <- c
	}
	var erased bool
	if err := s.writer.get([]any{&erased}, "SELECT EXISTS (SELECT 1 FROM tombstone)"); err != nil {
		return nil, unreadable(err)
	}
	go s.commit(erased)
	return s, nil
}

// Migrate brings the schema of a data folder up to date and closes it again.
// It needs no key. Its errors are those of Open.
func Migrate(ctx context.Context, o Options) (err error) {
	lock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlockDir(lock)) }()
	db, err := openFile(ctx, o.Dir, o.vfs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return migrate(ctx, db, false)
}

// Close implements store.Store. What is queued is written first; a read that
// is going on is waited for.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.closing.Store(true)
		close(s.stop)
		<-s.done
		for range readConns {
			c := <-s.readers
			s.closeErr = errors.Join(s.closeErr, c.close())
		}
		s.closeErr = errors.Join(s.closeErr, s.release())
	})
	return s.closeErr
}

// release gives back what Open took. The connection that writes goes last but
// for the lock: SQLite carries the log over into the file then, and removes it.
func (s *Store) release() error {
	var errs []error
	for len(s.readers) > 0 {
		errs = append(errs, (<-s.readers).close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	return errors.Join(append(errs, unlockDir(s.lock))...)
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if s.failed.Load() != nil {
		return storeFailed()
	}
	return s.read(ctx, func(r *reader) error {
		var one int
		return r.get([]any{&one}, "SELECT 1 FROM sqlite_schema LIMIT 1")
	})
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

func migrate(ctx context.Context, db *sql.DB, not bool) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sub, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	is, want, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return unreadable(err)
	case is > want:
		return fault.New(fault.Unavailable, "schema_new",
			fmt.Sprintf("The store has schema %d, made by a later version of this program, which knows up to %d.", is, want))
	case is == want:
		return nil
	case not:
		return fault.New(fault.Unavailable, "schema_old",
			fmt.Sprintf("The store has schema %d and needs %d; run the command migrate first.", is, want))
	}
	if _, err := p.Up(ctx); err != nil {
		return fault.Wrap(fault.Unavailable, "migration_failed", "The schema of the store could not be brought up to date.", err)
	}
	return nil
}

// The rows of table meta.
const (
	metaCheck = "check" // something known, sealed: tells a wrong key
	metaIndex = "index" // the key of look-up hashes
	metaNext  = "next " // and a key's ID: as check, by a later key that has sealed since; until Rewrap is done
)

func metaPlace(name string) secret.Place {
	return secret.Place{What: "meta", Owner: name, Field: "value"}
}

// unlock checks the master key against the file, and makes the file's own keys
// when it is new. A file that has lost them is refused rather than given
// others, for nothing in it could be opened. A ring that cannot open everything
// is refused at once, rather than one delivery after another.
func (s *Store) unlock() error {
	r := &reader{conn: s.writer, s: s}
	var check, index []byte
	err := r.get([]any{&check}, "SELECT value FROM meta WHERE name = ?", metaCheck)
	if fault.KindOf(err) == fault.NotFound {
		return s.firstKeys(r)
	}
	if err == nil {
		err = r.get([]any{&index}, "SELECT value FROM meta WHERE name = ?", metaIndex)
	}
	var next map[string][]byte
	if err == nil {
		next, err = r.nextMarks()
	}
	if err != nil {
		return unreadable(err)
	}
	if _, err = s.keys.Open(check, metaPlace(metaCheck)); err == nil {
		s.index, err = s.keys.OpenIndex(index, metaPlace(metaIndex))
	}
	for name, mark := range next {
		if err == nil {
			_, err = s.keys.Open(mark, metaPlace(name))
		}
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, "master_key_wrong",
			"The master key is not the one that sealed this data folder; give the key, or the list of keys, that it was last used with.", err)
	}
	if err := r.markNext(); err != nil {
		return unreadable(err)
	}
	return nil
}

func (s *Store) firstKeys(r *reader) error {
	var used int
	err := r.get([]any{&used}, "SELECT EXISTS (SELECT 1 FROM application) OR EXISTS (SELECT 1 FROM meta)")
	if err != nil {
		return unreadable(err)
	}
	if used != 0 {
		return unreadable(errors.New("the store has lost its keys"))
	}
	index, x := s.keys.NewIndex(metaPlace(metaIndex))
	_, err = r.exec("INSERT INTO meta (name, value) VALUES (?, ?), (?, ?)",
		metaCheck, s.keys.Seal([]byte("consentwire"), metaPlace(metaCheck)), metaIndex, index)
	if err != nil {
		return unreadable(err)
	}
	s.index = x
	return nil
}
