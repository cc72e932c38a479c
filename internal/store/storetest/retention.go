package storetest

import (
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// later is after everything that a test records, and its day.
var later = t0.Add(72 * time.Hour)

// prune takes all that goes, holds what was taken to what is wanted, and returns
// when what would go next was recorded.
func (r *room) prune(what string, p store.Prune, events, lost int) time.Time {
	r.t.Helper()
	if p.Before.IsZero() {
		p.Before = later
	}
	p.Now = minute(500)
	var sum store.Pruned
	for range 100 {
		got, err := r.Store.Prune(r.ctx, p)
		r.must(err)
		sum.Events, sum.Lost = sum.Events+got.Events, sum.Lost+got.Lost
		if !got.More {
			break
		}
	}
	if sum.Events != events || sum.Lost != lost {
		r.t.Errorf("%s: got %d events and %d waiting deliveries taken, want %d and %d", what, sum.Events, sum.Lost, events, lost)
	}
	oldest, err := r.Store.Oldest(r.ctx, p.Losing)
	r.must(err)
	return oldest
}

// log compares the places that are left of application 1's log.
func (r *room) log(what string, want ...event.Seq) {
	r.t.Helper()
	var got []event.Seq
	for _, e := range r.events(app1) {
		got = append(got, e.Seq)
	}
	r.same(what+": the log", got, want)
}

func retention(t *testing.T, r *room) {
	p := r.ready("con_a", "con_b", "con_a", "con_c", "con_c", "con_d") // 1..6
	r.publish(app2, event.ConsentCreated, "con_x")                     // of the same age, and of nobody's interest
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 3,
		Attempts: []delivery.Attempt{attempt(1, 1, minute(1), true), attempt(2, 1, minute(1), true), attempt(3, 1, minute(1), true)},
	})
	r.prune("nothing is old", store.Prune{Before: minute(0)}, 0, 0)
	got := r.prune("two are old", store.Prune{Before: minute(3)}, 2, 0)
	if !got.Equal(minute(3).Add(time.Second)) {
		t.Errorf("got %v for the next one's time, want %v", got, minute(3).Add(time.Second))
	}
	r.log("two are old", 3, 4, 5, 6)

	got = r.prune("all are old, but some wait", store.Prune{}, 2, 0) // one of them application 2's
	if !got.IsZero() {
		t.Errorf("got %v for the next one's time, want none: all that is left waits", got)
	}
	r.log("some wait", 4, 5, 6)
	if got, want := r.statuses(app1, "sub_1"), "[4:pending 5:pending 6:pending]"; got != want {
		t.Errorf("got the deliveries %s, want %s", got, want)
	}
	r.same("what is sent", seqs(r.all("sub_1", 3)), []event.Seq{4, 5, 6})
	_, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 2))
	r.notFound("a delivery that is gone", err)
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog != 3 || h.Lost != (delivery.Loss{}) {
		t.Errorf("got backlog %d, lost %+v, want 3, none", h.Backlog, h.Lost)
	}
	audit := func(what string, records, pruned int64) {
		t.Helper()
		a, err := r.Store.Audit(r.ctx, app1)
		r.must(err)
		if a.Events.Records != records || a.Events.Pruned != pruned || a.Events.BrokenAt != "" {
			t.Errorf("%s: got the audit %+v, want %d records behind %d, intact", what, a.Events, records, pruned)
		}
	}
	audit("half is gone", 3, 3)

	// An exception waits, and so does all behind it.
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(2), Cursor: 6, Attempts: []delivery.Attempt{attempt(4, 1, minute(2), true), attempt(5, 1, minute(2), false), attempt(6, 1, minute(2), true)},
		Put: []delivery.Exception{retrying(5, "con_c", minute(9))},
	})
	r.prune("one is retried", store.Prune{}, 1, 0)
	r.log("one is retried", 5, 6)
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(9), Cursor: 6, Attempts: []delivery.Attempt{attempt(5, 2, minute(9), true)},
		Settled: []delivery.Settlement{{Seq: 5, Subject: "con_c", As: delivery.Delivered}},
	})
	// So does what is to be replayed.
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_1", Endpoint: "sub_1", Seqs: []event.Seq{6}, CreatedAt: minute(10)})
	})
	r.prune("one is replayed", store.Prune{}, 1, 0)
	r.log("one is replayed", 6)
	o := r.record(delivery.Progress{Lease: p.Lease, At: minute(12), Cursor: 6, Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: []event.Seq{6}, Done: 1}})
	if len(o.Fed) != 1 {
		t.Fatalf("got %v fed, want the one that stayed", o.Fed)
	}
	r.prune("it was fed", store.Prune{}, 0, 0)
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(13), Cursor: 6, Attempts: []delivery.Attempt{attempt(6, 2, minute(13), true)},
		Settled: []delivery.Settlement{{Seq: 6, Subject: "con_d", As: delivery.Delivered}},
	})
	r.prune("nothing waits", store.Prune{}, 1, 0)
	r.log("nothing waits")
	audit("all is gone", 0, 6)

	// The log goes on where it was.
	r.publish(app1, event.ConsentCreated, "con_e")
	r.log("the next one", 7)
	audit("the next one", 1, 6)
	r.same("what is sent", seqs(r.all("sub_1", 6)), []event.Seq{7})
	r.Store = r.Reopen(t, nil)
	audit("after a restart", 1, 6)
	if pos := r.open("sub_1"); pos.Cursor != 6 || len(pos.Due)+len(pos.Waiting)+len(pos.Settled)+len(pos.Tried) != 0 {
		t.Errorf("after a restart: got %+v, want it to stand at 6 with nothing that waits", pos)
	}
}

