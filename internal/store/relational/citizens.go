package relational

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// citizenForm is the sealed part of a citizen besides the standing. Its names
// are never changed; times are Unix milliseconds.
type citizenForm struct {
	ExternalRef string   `json:"r,omitzero"`
	Emails      []string `json:"e,omitzero"`
	Language    string   `json:"l,omitzero"`
	CreatedAt   int64    `json:"t,omitzero"`
	UpdatedAt   int64    `json:"u,omitzero"`

	Merged   []mergedForm `json:"m,omitzero"`
	Reminded int64        `json:"d,omitzero"`
}

type mergedForm struct {
	ID          permission.CitizenID `json:"i"`
	ExternalRef string               `json:"r,omitzero"`
	At          int64                `json:"t"`
}

func citizenContent(c *store.Citizen) ([]byte, error) {
	f := citizenForm{
		ExternalRef: c.ExternalRef, Emails: c.Emails, Language: c.Language, CreatedAt: millis(c.CreatedAt), UpdatedAt: millis(c.UpdatedAt),
		Reminded: millis(c.Reminded),
	}
	for _, m := range c.Merged {
		f.Merged = append(f.Merged, mergedForm{m.ID, m.ExternalRef, millis(m.At)})
	}
	content, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode a citizen: %w", err)
	}
	return content, nil
}

// Places of what is sealed under a citizen's key. Owners choose the IDs of
// citizens, but the key is of one application and one citizen.

func citizenPlace(id permission.CitizenID) secret.Place {
	return secret.Place{What: "citizen", Owner: string(id), Field: "sealed"}
}

func standingPlace(id permission.CitizenID) secret.Place {
	return secret.Place{What: "citizen", Owner: string(id), Field: "standing"}
}

func transactionPlace(id permission.TransactionID) secret.Place {
	return secret.Place{What: "transaction", Owner: string(id), Field: "sealed"}
}

func (s *Store) refHash(app access.ID, externalRef string) []byte {
	return s.index.Hash(secret.Place{What: "citizen", Owner: string(app), Field: "externalRef"}, externalRef)
}

// refTaken tells that somebody else has an external reference.
func refTaken() error {
	return fault.At(fault.Conflict, "external_ref_taken", "/externalRef", "Another citizen has this externalRef already.")
}

// idErased tells that an ID is that of somebody who was erased.
func idErased() error {
	return fault.At(fault.Conflict, "citizen_erased", "/citizenId", "The citizen of this ID was erased; it cannot be used again.")
}

// refOfOther tells whether another citizen than one has a reference, or had it
// when it was merged into another one.
const refOfOther = `SELECT EXISTS (SELECT 1 FROM citizen WHERE app = ?1 AND ref_hash = ?2 AND citizen_id <> ?3)
	OR EXISTS (SELECT 1 FROM citizen_merged WHERE app = ?1 AND ref_hash = ?2 AND into_id <> ?3)`

// PutCitizen implements store.Tx. The row is sealed under the key of the
// subject that has the citizen's ID.
func (t *tx) PutCitizen(c store.Citizen, evts ...event.Event) error {
	key, err := t.app(c.Application)
	if err != nil {
		return err
	}
	is := t.met[advancedKey{key, string(c.ID)}]
	if !is.is {
		if erased, err := t.isErased(key, string(c.ID)); err != nil {
			return err
		} else if erased {
			return idErased()
		}
	}
	same := is.is && is.ref == c.ExternalRef
	var ref any
	if c.ExternalRef != "" && !same {
		hash := t.s.refHash(c.Application, c.ExternalRef)
		var taken bool
		if err := t.get([]any{&taken}, refOfOther, key, hash, string(c.ID)); err != nil {
			return err
		}
		if taken {
			return refTaken()
		}
		ref = hash
	}
	if err := t.Publish(evts...); err != nil {
		return err
	}
	ci, err := t.cipherOf(key, c.ID)
	if err != nil {
		return err
	}
	args, due, err := citizenRow(nil, key, ref, ci, &c)
	if err != nil {
		return err
	}
	t.change.due(due)
	query := putCitizen
	if same {
		query = keepCitizen
	}
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("put %s, which is a part of another citizen", c.ID)
	}
	if err != nil {
		delete(t.met, advancedKey{key, string(c.ID)})
		return err
	}
	t.meet(key, &c, ci)
	return nil
}

