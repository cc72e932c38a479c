package relational

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// dropBatch is how many expired rows are dropped on the way of a write.
const dropBatch = 100

// Application implements store.Reader.
func (s *Store) Application(ctx context.Context, app access.ID) (a access.Application, err error) {
	err = s.read(ctx, func(r *reader) error {
		a, err = r.application(app)
		return err
	})
	return a, err
}

// Application implements store.Tx.
func (t *tx) Application(app access.ID) (access.Application, error) { return t.application(app) }

func (r *reader) application(app access.ID) (access.Application, error) {
	a := access.Application{ID: app}
	var created, updated int64
	err := r.get([]any{&a.Name, &created, &updated},
		"SELECT name, created_at, updated_at FROM application WHERE app_id = ?", string(app))
	if err != nil {
		return access.Application{}, err
	}
	a.CreatedAt, a.UpdatedAt = moment(created), moment(updated)
	return a, nil
}

// Applications implements store.Reader.
func (s *Store) Applications(ctx context.Context, offset, limit int) (list []access.Application, total int, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, total = nil, 0
		if err := r.get([]any{&total}, "SELECT COUNT(*) FROM application"); err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			var a access.Application
			var id string
			var created, updated int64
			if err := rows.Scan(&id, &a.Name, &created, &updated); err != nil {
				return err
			}
			a.ID, a.CreatedAt, a.UpdatedAt = access.ID(id), moment(created), moment(updated)
			list = append(list, a)
			return nil
		}, "SELECT app_id, name, created_at, updated_at FROM application ORDER BY app LIMIT ? OFFSET ?",
			max(limit, 0), max(offset, 0))
	})
	return list, total, err
}

// PutApplication implements store.Tx.
func (t *tx) PutApplication(a access.Application) error {
	n, err := t.exec("UPDATE application SET name = ?, updated_at = ? WHERE app_id = ?", a.Name, millis(a.UpdatedAt), string(a.ID))
	if err != nil || n > 0 {
		return err
	}
	t.keyed = true
	_, err = t.exec("INSERT INTO application (app_id, name, created_at, updated_at) VALUES (?, ?, ?, ?)",
		string(a.ID), a.Name, millis(a.CreatedAt), millis(a.UpdatedAt))
	return err
}

// DeleteApplication implements store.Tx.
func (t *tx) DeleteApplication(app access.ID) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	err = t.each(func(rows db.Rows) error {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		t.change.endpoints = append(t.change.endpoints, delivery.Endpoint(id))
		return nil
	}, "SELECT endpoint_id FROM endpoint WHERE app = ? AND deleted_at IS NULL", key)
	if err != nil {
		return err
	}
	if err := t.putHistories(); err != nil {
		return err
	}
	t.keyed = true
	t.small.forget()
	for _, q := range []string{
		"DELETE FROM kept_token WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM shown WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM filter WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM span WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM endpoint_part WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM loss WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM exception WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM attempt WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM replay WHERE ep IN (SELECT ep FROM endpoint WHERE app = ?)",
		"DELETE FROM endpoint WHERE app = ?",
		"DELETE FROM signing_key WHERE app = ?",
		"DELETE FROM event WHERE app = ?",
		"DELETE FROM consent WHERE app = ?",
		"DELETE FROM import_error WHERE import IN (SELECT row FROM import WHERE app = ?)",
		"DELETE FROM import WHERE app = ?",
		"DELETE FROM permission_transaction WHERE app = ?",
		"DELETE FROM checkpoint WHERE app = ?",
		"DELETE FROM citizen_merged WHERE app = ?",
		"DELETE FROM citizen WHERE app = ?",
		"DELETE FROM confirmation WHERE app = ?",
		"DELETE FROM mail_template WHERE app = ?",
		"DELETE FROM configuration_former WHERE app = ?",
		"DELETE FROM configuration WHERE app = ?",
		"DELETE FROM part WHERE app = ?",
		"DELETE FROM feed_used WHERE app = ?",
		"DELETE FROM subject WHERE app = ?",
		"DELETE FROM erasing WHERE app = ?",
		"DELETE FROM tombstone WHERE app = ?",
		"DELETE FROM idempotency WHERE app = ?",
		"DELETE FROM bin WHERE app = ?",
		"DELETE FROM portal_entry WHERE app = ?",
		"DELETE FROM tally WHERE app = ?",
		"DELETE FROM token WHERE app = ?",
		"DELETE FROM credential WHERE app = ?",
		"DELETE FROM application WHERE app = ?",
	} {
		if err := t.later(q, key); err != nil {
			return err
		}
	}
	return nil
}

// Credentials implements store.Reader.
func (s *Store) Credentials(ctx context.Context, app access.ID) (list []access.Credential, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		key, err := r.app(app)
		if err != nil {
			return err
		}
		return r.each(func(rows db.Rows) error {
			c := access.Credential{Application: app}
			if err := scanCredential(rows.Scan, &c); err != nil {
				return err
			}
			list = append(list, c)
			return nil
		}, "SELECT client_id, salt, hash, created_at FROM credential WHERE app = ? ORDER BY created_at, client_id", key)
	})
	return list, err
}

