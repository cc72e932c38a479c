package app_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// interceptor is what a face makes of a valid registration.
func interceptor(url string) subscription.Endpoint {
	return subscription.Endpoint{
		Style: subscription.Interceptor, URL: url, Feed: event.LifecycleData,
		Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
	}
}

// operations is a subscription that hears of other endpoints' fate.
func operations() subscription.Endpoint {
	return subscription.Endpoint{
		Style: subscription.Subscription, Name: "ops", URL: "https://ops.example/hook",
		UpdateType: subscription.EffectivePermission, EventTypes: []event.Type{event.WebhookStatusChanged},
		Status: subscription.Active, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
	}
}

func (w *world) register(e subscription.Endpoint) subscription.Endpoint {
	w.t.Helper()
	e, err := w.CreateEndpoint(w.ctx, w.app, e)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// set asks for a status.
func (w *world) set(e subscription.Endpoint, s subscription.Status, discard bool) subscription.Endpoint {
	w.t.Helper()
	got, err := w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
		cur.Status = s
		return app.Edit{Endpoint: cur, Discard: discard}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// suspend does what the engine does after a 410.
func (w *world) suspend(e subscription.Endpoint) {
	w.t.Helper()
	pos, err := w.store.Open(w.ctx, delivery.Endpoint(e.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	e.Status, e.StatusReason = subscription.Suspended, "the receiver answered 410 Gone"
	ev := subscription.StatusChanged(e, subscription.Active, at)
	ev.ID, ev.RecordedAt = id.New(id.Event), at
	out, err := w.store.Record(w.ctx, []delivery.Progress{{
		Lease: pos.Lease, At: at, Cursor: pos.Cursor,
		Suspend: &delivery.Suspension{Reason: e.StatusReason, Events: []event.Event{ev}},
	}})
	if err != nil || out[0].Fenced {
		w.t.Fatalf("suspend: %+v, %v", out, err)
	}
}

// statuses returns how many deliveries to an endpoint are in each state.
func (w *world) statuses(e subscription.Endpoint) map[delivery.Status]int {
	w.t.Helper()
	out := map[delivery.Status]int{}
	for _, d := range w.deliveries(e) {
		out[d.Status]++
	}
	return out
}

func (w *world) deliveries(e subscription.Endpoint) []delivery.View {
	w.t.Helper()
	var all []delivery.View
	for q := (store.DeliveryQuery{Endpoint: e.ID, Style: e.Style, Limit: 100}); ; {
		page, next, err := w.store.Deliveries(w.ctx, w.app, q)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		q.After = next
	}
}

func (w *world) wantStatuses(e subscription.Endpoint, want map[delivery.Status]int) {
	w.t.Helper()
	got := w.statuses(e)
	same := len(got) == len(want)
	for s, n := range want {
		same = same && got[s] == n
	}
	if !same {
		w.t.Errorf("deliveries: got %v, want %v", got, want)
	}
}

// deliver records that everything that waits for the endpoint was accepted.
func (w *world) deliver(e subscription.Endpoint) {
	w.t.Helper()
	pos, err := w.store.Open(w.ctx, delivery.Endpoint(e.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	page, err := w.store.Read(w.ctx, delivery.Endpoint(e.ID), pos.Cursor, 100, 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	p := delivery.Progress{Lease: pos.Lease, At: at, Cursor: page.Upto}
	for _, it := range page.Items {
		p.Attempts = append(p.Attempts, delivery.Attempt{
			Seq: it.Seq, N: 1, At: at, Delivered: true, Status: 200, Step: delivery.StepResponse, Config: e.Version,
			Timestamp: at.Unix(), InteractionID: id.Interaction(), Signature: "v1,", Response: &delivery.Response{Status: 200},
		})
	}
	if out, err := w.store.Record(w.ctx, []delivery.Progress{p}); err != nil || out[0].Fenced {
		w.t.Fatalf("record: %+v, %v", out, err)
	}
}

func TestCreateEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(request()) // before anybody listens
	made := w.register(interceptor("https://bank.example/hook"))
	if !strings.HasPrefix(string(made.ID), "int_") || made.Application != string(w.app) || made.Version != 1 || made.CreatedAt.IsZero() {
		t.Errorf("got %+v, want an ID, its application and version 1", made)
	}
	if len(made.SigningSecrets) != 1 || !strings.HasPrefix(made.SigningSecrets[0].Secret.Reveal(), "whsec_") {
		t.Errorf("got %d signing secrets, want one", len(made.SigningSecrets))
	}
	w.wantStatuses(made, nil) // it hears what comes after it

	_, err := w.CreateEndpoint(w.ctx, w.app, interceptor("https://bank.example/hook"))
	wantFault(t, err, fault.Conflict, "interceptor_exists")
	payment := interceptor("https://bank.example/hook")
	payment.Feed = event.LifecyclePayment
	w.register(payment)
	other, _, _ := w.application("Another bank")
	if _, err := w.CreateEndpoint(w.ctx, other, interceptor("https://bank.example/hook")); err != nil {
		t.Errorf("another application's: %v", err)
	}
	if _, err := w.CreateEndpoint(w.ctx, "app_nobody", interceptor("https://bank.example/hook")); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown application: got %v, want not found", err)
	}
	if ops := w.register(operations()); !strings.HasPrefix(string(ops.ID), "sub_") {
		t.Errorf("got the ID %s, want a subscription's", ops.ID)
	}
	w.register(operations()) // only interceptors are unique

	w.create(request())
	w.wantStatuses(made, map[delivery.Status]int{delivery.Pending: 2})
}

func TestCreateEndpoint_paused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := interceptor("https://bank.example/hook")
	e.Status = subscription.Paused
	e = w.register(e)
	w.create(request())
	w.wantStatuses(e, map[delivery.Status]int{delivery.Discarded: 2})
}

// full is a store whose applications have as many endpoints as they may.
type full struct{ store.Store }

func (f full) Update(ctx context.Context, fn func(store.Tx) error) error {
	return f.Store.Update(ctx, func(tx store.Tx) error { return fn(fullTx{tx}) })
}

type fullTx struct{ store.Tx }

func (fullTx) CountEndpoints(access.ID) (int, error) { return app.MaxEndpoints, nil }

func TestCreateEndpoint_tooMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := app.New(app.Options{Store: full{w.store}, Policy: ttls, Operator: operator})
	_, err := a.CreateEndpoint(w.ctx, w.app, operations())
	wantFault(t, err, fault.Conflict, "too_many_endpoints")
	if _, total, err := w.store.Endpoints(w.ctx, w.app, store.EndpointQuery{Style: subscription.Subscription, Limit: 10}); err != nil || total != 0 {
		t.Errorf("got %d endpoints, %v, want none", total, err)
	}
}

func TestEditEndpoint_keepsWhatIsNotTheOwners(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.register(interceptor("https://bank.example/hook"))
		taken := w.register(interceptor("https://bank.example/other"))
		time.Sleep(time.Minute)
		got, err := w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
			if cur.SigningSecrets[0].Secret.Reveal() != e.SigningSecrets[0].Secret.Reveal() {
				t.Error("the edit was not given the secrets")
			}
			next := interceptor("https://bank.example/new") // no ID, no times, no secrets
			next.Description = "moved"
			return app.Edit{Endpoint: next}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != e.ID || got.Version != 2 || !got.CreatedAt.Equal(e.CreatedAt) || !got.UpdatedAt.Equal(e.CreatedAt.Add(time.Minute)) ||
			got.URL != "https://bank.example/new" || len(got.SigningSecrets) != 1 || !got.StatusSince.Equal(e.StatusSince) {
			t.Errorf("got %+v, want the new URL in version 2 and all else kept", got)
		}
		kept, err := w.store.Endpoint(w.ctx, w.app, e.Style, e.ID)
		if err != nil || kept.Description != "moved" || kept.Version != 2 {
			t.Errorf("read back: got %+v, %v", kept, err)
		}

		_, err = w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
			cur.URL = taken.URL
			return app.Edit{Endpoint: cur}, nil
		})
		wantFault(t, err, fault.Conflict, "interceptor_exists")
		refused := fault.At(fault.Invalid, "secret_required", "/url", "Give the secrets again.")
		_, err = w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(subscription.Endpoint) (app.Edit, error) { return app.Edit{}, refused })
		wantFault(t, err, fault.Invalid, "secret_required")
		if kept, err := w.store.Endpoint(w.ctx, w.app, e.Style, e.ID); err != nil || kept.Version != 2 {
			t.Errorf("after two refusals: got version %d, %v, want 2", kept.Version, err)
		}

		other, _, _ := w.application("Another bank")
		for _, no := range []struct {
			name  string
			app   access.ID
			style subscription.Style
		}{{"another application", other, e.Style}, {"another style", w.app, subscription.Subscription}} {
			_, err := w.EditEndpoint(w.ctx, no.app, no.style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
				t.Errorf("%s: the endpoint was shown", no.name)
				return app.Edit{Endpoint: cur}, nil
			})
			if fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s: got %v, want not found", no.name, err)
			}
		}
	})
}

