package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/storetest"
	"github.com/consentwire/consentwire/internal/subscription"
)

func ptr[T any](v T) *T { return &v }

// What configure sets up.
const (
	mailing, phoning, research = "opt-mailing", "opt-phoning", "opt-research"
	contact                    = "grp-contact" // mailing and phoning
)

// configure gives the application options, a group, a preference, a statement
// and a policy.
func (w *world) configure() {
	w.t.Helper()
	for _, o := range []string{mailing, phoning, research} {
		if _, err := w.PutOption(w.ctx, w.app, "", optionDraft(o)); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, put := range []func() error{
		func() error {
			_, err := w.PutGroup(w.ctx, w.app, "", permission.GroupDraft{ID: ptr(contact), Options: []string{mailing, phoning}})
			return err
		},
		func() error { _, err := w.PutPreference(w.ctx, w.app, "", preferenceDraft("topics")); return err },
		func() error { _, err := w.PutStatement(w.ctx, w.app, "", statementDraft("ask", "May we?")); return err },
		func() error {
			_, err := w.PutPolicy(w.ctx, w.app, "", permission.PolicyDraft{Reference: ptr("privacy"), Text: ptr("We care.")})
			return err
		},
	} {
		if err := put(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func optionDraft(oid string) permission.OptionDraft {
	return permission.OptionDraft{ID: &oid, DataID: ptr("email"), PurposeID: ptr("news"), PartyID: ptr("us")}
}

func preferenceDraft(reference string) permission.PreferenceDraft {
	return permission.PreferenceDraft{
		Reference: &reference, Label: ptr("Topics you like"), Type: ptr(permission.MultiChoice),
		Choices: []permission.AlternativeDraft{
			{Reference: ptr("jazz"), Label: ptr("Jazz")}, {Reference: ptr("folk"), Label: ptr("Folk")},
		},
	}
}

func statementDraft(reference, text string) permission.StatementDraft {
	return permission.StatementDraft{Reference: &reference, Text: &text}
}

// hear subscribes to an update type.
func (w *world) hear(u subscription.UpdateType) subscription.Endpoint {
	w.t.Helper()
	return w.register(subscription.Endpoint{
		Style: subscription.Subscription, Name: string(u), URL: "https://crm.example/" + string(u), UpdateType: u,
		Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
	})
}

// hearAll subscribes to what changed and to the full state.
func (w *world) hearAll() {
	w.t.Helper()
	w.hear(subscription.ConsentReceipts)
	w.hear(subscription.EffectivePermission)
}

// change is one by consent.
func change(option string, state permission.State) permission.ChangeDraft {
	return permission.ChangeDraft{OptionID: &option, Justification: ptr(string(permission.ByConsent)), State: ptr(string(state))}
}

// by is a request about the citizen of a reference.
func by(externalRef string, changes ...permission.ChangeDraft) permission.Request {
	return permission.Request{ExternalRef: &externalRef, Changes: changes}
}

var caller = app.Caller{ClientID: "cli_form", Name: "Sign-up form"}

// showRecorded is a face's: the IDs and nothing else.
func showRecorded(r app.Recorded) (app.Answer, error) {
	return app.Answer{Status: 201, Body: []byte(string(r.Transaction.ID()) + " " + string(r.Citizen.ID))}, nil
}

// try records a request without a key.
func (w *world) try(r permission.Request) (app.Recorded, error) {
	var out app.Recorded
	_, err := w.Record(w.ctx, w.app, caller, r, app.Keyed{}, func(made app.Recorded) (app.Answer, error) {
		out = made
		return showRecorded(made)
	})
	return out, err
}

func (w *world) record(r permission.Request) app.Recorded {
	w.t.Helper()
	out, err := w.try(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) history(c permission.CitizenID) []permission.Transaction {
	w.t.Helper()
	ts, err := w.store.Transactions(w.ctx, w.app, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return ts
}

// now returns a citizen and its state by its reference.
func (w *world) now(externalRef string) (store.Citizen, permission.View) {
	w.t.Helper()
	c, v, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ExternalRef: externalRef}, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c, v
}

// told renders an event: its name, the states in its body, and what is chosen.
func (w *world) told(e event.Event) string {
	w.t.Helper()
	var b struct {
		ApplicationID string
		CitizenID     string
		Permissions   []struct {
			OptionID string
			State    *string
		}
		Preferences []struct {
			Preference string
			Choices    []struct{ Reference string }
		}
	}
	if err := json.Unmarshal(e.Body, &b); err != nil {
		w.t.Fatalf("%s: %v in %s", e.Type, err, e.Body)
	}
	if b.CitizenID != e.Subject || b.ApplicationID != e.Application {
		w.t.Errorf("the event of %s of %s tells of %s of %s", e.Subject, e.Application, b.CitizenID, b.ApplicationID)
	}
	words := []string{strings.TrimPrefix(string(e.Type), "permissions.")}
	for _, p := range b.Permissions {
		state := "null"
		if p.State != nil {
			state = *p.State
		}
		words = append(words, strings.TrimPrefix(p.OptionID, "opt-")+"="+state)
	}
	for _, p := range b.Preferences {
		var chosen []string
		for _, c := range p.Choices {
			chosen = append(chosen, c.Reference)
		}
		words = append(words, p.Preference+"="+strings.Join(chosen, "+"))
	}
	return strings.Join(words, " ")
}

// wantTold compares the whole log with what was to be told.
func (w *world) wantTold(want ...string) {
	w.t.Helper()
	var got []string
	for _, e := range w.events(w.app) {
		got = append(got, w.told(e))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("the log tells\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		r := by("crm-1", change(mailing, permission.Granted))
		r.PolicyRef, r.StatementRef, r.Channel = ptr("privacy"), ptr("ask"), ptr("web")
		r.Preferences = []permission.ChoiceDraft{{Preference: ptr("topics"), Choices: []permission.PickDraft{{Reference: ptr("jazz")}}}}
		first := w.record(r)

		o, c := first.Transaction.Origin, first.Citizen
		if o.Actor.Client != caller.ClientID || o.Actor.ClientName != caller.Name || o.PolicyRef != "privacy" || o.Channel != "web" || !o.RecordedAt.Equal(time.Now().Truncate(time.Millisecond)) {
			t.Errorf("got the origin %+v", o)
		}
		if c.ExternalRef != "crm-1" || c.Version != 1 || c.Application != w.app || first.Transaction.Citizen != c.ID || !c.CreatedAt.Equal(o.RecordedAt) {
			t.Errorf("got the citizen %+v", c)
		}
		time.Sleep(time.Minute)
		both := change(contact, permission.Denied)
		both.OptionType = ptr(permission.TypeGroup)
		second := w.record(by("crm-1", both, change(research, permission.Granted)))
		w.wantTold(
			"delta mailing=GRANTED topics=jazz", "effective mailing=GRANTED topics=jazz",
			"delta mailing=DENIED phoning=DENIED research=GRANTED", "effective mailing=DENIED phoning=DENIED research=GRANTED topics=jazz",
		)
		for i, e := range w.events(w.app) {
			at := first.Transaction.Origin.RecordedAt
			if i >= 2 {
				at = second.Transaction.Origin.RecordedAt
			}
			if e.Subject != string(c.ID) || e.Sequence != int64(i+1) || e.ID == "" || !e.OccurredAt.Equal(at) || !e.RecordedAt.Equal(at) {
				t.Errorf("event %d: got %+v, want subject %s, sequence %d, at %s", i, e, c.ID, i+1, at)
			}
		}
		if h := w.history(c.ID); len(h) != 2 || h[0].ID() != first.Transaction.ID() || h[1].ID() != second.Transaction.ID() {
			t.Errorf("got the history %+v, want both in their order", h)
		}
		if kept, _ := w.now("crm-1"); kept.Version != 2 || kept.ID != c.ID || !kept.UpdatedAt.Equal(kept.CreatedAt.Add(time.Minute)) {
			t.Errorf("got %+v, want version 2 of %s, changed a minute later", kept, c.ID)
		}
	})
}

// TestRecord_together: a transaction, its citizen, its marks, its events and
// its answer are one commit.
func TestRecord_together(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	broken := errors.New("the face could not render")
	_, err := w.Record(w.ctx, w.app, caller, by("crm-1", change(mailing, permission.Granted)), app.Keyed{}, func(app.Recorded) (app.Answer, error) {
		return app.Answer{}, broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
	w.wantTold()
	_, _, err = w.Permissions(w.ctx, w.app, app.CitizenKey{ExternalRef: "crm-1"}, time.Time{})
	wantFault(t, err, fault.NotFound, "not_found")
	if archived, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, research); err != nil || archived {
		t.Errorf("got archived %t, %v, want an option that nothing refers to deleted", archived, err)
	}
}

func TestRecord_feedsInUse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  func(*world)
		want []string
	}{
		{"nobody ever asked", func(*world) {}, nil},
		{"receipts", func(w *world) { w.hear(subscription.ConsentReceipts) }, []string{"delta mailing=GRANTED"}},
		{"full states", func(w *world) { w.hear(subscription.EffectivePermission) }, []string{"effective mailing=GRANTED"}},
		{"mails only", func(w *world) { w.hear(subscription.CitizenEmails) }, []string{"citizen.email"}},
		{"a subscription to consents counts by its update type", func(w *world) { w.register(operations()) }, []string{"effective mailing=GRANTED"}},
		{
			"a paused one counts", func(w *world) { w.set(w.hear(subscription.ConsentReceipts), subscription.Paused, false) },
			[]string{"delta mailing=GRANTED"},
		},
		{
			"a deleted one counts", func(w *world) {
				e := w.hear(subscription.EffectivePermission)
				if err := w.DeleteEndpoint(w.ctx, w.app, e.Style, e.ID); err != nil {
					w.t.Fatal(err)
				}
			},
			[]string{"effective mailing=GRANTED"},
		},
		{"another application's does not", func(w *world) {
			mine := w.app
			w.app, _, _ = w.application("Another bank")
			w.hearAll()
			w.app = mine
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure()
			tt.set(w)
			w.record(by("crm-1", change(mailing, permission.Granted)))
			w.wantTold(tt.want...)
		})
	}
}

func TestRecord_refused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	known := w.record(by("crm-1", change(mailing, permission.Granted)))
	w.record(by("crm-2", change(mailing, permission.Granted)))
	other, _, _ := w.application("Another bank")
	elsewhere, err := w.CreateCitizen(w.ctx, other, app.CitizenDraft{ExternalRef: ptr("crm-9")})
	if err != nil {
		t.Fatal(err)
	}
	before := w.events(w.app)
	tests := []struct {
		name   string
		change func(*permission.Request)
		kind   fault.Kind
		code   string
		path   string
	}{
		{"nobody is named", func(r *permission.Request) { r.ExternalRef = nil }, fault.Invalid, "invalid_request", "/externalRef"},
		{"an empty reference", func(r *permission.Request) { r.ExternalRef = ptr("") }, fault.Invalid, "invalid_request", "/externalRef"},
		{"an unknown ID", func(r *permission.Request) { r.ExternalRef, r.CitizenID = nil, ptr("ctz_nobody") }, fault.NotFound, "not_found", "/citizenId"},
		{"an unknown ID with a known reference", func(r *permission.Request) { r.ExternalRef, r.CitizenID = ptr("crm-1"), ptr("ctz_nobody") }, fault.NotFound, "not_found", "/citizenId"},
		{"another application's citizen", func(r *permission.Request) { r.ExternalRef, r.CitizenID = nil, ptr(string(elsewhere.ID)) }, fault.NotFound, "not_found", "/citizenId"},
		{"two citizens", func(r *permission.Request) { r.ExternalRef, r.CitizenID = ptr("crm-2"), ptr(string(known.Citizen.ID)) }, fault.Invalid, "mismatch", "/externalRef"},
		{"an ID and a reference that nobody has", func(r *permission.Request) { r.CitizenID = ptr(string(known.Citizen.ID)) }, fault.Invalid, "mismatch", "/externalRef"},
		{"one bad change of two", func(r *permission.Request) {
			r.Changes = append(r.Changes, change("opt-nothing", permission.Granted))
		}, fault.Invalid, "invalid_request", "/changes/1/optionId"},
		{"a bad change and an unknown citizen", func(r *permission.Request) {
			r.ExternalRef, r.CitizenID = nil, ptr("ctz_nobody")
			r.Changes[0].State = ptr("CLAIMED")
		}, fault.Invalid, "invalid_request", "/changes/0/state"},
	}
	for _, tt := range tests {
		r := by("crm-new", change(research, permission.Granted))
		tt.change(&r)
		_, err := w.try(r)
		wantFault(t, err, tt.kind, tt.code)
		if f, ok := err.(*fault.Error); !ok || f.Field != tt.path {
			t.Errorf("%s: got %v, want a fault at %s", tt.name, err, tt.path)
		}
	}
	if after := w.events(w.app); len(after) != len(before) {
		t.Errorf("got %d events after refusals, want %d", len(after), len(before))
	}
	_, err = w.store.CitizenByRef(w.ctx, w.app, "crm-new")
	wantFault(t, err, fault.NotFound, "not_found")
	if n := len(w.history(known.Citizen.ID)); n != 1 {
		t.Errorf("got %d transactions after refusals, want 1", n)
	}
}

func TestRecord_namesTheCitizen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	made, err := w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ID: ptr("ctz-9f31"), ExternalRef: ptr("crm-1")})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []permission.Request{
		{ExternalRef: ptr("crm-1")}, {CitizenID: ptr("ctz-9f31")}, {ExternalRef: ptr("crm-1"), CitizenID: ptr("ctz-9f31")},
	} {
		r.Changes = []permission.ChangeDraft{change(mailing, permission.Granted)}
		if got := w.record(r); got.Citizen.ID != made.ID || got.Transaction.Citizen != made.ID {
			t.Errorf("got %s, want %s", got.Citizen.ID, made.ID)
		}
	}
	if c, _ := w.now("crm-1"); c.Version != 4 || len(w.history(made.ID)) != 3 {
		t.Errorf("got version %d with %d transactions, want 4 with 3", c.Version, len(w.history(made.ID)))
	}
}

