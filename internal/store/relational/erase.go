package relational

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// endErased is the state of an exception that ended because its subject was
// erased. It shows as cancelled.
const endErased delivery.ExceptionState = "erased"

// erasing are the subjects of an application that were erased but for their last
// events: the places of these, ascending, and whose is at a place.
type erasing struct {
	last  map[string][]event.Seq
	whose map[event.Seq]string
}

func (e *erasing) add(subject string, last []event.Seq) {
	e.last[subject] = last
	for _, seq := range last {
		e.whose[seq] = subject
	}
}

func (e *erasing) remove(subject string) {
	for _, seq := range e.last[subject] {
		delete(e.whose, seq)
	}
	delete(e.last, subject)
}

// loadErasures reads which erasures are under way, unless that is known.
func (t *tx) loadErasures() error {
	if t.small.erasing != nil {
		return nil
	}
	t.small.erasing = make(map[int64]*erasing)
	tombs := false
	err := t.each(func(rows db.Rows) error {
		var app int64
		var subject string
		var kept []byte
		var last []event.Seq
		err := rows.Scan(&app, &subject, &kept)
		switch {
		case err != nil:
		case app == 0:
			tombs = true
		default:
			if last, err = decodeSeqs(kept); err == nil {
				t.begin(app, subject, last)
			}
		}
		return err
	}, "SELECT app, subject, seqs FROM erasing UNION ALL SELECT 0, '', x'' WHERE EXISTS (SELECT 1 FROM tombstone)")
	t.small.tombs = tombs
	if err != nil {
		t.small.erasing = nil
	}
	return err
}

// begin notes that an erasure is under way.
func (t *tx) begin(app int64, subject string, last []event.Seq) {
	e := t.small.erasing[app]
	if e == nil {
		e = &erasing{last: make(map[string][]event.Seq), whose: make(map[event.Seq]string)}
		t.small.erasing[app] = e
	}
	e.add(subject, last)
}

// erasures returns those of an application that are under way; nil: none is.
func (t *tx) erasures(app int64) (*erasing, error) {
	err := t.loadErasures()
	if e := t.small.erasing[app]; err == nil && e != nil && len(e.last) > 0 {
		return e, nil
	}
	return nil, err
}

// Erase implements store.Tx. The data key is replaced by a new one, under which
// the last events are sealed, and that one is destroyed when these are told.
func (t *tx) Erase(app access.ID, subject string, last ...event.Event) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	if err := t.loadErasures(); err != nil {
		return err
	}
	names, err := t.eraseCitizen(key, subject)
	if err != nil {
		return err
	}
	consents, err := t.exec("DELETE FROM consent WHERE consent_id = ? AND app = ?", subject, key)
	if err != nil {
		return err
	}
	switch {
	case len(names) > 0:
	case consents == 0:
		return notFound()
	default:
		names = []string{subject}
	}
	var at time.Time
	if len(last) > 0 {
		at = last[len(last)-1].RecordedAt
	}
	eps, err := t.listeners(key)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.eraseSubject(app, key, name, eps, at); err != nil {
			return err
		}
	}
	for _, p := range eps {
		if err := t.breakLeases(p.key.ep); err != nil {
			return err
		}
		t.change.endpoints = append(t.change.endpoints, p.id)
	}
	for i, name := range names { // the first is the subject itself
		if i > 0 || len(last) == 0 {
			if err := t.bury(app, key, name); err != nil {
				return err
			}
		}
	}
	if len(last) == 0 {
		return nil
	}
	if err := t.rekey(key, subject); err != nil {
		return err
	}
	h, err := t.heads(key)
	if err != nil {
		return err
	}
	first := h.seq + 1
	if err := t.Publish(last...); err != nil {
		return err
	}
	var seqs []event.Seq
	for i := range last {
		seqs = append(seqs, event.Seq(first)+event.Seq(i))
	}
	if _, err := t.exec("INSERT INTO erasing (app, subject, seqs) VALUES (?, ?, ?)", key, subject, encodeSeqs(seqs)); err != nil {
		return err
	}
	t.begin(key, subject, seqs)
	return t.endErasures(key, subject)
}

