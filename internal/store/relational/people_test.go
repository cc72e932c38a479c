package relational

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/sqlite"
)

// added0006 takes away what migration 6 added.
var added0006 = []string{
	"DROP TABLE citizen_merged", "DROP TABLE checkpoint", "DROP TABLE mail_template", "DROP TABLE confirmation",
	"ALTER TABLE endpoint DROP COLUMN late", "ALTER TABLE endpoint DROP COLUMN owner", "ALTER TABLE endpoint DROP COLUMN lease_until", "DROP TABLE node",
	"ALTER TABLE application DROP COLUMN pruned_seq", "ALTER TABLE application DROP COLUMN pruned_chain", "ALTER TABLE span DROP COLUMN pruned", "DROP TABLE loss",
	"ALTER TABLE endpoint DROP COLUMN parts", "ALTER TABLE replay DROP COLUMN part", "DROP TABLE endpoint_part", "DROP TABLE portal_entry", "DROP INDEX replay_latest", "DROP TABLE tally", // which 0008 to 0013 added
	"DROP INDEX citizen_group", "ALTER TABLE citizen DROP COLUMN group_id", "ALTER TABLE permission_transaction DROP COLUMN recorded_at",
	"DELETE FROM goose_db_version WHERE version_id > 5",
}

// TestPast_olderRows: what was recorded before its time was kept in clear is
// told by what is sealed.
func TestPast_olderRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir})
	app := addApp(t, s, "app_1")
	record := func(n int) {
		t.Helper()
		update(t, s, func(tx store.Tx) error { return tx.PutTransaction(app, benchTransaction("ctz_1", n)) })
	}
	c := fullCitizen(app, "ctz_1")
	c.Group = ""
	update(t, s, func(tx store.Tx) error { return tx.PutCitizen(c) })
	for n := range 5 {
		record(n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := openRaw(t, filepath.Join(dir, sqlite.FileName))
	for _, q := range added0006 {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, folder{Dir: dir})
	for n := 5; n < 8; n++ {
		record(n)
	}
	if got, err := s.Citizen(t.Context(), app, "ctz_1"); err != nil || got.Group != "" {
		t.Errorf("got %+v, %v, want the citizen without a group", got, err)
	}
	for n := -1; n < 9; n++ {
		for _, ms := range []time.Duration{0, 999} {
			_, tail, err := s.Past(t.Context(), app, "ctz_1", start.Add(time.Duration(n)*time.Second+ms*time.Millisecond))
			if want := min(max(n+1, 0), 8); err != nil || len(tail) != want {
				t.Errorf("%d s and %d ms: got %d transactions, %v, want %d", n, ms, len(tail), err, want)
			}
		}
	}
	// A checkpoint stands behind them all.
	update(t, s, func(tx store.Tx) error {
		return tx.PutCheckpoint(app, store.Checkpoint{Citizen: "ctz_1", At: start.Add(7 * time.Second), Histories: []permission.CitizenID{"ctz_1"}})
	})
	record(8)
	if p, tail, err := s.Past(t.Context(), app, "ctz_1", start.Add(time.Minute)); err != nil || len(tail) != 1 || p.At.IsZero() {
		t.Errorf("got %d transactions behind %v, %v, want one behind the checkpoint", len(tail), p.At, err)
	}
}
