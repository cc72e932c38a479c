package app_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// of asks for a consent of a citizen.
func of(c permission.CitizenID) consent.Request {
	r := request()
	r.CitizenID = string(c)
	return r
}

func (w *world) erase(c permission.CitizenID) app.Erased {
	w.t.Helper()
	e, err := w.EraseCitizen(w.ctx, w.app, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// about returns the log about a subject by its name, also once it was erased.
func (w *world) about(subject string) []event.Event {
	w.t.Helper()
	es, next, err := w.store.Events(w.ctx, w.app, store.EventQuery{Subject: subject, Limit: 500})
	if err != nil || next != "" {
		w.t.Fatalf("got next %q, %v", next, err)
	}
	return es
}

// wantLog compares the log about a subject, of which an erased event is in
// brackets.
func (w *world) wantLog(subject string, want ...string) {
	w.t.Helper()
	var got []string
	for _, e := range w.about(subject) {
		if s := string(e.Type); e.Erased {
			got = append(got, "["+s+"]")
		} else {
			got = append(got, s)
		}
		if e.Erased != (len(e.Body) == 0) {
			w.t.Errorf("%s: got erased %v with %d bytes", e.Type, e.Erased, len(e.Body))
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("got the log\n%v, want\n%v", got, want)
	}
}

// wantGone checks that nothing of a citizen can be read.
func (w *world) wantGone(c permission.CitizenID) {
	w.t.Helper()
	_, err := w.store.Citizen(w.ctx, w.app, c)
	wantFault(w.t, err, fault.NotFound, "not_found")
	_, _, err = w.Permissions(w.ctx, w.app, app.CitizenKey{ID: c}, time.Time{})
	wantFault(w.t, err, fault.NotFound, "not_found")
	w.wantNoHistory(c)
	if cs, _, err := w.Consents(w.ctx, w.app, store.ConsentQuery{CitizenID: string(c), Limit: 100}); err != nil || len(cs) != 0 {
		w.t.Errorf("got %d consents, %v, want none", len(cs), err)
	}
}

func (w *world) wantNoHistory(c permission.CitizenID) {
	w.t.Helper()
	ts, err := w.store.Transactions(w.ctx, w.app, c)
	if err != nil && fault.KindOf(err) != fault.NotFound || len(ts) != 0 {
		w.t.Errorf("got %d transactions, %v, want none", len(ts), err)
	}
}

// wantIntact checks the chains, and how much of them was erased.
func (w *world) wantIntact(events, transactions int64) {
	w.t.Helper()
	a, err := w.store.Audit(w.ctx, w.app)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.Events.BrokenAt != "" || a.Transactions.BrokenAt != "" {
		w.t.Errorf("got the chains broken at %q and %q, want them intact", a.Events.BrokenAt, a.Transactions.BrokenAt)
	}
	if a.Events.Erased != events || a.Transactions.Erased != transactions {
		w.t.Errorf("got %d events and %d transactions erased, want %d and %d", a.Events.Erased, a.Transactions.Erased, events, transactions)
	}
}

func TestEraseCitizen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	w.register(subscription.Endpoint{
		Style: subscription.Subscription, Name: "lifecycle", URL: "https://crm.example/life", UpdateType: subscription.EffectivePermission,
		EventTypes: event.Lifecycle(), Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
	})
	c := w.record(by("CRM-1", change(mailing, permission.Granted))).Citizen
	first := w.record(by("CRM-1", change(mailing, permission.Denied))).Transaction
	other := w.record(by("CRM-2", change(mailing, permission.Granted))).Citizen
	open, approved, closed, stays := w.create(of(c.ID)), w.create(of(c.ID)), w.create(of(c.ID)), w.create(of(other.ID))
	if _, err := w.Approve(w.ctx, w.app, string(approved.ID), ""); err != nil {
		t.Fatal(err)
	}
	wantNone(t, w.reject(closed.ID))
	before := w.about(string(c.ID))

	e := w.erase(c.ID)
	if e.Citizen != c.ID || e.At.IsZero() {
		t.Errorf("got %+v, want %s and when", e, c.ID)
	}
	w.wantGone(c.ID)
	_, err := w.store.CitizenByRef(w.ctx, w.app, "CRM-1")
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.store.Transaction(w.ctx, w.app, first.ID())
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.Receipt(w.ctx, w.app, first.ID(), permission.ReceiptForms()[0])
	wantFault(t, err, fault.NotFound, "not_found")
	for _, k := range []consent.Consent{open, approved, closed} {
		_, err := w.Consent(w.ctx, w.app, k.ConsentID)
		wantFault(t, err, fault.NotFound, "not_found")
	}
	const received, created = "[consent.create.received]", "[consent.created]"
	w.wantLog(string(open.ID), received, created, "consent.rejected")
	w.wantLog(string(approved.ID), received, created, "[consent.approved]", "consent.revoked")
	w.wantLog(string(closed.ID), received, created, "[consent.rejected]")
	w.wantLog(string(c.ID), "[permissions.delta]", "[permissions.effective]", "[permissions.delta]", "[permissions.effective]", "citizen.erased")
	log := w.about(string(c.ID))
	last := log[len(log)-1]
	want := fmt.Sprintf(`{"applicationId":%q,"citizenId":%q,"externalRef":"CRM-1","erasedAt":%q}`, w.app, c.ID, event.Format(e.At))
	if string(last.Body) != want || !last.OccurredAt.Equal(e.At) || last.Sequence != int64(len(log)) {
		t.Errorf("got %s as number %d at %v, want %s as number %d at %v", last.Body, last.Sequence, last.OccurredAt, want, len(log), e.At)
	}
	for i, b := range before {
		if l := log[i]; l.ID != b.ID || l.Sequence != b.Sequence || !l.RecordedAt.Equal(b.RecordedAt) {
			t.Errorf("event %d: got %+v, want what it was but for its body: %+v", i, l, b)
		}
	}
	w.wantIntact(2+2+3+3+4-2+2-2, 2)

	// The others are as they were.
	w.wantLog(string(other.ID), "permissions.delta", "permissions.effective")
	w.wantLog(string(stays.ID), "consent.create.received", "consent.created")
	if k, err := w.Consent(w.ctx, w.app, string(stays.ID)); err != nil || k.Status != consent.Awaiting || k.CitizenID != string(other.ID) {
		t.Errorf("got %+v, %v, want it as it was", k, err)
	}

	// Once is for ever, but the reference is free.
	_, err = w.EraseCitizen(w.ctx, w.app, c.ID)
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ID: ptr(string(c.ID)), ExternalRef: ptr("CRM-3")})
	wantFault(t, err, fault.Conflict, "citizen_erased")
	_, err = w.try(permission.Request{CitizenID: ptr(string(c.ID)), Changes: []permission.ChangeDraft{change(mailing, permission.Granted)}})
	wantFault(t, err, fault.NotFound, "not_found")
	again := w.record(by("CRM-1", change(phoning, permission.Granted))).Citizen
	if again.ID == c.ID || again.Version != 1 {
		t.Errorf("got the citizen %s in version %d, want a new one", again.ID, again.Version)
	}
	if _, v := w.now("CRM-1"); len(v.Permissions) != 1 {
		t.Errorf("got %d permissions, want the new one alone", len(v.Permissions))
	}
	w.restart()
	w.wantGone(c.ID)
	_, err = w.EraseCitizen(w.ctx, w.app, "ctz_none")
	wantFault(t, err, fault.NotFound, "not_found")
}

