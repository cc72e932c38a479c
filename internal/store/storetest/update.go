package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// patience bounds what is waited for; nothing is expected to take it.
const patience = 30 * time.Second

func updateIsAtomic(t *testing.T, r *room) {
	r.apps()
	mine := errors.New("mine")
	conflict := fault.New(fault.Conflict, "no", "No.")
	for _, want := range []error{mine, conflict} {
		err := r.Store.Update(r.ctx, func(tx store.Tx) error {
			c := r.dataConsent(app1, "con_1", t0)
			return errors.Join(
				tx.PutConsent(c, r.event(app1, "con_1", event.ConsentCreated)),
				tx.PutApplication(access.Application{ID: "app_3", CreatedAt: t0, UpdatedAt: t0}),
				tx.PutEndpoint(subscriber(app1, "sub_1"), delivery.Shown{}),
				tx.PutBin(store.Bin{Name: "bin_1", Application: app1, CreatedAt: t0}),
			)
		})
		if err != nil {
			t.Fatalf("got %v from the same writes without a failure", err)
		}
		err = r.Store.Update(r.ctx, func(tx store.Tx) error {
			if err := errors.Join(
				tx.PutConsent(r.dataConsent(app1, "con_2", t0), r.event(app1, "con_2", event.ConsentCreated), r.event(app1, "con_1", event.ConsentApproved)),
				tx.PutApplication(access.Application{ID: "app_4", CreatedAt: t0, UpdatedAt: t0}),
				tx.PutEndpoint(subscriber(app1, "sub_2"), delivery.Shown{}),
				tx.PutBin(store.Bin{Name: "bin_2", Application: app1, CreatedAt: t0}),
				tx.PutIdempotent(app1, store.Idempotent{Key: "k", Route: "r", ExpiresAt: minute(1)}, t0),
				tx.DeleteBin(app1, "bin_1"),
				tx.DeleteApplication("app_3"),
			); err != nil {
				t.Errorf("a write of the failing update: %v", err)
			}
			return want
		})
		if err != want { //nolint:errorlint // unchanged means the very same
			t.Fatalf("got %v, want the very error of the function, %v", err, want)
		}
		_, err = r.Store.Consent(r.ctx, app1, "con_2")
		r.notFound("the consent of the failed update", err)
		_, err = r.Store.Application(r.ctx, "app_4")
		r.notFound("the application of the failed update", err)
		_, err = r.Store.Endpoint(r.ctx, app1, subscription.Subscription, "sub_2")
		r.notFound("the endpoint of the failed update", err)
		_, err = r.Store.Bin(r.ctx, "bin_2")
		r.notFound("the bin of the failed update", err)
		_, err = r.Store.Bin(r.ctx, "bin_1")
		r.must(err)
		_, err = r.Store.Application(r.ctx, "app_3")
		r.must(err)
		r.update(func(tx store.Tx) error {
			_, err := tx.Idempotent(app1, "r", "k", t0)
			r.notFound("the answer of the failed update", err)
			return nil
		})
		if evts := r.events(app1); len(evts) != 1 {
			t.Errorf("got %d events, want that of the update that succeeded", len(evts))
		}

		// The numbers that the failed update took are given out again.
		r.update(func(tx store.Tx) error {
			return tx.PutConsent(r.dataConsent(app1, "con_1", t0), r.event(app1, "con_1", event.ConsentApproved))
		})
		evts := r.events(app1)
		if last := evts[len(evts)-1]; last.Seq != 2 || last.Sequence != 2 {
			t.Errorf("got place %d, sequence %d after a failed update, want 2, 2", last.Seq, last.Sequence)
		}
		r.update(func(tx store.Tx) error {
			return errors.Join(tx.DeleteApplication(app1), tx.DeleteApplication("app_3"), tx.PutApplication(access.Application{ID: app1, CreatedAt: t0, UpdatedAt: t0}))
		})
	}
}

