package dispatch

import (
	"container/heap"
	"sync/atomic"
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

// job is one attempt to make, and what it came to. It is used again for another
// when that is recorded.
type job struct {
	r       *runner
	conf    *configured
	bearer  *credential.Bearer // nil: the endpoint's token is not ours to get
	sign    *signing           // nil: none was free
	lane    *lane
	item    delivery.Item
	pos     int64              // in the window, unless trouble
	trouble bool               // it is an exception, exc, and not an event that just passes
	retry   bool               // it was an exception when it was picked
	exc     delivery.Exception // base and tries before this attempt
	started time.Time
	late    bool // it has been on the wire for long
	result

	prev, next *job // among the young
}

// n is the attempt's number.
func (j *job) n() int { return j.exc.Base + j.exc.Tries + 1 }

// result is what an attempt came to.
type result struct {
	attempt  delivery.Attempt
	verdict  delivery.Verdict
	asked    time.Duration     // the receiver's Retry-After
	served   bool              // nothing is the matter with the endpoint, whatever the verdict
	response delivery.Response // room for the attempt's
	headers  []delivery.Header // room for the response's
}

// givenWay is a full state for which a newer one is sent. A fresh one has no
// Exception yet, and is at pos in the window.
type givenWay struct {
	delivery.Loaded
	pos int64
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
	at       int                // place among the runners of its application
	fetching *credential.Source // from it a token is being fetched
	dirty    bool
	openAt   time.Time // opening: not before
	reopenAt time.Time // closing: for the next one
	timer    *time.Timer
	timerAt  time.Time

	lease delivery.Lease
	lost  atomic.Bool // the lease is; what was picked under it is not sent any more
	may   func() bool // tells whether what was picked may still be written; nil: it may, for there is one node
	conf  *configured

	// what passes
	readTo   event.Seq // the last place looked at
	asked    int       // wake-ups so far
	hasRead  bool      // since exceptions were loaded
	caughtUp bool
	window   window
	touched  event.Seq          // nothing behind it was picked or made an exception
	skip     map[event.Seq]bool // above the cursor, settled before we opened
	tried    map[event.Seq]int  // above the cursor, attempts made before we opened
	lanes    map[string]*lane
	ready    lanes
	urgent   lanes     // those that hold a withdrawal
	items    int       // loaded events that were not sent
	bytes    int       // of them, and of those on the wire
	hungry   bool      // it has a backlog, and counts as one that has
	saved    event.Seq // the cursor that was recorded
	cursorAt time.Time // when one that moved is recorded at the latest; zero: none did

	// trouble
	waiting map[string]int      // subject → its exceptions that wait
	heads   map[string]struct{} // subjects of which we hold the exception that is to be tried next
	due     due
	out     map[event.Seq]struct{} // taken from due: being loaded, loaded, on the wire or being recorded
	retries deque[delivery.Loaded]
	replays []delivery.Replay
	ended   map[string]struct{} // replays that we fed to their end
	fed     int                 // replayed deliveries that were not tried yet

	inFlight int
	retrying int // of them, that were exceptions when they were picked
	late     int // of them, that have been on the wire for long
	pace     delivery.Pace
	competes bool // it is slow and counts as one that shares the slots of the slow
	picks    int
	firsts   int
	allow    int // fresh deliveries on the wire: grows from 1 after the breaker was open
	breaker  delivery.Breaker
	failed   map[string]struct{} // subjects that failed since the last success
	hold     delivery.Hold
	limited  time.Time // by the rate limit: nothing before

	// to be recorded
	results      []*job
	overtaken    []givenWay
	puts         []delivery.Exception
	rouse        map[string]struct{}
	breakerDirty bool
	holdDirty    bool

	// of the progress that is being recorded; the slices are used again
	recording bool
	recorded  []*job
	attempts  []delivery.Attempt
	released  []string             // subjects beside those of recorded
	waits     []delivery.Exception // retries
}

func newRunner(e *Engine, id delivery.Endpoint) *runner {
	r := &runner{e: e, id: id}
	if e.cluster.nodes != nil {
		r.may = func() bool { return !r.lost.Load() && e.leased(time.Now()) }
	}
	r.forget()
	return r
}

// forget drops what was loaded.
func (r *runner) forget() {
	r.lanes = map[string]*lane{}
	r.ready, r.urgent, r.retries = lanes{}, lanes{}, deque[delivery.Loaded]{}
	r.window = window{}
	r.items, r.bytes, r.fed = 0, 0, 0
	r.waiting, r.heads, r.failed = map[string]int{}, map[string]struct{}{}, map[string]struct{}{}
	r.due, r.out = due{at: map[event.Seq]int{}}, map[event.Seq]struct{}{}
	r.puts, r.overtaken, r.rouse = nil, nil, map[string]struct{}{}
	r.replays, r.ended = nil, map[string]struct{}{}
	r.skip, r.tried = nil, nil
	r.cursorAt = time.Time{}
}

// open takes up the work where the store says it stands.
func (r *runner) open(p delivery.Position, c *configured) {
	r.state, r.lease = open, p.Lease
	r.readTo, r.touched, r.saved = p.Cursor, p.Cursor, p.Cursor
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
	_, part, parts := r.id.Split()
	c.share(part, parts)
	r.conf, c.may = c, r.may
	if r.app == "" {
		r.app = c.endpoint.Application
		r.e.enlist(r)
	}
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
	case r.due.Len() > 0 && !now.Before(r.due.next()) && r.retries.len() < loadItems && !r.readsFirst():
		return choreLoad
	case r.canRead():
		return choreRead
	}
	return noChore
}

