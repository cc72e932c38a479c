package app_test

import (
	"cmp"
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

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

func (w *world) citizenID(externalRef string) permission.CitizenID {
	w.t.Helper()
	c, err := w.store.CitizenByRef(w.ctx, w.app, externalRef)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

func ref(externalRef string) app.CitizenKey { return app.CitizenKey{ExternalRef: externalRef} }

// binding is Link, Unlink or Merge.
type binding func(context.Context, access.ID, permission.CitizenID, app.CitizenKey) (app.Tied, error)

// bind carries out a binding of two citizens.
func (w *world) bind(do binding, one, other string) app.Tied {
	w.t.Helper()
	tied, err := do(w.ctx, w.app, w.citizenID(one), ref(other))
	if err != nil {
		w.t.Fatal(err)
	}
	return tied
}

// wantSaid compares what was told behind the first so many events of the log:
// whom, what, and into whom that one was merged.
func (w *world) wantSaid(behind int, want ...string) {
	w.t.Helper()
	var got []string
	for _, e := range w.events(w.app)[behind:] {
		var b struct {
			ExternalRef string
			MergedInto  *struct{ CitizenID, ExternalRef string }
		}
		if err := json.Unmarshal(e.Body, &b); err != nil {
			w.t.Fatal(err)
		}
		said := b.ExternalRef + " " + w.told(e)
		if m := b.MergedInto; m != nil {
			said += " of " + m.ExternalRef
			if w.citizenID(m.ExternalRef) != permission.CitizenID(m.CitizenID) {
				w.t.Errorf("got merged into %+v, who are two", m)
			}
		}
		got = append(got, said)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("the log tells\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantView compares what a citizen's state shows.
func (w *world) wantView(externalRef string, want ...string) {
	w.t.Helper()
	_, v := w.now(externalRef)
	var got []string
	for _, p := range v.Permissions {
		got = append(got, strings.TrimPrefix(string(p.Option), "opt-")+"="+cmp.Or(string(p.Effective()), "null"))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: got %v, want %v", externalRef, got, want)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	first := w.record(by("crm-1", change(mailing, permission.Granted))).Citizen
	w.record(by("crm-2", change(phoning, permission.Granted)))
	w.record(by("crm-3", change(mailing, permission.Denied)))
	n := len(w.events(w.app))

	tied := w.bind(w.Link, "crm-1", "crm-2")
	if tied.ID != first.ID || len(tied.Links) != 1 || tied.Links[0].ExternalRef != "crm-2" || tied.Version <= first.Version {
		t.Errorf("got %+v, want crm-1 anew, linked with crm-2", tied)
	}
	if got, err := w.Tied(w.ctx, w.app, w.citizenID("crm-2")); err != nil || len(got.Links) != 1 || got.Links[0].ID != first.ID {
		t.Errorf("got %+v, %v, want crm-2 linked with crm-1", got, err)
	}
	w.wantSaid(n,
		"crm-1 delta phoning=GRANTED", "crm-1 effective mailing=GRANTED phoning=GRANTED",
		"crm-2 delta mailing=GRANTED", "crm-2 effective mailing=GRANTED phoning=GRANTED")
	n += 4

	// Once more it changes nothing, whoever asks.
	w.bind(w.Link, "crm-1", "crm-2")
	w.bind(w.Link, "crm-2", "crm-1")
	w.wantSaid(n)

	// The latest obtainedAt counts, whose ever it is; who had it is told too.
	w.bind(w.Link, "crm-3", "crm-2")
	w.wantSaid(n,
		"crm-3 delta phoning=GRANTED", "crm-3 effective mailing=DENIED phoning=GRANTED",
		"crm-2 delta mailing=DENIED", "crm-2 effective mailing=DENIED phoning=GRANTED",
		"crm-1 delta mailing=DENIED", "crm-1 effective mailing=DENIED phoning=GRANTED")
	n += 6

	// What is recorded for one is told to each; it stands in one history, with
	// the events of all.
	r := w.record(by("crm-2", change(mailing, permission.Granted)))
	w.wantSaid(n,
		"crm-2 delta mailing=GRANTED", "crm-2 effective mailing=GRANTED phoning=GRANTED",
		"crm-1 delta mailing=GRANTED", "crm-1 effective mailing=GRANTED phoning=GRANTED",
		"crm-3 delta mailing=GRANTED", "crm-3 effective mailing=GRANTED phoning=GRANTED")
	w.wantToldBy(r.Transaction, n)
	for name, want := range map[string]int{"crm-1": 1, "crm-2": 2, "crm-3": 1} {
		if h := w.history(w.citizenID(name)); len(h) != want {
			t.Errorf("%s: got %d transactions, want %d", name, len(h), want)
		}
	}
	n += 6

	// So is a reversion, also of what another one said.
	rev, err := w.RevertTransaction(w.ctx, w.app, caller, r.Transaction.ID())
	if err != nil {
		t.Fatal(err)
	}
	w.wantSaid(n,
		"crm-2 delta mailing=DENIED", "crm-2 effective mailing=DENIED phoning=GRANTED",
		"crm-1 delta mailing=DENIED", "crm-1 effective mailing=DENIED phoning=GRANTED",
		"crm-3 delta mailing=DENIED", "crm-3 effective mailing=DENIED phoning=GRANTED")
	w.wantToldBy(rev.Transaction, n)
	n += 6

	// Parted, each has its own again, and what is gone shows as lapsed.
	tied = w.bind(w.Unlink, "crm-1", "crm-2")
	if len(tied.Links) != 1 || tied.Links[0].ExternalRef != "crm-3" {
		t.Errorf("got %+v, want crm-1 still linked with crm-3", tied.Links)
	}
	w.wantSaid(n,
		"crm-2 delta mailing=null", "crm-2 effective mailing=null phoning=GRANTED",
		"crm-1 delta phoning=null", "crm-1 effective mailing=DENIED phoning=null",
		"crm-3 delta phoning=null", "crm-3 effective mailing=DENIED phoning=null")
	n += 6
	tied, err = w.Unlink(w.ctx, w.app, first.ID, app.CitizenKey{})
	if err != nil || tied.Group != "" || len(tied.Links) != 0 {
		t.Errorf("got %+v, %v, want crm-1 alone", tied, err)
	}
	w.wantSaid(n,
		"crm-1 delta mailing=GRANTED", "crm-1 effective mailing=GRANTED phoning=null",
		"crm-3 effective mailing=DENIED phoning=null")
	_, err = w.Unlink(w.ctx, w.app, w.citizenID("crm-3"), app.CitizenKey{}) // who was the last
	wantFault(t, err, fault.Conflict, app.CodeNotLinked)
}

// wantToldBy checks that a transaction names all events behind the first so
// many, as it was returned and as it is kept.
func (w *world) wantToldBy(x permission.Transaction, behind int) {
	w.t.Helper()
	var want []string
	for _, e := range w.events(w.app)[behind:] {
		want = append(want, e.ID)
	}
	kept, err := w.store.Transaction(w.ctx, w.app, x.ID())
	if err != nil || !slices.Equal(x.Told, want) || !slices.Equal(kept.Told, want) {
		w.t.Errorf("got told %v, kept as %v, %v, want %v", x.Told, kept.Told, err, want)
	}
}

// TestLink_lapses: what lapses for one lapses for each who is linked with it,
// once, when it does.
func TestLink_lapses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		end := time.Now().Add(time.Hour)
		w.record(by("crm-1", until(change(mailing, permission.Granted), end)))
		w.record(by("crm-2", change(phoning, permission.Denied)))
		w.bind(w.Link, "crm-1", "crm-2")
		n := len(w.events(w.app))
		time.Sleep(2 * time.Hour)
		for range 2 {
			if _, err := w.AdvanceDue(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		w.wantSaid(n,
			"crm-1 delta mailing=null", "crm-1 effective mailing=null phoning=DENIED",
			"crm-2 delta mailing=null", "crm-2 effective mailing=null phoning=DENIED")
		for _, e := range w.events(w.app)[n:] {
			w.wantAt(e, end, time.Now())
		}

		// Who was not told in time is told before what comes next.
		w.record(by("crm-2", until(change(research, permission.Granted), time.Now().Add(time.Hour))))
		n = len(w.events(w.app))
		time.Sleep(2 * time.Hour)
		w.record(by("crm-1", change(phoning, permission.Granted)))
		w.wantSaid(n,
			"crm-1 delta research=null", "crm-1 effective mailing=null phoning=DENIED research=null",
			"crm-1 delta phoning=GRANTED", "crm-1 effective mailing=null phoning=GRANTED research=null",
			"crm-2 delta research=null", "crm-2 effective mailing=null phoning=DENIED research=null",
			"crm-2 delta phoning=GRANTED", "crm-2 effective mailing=null phoning=GRANTED research=null")
		log := w.events(w.app)
		h := w.history(w.citizenID("crm-1"))
		if got, want := h[len(h)-1].Told, []string{log[n+2].ID, log[n+3].ID, log[n+6].ID, log[n+7].ID}; !slices.Equal(got, want) {
			t.Errorf("got told %v, want %v without the lapses", got, want)
		}
	})
}

func TestMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		one, two := w.person("crm-1", "", "a@example.org", "b@example.org"), w.person("crm-2", "pt-BR", "b@example.org", "c@example.org")
		w.person("crm-3", "en", "d@example.org")
		w.record(by("crm-1", change(mailing, permission.Granted)))
		w.record(by("crm-2", until(change(phoning, permission.Granted), time.Now().Add(time.Hour))))
		second := w.record(by("crm-2", change(mailing, permission.Denied)))
		w.record(by("crm-3", change(research, permission.Granted)))
		w.bind(w.Link, "crm-3", "crm-2")
		time.Sleep(2 * time.Hour)
		n := len(w.events(w.app))

		tied := w.bind(w.Merge, "crm-1", "crm-2")
		at := time.Now()
		w.wantSaid(n,
			// By itself so far, and a last time with the names of whom it is a part of.
			"crm-2 delta phoning=null", "crm-2 effective mailing=DENIED phoning=null research=GRANTED",
			"crm-2 effective mailing=DENIED phoning=null research=GRANTED of crm-1",
			"crm-1 delta mailing=DENIED research=GRANTED", "crm-1 effective mailing=DENIED research=GRANTED",
			"crm-3 delta phoning=null", "crm-3 effective mailing=DENIED phoning=null research=GRANTED",
			"crm-3 effective mailing=DENIED phoning=null research=GRANTED")
		n += 8
		if want := []store.Merged{{ID: two.ID, ExternalRef: "crm-2", At: at.UTC()}}; tied.ID != one.ID || !slices.Equal(tied.Merged, want) {
			t.Errorf("got %s with the parts %v, want %s with %v", tied.ID, tied.Merged, one.ID, want)
		}
		if want := []string{"a@example.org", "b@example.org", "c@example.org"}; !slices.Equal(tied.Emails, want) || tied.Language != "pt-BR" {
			t.Errorf("got the addresses %v and the language %s, want %v and pt-BR", tied.Emails, tied.Language, want)
		}
		if len(tied.Links) != 1 || tied.Links[0].ExternalRef != "crm-3" {
			t.Errorf("got %v, want it linked with crm-3", tied.Links)
		}

		// Its names are the other one's from now on, everywhere.
		for _, k := range []app.CitizenKey{ref("crm-2"), {ID: two.ID}, {ID: two.ID, ExternalRef: "crm-1"}, {ID: one.ID, ExternalRef: "crm-2"}} {
			c, v, err := w.Permissions(w.ctx, w.app, k, time.Time{})
			if err != nil || c.ID != one.ID || c.ExternalRef != "crm-1" || len(v.Permissions) != 2 {
				t.Errorf("%+v: got %s with %d permissions, %v, want crm-1 with 2", k, c.ExternalRef, len(v.Permissions), err)
			}
		}
		for _, r := range []permission.Request{
			by("crm-2", change(mailing, permission.Granted)),
			{CitizenID: ptr(string(two.ID)), Changes: []permission.ChangeDraft{change(mailing, permission.Denied)}},
			{CitizenID: ptr(string(one.ID)), ExternalRef: ptr("crm-2"), Changes: []permission.ChangeDraft{change(mailing, permission.Granted)}},
			{CitizenID: ptr(string(two.ID)), ExternalRef: ptr("crm-1"), Changes: []permission.ChangeDraft{change(mailing, permission.Denied)}},
		} {
			if made := w.record(r); made.Citizen.ID != one.ID || made.Transaction.Citizen != one.ID {
				t.Errorf("got recorded for %s, want %s", made.Transaction.Citizen, one.ID)
			}
		}
		p, err := w.bring(app.ImportRequest{}, line("crm-2", mailing, permission.Granted), fmt.Sprintf(`{"citizenId":%q,"externalRef":"crm-2","changes":[{"optionId":%q,"justification":"consent","state":"DENIED"}]}`, two.ID, mailing))
		if err != nil || p.Recorded != 2 {
			t.Errorf("got %d lines recorded, %v, want 2", p.Recorded, err)
		}
		if rev, err := w.RevertTransaction(w.ctx, w.app, caller, second.Transaction.ID()); err != nil || rev.Transaction.Citizen != one.ID || rev.Citizen.ID != one.ID {
			t.Errorf("got the reversion of %s, %v, want it of %s", rev.Transaction.Citizen, err, one.ID)
		}
		if h := w.history(two.ID); len(h) != 1+2+4+2+1 {
			t.Errorf("got %d transactions, want those of both", len(h))
		}
		for _, e := range w.events(w.app)[n:] {
			if e.Subject == string(two.ID) {
				t.Errorf("got %s of the one that was merged: %s", e.Type, e.Body)
			}
		}
		edited, err := w.EditCitizen(w.ctx, w.app, two.ID, func(store.Citizen) (app.CitizenDraft, error) {
			return app.CitizenDraft{ID: ptr(string(two.ID)), ExternalRef: ptr("crm-2"), Language: ptr("en")}, nil
		})
		if err != nil || edited.ID != one.ID || edited.ExternalRef != "crm-1" || edited.Language != "en" || len(edited.Emails) != 0 {
			t.Errorf("got %+v, %v, want crm-1 edited, by the other name too", edited, err)
		}
		for _, d := range []app.CitizenDraft{{ID: ptr(string(two.ID)), ExternalRef: ptr("x")}, {ExternalRef: ptr("crm-2")}} {
			_, err := w.CreateCitizen(w.ctx, w.app, d)
			if fault.KindOf(err) != fault.Conflict {
				t.Errorf("got %v, want its names taken", err)
			}
		}

		// The past of both names is that of the one that there is.
		if _, v, err := w.Permissions(w.ctx, w.app, ref("crm-2"), at.Add(-time.Millisecond)); err != nil || fmt.Sprint(options(v)) != "[opt-mailing GRANTED]" {
			t.Errorf("before: got %v, %v, want what crm-1 had", options(v), err)
		}

		// Merged again nothing happens; merged into a third it takes its parts along.
		n = len(w.events(w.app))
		w.bind(w.Merge, "crm-1", "crm-2")
		if again, err := w.Merge(w.ctx, w.app, one.ID, app.CitizenKey{ID: two.ID}); err != nil || len(again.Merged) != 1 {
			t.Errorf("got %v, %v, want it as it is", again.Merged, err)
		}
		w.wantSaid(n)
		tied = w.bind(w.Merge, "crm-3", "crm-2")
		if len(tied.Merged) != 2 || tied.Merged[0].ID != one.ID || tied.Merged[1].ID != two.ID || tied.Group != "" || tied.Language != "en" {
			t.Errorf("got %+v, want crm-3 with both as its parts, alone", tied)
		}
		for _, name := range []string{"crm-1", "crm-2"} {
			if got := w.citizenID(name); got != tied.ID {
				t.Errorf("%s: got %s, want %s", name, got, tied.ID)
			}
		}
	})
}

// meanwhile is a store in which something happens before a read of the past.
type meanwhile struct {
	store.Store
	do func()
}

func (m meanwhile) Past(ctx context.Context, id access.ID, c permission.CitizenID, at time.Time) (store.Checkpoint, []permission.Transaction, error) {
	m.do()
	return m.Store.Past(ctx, id, c, at)
}

// TestMerge_whileItIsRead: a state is shown with the names of whose it is.
func TestMerge_whileItIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		one := w.record(by("crm-1", change(mailing, permission.Granted))).Citizen
		two := w.record(by("crm-2", change(phoning, permission.Granted))).Citizen
		at := time.Now()
		time.Sleep(time.Minute)
		w.record(by("crm-2", change(phoning, permission.Denied)))
		a := w.over(meanwhile{w.store, func() { w.bind(w.Merge, "crm-1", "crm-2") }})
		c, v, err := a.Permissions(w.ctx, w.app, app.CitizenKey{ID: two.ID}, at)
		if err != nil || c.ID != one.ID || c.ExternalRef != "crm-1" || fmt.Sprint(options(v)) != "[opt-mailing GRANTED]" {
			t.Errorf("got %s (%s) with %v, %v, want crm-1 with its own", c.ID, c.ExternalRef, options(v), err)
		}
	})
}

