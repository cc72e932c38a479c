package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Sealed tells whether a master key has sealed the store of a data folder, so
// that no other one can open it. A folder without a store, and a store that was
// only migrated, are not sealed.
//
// Errors, both fault.Unavailable: "store_locked", "store_unreadable", as of
// Open.
func Sealed(ctx context.Context, dir string) (sealed bool, err error) {
	name := filepath.Join(dir, FileName)
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := lockDir(dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlockDir(lock)) }()
	db := sql.OpenDB(dsn{file: name, mode: "rw"}) // reading alone could not recover what a crash has left
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	var migrated bool
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'meta')").Scan(&migrated); err != nil {
		return false, unreadable(err)
	}
	if !migrated {
		return false, nil
	}
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM meta)").Scan(&sealed); err != nil {
		return false, unreadable(err)
	}
	return sealed, nil
}
