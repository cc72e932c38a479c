package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

func newSecret(s string) secret.Value { return secret.New(s) }

func applications(t *testing.T, r *room) {
	if as, n, err := r.Store.Applications(r.ctx, 0, 10); len(as) != 0 || n != 0 || err != nil {
		t.Errorf("an empty store: got %v, %d, %v, want none", as, n, err)
	}
	r.apps()
	one := access.Application{ID: app1, Name: "One", CreatedAt: t0, UpdatedAt: t0}
	two := access.Application{ID: app2, Name: "Two", CreatedAt: minute(1), UpdatedAt: minute(1)}
	three := access.Application{ID: "app_0", Name: "Three ☃", CreatedAt: minute(2), UpdatedAt: minute(2)}
	r.update(func(tx store.Tx) error { return tx.PutApplication(three) })
	one.Name, one.UpdatedAt = "Uno", minute(9)
	r.update(func(tx store.Tx) error { return tx.PutApplication(one) })
	got, err := r.Store.Application(r.ctx, app1)
	r.must(err)
	r.same("an updated application", got, one)
	_, err = r.Store.Application(r.ctx, "app_9")
	r.notFound("an unknown application", err)
	tests := []struct {
		offset, limit int
		want          []access.Application
	}{
		{0, 10, []access.Application{one, two, three}},
		{0, 2, []access.Application{one, two}},
		{2, 2, []access.Application{three}},
		{3, 2, nil},
		{300, 2, nil},
	}
	for _, tt := range tests {
		as, n, err := r.Store.Applications(r.ctx, tt.offset, tt.limit)
		r.must(err)
		r.same(fmt.Sprint("applications from ", tt.offset), as, tt.want)
		if n != 3 {
			t.Errorf("got %d in all, want 3", n)
		}
	}
}

func (r *room) credential(app access.ID, client string, at time.Time) access.Credential {
	salt := [16]byte{byte(len(client)), 2} // #nosec G115 -- any byte will do
	return access.Credential{ClientID: client, Application: app, Salt: salt, Hash: access.HashSecret(salt, client), CreatedAt: at}
}

func credentials(t *testing.T, r *room) {
	r.apps()
	a, b, c := r.credential(app1, "cli_b", t0), r.credential(app1, "cli_a", minute(1)), r.credential(app2, "cli_c", minute(2))
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutCredential(a), tx.PutCredential(b), tx.PutCredential(c))
	})
	cs, err := r.Store.Credentials(r.ctx, app1)
	r.must(err)
	r.same("credentials, oldest first", cs, []access.Credential{a, b})
	got, err := r.Store.Credential(r.ctx, "cli_c")
	r.must(err)
	r.same("a credential, whosever it is", got, c)
	_, err = r.Store.Credential(r.ctx, "cli_z")
	r.notFound("an unknown credential", err)

	token := func(bearer, client string, app access.ID, end time.Time) access.Token {
		return access.Token{Hash: access.HashToken(bearer), ClientID: client, Application: app, ExpiresAt: end}
	}
	ta, tb, tb2, tc := token("ta", "cli_b", app1, minute(60)), token("tb", "cli_a", app1, minute(60)), token("tb2", "cli_a", app1, minute(90)), token("tc", "cli_c", app2, minute(60))
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutToken(ta, t0), tx.PutToken(tb, t0), tx.PutToken(tb2, t0), tx.PutToken(tc, t0))
	})
	for _, want := range []access.Token{ta, tb, tb2, tc} {
		got, err := r.Store.AccessToken(r.ctx, want.Hash)
		r.must(err)
		r.same("a token", got, want)
	}
	_, err = r.Store.AccessToken(r.ctx, access.HashToken("none"))
	r.notFound("an unknown token", err)

	// A token ends with its credential, and only with its own.
	r.update(func(tx store.Tx) error { return tx.DeleteCredential(app1, "cli_a") })
	_, err = r.Store.Credential(r.ctx, "cli_a")
	r.notFound("a deleted credential", err)
	for _, gone := range []access.Token{tb, tb2} {
		_, err = r.Store.AccessToken(r.ctx, gone.Hash)
		r.notFound("a token of a deleted credential", err)
	}
	for _, kept := range []access.Token{ta, tc} {
		_, err = r.Store.AccessToken(r.ctx, kept.Hash)
		r.must(err)
	}
	for _, client := range []string{"cli_a", "cli_c", "cli_z"} {
		err := r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.DeleteCredential(app1, client) })
		r.notFound("to delete "+client+", which the application has not", err)
	}
	cs, err = r.Store.Credentials(r.ctx, app1)
	r.must(err)
	r.same("the credentials that are left", cs, []access.Credential{a})

	// Expired tokens are dropped on the way; those that are valid are not.
	r.update(func(tx store.Tx) error { return tx.PutToken(token("late", "cli_b", app1, minute(120)), minute(59)) })
	_, err = r.Store.AccessToken(r.ctx, ta.Hash)
	r.must(err)
}

