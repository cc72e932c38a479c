package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// erasedReason is why a delivery of somebody who was erased is cancelled.
const erasedReason = "the person was erased"

// farewell returns the last event about a citizen.
func (r *room) farewell(id string) event.Event {
	e := r.event(app1, id, event.CitizenErased)
	e.Feed = event.Erasures
	return e
}

// erase erases a subject of application 1.
func (r *room) erase(subject string, last ...event.Event) {
	r.t.Helper()
	r.update(func(tx store.Tx) error { return tx.Erase(app1, subject, last...) })
}

// settle gives application 1 a citizen "ctz_1" with two transactions, another
// one "ctz_2" with one, and two subscriptions "sub_a" and "sub_b" that are told
// full states and erasures, "sub_o" to neither, and returns where the first two
// stand. The log holds three full states of the first and, at 2, one of the
// second: of each subscription the first state was delivered.
func (r *room) settle() (a, b delivery.Position) {
	r.t.Helper()
	r.apps()
	r.put(subscriber(app1, "sub_a"), subscriber(app1, "sub_b"), interceptor(app1, "int_o"))
	full := func(id string) event.Event { return r.event(app1, id, event.PermissionsEffective) }
	one, two := person(app1, "ctz_1", 1), person(app1, "ctz_2", 1)
	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.PutCitizen(one, full("ctz_1")), tx.PutCitizen(two, full("ctz_2")),
			tx.PutTransaction(app1, recorded("ctz_1", 1)), tx.PutTransaction(app1, recorded("ctz_2", 1)), tx.PutTransaction(app1, recorded("ctz_1", 2)),
			tx.Publish(full("ctz_1"), full("ctz_1")),
			tx.PutIdempotent(app1, store.Idempotent{Key: "k1", Route: "r", Subject: "ctz_1", Status: 201, Response: []byte("1"), ExpiresAt: minute(99)}, t0),
			tx.PutIdempotent(app1, store.Idempotent{Key: "k2", Route: "r", Subject: "ctz_2", Status: 201, Response: []byte("2"), ExpiresAt: minute(99)}, t0))
	})
	for _, p := range []*delivery.Position{&a, &b} {
		id := subscription.ID("sub_a")
		if p == &b {
			id = "sub_b"
		}
		*p = r.open(id)
		r.record(delivery.Progress{Lease: p.Lease, At: minute(5), Cursor: 1, Attempts: []delivery.Attempt{attempt(1, 1, minute(5), true)}})
	}
	return a, b
}

// gone fails the test unless nothing of the last event at a place is left: its
// body, and the name of its subject.
func (r *room) gone(what string, seq event.Seq, subject string, want bool) {
	r.t.Helper()
	e := r.events(app1)[seq-1]
	is := e.Erased && e.Body == nil && e.Subject != subject && strings.HasPrefix(e.Subject, "erased_")
	if is != want || !want && (e.Erased || len(e.Body) == 0 || e.Subject != subject) {
		r.t.Errorf("%s: got event %+v, want its body and its subject gone: %t", what, e, want)
	}
}

// audit checks the chains of application 1, of which all must fit.
func (r *room) audit(what string, events, erased, transactions, without int64) store.Audit {
	r.t.Helper()
	a, err := r.Store.Audit(r.ctx, app1)
	r.must(err)
	got := a
	got.Events.Head, got.Transactions.Head = [32]byte{}, [32]byte{}
	r.same(what+": the audit", got, store.Audit{
		Events:       store.Chain{Records: events, Erased: erased},
		Transactions: store.Chain{Records: transactions, Erased: without},
	})
	return a
}

