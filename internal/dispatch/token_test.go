package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

const tokenURL = "https://auth.example/token"

// tokenRequest is a request for a token as the token endpoint saw it.
type tokenRequest struct {
	at            time.Duration // since the bench was made
	n             int           // from 1
	form          url.Values
	authorization string
}

// tokenEndpoint answers a request for a token.
func (b *bench) tokenEndpoint(ctx context.Context, r *egress.Request) (*egress.Response, error) {
	form, err := url.ParseQuery(string(r.Body))
	if err != nil {
		b.t.Errorf("a token request is no form: %q", r.Body)
	}
	b.mu.Lock()
	q := tokenRequest{at: time.Since(b.t0), n: len(b.asked) + 1, form: form}
	if v := r.Header["Authorization"]; len(v) > 0 {
		q.authorization = v[0]
	}
	b.asked = append(b.asked, q)
	key := "token"
	if b.flying[key]++; b.flying[key] > 1 && !b.overlap {
		b.t.Errorf("two requests for a token are on the wire at %v", q.at)
	}
	a := b.token(q)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.flying[key]--
		b.mu.Unlock()
	}()
	if err := a.wait(ctx); err != nil {
		return nil, err
	}
	return &egress.Response{
		Status: a.status, RetryAfter: a.retryAfter, Whole: []byte(a.body), Body: a.body,
		Header: []egress.Header{{Name: "Content-Type", Value: "application/json"}},
	}, nil
}

func (b *bench) tokenRequests() []tokenRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// set changes what receiver and token endpoint do.
func (b *bench) set(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
}

// numbered issues "t1", "t2", … for life seconds; 0: it does not say.
func numbered(life int) func(tokenRequest) answer {
	return func(q tokenRequest) answer {
		body := fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer"`, q.n)
		if life > 0 {
			body += fmt.Sprintf(`,"expires_in":%d`, life)
		}
		return answer{status: 200, body: body + "}"}
	}
}

// tokenOf returns the bearer token of a delivery.
func tokenOf(g got) string {
	if v := g.header["Authorization"]; len(v) == 1 {
		t, _ := strings.CutPrefix(v[0], "Bearer ")
		return t
	}
	return ""
}

func clientCredentials(e *subscription.Endpoint) {
	e.Auth = subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{
		GrantType: subscription.ClientCredentials, AuthenticationURL: tokenURL, ContentType: subscription.ContentForm,
		ClientID: "client-1", ClientSecret: secret.New("secret-of-client-1"), ClientAuthMethod: subscription.ClientAuthAuto,
	}}
}

func refreshToken(first, refresh string) func(e *subscription.Endpoint) {
	return func(e *subscription.Endpoint) {
		e.Auth = subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{
			Token: secret.New(first), RefreshToken: secret.New(refresh), RefreshURL: tokenURL, ClientID: "client-1",
		}}
		if first == "" {
			e.Auth.Bearer.Token = secret.Value{}
		}
	}
}

// edit changes a subscription as its owner does.
func (b *bench) edit(e subscription.Endpoint, fn func(*subscription.Endpoint)) {
	b.t.Helper()
	_, err := b.app.EditEndpoint(b.t.Context(), b.id, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
		fn(&cur)
		return app.Edit{Endpoint: cur}, nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) hold(e subscription.Endpoint) delivery.Hold {
	b.t.Helper()
	h, err := b.store.Health(b.t.Context(), b.id, e.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	if h.Breaker.Open || h.Breaker.Failures > 0 {
		b.t.Errorf("got breaker %+v, want token trouble not to count", h.Breaker)
	}
	return h.Hold
}

func (b *bench) query(e subscription.Endpoint, limit int) store.DeliveryQuery {
	return store.DeliveryQuery{Endpoint: e.ID, Style: e.Style, Limit: limit}
}

// endpoint reads an endpoint as it stands.
func (b *bench) endpoint(e subscription.Endpoint) subscription.Endpoint {
	b.t.Helper()
	out, err := b.store.Endpoint(b.t.Context(), b.id, e.Style, e.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func subjects(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("con_%03d", i)
	}
	return out
}

func TestToken_aHundredWaitingDeliveriesNeedOne(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = func(q tokenRequest) answer {
			a := numbered(3600)(q)
			a.after = 2 * time.Second
			return a
		}
		e := b.subscribe(clientCredentials)
		b.publish(subjects(100)...)
		b.start()
		sleep(time.Minute)
		if n := len(b.tokenRequests()); n != 1 {
			t.Errorf("got %d requests for a token, want 1", n)
		}
		for _, g := range b.requests() {
			if tokenOf(g) != "t1" {
				t.Errorf("got token %q, want t1", tokenOf(g))
			}
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 100})
		if h := b.hold(e); h.State != delivery.Authorised || h.Since.IsZero() {
			t.Errorf("got %+v, want it authorised", h)
		}
		b.close()
	})
}

