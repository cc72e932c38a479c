// Package sweep does the chores that the clock asks for: it expires consents
// whose deadline has come.
//
// It sleeps until the next deadline and decides nothing: which consents are
// due, and what becomes of them, is app's. It refuses to poll; a look every
// half minute only guards against a clock that was set and a wake-up that was
// missed.
package sweep

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/app"
)

const (
	// recheck is the longest sleep.
	recheck = 30 * time.Second
	// settle is the shortest: a deadline that has come and yet expired nothing
	// is a clock that was set back.
	settle = 10 * time.Millisecond
	// The pauses after a failure double from the first to the last.
	firstPause, lastPause = 250 * time.Millisecond, recheck
)

// Sweep expires consents in time.
type Sweep struct {
	expire func(context.Context) (next time.Time, err error)
	log    *slog.Logger

	mu    sync.Mutex
	asked time.Time     // the earliest deadline told since the last look; zero: none
	wake  chan struct{} // holds one: asked became earlier
}

// New returns the sweep of a's consents.
func New(a *app.App, l *slog.Logger) *Sweep { return newSweep(a.ExpireDue, l) }

func newSweep(expire func(context.Context) (time.Time, error), l *slog.Logger) *Sweep {
	return &Sweep{expire: expire, log: l, wake: make(chan struct{}, 1)}
}

// Deadline tells of a consent that is due at t, so that the sweep does not
// sleep past it. It returns at once and may be called by several goroutines;
// a zero t tells nothing.
func (s *Sweep) Deadline(t time.Time) {
	if t.IsZero() {
		return
	}
	s.mu.Lock()
	earlier := s.asked.IsZero() || t.Before(s.asked)
	if earlier {
		s.asked = t
	}
	s.mu.Unlock()
	if earlier {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// takeAsked returns the earliest deadline told since it was last called.
func (s *Sweep) takeAsked() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.asked
	s.asked = time.Time{}
	return t
}

// Run expires what was missed while the server was down, then each consent
// when its deadline comes. It blocks and returns nil when ctx ends. A failure
// is logged and tried again.
func (s *Sweep) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due time.Time // when the timer fires
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			if t := s.takeAsked(); !t.IsZero() && t.Before(due) {
				due = t
				timer.Reset(max(time.Until(t), 0))
			}
			continue
		case <-timer.C:
		}
		// What was told up to here is committed, so the look below sees it.
		s.takeAsked()
		next, err := s.expire(ctx)
		if ctx.Err() != nil {
			return nil
		}
		sleep := recheck
		switch {
		case err != nil:
			s.log.Error("consents could not be expired, trying again", "error", err, "durationMs", pause.Milliseconds())
			sleep, pause = pause, min(2*pause, lastPause)
		case next.IsZero():
			pause = firstPause
		default:
			sleep, pause = min(max(time.Until(next), settle), recheck), firstPause
		}
		due = time.Now().Add(sleep)
		timer.Reset(sleep)
	}
}
