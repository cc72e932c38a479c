package app_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// ask records a request that asks by mail, and returns the token of the link.
func (w *world) ask(r permission.Request) (token string, made app.Recorded) {
	w.t.Helper()
	before := len(w.posted())
	made = w.record(r)
	ps := w.posted()[before:]
	i := slices.IndexFunc(ps, func(p posted) bool { return p.Template == mail.DoubleOptIn })
	if i < 0 {
		w.t.Fatalf("got the mails %v, want a question", ps)
	}
	p := ps[i]
	token, ours := strings.CutPrefix(p.ActionURL, "https://consentwire.example/cw/confirm/")
	if !ours || len(token) != 43 {
		w.t.Fatalf("got the link %q", p.ActionURL)
	}
	if want := made.Transaction.Origin.RecordedAt.Add(24 * time.Hour); !p.Message.ExpiresAt.Equal(want) {
		w.t.Errorf("the link expires at %v, want %v", p.Message.ExpiresAt, want)
	}
	return token, made
}

func (w *world) question(token string) app.Question {
	w.t.Helper()
	q, err := w.Question(w.ctx, token)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// wantQuestion checks how a question is, and which options it shows.
func (w *world) wantQuestion(token string, state app.QuestionState, options ...string) app.Question {
	w.t.Helper()
	q := w.question(token)
	var got []string
	for _, o := range q.Options {
		got = append(got, o.Name)
	}
	if q.State != state || !slices.Equal(got, options) || q.Application != "Bank" {
		w.t.Errorf("got the question %s of %s about %v, want %s about %v", q.State, q.Application, got, state, options)
	}
	return q
}

// state renders what is in force, in the order of the options.
func (w *world) state(externalRef string) string {
	w.t.Helper()
	_, v := w.now(externalRef)
	var out []string
	for _, p := range v.Permissions {
		out = append(out, strings.TrimPrefix(string(p.Option), "opt-")+"="+string(p.Effective()))
	}
	return strings.Join(out, " ")
}

// newAsking is a world that asks by mail.
func newAsking(t *testing.T) *world {
	t.Helper()
	w := newPosting(t)
	w.hear(subscription.CitizenEmails)
	return w
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newAsking(t)
		w.hear(subscription.ConsentReceipts)
		w.person("crm-1", "pt", "ana@example.org")
		end := time.Now().UTC().Add(1000 * time.Hour)
		r := by("crm-1", until(group(contact, permission.Pending), end))
		r.StatementRef, r.PolicyRef, r.Campaign, r.Channel = ptr("ask"), ptr("privacy"), ptr("spring"), ptr("web")
		token, asked := w.ask(r)
		time.Sleep(time.Hour)

		log := len(w.events(w.app))
		for range 2 { // a machine opens every link in a mail
			q := w.wantQuestion(token, app.QuestionOpen, mailing, phoning)
			if q.Language != "pt" || q.Statement != "May we?" || q.Policy.Text != "We care." || !q.ExpiresAt.Equal(asked.Transaction.Origin.RecordedAt.Add(24*time.Hour)) {
				t.Errorf("got %+v", q)
			}
		}
		if got := w.state("crm-1"); got != "mailing=PENDING phoning=PENDING" || len(w.events(w.app)) != log {
			t.Errorf("got %s and %d events after a look, want nothing changed", got, len(w.events(w.app))-log)
		}

		if err := w.Confirm(w.ctx, token); err != nil {
			t.Fatal(err)
		}
		at := time.Now().UTC()
		if got := w.state("crm-1"); got != "mailing=GRANTED phoning=GRANTED" {
			t.Errorf("got %s, want both granted", got)
		}
		h := w.history(asked.Citizen.ID)
		if len(h) != 2 {
			t.Fatalf("got %d transactions, want 2", len(h))
		}
		o, was := h[1].Origin, asked.Transaction.Origin
		if o.Statement != was.Statement || o.StatementVersion != 1 || o.Policy != was.Policy || o.Channel != "email" || o.Campaign != "spring" || !o.RecordedAt.Equal(at) || o.Actor != (permission.Actor{}) {
			t.Errorf("got the origin %+v", o)
		}
		for _, e := range h[1].Entries {
			if e.Justification != permission.ByConsent || !e.ValidFrom.Equal(at) || !e.ValidUntil.Equal(end) || e.Group != contact {
				t.Errorf("got the entry %+v, want it from now until %v", e, end)
			}
		}
		if got, want := w.types("")[log:], []event.Type{event.PermissionsDelta, event.CitizenEmail}; !slices.Equal(got, want) || len(h[1].Told) != 2 {
			t.Errorf("it is told by %v, in the transaction by %v, want %v", got, h[1].Told, want)
		}
		w.wantPosted(`double-opt-in to "ana@example.org" in pt`, `consent-confirmation to "ana@example.org" in pt`)

		for _, later := range []time.Duration{0, 48 * time.Hour} { // for as long as it is known
			time.Sleep(later)
			if q := w.wantQuestion(token, app.QuestionConfirmed, mailing, phoning); !q.ConfirmedAt.Equal(at) || q.Statement != "May we?" {
				t.Errorf("got %+v, want it confirmed at %v", q, at)
			}
			if err := w.Confirm(w.ctx, token); err != nil {
				t.Errorf("once more: got %v, want nothing to happen", err)
			}
		}
		if n := len(w.history(asked.Citizen.ID)); n != 2 {
			t.Errorf("got %d transactions, want 2", n)
		}
	})
}

