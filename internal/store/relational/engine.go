package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// scanPage is how many places of the log one page looks at, at most: a long
// run of events that an endpoint is not told is crossed in steps.
const scanPage = 4096

// Active implements store.Engine.
func (s *Store) Active(ctx context.Context) (list []delivery.Endpoint, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		return r.each(func(rows db.Rows) error {
			var id string
			var parts int
			err := rows.Scan(&id, &parts)
			list = append(list, delivery.Parts(delivery.Endpoint(id), parts)...)
			return err
		}, "SELECT endpoint_id, parts FROM endpoint WHERE status = ? AND deleted_at IS NULL ORDER BY ep", string(subscription.Active))
	})
	return list, err
}

// Config implements store.Engine.
func (s *Store) Config(ctx context.Context, e delivery.Endpoint) (out subscription.Endpoint, err error) {
	err = s.read(ctx, func(r *reader) error {
		out, err = r.endpoint(e)
		return err
	})
	return out, err
}

// Open implements store.Engine.
func (s *Store) Open(ctx context.Context, e delivery.Endpoint) (p delivery.Position, err error) {
	var ep int64
	err = s.write(ctx, func(t *tx) error {
		p = delivery.Position{Lease: delivery.Lease{Endpoint: e}}
		if err := t.takeLease(e, &ep, &p.Lease.Epoch); err != nil {
			return err
		}
		return t.countLate(ep, e)
	})
	if err != nil {
		return delivery.Position{}, err
	}
	err = s.read(ctx, func(r *reader) error { return r.position(ep, &p) })
	return p, err
}

// countLate lets what waits know of attempts that were recorded under a lease
// that had passed on, so that the next one takes no number that is taken.
func (t *tx) countLate(ep int64, e delivery.Endpoint) error {
	var late int64
	if err := standOf(ep, e).read(&t.reader, []any{&late}, "late"); err != nil || late == 0 {
		return err
	}
	const made = "(SELECT COALESCE(MAX(n), 0) FROM attempt a WHERE a.ep = exception.ep AND a.seq = exception.seq)"
	_, err := t.exec("UPDATE exception SET base = "+made+" - tries WHERE ep = ? AND state IN ('retrying', 'blocked') AND base + tries < "+made, ep)
	if err == nil {
		err = standOf(ep, e).set(t, "late", 0)
	}
	return err
}

// position reads where an endpoint stands.
func (r *reader) position(ep int64, p *delivery.Position) error {
	p.Settled, p.Tried, p.Waiting = map[event.Seq]bool{}, map[event.Seq]int{}, map[string]int{}
	p.Due, p.Replays = nil, nil
	e := p.Lease.Endpoint
	if err := r.standing(ep, &p.Cursor, &p.Breaker, &p.Hold); err != nil {
		return err
	}
	if err := standOf(ep, e).read(r, []any{(*int64)(&p.Cursor)}, "cursor_seq"); err != nil {
		return err
	}
	err := r.each(func(rows db.Rows) error {
		var seq event.Seq
		var n int
		var delivered bool
		if err := rows.Scan((*int64)(&seq), &n, &delivered); err != nil {
			return err
		}
		if delivered {
			p.Settled[seq] = true
		} else {
			p.Tried[seq] = n
		}
		return nil
	}, "SELECT seq, MAX(n), MAX(delivered) FROM attempt WHERE ep = ? AND seq > ? GROUP BY seq", ep, int64(p.Cursor))
	if err != nil {
		return err
	}
	err = r.each(func(rows db.Rows) error {
		var seq int64
		err := rows.Scan(&seq)
		p.Settled[event.Seq(seq)] = true
		delete(p.Tried, event.Seq(seq))
		return err
	}, "SELECT seq FROM exception WHERE ep = ? AND seq > ?", ep, int64(p.Cursor))
	if err != nil {
		return err
	}
	err = r.each(func(rows db.Rows) error {
		var subject string
		var n int
		err := rows.Scan(&subject, &n)
		if e.Hears(subject) {
			p.Waiting[subject] = n
		}
		return err
	}, "SELECT subject, COUNT(*) FROM exception WHERE ep = ? AND state IN ('retrying', 'blocked') GROUP BY subject", ep)
	if err != nil {
		return err
	}
	err = r.each(func(rows db.Rows) error {
		x, err := scanException(rows.Scan)
		if e.Hears(x.Subject) {
			p.Due = append(p.Due, x)
		}
		return err
	}, "SELECT "+exceptionFields+" FROM exception WHERE ep = ? AND state = 'retrying' ORDER BY next_at, seq", ep)
	if err != nil {
		return err
	}
	p.Replays, err = r.replays(ep, p.Lease.Endpoint)
	return err
}