func TestRecord_idempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	r := by("crm-1", change(mailing, permission.Granted))
	k := app.Keyed{Key: "k", Route: "POST /v1/permissions/transactions", Body: []byte(`{"a":1}`)}
	first, err := w.Record(w.ctx, w.app, caller, r, k, showRecorded)
	if err != nil {
		t.Fatal(err)
	}
	again := func(when string) {
		t.Helper()
		got, err := w.Record(w.ctx, w.app, caller, r, k, func(app.Recorded) (app.Answer, error) {
			t.Errorf("%s: a repeat was rendered anew", when)
			return app.Answer{}, nil
		})
		if err != nil || got.Status != first.Status || !bytes.Equal(got.Body, first.Body) {
			t.Errorf("%s: got %d %s, %v, want %d %s", when, got.Status, got.Body, err, first.Status, first.Body)
		}
	}
	again("at once")
	if archived, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, mailing); err != nil || !archived {
		t.Fatalf("got archived %t, %v, want it archived", archived, err)
	}
	again("when the request would be refused by now")
	w.restart()
	again("after a restart")

	other := k
	other.Body = []byte(`{"a": 1}`)
	_, err = w.Record(w.ctx, w.app, caller, r, other, showRecorded)
	wantFault(t, err, fault.Unprocessable, "idempotency_key_reused")

	// A refusal is not kept: the mended request passes under the key.
	bad := app.Keyed{Key: "k2", Route: k.Route, Body: []byte("bad")}
	_, err = w.Record(w.ctx, w.app, caller, r, bad, showRecorded)
	wantFault(t, err, fault.Invalid, "invalid_request") // archived
	good := app.Keyed{Key: "k2", Route: k.Route, Body: []byte("good")}
	_, err = w.Record(w.ctx, w.app, caller, by("crm-2", change(phoning, permission.Denied)), good, showRecorded)
	wantNone(t, err)
	w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "delta phoning=DENIED", "effective phoning=DENIED")
}

