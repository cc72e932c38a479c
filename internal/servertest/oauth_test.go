//go:build npm

package servertest_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

// resource is a server with a subscription whose receiver asks the provider
// about each token, as a real resource server does.
type resource struct {
	p   *oauth.Provider
	rcv *servertest.Receiver
	s   *servertest.Server
	a   *servertest.Application

	refused sync.Map // tokens that the receiver takes no more, whatever the provider says
}

func newResource(t *testing.T) *resource {
	t.Helper()
	ca := servertest.NewCA(t)
	w := &resource{p: oauth.StartProvider(t, oauth.ProviderOptions{Certificate: certificateOf(t, ca)}), rcv: servertest.NewReceiver(t, ca)}
	guarded(w.rcv, func(token string) bool {
		_, refused := w.refused.Load(token)
		return !refused && w.p.Active(token)
	})
	w.s = servertest.Start(t, servertest.Options{CA: ca})
	w.a = w.s.NewApplication("Bank")
	return w
}

// grant is an authentication by client credentials.
func (w *resource) grant(c oauth.Client, method string) map[string]any {
	return map[string]any{"authType": "oauth2", "oauth2Auth": map[string]string{
		"grantType": "client-credentials", "authenticationUrl": w.p.TokenURL, "clientId": c.ID, "clientSecret": c.Secret,
		"clientAuthMethod": method, "scope": "webhooks receipts", "audience": "https://api.example.com",
	}}
}

// last returns the token that the receiver saw last.
func (w *resource) last(t *testing.T) string {
	t.Helper()
	rs := w.rcv.Received()
	if len(rs) == 0 {
		t.Fatal("nothing came yet")
	}
	return bearer(rs[len(rs)-1])
}

// refuse makes the receiver refuse the token that it saw last. To revoke it at
// the provider would revoke its refresh token as well (RFC 7009 2.1).
func (w *resource) refuse(t *testing.T) {
	t.Helper()
	w.refused.Store(w.last(t), true)
}

// tell creates a consent and waits until the receiver has accepted its events.
func (w *resource) tell(t *testing.T, path string) {
	t.Helper()
	wantTold(t, w.rcv, path, []string{w.a.CreateConsent()})
}

// However many deliveries wait when a subscription gets its credentials, one
// token is asked for, in the way that the client must use.
func TestProvider_oneTokenForAllThatWait(t *testing.T) {
	t.Parallel()
	w := newResource(t)
	tests := []struct {
		name     string
		client   oauth.Client
		method   string
		consents int
		requests int
	}{
		{"a client by Basic, found out", w.p.Basic, "auto", 100, 1},
		{"a client in the body, found out", w.p.Body, "auto", 20, 2},
		{"a client by Basic, as configured", w.p.Basic, "basic", 20, 1},
		{"a client in the body, as configured", w.p.Body, "body", 20, 1},
		{"a client that may use either, in the body", w.p.Basic, "body", 20, 1},
	}
	for i, tt := range tests {
		w.a = w.s.NewApplication(tt.name)
		path := "/" + tt.method + string(rune('0'+i))
		nowhere := w.grant(oauth.Client{ID: "nobody", Secret: "nothing"}, tt.method)
		nowhere["oauth2Auth"].(map[string]string)["authenticationUrl"] = "https://127.0.0.1:1/token"
		id, _ := subscribe(t, w.a, w.rcv.URL+path, map[string]any{"authentication": nowhere})
		made := createConsents(t, w.a, tt.consents)
		wantHeld(t, w.a, id, 2*tt.consents)
		if m := waitFor(t, w.a, id, "held"); m.Authorisation.NextAt == "" || m.Authorisation.Reason == "" {
			t.Errorf("%s: got %+v, want why it is held and when it is tried next", tt.name, m.Authorisation)
		}

		before := w.p.Requests()
		w.a.Call("PATCH", "/v1/subscriptions/"+id, map[string]any{"authentication": w.grant(tt.client, tt.method)}).Want(t, 200)
		wantTold(t, w.rcv, path, made)
		wantFirstTime(t, w.a, id, 2*tt.consents)
		if n := w.p.Requests() - before; n != tt.requests {
			t.Errorf("%s: got %d token requests for %d consents that waited, want %d", tt.name, n, tt.consents, tt.requests)
		}
		waitFor(t, w.a, id, "authorised")
		token := w.last(t)
		got := w.p.Introspect(token)
		if !got.Active || got.ClientID != tt.client.ID || got.Scope != "webhooks receipts" || got.Audience != "https://api.example.com" {
			t.Errorf("%s: got the token %+v, want one as configured", tt.name, got)
		}

		// What was found out is remembered.
		w.p.Revoke(token)
		w.tell(t, path)
		if n := w.p.Requests() - before; n != tt.requests+1 {
			t.Errorf("%s: got %d token requests, want %d and one for the next token", tt.name, n, tt.requests)
		}
		w.a.Call("DELETE", "/v1/subscriptions/"+id, nil).Want(t, 204)
	}
}

