package storetest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Injected is the code of every error that a Faulty makes up. Its kind is
// fault.Unavailable.
const Injected = "injected_fault"

// Faulty is a store that fails on command. What it is not told to fail it
// passes on to the store it wraps, Watch and Close included.
//
// A call fails before it takes effect: the wrapped store is not asked; or
// after: the wrapped store did its work, and the caller is told that it failed,
// which is what a lost answer to a commit looks like. A call is named by its
// method: "Update", "Record", "Read", …; one that is made within an Update by
// TxCall and its method.
//
// A test of a whole road counts the calls of one run without faults, and then
// makes as many runs, each of which fails another one, before and after.
type Faulty struct {
	store.Store

	mu     sync.Mutex
	calls  map[string]int
	faults map[string][]order
	twice  bool
}

// order is a fault to come: at the n-th call, counted from the first ever.
type order struct {
	n     int
	after bool
}

// NewFaulty returns a store that does what s does until it is told to fail.
func NewFaulty(s store.Store) *Faulty {
	return &Faulty{Store: s, calls: map[string]int{}, faults: map[string][]order{}}
}

// FailAt makes the n-th call of that name from now on fail, 1 being the next;
// after it took effect, or before. It may be called several times, also while
// the store is in use.
func (f *Faulty) FailAt(call string, n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[call] = append(f.faults[call], order{f.calls[call] + n, after})
}

// Heal forgets every fault that is still to come.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = map[string][]order{}
}

// RunTwice makes every Update run its function once in a transaction that is
// rolled back and then once more, as the contract allows a backend to do.
func (f *Faulty) RunTwice() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.twice = true
}

// Calls returns how often each method was called, failed calls included.
func (f *Faulty) Calls() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.calls)
}

// count tells what is to become of this call.
func (f *Faulty) count(call string) (before, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[call]++
	for _, o := range f.faults[call] {
		if o.n == f.calls[call] {
			before, after = before || !o.after, after || o.after
		}
	}
	return before, after
}

func injected() error {
	return fault.New(fault.Unavailable, Injected, "The store failed because a test told it to.")
}

// do carries out one call.
func do[T any](f *Faulty, call string, fn func() (T, error)) (T, error) {
	var zero T
	before, after := f.count(call)
	if before {
		return zero, injected()
	}
	v, err := fn()
	if after && (err == nil || call != "Update") { // what the function of an Update answers is not lost
		return zero, injected()
	}
	return v, err
}

// page is a list and what comes beside it.
type page[T, N any] struct {
	items []T
	next  N
}

// list carries out one call that returns a list and something beside it.
func list[T, N any](f *Faulty, call string, fn func() ([]T, N, error)) ([]T, N, error) {
	p, err := do(f, call, func() (page[T, N], error) {
		items, next, err := fn()
		return page[T, N]{items, next}, err
	})
	return p.items, p.next, err
}

var errAgain = errors.New("rolled back by a test, to run once more")

// Update implements store.Store.
func (f *Faulty) Update(ctx context.Context, fn func(store.Tx) error) error {
	_, err := do(f, "Update", func() (struct{}, error) {
		f.mu.Lock()
		twice := f.twice
		f.mu.Unlock()
		within := func(tx store.Tx) error { return fn(&faultyTx{tx, f}) }
		if twice {
			err := f.Store.Update(ctx, func(tx store.Tx) error {
				if err := within(tx); err != nil {
					return err
				}
				return errAgain
			})
			if !errors.Is(err, errAgain) {
				return struct{}{}, err
			}
		}
		return struct{}{}, f.Store.Update(ctx, within)
	})
	return err
}

// Ping implements store.Store.
func (f *Faulty) Ping(ctx context.Context) error {
	_, err := do(f, "Ping", func() (struct{}, error) { return struct{}{}, f.Store.Ping(ctx) })
	return err
}

// Prune implements store.Store.
func (f *Faulty) Prune(ctx context.Context, p store.Prune) (store.Pruned, error) {
	return do(f, "Prune", func() (store.Pruned, error) { return f.Store.Prune(ctx, p) })
}

// Oldest implements store.Store.
func (f *Faulty) Oldest(ctx context.Context, losing bool) (time.Time, error) {
	return do(f, "Oldest", func() (time.Time, error) { return f.Store.Oldest(ctx, losing) })
}

// Size implements store.Store.
func (f *Faulty) Size(ctx context.Context) (int64, error) {
	return do(f, "Size", func() (int64, error) { return f.Store.Size(ctx) })
}

// Rewrap implements store.Store. A fault forgets how many records it sealed.
func (f *Faulty) Rewrap(ctx context.Context) (int, error) {
	return do(f, "Rewrap", func() (int, error) { return f.Store.Rewrap(ctx) })
}

