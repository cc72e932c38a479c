package relational

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Health implements store.Reader.
func (s *Store) Health(ctx context.Context, app access.ID, id subscription.ID) (h delivery.Health, err error) {
	err = s.read(ctx, func(r *reader) error {
		h = delivery.Health{}
		t, err := r.living(app, id)
		if err != nil {
			return err
		}
		if err := r.standing(t.key.ep, &t.cursor, &h.Breaker, &h.Hold); err != nil {
			return err
		}
		last, err := r.logEnd(t.key.app)
		if err != nil {
			return err
		}
		if h.Lost, err = r.losses(t.key.ep); err != nil {
			return err
		}
		if h.Discarded, err = r.discarded(t, last); err != nil || t.paused() {
			return err // nothing waits
		}
		return r.backlog(t, last, &h)
	})
	return h, err
}

// backlog counts what waits for an endpoint: exceptions, and what is behind
// the cursor and not settled yet.
func (r *reader) backlog(t *told, last event.Seq, h *delivery.Health) error {
	const most = delivery.BacklogExact + 1
	var n int
	var first event.Seq // of the oldest; 0: none
	err := r.get([]any{&n, (*int64)(&first)}, `SELECT COUNT(*), COALESCE(MIN(seq), 0) FROM
		(SELECT seq FROM exception INDEXED BY exception_waiting WHERE ep = ? AND state IN ('retrying', 'blocked') ORDER BY seq LIMIT ?) w`,
		t.key.ep, most)
	if err != nil {
		return err
	}
	var settled []event.Seq
	done := map[event.Seq]bool{}
	err = r.each(func(rows db.Rows) error {
		var seq event.Seq
		err := rows.Scan((*int64)(&seq))
		settled, done[seq] = append(settled, seq), true
		return err
	}, `SELECT seq FROM attempt WHERE ep = ? AND seq > ? AND delivered = 1 UNION SELECT seq FROM exception WHERE ep = ? AND seq > ?`,
		t.key.ep, int64(t.cursor), t.key.ep, int64(t.cursor))
	if err != nil {
		return err
	}
	logged, err := r.heard(t, t.cursor, last, most+len(settled))
	if err != nil {
		return err
	}
	over, err := r.hearsOf(t, settled)
	if err != nil {
		return err
	}
	if n += logged - over; n > delivery.BacklogExact {
		n, h.AtLeast = delivery.BacklogExact, true
	}
	h.Backlog = n
	if n == 0 {
		return nil
	}
	if logged > over {
		if err := r.firstHeard(t, last, done, &first); err != nil {
			return err
		}
	}
	oldest, err := r.happenedAt(t.key.app, first)
	if isNotFound(err) {
		return nil
	}
	h.OldestAt = oldest.RecordedAt
	return err
}

// kinds calls fn for each type and feed that a filter lets through. A filter
// without feeds lets through those that the log has of a type.
func (r *reader) kinds(app int64, f subscription.Filter, fn func(typ event.Type, feed event.Feed) error) error {
	for _, typ := range f.Types {
		for _, feed := range f.Feeds {
			if err := fn(typ, feed); err != nil {
				return err
			}
		}
		for feed := ""; len(f.Feeds) == 0; {
			err := r.get([]any{&feed}, "SELECT COALESCE(MIN(feed), '') FROM event INDEXED BY event_kind WHERE app = ? AND type = ? AND feed > ?", app, string(typ), feed)
			if err != nil {
				return err
			}
			if feed == "" {
				break
			}
			if err := fn(typ, event.Feed(feed)); err != nil {
				return err
			}
		}
	}
	return nil
}

// heard counts the events behind a place, up to another, that the endpoint is
// told; it stops at most.
func (r *reader) heard(t *told, from, upto event.Seq, most int) (n int, err error) {
	err = t.parts(from, upto, func(f subscription.Filter, from, upto event.Seq) error {
		return r.kinds(t.key.app, f, func(typ event.Type, feed event.Feed) error {
			var part int
			err := r.get([]any{&part}, `SELECT COUNT(*) FROM (SELECT 1 FROM event INDEXED BY event_kind
				WHERE app = ? AND type = ? AND feed = ? AND seq > ? AND seq <= ? AND except_id <> ? LIMIT ?) w`,
				t.key.app, string(typ), string(feed), int64(from), int64(upto), string(t.id), max(most-n, 0))
			n += part
			return err
		})
	})
	return n, err
}

