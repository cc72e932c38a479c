package dispatch

import (
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
)

// Slots and memory are shared so that no endpoint takes from another what that
// one needs. Endpoints that answer quickly, that are slow and that have not
// answered yet take their slots from three separate parts, each in turn within
// its own. An endpoint is slow as soon as one of its attempts has been on the
// wire for long; all its attempts count among those of the slow from then on,
// whatever number they are, so that the quick have theirs back.

// paces is how many paces there are.
const paces = 3

// turns are the runners that have something to send, by pace, in turn.
type turns [paces]deque[*runner]

// room tells whether one more of a pace may go on the wire.
func (e *Engine) room(p delivery.Pace) bool {
	return e.out[p] < e.slots[p] && (p == delivery.Quick || e.workers < maxWire)
}

// take takes the runner whose turn it is; nil: there is none.
func (e *Engine) take() *runner {
	for _, p := range [...]delivery.Pace{delivery.Quick, delivery.Unproven, delivery.Slow} {
		q := &e.turn[p]
		for q.len() > 0 && e.room(p) {
			r, _ := q.popFront()
			if r.pace != p { // it was, when it queued
				e.turn[r.pace].pushBack(r)
				if r.pace < p {
					return e.take()
				}
				continue
			}
			r.inTurn = false
			return r
		}
	}
	return nil
}

// startable tells whether some runner may have its turn. Where only those that
// were quick until now are in the way, they are looked at when they are slow.
func (e *Engine) startable() bool {
	waits := false
	for p := range e.turn {
		if e.turn[p].len() == 0 {
			continue
		}
		if e.room(delivery.Pace(p)) {
			return true
		}
		waits = waits || delivery.Pace(p) != delivery.Slow
	}
	if waits && e.young.head != nil && !e.aging {
		e.aging = true
		time.AfterFunc(time.Until(e.young.head.started.Add(delivery.SlowAfter)), func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.aging = false
			e.age(time.Now())
			if e.startable() {
				e.hire()
			}
		})
	}
	return false
}

// onWire counts an attempt that begins.
func (e *Engine) onWire(j *job) {
	r := j.r
	e.young.push(j)
	e.out[r.pace]++
	r.inFlight++
	if j.retry {
		r.retrying++
	}
}

// offWire counts an attempt that is over at now.
func (e *Engine) offWire(j *job, now time.Time) {
	r := j.r
	e.out[r.pace]--
	r.inFlight--
	if j.retry {
		r.retrying--
	}
	if j.late {
		j.late = false
		r.late--
	} else {
		e.young.remove(j)
	}
	if j.lane.job == j {
		j.lane.job = nil
	}
	e.setPace(r, r.pace.Answered(now.Sub(j.started), r.late))
}

// age finds the attempts that have been on the wire for long by now: their
// endpoints are slow.
func (e *Engine) age(now time.Time) {
	for j := e.young.head; j != nil && now.Sub(j.started) >= delivery.SlowAfter; j = e.young.head {
		e.young.remove(j)
		j.late = true
		j.r.late++
		if j.r.pace != delivery.Slow {
			e.setPace(j.r, delivery.Slow)
			e.kick(j.r)
		}
	}
}

func (e *Engine) setPace(r *runner, p delivery.Pace) {
	e.out[r.pace] -= r.inFlight
	e.out[p] += r.inFlight
	r.pace = p
}

// compete counts a runner, or does no longer, among those that share what is
// there for several.
func (e *Engine) compete(r *runner) {
	if now := r.pace == delivery.Slow && (r.inFlight > 0 || r.inTurn) && r.state == open; now != r.competes {
		r.competes = now
		if now {
			e.competing++
		} else {
			e.competing--
		}
	}
	if now := r.backlog(); now != r.hungry {
		r.hungry = now
		if now {
			e.hungry++
		} else {
			e.hungry--
		}
	}
}

// roomFor returns how many bytes of the log a runner may load beside what it
// holds.
func (e *Engine) roomFor(r *runner) int {
	if totalBytes-e.bytes-e.asked < totalBytes/4 {
		e.shed()
	}
	return min(delivery.Share(totalBytes, totalBytes-e.bytes-e.asked, r.bytes, e.hungry), highBytes-r.bytes)
}

// shed takes back, at most once in a while, what runners have loaded and cannot
// send soon: those that may not send, and the slow ones that hold much more
// than their share.
func (e *Engine) shed() {
	now := time.Now()
	if now.Before(e.shedAt) {
		return
	}
	e.shedAt = now.Add(shedEvery)
	for _, r := range e.runners {
		if r.state == open && r.items > 0 &&
			(r.breaker.Open || r.hold.Held() || r.pace == delivery.Slow && r.bytes > 2*totalBytes/max(1, e.hungry)) {
			r.unread()
		}
	}
}

// enlist notes which application an endpoint is of.
func (e *Engine) enlist(r *runner) {
	r.at = len(e.ofApp[r.app])
	e.ofApp[r.app] = append(e.ofApp[r.app], r)
}

func (e *Engine) delist(r *runner) {
	list := e.ofApp[r.app]
	if r.app == "" || r.at >= len(list) || list[r.at] != r {
		return
	}
	n := len(list) - 1
	list[r.at], list[n] = list[n], nil
	if list[r.at] != nil {
		list[r.at].at = r.at
	}
	if e.ofApp[r.app] = list[:n]; n == 0 {
		delete(e.ofApp, r.app)
	}
}

// maxSpare is how many jobs, events and lanes are kept to be used again.
const maxSpare = 4096

// spare are the parts that are not in use.
type spare struct {
	jobs    []*job
	entries []*entry
	lanes   []*lane
}

func pop[T any](list *[]*T) *T {
	n := len(*list)
	if n == 0 {
		return new(T)
	}
	v := (*list)[n-1]
	(*list)[n-1] = nil
	*list = (*list)[:n-1]
	return v
}

func push[T any](list *[]*T, v *T) {
	if len(*list) < maxSpare {
		*list = append(*list, v)
	}
}

func (e *Engine) newJob() *job { return pop(&e.spare.jobs) }

// freeJob takes back a job that nothing refers to any more.
func (e *Engine) freeJob(j *job) {
	headers := j.headers
	clear(headers)
	*j = job{result: result{headers: headers[:0]}}
	push(&e.spare.jobs, j)
}

func (e *Engine) newEntry(it *delivery.Item, pos int64) *entry {
	en := pop(&e.spare.entries)
	en.item, en.pos = *it, pos
	return en
}

func (e *Engine) freeEntry(en *entry) {
	*en = entry{}
	push(&e.spare.entries, en)
}

func (e *Engine) newLane(subject string) *lane {
	l := pop(&e.spare.lanes)
	l.subject = subject
	return l
}

func (e *Engine) freeLane(l *lane) {
	*l = lane{}
	push(&e.spare.lanes, l)
}
