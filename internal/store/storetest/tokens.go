package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// token returns a token with everything set.
func token(name string, generation int64) subscription.Token {
	return subscription.Token{
		Access: newSecret("access-" + name + " ☃"), ExpiresAt: minute(60), Refresh: newSecret("refresh-" + name),
		ClientAuth: subscription.ClientAuthBody, Generation: generation,
	}
}

// holds fails the test unless that token is kept for an endpoint.
func (r *room) holds(e delivery.Endpoint, want subscription.Token) {
	r.t.Helper()
	got, err := r.Store.Token(r.ctx, e)
	if err != nil || shownToken(got) != shownToken(want) || !got.ExpiresAt.Equal(want.ExpiresAt) {
		r.t.Errorf("%s: got %s, %v, want %s", e, shownToken(got), err, shownToken(want))
	}
}

// changed fails the test unless a token was refused for its generation.
func (r *room) changed(what string, err error) {
	r.t.Helper()
	if fault.KindOf(err) != fault.Conflict || fault.CodeOf(err) != "token_changed" {
		r.t.Errorf("%s: got %v, want fault.Conflict \"token_changed\"", what, err)
	}
}

func shownToken(t subscription.Token) string {
	return fmt.Sprintf("%q until %v, %q, by %q, generation %d", t.Access.Reveal(), t.ExpiresAt, t.Refresh.Reveal(), t.ClientAuth, t.Generation)
}

func shownKeys(ks []subscription.SigningKey) string {
	var out []string
	for _, k := range ks {
		out = append(out, fmt.Sprintf("%s %s %s %v %v", k.ID, k.PrivateKey.Reveal(), k.PublicKey, k.CreatedAt, k.ExpiresAt))
	}
	return strings.Join(out, "\n")
}

// asked tells everything of an exchange; nil: none.
func asked(x *delivery.Exchange) string {
	if x == nil {
		return "none"
	}
	response := x.Response
	whole := *x
	whole.Response = nil
	return fmt.Sprintf("%+v %+v", whole, response)
}

func keptToken(_ *testing.T, r *room) {
	r.apps()
	r.put(subscriber(app1, "sub_1"), subscriber(app2, "sub_2"))
	r.holds("sub_1", subscription.Token{})
	r.changed("a token made from one that never was", r.Store.SaveToken(r.ctx, "sub_1", token("a", 1)))
	r.holds("sub_1", subscription.Token{})

	r.must(r.Store.SaveToken(r.ctx, "sub_1", token("a", 0)))
	r.holds("sub_1", token("a", 1))
	r.holds("sub_2", subscription.Token{})
	for _, generation := range []int64{0, 2, -1} {
		r.changed(fmt.Sprint("a token made from generation ", generation), r.Store.SaveToken(r.ctx, "sub_1", token("b", generation)))
	}
	r.holds("sub_1", token("a", 1))
	bare := subscription.Token{Access: newSecret("bare"), Generation: 1}
	r.must(r.Store.SaveToken(r.ctx, "sub_1", bare))
	bare.Generation = 2
	r.holds("sub_1", bare)
	r.must(r.Store.SaveToken(r.ctx, "sub_1", token("c", 2)))
	r.must(r.Store.SaveToken(r.ctx, "sub_2", token("d", 0)))

	// A change of the endpoint, a pause and a restart leave it alone.
	e := subscriber(app1, "sub_1")
	e.Name, e.Version = "renamed", 2
	r.put(e)
	r.become(e, subscription.Paused, minute(1))
	r.Store = r.Reopen(r.t, nil)
	r.holds("sub_1", token("c", 3))
	r.holds("sub_2", token("d", 1))

	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_1", minute(2)) })
	for _, e := range []delivery.Endpoint{"sub_1", "sub_9"} {
		_, err := r.Store.Token(r.ctx, e)
		r.notFound("the token of "+string(e), err)
		for _, generation := range []int64{0, 3} {
			r.notFound("to save one for "+string(e), r.Store.SaveToken(r.ctx, e, token("e", generation)))
		}
	}
	r.holds("sub_2", token("d", 1))
}

