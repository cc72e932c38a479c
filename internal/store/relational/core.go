// Package relational keeps everything in tables of a relational database: one
// set of statements for every one of them. What the databases are is behind
// db.Database.
//
// One goroutine, the committer, owns the connection that writes; reads go over
// a few connections of their own and see what was committed when they began. The
// room refuses a database of another version, and a master key that did not seal
// it.
package relational

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// Options configure a Store.
type Options struct {
	Keys *secret.Keyring // seal what is kept
	Log  *slog.Logger    // nil: none
	// Node names this process where several share the database; empty: at random.
	// No two that live may have the same.
	Node string

	// OnCommit is told of each commit: how many rows it wrote, how long it
	// took, and its error.
	OnCommit func(rows int, d time.Duration, err error)
	// OnEvent is told, after the commit, how many events of a type were logged.
	OnEvent func(t event.Type, n int)
}

// Store is the backend. It implements store.Store.
type Store struct {
	node     string // our ID
	log      *slog.Logger
	onCommit func(int, time.Duration, error)
	onEvent  func(event.Type, int)

	keys  *secret.Keyring
	index *secret.Index // of look-up hashes
	opens ciphers       // data keys that are in use
	seals seals         // the same by subject, of events read lately

	keysBySubject *secret.Keys // the same of many more, perhaps outdated
	tails         logTails     // what was read last of logs
	marks         logMarks     // how far endpoints had read

	spans spanCounts // of what owners' pauses discarded
	asked catalogues // configurations that were read lately

	writes queue
	failed atomic.Pointer[error] // set by the first write that failed
	stop   chan struct{}         // closed by Close
	done   chan struct{}         // closed by the committer when it ends

	writer  *conn      // the committer's
	readers chan *conn // idle ones
	db      db.Database

	watchMu  sync.Mutex
	watchers []func(store.Change)

	closing   atomic.Bool
	closeOnce sync.Once
	closeErr  error
}

// conn is a connection, and what was written over it since the committer last
// asked.
type conn struct {
	db.Conn
	db          db.Database
	rows, bytes int
	fatal       error // the first after which nothing is known of the disk
	lost        error // the first that says that the database cannot be reached
	clash       error // the last that says that another transaction was in the way
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	n, err := c.Exec(query, args...)
	if err != nil {
		c.note(err)
		return 0, err
	}
	c.rows += int(n)
	for _, a := range args {
		if b, ok := a.([]byte); ok {
			c.bytes += len(b)
		}
	}
	return n, nil
}

// later runs a statement whose outcome nobody asks for. Where the database is
// elsewhere it is sent with the next, or at the end of the write: then an error
// is that of another statement.
func (c *conn) later(query string, args ...any) error {
	if err := c.Later(&c.rows, query, args...); err != nil {
		c.note(err)
		return err
	}
	for _, a := range args {
		if b, ok := a.([]byte); ok {
			c.bytes += len(b)
		}
	}
	return nil
}

// flush runs what later left to do.
func (c *conn) flush() error {
	err := c.Flush()
	if err != nil {
		c.note(err)
	}
	return err
}

// query runs a statement that returns rows. The caller closes them.
func (c *conn) query(query string, args ...any) (db.Rows, error) {
	rows, err := c.Query(query, args...)
	if err != nil {
		c.note(err)
	}
	return rows, err
}

// each calls fn for every row of a query, which is closed when it returns.
func (c *conn) each(fn func(rows db.Rows) error, query string, args ...any) error {
	rows, err := c.query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	err = rows.Err()
	if err != nil {
		c.note(err)
	}
	return err
}

// get reads the one row of a statement into dst; a miss is notFound. The
// statement may write and return what it wrote.
func (c *conn) get(dst []any, query string, args ...any) error {
	err := c.Get(dst, query, args...)
	if errors.Is(err, db.ErrNoRow) {
		return notFound()
	}
	if err != nil {
		c.note(err)
	}
	return err
}

