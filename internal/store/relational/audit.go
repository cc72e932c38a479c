package relational

import (
	"bytes"
	"context"
	"crypto/sha256"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// What one snapshot checks: so many events, or so many rows of transactions,
// whosever they are.
const (
	auditPage = 512
	auditRows = 2048
)

const (
	auditEvents = `SELECT seq, event_id, feed, type, subject, sequence, occurred_at, recorded_at, except_id, body, erased, digest, chain
		FROM event WHERE app = ? AND seq > ? ORDER BY seq LIMIT ?`
	auditTransactions = `SELECT transaction_id, citizen_id, recorded_at, sealed, digest, chain FROM permission_transaction NOT INDEXED
		WHERE row > ? AND row <= ? AND app = ? ORDER BY row`
)

// Audit implements store.Reader. What was written while it ran is checked as
// well, up to the end of the chain at its last page.
func (s *Store) Audit(ctx context.Context, app access.ID) (a store.Audit, err error) {
	if a.Events, err = s.audit(ctx, app, (*audit).events); err != nil {
		return store.Audit{}, err
	}
	if a.Transactions, err = s.audit(ctx, app, (*audit).transactions); err != nil {
		return store.Audit{}, err
	}
	return a, nil
}

// audit checks one chain, page by page.
func (s *Store) audit(ctx context.Context, app access.ID, page func(*audit, *reader) error) (store.Chain, error) {
	a := &audit{id: string(app)}
	for !a.end {
		if err := ctx.Err(); err != nil {
			return store.Chain{}, err
		}
		err := s.read(ctx, func(r *reader) (err error) {
			if a.app, err = r.app(app); err != nil {
				return err
			}
			return page(a, r)
		})
		if err != nil {
			return store.Chain{}, err
		}
	}
	copy(a.found.Head[:], a.before)
	return a.found, nil
}

// audit is how far a check is.
type audit struct {
	app    int64
	id     string // of the last record; of the application before the first
	place  int64  // how far it is: a seq, or a row
	before []byte // the last record's chain
	found  store.Chain
	end    bool
}

// audited is what a check needs of a record besides what is chained of it.
type audited struct {
	id                     string
	subject                string
	content, digest, chain []byte
	erased                 bool
}

// breaks notes the first record that does not fit.
func (a *audit) breaks(id string) {
	if a.found.BrokenAt == "" {
		a.found.BrokenAt = id
	}
}

// next checks a record. link returns its chain, from that of the one before, its
// digest and the hash of its subject.
func (a *audit) next(r *reader, x audited, link func(before, digest, subject []byte) []byte) error {
	a.id = x.id
	a.found.Records++
	hash := hashInName(x.subject)
	if hash == nil || !x.erased {
		hash = r.s.subjectHash(a.app, x.subject)
	}
	if x.erased {
		a.found.Erased++
		var known bool
		err := r.get([]any{&known}, "SELECT EXISTS (SELECT 1 FROM tombstone WHERE app = ? AND subject = ?)", a.app, hash)
		if err != nil {
			return err
		}
		if !known || len(x.content) > 0 || len(x.digest) != sha256.Size {
			a.breaks(x.id)
		}
	} else {
		sum := sha256.Sum256(x.content)
		x.digest = sum[:]
	}
	if x.chain == nil {
		if a.found.Earlier++; a.before != nil {
			a.breaks(x.id)
		}
		return nil
	}
	if !bytes.Equal(link(a.before, x.digest, hash), x.chain) {
		a.breaks(x.id)
	}
	a.before = x.chain
	return nil
}

// events checks the next page of the log, from where age has left it.
func (a *audit) events(r *reader) error {
	var pruned int64
	var chain []byte
	if err := r.get([]any{&pruned, &chain}, "SELECT pruned_seq, pruned_chain FROM application WHERE app = ?", a.app); err != nil {
		return err
	}
	if a.place < pruned { // what was checked may be gone by now, too
		a.found.Pruned += pruned - a.place
		a.place, a.before = pruned, chain
	}
	type row struct {
		audited
		is chainedEvent
	}
	var list []row
	err := r.each(func(rows db.Rows) error {
		var x row
		err := rows.Scan(&x.is.seq, &x.id, &x.is.feed, &x.is.typ, &x.subject, &x.is.sequence, &x.is.occurred, &x.is.recorded, &x.is.except,
			&x.content, &x.erased, &x.digest, &x.chain)
		list = append(list, x)
		return err
	}, auditEvents, a.app, a.place, auditPage)
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.is.seq != a.place+1 {
			a.breaks(x.id)
		}
		a.place = x.is.seq
		err := a.next(r, x.audited, func(before, digest, subject []byte) []byte {
			x.is.id, x.is.subject = x.id, subject
			return x.is.chain(before, digest)
		})
		if err != nil {
			return err
		}
	}
	if a.end = len(list) < auditPage; !a.end {
		return nil
	}
	var last int64
	var head []byte
	if err := r.get([]any{&last, &head}, "SELECT last_seq, log_head FROM application WHERE app = ?", a.app); err != nil {
		return err
	}
	if last != a.place || !bytes.Equal(head, a.before) {
		a.breaks(a.id)
	}
	return nil
}

// transactions checks the next page of the transactions.
func (a *audit) transactions(r *reader) error {
	type row struct {
		audited
		recorded int64
	}
	var list []row
	upto := a.place + auditRows
	err := r.each(func(rows db.Rows) error {
		var x row
		err := rows.Scan(&x.id, &x.subject, &x.recorded, &x.content, &x.digest, &x.chain)
		x.erased = x.digest != nil
		list = append(list, x)
		return err
	}, auditTransactions, a.place, upto, a.app)
	if err != nil {
		return err
	}
	for _, x := range list {
		err := a.next(r, x.audited, func(before, digest, subject []byte) []byte {
			return chainedTransaction{x.id, x.recorded, subject}.chain(before, digest)
		})
		if err != nil {
			return err
		}
	}
	var last int64
	var head []byte
	err = r.get([]any{&last, &head}, "SELECT (SELECT COALESCE(MAX(row), 0) FROM permission_transaction), history_head FROM application WHERE app = ?", a.app)
	a.place, a.end = upto, last <= upto
	if err != nil || !a.end {
		return err
	}
	if !bytes.Equal(head, a.before) {
		a.breaks(a.id)
	}
	return nil
}
