package relational

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// masterKey returns a list of keys of one letter each, as it is configured.
func masterKey(letters string) secret.Value {
	var list []string
	for _, l := range letters {
		list = append(list, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(l)}, secret.KeySize)))
	}
	return secret.New(strings.Join(list, ","))
}

// subjects logs an event of each of n subjects.
func subjects(t testing.TB, s *Store, app access.ID, n int) {
	t.Helper()
	for from := 0; from < n; from += 500 {
		update(t, s, func(tx store.Tx) error {
			for i := from; i < min(from+500, n); i++ {
				if err := tx.Publish(someEvent(app, fmt.Sprintf("con_%07d", i))); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// sealedBy counts what in the file the first key of a ring sealed, by table and
// column. It asks the file which columns there are, so that none is forgotten.
func sealedBy(t testing.TB, s *Store, keys *secret.Keyring) map[string]int {
	t.Helper()
	counts := map[string]int{}
	err := s.read(t.Context(), func(r *reader) error {
		var columns [][2]string
		err := r.each(func(rows db.Rows) error {
			var c [2]string
			err := rows.Scan(&c[0], &c[1])
			columns = append(columns, c)
			return err
		}, "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'")
		for _, c := range columns {
			if err != nil {
				return err
			}
			err = r.each(func(rows db.Rows) error {
				var b []byte
				err := rows.Scan(&b)
				if keys.Current(b) {
					counts[c[0]+"."+c[1]]++
				}
				return err
			}, fmt.Sprintf("SELECT CAST(%s AS BLOB) FROM %s", c[1], c[0]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// world makes a store with one thing in every column that the master key
// seals, and returns how many records those are.
func world(t testing.TB, s *Store, n int) (app access.ID, records int) {
	t.Helper()
	app = addApp(t, s, "app_1")
	e := fullEndpoint(app, "sub_1")
	active := fullEndpoint(app, "sub_2")
	active.Status = subscription.Active
	gone := fullEndpoint(app, "sub_3")
	gone.Status = subscription.Active
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.PutConsent(fullConsent(app, "con_1"), someEvent(app, "con_1")), tx.PutSigningKey(app, e.SigningKeys[0]),
			tx.PutEndpoint(e, delivery.Shown{URL: "u"}), tx.PutEndpoint(active, delivery.Shown{}), tx.PutEndpoint(gone, delivery.Shown{}),
			tx.PutUser(access.User{ID: "usr_1", Application: app, Email: "ana@example.org", Name: "Ana", Role: access.Viewer, CreatedAt: start}),
			tx.PutIdempotent(app, store.Idempotent{Key: "key-1", Route: "r", Response: []byte("a"), ExpiresAt: start.Add(time.Hour)}, start))
	})
	for _, e := range []delivery.Endpoint{"sub_1", "sub_3"} {
		if err := s.SaveToken(t.Context(), e, subscription.Token{Access: secret.New("a")}); err != nil {
			t.Fatal(err)
		}
	}
	holdBack(t, s, "sub_2", "con_1")
	holdBack(t, s, "sub_3", "con_1")
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.DeleteEndpoint(app, "sub_3", start), tx.ForgetToken(app, "sub_2")) // nothing is left to seal of these
	})
	permissions(t, s, app) // sealed by the citizen's key only
	subjects(t, s, app, n)
	return app, n + 3 + 2 + 1 + 3 + 1 + 1 + 1 + 1 + 2 // subjects, endpoints, hold, shown, token, key pair, answer, user, meta
}

// check reads something of each column.
func check(t testing.TB, s *Store, app access.ID) {
	t.Helper()
	e, err := s.Endpoint(t.Context(), app, subscription.Subscription, "sub_1")
	if err != nil || len(e.SigningKeys) != 1 {
		t.Errorf("got %d key pairs, %v, want the endpoint with one", len(e.SigningKeys), err)
	}
	if h, err := s.Health(t.Context(), app, "sub_2"); err != nil || h.Hold.Exchange == nil {
		t.Errorf("got hold %+v, %v, want its exchange", h.Hold, err)
	}
	if tok, err := s.Token(t.Context(), "sub_1"); err != nil || tok.Access.Reveal() != "a" {
		t.Errorf("got token %v, %v, want it kept", tok, err)
	}
	if u, err := s.UserByEmail(t.Context(), "ana@example.org"); err != nil || u.Name != "Ana" {
		t.Errorf("got %+v, %v, want the user", u, err)
	}
	if list, _, err := s.Consents(t.Context(), app, store.ConsentQuery{CitizenID: "citizen-of-con_1"}); err != nil || len(list) != 1 {
		t.Errorf("got %d consents, %v, want it found by its citizen", len(list), err)
	}
	if c, err := s.CitizenByRef(t.Context(), app, "external-ref-of-ctz_1"); err != nil || c.Language != "language-of-it" || c.Standing.Next().IsZero() {
		t.Errorf("got %+v, %v, want the citizen found by its reference", c, err)
	}
	if c, _, err := s.Past(t.Context(), app, "ctz_0", start); err != nil || c.Citizen != "ctz_1" || c.Standing.Next().IsZero() {
		t.Errorf("got %+v, %v, want the checkpoint of the citizen", c, err)
	}
	if list, err := s.Transactions(t.Context(), app, "ctz_1"); err != nil || len(list) != 1 {
		t.Errorf("got %d transactions, %v, want one", len(list), err)
	}
	d, err := s.Delivery(t.Context(), app, delivery.ID("sub_2", 1))
	if err != nil || d.Attempts[0].Token == nil {
		t.Errorf("got %+v, %v, want the attempt's exchange", d.Attempts, err)
	}
	update(t, s, func(tx store.Tx) error {
		i, err := tx.Idempotent(app, "r", "key-1", start)
		if string(i.Response) != "a" {
			t.Errorf("got answer %q, want it kept", i.Response)
		}
		return err
	})
	n := 0
	for after := ""; ; {
		evts, next, err := s.Events(t.Context(), app, store.EventQuery{Limit: 1000, After: after})
		if err != nil {
			t.Fatal(err)
		}
		if n += len(evts); next == "" {
			break
		}
		after = next
	}
	if n == 0 {
		t.Error("got no event")
	}
}

// TestStore_Rewrap: the size is that of the report; the time is logged.
func TestStore_Rewrap(t *testing.T) {
	t.Parallel()
	const n = 5000
	dir, keys, largest := t.TempDir(), testKeys(t, "a"), atomic.Int64{}
	s := openStore(t, folder{Dir: dir, Keys: keys, OnCommit: func(rows int, _ time.Duration, _ error) {
		largest.Store(max(largest.Load(), int64(rows)))
	}})
	app, records := world(t, s, n)
	before := sealedBy(t, s, keys)
	for _, column := range []string{
		"meta.value", "subject.sealed_key", "endpoint.sealed", "endpoint.hold_exchange", "shown.shown",
		"idempotency.response", "kept_token.sealed", "signing_key.private_key", "portal_entry.sealed",
	} {
		if before[column] == 0 {
			t.Errorf("%s holds nothing sealed, so the test proves nothing", column)
		}
		delete(before, column)
	}
	if len(before) > 0 {
		t.Errorf("%v are sealed by the master key, too", before)
	}
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	largest.Store(0)
	begin := time.Now()
	got, err := s.Rewrap(t.Context())
	t.Logf("%d records in %v", got, time.Since(begin))
	if err != nil || got != records {
		t.Errorf("got %d records, %v, want %d", got, err, records)
	}
	if l := largest.Load(); l > rewrapRows {
		t.Errorf("got a commit of %d rows, want at most %d", l, rewrapRows)
	}
	if left := sealedBy(t, s, testKeys(t, "a")); len(left) > 0 {
		t.Errorf("got %v left under the former key, want nothing", left)
	}
	if got, err := s.Rewrap(t.Context()); got != 0 || err != nil {
		t.Errorf("once more: got %d records, %v, want 0", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantKind(t, tryOpen(t, folder{Dir: dir, Keys: testKeys(t, "a")}), fault.Unavailable, "master_key_wrong")
	check(t, openStore(t, folder{Dir: dir, Keys: testKeys(t, "b")}), app)
}

// TestStore_Rewrap_start: which keys a start needs, on the way from one master
// key to another.
func TestStore_Rewrap_start(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(when, letters string, opens bool, do func(s *Store)) {
		t.Helper()
		o := folder{Dir: dir, Keys: testKeys(t, letters)}
		if !opens {
			if err := tryOpen(t, o); fault.KindOf(err) != fault.Unavailable || fault.CodeOf(err) != "master_key_wrong" {
				t.Errorf("%s, with %q: got %v, want it refused", when, letters, err)
			}
			return
		}
		s, err := openFolder(t.Context(), o)
		if err != nil {
			t.Fatalf("%s, with %q: got %v, want it to open", when, letters, err)
		}
		if do != nil {
			do(s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	var app access.ID
	start("at first", "a", true, func(s *Store) { app, _ = world(t, s, 450) })
	start("with the new one alone", "b", false, nil)
	start("still", "a", true, nil)
	start("before anything is sealed by a new key", "ab", true, nil)
	start("then", "a", true, nil)
	start("the new one first", "ba", true, func(s *Store) { check(t, s, app) })
	start("before all is sealed anew", "b", false, nil)
	start("since the new one seals", "a", false, nil) // what it sealed could not be opened
	start("in any order", "ab", true, nil)
	start("a third one first", "cba", true, nil)
	start("without the second", "ca", false, nil)
	start("without the first", "cb", false, nil)
	for calls, total := int64(1), 0; ; calls++ { // cut off at every step
		done := false
		start("cut off", "cba", true, func(s *Store) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			n, err := s.Rewrap(&countdown{Context: ctx, end: end, left: calls})
			total += n
			if done = err == nil; !done && !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want the context's error", err)
			}
			check(t, s, app)
		})
		if done {
			if total < 450 || calls < 5 {
				t.Errorf("got %d records in %d calls, want all in several", total, calls)
			}
			break
		}
		start("cut off", "c", false, nil)
		start("cut off", "ba", false, nil)
	}
	start("when all is sealed anew", "a", false, nil)
	start("when all is sealed anew", "ba", false, nil)
	start("when all is sealed anew", "c", true, func(s *Store) { check(t, s, app) })
}

// countdown is a context that ends when it was asked so often whether it has.
type countdown struct {
	context.Context
	end  context.CancelFunc
	left int64
}

// Err implements context.Context.
func (c *countdown) Err() error {
	if c.left--; c.left <= 0 {
		c.end()
	}
	return c.Context.Err()
}

// TestStore_Rewrap_changedMeanwhile: a row that was written between the look
// and the write keeps what was written.
func TestStore_Rewrap_changedMeanwhile(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, "a")
	s := openStore(t, folder{Dir: t.TempDir(), Keys: keys})
	app, _ := world(t, s, 0)
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	renamed := fullEndpoint(app, "sub_1")
	renamed.Name = "renamed"
	changed := 0
	for i := range sealedColumns {
		c := &sealedColumns[i]
		var list []swap
		err := s.read(t.Context(), func(r *reader) (err error) {
			list, _, _, err = r.staleRecords(c, c.first)
			return err
		})
		if err != nil || len(list) == 0 {
			t.Fatalf("column %d: got %d records, %v, want some", i, len(list), err)
		}
		switch {
		case strings.HasPrefix(c.swap, "UPDATE endpoint SET sealed"):
			changed++
			update(t, s, func(tx store.Tx) error { return tx.PutEndpoint(renamed, delivery.Shown{}) })
		case strings.HasPrefix(c.swap, "UPDATE kept_token"):
			changed++
			if err := s.SaveToken(t.Context(), "sub_1", subscription.Token{Access: secret.New("b"), Generation: 1}); err != nil {
				t.Fatal(err)
			}
		}
		err = s.write(t.Context(), func(t *tx) error {
			for _, l := range list {
				if _, err := t.exec(c.swap, l.args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	e, err := s.Endpoint(t.Context(), app, subscription.Subscription, "sub_1")
	if err != nil || e.Name != "renamed" {
		t.Errorf("got %q, %v, want what was written meanwhile", e.Name, err)
	}
	tok, err := s.Token(t.Context(), "sub_1")
	if err != nil || tok.Access.Reveal() != "b" || changed != 2 {
		t.Errorf("got %q, %v, want what was written meanwhile", tok.Access.Reveal(), err)
	}
}

// TestStore_Rewrap_writeUnderWay: what a write sealed before the keys were
// replaced, and commits after, is sealed anew as well.
func TestStore_Rewrap_writeUnderWay(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, "a")
	s := openStore(t, folder{Dir: t.TempDir(), Keys: keys})
	app, _ := world(t, s, 10)
	renamed := fullEndpoint(app, "sub_1")
	renamed.Name = "renamed"
	sealed, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	go func() {
		done <- s.Update(context.Background(), func(tx store.Tx) error {
			err := errors.Join(tx.PutEndpoint(renamed, delivery.Shown{URL: "other"}), tx.Publish(someEvent(app, "con_0")))
			close(sealed)
			<-gate
			return err
		})
	}()
	<-sealed
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := s.Rewrap(t.Context())
		done <- err
	}()
	queued(s, 1)
	close(gate)
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if left := sealedBy(t, s, testKeys(t, "a")); len(left) > 0 {
		t.Errorf("got %v left under the former key, want nothing", left)
	}
	if e, err := s.Endpoint(t.Context(), app, subscription.Subscription, "sub_1"); err != nil || e.Name != "renamed" {
		t.Errorf("got %q, %v, want what was written", e.Name, err)
	}
}

// TestStore_Rewrap_cutOffFirst: once a new key has sealed something, the former
// one alone is refused, also when the new one was never there at a start.
func TestStore_Rewrap_cutOffFirst(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), testKeys(t, "a")
	s := openStore(t, folder{Dir: dir, Keys: keys})
	app, _ := world(t, s, 450)
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	if n, err := s.Rewrap(&countdown{Context: ctx, end: end, left: 4}); n == 0 || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %d, %v, want it cut off with something done", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, alone := range []string{"a", "b"} {
		wantKind(t, tryOpen(t, folder{Dir: dir, Keys: testKeys(t, alone)}), fault.Unavailable, "master_key_wrong")
	}
	check(t, openStore(t, folder{Dir: dir, Keys: testKeys(t, "ab")}), app)
}

// TestStore_Rewrap_anotherKeyMeanwhile: with a third key before it is done, all
// ends under the third.
func TestStore_Rewrap_anotherKeyMeanwhile(t *testing.T) {
	t.Parallel()
	keys, commits := testKeys(t, "a"), atomic.Int64{}
	s := openStore(t, folder{Dir: t.TempDir(), Keys: keys, OnCommit: func(int, time.Duration, error) {
		if commits.Add(1) == 4 {
			if err := keys.Replace(masterKey("c")); err != nil {
				t.Error(err)
			}
		}
	}})
	_, records := world(t, s, 900)
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	commits.Store(0)
	n, err := s.Rewrap(t.Context())
	if err != nil || n <= records || n >= 2*records {
		t.Errorf("got %d records, %v, want more than the %d there are, for some were sealed twice", n, err, records)
	}
	for _, former := range []string{"a", "b"} {
		if left := sealedBy(t, s, testKeys(t, former)); len(left) > 0 {
			t.Errorf("got %v left under %q, want nothing", left, former)
		}
	}
}

// TestStore_Rewrap_lost: what no key opens stops nothing, and is left alone.
func TestStore_Rewrap_lost(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), testKeys(t, "a")
	s := openStore(t, folder{Dir: dir, Keys: keys})
	_, records := world(t, s, 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, dir, "UPDATE subject SET sealed_key = (SELECT sealed_key FROM subject WHERE subject = 'con_0000001') WHERE subject = 'con_0000002'")
	var log bytes.Buffer
	s = openStore(t, folder{Dir: dir, Keys: keys, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	n, err := s.Rewrap(t.Context())
	if err != nil || n != records-1 {
		t.Errorf("got %d records, %v, want all %d but one", n, err, records)
	}
	if left := sealedBy(t, s, testKeys(t, "a")); left["subject.sealed_key"] != 1 || len(left) != 1 {
		t.Errorf("got %v left, want the record that does not open", left)
	}
	if !strings.Contains(log.String(), "count=1") {
		t.Errorf("got log %q, want it told", &log)
	}
}

// TestStore_Rewrap_walks: no page sorts or reads what it does not return.
func TestStore_Rewrap_walks(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, c := range sealedColumns {
		var plan []string
		err := s.read(t.Context(), func(r *reader) error {
			return r.each(func(rows db.Rows) error {
				var id, parent, unused int
				var step string
				err := rows.Scan(&id, &parent, &unused, &step)
				plan = append(plan, step)
				return err
			}, "EXPLAIN QUERY PLAN "+c.page, append(append([]any(nil), c.first...), rewrapRows)...)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range plan {
			if !strings.HasPrefix(step, "SEARCH ") {
				t.Errorf("%s: got %q, want every table searched", c.page, plan)
			}
		}
	}
}

// TestStore_Rewrap_busy: a full queue is waited for.
func TestStore_Rewrap_busy(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, "a")
	s := openStore(t, folder{Dir: t.TempDir(), Keys: keys})
	_, records := world(t, s, 10)
	if err := keys.Replace(masterKey("b")); err != nil {
		t.Fatal(err)
	}
	release := hold(t, s)
	answers := make(chan error, maxQueue)
	for range maxQueue {
		go func() { answers <- s.write(context.Background(), func(*tx) error { return nil }) }()
	}
	queued(s, maxQueue)
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := s.Rewrap(t.Context())
		done <- result{n, err}
	}()
	ctx, end := context.WithTimeout(t.Context(), 2*rewrapPause)
	defer end()
	if _, err := s.Rewrap(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want it to wait as long as it may", err)
	}
	release()
	for range maxQueue {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if r := <-done; r.err != nil || r.n != records {
		t.Errorf("got %d, %v, want all %d records", r.n, r.err, records)
	}
}

// BenchmarkStore_Rewrap tells the time for one subject.
func BenchmarkStore_Rewrap(b *testing.B) {
	keys := testKeys(b, "a")
	s := openStore(b, folder{Dir: b.TempDir(), Keys: keys})
	subjects(b, s, addApp(b, s, "app_1"), 20_000)
	letter := 'b'
	b.ResetTimer()
	for range b.N {
		if err := keys.Replace(masterKey(string(letter))); err != nil {
			b.Fatal(err)
		}
		letter++
		if n, err := s.Rewrap(b.Context()); err != nil || n < 20_000 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/20_000, "µs/subject")
}
