// Package dispatch is the engine: it reads the log, sends each event to every
// endpoint that is to be told, and records what became of it.
//
// Each endpoint has a runner: a cursor into its application's log, a bounded
// window of loaded events, and one lane per subject, of which only the head
// may be on the wire. Workers pull the next delivery from the runners in turn.
// Results are recorded in groups; a lane goes on only after its result is
// durable. A delivery that fails becomes an exception, and what follows it in
// its lane waits behind it in the store, so that the cursor and everybody else
// pass.
//
// The package sends nothing twice by itself, never reads ahead of a breaker
// that is open, and opens no connection but through its Client and its Mailer.
package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/credential"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/smtp"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/telemetry"
)

// Log is what the engine needs of a store. What each method must do is said at
// store.Engine.
//
// What Record is given is the engine's again when it has returned.
type Log interface {
	Active(ctx context.Context) ([]delivery.Endpoint, error)
	Config(ctx context.Context, e delivery.Endpoint) (subscription.Endpoint, error)
	Open(ctx context.Context, e delivery.Endpoint) (delivery.Position, error)
	Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (delivery.Page, error)
	Load(ctx context.Context, e delivery.Endpoint, seqs []event.Seq) ([]delivery.Loaded, error)
	Replays(ctx context.Context, e delivery.Endpoint) ([]delivery.Replay, error)
	Token(ctx context.Context, e delivery.Endpoint) (subscription.Token, error)
	SaveToken(ctx context.Context, e delivery.Endpoint, t subscription.Token) error
	Record(ctx context.Context, batch []delivery.Progress) ([]delivery.Outcome, error)
}

// Client sends one request, at most once; see egress.Client.
type Client interface {
	Do(ctx context.Context, r *egress.Request) (*egress.Response, error)
}

// Mailer hands one mail over, at most once; see smtp.Client.
type Mailer interface {
	Send(ctx context.Context, m *smtp.Mail) (smtp.Outcome, error)
}

// Options join an engine together.
type Options struct {
	Log      Log
	Nodes    Nodes   // nil: the store is this process's alone
	Tallies  Tallies // nil: nothing is counted for plots
	Client   Client
	Mailer   Mailer // needed once there are mail senders
	Guard    *egress.Guard
	Schedule delivery.Schedule // for endpoints without their own; never empty
	Timeout  time.Duration     // of one attempt, for endpoints without their own
	Version  string            // of the program, for the User-Agent
	Logger   *slog.Logger
	Metrics  *telemetry.Metrics // may be nil
}

// The engine's bounds. Source: DESIGN 3.6, 3.8, 3.11, or ours where none is
// given there.
const (
	defaultInFlight = 64   // requests on the wire of one endpoint without its own limit; fewer of a mail sender
	maxQuick        = 1000 // requests on the wire of those that answer quickly; fewer than the connections that egress keeps to one host
	maxUnproven     = 1000 // of those that have not answered yet, one each
	maxSlow         = 1000 // of the slow; beyond it are those that were quick when they began
	maxWire         = 4096 // beyond, only the quick begin new ones
	maxResting      = 64   // workers that wait for work
	maxLoaders      = 4    // reads of the store at a time
	maxOpeners      = 64   // the same while endpoints are opened: their leases share commits
	pageItems       = 512  // events of one read
	pageBytes       = 4 << 20
	lowItems        = 512  // a runner with fewer events to send reads on
	highItems       = 4096 // a runner never holds more
	highBytes       = 8 << 20
	totalBytes      = 64 << 20 // of all runners together
	shedEvery       = 100 * time.Millisecond
	windowPlaces    = 32 << 10 // between the cursor and the last event read
	slowHead        = 500 * time.Millisecond
	maxBlocked      = 50_000 // subjects that wait; beyond, the trouble is not the subjects'
	loadItems       = 64     // exceptions of one load
	feedItems       = 64     // deliveries of one step of a replay
	groupResults    = 256    // results that are recorded at once
	groupWanted     = 100    // results that make a group worth its commit
	groupRate       = 500    // results a second; below, a group waits for none
	minDelay        = 2 * time.Millisecond
	maxDelay        = 10 * time.Millisecond
	cursorStep      = 256              // places by which a cursor moves before it is recorded
	cursorDelay     = time.Second      // before one that moved less is recorded
	rescanEvery     = 30 * time.Second // finds what a missed wake-up hid, where other nodes change things
	rescanAlone     = 15 * time.Minute // the same where nobody else does, so that an idle engine rests
	pause           = time.Second      // after the store failed
	stopWithin      = 20 * time.Second // CONTRACT 1, SIGTERM
)

