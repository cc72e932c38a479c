package sqlite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"

	"github.com/consentwire/consentwire/internal/fault"
)

// Copy is what a copy of the store holds.
type Copy struct {
	Schema       int64
	Bytes        int64 // of the file
	Applications int64
	Events       int64
}

// Backup writes a copy of the store of a data folder to a file that there is
// none of yet: the state of one instant, whole on the disk when it returns. A
// server may run meanwhile. It has mode 0600; what was erased is not in it, nor
// is the master key.
//
// The server's log of writes is not shortened while the copy is made, for the
// copy reads one snapshot; commits do not wait for it.
//
// Errors: fault.Conflict "file_exists"; fault.Unavailable "store_missing",
// "backup_failed".
func Backup(dir, to string) (c Copy, err error) {
	from := filepath.Join(dir, FileName)
	if _, err := os.Stat(from); err != nil {
		return c, fault.Wrap(fault.Unavailable, "store_missing", "There is no store in the data folder.", err)
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return c, fault.New(fault.Conflict, "file_exists", "The file for the copy is there already; name another.")
	}
	next, err := beside(to)
	if err != nil {
		return c, err
	}
	defer os.Remove(next) // there is none when it was renamed
	source, err := connect(from, sqlite.OpenReadOnly, []string{"temp_store(MEMORY)", "trusted_schema(OFF)"}, "")
	if err == nil {
		_, err = source.Exec("VACUUM INTO ?", next)
		err = errors.Join(err, source.close())
	}
	if err != nil {
		return c, fault.Wrap(fault.Unavailable, "backup_failed", "The store could not be copied.", err)
	}
	if c, err = check(next); err != nil {
		return c, err
	}
	return c, publish(next, to)
}

// Restore puts a copy that Backup made into a data folder without a store. It
// checks the copy first, and the folder has all of it or nothing.
//
// Errors: fault.Conflict "store_exists"; fault.Unavailable "store_locked",
// "backup_unreadable" when the file is no whole copy, "schema_new" when a later
// version of the program made it, "backup_failed".
func Restore(from, dir string) (c Copy, err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, unlockDir(lock)) }()
	to := filepath.Join(dir, FileName)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return c, fault.New(fault.Conflict, "store_exists", "The data folder has a store already; name an empty one.")
	}
	next, err := beside(to)
	if err != nil {
		return c, err
	}
	defer os.Remove(next) // there is none when it was renamed
	if err := copyFile(from, next); err != nil {
		return c, fault.Wrap(fault.Unavailable, "backup_failed", "The copy could not be read, or not written into the data folder.", err)
	}
	if c, err = check(next); err != nil {
		return c, err
	}
	return c, publish(next, to)
}

// beside returns the name of a file that is not there, in the folder of another.
func beside(file string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, "backup_failed", "No file can be made where the copy is to be.", err)
	}
	return f.Name(), errors.Join(f.Close(), os.Remove(f.Name()))
}

// copyFile copies a file to one that there is none of.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from) // #nosec G304 -- a file that the operator names
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- beside the store
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// check reads a copy from its one end to the other and counts what it holds.
func check(file string) (c Copy, err error) {
	broken := func(err error) (Copy, error) {
		return Copy{}, fault.Wrap(fault.Unavailable, "backup_unreadable", "The file is no whole copy of a store.", err)
	}
	d, err := connect(file, sqlite.OpenReadOnly, []string{"temp_store(MEMORY)", "trusted_schema(OFF)"}, "")
	if err != nil {
		return broken(err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	var verdict string
	if err := d.Get([]any{&verdict}, "PRAGMA quick_check(1)"); err != nil || verdict != "ok" {
		return broken(err)
	}
	err = d.Get([]any{&c.Schema, &c.Applications, &c.Events}, `SELECT (SELECT MAX(version_id) FROM goose_db_version),
		(SELECT COUNT(*) FROM application), (SELECT COUNT(*) FROM event)`)
	if err != nil {
		return broken(err)
	}
	if newest := newestSchema(); c.Schema > newest {
		return Copy{}, fault.New(fault.Unavailable, "schema_new",
			fmt.Sprintf("The copy has schema %d, made by a later version of this program, which knows up to %d.", c.Schema, newest))
	}
	i, err := os.Stat(file)
	if err != nil {
		return broken(err)
	}
	c.Bytes = i.Size()
	return c, nil
}

// newestSchema is the number of the last migration.
func newestSchema() (n int64) {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0 // they are a part of the program
	}
	for _, e := range entries {
		var is int64
		if _, err := fmt.Sscanf(e.Name(), "%d_", &is); err == nil {
			n = max(n, is)
		}
	}
	return n
}

// publish gives a finished file its name, on the disk. One that was made
// meanwhile is not replaced.
func publish(from, to string) error {
	err := syncFile(from, os.O_RDWR)
	if err == nil {
		err = os.Chmod(from, 0o600)
	}
	if err == nil {
		err = os.Link(from, to)
	}
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Conflict, "file_exists", "The file for the copy is there already; name another.")
	}
	if err == nil {
		err = syncFile(filepath.Dir(to), os.O_RDONLY)
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, "backup_failed", "The copy could not be made durable.", err)
	}
	return nil
}

func syncFile(name string, flag int) error {
	f, err := os.OpenFile(name, flag, 0) // #nosec G304 -- our own file or folder
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