func erasure(t *testing.T, r *room) {
	a, b := r.settle()
	late := attempt(3, 1, minute(6), false)
	r.record(delivery.Progress{
		Lease: a.Lease, At: minute(6), Cursor: 4, Attempts: []delivery.Attempt{late, attempt(2, 1, minute(6), true)},
		Put: []delivery.Exception{retrying(3, "ctz_1", minute(7)), blocked(4, "ctz_1")},
	})
	before := r.audit("before", 4, 0, 3, 0)
	changes := make(chan store.Change, 100)
	r.Store.Watch(func(c store.Change) { changes <- c })

	r.erase("ctz_1", r.farewell("ctz_1"))
	c := <-changes
	for len(c.Erased) == 0 { // a look at what others may have done tells of what was before
		c = <-changes
	}
	r.same("who was erased", c.Erased, []store.Subject{{Application: app1, ID: "ctz_1"}})
	r.same("whom it touched", c.Endpoints, []delivery.Endpoint{"int_o", "sub_a", "sub_b"})

	// The citizen is gone, and its ID for ever.
	_, err := r.Store.Citizen(r.ctx, app1, "ctz_1")
	r.notFound("the citizen", err)
	_, err = r.Store.CitizenByRef(r.ctx, app1, "ref of ctz_1")
	r.notFound("the citizen by reference", err)
	_, err = r.Store.Transaction(r.ctx, app1, "txn_ctz_1_1")
	r.notFound("its transaction", err)
	_, err = r.Store.Transactions(r.ctx, app1, "ctz_1")
	r.notFound("its history", err)
	_, _, err = r.Store.TransactionPage(r.ctx, app1, "ctz_1", 10, "")
	r.notFound("a page of its history", err)
	refused := func(what string) {
		t.Helper()
		for _, id := range []permission.CitizenID{"ctz_1", permission.CitizenID("erased_" + strings.Repeat("0f", 32))} {
			err := r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutCitizen(person(app1, id, 3)) })
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Conflict || f.Code != "citizen_erased" || f.Field != "/citizenId" {
				t.Errorf("%s: got %v for %s, want citizen_erased at /citizenId", what, err, id)
			}
			k := r.dataConsent(app1, "con_new", t0)
			k.CitizenID = string(id)
			if err := r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutConsent(k) }); fault.CodeOf(err) != "citizen_erased" {
				t.Errorf("%s: got %v for a new consent of %s, want citizen_erased", what, err, id)
			}
		}
	}
	refused("the ID at once")
	other := person(app1, "ctz_3", 3)
	other.ExternalRef = "ref of ctz_1"
	r.update(func(tx store.Tx) error {
		if _, err := tx.Idempotent(app1, "r", "k1", t0); fault.KindOf(err) != fault.NotFound {
			t.Errorf("an answer about it: got %v, want none", err)
		}
		_, err := tx.Idempotent(app1, "r", "k2", t0)
		return errors.Join(err, tx.PutCitizen(other))
	})

	// Its events stay as what happened; its last event is there.
	evts := r.events(app1)
	for i, want := range []bool{true, false, true, true, false} {
		if e := evts[i]; e.Erased != want || (len(e.Body) == 0) != want || e.Seq != event.Seq(i+1) || e.Type == "" || e.OccurredAt.IsZero() || e.RecordedAt.IsZero() {
			t.Errorf("event %d: got %+v, want it erased: %t", i+1, e, want)
		}
	}
	one, err := r.Store.Event(r.ctx, app1, evts[2].ID)
	r.must(err)
	r.same("one event", one, evts[2])
	if e := evts[4]; e.Sequence != 4 || e.Subject != "ctz_1" {
		t.Errorf("got sequence %d of %s, want the subject's next", e.Sequence, e.Subject)
	}

	// What waited is cancelled; the last event waits.
	r.same("at a", r.statuses(app1, "sub_a"), "[1:delivered 2:delivered 3:cancelled 4:cancelled 5:pending]")
	r.same("at b", r.statuses(app1, "sub_b"), "[1:delivered 2:pending 3:cancelled 4:cancelled 5:pending]")
	r.same("at the interceptor", r.statuses(app1, "int_o"), "[]")
	for _, e := range []subscription.ID{"sub_a", "sub_b"} {
		for _, v := range r.deliveries(app1, store.DeliveryQuery{Endpoint: e, Style: subscription.Subscription, Status: delivery.Cancelled}) {
			if v.Reason != erasedReason {
				t.Errorf("got reason %q of %s, want %q", v.Reason, v.ID, erasedReason)
			}
		}
		h, err := r.Store.Health(r.ctx, app1, e)
		r.must(err)
		if want := map[subscription.ID]int{"sub_a": 1, "sub_b": 2}[e]; h.Backlog != want {
			t.Errorf("got a backlog of %d at %s, want %d", h.Backlog, e, want)
		}
	}
	r.same("what is read", seqs(r.all("sub_b", 1)), []event.Seq{2, 5})
	loaded, err := r.Store.Load(r.ctx, "sub_a", []event.Seq{3, 4})
	r.must(err)
	r.same("what is loaded", loaded, []delivery.Loaded(nil))

	// A result that comes late brings nothing back.
	o := r.tryRecord(delivery.Progress{Lease: a.Lease, At: minute(8), Attempts: []delivery.Attempt{attempt(3, 2, minute(8), false)}, Put: []delivery.Exception{retrying(3, "ctz_1", minute(9))}})
	if !o.Fenced {
		t.Error("got progress of the former lease, want it fenced")
	}
	o = r.tryRecord(delivery.Progress{Lease: b.Lease, At: minute(8), Attempts: []delivery.Attempt{attempt(3, 1, minute(8), true)}})
	if !o.Fenced {
		t.Error("got progress of the former lease, want it fenced")
	}
	r.same("at a, later", r.statuses(app1, "sub_a"), "[1:delivered 2:delivered 3:cancelled 4:cancelled 5:pending]")
	r.same("at b, later", r.statuses(app1, "sub_b"), "[1:delivered 2:pending 3:delivered 4:cancelled 5:pending]")
	for _, id := range []string{delivery.ID("sub_a", 1), delivery.ID("sub_a", 3), delivery.ID("sub_b", 3)} {
		d, err := r.Store.Delivery(r.ctx, app1, id)
		r.must(err)
		if d.Body != nil || len(d.Attempts) == 0 || slices.ContainsFunc(d.Attempts, func(a delivery.AttemptView) bool { return a.Response != nil || a.Token != nil || a.Shown.URL == "" }) {
			t.Errorf("got %+v, want the attempts of %s without bodies and answers", d, id)
		}
	}

	// It cannot be replayed.
	_, _, err = r.Store.ReplaySelection(r.ctx, app1, "sub_a", store.ReplayQuery{EventIDs: []string{evts[1].ID, evts[2].ID}})
	r.at("a replay of it", err, "/eventIds/1")
	got, _, err := r.Store.ReplaySelection(r.ctx, app1, "sub_a", store.ReplayQuery{From: t0, To: minute(9999), IncludeStale: true})
	r.must(err)
	r.same("a replay by time", got, []event.Seq{2})
	a = r.open("sub_a")
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_1", Endpoint: "sub_a", Seqs: []event.Seq{1, 2, 3}, CreatedAt: minute(8)})
	})
	fed := r.record(delivery.Progress{Lease: a.Lease, At: minute(8), Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: []event.Seq{1, 2, 3}, Done: 3}})
	if len(fed.Fed) != 1 || fed.Fed[0].Seq != 2 {
		t.Errorf("got fed %+v, want the other citizen's event only", fed.Fed)
	}

	after := r.audit("after", 5, 3, 3, 2)
	if before.Transactions.Head != after.Transactions.Head || before.Events.Head == after.Events.Head {
		t.Error("got the head of the transactions moved, or that of the events not, want one event more")
	}

	// The last delivery takes the rest with it, and the name.
	r.gone("while both are not told", 5, "ctz_1", false)
	r.record(delivery.Progress{Lease: a.Lease, At: minute(9), Cursor: 5, Attempts: []delivery.Attempt{attempt(5, 1, minute(9), true)}})
	r.gone("while one is not told", 5, "ctz_1", false)
	d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_a", 5))
	r.must(err)
	if string(d.Body) != string(evts[4].Body) || d.Attempts[0].Response == nil {
		t.Errorf("got %+v, want the last event as it was sent", d)
	}
	b = r.open("sub_b")
	r.record(delivery.Progress{Lease: b.Lease, At: minute(9), Cursor: 5, Attempts: []delivery.Attempt{attempt(2, 1, minute(9), true), attempt(5, 1, minute(9), false)}, Put: []delivery.Exception{retrying(5, "ctz_1", minute(10))}})
	r.gone("while one is retried", 5, "ctz_1", false)
	for len(changes) > 0 {
		<-changes
	}
	r.record(delivery.Progress{
		Lease: b.Lease, At: minute(10), Attempts: []delivery.Attempt{attempt(5, 2, minute(10), false)},
		Put: []delivery.Exception{retrying(5, "ctz_1", minute(11))}, Settled: []delivery.Settlement{{Seq: 5, Subject: "ctz_1", As: delivery.Exhausted}},
	})
	c = <-changes
	for len(c.Erased) == 0 {
		c = <-changes
	}
	r.same("who was erased to the end", c.Erased, []store.Subject{{Application: app1, ID: "ctz_1"}})
	r.gone("when all are told", 5, "ctz_1", true)
	r.same("at a, in the end", r.statuses(app1, "sub_a"), "[1:delivered 2:pending 3:cancelled 4:cancelled 5:delivered]")
	r.same("at b, in the end", r.statuses(app1, "sub_b"), "[1:delivered 2:delivered 3:delivered 4:cancelled 5:exhausted]")
	o = r.tryRecord(delivery.Progress{Lease: b.Lease, At: minute(12), Attempts: []delivery.Attempt{func() delivery.Attempt { x := attempt(5, 3, minute(12), true); x.Subject = "ctz_1"; return x }()}})
	d, err = r.Store.Delivery(r.ctx, app1, delivery.ID("sub_b", 5))
	r.must(err)
	if d.Body != nil || len(d.Attempts) != 3 || slices.ContainsFunc(d.Attempts, func(a delivery.AttemptView) bool { return a.Response != nil }) || d.Subject == "ctz_1" || o.Fenced {
		t.Errorf("got %+v, want three attempts and nothing else", d)
	}

	// Who knows the name finds what is left.
	found, _, err := r.Store.Events(r.ctx, app1, store.EventQuery{Subject: "ctz_1"})
	r.must(err)
	if len(found) != 4 || slices.ContainsFunc(found, func(e event.Event) bool { return e.Subject != found[0].Subject || e.Subject == "ctz_1" }) {
		t.Errorf("got %+v, want its four events", found)
	}
	if vs := r.deliveries(app1, store.DeliveryQuery{Subject: "ctz_1"}); len(vs) != 8 || vs[0].Subject != found[0].Subject {
		t.Errorf("got %d deliveries of it, want 8", len(vs))
	}
	r.audit("in the end", 5, 4, 3, 2)
	refused("the ID in the end")

	r.Store = r.Reopen(t, nil)
	refused("the ID after a restart")
	r.audit("after a restart", 5, 4, 3, 2)
	c2, err := r.Store.Citizen(r.ctx, app1, "ctz_2")
	r.must(err)
	r.same("the other citizen", c2, person(app1, "ctz_2", 1))
	x2, err := r.Store.Transactions(r.ctx, app1, "ctz_2")
	r.must(err)
	r.same("the other's history", x2, []permission.Transaction{recorded("ctz_2", 1)})
	r.update(func(tx store.Tx) error { return tx.Publish(r.event(app1, "ctz_2", event.PermissionsEffective)) })
	r.audit("with one event more", 6, 4, 3, 2)
	for _, err := range []error{
		r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Erase(app1, "ctz_1") }),
		r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Erase(app1, "ctz_none") }),
		r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Erase(app2, "ctz_2") }),
		r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Erase("app_none", "ctz_2") }),
	} {
		r.notFound("whom there is not", err)
	}
}

