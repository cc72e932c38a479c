package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// conflict fails the test unless err is that conflict.
func (r *room) conflict(what string, err error, code, field string) {
	r.t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Conflict || f.Code != code || f.Field != field {
		r.t.Errorf("%s: got %v, want the conflict %s at %s", what, err, code, field)
	}
}

// linked: citizens are found by their group, in the order in which they were
// made.
func linked(_ *testing.T, r *room) {
	r.apps()
	one := []store.Citizen{person(app1, "ctz_c", 1), person(app1, "ctz_a", 2), person(app1, "ctz_b", 3)}
	twin, alone := person(app2, "ctz_a", 4), person(app1, "ctz_d", 5)
	for i := range one {
		one[i].Group = "lnk_1"
	}
	twin.Group = "lnk_1"
	want := func(when string, app access.ID, group string, cs ...store.Citizen) {
		r.t.Helper()
		r.update(func(tx store.Tx) error {
			got, err := tx.Linked(app, group)
			need(err)
			r.same(when+": "+group+" of "+string(app), got, cs)
			return nil
		})
		got, err := r.Store.Linked(r.ctx, app, group)
		r.must(err)
		r.same(when+": "+group+" of "+string(app)+", read", got, cs)
	}
	r.update(func(tx store.Tx) error {
		for _, c := range append(slices.Clip(one), twin, alone) {
			need(tx.PutCitizen(c))
		}
		got, err := tx.Linked(app1, "lnk_1")
		need(err)
		r.same("its own writes", got, one)
		return nil
	})
	want("at first", app1, "lnk_1", one...)
	want("at first", app2, "lnk_1", twin)
	want("at first", app1, "lnk_2")
	want("at first", app1, "")
	for _, c := range append(slices.Clip(one), twin, alone) {
		got, err := r.Store.Citizen(r.ctx, c.Application, c.ID)
		r.must(err)
		r.same("a citizen", got, c)
	}

	one[0].Group, one[0].Version, one[1].Group, one[1].Version = "", 2, "lnk_2", 2
	r.update(func(tx store.Tx) error { return tx.PutRecorded(app1, one[:1], nil) })
	r.update(func(tx store.Tx) error { return tx.PutCitizen(one[1]) })
	r.Store = r.Reopen(r.t, nil)
	want("parted", app1, "lnk_1", one[2])
	want("parted", app1, "lnk_2", one[1])
	want("parted", app2, "lnk_1", twin)
	r.notFound("the citizens of no application", r.Store.Update(r.ctx, func(tx store.Tx) error {
		_, err := tx.Linked("app_none", "lnk_1")
		return err
	}))
	_, err := r.Store.Linked(r.ctx, "app_none", "lnk_1")
	r.notFound("the citizens of no application, read", err)
}

// dues: what is due of a citizen is its reminder, too.
func dues(t *testing.T, r *room) {
	changes := make(chan store.Change, 100)
	r.Store.Watch(func(c store.Change) { changes <- c })
	r.apps()
	x := recorded("ctz_1", 0)
	x.Entries[0].ValidUntil = t0.Add(30 * 24 * time.Hour)
	c := person(app1, "ctz_1", 0)
	c.Standing, _ = permission.Standing{}.Record(x, t0)
	end := x.Entries[0].ValidUntil
	for _, step := range []struct {
		name     string
		reminded time.Time
		want     time.Time
	}{
		{"nothing told", time.Time{}, end.Add(-permission.ReminderAhead)},
		{"told of it", end.Add(-permission.ReminderAhead), end},
		{"not told", time.Time{}, end.Add(-permission.ReminderAhead)},
	} {
		c.Version++
		c.Reminded = step.reminded
		r.update(func(tx store.Tx) error { return tx.PutRecorded(app1, []store.Citizen{c}, nil) })
		if step.reminded.IsZero() {
			r.update(func(tx store.Tx) error { return tx.PutCitizen(c) })
		}
		got, err := r.Store.NextLapse(r.ctx)
		r.must(err)
		r.same(step.name+": the next lapse", got, step.want)
		list, err := r.Store.DueCitizens(r.ctx, step.want, 10)
		r.must(err)
		r.same(step.name+": who is due", list, []store.CitizenRef{{Application: app1, ID: "ctz_1"}})
		list, err = r.Store.DueCitizens(r.ctx, step.want.Add(-time.Millisecond), 10)
		r.must(err)
		r.same(step.name+": who is due before", list, []store.CitizenRef(nil))
		told := 0
		for len(changes) > 0 {
			if ch := <-changes; !ch.Deadline.IsZero() {
				told++
				r.same(step.name+": the deadline", ch.Deadline, step.want)
			}
		}
		if told == 0 {
			t.Errorf("%s: no watcher was told of the deadline", step.name)
		}
	}
}