// note keeps an error that means the disk can no longer be trusted.
func (c *conn) note(err error) {
	switch {
	case c.fatal == nil && c.db.Fatal(err):
		c.fatal = err
	case c.lost == nil && c.db.Lost(err):
		c.lost = err
	case c.db.Clash(err):
		c.clash = err
	}
}

// reader reads: inside a snapshot (Store.read) or inside a write transaction,
// whose own writes it then sees. Its methods are the statements that both
// need. It is not kept beyond the function that got it.
type reader struct {
	*conn
	s     *Store
	small *smallKeys // the committer's; nil in a snapshot
}

// read runs fn in one snapshot. It waits for a connection until ctx ends; fn
// then runs to its end, so it must be short.
func (s *Store) read(ctx context.Context, fn func(r *reader) error) (err error) {
	var c *conn
	select {
	case c = <-s.readers:
	default:
		select {
		case c = <-s.readers:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return closed()
		}
	}
	if s.closing.Load() {
		s.readers <- c
		return closed()
	}
	defer func() { s.readers <- c }()
	if err := c.Begin(false); err != nil {
		if s.db.Lost(err) {
			return unreachable()
		}
		return fmt.Errorf("begin read: %w", err)
	}
	defer func() {
		if e := c.Rollback(); e != nil && err == nil {
			err = fmt.Errorf("end read: %w", e)
		}
		if c.lost != nil {
			c.lost, err = nil, unreachable()
		}
	}()
	return fn(&reader{conn: c, s: s})
}

// tx is one write transaction, or one part of it between two savepoints. It
// implements store.Tx.
type tx struct {
	reader
	change touched
	last   advanced // the subject whose sequence moved last
	keyed  bool     // small keys were made or dropped: forget them all on rollback

	configured map[int64]bool // applications whose configuration it changed

	met map[advancedKey]met // citizens that CitizensBy returned, or PutRecorded put

	grown map[int64]struct{} // applications whose chain of transactions did
}

var (
	_ store.Tx    = (*tx)(nil)
	_ store.Store = (*Store)(nil)
)

// touched gathers what a transaction does to the outside's view: store.Change,
// and the events logged by type.
type touched struct {
	apps      []access.ID
	endpoints []delivery.Endpoint
	deadline  time.Time
	events    []event.Type
	erased    []store.Subject
}

// write queues fn for the committer and waits until what it did is durable.
// The rules for fn, and the errors, are those of store.Store.Update.
func (s *Store) write(ctx context.Context, fn func(t *tx) error) error {
	return s.writes.add(ctx, s, fn)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.write(ctx, func(t *tx) error { return fn(t) })
}

// Watch implements store.Store.
func (s *Store) Watch(fn func(store.Change)) {
	s.watchMu.Lock()
	defer s.watchMu.Unlock()
	s.watchers = append(s.watchers, fn)
}

// smallKeys remember the integer keys of applications and endpoints, and which
// feeds are used. They belong to the committer's goroutine and are forgotten
// whenever a transaction that made or dropped some is rolled back. So are the
// ends of chains, and the erasures that are under way, whenever any is.
type smallKeys struct {
	apps  map[access.ID]int64
	eps   map[delivery.Endpoint]epKey
	feeds map[feedKey]bool

	locks   map[int64]struct{} // applications that this group has locked, where others write
	wanted  []access.ID        // those that the write asked for
	inOrder bool               // it asks for them in order, and so may wait for each
	heads   map[int64]*heads
	erasing map[int64]*erasing // by application; nil: not read yet
	tombs   bool               // somebody was ever erased; known once erasing was read

	holders map[int64]holder // by ep, where nobody else writes

	attempts []any // to be written, row by row; used again
}

// feedKey is a feed of an application.
type feedKey struct {
	app  int64
	feed event.Feed
}

// epKey are the integer keys of an endpoint and its application.
type epKey struct{ ep, app int64 }

// maxSmallKeys bounds each of the maps.
const maxSmallKeys = 1 << 16

func (k *smallKeys) forget() {
	k.apps, k.eps, k.feeds = make(map[access.ID]int64), make(map[delivery.Endpoint]epKey), make(map[feedKey]bool)
	k.locks = make(map[int64]struct{})
	k.undo()
}

