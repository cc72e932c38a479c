package relational

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// How much goes at a time: events of one transaction (DESIGN 3.12: at most 2,000
// rows, attempts included), and of one call.
const (
	pruneBatch = 500
	pruneMost  = 10_000
)

// dayTime is how long a day of the log is, in milliseconds.
const dayTime = int64(24 * time.Hour / time.Millisecond)

// vacuumPages is how many free pages one transaction gives back, at most.
const vacuumPages = 64

// aged is an application's log as far as its age is of interest.
type aged struct {
	id     access.ID
	app    int64
	pruned event.Seq // gone are the places up to this one
	first  time.Time // when the first event behind it was recorded
}

// Prune implements store.Store.
func (s *Store) Prune(ctx context.Context, p store.Prune) (out store.Pruned, err error) {
	if out, err = s.pruneDays(ctx, p); err != nil || out.More {
		return out, err
	}
	if p.WholeDays && s.db.Shared() {
		return out, nil
	}
	var logs []aged
	err = s.read(ctx, func(r *reader) error {
		logs, err = r.aged()
		return err
	})
	if err != nil {
		return out, err
	}
	for _, l := range logs {
		for l.first.Before(p.Before) && out.Events < pruneMost {
			var n, lost int
			err := s.write(ctx, func(t *tx) (err error) {
				n, lost, err = t.pruneSome(l.id, p)
				return err
			})
			if isNotFound(err) { // the application was deleted
				break
			}
			if err != nil {
				return out, err
			}
			out.Events, out.Lost = out.Events+n, out.Lost+lost
			if n < pruneBatch {
				break
			}
		}
	}
	out.More = out.Events >= pruneMost
	return out, nil
}

// Size implements store.Store.
func (s *Store) Size(ctx context.Context) (bytes int64, err error) {
	err = s.read(ctx, func(r *reader) error {
		bytes, err = r.Size()
		return err
	})
	return bytes, err
}

// aged reads the age of every application's log that holds anything, the oldest
// first.
func (r *reader) aged() (list []aged, err error) {
	err = r.each(func(rows db.Rows) error {
		var l aged
		var recorded int64
		err := rows.Scan((*string)(&l.id), &l.app, (*int64)(&l.pruned), &recorded)
		l.first = moment(recorded)
		list = append(list, l)
		return err
	}, `SELECT * FROM (SELECT a.app_id, a.app, a.pruned_seq,
		COALESCE((SELECT recorded_at FROM event e WHERE e.app = a.app AND e.seq > a.pruned_seq ORDER BY seq LIMIT 1), -1) AS first
		FROM application a WHERE a.last_seq > a.pruned_seq) x WHERE first >= 0 ORDER BY first`)
	return list, err
}

// Oldest implements store.Store.
func (s *Store) Oldest(ctx context.Context, losing bool) (at time.Time, err error) {
	err = s.read(ctx, func(r *reader) error {
		at = time.Time{}
		list, err := r.aged()
		if err != nil {
			return err
		}
		for _, l := range list {
			upto := l.pruned + 1
			if !losing {
				if upto, err = r.settledUpto(l.app); err != nil {
					return err
				}
			}
			if upto > l.pruned {
				at = l.first
				return nil
			}
		}
		return nil
	})
	return at, err
}