// A token that is revoked while deliveries run is replaced once. No delivery
// fails of it.
func TestProvider_tokenRevoked(t *testing.T) {
	t.Parallel()
	w := newResource(t)
	var once sync.Once
	guarded(w.rcv, func(token string) bool {
		if len(w.rcv.Received()) > 40 {
			once.Do(func() { w.p.Revoke(token) })
		}
		return w.p.Active(token)
	})
	id, _ := subscribe(t, w.a, w.rcv.URL+"/hook", map[string]any{"authentication": w.grant(w.p.Basic, "auto")})
	made := createConsents(t, w.a, 60)
	wantTold(t, w.rcv, "/hook", made)
	wantFirstTime(t, w.a, id, 2*len(made))
	if n := w.p.Requests(); n != 2 {
		t.Errorf("got %d token requests, want the first one and the refresh", n)
	}
	waitFor(t, w.a, id, "authorised")

	// Those that were refused were sent again within their attempts, and the
	// record of one shows the refresh.
	refused, shown := map[string]bool{}, 0
	for _, r := range w.rcv.Received() {
		if r.Status == http.StatusUnauthorized {
			refused[r.ID()] = true
		}
		if n := r.Header.Get("Consentwire-Attempt"); n != "1" {
			t.Errorf("%s came as attempt %s, want 1", r.ID(), n)
		}
	}
	for _, d := range deliveries(t, w.a, id) {
		var full struct {
			Attempts []struct {
				Status int
				Token  *exchange
			}
		}
		w.a.Call("GET", "/v1/deliveries/"+d.DeliveryID, nil).Want(t, 200).Into(t, &full)
		if len(full.Attempts) != 1 || full.Attempts[0].Status != http.StatusNoContent {
			t.Errorf("%s has the attempts %+v, want one", d.DeliveryID, full.Attempts)
			continue
		}
		if x := full.Attempts[0].Token; x != nil {
			shown++
			if !refused[d.EventID] || x.Response == nil || x.Response.Status != 200 || x.Request.URL != w.p.TokenURL {
				t.Errorf("%s shows %+v, want the refresh", d.DeliveryID, x)
			}
		}
	}
	if len(refused) == 0 || shown == 0 {
		t.Errorf("%d deliveries were refused and %d show the refresh, want some", len(refused), shown)
	}
}

// A token that lives a few seconds is replaced ahead of its end: the receiver
// never sees one that is over.
func TestProvider_shortTokens(t *testing.T) {
	t.Parallel()
	w := newResource(t)
	const life = 8 * time.Second
	w.p.Live(int(life / time.Second))
	id, _ := subscribe(t, w.a, w.rcv.URL+"/hook", map[string]any{"authentication": w.grant(w.p.Basic, "auto")})
	made := 0
	servertest.Eventually(t, "the token to be replaced", func() bool {
		w.tell(t, "/hook")
		made++
		return w.p.Requests() == 2
	})
	w.tell(t, "/hook")
	wantFirstTime(t, w.a, id, 2*(made+1))
	first := map[string]time.Time{}
	var order []string
	for _, r := range w.rcv.Received() {
		if r.Status == http.StatusUnauthorized {
			t.Errorf("%s came with a token that was over", r.ID())
		}
		if _, ok := first[bearer(r)]; !ok {
			first[bearer(r)] = r.At
			order = append(order, bearer(r))
		}
	}
	if len(order) != 2 {
		t.Fatalf("got %d tokens, want 2", len(order))
	}
	if d := first[order[1]].Sub(first[order[0]]); d > life-time.Second || d < time.Second {
		t.Errorf("the token of %v was replaced after %v, want 5 s before its end", life, d)
	}

	// One that is over in three is used for a delivery, and nothing asks for
	// the next before it is needed.
	w.p.Live(3)
	w.p.Revoke(order[1])
	before := w.p.Requests()
	w.tell(t, "/hook")
	w.tell(t, "/hook")
	wantFirstTime(t, w.a, id, 2*(made+3))
	if n := w.p.Requests() - before; n < 1 || n > 5 {
		t.Errorf("got %d token requests for four deliveries and a token that was revoked, want at most 5", n)
	}
}