// standing reads an endpoint's cursor, breaker and hold.
func (r *reader) standing(ep int64, cursor *event.Seq, b *delivery.Breaker, h *delivery.Hold) error {
	var since, heldSince, heldNext int64
	var id string
	var exchange []byte
	err := r.get([]any{
		(*int64)(cursor), &b.Open, &since, &b.Failures, &b.Reason, (*string)(&h.State), &heldSince, &h.Reason, &heldNext, &exchange, &id,
	}, "SELECT "+cursorOf+`, breaker_open, breaker_since, failures, failure, hold_state, hold_since, hold_reason, hold_next_at, hold_exchange, endpoint_id
		FROM endpoint p WHERE ep = ?`, ep)
	if err != nil {
		return err
	}
	b.Since, h.Since, h.NextAt = moment(since), moment(heldSince), moment(heldNext)
	h.Exchange, err = r.openHold(delivery.Endpoint(id), exchange)
	return err
}

// The values of exception.replay.
const (
	notReplayed = iota
	replayed
	replayedStale // also when a newer full state was delivered
)

func replayOf(x *delivery.Exception) int {
	switch {
	case x.Replay && x.Stale:
		return replayedStale
	case x.Replay:
		return replayed
	}
	return notReplayed
}

const exceptionFields = "seq, subject, state, base, tries, next_at, replay"

func scanException(scan func(...any) error) (delivery.Exception, error) {
	var x delivery.Exception
	var next int64
	var replay int
	err := scan((*int64)(&x.Seq), &x.Subject, (*string)(&x.State), &x.Base, &x.Tries, &next, &replay)
	x.NextAt, x.Replay, x.Stale = moment(next), replay != notReplayed, replay == replayedStale
	return x, err
}

// Replays implements store.Engine.
func (s *Store) Replays(ctx context.Context, e delivery.Endpoint) (list []delivery.Replay, err error) {
	err = s.read(ctx, func(r *reader) error {
		key, err := r.ep(e)
		if err != nil {
			return err
		}
		list, err = r.replays(key.ep, e)
		return err
	})
	return list, err
}

func (r *reader) replays(ep int64, e delivery.Endpoint) (list []delivery.Replay, err error) {
	_, part, _ := e.Split()
	err = r.each(func(rows db.Rows) error {
		j := delivery.Replay{Endpoint: e}
		var seqs []byte
		var created int64
		if err := rows.Scan(&j.ID, &seqs, &j.Done, &j.IncludeStale, &created); err != nil {
			return err
		}
		j.CreatedAt = moment(created)
		j.Seqs, err = decodeSeqs(seqs)
		list = append(list, j)
		return err
	}, "SELECT replay_id, seqs, done, include_stale, created_at FROM replay WHERE ep = ? AND part = ? AND ended = 0 ORDER BY created_at, replay_id", ep, part)
	return list, err
}

// part is a part of the log under one filter.
type part struct {
	filter subscription.Filter
	upto   event.Seq // its last place; 0: it has no end yet
}

// filterAfter returns the filter in force right after a place.
func (r *reader) filterAfter(ep int64, after event.Seq) (part, error) {
	var p part
	var text string
	err := r.get([]any{&text}, "SELECT filter FROM filter WHERE ep = ? AND from_seq <= ? ORDER BY from_seq DESC LIMIT 1", ep, int64(after))
	if isNotFound(err) { // before the endpoint was made: the first
		err = r.get([]any{&text}, "SELECT filter FROM filter WHERE ep = ? ORDER BY from_seq LIMIT 1", ep)
	}
	if err != nil {
		return p, err
	}
	if p.filter, err = decodeFilter(text); err != nil {
		return p, err
	}
	err = r.get([]any{(*int64)(&p.upto)}, "SELECT from_seq FROM filter WHERE ep = ? AND from_seq > ? ORDER BY from_seq LIMIT 1", ep, int64(after))
	if isNotFound(err) {
		p.upto, err = 0, nil
	}
	return p, err
}

// matching is the condition that a filter lets an event e through, with its
// arguments: types, feeds (empty: any) and the endpoint's ID.
const matching = `e.type IN (SELECT value FROM json_each(?)) AND (? = '[]' OR e.feed IN (SELECT value FROM json_each(?))) AND e.except_id <> ?`

func matchingArgs(f subscription.Filter, e delivery.Endpoint) ([]any, error) {
	types, err := json.Marshal(f.Types)
	if err != nil {
		return nil, err
	}
	feeds := []byte("[]")
	if len(f.Feeds) > 0 {
		if feeds, err = json.Marshal(f.Feeds); err != nil {
			return nil, err
		}
	}
	return []any{string(types), string(feeds), string(feeds), string(e.Whole())}, nil
}

