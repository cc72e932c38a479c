package dispatch

import (
	"container/heap"
	"time"

	"github.com/consentwire/consentwire/internal/credential"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

// state is where a runner is in its life.
type state uint8

const (
	opening state = iota // its lease is to be taken
	open
	closing // its lease is gone; what is on the wire is awaited
)

// chore is what a runner needs of the store.
type chore uint8

const (
	noChore chore = iota
	choreOpen
	choreConfig // and the replays that wait
	choreLoad   // exceptions that are due
	choreRead   // the log
)

// lane is one subject's loaded events, in order. While one of them is on the
// wire or being recorded the subject is in runner.flying and the lane in no
// queue.
type lane struct {
	subject string
	items   deque[delivery.Item]
	urgent  int  // how many of them take a permission away
	queued  bool // in ready or urgent
	dead    bool // spilled while it was queued
	latest  bool // what gave way to its first event is recorded
}

// job is one attempt to make.
type job struct {
	r       *runner
	conf    *configured
	bearer  *credential.Bearer // nil: the endpoint's token is not ours to get
	item    delivery.Item
	trouble bool               // it is an exception, exc, and not an event that just passes
	exc     delivery.Exception // base and tries before this attempt
	started time.Time
}

// n is the attempt's number.
func (j *job) n() int { return j.exc.Base + j.exc.Tries + 1 }

// result is an attempt that was made.
type result struct {
	job     *job
	attempt delivery.Attempt
	verdict delivery.Verdict
	asked   time.Duration // the receiver's Retry-After
	served  bool          // nothing is the matter with the endpoint, whatever the verdict
}

// runner is one endpoint's part of the engine. Everything in it is guarded by
// the engine's lock.
type runner struct {
	e        *Engine
	id       delivery.Endpoint
	app      string
	state    state
	gone     bool // may not be sent to any more
	woken    int  // how often it was said that it changed
	stale    bool // nothing is sent before the configuration was read again
	loading  bool // in the queue of chores, or one is done
	inTurn   bool
	fetching *credential.Source // from it a token is being fetched
	dirty    bool
	openAt   time.Time // opening: not before
	reopenAt time.Time // closing: for the next one
	timer    *time.Timer
	timerAt  time.Time

	lease delivery.Lease
	conf  *configured

	// what passes
	readTo   event.Seq // the last place looked at
	asked    int       // wake-ups so far
	caughtUp bool
	window   window
	skip     map[event.Seq]bool // above the cursor, settled before we opened
	tried    map[event.Seq]int  // above the cursor, attempts made before we opened
	lanes    map[string]*lane
	ready    deque[*lane]
	urgent   deque[*lane]
	items    int       // loaded events that were not sent
	bytes    int       // of their bodies, and of those on the wire
	filterAt time.Time // when a cursor that passed only filtered events is recorded; zero: none is

	// trouble
	waiting map[string]int      // subject → its exceptions that wait
	heads   map[string]struct{} // subjects of which we hold the exception that is to be tried next
	due     due
	out     map[event.Seq]struct{} // taken from due: being loaded, loaded, on the wire or being recorded
	retries deque[delivery.Loaded]
	replays []delivery.Replay
	ended   map[string]struct{} // replays that we fed to their end
	fed     int                 // replayed deliveries that were not tried yet

	flying   map[string]struct{} // subjects with a delivery on the wire or being recorded
	onWire   map[event.Seq]*job  // events that just pass
	inFlight int
	picks    int
	allow    int // fresh deliveries on the wire: grows from 1 after the breaker was open
	breaker  delivery.Breaker
	failed   map[string]struct{} // subjects that failed since the last success
	hold     delivery.Hold
	limited  time.Time // by the rate limit: nothing before

	// to be recorded
	results      []result
	overtaken    []delivery.Loaded // full states for which a newer one is sent; fresh ones have no Exception yet
	puts         []delivery.Exception
	rouse        map[string]struct{}
	breakerDirty bool
	holdDirty    bool
	recording    bool
	released     []string             // subjects of the progress being recorded
	waits        []delivery.Exception // retries of the progress being recorded
}

func newRunner(e *Engine, id delivery.Endpoint) *runner {
	r := &runner{e: e, id: id}
	r.forget()
	return r
}

// forget drops what was loaded.
func (r *runner) forget() {
	r.lanes = map[string]*lane{}
	r.ready, r.urgent, r.retries = deque[*lane]{}, deque[*lane]{}, deque[delivery.Loaded]{}
	r.window = window{}
	r.items, r.bytes, r.fed = 0, 0, 0
	r.waiting, r.heads, r.failed = map[string]int{}, map[string]struct{}{}, map[string]struct{}{}
	r.due, r.out = due{at: map[event.Seq]int{}}, map[event.Seq]struct{}{}
	r.flying, r.onWire = map[string]struct{}{}, map[event.Seq]*job{}
	r.puts, r.overtaken, r.rouse = nil, nil, map[string]struct{}{}
	r.replays, r.ended = nil, map[string]struct{}{}
	r.skip, r.tried = nil, nil
	r.filterAt = time.Time{}
}

// open takes up the work where the store says it stands.
func (r *runner) open(p delivery.Position, c *configured) {
	r.state, r.lease = open, p.Lease
	r.readTo = p.Cursor
	r.skip, r.tried = p.Settled, p.Tried
	r.breaker, r.hold = p.Breaker, p.Hold
	for subject, n := range p.Waiting {
		r.waiting[subject] = n
	}
	for _, x := range p.Due {
		r.await(x)
	}
	for subject := range r.waiting {
		if _, ok := r.heads[subject]; !ok {
			r.rouse[subject] = struct{}{}
		}
	}
	r.reconfigure(c, p.Replays)
}

// reconfigure takes over a configuration and the replays that wait.
func (r *runner) reconfigure(c *configured, replays []delivery.Replay) {
	r.conf, r.app = c, c.endpoint.Application
	if r.allow = c.inFlight; r.breaker.Open {
		r.allow = 1
	}
	r.limited = time.Time{}
	switch {
	case c.hold != "" && (!r.hold.Held() || r.hold.Reason != c.hold):
		r.hold = delivery.Hold{State: delivery.TokenTrouble, Since: now(), Reason: c.hold}
		r.holdDirty = true
	case c.hold != "":
	case c.tokens == nil && r.hold != (delivery.Hold{}):
		r.hold, r.holdDirty = delivery.Hold{}, true
	}
	done := map[string]int{}
	for _, old := range r.replays {
		done[old.ID] = old.Done
	}
	r.replays = nil
	for _, j := range replays {
		if _, over := r.ended[j.ID]; over {
			continue // it was read before its end was recorded
		}
		j.Done = max(j.Done, done[j.ID])
		r.replays = append(r.replays, j)
	}
}

// await takes note of the exception that its subject tries next.
func (r *runner) await(x delivery.Exception) {
	if _, ok := r.out[x.Seq]; ok {
		return // it is on its way
	}
	r.heads[x.Subject] = struct{}{}
	if i, ok := r.due.at[x.Seq]; ok {
		r.due.list[i] = x
		heap.Fix(&r.due, i)
		return
	}
	heap.Push(&r.due, x)
}

// probing tells whether the breaker is open and nothing that was tried before
// will be tried again, so that something new must be the probe.
func (r *runner) probing() bool {
	return r.breaker.Open && len(r.heads) == 0 && r.inFlight == 0 && len(r.results) == 0 && !r.recording
}

// chore returns what the runner needs most.
func (r *runner) chore(now time.Time) chore {
	switch {
	case r.state == opening:
		if !now.Before(r.openAt) {
			return choreOpen
		}
	case r.state == closing:
	case r.stale:
		return choreConfig
	case r.hold.Held():
	case r.due.Len() > 0 && !now.Before(r.due.next()) && r.retries.len() < loadItems:
		return choreLoad
	case r.canRead():
		return choreRead
	}
	return noChore
}

func (r *runner) canRead() bool {
	switch {
	case r.caughtUp, len(r.waiting) >= maxBlocked:
		return false
	case r.breaker.Open:
		return r.probing() && r.items == 0
	case r.items >= highItems, r.bytes >= highBytes, r.window.len() >= r.e.places:
		return false
	case r.items >= lowItems && r.ready.len() >= r.conf.inFlight:
		return false
	}
	return r.e.bytes < totalBytes || r.items < sparseItems
}

// takeDue takes the exceptions whose time has come, to be loaded.
func (r *runner) takeDue(now time.Time) []event.Seq {
	var out []event.Seq
	for r.due.Len() > 0 && !now.Before(r.due.next()) && len(out) < loadItems {
		x := heap.Pop(&r.due).(delivery.Exception)
		r.out[x.Seq] = struct{}{}
		out = append(out, x.Seq)
	}
	return out
}

// loaded takes over exceptions with their events, and returns how many bytes
// they are.
func (r *runner) loaded(got []delivery.Loaded) (bytes int) {
	for _, l := range got {
		if l.Passed || l.Newer && !l.Replay && r.conf.endpoint.OnBacklog == subscription.BacklogLatest {
			r.overtaken = append(r.overtaken, l)
			continue
		}
		r.retries.pushBack(l)
		bytes += len(l.Item.Body)
	}
	r.bytes += bytes
	return bytes
}

// read takes over a page of the log, asked for at the wake-up before, and
// returns how many bytes were loaded.
func (r *runner) read(p delivery.Page, asked int) (bytes int) {
	if p.Upto == r.readTo && len(p.Items) == 0 && asked == r.asked {
		r.caughtUp = true
	}
	fresh := false
	for _, it := range p.Items {
		switch {
		case it.Seq <= r.readTo:
			continue
		case r.skip[it.Seq]:
			delete(r.skip, it.Seq)
			continue
		case r.waiting[it.Subject] > 0:
			r.block(it)
			continue
		}
		fresh = true
		r.window.add(it.Seq)
		r.items++
		bytes += len(it.Body)
		l := r.lanes[it.Subject]
		if l == nil {
			l = &lane{subject: it.Subject}
			r.lanes[it.Subject] = l
		}
		l.items.pushBack(it)
		if it.Type.IsWithdrawal() {
			l.urgent++
		}
		r.queue(l, false)
	}
	if p.Upto > r.readTo && !fresh && r.filterAt.IsZero() {
		r.filterAt = time.Now().Add(filterDelay)
	}
	r.readTo = max(r.readTo, p.Upto)
	r.bytes += bytes
	return bytes
}

// queue puts a lane among those that can go on. A lane that holds a withdrawal
// goes to the others of its kind, which are served first.
func (r *runner) queue(l *lane, first bool) {
	if _, busy := r.flying[l.subject]; busy || l.queued || l.items.len() == 0 {
		return
	}
	l.queued = true
	q := &r.ready
	if l.urgent > 0 {
		q = &r.urgent
	}
	if first {
		q.pushFront(l)
	} else {
		q.pushBack(l)
	}
}

// block makes an exception of an event that must wait behind another of its
// subject. It is recorded with the cursor that passes it.
func (r *runner) block(it delivery.Item) {
	r.puts = append(r.puts, delivery.Exception{
		Seq: it.Seq, Subject: it.Subject, State: delivery.WaitTurn, Base: r.tried[it.Seq],
	})
	r.waiting[it.Subject]++
}

// spill blocks everything that is loaded of a subject.
func (r *runner) spill(subject string) {
	l := r.lanes[subject]
	if l == nil {
		return
	}
	for {
		it, ok := l.items.popFront()
		if !ok {
			break
		}
		r.items--
		r.unload(len(it.Body))
		r.window.settle(it.Seq)
		r.block(it)
	}
	l.dead = true
	delete(r.lanes, subject)
}

func (r *runner) unload(bytes int) {
	r.bytes -= bytes
	r.e.bytes -= bytes
}

// canSend tells whether the runner has something that may be sent now.
func (r *runner) canSend(now time.Time) bool {
	if r.state != open || r.stale || r.hold.Held() || r.inFlight >= r.conf.inFlight || now.Before(r.limited) {
		return false
	}
	return (r.retries.len() > 0 || r.canSendFresh()) && r.hasToken(now)
}

func (r *runner) canSendFresh() bool {
	if r.ready.len() == 0 && r.urgent.len() == 0 || r.inFlight >= r.allow {
		return false
	}
	return !r.breaker.Open || r.probing()
}

// pick takes the next delivery; nil: there is none that may be sent now.
//
// First tries go ahead of retries, but one turn in eight is the retries', so
// that neither starves.
func (r *runner) pick(now time.Time) *job {
	if !r.canSend(now) {
		return nil
	}
	if wait := r.conf.reserve(now); wait > 0 {
		r.limited = now.Add(wait)
		return nil
	}
	var bearer *credential.Bearer
	if r.conf.tokens != nil {
		if bearer = r.conf.tokens.Take(now); bearer == nil {
			return nil
		}
	}
	r.picks++
	var j *job
	if r.retries.len() > 0 && (r.picks%8 == 0 || !r.canSendFresh()) {
		j = r.pickRetry()
	}
	if j == nil && r.canSendFresh() {
		j = r.pickFresh()
	}
	if j == nil {
		return nil
	}
	j.r, j.conf, j.bearer, j.started = r, r.conf, bearer, now
	r.flying[j.item.Subject] = struct{}{}
	r.inFlight++
	return j
}

func (r *runner) pickRetry() *job {
	l, ok := r.retries.popFront()
	if !ok {
		return nil
	}
	if _, busy := r.flying[l.Subject]; busy { // its turn has not come; look again when the subject is free
		r.unload(len(l.Item.Body))
		delete(r.out, l.Seq)
		delete(r.heads, l.Subject)
		return nil
	}
	return &job{item: l.Item, trouble: true, exc: l.Exception}
}

func (r *runner) pickFresh() *job {
	for {
		l, ok := r.urgent.popFront()
		if !ok {
			if l, ok = r.ready.popFront(); !ok {
				return nil
			}
		}
		l.queued = false
		if l.dead {
			continue
		}
		if r.overtake(l) {
			r.flying[l.subject] = struct{}{} // until that is recorded
			continue
		}
		it, ok := l.items.popFront()
		if !ok {
			continue
		}
		if it.Type.IsWithdrawal() {
			l.urgent--
		}
		r.items--
		j := &job{item: it, exc: delivery.Exception{Seq: it.Seq, Subject: it.Subject, Base: r.tried[it.Seq]}}
		r.onWire[it.Seq] = j
		return j
	}
}

// overtake tells whether the next events of a lane gave way: where its endpoint
// wants the latest only, a full state gives way to one behind it (CONTRACT 5,
// onBacklog). That is recorded before the newer one is sent, for after a crash
// an older one would be read again, and come behind it.
func (r *runner) overtake(l *lane) bool {
	if l.latest || r.conf.endpoint.OnBacklog != subscription.BacklogLatest {
		l.latest = false // what came meanwhile has its turn after this one
		return false
	}
	for l.items.len() > 1 && l.items.get(0).Type == event.PermissionsEffective && l.items.get(1).Type == event.PermissionsEffective {
		it, _ := l.items.popFront()
		r.overtaken = append(r.overtaken, delivery.Loaded{Item: it})
		r.items--
		r.unload(len(it.Body))
		l.latest = true
	}
	return l.latest
}

// finish takes over the result of an attempt; nil: it was called off, and
// nothing is known.
func (r *runner) finish(j *job, res *result) {
	r.inFlight--
	if r.state != closing {
		r.unload(len(j.item.Body))
		if r.onWire[j.item.Seq] == j {
			delete(r.onWire, j.item.Seq)
		}
	}
	if res == nil {
		return
	}
	r.results = append(r.results, *res)
	r.e.results++
	switch {
	case res.verdict == delivery.Success, res.served:
		if r.breaker != (delivery.Breaker{}) {
			r.breaker, r.breakerDirty = r.breaker.Passed(), true
			clear(r.failed)
		}
		if r.conf != nil && r.allow < r.conf.inFlight {
			r.allow = min(2*r.allow, r.conf.inFlight)
		}
	case res.verdict == delivery.Retry:
		if len(r.failed) < 2*delivery.BreakerSubjects {
			r.failed[j.item.Subject] = struct{}{}
		}
		was := r.breaker.Open
		r.breaker = r.breaker.Failed(res.attempt.At, res.attempt.Reason, len(r.failed), r.subjects())
		if r.breakerDirty = true; r.breaker.Open && !was {
			r.allow = 1
			r.e.o.Logger.Warn("the endpoint's breaker opened", "endpoint", string(r.id), "reason", r.breaker.Reason, "count", r.breaker.Failures)
		}
	}
}

// subjects is how many subjects are loaded or wait.
func (r *runner) subjects() int { return len(r.lanes) + len(r.waiting) }

// setTimer wakes the runner when the next of its times has come. Those that
// are past at now are seen to already.
func (r *runner) setTimer(now time.Time) {
	var at time.Time
	earliest := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	switch r.state {
	case opening:
		if !r.loading {
			earliest(r.openAt)
		}
	case open:
		if r.retries.len() < loadItems && !r.stale && !r.hold.Held() {
			earliest(r.due.next())
		}
		earliest(r.limited)
		earliest(r.filterAt)
		if r.hold.Held() {
			earliest(r.hold.NextAt)
		}
		if j, at := r.slowHead(); j != nil {
			earliest(at)
		}
	}
	if at.Equal(r.timerAt) {
		return
	}
	r.timerAt = at
	if at.IsZero() {
		r.stopTimer()
		return
	}
	if r.timer == nil {
		r.timer = time.AfterFunc(at.Sub(now), r.ring)
		return
	}
	r.timer.Reset(at.Sub(now))
}

func (r *runner) ring() {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.timerAt = time.Time{}
	r.e.kick(r)
}

func (r *runner) stopTimer() {
	r.timerAt = time.Time{}
	if r.timer != nil {
		r.timer.Stop()
	}
}

// now is the clock as everything is recorded: UTC, milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