// A consent whose deadline has come has expired, also when nobody has noticed.
func TestEraseCitizen_expiredConsent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		c := w.record(by("CRM-1", change(mailing, permission.Granted))).Citizen
		k := w.create(of(c.ID))
		time.Sleep(ttls.ApprovalTTL)
		w.erase(c.ID)
		w.wantLog(string(k.ID), "[consent.create.received]", "[consent.created]", "[consent.expired]")
		// Nobody hears of anything, so all ended at once.
		w.wantLog(string(c.ID), "[citizen.erased]")
		w.wantIntact(4, 1)
		for _, e := range w.events(w.app) {
			if e.Subject == string(c.ID) || e.Subject == string(k.ID) || !strings.HasPrefix(e.Subject, "erased_") {
				t.Errorf("%s: got the subject %s, want what stands for it", e.Type, e.Subject)
			}
		}
	})
}

// An application knows its own citizens only.
func TestEraseCitizen_ofAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.record(by("CRM-1", change(mailing, permission.Granted))).Citizen
	theirs, _, _ := w.application("Another")
	_, err := w.EraseCitizen(w.ctx, theirs, c.ID)
	wantFault(t, err, fault.NotFound, "not_found")
	if _, err := w.store.Citizen(w.ctx, w.app, c.ID); err != nil {
		t.Error(err)
	}
	// The same ID is free there.
	w.erase(c.ID)
	if _, err := w.CreateCitizen(w.ctx, theirs, app.CitizenDraft{ID: ptr(string(c.ID)), ExternalRef: ptr("CRM-1")}); err != nil {
		t.Error(err)
	}
}

