package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, held, err := identity(dir)
	if err != nil || held == nil {
		t.Fatalf("got %q, %v", first, err)
	}
	second, none, err := identity(dir)
	if err != nil || none != nil || second == first {
		t.Errorf("got %q, held %t, %v beside %q, want another name that nothing holds", second, none != nil, err, first)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, held, err := identity(dir)
	if err != nil || again != first {
		t.Errorf("got %q, %v, want %q once more", again, err, first)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, identityName), []byte("what is this"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, held, err := identity(dir)
	if err != nil || other == first || len(other) != len(first) {
		t.Errorf("got %q, %v, want a new name", other, err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
}