// A wrong client secret holds the subscription and says so; the right one
// sends what waits at once.
func TestProvider_wrongClientSecret(t *testing.T) {
	t.Parallel()
	w := newResource(t)
	wrong := w.p.Basic
	wrong.Secret = "not-the-secret"
	id, _ := subscribe(t, w.a, w.rcv.URL+"/hook", map[string]any{"authentication": w.grant(wrong, "auto")})
	made := createConsents(t, w.a, 25) // more failures than a breaker bears
	m := waitFor(t, w.a, id, "needs_reauthorisation")
	wantHeld(t, w.a, id, 2*len(made))
	x := m.Authorisation.LastExchange
	if !strings.Contains(m.Authorisation.Reason, "invalid_client") || x == nil || x.Response == nil || x.Response.Status != 401 || m.Authorisation.Since == "" {
		t.Errorf("got %+v, want invalid_client and the answer", m.Authorisation)
	}
	if n := w.p.Requests(); n > 2 {
		t.Errorf("got %d token requests, want at most one in each way", n)
	}
	if n := len(w.rcv.Received()); n != 0 {
		t.Errorf("got %d requests at the receiver, want none without a token", n)
	}

	w.a.Call("PATCH", "/v1/subscriptions/"+id, map[string]any{
		"authentication": map[string]any{"oauth2Auth": map[string]string{"clientSecret": w.p.Basic.Secret}},
	}).Want(t, 200)
	wantTold(t, w.rcv, "/hook", made)
	wantFirstTime(t, w.a, id, 2*len(made))
	if m := waitFor(t, w.a, id, "authorised"); m.Authorisation.Reason != "" || m.Authorisation.LastExchange != nil {
		t.Errorf("got %+v, want nothing of the trouble that is over", m.Authorisation)
	}
}

// refresher is an authentication by a new refresh token.
func (w *resource) refresher() map[string]any {
	return map[string]any{
		"authType": "token", "refreshToken": w.p.RefreshToken(w.p.Body.ID), "refreshUrl": w.p.TokenURL,
		"clientId": w.p.Body.ID, "clientSecret": w.p.Body.Secret,
	}
}

// Each refresh token is good for one use and the provider revokes the family
// when an old one comes again. Ours is always the newest, over restarts too.
func TestProvider_refreshTokensRotate(t *testing.T) {
	t.Parallel()
	w := newResource(t)
	id, _ := subscribe(t, w.a, w.rcv.URL+"/hook", map[string]any{"authentication": w.refresher()})
	w.tell(t, "/hook")
	const rotations = 6
	tokens := map[string]bool{w.last(t): true}
	for i := range rotations {
		if i%2 == 1 {
			w.s.Restart()
			w.tell(t, "/hook") // with the token that there was
			if n := w.p.Requests(); n != i+1 {
				t.Fatalf("got %d token requests after a restart, want %d: the token is still good", n, i+1)
			}
		}
		w.refuse(t)
		w.tell(t, "/hook")
		tokens[w.last(t)] = true
		if n := w.p.Requests(); n != i+2 {
			t.Fatalf("got %d token requests after %d rotations, want %d", n, i+1, i+2)
		}
	}
	if len(tokens) != rotations+1 {
		t.Errorf("got %d tokens, want %d", len(tokens), rotations+1)
	}
	wantFirstTime(t, w.a, id, 2*(1+rotations+rotations/2))
	waitFor(t, w.a, id, "authorised")
	if !w.p.Active(w.last(t)) {
		t.Error("the family is dead")
	}
}

