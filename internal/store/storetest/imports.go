package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// anImport is an import with every member set.
func anImport(app access.ID, id, key string) store.Import {
	return store.Import{
		ID: id, Application: app, Key: key, Silent: true, Done: true, Lines: 1 << 40, Recorded: 5, Refused: 4, Errors: 9, Kept: 7,
		Digest: [32]byte{1, 31: 2}, StartedAt: minute(1), UpdatedAt: minute(2),
	}
}

func imports(_ *testing.T, r *room) {
	r.apps()
	a, b := anImport(app1, "imp_1", "key ☃"), anImport(app1, "imp_2", "")
	lineErrors := func(n int64) store.ImportError {
		return store.ImportError{Line: n, Fields: []fault.Field{
			{Path: "/a" + fmt.Sprint(n), Code: "required", Msg: "It is required."}, {Code: "too_long", Msg: "It is ☃."},
		}}
	}
	r.update(func(tx store.Tx) error {
		need(tx.PutImport(a, lineErrors(3), lineErrors(1)))
		return tx.PutImport(b)
	})
	r.update(func(tx store.Tx) error { return tx.PutImport(anImport(app2, "imp_3", "key ☃")) })

	// It goes on; what names it stays.
	a.Lines, a.Recorded, a.Refused, a.Errors, a.Kept, a.Done, a.Digest, a.UpdatedAt = 7, 6, 5, 4, 3, false, [32]byte{9}, minute(9)
	r.update(func(tx store.Tx) error {
		next := a
		next.Key, next.Silent, next.StartedAt = "another", false, minute(5)
		need(tx.PutImport(next, lineErrors(1<<33)))
		return nil
	})
	check := func(when string) {
		r.t.Helper()
		want := []store.Import{b, a}
		for i := range want {
			want[i].Key = ""
		}
		list, next, err := r.Store.Imports(r.ctx, app1, 10, "")
		r.must(err)
		r.same(when+": all", list, want)
		r.same(when+": the next page", next, "")
		list, next, err = r.Store.Imports(r.ctx, app1, 1, "")
		r.must(err)
		r.same(when+": the first page", list, want[:1])
		list, next, err = r.Store.Imports(r.ctx, app1, 1, next)
		r.must(err)
		r.same(when+": the second page", list, want[1:])
		r.same(when+": the page after", next, "")
		got, err := r.Store.Import(r.ctx, app1, "imp_1")
		r.must(err)
		r.same(when+": one", got, want[1])
		r.update(func(tx store.Tx) error {
			got, err := tx.Import(app1, "imp_1")
			need(err)
			r.same(when+": in a transaction", got, want[1])
			got, err = tx.ImportByKey(app1, "key ☃")
			need(err)
			r.same(when+": by its key", got, want[1])
			_, err = tx.ImportByKey(app1, "another")
			r.notFound(when+": by another key", err)
			return nil
		})

		errs, more, err := r.Store.ImportErrors(r.ctx, app1, "imp_1", 2, 0)
		r.must(err)
		r.same(when+": the first errors", errs, []store.ImportError{lineErrors(1), lineErrors(3)})
		r.same(when+": whether there are more", more, true)
		errs, more, err = r.Store.ImportErrors(r.ctx, app1, "imp_1", 2, 3)
		r.must(err)
		r.same(when+": the other errors", errs, []store.ImportError{lineErrors(1 << 33)})
		r.same(when+": whether there are more still", more, false)
		errs, _, err = r.Store.ImportErrors(r.ctx, app1, "imp_2", 2, 0)
		r.must(err)
		r.same(when+": the errors of an import without any", len(errs), 0)
	}
	check("after its change")

	_, err := r.Store.Import(r.ctx, app2, "imp_1")
	r.notFound("another's import", err)
	_, _, err = r.Store.ImportErrors(r.ctx, app2, "imp_1", 2, 0)
	r.notFound("another's errors", err)
	_, _, err = r.Store.Imports(r.ctx, app2, 2, "imp_1")
	r.at("another's import to continue after", err, "after")
	r.notFound("to go on with another's import", r.Store.Update(r.ctx, func(tx store.Tx) error {
		return tx.PutImport(anImport(app2, "imp_1", ""))
	}))
	r.Store = r.Reopen(r.t, nil)
	check("after a restart")

	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	r.update(func(tx store.Tx) error {
		return tx.PutApplication(access.Application{ID: app1, CreatedAt: t0, UpdatedAt: t0})
	})
	list, _, err := r.Store.Imports(r.ctx, app1, 10, "")
	r.must(err)
	r.same("the imports of a new application of that name", len(list), 0)
	r.update(func(tx store.Tx) error { return tx.PutImport(anImport(app1, "imp_1", "key ☃")) })
	errs, _, err := r.Store.ImportErrors(r.ctx, app1, "imp_1", 2, 0)
	r.must(err)
	r.same("the errors of its first import", len(errs), 0)
}

