package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
)

var ensures = []struct {
	name   string
	file   string
	ensure func(string) (Key, error)
	check  func(string) string
}{
	{"the operator's token", AdminTokenName, EnsureAdminToken, checkAdminToken},
	{"the master key", MasterKeyName, EnsureMasterKey, checkMasterKey},
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	for _, tt := range ensures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "a", "data")
			if warning, err := EnsureDataDir(dir); err != nil || warning != "" {
				t.Fatalf("got %q, %v", warning, err)
			}
			first, err := tt.ensure(dir)
			if err != nil || !first.Made || first.Warning != "" || first.File != filepath.Join(dir, tt.file) {
				t.Fatalf("got %+v, %v, want one made", first, err)
			}
			if wrong := tt.check(first.Value.Reveal()); wrong != "" {
				t.Errorf("what was made %s", wrong)
			}
			again, err := tt.ensure(dir)
			if err != nil || again.Made || !again.Value.Equal(first.Value) {
				t.Errorf("got %+v, %v the second time, want the same", again, err)
			}
			if i, err := os.Stat(first.File); err != nil || i.Mode().Perm() != 0o600 {
				t.Errorf("got mode %v, %v, want 0600", i.Mode(), err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 {
				t.Errorf("got %v, %v in the folder, want the key alone", left, err)
			}
			other, err := tt.ensure(t.TempDir())
			if err != nil || other.Value.Equal(first.Value) {
				t.Errorf("got the same key in another folder (%v)", err)
			}
		})
	}
}

func TestEnsure_together(t *testing.T) {
	t.Parallel()
	for _, tt := range ensures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			keys := make([]Key, 16)
			var wg sync.WaitGroup
			for i := range keys {
				wg.Go(func() {
					k, err := tt.ensure(dir)
					if err != nil {
						t.Error(err)
					}
					keys[i] = k
				})
			}
			wg.Wait()
			made := 0
			for _, k := range keys {
				if k.Made {
					made++
				}
				if !k.Value.Equal(keys[0].Value) {
					t.Errorf("two callers got different keys")
				}
			}
			if made != 1 {
				t.Errorf("got %d makers, want 1", made)
			}
		})
	}
}

func TestEnsure_refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range ensures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, tt.file)
			if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := tt.ensure(dir)
			if fault.CodeOf(err) != "key_malformed" || !strings.Contains(err.Error(), tt.file) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want key_malformed that names the file only", err)
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != "hunter2" {
				t.Errorf("got %q, %v, want the file left alone", b, err)
			}
			if _, err := tt.ensure(filepath.Join(dir, "none")); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("got %v for a folder that is not there, want unavailable", err)
			}
		})
	}
}

func TestEnsure_warns(t *testing.T) {
	t.Parallel()
	for _, tt := range ensures {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			k, err := tt.ensure(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(k.File, 0o640), os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			if k, err = tt.ensure(dir); err != nil || !strings.Contains(k.Warning, tt.file) {
				t.Errorf("got %q, %v, want a warning that names the file", k.Warning, err)
			}
			if warning, err := EnsureDataDir(dir); err != nil || !strings.Contains(warning, "0755") {
				t.Errorf("got %q, %v, want a warning about the folder", warning, err)
			}
		})
	}
}

func TestEnsureDataDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := EnsureDataDir(dir); err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(dir); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v, %v, want 0700", i.Mode(), err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureDataDir(file); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v for a file, want unavailable", err)
	}
}