// Read implements store.Engine.
func (s *Store) Read(ctx context.Context, e delivery.Endpoint, after event.Seq, limit, maxBytes int) (p delivery.Page, err error) {
	var ep int64
	err = s.read(ctx, func(r *reader) error {
		p = delivery.Page{Upto: after}
		key, err := r.ep(e)
		if err != nil {
			return err
		}
		ep = key.ep
		last, since, err := r.logSpan(key, after)
		if err != nil {
			return err
		}
		for left := scanPage; p.Upto < last && left > 0 && len(p.Items) < limit; {
			f, err := r.filterAfter(key.ep, p.Upto)
			if err != nil {
				return err
			}
			upto := min(last, p.Upto+event.Seq(left))
			if f.upto > 0 {
				upto = min(upto, f.upto)
			}
			left -= int(upto - p.Upto)
			full, err := r.readTail(&p, key, e, f.filter, upto, limit, maxBytes)
			if err == nil && !full && p.Upto < upto {
				full, err = r.readPart(&p, key, e, f.filter, upto, since, limit, maxBytes)
			}
			if err != nil || full {
				return err
			}
			p.Upto = upto
		}
		return nil
	})
	if n := len(p.Items); n > 0 && err == nil && s.db.Shared() {
		s.marks.put(ep, p.Items[n-1].Seq, p.Items[n-1].RecordedAt.UnixMilli())
	}
	return p, err
}