// Application implements store.Reader.
func (f *Faulty) Application(ctx context.Context, app access.ID) (access.Application, error) {
	return do(f, "Application", func() (access.Application, error) { return f.Store.Application(ctx, app) })
}

// Applications implements store.Reader.
func (f *Faulty) Applications(ctx context.Context, offset, limit int) ([]access.Application, int, error) {
	return list(f, "Applications", func() ([]access.Application, int, error) { return f.Store.Applications(ctx, offset, limit) })
}

// Credentials implements store.Reader.
func (f *Faulty) Credentials(ctx context.Context, app access.ID) ([]access.Credential, error) {
	return do(f, "Credentials", func() ([]access.Credential, error) { return f.Store.Credentials(ctx, app) })
}

// Credential implements store.Reader.
func (f *Faulty) Credential(ctx context.Context, clientID string) (access.Credential, error) {
	return do(f, "Credential", func() (access.Credential, error) { return f.Store.Credential(ctx, clientID) })
}

// AccessToken implements store.Reader.
func (f *Faulty) AccessToken(ctx context.Context, hash [32]byte) (access.Token, error) {
	return do(f, "AccessToken", func() (access.Token, error) { return f.Store.AccessToken(ctx, hash) })
}

// Consent implements store.Reader.
func (f *Faulty) Consent(ctx context.Context, app access.ID, ref string) (consent.Consent, error) {
	return do(f, "Consent", func() (consent.Consent, error) { return f.Store.Consent(ctx, app, ref) })
}

// Consents implements store.Reader.
func (f *Faulty) Consents(ctx context.Context, app access.ID, q store.ConsentQuery) ([]consent.Consent, string, error) {
	return list(f, "Consents", func() ([]consent.Consent, string, error) { return f.Store.Consents(ctx, app, q) })
}

// DueConsents implements store.Reader.
func (f *Faulty) DueConsents(ctx context.Context, now time.Time, limit int) ([]store.ConsentRef, error) {
	return do(f, "DueConsents", func() ([]store.ConsentRef, error) { return f.Store.DueConsents(ctx, now, limit) })
}

// NextDeadline implements store.Reader.
func (f *Faulty) NextDeadline(ctx context.Context) (time.Time, error) {
	return do(f, "NextDeadline", func() (time.Time, error) { return f.Store.NextDeadline(ctx) })
}

// Catalogue implements store.Reader.
func (f *Faulty) Catalogue(ctx context.Context, app access.ID) (*permission.Catalogue, error) {
	return do(f, "Catalogue", func() (*permission.Catalogue, error) { return f.Store.Catalogue(ctx, app) })
}

// Parts implements store.Reader.
func (f *Faulty) Parts(ctx context.Context, app access.ID, kind permission.Kind) ([]permission.Part, error) {
	return do(f, "Parts", func() ([]permission.Part, error) { return f.Store.Parts(ctx, app, kind) })
}

// StatementVersions implements store.Reader.
func (f *Faulty) StatementVersions(ctx context.Context, app access.ID, id permission.StatementID) ([]permission.Statement, error) {
	return do(f, "StatementVersions", func() ([]permission.Statement, error) { return f.Store.StatementVersions(ctx, app, id) })
}

// PolicyVersions implements store.Reader.
func (f *Faulty) PolicyVersions(ctx context.Context, app access.ID, id permission.PolicyID) ([]permission.Policy, error) {
	return do(f, "PolicyVersions", func() ([]permission.Policy, error) { return f.Store.PolicyVersions(ctx, app, id) })
}

// Citizen implements store.Reader.
func (f *Faulty) Citizen(ctx context.Context, app access.ID, id permission.CitizenID) (store.Citizen, error) {
	return do(f, "Citizen", func() (store.Citizen, error) { return f.Store.Citizen(ctx, app, id) })
}

// CitizenByRef implements store.Reader.
func (f *Faulty) CitizenByRef(ctx context.Context, app access.ID, externalRef string) (store.Citizen, error) {
	return do(f, "CitizenByRef", func() (store.Citizen, error) { return f.Store.CitizenByRef(ctx, app, externalRef) })
}

// Linked implements store.Reader.
func (f *Faulty) Linked(ctx context.Context, app access.ID, group string) ([]store.Citizen, error) {
	return do(f, "Linked", func() ([]store.Citizen, error) { return f.Store.Linked(ctx, app, group) })
}

// Citizens implements store.Reader.
func (f *Faulty) Citizens(ctx context.Context, app access.ID, q store.CitizenQuery) ([]store.Citizen, string, error) {
	return list(f, "Citizens", func() ([]store.Citizen, string, error) { return f.Store.Citizens(ctx, app, q) })
}