// readsFirst tells whether the log goes before what is due: were only retries on
// the wire, subjects in trouble would speak for all, and open the breaker.
func (r *runner) readsFirst() bool {
	return r.items == 0 && !r.hasRead && !r.breaker.Open && r.canRead()
}

func (r *runner) canRead() bool {
	switch {
	case r.caughtUp, len(r.waiting) >= maxBlocked:
		return false
	case r.breaker.Open:
		return r.probing() && r.items == 0
	case r.bytes == 0:
		return r.window.len() < r.e.places // one at least, whatever the others hold
	case r.items >= highItems, r.bytes >= highBytes, r.window.len() >= r.e.places:
		return false
	case r.items >= r.enough() && r.ready.len() >= r.inFlightLimit():
		return false
	}
	room := r.e.roomFor(r)
	if r.items == 0 { // for one more like those that it holds
		return room >= r.bytes/max(1, r.inFlight+r.retries.len())
	}
	return room >= min(totalBytes/max(1, r.e.hungry), highBytes)/4 // not one by one
}

// enough is how many events a runner has in hand before it reads on.
func (r *runner) enough() int {
	if r.pace == delivery.Slow {
		return min(lowItems, 4*r.inFlightLimit())
	}
	return lowItems
}

// backlog tells whether the runner has more to send than it has loaded, as far
// as is known.
func (r *runner) backlog() bool {
	return r.state == opening || r.state == open && !r.caughtUp && !r.breaker.Open && !r.hold.Held()
}

// takeDue takes the exceptions whose time has come, to be loaded.
func (r *runner) takeDue(now time.Time) []event.Seq {
	r.hasRead = false
	var out []event.Seq
	most := loadItems
	if r.e.bytes >= totalBytes/2 {
		most = min(most, r.inFlightLimit())
	}
	for r.due.Len() > 0 && !now.Before(r.due.next()) && len(out) < most {
		x := heap.Pop(&r.due).(delivery.Exception)
		r.out[x.Seq] = struct{}{}
		out = append(out, x.Seq)
	}
	return out
}

// loaded takes over exceptions with their events.
func (r *runner) loaded(got []delivery.Loaded) {
	for _, l := range got {
		if l.Passed || l.Newer && !l.Replay && r.conf.endpoint.OnBacklog == subscription.BacklogLatest {
			r.overtaken = append(r.overtaken, givenWay{Loaded: l})
			continue
		}
		r.retries.pushBack(l)
		r.load(&l.Item)
	}
}

// read takes over a page of the log, asked for at the wake-up before.
func (r *runner) read(p delivery.Page, asked int) {
	r.hasRead = true
	if p.Upto == r.readTo && len(p.Items) == 0 && asked == r.asked {
		r.caughtUp = true
	}
	fresh := false
	for i := range p.Items {
		it := &p.Items[i]
		switch {
		case it.Seq <= r.readTo:
			continue
		case r.skip[it.Seq]:
			delete(r.skip, it.Seq)
			r.touched = max(r.touched, it.Seq)
			continue
		case len(r.waiting) > 0 && r.waiting[it.Subject] > 0:
			r.block(it)
			continue
		}
		fresh = true
		r.items++
		r.load(it)
		l := r.lane(it.Subject)
		l.push(r.e.newEntry(it, r.window.add(it.Seq, l)))
		r.queue(l, false)
	}
	if p.Upto > r.readTo && !fresh && r.cursorAt.IsZero() {
		r.cursorAt = time.Now().Add(cursorDelay)
	}
	r.readTo = max(r.readTo, p.Upto)
}