// erasureEnds: each way in which the last delivery of a last event may end.
func erasureEnds(t *testing.T, r *room) {
	r.settle()
	n := 0
	at := func() time.Time { return minute(1000 + n) }
	for _, tt := range []struct {
		name string
		// end ends the delivery to sub_a of the event at a place, whose subject
		// that is.
		end func(seq event.Seq, subject string)
	}{
		{"delivered", func(seq event.Seq, _ string) {
			r.record(delivery.Progress{Lease: r.open("sub_a").Lease, At: at(), Attempts: []delivery.Attempt{attempt(seq, 1, at(), true)}})
		}},
		{"delivered under a lease that had passed on", func(seq event.Seq, _ string) {
			l := r.open("sub_a").Lease
			r.open("sub_a")
			if o := r.tryRecord(delivery.Progress{Lease: l, At: at(), Attempts: []delivery.Attempt{attempt(seq, 1, at(), true)}}); !o.Fenced {
				t.Error("got it recorded, want it fenced")
			}
		}},
		{"delivered in the end", func(seq event.Seq, s string) {
			l := r.open("sub_a").Lease
			r.record(delivery.Progress{Lease: l, At: at(), Cursor: seq, Put: []delivery.Exception{blocked(seq, s)}})
			r.gone("while it is blocked", seq, s, false)
			r.record(delivery.Progress{Lease: l, At: at(), Rouse: []string{s}})
			r.gone("while it is due", seq, s, false)
			r.record(delivery.Progress{Lease: l, At: at(), Attempts: []delivery.Attempt{attempt(seq, 1, at(), true)}, Settled: []delivery.Settlement{{Seq: seq, Subject: s, As: delivery.Delivered}}})
		}},
		{"superseded", func(seq event.Seq, s string) {
			r.record(delivery.Progress{
				Lease: r.open("sub_a").Lease, At: at(), Cursor: seq,
				Put: []delivery.Exception{blocked(seq, s)}, Settled: []delivery.Settlement{{Seq: seq, Subject: s, As: delivery.Superseded}},
			})
		}},
		{"passed by the cursor", func(seq event.Seq, _ string) {
			r.record(delivery.Progress{Lease: r.open("sub_a").Lease, At: at(), Cursor: seq})
		}},
		{"resumed, and delivered after a suspension", func(seq event.Seq, s string) {
			e, err := r.Store.Config(r.ctx, "sub_a")
			r.must(err)
			l := r.open("sub_a").Lease
			r.record(delivery.Progress{Lease: l, At: at(), Attempts: []delivery.Attempt{attempt(seq, 1, at(), false)}, Cursor: seq, Put: []delivery.Exception{retrying(seq, s, at())}, Suspend: &delivery.Suspension{Reason: "It answered 410."}})
			r.gone("while it is held", seq, s, false)
			e.Version++
			r.update(func(tx store.Tx) error {
				return errors.Join(tx.PutEndpoint(e, picture(e)), tx.Resume(app1, "sub_a", at()))
			})
			r.gone("when it is resumed", seq, s, false)
			r.record(delivery.Progress{Lease: r.open("sub_a").Lease, At: at(), Attempts: []delivery.Attempt{attempt(seq, 2, at(), true)}, Settled: []delivery.Settlement{{Seq: seq, Subject: s, As: delivery.Delivered}}})
		}},
		{"after a replay of it", func(seq event.Seq, s string) {
			l := r.open("sub_a").Lease
			r.update(func(tx store.Tx) error {
				return tx.PutReplay(app1, delivery.Replay{ID: "rpl_2", Endpoint: "sub_a", Seqs: []event.Seq{seq}, CreatedAt: at()})
			})
			r.record(delivery.Progress{Lease: l, At: at(), Cursor: seq - 1, Replayed: &delivery.ReplayMark{ID: "rpl_2", Feed: []event.Seq{seq}, Done: 1}})
			r.gone("while it waits", seq, s, false)
			r.record(delivery.Progress{Lease: l, At: at(), Attempts: []delivery.Attempt{attempt(seq, 1, at(), true)}})
		}},
		{"discarded", func(event.Seq, string) {
			e, err := r.Store.Config(r.ctx, "sub_a")
			r.must(err)
			r.become(e, subscription.Paused, at())
		}},
		{"logged in a pause", func(event.Seq, string) {}},
		{"cancelled", func(event.Seq, string) {
			e, err := r.Store.Config(r.ctx, "sub_a")
			r.must(err)
			r.become(e, subscription.Active, at())
			r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_a", at()) })
		}},
	} {
		n++
		id := permission.CitizenID(fmt.Sprint("ctz_end_", n))
		if n == 1 {
			r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_b", at()) })
		}
		if tt.name == "cancelled" {
			tt.end(0, "") // deleted before there is anything
			r.put(subscriber(app1, "sub_a2"))
			tt.end = func(event.Seq, string) {
				r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_a2", at()) })
			}
		}
		r.update(func(tx store.Tx) error {
			c := person(app1, id, 1)
			return tx.PutCitizen(c, r.event(app1, string(id), event.PermissionsDelta))
		})
		r.erase(string(id), r.farewell(string(id)))
		seq := event.Seq(len(r.events(app1)))
		if tt.name != "logged in a pause" {
			r.gone(tt.name+", before", seq, string(id), false)
		}
		tt.end(seq, string(id))
		r.gone(tt.name, seq, string(id), true)
	}
	_, _, err := r.Store.Events(r.ctx, app1, store.EventQuery{}) // none is left that cannot be read
	r.must(err)
	a, err := r.Store.Audit(r.ctx, app1)
	r.must(err)
	if a.Events.BrokenAt != "" || a.Events.Erased != 20 {
		t.Errorf("got %+v, want two erased events of each of the ten", a.Events)
	}
}