// Transaction implements store.Reader.
func (f *Faulty) Transaction(ctx context.Context, app access.ID, id permission.TransactionID) (permission.Transaction, error) {
	return do(f, "Transaction", func() (permission.Transaction, error) { return f.Store.Transaction(ctx, app, id) })
}

// Transactions implements store.Reader.
func (f *Faulty) Transactions(ctx context.Context, app access.ID, citizens ...permission.CitizenID) ([]permission.Transaction, error) {
	return do(f, "Transactions", func() ([]permission.Transaction, error) { return f.Store.Transactions(ctx, app, citizens...) })
}

// TransactionPage implements store.Reader.
func (f *Faulty) TransactionPage(
	ctx context.Context, app access.ID, citizen permission.CitizenID, limit int, after string,
) ([]permission.Transaction, string, error) {
	return list(f, "TransactionPage", func() ([]permission.Transaction, string, error) {
		return f.Store.TransactionPage(ctx, app, citizen, limit, after)
	})
}

// Past implements store.Reader.
func (f *Faulty) Past(
	ctx context.Context, app access.ID, citizen permission.CitizenID, at time.Time,
) (c store.Checkpoint, tail []permission.Transaction, err error) {
	tail, c, err = list(f, "Past", func() ([]permission.Transaction, store.Checkpoint, error) {
		c, tail, err := f.Store.Past(ctx, app, citizen, at)
		return tail, c, err
	})
	return c, tail, err
}

// DueCitizens implements store.Reader.
func (f *Faulty) DueCitizens(ctx context.Context, now time.Time, limit int) ([]store.CitizenRef, error) {
	return do(f, "DueCitizens", func() ([]store.CitizenRef, error) { return f.Store.DueCitizens(ctx, now, limit) })
}

// NextLapse implements store.Reader.
func (f *Faulty) NextLapse(ctx context.Context) (time.Time, error) {
	return do(f, "NextLapse", func() (time.Time, error) { return f.Store.NextLapse(ctx) })
}

// Templates implements store.Reader.
func (f *Faulty) Templates(ctx context.Context, app access.ID) ([]mail.Template, error) {
	return do(f, "Templates", func() ([]mail.Template, error) { return f.Store.Templates(ctx, app) })
}

// Confirmation implements store.Reader.
func (f *Faulty) Confirmation(ctx context.Context, hash [32]byte) (store.Confirmation, error) {
	return do(f, "Confirmation", func() (store.Confirmation, error) { return f.Store.Confirmation(ctx, hash) })
}

// Audit implements store.Reader.
func (f *Faulty) Audit(ctx context.Context, app access.ID) (store.Audit, error) {
	return do(f, "Audit", func() (store.Audit, error) { return f.Store.Audit(ctx, app) })
}

// Import implements store.Reader.
func (f *Faulty) Import(ctx context.Context, app access.ID, id string) (store.Import, error) {
	return do(f, "Import", func() (store.Import, error) { return f.Store.Import(ctx, app, id) })
}

// Imports implements store.Reader.
func (f *Faulty) Imports(ctx context.Context, app access.ID, limit int, after string) ([]store.Import, string, error) {
	return list(f, "Imports", func() ([]store.Import, string, error) { return f.Store.Imports(ctx, app, limit, after) })
}

// ImportErrors implements store.Reader.
func (f *Faulty) ImportErrors(ctx context.Context, app access.ID, id string, limit int, after int64) ([]store.ImportError, bool, error) {
	return list(f, "ImportErrors", func() ([]store.ImportError, bool, error) { return f.Store.ImportErrors(ctx, app, id, limit, after) })
}

// Endpoint implements store.Reader.
func (f *Faulty) Endpoint(ctx context.Context, app access.ID, style subscription.Style, id subscription.ID) (subscription.Endpoint, error) {
	return do(f, "Endpoint", func() (subscription.Endpoint, error) { return f.Store.Endpoint(ctx, app, style, id) })
}

// Endpoints implements store.Reader.
func (f *Faulty) Endpoints(ctx context.Context, app access.ID, q store.EndpointQuery) ([]subscription.Endpoint, int, error) {
	return list(f, "Endpoints", func() ([]subscription.Endpoint, int, error) { return f.Store.Endpoints(ctx, app, q) })
}

// SigningKeys implements store.Reader.
func (f *Faulty) SigningKeys(ctx context.Context, app access.ID) ([]subscription.SigningKey, error) {
	return do(f, "SigningKeys", func() ([]subscription.SigningKey, error) { return f.Store.SigningKeys(ctx, app) })
}

// Health implements store.Reader.
func (f *Faulty) Health(ctx context.Context, app access.ID, id subscription.ID) (delivery.Health, error) {
	return do(f, "Health", func() (delivery.Health, error) { return f.Store.Health(ctx, app, id) })
}

