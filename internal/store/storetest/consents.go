package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
)

func conID(n string) consent.ID { return consent.ID("con_" + n) }

func consentRoundTrip(t *testing.T, r *room) {
	r.apps()
	data := consent.Consent{
		ID: "con_1", ConsentID: "urn:bank:☃-1", Application: string(app1), Type: consent.Data, Status: consent.PartiallyAccepted, Version: 7,
		Permissions: []string{"ACCOUNTS_READ", "RESOURCES_READ"}, LoggedUser: consent.Document{Identification: "12345678901", Rel: "CPF"},
		BusinessEntity: &consent.Document{Identification: "12345678000190", Rel: "CNPJ"}, CitizenID: "ctz-1",
		Approvers: 3, ApprovedBy: []string{"", "a ☃"},
		CreatedAt: t0, StatusUpdatedAt: minute(1), AuthorisedAt: minute(2), ConsumedAt: minute(3), ExpiresAt: minute(4).Add(time.Millisecond),
		Deadline: minute(5), ApprovalDeadline: minute(6), ApproversDeadline: minute(7), ConsumeDeadline: minute(8),
		Rejection:  &consent.Rejection{By: "TPP", Code: "X", AdditionalInformation: "why\u2028"},
		Extensions: []consent.Extension{{RequestedAt: minute(1), ExpiresAt: minute(2)}, {RequestedAt: minute(3), PreviousExpiresAt: minute(2)}},
	}
	payment := consent.Consent{
		ID: "con_2", ConsentID: "urn:bank:2", Application: string(app1), Type: consent.Payment, Status: consent.Awaiting, Version: 1,
		LoggedUser: consent.Document{Identification: "12345678901", Rel: "CPF"}, Approvers: 1,
		Payment:   &consent.Money{Type: "PIX", Currency: "BRL", Amount: "1234567890123456.00"},
		Creditor:  &consent.Creditor{PersonType: "PESSOA_NATURAL", CpfCnpj: "12345678901", Name: "Zé"},
		CreatedAt: t0, StatusUpdatedAt: t0,
	}
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutConsent(data), tx.PutConsent(payment)) })
	for _, want := range []consent.Consent{data, payment} {
		for _, ref := range []string{string(want.ID), want.ConsentID} {
			got, err := r.Store.Consent(r.ctx, app1, ref)
			r.must(err)
			r.same("a consent by "+ref, got, want)
		}
	}
	for _, ref := range []string{"", "con_3", "con", "CON_1", "urn:bank:3"} {
		_, err := r.Store.Consent(r.ctx, app1, ref)
		r.notFound(fmt.Sprintf("a consent by %q", ref), err)
	}
	data.Status, data.Version, data.Rejection, data.Deadline, data.ApprovedBy = consent.Authorised, 8, nil, time.Time{}, nil
	r.update(func(tx store.Tx) error { return tx.PutConsent(data) })
	got, err := r.Store.Consent(r.ctx, app1, "con_1")
	r.must(err)
	r.same("an updated consent", got, data)
	if n := len(r.events(app1)); n != 0 {
		t.Errorf("got %d events of consents that were put without any", n)
	}
}