// TestMerge_emails: the addresses are at most as many as a citizen can have.
func TestMerge_emails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{"crm-1", "crm-2"} {
		d := app.CitizenDraft{ExternalRef: &r}
		for k := range app.MaxEmails - 1 {
			d.Emails = append(d.Emails, fmt.Sprintf("%s-%d@example.org", r, k))
		}
		if _, err := w.CreateCitizen(w.ctx, w.app, d); err != nil {
			t.Fatal(err)
		}
	}
	if c := w.bind(w.Merge, "crm-1", "crm-2"); len(c.Emails) != app.MaxEmails || c.Emails[app.MaxEmails-1] != "crm-2-0@example.org" {
		t.Errorf("got %v, want one more", c.Emails)
	}
}

func TestLinks_refused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	one := w.record(by("crm-1", change(mailing, permission.Granted))).Citizen
	two := w.record(by("crm-2", change(mailing, permission.Granted))).Citizen
	w.record(by("crm-3", change(mailing, permission.Granted)))
	w.bind(w.Merge, "crm-2", "crm-3")
	foreign, _, _ := w.application("Another")
	n := len(w.events(w.app))
	for what, do := range map[string]binding{
		"link": w.Link, "unlink": w.Unlink, "merge": w.Merge,
	} {
		tests := []struct {
			name  string
			app   access.ID
			cid   permission.CitizenID
			by    app.CitizenKey
			kind  fault.Kind
			code  string
			field string
		}{
			{"nobody", w.app, one.ID, app.CitizenKey{}, fault.Invalid, "required", "/citizenId"},
			{"an unknown ID", w.app, one.ID, app.CitizenKey{ID: "ctz_nobody"}, fault.NotFound, "not_found", "/citizenId"},
			{"an unknown ID with a reference", w.app, one.ID, app.CitizenKey{ID: "ctz_nobody", ExternalRef: "crm-2"}, fault.NotFound, "not_found", "/citizenId"},
			{"an unknown reference", w.app, one.ID, ref("crm-9"), fault.NotFound, "not_found", "/externalRef"},
			{"two citizens", w.app, one.ID, app.CitizenKey{ID: two.ID, ExternalRef: "crm-1"}, fault.Invalid, "mismatch", "/externalRef"},
			{"an unknown citizen", w.app, "ctz_nobody", ref("crm-2"), fault.NotFound, "not_found", ""},
			{"another application's", foreign, one.ID, ref("crm-2"), fault.NotFound, "not_found", ""},
			{"itself by its ID", w.app, one.ID, app.CitizenKey{ID: one.ID}, fault.Invalid, app.CodeSameCitizen, "/citizenId"},
			{"itself by its reference", w.app, one.ID, ref("crm-1"), fault.Invalid, app.CodeSameCitizen, "/externalRef"},
			{"itself by the name of a part", w.app, two.ID, ref("crm-3"), fault.Invalid, app.CodeSameCitizen, "/externalRef"},
			{"one who is not linked", w.app, one.ID, ref("crm-2"), fault.Conflict, app.CodeNotLinked, ""},
		}
		for _, tt := range tests {
			switch {
			case (tt.code == app.CodeNotLinked) != (what == "unlink") && (tt.code == app.CodeNotLinked || tt.code == app.CodeSameCitizen),
				what == "merge" && tt.name == "itself by the name of a part": // which was merged already
				continue
			case what == "unlink" && tt.name == "nobody":
				tt.kind, tt.code, tt.field = fault.Conflict, app.CodeNotLinked, "" // itself
			}
			_, err := do(w.ctx, tt.app, tt.cid, tt.by)
			f, _ := errors.AsType[*fault.Error](err)
			if f == nil || f.Kind != tt.kind || f.Code != tt.code || f.Field != tt.field {
				t.Errorf("%s %s: got %v, want %s at %q", what, tt.name, err, tt.code, tt.field)
			}
		}
	}
	w.wantSaid(n)
}

