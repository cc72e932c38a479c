package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/dispatch"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

func fullStates(b subscription.OnBacklog) func(*subscription.Endpoint) {
	return func(e *subscription.Endpoint) {
		e.EventTypes, e.OnBacklog = nil, b
		e.RetrySchedule = []time.Duration{time.Minute, time.Hour, time.Hour}
	}
}

func TestLatest_olderStatesGiveWay(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		latest := b.subscribe(fullStates(subscription.BacklogLatest))
		all := b.subscribe(func(e *subscription.Endpoint) { fullStates(subscription.BacklogAll)(e); e.URL += "/all" })
		receipts := b.subscribe(func(e *subscription.Endpoint) {
			e.EventTypes, e.UpdateType, e.URL = nil, subscription.ConsentReceipts, e.URL+"/receipts"
		})
		for range 5 {
			b.publishType(event.PermissionsEffective, "ctz_a", "ctz_b")
			b.publishType(event.PermissionsDelta, "ctz_a")
		}
		b.start()
		sleep(time.Minute)
		b.wantStatuses(latest, map[delivery.Status]int{delivery.Delivered: 2, delivery.Superseded: 8})
		b.wantStatuses(all, map[delivery.Status]int{delivery.Delivered: 10})
		b.wantStatuses(receipts, map[delivery.Status]int{delivery.Delivered: 5})
		for _, g := range b.requests() {
			if g.url == latest.URL && g.sequence != map[string]int{"ctz_a": 9, "ctz_b": 5}[g.subject] {
				t.Errorf("got %v, want the newest state only", g)
			}
		}
		b.close()
		b.openStore() // the cursor has passed them for good
		b.forget()
		b.start()
		sleep(time.Hour)
		if n := len(b.requests()); n != 0 {
			t.Errorf("got %d requests after a restart, want none", n)
		}
		b.close()
	})
}

// losing is a Log that fails to record that something gave way, some times.
type losing struct {
	dispatch.Log
	left *int
}

func (l losing) Record(ctx context.Context, batch []delivery.Progress) ([]delivery.Outcome, error) {
	for _, p := range batch {
		for _, x := range p.Settled {
			if x.As == delivery.Superseded && *l.left > 0 {
				*l.left--
				return nil, errors.New("the disk is full")
			}
		}
	}
	return l.Log.Record(ctx, batch)
}

// TestLatest_neverBackwards: whatever arrives meanwhile, and whatever is lost or
// cut off in between, no older state comes behind a newer one.
func TestLatest_neverBackwards(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, func(got) answer { return answer{status: 200, after: 3 * time.Millisecond} })
		left := 20
		b.wrap = func(l dispatch.Log) dispatch.Log { return losing{l, &left} }
		e := b.subscribe(fullStates(subscription.BacklogLatest))
		other := b.subscribe(func(e *subscription.Endpoint) { fullStates(subscription.BacklogAll)(e); e.URL += "/all" })
		var subjects []string
		for i := range 40 {
			subjects = append(subjects, fmt.Sprintf("ctz_%d", i))
		}
		b.start()
		for round := range 12 {
			for i := range subjects {
				b.publishType(event.PermissionsEffective, subjects[i], subjects[(i+round)%len(subjects)])
				if i%7 == round%7 {
					sleep(time.Millisecond)
				}
			}
			if round == 6 {
				b.close()
				b.openStore()
				b.start()
			}
		}
		sleep(time.Minute)
		b.close()
		last := map[string]int{}
		opens := 0
		for _, g := range b.requests() {
			switch {
			case g.url == other.URL:
			case g.sequence <= last[g.subject] && g.attempt == 1:
				t.Errorf("%s: got %d behind %d", g.subject, g.sequence, last[g.subject])
			default:
				opens++
				last[g.subject] = max(last[g.subject], g.sequence)
			}
		}
		for _, s := range subjects {
			if last[s] != 24 {
				t.Errorf("%s: the last was %d of 24", s, last[s])
			}
		}
		if left > 0 {
			t.Errorf("%d faults were not met", left)
		}
		if opens >= 24*len(subjects) {
			t.Errorf("%s got every state, want older ones to give way", e.ID)
		}
	})
}

func TestLatest_behindAFailedOne(t *testing.T) {
	in(t, func(t *testing.T) {
		down := true
		b := newBench(t, func(got) answer {
			if down {
				return answer{status: 503}
			}
			return answer{status: 200}
		})
		e := b.subscribe(fullStates(subscription.BacklogLatest))
		b.start()
		ids := b.publishType(event.PermissionsEffective, "ctz_a")
		sleep(time.Second)
		for range 4 {
			b.publishType(event.PermissionsEffective, "ctz_a")
			sleep(time.Second)
		}
		b.set(func() { down = false })
		sleep(10 * time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1, delivery.Superseded: 4})
		all := b.requests()
		if len(all) != 2 || all[0].sequence != 1 || all[1].sequence != 5 || all[1].attempt != 1 {
			t.Errorf("got %v, want the first that failed and then the newest", all)
		}
		old := app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: ids}}
		if job, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, old); err != nil || job.Count != 0 || job.Stale != 1 {
			t.Errorf("got %+v (%v), want the old state left out", job, err)
		}
		old.IncludeStale = true
		if _, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, old); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		if all = b.requests(); len(all) != 3 || !all[2].replay || all[2].sequence != 1 || all[2].attempt != 2 {
			t.Errorf("got %v, want the old state once more, as it was asked for", all)
		}
		b.close()
	})
}

func TestLatest_replayIsStaleByTheTimeItIsFed(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, ok)
		e := b.subscribe(fullStates(subscription.BacklogAll))
		b.start()
		old := b.publishType(event.PermissionsEffective, "ctz_a")
		sleep(time.Second)
		b.close()
		b.openStore()
		b.forget()
		job, err := b.app.Replay(t.Context(), b.id, e.Style, e.ID, app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: old}})
		if err != nil || job.Count != 1 {
			t.Fatalf("got %+v (%v), want the newest state chosen", job, err)
		}
		b.publishType(event.PermissionsEffective, "ctz_a") // before the job is taken up, and sent first or after it
		b.start()
		sleep(time.Minute)
		last := 0
		for _, g := range b.requests() {
			if g.sequence < last {
				t.Errorf("got sequence %d after %d, want no older state behind a newer one", g.sequence, last)
			}
			last = g.sequence
		}
		if last != 2 {
			t.Errorf("got %v, want the newest state last", b.requests())
		}
		b.close()
	})
}