func updateReadsItsWrites(t *testing.T, r *room) {
	r.apps()
	e := subscriber(app1, "sub_1")
	e.SigningSecrets = []subscription.SigningSecret{{Secret: newSecret("whsec_a")}}
	bin := store.Bin{Name: "bin_1", Application: app1, Script: store.Script{Status: 200}, CreatedAt: t0}
	answer := store.Idempotent{Key: "k", Route: "POST /x", Status: 201, Response: []byte("r"), ExpiresAt: minute(9)}
	r.update(func(tx store.Tx) error {
		c := r.dataConsent(app1, "con_1", t0)
		need(tx.PutConsent(c))
		got, err := tx.Consent(app1, "con_1")
		need(err)
		r.same("a consent put in this transaction", got, c)
		got, err = tx.Consent(app1, c.ConsentID)
		need(err)
		r.same("by its consentId", got, c)
		c.Version, c.CitizenID = 2, "other"
		need(tx.PutConsent(c))
		got, err = tx.Consent(app1, "con_1")
		need(err)
		r.same("and put again", got, c)

		need(tx.PutEndpoint(e, picture(e)))
		ge, err := tx.Endpoint(app1, subscription.Subscription, "sub_1")
		need(err)
		r.same("an endpoint put in this transaction", ge, e)
		if n, err := tx.CountEndpoints(app1); n != 1 || err != nil {
			t.Errorf("got %d endpoints, %v, want 1", n, err)
		}
		need(tx.DeleteEndpoint(app1, "sub_1", t0))
		_, err = tx.Endpoint(app1, subscription.Subscription, "sub_1")
		r.notFound("an endpoint deleted in this transaction", err)
		if n, err := tx.CountEndpoints(app1); n != 0 || err != nil {
			t.Errorf("got %d endpoints, %v, want none", n, err)
		}

		a := access.Application{ID: "app_3", Name: "Three", CreatedAt: t0, UpdatedAt: t0}
		need(tx.PutApplication(a))
		ga, err := tx.Application("app_3")
		need(err)
		r.same("an application put in this transaction", ga, a)
		need(tx.DeleteApplication("app_3"))
		_, err = tx.Application("app_3")
		r.notFound("an application deleted in this transaction", err)

		need(tx.PutBin(bin))
		gb, err := tx.Bin("bin_1")
		need(err)
		r.same("a bin put in this transaction", gb, bin)
		need(tx.DeleteBin(app1, "bin_1"))
		_, err = tx.Bin("bin_1")
		r.notFound("a bin deleted in this transaction", err)

		need(tx.PutIdempotent(app1, answer, t0))
		gi, err := tx.Idempotent(app1, "POST /x", "k", t0)
		need(err)
		r.same("an answer put in this transaction", gi, answer)
		return nil
	})
}

// held keeps the writer busy until release is called, and tells when it does.
func (r *room) held() (release func()) {
	r.t.Helper()
	began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		done <- r.Store.Update(context.WithoutCancel(r.ctx), func(store.Tx) error {
			once.Do(func() { close(began) })
			<-gate
			return nil
		})
	}()
	<-began
	return func() {
		r.t.Helper()
		close(gate)
		if err := <-done; err != nil {
			r.t.Errorf("the update that held the others: %v", err)
		}
	}
}

func updateTurn(t *testing.T, r *room) {
	r.apps()
	release := r.held()
	ctx, cancel := context.WithCancel(r.ctx)
	ran := false
	done := make(chan error, 1)
	go func() {
		done <- r.Store.Update(ctx, func(store.Tx) error {
			ran = true
			return nil
		})
	}()
	cancel()
	release()
	if err := <-done; !errors.Is(err, context.Canceled) || ran {
		t.Errorf("got %v, run %t, want the context's error and the function not run", err, ran)
	}

	// Once it runs, the result is awaited.
	ctx, cancel = context.WithCancel(r.ctx)
	defer cancel()
	err := r.Store.Update(ctx, func(tx store.Tx) error {
		cancel()
		return tx.PutApplication(access.Application{ID: "app_3", CreatedAt: t0, UpdatedAt: t0})
	})
	if err != nil {
		t.Errorf("got %v from an update whose context ended while it ran, want it committed", err)
	}
	_, err = r.Store.Application(r.ctx, "app_3")
	r.must(err)
}

func updateBusy(t *testing.T, r *room) {
	release := r.held()
	const most = 20_000
	results := make(chan error, most)
	n := 0
	var first error
	for ; n < most && first == nil; n++ {
		go func() { results <- r.Store.Update(r.ctx, func(store.Tx) error { return nil }) }()
		if n%64 == 63 {
			runtime.Gosched()
		}
		select {
		case first = <-results:
			if first == nil {
				t.Fatal("an update was carried out beside another")
			}
		default:
		}
	}
	release()
	if first == nil {
		t.Fatalf("got no refusal with %d updates that wait", most)
	}
	refused := []error{first}
	for range n - 1 {
		select {
		case err := <-results:
			if err != nil {
				refused = append(refused, err)
			}
		case <-time.After(patience):
			t.Fatal("an update that was let in does not end")
		}
	}
	for _, err := range refused {
		if fault.KindOf(err) != fault.Unavailable || fault.CodeOf(err) != "busy" {
			t.Fatalf("got %v, want fault.Unavailable busy", err)
		}
	}
	r.apps() // it goes on
}

