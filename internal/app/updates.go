package app

import (
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// updates is what becomes of one citizen in one transaction of the store.
type updates struct {
	app     *App
	tx      store.Tx
	at      time.Time // of the record: not before what was recorded already
	citizen store.Citizen
	linked  []*updates // the others of its group, once they were met
	events  []event.Event
	was     int64            // the citizen's version at first
	rebuilt bool             // its next checkpoint must not wait
	into    *permission.Name // it is merged into that one
	silent  bool             // what is recorded makes no events; what lapsed or began does
	changed bool             // of a batch: it is to be written
	receipt bool             // the citizen asked for a mail that tells of the receipt
	words   *words
}

// checkpointEvery is how many versions of a citizen lie between two checkpoints
// at most. A read of the past replays fewer transactions than that.
const checkpointEvery = 32

// follow begins the updates of a citizen at an instant.
func (a *App) follow(tx store.Tx, c store.Citizen, at time.Time) *updates {
	if at.Before(c.Standing.AsOf) {
		at = c.Standing.AsOf // another node's clock is ahead, or ours was set back
	}
	return &updates{app: a, tx: tx, at: at, citizen: c, was: c.Version, words: new(words)}
}

// meet finds the others of the citizen's group. They hear of what it records,
// and put writes them too. It may be called again.
func (u *updates) meet() error {
	if u.citizen.Group == "" || u.linked != nil {
		return nil
	}
	group, err := u.tx.Linked(u.citizen.Application, u.citizen.Group)
	if err != nil {
		return err
	}
	all := []*updates{u}
	for _, c := range group {
		if c.ID != u.citizen.ID {
			o := u.app.follow(u.tx, c, u.at)
			o.words = u.words
			all = append(all, o)
		}
	}
	tie(all)
	return nil
}

// tie lets citizens know each other: what happens to one happens to all at one
// instant, that of the latest clock.
func tie(all []*updates) {
	at := all[0].at
	for _, u := range all {
		if u.at.After(at) {
			at = u.at
		}
	}
	for i, u := range all {
		u.at, u.linked = at, slices.Concat(all[:i], all[i+1:])
	}
}

// record counts the transaction that a request asks for, and everything that
// lapsed or began before. What it refers to is marked as used, unless it is in
// used already, which is to begin empty in each transaction of the store; put
// writes the rest. When the request is refused, for missing too, nothing has
// changed.
func (u *updates) record(
	r permission.Request, tid permission.TransactionID, caller Caller, c *permission.Catalogue, missing error, used map[[2]string]bool,
) (permission.Transaction, error) {
	if err := u.meet(); err != nil {
		return permission.Transaction{}, err
	}
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
	u.receipt = r.SendReceipt
	return t, u.tell(&t, next, d)
}

// tell counts a transaction that is no reversion, for the citizen and for the
// others of its group, and notes in it which events tell of it.
func (u *updates) tell(t *permission.Transaction, next permission.Standing, d permission.Delta) error {
	if err := u.meet(); err != nil {
		return err
	}
	if err := u.told(t, next, d); err != nil {
		return err
	}
	for _, o := range u.linked {
		if err := o.advance(); err != nil {
			return err
		}
		next, d := o.citizen.Standing.Record(*t, o.at)
		if err := o.told(t, next, d); err != nil {
			return err
		}
	}
	return nil
}

// told counts what a transaction makes of one citizen. Mails go only to the one
// that recorded it, and none of a reversion.
func (u *updates) told(t *permission.Transaction, next permission.Standing, d permission.Delta) error {
	if u.silent {
		u.move(next)
		return nil
	}
	before := len(u.events)
	if err := u.count(next, d); err != nil {
		return err
	}
	if t.Citizen == u.citizen.ID && t.Reverts == "" {
		if err := u.mail(*t); err != nil {
			return err
		}
	}
	for i := range u.events[before:] {
		e := &u.events[before+i]
		e.ID = id.New(id.Event)
		t.Told = append(t.Told, e.ID)
	}
	return nil
}

// rebuild makes the citizen's state anew from all that counts for it, by t if
// that is a transaction.
func (u *updates) rebuild(history []permission.Transaction, t *permission.Transaction) error {
	if err := u.advance(); err != nil {
		return err
	}
	u.rebuilt = true
	next, d := u.citizen.Standing.Rebuild(history, u.at)
	if t != nil {
		return u.told(t, next, d)
	}
	return u.count(next, d)
}

// advance counts everything that lapsed or began up to now, and tells of the
// ends that were ahead meanwhile.
func (u *updates) advance() error {
	for {
		upto := u.citizen.Standing.Next()
		if upto.IsZero() || upto.After(u.at) {
			upto = u.at
		}
		if err := u.remind(upto); err != nil {
			return err
		}
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
	who := permission.Citizen{Application: string(c.Application), ID: c.ID, ExternalRef: c.ExternalRef, MergedInto: u.into}
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

// put writes the citizen, the others of its group that were met, each with its
// events, and the transaction that changed them, if one did.
func (u *updates) put(t *permission.Transaction) error {
	return write(append([]*updates{u}, u.linked...), t)
}

// write writes citizens and the transaction that changed them, as put does.
func write(all []*updates, t *permission.Transaction) error {
	for _, u := range all {
		if err := u.tx.PutCitizen(u.citizen, stamp(u.citizen.Application, u.at, u.events)...); err != nil {
			return err
		}
	}
	if t != nil {
		if err := all[0].tx.PutTransaction(all[0].citizen.Application, *t); err != nil {
			return err
		}
	}
	for _, u := range all {
		if err := u.checkpoint(); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint keeps the citizen's state when it is time to, once everything that
// it counts is written.
func (u *updates) checkpoint() error {
	c := u.citizen
	if !u.rebuilt && u.was/checkpointEvery == c.Version/checkpointEvery || c.Standing.AsOf.IsZero() {
		return nil
	}
	histories, err := u.histories()
	if err != nil {
		return err
	}
	return u.tx.PutCheckpoint(c.Application, store.Checkpoint{Citizen: c.ID, At: c.Standing.AsOf, Standing: c.Standing, Histories: histories})
}

// histories returns the citizens for whom is recorded what counts for this one
// from now on. Those that were merged into one are none of them: what names
// them is recorded for that one.
func (u *updates) histories() ([]permission.CitizenID, error) {
	if err := u.meet(); err != nil {
		return nil, err
	}
	out := []permission.CitizenID{u.citizen.ID}
	for _, o := range u.linked {
		out = append(out, o.citizen.ID)
	}
	return out, nil
}
