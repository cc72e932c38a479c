package relational

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// advanced is a subject with the sequence of its last event.
type advanced struct {
	app      int64
	subject  string
	sequence int64
	cipher   *secret.Cipher
	hash     []byte // of its name; nil until it is needed
}

// advance moves a subject's sequence on by n, which may be 0, and makes the
// subject, with a data key of its own, when it is new.
func (t *tx) advance(app int64, subject string, n int) error {
	if n == 0 && t.last.cipher != nil && t.last.app == app && t.last.subject == subject {
		return nil
	}
	to := advanced{app: app, subject: subject}
	var sealed []byte
	err := t.get([]any{&to.sequence, &sealed}, `UPDATE subject SET sequence = sequence + ?
		WHERE app = ? AND subject = ? RETURNING sequence, sealed_key`, n, app, subject)
	switch {
	case err == nil:
		to.cipher, err = t.s.cipher(app, subject, sealed)
	case isNotFound(err):
		to.sequence = int64(n)
		sealed, to.cipher = t.s.keys.NewKey(subjectPlace(app, subject))
		t.s.opens.put(sealed, to.cipher)
		err = t.later("INSERT INTO subject (app, subject, sequence, sealed_key) VALUES (?, ?, ?, ?)",
			app, subject, to.sequence, sealed)
	}
	if err != nil {
		return err
	}
	t.last = to
	return nil
}

// Publish implements store.Tx.
func (t *tx) Publish(evts ...event.Event) error {
	for len(evts) > 0 {
		n := run(evts, func(e event.Event) string { return e.Application })
		if err := t.append(access.ID(evts[0].Application), evts[:n]); err != nil {
			return err
		}
		evts = evts[n:]
	}
	return nil
}

// run returns how many of the first events have the same value, at least one.
func run(evts []event.Event, value func(event.Event) string) int {
	n := 1
	for n < len(evts) && value(evts[n]) == value(evts[0]) {
		n++
	}
	return n
}

// append logs events of one application.
func (t *tx) append(app access.ID, evts []event.Event) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	h, err := t.heads(key)
	if err != nil {
		return err
	}
	t.change.apps = append(t.change.apps, app)
	seq, chain := h.seq, h.log
	args := make([]any, 0, min(len(evts), maxInsert)*eventColumns)
	for len(evts) > 0 {
		part := evts[:min(len(evts), maxInsert)]
		for rest := part; len(rest) > 0; {
			n := run(rest, func(e event.Event) string { return e.Subject })
			if err := t.advance(key, rest[0].Subject, n); err != nil {
				return err
			}
			if t.last.hash == nil {
				t.last.hash = t.s.subjectHash(key, t.last.subject)
			}
			for i, e := range rest[:n] {
				seq++
				x := chainedEvent{
					seq: seq, sequence: t.last.sequence - int64(n-1-i), occurred: millis(e.OccurredAt), recorded: millis(e.RecordedAt),
					id: e.ID, feed: string(e.Feed), typ: string(e.Type), except: e.Except, subject: t.last.hash,
				}
				if err := t.room("event", x.recorded); err != nil {
					return err
				}
				h.logged(seq, x.recorded)
				body := t.last.cipher.Seal(e.Body, bodyPlace(e.ID))
				digest := sha256.Sum256(body)
				chain = x.chain(chain, digest[:])
				args = append(args, key, seq, x.id, x.feed, x.typ, e.Subject, x.sequence, x.occurred, x.recorded, x.except, body, chain)
				t.bytes += len(e.Body)
				t.change.events = append(t.change.events, e.Type)
			}
			rest = rest[n:]
		}
		if err := t.later(insertEvents[len(part)], args...); err != nil {
			return err
		}
		args, evts = args[:0], evts[len(part):]
	}
	h.seq, h.log = seq, chain
	if t.s.db.Shared() {
		return t.later("UPDATE application SET last_seq = ?, log_head = ?, log_at = ?, log_late = ? WHERE app = ?", h.seq, h.log, h.at.Int64, h.late.Int64, key)
	}
	return t.later("UPDATE application SET last_seq = ?, log_head = ? WHERE app = ?", h.seq, h.log, key)
}

// room sees to it that a table takes a row of a time.
func (c *conn) room(table string, at int64) error {
	if !c.db.Shared() {
		return nil
	}
	return c.Room(table, at)
}

const (
	eventColumns = 12
	maxInsert    = 16 // rows in one statement
)

// insertEvents[n] inserts n events.
var insertEvents = inserts(`INSERT INTO event
	(app, seq, event_id, feed, type, subject, sequence, occurred_at, recorded_at, except_id, body, chain) VALUES `, eventColumns)