func TestRecord_idempotencyWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	k := app.Keyed{Key: "k", Route: "POST /v1/permissions/transactions", Body: []byte("{}")}
	r := by("crm-1", change(mailing, permission.Granted))
	_, err := w.Record(w.ctx, w.app, caller, r, k, func(made app.Recorded) (app.Answer, error) {
		_, err := w.Record(w.ctx, w.app, caller, r, k, showRecorded) // comes before the first has ended
		wantFault(t, err, fault.Conflict, "idempotency_in_progress")
		return showRecorded(made)
	})
	wantNone(t, err)
	_, err = w.Record(w.ctx, w.app, caller, r, k, showRecorded)
	wantNone(t, err)
	if c, _ := w.now("crm-1"); len(w.history(c.ID)) != 1 {
		t.Errorf("got %d transactions, want 1", len(w.history(c.ID)))
	}
}

// TestRecord_manyAtOnce: fifty transactions name a new citizen at once. It is
// made once, all are kept, and the history, its times and what was told agree
// on one order.
func TestRecord_manyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	const n = 50
	var mu sync.Mutex
	citizens := map[permission.CitizenID]int{}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			r, err := w.try(by("crm-1", change([]string{mailing, phoning}[i%2], permission.Granted)))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			citizens[r.Citizen.ID]++
		})
	}
	close(start)
	wg.Wait()
	c, v := w.now("crm-1")
	if len(citizens) != 1 || citizens[c.ID] != n || c.Version != n {
		t.Errorf("got the citizens %v and version %d, want one with %d of each", citizens, c.Version, n)
	}
	h := w.history(c.ID)
	log := w.events(w.app)
	if len(h) != n || len(log) != 2*n {
		t.Fatalf("got %d transactions and %d events, want %d and twice that", len(h), len(log), n)
	}
	for i, tr := range h {
		if i > 0 && tr.Origin.RecordedAt.Before(h[i-1].Origin.RecordedAt) {
			t.Errorf("transaction %d was recorded at %s, before the one before it", i, tr.Origin.RecordedAt)
		}
		for _, e := range log[2*i : 2*i+2] {
			if !bytes.Contains(e.Body, []byte(tr.ID())) {
				t.Errorf("transaction %d, %s: got told %s", i, tr.ID(), e.Body)
			}
		}
	}
	who := permission.Citizen{Application: string(w.app), ID: c.ID, ExternalRef: "crm-1"}
	if want := permission.EffectiveBody(who, v); !bytes.Equal(log[len(log)-1].Body, want) {
		t.Errorf("the last full state told is\n%s\nwant\n%s", log[len(log)-1].Body, want)
	}
}

