//go:build npm

package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest/oauth"
)

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// inBody adds a client to a form.
func inBody(c oauth.Client, v url.Values) url.Values {
	v.Set("client_id", c.ID)
	v.Set("client_secret", c.Secret)
	return v
}

func TestProvider_startsQuickly(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	oauth.StartProvider(t, oauth.ProviderOptions{})
	took := time.Since(begin)
	t.Logf("ready after %v", took)
	if took > 10*time.Second {
		t.Errorf("it took %v, want far less", took)
	}
}

func TestProvider_clientCredentials(t *testing.T) {
	t.Parallel()
	p := oauth.StartProvider(t, oauth.ProviderOptions{Seconds: 77})
	c := newClient(t, p.Certificate)
	ask := func(scope, audience string) url.Values {
		v := form("grant_type", "client_credentials")
		if scope != "" {
			v.Set("scope", scope)
		}
		if audience != "" {
			v.Set("audience", audience)
		}
		return v
	}
	wrong := func(c oauth.Client) *oauth.Client {
		c.Secret += "x"
		return &c
	}
	tests := []struct {
		name   string
		basic  *oauth.Client
		form   url.Values
		status int
		code   string
		want   oauth.Introspection
	}{
		{"by Basic", &p.Basic, ask("", ""), 200, "", oauth.Introspection{ClientID: p.Basic.ID}},
		{"by Basic with a scope", &p.Basic, ask("webhooks", ""), 200, "", oauth.Introspection{ClientID: p.Basic.ID, Scope: "webhooks"}},
		{
			"by Basic with two scopes and an audience", &p.Basic, ask("webhooks receipts", "https://api.example.com"), 200, "",
			oauth.Introspection{ClientID: p.Basic.ID, Scope: "webhooks receipts", Audience: "https://api.example.com"},
		},
		{"in the body", nil, inBody(p.Body, ask("", "")), 200, "", oauth.Introspection{ClientID: p.Body.ID}},
		{"by Basic with a wrong secret", wrong(p.Basic), ask("", ""), 401, "invalid_client", oauth.Introspection{}},
		{"in the body with a wrong secret", nil, inBody(*wrong(p.Body), ask("", "")), 401, "invalid_client", oauth.Introspection{}},
		{"by Basic where the body is wanted", &p.Body, ask("", ""), 401, "invalid_client", oauth.Introspection{}},
		{"both ways at once", &p.Basic, inBody(p.Basic, ask("", "")), 400, "invalid_request", oauth.Introspection{}},
		{"no client", nil, ask("", ""), 400, "invalid_request", oauth.Introspection{}},
		{"an unknown scope", &p.Basic, ask("everything", ""), 200, "", oauth.Introspection{ClientID: p.Basic.ID}},
		{"a scope that the client may not have", &p.Basic, ask("openid", ""), 400, "invalid_scope", oauth.Introspection{}},
		{"an unknown audience", &p.Basic, ask("webhooks", "https://elsewhere.example"), 400, "invalid_target", oauth.Introspection{}},
	}
	for _, tt := range tests {
		before := p.Requests()
		a := c.post(p.TokenURL, tt.basic, tt.form)
		if a.Status != tt.status || a.Code != tt.code {
			t.Errorf("%s: got %d %q, want %d %q", tt.name, a.Status, a.Code, tt.status, tt.code)
		}
		if n := p.Requests() - before; n != 1 {
			t.Errorf("%s: it counted %d requests, want 1", tt.name, n)
		}
		if tt.status != http.StatusOK {
			if a.Token != "" {
				t.Errorf("%s: a token came beside the error", tt.name)
			}
			continue
		}
		if !strings.EqualFold(a.Type, "bearer") || a.Seconds != 77 {
			t.Errorf("%s: got type %q and %d s, want Bearer and 77", tt.name, a.Type, a.Seconds)
		}
		got := p.Introspect(a.Token)
		if !got.Active || time.Until(time.Unix(got.Expiry, 0)) > 78*time.Second {
			t.Errorf("%s: got %+v, want an active token of 77 s", tt.name, got)
		}
		got.Active, got.Expiry = false, 0
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		p.Revoke(a.Token)
		if p.Active(a.Token) {
			t.Errorf("%s: the token is active although it was revoked", tt.name)
		}
	}
	if p.Active("made-up") {
		t.Error("a made-up token is active")
	}
}

func TestProvider_rotatesAndRevokesTheFamilyOnReuse(t *testing.T) {
	t.Parallel()
	p := oauth.StartProvider(t, oauth.ProviderOptions{})
	c := newClient(t, p.Certificate)
	refresh := func(token string) answer {
		return c.post(p.TokenURL, nil, inBody(p.Body, form("grant_type", "refresh_token", "refresh_token", token)))
	}
	first := p.RefreshToken(p.Body.ID)
	bystander := refresh(p.RefreshToken(p.Body.ID))
	one := refresh(first)
	two := refresh(one.Refresh)
	for _, a := range []answer{one, two} {
		if a.Status != 200 || a.Refresh == "" || a.Refresh == first || !p.Active(a.Token) {
			t.Fatalf("got %+v, want an active token and a new refresh token", a)
		}
	}
	if one.Refresh == two.Refresh || one.Token == two.Token {
		t.Errorf("got the same tokens twice: %+v, %+v", one, two)
	}
	if a := refresh(first); a.Status != 400 || a.Code != "invalid_grant" {
		t.Errorf("reuse: got %d %q, want 400 invalid_grant", a.Status, a.Code)
	}
	if a := refresh(two.Refresh); a.Status != 400 || a.Code != "invalid_grant" {
		t.Errorf("the newest after a reuse: got %d %q, want 400 invalid_grant", a.Status, a.Code)
	}
	if p.Active(one.Token) || p.Active(two.Token) {
		t.Error("the family's access tokens live after a reuse")
	}
	if !p.Active(bystander.Token) {
		t.Error("another family died with it")
	}
	if a := c.post(p.TokenURL, &p.Basic, form("grant_type", "refresh_token", "refresh_token", bystander.Refresh)); a.Code != "invalid_grant" {
		t.Errorf("another client's refresh token: got %d %q, want invalid_grant", a.Status, a.Code)
	}
}

