package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// attempt returns the record of a try with everything set.
func attempt(seq event.Seq, n int, at time.Time, delivered bool) delivery.Attempt {
	a := delivery.Attempt{
		Seq: seq, N: n, At: at, Duration: 1500 * time.Microsecond, Delivered: delivered, Status: 204, Step: delivery.StepResponse,
		Config: 1, Timestamp: at.Unix(), InteractionID: fmt.Sprintf("i-%d-%d", seq, n), Signature: fmt.Sprintf("v1,%d=", n),
		Response: &delivery.Response{Status: 204, Headers: []delivery.Header{{Name: "A", Value: "b"}}, Body: "ok"},
	}
	if !delivered {
		a.Status, a.Reason, a.NextAt = 503, "It answered 503.", at.Add(time.Minute)
		a.Response.Status = 503
	}
	return a
}

// exchange returns a request for a token that failed, with everything set.
func exchange(at time.Time) *delivery.Exchange {
	return &delivery.Exchange{
		At: at, Duration: 1500 * time.Microsecond, Step: delivery.StepResponse, Reason: "It answered 400: <invalid_grant> ☃.",
		Request: delivery.Request{
			Method: "POST", URL: "https://tokens.example/t?a=***", Headers: []delivery.Header{{Name: "Accept", Value: "application/json"}, {Name: "Authorization", Value: "Basic ***"}},
			Body: "grant_type=refresh_token&refresh_token=***",
		},
		Response: &delivery.Response{Status: 400, Headers: []delivery.Header{{Name: "Content-Type", Value: "text/html"}}, Body: "<b>&\"no\u2028\x00\n"},
	}
}

// retrying and blocked are exceptions of a subject.
func retrying(seq event.Seq, subject string, next time.Time) delivery.Exception {
	return delivery.Exception{Seq: seq, Subject: subject, State: delivery.WaitRetry, Tries: 1, NextAt: next}
}

func blocked(seq event.Seq, subject string) delivery.Exception {
	return delivery.Exception{Seq: seq, Subject: subject, State: delivery.WaitTurn}
}

// due is what an exception that waited its turn becomes.
func due(e delivery.Exception, at time.Time) delivery.Exception {
	e.State, e.NextAt = delivery.WaitRetry, at
	return e
}

// ready makes application 1 with a subscription "sub_1" that is told
// consent.created, logs one such event for each subject, and opens it.
func (r *room) ready(subjects ...string) delivery.Position {
	r.t.Helper()
	r.apps()
	r.put(subscriber(app1, "sub_1", event.ConsentCreated))
	if len(subjects) > 0 {
		r.publish(app1, event.ConsentCreated, subjects...)
	}
	return r.open("sub_1")
}

func active(_ *testing.T, r *room) {
	r.apps()
	check := func(what string, want ...delivery.Endpoint) {
		r.t.Helper()
		got, err := r.Store.Active(r.ctx)
		r.must(err)
		slices.Sort(got)
		r.same(what, got, want)
	}
	check("an empty store")
	a, b, c, d := subscriber(app1, "sub_a"), interceptor(app1, "int_b"), subscriber(app2, "sub_c"), subscriber(app2, "sub_d")
	r.put(a, b, c, d)
	check("all", "int_b", "sub_a", "sub_c", "sub_d")
	a = r.become(a, subscription.Paused, minute(1))
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app2, "sub_c", minute(1)) })
	p := r.open("sub_d")
	r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Suspend: &delivery.Suspension{Reason: "It answered 410."}})
	check("one is paused, one deleted, one suspended", "int_b")
	r.become(a, subscription.Active, minute(2))
	check("one is resumed", "int_b", "sub_a")
}

func openEndpoint(t *testing.T, r *room) {
	r.apps()
	r.publish(app1, event.ConsentCreated, "con_old")
	e := subscriber(app1, "sub_1", event.ConsentCreated)
	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.Publish(r.event(app1, "con_before", event.ConsentCreated)),
			tx.PutEndpoint(e, picture(e)),
			tx.Publish(r.event(app1, "con_a", event.ConsentCreated)))
	})
	r.publish(app1, event.ConsentCreated, "con_b", "con_b", "con_c", "con_c", "con_d")
	first := r.open("sub_1")
	if first.Lease.Endpoint != "sub_1" || first.Cursor != 2 || len(first.Settled)+len(first.Due)+len(first.Waiting)+len(first.Replays) != 0 {
		t.Errorf("got %+v, want it to begin after what was logged before it", first)
	}
	r.same("what it is told", seqs(r.all("sub_1", first.Cursor)), []event.Seq{3, 4, 5, 6, 7, 8})
	r.same("its deliveries", r.statuses(app1, "sub_1"), "[3:pending 4:pending 5:pending 6:pending 7:pending 8:pending]")

	late, soon := retrying(4, "con_b", minute(20)), retrying(6, "con_c", minute(10))
	br := delivery.Breaker{Open: true, Since: minute(1), Failures: 21, Reason: "It answered 500."}
	hold := delivery.Hold{State: delivery.TokenTrouble, Since: minute(2), Reason: "No token.", NextAt: minute(3)}
	r.record(delivery.Progress{
		Lease: first.Lease, At: minute(1), Cursor: 3, Breaker: &br, Hold: &hold,
		Attempts: []delivery.Attempt{attempt(3, 1, t0, true), attempt(4, 1, t0, false), attempt(6, 1, t0, false), attempt(8, 1, t0, true)},
		Put:      []delivery.Exception{late, blocked(5, "con_b"), soon},
	})
	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.PutReplay(app1, delivery.Replay{ID: "rpl_b", Endpoint: "sub_1", Seqs: []event.Seq{1, 3}, CreatedAt: minute(1)}),
			tx.PutReplay(app1, delivery.Replay{ID: "rpl_a", Endpoint: "sub_1", Seqs: []event.Seq{3, 900}, IncludeStale: true, CreatedAt: minute(2)}))
	})
	second := r.open("sub_1")
	if second.Lease.Epoch <= first.Lease.Epoch {
		t.Errorf("got epoch %d after %d, want a new one", second.Lease.Epoch, first.Lease.Epoch)
	}
	if second.Cursor != 3 {
		t.Errorf("got cursor %d, want 3", second.Cursor)
	}
	if want := map[event.Seq]bool{4: true, 5: true, 6: true, 8: true}; !maps.Equal(second.Settled, want) {
		t.Errorf("got settled %v, want what is delivered or an exception, %v", second.Settled, want)
	}
	r.same("due exceptions by their time", second.Due, []delivery.Exception{soon, late})
	if want := map[string]int{"con_b": 2, "con_c": 1}; !maps.Equal(second.Waiting, want) {
		t.Errorf("got waiting %v, want %v", second.Waiting, want)
	}
	r.same("the breaker", second.Breaker, br)
	r.same("the hold", second.Hold, hold)
	r.same("unfinished replays, oldest first", second.Replays, []delivery.Replay{
		{ID: "rpl_b", Endpoint: "sub_1", Seqs: []event.Seq{1, 3}, CreatedAt: minute(1)},
		{ID: "rpl_a", Endpoint: "sub_1", Seqs: []event.Seq{3, 900}, IncludeStale: true, CreatedAt: minute(2)},
	})
	jobs, err := r.Store.Replays(r.ctx, "sub_1")
	r.must(err)
	r.same("the same without opening it", jobs, second.Replays)

	paused := r.become(e, subscription.Paused, minute(3))
	r.notActive("a paused endpoint", "sub_1")
	r.become(paused, subscription.Active, minute(4))
	third := r.open("sub_1")
	if third.Lease.Epoch <= second.Lease.Epoch || third.Cursor != 8 {
		t.Errorf("got %+v after a pause, want a new epoch at the log's end", third)
	}
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_1", minute(5)) })
	for _, gone := range []delivery.Endpoint{"sub_1", "sub_none"} {
		if _, err := r.Store.Open(r.ctx, gone); fault.KindOf(err) != fault.Conflict && fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s: got %v, want it refused", gone, err)
		}
	}
}

// notActive fails the test unless an endpoint cannot be opened.
func (r *room) notActive(what string, e delivery.Endpoint) {
	r.t.Helper()
	if _, err := r.Store.Open(r.ctx, e); fault.KindOf(err) != fault.Conflict || fault.CodeOf(err) != "not_active" {
		r.t.Errorf("to open %s: got %v, want fault.Conflict not_active", what, err)
	}
}

