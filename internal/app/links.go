package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// MaxGroup is how many citizens can be linked with each other. Ours: each is
// told of what is recorded for any of them.
const MaxGroup = 20

// Tied is a citizen and those who are linked with it, in the order in which
// they were made.
type Tied struct {
	store.Citizen
	Links []store.Citizen
}

// Tied returns a citizen and those who are linked with it. Error:
// fault.NotFound.
func (a *App) Tied(ctx context.Context, app access.ID, cid permission.CitizenID) (Tied, error) {
	c, err := a.store.Citizen(ctx, app, cid)
	if err != nil || c.Group == "" {
		return Tied{Citizen: c}, err
	}
	group, err := a.store.Linked(ctx, app, c.Group)
	return Tied{c, without(group, c.ID)}, err
}

// Link links two citizens, and with them all who are linked with one of them:
// what was and will be recorded for any of them counts for each of them, until
// Unlink parts them. Each keeps its own history. All are told the state that
// they have now; when they are linked already nothing happens.
//
// Errors: fault.NotFound, for the other one at "/citizenId" or "/externalRef";
// fault.Invalid there when by is empty or names two citizens, and
// CodeSameCitizen when both are one; fault.Conflict CodeGroupFull when they would
// be more than MaxGroup.
func (a *App) Link(ctx context.Context, app access.ID, cid permission.CitizenID, by CitizenKey) (Tied, error) {
	fresh := id.New(id.Link)
	return a.bind(ctx, app, cid, func(tx store.Tx, c store.Citizen, at time.Time) ([]*updates, error) {
		o, err := another(tx, app, by)
		switch {
		case err != nil:
			return nil, err
		case o.ID == c.ID:
			return nil, errSameCitizen(by)
		case c.Group != "" && c.Group == o.Group:
			return nil, nil
		}
		all, err := everyone(a.follow(tx, c, at), a.follow(tx, o, at))
		if err != nil {
			return nil, err
		}
		if len(all) > MaxGroup {
			return nil, errGroupFull()
		}
		history, err := historyOf(all)
		if err != nil {
			return nil, err
		}
		return all, join(all, cmp.Or(c.Group, o.Group, fresh), history)
	})
}

// Unlink takes a citizen out of its group: the other one that by names, or with
// the zero key the citizen itself. For it counts again only what was recorded
// for it, and for the others what was for them. All are told the state that
// they have now; what is in force no more is shown as after a lapse.
//
// Errors: fault.NotFound and fault.Invalid as of Link; fault.Conflict
// CodeNotLinked.
func (a *App) Unlink(ctx context.Context, app access.ID, cid permission.CitizenID, by CitizenKey) (Tied, error) {
	return a.bind(ctx, app, cid, func(tx store.Tx, c store.Citizen, at time.Time) ([]*updates, error) {
		who := c
		if by != (CitizenKey{}) {
			var err error
			if who, err = another(tx, app, by); err != nil {
				return nil, err
			}
		}
		if who.Group == "" || who.Group != c.Group {
			return nil, fault.New(fault.Conflict, CodeNotLinked, "The citizen is not linked.")
		}
		return leave(a.follow(tx, who, at))
	})
}

// Merge makes another citizen a part of this one, for good: its names are names
// of this one from then on, and so are those of whom was merged into it before;
// what was recorded for it counts for this one, and who was linked with it is
// linked with this one. This one keeps what it has, and gets the addresses that
// it lacks, up to MaxEmails, and the language if it has none.
//
// This one and all who are linked with it are told the state that they have
// now. The other one is told it too, a last time, with the names of this one.
// When it is a part of this one already nothing happens.
//
// Errors as of Link.
func (a *App) Merge(ctx context.Context, app access.ID, cid permission.CitizenID, by CitizenKey) (Tied, error) {
	return a.bind(ctx, app, cid, func(tx store.Tx, c store.Citizen, at time.Time) ([]*updates, error) {
		o, err := another(tx, app, by)
		switch {
		case err != nil:
			return nil, err
		case o.ID == c.ID && by.ID != c.ID && (by.ID != "" || by.ExternalRef != c.ExternalRef):
			return nil, nil // it was named by what is a name of this one since
		case o.ID == c.ID:
			return nil, errSameCitizen(by)
		}
		u, v := a.follow(tx, c, at), a.follow(tx, o, at)
		all, err := everyone(u, v)
		if err != nil {
			return nil, err
		}
		if len(all)-1 > MaxGroup {
			return nil, errGroupFull()
		}
		history, err := historyOf(all)
		if err != nil {
			return nil, err
		}
		if err := v.end(u.citizen, history); err != nil {
			return nil, err
		}
		if err := u.advance(); err != nil {
			return nil, err
		}
		absorb(&u.citizen, v.citizen, u.at)
		rest := slices.DeleteFunc(all, func(x *updates) bool { return x == v })
		return rest, join(rest, cmp.Or(c.Group, o.Group), history)
	})
}

// end makes the citizen a part of another one, by the history of all that
// counts for that one then. That one is not written.
func (u *updates) end(into store.Citizen, history []permission.Transaction) error {
	if err := u.advance(); err != nil { // it is by itself so far
		return err
	}
	u.into = &permission.Name{ID: into.ID, ExternalRef: into.ExternalRef}
	if err := u.rebuild(history, nil); err != nil {
		return err
	}
	if err := u.tx.Publish(stamp(into.Application, u.at, u.events)...); err != nil {
		return err
	}
	return u.tx.MergeCitizen(into.Application, u.citizen.ID, into.ID)
}

