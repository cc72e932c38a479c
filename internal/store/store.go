// Package store is the contract of a backend: what must hold whatever keeps
// the data. Its comments are the specification; storetest is the proof.
//
// It holds no SQL and no logic. Times come in as arguments, in UTC with
// milliseconds; a backend reads no clock but for leases.
package store

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Store is one backend.
//
// Every method may return an error without a kind when the backend fails; a
// miss is a fault.NotFound. After one failed fsync or write the store refuses
// all further writes with fault.Unavailable "store_failed" until the process
// restarts, because what the disk holds is then unknown (RULES D1).
type Store interface {
	Reader
	Engine

	// Update runs fn in one read-write transaction; nil commits it, durably:
	// it returns after the fsync. Updates that arrive together share one
	// commit, each isolated from the failure of its neighbours. fn may run
	// again, so it must do nothing that a rollback cannot undo; it must not
	// keep tx and must not call the store by another way. When fn fails its
	// error is returned unchanged and nothing it did remains.
	//
	// A queue that is full answers fault.Unavailable "busy" at once. When ctx
	// ends while fn waits its turn, fn is not run; once it runs, the result
	// is awaited.
	Update(ctx context.Context, fn func(Tx) error) error

	// Rewrap seals anew, by the master key that seals now, every record that
	// another master key of the ring sealed, and returns how many those were. It
	// does so in small transactions while everything else runs, and never
	// overwrites what changed meanwhile. Afterwards the key that seals now opens
	// all there is; until then the store does not open without the former ones.
	//
	// It may be called again at any time, also after it was cut off, and then
	// finds what is left; it returns 0 when nothing is. When the ring is given
	// another first key while it runs it begins again with that one. What no key
	// of the ring opens is left as it is. With an error the records count those
	// that are done.
	Rewrap(ctx context.Context) (records int, err error)

	// Prune takes from the logs what is older than p says, with its deliveries and
	// their attempts, in small transactions while everything else runs. What an
	// endpoint waits for, by its cursor, an exception or a replay, and what an
	// erasure waits for, stays, and so does all that is behind it in the log,
	// unless p.Losing: then the endpoint goes on behind it, and what it lost is
	// counted in its delivery.Health. What an owner's pause discards is not waited
	// for, and stays counted.
	//
	// It returns after a while with More set when there is more to do.
	Prune(ctx context.Context, p Prune) (Pruned, error)
	// Oldest returns when the event was recorded that Prune would take first, were
	// it told to take whatever may go, with losing also what is waited for; zero:
	// there is none.
	Oldest(ctx context.Context, losing bool) (time.Time, error)
	// Size returns how many bytes the data takes: of an embedded store what its
	// file uses, of a PostgreSQL database the log and the attempts.
	Size(ctx context.Context) (bytes int64, err error)

	// Tally adds what was counted of applications' deliveries to what is kept of
	// the spans in which at lies, of each delivery.Span, and drops what is older
	// than these keep; Waiting is not added but the greater one kept. The At of a
	// tally is not looked at; an application that is gone is left out.
	Tally(ctx context.Context, at time.Time, of map[access.ID]*delivery.Tally) error
	// Behind counts the events behind a place of the log that an endpoint is told,
	// at most delivery.BacklogExact; of a part of an endpoint its share.
	Behind(ctx context.Context, app access.ID, e delivery.Endpoint, after event.Seq) (int, error)

	// Watch registers a function that is told, after each commit, what it
	// touched. It is called on the committer's goroutine and must return at
	// once. A missed call costs one poll interval, never an event.
	Watch(fn func(Change))

	// Ping tells whether the store can be read and has accepted every write so
	// far.
	Ping(ctx context.Context) error

	// Close finishes what is queued and releases everything. Idempotent.
	Close() error
}

// Prune is what Store.Prune is to take.
type Prune struct {
	Before    time.Time // what was recorded before it
	Losing    bool      // what is still waited for, too
	WholeDays bool      // of a database that keeps days apart, only those
	Now       time.Time
}

// Pruned is what Store.Prune took.
type Pruned struct {
	Events int
	Lost   int  // deliveries that were waited for
	More   bool // there is more to take
}

// Change is what a commit touched.
type Change struct {
	Applications []access.ID         // whose logs grew
	Endpoints    []delivery.Endpoint // whose configuration, status or replays changed
	Deadline     time.Time           // the earliest deadline of a consent, or Due of a citizen, that was written; zero: none
	Erased       []Subject           // that were erased, or of which the last delivery ended
}