// merges: one citizen becomes a part of another one, and that one of a third.
func merges(t *testing.T, r *room) {
	r.apps()
	a, b, c, twin := person(app1, "ctz_a", 1), person(app1, "ctz_b", 2), person(app1, "ctz_c", 3), person(app2, "ctz_b", 4)
	all := map[permission.CitizenID][]permission.Transaction{}
	r.update(func(tx store.Tx) error {
		clear(all)
		need(errors.Join(tx.PutCitizen(a), tx.PutCitizen(b), tx.PutCitizen(c), tx.PutCitizen(twin)))
		for n := range 9 {
			who := []permission.CitizenID{"ctz_a", "ctz_b", "ctz_c"}[n%3]
			x := recorded(who, 10+n)
			need(tx.PutTransaction(app1, x))
			all[who] = append(all[who], x)
		}
		x := recorded("ctz_b", 100)
		return tx.PutTransaction(app2, x)
	})
	first := r.event(app1, "ctz_b", event.PermissionsEffective)
	r.update(func(tx store.Tx) error { return tx.Publish(first) })
	inOrder := func(ids ...permission.CitizenID) (out []permission.Transaction) {
		for _, id := range ids {
			out = append(out, all[id]...)
		}
		slices.SortFunc(out, func(x, y permission.Transaction) int { return x.Origin.RecordedAt.Compare(y.Origin.RecordedAt) })
		return out
	}

	mergeCitizen := func(app access.ID, from, into permission.CitizenID) error {
		return r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.MergeCitizen(app, from, into) })
	}
	r.notFound("merging one unknown", mergeCitizen(app1, "ctz_x", "ctz_a"))
	r.notFound("merging into one unknown", mergeCitizen(app1, "ctz_a", "ctz_x"))
	r.notFound("merging another application's", mergeCitizen(app2, "ctz_a", "ctz_b"))
	if err := mergeCitizen(app1, "ctz_a", "ctz_a"); err == nil {
		t.Error("a citizen was merged with itself")
	}
	lost := errors.New("lost")
	if err := r.Store.Update(r.ctx, func(tx store.Tx) error { return errors.Join(tx.MergeCitizen(app1, "ctz_b", "ctz_a"), lost) }); !errors.Is(err, lost) {
		t.Fatalf("got %v, want %v", err, lost)
	}

	// A consent is found by any name of its citizen, once it is one.
	ka, kb := r.dataConsent(app1, "con_a", t0), r.dataConsent(app1, "con_b", t0)
	ka.CitizenID, kb.CitizenID = "ctz_a", "ctz_b"
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutConsent(ka), tx.PutConsent(kb)) })
	consents := func(what, citizen string, want ...consent.ID) {
		t.Helper()
		list, _, err := r.Store.Consents(r.ctx, app1, store.ConsentQuery{CitizenID: citizen})
		var got []consent.ID
		for _, k := range list {
			got = append(got, k.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v of %s, want %v", what, got, err, citizen, want)
		}
	}
	consents("before", "ctz_a", "con_a")
	consents("before", "ctz_b", "con_b")
	consents("before", "ctz_x")

	// named checks what the names of citizens lead to, by every way.
	named := func(when string, to store.Citizen, of ...store.Citizen) {
		r.t.Helper()
		for _, x := range of {
			got, err := r.Store.Citizen(r.ctx, app1, x.ID)
			r.must(err)
			r.same(when+": "+string(x.ID), got, to)
			got, err = r.Store.CitizenByRef(r.ctx, app1, x.ExternalRef)
			r.must(err)
			r.same(when+": "+x.ExternalRef, got, to)
			r.update(func(tx store.Tx) error {
				got, err := tx.Citizen(app1, x.ID)
				need(err)
				r.same(when+": "+string(x.ID)+" in a transaction", got, to)
				got, err = tx.CitizenByRef(app1, x.ExternalRef)
				need(err)
				r.same(when+": "+x.ExternalRef+" in a transaction", got, to)
				for _, by := range []func() ([]store.Citizen, error){
					func() ([]store.Citizen, error) { return tx.CitizensBy(app1, []permission.CitizenID{x.ID}, nil) },
					func() ([]store.Citizen, error) { return tx.CitizensBy(app1, nil, []string{x.ExternalRef}) },
				} {
					list, err := by()
					need(err)
					r.same(when+": "+string(x.ID)+" among many", list, []store.Citizen{to})
				}
				return nil
			})
		}
	}
	// histories checks that all that names a citizen leads to its history.
	histories := func(when string, want []permission.Transaction, ids ...permission.CitizenID) {
		r.t.Helper()
		for _, id := range ids {
			got, err := r.Store.Transactions(r.ctx, app1, id)
			r.must(err)
			r.same(when+": the history of "+string(id), got, want)
			r.update(func(tx store.Tx) error {
				got, err := tx.Transactions(app1, append([]permission.CitizenID{id}, ids...)...)
				need(err)
				r.same(when+": the history of all", got, want)
				return nil
			})
			for limit := 1; limit <= len(want)+1; limit++ {
				got, after, pages := []permission.Transaction(nil), "", 0
				for {
					list, next, err := r.Store.TransactionPage(r.ctx, app1, id, limit, after)
					r.must(err)
					got, after = append(got, list...), next
					if pages++; next == "" || pages > 20 {
						break
					}
				}
				slices.Reverse(got)
				r.same(fmt.Sprintf("%s: %d a page of %s", when, limit, id), got, want)
				if most := (len(want) + limit - 1) / limit; pages != most {
					t.Errorf("%s: %d a page: got %d pages, want %d", when, limit, pages, most)
				}
			}
		}
	}
	named("before", a, a)
	named("before", b, b)
	histories("before", all["ctz_b"], "ctz_b")
	together, err := r.Store.Transactions(r.ctx, app1, "ctz_c", "ctz_a")
	r.must(err)
	r.same("the history of two", together, inOrder("ctz_a", "ctz_c"))
	if list, err := r.Store.Transactions(r.ctx, app1); len(list) != 0 || err != nil {
		t.Errorf("got %d transactions of nobody, %v, want none", len(list), err)
	}
	_, err = r.Store.Transactions(r.ctx, app1, "ctz_a", "ctz_none")
	r.notFound("the history of one and somebody unknown", err)

	a.Version, a.Merged = 2, []store.Merged{{ID: b.ID, ExternalRef: b.ExternalRef, At: minute(30)}}
	r.update(func(tx store.Tx) error {
		need(tx.PutCheckpoint(app1, store.Checkpoint{Citizen: "ctz_b", At: minute(29), Histories: []permission.CitizenID{"ctz_b"}}))
		need(tx.MergeCitizen(app1, "ctz_b", "ctz_a"))
		return tx.PutCitizen(a, r.event(app1, "ctz_a", event.PermissionsEffective))
	})
	r.update(func(tx store.Tx) error { return tx.Publish(r.event(app1, "ctz_b", event.PermissionsEffective)) })
	check := func(when string) {
		r.t.Helper()
		named(when, a, a, b)
		histories(when, inOrder("ctz_a", "ctz_b"), "ctz_a", "ctz_b")
		histories(when, all["ctz_c"], "ctz_c")
		consents(when, "ctz_a", "con_b", "con_a")
		consents(when, "ctz_b", "con_b", "con_a")
		for _, x := range all["ctz_b"] {
			got, err := r.Store.Transaction(r.ctx, app1, x.ID())
			r.must(err)
			r.same(when+": its transaction", got, x)
		}
		got, err := r.Store.Citizen(r.ctx, app2, "ctz_b")
		r.must(err)
		r.same(when+": the other application's", got, twin)
		list, _, err := r.Store.Citizens(r.ctx, app1, store.CitizenQuery{Limit: 10})
		r.must(err)
		r.same(when+": all citizens", list, []store.Citizen{c, a})
		list, _, err = r.Store.Citizens(r.ctx, app1, store.CitizenQuery{Limit: 10, After: "ctz_b"})
		r.must(err)
		r.same(when+": those behind it", list, []store.Citizen{a})
		past, tail, err := r.Store.Past(r.ctx, app1, "ctz_b", minute(40))
		r.must(err)
		r.same(when+": whose past it is", past, store.Checkpoint{Citizen: "ctz_a", Histories: []permission.CitizenID{"ctz_a"}})
		r.same(when+": what was recorded of that one", tail, all["ctz_a"])
		due, err := r.Store.DueCitizens(r.ctx, minute(9999), 10)
		r.must(err)
		for _, d := range due {
			if d.Application == app1 && d.ID == "ctz_b" {
				t.Errorf("%s: a citizen is due who is there no more", when)
			}
		}
		for _, e := range r.events(app1) {
			if e.ID == first.ID && e.Subject != "ctz_b" {
				t.Errorf("%s: got the subject %s of an event of it, want its own", when, e.Subject)
			}
		}
	}
	check("merged")
	_, _, err = r.Store.TransactionPage(r.ctx, app1, "ctz_c", 5, string(all["ctz_b"][0].ID()))
	r.at("transactions after one of another citizen", err, "after")
	evts := r.events(app1)
	if last := evts[len(evts)-1]; last.Subject != "ctz_b" || last.Sequence != 2 {
		t.Errorf("got sequence %d of %s, want the second of ctz_b", last.Sequence, last.Subject)
	}

	// Its names are taken, for everybody else.
	c.Version, c.ExternalRef = 2, b.ExternalRef
	fresh := person(app1, "ctz_new", 5)
	fresh.ExternalRef = b.ExternalRef
	for _, x := range []store.Citizen{c, fresh} {
		put := func(fn func(store.Tx) error) error { return r.Store.Update(r.ctx, fn) }
		r.conflict("its reference for "+string(x.ID), put(func(tx store.Tx) error { return tx.PutCitizen(x) }), "external_ref_taken", "/externalRef")
		r.conflict("its reference for "+string(x.ID)+" among many", put(func(tx store.Tx) error {
			_, err := tx.CitizensBy(app1, []permission.CitizenID{x.ID}, nil)
			need(err)
			return tx.PutRecorded(app1, []store.Citizen{a, x}, nil)
		}), "external_ref_taken", "/externalRef")
	}
	c.Version, c.ExternalRef = 1, "ref of ctz_c"
	gone := b
	gone.ExternalRef = "a new one"
	if err := r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutCitizen(gone) }); err == nil {
		t.Error("a citizen was put who is a part of another one")
	}
	if err := r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutRecorded(app1, []store.Citizen{gone}, nil) }); err == nil {
		t.Error("a citizen was put among many who is a part of another one")
	}
	r.notFound("merging it again", mergeCitizen(app1, "ctz_b", "ctz_c"))
	r.notFound("merging into it", mergeCitizen(app1, "ctz_c", "ctz_b"))
	check("after refusals")
	r.Store = r.Reopen(t, nil)
	check("after a restart")

	// The one that it was merged into may have its reference, and gives it up
	// for nobody else.
	own := a.ExternalRef
	a.Version, a.ExternalRef = 3, b.ExternalRef
	r.update(func(tx store.Tx) error { return tx.PutCitizen(a) })
	r.update(func(tx store.Tx) error { return tx.PutRecorded(app1, []store.Citizen{a}, nil) })
	a.Version, a.ExternalRef = 4, own
	r.update(func(tx store.Tx) error { return tx.PutRecorded(app1, []store.Citizen{a}, nil) })
	check("with its own reference again")

	// Both names lead on when that one is merged, too.
	c.Version = 2
	c.Merged = append([]store.Merged{{ID: a.ID, ExternalRef: a.ExternalRef, At: minute(31)}}, a.Merged...)
	r.update(func(tx store.Tx) error { return errors.Join(tx.MergeCitizen(app1, "ctz_a", "ctz_c"), tx.PutCitizen(c)) })
	named("merged twice", c, a, b, c)
	histories("merged twice", inOrder("ctz_a", "ctz_b", "ctz_c"), "ctz_c", "ctz_a", "ctz_b")
	x := recorded("ctz_c", 50)
	r.update(func(tx store.Tx) error { return tx.PutTransaction(app1, x) })
	all["ctz_c"] = append(all["ctz_c"], x)
	histories("recorded since", inOrder("ctz_a", "ctz_b", "ctz_c"), "ctz_b")

	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	r.update(func(tx store.Tx) error {
		need(tx.PutApplication(access.Application{ID: app1, CreatedAt: t0, UpdatedAt: t0}))
		return tx.PutCitizen(b)
	})
	named("in a new application of that name", b, b)
	got, err := r.Store.Citizen(r.ctx, app2, "ctz_b")
	r.must(err)
	r.same("the other application's", got, twin)
}

