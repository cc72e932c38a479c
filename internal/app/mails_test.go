package app_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// posted is a mail that was asked for.
type posted struct {
	event.Event
	mail.Message
}

func (p posted) String() string {
	return fmt.Sprintf("%s to %q in %s", p.Template, p.To, p.Language)
}

// posted returns the mails in the log.
func (w *world) posted() []posted {
	w.t.Helper()
	var out []posted
	for _, e := range w.events(w.app) {
		if e.Type != event.CitizenEmail {
			continue
		}
		m, err := mail.Parse(e.Body)
		if err != nil {
			w.t.Fatalf("%v: %s", err, e.Body)
		}
		if e.Feed != event.CitizenEmails || e.RecordedAt.IsZero() || !strings.HasPrefix(m.ID, "eml_") {
			w.t.Errorf("got the event %+v of the mail %s", e, m.ID)
		}
		out = append(out, posted{e, m})
	}
	return out
}

// wantPosted compares the mails in the log, each as its template and what
// comes behind.
func (w *world) wantPosted(want ...string) []posted {
	w.t.Helper()
	all := w.posted()
	var got []string
	for _, p := range all {
		got = append(got, p.String())
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("the mails are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return all
}

// newPosting is a world whose options have their IDs as names.
func newPosting(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.configure()
	for _, o := range []string{mailing, phoning, research} {
		d := optionDraft(o)
		d.Name = &o
		if _, err := w.PutOption(w.ctx, w.app, permission.OptionID(o), d); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// person makes a citizen with an address.
func (w *world) person(externalRef, language string, emails ...string) store.Citizen {
	w.t.Helper()
	d := app.CitizenDraft{ExternalRef: &externalRef, Emails: emails}
	if language != "" {
		d.Language = &language
	}
	c, err := w.CreateCitizen(w.ctx, w.app, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// group is a change of a group of options by consent.
func group(id string, s permission.State) permission.ChangeDraft {
	c := change(id, s)
	c.OptionType = ptr(permission.TypeGroup)
	return c
}

func until(c permission.ChangeDraft, at time.Time) permission.ChangeDraft {
	c.ValidUntil = &at
	return c
}

// asking counts the questions that are kept.
type asking struct {
	store.Store
	kept *atomic.Int64
}

type askingTx struct {
	store.Tx
	kept *atomic.Int64
}

func (s asking) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(askingTx{tx, s.kept}) })
}

func (t askingTx) PutConfirmation(c store.Confirmation, now time.Time) error {
	t.kept.Add(1)
	return t.Tx.PutConfirmation(c, now)
}

func TestMails(t *testing.T) {
	t.Parallel()
	interest := change(phoning, permission.Objected)
	interest.Justification = ptr(string(permission.ByInterest))
	contract := change(phoning, permission.Claimed)
	contract.Justification = ptr(string(permission.ByContract))
	topics := []permission.ChoiceDraft{{Preference: ptr("topics"), Choices: []permission.PickDraft{{Reference: ptr("jazz")}}}}
	tests := []struct {
		name    string
		request permission.Request
		want    []string
		options string // what the first mail's text names, of the three options
	}{
		{"a consent", by("crm-1", change(mailing, permission.Granted)), []string{"consent-confirmation"}, "mailing"},
		{"a withdrawal", by("crm-1", change(mailing, permission.Denied)), []string{"withdrawal-confirmation"}, "mailing"},
		{"a question", by("crm-1", change(mailing, permission.Pending)), []string{"double-opt-in"}, "mailing"},
		{"a question about a group", by("crm-1", group(contact, permission.Pending)), []string{"double-opt-in"}, "mailing phoning"},
		{"one of each kind", by("crm-1", change(mailing, permission.Denied), change(phoning, permission.Pending), change(research, permission.Granted)), []string{
			"double-opt-in", "consent-confirmation", "withdrawal-confirmation",
		}, "phoning"},
		{"several of a kind", by("crm-1", change(mailing, permission.Granted), change(research, permission.Granted)), []string{"consent-confirmation"}, "mailing research"},
		{"an objection is not asked or confirmed", by("crm-1", interest), nil, ""},
		{"a contract neither", by("crm-1", contract), nil, ""},
		{"a wish neither", permission.Request{ExternalRef: ptr("crm-1"), Preferences: topics}, nil, ""},
		{"a receipt", permission.Request{ExternalRef: ptr("crm-1"), Changes: []permission.ChangeDraft{change(mailing, permission.Granted)}, SendReceipt: true}, []string{
			"consent-confirmation", "receipt",
		}, "mailing"},
		{"a receipt of a wish", permission.Request{ExternalRef: ptr("crm-1"), Preferences: topics, SendReceipt: true}, []string{"receipt"}, ""},
		{"a question that the same request answers", by("crm-1", change(mailing, permission.Pending), change(mailing, permission.Granted)), []string{"consent-confirmation"}, "mailing"},
		{"a question that is over", by("crm-1", until(over(mailing), time.Now().Add(-time.Hour))), nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newPosting(t)
			w.hear(subscription.CitizenEmails)
			w.person("crm-1", "en", "ana@example.org", "other@example.org")
			made := w.record(tt.request)
			var want, told []string
			for _, n := range tt.want {
				want = append(want, n+` to "ana@example.org" in en`)
			}
			for i, p := range w.wantPosted(want...) {
				told = append(told, p.Event.ID)
				if p.Event.Subject != string(made.Citizen.ID) || !p.OccurredAt.Equal(made.Transaction.Origin.RecordedAt) {
					t.Errorf("got the event %+v, want it about %s at its recording", p.Event, made.Citizen.ID)
				}
				if asks := p.Template == mail.DoubleOptIn; asks != (p.ActionURL != "") || asks != !p.Message.ExpiresAt.IsZero() {
					t.Errorf("%s: got the link %q until %v", p, p.ActionURL, p.Message.ExpiresAt)
				}
				var named []string
				for _, o := range []string{mailing, phoning, research} {
					if strings.Contains(p.Text, o) {
						named = append(named, strings.TrimPrefix(o, "opt-"))
					}
				}
				if got := strings.Join(named, " "); i == 0 && got != tt.options {
					t.Errorf("%s: names %q, want %q, in\n%s", p, got, tt.options, p.Text)
				}
			}
			if got := w.history(made.Citizen.ID)[0].Told; !slices.Equal(got, told) {
				t.Errorf("the transaction is told by %v, want %v", got, told)
			}
		})
	}
}

// over is a question that began long ago.
func over(option string) permission.ChangeDraft {
	c := change(option, permission.Pending)
	c.ObtainedAt = ptr(time.Now().Add(-24 * time.Hour))
	return c
}

func TestMails_whom(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, language string
		emails         []string
		want           string
	}{
		{"in English", "en", []string{"ana@example.org"}, `to "ana@example.org" in en`},
		{"in Portuguese", "pt", []string{"ana@example.org"}, `to "ana@example.org" in pt`},
		{"in that of Brazil", "pt-BR", []string{"ana@example.org"}, `to "ana@example.org" in pt`},
		{"in one that nobody wrote", "de", []string{"ana@example.org"}, `to "ana@example.org" in en`},
		{"in one of the application's own", "fr-CA", []string{"ana@example.org"}, `to "ana@example.org" in fr`},
		{"in none", "", []string{"ana@example.org"}, `to "ana@example.org" in en`},
		{"without an address", "pt", nil, `to "" in pt`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newPosting(t)
			w.hear(subscription.CitizenEmails)
			err := w.store.Update(w.ctx, func(tx store.Tx) error {
				return tx.PutTemplate(w.app, mail.Template{
					Name: mail.ConsentConfirmation, Language: "fr", Subject: "Merci, {{.application}}", Text: "Merci", HTML: "<p>Merci</p>", UpdatedAt: time.Now(),
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			w.person("crm-1", tt.language, tt.emails...)
			w.record(by("crm-1", change(mailing, permission.Granted)))
			p := w.wantPosted("consent-confirmation " + tt.want)[0]
			if own := p.Message.Subject == "Merci, Bank"; own != (p.Language == "fr") {
				t.Errorf("got the subject %q in %s", p.Message.Subject, p.Language)
			}
			if len(tt.emails) == 0 && !strings.Contains(string(p.Body), `"to":null`) {
				t.Errorf("got %s, want to null", p.Body)
			}
		})
	}
}

// TestMails_words: a mail names the options by the names of their parts, and
// what the citizen was shown.
func TestMails_words(t *testing.T) {
	t.Parallel()
	w := newPosting(t)
	w.hear(subscription.CitizenEmails)
	for k, d := range map[permission.Kind]permission.PartDraft{
		permission.Data: {ID: ptr("email"), Name: ptr("Electronic mail")}, permission.Purpose: {ID: ptr("news"), Name: ptr("News & offers")},
	} {
		if _, err := w.PutPart(w.ctx, w.app, k, d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.PutOption(w.ctx, w.app, "", permission.OptionDraft{
		ID: ptr("opt-named"), Name: ptr("The weekly letter"), DataID: ptr("email"), PurposeID: ptr("news"), PartyID: ptr("Aunt May"),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutOption(w.ctx, w.app, "", optionDraft("opt-plain")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutPolicy(w.ctx, w.app, "", permission.PolicyDraft{Reference: ptr("terms"), URL: ptr("https://bank.example/privacy?a=1&b=2")}); err != nil {
		t.Fatal(err)
	}
	r := by("crm-1", change("opt-named", permission.Pending), change("opt-plain", permission.Pending))
	r.StatementRef, r.PolicyRef = ptr("ask"), ptr("terms")
	w.record(r)
	p := w.posted()[0]
	for _, want := range []string{"The weekly letter", "News & offers", "Aunt May", "Electronic mail", "May we?", "https://bank.example/privacy?a=1&b=2", "Bank", p.ActionURL} {
		if !strings.Contains(p.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, p.Text)
		}
	}
	if strings.Contains(p.HTML, "News & offers") || !strings.Contains(p.HTML, "News &amp; offers") {
		t.Errorf("the page is not escaped:\n%s", p.HTML)
	}
}

// TestMails_receipt: the receipt's mail names what was said of each option and,
// also when it is about wishes alone, what was shown and where the receipt is
// found.
func TestMails_receipt(t *testing.T) {
	t.Parallel()
	w := newPosting(t)
	w.hear(subscription.CitizenEmails)
	for _, r := range []permission.Request{
		by("crm-1", change(mailing, permission.Granted), change(phoning, permission.Denied)),
		{ExternalRef: ptr("crm-1"), Preferences: []permission.ChoiceDraft{{Preference: ptr("topics"), Choices: []permission.PickDraft{{Reference: ptr("jazz")}}}}},
	} {
		r.SendReceipt, r.StatementRef = true, ptr("ask")
		made := w.record(r)
		ps := w.posted()
		p := ps[len(ps)-1]
		for _, want := range []string{"May we?", string(made.Transaction.ID())} {
			if p.Template != mail.Receipt || !strings.Contains(p.Text, want) {
				t.Errorf("%s lacks %q:\n%s", p, want, p.Text)
			}
		}
		for _, other := range ps[:len(ps)-1] {
			if !strings.Contains(other.Text, string(w.history(made.Citizen.ID)[0].ID())) {
				t.Errorf("%s lacks the number of the record:\n%s", other, other.Text)
			}
		}
	}
}

// TestMails_unused: an application that never asked for mails has none, and
// asks nobody; one whose subscription is gone goes on.
func TestMails_unused(t *testing.T) {
	t.Parallel()
	w := newPosting(t)
	w.hearAll()
	var kept atomic.Int64
	w.App = w.over(asking{w.store, &kept})
	w.record(by("crm-1", change(mailing, permission.Pending), change(phoning, permission.Granted)))
	if n := kept.Load(); n != 0 {
		t.Errorf("got %d questions kept, want none", n)
	}
	w.wantPosted()
	e := w.hear(subscription.CitizenEmails)
	if err := w.DeleteEndpoint(w.ctx, w.app, e.Style, e.ID); err != nil {
		t.Fatal(err)
	}
	w.record(by("crm-1", change(mailing, permission.Pending)))
	if n := kept.Load(); n != 1 {
		t.Errorf("got %d questions kept, want 1", n)
	}
	w.wantPosted(`double-opt-in to "" in en`)
}

// TestMails_publicURL: without a public URL nobody can be asked, and all other
// mails are written.
func TestMails_publicURL(t *testing.T) {
	t.Parallel()
	w := newPosting(t)
	w.hear(subscription.CitizenEmails)
	w.App = app.New(app.Options{Store: w.store, Policy: ttls, Operator: operator})
	if _, err := w.try(by("crm-1", change(mailing, permission.Pending))); err == nil {
		t.Error("got a question recorded, want an error")
	}
	w.record(by("crm-1", change(mailing, permission.Granted)))
	w.wantPosted(`consent-confirmation to "" in en`)
}

func TestMails_import(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %t", silent), func(t *testing.T) {
			t.Parallel()
			w := newPosting(t)
			w.hear(subscription.CitizenEmails)
			w.person("crm-2", "pt", "rui@example.org")
			var kept atomic.Int64
			w.App = w.over(asking{w.store, &kept})
			p, err := w.bring(app.ImportRequest{Silent: silent},
				line("crm-1", mailing, permission.Granted), line("crm-2", mailing, permission.Pending),
				line("crm-1", mailing, permission.Denied), line("crm-2", "opt-unknown", permission.Pending), line("crm-2", mailing, permission.Granted),
			)
			if err != nil || p.Recorded != 4 {
				t.Fatalf("got %+v, %v", p, err)
			}
			var want []string
			if !silent {
				want = []string{ // by the citizens' first lines
					`consent-confirmation to "" in en`, `withdrawal-confirmation to "" in en`,
					`double-opt-in to "rui@example.org" in pt`, `consent-confirmation to "rui@example.org" in pt`,
				}
			}
			ps := w.wantPosted(want...)
			if n := kept.Load(); int(n) != len(want)/4 {
				t.Errorf("got %d questions kept, want %d", n, len(want)/4)
			}
			if silent {
				return
			}
			c, _ := w.now("crm-2")
			for i, h := range w.history(c.ID) {
				if want := []string{ps[2+i].Event.ID}; !slices.Equal(h.Told, want) {
					t.Errorf("transaction %d is told by %v, want %v", i, h.Told, want)
				}
			}
		})
	}
}

func TestMails_reversion(t *testing.T) {
	t.Parallel()
	w := newPosting(t)
	w.hear(subscription.CitizenEmails)
	w.record(by("crm-1", change(mailing, permission.Pending)))
	made := w.record(by("crm-1", change(mailing, permission.Denied)))
	if _, err := w.RevertTransaction(w.ctx, w.app, caller, made.Transaction.ID()); err != nil {
		t.Fatal(err)
	}
	w.wantPosted(`double-opt-in to "" in en`, `withdrawal-confirmation to "" in en`)
}

// TestReminders: the end of a permission is told of once, 7 days before.
func TestReminders(t *testing.T) {
	t.Parallel()
	const reminder = `expiry-reminder to "ana@example.org" in pt`
	const ahead = 30 * 24 * time.Hour
	begin := func(t *testing.T) (w *world, end, due time.Time) {
		w = newPosting(t)
		w.person("crm-1", "pt-BR", "ana@example.org")
		end = time.Now().UTC().Add(ahead)
		return w, end, end.Add(-permission.ReminderAhead)
	}
	t.Run("while the server runs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, due := begin(t)
			defer w.sweeping()()
			w.record(by("crm-1", until(change(mailing, permission.Granted), end), until(change(phoning, permission.Granted), end)))
			w.hear(subscription.CitizenEmails) // only now: they were given in silence
			time.Sleep(ahead - permission.ReminderAhead - time.Millisecond)
			synctest.Wait()
			w.wantPosted()
			before, _ := w.now("crm-1")
			time.Sleep(time.Second)
			synctest.Wait()
			p := w.wantPosted(reminder)[0]
			w.wantAt(p.Event, due, due)
			if !strings.Contains(p.Text, mailing) || !strings.Contains(p.Text, phoning) || p.ActionURL != "" {
				t.Errorf("got the link %q and the text\n%s", p.ActionURL, p.Text)
			}
			after, _ := w.now("crm-1")
			if after.Version != before.Version+1 || !after.Reminded.Equal(due) {
				t.Errorf("got version %d, reminded %v, want %d and %v", after.Version, after.Reminded, before.Version+1, due)
			}
			time.Sleep(ahead)
			synctest.Wait()
			w.wantPosted(reminder)
		})
	})
	t.Run("late, when the server was down", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, due := begin(t)
			w.hear(subscription.CitizenEmails)
			w.record(by("crm-1", until(change(mailing, permission.Granted), end)))
			time.Sleep(ahead - time.Hour)
			w.restart()
			start := time.Now()
			defer w.sweeping()()
			synctest.Wait()
			ps := w.wantPosted(`consent-confirmation to "ana@example.org" in pt`, reminder)
			w.wantAt(ps[1].Event, due, start)
		})
	})
	t.Run("not any more when it has ended meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, _ := begin(t)
			w.hearAll()
			w.hear(subscription.CitizenEmails)
			w.record(by("crm-1", until(change(mailing, permission.Granted), end)))
			time.Sleep(ahead)
			w.restart()
			defer w.sweeping()()
			synctest.Wait()
			w.wantPosted(`consent-confirmation to "ana@example.org" in pt`)
			w.wantTypes("", event.PermissionsDelta, event.PermissionsEffective, event.CitizenEmail, event.PermissionsDelta, event.PermissionsEffective)
			time.Sleep(ahead)
			synctest.Wait()
			w.wantPosted(`consent-confirmation to "ana@example.org" in pt`)
		})
	})
	t.Run("of others that last, when one has ended meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, due := begin(t)
			w.hear(subscription.CitizenEmails)
			w.record(by("crm-1", until(change(mailing, permission.Granted), end), until(change(phoning, permission.Granted), end.Add(time.Hour))))
			time.Sleep(ahead + time.Minute)
			if _, err := w.AdvanceDue(w.ctx); err != nil {
				t.Fatal(err)
			}
			ps := w.wantPosted(`consent-confirmation to "ana@example.org" in pt`, reminder)
			w.wantAt(ps[1].Event, due.Add(time.Hour), time.Now())
			if strings.Contains(ps[1].Text, mailing) || !strings.Contains(ps[1].Text, phoning) {
				t.Errorf("got the text\n%s\nwant phoning alone", ps[1].Text)
			}
		})
	})
	t.Run("by the transaction that comes first", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, due := begin(t)
			w.hear(subscription.CitizenEmails)
			w.record(by("crm-1", until(change(mailing, permission.Granted), end)))
			time.Sleep(ahead - time.Hour)
			made := w.record(by("crm-1", until(change(mailing, permission.Denied), end)))
			ps := w.wantPosted(`consent-confirmation to "ana@example.org" in pt`, reminder, `withdrawal-confirmation to "ana@example.org" in pt`)
			w.wantAt(ps[1].Event, due, time.Now())
			if want := []string{ps[2].Event.ID}; !slices.Equal(made.Transaction.Told, want) {
				t.Errorf("the withdrawal is told by %v, want %v alone", made.Transaction.Told, want)
			}
		})
	})
	t.Run("of nobody when nobody asked for mails", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, due := begin(t)
			w.record(by("crm-1", until(change(mailing, permission.Granted), end)))
			time.Sleep(ahead - permission.ReminderAhead)
			next, err := w.AdvanceDue(w.ctx)
			if err != nil || !next.Equal(end) {
				t.Errorf("got the next at %v, %v, want the end at %v", next, err, end)
			}
			if c, _ := w.now("crm-1"); c.Version != 3 || !c.Reminded.Equal(due) {
				t.Errorf("got version %d, reminded %v, want 3 and %v", c.Version, c.Reminded, due)
			}
			w.wantPosted()
		})
	})
	t.Run("of one of two who are linked", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w, end, _ := begin(t)
			w.person("crm-2", "en", "rui@example.org")
			w.record(by("crm-1", until(change(mailing, permission.Granted), end)))
			w.hear(subscription.CitizenEmails)
			a, _ := w.now("crm-1")
			b, _ := w.now("crm-2")
			err := w.store.Update(w.ctx, func(tx store.Tx) error { // as a link does
				a.Group, b.Group = "lnk_1", "lnk_1"
				a.Version++
				b.Version++
				b.Standing, _ = b.Standing.Rebuild(w.history(a.ID), time.Now())
				if err := tx.PutCitizen(a); err != nil {
					return err
				}
				return tx.PutCitizen(b)
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(ahead - permission.ReminderAhead)
			if _, err := w.AdvanceDue(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.wantPosted(reminder)
			for _, ref := range []string{"crm-1", "crm-2"} {
				if c, _ := w.now(ref); c.Reminded.IsZero() {
					t.Errorf("%s was not passed", ref)
				}
			}
		})
	})
}
