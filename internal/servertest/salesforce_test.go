package servertest_test

import (
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

// org is a Salesforce and a server with a subscription of it.
type org struct {
	sf *oauth.Salesforce
	s  *servertest.Server
	a  *servertest.Application
	id string
}

// newOrg updates a subscription as the source's example does: only host,
// tokens and client are the reader's own.
func newOrg(t *testing.T, sf *oauth.Salesforce, members map[string]any) *org {
	t.Helper()
	ca := servertest.NewCA(t)
	srv := oauth.Serve(t, sf.Handler(), oauth.ServeOptions{Certificate: certificateOf(t, ca)})
	w := &org{sf: sf, s: servertest.Start(t, servertest.Options{CA: ca})}
	w.a = w.s.NewApplication("Charity")
	w.id, _ = subscribe(t, w.a, "https://127.0.0.1:1/", nil)
	body := map[string]any{
		"name": "Salesforce", "url": srv.URL + oauth.SalesforceAPIPath, "updateType": "consent-receipts", "eventTypes": lifecycle,
		"authentication": map[string]string{
			"authType": "token", "refreshToken": sf.Refresh(), "refreshUrl": srv.URL + oauth.SalesforceTokenPath,
			"clientId": sf.ClientID, "clientSecret": sf.ClientSecret,
		},
	}
	for k, v := range members {
		body[k] = v
	}
	w.a.Call("PUT", "/v1/subscriptions/"+w.id, body).Want(t, 200)
	return w
}

// came returns what came to the Apex class.
func (w *org) came() []servertest.Received {
	var out []servertest.Received
	for _, r := range w.sf.Deliveries() {
		out = append(out, servertest.Received{N: r.N, At: r.At, Method: r.Method, Path: r.Path, Header: r.Header, Body: r.Body})
	}
	return out
}

// A session ends in the middle of a run, which only a 401 tells, and each
// refresh token is good for one use. Where the answer says that the instance
// is, nobody asks.
func TestSalesforce(t *testing.T) {
	t.Parallel()
	elsewhere := oauth.StartScripted(t, oauth.ServeOptions{}, oauth.Answer{})
	sf := &oauth.Salesforce{ClientID: "3MVG9.consumer", ClientSecret: "hunter2-consumer", Rotate: true, Instance: elsewhere.URL}
	var taken atomic.Int32
	sf.Answer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := taken.Add(1); n == 15 || n == 75 {
			sf.Expire()
		}
		oauth.Answer{Body: `{"success":true}`}.ServeHTTP(w, r)
	})
	w := newOrg(t, sf, nil)
	made := createConsents(t, w.a, 30)
	wantFirstTime(t, w.a, w.id, 2*len(made))
	made = append(made, createConsents(t, w.a, 30)...) // else one attempt could meet both ends, and fail
	wantFirstTime(t, w.a, w.id, 2*len(made))
	wantOrder(t, w.came())
	waitFor(t, w.a, w.id, "authorised")

	all := sf.TokenRequests()
	if len(all) != 3 {
		t.Errorf("got %d token requests, want one and one for each session that ended", len(all))
	}
	for i, r := range all {
		if r.Basic || r.Param("grant_type") != "refresh_token" || r.Param("client_id") != sf.ClientID ||
			!strings.HasSuffix(r.Param("refresh_token"), "."+string(rune('0'+i))) {
			t.Errorf("token request %d: got %s, want the newest refresh token in the body", i, r.Body)
		}
	}
	refused := 0
	for _, d := range deliveries(t, w.a, w.id) {
		var full struct {
			Attempts []struct{ Token *exchange }
		}
		r := w.a.Call("GET", "/v1/deliveries/"+d.DeliveryID, nil).Want(t, 200)
		r.Into(t, &full)
		for _, a := range full.Attempts {
			if a.Token != nil {
				refused++
			}
		}
		if strings.Contains(string(r.Body), "5Aep861") || strings.Contains(string(r.Body), "00D5g000004XyZ1!") {
			t.Errorf("the record shows a token: %s", r.Body)
		}
	}
	if refused == 0 {
		t.Error("no delivery's record shows the refresh")
	}

	// Nothing says that the session is over, so it is used over a restart.
	w.s.Restart()
	w.a.CreateConsent()
	wantFirstTime(t, w.a, w.id, 2*len(made)+2)
	if n := len(sf.TokenRequests()); n != len(all) {
		t.Errorf("got %d token requests after a restart, want no more than %d", n, len(all))
	}
	if n := elsewhere.Count(); n != 0 {
		t.Errorf("got %d requests where instance_url points to, want none", n)
	}
}

// Whoever refuses every token, a fresh one as well, means something else. That
// is a failed delivery, retried by its schedule, and no reason to ask for
// tokens without end.
func TestSalesforce_refusesEveryToken(t *testing.T) {
	t.Parallel()
	sf := &oauth.Salesforce{ClientID: "3MVG9.consumer", ClientSecret: "hunter2-consumer", Rotate: true}
	w := newOrg(t, sf, map[string]any{"retrySchedule": []string{
		"50ms", "50ms", "50ms", "50ms", "50ms", "50ms", "50ms", "50ms", "500ms", "500ms", "500ms", "500ms", "500ms", "500ms", "500ms", "500ms", "1s", "1s", "1s", "1s",
	}})
	sf.Lock(true)
	begin := time.Now()
	made := createConsents(t, w.a, 6)
	servertest.Eventually(t, "every consent to be refused some times", func() bool {
		tried := 0
		for _, d := range deliveries(t, w.a, w.id) {
			if d.Status == "retrying" && d.AttemptCount >= 6 {
				tried++
			}
		}
		return tried == len(made)
	})
	// Three may be refused at once, and others are on their way meanwhile; then
	// the waits are 1, 2, 4, … seconds.
	asked := len(sf.TokenRequests())
	if most := 6 + int(math.Log2(1+time.Since(begin).Seconds())); asked < 2 || asked > most {
		t.Errorf("got %d token requests in %v for %d deliveries that were refused, want from 2 to %d", asked, time.Since(begin), len(sf.Deliveries()), most)
	}
	for _, d := range deliveries(t, w.a, w.id) {
		if d.Status == "held" {
			t.Errorf("%s is held (%s), want it retried by its schedule", d.DeliveryID, d.Reason)
		}
	}
	if m := managedOf(t, w.a, w.id); m.Authorisation.State != "authorised" {
		t.Errorf("got %+v, want authorised: tokens are to be had", m.Authorisation)
	}

	sf.Lock(false)
	servertest.Eventually(t, "all to be delivered", func() bool {
		n := 0
		for _, d := range deliveries(t, w.a, w.id) {
			if d.Status == "delivered" {
				n++
			}
		}
		return n == 2*len(made)
	})
	wantOrder(t, w.came())
}
