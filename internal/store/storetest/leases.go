package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// leaseState is an endpoint as far as its lease goes.
type leaseState struct {
	status subscription.Status
	epoch  int64 // the highest that was given out
	held   bool  // its holder may record; else the lease is broken
	cursor event.Seq
	end    event.Seq // of the log
}

// leaseCall is what somebody asks about an endpoint.
type leaseCall struct {
	endpoint delivery.Endpoint
	do       leaseDo
	epoch    int64     // record, suspend
	cursor   event.Seq // record
	n        int       // publish
}

// leaseDo is a kind of call. Each is one step of the model.
type leaseDo string

const (
	leaseOpen    leaseDo = "open"
	leaseLook    leaseDo = "look" // the cursor that an open told: it was read behind its step, at some instant of the call
	leaseRecord  leaseDo = "record"
	leaseSuspend leaseDo = "suspend"
	leasePause   leaseDo = "pause"
	leaseResume  leaseDo = "resume"
	leasePublish leaseDo = "publish"
	leaseHealth  leaseDo = "health"
)

// leaseAnswer is what came back.
type leaseAnswer struct {
	refused bool // open: not_active
	fenced  bool // record, suspend
	epoch   int64
	cursor  event.Seq
	backlog int
}

// leaseModel is what the contract says of Open, Record, Discard and Resume,
// one call after the other: an open gives an epoch that was never given, only
// the last one given records, and only while nobody broke its lease; the cursor
// never goes back. A history is right if its calls can be put in such an order
// in which none comes before one that had ended when it began.
var leaseModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[delivery.Endpoint][]porcupine.Operation{}
		for _, o := range history {
			e := o.Input.(leaseCall).endpoint
			by[e] = append(by[e], o)
		}
		var out [][]porcupine.Operation
		for _, part := range by {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return leaseState{status: subscription.Active} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(leaseState), input.(leaseCall), output.(leaseAnswer)
		ok := leaseStep(&s, in, out)
		return ok, s
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v → %+v", input.(leaseCall), output.(leaseAnswer))
	},
}

// leaseStep takes one step; false: it cannot have been answered so.
func leaseStep(s *leaseState, in leaseCall, out leaseAnswer) bool {
	switch in.do {
	case leaseOpen:
		if out.refused {
			return s.status != subscription.Active
		}
		ok := s.status == subscription.Active && out.epoch > s.epoch && out.cursor >= s.cursor
		s.epoch, s.held = out.epoch, true
		return ok
	case leaseLook:
		return out.cursor == s.cursor
	case leaseRecord, leaseSuspend:
		if mine := s.held && in.epoch == s.epoch; !mine || out.fenced {
			return !mine && out.fenced
		}
		s.cursor = max(s.cursor, in.cursor)
		if in.do == leaseSuspend {
			s.status, s.held = subscription.Suspended, false
		}
	case leasePause:
		s.status, s.held = subscription.Paused, false
	case leaseResume:
		if s.status == subscription.Paused {
			s.cursor = s.end
		}
		s.status, s.held = subscription.Active, false
	case leasePublish:
		s.end += event.Seq(in.n)
	case leaseHealth:
		want := int(s.end - s.cursor)
		if s.status == subscription.Paused {
			want = 0
		}
		return out.backlog == want
	}
	return true
}

// notebook keeps a history while it happens.
type notebook struct {
	from time.Time
	mu   sync.Mutex
	ops  []porcupine.Operation
}

// call keeps one call with its answers, of which there may be several.
func (b *notebook) call(client int, fn func(keep func(leaseCall, leaseAnswer))) {
	type pair struct {
		in  leaseCall
		out leaseAnswer
	}
	var got []pair
	called := time.Since(b.from)
	fn(func(in leaseCall, out leaseAnswer) { got = append(got, pair{in, out}) })
	ended := time.Since(b.from)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range got {
		b.ops = append(b.ops, porcupine.Operation{ClientId: client, Input: p.in, Output: p.out, Call: int64(called), Return: int64(ended)})
	}
}

// String tells the history in the order of its calls.
func (b *notebook) String() string {
	ops := slices.Clone(b.ops)
	slices.SortFunc(ops, func(x, y porcupine.Operation) int { return cmp.Compare(x.Call, y.Call) })
	var out strings.Builder
	for _, o := range ops {
		fmt.Fprintf(&out, "%d..%d client %d: %s\n", o.Call, o.Return, o.ClientId, leaseModel.DescribeOperation(o.Input, o.Output))
	}
	return out.String()
}