func idempotent(t *testing.T, r *room) {
	r.apps()
	a := store.Idempotent{Key: "k", Route: "POST /v1/consents", Request: [32]byte{1}, Status: 201, Response: []byte("{\"a\":\"☃\"}\n"), ExpiresAt: minute(10)}
	b := a
	b.Route, b.Status, b.Response = "POST /v1/permissions/transactions", 200, nil
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutIdempotent(app1, a, t0), tx.PutIdempotent(app1, b, t0))
	})
	look := func(app access.ID, route, key string, now time.Time) (store.Idempotent, error) {
		var got store.Idempotent
		err := r.Store.Update(r.ctx, func(tx store.Tx) (err error) {
			got, err = tx.Idempotent(app, route, key, now)
			return err
		})
		return got, err
	}
	for _, want := range []store.Idempotent{a, b} {
		got, err := look(app1, want.Route, "k", minute(10).Add(-time.Millisecond))
		r.must(err)
		r.same("a stored answer a moment before its end", got, want)
	}
	_, err := look(app1, a.Route, "k", minute(10))
	r.notFound("a stored answer at its end", err)
	_, err = look(app2, a.Route, "k", t0)
	r.notFound("another application's answer", err)
	_, err = look(app1, a.Route, "K", t0)
	r.notFound("a key in another case", err)
	_, err = look(app1, "POST /x", "k", t0)
	r.notFound("another route's answer", err)

	// An expired key may be used again.
	c := a
	c.Request, c.Status, c.ExpiresAt = [32]byte{2}, 202, minute(30)
	r.update(func(tx store.Tx) error { return tx.PutIdempotent(app1, c, minute(10)) })
	got, err := look(app1, a.Route, "k", minute(10))
	r.must(err)
	r.same("the answer of a key used again", got, c)
}

func bins(_ *testing.T, r *room) {
	r.apps()
	a := store.Bin{Name: "bin_a", Application: app1, Script: store.Script{Status: 200}, CreatedAt: t0}
	b := store.Bin{Name: "bin_b", Application: app1, CreatedAt: minute(1), Script: store.Script{
		Status: 503, Delay: 1500 * time.Millisecond, FailureRatio: 0.25, Headers: map[string]string{"Retry-After": "5", "X-☃": "y"}, Body: "busy\n",
	}, Share: store.Share{Hash: [32]byte{1, 2, 31: 3}, Until: minute(9)}}
	c := store.Bin{Name: "bin_c", Application: app2, Script: store.Script{Status: 204}, CreatedAt: minute(2)}
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutBin(a), tx.PutBin(b), tx.PutBin(c)) })
	for _, want := range []store.Bin{a, b, c} {
		got, err := r.Store.Bin(r.ctx, want.Name)
		r.must(err)
		r.same("a bin", got, want)
	}
	got, err := r.Store.Bins(r.ctx, app1)
	r.must(err)
	r.same("an application's bins, newest first", got, []store.Bin{b, a})
	a.Script = store.Script{Status: 500, Body: "no"}
	r.update(func(tx store.Tx) error { return tx.PutBin(a) })
	got, err = r.Store.Bins(r.ctx, app1)
	r.must(err)
	r.same("after a change of the older", got, []store.Bin{b, a})
	for _, name := range []string{"bin_c", "bin_z"} {
		err := r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.DeleteBin(app1, name) })
		r.notFound("to delete "+name+", which the application has not", err)
	}
	r.update(func(tx store.Tx) error { return tx.DeleteBin(app1, "bin_b") })
	_, err = r.Store.Bin(r.ctx, "bin_b")
	r.notFound("a deleted bin", err)
	_, err = r.Store.Bin(r.ctx, "bin_c")
	r.must(err)
}