// Event implements store.Reader.
func (f *Faulty) Event(ctx context.Context, app access.ID, id string) (event.Event, error) {
	return do(f, "Event", func() (event.Event, error) { return f.Store.Event(ctx, app, id) })
}

// Events implements store.Reader.
func (f *Faulty) Events(ctx context.Context, app access.ID, q store.EventQuery) ([]event.Event, string, error) {
	return list(f, "Events", func() ([]event.Event, string, error) { return f.Store.Events(ctx, app, q) })
}

// Delivery implements store.Reader.
func (f *Faulty) Delivery(ctx context.Context, app access.ID, id string) (delivery.Detail, error) {
	return do(f, "Delivery", func() (delivery.Detail, error) { return f.Store.Delivery(ctx, app, id) })
}

// Deliveries implements store.Reader.
func (f *Faulty) Deliveries(ctx context.Context, app access.ID, q store.DeliveryQuery) ([]delivery.View, string, error) {
	return list(f, "Deliveries", func() ([]delivery.View, string, error) { return f.Store.Deliveries(ctx, app, q) })
}

// ReplaySelection implements store.Reader.
func (f *Faulty) ReplaySelection(ctx context.Context, app access.ID, id subscription.ID, q store.ReplayQuery) (seqs []event.Seq, stale int, err error) {
	seqs, err = do(f, "ReplaySelection", func() (out []event.Seq, err error) {
		out, stale, err = f.Store.ReplaySelection(ctx, app, id, q)
		return out, err
	})
	return seqs, stale, err
}

// UserByEmail implements store.Reader.
func (f *Faulty) UserByEmail(ctx context.Context, email string) (access.User, error) {
	return do(f, "UserByEmail", func() (access.User, error) { return f.Store.UserByEmail(ctx, email) })
}

// Users implements store.Reader.
func (f *Faulty) Users(ctx context.Context, app access.ID) ([]access.User, error) {
	return do(f, "Users", func() ([]access.User, error) { return f.Store.Users(ctx, app) })
}

// Invitation implements store.Reader.
func (f *Faulty) Invitation(ctx context.Context, hash [32]byte) (access.Invitation, error) {
	return do(f, "Invitation", func() (access.Invitation, error) { return f.Store.Invitation(ctx, hash) })
}

// Invitations implements store.Reader.
func (f *Faulty) Invitations(ctx context.Context, app access.ID) ([]access.Invitation, error) {
	return do(f, "Invitations", func() ([]access.Invitation, error) { return f.Store.Invitations(ctx, app) })
}

// Session implements store.Reader.
func (f *Faulty) Session(ctx context.Context, hash [32]byte) (access.Session, error) {
	return do(f, "Session", func() (access.Session, error) { return f.Store.Session(ctx, hash) })
}

// ReplayJobs implements store.Reader.
func (f *Faulty) ReplayJobs(ctx context.Context, app access.ID, id subscription.ID) ([]delivery.ReplayJob, error) {
	return do(f, "ReplayJobs", func() ([]delivery.ReplayJob, error) { return f.Store.ReplayJobs(ctx, app, id) })
}

// Pulses implements store.Reader.
func (f *Faulty) Pulses(ctx context.Context, app access.ID, ids []subscription.ID, limit int) (map[subscription.ID][]delivery.Pulse, error) {
	return do(f, "Pulses", func() (map[subscription.ID][]delivery.Pulse, error) { return f.Store.Pulses(ctx, app, ids, limit) })
}

// Tallies implements store.Reader.
func (f *Faulty) Tallies(ctx context.Context, app access.ID, span delivery.Span, from time.Time) ([]delivery.Tally, error) {
	return do(f, "Tallies", func() ([]delivery.Tally, error) { return f.Store.Tallies(ctx, app, span, from) })
}

// Tally implements store.Store.
func (f *Faulty) Tally(ctx context.Context, at time.Time, of map[access.ID]*delivery.Tally) error {
	_, err := do(f, "Tally", func() (struct{}, error) { return struct{}{}, f.Store.Tally(ctx, at, of) })
	return err
}

// Behind implements store.Store.
func (f *Faulty) Behind(ctx context.Context, app access.ID, e delivery.Endpoint, after event.Seq) (int, error) {
	return do(f, "Behind", func() (int, error) { return f.Store.Behind(ctx, app, e, after) })
}

// Bin implements store.Reader.
func (f *Faulty) Bin(ctx context.Context, name string) (store.Bin, error) {
	return do(f, "Bin", func() (store.Bin, error) { return f.Store.Bin(ctx, name) })
}

// Bins implements store.Reader.
func (f *Faulty) Bins(ctx context.Context, app access.ID) ([]store.Bin, error) {
	return do(f, "Bins", func() ([]store.Bin, error) { return f.Store.Bins(ctx, app) })
}

