// Package sqlitetest makes data folders for tests. It is for tests only.
//
// Tests open hundreds of stores, and to make the tables of each takes longer than
// most of them do.
package sqlitetest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/consentwire/consentwire/internal/store/sqlite"
)

var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "consentwire-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := sqlite.Migrate(context.Background(), sqlite.File{Dir: dir}); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, sqlite.FileName)) // #nosec G304 -- our own
})

// Dir returns a folder of the test's with an empty store, whose tables are there.
func Dir(t testing.TB) string {
	t.Helper()
	b, err := template()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sqlite.FileName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
