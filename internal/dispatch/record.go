package dispatch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/subscription"
)

// record is the one goroutine that writes what became of deliveries, in
// groups. A group closes when enough results wait, when no further one is
// near, or after a delay that lets it become worth its commit at the present
// rate. It ends when the engine is stopping and everything is recorded.
func (e *Engine) record(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var rate float64 // results a second, of the groups before
	flushed := time.Now()
	for {
		<-e.poke
		first := time.Now()
		for {
			e.mu.Lock()
			if len(e.dirty) == 0 {
				done := e.stopping && e.workers == 0
				e.mu.Unlock()
				if done {
					return
				}
				break
			}
			left := delay(rate) - time.Since(first)
			if e.results < groupResults && !e.idle(time.Now()) && !e.stopping && left > 0 {
				e.mu.Unlock()
				timer.Reset(left)
				select {
				case <-e.poke:
				case <-timer.C:
				}
				continue
			}
			n := e.results
			batch, from := e.collect()
			e.mu.Unlock()
			if len(batch) > 0 {
				outcomes, err := e.o.Log.Record(ctx, batch)
				e.mu.Lock()
				e.recorded(batch, from, outcomes, err)
				e.mu.Unlock()
			}
			at := time.Now()
			rate = (rate + float64(n)/max(at.Sub(flushed).Seconds(), 1e-4)) / 2
			first, flushed = at, at
		}
	}
}

// delay is how long a group waits for more at a rate of results a second. At
// a low rate it does not wait: few would come.
func delay(rate float64) time.Duration {
	if rate < groupRate {
		return 0
	}
	return min(max(time.Duration(groupWanted/max(rate, 1)*float64(time.Second)), minDelay), maxDelay)
}

// mustRecord tells whether there is anything to record.
func (r *runner) mustRecord(now time.Time) bool {
	switch r.state {
	case open:
		if j, at := r.slowHead(); j != nil && !now.Before(at) {
			return true
		}
		return len(r.results) > 0 || len(r.puts) > 0 || len(r.overtaken) > 0 || len(r.rouse) > 0 || r.breakerDirty || r.holdDirty ||
			r.canFeed() || !r.cursorAt.IsZero() && !now.Before(r.cursorAt)
	case closing:
		return len(r.results) > 0
	}
	return false
}

// canFeed tells whether the next step of a replay may be taken: few of its
// deliveries wait for their first try.
func (r *runner) canFeed() bool {
	return len(r.replays) > 0 && r.fed < feedItems/2 && !r.stale && !r.breaker.Open &&
		!r.recording && !r.e.stopping
}

// collect makes the progress of all runners that have any. What it returns is
// good until it is called again.
func (e *Engine) collect() ([]delivery.Progress, []*runner) {
	clear(e.batch)
	clear(e.from)
	e.batch, e.from = e.batch[:0], e.from[:0]
	at, clock := now(), time.Now()
	for _, r := range e.dirty {
		r.dirty = false
		if !r.mustRecord(clock) {
			continue
		}
		e.batch = append(e.batch, r.progress(at))
		e.from = append(e.from, r)
	}
	clear(e.dirty)
	e.dirty = e.dirty[:0]
	e.results = 0
	return e.batch, e.from
}

// progress makes of the runner's results what is to be recorded. What depends
// on its being durable is done by recorded.
func (r *runner) progress(at time.Time) delivery.Progress {
	p := delivery.Progress{Lease: r.lease, At: at}
	feed := r.canFeed()
	r.recording = true
	r.recorded, r.results = r.results, r.recorded[:0]
	p.Attempts = r.attempts[:0]
	for _, j := range r.recorded {
		r.settle(&p, j)
	}
	r.attempts = p.Attempts
	if r.state != open {
		return p
	}
	r.spillSlow(&p)
	r.supersede(&p)
	p.Put = append(p.Put, r.puts...)
	r.puts = r.puts[:0]
	for subject := range r.rouse {
		p.Rouse = append(p.Rouse, subject)
		r.heads[subject] = struct{}{} // the outcome brings it
	}
	clear(r.rouse)
	r.save(&p)
	if r.breakerDirty {
		b := r.breaker
		p.Breaker, r.breakerDirty = &b, false
	}
	if r.holdDirty {
		h := r.hold
		p.Hold, r.holdDirty = &h, false
	}
	if feed {
		j := r.replays[0]
		done := min(j.Done+feedItems, len(j.Seqs))
		p.Replayed = &delivery.ReplayMark{ID: j.ID, Feed: j.Seqs[j.Done:done], Done: done}
	}
	return p
}

// save records the cursor when it moved far or long ago. What lies between the
// one that is recorded and the real one was delivered, which its attempts tell, or
// is an exception: who opens the endpoint next finds out from them. So of many
// endpoints that each hear little, few rows are written.
func (r *runner) save(p *delivery.Progress) {
	switch c, now := r.window.cursor(r.readTo), time.Now(); {
	case c == r.saved:
		r.cursorAt = time.Time{}
	case c-r.saved >= cursorStep, !r.cursorAt.IsZero() && !now.Before(r.cursorAt):
		p.Cursor, r.saved, r.cursorAt = c, c, time.Time{}
	case r.cursorAt.IsZero():
		r.cursorAt = now.Add(cursorDelay)
	}
}

