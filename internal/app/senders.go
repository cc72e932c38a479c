package app

import (
	"context"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// PutSender registers an application's mail sender, or replaces the one that it
// has, and tells whether it was made. From the first one on the mails are asked
// for (CONTRACT 8). edit is given the sender as it stands, or the zero Endpoint,
// and returns what its owner wants; it may be called again and must be a
// function of its argument.
//
// What the status becomes is said at EditEndpoint.
// Error: fault.Conflict "too_many_endpoints".
func (a *App) PutSender(ctx context.Context, app access.ID, edit func(subscription.Endpoint) (subscription.Endpoint, error)) (out subscription.Endpoint, made bool, err error) {
	at, fresh := now(), subscription.ID(id.New(id.Sender))
	err = a.update(ctx, func(tx store.Tx) error {
		if _, err := tx.Application(app); err != nil {
			return err
		}
		cur, err := tx.Endpoint(app, subscription.MailSender, "")
		made = fault.KindOf(err) == fault.NotFound
		if err != nil && !made {
			return err
		}
		want, err := edit(cur)
		if err != nil {
			return err
		}
		if made {
			want.ID = fresh
			out, err = create(tx, app, want, at)
			return err
		}
		out, err = change(tx, app, cur, Edit{Endpoint: want}, at)
		return err
	})
	return out, made, err
}

// PatchSender changes an application's mail sender, as EditEndpoint does.
func (a *App) PatchSender(ctx context.Context, app access.ID, edit func(subscription.Endpoint) (subscription.Endpoint, error)) (subscription.Endpoint, error) {
	return a.EditEndpoint(ctx, app, subscription.MailSender, "", func(cur subscription.Endpoint) (Edit, error) {
		want, err := edit(cur)
		return Edit{Endpoint: want}, err
	})
}

// DeleteSender removes an application's mail sender; what waits for it is
// cancelled.
func (a *App) DeleteSender(ctx context.Context, app access.ID) error {
	return a.DeleteEndpoint(ctx, app, subscription.MailSender, "")
}
