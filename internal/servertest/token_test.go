package servertest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

// exchange is a request for a token as the API shows it.
type exchange struct {
	Step, Reason string
	Request      struct {
		Method, URL, Body string
		Headers           map[string]string
	}
	Response *struct {
		Status  int
		Body    string
		Headers map[string]string
	}
}

// managed is a subscription whose tokens are ours to get, as the API shows it.
type managed struct {
	Status        string
	Backlog       struct{ Count int }
	Circuit       struct{ State string }
	Authorisation struct {
		State, Since, Reason, NextAt string
		LastExchange                 *exchange
	}
}

// managedOf reads one.
func managedOf(t *testing.T, a *servertest.Application, id string) (m managed) {
	t.Helper()
	a.Call("GET", "/v1/subscriptions/"+id, nil).Want(t, 200).Into(t, &m)
	return m
}

// waitFor waits until a subscription's authorisation has the state.
func waitFor(t *testing.T, a *servertest.Application, id, state string) managed {
	t.Helper()
	var m managed
	servertest.Eventually(t, "the authorisation to be "+state, func() bool {
		m = managedOf(t, a, id)
		return m.Authorisation.State == state
	})
	return m
}

// owed is a delivery as the API lists it.
type owed struct {
	DeliveryID, EventID, Subject, Status, Reason string
	AttemptCount                                 int
}

// deliveries returns all of a subscription's.
func deliveries(t *testing.T, a *servertest.Application, id string) []owed {
	t.Helper()
	var all []owed
	for after := ""; ; {
		var page struct {
			Items []owed
			Next  string
		}
		a.Call("GET", "/v1/deliveries?limit=100&subscriptionId="+id+"&after="+after, nil).Want(t, 200).Into(t, &page)
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		after = page.Next
	}
}

// wantHeld waits until so many deliveries of a subscription are held, and
// checks that none was tried and that the breaker knows nothing of it.
func wantHeld(t *testing.T, a *servertest.Application, id string, n int) {
	t.Helper()
	var all []owed
	servertest.Eventually(t, "the deliveries to be held", func() bool {
		all = deliveries(t, a, id)
		held := 0
		for _, d := range all {
			if d.Status == "held" {
				held++
			}
		}
		return held == n
	})
	for _, d := range all {
		if d.Status == "held" && d.AttemptCount != 0 {
			t.Errorf("%s is held after %d attempts, want none", d.DeliveryID, d.AttemptCount)
		}
	}
	if m := managedOf(t, a, id); m.Status != "active" || m.Circuit.State != "closed" {
		t.Errorf("got the status %q and the breaker %q, want active and closed", m.Status, m.Circuit.State)
	}
}

// wantFirstTime waits until so many deliveries of a subscription are delivered
// and checks that each took one attempt.
func wantFirstTime(t *testing.T, a *servertest.Application, id string, n int) {
	t.Helper()
	var all []owed
	servertest.Eventually(t, fmt.Sprintf("%d deliveries to be delivered", n), func() bool {
		all = deliveries(t, a, id)
		delivered := 0
		for _, d := range all {
			if d.Status == "delivered" {
				delivered++
			}
		}
		return delivered >= n
	})
	for _, d := range all {
		if d.Status != "delivered" || d.AttemptCount != 1 {
			t.Errorf("%s is %s after %d attempts (%s), want delivered after one", d.DeliveryID, d.Status, d.AttemptCount, d.Reason)
		}
	}
}

// wantTold waits until a receiver has accepted both events of each consent at
// a path, and checks that nothing came out of order.
func wantTold(t *testing.T, rcv *servertest.Receiver, path string, consents []string) {
	t.Helper()
	servertest.Eventually(t, "the consents to be told of", func() bool {
		seen, n := map[string]bool{}, map[string]int{}
		for _, r := range rcv.Received() {
			if r.Path == path && r.Answered && r.Status < 300 && !seen[r.ID()] {
				seen[r.ID()] = true
				n[r.Subject()]++
			}
		}
		for _, c := range consents {
			if n[c] < 2 {
				return false
			}
		}
		return true
	})
	wantOrder(t, rcv.Received())
}

// wantOrder checks that no subject's sequence falls at any path.
func wantOrder(t *testing.T, rs []servertest.Received) {
	t.Helper()
	newest := map[string]int64{}
	for _, r := range rs {
		lane := r.Path + " " + r.Subject()
		if r.Sequence() < newest[lane] {
			t.Errorf("%s: %d came behind %d", lane, r.Sequence(), newest[lane])
		}
		newest[lane] = r.Sequence()
	}
}

// createConsents creates n, several at a time.
func createConsents(t *testing.T, a *servertest.Application, n int) []string {
	t.Helper()
	ids := make([]string, n)
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < n; i += 4 {
				r, err := a.Try("POST", "/v1/consents", servertest.Consent())
				var c struct{ ID string }
				if err != nil || r.Status != http.StatusCreated || !decode(r.Body, &c) {
					t.Errorf("create a consent: %d %s (%v)", r.Status, r.Body, err)
					return
				}
				ids[i] = c.ID
			}
		})
	}
	wg.Wait()
	return ids
}

// bearer returns the token of what a receiver got.
func bearer(r servertest.Received) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// guarded makes a receiver answer 401 to a token that is not valid, as an API
// does (RFC 6750 3.1).
func guarded(rcv *servertest.Receiver, valid func(token string) bool) {
	rcv.Answer(func(r servertest.Received) servertest.Reply {
		if valid(bearer(r)) {
			return servertest.Reply{}
		}
		return servertest.Reply{
			Status: http.StatusUnauthorized, Body: `{"error":"invalid_token"}`,
			Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}},
		}
	})
}

