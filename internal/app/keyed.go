package app

import (
	"crypto/sha256"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// IdempotencyLife is how long the answer to a keyed request is kept.
// Source: CONTRACT 4.
const IdempotencyLife = 24 * time.Hour

// Answer is what a face gives back: a status and a body.
type Answer struct {
	Status int
	Body   []byte
}

// Keyed is a request that may carry an Idempotency-Key.
type Keyed struct {
	Key   string // empty: none
	Route string // e.g. "POST /v1/consents"
	Body  []byte // the request's raw body: what "the same request" means
}

// once is a request that takes effect once for its key; without a key it takes
// effect whenever it comes.
type once struct {
	app     access.ID
	key     string
	route   string
	request [32]byte
	at      time.Time
}

// once claims a request's key until done is called.
//
// Error: fault.Conflict "idempotency_in_progress" while another request holds
// the key.
func (a *App) once(app access.ID, k Keyed, at time.Time) (o once, done func(), err error) {
	if k.Key == "" {
		return once{}, func() {}, nil
	}
	done, ok := a.running.begin(string(app), k.Route, k.Key)
	if !ok {
		return once{}, nil, fault.New(fault.Conflict, "idempotency_in_progress",
			"A request with this Idempotency-Key is still running; repeat it when it has ended.")
	}
	return once{app, k.Key, k.Route, sha256.Sum256(k.Body), at}, done, nil
}

// answer returns what the request was answered before; again is false when it
// takes effect now.
//
// Error: fault.Unprocessable "idempotency_key_reused" when the key was that of
// another request.
func (o once) answer(tx store.Tx) (prev Answer, again bool, err error) {
	if o.key == "" {
		return Answer{}, false, nil
	}
	i, err := tx.Idempotent(o.app, o.route, o.key, o.at)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return Answer{}, false, nil
	case err != nil:
		return Answer{}, false, err
	case i.Request != o.request:
		return Answer{}, false, fault.At(fault.Unprocessable, "idempotency_key_reused", "Idempotency-Key",
			"This Idempotency-Key was used for another request; use a new one.")
	}
	return Answer{Status: i.Status, Body: i.Response}, true, nil
}

// keep stores the answer for repeats within IdempotencyLife. subject is whom it
// is about: it goes when that one is erased.
func (o once) keep(tx store.Tx, subject string, a Answer) error {
	if o.key == "" {
		return nil
	}
	return tx.PutIdempotent(o.app, store.Idempotent{
		Key: o.key, Route: o.route, Request: o.request, Subject: subject,
		Status: a.Status, Response: a.Body, ExpiresAt: o.at.Add(IdempotencyLife),
	}, o.at)
}