// TestRecord_lateArrival: an answer that something later has overtaken is kept
// and changes nothing in force: there is no delta to tell, and the full state
// is told as after every transaction. One that is in force again later is told
// then.
func TestRecord_lateArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		noon := time.Now().UTC()
		granted := change(mailing, permission.Granted)
		granted.ObtainedAt, granted.ValidUntil = ptr(noon.Add(-time.Hour)), ptr(noon.Add(time.Hour))
		w.record(by("crm-1", granted))

		late := change(mailing, permission.Denied)
		late.ObtainedAt = ptr(noon.Add(-2 * time.Hour))
		r := w.record(by("crm-1", late))
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "effective mailing=GRANTED")
		if h := w.history(r.Citizen.ID); len(h) != 2 || h[1].ID() != r.Transaction.ID() {
			t.Errorf("got %d transactions, want the late one kept", len(h))
		}

		// With another change that counts, the delta holds that one only.
		w.record(by("crm-1", late, change(phoning, permission.Granted)))
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "effective mailing=GRANTED",
			"delta phoning=GRANTED", "effective mailing=GRANTED phoning=GRANTED")

		time.Sleep(time.Hour)
		if _, err := w.AdvanceDue(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "effective mailing=GRANTED",
			"delta phoning=GRANTED", "effective mailing=GRANTED phoning=GRANTED",
			"delta mailing=DENIED", "effective mailing=DENIED phoning=GRANTED")
	})
}

