package dispatch_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// TestParts: a subscription in parts is told everything once and in order, keeps
// to its limit, hears of changes and pauses in all its parts, and replays.
func TestParts(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(g got) answer {
			if g.attempt == 1 && len(g.subject)%2 == 0 && g.sequence == 2 {
				return answer{status: 500}
			}
			return answer{status: 200, after: 5 * time.Millisecond}
		})
		e := b.subscribe(func(e *subscription.Endpoint) { e.Parts, e.MaxInFlight = 5, 7 })
		b.start()
		var subjects []string
		for i := range 300 {
			subjects = append(subjects, fmt.Sprintf("con_%d", i%60))
		}
		ids := b.publish(subjects...)
		sleep(10 * time.Minute)
		all := b.to("receiver")
		ordered(t, all)
		told := map[string]bool{}
		for _, g := range all {
			told[g.id] = true
		}
		if len(told) != 300 {
			t.Errorf("got %d events told, want 300", len(told))
		}
		b.mu.Lock()
		if b.most > 7 || b.most < 5 {
			t.Errorf("got %d requests on the wire at a time, want at most 7, and some of each part", b.most)
		}
		b.mu.Unlock()

		b.setStatus(e, subscription.Paused)
		b.publish(subjects[:60]...)
		sleep(time.Minute)
		if n := len(b.to("receiver")); n != len(all) {
			t.Errorf("got %d requests in a pause", n-len(all))
		}
		b.setStatus(e, subscription.Active)
		b.publish(subjects[:60]...)
		sleep(time.Minute)
		after := b.to("receiver")[len(all):]
		if len(after) != 60 {
			t.Errorf("got %d requests after the pause, want 60", len(after))
		}

		// Some of each part, again.
		if _, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: ids[:20]}}); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		var again []string
		for _, g := range b.to("receiver")[len(all)+60:] {
			again = append(again, g.id)
			if !g.replay {
				t.Errorf("got %v not marked as replayed", g)
			}
		}
		want := slices.Clone(ids[:20])
		slices.Sort(want)
		if slices.Sort(again); !slices.Equal(again, want) {
			t.Errorf("got %d replayed, want the 20 chosen", len(again))
		}
		h, err := b.store.Health(t.Context(), b.id, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if h.Backlog != 0 || h.Discarded != 60 {
			t.Errorf("got backlog %d and %d discarded, want 0 and 60", h.Backlog, h.Discarded)
		}
		if n := b.engineOf().Runners(); n != 5 {
			t.Errorf("got %d runners, want one for each part", n)
		}
		b.close()
	})
}