// erasureAtOnce: without last events, and when nobody is told of them.
func erasureAtOnce(t *testing.T, r *room) {
	r.settle()
	r.erase("ctz_1")
	for _, seq := range []event.Seq{1, 3, 4} {
		r.gone("without last events", seq, "ctz_1", true)
	}
	r.same("at a", r.statuses(app1, "sub_a"), "[1:delivered 2:pending 3:cancelled 4:cancelled]")
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.DeleteEndpoint(app1, "sub_a", minute(9)), tx.DeleteEndpoint(app1, "sub_b", minute(9)))
	})
	r.erase("ctz_2", r.farewell("ctz_2"))
	r.gone("without anybody who is told", 5, "ctz_2", true)
	r.same("at a, which was deleted before", r.statuses(app1, "sub_a"), "[1:delivered 2:cancelled 3:cancelled 4:cancelled]")
	vs := r.deliveries(app1, store.DeliveryQuery{Endpoint: "sub_a", Style: subscription.Subscription})
	if vs[0].Reason != erasedReason || vs[2].Reason == erasedReason {
		t.Errorf("got %q and %q, want each cancelled for its own reason", vs[0].Reason, vs[2].Reason)
	}
	a := r.audit("afterwards", 5, 5, 3, 3)
	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	_, err := r.Store.Audit(r.ctx, app1)
	r.notFound("an audit of what was deleted", err)
	r.update(func(tx store.Tx) error {
		app, err := tx.Application(app2)
		app.ID = app1
		return errors.Join(err, tx.PutApplication(app), tx.PutCitizen(person(app1, "ctz_1", 1), r.event(app1, "ctz_1", event.PermissionsDelta)))
	})
	if b := r.audit("of a new application of that name", 1, 0, 0, 0); b.Events.Head == a.Events.Head || b.Transactions.Head != [32]byte{} {
		t.Errorf("got %+v, want chains of its own", b)
	}
}

