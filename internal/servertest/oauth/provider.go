//go:build npm

package oauth

import (
	"net/url"
	"slices"
	"strconv"
	"testing"
)

// ProviderOptions say what a Provider is. The zero value is a good start.
type ProviderOptions struct {
	Certificate *Certificate // nil: a new one
	Seconds     int          // that an access token lives; 0: 3600
	Keep        bool         // refresh tokens do not rotate
	// Scopes may be asked for; nil: "webhooks" and "receipts". Of others the
	// server takes no notice (RFC 6749 3.3), but it refuses "openid".
	Scopes []string
	// Audiences may be asked for; nil: "https://api.example.com". Others are
	// refused with invalid_target.
	Audiences []string
	// Clients are those that may ask for tokens; nil: two, as in Provider. One
	// whose Body is set and whose Basic is not is refused under Basic; every
	// other is taken either way.
	Clients []Client
}

// Provider is the certified npm library oidc-provider as a token server:
// client credentials, refresh tokens with rotation (a used one that is shown
// again revokes its whole family), opaque access tokens, introspection and
// revocation. It takes forms only.
type Provider struct {
	URL         string
	TokenURL    string
	Certificate *Certificate
	Clients     []Client
	// Basic and Body are the first two of Clients: by default one that is
	// taken either way and one that must authenticate in the body.
	Basic, Body Client

	node    *node
	inspect Client
}

// Introspection is what the server says of a token. Source: RFC 7662 2.2.
type Introspection struct {
	Active   bool   `json:"active"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Audience string `json:"aud"`
	Expiry   int64  `json:"exp"` // in seconds since 1970
}

// StartProvider starts a provider in node. It ends with the test.
func StartProvider(t testing.TB, o ProviderOptions) *Provider {
	t.Helper()
	if o.Certificate == nil {
		o.Certificate = NewCertificate(t)
	}
	if o.Seconds == 0 {
		o.Seconds = 3600
	}
	if o.Scopes == nil {
		o.Scopes = []string{"webhooks", "receipts"}
	}
	if o.Audiences == nil {
		o.Audiences = []string{"https://api.example.com"}
	}
	if o.Clients == nil {
		o.Clients = []Client{
			{ID: "basic client:1", Secret: "of the:first+/=&%41", Basic: true},
			{ID: "body-client", Secret: "of the+second/=&%41", Body: true},
		}
	}
	p := &Provider{
		Certificate: o.Certificate, Clients: o.Clients, Basic: o.Clients[0], Body: o.Clients[min(1, len(o.Clients)-1)],
		inspect: Client{ID: "the-test", Secret: "which-looks-at-every-token"},
	}
	type client struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
		Method string `json:"method"`
	}
	options := struct {
		CertFile  string   `json:"certFile"`
		KeyFile   string   `json:"keyFile"`
		TTL       int      `json:"ttl"`
		Rotate    bool     `json:"rotate"`
		Scopes    []string `json:"scopes"`
		Audiences []string `json:"audiences"`
		Clients   []client `json:"clients"`
	}{o.Certificate.CertFile, o.Certificate.KeyFile, o.Seconds, !o.Keep, o.Scopes, o.Audiences, nil}
	for _, c := range append(slices.Clone(o.Clients), p.inspect) {
		method := "client_secret_basic" // RFC 7591 2
		if c.Body && !c.Basic {
			method = "client_secret_post"
		}
		options.Clients = append(options.Clients, client{c.ID, c.Secret, method})
	}
	p.node = startNode(t, "provider.mjs", "oidc-provider", o.Certificate, options)
	p.URL, p.TokenURL = p.node.url, p.node.url+"/token"
	return p
}

// RefreshToken returns the first refresh token of a new family of a client's,
// as if a person had agreed in a browser.
func (p *Provider) RefreshToken(clientID string) string {
	p.node.t.Helper()
	var a struct{ RefreshToken string }
	p.node.ask("refresh-token", url.Values{"client": {clientID}}, &a)
	if a.RefreshToken == "" {
		p.node.t.Errorf("no refresh token came for the client %q", clientID)
	}
	return a.RefreshToken
}

// Requests returns how many token requests came, refused ones included.
func (p *Provider) Requests() int {
	p.node.t.Helper()
	var a struct{ Requests int }
	p.node.ask("requests", nil, &a)
	return a.Requests
}

// Introspect asks what a token is. Source: RFC 7662.
func (p *Provider) Introspect(token string) Introspection {
	p.node.t.Helper()
	var i Introspection
	p.node.post("/token/introspection", p.inspect, url.Values{"token": {token}}, &i)
	return i
}

// Active tells whether an access or a refresh token is good now. It may be
// called by a receiver.
func (p *Provider) Active(token string) bool {
	p.node.t.Helper()
	return p.Introspect(token).Active
}

// Revoke revokes a token as its client would; a refresh token takes its family
// with it. Source: RFC 7009.
func (p *Provider) Revoke(token string) {
	p.node.t.Helper()
	i := p.Introspect(token)
	at := slices.IndexFunc(p.Clients, func(c Client) bool { return c.ID == i.ClientID })
	if at < 0 {
		p.node.t.Error("revoke a token that is not active")
		return
	}
	p.node.post("/token/revocation", p.Clients[at], url.Values{"token": {token}}, nil)
}

// LoseAnswers lets the next n token requests take effect and cuts their
// connections before the answer.
func (p *Provider) LoseAnswers(n int) {
	p.node.t.Helper()
	p.node.ask("lose", url.Values{"answers": {strconv.Itoa(n)}}, nil)
}

// Live sets how many seconds an access token lives that is issued from now on.
func (p *Provider) Live(seconds int) {
	p.node.t.Helper()
	p.node.ask("ttl", url.Values{"seconds": {strconv.Itoa(seconds)}}, nil)
}
