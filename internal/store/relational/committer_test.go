package relational

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// hold keeps the committer busy inside a transaction until release is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	end := holdOpen(s)
	return func() {
		t.Helper()
		if err := end(); err != nil {
			t.Errorf("the write that held the others: %v", err)
		}
	}
}

// holdOpen is hold for a write that may fail: its release returns the error.
func holdOpen(s *Store) (release func() error) {
	began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.write(context.Background(), func(*tx) error {
			close(began)
			<-gate
			return nil
		})
	}()
	<-began
	return func() error {
		close(gate)
		return <-done
	}
}

// queued waits until n writes wait.
func queued(s *Store, n int) {
	for {
		s.writes.mu.Lock()
		have := len(s.writes.list)
		s.writes.mu.Unlock()
		if have >= n {
			return
		}
		runtime.Gosched()
	}
}

// names returns the IDs of all applications, in order.
func names(t *testing.T, s *Store) []string {
	t.Helper()
	list, _, err := s.Applications(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range list {
		ids = append(ids, string(a.ID))
	}
	slices.Sort(ids)
	return ids
}

func put(id string) func(*tx) error {
	return func(t *tx) error {
		return t.PutApplication(access.Application{ID: access.ID(id), Name: id, CreatedAt: start, UpdatedAt: start})
	}
}

func TestCommitter_writesThatArriveTogetherShareOneCommit(t *testing.T) {
	t.Parallel()
	var commits, rows atomic.Int64
	s := openStore(t, folder{Dir: t.TempDir(), OnCommit: func(n int, _ time.Duration, err error) {
		if err != nil {
			t.Error(err)
		}
		commits.Add(1)
		rows.Add(int64(n))
	}})
	release := hold(t, s)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := s.write(t.Context(), put(fmt.Sprint("app_", i))); err != nil {
				t.Error(err)
			}
		})
	}
	queued(s, 50)
	release()
	wg.Wait()
	if commits.Load() != 1 || rows.Load() != 50 {
		t.Errorf("got %d commits of %d rows, want 1 of 50", commits.Load(), rows.Load())
	}
	if got := names(t, s); len(got) != 50 {
		t.Errorf("got %d applications, want 50", len(got))
	}
}

func TestCommitter_groupIsClosedByWeight(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		write    func(t *tx, i int) error
		writes   int
		atLeast  int64
		rowsMost int64
	}{
		{"by rows", func(t *tx, i int) error {
			for k := range 64 {
				if err := put(fmt.Sprintf("app_%d_%d", i, k))(t); err != nil {
					return err
				}
			}
			return nil
		}, 16, 4, groupRows + 64},
		{"by bytes", func(t *tx, i int) error {
			e := someEvent("app_big", fmt.Sprint("con_", i))
			e.Body = make([]byte, 300<<10)
			return t.Publish(e)
		}, 16, 4, groupRows},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var commits, most atomic.Int64
			s := openStore(t, folder{Dir: t.TempDir(), OnCommit: func(n int, _ time.Duration, _ error) {
				commits.Add(1)
				most.Store(max(most.Load(), int64(n)))
			}})
			addApp(t, s, "app_big")
			commits.Store(0)
			release := hold(t, s)
			var wg sync.WaitGroup
			for i := range tt.writes {
				wg.Go(func() {
					if err := s.write(t.Context(), func(t *tx) error { return tt.write(t, i) }); err != nil {
						t.Error(err)
					}
				})
			}
			queued(s, tt.writes)
			release()
			wg.Wait()
			if commits.Load() < tt.atLeast || commits.Load() >= int64(tt.writes) || most.Load() > tt.rowsMost {
				t.Errorf("got %d commits of at most %d rows, want %d..%d of at most %d",
					commits.Load(), most.Load(), tt.atLeast, tt.writes-1, tt.rowsMost)
			}
		})
	}
}

