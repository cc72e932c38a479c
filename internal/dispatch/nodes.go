package dispatch

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
)

// Nodes is what an engine needs that shares its store with those of other
// nodes. What each method must do is said at store.Engine.
type Nodes interface {
	Beat(ctx context.Context) (delivery.Beat, error)
	Release(ctx context.Context, leases []delivery.Lease, gone bool) error
}

const (
	// leaseMargin is how long before the leases end nothing is on the wire any
	// more: another node may take them over at their end.
	leaseMargin = 2 * time.Second
	// takenPause is how long is waited for a lease that another node still has.
	takenPause = 500 * time.Millisecond
	// beatAgain is the same for a renewal that failed.
	beatAgain = delivery.BeatTime / 4
)

// membership is an engine's part in the work of several nodes. All but nodes and
// until is guarded by the engine's lock.
type membership struct {
	nodes Nodes // nil: there is one node, and none of this

	beat   delivery.Beat
	until  atomic.Pointer[time.Time] // until when may be sent, by our own clock, counted from when the leases were asked for; nil: there are none
	sends  context.Context
	cut    context.CancelFunc // ends what is on the wire
	alarm  *time.Timer        // cuts when the leases are about to end
	back   []delivery.Lease   // to be given back
	soon   chan struct{}      // holds one: there is something to give back
	stop   chan struct{}      // closed by leave
	done   chan struct{}      // closed when beating has ended
	opened map[delivery.Endpoint]time.Time
}

// mine tells whether the endpoint is this node's to send to, as things stand.
func (e *Engine) mine(id delivery.Endpoint) bool {
	return e.cluster.nodes == nil || delivery.Owner(e.cluster.beat.Nodes, id) == e.cluster.beat.Self
}

// leased tells whether the leases last for a while.
func (e *Engine) leased(now time.Time) bool {
	if e.cluster.nodes == nil {
		return true
	}
	until := e.cluster.until.Load()
	return until != nil && now.Before(*until)
}

// sending returns the context of requests, which ends with the leases.
func (e *Engine) sending() context.Context {
	if e.cluster.nodes == nil {
		return e.wire
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cluster.sends
}

// join says that this node lives, and does so until leave. It returns after the
// first time.
func (e *Engine) join() {
	if e.cluster.nodes == nil {
		return
	}
	e.mu.Lock()
	e.cluster.stop, e.cluster.done = make(chan struct{}), make(chan struct{})
	e.cluster.soon = make(chan struct{}, 1)
	e.cluster.sends, e.cluster.cut = context.WithCancel(e.wire)
	e.cluster.opened = map[delivery.Endpoint]time.Time{}
	e.mu.Unlock()
	wait := e.beat()
	go func() {
		defer close(e.cluster.done)
		t := time.NewTimer(wait)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				t.Reset(e.beat())
			case <-e.cluster.soon:
				e.giveBack(false)
			case <-e.cluster.stop:
				return
			case <-e.wire.Done(): // stopping takes too long
				return
			}
		}
	}()
}

// leave gives all leases back, once nothing is on the wire.
func (e *Engine) leave() {
	if e.cluster.nodes == nil {
		return
	}
	close(e.cluster.stop)
	<-e.cluster.done
	e.mu.Lock()
	for _, r := range e.runners {
		if r.lease.Epoch != 0 {
			e.cluster.back = append(e.cluster.back, r.lease)
		}
	}
	if e.cluster.alarm != nil {
		e.cluster.alarm.Stop()
	}
	e.cluster.cut()
	e.mu.Unlock()
	e.giveBack(true)
}

// beat renews the leases and finds out which endpoints are this node's. It returns
// how long to wait for the next time.
func (e *Engine) beat() (wait time.Duration) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(e.wire, delivery.BeatTime)
	defer cancel()
	b, err := e.cluster.nodes.Beat(ctx)
	if err != nil {
		e.o.Logger.Warn("the leases could not be renewed", "error", err)
		return beatAgain
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	moved := !slices.Equal(b.Nodes, e.cluster.beat.Nodes)
	if moved {
		e.o.Logger.Info("the nodes that live", "count", len(b.Nodes))
	}
	again := !e.leased(asked)
	e.cluster.beat = b
	until := asked.Add(delivery.LeaseTime - leaseMargin)
	if e.cluster.sends.Err() != nil {
		e.cluster.sends, e.cluster.cut = context.WithCancel(e.wire)
	}
	if e.cluster.alarm != nil {
		e.cluster.alarm.Stop()
	}
	e.cluster.alarm = time.AfterFunc(time.Until(until), e.ranOut)
	for id, epoch := range b.Held { // one that was taken unheard of, or could not be given back
		if e.runners[id] == nil && !e.mine(id) {
			e.release(delivery.Lease{Endpoint: id, Epoch: epoch})
		}
	}
	for _, r := range e.runners {
		switch {
		case r.state == open && b.Held[r.id] != r.lease.Epoch && e.cluster.opened[r.id].Before(asked):
			e.drop(r, 0) // another node has it
		case !e.mine(r.id):
			e.yield(r)
		}
	}
	// Only now, for what was picked under a lease that is lost must not be sent.
	e.cluster.until.Store(&until)
	if again {
		for _, r := range e.runners {
			e.kick(r)
		}
	}
	if moved && e.running {
		select {
		case e.rescan <- struct{}{}:
		default:
		}
	}
	return delivery.BeatTime
}

// ranOut takes what is on the wire away from it: another node may send from now
// on.
func (e *Engine) ranOut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leased(time.Now()) {
		return // they were renewed at this moment
	}
	e.o.Logger.Warn("the leases ran out; nothing is sent until they are renewed")
	e.cluster.cut()
	for _, r := range e.runners {
		e.drop(r, 0) // nothing is known of what was on the wire
	}
}

// yield leaves an endpoint to another node: once nothing of it is on the wire its
// lease is given back.
func (e *Engine) yield(r *runner) {
	r.gone = true
	e.drop(r, 0)
}

// release notes that a lease is to be given back.
func (e *Engine) release(l delivery.Lease) {
	if e.cluster.nodes == nil || l.Epoch == 0 {
		return
	}
	e.cluster.back = append(e.cluster.back, l)
	select {
	case e.cluster.soon <- struct{}{}:
	default:
	}
}

// giveBack gives leases back. One that is not given back ends by itself.
func (e *Engine) giveBack(gone bool) {
	e.mu.Lock()
	back := e.cluster.back
	e.cluster.back = nil
	e.mu.Unlock()
	if len(back) == 0 && !gone {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.wire), delivery.BeatTime)
	defer cancel()
	if err := e.cluster.nodes.Release(ctx, back, gone); err != nil {
		e.o.Logger.Warn("leases could not be given back; they end by themselves", "error", err)
	}
	select { // one of them may be this node's again
	case e.rescan <- struct{}{}:
	default:
	}
}

// isTaken tells whether another node has the lease that was asked for.
func isTaken(err error) bool { return fault.CodeOf(err) == "lease_taken" }
