package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

func inParts(t *testing.T, r *room) {
	if delivery.MaxParts != subscription.MaxParts {
		t.Errorf("got at most %d parts here and %d there", delivery.MaxParts, subscription.MaxParts)
	}
	const n = 3
	r.apps()
	e := subscriber(app1, "sub_1", event.ConsentCreated)
	e.Parts = n
	changes := make(chan store.Change, 100)
	r.Store.Watch(func(c store.Change) { changes <- c })
	r.put(e)
	ids := delivery.Parts("sub_1", n)
	for told := false; !told; { // it ends with the test when it is not
		select {
		case c := <-changes:
			told = slices.Contains(c.Endpoints, ids[0]) && slices.Contains(c.Endpoints, ids[n-1])
		default:
			t.Fatal("got no change of the parts")
		}
	}
	active, err := r.Store.Active(r.ctx)
	r.must(err)
	r.same("active", active, ids)
	for _, wrong := range []delivery.Endpoint{"sub_1", "sub_1/1of2", "sub_1/2of4"} {
		_, err := r.Store.Open(r.ctx, wrong)
		if fault.CodeOf(err) != "not_active" {
			t.Errorf("%s: got %v opened, want not_active", wrong, err)
		}
	}

	// Each subject is one part's, all of it and in order.
	var subjects []string
	for i := range 40 {
		subjects = append(subjects, fmt.Sprintf("con_%d", i%10))
	}
	r.publish(app1, event.ConsentCreated, subjects...) // 1..40
	r.publish(app1, event.ConsentApproved, "con_1")    // not told
	pos, heard := map[delivery.Endpoint]delivery.Position{}, map[event.Seq]delivery.Endpoint{}
	for _, id := range ids {
		p, err := r.Store.Open(r.ctx, id)
		r.must(err)
		if p.Lease.Endpoint != id || p.Cursor != 0 {
			t.Errorf("%s: got %+v, want it to begin before what was logged", id, p)
		}
		pos[id] = p
		conf, err := r.Store.Config(r.ctx, id)
		r.must(err)
		if conf.ID != "sub_1" || conf.Parts != n {
			t.Errorf("%s: got the configuration of %s in %d parts", id, conf.ID, conf.Parts)
		}
		for after := event.Seq(0); ; {
			page, err := r.Store.Read(r.ctx, id, after, 3, 1<<20) // small pages
			r.must(err)
			for _, it := range page.Items {
				if _, twice := heard[it.Seq]; twice || !id.Hears(it.Subject) || it.Seq <= after {
					t.Errorf("%s: got event %d of %s, want each once, in order, of its subjects", id, it.Seq, it.Subject)
				}
				heard[it.Seq] = id
			}
			if page.Upto == after {
				break
			}
			after = page.Upto
		}
	}
	if len(heard) != 40 {
		t.Errorf("got %d events heard by the parts, want 40", len(heard))
	}
	of := func(id delivery.Endpoint) (list []event.Seq) {
		for seq := event.Seq(1); seq <= 40; seq++ {
			if heard[seq] == id {
				list = append(list, seq)
			}
		}
		return list
	}
	a, b := of(ids[0]), of(ids[1])
	if len(a) < 4 || len(b) < 4 {
		t.Fatalf("got %d and %d events for two parts, want the test to begin with more", len(a), len(b))
	}

	// One part is done, another has trouble, the third has not begun.
	subject := func(seq event.Seq) string { return subjects[seq-1] }
	all := delivery.Progress{Lease: pos[ids[0]].Lease, At: minute(100), Cursor: 41}
	for _, seq := range a {
		all.Attempts = append(all.Attempts, attempt(seq, 1, minute(100), true))
	}
	r.record(all)
	r.record(delivery.Progress{
		Lease: pos[ids[1]].Lease, At: minute(100), Cursor: b[0], Attempts: []delivery.Attempt{attempt(b[0], 1, minute(100), false), attempt(b[2], 1, minute(100), true)},
		Put: []delivery.Exception{retrying(b[0], subject(b[0]), minute(101))},
	})
	h, err := r.Store.Health(r.ctx, app1, "sub_1")
	r.must(err)
	if want := 40 - len(a) - 1; h.Backlog != want {
		t.Errorf("got backlog %d, want %d", h.Backlog, want)
	}
	status := func(what string, seq event.Seq, want delivery.Status) {
		t.Helper()
		d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", seq))
		r.must(err)
		if d.Status != want || d.Endpoint != "sub_1" {
			t.Errorf("%s: got %s of %s, want %s of sub_1", what, d.Status, d.Endpoint, want)
		}
	}
	status("of the part that is done", a[len(a)-1], delivery.Delivered)
	status("of the part with trouble", b[0], delivery.Retrying)
	status("ahead of its part's cursor", b[2], delivery.Delivered)
	status("behind it", b[1], delivery.Pending)
	status("of the part that has not begun", of(ids[2])[0], delivery.Pending)
	if got, err := r.Store.Prune(r.ctx, store.Prune{Before: later, Now: later}); err != nil || got.Events != 0 {
		t.Errorf("got %d events taken, %v, want none: a part waits for the first", got.Events, err)
	}

	// Each part stands where it was, with its own exceptions.
	one, err := r.Store.Open(r.ctx, ids[0])
	r.must(err)
	two, err := r.Store.Open(r.ctx, ids[1])
	r.must(err)
	if one.Cursor != 41 || len(one.Due)+len(one.Waiting) != 0 {
		t.Errorf("got %+v, want the part that is done to stand at 41 with nothing that waits", one)
	}
	if two.Cursor != b[0] || len(two.Due) != 1 || two.Due[0].Seq != b[0] || len(two.Waiting) != 1 || !two.Settled[b[2]] {
		t.Errorf("got %+v, want the part with trouble to stand at %d with one that waits", two, b[0])
	}
	if o := r.tryRecord(delivery.Progress{Lease: pos[ids[1]].Lease, At: minute(102), Cursor: 41}); !o.Fenced {
		t.Error("got progress under a lease that passed on recorded, want it fenced")
	}
	if o := r.tryRecord(delivery.Progress{Lease: pos[ids[2]].Lease, At: minute(102)}); o.Fenced {
		t.Error("got a part fenced whose lease did not pass on")
	}

	// Each part replays its own.
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_1", Endpoint: "sub_1", Seqs: append(slices.Clone(a[:2]), b[2]), CreatedAt: minute(103)})
	})
	for id, want := range map[delivery.Endpoint][]event.Seq{ids[0]: a[:2], ids[1]: {b[2]}, ids[2]: nil} {
		jobs, err := r.Store.Replays(r.ctx, id)
		r.must(err)
		var got []event.Seq
		for _, j := range jobs {
			got = append(got, j.Seqs...)
		}
		slices.Sort(want)
		r.same("to be replayed by "+string(id), got, want)
	}
	jobs, err := r.Store.Replays(r.ctx, ids[0])
	r.must(err)
	o := r.record(delivery.Progress{Lease: one.Lease, At: minute(104), Replayed: &delivery.ReplayMark{ID: jobs[0].ID, Feed: a[:2], Done: 2}})
	if len(o.Fed) != 2 {
		t.Errorf("got %d fed, want 2", len(o.Fed))
	}

	// A pause is all parts', and so is what follows it.
	conf, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	conf = r.become(conf, subscription.Paused, minute(110))
	for _, l := range []delivery.Lease{one.Lease, two.Lease, pos[ids[2]].Lease} {
		if o := r.tryRecord(delivery.Progress{Lease: l, At: minute(111), Cursor: 41}); !o.Fenced {
			t.Errorf("%s: got progress recorded in a pause, want it fenced", l.Endpoint)
		}
	}
	status("in the pause", of(ids[2])[0], delivery.Discarded)
	status("delivered before", b[2], delivery.Delivered)
	r.become(conf, subscription.Active, minute(112))
	r.publish(app1, event.ConsentCreated, "con_1", "con_2", "con_3", "con_4")
	sent := 0
	for _, id := range ids {
		p, err := r.Store.Open(r.ctx, id)
		r.must(err)
		if p.Cursor != 41 || len(p.Due)+len(p.Waiting)+len(p.Replays) != 0 {
			t.Errorf("%s: after the pause: got %+v, want it at the log's end of then", id, p)
		}
		page, err := r.Store.Read(r.ctx, id, p.Cursor, 100, 1<<20)
		r.must(err)
		sent += len(page.Items)
	}
	if sent != 4 {
		t.Errorf("after the pause: got %d events to send, want 4", sent)
	}

	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_1", minute(120)) })
	_, err = r.Store.Open(r.ctx, ids[0])
	if fault.CodeOf(err) != "not_active" {
		t.Errorf("got %v for a part of what is deleted, want not_active", err)
	}
	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
}