// settle adds one result to the progress.
func (r *runner) settle(p *delivery.Progress, j *job) {
	a, x := &j.attempt, j.exc
	x.Tries++
	if j.trouble {
		delete(r.out, x.Seq)
	}
	if x.Replay && x.Tries == 1 {
		r.fed = max(0, r.fed-1)
	}
	passes := !j.trouble && r.state == open // it is in the window

	end := delivery.Delivered
	switch j.verdict {
	case delivery.Success:
		if passes {
			r.window.settle(j.pos)
		}
	case delivery.Retry:
		wait, ok := j.conf.schedule.Next(x.Tries, rand.Float64(), j.asked) // #nosec G404 -- jitter is no secret
		if ok {
			x.State, x.NextAt = delivery.WaitRetry, a.At.Add(a.Duration+wait).Truncate(time.Millisecond)
			a.NextAt = x.NextAt
			end = ""
		} else {
			x.State = delivery.WaitRetry // put first: a first try that is the last has no row yet
			end = delivery.Exhausted
		}
	case delivery.Refused:
		x.State = delivery.WaitRetry // as above
		end = delivery.Exhausted
	case delivery.Gone:
		x.State, x.NextAt = delivery.WaitRetry, p.At
		end = ""
		if p.Suspend == nil {
			p.Suspend = r.suspension(a.Reason, p.At)
		}
	}
	p.Attempts = append(p.Attempts, *a)
	if j.verdict != delivery.Success {
		p.Put = append(p.Put, x)
		if passes {
			r.window.settle(j.pos)
			r.waiting[x.Subject]++
		}
	}
	if end == "" {
		r.waits = append(r.waits, x)
		if r.state == open {
			r.spill(x.Subject)
		}
		return
	}
	if j.trouble || end != delivery.Delivered {
		p.Settled = append(p.Settled, delivery.Settlement{Seq: x.Seq, Subject: x.Subject, As: end})
		delete(r.heads, x.Subject)
		if r.waiting[x.Subject]--; r.waiting[x.Subject] <= 0 {
			delete(r.waiting, x.Subject)
		}
	}
}

// supersede ends the full states that gave way to newer ones.
func (r *runner) supersede(p *delivery.Progress) {
	for _, l := range r.overtaken {
		x := l.Exception
		if x.Seq == 0 { // it has no row yet
			x = delivery.Exception{Seq: l.Item.Seq, Subject: l.Item.Subject, State: delivery.WaitTurn, Base: r.tried[l.Item.Seq]}
			p.Put = append(p.Put, x)
			r.window.settle(l.pos)
		} else {
			delete(r.out, x.Seq)
			delete(r.heads, x.Subject)
			if r.waiting[x.Subject]--; r.waiting[x.Subject] <= 0 {
				delete(r.waiting, x.Subject)
			}
		}
		r.released = append(r.released, x.Subject)
		p.Settled = append(p.Settled, delivery.Settlement{Seq: x.Seq, Subject: x.Subject, As: delivery.Superseded})
	}
	clear(r.overtaken)
	r.overtaken = r.overtaken[:0]
}

// suspension is our pause of the endpoint.
func (r *runner) suspension(reason string, at time.Time) *delivery.Suspension {
	e := r.conf.endpoint
	from := e.Status
	e.Status, e.StatusReason, e.StatusSince = subscription.Suspended, reason, at
	evt := subscription.StatusChanged(e, from, at)
	evt.ID, evt.RecordedAt = id.New(id.Event), at
	r.e.o.Logger.Warn("the endpoint was suspended", "endpoint", string(r.id), "reason", reason)
	return &delivery.Suspension{Reason: reason, Events: []event.Event{evt}}
}

// spillSlow lets the cursor pass a delivery that has been on the wire for long
// while the window fills behind it: it becomes an exception that waits for its
// own result.
func (r *runner) spillSlow(p *delivery.Progress) {
	for {
		j, at := r.slowHead()
		if j == nil || time.Now().Before(at) {
			return
		}
		seq := j.item.Seq
		j.lane.job = nil
		x := j.exc
		x.State = delivery.WaitTurn
		j.trouble = true
		p.Put = append(p.Put, x)
		r.window.settle(j.pos)
		r.waiting[x.Subject]++
		r.heads[x.Subject] = struct{}{}
		r.out[seq] = struct{}{}
		r.spill(x.Subject)
	}
}

// slowHead returns the delivery on the wire that holds the cursor while the
// window behind it is half full, and when it has done so for too long; nil:
// there is none.
func (r *runner) slowHead() (*job, time.Time) {
	if r.window.len() <= r.e.places/2 {
		return nil, time.Time{}
	}
	first := r.window.first()
	j := first.lane.job
	if j == nil || j.item.Seq != first.seq {
		return nil, time.Time{}
	}
	return j, j.started.Add(slowHead)
}