func consentPages(t *testing.T, r *room) {
	r.apps()
	const n = 25
	var ids []consent.ID // newest first
	for i := range n {
		id := consent.ID(fmt.Sprintf("con_%c%02d", 'z'-i, i)) // the order of IDs is another
		c := r.dataConsent(app1, id, minute(i/5))             // and many have the same time
		switch i % 4 {
		case 1:
			c.Status = consent.Authorised
		case 2:
			c.Status = consent.Revoked
		}
		if i%3 == 0 {
			c.Type = consent.Payment
		}
		c.CitizenID = []string{"", "ctz-a", "ctz-b"}[i%3]
		r.update(func(tx store.Tx) error { return tx.PutConsent(c) })
		ids = append([]consent.ID{id}, ids...)
	}
	r.update(func(tx store.Tx) error { return tx.PutConsent(r.dataConsent(app2, "con_other", minute(3))) })
	c, err := r.Store.Consent(r.ctx, app1, string(ids[n-1]))
	r.must(err)
	r.update(func(tx store.Tx) error { return tx.PutConsent(c) }) // an update moves nothing

	pick := func(keep func(i int) bool) []consent.ID {
		var out []consent.ID
		for at, id := range ids {
			if keep(n - 1 - at) {
				out = append(out, id)
			}
		}
		return out
	}
	tests := []struct {
		name string
		q    store.ConsentQuery
		keep func(i int) bool
	}{
		{"all", store.ConsentQuery{}, func(int) bool { return true }},
		{"by one state", store.ConsentQuery{Lifecycle: []consent.Status{consent.Authorised}}, func(i int) bool { return i%4 == 1 }},
		{"by two states", store.ConsentQuery{Lifecycle: []consent.Status{consent.Revoked, consent.Authorised}}, func(i int) bool { return i%4 == 1 || i%4 == 2 }},
		{"by a state that none has", store.ConsentQuery{Lifecycle: []consent.Status{consent.Expired}}, func(int) bool { return false }},
		{"by type", store.ConsentQuery{Type: consent.Payment}, func(i int) bool { return i%3 == 0 }},
		{"by citizen", store.ConsentQuery{CitizenID: "ctz-b"}, func(i int) bool { return i%3 == 2 }},
		{"by citizen and state", store.ConsentQuery{CitizenID: "ctz-a", Lifecycle: []consent.Status{consent.Awaiting}}, func(i int) bool { return i%3 == 1 && (i%4 == 0 || i%4 == 3) }},
		{"by a citizen unknown", store.ConsentQuery{CitizenID: "ctz-z"}, func(int) bool { return false }},
	}
	for _, tt := range tests {
		for _, limit := range []int{1, 5, 7, n, 100} {
			tt.q.Limit, tt.q.After = limit, ""
			var got []consent.ID
			for range n + 2 {
				cs, next, err := r.Store.Consents(r.ctx, app1, tt.q)
				r.must(err)
				for _, c := range cs {
					got = append(got, c.ID)
				}
				if len(cs) > limit || next != "" && len(cs) < limit {
					t.Errorf("%s: got a page of %d of %d with a next one", tt.name, len(cs), limit)
				}
				if tt.q.After = next; next == "" {
					break
				}
			}
			if want := pick(tt.keep); !slices.Equal(got, want) || tt.q.After != "" {
				t.Errorf("%s, %d a page: got %v, want %v", tt.name, limit, got, want)
			}
		}
	}
	for _, after := range []string{"?", "1 OR 1=1", "\x00"} {
		_, _, err := r.Store.Consents(r.ctx, app1, store.ConsentQuery{Limit: 5, After: after})
		r.at(fmt.Sprintf("consents after %q", after), err, "after")
	}

	// What is made while one pages does not disturb the pages.
	cs, next, err := r.Store.Consents(r.ctx, app1, store.ConsentQuery{Limit: 5})
	r.must(err)
	r.update(func(tx store.Tx) error { return tx.PutConsent(r.dataConsent(app1, "con_new", minute(99))) })
	more, _, err := r.Store.Consents(r.ctx, app1, store.ConsentQuery{Limit: 5, After: next})
	r.must(err)
	if cs[4].ID != ids[4] || more[0].ID != ids[5] {
		t.Errorf("got %s, then %s, want %s, then %s", cs[4].ID, more[0].ID, ids[4], ids[5])
	}
}

func deadlines(t *testing.T, r *room) {
	r.apps()
	next := func(want time.Time) {
		t.Helper()
		got, err := r.Store.NextDeadline(r.ctx)
		r.must(err)
		r.same("the next deadline", got, want)
	}
	next(time.Time{})
	put := func(app access.ID, id consent.ID, deadline time.Time) {
		c := r.dataConsent(app, id, t0)
		c.Deadline = deadline
		r.update(func(tx store.Tx) error { return tx.PutConsent(c) })
	}
	put(app1, "con_b", minute(20))
	put(app2, "con_c", minute(10))
	put(app1, "con_a", minute(30))
	put(app1, "con_never", time.Time{})
	next(minute(10))
	ref := func(app access.ID, id consent.ID) store.ConsentRef { return store.ConsentRef{Application: app, ID: id} }
	tests := []struct {
		name  string
		at    time.Time
		limit int
		want  []store.ConsentRef
	}{
		{"a moment before the first", minute(10).Add(-time.Millisecond), 10, nil},
		{"at the first", minute(10), 10, []store.ConsentRef{ref(app2, "con_c")}},
		{"at the last, earliest first", minute(30), 10, []store.ConsentRef{ref(app2, "con_c"), ref(app1, "con_b"), ref(app1, "con_a")}},
		{"no more than asked for", minute(9999), 2, []store.ConsentRef{ref(app2, "con_c"), ref(app1, "con_b")}},
	}
	for _, tt := range tests {
		got, err := r.Store.DueConsents(r.ctx, tt.at, tt.limit)
		r.must(err)
		r.same(tt.name, got, tt.want)
	}
	put(app2, "con_c", time.Time{}) // it was decided
	next(minute(20))
	put(app1, "con_b", minute(40))
	next(minute(30))
}