// settledUpto returns the last place of an application's log up to which nobody
// waits for anything: no endpoint that is not paused by its owner, no exception,
// no replay and no erasure. What begins to wait later waits for what comes later.
func (r *reader) settledUpto(app int64) (upto event.Seq, err error) {
	if err = r.get([]any{(*int64)(&upto)}, "SELECT last_seq FROM application WHERE app = ?", app); err != nil {
		return 0, err
	}
	lower := func(list []event.Seq) {
		if len(list) > 0 {
			upto = min(upto, slices.Min(list)-1)
		}
	}
	// Replays first, for a step of one makes exceptions.
	err = r.each(func(rows db.Rows) error {
		var seqs []byte
		var done int
		err := rows.Scan(&seqs, &done)
		if err != nil {
			return err
		}
		list, err := decodeSeqs(seqs)
		lower(list[min(done, len(list)):])
		return err
	}, "SELECT x.seqs, x.done FROM replay x JOIN endpoint p ON p.ep = x.ep WHERE p.app = ? AND x.ended = 0", app)
	if err != nil {
		return 0, err
	}
	err = r.each(func(rows db.Rows) error {
		var seqs []byte
		err := rows.Scan(&seqs)
		if err != nil {
			return err
		}
		list, err := decodeSeqs(seqs)
		lower(list)
		return err
	}, "SELECT seqs FROM erasing WHERE app = ?", app)
	if err != nil {
		return 0, err
	}
	// One statement: a cursor passes what it makes an exception of.
	var cursor, trouble sql.NullInt64
	err = r.get([]any{&cursor, &trouble}, `SELECT
		(SELECT MIN(`+cursorOf+`) FROM endpoint p WHERE p.app = ? AND p.deleted_at IS NULL
			AND NOT EXISTS (SELECT 1 FROM span s WHERE s.ep = p.ep AND s.to_seq IS NULL)),
		(SELECT MIN(x.seq) FROM exception x JOIN endpoint p ON p.ep = x.ep WHERE p.app = ? AND x.state IN ('retrying', 'blocked'))`, app, app)
	if err != nil {
		return 0, err
	}
	if cursor.Valid {
		upto = min(upto, event.Seq(cursor.Int64))
	}
	if trouble.Valid {
		upto = min(upto, event.Seq(trouble.Int64)-1)
	}
	return upto, nil
}

// pruneSome removes the first events of an application's log that are old enough,
// one batch at most, and returns how many.
func (t *tx) pruneSome(id access.ID, p store.Prune) (n, lost int, err error) {
	app, err := t.app(id)
	if err != nil {
		return 0, 0, err
	}
	most := event.Seq(1<<63 - 1)
	if !p.Losing {
		if most, err = t.settledUpto(app); err != nil {
			return 0, 0, err
		}
	}
	var old, upto event.Seq
	var last int64
	var chain []byte
	if err = t.get([]any{(*int64)(&old)}, "SELECT pruned_seq FROM application WHERE app = ?", app); err != nil {
		return 0, 0, err
	}
	end := false
	err = t.each(func(rows db.Rows) error {
		var seq event.Seq
		var recorded int64
		var link []byte
		if err := rows.Scan((*int64)(&seq), &recorded, &link); err != nil {
			return err
		}
		if end = end || seq > most || !moment(recorded).Before(p.Before); !end {
			n, upto, last, chain = n+1, seq, recorded, link
		}
		return nil
	}, "SELECT seq, recorded_at, chain FROM event WHERE app = ? AND seq > ? ORDER BY seq LIMIT ?", app, int64(old), pruneBatch)
	if err != nil || n == 0 {
		return 0, 0, err
	}
	if lost, err = t.pruned(id, app, gone{old: old, upto: upto, last: last, chain: chain}, p); err != nil {
		return 0, 0, err
	}
	if _, err = t.exec("DELETE FROM attempt WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?) AND seq <= ?", app, int64(upto)); err == nil {
		_, err = t.exec("DELETE FROM event WHERE app = ? AND seq <= ?", app, int64(upto))
	}
	if err == nil {
		err = t.Shrink(vacuumPages)
	}
	return n, lost, err
}

// gone are the events behind old, up to a place.
type gone struct {
	old, upto event.Seq
	last      int64 // when the last one was recorded
	chain     []byte
}

// pruned accounts for events that go, and for what goes with them: of each
// endpoint what it lost, and what was discarded. It does not remove the events
// and their attempts.
func (t *tx) pruned(id access.ID, app int64, g gone, p store.Prune) (lost int, err error) {
	var names []delivery.Endpoint
	err = t.each(func(rows db.Rows) error {
		var e delivery.Endpoint
		err := rows.Scan((*string)(&e))
		names = append(names, e)
		return err
	}, `SELECT endpoint_id FROM endpoint p WHERE app = ? AND deleted_at IS NULL AND (
			EXISTS (SELECT 1 FROM span s WHERE s.ep = p.ep AND s.state = ?) OR ? <> 0 AND (`+cursorOf+` < ? OR
			EXISTS (SELECT 1 FROM exception x WHERE x.ep = p.ep AND x.state IN ('retrying', 'blocked') AND x.seq <= ?)))
		ORDER BY ep`+t.locking(), app, spanDiscarded, p.Losing, int64(g.upto), int64(g.upto))
	if err != nil {
		return 0, err
	}
	for _, e := range names {
		x, err := t.told(id, e)
		if err != nil {
			return 0, err
		}
		n := 0
		if p.Losing && !x.paused() {
			if n, err = t.lose(x, g, p.Now); err != nil {
				return 0, err
			}
		}
		lost += n
		if err := t.keepDiscarded(x, g); err != nil {
			return 0, err
		}
	}
	_, err = t.exec("DELETE FROM exception WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?) AND seq <= ?", app, int64(g.upto))
	if err == nil {
		_, err = t.exec("UPDATE application SET pruned_seq = ?, pruned_chain = ? WHERE app = ?", int64(g.upto), g.chain, app)
	}
	return lost, err
}

