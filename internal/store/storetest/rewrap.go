package storetest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// masterKey returns a master key of one letter, as it is configured.
func masterKey(letter string) secret.Value {
	return secret.New(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, secret.KeySize))))
}

// reopenWith restarts the store with one master key alone.
func (r *room) reopenWith(letter string) {
	r.t.Helper()
	keys, err := secret.ParseKeyring(masterKey(letter))
	r.must(err)
	r.Store = r.Reopen(r.t, keys)
}

// opens fails the test unless everything that everything made, and logged
// since, can be read.
func (r *room) opens(n string) {
	r.t.Helper()
	app, e := app1, subscription.ID("sub_"+n)
	for _, evt := range r.events(app) {
		if len(evt.Body) == 0 {
			r.t.Errorf("%s has no body", evt.ID)
		}
	}
	_, err := r.Store.Consent(r.ctx, app, string(conID(n)))
	r.must(err)
	u, err := r.Store.UserByEmail(r.ctx, n+"@example.org")
	r.must(err)
	r.same("a user", u.Name, "User "+n)
	_, err = r.Store.Config(r.ctx, delivery.Endpoint(e))
	r.must(err)
	d, err := r.Store.Delivery(r.ctx, app, delivery.ID(delivery.Endpoint(e), 3))
	r.must(err)
	if a := d.Attempts[0]; a.Response == nil || asked(a.Token) != asked(exchange(t0)) || a.Shown.URL == "" {
		r.t.Errorf("got attempt %+v, want it whole", a)
	}
	h, err := r.Store.Health(r.ctx, app, e)
	r.must(err)
	r.same("the exchange of a hold", h.Hold.Exchange, exchange(t0))
	ks, err := r.Store.SigningKeys(r.ctx, app)
	r.must(err)
	r.same("the key pairs", ks, []subscription.SigningKey{pair("key_"+n, t0)})
	_, err = r.Store.Token(r.ctx, delivery.Endpoint(e))
	r.must(err)
	r.update(func(tx store.Tx) error {
		i, err := tx.Idempotent(app, "r", "k", t0)
		need(err)
		r.same("a stored answer", string(i.Response), n)
		return nil
	})
	cs, _, err := r.Store.Consents(r.ctx, app, store.ConsentQuery{CitizenID: "ctz-" + string(conID(n))})
	r.must(err)
	r.same("how many consents are found by their citizen", len(cs), 1)
}

// manySubjects logs an event of each of n subjects.
func (r *room) manySubjects(name string, n int) {
	r.t.Helper()
	for n > 0 {
		var list []string
		for range min(n, 200) {
			list = append(list, fmt.Sprint(name, n))
			n--
		}
		r.publish(app1, event.ConsentApproved, list...)
	}
}