// erasureOfConsent: a consent is erased as a citizen is.
func erasureOfConsent(t *testing.T, r *room) {
	r.apps()
	r.put(interceptor(app1, "int_1"))
	named := func(id consent.ID, citizen string) consent.Consent {
		c := r.dataConsent(app1, id, t0)
		c.CitizenID = citizen
		return c
	}
	one, two, three := named("con_1", "ctz_1"), named("con_2", "ctz_2"), named("con_3", "ctz_1")
	r.update(func(tx store.Tx) error {
		need(tx.PutConsent(one, r.event(app1, "con_1", event.ConsentCreated)))
		need(tx.PutConsent(two, r.event(app1, "con_2", event.ConsentCreated)))
		need(tx.PutConsent(three, r.event(app1, "con_3", event.ConsentCreated)))
		of, err := tx.ConsentsOf(app1, "ctz_1")
		r.same("the consents of a citizen", of, []consent.Consent{one, three})
		none, err2 := tx.ConsentsOf(app2, "ctz_1")
		r.same("those of another application", none, []consent.Consent(nil))
		return errors.Join(err, err2)
	})
	p := r.open("int_1")
	r.record(delivery.Progress{Lease: p.Lease, At: t0, Cursor: 1, Attempts: []delivery.Attempt{attempt(1, 1, t0, true)}})
	r.erase("con_1", r.event(app1, "con_1", event.ConsentRevoked))
	for _, ref := range []string{"con_1", one.ConsentID} {
		_, err := r.Store.Consent(r.ctx, app1, ref)
		r.notFound("the consent "+ref, err)
	}
	list, _, err := r.Store.Consents(r.ctx, app1, store.ConsentQuery{CitizenID: "ctz_1"})
	r.must(err)
	r.same("the others", list, []consent.Consent{three})
	p = r.open("int_1")
	r.same("what is read", seqs(r.all("int_1", p.Cursor)), []event.Seq{2, 3, 4})
	r.gone("before it was told", 4, "con_1", false)
	var done []delivery.Attempt
	for seq := event.Seq(2); seq <= 4; seq++ {
		done = append(done, attempt(seq, 1, minute(1), true))
	}
	r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Cursor: 4, Attempts: done})
	r.gone("when it was told", 4, "con_1", true)
	r.gone("and what was told before", 1, "con_1", true)
	r.audit("afterwards", 4, 2, 0, 0)
	at, err := r.Store.NextDeadline(r.ctx)
	r.must(err)
	if !at.Equal(two.Deadline) {
		t.Errorf("got next deadline %v, want the other's", at)
	}
}

