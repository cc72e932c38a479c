package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

const (
	// viewScan is how many pairs of event and endpoint one page of deliveries
	// looks at, at most.
	viewScan = 5000
	// discardedExact is the largest number of discarded deliveries that is
	// counted one by one.
	discardedExact = 100_000
)

// told is an endpoint as its deliveries are read: how far it is, under which
// filters, and what it was not sent.
type told struct {
	key     epKey
	id      delivery.Endpoint
	style   subscription.Style
	status  subscription.Status
	deleted bool
	start   event.Seq
	cursor  event.Seq
	hold    delivery.Hold
	why     string // it is suspended
	filters []since
	spans   []span // in order
}

// since is a filter and the place behind which it is in force.
type since struct {
	from   event.Seq
	filter subscription.Filter
}

type span struct {
	from, to event.Seq // both included; to is the largest place while it is open
	state    delivery.Status
	at       time.Time
	open     bool
}

// happened is an event without its body.
type happened struct {
	event.Event
}

const toldFields = `p.ep, p.app, p.endpoint_id, p.style, p.status, p.deleted_at IS NOT NULL, p.start_seq, p.cursor_seq, p.hold_state, p.hold_reason`

func scanTold(scan func(...any) error) (*told, error) {
	var t told
	err := scan(&t.key.ep, &t.key.app, (*string)(&t.id), (*string)(&t.style), (*string)(&t.status), &t.deleted,
		(*int64)(&t.start), (*int64)(&t.cursor), (*string)(&t.hold.State), &t.hold.Reason)
	return &t, err
}

// told reads one endpoint of the application, deleted ones included.
func (r *reader) told(app access.ID, id delivery.Endpoint) (*told, error) {
	key, err := r.ownedEp(app, id)
	if err != nil {
		return nil, err
	}
	t, err := scanTold(func(dst ...any) error {
		return r.get(dst, "SELECT "+toldFields+" FROM endpoint p WHERE p.ep = ?", key.ep)
	})
	if err != nil {
		return nil, err
	}
	return t, r.complete(t)
}

// complete reads an endpoint's filters and spans.
func (r *reader) complete(t *told) error {
	err := r.each(func(rows *sql.Rows) error {
		var s since
		var text string
		err := rows.Scan((*int64)(&s.from), &text)
		if err == nil {
			s.filter, err = decodeFilter(text)
		}
		t.filters = append(t.filters, s)
		return err
	}, "SELECT from_seq, filter FROM filter WHERE ep = ? ORDER BY from_seq", t.key.ep)
	if err != nil {
		return err
	}
	if t.status == subscription.Suspended && !t.deleted {
		e, err := r.endpoint(t.id)
		if err != nil {
			return err
		}
		t.why = e.StatusReason
	}
	return r.each(func(rows *sql.Rows) error {
		var s span
		var to sql.NullInt64
		var at int64
		err := rows.Scan((*int64)(&s.from), &to, (*string)(&s.state), &at)
		s.to, s.open, s.at = event.Seq(to.Int64), !to.Valid, moment(at)
		if s.open {
			s.to = math.MaxInt64
		}
		t.spans = append(t.spans, s)
		return err
	}, "SELECT from_seq, to_seq, state, at FROM span WHERE ep = ? ORDER BY from_seq", t.key.ep)
}

// hears tells whether the endpoint is told e, by the filter in force at its
// place.
func (t *told) hears(e happened) bool {
	if e.Seq <= t.start {
		return false
	}
	i, found := slices.BinarySearchFunc(t.filters, e.Seq, func(s since, seq event.Seq) int {
		if s.from < seq {
			return -1
		}
		return 1
	})
	_ = found
	return i > 0 && t.filters[i-1].filter.Matches(subscription.ID(t.id), e.Event)
}

// would tells whether the endpoint is told e by the filter it has now.
func (t *told) would(e happened) bool {
	return len(t.filters) > 0 && t.filters[len(t.filters)-1].filter.Matches(subscription.ID(t.id), e.Event)
}

func (t *told) span(seq event.Seq) (span, bool) {
	for _, s := range t.spans {
		if s.from <= seq && seq <= s.to {
			return s, true
		}
	}
	return span{}, false
}

