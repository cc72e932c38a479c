package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// setup is a configuration with every member of every kind set.
type setup struct {
	options     []permission.Option
	groups      []permission.Group
	preferences []permission.Preference
	statements  []permission.Statement
	policies    []permission.Policy
}

func fullSetup() setup {
	archived := permission.Life{Used: true, ArchivedAt: minute(3)}
	return setup{
		options: []permission.Option{
			{ID: "opt-b", Name: "Letters ☃", DataID: "post", PurposeID: "news", PartyID: "us", Description: "By post."},
			{ID: "opt-a", DataID: "email", PurposeID: "news", PartyID: "us", Life: permission.Life{Used: true}},
			{ID: "opt-x", DataID: "fax", PurposeID: "news", PartyID: "us", Life: archived},
		},
		groups: []permission.Group{
			{ID: "grp-1", Name: "All", Options: []permission.OptionID{"opt-b", "opt-a"}},
			{ID: "opt-a", Options: []permission.OptionID{"opt-x"}, Life: archived}, // the name of another kind's
		},
		preferences: []permission.Preference{
			{Reference: "pace", Label: "How often", Type: permission.SingleChoice, Choices: []permission.Alternative{
				{Reference: "daily", Label: "Daily"}, {Reference: "weekly", Label: "Every week"},
			}, Life: permission.Life{Used: true}},
			{Reference: "old", Label: "Old", Type: permission.MultiChoice, Choices: []permission.Alternative{{Reference: "x", Label: "X"}}, Life: archived},
		},
		statements: []permission.Statement{
			{ID: "stm-1", Reference: "newsletter", Text: "May we write?\n", Language: "en", Version: 1},
			{ID: "stm-2", Reference: "old", Text: "May we?", Version: 1, Life: archived},
		},
		policies: []permission.Policy{
			{ID: "pol-1", Reference: "privacy", URL: "https://example.org/privacy", Text: "We keep little.", Version: 1},
			{ID: "pol-2", Reference: "old", Version: 1, Life: archived},
		},
	}
}

func (s setup) catalogue() *permission.Catalogue {
	return permission.NewCatalogue(s.options, s.groups, s.preferences, s.statements, s.policies)
}

// put stores all of it.
func (s setup) put(tx store.Tx, app access.ID) error {
	var errs []error
	for _, x := range s.options {
		errs = append(errs, tx.PutOption(app, x))
	}
	for _, x := range s.groups {
		errs = append(errs, tx.PutGroup(app, x))
	}
	for _, x := range s.preferences {
		errs = append(errs, tx.PutPreference(app, x))
	}
	for _, x := range s.statements {
		errs = append(errs, tx.PutStatement(app, x))
	}
	for _, x := range s.policies {
		errs = append(errs, tx.PutPolicy(app, x))
	}
	return errors.Join(errs...)
}

// configured fails the test unless the application's configuration is that one,
// outside and inside a transaction.
func (r *room) configured(what string, app access.ID, want setup) {
	r.t.Helper()
	got, err := r.Store.Catalogue(r.ctx, app)
	r.must(err)
	r.same(what, got, want.catalogue())
	r.update(func(tx store.Tx) (err error) {
		got, err = tx.Catalogue(app)
		return err
	})
	r.same(what+", in a transaction", got, want.catalogue())
}

// recorded is a transaction with every member set: the n-th of a citizen,
// valid for an hour from that minute on.
func recorded(citizen permission.CitizenID, n int) permission.Transaction {
	o := &permission.Origin{
		Transaction: permission.TransactionID(fmt.Sprintf("txn_%s_%d", citizen, n)), RecordedAt: minute(n),
		Policy: "pol-1", PolicyRef: "privacy", PolicyVersion: 2, Statement: "stm-1", StatementRef: "newsletter", StatementVersion: 3,
		Channel: "web", Campaign: "spring", Actor: permission.Actor{
			By: "usr-1", ByName: "Ann", Client: "cli-1", ClientName: "Shop", Authority: "aut-1", AuthorityName: "Guardian",
		},
	}
	return permission.Transaction{
		Citizen: citizen, Origin: o,
		Entries: []permission.Entry{
			{
				Option: "opt-a", Group: "grp-1", Place: 1, Justification: permission.ByConsent, State: permission.Granted,
				ObtainedAt: minute(n - 1), ValidFrom: minute(n), ValidUntil: minute(n + 60), Origin: o,
			},
			{
				Option: "opt-b", Justification: permission.ByInterest, State: permission.Objected,
				ObtainedAt: minute(n), ValidFrom: minute(n), Origin: o,
			},
		},
		Choices: []permission.Choice{{
			Preference: "pace", Label: "How often", Chosen: []permission.Alternative{{Reference: "daily", Label: "Daily"}},
			Place: 1, ObtainedAt: minute(n), Origin: o,
		}},
	}
}

