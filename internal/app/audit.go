package app

import (
	"context"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/store"
)

// Signed is a document with its signature.
type Signed struct {
	Body      []byte
	Signature string // over Body; see signature.PrivateKey.DetachedJWS
}

// Audit checks every record of an application and answers with render's bytes,
// signed as receipts are; render is given when the check began. One check runs
// at a time, for it reads everything: others wait for their turn, as long as
// their context lasts.
func (a *App) Audit(ctx context.Context, app access.ID, render func(found store.Audit, at time.Time) ([]byte, error)) (Signed, error) {
	select {
	case a.auditing <- struct{}{}:
	case <-ctx.Done():
		return Signed{}, ctx.Err()
	}
	at := now()
	found, err := a.store.Audit(ctx, app)
	<-a.auditing
	if err != nil {
		return Signed{}, err
	}
	b, err := render(found, at)
	if err != nil {
		return Signed{}, err
	}
	s, err := a.sign(ctx, app, b)
	return Signed{b, s}, err
}
