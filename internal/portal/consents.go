package portal

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
)

// peoplePerPage is how many consents or citizens one page lists. Ours.
const peoplePerPage = 50

// consentItem is a consent in a list.
type consentItem struct {
	ID, ConsentID string
	Href          string
	Type          string
	Citizen       string
	Status        says
	Created       moment
	Deadline      moment
}

type consentsPage struct {
	frame
	Search   string
	NotFound bool
	Status   string
	Type     string
	Citizen  string
	Statuses []choice
	Types    []choice
	Items    []consentItem
	Older    string
	Later    bool
	Failed   bool
}

// consentWords names a state of a consent.
func (l lang) consentWords(s consent.Status) says {
	switch s {
	case consent.Awaiting:
		return says{quiet, l.t("Awaiting authorisation"), ""}
	case consent.PartiallyAccepted:
		return says{quiet, l.t("Partially accepted"), ""}
	case consent.Authorised:
		return says{good, l.t("Authorised"), ""}
	case consent.Consumed:
		return says{good, l.t("Consumed"), ""}
	case consent.Rejected:
		return says{bad, l.t("Rejected"), ""}
	case consent.Expired:
		return says{warn, l.t("Expired"), ""}
	case consent.Revoked:
		return says{bad, l.t("Revoked"), ""}
	}
	return says{quiet, string(s), ""}
}

func consentStates() []consent.Status {
	return []consent.Status{consent.Awaiting, consent.PartiallyAccepted, consent.Authorised, consent.Consumed, consent.Rejected, consent.Expired, consent.Revoked}
}

func (p *Portal) consents(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Consents")
	if err != nil {
		return err
	}
	l, v := f.Lang, r.URL.Query()
	page := consentsPage{frame: f, Search: strings.TrimSpace(v.Get("q")), Status: v.Get("status"), Type: v.Get("type"), Citizen: strings.TrimSpace(v.Get("citizen"))}
	if page.Search != "" {
		c, err := p.app.Consent(r.Context(), s.app, page.Search)
		if err == nil {
			http.Redirect(w, r, p.base()+"/consents/"+url.PathEscape(string(c.ID)), http.StatusSeeOther)
			return nil
		}
		if fault.KindOf(err) != fault.NotFound {
			return err
		}
		page.NotFound = true
	}
	q := store.ConsentQuery{Type: consent.Type(page.Type), CitizenID: page.Citizen, Limit: peoplePerPage, After: v.Get("after")}
	page.Statuses = []choice{{"", l.t("any"), page.Status == ""}}
	for _, st := range consentStates() {
		page.Statuses = append(page.Statuses, choice{string(st), l.consentWords(st).Word, page.Status == string(st)})
		if page.Status == string(st) {
			q.Lifecycle = []consent.Status{st}
		}
	}
	page.Types = []choice{{"", l.t("any"), page.Type == ""}, {"DATA", "DATA", page.Type == "DATA"}, {"PAYMENT", "PAYMENT", page.Type == "PAYMENT"}}
	list, next, err := p.app.Consents(r.Context(), s.app, q)
	status := http.StatusOK
	switch k := fault.KindOf(err); {
	case err == nil:
	case k == fault.Invalid:
		return fault.New(fault.NotFound, "not_found", "There is no such page of consents.")
	default:
		page.Failed, status = true, http.StatusServiceUnavailable
		p.log.ErrorContext(r.Context(), "read consents", "application", string(s.app), "error", err)
	}
	for _, c := range list {
		page.Items = append(page.Items, p.consentItem(l, c))
	}
	page.Later = q.After != ""
	if next != "" {
		v.Set("after", next)
		page.Older = "?" + v.Encode()
	}
	return p.render(w, status, "consents", page)
}

func (p *Portal) consentItem(l lang, c consent.Consent) consentItem {
	return consentItem{
		string(c.ID), c.ConsentID, p.base() + "/consents/" + url.PathEscape(string(c.ID)), string(c.Type), c.CitizenID,
		l.consentWords(c.Status), l.at(c.CreatedAt), l.at(c.Deadline),
	}
}

// consentPage is one consent: where it is, what happened to it, and who was
// told of each change.
type consentPage struct {
	frame
	consentItem
	Official   string
	Facts      []fact
	States     []stateBox
	Deadlines  []deadline
	Timeline   []happening
	OlderTold  bool
	Permission []string
}

// stateBox is a state in the picture of a consent's life.
type stateBox struct {
	Name  string
	State string // past, now, open
	End   bool
}

// deadline is an instant at which something happens by itself.
type deadline struct {
	Label string
	At    moment
	Left  string // how long until then; empty: it is past
}

// happening is an event and who was told of it.
type happening struct {
	Type  string
	Event string
	At    moment
	Told  []deliveryItem
	Note  string
}

// maxTimeline is how many events a page shows. Ours: a consent's life has ten
// at most, but for extensions.
const maxTimeline = 50