// erasureRolledBack: what failed has erased nobody, and a restart in the midst
// of an erasure goes on with it.
func erasureRolledBack(t *testing.T, r *room) {
	a, _ := r.settle()
	state := func() string {
		c, err1 := r.Store.Citizen(r.ctx, app1, "ctz_1")
		xs, err2 := r.Store.Transactions(r.ctx, app1, "ctz_1")
		r.update(func(tx store.Tx) error { _, err := tx.Idempotent(app1, "r", "k1", t0); return err })
		return fmt.Sprint(r.statuses(app1, "sub_a"), r.statuses(app1, "sub_b"), c.ExternalRef, len(xs), err1, err2)
	}
	want, was := state(), r.events(app1)
	failed := errors.New("failed")
	for range 2 {
		err := r.Store.Update(r.ctx, func(tx store.Tx) error {
			need(tx.Erase(app1, "ctz_1", r.farewell("ctz_1")))
			return failed
		})
		if !errors.Is(err, failed) {
			t.Fatalf("got %v, want the function's error", err)
		}
		r.same("what there is", state(), want)
		r.same("the log", r.events(app1), was)
		r.audit("after a rollback", 4, 0, 3, 0)
	}
	r.record(delivery.Progress{Lease: a.Lease, At: minute(6)})
	last := r.farewell("ctz_1")
	r.erase("ctz_1", last)
	r.Store = r.Reopen(t, nil)
	a, b := r.open("sub_a"), r.open("sub_b")
	r.same("what waits", fmt.Sprint(a.Settled, a.Waiting), "map[3:true 4:true] map[]")
	items := r.all("sub_a", a.Cursor)
	r.same("what is read", seqs(items), []event.Seq{2, 5})
	r.same("the last body", string(items[1].Body), string(last.Body))
	n, err := r.Store.Rewrap(r.ctx)
	r.must(err)
	r.same("what another key sealed", n, 0)
	r.record(delivery.Progress{Lease: a.Lease, At: minute(9), Cursor: 5, Attempts: []delivery.Attempt{attempt(5, 1, minute(9), true)}})
	out, err := r.Store.Record(r.ctx, []delivery.Progress{
		{Lease: a.Lease, At: minute(9)},
		r.complete(delivery.Progress{Lease: b.Lease, At: minute(9), Cursor: 5, Attempts: []delivery.Attempt{attempt(5, 1, minute(9), true)}}),
	})
	r.must(err)
	if out[0].Fenced || out[1].Fenced {
		t.Errorf("got %+v, want both recorded", out)
	}
	r.gone("after a restart and both deliveries", 5, "ctz_1", true)
	r.audit("in the end", 5, 4, 3, 2)
}