func TestToken_fiftyRefusedAtOnceAreOneRefresh(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if tokenOf(g) == "t1" {
				return answer{status: 401, after: time.Second, body: `[{"errorCode":"INVALID_SESSION_ID"}] for t1`}
			}
			return answer{status: 200, body: "hello " + tokenOf(g)}
		})
		b.token = func(q tokenRequest) answer { // slow enough for all fifty to wait for it
			a := numbered(0)(q)
			a.after = time.Second
			return a
		}
		e := b.subscribe(clientCredentials)
		b.publish(subjects(50)...)
		b.start()
		sleep(time.Minute)
		if n := len(b.tokenRequests()); n != 2 {
			t.Errorf("got %d requests for a token, want the first and one refresh", n)
		}
		all := b.requests()
		if len(all) != 100 {
			t.Errorf("got %d requests, want 50 twice", len(all))
		}
		byID := map[string][]got{}
		for _, g := range all {
			byID[g.id] = append(byID[g.id], g)
		}
		for id, gs := range byID {
			if len(gs) != 2 || gs[0].attempt != 1 || gs[1].attempt != 1 || tokenOf(gs[0]) != "t1" || tokenOf(gs[1]) != "t2" ||
				gs[0].header["X-Webhook-Interaction-Id"][0] != gs[1].header["X-Webhook-Interaction-Id"][0] {
				t.Errorf("got %v for %s, want it sent again with t2 within the same attempt", gs, id)
			}
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 50})
		views, _, err := b.store.Deliveries(t.Context(), b.id, b.query(e, 1))
		if err != nil || len(views) != 1 {
			t.Fatal(views, err)
		}
		d, err := b.store.Delivery(t.Context(), b.id, views[0].ID)
		if err != nil || len(d.Attempts) != 1 {
			t.Fatalf("got %d attempts (%v), want one", len(d.Attempts), err)
		}
		a := d.Attempts[0]
		if a.Token == nil || a.Token.Response == nil || a.Token.Response.Status != 200 || strings.Contains(fmt.Sprintf("%+v %+v", a.Token, a.Token.Response), "t2") {
			t.Errorf("got token step %+v, want it kept without the token", a.Token)
		}
		if a.Response == nil || a.Response.Body != "hello ***" {
			t.Errorf("got answer %+v, want the token masked", a.Response)
		}
		b.close()
	})
}

