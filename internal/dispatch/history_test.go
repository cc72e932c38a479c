package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// duty is the delivery of one event to one endpoint, as the history has it.
type duty struct {
	evt       event.Event
	delivered bool                // a success is recorded
	tried     int                 // number of the last attempt that is recorded
	row       *delivery.Exception // that waits; nil: it just passes, or has ended
	ended     delivery.Status     // exhausted, superseded, discarded or cancelled; empty: it has not, or was delivered
	endedAt   time.Time
	loose     bool // what its person's erasure or a change of status makes of it is not foretold
	requests  int
	accepted  time.Time // when the engine last got a 2xx; zero: never
	requested time.Time // the last request
	story     []string
}

// note adds to what is told of a delivery that went wrong.
func (d *duty) note(format string, args ...any) {
	d.story = append(d.story, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// waits tells whether something is still to be done, and by whom it is not
// known yet.
func (d *duty) waits() bool { return d.row != nil || !d.delivered && d.ended == "" }

// site is one endpoint: what it is told, where it stands, and its receiver.
type site struct {
	name     string
	conf     subscription.Endpoint
	kind     receiver
	filter   subscription.Filter
	since    event.Seq
	deleted  bool
	paused   bool
	held     bool      // suspended
	stopped  time.Time // when it was paused or suspended
	pauses   int
	acting   bool // its status is being changed: what the store says may be either
	duties   map[event.Seq]*duty
	order    []*duty
	subjects map[string][]*duty

	epoch   int64 // of the lease that was given last; 0: unknown
	cursor  event.Seq
	passed  int // duties of order up to the cursor
	breaker delivery.Breaker
	redo    func() // what a change of status did, once more after a progress that had come before it
	upto    int64  // epoch: which

	flying   map[string]*inquiry // by subject
	seen     map[string]int64    // the highest sequence of a subject that was not a replay
	openedAt time.Time
	fullAt   time.Time // as many requests as may be were on the wire
	answerAt time.Time // the last answer
	activeAt time.Time
	lossAt   time.Time // an answer or a commit may have been lost, or the lease was broken
	okAt     time.Time // the last 2xx
	failures int       // since then
	failed   map[string]bool
}

// inquiry is a request on the wire.
type inquiry struct {
	s       *site
	d       *duty
	at      time.Time
	replay  bool
	answer  answer
	asked   time.Duration // Retry-After
	ended   time.Time
	answers bool // the engine got the answer
}

// history is a second book of what the engine and the store do, kept from
// every request and every call of the store, and compared with them at each
// step. It knows the promises and nothing of how they are kept.
type history struct {
	t     *testing.T
	store store.Store
	id    access.ID

	mu      sync.Mutex
	log     []event.Event
	ids     map[string]event.Seq
	ordinal map[string]int // of subjects, in the order in which they appeared
	loose   map[string]bool
	erased  map[string]time.Time
	sites   map[delivery.Endpoint]*site
	asked   map[string]*inquiry // by interaction
	jobs    []job
	faults  int
	seen    map[string]int // what the day had of each kind
}

// job is a replay that was accepted.
type job struct {
	s      *site
	seqs   []event.Seq
	at     time.Time
	pauses int
}

func newHistory(t *testing.T) *history {
	return &history{
		t: t, ids: map[string]event.Seq{}, ordinal: map[string]int{}, loose: map[string]bool{}, erased: map[string]time.Time{},
		sites: map[delivery.Endpoint]*site{}, asked: map[string]*inquiry{}, seen: map[string]int{},
	}
}

// wrong reports a broken promise. Only the first ones are printed.
func (h *history) wrong(s *site, d *duty, format string, args ...any) {
	if h.faults++; h.faults > 12 {
		return
	}
	what := time.Now().Format("15:04:05.000 ") + s.name
	if d != nil {
		what += fmt.Sprintf(" place %d, subject %d sequence %d %s (delivered %t, row %+v, ended %q, tried %d, loose %t)",
			d.evt.Seq, h.ordinal[d.evt.Subject], d.evt.Sequence, d.evt.Type, d.delivered, d.row, d.ended, d.tried, d.loose)
	}
	what += ": " + fmt.Sprintf(format, args...)
	if d != nil && len(d.story) > 0 {
		what += "\n\t" + strings.Join(d.story[max(0, len(d.story)-30):], "\n\t")
	}
	h.t.Error(what)
}

// learn reads what the log has got. The lock is held.
func (h *history) learn() {
	q := store.EventQuery{Limit: 500}
	if n := len(h.log); n > 0 {
		q.After = h.log[n-1].ID
	}
	for {
		page, next, err := h.store.Events(context.Background(), h.id, q)
		if err != nil {
			h.t.Errorf("the log: %v", err)
			return
		}
		for _, e := range page {
			if e.Seq != event.Seq(len(h.log)+1) {
				h.t.Errorf("the log has place %d behind %d", e.Seq, len(h.log))
			}
			h.log = append(h.log, e)
			h.ids[e.ID] = e.Seq
			if _, ok := h.ordinal[e.Subject]; !ok {
				h.ordinal[e.Subject] = len(h.ordinal)
			}
			for _, s := range h.sites {
				h.add(s, e)
			}
		}
		if next == "" {
			return
		}
		q.After = next
	}
}

func (h *history) add(s *site, e event.Event) {
	if s.deleted || e.Seq <= s.since || !s.filter.Matches(s.conf.ID, e) {
		return
	}
	d := &duty{evt: e, loose: h.loose[e.Subject] || e.Type == event.WebhookStatusChanged || e.Type == event.CitizenErased}
	if s.paused {
		d.ended, d.endedAt = delivery.Discarded, time.Now()
	}
	d.note("logged")
	s.duties[e.Seq] = d
	s.order = append(s.order, d)
	s.subjects[e.Subject] = append(s.subjects[e.Subject], d)
}

// join makes an endpoint known that was just made.
func (h *history) join(name string, k receiver, conf subscription.Endpoint) *site {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.learn()
	s := &site{
		name: name, conf: conf, kind: k, filter: conf.Filter(), since: event.Seq(len(h.log)), cursor: event.Seq(len(h.log)),
		duties: map[event.Seq]*duty{}, subjects: map[string][]*duty{}, flying: map[string]*inquiry{}, seen: map[string]int64{},
		openedAt: time.Now(), activeAt: time.Now(), failed: map[string]bool{},
	}
	h.sites[delivery.Endpoint(conf.ID)] = s
	return s
}

// host finds the endpoint of a URL.
func (h *history) host(url string) *site {
	for _, s := range h.sites {
		if strings.HasPrefix(url, "https://"+s.name+".example/") {
			return s
		}
	}
	return nil
}

// arrived checks a request. nil: it is nobody's. The lock is held.
func (h *history) arrived(g got) *inquiry {
	now := time.Now()
	s := h.host(g.url)
	if s == nil {
		h.t.Errorf("a request to %s, where nobody is", g.url)
		return nil
	}
	if h.ids[g.id] == 0 {
		h.learn()
	}
	d := s.duties[h.ids[g.id]]
	if d == nil {
		h.wrong(s, nil, "got %v, which it is not told", g)
		return nil
	}
	q := &inquiry{s: s, d: d, at: now, replay: g.replay}
	h.asked[g.header["X-Webhook-Interaction-Id"][0]] = q
	if s.flying[g.subject] != nil {
		h.wrong(s, d, "two requests of a subject are on the wire")
	}
	if g.subject != d.evt.Subject && !d.loose || int64(g.sequence) != d.evt.Sequence || g.body == "" || len(d.evt.Body) > 0 && g.body != string(d.evt.Body) {
		h.wrong(s, d, "got %v with %d bytes, want the event as it was logged", g, len(g.body))
	}
	if (s.paused || s.held || s.deleted) && now.After(s.stopped) {
		h.wrong(s, d, "a request although nothing is to be sent since %v", s.stopped)
	}
	if at, ok := h.erased[d.evt.Subject]; ok && now.After(at) && d.evt.RecordedAt.Before(at) {
		h.wrong(s, d, "a request about somebody who was erased at %v", at)
	}
	if !g.replay {
		if d.evt.Sequence < s.seen[d.evt.Subject] {
			other := ""
			for _, e := range s.subjects[d.evt.Subject] {
				if e.evt.Sequence == s.seen[d.evt.Subject] {
					other = strings.Join(e.story, "; ")
				}
			}
			h.wrong(s, d, "sequence %d comes behind %d (of that one: %s)", d.evt.Sequence, s.seen[d.evt.Subject], other)
		}
		s.seen[d.evt.Subject] = d.evt.Sequence
		for _, e := range s.subjects[d.evt.Subject] {
			if e.evt.Seq >= d.evt.Seq {
				break
			}
			if !e.loose && (e.row == nil && e.waits() || e.row != nil && !e.row.Replay) {
				h.wrong(s, d, "sent before sequence %d of its subject is settled (%+v)", e.evt.Sequence, e.row)
			}
		}
	}
	if !d.loose {
		h.due(q, g)
	}
	d.requests++
	d.requested = now
	d.note("request %d: attempt %d, replay %t", d.requests, g.attempt, g.replay)
	s.flying[g.subject] = q
	if s.full() {
		s.fullAt = now
	}
	if len(s.flying) > s.conf.MaxInFlight {
		h.wrong(s, d, "%d requests are on the wire, more than maxInFlight", len(s.flying))
	}
	return q
}

// due checks that a delivery's time had come.
func (h *history) due(q *inquiry, g got) {
	s, d, now := q.s, q.d, q.at
	if d.row == nil {
		switch {
		case d.delivered:
			h.wrong(s, d, "sent again although its delivery is recorded")
		case d.ended != "" && now.After(d.endedAt):
			h.wrong(s, d, "sent although it has ended")
		case d.ended == "" && d.evt.Seq <= s.cursor:
			h.wrong(s, d, "sent from the log behind the cursor %d", s.cursor)
		case g.attempt != d.tried+1 || g.replay:
			h.wrong(s, d, "got attempt %d, replay %t, want %d", g.attempt, g.replay, d.tried+1)
		}
		h.probe(q)
	} else {
		switch {
		case d.row.State != delivery.WaitRetry:
			h.wrong(s, d, "sent although its turn has not come")
		case now.Before(d.row.NextAt):
			h.wrong(s, d, "sent %v too early", d.row.NextAt.Sub(now))
		case g.attempt != d.row.Base+d.row.Tries+1 || g.replay != d.row.Replay:
			h.wrong(s, d, "got attempt %d, replay %t", g.attempt, g.replay)
		case s.conf.RateLimit == 0 && now.Sub(s.ready(d.row.NextAt)) > time.Second:
			h.wrong(s, d, "sent %v too late", now.Sub(s.ready(d.row.NextAt)))
		}
		if d.row.Tries > 0 {
			h.seen["retries"]++
		}
	}
	if !d.accepted.IsZero() && (d.row == nil || !d.row.Replay) {
		h.seen["duplicates"]++
		if s.lossAt.Before(d.accepted) {
			h.wrong(s, d, "sent again although the engine has had a 2xx since %v, and nothing was lost", d.accepted)
		}
	}
}

// full tells whether no further request need be sent: an endpoint that has not
// answered since it was opened is tried with one, and an eighth of its limit,
// one at least, is kept from retries.
func (s *site) full() bool {
	most := max(1, s.conf.MaxInFlight-max(1, s.conf.MaxInFlight/8))
	if !s.answerAt.After(s.openedAt) {
		most = 1
	}
	return len(s.flying) >= most
}

// ready is when something that was due at t could be sent.
func (s *site) ready(t time.Time) time.Time {
	for _, u := range []time.Time{s.openedAt, s.fullAt, s.activeAt} {
		if u.After(t) {
			t = u
		}
	}
	return t
}

// probe checks what was never tried against an open breaker.
func (h *history) probe(q *inquiry) {
	s := q.s
	if !s.breaker.Open || !s.okAt.Before(s.breaker.Since) || !q.at.After(s.breaker.Since) {
		return // it was on its way when the breaker opened
	}
	h.seen["probes"]++
	for _, o := range s.flying {
		if o.at.After(s.breaker.Since) {
			h.wrong(s, q.d, "a probe beside another request, of place %d", o.d.evt.Seq)
		}
	}
	for _, d := range s.order {
		if d.row != nil && !d.loose && d.row.State == delivery.WaitRetry {
			h.wrong(s, q.d, "something new is sent while the breaker is open and place %d is to be tried again", d.evt.Seq)
			return
		}
	}
}

// answered notes how a request ended; got: the engine was told. The lock is
// held.
func (h *history) answered(q *inquiry, subject string, got bool) {
	s, a := q.s, q.answer
	q.ended, q.answers = time.Now(), got
	if s.full() {
		s.fullAt = q.ended
	}
	s.answerAt = q.ended
	delete(s.flying, subject)
	q.d.note("answered %d %v, told %t", a.status, a.err, got)
	if !got {
		h.seen["called off"]++
		s.lossAt = q.ended
		return
	}
	switch {
	case a.err == nil && a.status/100 == 2:
		q.d.accepted, s.okAt, s.failures = q.ended, q.ended, 0
		clear(s.failed)
	case a.err == nil && a.status == 410:
	default:
		s.failures++
		s.failed[subject] = true
	}
}

// recorded takes over a progress that the store has taken. The lock is held.
func (h *history) recorded(p *delivery.Progress, o *delivery.Outcome) {
	s := h.sites[p.Lease.Endpoint]
	if s == nil {
		return // it was made an instant ago
	}
	if int(p.Cursor) > len(h.log) {
		h.learn()
	}
	fence := ""
	if o.Fenced {
		fence = ", fenced"
	}
	of := func(seq event.Seq) *duty {
		if int(seq) > len(h.log) {
			h.learn()
		}
		d := s.duties[seq]
		if d == nil {
			h.wrong(s, nil, "place %d was recorded, which it is not told", seq)
			d = &duty{loose: true}
		}
		return d
	}
	won := map[event.Seq]*delivery.Attempt{}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		d := of(a.Seq)
		d.tried = max(d.tried+1, a.N)
		d.delivered = d.delivered || a.Delivered
		won[a.Seq] = a
		d.note("attempt %d recorded%s: %d %s", a.N, fence, a.Status, a.Reason)
		if q := h.asked[a.InteractionID]; q == nil || q.d != d || !q.answers || a.Delivered != (q.answer.err == nil && q.answer.status/100 == 2) {
			h.wrong(s, d, "attempt %d is recorded as delivered %t, which is not what happened", a.N, a.Delivered)
		}
	}
	if o.Fenced {
		h.seen["fenced"]++
		s.lossAt = time.Now()
		return
	}
	if s.epoch != 0 && p.Lease.Epoch != s.epoch {
		h.wrong(s, nil, "recorded under epoch %d, want %d", p.Lease.Epoch, s.epoch)
	}
	settled := map[event.Seq]delivery.Status{}
	for _, x := range p.Settled {
		settled[x.Seq] = x.As
	}
	tries := map[event.Seq]int{}
	for _, x := range p.Put {
		d := of(x.Seq)
		d.row = &x
		tries[x.Seq] = x.Tries
		d.note("put %s, tries %d+%d, at %s", x.State, x.Base, x.Tries, x.NextAt.Format("15:04:05.000"))
		if a := won[x.Seq]; a != nil && settled[x.Seq] == "" && x.State == delivery.WaitRetry && !a.Delivered && a.Status != 410 {
			h.wait(s, d, &x, a)
		}
	}
	for _, x := range p.Settled {
		d := of(x.Seq)
		replay := d.row != nil && d.row.Replay
		d.row = nil
		d.note("settled as %s", x.As)
		switch x.As {
		case delivery.Delivered:
			if a := won[x.Seq]; a == nil || !a.Delivered {
				h.wrong(s, d, "settled as delivered without a success")
			}
			d.ended = "" // of the round before
		case delivery.Exhausted:
			if tries[x.Seq] != len(s.conf.RetrySchedule)+1 && !d.loose {
				h.wrong(s, d, "exhausted after %d tries, want %d", tries[x.Seq], len(s.conf.RetrySchedule)+1)
			}
			d.ended, d.endedAt = x.As, time.Now()
		case delivery.Superseded:
			if d.evt.Type != event.PermissionsEffective || s.conf.OnBacklog != subscription.BacklogLatest && !replay {
				h.wrong(s, d, "superseded")
			}
			if !d.delivered {
				d.ended, d.endedAt = x.As, time.Now()
			}
		}
		h.seen[string(x.As)]++
	}
	for _, x := range o.Roused {
		d := of(x.Seq)
		d.note("roused at %s", x.NextAt.Format("15:04:05.000"))
		d.row = &x
	}
	for _, x := range o.Fed {
		d := of(x.Seq)
		d.note("fed")
		d.row, d.ended = &x, ""
		h.seen["replayed"]++
	}
	for ; p.Cursor > s.cursor && s.passed < len(s.order) && s.order[s.passed].evt.Seq <= p.Cursor; s.passed++ {
		if d := s.order[s.passed]; !d.loose && !d.delivered && d.row == nil && d.ended == "" {
			h.wrong(s, d, "the cursor passes it to %d", p.Cursor)
		}
	}
	s.cursor = max(s.cursor, p.Cursor)
	if p.Breaker != nil {
		if p.Breaker.Open && !s.breaker.Open {
			h.seen["breaker opened"]++
		}
		s.breaker = *p.Breaker
	}
	if p.Suspend != nil {
		h.seen["suspended"]++
		s.held, s.stopped, s.lossAt = true, time.Now(), time.Now()
	}
	if s.redo != nil && p.Lease.Epoch <= s.upto {
		s.redo()
	}
}

// wait checks when a delivery is tried again: within a fifth of its step, and
// never before the receiver's Retry-After.
func (h *history) wait(s *site, d *duty, x *delivery.Exception, a *delivery.Attempt) {
	if x.Tries < 1 || x.Tries > len(s.conf.RetrySchedule) {
		h.wrong(s, d, "try %d of a schedule of %d is to be followed by another", x.Tries, len(s.conf.RetrySchedule))
		return
	}
	const slack = 2 * time.Millisecond
	step, asked := s.conf.RetrySchedule[x.Tries-1], time.Duration(0)
	q := h.asked[a.InteractionID]
	if q != nil {
		asked = q.asked
	}
	got := x.NextAt.Sub(a.At.Add(a.Duration))
	if got < max(step*8/10, asked)-slack || got > max(step*12/10, asked)+slack {
		h.wrong(s, d, "waits %v after try %d, want %v give or take a fifth, and at least %v", got, x.Tries, step, asked)
	}
}

// opened compares where the store says that an endpoint stands. The lock is
// held.
func (h *history) opened(p *delivery.Position) {
	s := h.sites[p.Lease.Endpoint]
	if s == nil {
		return
	}
	if int(p.Cursor) > len(h.log) {
		h.learn()
	}
	if p.Lease.Epoch <= s.epoch {
		h.wrong(s, nil, "opened with epoch %d after %d", p.Lease.Epoch, s.epoch)
	}
	s.epoch, s.openedAt, s.redo = p.Lease.Epoch, time.Now(), nil
	s.breaker = p.Breaker
	s.failures = 0
	clear(s.failed)
	if s.acting {
		return
	}
	if p.Cursor < s.cursor {
		h.wrong(s, nil, "opened at %d, behind the cursor %d", p.Cursor, s.cursor)
	}
	s.cursor = p.Cursor
	due := map[event.Seq]time.Time{}
	for _, x := range p.Due {
		due[x.Seq] = x.NextAt
		if d := s.duties[x.Seq]; d != nil && d.row != nil {
			d.row.Base = x.Base // attempts under a lease that had passed on count
		}
	}
	waiting := map[string]int{}
	for _, d := range s.order {
		if d.loose {
			continue
		}
		if d.row != nil {
			waiting[d.evt.Subject]++
		}
		at, isDue := due[d.evt.Seq]
		switch {
		case d.evt.Seq <= p.Cursor && d.row == nil && d.waits():
			h.wrong(s, d, "opened at %d, which is past it", p.Cursor)
		case d.evt.Seq > p.Cursor && p.Settled[d.evt.Seq] != (d.row != nil || d.delivered || d.ended != ""):
			h.wrong(s, d, "opened at %d, settled: %t", p.Cursor, p.Settled[d.evt.Seq])
		case isDue != (d.row != nil && d.row.State == delivery.WaitRetry), isDue && !at.Equal(d.row.NextAt):
			h.wrong(s, d, "opened, due: %t at %v", isDue, at)
		}
	}
	for subject, n := range waiting {
		if p.Waiting[subject] != n && !h.loose[subject] {
			h.wrong(s, nil, "opened with %d that wait of subject %d, want %d", p.Waiting[subject], h.ordinal[subject], n)
		}
	}
	for s.passed < len(s.order) && s.order[s.passed].evt.Seq <= s.cursor {
		s.passed++
	}
}

// lost notes that a commit or answers may be lost of all endpoints. The lock
// is held.
func (h *history) lost(batch []delivery.Progress) {
	for i := range batch {
		if s := h.sites[batch[i].Lease.Endpoint]; s != nil {
			s.lossAt = time.Now()
		}
	}
}

// stop takes over an owner's pause or the end of an endpoint, which has just
// been committed.
func (h *history) stop(s *site, as delivery.Status) {
	h.learn()
	now, end := time.Now(), len(s.order)
	s.paused, s.held, s.deleted = as == delivery.Discarded, false, as == delivery.Cancelled
	s.stopped, s.lossAt = now, now
	s.pauses++
	s.redo = func() {
		for _, d := range s.order[:end] {
			if d.waits() {
				d.note("%s", as)
				if d.row != nil || !d.delivered {
					d.ended, d.endedAt = as, now
				}
				d.row = nil
			}
		}
	}
	s.upto = s.epoch
	s.redo()
}

// resume takes over that an endpoint goes on, which is about to be committed.
func (h *history) resume(s *site) {
	h.learn()
	now := time.Now()
	for _, d := range s.order {
		if s.held && d.row != nil && d.row.State == delivery.WaitRetry {
			d.row.NextAt = now.Truncate(time.Millisecond)
		}
	}
	s.paused, s.held = false, false
	s.activeAt, s.lossAt = now, now
	s.breaker = delivery.Breaker{}
}

// erase takes over that somebody is about to be erased: what becomes of what
// waits is not foretold, but that every lease is broken, and that each delivery
// ends.
func (h *history) erase(subjects ...string) {
	h.learn()
	for _, subject := range subjects {
		h.loose[subject] = true
		h.erased[subject] = time.Now().Truncate(time.Millisecond)
	}
	for _, s := range h.sites {
		s.lossAt = time.Now()
		for _, d := range s.order {
			d.loose = d.loose || h.loose[d.evt.Subject]
		}
	}
}

// account compares every delivery that can be read with the history, and
// fails for one that stands still though nothing holds it. Nothing may be
// running. At the end nothing waits any more but for endpoints that are
// stopped.
func (h *history) account(end bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.learn()
	views := map[delivery.Endpoint]map[event.Seq]delivery.Status{}
	for q := (store.DeliveryQuery{Limit: 1000}); ; {
		page, next, err := h.store.Deliveries(context.Background(), h.id, q)
		if err != nil {
			h.t.Errorf("the deliveries: %v", err)
			return
		}
		for _, v := range page {
			if views[v.Endpoint] == nil {
				views[v.Endpoint] = map[event.Seq]delivery.Status{}
			}
			views[v.Endpoint][v.Seq] = v.Status
		}
		if next == "" {
			break
		}
		q.After = next
	}
	for id, s := range h.sites {
		got := views[id]
		tally, waiting, loose := map[delivery.Status]int{}, 0, 0
		for _, d := range s.order {
			status, ok := got[d.evt.Seq]
			delete(got, d.evt.Seq)
			if !ok {
				h.wrong(s, d, "there is no delivery of it")
				continue
			}
			tally[status]++
			h.fits(s, d, status, end)
			switch {
			case d.loose && slices.Contains(waits, status):
				loose++
			case !d.loose && d.waits():
				waiting++
			}
		}
		for seq, status := range got {
			h.wrong(s, nil, "place %d is a delivery (%s), which it is not told", seq, status)
		}
		if end {
			h.t.Logf("%-9s %4d deliveries: %v", s.name, len(s.order), tally)
		}
		if s.deleted {
			continue
		}
		health, err := h.store.Health(context.Background(), h.id, s.conf.ID)
		if err != nil || health.Backlog < waiting || health.Backlog > waiting+loose {
			h.wrong(s, nil, "got a backlog of %d (%v), want %d and at most %d more", health.Backlog, err, waiting, loose)
		}
		if b := health.Breaker; b.Open != s.breaker.Open || b.Failures != s.breaker.Failures {
			h.wrong(s, nil, "got the breaker %+v, want %+v", b, s.breaker)
		}
		if stopped := s.paused || s.held; !stopped && s.failures >= delivery.BreakerFailures && len(s.failed) >= delivery.BreakerSubjects && !s.breaker.Open {
			h.wrong(s, nil, "the breaker is closed after %d failures of %d subjects", s.failures, len(s.failed))
		}
	}
	if end {
		h.replayed()
	}
}

// waits are the states that are no end.
var waits = []delivery.Status{delivery.Pending, delivery.Retrying, delivery.Held}

// fits checks one delivery as it is read.
func (h *history) fits(s *site, d *duty, status delivery.Status, end bool) {
	want := []delivery.Status{delivery.Delivered}
	switch {
	case d.loose:
		want = delivery.Statuses()
		if end && !s.paused && !s.held {
			want = want[3:]
		}
		if status == delivery.Delivered && d.accepted.IsZero() {
			want = nil
		}
	case d.waits() && d.row == nil && s.deleted:
		want = []delivery.Status{delivery.Cancelled}
	case d.waits() && s.held:
		want = []delivery.Status{delivery.Held}
	case d.waits():
		want = []delivery.Status{delivery.Pending, delivery.Retrying}
		if end {
			want = nil
		}
	case d.ended != "" && d.delivered:
		want = []delivery.Status{d.ended, delivery.Delivered}
	case d.ended != "":
		want = []delivery.Status{d.ended}
	}
	if !slices.Contains(want, status) {
		h.wrong(s, d, "reads as %s, want one of %v", status, want)
	}
	if !d.loose && d.waits() && !s.paused && !s.held && !s.deleted && !end {
		h.stuck(s, d)
	}
}

// stuck fails for a delivery that could be sent and is not.
func (h *history) stuck(s *site, d *duty) {
	const patience = 5 * time.Second
	now := time.Now()
	if s.flying[d.evt.Subject] != nil || s.conf.RateLimit > 0 || s.full() {
		return
	}
	at := d.evt.RecordedAt
	if d.row != nil {
		at = d.row.NextAt
	}
	if now.Sub(s.ready(at)) < patience || d.row == nil && (s.breaker.Open || s.failures > 0) {
		return
	}
	if d.row == nil || d.row.State == delivery.WaitTurn {
		for _, e := range s.subjects[d.evt.Subject] {
			if e != d && e.waits() && (e.evt.Seq < d.evt.Seq || e.row != nil) {
				return // behind that one
			}
		}
	}
	h.wrong(s, d, "stands still for %v", now.Sub(s.ready(at)))
}

// replayed checks that what was to be sent again was.
func (h *history) replayed() {
	for _, j := range h.jobs {
		if j.s.pauses != j.pauses || j.s.held {
			continue
		}
		for _, seq := range j.seqs {
			d := j.s.duties[seq]
			if d == nil || d.loose || d.evt.Type == event.PermissionsEffective || d.waits() {
				continue // erased, or a newer state was told instead
			}
			if d.requested.Before(j.at) {
				h.wrong(j.s, d, "was to be sent again at %v", j.at)
			}
		}
	}
}

// TestAtLeastOnce_coversEveryCall: a method that is added to Log and not to
// what TestAtLeastOnce lets fail makes this red.
func TestAtLeastOnce_coversEveryCall(t *testing.T) {
	t.Parallel()
	for m := range reflect.TypeFor[dispatch.Log]().Methods() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() != nil {
					t.Errorf("%s is passed on and cannot fail", m.Name) // to nobody
				}
			}()
			f := &failing{call: m.Name, at: 1}
			call := reflect.ValueOf(f).MethodByName(m.Name)
			var args []reflect.Value
			for in := range call.Type().Ins() {
				args = append(args, reflect.Zero(in))
			}
			out := call.Call(args)
			if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, errPower) {
				t.Errorf("got %v, want a fault", err)
			}
		})
	}
}
