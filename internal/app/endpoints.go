package app

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// MaxEndpoints is how many endpoints an application may have. Ours: fan-out
// costs nothing at ingest, so the bound only stops a runaway (RULES 5, API4).
const MaxEndpoints = 10_000

// CreateEndpoint registers e, which the face has checked. It sets what an
// owner does not choose: ID, times, version, signing secret. The returned
// endpoint holds the signing secret, to be shown this once.
//
// Errors: fault.Conflict "interceptor_exists" for the same URL and feed again
// (interceptors only); fault.Conflict "too_many_endpoints".
func (a *App) CreateEndpoint(ctx context.Context, app access.ID, e subscription.Endpoint) (subscription.Endpoint, error) {
	kind := id.Subscription
	if e.Style == subscription.Interceptor {
		kind = id.Interceptor
	}
	e.ID = subscription.ID(id.New(kind))
	e.SigningSecrets = []subscription.SigningSecret{{Secret: newSigningSecret()}}
	at := now()
	err := a.update(ctx, func(tx store.Tx) (err error) {
		e, err = create(tx, app, e, at)
		return err
	})
	return e, err
}

// create registers an endpoint that has its ID and its secrets.
func create(tx store.Tx, app access.ID, e subscription.Endpoint, at time.Time) (subscription.Endpoint, error) {
	e.Application, e.Version = string(app), 1
	e.CreatedAt, e.UpdatedAt, e.StatusSince = at, at, at
	if _, err := tx.Application(app); err != nil {
		return e, err
	}
	if err := unique(tx, app, e); err != nil {
		return e, err
	}
	n, err := tx.CountEndpoints(app)
	if err != nil {
		return e, err
	}
	if n >= MaxEndpoints {
		return e, fault.New(fault.Conflict, "too_many_endpoints", fmt.Sprintf("The application has %d endpoints, the most it may have; delete one first.", n))
	}
	if err := needKey(tx, app, e, at); err != nil {
		return e, err
	}
	if err := tx.PutEndpoint(e, shown(e)); err != nil {
		return e, err
	}
	if e.Status == subscription.Paused {
		return e, tx.Discard(app, e.ID, at)
	}
	return e, nil
}

// Edit is what an owner asks of an endpoint.
type Edit struct {
	Endpoint subscription.Endpoint // Status is active or paused, as asked for
	Discard  bool                  // a suspended endpoint is to become an owner's pause
}

// EditEndpoint changes an endpoint. edit is given the endpoint as it stands,
// with its secrets, and returns what its owner wants; it may be called again
// and must be a function of its argument.
//
// What the status becomes (CONTRACT 5): an active one that is paused discards
// what waits; a paused or suspended one that is set active goes on; a suspended
// one that is set paused stays suspended unless Discard.
func (a *App) EditEndpoint(ctx context.Context, app access.ID, style subscription.Style, eid subscription.ID, edit func(subscription.Endpoint) (Edit, error)) (subscription.Endpoint, error) {
	at := now()
	var out subscription.Endpoint
	err := a.update(ctx, func(tx store.Tx) error {
		cur, err := tx.Endpoint(app, style, eid)
		if err != nil {
			return err
		}
		want, err := edit(cur)
		if err != nil {
			return err
		}
		out, err = change(tx, app, cur, want, at)
		return err
	})
	return out, err
}

// change writes what an owner wants of an endpoint as it stands.
func change(tx store.Tx, app access.ID, cur subscription.Endpoint, want Edit, at time.Time) (subscription.Endpoint, error) {
	e := want.Endpoint
	e.ID, e.Application, e.Style = cur.ID, cur.Application, cur.Style
	e.CreatedAt, e.SigningSecrets = cur.CreatedAt, cur.SigningSecrets
	e.Version, e.UpdatedAt = cur.Version+1, at
	asked := e.Status
	e.Status, e.StatusReason, e.StatusSince = cur.Status, cur.StatusReason, cur.StatusSince
	if err := unique(tx, app, e); err != nil {
		return e, err
	}

	var after func() error
	switch {
	case asked == cur.Status:
	case asked == subscription.Active:
		e.Status, e.StatusReason, e.StatusSince = subscription.Active, "", at
		after = func() error { return tx.Resume(app, e.ID, at) }
	case cur.Status == subscription.Active, want.Discard:
		e.Status, e.StatusReason, e.StatusSince = subscription.Paused, "", at
		after = func() error { return tx.Discard(app, e.ID, at) }
	}
	if err := needKey(tx, app, e, at); err != nil {
		return e, err
	}
	if err := tx.PutEndpoint(e, shown(e)); err != nil {
		return e, err
	}
	if cur.ManagesToken() && !cur.KeepsToken(e) {
		if err := tx.ForgetToken(app, e.ID); err != nil {
			return e, err
		}
	}
	if after != nil {
		if err := after(); err != nil {
			return e, err
		}
	}
	if cur.Status == subscription.Suspended && e.Status != subscription.Suspended {
		return e, tx.Publish(stamp(app, at, []event.Event{subscription.StatusChanged(e, cur.Status, at)})...)
	}
	return e, nil
}