func fencing(t *testing.T, r *room) {
	// The statuses that follow: what was delivered, was, whatever became of the
	// lease; an exception that waits for a retry is tried once more.
	steps := []struct {
		name     string
		step     func(e subscription.Endpoint)
		statuses string
	}{
		{"another opened it", func(subscription.Endpoint) { r.open("sub_1") }, "[1:delivered 2:retrying 3:pending 4:pending]"},
		{"its owner paused it", func(e subscription.Endpoint) { r.become(e, subscription.Paused, minute(2)) }, "[1:delivered 2:delivered 3:discarded 4:discarded]"},
		{"its owner paused and resumed it", func(e subscription.Endpoint) {
			r.become(r.become(e, subscription.Paused, minute(2)), subscription.Active, minute(3))
		}, "[1:delivered 2:delivered 3:discarded 4:discarded]"},
		{"it was deleted", func(subscription.Endpoint) {
			r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_1", minute(2)) })
		}, "[1:delivered 2:delivered 3:cancelled 4:cancelled]"},
		{"it was suspended", func(subscription.Endpoint) {
			p := r.open("sub_1")
			r.record(delivery.Progress{Lease: p.Lease, At: minute(2), Suspend: &delivery.Suspension{Reason: "It answered 410."}})
		}, "[1:delivered 2:held 3:held 4:held]"},
	}
	for _, s := range steps {
		p := r.ready("con_a", "con_b", "con_b", "con_c")
		e, err := r.Store.Config(r.ctx, "sub_1")
		r.must(err)
		r.record(delivery.Progress{Lease: p.Lease, At: t0, Attempts: []delivery.Attempt{attempt(2, 1, t0, false)}, Put: []delivery.Exception{retrying(2, "con_b", minute(1)), blocked(3, "con_b")}})
		s.step(e)
		was := r.dump()
		o := r.tryRecord(delivery.Progress{
			Lease: p.Lease, At: minute(3), Cursor: 4, Attempts: []delivery.Attempt{attempt(1, 1, minute(1), true), attempt(2, 2, minute(1), true)},
			Put: []delivery.Exception{retrying(4, "con_c", minute(4))}, Settled: []delivery.Settlement{{Seq: 2, Subject: "con_b", As: delivery.Delivered}},
			Rouse: []string{"con_b"}, Breaker: &delivery.Breaker{Open: true, Since: minute(3), Failures: 20}, Hold: &delivery.Hold{State: delivery.TokenTrouble, Since: minute(3)},
			Suspend:  &delivery.Suspension{Reason: "It answered 410.", Events: []event.Event{r.event(app1, "sub_1", event.WebhookStatusChanged)}},
			Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: []event.Seq{1}, Done: 1},
		})
		if !o.Fenced || len(o.Roused)+len(o.Fed) != 0 {
			t.Errorf("%s: got %+v, want it fenced and nothing else", s.name, o)
		}
		if now := r.dump(); now != was {
			t.Errorf("%s: fenced progress changed\n%s\nto\n%s", s.name, was, now)
		}
		// The attempts were kept, for they happened.
		for seq, want := range map[event.Seq]int{1: 1, 2: 2} {
			d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", seq))
			r.must(err)
			if len(d.Attempts) != want || d.AttemptCount != want {
				t.Errorf("%s: got %d attempts at place %d, want %d", s.name, len(d.Attempts), seq, want)
			}
		}
		if got := r.statuses(app1, "sub_1"); got != s.statuses {
			t.Errorf("%s: got %s, want %s", s.name, got, s.statuses)
		}
		if h, err := r.Store.Health(r.ctx, app1, "sub_1"); err == nil && h.Discarded != strings.Count(s.statuses, "discarded") {
			t.Errorf("%s: got %d discarded beside %s", s.name, h.Discarded, s.statuses)
		}
		r.update(func(tx store.Tx) error { return errors.Join(tx.DeleteApplication(app1), tx.DeleteApplication(app2)) })
	}

	// Two holders tried the same, each its first time: both attempts are kept.
	p := r.ready("con_a")
	second := r.open("sub_1")
	mine, theirs := attempt(1, 1, minute(1), false), attempt(1, 1, minute(2), true)
	mine.InteractionID, theirs.InteractionID = "i-mine", "i-theirs"
	r.record(delivery.Progress{Lease: second.Lease, At: minute(2), Cursor: 1, Attempts: []delivery.Attempt{theirs}})
	r.tryRecord(delivery.Progress{Lease: p.Lease, At: minute(1), Attempts: []delivery.Attempt{mine}})
	d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 1))
	r.must(err)
	if d.Status != delivery.Delivered || len(d.Attempts) != 2 || d.Attempts[0].InteractionID == d.Attempts[1].InteractionID || d.Attempts[0].N == d.Attempts[1].N {
		t.Errorf("got %s after %+v, want it delivered, both attempts with numbers of their own", d.Status, d.Attempts)
	}
	r.update(func(tx store.Tx) error { return errors.Join(tx.DeleteApplication(app1), tx.DeleteApplication(app2)) })

	// What was delivered under a lost lease is settled for the next holder; what
	// failed is known to have been tried.
	p = r.ready("con_a", "con_b", "con_c")
	r.open("sub_1")
	r.tryRecord(delivery.Progress{Lease: p.Lease, At: t0, Cursor: 3, Attempts: []delivery.Attempt{attempt(1, 1, t0, true), attempt(2, 1, t0, false)}})
	next := r.open("sub_1")
	if next.Cursor != 0 || !maps.Equal(next.Settled, map[event.Seq]bool{1: true}) || !maps.Equal(next.Tried, map[event.Seq]int{2: 1}) {
		t.Errorf("got cursor %d, settled %v, tried %v, want 0, place 1, one try of place 2", next.Cursor, next.Settled, next.Tried)
	}
}

// dump tells all that can be read of sub_1 but its attempts.
func (r *room) dump() string {
	r.t.Helper()
	e, err := r.Store.Config(r.ctx, "sub_1")
	status := fmt.Sprint(e.Status, e.StatusReason, e.Version)
	if err != nil {
		status = "gone"
	}
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	if err != nil {
		h = delivery.Health{}
	}
	loaded, err := r.Store.Load(r.ctx, "sub_1", []event.Seq{1, 2, 3, 4})
	r.must(err)
	var exceptions []delivery.Exception
	for _, l := range loaded {
		exceptions = append(exceptions, l.Exception)
	}
	var es []string
	for _, x := range r.events(app1) {
		es = append(es, x.ID)
	}
	return fmt.Sprintf("%s\n%+v %+v\n%+v\n%v", status, h.Breaker, h.Hold, exceptions, es)
}

func read(t *testing.T, r *room) {
	r.apps()
	e := subscriber(app1, "sub_1", event.ConsentCreated, event.WebhookStatusChanged)
	r.put(e)
	var want []delivery.Item
	add := func(evt event.Event, told bool, seq event.Seq, sequence int64) {
		r.update(func(tx store.Tx) error { return tx.Publish(evt) })
		if told {
			want = append(want, delivery.Item{Seq: seq, EventID: evt.ID, Type: evt.Type, Subject: evt.Subject, Sequence: sequence, Body: evt.Body, RecordedAt: evt.RecordedAt})
		}
	}
	sequence := map[string]int64{}
	for i := range 40 {
		evt := r.event(app1, fmt.Sprint("con_", i%4), []event.Type{event.ConsentCreated, event.ConsentCreated, event.ConsentApproved}[i%3])
		evt.Body = fmt.Appendf(nil, `{"pad":"%0100d"}`, i)
		if i%10 == 6 {
			evt.Type, evt.Feed = event.WebhookStatusChanged, event.Operations
			evt.Except = []string{"sub_1", "sub_2"}[i/10%2]
		}
		sequence[evt.Subject]++
		add(evt, evt.Type != event.ConsentApproved && evt.Except != "sub_1", event.Seq(i+1), sequence[evt.Subject])
		r.publish(app2, event.ConsentCreated, "con_0")
	}
	r.same("everything", r.all("sub_1", 0), want)

	for _, limit := range []int{1, 3, 7, 1000} {
		for _, maxBytes := range []int{1, 500, 1 << 20} {
			var got []delivery.Item
			var after event.Seq
			for range 100 {
				p, err := r.Store.Read(r.ctx, "sub_1", after, limit, maxBytes)
				r.must(err)
				if p.Upto < after || len(p.Items) > 0 && p.Items[len(p.Items)-1].Seq > p.Upto {
					t.Fatalf("got up to %d after %d with %v", p.Upto, after, seqs(p.Items))
				}
				size := 0
				for _, i := range p.Items {
					size += len(i.Body)
				}
				if n := len(p.Items); n > limit || n > 1 && size-len(p.Items[n-1].Body) > maxBytes {
					t.Fatalf("got %d items of %d bytes, want at most %d of about %d", n, size, limit, maxBytes)
				}
				got = append(got, p.Items...)
				if p.Upto == after {
					break
				}
				after = p.Upto
			}
			r.same(fmt.Sprintf("pages of %d items, %d bytes", limit, maxBytes), got, want)
			if after != 40 {
				t.Errorf("got to the end at %d, want 40", after)
			}
		}
	}

	// The end moves on.
	p, err := r.Store.Read(r.ctx, "sub_1", 40, 10, 1<<20)
	r.must(err)
	if len(p.Items) != 0 || p.Upto != 40 {
		t.Errorf("at the end: got %v up to %d, want nothing up to 40", seqs(p.Items), p.Upto)
	}
	r.publish(app1, event.ConsentCreated, "con_new")
	p, err = r.Store.Read(r.ctx, "sub_1", 40, 10, 1<<20)
	r.must(err)
	r.same("after one more event", seqs(p.Items), []event.Seq{41})

	// A body that the page has no room for is still read, alone.
	evt := r.event(app1, "con_big", event.ConsentCreated)
	evt.Body = slices.Concat([]byte(`"`), slices.Repeat([]byte("x"), 300_000), []byte(`"`))
	r.update(func(tx store.Tx) error { return tx.Publish(evt) })
	p, err = r.Store.Read(r.ctx, "sub_1", 41, 10, 1000)
	r.must(err)
	if len(p.Items) != 1 || len(p.Items[0].Body) != len(evt.Body) {
		t.Errorf("got %d items, want the one that is larger than a page", len(p.Items))
	}
}