// certificateOf returns one of the CA that the server trusts, for a token
// server.
func certificateOf(t *testing.T, ca *servertest.CA) *oauth.Certificate {
	t.Helper()
	cert, key := ca.Files(t)
	return &oauth.Certificate{CA: ca.PEM, CertFile: cert, KeyFile: key}
}

// trial is the answer to a request to test a subscription.
type trial struct {
	Delivered    bool
	Step, Reason string
	Token        *exchange
	Request      struct{ URL string }
	Response     *struct{ Status int }
}

// trialOf tests a subscription and returns the answer, also as it came.
func trialOf(t *testing.T, a *servertest.Application, id string) (out trial, body string) {
	t.Helper()
	r := a.Call("POST", "/v1/subscriptions/"+id+"/test", nil).Want(t, 200)
	r.Into(t, &out)
	return out, string(r.Body)
}

// The test call tells of the request for a token as well: where it failed and
// with which answer, or, beside the delivery, that it went well.
func TestTest_showsTheTokenStep(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	own := oauth.ServeOptions{Certificate: certificateOf(t, ca)}
	const clientSecret, access = "hunter2+of the/client", "access-token-that-nobody-sees" // #nosec G101 -- they open nothing
	client := oauth.Client{ID: "the client", Secret: clientSecret}
	tests := []struct {
		name   string
		serve  oauth.ServeOptions
		answer http.Handler
		// What the answer of the test call must say.
		step   string // of the token request
		status int    // of the token server's answer; 0: none came
		reason string // a part of it; empty: a token came
	}{
		{"a token comes", own, client.Guard(oauth.Token(access, 3600)), "response", 200, ""},
		{"401", own, oauth.Error(401, "invalid_client", "who are you"), "response", 401, "invalid_client"},
		{"HTML", own, oauth.Answer{Type: "text/html", Body: "<title>Sign in</title>"}, "response", 200, "text/html"},
		{"a redirect", own, oauth.Redirect(302, "https://elsewhere.example"), "response", 302, "redirects are not followed"},
		{"the connection is cut", own, oauth.CutBefore(oauth.Token(access, 3600)), "response", 0, "closed the connection"},
		{"a certificate of an unknown CA", oauth.ServeOptions{}, oauth.Token(access, 3600), "tls", 0, "not signed by an authority that we trust"},
	}
	rcv := servertest.NewReceiver(t, ca)
	guarded(rcv, func(token string) bool { return token == access })
	s := servertest.Start(t, servertest.Options{CA: ca})
	a := s.NewApplication("Bank")
	for _, tt := range tests {
		token := oauth.StartScripted(t, tt.serve, tt.answer)
		for _, method := range []string{"basic", "body"} {
			id, _ := subscribe(t, a, rcv.URL+"/hook", map[string]any{"authentication": map[string]any{
				"authType": "oauth2", "oauth2Auth": map[string]string{
					"grantType": "client-credentials", "authenticationUrl": token.TokenURL, "clientId": client.ID,
					"clientSecret": clientSecret, "clientAuthMethod": method, "scope": "webhooks",
				},
			}})
			before := len(rcv.Received())
			got, body := trialOf(t, a, id)
			came := len(rcv.Received()) - before
			if got.Token == nil {
				t.Errorf("%s, %s: got %s, want the request for the token", tt.name, method, body)
				continue
			}
			x := got.Token
			if x.Step != tt.step || x.Request.Method != "POST" || x.Request.URL != token.TokenURL ||
				!strings.Contains(x.Request.Body, "grant_type=client_credentials") || !strings.Contains(x.Request.Body, "scope=webhooks") {
				t.Errorf("%s, %s: got %+v, want it to end at %s, and the request that was made", tt.name, method, x, tt.step)
			}
			switch {
			case tt.status == 0 && x.Response != nil, tt.status != 0 && (x.Response == nil || x.Response.Status != tt.status):
				t.Errorf("%s, %s: got the answer %+v, want the status %d", tt.name, method, x.Response, tt.status)
			}
			if method == "basic" && x.Request.Headers["Authorization"] != "Basic ***" {
				t.Errorf("%s: got the Authorization %q, want it masked", tt.name, x.Request.Headers["Authorization"])
			}
			if method == "body" && !strings.Contains(x.Request.Body, "client_secret=***") {
				t.Errorf("%s: got the body %q, want its secret masked", tt.name, x.Request.Body)
			}
			if tt.reason == "" {
				if !got.Delivered || got.Step != "response" || got.Response == nil || got.Response.Status != 204 || x.Reason != "" || came != 1 {
					t.Errorf("%s, %s: got %s and %d requests, want it delivered", tt.name, method, body, came)
				}
			} else if got.Delivered || got.Step != "token" || !strings.Contains(got.Reason, tt.reason) || !strings.Contains(x.Reason, tt.reason) ||
				got.Response != nil || came != 0 {
				t.Errorf("%s, %s: got %s and %d requests, want it to end at token with %q", tt.name, method, body, came, tt.reason)
			}
			for _, secret := range []string{clientSecret, access} {
				for form, text := range spellings(secret) {
					if strings.Contains(body, string(text)) {
						t.Errorf("%s, %s: the answer holds %q (%s)", tt.name, method, secret, form)
					}
				}
			}
			a.Call("DELETE", "/v1/subscriptions/"+id, nil).Want(t, 204)
		}
	}
}
