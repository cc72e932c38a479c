package portal

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// deliveriesPerPage is how many deliveries one page lists. Ours.
const deliveriesPerPage = 50

// deliveryItem is a delivery in a list.
type deliveryItem struct {
	ID       string
	Href     string
	At       moment
	Clock    string // the time of day
	Type     string
	Subject  string
	Sequence int64
	Endpoint string // what it is called
	Status   says
	Attempts int
	Next     moment // planned next attempt
	Reason   string
}

// deliveryFilter is what a list of deliveries is restricted to, as typed.
type deliveryFilter struct {
	Endpoint, Status, Type, Subject, Event, From, To string
}

func filterOf(q url.Values) deliveryFilter {
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return deliveryFilter{get("endpoint"), get("status"), get("type"), get("subject"), get("event"), get("from"), get("to")}
}

// values writes the filter as an address has it.
func (f deliveryFilter) values() url.Values {
	v := url.Values{}
	for name, text := range map[string]string{"endpoint": f.Endpoint, "status": f.Status, "type": f.Type, "subject": f.Subject, "event": f.Event, "from": f.From, "to": f.To} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

// query returns what the filter asks of the store. What makes no sense is told
// in words.
func (f deliveryFilter) query(l lang) (q store.DeliveryQuery, fault string) {
	q = store.DeliveryQuery{Endpoint: subscription.ID(f.Endpoint), Status: delivery.Status(f.Status), Type: event.Type(f.Type), Subject: f.Subject, EventID: f.Event}
	for _, t := range []struct {
		text string
		to   *time.Time
	}{{f.From, &q.From}, {f.To, &q.To}} {
		if t.text == "" {
			continue
		}
		at, ok := readTime(t.text)
		if !ok {
			return q, l.t("Write a day and a time, e.g. 2026-01-31T12:00.")
		}
		*t.to = at
	}
	return q, ""
}

// deliveriesPage lists deliveries, the newest first.
type deliveriesPage struct {
	frame
	Notice    string
	Filter    deliveryFilter
	Filtered  bool
	Endpoints []choice
	Statuses  []choice
	Types     []choice
	Fault     string
	Items     []deliveryItem
	Older     string // query of the next page
	Later     bool   // it is not the first page
	Searched  bool   // there may be more behind what was looked at
	Failed    bool
	Stream    string // address of the live list; empty: it is not live
}

func (p *Portal) deliveries(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Deliveries")
	if err != nil {
		return err
	}
	l, typed := f.Lang, filterOf(r.URL.Query())
	page := deliveriesPage{frame: f, Notice: f.notice(r), Filter: typed, Filtered: typed != (deliveryFilter{})}
	status := http.StatusOK
	q, wrong := typed.query(l)
	q.Limit, q.After = deliveriesPerPage, r.URL.Query().Get("after")
	page.Later = q.After != ""
	var next string
	if wrong != "" {
		page.Fault, status = wrong, http.StatusUnprocessableEntity
	} else {
		page.Items, next, err = p.listDeliveries(r.Context(), l, s, q)
		if err != nil {
			if k := fault.KindOf(err); k == fault.Invalid || k == fault.NotFound {
				return fault.New(fault.NotFound, "not_found", "There is no such page of deliveries.")
			}
			page.Failed, status = true, http.StatusServiceUnavailable
			p.log.ErrorContext(r.Context(), "read deliveries", "application", string(s.app), "error", err)
		}
	}
	if next != "" {
		v := typed.values()
		v.Set("after", next)
		page.Older, page.Searched = "?"+v.Encode(), len(page.Items) < deliveriesPerPage
	}
	if !page.Later && status == http.StatusOK {
		page.Stream = p.base() + "/deliveries/stream?" + typed.values().Encode()
	}
	if err := page.choices(p, r, s); err != nil {
		return err
	}
	return p.render(w, status, "deliveries", page)
}

// choices fills the filter's lists.
func (page *deliveriesPage) choices(p *Portal, r *http.Request, s session) error {
	l := page.Lang
	es, _, err := p.store.Endpoints(r.Context(), s.app, store.EndpointQuery{Limit: 100})
	if err != nil && !page.Failed {
		return err
	}
	known := page.Filter.Endpoint == ""
	page.Endpoints = []choice{{"", l.t("any"), known}}
	for _, e := range es {
		chosen := page.Filter.Endpoint == string(e.ID)
		known = known || chosen
		page.Endpoints = append(page.Endpoints, choice{string(e.ID), nameOf(e), chosen})
	}
	if !known {
		page.Endpoints = append(page.Endpoints, choice{page.Filter.Endpoint, page.Filter.Endpoint, true})
	}
	page.Statuses = []choice{{"", l.t("any"), page.Filter.Status == ""}}
	for _, st := range delivery.Statuses() {
		page.Statuses = append(page.Statuses, choice{string(st), l.deliveryWords(st).Word, page.Filter.Status == string(st)})
	}
	page.Types = []choice{{"", l.t("any"), page.Filter.Type == ""}}
	for _, d := range p.docs {
		if d.Type != event.WebhookTest {
			page.Types = append(page.Types, choice{string(d.Type), string(d.Type), page.Filter.Type == string(d.Type)})
		}
	}
	return nil
}

func (p *Portal) listDeliveries(ctx context.Context, l lang, s session, q store.DeliveryQuery) ([]deliveryItem, string, error) {
	list, next, err := p.store.Deliveries(ctx, s.app, q)
	if err != nil {
		return nil, "", err
	}
	items, err := p.deliveryItems(ctx, l, s, list)
	return items, next, err
}

// deliveryItems shows a page of deliveries.
func (p *Portal) deliveryItems(ctx context.Context, l lang, s session, list []delivery.View) ([]deliveryItem, error) {
	names := map[delivery.Endpoint]string{}
	var out []deliveryItem
	for _, v := range list {
		name, ok := names[v.Endpoint]
		if !ok {
			e, err := p.store.Endpoint(ctx, s.app, styleOf(v), subscription.ID(v.Endpoint))
			switch {
			case fault.KindOf(err) == fault.NotFound:
				name = string(v.Endpoint) // it was deleted
			case err != nil:
				return nil, err
			default:
				name = nameOf(e)
			}
			names[v.Endpoint] = name
		}
		out = append(out, p.deliveryItem(l, v, name))
	}
	return out, nil
}

func styleOf(v delivery.View) subscription.Style {
	switch {
	case v.Interceptor:
		return subscription.Interceptor
	case v.MailSender:
		return subscription.MailSender
	}
	return subscription.Subscription
}

func (p *Portal) deliveryItem(l lang, v delivery.View, name string) deliveryItem {
	return deliveryItem{
		ID: v.ID, Href: p.base() + "/deliveries/" + url.PathEscape(v.ID), At: l.at(v.CreatedAt), Clock: v.CreatedAt.UTC().Format("15:04:05.000"), Type: string(v.Type), Subject: v.Subject, Sequence: v.Sequence,
		Endpoint: name, Status: l.deliveryWords(v.Status), Attempts: v.AttemptCount, Next: l.at(v.NextAttemptAt), Reason: l.t(v.Reason),
	}
}

// streamDeliveries keeps the first page of a list as it is now.
func (p *Portal) streamDeliveries(w http.ResponseWriter, r *http.Request, s session) error {
	l := langOf(r)
	q, wrong := filterOf(r.URL.Query()).query(l)
	if wrong != "" {
		return fault.New(fault.Invalid, "malformed_filter", "The filter cannot be read.")
	}
	q.Limit = deliveriesPerPage
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n > 0 && n < q.Limit {
		q.Limit = n
	}
	return p.live(w, r, s, func() (string, any, error) {
		items, _, err := p.listDeliveries(r.Context(), l, s, q)
		return "delivery-rows", items, err
	})
}

// deliveryPage is one delivery with every attempt.
type deliveryPage struct {
	frame
	Notice string
	deliveryItem
	Event      string // ID
	EndpointID string
	Delivered  moment
	Ended      bool // it can be sent again
	Waits      bool // and it can be hastened
	Attempts   []attemptView
	Body       string // that was, or is to be, sent; with Hidden or Erased none
	Hidden     bool
	Erased     bool
	Consent    bool // the subject is a consent
}

// attemptView is one try.
type attemptView struct {
	N         int
	At        moment
	Took      string
	Replay    bool
	Verdict   says
	Stages    []stage
	Reason    string
	Hint      string
	Sent      sent
	Token     *exchangeView
	Signature says
	Next      moment
	Curl      string
	Open      bool
}

func (p *Portal) delivery(w http.ResponseWriter, r *http.Request, s session) error {
	ctx := r.Context()
	d, err := p.store.Delivery(ctx, s.app, r.PathValue("delivery"))
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Delivery")
	if err != nil {
		return err
	}
	l := f.Lang
	e, err := p.store.Endpoint(ctx, s.app, styleOf(d.View), subscription.ID(d.Endpoint))
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return err
	}
	gone := err != nil
	name := string(d.Endpoint)
	if !gone {
		name = nameOf(e)
	}
	hidden := !s.role.May(access.Bodies)
	page := deliveryPage{
		frame: f, Notice: f.notice(r), deliveryItem: p.deliveryItem(l, d.View, name), Event: d.EventID, Delivered: l.at(d.DeliveredAt),
		Hidden: hidden, Erased: len(d.Body) == 0, Consent: strings.HasPrefix(d.Subject, "con_"),
	}
	if !gone {
		page.EndpointID = string(e.ID)
	}
	switch d.Status {
	case delivery.Delivered, delivery.Exhausted, delivery.Discarded, delivery.Superseded:
		page.Ended = !gone && !page.Erased
	case delivery.Retrying:
		page.Waits = !gone
	}
	if !hidden {
		page.Body, _ = pretty(string(d.Body), maxWhole)
	}
	for i := range d.Attempts {
		page.Attempts = append(page.Attempts, p.attempt(l, d, d.Attempts[i], e, gone, hidden))
	}
	if n := len(page.Attempts); n > 0 {
		page.Attempts[n-1].Open = true
	}
	return p.render(w, http.StatusOK, "delivery", page)
}