// person is a citizen with every member set, about whom one transaction was
// recorded at that minute.
func person(app access.ID, id permission.CitizenID, n int) store.Citizen {
	s, _ := permission.Standing{}.Record(recorded(id, n), minute(n))
	return store.Citizen{
		ID: id, Application: app, ExternalRef: "ref of " + string(id), Emails: []string{"a@example.org", "☃@example.org"}, Language: "pt-BR",
		Standing: s, Version: 1, CreatedAt: minute(n), UpdatedAt: minute(n + 1),
	}
}

func configuration(_ *testing.T, r *room) {
	r.apps()
	s := setup{}
	r.configured("nothing", app1, s)
	s = fullSetup()
	r.update(func(tx store.Tx) error {
		if err := s.put(tx, app1); err != nil {
			return err
		}
		got, err := tx.Catalogue(app1)
		need(err)
		r.same("its own writes", got, s.catalogue())
		return nil
	})
	r.configured("all", app1, s)
	r.configured("the other application's", app2, setup{})

	// Each kind is changed by its ID or reference, life included.
	s.options[0].Name, s.options[0].Description, s.options[0].Used = "", "No more.", true
	s.options[2].ArchivedAt = time.Time{}
	s.groups[0].Options = []permission.OptionID{"opt-x"}
	s.groups[0].ArchivedAt = minute(8)
	s.preferences[0].Choices = append(s.preferences[0].Choices, permission.Alternative{Reference: "never", Label: "Never"})
	s.statements[0].Used = true
	s.statements[1].Reference = "renamed"
	s.policies[0].Version, s.policies[0].URL = 2, ""
	r.update(func(tx store.Tx) error { return s.put(tx, app1) })
	r.configured("changed", app1, s)

	other := setup{options: []permission.Option{{ID: "opt-a", DataID: "1", PurposeID: "2", PartyID: "3"}}}
	r.update(func(tx store.Tx) error { return other.put(tx, app2) })
	r.configured("an option of the same ID", app2, other)
	r.configured("after a change of another's", app1, s)

	for _, gone := range [][2]string{
		{store.Option, "opt-x"}, {store.Group, "grp-1"}, {store.Preference, "old"}, {store.Statement, "stm-2"}, {store.Policy, "pol-2"},
	} {
		remove := func(tx store.Tx) error { return tx.DeleteConfiguration(app1, gone[0], gone[1]) }
		r.notFound("deleting another's "+gone[0], r.Store.Update(r.ctx, func(tx store.Tx) error {
			return tx.DeleteConfiguration(app2, gone[0], gone[1])
		}))
		r.update(remove)
		r.notFound("deleting a "+gone[0]+" twice", r.Store.Update(r.ctx, remove))
	}
	s.options, s.groups, s.preferences = s.options[:2], s.groups[1:], s.preferences[:1]
	s.statements, s.policies = s.statements[:1], s.policies[:1]
	r.configured("after deleting one of each", app1, s)
	r.configured("the other application's", app2, other)
	r.notFound("deleting by another kind", r.Store.Update(r.ctx, func(tx store.Tx) error {
		return tx.DeleteConfiguration(app1, store.Option, "stm-1")
	}))

	_, err := r.Store.Catalogue(r.ctx, "app_none")
	r.notFound("the configuration of no application", err)
	r.Store = r.Reopen(r.t, nil)
	r.configured("after a restart", app1, s)
}

func configurationRolledBack(_ *testing.T, r *room) {
	r.apps()
	s := setup{options: []permission.Option{{ID: "opt-a", DataID: "1", PurposeID: "2", PartyID: "3"}}}
	r.update(func(tx store.Tx) error { return s.put(tx, app1) })
	r.configured("at first", app1, s)

	lost := errors.New("lost")
	err := r.Store.Update(r.ctx, func(tx store.Tx) error {
		changed := fullSetup()
		if err := changed.put(tx, app1); err != nil {
			return err
		}
		if got, err := tx.Catalogue(app1); err != nil || !same(got, changed.catalogue()) {
			return fmt.Errorf("got %+v, %w, want its own writes", got, err)
		}
		return lost
	})
	if !errors.Is(err, lost) {
		r.t.Fatalf("got %v, want %v", err, lost)
	}
	r.configured("after a rollback", app1, s)

	// What is written next is not taken for what was rolled back.
	s.options[0].Name = "Kept"
	r.update(func(tx store.Tx) error { return s.put(tx, app1) })
	r.configured("after the next change", app1, s)

	// Nor does what was read within a change last beyond it.
	r.update(func(tx store.Tx) error {
		for _, name := range []string{"First", "Second"} {
			s.options[0].Name = name
			need(s.put(tx, app1))
			got, err := tx.Catalogue(app1)
			need(err)
			r.same("within a change", got, s.catalogue())
		}
		return nil
	})
	r.configured("after two changes in one", app1, s)
}