// TestLinks_full: a group has its bound, also when two become one or one is
// merged into another.
func TestLinks_full(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	name := func(i int) string { return fmt.Sprintf("crm-%d", i) }
	for i := range app.MaxGroup + 3 {
		w.record(by(name(i), change(mailing, permission.Granted)))
	}
	for i := 1; i < app.MaxGroup-1; i++ {
		w.bind(w.Link, name(i), name(i-1))
	}
	w.bind(w.Link, name(app.MaxGroup-1), name(app.MaxGroup))
	full := func(do binding, a, b int) {
		t.Helper()
		_, err := do(w.ctx, w.app, w.citizenID(name(a)), ref(name(b)))
		wantFault(t, err, fault.Conflict, app.CodeGroupFull)
	}
	full(w.Link, 0, app.MaxGroup) // 19 and 2
	full(w.Link, app.MaxGroup, 0)
	w.bind(w.Link, name(0), name(app.MaxGroup+1))
	full(w.Merge, 1, app.MaxGroup) // 20, and one more
	full(w.Link, 1, app.MaxGroup+2)
	if tied := w.bind(w.Merge, name(1), name(app.MaxGroup+2)); len(tied.Links) != app.MaxGroup-1 { // which makes them no more
		t.Errorf("got %d links, want %d", len(tied.Links), app.MaxGroup-1)
	}
	if tied := w.bind(w.Merge, name(0), name(1)); len(tied.Links) != app.MaxGroup-2 {
		t.Errorf("got %d links, want %d", len(tied.Links), app.MaxGroup-2)
	}
	w.bind(w.Unlink, name(app.MaxGroup), name(app.MaxGroup-1))
	if tied := w.bind(w.Link, name(0), name(app.MaxGroup)); len(tied.Links) != app.MaxGroup-1 {
		t.Errorf("got %d links, want %d", len(tied.Links), app.MaxGroup-1)
	}
}

