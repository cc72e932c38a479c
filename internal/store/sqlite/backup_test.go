package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store/db"
)

// openDir opens the file of a folder and an application in it.
func openDir(t *testing.T, dir string) db.Database {
	t.Helper()
	d, err := File{Dir: dir}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

const addEvent = "INSERT INTO event (app, seq, event_id, feed, type, subject, sequence, occurred_at, recorded_at, body) VALUES (1, ?, 'evt_' || ?, 'f', 't', 's', ?, 0, 0, zeroblob(1000))"

// TestBackup_whileWriting: the copy is the state of one instant, with everything
// that was committed before it was asked for.
func TestBackup_whileWriting(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "copy.db")
	w := openDir(t, dir).Writer()
	if _, err := w.Exec("INSERT INTO application (app_id, name, created_at, updated_at) VALUES ('app_1', 'Bank', 0, 0)"); err != nil {
		t.Fatal(err)
	}
	add := func(seq int) error {
		if err := w.Begin(true); err != nil {
			return err
		}
		if _, err := w.Exec(addEvent, seq, seq, seq); err != nil {
			return err
		}
		if _, err := w.Exec("UPDATE application SET last_seq = ?", seq); err != nil {
			return err
		}
		return w.Commit()
	}
	const before = 500
	for seq := 1; seq <= before; seq++ {
		if err := add(seq); err != nil {
			t.Fatal(err)
		}
	}
	stop, wrote := make(chan struct{}), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := before + 1; ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := add(seq); err != nil {
				t.Error(err)
				return
			}
			wrote++
		}
	})
	c, err := Backup(dir, out)
	close(stop)
	wg.Wait()
	if err != nil || c.Events < before || c.Applications != 1 || c.Schema != newestSchema() {
		t.Fatalf("got %+v, %v, want a copy of at least %d events", c, err, before)
	}
	t.Logf("%d events written meanwhile, %d copied", wrote, c.Events)
	if i, err := os.Stat(out); err != nil || i.Mode().Perm() != 0o600 || i.Size() != c.Bytes {
		t.Errorf("got %v, %v, want a file of %d bytes for nobody else", i, err, c.Bytes)
	}

	into := t.TempDir()
	if got, err := Restore(out, into); err != nil || got != c {
		t.Fatalf("got %+v, %v, want %+v restored", got, err, c)
	}
	var events, last, highest int64
	r := openDir(t, into).Readers()[0]
	if err := r.Get([]any{&events, &highest, &last}, "SELECT COUNT(*), MAX(seq), (SELECT last_seq FROM application) FROM event"); err != nil {
		t.Fatal(err)
	}
	if events != c.Events || highest != events || last != events {
		t.Errorf("got %d events up to %d and a log of %d, want one instant with %d", events, highest, last, c.Events)
	}
}

func TestBackup_refuses(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "copy.db")
	want := func(err error, code string) {
		t.Helper()
		if fault.CodeOf(err) != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	left := func(dir string, names ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+e.Name()+" ") {
				t.Errorf("got %s left in the folder", e.Name())
			}
		}
	}
	_, err := Backup(dir, out)
	want(err, "store_missing")
	d := openDir(t, dir)
	if _, err := Backup(dir, out); err != nil {
		t.Fatal(err)
	}
	_, err = Backup(dir, out)
	want(err, "file_exists")
	_, err = Backup(dir, filepath.Join(t.TempDir(), "no folder", "copy.db"))
	want(err, "backup_failed")
	_, err = Restore(out, dir)
	want(err, "store_locked")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Restore(out, dir)
	want(err, "store_exists")

	empty := t.TempDir()
	_, err = Restore(filepath.Join(empty, "none.db"), empty)
	want(err, "backup_failed")
	whole, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{
		"cut off":  whole[:len(whole)/2],
		"altered":  append(append(append([]byte{}, whole[:8192]...), make([]byte, 8192)...), whole[16384:]...),
		"no store": []byte("what is this"),
		"nothing":  nil,
	} {
		bad := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(bad, empty); fault.CodeOf(err) != "backup_unreadable" {
			t.Errorf("%s: got %v, want it refused", what, err)
		}
	}
	left(empty, LockName)
	later := filepath.Join(t.TempDir(), "later.db")
	if err := os.WriteFile(later, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := connect(later, 0x2, nil, "") // to be written
	if err == nil {
		_, err = c.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	_, err = Restore(later, empty)
	want(err, "schema_new")
	left(empty, LockName)
}