func readFilters(_ *testing.T, r *room) {
	r.apps()
	e := subscriber(app1, "sub_1", event.ConsentCreated)
	i := interceptor(app1, "int_1")
	r.put(e, i)
	both := func() { // a created, an approved and a payment's created
		p := r.event(app1, "con_p", event.ConsentCreated)
		p.Feed = event.LifecyclePayment
		r.update(func(tx store.Tx) error {
			return tx.Publish(r.event(app1, "con_a", event.ConsentCreated), r.event(app1, "con_a", event.ConsentApproved), p)
		})
	}
	both() // 1, 2, 3
	e.EventTypes, e.Version = []event.Type{event.ConsentApproved}, 2
	i.Feed, i.Version = event.LifecyclePayment, 2
	r.put(e, i)
	both() // 4, 5, 6
	e.Name, e.Version = "another name, the same filter", 3
	r.put(e)
	r.update(func(tx store.Tx) error { // 7 under the second filter, 8 under the third
		e.EventTypes, e.Version = []event.Type{event.ConsentCreated, event.ConsentApproved}, 4
		if err := tx.Publish(r.event(app1, "con_a", event.ConsentCreated)); err != nil {
			return err
		}
		if err := tx.PutEndpoint(e, picture(e)); err != nil {
			return err
		}
		return tx.Publish(r.event(app1, "con_a", event.ConsentCreated))
	})
	e.EventTypes, e.Version = []event.Type{event.ConsentRevoked}, 5
	r.put(e)
	e.EventTypes, e.Version = []event.Type{event.ConsentCreated}, 6 // at the same place
	r.put(e)
	both() // 9, 10, 11
	r.same("the subscription, each place under its filter", seqs(r.all("sub_1", 0)), []event.Seq{1, 3, 5, 8, 9, 11})
	r.same("the interceptor, each place under its feed", seqs(r.all("int_1", 0)), []event.Seq{1, 2, 6, 11})
	r.same("deliveries, each under its filter", r.statuses(app1, "sub_1"), "[1:pending 3:pending 5:pending 8:pending 9:pending 11:pending]")
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	r.same("the backlog, each under its filter", h.Backlog, 6)
	var small []event.Seq
	var after event.Seq
	for range 20 {
		p, err := r.Store.Read(r.ctx, "sub_1", after, 1, 1)
		r.must(err)
		small = append(small, seqs(p.Items)...)
		after = p.Upto
	}
	r.same("the subscription, one item a page", small, []event.Seq{1, 3, 5, 8, 9, 11})
}

func load(_ *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c")
	evts := r.events(app1)
	a, b, c := retrying(1, "con_a", minute(1)), blocked(2, "con_a"), retrying(3, "con_b", minute(2))
	a.Base, a.Tries, a.Replay = 4, 2, true
	r.record(delivery.Progress{Lease: p.Lease, At: t0, Cursor: 4, Attempts: []delivery.Attempt{attempt(4, 1, t0, true)}, Put: []delivery.Exception{a, b, c}})
	got, err := r.Store.Load(r.ctx, "sub_1", []event.Seq{3, 99, 1, 4, 2})
	r.must(err)
	item := func(n int) delivery.Item {
		e := evts[n-1]
		return delivery.Item{Seq: e.Seq, EventID: e.ID, Type: e.Type, Subject: e.Subject, Sequence: e.Sequence, Body: e.Body, RecordedAt: e.RecordedAt}
	}
	r.same("the exceptions that there are, in the order asked for", got, []delivery.Loaded{{Exception: c, Item: item(3)}, {Exception: a, Item: item(1)}, {Exception: b, Item: item(2)}})
	got, err = r.Store.Load(r.ctx, "sub_1", nil)
	r.must(err)
	r.same("none", got, []delivery.Loaded(nil))
}

func recordAttempts(t *testing.T, r *room) {
	p := r.ready("con_a", "con_b")
	first, second := attempt(1, 1, t0, false), attempt(1, 2, minute(1), true)
	none := attempt(2, 1, minute(2), false)
	none.Status, none.Step, none.Response, none.Signature, none.NextAt = 0, delivery.StepDNS, nil, "", time.Time{}
	none.Replay, none.Duration = true, 2*time.Hour
	first.Subject, second.Subject, none.Subject = "con_a", "con_a", "con_b"
	first.Token, none.Token = exchange(t0), exchange(minute(2))
	none.Token.Step, none.Token.Response, none.Token.Request.Headers = delivery.StepConnect, nil, nil
	one := delivery.Progress{Lease: p.Lease, At: t0, Attempts: []delivery.Attempt{first}, Put: []delivery.Exception{retrying(1, "con_a", minute(1))}}
	r.record(one)
	two := delivery.Progress{Lease: p.Lease, At: minute(1), Cursor: 2, Attempts: []delivery.Attempt{second, none}, Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}}, Put: []delivery.Exception{{Seq: 2, Subject: "con_b", State: delivery.EndExhausted, Tries: 1}}}
	r.record(two)
	check := func() {
		t.Helper()
		for seq, want := range map[event.Seq][]delivery.Attempt{1: {first, second}, 2: {none}} {
			d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", seq))
			r.must(err)
			var got []delivery.Attempt
			for _, a := range d.Attempts {
				got = append(got, a.Attempt)
			}
			r.same("the attempts, by their number", got, want)
		}
		if got, want := r.statuses(app1, "sub_1"), "[1:delivered 2:exhausted]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check()
	// An answer was lost, so the same is recorded once more: nothing is doubled.
	r.record(two)
	check()

	// The cursor never moves back.
	r.record(delivery.Progress{Lease: p.Lease, At: minute(3), Cursor: 1})
	if got := r.open("sub_1").Cursor; got != 2 {
		t.Errorf("got cursor %d, want 2", got)
	}
}

func recordExceptions(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_a", "con_a", "con_b", "con_b")
	lease := p.Lease
	state := func(want ...delivery.Exception) {
		t.Helper()
		ls, err := r.Store.Load(r.ctx, "sub_1", []event.Seq{1, 2, 3, 4, 5, 6})
		r.must(err)
		var got []delivery.Exception
		for _, l := range ls {
			if l.State == delivery.WaitRetry || l.State == delivery.WaitTurn {
				got = append(got, l.Exception)
			}
		}
		r.same("what waits", got, want)
	}
	r.record(delivery.Progress{
		Lease: lease, At: t0, Cursor: 6, Attempts: []delivery.Attempt{attempt(1, 1, t0, false), attempt(5, 1, t0, false)},
		Put: []delivery.Exception{retrying(1, "con_a", minute(1)), blocked(4, "con_a"), blocked(2, "con_a"), blocked(3, "con_a"), retrying(5, "con_b", minute(2)), blocked(6, "con_b")},
	})
	state(retrying(1, "con_a", minute(1)), blocked(2, "con_a"), blocked(3, "con_a"), blocked(4, "con_a"), retrying(5, "con_b", minute(2)), blocked(6, "con_b"))

	// Put again replaces.
	again := retrying(1, "con_a", minute(9))
	again.Tries = 2
	r.record(delivery.Progress{Lease: lease, At: minute(1), Attempts: []delivery.Attempt{attempt(1, 2, minute(1), false)}, Put: []delivery.Exception{again}})
	state(again, blocked(2, "con_a"), blocked(3, "con_a"), blocked(4, "con_a"), retrying(5, "con_b", minute(2)), blocked(6, "con_b"))

	// Delivered removes the row, and the next of the subject, and of no other, becomes due.
	o := r.record(delivery.Progress{Lease: lease, At: minute(10), Attempts: []delivery.Attempt{attempt(1, 3, minute(10), true)}, Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}}})
	r.same("what was roused", o.Roused, []delivery.Exception{due(blocked(2, "con_a"), minute(10))})
	state(due(blocked(2, "con_a"), minute(10)), blocked(3, "con_a"), blocked(4, "con_a"), retrying(5, "con_b", minute(2)), blocked(6, "con_b"))

	// Exhausted and superseded keep it so marked; several subjects at a time.
	o = r.record(delivery.Progress{
		Lease: lease, At: minute(11), Attempts: []delivery.Attempt{attempt(2, 1, minute(11), false), attempt(5, 2, minute(11), false)},
		Settled: []delivery.Settlement{{Seq: 2, Subject: "con_a", As: delivery.Exhausted}, {Seq: 5, Subject: "con_b", As: delivery.Superseded}},
	})
	slices.SortFunc(o.Roused, func(a, b delivery.Exception) int { return int(a.Seq - b.Seq) })
	r.same("what was roused", o.Roused, []delivery.Exception{due(blocked(3, "con_a"), minute(11)), due(blocked(6, "con_b"), minute(11))})
	state(due(blocked(3, "con_a"), minute(11)), blocked(4, "con_a"), due(blocked(6, "con_b"), minute(11)))

	// Settled is applied after Put: a follower that is put with the settlement is roused.
	r.publish(app1, event.ConsentCreated, "con_b")
	o = r.record(delivery.Progress{
		Lease: lease, At: minute(12), Cursor: 7, Attempts: []delivery.Attempt{attempt(6, 1, minute(12), true)}, Put: []delivery.Exception{blocked(7, "con_b")},
		Settled: []delivery.Settlement{{Seq: 6, Subject: "con_b", As: delivery.Delivered}},
	})
	r.same("what was roused", o.Roused, []delivery.Exception{due(blocked(7, "con_b"), minute(12))})

	// The last of a subject rouses nothing.
	o = r.record(delivery.Progress{Lease: lease, At: minute(13), Attempts: []delivery.Attempt{attempt(7, 1, minute(13), true)}, Settled: []delivery.Settlement{{Seq: 7, Subject: "con_b", As: delivery.Delivered}}})
	r.same("what was roused", o.Roused, []delivery.Exception(nil))
	if got, want := r.statuses(app1, "sub_1"), "[1:delivered 2:exhausted 3:retrying 4:pending 5:superseded 6:delivered 7:delivered]"; got != want && got != "[1:delivered 2:exhausted 3:pending 4:pending 5:superseded 6:delivered 7:delivered]" {
		t.Errorf("got %s, want %s", got, want)
	}
	pos := r.open("sub_1")
	r.same("due", pos.Due, []delivery.Exception{due(blocked(3, "con_a"), minute(11))})
	r.same("waiting", pos.Waiting, map[string]int{"con_a": 2})

	// Of several of a subject that are settled together none is roused.
	r.publish(app1, event.ConsentCreated, "con_c", "con_c", "con_c")
	o = r.record(delivery.Progress{
		Lease: pos.Lease, At: minute(14), Cursor: 10, Put: []delivery.Exception{blocked(8, "con_c"), blocked(9, "con_c"), blocked(10, "con_c")},
		Settled: []delivery.Settlement{{Seq: 8, Subject: "con_c", As: delivery.Superseded}, {Seq: 9, Subject: "con_c", As: delivery.Superseded}},
	})
	r.same("what was roused", o.Roused, []delivery.Exception{due(blocked(10, "con_c"), minute(14))})
}