// TestRecord_overdue: what lapsed and nobody has noticed yet is told before the
// transaction, as an update of its own.
func TestRecord_overdue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		until := time.Now().UTC().Add(time.Hour)
		c := change(mailing, permission.Granted)
		c.ValidUntil = &until
		w.record(by("crm-1", c))
		time.Sleep(2 * time.Hour)
		r := w.record(by("crm-1", change(phoning, permission.Denied)))
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "delta mailing=null", "effective mailing=null",
			"delta phoning=DENIED", "effective mailing=null phoning=DENIED")
		for i, e := range w.events(w.app)[2:] {
			occurred := until
			if i >= 2 {
				occurred = r.Transaction.Origin.RecordedAt
			}
			if !e.OccurredAt.Equal(occurred) || !e.RecordedAt.Equal(r.Transaction.Origin.RecordedAt) {
				t.Errorf("event %d occurred at %s and was recorded at %s, want %s and %s", i+2, e.OccurredAt, e.RecordedAt, occurred, r.Transaction.Origin.RecordedAt)
			}
		}
		if r.Citizen.Version != 3 {
			t.Errorf("got version %d after a transaction, a lapse and a transaction, want 3", r.Citizen.Version)
		}
	})
}

func TestRevertTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	w.record(by("crm-1", change(mailing, permission.Granted)))
	second := w.record(by("crm-1", change(mailing, permission.Denied), change(phoning, permission.Granted)))
	id := second.Transaction.ID()

	other, _, _ := w.application("Another bank")
	_, err := w.RevertTransaction(w.ctx, other, caller, id)
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.RevertTransaction(w.ctx, w.app, caller, "txn_nothing")
	wantFault(t, err, fault.NotFound, "not_found")

	undone, err := w.RevertTransaction(w.ctx, w.app, caller, id)
	if err != nil {
		t.Fatal(err)
	}
	if tr := undone.Transaction; tr.Reverts != id || tr.Citizen != second.Citizen.ID || tr.Origin.Actor.Client != caller.ClientID || undone.Citizen.Version != 3 {
		t.Errorf("got %+v in version %d, want a reversion of %s by %s in version 3", tr, undone.Citizen.Version, id, caller.ClientID)
	}
	_, err = w.RevertTransaction(w.ctx, w.app, caller, id)
	wantFault(t, err, fault.Conflict, "transaction_reverted")
	if _, err := w.RevertTransaction(w.ctx, w.app, caller, undone.Transaction.ID()); err != nil {
		t.Fatal(err)
	}
	w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED",
		"delta mailing=DENIED phoning=GRANTED", "effective mailing=DENIED phoning=GRANTED",
		"delta mailing=GRANTED phoning=null", "effective mailing=GRANTED phoning=null",
		"delta mailing=DENIED phoning=GRANTED", "effective mailing=DENIED phoning=GRANTED")
	if n := len(w.history(second.Citizen.ID)); n != 4 {
		t.Errorf("got a history of %d, want 4: nothing goes", n)
	}
}

