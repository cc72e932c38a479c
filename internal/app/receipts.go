package app

import (
	"context"
	"slices"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// Receipt is a receipt in one form with its signature.
type Receipt struct {
	Body      []byte // JSON
	Signature string // over Body; see signature.PrivateKey.DetachedJWS
}

// Receipt returns the receipt of a transaction, signed with the application's
// current signing key; an application without one gets its first. The body
// follows from what was recorded (permission.Receipt); the signature is another
// one after the key was rotated.
//
// Errors: fault.NotFound when the application has no such transaction.
func (a *App) Receipt(ctx context.Context, app access.ID, tid permission.TransactionID, f permission.ReceiptForm) (Receipt, error) {
	r, err := a.receipt(ctx, app, tid)
	if err != nil {
		return Receipt{}, err
	}
	b := r.Body(f)
	s, err := a.sign(ctx, app, b)
	return Receipt{b, s}, err
}

// sign returns a detached JWS over a document by the application's current key
// pair.
func (a *App) sign(ctx context.Context, app access.ID, document []byte) (string, error) {
	k, err := a.signingKey(ctx, app)
	if err != nil {
		return "", err
	}
	private, err := signature.ParsePrivateKey(k.PrivateKey.Reveal())
	if err != nil {
		return "", err
	}
	return private.DetachedJWS(k.ID, document), nil
}

// receipt gathers what the receipt of a transaction tells.
func (a *App) receipt(ctx context.Context, app access.ID, tid permission.TransactionID) (permission.Receipt, error) {
	t, err := a.store.Transaction(ctx, app, tid)
	if err != nil {
		return permission.Receipt{}, err
	}
	c, err := a.store.Citizen(ctx, app, t.Citizen)
	if err != nil {
		return permission.Receipt{}, err
	}
	owner, err := a.store.Application(ctx, app)
	if err != nil {
		return permission.Receipt{}, err
	}
	r := permission.Receipt{
		ID: id.Stable(string(tid)), ApplicationName: owner.Name, Transaction: t,
		Citizen: permission.Citizen{Application: string(app), ID: c.ID, ExternalRef: c.ExternalRef},
	}
	if r.History, err = a.store.Transactions(ctx, app, c.ID); err != nil {
		return r, err
	}
	if r.Catalogue, err = a.store.Catalogue(ctx, app); err != nil {
		return r, err
	}
	for _, k := range []permission.Kind{permission.Data, permission.Purpose, permission.Party} {
		ps, err := a.store.Parts(ctx, app, k)
		if err != nil {
			return r, err
		}
		r.Parts = append(r.Parts, ps...)
	}
	about, _ := permission.Concerned(t, r.History)
	return r, a.shown(ctx, app, &r, about.Origin)
}

// shown adds the versions of what the citizen was shown.
func (a *App) shown(ctx context.Context, app access.ID, r *permission.Receipt, o *permission.Origin) error {
	if o.Statement != "" {
		vs, err := a.store.StatementVersions(ctx, app, o.Statement)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		if i := slices.IndexFunc(vs, func(s permission.Statement) bool { return s.Version == o.StatementVersion }); i >= 0 {
			r.Statement = vs[i]
		}
	}
	if o.Policy != "" {
		vs, err := a.store.PolicyVersions(ctx, app, o.Policy)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		if i := slices.IndexFunc(vs, func(p permission.Policy) bool { return p.Version == o.PolicyVersion }); i >= 0 {
			r.Policy = vs[i]
		}
	}
	return nil
}

// signingKey returns the application's current key pair, its first when it has
// none yet.
func (a *App) signingKey(ctx context.Context, app access.ID) (subscription.SigningKey, error) {
	keys, err := a.store.SigningKeys(ctx, app)
	if err != nil {
		return subscription.SigningKey{}, err
	}
	if i := slices.IndexFunc(keys, isCurrent); i >= 0 {
		return keys[i], nil
	}
	fresh := newSigningKey(now())
	var out subscription.SigningKey
	err = a.update(ctx, func(tx store.Tx) error {
		keys, err := tx.SigningKeys(app)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(keys, isCurrent); i >= 0 { // somebody was first
			out = keys[i]
			return nil
		}
		out = fresh
		return tx.PutSigningKey(app, fresh)
	})
	return out, err
}

func isCurrent(k subscription.SigningKey) bool { return k.ExpiresAt.IsZero() }
