package relational

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

func TestSealed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := func(what string, want bool) {
		t.Helper()
		if got, err := sqlite.Sealed(t.Context(), dir); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
		}
	}
	want("a folder without a store", false)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v in the folder, want nothing made", left, err)
	}
	if err := sqlite.Migrate(t.Context(), sqlite.File{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	want("a store that only was migrated", false)
	s := openStore(t, folder{Dir: dir})
	if _, err := sqlite.Sealed(t.Context(), dir); fault.CodeOf(err) != "store_locked" {
		t.Errorf("got %v while it is open, want store_locked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want("a store that was used", true)
	openStore(t, folder{Dir: dir}) // which it left as it was

	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sqlite.FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want("an empty file", false)
	if err := os.WriteFile(filepath.Join(dir, sqlite.FileName), []byte("hunter2 hunter2 hunter2 hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Sealed(t.Context(), dir)
	wantKind(t, err, fault.Unavailable, "store_unreadable")
}
