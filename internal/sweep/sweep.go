// Package sweep does the chores that the clock asks for: it expires consents
// whose deadline has come, lets permissions lapse and begin, and lets go what is
// kept no longer.
//
// It sleeps until the next deadline and decides nothing: what is due, and what
// becomes of it, is app's. It refuses to poll; a look every half minute only
// guards against a clock that was set and a wake-up that was missed.
package sweep

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/app"
)

const (
	// recheck is the longest sleep, unless Sweep.Recheck says otherwise.
	recheck = 30 * time.Second
	// settle is the shortest: a deadline that has come and yet changed nothing
	// is a clock that was set back.
	settle = 10 * time.Millisecond
	// The pauses after a failure double from the first to the last.
	firstPause, lastPause = 250 * time.Millisecond, recheck
)

// Sweep does the chores in time. Each has a sleep of its own: one that fails or
// has much to do does not make another one late.
type Sweep struct {
	// Recheck is the longest sleep between two looks; 0: half a minute. It is set
	// before Run.
	Recheck time.Duration

	chores []*chore
}

// chore is one of them.
type chore struct {
	do    func(context.Context) (next time.Time, err error)
	fails string // what is logged when it does
	log   *slog.Logger

	mu    sync.Mutex
	asked time.Time     // the earliest deadline told since the last look; zero: none
	wake  chan struct{} // holds one: asked became earlier
}

// New returns the sweep of a's consents and permissions.
func New(a *app.App, l *slog.Logger) *Sweep {
	return newSweep(
		newChore(a.ExpireDue, "consents could not be expired, trying again", l),
		newChore(a.AdvanceDue, "permissions could not lapse or begin, trying again", l),
		newChore(a.Retain, "what is old could not be removed, trying again", l),
	)
}

func newSweep(chores ...*chore) *Sweep { return &Sweep{chores: chores} }

func newChore(do func(context.Context) (time.Time, error), fails string, l *slog.Logger) *chore {
	return &chore{do: do, fails: fails, log: l, wake: make(chan struct{}, 1)}
}

// Deadline tells of something that is due at t, so that the sweep does not
// sleep past it. It returns at once and may be called by several goroutines;
// a zero t tells nothing.
func (s *Sweep) Deadline(t time.Time) {
	if t.IsZero() {
		return
	}
	for _, c := range s.chores {
		c.deadline(t)
	}
}

// Run does what was missed while the server was down, then each thing when its
// deadline comes. It blocks and returns nil when ctx ends. A failure is logged
// and tried again.
func (s *Sweep) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, c := range s.chores {
		all.Go(func() { c.run(ctx, cmp.Or(s.Recheck, recheck)) })
	}
	all.Wait()
	return nil
}

func (c *chore) deadline(t time.Time) {
	c.mu.Lock()
	earlier := c.asked.IsZero() || t.Before(c.asked)
	if earlier {
		c.asked = t
	}
	c.mu.Unlock()
	if earlier {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// takeAsked returns the earliest deadline told since it was last called.
func (c *chore) takeAsked() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.asked
	c.asked = time.Time{}
	return t
}

func (c *chore) run(ctx context.Context, recheck time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due time.Time // when the timer fires
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			if t := c.takeAsked(); !t.IsZero() && t.Before(due) {
				due = t
				timer.Reset(max(time.Until(t), 0))
			}
			continue
		case <-timer.C:
		}
		// What was told up to here is committed, so the look below sees it.
		c.takeAsked()
		next, err := c.do(ctx)
		if ctx.Err() != nil {
			return
		}
		sleep := recheck
		switch {
		case err != nil:
			c.log.Error(c.fails, "error", err, "durationMs", pause.Milliseconds())
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
