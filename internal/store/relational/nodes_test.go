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
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
	"github.com/consentwire/consentwire/internal/subscription"
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
	pgtest.Wait(t, "reads after the restart", func() bool { return nodes[0].Ping(t.Context()) == nil && nodes[1].Ping(t.Context()) == nil })
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

// TestNodes_commitLost: when the answer to a commit is lost the callers hear that
// the outcome is unknown, whichever it is, and the store goes on.
func TestNodes_commitLost(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	proxy := pgtest.NewProxy(t, url)
	s, other := openNode(t, proxy.URL()), openNode(t, url)
	addApp(t, s, "app_1")
	addApp(t, s, "app_2") // behind what the committer does when it is idle for the first time
	told := make(chan store.Change, 64)
	s.Watch(func(c store.Change) { told <- c })
	logged := 0
	for _, tt := range []struct {
		at   pgtest.Cut
		done bool
	}{{pgtest.BeforeCommit, false}, {pgtest.AfterCommit, true}, {pgtest.BeforeCommit, false}, {pgtest.AfterCommit, true}} {
		proxy.Cut(tt.at)
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Publish(someEvent("app_1", "con_1")) })
		if fault.CodeOf(err) != "outcome_unknown" || fault.KindOf(err) != fault.Unavailable {
			t.Errorf("got %v, want outcome_unknown", err)
		}
		if tt.done {
			logged++
		}
		select {
		case c := <-told:
			if !slices.Contains(c.Applications, "app_1") {
				t.Errorf("got %+v, want the watchers to be told of what may have been done", c)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the watchers were not told")
		}
		pgtest.Wait(t, "the server to end", func() bool {
			list, _, err := other.Events(t.Context(), "app_1", store.EventQuery{})
			return err == nil && len(list) == logged
		})
		update(t, s, func(tx store.Tx) error { return tx.Publish(someEvent("app_1", "con_1")) })
		logged++
		<-told
	}
	if got := len(wholeLog(t, other, "app_1")); got != logged {
		t.Errorf("got %d events, want %d", got, logged)
	}
}

// TestNodes_nothingStale: what one node changed the other sees in its next write
// and read, whatever it had seen before.
func TestNodes_nothingStale(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	nodes := []*Store{openNode(t, url), openNode(t, url)}
	addApp(t, nodes[0], benchApp)
	for i := range 10 {
		by, other := nodes[i%2], nodes[(i+1)%2]
		// An endpoint, its filter and its status.
		e := benchEndpoint("sub_bench")
		e.Version = int64(i + 1)
		e.EventTypes = []event.Type{event.WebhookStatusChanged, event.PermissionsEffective}[i%2 : i%2+1]
		update(t, by, func(tx store.Tx) error { return tx.PutEndpoint(e, delivery.Shown{}) })
		update(t, other, func(tx store.Tx) error {
			got, err := tx.Endpoint(benchApp, subscription.Subscription, "sub_bench")
			if err == nil && got.Version != e.Version {
				t.Errorf("got version %d of the endpoint, want %d", got.Version, e.Version)
			}
			return err
		})
		// The configuration.
		part := permission.Part{ID: fmt.Sprintf("part_%d", i), Kind: permission.Data, Name: fmt.Sprint(i)}
		update(t, by, func(tx store.Tx) error { return tx.PutPart(benchApp, part) })
		list, err := other.Parts(t.Context(), benchApp, permission.Data)
		if err != nil || len(list) != i+1 {
			t.Errorf("got %d parts, %v, want %d", len(list), err, i+1)
		}
		if i%2 == 0 {
			group := permission.Group{ID: permission.GroupID(fmt.Sprintf("grp_%d", i)), Name: fmt.Sprint(i)}
			update(t, by, func(tx store.Tx) error { return tx.PutGroup(benchApp, group) })
			for _, read := range []func() (*permission.Catalogue, error){
				func() (*permission.Catalogue, error) { return other.Catalogue(t.Context(), benchApp) },
				func() (c *permission.Catalogue, err error) {
					err = other.Update(t.Context(), func(tx store.Tx) error { c, err = tx.Catalogue(benchApp); return err })
					return c, err
				},
			} {
				c, err := read()
				if err != nil || len(c.Groups()) != i/2+1 {
					t.Errorf("got the configuration %+v, %v, want %d groups", c, err, i/2+1)
				}
			}
		}
		// The log and the chains.
		for _, s := range []*Store{by, other} {
			update(t, s, func(tx store.Tx) error {
				return tx.PutConsent(fullConsent(benchApp, id.New(id.Consent)), someEvent(benchApp, "con_1"))
			})
		}
	}
	wholeLog(t, nodes[1], benchApp)
}

