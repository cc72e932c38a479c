package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/oidc"
	"github.com/consentwire/consentwire/internal/secret"
)

const (
	clientID = "consentwire"
	password = "a secret/with: marks"
)

// idp is an OpenID provider over real HTTP that signs in whoever comes, after
// edit had its way.
type idp struct {
	*httptest.Server
	key     *rsa.PrivateKey
	methods []string // token_endpoint_auth_methods_supported; nil: not said

	mu        sync.Mutex
	down      bool
	challenge string // of the code
	claims    map[string]any
	sign      *rsa.PrivateKey
	asked     int // for tokens
}

func newIDP(t *testing.T, methods ...string) *idp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{key: key, sign: key, methods: methods}
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client may have gone
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		m := map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		}
		if p.methods != nil {
			m["token_endpoint_auth_methods_supported"] = p.methods
		}
		write(w, m)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		id, pass, basic := r.BasicAuth()
		if basic {
			pass, _ = url.QueryUnescape(pass) // RFC 6749, 2.3.1
		} else {
			id, pass = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
		}
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		switch {
		case basic != (len(p.methods) == 0), id != clientID, pass != password, r.PostFormValue("code") != "code-1", r.PostFormValue("grant_type") != "authorization_code",
			base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge:
			w.WriteHeader(http.StatusBadRequest)
			write(w, map[string]string{"error": "invalid_grant"})
			return
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.sign, KeyID: "k"}}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		text, _ := json.Marshal(p.claims)
		sig, err := s.Sign(text)
		if err != nil {
			t.Error(err)
			return
		}
		token, _ := sig.CompactSerialize()
		write(w, map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": token})
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// provider returns us, as a client of the provider.
func provider(t *testing.T, p *idp, private bool) *oidc.Provider {
	t.Helper()
	policy := egress.Policy{AllowHTTP: true}
	if private {
		policy.Allow = []string{"127.0.0.0/8"}
	}
	g, err := egress.NewGuard(policy)
	if err != nil {
		t.Fatal(err)
	}
	c, err := egress.New(egress.Options{Guard: g})
	if err != nil {
		t.Fatal(err)
	}
	return oidc.New(oidc.Options{
		Issuer: p.URL, ClientID: clientID, Secret: secret.New(password), Name: "Test", Client: c, Guard: g,
		Callback: func() string { return "https://consent.example/portal/sign-in/callback" },
	})
}

// begin begins a sign-in and plays the browser up to where the provider leads back.
func (p *idp) begin(t *testing.T, o *oidc.Provider) (kept string, back url.Values) {
	t.Helper()
	address, kept, err := o.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(address, p.URL+"/auth?") || q.Get("redirect_uri") != "https://consent.example/portal/sign-in/callback" || q.Get("code_challenge_method") != "S256" ||
		q.Get("response_type") != "code" || q.Get("client_id") != clientID || q.Get("scope") != "openid email profile" || len(q.Get("state")) < 20 || len(q.Get("nonce")) < 20 {
		t.Errorf("got %s", address)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.challenge, p.sign = q.Get("code_challenge"), p.key
	p.claims = map[string]any{
		"iss": p.URL, "sub": "1", "aud": clientID, "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix(),
		"nonce": q.Get("nonce"), "email": "ana@example.org", "email_verified": true, "name": "Ana",
	}
	return kept, url.Values{"code": {"code-1"}, "state": {q.Get("state")}}
}

func TestProvider(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		edit func(p *idp, kept *string, back url.Values)
		want string // the error's code; empty: none
	}{
		{"as it should be", func(*idp, *string, url.Values) {}, ""},
		{"with the issuer beside the code", func(p *idp, _ *string, back url.Values) { back.Set("iss", p.URL) }, ""},
		{"of another issuer", func(_ *idp, _ *string, back url.Values) { back.Set("iss", "https://other.example") }, "sign_in_mixed_up"},
		{"of another browser", func(_ *idp, kept *string, _ url.Values) { *kept = "a.b.c" }, "sign_in_mixed_up"},
		{"of a browser that kept nothing", func(_ *idp, kept *string, back url.Values) { *kept = ""; back.Del("state") }, "sign_in_mixed_up"},
		{"refused", func(_ *idp, _ *string, back url.Values) { back.Del("code"); back.Set("error", "access_denied") }, "sign_in_refused"},
		{"with another code", func(_ *idp, _ *string, back url.Values) { back.Set("code", "code-2") }, "provider_unreachable"},
		{"with another nonce", func(p *idp, _ *string, _ url.Values) { p.claims["nonce"] = "x" }, "sign_in_mixed_up"},
		{"for another client", func(p *idp, _ *string, _ url.Values) { p.claims["aud"] = "other" }, "provider_unreachable"},
		{"by another issuer's token", func(p *idp, _ *string, _ url.Values) { p.claims["iss"] = "https://other.example" }, "provider_unreachable"},
		{"too late", func(p *idp, _ *string, _ url.Values) { p.claims["exp"] = time.Now().Add(-time.Hour).Unix() }, "provider_unreachable"},
		{"by another key", func(p *idp, _ *string, _ url.Values) { p.sign = other }, "provider_unreachable"},
		{"with an address that is not verified", func(p *idp, _ *string, _ url.Values) { p.claims["email_verified"] = false }, "email_not_verified"},
		{"with an address of which that is not said", func(p *idp, _ *string, _ url.Values) { delete(p.claims, "email_verified") }, "email_not_verified"},
		{"without an address", func(p *idp, _ *string, _ url.Values) { delete(p.claims, "email") }, "email_not_verified"},
	}
	for _, methods := range [][]string{nil, {"client_secret_post", "private_key_jwt"}} {
		p := newIDP(t, methods...)
		o := provider(t, p, true)
		for _, tt := range tests {
			kept, back := p.begin(t, o)
			tt.edit(p, &kept, back)
			email, name, err := o.Finish(t.Context(), kept, back)
			if tt.want == "" {
				if err != nil || email != "ana@example.org" || name != "Ana" {
					t.Errorf("%s (%v): got %q, %q, %v", tt.name, methods, email, name, err)
				}
				continue
			}
			if e, ok := err.(*fault.Error); !ok || e.Code != tt.want || email != "" { //nolint:errorlint // it must be the outermost
				t.Errorf("%s (%v): got %q, %v, want %s", tt.name, methods, email, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("%s: the error holds the secret", tt.name)
			}
		}
	}
}

// TestProvider_down: the provider may be down when we start, and later.
func TestProvider_down(t *testing.T) {
	t.Parallel()
	p := newIDP(t)
	o := provider(t, p, true)
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	if _, _, err := o.Begin(t.Context()); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	p.mu.Lock()
	p.down = false
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	if _, _, err := o.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	cancel() // the one that found the provider is gone
	kept, back := p.begin(t, o)
	if email, _, err := o.Finish(t.Context(), kept, back); err != nil || email == "" {
		t.Errorf("got %q, %v", email, err)
	}
	kept, back = p.begin(t, o)
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	if _, _, err := o.Finish(t.Context(), kept, back); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}

// TestProvider_egress: a provider at an address that is not public is not dialled
// unless a setting allows it.
func TestProvider_egress(t *testing.T) {
	t.Parallel()
	p := newIDP(t)
	if _, _, err := provider(t, p, false).Begin(t.Context()); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}