// eraseCitizen removes what is kept of a citizen besides events and
// transactions, and returns the subjects that it is known under: its own ID and
// those of citizens that were merged into it; none when there is no such
// citizen.
func (t *tx) eraseCitizen(app int64, id string) (subjects []string, err error) {
	n, err := t.exec("DELETE FROM citizen WHERE app = ? AND citizen_id = ?", app, id)
	if err != nil || n == 0 {
		return nil, err
	}
	subjects = []string{id}
	err = t.each(func(rows db.Rows) error {
		var merged string
		err := rows.Scan(&merged)
		subjects = append(subjects, merged)
		return err
	}, "SELECT citizen_id FROM citizen_merged WHERE app = ? AND into_id = ? ORDER BY row", app, id)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec("DELETE FROM citizen_merged WHERE app = ? AND into_id = ?", app, id); err != nil {
		return nil, err
	}
	for _, name := range subjects {
		for _, query := range []string{
			"DELETE FROM checkpoint WHERE app = ? AND citizen_id = ?",
			"DELETE FROM confirmation WHERE app = ? AND citizen_id = ?",
		} {
			if err := t.later(query, app, name); err != nil {
				return nil, err
			}
		}
	}
	return subjects, nil
}

// eraseSubject destroys what is kept of a subject under its present key, and
// ends what waits to be told.
func (t *tx) eraseSubject(app access.ID, key int64, subject string, eps []*told, at time.Time) error {
	hash := t.s.subjectHash(key, subject)
	_, err := t.exec("INSERT INTO tombstone (app, subject, erased_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", key, hash, millis(at))
	if err != nil {
		return err
	}
	t.small.tombs = true
	if err := t.cancelErased(key, subject, eps, at); err != nil {
		return err
	}
	if err := t.blank(key, subject); err != nil {
		return err
	}
	if err := t.blankTransactions(key, subject); err != nil {
		return err
	}
	_, err = t.exec("DELETE FROM idempotency INDEXED BY idempotency_subject WHERE app = ? AND subject = ?", key, hash)
	t.change.erased = append(t.change.erased, store.Subject{Application: app, ID: subject})
	return err
}

