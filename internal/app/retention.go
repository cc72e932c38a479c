package app

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/store"
)

// Retention is how much of the past is kept: of the logs, with the deliveries of
// their events and the attempts at them. The zero Retention keeps everything.
// What citizens permitted and which consents there are is not concerned.
type Retention struct {
	For   time.Duration // what is older goes; 0: age does not count
	Bytes int64         // beyond it the oldest goes first; 0: size does not count
	// Lossy lets go what an endpoint still waits for, too. Else that stays,
	// however old, and all that stands behind it.
	Lossy bool
}

// Retain lets go what is old, and what is too much, for a while, and tells when
// there is more to do; zero: nothing for now.
func (a *App) Retain(ctx context.Context) (next time.Time, err error) {
	k, begin := a.retention, time.Now()
	if k.For == 0 && k.Bytes == 0 {
		return time.Time{}, nil
	}
	p := store.Prune{Losing: k.Lossy, Now: now()}
	if k.For > 0 {
		p.Before = p.Now.Add(-k.For)
	}
	more, err := a.prune(ctx, p)
	if err == nil && !more && k.Bytes > 0 {
		more, err = a.shrink(ctx, p)
	}
	if err != nil || !more {
		return time.Time{}, err
	}
	// Others have twice the time that it took.
	return time.Now().Add(2 * time.Since(begin)), nil
}

// shrink lets the oldest go when the store is too large, a day's at most.
func (a *App) shrink(ctx context.Context, p store.Prune) (more bool, err error) {
	size, err := a.store.Size(ctx)
	if err != nil || size <= a.retention.Bytes {
		return false, err
	}
	oldest, err := a.store.Oldest(ctx, p.Losing)
	if err != nil || oldest.IsZero() {
		return false, err
	}
	// A day ends an hour late, for clocks differ.
	p.Before, p.WholeDays = oldest.Truncate(24*time.Hour).Add(25*time.Hour), true
	if p.Before.After(p.Now) {
		p.Before = p.Now
	}
	return a.prune(ctx, p)
}

// prune takes one step; more tells whether there may be another.
func (a *App) prune(ctx context.Context, p store.Prune) (more bool, err error) {
	got, err := a.store.Prune(ctx, p)
	if err == nil && a.pruned != nil && got.Events > 0 {
		a.pruned(got)
	}
	return got.More || p.WholeDays && got.Events > 0, err
}