// inserts returns the statements that insert 1..maxInsert rows, each under its
// number.
func inserts(head string, columns int) [maxInsert + 1]string {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	var out [maxInsert + 1]string
	for n := 1; n <= maxInsert; n++ {
		out[n] = head + row + strings.Repeat(", "+row, n-1)
	}
	return out
}

// eventFields are what scanEvent reads; e is the event, s its subject.
const eventFields = `e.event_id, e.seq, e.feed, e.type, e.subject, e.sequence, e.occurred_at, e.recorded_at, e.except_id, e.body, s.sealed_key`

// scanEvent reads eventFields and opens the body. One that was erased is empty;
// what is sealed never is.
func (r *reader) scanEvent(scan func(...any) error, app access.ID, key int64) (event.Event, error) {
	e := event.Event{Application: string(app)}
	var feed, typ string
	var occurred, recorded int64
	var body, sealedKey []byte
	err := scan(&e.ID, (*int64)(&e.Seq), &feed, &typ, &e.Subject, &e.Sequence, &occurred, &recorded, &e.Except, &body, &sealedKey)
	if err != nil {
		return event.Event{}, err
	}
	e.Feed, e.Type, e.OccurredAt, e.RecordedAt = event.Feed(feed), event.Type(typ), moment(occurred), moment(recorded)
	if e.Erased = len(body) == 0; e.Erased {
		return e, nil
	}
	c, err := r.s.cipher(key, e.Subject, sealedKey)
	if err == nil {
		e.Body, err = c.Open(body, bodyPlace(e.ID))
	}
	if err != nil {
		return event.Event{}, fmt.Errorf("open the body of %s: %w", e.ID, err)
	}
	return e, nil
}

// named returns the name under which a subject is kept: its own, or the one that
// it has since it was erased.
func (r *reader) named(app int64, subject string) (string, error) {
	erased := erasedName(r.s.subjectHash(app, subject))
	var yes bool
	err := r.get([]any{&yes}, `SELECT EXISTS (SELECT 1 FROM subject WHERE app = ? AND subject = ?)
		AND NOT EXISTS (SELECT 1 FROM subject WHERE app = ? AND subject = ?)`, app, erased, app, subject)
	if yes {
		return erased, err
	}
	return subject, err
}

// Event implements store.Reader.
func (s *Store) Event(ctx context.Context, app access.ID, id string) (e event.Event, err error) {
	err = s.read(ctx, func(r *reader) error {
		key, err := r.app(app)
		if err != nil {
			return err
		}
		e, err = r.scanEvent(func(dst ...any) error {
			return r.get(dst, "SELECT "+eventFields+` FROM event e JOIN subject s ON s.app = e.app AND s.subject = e.subject
				WHERE e.event_id = ? AND e.app = ?`, id, key)
		}, app, key)
		return err
	})
	return e, err
}

// Events implements store.Reader.
func (s *Store) Events(ctx context.Context, app access.ID, q store.EventQuery) (list []event.Event, next string, err error) {
	limit := pageLimit(q.Limit)
	err = s.read(ctx, func(r *reader) error {
		list, next = nil, ""
		key, err := r.app(app)
		if err != nil {
			return err
		}
		after, behind, order := int64(0), ">", ""
		if q.Newest {
			after, behind, order = math.MaxInt64, "<", " DESC"
		}
		if q.After != "" {
			if after, err = r.behind("SELECT seq FROM event WHERE event_id = ? AND app = ?", q.After, key); err != nil {
				return err
			}
		}
		where, args := "e.app = ? AND e.seq "+behind+" ?", []any{key, after}
		if q.Type != "" {
			where, args = where+" AND e.type = ?", append(args, string(q.Type))
		}
		if q.Subject != "" {
			subject, err := r.named(key, q.Subject)
			if err != nil {
				return err
			}
			where, args = where+" AND e.subject = ?", append(args, subject)
		}
		return r.each(func(rows db.Rows) error {
			if len(list) == limit {
				next = list[limit-1].ID
				return nil
			}
			e, err := r.scanEvent(rows.Scan, app, key)
			list = append(list, e)
			return err
		}, "SELECT "+eventFields+" FROM event e JOIN subject s ON s.app = e.app AND s.subject = e.subject WHERE "+
			where+" ORDER BY e.seq"+order+" LIMIT ?", append(args, limit+1)...)
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

// defaultPage is how long a page is when nothing was asked for.
const defaultPage = 100

func pageLimit(n int) int {
	if n <= 0 {
		return defaultPage
	}
	return n
}
