package relational

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// fullTransaction returns a transaction of a citizen in which every field is
// set that one with entries has.
func fullTransaction(citizen permission.CitizenID) permission.Transaction {
	o := &permission.Origin{
		Transaction: "txn_" + permission.TransactionID(citizen), RecordedAt: start, Policy: "pol_1", PolicyRef: "privacy", PolicyVersion: 2,
		Statement: "stm_1", StatementRef: "newsletter", StatementVersion: 3, Channel: "web", Campaign: "campaign-of-it",
		Actor: permission.Actor{
			By: "person-of-it", ByName: "name-of-it", Client: "client-of-it", ClientName: "name-of-it", Authority: "authority-of-it", AuthorityName: "name-of-it",
		},
	}
	return permission.Transaction{
		Citizen: citizen, Origin: o,
		Entries: []permission.Entry{{
			Option: "opt_1", Group: "grp_1", Justification: permission.ByInterest, State: permission.Granted,
			ObtainedAt: start.Add(-time.Minute), ValidFrom: start, ValidUntil: start.Add(time.Hour), Origin: o,
		}},
		Choices: []permission.Choice{{
			Preference: "pace", Label: "label-of-it", Chosen: []permission.Alternative{{Reference: "choice-of-it", Label: "label-of-it"}},
			ObtainedAt: start, Origin: o,
		}},
		Told: []string{"evt_1", "evt_2"},
	}
}

// fullCitizen returns a citizen in which every field is set.
func fullCitizen(app access.ID, id permission.CitizenID) store.Citizen {
	s, _ := permission.Standing{}.Record(fullTransaction(id), start)
	return store.Citizen{
		ID: id, Application: app, ExternalRef: "external-ref-of-" + string(id), Emails: []string{"email-of-it@example.org", "another-email-of-it@example.org"},
		Language: "language-of-it", Standing: s, Version: 1, CreatedAt: start, UpdatedAt: start.Add(time.Minute),
		Group: "lnk_1", Reminded: start.Add(-time.Hour),
		Merged: []store.Merged{{ID: "ctz_0", ExternalRef: "merged-ref-of-" + string(id), At: start}},
	}
}

// permissions gives an application something in every table of permissions and
// mails: the citizen ctz_1 with an event, a transaction, a checkpoint, a question
// asked by mail, and ctz_0 as a part of it; and a configuration with a statement
// of two versions.
func permissions(t testing.TB, s *Store, app access.ID) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			tx.PutPart(app, permission.Part{Kind: permission.Data, ID: "email", Name: "E-mail"}),
			tx.PutOption(app, permission.Option{ID: "opt_1", DataID: "email", PurposeID: "news", PartyID: "us"}),
			tx.PutStatement(app, permission.Statement{ID: "stm_1", Reference: "newsletter", Text: "May we?", Version: 1}),
			tx.PutStatement(app, permission.Statement{ID: "stm_1", Reference: "newsletter", Text: "May we write?", Version: 2}),
			tx.PutTemplate(app, mail.Template{Name: mail.Receipt, Language: "en", Subject: "Yours", UpdatedAt: start}),
			tx.PutTransaction(app, fullTransaction("ctz_1")), tx.PutCitizen(fullCitizen(app, "ctz_1"), someEvent(app, "ctz_1")),
			tx.PutCheckpoint(app, store.Checkpoint{
				Citizen: "ctz_1", At: start, Standing: fullCitizen(app, "ctz_1").Standing, Histories: []permission.CitizenID{"ctz_1", "ctz_of_it"},
			}),
			tx.PutConfirmation(store.Confirmation{Application: app, Citizen: "ctz_1", Transaction: "txn_ctz_1", ExpiresAt: start}, start),
			tx.PutCitizen(fullCitizen(app, "ctz_0")), tx.MergeCitizen(app, "ctz_0", "ctz_1"))
	})
}

