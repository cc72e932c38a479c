package relational

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
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
	first   event.Seq // no delivery has a lower place
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

// span are places whose events were not sent although they matched.
type span struct {
	from, to event.Seq // both included; to is the largest place while it is open
	state    delivery.Status
	at       time.Time
	pruned   int // of its deliveries, that are gone with their events
}

const toldFields = `p.ep, p.app, p.endpoint_id, p.style, p.status, p.deleted_at IS NOT NULL, p.start_seq, ` + cursorOf + `, p.hold_state, p.hold_reason,
	MIN(p.start_seq + 1, COALESCE((SELECT MIN(seq) FROM attempt WHERE ep = p.ep), p.start_seq + 1),
		COALESCE((SELECT MIN(seq) FROM exception WHERE ep = p.ep), p.start_seq + 1))`

func scanTold(scan func(...any) error) (*told, error) {
	var t told
	err := scan(&t.key.ep, &t.key.app, (*string)(&t.id), (*string)(&t.style), (*string)(&t.status), &t.deleted,
		(*int64)(&t.start), (*int64)(&t.cursor), (*string)(&t.hold.State), &t.hold.Reason, (*int64)(&t.first))
	return &t, err
}

// told reads one endpoint of the application, deleted ones included;
// fault.NotFound.
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

// living is told for an endpoint that must not be deleted.
func (r *reader) living(app access.ID, id subscription.ID) (*told, error) {
	t, err := r.told(app, delivery.Endpoint(id))
	if err == nil && t.deleted {
		return nil, notFound()
	}
	return t, err
}