func TestToken_aBrokenEndpointHoldsTheSubscription(t *testing.T) {
	tests := []struct {
		name  string
		fault answer
		state delivery.HoldState
		says  string
		most  int // requests within 10 s
		after time.Duration
	}{
		{"it breaks", answer{status: 500, body: "oops"}, delivery.TokenTrouble, "500 Internal Server Error", 5, time.Hour},
		{"it refuses everything without a reason", answer{status: 401}, delivery.TokenTrouble, "401 Unauthorized", 5, time.Hour},
		{"the client's secret is wrong", answer{status: 401, body: `{"error":"invalid_client","error_description":"no \u202esuch client secret-of-client-1"}`},
			delivery.NeedsReauthorisation, "invalid_client (no such client ***)", 2, 2 * time.Hour},
		{"it is HTML", answer{status: 200, body: "<html>"}, delivery.TokenTrouble, "not one JSON object", 5, time.Hour},
		{"it cannot be reached", answer{err: &egress.Error{Step: egress.StepConnect, Reason: "the connection was refused"}},
			delivery.TokenTrouble, "the connection was refused", 5, time.Hour},
		{"it wants us to wait", answer{status: 503, retryAfter: "1800"}, delivery.TokenTrouble, "503", 1, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				b := newBench(t, ok)
				b.token = func(tokenRequest) answer { return tt.fault }
				e := b.subscribe(clientCredentials)
				b.start()
				for i := range 4 {
					b.publish(subjects(10)...)
					if i == 0 {
						sleep(0)
					}
				}
				sleep(10 * time.Second)
				if n := len(b.tokenRequests()); n == 0 || n > tt.most {
					t.Errorf("got %d requests for a token within 10 s, want at most %d", n, tt.most)
				}
				h := b.hold(e)
				if h.State != tt.state || !strings.Contains(h.Reason, tt.says) || h.Since.IsZero() || h.NextAt.IsZero() || h.Exchange == nil {
					t.Errorf("got %+v, want %s with %q", h, tt.state, tt.says)
				}
				if len(b.requests()) != 0 {
					t.Error("something was sent without its credential")
				}
				b.wantStatuses(e, map[delivery.Status]int{delivery.Held: 40})
				sleep(20 * time.Minute)
				b.set(func() { b.token = numbered(3600) })
				sleep(tt.after)
				b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 40})
				ordered(t, b.requests())
				for _, g := range b.requests() {
					if g.attempt != 1 {
						t.Errorf("got %v, want no attempt used up", g)
					}
				}
				if h := b.hold(e); h.State != delivery.Authorised || h.Reason != "" {
					t.Errorf("got %+v, want it authorised", h)
				}
				b.close()
			})
		})
	}
}

func TestToken_aDeadRefreshTokenNeedsItsOwner(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if tokenOf(g) == "first" {
				return answer{status: 401}
			}
			return answer{status: 200}
		})
		b.token = func(q tokenRequest) answer {
			if q.form.Get("refresh_token") == "dead" {
				return answer{status: 400, body: `{"error":"invalid_grant","error_description":"expired access/refresh token"}`}
			}
			return numbered(0)(q)
		}
		e := b.subscribe(refreshToken("first", "dead"))
		b.start()
		b.publish("con_a", "con_b", "con_a")
		sleep(24 * time.Hour)
		if n := len(b.tokenRequests()); n != 1 {
			t.Errorf("got %d requests for a token in a day, want 1", n)
		}
		h := b.hold(e)
		if h.State != delivery.NeedsReauthorisation || !h.NextAt.IsZero() || !strings.Contains(h.Reason, "invalid_grant (expired access/refresh token)") {
			t.Errorf("got %+v, want it to need its owner", h)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Held: 3})

		b.close() // a restart does not ask again
		b.openStore()
		b.start()
		sleep(24 * time.Hour)
		if n := len(b.tokenRequests()); n != 1 {
			t.Errorf("got %d requests for a token after a restart, want none more", n)
		}

		sent := len(b.requests())
		b.edit(e, refreshToken("", "alive"))
		sleep(0)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 3})
		for _, g := range b.requests()[sent:] {
			if g.attempt != 1 || tokenOf(g) != "t2" {
				t.Errorf("got %v with %q, want first attempts with the new token", g, tokenOf(g))
			}
		}
		ordered(t, b.requests()[sent:])
		b.close()
	})
}