// TestDeleteApplication_leavesNothing asks the file which tables there are, so
// that none is forgotten.
func TestDeleteApplication_leavesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	app, _ := world(t, s, 0)
	update(t, s, func(tx store.Tx) error { return tx.PutBin(store.Bin{Name: "bin_1", Application: app}) })
	// rows counts what each table holds of applications and endpoints.
	rows := func() map[string]int {
		counts := map[string]int{}
		err := s.read(t.Context(), func(r *reader) error {
			var tables []string
			err := r.each(func(rows db.Rows) error {
				var name string
				err := rows.Scan(&name)
				tables = append(tables, name)
				return err
			}, "SELECT DISTINCT t.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND c.name IN ('app', 'ep')")
			for _, name := range tables {
				var n int
				err = errors.Join(err, r.get([]any{&n}, "SELECT COUNT(*) FROM "+name))
				counts[name] = n
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return counts
	}
	before := rows()
	for _, name := range []string{
		"configuration", "configuration_former", "part", "citizen", "permission_transaction", "feed_used", "subject", "event",
		"citizen_merged", "checkpoint", "mail_template", "confirmation",
	} {
		if before[name] == 0 {
			t.Errorf("%s holds nothing, so the test proves nothing", name)
		}
	}
	update(t, s, func(tx store.Tx) error { return tx.DeleteApplication(app) })
	for name, n := range rows() {
		if n != 0 {
			t.Errorf("got %d rows left of %d in %s, want none", n, before[name], name)
		}
	}
}

// TestCatalogue_isReadOnce: the configuration is read again only when it was
// changed.
func TestCatalogue_isReadOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	app := addApp(t, s, "app_1")
	read := func() *permission.Catalogue {
		t.Helper()
		c, err := s.Catalogue(t.Context(), app)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	within := func() (c *permission.Catalogue) {
		t.Helper()
		update(t, s, func(tx store.Tx) (err error) {
			c, err = tx.Catalogue(app)
			return err
		})
		return c
	}
	first := read()
	if read() != first || within() != first {
		t.Error("the same configuration was read twice")
	}
	update(t, s, func(tx store.Tx) error { return tx.PutOption(app, permission.Option{ID: "opt_1"}) })
	second := within()
	if second == first || read() != second {
		t.Error("a configuration that changed was not read anew, once")
	}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.PutCitizen(fullCitizen(app, "ctz_1")), tx.PutPart(app, permission.Part{Kind: permission.Data, ID: "email"}))
	})
	if read() != second {
		t.Error("a configuration that did not change was read anew")
	}
	for i := range int64(2 * maxCatalogues) {
		s.asked.put(1000+i, 0, first)
	}
	if n := len(s.asked.apps); n > maxCatalogues {
		t.Errorf("got %d configurations kept, want at most %d", n, maxCatalogues)
	}
	second = read()
	// A reader that is behind does not take away what others read.
	s.asked.put(1, 0, first)
	if read() != second {
		t.Error("a former configuration replaced the current one")
	}
}

// TestRefHash: who can read the file cannot tell that two applications know
// the same person.
func TestRefHash(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if a, b := s.refHash("app_1", "ref"), s.refHash("app_2", "ref"); bytes.Equal(a, b) || !bytes.Equal(a, s.refHash("app_1", "ref")) {
		t.Errorf("got %x and %x, want one for each application", a, b)
	}
}

// benchCatalogue makes a configuration of n options and as many statements.
func benchCatalogue(b *testing.B, s *Store, app access.ID, n int) {
	b.Helper()
	update(b, s, func(tx store.Tx) error {
		var err error
		for i := range n {
			err = errors.Join(err,
				tx.PutOption(app, permission.Option{ID: permission.OptionID(fmt.Sprintf("opt_%d", i)), DataID: "email", PurposeID: "news", PartyID: "us"}),
				tx.PutStatement(app, permission.Statement{ID: permission.StatementID(fmt.Sprintf("stm_%d", i)), Reference: fmt.Sprint(i), Text: "May we?", Version: 1}))
		}
		return err
	})
}

// benchTransaction returns the n-th transaction of a citizen: two of 20 options
// and a preference.
func benchTransaction(citizen permission.CitizenID, n int) permission.Transaction {
	x := fullTransaction(citizen)
	x.Origin.Transaction = permission.TransactionID(fmt.Sprintf("txn_%s_%d", citizen, n))
	x.Origin.RecordedAt = start.Add(time.Duration(n) * time.Second)
	e := x.Entries[0]
	e.ObtainedAt, e.ValidFrom, e.ValidUntil = x.Origin.RecordedAt, x.Origin.RecordedAt, time.Time{}
	x.Entries = nil
	for k := range 2 {
		e.Option, e.Place = permission.OptionID(fmt.Sprintf("opt_%d", (2*n+k)%20)), k
		x.Entries = append(x.Entries, e)
	}
	return x
}

// latencies reports the median and the 99th of a hundred.
func latencies(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkCitizen reads a citizen with 1,000 transactions and its state, which
// must not depend on their number.
func BenchmarkCitizen(b *testing.B) {
	for _, transactions := range []int{10, 1000} {
		b.Run(fmt.Sprintf("transactions=%d", transactions), func(b *testing.B) {
			s := newStore(b)
			app := addApp(b, s, "app_bench")
			c := fullCitizen(app, "ctz_1")
			c.Standing = permission.Standing{}
			update(b, s, func(tx store.Tx) error {
				for n := range transactions {
					x := benchTransaction(c.ID, n)
					c.Standing, _ = c.Standing.Record(x, x.Origin.RecordedAt)
					if err := tx.PutTransaction(app, x); err != nil {
						return err
					}
				}
				return tx.PutCitizen(c)
			})
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				got, err := s.CitizenByRef(context.Background(), app, c.ExternalRef)
				if err != nil || len(got.Standing.Effective(start.Add(time.Hour)).Permissions) != min(20, 2*transactions) {
					b.Fatalf("got %+v, %v, want the citizen's state", got, err)
				}
				took = append(took, time.Since(begin))
			}
			latencies(b, took)
		})
	}
}