func formerVersions(_ *testing.T, r *room) {
	r.apps()
	var ss []permission.Statement
	var ps []permission.Policy
	step := func(version int, text string, life permission.Life) {
		r.t.Helper()
		s := permission.Statement{ID: "x-1", Reference: "ref", Text: text, Language: "en", Version: version, Life: life}
		p := permission.Policy{ID: "x-1", Reference: "ref", URL: "https://example.org/" + text, Version: version, Life: life}
		r.update(func(tx store.Tx) error { return errors.Join(tx.PutStatement(app1, s), tx.PutPolicy(app1, p)) })
		if n := len(ss); n > 0 && ss[n-1].Version == version {
			ss, ps = ss[:n-1], ps[:n-1]
		}
		ss, ps = append(ss, s), append(ps, p)
		for i := range ss { // all have the life of the current one
			ss[i].Life, ps[i].Life = life, life
		}
		gotS, err := r.Store.StatementVersions(r.ctx, app1, "x-1")
		r.must(err)
		r.same(fmt.Sprintf("the statement after %q", text), gotS, ss)
		gotP, err := r.Store.PolicyVersions(r.ctx, app1, "x-1")
		r.must(err)
		r.same(fmt.Sprintf("the policy after %q", text), gotP, ps)
	}
	step(1, "one", permission.Life{})
	step(1, "one", permission.Life{Used: true})
	step(2, "two", permission.Life{Used: true})
	step(2, "mended", permission.Life{Used: true, ArchivedAt: minute(1)})
	step(3, "three", permission.Life{Used: true})
	step(4, "four", permission.Life{Used: true})

	other := permission.Statement{ID: "x-2", Reference: "other", Text: "Other", Version: 1}
	r.update(func(tx store.Tx) error { return tx.PutStatement(app1, other) })
	got, err := r.Store.StatementVersions(r.ctx, app1, "x-2")
	r.must(err)
	r.same("another statement", got, []permission.Statement{other})

	// A deleted one takes its versions along.
	r.update(func(tx store.Tx) error { return tx.DeleteConfiguration(app1, store.Statement, "x-1") })
	_, err = r.Store.StatementVersions(r.ctx, app1, "x-1")
	r.notFound("a deleted statement", err)
	again := permission.Statement{ID: "x-1", Reference: "ref", Text: "Anew", Version: 1}
	r.update(func(tx store.Tx) error { return tx.PutStatement(app1, again) })
	got, err = r.Store.StatementVersions(r.ctx, app1, "x-1")
	r.must(err)
	r.same("a statement made anew", got, []permission.Statement{again})
	gotP, err := r.Store.PolicyVersions(r.ctx, app1, "x-1")
	r.must(err)
	r.same("the policy that was left alone", gotP, ps)
	_, err = r.Store.PolicyVersions(r.ctx, app1, "x-2")
	r.notFound("a policy by a statement's ID", err)
}

func references(t *testing.T, r *room) {
	r.apps()
	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.PutStatement(app1, permission.Statement{ID: "stm-1", Reference: "a", Version: 1}),
			tx.PutStatement(app1, permission.Statement{ID: "stm-2", Reference: "b", Version: 1}),
			tx.PutPolicy(app1, permission.Policy{ID: "pol-1", Reference: "a", Version: 1}),
			tx.PutStatement(app2, permission.Statement{ID: "stm-1", Reference: "b", Version: 1}))
	})
	want, err := r.Store.Catalogue(r.ctx, app1)
	r.must(err)
	for what, put := range map[string]func(store.Tx) error{
		"a new statement": func(tx store.Tx) error {
			return tx.PutStatement(app1, permission.Statement{ID: "stm-3", Reference: "a", Version: 1})
		},
		"a statement that changes": func(tx store.Tx) error {
			return tx.PutStatement(app1, permission.Statement{ID: "stm-2", Reference: "a", Version: 2})
		},
		"a statement made earlier": func(tx store.Tx) error {
			return tx.PutStatement(app1, permission.Statement{ID: "stm-1", Reference: "b", Version: 2})
		},
		"a new policy": func(tx store.Tx) error {
			return tx.PutPolicy(app1, permission.Policy{ID: "pol-2", Reference: "a", Version: 1})
		},
	} {
		err := r.Store.Update(r.ctx, put)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Conflict || f.Code != "reference_taken" || f.Field != "/reference" {
			t.Errorf("%s: got %v, want the conflict reference_taken at /reference", what, err)
		}
	}
	got, err := r.Store.Catalogue(r.ctx, app1)
	r.must(err)
	r.same("the configuration after refusals", got, want)

	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.DeleteConfiguration(app1, store.Statement, "stm-1"),
			tx.PutStatement(app1, permission.Statement{ID: "stm-2", Reference: "a", Version: 1})) // free again
	})
}