// tokenRace: of workers that all fetched a token with the same one, the first
// to come is kept; the others learn of it.
func tokenRace(t *testing.T, r *room) {
	r.apps()
	r.put(subscriber(app1, "sub_1"))
	const workers = 50
	for generation := range int64(3) { // the first is inserted, the others replace it
		errs := make([]error, workers)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = r.Store.SaveToken(r.ctx, "sub_1", token(fmt.Sprint(i), generation)) })
		}
		wg.Wait()
		var kept []int
		for i, err := range errs {
			if err == nil {
				kept = append(kept, i)
				continue
			}
			r.changed(fmt.Sprint("worker ", i), err)
		}
		if len(kept) != 1 {
			t.Fatalf("generation %d: got %d tokens kept, want 1", generation, len(kept))
		}
		r.holds("sub_1", token(fmt.Sprint(kept[0]), generation+1))
	}
}

func forgetToken(_ *testing.T, r *room) {
	r.apps()
	r.put(subscriber(app1, "sub_1"), subscriber(app1, "sub_2"))
	forget := func(id subscription.ID) {
		r.t.Helper()
		r.update(func(tx store.Tx) error { return tx.ForgetToken(app1, id) })
	}
	// One that is being fetched for the first time is too late, too.
	forget("sub_1")
	r.holds("sub_1", subscription.Token{Generation: 1})
	r.changed("a token of the credentials before", r.Store.SaveToken(r.ctx, "sub_1", token("a", 0)))
	r.must(r.Store.SaveToken(r.ctx, "sub_1", token("b", 1)))
	r.must(r.Store.SaveToken(r.ctx, "sub_2", token("c", 0)))
	r.holds("sub_1", token("b", 2))

	failed := errors.New("failed")
	if err := r.Store.Update(r.ctx, func(tx store.Tx) error { return errors.Join(tx.ForgetToken(app1, "sub_1"), failed) }); !errors.Is(err, failed) {
		r.t.Fatalf("got %v, want %v", err, failed)
	}
	r.holds("sub_1", token("b", 2))
	forget("sub_1")
	r.holds("sub_1", subscription.Token{Generation: 3})
	r.changed("a token made from the one that was forgotten", r.Store.SaveToken(r.ctx, "sub_1", token("d", 2)))
	forget("sub_1")
	r.must(r.Store.SaveToken(r.ctx, "sub_1", token("e", 4)))
	r.holds("sub_1", token("e", 5))
	r.holds("sub_2", token("c", 1))

	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_1", minute(1)) })
	for _, id := range []subscription.ID{"sub_1", "sub_9"} {
		r.notFound("to forget the token of "+string(id), r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.ForgetToken(app1, id) }))
	}
}

// pair returns a current key pair; the store does not look into it.
func pair(id string, at time.Time) subscription.SigningKey {
	return subscription.SigningKey{ID: id, PrivateKey: newSecret("whsk_" + id), PublicKey: "whpk_" + id, CreatedAt: at}
}