// Active implements store.Engine.
func (f *Faulty) Active(ctx context.Context) ([]delivery.Endpoint, error) {
	return do(f, "Active", func() ([]delivery.Endpoint, error) { return f.Store.Active(ctx) })
}

// Config implements store.Engine.
func (f *Faulty) Config(ctx context.Context, e delivery.Endpoint) (subscription.Endpoint, error) {
	return do(f, "Config", func() (subscription.Endpoint, error) { return f.Store.Config(ctx, e) })
}

// Open implements store.Engine.
func (f *Faulty) Open(ctx context.Context, e delivery.Endpoint) (delivery.Position, error) {
	return do(f, "Open", func() (delivery.Position, error) { return f.Store.Open(ctx, e) })
}

// Read implements store.Engine.
func (f *Faulty) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (delivery.Page, error) {
	return do(f, "Read", func() (delivery.Page, error) { return f.Store.Read(ctx, e, after, limit, maxBytes) })
}

// Load implements store.Engine.
func (f *Faulty) Load(ctx context.Context, e delivery.Endpoint, seqs []event.Seq) ([]delivery.Loaded, error) {
	return do(f, "Load", func() ([]delivery.Loaded, error) { return f.Store.Load(ctx, e, seqs) })
}

// Replays implements store.Engine.
func (f *Faulty) Replays(ctx context.Context, e delivery.Endpoint) ([]delivery.Replay, error) {
	return do(f, "Replays", func() ([]delivery.Replay, error) { return f.Store.Replays(ctx, e) })
}

// Token implements store.Engine.
func (f *Faulty) Token(ctx context.Context, e delivery.Endpoint) (subscription.Token, error) {
	return do(f, "Token", func() (subscription.Token, error) { return f.Store.Token(ctx, e) })
}

// SaveToken implements store.Engine.
func (f *Faulty) SaveToken(ctx context.Context, e delivery.Endpoint, t subscription.Token) error {
	_, err := do(f, "SaveToken", func() (struct{}, error) { return struct{}{}, f.Store.SaveToken(ctx, e, t) })
	return err
}

// Record implements store.Engine.
func (f *Faulty) Record(ctx context.Context, batch []delivery.Progress) ([]delivery.Outcome, error) {
	return do(f, "Record", func() ([]delivery.Outcome, error) { return f.Store.Record(ctx, batch) })
}

// TxCall stands before the names of calls that are made within an Update, as in
// "Tx.PutConsent". One that fails after it took effect did its work in the
// transaction; whether that stays is decided by what the function given to
// Update makes of the error.
const TxCall = "Tx."

// faultyTx is a transaction of a Faulty.
type faultyTx struct {
	store.Tx
	f *Faulty
}

// no carries out one call that returns no value.
func (t *faultyTx) no(call string, fn func() error) error {
	_, err := do(t.f, TxCall+call, func() (struct{}, error) { return struct{}{}, fn() })
	return err
}

// UserByEmail implements store.Tx.
func (t *faultyTx) UserByEmail(email string) (access.User, error) {
	return do(t.f, TxCall+"UserByEmail", func() (access.User, error) { return t.Tx.UserByEmail(email) })
}

// Invitation implements store.Tx.
func (t *faultyTx) Invitation(hash [32]byte) (access.Invitation, error) {
	return do(t.f, TxCall+"Invitation", func() (access.Invitation, error) { return t.Tx.Invitation(hash) })
}

// PutUser implements store.Tx.
func (t *faultyTx) PutUser(u access.User) error {
	return t.no("PutUser", func() error { return t.Tx.PutUser(u) })
}

// DeleteUser implements store.Tx.
func (t *faultyTx) DeleteUser(app access.ID, id string) error {
	return t.no("DeleteUser", func() error { return t.Tx.DeleteUser(app, id) })
}

// PutInvitation implements store.Tx.
func (t *faultyTx) PutInvitation(i access.Invitation, now time.Time) error {
	return t.no("PutInvitation", func() error { return t.Tx.PutInvitation(i, now) })
}

// DeleteInvitation implements store.Tx.
func (t *faultyTx) DeleteInvitation(hash [32]byte) error {
	return t.no("DeleteInvitation", func() error { return t.Tx.DeleteInvitation(hash) })
}

// PutSession implements store.Tx.
func (t *faultyTx) PutSession(s access.Session, now time.Time) error {
	return t.no("PutSession", func() error { return t.Tx.PutSession(s, now) })
}

// DeleteSession implements store.Tx.
func (t *faultyTx) DeleteSession(hash [32]byte) error {
	return t.no("DeleteSession", func() error { return t.Tx.DeleteSession(hash) })
}