// A keyed request that is repeated after the erasure is a new one: its first
// answer is gone.
func TestEraseCitizen_forgetsAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	ask := func(ref string) (string, error) {
		a, err := w.Record(w.ctx, w.app, caller, by(ref, change(mailing, permission.Granted)), app.Keyed{Key: ref, Route: "POST /t", Body: []byte(ref)}, showRecorded)
		return string(a.Body), err
	}
	askConsent := func(c permission.CitizenID) (string, error) {
		a, err := w.CreateConsent(w.ctx, w.app, of(c), app.Keyed{Key: "k", Route: "POST /c", Body: []byte(c)}, render)
		return string(a.Body), err
	}
	first, err := ask("CRM-1")
	wantNone(t, err)
	other, err := ask("CRM-2")
	wantNone(t, err)
	_, cid, _ := strings.Cut(first, " ")
	consent1, err := askConsent(permission.CitizenID(cid))
	wantNone(t, err)
	if again, err := ask("CRM-1"); err != nil || again != first {
		t.Fatalf("before: got %q, %v, want the first answer %q", again, err, first)
	}
	w.erase(permission.CitizenID(cid))
	if again, err := ask("CRM-1"); err != nil || again == first || strings.Contains(again, cid) {
		t.Errorf("got %q, %v, want another transaction of another citizen than %q", again, err, first)
	}
	if again, err := askConsent(permission.CitizenID(cid)); fault.CodeOf(err) != "citizen_erased" {
		t.Errorf("got %q, %v, want citizen_erased and not the answer %q", again, err, consent1)
	}
	if again, err := ask("CRM-2"); err != nil || again != other {
		t.Errorf("got %q, %v, want the answer of somebody else to stay: %q", again, err, other)
	}
}