func parts(_ *testing.T, r *room) {
	r.apps()
	list := func(app access.ID, kind permission.Kind, want ...permission.Part) {
		r.t.Helper()
		got, err := r.Store.Parts(r.ctx, app, kind)
		r.must(err)
		r.same(fmt.Sprintf("the parts %s of %s", kind, app), got, want)
	}
	list(app1, permission.Data)
	b, a := permission.Part{Kind: permission.Data, ID: "b", Name: "b"}, permission.Part{Kind: permission.Data, ID: "a", Name: "An a ☃"}
	party := permission.Part{Kind: permission.Party, ID: "b", Name: "Another kind's"}
	r.update(func(tx store.Tx) error {
		need(errors.Join(tx.PutPart(app1, b), tx.PutPart(app1, a), tx.PutPart(app1, party)))
		got, err := tx.Part(app1, permission.Data, "b")
		need(err)
		r.same("a part", got, b)
		_, err = tx.Part(app1, permission.Purpose, "b")
		r.notFound("a part by another kind", err)
		_, err = tx.Part(app2, permission.Data, "b")
		r.notFound("another application's part", err)
		return nil
	})
	b.Name = "Renamed"
	r.update(func(tx store.Tx) error { return tx.PutPart(app1, b) })
	list(app1, permission.Data, b, a)
	list(app1, permission.Party, party)
	list(app1, permission.Purpose)
	list(app2, permission.Data)
}

func citizenRoundTrip(_ *testing.T, r *room) {
	r.apps()
	want := person(app1, "ctz_1", 1)
	bare := store.Citizen{ID: "a person's own ☃", Application: app1, Version: 1, CreatedAt: t0, UpdatedAt: t0}
	twin := person(app2, "ctz_1", 2)
	twin.ExternalRef = want.ExternalRef
	r.update(func(tx store.Tx) error {
		need(errors.Join(tx.PutCitizen(want), tx.PutCitizen(bare), tx.PutCitizen(twin)))
		got, err := tx.Citizen(app1, want.ID)
		need(err)
		r.same("its own write", got, want)
		got, err = tx.CitizenByRef(app1, want.ExternalRef)
		need(err)
		r.same("its own write by reference", got, want)
		return nil
	})
	check := func() {
		r.t.Helper()
		for _, c := range []store.Citizen{want, bare, twin} {
			got, err := r.Store.Citizen(r.ctx, c.Application, c.ID)
			r.must(err)
			r.same("the citizen "+string(c.ID), got, c)
			if c.ExternalRef == "" {
				continue
			}
			got, err = r.Store.CitizenByRef(r.ctx, c.Application, c.ExternalRef)
			r.must(err)
			r.same("the citizen of "+c.ExternalRef, got, c)
		}
	}
	check()
	for _, ref := range []string{"", "ref of nobody", "REF OF ctz_1", string(want.ID)} {
		_, err := r.Store.CitizenByRef(r.ctx, app1, ref)
		r.notFound(fmt.Sprintf("the citizen of %q", ref), err)
	}
	_, err := r.Store.Citizen(r.ctx, app1, "ctz_2")
	r.notFound("a citizen unknown", err)
	_, err = r.Store.Citizen(r.ctx, "app_none", want.ID)
	r.notFound("a citizen of no application", err)

	want.Standing, _ = want.Standing.Record(recorded("ctz_1", 7), minute(7))
	want.Version, want.Emails, want.Language, want.UpdatedAt = 2, nil, "", minute(9)
	bare.Version, bare.ExternalRef = 2, "now it has one"
	twin.Version, twin.ExternalRef = 2, ""
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutCitizen(want), tx.PutCitizen(bare), tx.PutCitizen(twin))
	})
	check()
	_, err = r.Store.CitizenByRef(r.ctx, app2, want.ExternalRef)
	r.notFound("the citizen of a reference that was given up", err)
	r.Store = r.Reopen(r.t, nil)
	check()
}