func rouse(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_b", "con_c")
	r.record(delivery.Progress{
		Lease: p.Lease, At: t0, Cursor: 5,
		Put: []delivery.Exception{blocked(2, "con_a"), blocked(1, "con_a"), retrying(3, "con_b", minute(9)), blocked(4, "con_b"), {Seq: 5, Subject: "con_c", State: delivery.EndExhausted, Tries: 1}},
	})
	o := r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Rouse: []string{"con_b", "con_c", "con_a", "con_none"}})
	r.same("what was roused", o.Roused, []delivery.Exception{due(blocked(1, "con_a"), minute(1))})
	pos := r.open("sub_1")
	r.same("due", pos.Due, []delivery.Exception{due(blocked(1, "con_a"), minute(1)), retrying(3, "con_b", minute(9))})
	o = r.record(delivery.Progress{Lease: pos.Lease, At: minute(2), Rouse: []string{"con_a"}})
	if len(o.Roused) != 0 {
		t.Errorf("got %v roused of a subject that has one due already, want none", o.Roused)
	}
}

func recordHealth(_ *testing.T, r *room) {
	p := r.ready("con_a")
	br := delivery.Breaker{Open: true, Since: minute(1), Failures: 20, Reason: "It answered 500 ☃."}
	hold := delivery.Hold{State: delivery.NeedsReauthorisation, Since: minute(2), Reason: "invalid_grant", Exchange: exchange(minute(2))}
	check := func(what string, br delivery.Breaker, hold delivery.Hold) {
		r.t.Helper()
		h, err := r.Store.Health(r.ctx, app1, "sub_1")
		r.must(err)
		r.same(what+": breaker", h.Breaker, br)
		r.same(what+": hold", h.Hold, hold)
		p = r.open("sub_1")
		r.same(what+": breaker of the position", p.Breaker, br)
		r.same(what+": hold of the position", p.Hold, hold)
	}
	check("a new endpoint", delivery.Breaker{}, delivery.Hold{})
	r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Breaker: &br, Hold: &hold})
	check("both", br, hold)
	r.record(delivery.Progress{Lease: p.Lease, At: minute(2), Cursor: 1, Attempts: []delivery.Attempt{attempt(1, 1, t0, true)}})
	check("unchanged", br, hold)
	r.record(delivery.Progress{Lease: p.Lease, At: minute(3), Breaker: &delivery.Breaker{}})
	check("the breaker is closed", delivery.Breaker{}, hold)
	hold.State, hold.NextAt, hold.Exchange = delivery.TokenTrouble, minute(9), &delivery.Exchange{At: minute(3), Step: delivery.StepDNS}
	r.record(delivery.Progress{Lease: p.Lease, At: minute(3), Hold: &hold})
	check("another exchange", delivery.Breaker{}, hold)
	hold = delivery.Hold{State: delivery.Authorised, Since: minute(4)}
	r.record(delivery.Progress{Lease: p.Lease, At: minute(4), Hold: &hold})
	check("authorised again, without an exchange", delivery.Breaker{}, hold)
	lost := p.Lease
	r.open("sub_1")
	if o := r.tryRecord(delivery.Progress{Lease: lost, At: minute(5), Hold: &delivery.Hold{State: delivery.TokenTrouble, Exchange: exchange(minute(5))}}); !o.Fenced {
		r.t.Error("a hold was recorded under a lease that passed on")
	}
	check("fenced", delivery.Breaker{}, hold)
}

func suspend(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c")
	told := subscriber(app1, "sub_2", event.WebhookStatusChanged)
	r.put(told)
	changed := r.event(app1, "sub_1", event.WebhookStatusChanged)
	changed.Except = "sub_1"
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(5), Cursor: 2, Attempts: []delivery.Attempt{attempt(1, 1, t0, false), attempt(3, 1, t0, true)},
		Put:     []delivery.Exception{retrying(1, "con_a", minute(6)), blocked(2, "con_a")},
		Suspend: &delivery.Suspension{Reason: "It answered 410 Gone.", Events: []event.Event{changed}},
	})
	e, err := r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "sub_1")
	r.must(err)
	if e.Status != subscription.Suspended || e.StatusReason != "It answered 410 Gone." || !e.StatusSince.Equal(minute(5)) {
		t.Errorf("got %s since %v: %q, want suspended with its reason", e.Status, e.StatusSince, e.StatusReason)
	}
	evts := r.events(app1)
	if last := evts[len(evts)-1]; last.ID != changed.ID || last.Seq != 5 || last.Sequence != 1 {
		t.Errorf("got %+v as the last event, want what became of the endpoint", last)
	}
	r.same("what another is told", seqs(r.all("sub_2", 0)), []event.Seq{5})
	r.notActive("a suspended endpoint", "sub_1")
	if o := r.tryRecord(delivery.Progress{Lease: p.Lease, At: minute(6), Cursor: 4}); !o.Fenced {
		t.Error("the lease outlived the suspension")
	}
	r.publish(app1, event.ConsentCreated, "con_d")
	if got, want := r.statuses(app1, "sub_1"), "[1:held 2:held 3:delivered 4:held 6:held]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog != 4 || h.Discarded != 0 {
		t.Errorf("got backlog %d, discarded %d, want 4, 0", h.Backlog, h.Discarded)
	}
}

// recordBatch: one call for several endpoints; one that is fenced takes nothing
// from the others.
func recordBatch(t *testing.T, r *room) {
	p := r.ready("con_a", "con_b")
	r.put(subscriber(app2, "sub_2", event.ConsentCreated), subscriber(app2, "sub_3", event.ConsentCreated))
	r.publish(app2, event.ConsentCreated, "con_a", "con_a")
	p2, p3 := r.open("sub_2"), r.open("sub_3")
	r.open("sub_3") // the lease passes on
	batch := []delivery.Progress{
		{Lease: p.Lease, At: t0, Cursor: 1, Attempts: []delivery.Attempt{attempt(1, 1, t0, true)}},
		{Lease: p3.Lease, At: t0, Cursor: 2, Attempts: []delivery.Attempt{attempt(1, 1, t0, true)}},
		{Lease: p2.Lease, At: t0, Cursor: 2, Put: []delivery.Exception{retrying(1, "con_a", minute(1)), blocked(2, "con_a")}, Attempts: []delivery.Attempt{attempt(1, 1, t0, false)}},
		{Lease: p2.Lease, At: minute(1), Attempts: []delivery.Attempt{attempt(1, 2, minute(1), true)}, Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}}},
	}
	for i := range batch {
		batch[i] = r.complete(batch[i])
	}
	out, err := r.Store.Record(r.ctx, batch)
	r.must(err)
	if len(out) != 4 || out[0].Fenced || !out[1].Fenced || out[2].Fenced || out[3].Fenced || len(out[3].Roused) != 1 {
		t.Fatalf("got %+v, want the second fenced alone, in order", out)
	}
	if got, want := r.statuses(app1, "sub_1"), "[1:delivered 2:pending]"; got != want {
		t.Errorf("sub_1: got %s, want %s", got, want)
	}
	if got := r.open("sub_3"); got.Cursor != 0 {
		t.Errorf("sub_3: got cursor %d, want 0", got.Cursor)
	}
	if out, err := r.Store.Record(r.ctx, nil); len(out) != 0 || err != nil {
		t.Errorf("an empty batch: got %v, %v, want nothing", out, err)
	}
}