// What PutCitizen does; the second for one who is there and keeps the reference,
// whose hash is then left out.
const (
	putCitizen = "INSERT INTO citizen (" + citizenNames + `) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
		WHERE NOT EXISTS (SELECT 1 FROM citizen_merged WHERE app = ?1 AND citizen_id = ?2)` + citizenAgain
	keepCitizen = `UPDATE citizen SET version = ?4, due_at = ?5, sealed = ?6, standing = ?7, group_id = ?8
		WHERE app = ?1 AND citizen_id = ?2 AND ?3 IS NULL`
)

// meet remembers a citizen that is in table citizen.
func (t *tx) meet(app int64, c *store.Citizen, ci *secret.Cipher) {
	if t.met == nil {
		t.met = make(map[advancedKey]met)
	}
	t.met[advancedKey{app, string(c.ID)}] = met{cipher: ci, is: true, ref: c.ExternalRef, group: c.Group}
}

// The columns of a citizen, and what replaces them when it is there.
const (
	citizenNames   = "app, citizen_id, ref_hash, version, due_at, sealed, standing, group_id"
	citizenColumns = 8
	citizenAgain   = ` ON CONFLICT (app, citizen_id) DO UPDATE SET ref_hash = excluded.ref_hash, version = excluded.version,
		due_at = excluded.due_at, sealed = excluded.sealed, standing = excluded.standing, group_id = excluded.group_id`
)

// citizenRow appends the columns of a citizen, and returns when it is due.
func citizenRow(args []any, app int64, ref any, ci *secret.Cipher, c *store.Citizen) ([]any, time.Time, error) {
	content, err := citizenContent(c)
	if err != nil {
		return nil, time.Time{}, err
	}
	var due, group any
	next := c.Due()
	if !next.IsZero() {
		due = next.UnixMilli()
	}
	if c.Group != "" {
		group = c.Group
	}
	return append(args, app, string(c.ID), ref, c.Version, due,
		ci.Seal(content, citizenPlace(c.ID)), ci.Seal(c.Standing.Encode(), standingPlace(c.ID)), group), next, nil
}

// citizenFields are what scanCitizen reads; c is the citizen, s its subject.
const citizenFields = `c.citizen_id, c.version, c.group_id, c.sealed, c.standing, s.sealed_key`

const fromCitizens = ` FROM citizen c JOIN subject s ON s.app = c.app AND s.subject = c.citizen_id`

// fromMerged joins the citizen that m was merged into.
const fromMerged = ` FROM citizen_merged m CROSS JOIN citizen c ON c.app = m.app AND c.citizen_id = m.into_id
	JOIN subject s ON s.app = c.app AND s.subject = c.citizen_id`

// citizenAsKept is what citizenFields are.
type citizenAsKept struct {
	id                          permission.CitizenID
	version                     int64
	group                       sql.NullString
	sealed, standing, sealedKey []byte
}

func (k *citizenAsKept) scan(scan func(...any) error) error {
	return scan((*string)(&k.id), &k.version, &k.group, &k.sealed, &k.standing, &k.sealedKey)
}

// openCitizen opens the sealed parts.
func (s *Store) openCitizen(k *citizenAsKept, app access.ID, key int64) (store.Citizen, *secret.Cipher, error) {
	c := store.Citizen{Application: app, ID: k.id, Version: k.version, Group: k.group.String}
	ci, err := s.cipher(key, string(c.ID), k.sealedKey)
	if err != nil {
		return store.Citizen{}, nil, err
	}
	var f citizenForm
	content, err := ci.Open(k.sealed, citizenPlace(c.ID))
	if err == nil {
		err = json.Unmarshal(content, &f)
	}
	if err == nil {
		content, err = ci.Open(k.standing, standingPlace(c.ID))
	}
	if err == nil {
		c.Standing, err = permission.DecodeStanding(content)
	}
	if err != nil {
		return store.Citizen{}, nil, fmt.Errorf("open %s: %w", c.ID, err)
	}
	c.ExternalRef, c.Emails, c.Language = f.ExternalRef, f.Emails, f.Language
	c.CreatedAt, c.UpdatedAt, c.Reminded = moment(f.CreatedAt), moment(f.UpdatedAt), moment(f.Reminded)
	for _, m := range f.Merged {
		c.Merged = append(c.Merged, store.Merged{ID: m.ID, ExternalRef: m.ExternalRef, At: moment(m.At)})
	}
	return c, ci, nil
}

// scanCitizen reads citizenFields and opens the sealed parts.
func (r *reader) scanCitizen(scan func(...any) error, app access.ID, key int64) (store.Citizen, *secret.Cipher, error) {
	var k citizenAsKept
	if err := k.scan(scan); err != nil {
		return store.Citizen{}, nil, err
	}
	return r.s.openCitizen(&k, app, key)
}