func eventRoundTrip(t *testing.T, r *room) {
	r.apps()
	c := r.dataConsent(app1, "con_1", t0)
	want := []event.Event{r.event(app1, "con_1", event.ConsentCreateReceived), r.event(app1, "con_1", event.ConsentCreated)}
	r.update(func(tx store.Tx) error { return tx.PutConsent(c, want...) })
	other := r.event(app1, "sub_1", event.WebhookStatusChanged)
	other.Except = "sub_1"
	big := r.event(app1, "ctz ☃", event.PermissionsDelta)
	big.Body = append(append([]byte(`{"x":"`), slices.Repeat([]byte("☃"), 100_000)...), `"}`...)
	again := r.event(app1, "con_1", event.ConsentApproved)
	again.OccurredAt = t0.Add(-time.Hour) // what was found late
	r.update(func(tx store.Tx) error { return tx.Publish(other, big, again) })
	want = append(want, other, big, again)
	for i, sequence := range []int64{1, 2, 1, 1, 3} {
		want[i].Seq, want[i].Sequence = event.Seq(i+1), sequence
		got, err := r.Store.Event(r.ctx, app1, want[i].ID)
		r.must(err)
		r.same("an event", got, want[i])
	}
	for _, id := range []string{"", "evt_none", "EVT"} {
		_, err := r.Store.Event(r.ctx, app1, id)
		r.notFound(fmt.Sprintf("the event %q", id), err)
	}
	got, next, err := r.Store.Events(r.ctx, app1, store.EventQuery{Limit: 100})
	r.must(err)
	r.same("the log", got, want)
	if next != "" {
		t.Errorf("got %q after the last event, want nothing", next)
	}

	// Another application has a log and subjects of its own.
	r.publish(app2, event.ConsentApproved, "con_1")
	if e := r.events(app2)[0]; e.Seq != 1 || e.Sequence != 1 {
		t.Errorf("another application: got place %d, sequence %d, want 1, 1", e.Seq, e.Sequence)
	}
}

func eventPages(t *testing.T, r *room) {
	r.apps()
	var evts []event.Event
	for i := range 12 {
		kind := event.ConsentCreated
		if i%3 == 2 {
			kind = event.ConsentApproved
		}
		evts = append(evts, r.publish(app1, kind, []string{"con_a", "con_b"}[i%2])...)
		r.publish(app2, event.ConsentCreated, "con_a")
	}
	ids := func(keep func(i int) bool) []string {
		var out []string
		for i, e := range evts {
			if keep(i) {
				out = append(out, e.ID)
			}
		}
		return out
	}
	tests := []struct {
		name string
		q    store.EventQuery
		keep func(i int) bool
	}{
		{"all", store.EventQuery{}, func(int) bool { return true }},
		{"by type", store.EventQuery{Type: event.ConsentApproved}, func(i int) bool { return i%3 == 2 }},
		{"by subject", store.EventQuery{Subject: "con_b"}, func(i int) bool { return i%2 == 1 }},
		{"by type and subject", store.EventQuery{Type: event.ConsentApproved, Subject: "con_b"}, func(i int) bool { return i%6 == 5 }},
		{"by a subject unknown", store.EventQuery{Subject: "con"}, func(int) bool { return false }},
		{"by a type that was not logged", store.EventQuery{Type: event.ConsentRevoked}, func(int) bool { return false }},
		{"after an event", store.EventQuery{After: evts[4].ID}, func(i int) bool { return i > 4 }},
		{"after an event that does not match", store.EventQuery{After: evts[4].ID, Type: event.ConsentApproved}, func(i int) bool { return i > 4 && i%3 == 2 }},
		{"after the last", store.EventQuery{After: evts[11].ID}, func(int) bool { return false }},
		{"newest first", store.EventQuery{Newest: true}, func(int) bool { return true }},
		{"newest first, by type", store.EventQuery{Newest: true, Type: event.ConsentApproved}, func(i int) bool { return i%3 == 2 }},
		{"newest first, by subject", store.EventQuery{Newest: true, Subject: "con_b"}, func(i int) bool { return i%2 == 1 }},
		{"newest first, before an event that does not match", store.EventQuery{Newest: true, After: evts[7].ID, Type: event.ConsentApproved}, func(i int) bool { return i < 7 && i%3 == 2 }},
		{"newest first, before the first", store.EventQuery{Newest: true, After: evts[0].ID}, func(int) bool { return false }},
	}
	for _, tt := range tests {
		want := ids(tt.keep)
		if tt.q.Newest {
			slices.Reverse(want)
		}
		for _, limit := range []int{1, 2, 3, 4, 12, 100} {
			q := tt.q
			q.Limit = limit
			var got []string
			pages := 0
			for {
				es, next, err := r.Store.Events(r.ctx, app1, q)
				r.must(err)
				for _, e := range es {
					got = append(got, e.ID)
				}
				pages++
				if next == "" || pages > 20 {
					break
				}
				if next != es[len(es)-1].ID {
					t.Errorf("%s: got next %q, want the last event's ID", tt.name, next)
				}
				q.After = next
			}
			// No page follows when nothing more matches.
			if most := max(1, (len(want)+limit-1)/limit); !slices.Equal(got, want) || pages != most {
				t.Errorf("%s, %d a page: got %v on %d pages, want %v on %d", tt.name, limit, got, pages, want, most)
			}
		}
	}
	for _, after := range []string{"evt_none", "x", "12"} {
		_, _, err := r.Store.Events(r.ctx, app1, store.EventQuery{Limit: 5, After: after})
		r.at(fmt.Sprintf("events after %q", after), err, "after")
	}
}