// PutApplication implements store.Tx.
func (t *faultyTx) PutApplication(a access.Application) error {
	return t.no("PutApplication", func() error { return t.Tx.PutApplication(a) })
}

// Application implements store.Tx.
func (t *faultyTx) Application(app access.ID) (access.Application, error) {
	return do(t.f, TxCall+"Application", func() (access.Application, error) { return t.Tx.Application(app) })
}

// DeleteApplication implements store.Tx.
func (t *faultyTx) DeleteApplication(app access.ID) error {
	return t.no("DeleteApplication", func() error { return t.Tx.DeleteApplication(app) })
}

// PutCredential implements store.Tx.
func (t *faultyTx) PutCredential(c access.Credential) error {
	return t.no("PutCredential", func() error { return t.Tx.PutCredential(c) })
}

// DeleteCredential implements store.Tx.
func (t *faultyTx) DeleteCredential(app access.ID, clientID string) error {
	return t.no("DeleteCredential", func() error { return t.Tx.DeleteCredential(app, clientID) })
}

// PutToken implements store.Tx.
func (t *faultyTx) PutToken(x access.Token, now time.Time) error {
	return t.no("PutToken", func() error { return t.Tx.PutToken(x, now) })
}

// Consent implements store.Tx.
func (t *faultyTx) Consent(app access.ID, ref string) (consent.Consent, error) {
	return do(t.f, TxCall+"Consent", func() (consent.Consent, error) { return t.Tx.Consent(app, ref) })
}

// PutConsent implements store.Tx.
func (t *faultyTx) PutConsent(c consent.Consent, evts ...event.Event) error {
	return t.no("PutConsent", func() error { return t.Tx.PutConsent(c, evts...) })
}

// Publish implements store.Tx.
func (t *faultyTx) Publish(evts ...event.Event) error {
	return t.no("Publish", func() error { return t.Tx.Publish(evts...) })
}

// Catalogue implements store.Tx.
func (t *faultyTx) Catalogue(app access.ID) (*permission.Catalogue, error) {
	return do(t.f, TxCall+"Catalogue", func() (*permission.Catalogue, error) { return t.Tx.Catalogue(app) })
}

// Part implements store.Tx.
func (t *faultyTx) Part(app access.ID, kind permission.Kind, id string) (permission.Part, error) {
	return do(t.f, TxCall+"Part", func() (permission.Part, error) { return t.Tx.Part(app, kind, id) })
}

// PutPart implements store.Tx.
func (t *faultyTx) PutPart(app access.ID, p permission.Part) error {
	return t.no("PutPart", func() error { return t.Tx.PutPart(app, p) })
}

// PutOption implements store.Tx.
func (t *faultyTx) PutOption(app access.ID, o permission.Option) error {
	return t.no("PutOption", func() error { return t.Tx.PutOption(app, o) })
}

// PutGroup implements store.Tx.
func (t *faultyTx) PutGroup(app access.ID, g permission.Group) error {
	return t.no("PutGroup", func() error { return t.Tx.PutGroup(app, g) })
}

// PutPreference implements store.Tx.
func (t *faultyTx) PutPreference(app access.ID, p permission.Preference) error {
	return t.no("PutPreference", func() error { return t.Tx.PutPreference(app, p) })
}

// PutStatement implements store.Tx.
func (t *faultyTx) PutStatement(app access.ID, s permission.Statement) error {
	return t.no("PutStatement", func() error { return t.Tx.PutStatement(app, s) })
}

// PutPolicy implements store.Tx.
func (t *faultyTx) PutPolicy(app access.ID, p permission.Policy) error {
	return t.no("PutPolicy", func() error { return t.Tx.PutPolicy(app, p) })
}

// DeleteConfiguration implements store.Tx.
func (t *faultyTx) DeleteConfiguration(app access.ID, kind string, id string) error {
	return t.no("DeleteConfiguration", func() error { return t.Tx.DeleteConfiguration(app, kind, id) })
}

// Citizen implements store.Tx.
func (t *faultyTx) Citizen(app access.ID, id permission.CitizenID) (store.Citizen, error) {
	return do(t.f, TxCall+"Citizen", func() (store.Citizen, error) { return t.Tx.Citizen(app, id) })
}

// CitizenByRef implements store.Tx.
func (t *faultyTx) CitizenByRef(app access.ID, externalRef string) (store.Citizen, error) {
	return do(t.f, TxCall+"CitizenByRef", func() (store.Citizen, error) { return t.Tx.CitizenByRef(app, externalRef) })
}

// PutCitizen implements store.Tx.
func (t *faultyTx) PutCitizen(c store.Citizen, evts ...event.Event) error {
	return t.no("PutCitizen", func() error { return t.Tx.PutCitizen(c, evts...) })
}