// undo forgets what any transaction may have changed.
func (k *smallKeys) undo() {
	k.heads, k.erasing, k.holders = make(map[int64]*heads), nil, make(map[int64]holder)
}

// moved forgets how an endpoint is, whose epoch or cursor was changed.
func (k *smallKeys) moved(ep int64) { delete(k.holders, ep) }

// app returns the integer key of an application; fault.NotFound.
func (r *reader) app(id access.ID) (int64, error) {
	if r.small != nil {
		if key, ok := r.small.apps[id]; ok {
			return key, nil
		}
	}
	var key int64
	if r.small != nil && r.s.db.Shared() {
		r.small.wanted = append(r.small.wanted, id)
	}
	if r.small != nil && r.s.db.Shared() {
		h := new(heads)
		err := r.get(append([]any{&key}, h.into(r)...), "SELECT app, "+h.fields(r)+" FROM application WHERE app_id = ?"+r.locking(), string(id))
		if err != nil {
			return 0, err
		}
		r.locked(key)
		r.small.heads[key] = h
	} else if err := r.get([]any{&key}, "SELECT app FROM application WHERE app_id = ?", string(id)); err != nil {
		return 0, err
	}
	if r.small != nil {
		if len(r.small.apps) >= maxSmallKeys {
			clear(r.small.apps)
		}
		r.small.apps[id] = key
	}
	return key, nil
}

// locking is what ends a statement that reads an application's row in a
// transaction that writes: from then on no other process writes what is the
// application's. The second of a transaction is not waited for, for somebody may
// hold it who waits for the first; the write is tried again then, and locks all
// that it asked for in order.
func (r *reader) locking() string {
	switch {
	case r.small == nil || !r.s.db.Shared():
		return ""
	case len(r.small.locks) > 0 && !r.small.inOrder:
		return " FOR UPDATE NOWAIT"
	}
	return " FOR UPDATE"
}

