package app_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/sweep"
)

// keeping returns the use cases of a server that keeps so much.
func (w *world) keeping(k app.Retention) *app.App {
	return app.New(app.Options{Store: w.store, Policy: ttls, Operator: operator, Retention: k, Pruned: func(p store.Pruned) { w.taken.Events += p.Events; w.taken.Lost += p.Lost }})
}

// TestRetain: over some short days a sweep lets go what is kept no longer.
func TestRetain(t *testing.T) {
	t.Parallel()
	const day, look = 2 * time.Hour, 10 * time.Minute // short days
	for name, tt := range map[string]struct {
		keep app.Retention
		wait bool // an endpoint waits for all that happens from the fifth day on
		ok   func(oldest time.Duration, left int) bool
	}{
		"everything is kept": {app.Retention{}, false, func(oldest time.Duration, left int) bool { return left > 20 && oldest > 9*day }},
		"by age": {app.Retention{For: 3 * day}, false, func(oldest time.Duration, left int) bool {
			return left > 0 && oldest > 2*day && oldest <= 3*day+look
		}},
		"by size":            {app.Retention{Bytes: 1}, false, func(_ time.Duration, left int) bool { return left == 0 }},
		"below the size":     {app.Retention{Bytes: 1 << 30}, false, func(oldest time.Duration, left int) bool { return left > 20 && oldest > 9*day }},
		"what waits is kept": {app.Retention{For: day, Bytes: 1}, true, func(oldest time.Duration, left int) bool { return left > 0 && oldest > 4*day && oldest <= 6*day }},
		"what waits is lost": {app.Retention{For: day, Lossy: true}, true, func(oldest time.Duration, left int) bool { return left > 0 && oldest <= day+look }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ctx, cancel := context.WithCancel(w.ctx)
				done := make(chan error)
				a := w.keeping(tt.keep)
				s := sweep.New(a, slog.New(slog.DiscardHandler))
				s.Recheck = look
				w.store.Watch(func(c store.Change) { s.Deadline(c.Deadline) })
				go func() { done <- s.Run(ctx) }()
				all := 0
				for i := range 10 {
					if i == 5 && tt.wait {
						w.register(interceptor("https://down.example/"))
					}
					w.create(request())
					all += 3 // received, created, and expired within the day
					time.Sleep(day)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				list, _, err := w.store.Events(w.ctx, w.app, store.EventQuery{Limit: 100})
				if err != nil {
					t.Fatal(err)
				}
				var oldest time.Duration
				if len(list) > 0 {
					oldest = time.Since(list[0].RecordedAt)
				}
				if !tt.ok(oldest, len(list)) {
					t.Errorf("got %d of %d events left, the oldest %v old", len(list), all, oldest)
				}
				if got := w.taken.Events; got != all-len(list) {
					t.Errorf("was told of %d events that went, want %d", got, all-len(list))
				}
				if lost := tt.wait && tt.keep.Lossy; lost != (w.taken.Lost > 0) {
					t.Errorf("was told of %d deliveries that were lost", w.taken.Lost)
				}
			})
		})
	}
}

// TestRetain_fails: a step that fails says so, and the next one goes on.
func TestRetain_fails(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"Prune", "Size", "Oldest"} {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.create(request())
				time.Sleep(24 * time.Hour)
				a := w.keeping(app.Retention{Bytes: 1})
				w.store.FailAt(call, 1, after)
				if _, err := a.Retain(w.ctx); err == nil {
					t.Errorf("%s, after its effect %t: got no error", call, after)
				}
				for range 5 {
					if _, err := a.Retain(w.ctx); err != nil {
						t.Fatal(err)
					}
				}
				if list, _, err := w.store.Events(w.ctx, w.app, store.EventQuery{Limit: 100}); err != nil || len(list) > 0 {
					t.Errorf("%s, after its effect %t: got %d events left, %v, want none", call, after, len(list), err)
				}
			})
		}
	}
}
