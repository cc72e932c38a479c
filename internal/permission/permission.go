// Package permission holds what a citizen allows: the options and preferences
// that can be asked about, the transactions that record the answers, and which
// of the answers is in force at an instant.
//
// It is a rule room: every function takes the time as an argument and returns
// the new state and what changed by it; the receiver is left alone. It knows
// no citizen but by ID, sends nothing, and keeps nothing. Times are UTC with
// milliseconds; a zero time is "not set".
//
// Source of the model: the project's table of DataGuard Consent & Preference
// Management (DOMAIN 3.2, 3.4, 7.1) and CONTRACT 6 and 9.
package permission

// The IDs. All are opaque; those of options, groups and parts may be chosen by
// their owner.
type (
	OptionID      string
	GroupID       string
	StatementID   string
	PolicyID      string
	TransactionID string
	CitizenID     string
)

// Justification is the lawful basis of a permission.
type Justification string

// The justifications. Source: DOMAIN 3.2, table of permission states; the six
// bases of GDPR art. 6(1).
const (
	ByConsent         Justification = "consent"
	ByInterest        Justification = "legitimate-interest"
	ByContract        Justification = "contract"
	ByPublicInterest  Justification = "public-interest"
	ByVitalInterest   Justification = "vital-interest"
	ByLegalObligation Justification = "legal-obligation"
)

// State is what a permission says. The empty State is null: nothing is in
// force. There is no state for a withdrawal, which is a later DENIED, and none
// for a lapse.
type State string

// The states. Source: DOMAIN 3.2.
const (
	Granted         State = "GRANTED"
	Denied          State = "DENIED"
	Pending         State = "PENDING" // double opt-in: asked, not yet confirmed
	Claimed         State = "CLAIMED"
	Objected        State = "OBJECTED"
	ObjectionUpheld State = "OBJECTION_UPHELD"
)

// Justifications returns all justifications, in the order of their source.
func Justifications() []Justification {
	return []Justification{ByConsent, ByInterest, ByContract, ByPublicInterest, ByVitalInterest, ByLegalObligation}
}

// States returns the states that a justification allows, in the order of their
// source; none for a justification that does not exist.
//
// Source: DOMAIN 3.2, table of permission states.
func (j Justification) States() []State {
	switch j {
	case ByConsent:
		return []State{Granted, Denied, Pending}
	case ByInterest:
		return []State{Claimed, Objected, ObjectionUpheld}
	case ByContract, ByPublicInterest, ByVitalInterest, ByLegalObligation:
		return []State{Claimed}
	}
	return nil
}