// TestConfirm_settled: what was answered or asked meanwhile, in whatever way,
// is not granted by a link from before.
func TestConfirm_settled(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		asked permission.ChangeDraft
		then  func(*world, app.Recorded)
		shows []string // what can still be granted
		want  string   // the state after the link
	}{
		{"refused", change(mailing, permission.Pending), func(w *world, _ app.Recorded) {
			w.record(by("crm-1", change(mailing, permission.Denied)))
		}, nil, "mailing=DENIED"},
		{"one of two refused", group(contact, permission.Pending), func(w *world, _ app.Recorded) {
			w.record(by("crm-1", change(mailing, permission.Denied)))
		}, []string{phoning}, "mailing=DENIED phoning=GRANTED"},
		{"asked again", change(mailing, permission.Pending), func(w *world, _ app.Recorded) {
			w.record(by("crm-1", change(mailing, permission.Pending)))
		}, nil, "mailing=PENDING"},
		{"reverted", change(mailing, permission.Pending), func(w *world, made app.Recorded) {
			if _, err := w.RevertTransaction(w.ctx, w.app, caller, made.Transaction.ID()); err != nil {
				w.t.Fatal(err)
			}
		}, nil, "mailing="},
		{"archived, which changes nothing", change(mailing, permission.Pending), func(w *world, _ app.Recorded) {
			if _, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, mailing); err != nil {
				w.t.Fatal(err)
			}
		}, []string{mailing}, "mailing=GRANTED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newAsking(t)
			token, made := w.ask(by("crm-1", tt.asked))
			tt.then(w, made)
			if tt.shows == nil {
				w.wantQuestion(token, app.QuestionSettled)
				wantFault(t, w.Confirm(w.ctx, token), fault.Conflict, "nothing_pending")
				w.wantQuestion(token, app.QuestionSettled)
			} else {
				w.wantQuestion(token, app.QuestionOpen, tt.shows...)
				if err := w.Confirm(w.ctx, token); err != nil {
					t.Error(err)
				}
				w.wantQuestion(token, app.QuestionConfirmed, tt.shows...)
			}
			if got := w.state("crm-1"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestConfirm_expiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newAsking(t)
		first, _ := w.ask(by("crm-1", change(mailing, permission.Pending)))
		second, _ := w.ask(by("crm-2", change(mailing, permission.Pending)))
		third, _ := w.ask(by("crm-3", until(change(mailing, permission.Pending), time.Now().Add(time.Hour))))
		time.Sleep(time.Hour)
		w.wantQuestion(third, app.QuestionSettled) // nobody advanced to it yet
		wantFault(t, w.Confirm(w.ctx, third), fault.Conflict, "nothing_pending")
		time.Sleep(23*time.Hour - time.Millisecond)
		w.wantQuestion(first, app.QuestionOpen, mailing)
		if err := w.Confirm(w.ctx, first); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
		w.wantQuestion(second, app.QuestionExpired)
		wantFault(t, w.Confirm(w.ctx, second), fault.Conflict, "confirmation_expired")
		if one, two := w.state("crm-1"), w.state("crm-2"); one != "mailing=GRANTED" || two != "mailing=PENDING" {
			t.Errorf("got %s and %s, want the first granted alone", one, two)
		}
	})
}

// TestConfirm_once: of many who answer at once, one grants.
func TestConfirm_once(t *testing.T) {
	t.Parallel()
	w := newAsking(t)
	token, made := w.ask(by("crm-1", change(mailing, permission.Pending)))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := w.Confirm(w.ctx, token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(w.history(made.Citizen.ID)); n != 2 {
		t.Errorf("got %d transactions, want 2", n)
	}
	w.wantPosted(`double-opt-in to "" in en`, `consent-confirmation to "" in en`)
}

// TestConfirm_faults: whichever way the store fails, the answer can be given
// again, and counts once.
func TestConfirm_faults(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		w := newAsking(t)
		token, made := w.ask(by("crm-1", change(mailing, permission.Pending)))
		w.store.RunTwice()
		w.store.FailAt("Update", 1, after)
		if err := w.Confirm(w.ctx, token); err == nil {
			t.Error("got no error, want that of the store")
		}
		state := app.QuestionOpen
		if after {
			state = app.QuestionConfirmed
		}
		w.wantQuestion(token, state, mailing)
		if err := w.Confirm(w.ctx, token); err != nil {
			t.Error(err)
		}
		if n := len(w.history(made.Citizen.ID)); n != 2 {
			t.Errorf("got %d transactions, want 2", n)
		}
	}
}

