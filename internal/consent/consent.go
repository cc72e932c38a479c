// Package consent holds the life of a consent request: its states, its
// deadlines, and who may do what when.
//
// It is a rule room: every function takes the time as an argument and returns
// the new state and the events to publish with it; the receiver is left alone.
// Source of the state machine: the project's table of "Webhook in Data
// Sharing" and the Open Finance Brasil Consents API 3.3.1 and Payments API 4.
package consent

import "time"

// ID names a consent: "con_…".
type ID string

// Type is the family of a consent.
type Type string

// The families. Source: "Webhook in Data Sharing", field "type".
const (
	Data    Type = "DATA"
	Payment Type = "PAYMENT"
)

// Status is where a consent is in its life.
type Status string

// The states. Awaiting and PartiallyAccepted are undecided; Authorised is
// open; Consumed (PAYMENT only), Rejected, Expired and Revoked are closed.
const (
	Awaiting          Status = "AWAITING_AUTHORISATION"
	PartiallyAccepted Status = "PARTIALLY_ACCEPTED"
	Authorised        Status = "AUTHORISED"
	Consumed          Status = "CONSUMED"
	Rejected          Status = "REJECTED"
	Expired           Status = "EXPIRED"
	Revoked           Status = "REVOKED"
)

// Document identifies a person (CPF) or a company (CNPJ).
type Document struct {
	Identification string
	Rel            string
}

// Money is what a PAYMENT consent is about.
type Money struct {
	Type     string // "PIX"
	Currency string // ISO 4217
	Amount   string // ^\d{1,16}\.\d{2}$
}

// Creditor receives a payment.
type Creditor struct {
	PersonType string // optional: "PESSOA_NATURAL" | "PESSOA_JURIDICA"
	CpfCnpj    string // optional
	Name       string
}

// Rejection tells why a consent is closed.
type Rejection struct {
	By                    string // USER | TPP | ASPSP
	Code                  string
	AdditionalInformation string // ≤ 140 characters, may be empty
}

// Extension is one renewal.
type Extension struct {
	RequestedAt       time.Time
	ExpiresAt         time.Time // zero: indefinite
	PreviousExpiresAt time.Time // zero: was indefinite
}

// Policy holds the deadlines' lengths.
type Policy struct {
	ApprovalTTL    time.Duration // from creation, undecided: 60 minutes by default
	ConsumptionTTL time.Duration // from approval, unconsumed: 70 minutes by default
}

// Consent is one consent. Times are UTC with milliseconds; a zero time is
// "not set".
type Consent struct {
	ID          ID
	ConsentID   string // URN, ≤ 256 characters
	Application string
	Type        Type
	Status      Status
	Version     int64 // grows by one with each change, from 1

	Permissions    []string // DATA
	LoggedUser     Document
	BusinessEntity *Document
	CitizenID      string    // optional
	Payment        *Money    // PAYMENT
	Creditor       *Creditor // PAYMENT

	Approvers  int      // how many must approve, 1..10
	ApprovedBy []string // who did, in order; an unnamed approver is ""

	CreatedAt       time.Time
	StatusUpdatedAt time.Time
	AuthorisedAt    time.Time
	ConsumedAt      time.Time
	ExpiresAt       time.Time // expirationDateTime; zero: indefinite

	// Deadline is when the consent expires if nothing happens before; zero:
	// never. It is fixed when a state is entered, so that a later change of
	// settings does not move it.
	Deadline          time.Time
	ApprovalDeadline  time.Time // fixed at creation
	ApproversDeadline time.Time // fixed at creation; zero with one approver
	ConsumeDeadline   time.Time // fixed at approval; zero before it and after consumption

	Rejection  *Rejection
	Extensions []Extension
}

// Closed tells whether nothing can happen to the consent any more.
func (c Consent) Closed() bool {
	switch c.Status {
	case Consumed, Rejected, Expired, Revoked:
		return true
	}
	return false
}