func updateNeighbours(t *testing.T, r *room) {
	r.apps()
	const writers = 60
	mine := errors.New("mine")
	errs := make([]error, writers)
	release := r.held()
	var wg sync.WaitGroup
	for i := range writers {
		e := event.Event{
			ID: fmt.Sprintf("evt_%02d", i), Application: string(app1), Feed: event.LifecycleData, Type: event.ConsentCreated,
			Subject: "con_1", OccurredAt: t0, RecordedAt: t0, Body: []byte("{}"),
		}
		wg.Go(func() {
			errs[i] = r.Store.Update(r.ctx, func(tx store.Tx) error {
				switch i % 6 {
				case 1: // fails after its write
					if err := tx.Publish(e); err != nil {
						return err
					}
					return mine
				case 3: // passes on a fault of the store
					if err := tx.Publish(e); err != nil {
						return err
					}
					_, err := tx.Consent(app1, "con_none")
					return err
				case 5: // breaks the store's own rule: an ID twice
					if err := tx.Publish(e); err != nil {
						return err
					}
					return tx.Publish(e)
				}
				return tx.Publish(e)
			})
		})
	}
	release()
	wg.Wait()
	good := map[string]bool{}
	for i, err := range errs {
		switch i % 6 {
		case 1:
			if !errors.Is(err, mine) {
				t.Errorf("update %d: got %v, want its own error", i, err)
			}
		case 3:
			r.notFound(fmt.Sprint("update ", i), err)
		case 5:
			if err == nil {
				t.Errorf("update %d: got no error for an event logged twice", i)
			}
		default:
			good[fmt.Sprintf("evt_%02d", i)] = true
			if err != nil {
				t.Errorf("update %d: got %v, want it untouched by its neighbours", i, err)
			}
		}
	}
	evts := r.events(app1)
	for i, e := range evts {
		if !good[e.ID] || e.Seq != event.Seq(i+1) || e.Sequence != int64(i+1) {
			t.Errorf("got %s at place %d, sequence %d as number %d", e.ID, e.Seq, e.Sequence, i+1)
		}
	}
	if len(evts) != len(good) {
		t.Errorf("got %d events, want %d", len(evts), len(good))
	}
}

// logOrder: 64 writers fill the logs of two applications while a reader
// follows one of them: no place is missing and none appears behind the reader.
func logOrder(t *testing.T, r *room) {
	r.apps()
	e := subscriber(app1, "sub_1", event.ConsentCreated)
	r.put(e)
	const writers, each, subjects = 64, 8, 5
	apps := []access.ID{app1, app2}
	fail := errors.New("fail")
	stop := make(chan struct{})
	followed := make(chan []event.Seq, 1)
	go func() {
		var got []event.Seq
		var after event.Seq
		last := false
		for {
			p, err := r.Store.Read(r.ctx, "sub_1", after, 7, 1<<20)
			if err != nil {
				t.Errorf("read: %v", err)
				break
			}
			got = append(got, seqs(p.Items)...)
			if p.Upto != after {
				after = p.Upto
				continue
			}
			if last {
				break
			}
			select {
			case <-stop:
				last = true
			default:
				runtime.Gosched()
			}
		}
		followed <- got
	}()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				n := 1 + (w+i)%3
				var evts []event.Event
				for k := range n {
					for _, app := range apps {
						evts = append(evts, event.Event{
							ID: fmt.Sprintf("evt_%s_%d_%d_%d", app, w, i, k), Application: string(app), Feed: event.LifecycleData,
							Type: event.ConsentCreated, Subject: fmt.Sprint("con_", (w*i+k)%subjects),
							OccurredAt: t0, RecordedAt: t0, Body: fmt.Appendf(nil, "[%d,%d,%d]", w, i, k),
						})
					}
				}
				want := error(nil)
				if (w+i)%4 == 0 {
					want = fail
				}
				if err := r.Store.Update(r.ctx, func(tx store.Tx) error {
					if err := tx.Publish(evts...); err != nil {
						return err
					}
					return want
				}); !errors.Is(err, want) {
					t.Errorf("writer %d: got %v, want %v", w, err, want)
				}
			}
		})
	}
	wg.Wait()
	close(stop)

	want := map[string]bool{}
	for w := range writers {
		for i := range each {
			for k := range 1 + (w+i)%3 {
				if (w+i)%4 != 0 {
					want[fmt.Sprintf("%d_%d_%d", w, i, k)] = true
				}
			}
		}
	}
	for _, app := range apps {
		evts := r.events(app)
		sequence, turn := map[string]int64{}, map[string]int{}
		for i, e := range evts {
			sequence[e.Subject]++
			if e.Seq != event.Seq(i+1) || e.Sequence != sequence[e.Subject] {
				t.Fatalf("%s: got place %d, sequence %d of %s, want %d, %d", app, e.Seq, e.Sequence, e.Subject, i+1, sequence[e.Subject])
			}
			// What one writer logged earlier, and earlier in one update, comes earlier.
			var w, n, k int
			if _, err := fmt.Sscanf(string(e.Body), "[%d,%d,%d]", &w, &n, &k); err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprint(w)
			if place := n*10 + k + 1; place <= turn[key] {
				t.Fatalf("%s: got event %s after %d of its writer", app, e.Body, turn[key])
			} else {
				turn[key] = place
			}
		}
		if len(evts) != len(want) {
			t.Fatalf("%s: got %d events, want %d", app, len(evts), len(want))
		}
	}
	got := <-followed
	if len(got) != len(want) || !slices.IsSorted(got) || got[0] != 1 || got[len(got)-1] != event.Seq(len(want)) {
		t.Errorf("the reader who followed got %d places, want each of %d once and in order", len(got), len(want))
	}
}