// Whatever comes at the same time: the erased one is gone, and what comes after
// it is of somebody new.
func TestEraseCitizen_races(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	for round := range 10 {
		ref := fmt.Sprintf("CRM-%d", round)
		c := w.record(by(ref, change(mailing, permission.Granted))).Citizen
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				if _, err := w.try(by(ref, change(phoning, permission.Granted))); err != nil {
					t.Error(err)
				}
				r := permission.Request{CitizenID: ptr(string(c.ID)), Changes: []permission.ChangeDraft{change(research, permission.Granted)}}
				if _, err := w.try(r); err != nil && fault.KindOf(err) != fault.NotFound {
					t.Error(err)
				}
				if _, err := w.CreateConsent(w.ctx, w.app, of(c.ID), app.Keyed{}, render); err != nil && fault.CodeOf(err) != "citizen_erased" {
					t.Error(err)
				}
				if i%2 == 1 {
					if _, err := w.EraseCitizen(w.ctx, w.app, c.ID); err != nil && fault.KindOf(err) != fault.NotFound {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		_, err := w.store.Citizen(w.ctx, w.app, c.ID)
		wantFault(t, err, fault.NotFound, "not_found")
		w.wantNoHistory(c.ID)
		if ks, _, err := w.store.Consents(w.ctx, w.app, store.ConsentQuery{CitizenID: string(c.ID)}); err != nil || len(ks) > 0 {
			t.Errorf("got %d consents of somebody erased, %v", len(ks), err)
		}
		log := w.about(string(c.ID))
		for i, e := range log {
			if (e.Type == event.CitizenErased) != (i == len(log)-1) || e.Sequence != int64(i+1) {
				t.Errorf("got %s as number %d of %d, want citizen.erased last and once", e.Type, e.Sequence, len(log))
			}
		}
	}
	a, err := w.store.Audit(w.ctx, w.app)
	if err != nil || a.Events.BrokenAt != "" || a.Transactions.BrokenAt != "" {
		t.Errorf("got %+v, %v, want the chains intact", a, err)
	}
}

// An import goes on over the erasure of somebody whom its lines name: what it
// had recorded goes, by the ID nothing more comes, and by the reference somebody
// new.
func TestEraseCitizen_duringImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.record(by("CRM-1", change(mailing, permission.Granted))).Citizen
	byID := fmt.Sprintf(`{"citizenId":%q,"changes":[{"optionId":%q,"justification":"consent","state":"GRANTED"}]}`, c.ID, phoning)
	const half = 5000 // more than a batch
	var all strings.Builder
	for range half {
		fmt.Fprintln(&all, line("CRM-1", research, permission.Granted))
		fmt.Fprintln(&all, byID)
	}
	text := all.String()
	erased := false
	lines := io.MultiReader(strings.NewReader(text), readerFunc(func([]byte) (int, error) {
		if !erased {
			erased = true
			w.erase(c.ID)
		}
		return 0, io.EOF
	}), strings.NewReader(text))
	p, err := w.Import(w.ctx, w.app, caller, app.ImportRequest{Lines: lines, Parse: parseLine})
	if err != nil {
		t.Fatal(err)
	}
	w.wantGone(c.ID)
	fresh, _ := w.now("CRM-1")
	n := int64(len(w.history(fresh.ID)))
	if fresh.ID == c.ID || n < half || n > 2*half || p.Lines != 4*half || p.Recorded+p.Refused != p.Lines || p.Refused < half {
		t.Errorf("got %d transactions of %s and %+v, want at least %d of somebody new", n, fresh.ID, p.Import, half)
	}
	a, err := w.store.Audit(w.ctx, w.app)
	if err != nil || a.Transactions.BrokenAt != "" || a.Transactions.Records-a.Transactions.Erased != n {
		t.Errorf("got %+v, %v, want all but %d transactions erased", a.Transactions, err, n)
	}
	refused, _, err := w.store.ImportErrors(w.ctx, w.app, p.ID, 3, 0)
	if err != nil || len(refused) != 3 {
		t.Fatalf("got %d refusals, %v, want 3", len(refused), err)
	}
	for _, e := range refused {
		if e.Fields[0].Path != "/citizenId" || e.Fields[0].Code != "not_found" {
			t.Errorf("got the refusal %+v, want that there is no such citizen", e)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Whichever call of the store fails, before or after it took effect, an erasure
// happens once and wholly, or not at all.
func TestEraseCitizen_storeThatFails(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after it took effect: %v", after), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			w.hearAll()
			w.store.RunTwice()
			c := w.record(by("CRM-1", change(mailing, permission.Granted))).Citizen
			k := w.create(of(c.ID))
			w.store.FailAt("Update", 1, after)
			_, err := w.EraseCitizen(w.ctx, w.app, c.ID)
			wantFault(t, err, fault.Unavailable, "injected_fault")
			_, err = w.EraseCitizen(w.ctx, w.app, c.ID)
			if after {
				wantFault(t, err, fault.NotFound, "not_found")
			} else {
				wantNone(t, err)
			}
			w.wantGone(c.ID)
			w.wantLog(string(c.ID), "[permissions.delta]", "[permissions.effective]", "citizen.erased")
			w.wantLog(string(k.ID), "[consent.create.received]", "[consent.created]", "[consent.rejected]")
		})
	}
}

// What was erased is neither replayed nor sent again.
func TestEraseCitizen_replays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	e := w.hear(subscription.EffectivePermission)
	c := w.record(by("CRM-1", change(mailing, permission.Granted))).Citizen
	stays := w.record(by("CRM-2", change(mailing, permission.Granted))).Citizen
	gone, kept := w.about(string(c.ID))[0], w.about(string(stays.ID))[0]
	w.erase(c.ID)
	ds, _, err := w.store.Deliveries(w.ctx, w.app, store.DeliveryQuery{EventID: gone.ID, Limit: 10})
	if err != nil || len(ds) != 1 || ds[0].Status != "cancelled" {
		t.Fatalf("got %+v, %v, want one that is cancelled", ds, err)
	}
	_, err = w.Redeliver(w.ctx, w.app, ds[0].ID)
	wantFault(t, err, fault.Conflict, "event_erased")
	_, err = w.Replay(w.ctx, w.app, subscription.Subscription, e.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: []string{kept.ID, gone.ID}}})
	f, is := errors.AsType[*fault.Error](err)
	if !is || f.Kind != fault.Invalid || f.Field != "/eventIds/1" {
		t.Errorf("got %v, want a fault at /eventIds/1", err)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.record(by("CRM-1", change(mailing, permission.Granted)))
	var found store.Audit
	render := func(a store.Audit, at time.Time) ([]byte, error) {
		found = a
		return []byte(event.Format(at)), nil
	}
	a, err := w.Audit(w.ctx, w.app, render)
	if err != nil {
		t.Fatal(err)
	}
	if found.Transactions.Records != 1 || found.Transactions.Head == [32]byte{} || len(a.Body) == 0 || a.Signature == "" {
		t.Errorf("got %+v and %+v, want one transaction, signed", found, a)
	}
	_, err = w.Audit(w.ctx, "app_none", render)
	wantFault(t, err, fault.NotFound, "not_found")
}