func TestProvider_keeps(t *testing.T) {
	t.Parallel()
	p := oauth.StartProvider(t, oauth.ProviderOptions{Keep: true})
	c := newClient(t, p.Certificate)
	token := p.RefreshToken(p.Basic.ID)
	for range 3 {
		a := c.post(p.TokenURL, &p.Basic, form("grant_type", "refresh_token", "refresh_token", token))
		if a.Status != 200 || a.Refresh != "" && a.Refresh != token {
			t.Errorf("got %d and the refresh token %q, want 200 and the one there was", a.Status, a.Refresh)
		}
	}
}

func TestProvider_losesAnswers(t *testing.T) {
	t.Parallel()
	p := oauth.StartProvider(t, oauth.ProviderOptions{})
	c := newClient(t, p.Certificate)
	token := p.RefreshToken(p.Basic.ID)
	ask := form("grant_type", "refresh_token", "refresh_token", token)
	p.LoseAnswers(1)
	if a := c.post(p.TokenURL, &p.Basic, ask); a.Err == nil {
		t.Fatalf("got %d, want no answer", a.Status)
	}
	// The server has rotated, which the client could not know.
	if a := c.post(p.TokenURL, &p.Basic, ask); a.Code != "invalid_grant" {
		t.Errorf("got %d %q, want invalid_grant", a.Status, a.Code)
	}
	if n := p.Requests(); n != 2 {
		t.Errorf("it counted %d requests, want 2", n)
	}
}

func TestProvider_tokensExpire(t *testing.T) {
	t.Parallel()
	p := oauth.StartProvider(t, oauth.ProviderOptions{})
	c := newClient(t, p.Certificate)
	p.Live(1)
	a := c.post(p.TokenURL, &p.Basic, form("grant_type", "client_credentials"))
	if a.Seconds != 1 || a.Token == "" {
		t.Fatalf("got %+v, want a token of 1 s", a)
	}
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for p.Active(a.Token) {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatal("the token of 1 s is active after 10 s")
		}
	}
}

func TestProvider_revokesTheFamilyOfARefreshToken(t *testing.T) {
	t.Parallel()
	p := oauth.StartProvider(t, oauth.ProviderOptions{})
	c := newClient(t, p.Certificate)
	a := c.post(p.TokenURL, &p.Basic, form("grant_type", "refresh_token", "refresh_token", p.RefreshToken(p.Basic.ID)))
	if !p.Active(a.Token) || !p.Active(a.Refresh) {
		t.Fatalf("got %+v, want both active", a)
	}
	p.Revoke(a.Refresh)
	if p.Active(a.Token) || p.Active(a.Refresh) {
		t.Error("the family lives after its refresh token was revoked")
	}
}

func TestMock(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	m := oauth.StartMock(t, oauth.MockOptions{})
	t.Logf("ready after %v", time.Since(begin))
	c := newClient(t, m.Certificate)
	ask := form("grant_type", "client_credentials", "scope", "a b")
	wrong := m.Client
	wrong.Secret = "x"
	for _, tt := range []struct {
		name string
		got  answer
		good bool
	}{
		{"by Basic", c.post(m.TokenURL, &m.Client, ask), true},
		{"in the body", c.post(m.TokenURL, nil, inBody(m.Client, form("grant_type", "client_credentials", "scope", "a b"))), true},
		{"as JSON", c.postJSON(m.TokenURL, map[string]string{
			"grant_type": "client_credentials", "client_id": m.Client.ID, "client_secret": m.Client.Secret, "scope": "a b",
		}), true},
		{"a wrong secret", c.post(m.TokenURL, &wrong, ask), false},
		{"no client", c.post(m.TokenURL, nil, ask), false},
	} {
		if !tt.good {
			if tt.got.Status != 401 || tt.got.Code != "invalid_client" || tt.got.Token != "" {
				t.Errorf("%s: got %+v, want 401 invalid_client", tt.name, tt.got)
			}
			continue
		}
		claims, err := m.Verify(tt.got.Token)
		if err != nil || claims.ClientID != m.Client.ID || claims.Scope != "a b" || claims.Issuer != m.URL {
			t.Errorf("%s: got %d and the claims %+v (%v), want those of %q", tt.name, tt.got.Status, claims, err, m.Client.ID)
		}
		head, _, _ := strings.Cut(tt.got.Token, ".")
		if _, err := m.Verify(head + ".e30." + tt.got.Token[strings.LastIndex(tt.got.Token, ".")+1:]); err == nil {
			t.Errorf("%s: a forged token passes", tt.name)
		}
	}
	if n := m.Requests(); n != 5 {
		t.Errorf("it counted %d requests, want 5", n)
	}
}
