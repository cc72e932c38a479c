package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/store"
)

func templates(_ *testing.T, r *room) {
	r.apps()
	template := func(name mail.Name, language, text string) mail.Template {
		return mail.Template{Name: name, Language: language, Subject: "About " + text, Text: text + " ☃\n", HTML: "<p>" + text + "</p>", UpdatedAt: minute(1)}
	}
	a, b, c := template(mail.Receipt, "en", "a"), template(mail.DoubleOptIn, "pt-BR", "b"), template(mail.DoubleOptIn, "de", "c")
	other := template(mail.Receipt, "en", "other")
	want := func(when string, app access.ID, list ...mail.Template) {
		r.t.Helper()
		got, err := r.Store.Templates(r.ctx, app)
		r.must(err)
		r.same(when+": those of "+string(app), got, list)
		r.update(func(tx store.Tx) error {
			got, err := tx.Templates(app)
			need(err)
			r.same(when+": those of "+string(app)+" in a transaction", got, list)
			return nil
		})
	}
	want("at first", app1)
	lost := errors.New("lost")
	err := r.Store.Update(r.ctx, func(tx store.Tx) error { return errors.Join(tx.PutTemplate(app1, a), lost) })
	if !errors.Is(err, lost) {
		r.t.Errorf("got %v, want %v", err, lost)
	}
	want("after a rollback", app1)
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.PutTemplate(app1, a), tx.PutTemplate(app1, b), tx.PutTemplate(app1, c), tx.PutTemplate(app2, other))
	})
	want("by name and language", app1, c, b, a)
	want("by name and language", app2, other)

	b.Subject, b.Text, b.HTML, b.UpdatedAt = "New", "", "<b>new</b>", minute(2)
	r.update(func(tx store.Tx) error { return tx.PutTemplate(app1, b) })
	want("replaced", app1, c, b, a)

	remove := func(app access.ID, name mail.Name, language string) error {
		return r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.DeleteTemplate(app, name, language) })
	}
	r.must(remove(app1, mail.DoubleOptIn, "de"))
	r.notFound("deleting it twice", remove(app1, mail.DoubleOptIn, "de"))
	r.notFound("deleting one of another name", remove(app1, mail.ExpiryReminder, "en"))
	r.notFound("deleting another's", remove(app2, mail.DoubleOptIn, "pt-BR"))
	r.notFound("deleting one of no application", remove("app_none", mail.Receipt, "en"))
	r.Store = r.Reopen(r.t, nil)
	want("after a restart", app1, b, a)
	want("after a restart", app2, other)
	_, err = r.Store.Templates(r.ctx, "app_none")
	r.notFound("the templates of no application", err)
	r.notFound("a template for no application", r.Store.Update(r.ctx, func(tx store.Tx) error { return tx.PutTemplate("app_none", a) }))

	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	r.update(func(tx store.Tx) error {
		return tx.PutApplication(access.Application{ID: app1, CreatedAt: t0, UpdatedAt: t0})
	})
	want("of a new application of that name", app1)
	want("of a new application of that name", app2, other)
}

func confirmations(_ *testing.T, r *room) {
	r.apps()
	question := func(app access.ID, n byte, expires time.Time) store.Confirmation {
		return store.Confirmation{
			Hash: [32]byte{n, 31: 7}, Application: app, Citizen: "ctz_1", Transaction: "txn_1", ExpiresAt: expires,
		}
	}
	const month = 30 * 24 * time.Hour
	put := func(now time.Time, cs ...store.Confirmation) {
		r.t.Helper()
		for _, c := range cs {
			r.update(func(tx store.Tx) error {
				need(tx.PutConfirmation(c, now))
				got, err := tx.Confirmation(c.Hash)
				need(err)
				r.same("its own write", got, c)
				return nil
			})
		}
	}
	want := func(when string, c store.Confirmation) {
		r.t.Helper()
		got, err := r.Store.Confirmation(r.ctx, c.Hash)
		r.must(err)
		r.same(when, got, c)
	}
	a, b, other := question(app1, 1, minute(10)), question(app1, 2, minute(11)), question(app2, 3, minute(99))
	put(t0, a, b, other)
	want("one", a)
	want("another one", b)
	want("another application's", other)
	_, err := r.Store.Confirmation(r.ctx, [32]byte{1})
	r.notFound("a hash unknown", err)
	_, err = r.Store.Confirmation(r.ctx, [32]byte{})
	r.notFound("no hash", err)

	a.ConfirmedAt, a.Confirmed = minute(5), "txn_2"
	lost := errors.New("lost")
	err = r.Store.Update(r.ctx, func(tx store.Tx) error {
		c := a
		c.Confirmed = "txn_lost"
		return errors.Join(tx.PutConfirmation(c, minute(5)), lost)
	})
	if !errors.Is(err, lost) {
		r.t.Errorf("got %v, want %v", err, lost)
	}
	put(minute(5), a)
	want("answered", a)
	want("the one that was not", b)

	// They stay for a month behind their end, so that who opens one late is told.
	put(minute(10).Add(month), question(app2, 4, minute(10).Add(2*month)))
	want("a month behind its end", a)
	put(minute(10).Add(month+time.Millisecond), question(app2, 5, minute(10).Add(2*month)))
	_, err = r.Store.Confirmation(r.ctx, a.Hash)
	r.notFound("more than a month behind its end", err)
	want("one that ended later", b)

	r.Store = r.Reopen(r.t, nil)
	want("after a restart", b)
	r.update(func(tx store.Tx) error { return tx.DeleteApplication(app1) })
	_, err = r.Store.Confirmation(r.ctx, b.Hash)
	r.notFound("one of an application that was deleted", err)
	want("another application's", other)
	r.notFound("one for no application", r.Store.Update(r.ctx, func(tx store.Tx) error {
		return tx.PutConfirmation(question("app_none", 9, t0), t0)
	}))
}
