package portal

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// endpointsPerPage is how many endpoints one page lists. Ours.
const endpointsPerPage = 25

// endpointItem is an endpoint in a list.
type endpointItem struct {
	Kind    string // Subscription, Interceptor, Mail sender
	Name    string // may be empty
	ID      string
	URL     string
	Feed    string
	Auth    string
	Status  says
	Backlog says
	Circuit says
	Trend   trend
}

type endpointsPage struct {
	frame
	Notice    string
	Endpoints []endpointItem
	Total     int
	Newer     string // query of the page before; empty: this is the first
	Older     string
	Failed    bool
}

func (p *Portal) endpointList(w http.ResponseWriter, r *http.Request, s session) error {
	f, err := p.signedFrame(r, s, "Endpoints")
	if err != nil {
		return err
	}
	page := endpointsPage{frame: f, Notice: f.notice(r)}
	from, err := strconv.Atoi(r.URL.Query().Get("from"))
	if err != nil || from < 0 {
		from = 0
	}
	page.Endpoints, page.Total, err = p.endpointItems(r.Context(), f.Lang, s, from, endpointsPerPage)
	status := http.StatusOK
	if err != nil {
		page.Failed, status = true, http.StatusServiceUnavailable
		p.log.ErrorContext(r.Context(), "read endpoints", "application", string(s.app), "error", err)
	}
	if from > 0 {
		page.Newer = "?from=" + strconv.Itoa(max(from-endpointsPerPage, 0))
	}
	if from+len(page.Endpoints) < page.Total {
		page.Older = "?from=" + strconv.Itoa(from+endpointsPerPage)
	}
	return p.render(w, status, "endpoints", page)
}

// endpointItems reads a page of endpoints of all kinds and how they do, and how
// many there are.
func (p *Portal) endpointItems(ctx context.Context, l lang, s session, from, limit int) ([]endpointItem, int, error) {
	es, total, err := p.store.Endpoints(ctx, s.app, store.EndpointQuery{Offset: from, Limit: limit})
	if err != nil {
		return nil, 0, err
	}
	now := time.Now()
	var items []endpointItem
	for _, e := range es {
		h, err := p.store.Health(ctx, s.app, e.ID)
		if fault.KindOf(err) == fault.NotFound {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, 0, err
		}
		items = append(items, p.endpointItem(l, e, h, now))
	}
	return items, total, p.trends(ctx, l, s, items)
}

func (p *Portal) endpointItem(l lang, e subscription.Endpoint, h delivery.Health, now time.Time) endpointItem {
	return endpointItem{
		Kind: l.kind(e), Name: e.Name, ID: string(e.ID), URL: addressOf(e), Feed: l.feed(e), Auth: l.authName(modeOf(e)),
		Status: l.statusWords(e, h), Backlog: l.backlogWords(h, now), Circuit: l.circuitWords(h.Breaker),
	}
}

// addressOf is where an endpoint is, its secrets masked.
func addressOf(e subscription.Endpoint) string {
	if e.Style == subscription.MailSender {
		return "smtp://" + e.Mail.Host + ":" + strconv.Itoa(e.Mail.Port)
	}
	return e.MaskedURL()
}

func (l lang) kind(e subscription.Endpoint) string {
	switch e.Style {
	case subscription.Interceptor:
		return l.t("Interceptor")
	case subscription.MailSender:
		return l.t("Mail sender")
	}
	return l.t("Subscription")
}

// feed tells what an endpoint hears.
func (l lang) feed(e subscription.Endpoint) string {
	switch {
	case e.Style == subscription.MailSender:
		return l.t("mails to citizens")
	case e.Feed == event.LifecyclePayment:
		return l.t("payment consents")
	case e.Style == subscription.Interceptor:
		return l.t("data consents")
	case len(e.EventTypes) > 0:
		return l.n(len(e.EventTypes), "1 listed event type", "%s listed event types")
	}
	return string(e.UpdateType)
}

// endpoint returns an endpoint of the session's application, of whatever kind.
func (p *Portal) endpoint(r *http.Request, s session) (subscription.Endpoint, error) {
	id := r.PathValue("endpoint")
	style := subscription.Subscription
	switch {
	case strings.HasPrefix(id, "int_"):
		style = subscription.Interceptor
	case strings.HasPrefix(id, "mls_"):
		style = subscription.MailSender
	}
	return p.store.Endpoint(r.Context(), s.app, style, subscription.ID(id))
}

