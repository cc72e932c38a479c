// Package mail says what is written to citizens: the five mails, their texts
// in English and Portuguese, the texts that an application puts in their
// place, and the event that asks for one to be sent.
//
// It is a rule room: no I/O, no goroutine, no clock. It sends nothing and does
// not know who does.
package mail

import (
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
)

// Name is the name of a template.
type Name string

// The templates. Source: DOMAIN 7.5.
const (
	DoubleOptIn            Name = "double-opt-in"
	ConsentConfirmation    Name = "consent-confirmation"
	WithdrawalConfirmation Name = "withdrawal-confirmation"
	ExpiryReminder         Name = "expiry-reminder"
	Receipt                Name = "receipt"
)

// Names returns the names of all templates, in the order in which a citizen
// meets them.
func Names() []Name {
	return []Name{DoubleOptIn, ConsentConfirmation, WithdrawalConfirmation, ExpiryReminder, Receipt}
}

// Template is the text of one mail in one language. Subject and Text are plain,
// HTML is a fragment of a page; each may hold placeholders such as
// {{.application}}.
type Template struct {
	Name      Name
	Language  string // "en", "pt", or another tag of BCP 47, as Canonical spells it
	Subject   string
	Text      string
	HTML      string
	UpdatedAt time.Time // zero: it is one of ours
}

// Content is what a mail speaks of.
type Content struct {
	Application string // its name
	Options     []Choice
	Statement   string // the text that was shown; may be empty
	PolicyURL   string // may be empty
	ActionURL   string // of the link to confirm, or where the receipt is; may be empty
	ExpiresAt   time.Time
	ReceiptID   string
}

// Choice is an option in the words of its parts.
type Choice struct {
	Name       string
	Purpose    string
	Party      string
	ValidUntil time.Time        // zero: for ever
	State      permission.State // what was said; only a receipt names it, for there it may differ; may be empty
}

// Message is a mail as it is asked for.
type Message struct {
	ID        string // "eml_…"
	Template  Name
	To        string // empty: nobody's address is kept
	Language  string
	Subject   string
	Text      string
	HTML      string
	ActionURL string    // empty: none
	ExpiresAt time.Time // of the action; zero: none
}

// Event returns the event of the feed citizen-emails that asks for a mail to
// be sent. The caller gives it an ID and a recording time.
func Event(c permission.Citizen, m Message, at time.Time) event.Event {
	return event.Event{
		Application: c.Application, Feed: event.CitizenEmails, Type: event.CitizenEmail,
		Subject: string(c.ID), OccurredAt: at, Body: body(c, m),
	}
}