// BenchmarkPast reads the state that a citizen with 1,000 transactions had at an
// instant, with a checkpoint every 32 and without any.
func BenchmarkPast(b *testing.B) {
	for _, every := range []int{32, 1001} {
		b.Run(fmt.Sprintf("every=%d", every), func(b *testing.B) {
			s := newStore(b)
			app := addApp(b, s, "app_bench")
			c := fullCitizen(app, "ctz_1")
			c.Standing = permission.Standing{}
			update(b, s, func(tx store.Tx) error {
				for n := range 1000 {
					x := benchTransaction(c.ID, n)
					c.Standing, _ = c.Standing.Record(x, x.Origin.RecordedAt)
					if err := tx.PutTransaction(app, x); err != nil {
						return err
					}
					if (n+1)%every > 0 {
						continue
					}
					err := tx.PutCheckpoint(app, store.Checkpoint{
						Citizen: c.ID, At: x.Origin.RecordedAt, Standing: c.Standing, Histories: []permission.CitizenID{c.ID},
					})
					if err != nil {
						return err
					}
				}
				return tx.PutCitizen(c)
			})
			var took []time.Duration
			n := 0
			for b.Loop() {
				at := start.Add(time.Duration(n*7919%1000) * time.Second)
				begin := time.Now()
				_, tail, err := s.Past(context.Background(), app, c.ID, at)
				took = append(took, time.Since(begin))
				if want := (n*7919%1000 + 1) % every; err != nil || len(tail) != want {
					b.Fatalf("got %d transactions, %v, want %d", len(tail), err, want)
				}
				n++
			}
			latencies(b, took)
		})
	}
}

// BenchmarkRecordTransaction does what the recording of a transaction asks of
// the store, durably, with two events, by citizens that were known before.
func BenchmarkRecordTransaction(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			const citizens = 1000
			var commits atomic.Int64
			s := openStore(b, folder{Dir: b.TempDir(), OnCommit: func(int, time.Duration, error) { commits.Add(1) }})
			app := addApp(b, s, "app_bench")
			benchCatalogue(b, s, app, 100)
			ids := make([]permission.CitizenID, citizens)
			update(b, s, func(tx store.Tx) error {
				for i := range ids {
					ids[i] = permission.CitizenID(fmt.Sprintf("ctz_%d", i))
					if err := tx.PutCitizen(fullCitizen(app, ids[i])); err != nil {
						return err
					}
				}
				return tx.PutEndpoint(benchEndpoint("sub_1", event.PermissionsDelta, event.PermissionsEffective), delivery.Shown{})
			})
			var n atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			commits.Store(0)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for i := int(n.Add(1)); i <= b.N; i = int(n.Add(1)) {
						begin := time.Now()
						if err := benchRecord(s, app, ids[i%citizens], i); err != nil {
							b.Error(err)
							return
						}
						mu.Lock()
						took = append(took, time.Since(begin))
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			latencies(b, took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transactions/s")
			b.ReportMetric(float64(b.N)/float64(max(commits.Load(), 1)), "transactions/commit")
		})
	}
}

// benchRecord records the n-th transaction.
func benchRecord(s *Store, app access.ID, id permission.CitizenID, n int) error {
	x := benchTransaction(id, n)
	now := x.Origin.RecordedAt
	return s.Update(context.Background(), func(tx store.Tx) error {
		if _, err := tx.Catalogue(app); err != nil {
			return err
		}
		c, err := tx.CitizenByRef(app, "external-ref-of-"+string(id))
		if err != nil {
			return err
		}
		next, d := c.Standing.Record(x, now)
		c.Standing = next
		c.Version++
		about := permission.Citizen{Application: string(app), ID: c.ID, ExternalRef: c.ExternalRef}
		evts := []event.Event{permission.DeltaEvent(about, d), permission.EffectiveEvent(about, next.Effective(now), now)}
		for i := range evts {
			if used, err := tx.FeedUsed(app, evts[i].Feed); err != nil || !used {
				return fmt.Errorf("got %t, %w, want the feed used", used, err)
			}
			evts[i].ID, evts[i].RecordedAt = fmt.Sprintf("evt_%d_%d", n, i), now
		}
		return errors.Join(tx.PutTransaction(app, x), tx.PutCitizen(c, evts...))
	})
}