func TestToken_rotatedRefreshTokensOutliveRestarts(t *testing.T) {
	in(t, func(t *testing.T) {
		newest, access := "r0", ""
		b := newBench(t, func(g got) answer {
			if tokenOf(g) != access {
				return answer{status: 401}
			}
			return answer{status: 200}
		})
		b.token = func(q tokenRequest) answer {
			if q.form.Get("refresh_token") != newest || q.form.Get("client_id") != "client-1" || q.authorization != "" {
				return answer{status: 400, body: `{"error":"invalid_grant"}`}
			}
			newest, access = fmt.Sprintf("r%d", q.n), fmt.Sprintf("t%d", q.n)
			return answer{status: 200, body: fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"instance_url":"https://evil.example"}`, access, newest)}
		}
		e := b.subscribe(refreshToken("", "r0"))
		for round := range 5 {
			b.start()
			b.publish("con_a", "con_b")
			sleep(time.Minute)
			b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 2 * (round + 1)})
			if n := len(b.tokenRequests()); n != round+1 {
				t.Errorf("got %d requests for a token in round %d, want %d: the kept one serves until it is refused", n, round, round+1)
			}
			b.set(func() { access = "revoked" })
			b.close()
			b.openStore()
		}
		for _, g := range b.requests() {
			if g.url != "https://receiver.example/hook" {
				t.Errorf("got a delivery at %s, want it where it was configured", g.url)
			}
		}
		b.edit(e, func(e *subscription.Endpoint) { e.Name = "renamed" })
		b.start()
		b.publish("con_c")
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 11})
		b.close()
	})
}

func TestToken_refusedWhileNoOtherIsToBeHad(t *testing.T) {
	in(t, func(t *testing.T) {
		good := "t1"
		b := newBench(t, func(g got) answer {
			if tokenOf(g) != good {
				return answer{status: 401}
			}
			return answer{status: 200}
		})
		down := false
		b.token = func(q tokenRequest) answer {
			if down {
				return answer{status: 503}
			}
			good = fmt.Sprintf("t%d", q.n)
			return numbered(3600)(q)
		}
		e := b.subscribe(clientCredentials)
		b.start()
		b.publish(subjects(10)...)
		sleep(time.Second)
		b.set(func() { good, down = "none", true })
		for range 3 {
			b.publish(subjects(10)...)
		}
		sleep(time.Minute)
		if h := b.hold(e); h.State != delivery.TokenTrouble || !strings.Contains(h.Reason, "503") {
			t.Errorf("got %+v, want it held", h)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 10, delivery.Held: 30})
		refused := len(b.requests())
		if refused > 10+64 {
			t.Errorf("got %d requests, want none after the token was refused", refused)
		}
		b.set(func() { down = false })
		sleep(10 * time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 40})
		ordered(t, b.requests())
		for _, g := range b.requests() {
			if g.attempt != 1 {
				t.Errorf("got %v, want no attempt used up", g)
			}
		}
		b.close()
	})
}

func TestToken_refusedForEver(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 401} })
		b.token = numbered(3600)
		e := b.subscribe(func(e *subscription.Endpoint) {
			clientCredentials(e)
			e.RetrySchedule = []time.Duration{time.Second, time.Second}
		})
		b.start()
		b.publish(subjects(200)...)
		sleep(time.Minute)
		if n := len(b.tokenRequests()); n > 12 {
			t.Errorf("got %d requests for a token in a minute, want a few", n)
		}
		h, err := b.store.Health(t.Context(), b.id, e.ID)
		if err != nil || !h.Breaker.Open || h.Hold.Held() {
			t.Errorf("got %+v (%v), want the breaker open, for the receiver fails", h, err)
		}
		perAttempt := map[string]int{}
		for _, g := range b.requests() {
			if perAttempt[g.header["X-Webhook-Interaction-Id"][0]]++; perAttempt[g.header["X-Webhook-Interaction-Id"][0]] > 2 {
				t.Fatalf("got more than two requests in one attempt")
			}
		}
		b.close()
	})
}

func TestToken_isReplacedBeforeItsEnd(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = func(q tokenRequest) answer {
			a := numbered(100)(q)
			if q.n > 1 {
				a.after = 3 * time.Second
			}
			return a
		}
		e := b.subscribe(clientCredentials)
		b.start()
		for range 300 { // two a second
			b.publish("con_a")
			sleep(500 * time.Millisecond)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 300})
		asked := b.tokenRequests()
		if len(asked) != 2 || asked[1].at < 80*time.Second || asked[1].at > 81*time.Second {
			t.Errorf("got requests for a token %v, want the second after 80 s", asked)
		}
		for i, g := range b.requests() {
			if late := g.at - time.Duration(i)*500*time.Millisecond; late > 100*time.Millisecond {
				t.Fatalf("delivery %d came %v late, want no wait for the next token", i, late)
			}
		}
		sleep(time.Hour)
		if n := len(b.tokenRequests()); n != 2 {
			t.Errorf("got %d requests for a token, want none while nothing is to be sent", n)
		}
		b.publish("con_b")
		sleep(5 * time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 301})
		if g := b.requests()[300]; tokenOf(g) != "t3" {
			t.Errorf("got token %s, want a fresh one", tokenOf(g))
		}
		b.close()
	})
}

func TestToken_forOneDeliveryOnly(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = func(q tokenRequest) answer {
			return answer{status: 200, body: fmt.Sprintf(`{"access_token":"t%d","expires_in":0}`, q.n)}
		}
		e := b.subscribe(clientCredentials)
		b.start()
		b.publish(subjects(20)...)
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 20})
		if n := len(b.tokenRequests()); n > 20 {
			t.Errorf("got %d requests for a token, want at most one for each delivery", n)
		}
		seen := map[string]int{}
		for _, g := range b.requests() {
			if seen[tokenOf(g)]++; seen[tokenOf(g)] > 1 {
				t.Errorf("token %s was used twice", tokenOf(g))
			}
		}
		b.close()
	})
}

func TestToken_pausedAsksForNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = func(tokenRequest) answer { return answer{status: 500} }
		e := b.subscribe(clientCredentials)
		b.start()
		b.publish("con_a")
		sleep(time.Minute)
		b.setStatus(e, subscription.Paused)
		sleep(0)
		before := len(b.tokenRequests())
		b.publish("con_a")
		sleep(time.Hour)
		if n := len(b.tokenRequests()); n != before {
			t.Errorf("got %d requests for a token while paused, want none", n-before)
		}
		b.set(func() { b.token = numbered(0) })
		b.setStatus(e, subscription.Active)
		b.publish("con_b")
		sleep(time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1, delivery.Discarded: 2})
		b.close()
	})
}

func TestToken_testShowsTheStep(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = func(tokenRequest) answer {
			return answer{status: 401, body: `{"error":"invalid_client","error_description":"unknown","access_token":"leak"}`}
		}
		e := b.subscribe(clientCredentials)
		b.start()
		b.publish("con_a")
		sleep(time.Minute)
		trial, err := b.engine.Test(t.Context(), b.endpoint(e))
		if err != nil {
			t.Fatal(err)
		}
		if trial.Delivered || trial.Step != delivery.StepToken || !strings.Contains(trial.Reason, "invalid_client (unknown)") || trial.Token == nil ||
			trial.Token.Response == nil || trial.Token.Response.Status != 401 || strings.Contains(trial.Token.Response.Body, "leak") ||
			!strings.Contains(trial.Token.Request.Body, "grant_type=client_credentials") || trial.Response != nil {
			t.Errorf("got %+v with %+v, want it to end at the token step", trial, trial.Token)
		}
		if h := b.hold(e); h.State != delivery.NeedsReauthorisation {
			t.Errorf("got %+v, want it held", h)
		}
		b.set(func() { b.token = numbered(3600) }) // mended at the other side: nothing tells us but the test
		sleep(time.Second)
		if trial, err = b.engine.Test(t.Context(), b.endpoint(e)); err != nil || !trial.Delivered || trial.Token == nil || trial.Token.Reason != "" {
			t.Errorf("got %+v (%v), want it delivered and the token step shown", trial, err)
		}
		sleep(time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1})
		if trial, err = b.engine.Test(t.Context(), b.endpoint(e)); err != nil || !trial.Delivered || trial.Token != nil {
			t.Errorf("got %+v (%v), want no request for a token when there is one", trial, err)
		}
		b.close()
	})
}

// forgetful fails to keep tokens: the first calls before they take effect, the
// next after it.
type forgetful struct {
	dispatch.Log
	before, after int
}

func (f *forgetful) SaveToken(ctx context.Context, e delivery.Endpoint, t subscription.Token) error {
	if f.before > 0 {
		f.before--
		return errors.New("the disk is busy")
	}
	err := f.Log.SaveToken(ctx, e, t)
	if err == nil && f.after > 0 {
		f.after--
		return errors.New("the answer was lost")
	}
	return err
}

func TestToken_isKeptBeforeItIsUsed(t *testing.T) {
	for _, lost := range []string{"before it was kept", "after it was kept"} {
		t.Run(lost, func(t *testing.T) {
			in(t, func(t *testing.T) {
				newest := "r0"
				b := newBench(t, ok)
				f := &forgetful{}
				if lost == "before it was kept" {
					f.before = 2
				} else {
					f.after = 1
				}
				b.wrap = func(l dispatch.Log) dispatch.Log { f.Log = l; return f }
				b.token = func(q tokenRequest) answer {
					if q.form.Get("refresh_token") != newest {
						return answer{status: 400, body: `{"error":"invalid_grant"}`}
					}
					newest = fmt.Sprintf("r%d", q.n)
					return answer{status: 200, body: fmt.Sprintf(`{"access_token":"t%d","refresh_token":%q}`, q.n, newest)}
				}
				e := b.subscribe(refreshToken("", "r0"))
				b.start()
				b.publish("con_a")
				sleep(0)
				if len(b.requests()) != 0 {
					t.Error("the token was used before it was kept")
				}
				if h := b.hold(e); h.State != delivery.TokenTrouble {
					t.Errorf("got %+v, want it held", h)
				}
				sleep(time.Minute)
				b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1})
				if n := len(b.tokenRequests()); n != 1 {
					t.Errorf("got %d requests for a token, want 1: the one that came is kept at last", n)
				}
				kept, err := b.store.Token(t.Context(), delivery.Endpoint(e.ID))
				if err != nil || kept.Refresh.Reveal() != newest {
					t.Errorf("got another refresh token kept (%v), want the newest", err)
				}
				b.close()
			})
		})
	}
}

func TestToken_aFailedTestHidesNoHold(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = func(tokenRequest) answer { return answer{status: 503, retryAfter: "1800"} }
		e := b.subscribe(clientCredentials)
		b.start()
		sleep(time.Second)
		if trial, err := b.engine.Test(t.Context(), b.endpoint(e)); err != nil || trial.Step != delivery.StepToken {
			t.Fatalf("got %+v (%v), want it to end at the token step", trial, err)
		}
		b.publish("con_a")
		sleep(time.Second)
		if h := b.hold(e); h.State != delivery.TokenTrouble || h.NextAt.IsZero() {
			t.Errorf("got %+v, want it held at once", h)
		}
		b.wantStatuses(e, map[delivery.Status]int{delivery.Held: 1})
		if n := len(b.tokenRequests()); n != 1 {
			t.Errorf("got %d requests for a token, want none more before its time", n)
		}
		b.close()
	})
}

func TestToken_newCredentialsDoNotWaitForAHangingRequest(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.overlap = true
		b.token = func(q tokenRequest) answer {
			a := numbered(3600)(q)
			if q.n == 1 {
				a.after = 10 * time.Second
			}
			return a
		}
		e := b.subscribe(clientCredentials)
		b.start()
		b.publish("con_a")
		sleep(time.Second)
		b.edit(e, func(e *subscription.Endpoint) { e.Auth.OAuth2.ClientSecret = secret.New("another-secret") })
		sleep(time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1})
		sleep(time.Minute)
		for _, g := range b.requests() {
			if tokenOf(g) != "t2" {
				t.Errorf("got token %s, want the one of the new credentials", tokenOf(g))
			}
		}
		b.publish("con_b")
		sleep(time.Second)
		if n := len(b.tokenRequests()); n != 2 {
			t.Errorf("got %d requests for a token, want one with each secret", n)
		}
		b.close()
	})
}

func TestToken_aReplayWaitsVisibly(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		b.token = numbered(10)
		e := b.subscribe(clientCredentials)
		b.start()
		ids := b.publish("con_a")
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1})
		b.set(func() { b.token = func(tokenRequest) answer { return answer{status: 500} } })
		b.publish("con_b")
		sleep(time.Second)
		if _, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: ids}}); err != nil {
			t.Fatal(err)
		}
		sleep(0)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Held: 2})
		b.set(func() { b.token = numbered(3600) })
		sleep(10 * time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 2})
		b.close()
	})
}