// Engine sends. Make one with New.
type Engine struct {
	o          Options
	agent      string
	agentField []string

	wire   context.Context // of the requests; ends when stopping takes too long
	cutOff context.CancelFunc
	poke   chan struct{} // wakes the recorder
	quiet  *sync.Cond    // on mu: workers, loaders or fetchers became fewer
	rescan chan struct{} // holds one: the endpoints are to be looked for

	cluster membership

	mu       sync.Mutex
	runners  map[delivery.Endpoint]*runner
	parts    map[delivery.Endpoint][]*runner // of endpoints that are in several, by the whole
	ofApp    map[string][]*runner            // by application
	turn     turns
	chores   deque[*runner] // those that need the store
	dirty    []*runner      // those that have something to record
	results  int            // that wait to be recorded
	sources  map[delivery.Endpoint]*credential.Source
	workers  int        // that work
	resting  int        // workers that wait for work
	hired    int        // of them, that are to take some up
	more     *sync.Cond // on mu: workers were hired
	loaders  int
	fetchers int                 // that get a token
	places   int                 // windowPlaces, but for tests
	missed   []delivery.Endpoint // told of before we were running
	spare    spare

	// what is shared
	slots     [paces]int // maxQuick, maxUnproven, maxSlow, but for tests
	out       [paces]int // attempts on the wire, by their endpoint's pace
	young     young
	aging     bool // a timer is set that looks for attempts that last long
	competing int  // runners that share the slots of the slow
	hungry    int  // runners that have a backlog
	bytes     int  // of loaded events
	asked     int  // bytes of the pages being read, at most
	shedAt    time.Time

	batch    []delivery.Progress // of the recorder, used again
	from     []*runner
	running  bool
	stopping bool
	measured time.Time // when the gauges were set
	tallies  map[access.ID]*delivery.Tally
}

// New returns an engine that does nothing until Run.
func New(o Options) *Engine {
	e := &Engine{o: o, agent: delivery.UserAgent(o.Version), poke: make(chan struct{}, 1), places: windowPlaces, runners: map[delivery.Endpoint]*runner{}, parts: map[delivery.Endpoint][]*runner{}, ofApp: map[string][]*runner{}, sources: map[delivery.Endpoint]*credential.Source{}, tallies: map[access.ID]*delivery.Tally{}}
	e.agentField = []string{e.agent}
	e.rescan, e.cluster.nodes = make(chan struct{}, 1), o.Nodes
	e.slots = [paces]int{delivery.Unproven: maxUnproven, delivery.Quick: maxQuick, delivery.Slow: maxSlow}
	e.quiet, e.more = sync.NewCond(&e.mu), sync.NewCond(&e.mu)
	return e
}

// Running tells whether the engine has taken up its work and not stopped.
func (e *Engine) Running() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running && !e.stopping
}

// Run sends until ctx ends. Then it takes no more work, waits at most 20 s for
// what is on the wire, records it, and returns nil. It may be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.wire, e.cutOff = context.WithCancel(context.WithoutCancel(ctx))
	defer e.cutOff()
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		e.record(ctx)
	}()
	go e.keepTallies(ctx)

	e.join()
	every := rescanAlone
	if e.o.Nodes != nil {
		every = rescanEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		wait := tick.C
		if err := e.scan(ctx); err != nil && ctx.Err() == nil {
			e.o.Logger.Error("the endpoints could not be read", "error", err)
			wait = time.After(pause)
		}
		select {
		case <-wait:
			continue
		case <-e.rescan:
			continue
		case <-ctx.Done():
		}
		break
	}

	e.mu.Lock()
	e.stopping = true
	for _, r := range e.runners {
		r.stopTimer()
	}
	e.more.Broadcast()
	e.mu.Unlock()
	late := time.AfterFunc(stopWithin, e.cutOff)
	defer late.Stop()
	e.mu.Lock()
	for e.workers > 0 || e.resting > 0 || e.loaders > 0 || e.fetchers > 0 {
		e.quiet.Wait()
	}
	sources := slices.Collect(maps.Values(e.sources))
	e.mu.Unlock()
	for _, s := range sources { // a test that was called off may have left a request for a token behind
		_ = s.Wait(e.wire) // its error is that the time is over
	}
	e.poked()
	<-recorded
	e.handTallies(ctx)
	e.leave()
	return nil
}

