package relational

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// What one page of deliveries looks at, at most: places of the log, and
// candidates whose attempts and exceptions are read. A page that finds too
// little by then is given out as it is.
const (
	viewPlaces     = 65_536
	viewCandidates = 4_096
	viewStep       = 256 // candidates looked up together; fewer for a short page
)

// Delivery implements store.Reader.
func (s *Store) Delivery(ctx context.Context, app access.ID, id string) (d delivery.Detail, err error) {
	err = s.read(ctx, func(r *reader) error {
		d = delivery.Detail{}
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
		if d.View, ok, err = r.fate(candidate{t, h}); err != nil {
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

// attempts reads the attempts of one delivery with what they looked like.
func (r *reader) attempts(t *told, e event.Event) (list []delivery.AttemptView, err error) {
	type answers struct{ response, token []byte }
	var sealed []answers
	err = r.each(func(rows db.Rows) error {
		a := delivery.AttemptView{Attempt: delivery.Attempt{Seq: e.Seq, Subject: e.Subject}}
		var at, took, next int64
		var of answers
		err := rows.Scan(&a.N, &at, &took, &a.Delivered, &a.Status, (*string)(&a.Step), &a.Reason, &a.Replay, &a.Config,
			&a.Timestamp, &a.InteractionID, &a.Signature, &of.response, &of.token, &next)
		a.At, a.Duration, a.NextAt = moment(at), time.Duration(took)*time.Microsecond, moment(next)
		list, sealed = append(list, a), append(sealed, of)
		return err
	}, `SELECT n, at, duration_us, delivered, status, step, reason, replay, config, timestamp, interaction, signature, response, token, next_at
		FROM attempt WHERE ep = ? AND seq = ? ORDER BY n`, t.key.ep, int64(e.Seq))
	if err != nil || len(list) == 0 {
		return list, err
	}
	if e.Erased {
		return list, r.showRequests(t, list)
	}
	c, err := r.subjectCipher(t.key.app, e.Subject)
	if err != nil {
		return nil, err
	}
	for i := range list {
		a := &list[i]
		if sealed[i].response != nil {
			content, err := c.Open(sealed[i].response, responsePlace(t.key.ep, e.Seq))
			if err == nil {
				a.Response, err = decodeResponse(content)
			}
			if err != nil {
				return nil, fmt.Errorf("open an answer: %w", err)
			}
		}
		if sealed[i].token != nil {
			content, err := c.Open(sealed[i].token, exchangePlace(t.key.ep, e.Seq))
			if err == nil {
				a.Token, err = decodeExchange(content)
			}
			if err != nil {
				return nil, fmt.Errorf("open an exchange: %w", err)
			}
		}
	}
	return list, r.showRequests(t, list)
}

// Pulses implements store.Reader.
func (s *Store) Pulses(ctx context.Context, app access.ID, ids []subscription.ID, limit int) (out map[subscription.ID][]delivery.Pulse, err error) {
	err = s.read(ctx, func(r *reader) error {
		out = make(map[subscription.ID][]delivery.Pulse, len(ids))
		for _, id := range ids {
			t, err := r.told(app, delivery.Endpoint(id))
			if isNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			err = r.each(func(rows db.Rows) error {
				var p delivery.Pulse
				var at, took int64
				err := rows.Scan(&at, &took, &p.Delivered)
				p.At, p.Duration = moment(at), time.Duration(took)*time.Microsecond
				out[id] = append(out[id], p)
				return err
			}, "SELECT at, duration_us, delivered FROM attempt WHERE ep = ? ORDER BY seq DESC, n DESC LIMIT ?", t.key.ep, limit)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// showRequests adds how the requests looked.
func (r *reader) showRequests(t *told, list []delivery.AttemptView) (err error) {
	shown := map[int64]delivery.Shown{}
	for i := range list {
		a := &list[i]
		if _, ok := shown[a.Config]; !ok {
			if shown[a.Config], err = r.shown(t.key.ep, t.id, a.Config); err != nil && !isNotFound(err) {
				return err
			}
		}
		a.Shown = shown[a.Config]
	}
	return nil
}

// place is how far a list of deliveries is: an event, and one of the
// endpoints. Lists run from the newest event to the oldest, and from the
// youngest endpoint to the first; what comes next is behind the place.
type place struct {
	seq event.Seq
	ep  int64
}

// covers tells whether the candidate is not behind the place.
func (p place) covers(c candidate) bool {
	return c.e.Seq > p.seq || c.e.Seq == p.seq && c.t.key.ep >= p.ep
}

// String is the place as a caller is given it.
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
		w, err := r.walk(app, q, after)
		if err != nil || len(w.eps) == 0 {
			return err
		}
		for !w.end {
			found, err := w.step()
			if err != nil {
				return err
			}
			facts, err := r.facts(found)
			if err != nil {
				return err
			}
			for i, c := range found {
				v, ok := c.fate(facts[i])
				if !ok || q.Status != "" && v.Status != q.Status {
					continue
				}
				list = append(list, v)
				if len(list) == limit {
					if i < len(found)-1 || !w.end {
						next = place{c.e.Seq, c.t.key.ep}.String()
					}
					return nil
				}
			}
			if !w.end && w.tired() {
				next = w.at.String()
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

// walk goes backwards through what may be deliveries: through the log, or
// through the exceptions in one state.
type walk struct {
	r     *reader
	q     store.DeliveryQuery
	app   int64
	eps   []*told // the youngest first
	byEp  map[int64]*told
	state delivery.ExceptionState // empty: through the log
	lo    event.Seq               // nothing before it is of interest
	at    place
	end   bool
	most  int // events or exceptions of one step

	places, candidates int // looked at
}

// walk begins a walk behind a place.
func (r *reader) walk(app access.ID, q store.DeliveryQuery, after place) (*walk, error) {
	key, err := r.app(app)
	if err != nil {
		return nil, err
	}
	w := &walk{r: r, q: q, app: key, at: after, byEp: map[int64]*told{}, most: min(max(2*pageLimit(q.Limit), 32), viewStep)}
	if w.eps, err = r.tolds(app, key, q); err != nil {
		return nil, err
	}
	switch {
	case q.EventID != "":
	case q.Status == delivery.Retrying:
		w.state = delivery.WaitRetry
	case q.Status == delivery.Exhausted:
		w.state = delivery.EndExhausted
	case q.Status == delivery.Superseded:
		w.state = delivery.EndSuperseded
	}
	if q.Subject != "" {
		if w.q.Subject, err = r.named(key, q.Subject); err != nil {
			return nil, err
		}
	}
	lo, hi, err := r.between(key, q.From, q.To)
	if err != nil {
		return nil, err
	}
	first := event.Seq(math.MaxInt64)
	for _, t := range w.eps {
		first = min(first, t.first)
		w.byEp[t.key.ep] = t
	}
	w.lo = max(lo, first)
	if w.at.seq > hi {
		w.at = place{hi, math.MaxInt64}
	}
	w.end = w.at.seq < w.lo
	return w, nil
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
	err := r.each(func(rows db.Rows) error {
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

// tired tells whether one page has looked at enough.
func (w *walk) tired() bool { return w.places >= viewPlaces || w.candidates >= viewCandidates }

// step returns the next candidates, in order; there may be none.
func (w *walk) step() (found []candidate, err error) {
	if w.state != "" {
		found, err = w.troubles()
	} else {
		found, err = w.logged()
	}
	w.candidates += len(found)
	return found, err
}

// asked are the conditions on an event e that the query makes.
func (w *walk) asked() (string, []any) {
	where, args := "", []any(nil)
	if !w.q.From.IsZero() || !w.q.To.IsZero() {
		from, to := bounds(w.q.From, w.q.To)
		where, args = " AND e.recorded_at >= ? AND e.recorded_at < ?", append(args, from, to)
	}
	if w.q.Subject != "" {
		where, args = where+" AND e.subject = ?", append(args, w.q.Subject)
	}
	if w.q.Type != "" {
		where, args = where+" AND e.type = ?", append(args, string(w.q.Type))
	}
	if w.q.EventID != "" {
		where, args = where+" AND e.event_id = ?", append(args, w.q.EventID)
	}
	return where, args
}

// logged takes the next step through the log. Events that no filter lets
// through are candidates, too: a replay may have sent them.
func (w *walk) logged() (found []candidate, err error) {
	hi := w.at.seq
	if w.at.ep == 0 { // nothing of that event is left
		hi--
	}
	if hi < w.lo {
		w.end = true
		return nil, nil
	}
	lo, limit, by := w.lo, max(w.most/len(w.eps), 1), ""
	switch {
	case w.q.EventID != "":
	case w.q.Subject != "":
		by = " INDEXED BY event_subject"
	default:
		lo = max(lo, hi-viewPlaces/4+1)
	}
	var events []event.Event
	where, args := w.asked()
	err = w.r.each(func(rows db.Rows) error {
		e, err := scanHappened(rows.Scan)
		events = append(events, e)
		return err
	}, "SELECT "+happenedFields+" FROM event e"+by+" WHERE e.app = ? AND e.seq <= ? AND e.seq >= ?"+where+" ORDER BY e.seq DESC LIMIT ?",
		append(append([]any{w.app, int64(hi), int64(lo)}, args...), limit)...)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		for _, t := range w.eps {
			if c := (candidate{t, e}); !w.at.covers(c) && e.Seq >= t.first {
				found = append(found, c)
			}
		}
	}
	if len(events) == limit {
		lo = events[limit-1].Seq
	}
	if w.q.Subject == "" && w.q.EventID == "" {
		w.places += int(hi - lo + 1)
	}
	w.at, w.end = place{lo, 0}, lo <= w.lo
	return found, nil
}

// troubles takes the next step through the exceptions.
func (w *walk) troubles() (found []candidate, err error) {
	which, of := "x.ep = ?", w.eps[0].key.ep
	if w.q.Endpoint == "" {
		which, of = "x.ep IN (SELECT ep FROM endpoint WHERE app = ?)", w.app
	}
	where, args := w.asked()
	args = append([]any{w.app, of, string(w.state), int64(w.at.seq), int64(w.at.seq), w.at.ep}, args...)
	err = w.r.each(func(rows db.Rows) error {
		var ep int64
		e, err := scanHappened(func(dst ...any) error { return rows.Scan(append(dst, &ep)...) })
		found = append(found, candidate{w.byEp[ep], e})
		return err
	}, "SELECT "+happenedFields+`, x.ep FROM exception x CROSS JOIN event e ON e.app = ? AND e.seq = x.seq
		WHERE `+which+" AND x.state = ? AND x.seq <= ? AND (x.seq < ? OR x.ep < ?)"+where+" ORDER BY x.seq DESC, x.ep DESC LIMIT ?",
		append(args, w.most)...)
	if err != nil {
		return nil, err
	}
	if w.end = len(found) < w.most; !w.end {
		last := found[len(found)-1]
		w.at = place{last.e.Seq, last.t.key.ep}
	}
	return found, nil
}