// DeleteEndpoint removes an endpoint; what waits for it is cancelled.
func (a *App) DeleteEndpoint(ctx context.Context, app access.ID, style subscription.Style, eid subscription.ID) error {
	at := now()
	return a.update(ctx, func(tx store.Tx) error {
		e, err := tx.Endpoint(app, style, eid)
		if err != nil {
			return err
		}
		return tx.DeleteEndpoint(app, e.ID, at)
	})
}

// RotateSecret gives an endpoint a new signing secret, returned here and never
// again. The former one signs beside it for subscription.RotationOverlap.
func (a *App) RotateSecret(ctx context.Context, app access.ID, style subscription.Style, eid subscription.ID) (secret.Value, error) {
	at := now()
	fresh := newSigningSecret()
	err := a.update(ctx, func(tx store.Tx) error {
		e, err := tx.Endpoint(app, style, eid)
		if err != nil {
			return err
		}
		e = e.Rotate(fresh, at)
		e.Version, e.UpdatedAt = e.Version+1, at
		return tx.PutEndpoint(e, shown(e))
	})
	return fresh, err
}

// ReplayRequest chooses what to send again.
type ReplayRequest struct{ store.ReplayQuery }

// Replayed is a replay that was queued.
type Replayed struct {
	ID    string // of the job
	Count int    // deliveries that are sent again
	Stale int    // full states that are left out: a newer one of their citizen was delivered
}

// Replay queues chosen deliveries of an endpoint once more.
//
// Errors: fault.Conflict "endpoint_paused" for an endpoint that its owner
// paused: nothing is sent there; those of store.Reader.ReplaySelection.
func (a *App) Replay(ctx context.Context, app access.ID, style subscription.Style, eid subscription.ID, r ReplayRequest) (Replayed, error) {
	e, err := a.store.Endpoint(ctx, app, style, eid)
	if err != nil {
		return Replayed{}, err
	}
	if e.Status == subscription.Paused {
		return Replayed{}, errPaused()
	}
	seqs, stale, err := a.store.ReplaySelection(ctx, app, e.ID, r.ReplayQuery)
	if err != nil {
		return Replayed{}, err
	}
	job := delivery.Replay{
		ID: id.New(id.Replay), Endpoint: delivery.Endpoint(e.ID), Seqs: seqs,
		IncludeStale: r.IncludeStale, CreatedAt: now(),
	}
	out := Replayed{ID: job.ID, Count: len(seqs), Stale: stale}
	if len(seqs) == 0 {
		return out, nil
	}
	return out, a.putReplay(ctx, app, style, job)
}

// Redeliver sends one delivery again: now if it waits for a retry, in a new
// round if it has ended.
//
// Errors: fault.Conflict "delivery_waiting" when it has not been tried yet and
// is on its way, "event_erased" when the person it is about was erased,
// "endpoint_paused", "endpoint_suspended", "endpoint_deleted".
func (a *App) Redeliver(ctx context.Context, app access.ID, deliveryID string) (delivery.Detail, error) {
	d, err := a.store.Delivery(ctx, app, deliveryID)
	if err != nil {
		return d, err
	}
	if len(d.Body) == 0 {
		return d, fault.New(fault.Conflict, "event_erased", "The person whom this delivery is about was erased; nothing is left to be sent.")
	}
	style := subscription.Subscription
	switch {
	case d.Interceptor:
		style = subscription.Interceptor
	case d.MailSender:
		style = subscription.MailSender
	}
	e, err := a.store.Endpoint(ctx, app, style, subscription.ID(d.Endpoint))
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return d, fault.New(fault.Conflict, "endpoint_deleted", "The endpoint of this delivery was deleted; nothing can be sent to it.")
	case err != nil:
		return d, err
	case e.Status == subscription.Paused:
		return d, errPaused()
	case e.Status == subscription.Suspended:
		return d, fault.New(fault.Conflict, "endpoint_suspended", "The endpoint is suspended; set it active, and what waits is sent in order.")
	case d.Status == delivery.Pending:
		return d, fault.New(fault.Conflict, "delivery_waiting", "The delivery is on its way: it waits for its first attempt.")
	}
	job := delivery.Replay{
		ID: id.New(id.Replay), Endpoint: d.Endpoint, Seqs: []event.Seq{d.Seq},
		IncludeStale: true, CreatedAt: now(),
	}
	if err := a.putReplay(ctx, app, style, job); err != nil {
		return d, err
	}
	return a.store.Delivery(ctx, app, deliveryID)
}