// scan makes a runner for each endpoint that has none, and lets the others
// look at the log once more.
func (e *Engine) scan(ctx context.Context) error {
	active, err := e.o.Log.Active(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = true
	for _, r := range e.runners {
		e.newEvents(r)
	}
	missed := e.missed
	e.missed = nil
	for _, id := range slices.Concat(active, missed) {
		if e.runners[id] == nil && e.mine(id) {
			e.add(id)
		}
	}
	return nil
}

// Wake tells the engine that logs grew, and that endpoints changed: their
// configuration, status or replays. When it has returned, nothing is sent to
// those endpoints until what changed has been read. It returns at once and may
// be called by anybody, before Run too.
func (e *Engine) Wake(apps []access.ID, endpoints []delivery.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return
	}
	if !e.running {
		e.missed = append(e.missed, endpoints...)
		return
	}
	for _, id := range endpoints {
		known := e.runnersOf(id)
		for _, r := range known {
			r.stale, r.gone = true, false // the next look tells
			r.woken++
			e.kick(r)
		}
		if len(known) == 0 && e.mine(id) {
			e.add(id)
		}
	}
	for _, app := range apps {
		for _, r := range e.ofApp[string(app)] {
			e.newEvents(r)
		}
	}
}

// newEvents lets a runner look at the log once more.
func (e *Engine) newEvents(r *runner) {
	r.asked++
	if r.caughtUp {
		r.caughtUp = false
		e.kick(r)
	}
}

func (e *Engine) add(id delivery.Endpoint) {
	r := newRunner(e, id)
	e.put(r)
	e.kick(r)
}

// put takes a runner in.
func (e *Engine) put(r *runner) {
	e.runners[r.id] = r
	if whole := r.id.Whole(); whole != r.id {
		e.parts[whole] = append(e.parts[whole], r)
	}
}

// remove takes a runner out.
func (e *Engine) remove(r *runner) {
	delete(e.runners, r.id)
	whole := r.id.Whole()
	if whole == r.id {
		return
	}
	if e.parts[whole] = slices.DeleteFunc(e.parts[whole], func(o *runner) bool { return o == r }); len(e.parts[whole]) == 0 {
		delete(e.parts, whole)
	}
}

// runnersOf returns the runners of an endpoint: one, or those of its parts that are
// here.
func (e *Engine) runnersOf(id delivery.Endpoint) []*runner {
	if r := e.runners[id]; r != nil {
		return []*runner{r}
	}
	return slices.Clone(e.parts[id])
}

// drop forgets an endpoint's state: its lease is gone, or what the store holds
// of it is uncertain. Once nothing of it is on the wire it is opened anew, if
// it may still be sent to.
func (e *Engine) drop(r *runner, wait time.Duration) {
	if r.state == closing {
		e.reopen(r) // what was recorded may have been the last of it
		return
	}
	r.state = closing
	r.lost.Store(true)
	r.reopenAt = time.Now().Add(wait)
	e.bytes -= r.bytes
	r.forget()
	e.compete(r)
	e.reopen(r)
}

// reopen replaces a runner whose last result is recorded.
func (e *Engine) reopen(r *runner) {
	if r.state != closing || r.inFlight > 0 || len(r.results) > 0 || r.recording || r.loading {
		return
	}
	r.stopTimer()
	e.delist(r)
	if e.runners[r.id] != r {
		return
	}
	e.remove(r)
	if e.stopping || r.gone {
		e.release(r.lease)
		return
	}
	fresh := newRunner(e, r.id)
	fresh.pace = r.pace
	fresh.openAt = r.reopenAt
	e.put(fresh)
	e.kick(fresh)
}

// kick looks what a runner can do now, and sees to it that it is done.
func (e *Engine) kick(r *runner) {
	if e.ready(r, time.Now()) && e.startable() {
		e.hire()
	}
}

// ready is kick without a worker: it tells whether one more could do something.
func (e *Engine) ready(r *runner, now time.Time) (more bool) {
	if !e.stopping {
		e.seekToken(r, now) // it may leave something to record
	}
	if r.mustRecord(now) {
		e.soil(r, now)
	}
	if e.stopping {
		return false
	}
	if c := r.chore(now); c != noChore && !r.loading {
		r.loading = true
		e.chores.pushBack(r)
		if e.loaders < maxLoaders || c == choreOpen && e.loaders < maxOpeners {
			e.loaders++
			go e.load()
		}
	}
	if !r.inTurn && r.canSend(now) {
		r.inTurn = true
		e.turn[r.pace].pushBack(r)
		more = true
	}
	e.compete(r)
	r.setTimer(now)
	return more
}

// hire puts one more worker to work: one that rests, if there is one.
func (e *Engine) hire() {
	e.workers++
	if e.resting > e.hired {
		e.hired++
		e.more.Signal()
		return
	}
	go e.work()
}