// endpointPage is one endpoint: how it does, and what can be done about it.
type endpointPage struct {
	frame
	Notice string
	endpointItem
	MailSender bool
	Active     bool
	Paused     bool
	Suspended  bool
	Since      moment // of the status
	Facts      []fact
	Diagnosis  *diagnosis
	Exchange   *exchangeView // the request for a token that failed last
	Discarded  int
	Lost       says
	Jobs       []jobItem
	Recent     []deliveryItem
	Trial      *trialView // a test that was just made
	Secret     string     // a signing secret that is shown this once
	Stream     string     // address of the live list
}

// fact is a setting in words.
type fact struct {
	Label, Value string
	Code         bool
}

// jobItem is a replay and how far it is.
type jobItem struct {
	ID      string
	At      moment
	Done    int
	Total   int
	Ended   bool
	Percent int
}

func (p *Portal) endpointView(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	page, err := p.endpointPage(r, s, e)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "endpoint", page)
}

// recentListed is how many deliveries an endpoint's page lists. Ours.
const recentListed = 10

func (p *Portal) endpointPage(r *http.Request, s session, e subscription.Endpoint) (*endpointPage, error) {
	ctx := r.Context()
	f, err := p.signedFrame(r, s, "Endpoint")
	if err != nil {
		return nil, err
	}
	l, now := f.Lang, time.Now()
	h, err := p.store.Health(ctx, s.app, e.ID)
	if err != nil {
		return nil, err
	}
	page := &endpointPage{
		frame: f, Notice: f.notice(r), endpointItem: p.endpointItem(l, e, h, now), MailSender: e.Style == subscription.MailSender,
		Active: e.Status == subscription.Active, Paused: e.Status == subscription.Paused, Suspended: e.Status == subscription.Suspended,
		Since: l.at(e.StatusSince), Facts: l.facts(e), Diagnosis: l.diagnose(e, h), Discarded: h.Discarded,
		Stream: p.base() + "/deliveries/stream?endpoint=" + url.QueryEscape(string(e.ID)) + "&limit=" + strconv.Itoa(recentListed),
	}
	if h.Lost.Deliveries > 0 {
		page.Lost = says{bad, l.n(h.Lost.Deliveries, "1 lost", "%s lost"), l.t("Retention took them before they could be delivered, up to %s.", l.at(h.Lost.RecordedUpto).Text)}
	}
	if x := h.Hold.Exchange; x != nil && h.Hold.Held() {
		page.Exchange = l.exchange(x)
	}
	items := []endpointItem{page.endpointItem}
	if err := p.trends(ctx, l, s, items); err != nil {
		return nil, err
	}
	page.Trend = items[0].Trend
	if page.Jobs, err = p.jobItems(ctx, l, s, e.ID); err != nil {
		return nil, err
	}
	list, _, err := p.store.Deliveries(ctx, s.app, store.DeliveryQuery{Endpoint: e.ID, Limit: recentListed})
	if err != nil {
		return nil, err
	}
	page.Recent, err = p.deliveryItems(ctx, l, s, list)
	if page.Name != "" {
		page.Title = page.Name
	}
	return page, err
}

// facts puts an endpoint's settings in words; no secret among them.
func (l lang) facts(e subscription.Endpoint) []fact {
	out := []fact{{l.t("Registered"), l.at(e.CreatedAt).Text, false}, {l.t("Changed"), l.at(e.UpdatedAt).Text, false}, {l.t("Told of"), l.feed(e), false}}
	add := func(label, value string, code bool) {
		if value != "" {
			out = append(out, fact{label, value, code})
		}
	}
	var types []string
	for _, t := range e.EventTypes {
		types = append(types, string(t))
	}
	add(l.t("Event types"), strings.Join(types, ", "), true)
	add(l.t("Authentication"), l.authName(modeOf(e)), false)
	a := e.Auth
	switch modeOf(e) {
	case modeAPIKey:
		add(l.t("Key"), a.APIKey.Key+" ("+a.APIKey.Location+")", true)
	case modeBasic:
		add(l.t("User"), a.Basic.User, true)
	case modeRefresh:
		add(l.t("Refresh URL"), a.Bearer.RefreshURL, true)
		add(l.t("Client ID"), a.Bearer.ClientID, true)
	case modeOAuth2:
		add(l.t("Token URL"), a.OAuth2.AuthenticationURL, true)
		add(l.t("Client ID"), a.OAuth2.ClientID, true)
		add(l.t("Scope"), a.OAuth2.Scope, true)
	}
	var waits []string
	for _, d := range e.RetrySchedule {
		waits = append(waits, subscription.FormatWait(d))
	}
	add(l.t("Retry schedule"), strings.Join(waits, ", "), true)
	if e.Timeout > 0 {
		add(l.t("Timeout"), exact(e.Timeout), false)
	}
	if e.RateLimit > 0 {
		add(l.t("Rate limit"), l.n(e.RateLimit, "1 request per second", "%s requests per second"), false)
	}
	if e.MaxInFlight > 0 {
		add(l.t("At once"), l.n(e.MaxInFlight, "1 request", "%s requests"), false)
	}
	if e.Parts > 1 {
		add(l.t("Parts"), l.number(e.Parts), false)
	}
	if e.Style != subscription.MailSender {
		add(l.t("Signatures"), strings.Join(e.Signatures(), ", "), true)
	}
	add(l.t("Description"), e.Description, false)
	return out
}

