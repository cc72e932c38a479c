package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/store"
)

// MaxTemplates is how many mail templates of its own an application may have:
// the five mails in twenty languages. Ours: all of them are read when a mail is
// written.
const MaxTemplates = 100

// PutTemplate writes the application's own text of one mail in one language,
// which from then on goes before ours. Mails that were written before stay as
// they are.
//
// Errors: fault.NotFound for a mail that there is not; fault.Invalid for the
// draft's shape, the language at "language"; fault.Conflict "templates_full"
// beyond MaxTemplates.
func (a *App) PutTemplate(ctx context.Context, app access.ID, name mail.Name, language string, d mail.Draft) (mail.Template, error) {
	if !slices.Contains(mail.Names(), name) {
		return mail.Template{}, errNoTemplate()
	}
	t, fs := d.Template(name, language, now())
	if err := fault.InvalidFields(fs); err != nil {
		return mail.Template{}, err
	}
	err := a.update(ctx, func(tx store.Tx) error {
		own, err := tx.Templates(app)
		if err != nil {
			return err
		}
		if len(own) >= MaxTemplates && !slices.ContainsFunc(own, func(o mail.Template) bool { return o.Name == t.Name && o.Language == t.Language }) {
			return fault.New(fault.Conflict, "templates_full", fmt.Sprintf("The application has %d templates of its own, the most it may have; delete one first.", len(own)))
		}
		return tx.PutTemplate(app, t)
	})
	if err != nil {
		return mail.Template{}, err
	}
	return t, nil
}

// DeleteTemplate takes the application's own text of one mail in one language
// away; where we have one, that is used again.
//
// Error: fault.NotFound when it has none of its own.
func (a *App) DeleteTemplate(ctx context.Context, app access.ID, name mail.Name, language string) error {
	tag, ok := mail.Canonical(language)
	if !ok {
		return errNoTemplate()
	}
	return a.update(ctx, func(tx store.Tx) error { return tx.DeleteTemplate(app, name, tag) })
}

func errNoTemplate() error {
	return fault.New(fault.NotFound, "not_found", "There is no such template.")
}
