package app_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/storetest"
)

func TestCreateConsent_refused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*consent.Request)
		kind   fault.Kind
		code   string
		logged []event.Type
	}{
		{
			"a request of no valid shape leaves nothing",
			func(r *consent.Request) { r.LoggedUser.Identification = "1" },
			fault.Invalid, "invalid_request", nil,
		},
		{
			"a permission of no group leaves the received event alone",
			func(r *consent.Request) { r.Permissions = []string{"ACCOUNTS_WRITE"} },
			fault.Invalid, "permission_unknown", []event.Type{event.ConsentCreateReceived},
		},
		{
			"a combination that a rule forbids leaves the received event alone",
			func(r *consent.Request) { r.Permissions = []string{"ACCOUNTS_READ"} },
			fault.Unprocessable, "COMBINACAO_PERMISSOES_INCORRETA", []event.Type{event.ConsentCreateReceived},
		},
		{
			"an end in the past leaves the received event alone",
			func(r *consent.Request) { r.ExpiresAt = time.Now().Add(-time.Minute) },
			fault.Unprocessable, "DATA_EXPIRACAO_INVALIDA", []event.Type{event.ConsentCreateReceived},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := request()
			tt.change(&r)
			k := app.Keyed{Key: "k", Route: "POST /v1/consents", Body: []byte("faulty")}
			_, err := w.CreateConsent(w.ctx, w.app, r, k, render)
			wantFault(t, err, tt.kind, tt.code)
			w.wantTypes("", tt.logged...)
			if page, _, err := w.Consents(w.ctx, w.app, store.ConsentQuery{Limit: 10}); err != nil || len(page) != 0 {
				t.Errorf("got %d consents, %v, want none", len(page), err)
			}

			// Only a success is stored under the key: a mended request passes.
			k.Body = []byte("mended")
			a, err := w.CreateConsent(w.ctx, w.app, request(), k, render)
			if err != nil || a.Status != 201 {
				t.Errorf("got %d, %v for the mended request, want 201", a.Status, err)
			}
		})
	}
}

func TestCreateConsent_idempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, _, _ := w.application("Another bank")
	first := app.Keyed{Key: "k1", Route: "POST /v1/consents", Body: []byte(`{"a":1}`)}
	a1, err := w.CreateConsent(w.ctx, w.app, request(), first, render)
	if err != nil {
		t.Fatal(err)
	}

	again, err := w.CreateConsent(w.ctx, w.app, request(), first, func(consent.Consent) (app.Answer, error) {
		t.Error("a repeat was rendered anew")
		return app.Answer{}, nil
	})
	if err != nil || again.Status != a1.Status || !bytes.Equal(again.Body, a1.Body) {
		t.Errorf("a repeat: got %d %s, %v, want %d %s", again.Status, again.Body, err, a1.Status, a1.Body)
	}
	w.wantTypes("", event.ConsentCreateReceived, event.ConsentCreated)

	reused := first
	reused.Body = []byte(`{"a": 1}`)
	_, err = w.CreateConsent(w.ctx, w.app, request(), reused, render)
	wantFault(t, err, fault.Unprocessable, "idempotency_key_reused")
	w.wantTypes("", event.ConsentCreateReceived, event.ConsentCreated)

	w.restart()
	if again, err = w.CreateConsent(w.ctx, w.app, request(), first, render); err != nil || !bytes.Equal(again.Body, a1.Body) {
		t.Errorf("a repeat after a restart: got %s, %v, want %s", again.Body, err, a1.Body)
	}

	fresh := []struct {
		name string
		do   func() (app.Answer, error)
	}{
		{"another key", func() (app.Answer, error) {
			return w.CreateConsent(w.ctx, w.app, request(), app.Keyed{Key: "k2", Route: first.Route, Body: first.Body}, render)
		}},
		{"another route", func() (app.Answer, error) {
			return w.CreateConsent(w.ctx, w.app, request(), app.Keyed{Key: "k1", Route: "POST /v1/other", Body: first.Body}, render)
		}},
		{"another application", func() (app.Answer, error) {
			return w.CreateConsent(w.ctx, other, request(), first, render)
		}},
		{"no key", func() (app.Answer, error) {
			return w.CreateConsent(w.ctx, w.app, request(), app.Keyed{Route: first.Route, Body: first.Body}, render)
		}},
	}
	for _, f := range fresh {
		if a, err := f.do(); err != nil || bytes.Equal(a.Body, a1.Body) {
			t.Errorf("%s: got %s, %v, want a consent of its own", f.name, a.Body, err)
		}
	}
}

