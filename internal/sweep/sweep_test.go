package sweep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ledger stands for the store: deadlines, and when they were met.
type ledger struct {
	mu        sync.Mutex
	start     time.Time
	deadlines []time.Time
	expired   []time.Duration // since start
	looks     []time.Duration
	failures  int // of the next looks
	during    func()
}

func (l *ledger) expire(context.Context) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.looks = append(l.looks, now.Sub(l.start))
	if l.failures > 0 {
		l.failures--
		return time.Time{}, errors.New("disk full")
	}
	var next time.Time
	l.deadlines = slices.DeleteFunc(l.deadlines, func(d time.Time) bool {
		if !now.Before(d) {
			l.expired = append(l.expired, now.Sub(l.start))
			return true
		}
		if next.IsZero() || d.Before(next) {
			next = d
		}
		return false
	})
	if l.during != nil {
		l.during()
	}
	return next, nil
}

func (l *ledger) add(d time.Duration) time.Time {
	t := l.start.Add(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadlines = append(l.deadlines, t)
	return t
}

func TestSweep_Run(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name     string
		known    []time.Duration // deadlines at the start
		told     map[time.Duration]time.Duration
		untold   map[time.Duration]time.Duration // committed, but the wake-up is missed
		failures int
		runs     time.Duration
		want     []time.Duration
		looks    int
	}{
		{name: "nothing is due: a look every half minute", runs: 95 * time.Second, looks: 4},
		{name: "missed while down", known: []time.Duration{-time.Hour, -ms}, runs: time.Second, want: []time.Duration{0, 0}, looks: 1},
		{name: "known at the start", known: []time.Duration{7 * time.Second}, runs: 8 * time.Second, want: []time.Duration{7 * time.Second}, looks: 2},
		{
			name: "told of an earlier one while asleep", known: []time.Duration{20 * time.Second},
			told: map[time.Duration]time.Duration{3 * time.Second: 5 * time.Second},
			runs: 21 * time.Second, want: []time.Duration{5 * time.Second, 20 * time.Second}, looks: 3,
		},
		{
			name: "told of a later one", known: []time.Duration{5 * time.Second},
			told: map[time.Duration]time.Duration{3 * time.Second: 9 * time.Second},
			runs: 10 * time.Second, want: []time.Duration{5 * time.Second, 9 * time.Second}, looks: 3,
		},
		{
			name: "told of one that is due already",
			told: map[time.Duration]time.Duration{3 * time.Second: 2 * time.Second},
			runs: 10 * time.Second, want: []time.Duration{3 * time.Second}, looks: 2,
		},
		{
			name:   "a missed wake-up costs half a minute at most",
			untold: map[time.Duration]time.Duration{3 * time.Second: 4 * time.Second},
			runs:   35 * time.Second, want: []time.Duration{30 * time.Second}, looks: 2,
		},
		{
			name: "further than the longest sleep", known: []time.Duration{45 * time.Second},
			runs: 46 * time.Second, want: []time.Duration{45 * time.Second}, looks: 3,
		},
		{
			name: "failures are tried again with growing pauses", known: []time.Duration{0}, failures: 3,
			runs: 10 * time.Second, want: []time.Duration{(250 + 500 + 1000) * ms}, looks: 4,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &ledger{start: time.Now(), failures: tt.failures}
				for _, d := range tt.known {
					l.add(d)
				}
				s := newSweep(newChore(l.expire, "not expired", slog.New(slog.DiscardHandler)))
				for at, d := range tt.told {
					time.AfterFunc(at, func() { s.Deadline(l.add(d)) })
				}
				for at, d := range tt.untold {
					time.AfterFunc(at, func() { l.add(d) })
				}
				ctx, stop := context.WithTimeout(t.Context(), tt.runs)
				defer stop()
				if err := s.Run(ctx); err != nil {
					t.Errorf("got %v, want nil", err)
				}
				if !slices.Equal(l.expired, tt.want) {
					t.Errorf("expired at %v, want %v", l.expired, tt.want)
				}
				if len(l.looks) != tt.looks {
					t.Errorf("looked at %v, want %d looks", l.looks, tt.looks)
				}
			})
		})
	}
}

// A deadline that is committed while a look is on its way is not in the look's
// answer; what was told of it must not be lost.
func TestSweep_DeadlineDuringALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{start: time.Now()}
		s := newSweep(newChore(l.expire, "not expired", slog.New(slog.DiscardHandler)))
		l.during = func() {
			if len(l.looks) == 1 {
				d := l.start.Add(2 * time.Second)
				l.deadlines = append(l.deadlines, d)
				s.Deadline(d)
			}
		}
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{2 * time.Second}; !slices.Equal(l.expired, want) {
			t.Errorf("expired at %v, want %v", l.expired, want)
		}
	})
}

// TestSweep_choresOfTheirOwn: what one chore has to do, and that it fails, does
// not make another one late.
func TestSweep_choresOfTheirOwn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		slow func(context.Context) (time.Time, error)
	}{
		{"a chore that fails", func(context.Context) (time.Time, error) { return time.Time{}, errors.New("disk full") }},
		{"a chore that takes long", func(context.Context) (time.Time, error) { time.Sleep(time.Minute); return time.Time{}, nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &ledger{start: time.Now()}
				l.add(3 * time.Second)
				quiet := slog.New(slog.DiscardHandler)
				s := newSweep(newChore(tt.slow, "failed", quiet), newChore(l.expire, "not expired", quiet))
				time.AfterFunc(4*time.Second, func() { s.Deadline(l.add(5 * time.Second)) })
				ctx, stop := context.WithTimeout(t.Context(), 6*time.Second)
				defer stop()
				if err := s.Run(ctx); err != nil {
					t.Errorf("got %v, want nil", err)
				}
				if want := []time.Duration{3 * time.Second, 5 * time.Second}; !slices.Equal(l.expired, want) {
					t.Errorf("expired at %v, want %v", l.expired, want)
				}
			})
		})
	}
}

func TestSweep_stopsWhenAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := newSweep(newChore(func(ctx context.Context) (time.Time, error) {
			<-ctx.Done() // a store that is busy until then
			return time.Time{}, ctx.Err()
		}, "not expired", slog.New(slog.DiscardHandler)))
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}