// lose takes from an endpoint what it still waits for, and notes how much that
// is. The lease is broken.
func (t *tx) lose(x *told, g gone, now time.Time) (n int, err error) {
	err = t.get([]any{&n}, "SELECT COUNT(*) FROM exception WHERE ep = ? AND state IN ('retrying', 'blocked') AND seq <= ?", x.key.ep, int64(g.upto))
	if err != nil || n == 0 && x.cursor >= g.upto {
		return 0, err
	}
	if x.cursor < g.upto {
		logged, err := t.unsettled(x, x.cursor, g.upto)
		if err != nil {
			return 0, err
		}
		n += logged
	}
	t.change.endpoints = append(t.change.endpoints, x.id)
	t.s.tails.clear()
	if err := t.breakLeases(x.key.ep); err != nil {
		return 0, err
	}
	for _, table := range []string{"endpoint", "endpoint_part"} {
		if _, err := t.exec("UPDATE "+table+" SET cursor_seq = ? WHERE ep = ? AND cursor_seq < ?", int64(g.upto), x.key.ep, int64(g.upto)); err != nil { // #nosec G202 -- one of two
			return 0, err
		}
	}
	if n == 0 {
		return 0, nil
	}
	_, err = t.exec(`INSERT INTO loss (ep, to_seq, deliveries, recorded, at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (ep, to_seq) DO UPDATE SET deliveries = loss.deliveries + excluded.deliveries, at = excluded.at`,
		x.key.ep, int64(g.upto), n, g.last, millis(now))
	return n, err
}

// unsettled counts the events behind a place, up to another, that the endpoint is
// told and that neither were delivered nor are exceptions.
func (r *reader) unsettled(x *told, from, upto event.Seq) (int, error) {
	if from >= upto {
		return 0, nil
	}
	n, err := r.heard(x, from, upto, int(upto-from))
	if err != nil || n == 0 {
		return 0, err
	}
	over, err := r.hearsOfSettled(x, from+1, upto)
	return n - over, err
}

// keepDiscarded remembers how many of the deliveries that were discarded since an
// owner's last pause began go.
func (t *tx) keepDiscarded(x *told, g gone) error {
	s, ok := x.lastDiscard()
	if !ok {
		return nil
	}
	n, err := t.waitedFor(x, s, g.upto)
	if err != nil {
		return err
	}
	inSpan, err := t.unsettled(x, max(s.from-1, g.old), min(s.to, g.upto))
	if n += inSpan; err != nil || n == 0 {
		return err
	}
	_, err = t.exec("UPDATE span SET pruned = pruned + ? WHERE ep = ? AND from_seq = ?", n, x.key.ep, int64(s.from))
	return err
}

// losses returns what an endpoint lost.
func (r *reader) losses(ep int64) (l delivery.Loss, err error) {
	var recorded, at int64
	err = r.get([]any{&l.Deliveries, &recorded, &at}, "SELECT COALESCE(SUM(deliveries), 0), COALESCE(MAX(recorded), 0), COALESCE(MAX(at), 0) FROM loss WHERE ep = ?", ep)
	l.RecordedUpto, l.At = moment(recorded), moment(at)
	return l, err
}

