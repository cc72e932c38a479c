package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
)

// citizenForm is the sealed part of a citizen besides the standing. Its names
// are never changed; times are Unix milliseconds.
type citizenForm struct {
	ExternalRef string   `json:"r,omitzero"`
	Emails      []string `json:"e,omitzero"`
	Language    string   `json:"l,omitzero"`
	CreatedAt   int64    `json:"t,omitzero"`
	UpdatedAt   int64    `json:"u,omitzero"`
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

// PutCitizen implements store.Tx. The row is sealed under the key of the
// subject that has the citizen's ID.
func (t *tx) PutCitizen(c store.Citizen, evts ...event.Event) error {
	key, err := t.app(c.Application)
	if err != nil {
		return err
	}
	var ref, due any
	if c.ExternalRef != "" {
		hash := t.s.refHash(c.Application, c.ExternalRef)
		var taken bool
		err := t.get([]any{&taken}, "SELECT EXISTS (SELECT 1 FROM citizen WHERE app = ? AND ref_hash = ? AND citizen_id <> ?)",
			key, hash, string(c.ID))
		if err != nil {
			return err
		}
		if taken {
			return fault.At(fault.Conflict, "external_ref_taken", "/externalRef", "Another citizen has this externalRef already.")
		}
		ref = hash
	}
	if err := t.Publish(evts...); err != nil {
		return err
	}
	if err := t.advance(key, string(c.ID), 0); err != nil {
		return err
	}
	content, err := json.Marshal(citizenForm{c.ExternalRef, c.Emails, c.Language, millis(c.CreatedAt), millis(c.UpdatedAt)})
	if err != nil {
		return fmt.Errorf("encode a citizen: %w", err)
	}
	sealed := t.last.cipher.Seal(content, citizenPlace(c.ID))
	standing := t.last.cipher.Seal(c.Standing.Encode(), standingPlace(c.ID))
	if next := c.Standing.Next(); !next.IsZero() {
		due = next.UnixMilli()
		t.change.due(next)
	}
	_, err = t.exec(`INSERT INTO citizen (app, citizen_id, ref_hash, version, due_at, sealed, standing) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (app, citizen_id) DO UPDATE SET ref_hash = excluded.ref_hash, version = excluded.version,
			due_at = excluded.due_at, sealed = excluded.sealed, standing = excluded.standing`,
		key, string(c.ID), ref, c.Version, due, sealed, standing)
	return err
}

// citizenFields are what scanCitizen reads; c is the citizen, s its subject.
const citizenFields = `c.citizen_id, c.version, c.sealed, c.standing, s.sealed_key`

const fromCitizens = ` FROM citizen c JOIN subject s ON s.app = c.app AND s.subject = c.citizen_id`

// scanCitizen reads citizenFields and opens the sealed parts.
func (r *reader) scanCitizen(scan func(...any) error, app access.ID, key int64) (store.Citizen, error) {
	c := store.Citizen{Application: app}
	var sealed, standing, sealedKey []byte
	if err := scan((*string)(&c.ID), &c.Version, &sealed, &standing, &sealedKey); err != nil {
		return store.Citizen{}, err
	}
	ci, err := r.s.cipher(key, string(c.ID), sealedKey)
	if err != nil {
		return store.Citizen{}, err
	}
	var f citizenForm
	content, err := ci.Open(sealed, citizenPlace(c.ID))
	if err == nil {
		err = json.Unmarshal(content, &f)
	}
	if err == nil {
		content, err = ci.Open(standing, standingPlace(c.ID))
	}
	if err == nil {
		c.Standing, err = permission.DecodeStanding(content)
	}
	if err != nil {
		return store.Citizen{}, fmt.Errorf("open %s: %w", c.ID, err)
	}
	c.ExternalRef, c.Emails, c.Language = f.ExternalRef, f.Emails, f.Language
	c.CreatedAt, c.UpdatedAt = moment(f.CreatedAt), moment(f.UpdatedAt)
	return c, nil
}

// citizen returns the one for which a condition on c holds.
func (r *reader) citizen(app access.ID, where string, arg any) (store.Citizen, error) {
	key, err := r.app(app)
	if err != nil {
		return store.Citizen{}, err
	}
	return r.scanCitizen(func(dst ...any) error {
		return r.get(dst, "SELECT "+citizenFields+fromCitizens+" WHERE c.app = ? AND "+where, key, arg)
	}, app, key)
}

func (r *reader) citizenByID(app access.ID, id permission.CitizenID) (store.Citizen, error) {
	return r.citizen(app, "c.citizen_id = ?", string(id))
}

func (r *reader) citizenByRef(app access.ID, externalRef string) (store.Citizen, error) {
	return r.citizen(app, "c.ref_hash = ?", r.s.refHash(app, externalRef))
}

// Citizen implements store.Tx.
func (t *tx) Citizen(app access.ID, id permission.CitizenID) (store.Citizen, error) {
	return t.citizenByID(app, id)
}

// CitizenByRef implements store.Tx.
func (t *tx) CitizenByRef(app access.ID, externalRef string) (store.Citizen, error) {
	return t.citizenByRef(app, externalRef)
}

// Citizen implements store.Reader.
func (s *Store) Citizen(ctx context.Context, app access.ID, id permission.CitizenID) (c store.Citizen, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, err = r.citizenByID(app, id)
		return err
	})
	return c, err
}