func externalRefs(t *testing.T, r *room) {
	r.apps()
	a, b := person(app1, "ctz_a", 1), person(app1, "ctz_b", 2)
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutCitizen(a), tx.PutCitizen(b)) })
	taken := func(what string, c store.Citizen) {
		t.Helper()
		err := r.Store.Update(r.ctx, func(tx store.Tx) error {
			return tx.PutCitizen(c, r.event(app1, string(c.ID), event.PermissionsDelta))
		})
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Conflict || f.Code != "external_ref_taken" || f.Field != "/externalRef" {
			t.Errorf("%s: got %v, want the conflict external_ref_taken at /externalRef", what, err)
		}
	}
	c := person(app1, "ctz_c", 3)
	c.ExternalRef = a.ExternalRef
	taken("a new citizen", c)
	d := b
	d.ExternalRef, d.Version = a.ExternalRef, 2
	taken("a citizen that changes", d)
	e := a
	e.ExternalRef, e.Version = b.ExternalRef, 2
	taken("a citizen made earlier", e)
	got, err := r.Store.Citizen(r.ctx, app1, b.ID)
	r.must(err)
	r.same("the citizen that was refused", got, b)
	if n := len(r.events(app1)); n != 0 {
		t.Errorf("got %d events of what was refused, want none", n)
	}

	// Given up and taken in one transaction.
	a.ExternalRef, a.Version = "", 2
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutCitizen(a), tx.PutCitizen(d)) })
	got, err = r.Store.CitizenByRef(r.ctx, app1, d.ExternalRef)
	r.must(err)
	r.same("the citizen who has it now", got, d)
}

func citizenEvents(t *testing.T, r *room) {
	changes := make(chan store.Change, 100)
	r.Store.Watch(func(c store.Change) { changes <- c })
	r.apps()
	r.put(subscriber(app1, "sub_1"))
	c := person(app1, "ctz_1", 1)
	want := []event.Event{r.event(app1, "ctz_1", event.PermissionsDelta), r.event(app1, "ctz_1", event.PermissionsEffective)}
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutTransaction(app1, recorded(c.ID, 1)), tx.PutCitizen(c, want...))
	})
	for i := range want {
		want[i].Seq, want[i].Sequence = event.Seq(i+1), int64(i+1)
	}
	r.same("the log", r.events(app1), want)
	if got := seqs(r.all("sub_1", 0)); !slices.Equal(got, []event.Seq{2}) {
		t.Errorf("got %v for the subscription, want the full state at 2", got)
	}
	for {
		select {
		case ch := <-changes:
			if slices.Contains(ch.Applications, app1) {
				if !ch.Deadline.Equal(c.Standing.Next()) || c.Standing.Next().IsZero() {
					t.Errorf("got deadline %v, want %v", ch.Deadline, c.Standing.Next())
				}
				return
			}
		case <-time.After(patience):
			t.Fatal("no watcher was told")
		}
	}
}

func citizenPages(t *testing.T, r *room) {
	r.apps()
	if list, next, err := r.Store.Citizens(r.ctx, app1, store.CitizenQuery{Limit: 10}); len(list) != 0 || next != "" || err != nil {
		t.Errorf("got %d, %q, %v, want none", len(list), next, err)
	}
	var want []store.Citizen
	for i := range 7 {
		c := person(app1, permission.CitizenID(fmt.Sprintf("ctz_%d", 3*i%7)), i)
		r.update(func(tx store.Tx) error { return errors.Join(tx.PutCitizen(c), tx.PutCitizen(person(app2, c.ID, i))) })
		want = append([]store.Citizen{c}, want...)
	}
	want[6].Version, want[6].Language = 2, "en" // a change moves nobody
	r.update(func(tx store.Tx) error { return tx.PutCitizen(want[6]) })
	for limit := 1; limit <= 8; limit++ {
		var got []store.Citizen
		q, pages := store.CitizenQuery{Limit: limit}, 0
		for {
			list, next, err := r.Store.Citizens(r.ctx, app1, q)
			r.must(err)
			got, q.After = append(got, list...), next
			if pages++; next == "" || pages > 20 {
				break
			}
		}
		r.same(fmt.Sprintf("%d a page", limit), got, want)
		if most := (len(want) + limit - 1) / limit; pages != most {
			t.Errorf("%d a page: got %d pages, want %d", limit, pages, most)
		}
	}
	for _, after := range []string{"ctz_none", "x"} {
		_, _, err := r.Store.Citizens(r.ctx, app1, store.CitizenQuery{Limit: 5, After: after})
		r.at(fmt.Sprintf("citizens after %q", after), err, "after")
	}
}

