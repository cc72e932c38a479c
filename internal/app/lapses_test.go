package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/storetest"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/sweep"
)

// sweeping runs the sweep over the world's store, as a server does, until stop
// is called.
func (w *world) sweeping() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	s := sweep.New(w.App, slog.New(slog.DiscardHandler))
	s.Recheck = 6 * time.Hour // what is due wakes it
	w.store.Watch(func(c store.Change) { s.Deadline(c.Deadline) })
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// wantAt checks when an event occurred, and that it was recorded within a
// second of a time.
func (w *world) wantAt(e event.Event, occurred, recorded time.Time) {
	w.t.Helper()
	if late := e.RecordedAt.Sub(recorded); !e.OccurredAt.Equal(occurred) || late < 0 || late > time.Second {
		w.t.Errorf("%s occurred at %s and was recorded at %s, want %s and within a second of %s", w.told(e), e.OccurredAt, e.RecordedAt, occurred, recorded)
	}
}

func TestLapses(t *testing.T) {
	t.Parallel()
	const window = 90 * time.Minute
	lapsing := func(at time.Time) permission.ChangeDraft {
		c := change(mailing, permission.Granted)
		c.ValidUntil = &at
		return c
	}
	beginning := func(at time.Time) permission.ChangeDraft {
		c := change(mailing, permission.Granted)
		c.ValidFrom = &at
		return c
	}
	tests := []struct {
		name   string
		change func(at time.Time) permission.ChangeDraft
		first  []string // told by the transaction
		then   []string // told at the instant
	}{
		{"validUntil", lapsing, []string{"delta mailing=GRANTED", "effective mailing=GRANTED"}, []string{"delta mailing=null", "effective mailing=null"}},
		{"validFrom", beginning, []string{"effective"}, []string{"delta mailing=GRANTED", "effective mailing=GRANTED"}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" comes while the server runs", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.configure()
				w.hearAll()
				defer w.sweeping()()
				time.Sleep(7 * time.Second) // the sweep is asleep, and knows of nothing
				at := time.Now().UTC().Add(window + 123*time.Millisecond)
				w.record(by("crm-1", tt.change(at)))
				time.Sleep(window + 122*time.Millisecond)
				synctest.Wait()
				w.wantTold(tt.first...)
				time.Sleep(time.Second)
				synctest.Wait()
				w.wantTold(append(tt.first, tt.then...)...)
				for _, e := range w.events(w.app)[len(tt.first):] {
					w.wantAt(e, at, at)
				}
			})
		})
		t.Run(tt.name+" came while it was down", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.configure()
				w.hearAll()
				at := time.Now().UTC().Add(window)
				w.record(by("crm-1", tt.change(at)))
				time.Sleep(3 * window)
				w.restart()
				start := time.Now()
				defer w.sweeping()()
				time.Sleep(time.Second)
				synctest.Wait()
				w.wantTold(append(tt.first, tt.then...)...)
				for _, e := range w.events(w.app)[len(tt.first):] {
					w.wantAt(e, at, start)
				}
				if next, err := w.AdvanceDue(w.ctx); err != nil || !next.IsZero() {
					t.Errorf("got the next lapse %s, %v, want none", next, err)
				}
			})
		})
	}
}

// TestLapses_eachOfItsOwn: what lapsed and began while nobody looked are
// updates of their own, in the order in which they happened.
func TestLapses_eachOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		t0 := time.Now().UTC()
		first, second := change(mailing, permission.Granted), change(phoning, permission.Granted)
		first.ValidUntil = ptr(t0.Add(2 * time.Hour))
		second.ValidFrom, second.ValidUntil = ptr(t0.Add(time.Hour)), ptr(t0.Add(3*time.Hour))
		w.record(by("crm-1", first, second))
		if next, err := w.AdvanceDue(w.ctx); err != nil || !next.Equal(t0.Add(time.Hour)) {
			t.Errorf("got the next lapse %s, %v, want %s", next, err, t0.Add(time.Hour))
		}
		time.Sleep(24 * time.Hour)
		// A read shows the end at once, and makes nothing happen.
		if _, v := w.now("crm-1"); len(v.Permissions) != 2 || !v.Permissions[0].Lapsed || !v.Permissions[1].Lapsed {
			t.Errorf("got %+v, want both lapsed", v.Permissions)
		}
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED")
		if _, err := w.AdvanceDue(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.wantTold("delta mailing=GRANTED", "effective mailing=GRANTED",
			"delta phoning=GRANTED", "effective mailing=GRANTED phoning=GRANTED",
			"delta mailing=null", "effective mailing=null phoning=GRANTED",
			"delta phoning=null", "effective mailing=null phoning=null")
		for i, e := range w.events(w.app)[2:] {
			w.wantAt(e, t0.Add(time.Duration(1+i/2)*time.Hour), time.Now().UTC())
		}
		if c, _ := w.now("crm-1"); c.Version != 4 {
			t.Errorf("got version %d after a transaction and three instants, want 4", c.Version)
		}
	})
}