func (p *Portal) consent(w http.ResponseWriter, r *http.Request, s session) error {
	ctx := r.Context()
	c, err := p.app.Consent(ctx, s.app, r.PathValue("consent"))
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Consent")
	if err != nil {
		return err
	}
	l, now := f.Lang, time.Now()
	page := consentPage{
		frame: f, consentItem: p.consentItem(l, c), Official: c.OfficialStatus(), States: l.states(c), Permission: c.Permissions,
		Facts: l.consentFacts(c),
	}
	if !c.Closed() {
		for _, d := range []struct {
			label string
			at    time.Time
			when  bool
		}{
			{"To be decided before", c.ApprovalDeadline, c.Status == consent.Awaiting},
			{"To be approved by all before", c.ApproversDeadline, c.Status == consent.PartiallyAccepted},
			{"To be used before", c.ConsumeDeadline, c.Status == consent.Authorised},
			{"Ends", c.ExpiresAt, true},
		} {
			if !d.when || d.at.IsZero() {
				continue
			}
			page.Deadlines = append(page.Deadlines, deadline{l.t(d.label), l.at(d.at), l.left(d.at.Sub(now))})
		}
	}
	evts, next, err := p.store.Events(ctx, s.app, store.EventQuery{Subject: string(c.ID), Limit: maxTimeline})
	if err != nil {
		return err
	}
	page.OlderTold = next != ""
	for _, e := range evts {
		h, err := p.happening(ctx, l, s, e)
		if err != nil {
			return err
		}
		page.Timeline = append(page.Timeline, h)
	}
	return p.render(w, http.StatusOK, "consent", page)
}

// left writes how long until an instant; empty when it has come.
func (l lang) left(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return l.t("in %s", l.span(d))
}

// maxTold is how many deliveries of one event a page shows. Ours.
const maxTold = 50

func (p *Portal) happening(ctx context.Context, l lang, s session, e event.Event) (happening, error) {
	h := happening{Type: string(e.Type), Event: e.ID, At: l.at(e.OccurredAt)}
	items, next, err := p.listDeliveries(ctx, l, s, store.DeliveryQuery{EventID: e.ID, Limit: maxTold})
	h.Told = items
	if next != "" {
		h.Note = l.t("Only the first are listed; the deliveries have them all.")
	}
	return h, err
}

func (l lang) consentFacts(c consent.Consent) []fact {
	var out []fact
	add := func(label, value string, code bool) {
		if value != "" {
			out = append(out, fact{l.t(label), value, code})
		}
	}
	add("Type", string(c.Type), true)
	add("Official status", c.OfficialStatus(), true)
	add("Person", document(c.LoggedUser), true)
	if c.BusinessEntity != nil {
		add("Company", document(*c.BusinessEntity), true)
	}
	if c.Payment != nil {
		add("Payment", c.Payment.Amount+" "+c.Payment.Currency+" ("+c.Payment.Type+")", false)
	}
	if c.Creditor != nil {
		add("Creditor", c.Creditor.Name, false)
	}
	add("Asked for", l.at(c.CreatedAt).Text, false)
	add("Authorised at", l.at(c.AuthorisedAt).Text, false)
	add("Used at", l.at(c.ConsumedAt).Text, false)
	if c.Approvers > 1 {
		add("Approvals", l.t("%d of %d", len(c.ApprovedBy), c.Approvers), false)
	}
	if x := c.Rejection; x != nil {
		add("Closed by", x.By, true)
		add("Reason", x.Code, true)
		add("Additional information", x.AdditionalInformation, false)
	}
	return out
}

func document(d consent.Document) string {
	if d.Identification == "" {
		return ""
	}
	return d.Rel + " " + d.Identification
}

// states draws a consent's life: where it was, where it is, where it may go.
func (l lang) states(c consent.Consent) []stateBox {
	path := []consent.Status{consent.Awaiting}
	if c.Approvers > 1 {
		path = append(path, consent.PartiallyAccepted)
	}
	path = append(path, consent.Authorised)
	if c.Type == consent.Payment {
		path = append(path, consent.Consumed)
	}
	reached := func(s consent.Status) bool {
		switch s {
		case consent.Awaiting:
			return true
		case consent.PartiallyAccepted:
			return len(c.ApprovedBy) > 0
		case consent.Authorised:
			return !c.AuthorisedAt.IsZero()
		}
		return c.Status == s
	}
	var out []stateBox
	for _, s := range path {
		b := stateBox{Name: l.consentWords(s).Word, State: "open"}
		switch {
		case c.Status == s:
			b.State = "now"
		case reached(s):
			b.State = "past"
		case c.Closed():
			continue // it never came there
		}
		out = append(out, b)
	}
	for _, s := range []consent.Status{consent.Rejected, consent.Expired, consent.Revoked} {
		if c.Status == s {
			out = append(out, stateBox{Name: l.consentWords(s).Word, State: "now", End: true})
		}
	}
	return out
}