// absorb gives a citizen what it lacks of one that became a part of it at an
// instant. Both were told of everything up to then.
func absorb(c *store.Citizen, o store.Citizen, at time.Time) {
	emails := slices.Clone(c.Emails)
	for _, e := range o.Emails {
		if len(emails) < MaxEmails && !slices.Contains(emails, e) {
			emails = append(emails, e)
		}
	}
	c.Emails, c.Language = emails, cmp.Or(c.Language, o.Language)
	c.Merged = slices.Concat(c.Merged, []store.Merged{{ID: o.ID, ExternalRef: o.ExternalRef, At: at}}, o.Merged)
	if o.Reminded.After(c.Reminded) {
		c.Reminded = o.Reminded
	}
}

// bind writes the citizens that fn returns, and returns one of them as it then
// stands.
func (a *App) bind(
	ctx context.Context, app access.ID, cid permission.CitizenID, fn func(tx store.Tx, c store.Citizen, at time.Time) ([]*updates, error),
) (Tied, error) {
	at := now()
	var out Tied
	err := a.update(ctx, func(tx store.Tx) error {
		c, err := tx.Citizen(app, cid)
		if err != nil {
			return err
		}
		all, err := fn(tx, c, at)
		if err != nil {
			return err
		}
		if err := write(all, nil); err != nil {
			return err
		}
		out = Tied{}
		if out.Citizen, err = tx.Citizen(app, c.ID); err != nil || out.Group == "" {
			return err
		}
		group, err := tx.Linked(app, out.Group)
		out.Links = without(group, c.ID)
		return err
	})
	if err != nil {
		return Tied{}, err
	}
	return out, nil
}

// another returns the other citizen that a request names.
func another(tx store.Tx, app access.ID, by CitizenKey) (store.Citizen, error) {
	var c store.Citizen
	var err error
	switch {
	case by == CitizenKey{}:
		return store.Citizen{}, fault.At(fault.Invalid, permission.CodeRequired, "/citizenId", "Name the other citizen by citizenId or externalRef.")
	case by.ID != "":
		c, err = tx.Citizen(app, by.ID)
	default:
		c, err = tx.CitizenByRef(app, by.ExternalRef)
	}
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return store.Citizen{}, fault.At(fault.NotFound, "not_found", by.path(), "There is no such citizen.")
	case err == nil && by.ExternalRef != "" && !goesBy(c, by.ExternalRef):
		return store.Citizen{}, errTwoCitizens("/externalRef")
	}
	return c, err
}

// path returns where in a request's body the key is.
func (k CitizenKey) path() string {
	if k.ID == "" {
		return "/externalRef"
	}
	return "/citizenId"
}

// The codes of what cannot be linked or merged.
const (
	CodeSameCitizen = "same_citizen"
	CodeGroupFull   = "group_full"
	CodeNotLinked   = "not_linked"
)

func errSameCitizen(by CitizenKey) error {
	return fault.At(fault.Invalid, CodeSameCitizen, by.path(), "This is the citizen itself; name another one.")
}

func errGroupFull() error {
	return fault.New(fault.Conflict, CodeGroupFull, fmt.Sprintf("At most %d citizens can be linked with each other.", MaxGroup))
}

// everyone returns some citizens and all who are linked with one of them, each
// once, at one instant.
func everyone(us ...*updates) ([]*updates, error) {
	all := us
	for _, u := range us {
		if err := u.meet(); err != nil {
			return nil, err
		}
		for _, o := range u.linked {
			if !slices.ContainsFunc(all, func(x *updates) bool { return x.citizen.ID == o.citizen.ID }) {
				all = append(all, o)
			}
		}
	}
	tie(all)
	return all, nil
}

// historyOf returns what was recorded for some citizens together.
func historyOf(all []*updates) ([]permission.Transaction, error) {
	ids := make([]permission.CitizenID, len(all))
	for i, u := range all {
		ids[i] = u.citizen.ID
	}
	return all[0].tx.Transactions(all[0].citizen.Application, ids...)
}

// join makes some citizens one group, of which one alone is none, and counts
// their history for each of them.
func join(all []*updates, group string, history []permission.Transaction) error {
	tie(all)
	if len(all) == 1 {
		group = ""
	}
	for _, u := range all {
		u.citizen.Group = group
		if err := u.rebuild(history, nil); err != nil {
			return err
		}
	}
	return nil
}

// leave takes a citizen out of its group, in a transaction of the store, and
// counts for it and for those who stay what was recorded for them. It returns
// all of these, the citizen first; write writes them.
func leave(u *updates) ([]*updates, error) {
	all, err := everyone(u)
	if err != nil {
		return nil, err
	}
	group := u.citizen.Group
	for _, part := range [][]*updates{all[:1], all[1:]} {
		history, err := historyOf(part)
		if err != nil {
			return nil, err
		}
		if err := join(part, group, history); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func without(group []store.Citizen, cid permission.CitizenID) []store.Citizen {
	return slices.DeleteFunc(group, func(c store.Citizen) bool { return c.ID == cid })
}