func TestCommitter_failureStaysAlone(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	fail := func(how string) func(*tx) error {
		return func(t *tx) error {
			if err := put("app_failed_" + how)(t); err != nil {
				return err
			}
			if err := t.Publish(someEvent(access.ID("app_failed_"+how), "con_1")); err != nil {
				return err
			}
			switch how {
			case "panics":
				panic("a secret")
			case "passes a fault":
				return notFound()
			case "breaks a constraint":
				_, err := t.exec("INSERT INTO application (app_id, name, created_at, updated_at) VALUES (?, '', 0, 0)", "app_failed_"+how)
				return err
			case "sends bad SQL":
				_, err := t.exec("INSERT INTO nowhere VALUES (1)")
				return err
			}
			return mine
		}
	}
	tests := []struct {
		how  string
		want func(error) bool
	}{
		{"returns", func(err error) bool { return err == mine }}, //nolint:errorlint // unchanged means the very same
		{"panics", func(err error) bool { return err != nil && fault.KindOf(err) == fault.Internal }},
		{"passes a fault", func(err error) bool { return fault.CodeOf(err) == "not_found" }},
		{"breaks a constraint", func(err error) bool { return err != nil && fault.KindOf(err) == fault.Internal }},
		{"sends bad SQL", func(err error) bool { return err != nil && fault.KindOf(err) == fault.Internal }},
	}
	for _, tt := range tests {
		for _, place := range []string{"alone", "first", "in the middle", "last"} {
			t.Run(tt.how+" "+place, func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				var release func()
				var wg sync.WaitGroup
				n := 0
				later := func(fn func(*tx) error, check func(error)) {
					wg.Go(func() { check(s.write(t.Context(), fn)) })
					n++
					queued(s, n)
				}
				good := func(id string) {
					later(put(id), func(err error) {
						if err != nil {
							t.Errorf("%s: got %v, want it committed", id, err)
						}
					})
				}
				bad := func() {
					later(fail(tt.how), func(err error) {
						if !tt.want(err) {
							t.Errorf("got %v, want the failure's own error", err)
						}
					})
				}
				want := []string{"app_a", "app_b"}
				if place == "alone" || place == "first" { // nothing holds a savepoint for it
					if err := s.write(t.Context(), fail(tt.how)); !tt.want(err) {
						t.Errorf("got %v, want the failure's own error", err)
					}
				}
				if place == "alone" {
					want = nil
				} else {
					release = hold(t, s)
					good("app_a")
					if place == "in the middle" {
						bad()
						bad()
					}
					good("app_b")
					if place == "last" {
						bad()
					}
					release()
					wg.Wait()
				}
				if got := names(t, s); !slices.Equal(got, want) {
					t.Errorf("got %q kept, want %q", got, want)
				}
				// The store goes on, and what was undone leaves no key behind.
				update(t, s, func(tx store.Tx) error {
					if err := tx.PutApplication(access.Application{ID: "app_z", CreatedAt: start, UpdatedAt: start}); err != nil {
						return err
					}
					if err := tx.Publish(someEvent("app_failed_"+access.ID(tt.how), "con_1")); fault.KindOf(err) != fault.NotFound {
						t.Errorf("got %v, want the undone application to be unknown", err)
					}
					return tx.Publish(someEvent("app_z", "con_1"))
				})
				if e, _, err := s.Events(t.Context(), "app_z", store.EventQuery{}); err != nil || len(e) != 1 || e[0].Seq != 1 {
					t.Errorf("got %v, %v, want one event at place 1", e, err)
				}
				if err := s.Ping(t.Context()); err != nil {
					t.Errorf("got %v, want the store to be well", err)
				}
			})
		}
	}
}

func TestCommitter_contextThatEnds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.write(ctx, put("app_cancelled")) }()
	queued(s, 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) { // before its turn, so at once
		t.Errorf("got %v, want the context's end", err)
	}
	release()
	if err := s.write(ctx, put("app_late")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err := s.write(ctx, func(t *tx) error {
		cancel()
		return put("app_running")(t)
	})
	if err != nil {
		t.Errorf("got %v, want the result of a write that ran", err)
	}
	if got, want := names(t, s), []string{"app_running"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCommitter_fullQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	release := hold(t, s)
	var wg sync.WaitGroup
	for range maxQueue {
		wg.Go(func() {
			if err := s.write(t.Context(), func(*tx) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	queued(s, maxQueue)
	err := s.write(t.Context(), put("app_1"))
	wantKind(t, err, fault.Unavailable, "busy")
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.RetryAfter <= 0 {
		t.Errorf("got %v, want a time to wait", err)
	}
	release()
	wg.Wait()
	if err := s.write(t.Context(), put("app_1")); err != nil {
		t.Errorf("got %v, want the queue to be open again", err)
	}
}

func TestCommitter_anotherProgramHoldsTheFile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	locked := openRaw(t, fileOf(t, s))
	if _, err := locked.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.write(t.Context(), put("app_1")), fault.Unavailable, "busy")
	if _, err := locked.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), put("app_1")); err != nil {
		t.Errorf("got %v, want the store to go on", err)
	}
}

func TestCommitter_functionThatEndsTheGoroutine(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wantKind(t, s.write(t.Context(), func(*tx) error { runtime.Goexit(); return nil }), fault.Unavailable, "store_failed")
	if err := s.write(t.Context(), put("app_1")); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want no write to hang or to succeed", err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("ping: got nil, want the failure")
	}
}

