package relational

import (
	"context"
	"fmt"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/db"
	"github.com/consentwire/consentwire/internal/subscription"
)

// signingPlace is under the master key. The public key is part of it, so that
// the two halves of a pair cannot be parted.
func signingPlace(app access.ID, id, public string) secret.Place {
	return secret.Place{What: "signing_key " + id, Owner: string(app), Field: "private_key " + public}
}

// SigningKeys implements store.Tx.
func (t *tx) SigningKeys(app access.ID) ([]subscription.SigningKey, error) { return t.signingKeys(app) }

// SigningKeys implements store.Reader.
func (s *Store) SigningKeys(ctx context.Context, app access.ID) (list []subscription.SigningKey, err error) {
	err = s.read(ctx, func(r *reader) error {
		list, err = r.signingKeys(app)
		return err
	})
	return list, err
}

func (r *reader) signingKeys(app access.ID) (list []subscription.SigningKey, err error) {
	key, err := r.app(app)
	if err != nil {
		return nil, err
	}
	err = r.each(func(rows db.Rows) error {
		var k subscription.SigningKey
		var sealed []byte
		var created, expires int64
		if err := rows.Scan(&k.ID, &sealed, &k.PublicKey, &created, &expires); err != nil {
			return err
		}
		content, err := r.s.keys.Open(sealed, signingPlace(app, k.ID, k.PublicKey))
		if err != nil {
			return fmt.Errorf("open %s: %w", k.ID, err)
		}
		k.PrivateKey, k.CreatedAt, k.ExpiresAt = secret.New(string(content)), moment(created), moment(expires)
		list = append(list, k)
		return nil
	}, "SELECT key_id, private_key, public_key, created_at, expires_at FROM signing_key WHERE app = ? ORDER BY created_at DESC, row DESC", key)
	return list, err
}

// withKeys fills in the application's key pairs when the endpoint signs with
// them.
func (r *reader) withKeys(e subscription.Endpoint) (subscription.Endpoint, error) {
	if !e.Asymmetric {
		return e, nil
	}
	var err error
	e.SigningKeys, err = r.signingKeys(access.ID(e.Application))
	return e, err
}

// PutSigningKey implements store.Tx.
func (t *tx) PutSigningKey(app access.ID, k subscription.SigningKey) error {
	key, err := t.app(app)
	if err != nil {
		return err
	}
	sealed := t.s.keys.Seal([]byte(k.PrivateKey.Reveal()), signingPlace(app, k.ID, k.PublicKey))
	n, err := t.exec("UPDATE signing_key SET private_key = ?, public_key = ?, created_at = ?, expires_at = ? WHERE app = ? AND key_id = ?",
		sealed, k.PublicKey, millis(k.CreatedAt), millis(k.ExpiresAt), key, k.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		_, err := t.exec("DELETE FROM signing_key WHERE app = ? AND expires_at > 0 AND expires_at <= ?", key, millis(k.CreatedAt))
		if err != nil {
			return err
		}
		_, err = t.exec("INSERT INTO signing_key (app, key_id, private_key, public_key, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
			key, k.ID, sealed, k.PublicKey, millis(k.CreatedAt), millis(k.ExpiresAt))
		if err != nil {
			return err
		}
	}
	return t.each(func(rows db.Rows) error { // which of them ask for it is in what is sealed
		e, err := t.scanEndpoint(rows.Scan)
		if err == nil && e.Asymmetric {
			t.change.endpoints = append(t.change.endpoints, delivery.Endpoint(e.ID))
		}
		return err
	}, "SELECT "+endpointFields+fromEndpoints+" WHERE p.app = ? AND p.deleted_at IS NULL", key)
}