// everything gives an application one thing of each kind, with waiting,
// delivered and failed deliveries to sub_<n>.
func (r *room) everything(app access.ID, n string, at time.Time) {
	r.t.Helper()
	e, i := subscriber(app, subscription.ID("sub_"+n), event.ConsentCreated, event.ConsentApproved), interceptor(app, subscription.ID("int_"+n))
	e.SigningSecrets = []subscription.SigningSecret{{Secret: newSecret("whsec_" + n)}}
	cred := r.credential(app, "cli_"+n, at)
	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.PutCredential(cred),
			tx.PutToken(access.Token{Hash: access.HashToken("t" + n), ClientID: cred.ClientID, Application: app, ExpiresAt: at.Add(time.Hour)}, at),
			tx.PutBin(store.Bin{Name: "bin_" + n, Application: app, Script: store.Script{Status: 200}, CreatedAt: at}),
			tx.PutUser(access.User{ID: "usr_" + n, Application: app, Email: n + "@example.org", Name: "User " + n, Role: access.Viewer, CreatedAt: at}),
			tx.PutIdempotent(app, store.Idempotent{Key: "k", Route: "r", Status: 201, Response: []byte(n), ExpiresAt: at.Add(time.Hour)}, at),
			tx.PutEndpoint(e, picture(e)), tx.PutEndpoint(i, picture(i)),
		)
	})
	c := r.dataConsent(app, conID(n), at)
	evts := []event.Event{r.event(app, string(c.ID), event.ConsentCreateReceived), r.event(app, string(c.ID), event.ConsentCreated)}
	r.update(func(tx store.Tx) error { return tx.PutConsent(c, evts...) })
	r.publish(app, event.ConsentApproved, "con_x"+n, "con_y"+n)
	r.update(func(tx store.Tx) error { return tx.PutSigningKey(app, pair("key_"+n, at)) })
	r.must(r.Store.SaveToken(r.ctx, delivery.Endpoint(e.ID), token("everything"+n, 0)))
	p := r.open(e.ID)
	failed := attempt(3, 1, at, false)
	failed.Token = exchange(at)
	r.record(delivery.Progress{
		Lease: p.Lease, At: at, Cursor: 3, Hold: &delivery.Hold{State: delivery.Authorised, Since: at, Exchange: exchange(at)},
		Attempts: []delivery.Attempt{attempt(2, 1, at, true), failed},
		Put:      []delivery.Exception{{Seq: 3, Subject: "con_x" + n, State: delivery.WaitRetry, Tries: 1, NextAt: at.Add(time.Minute)}},
	})
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app, delivery.Replay{ID: "rpl_" + n, Endpoint: delivery.Endpoint(e.ID), Seqs: []event.Seq{2, 3}, CreatedAt: at})
	})
}