// chains: each record moves the head of its chain, and no other's.
func chains(t *testing.T, r *room) {
	r.settle()
	a := r.audit("at first", 4, 0, 3, 0)
	if a.Events.Head == [32]byte{} || a.Transactions.Head == [32]byte{} || a.Events.Head == a.Transactions.Head {
		t.Errorf("got heads %x and %x, want one of each chain", a.Events.Head, a.Transactions.Head)
	}
	r.update(func(tx store.Tx) error {
		return tx.PutRecorded(app1, []store.Citizen{person(app1, "ctz_2", 1)}, []permission.Transaction{recorded("ctz_2", 2), recorded("ctz_2", 3)})
	})
	b := r.audit("with two transactions more", 4, 0, 5, 0)
	if a.Events.Head != b.Events.Head || a.Transactions.Head == b.Transactions.Head {
		t.Error("got the wrong head moved, want that of the transactions")
	}
	// More records than are looked at together.
	for range 3 {
		var evts []event.Event
		for range 500 {
			evts = append(evts, r.event(app1, "ctz_2", event.PermissionsDelta))
		}
		r.update(func(tx store.Tx) error { return tx.Publish(evts...) })
	}
	r.audit("with many events", 1504, 0, 5, 0)
	none, err := r.Store.Audit(r.ctx, app2)
	r.must(err)
	r.same("an application without records", none, store.Audit{})
	_, err = r.Store.Audit(r.ctx, "app_none")
	r.notFound("no application", err)
}

