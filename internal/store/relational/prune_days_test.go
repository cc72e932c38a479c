//go:build postgres

package relational

import (
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// TestPrune_days: whole days go at a stroke, the oldest first, while others read
// and write, and none goes that somebody waits for.
func TestPrune_days(t *testing.T) {
	t.Parallel()
	url := pgtest.Shared(t).Database(t)
	s, other := openNode(t, url), openNode(t, url)
	addApp(t, s, benchApp)
	update(t, s, func(tx store.Tx) error { return tx.PutEndpoint(benchEndpoint("sub_bench"), delivery.Shown{}) })
	const day = 24 * time.Hour
	first := start.Truncate(day)
	at := func(n int) time.Time { return first.Add(time.Duration(n)*day + 12*time.Hour) }
	for n := range 5 {
		by := []*Store{s, other}[n%2]
		for range 3 {
			publishAt(t, by, at(n))
		}
	}
	pos, err := s.Open(t.Context(), "sub_bench")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Record(t.Context(), []delivery.Progress{{
		Lease: pos.Lease, At: at(1), Cursor: 10, // in the fourth day
		Attempts: []delivery.Attempt{{Seq: 1, Subject: "ctz_1", N: 1, At: at(0), Delivered: true, Status: 200}, {Seq: 4, Subject: "ctz_1", N: 1, At: at(4), Delivered: true, Status: 200}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	days := func(table string) (list []string) {
		t.Helper()
		err := s.read(t.Context(), func(r *reader) error {
			all, err := r.Days(table)
			list = nil
			for _, d := range all {
				if at := moment(d); at.Before(first.Add(5 * day)) {
					list = append(list, at.Format("02"))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	prune := func(what string, p store.Prune, events, lost int, logs, attempts []string) {
		t.Helper()
		var sum store.Pruned
		for more := true; more; {
			got, err := other.Prune(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			sum.Events, sum.Lost, more = sum.Events+got.Events, sum.Lost+got.Lost, got.More
		}
		if sum.Events != events || sum.Lost != lost {
			t.Errorf("%s: got %d events and %d deliveries taken, want %d and %d", what, sum.Events, sum.Lost, events, lost)
		}
		if got := days("event"); !slices.Equal(got, logs) {
			t.Errorf("%s: got the days %v in the log, want %v", what, got, logs)
		}
		if got := days("attempt"); !slices.Equal(got, attempts) {
			t.Errorf("%s: got the days %v of attempts, want %v", what, got, attempts)
		}
		a, err := s.Audit(t.Context(), benchApp)
		if err != nil || a.Events.BrokenAt != "" || a.Events.Records+a.Events.Pruned != 15 {
			t.Errorf("%s: got the audit %+v, %v, want 15 records in all, intact", what, a.Events, err)
		}
	}
	name := func(n ...int) (list []string) {
		for _, n := range n {
			list = append(list, at(n).Format("02"))
		}
		return list
	}
	prune("the first day is not over", store.Prune{Before: first.Add(day + 30*time.Minute), WholeDays: true}, 0, 0, name(0, 1, 2, 3, 4), name(0, 4))
	prune("the first day", store.Prune{Before: first.Add(day + time.Hour), WholeDays: true}, 3, 0, name(1, 2, 3, 4), name(4))
	prune("days that nobody waits for", store.Prune{Before: at(6), WholeDays: true}, 6, 0, name(3, 4), name(4))
	prune("a part of a day", store.Prune{Before: at(6)}, 1, 0, name(3, 4), name(4))
	got, err := s.Read(t.Context(), "sub_bench", 10, 100, 1<<20)
	if err != nil || len(got.Items) != 5 || got.Items[0].Seq != 11 {
		t.Errorf("got %d events to send, %v, want the 5 behind 10", len(got.Items), err)
	}
	prune("days that an endpoint waits for", store.Prune{Before: at(6), WholeDays: true, Losing: true, Now: at(6)}, 5, 5, nil, nil)

	// Room that another node took away is made again.
	publishAt(t, s, at(0))
	publishAt(t, other, at(1))
	e := wholeLogBehind(t, s, 15)
	if len(e) != 2 {
		t.Errorf("got %d events recorded in days that were dropped, want 2", len(e))
	}
}

// wholeLogBehind reads the events behind a place.
func wholeLogBehind(t *testing.T, s *Store, after event.Seq) (list []event.Event) {
	t.Helper()
	page, _, err := s.Events(t.Context(), benchApp, store.EventQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page {
		if e.Seq > after {
			list = append(list, e)
		}
	}
	return list
}