// Subject names what orders events across applications.
type Subject struct {
	Application access.ID
	ID          string
}

// Reader reads. Every read names whose data it wants; what another
// application owns is fault.NotFound, as if it did not exist.
type Reader interface {
	// Application returns one application.
	Application(ctx context.Context, app access.ID) (access.Application, error)
	// Applications returns all, oldest first, and how many there are in all.
	Applications(ctx context.Context, offset, limit int) ([]access.Application, int, error)
	// Credentials returns an application's, oldest first.
	Credentials(ctx context.Context, app access.ID) ([]access.Credential, error)
	// Credential returns the credential of a client, whosever it is.
	Credential(ctx context.Context, clientID string) (access.Credential, error)
	// AccessToken returns the token of a caller of ours with that hash. Expired
	// ones may be missing.
	AccessToken(ctx context.Context, hash [32]byte) (access.Token, error)

	// Consent returns the consent with that ID or consentId.
	Consent(ctx context.Context, app access.ID, ref string) (consent.Consent, error)
	// Consents returns a page, newest first, and the After of the next page,
	// empty at the end.
	Consents(ctx context.Context, app access.ID, q ConsentQuery) ([]consent.Consent, string, error)
	// DueConsents returns consents whose deadline is at or before now, of all
	// applications, earliest deadline first.
	DueConsents(ctx context.Context, now time.Time, limit int) ([]ConsentRef, error)
	// NextDeadline returns the earliest deadline of all consents; zero: none.
	NextDeadline(ctx context.Context) (time.Time, error)

	// Catalogue returns the application's configuration, archived things
	// included. It is shared and must not be changed.
	Catalogue(ctx context.Context, app access.ID) (*permission.Catalogue, error)
	// Parts returns the parts of a kind that stand behind options, in order of
	// creation.
	Parts(ctx context.Context, app access.ID, kind permission.Kind) ([]permission.Part, error)
	// StatementVersions returns every version of a statement, oldest first, the
	// current one last. Their Life is the statement's.
	StatementVersions(ctx context.Context, app access.ID, id permission.StatementID) ([]permission.Statement, error)
	// PolicyVersions returns every version of a policy, as StatementVersions.
	PolicyVersions(ctx context.Context, app access.ID, id permission.PolicyID) ([]permission.Policy, error)

	// Citizen returns the citizen with that ID, or the one that it was merged
	// into.
	Citizen(ctx context.Context, app access.ID, id permission.CitizenID) (Citizen, error)
	// CitizenByRef returns the citizen with that ExternalRef, or the one that it
	// was merged into; there is none with the empty one.
	CitizenByRef(ctx context.Context, app access.ID, externalRef string) (Citizen, error)
	// Citizens returns a page, newest first, and the After of the next page,
	// empty at the end.
	Citizens(ctx context.Context, app access.ID, q CitizenQuery) ([]Citizen, string, error)
	// Linked returns the citizens of a group, in the order in which they were
	// made; none of one that there is not, the empty one included.
	Linked(ctx context.Context, app access.ID, group string) ([]Citizen, error)
	// Transaction returns one transaction.
	Transaction(ctx context.Context, app access.ID, id permission.TransactionID) (permission.Transaction, error)
	// Transactions returns the whole history of some citizens together, in the
	// order recorded; of those that were merged into one of them too.
	Transactions(ctx context.Context, app access.ID, citizens ...permission.CitizenID) ([]permission.Transaction, error)
	// Past returns what a citizen's state at an instant is made of: the last
	// checkpoint at or before at, and the transactions of its Histories that were
	// recorded behind it and not after at, in order. Of each history it may stop
	// at the first that was recorded after at. When there is no such checkpoint it
	// is the zero Standing, with the citizen's own history.
	Past(ctx context.Context, app access.ID, citizen permission.CitizenID, at time.Time) (Checkpoint, []permission.Transaction, error)
	// TransactionPage returns a page of the history of a citizen and of those
	// merged into it, the last recorded first, and the after of the next page, empty at the end. A malformed after,
	// or one of another citizen, is fault.Invalid at "after".
	TransactionPage(ctx context.Context, app access.ID, citizen permission.CitizenID, limit int, after string) ([]permission.Transaction, string, error)
	// DueCitizens returns citizens that are Due at or before now, of all
	// applications, the earliest first.
	DueCitizens(ctx context.Context, now time.Time, limit int) ([]CitizenRef, error)
	// NextLapse returns when the first of all citizens is Due; zero: none.
	NextLapse(ctx context.Context) (time.Time, error)

	// Templates returns the application's own mail templates, by name and
	// language.
	Templates(ctx context.Context, app access.ID) ([]mail.Template, error)
	// Confirmation returns the one of a hash, whosever it is.
	Confirmation(ctx context.Context, hash [32]byte) (Confirmation, error)
	// Audit checks every record of an application: the log's events, and
	// transactions. It reads page by page, so what is recorded meanwhile may be
	// counted or not.
	Audit(ctx context.Context, app access.ID) (Audit, error)

	// Import returns one bulk import.
	Import(ctx context.Context, app access.ID, id string) (Import, error)
	// Imports returns a page, newest first, and the after of the next page,
	// empty at the end. A malformed after is fault.Invalid at "after".
	Imports(ctx context.Context, app access.ID, limit int, after string) ([]Import, string, error)
	// ImportErrors returns what is kept of the refused lines of an import behind
	// the line after, in order, and whether there are more.
	ImportErrors(ctx context.Context, app access.ID, id string, limit int, after int64) ([]ImportError, bool, error)

	// Endpoint returns an endpoint of that style that is not deleted, with its
	// secrets opened and, when it is Asymmetric, the application's SigningKeys.
	// Of a mail sender, of which an application has one, the ID may be empty.
	Endpoint(ctx context.Context, app access.ID, style subscription.Style, id subscription.ID) (subscription.Endpoint, error)
	// Endpoints returns a page in order of creation, and how many match in all.
	Endpoints(ctx context.Context, app access.ID, q EndpointQuery) ([]subscription.Endpoint, int, error)
	// SigningKeys returns an application's, newest first, private keys opened.
	SigningKeys(ctx context.Context, app access.ID) ([]subscription.SigningKey, error)
	// Health returns an endpoint's backlog, breaker and hold.
	Health(ctx context.Context, app access.ID, id subscription.ID) (delivery.Health, error)

	// Event returns one event with its body.
	Event(ctx context.Context, app access.ID, id string) (event.Event, error)
	// Events returns a page in commit order, or with Newest in the reverse of
	// it. After is the ID of the last event
	// seen; an unknown one is fault.Invalid at "after". The second result is
	// the After of the next page, empty when no more events match now.
	Events(ctx context.Context, app access.ID, q EventQuery) ([]event.Event, string, error)

	// Delivery returns one delivery with every attempt. Deliveries of deleted
	// endpoints are found as long as the log keeps them.
	Delivery(ctx context.Context, app access.ID, id string) (delivery.Detail, error)
	// Deliveries returns a page, newest first (by the event's place in the
	// log, then by endpoint), and the After of the next page, empty at the
	// end. A page may hold fewer than Limit, even none, and still have a next.
	Deliveries(ctx context.Context, app access.ID, q DeliveryQuery) ([]delivery.View, string, error)
	// ReplaySelection returns the places in the log, ascending, that a replay
	// of the endpoint would send: logged events that match its feed, chosen by
	// EventIDs, or by recording time (From inclusive, To exclusive) and
	// optionally delivery status; never those already waiting (pending,
	// retrying, held). Unknown event IDs, or of another feed, are
	// fault.Invalid at "/eventIds/<index>". stale is how many full states were
	// left out because a newer one of their subject was delivered to the
	// endpoint; none is with IncludeStale.
	ReplaySelection(ctx context.Context, app access.ID, id subscription.ID, q ReplayQuery) (seqs []event.Seq, stale int, err error)

	// UserByEmail returns the user of the portal with that address, whosever it
	// is.
	UserByEmail(ctx context.Context, email string) (access.User, error)
	// Users returns an application's users of the portal, or with the empty one
	// the operators, oldest first.
	Users(ctx context.Context, app access.ID) ([]access.User, error)
	// Invitation returns the one of that hash, whosever it is; Invitations those of
	// an application, or with the empty one those of operators. Expired ones may be
	// missing.
	Invitation(ctx context.Context, hash [32]byte) (access.Invitation, error)
	Invitations(ctx context.Context, app access.ID) ([]access.Invitation, error)
	// Session returns the session of that hash. Ended ones may be missing.
	Session(ctx context.Context, hash [32]byte) (access.Session, error)

	// ReplayJobs returns the endpoint's latest replays, newest first, at most ten,
	// also those that are done. Their Seqs are not read.
	ReplayJobs(ctx context.Context, app access.ID, id subscription.ID) ([]delivery.ReplayJob, error)

	// Pulses returns how the latest attempts of endpoints went, of each the newest
	// delivery first, at most so many. What the application does not own is left
	// out.
	Pulses(ctx context.Context, app access.ID, ids []subscription.ID, limit int) (map[subscription.ID][]delivery.Pulse, error)

	// Tallies returns an application's tallies of that length, the one in which
	// from lies and later ones, oldest first. Spans in which nothing was counted
	// are left out.
	Tallies(ctx context.Context, app access.ID, span delivery.Span, from time.Time) ([]delivery.Tally, error)

	// Bin returns an inspector's bin by its name, whosever it is.
	Bin(ctx context.Context, name string) (Bin, error)
	// Bins returns an application's, newest first.
	Bins(ctx context.Context, app access.ID) ([]Bin, error)
}