func watch(t *testing.T, r *room) {
	changes := make(chan store.Change, 1000)
	r.Store.Watch(func(c store.Change) { changes <- c })
	second := make(chan store.Change, 1000)
	r.Store.Watch(func(c store.Change) { second <- c })

	// told waits for what one commit, or several, touched.
	told := func(what string, ch chan store.Change, enough func(store.Change) bool) {
		t.Helper()
		for {
			select {
			case c := <-ch:
				if enough(c) {
					return
				}
			case <-time.After(patience):
				t.Fatalf("%s: no watcher was told", what)
			}
		}
	}
	r.apps()
	c := r.dataConsent(app1, "con_1", t0)
	d := r.dataConsent(app1, "con_2", minute(5))
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutConsent(d, r.event(app1, "con_2", event.ConsentCreated)), tx.PutConsent(c, r.event(app1, "con_1", event.ConsentCreated)))
	})
	for _, ch := range []chan store.Change{changes, second} {
		told("a consent", ch, func(ch store.Change) bool {
			return slices.Equal(ch.Applications, []access.ID{app1}) && ch.Deadline.Equal(c.Deadline)
		})
	}
	r.publish(app2, event.ConsentCreated, "con_3")
	told("a log", changes, func(ch store.Change) bool { return slices.Contains(ch.Applications, app2) && ch.Deadline.IsZero() })

	e := subscriber(app1, "sub_1")
	named := func(ch store.Change) bool { return slices.Contains(ch.Endpoints, delivery.Endpoint("sub_1")) }
	r.put(e)
	told("a new endpoint", changes, named)
	e.Version, e.Name = 2, "renamed"
	r.put(e)
	told("a changed endpoint", changes, named)
	e = r.become(e, subscription.Paused, minute(1))
	told("a paused endpoint", changes, named)
	e = r.become(e, subscription.Active, minute(2))
	told("a resumed endpoint", changes, named)
	r.update(func(tx store.Tx) error {
		return tx.PutReplay(app1, delivery.Replay{ID: "rpl_1", Endpoint: "sub_1", Seqs: []event.Seq{1}, CreatedAt: t0})
	})
	told("a replay", changes, named)
	p := r.open("sub_1")
	r.record(delivery.Progress{Lease: p.Lease, At: t0, Suspend: &delivery.Suspension{Reason: "It answered 410.", Events: []event.Event{r.event(app1, "sub_1", event.WebhookStatusChanged)}}})
	told("a suspension", changes, func(ch store.Change) bool { return named(ch) && slices.Contains(ch.Applications, app1) })
	r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(app1, e.ID, minute(3)) })
	told("a deleted endpoint", changes, named)

	for len(changes) > 0 {
		<-changes
	}
	// One whose log never grew: that another one's did may be told late.
	const app3 = access.ID("app_3")
	r.update(func(tx store.Tx) error {
		return tx.PutApplication(access.Application{ID: app3, Name: "Third", CreatedAt: t0, UpdatedAt: t0})
	})
	failed := errors.New("failed")
	if err := r.Store.Update(r.ctx, func(tx store.Tx) error {
		return errors.Join(tx.Publish(r.event(app3, "con_3", event.ConsentApproved)), failed)
	}); !errors.Is(err, failed) {
		t.Fatalf("got %v, want %v", err, failed)
	}
	r.publish(app1, event.ConsentApproved, "con_1")
	told("after a failed update", changes, func(ch store.Change) bool {
		if slices.Contains(ch.Applications, app3) {
			t.Error("a watcher is told of a log that did not grow")
		}
		return slices.Contains(ch.Applications, app1)
	})
}

func closeTwice(t *testing.T, r *room) {
	r.apps()
	if err := r.Store.Ping(r.ctx); err != nil {
		t.Errorf("ping: got %v, want nil", err)
	}
	for range 2 {
		if err := r.Store.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	}
	if err := r.Store.Update(r.ctx, func(store.Tx) error { return nil }); err == nil {
		t.Error("a closed store accepts a write")
	}
}
