// Package event names what happened and gives it a shape.
//
// It is a rule room: no I/O, no goroutine, no clock. It does not know who is
// told or how; it holds the names of both published documents and the form in
// which an event is kept.
package event

import (
	"strings"
	"time"
)

// Seq is the place of an event in its application's log: dense, from 1, in
// commit order. It orders; an ID never does.
type Seq int64

// Type is the dotted name of what happened.
type Type string

// The types. Source: "Webhook in Data Sharing", event table, for the first
// six; Standard Webhooks 1.0.0 for the dotted form.
const (
	ConsentCreateReceived Type = "consent.create.received"
	ConsentCreated        Type = "consent.created"
	ConsentApproved       Type = "consent.approved"
	ConsentRejected       Type = "consent.rejected"
	ConsentExpired        Type = "consent.expired"
	ConsentRevoked        Type = "consent.revoked"
	ConsentConsumed       Type = "consent.consumed"
	ConsentExtended       Type = "consent.extended"

	PermissionsDelta     Type = "permissions.delta"
	PermissionsEffective Type = "permissions.effective"
	CitizenEmail         Type = "citizen.email"
	CitizenErased        Type = "citizen.erased"

	WebhookTest          Type = "webhook.test"
	WebhookStatusChanged Type = "webhook.status_changed"
)

// Feed groups the types that one kind of endpoint receives by default.
type Feed string

// The feeds. A consent's type decides between the two lifecycle feeds.
const (
	LifecycleData       Feed = "lifecycle-data"
	LifecyclePayment    Feed = "lifecycle-payment"
	ConsentReceipts     Feed = "consent-receipts"
	EffectivePermission Feed = "effective-permission"
	CitizenEmails       Feed = "citizen-emails"
	Erasures            Feed = "erasures"   // citizen.erased
	Operations          Feed = "operations" // webhook.status_changed
)

// sourceNames are the names of "Webhook in Data Sharing" without the blanks
// that its rendering puts around the colons; the last two are additions.
var sourceNames = []struct {
	t Type
	n string
}{
	{ConsentCreateReceived, "before:consent:create"},
	{ConsentCreated, "after:consent:create"},
	{ConsentApproved, "consent:approved"},
	{ConsentRejected, "consent:rejected"},
	{ConsentExpired, "consent:expired"},
	{ConsentRevoked, "consent:revoke"},
	{ConsentConsumed, "consent:consumed"},
	{ConsentExtended, "consent:extended"},
}

// Lifecycle returns the lifecycle types in the order of a consent's life. The
// first six are the source's; the last two are ours and sent only to
// subscriptions that list them.
func Lifecycle() []Type {
	ts := make([]Type, len(sourceNames))
	for i, s := range sourceNames {
		ts[i] = s.t
	}
	return ts
}

// SourceLifecycle returns the six types that the source document names; an
// interceptor receives exactly these.
func SourceLifecycle() []Type { return Lifecycle()[:6] }

// SourceName returns the name by which an interceptor's body spells t, or the
// empty string when t is no lifecycle type.
func (t Type) SourceName() string {
	for _, s := range sourceNames {
		if s.t == t {
			return s.n
		}
	}
	return ""
}

// IsLifecycle tells whether t is one of the eight lifecycle types.
func (t Type) IsLifecycle() bool { return t.SourceName() != "" }

// IsWithdrawal tells whether t takes a permission away. Such an event is sent
// first among the loaded lanes.
func (t Type) IsWithdrawal() bool { return t == ConsentRevoked || t == ConsentRejected }

// Parse reads a type's name: dotted, or as the source spells it. Blanks are
// removed and the letters A to Z lowered first, because the source renders its
// names with blanks around the colons. It returns the empty Type for an unknown
// name; letters that only look or fold like ours, such as U+212A, make one.
func Parse(name string) Type {
	n := strings.Map(lower, strings.Join(strings.Fields(name), ""))
	for _, s := range sourceNames {
		if s.n == n || string(s.t) == n {
			return s.t
		}
	}
	switch t := Type(n); t {
	case PermissionsDelta, PermissionsEffective, CitizenEmail, CitizenErased, WebhookTest, WebhookStatusChanged:
		return t
	}
	return ""
}

func lower(c rune) rune {
	if 'A' <= c && c <= 'Z' {
		return c - 'A' + 'a'
	}
	return c
}

// Event is something that happened, as the log keeps it. Body is the exact
// JSON sent to every endpoint of the feed; it never changes.
type Event struct {
	ID          string // "evt_…"; stable over retries, sent as webhook-id
	Application string // the owner
	Seq         Seq    // place in the application's log; set by the store
	Feed        Feed
	Type        Type
	Subject     string    // what orders it: the ID of a consent or a citizen
	Sequence    int64     // the subject's own counter, from 1; set by the store
	OccurredAt  time.Time // UTC, milliseconds
	RecordedAt  time.Time // UTC, milliseconds
	Body        []byte    // valid UTF-8 JSON, never empty unless Erased
	Erased      bool      // its subject was erased, and the body with it

	// Except, when not empty, is the ID of the one endpoint that is not told:
	// the endpoint that the event is about.
	Except string
}

// TimeFormat is RFC 3339 in UTC with milliseconds: the form of every time on
// the wire. Use it only with times in UTC.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Format renders t for the wire: UTC, milliseconds (CONTRACT 9).
func Format(t time.Time) string { return t.UTC().Format(TimeFormat) }