// Whoever was merged into a citizen is a part of it, and goes with it, by
// whichever name it is asked for.
func TestEraseCitizen_merged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	a := w.record(by("CRM-A", change(mailing, permission.Granted))).Citizen
	b := w.record(by("CRM-B", change(phoning, permission.Granted))).Citizen
	ofA, ofB := w.create(of(a.ID)), w.create(of(b.ID))
	err := w.store.Update(w.ctx, func(tx store.Tx) error {
		if err := tx.MergeCitizen(w.app, b.ID, a.ID); err != nil {
			return err
		}
		a.Version++
		a.Merged = []store.Merged{{ID: b.ID, ExternalRef: b.ExternalRef, At: a.UpdatedAt}}
		return tx.PutCitizen(a)
	})
	if err != nil {
		t.Fatal(err)
	}
	if e := w.erase(b.ID); e.Citizen != a.ID {
		t.Errorf("got the citizen %s erased, want %s, of which it was a part", e.Citizen, a.ID)
	}
	for i, c := range []store.Citizen{a, b} {
		w.wantGone(c.ID)
		_, err := w.store.CitizenByRef(w.ctx, w.app, c.ExternalRef)
		wantFault(t, err, fault.NotFound, "not_found")
		_, err = w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ID: ptr(string(c.ID)), ExternalRef: ptr("x")})
		wantFault(t, err, fault.Conflict, "citizen_erased")
		k := []consent.Consent{ofA, ofB}[i]
		_, err = w.Consent(w.ctx, w.app, string(k.ID))
		wantFault(t, err, fault.NotFound, "not_found")
	}
	w.wantLog(string(a.ID), "[permissions.delta]", "[permissions.effective]", "citizen.erased")
	w.wantLog(string(b.ID), "[permissions.delta]", "[permissions.effective]")
	for _, ref := range []string{"CRM-A", "CRM-B"} {
		if c := w.record(by(ref, change(mailing, permission.Granted))).Citizen; c.ID == a.ID || c.ID == b.ID {
			t.Errorf("%s: got %s, want somebody new", ref, c.ID)
		}
	}
	w.wantIntact(2+2+3+3, 2)
}