// pruneDays drops whole days of the log, where the database keeps it so, the
// oldest first: each at a stroke, with everything of it.
func (s *Store) pruneDays(ctx context.Context, p store.Prune) (out store.Pruned, err error) {
	var days, attempts []int64
	err = s.read(ctx, func(r *reader) (err error) {
		if days, err = r.Days("event"); err == nil {
			attempts, err = r.Days("attempt")
		}
		return err
	})
	if err != nil || len(days)+len(attempts) == 0 {
		return out, err
	}
	// Clocks differ, and so may the order of the log: a day is over a while after
	// its end.
	over := func(day int64) bool { return !moment(day + dayTime + outOfTime).After(p.Before) }
	for _, day := range days {
		if !over(day) {
			break
		}
		done := false
		var n, lost int
		err := s.write(ctx, func(t *tx) (err error) {
			done, n, lost, err = t.pruneDay(day, p)
			return err
		})
		if err != nil {
			return out, err
		}
		if !done {
			break
		}
		out.Events, out.Lost, out.More = out.Events+n, out.Lost+lost, true
	}
	// Attempts are made after their events were recorded, by clocks that differ.
	for _, day := range attempts {
		if !over(day) {
			break
		}
		done := false
		err := s.write(ctx, func(t *tx) (err error) {
			done, err = t.pruneAttempts(day)
			return err
		})
		if err != nil || !done {
			return out, err
		}
	}
	return out, nil
}

// pruneDay drops a day of the log if nobody waits for any of it, or if that does
// not count, and if no younger event stands before one of it.
func (t *tx) pruneDay(day int64, p store.Prune) (done bool, n, lost int, err error) {
	if free, err := t.LockDays(); err != nil || !free {
		return false, 0, 0, err
	}
	type log struct {
		id  access.ID
		app int64
		gone
	}
	var logs []log
	err = t.each(func(rows db.Rows) error {
		var l log
		err := rows.Scan((*string)(&l.id), &l.app, (*int64)(&l.old))
		logs = append(logs, l)
		return err
	}, "SELECT app_id, app, pruned_seq FROM application ORDER BY app_id FOR UPDATE")
	if err != nil {
		return false, 0, 0, err
	}
	left := logs[:0]
	for _, l := range logs {
		err := t.get([]any{(*int64)(&l.upto), &l.last, &l.chain}, `SELECT seq, recorded_at, chain FROM event
			WHERE app = ? AND recorded_at >= ? AND recorded_at < ? ORDER BY seq DESC LIMIT 1`, l.app, day, day+dayTime)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return false, 0, 0, err
		}
		if l.upto <= l.old {
			continue
		}
		var young bool
		err = t.get([]any{&young}, "SELECT EXISTS (SELECT 1 FROM event WHERE app = ? AND seq > ? AND seq < ? AND recorded_at >= ?)",
			l.app, int64(l.old), int64(l.upto), millis(p.Before))
		if err == nil && !young && !p.Losing {
			var settled event.Seq
			settled, err = t.settledUpto(l.app)
			young = settled < l.upto
		}
		if err != nil || young {
			return false, 0, 0, err
		}
		left = append(left, l)
	}
	for _, l := range left {
		var events int
		// What is left of those places elsewhere is as old.
		err := t.get([]any{&events}, "SELECT COUNT(*) FROM event WHERE app = ? AND seq > ? AND seq <= ?", l.app, int64(l.old), int64(l.upto))
		if err != nil {
			return false, 0, 0, err
		}
		x, err := t.pruned(l.id, l.app, l.gone, p)
		if err != nil {
			return false, 0, 0, err
		}
		n, lost = n+events, lost+x
	}
	if err := t.DropDay("event", day); err != nil {
		return false, 0, 0, err
	}
	for _, l := range left {
		if _, err := t.exec("DELETE FROM event WHERE app = ? AND seq <= ?", l.app, int64(l.upto)); err != nil {
			return false, 0, 0, err
		}
	}
	return true, n, lost, nil
}

// pruneAttempts drops a day's attempts if no event is left that one of them can be
// of.
func (t *tx) pruneAttempts(day int64) (done bool, err error) {
	logs, err := t.aged()
	if err != nil || len(logs) > 0 && logs[0].first.UnixMilli() < day+dayTime+outOfTime {
		return false, err
	}
	if free, err := t.LockDays(); err != nil || !free {
		return false, err
	}
	return true, t.DropDay("attempt", day)
}
