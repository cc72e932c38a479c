package app

import (
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// How often one endpoint may be tested and replayed to. Ours (RULES 5, API6):
// whoever may configure an endpoint must not thereby get a tool to fire at it.
const (
	TestBurst    = 10
	testRefill   = 6 * time.Second
	replayBurst  = 100
	replayRefill = 100 * time.Millisecond
)

// TakeTest counts one test of an endpoint. The error is fault.TooMany
// "slow_down" with the time to wait, when it was tested too often.
func (a *App) TakeTest(endpoint string) error { return a.tests.take(endpoint, now()) }

// TakeReplay counts one replay or redelivery to an endpoint, as TakeTest does.
func (a *App) TakeReplay(endpoint string) error { return a.replays.take(endpoint, now()) }

// limiterSize is how many keys a limiter remembers.
const limiterSize = 10_000

// limiter lets each key do something so often: a burst at once, then once per
// refill. The state of a key is one instant: when its debt is paid off.
type limiter struct {
	burst  int
	refill time.Duration

	mu   sync.Mutex
	paid map[string]time.Time
}

func newLimiter(burst int, refill time.Duration) *limiter {
	return &limiter{burst: burst, refill: refill, paid: map[string]time.Time{}}
}

// take counts one use at now. The error is fault.TooMany "slow_down" with the
// time to wait; such a use is not counted.
func (l *limiter) take(key string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.paid) >= limiterSize {
		for k, t := range l.paid {
			if !t.After(now) {
				delete(l.paid, k)
			}
		}
	}
	from := l.paid[key]
	if from.Before(now) {
		from = now
	}
	if wait := from.Sub(now) - time.Duration(l.burst-1)*l.refill; wait > 0 {
		return &fault.Error{
			Kind: fault.TooMany, Code: "slow_down", RetryAfter: wait,
			Msg: "This was asked for too often; wait before the next try.",
		}
	}
	if _, known := l.paid[key]; !known && len(l.paid) >= limiterSize {
		clear(l.paid) // memory is bounded before memory of uses is kept
	}
	l.paid[key] = from.Add(l.refill)
	return nil
}
