package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	sqlite "modernc.org/sqlite"
)

// dsn connects to a file. It keeps the driver out of the process-wide table of
// names, and runs the pragmas in the order given: the driver would sort them,
// and the page size must be set before the journal mode makes the file.
type dsn struct {
	file    string
	mode    string // ro, rw
	pragmas []string
	vfs     string // empty: the system's
}

// Connect implements driver.Connector.
func (d dsn) Connect(ctx context.Context) (driver.Conn, error) {
	abs, err := filepath.Abs(d.file)
	if err != nil {
		return nil, err
	}
	q := url.Values{"mode": {d.mode}}
	if d.vfs != "" {
		q.Set("vfs", d.vfs)
	}
	c, err := d.Driver().Open("file://" + (&url.URL{Path: abs}).EscapedPath() + "?" + q.Encode())
	if err != nil {
		return nil, err
	}
	x, ok := c.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("the driver runs no statements"), c.Close())
	}
	for _, p := range d.pragmas {
		if _, err := x.ExecContext(ctx, "PRAGMA "+p, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("pragma %s: %w", p, err), c.Close())
		}
	}
	return c, nil
}

// Driver implements driver.Connector.
func (dsn) Driver() driver.Driver { return &sqlite.Driver{} }