func deleteApplication(t *testing.T, r *room) {
	r.apps()
	r.everything(app1, "1", t0)
	r.everything(app2, "2", t0)
	delivered := delivery.ID("sub_1", 2)
	evts := r.events(app1)
	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })

	_, err := r.Store.UserByEmail(r.ctx, "1@example.org")
	r.notFound("its user", err)
	_, err = r.Store.UserByEmail(r.ctx, "2@example.org")
	r.must(err)
	_, err = r.Store.Application(r.ctx, app1)
	r.notFound("the application", err)
	_, err = r.Store.Credential(r.ctx, "cli_1")
	r.notFound("its credential", err)
	_, err = r.Store.AccessToken(r.ctx, access.HashToken("t1"))
	r.notFound("its token", err)
	_, err = r.Store.Bin(r.ctx, "bin_1")
	r.notFound("its bin", err)
	_, err = r.Store.Consent(r.ctx, app1, "con_1")
	r.notFound("its consent", err)
	_, err = r.Store.Event(r.ctx, app1, evts[0].ID)
	r.notFound("its event", err)
	_, err = r.Store.Delivery(r.ctx, app1, delivered)
	r.notFound("its delivery", err)
	_, err = r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "sub_1")
	r.notFound("its subscription", err)
	_, err = r.Store.Endpoint(r.ctx, app1, subscription.Interceptor, "int_1")
	r.notFound("its interceptor", err)
	_, err = r.Store.Config(r.ctx, "sub_1")
	r.notFound("its subscription's configuration", err)
	_, err = r.Store.Health(r.ctx, app1, "sub_1")
	r.notFound("its subscription's health", err)
	_, err = r.Store.Token(r.ctx, "sub_1")
	r.notFound("its subscription's token", err)
	_, err = r.Store.SigningKeys(r.ctx, app1)
	r.notFound("its key pairs", err)
	if _, err = r.Store.Open(r.ctx, "sub_1"); err == nil {
		t.Error("its endpoint can be opened")
	}
	es, err := r.Store.Active(r.ctx)
	r.must(err)
	slices.Sort(es)
	r.same("the active endpoints", es, []delivery.Endpoint{"int_2", "sub_2"})
	due, err := r.Store.DueConsents(r.ctx, minute(10_000), 10)
	r.must(err)
	r.same("the consents that are due", due, []store.ConsentRef{{Application: app2, ID: "con_2"}})
	if _, n, err := r.Store.Applications(r.ctx, 0, 10); n != 1 || err != nil {
		t.Errorf("got %d applications, %v, want one", n, err)
	}

	// A new application of that name begins with nothing, at place 1.
	r.update(func(tx store.Tx) error {
		return tx.PutApplication(access.Application{ID: app1, CreatedAt: t0, UpdatedAt: t0})
	})
	r.update(func(tx store.Tx) error {
		_, err := tx.Idempotent(app1, "r", "k", t0)
		r.notFound("its stored answer", err)
		return nil
	})
	if left := len(r.events(app1)) + len(r.deliveries(app1, store.DeliveryQuery{})); left != 0 {
		t.Errorf("got %d events and deliveries of the application before, want none", left)
	}
	if ks, err := r.Store.SigningKeys(r.ctx, app1); len(ks) != 0 || err != nil {
		t.Errorf("got %d, %v, want no key pairs", len(ks), err)
	}
	if bs, err := r.Store.Bins(r.ctx, app1); len(bs) != 0 || err != nil {
		t.Errorf("got %v, %v, want no bins", bs, err)
	}
	r.publish(app1, event.ConsentCreated, "con_1")
	if e := r.events(app1)[0]; e.Seq != 1 || e.Sequence != 1 {
		t.Errorf("got place %d, sequence %d, want 1, 1", e.Seq, e.Sequence)
	}

	// The other application lost nothing.
	if n := len(r.events(app2)); n != 4 {
		t.Errorf("got %d events of the other application, want 4", n)
	}
	if got, want := r.statuses(app2, "sub_2"), "[2:delivered 3:retrying 4:pending]"; got != want {
		t.Errorf("got %s of the other application, want %s", got, want)
	}
	_, err = r.Store.AccessToken(r.ctx, access.HashToken("t2"))
	r.must(err)
	r.holds("sub_2", token("everything2", 1))
	if ks, err := r.Store.SigningKeys(r.ctx, app2); len(ks) != 1 || err != nil {
		t.Errorf("got %d key pairs of the other application, %v, want 1", len(ks), err)
	}
}

