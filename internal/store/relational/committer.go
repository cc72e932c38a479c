package relational

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

const (
	// maxQueue is how many writes may wait. Beyond it a caller is told to come
	// back, rather than to wait for longer than it will.
	maxQueue = 4096
	// A group closes at this weight. Larger ones are not faster; they only
	// make the first of them wait longer.
	groupRows  = 256
	groupBytes = 1 << 20
)

// queue holds the writes that wait for the committer.
type queue struct {
	mu     sync.Mutex
	list   []*write
	closed bool
	wake   chan struct{} // holds a token when list grew
}

// The states of a write.
const (
	waiting int32 = iota
	taken         // the committer has it
	given         // up: its caller went away
)

type write struct {
	fn    func(*tx) error
	state atomic.Int32
	tries int         // that came to nothing because another transaction was in the way
	wants []access.ID // applications that it asked for then, in order
	done  chan error
}

func (q *queue) add(ctx context.Context, s *Store, fn func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &write{fn: fn, done: make(chan error, 1)}
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return closed()
	case s.failed.Load() != nil:
		q.mu.Unlock()
		return storeFailed()
	case len(q.list) >= maxQueue:
		q.mu.Unlock()
		return busy()
	}
	q.list = append(q.list, w)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.state.CompareAndSwap(waiting, given) {
			return ctx.Err()
		}
		return <-w.done
	}
}

// take moves what waits to the caller, who owns the slice until the next call
// with it.
func (q *queue) take(into []*write) []*write {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = into[:0]
	return list
}

// close lets nothing in any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func busy() error {
	return &fault.Error{
		Kind: fault.Unavailable, Code: "busy", RetryAfter: time.Second,
		Msg: "Too much waits to be written; try again in a moment.",
	}
}

func storeFailed() error {
	return fault.New(fault.Unavailable, "store_failed",
		"A write to the disk failed, so nothing more is written until the server is restarted.")
}

// unreachable is what a write is answered of which nothing was done.
func unreachable() error {
	return &fault.Error{
		Kind: fault.Unavailable, Code: "database_unreachable", RetryAfter: time.Second,
		Msg: "The database cannot be reached; nothing was done. Try again in a moment.",
	}
}

// unknown is what a write is answered whose end was not heard of.
func unknown() error {
	return &fault.Error{
		Kind: fault.Unavailable, Code: "outcome_unknown", RetryAfter: time.Second,
		Msg: "The connection to the database was lost while the change was being made durable; whether it was is unknown. " +
			"Look before you try again, or repeat it with its Idempotency-Key.",
	}
}

// committer carries out the writes, group by group. It runs on one goroutine.
type committer struct {
	s     *Store
	c     *conn
	small smallKeys

	list, spare []*write // taken from the queue; next is the first not yet begun
	next        int
	done        []finished // of the open group
	open        bool       // a transaction is
	full        bool       // the group takes no more

	sum   touched // of the group
	types map[event.Type]int
}

type finished struct {
	w   *write
	err error
}

// commit is the committer.
func (s *Store) commit() {
	k := &committer{s: s, c: s.writer, types: make(map[event.Type]int)}
	k.small.forget()
	ended := false
	defer func() {
		if !ended { // a write's function ended this goroutine (runtime.Goexit)
			k.fail(errors.New("a transaction ended the committer"))
			k.drain()
		}
		close(s.done)
	}()
	for {
		if k.more() {
			k.group()
			continue
		}
		k.upkeep(s.db.Idle)
		select {
		case <-s.writes.wake:
		case <-s.db.Due():
			k.upkeep(s.db.Again)
		case <-s.stop:
			s.writes.close()
			for k.more() {
				k.group()
			}
			ended = true
			return
		}
	}
}

// more tells whether a write waits, and fetches those that came meanwhile.
func (k *committer) more() bool {
	if k.next < len(k.list) {
		return true
	}
	clear(k.list) // hold on to nothing
	k.spare, k.list, k.next = k.list, k.s.writes.take(k.spare), 0
	return len(k.list) > 0
}

// group runs what waits in one transaction, as much as fits, and commits it.
func (k *committer) group() {
	k.c.rows, k.c.bytes, k.full = 0, 0, false
	for k.more() && !k.full && k.c.rows < groupRows && k.c.bytes < groupBytes {
		w := k.list[k.next]
		if len(w.wants) > 0 && len(k.done) > 0 {
			break // it has a group of its own
		}
		k.next++
		if !w.state.CompareAndSwap(waiting, taken) {
			continue
		}
		if k.s.failed.Load() != nil {
			w.done <- storeFailed()
			continue
		}
		k.run(w)
	}
	k.end()
}