// TestRevertTransaction_overdue: what lapsed and nobody has noticed yet is told
// before the reversion.
func TestRevertTransaction_overdue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		until := time.Now().UTC().Add(time.Hour)
		c := change(mailing, permission.Granted)
		c.ValidUntil = &until
		w.record(by("crm-1", c))
		second := w.record(by("crm-1", change(phoning, permission.Granted)))
		time.Sleep(2 * time.Hour)
		if _, err := w.RevertTransaction(w.ctx, w.app, caller, second.Transaction.ID()); err != nil {
			t.Fatal(err)
		}
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED",
			"delta phoning=GRANTED", "effective mailing=GRANTED phoning=GRANTED",
			"delta mailing=null", "effective mailing=null phoning=GRANTED",
			"delta phoning=null", "effective mailing=null phoning=null")
		if e := w.events(w.app)[4]; !e.OccurredAt.Equal(until) {
			t.Errorf("the lapse occurred at %s, want %s", e.OccurredAt, until)
		}
	})
}

// lagging is a store to which each write takes a while to come. The use cases
// over it have read the clock by then, as on a node whose clock is behind.
type lagging struct {
	store.Store
	by time.Duration
}

func (l lagging) Update(ctx context.Context, fn func(store.Tx) error) error {
	time.Sleep(l.by)
	return l.Store.Update(ctx, fn)
}

// TestRecord_clockThatLags: the history of a citizen is in the order of its
// commits, whatever the clocks of those who record.
func TestRecord_clockThatLags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		behind := *w
		behind.App = app.New(app.Options{Store: lagging{w.store, time.Second}, Policy: ttls, Operator: operator})
		var second app.Recorded
		var wg sync.WaitGroup
		wg.Go(func() { second = behind.record(by("crm-1", change(mailing, permission.Denied))) })
		time.Sleep(500 * time.Millisecond)
		first := w.record(by("crm-1", change(mailing, permission.Granted)))
		wg.Wait()
		at := first.Transaction.Origin.RecordedAt
		if got := second.Transaction.Origin.RecordedAt; !got.Equal(at) || !second.Transaction.Entries[0].ObtainedAt.Equal(at) {
			t.Errorf("the second was recorded at %s, want %s, when the first was", got, at)
		}
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "delta mailing=DENIED", "effective mailing=DENIED")
		for i, e := range w.events(w.app) {
			if !e.OccurredAt.Equal(at) || !e.RecordedAt.Equal(at) {
				t.Errorf("event %d occurred at %s and was recorded at %s, want %s", i, e.OccurredAt, e.RecordedAt, at)
			}
		}
		for d, want := range map[time.Duration]int{-time.Millisecond: 0, 0: 1} {
			_, v, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ExternalRef: "crm-1"}, at.Add(d))
			if err != nil || len(v.Permissions) != want {
				t.Errorf("at the first's recordedAt and %s: got %d permissions, %v, want %d", d, len(v.Permissions), err, want)
			}
		}
	})
}

