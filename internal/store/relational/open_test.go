package relational

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
)

// tryOpen opens a store that should not open.
func tryOpen(t *testing.T, o folder) error {
	t.Helper()
	s, err := openFolder(t.Context(), o)
	if err == nil {
		_ = s.Close()
	} else if s != nil {
		t.Error("got a store with the error")
	}
	return err
}

func TestOpen_filesAreForNobodyElse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "with blanks, 100% and a ? in it")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, sqlite.FileName)
	if err := os.WriteFile(name, nil, 0o644); err != nil { // somebody made it before us
		t.Fatal(err)
	}
	s := openStore(t, folder{Dir: dir})
	addApp(t, s, "app_1")
	for _, f := range []string{sqlite.FileName, sqlite.FileName + "-wal", sqlite.FileName + "-shm", sqlite.LockName} {
		i, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if i.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o, want 0600", f, i.Mode().Perm())
		}
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v beside the folder, %v, want nothing", entries, err)
	}
}

func TestOpen_settings(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	want := map[string]string{
		"page_size": "8192", "auto_vacuum": "2", "journal_mode": "wal", "synchronous": "2", "secure_delete": "1",
		"wal_autocheckpoint": "0", "mmap_size": "0",
	}
	update(t, s, func(st store.Tx) error {
		for name, w := range want {
			var got string
			if err := st.(*tx).get([]any{&got}, "PRAGMA "+name); err != nil || got != w {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, w)
			}
		}
		return nil
	})
	err := s.read(t.Context(), func(r *reader) error {
		if _, err := r.exec("DELETE FROM application"); err == nil {
			t.Error("a connection for reading writes")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpen_secondIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir})
	wantKind(t, tryOpen(t, folder{Dir: dir, Keys: testKeys(t, "k")}), fault.Unavailable, "store_locked")
	wantKind(t, sqlite.Migrate(t.Context(), sqlite.File{Dir: dir}), fault.Unavailable, "store_locked")
	cmd, out := startChild(t, "load", dir) // another process
	text := new(bytes.Buffer)
	if _, err := text.ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || text.Len() > 0 {
		t.Errorf("another process got %v and wrote %q, want it refused", err, text)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, folder{Dir: dir})
}