// cancelErased ends what waits of a subject at each endpoint. A replay that is
// not sent leaves a delivery as it was.
func (t *tx) cancelErased(key int64, subject string, eps []*told, at time.Time) error {
	for _, p := range eps {
		var found []candidate
		err := t.each(func(rows db.Rows) error {
			e, err := scanHappened(rows.Scan)
			found = append(found, candidate{p, e})
			return err
		}, "SELECT "+happenedFields+` FROM event e INDEXED BY event_subject WHERE e.app = ? AND e.subject = ? AND (e.seq > ? OR e.seq IN
			(SELECT seq FROM exception WHERE ep = ? AND subject = ? AND state IN ('retrying', 'blocked')))`,
			key, subject, int64(p.cursor), p.key.ep, subject)
		if err != nil {
			return err
		}
		facts, err := t.facts(found)
		if err != nil {
			return err
		}
		for i, c := range found {
			v, ok := c.fate(facts[i])
			switch {
			case !ok || !waits(v.Status):
			case facts[i].trouble && !facts[i].delivered.IsZero():
				err = t.later("DELETE FROM exception WHERE ep = ? AND seq = ?", p.key.ep, int64(c.e.Seq))
			default:
				err = t.putException(p.key.ep, &delivery.Exception{
					Seq: c.e.Seq, Subject: subject, State: endErased, Base: facts[i].x.Base, Tries: facts[i].x.Tries,
				}, at)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// waits tells whether a delivery has not ended.
func waits(s delivery.Status) bool {
	return s == delivery.Pending || s == delivery.Retrying || s == delivery.Held
}

// listeners returns an application's endpoints that are not deleted.
func (r *reader) listeners(app int64) (list []*told, err error) {
	err = r.each(func(rows db.Rows) error {
		p, err := scanTold(rows.Scan)
		list = append(list, p)
		return err
	}, "SELECT "+toldFields+" FROM endpoint p WHERE p.app = ? AND p.deleted_at IS NULL", app)
	for i := 0; i < len(list) && err == nil; i++ {
		err = r.complete(list[i])
	}
	return list, err
}

// blank takes the bodies of a subject's events away, and what receivers
// answered to them. The digests of the bodies stay.
func (t *tx) blank(app int64, subject string) error {
	type row struct {
		row    int64
		digest [sha256.Size]byte
	}
	var list []row
	var seqs []event.Seq
	err := t.each(func(rows db.Rows) error {
		var x row
		var seq event.Seq
		var erased bool
		var body []byte
		if err := rows.Scan(&x.row, (*int64)(&seq), &erased, &body); err != nil {
			return err
		}
		if seqs = append(seqs, seq); !erased {
			x.digest = sha256.Sum256(body)
			list = append(list, x)
		}
		return nil
	}, "SELECT row, seq, erased, body FROM event WHERE app = ? AND subject = ? ORDER BY seq", app, subject)
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := t.later("UPDATE event SET body = x'', erased = 1, digest = ? WHERE row = ?", x.digest[:], x.row); err != nil {
			return err
		}
	}
	return t.atEndpoints(app, seqs, blankAnswers)
}

// What is done at each endpoint to attempts and exceptions at some places.
const (
	blankAnswers = `UPDATE attempt SET response = NULL, token = NULL
		WHERE ep = ? AND seq IN (SELECT value FROM json_each(?)) AND (response IS NOT NULL OR token IS NOT NULL)`
	renameExceptions = "UPDATE exception SET subject = ? WHERE ep = ? AND seq IN (SELECT value FROM json_each(?))"
)

// atEndpoints runs a statement for each endpoint of an application, deleted ones
// included: its arguments are others, the endpoint, and places as JSON.
func (t *tx) atEndpoints(app int64, seqs []event.Seq, query string, others ...any) error {
	text, err := json.Marshal(seqs)
	if err != nil || len(seqs) == 0 {
		return err
	}
	var eps []int64
	err = t.each(func(rows db.Rows) error {
		var ep int64
		err := rows.Scan(&ep)
		eps = append(eps, ep)
		return err
	}, "SELECT ep FROM endpoint WHERE app = ?", app)
	for i := 0; i < len(eps) && err == nil; i++ {
		err = t.later(query, append(slices.Clone(others), eps[i], string(text))...)
	}
	return err
}

// blankTransactions takes the content of a citizen's transactions away, as
// blank does with events.
func (t *tx) blankTransactions(app int64, citizen string) error {
	type row struct {
		row    int64
		digest [sha256.Size]byte
	}
	var list []row
	err := t.each(func(rows db.Rows) error {
		var x row
		var sealed []byte
		err := rows.Scan(&x.row, &sealed)
		x.digest = sha256.Sum256(sealed)
		list = append(list, x)
		return err
	}, "SELECT row, sealed FROM permission_transaction WHERE app = ? AND citizen_id = ? AND digest IS NULL", app, citizen)
	for i := 0; i < len(list) && err == nil; i++ {
		err = t.later("UPDATE permission_transaction SET sealed = x'', digest = ? WHERE row = ?", list[i].digest[:], list[i].row)
	}
	return err
}

// rekey gives a subject a new data key. Nothing can open what the former one
// sealed any more.
func (t *tx) rekey(app int64, subject string) error {
	if err := t.dropCiphers(app, subject); err != nil {
		return err
	}
	sealed, c := t.s.keys.NewKey(subjectPlace(app, subject))
	t.s.opens.put(sealed, c)
	_, err := t.exec("UPDATE subject SET sealed_key = ? WHERE app = ? AND subject = ?", sealed, app, subject)
	return err
}

// dropCiphers forgets a subject's opened data key.
func (t *tx) dropCiphers(app int64, subject string) error {
	var sealed []byte
	err := t.get([]any{&sealed}, "SELECT sealed_key FROM subject WHERE app = ? AND subject = ?", app, subject)
	if err != nil && !isNotFound(err) {
		return err
	}
	t.s.opens.drop(sealed)
	t.s.seals.drop(app, subject)
	t.s.keysBySubject.Drop(app, subject)
	t.s.tails.drop(app)
	delete(t.met, advancedKey{app, subject})
	if t.last.app == app && t.last.subject == subject {
		t.last = advanced{}
	}
	return nil
}

// bury ends an erasure: the last bodies and the data key go, and the keyed hash
// takes the place of the subject's name.
func (t *tx) bury(app access.ID, key int64, subject string) error {
	if err := t.blank(key, subject); err != nil {
		return err
	}
	if err := t.dropCiphers(key, subject); err != nil {
		return err
	}
	name := erasedName(t.s.subjectHash(key, subject))
	var seqs []event.Seq
	err := t.each(func(rows db.Rows) error {
		var seq event.Seq
		err := rows.Scan((*int64)(&seq))
		seqs = append(seqs, seq)
		return err
	}, "SELECT seq FROM event WHERE app = ? AND subject = ?", key, subject)
	if err != nil {
		return err
	}
	if err := t.atEndpoints(key, seqs, renameExceptions, name); err != nil {
		return err
	}
	var sequence int64
	if err := t.get([]any{&sequence}, "DELETE FROM subject WHERE app = ? AND subject = ? RETURNING sequence", key, subject); err != nil && !isNotFound(err) {
		return err
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{"INSERT INTO subject (app, subject, sequence, sealed_key) VALUES (?, ?, ?, ?) " +
			"ON CONFLICT (app, subject) DO UPDATE SET sequence = excluded.sequence, sealed_key = excluded.sealed_key", []any{key, name, sequence, []byte{}}},
		{"UPDATE event SET subject = ? WHERE app = ? AND subject = ?", []any{name, key, subject}},
		{"UPDATE permission_transaction SET citizen_id = ? WHERE app = ? AND citizen_id = ?", []any{name, key, subject}},
		{"DELETE FROM erasing WHERE app = ? AND subject = ?", []any{key, subject}},
	} {
		if err := t.later(step.query, step.args...); err != nil {
			return err
		}
	}
	if e := t.small.erasing[key]; e != nil {
		e.remove(subject)
	}
	t.change.erased = append(t.change.erased, store.Subject{Application: app, ID: subject})
	return nil
}

// endErasures buries those subjects of which no last event waits to be told any
// more; of those that are named, or of all that are under way.
func (t *tx) endErasures(app int64, subjects ...string) error {
	all, err := t.erasures(app)
	if err != nil || all == nil {
		return err
	}
	if len(subjects) == 0 {
		subjects = slices.Collect(maps.Keys(all.last))
	}
	eps, err := t.listeners(app)
	if err != nil {
		return err
	}
	var id access.ID
	if err := t.get([]any{(*string)(&id)}, "SELECT app_id FROM application WHERE app = ?", app); err != nil {
		return err
	}
	for _, subject := range subjects {
		waiting, err := t.isWaiting(app, all.last[subject], eps)
		if err == nil && !waiting {
			err = t.bury(id, app, subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isWaiting tells whether a delivery of one of the events to one of the
// endpoints has not ended.
func (t *tx) isWaiting(app int64, seqs []event.Seq, eps []*told) (bool, error) {
	var found []candidate
	for _, seq := range seqs {
		e, err := t.happenedAt(app, seq)
		if err != nil {
			return false, err
		}
		for _, p := range eps {
			found = append(found, candidate{p, e})
		}
	}
	facts, err := t.facts(found)
	if err != nil {
		return false, err
	}
	for i, c := range found {
		if v, ok := c.fate(facts[i]); ok && waits(v.Status) {
			return true, nil
		}
	}
	return false, nil
}

// toldErased looks whether a progress may have ended the last delivery of
// somebody who is being erased. cursor is where the endpoint's was before.
func (t *tx) toldErased(app int64, p *delivery.Progress, cursor event.Seq) error {
	all, err := t.erasures(app)
	if err != nil || all == nil {
		return err
	}
	touched := map[string]struct{}{}
	touch := func(seq event.Seq) {
		if subject, ok := all.whose[seq]; ok {
			touched[subject] = struct{}{}
		}
	}
	for i := range p.Attempts {
		touch(p.Attempts[i].Seq)
	}
	for _, x := range p.Settled {
		touch(x.Seq)
	}
	for _, x := range p.Put {
		touch(x.Seq)
	}
	if int(p.Cursor-cursor) < len(all.whose) {
		for seq := cursor + 1; seq <= p.Cursor; seq++ {
			touch(seq)
		}
	} else {
		for seq := range all.whose {
			if cursor < seq && seq <= p.Cursor {
				touch(seq)
			}
		}
	}
	if len(touched) == 0 {
		return nil
	}
	if err := t.putAttempts(); err != nil { // what became of it is looked up
		return err
	}
	if err := t.lock(app); err != nil { // two nodes may end the last two of them
		return err
	}
	if all, err = t.erasures(app); err != nil || all == nil {
		return err
	}
	return t.endErasures(app, slices.Collect(maps.Keys(touched))...)
}

// ConsentsOf implements store.Tx.
func (t *tx) ConsentsOf(app access.ID, citizenID string) (list []consent.Consent, err error) {
	key, err := t.app(app)
	if err != nil {
		return nil, err
	}
	err = t.each(func(rows db.Rows) error {
		c, err := t.scanConsent(rows.Scan, app, key)
		list = append(list, c)
		return err
	}, "SELECT "+consentFields+fromConsents+" WHERE c.app = ? AND c.citizen_hash = ? ORDER BY c.row", key, t.s.citizenHash(app, citizenID))
	if err != nil {
		return nil, err
	}
	return list, nil
}