// leases lets nodes take the same two endpoints from each other and record,
// with old epochs too, while their owner pauses and resumes them, the log grows
// and somebody looks on, all at once. Each history must be one that the model
// allows.
func leases(t *testing.T, r *room) {
	const rounds, nodes, steps = 6, 3, 30
	r.apps()
	for round := range uint64(rounds) {
		es := []subscription.Endpoint{subscriber(app1, subscription.ID(fmt.Sprint("sub_a", round)), event.ConsentCreated), subscriber(app1, subscription.ID(fmt.Sprint("sub_b", round)), event.ConsentCreated)}
		r.put(es...)
		end := event.Seq(len(r.events(app1)))
		var published atomic.Int64 // places that are in the log for certain
		published.Store(int64(end))
		b := &notebook{from: time.Now()}
		for _, e := range es { // where the model begins
			b.call(0, func(keep func(leaseCall, leaseAnswer)) {
				keep(leaseCall{endpoint: delivery.Endpoint(e.ID), do: leasePublish, n: int(end)}, leaseAnswer{})
				keep(leaseCall{endpoint: delivery.Endpoint(e.ID), do: leasePause}, leaseAnswer{})
			})
			b.call(0, func(keep func(leaseCall, leaseAnswer)) {
				keep(leaseCall{endpoint: delivery.Endpoint(e.ID), do: leaseResume}, leaseAnswer{})
			})
		}
		events := make([][]event.Event, steps) // made here: the room is one goroutine's
		for i := range events {
			for range 1 + i%4 {
				events[i] = append(events[i], r.event(app1, fmt.Sprint("con_", i%5), event.ConsentCreated))
			}
		}
		var all sync.WaitGroup
		client := func(n int, fn func(dice *rand.Rand, client int) error) {
			all.Go(func() {
				if err := fn(rand.New(rand.NewPCG(round, uint64(n))), n); err != nil { // #nosec G404 G115 -- a seed that can be played again, of small numbers
					t.Errorf("client %d: %v", n, err)
				}
			})
		}
		for n := range nodes {
			client(1+n, func(dice *rand.Rand, n int) error { return r.node(b, n, steps, dice, es, &published) })
		}
		client(nodes+1, func(dice *rand.Rand, n int) error { return r.owner(b, n, steps, dice, es) })
		client(nodes+2, func(_ *rand.Rand, n int) (err error) {
			for _, evts := range events {
				b.call(n, func(keep func(leaseCall, leaseAnswer)) {
					err = r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.Publish(evts...) })
					for _, e := range es {
						keep(leaseCall{endpoint: delivery.Endpoint(e.ID), do: leasePublish, n: len(evts)}, leaseAnswer{})
					}
				})
				if err != nil {
					return err
				}
				published.Add(int64(len(evts)))
			}
			return nil
		})
		client(nodes+3, func(dice *rand.Rand, n int) (err error) {
			for range steps {
				e := es[dice.IntN(2)].ID
				b.call(n, func(keep func(leaseCall, leaseAnswer)) {
					var h delivery.Health
					h, err = r.Store.Health(r.ctx, app1, e)
					keep(leaseCall{endpoint: delivery.Endpoint(e), do: leaseHealth}, leaseAnswer{backlog: h.Backlog})
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		all.Wait()
		if t.Failed() {
			return
		}
		if got := porcupine.CheckOperationsTimeout(leaseModel, b.ops, time.Minute); got != porcupine.Ok {
			t.Fatalf("round %d: the history is %s: no order of its calls fits the contract\n%s", round, got, b)
		}
		r.update(func(tx store.Tx) error {
			for _, e := range es {
				if err := tx.DeleteEndpoint(app1, e.ID, minute(1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// node is a client that opens endpoints and records, as an engine does, and
// goes on with an epoch that has passed.
func (r *room) node(b *notebook, client, steps int, dice *rand.Rand, es []subscription.Endpoint, published *atomic.Int64) error {
	mine := make([]delivery.Lease, len(es))
	for step := range steps {
		i := dice.IntN(len(es))
		e := delivery.Endpoint(es[i].ID)
		if mine[i].Epoch == 0 || dice.IntN(4) == 0 {
			var err error
			b.call(client, func(keep func(leaseCall, leaseAnswer)) {
				var p delivery.Position
				if p, err = r.Store.Open(r.ctx, e); fault.CodeOf(err) == "not_active" {
					err = nil
					keep(leaseCall{endpoint: e, do: leaseOpen}, leaseAnswer{refused: true})
					return
				}
				mine[i] = p.Lease
				keep(leaseCall{endpoint: e, do: leaseOpen}, leaseAnswer{epoch: p.Lease.Epoch, cursor: p.Cursor})
				keep(leaseCall{endpoint: e, do: leaseLook}, leaseAnswer{cursor: p.Cursor})
			})
			if err != nil {
				return err
			}
			continue
		}
		var batch []delivery.Progress
		var calls []leaseCall
		for j, e := range es {
			if mine[j].Epoch == 0 || j != i && dice.IntN(2) == 0 {
				continue
			}
			end := published.Load()
			c := leaseCall{endpoint: delivery.Endpoint(e.ID), do: leaseRecord, epoch: mine[j].Epoch, cursor: event.Seq(max(0, end-dice.Int64N(6)))}
			p := delivery.Progress{Lease: mine[j], At: minute(step), Cursor: c.cursor}
			if dice.IntN(12) == 0 {
				c.do = leaseSuspend
				p.Suspend = &delivery.Suspension{Reason: "It answered 410."}
			}
			batch, calls = append(batch, p), append(calls, c)
		}
		var err error
		b.call(client, func(keep func(leaseCall, leaseAnswer)) {
			var out []delivery.Outcome
			if out, err = r.Store.Record(r.ctx, batch); err == nil && len(out) != len(batch) {
				err = fmt.Errorf("got %d outcomes, want %d", len(out), len(batch))
			}
			if err == nil {
				for k, c := range calls {
					keep(c, leaseAnswer{fenced: out[k].Fenced})
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// owner is a client that pauses endpoints and sets them active again.
func (r *room) owner(b *notebook, client, steps int, dice *rand.Rand, es []subscription.Endpoint) (err error) {
	for step := range steps {
		i := dice.IntN(len(es))
		as, do := subscription.Paused, leasePause
		if dice.IntN(2) == 0 || step >= steps-2 {
			as, do = subscription.Active, leaseResume
		}
		b.call(client, func(keep func(leaseCall, leaseAnswer)) {
			err = r.Store.Update(r.ctx, func(tx store.Tx) error {
				e, err := tx.Endpoint(app1, es[i].Style, es[i].ID)
				if err != nil {
					return err
				}
				e.Status, e.StatusSince = as, minute(step)
				e.Version++
				if err := tx.PutEndpoint(e, picture(e)); err != nil {
					return err
				}
				if as == subscription.Active {
					return tx.Resume(app1, e.ID, minute(step))
				}
				return tx.Discard(app1, e.ID, minute(step))
			})
			keep(leaseCall{endpoint: delivery.Endpoint(es[i].ID), do: do}, leaseAnswer{})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lateNumbers: an attempt that was recorded under a lost lease takes its number,
// and the next holder's, however many leases later, is kept beside it.
func lateNumbers(t *testing.T, r *room) {
	p := r.ready("con_a")
	r.record(delivery.Progress{Lease: p.Lease, At: t0, Cursor: 1, Attempts: []delivery.Attempt{attempt(1, 1, t0, false)}, Put: []delivery.Exception{retrying(1, "con_a", minute(1))}})
	r.open("sub_1")
	late := attempt(1, 2, minute(1), false)
	late.InteractionID = "i-late"
	if o := r.tryRecord(delivery.Progress{Lease: p.Lease, At: minute(1), Attempts: []delivery.Attempt{late}}); !o.Fenced {
		t.Error("got it recorded under a lease that had passed on")
	}
	r.open("sub_1")
	next := r.open("sub_1")
	if len(next.Due) != 1 {
		t.Fatalf("got due %+v, want one", next.Due)
	}
	won := attempt(1, next.Due[0].Base+next.Due[0].Tries+1, minute(2), true) // as engines number them
	won.InteractionID = "i-won"
	r.record(delivery.Progress{Lease: next.Lease, At: minute(2), Attempts: []delivery.Attempt{won}, Settled: []delivery.Settlement{{Seq: 1, Subject: "con_a", As: delivery.Delivered}}})
	d, err := r.Store.Delivery(r.ctx, app1, delivery.ID("sub_1", 1))
	r.must(err)
	if d.Status != delivery.Delivered || len(d.Attempts) != 3 {
		t.Errorf("got %s after %d attempts, want it delivered after 3", d.Status, len(d.Attempts))
	}
}