// writes are the use cases about citizens and their configuration, to be run
// under a store that misbehaves. Each changes the world once, however often it
// is called; trace shows the change.
var writes = []struct {
	name   string
	do     func(*world) error
	repeat string // the code of a repeat that comes after it took effect; empty: it passes
	trace  func(*world) string
	given  func(*world) // what the world has besides; nil: nothing
}{
	{
		"record", func(w *world) error {
			_, err := w.Record(w.ctx, w.app, caller, by("crm-new", change(research, permission.Granted)), app.Keyed{Key: "k", Route: "r"}, showRecorded)
			return err
		}, "", (*world).traceLog, nil,
	},
	{
		"revert", func(w *world) error {
			c, _ := w.now("crm-1")
			_, err := w.RevertTransaction(w.ctx, w.app, caller, w.history(c.ID)[0].ID())
			return err
		}, "transaction_reverted", (*world).traceLog, nil,
	},
	{
		"advance", func(w *world) error { _, err := w.AdvanceDue(w.ctx); return err }, "", (*world).traceLog, nil,
	},
	{
		"create a citizen", func(w *world) error {
			_, err := w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ExternalRef: ptr("crm-2")})
			return err
		}, "external_ref_taken", (*world).traceCitizens, nil,
	},
	{
		"edit a citizen", func(w *world) error {
			c, _ := w.now("crm-1")
			_, err := w.EditCitizen(w.ctx, w.app, c.ID, func(store.Citizen) (app.CitizenDraft, error) {
				return app.CitizenDraft{ExternalRef: ptr("crm-1"), Emails: []string{"ana@example.org"}}, nil
			})
			return err
		}, "", (*world).traceCitizens, nil,
	},
	{
		"link", func(w *world) error {
			_, err := w.Link(w.ctx, w.app, w.citizenID("crm-1"), ref("crm-2"))
			return err
		}, "", (*world).traceLinks, (*world).second,
	},
	{
		"unlink", func(w *world) error {
			_, err := w.Unlink(w.ctx, w.app, w.citizenID("crm-1"), ref("crm-2"))
			return err
		}, app.CodeNotLinked, (*world).traceLinks, (*world).linkedSecond,
	},
	{
		"merge", func(w *world) error {
			_, err := w.Merge(w.ctx, w.app, w.citizenID("crm-1"), ref("crm-2"))
			return err
		}, "", (*world).traceLinks, (*world).second,
	},
	{
		"record for one who is linked", func(w *world) error {
			_, err := w.Record(w.ctx, w.app, caller, by("crm-1", change(research, permission.Granted)), app.Keyed{Key: "k", Route: "r"}, showRecorded)
			return err
		}, "", (*world).traceLinks, (*world).linkedSecond,
	},
	{
		"make an option", func(w *world) error { _, err := w.PutOption(w.ctx, w.app, "", optionDraft("opt-new")); return err },
		"reference_taken", (*world).traceCatalogue, nil,
	},
	{
		"change a statement", func(w *world) error {
			_, err := w.PutStatement(w.ctx, w.app, w.catalogue().Statements()[0].ID, statementDraft("ask", "May we please?"))
			return err
		}, "", (*world).traceCatalogue, nil,
	},
	{
		"remove an option", func(w *world) error {
			_, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, research)
			return err
		}, "not_found", (*world).traceCatalogue, nil,
	},
	{
		"archive an option", func(w *world) error {
			_, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, mailing)
			return err
		}, "", (*world).traceCatalogue, nil,
	},
}

func (w *world) traceLog() string {
	w.t.Helper()
	var b strings.Builder
	for _, e := range w.events(w.app) {
		fmt.Fprintln(&b, e.Sequence, w.told(e))
	}
	c, _ := w.now("crm-1")
	fmt.Fprintln(&b, c.Version, len(w.history(c.ID)))
	return b.String()
}

func (w *world) traceCitizens() string {
	w.t.Helper()
	page, _, err := w.store.Citizens(w.ctx, w.app, store.CitizenQuery{Limit: 10})
	if err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for _, c := range page {
		fmt.Fprintln(&b, c.ExternalRef, c.Emails, c.Version)
	}
	return b.String()
}

// second makes another citizen, who is reminded of nothing.
func (w *world) second() { w.record(by("crm-2", change(phoning, permission.Granted))) }

func (w *world) linkedSecond() {
	w.second()
	w.bind(w.Link, "crm-1", "crm-2")
}