// Credential implements store.Reader.
func (s *Store) Credential(ctx context.Context, clientID string) (c access.Credential, err error) {
	err = s.read(ctx, func(r *reader) error {
		var app string
		err := scanCredential(func(dst ...any) error {
			return r.get(append(dst, &app), `SELECT c.client_id, c.salt, c.hash, c.created_at, a.app_id
				FROM credential c JOIN application a ON a.app = c.app WHERE c.client_id = ?`, clientID)
		}, &c)
		c.Application = access.ID(app)
		return err
	})
	return c, err
}

// scanCredential reads client_id, salt, hash, created_at.
func scanCredential(scan func(...any) error, c *access.Credential) error {
	var salt, hash []byte
	var created int64
	if err := scan(&c.ClientID, &salt, &hash, &created); err != nil {
		return err
	}
	copy(c.Salt[:], salt)
	copy(c.Hash[:], hash)
	c.CreatedAt = moment(created)
	return nil
}

// PutCredential implements store.Tx.
func (t *tx) PutCredential(c access.Credential) error {
	key, err := t.app(c.Application)
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO credential (client_id, app, salt, hash, created_at) VALUES (?, ?, ?, ?, ?)",
		c.ClientID, key, c.Salt[:], c.Hash[:], millis(c.CreatedAt))
	return err
}

// DeleteCredential implements store.Tx.
func (t *tx) DeleteCredential(app access.ID, clientID string) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	n, err := t.exec("DELETE FROM credential WHERE client_id = ? AND app = ?", clientID, key)
	if err != nil {
		return err
	}
	if n == 0 {
		return notFound()
	}
	_, err = t.exec("DELETE FROM token WHERE client_id = ?", clientID)
	return err
}

// AccessToken implements store.Reader.
func (s *Store) AccessToken(ctx context.Context, hash [32]byte) (tok access.Token, err error) {
	err = s.read(ctx, func(r *reader) error {
		tok = access.Token{Hash: hash}
		var app string
		var expires int64
		err := r.get([]any{&tok.ClientID, &app, &expires}, `SELECT t.client_id, a.app_id, t.expires_at
			FROM token t JOIN application a ON a.app = t.app WHERE t.hash = ?`, hash[:])
		if err != nil {
			tok = access.Token{}
			return err
		}
		tok.Application, tok.ExpiresAt = access.ID(app), moment(expires)
		return nil
	})
	return tok, err
}

// PutToken implements store.Tx. A token of a credential that is gone is
// fault.NotFound: it may have been removed since it was checked.
func (t *tx) PutToken(tok access.Token, now time.Time) error {
	err := t.later("DELETE FROM token WHERE hash IN (SELECT hash FROM token WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"+t.passing()+")",
		millis(now), dropBatch)
	if err != nil {
		return err
	}
	key, err := t.app(tok.Application)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO token (hash, client_id, app, expires_at)
		SELECT ?, client_id, app, ? FROM credential WHERE client_id = ? AND app = ?`,
		tok.Hash[:], millis(tok.ExpiresAt), tok.ClientID, key)
	if err == nil && n == 0 {
		return notFound()
	}
	return err
}

// Idempotent implements store.Tx.
func (t *tx) Idempotent(app access.ID, route, key string, now time.Time) (store.Idempotent, error) {
	a, err := t.app(app)
	if err != nil {
		return store.Idempotent{}, err
	}
	i := store.Idempotent{Key: key, Route: route}
	var request, response []byte
	var expires int64
	err = t.get([]any{&request, &i.Status, &response, &expires}, `SELECT request, status, response, expires_at
		FROM idempotency WHERE app = ? AND route = ? AND key = ? AND expires_at > ?`, a, route, key, millis(now))
	if err != nil {
		return store.Idempotent{}, err
	}
	copy(i.Request[:], request)
	i.ExpiresAt = moment(expires)
	i.Response, err = t.s.keys.Open(response, answerPlace(app, route, key))
	if err != nil {
		return store.Idempotent{}, err
	}
	return i, nil
}

// PutIdempotent implements store.Tx.
func (t *tx) PutIdempotent(app access.ID, i store.Idempotent, now time.Time) error {
	a, err := t.app(app)
	if err != nil {
		return err
	}
	err = t.later(`DELETE FROM idempotency WHERE (app, route, key) IN
		(SELECT app, route, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?`+t.passing()+")", millis(now), dropBatch)
	if err != nil {
		return err
	}
	var subject any
	if i.Subject != "" {
		subject = t.s.subjectHash(a, i.Subject)
	}
	return t.later(`INSERT INTO idempotency (app, route, key, request, status, response, expires_at, subject)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (app, route, key) DO UPDATE SET request = excluded.request, status = excluded.status,
			response = excluded.response, expires_at = excluded.expires_at, subject = excluded.subject`, a, i.Route, i.Key, i.Request[:], i.Status,
		t.s.keys.Seal(i.Response, answerPlace(app, i.Route, i.Key)), millis(i.ExpiresAt), subject)
}

func answerPlace(app access.ID, route, key string) secret.Place {
	return secret.Place{What: "idempotency " + route, Owner: string(app), Field: key}
}

// isNotFound tells a miss from a failure.
func isNotFound(err error) bool { return fault.KindOf(err) == fault.NotFound }