func lapses(_ *testing.T, r *room) {
	r.apps()
	next := func(want time.Time) {
		r.t.Helper()
		got, err := r.Store.NextLapse(r.ctx)
		r.must(err)
		r.same("the next lapse", got, want)
	}
	next(time.Time{})
	put := func(app access.ID, id permission.CitizenID, until time.Time) {
		r.t.Helper()
		x := recorded(id, 0)
		x.Entries[0].ValidUntil = until
		c := person(app, id, 0)
		c.ExternalRef = ""
		c.Standing, _ = permission.Standing{}.Record(x, t0)
		r.update(func(tx store.Tx) error { return tx.PutCitizen(c) })
	}
	put(app1, "ctz_b", minute(20))
	put(app2, "ctz_c", minute(10))
	put(app1, "ctz_a", minute(30))
	put(app1, "ctz_never", time.Time{})
	next(minute(10))
	ref := func(app access.ID, id permission.CitizenID) store.CitizenRef {
		return store.CitizenRef{Application: app, ID: id}
	}
	tests := []struct {
		name  string
		at    time.Time
		limit int
		want  []store.CitizenRef
	}{
		{"a moment before the first", minute(10).Add(-time.Millisecond), 10, nil},
		{"at the first", minute(10), 10, []store.CitizenRef{ref(app2, "ctz_c")}},
		{"at the last, earliest first", minute(30), 10, []store.CitizenRef{ref(app2, "ctz_c"), ref(app1, "ctz_b"), ref(app1, "ctz_a")}},
		{"no more than asked for", minute(9999), 2, []store.CitizenRef{ref(app2, "ctz_c"), ref(app1, "ctz_b")}},
	}
	for _, tt := range tests {
		got, err := r.Store.DueCitizens(r.ctx, tt.at, tt.limit)
		r.must(err)
		r.same(tt.name, got, tt.want)
	}
	due, err := r.Store.DueConsents(r.ctx, minute(9999), 10)
	r.must(err)
	r.same("the consents that are due", due, []store.ConsentRef(nil))

	c, err := r.Store.Citizen(r.ctx, app2, "ctz_c")
	r.must(err)
	c.Standing, _ = c.Standing.Advance(minute(10)) // it lapsed, and nothing else will
	r.update(func(tx store.Tx) error { return tx.PutCitizen(c) })
	next(minute(20))
	put(app1, "ctz_b", minute(40))
	next(minute(30))
	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	next(time.Time{})
}

func history(t *testing.T, r *room) {
	r.apps()
	var want []permission.Transaction
	for n := range 7 {
		x := recorded("ctz_1", 20-n) // the order is that of recording, whatever the times
		if n == 4 {
			x.Entries, x.Choices, x.Reverts = nil, nil, want[1].ID()
		}
		r.update(func(tx store.Tx) error { // a new citizen after its first transaction, and before
			need(tx.PutTransaction(app1, x))
			if n == 0 {
				need(tx.PutCitizen(person(app1, "ctz_1", 1)))
				need(errors.Join(tx.PutCitizen(person(app1, "ctz_2", 1)), tx.PutCitizen(person(app2, "ctz_1", 1))))
			}
			need(errors.Join(tx.PutTransaction(app1, recorded("ctz_2", n)), tx.PutTransaction(app2, recorded("ctz_1", 100+n))))
			want = append(want[:n:n], x) // fn may run again
			got, err := tx.Transactions(app1, "ctz_1")
			need(err)
			r.same("the history in its transaction", got, want)
			one, err := tx.Transaction(app1, x.ID())
			need(err)
			r.same("a transaction in its transaction", one, x)
			return nil
		})
	}
	got, err := r.Store.Transactions(r.ctx, app1, "ctz_1")
	r.must(err)
	r.same("the history", got, want)
	for _, x := range want {
		got, err := r.Store.Transaction(r.ctx, app1, x.ID())
		r.must(err)
		r.same("a transaction", got, x)
	}

	newest := slices.Clone(want)
	slices.Reverse(newest)
	for limit := 1; limit <= 8; limit++ {
		var got []permission.Transaction
		after, pages := "", 0
		for {
			list, next, err := r.Store.TransactionPage(r.ctx, app1, "ctz_1", limit, after)
			r.must(err)
			got, after = append(got, list...), next
			if pages++; next == "" || pages > 20 {
				break
			}
		}
		r.same(fmt.Sprintf("%d a page", limit), got, newest)
		if most := (len(want) + limit - 1) / limit; pages != most {
			t.Errorf("%d a page: got %d pages, want %d", limit, pages, most)
		}
	}
	for _, after := range []string{"txn_none", "x", string(recorded("ctz_2", 0).ID()), string(recorded("ctz_1", 100).ID())} {
		_, _, err := r.Store.TransactionPage(r.ctx, app1, "ctz_1", 5, after)
		r.at(fmt.Sprintf("transactions after %q", after), err, "after")
	}

	r.update(func(tx store.Tx) error { return tx.PutCitizen(person(app1, "ctz_new", 1)) })
	if list, err := r.Store.Transactions(r.ctx, app1, "ctz_new"); len(list) != 0 || err != nil {
		t.Errorf("got %d, %v of a new citizen, want none", len(list), err)
	}
	_, err = r.Store.Transactions(r.ctx, app1, "ctz_none")
	r.notFound("the history of a citizen unknown", err)
	_, _, err = r.Store.TransactionPage(r.ctx, app1, "ctz_none", 5, "")
	r.notFound("a page of the history of a citizen unknown", err)
	_, err = r.Store.Transaction(r.ctx, app1, "txn_none")
	r.notFound("a transaction unknown", err)
}