// rewrap: what writers write while everything is sealed anew is neither lost
// nor left under a former key.
func rewrap(t *testing.T, r *room) {
	r.apps()
	r.everything(app1, "1", t0)
	const subjects = 700 // more than one transaction's
	r.manySubjects("con_old", subjects)
	if n, err := r.Store.Rewrap(r.ctx); n != 0 || err != nil {
		t.Errorf("with the key that sealed everything: got %d, %v, want 0", n, err)
	}

	var stop atomic.Bool
	var wg sync.WaitGroup
	var going []chan struct{}
	renamed, saved := int64(0), int64(1)
	keep := func(write func(i int) error) {
		began := make(chan struct{})
		going = append(going, began)
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if i == 3 {
					close(began)
				}
				if err := write(i); err != nil {
					t.Errorf("a writer: %v", err)
					return
				}
			}
		})
	}
	keep(func(i int) error { // new subjects, and known ones
		var evts []event.Event
		for _, subject := range []string{fmt.Sprint("con_a", i), fmt.Sprint("con_old", i%subjects+1)} {
			evts = append(evts, event.Event{
				ID: fmt.Sprint("evt_w", i, subject), Application: string(app1), Type: event.ConsentApproved,
				Feed: event.LifecycleData, Subject: subject, OccurredAt: t0, RecordedAt: t0, Body: []byte(`{"w":1}`),
			})
		}
		return r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Publish(evts...) })
	})
	e, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	keep(func(int) error {
		e.Version++
		e.Name = fmt.Sprint("name ", e.Version)
		renamed = e.Version
		return r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutEndpoint(e, picture(e)) })
	})
	keep(func(int) error {
		err := r.Store.SaveToken(r.ctx, "sub_1", token("w", saved))
		saved++
		return err
	})
	for _, began := range going {
		select {
		case <-began:
		case <-time.After(patience):
			t.Fatal("the writers did not begin")
		}
	}
	r.must(r.Keys.Replace(masterKey("n")))
	n, err := r.Store.Rewrap(r.ctx)
	if err != nil || n < subjects {
		t.Errorf("got %d records, %v, want at least the %d subjects", n, err, subjects)
	}
	stop.Store(true)
	wg.Wait()
	if n, err := r.Store.Rewrap(r.ctx); n != 0 || err != nil {
		t.Errorf("once more: got %d, %v, want 0", n, err)
	}
	r.reopenWith("n")
	r.opens("1")
	r.holds("sub_1", token("w", saved))
	got, err := r.Store.Config(r.ctx, "sub_1")
	r.must(err)
	if want := fmt.Sprint("name ", renamed); got.Name != want {
		t.Errorf("got %q, want the last one written, %q", got.Name, want)
	}
	if last := r.events(app1); last[len(last)-1].Seq != event.Seq(len(last)) {
		t.Errorf("the log has %d events up to place %d", len(last), last[len(last)-1].Seq)
	}
}

// countdown is a context that ends when it was asked so often whether it has.
type countdown struct {
	context.Context
	end  context.CancelFunc
	left atomic.Int64
}

func newCountdown(parent context.Context, n int64) *countdown {
	ctx, end := context.WithCancel(parent)
	c := &countdown{Context: ctx, end: end}
	c.left.Store(n)
	return c
}

// Err implements context.Context.
func (c *countdown) Err() error {
	if c.left.Add(-1) <= 0 {
		c.end()
	}
	return c.Context.Err()
}

// rewrapCutOff: whenever it is cut off, what is done is done and counted, all
// can be read, and the next call goes on.
func rewrapCutOff(t *testing.T, r *room) {
	r.apps()
	r.everything(app1, "1", t0)
	r.manySubjects("con_old", 900)
	r.must(r.Keys.Replace(masterKey("n")))
	total, calls := 0, int64(1)
	for ; ; calls++ {
		ctx := newCountdown(r.ctx, calls)
		n, err := r.Store.Rewrap(ctx)
		ctx.end()
		total += n
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Internal {
			t.Fatalf("cut off at %d: got %v, want the context's error", calls, err)
		}
		if calls%3 == 0 {
			r.opens("1")
		}
		if calls > 1000 {
			t.Fatal("sealing anew does not end")
		}
	}
	if calls < 4 || total < 900 {
		t.Errorf("got %d records in %d calls, want all of them in several", total, calls)
	}
	if n, err := r.Store.Rewrap(r.ctx); n != 0 || err != nil {
		t.Errorf("once more: got %d, %v, want 0", n, err)
	}
	r.reopenWith("n")
	r.opens("1")

	// Every former key may be the first again, and one after another.
	keys, err := secret.ParseKeyring(secret.New(masterKey("p").Reveal() + "," + masterKey("n").Reveal()))
	r.must(err)
	r.Store = r.Reopen(t, keys)
	r.manySubjects("con_p", 5)
	r.must(keys.Replace(masterKey("q")))
	r.manySubjects("con_q", 5)
	again, err := r.Store.Rewrap(r.ctx)
	if err != nil || again < total {
		t.Errorf("after two more keys: got %d, %v, want at least %d", again, err, total)
	}
	r.reopenWith("q")
	r.opens("1")
}