func signingKeys(_ *testing.T, r *room) {
	r.apps()
	plain, both := subscriber(app1, "sub_plain"), subscriber(app1, "sub_both")
	both.Asymmetric = true
	foreign := subscriber(app2, "sub_foreign")
	foreign.Asymmetric = true
	r.put(plain, both, foreign)
	check := func(what string, want ...subscription.SigningKey) {
		r.t.Helper()
		got, err := r.Store.SigningKeys(r.ctx, app1)
		r.must(err)
		r.same(what, got, want)
		r.update(func(tx store.Tx) error {
			got, err := tx.SigningKeys(app1)
			need(err)
			r.same(what+", in a transaction", got, want)
			e, err := tx.Endpoint(app1, subscription.Subscription, "sub_both")
			need(err)
			r.same(what+", of an endpoint in a transaction", e.SigningKeys, want)
			return nil
		})
		for id, keys := range map[subscription.ID][]subscription.SigningKey{"sub_both": want, "sub_plain": nil} {
			e, err := r.Store.Endpoint(r.ctx, app1, subscription.Subscription, id)
			r.must(err)
			c, err := r.Store.Config(r.ctx, delivery.Endpoint(id))
			r.must(err)
			r.same(what+", of "+string(id), e.SigningKeys, keys)
			r.same(what+", of the configuration of "+string(id), c, e)
		}
		es, _, err := r.Store.Endpoints(r.ctx, app1, store.EndpointQuery{Style: subscription.Subscription, Limit: 10})
		r.must(err)
		for _, e := range es {
			if e.Asymmetric {
				r.same(what+", of a list's endpoint", e.SigningKeys, want)
			} else {
				r.same(what+", of a list's other endpoint", e.SigningKeys, nilKeys)
			}
		}
		e, err := r.Store.Config(r.ctx, "sub_foreign")
		r.must(err)
		r.same(what+", of another application's endpoint", e.SigningKeys, nilKeys)
	}
	put := func(ks ...subscription.SigningKey) {
		r.t.Helper()
		r.update(func(tx store.Tx) error {
			for _, k := range ks {
				need(tx.PutSigningKey(app1, k))
			}
			return nil
		})
	}
	check("none")
	a, b, c := pair("key_z", minute(1)), pair("key_m", minute(2)), pair("key_a", minute(2))
	put(a)
	check("one", a)
	a.ExpiresAt = minute(60)
	put(a, b)
	check("one that was rotated", b, a)
	b.ExpiresAt = minute(61)
	put(b, c)
	check("another of the same instant", c, b, a)
	a.PrivateKey, a.PublicKey, a.CreatedAt, a.ExpiresAt = newSecret("whsk_other"), "whpk_other", minute(3), minute(99)
	put(a)
	check("one that was changed", a, c, b)
	d := pair("key_d", minute(61)) // b expires at this very instant
	put(d)
	check("those that had expired are dropped with an insert", d, a, c)
	c.ExpiresAt = minute(4)
	put(c)
	check("and not with an update", d, a, c)

	// What is written with an endpoint changes no key pair.
	both.Version, both.SigningKeys = 2, []subscription.SigningKey{pair("key_forged", minute(1))}
	r.put(both)
	check("after a change of the endpoint", d, a, c)
	r.Store = r.Reopen(r.t, nil)
	check("after a restart", d, a, c)

	_, err := r.Store.SigningKeys(r.ctx, "app_9")
	r.notFound("the key pairs of no application", err)
	r.notFound("to put one", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutSigningKey("app_9", d) }))
	other := d
	other.PublicKey = "whpk_of_2"
	r.update(func(tx store.Tx) error { return tx.PutSigningKey(app2, other) })
	ks, err := r.Store.SigningKeys(r.ctx, app2)
	r.must(err)
	r.same("the other application's, by the same ID", ks, []subscription.SigningKey{other})
	ks, err = r.Store.SigningKeys(r.ctx, app1)
	r.must(err)
	r.same("the first application's then", ks, []subscription.SigningKey{d, a, c})
}

var nilKeys []subscription.SigningKey

func signingKeysWatched(t *testing.T, r *room) {
	r.apps()
	var list []subscription.Endpoint
	for _, id := range []subscription.ID{"sub_a", "sub_b", "sub_c", "sub_d", "sub_e"} {
		e := subscriber(app1, id, event.ConsentCreated)
		e.Asymmetric = id != "sub_b"
		list = append(list, e)
	}
	foreign := subscriber(app2, "sub_foreign")
	foreign.Asymmetric = true
	r.put(append(list, foreign)...)
	r.become(list[3], subscription.Paused, minute(1)) // wakes, too: what it shows may have changed
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, "sub_e", minute(1)) })

	changes := make(chan store.Change, 1000)
	r.Store.Watch(func(c store.Change) { changes <- c })
	r.publish(app2, event.ConsentCreated, "con_before") // what was committed before is told by now
	wait := func(what string, enough func(store.Change) bool) store.Change {
		t.Helper()
		for {
			select {
			case c := <-changes:
				if enough(c) {
					return c
				}
			case <-time.After(patience):
				t.Fatalf("%s: no watcher was told", what)
			}
		}
	}
	wait("a log", func(c store.Change) bool { return slices.Contains(c.Applications, app2) })
	k := pair("key_1", minute(2))
	for _, what := range []string{"an insert", "an update"} {
		r.update(func(tx store.Tx) error { return tx.PutSigningKey(app1, k) })
		got := slices.Clone(wait(what, func(c store.Change) bool { return len(c.Endpoints) > 0 }).Endpoints)
		slices.Sort(got)
		if want := []delivery.Endpoint{"sub_a", "sub_c", "sub_d"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %v changed, want %v", what, got, want)
		}
		k.ExpiresAt = minute(99)
	}
}