// group links citizens as they are, each with the state that all histories
// together make.
func (w *world) group(refs ...string) {
	w.t.Helper()
	err := w.store.Update(w.ctx, func(tx store.Tx) error {
		var ids []permission.CitizenID
		var all []store.Citizen
		for _, r := range refs {
			c, err := tx.CitizenByRef(w.app, r)
			if err != nil {
				return err
			}
			ids, all = append(ids, c.ID), append(all, c)
		}
		history, err := tx.Transactions(w.app, ids...)
		if err != nil {
			return err
		}
		at := all[len(all)-1].Standing.AsOf // the last that was recorded
		for _, c := range all {
			c.Group, c.Version = "lnk_1", c.Version+1
			c.Standing, _ = c.Standing.Rebuild(history, at)
			if err := tx.PutCitizen(c); err != nil {
				return err
			}
			if err := tx.PutCheckpoint(w.app, store.Checkpoint{Citizen: c.ID, At: at, Standing: c.Standing, Histories: ids}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func options(v permission.View) (out []string) {
	for _, p := range v.Permissions {
		if p.Effective() != "" {
			out = append(out, string(p.Option)+" "+string(p.Effective()))
		}
	}
	return out
}

// What was said under the name of one who is erased counts for nobody any more,
// and those who were linked with it are told.
func TestEraseCitizen_linked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		linked []string
		stays  bool // the group
	}{
		{"of two the other is alone", []string{"CRM-A", "CRM-B"}, false},
		{"of three the others stay linked", []string{"CRM-A", "CRM-B", "CRM-C"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			w.hearAll()
			a := w.record(by("CRM-A", change(mailing, permission.Granted))).Citizen
			w.record(by("CRM-B", change(phoning, permission.Granted)))
			c := w.record(by("CRM-C", change(research, permission.Granted))).Citizen
			w.group(tt.linked...)
			if _, v := w.now("CRM-B"); len(options(v)) != len(tt.linked) {
				t.Fatalf("linked: got %v, want all", options(v))
			}
			e := w.erase(a.ID)
			w.wantGone(a.ID)
			want := []string{phoning + " GRANTED"}
			others := []string{"CRM-B"}
			if tt.stays {
				want, others = append(want, research+" GRANTED"), append(others, "CRM-C")
			}
			for _, ref := range others {
				now, v := w.now(ref)
				if got := options(v); !slices.Equal(got, want) || (now.Group != "") != tt.stays {
					t.Errorf("%s: got %v in the group %q, want %v", ref, got, now.Group, want)
				}
				log := w.about(string(now.ID))
				var types []event.Type
				for _, e := range log[len(log)-2:] {
					types = append(types, e.Type)
				}
				if !slices.Equal(types, []event.Type{event.PermissionsDelta, event.PermissionsEffective}) || len(log) != 4 {
					t.Errorf("%s: got %d events that end with %v, want that it was told", ref, len(log), types)
				}
				if body := string(log[len(log)-1].Body); strings.Contains(body, string(a.ID)) || strings.Contains(body, "CRM-A") || strings.Contains(body, mailing) {
					t.Errorf("%s: got %s, which tells of the erased one", ref, body)
				}
				// What was in force before can still be asked for.
				for _, at := range []time.Time{now.CreatedAt, e.At.Add(-time.Millisecond), e.At, time.Now()} {
					if _, past, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ExternalRef: ref}, at); err != nil || len(options(past)) == 0 {
						t.Errorf("%s at %v: got %v, %v", ref, at, options(past), err)
					}
				}
			}
			w.wantLog(string(a.ID), "[permissions.delta]", "[permissions.effective]", "citizen.erased")
			if !tt.stays {
				w.wantLog(string(c.ID), "permissions.delta", "permissions.effective")
			}
		})
	}
}

// A question that was asked by mail goes with the person, and what was not sent
// of a mail with it.
func TestEraseCitizen_asked(t *testing.T) {
	t.Parallel()
	w := newAsking(t)
	token, made := w.ask(by("CRM-1", change(mailing, permission.Pending)))
	if q := w.question(token); len(q.Options) != 1 {
		t.Fatalf("got %+v, want a question", q)
	}
	w.erase(made.Citizen.ID)
	_, err := w.Question(w.ctx, token)
	wantFault(t, err, fault.NotFound, "not_found")
	wantFault(t, w.Confirm(w.ctx, token), fault.NotFound, "not_found")
	w.wantLog(string(made.Citizen.ID), "[citizen.email]", "citizen.erased")
	_, err = w.store.CitizenByRef(w.ctx, w.app, "CRM-1")
	wantFault(t, err, fault.NotFound, "not_found")
}