// happening is what a test of the past did.
type happening struct {
	transaction *permission.Transaction
	checkpoint  *store.Checkpoint
}

// pastOf returns what Past returns of what happened: the model.
func pastOf(happened []happening, citizen permission.CitizenID, at time.Time) (store.Checkpoint, []permission.Transaction) {
	last, behind := store.Checkpoint{Citizen: citizen, Histories: []permission.CitizenID{citizen}}, 0
	for i, h := range happened {
		if c := h.checkpoint; c != nil && c.Citizen == citizen && !c.At.After(at) {
			last, behind = *c, i
		}
	}
	var tail []permission.Transaction
	for _, h := range happened[behind:] {
		if x := h.transaction; x != nil && slices.Contains(last.Histories, x.Citizen) && !x.Origin.RecordedAt.After(at) {
			tail = append(tail, *x)
		}
	}
	return last, tail
}

// replayed returns the state at an instant that a checkpoint and what was
// recorded behind it tell.
func replayed(c store.Checkpoint, tail []permission.Transaction, at time.Time) permission.View {
	s := c.Standing
	for _, x := range tail {
		for {
			next, d := s.Advance(x.Origin.RecordedAt)
			if d.Empty() {
				break
			}
			s = next
		}
		s, _ = s.Record(x, x.Origin.RecordedAt)
	}
	return s.Effective(at)
}