// usedFeeds returns the feeds that are used, in a fixed order.
func (r *room) usedFeeds(app access.ID) (used []event.Feed) {
	r.t.Helper()
	r.update(func(tx store.Tx) error {
		used = nil
		for _, f := range []event.Feed{
			event.ConsentReceipts, event.EffectivePermission, event.CitizenEmails, event.LifecycleData, event.LifecyclePayment, event.Operations,
		} {
			yes, err := tx.FeedUsed(app, f)
			need(err)
			if yes {
				used = append(used, f)
			}
		}
		return nil
	})
	return used
}

func feedUsed(t *testing.T, r *room) {
	r.apps()
	want := func(what string, want ...event.Feed) {
		t.Helper()
		for range 2 { // what is remembered is the same
			r.same(what, r.usedFeeds(app1), want)
		}
		r.same(what+", the other application's", r.usedFeeds(app2), []event.Feed(nil))
	}
	want("at first")
	r.put(interceptor(app1, "int_1"))
	want("with an interceptor only")

	lost := errors.New("lost")
	for _, e := range []subscription.Endpoint{subscriber(app1, "sub_2"), subscriber(app1, "sub_1", event.ConsentCreated)} { // by its events, and by its update type
		err := r.Store.Update(r.ctx, func(tx store.Tx) error {
			if err := tx.PutEndpoint(e, picture(e)); err != nil {
				return err
			}
			if yes, err := tx.FeedUsed(app1, event.EffectivePermission); !yes || err != nil {
				t.Errorf("got %t, %v within the transaction, want true", yes, err)
			}
			return lost
		})
		if !errors.Is(err, lost) {
			t.Fatalf("got %v, want %v", err, lost)
		}
		want("after a rollback")
	}

	e := subscriber(app1, "sub_2") // of the full states, by its update type
	e.Status = subscription.Paused
	r.put(e)
	want("with a paused subscription", event.EffectivePermission)
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_2", minute(1)) })
	want("after it was deleted", event.EffectivePermission)

	e = subscriber(app1, "sub_3", event.ConsentCreated)
	e.UpdateType = subscription.ConsentReceipts
	r.put(e)
	want("with an update type whose event is not listed", event.ConsentReceipts, event.EffectivePermission)
	e.Version, e.EventTypes = 2, []event.Type{event.PermissionsDelta, event.ConsentRevoked}
	r.put(e)
	want("since it is listed", event.ConsentReceipts, event.EffectivePermission)
	e.Version, e.EventTypes = 3, []event.Type{event.ConsentRevoked}
	r.put(e)
	want("once it is listed no more", event.ConsentReceipts, event.EffectivePermission)
	e = subscriber(app1, "sub_4")
	e.UpdateType = subscription.CitizenEmails
	r.put(e)
	want("with all three", event.ConsentReceipts, event.EffectivePermission, event.CitizenEmails)

	r.Store = r.Reopen(t, nil)
	want("after a restart", event.ConsentReceipts, event.EffectivePermission, event.CitizenEmails)
	err := r.Store.Update(r.ctx, func(tx store.Tx) error {
		_, err := tx.FeedUsed("app_none", event.ConsentReceipts)
		return err
	})
	r.notFound("the feed of no application", err)
}

// populate gives an application a configuration, a used feed, and a citizen
// with a history.
func (r *room) populate(app access.ID) {
	r.t.Helper()
	e := subscriber(app, subscription.ID("sub_of_"+app))
	c := person(app, "ctz_1", 1)
	r.update(func(tx store.Tx) error {
		x := recorded("ctz_1", 1)
		x.Origin.Transaction += permission.TransactionID(app)
		need(fullSetup().put(tx, app))
		for _, s := range fullSetup().statements {
			s.Version = 2
			need(tx.PutStatement(app, s))
		}
		return errors.Join(
			tx.PutPart(app, permission.Part{Kind: permission.Data, ID: "post", Name: "Post"}),
			tx.PutEndpoint(e, picture(e)), tx.PutTransaction(app, x), tx.PutCitizen(c))
	})
}