// TestAdvanceDue_moreThanABatch: two look at once, as two nodes may; each
// citizen lapses once.
func TestAdvanceDue_moreThanABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hearAll()
		const n = 250
		for i := range n {
			c := change(mailing, permission.Granted)
			c.ValidUntil = ptr(time.Now().Add(time.Hour))
			w.record(by(fmt.Sprintf("crm-%d", i), c))
		}
		time.Sleep(time.Hour)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := w.AdvanceDue(w.ctx)
				wantNone(t, err)
			})
		}
		wg.Wait()
		lapsed := map[string]int{}
		for _, e := range w.events(w.app) {
			if w.told(e) == "delta mailing=null" {
				lapsed[e.Subject]++
			}
		}
		for subject, times := range lapsed {
			if times != 1 {
				t.Errorf("%s lapsed %d times, want once", subject, times)
			}
		}
		if len(lapsed) != n {
			t.Errorf("%d citizens lapsed, want %d", len(lapsed), n)
		}
	})
}

// listing is a store in which something happens between a list of those who
// are due and what becomes of them.
type listing struct {
	*storetest.Faulty
	behind  func() // called once; nil: nothing happens
	log     func() int
	batches []int // by how much each transaction made the log grow
}

func (s *listing) DueCitizens(ctx context.Context, now time.Time, limit int) ([]store.CitizenRef, error) {
	due, err := s.Faulty.DueCitizens(ctx, now, limit)
	if fn := s.behind; fn != nil {
		s.behind = nil
		fn()
	}
	return due, err
}

func (s *listing) Update(ctx context.Context, fn func(store.Tx) error) error {
	before := s.log()
	err := s.Faulty.Update(ctx, fn)
	s.batches = append(s.batches, s.log()-before)
	return err
}

// TestAdvanceDue_turns: what lapses at one instant is written in parts, so that
// others have their turn between them.
func TestAdvanceDue_turns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		w.hear(subscription.EffectivePermission)
		const n, most = 450, 100
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf(`{"externalRef":"crm-%d","changes":[{"optionId":%q,"justification":"consent","state":"GRANTED","validUntil":%q}]}`,
				i, mailing, event.Format(time.Now().Add(time.Hour))))
		}
		if _, err := w.bring(app.ImportRequest{Silent: true}, lines...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s := &listing{Faulty: w.store, log: func() int { return len(w.events(w.app)) }}
		if next, err := w.over(s).AdvanceDue(w.ctx); err != nil || !next.IsZero() {
			t.Errorf("got the next lapse %s, %v, want none", next, err)
		}
		all := 0
		for _, b := range s.batches {
			all += b
			if b > most {
				t.Errorf("a transaction let %d citizens lapse, want at most %d", b, most)
			}
		}
		if all != n {
			t.Errorf("%d citizens lapsed, want %d", all, n)
		}
	})
}

// TestAdvanceDue_meanwhile: those who are due may go, or lapse by another hand,
// before their turn comes.
func TestAdvanceDue_meanwhile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		meanwhile func(w *world, other access.ID)
		want      []string // told to the application that stays, at the instant
	}{
		{"nothing happens", func(*world, access.ID) {}, []string{"delta mailing=null", "effective mailing=null"}},
		{"another application is deleted", func(w *world, other access.ID) {
			wantNone(w.t, w.DeleteApplication(w.ctx, other))
		}, []string{"delta mailing=null", "effective mailing=null"}},
		{"another one does it all", func(w *world, _ access.ID) {
			_, err := w.AdvanceDue(w.ctx)
			wantNone(w.t, err)
		}, []string{"delta mailing=null", "effective mailing=null"}},
		{"the citizen denies it", func(w *world, _ access.ID) {
			w.record(by("crm-1", change(mailing, permission.Denied)))
		}, []string{"delta mailing=null", "effective mailing=null", "delta mailing=DENIED", "effective mailing=DENIED"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				stays := w.app
				other, _, _ := w.application("Shop")
				until := time.Now().UTC().Add(time.Hour)
				for _, w.app = range []access.ID{other, stays} {
					w.configure()
					w.hearAll()
					c := change(mailing, permission.Granted)
					c.ValidUntil = &until
					w.record(by("crm-1", c))
				}
				time.Sleep(time.Hour + time.Minute)
				s := &listing{Faulty: w.store, behind: func() { tt.meanwhile(w, other) }, log: func() int { return 0 }}
				if next, err := w.over(s).AdvanceDue(w.ctx); err != nil || !next.IsZero() {
					t.Errorf("got the next lapse %s, %v, want none", next, err)
				}
				w.wantTold(append([]string{"delta mailing=GRANTED", "effective mailing=GRANTED"}, tt.want...)...)
				for i, e := range w.events(w.app) {
					if i == 2 || i == 3 {
						w.wantAt(e, until, time.Now())
					}
				}
			})
		})
	}
}