func (t *told) held() (reason string, held bool) {
	switch {
	case t.status == subscription.Suspended:
		return t.why, true
	case t.hold.Held():
		return t.hold.Reason, true
	}
	return "", false
}

// The reasons of deliveries that ended without an attempt's.
const (
	whyDiscarded  = "the endpoint was paused by its owner"
	whyCancelled  = "the endpoint was deleted"
	whySuperseded = "a newer full state was waiting"
)

// fate derives what became of an event at an endpoint; ok is false when it is
// no delivery of the endpoint's.
func (r *reader) fate(t *told, e happened) (v delivery.View, ok bool, err error) {
	x, err := scanException(func(dst ...any) error {
		return r.get(dst, "SELECT "+exceptionFields+" FROM exception WHERE ep = ? AND seq = ?", t.key.ep, int64(e.Seq))
	})
	trouble := err == nil
	if err != nil && !isNotFound(err) {
		return v, false, err
	}
	v = delivery.View{
		ID: delivery.ID(t.id, e.Seq), EventID: e.ID, Endpoint: t.id, Interceptor: t.style == subscription.Interceptor,
		Seq: e.Seq, Type: e.Type, Subject: e.Subject, Sequence: e.Sequence, CreatedAt: e.RecordedAt,
	}
	round := false // delivered in the exception's round
	err = r.each(func(rows *sql.Rows) error {
		var n int
		var at, took int64
		var delivered bool
		var reason string
		if err := rows.Scan(&n, &at, &took, &delivered, &reason); err != nil {
			return err
		}
		v.AttemptCount++
		if !delivered {
			v.Reason = reason
		} else if v.DeliveredAt.IsZero() {
			v.DeliveredAt = moment(at).Add(time.Duration(took) * time.Microsecond).Truncate(time.Millisecond)
		}
		round = round || delivered && n > x.Base
		return nil
	}, "SELECT n, at, duration_us, delivered, reason FROM attempt WHERE ep = ? AND seq = ? ORDER BY n", t.key.ep, int64(e.Seq))
	if err != nil {
		return v, false, err
	}
	if !trouble && v.AttemptCount == 0 && !t.hears(e) {
		return v, false, nil
	}
	delivered := !v.DeliveredAt.IsZero()
	reason, held := t.held()
	wait := func(s delivery.Status) {
		if v.Status = s; held {
			v.Status, v.Reason = delivery.Held, reason
		}
	}
	switch s, in := t.span(e.Seq); {
	case trouble && x.State == delivery.WaitRetry:
		v.NextAttemptAt = x.NextAt
		if wait(delivery.Retrying); held {
			v.NextAttemptAt = time.Time{}
		}
	case trouble && x.State == delivery.WaitTurn:
		wait(delivery.Pending)
	case trouble && x.State == delivery.EndExhausted:
		v.Status = delivery.Exhausted
	case trouble && !round:
		v.Status = delivery.Status(x.State) // discarded, superseded, cancelled
	case delivered:
		v.Status = delivery.Delivered
	case in:
		v.Status = s.state
	case t.deleted:
		return v, false, nil // logged after it was deleted
	case e.Seq > t.cursor:
		wait(delivery.Pending)
	default:
		v.Status = delivery.Delivered // its attempts were dropped with age
	}
	switch v.Status {
	case delivery.Delivered:
		v.Reason = ""
	case delivery.Discarded:
		v.Reason = whyDiscarded
	case delivery.Cancelled:
		v.Reason = whyCancelled
	case delivery.Superseded:
		v.Reason = whySuperseded
	}
	if v.Status != delivery.Delivered {
		v.DeliveredAt = time.Time{}
	}
	return v, true, nil
}

const happenedFields = "e.event_id, e.seq, e.feed, e.type, e.subject, e.sequence, e.recorded_at, e.except_id"

func scanHappened(scan func(...any) error) (happened, error) {
	var h happened
	var recorded int64
	err := scan(&h.ID, (*int64)(&h.Seq), (*string)(&h.Feed), (*string)(&h.Type), &h.Subject, &h.Sequence, &recorded, &h.Except)
	h.RecordedAt = moment(recorded)
	return h, err
}