func TestCommitter_tellsWhatACommitTouched(t *testing.T) {
	t.Parallel()
	events := map[event.Type]int{}
	s := openStore(t, folder{Dir: t.TempDir(), OnEvent: func(t event.Type, n int) { events[t] += n }})
	addApp(t, s, "app_1")
	addApp(t, s, "app_2")
	var got []store.Change
	s.Watch(func(c store.Change) { got = append(got, c) })
	release := hold(t, s)
	var wg sync.WaitGroup
	deadlines := []int{7, 3, 9}
	for i, m := range deadlines {
		wg.Go(func() {
			c := fullConsent(access.ID(fmt.Sprint("app_", 1+i%2)), fmt.Sprint("con_", i))
			c.Deadline = start.Add(time.Duration(m) * time.Minute)
			e, x := someEvent(access.ID(c.Application), string(c.ID)), someEvent(access.ID(c.Application), string(c.ID))
			x.Type = event.ConsentApproved
			err := s.write(t.Context(), func(t *tx) error { return t.PutConsent(c, e, x) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { // what fails is told to nobody
		c := fullConsent("app_2", "con_failed")
		c.Deadline = start
		_ = s.write(t.Context(), func(t *tx) error {
			return errors.Join(t.PutConsent(c, someEvent("app_2", "con_failed")), errors.New("no"))
		})
	})
	queued(s, 4)
	release()
	wg.Wait()
	if len(got) != 1 || !slices.Equal(got[0].Applications, []access.ID{"app_1", "app_2"}) || len(got[0].Endpoints) != 0 || !got[0].Deadline.Equal(start.Add(3*time.Minute)) {
		t.Errorf("got %+v, want one change of app_1 and app_2 with the earliest deadline", got)
	}
	if events[event.ConsentCreated] != 3 || events[event.ConsentApproved] != 3 || len(events) != 2 {
		t.Errorf("got %v logged, want 3 created and 3 approved", events)
	}
	got = nil
	update(t, s, func(store.Tx) error { return nil })
	if got != nil {
		t.Errorf("got %+v told of an empty transaction", got)
	}
}

func TestCommitter_closeFinishesWhatIsQueued(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, folder{Dir: dir})
	release := hold(t, s)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.write(t.Context(), put(fmt.Sprint("app_", i))); err != nil {
				t.Error(err)
			}
		})
	}
	queued(s, 20)
	closing := make(chan error, 1)
	go func() { closing <- s.Close() }()
	release()
	wg.Wait()
	if err := <-closing; err != nil {
		t.Error(err)
	}
	wantKind(t, s.write(t.Context(), put("app_x")), fault.Unavailable, "store_closed")
	_, err := s.Application(t.Context(), "app_1")
	wantKind(t, err, fault.Unavailable, "store_closed")
	if got := names(t, openStore(t, folder{Dir: dir})); len(got) != 20 {
		t.Errorf("got %d applications after the close, want 20", len(got))
	}
}

// TestStore_manyWritersAndReaders is for the race detector, and for the rule
// that a snapshot never shows a consent without its events.
func TestStore_manyWritersAndReaders(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	addApp(t, s, "app_1")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				c := fullConsent("app_1", fmt.Sprintf("con_%d_%d", w, i))
				e := someEvent("app_1", string(c.ID))
				if err := s.write(t.Context(), func(t *tx) error { return t.PutConsent(c, e) }); err != nil {
					t.Error(err)
				}
				err := s.read(t.Context(), func(r *reader) error {
					var consents, events, last int
					if err := r.get([]any{&consents}, "SELECT COUNT(*) FROM consent"); err != nil {
						return err
					}
					if err := r.get([]any{&events, &last}, "SELECT COUNT(*), MAX(seq) FROM event"); err != nil {
						return err
					}
					if consents != events || events != last {
						t.Errorf("got %d consents, %d events up to %d in one snapshot", consents, events, last)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if got, err := s.Consent(t.Context(), "app_1", c.ConsentID); err != nil || got.ID != consent.ID(fmt.Sprintf("con_%d_%d", w, i)) {
					t.Errorf("got %v, %v of a consent that was acknowledged", got.ID, err)
				}
			}
		})
	}
	wg.Wait()
}