// TestLinks_clockThatLags: what happens to linked citizens happens at one
// instant, that of the latest clock.
func TestLinks_clockThatLags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		w.record(by("crm-1", change(mailing, permission.Granted)))
		w.record(by("crm-2", change(phoning, permission.Granted)))
		w.record(by("crm-3", change(phoning, permission.Granted)))
		behind := *w
		behind.App = app.New(app.Options{Store: lagging{w.store, time.Second}, Policy: ttls, Operator: operator})
		late := func(do func()) (at time.Time) {
			t.Helper()
			var wg sync.WaitGroup
			wg.Go(do) // which reads its clock now
			time.Sleep(500 * time.Millisecond)
			at = w.record(by("crm-1", change(mailing, permission.Denied))).Transaction.Origin.RecordedAt
			wg.Wait()
			return at
		}
		for i, do := range []func(){
			func() { behind.bind(behind.Link, "crm-2", "crm-1") },
			func() { behind.record(by("crm-2", change(research, permission.Granted))) },
			func() { behind.bind(behind.Unlink, "crm-2", "crm-1") },
			func() { behind.bind(behind.Merge, "crm-3", "crm-1") },
		} {
			n := len(w.events(w.app))
			at := late(do)
			for _, e := range w.events(w.app)[n:] {
				if !e.OccurredAt.Equal(at) || !e.RecordedAt.Equal(at) {
					t.Errorf("%d: %s of %s occurred at %s and was recorded at %s, want %s", i, e.Type, e.Subject, e.OccurredAt, e.RecordedAt, at)
				}
			}
		}
	})
}

