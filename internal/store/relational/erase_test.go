package relational

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
)

// known gives an application many subjects, and of a citizen and a consent among
// them, both of that name, everything that is kept of one: events before and
// between those of the others, deliveries that were made, failed and wait, a
// transaction, an answer. Two subscriptions are told of it.
func known(t *testing.T, s *Store, name string) (app access.ID) {
	t.Helper()
	app = addApp(t, s, "app_1")
	full := func(subject string) event.Event {
		e := someEvent(app, subject)
		e.Feed, e.Type, e.Body = event.EffectivePermission, event.PermissionsEffective, fmt.Appendf(nil, `{"of":"%s","pad":"%s"}`, subject, strings.Repeat("x", 900))
		return e
	}
	update(t, s, func(tx store.Tx) error {
		var errs []error
		for _, id := range []subscription.ID{"sub_1", "sub_2"} {
			e := benchEndpoint(id)
			e.Application = string(app)
			errs = append(errs, tx.PutEndpoint(e, delivery.Shown{}))
		}
		return errors.Join(errs...)
	})
	x := fullTransaction(permission.CitizenID(name))
	x.Origin.Transaction = "txn_1"
	c := fullCitizen(app, permission.CitizenID(name))
	c.Group, c.Merged = "", nil
	for i := range 40 {
		update(t, s, func(tx store.Tx) error {
			var errs []error
			for n := range 25 {
				id := fmt.Sprintf("ctz_%x_%d_%d", n*7919%97, n, i)
				errs = append(errs, tx.Publish(full(id)))
			}
			if i == 20 {
				errs = append(errs, tx.PutCitizen(c, full(name)), tx.PutTransaction(app, x), tx.PutConsent(fullConsent(app, name), someEvent(app, name)),
					tx.PutIdempotent(app, store.Idempotent{Key: "k", Route: "r", Subject: name, Response: []byte(name), ExpiresAt: start.Add(time.Hour)}, start))
			}
			if i > 20 {
				errs = append(errs, tx.Publish(full(name)))
			}
			return errors.Join(errs...)
		})
	}
	evts, _, err := s.Events(t.Context(), app, store.EventQuery{Subject: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []delivery.Endpoint{"sub_1", "sub_2"} {
		p := delivery.Progress{Lease: openEndpoint(t, s, id).Lease, At: start, Cursor: evts[4].Seq}
		for i, e := range evts[:5] {
			p.Attempts = append(p.Attempts, tried(e.Seq, name, 1, i < 2))
			if i >= 2 {
				p.Put = append(p.Put, delivery.Exception{Seq: e.Seq, Subject: name, State: delivery.WaitTurn})
			}
		}
		record(t, s, p)
	}
	return app
}

// sealedOf returns every sealed thing that is kept under a subject's key, and the
// key.
func sealedOf(t *testing.T, s *Store, subject string) (list [][]byte) {
	t.Helper()
	err := s.read(context.Background(), func(r *reader) error {
		for _, query := range []string{
			"SELECT sealed_key FROM subject WHERE subject = ?",
			"SELECT body FROM event WHERE subject = ? AND erased = 0",
			"SELECT a.response FROM attempt a JOIN event e ON e.seq = a.seq WHERE e.subject = ? AND a.response IS NOT NULL",
			"SELECT sealed FROM permission_transaction WHERE citizen_id = ?",
			"SELECT sealed FROM citizen WHERE citizen_id = ?", "SELECT standing FROM citizen WHERE citizen_id = ?",
			"SELECT sealed FROM consent WHERE consent_id = ?",
		} {
			rows, err := r.query(query, subject)
			if err != nil {
				return err
			}
			for rows.Next() {
				var b []byte
				if err := rows.Scan(&b); err != nil {
					return err
				}
				list = append(list, b)
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// files returns what the store's files hold, those that there are.
func files(t *testing.T, s *Store) (all []byte) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(fileOf(t, s) + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// image copies a store's files as they are, as after a loss of power. It must be
// called on the committer's goroutine, where nothing else writes to them.
func image(t *testing.T, from string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(from, sqlite.FileName+suffix))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, sqlite.FileName+suffix), b, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	return dir
}

// holdsNone fails the test if the files hold one of the things.
func holdsNone(t *testing.T, what string, s *Store, things ...[]byte) {
	t.Helper()
	all := files(t, s)
	if !bytes.Contains(all, []byte("ctz_")) {
		t.Errorf("%s: the files hold no subject at all, so the scan proves nothing", what)
	}
	for _, x := range things {
		if n := bytes.Count(all, x); n > 0 {
			t.Errorf("%s: got %q %d times in the files, want it nowhere", what, x[:min(len(x), 24)], n)
		}
	}
}

func farewell(app access.ID, subject string) event.Event {
	e := someEvent(app, subject)
	e.Feed, e.Type, e.Body = event.Erasures, event.CitizenErased, fmt.Appendf(nil, `{"citizenId":"%s"}`, subject)
	return e
}

// TestErase_bytes: neither a name, nor a key, nor anything that it sealed is left
// in the files: not after the erasure and the last delivery, not in what a crash
// leaves at any moment.
func TestErase_bytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const name = "the-one-to-be-erased"
		// crashing opens a store, and a function that runs another and returns what
		// a crash right behind its last commit leaves.
		crashing := func(dir string) (*Store, func(func()) string) {
			var left string
			on := false
			s := openStore(t, folder{Dir: dir, OnCommit: func(int, time.Duration, error) {
				if on {
					left = image(t, dir)
				}
			}})
			return s, func(fn func()) string {
				on = true
				fn()
				on = false
				return left
			}
		}
		s, crash := crashing(t.TempDir())
		app := known(t, s, name)
		old := sealedOf(t, s, name)
		if len(old) != 1+21+10+1+2+1 {
			t.Fatalf("got %d sealed things, want the key and all that it sealed", len(old))
		}
		for i, x := range append(old, []byte(name)) {
			if !bytes.Contains(files(t, s), x) {
				t.Fatalf("the files do not hold thing %d before the erasure: the scan proves nothing", i)
			}
		}
		var before string
		former := openEndpoint(t, s, "sub_1").Lease
		crashed := crash(func() {
			update(t, s, func(tx store.Tx) error {
				err := tx.Erase(app, name, farewell(app, name))
				before = image(t, filepath.Dir(fileOf(t, s)))
				return err
			})
		})
		time.Sleep(time.Second)
		holdsNone(t, "erased", s, old...)
		between := sealedOf(t, s, name)
		if len(between) != 3 { // what of its transaction is left is empty
			t.Fatalf("got %d sealed things, want the key and the last body", len(between))
		}

		back := openStore(t, folder{Dir: before})
		if got := sealedOf(t, back, name); len(got) != len(old) {
			t.Errorf("got %d sealed things after a crash before the commit, want all %d", len(got), len(old))
		}
		if a, err := back.Audit(t.Context(), app); err != nil || a.Events.Erased != 0 || a.Events.BrokenAt != "" {
			t.Errorf("got %+v, %v after a crash before the commit, want nothing erased", a, err)
		}

		for what, dir := range map[string]string{"here": "", "after a crash": crashed} {
			s, crash := s, crash
			if dir != "" {
				s, crash = crashing(dir)
			}
			time.Sleep(time.Second)
			holdsNone(t, what, s, old...)
			end, _, err := s.Events(t.Context(), app, store.EventQuery{Type: event.CitizenErased})
			if err != nil || len(end) != 1 || string(end[0].Body) != `{"citizenId":"`+name+`"}` {
				t.Fatalf("%s: got %+v, %v, want the last event with its body", what, end, err)
			}
			late := func(seq event.Seq, n int) {
				t.Helper()
				if _, err := s.Read(t.Context(), "sub_1", 0, 4096, 1<<30); err != nil { // which finds its key
					t.Fatal(err)
				}
				out, err := s.Record(t.Context(), []delivery.Progress{{Lease: former, At: start, Attempts: []delivery.Attempt{tried(seq, name, n, false)}}})
				if err != nil || !out[0].Fenced {
					t.Fatalf("got %+v, %v, want it fenced", out, err)
				}
				var kept int
				err = s.read(t.Context(), func(r *reader) error {
					return r.get([]any{&kept}, "SELECT COUNT(*) FROM attempt WHERE seq = ? AND response IS NOT NULL", int64(seq))
				})
				if err != nil || kept > 0 {
					t.Errorf("%s: got %d answers to an event that was erased, %v, want none", what, kept, err)
				}
			}
			first, _, err := s.Events(t.Context(), app, store.EventQuery{Subject: name, Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			late(first[0].Seq, 2)
			dead := crash(func() {
				for _, id := range []delivery.Endpoint{"sub_1", "sub_2"} {
					a := tried(end[0].Seq, name, 1, true)
					a.Response.Body = name
					record(t, s, delivery.Progress{Lease: openEndpoint(t, s, id).Lease, At: start, Attempts: []delivery.Attempt{a}})
				}
			})
			time.Sleep(time.Second)
			gone := append(append([][]byte{[]byte(name)}, old...), between[:2]...)
			holdsNone(t, what+", told", s, gone...)
			if st, err := os.Stat(fileOf(t, s) + "-wal"); err != nil || st.Size() != 0 {
				t.Errorf("%s: got a log of %d bytes, %v, want it empty", what, st.Size(), err)
			}
			late(end[0].Seq, 2)
			risen := openStore(t, folder{Dir: dead})
			time.Sleep(time.Second)
			holdsNone(t, what+", told, after a crash", risen, gone...)
			a, err := risen.Audit(t.Context(), app)
			if err != nil || a.Events.Erased != 22 || a.Events.BrokenAt != "" || a.Transactions.Erased != 1 || a.Transactions.BrokenAt != "" {
				t.Errorf("%s: got %+v, %v, want 22 events and a transaction erased, and the chains whole", what, a, err)
			}
		}
	})
}

// TestErase_reader: a reader that is in the way keeps the log, and nothing else
// waits for it; when it is gone the log is cut off.
func TestErase_reader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		app := known(t, s, "someone")
		began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- s.read(context.Background(), func(r *reader) error {
				_, err := r.application(app)
				close(began)
				<-gate
				return err
			})
		}()
		<-began
		update(t, s, func(tx store.Tx) error { return tx.Erase(app, "someone") })
		begin := time.Now()
		for range 5 {
			update(t, s, func(tx store.Tx) error { return tx.Publish(someEvent(app, "con_1")) })
		}
		if d := time.Since(begin); d > 0 {
			t.Errorf("writes took %v, want them not to wait for the reader", d)
		}
		size := func() int64 {
			st, err := os.Stat(fileOf(t, s) + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			return st.Size()
		}
		time.Sleep(walPatience*walAgain + walLater)
		if size() == 0 {
			t.Error("got the log cut off under a reader")
		}
		close(gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * walLater)
		if n := size(); n != 0 {
			t.Errorf("got a log of %d bytes, want it cut off once the reader was gone", n)
		}
	})
}

// TestAudit_finds: whatever is changed, left out or put in between is found.
func TestAudit_finds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		do           string
		events, txns string // where the chains are broken; empty: they are whole
	}{
		{"nothing was done", "UPDATE event SET body = body", "", ""},
		{"a byte of a body", "UPDATE event SET body = CAST(substr(body, 1, 40) || CASE substr(body, 41, 1) WHEN x'00' THEN x'01' ELSE x'00' END || substr(body, 42) AS BLOB) WHERE seq = 3", "evt_3", ""},
		{"a type", "UPDATE event SET type = 'consent.revoked' WHERE seq = 3", "evt_3", ""},
		{"a feed", "UPDATE event SET feed = 'lifecycle-payment' WHERE seq = 3", "evt_3", ""},
		{"a time", "UPDATE event SET occurred_at = occurred_at + 1 WHERE seq = 1", "evt_1", ""},
		{"the other time", "UPDATE event SET recorded_at = recorded_at + 1 WHERE seq = 1", "evt_1", ""},
		{"a sequence", "UPDATE event SET sequence = sequence + 1 WHERE seq = 2", "evt_2", ""},
		{"who is not told", "UPDATE event SET except_id = 'sub_1' WHERE seq = 2", "evt_2", ""},
		{"whom it is about", "UPDATE event SET subject = 'con_9' WHERE seq = 2", "evt_2", ""},
		{"an ID", "UPDATE event SET event_id = 'evt_x' WHERE seq = 2", "evt_x", ""},
		{"an event is left out", "DELETE FROM event WHERE seq = 3", "evt_4", ""},
		{"the first event is left out", "DELETE FROM event WHERE seq = 1", "evt_2", ""},
		{"the last event is left out", "DELETE FROM event WHERE seq = 6", "evt_5", ""},
		{"the last event is left out and the count set right", "DELETE FROM event WHERE seq = 6; UPDATE application SET last_seq = 5", "evt_5", ""},
		{"all events are left out", "DELETE FROM event", "app_1", ""},
		{"two events change places", "UPDATE event SET seq = -seq WHERE seq IN (2, 4); UPDATE event SET seq = 6 + seq WHERE seq < 0", "evt_4", ""},
		{"two of a subject change places", "UPDATE event SET seq = -seq, sequence = 5 - sequence WHERE seq IN (3, 4); UPDATE event SET seq = 7 + seq WHERE seq < 0", "evt_4", ""},
		{"a chain", "UPDATE event SET chain = zeroblob(32) WHERE seq = 3", "evt_3", ""},
		{"no chain", "UPDATE event SET chain = NULL WHERE seq = 3", "evt_3", ""},
		{"no chain from a place on", "UPDATE event SET chain = NULL WHERE seq > 3", "evt_4", ""},
		{"the head", "UPDATE application SET log_head = zeroblob(32)", "evt_6", ""},
		{"an event is put behind", "INSERT INTO event (app, seq, event_id, feed, type, subject, sequence, occurred_at, recorded_at, body, chain) SELECT app, 7, 'evt_7', feed, type, subject, 7, 1, 1, body, chain FROM event WHERE seq = 6", "evt_7", ""},
		{"a body is taken away", "UPDATE event SET body = x'' WHERE seq = 3", "evt_3", ""},
		{"a body is taken away as if erased", "UPDATE event SET body = x'', erased = 1, digest = zeroblob(32) WHERE seq = 3", "evt_3", ""},
		{"an erased one has another digest", "UPDATE event SET digest = zeroblob(32) WHERE seq = 5", "evt_5", ""},
		{"an erased one has a body", "UPDATE event SET body = x'00' WHERE seq = 5", "evt_5", ""},
		{"an erased one has another name", "UPDATE event SET subject = 'erased_" + strings.Repeat("00", 32) + "' WHERE seq = 5", "evt_5", ""},
		{"who was erased is forgotten", "DELETE FROM tombstone", "evt_5", "txn_4"},
		{"a byte of a transaction", "UPDATE permission_transaction SET sealed = CAST(substr(sealed, 1, 40) || CASE substr(sealed, 41, 1) WHEN x'00' THEN x'01' ELSE x'00' END || substr(sealed, 42) AS BLOB) WHERE row = 2", "", "txn_2"},
		{"whose a transaction is", "UPDATE permission_transaction SET citizen_id = 'ctz_9' WHERE row = 2", "", "txn_2"},
		{"when a transaction was recorded", "UPDATE permission_transaction SET recorded_at = recorded_at + 1 WHERE row = 2", "", "txn_2"},
		{"a transaction is left out", "DELETE FROM permission_transaction WHERE row = 2", "", "txn_3"},
		{"the last transaction is left out", "DELETE FROM permission_transaction WHERE row = 5", "", "txn_4"},
		{"all transactions are left out", "DELETE FROM permission_transaction", "", "app_1"},
		{"two transactions change places", "UPDATE permission_transaction SET row = -row WHERE row IN (2, 3); UPDATE permission_transaction SET row = 5 + row WHERE row < 0", "", "txn_3"},
		{"an erased transaction has another digest", "UPDATE permission_transaction SET digest = zeroblob(32) WHERE row = 4", "", "txn_4"},
		{"the head of the transactions", "UPDATE application SET history_head = NULL", "", "txn_5"},
	}
	made := t.TempDir()
	s := openStore(t, folder{Dir: made})
	app := addApp(t, s, "app_1")
	update(t, s, func(tx store.Tx) error {
		var errs []error
		for i, subject := range []string{"ctz_1", "ctz_2", "ctz_1", "ctz_1", "ctz_0", "ctz_1"} {
			e := someEvent(app, subject)
			e.ID = fmt.Sprintf("evt_%d", i+1)
			errs = append(errs, tx.Publish(e))
		}
		for i, subject := range []permission.CitizenID{"ctz_1", "ctz_2", "ctz_1", "ctz_0", "ctz_1"} {
			x := fullTransaction(subject)
			x.Origin.Transaction = permission.TransactionID(fmt.Sprintf("txn_%d", i+1))
			errs = append(errs, tx.PutTransaction(app, x))
		}
		c := fullCitizen(app, "ctz_0")
		c.Group, c.Merged = "", nil
		return errors.Join(append(errs, tx.PutCitizen(c), tx.Erase(app, "ctz_0"))...)
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(made, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, sqlite.FileName), content, 0o600); err != nil {
				t.Fatal(err)
			}
			for q := range strings.SplitSeq(tt.do, "; ") {
				tamper(t, dir, q)
			}
			s := openStore(t, folder{Dir: dir})
			a, err := s.Audit(t.Context(), app)
			if err != nil || a.Events.BrokenAt != tt.events || a.Transactions.BrokenAt != tt.txns {
				t.Errorf("got events broken at %q and transactions at %q, %v, want %q and %q", a.Events.BrokenAt, a.Transactions.BrokenAt, err, tt.events, tt.txns)
			}
			if tt.events == "" && tt.txns == "" && (a.Events.Records != 6 || a.Events.Erased != 1 || a.Transactions.Records != 5 || a.Transactions.Erased != 1) {
				t.Errorf("got %+v, want six events and five transactions, one of each erased", a)
			}
		})
	}
}

// TestHashInName: only the name of somebody who was erased holds a hash.
func TestHashInName(t *testing.T) {
	t.Parallel()
	hash := bytes.Repeat([]byte{0xab}, 32)
	for _, name := range []string{"", "ctz_1", "erased_", "erased_" + strings.Repeat("AB", 32), "erased_" + strings.Repeat("ab", 31), "erased_" + strings.Repeat("xy", 32), "x" + erasedName(hash)} {
		if got := hashInName(name); got != nil {
			t.Errorf("got %x in %q, want none", got, name)
		}
	}
	if got := hashInName(erasedName(hash)); !bytes.Equal(got, hash) {
		t.Errorf("got %s, want the hash %s", hex.EncodeToString(got), hex.EncodeToString(hash))
	}
}