func replay(t *testing.T, r *room) {
	p := r.ready("con_a", "con_b", "con_b", "con_c", "con_d")
	r.record(delivery.Progress{
		Lease: p.Lease, At: t0, Cursor: 4,
		Attempts: []delivery.Attempt{attempt(1, 1, t0, true), attempt(2, 1, t0, false), attempt(4, 1, t0, false), attempt(4, 2, minute(1), false)},
		Put:      []delivery.Exception{retrying(2, "con_b", minute(60)), blocked(3, "con_b"), {Seq: 4, Subject: "con_c", State: delivery.EndExhausted, Tries: 2}},
	})
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_1", Endpoint: "sub_1", Seqs: []event.Seq{1, 2, 3, 4}, CreatedAt: minute(2)})
	})
	o := r.record(delivery.Progress{Lease: p.Lease, At: minute(5), Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: []event.Seq{1, 2, 3}, Done: 3}})
	hastened := retrying(2, "con_b", minute(5))
	r.same("what waited for a retry is due now", o.Roused, []delivery.Exception{hastened})
	fed := delivery.Exception{Seq: 1, Subject: "con_a", State: delivery.WaitTurn, Base: 1, Replay: true}
	r.same("what was delivered waits its turn in a new round", o.Fed, []delivery.Exception{fed})
	pos := r.open("sub_1")
	if len(pos.Replays) != 1 || pos.Replays[0].Done != 3 {
		t.Errorf("got replays %+v, want one with 3 done", pos.Replays)
	}
	jobs, err := r.Store.Replays(r.ctx, "sub_1")
	r.must(err)
	r.same("the unfinished replays", jobs, pos.Replays)
	if want := map[string]int{"con_a": 1, "con_b": 2}; !maps.Equal(pos.Waiting, want) {
		t.Errorf("got waiting %v, want %v", pos.Waiting, want)
	}
	o = r.record(delivery.Progress{Lease: pos.Lease, At: minute(6), Rouse: []string{"con_a"}, Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: []event.Seq{4}, Done: 4}})
	fed4 := delivery.Exception{Seq: 4, Subject: "con_c", State: delivery.WaitTurn, Base: 2, Replay: true}
	r.same("what was exhausted waits its turn in a new round", o.Fed, []delivery.Exception{fed4})
	pos = r.open("sub_1")
	jobs, err = r.Store.Replays(r.ctx, "sub_1")
	if len(pos.Replays)+len(jobs) != 0 || err != nil {
		t.Errorf("got replays %+v, %+v, %v, want none when all were fed", pos.Replays, jobs, err)
	}
	// What was fed before is roused when it is asked for.
	if !slices.ContainsFunc(pos.Due, func(e delivery.Exception) bool { return e.Seq == 1 && e.NextAt.Equal(minute(6)) && e.Replay }) {
		t.Errorf("got due %+v, want place 1 among them", pos.Due)
	}
	again := attempt(1, 2, minute(7), true)
	again.Replay = true
	r.record(delivery.Progress{Lease: pos.Lease, At: minute(7), Attempts: []delivery.Attempt{again}, Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}}})
	d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 1))
	r.must(err)
	if d.Status != delivery.Delivered || d.AttemptCount != 2 || !d.Attempts[1].Replay || d.Attempts[0].Replay {
		t.Errorf("got %s after %d attempts, want it delivered by the second, a replay", d.Status, d.AttemptCount)
	}

	// A repeat of the mark after a lost answer feeds nothing twice.
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_2", Endpoint: "sub_1", Seqs: []event.Seq{1}, CreatedAt: minute(8)})
	})
	mark := delivery.Progress{Lease: pos.Lease, At: minute(9), Replayed: &delivery.ReplayMark{ID: "rpl_2", Feed: []event.Seq{1}, Done: 1}}
	r.record(mark)
	r.record(mark)
	if got := r.open("sub_1"); got.Waiting["con_a"] != 1 || len(got.Replays) != 0 {
		t.Errorf("got %d of con_a waiting, replays %v, want 1, none", got.Waiting["con_a"], got.Replays)
	}
	told, err := r.Store.ReplayJobs(r.ctx, app1, "sub_1")
	r.must(err)
	if len(told) != 2 {
		t.Fatalf("got %d replays, want both", len(told))
	}
	r.same("the latest replay", told[0], delivery.ReplayJob{ID: "rpl_2", Total: 1, Done: 1, Ended: true, CreatedAt: minute(8)})
}

func replaySelection(_ *testing.T, r *room) {
	r.apps()
	old := r.publish(app1, event.ConsentCreated, "con_old") // before the endpoint: 1
	e := subscriber(app1, "sub_1", event.ConsentCreated)
	r.put(e)
	evts := r.publish(app1, event.ConsentCreated, "con_a", "con_b", "con_b", "con_c", "con_d") // 2..6
	other := r.publish(app1, event.ConsentApproved, "con_a")                                   // 7, of no feed of its
	waits := r.publish(app1, event.ConsentCreated, "con_e")                                    // 8
	foreign := r.publish(app2, event.ConsentCreated, "con_a")
	p := r.open("sub_1")
	r.record(delivery.Progress{
		Lease: p.Lease, At: t0, Cursor: 7,
		Attempts: []delivery.Attempt{attempt(2, 1, t0, true), attempt(3, 1, t0, false), attempt(5, 1, t0, false), attempt(6, 1, t0, true)},
		Put:      []delivery.Exception{retrying(3, "con_b", minute(60)), blocked(4, "con_b"), {Seq: 5, Subject: "con_c", State: delivery.EndExhausted, Tries: 1}},
	})
	far := minute(100_000)
	id := func(e event.Event) string { return e.ID }
	tests := []struct {
		name string
		q    store.ReplayQuery
		want []event.Seq
	}{
		{"all of the time, never what waits", store.ReplayQuery{From: t0, To: far}, []event.Seq{1, 2, 5, 6}},
		{"from inclusive, to exclusive", store.ReplayQuery{From: evts[0].RecordedAt, To: evts[4].RecordedAt}, []event.Seq{2, 5}},
		{"to a moment later", store.ReplayQuery{From: evts[0].RecordedAt.Add(time.Millisecond), To: evts[4].RecordedAt.Add(time.Millisecond)}, []event.Seq{5, 6}},
		{"a time without events", store.ReplayQuery{From: far, To: far.Add(time.Hour)}, nil},
		{"the exhausted ones", store.ReplayQuery{From: t0, To: far, Status: delivery.Exhausted}, []event.Seq{5}},
		{"the delivered ones", store.ReplayQuery{From: t0, To: far, Status: delivery.Delivered}, []event.Seq{2, 6}},
		{"a status that none has", store.ReplayQuery{From: t0, To: far, Status: delivery.Discarded}, nil},
		{"by ID, in the log's order", store.ReplayQuery{EventIDs: []string{id(evts[4]), id(evts[0])}}, []event.Seq{2, 6}},
		{"by ID, one twice", store.ReplayQuery{EventIDs: []string{id(evts[0]), id(evts[0])}}, []event.Seq{2}},
		{"by ID, before the endpoint was there", store.ReplayQuery{EventIDs: []string{id(old[0])}}, []event.Seq{1}},
		{"by ID, not what waits", store.ReplayQuery{EventIDs: []string{id(evts[1]), id(evts[2]), id(evts[3]), id(waits[0])}}, []event.Seq{5}},
	}
	for _, tt := range tests {
		got, _, err := r.Store.ReplaySelection(r.ctx, app1, "sub_1", tt.q)
		r.must(err)
		r.same(tt.name, got, tt.want)
	}
	for what, wrong := range map[string]string{"an unknown event": "evt_none", "an event of another feed": id(other[0]), "another's event": id(foreign[0])} {
		_, _, err := r.Store.ReplaySelection(r.ctx, app1, "sub_1", store.ReplayQuery{EventIDs: []string{id(evts[0]), wrong}})
		r.at(what, err, "/eventIds/1")
	}
	r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Hold: &delivery.Hold{State: delivery.TokenTrouble, Since: minute(1)}})
	got, _, err := r.Store.ReplaySelection(r.ctx, app1, "sub_1", store.ReplayQuery{From: t0, To: far})
	r.must(err)
	r.same("never what is held", got, []event.Seq{1, 2, 5, 6})
	_, _, err = r.Store.ReplaySelection(r.ctx, app1, "sub_9", store.ReplayQuery{From: t0, To: far})
	r.notFound("an unknown endpoint", err)
}