// recordedTogether: many citizens and transactions that are put together are
// as those that are put one by one.
func recordedTogether(_ *testing.T, r *room) {
	r.apps()
	const n = 150
	who := func(i int) permission.CitizenID { return permission.CitizenID(fmt.Sprintf("ctz_%03d", i)) }
	told := func(app access.ID, i, k int) event.Event {
		return event.Event{
			ID: fmt.Sprintf("evt_%s_%d_%d", app, i, k), Application: string(app), Feed: event.EffectivePermission, Type: event.PermissionsEffective,
			Subject: string(who(i)), OccurredAt: minute(k), RecordedAt: minute(k), Body: fmt.Appendf(nil, `{"n":%d}`, k),
		}
	}
	// Every third citizen is there before, and every fifth only as a subject.
	for _, app := range []access.ID{app1, app2} {
		r.update(func(tx store.Tx) error {
			for i := range n {
				c := person(app, who(i), 5)
				if i%3 == 0 {
					c.ID = who(i)
					need(tx.PutCitizen(c))
				} else if i%5 == 0 {
					need(tx.Publish(told(app, i, 1)))
				}
			}
			return nil
		})
	}
	var cs []store.Citizen
	var ts []permission.Transaction
	for i := range n {
		c := person(app1, who(i), 7)
		c.Version, c.Language = 3, "en"
		if i%4 == 0 {
			c.ExternalRef, c.Standing = "", permission.Standing{}
		}
		cs = append(cs, c)
		x := recorded(who(i), 7)
		x.Origin.Transaction += "_new"
		ts = append(ts, x)
	}
	for _, app := range []access.ID{app1, app2} {
		r.update(func(tx store.Tx) error {
			var ids []permission.CitizenID
			var refs []string
			for i := range n {
				if i%2 == 0 {
					ids = append(ids, who(i))
				} else {
					refs = append(refs, "ref of "+string(who(i)))
				}
			}
			found, err := tx.CitizensBy(app, ids, refs)
			need(err)
			var names []string
			for _, c := range found {
				names = append(names, string(c.ID))
				r.same("a citizen among many", c, person(app, c.ID, 5))
			}
			slices.Sort(names)
			names = slices.Compact(names)
			r.same("how many citizens are found", len(names), n/3)
			found, err = tx.CitizensBy(app, nil, nil)
			need(err)
			r.same("how many are found by nothing", len(found), 0)

			var evts []event.Event
			for i := range n {
				evts = append(evts, told(app, i, 2), told(app, i, 3))
				cs[i].Application = app
			}
			mine := slices.Clone(ts)
			if app == app2 {
				mine = nil // their names are the other application's
			}
			return tx.PutRecorded(app, cs, mine, evts...)
		})
	}
	for _, app := range []access.ID{app1, app2} {
		for i := range n {
			cs[i].Application = app
			got, err := r.Store.Citizen(r.ctx, app, who(i))
			r.must(err)
			r.same("a citizen", got, cs[i])
		}
	}
	for i := range n {
		got, err := r.Store.Transactions(r.ctx, app1, who(i))
		r.must(err)
		r.same("a history", got, ts[i:i+1])
		if i%4 != 0 {
			c, err := r.Store.CitizenByRef(r.ctx, app1, "ref of "+string(who(i)))
			r.must(err)
			r.same("a citizen by reference", c.ID, who(i))
		}
	}
	last := map[string]int64{}
	seen := 0
	for _, e := range r.events(app1) {
		if e.Sequence != last[e.Subject]+1 {
			r.t.Errorf("got sequence %d of %s after %d", e.Sequence, e.Subject, last[e.Subject])
		}
		last[e.Subject] = e.Sequence
		if strings.HasSuffix(e.ID, "_2") || strings.HasSuffix(e.ID, "_3") {
			seen++
		}
	}
	r.same("how many events there are", seen, 2*n)

	// A reference that somebody else has.
	err := r.Store.Update(r.ctx, func(tx store.Tx) error {
		c := person(app1, "ctz_new", 8)
		c.ExternalRef = "ref of " + string(who(1))
		return tx.PutRecorded(app1, []store.Citizen{c}, nil)
	})
	if fault.KindOf(err) != fault.Conflict || fault.CodeOf(err) != "external_ref_taken" {
		r.t.Errorf("got %v, want external_ref_taken", err)
	}
	r.update(func(tx store.Tx) error { return tx.PutRecorded(app1, nil, nil) })

	// New ones are made in the order given, and what changes meanwhile within a
	// transaction is not taken for what it was.
	z, y := person(app1, "ctz_z", 9), person(app1, "ctz_y", 9)
	first := person(app1, who(2), 10)
	r.update(func(tx store.Tx) error {
		_, err := tx.CitizensBy(app1, []permission.CitizenID{first.ID}, nil)
		need(err)
		is := func(when string, want store.Citizen, not ...string) {
			got, err := tx.CitizenByRef(app1, want.ExternalRef)
			need(err)
			r.same(when, got, want)
			linked, err := tx.Linked(app1, want.Group)
			need(err)
			if want.Group != "" {
				r.same(when+": its group", linked, []store.Citizen{want})
			}
			for _, ref := range not {
				_, err := tx.CitizenByRef(app1, ref)
				r.notFound(when+": a reference that it had", err)
			}
		}
		changed := first
		changed.ExternalRef, changed.Group = "another", "lnk_1"
		need(tx.PutCitizen(changed))
		need(tx.PutRecorded(app1, []store.Citizen{z, first, y}, nil))
		is("as it was before", first, "another")
		_, err = tx.CitizensBy(app1, nil, []string{first.ExternalRef})
		need(err)
		changed.ExternalRef = "a third"
		need(tx.PutRecorded(app1, []store.Citizen{changed}, nil))
		is("changed", changed, "another", first.ExternalRef)
		changed.ExternalRef = first.ExternalRef
		need(tx.PutRecorded(app1, []store.Citizen{changed}, nil))
		is("with its reference again", changed, "a third")
		changed.Group = "lnk_2"
		need(tx.PutRecorded(app1, []store.Citizen{changed}, nil))
		is("in another group", changed)
		need(tx.PutRecorded(app1, []store.Citizen{first}, nil))
		is("in none", first)
		linked, err := tx.Linked(app1, "lnk_2")
		need(err)
		r.same("the group that it left", linked, []store.Citizen(nil))
		return nil
	})
	list, _, err := r.Store.Citizens(r.ctx, app1, store.CitizenQuery{Limit: 2})
	r.must(err)
	r.same("the newest", list, []store.Citizen{y, z})
	got, err := r.Store.CitizenByRef(r.ctx, app1, first.ExternalRef)
	r.must(err)
	r.same("one that changed to and fro", got, first)
}