func retentionErasing(t *testing.T, r *room) {
	a, _ := r.settle() // 1..4, of "ctz_1" among others
	r.record(delivery.Progress{Lease: a.Lease, At: minute(5), Cursor: 4})
	before := len(r.events(app1))
	r.erase("ctz_1", r.farewell("ctz_1"))
	r.prune("an erasure is not done", store.Prune{}, 0, 0)
	if got := len(r.events(app1)); got < before {
		t.Errorf("got %d events, want what the erasure waits for kept", got)
	}
}

func retentionPaused(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b") // 1..3
	e, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 2, Attempts: []delivery.Attempt{attempt(1, 1, t0, false)},
		Put: []delivery.Exception{retrying(1, "con_a", minute(3)), blocked(2, "con_a")},
	})
	e = r.become(e, subscription.Paused, minute(5))
	r.publish(app1, event.ConsentCreated, "con_c", "con_d")
	discarded := func(what string, want int) {
		t.Helper()
		h, err := r.Store.Health(r.ctx, app1, "sub_1")
		r.must(err)
		if h.Discarded != want || h.Backlog != 0 || h.Lost.Deliveries != 0 {
			t.Errorf("%s: got %+v, want %d discarded", what, h, want)
		}
	}
	discarded("in the pause", 5)
	r.prune("the first two", store.Prune{Before: minute(3)}, 2, 0)
	discarded("two of them are gone", 5)
	r.prune("the next two", store.Prune{Before: minute(5)}, 2, 0)
	discarded("four of them are gone", 5)
	r.publish(app1, event.ConsentCreated, "con_c")
	discarded("another is discarded", 6)
	r.prune("all", store.Prune{}, 2, 0)
	discarded("all of them are gone", 6)
	r.become(e, subscription.Active, minute(10))
	r.publish(app1, event.ConsentCreated, "con_d")
	r.same("what is sent after the pause", seqs(r.all("sub_1", r.open("sub_1").Cursor)), []event.Seq{7})
}

func retentionLosing(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c", "con_d", "con_e") // 1..6
	r.put(subscriber(app1, "sub_2", event.ConsentApproved))
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 3, Attempts: []delivery.Attempt{attempt(1, 1, minute(1), false), attempt(3, 1, minute(1), true), attempt(5, 1, minute(1), true)},
		Put: []delivery.Exception{retrying(1, "con_a", minute(3)), blocked(2, "con_a")},
	})
	r.prune("without the operator's word", store.Prune{}, 0, 0)
	r.prune("the first five", store.Prune{Before: minute(6), Losing: true}, 5, 3) // 1 and 2 waited, 4 was not tried, 5 was delivered
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	want := delivery.Loss{Deliveries: 3, RecordedUpto: minute(5).Add(time.Second), At: minute(500)}
	if h.Lost != want || h.Backlog != 1 {
		t.Errorf("got %+v lost, backlog %d, want %+v, 1", h.Lost, h.Backlog, want)
	}
	if o := r.tryRecord(delivery.Progress{Lease: p.Lease, At: minute(8), Cursor: 6, Attempts: []delivery.Attempt{attempt(4, 1, minute(8), true)}}); !o.Fenced {
		t.Error("got a result of what is gone recorded, want it fenced")
	}
	pos := r.open("sub_1")
	if pos.Cursor != 5 || len(pos.Due)+len(pos.Waiting)+len(pos.Settled) != 0 {
		t.Errorf("got %+v, want it behind what is gone, with nothing that waits", pos)
	}
	r.same("what is sent", seqs(r.all("sub_1", pos.Cursor)), []event.Seq{6})
	if got, want := r.statuses(app1, "sub_1"), "[6:pending]"; got != want {
		t.Errorf("got the deliveries %s, want %s", got, want)
	}
	r.prune("the last one", store.Prune{Losing: true}, 1, 1)
	h, err = r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Lost.Deliveries != 4 || h.Backlog != 0 {
		t.Errorf("got %d lost, backlog %d, want 4, 0", h.Lost.Deliveries, h.Backlog)
	}
	h, err = r.Store.Health(r.ctx, app1, "sub_2")
	r.must(err)
	if h.Lost.Deliveries != 0 {
		t.Errorf("got %d lost by an endpoint that was not told of any", h.Lost.Deliveries)
	}
}

func retentionMany(t *testing.T, r *room) {
	p := r.ready()
	const n = 1300
	subjects := make([]string, n)
	for i := range subjects {
		subjects[i] = "con_a"
	}
	r.publish(app1, event.ConsentCreated, subjects...)
	r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Cursor: n - 1})
	before, err := r.Store.Size(r.ctx)
	r.must(err)
	r.prune("all but one", store.Prune{Before: later.Add(n * time.Minute)}, n-1, 0)
	after, err := r.Store.Size(r.ctx)
	r.must(err)
	if before <= 0 || after > before {
		t.Errorf("got %d bytes before and %d after", before, after)
	}
	r.log("all but one", n)
}
