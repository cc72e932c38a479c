// Package storetest is the contract of a backend as tests: every sentence of
// package store's comments, against the outside of a store only. It also holds
// a store that fails on command (Faulty).
//
// It looks at no backend's inside, waits on no clock, and needs nothing but a
// function that opens an empty store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Backend is an empty store that is open. Whoever opens it closes it when the
// test ends; the suite may have closed it before.
type Backend struct {
	Store store.Store
	// Keys seal what it keeps, with one master key.
	Keys *secret.Keyring
	// Reopen closes the store and opens the same data again, as a restart
	// does, with that ring; nil: with Keys. The former Store is of no use
	// afterwards.
	Reopen func(t *testing.T, keys *secret.Keyring) store.Store
}

// Run holds a backend to the contract. open is called once for each subtest
// and returns a store of its own.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	t.Helper()
	tests := []struct {
		name string
		test func(*testing.T, *room)
	}{
		{"an update commits all or nothing", updateIsAtomic},
		{"an update reads its own writes", updateReadsItsWrites},
		{"an update waits its turn until its context ends", updateTurn},
		{"a full queue answers busy", updateBusy},
		{"a failing update harms no neighbour", updateNeighbours},
		{"the log is dense and in order under many writers", logOrder},
		{"a watcher is told what a commit touched", watch},
		{"close may be called twice", closeTwice},

		{"applications", applications},
		{"credentials and tokens", credentials},
		{"deleting an application removes all that is its", deleteApplication},
		{"idempotent answers", idempotent},
		{"bins", bins},
		{"who may use the portal", visitors},
		{"what is counted adds up, and is dropped in time", tallies},
		{"what is another application's does not exist", foreign},

		{"consents are kept whole", consentRoundTrip},
		{"consents are listed newest first", consentPages},
		{"deadlines", deadlines},

		{"a configuration is kept whole", configuration},
		{"a configuration that was rolled back leaves nothing", configurationRolledBack},
		{"former versions of statements and policies are kept", formerVersions},
		{"a reference names one thing of a kind", references},
		{"parts of options", parts},
		{"citizens are kept whole", citizenRoundTrip},
		{"an external reference names one citizen", externalRefs},
		{"a citizen and its events are one change", citizenEvents},
		{"citizens are listed newest first", citizenPages},
		{"lapses", lapses},
		{"the history of a citizen", history},
		{"imports and the errors of their lines", imports},
		{"many are recorded together", recordedTogether},
		{"linked citizens are found by their group", linked},
		{"a reminder is due as a lapse is", dues},
		{"a merged citizen is a part of another one", merges},
		{"the past is the last checkpoint and what was recorded behind it", past},
		{"the past is as it was recorded", pastIsAsRecorded},
		{"templates of mails", templates},
		{"confirmations", confirmations},
		{"a feed is used for ever", feedUsed},
		{"deleting an application removes its citizens and configuration", deletePermissions},
		{"permissions of another application do not exist", foreignPermissions},

		{"an erasure leaves what happened, and nothing about whom", erasure},
		{"an erasure ends with the last delivery, however that ends", erasureEnds},
		{"an erasure of which nobody is told is done at once", erasureAtOnce},
		{"a consent is erased as a citizen is", erasureOfConsent},
		{"an erasure that failed erased nobody, and one that was cut off goes on", erasureRolledBack},
		{"who was merged into a citizen is erased with it", erasureOfMerged},
		{"everything is sealed anew after an erasure", erasureRewrapped},
		{"every record is chained", chains},

		{"events are read back as they were logged", eventRoundTrip},
		{"events are listed in commit order", eventPages},

		{"endpoints are kept whole", endpointRoundTrip},
		{"endpoints are listed in order of creation", endpointPages},
		{"interceptors are found by URL and feed", interceptors},

		{"a token is kept by its generation", keptToken},
		{"of many tokens made from one, one is kept", tokenRace},
		{"a token is forgotten", forgetToken},
		{"the key pairs of an application", signingKeys},
		{"a new key pair counts as a change of those that sign with it", signingKeysWatched},
		{"everything is sealed anew while writers run", rewrap},
		{"sealing anew is cut off and goes on", rewrapCutOff},

		{"active endpoints", active},
		{"opening an endpoint", openEndpoint},
		{"a lease that passed on is fenced", fencing},
		{"an attempt under a lost lease keeps its number", lateNumbers},
		{"leases that many take from each other are given one at a time", leases},
		{"reading the log", read},
		{"reading under the filters of each place", readFilters},
		{"loading exceptions", load},
		{"recording attempts", recordAttempts},
		{"recording exceptions and settlements", recordExceptions},
		{"rousing a subject", rouse},
		{"recording a breaker and a hold", recordHealth},
		{"suspending", suspend},
		{"a batch is recorded for each endpoint by itself", recordBatch},
		{"replaying", replay},
		{"selecting what to replay", replaySelection},

		{"the status of a delivery", deliveryStatus},
		{"deliveries are listed newest first", deliveryPages},
		{"deliveries to many endpoints are listed", manyEndpoints},
		{"a delivery shows each request as it was", deliveryDetail},
		{"an owner's pause discards", pause},
		{"resuming after a suspension", resumeSuspended},
		{"deleting an endpoint cancels what waits", deleteEndpoint},
		{"the health of an endpoint", health},
		{"a long backlog is counted up to a bound", longBacklog},

		{"an endpoint in parts", inParts},

		{"age takes what nobody waits for", retention},
		{"age takes nothing that an erasure waits for", retentionErasing},
		{"age takes what a pause discarded, which stays counted", retentionPaused},
		{"age takes what is waited for when the operator says so, and each loss is counted", retentionLosing},
		{"age takes many in small steps", retentionMany},

		{"random lives of an endpoint follow the model", lives},
		{"a restart keeps everything", restart},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			tt.test(t, &room{Backend: b, ctx: t.Context(), t: t})
		})
	}
}

