package relational

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// TestTails_readTheSame: whatever is kept of the log, a page is what a store that
// kept nothing would read: of any endpoint, from anywhere, while the log grows
// and people are erased.
func TestTails_readTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			s := newStore(t)
			types := []event.Type{event.PermissionsEffective, event.ConsentCreated, event.WebhookStatusChanged}
			var endpoints []delivery.Endpoint
			apps := []access.ID{"app_1", "app_2"}
			for _, app := range apps {
				addApp(t, s, app)
				for i := range 5 {
					e := benchEndpoint(subscription.ID(fmt.Sprintf("sub_%s_%d", app, i)), types[:1+i%len(types)]...)
					e.Application = string(app)
					update(t, s, func(tx store.Tx) error { return tx.PutEndpoint(e, delivery.Shown{}) })
					endpoints = append(endpoints, delivery.Endpoint(e.ID))
				}
			}
			erased := map[string]bool{}
			served := 0
			for step := range 400 {
				app := apps[rng.IntN(len(apps))]
				subject := func() string { return fmt.Sprintf("con_%s_%d", app, rng.IntN(30)) }
				switch n := rng.IntN(20); {
				case n < 4:
					update(t, s, func(tx store.Tx) error {
						for range 1 + rng.IntN(12) {
							name := subject()
							if erased[name] {
								continue
							}
							e := someEvent(app, name)
							e.Type = types[rng.IntN(len(types))]
							e.Body = fmt.Appendf(nil, `{"step":%d,"pad":"%0*d"}`, step, 1+rng.IntN(3000), 0)
							if rng.IntN(10) == 0 {
								e.Except = string(endpoints[rng.IntN(len(endpoints))])
							}
							if err := tx.Publish(e); err != nil {
								return err
							}
						}
						return nil
					})
				case n == 4:
					name := subject()
					c := fullConsent(app, name)
					update(t, s, func(tx store.Tx) error {
						if erased[name] {
							return nil
						}
						if err := tx.PutConsent(c); err != nil {
							return err
						}
						return tx.Erase(app, name)
					})
					erased[name] = true
				default:
					e := endpoints[rng.IntN(len(endpoints))]
					after, limit, most := event.Seq(rng.IntN(1+step)), 1+rng.IntN(40), 1+rng.IntN(20_000)
					got, err := s.Read(t.Context(), e, after, limit, most)
					if err != nil {
						t.Fatal(err)
					}
					again, err := s.Read(t.Context(), e, after, limit, most)
					if err != nil {
						t.Fatal(err)
					}
					if len(got.Items) > 0 && &got.Items[0].Body[0] == &again.Items[0].Body[0] {
						served++
					}
					logs, bytes, items := s.tails.logs, s.tails.bytes, s.tails.items
					s.tails.logs, s.tails.bytes, s.tails.items = nil, 0, 0
					want, err := s.Read(t.Context(), e, after, limit, most)
					if err != nil {
						t.Fatal(err)
					}
					s.tails.logs, s.tails.bytes, s.tails.items = logs, bytes, items
					if !reflect.DeepEqual(got.Items, want.Items) || !reflect.DeepEqual(again.Items, want.Items) {
						t.Fatalf("step %d: %s after %d: got %d and %d items, want the %d that the table holds", step, e, after, len(got.Items), len(again.Items), len(want.Items))
					}
					if got.Upto < after || again.Upto < after {
						t.Fatalf("step %d: got %d and %d, want no place before %d", step, got.Upto, again.Upto, after)
					}
				}
			}
			if served == 0 {
				t.Error("got every page from the table, want some from what was kept")
			}
		})
	}
}

// TestTails_areBounded: however much is read, little is kept.
func TestTails_areBounded(t *testing.T) {
	t.Parallel()
	var k logTails
	for app := range int64(2 * tailApps) {
		var read []tailPlace
		for seq := range event.Seq(50) {
			read = append(read, tailPlace{seq: seq + 1, item: &delivery.Item{Seq: seq + 1, Body: make([]byte, 1000)}})
		}
		k.add(app, k.begin(), read)
	}
	for first := event.Seq(51); first < 200_000; first += 500 {
		var read []tailPlace
		for seq := range event.Seq(500) {
			read = append(read, tailPlace{seq: first + seq, item: &delivery.Item{Seq: first + seq, Body: make([]byte, 1000)}})
		}
		k.add(1, k.begin(), read)
		bytes, items := 0, 0
		for _, l := range k.logs {
			for i := range l.places {
				bytes += l.places[i].size()
				items++
			}
		}
		if bytes != k.bytes || items != k.items || bytes > tailBytes || items > tailItems || len(k.logs) > tailApps {
			t.Fatalf("got %d bytes of %d places of %d logs (counted %d, %d), want at most %d, %d, %d", bytes, items, len(k.logs), k.bytes, k.items, tailBytes, tailItems, tailApps)
		}
	}
	if len(k.after(1, 200_000-100, 1<<40, 50)) == 0 {
		t.Error("got nothing of what was read last")
	}
}

// TestTails_lateReader: what was read before something was erased does not come
// in after it.
func TestTails_lateReader(t *testing.T) {
	t.Parallel()
	var k logTails
	since := k.begin()
	k.drop(1)
	k.add(1, since, []tailPlace{{seq: 1, item: &delivery.Item{Seq: 1, Body: []byte("a")}}})
	if got := k.after(1, 0, 10, 10); len(got) > 0 {
		t.Errorf("got %d places, want none", len(got))
	}
}