func deliveryStatus(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c", "con_d", "con_e", "con_f")
	r.publish(app1, event.ConsentApproved, "con_a") // 8 is not told
	r.publish(app1, event.ConsentCreated, "con_g")  // 9
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 5,
		Attempts: []delivery.Attempt{
			attempt(1, 1, t0, false), attempt(3, 1, t0, false), attempt(3, 2, minute(1), true), attempt(4, 1, t0, false),
			attempt(6, 1, t0, true), // above the cursor
		},
		Put: []delivery.Exception{
			retrying(1, "con_a", minute(3)), blocked(2, "con_a"),
			{Seq: 4, Subject: "con_c", State: delivery.EndExhausted, Tries: 1}, {Seq: 5, Subject: "con_d", State: delivery.EndSuperseded},
		},
	})
	if got, want := r.statuses(app1, "sub_1"), "[1:retrying 2:pending 3:delivered 4:exhausted 5:superseded 6:delivered 7:pending 9:pending]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	evts := r.events(app1)
	view := func(seq event.Seq) delivery.View {
		d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", seq))
		r.must(err)
		return d.View
	}
	want := func(seq event.Seq, s delivery.Status, attempts int, next, delivered time.Time) delivery.View {
		e := evts[seq-1]
		return delivery.View{
			ID: delivery.ID("sub_1", seq), EventID: e.ID, Endpoint: "sub_1", Seq: seq, Type: e.Type, Subject: e.Subject, Sequence: e.Sequence,
			Status: s, AttemptCount: attempts, NextAttemptAt: next, DeliveredAt: delivered, CreatedAt: e.RecordedAt,
		}
	}
	var never time.Time
	for _, w := range []delivery.View{
		want(1, delivery.Retrying, 1, minute(3), never),
		want(2, delivery.Pending, 0, never, never),
		want(4, delivery.Exhausted, 1, never, never),
		want(5, delivery.Superseded, 0, never, never),
		want(7, delivery.Pending, 0, never, never),
	} {
		got := view(w.Seq)
		if (w.AttemptCount > 0) != (got.Reason != "") && w.Status != delivery.Superseded {
			t.Errorf("place %d: got reason %q after %d failures", w.Seq, got.Reason, w.AttemptCount)
		}
		got.Reason = ""
		r.same(fmt.Sprint("place ", w.Seq), got, w)
	}
	// Delivered at the end of the attempt, or at its start.
	for _, seq := range []event.Seq{3, 6} {
		got := view(seq)
		a := map[event.Seq]time.Time{3: minute(1), 6: t0}[seq]
		if got.Status != delivery.Delivered || got.DeliveredAt.Before(a) || got.DeliveredAt.After(a.Add(2*time.Millisecond)) || got.Reason != "" || !got.NextAttemptAt.IsZero() {
			t.Errorf("place %d: got %+v, want delivered at %v", seq, got, a)
		}
	}
	for _, seq := range []event.Seq{8, 10, 99} {
		_, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", seq))
		r.notFound(fmt.Sprint("a delivery of place ", seq, ", which is not told"), err)
	}
	for _, bad := range []string{"", "dlv_", "dlv_zzzz", delivery.ID("sub_9", 1), "evt_1"} {
		_, err := r.Store.Delivery(r.ctx, app1, bad)
		r.notFound(fmt.Sprintf("the delivery %q", bad), err)
	}

	// A hold shows what waits as held, and nothing else.
	r.record(delivery.Progress{Lease: p.Lease, At: minute(2), Hold: &delivery.Hold{State: delivery.TokenTrouble, Since: minute(2), Reason: "No token."}})
	if got, want := r.statuses(app1, "sub_1"), "[1:held 2:held 3:delivered 4:exhausted 5:superseded 6:delivered 7:held 9:held]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.record(delivery.Progress{Lease: p.Lease, At: minute(3), Hold: &delivery.Hold{State: delivery.Authorised, Since: minute(3)}})
	if got, want := r.statuses(app1, "sub_1"), "[1:retrying 2:pending 3:delivered 4:exhausted 5:superseded 6:delivered 7:pending 9:pending]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func deliveryPages(t *testing.T, r *room) {
	r.apps()
	r.put(subscriber(app1, "sub_b", event.ConsentCreated), interceptor(app1, "int_a"), subscriber(app1, "sub_gone", event.ConsentCreated))
	for i := range 20 {
		r.publish(app1, []event.Type{event.ConsentCreated, event.ConsentApproved}[i/3%2], fmt.Sprint("con_", i%3))
	}
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_gone", minute(50)) })
	r.publish(app2, event.ConsentCreated, "con_0")
	p := r.open("sub_b")
	r.record(delivery.Progress{
		Lease: p.Lease, At: t0, Cursor: 6, Attempts: []delivery.Attempt{attempt(1, 1, t0, true), attempt(2, 1, t0, true), attempt(3, 1, t0, false)},
		Put: []delivery.Exception{retrying(3, "con_2", minute(60))},
	})
	evts := r.events(app1)
	created := func(s event.Seq) bool { return evts[s-1].Type == event.ConsentCreated }
	all := r.deliveries(app1, store.DeliveryQuery{})
	count := map[delivery.Endpoint]int{}
	for i, v := range all {
		count[v.Endpoint]++
		if i > 0 && (v.Seq > all[i-1].Seq || v.Seq == all[i-1].Seq && v.Endpoint == all[i-1].Endpoint) {
			t.Errorf("got %d:%s after %d:%s, want newest first, each once", v.Seq, v.Endpoint, all[i-1].Seq, all[i-1].Endpoint)
		}
		if v.Endpoint != "int_a" && !created(v.Seq) || v.Interceptor != (v.Endpoint == "int_a") || v.ID != delivery.ID(v.Endpoint, v.Seq) {
			t.Errorf("got %+v, want it under its endpoint's feed", v)
		}
	}
	if n := 11; count["int_a"] != 20 || count["sub_b"] != n || count["sub_gone"] != n {
		t.Errorf("got %v, want 20 of int_a and %d of each other, the deleted included", count, n)
	}
	tests := []struct {
		name string
		q    store.DeliveryQuery
		keep func(v delivery.View) bool
	}{
		{"all", store.DeliveryQuery{}, func(delivery.View) bool { return true }},
		{"of a subscription", store.DeliveryQuery{Endpoint: "sub_b", Style: subscription.Subscription}, func(v delivery.View) bool { return v.Endpoint == "sub_b" }},
		{"of an interceptor", store.DeliveryQuery{Endpoint: "int_a", Style: subscription.Interceptor}, func(v delivery.View) bool { return v.Endpoint == "int_a" }},
		{"of a subject", store.DeliveryQuery{Subject: "con_1"}, func(v delivery.View) bool { return v.Subject == "con_1" }},
		{"of an event", store.DeliveryQuery{EventID: evts[6].ID}, func(v delivery.View) bool { return v.Seq == 7 }},
		{"of an event unknown", store.DeliveryQuery{EventID: "evt_none"}, func(delivery.View) bool { return false }},
		{"of a type", store.DeliveryQuery{Type: event.ConsentApproved}, func(v delivery.View) bool { return !created(v.Seq) }},
		{"of a type and a subject", store.DeliveryQuery{Type: event.ConsentCreated, Subject: "con_1"}, func(v delivery.View) bool { return created(v.Seq) && v.Subject == "con_1" }},
		{"delivered", store.DeliveryQuery{Status: delivery.Delivered}, func(v delivery.View) bool { return v.Endpoint == "sub_b" && v.Seq < 3 }},
		{"retrying", store.DeliveryQuery{Status: delivery.Retrying}, func(v delivery.View) bool { return v.Endpoint == "sub_b" && v.Seq == 3 }},
		{"cancelled", store.DeliveryQuery{Status: delivery.Cancelled}, func(v delivery.View) bool { return v.Endpoint == "sub_gone" }},
		{"pending", store.DeliveryQuery{Status: delivery.Pending}, func(v delivery.View) bool { return v.Endpoint == "int_a" || v.Endpoint == "sub_b" && v.Seq > 6 }},
		{"pending of one subject and endpoint", store.DeliveryQuery{Status: delivery.Pending, Subject: "con_0", Endpoint: "sub_b", Style: subscription.Subscription}, func(v delivery.View) bool { return v.Endpoint == "sub_b" && v.Seq > 6 && v.Subject == "con_0" }},
		{"from inclusive, to exclusive", store.DeliveryQuery{From: evts[4].RecordedAt, To: evts[9].RecordedAt}, func(v delivery.View) bool { return v.Seq >= 5 && v.Seq < 10 }},
		{"from a time", store.DeliveryQuery{From: evts[15].RecordedAt.Add(time.Millisecond)}, func(v delivery.View) bool { return v.Seq > 16 }},
		{"to a time", store.DeliveryQuery{To: evts[2].RecordedAt.Add(time.Millisecond)}, func(v delivery.View) bool { return v.Seq <= 3 }},
		{"a status that none has", store.DeliveryQuery{Status: delivery.Superseded}, func(delivery.View) bool { return false }},
	}
	for _, tt := range tests {
		var want []delivery.View
		for _, v := range all {
			if tt.keep(v) {
				want = append(want, v)
			}
		}
		for _, limit := range []int{1, 4, 100} {
			tt.q.Limit = limit
			r.same(fmt.Sprintf("%s, %d a page", tt.name, limit), r.deliveries(app1, tt.q), want)
		}
	}
	pulses, err := r.Store.Pulses(r.ctx, app1, []subscription.ID{"sub_b", "int_a", "sub_none"}, 2)
	r.must(err)
	if ps := pulses["sub_b"]; len(ps) != 2 || ps[0].Delivered || !ps[1].Delivered || !ps[0].At.Equal(t0) || len(pulses["int_a"])+len(pulses["sub_none"]) != 0 {
		t.Errorf("got pulses %+v, want the failed attempt at 3 and the one before", pulses)
	}
	if pulses, err := r.Store.Pulses(r.ctx, app2, []subscription.ID{"sub_b"}, 2); err != nil || len(pulses["sub_b"]) != 0 {
		t.Errorf("got %v, %v of another application's endpoint, want none", pulses, err)
	}
	if n, err := r.Store.Behind(r.ctx, app1, "sub_b", 6); err != nil || n != 8 {
		t.Errorf("behind 6: got %d, %v, want the 8 that are created", n, err)
	}
	_, err = r.Store.Behind(r.ctx, app1, "sub_gone", 0)
	r.notFound("what a deleted endpoint is behind", err)
	_, _, err = r.Store.Deliveries(r.ctx, app1, store.DeliveryQuery{Endpoint: "int_a", Style: subscription.Subscription, Limit: 5})
	r.notFound("an interceptor's deliveries asked for as a subscription's", err)
	_, _, err = r.Store.Deliveries(r.ctx, app1, store.DeliveryQuery{Endpoint: "sub_none", Style: subscription.Subscription, Limit: 5})
	r.notFound("the deliveries to an unknown endpoint", err)
	for _, after := range []string{"?", "evt_1", "\x00"} {
		_, _, err = r.Store.Deliveries(r.ctx, app1, store.DeliveryQuery{Limit: 5, After: after})
		r.at(fmt.Sprintf("deliveries after %q", after), err, "after")
	}
}

// manyEndpoints: a page that looks at one event at a time, for so many endpoints
// may hear it, goes on to the next one.
func manyEndpoints(t *testing.T, r *room) {
	const n = 80
	r.apps()
	for i := range n {
		r.put(subscriber(app1, subscription.ID(fmt.Sprintf("sub_%02d", i)), event.ConsentCreated))
	}
	for i := range 5 {
		r.publish(app1, event.ConsentApproved, fmt.Sprint("con_", i)) // nobody hears it
		r.publish(app1, event.ConsentCreated, fmt.Sprint("con_", i))
	}
	evts := r.events(app1)
	for _, tt := range []struct {
		name string
		q    store.DeliveryQuery
		want int
	}{
		{"all", store.DeliveryQuery{}, 5 * n}, {"of an event", store.DeliveryQuery{EventID: evts[3].ID}, n}, {"of one that nobody hears", store.DeliveryQuery{EventID: evts[2].ID}, 0},
		{"of a subject", store.DeliveryQuery{Subject: "con_2"}, n}, {"of a type", store.DeliveryQuery{Type: event.ConsentCreated}, 5 * n}, {"pending", store.DeliveryQuery{Status: delivery.Pending}, 5 * n},
	} {
		for _, limit := range []int{7, 30, 100} {
			pages, seen := 0, map[string]bool{}
			for q := tt.q; ; pages++ {
				q.Limit = limit
				list, next, err := r.Store.Deliveries(r.ctx, app1, q)
				r.must(err)
				for _, v := range list {
					seen[v.ID] = true
				}
				if q.After = next; next == "" {
					break
				}
				if len(list) < limit {
					t.Fatalf("%s: a page of %d of %d, and there are more", tt.name, len(list), limit)
				}
			}
			if len(seen) != tt.want || pages > tt.want/limit {
				t.Errorf("%s, %d a page: got %d on %d pages, want %d", tt.name, limit, len(seen), pages+1, tt.want)
			}
		}
	}
}