// rest waits until there is work; false: there will be none, or enough others
// wait for it.
func (e *Engine) rest() bool {
	e.workers--
	if e.resting < maxResting {
		e.resting++
		for e.hired == 0 && !e.stopping {
			e.more.Wait()
		}
		e.resting--
		if e.hired > 0 {
			e.hired--
			return true
		}
	}
	e.quiet.Broadcast()
	return false
}

// soil notes that a runner has something to record. The recorder is woken for
// the first, and when it need not wait for more.
func (e *Engine) soil(r *runner, now time.Time) {
	first := len(e.dirty) == 0
	if !r.dirty {
		r.dirty = true
		e.dirty = append(e.dirty, r)
	}
	if first || e.results >= groupResults || e.idle(now) {
		e.poked()
	}
}

// idle tells that no further result is near: no endpoint that answers quickly
// has anything on the wire or to send.
func (e *Engine) idle(now time.Time) bool {
	e.age(now)
	return e.out[delivery.Quick] == 0 && e.turn[delivery.Quick].len() == 0
}

func (e *Engine) poked() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// isGone tells whether an endpoint is not to be sent to any more.
func isGone(err error) bool {
	return fault.KindOf(err) == fault.NotFound || fault.CodeOf(err) == "not_active"
}

// load does the chores of runners until there are none.
func (e *Engine) load() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		r, ok := e.chores.popFront()
		if !ok {
			e.loaders--
			e.quiet.Broadcast()
			return
		}
		if e.stopping {
			r.loading = false
			continue
		}
		e.doChore(r)
		r.loading = false
		e.reopen(r)
		e.kick(r)
	}
}

// doChore does one chore of a runner; the lock is given up while the store is
// asked.
func (e *Engine) doChore(r *runner) {
	ctx := e.wire
	ask := func(fn func() error) error {
		e.mu.Unlock()
		defer e.mu.Lock()
		return fn()
	}
	var err error
	woken := r.woken
	switch r.chore(time.Now()) {
	case choreOpen:
		var conf subscription.Endpoint
		var pos delivery.Position
		if err = ask(func() (err error) {
			if pos, err = e.o.Log.Open(ctx, r.id); err == nil {
				conf, err = e.o.Log.Config(ctx, r.id)
			}
			return err
		}); err == nil {
			if e.cluster.nodes != nil {
				e.cluster.opened[r.id] = time.Now()
			}
			r.open(pos, e.configure(conf, pos.Hold))
			e.settleSource(r)
			e.o.Logger.Debug("endpoint opened", "endpoint", string(r.id))
		}
	case choreConfig:
		r.stale = false // what changes from here on makes it stale again
		var conf subscription.Endpoint
		var replays []delivery.Replay
		if err = ask(func() (err error) {
			if conf, err = e.o.Log.Config(ctx, r.id); err == nil {
				replays, err = e.o.Log.Replays(ctx, r.id)
			}
			return err
		}); err == nil && r.state == open {
			if conf.Status != subscription.Active || !conf.StatusSince.Equal(r.conf.endpoint.StatusSince) {
				r.gone = conf.Status != subscription.Active && woken == r.woken
				e.drop(r, 0)
				return
			}
			r.reconfigure(e.configure(conf, r.hold), replays)
			e.settleSource(r)
		}
	case choreLoad:
		seqs := r.takeDue(time.Now())
		var loaded []delivery.Loaded
		if err = ask(func() (err error) {
			loaded, err = e.o.Log.Load(ctx, r.id, seqs)
			return err
		}); err == nil && r.state == open {
			if len(loaded) < len(seqs) { // ended by somebody else: see what is left
				e.drop(r, pause)
				return
			}
			r.loaded(loaded)
		}
	case choreRead:
		bytes := min(max(0, e.roomFor(r)), pageBytes)
		asked, after, limit := r.asked, r.readTo, min(max(1, bytes/itemBytes), pageItems)
		if r.breaker.Open {
			limit = 1 // the probe
		}
		reserved := bytes + limit*itemBytes
		e.asked += reserved
		var page delivery.Page
		err = ask(func() (err error) {
			page, err = e.o.Log.Read(ctx, r.id, after, limit, max(1, bytes))
			return err
		})
		e.asked -= reserved
		if err == nil && r.state == open {
			r.read(page, asked)
		}
	}
	switch {
	case err == nil, r.state == closing:
	case isGone(err):
		r.gone = woken == r.woken // else it may have come back meanwhile
		if fault.KindOf(err) == fault.NotFound {
			delete(e.sources, r.id.Whole())
		}
		e.drop(r, 0)
	case errors.Is(err, context.Canceled):
	case isTaken(err):
		e.drop(r, takenPause)
	default:
		e.o.Logger.Error("an endpoint's deliveries could not be read", "endpoint", string(r.id), "error", err)
		e.drop(r, pause)
	}
}