// unread gives back what was read last and not touched yet: it is read again
// when its time comes.
func (r *runner) unread() {
	from := max(r.touched, r.window.cursor(r.readTo))
	if r.loading || r.readTo <= from {
		return
	}
	for _, l := range r.lanes {
		var last *entry
		en := l.first
		for en != nil && en.item.Seq <= from {
			last, en = en, en.next
		}
		if l.last = last; last == nil {
			l.first = nil
		} else {
			last.next = nil
		}
		for en != nil {
			next := en.next
			l.n--
			if en.item.Type.IsWithdrawal() {
				l.urgent--
			}
			r.items--
			r.unload(&en.item)
			r.e.freeEntry(en)
			en = next
		}
		if l.n == 0 {
			l.leave()
			r.settleLane(l)
		}
	}
	r.window.cut(from)
	r.readTo, r.caughtUp = from, false
}

// lane returns a subject's lane.
func (r *runner) lane(subject string) *lane {
	l := r.lanes[subject]
	if l == nil {
		l = r.e.newLane(subject)
		r.lanes[subject] = l
	}
	return l
}

// settleLane takes a lane away that holds nothing and waits for nothing.
func (r *runner) settleLane(l *lane) {
	if l.n == 0 && !l.busy && r.lanes[l.subject] == l {
		delete(r.lanes, l.subject)
		r.e.freeLane(l)
	}
}

// queue puts a lane among those that can go on. A lane that holds a withdrawal
// goes to the others of its kind, which are served first.
func (r *runner) queue(l *lane, first bool) {
	q := &r.ready
	if l.urgent > 0 {
		q = &r.urgent
	}
	if l.busy || l.n == 0 || l.in == q {
		return
	}
	l.leave()
	if first {
		q.pushFront(l)
	} else {
		q.pushBack(l)
	}
}

// block makes an exception of an event that must wait behind another of its
// subject. It is recorded with the cursor that passes it.
func (r *runner) block(it *delivery.Item) {
	r.puts = append(r.puts, delivery.Exception{
		Seq: it.Seq, Subject: it.Subject, State: delivery.WaitTurn, Base: r.tried[it.Seq],
	})
	r.waiting[it.Subject]++
	r.touched = max(r.touched, it.Seq)
}

// spill blocks everything that is loaded of a subject.
func (r *runner) spill(subject string) {
	l := r.lanes[subject]
	if l == nil {
		return
	}
	l.leave()
	for en := l.shift(); en != nil; en = l.shift() {
		r.items--
		r.unload(&en.item)
		r.window.settle(en.pos)
		r.block(&en.item)
		r.e.freeEntry(en)
	}
	r.settleLane(l)
}

// itemBytes is what a loaded event takes beside its body: its lane, its place
// and its names.
const itemBytes = 512

func (r *runner) load(it *delivery.Item) {
	r.bytes += len(it.Body) + itemBytes
	r.e.bytes += len(it.Body) + itemBytes
}

func (r *runner) unload(it *delivery.Item) {
	r.bytes -= len(it.Body) + itemBytes
	r.e.bytes -= len(it.Body) + itemBytes
}

// inFlightLimit is how many requests the endpoint may have on the wire now.
func (r *runner) inFlightLimit() int {
	return r.pace.InFlight(r.conf.inFlight, r.e.slots[delivery.Slow], r.e.competing)
}

// canSend tells whether the runner has something that may be sent now.
func (r *runner) canSend(now time.Time) bool {
	if r.state != open || r.stale || r.hold.Held() || r.inFlight >= r.inFlightLimit() || now.Before(r.limited) || !r.e.leased(now) {
		return false
	}
	return (r.canSendRetry() || r.canSendFresh()) && r.hasToken(now)
}

// canSendRetry: a part of the slots is kept for first tries. While there are any,
// or the log has more, retries alone do not open the breaker: subjects that are in
// trouble say nothing of the others, and may be told so faster than those are
// served.
func (r *runner) canSendRetry() bool {
	if r.retries.len() == 0 {
		return false
	}
	_, most := delivery.RetrySlots(r.inFlightLimit())
	if r.inFlight > r.retrying || r.waitsFresh() || !r.breaker.Open && r.canRead() {
		most = min(most, delivery.BreakerFailures-1-r.breaker.Failures)
	}
	return r.retrying < most
}

// waitsFresh tells whether first tries wait that may be made.
func (r *runner) waitsFresh() bool {
	return r.ready.len()+r.urgent.len() > 0 && (!r.breaker.Open || r.probing())
}

func (r *runner) canSendFresh() bool { return r.waitsFresh() && r.inFlight < r.allow }

