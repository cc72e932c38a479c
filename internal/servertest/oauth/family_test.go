package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

const as = "https://as.example/token"

func refreshWith(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// call asks an API with a bearer.
func call(c *client, address, token string) answer {
	c.t.Helper()
	req := c.request(c.t.Context(), address, nil, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	return c.send(req)
}

func TestFamily(t *testing.T) {
	t.Parallel()
	f := oauth.NewFamily("f")
	f.Seconds = 60
	c, api := direct(t, f), direct(t, f.Guard(oauth.Answer{Status: http.StatusNoContent}))
	first := f.Refresh()
	one := c.post(as, nil, refreshWith(first))
	two := c.post(as, nil, refreshWith(one.Refresh))
	if one.Seconds != 60 || one.Refresh == first || one.Token == two.Token || two.Refresh != f.Refresh() || two.Token != f.Access() || f.Rotations() != 2 {
		t.Errorf("got %+v, then %+v, want two rotations", one, two)
	}
	if a := call(api, as, two.Token); a.Status != http.StatusNoContent {
		t.Errorf("the API said %d, want 204", a.Status)
	}
	f.Revoke()
	if a := call(api, as, two.Token); a.Status != http.StatusUnauthorized || !strings.Contains(a.Header.Get("Www-Authenticate"), "invalid_token") {
		t.Errorf("the API said %d to a revoked token, want 401 invalid_token", a.Status)
	}
	three := c.post(as, nil, refreshWith(two.Refresh))
	if a := call(api, as, three.Token); a.Status != http.StatusNoContent {
		t.Errorf("the API said %d to a new token, want 204", a.Status)
	}
	if a := c.post(as, nil, refreshWith("made up")); a.Status != 400 || a.Code != "invalid_grant" || f.Dead() {
		t.Errorf("made up: got %d %q and dead %v, want 400 invalid_grant and alive", a.Status, a.Code, f.Dead())
	}
	if a := c.post(as, nil, refreshWith(one.Refresh)); a.Code != "invalid_grant" || !f.Dead() {
		t.Errorf("reuse: got %q and dead %v, want invalid_grant and dead", a.Code, f.Dead())
	}
	if a := c.post(as, nil, refreshWith(three.Refresh)); a.Code != "invalid_grant" {
		t.Errorf("the newest of a dead family: got %q, want invalid_grant", a.Code)
	}
	if a := call(api, as, three.Token); a.Status != http.StatusUnauthorized {
		t.Errorf("the API said %d to a dead family's token, want 401", a.Status)
	}
	if a := c.post(as, nil, url.Values{"grant_type": {"client_credentials"}}); a.Code != "unsupported_grant_type" {
		t.Errorf("got %q, want unsupported_grant_type", a.Code)
	}
}

func TestFamily_lostAnswer(t *testing.T) {
	t.Parallel()
	for _, grace := range []bool{false, true} {
		f := oauth.NewFamily("f")
		f.Grace = grace
		first := f.Refresh()
		c := direct(t, oauth.NewScript(oauth.CutBefore(f), f))
		if a := c.post(as, nil, refreshWith(first)); a.Err == nil {
			t.Errorf("got %d, want no answer", a.Status)
		}
		a := c.post(as, nil, refreshWith(first))
		if good := a.Refresh != "" && a.Refresh == f.Refresh(); good != grace || f.Dead() == grace {
			t.Errorf("grace %v: got %d %q and dead %v", grace, a.Status, a.Code, f.Dead())
		}
		if !grace {
			continue
		}
		c.post(as, nil, refreshWith(a.Refresh)) // now the first is really used up
		if a := c.post(as, nil, refreshWith(first)); a.Code != "invalid_grant" || !f.Dead() {
			t.Errorf("got %q and dead %v after the newest was used, want invalid_grant and dead", a.Code, f.Dead())
		}
	}
}

func TestFamily_keeps(t *testing.T) {
	t.Parallel()
	f := oauth.NewFamily("f")
	f.Keep = true
	c := direct(t, f)
	for range 3 {
		if a := c.post(as, nil, refreshWith(f.Refresh())); a.Token == "" || a.Refresh != "" || strings.Contains(string(a.Body), "expires_in") {
			t.Errorf("got %s, want an access token alone", a.Body)
		}
	}
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	i := &oauth.Issuer{Prefix: "t", Seconds: 9}
	c, api := direct(t, i), direct(t, i.Guard(oauth.Answer{}))
	one := c.post(as, nil, nil)
	i.Revoke()
	two := c.post(as, nil, nil)
	if one.Token != "t-1" || two.Token != "t-2" || one.Seconds != 9 || len(i.Issued()) != 2 {
		t.Errorf("got %q and %q, want t-1 and t-2", one.Token, two.Token)
	}
	for token, want := range map[string]int{one.Token: 401, two.Token: 200, "t-3": 401, "": 401} {
		if a := call(api, as, token); a.Status != want || i.Valid(token) != (want == 200) {
			t.Errorf("%q: got %d, want %d", token, a.Status, want)
		}
	}
}

func TestSalesforce(t *testing.T) {
	t.Parallel()
	s := &oauth.Salesforce{ClientID: "3MVG9consumer", ClientSecret: "secret", Rotate: true}
	srv := oauth.Serve(t, s.Handler(), oauth.ServeOptions{})
	c := newClient(t, srv.Certificate)
	tokens, api := srv.URL+oauth.SalesforceTokenPath, srv.URL+"/services/apexrest/MyLifeDigital/EffectivePermissions"
	ask := func(pairs ...string) url.Values {
		v := refreshWith(s.Refresh())
		v.Set("client_id", s.ClientID)
		v.Set("client_secret", s.ClientSecret)
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
			if pairs[i+1] == "" {
				v.Del(pairs[i])
			}
		}
		return v
	}
	first := s.Refresh()
	for _, tt := range []struct {
		name string
		got  answer
		code string
	}{
		{"no client_id", c.post(tokens, nil, ask("client_id", "")), "invalid_client_id"},
		{"a wrong secret", c.post(tokens, nil, ask("client_secret", "x")), "invalid_client"},
		{"by Basic", c.post(tokens, &oauth.Client{ID: s.ClientID, Secret: s.ClientSecret}, ask("client_id", "", "client_secret", "")), "invalid_client_id"},
		{"another grant", c.post(tokens, nil, ask("grant_type", "client_credentials")), "unsupported_grant_type"},
		{"a wrong refresh token", c.post(tokens, nil, ask("refresh_token", "x")), "invalid_grant"},
		{"JSON", c.postJSON(tokens, map[string]string{
			"grant_type": "refresh_token", "refresh_token": first, "client_id": s.ClientID, "client_secret": s.ClientSecret,
		}), "unsupported_grant_type"},
	} {
		if tt.got.Status != 400 || tt.got.Code != tt.code || tt.got.Token != "" {
			t.Errorf("%s: got %d %q, want 400 %s", tt.name, tt.got.Status, tt.got.Code, tt.code)
		}
	}
	const expired = `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`
	if a := call(c, api, ""); a.Status != 401 || string(a.Body) != expired {
		t.Errorf("got %d %s, want 401 %s", a.Status, a.Body, expired)
	}
	one := c.post(tokens, nil, ask())
	if !strings.Contains(one.Token, "!") || one.Refresh == first || one.Refresh != s.Refresh() || one.Token != s.Access() {
		t.Fatalf("got %+v, want a token and a new refresh token", one)
	}
	for _, part := range []string{`"instance_url":"https://other.my.salesforce.com"`, `"id":"https://login.salesforce.com/id/`, `"issued_at":"1`, `"signature":"`} {
		if !strings.Contains(string(one.Body), part) {
			t.Errorf("got %s, want %s", one.Body, part)
		}
	}
	if strings.Contains(string(one.Body), "expires_in") {
		t.Errorf("got %s, want no expires_in", one.Body)
	}
	if a := call(c, api, one.Token); a.Status != 200 {
		t.Errorf("got %d %s, want 200", a.Status, a.Body)
	}
	if a := c.post(tokens, nil, ask("refresh_token", first)); a.Code != "invalid_grant" {
		t.Errorf("the old refresh token: got %d %q, want invalid_grant", a.Status, a.Code)
	}
	s.Expire()
	if a := call(c, api, one.Token); a.Status != 401 || string(a.Body) != expired {
		t.Errorf("expired: got %d %s, want 401 %s", a.Status, a.Body, expired)
	}
	two := c.post(tokens, nil, ask())
	for token, want := range map[string]int{one.Token: 401, two.Token: 200} {
		if a := call(c, api, token); a.Status != want {
			t.Errorf("got %d, want %d", a.Status, want)
		}
	}
	s.Lock(true)
	if a := call(c, api, two.Token); a.Status != 401 {
		t.Errorf("locked: got %d, want 401", a.Status)
	}
	s.Lock(false)
	s.Answer = oauth.Answer{Status: http.StatusServiceUnavailable}
	if a := call(c, api, two.Token); a.Status != 503 {
		t.Errorf("got %d, want what it was told to answer", a.Status)
	}
	if n, m := len(s.TokenRequests()), len(s.Deliveries()); n != 9 || m != 7 {
		t.Errorf("it remembers %d token requests and %d deliveries, want 9 and 7", n, m)
	}
}

func TestSalesforce_withoutRotation(t *testing.T) {
	t.Parallel()
	s := &oauth.Salesforce{}
	c := direct(t, s.Token())
	for range 3 {
		if a := c.post(as, nil, refreshWith(s.Refresh())); a.Token == "" || a.Refresh != "" {
			t.Errorf("got %s, want an access token alone", a.Body)
		}
	}
}