// erasureOfMerged: who was merged into a citizen is erased with it, and what was
// kept so that the past is read fast, or asked by mail, too.
func erasureOfMerged(t *testing.T, r *room) {
	r.settle()
	question := store.Confirmation{Hash: [32]byte{1}, Application: app1, Citizen: "ctz_1", Transaction: "txn_ctz_1_1", ExpiresAt: minute(99)}
	other := store.Confirmation{Hash: [32]byte{2}, Application: app1, Citizen: "ctz_2", Transaction: "txn_ctz_2_1", ExpiresAt: minute(99)}
	spare := person(app1, "ctz_3", 3)
	r.update(func(tx store.Tx) error {
		one, err := tx.Citizen(app1, "ctz_1")
		need(err)
		one.Version++
		one.Merged = append(one.Merged, store.Merged{ID: "ctz_2", ExternalRef: "ref of ctz_2", At: minute(4)})
		return errors.Join(
			tx.PutConfirmation(question, t0), tx.PutConfirmation(other, t0),
			tx.PutCheckpoint(app1, store.Checkpoint{Citizen: "ctz_1", At: minute(3), Standing: one.Standing, Histories: []permission.CitizenID{"ctz_1"}}),
			tx.MergeCitizen(app1, "ctz_2", "ctz_1"), tx.PutCitizen(one), tx.PutCitizen(spare), tx.PutTransaction(app1, recorded("ctz_3", 3)))
	})
	r.notFound("the one that is no more", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Erase(app1, "ctz_2") }))
	r.audit("before", 4, 0, 4, 0)
	r.erase("ctz_1", r.farewell("ctz_1"))
	r.gone("the other's event", 2, "ctz_2", true)
	r.gone("the last event", 5, "ctz_1", false)
	r.same("at b", r.statuses(app1, "sub_b"), "[1:delivered 2:cancelled 3:cancelled 4:cancelled 5:pending]")
	for _, id := range []permission.CitizenID{"ctz_1", "ctz_2"} {
		_, err := r.Store.Citizen(r.ctx, app1, id)
		r.notFound("the citizen "+string(id), err)
		_, err = r.Store.CitizenByRef(r.ctx, app1, "ref of "+string(id))
		r.notFound("by reference "+string(id), err)
		_, _, err = r.Store.Past(r.ctx, app1, id, minute(50))
		r.notFound("the past of "+string(id), err)
		for _, err := range []error{
			r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutCitizen(person(app1, id, 5)) }),
			r.Store.Update(r.ctx, func(tx store.Tx) error {
				return tx.PutRecorded(app1, []store.Citizen{person(app1, id, 5)}, []permission.Transaction{recorded(id, 5)})
			}),
		} {
			if fault.CodeOf(err) != "citizen_erased" {
				t.Errorf("got %v for %s, want citizen_erased", err, id)
			}
		}
	}
	for _, hash := range [][32]byte{question.Hash, other.Hash} {
		_, err := r.Store.Confirmation(r.ctx, hash)
		r.notFound("a question", err)
	}
	_, err := r.Store.Transaction(r.ctx, app1, "txn_ctz_2_1")
	r.notFound("the other's transaction", err)
	r.audit("afterwards", 5, 4, 4, 3)
	spare.Version, spare.ExternalRef = 2, "ref of ctz_2"
	r.update(func(tx store.Tx) error { return tx.PutCitizen(spare) })
	xs, err := r.Store.Transactions(r.ctx, app1, "ctz_3")
	r.must(err)
	r.same("the history of a third one", xs, []permission.Transaction{recorded("ctz_3", 3)})
}

// erasureRewrapped: sealing anew copes with keys that were destroyed.
func erasureRewrapped(t *testing.T, r *room) {
	r.settle()
	r.erase("ctz_2")
	last := r.farewell("ctz_1")
	r.erase("ctz_1", last)
	r.must(r.Keys.Replace(masterKey("b")))
	n, err := r.Store.Rewrap(r.ctx)
	r.must(err)
	if n == 0 {
		t.Error("got nothing sealed anew, want what there is")
	}
	r.reopenWith("b")
	r.audit("with another master key", 5, 4, 3, 3)
	p := r.open("sub_a")
	items := r.all("sub_a", p.Cursor)
	if len(items) != 1 || string(items[0].Body) != string(last.Body) {
		t.Errorf("got %+v, want the last event with its body", items)
	}
	err = r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutCitizen(person(app1, "ctz_2", 5)) })
	if fault.CodeOf(err) != "citizen_erased" {
		t.Errorf("got %v, want citizen_erased", err)
	}
	for _, id := range []subscription.ID{"sub_a", "sub_b"} {
		r.record(delivery.Progress{Lease: r.open(id).Lease, At: minute(9), Attempts: []delivery.Attempt{attempt(5, 1, minute(9), true)}})
	}
	r.gone("in the end", 5, "ctz_1", true)
}
