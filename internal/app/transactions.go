package app

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// Caller is the software that records a transaction, by its credential. Both
// may be empty.
type Caller struct {
	ClientID string
	Name     string
}

// Recorded is a transaction and its citizen as it stands after it.
type Recorded struct {
	Transaction permission.Transaction
	Citizen     store.Citizen
}

// Record records a transaction, all of it or nothing, and answers with
// render's bytes. A citizen that is named by an external reference which nobody
// has is made by it.
//
// What lapsed or began before is told first, as updates of its own. Each update
// is told to the feeds that the application uses, in the same commit: what
// changed, and the full state after it. Of a transaction that changes nothing
// in force there is no delta to tell: a late arrival that something later has
// overtaken, or one whose time is still to come.
//
// recordedAt is the time of the call, but never before what was recorded of
// this citizen already: a history's order is that of its commits.
//
// Idempotency as of CreateConsent. Errors: fault.Invalid for everything that is
// wrong with the request, by the configuration as it is (Request.Transaction);
// fault.NotFound at "/citizenId" when there is no such citizen.
func (a *App) Record(ctx context.Context, app access.ID, caller Caller, r permission.Request, k Keyed, render func(Recorded) (Answer, error)) (Answer, error) {
	at := now()
	o, done, err := a.once(app, k, at)
	if err != nil {
		return Answer{}, err
	}
	defer done()
	tid := permission.TransactionID(id.New(id.Transaction))
	cid := permission.CitizenID(id.New(id.Citizen))
	var out Answer
	err = a.update(ctx, func(tx store.Tx) error {
		var again bool
		if out, again, err = o.answer(tx); err != nil || again {
			return err
		}
		catalogue, err := tx.Catalogue(app)
		if err != nil {
			return err
		}
		c, missing, err := whose(tx, app, r, cid, at)
		if err != nil {
			return err
		}
		u := a.follow(tx, c, at)
		t, err := u.record(r, tid, caller, catalogue, missing, map[[2]string]bool{})
		if err != nil {
			return err
		}
		if err := u.put(&t); err != nil {
			return err
		}
		if out, err = render(Recorded{t, u.citizen}); err != nil {
			return err
		}
		return o.keep(tx, string(u.citizen.ID), out)
	})
	if err != nil {
		return Answer{}, err
	}
	return out, nil
}

// citizens are where a request's citizen is looked for.
type citizens interface {
	Citizen(app access.ID, id permission.CitizenID) (store.Citizen, error)
	CitizenByRef(app access.ID, externalRef string) (store.Citizen, error)
}

// whose returns the citizen that a request is about. One that is to be made has
// the ID cid; with missing there is none, and only the request is to be checked.
func whose(in citizens, app access.ID, r permission.Request, cid permission.CitizenID, at time.Time) (c store.Citizen, missing, err error) {
	c, missing = citizenOf(in, app, r)
	if missing != nil && fault.KindOf(missing) != fault.Invalid && fault.KindOf(missing) != fault.NotFound {
		return store.Citizen{}, nil, missing
	}
	if c.ID == "" {
		c = store.Citizen{ID: cid, Application: app, CreatedAt: at}
		if r.ExternalRef != nil {
			c.ExternalRef = *r.ExternalRef
		}
	}
	return c, missing, nil
}

// citizenOf returns the citizen that a request names; with neither an ID nor an
// error it is to be made.
func citizenOf(tx citizens, app access.ID, r permission.Request) (store.Citizen, error) {
	if r.CitizenID != nil {
		c, err := tx.Citizen(app, permission.CitizenID(*r.CitizenID))
		switch {
		case fault.KindOf(err) == fault.NotFound:
			return store.Citizen{}, fault.At(fault.NotFound, "not_found", "/citizenId", "There is no such citizen.")
		case err == nil && r.ExternalRef != nil && !goesBy(c, *r.ExternalRef):
			return store.Citizen{}, errTwoCitizens("/externalRef")
		}
		return c, err
	}
	if r.ExternalRef == nil || *r.ExternalRef == "" {
		return store.Citizen{}, nil // which Request.Transaction refuses
	}
	c, err := tx.CitizenByRef(app, *r.ExternalRef)
	if fault.KindOf(err) == fault.NotFound {
		return store.Citizen{}, nil
	}
	return c, err
}

// RevertTransaction records a transaction that takes another one back: it
// counts no more, and what it replaced counts again. A reversion may be
// reverted too. What changes by it is told as of any transaction; it is the
// reverted one's citizen's, or of whom that was merged into.
//
// Errors: fault.NotFound; fault.Conflict "transaction_reverted" when it counts
// no more already.
func (a *App) RevertTransaction(ctx context.Context, app access.ID, caller Caller, tid permission.TransactionID) (Recorded, error) {
	at := now()
	fresh := permission.TransactionID(id.New(id.Transaction))
	var out Recorded
	err := a.update(ctx, func(tx store.Tx) error {
		of, err := tx.Transaction(app, tid)
		if err != nil {
			return err
		}
		c, err := tx.Citizen(app, of.Citizen)
		if err != nil {
			return err
		}
		u := a.follow(tx, c, at)
		names, err := u.histories()
		if err != nil {
			return err
		}
		history, err := tx.Transactions(app, names...)
		if err != nil {
			return err
		}
		t, err := permission.Revert(history, tid, permission.Origin{
			Transaction: fresh, RecordedAt: u.at,
			Actor: permission.Actor{Client: caller.ClientID, ClientName: caller.Name},
		})
		if err != nil {
			return err
		}
		t.Citizen = c.ID // the other one was merged into it
		history = append(history, t)
		for _, o := range append([]*updates{u}, u.linked...) {
			if err := o.rebuild(history, &t); err != nil {
				return err
			}
		}
		if err := u.put(&t); err != nil {
			return err
		}
		out = Recorded{t, u.citizen}
		return nil
	})
	if err != nil {
		return Recorded{}, err
	}
	return out, nil
}