// TestEditEndpoint_status: what is asked of an endpoint in each state, and
// what becomes of two deliveries that wait and two that come. Source: CONTRACT
// 5, "status" and "Suspended".
func TestEditEndpoint_status(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		from    subscription.Status
		ask     subscription.Status
		discard bool
		status  subscription.Status
		want    map[delivery.Status]int
		changed bool // the others are told
	}{
		{"an active one set active goes on", subscription.Active, subscription.Active, false,
			subscription.Active, map[delivery.Status]int{delivery.Pending: 4}, false},
		{"an active one set paused discards what waits and what comes", subscription.Active, subscription.Paused, false,
			subscription.Paused, map[delivery.Status]int{delivery.Discarded: 4}, false},
		{"a paused one set paused stays so", subscription.Paused, subscription.Paused, false,
			subscription.Paused, map[delivery.Status]int{delivery.Discarded: 4}, false},
		{"a paused one set active hears what comes", subscription.Paused, subscription.Active, false,
			subscription.Active, map[delivery.Status]int{delivery.Discarded: 2, delivery.Pending: 2}, false},
		{"a suspended one set paused stays suspended", subscription.Suspended, subscription.Paused, false,
			subscription.Suspended, map[delivery.Status]int{delivery.Held: 4}, false},
		{"a suspended one left as it is stays suspended", subscription.Suspended, subscription.Suspended, false,
			subscription.Suspended, map[delivery.Status]int{delivery.Held: 4}, false},
		{"a suspended one set paused with discard is its owner's pause", subscription.Suspended, subscription.Paused, true,
			subscription.Paused, map[delivery.Status]int{delivery.Discarded: 4}, true},
		{"a suspended one set active sends what waited", subscription.Suspended, subscription.Active, false,
			subscription.Active, map[delivery.Status]int{delivery.Pending: 4}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.register(operations())
			e := w.register(interceptor("https://bank.example/hook"))
			switch tt.from {
			case subscription.Active:
				w.create(request())
			case subscription.Paused:
				w.create(request())
				w.set(e, subscription.Paused, false)
			case subscription.Suspended:
				w.suspend(e)
				w.create(request())
			}
			before := count(w.types(string(e.ID)), event.WebhookStatusChanged)

			got := w.set(e, tt.ask, tt.discard)
			if got.Status != tt.status {
				t.Errorf("got status %s, want %s", got.Status, tt.status)
			}
			if (got.StatusReason != "") != (tt.status == subscription.Suspended) {
				t.Errorf("got the reason %q in status %s", got.StatusReason, got.Status)
			}
			w.create(request())
			w.wantStatuses(e, tt.want)

			h, err := w.store.Health(w.ctx, w.app, e.ID)
			if err != nil {
				t.Fatal(err)
			}
			waiting, discarded := tt.want[delivery.Pending]+tt.want[delivery.Held], tt.want[delivery.Discarded]
			if h.Backlog != waiting || h.Discarded != discarded {
				t.Errorf("got backlog %d, discarded %d, want %d and %d", h.Backlog, h.Discarded, waiting, discarded)
			}

			told := count(w.types(string(e.ID)), event.WebhookStatusChanged) - before
			if told != 0 != tt.changed || told > 1 {
				t.Errorf("got %d events that the status changed, want it told: %t", told, tt.changed)
			}
			if tt.changed {
				for _, ev := range w.events(w.app) {
					if ev.Type != event.WebhookStatusChanged || !bytes.Contains(ev.Body, []byte(`"previousStatus":"suspended"`)) {
						continue
					}
					if ev.Except != string(e.ID) || !bytes.Contains(ev.Body, []byte(`"status":"`+string(tt.status)+`"`)) {
						t.Errorf("got the event %s except %s, want status %s for all others", ev.Body, ev.Except, tt.status)
					}
				}
			}
		})
	}
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.register(interceptor("https://bank.example/hook"))
		fresh, err := w.RotateSecret(w.ctx, w.app, e.Style, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := w.store.Endpoint(w.ctx, w.app, e.Style, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		former := e.SigningSecrets[0].Secret
		signing := func() []string {
			var out []string
			for _, s := range kept.SigningAt(time.Now().UTC()) {
				out = append(out, s.Secret.Reveal())
			}
			return out
		}
		if got, want := signing(), []string{fresh.Reveal(), former.Reveal()}; !slices.Equal(got, want) || kept.Version != 2 {
			t.Errorf("after the rotation %d secrets sign in version %d, want the new and the former in version 2", len(got), kept.Version)
		}
		time.Sleep(subscription.RotationOverlap)
		if got, want := signing(), []string{fresh.Reveal()}; !slices.Equal(got, want) {
			t.Errorf("a day later %d secrets sign, want the new one alone", len(got))
		}
		if _, err := w.RotateSecret(w.ctx, w.app, subscription.Subscription, e.ID); fault.KindOf(err) != fault.NotFound {
			t.Errorf("another style: got %v, want not found", err)
		}
	})
}

func TestDeleteEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.register(interceptor("https://bank.example/hook"))
	w.create(request())
	other, _, _ := w.application("Another bank")
	if err := w.DeleteEndpoint(w.ctx, other, e.Style, e.ID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application's: got %v, want not found", err)
	}
	waiting := w.deliveries(e)
	if err := w.DeleteEndpoint(w.ctx, w.app, e.Style, e.ID); err != nil {
		t.Fatal(err)
	}
	w.create(request())
	for _, v := range waiting {
		d, err := w.store.Delivery(w.ctx, w.app, v.ID)
		if err != nil || d.Status != delivery.Cancelled {
			t.Errorf("what waited: got %s, %v, want it cancelled", d.Status, err)
		}
		_, err = w.Redeliver(w.ctx, w.app, v.ID)
		wantFault(t, err, fault.Conflict, "endpoint_deleted")
	}
	if err := w.DeleteEndpoint(w.ctx, w.app, e.Style, e.ID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a second deletion: got %v, want not found", err)
	}
	w.register(interceptor(e.URL)) // the URL is free again
}

func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.register(interceptor("https://bank.example/hook"))
	w.create(request())
	w.deliver(e)
	w.create(request())
	all := app.ReplayRequest{ReplayQuery: store.ReplayQuery{From: time.Unix(0, 0), To: time.Now().Add(time.Hour)}}

	job, err := w.Replay(w.ctx, w.app, e.Style, e.ID, all)
	if err != nil || job.Count != 2 || job.Stale != 0 || !strings.HasPrefix(job.ID, "rpl_") {
		t.Errorf("got job %+v, %v, want the 2 that were delivered", job, err)
	}
	pos, err := w.store.Open(w.ctx, delivery.Endpoint(e.ID))
	if err != nil || len(pos.Replays) != 1 || pos.Replays[0].ID != job.ID || len(pos.Replays[0].Seqs) != 2 {
		t.Errorf("the engine finds %+v, %v, want the job", pos.Replays, err)
	}

	nothing := app.ReplayRequest{ReplayQuery: store.ReplayQuery{From: time.Unix(0, 0), To: time.Unix(1, 0)}}
	if job, err := w.Replay(w.ctx, w.app, e.Style, e.ID, nothing); err != nil || job.Count != 0 || job.ID == "" {
		t.Errorf("nothing chosen: got %+v, %v, want a job of none", job, err)
	}
	unknown := app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: []string{"evt_nobody"}}}
	if _, err := w.Replay(w.ctx, w.app, e.Style, e.ID, unknown); fault.KindOf(err) != fault.Invalid {
		t.Errorf("an unknown event: got %v, want invalid", err)
	}
	other, _, _ := w.application("Another bank")
	if _, err := w.Replay(w.ctx, other, e.Style, e.ID, all); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application's: got %v, want not found", err)
	}
	w.set(e, subscription.Paused, false)
	_, err = w.Replay(w.ctx, w.app, e.Style, e.ID, all)
	wantFault(t, err, fault.Conflict, "endpoint_paused")
}

