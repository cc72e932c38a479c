//go:build postgres

package relational

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// openNode opens one more node's store of a database.
func openNode(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), postgres.Server{URL: url}, Options{Keys: testKeys(t, "k")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wholeLog returns an application's log and fails unless it is dense, in order,
// and has every subject's sequence from 1 on.
func wholeLog(t *testing.T, s *Store, app access.ID) (ids []string) {
	t.Helper()
	sequences := map[string]int64{}
	for q := (store.EventQuery{Limit: 100}); ; {
		page, next, err := s.Events(t.Context(), app, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			if e.Seq != event.Seq(len(ids)+1) {
				t.Fatalf("%s: got place %d behind %d", app, e.Seq, len(ids))
			}
			if sequences[e.Subject]++; e.Sequence != sequences[e.Subject] {
				t.Fatalf("%s: got sequence %d of %s, want %d", app, e.Sequence, e.Subject, sequences[e.Subject])
			}
			ids = append(ids, e.ID)
		}
		if q.After = next; next == "" {
			break
		}
	}
	if a, err := s.Audit(t.Context(), app); err != nil || a.Events.BrokenAt != "" || a.Events.Records != int64(len(ids)) {
		t.Errorf("%s: got the audit %+v, %v, want %d records, intact", app, a, err, len(ids))
	}
	return ids
}

// TestNodes_oneLog: whoever writes, through whichever node, to one application or
// to several at once, each log is dense and in the order of its commits, and
// nothing that was acknowledged is missing.
func TestNodes_oneLog(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	nodes := []*Store{openNode(t, url), openNode(t, url), openNode(t, url)}
	apps := []access.ID{"app_1", "app_2", "app_3"}
	for _, app := range apps {
		addApp(t, nodes[0], app)
	}
	var mu sync.Mutex
	acknowledged := map[access.ID][]string{}
	var wg sync.WaitGroup
	for n, s := range nodes {
		for w := range 6 {
			wg.Go(func() {
				for i := range 30 {
					// One write touches two applications, in any order.
					touched := []access.ID{apps[(n+w+i)%len(apps)], apps[(w+2*i)%len(apps)]}
					evts := make([]event.Event, len(touched))
					for k, app := range touched {
						evts[k] = someEvent(app, fmt.Sprintf("con_%s_%d", app, (w+i)%5))
					}
					err := s.Update(context.Background(), func(tx store.Tx) error {
						for _, e := range evts {
							if err := tx.Publish(e); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						t.Errorf("node %d: %v", n, err)
						return
					}
					mu.Lock()
					for k, app := range touched {
						acknowledged[app] = append(acknowledged[app], evts[k].ID)
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for _, app := range apps {
		got := wholeLog(t, nodes[1], app)
		slices.Sort(got)
		want := acknowledged[app]
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %d events, want the %d that were acknowledged", app, len(got), len(want))
		}
	}
}

// TestNodes_hear: what one node commits the others are told of.
func TestNodes_hear(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	one, two := openNode(t, url), openNode(t, url)
	heard := make(chan store.Change, 64)
	two.Watch(func(c store.Change) { heard <- c })
	addApp(t, one, "app_1")
	update(t, one, func(tx store.Tx) error {
		return tx.PutConsent(fullConsent("app_1", "con_1"), someEvent("app_1", "con_1"))
	})
	deadline := time.After(10 * time.Second)
	for {
		select {
		case c := <-heard:
			if slices.Contains(c.Applications, "app_1") {
				return
			}
		case <-deadline:
			t.Fatal("the other node was not told")
		}
	}
}

// TestNodes_databaseRestarts: while the database is away callers are told so;
// when it is back the nodes go on, and what they acknowledged is there.
func TestNodes_databaseRestarts(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Own(t)
	url := cluster.Database(t)
	nodes := []*Store{openNode(t, url), openNode(t, url)}
	addApp(t, nodes[0], "app_1")
	var mu sync.Mutex
	acknowledged, unknownIDs := map[string]bool{}, map[string]bool{}
	var after atomic.Int64 // acknowledged since the last restart
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for n, s := range nodes {
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					e := someEvent("app_1", fmt.Sprintf("con_%d_%d", n, w))
					err := s.Update(context.Background(), func(tx store.Tx) error { return tx.Publish(e) })
					mu.Lock()
					switch {
					case err == nil:
						acknowledged[e.ID] = true
						after.Add(1)
					case fault.CodeOf(err) == "outcome_unknown":
						unknownIDs[e.ID] = true
					case fault.KindOf(err) != fault.Unavailable:
						t.Errorf("got %v, want the callers told to come back", err)
					}
					mu.Unlock()
				}
			})
		}
	}
	for _, how := range []string{"fast", "immediate"} {
		pgtest.Wait(t, "writes", func() bool { return after.Load() > 50 })
		if err := cluster.Stop(how); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Start(); err != nil {
			t.Fatal(err)
		}
		after.Store(0)
	}
	pgtest.Wait(t, "writes after the restart", func() bool { return after.Load() > 50 })
	stop()
	wg.Wait()
	got := map[string]bool{}
	for _, id := range wholeLog(t, nodes[0], "app_1") {
		got[id] = true
		if !acknowledged[id] && !unknownIDs[id] {
			t.Errorf("got %s, of which the caller was told that nothing was done", id)
		}
	}
	for id := range acknowledged {
		if !got[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	for _, s := range nodes {
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("ping: %v", err)
		}
	}
}
