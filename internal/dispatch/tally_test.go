package dispatch_test

import (
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
)

// TestEngine_tallies: what is kept for the plots is what the receiver saw, also
// what was counted right before the end, and what waits while the receiver is
// down is there although the engine does not read it.
func TestEngine_tallies(t *testing.T) {
	in(t, func(t *testing.T) {
		down := true
		b := newBench(t, func(got) answer {
			if down {
				return answer{status: 503, after: time.Second}
			}
			return answer{status: 200, after: time.Second}
		})
		b.counts = true
		b.subscribe(nil)
		b.start()
		b.publish("con_a", "con_a", "con_a", "con_b")
		sleep(75 * time.Second)
		at := time.Now()
		all := func() (sum delivery.Tally) {
			list, err := b.store.Tallies(t.Context(), b.id, delivery.SixHours, b.t0)
			if err != nil {
				t.Fatal(err)
			}
			for i := range list {
				sum.Merge(&list[i])
			}
			return sum
		}
		first := all()
		if first.Accepted != 0 || first.Sent == 0 || first.Waiting != 4 || first.Notify.Count() != 0 {
			t.Errorf("while it is down: got %+v, want 4 that wait and nothing accepted", first)
		}
		b.mu.Lock()
		down = false
		b.mu.Unlock()
		sleep(time.Hour)
		b.publish("con_c")
		sleep(2 * time.Second)
		b.halt() // what was just counted is kept
		sum := all()
		if sent := len(b.requests()); sum.Sent != sent || sum.Accepted != 5 || sum.Exhausted != 0 || sum.Notify.Count() != 5 {
			t.Errorf("got %+v, want all %d attempts and 5 accepted", sum, sent)
		}
		if got := sum.Notify.Quantile(0.01); got < time.Second || got > 1200*time.Millisecond {
			t.Errorf("the quickest: got %s, want little over 1 s", got)
		}
		if got, least := sum.Notify.Quantile(0.8), at.Sub(b.t0)-time.Second; got < least {
			t.Errorf("those that waited: got %s, want at least %s", got, least)
		}
		b.start()
		b.close()
	})
}
