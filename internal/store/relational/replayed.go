package relational

import (
	"context"
	"fmt"
	"slices"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// ReplaySelection implements store.Reader.
func (s *Store) ReplaySelection(ctx context.Context, app access.ID, id subscription.ID, q store.ReplayQuery) (list []event.Seq, stale int, err error) {
	if q.EventIDs != nil {
		err = s.read(ctx, func(r *reader) error {
			t, err := r.living(app, id)
			if err == nil {
				list, stale, err = r.chosen(t, q)
			}
			return err
		})
		return list, stale, err
	}
	// In steps, so that no snapshot lasts long.
	for place := event.Seq(0); ; {
		var end bool
		err := s.read(ctx, func(r *reader) error {
			t, err := r.living(app, id)
			if err == nil {
				place, end, err = r.chosenByTime(t, q, place, &list, &stale)
			}
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		if end {
			return list, stale, nil
		}
	}
}

// chosenByTime adds the places of what was recorded in the time asked for, behind
// a place, and returns how far it looked.
func (r *reader) chosenByTime(t *told, q store.ReplayQuery, after event.Seq, list *[]event.Seq, stale *int) (upto event.Seq, end bool, err error) {
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
	err = r.each(func(rows db.Rows) error {
		e, err := scanHappened(rows.Scan)
		found = append(found, candidate{t, e})
		return err
	}, "SELECT "+happenedFields+` FROM event e WHERE e.app = ? AND e.seq > ? AND e.seq <= ? AND e.recorded_at >= ? AND e.recorded_at < ?
		AND e.erased = 0 AND `+matching+" ORDER BY e.seq", append([]any{t.key.app, int64(after), int64(upto), from, to}, args...)...)
	if err != nil {
		return after, false, err
	}
	seqs, old, err := r.replayable(found, q)
	*list, *stale = append(*list, seqs...), *stale+old
	return upto, upto == hi, err
}

// chosen returns the places of the events that were named.
func (r *reader) chosen(t *told, q store.ReplayQuery) (list []event.Seq, stale int, err error) {
	found := make([]candidate, 0, len(q.EventIDs))
	for i, id := range q.EventIDs {
		e, err := scanHappened(func(dst ...any) error {
			return r.get(dst, "SELECT "+happenedFields+" FROM event e WHERE e.event_id = ? AND e.app = ?", id, t.key.app)
		})
		if isNotFound(err) || err == nil && !t.would(e) {
			return nil, 0, fault.At(fault.Invalid, "unknown_event", fmt.Sprintf("/eventIds/%d", i),
				"There is no such event that this endpoint is told.")
		}
		if err != nil {
			return nil, 0, err
		}
		if e.Erased {
			return nil, 0, fault.At(fault.Invalid, "event_erased", fmt.Sprintf("/eventIds/%d", i),
				"The person that this event is about was erased, and its body with it.")
		}
		found = append(found, candidate{t, e})
	}
	list, stale, err = r.replayable(found, q)
	slices.Sort(list)
	return slices.Compact(list), stale, err
}

// replayable returns the places of those that are not on their way already,
// and are in the status asked for; stale ones are counted instead.
func (r *reader) replayable(found []candidate, q store.ReplayQuery) (list []event.Seq, stale int, err error) {
	facts, err := r.facts(found)
	if err != nil {
		return nil, 0, err
	}
	for i, c := range found {
		v, was := c.fate(facts[i])
		switch {
		case v.Status == delivery.Pending, v.Status == delivery.Retrying, v.Status == delivery.Held:
		case q.Status == "", was && v.Status == q.Status:
			old := false
			if !q.IncludeStale {
				if old, err = r.isStale(c.t.key, c.e.Type, c.e.Subject, c.e.Seq); err != nil {
					return nil, 0, err
				}
			}
			if old {
				stale++
				continue
			}
			list = append(list, c.e.Seq)
		}
	}
	return list, stale, nil
}

// isStale tells whether an event is a full state and a newer one of its
// subject was delivered to the endpoint.
func (r *reader) isStale(key epKey, typ event.Type, subject string, seq event.Seq) (yes bool, err error) {
	if typ != event.PermissionsEffective {
		return false, nil
	}
	err = r.get([]any{&yes}, `SELECT EXISTS (SELECT 1 FROM event e JOIN attempt a ON a.ep = ? AND a.seq = e.seq AND a.delivered = 1
		WHERE e.app = ? AND e.subject = ? AND e.seq > ? AND e.type = ?)`, key.ep, key.app, subject, int64(seq), string(typ))
	return yes, err
}
