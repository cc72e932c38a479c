package portal

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
)

// confirmPage is where a citizen answers what was asked by mail. It is for
// people who know nothing of us: it speaks their language, shows the
// application's name, and needs no session, for who has the link may answer.
type confirmPage struct {
	Words       confirmWords
	Base        string // path of the portal, without a slash at its end
	StyleFile   string
	IconFile    string
	State       app.QuestionState // empty: there is no such question, or it cannot be told
	Title       string
	Lead        string
	Advice      string
	Application string // name of the one that asks; may be empty
	Options     []confirmOption
	Statement   string
	PolicyURL   string
	PolicyText  string
	OpenUntil   moment // zero: it is not open
}

func (confirmPage) language() lang { return english } // it has its own words

type confirmOption struct {
	Name, Purpose, Party string
	Until                moment // zero: for ever
}

// confirm shows what a link asks. It changes nothing, for machines open links
// too.
func (p *Portal) confirm(w http.ResponseWriter, r *http.Request) {
	q, err := p.app.Question(r.Context(), r.PathValue("token"))
	if err != nil {
		p.unasked(w, r, err)
		return
	}
	p.asked(w, r, q)
}

// answer grants what a link asks and sends the browser back to its page, which
// says so.
//
// The link itself is the right to answer, so there is no session and no token
// of a form; who could make a foreign page send the form has the link already.
// That browsers name the origin of a form is checked all the same.
func (p *Portal) answer(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if !p.sameSite(r) {
		p.unasked(w, r, fault.New(fault.Forbidden, "foreign_form", "This form was not sent from its page."))
		return
	}
	err := p.app.Confirm(r.Context(), token)
	if fault.KindOf(err) == fault.Conflict { // its page tells why
		p.confirm(w, r)
		return
	}
	if err != nil {
		p.unasked(w, r, err)
		return
	}
	http.Redirect(w, r, p.root()+app.ConfirmPath+url.PathEscape(token), http.StatusSeeOther)
}

// asked renders a question as it is.
func (p *Portal) asked(w http.ResponseWriter, r *http.Request, q app.Question) {
	page := p.confirmPage(confirmLanguage(q.Language))
	words := page.Words
	page.State, page.Application = q.State, q.Application
	page.Statement, page.PolicyURL, page.PolicyText = q.Statement, q.Policy.URL, q.Policy.Text
	for _, o := range q.Options {
		page.Options = append(page.Options, words.option(o))
	}
	status := http.StatusOK
	switch q.State {
	case app.QuestionOpen:
		page.Title, page.Lead, page.Advice = words.Ask, words.AskLead, words.AskAdvice
		page.OpenUntil = words.at(q.ExpiresAt)
	case app.QuestionConfirmed:
		page.Title, page.Lead, page.Advice = words.Done, strings.Replace(words.DoneLead, "%", words.at(q.ConfirmedAt).Text, 1), words.DoneAdvice
	case app.QuestionExpired:
		status, page.Title, page.Lead, page.Advice = http.StatusGone, words.Expired, words.ExpiredLead, words.ExpiredAdvice
	case app.QuestionSettled:
		status, page.Title, page.Lead, page.Advice = http.StatusConflict, words.Settled, words.SettledLead, words.SettledAdvice
	}
	p.show(w, r, status, page)
}

// unasked renders the page of a link that has no question, or of which none
// can be told now.
func (p *Portal) unasked(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	page := p.confirmPage(preferredLanguage(r.Header.Get("Accept-Language")))
	words, status := page.Words, 0
	switch fault.KindOf(err) {
	case fault.NotFound:
		status, page.Title, page.Lead, page.Advice = http.StatusNotFound, words.Unknown, words.UnknownLead, words.UnknownAdvice
	case fault.Forbidden:
		status, page.Title, page.Lead, page.Advice = http.StatusForbidden, words.Foreign, words.ForeignLead, words.ForeignAdvice
	case fault.Unavailable, fault.TooMany:
		status, page.Title, page.Lead, page.Advice = http.StatusServiceUnavailable, words.Failed, words.FailedLead, words.FailedAdvice
	default:
		status, page.Title, page.Lead, page.Advice = http.StatusInternalServerError, words.Failed, words.FailedLead, words.FailedAdvice
	}
	if status >= http.StatusInternalServerError {
		p.log.ErrorContext(r.Context(), "page failed", "route", r.Pattern, "status", status, "error", err)
	}
	p.show(w, r, status, page)
}

func (p *Portal) show(w http.ResponseWriter, r *http.Request, status int, page confirmPage) {
	if err := p.render(w, status, "confirm", page); err != nil {
		p.log.ErrorContext(r.Context(), "page failed", "route", r.Pattern, "error", err)
		http.Error(w, page.Words.Failed, http.StatusInternalServerError)
	}
}

func (p *Portal) confirmPage(language string) confirmPage {
	return confirmPage{Words: confirmTexts[language], Base: p.base(), StyleFile: p.assets.names["portal.css"], IconFile: p.assets.names["mark.svg"]}
}

// confirmLanguage returns which of the page's languages serves a citizen who
// has that one: the one of its mails, as far as the texts are ours.
func confirmLanguage(language string) string {
	base, _, _ := strings.Cut(strings.ToLower(language), "-")
	if _, ours := confirmTexts[base]; ours {
		return base
	}
	return "en"
}

// preferredLanguage returns the first of the page's languages that a browser
// names.
func preferredLanguage(accept string) string {
	for part := range strings.SplitSeq(accept, ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		if base, _, _ := strings.Cut(strings.ToLower(tag), "-"); base == "en" || base == "pt" {
			return base
		}
	}
	return "en"
}

// confirmWords are the page's words in one language.
type confirmWords struct {
	Language string

	Ask, AskLead, AskAdvice             string
	Done, DoneLead, DoneAdvice          string // % is the instant
	Expired, ExpiredLead, ExpiredAdvice string
	Settled, SettledLead, SettledAdvice string
	Unknown, UnknownLead, UnknownAdvice string
	Foreign, ForeignLead, ForeignAdvice string
	Failed, FailedLead, FailedAdvice    string

	Shown, Policy, Purpose, Party, Until, OpenUntil, Agree string

	date   string     // a layout with % for the month
	months [12]string // from January
}

// at writes an instant in words.
func (c confirmWords) at(t time.Time) moment {
	t = t.UTC()
	return moment{strings.Replace(t.Format(c.date), "%", c.months[t.Month()-1], 1), event.Format(t)}
}

func (c confirmWords) option(o mail.Choice) confirmOption {
	out := confirmOption{Name: o.Name, Purpose: o.Purpose, Party: o.Party}
	if !o.ValidUntil.IsZero() {
		out.Until = c.at(o.ValidUntil)
	}
	return out
}