// complete reads an endpoint's filters and spans.
func (r *reader) complete(t *told) error {
	err := r.each(func(rows db.Rows) error {
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
	return r.each(func(rows db.Rows) error {
		s := span{to: math.MaxInt64}
		var to sql.NullInt64
		var at int64
		err := rows.Scan((*int64)(&s.from), &to, (*string)(&s.state), &at, &s.pruned)
		if s.at = moment(at); to.Valid {
			s.to = event.Seq(to.Int64)
		}
		t.spans = append(t.spans, s)
		return err
	}, "SELECT from_seq, to_seq, state, at, pruned FROM span WHERE ep = ? ORDER BY from_seq", t.key.ep)
}

// hears tells whether the endpoint is told e, by the filter in force at its
// place.
func (t *told) hears(e event.Event) bool {
	if e.Seq <= t.start || t.deleted && e.Seq > t.cursor {
		return false
	}
	i, _ := slices.BinarySearchFunc(t.filters, e.Seq, func(s since, seq event.Seq) int { return int(s.from - seq) })
	return i > 0 && t.filters[i-1].filter.Matches(subscription.ID(t.id), e)
}

// would tells whether the endpoint is told e by the filter it has now.
func (t *told) would(e event.Event) bool {
	return len(t.filters) > 0 && t.filters[len(t.filters)-1].filter.Matches(subscription.ID(t.id), e)
}

// parts calls fn for each filter with the places behind from, up to upto,
// where it is in force.
func (t *told) parts(from, upto event.Seq, fn func(f subscription.Filter, from, upto event.Seq) error) error {
	for i, s := range t.filters {
		a, b := max(s.from, from), upto
		if i+1 < len(t.filters) {
			b = min(b, t.filters[i+1].from)
		}
		if a >= b {
			continue
		}
		if err := fn(s.filter, a, b); err != nil {
			return err
		}
	}
	return nil
}

func (t *told) span(seq event.Seq) (span, bool) {
	i := slices.IndexFunc(t.spans, func(s span) bool { return s.from <= seq && seq <= s.to })
	if i < 0 {
		return span{}, false
	}
	return t.spans[i], true
}

// lastDiscard returns the owner's last pause.
func (t *told) lastDiscard() (s span, ok bool) {
	for _, x := range slices.Backward(t.spans) {
		if x.state == delivery.Discarded {
			return x, true
		}
	}
	return span{}, false
}

// paused tells whether the owner's pause lasts.
func (t *told) paused() bool {
	return slices.ContainsFunc(t.spans, func(s span) bool { return s.to == math.MaxInt64 })
}

// held tells whether nothing is sent to the endpoint, and why.
func (t *told) held() (reason string, held bool) {
	switch {
	case t.status == subscription.Suspended:
		return t.why, true
	case t.hold.Held():
		return t.hold.Reason, true
	}
	return "", false
}

// candidate is an event that may be a delivery to an endpoint.
type candidate struct {
	t *told
	e event.Event // without its body
}

// fact is what the tables hold of a candidate.
type fact struct {
	trouble   bool // there is an exception, x
	x         delivery.Exception
	attempts  int
	delivered time.Time // when the first attempt that succeeded ended; zero: none did
	round     bool      // one succeeded in the exception's round
	reason    string    // of the last failure
}

// facts reads what the tables hold of candidates, in their order. The text of
// the query's argument is ours: pairs of integers.
func (r *reader) facts(list []candidate) ([]fact, error) {
	out := make([]fact, len(list))
	pairs := make([][2]int64, len(list))
	for i, c := range list {
		pairs[i] = [2]int64{c.t.key.ep, int64(c.e.Seq)}
	}
	text, err := json.Marshal(pairs)
	if err != nil {
		return nil, err
	}
	err = r.each(func(rows db.Rows) error {
		var i int
		x, err := scanException(func(dst ...any) error { return rows.Scan(append(dst, &i)...) })
		if err == nil {
			out[i].trouble, out[i].x = true, x
		}
		return err
	}, "SELECT "+exceptionFields+` , j.key FROM json_each(?) j CROSS JOIN exception x ON x.ep = j.value ->> 0 AND x.seq = j.value ->> 1`, string(text))
	if err != nil {
		return nil, err
	}
	err = r.each(func(rows db.Rows) error {
		var i, n int
		var at, took int64
		var delivered bool
		var reason string
		if err := rows.Scan(&i, &n, &at, &took, &delivered, &reason); err != nil {
			return err
		}
		f := &out[i]
		f.attempts++
		if !delivered {
			f.reason = reason
			return nil
		}
		if f.delivered.IsZero() {
			f.delivered = moment(at).Add(time.Duration(took) * time.Microsecond).Truncate(time.Millisecond)
		}
		f.round = f.round || n > f.x.Base
		return nil
	}, `SELECT j.key, a.n, a.at, a.duration_us, a.delivered, a.reason FROM json_each(?) j
		CROSS JOIN attempt a ON a.ep = j.value ->> 0 AND a.seq = j.value ->> 1 ORDER BY j.key, a.n`, string(text))
	return out, err
}

// The reasons of deliveries that ended without an attempt's.
const (
	whyDiscarded  = "the endpoint was paused by its owner"
	whyCancelled  = "the endpoint was deleted"
	whySuperseded = "a newer full state was waiting"
	whyErased     = "the person was erased"
)

// fate derives what became of an event at an endpoint; ok is false when it is
// no delivery of the endpoint's.
//
// An exception decides, but for one that ended while its attempt was on the
// wire and succeeded; then an attempt that succeeded; then a span; then the
// cursor.
func (c candidate) fate(f fact) (v delivery.View, ok bool) {
	t, e := c.t, c.e
	if !f.trouble && f.attempts == 0 && !t.hears(e) {
		return v, false
	}
	v = delivery.View{
		ID: delivery.ID(t.id, e.Seq), EventID: e.ID, Endpoint: t.id, Interceptor: t.style == subscription.Interceptor, MailSender: t.style == subscription.MailSender,
		Seq: e.Seq, Type: e.Type, Subject: e.Subject, Sequence: e.Sequence, CreatedAt: e.RecordedAt,
		AttemptCount: f.attempts, Reason: f.reason,
	}
	reason, held := t.held()
	erased := false
	wait := func(s delivery.Status, next time.Time) {
		if v.Status, v.NextAttemptAt = s, next; held {
			v.Status, v.Reason, v.NextAttemptAt = delivery.Held, reason, time.Time{}
		}
	}
	switch s, in := t.span(e.Seq); {
	case f.trouble && f.x.State == delivery.WaitRetry:
		wait(delivery.Retrying, f.x.NextAt)
	case f.trouble && f.x.State == delivery.WaitTurn:
		wait(delivery.Pending, time.Time{})
	case f.trouble && f.x.State == delivery.EndExhausted && !f.round:
		v.Status = delivery.Exhausted
	case f.trouble && !f.round && f.x.State == endErased:
		v.Status = delivery.Cancelled
		erased = true
	case f.trouble && !f.round:
		v.Status = delivery.Status(f.x.State) // discarded, superseded, cancelled
	case !f.delivered.IsZero():
		v.Status, v.DeliveredAt = delivery.Delivered, f.delivered
	case in:
		v.Status = s.state
	case e.Seq > t.cursor:
		wait(delivery.Pending, time.Time{})
	default:
		v.Status = delivery.Delivered // its attempts were dropped with age
	}
	switch v.Status {
	case delivery.Delivered:
		v.Reason = ""
	case delivery.Discarded:
		v.Reason = whyDiscarded
	case delivery.Cancelled:
		if v.Reason = whyCancelled; erased {
			v.Reason = whyErased
		}
	case delivery.Superseded:
		v.Reason = whySuperseded
	}
	return v, true
}

// fate reads what became of one candidate.
func (r *reader) fate(c candidate) (delivery.View, bool, error) {
	fs, err := r.facts([]candidate{c})
	if err != nil {
		return delivery.View{}, false, err
	}
	v, ok := c.fate(fs[0])
	return v, ok, nil
}

const happenedFields = "e.event_id, e.seq, e.feed, e.type, e.subject, e.sequence, e.recorded_at, e.except_id, e.erased"

// scanHappened reads an event without its body.
func scanHappened(scan func(...any) error) (event.Event, error) {
	var e event.Event
	var recorded int64
	err := scan(&e.ID, (*int64)(&e.Seq), (*string)(&e.Feed), (*string)(&e.Type), &e.Subject, &e.Sequence, &recorded, &e.Except, &e.Erased)
	e.RecordedAt = moment(recorded)
	return e, err
}

// happenedAt reads the event at a place; fault.NotFound.
func (r *reader) happenedAt(app int64, seq event.Seq) (event.Event, error) {
	return scanHappened(func(dst ...any) error {
		return r.get(dst, "SELECT "+happenedFields+" FROM event e WHERE e.app = ? AND e.seq = ?", app, int64(seq))
	})
}

// logEnd returns the place of an application's last event; 0: there is none.
func (r *reader) logEnd(app int64) (last event.Seq, err error) {
	err = r.get([]any{(*int64)(&last)}, "SELECT last_seq FROM application WHERE app = ?", app)
	return last, err
}

// clockSlack is by how much the times in a log may fall back: two requests
// that were recorded in the other order, or a clock that was set right. What a
// clock recorded that was set back by more may be missing in a list by time.
const clockSlack = 10 * time.Minute

// between returns the places, both included, outside which nothing was
// recorded from a time (inclusive) to a time (exclusive). Zero times do not
// restrict. What lies inside may have been recorded at another time.
func (r *reader) between(app int64, from, to time.Time) (lo, hi event.Seq, err error) {
	last, err := r.logEnd(app)
	if err != nil {
		return 0, 0, err
	}
	var pruned event.Seq
	if err := r.get([]any{(*int64)(&pruned)}, "SELECT pruned_seq FROM application WHERE app = ?", app); err != nil {
		return 0, 0, err
	}
	lo, hi = pruned+1, last
	if !from.IsZero() {
		lo, err = r.recordedSince(app, lo, last, from.Add(-clockSlack))
	}
	if err == nil && !to.IsZero() {
		hi, err = r.recordedSince(app, pruned+1, last, to.Add(clockSlack))
	}
	return lo, min(hi, last), err
}

// recordedSince finds the first place recorded at or after a time, as if the
// log, which begins at first, were in order of time; last + 1: there is none.
func (r *reader) recordedSince(app int64, first, last event.Seq, at time.Time) (event.Seq, error) {
	lo, hi := first, last+1
	for lo < hi {
		seq, recorded := (lo+hi)/2, int64(0)
		err := r.get([]any{(*int64)(&seq), &recorded}, "SELECT seq, recorded_at FROM event WHERE app = ? AND seq >= ? ORDER BY seq LIMIT 1", app, int64(seq))
		switch {
		case isNotFound(err):
			hi = (lo + hi) / 2
		case err != nil:
			return 0, fmt.Errorf("find a time in the log: %w", err)
		case moment(recorded).Before(at):
			lo = seq + 1
		default:
			hi = min(seq, (lo+hi)/2)
		}
	}
	return lo, nil
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