// ConsentQuery chooses consents. Zero fields do not restrict.
type ConsentQuery struct {
	Lifecycle []consent.Status // any of these
	Type      consent.Type
	CitizenID string // whom they name, by any name that this citizen has since a merge
	Limit     int
	After     string // opaque, from the page before; a malformed one is fault.Invalid at "after"
}

// ConsentRef names a consent across applications.
type ConsentRef struct {
	Application access.ID
	ID          consent.ID
}

// The kinds of things that a configuration holds besides parts.
const (
	Option     = "option"
	Group      = "group"
	Preference = "preference"
	Statement  = "statement"
	Policy     = "policy"
)

// Citizen is a person of whom an application keeps permissions, and the state
// of these. All but ID, Application, Version and Group is personal and kept
// sealed.
type Citizen struct {
	ID          permission.CitizenID // unique in its application
	Application access.ID
	ExternalRef string // the application's own name for the person, unique in it; empty: none
	Emails      []string
	Language    string // may be empty
	Standing    permission.Standing
	Version     int64     // from 1; grows by one with each change
	Group       string    // of linked citizens, whose histories count for each of them; empty: none
	Merged      []Merged  // those that became a part of this one, in order
	Reminded    time.Time // up to here the ends ahead were told of; zero: nothing was
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Merged is a citizen that became a part of another one. Its ID and its
// reference name that one from then on.
type Merged struct {
	ID          permission.CitizenID
	ExternalRef string // may be empty
	At          time.Time
}

// Due returns when the next thing happens to a citizen by itself: something
// lapses or begins, or its end is to be told of. Zero: never.
func (c Citizen) Due() time.Time {
	next, remind := c.Standing.Next(), c.Standing.NextReminder(c.Reminded)
	if next.IsZero() || !remind.IsZero() && remind.Before(next) {
		return remind
	}
	return next
}

// Checkpoint is a citizen's state at an instant, kept so that a read of the
// past needs a part of the history only.
type Checkpoint struct {
	Citizen   permission.CitizenID
	At        time.Time
	Standing  permission.Standing
	Histories []permission.CitizenID // whose transactions count from here on, until the next checkpoint
}

// Confirmation is a question that a citizen was asked by mail and answers by
// opening a link. Only the hash of what is in the link is kept.
type Confirmation struct {
	Hash        [32]byte // SHA-256
	Application access.ID
	Citizen     permission.CitizenID
	Transaction permission.TransactionID // whose pending changes are to be confirmed
	ExpiresAt   time.Time
	ConfirmedAt time.Time                // zero: not yet
	Confirmed   permission.TransactionID // the one that granted; empty: none did
}

// Audit is what a check of an application's records found. Each record holds
// the hash of the one before it, so that none can be changed, left out or put
// in between unseen; of what was erased the hash has stayed.
type Audit struct {
	Events       Chain
	Transactions Chain
}

// Chain is what a check found of one kind of records.
type Chain struct {
	Records  int64    // in all
	Pruned   int64    // before them, that age took
	Earlier  int64    // of these, recorded before there was a chain
	Erased   int64    // of these, whose content was erased
	Head     [32]byte // hash of the last one; zero: there is none
	BrokenAt string   // ID of the first record that does not fit; empty: all fit
}

// CitizenRef names a citizen across applications.
type CitizenRef struct {
	Application access.ID
	ID          permission.CitizenID
}

// CitizenQuery chooses a page of citizens.
type CitizenQuery struct {
	Limit int
	After string // opaque, from the page before; a malformed one is fault.Invalid at "after"
}

// Import is a bulk import of transactions, line by line: how far it is. Lines
// are counted from the first; those that were blank are neither recorded nor
// refused.
type Import struct {
	ID          string
	Application access.ID
	Key         string   // Idempotency-Key, unique in the application; empty: none. It is not read back
	Silent      bool     // its transactions make no events
	Done        bool     // all lines came
	Lines       int64    // that were dealt with
	Recorded    int64    // lines that are transactions now
	Refused     int64    // lines that are not
	Errors      int64    // faults of the refused lines
	Kept        int64    // of these, how many are kept
	Digest      [32]byte // SHA-256 of the lines that were dealt with
	StartedAt   time.Time
	UpdatedAt   time.Time
}

// ImportError is what was wrong with one line of an import.
type ImportError struct {
	Line   int64 // from 1
	Fields []fault.Field
}

// EndpointQuery chooses endpoints.
type EndpointQuery struct {
	Style      subscription.Style
	Status     string // "active" | "paused" (paused includes suspended); empty: any
	UpdateType subscription.UpdateType
	Offset     int
	Limit      int
}

// EventQuery chooses events.
type EventQuery struct {
	Type    event.Type
	Subject string
	Newest  bool // the last in commit order first; After then leads to earlier ones
	Limit   int
	After   string
}

// DeliveryQuery chooses deliveries. With no Endpoint it spans all of the
// application, deleted endpoints included. From and To bound the event's
// recording time: from inclusive, to exclusive.
type DeliveryQuery struct {
	Endpoint subscription.ID
	Style    subscription.Style // with Endpoint: must match, else fault.NotFound
	Status   delivery.Status
	Subject  string
	EventID  string
	Type     event.Type
	From, To time.Time
	Limit    int
	After    string // opaque; a malformed one is fault.Invalid at "after"
}

// ReplayQuery chooses what to send again: EventIDs, or a span of time.
type ReplayQuery struct {
	EventIDs     []string
	From, To     time.Time
	Status       delivery.Status
	IncludeStale bool
}

// Bin is an inspector's address and the answers it was told to give.
type Bin struct {
	Name        string // "bin_…", unguessable
	Application access.ID
	Script      Script
	CreatedAt   time.Time
	Share       Share // the zero one: it is not shared
}

// Share lets whoever has a secret read a bin for a time.
type Share struct {
	Hash  [32]byte // SHA-256 of the secret
	Until time.Time
}

// Script is how a bin answers.
type Script struct {
	Status       int           // 100..599 without 1xx; default 200
	Delay        time.Duration // before it answers
	FailureRatio float64       // 0..1: this part of the requests is answered 500
	Headers      map[string]string
	Body         string
}

// Idempotent is the stored answer of a request.
type Idempotent struct {
	Key       string
	Route     string   // e.g. "POST /v1/consents"
	Request   [32]byte // SHA-256 of the body
	Subject   string   // whom the answer is about: the ID of a citizen or a consent; empty: nobody. It is not read back
	Status    int
	Response  []byte // kept sealed
	ExpiresAt time.Time
}

// Tx is one transaction. Its reads see its own writes.
type Tx interface {
	// PutApplication inserts or updates.
	PutApplication(a access.Application) error
	// Application reads within the transaction.
	Application(app access.ID) (access.Application, error)
	// DeleteApplication removes the application and everything that is its,
	// tokens, endpoints, log and bins included.
	DeleteApplication(app access.ID) error
	// PutCredential inserts.
	PutCredential(c access.Credential) error
	// DeleteCredential removes a credential and every token it obtained.
	// fault.NotFound when the application has none of that name.
	DeleteCredential(app access.ID, clientID string) error
	// PutToken inserts; tokens that expired before now are dropped on the way.
	PutToken(t access.Token, now time.Time) error

	// Consent reads within the transaction, by ID or consentId.
	Consent(app access.ID, ref string) (consent.Consent, error)
	// PutConsent inserts or updates the consent and logs the events, in that
	// order, with the next places in the log and the next sequences of their
	// subject. Personal data and bodies are sealed under the subject's key,
	// made with its first event.
	//
	// Error: fault.Conflict "citizen_erased" at "/citizenId" when the consent is
	// new and names somebody who was erased.
	PutConsent(c consent.Consent, evts ...event.Event) error
	// Publish logs events that change no consent.
	Publish(evts ...event.Event) error

	// Catalogue reads within the transaction; see Reader.
	Catalogue(app access.ID) (*permission.Catalogue, error)
	// Part reads within the transaction.
	Part(app access.ID, kind permission.Kind, id string) (permission.Part, error)
	// PutPart inserts, or updates the part of that kind and ID.
	PutPart(app access.ID, p permission.Part) error
	// PutOption inserts, or updates the option of that ID; PutGroup likewise,
	// and PutPreference by reference.
	PutOption(app access.ID, o permission.Option) error
	PutGroup(app access.ID, g permission.Group) error
	PutPreference(app access.ID, p permission.Preference) error
	// PutStatement inserts, or updates the statement of that ID. With a Version
	// that grew the former version is kept beside it; what has the same Version
	// is replaced.
	//
	// Error: fault.Conflict "reference_taken" at "/reference" when another
	// statement of the application has the reference.
	PutStatement(app access.ID, s permission.Statement) error
	// PutPolicy inserts or updates a policy, as PutStatement does.
	PutPolicy(app access.ID, p permission.Policy) error
	// DeleteConfiguration removes a thing of one of the kinds Option, Group,
	// Preference (by reference), Statement and Policy, with all its versions.
	// fault.NotFound when there is none.
	DeleteConfiguration(app access.ID, kind string, id string) error

	// Citizen reads within the transaction; see Reader.
	Citizen(app access.ID, id permission.CitizenID) (Citizen, error)
	// CitizenByRef reads within the transaction; see Reader.
	CitizenByRef(app access.ID, externalRef string) (Citizen, error)
	// PutCitizen inserts, or updates the citizen of that ID, and logs the events,
	// as PutConsent does; their subject is the citizen's ID.
	//
	// Errors, both fault.Conflict: "external_ref_taken" at "/externalRef" when
	// another citizen of the application has it, or one had it that was merged into another one;
	// "citizen_erased" at "/citizenId" when the ID is that of one who was erased.
	PutCitizen(c Citizen, evts ...event.Event) error
	// Transaction reads within the transaction; see Reader.
	Transaction(app access.ID, id permission.TransactionID) (permission.Transaction, error)
	// Transactions reads within the transaction; see Reader.
	Transactions(app access.ID, citizens ...permission.CitizenID) ([]permission.Transaction, error)
	// PutTransaction inserts, at the end of its citizen's history. A citizen who
	// is new is put in the same transaction, before or after it.
	PutTransaction(app access.ID, t permission.Transaction) error
	// Linked reads within the transaction; see Reader.
	Linked(app access.ID, group string) ([]Citizen, error)
	// PutCheckpoint keeps a checkpoint. It stands behind every transaction that
	// was put before it, in this transaction of the store too.
	PutCheckpoint(app access.ID, c Checkpoint) error
	// MergeCitizen takes a citizen away that was merged into another one: its ID
	// and its external reference name that one from then on, and its history
	// counts for it. The events of both stay with their subjects. The other one
	// is put by the caller. fault.NotFound when one of them is unknown.
	MergeCitizen(app access.ID, from, into permission.CitizenID) error
	// Erase destroys what is kept of a person under a subject, which is the ID of
	// a citizen or of a consent, and then logs the events, which are the last of
	// the subject; what is kept of these is destroyed in the transaction in which
	// the last delivery of them ends, and the ID with it: where the subject was
	// named, its keyed hash is. Without events that is at once.
	//
	// It destroys the data key, the citizen or the consent, the bodies of all
	// events so far, what receivers answered to them, kept answers of Idempotent
	// requests about the subject, checkpoints and confirmations; what waits to be
	// delivered is cancelled. Of transactions and events there remain the ID, the
	// type, the times and the place in the chain. Subjects merged into it are
	// erased with it. fault.NotFound when there is no such citizen or consent.
	Erase(app access.ID, subject string, last ...event.Event) error
	// ConsentsOf returns all consents that name a citizen, oldest first.
	ConsentsOf(app access.ID, citizenID string) ([]consent.Consent, error)
	// Templates reads within the transaction; see Reader.
	Templates(app access.ID) ([]mail.Template, error)
	// PutTemplate inserts, or replaces the template of that name and language.
	PutTemplate(app access.ID, t mail.Template) error
	// DeleteTemplate removes one. fault.NotFound when there is none.
	DeleteTemplate(app access.ID, name mail.Name, language string) error
	// Confirmation reads within the transaction; see Reader.
	Confirmation(hash [32]byte) (Confirmation, error)
	// PutConfirmation inserts, or updates the one of that hash. Those that
	// expired more than 30 days before now are dropped on the way.
	PutConfirmation(c Confirmation, now time.Time) error
	// CitizensBy returns those citizens that have one of the IDs or one of the
	// external references, or into whom one was merged that had it, in any order,
	// one perhaps twice.
	CitizensBy(app access.ID, ids []permission.CitizenID, externalRefs []string) ([]Citizen, error)
	// PutRecorded does what PutCitizen does for each citizen, with the events
	// about all of them, and then what PutTransaction does for each transaction;
	// for many it is faster. No citizen is given twice.
	//
	// Error: fault.Conflict "external_ref_taken" as of PutCitizen; the whole
	// transaction must then fail.
	PutRecorded(app access.ID, cs []Citizen, ts []permission.Transaction, evts ...event.Event) error
	// FeedUsed tells whether a feed of permissions or e-mails was ever asked
	// for: from the first PutEndpoint on whose Filter hears the feed's own type,
	// for ever, also once that endpoint is paused or deleted. It is false for
	// every other feed.
	FeedUsed(app access.ID, feed event.Feed) (bool, error)

	// Import reads within the transaction; see Reader.
	Import(app access.ID, id string) (Import, error)
	// ImportByKey returns the import of that Key, which is not empty.
	ImportByKey(app access.ID, key string) (Import, error)
	// PutImport inserts, or updates how far the import of that ID is, and keeps
	// the errors beside those that it has, sealed. Of an import that is there
	// Key, Silent and StartedAt stay.
	PutImport(i Import, errs ...ImportError) error

	// Idempotent returns the stored answer for the key that has not expired at
	// now, or fault.NotFound.
	Idempotent(app access.ID, route, key string, now time.Time) (Idempotent, error)
	// PutIdempotent stores an answer; expired ones are dropped on the way.
	PutIdempotent(app access.ID, i Idempotent, now time.Time) error

	// Endpoint reads within the transaction; see Reader.
	Endpoint(app access.ID, style subscription.Style, id subscription.ID) (subscription.Endpoint, error)
	// CountEndpoints counts those of the application that are not deleted.
	CountEndpoints(app access.ID) (int, error)
	// InterceptorExists tells whether the application has another interceptor
	// (not except) with that URL and feed.
	InterceptorExists(app access.ID, url string, feed event.Feed, except subscription.ID) (bool, error)
	// PutEndpoint inserts an endpoint, which then hears everything logged
	// after this transaction's own events so far, or updates it. Secrets are
	// sealed. Shown, how its requests look with secrets masked, is kept for
	// its Version. When the Filter differs from the one in force, a new filter
	// version starts at the log's end; what waits stays under the old one.
	// SigningKeys are the application's and not written with an endpoint.
	PutEndpoint(e subscription.Endpoint, shown delivery.Shown) error
	// ForgetToken wipes the token that is kept for an endpoint. Its generation
	// grows, so that one obtained before can no longer be saved; it may be called
	// when none is kept. fault.NotFound when the endpoint is deleted.
	ForgetToken(app access.ID, id subscription.ID) error
	// SigningKeys reads within the transaction; see Reader.
	SigningKeys(app access.ID) ([]subscription.SigningKey, error)
	// PutSigningKey inserts a key pair or updates it, by its ID. With an insert
	// those that had expired when the new one was made are dropped. Every
	// endpoint of the application that is Asymmetric counts as changed.
	PutSigningKey(app access.ID, k subscription.SigningKey) error
	// DeleteEndpoint hides the endpoint, wipes its secrets, the token that is
	// kept for it and the exchange of its hold, and cancels what waits for it.
	// Its deliveries stay readable.
	DeleteEndpoint(app access.ID, id subscription.ID, now time.Time) error
	// Discard begins an owner's pause: everything that waits for the endpoint
	// and everything logged until Resume counts as discarded, and unfinished
	// replays end. The lease is broken.
	Discard(app access.ID, id subscription.ID, now time.Time) error
	// Resume ends an owner's pause: the cursor moves to the log's end. After a
	// suspension (nothing was discarded) the cursor stays and every exception
	// that waits for a retry becomes due at now. The breaker closes. The lease
	// is broken. It does not touch the endpoint's status: PutEndpoint does.
	Resume(app access.ID, id subscription.ID, now time.Time) error
	// PutReplay stores a replay job.
	PutReplay(app access.ID, r delivery.Replay) error

	// UserByEmail and Invitation read within the transaction; see Reader.
	UserByEmail(email string) (access.User, error)
	Invitation(hash [32]byte) (access.Invitation, error)
	// PutUser inserts, or updates the user of that address and ID. Error:
	// fault.Conflict "email_taken" at "email" when another user has the address.
	PutUser(u access.User) error
	// DeleteUser removes an application's user, or with the empty one an operator,
	// and ends the user's sessions. fault.NotFound when there is none.
	DeleteUser(app access.ID, id string) error
	// PutInvitation inserts; what expired before now is dropped on the way.
	// DeleteInvitation is fault.NotFound when there is none.
	PutInvitation(i access.Invitation, now time.Time) error
	DeleteInvitation(hash [32]byte) error
	// PutSession inserts or updates; what ended before now is dropped on the way.
	// DeleteSession removes one; idempotent.
	PutSession(s access.Session, now time.Time) error
	DeleteSession(hash [32]byte) error

	// PutBin inserts or updates; DeleteBin removes.
	PutBin(b Bin) error
	Bin(name string) (Bin, error)
	DeleteBin(app access.ID, name string) error
}

// Engine is what dispatch asks of a backend; dispatch declares it again as
// its own Log.
type Engine interface {
	// Active returns the endpoints that may be sent to: active, not deleted.
	Active(ctx context.Context) ([]delivery.Endpoint, error)
	// Config returns an endpoint's configuration, secrets opened, SigningKeys
	// when it is Asymmetric, whatever its status; fault.NotFound when it is
	// deleted.
	Config(ctx context.Context, e delivery.Endpoint) (subscription.Endpoint, error)
	// Open takes the lease of an endpoint with a new epoch and tells where it
	// stands. Where several nodes share the store the lease lasts for
	// delivery.LeaseTime, by the backend's clock, and then goes to whoever asks.
	//
	// Errors, both fault.Conflict: "not_active" when it may not be sent to;
	// "lease_taken" when another node has it.
	Open(ctx context.Context, e delivery.Endpoint) (delivery.Position, error)
	// Beat says that this node lives, renews its leases for delivery.LeaseTime, and
	// tells who else lives. A node that has not said so for that long does not
	// count. Of an embedded store there is one node, which holds everything.
	Beat(ctx context.Context) (delivery.Beat, error)
	// Release gives leases back, so that another node need not wait for their
	// end; of one that has passed on, nothing. With gone this node does not live
	// any more.
	Release(ctx context.Context, leases []delivery.Lease, gone bool) error
	// Read returns the next events for the endpoint after a place in the log,
	// under the filters in force at each place: at most limit items and about
	// maxBytes of bodies (always at least one item when there is one). Nothing
	// with a lower place can still appear behind Upto.
	Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (delivery.Page, error)
	// Load returns the exceptions at these places with their events, in that
	// order; those that are gone are left out. Of a permissions.effective it is
	// told whether a later one of its subject waits or was delivered, too.
	Load(ctx context.Context, e delivery.Endpoint, seqs []event.Seq) ([]delivery.Loaded, error)
	// Replays returns the endpoint's unfinished replay jobs, oldest first.
	Replays(ctx context.Context, e delivery.Endpoint) ([]delivery.Replay, error)
	// Token returns the token that is kept for an endpoint, opened. When none is
	// only Generation may be set: to what it must be saved from. fault.NotFound
	// when the endpoint is deleted.
	Token(ctx context.Context, e delivery.Endpoint) (subscription.Token, error)
	// SaveToken keeps a token for an endpoint, sealed; it returns after the
	// fsync. t.Generation is that of the token from which t was made: t is kept
	// only if it still is the one that is kept, and then as the next generation.
	// Of several that were made from one, one is kept.
	//
	// Errors: fault.Conflict "token_changed" when the generation is another;
	// fault.NotFound when the endpoint is deleted.
	SaveToken(ctx context.Context, e delivery.Endpoint, t subscription.Token) error
	// Record writes what became of a batch, all of it durably, or, when it
	// fails, nothing. One outcome for each progress, in order. A progress
	// whose lease has passed to another is fenced: see delivery.Outcome.
	//
	// The Token of an attempt is kept as its Response is; the Exchange of a Hold
	// replaces the one before, nil included.
	//
	// A Suspend progress sets the endpoint suspended with its reason, logs
	// the given events and breaks the lease, unless it is fenced.
	Record(ctx context.Context, batch []delivery.Progress) ([]delivery.Outcome, error)
}