// happenedAt reads the event at a place.
func (r *reader) happenedAt(app int64, seq event.Seq) (happened, error) {
	return scanHappened(func(dst ...any) error {
		return r.get(dst, "SELECT "+happenedFields+" FROM event e WHERE e.app = ? AND e.seq = ?", app, int64(seq))
	})
}

// Delivery implements store.Reader.
func (s *Store) Delivery(ctx context.Context, app access.ID, id string) (d delivery.Detail, err error) {
	err = s.read(ctx, func(r *reader) error {
		e, seq, ok := delivery.ParseID(id)
		if !ok {
			return notFound()
		}
		t, err := r.told(app, e)
		if err != nil {
			return err
		}
		h, err := r.happenedAt(t.key.app, seq)
		if err != nil {
			return err
		}
		d = delivery.Detail{}
		if d.View, ok, err = r.fate(t, h); err != nil {
			return err
		}
		if !ok {
			return notFound()
		}
		item, err := r.item(t.key.app, seq)
		if err != nil {
			return err
		}
		d.Body = item.Body
		d.Attempts, err = r.attempts(t, h)
		return err
	})
	return d, err
}

// item reads the event at a place with its body.
func (r *reader) item(app int64, seq event.Seq) (delivery.Item, error) {
	return r.scanItem(func(dst ...any) error {
		return r.get(dst, "SELECT "+itemFields+` FROM event e JOIN subject s ON s.app = e.app AND s.subject = e.subject
			WHERE e.app = ? AND e.seq = ?`, app, int64(seq))
	}, app)
}

// attempts reads the attempts of one delivery with what they looked like.
func (r *reader) attempts(t *told, h happened) (list []delivery.AttemptView, err error) {
	err = r.each(func(rows *sql.Rows) error {
		a := delivery.AttemptView{Attempt: delivery.Attempt{Seq: h.Seq, Subject: h.Subject}}
		var at, took, next int64
		var sealed []byte
		err := rows.Scan(&a.N, &at, &took, &a.Delivered, &a.Status, (*string)(&a.Step), &a.Reason, &a.Replay, &a.Config,
			&a.Timestamp, &a.InteractionID, &a.Signature, &sealed, &next)
		if err != nil {
			return err
		}
		a.At, a.Duration, a.NextAt = moment(at), time.Duration(took)*time.Microsecond, moment(next)
		if sealed != nil {
			c, err := r.subjectCipher(t.key.app, h.Subject)
			if err != nil {
				return err
			}
			content, err := c.Open(sealed, responsePlace(t.key.ep, h.Seq))
			if err == nil {
				a.Response, err = decodeResponse(content)
			}
			if err != nil {
				return fmt.Errorf("open an answer: %w", err)
			}
		}
		list = append(list, a)
		return nil
	}, `SELECT n, at, duration_us, delivered, status, step, reason, replay, config, timestamp, interaction, signature, response, next_at
		FROM attempt WHERE ep = ? AND seq = ? ORDER BY n`, t.key.ep, int64(h.Seq))
	if err != nil {
		return nil, err
	}
	shown := map[int64]delivery.Shown{}
	for i := range list {
		v := list[i].Config
		if _, ok := shown[v]; !ok {
			if shown[v], err = r.shown(t.key.ep, t.id, v); err != nil && !isNotFound(err) {
				return nil, err
			}
		}
		list[i].Shown = shown[v]
	}
	return list, nil
}

// place is where a page of deliveries ended: an event, and one of its
// endpoints. The next page begins behind it.
type place struct {
	seq event.Seq
	ep  int64
}

func (p place) String() string {
	return strconv.FormatInt(int64(p.seq), 36) + "-" + strconv.FormatInt(p.ep, 36)
}

func parsePlace(s string) (place, error) {
	if s == "" {
		return place{seq: math.MaxInt64, ep: math.MaxInt64}, nil
	}
	seq, ep, _ := strings.Cut(s, "-")
	a, err1 := strconv.ParseInt(seq, 36, 64)
	b, err2 := strconv.ParseInt(ep, 36, 64)
	p := place{event.Seq(a), b}
	if err1 != nil || err2 != nil || a < 1 || b < 0 || p.String() != s {
		return place{}, badAfter()
	}
	return p, nil
}