// CitizenByRef implements store.Reader.
func (s *Store) CitizenByRef(ctx context.Context, app access.ID, externalRef string) (c store.Citizen, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, err = r.citizenByRef(app, externalRef)
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
			row, err := r.behind("SELECT row FROM citizen WHERE app = ? AND citizen_id = ?", key, q.After)
			if err != nil {
				return err
			}
			where, args = where+" AND c.row < ?", append(args, row)
		}
		return r.each(func(rows *sql.Rows) error {
			if len(list) == limit {
				next = string(list[limit-1].ID)
				return nil
			}
			c, err := r.scanCitizen(rows.Scan, app, key)
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
		return r.each(func(rows *sql.Rows) error {
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
	if err := t.advance(key, string(x.Citizen), 0); err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO permission_transaction (app, transaction_id, citizen_id, sealed) VALUES (?, ?, ?, ?)",
		key, string(x.ID()), string(x.Citizen), t.last.cipher.Seal(x.Encode(), transactionPlace(x.ID())))
	return err
}

// transactionFields are what scanTransaction reads; x is the transaction, s
// its citizen's subject.
const transactionFields = `x.transaction_id, x.citizen_id, x.sealed, s.sealed_key`

const fromTransactions = ` FROM permission_transaction x JOIN subject s ON s.app = x.app AND s.subject = x.citizen_id`

// scanTransaction reads transactionFields and opens the sealed part.
func (r *reader) scanTransaction(scan func(...any) error, key int64) (permission.Transaction, error) {
	var id permission.TransactionID
	var citizen string
	var sealed, sealedKey []byte
	if err := scan((*string)(&id), &citizen, &sealed, &sealedKey); err != nil {
		return permission.Transaction{}, err
	}
	ci, err := r.s.cipher(key, citizen, sealedKey)
	if err != nil {
		return permission.Transaction{}, err
	}
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

// transaction returns one transaction.
func (r *reader) transaction(app access.ID, id permission.TransactionID) (permission.Transaction, error) {
	key, err := r.app(app)
	if err != nil {
		return permission.Transaction{}, err
	}
	return r.scanTransaction(func(dst ...any) error {
		return r.get(dst, "SELECT "+transactionFields+fromTransactions+" WHERE x.transaction_id = ? AND x.app = ?", string(id), key)
	}, key)
}

// ofCitizen returns the key of an application that has the citizen;
// fault.NotFound.
func (r *reader) ofCitizen(app access.ID, id permission.CitizenID) (int64, error) {
	key, err := r.app(app)
	if err != nil {
		return 0, err
	}
	var version int64
	return key, r.get([]any{&version}, "SELECT version FROM citizen WHERE app = ? AND citizen_id = ?", key, string(id))
}

// transactions returns a citizen's whole history.
func (r *reader) transactions(app access.ID, citizen permission.CitizenID) (list []permission.Transaction, err error) {
	key, err := r.ofCitizen(app, citizen)
	if err != nil {
		return nil, err
	}
	err = r.each(func(rows *sql.Rows) error {
		x, err := r.scanTransaction(rows.Scan, key)
		list = append(list, x)
		return err
	}, "SELECT "+transactionFields+fromTransactions+" WHERE x.app = ? AND x.citizen_id = ? ORDER BY x.row", key, string(citizen))
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Transaction implements store.Tx.
func (t *tx) Transaction(app access.ID, id permission.TransactionID) (permission.Transaction, error) {
	return t.transaction(app, id)
}

// Transactions implements store.Tx.
func (t *tx) Transactions(app access.ID, citizen permission.CitizenID) ([]permission.Transaction, error) {
	return t.transactions(app, citizen)
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
func (s *Store) Transactions(ctx context.Context, app access.ID, citizen permission.CitizenID) (list []permission.Transaction, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, err = r.transactions(app, citizen)
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
		key, err := r.ofCitizen(app, citizen)
		if err != nil {
			return err
		}
		where, args := " WHERE x.app = ? AND x.citizen_id = ?", []any{key, string(citizen)}
		if after != "" {
			row, err := r.behind("SELECT row FROM permission_transaction WHERE transaction_id = ? AND app = ? AND citizen_id = ?",
				after, key, string(citizen))
			if err != nil {
				return err
			}
			where, args = where+" AND x.row < ?", append(args, row)
		}
		return r.each(func(rows *sql.Rows) error {
			if len(list) == limit {
				next = string(list[limit-1].ID())
				return nil
			}
			x, err := r.scanTransaction(rows.Scan, key)
			list = append(list, x)
			return err
		}, "SELECT "+transactionFields+fromTransactions+where+" ORDER BY x.row DESC LIMIT ?", append(args, limit+1)...)
	})
	if err != nil {
		return nil, "", err
	}
	return list, next, nil
}
