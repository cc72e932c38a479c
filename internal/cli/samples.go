package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

// The pace of the samples: one step a second while the newcomer looks, then
// one a minute, then none: 2040 steps in all.
const (
	busyPace, busySteps = time.Second, 600
	calmPace, calmSteps = time.Minute, 24 * 60
)

// briefTTL is how long a consent that nobody decides lives in the samples, so
// that a newcomer sees one expire.
const briefTTL = 5 * time.Second

// samples are invented consents and what becomes of them, and what an invented
// citizen allows. They go through the same use cases as everybody's.
type samples struct {
	app   *app.App
	brief *app.App // over the same store, with an approval time of briefTTL
	log   *slog.Logger
	owner access.ID

	story []chapter
	ids   map[string]string // of the consents of this round, by their name in the story
	next  int               // step, from 0
}

// chapter is one step of the story: what is done to which consent.
type chapter struct {
	name string
	do   func(ctx context.Context, name string) error
}

func newSamples(a, brief *app.App, l *slog.Logger, owner access.ID) *samples {
	s := &samples{app: a, brief: brief, log: l, owner: owner, ids: map[string]string{}}
	s.story = []chapter{
		{"nobody decides", s.create(s.brief, false)},
		{"approved", s.create(s.app, false)},
		{"approved", s.approve},
		{"rejected", s.create(s.app, false)},
		{"rejected", s.decide(func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
			return c.Reject(at, consent.Decision{})
		})},
		{"approved", s.decide(consent.Consent.Consume)},
		{"payment", s.create(s.app, true)},
		{"payment", s.approve},
		{"citizen", s.ask},
		{"citizen", s.answer(permission.Granted)},
		{"approved", s.decide(func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
			return c.Extend(at, time.Time{})
		})},
		{"payment", s.decide(consent.Consent.Consume)},
		{"citizen", s.prefer},
		{"approved", s.decide(func(c consent.Consent, at time.Time) (consent.Consent, []event.Event, error) {
			return c.Revoke(at, consent.Decision{})
		})},
		{"citizen", s.answer(permission.Denied)},
	}
	return s
}

// run takes the steps at their pace until they are all taken or ctx ends.
func (s *samples) run(ctx context.Context) {
	for s.next < busySteps+calmSteps {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("a sample went wrong", "error", err)
		}
		pace := busyPace
		if s.next >= busySteps {
			pace = calmPace
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return
		}
	}
}

// step takes the next one; after the last of the story comes the first.
func (s *samples) step(ctx context.Context) error {
	c := s.story[s.next%len(s.story)]
	s.next++
	return c.do(ctx, c.name)
}

// create asks for a consent; payment makes it one of type PAYMENT.
func (s *samples) create(a *app.App, payment bool) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		r := consent.Request{
			Type:        consent.Data,
			Permissions: consent.Groups()[4].Permissions, // the balances of accounts
			LoggedUser:  consent.Document{Identification: fmt.Sprintf("%011d", s.next), Rel: "CPF"},
			Approvers:   1,
		}
		if payment {
			r.Type, r.Permissions = consent.Payment, nil
			r.Payment = &consent.Money{Type: "PIX", Currency: "BRL", Amount: "42.00"}
			r.Creditor = &consent.Creditor{Name: "Sample Books"}
		}
		_, err := a.CreateConsent(ctx, s.owner, r, app.Keyed{}, func(c consent.Consent) (app.Answer, error) {
			s.ids[name] = string(c.ID)
			return app.Answer{}, nil
		})
		return err
	}
}

// ask makes the round's citizen, who has an address, and records a choice of
// theirs that they are to confirm by mail. Nobody does, unless the newcomer does.
func (s *samples) ask(ctx context.Context, _ string) error {
	ref, language := s.citizen(), [...]string{"en", "pt-BR"}[s.round()%2]
	_, err := s.app.CreateCitizen(ctx, s.owner, app.CitizenDraft{ExternalRef: &ref, Emails: []string{ref + "@example.org"}, Language: &language})
	if err != nil && fault.CodeOf(err) != "external_ref_taken" { // by an earlier start
		return err
	}
	option, by, says, statement := demoMailed, string(permission.ByConsent), string(permission.Pending), demoStatement
	return s.record(ctx, permission.Request{
		Changes: []permission.ChangeDraft{{OptionID: &option, Justification: &by, State: &says}}, StatementRef: &statement,
	})
}

// round counts how often the story was told before, from 0.
func (s *samples) round() int { return (s.next - 1) / len(s.story) } // next is the step behind this one

// citizen is the external reference of the round's.
func (s *samples) citizen() string { return fmt.Sprintf("sample-%d", s.round()+1) }

// answer records what the round's citizen says to the demo's option.
func (s *samples) answer(state permission.State) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		option, by, says := demoOption, string(permission.ByConsent), string(state)
		return s.record(ctx, permission.Request{Changes: []permission.ChangeDraft{{OptionID: &option, Justification: &by, State: &says}}})
	}
}

// prefer records the round's citizen's choice of the demo's preference.
func (s *samples) prefer(ctx context.Context, _ string) error {
	preference, jazz, choro := demoPreference, demoJazz, demoChoro
	return s.record(ctx, permission.Request{Preferences: []permission.ChoiceDraft{{
		Preference: &preference, Choices: []permission.PickDraft{{Reference: &jazz}, {Reference: &choro}},
	}}})
}

func (s *samples) record(ctx context.Context, r permission.Request) error {
	ref, channel := s.citizen(), "demo"
	r.ExternalRef, r.Channel = &ref, &channel
	_, err := s.app.Record(ctx, s.owner, app.Caller{Name: demoName}, r, app.Keyed{}, func(app.Recorded) (app.Answer, error) { return app.Answer{}, nil })
	return err
}

func (s *samples) approve(ctx context.Context, name string) error {
	_, err := s.app.Approve(ctx, s.owner, s.ids[name], "")
	return err
}

func (s *samples) decide(act func(consent.Consent, time.Time) (consent.Consent, []event.Event, error)) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		_, err := s.app.Decide(ctx, s.owner, s.ids[name], act)
		return err
	}
}