// foreign: what application 1 has, application 2 cannot see, change or learn of.
func foreign(t *testing.T, r *room) {
	r.apps()
	r.everything(app1, "1", t0)
	evts := r.events(app1)
	_, err := r.Store.Consent(r.ctx, app2, "con_1")
	r.notFound("a consent", err)
	_, err = r.Store.Consent(r.ctx, app2, "urn:consentwire:con_1")
	r.notFound("a consent by its consentId", err)
	_, err = r.Store.Endpoint(r.ctx, app2, subscription.Subscription, "sub_1")
	r.notFound("a subscription", err)
	_, err = r.Store.Endpoint(r.ctx, app2, subscription.Interceptor, "int_1")
	r.notFound("an interceptor", err)
	_, err = r.Store.Health(r.ctx, app2, "sub_1")
	r.notFound("an endpoint's health", err)
	_, err = r.Store.Event(r.ctx, app2, evts[0].ID)
	r.notFound("an event", err)
	_, err = r.Store.Delivery(r.ctx, app2, delivery.ID("sub_1", 2))
	r.notFound("a delivery", err)
	_, _, err = r.Store.Deliveries(r.ctx, app2, store.DeliveryQuery{Endpoint: "sub_1", Style: subscription.Subscription, Limit: 10})
	r.notFound("the deliveries to an endpoint", err)
	_, _, err = r.Store.ReplaySelection(r.ctx, app2, "sub_1", store.ReplayQuery{From: t0, To: minute(1000)})
	r.notFound("a selection", err)
	_, _, err = r.Store.Events(r.ctx, app2, store.EventQuery{Limit: 10, After: evts[0].ID})
	r.at("another's event to continue after", err, "after")
	for what, do := range map[string]func(store.Tx) error{
		"to delete an endpoint": func(tx store.Tx) error { return tx.DeleteEndpoint(app2, "sub_1", t0) },
		"to discard":            func(tx store.Tx) error { return tx.Discard(app2, "sub_1", t0) },
		"to forget a token":     func(tx store.Tx) error { return tx.ForgetToken(app2, "sub_1") },
		"to resume":             func(tx store.Tx) error { return tx.Resume(app2, "sub_1", t0) },
		"to replay": func(tx store.Tx) error {
			return tx.PutReplay(app2, delivery.Replay{ID: "rpl_9", Endpoint: "sub_1", Seqs: []event.Seq{2}})
		},
		"to delete a credential":     func(tx store.Tx) error { return tx.DeleteCredential(app2, "cli_1") },
		"to delete a bin":            func(tx store.Tx) error { return tx.DeleteBin(app2, "bin_1") },
		"to read a consent":          func(tx store.Tx) error { _, err := tx.Consent(app2, "con_1"); return err },
		"to read an endpoint":        func(tx store.Tx) error { _, err := tx.Endpoint(app2, subscription.Subscription, "sub_1"); return err },
		"to read a stored answer":    func(tx store.Tx) error { _, err := tx.Idempotent(app2, "r", "k", t0); return err },
		"to read by the wrong style": func(tx store.Tx) error { _, err := tx.Endpoint(app1, subscription.Interceptor, "sub_1"); return err },
	} {
		r.notFound(what, r.Store.Update(r.ctx, do))
	}
	if n := len(r.events(app2)) + len(r.deliveries(app2, store.DeliveryQuery{})); n != 0 {
		t.Errorf("got %d events and deliveries of another, want none", n)
	}
	cs, _, err := r.Store.Consents(r.ctx, app2, store.ConsentQuery{Limit: 10})
	r.must(err)
	es, n, err := r.Store.Endpoints(r.ctx, app2, store.EndpointQuery{Limit: 10, Style: subscription.Subscription})
	r.must(err)
	creds, err := r.Store.Credentials(r.ctx, app2)
	r.must(err)
	ks, err := r.Store.SigningKeys(r.ctx, app2)
	r.must(err)
	if len(cs)+len(es)+n+len(creds)+len(ks) != 0 {
		t.Errorf("got %d consents, %d of %d endpoints, %d credentials, %d key pairs of another, want none", len(cs), len(es), n, len(creds), len(ks))
	}
}

