package app

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
)

// tokenBytes is how long the random part of a link is.
const tokenBytes = 32

// mail notes the mails that a transaction gives rise to, once it is counted: at
// most one of each kind. A question is about what still can be confirmed.
//
// Source: CONTRACT 6: PENDING, GRANTED, DENIED, and a receipt if it was asked
// for.
func (u *updates) mail(t permission.Transaction) error {
	used, err := u.tx.FeedUsed(u.citizen.Application, event.CitizenEmails)
	if err != nil || !used {
		return err
	}
	if asked := t.Awaited(u.citizen.Standing, u.at); len(asked) > 0 {
		if err := u.ask(t, asked); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		name  mail.Name
		state permission.State
	}{{mail.ConsentConfirmation, permission.Granted}, {mail.WithdrawalConfirmation, permission.Denied}} {
		var of []permission.Entry
		for _, e := range t.Entries {
			if e.State == k.state {
				of = append(of, e)
			}
		}
		if len(of) > 0 {
			if err := u.post(k.name, of, mail.Content{ReceiptID: string(t.ID())}, u.at); err != nil {
				return err
			}
		}
	}
	if !u.receipt {
		return nil
	}
	return u.post(mail.Receipt, t.Entries, mail.Content{ReceiptID: string(t.ID())}, u.at, t.Origin)
}

// ask notes the question whether the citizen means it, with a link of its own.
func (u *updates) ask(t permission.Transaction, pending []permission.Entry) error {
	if u.app.public == nil {
		return errors.New("ask by mail: the public URL is not known")
	}
	token, ends := secret.Random(tokenBytes).Reveal(), u.at.Add(confirmWithin)
	err := u.tx.PutConfirmation(store.Confirmation{
		Hash: sha256.Sum256([]byte(token)), Application: u.citizen.Application, Citizen: u.citizen.ID, Transaction: t.ID(), ExpiresAt: ends,
	}, u.at)
	if err != nil {
		return err
	}
	return u.post(mail.DoubleOptIn, pending, mail.Content{ActionURL: strings.TrimRight(u.app.public(), "/") + ConfirmPath + token, ExpiresAt: ends}, u.at)
}

// remind notes the reminders that became due up to an instant, that inside.
// Each instant is passed once, whether or not anybody is told; what has ended
// by now is told by its lapse alone. Of what counts for several linked citizens
// the one is reminded that it was recorded for.
func (u *updates) remind(upto time.Time) error {
	c := &u.citizen
	for {
		due := c.Standing.NextReminder(c.Reminded)
		if due.IsZero() || due.After(upto) {
			return nil
		}
		ends := c.Standing.Reminders(due)
		c.Reminded, c.Version, c.UpdatedAt = due, c.Version+1, u.at
		used, err := u.tx.FeedUsed(c.Application, event.CitizenEmails)
		if err != nil {
			return err
		}
		if !used {
			continue
		}
		var own []permission.Entry
		for _, e := range ends {
			mine := e.ValidUntil.After(u.at)
			if mine && c.Group != "" {
				if mine, err = u.recorded(e); err != nil {
					return err
				}
			}
			if mine {
				own = append(own, e)
			}
		}
		if len(own) == 0 {
			continue
		}
		if err := u.post(mail.ExpiryReminder, own, mail.Content{ExpiresAt: own[0].ValidUntil}, due); err != nil {
			return err
		}
	}
}

// recorded tells whether an entry was recorded for the citizen, or for one that
// was merged into it.
func (u *updates) recorded(e permission.Entry) (bool, error) {
	t, err := u.tx.Transaction(u.citizen.Application, e.Origin.Transaction)
	return t.Citizen == u.citizen.ID || slices.ContainsFunc(u.citizen.Merged, func(m store.Merged) bool { return m.ID == t.Citizen }), err
}

// post notes a mail about some entries. The citizen was shown what these refer
// to, and the origins besides.
func (u *updates) post(name mail.Name, about []permission.Entry, content mail.Content, at time.Time, origins ...*permission.Origin) error {
	c := &u.citizen
	w := u.words
	if err := w.read(u.tx, c.Application); err != nil {
		return err
	}
	for _, e := range about {
		origins = append(origins, e.Origin)
	}
	content.Application = w.application
	content.Statement, content.PolicyURL = w.shown(origins)
	var err error
	if content.Options, err = w.choices(about); err != nil {
		return err
	}
	m, err := mail.Render(w.templates, name, c.Language, content)
	if err != nil {
		return err
	}
	if m.ID = id.New(id.Mail); len(c.Emails) > 0 {
		m.To = c.Emails[0]
	}
	who := permission.Citizen{Application: string(c.Application), ID: c.ID, ExternalRef: c.ExternalRef}
	u.events = append(u.events, mail.Event(who, m, at))
	return nil
}