// run carries out one write in the open group, or opens one. Its failure undoes
// its own work only; the first of a group needs no savepoint for that.
func (k *committer) run(w *write) {
	alone := !k.open
	k.done = append(k.done, finished{w: w})
	f := &k.done[len(k.done)-1]
	if err := k.mark(alone); err != nil {
		f.err = err
		return
	}
	k.c.lost, k.c.clash = nil, nil
	t := &tx{reader: reader{conn: k.c, s: k.s, small: &k.small}}
	err := k.inOrder(t, w)
	if err == nil {
		err = k.call(t, w.fn)
	}
	if err != nil && k.s.db.Fatal(err) && k.c.fatal == nil {
		k.c.fatal = err
	}
	if k.c.fatal != nil {
		k.fail(k.c.fatal)
		return
	}
	if k.c.lost != nil {
		k.abort()
		return
	}
	if k.c.clash != nil && k.again(w, alone) {
		return
	}
	if err == nil {
		k.sum.add(t.change)
		if !alone {
			err = k.c.Release()
		}
	} else {
		f.err = err
		k.small.undo()
		if t.keyed {
			k.small.forget()
		}
		if alone {
			k.open = false
			err = k.c.Rollback()
		} else {
			err = k.c.RollbackTo()
		}
	}
	if err != nil {
		k.broken("end a write", err)
	}
}

// broken ends the open group because its transaction cannot be gone on with. Of
// a database that looks after its own disk that is all.
func (k *committer) broken(doing string, err error) {
	if k.s.db.Lost(err) || k.s.db.Shared() {
		k.c.lost = err
		k.abort()
		return
	}
	k.fail(fmt.Errorf("%s: %w", doing, err))
}

// mark opens the group, or sets a savepoint in it.
func (k *committer) mark(alone bool) error {
	if !alone {
		err := k.c.Savepoint()
		if err == nil {
			return nil
		}
		k.broken("savepoint", err)
		if k.s.failed.Load() != nil {
			return storeFailed()
		}
		return unreachable()
	}
	err := k.c.Begin(true)
	if err == nil {
		k.open = true
		if k.s.db.Shared() {
			k.small.forget()
		}
		return nil
	}
	switch {
	case k.s.db.Lost(err):
		return unreachable()
	case k.s.db.Busy(err):
		return busy()
	}
	k.fail(fmt.Errorf("begin: %w", err))
	return storeFailed()
}

// abort ends the open group because the database cannot be reached: it has undone
// all of it.
func (k *committer) abort() {
	k.s.log.Warn("the database cannot be reached", "error", k.c.lost.Error())
	for i := range k.done {
		if k.done[i].err == nil {
			k.done[i].err = unreachable()
		}
	}
	_ = k.c.Rollback() // there may be nobody to tell
	k.open, k.full, k.sum = false, true, touched{}
	k.c.lost, k.c.clash = nil, nil
	k.small.forget()
}

// inOrder locks what a write asked for when it was tried before.
func (k *committer) inOrder(t *tx, w *write) error {
	k.small.wanted = k.small.wanted[:0]
	if len(w.wants) == 0 {
		return nil
	}
	k.full, k.small.inOrder = true, true
	defer func() { k.small.inOrder = false }()
	for _, app := range w.wants {
		if _, err := t.app(app); err != nil && !isNotFound(err) {
			return err
		}
	}
	return nil
}

// maxTries is how often a write is tried that another transaction is in the way
// of.
const maxTries = 8

// again puts the write that is being carried out back to the head of the queue,
// for a group of its own; false: it was tried often enough, and fails.
func (k *committer) again(w *write, alone bool) bool {
	k.c.clash = nil
	if w.tries++; w.tries >= maxTries {
		return false
	}
	k.done = k.done[:len(k.done)-1]
	k.full = true
	w.wants = unique(append(w.wants, k.small.wanted...))
	var err error
	if alone {
		k.open = false
		err = k.c.Rollback()
	} else {
		err = k.c.RollbackTo()
	}
	if alone {
		k.small.forget()
	} else {
		k.small.undo()
	}
	if err != nil {
		k.broken("undo a write", err)
		if k.s.failed.Load() != nil {
			w.done <- storeFailed()
			return true
		}
	}
	k.next--
	w.state.Store(waiting)
	return true
}

// call runs fn and makes an error of its panic.
func (k *committer) call(t *tx, fn func(*tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			k.s.log.Error("a transaction panicked", "reason", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = errors.New("a transaction panicked")
		}
	}()
	if err := fn(t); err != nil {
		return err
	}
	if err := t.putHistories(); err != nil {
		return err
	}
	return t.flush()
}

