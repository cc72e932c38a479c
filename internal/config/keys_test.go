package config

import (
	"errors"
	"io"
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

func TestLoad_makesNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		load func(string) (Key, error)
		make func(string) (Key, error)
	}{
		{"the operator's token", LoadAdminToken, EnsureAdminToken},
		{"the master key", LoadMasterKey, EnsureMasterKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if _, err := tt.load(dir); fault.CodeOf(err) != "key_missing" {
				t.Errorf("got %v, want key_missing", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("got %v, %v in the folder, want nothing", left, err)
			}
			made, err := tt.make(dir)
			if err != nil {
				t.Fatal(err)
			}
			if k, err := tt.load(dir); err != nil || k.Made || !k.Value.Equal(made.Value) {
				t.Errorf("got %+v, %v, want what was made", k, err)
			}
		})
	}
}

func TestPrependMasterKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := PrependMasterKey(dir); fault.CodeOf(err) != "key_missing" {
		t.Errorf("got %v without a file, want key_missing", err)
	}
	first, err := EnsureMasterKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := first.Value.Reveal()
	for range 3 {
		k, err := PrependMasterKey(dir)
		if err != nil || !k.Made {
			t.Fatalf("got %+v, %v, want a key made", k, err)
		}
		got := k.Value.Reveal()
		head, rest, _ := strings.Cut(got, ",")
		if rest != list || checkMasterKey(got) != "" || strings.Contains(rest, head) {
			t.Errorf("got %q, want a new key before %q", got, list)
		}
		b, err := os.ReadFile(k.File)
		if err != nil || string(b) != got+"\n" {
			t.Errorf("got %q, %v in the file, want %q", b, err, got)
		}
		list = got
	}
	if i, err := os.Stat(first.File); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", i.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v in the folder, want the keys alone", left, err)
	}
}

func TestPrependMasterKey_leavesAGoodFileAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, content, code string
	}{
		{"a spoilt file", "hunter2", "key_malformed"},
		{"a file that is full", strings.Repeat(goodKey+",", maxSecretFile/(len(goodKey)+1)-1) + goodKey + "\n", "key_not_made"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, MasterKeyName)
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := PrependMasterKey(dir); fault.CodeOf(err) != tt.code || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %s", err, tt.code)
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != tt.content {
				t.Errorf("got %q, %v, want the file left alone", b, err)
			}
		})
	}
}

func TestConfig_MasterKeysAgain_readsTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(files(t), "keys")
	_, c, err := Parse([]string{"serve", "--master-key-file", file}, nil, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := c.MasterKeys(t.Context()); err != nil || v.Reveal() != goodKey+","+goodKey {
		t.Errorf("got %q, %v, want what was in the file", v.Reveal(), err)
	}
	if err := os.WriteFile(file, []byte(goodKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := c.MasterKeysAgain(t.Context()); err != nil || v.Reveal() != goodKey {
		t.Errorf("got %q, %v, want what is in the file now", v.Reveal(), err)
	}
	for _, content := range []string{"", "hunter2"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := c.MasterKeysAgain(t.Context())
		if fault.CodeOf(err) != "master_key_unreadable" || !strings.Contains(err.Error(), "CONSENTWIRE_MASTER_KEY_FILE") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want master_key_unreadable that names the setting", content, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MasterKeysAgain(t.Context()); fault.CodeOf(err) != "master_key_unreadable" {
		t.Errorf("got %v, want master_key_unreadable", err)
	}
}
