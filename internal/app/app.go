// Package app holds the use cases: one method, one transaction.
//
// It is the only place where a rule's decision meets the store. Each method
// reads the clock once, in UTC rounded to the millisecond, which is what every
// backend can keep. Reads that need no decision go straight to store.Reader;
// there are no methods here that only pass through.
package app

import (
	"context"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
)

// App is the use cases over one store.
type App struct {
	store    store.Store
	policy   consent.Policy
	operator secret.Value
	keys     KeyMaster
	public   func() string // nil: unknown
	rotating sync.Mutex    // held while the master key is rotated
	throttle *throttle
	running  *running
	auditing chan struct{} // of capacity 1: held while an audit runs
	tests    *limiter
	replays  *limiter

	retention Retention
	pruned    func(store.Pruned) // nil: nobody is told
}

// Options configure an App.
type Options struct {
	Store    store.Store
	Policy   consent.Policy
	Operator secret.Value // the operator's bearer; at least 32 characters
	Keys     KeyMaster    // nil: this process cannot rotate the master key

	// PublicURL is how the world reaches us. When it is nil nobody can be asked
	// by a link: a transaction that needs such a mail fails.
	PublicURL func() string

	Retention Retention
	// Pruned is told what Retain took; nil: nobody is.
	Pruned func(store.Pruned)
}

// New returns the use cases.
func New(o Options) *App {
	return &App{
		store:     o.Store,
		policy:    o.Policy,
		operator:  o.Operator,
		keys:      o.Keys,
		public:    o.PublicURL,
		retention: o.Retention, pruned: o.Pruned,
		throttle: newThrottle(),
		running:  newRunning(),
		auditing: make(chan struct{}, 1),
		tests:    newLimiter(TestBurst, testRefill),
		replays:  newLimiter(replayBurst, replayRefill),
	}
}

// now is the one reading of the clock in a use case.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// stamp gives events their identity, but for those that have one: rules make
// none.
func stamp(app access.ID, at time.Time, evts []event.Event) []event.Event {
	out := make([]event.Event, len(evts))
	for i, e := range evts {
		if e.ID == "" {
			e.ID = id.New(id.Event)
		}
		e.Application, e.RecordedAt = string(app), at
		out[i] = e
	}
	return out
}

// update runs fn in one transaction of the store.
func (a *App) update(ctx context.Context, fn func(store.Tx) error) error {
	return a.store.Update(ctx, fn)
}