func TestOpen_masterKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir, Keys: testKeys(t, "a")})
	app := addApp(t, s, "app_1")
	update(t, s, func(tx store.Tx) error { return tx.PutConsent(fullConsent(app, "con_1"), someEvent(app, "con_1")) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := tryOpen(t, folder{Dir: dir, Keys: testKeys(t, "b")})
	wantKind(t, err, fault.Unavailable, "master_key_wrong")
	wantKind(t, tryOpen(t, folder{Dir: dir}), fault.Unavailable, "master_key_missing")

	s = openStore(t, folder{Dir: dir, Keys: testKeys(t, "ba")}) // a new one seals, the old one opens
	update(t, s, func(tx store.Tx) error {
		return tx.PutConsent(fullConsent(app, "con_2"), someEvent(app, "con_2"), someEvent(app, "con_1"))
	})
	for _, id := range []string{"con_1", "con_2"} {
		if list, _, err := s.Consents(t.Context(), app, store.ConsentQuery{CitizenID: "citizen-of-" + id}); err != nil || len(list) != 1 {
			t.Errorf("%s: got %d, %v, want it found by its citizen", id, len(list), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Rows under the old key are left, so it cannot be dropped.
	wantKind(t, tryOpen(t, folder{Dir: dir, Keys: testKeys(t, "b")}), fault.Unavailable, "master_key_wrong")
}

func TestOpen_lostKeys(t *testing.T) {
	t.Parallel()
	for _, q := range []string{"DELETE FROM meta", "DELETE FROM meta WHERE name = 'index'", "DELETE FROM meta WHERE name = 'check'"} {
		t.Run(q, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openStore(t, folder{Dir: dir})
			addApp(t, s, "app_1")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			tamper(t, dir, q)
			wantKind(t, tryOpen(t, folder{Dir: dir, Keys: testKeys(t, "k")}), fault.Unavailable, "store_unreadable")
		})
	}
}

func tamper(t *testing.T, dir, query string) {
	t.Helper()
	db := openRaw(t, filepath.Join(dir, sqlite.FileName))
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// added0003 takes away what migration 3 added.
var added0003 = []string{
	"DROP TABLE configuration", "DROP TABLE configuration_former", "DROP TABLE part", "DROP TABLE citizen", "DROP TABLE permission_transaction",
	"DROP TABLE feed_used", "ALTER TABLE application DROP COLUMN configuration", "DROP TABLE import", "DROP TABLE import_error",
	"ALTER TABLE endpoint DROP COLUMN late", "ALTER TABLE endpoint DROP COLUMN owner", "ALTER TABLE endpoint DROP COLUMN lease_until", "DROP TABLE node",
	"ALTER TABLE application DROP COLUMN pruned_seq", "ALTER TABLE application DROP COLUMN pruned_chain", "ALTER TABLE span DROP COLUMN pruned", "DROP TABLE loss",
	"ALTER TABLE endpoint DROP COLUMN parts", "ALTER TABLE replay DROP COLUMN part", "DROP TABLE endpoint_part", "DROP TABLE portal_entry", "DROP INDEX replay_latest", "DROP TABLE tally", // which 0008 to 0013 added
	"DROP TABLE citizen_merged", "DROP TABLE checkpoint", "DROP TABLE mail_template", "DROP TABLE confirmation", // which 0006 added
	"ALTER TABLE event DROP COLUMN erased", "ALTER TABLE event DROP COLUMN digest", "ALTER TABLE event DROP COLUMN chain", // which 0005 added
	"ALTER TABLE application DROP COLUMN log_head", "ALTER TABLE application DROP COLUMN history_head",
	"DROP INDEX idempotency_subject", "ALTER TABLE idempotency DROP COLUMN subject", "DROP TABLE tombstone", "DROP TABLE erasing",
	`UPDATE filter SET filter = replace(replace(filter, '"citizen.erased",', ''), ',"citizen.erased"', '')`,
}

func TestOpen_schema(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, "k")
	t.Run("a new folder, migrating not allowed", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		err := tryOpen(t, folder{Dir: dir, Keys: keys, NoMigrate: true})
		wantKind(t, err, fault.Unavailable, "schema_old")
		if !strings.Contains(fmt.Sprint(err), "migrate") {
			t.Errorf("got %v, want to be told what to do", err)
		}
		for range 2 {
			if err := sqlite.Migrate(t.Context(), sqlite.File{Dir: dir}); err != nil {
				t.Fatal(err)
			}
		}
		s := openStore(t, folder{Dir: dir, Keys: keys, NoMigrate: true})
		addApp(t, s, "app_1")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openStore(t, folder{Dir: dir, Keys: keys})
	})
	t.Run("a folder of schema 1, with deliveries", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openStore(t, folder{Dir: dir, Keys: keys})
		app, _ := world(t, s, 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, q := range append(slices.Clip(added0003), // and what 0002 added
			"DROP TABLE kept_token", "DROP TABLE signing_key", "ALTER TABLE attempt DROP COLUMN token", "ALTER TABLE endpoint DROP COLUMN hold_exchange",
			"DELETE FROM goose_db_version WHERE version_id > 1",
		) {
			tamper(t, dir, q)
		}
		wantKind(t, tryOpen(t, folder{Dir: dir, Keys: keys, NoMigrate: true}), fault.Unavailable, "schema_old")
		s = openStore(t, folder{Dir: dir, Keys: keys})
		d, err := s.Delivery(t.Context(), app, delivery.ID("sub_2", 1))
		if err != nil || len(d.Attempts) != 1 || d.Attempts[0].Token != nil {
			t.Errorf("got %+v, %v, want the attempt that was kept", d.Attempts, err)
		}
		h, err := s.Health(t.Context(), app, "sub_2")
		if err != nil || !h.Hold.Held() || h.Hold.Exchange != nil {
			t.Errorf("got %+v, %v, want the hold that was kept", h.Hold, err)
		}
		saveToken(t, s, "sub_2", fullToken())
		holdBack(t, s, "sub_2", "con_1")
	})
	t.Run("a folder of schema 2, with subscriptions to permissions", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := openStore(t, folder{Dir: dir, Keys: keys})
		one, two, none := addApp(t, s, "app_1"), addApp(t, s, "app_2"), addApp(t, s, "app_3")
		delta := fullEndpoint(one, "sub_1") // lists one of the lifecycle and permissions.delta
		gone, mails := fullEndpoint(one, "sub_2"), fullEndpoint(two, "sub_3")
		gone.EventTypes, gone.UpdateType = nil, subscription.EffectivePermission
		mails.EventTypes, delta.UpdateType = nil, subscription.ConsentReceipts
		other := fullEndpoint(none, "sub_4")
		other.EventTypes, other.UpdateType = other.EventTypes[:1], subscription.EffectivePermission // its update type counts
		update(t, s, func(tx store.Tx) error {
			var errs []error
			for _, e := range []subscription.Endpoint{delta, gone, mails, other} {
				errs = append(errs, tx.PutEndpoint(e, delivery.Shown{}))
			}
			delta.EventTypes = delta.EventTypes[:1] // it listed the delta before
			return errors.Join(append(errs, tx.Publish(someEvent(one, "con_1")), tx.PutEndpoint(delta, delivery.Shown{}), tx.DeleteEndpoint(one, gone.ID, start))...)
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, q := range append(slices.Clip(added0003), "DELETE FROM goose_db_version WHERE version_id > 2") {
			tamper(t, dir, q)
		}
		s = openStore(t, folder{Dir: dir, Keys: keys})
		update(t, s, func(tx store.Tx) error {
			for app, want := range map[access.ID][3]bool{one: {true, true, false}, two: {false, false, true}, none: {false, true, false}} {
				for i, f := range []event.Feed{event.ConsentReceipts, event.EffectivePermission, event.CitizenEmails} {
					if got, err := tx.FeedUsed(app, f); err != nil || got != want[i] {
						t.Errorf("%s, %s: got %t, %v, want %t", app, f, got, err, want[i])
					}
				}
			}
			return tx.PutCitizen(fullCitizen(one, "ctz_1"))
		})
		var inForce []string
		err := s.read(t.Context(), func(r *reader) error {
			return r.each(func(rows db.Rows) error {
				var f string
				err := rows.Scan(&f)
				inForce = append(inForce, f)
				return err
			}, "SELECT filter FROM filter f JOIN endpoint p ON p.ep = f.ep WHERE p.deleted_at IS NULL ORDER BY f.ep, f.from_seq")
		})
		was, _ := encodeFilter(subscription.Filter{Types: []event.Type{event.ConsentApproved, event.PermissionsDelta}})
		is, _ := encodeFilter(delta.Filter())
		toMails, _ := encodeFilter(mails.Filter())
		toOther, _ := encodeFilter(other.Filter())
		if want := []string{was, is, toMails, toOther}; err != nil || !slices.Equal(inForce, want) {
			t.Errorf("got %q, %v, want the filter of each that is in force to let erasures through: %q", inForce, err, want)
		}
		if a, err := s.Audit(t.Context(), one); err != nil || a.Events.Records != 1 || a.Events.Earlier != 1 || a.Events.BrokenAt != "" {
			t.Errorf("got %+v, %v, want one event from before there was a chain", a.Events, err)
		}
		update(t, s, func(tx store.Tx) error { return tx.Publish(someEvent(one, "con_2")) })
		if a, err := s.Audit(t.Context(), one); err != nil || a.Events.Records != 2 || a.Events.Earlier != 1 || a.Events.BrokenAt != "" {
			t.Errorf("got %+v, %v, want a chain behind it", a.Events, err)
		}
	})
	t.Run("a later program's folder", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := sqlite.Migrate(t.Context(), sqlite.File{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		tamper(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		wantKind(t, tryOpen(t, folder{Dir: dir, Keys: keys}), fault.Unavailable, "schema_new")
		wantKind(t, sqlite.Migrate(t.Context(), sqlite.File{Dir: dir}), fault.Unavailable, "schema_new")
	})
	t.Run("a file of somebody else's", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, sqlite.FileName), bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		wantKind(t, tryOpen(t, folder{Dir: dir, Keys: keys}), fault.Unavailable, "store_unreadable")
	})
	t.Run("no folder", func(t *testing.T) {
		t.Parallel()
		wantKind(t, tryOpen(t, folder{Dir: filepath.Join(t.TempDir(), "none"), Keys: keys}), fault.Unavailable, "store_unreadable")
	})
}

// TestCheckpoint: the log is carried over and starts again, so that it does
// not grow with the traffic.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	app := addApp(t, s, "app_1")
	longest := int64(0)
	for i := range 90 { // 90 MiB in all
		e := someEvent(app, "con_1")
		e.Body = make([]byte, 1<<20)
		update(t, s, func(tx store.Tx) error { return tx.Publish(e) })
		if i%10 == 0 {
			if _, err := s.Event(t.Context(), app, e.ID); err != nil {
				t.Fatal(err)
			}
		}
		st, err := os.Stat(fileOf(t, s) + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, st.Size())
	}
	if longest < 16<<20 || longest > 64<<20 {
		t.Errorf("the log grew to %d bytes, want it carried over from %d on, when nothing waits", longest, walIdle)
	}
}

// TestCheckpoint_reader: a reader that stays keeps the log from starting over,
// which harms nobody.
func TestCheckpoint_reader(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	app := addApp(t, s, "app_1")
	began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.read(context.WithoutCancel(t.Context()), func(r *reader) error {
			a, err := r.application(app)
			close(began)
			<-gate
			b, again := r.application(app)
			if a != b {
				t.Errorf("a snapshot shows %v, then %v", a, b)
			}
			return errors.Join(err, again)
		})
	}()
	<-began
	for i := range 50 {
		update(t, s, func(tx store.Tx) error {
			e := someEvent(app, "con_1")
			e.Body = make([]byte, 1<<20)
			return errors.Join(tx.Publish(e), tx.PutApplication(access.Application{ID: app, Name: fmt.Sprint(i), UpdatedAt: start}))
		})
	}
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
