package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// ReplaySelection implements store.Reader.
func (s *Store) ReplaySelection(ctx context.Context, app access.ID, id subscription.ID, q store.ReplayQuery) (list []event.Seq, err error) {
	if q.EventIDs != nil {
		err = s.read(ctx, func(r *reader) error {
			t, err := r.living(app, id)
			if err == nil {
				list, err = r.chosen(t, q)
			}
			return err
		})
		return list, err
	}
	// In steps, so that no snapshot lasts long.
	for place := event.Seq(0); ; {
		var end bool
		err := s.read(ctx, func(r *reader) error {
			t, err := r.living(app, id)
			if err == nil {
				place, end, err = r.recorded(t, q, place, &list)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if end {
			return list, nil
		}
	}
}

// recorded adds the places of what was recorded in the time asked for, behind
// a place, and returns how far it looked.
func (r *reader) recorded(t *told, q store.ReplayQuery, after event.Seq, list *[]event.Seq) (upto event.Seq, end bool, err error) {
	lo, hi, err := r.between(t.key.app, q.From, q.To)
	if err != nil {
		return after, false, err
	}
	after = max(after, lo-1)
	upto = min(after+scanPage, hi)
	if after >= upto {
		return after, true, nil
	}
	args, err := matchingArgs(t.filters[len(t.filters)-1].filter, t.id)
	if err != nil {
		return after, false, err
	}
	from, to := bounds(q.From, q.To)
	var found []candidate
	err = r.each(func(rows *sql.Rows) error {
		e, err := scanHappened(rows.Scan)
		found = append(found, candidate{t, e})
		return err
	}, "SELECT "+happenedFields+` FROM event e WHERE e.app = ? AND e.seq > ? AND e.seq <= ? AND e.recorded_at >= ? AND e.recorded_at < ?
		AND `+matching+" ORDER BY e.seq", append([]any{t.key.app, int64(after), int64(upto), from, to}, args...)...)
	if err != nil {
		return after, false, err
	}
	seqs, err := r.replayable(found, q.Status)
	*list = append(*list, seqs...)
	return upto, upto == hi, err
}

// chosen returns the places of the events that were named.
func (r *reader) chosen(t *told, q store.ReplayQuery) ([]event.Seq, error) {
	found := make([]candidate, 0, len(q.EventIDs))
	for i, id := range q.EventIDs {
		e, err := scanHappened(func(dst ...any) error {
			return r.get(dst, "SELECT "+happenedFields+" FROM event e WHERE e.event_id = ? AND e.app = ?", id, t.key.app)
		})
		if isNotFound(err) || err == nil && !t.would(e) {
			return nil, fault.At(fault.Invalid, "unknown_event", fmt.Sprintf("/eventIds/%d", i),
				"There is no such event that this endpoint is told.")
		}
		if err != nil {
			return nil, err
		}
		found = append(found, candidate{t, e})
	}
	list, err := r.replayable(found, q.Status)
	slices.Sort(list)
	return slices.Compact(list), err
}

// replayable returns the places of those that are not on their way already,
// and are in the status asked for.
func (r *reader) replayable(found []candidate, status delivery.Status) (list []event.Seq, err error) {
	facts, err := r.facts(found)
	if err != nil {
		return nil, err
	}
	for i, c := range found {
		v, was := c.fate(facts[i])
		switch {
		case v.Status == delivery.Pending, v.Status == delivery.Retrying, v.Status == delivery.Held:
		case status == "", was && v.Status == status:
			list = append(list, c.e.Seq)
		}
	}
	return list, nil
}