// t0 is when all suites begin.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// minute returns an instant some minutes after t0.
func minute(n int) time.Time { return t0.Add(time.Duration(n) * time.Minute) }

const (
	app1 = access.ID("app_1")
	app2 = access.ID("app_2")
)

// room is a store with what tests do to it again and again.
type room struct {
	Backend
	ctx context.Context
	t   *testing.T
	n   int // events made so far
}

// update runs a transaction that must succeed.
func (r *room) update(fn func(store.Tx) error) {
	r.t.Helper()
	err := r.Store.Update(r.ctx, func(tx store.Tx) (err error) {
		defer func() {
			if s, ok := recover().(stopped); ok {
				err = s.err
			}
		}()
		return fn(tx)
	})
	if err != nil {
		r.t.Fatalf("update: %v", err)
	}
}

// stopped ends a function given to update. It may run on another goroutine, on
// which a test cannot be ended.
type stopped struct{ err error }

// need ends a function given to update unless err is nil.
func need(err error) {
	if err != nil {
		panic(stopped{err})
	}
}

func (r *room) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// apps makes both applications.
func (r *room) apps() {
	r.t.Helper()
	r.update(func(tx store.Tx) error {
		return errors.Join(
			tx.PutApplication(access.Application{ID: app1, Name: "One", CreatedAt: t0, UpdatedAt: t0}),
			tx.PutApplication(access.Application{ID: app2, Name: "Two", CreatedAt: minute(1), UpdatedAt: minute(1)}))
	})
}

// kind fails the test unless err is of that kind.
func (r *room) kind(what string, err error, want fault.Kind) {
	r.t.Helper()
	if err == nil || fault.KindOf(err) != want {
		r.t.Errorf("%s: got %v, want kind %d", what, err, want)
	}
}

func (r *room) notFound(what string, err error) {
	r.t.Helper()
	r.kind(what, err, fault.NotFound)
}

// at fails the test unless err is fault.Invalid at that field.
func (r *room) at(what string, err error, field string) {
	r.t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != field {
		r.t.Errorf("%s: got %v, want fault.Invalid at %q", what, err, field)
	}
}

