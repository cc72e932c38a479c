package permission

import (
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// Actor says who recorded a transaction, and for whom. Every member may be
// empty.
type Actor struct {
	By            string // recordedBy: a person
	ByName        string
	Client        string // recordedClient: the software, by its credential
	ClientName    string
	Authority     string // delegatedAuthorityId: who acts for the citizen
	AuthorityName string
}

// Origin is what all entries of one transaction have in common. It is shared
// and never changed.
type Origin struct {
	Transaction      TransactionID
	RecordedAt       time.Time
	Policy           PolicyID // empty: none was named
	PolicyRef        string
	PolicyVersion    int // the one that was current; 0: none was named
	Statement        StatementID
	StatementRef     string
	StatementVersion int
	Channel          string
	Campaign         string
	Actor            Actor
}

// Entry is one option's change in one transaction.
type Entry struct {
	Option        OptionID
	Group         GroupID // the group that the request named; empty: the option itself
	Place         int     // of the change in its request, from 0
	Justification Justification
	State         State
	ObtainedAt    time.Time
	ValidFrom     time.Time // inside
	ValidUntil    time.Time // outside; zero: for ever
	Origin        *Origin
}

// ValidAt tells whether the entry is valid at an instant, from ValidFrom,
// itself inside, to ValidUntil, itself outside.
func (e Entry) ValidAt(at time.Time) bool {
	return !at.Before(e.ValidFrom) && (e.ValidUntil.IsZero() || at.Before(e.ValidUntil))
}

// Choice is one preference's answer in one transaction, with the labels that
// it had then.
type Choice struct {
	Preference string // its reference
	Label      string
	Chosen     []Alternative // in the order of the request; none: no answer any more
	Place      int           // in its request, from 0
	ObtainedAt time.Time
	Origin     *Origin
}

// Transaction is what one request recorded. It never changes. A reversion has
// neither entries nor choices.
type Transaction struct {
	Citizen CitizenID
	Origin  *Origin
	Reverts TransactionID // the transaction that counts no more; empty: this is no reversion
	Entries []Entry       // in the order of the request, a group's options in the group's
	Choices []Choice      // in the order of the request
	Told    []string      // the IDs of the events that tell of it, in their order
}

// ID returns the ID of the transaction.
func (t Transaction) ID() TransactionID { return t.Origin.Transaction }

// Counting returns the transactions of a history that count, in its order:
// those without a reversion that counts itself. The history is in the order in
// which it was recorded, so that a reversion stands behind what it reverts.
func Counting(history []Transaction) []Transaction {
	off := make(map[TransactionID]bool)
	for _, t := range slices.Backward(history) {
		if t.Reverts != "" && !off[t.ID()] {
			off[t.Reverts] = true
		}
	}
	if len(off) == 0 {
		return history
	}
	return slices.DeleteFunc(slices.Clone(history), func(t Transaction) bool { return off[t.ID()] })
}

// Revert returns the reversion of the transaction id of a citizen's history:
// what it recorded counts no more, as if it had never been, and what it
// replaced counts again. It is a transaction of its own, made by origin, and
// the reverted one stays in the history.
//
// A reversion may be reverted too: the undone is done again, with its own
// obtainedAt. What is reverted already cannot be again, unless that reversion
// was itself reverted.
//
// Errors: fault.NotFound "not_found" when the history has no such transaction;
// fault.Conflict "transaction_reverted" when it counts no more, with the detail
// "revertedBy".
func Revert(history []Transaction, id TransactionID, origin Origin) (Transaction, error) {
	i := slices.IndexFunc(history, func(t Transaction) bool { return t.ID() == id })
	if i < 0 {
		return Transaction{}, fault.New(fault.NotFound, "not_found", "There is no such transaction.")
	}
	for _, t := range Counting(history) {
		if t.Reverts == id {
			return Transaction{}, fault.New(fault.Conflict, "transaction_reverted", "The transaction was reverted already.").
				With("revertedBy", string(t.ID()))
		}
	}
	return Transaction{Citizen: history[i].Citizen, Origin: &origin, Reverts: id}, nil
}
