package relational

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/db"
)

// templates returns an application's own.
func (r *reader) templates(app access.ID) (list []mail.Template, err error) {
	key, err := r.app(app)
	if err != nil {
		return nil, err
	}
	err = r.each(func(rows db.Rows) error {
		var x mail.Template
		var updated int64
		err := rows.Scan((*string)(&x.Name), &x.Language, &x.Subject, &x.Text, &x.HTML, &updated)
		x.UpdatedAt = moment(updated)
		list = append(list, x)
		return err
	}, "SELECT name, language, subject, text, html, updated_at FROM mail_template WHERE app = ? ORDER BY name, language", key)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Templates implements store.Tx.
func (t *tx) Templates(app access.ID) ([]mail.Template, error) { return t.templates(app) }

// Templates implements store.Reader.
func (s *Store) Templates(ctx context.Context, app access.ID) (list []mail.Template, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, err = r.templates(app)
		return err
	})
	return list, err
}

// PutTemplate implements store.Tx.
func (t *tx) PutTemplate(app access.ID, x mail.Template) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO mail_template (app, name, language, subject, text, html, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (app, name, language) DO UPDATE SET subject = excluded.subject, text = excluded.text, html = excluded.html,
			updated_at = excluded.updated_at`,
		key, string(x.Name), x.Language, x.Subject, x.Text, x.HTML, millis(x.UpdatedAt))
	return err
}

// DeleteTemplate implements store.Tx.
func (t *tx) DeleteTemplate(app access.ID, name mail.Name, language string) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	n, err := t.exec("DELETE FROM mail_template WHERE app = ? AND name = ? AND language = ?", key, string(name), language)
	if err == nil && n == 0 {
		err = notFound()
	}
	return err
}

// confirmationKept is how long a question is kept after its end.
const confirmationKept = 30 * 24 * time.Hour

// PutConfirmation implements store.Tx.
func (t *tx) PutConfirmation(c store.Confirmation, now time.Time) error {
	key, err := t.app(c.Application)
	if err != nil {
		return err
	}
	const old = "DELETE FROM confirmation WHERE hash IN (SELECT hash FROM confirmation WHERE expires_at < ?"
	if err := t.later(old+t.passing()+")", now.Add(-confirmationKept).UnixMilli()); err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO confirmation (hash, app, citizen_id, transaction_id, expires_at, confirmed_at, confirmed) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET app = excluded.app, citizen_id = excluded.citizen_id, transaction_id = excluded.transaction_id,
			expires_at = excluded.expires_at, confirmed_at = excluded.confirmed_at, confirmed = excluded.confirmed`,
		c.Hash[:], key, string(c.Citizen), string(c.Transaction), millis(c.ExpiresAt), millis(c.ConfirmedAt), string(c.Confirmed))
	return err
}

func (r *reader) confirmation(hash [32]byte) (store.Confirmation, error) {
	c := store.Confirmation{Hash: hash}
	var expires, confirmed int64
	err := r.get([]any{
		(*string)(&c.Application), (*string)(&c.Citizen), (*string)(&c.Transaction), &expires, &confirmed, (*string)(&c.Confirmed),
	}, `SELECT a.app_id, q.citizen_id, q.transaction_id, q.expires_at, q.confirmed_at, q.confirmed
		FROM confirmation q JOIN application a ON a.app = q.app WHERE q.hash = ?`, hash[:])
	if err != nil {
		return store.Confirmation{}, err
	}
	c.ExpiresAt, c.ConfirmedAt = moment(expires), moment(confirmed)
	return c, nil
}

// Confirmation implements store.Tx.
func (t *tx) Confirmation(hash [32]byte) (store.Confirmation, error) {
	c, err := t.confirmation(hash)
	if err != nil || !t.s.db.Shared() {
		return c, err
	}
	if _, err := t.app(c.Application); err != nil {
		return c, err
	}
	return t.confirmation(hash) // as it is now that nobody else can answer it
}

// Confirmation implements store.Reader.
func (s *Store) Confirmation(ctx context.Context, hash [32]byte) (c store.Confirmation, err error) {
	err = s.read(ctx, func(r *reader) error {
		c, err = r.confirmation(hash)
		return err
	})
	return c, err
}