func visitors(_ *testing.T, r *room) {
	r.apps()
	one := access.User{ID: "usr_1", Application: app1, Email: "ana@example.org", Name: "Ana", Role: access.Developer, Password: "$argon2id$x", CreatedAt: t0} // #nosec G101 -- no hash of anything
	boss := access.User{ID: "usr_2", Email: "boss@example.org", Name: "Boss", Role: access.Operator, Password: "$argon2id$y", CreatedAt: t0}                  // #nosec G101 -- no hash of anything
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutUser(one), tx.PutUser(boss)) })
	for _, want := range []access.User{one, boss} {
		got, err := r.Store.UserByEmail(r.ctx, want.Email)
		r.must(err)
		r.same("by address", got, want)
		list, err := r.Store.Users(r.ctx, want.Application)
		r.must(err)
		r.same("the list", list, []access.User{want})
	}
	if list, err := r.Store.Users(r.ctx, app2); err != nil || len(list) != 0 {
		r.t.Errorf("another application's users: got %v, %v", list, err)
	}
	_, err := r.Store.UserByEmail(r.ctx, "eve@example.org")
	r.notFound("what is not there", err)
	one.Role = access.Viewer
	r.update(func(tx store.Tx) error { return tx.PutUser(one) })
	if got, err := r.Store.UserByEmail(r.ctx, one.Email); err != nil || got.Role != access.Viewer {
		r.t.Errorf("got %v, %v, want the new role", got, err)
	}
	taken := one
	taken.ID, taken.Application = "usr_3", app2
	r.conflict("a taken address", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutUser(taken) }), "email_taken", "email")

	i := access.Invitation{Hash: [32]byte{1}, Application: app1, Email: "rui@example.org", Role: access.PrivacyOfficer, ExpiresAt: minute(10)}
	r.update(func(tx store.Tx) error { return tx.PutInvitation(i, t0) })
	got, err := r.Store.Invitation(r.ctx, i.Hash)
	r.must(err)
	r.same("an invitation", got, i)
	open, err := r.Store.Invitations(r.ctx, app1)
	r.must(err)
	r.same("the list of invitations", open, []access.Invitation{i})
	r.notFound("what is not there", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.DeleteInvitation([32]byte{2}) }))

	s := access.Session{Hash: [32]byte{3}, User: one.ID, Name: "Ana", Application: app1, Role: access.Viewer, Token: "tok", BeganAt: t0, SeenAt: minute(1)}
	anonymous := access.Session{Hash: [32]byte{4}, Name: "Operator", Role: access.Operator, Token: "tik", BeganAt: t0, SeenAt: minute(1)}
	r.update(func(tx store.Tx) error { return errors.Join(tx.PutSession(s, t0), tx.PutSession(anonymous, t0)) })
	for _, want := range []access.Session{s, anonymous} {
		got, err := r.Store.Session(r.ctx, want.Hash)
		r.must(err)
		r.same("a session", got, want)
	}
	anonymous.Application, anonymous.SeenAt = app2, minute(2)
	r.update(func(tx store.Tx) error { return tx.PutSession(anonymous, minute(2)) })
	moved, err := r.Store.Session(r.ctx, anonymous.Hash)
	r.must(err)
	r.same("one that passed on", moved, anonymous)

	r.notFound("what is not there", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.DeleteUser(app2, one.ID) }))
	r.notFound("what is not there", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.DeleteUser("", "") }))
	r.update(func(tx store.Tx) error { return tx.DeleteUser(app1, one.ID) })
	_, err = r.Store.Session(r.ctx, s.Hash)
	r.notFound("what is not there", err)
	if _, err := r.Store.Session(r.ctx, anonymous.Hash); err != nil {
		r.t.Errorf("a session of nobody: got %v, want it to stay", err)
	}
	// What is over is dropped on the way of the next.
	late := access.Session{Hash: [32]byte{5}, Role: access.Operator, BeganAt: minute(600), SeenAt: minute(600)}
	r.update(func(tx store.Tx) error { return tx.PutSession(late, minute(600)) })
	_, err = r.Store.Session(r.ctx, anonymous.Hash)
	r.notFound("what is not there", err)
	_, err = r.Store.Invitation(r.ctx, i.Hash)
	r.notFound("what is not there", err)
	r.update(func(tx store.Tx) error { return tx.DeleteSession(late.Hash) })
	r.update(func(tx store.Tx) error { return tx.DeleteSession(late.Hash) })
	if _, err := r.Store.UserByEmail(r.ctx, boss.Email); err != nil {
		r.t.Errorf("a user: got %v, want it to stay", err)
	}
}