// hearsOf counts those of the places whose events the endpoint is told.
func (r *reader) hearsOf(t *told, seqs []event.Seq) (n int, err error) {
	if len(seqs) == 0 {
		return 0, nil
	}
	text, err := json.Marshal(seqs)
	if err != nil {
		return 0, err
	}
	err = r.each(func(rows db.Rows) error {
		e, err := scanHappened(rows.Scan)
		if err == nil && t.hears(e) {
			n++
		}
		return err
	}, "SELECT "+happenedFields+" FROM json_each(?) j CROSS JOIN event e ON e.app = ? AND e.seq = j.value", string(text), t.key.app)
	return n, err
}

// firstHeard lowers first to the place of the first event behind the cursor
// that the endpoint is told and that is not done.
func (r *reader) firstHeard(t *told, last event.Seq, done map[event.Seq]bool, first *event.Seq) error {
	return t.parts(t.cursor, last, func(f subscription.Filter, from, upto event.Seq) error {
		return r.kinds(t.key.app, f, func(typ event.Type, feed event.Feed) error {
			rows, err := r.query(`SELECT seq FROM event INDEXED BY event_kind
				WHERE app = ? AND type = ? AND feed = ? AND seq > ? AND seq <= ? AND except_id <> ? ORDER BY seq`,
				t.key.app, string(typ), string(feed), int64(from), int64(upto), string(t.id))
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var seq event.Seq
				if err := rows.Scan((*int64)(&seq)); err != nil {
					return err
				}
				if !done[seq] {
					if *first == 0 || seq < *first {
						*first = seq
					}
					return nil
				}
			}
			return rows.Err()
		})
	})
}

// discarded counts what was discarded since the owner's last pause began, and
// is so still.
func (r *reader) discarded(t *told, last event.Seq) (n int, err error) {
	s, ok := t.lastDiscard()
	if !ok {
		return 0, nil
	}
	if n, err = r.waitedFor(t, s, last); err != nil {
		return 0, err
	}
	to := min(s.to, last)
	inSpan, err := r.s.spans.count(spanKey{t.key.ep, s.from, millis(s.at), s.pruned}, to, func(from event.Seq) (int, error) {
		return r.heard(t, from, to, int(last))
	})
	if err != nil {
		return 0, err
	}
	over, err := r.hearsOfSettled(t, s.from, to) // late results and replays
	return s.pruned + n + inSpan - over, err
}

// waitedFor counts the deliveries up to a place that waited when an owner's pause
// discarded them, and are discarded still.
func (r *reader) waitedFor(t *told, s span, upto event.Seq) (n int, err error) {
	err = r.get([]any{&n}, `SELECT COUNT(*) FROM exception x WHERE ep = ? AND state = 'discarded' AND ended_at >= ? AND seq <= ?
		AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.ep = x.ep AND a.seq = x.seq AND a.delivered = 1 AND a.n > x.base)`,
		t.key.ep, millis(s.at), int64(upto))
	return n, err
}

// hearsOfSettled counts the events from a place to another that the endpoint is
// told and that were delivered or are exceptions.
func (r *reader) hearsOfSettled(x *told, from, to event.Seq) (int, error) {
	var settled []event.Seq
	err := r.each(func(rows db.Rows) error {
		var seq event.Seq
		err := rows.Scan((*int64)(&seq))
		settled = append(settled, seq)
		return err
	}, `SELECT seq FROM attempt WHERE ep = ? AND seq BETWEEN ? AND ? AND delivered = 1 UNION SELECT seq FROM exception WHERE ep = ? AND seq BETWEEN ? AND ?`,
		x.key.ep, int64(from), int64(to), x.key.ep, int64(from), int64(to))
	if err != nil {
		return 0, err
	}
	return r.hearsOf(x, settled)
}

// spanCounts remember how many events were counted in a span, for while a
// pause lasts it only grows.
type spanCounts struct {
	mu   sync.Mutex
	upto map[spanKey]spanCount
}

type spanKey struct {
	ep   int64
	from event.Seq
	at   int64

	pruned int // what is counted is what is left
}

type spanCount struct {
	upto event.Seq
	n    int
}

// maxSpanCounts bounds how many are remembered.
const maxSpanCounts = 1 << 12

// count returns the number of events up to a place; add counts those behind
// the place where the count before ended.
func (c *spanCounts) count(key spanKey, upto event.Seq, add func(from event.Seq) (int, error)) (int, error) {
	c.mu.Lock()
	was, ok := c.upto[key]
	c.mu.Unlock()
	if !ok || was.upto > upto { // a snapshot older than the count
		was = spanCount{upto: key.from - 1}
	}
	if was.upto >= upto {
		return was.n, nil
	}
	n, err := add(was.upto)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.upto == nil || len(c.upto) >= maxSpanCounts {
		c.upto = make(map[spanKey]spanCount)
	}
	c.upto[key] = spanCount{upto, was.n + n}
	return was.n + n, nil
}
