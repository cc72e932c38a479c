package app

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// confirmWithin is how long a question by mail can be answered, that instant
// outside. Source: DOMAIN 7.5, the example.
const confirmWithin = 24 * time.Hour

// ConfirmPath is the path below the public URL at which a question by mail is
// answered; the token of its link follows.
const ConfirmPath = "/confirm/"

// QuestionState says how a question by mail is.
type QuestionState string

// The states of a question.
const (
	QuestionOpen      QuestionState = "open"
	QuestionConfirmed QuestionState = "confirmed"
	QuestionExpired   QuestionState = "expired"
	QuestionSettled   QuestionState = "settled" // nothing of it is pending any more
)

// Question is what a citizen was asked by mail, as it stands.
type Question struct {
	State       QuestionState
	Application string        // its name
	Language    string        // the citizen's; may be empty
	Options     []mail.Choice // while it is open those that can be granted; once confirmed those that were; else none
	Statement   string        // the text that was shown; may be empty
	Policy      permission.Policy
	ExpiresAt   time.Time
	ConfirmedAt time.Time // zero: it was not
}

// Question returns what the link with a token asks. It changes nothing: links
// in mails are opened by machines too.
//
// Error: fault.NotFound when there never was such a link, or its citizen is
// gone.
func (a *App) Question(ctx context.Context, token string) (Question, error) {
	at := now()
	q, err := a.store.Confirmation(ctx, sha256.Sum256([]byte(token)))
	if err != nil {
		return Question{}, err
	}
	owner, err := a.store.Application(ctx, q.Application)
	if err != nil {
		return Question{}, err
	}
	c, err := a.store.Citizen(ctx, q.Application, q.Citizen)
	if err != nil {
		return Question{}, err
	}
	out := Question{Application: owner.Name, Language: c.Language, ExpiresAt: q.ExpiresAt, ConfirmedAt: q.ConfirmedAt}
	tid := q.Transaction
	switch {
	case !q.ConfirmedAt.IsZero():
		out.State, tid = QuestionConfirmed, q.Confirmed
	case !at.Before(q.ExpiresAt):
		out.State = QuestionExpired
		return out, nil
	}
	t, err := a.store.Transaction(ctx, q.Application, tid)
	if err != nil {
		return Question{}, err
	}
	entries := t.Entries
	if out.State == "" {
		if entries = t.Awaited(c.Standing, at); len(entries) == 0 {
			out.State = QuestionSettled
			return out, nil
		}
		out.State = QuestionOpen
	}
	return out, a.ask(ctx, q, &out, t.Origin, entries)
}

// ask adds what was asked to a question.
func (a *App) ask(ctx context.Context, q store.Confirmation, out *Question, o *permission.Origin, entries []permission.Entry) error {
	var shown permission.Receipt
	if err := a.shown(ctx, q.Application, &shown, o); err != nil {
		return err
	}
	out.Statement, out.Policy = shown.Statement.Text, shown.Policy
	w := words{parts: make(map[permission.Part]string)}
	var err error
	if w.catalogue, err = a.store.Catalogue(ctx, q.Application); err != nil {
		return err
	}
	for _, k := range []permission.Kind{permission.Data, permission.Purpose, permission.Party} {
		ps, err := a.store.Parts(ctx, q.Application, k)
		if err != nil {
			return err
		}
		for _, p := range ps {
			w.parts[permission.Part{Kind: k, ID: p.ID}] = p.Name
		}
	}
	out.Options, err = w.choices(entries)
	return err
}

// Confirm grants what the link with a token asks, as far as it still is
// pending: a transaction of its own by the same citizen, told as any other. A
// question that was confirmed before stays as it is.
//
// Errors: fault.NotFound as Question; fault.Conflict "confirmation_expired" and
// "nothing_pending".
func (a *App) Confirm(ctx context.Context, token string) error {
	at, hash := now(), sha256.Sum256([]byte(token))
	fresh := permission.TransactionID(id.New(id.Transaction))
	return a.update(ctx, func(tx store.Tx) error {
		q, err := tx.Confirmation(hash)
		switch {
		case err != nil:
			return err
		case !q.ConfirmedAt.IsZero():
			return nil
		case !at.Before(q.ExpiresAt):
			return fault.New(fault.Conflict, "confirmation_expired", "This question can no longer be answered.")
		}
		asked, err := tx.Transaction(q.Application, q.Transaction)
		if err != nil {
			return err
		}
		c, err := tx.Citizen(q.Application, q.Citizen)
		if err != nil {
			return err
		}
		u := a.follow(tx, c, at)
		if err := u.meet(); err != nil {
			return err
		}
		if err := u.advance(); err != nil {
			return err
		}
		t, err := asked.Confirm(u.citizen.Standing, permission.Origin{Transaction: fresh, RecordedAt: u.at})
		if err != nil {
			return err
		}
		t.Citizen = u.citizen.ID // it may have been merged meanwhile
		next, d := u.citizen.Standing.Record(t, u.at)
		if err := u.tell(&t, next, d); err != nil {
			return err
		}
		if err := u.put(&t); err != nil {
			return err
		}
		q.ConfirmedAt, q.Confirmed = u.at, t.ID()
		return tx.PutConfirmation(q, at)
	})
}