// passing is what ends a subquery that chooses rows to be dropped, of anybody:
// those that another process is at are left to it.
func (r *reader) passing() string {
	if r.s.db.Shared() {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// locked notes that an application is. What was read of it before may have
// changed until then.
func (r *reader) locked(app int64) {
	if r.small == nil || !r.s.db.Shared() {
		return
	}
	r.small.locks[app] = struct{}{}
	delete(r.small.heads, app)
	r.small.erasing = nil
}

// lock locks an application by its key, unless it is.
func (r *reader) lock(app int64) error {
	if r.small == nil || !r.s.db.Shared() {
		return nil
	}
	if _, ok := r.small.locks[app]; ok {
		return nil
	}
	var key int64
	if err := r.get([]any{&key}, "SELECT app FROM application WHERE app = ?"+r.locking(), app); err != nil {
		return err
	}
	r.locked(app)
	return nil
}

// ep returns the integer keys of an endpoint, deleted ones included;
// fault.NotFound.
func (r *reader) ep(id delivery.Endpoint) (epKey, error) {
	if r.small != nil {
		if key, ok := r.small.eps[id]; ok {
			return key, nil
		}
	}
	var key epKey
	if err := r.get([]any{&key.ep, &key.app}, "SELECT ep, app FROM endpoint WHERE endpoint_id = ?", string(id.Whole())); err != nil {
		return epKey{}, err
	}
	if r.small != nil {
		if len(r.small.eps) >= maxSmallKeys {
			clear(r.small.eps)
		}
		r.small.eps[id] = key
	}
	return key, nil
}

// ownedEp is ep for an endpoint that must be the application's.
func (r *reader) ownedEp(app access.ID, id delivery.Endpoint) (epKey, error) {
	a, err := r.app(app)
	if err != nil {
		return epKey{}, err
	}
	key, err := r.ep(id)
	if err == nil && key.app != a {
		return epKey{}, notFound()
	}
	return key, err
}

// Places of what is sealed under a subject's key. Open a body with
//
//	c, err := r.subjectCipher(app, subject)
//	body, err := c.Open(sealed, bodyPlace(eventID))

func bodyPlace(eventID string) secret.Place {
	return secret.Place{What: "event", Owner: eventID, Field: "body"}
}

func consentPlace(id string) secret.Place {
	return secret.Place{What: "consent", Owner: id, Field: "sealed"}
}

// endpointPlace is under the master key.
func endpointPlace(id string) secret.Place {
	return secret.Place{What: "endpoint", Owner: id, Field: "sealed"}
}

// subjectCipher returns the cipher of a subject's data key. fault.NotFound
// when it has none, or none any more.
func (r *reader) subjectCipher(app int64, subject string) (*secret.Cipher, error) {
	var sealed []byte
	err := r.get([]any{&sealed}, "SELECT sealed_key FROM subject WHERE app = ? AND subject = ?", app, subject)
	if err != nil {
		return nil, err
	}
	return r.s.cipher(app, subject, sealed)
}

// cipher opens a data key that was read from table subject. It is cheap for a
// key that was opened lately, so a page of the log may join the table and call
// it for each row.
func (s *Store) cipher(app int64, subject string, sealedKey []byte) (*secret.Cipher, error) {
	if c := s.opens.get(sealedKey); c != nil {
		return c, nil
	}
	c, err := s.keys.OpenKey(sealedKey, subjectPlace(app, subject))
	if err != nil {
		return nil, fmt.Errorf("open a subject's key: %w", err)
	}
	s.opens.put(sealedKey, c)
	return c, nil
}

func subjectPlace(app int64, subject string) secret.Place {
	return secret.Place{What: "subject", Owner: strconv.FormatInt(app, 10) + "/" + subject, Field: "sealed_key"}
}

// maxKeys is how many data keys are kept by subject.
const maxKeys = 1 << 17

// maxCiphers is how many opened data keys are kept: about 1 KiB each.
const maxCiphers = 4096

// ciphers keep opened data keys, found by the sealed key itself: so a key that
// was rolled back, replaced or destroyed is never used for another. When they
// are full the older half goes.
type ciphers struct {
	mu         sync.Mutex
	young, old map[string]*secret.Cipher
}

func (k *ciphers) get(sealed []byte) *secret.Cipher {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.young[string(sealed)]; c != nil {
		return c
	}
	c := k.old[string(sealed)]
	if c != nil {
		k.add(string(sealed), c)
	}
	return c
}

func (k *ciphers) put(sealed []byte, c *secret.Cipher) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(string(sealed), c)
}

// drop forgets a data key that was destroyed.
func (k *ciphers) drop(sealed []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.young, string(sealed))
	delete(k.old, string(sealed))
}

// dropCipher forgets a data key of which only the cipher is known; nil: none.
func (k *ciphers) dropCipher(c *secret.Cipher) {
	if c == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	same := func(_ string, x *secret.Cipher) bool { return x == c }
	maps.DeleteFunc(k.young, same)
	maps.DeleteFunc(k.old, same)
}

// clear forgets all data keys.
func (k *ciphers) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.young, k.old = nil, nil
}

func (k *ciphers) add(sealed string, c *secret.Cipher) {
	if k.young == nil || len(k.young) >= maxCiphers/2 {
		k.young, k.old = make(map[string]*secret.Cipher), k.young
	}
	k.young[sealed] = c
}

// notFound is a miss.
func notFound() error {
	return fault.New(fault.NotFound, "not_found", "There is nothing here with that name.")
}

// behind returns the place of a page's After, by a query that looks it up.
func (r *reader) behind(query string, args ...any) (place int64, err error) {
	if err = r.get([]any{&place}, query, args...); isNotFound(err) {
		err = badAfter()
	}
	return place, err
}

// badAfter is a cursor that we did not give out.
func badAfter() error {
	return fault.At(fault.Invalid, "invalid_value", "after", "This is not the after of a page; take it from the page before.")
}

func closed() error {
	return fault.New(fault.Unavailable, "store_closed", "The store is closed.")
}

// millis is how a time is kept: 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment is the inverse of millis.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