// Deliveries implements store.Reader.
func (s *Store) Deliveries(ctx context.Context, app access.ID, q store.DeliveryQuery) (list []delivery.View, next string, err error) {
	after, err := parsePlace(q.After)
	if err != nil {
		return nil, "", err
	}
	limit := pageLimit(q.Limit)
	err = s.read(ctx, func(r *reader) error {
		list, next = nil, ""
		key, err := r.app(app)
		if err != nil {
			return err
		}
		eps, err := r.tolds(app, key, q)
		if err != nil || len(eps) == 0 {
			return err
		}
		where, args, err := r.deliveryWhere(key, q, after.seq)
		if err != nil || where == "" {
			return err
		}
		var events []happened // read first, for the connection serves one statement at a time
		most := viewScan/len(eps) + 2
		err = r.each(func(rows *sql.Rows) error {
			h, err := scanHappened(rows.Scan)
			events = append(events, h)
			return err
		}, "SELECT "+happenedFields+" FROM event e WHERE "+where+" ORDER BY e.seq DESC LIMIT ?", append(args, most)...)
		if err != nil {
			return err
		}
		for i, h := range events {
			for _, t := range eps { // the youngest endpoint first
				if h.Seq == after.seq && t.key.ep >= after.ep {
					continue
				}
				v, ok, err := r.fate(t, h)
				if err != nil {
					return err
				}
				if !ok || q.Status != "" && v.Status != q.Status {
					continue
				}
				list = append(list, v)
				if len(list) == limit {
					if i < len(events)-1 || t != eps[len(eps)-1] || len(events) == most {
						next = place{h.Seq, t.key.ep}.String()
					}
					return nil
				}
			}
		}
		if len(events) == most {
			next = place{events[most-1].Seq, 0}.String()
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

// tolds reads the endpoints that a query is about, the youngest first.
func (r *reader) tolds(app access.ID, key int64, q store.DeliveryQuery) ([]*told, error) {
	if q.Endpoint != "" {
		t, err := r.told(app, delivery.Endpoint(q.Endpoint))
		if err == nil && q.Style != "" && t.style != q.Style {
			return nil, notFound()
		}
		return []*told{t}, err
	}
	var list []*told
	err := r.each(func(rows *sql.Rows) error {
		t, err := scanTold(rows.Scan)
		list = append(list, t)
		return err
	}, "SELECT "+toldFields+" FROM endpoint p WHERE p.app = ? ORDER BY p.ep DESC", key)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		if err := r.complete(t); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// deliveryWhere is the condition on events e of a query, from a place
// backwards; empty: there are none.
func (r *reader) deliveryWhere(key int64, q store.DeliveryQuery, upto event.Seq) (string, []any, error) {
	where, args := "e.app = ? AND e.seq <= ?", []any{key, int64(upto)}
	if !q.From.IsZero() || !q.To.IsZero() {
		lo, hi, err := r.between(key, q.From, q.To)
		if err != nil || lo == 0 {
			return "", nil, err
		}
		from, to := bounds(q.From, q.To)
		where += " AND e.seq BETWEEN ? AND ? AND e.recorded_at >= ? AND e.recorded_at < ?"
		args = append(args, int64(lo), int64(hi), from, to)
	}
	if q.Subject != "" {
		where, args = where+" AND e.subject = ?", append(args, q.Subject)
	}
	if q.EventID != "" {
		where, args = where+" AND e.event_id = ?", append(args, q.EventID)
	}
	return where, args, nil
}

// bounds are the first and the last time of a span, as they are kept: from
// inclusive, to exclusive; a zero time does not restrict.
func bounds(from, to time.Time) (lo, hi int64) {
	lo, hi = math.MinInt64, math.MaxInt64
	if !from.IsZero() {
		if lo = from.UnixMilli(); from.After(time.UnixMilli(lo)) {
			lo++
		}
	}
	if !to.IsZero() {
		if hi = to.UnixMilli(); to.After(time.UnixMilli(hi)) {
			hi++
		}
	}
	return lo, hi
}

// between returns the first and the last place of what was recorded in a span
// of time; 0: there is none.
func (r *reader) between(app int64, from, to time.Time) (lo, hi event.Seq, err error) {
	a, b := bounds(from, to)
	err = r.get([]any{(*int64)(&lo), (*int64)(&hi)}, `SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM event
		WHERE app = ? AND recorded_at >= ? AND recorded_at < ?`, app, a, b)
	return lo, hi, err
}

// Health implements store.Reader.
func (s *Store) Health(ctx context.Context, app access.ID, id subscription.ID) (h delivery.Health, err error) {
	err = s.read(ctx, func(r *reader) error {
		h = delivery.Health{}
		t, err := r.told(app, delivery.Endpoint(id))
		if err == nil && t.deleted {
			return notFound()
		}
		if err != nil {
			return err
		}
		if err := r.standing(t.key.ep, &t.cursor, &h.Breaker, &h.Hold); err != nil {
			return err
		}
		if t.status == subscription.Paused {
			h.Discarded, err = r.discarded(t)
			return err
		}
		if h.Discarded, err = r.discarded(t); err != nil {
			return err
		}
		return r.backlog(t, &h)
	})
	return h, err
}

// backlog counts what waits for an endpoint: exceptions, and what is behind
// the cursor and not settled yet.
func (r *reader) backlog(t *told, h *delivery.Health) error {
	var first event.Seq // of the oldest
	err := r.get([]any{&h.Backlog, (*int64)(&first)}, `SELECT COUNT(*), COALESCE(MIN(seq), 0) FROM
		(SELECT seq FROM exception WHERE ep = ? AND state IN ('retrying', 'blocked') ORDER BY seq LIMIT ?)`, t.key.ep, delivery.BacklogExact+1)
	if err != nil {
		return err
	}
	settled := map[event.Seq]bool{}
	err = r.each(func(rows *sql.Rows) error {
		var seq event.Seq
		err := rows.Scan((*int64)(&seq))
		settled[seq] = true
		return err
	}, `SELECT seq FROM attempt WHERE ep = ? AND seq > ? AND delivered = 1 UNION SELECT seq FROM exception WHERE ep = ? AND seq > ?`,
		t.key.ep, int64(t.cursor), t.key.ep, int64(t.cursor))
	if err != nil {
		return err
	}
	for i, f := range t.filters {
		from, to := max(f.from, t.cursor), event.Seq(math.MaxInt64)
		if i+1 < len(t.filters) {
			to = t.filters[i+1].from
		}
		if from >= to || h.Backlog > delivery.BacklogExact {
			continue
		}
		args, err := matchingArgs(f.filter, t.id)
		if err != nil {
			return err
		}
		args = append([]any{t.key.app, int64(from), int64(to)}, args...)
		err = r.each(func(rows *sql.Rows) error {
			var seq event.Seq
			if err := rows.Scan((*int64)(&seq)); err != nil || settled[seq] {
				return err
			}
			if h.Backlog++; first == 0 || seq < first {
				first = seq
			}
			return nil
		}, "SELECT e.seq FROM event e WHERE e.app = ? AND e.seq > ? AND e.seq <= ? AND "+matching+" ORDER BY e.seq LIMIT ?",
			append(args, delivery.BacklogExact+1+len(settled)-h.Backlog)...)
		if err != nil {
			return err
		}
	}
	if h.Backlog > delivery.BacklogExact {
		h.Backlog, h.AtLeast = delivery.BacklogExact, true
	}
	if first == 0 {
		return nil
	}
	oldest, err := r.happenedAt(t.key.app, first)
	if isNotFound(err) {
		return nil
	}
	h.OldestAt = oldest.RecordedAt
	return err
}

// discarded counts what was discarded since the owner's last pause began, and
// is so still.
func (r *reader) discarded(t *told) (n int, err error) {
	i := len(t.spans) - 1
	for i >= 0 && t.spans[i].state != delivery.Discarded {
		i--
	}
	var since time.Time
	if i >= 0 {
		since = t.spans[i].at
	}
	err = r.get([]any{&n}, `SELECT COUNT(*) FROM exception x WHERE x.ep = ? AND x.state = 'discarded' AND x.ended_at >= ?
		AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.ep = x.ep AND a.seq = x.seq AND a.n > x.base AND a.delivered = 1)`, t.key.ep, millis(since))
	if err != nil || i < 0 {
		return n, err
	}
	s := t.spans[i]
	for i, f := range t.filters {
		from, to := max(f.from, s.from-1), s.to
		if i+1 < len(t.filters) {
			to = min(to, t.filters[i+1].from)
		}
		if from >= to {
			continue
		}
		args, err := matchingArgs(f.filter, t.id)
		if err != nil {
			return n, err
		}
		args = append([]any{t.key.ep, t.key.ep, t.key.app, int64(from), int64(to)}, args...)
		var part int
		err = r.get([]any{&part}, `SELECT COUNT(*) FROM (SELECT 1 FROM event e WHERE
			NOT EXISTS (SELECT 1 FROM exception x WHERE x.ep = ? AND x.seq = e.seq)
			AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.ep = ? AND a.seq = e.seq AND a.delivered = 1)
			AND e.app = ? AND e.seq > ? AND e.seq <= ? AND `+matching+" LIMIT ?)", append(args, discardedExact)...)
		if err != nil {
			return n, err
		}
		n += part
	}
	return n, nil
}

// ReplaySelection implements store.Reader.
func (s *Store) ReplaySelection(ctx context.Context, app access.ID, id subscription.ID, q store.ReplayQuery) (list []event.Seq, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		t, err := r.told(app, delivery.Endpoint(id))
		if err == nil && t.deleted {
			return notFound()
		}
		if err != nil {
			return err
		}
		if q.EventIDs != nil {
			list, err = r.chosen(t, q)
			return err
		}
		var events []happened
		lo, hi, err := r.between(t.key.app, q.From, q.To)
		if err != nil || lo == 0 {
			return err
		}
		args, err := matchingArgs(t.filters[len(t.filters)-1].filter, t.id)
		if err != nil {
			return err
		}
		from, to := bounds(q.From, q.To)
		err = r.each(func(rows *sql.Rows) error {
			h, err := scanHappened(rows.Scan)
			events = append(events, h)
			return err
		}, "SELECT "+happenedFields+` FROM event e WHERE e.app = ? AND e.seq BETWEEN ? AND ? AND e.recorded_at >= ? AND e.recorded_at < ?
			AND `+matching+" ORDER BY e.seq", append([]any{t.key.app, int64(lo), int64(hi), from, to}, args...)...)
		if err != nil {
			return err
		}
		for _, h := range events {
			yes, err := r.replayable(t, h, q.Status)
			if err != nil {
				return err
			}
			if yes {
				list = append(list, h.Seq)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// chosen returns the places of the events that were named.
func (r *reader) chosen(t *told, q store.ReplayQuery) (list []event.Seq, err error) {
	for i, id := range q.EventIDs {
		h, err := scanHappened(func(dst ...any) error {
			return r.get(dst, "SELECT "+happenedFields+" FROM event e WHERE e.event_id = ? AND e.app = ?", id, t.key.app)
		})
		if isNotFound(err) || err == nil && !t.would(h) {
			return nil, fault.At(fault.Invalid, "unknown_event", fmt.Sprintf("/eventIds/%d", i),
				"There is no such event that this endpoint is told.")
		}
		if err != nil {
			return nil, err
		}
		yes, err := r.replayable(t, h, q.Status)
		if err != nil {
			return nil, err
		}
		if yes {
			list = append(list, h.Seq)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// replayable tells whether an event is not on its way to the endpoint already,
// and is in the status asked for.
func (r *reader) replayable(t *told, h happened, status delivery.Status) (bool, error) {
	v, was, err := r.fate(t, h)
	if err != nil {
		return false, err
	}
	switch {
	case !was:
		return status == "", nil
	case v.Status == delivery.Pending, v.Status == delivery.Retrying, v.Status == delivery.Held:
		return false, nil
	}
	return status == "" || v.Status == status, nil
}