// TestConfirm_versions: an answer is to what was shown, also when that has
// changed meanwhile.
func TestConfirm_versions(t *testing.T) {
	t.Parallel()
	w := newAsking(t)
	r := by("crm-1", change(mailing, permission.Pending))
	r.StatementRef, r.PolicyRef = ptr("ask"), ptr("privacy")
	token, made := w.ask(r)
	o := made.Transaction.Origin
	if _, err := w.PutStatement(w.ctx, w.app, o.Statement, statementDraft("ask", "May we sell it?")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RemoveConfiguration(w.ctx, w.app, store.Policy, string(o.Policy)); err != nil {
		t.Fatal(err)
	}
	if q := w.question(token); q.Statement != "May we?" || q.Policy.Text != "We care." {
		t.Errorf("got the statement %q and the policy %q, want those that were shown", q.Statement, q.Policy.Text)
	}
	if err := w.Confirm(w.ctx, token); err != nil {
		t.Fatal(err)
	}
	if got := w.history(made.Citizen.ID)[1].Origin; got.Statement != o.Statement || got.StatementVersion != 1 || got.PolicyVersion != 1 {
		t.Errorf("got the origin %+v, want that of the question", got)
	}
	for _, p := range w.posted()[1:] {
		if strings.Contains(p.Text, "sell") {
			t.Errorf("%s speaks of what was not shown:\n%s", p, p.Text)
		}
	}
}

func TestConfirm_unknown(t *testing.T) {
	t.Parallel()
	w := newAsking(t)
	token, made := w.ask(by("crm-1", change(mailing, permission.Pending)))
	for _, wrong := range []string{"", "x", token + "A", token[1:], strings.ToLower(token) + strings.ToUpper(token)} {
		_, err := w.Question(w.ctx, wrong)
		wantFault(t, err, fault.NotFound, "not_found")
		wantFault(t, w.Confirm(w.ctx, wrong), fault.NotFound, "not_found")
	}
	w.erase(made.Citizen.ID)
	_, err := w.Question(w.ctx, token)
	wantFault(t, err, fault.NotFound, "not_found")
	wantFault(t, w.Confirm(w.ctx, token), fault.NotFound, "not_found")
}

// TestConfirm_tied: an answer counts for everybody who is linked with the one
// that was asked, and goes over to the one into whom that one was merged.
func TestConfirm_tied(t *testing.T) {
	t.Parallel()
	w := newAsking(t)
	w.hear(subscription.ConsentReceipts)
	w.person("crm-1", "en", "ana@example.org")
	linked, into := w.person("crm-2", "en", "rui@example.org"), w.person("crm-3", "en", "eva@example.org")
	first, made := w.ask(by("crm-1", change(mailing, permission.Pending)))
	second, _ := w.ask(by("crm-1", change(phoning, permission.Pending)))
	if _, err := w.Link(w.ctx, w.app, linked.ID, app.CitizenKey{ID: made.Citizen.ID}); err != nil {
		t.Fatal(err)
	}
	if err := w.Confirm(w.ctx, first); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"crm-1", "crm-2"} {
		if got := w.state(ref); got != "mailing=GRANTED phoning=PENDING" {
			t.Errorf("%s: got %s, want mailing granted", ref, got)
		}
	}
	h := w.history(made.Citizen.ID)
	if told := h[len(h)-1].Told; len(told) != 3 {
		t.Errorf("the answer is told by %v, want a delta for each and a mail for one", told)
	}

	if _, err := w.Merge(w.ctx, w.app, into.ID, app.CitizenKey{ID: made.Citizen.ID}); err != nil {
		t.Fatal(err)
	}
	w.wantQuestion(second, app.QuestionOpen, phoning)
	if err := w.Confirm(w.ctx, second); err != nil {
		t.Fatal(err)
	}
	w.wantQuestion(second, app.QuestionConfirmed, phoning)
	if got := w.state("crm-3"); got != "mailing=GRANTED phoning=GRANTED" {
		t.Errorf("got %s, want both granted", got)
	}
	ps := w.posted()
	if p := ps[len(ps)-1].String(); p != `consent-confirmation to "eva@example.org" in en` {
		t.Errorf("got the mail %s, want one to the citizen that it went over to", p)
	}
}