// recorded takes over what the store says of a batch.
func (e *Engine) recorded(batch []delivery.Progress, from []*runner, outcomes []delivery.Outcome, err error) {
	if err != nil {
		e.o.Logger.Error("what became of deliveries could not be recorded; they are sent again", "count", len(batch), "error", err)
	}
	for i, r := range from {
		var o delivery.Outcome
		if err == nil {
			o = outcomes[i]
			if !o.Fenced {
				e.count(&batch[i])
				r.tally(&batch[i])
			}
		}
		r.recordedAs(&batch[i], &o, err)
		r.reuse()
	}
	e.gauge()
}

// recordedAs takes over what the store says of the runner's progress.
func (r *runner) recordedAs(p *delivery.Progress, o *delivery.Outcome, err error) {
	e := r.e
	r.recording = false
	switch {
	case err != nil:
		e.drop(r, pause)
		return
	case o.Fenced:
		e.drop(r, 0)
		return
	case r.state != open:
		e.reopen(r)
		return
	case p.Suspend != nil:
		e.drop(r, 0)
		return
	}
	for _, x := range r.waits {
		r.await(x)
	}
	for _, subject := range p.Rouse {
		delete(r.heads, subject)
	}
	for _, x := range o.Roused {
		r.await(x)
	}
	if subject, lost := r.unroused(p.Rouse); lost {
		e.o.Logger.Error("an endpoint's waiting deliveries are not as expected; they are read again", "endpoint", string(r.id), "count", r.waiting[subject])
		e.drop(r, pause)
		return
	}
	if m := p.Replayed; m != nil {
		r.replayed(m, o.Fed)
	}
	for _, j := range r.recorded {
		j.lane.busy = false
	}
	for _, subject := range r.released {
		if l := r.lanes[subject]; l != nil {
			l.busy = false
		}
	}
	for i := len(r.recorded) - 1; i >= 0; i-- { // to the front, the first one last
		r.release(r.recorded[i].lane)
	}
	for _, subject := range r.released {
		r.releaseSubject(subject)
	}
	for _, x := range o.Fed {
		r.releaseSubject(x.Subject)
	}
	e.kick(r)
}

// reuse takes back what was made for a progress that is recorded, or is not.
func (r *runner) reuse() {
	for i, j := range r.recorded {
		r.recorded[i] = nil
		r.e.freeJob(j)
	}
	clear(r.attempts)
	clear(r.released)
	clear(r.waits)
	r.recorded, r.attempts, r.released, r.waits = r.recorded[:0], r.attempts[:0], r.released[:0], r.waits[:0]
}

// unroused returns a subject of which the store was asked to rouse the next
// exception and did not. Nothing would ever wake it again.
func (r *runner) unroused(asked []string) (subject string, lost bool) {
	for _, s := range asked {
		if _, ok := r.heads[s]; !ok && r.waiting[s] > 0 {
			return s, true
		}
	}
	return "", false
}

// replayed notes a step of a replay.
func (r *runner) replayed(m *delivery.ReplayMark, fed []delivery.Exception) {
	r.fed += len(fed)
	for _, x := range fed {
		r.waiting[x.Subject]++
	}
	for i := range r.replays {
		if r.replays[i].ID != m.ID {
			continue
		}
		if r.replays[i].Done = m.Done; m.Done >= len(r.replays[i].Seqs) {
			r.ended[m.ID] = struct{}{}
			r.replays = append(r.replays[:i], r.replays[i+1:]...)
		}
		return
	}
}

// release lets a subject go on: its next exception, or else its lane.
func (r *runner) release(l *lane) {
	switch {
	case l.busy:
	case len(r.waiting) > 0 && r.waiting[l.subject] > 0:
		r.releaseSubject(l.subject)
	case l.n > 0:
		r.queue(l, true)
	default:
		r.settleLane(l)
	}
}

// releaseSubject is release for a subject that may have no lane.
func (r *runner) releaseSubject(subject string) {
	l := r.lanes[subject]
	switch {
	case l != nil && l.busy:
	case r.waiting[subject] > 0:
		r.spill(subject)
		if _, ok := r.heads[subject]; !ok {
			r.rouse[subject] = struct{}{}
		}
	case l != nil:
		r.release(l)
	}
}

// count tells the metrics which deliveries ended.
func (e *Engine) count(p *delivery.Progress) {
	for _, s := range p.Settled {
		if s.As != delivery.Delivered {
			e.o.Metrics.Ended(string(s.As), 1)
		}
	}
}

// gauge tells the metrics how things stand, at most once a second.
func (e *Engine) gauge() {
	if e.o.Metrics == nil || time.Since(e.measured) < time.Second {
		return
	}
	e.measured = time.Now()
	var open, held, caughtUp, retrying, waiting int
	for _, r := range e.runners {
		if r.breaker.Open {
			open++
		}
		if r.hold.Held() {
			held++
		}
		if r.caughtUp {
			caughtUp++
		}
		retrying += len(r.heads)
		for _, n := range r.waiting {
			waiting += n
		}
	}
	e.o.Metrics.Endpoints(len(e.runners), open, held, caughtUp)
	e.o.Metrics.Exceptions(retrying, waiting-retrying)
}
