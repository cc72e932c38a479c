package app

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/store"
)

// CreateConsent makes a consent and answers with render's bytes.
//
// The event consent.create.received is committed for every request of valid
// shape; when a business rule then refuses it, it is committed alone and the
// rule's error is returned. Before and after of a success are one commit.
//
// With a key, a repeat within IdempotencyLife answers the stored bytes and
// does nothing. Errors: fault.Unprocessable "idempotency_key_reused" when the
// body differs; fault.Conflict "idempotency_in_progress" while the first is
// still running; fault.Invalid for the request's shape (consent.Request.Check).
func (a *App) CreateConsent(ctx context.Context, app access.ID, r consent.Request, k Keyed, render func(consent.Consent) (Answer, error)) (Answer, error) {
	if err := fault.InvalidFields(r.Check()); err != nil {
		return Answer{}, err
	}
	at := now()
	o, done, err := a.once(app, k, at)
	if err != nil {
		return Answer{}, err
	}
	defer done()
	cid := consent.ID(id.New(id.Consent))
	var out Answer
	var refused error // by a business rule: committed with the event, then returned
	err = a.update(ctx, func(tx store.Tx) error {
		refused = nil
		var again bool
		if out, again, err = o.answer(tx); err != nil || again {
			return err
		}
		received := consent.Receive(cid, string(app), r, at)
		c, created, err := consent.Create(cid, string(app), r, at, a.policy)
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				return err
			}
			refused = err
			return tx.Publish(stamp(app, at, []event.Event{received})...)
		}
		if err := tx.PutConsent(c, stamp(app, at, []event.Event{received, created})...); err != nil {
			return err
		}
		if out, err = render(c); err != nil {
			return err
		}
		return o.keep(tx, string(cid), out)
	})
	if err == nil {
		err = refused
	}
	return out, err
}

// Decide carries out one action on a consent: a rule of room consent, given
// the consent as it stands and the time.
//
// A consent whose deadline has come is expired first, durably, and the action
// then fails as on any closed consent.
func (a *App) Decide(ctx context.Context, app access.ID, ref string, act func(consent.Consent, time.Time) (consent.Consent, []event.Event, error)) (consent.Consent, error) {
	at := now()
	var out consent.Consent
	var refused error
	err := a.update(ctx, func(tx store.Tx) error {
		refused = nil
		c, err := tx.Consent(app, ref)
		if err != nil {
			return err
		}
		if next, evts, due := c.Expire(at); due {
			if _, _, refused = act(next, at); refused == nil {
				return fault.New(fault.Internal, "acted_on_expired", "An action was allowed on an expired consent.")
			}
			return tx.PutConsent(next, stamp(app, at, evts)...)
		}
		next, evts, err := act(c, at)
		if err != nil {
			return err
		}
		out = next
		if next.Version == c.Version {
			return nil // a repeat that changes nothing
		}
		return tx.PutConsent(next, stamp(app, at, evts)...)
	})
	if err == nil {
		err = refused
	}
	return out, err
}

// Approve counts approver's approval; an unnamed approver is one and the same.
func (a *App) Approve(ctx context.Context, app access.ID, ref, approver string) (consent.Consent, error) {
	return a.Decide(ctx, app, ref, func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
		return c.Approve(at, approver, a.policy)
	})
}

// Consent reads one consent as it stands now: one whose deadline has come is
// expired first, so a read never shows a state that is over.
func (a *App) Consent(ctx context.Context, app access.ID, ref string) (consent.Consent, error) {
	c, err := a.store.Consent(ctx, app, ref)
	if err != nil {
		return c, err
	}
	if _, _, due := c.Expire(now()); !due {
		return c, nil
	}
	if err := a.expire(ctx, store.ConsentRef{Application: app, ID: c.ID}); err != nil {
		return c, err
	}
	return a.store.Consent(ctx, app, ref)
}

// Consents reads a page after expiring what is due.
func (a *App) Consents(ctx context.Context, app access.ID, q store.ConsentQuery) ([]consent.Consent, string, error) {
	next, err := a.store.NextDeadline(ctx)
	if err != nil {
		return nil, "", err
	}
	if !next.IsZero() && !now().Before(next) {
		if _, err := a.ExpireDue(ctx); err != nil {
			return nil, "", err
		}
	}
	return a.store.Consents(ctx, app, q)
}

// ExpireDue expires every consent whose deadline has come, and returns when
// the next one is due; zero: none. It may be called at any time, by several
// at once: each consent expires once.
func (a *App) ExpireDue(ctx context.Context) (time.Time, error) {
	for {
		due, err := a.store.DueConsents(ctx, now(), expireBatch)
		if err != nil {
			return time.Time{}, err
		}
		if len(due) == 0 {
			return a.store.NextDeadline(ctx)
		}
		if err := a.expire(ctx, due...); err != nil {
			return time.Time{}, err
		}
	}
}

// expireBatch is how many consents expire in one transaction.
const expireBatch = 100

func (a *App) expire(ctx context.Context, refs ...store.ConsentRef) error {
	at := now()
	return a.update(ctx, func(tx store.Tx) error {
		for _, r := range refs {
			c, err := tx.Consent(r.Application, string(r.ID))
			if fault.KindOf(err) == fault.NotFound {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			next, evts, due := c.Expire(at)
			if !due {
				continue // somebody decided, or expired it, first
			}
			if err := tx.PutConsent(next, stamp(r.Application, at, evts)...); err != nil {
				return err
			}
		}
		return nil
	})
}
