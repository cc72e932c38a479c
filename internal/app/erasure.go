package app

import (
	"context"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// Erased is a citizen who was erased.
type Erased struct {
	Citizen permission.CitizenID
	At      time.Time
}

// EraseCitizen destroys what is kept of a citizen, of those who were merged
// into it, and of every consent that names one of them, in one transaction. Its
// links end first, which is told of those who stay. A consent that is open is
// ended as by its owner's DELETE, and one whose deadline has come expires.
//
// Of each what is told last is what ended the consent, and citizen.erased; the
// store keeps these until their last delivery ended, and then no more.
//
// Error: fault.NotFound, also for one who was erased before.
func (a *App) EraseCitizen(ctx context.Context, app access.ID, cid permission.CitizenID) (Erased, error) {
	read := now()
	var out Erased
	err := a.update(ctx, func(tx store.Tx) error {
		c, err := tx.Citizen(app, cid)
		if err != nil {
			return err
		}
		at := read
		if at.Before(c.Standing.AsOf) {
			at = c.Standing.AsOf // as follow has it
		}
		if c.Group != "" {
			if err := a.part(tx, c, at); err != nil {
				return err
			}
		}
		names := []permission.CitizenID{c.ID}
		for _, m := range c.Merged {
			names = append(names, m.ID)
		}
		for _, name := range names {
			if err := eraseConsents(tx, app, name, at); err != nil {
				return err
			}
		}
		who := permission.Citizen{Application: string(app), ID: c.ID, ExternalRef: c.ExternalRef}
		out = Erased{c.ID, at}
		return tx.Erase(app, string(c.ID), stamp(app, at, []event.Event{permission.ErasedEvent(who, at)})...)
	})
	if err != nil {
		return Erased{}, err
	}
	return out, nil
}

// part takes a citizen out of its group and leaves the citizen itself as it is.
// The others are told what is in force of them no more, but in their own state
// nothing of it stays, as a lapse would: it was said under another's name.
func (a *App) part(tx store.Tx, c store.Citizen, at time.Time) error {
	group, err := tx.Linked(c.Application, c.Group)
	if err != nil {
		return err
	}
	group = slices.DeleteFunc(group, func(o store.Citizen) bool { return o.ID == c.ID })
	var left []permission.CitizenID
	for _, o := range group {
		left = append(left, o.ID)
	}
	history, err := tx.Transactions(c.Application, left...)
	if err != nil {
		return err
	}
	for _, o := range group {
		u := a.follow(tx, o, at)
		if len(group) == 1 {
			u.citizen.Group = ""
		}
		if err := u.advance(); err != nil {
			return err
		}
		_, d := u.citizen.Standing.Rebuild(history, u.at)
		fresh, _ := permission.Standing{}.Rebuild(history, u.citizen.Standing.Clock(u.at))
		if err := u.count(fresh, d); err != nil {
			return err
		}
		if err := u.put(nil); err != nil {
			return err
		}
		err := tx.PutCheckpoint(c.Application, store.Checkpoint{Citizen: o.ID, At: u.at, Standing: u.citizen.Standing, Histories: left})
		if err != nil {
			return err
		}
	}
	return nil
}

// eraseConsents ends and erases every consent that names a citizen.
func eraseConsents(tx store.Tx, app access.ID, name permission.CitizenID, at time.Time) error {
	cs, err := tx.ConsentsOf(app, string(name))
	if err != nil {
		return err
	}
	for _, c := range cs {
		evts, err := ended(c, at)
		if err != nil {
			return err
		}
		if err := tx.Erase(app, string(c.ID), stamp(app, at, evts)...); err != nil {
			return err
		}
	}
	return nil
}

// ended returns the events that tell how a consent ends at an instant; none
// when it has ended.
func ended(c consent.Consent, at time.Time) ([]event.Event, error) {
	if c.Closed() {
		return nil, nil
	}
	if _, evts, due := c.Expire(at); due {
		return evts, nil
	}
	_, evts, err := c.Withdraw(at)
	return evts, err
}