// TestLinks_races: whatever happens at once, in the end each citizen's state is
// what its and its group's history make of it, the last full state told says
// so, and nothing is lost.
func TestLinks_races(t *testing.T) {
	t.Parallel()
	type act func(w *world) error
	bind := func(do func(*app.App, context.Context, access.ID, permission.CitizenID, app.CitizenKey) (app.Tied, error), one, other string) act {
		return func(w *world) error {
			c, err := w.store.CitizenByRef(w.ctx, w.app, one)
			if err == nil {
				_, err = do(w.App, w.ctx, w.app, c.ID, ref(other))
			}
			return err
		}
	}
	link := func(one, other string) act { return bind((*app.App).Link, one, other) }
	unlink := func(one, other string) act { return bind((*app.App).Unlink, one, other) }
	merge := func(one, other string) act { return bind((*app.App).Merge, one, other) }
	record := func(name, option string) act {
		return func(w *world) error {
			_, err := w.try(by(name, change(option, permission.Denied)))
			return err
		}
	}
	tests := []struct {
		name string
		acts []act
	}{
		{"two links of a third", []act{link("crm-1", "crm-2"), link("crm-3", "crm-2")}},
		{"one link, from both ends", []act{link("crm-1", "crm-2"), link("crm-2", "crm-1")}},
		{"a link and a transaction", []act{link("crm-1", "crm-2"), record("crm-1", research), record("crm-2", mailing), record("crm-2", phoning)}},
		{"a merge and a transaction", []act{merge("crm-1", "crm-2"), record("crm-2", mailing), record("crm-2", research), record("crm-1", phoning)}},
		{"a merge, a link and an unlink", []act{merge("crm-1", "crm-2"), link("crm-2", "crm-3"), unlink("crm-2", "crm-3"), record("crm-3", mailing)}},
		{"two merges, each into the other", []act{merge("crm-1", "crm-2"), merge("crm-2", "crm-1"), record("crm-1", mailing)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				w := newWorld(t)
				w.configure()
				w.hearAll()
				for i, o := range []string{mailing, phoning, research} {
					w.record(by(fmt.Sprintf("crm-%d", i+1), change(o, permission.Granted)))
				}
				var wg sync.WaitGroup
				start := make(chan struct{})
				for _, do := range tt.acts {
					wg.Go(func() {
						<-start
						if err := do(w); err != nil && fault.CodeOf(err) != app.CodeNotLinked && fault.CodeOf(err) != app.CodeSameCitizen {
							t.Error(err)
						}
					})
				}
				close(start)
				wg.Wait()
				w.wantSettled("crm-1", "crm-2", "crm-3")
			}
		})
	}
}