// end commits the open group, tells the watchers, and answers the callers.
func (k *committer) end() {
	rows, erased := k.c.rows, false
	if k.open {
		begin := time.Now()
		err := k.c.Commit()
		if k.s.onCommit != nil {
			k.s.onCommit(rows, time.Since(begin), err)
		}
		switch {
		case err != nil && k.s.db.Shared():
			k.uncertain(err)
		case err != nil: // the group's fate is unknown, so nobody is told that it holds
			k.fail(fmt.Errorf("commit: %w", err))
		default:
			k.open = false
			if erased = len(k.sum.erased) > 0; erased {
				k.s.tails.clear() // a reader may have come in between
			}
			k.tell()
		}
	}
	for _, f := range k.done {
		f.w.done <- f.err
	}
	k.reset()
	k.upkeep(func() error { return k.s.db.Grown(erased) })
}

// uncertain ends a group whose commit was not confirmed: it may be durable or
// undone. Whoever watches looks for himself.
func (k *committer) uncertain(err error) {
	k.s.log.Warn("a commit was not confirmed by the database", "error", err.Error())
	for i := range k.done {
		if k.done[i].err == nil {
			k.done[i].err = unknown()
		}
	}
	_ = k.c.Rollback() // there may be nobody to tell
	k.open = false
	k.c.lost, k.c.clash = nil, nil
	k.small.forget()
	k.s.tails.clear()
	k.tell()
}

// upkeep lets the database look after itself.
func (k *committer) upkeep(do func() error) {
	if k.s.failed.Load() != nil {
		return
	}
	if err := do(); err != nil {
		k.fail(err)
	}
}

func (k *committer) reset() {
	clear(k.done)
	k.done, k.sum = k.done[:0], touched{}
}

// tell tells the watchers of a commit.
func (k *committer) tell() {
	if k.s.onEvent != nil && len(k.sum.events) > 0 {
		clear(k.types)
		for _, t := range k.sum.events {
			k.types[t]++
		}
		for t, n := range k.types {
			k.s.onEvent(t, n)
		}
	}
	c := store.Change{Applications: unique(k.sum.apps), Endpoints: unique(k.sum.endpoints), Deadline: k.sum.deadline, Erased: uniqueSubjects(k.sum.erased)}
	if len(c.Applications) == 0 && len(c.Endpoints) == 0 && c.Deadline.IsZero() && len(c.Erased) == 0 {
		return
	}
	k.s.watched(c)
	if k.s.db.Shared() {
		k.s.db.Tell(encodeChange(c))
	}
}

// watched tells the watchers.
func (s *Store) watched(c store.Change) {
	s.watchMu.Lock()
	watchers := s.watchers
	s.watchMu.Unlock()
	for _, fn := range watchers {
		fn(c)
	}
}

func unique[T access.ID | delivery.Endpoint](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

func uniqueSubjects(list []store.Subject) []store.Subject {
	slices.SortFunc(list, func(a, b store.Subject) int {
		return cmp.Or(cmp.Compare(a.Application, b.Application), cmp.Compare(a.ID, b.ID))
	})
	return slices.Compact(list)
}

// fail ends all writing until the next start. Every write of the open group
// that counted as done is answered store_failed.
func (k *committer) fail(err error) {
	if k.s.failed.CompareAndSwap(nil, &err) {
		k.s.log.Error("a write to the disk failed; nothing more is written until the next start", "error", err.Error())
	}
	for i := range k.done {
		if k.done[i].err == nil {
			k.done[i].err = storeFailed()
		}
	}
	if k.open {
		k.open = false
		_ = k.c.Rollback() // the database may have done so already
	}
	k.small.forget()
}

// drain answers what waits when the committer cannot go on.
func (k *committer) drain() {
	k.s.writes.close()
	for _, f := range k.done {
		f.w.done <- storeFailed()
	}
	k.reset()
	for k.more() {
		w := k.list[k.next]
		k.next++
		if w.state.CompareAndSwap(waiting, taken) {
			w.done <- storeFailed()
		}
	}
}

func (c *touched) add(o touched) {
	c.apps = append(c.apps, o.apps...)
	c.endpoints = append(c.endpoints, o.endpoints...)
	c.events = append(c.events, o.events...)
	c.erased = append(c.erased, o.erased...)
	c.due(o.deadline)
}

// due counts a consent's deadline; the zero time is none.
func (c *touched) due(at time.Time) {
	if !at.IsZero() && (c.deadline.IsZero() || at.Before(c.deadline)) {
		c.deadline = at
	}
}
