// Package schema brings the tables of a database up to date, whichever it is.
//
// It knows no table: the migrations are each database's own.
package schema

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/consentwire/consentwire/internal/fault"
)

// Migrate applies the migrations of folder "migrations" in files that a database
// does not have yet; with not it only looks whether there are any.
//
// Errors, all fault.Unavailable: "schema_new" when a later version of the program
// made the tables; "schema_old" with not; "migration_failed"; and unreadable of
// what is no database of ours.
func Migrate(ctx context.Context, dialect goose.Dialect, d *sql.DB, files fs.FS, not bool, unreadable func(error) error) error {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, d, sub, goose.WithDisableGlobalRegistry(true))
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
