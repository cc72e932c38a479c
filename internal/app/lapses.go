package app

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// Citizens who are due are looked for in lists, and those of a list advance in
// batches. A batch is one transaction of the store. Larger ones are little
// faster, and make others wait longer for their turn to write.
const (
	dueListed    = 4000
	advanceBatch = 100
)

// AdvanceDue lets every permission lapse or begin whose time has come, and
// returns when the next one is due; zero: none. Each instant is an update of
// its own, which occurred then. It may be called at any time, by several at
// once: each happens once.
func (a *App) AdvanceDue(ctx context.Context) (time.Time, error) {
	for {
		due, err := a.store.DueCitizens(ctx, now(), dueListed)
		if err != nil {
			return time.Time{}, err
		}
		changed := 0
		for len(due) > 0 {
			n := min(len(due), advanceBatch)
			c, err := a.advance(ctx, due[:n])
			if err != nil {
				return time.Time{}, err
			}
			changed += c
			due = due[n:]
		}
		if changed == 0 { // also when others did it all; what is left for them is due at once
			return a.store.NextLapse(ctx)
		}
	}
}

// advance lets the citizens advance who are still due, and returns how many
// those were.
func (a *App) advance(ctx context.Context, due []store.CitizenRef) (changed int, err error) {
	at := now()
	ids := make(map[access.ID][]permission.CitizenID)
	for _, r := range due {
		ids[r.Application] = append(ids[r.Application], r.ID)
	}
	err = a.update(ctx, func(tx store.Tx) error {
		changed = 0
		for app, ids := range ids {
			n, err := a.advanceOf(tx, app, ids, at)
			if err != nil {
				return err
			}
			changed += n
		}
		return nil
	})
	return changed, err
}

// advanceOf is advance for the citizens of one application.
func (a *App) advanceOf(tx store.Tx, app access.ID, ids []permission.CitizenID, at time.Time) (changed int, err error) {
	cs, err := tx.CitizensBy(app, ids, nil)
	if fault.KindOf(err) == fault.NotFound {
		return 0, nil // the application was deleted meanwhile
	}
	if err != nil {
		return 0, err
	}
	p := &people{a: a, tx: tx, app: app, at: at, byID: make(map[permission.CitizenID]*updates, len(cs)), byRef: make(map[string]*updates, len(cs))}
	for _, c := range cs {
		if p.byID[c.ID] != nil {
			continue // another one was merged into it
		}
		u := p.follow(c)
		p.add(u)
		if err := u.advance(); err != nil {
			return 0, err
		}
		if u.citizen.Version != c.Version { // else somebody was first
			p.change(u)
		}
	}
	if len(p.changed) == 0 {
		return 0, nil
	}
	return len(p.changed), p.put(nil)
}
