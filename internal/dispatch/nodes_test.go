package dispatch_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/subscription"
)

// cluster is what a store says of the nodes: this one and another.
type cluster struct {
	mu    sync.Mutex
	other bool // lives, too
	held  map[delivery.Endpoint]int64
	back  []delivery.Lease
}

var _ dispatch.Nodes = (*cluster)(nil)

func (c *cluster) Beat(context.Context) (delivery.Beat, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := delivery.Beat{Self: "nod_a", Nodes: []string{"nod_a"}, Held: map[delivery.Endpoint]int64{}}
	if c.other {
		b.Nodes = append(b.Nodes, "nod_b")
	}
	for e, epoch := range c.held {
		b.Held[e] = epoch
	}
	return b, nil
}

func (c *cluster) Release(_ context.Context, list []delivery.Lease, _ bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back = append(c.back, list...)
	for _, l := range list {
		if c.held[l.Endpoint] == l.Epoch {
			delete(c.held, l.Endpoint)
		}
	}
	return nil
}

// TestNodes_leaseThatNobodyKnowsOf: a lease that was taken though the answer was
// lost, of an endpoint that is another node's by now, is given back; else it
// would be renewed for ever, and nobody would send.
func TestNodes_leaseThatNobodyKnowsOf(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200} })
		c := &cluster{other: true, held: map[delivery.Endpoint]int64{}}
		b.nodes = c
		both := []string{"nod_a", "nod_b"}
		var ours, theirs delivery.Endpoint
		for i := 0; ours == "" || theirs == ""; i++ {
			e := delivery.Endpoint(b.subscribe(func(e *subscription.Endpoint) { e.URL = at("x", i) }).ID)
			if delivery.Owner(both, e) == "nod_a" {
				ours = e
			} else {
				theirs = e
			}
		}
		c.held[ours], c.held[theirs] = 1, 7
		b.start()
		sleep(2 * delivery.BeatTime)
		c.mu.Lock()
		if want := []delivery.Lease{{Endpoint: theirs, Epoch: 7}}; !slices.Equal(c.back, want) {
			t.Errorf("got the leases %v given back, want %v", c.back, want)
		}
		c.mu.Unlock()
		b.close()
	})
}