func deliveryDetail(t *testing.T, r *room) {
	p := r.ready("con_a")
	e, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	first := attempt(1, 1, t0, false)
	first.Subject = "con_a"
	r.record(delivery.Progress{Lease: p.Lease, At: t0, Attempts: []delivery.Attempt{first}, Put: []delivery.Exception{retrying(1, "con_a", minute(1))}})
	was := picture(e)
	e.Version, e.URL = 2, "https://example.org/moved"
	r.put(e)
	second := attempt(1, 2, minute(1), true)
	second.Config, second.Subject = 2, "con_a"
	r.record(delivery.Progress{Lease: p.Lease, At: minute(1), Cursor: 1, Attempts: []delivery.Attempt{second}, Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}}})
	e.Version = 3
	r.put(e)
	d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 1))
	r.must(err)
	e.Version = 2
	r.same("the attempts, each with its configuration", d.Attempts, []delivery.AttemptView{{Attempt: first, Shown: was}, {Attempt: second, Shown: picture(e)}})
	evt := r.events(app1)[0]
	if string(d.Body) != string(evt.Body) || d.EventID != evt.ID {
		t.Errorf("got body %s of %s, want that of the event", d.Body, d.EventID)
	}
}

func pause(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c", "con_d") // 1..5
	e, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 2, Breaker: &delivery.Breaker{Open: true, Since: minute(1), Failures: 20, Reason: "x"},
		Attempts: []delivery.Attempt{attempt(1, 1, t0, false), attempt(3, 1, t0, true), attempt(4, 1, t0, false)},
		Put:      []delivery.Exception{retrying(1, "con_a", minute(3)), blocked(2, "con_a"), {Seq: 4, Subject: "con_c", State: delivery.EndExhausted, Tries: 1}},
	})
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_1", Endpoint: "sub_1", Seqs: []event.Seq{3, 4}, CreatedAt: minute(1)})
	})
	e = r.become(e, subscription.Paused, minute(5))
	r.publish(app1, event.ConsentCreated, "con_e", "con_a")  // 6, 7
	r.publish(app1, event.ConsentApproved, "con_e", "con_a") // 8, 9 are not told
	during := "[1:discarded 2:discarded 3:delivered 4:exhausted 5:discarded 6:discarded 7:discarded]"
	if got := r.statuses(app1, "sub_1"); got != during {
		t.Errorf("while paused: got %s, want %s", got, during)
	}
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog != 0 || h.Discarded != 5 || !h.OldestAt.IsZero() {
		t.Errorf("while paused: got backlog %d since %v, discarded %d, want 0, 5", h.Backlog, h.OldestAt, h.Discarded)
	}
	d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 6))
	r.must(err)
	if d.Status != delivery.Discarded || d.AttemptCount != 0 || !d.NextAttemptAt.IsZero() {
		t.Errorf("got %+v, want it discarded without an attempt", d.View)
	}

	e = r.become(e, subscription.Active, minute(10))
	r.publish(app1, event.ConsentCreated, "con_a") // 10
	after := "[1:discarded 2:discarded 3:delivered 4:exhausted 5:discarded 6:discarded 7:discarded 10:pending]"
	if got := r.statuses(app1, "sub_1"); got != after {
		t.Errorf("after the pause: got %s, want %s", got, after)
	}
	pos := r.open("sub_1")
	if pos.Cursor != 9 || len(pos.Due)+len(pos.Waiting)+len(pos.Replays) != 0 || pos.Breaker != (delivery.Breaker{}) {
		t.Errorf("after the pause: got %+v, want the log's end of then and nothing that waits", pos)
	}
	r.same("what is sent", seqs(r.all("sub_1", pos.Cursor)), []event.Seq{10})
	h, err = r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog != 1 {
		t.Errorf("after the pause: got backlog %d, want 1", h.Backlog)
	}

	// What was discarded can be replayed on request.
	got, _, err := r.Store.ReplaySelection(r.ctx, app1, "sub_1", store.ReplayQuery{From: t0, To: minute(1000), Status: delivery.Discarded})
	r.must(err)
	r.same("the discarded ones", got, []event.Seq{1, 2, 5, 6, 7})
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_2", Endpoint: "sub_1", Seqs: []event.Seq{1, 6}, CreatedAt: minute(11)})
	})
	o := r.record(delivery.Progress{Lease: pos.Lease, At: minute(12), Replayed: &delivery.ReplayMark{ID: "rpl_2", Feed: []event.Seq{1, 6}, Done: 2}})
	r.same("fed", o.Fed, []delivery.Exception{
		{Seq: 1, Subject: "con_a", State: delivery.WaitTurn, Base: 1, Replay: true}, {Seq: 6, Subject: "con_e", State: delivery.WaitTurn, Replay: true},
	})
	sent := attempt(6, 1, minute(13), true)
	sent.Replay = true
	r.record(delivery.Progress{Lease: pos.Lease, At: minute(13), Attempts: []delivery.Attempt{sent}, Settled: []delivery.Settlement{{Seq: 6, Subject: "con_e", As: delivery.Delivered}}})
	d, err = r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 6))
	r.must(err)
	if d.Status != delivery.Delivered {
		t.Errorf("got %s after it was replayed, want delivered", d.Status)
	}

	// A second pause counts from its own beginning, and discards what was fed.
	r.become(e, subscription.Paused, minute(20))
	h, err = r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Discarded != 2 || h.Backlog != 0 {
		t.Errorf("in the second pause: got %d discarded, backlog %d, want the 2 that waited, 0", h.Discarded, h.Backlog)
	}
	if got, want := r.statuses(app1, "sub_1"), "[1:discarded 2:discarded 3:delivered 4:exhausted 5:discarded 6:delivered 7:discarded 10:discarded]"; got != want {
		t.Errorf("in the second pause: got %s, want %s", got, want)
	}
}

func resumeSuspended(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c") // 1..4
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 3, Breaker: &delivery.Breaker{Open: true, Since: minute(1), Failures: 20, Reason: "x"},
		Attempts: []delivery.Attempt{attempt(1, 1, t0, false), attempt(3, 1, t0, false)},
		Put:      []delivery.Exception{retrying(1, "con_a", minute(300)), blocked(2, "con_a"), retrying(3, "con_b", minute(400))},
		Suspend:  &delivery.Suspension{Reason: "It answered 410."},
	})
	r.publish(app1, event.ConsentCreated, "con_d") // 5
	e, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	e.StatusReason = ""
	r.become(e, subscription.Active, minute(10))
	pos := r.open("sub_1")
	if pos.Cursor != 3 || pos.Breaker != (delivery.Breaker{}) {
		t.Errorf("got cursor %d, breaker %+v, want 3 and closed", pos.Cursor, pos.Breaker)
	}
	slices.SortFunc(pos.Due, func(a, b delivery.Exception) int { return int(a.Seq - b.Seq) })
	r.same("what waited for a retry is due now", pos.Due, []delivery.Exception{retrying(1, "con_a", minute(10)), retrying(3, "con_b", minute(10))})
	if want := map[string]int{"con_a": 2, "con_b": 1}; !maps.Equal(pos.Waiting, want) {
		t.Errorf("got waiting %v, want %v", pos.Waiting, want)
	}
	r.same("what is read", seqs(r.all("sub_1", pos.Cursor)), []event.Seq{4, 5})
	if got, want := r.statuses(app1, "sub_1"), "[1:retrying 2:pending 3:retrying 4:pending 5:pending]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	// Suspended, and then made an owner's pause: then it is discarded.
	r.record(delivery.Progress{Lease: pos.Lease, At: minute(20), Suspend: &delivery.Suspension{Reason: "It answered 410."}})
	e, err = r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	r.become(e, subscription.Paused, minute(21))
	if got, want := r.statuses(app1, "sub_1"), "[1:discarded 2:discarded 3:discarded 4:discarded 5:discarded]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func deleteEndpoint(t *testing.T, r *room) {
	p := r.ready("con_a", "con_a", "con_b", "con_c", "con_d") // 1..5
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 2,
		Attempts: []delivery.Attempt{attempt(1, 1, t0, false), attempt(3, 1, t0, true), attempt(4, 1, t0, false)},
		Put:      []delivery.Exception{retrying(1, "con_a", minute(3)), blocked(2, "con_a"), {Seq: 4, Subject: "con_c", State: delivery.EndExhausted, Tries: 1}},
	})
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_1", minute(5)) })
	r.publish(app1, event.ConsentCreated, "con_e") // 6 is not told any more
	_, err := r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "sub_1")
	r.notFound("a deleted endpoint", err)
	_, err = r.Store.Config(r.ctx, "sub_1")
	r.notFound("its configuration", err)
	if _, n, err := r.Store.Endpoints(r.ctx, app1, store.EndpointQuery{Style: subscription.Subscription, Limit: 5}); n != 0 || err != nil {
		t.Errorf("got %d endpoints, %v, want none", n, err)
	}
	if got, want := r.statuses(app1, "sub_1"), "[1:cancelled 2:cancelled 3:delivered 4:exhausted 5:cancelled]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for seq, attempts := range map[event.Seq]int{1: 1, 3: 1, 5: 0} {
		d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", seq))
		r.must(err)
		if len(d.Attempts) != attempts || !d.NextAttemptAt.IsZero() || len(d.Body) == 0 || attempts > 0 && d.Attempts[0].Shown.URL == "" {
			t.Errorf("place %d: got %+v, want it readable with %d attempts and none to come", seq, d, attempts)
		}
	}
	if o := r.tryRecord(delivery.Progress{Lease: p.Lease, At: minute(6), Cursor: 5}); !o.Fenced {
		t.Error("the lease outlived its endpoint")
	}

	// A paused one keeps what it discarded.
	e := subscriber(app1, "sub_2", event.ConsentCreated)
	r.put(e)
	r.publish(app1, event.ConsentCreated, "con_f") // 7
	r.become(e, subscription.Paused, minute(10))
	r.publish(app1, event.ConsentCreated, "con_f") // 8
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_2", minute(11)) })
	r.publish(app1, event.ConsentCreated, "con_f") // 9
	if got, want := r.statuses(app1, "sub_2"), "[7:discarded 8:discarded]"; got != want {
		t.Errorf("a paused one: got %s, want %s", got, want)
	}
}

