package dispatch_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/subscription"
)

// TestEngine_randomLives plays random receivers, changes and restarts against
// the promise: every event arrives at every endpoint, in order per subject.
//
// A failure names its seed; CONSENTWIRE_TEST_SEED plays that one alone.
func TestEngine_randomLives(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8}
	if slow {
		seeds = seeds[:2]
	}
	if s := os.Getenv("CONSENTWIRE_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{n}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func randomLife(t *testing.T, dice *rand.Rand) {
	luck := rand.New(rand.NewPCG(dice.Uint64(), 0)) // the receivers' own: they run beside us
	calm := false
	b := newBench(t, func(got) answer {
		if calm {
			return answer{status: 200}
		}
		a := answer{status: 200, after: time.Duration(luck.IntN(200)) * time.Millisecond}
		switch luck.IntN(12) {
		case 0:
			a.status = 500
		case 1:
			a.status, a.retryAfter = 429, strconv.Itoa(luck.IntN(120))
		case 2:
			a.err = &egress.Error{Step: egress.StepConnect, Reason: "refused"}
		case 3:
			a.after = 10 * time.Second
		case 4:
			if luck.IntN(20) == 0 {
				a.status = 410
			}
		}
		return a
	})
	var eps []subscription.Endpoint
	for i := range 3 {
		eps = append(eps, b.subscribe(func(e *subscription.Endpoint) {
			e.URL = fmt.Sprintf("https://receiver%d.example/", i)
			e.RetrySchedule = slices.Repeat([]time.Duration{20 * time.Second}, 20)
			e.Parts = []int{0, 0, 2, 5}[dice.IntN(4)]
			e.MaxInFlight = max(1, e.Parts) + dice.IntN(30)
		}))
	}
	b.start()
	published := 0
	for range 60 {
		switch dice.IntN(9) {
		case 0:
			b.close()
			b.openStore()
			b.start()
		case 1:
			e := eps[dice.IntN(len(eps))]
			cur, err := b.store.Endpoint(t.Context(), b.id, e.Style, e.ID)
			if err != nil {
				t.Fatal(err)
			}
			if cur.Status == subscription.Suspended {
				b.setStatus(cur, subscription.Active)
			}
		case 2:
			b.engineOf().GiveBack()
		default:
			var subjects []string
			for range 1 + dice.IntN(40) {
				subjects = append(subjects, fmt.Sprintf("con_%d", dice.IntN(12)))
			}
			b.publish(subjects...)
			published += len(subjects)
		}
		sleep(time.Duration(dice.IntN(30_000)) * time.Millisecond)
	}
	b.mu.Lock()
	calm = true
	b.mu.Unlock()
	for _, e := range eps {
		cur, err := b.store.Endpoint(t.Context(), b.id, e.Style, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if cur.Status == subscription.Suspended {
			b.setStatus(cur, subscription.Active)
		}
	}
	sleep(24 * time.Hour)
	ordered(t, b.requests())
	for _, e := range eps {
		got := b.statuses(e)
		if got[delivery.Delivered]+got[delivery.Exhausted] != published || got[delivery.Exhausted] > published/50 {
			t.Errorf("%s: got %v, want %d delivered", e.URL, got, published)
		}
		h, err := b.store.Health(t.Context(), b.id, e.ID)
		if err != nil || h.Backlog != 0 {
			t.Errorf("%s: got a backlog of %d (%v), want 0", e.URL, h.Backlog, err)
		}
	}
	if t.Failed() {
		t.Logf("%s", b.log.String())
	}
	b.close()
}
