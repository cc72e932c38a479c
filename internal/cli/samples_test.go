package cli

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/config"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
)

// Every step of the story is allowed, round after round, and together they
// show all that can happen to a consent, and a citizen's permissions.
func TestSamples_story(t *testing.T) {
	t.Parallel()
	n, err := newNode(t.Context(), config.Config{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), RetrySchedule: []time.Duration{time.Second},
		ConsentApprovalTTL: time.Hour, ConsentConsumptionTTL: time.Hour,
	}, slog.New(slog.DiscardHandler), listen)
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	d, err := n.ensureDemo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := policy(n.cfg)
	p.ApprovalTTL = time.Millisecond
	s := newSamples(n.app, app.New(app.Options{Store: n.store, Policy: p}), slog.New(slog.DiscardHandler), d.app)
	for range 3 * len(s.story) {
		if err := s.step(t.Context()); err != nil {
			t.Errorf("step %d: %v", s.next-1, err)
		}
	}
	<-time.After(2 * time.Millisecond) // the brief ones are due
	if _, err := n.app.ExpireDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	evts, _, err := n.store.Events(t.Context(), d.app, store.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(event.Lifecycle(), event.PermissionsEffective, event.CitizenEmail) {
		if !slices.ContainsFunc(evts, func(e event.Event) bool { return e.Type == want }) {
			t.Errorf("no sample shows %s", want)
		}
	}
}

// The samples never grow without end, whatever is forgotten in a terminal.
func TestSamples_end(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		s := &samples{log: slog.New(slog.DiscardHandler), story: []chapter{{"", func(context.Context, string) error { taken++; return nil }}}}
		begin := time.Now()
		s.run(t.Context())
		if took := time.Since(begin); taken != busySteps+calmSteps || took < 24*time.Hour || took > 25*time.Hour {
			t.Errorf("got %d steps in %v, want %d in about a day", taken, took, busySteps+calmSteps)
		}
	})
}