// A rotation whose answer is lost cannot be made good by us: the subscription
// says so, keeps what waits, and asks for nothing more until its owner has
// acted.
func TestProvider_lostRotation(t *testing.T) {
	t.Parallel()
	w := newResource(t)
	id, _ := subscribe(t, w.a, w.rcv.URL+"/hook", map[string]any{"authentication": w.refresher()})
	w.tell(t, "/hook")

	w.p.LoseAnswers(1)
	w.refuse(t)
	made := []string{w.a.CreateConsent()}
	m := waitFor(t, w.a, id, "needs_reauthorisation")
	if !strings.Contains(m.Authorisation.Reason, "invalid_grant") || m.Authorisation.NextAt != "" {
		t.Errorf("got %+v, want invalid_grant and no next try", m.Authorisation)
	}
	asked := w.p.Requests()
	if asked != 3 {
		t.Errorf("got %d token requests, want the first, the lost one and the refused one", asked)
	}
	made = append(made, createConsents(t, w.a, 5)...)
	wantHeld(t, w.a, id, 2*len(made))
	w.s.Restart()
	made = append(made, createConsents(t, w.a, 5)...)
	wantHeld(t, w.a, id, 2*len(made))
	if m := managedOf(t, w.a, id); m.Authorisation.State != "needs_reauthorisation" || m.Backlog.Count != 2*len(made) {
		t.Errorf("got %+v after a restart, want the flag and %d that wait", m, 2*len(made))
	}
	if n := w.p.Requests(); n != asked {
		t.Errorf("got %d token requests, want no more than the %d before", n, asked)
	}

	w.a.Call("PATCH", "/v1/subscriptions/"+id, map[string]any{
		"authentication": map[string]any{"refreshToken": w.p.RefreshToken(w.p.Body.ID)},
	}).Want(t, 200)
	wantTold(t, w.rcv, "/hook", made)
	wantFirstTime(t, w.a, id, 2+2*len(made))
	if n := w.p.Requests(); n != asked+1 {
		t.Errorf("got %d token requests, want one with the new refresh token behind %d", n, asked)
	}
	waitFor(t, w.a, id, "authorised")
}

// A token request in JSON, with an audience, and a receiver that checks the
// token's signature with the key that the token server publishes.
func TestMockServer_json(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	m := oauth.StartMock(t, oauth.MockOptions{Certificate: certificateOf(t, ca)})
	behind, err := url.Parse(m.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}, DisableKeepAlives: true},
	}
	front := oauth.StartScripted(t, oauth.ServeOptions{Certificate: certificateOf(t, ca)}, proxy)
	rcv := servertest.NewReceiver(t, ca)
	guarded(rcv, func(token string) bool {
		c, err := m.Verify(token)
		return err == nil && c.ClientID == m.Client.ID && c.Scope == "webhooks"
	})
	s := servertest.Start(t, servertest.Options{CA: ca})
	a := s.NewApplication("Bank")
	id, _ := subscribe(t, a, rcv.URL+"/hook", map[string]any{"authentication": map[string]any{
		"authType": "oauth2", "oauth2Auth": map[string]string{
			"grantType": "client-credentials", "authenticationUrl": front.TokenURL, "contentType": "application-json",
			"clientId": m.Client.ID, "clientSecret": m.Client.Secret, "scope": "webhooks", "audience": "https://api.example.com",
		},
	}})
	made := createConsents(t, a, 10)
	wantTold(t, rcv, "/hook", made)
	wantFirstTime(t, a, id, 2*len(made))
	all := front.Requests()
	if len(all) != 1 {
		t.Fatalf("got %d token requests, want 1", len(all))
	}
	q := all[0]
	if q.Basic || q.JSON == nil || q.Header.Get("Content-Type") != "application/json" || q.Header.Get("Accept") != "application/json" {
		t.Errorf("got %s with the fields %v, want JSON and nothing by Basic", q.Body, q.Header)
	}
	for name, want := range map[string]string{
		"grant_type": "client_credentials", "client_id": m.Client.ID, "client_secret": m.Client.Secret,
		"scope": "webhooks", "audience": "https://api.example.com",
	} {
		if got := q.Param(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
}