// pick takes the next delivery; nil: there is none that may be sent now.
//
// First tries go ahead of retries, but an eighth of the slots is the retries',
// or, where there are few, one turn in eight, so that neither starves.
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
	if r.canSendRetry() && (r.retriesTurn() || !r.canSendFresh()) {
		j = r.pickRetry()
	}
	if j == nil && r.canSendFresh() {
		j = r.pickFresh()
	}
	if j == nil {
		return nil
	}
	j.r, j.conf, j.bearer, j.started = r, r.conf, bearer, now
	j.sign = r.conf.signer(now)
	j.lane.busy = true
	r.e.onWire(j)
	return j
}

// retriesTurn tells whether a retry goes ahead of a first try now.
func (r *runner) retriesTurn() bool {
	if retries, _ := delivery.RetrySlots(r.inFlightLimit()); retries > 0 {
		return r.retrying < retries
	}
	return r.picks%8 == 0
}

func (r *runner) pickRetry() *job {
	l, ok := r.retries.popFront()
	if !ok {
		return nil
	}
	if lane := r.lanes[l.Subject]; lane != nil && lane.busy { // its turn has not come; look again when the subject is free
		r.unload(&l.Item)
		delete(r.out, l.Seq)
		delete(r.heads, l.Subject)
		return nil
	}
	j := r.e.newJob()
	j.item, j.trouble, j.retry, j.exc, j.lane = l.Item, true, true, l.Exception, r.lane(l.Subject)
	j.lane.leave()
	return j
}

// pickFresh takes the next first try. Lanes that hold a withdrawal go first,
// but one turn in eight is the others', so that they do not starve.
func (r *runner) pickFresh() *job {
	for {
		r.firsts++
		l := r.urgent.head
		if l == nil || r.firsts%8 == 0 && r.ready.head != nil {
			l = r.ready.head
		}
		if l == nil {
			return nil
		}
		l.leave()
		if r.overtake(l) {
			l.busy = true // until that is recorded
			continue
		}
		en := l.shift()
		r.items--
		r.touched = max(r.touched, en.item.Seq)
		j := r.e.newJob()
		j.item, j.pos, j.lane = en.item, en.pos, l
		j.exc = delivery.Exception{Seq: en.item.Seq, Subject: l.subject}
		if len(r.tried) > 0 {
			j.exc.Base = r.tried[en.item.Seq]
		}
		l.job = j
		r.e.freeEntry(en)
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
	for l.n > 1 && l.first.item.Type == event.PermissionsEffective && l.first.next.item.Type == event.PermissionsEffective {
		en := l.shift()
		r.overtaken = append(r.overtaken, givenWay{delivery.Loaded{Item: en.item}, en.pos})
		r.items--
		r.unload(&en.item)
		r.touched = max(r.touched, en.item.Seq)
		r.e.freeEntry(en)
		l.latest = true
	}
	return l.latest
}

// finish takes over the result of an attempt at now; done is false when it was
// called off, and nothing is known.
func (r *runner) finish(j *job, now time.Time, done bool) {
	r.e.offWire(j, now)
	if r.state != closing {
		r.unload(&j.item)
	}
	j.item.Body = nil
	if !done {
		r.e.freeJob(j)
		return
	}
	r.results = append(r.results, j)
	r.e.results++
	switch {
	case j.verdict == delivery.Success, j.served:
		if r.breaker != (delivery.Breaker{}) {
			r.breaker, r.breakerDirty = r.breaker.Passed(), true
			clear(r.failed)
		}
		if r.conf != nil && r.allow < r.conf.inFlight {
			r.allow++ // twice as many with each round
		}
	case j.verdict == delivery.Retry:
		if len(r.failed) < 2*delivery.BreakerSubjects {
			r.failed[j.item.Subject] = struct{}{}
		}
		was := r.breaker.Open
		r.breaker = r.breaker.Failed(j.attempt.At, j.attempt.Reason, len(r.failed), r.subjects())
		if r.breakerDirty = true; r.breaker.Open && !was {
			r.allow = 1
			r.e.o.Logger.Warn("the endpoint's breaker opened", "endpoint", string(r.id), "reason", r.breaker.Reason, "count", r.breaker.Failures)
		}
	}
}

// subjects is how many subjects are loaded or wait, as far as the breaker
// needs to know.
func (r *runner) subjects() int {
	n := len(r.waiting)
	if len(r.failed) >= delivery.BreakerSubjects || r.breaker.Failures+1 < delivery.BreakerFailures {
		return n + len(r.lanes) // more or less
	}
	for subject := range r.lanes {
		if r.waiting[subject] == 0 {
			n++
		}
	}
	return n
}

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
		if r.pace == delivery.Unproven && r.inFlight > 0 && r.e.young.head != nil {
			earliest(r.e.young.head.started.Add(delivery.SlowAfter))
		}
		earliest(r.cursorAt)
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
	r.e.age(time.Now())
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
