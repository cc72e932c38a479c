package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/move"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

// backup copies the embedded store, and says on stdout what the copy holds.
func backup(cfg config.Config, stdout io.Writer) error {
	c, err := sqlite.Backup(cfg.DataDir, cfg.File)
	if err != nil {
		return about(copySetting(err), err)
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes, schema %d, %d applications, %d events. The master key is not in it; keep a copy of that elsewhere.\n",
		cfg.File, c.Bytes, c.Schema, c.Applications, c.Events)
	return err
}

// restore puts a copy into the data folder.
func restore(cfg config.Config, stdout io.Writer) error {
	if _, err := config.EnsureDataDir(cfg.DataDir); err != nil {
		return about("CONSENTWIRE_DATA_DIR", err)
	}
	c, err := sqlite.Restore(cfg.File, cfg.DataDir)
	if err != nil {
		return about(copySetting(err), err)
	}
	_, err = fmt.Fprintf(stdout, "%s: restored into the data folder: %d bytes, schema %d, %d applications, %d events. "+
		"Start the server with the master key that sealed it; what was delivered since the copy was made is delivered again.\n",
		cfg.File, c.Bytes, c.Schema, c.Applications, c.Events)
	return err
}

// copySetting returns what a fault of a copy is about.
func copySetting(err error) string {
	switch fault.CodeOf(err) {
	case "file_exists", "backup_failed", "backup_unreadable", "schema_new":
		return "The copy"
	}
	return "CONSENTWIRE_DATA_DIR"
}

// moveStore moves an embedded store into a database.
func moveStore(ctx context.Context, cfg config.Config, stdout io.Writer) error {
	if _, err := os.Stat(filepath.Join(cfg.From, sqlite.FileName)); err != nil {
		return about("--from", fault.Wrap(fault.Unavailable, "store_missing", "There is no store in that folder.", err))
	}
	r, err := move.Move(ctx, sqlite.File{Dir: cfg.From}, postgres.Server{URL: cfg.Database.Reveal()})
	if err != nil {
		setting := "CONSENTWIRE_DATABASE"
		switch fault.CodeOf(err) {
		case "store_locked", "store_unreadable", "schema_new":
			setting = "--from"
		}
		return about(setting, err)
	}
	if r.Again {
		_, err = fmt.Fprintln(stdout, "The store was moved before; the database has it.")
		return err
	}
	_, err = fmt.Fprintf(stdout, "Moved %d rows of %d tables into the database. Start the nodes with the master key of the former data folder; that folder is not served any more.\n",
		r.Rows, r.Tables)
	return err
}