func TestCreateConsent_idempotencyWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := app.Keyed{Key: "k", Route: "POST /v1/consents", Body: []byte("{}")}
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		enter := sync.OnceFunc(func() { close(entered) })
		defer enter()
		_, err := w.CreateConsent(w.ctx, w.app, request(), k, func(c consent.Consent) (app.Answer, error) {
			enter()
			<-leave
			return render(c)
		})
		wantNone(t, err)
	})
	<-entered
	_, err := w.CreateConsent(w.ctx, w.app, request(), k, render)
	wantFault(t, err, fault.Conflict, "idempotency_in_progress")
	close(leave)
	wg.Wait()
	_, err = w.CreateConsent(w.ctx, w.app, request(), k, render)
	wantNone(t, err)
	w.wantTypes("", event.ConsentCreateReceived, event.ConsentCreated)
}

func TestCreateConsent_idempotencyExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		k := app.Keyed{Key: "k", Route: "POST /v1/consents", Body: []byte("{}")}
		first, err := w.CreateConsent(w.ctx, w.app, request(), k, render)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(app.IdempotencyLife - time.Millisecond)
		again, err := w.CreateConsent(w.ctx, w.app, request(), k, render)
		if err != nil || !bytes.Equal(again.Body, first.Body) {
			t.Errorf("a millisecond before its end: got %s, %v, want %s", again.Body, err, first.Body)
		}
		time.Sleep(time.Millisecond)
		again, err = w.CreateConsent(w.ctx, w.app, request(), k, render)
		if err != nil || bytes.Equal(again.Body, first.Body) {
			t.Errorf("at its end: got %s, %v, want a new consent", again.Body, err)
		}
	})
}

// TestCreateConsent_lostAnswer: a caller that never heard the answer repeats
// its request, and there is one consent.
func TestCreateConsent_lostAnswer(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("committed %t", after), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := app.Keyed{Key: "k", Route: "POST /v1/consents", Body: []byte("{}")}
			w.store.FailAt("Update", 1, after)
			_, err := w.CreateConsent(w.ctx, w.app, request(), k, render)
			wantFault(t, err, fault.Unavailable, storetest.Injected)
			if _, err = w.CreateConsent(w.ctx, w.app, request(), k, render); err != nil {
				t.Fatal(err)
			}
			w.wantTypes("", event.ConsentCreateReceived, event.ConsentCreated)
		})
	}
}

func TestCreateConsent_manyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const callers, keys = 64, 8
	var mu sync.Mutex
	answers := map[string]map[string]bool{} // by key
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			key := strconv.Itoa(i % keys)
			for {
				a, err := w.CreateConsent(w.ctx, w.app, request(), app.Keyed{Key: key, Route: "POST /v1/consents", Body: []byte("{}")}, render)
				if fault.CodeOf(err) == "idempotency_in_progress" {
					continue // ends, for the first one does
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if answers[key] == nil {
					answers[key] = map[string]bool{}
				}
				answers[key][string(a.Body)] = true
				return
			}
		})
	}
	wg.Wait()
	for key, bodies := range answers {
		if len(bodies) != 1 {
			t.Errorf("key %s: got %d different answers, want 1", key, len(bodies))
		}
	}
	if n := count(w.types(""), event.ConsentCreated); n != keys || len(answers) != keys {
		t.Errorf("got %d consents for %d keys, want %d", n, len(answers), keys)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, _, _ := w.application("Another bank")

	_, err := w.Approve(w.ctx, w.app, "con_nobody", "")
	wantFault(t, err, fault.NotFound, fault.CodeOf(err))
	c := w.create(request())
	if _, err := w.Approve(w.ctx, other, string(c.ID), ""); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application's consent: got %v, want not found", err)
	}
	byURN, err := w.Approve(w.ctx, w.app, c.ConsentID, "")
	if err != nil || byURN.ID != c.ID || byURN.Status != consent.Authorised || byURN.Version != c.Version+1 {
		t.Errorf("by its consentId: got %+v, %v, want it authorised in version %d", byURN, err, c.Version+1)
	}
	kept, err := w.Consent(w.ctx, w.app, string(c.ID))
	if err != nil || kept.Version != byURN.Version || kept.Status != consent.Authorised {
		t.Errorf("read back: got %+v, %v", kept, err)
	}
	_, err = w.Approve(w.ctx, w.app, string(c.ID), "")
	wantFault(t, err, fault.Conflict, "consent_not_awaiting")
	w.wantTypes(string(c.ID), event.ConsentCreateReceived, event.ConsentCreated, event.ConsentApproved)
}