// TestNodes_erased: the data keys of who was erased leave the memory of every
// node.
func TestNodes_erased(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	one, two := openNode(t, url), openNode(t, url)
	addApp(t, one, benchApp)
	update(t, one, func(tx store.Tx) error {
		if err := tx.PutEndpoint(benchEndpoint("sub_bench", event.ConsentCreated), delivery.Shown{}); err != nil {
			return err
		}
		return tx.PutConsent(fullConsent(benchApp, "con_1"), someEvent(benchApp, "con_1"))
	})
	page, err := two.Read(t.Context(), "sub_bench", 0, 10, 1<<20)
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("got %d events, %v, want one", len(page.Items), err)
	}
	knows := func() bool {
		one := two.seals.get(1, "con_1") != nil || two.keysBySubject.Get(1, "con_1") != nil
		two.opens.mu.Lock()
		defer two.opens.mu.Unlock()
		return one || len(two.opens.young)+len(two.opens.old) > 0
	}
	if !knows() {
		t.Fatal("the node does not know the key that it used")
	}
	update(t, one, func(tx store.Tx) error { return tx.Erase(benchApp, "con_1") })
	pgtest.Wait(t, "the key to be forgotten", func() bool { return !knows() })
}

// TestNodes_poll: a node that hears nothing of the others finds what they did.
func TestNodes_poll(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	proxy := pgtest.NewProxy(t, url)
	proxy.Deafen()
	one, two := openNode(t, url), openNode(t, proxy.URL())
	addApp(t, one, benchApp)
	var mu sync.Mutex
	var seen store.Change
	two.Watch(func(c store.Change) {
		mu.Lock()
		defer mu.Unlock()
		seen.Applications, seen.Endpoints = append(seen.Applications, c.Applications...), append(seen.Endpoints, c.Endpoints...)
	})
	found := func(what string, fn func() bool) {
		t.Helper()
		pgtest.Wait(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return fn()
		})
		mu.Lock()
		defer mu.Unlock()
		seen = store.Change{}
	}
	update(t, one, func(tx store.Tx) error { return tx.PutEndpoint(benchEndpoint("sub_bench"), delivery.Shown{}) })
	found("an endpoint", func() bool { return slices.Contains(seen.Endpoints, "sub_bench") })
	update(t, one, func(tx store.Tx) error { return tx.Publish(someEvent(benchApp, "con_1")) })
	found("an event", func() bool { return slices.Contains(seen.Applications, benchApp) })
	update(t, one, func(tx store.Tx) error { return tx.DeleteEndpoint(benchApp, "sub_bench", start) })
	found("that an endpoint is gone", func() bool { return slices.Contains(seen.Endpoints, "sub_bench") })
}

// TestNodes_firstStart: of nodes that start at once on an empty database one
// makes the store's keys, and all use them.
func TestNodes_firstStart(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	nodes := make([]*Store, 6)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			s, err := Open(t.Context(), postgres.Server{URL: url}, Options{Keys: testKeys(t, "k")})
			if err != nil {
				t.Error(err)
				return
			}
			nodes[i] = s
		})
	}
	wg.Wait()
	for _, s := range nodes {
		if s == nil {
			continue
		}
		if got, want := s.refHash("app_1", "x"), nodes[0].refHash("app_1", "x"); string(got) != string(want) {
			t.Error("got two keys of hashes, want one")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
