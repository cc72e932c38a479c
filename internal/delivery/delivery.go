// Package delivery holds the duty to tell one endpoint of one event: its
// states, the verdict on an answer, the retry schedule, and the records that
// the engine and the store exchange.
//
// It is a rule room: no I/O, no goroutine, no clock; jitter comes in as a
// number.
package delivery

import (
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// Endpoint is the ID of a subscription, an interceptor or a mail sender.
type Endpoint string

// Status is where a delivery is.
type Status string

// The states. The last five are ends; held waits for its endpoint.
const (
	Pending    Status = "pending"
	Retrying   Status = "retrying"
	Held       Status = "held"
	Delivered  Status = "delivered"
	Exhausted  Status = "exhausted"
	Discarded  Status = "discarded"
	Superseded Status = "superseded"
	Cancelled  Status = "cancelled"
)

// Statuses returns all states, for validation and documents.
func Statuses() []Status {
	return []Status{Pending, Retrying, Held, Delivered, Exhausted, Discarded, Superseded, Cancelled}
}

// Step is where an attempt ended.
type Step string

// The steps of an attempt, in order.
const (
	StepDNS      Step = "dns"
	StepConnect  Step = "connect"
	StepTLS      Step = "tls"
	StepToken    Step = "token"
	StepRequest  Step = "request"
	StepResponse Step = "response"
)

// Lease is the right to record one endpoint's progress. The epoch, not the
// clock, decides: whoever opens the endpoint, and whoever changes its status,
// moves the epoch on, and progress under an older one is refused.
type Lease struct {
	Endpoint Endpoint
	Epoch    int64
}

// LeaseTime is how long a lease holds where several nodes share a store, from
// the moment when it was asked for. BeatTime is how often a node renews its own.
// A node that dies is noticed, and its endpoints are taken over, after the sum of
// both at the latest. Source: DESIGN 3.8, where they are 15 s and 5 s; it wants the
// work taken over within 20 s (2).
const (
	LeaseTime = 12 * time.Second
	BeatTime  = 3 * time.Second
)

// Beat is what a node learns when it says that it lives.
type Beat struct {
	Self  string   // its own ID
	Nodes []string // those that live, itself included, in order
	// Held are the endpoints of which it holds the lease, with its epoch.
	Held map[Endpoint]int64
}

// Item is one event to be told to one endpoint.
type Item struct {
	Seq      event.Seq
	EventID  string
	Type     event.Type
	Subject  string
	Sequence int64 // the subject's own counter
	Body     []byte

	RecordedAt time.Time
}

// Exception is a delivery that could not just pass: it waits for a retry, or
// behind one of its subject, or was put back for a replay. It lives in a table
// of its own, so the cursor may pass it.
type Exception struct {
	Seq     event.Seq
	Subject string
	State   ExceptionState
	Base    int       // attempts made before this round (a replay starts a new round)
	Tries   int       // attempts made in this round: the place in the schedule
	NextAt  time.Time // retrying: when it is due
	Replay  bool      // sent with "webhook-replay: true"
	Stale   bool      // a replay that is sent although a newer full state was delivered
}

// ExceptionState is why the exception is kept.
type ExceptionState string

// The states of an exception.
const (
	WaitRetry     ExceptionState = "retrying" // due at NextAt
	WaitTurn      ExceptionState = "blocked"  // an earlier event of its subject is not settled
	EndExhausted  ExceptionState = "dead"     // the schedule ended
	EndDiscarded  ExceptionState = "discarded"
	EndSuperseded ExceptionState = "superseded"
)

// Attempt is the record of one try.
type Attempt struct {
	Seq           event.Seq
	Subject       string // of the event
	N             int    // 1, 2, …; numbered on over replays
	At            time.Time
	Duration      time.Duration
	Delivered     bool
	Status        int    // HTTP status, or the reply code of SMTP; 0 when there was none
	Step          Step   // where it ended
	Reason        string // in plain words; empty when delivered
	Replay        bool
	Config        int64 // version of the endpoint's configuration that was used
	Timestamp     int64 // webhook-timestamp: Unix seconds
	InteractionID string
	Signature     string // webhook-signature as sent; empty of a mail
	Response      *Response
	Token         *Exchange // the token that was fetched during the attempt; nil: none was
	NextAt        time.Time // planned next attempt; zero when none
}

// Exchange is one request for a token and its answer, every secret and token
// masked.
type Exchange struct {
	At       time.Time
	Duration time.Duration
	Step     Step   // where it ended
	Reason   string // in plain words; empty when a token came
	Request  Request
	Response *Response // nil when there was no complete header block
}

// Response is what is kept of an answer: valid UTF-8, secrets masked, the
// body at most 4 KiB.
type Response struct {
	Status  int
	Headers []Header
	Body    string
}

// Header is one field of a request or an answer.
type Header struct{ Name, Value string }

// Settlement ends an exception's round. The subject's next exception, the one
// with the lowest Seq that waits its turn, becomes due at the progress's At.
type Settlement struct {
	Seq     event.Seq
	Subject string
	As      Status // Delivered removes the row; Exhausted and Superseded keep it so marked
}

// Breaker is the health of an endpoint, kept over restarts.
type Breaker struct {
	Open     bool
	Since    time.Time // when it opened
	Failures int       // consecutive
	Reason   string    // the last failure, in plain words
}

// HoldState says whether an endpoint's credential is to be had. Source:
// CONTRACT 7 and 9, "authorisation".
type HoldState string

// The states.
const (
	Authorised           HoldState = "authorised"
	TokenTrouble         HoldState = "held"                  // we try again by ourselves
	NeedsReauthorisation HoldState = "needs_reauthorisation" // its owner must act
)

// Hold tells how an endpoint's managed token is. While its State is not
// Authorised nothing is sent, what waits is held, and no attempt is used up.
// The zero Hold is an endpoint that manages no token.
type Hold struct {
	State  HoldState
	Since  time.Time
	Reason string    // in plain words
	NextAt time.Time // of the next try; zero: none planned
	// Exchange is the request for a token that failed last; nil: none was made.
	Exchange *Exchange
}

// Held tells whether nothing is sent.
func (h Hold) Held() bool { return h.State != "" && h.State != Authorised }

// Progress is what became of one endpoint's deliveries, recorded together.
type Progress struct {
	Lease    Lease
	At       time.Time
	Cursor   event.Seq // everything up to here is settled, filtered or an exception; never moves back
	Attempts []Attempt
	Put      []Exception  // inserted, or replaced by (endpoint, Seq)
	Settled  []Settlement // applied after Put, and all of them before any subject's next one becomes due
	Rouse    []string     // subjects whose first waiting exception becomes due at At, unless one is due already
	Breaker  *Breaker     // nil: unchanged
	Hold     *Hold        // nil: unchanged
	Suspend  *Suspension  // the endpoint answered 410
	Replayed *ReplayMark  // progress of a replay job
}

// Suspension is our pause of an endpoint: nothing is discarded, all waits.
type Suspension struct {
	Reason string        // in plain words
	Events []event.Event // webhook.status_changed, logged in the same commit
}

// Pulse is an attempt at a glance.
type Pulse struct {
	At        time.Time
	Duration  time.Duration
	Delivered bool
}

// ReplayJob tells how far a replay is.
type ReplayJob struct {
	ID        string
	Total     int // deliveries that it sends again
	Done      int // of these, how many were put into their subjects' lanes
	Ended     bool
	CreatedAt time.Time
}

// ReplayMark feeds the next deliveries of a replay job. Of each: one that
// already waits for a retry becomes due at the progress's At; one that waits
// its turn is left alone; any other becomes an exception that waits its turn,
// in a new round, with Replay set.
type ReplayMark struct {
	ID   string
	Feed []event.Seq
	Done int // how many of the job were fed, these included; the job ends when all were
}

// Outcome answers one Progress.
type Outcome struct {
	// Fenced: the lease had passed on. The attempts were kept, for they
	// happened; nothing else was written. The holder forgets the endpoint.
	Fenced bool
	// Roused are the exceptions that became due: because the one before them
	// was settled, because Rouse asked for it, or because a replay hastened
	// them.
	Roused []Exception
	// Fed are the exceptions that a replay added; they wait their turn.
	Fed []Exception
}

// Position is where an endpoint stands when it is opened.
type Position struct {
	Lease   Lease
	Cursor  event.Seq
	Settled map[event.Seq]bool // above the cursor: already delivered, or an exception
	Tried   map[event.Seq]int  // above the cursor, not settled: attempts that were made all the same
	Due     []Exception        // all in state retrying, ordered by NextAt
	Waiting map[string]int     // subject → exceptions that are retrying or blocked
	Breaker Breaker
	Hold    Hold
	Replays []Replay // unfinished, oldest first
}

// Replay is a job that feeds chosen deliveries into their subjects' lanes once
// more.
type Replay struct {
	ID           string
	Endpoint     Endpoint
	Seqs         []event.Seq // ascending
	Done         int         // how many were fed
	IncludeStale bool
	CreatedAt    time.Time
}

// Loaded is an exception with the event it is about.
type Loaded struct {
	Exception
	Item Item
	// Newer tells that the event is a full state and that a later one of its
	// subject waits behind it; Passed, that it is a replay, not Stale, and a later
	// one was delivered.
	Newer, Passed bool
}

// Page is a part of the log as one endpoint sees it.
type Page struct {
	Items []Item
	// Upto is the last place looked at; the next page starts behind it. When
	// it equals the place asked from, the endpoint is caught up.
	Upto event.Seq
}

// View is a delivery as it is read.
type View struct {
	ID            string
	EventID       string
	Endpoint      Endpoint
	Interceptor   bool // the endpoint is an interceptor
	MailSender    bool // it is what sends an application's mails
	Seq           event.Seq
	Type          event.Type
	Subject       string
	Sequence      int64
	Status        Status
	AttemptCount  int
	NextAttemptAt time.Time // zero: none planned
	DeliveredAt   time.Time // zero: not delivered
	Reason        string    // of the last failure or of the end, in plain words
	CreatedAt     time.Time
}

// Detail is a delivery with what was sent and answered.
type Detail struct {
	View
	Body     []byte
	Attempts []AttemptView
}

// AttemptView is an attempt with the endpoint's configuration of its time.
type AttemptView struct {
	Attempt
	Shown Shown
}

// Shown is how an endpoint's requests look at one version of its
// configuration, with every secret masked.
type Shown struct {
	URL     string   // query keys masked
	Headers []Header // those of the authentication, masked
}

// Health is an endpoint at a glance.
type Health struct {
	Backlog   int // waiting deliveries, exact up to BacklogExact
	AtLeast   bool
	OldestAt  time.Time // when the oldest of them was recorded; zero: none waits
	Discarded int       // since it was last paused by its owner
	Lost      Loss
	Breaker   Breaker
	Hold      Hold
}

// Loss is what an endpoint was not told because age took it from the log before
// that could be, by the operator's word.
type Loss struct {
	Deliveries   int
	RecordedUpto time.Time // when the last of them was recorded; zero: there is none
	At           time.Time // when the last of them were taken
}

// BacklogExact is the largest backlog that is counted one by one (CONTRACT 9).
const BacklogExact = 10_000