// past: a random history of three citizens with checkpoints of one and several
// histories is read at every instant.
func past(t *testing.T, r *room) {
	r.apps()
	for _, app := range []access.ID{app1, app2} {
		r.update(func(tx store.Tx) error {
			return errors.Join(tx.PutCitizen(person(app, "ctz_0", 0)), tx.PutCitizen(person(app, "ctz_1", 0)), tx.PutCitizen(person(app, "ctz_2", 0)))
		})
	}
	rnd := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- the same run each time
	who := func(n int) permission.CitizenID { return permission.CitizenID(fmt.Sprintf("ctz_%d", n)) }
	var happened []happening
	at, recordedSoFar := t0, 0
	for step := range 40 {
		if rnd.IntN(3) > 0 { // else at the same millisecond
			at = at.Add(time.Duration(1+rnd.IntN(3)) * time.Millisecond)
		}
		var news []happening
		for range 1 + rnd.IntN(4) {
			if rnd.IntN(3) > 0 {
				x := recorded(who(rnd.IntN(3)), recordedSoFar)
				recordedSoFar++
				x.Origin.RecordedAt = at
				news = append(news, happening{transaction: &x})
				continue
			}
			n := rnd.IntN(3)
			c := store.Checkpoint{Citizen: who(n), At: at}
			c.Standing, _ = permission.Standing{}.Record(recorded(c.Citizen, step), minute(step))
			switch rnd.IntN(4) {
			case 0:
				c.Histories = []permission.CitizenID{who(2), who(0), who(1)}
			case 1:
				c.Histories = []permission.CitizenID{who((n + 1) % 3)}
			default:
				c.Histories = []permission.CitizenID{who(n)}
			}
			news = append(news, happening{checkpoint: &c})
		}
		r.update(func(tx store.Tx) error {
			for _, h := range news {
				if h.checkpoint != nil {
					need(tx.PutCheckpoint(app1, *h.checkpoint))
				} else {
					need(tx.PutTransaction(app1, *h.transaction))
				}
			}
			x := recorded("ctz_0", 1000+step) // of the other application
			return errors.Join(tx.PutTransaction(app2, x), tx.PutCheckpoint(app2, store.Checkpoint{Citizen: "ctz_1", At: at}))
		})
		happened = append(happened, news...)
	}
	check := func(when string) {
		r.t.Helper()
		for ms := t0.Add(-time.Millisecond); !ms.After(at.Add(time.Millisecond)); ms = ms.Add(time.Millisecond) {
			for n := range 3 {
				gotC, gotT, err := r.Store.Past(r.ctx, app1, who(n), ms)
				r.must(err)
				wantC, wantT := pastOf(happened, who(n), ms)
				what := fmt.Sprintf("%s: ctz_%d at %s", when, n, event.Format(ms))
				r.same(what+": the checkpoint", gotC, wantC)
				r.same(what+": the transactions behind it", gotT, wantT)
			}
		}
	}
	check("at first")
	r.Store = r.Reopen(t, nil)
	check("after a restart")
	_, _, err := r.Store.Past(r.ctx, app1, "ctz_none", at)
	r.notFound("the past of a citizen unknown", err)
	_, _, err = r.Store.Past(r.ctx, "app_none", "ctz_0", at)
	r.notFound("the past of a citizen of no application", err)
}