// traceLinks is traceLog with who is linked with whom, what is a part of whom,
// and what each state was at each step.
func (w *world) traceLinks() string {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprint(&b, w.traceLog())
	for _, name := range []string{"crm-1", "crm-2"} {
		tied, err := w.Tied(w.ctx, w.app, w.citizenID(name))
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprint(&b, name, " is ", tied.ExternalRef, " ", tied.Version, tied.Group != "")
		for _, c := range tied.Links {
			fmt.Fprint(&b, " linked with ", c.ExternalRef)
		}
		for _, c := range tied.Merged {
			fmt.Fprint(&b, " with the part ", c.ExternalRef)
		}
		fmt.Fprintln(&b)
		for _, x := range w.history(tied.ID) {
			_, v, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: tied.ID}, x.Origin.RecordedAt)
			fmt.Fprintln(&b, len(x.Told), options(v), err)
		}
	}
	return b.String()
}

func (w *world) catalogue() *permission.Catalogue {
	w.t.Helper()
	c, err := w.store.Catalogue(w.ctx, w.app)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) traceCatalogue() string {
	w.t.Helper()
	c := w.catalogue()
	var b strings.Builder
	for _, o := range c.Options() {
		fmt.Fprintln(&b, o.ID, o.Used, o.Archived())
	}
	for _, s := range c.Statements() {
		fmt.Fprintln(&b, s.Reference, s.Text, s.Version)
	}
	return b.String()
}

// lived is a world in which every write has something to do: a permission has
// lapsed an hour ago, and nobody noticed.
func lived(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	c := change(mailing, permission.Granted)
	c.ValidUntil = ptr(time.Now().Add(time.Hour))
	w.record(by("crm-1", c))
	time.Sleep(2 * time.Hour)
	return w
}

func TestApp_permissionsAndAStoreThatRunsTwice(t *testing.T) {
	t.Parallel()
	for _, tt := range writes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				once, twice := lived(t), lived(t)
				if tt.given != nil {
					tt.given(once)
					tt.given(twice)
				}
				twice.store.RunTwice()
				wantNone(t, tt.do(once))
				wantNone(t, tt.do(twice))
				if got, want := tt.trace(twice), tt.trace(once); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

func TestApp_permissionsAndAStoreThatFails(t *testing.T) {
	t.Parallel()
	for _, tt := range writes {
		for _, after := range []bool{false, true} {
			name := tt.name + " fails before it takes effect"
			if after {
				name = tt.name + " takes effect, but its answer is lost"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					whole, w := lived(t), lived(t)
					if tt.given != nil {
						tt.given(whole)
						tt.given(w)
					}
					before := tt.trace(w)
					wantNone(t, tt.do(whole))
					done := tt.trace(whole)
					if done == before {
						t.Fatalf("%s leaves no trace", tt.name)
					}

					w.store.FailAt("Update", 1, after)
					wantFault(t, tt.do(w), fault.Unavailable, storetest.Injected)
					want := before
					if after {
						want = done
					}
					if got := tt.trace(w); got != want {
						t.Errorf("after the fault: got\n%s\nwant\n%s", got, want)
					}
					err := tt.do(w) // the caller tries again
					if after && tt.repeat != "" {
						if fault.CodeOf(err) != tt.repeat {
							t.Errorf("got %v for the repeat, want %s", err, tt.repeat)
						}
					} else {
						wantNone(t, err)
					}
					if got := tt.trace(w); got != done {
						t.Errorf("after the repeat: got\n%s\nwant\n%s", got, done)
					}
				})
			})
		}
	}
}

// TestApp_permissionsAndReadsThatFail: a store that cannot look is no "there is
// none".
func TestApp_permissionsAndReadsThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := lived(t)
		c, _ := w.now("crm-1")
		reads := []struct {
			call string
			do   func() error
		}{
			{"DueCitizens", func() error { _, err := w.AdvanceDue(w.ctx); return err }},
			{"NextLapse", func() error { _, err := w.AdvanceDue(w.ctx); return err }},
			{"CitizenByRef", func() error {
				_, _, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ExternalRef: "crm-1"}, time.Time{})
				return err
			}},
			{"Citizen", func() error {
				_, _, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: c.ID}, time.Time{})
				return err
			}},
			{"Past", func() error {
				_, _, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: c.ID}, c.CreatedAt.Add(-time.Second))
				return err
			}},
		}
		for _, r := range reads {
			w.store.FailAt(r.call, 1, false)
			wantFault(t, r.do(), fault.Unavailable, storetest.Injected)
			wantNone(t, r.do())
		}
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED", "delta mailing=null", "effective mailing=null")
	})
}
