package permission

import (
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// ByEmail is the channel of a permission that was confirmed by the link in a
// mail.
const ByEmail = "email"

// Awaited returns the changes of a transaction that its citizen can still
// confirm: those recorded as PENDING that are in force at now or, when they
// begin later, will be then. They are in the order of the transaction.
func (t Transaction) Awaited(s Standing, now time.Time) []Entry {
	var out []Entry
	for k := range t.Entries {
		e := &t.Entries[k]
		i, found := slices.BinarySearchFunc(s.lines, e.Option, byOption)
		if e.State != Pending || !found {
			continue
		}
		is, lapsed := s.lines[i].at(later(now, e.ValidFrom).UnixMilli())
		if !lapsed && is.is(e) {
			out = append(out, *e)
		}
	}
	return out
}

// Confirm returns the transaction by which a citizen grants what t asked for:
// every change that is Awaited becomes GRANTED when o is recorded, or when it
// begins if that is later, until where it would have ended. It refers to the
// statement, the policy and the campaign to which t refers, in their versions
// of that time, for the answer is to what was shown then. Of o there count the
// ID, the recording time and the actor.
//
// Error: fault.Conflict "nothing_pending" when no change is Awaited any more.
func (t Transaction) Confirm(s Standing, o Origin) (Transaction, error) {
	awaited := t.Awaited(s, o.RecordedAt)
	if len(awaited) == 0 {
		return Transaction{}, fault.New(fault.Conflict, "nothing_pending", "There is nothing left to confirm.")
	}
	origin := *t.Origin
	origin.Transaction, origin.RecordedAt, origin.Actor, origin.Channel = o.Transaction, o.RecordedAt, o.Actor, ByEmail
	for i := range awaited {
		e := &awaited[i]
		e.State, e.Origin = Granted, &origin
		// A question from a clock ahead of ours must not outrank its answer.
		e.ObtainedAt, e.ValidFrom = later(o.RecordedAt, e.ObtainedAt), later(o.RecordedAt, e.ValidFrom)
	}
	return Transaction{Citizen: t.Citizen, Origin: &origin, Entries: awaited}, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