// citizen returns the one of which a column has a value, or the one that a
// citizen of whom that holds was merged into.
func (r *reader) citizen(app access.ID, column string, value any) (store.Citizen, *secret.Cipher, error) {
	key, err := r.app(app)
	if err != nil {
		return store.Citizen{}, nil, err
	}
	read := func(query string) (store.Citizen, *secret.Cipher, error) {
		return r.scanCitizen(func(dst ...any) error { return r.get(dst, query, key, value) }, app, key)
	}
	c, ci, err := read("SELECT " + citizenFields + fromCitizens + " WHERE c.app = ? AND c." + column + " = ?")
	if isNotFound(err) {
		c, ci, err = read("SELECT " + citizenFields + fromMerged + " WHERE m.app = ? AND m." + column + " = ? LIMIT 1")
	}
	return c, ci, err
}

func (r *reader) citizenByID(app access.ID, id permission.CitizenID) (store.Citizen, *secret.Cipher, error) {
	return r.citizen(app, "citizen_id", string(id))
}

func (r *reader) citizenByRef(app access.ID, externalRef string) (store.Citizen, *secret.Cipher, error) {
	return r.citizen(app, "ref_hash", r.s.refHash(app, externalRef))
}

// Citizen implements store.Tx.
func (t *tx) Citizen(app access.ID, id permission.CitizenID) (store.Citizen, error) {
	return t.remember(t.citizenByID(app, id))
}

// CitizenByRef implements store.Tx.
func (t *tx) CitizenByRef(app access.ID, externalRef string) (store.Citizen, error) {
	return t.remember(t.citizenByRef(app, externalRef))
}

// remember keeps a citizen that was read.
func (t *tx) remember(c store.Citizen, ci *secret.Cipher, err error) (store.Citizen, error) {
	if err != nil {
		return store.Citizen{}, err
	}
	key, err := t.app(c.Application)
	t.meet(key, &c, ci)
	return c, err
}

// Citizen implements store.Reader.
func (s *Store) Citizen(ctx context.Context, app access.ID, id permission.CitizenID) (c store.Citizen, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, _, err = r.citizenByID(app, id)
		return err
	})
	return c, err
}

// CitizenByRef implements store.Reader.
func (s *Store) CitizenByRef(ctx context.Context, app access.ID, externalRef string) (c store.Citizen, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, _, err = r.citizenByRef(app, externalRef)
		return err
	})
	return c, err
}