func TestApprove_repeatedApprover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := request()
	r.Approvers = 2
	c := w.create(r)
	ref := string(c.ID)
	for i, step := range []struct {
		approver string
		status   consent.Status
		version  int64
	}{
		{"ana", consent.PartiallyAccepted, 2},
		{"ana", consent.PartiallyAccepted, 2}, // counts once, changes nothing
		{"rui", consent.Authorised, 3},
	} {
		got, err := w.Approve(w.ctx, w.app, ref, step.approver)
		if err != nil || got.Status != step.status || got.Version != step.version {
			t.Errorf("step %d: got %s in version %d, %v, want %s in version %d", i, got.Status, got.Version, err, step.status, step.version)
		}
	}
	w.wantTypes(ref, event.ConsentCreateReceived, event.ConsentCreated, event.ConsentApproved)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	// Each way to notice that a deadline has come, a minute late.
	ways := []struct {
		name   string
		notice func(*world, consent.Consent) error
		code   string // of the error, if it is to be one
	}{
		{"the clock", func(w *world, _ consent.Consent) error { _, err := w.ExpireDue(w.ctx); return err }, ""},
		{"a read", func(w *world, c consent.Consent) error { _, err := w.Consent(w.ctx, w.app, c.ConsentID); return err }, ""},
		{"a list", func(w *world, _ consent.Consent) error {
			page, _, err := w.Consents(w.ctx, w.app, store.ConsentQuery{Lifecycle: []consent.Status{consent.Awaiting}, Limit: 10})
			if len(page) > 0 {
				return fmt.Errorf("the list shows %d consents that are over", len(page))
			}
			return err
		}, ""},
		{"an approval that comes too late", func(w *world, c consent.Consent) error {
			_, err := w.Approve(w.ctx, w.app, string(c.ID), "")
			return err
		}, "consent_expired"},
		{"a start after the server was down", func(w *world, _ consent.Consent) error {
			w.restart()
			_, err := w.ExpireDue(w.ctx)
			return err
		}, ""},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.create(request())
				deadline := c.CreatedAt.Add(ttls.ApprovalTTL)
				time.Sleep(ttls.ApprovalTTL - time.Millisecond)
				if got, err := w.Consent(w.ctx, w.app, string(c.ID)); err != nil || got.Status != consent.Awaiting {
					t.Errorf("a millisecond before the deadline: got %s, %v, want it awaiting", got.Status, err)
				}
				if next, err := w.ExpireDue(w.ctx); err != nil || !next.Equal(deadline) {
					t.Errorf("got the next deadline %s, %v, want %s", next, err, deadline)
				}
				time.Sleep(time.Minute)

				err := way.notice(w, c)
				if fault.CodeOf(err) != way.code || (err != nil) != (way.code != "") {
					t.Errorf("got %v, want code %q", err, way.code)
				}
				w.wantTypes(string(c.ID), event.ConsentCreateReceived, event.ConsentCreated, event.ConsentExpired)
				e := w.events(w.app)[2]
				if !e.OccurredAt.Equal(deadline) || !e.RecordedAt.Equal(deadline.Add(time.Minute-time.Millisecond)) {
					t.Errorf("the event occurred at %s and was recorded at %s, want %s and a minute later", e.OccurredAt, e.RecordedAt, deadline)
				}
				if next, err := w.ExpireDue(w.ctx); err != nil || !next.IsZero() {
					t.Errorf("got the next deadline %s, %v, want none", next, err)
				}
				got, err := w.Consent(w.ctx, w.app, string(c.ID))
				if err != nil || got.Status != consent.Expired || !got.StatusUpdatedAt.Equal(deadline) {
					t.Errorf("got %s since %s, %v, want it expired at %s", got.Status, got.StatusUpdatedAt, err, deadline)
				}
			})
		})
	}
}