// Transaction implements store.Tx.
func (t *faultyTx) Transaction(app access.ID, id permission.TransactionID) (permission.Transaction, error) {
	return do(t.f, TxCall+"Transaction", func() (permission.Transaction, error) { return t.Tx.Transaction(app, id) })
}

// Transactions implements store.Tx.
func (t *faultyTx) Transactions(app access.ID, citizens ...permission.CitizenID) ([]permission.Transaction, error) {
	return do(t.f, TxCall+"Transactions", func() ([]permission.Transaction, error) { return t.Tx.Transactions(app, citizens...) })
}

// PutTransaction implements store.Tx.
func (t *faultyTx) PutTransaction(app access.ID, x permission.Transaction) error {
	return t.no("PutTransaction", func() error { return t.Tx.PutTransaction(app, x) })
}

// Linked implements store.Tx.
func (t *faultyTx) Linked(app access.ID, group string) ([]store.Citizen, error) {
	return do(t.f, TxCall+"Linked", func() ([]store.Citizen, error) { return t.Tx.Linked(app, group) })
}

// PutCheckpoint implements store.Tx.
func (t *faultyTx) PutCheckpoint(app access.ID, c store.Checkpoint) error {
	return t.no("PutCheckpoint", func() error { return t.Tx.PutCheckpoint(app, c) })
}

// MergeCitizen implements store.Tx.
func (t *faultyTx) MergeCitizen(app access.ID, from, into permission.CitizenID) error {
	return t.no("MergeCitizen", func() error { return t.Tx.MergeCitizen(app, from, into) })
}

// Erase implements store.Tx.
func (t *faultyTx) Erase(app access.ID, subject string, last ...event.Event) error {
	return t.no("Erase", func() error { return t.Tx.Erase(app, subject, last...) })
}

// ConsentsOf implements store.Tx.
func (t *faultyTx) ConsentsOf(app access.ID, citizenID string) ([]consent.Consent, error) {
	return do(t.f, TxCall+"ConsentsOf", func() ([]consent.Consent, error) { return t.Tx.ConsentsOf(app, citizenID) })
}

// Templates implements store.Tx.
func (t *faultyTx) Templates(app access.ID) ([]mail.Template, error) {
	return do(t.f, TxCall+"Templates", func() ([]mail.Template, error) { return t.Tx.Templates(app) })
}

// PutTemplate implements store.Tx.
func (t *faultyTx) PutTemplate(app access.ID, x mail.Template) error {
	return t.no("PutTemplate", func() error { return t.Tx.PutTemplate(app, x) })
}

// DeleteTemplate implements store.Tx.
func (t *faultyTx) DeleteTemplate(app access.ID, name mail.Name, language string) error {
	return t.no("DeleteTemplate", func() error { return t.Tx.DeleteTemplate(app, name, language) })
}

// Confirmation implements store.Tx.
func (t *faultyTx) Confirmation(hash [32]byte) (store.Confirmation, error) {
	return do(t.f, TxCall+"Confirmation", func() (store.Confirmation, error) { return t.Tx.Confirmation(hash) })
}

// PutConfirmation implements store.Tx.
func (t *faultyTx) PutConfirmation(c store.Confirmation, now time.Time) error {
	return t.no("PutConfirmation", func() error { return t.Tx.PutConfirmation(c, now) })
}

// CitizensBy implements store.Tx.
func (t *faultyTx) CitizensBy(app access.ID, ids []permission.CitizenID, externalRefs []string) ([]store.Citizen, error) {
	return do(t.f, TxCall+"CitizensBy", func() ([]store.Citizen, error) { return t.Tx.CitizensBy(app, ids, externalRefs) })
}

// PutRecorded implements store.Tx.
func (t *faultyTx) PutRecorded(app access.ID, cs []store.Citizen, ts []permission.Transaction, evts ...event.Event) error {
	return t.no("PutRecorded", func() error { return t.Tx.PutRecorded(app, cs, ts, evts...) })
}

// FeedUsed implements store.Tx.
func (t *faultyTx) FeedUsed(app access.ID, feed event.Feed) (bool, error) {
	return do(t.f, TxCall+"FeedUsed", func() (bool, error) { return t.Tx.FeedUsed(app, feed) })
}

// Import implements store.Tx.
func (t *faultyTx) Import(app access.ID, id string) (store.Import, error) {
	return do(t.f, TxCall+"Import", func() (store.Import, error) { return t.Tx.Import(app, id) })
}

// ImportByKey implements store.Tx.
func (t *faultyTx) ImportByKey(app access.ID, key string) (store.Import, error) {
	return do(t.f, TxCall+"ImportByKey", func() (store.Import, error) { return t.Tx.ImportByKey(app, key) })
}

