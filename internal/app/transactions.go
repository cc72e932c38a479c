package app

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
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
		u := follow(tx, c, at)
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
		return o.keep(tx, out)
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
		case err == nil && r.ExternalRef != nil && *r.ExternalRef != c.ExternalRef:
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
// reverted too. What changes by it is told as of any transaction.
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
		history, err := tx.Transactions(app, c.ID)
		if err != nil {
			return err
		}
		u := follow(tx, c, at)
		t, err := permission.Revert(history, tid, permission.Origin{
			Transaction: fresh, RecordedAt: u.at,
			Actor: permission.Actor{Client: caller.ClientID, ClientName: caller.Name},
		})
		if err != nil {
			return err
		}
		if err := u.advance(); err != nil {
			return err
		}
		next, d := u.citizen.Standing.Rebuild(append(history, t), u.at)
		if err := u.tell(&t, next, d); err != nil {
			return err
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

// AdvanceDue lets every permission lapse or begin whose time has come, and
// returns when the next one is due; zero: none. Each instant is an update of
// its own, which occurred then. It may be called at any time, by several at
// once: each happens once.
func (a *App) AdvanceDue(ctx context.Context) (time.Time, error) {
	for {
		due, err := a.store.DueCitizens(ctx, now(), advanceBatch)
		if err != nil {
			return time.Time{}, err
		}
		if len(due) == 0 {
			return a.store.NextLapse(ctx)
		}
		if err := a.advance(ctx, due); err != nil {
			return time.Time{}, err
		}
	}
}

// advanceBatch is how many citizens advance in one transaction.
const advanceBatch = 100

func (a *App) advance(ctx context.Context, refs []store.CitizenRef) error {
	at := now()
	return a.update(ctx, func(tx store.Tx) error {
		for _, r := range refs {
			c, err := tx.Citizen(r.Application, r.ID)
			if fault.KindOf(err) == fault.NotFound {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			u := follow(tx, c, at)
			if err := u.advance(); err != nil {
				return err
			}
			if u.citizen.Version == c.Version {
				continue // somebody was first
			}
			if err := u.put(nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// updates is what becomes of one citizen in one transaction of the store.
type updates struct {
	tx      store.Tx
	at      time.Time // of the record: not before what was recorded already
	citizen store.Citizen
	events  []event.Event
	silent  bool // what is recorded makes no events; what lapsed or began does
	changed bool // of a batch: it is to be written
}

// follow begins the updates of a citizen at an instant.
func follow(tx store.Tx, c store.Citizen, at time.Time) *updates {
	if at.Before(c.Standing.AsOf) {
		at = c.Standing.AsOf // another node's clock is ahead, or ours was set back
	}
	return &updates{tx: tx, at: at, citizen: c}
}

// record counts the transaction that a request asks for, and everything that
// lapsed or began before. What it refers to is marked as used, unless it is in
// used already, which is to begin empty in each transaction of the store; put
// writes the rest. When the request is refused, for missing too, nothing has
// changed.
func (u *updates) record(
	r permission.Request, tid permission.TransactionID, caller Caller, c *permission.Catalogue, missing error, used map[[2]string]bool,
) (permission.Transaction, error) {
	t, fs := r.Transaction(permission.Basis{
		ID: tid, Citizen: u.citizen.ID, Client: caller.ClientID, ClientName: caller.Name, Now: u.at,
	}, c)
	if err := fault.InvalidFields(fs); err != nil {
		return permission.Transaction{}, err
	}
	if missing != nil {
		return permission.Transaction{}, missing
	}
	if err := markUsed(u.tx, u.citizen.Application, c, t, used); err != nil {
		return permission.Transaction{}, err
	}
	if err := u.advance(); err != nil {
		return permission.Transaction{}, err
	}
	next, d := u.citizen.Standing.Record(t, u.at)
	if u.silent {
		u.move(next)
		return t, nil
	}
	return t, u.tell(&t, next, d)
}

// tell counts a transaction and notes in it which events tell of it.
func (u *updates) tell(t *permission.Transaction, next permission.Standing, d permission.Delta) error {
	before := len(u.events)
	err := u.count(next, d)
	for i := range u.events[before:] {
		e := &u.events[before+i]
		e.ID = id.New(id.Event)
		t.Told = append(t.Told, e.ID)
	}
	return err
}

// advance counts everything that lapsed or began up to now.
func (u *updates) advance() error {
	for {
		next, d := u.citizen.Standing.Advance(u.at)
		if d.Empty() {
			return nil
		}
		if err := u.count(next, d); err != nil {
			return err
		}
	}
}

// count takes the citizen's next state over and notes the events that tell of
// it, for feeds that are used: what changed, unless nothing did, and then the
// full state, which is told after every update (CONTRACT 5).
func (u *updates) count(next permission.Standing, d permission.Delta) error {
	u.move(next)
	c := &u.citizen
	who := permission.Citizen{Application: string(c.Application), ID: c.ID, ExternalRef: c.ExternalRef}
	receipts, err := u.tx.FeedUsed(c.Application, event.ConsentReceipts)
	if err != nil {
		return err
	}
	if receipts && !d.Empty() {
		u.events = append(u.events, permission.DeltaEvent(who, d))
	}
	effective, err := u.tx.FeedUsed(c.Application, event.EffectivePermission)
	if err != nil {
		return err
	}
	if effective {
		u.events = append(u.events, permission.EffectiveEvent(who, next.Effective(d.At), d.At))
	}
	return nil
}

// move takes the citizen's next state over and tells nobody.
func (u *updates) move(next permission.Standing) {
	c := &u.citizen
	c.Standing, c.Version, c.UpdatedAt = next, c.Version+1, u.at
}

// put writes the citizen with its events, and the transaction that changed it,
// if one did.
func (u *updates) put(t *permission.Transaction) error {
	if err := u.tx.PutCitizen(u.citizen, stamp(u.citizen.Application, u.at, u.events)...); err != nil {
		return err
	}
	if t == nil {
		return nil
	}
	return u.tx.PutTransaction(u.citizen.Application, *t)
}
