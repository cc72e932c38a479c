package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
	"github.com/consentwire/consentwire/internal/store/storetest"
)

// world is the use cases over a real store, with one application.
type world struct {
	*app.App
	t     *testing.T
	ctx   context.Context
	store *storetest.Faulty
	dir   string
	keys  *secret.Keyring
	app   access.ID
	cred  access.Credential
	sec   secret.Value
	taken store.Pruned // by keeping
}

// ttls are the deadlines of a world. Source: DOMAIN 7.3.
var ttls = consent.Policy{ApprovalTTL: 60 * time.Minute, ConsumptionTTL: 70 * time.Minute}

var operator = secret.New("an operator's bearer of enough length")

// newWorld opens a store in a folder of the test's. In a bubble, its
// goroutines are the bubble's.
func newWorld(t *testing.T) *world {
	t.Helper()
	keys, err := secret.ParseKeyring(secret.New(secret.RandomStd(32)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: context.Background(), dir: sqlitetest.Dir(t), keys: keys}
	w.open()
	w.app, w.cred, w.sec = w.application("Bank")
	return w
}

// open opens the store and builds the use cases over it.
func (w *world) open() {
	w.t.Helper()
	s, err := relational.Open(w.ctx, sqlite.File{Dir: w.dir}, relational.Options{Keys: w.keys})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.store = storetest.NewFaulty(s)
	w.App = w.over(w.store)
}

// over returns the use cases over a store.
func (w *world) over(s store.Store) *app.App {
	return app.New(app.Options{
		Store: s, Policy: ttls, Operator: operator, PublicURL: func() string { return "https://consentwire.example/cw/" },
	})
}

// restart closes the store and opens the same data again.
func (w *world) restart() {
	w.t.Helper()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

func (w *world) application(name string) (access.ID, access.Credential, secret.Value) {
	w.t.Helper()
	ap, cred, sec, err := w.CreateApplication(w.ctx, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return ap.ID, cred, sec
}

// request asks for a consent that every rule allows.
func request() consent.Request {
	return consent.Request{
		Type: consent.Data, Permissions: []string{"ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "RESOURCES_READ"},
		LoggedUser: consent.Document{Identification: "11111111111", Rel: "CPF"}, Approvers: 1,
	}
}

// render is a face's: the consent's ID and nothing else.
func render(c consent.Consent) (app.Answer, error) {
	b, err := json.Marshal(map[string]string{"id": string(c.ID)})
	return app.Answer{Status: 201, Body: b}, err
}

// create makes a consent and returns it.
func (w *world) create(r consent.Request) consent.Consent {
	w.t.Helper()
	var c consent.Consent
	_, err := w.CreateConsent(w.ctx, w.app, r, app.Keyed{}, func(made consent.Consent) (app.Answer, error) {
		c = made
		return render(made)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// authorised makes a consent and approves it.
func (w *world) authorised() consent.Consent {
	w.t.Helper()
	c, err := w.Approve(w.ctx, w.app, string(w.create(request()).ID), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// events returns an application's whole log.
func (w *world) events(ap access.ID) []event.Event {
	w.t.Helper()
	var all []event.Event
	for q := (store.EventQuery{Limit: 500}); ; {
		page, next, err := w.store.Events(w.ctx, ap, q)
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

// types returns the log's types about one subject, or about all ("").
func (w *world) types(subject string) []event.Type {
	w.t.Helper()
	var out []event.Type
	for _, e := range w.events(w.app) {
		if subject == "" || e.Subject == subject {
			out = append(out, e.Type)
		}
	}
	return out
}

func (w *world) wantTypes(subject string, want ...event.Type) {
	w.t.Helper()
	if got := w.types(subject); !slices.Equal(got, want) {
		w.t.Errorf("the log holds %v, want %v", got, want)
	}
}

// wantFault checks an error's kind and code.
func wantFault(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		t.Errorf("got %v (kind %d, code %q), want kind %d, code %q", err, fault.KindOf(err), fault.CodeOf(err), kind, code)
	}
}

func wantNone(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

// TestTogether: a change of state and its events commit in one transaction.
func TestTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := errors.New("the face could not render")
	_, err := w.CreateConsent(w.ctx, w.app, request(), app.Keyed{}, func(consent.Consent) (app.Answer, error) {
		return app.Answer{}, broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
	w.wantTypes("")
	if page, _, err := w.Consents(w.ctx, w.app, store.ConsentQuery{Limit: 10}); err != nil || len(page) != 0 {
		t.Errorf("got %d consents, %v, want none", len(page), err)
	}

	c := w.create(request())
	log := w.events(w.app)
	w.wantTypes("", event.ConsentCreateReceived, event.ConsentCreated)
	for i, e := range log {
		if e.Subject != string(c.ID) || e.Sequence != int64(i+1) || e.Seq != event.Seq(i+1) || e.ID == "" || e.RecordedAt.IsZero() {
			t.Errorf("event %d: got %+v, want subject %s with sequence and place %d", i, e, c.ID, i+1)
		}
		if e.Application != string(w.app) || !e.OccurredAt.Equal(c.CreatedAt) {
			t.Errorf("event %d: got application %s at %s, want %s at %s", i, e.Application, e.OccurredAt, w.app, c.CreatedAt)
		}
		if !bytes.Contains(e.Body, []byte(c.ID)) || bytes.Contains(e.Body, []byte("11111111111")) {
			t.Errorf("event %d: the body %s must name the consent and no person", i, e.Body)
		}
	}
}

// useCases are the writes about consents, to be run under a store that
// misbehaves. Each must leave exactly one more event of its type.
var useCases = []struct {
	name string
	from func(*world) consent.Consent
	do   func(*world, consent.Consent) error
	want event.Type
}{
	{
		"approve", func(w *world) consent.Consent { return w.create(request()) },
		func(w *world, c consent.Consent) error {
			_, err := w.Approve(w.ctx, w.app, string(c.ID), "")
			return err
		},
		event.ConsentApproved,
	},
	{
		"reject", func(w *world) consent.Consent { return w.create(request()) },
		func(w *world, c consent.Consent) error { return w.reject(c.ID) },
		event.ConsentRejected,
	},
	{
		"revoke", (*world).authorised,
		func(w *world, c consent.Consent) error { return w.revoke(c.ID) },
		event.ConsentRevoked,
	},
	{
		"consume", (*world).authorised,
		func(w *world, c consent.Consent) error {
			_, err := w.Decide(w.ctx, w.app, string(c.ID), func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
				return c.Consume(at)
			})
			return err
		},
		event.ConsentConsumed,
	},
}

func (w *world) reject(id consent.ID) error {
	_, err := w.Decide(w.ctx, w.app, string(id), func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
		return c.Reject(at, consent.Decision{})
	})
	return err
}

func (w *world) revoke(id consent.ID) error {
	_, err := w.Decide(w.ctx, w.app, string(id), func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
		return c.Revoke(at, consent.Decision{})
	})
	return err
}

func count(types []event.Type, want event.Type) int {
	n := 0
	for _, t := range types {
		if t == want {
			n++
		}
	}
	return n
}

func TestApp_storeThatRunsTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.RunTwice()
	c := w.create(request())
	w.wantTypes(string(c.ID), event.ConsentCreateReceived, event.ConsentCreated)
	for _, tt := range useCases {
		c := tt.from(w)
		if err := tt.do(w, c); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if n := count(w.types(string(c.ID)), tt.want); n != 1 {
			t.Errorf("%s: got %d events %s, want 1", tt.name, n, tt.want)
		}
	}
}

func TestApp_storeThatFails(t *testing.T) {
	t.Parallel()
	for _, tt := range useCases {
		for _, after := range []bool{false, true} {
			name := tt.name + " fails before it takes effect"
			if after {
				name = tt.name + " takes effect, but its answer is lost"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				c := tt.from(w)
				w.store.FailAt("Update", 1, after)
				wantFault(t, tt.do(w, c), fault.Unavailable, storetest.Injected)
				want := 0
				if after {
					want = 1
				}
				if n := count(w.types(string(c.ID)), tt.want); n != want {
					t.Errorf("got %d events after the fault, want %d", n, want)
				}
				// The caller tries again: it happens once in all.
				err := tt.do(w, c)
				if after {
					if fault.KindOf(err) != fault.Conflict {
						t.Errorf("got %v for the repeat, want a conflict", err)
					}
				} else {
					wantNone(t, err)
				}
				if n := count(w.types(string(c.ID)), tt.want); n != 1 {
					t.Errorf("got %d events after the repeat, want 1", n)
				}
			})
		}
	}
}
