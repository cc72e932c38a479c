package relational

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/subscription"
)

const engineApp = access.ID("app_engine")

// listener is a subscription that is told the listed types.
func listener(id subscription.ID, types ...event.Type) subscription.Endpoint {
	e := benchEndpoint(id, types...)
	e.Application = string(engineApp)
	return e
}

// engineStore opens a store with an application and endpoints.
func engineStore(t testing.TB, o folder, es ...subscription.Endpoint) *Store {
	t.Helper()
	s := openStore(t, o)
	addApp(t, s, engineApp)
	update(t, s, func(tx store.Tx) error {
		for _, e := range es {
			if err := tx.PutEndpoint(e, delivery.Shown{URL: e.URL}); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}

// happen logs one event for each subject, a second apart, and returns them.
func happen(t testing.TB, s *Store, n int, typ event.Type, subjects ...string) []event.Event {
	t.Helper()
	var evts []event.Event
	for _, subject := range subjects {
		n++
		at := start.Add(time.Duration(n) * time.Second)
		evts = append(evts, event.Event{
			ID: fmt.Sprintf("evt_%d", n), Application: string(engineApp), Feed: event.LifecycleData, Type: typ,
			Subject: subject, OccurredAt: at, RecordedAt: at, Body: fmt.Appendf(nil, `{"n":%d}`, n),
		})
	}
	update(t, s, func(tx store.Tx) error { return tx.Publish(evts...) })
	return evts
}

func openEndpoint(t testing.TB, s *Store, e delivery.Endpoint) delivery.Position {
	t.Helper()
	p, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func record(t testing.TB, s *Store, p delivery.Progress) delivery.Outcome {
	t.Helper()
	out, err := s.Record(t.Context(), []delivery.Progress{p})
	if err != nil || len(out) != 1 || out[0].Fenced {
		t.Fatalf("record: got %+v, %v, want one that is not fenced", out, err)
	}
	return out[0]
}

func tried(seq event.Seq, subject string, n int, delivered bool) delivery.Attempt {
	a := benchAttempt(delivery.Item{Seq: seq, Subject: subject}, n)
	if a.Delivered = delivered; !delivered {
		a.Status, a.Reason = 500, "the receiver answered 500"
	}
	return a
}

// statuses returns "place:status" of an endpoint's deliveries, oldest first.
func statuses(t testing.TB, s *Store, e subscription.ID) string {
	t.Helper()
	var out []string
	for _, v := range allDeliveries(t, s, store.DeliveryQuery{Endpoint: e, Limit: 100}) {
		out = append(out, fmt.Sprintf("%d:%s", v.Seq, v.Status))
	}
	slices.Reverse(out)
	return strings.Join(out, " ")
}

func allDeliveries(t testing.TB, s *Store, q store.DeliveryQuery) (all []delivery.View) {
	t.Helper()
	for range 100_000 {
		list, next, err := s.Deliveries(t.Context(), engineApp, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > q.Limit {
			t.Fatalf("got a page of %d, want at most %d", len(list), q.Limit)
		}
		if all = append(all, list...); next == "" {
			return all
		}
		q.After = next
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestRecord_aMemberThatFailsUndoesTheBatch(t *testing.T) {
	t.Parallel()
	s := engineStore(t, folder{Dir: t.TempDir()}, listener("sub_a", event.ConsentCreated), listener("sub_b", event.ConsentCreated))
	evts := happen(t, s, 0, event.ConsentCreated, "con_a", "con_b")
	a, b := openEndpoint(t, s, "sub_a"), openEndpoint(t, s, "sub_b")
	status := subscription.StatusChanged(listener("sub_b"), subscription.Active, start)
	status.ID, status.RecordedAt = evts[0].ID, start // it is taken, so it cannot be logged
	batch := []delivery.Progress{
		{
			Lease: a.Lease, At: start, Cursor: 2, Attempts: []delivery.Attempt{tried(1, "con_a", 1, true), tried(2, "con_b", 1, false)},
			Put:     []delivery.Exception{{Seq: 2, Subject: "con_b", State: delivery.WaitRetry, Tries: 1, NextAt: start.Add(time.Minute)}},
			Breaker: &delivery.Breaker{Failures: 1},
		},
		{Lease: b.Lease, At: start, Cursor: 1, Attempts: []delivery.Attempt{tried(1, "con_a", 1, true)}, Suspend: &delivery.Suspension{Reason: "gone", Events: []event.Event{status}}},
	}
	if out, err := s.Record(t.Context(), batch); err == nil {
		t.Fatalf("got %+v, want an error", out)
	}
	for _, e := range []subscription.ID{"sub_a", "sub_b"} {
		if got, want := statuses(t, s, e), "1:pending 2:pending"; got != want {
			t.Errorf("%s: got %s, want %s", e, got, want)
		}
		h, err := s.Health(t.Context(), engineApp, e)
		if err != nil || h.Backlog != 2 || h.Breaker.Failures != 0 {
			t.Errorf("%s: got %+v, %v, want a backlog of 2 and no failure", e, h, err)
		}
		c, err := s.Config(t.Context(), delivery.Endpoint(e))
		if err != nil || c.Status != subscription.Active {
			t.Errorf("%s: got status %s, %v, want it active", e, c.Status, err)
		}
	}

	batch[1].Suspend.Events[0].ID = "evt_status"
	if out, err := s.Record(t.Context(), batch); err != nil || out[0].Fenced || out[1].Fenced {
		t.Fatalf("the same without the fault: got %+v, %v", out, err)
	}
	if got, want := statuses(t, s, "sub_a"), "1:delivered 2:retrying"; got != want {
		t.Errorf("sub_a: got %s, want %s", got, want)
	}
	if got, want := statuses(t, s, "sub_b"), "1:delivered 2:held"; got != want {
		t.Errorf("sub_b: got %s, want %s", got, want)
	}
}

func TestOpen_afterACrash(t *testing.T) {
	t.Parallel()
	o := folder{Dir: t.TempDir()}
	s := engineStore(t, o, listener("sub_a", event.ConsentCreated))
	happen(t, s, 0, event.ConsentCreated, "con_a", "con_b", "con_a", "con_c", "con_d", "con_e")
	p := openEndpoint(t, s, "sub_a")
	update(t, s, func(tx store.Tx) error {
		return tx.PutReplay(engineApp, delivery.Replay{ID: "rpl_1", Endpoint: "sub_a", Seqs: []event.Seq{1, 4, 300}, CreatedAt: start})
	})
	record(t, s, delivery.Progress{
		Lease: p.Lease, At: start, Cursor: 3,
		Attempts: []delivery.Attempt{tried(1, "con_a", 1, false), tried(2, "con_b", 1, true), tried(5, "con_d", 1, true), tried(6, "con_e", 1, false)},
		Put: []delivery.Exception{
			{Seq: 1, Subject: "con_a", State: delivery.WaitRetry, Tries: 1, NextAt: start.Add(time.Minute)},
			{Seq: 3, Subject: "con_a", State: delivery.WaitTurn},
		},
		Breaker:  &delivery.Breaker{Open: true, Since: start, Failures: 20, Reason: "no route"},
		Hold:     &delivery.Hold{State: delivery.TokenTrouble, Since: start, Reason: "no token", NextAt: start.Add(time.Second)},
		Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: []event.Seq{1}, Done: 1},
	})

	crashed := folder{Dir: t.TempDir()}
	for _, name := range []string{sqlite.FileName, sqlite.FileName + "-wal"} { // what the disk holds of a process that is still up
		b, err := os.ReadFile(filepath.Join(o.Dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(crashed.Dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again := openStore(t, crashed)
	got := openEndpoint(t, again, "sub_a")
	want := delivery.Position{
		Lease: delivery.Lease{Endpoint: "sub_a", Epoch: p.Lease.Epoch + 1}, Cursor: 3,
		Settled: map[event.Seq]bool{5: true}, Tried: map[event.Seq]int{6: 1},
		Due:     []delivery.Exception{{Seq: 1, Subject: "con_a", State: delivery.WaitRetry, Tries: 1, NextAt: start}}, // hastened by the replay
		Waiting: map[string]int{"con_a": 2},
		Breaker: delivery.Breaker{Open: true, Since: start, Failures: 20, Reason: "no route"},
		Hold:    delivery.Hold{State: delivery.TokenTrouble, Since: start, Reason: "no token", NextAt: start.Add(time.Second)},
		Replays: []delivery.Replay{{ID: "rpl_1", Endpoint: "sub_a", Seqs: []event.Seq{1, 4, 300}, Done: 1, CreatedAt: start}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if out, err := again.Record(t.Context(), []delivery.Progress{{Lease: p.Lease, At: start, Cursor: 6}}); err != nil || !out[0].Fenced {
		t.Errorf("a holder from before the crash: got %+v, %v, want it fenced", out, err)
	}
}

func TestRecord_replayLeavesWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	s := engineStore(t, folder{Dir: t.TempDir()}, listener("sub_a", event.ConsentCreated))
	happen(t, s, 0, event.ConsentCreated, "con_a", "con_b")
	happen(t, s, 2, event.ConsentApproved, "con_a") // 3 is not told
	happen(t, s, 3, event.ConsentCreated, "con_c")  // 4
	p := openEndpoint(t, s, "sub_a")
	record(t, s, delivery.Progress{Lease: p.Lease, At: start, Attempts: []delivery.Attempt{tried(2, "con_b", 1, true)}})
	seqs := []event.Seq{1, 2, 3, 4}
	update(t, s, func(tx store.Tx) error {
		return tx.PutReplay(engineApp, delivery.Replay{ID: "rpl_1", Endpoint: "sub_a", Seqs: seqs, CreatedAt: start})
	})
	o := record(t, s, delivery.Progress{Lease: p.Lease, At: start, Cursor: 1, Replayed: &delivery.ReplayMark{ID: "rpl_1", Feed: seqs, Done: 4}})
	var fed []event.Seq
	for _, x := range o.Fed {
		fed = append(fed, x.Seq)
	}
	// 1 is passed by the same progress, 2 was delivered, 3 would never be sent
	// otherwise; 4 is on its way.
	if want := []event.Seq{1, 2, 3}; !slices.Equal(fed, want) {
		t.Errorf("got %v fed, want %v", fed, want)
	}
	if list, err := s.Replays(t.Context(), "sub_a"); err != nil || len(list) != 0 {
		t.Errorf("got replays %v, %v, want it ended", list, err)
	}
	if got, want := statuses(t, s, "sub_a"), "1:pending 2:pending 3:pending 4:pending"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDiscard_twiceInARow(t *testing.T) {
	t.Parallel()
	s := engineStore(t, folder{Dir: t.TempDir()}, listener("sub_a", event.ConsentCreated))
	happen(t, s, 0, event.ConsentCreated, "con_a")
	pause := func(at time.Duration) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Discard(engineApp, "sub_a", start.Add(at)) }
	}
	resume := func(at time.Duration) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Resume(engineApp, "sub_a", start.Add(at)) }
	}
	discarded := func(want int) {
		t.Helper()
		if h, err := s.Health(t.Context(), engineApp, "sub_a"); err != nil || h.Discarded != want {
			t.Errorf("got %d discarded, %v, want %d", h.Discarded, err, want)
		}
	}
	update(t, s, pause(1))
	update(t, s, pause(2)) // changes nothing
	discarded(1)
	happen(t, s, 1, event.ConsentCreated, "con_a")
	discarded(2)
	update(t, s, resume(3))
	discarded(2)
	update(t, s, pause(time.Hour)) // nothing was logged since
	discarded(0)
	update(t, s, resume(2*time.Hour))
	update(t, s, pause(3*time.Hour))
	happen(t, s, 2, event.ConsentCreated, "con_a")
	discarded(1)
	if got, want := statuses(t, s, "sub_a"), "1:discarded 2:discarded 3:discarded"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// scene fills a log with several thousand events whose recording times fall
// back now and then, and endpoints in all states with deliveries in all
// states. It returns the events, by place.
func scene(t *testing.T, s *Store, dice *rand.Rand) []event.Event {
	t.Helper()
	types := []event.Type{event.ConsentCreated, event.ConsentApproved, event.ConsentRevoked}
	var evts []event.Event
	grow := func(n int) {
		var more []event.Event
		for range n {
			i := len(evts) + len(more) + 1
			at := start.Add(time.Duration(i)*30*time.Second - time.Duration(dice.IntN(300))*time.Second)
			more = append(more, event.Event{
				ID: fmt.Sprintf("evt_%d", i), Application: string(engineApp), Feed: event.LifecycleData, Type: types[dice.IntN(len(types))],
				Subject: fmt.Sprintf("con_%d", dice.IntN(40)), OccurredAt: at, RecordedAt: at, Body: []byte(`{}`),
			})
			more[len(more)-1].Seq = event.Seq(i)
		}
		update(t, s, func(tx store.Tx) error { return tx.Publish(more...) })
		evts = append(evts, more...)
	}
	add := func(es ...subscription.Endpoint) {
		update(t, s, func(tx store.Tx) error {
			for _, e := range es {
				if err := tx.PutEndpoint(e, delivery.Shown{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	// some gives a few of the next places an end or a wait, and delivers the rest.
	some := func(e subscription.ID, upto int) {
		p := openEndpoint(t, s, delivery.Endpoint(e))
		q := delivery.Progress{Lease: p.Lease, At: start, Cursor: event.Seq(upto)}
		for after := p.Cursor; ; {
			page, err := s.Read(t.Context(), delivery.Endpoint(e), after, 500, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if page.Upto == after {
				break
			}
			after = page.Upto
			for _, it := range page.Items {
				x := delivery.Exception{Seq: it.Seq, Subject: it.Subject, State: delivery.WaitRetry, Tries: 1, NextAt: start}
				switch n := dice.IntN(30); {
				case int(it.Seq) > upto && n > 0:
					continue
				case n == 1:
					q.Put = append(q.Put, x)
				case n == 2:
					x.State, x.Tries = delivery.WaitTurn, 0
					q.Put = append(q.Put, x)
					continue
				case n == 3:
					q.Put = append(q.Put, x)
					q.Settled = append(q.Settled, delivery.Settlement{Seq: it.Seq, As: delivery.Exhausted})
				case n == 4:
					q.Put = append(q.Put, x)
					q.Settled = append(q.Settled, delivery.Settlement{Seq: it.Seq, As: delivery.Superseded})
					continue
				default:
					q.Attempts = append(q.Attempts, tried(it.Seq, it.Subject, 1, true))
					continue
				}
				q.Attempts = append(q.Attempts, tried(it.Seq, it.Subject, 1, false))
			}
		}
		record(t, s, q)
	}
	add(listener("sub_all", types...), listener("sub_gone", types...))
	grow(2200)
	add(listener("sub_paused", types[0]), listener("sub_rare", types[2]))
	grow(500)
	some("sub_all", 2000)
	some("sub_gone", 1500)
	some("sub_paused", 2800)
	rare := listener("sub_rare", types[1])
	rare.Version++
	add(rare) // another filter from here on
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.DeleteEndpoint(engineApp, "sub_gone", start), tx.Discard(engineApp, "sub_paused", start))
	})
	grow(1700)
	some("sub_rare", 3600)
	// A replay of what came before the endpoint.
	p := openEndpoint(t, s, "sub_rare")
	record(t, s, delivery.Progress{Lease: p.Lease, At: start, Replayed: &delivery.ReplayMark{ID: "rpl_x", Feed: []event.Seq{7, 1200}, Done: 2}})
	return evts
}

func TestDeliveries_areTheOnesThatAreFoundOneByOne(t *testing.T) {
	t.Parallel()
	s := engineStore(t, folder{Dir: t.TempDir()})
	dice := rand.New(rand.NewPCG(1, 2))
	evts := scene(t, s, dice)

	// The youngest endpoint first, as in a list.
	eps := []delivery.Endpoint{"sub_rare", "sub_paused", "sub_gone", "sub_all"}
	var all []delivery.View
	count := map[delivery.Status]int{}
	err := s.read(t.Context(), func(r *reader) error {
		var ts []*told
		for _, e := range eps {
			x, err := r.told(engineApp, e)
			if err != nil {
				return err
			}
			ts = append(ts, x)
		}
		var pairs []candidate
		for _, e := range slices.Backward(evts) {
			for _, x := range ts {
				pairs = append(pairs, candidate{x, e})
			}
		}
		facts, err := r.facts(pairs)
		for i, c := range pairs {
			if v, ok := c.fate(facts[i]); ok {
				all = append(all, v)
				count[v.Status]++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range delivery.Statuses() {
		if count[status] == 0 && status != delivery.Held {
			t.Errorf("the scene has no delivery that is %s", status)
		}
	}

	check := func(q store.DeliveryQuery) {
		t.Helper()
		var want []delivery.View
		for _, v := range all {
			if (q.Endpoint == "" || v.Endpoint == delivery.Endpoint(q.Endpoint)) && (q.Status == "" || v.Status == q.Status) &&
				(q.Subject == "" || v.Subject == q.Subject) && (q.EventID == "" || v.EventID == q.EventID) &&
				(q.From.IsZero() || !v.CreatedAt.Before(q.From)) && (q.To.IsZero() || v.CreatedAt.Before(q.To)) {
				want = append(want, v)
			}
		}
		got := allDeliveries(t, s, q)
		for i := range got {
			if got[i].Sequence < 1 {
				t.Fatalf("%+v: got sequence %d, want 1 or more", q, got[i].Sequence)
			}
			got[i].Sequence = 0 // the scene does not know it
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %d deliveries, want %d, or other ones", q, len(got), len(want))
		}
	}
	check(store.DeliveryQuery{Limit: 1000})
	for range 16 {
		q := store.DeliveryQuery{Limit: 50 + dice.IntN(450)}
		if dice.IntN(2) == 0 {
			q.Endpoint = subscription.ID(eps[dice.IntN(len(eps))])
		}
		if dice.IntN(2) == 0 {
			q.Status = delivery.Statuses()[dice.IntN(len(delivery.Statuses()))]
		}
		switch dice.IntN(8) {
		case 0, 1:
			q.Subject = fmt.Sprintf("con_%d", dice.IntN(41))
		case 2:
			q.EventID = fmt.Sprintf("evt_%d", 1+dice.IntN(len(evts)))
		}
		if dice.IntN(3) == 0 {
			q.From = evts[dice.IntN(len(evts))].RecordedAt.Add(time.Duration(dice.IntN(3)-1) * time.Millisecond)
		}
		if dice.IntN(3) == 0 {
			q.To = evts[dice.IntN(len(evts))].RecordedAt.Add(time.Duration(dice.IntN(3)-1) * time.Millisecond)
		}
		check(q)
	}

	byID := map[event.Seq]delivery.Status{}
	for _, v := range all {
		if v.Endpoint == "sub_rare" {
			byID[v.Seq] = v.Status
		}
	}
	for range 20 {
		q := store.ReplayQuery{From: evts[dice.IntN(len(evts))].RecordedAt, To: evts[dice.IntN(len(evts))].RecordedAt}
		if dice.IntN(2) == 0 {
			q.Status = []delivery.Status{delivery.Delivered, delivery.Exhausted, delivery.Pending}[dice.IntN(3)]
		}
		var want []event.Seq
		for _, e := range evts {
			status, was := byID[e.Seq]
			waits := was && (status == delivery.Pending || status == delivery.Retrying)
			if e.Type == event.ConsentApproved && !waits && (q.Status == "" || was && status == q.Status) &&
				!e.RecordedAt.Before(q.From) && e.RecordedAt.Before(q.To) {
				want = append(want, e.Seq)
			}
		}
		got, _, err := s.ReplaySelection(t.Context(), engineApp, "sub_rare", q)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("replay of %+v: got %d places, %v, want %d, or other ones", q, len(got), err, len(want))
		}
	}
}

func TestHealth_isTheNumberOfDeliveriesThatWait(t *testing.T) {
	t.Parallel()
	s := engineStore(t, folder{Dir: t.TempDir()})
	scene(t, s, rand.New(rand.NewPCG(3, 4)))
	for _, e := range []subscription.ID{"sub_all", "sub_rare", "sub_paused"} {
		var waiting, discarded int
		var oldest time.Time
		for _, v := range allDeliveries(t, s, store.DeliveryQuery{Endpoint: e, Limit: 500}) {
			switch v.Status {
			case delivery.Pending, delivery.Retrying, delivery.Held:
				waiting, oldest = waiting+1, v.CreatedAt // the last is the oldest
			case delivery.Discarded:
				discarded++
			}
		}
		for range 2 { // the second is counted from the first
			h, err := s.Health(t.Context(), engineApp, e)
			if err != nil || h.Backlog != waiting || h.AtLeast || h.Discarded != discarded || !h.OldestAt.Equal(oldest) {
				t.Errorf("%s: got %+v, %v, want backlog %d since %v, %d discarded", e, h, err, waiting, oldest, discarded)
			}
		}
	}
	_, err := s.Health(t.Context(), engineApp, "sub_gone")
	if fault.KindOf(err) != fault.NotFound {
		t.Errorf("a deleted endpoint: got %v, want it not found", err)
	}
}

// TestPlans_ofTheHotPath holds what runs for every delivery, or among many
// thousands of rows, to an index; a new index must not lead SQLite astray.
func TestPlans_ofTheHotPath(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	tests := []struct {
		name, query, want string
	}{
		{"read", readLog, "event_seq (app=? AND seq>? AND seq<?)"},
		{"delivered above the cursor", "SELECT seq, MAX(n), MAX(delivered) FROM attempt WHERE ep = ? AND seq > ? GROUP BY seq", "PRIMARY KEY (ep=? AND seq>?)"},
		{"due", "SELECT " + exceptionFields + " FROM exception WHERE ep = ? AND state = 'retrying' ORDER BY next_at, seq", "exception_due (ep=?)"},
		{"waiting by subject", "SELECT subject, COUNT(*) FROM exception WHERE ep = ? AND state IN ('retrying', 'blocked') GROUP BY subject", "exception_lane (ep=?)"},
		{"next of a lane", "SELECT " + exceptionFields + ` FROM exception INDEXED BY exception_lane
			WHERE ep = ? AND subject = ? AND state = 'blocked' AND state IN ('retrying', 'blocked') ORDER BY seq LIMIT 1`, "exception_lane (ep=? AND subject=? AND state=?)"},
		{"backlog of exceptions", `SELECT COUNT(*), COALESCE(MIN(seq), 0) FROM
			(SELECT seq FROM exception INDEXED BY exception_waiting WHERE ep = ? AND state IN ('retrying', 'blocked') ORDER BY seq LIMIT ?) w`, "exception_waiting (ep=?)"},
		{"backlog of the log", `SELECT COUNT(*) FROM (SELECT 1 FROM event INDEXED BY event_kind
			WHERE app = ? AND type = ? AND feed = ? AND seq > ? AND seq <= ? AND except_id <> ? LIMIT ?) w`, "COVERING INDEX event_kind (app=? AND type=? AND feed=? AND seq>? AND seq<?)"},
		{"list", "SELECT " + happenedFields + " FROM event e WHERE e.app = ? AND e.seq <= ? AND e.seq >= ? ORDER BY e.seq DESC LIMIT ?", "event_seq (app=? AND seq>? AND seq<?)"},
		{"list of an event", "SELECT " + happenedFields + " FROM event e WHERE e.app = ? AND e.seq <= ? AND e.seq >= ? AND e.event_id = ? ORDER BY e.seq DESC LIMIT ?", "(event_id=?)"},
		{"list of a time", "SELECT " + happenedFields + " FROM event e WHERE e.app = ? AND e.seq <= ? AND e.seq >= ? AND e.recorded_at >= ? AND e.recorded_at < ? ORDER BY e.seq DESC LIMIT ?", "event_seq (app=? AND seq>? AND seq<?)"},
		{"list of retries", "SELECT " + happenedFields + `, x.ep FROM exception x CROSS JOIN event e ON e.app = ? AND e.seq = x.seq
			WHERE x.ep = ? AND x.state = ? AND x.seq <= ? AND (x.seq < ? OR x.ep < ?) ORDER BY x.seq DESC, x.ep DESC LIMIT ?`, "PRIMARY KEY (ep=? AND seq<?)"},
		{"a citizen", "SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c.citizen_id = ?", "citizen_id (app=? AND citizen_id=?)"},
		{"a citizen by reference", "SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c.ref_hash = ?", "citizen_ref (app=? AND ref_hash=?)"},
		{"many citizens", citizensByID, "citizen_id (app=? AND citizen_id=?)"},
		{"many citizens by reference", citizensByRef, "citizen_ref (app=? AND ref_hash=?)"},
		{"list of citizens", "SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c.row < ? ORDER BY c.row DESC LIMIT ?", "citizen_page (app=? AND row<?)"},
		{"due citizens", dueCitizens, "citizen_due (due_at<?)"},
		{"next lapse", nextLapse, "COVERING INDEX citizen_due"},
		{"a page of a history", historyBefore, "permission_transaction_citizen (app=? AND citizen_id=? AND row<?)"},
		{"a history", historyBehind, "permission_transaction_citizen (app=? AND citizen_id=? AND row>?)"},
		{"a transaction", oneTransaction, "(transaction_id=?)"},
		{"a checkpoint", checkpointBefore, "checkpoint_citizen (app=? AND citizen_id=? AND at<?)"},
		{"linked citizens", "SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c.group_id = ? ORDER BY c.row", "citizen_group (app=? AND group_id=?)"},
		{"merged citizens", mergedByID, "citizen_merged_id (app=? AND citizen_id=?)"},
		{"merged citizens by reference", mergedByRef, "citizen_merged_ref (app=? AND ref_hash=?)"},
		{"a feed that is used", feedIsUsed, "PRIMARY KEY (app=? AND feed=?)"},
		{"answers about a subject", "DELETE FROM idempotency INDEXED BY idempotency_subject WHERE app = ? AND subject = ?", "idempotency_subject (app=? AND subject=?)"},
		{"the events of a subject", "SELECT row, seq, erased, body FROM event WHERE app = ? AND subject = ? ORDER BY seq", "event_subject (app=? AND subject=?)"},
		{"the name of a subject", "UPDATE event SET subject = ? WHERE app = ? AND subject = ?", "event_subject (app=? AND subject=?)"},
		{"answers at an endpoint", blankAnswers, "PRIMARY KEY (ep=? AND seq=?)"},
		{"names at an endpoint", renameExceptions, "PRIMARY KEY (ep=? AND seq=?)"},
		{"transactions to check", auditTransactions, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
		{"events to check", auditEvents, "event_seq (app=? AND seq>?)"},
		{"list of a subject", "SELECT " + happenedFields + " FROM event e INDEXED BY event_subject WHERE e.app = ? AND e.seq <= ? AND e.seq >= ? AND e.subject = ? ORDER BY e.seq DESC LIMIT ?", "event_subject (app=? AND subject=? AND seq>? AND seq<?)"},
	}
	err := s.read(t.Context(), func(r *reader) error {
		for _, tt := range tests {
			var plan []string
			err := r.each(func(rows db.Rows) error {
				var id, parent, unused int
				var step string
				err := rows.Scan(&id, &parent, &unused, &step)
				plan = append(plan, step)
				return err
			}, "EXPLAIN QUERY PLAN "+tt.query, make([]any, strings.Count(tt.query, "?"))...)
			if err != nil {
				return fmt.Errorf("%s: %w", tt.name, err)
			}
			got := strings.Join(plan, "; ")
			sorts := strings.Contains(got, "TEMP B-TREE FOR ORDER BY") || strings.Contains(got, "TEMP B-TREE FOR GROUP BY")
			if !strings.Contains(got, tt.want) || sorts || strings.Contains(strings.ReplaceAll(got, "SCAN json_each", ""), "SCAN e") {
				t.Errorf("%s: got the plan %q, want one by %q that sorts nothing", tt.name, got, tt.want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSeqs_areReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for _, seqs := range [][]event.Seq{nil, {1}, {1, 2, 3}, {5, 1000, 1 << 40}} {
		got, err := decodeSeqs(encodeSeqs(seqs))
		if err != nil || !slices.Equal(got, seqs) {
			t.Errorf("got %v, %v, want %v", got, err, seqs)
		}
	}
	for _, b := range [][]byte{{0x80}, {1, 0xff}} {
		if got, err := decodeSeqs(b); err == nil {
			t.Errorf("%x: got %v, want an error", b, got)
		}
	}
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add(encodeResponse(&delivery.Response{Status: 204}))
	f.Add(encodeResponse(&delivery.Response{Status: 500, Headers: []delivery.Header{{Name: "Date", Value: ""}, {Name: "X", Value: "y"}}, Body: "no"}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeResponse(b)
		if err != nil {
			return
		}
		again, err := decodeResponse(encodeResponse(r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("got %+v, %v, want %+v", again, err, r)
		}
	})
}