// wantSettled checks that what is in force of some citizens is what their
// histories say, and that the last they were told is that.
func (w *world) wantSettled(names ...string) {
	w.t.Helper()
	for _, name := range names {
		c, v := w.now(name)
		ids := []permission.CitizenID{c.ID}
		tied, err := w.Tied(w.ctx, w.app, c.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range tied.Links {
			ids = append(ids, o.ID)
		}
		history, err := w.store.Transactions(w.ctx, w.app, ids...)
		if err != nil {
			w.t.Fatal(err)
		}
		w.wantInForce(v, history)
		w.wantTellings(c.ID, permission.EffectiveBody(permission.Citizen{Application: string(w.app), ID: c.ID, ExternalRef: c.ExternalRef}, v))
		if _, past, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: c.ID}, c.Standing.AsOf); err != nil || fmt.Sprint(options(past)) != fmt.Sprint(options(v)) {
			w.t.Errorf("%s: got %v as of now, %v, want %v", name, options(past), err, options(v))
		}
	}
}

// TestLinks_silentImport: what is imported silently counts for those who are
// linked, and nobody is told.
func TestLinks_silentImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.hearAll()
	for _, name := range []string{"crm-1", "crm-2", "crm-3"} {
		w.record(by(name, change(mailing, permission.Granted)))
	}
	w.bind(w.Link, "crm-1", "crm-2")
	n := len(w.events(w.app))
	p, err := w.bring(app.ImportRequest{Silent: true},
		line("crm-1", mailing, permission.Denied), line("crm-2", phoning, permission.Granted), line("crm-1", "opt-none", permission.Granted), line("crm-3", research, permission.Granted))
	if err != nil || p.Recorded != 3 || p.Refused != 1 {
		t.Fatalf("got %+v, %v, want 3 recorded and 1 refused", p, err)
	}
	w.wantSaid(n)
	w.wantView("crm-1", "mailing=DENIED", "phoning=GRANTED")
	w.wantView("crm-2", "mailing=DENIED", "phoning=GRANTED")
	w.wantView("crm-3", "mailing=GRANTED", "research=GRANTED")
	if _, err = w.bring(app.ImportRequest{}, line("crm-2", mailing, permission.Granted)); err != nil {
		t.Fatal(err)
	}
	w.wantSaid(n,
		"crm-2 delta mailing=GRANTED", "crm-2 effective mailing=GRANTED phoning=GRANTED",
		"crm-1 delta mailing=GRANTED", "crm-1 effective mailing=GRANTED phoning=GRANTED")
	h := w.history(w.citizenID("crm-2"))
	w.wantToldBy(h[len(h)-1], n)
}

