package app

import (
	"context"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// RotateSigningKey gives an application a new key pair, which from now on
// signs the deliveries of the endpoints that ask for it, and returns all that
// sign now, newest first. The former one signs beside it for
// subscription.RotationOverlap. An application without keys gets its first.
func (a *App) RotateSigningKey(ctx context.Context, app access.ID) ([]subscription.SigningKey, error) {
	fresh := newSigningKey(now())
	var out []subscription.SigningKey
	err := a.update(ctx, func(tx store.Tx) error {
		keys, err := tx.SigningKeys(app)
		if err != nil {
			return err
		}
		signing, changed := subscription.RotateKeys(keys, fresh)
		for _, k := range changed {
			if err := tx.PutSigningKey(app, k); err != nil {
				return err
			}
		}
		out = signing
		return nil
	})
	return out, err
}

// needKey makes the application's first key pair for an endpoint that asks for
// its signatures.
func needKey(tx store.Tx, app access.ID, e subscription.Endpoint, at time.Time) error {
	if !e.Asymmetric {
		return nil
	}
	keys, err := tx.SigningKeys(app)
	if err != nil || subscription.HasCurrent(keys) {
		return err
	}
	return tx.PutSigningKey(app, newSigningKey(at))
}

func newSigningKey(at time.Time) subscription.SigningKey {
	k := signature.NewPrivateKey()
	return subscription.SigningKey{
		ID: id.New(id.SigningKey), PrivateKey: secret.New(k.Text()), PublicKey: k.Public().Text(), CreatedAt: at,
	}
}

// KeyMaster is where the master key comes from.
type KeyMaster interface {
	// Renew takes over the master key that seals from now on, read again from
	// its source or made anew, and returns its ID. All former ones still open.
	Renew(ctx context.Context) (keyID string, err error)
}

// KeyReport is what a rotation of the master key came to.
type KeyReport struct {
	KeyID   string // of the key that seals now
	Records int    // how many were sealed by another one, and are sealed by it now
}

// RotateKeys takes over a new master key and seals everything anew with it,
// while everything else runs. When it returns without an error, nothing is left
// that needs a former key. After an error, or when the process ended, it may
// be called again and goes on with what is left.
//
// Errors: fault.Unavailable "keys_not_managed" where the process has no source
// of keys; fault.Conflict "rotation_running" while another one runs.
func (a *App) RotateKeys(ctx context.Context) (KeyReport, error) {
	if a.keys == nil {
		return KeyReport{}, fault.New(fault.Unavailable, "keys_not_managed", "This server cannot take over another master key while it runs.")
	}
	if !a.rotating.TryLock() {
		return KeyReport{}, fault.New(fault.Conflict, "rotation_running", "The master key is being rotated already; wait until that has ended.")
	}
	defer a.rotating.Unlock()
	keyID, err := a.keys.Renew(ctx)
	if err != nil {
		return KeyReport{}, fmt.Errorf("renew the master key: %w", err)
	}
	n, err := a.store.Rewrap(ctx)
	if err != nil {
		return KeyReport{KeyID: keyID, Records: n}, fmt.Errorf("seal anew: %w", err)
	}
	return KeyReport{KeyID: keyID, Records: n}, nil
}