// pastIsAsRecorded: a past made of a checkpoint and a tail is that made of the
// whole history.
func pastIsAsRecorded(t *testing.T, r *room) {
	r.apps()
	c := person(app1, "ctz_1", 0)
	c.Standing = permission.Standing{}
	var history []permission.Transaction
	at := t0
	for n := range 100 {
		if n%4 > 0 { // four at an instant
			at = at.Add(time.Millisecond)
		}
		x := recorded("ctz_1", n)
		x.Origin.RecordedAt = at
		for i := range x.Entries {
			e := &x.Entries[i]
			e.Option = permission.OptionID(fmt.Sprintf("opt-%d", (n+i)%7))
			e.ObtainedAt = at.Add(-time.Duration(n*7919%50) * time.Millisecond) // some late
			e.ValidFrom = at.Add(time.Duration(n%3) * 2 * time.Millisecond)
			e.ValidUntil = e.ValidFrom.Add(time.Duration(1+n*31%20) * time.Millisecond)
		}
		r.update(func(tx store.Tx) error {
			s := c.Standing
			for {
				next, d := s.Advance(at)
				if d.Empty() {
					break
				}
				s = next
			}
			s, _ = s.Record(x, at)
			next := c
			next.Standing, next.Version = s, int64(n+1)
			if err := tx.PutRecorded(app1, []store.Citizen{next}, []permission.Transaction{x}); err != nil {
				return err
			}
			if next.Version%32 == 0 {
				need(tx.PutCheckpoint(app1, store.Checkpoint{Citizen: c.ID, At: at, Standing: s, Histories: []permission.CitizenID{c.ID}}))
			}
			c = next
			return nil
		})
		history = append(history, x)
	}
	longest, behind := 0, 0
	for ms := t0.Add(-time.Millisecond); !ms.After(at.Add(30 * time.Millisecond)); ms = ms.Add(time.Millisecond) {
		p, tail, err := r.Store.Past(r.ctx, app1, c.ID, ms)
		r.must(err)
		r.same("the state at "+event.Format(ms), replayed(p, tail, ms), permission.AsRecorded(history, ms))
		if longest = max(longest, len(tail)); !p.At.IsZero() {
			behind++
		}
	}
	if longest > 32 || behind == 0 {
		t.Errorf("got %d transactions behind a checkpoint and %d instants that had one, want at most 32 and some", longest, behind)
	}
}