// readPart adds what a filter lets through of the places behind p.Upto, up to
// upto. When the page is full p.Upto is its last place. None of them was recorded
// before since.
func (r *reader) readPart(p *delivery.Page, key epKey, e delivery.Endpoint, f subscription.Filter, upto event.Seq, since int64, limit, maxBytes int) (full bool, err error) {
	bytes := bytesOf(p)
	// Which events match is decided here: a scan that runs over all of them
	// anyhow is cheaper without, and what it saw serves others (logTails). Another
	// machine does it before it sends them.
	whole, nth, parts := e.Split()
	query, args := readLog, []any{key.app, int64(p.Upto), int64(upto)}
	shared := r.s.db.Shared()
	if shared {
		match, err := matchingArgs(f, e)
		if err != nil {
			return false, err
		}
		query, args = readMatching, append(append(args, match...), since)
		if parts > 1 {
			query, args = readPartMatching, append(args, parts, nth-1)
		}
		args = append(args, limit-len(p.Items))
	}
	rows, err := r.query(query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var seen []tailPlace
	if !shared {
		since := r.s.tails.begin()
		seen = make([]tailPlace, 0, min(limit, int(upto-p.Upto)))
		defer func() { r.s.tails.add(key.app, since, seen) }()
	}
	row := itemRow{keyed: shared}
	var body, sealedKey []byte // used again for each row
	texts := fewTexts{}
	for rows.Next() {
		if err := row.sort(rows, texts); err != nil {
			return false, err
		}
		at := tailPlace{seq: row.Seq, typ: row.Type, feed: row.feed, except: row.except}
		if f.Matches(subscription.ID(whole), event.Event{Type: row.Type, Feed: row.feed, Except: row.except}) {
			if body, err = rows.Bytes(columnBody, body); err == nil {
				err = rows.Scan(row.into()...)
			}
			if err == nil && delivery.PartFor(row.Subject, parts) != nth {
				seen = append(seen, at) // not opened for that
				continue
			}
			if err == nil && shared {
				sealedKey, err = rows.Bytes(columnKey, sealedKey)
			}
			var it delivery.Item
			if err == nil {
				it, err = r.openItem(&row, key.app, body, sealedKey)
			}
			if err != nil {
				return false, err
			}
			at.item = &it
		}
		if at.size() > 0 && len(p.Items) > 0 && bytes+at.size() > maxBytes {
			return true, nil
		}
		if !shared {
			seen = append(seen, at)
		}
		if at.size() == 0 {
			continue // it is not told that, or it was erased
		}
		bytes += at.size()
		p.Items = append(p.Items, *at.item)
		p.Upto = at.seq
		if len(p.Items) == limit {
			return true, nil
		}
	}
	err = rows.Err()
	if err != nil {
		r.note(err)
	}
	return false, err
}

// itemFields are what an itemRow reads; e is the event.
const itemFields = "e.seq, e.event_id, e.subject, e.sequence, e.recorded_at, e.type, e.feed, e.except_id, e.body"

// The columns of itemFields of which there are few values, and the body.
const (
	columnType = 5 + iota
	columnFeed
	columnExcept
	columnBody
	columnKey // of readMatching
)

const (
	readLog = "SELECT " + itemFields + " FROM event e WHERE e.app = ? AND e.seq > ? AND e.seq <= ? ORDER BY e.seq"
	// A look-up of each data key would be a round trip.
	readMatching     = readMatches + " ORDER BY e.seq LIMIT ?"
	readPartMatching = readMatches + ` AND (get_byte(decode(md5(e.subject), 'hex'), 0) * 256 + get_byte(decode(md5(e.subject), 'hex'), 1)) % ? = ?
		ORDER BY e.seq LIMIT ?` // delivery.PartFor
	readMatches = "SELECT " + itemFields + `, s.sealed_key FROM event e JOIN subject s ON s.app = e.app AND s.subject = e.subject
		WHERE e.app = ? AND e.seq > ? AND e.seq <= ? AND ` + matching + " AND e.recorded_at >= ?"
)

type itemRow struct {
	delivery.Item
	recorded int64
	feed     event.Feed
	except   string

	keyed      bool // the row has the data key too
	dst, place []any
	text       []byte
}

// into returns where the columns go, but for the last four.
func (i *itemRow) into() []any {
	if i.dst == nil {
		i.dst = []any{(*int64)(&i.Seq), &i.EventID, &i.Subject, &i.Sequence, &i.recorded, nil, nil, nil, nil}
		if i.keyed {
			i.dst = append(i.dst, nil)
		}
	}
	return i.dst
}

// sort reads the place and what a filter looks at.
func (i *itemRow) sort(rows db.Rows, texts fewTexts) (err error) {
	if i.place == nil {
		i.place = []any{(*int64)(&i.Seq), nil, nil, nil, nil, nil, nil, nil, nil}
		if i.keyed {
			i.place = append(i.place, nil)
		}
	}
	if err := rows.Scan(i.place...); err != nil {
		return err
	}
	text := func(column int) string {
		if err == nil {
			i.text, err = rows.Bytes(column, i.text)
		}
		return texts.of(i.text)
	}
	i.Type, i.feed, i.except = event.Type(text(columnType)), event.Feed(text(columnFeed)), text(columnExcept)
	return err
}

// fewTexts are texts of which there are few, each made once.
type fewTexts map[string]string

func (n fewTexts) of(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	s, ok := n[string(text)]
	if !ok {
		s = string(text)
		n[s] = s
	}
	return s
}

// openItem returns an event that was read with its body opened; of one that was
// erased there is none. sealedKey is its subject's data key, if it was read with
// it.
func (r *reader) openItem(row *itemRow, app int64, body, sealedKey []byte) (delivery.Item, error) {
	it := row.Item
	it.RecordedAt = moment(row.recorded)
	if len(body) == 0 {
		return it, nil
	}
	if c := r.s.lately(app, it.Subject); c != nil {
		var err error
		if it.Body, err = c.Open(body, bodyPlace(it.EventID)); err == nil {
			r.s.seals.put(app, it.Subject, c)
			return it, nil
		}
	}
	var c *secret.Cipher
	var err error
	if sealedKey != nil {
		c, err = r.s.cipher(app, it.Subject, sealedKey)
	} else {
		c, err = r.subjectCipher(app, it.Subject)
	}
	if err == nil {
		it.Body, err = c.Open(body, bodyPlace(it.EventID))
	}
	if err != nil {
		return it, fmt.Errorf("open the body of %s: %w", it.EventID, err)
	}
	r.s.keysBySubject.Put(app, it.Subject, c)
	r.s.seals.put(app, it.Subject, c)
	return it, nil
}

// lately returns the data key of a subject of which an event was read lately; it
// may have another one since. nil: it is not known.
func (s *Store) lately(app int64, subject string) *secret.Cipher {
	if c := s.seals.get(app, subject); c != nil {
		return c
	}
	return s.keysBySubject.Get(app, subject)
}

// item reads the event at a place with its body; fault.NotFound.
func (r *reader) item(app int64, seq event.Seq) (delivery.Item, error) {
	var row itemRow
	var body []byte
	dst := row.into()
	dst[columnType], dst[columnBody] = (*string)(&row.Type), &body
	if err := r.get(dst, "SELECT "+itemFields+" FROM event e WHERE e.app = ? AND e.seq = ?", app, int64(seq)); err != nil {
		return delivery.Item{}, err
	}
	return r.openItem(&row, app, body, nil)
}

// Load implements store.Engine.
func (s *Store) Load(ctx context.Context, e delivery.Endpoint, seqs []event.Seq) (list []delivery.Loaded, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		key, err := r.ep(e)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			var l delivery.Loaded
			l.Exception, err = scanException(func(dst ...any) error {
				return r.get(dst, "SELECT "+exceptionFields+" FROM exception WHERE ep = ? AND seq = ? AND state IN ('retrying', 'blocked')", key.ep, int64(seq))
			})
			if err == nil {
				l.Item, err = r.item(key.app, seq)
			}
			if err == nil && l.Item.Type == event.PermissionsEffective {
				l.Newer, err = r.newerWaits(key, l.Exception)
				if err == nil && l.Replay && !l.Stale {
					l.Passed, err = r.isStale(key, l.Item.Type, l.Subject, seq)
				}
			}
			if isNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		return nil
	})
	return list, err
}