// pausePage asks before a pause, or before it ends.
type pausePage struct {
	frame
	Name, ID  string
	Waiting   int
	AtLeast   bool
	Resume    bool
	Discarded int
	Suspended bool
}

func (p *Portal) askPause(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Pause this endpoint?")
	if err != nil {
		return err
	}
	h, err := p.store.Health(r.Context(), s.app, e.ID)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "pause", pausePage{
		frame: f, Name: nameOf(e), ID: string(e.ID), Waiting: h.Backlog, AtLeast: h.AtLeast, Discarded: h.Discarded,
		Suspended: e.Status == subscription.Suspended,
	})
}

// nameOf is what an endpoint is called: without a name, by its address.
func nameOf(e subscription.Endpoint) string {
	if e.Name != "" {
		return e.Name
	}
	return strings.TrimPrefix(strings.TrimPrefix(addressOf(e), "https://"), "http://")
}

// setStatus pauses an endpoint, or sets it active.
func (p *Portal) setStatus(to subscription.Status, done string) handler {
	return func(w http.ResponseWriter, r *http.Request, s session) error {
		e, err := p.endpoint(r, s)
		if err != nil {
			return err
		}
		_, err = p.app.EditEndpoint(r.Context(), s.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
			cur.Status = to
			return app.Edit{Endpoint: cur, Discard: to == subscription.Paused}, nil
		})
		if err != nil {
			return err
		}
		p.toEndpoint(w, r, e.ID, done)
		return nil
	}
}

// toEndpoint leads to an endpoint's page after a write.
func (p *Portal) toEndpoint(w http.ResponseWriter, r *http.Request, id subscription.ID, done string) {
	http.Redirect(w, r, p.base()+"/endpoints/"+url.PathEscape(string(id))+"?done="+done, http.StatusSeeOther)
}

// rotate makes a new signing secret and shows it, this once: so there is no
// redirect.
func (p *Portal) rotate(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	fresh, err := p.app.RotateSecret(r.Context(), s.app, e.Style, e.ID)
	if err != nil {
		return err
	}
	page, err := p.endpointPage(r, s, e)
	if err != nil {
		return err
	}
	page.Secret = fresh.Reveal()
	return p.render(w, http.StatusOK, "endpoint", page)
}

// try makes a test request and shows what came of it. It changes nothing, so
// there is no redirect, which would have to keep the answer somewhere.
func (p *Portal) try(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	if err := p.app.TakeTest(string(e.ID)); err != nil {
		return err
	}
	t, err := p.tester.Test(r.Context(), e)
	if err != nil {
		return err
	}
	page, err := p.endpointPage(r, s, e)
	if err != nil {
		return err
	}
	page.Trial, page.Diagnosis = page.Lang.trial(e, t), nil // the test says what is the matter now
	return p.render(w, http.StatusOK, "endpoint", page)
}

// removePage asks before an endpoint is deleted.
type removePage struct {
	frame
	Name, ID string
	Waiting  int
}

func (p *Portal) askRemove(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	f, err := p.signedFrame(r, s, "Delete this endpoint?")
	if err != nil {
		return err
	}
	h, err := p.store.Health(r.Context(), s.app, e.ID)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "remove", removePage{f, nameOf(e), string(e.ID), h.Backlog})
}

func (p *Portal) remove(w http.ResponseWriter, r *http.Request, s session) error {
	e, err := p.endpoint(r, s)
	if err != nil {
		return err
	}
	if err := p.app.DeleteEndpoint(r.Context(), s.app, e.Style, e.ID); err != nil {
		return err
	}
	http.Redirect(w, r, p.base()+"/endpoints?done=removed", http.StatusSeeOther)
	return nil
}