func (a *App) putReplay(ctx context.Context, app access.ID, style subscription.Style, job delivery.Replay) error {
	return a.update(ctx, func(tx store.Tx) error {
		e, err := tx.Endpoint(app, style, subscription.ID(job.Endpoint))
		if err != nil {
			return err
		}
		if e.Status == subscription.Paused {
			return errPaused()
		}
		return tx.PutReplay(app, job)
	})
}

func errPaused() error {
	return fault.New(fault.Conflict, "endpoint_paused", "The endpoint is paused by its owner; set it active first, then replay.")
}

func unique(tx store.Tx, app access.ID, e subscription.Endpoint) error {
	if e.Style != subscription.Interceptor {
		return nil
	}
	taken, err := tx.InterceptorExists(app, e.URL, e.Feed, e.ID)
	if err != nil {
		return err
	}
	if taken {
		return fault.At(fault.Conflict, "interceptor_exists", "/endpoint", "This endpoint is already registered for this type.")
	}
	return nil
}

func shown(e subscription.Endpoint) delivery.Shown {
	return delivery.NewShown(e.MaskedURL(), e.MaskedHeaders())
}

// PutBin makes an inspector's bin.
func (a *App) PutBin(ctx context.Context, app access.ID) (store.Bin, error) {
	b := store.Bin{
		Name: id.Bin + "_" + secret.Random(18).Reveal(), Application: app,
		Script: store.Script{Status: 200}, CreatedAt: now(),
	}
	err := a.update(ctx, func(tx store.Tx) error {
		if _, err := tx.Application(app); err != nil {
			return err
		}
		return tx.PutBin(b)
	})
	return b, err
}

// ScriptBin tells a bin how to answer.
func (a *App) ScriptBin(ctx context.Context, app access.ID, name string, s store.Script) (store.Bin, error) {
	return a.changeBin(ctx, app, name, func(b *store.Bin) { b.Script = s })
}

// changeBin changes a bin of an application's, and returns it.
func (a *App) changeBin(ctx context.Context, app access.ID, name string, change func(*store.Bin)) (out store.Bin, err error) {
	err = a.update(ctx, func(tx store.Tx) error {
		b, err := tx.Bin(name)
		if err != nil {
			return err
		}
		if b.Application != app {
			return fault.New(fault.NotFound, "not_found", "There is no such bin.")
		}
		change(&b)
		out = b
		return tx.PutBin(b)
	})
	return out, err
}

// shareLife is how long what a bin took may be read by a link. Ours.
const shareLife = 7 * 24 * time.Hour

// ShareBin lets whoever has the secret that it returns, this once, read a bin for
// seven days. The secret before works no more.
func (a *App) ShareBin(ctx context.Context, app access.ID, name string) (store.Bin, secret.Value, error) {
	sec, until := secret.Random(24), now().Add(shareLife)
	b, err := a.changeBin(ctx, app, name, func(b *store.Bin) {
		b.Share = store.Share{Hash: access.HashSession(sec.Reveal()), Until: until}
	})
	return b, sec, err
}

// UnshareBin takes that back. Idempotent.
func (a *App) UnshareBin(ctx context.Context, app access.ID, name string) error {
	_, err := a.changeBin(ctx, app, name, func(b *store.Bin) { b.Share = store.Share{} })
	return err
}

// SharedBin returns a bin by the secret of its link. Error: fault.NotFound when
// it is not shared by that one, or not any more.
func (a *App) SharedBin(ctx context.Context, name, sec string) (store.Bin, error) {
	b, err := a.store.Bin(ctx, name)
	hash := access.HashSession(sec)
	if err == nil && (subtle.ConstantTimeCompare(hash[:], b.Share.Hash[:]) != 1 || !now().Before(b.Share.Until)) {
		err = fault.New(fault.NotFound, "not_found", "There is no such link, or it works no more.")
	}
	return b, err
}

// RemoveBin deletes a bin.
func (a *App) RemoveBin(ctx context.Context, app access.ID, name string) error {
	return a.update(ctx, func(tx store.Tx) error { return tx.DeleteBin(app, name) })
}

// newSigningSecret returns 32 random bytes in the form of Standard Webhooks
// 1.0.0: "whsec_" and base 64.
func newSigningSecret() secret.Value { return secret.New("whsec_" + secret.RandomStd(32)) }