// TestLinks_mails: only who said it is written to.
func TestLinks_mails(t *testing.T) {
	t.Parallel()
	w := newPosting(t)
	w.hear(subscription.CitizenEmails)
	w.person("crm-1", "", "a@example.org")
	w.person("crm-2", "", "b@example.org")
	w.bind(w.Link, "crm-1", "crm-2")
	w.record(by("crm-2", change(mailing, permission.Granted)))
	w.wantPosted(`consent-confirmation to "b@example.org" in en`)
	w.bind(w.Merge, "crm-1", "crm-2")
	w.bind(w.Link, "crm-1", w.person("crm-3", "").ExternalRef)
	w.wantPosted(`consent-confirmation to "b@example.org" in en`)
}

// TestCheckpoints: whatever makes a citizen's version grow, a read of the past
// replays fewer transactions than lie between two checkpoints, and none when a
// reversion, a link or a merge was the last.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		longest := func(name string) (n int) {
			t.Helper()
			c, _ := w.now(name)
			for _, x := range w.history(c.ID) {
				_, tail, err := w.store.Past(w.ctx, w.app, c.ID, x.Origin.RecordedAt)
				if err != nil {
					t.Fatal(err)
				}
				n = max(n, len(tail))
			}
			return n
		}
		for k := range 100 {
			time.Sleep(time.Minute)
			w.record(by("crm-1", until(change(mailing, permission.Granted), time.Now().Add(30*time.Second))))
			made := w.record(by("crm-2", change(mailing, permission.Granted)))
			_, err := w.EditCitizen(w.ctx, w.app, made.Citizen.ID, func(store.Citizen) (app.CitizenDraft, error) {
				return app.CitizenDraft{ExternalRef: ptr("crm-2"), Emails: []string{fmt.Sprintf("a%d@example.org", k)}}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.bring(app.ImportRequest{}, line("crm-3", mailing, permission.Granted), line("crm-3", phoning, permission.Denied)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"crm-1", "crm-2", "crm-3"} {
			if n := longest(name); n < 10 || n > 33 {
				t.Errorf("%s: got %d transactions behind a checkpoint, want some, and at most 33", name, n)
			}
		}
		none := func(what string, names ...string) {
			t.Helper()
			for _, name := range names {
				c, _ := w.now(name)
				past, tail, err := w.store.Past(w.ctx, w.app, c.ID, time.Now())
				if err != nil || len(tail) != 0 || !past.At.Equal(c.Standing.AsOf) {
					t.Errorf("%s, %s: got %d transactions behind a checkpoint of %s, %v, want none behind now", what, name, len(tail), past.At, err)
				}
			}
		}
		w.bind(w.Link, "crm-1", "crm-2")
		none("linked", "crm-1", "crm-2")
		time.Sleep(time.Minute)
		r := w.record(by("crm-1", change(phoning, permission.Granted)))
		time.Sleep(time.Minute)
		if _, err := w.RevertTransaction(w.ctx, w.app, caller, r.Transaction.ID()); err != nil {
			t.Fatal(err)
		}
		none("reverted", "crm-1", "crm-2")
		time.Sleep(time.Minute)
		w.bind(w.Merge, "crm-3", "crm-1")
		none("merged", "crm-3", "crm-2")
		time.Sleep(time.Minute)
		w.bind(w.Unlink, "crm-3", "crm-2")
		none("parted", "crm-3", "crm-2")
	})
}