func TestRedeliver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.register(interceptor("https://bank.example/hook"))
	c := w.create(request())
	w.deliver(e)
	done := w.deliveries(e)[0]
	if done.Subject != string(c.ID) || done.Status != delivery.Delivered {
		t.Fatalf("got %+v, want it delivered", done)
	}
	w.create(request())
	waiting := w.deliveries(e)[0]

	_, err := w.Redeliver(w.ctx, w.app, waiting.ID)
	wantFault(t, err, fault.Conflict, "delivery_waiting")
	other, _, _ := w.application("Another bank")
	if _, err := w.Redeliver(w.ctx, other, done.ID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application's: got %v, want not found", err)
	}
	if _, err := w.Redeliver(w.ctx, w.app, "dlv_nobody"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown delivery: got %v, want not found", err)
	}
	if got, err := w.Redeliver(w.ctx, w.app, done.ID); err != nil || got.ID != done.ID || got.AttemptCount != 1 {
		t.Errorf("got %+v, %v, want the delivery with its one attempt", got.View, err)
	}
	pos, err := w.store.Open(w.ctx, delivery.Endpoint(e.ID))
	if err != nil || len(pos.Replays) != 1 || !slices.Equal(pos.Replays[0].Seqs, []event.Seq{done.Seq}) || !pos.Replays[0].IncludeStale {
		t.Errorf("the engine finds %+v, %v, want the one delivery, stale or not", pos.Replays, err)
	}

	w.suspend(e)
	_, err = w.Redeliver(w.ctx, w.app, done.ID)
	wantFault(t, err, fault.Conflict, "endpoint_suspended")
	w.set(e, subscription.Paused, true)
	_, err = w.Redeliver(w.ctx, w.app, done.ID)
	wantFault(t, err, fault.Conflict, "endpoint_paused")
}