func health(t *testing.T, r *room) {
	p := r.ready()
	check := func(what string, backlog int, oldest time.Time) {
		t.Helper()
		h, err := r.Store.Health(r.ctx, app1, "sub_1")
		r.must(err)
		if h.Backlog != backlog || h.AtLeast || !h.OldestAt.Equal(oldest) || h.Discarded != 0 {
			t.Errorf("%s: got backlog %d (at least: %t) since %v, %d discarded, want %d since %v", what, h.Backlog, h.AtLeast, h.OldestAt, h.Discarded, backlog, oldest)
		}
	}
	check("nothing was logged", 0, time.Time{})
	evts := r.publish(app1, event.ConsentCreated, "con_a", "con_a", "con_b", "con_c")
	r.publish(app1, event.ConsentApproved, "con_a")
	check("nothing was tried", 4, evts[0].RecordedAt)
	r.record(delivery.Progress{
		Lease: p.Lease, At: t0, Cursor: 2, Attempts: []delivery.Attempt{attempt(1, 1, t0, false), attempt(3, 1, t0, true)},
		Put: []delivery.Exception{retrying(1, "con_a", minute(1)), blocked(2, "con_a")},
	})
	check("one delivered, two exceptions, one not read", 3, evts[0].RecordedAt)
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(1), Cursor: 3, Attempts: []delivery.Attempt{attempt(1, 2, minute(1), true)},
		Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}},
	})
	check("the first is delivered, the second is due", 2, evts[1].RecordedAt)
	r.record(delivery.Progress{
		Lease: p.Lease, At: minute(2), Attempts: []delivery.Attempt{attempt(2, 1, minute(2), false)},
		Settled: []delivery.Settlement{{Seq: 2, Subject: "con_a", As: delivery.Exhausted}},
	})
	check("the second is exhausted", 1, evts[3].RecordedAt)
	r.record(delivery.Progress{Lease: p.Lease, At: minute(3), Attempts: []delivery.Attempt{attempt(4, 1, minute(3), true)}})
	check("all are settled, the cursor lags", 0, time.Time{})
	r.record(delivery.Progress{Lease: p.Lease, At: minute(3), Cursor: 5})
	check("all are settled", 0, time.Time{})
	_, err := r.Store.Health(r.ctx, app1, "sub_9")
	r.notFound("an unknown endpoint", err)
}

func longBacklog(t *testing.T, r *room) {
	p := r.ready()
	const many = delivery.BacklogExact
	publish := func(n int) {
		for n > 0 {
			var subjects []string
			for range min(n, 500) {
				subjects = append(subjects, fmt.Sprint("con_", n%7))
			}
			r.publish(app1, event.ConsentCreated, subjects...)
			n -= len(subjects)
		}
	}
	publish(many)
	r.publish(app1, event.ConsentApproved, "con_1", "con_2")
	first := r.events(app1)[0]
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog != many || h.AtLeast {
		t.Errorf("got backlog %d (at least: %t), want exactly %d", h.Backlog, h.AtLeast, many)
	}
	publish(2)
	h, err = r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog < many || h.Backlog > many+2 || !h.AtLeast || !h.OldestAt.Equal(first.RecordedAt) {
		t.Errorf("got backlog %d (at least: %t) since %v, want a lower bound of at least %d since %v", h.Backlog, h.AtLeast, h.OldestAt, many, first.RecordedAt)
	}
	r.record(delivery.Progress{Lease: p.Lease, At: t0, Cursor: 10})
	h, err = r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if h.Backlog != many-8 || h.AtLeast {
		t.Errorf("got backlog %d (at least: %t), want exactly %d", h.Backlog, h.AtLeast, many-8)
	}
	var all []delivery.View
	q := store.DeliveryQuery{Endpoint: "sub_1", Style: subscription.Subscription, Limit: 1000}
	for range 100 {
		vs, next, err := r.Store.Deliveries(r.ctx, app1, q)
		r.must(err)
		all = append(all, vs...)
		if q.After = next; next == "" {
			break
		}
	}
	if len(all) != many+2 && len(all) != many-8 { // what the cursor passed without an attempt may be left out
		t.Errorf("got %d deliveries on all pages, want %d", len(all), many+2)
	}
}

// restart: what was committed is there after the store was closed and opened.
func restart(t *testing.T, r *room) {
	r.apps()
	r.everything(app1, "1", t0)
	r.everything(app2, "2", minute(3))
	paused := subscriber(app1, "sub_p", event.ConsentApproved)
	r.put(paused)
	paused = r.become(paused, subscription.Paused, minute(4))
	r.publish(app1, event.ConsentApproved, "con_1")
	filtered, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	filtered.EventTypes, filtered.Version = []event.Type{event.ConsentApproved}, 2
	r.put(filtered)
	r.publish(app1, event.ConsentCreated, "con_2")
	r.publish(app1, event.ConsentApproved, "con_2")
	lease := r.open("sub_1").Lease

	picture := func() map[string]string {
		out := map[string]string{}
		keep := func(what string, v any, err error) {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			out[what] = fmt.Sprintf("%+v", v)
		}
		as, n, err := r.Store.Applications(r.ctx, 0, 10)
		keep("applications", append([]any{n}, fmt.Sprint(as)), err)
		for _, app := range []string{"1", "2"} {
			a := access.ID("app_" + app)
			cs, err := r.Store.Credentials(r.ctx, a)
			keep("credentials "+app, cs, err)
			tok, err := r.Store.AccessToken(r.ctx, access.HashToken("t"+app))
			keep("token "+app, tok, err)
			cons, _, err := r.Store.Consents(r.ctx, a, store.ConsentQuery{Limit: 10, CitizenID: "ctz-con_" + app})
			keep("consents "+app, len(cons), err)
			for _, c := range cons {
				keep("consent "+app, c, nil)
			}
			keep("events "+app, r.events(a), nil)
			keep("deliveries "+app, r.deliveries(a, store.DeliveryQuery{}), nil)
			d, err := r.Store.Delivery(r.ctx, a, delivery.ID(delivery.Endpoint("sub_"+app), 3))
			keep("delivery "+app, fmt.Sprintf("%+v %+v %+v", d.View, d.Attempts[0].Response, asked(d.Attempts[0].Token)), err)
			bs, err := r.Store.Bins(r.ctx, a)
			keep("bins "+app, bs, err)
			e, err := r.Store.Config(r.ctx, delivery.Endpoint("sub_"+app))
			keep("endpoint "+app, fmt.Sprintf("%+v %s", e, e.SigningSecrets[0].Secret.Reveal()), err)
			h, err := r.Store.Health(r.ctx, a, subscription.ID("sub_"+app))
			keep("hold "+app, asked(h.Hold.Exchange), err)
			h.Hold.Exchange = nil
			keep("health "+app, h, nil)
			kept, err := r.Store.Token(r.ctx, delivery.Endpoint("sub_"+app))
			keep("kept token "+app, shownToken(kept), err)
			ks, err := r.Store.SigningKeys(r.ctx, a)
			keep("key pairs "+app, shownKeys(ks), err)
			keep("items "+app, seqs(r.all(subscription.ID("sub_"+app), 0)), nil)
			r.update(func(tx store.Tx) error {
				i, err := tx.Idempotent(a, "r", "k", t0)
				keep("answer "+app, i, err)
				return nil
			})
		}
		h, err := r.Store.Health(r.ctx, app1, "sub_p")
		keep("paused", h, err)
		es, err := r.Store.Active(r.ctx)
		keep("active", es, err)
		dl, err := r.Store.NextDeadline(r.ctx)
		keep("deadline", dl, err)
		return out
	}
	was := picture()
	r.Store = r.Reopen(t, nil)
	now := picture()
	for what, want := range was {
		if now[what] != want {
			t.Errorf("%s:\ngot  %s\nwant %s", what, now[what], want)
		}
	}
	pos := r.open("sub_1")
	if pos.Lease.Epoch <= lease.Epoch {
		t.Errorf("got epoch %d after %d before the restart, want a new one", pos.Lease.Epoch, lease.Epoch)
	}
	if o := r.tryRecord(delivery.Progress{Lease: lease, At: minute(9), Cursor: 5}); !o.Fenced {
		t.Error("a lease from before the restart outlived the next")
	}
	if pos.Cursor != 3 || len(pos.Due) != 1 || len(pos.Replays) != 1 {
		t.Errorf("got %+v, want where it stood", pos)
	}
	r.same("what it is told", seqs(r.all("sub_1", 0)), []event.Seq{2, 3, 4, 5, 7})

	// The numbers go on.
	r.publish(app1, event.ConsentRevoked, "con_1")
	evts := r.events(app1)
	if last := evts[len(evts)-1]; last.Seq != 8 || last.Sequence != 4 {
		t.Errorf("got place %d, sequence %d, want 8, 4", last.Seq, last.Sequence)
	}
	r.become(paused, subscription.Active, minute(10))
	if got := r.open("sub_p").Cursor; got != 8 {
		t.Errorf("got cursor %d after the pause, want 8", got)
	}
}