// PutImport implements store.Tx.
func (t *faultyTx) PutImport(i store.Import, errs ...store.ImportError) error {
	return t.no("PutImport", func() error { return t.Tx.PutImport(i, errs...) })
}

// Idempotent implements store.Tx.
func (t *faultyTx) Idempotent(app access.ID, route, key string, now time.Time) (store.Idempotent, error) {
	return do(t.f, TxCall+"Idempotent", func() (store.Idempotent, error) { return t.Tx.Idempotent(app, route, key, now) })
}

// PutIdempotent implements store.Tx.
func (t *faultyTx) PutIdempotent(app access.ID, i store.Idempotent, now time.Time) error {
	return t.no("PutIdempotent", func() error { return t.Tx.PutIdempotent(app, i, now) })
}

// Endpoint implements store.Tx.
func (t *faultyTx) Endpoint(app access.ID, style subscription.Style, id subscription.ID) (subscription.Endpoint, error) {
	return do(t.f, TxCall+"Endpoint", func() (subscription.Endpoint, error) { return t.Tx.Endpoint(app, style, id) })
}

// CountEndpoints implements store.Tx.
func (t *faultyTx) CountEndpoints(app access.ID) (int, error) {
	return do(t.f, TxCall+"CountEndpoints", func() (int, error) { return t.Tx.CountEndpoints(app) })
}

// InterceptorExists implements store.Tx.
func (t *faultyTx) InterceptorExists(app access.ID, url string, feed event.Feed, except subscription.ID) (bool, error) {
	return do(t.f, TxCall+"InterceptorExists", func() (bool, error) { return t.Tx.InterceptorExists(app, url, feed, except) })
}

// PutEndpoint implements store.Tx.
func (t *faultyTx) PutEndpoint(e subscription.Endpoint, shown delivery.Shown) error {
	return t.no("PutEndpoint", func() error { return t.Tx.PutEndpoint(e, shown) })
}

// ForgetToken implements store.Tx.
func (t *faultyTx) ForgetToken(app access.ID, id subscription.ID) error {
	return t.no("ForgetToken", func() error { return t.Tx.ForgetToken(app, id) })
}

// SigningKeys implements store.Tx.
func (t *faultyTx) SigningKeys(app access.ID) ([]subscription.SigningKey, error) {
	return do(t.f, TxCall+"SigningKeys", func() ([]subscription.SigningKey, error) { return t.Tx.SigningKeys(app) })
}

// PutSigningKey implements store.Tx.
func (t *faultyTx) PutSigningKey(app access.ID, k subscription.SigningKey) error {
	return t.no("PutSigningKey", func() error { return t.Tx.PutSigningKey(app, k) })
}

// DeleteEndpoint implements store.Tx.
func (t *faultyTx) DeleteEndpoint(app access.ID, id subscription.ID, now time.Time) error {
	return t.no("DeleteEndpoint", func() error { return t.Tx.DeleteEndpoint(app, id, now) })
}

// Discard implements store.Tx.
func (t *faultyTx) Discard(app access.ID, id subscription.ID, now time.Time) error {
	return t.no("Discard", func() error { return t.Tx.Discard(app, id, now) })
}

// Resume implements store.Tx.
func (t *faultyTx) Resume(app access.ID, id subscription.ID, now time.Time) error {
	return t.no("Resume", func() error { return t.Tx.Resume(app, id, now) })
}

// PutReplay implements store.Tx.
func (t *faultyTx) PutReplay(app access.ID, r delivery.Replay) error {
	return t.no("PutReplay", func() error { return t.Tx.PutReplay(app, r) })
}

// PutBin implements store.Tx.
func (t *faultyTx) PutBin(b store.Bin) error {
	return t.no("PutBin", func() error { return t.Tx.PutBin(b) })
}

// Bin implements store.Tx.
func (t *faultyTx) Bin(name string) (store.Bin, error) {
	return do(t.f, TxCall+"Bin", func() (store.Bin, error) { return t.Tx.Bin(name) })
}

// DeleteBin implements store.Tx.
func (t *faultyTx) DeleteBin(app access.ID, name string) error {
	return t.no("DeleteBin", func() error { return t.Tx.DeleteBin(app, name) })
}

// Beat implements store.Store.
func (f *Faulty) Beat(ctx context.Context) (delivery.Beat, error) {
	return do(f, "Beat", func() (delivery.Beat, error) { return f.Store.Beat(ctx) })
}

// Release implements store.Store.
func (f *Faulty) Release(ctx context.Context, leases []delivery.Lease, gone bool) error {
	_, err := do(f, "Release", func() (struct{}, error) { return struct{}{}, f.Store.Release(ctx, leases, gone) })
	return err
}