// TestReplay_pausedMeanwhile: the pause that comes between the choice and the
// commit wins.
func TestReplay_pausedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.register(interceptor("https://bank.example/hook"))
	w.create(request())
	w.deliver(e)
	s := &interrupted{Store: w.store}
	a := app.New(app.Options{Store: s, Policy: ttls, Operator: operator})
	s.before = func() { w.set(e, subscription.Paused, false) }
	_, err := a.Replay(w.ctx, w.app, e.Style, e.ID, app.ReplayRequest{
		ReplayQuery: store.ReplayQuery{From: time.Unix(0, 0), To: time.Now().Add(time.Hour)},
	})
	wantFault(t, err, fault.Conflict, "endpoint_paused")
	w.set(e, subscription.Active, false)
	if pos, err := w.store.Open(w.ctx, delivery.Endpoint(e.ID)); err != nil || len(pos.Replays) != 0 {
		t.Errorf("got the jobs %+v, %v, want none", pos.Replays, err)
	}
}

// interrupted is a store before whose next update something else happens.
type interrupted struct {
	store.Store
	before func()
}

func (s *interrupted) Update(ctx context.Context, fn func(store.Tx) error) error {
	if do := s.before; do != nil {
		s.before = nil
		do()
	}
	return s.Store.Update(ctx, fn)
}

func TestBins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, _, _ := w.application("Another bank")
	b, err := w.PutBin(w.ctx, w.app)
	if err != nil || !strings.HasPrefix(b.Name, "bin_") || len(b.Name) < 24 || b.Script.Status != 200 {
		t.Fatalf("got %+v, %v, want an unguessable name that answers 200", b, err)
	}
	script := store.Script{Status: 503, Delay: time.Second, FailureRatio: 0.5, Headers: map[string]string{"Retry-After": "3"}, Body: "later"}
	if _, err := w.ScriptBin(w.ctx, other, b.Name, script); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application's: got %v, want not found", err)
	}
	if _, err := w.ScriptBin(w.ctx, w.app, b.Name, script); err != nil {
		t.Fatal(err)
	}
	if kept, err := w.store.Bin(w.ctx, b.Name); err != nil || kept.Script.Status != 503 || kept.Script.Body != "later" || kept.Application != w.app {
		t.Errorf("read back: got %+v, %v", kept, err)
	}
	if err := w.RemoveBin(w.ctx, other, b.Name); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application removes it: got %v, want not found", err)
	}
	if err := w.RemoveBin(w.ctx, w.app, b.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Bin(w.ctx, b.Name); fault.KindOf(err) != fault.NotFound {
		t.Errorf("after its removal: got %v, want not found", err)
	}
	if _, err := w.PutBin(w.ctx, "app_nobody"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown application: got %v, want not found", err)
	}
}