func TestExpireDue_moreThanABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.app
		second, _, _ := w.application("Another bank")
		const n = 250
		for i := range n {
			if i == n/2 {
				w.app = second
			}
			w.create(request())
		}
		time.Sleep(ttls.ApprovalTTL)
		// Two at once, as a sweep and a list may be: each expires once.
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := w.ExpireDue(w.ctx)
				wantNone(t, err)
			})
		}
		wg.Wait()
		got := count(w.types(""), event.ConsentExpired)
		w.app = first
		if got += count(w.types(""), event.ConsentExpired); got != n {
			t.Errorf("got %d expired events in both applications, want %d", got, n)
		}
	})
}

// TestDecide_races: a hundred callers and the clock close one consent at its
// deadline; exactly one of them did.
func TestDecide_races(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		from    func(*world) consent.Consent
		ttl     time.Duration
		actions []func(*world, consent.Consent) error
	}{
		{"an undecided one", func(w *world) consent.Consent { return w.create(request()) }, ttls.ApprovalTTL, []func(*world, consent.Consent) error{
			func(w *world, c consent.Consent) error {
				_, err := w.Approve(w.ctx, w.app, string(c.ID), "")
				return err
			},
			func(w *world, c consent.Consent) error { return w.reject(c.ID) },
			func(w *world, _ consent.Consent) error { _, err := w.ExpireDue(w.ctx); return err },
			func(w *world, c consent.Consent) error { _, err := w.Consent(w.ctx, w.app, string(c.ID)); return err },
		}},
		{"an authorised one", (*world).authorised, ttls.ConsumptionTTL, []func(*world, consent.Consent) error{
			func(w *world, c consent.Consent) error { return w.revoke(c.ID) },
			func(w *world, c consent.Consent) error {
				_, err := w.Decide(w.ctx, w.app, string(c.ID), func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
					return c.Withdraw(at)
				})
				return err
			},
			func(w *world, _ consent.Consent) error { _, err := w.ExpireDue(w.ctx); return err },
		}},
	}
	for _, tt := range tests {
		for _, late := range []time.Duration{-time.Millisecond, 0} {
			t.Run(fmt.Sprintf("%s, %s after its deadline", tt.name, late), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					c := tt.from(w)
					time.Sleep(tt.ttl + late)
					var wg sync.WaitGroup
					start := make(chan struct{})
					for i := range 100 {
						wg.Go(func() {
							<-start
							if i%2 == 1 { // half of them at the deadline or after it
								time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
							}
							err := tt.actions[i%len(tt.actions)](w, c)
							if k := fault.KindOf(err); err != nil && k != fault.Conflict && k != fault.Unprocessable {
								t.Errorf("got %v, want a conflict at most", err)
							}
						})
					}
					close(start)
					wg.Wait()

					ends := map[event.Type]int{}
					approved := 0
					for _, typ := range w.types(string(c.ID)) {
						switch typ {
						case event.ConsentRejected, event.ConsentExpired, event.ConsentRevoked:
							ends[typ]++
						case event.ConsentApproved:
							approved++
						}
					}
					got, err := w.Consent(w.ctx, w.app, string(c.ID))
					if err != nil {
						t.Fatal(err)
					}
					total := ends[event.ConsentRejected] + ends[event.ConsentExpired] + ends[event.ConsentRevoked]
					switch {
					case approved > 1 || total > 1:
						t.Errorf("got %d approvals and the ends %v, want at most one of each", approved, ends)
					case got.Status == consent.Authorised && total != 0, got.Status != consent.Authorised && total != 1:
						t.Errorf("the consent is %s, the log holds %d approvals and the ends %v", got.Status, approved, ends)
					case late == 0 && got.Status != consent.Expired:
						t.Errorf("at the deadline: got %s, want it expired", got.Status)
					}
					for i, e := range w.events(w.app) {
						if e.Sequence != int64(i+1) {
							t.Errorf("event %d has the sequence %d", i, e.Sequence)
						}
					}
				})
			})
		}
	}
}

func TestConsents_contextEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(request())
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := w.Approve(ctx, w.app, string(c.ID), ""); err == nil {
		// The turn may have come before the end was seen: then it happened.
		w.wantTypes(string(c.ID), event.ConsentCreateReceived, event.ConsentCreated, event.ConsentApproved)
	} else {
		w.wantTypes(string(c.ID), event.ConsentCreateReceived, event.ConsentCreated)
	}
}