// Citizens implements store.Reader. After is the ID of the last citizen seen.
func (s *Store) Citizens(ctx context.Context, app access.ID, q store.CitizenQuery) (list []store.Citizen, next string, err error) {
	limit := pageLimit(q.Limit)
	err = s.read(ctx, func(r *reader) error {
		list, next = nil, ""
		key, err := r.app(app)
		if err != nil {
			return err
		}
		where, args := " WHERE c.app = ?", []any{key}
		if q.After != "" {
			row, err := r.behind(`SELECT row FROM citizen WHERE app = ?1 AND citizen_id = ?2
				UNION ALL SELECT citizen_row FROM citizen_merged WHERE app = ?1 AND citizen_id = ?2`, key, q.After)
			if err != nil {
				return err
			}
			where, args = where+" AND c.row < ?", append(args, row)
		}
		return r.each(func(rows db.Rows) error {
			if len(list) == limit {
				next = string(list[limit-1].ID)
				return nil
			}
			c, _, err := r.scanCitizen(rows.Scan, app, key)
			list = append(list, c)
			return err
		}, "SELECT "+citizenFields+fromCitizens+where+" ORDER BY c.row DESC LIMIT ?", append(args, limit+1)...)
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

const (
	dueCitizens = `SELECT a.app_id, c.citizen_id FROM citizen c JOIN application a ON a.app = c.app
		WHERE c.due_at <= ? ORDER BY c.due_at, c.row LIMIT ?`
	nextLapse = "SELECT MIN(due_at) FROM citizen WHERE due_at IS NOT NULL"
)

// DueCitizens implements store.Reader.
func (s *Store) DueCitizens(ctx context.Context, now time.Time, limit int) (list []store.CitizenRef, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		return r.each(func(rows db.Rows) error {
			var c store.CitizenRef
			err := rows.Scan((*string)(&c.Application), (*string)(&c.ID))
			list = append(list, c)
			return err
		}, dueCitizens, now.UnixMilli(), pageLimit(limit))
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// NextLapse implements store.Reader.
func (s *Store) NextLapse(ctx context.Context) (at time.Time, err error) {
	err = s.read(ctx, func(r *reader) error {
		var ms sql.NullInt64
		err := r.get([]any{&ms}, nextLapse)
		if at = (time.Time{}); ms.Valid {
			at = time.UnixMilli(ms.Int64).UTC()
		}
		return err
	})
	return at, err
}

// PutTransaction implements store.Tx. The row is sealed under the citizen's
// key.
func (t *tx) PutTransaction(app access.ID, x permission.Transaction) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	ci, err := t.cipherOf(key, x.Citizen)
	if err != nil {
		return err
	}
	args, err := t.transactionRow(nil, key, ci, &x)
	if err != nil {
		return err
	}
	return t.later(putTransactions[1], args...)
}

// The columns of a transaction.
const (
	transactionNames   = "app, transaction_id, citizen_id, sealed, recorded_at, chain"
	transactionColumns = 6
)

// transactionRow appends the columns of a transaction, which is to be inserted
// next.
func (t *tx) transactionRow(args []any, app int64, ci *secret.Cipher, x *permission.Transaction) ([]any, error) {
	sealed := ci.Seal(x.Encode(), transactionPlace(x.ID()))
	chain, err := t.chainTransaction(app, string(x.ID()), string(x.Citizen), millis(x.Origin.RecordedAt), sealed)
	return append(args, app, string(x.ID()), string(x.Citizen), sealed, millis(x.Origin.RecordedAt), chain), err
}

// openTransaction opens the sealed part of a transaction.
func openTransaction(ci *secret.Cipher, id permission.TransactionID, sealed []byte) (permission.Transaction, error) {
	var x permission.Transaction
	content, err := ci.Open(sealed, transactionPlace(id))
	if err == nil {
		x, err = permission.DecodeTransaction(content)
	}
	if err != nil {
		return permission.Transaction{}, fmt.Errorf("open %s: %w", id, err)
	}
	return x, nil
}

const oneTransaction = `SELECT x.citizen_id, x.sealed, s.sealed_key
	FROM permission_transaction x JOIN subject s ON s.app = x.app AND s.subject = x.citizen_id
	WHERE x.transaction_id = ? AND x.app = ? AND x.digest IS NULL`

// transaction returns one transaction; of one that was erased nothing is left.
func (r *reader) transaction(app access.ID, id permission.TransactionID) (permission.Transaction, error) {
	key, err := r.app(app)
	if err != nil {
		return permission.Transaction{}, err
	}
	var citizen string
	var sealed, sealedKey []byte
	err = r.get([]any{&citizen, &sealed, &sealedKey}, oneTransaction, string(id), key)
	if err != nil {
		return permission.Transaction{}, err
	}
	ci, err := r.s.cipher(key, citizen, sealedKey)
	if err != nil {
		return permission.Transaction{}, err
	}
	return openTransaction(ci, id, sealed)
}

// Transaction implements store.Tx.
func (t *tx) Transaction(app access.ID, id permission.TransactionID) (permission.Transaction, error) {
	return t.transaction(app, id)
}

// Transactions implements store.Tx.
func (t *tx) Transactions(app access.ID, citizens ...permission.CitizenID) ([]permission.Transaction, error) {
	return t.transactions(app, citizens...)
}

// Transaction implements store.Reader.
func (s *Store) Transaction(ctx context.Context, app access.ID, id permission.TransactionID) (x permission.Transaction, err error) {
	err = s.read(ctx, func(r *reader) error {
		x, err = r.transaction(app, id)
		return err
	})
	return x, err
}

// Transactions implements store.Reader.
func (s *Store) Transactions(ctx context.Context, app access.ID, citizens ...permission.CitizenID) (list []permission.Transaction, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, err = r.transactions(app, citizens...)
		return err
	})
	return list, err
}

// TransactionPage implements store.Reader. The after is the ID of the last
// transaction seen.
func (s *Store) TransactionPage(
	ctx context.Context, app access.ID, citizen permission.CitizenID, limit int, after string,
) (list []permission.Transaction, next string, err error) {
	limit = pageLimit(limit)
	err = s.read(ctx, func(r *reader) error {
		list, next = nil, ""
		key, err := r.app(app)
		if err != nil {
			return err
		}
		names, err := r.histories(key, citizen)
		if err != nil {
			return err
		}
		before := int64(math.MaxInt64)
		if after != "" {
			var whose string
			err := r.get([]any{&before, &whose}, "SELECT row, citizen_id FROM permission_transaction WHERE transaction_id = ? AND app = ?", after, key)
			if isNotFound(err) || err == nil && !slices.Contains(names, permission.CitizenID(whose)) {
				return badAfter()
			}
			if err != nil {
				return err
			}
		}
		found, err := r.gather(key, names, time.Time{}, historyBefore, before, limit+1)
		if err != nil {
			return err
		}
		slices.SortFunc(found, func(a, b kept) int { return cmp.Compare(b.row, a.row) })
		list, err = openAll(found[:min(len(found), limit+1)])
		if len(list) > limit {
			list = list[:limit]
			next = string(list[limit-1].ID())
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}

// kept is a transaction as it is kept.
type kept struct {
	row    int64
	id     permission.TransactionID
	cipher *secret.Cipher
	sealed []byte
}

// What gather reads; what was erased is not there.
const (
	aHistory = `SELECT row, transaction_id, sealed, recorded_at FROM permission_transaction
		WHERE app = ? AND citizen_id = ? AND digest IS NULL`
	historyBehind = aHistory + " AND row > ? ORDER BY row"
	historyBefore = aHistory + " AND row < ? ORDER BY row DESC LIMIT ?"
)

// present returns the ID of a citizen that may have been merged into another
// one, whose ID it then is; fault.NotFound.
func (r *reader) present(app int64, citizen permission.CitizenID) (id permission.CitizenID, err error) {
	err = r.get([]any{(*string)(&id)}, `SELECT citizen_id FROM citizen WHERE app = ?1 AND citizen_id = ?2
		UNION ALL SELECT into_id FROM citizen_merged WHERE app = ?1 AND citizen_id = ?2`, app, string(citizen))
	return id, err
}

// histories returns the names under which the transactions of some citizens
// stand: those of the citizens, and of all that were merged into them, each
// once. fault.NotFound when one is unknown.
func (r *reader) histories(app int64, citizens ...permission.CitizenID) (names []permission.CitizenID, err error) {
	for _, c := range citizens {
		id, err := r.present(app, c)
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, id) {
			continue
		}
		names = append(names, id)
		err = r.each(func(rows db.Rows) error {
			err := rows.Scan((*string)(&id))
			names = append(names, id)
			return err
		}, "SELECT citizen_id FROM citizen_merged WHERE app = ? AND into_id = ? ORDER BY row", app, string(id))
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// errEnough ends a query before its end.
var errEnough = errors.New("enough was read")

// gather reads transactions, name by name. The query begins with aHistory; its
// arguments are the application, the name, and args. Of each name it stops at
// the first that was recorded after until, unless that is zero.
func (r *reader) gather(app int64, names []permission.CitizenID, until time.Time, query string, args ...any) (list []kept, err error) {
	for _, name := range names {
		ci, err := r.subjectCipher(app, string(name))
		if isNotFound(err) {
			continue // it was erased
		}
		if err != nil {
			return nil, err
		}
		err = r.each(func(rows db.Rows) error {
			k := kept{cipher: ci}
			var ms int64
			if err := rows.Scan(&k.row, (*string)(&k.id), &k.sealed, &ms); err != nil {
				return err
			}
			if !until.IsZero() {
				recorded := moment(ms)
				if ms == 0 { // the column is younger
					x, err := openTransaction(ci, k.id, k.sealed)
					if err != nil {
						return err
					}
					recorded = x.Origin.RecordedAt
				}
				if recorded.After(until) {
					return errEnough
				}
			}
			list = append(list, k)
			return nil
		}, query, append([]any{app, string(name)}, args...)...)
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
	}
	return list, nil
}

func openAll(list []kept) (out []permission.Transaction, err error) {
	for _, k := range list {
		x, err := openTransaction(k.cipher, k.id, k.sealed)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// transactions returns the whole history of some citizens.
func (r *reader) transactions(app access.ID, citizens ...permission.CitizenID) ([]permission.Transaction, error) {
	key, err := r.app(app)
	if err != nil {
		return nil, err
	}
	names, err := r.histories(key, citizens...)
	if err != nil {
		return nil, err
	}
	return r.under(key, names, 0, time.Time{})
}

// under returns the transactions that stand under some names behind a row, in
// the order recorded; with until, those that were recorded up to then.
func (r *reader) under(app int64, names []permission.CitizenID, row int64, until time.Time) ([]permission.Transaction, error) {
	found, err := r.gather(app, names, until, historyBehind, row)
	if err != nil {
		return nil, err
	}
	if len(names) > 1 {
		slices.SortFunc(found, func(a, b kept) int { return cmp.Compare(a.row, b.row) })
	}
	return openAll(found)
}
