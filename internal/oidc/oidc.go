// Package oidc signs people in to the portal by an OpenID Connect provider: the
// authorization code flow with PKCE, state and nonce.
//
// Sources: OpenID Connect Core 1.0, 3.1; RFC 7636 (PKCE); RFC 9207 (iss). The
// checks of an ID token are go-oidc's. Every request goes by egress, so that the
// rules for what may be dialled hold for the provider too.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

// The bounds of a conversation with a provider. Ours.
const (
	within    = 10 * time.Second // one request
	maxAnswer = 1 << 20          // bytes of one answer
)

// Options say which provider, and who we are there.
type Options struct {
	Issuer   string // its URL, as the provider writes it in its tokens
	ClientID string
	Secret   secret.Value // unset: a public client
	Name     string       // for people, e.g. "Keycloak"
	Client   *egress.Client
	Guard    *egress.Guard
	Callback func() string // the URL that the provider leads back to
}

// Provider is an OpenID Connect provider. It is asked for its configuration when
// somebody signs in first. Make one with New.
type Provider struct {
	o Options

	mu    sync.Mutex
	found *found
}

// found is what the provider's configuration says.
type found struct {
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
}

// New returns a provider that was not asked for anything yet.
func New(o Options) *Provider { return &Provider{o: o} }

// Name is the provider's for people.
func (p *Provider) Name() string { return p.o.Name }

// lend returns a context in which the libraries send by egress.
func (p *Provider) lend(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.o.Client.Lend(p.o.Guard, within, maxAnswer))
}

// discover asks the provider for its configuration, unless it is known.
func (p *Provider) discover(ctx context.Context) (*found, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	// The keys are fetched by this context as long as we live.
	ctx = p.lend(context.WithoutCancel(ctx))
	provider, err := oidc.NewProvider(ctx, p.o.Issuer)
	if err != nil {
		return nil, unreachable(err)
	}
	var more struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, unreachable(err)
	}
	at := provider.Endpoint()
	// Without a word it is basic: OpenID Connect Discovery 1.0, 3. A code works
	// once, so there is no trying.
	at.AuthStyle = oauth2.AuthStyleInHeader
	if !p.o.Secret.IsSet() || len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic") {
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	p.found = &found{
		config: oauth2.Config{
			ClientID: p.o.ClientID, ClientSecret: p.o.Secret.Reveal(), Endpoint: at, RedirectURL: p.o.Callback(),
			Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: p.o.ClientID}),
	}
	return p.found, nil
}

// Begin starts a sign-in: it returns where to send the browser, and what is to
// be kept with it, and with nobody else, until the provider leads it back.
//
// Error: fault.Unavailable "provider_unreachable".
func (p *Provider) Begin(ctx context.Context) (address, kept string, err error) {
	f, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	return f.config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), strings.Join([]string{state, nonce, verifier}, "."), nil
}

// Finish ends a sign-in with what was kept and the query by which the provider
// led back, and returns the person's verified address and name.
//
// Errors: fault.Unauthenticated "sign_in_refused" when the provider, or the
// person there, said no; "sign_in_mixed_up" when it is not the sign-in that this
// browser began; "email_not_verified"; fault.Unavailable "provider_unreachable"
// when it gave no proper answer.
func (p *Provider) Finish(ctx context.Context, kept string, q url.Values) (email, name string, err error) {
	parts := strings.Split(kept, ".")
	if len(parts) != 3 || subtle.ConstantTimeCompare([]byte(parts[0]), []byte(q.Get("state"))) != 1 {
		return "", "", mixedUp()
	}
	if iss := q.Get("iss"); iss != "" && iss != p.o.Issuer {
		return "", "", mixedUp()
	}
	if q.Get("code") == "" {
		return "", "", fault.New(fault.Unauthenticated, "sign_in_refused", "The provider did not sign you in. Try again, or ask your operator.")
	}
	f, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(p.lend(ctx), 3*within)
	defer cancel()
	token, err := f.config.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(parts[2]))
	if err != nil {
		return "", "", unreachable(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := f.verifier.Verify(ctx, raw)
	if err != nil {
		return "", "", unreachable(err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(parts[1])) != 1 {
		return "", "", mixedUp()
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
		Name     string `json:"name"`
	}
	if err := id.Claims(&claims); err != nil {
		return "", "", unreachable(err)
	}
	if claims.Email == "" || !claims.Verified {
		return "", "", fault.New(fault.Unauthenticated, "email_not_verified", "The provider did not say that it has verified your mail address, so we cannot know who you are.")
	}
	return claims.Email, claims.Name, nil
}

func mixedUp() error {
	return fault.New(fault.Unauthenticated, "sign_in_mixed_up", "This is not the sign-in that this browser began, or it took too long. Begin again.")
}

// unreachable wraps what went wrong with the provider. What it wrote is not for
// the page: the log has it.
func unreachable(err error) error {
	return fault.Wrap(fault.Unavailable, "provider_unreachable", "The provider cannot be reached, or its answer cannot be used. Try again in a moment; the server's log says more.", err)
}