func (p *Portal) attempt(l lang, d delivery.Detail, a delivery.AttemptView, e subscription.Endpoint, gone, hidden bool) attemptView {
	request := d.Request(a, delivery.UserAgent(p.version))
	v := attemptView{
		N: a.N, At: l.at(a.At), Took: took(a.Duration), Replay: a.Replay, Reason: l.t(a.Reason), Sent: sentOf(request, a.Response),
		Stages: l.stages(a.Step, a.Delivered, a.Token != nil || a.Step == delivery.StepToken), Next: l.at(a.NextAt), Token: l.exchange(a.Token),
	}
	v.Sent.Text = http.StatusText(v.Sent.Status)
	switch {
	case a.Delivered:
		v.Verdict = says{good, l.t("Accepted"), ""}
	default:
		v.Verdict = says{bad, l.t("Failed"), l.t("at the step “%s”", l.stepName(a.Step))}
		m := modeNone
		if !gone {
			m = modeOf(e)
		}
		v.Hint = l.hint(a.Step, statusOf(a.Response), a.Reason, m, a.Token)
	}
	v.Signature = l.signed(d, a, e, gone)
	v.Curl = curlOf(request)
	if hidden {
		v.Sent.Body, v.Sent.ReplyBody, v.Sent.Hidden, v.Curl = "", "", true, ""
		if v.Token != nil {
			v.Token.Sent.Body, v.Token.Sent.ReplyBody, v.Token.Sent.Hidden = "", "", true
		}
	}
	return v
}

