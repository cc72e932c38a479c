package dispatch

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
)

// Tallies keeps what the engine counts for people to look at. What each method
// must do is said at store.Store.
type Tallies interface {
	Tally(ctx context.Context, at time.Time, of map[access.ID]*delivery.Tally) error
	Behind(ctx context.Context, app access.ID, e delivery.Endpoint, after event.Seq) (int, error)
}

// How often what was counted is kept, and what waits is counted. Ours: what is on
// the page is seconds old, and of what is lost with the process nobody's rights
// hang.
const (
	tallyEvery  = 5 * time.Second
	weighEvery  = time.Minute
	maxWeighed  = 100 // endpoints that are behind, of which the store is asked
	tallyWithin = 5 * time.Second
)

// tallyOf returns the present tally of an application.
func (e *Engine) tallyOf(app string) *delivery.Tally {
	if e.o.Tallies == nil || app == "" {
		return nil
	}
	t := e.tallies[access.ID(app)]
	if t == nil {
		t = &delivery.Tally{}
		e.tallies[access.ID(app)] = t
	}
	return t
}

// tally counts what a progress says that is recorded.
func (r *runner) tally(p *delivery.Progress) {
	if len(r.recorded) == 0 && len(p.Settled) == 0 {
		return
	}
	t := r.e.tallyOf(r.app)
	if t == nil {
		return
	}
	t.Sent += len(r.recorded)
	for _, j := range r.recorded {
		if j.verdict == delivery.Success {
			t.Accepted++
			if !j.exc.Replay {
				t.Notify.Add(j.attempt.At.Add(j.attempt.Duration).Sub(j.item.RecordedAt))
			}
		}
	}
	for _, s := range p.Settled {
		if s.As == delivery.Exhausted {
			t.Exhausted++
		}
	}
}

// keepTallies hands over what was counted, until ctx ends and then once more.
func (e *Engine) keepTallies(ctx context.Context) {
	if e.o.Tallies == nil {
		return
	}
	keep, weigh := time.NewTicker(tallyEvery), time.NewTicker(weighEvery)
	defer keep.Stop()
	defer weigh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-weigh.C:
			e.weigh(ctx)
		case <-keep.C:
		}
		e.handTallies(ctx)
	}
}

// handTallies hands over what was counted. What cannot be kept is lost.
func (e *Engine) handTallies(ctx context.Context) {
	full := e.takeTallies()
	if full == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tallyWithin)
	defer cancel()
	if err := e.o.Tallies.Tally(ctx, now(), full); err != nil {
		e.o.Logger.Warn("what was counted for the portal's plots could not be kept", "count", len(full), "error", err)
	}
}

// takeTallies returns what was counted, which is nobody else's then; nil: nothing
// was.
func (e *Engine) takeTallies() map[access.ID]*delivery.Tally {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.tallies) == 0 {
		return nil
	}
	full := e.tallies
	e.tallies = map[access.ID]*delivery.Tally{}
	return full
}

// weigh counts what waits for the endpoints that are here.
func (e *Engine) weigh(ctx context.Context) {
	type behind struct {
		app string
		id  delivery.Endpoint
		seq event.Seq
	}
	var list []behind
	waiting := map[string]int{}
	e.mu.Lock()
	for id, r := range e.runners {
		n := r.items + r.inFlight
		for _, k := range r.waiting {
			n += k
		}
		waiting[r.app] += n
		if r.app != "" && r.state == open && !r.caughtUp && len(list) < maxWeighed {
			list = append(list, behind{r.app, id, r.readTo})
		}
	}
	e.mu.Unlock()
	for _, b := range list {
		n, err := e.o.Tallies.Behind(ctx, access.ID(b.app), b.id, b.seq)
		if err != nil {
			continue // it is deleted, or the next minute tells
		}
		waiting[b.app] += n
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for app, n := range waiting {
		if n == 0 {
			continue
		}
		if t := e.tallyOf(app); t != nil {
			t.Waiting = max(t.Waiting, n)
		}
	}
}