// same fails the test unless two values are equal. Empty and nil slices and
// maps are the same.
func (r *room) same(what string, got, want any) {
	r.t.Helper()
	if !same(got, want) {
		r.t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func same(got, want any) bool { return equal(reflect.ValueOf(got), reflect.ValueOf(want)) }

func equal(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if t, ok := asTime(a); ok {
		u, _ := asTime(b)
		return t.Equal(u) && t.Location() == u.Location()
	}
	switch a.Kind() {
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if !equal(a.MapIndex(k), b.MapIndex(k)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	}
	return a.Equal(b)
}

func asTime(v reflect.Value) (time.Time, bool) {
	if v.Type() != reflect.TypeFor[time.Time]() || !v.CanInterface() {
		return time.Time{}, false
	}
	t, ok := v.Interface().(time.Time)
	return t, ok
}

// event returns an event about a subject, of the interceptors' DATA feed, with
// an ID of its own.
func (r *room) event(app access.ID, subject string, t event.Type) event.Event {
	r.n++
	feed := event.LifecycleData
	switch t {
	case event.PermissionsEffective:
		feed = event.EffectivePermission
	case event.PermissionsDelta:
		feed = event.ConsentReceipts
	case event.WebhookStatusChanged:
		feed = event.Operations
	}
	return event.Event{
		ID: fmt.Sprintf("evt_%s_%05d", app, r.n), Application: string(app), Feed: feed, Type: t, Subject: subject,
		OccurredAt: minute(r.n), RecordedAt: minute(r.n).Add(time.Second), Body: fmt.Appendf(nil, `{"n":%d}`, r.n),
	}
}

// publish logs one event of the type for each subject, in one transaction, and
// returns them.
func (r *room) publish(app access.ID, t event.Type, subjects ...string) []event.Event {
	r.t.Helper()
	var evts []event.Event
	for _, s := range subjects {
		evts = append(evts, r.event(app, s, t))
	}
	r.update(func(tx store.Tx) error { return tx.Publish(evts...) })
	return evts
}

// subscriber returns a subscription that is told the listed types, or full
// states when none is listed.
func subscriber(app access.ID, id subscription.ID, types ...event.Type) subscription.Endpoint {
	return subscription.Endpoint{
		ID: id, Application: string(app), Style: subscription.Subscription, Version: 1,
		Name: "s", URL: "https://example.org/" + string(id),
		UpdateType: subscription.EffectivePermission, EventTypes: types,
		Status: subscription.Active, StatusSince: t0,
		Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
		CreatedAt: t0, UpdatedAt: t0,
	}
}

// interceptor returns an interceptor of type DATA.
func interceptor(app access.ID, id subscription.ID) subscription.Endpoint {
	return subscription.Endpoint{
		ID: id, Application: string(app), Style: subscription.Interceptor, Version: 1,
		URL: "https://example.org/" + string(id), Feed: event.LifecycleData,
		Status: subscription.Active, StatusSince: t0,
		Auth: subscription.Auth{Type: subscription.AuthNone}, CreatedAt: t0, UpdatedAt: t0,
	}
}

// put stores endpoints with a picture of their requests that tells the version.
func (r *room) put(es ...subscription.Endpoint) {
	r.t.Helper()
	r.update(func(tx store.Tx) error {
		for _, e := range es {
			if err := tx.PutEndpoint(e, picture(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

func picture(e subscription.Endpoint) delivery.Shown {
	return delivery.Shown{
		URL:     fmt.Sprintf("%s?v=%d", e.URL, e.Version),
		Headers: []delivery.Header{{Name: "X-Key", Value: "***"}, {Name: "X-Version", Value: fmt.Sprint(e.Version)}},
	}
}

// become changes an endpoint's status and what follows from it, as an owner's
// request does.
func (r *room) become(e subscription.Endpoint, s subscription.Status, at time.Time) subscription.Endpoint {
	r.t.Helper()
	e.Status, e.StatusSince = s, at
	e.Version++
	r.update(func(tx store.Tx) error {
		if err := tx.PutEndpoint(e, picture(e)); err != nil {
			return err
		}
		if s == subscription.Active {
			return tx.Resume(access.ID(e.Application), e.ID, at)
		}
		return tx.Discard(access.ID(e.Application), e.ID, at)
	})
	return e
}

// open opens an endpoint that may be sent to.
func (r *room) open(e subscription.ID) delivery.Position {
	r.t.Helper()
	p, err := r.Store.Open(r.ctx, delivery.Endpoint(e))
	if err != nil {
		r.t.Fatalf("open %s: %v", e, err)
	}
	return p
}

// record records one progress that must not be fenced.
func (r *room) record(p delivery.Progress) delivery.Outcome {
	r.t.Helper()
	o := r.tryRecord(p)
	if o.Fenced {
		r.t.Fatalf("record: got fenced at epoch %d, want it recorded", p.Lease.Epoch)
	}
	return o
}

func (r *room) tryRecord(p delivery.Progress) delivery.Outcome {
	r.t.Helper()
	out, err := r.Store.Record(r.ctx, []delivery.Progress{r.complete(p)})
	if err != nil || len(out) != 1 {
		r.t.Fatalf("record: got %d outcomes, %v, want one", len(out), err)
	}
	return out[0]
}

// complete gives each attempt that has none the subject of its event.
func (r *room) complete(p delivery.Progress) delivery.Progress {
	r.t.Helper()
	if !slices.ContainsFunc(p.Attempts, func(a delivery.Attempt) bool { return a.Subject == "" }) {
		return p
	}
	app := app1
	if e, err := r.Store.Config(r.ctx, p.Lease.Endpoint); err == nil {
		app = access.ID(e.Application)
	}
	of := map[event.Seq]string{}
	for _, e := range r.events(app) {
		of[e.Seq] = e.Subject
	}
	p.Attempts = slices.Clone(p.Attempts)
	for i, a := range p.Attempts {
		p.Attempts[i].Subject = of[a.Seq]
	}
	return p
}

// all reads everything that an endpoint is told after a place.
func (r *room) all(e subscription.ID, after event.Seq) []delivery.Item {
	r.t.Helper()
	var items []delivery.Item
	for range 100_000 {
		p, err := r.Store.Read(r.ctx, delivery.Endpoint(e), after, 100, 1<<20)
		r.must(err)
		items = append(items, p.Items...)
		if p.Upto == after {
			return items
		}
		after = p.Upto
	}
	r.t.Fatal("reading the log does not end")
	return nil
}

func seqs(items []delivery.Item) []event.Seq {
	var out []event.Seq
	for _, i := range items {
		out = append(out, i.Seq)
	}
	return out
}

// deliveries walks all pages of a query.
func (r *room) deliveries(app access.ID, q store.DeliveryQuery) []delivery.View {
	r.t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	var out []delivery.View
	for range 10_000 {
		vs, next, err := r.Store.Deliveries(r.ctx, app, q)
		r.must(err)
		if len(vs) > q.Limit {
			r.t.Fatalf("deliveries: got %d, want at most %d", len(vs), q.Limit)
		}
		out = append(out, vs...)
		if next == "" {
			return out
		}
		q.After = next
	}
	r.t.Fatal("the pages of deliveries do not end")
	return nil
}

// statuses returns "place:status" of every delivery to an endpoint, oldest
// first.
func (r *room) statuses(app access.ID, e subscription.ID) string {
	r.t.Helper()
	style := subscription.Subscription
	if len(e) > 3 && e[:3] == "int" {
		style = subscription.Interceptor
	}
	var out []string
	for _, v := range r.deliveries(app, store.DeliveryQuery{Endpoint: e, Style: style}) {
		out = append(out, fmt.Sprintf("%d:%s", v.Seq, v.Status))
	}
	slices.Reverse(out)
	return fmt.Sprint(out)
}

// events walks all pages of the log.
func (r *room) events(app access.ID) []event.Event {
	r.t.Helper()
	var out []event.Event
	q := store.EventQuery{Limit: 1000}
	for range 10_000 {
		es, next, err := r.Store.Events(r.ctx, app, q)
		r.must(err)
		out = append(out, es...)
		if next == "" {
			return out
		}
		q.After = next
	}
	r.t.Fatal("the pages of events do not end")
	return nil
}

// dataConsent returns a consent of type DATA as the rules make it.
func (r *room) dataConsent(app access.ID, id consent.ID, at time.Time) consent.Consent {
	r.t.Helper()
	c, _, err := consent.Create(id, string(app), consent.Request{
		Type: consent.Data, Permissions: []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		LoggedUser: consent.Document{Identification: "12345678901", Rel: "CPF"}, Approvers: 1, CitizenID: "ctz-" + string(id),
	}, at, consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: 70 * time.Minute})
	r.must(err)
	return c
}