// signed tells whether an attempt's signature can be verified with the secrets
// that the endpoint has now.
func (l lang) signed(d delivery.Detail, a delivery.AttemptView, e subscription.Endpoint, gone bool) says {
	if gone || a.Signature == "" || len(d.Body) == 0 {
		return says{quiet, l.t("Not checked"), ""}
	}
	h := http.Header{}
	h.Set(signature.HeaderID, d.EventID)
	h.Set(signature.HeaderTimestamp, strconv.FormatInt(a.Timestamp, 10))
	h.Set(signature.HeaderSignature, a.Signature)
	for i, s := range e.SigningSecrets {
		key, err := signature.ParseSecret(s.Secret.Reveal())
		if err != nil || signature.Verify(h, d.Body, time.Unix(a.Timestamp, 0), key) != nil {
			continue
		}
		if i == 0 {
			return says{good, l.t("Valid"), l.t("by the endpoint's present secret")}
		}
		return says{good, l.t("Valid"), l.t("by a former secret of the endpoint")}
	}
	return says{warn, l.t("Not by today's secrets"), l.t("The secret was rotated since.")}
}

// curlOf writes a request as a command for a shell. Secrets are masked in it as
// they are on the page.
func curlOf(r delivery.Request) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	var b strings.Builder
	b.WriteString("curl -sS -X " + r.Method + " " + quote(r.URL))
	for _, h := range r.Headers {
		b.WriteString(" \\\n  -H " + quote(h.Name+": "+h.Value))
	}
	b.WriteString(" \\\n  --data-raw " + quote(r.Body))
	return b.String()
}