func deletePermissions(t *testing.T, r *room) {
	r.apps()
	r.populate(app1)
	r.populate(app2)
	_, err := r.Store.Catalogue(r.ctx, app1) // which is kept in memory
	r.must(err)
	r.usedFeeds(app1)
	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	_, err = r.Store.Catalogue(r.ctx, app1)
	r.notFound("its configuration", err)
	_, err = r.Store.Citizen(r.ctx, app1, "ctz_1")
	r.notFound("its citizen", err)
	due, err := r.Store.DueCitizens(r.ctx, minute(9999), 10)
	r.must(err)
	r.same("the citizens that are due", due, []store.CitizenRef{{Application: app2, ID: "ctz_1"}})

	// A new application of that name begins with nothing.
	r.update(func(tx store.Tx) error {
		return tx.PutApplication(access.Application{ID: app1, CreatedAt: t0, UpdatedAt: t0})
	})
	r.configured("the new application's", app1, setup{})
	r.same("its feeds", r.usedFeeds(app1), []event.Feed(nil))
	ps, err := r.Store.Parts(r.ctx, app1, permission.Data)
	r.must(err)
	cs, _, err := r.Store.Citizens(r.ctx, app1, store.CitizenQuery{Limit: 10})
	r.must(err)
	if len(ps)+len(cs) != 0 {
		t.Errorf("got %d parts and %d citizens, want none", len(ps), len(cs))
	}
	r.update(func(tx store.Tx) error {
		need(tx.PutStatement(app1, permission.Statement{ID: "stm-1", Reference: "newsletter", Version: 1}))
		return tx.PutCitizen(store.Citizen{ID: "ctz_1", Application: app1, ExternalRef: "ref of ctz_1", Version: 1, CreatedAt: t0, UpdatedAt: t0})
	})
	if ss, err := r.Store.StatementVersions(r.ctx, app1, "stm-1"); len(ss) != 1 || err != nil {
		t.Errorf("got %d versions, %v, want the new one", len(ss), err)
	}
	if xs, err := r.Store.Transactions(r.ctx, app1, "ctz_1"); len(xs) != 0 || err != nil {
		t.Errorf("got %d transactions, %v, want none", len(xs), err)
	}

	// The other application lost nothing.
	if xs, err := r.Store.Transactions(r.ctx, app2, "ctz_1"); len(xs) != 1 || err != nil {
		t.Errorf("got %d transactions of the other application, %v, want 1", len(xs), err)
	}
	if ss, err := r.Store.StatementVersions(r.ctx, app2, "stm-1"); len(ss) != 2 || err != nil {
		t.Errorf("got %d versions of the other application's statement, %v, want 2", len(ss), err)
	}
	r.same("its feeds", r.usedFeeds(app2), []event.Feed{event.EffectivePermission})
}

func foreignPermissions(t *testing.T, r *room) {
	r.apps()
	r.populate(app1)
	c, err := r.Store.Citizen(r.ctx, app1, "ctz_1")
	r.must(err)
	x := recorded("ctz_1", 1).ID() + permission.TransactionID(app1)
	_, err = r.Store.Transaction(r.ctx, app1, x)
	r.must(err)
	for what, do := range map[string]func() error{
		"a citizen":              func() error { _, err := r.Store.Citizen(r.ctx, app2, c.ID); return err },
		"a citizen by reference": func() error { _, err := r.Store.CitizenByRef(r.ctx, app2, c.ExternalRef); return err },
		"a transaction":          func() error { _, err := r.Store.Transaction(r.ctx, app2, x); return err },
		"a history":              func() error { _, err := r.Store.Transactions(r.ctx, app2, c.ID); return err },
		"a page of a history":    func() error { _, _, err := r.Store.TransactionPage(r.ctx, app2, c.ID, 5, ""); return err },
		"versions of a statement": func() error {
			_, err := r.Store.StatementVersions(r.ctx, app2, "stm-1")
			return err
		},
		"versions of a policy": func() error { _, err := r.Store.PolicyVersions(r.ctx, app2, "pol-1"); return err },
	} {
		r.notFound(what, do())
	}
	for what, do := range map[string]func(store.Tx) error{
		"to read a citizen":              func(tx store.Tx) error { _, err := tx.Citizen(app2, c.ID); return err },
		"to read a citizen by reference": func(tx store.Tx) error { _, err := tx.CitizenByRef(app2, c.ExternalRef); return err },
		"to read a transaction":          func(tx store.Tx) error { _, err := tx.Transaction(app2, x); return err },
		"to read a history":              func(tx store.Tx) error { _, err := tx.Transactions(app2, c.ID); return err },
		"to read a part":                 func(tx store.Tx) error { _, err := tx.Part(app2, permission.Data, "post"); return err },
		"to delete an option":            func(tx store.Tx) error { return tx.DeleteConfiguration(app2, store.Option, "opt-a") },
	} {
		r.notFound(what, r.Store.Update(r.ctx, do))
	}
	cs, next, err := r.Store.Citizens(r.ctx, app2, store.CitizenQuery{Limit: 10})
	r.must(err)
	ps, err := r.Store.Parts(r.ctx, app2, permission.Data)
	r.must(err)
	if len(cs)+len(ps) != 0 || next != "" {
		t.Errorf("got %d citizens and %d parts of another, want none", len(cs), len(ps))
	}
	_, _, err = r.Store.Citizens(r.ctx, app2, store.CitizenQuery{Limit: 10, After: string(c.ID)})
	r.at("another's citizen to continue after", err, "after")
	r.configured("another's configuration", app2, setup{})
}