// newerWaits tells whether a full state waits behind an exception of its
// subject.
func (r *reader) newerWaits(key epKey, x delivery.Exception) (yes bool, err error) {
	err = r.get([]any{&yes}, `SELECT EXISTS (SELECT 1 FROM exception x INDEXED BY exception_lane CROSS JOIN event e ON e.app = ? AND e.seq = x.seq
		WHERE x.ep = ? AND x.subject = ? AND x.state IN ('retrying', 'blocked') AND x.seq > ? AND e.type = ?)`,
		key.app, key.ep, x.Subject, int64(x.Seq), string(event.PermissionsEffective))
	return yes, err
}

// Record implements store.Engine.
func (s *Store) Record(ctx context.Context, batch []delivery.Progress) (out []delivery.Outcome, err error) {
	err = s.write(ctx, func(t *tx) error {
		out = make([]delivery.Outcome, len(batch))
		t.small.attempts = t.small.attempts[:0]
		held, err := t.hold(batch)
		for i := 0; i < len(batch) && err == nil; i++ {
			err = t.record(&batch[i], &out[i], held)
		}
		if err != nil {
			return err
		}
		return t.putAttempts()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// holder is how an endpoint is when a progress of it is recorded.
type holder struct {
	key         epKey
	epoch, late int64
	cursor      event.Seq
}

func (h *holder) into() []any { return []any{&h.epoch, (*int64)(&h.cursor), &h.late} }

// hold reads and locks the endpoints of a batch where others may write to them,
// all at once and in one order.
func (t *tx) hold(batch []delivery.Progress) (map[delivery.Endpoint]holder, error) {
	if !t.s.db.Shared() {
		return nil, nil
	}
	names := make([]delivery.Endpoint, 0, len(batch))
	for i := range batch {
		if e := batch[i].Lease.Endpoint; e == e.Whole() {
			names = append(names, e)
		}
	}
	text, err := json.Marshal(unique(names))
	if err != nil {
		return nil, err
	}
	held := make(map[delivery.Endpoint]holder, len(names))
	err = t.each(func(rows db.Rows) error {
		var id string
		var h holder
		err := rows.Scan(append([]any{&id, &h.key.ep, &h.key.app}, h.into()...)...)
		held[delivery.Endpoint(id)] = h
		return err
	}, "SELECT endpoint_id, ep, app, epoch, cursor_seq, late FROM endpoint WHERE endpoint_id IN (SELECT value FROM json_each(?)) ORDER BY ep FOR UPDATE", string(text))
	return held, err
}

// holder returns how an endpoint is. What hold read is good for its first
// progress.
func (t *tx) holder(e delivery.Endpoint, held map[delivery.Endpoint]holder) (h holder, err error) {
	if h, ok := held[e]; ok {
		delete(held, e)
		return h, nil
	}
	if h.key, err = t.ep(e); err != nil {
		return h, err
	}
	if t.s.db.Shared() || e != e.Whole() {
		return h, standOf(h.key.ep, e).hold(t, h.into(), "epoch, cursor_seq, late")
	}
	if h, ok := t.small.holders[h.key.ep]; ok {
		return h, nil
	}
	if err := t.get(h.into(), "SELECT epoch, cursor_seq, late FROM endpoint WHERE ep = ?", h.key.ep); err != nil {
		return h, err
	}
	if len(t.small.holders) >= maxSmallKeys {
		clear(t.small.holders)
	}
	t.small.holders[h.key.ep] = h
	return h, nil
}

func (t *tx) record(p *delivery.Progress, o *delivery.Outcome, held map[delivery.Endpoint]holder) error {
	h, err := t.holder(p.Lease.Endpoint, held)
	if isNotFound(err) { // it went with its application, and so do its attempts
		o.Fenced = true
		return nil
	}
	if err != nil {
		return err
	}
	o.Fenced = h.epoch != p.Lease.Epoch
	if o.Fenced && h.late == 0 && len(p.Attempts) > 0 {
		t.small.moved(h.key.ep)
		if err := standOf(h.key.ep, p.Lease.Endpoint).set(t, "late", h.epoch); err != nil {
			return err
		}
	}
	if o.Fenced || h.late > 0 {
		err = t.putMet(h.key, p.Attempts)
	} else {
		err = t.addAttempts(h.key, p.Attempts)
	}
	if err != nil {
		return err
	}
	if !o.Fenced {
		if err := t.progress(h.key, h.cursor, p, o); err != nil {
			return err
		}
	}
	return t.toldErased(h.key.app, p, h.cursor)
}

// progress writes what a holder of the lease says besides attempts. cursor is
// where the endpoint's was before.
func (t *tx) progress(key epKey, cursor event.Seq, p *delivery.Progress, o *delivery.Outcome) error {
	for i := range p.Put {
		if err := t.putException(key.ep, &p.Put[i], p.At); err != nil {
			return err
		}
	}
	for _, x := range p.Settled {
		if err := t.settle(key.ep, x, p.At); err != nil {
			return err
		}
	}
	rouse := make([]string, 0, len(p.Settled)+len(p.Rouse))
	for _, x := range p.Settled { // once all are settled, so that none of them is roused
		rouse = append(rouse, x.Subject)
	}
	if err := t.rouseEach(key.ep, append(rouse, p.Rouse...), p.At, o); err != nil {
		return err
	}
	if p.Cursor > cursor {
		cursor = p.Cursor
		t.small.moved(key.ep)
		if err := standOf(key.ep, p.Lease.Endpoint).set(t, "cursor_seq", int64(cursor)); err != nil {
			return err
		}
	}
	if p.Replayed != nil {
		if err := t.putAttempts(); err != nil { // it looks at them
			return err
		}
		if err := t.feed(key, cursor, p, o); err != nil {
			return err
		}
	}
	if b := p.Breaker; b != nil {
		err := t.later("UPDATE endpoint SET breaker_open = ?, breaker_since = ?, failures = ?, failure = ? WHERE ep = ?",
			b.Open, millis(b.Since), b.Failures, b.Reason, key.ep)
		if err != nil {
			return err
		}
	}
	if h := p.Hold; h != nil {
		exchange, err := t.sealHold(p.Lease.Endpoint.Whole(), h.Exchange)
		if err == nil {
			err = t.later("UPDATE endpoint SET hold_state = ?, hold_since = ?, hold_reason = ?, hold_next_at = ?, hold_exchange = ? WHERE ep = ?",
				string(h.State), millis(h.Since), h.Reason, millis(h.NextAt), exchange, key.ep)
		}
		if err != nil {
			return err
		}
	}
	if p.Suspend != nil {
		return t.suspend(key, p.Lease.Endpoint, p.Suspend, p.At)
	}
	return nil
}

func (t *tx) suspend(key epKey, e delivery.Endpoint, s *delivery.Suspension, at time.Time) error {
	cur, err := t.endpoint(e)
	if err != nil {
		return err
	}
	cur.Status, cur.StatusReason, cur.StatusSince = subscription.Suspended, s.Reason, at
	if _, err := t.saveEndpoint(cur); err != nil {
		return err
	}
	if err := t.breakLeases(key.ep); err != nil {
		return err
	}
	return t.Publish(s.Events...)
}

// attemptColumns is the number of a row's columns.
const attemptColumns = 17

// manyAttempts is how many attempts insertManyAttempts inserts.
const manyAttempts = 128

var insertManyAttempts = insertAttempts[1] + strings.Repeat(", (?"+strings.Repeat(", ?", attemptColumns-1)+")", manyAttempts-1)

// insertAttempts[n] inserts n attempts; one that exists already is left alone.
var insertAttempts = inserts(`INSERT OR IGNORE INTO attempt
	(ep, seq, n, at, duration_us, delivered, status, step, reason, replay, config, timestamp, interaction, signature, response, token, next_at) VALUES `, attemptColumns)

// addAttempts prepares attempts to be written by putAttempts, together with those
// of other endpoints.
func (t *tx) addAttempts(key epKey, list []delivery.Attempt) error {
	size := maxInsert
	if t.s.db.Shared() {
		size = manyAttempts // each statement is a round trip
	}
	for i := range list {
		if err := t.room("attempt", millis(list[i].At)); err != nil {
			return err
		}
		row, err := t.attemptRow(t.small.attempts, key, &list[i])
		if err != nil {
			return err
		}
		if t.small.attempts = row; len(row) >= size*attemptColumns {
			if err := t.putAttempts(); err != nil {
				return err
			}
		}
	}
	return nil
}

// attemptRow appends the columns of an attempt.
func (t *tx) attemptRow(args []any, key epKey, a *delivery.Attempt) ([]any, error) {
	response, token, err := t.sealAnswers(key, a)
	return append(args, key.ep, int64(a.Seq), a.N, millis(a.At), a.Duration.Microseconds(), a.Delivered, a.Status, string(a.Step),
		a.Reason, a.Replay, a.Config, a.Timestamp, a.InteractionID, a.Signature, response, token, millis(a.NextAt)), err
}

// putAttempts writes the attempts that were added.
func (t *tx) putAttempts() error {
	for args := t.small.attempts; len(args) > 0; {
		n := min(len(args)/attemptColumns, manyAttempts)
		query := insertManyAttempts
		if n < manyAttempts {
			n = min(n, maxInsert)
			query = insertAttempts[n]
		}
		if err := t.later(query, args[:n*attemptColumns]...); err != nil {
			return err
		}
		args = args[n*attemptColumns:]
	}
	clear(t.small.attempts)
	t.small.attempts = t.small.attempts[:0]
	return nil
}

// putMet writes attempts one by one, each of which may meet another of its number.
func (t *tx) putMet(key epKey, list []delivery.Attempt) error {
	if len(list) == 0 {
		return nil
	}
	if err := t.putAttempts(); err != nil { // of the same endpoint, perhaps
		return err
	}
	for i := range list {
		a := &list[i]
		if err := t.room("attempt", millis(a.At)); err != nil {
			return err
		}
		args, err := t.attemptRow(nil, key, a)
		if err != nil {
			return err
		}
		taken := false
		err = t.get([]any{&taken}, "SELECT EXISTS (SELECT 1 FROM attempt WHERE ep = ? AND seq = ? AND n = ?)", key.ep, int64(a.Seq), a.N)
		if err == nil && taken {
			err = t.renumber(key.ep, a, args)
		} else if err == nil {
			err = t.later(insertAttempts[1], args...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// renumber keeps an attempt under the next free number.
func (t *tx) renumber(ep int64, a *delivery.Attempt, args []any) error {
	var mine bool
	err := t.get([]any{&mine}, "SELECT interaction = ? FROM attempt WHERE ep = ? AND seq = ? AND n = ?", a.InteractionID, ep, int64(a.Seq), a.N)
	if err != nil || mine {
		return err
	}
	if err := t.get([]any{&args[2]}, "SELECT MAX(n) + 1 FROM attempt WHERE ep = ? AND seq = ?", ep, int64(a.Seq)); err != nil {
		return err
	}
	_, err = t.exec(insertAttempts[1], args...)
	return err
}

func (t *tx) putException(ep int64, x *delivery.Exception, at time.Time) error {
	var ended int64
	if x.State != delivery.WaitRetry && x.State != delivery.WaitTurn {
		ended = millis(at)
	}
	return t.later(`INSERT INTO exception (ep, seq, subject, state, base, tries, next_at, replay, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (ep, seq) DO UPDATE SET state = excluded.state, base = excluded.base, tries = excluded.tries,
			next_at = excluded.next_at, replay = excluded.replay, ended_at = excluded.ended_at`,
		ep, int64(x.Seq), x.Subject, string(x.State), x.Base, x.Tries, millis(x.NextAt), replayOf(x), ended)
}

func (t *tx) settle(ep int64, x delivery.Settlement, at time.Time) error {
	state := delivery.EndExhausted
	switch x.As {
	case delivery.Delivered:
		return t.later("DELETE FROM exception WHERE ep = ? AND seq = ?", ep, int64(x.Seq))
	case delivery.Superseded:
		// A replay that is not sent leaves a delivery as it was, if it was delivered.
		n, err := t.exec(`DELETE FROM exception WHERE ep = ? AND seq = ?
			AND EXISTS (SELECT 1 FROM attempt a WHERE a.ep = exception.ep AND a.seq = exception.seq AND a.delivered = 1)`, ep, int64(x.Seq))
		if err != nil || n > 0 {
			return err
		}
		state = delivery.EndSuperseded
	}
	return t.later("UPDATE exception SET state = ?, next_at = 0, ended_at = ? WHERE ep = ? AND seq = ?", string(state), millis(at), ep, int64(x.Seq))
}

// rouseMany is rouse for many subjects at once, where each statement is a round
// trip.
const rouseMany = `SELECT x.seq, x.subject, x.state, x.base, x.tries, x.next_at, x.replay
	FROM json_array_elements_text(CAST(CAST(? AS text) AS json)) WITH ORDINALITY AS j(subject, n)
	CROSS JOIN LATERAL (SELECT ` + exceptionFields + ` FROM exception
		WHERE ep = ? AND subject = j.subject AND state = 'blocked' AND state IN ('retrying', 'blocked') ORDER BY seq LIMIT 1) x
	WHERE NOT EXISTS (SELECT 1 FROM exception
		WHERE ep = ? AND subject = j.subject AND state = 'retrying' AND state IN ('retrying', 'blocked'))
	ORDER BY j.n`

// rouseEach does for each subject what rouse does.
func (t *tx) rouseEach(ep int64, subjects []string, at time.Time, o *delivery.Outcome) error {
	if !t.s.db.Shared() || len(subjects) == 0 {
		for _, subject := range subjects {
			if err := t.rouse(ep, subject, at, o); err != nil {
				return err
			}
		}
		return nil
	}
	once := make([]string, 0, len(subjects))
	seen := make(map[string]bool, len(subjects))
	for _, subject := range subjects {
		if !seen[subject] {
			seen[subject] = true
			once = append(once, subject)
		}
	}
	text, err := json.Marshal(once)
	if err != nil {
		return err
	}
	var roused []delivery.Exception
	err = t.each(func(rows db.Rows) error {
		x, err := scanException(rows.Scan)
		roused = append(roused, x)
		return err
	}, rouseMany, string(text), ep, ep)
	for i := 0; i < len(roused) && err == nil; i++ {
		err = t.due(ep, &roused[i], at, o)
	}
	return err
}

// rouse makes the subject's first exception that waits its turn due at at,
// unless one of the subject is due already. The list of states is what the
// index of lanes is made for.
func (t *tx) rouse(ep int64, subject string, at time.Time, o *delivery.Outcome) error {
	var due bool
	err := t.get([]any{&due}, `SELECT EXISTS (SELECT 1 FROM exception INDEXED BY exception_lane
		WHERE ep = ? AND subject = ? AND state = 'retrying' AND state IN ('retrying', 'blocked'))`, ep, subject)
	if err != nil || due {
		return err
	}
	x, err := scanException(func(dst ...any) error {
		return t.get(dst, "SELECT "+exceptionFields+` FROM exception INDEXED BY exception_lane
			WHERE ep = ? AND subject = ? AND state = 'blocked' AND state IN ('retrying', 'blocked') ORDER BY seq LIMIT 1`, ep, subject)
	})
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.due(ep, &x, at, o)
}

// due makes an exception due at at.
func (t *tx) due(ep int64, x *delivery.Exception, at time.Time, o *delivery.Outcome) error {
	x.State, x.NextAt = delivery.WaitRetry, at
	o.Roused = append(o.Roused, *x)
	return t.later("UPDATE exception SET state = 'retrying', next_at = ? WHERE ep = ? AND seq = ?", millis(at), ep, int64(x.Seq))
}

// feed takes a step of a replay.
func (t *tx) feed(key epKey, cursor event.Seq, p *delivery.Progress, o *delivery.Outcome) error {
	m := p.Replayed
	var stale bool // may be sent, too
	if err := t.get([]any{&stale}, "SELECT include_stale FROM replay WHERE replay_id = ? AND ep = ?", m.ID, key.ep); err != nil && !isNotFound(err) {
		return err
	}
	for _, seq := range m.Feed {
		x, err := scanException(func(dst ...any) error {
			return t.get(dst, "SELECT "+exceptionFields+" FROM exception WHERE ep = ? AND seq = ?", key.ep, int64(seq))
		})
		switch {
		case err == nil && x.State == delivery.WaitRetry:
			if err := t.due(key.ep, &x, p.At, o); err != nil {
				return err
			}
			continue
		case err == nil && x.State == delivery.WaitTurn:
			continue
		case isNotFound(err) && seq > cursor:
			pending, err := t.isPending(key, p.Lease.Endpoint, seq)
			if err != nil {
				return err
			}
			if pending {
				continue
			}
		case err != nil && !isNotFound(err):
			return err
		}
		fed := delivery.Exception{Seq: seq, State: delivery.WaitTurn, Replay: true, Stale: stale}
		var typ event.Type
		err = t.get([]any{&fed.Subject, &fed.Base, (*string)(&typ)}, `SELECT subject, (SELECT COALESCE(MAX(n), 0) FROM attempt WHERE ep = ? AND seq = e.seq), type
			FROM event e WHERE app = ? AND seq = ? AND erased = 0`, key.ep, key.app, int64(seq))
		if isNotFound(err) {
			continue // no longer in the log, or erased
		}
		if err == nil && !stale {
			var old bool
			if old, err = t.isStale(key, typ, fed.Subject, seq); old {
				continue // a newer full state was delivered since it was chosen
			}
		}
		if err == nil {
			err = t.putException(key.ep, &fed, p.At)
		}
		if err != nil {
			return err
		}
		o.Fed = append(o.Fed, fed)
	}
	return t.later("UPDATE replay SET done = ?, ended = CASE WHEN ? >= total THEN 1 ELSE 0 END WHERE replay_id = ? AND ep = ?", m.Done, m.Done, m.ID, key.ep)
}

// isPending tells whether an event behind the cursor that is no exception is
// on its way anyhow: the endpoint is told it, and no attempt has succeeded.
func (t *tx) isPending(key epKey, e delivery.Endpoint, seq event.Seq) (bool, error) {
	var done bool
	err := t.get([]any{&done}, "SELECT EXISTS (SELECT 1 FROM attempt WHERE ep = ? AND seq = ? AND delivered = 1)", key.ep, int64(seq))
	if err != nil || done {
		return false, err
	}
	h, err := t.happenedAt(key.app, seq)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, err := t.filterAfter(key.ep, seq-1)
	return err == nil && f.filter.Matches(subscription.ID(e.Whole()), h), err
}
