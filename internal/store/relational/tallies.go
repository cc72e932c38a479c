package relational

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// What a row of tally counts. The numbers are never changed.
const (
	talliedSent = iota + 1
	talliedAccepted
	talliedExhausted
	talliedWaiting
	talliedNotify = 100 // and the places of delivery.Times behind it
)

// tallied returns the count of a tally that a row of that kind holds; nil: it is
// none of ours.
func tallied(t *delivery.Tally, what int) *int {
	switch i := what - talliedNotify; {
	case what == talliedSent:
		return &t.Sent
	case what == talliedAccepted:
		return &t.Accepted
	case what == talliedExhausted:
		return &t.Exhausted
	case what == talliedWaiting:
		return &t.Waiting
	case i >= 0 && i < len(t.Notify):
		return &t.Notify[i]
	}
	return nil
}

// Tally implements store.Store.
func (s *Store) Tally(ctx context.Context, at time.Time, of map[access.ID]*delivery.Tally) error {
	return s.write(ctx, func(t *tx) error {
		for _, app := range slices.Sorted(maps.Keys(of)) {
			// Not by app, which would hold the application's log up.
			var key int64
			err := t.get([]any{&key}, "SELECT app FROM application WHERE app_id = ?", string(app))
			if isNotFound(err) {
				continue // it was deleted meanwhile
			}
			if err != nil {
				return err
			}
			for _, span := range delivery.Spans() {
				if err := t.addTally(key, span, at, of[app]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (t *tx) addTally(app int64, span delivery.Span, at time.Time, of *delivery.Tally) error {
	long, begin := time.Duration(span).Milliseconds(), millis(span.Begin(at))
	add := func(what, n int) error {
		if n == 0 {
			return nil
		}
		sum := "tally.n + excluded.n"
		if what == talliedWaiting {
			sum = "CASE WHEN excluded.n > tally.n THEN excluded.n ELSE tally.n END"
		}
		return t.later("INSERT INTO tally (app, span, at, node, what, n) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (app, span, at, node, what) DO UPDATE SET n = "+sum,
			app, long, begin, t.s.node, what, n)
	}
	for what := range talliedNotify + len(of.Notify) {
		if n := tallied(of, what); n != nil {
			if err := add(what, *n); err != nil {
				return err
			}
		}
	}
	return t.later("DELETE FROM tally WHERE app = ? AND span = ? AND at < ?", app, long, millis(at.Add(-span.Keep())))
}

// Tallies implements store.Reader.
func (s *Store) Tallies(ctx context.Context, app access.ID, span delivery.Span, from time.Time) (list []delivery.Tally, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		key, err := r.app(app)
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			var at int64
			var what, n int
			if err := rows.Scan(&at, &what, &n); err != nil {
				return err
			}
			if len(list) == 0 || !list[len(list)-1].At.Equal(moment(at)) {
				list = append(list, delivery.Tally{At: moment(at)})
			}
			t := &list[len(list)-1]
			if sum := tallied(t, what); sum != nil { // what nodes counted adds up, what waits too
				*sum += n
			}
			return nil
		}, "SELECT at, what, n FROM tally WHERE app = ? AND span = ? AND at >= ? ORDER BY at", key, time.Duration(span).Milliseconds(), millis(span.Begin(from)))
	})
	return list, err
}

// Behind implements store.Store.
func (s *Store) Behind(ctx context.Context, app access.ID, e delivery.Endpoint, after event.Seq) (n int, err error) {
	whole, _, parts := e.Split()
	err = s.read(ctx, func(r *reader) error {
		t, err := r.living(app, subscription.ID(whole))
		if err != nil {
			return err
		}
		last, err := r.logEnd(t.key.app)
		if err != nil {
			return err
		}
		n, err = r.heard(t, after, last, delivery.BacklogExact)
		return err
	})
	return n / parts, err
}
