package app

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
)

// CreateApplication makes an application with its first credential. The
// client secret is returned here and never again.
//
// The name has 1..100 code points without control characters; otherwise
// fault.Invalid at "/name".
func (a *App) CreateApplication(ctx context.Context, name string) (access.Application, access.Credential, secret.Value, error) {
	if err := checkName(name); err != nil {
		return access.Application{}, access.Credential{}, secret.Value{}, err
	}
	at := now()
	ap := access.Application{ID: access.ID(id.New(id.Application)), Name: name, CreatedAt: at, UpdatedAt: at}
	cred, sec := newCredential(ap.ID, at)
	err := a.update(ctx, func(tx store.Tx) error {
		if err := tx.PutApplication(ap); err != nil {
			return err
		}
		return tx.PutCredential(cred)
	})
	return ap, cred, sec, err
}

// RenameApplication changes the name; a nil name changes nothing.
func (a *App) RenameApplication(ctx context.Context, app access.ID, name *string) (access.Application, error) {
	if name != nil {
		if err := checkName(*name); err != nil {
			return access.Application{}, err
		}
	}
	at := now()
	var out access.Application
	err := a.update(ctx, func(tx store.Tx) error {
		ap, err := tx.Application(app)
		if err != nil {
			return err
		}
		if name != nil && ap.Name != *name {
			ap.Name, ap.UpdatedAt = *name, at
		}
		out = ap
		return tx.PutApplication(ap)
	})
	return out, err
}

// DeleteApplication removes an application and all that is its.
func (a *App) DeleteApplication(ctx context.Context, app access.ID) error {
	return a.update(ctx, func(tx store.Tx) error {
		if _, err := tx.Application(app); err != nil {
			return err
		}
		return tx.DeleteApplication(app)
	})
}

// AddCredential gives an application one more credential. The secret is
// returned here and never again.
func (a *App) AddCredential(ctx context.Context, app access.ID) (access.Credential, secret.Value, error) {
	cred, sec := newCredential(app, now())
	err := a.update(ctx, func(tx store.Tx) error {
		if _, err := tx.Application(app); err != nil {
			return err
		}
		return tx.PutCredential(cred)
	})
	return cred, sec, err
}

// RemoveCredential takes a credential away, and with it every token that it
// obtained.
func (a *App) RemoveCredential(ctx context.Context, app access.ID, clientID string) error {
	return a.update(ctx, func(tx store.Tx) error { return tx.DeleteCredential(app, clientID) })
}

// IssueToken exchanges a client's credential for an access token that works
// for access.TokenLife. addr is the caller's address without its port.
//
// Errors: fault.Unauthenticated "invalid_client" when the pair is wrong, told
// in the same words and after the same work whether the client exists or not;
// fault.TooMany "slow_down" after repeated wrong secrets for this client from
// this address, or from this address at all.
func (a *App) IssueToken(ctx context.Context, clientID, clientSecret, addr string) (secret.Value, error) {
	at := now()
	if wait := a.throttle.check(at, clientID, addr); wait > 0 {
		return secret.Value{}, tooManyTries(wait)
	}
	cred, err := a.store.Credential(ctx, clientID)
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return secret.Value{}, err
	}
	// An unknown client costs the same comparison as a known one.
	if !cred.Opens(clientSecret) || err != nil {
		a.throttle.failed(at, clientID, addr)
		return secret.Value{}, fault.New(fault.Unauthenticated, "invalid_client", "The client ID or the client secret is wrong.")
	}
	bearer := secret.New("cwt_" + secret.Random(32).Reveal())
	t := access.Token{
		Hash: access.HashToken(bearer.Reveal()), ClientID: clientID,
		Application: cred.Application, ExpiresAt: at.Add(access.TokenLife),
	}
	if err := a.update(ctx, func(tx store.Tx) error { return tx.PutToken(t, at) }); err != nil {
		return secret.Value{}, err
	}
	return bearer, nil
}

// Authenticate tells who a bearer belongs to: the operator, or an application
// by a token that has not expired and whose credential still exists. Anything
// else is fault.Unauthenticated "invalid_token".
func (a *App) Authenticate(ctx context.Context, bearer string) (access.Caller, error) {
	if a.operator.IsSet() && a.operator.Equal(secret.New(bearer)) {
		return access.Caller{Operator: true}, nil
	}
	t, err := a.store.AccessToken(ctx, access.HashToken(bearer))
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return access.Caller{}, err
	}
	if err != nil || !t.Valid(time.Now()) {
		return access.Caller{}, fault.New(fault.Unauthenticated, "invalid_token", "The access token is unknown or has expired.")
	}
	return access.Caller{Application: t.Application, ClientID: t.ClientID}, nil
}

func newCredential(app access.ID, at time.Time) (access.Credential, secret.Value) {
	sec := secret.New("cws_" + secret.Random(32).Reveal())
	c := access.Credential{ClientID: id.New(id.Client), Application: app, CreatedAt: at}
	rand.Read(c.Salt[:]) // never fails (crypto/rand)
	c.Hash = access.HashSecret(c.Salt, sec.Reveal())
	return c, sec
}

func checkName(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case strings.TrimSpace(name) == "":
		return fault.At(fault.Invalid, "required", "/name", "Give the application a name of 1 to 100 characters.")
	case n > 100:
		return fault.At(fault.Invalid, "too_long", "/name", "The name has more than 100 characters; shorten it.")
	case strings.ContainsFunc(name, unicode.IsControl):
		return fault.At(fault.Invalid, "invalid_character", "/name", "The name holds a control character; remove it.")
	}
	return nil
}
