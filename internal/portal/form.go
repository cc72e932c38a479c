package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/wire"
)

// mode is a way to prove ourselves as people choose it: the types of the API,
// with the two kinds of token apart.
type mode string

const (
	modeNone    mode = "none"
	modeAPIKey  mode = "api-key"
	modeBasic   mode = "basic"
	modeToken   mode = "token"
	modeRefresh mode = "refresh"
	modeOAuth2  mode = "oauth2"
)

// modeOf returns how an endpoint proves itself.
func modeOf(e subscription.Endpoint) mode {
	if e.Auth.Type == "" {
		return modeNone
	}
	if e.Auth.Type == subscription.AuthToken && e.Auth.Bearer.RefreshURL != "" {
		return modeRefresh
	}
	return mode(e.Auth.Type)
}

func (l lang) authName(m mode) string {
	switch m {
	case modeAPIKey:
		return l.t("API key")
	case modeBasic:
		return l.t("User and password")
	case modeToken:
		return l.t("Fixed token")
	case modeRefresh:
		return l.t("Refresh token")
	case modeOAuth2:
		return l.t("OAuth 2.0 client credentials")
	}
	return l.t("None")
}

func (l lang) authHelp(m mode) string {
	switch m {
	case modeAPIKey:
		return l.t("A secret in a header field, or in the query.")
	case modeBasic:
		return l.t("HTTP Basic.")
	case modeToken:
		return l.t("A bearer token that you replace yourself.")
	case modeRefresh:
		return l.t("We get access tokens with it, as Salesforce wants it.")
	case modeOAuth2:
		return l.t("We get access tokens with a client ID and a secret.")
	}
	return l.t("Only the signature proves who sends.")
}

// field is an input of a form. Its name is the place of what it holds in the
// request that the API takes: so the rules' faults find it.
type field struct {
	Name    string // JSON Pointer
	ID      string
	Label   string
	Help    string
	Kind    string // text, url, secret, number, area, select
	Value   string
	Options []choice
	Fault   string
	Set     bool // of a secret: one is kept
	Example string
}

// group is the fields of one mode.
type group struct {
	Mode   mode
	Name   string
	Help   string
	Chosen bool
	Fields []*field
}

// places of the fields that are more than text.
const (
	atAuth       = "/authentication"
	atMode       = "mode" // of the form alone
	atEventTypes = "/eventTypes"
)

// form is the guided form of an endpoint.
type form struct {
	l           lang
	Interceptor bool
	ID          string // of the endpoint that is edited; empty: it is new
	Basics      []*field
	Groups      []*group
	More        []*field
	Types       []choice // event types, of a subscription
	TypesFault  string
	V1a         bool
	Other       string // a fault that belongs to no field
	Preview     string
	TokenAsk    string // the request for a token that comes before
}

func (f *form) fields() []*field {
	out := slices.Concat(f.Basics, f.More)
	for _, g := range f.Groups {
		out = append(out, g.Fields...)
	}
	return out
}

// newForm returns the form of a new endpoint with nothing typed.
func (l lang) newForm(interceptor bool) *form {
	f := &form{l: l, Interceptor: interceptor}
	if interceptor {
		f.Basics = []*field{
			{Name: "/endpoint", Label: l.t("Address"), Kind: "url", Help: l.t("https, and reachable from the Internet."), Example: "https://example.org/hooks"},
			{Name: "/type", Label: l.t("Told of"), Kind: "select", Value: "DATA", Options: []choice{{Value: "DATA", Label: l.t("data consents")}, {Value: "PAYMENT", Label: l.t("payment consents")}}},
		}
		f.Groups = []*group{{Mode: modeNone}, {Mode: modeBasic, Fields: []*field{
			{Name: "/user", Label: l.t("User"), Kind: "text", Example: "user"},
			{Name: "/password", Label: l.t("Password"), Kind: "secret", Example: "secret"},
		}}}
	} else {
		f.Basics = []*field{
			{Name: "/name", Label: l.t("Name"), Kind: "text", Help: l.t("What you want to call it; may be empty."), Example: ""},
			{Name: "/url", Label: l.t("Address"), Kind: "url", Help: l.t("https, and reachable from the Internet."), Example: "https://example.org/hooks"},
			{Name: "/updateType", Label: l.t("Told of"), Kind: "select", Value: string(subscription.EffectivePermission), Options: []choice{
				{Value: string(subscription.EffectivePermission), Label: l.t("the full state after each update (effective-permission)")},
				{Value: string(subscription.ConsentReceipts), Label: l.t("what each update changed (consent-receipts)")},
				{Value: string(subscription.CitizenEmails), Label: l.t("mails to be sent (citizen-emails)")},
			}},
		}
		f.Groups = subscriptionGroups(l)
		f.More = []*field{
			{Name: "/description", Label: l.t("Description"), Kind: "text"},
			{Name: "/retrySchedule", Label: l.t("Retry schedule"), Kind: "text", Help: l.t("Waits between attempts, e.g. 5s, 5m, 2h. Empty: the server's.")},
			{Name: "/timeoutSeconds", Label: l.t("Timeout in seconds"), Kind: "number", Help: l.t("1 to 60. Empty: the server's.")},
			{Name: "/rateLimit", Label: l.t("Requests per second"), Kind: "number", Help: l.t("1 to 10,000. Empty: no limit.")},
			{Name: "/maxInFlight", Label: l.t("Requests at once"), Kind: "number", Help: l.t("1 to 1,024. Empty: 64.")},
			{Name: "/onBacklog", Label: l.t("When several states of a citizen wait"), Kind: "select", Value: "all", Options: []choice{{Value: "all", Label: l.t("send each")}, {Value: "latest", Label: l.t("send the newest only")}}},
		}
		for _, t := range slices.Concat(event.Lifecycle(), []event.Type{event.PermissionsDelta, event.PermissionsEffective, event.CitizenEmail, event.WebhookStatusChanged}) {
			f.Types = append(f.Types, choice{Value: string(t), Label: string(t)})
		}
	}
	for _, g := range f.Groups {
		g.Name, g.Help, g.Chosen = l.authName(g.Mode), l.authHelp(g.Mode), g.Mode == modeNone
	}
	for _, x := range f.fields() {
		x.ID = "f" + strings.ReplaceAll(x.Name, "/", "-")
	}
	return f
}

func subscriptionGroups(l lang) []*group {
	const auth = atAuth
	return []*group{
		{Mode: modeNone},
		{Mode: modeAPIKey, Fields: []*field{
			{Name: auth + "/apiKeyAuth/location", Label: l.t("Where"), Kind: "select", Value: "header", Options: []choice{{Value: "header", Label: l.t("header field")}, {Value: "query", Label: l.t("query (may end up in logs)")}}},
			{Name: auth + "/apiKeyAuth/key", Label: l.t("Its name"), Kind: "text", Example: "X-API-Key"},
			{Name: auth + "/apiKeyAuth/value", Label: l.t("The key"), Kind: "secret", Example: "secret"},
		}},
		{Mode: modeBasic, Fields: []*field{
			{Name: auth + "/basicAuth/user", Label: l.t("User"), Kind: "text", Example: "user"},
			{Name: auth + "/basicAuth/password", Label: l.t("Password"), Kind: "secret", Example: "secret"},
		}},
		{Mode: modeToken, Fields: []*field{{Name: auth + "/token", Label: l.t("Token"), Kind: "secret", Example: "secret"}}},
		{Mode: modeRefresh, Fields: []*field{
			{Name: auth + "/refreshUrl", Label: l.t("Refresh URL"), Kind: "url", Example: "https://login.example.org/token"},
			{Name: auth + "/refreshToken", Label: l.t("Refresh token"), Kind: "secret", Example: "secret"},
			{Name: auth + "/clientId", Label: l.t("Client ID"), Kind: "text", Help: l.t("Salesforce wants that of the connected app."), Example: ""},
			{Name: auth + "/clientSecret", Label: l.t("Client secret"), Kind: "secret", Example: ""},
		}},
		{Mode: modeOAuth2, Fields: []*field{
			{Name: auth + "/oauth2Auth/authenticationUrl", Label: l.t("Token URL"), Kind: "url", Example: "https://login.example.org/token"},
			{Name: auth + "/oauth2Auth/clientId", Label: l.t("Client ID"), Kind: "text", Example: "client"},
			{Name: auth + "/oauth2Auth/clientSecret", Label: l.t("Client secret"), Kind: "secret", Example: "secret"},
			{Name: auth + "/oauth2Auth/scope", Label: l.t("Scope"), Kind: "text", Help: l.t("May be empty."), Example: ""},
			{Name: auth + "/oauth2Auth/audience", Label: l.t("Audience"), Kind: "text", Help: l.t("May be empty."), Example: ""},
			{Name: auth + "/oauth2Auth/contentType", Label: l.t("The request for a token is"), Kind: "select", Value: subscription.ContentForm, Options: []choice{{Value: subscription.ContentForm, Label: l.t("a form")}, {Value: subscription.ContentJSON, Label: "JSON"}}},
			{Name: auth + "/oauth2Auth/clientAuthMethod", Label: l.t("The client authenticates"), Kind: "select", Value: subscription.ClientAuthAuto, Options: []choice{
				{Value: subscription.ClientAuthAuto, Label: l.t("as the server wants it (auto)")}, {Value: subscription.ClientAuthBasic, Label: l.t("in the header (basic)")}, {Value: subscription.ClientAuthBody, Label: l.t("in the body (body)")},
			}},
		}},
	}
}

// chosen returns the mode that is chosen.
func (f *form) chosen() mode {
	for _, g := range f.Groups {
		if g.Chosen {
			return g.Mode
		}
	}
	return modeNone
}

func (f *form) choose(m mode) {
	for _, g := range f.Groups {
		g.Chosen = g.Mode == m
	}
}

// fill takes over what was typed.
func (f *form) fill(v url.Values) {
	f.choose(mode(v.Get(atMode)))
	for _, x := range f.fields() {
		x.Value = strings.TrimSpace(v.Get(x.Name))
		if x.Kind == "secret" {
			x.Value = v.Get(x.Name)
		}
	}
	f.V1a = v.Get("v1a") != ""
	for i := range f.Types {
		f.Types[i].Chosen = slices.Contains(v[atEventTypes], f.Types[i].Value)
	}
}

// show takes over an endpoint as it is; of a secret only that there is one.
func (f *form) show(e subscription.Endpoint) {
	f.ID = string(e.ID)
	f.choose(modeOf(e))
	a := e.Auth
	values := map[string]string{
		"/endpoint": e.URL, "/type": "DATA", "/user": a.Basic.User,
		"/name": e.Name, "/url": e.URL, "/updateType": string(e.UpdateType), "/description": e.Description, "/onBacklog": string(e.OnBacklog),
		atAuth + "/apiKeyAuth/location": a.APIKey.Location, atAuth + "/apiKeyAuth/key": a.APIKey.Key, atAuth + "/basicAuth/user": a.Basic.User,
		atAuth + "/refreshUrl": a.Bearer.RefreshURL, atAuth + "/clientId": a.Bearer.ClientID,
		atAuth + "/oauth2Auth/authenticationUrl": a.OAuth2.AuthenticationURL, atAuth + "/oauth2Auth/clientId": a.OAuth2.ClientID,
		atAuth + "/oauth2Auth/scope": a.OAuth2.Scope, atAuth + "/oauth2Auth/audience": a.OAuth2.Audience,
		atAuth + "/oauth2Auth/contentType": a.OAuth2.ContentType, atAuth + "/oauth2Auth/clientAuthMethod": a.OAuth2.ClientAuthMethod,
	}
	if e.Feed == event.LifecyclePayment {
		values["/type"] = "PAYMENT"
	}
	number := func(place string, n int) {
		if n > 0 {
			values[place] = strconv.Itoa(n)
		}
	}
	number("/timeoutSeconds", int(e.Timeout/time.Second))
	number("/rateLimit", e.RateLimit)
	number("/maxInFlight", e.MaxInFlight)
	var waits []string
	for _, d := range e.RetrySchedule {
		waits = append(waits, subscription.FormatWait(d))
	}
	values["/retrySchedule"] = strings.Join(waits, ", ")
	set := map[string]bool{
		"/password": a.Basic.Password.IsSet(), atAuth + "/basicAuth/password": a.Basic.Password.IsSet(), atAuth + "/apiKeyAuth/value": a.APIKey.Value.IsSet(),
		atAuth + "/token": a.Bearer.Token.IsSet(), atAuth + "/refreshToken": a.Bearer.RefreshToken.IsSet(), atAuth + "/clientSecret": a.Bearer.ClientSecret.IsSet(),
		atAuth + "/oauth2Auth/clientSecret": a.OAuth2.ClientSecret.IsSet(),
	}
	for _, x := range f.fields() {
		if v := values[x.Name]; v != "" || len(x.Options) == 0 {
			x.Value = v
		}
		x.Set = set[x.Name]
	}
	f.V1a = e.Asymmetric
	for i := range f.Types {
		f.Types[i].Chosen = slices.Contains(e.EventTypes, event.Type(f.Types[i].Value))
	}
}

// request writes what the API would be sent: a whole endpoint, or a merge patch
// of the one that is edited. replaced are values in the place of those typed.
func (f *form) request(replaced map[string]string) body.Node {
	n, m := body.OfObject(), f.chosen()
	put := func(place string, v body.Node) { n = within(n, strings.Split(place, "/")[1:], v) }
	if f.Interceptor {
		put("/isAuthenticated", body.OfBool(m == modeBasic))
		if m == modeBasic {
			put("/authenticationType", body.OfString("BASIC"))
		}
	} else {
		put(atAuth+"/authType", body.OfString(authType(m)))
	}
	for _, x := range slices.Concat(f.Basics, f.More, f.groupFields(m)) {
		v := x.Value
		if other, ok := replaced[x.Name]; ok {
			v = other
		}
		switch {
		case v == "" && (f.ID == "" || f.Interceptor || x.Kind == "secret"):
		case v == "":
			put(x.Name, body.Node{}) // null: it is taken away
		case x.Name == "/retrySchedule":
			var waits []body.Node
			for _, w := range strings.Split(v, ",") {
				waits = append(waits, body.OfString(strings.TrimSpace(w)))
			}
			put(x.Name, body.OfArray(waits...))
		case x.Kind == "number":
			if i, err := strconv.ParseInt(v, 10, 64); err == nil {
				put(x.Name, body.OfInt(i))
				break
			}
			put(x.Name, body.OfString(v)) // which the rules then refuse
		default:
			put(x.Name, body.OfString(v))
		}
	}
	if m == modeOAuth2 {
		put(atAuth+"/oauth2Auth/grantType", body.OfString(subscription.ClientCredentials))
	}
	if f.ID != "" && m == modeToken { // what a refresh token left
		for _, name := range []string{"refreshToken", "refreshUrl", "clientId", "clientSecret"} {
			put(atAuth+"/"+name, body.Node{})
		}
	}
	if !f.Interceptor {
		var types []body.Node
		for _, t := range f.Types {
			if t.Chosen {
				types = append(types, body.OfString(t.Value))
			}
		}
		switch {
		case len(types) > 0:
			put(atEventTypes, body.OfArray(types...))
		case f.ID != "":
			put(atEventTypes, body.Node{})
		}
		signatures := []body.Node{body.OfString(subscription.SignatureV1)}
		if f.V1a {
			signatures = append(signatures, body.OfString(subscription.SignatureV1a))
		}
		put("/signatures", body.OfArray(signatures...))
	}
	return n
}

func authType(m mode) string {
	if m == modeRefresh {
		return string(subscription.AuthToken)
	}
	return string(m)
}

func (f *form) groupFields(m mode) []*field {
	for _, g := range f.Groups {
		if g.Mode == m {
			return g.Fields
		}
	}
	return nil
}

// within returns n with the member at a place set.
func within(n body.Node, place []string, v body.Node) body.Node {
	if len(place) == 1 {
		return n.With(place[0], v)
	}
	child, ok := n.Member(place[0])
	if !ok {
		child = body.OfObject()
	}
	return n.With(place[0], within(child, place[1:], v))
}

// read checks a request by the API's own rules and returns the endpoint that
// it makes of cur.
func (p *Portal) read(f *form, n body.Node, cur subscription.Endpoint) (subscription.Endpoint, error) {
	switch {
	case f.Interceptor && f.ID != "":
		return wire.ReplaceInterceptor(n, cur, p.check)
	case f.Interceptor:
		return wire.CreateInterceptor(n, p.check)
	case f.ID != "":
		e, _, err := wire.PatchSubscription(n, cur, p.check)
		return e, err
	}
	return wire.CreateSubscription(n, p.check)
}

// faults puts the rules' faults at their fields.
func (f *form) faults(err error) {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || len(e.Fields) == 0 {
		f.Other = f.l.t(err.Error())
		if ok {
			f.Other = f.l.t(e.Msg)
			for _, x := range f.fields() {
				if x.Name == e.Field {
					x.Fault, f.Other = f.Other, ""
				}
			}
		}
		return
	}
	for _, x := range f.fields() {
		for _, at := range e.Fields {
			if at.Path == x.Name || strings.HasPrefix(at.Path, x.Name+"/") {
				x.Fault = f.l.t(at.Msg)
			}
		}
	}
	for _, at := range e.Fields {
		switch {
		case at.Path == atEventTypes || strings.HasPrefix(at.Path, atEventTypes+"/"):
			f.TypesFault = f.l.t(at.Msg)
		case !slices.ContainsFunc(f.fields(), func(x *field) bool {
			return x.Fault != "" && (at.Path == x.Name || strings.HasPrefix(at.Path, x.Name+"/"))
		}):
			f.Other = f.l.t(at.Msg)
		}
	}
}

// preview shows the request that the endpoint would get. What is not typed yet,
// or wrong, is an example.
func (p *Portal) preview(f *form, cur subscription.Endpoint) {
	replaced := map[string]string{}
	for range 4 {
		e, err := p.read(f, f.request(replaced), cur)
		if err == nil {
			f.Preview, f.TokenAsk = p.example(e), tokenAsk(e)
			return
		}
		fe, ok := errors.AsType[*fault.Error](err)
		if !ok {
			return
		}
		for _, x := range f.fields() {
			for _, at := range fe.Fields {
				if at.Path == x.Name || strings.HasPrefix(at.Path, x.Name+"/") {
					replaced[x.Name] = x.Example
				}
			}
		}
	}
}

// example writes the request that an endpoint gets for an event of its feed.
func (p *Portal) example(e subscription.Endpoint) string {
	doc := p.docFor(e)
	d := delivery.Detail{View: delivery.View{EventID: "evt_…", Subject: "con_…", Sequence: 1}, Body: doc.Example}
	if !doc.Type.IsLifecycle() {
		d.Subject = "ctz_…"
	}
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	signature := "v1,…"
	if e.Asymmetric {
		signature += " v1a,…"
	}
	a := delivery.AttemptView{
		Attempt: delivery.Attempt{N: 1, Timestamp: at.Unix(), InteractionID: "…", Signature: signature},
		Shown:   delivery.NewShown(e.MaskedURL(), e.MaskedHeaders()),
	}
	return rawRequest(d.Request(a, delivery.UserAgent(p.version)))
}

// rawRequest writes a request as it goes over the wire, indented.
func rawRequest(r delivery.Request) string {
	var b strings.Builder
	host, path := r.URL, "/"
	if u, err := url.Parse(r.URL); err == nil {
		host, path = u.Host, u.RequestURI()
	}
	b.WriteString(r.Method + " " + path + " HTTP/1.1\nHost: " + host + "\n")
	for _, h := range r.Headers {
		b.WriteString(h.Name + ": " + h.Value + "\n")
	}
	text, _ := pretty(r.Body, maxWhole)
	b.WriteString("\n" + text)
	return b.String()
}

// tokenAsk writes the request for a token that an endpoint's deliveries need,
// secrets masked; empty: they need none.
func tokenAsk(e subscription.Endpoint) string {
	const mask = "***"
	form := url.Values{}
	r := delivery.Request{Method: http.MethodPost, Headers: []delivery.Header{{Name: "Accept", Value: "application/json"}}}
	switch modeOf(e) {
	case modeOAuth2:
		a := e.Auth.OAuth2
		r.URL = a.AuthenticationURL
		form.Set("grant_type", "client_credentials")
		if a.Scope != "" {
			form.Set("scope", a.Scope)
		}
		if a.Audience != "" {
			form.Set("audience", a.Audience)
		}
		if a.ContentType == subscription.ContentJSON || a.ClientAuthMethod == subscription.ClientAuthBody {
			form.Set("client_id", a.ClientID)
			form.Set("client_secret", mask)
		} else {
			r.Headers = append(r.Headers, delivery.Header{Name: "Authorization", Value: "Basic " + mask})
		}
		if a.ContentType == subscription.ContentJSON {
			members := map[string]string{}
			for k := range form {
				members[k] = form.Get(k)
			}
			text, err := json.Marshal(members)
			if err != nil {
				return ""
			}
			r.Headers, r.Body = append(r.Headers, delivery.Header{Name: "Content-Type", Value: "application/json"}), string(text)
			return rawRequest(r)
		}
	case modeRefresh:
		a := e.Auth.Bearer
		r.URL = a.RefreshURL
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", mask)
		if a.ClientID != "" {
			form.Set("client_id", a.ClientID)
		}
		if a.ClientSecret.IsSet() {
			form.Set("client_secret", mask)
		}
	default:
		return ""
	}
	r.Headers = append(r.Headers, delivery.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"})
	r.Body = strings.ReplaceAll(form.Encode(), url.QueryEscape(mask), mask)
	return rawRequest(r)
}

// formPage is the page of the form.
type formPage struct {
	frame
	Form    *form
	Back    string
	Check   string // address that checks what was typed so far
	Invalid bool
}

// formFor returns the form of the address, and the endpoint that it edits.
func (p *Portal) formFor(r *http.Request, s session, l lang) (*form, subscription.Endpoint, error) {
	if r.PathValue("endpoint") == "" {
		return l.newForm(r.PathValue("kind") == "interceptor"), subscription.Endpoint{}, nil
	}
	e, err := p.endpoint(r, s)
	if err == nil && e.Style == subscription.MailSender {
		err = fault.New(fault.NotFound, "not_found", "A mail sender is changed by PUT /v1/mail-sender.")
	}
	f := l.newForm(e.Style == subscription.Interceptor)
	f.ID = string(e.ID)
	return f, e, err
}

func (p *Portal) showForm(w http.ResponseWriter, r *http.Request, s session, status int, f *form) error {
	title, back, check := "New subscription", p.base()+"/endpoints", p.base()+"/new/subscription/check"
	if f.Interceptor {
		title, check = "New interceptor", p.base()+"/new/interceptor/check"
	}
	if f.ID != "" {
		title, back = "Edit endpoint", back+"/"+url.PathEscape(f.ID)
		check = back + "/check"
	}
	fr, err := p.signedFrame(r, s, title)
	if err != nil {
		return err
	}
	return p.render(w, status, "endpoint-form", formPage{fr, f, back, check, status != http.StatusOK})
}

// newEndpoint shows the form of a new endpoint. Its address may come with the
// page: a bin's does.
func (p *Portal) newEndpoint(w http.ResponseWriter, r *http.Request, s session) error {
	if kind := r.PathValue("kind"); kind != "subscription" && kind != "interceptor" {
		return fault.New(fault.NotFound, "not_found", "There is no such page.")
	}
	f, cur, err := p.formFor(r, s, langOf(r))
	if err != nil {
		return err
	}
	for _, x := range f.Basics {
		if v := r.URL.Query().Get("address"); x.Kind == "url" && v != "" {
			x.Value = v
		}
	}
	p.preview(f, cur)
	return p.showForm(w, r, s, http.StatusOK, f)
}

func (p *Portal) editEndpoint(w http.ResponseWriter, r *http.Request, s session) error {
	f, cur, err := p.formFor(r, s, langOf(r))
	if err != nil {
		return err
	}
	f.show(cur)
	p.preview(f, cur)
	return p.showForm(w, r, s, http.StatusOK, f)
}

// checked is what a form is told while it is typed.
type checked struct {
	Faults   map[string]string `json:"faults"` // by the field's name
	Preview  string            `json:"preview"`
	TokenAsk string            `json:"tokenAsk"`
}

// checkForm checks what was typed so far and changes nothing.
func (p *Portal) checkForm(w http.ResponseWriter, r *http.Request, s session) error {
	f, cur, err := p.formFor(r, s, langOf(r))
	if err != nil {
		return err
	}
	f.fill(r.PostForm)
	out := checked{Faults: map[string]string{}}
	if _, err := p.read(f, f.request(nil), cur); err != nil {
		f.faults(err)
	}
	for _, x := range f.fields() {
		if x.Fault != "" {
			out.Faults[x.Name] = x.Fault
		}
	}
	p.preview(f, cur)
	out.Preview, out.TokenAsk = f.Preview, f.TokenAsk
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(out)
}

// saveEndpoint makes an endpoint, or changes one. Faults come back with the
// form, each at its field, with what was typed but for secrets.
func (p *Portal) saveEndpoint(w http.ResponseWriter, r *http.Request, s session) error {
	f, cur, err := p.formFor(r, s, langOf(r))
	if err != nil {
		return err
	}
	f.fill(r.PostForm)
	n := f.request(nil)
	next, err := p.read(f, n, cur)
	var made subscription.Endpoint
	switch {
	case err != nil:
	case f.ID == "":
		made, err = p.app.CreateEndpoint(r.Context(), s.app, next)
	default:
		_, err = p.app.EditEndpoint(r.Context(), s.app, cur.Style, cur.ID, func(now subscription.Endpoint) (app.Edit, error) {
			e, err := p.read(f, n, now)
			if cur.Style == subscription.Subscription {
				e.Status = now.Status
			}
			return app.Edit{Endpoint: e}, err
		})
	}
	if k := fault.KindOf(err); k == fault.Invalid || k == fault.Unprocessable || k == fault.Conflict {
		f.faults(err)
		p.preview(f, cur)
		for _, x := range f.fields() {
			x.Set = false
			if x.Kind == "secret" {
				x.Value = "" // never back onto a page
			}
		}
		if f.ID != "" {
			was := f.l.newForm(f.Interceptor)
			was.show(cur)
			for i, x := range was.fields() {
				f.fields()[i].Set = x.Set
			}
		}
		return p.showForm(w, r, s, http.StatusUnprocessableEntity, f)
	}
	if err != nil {
		return err
	}
	if f.ID != "" {
		p.toEndpoint(w, r, cur.ID, "saved")
		return nil
	}
	page, err := p.endpointPage(r, s, made)
	if err != nil {
		return err
	}
	// The signing secret is shown this once: so there is no redirect.
	page.Secret, page.Notice = made.SigningSecrets[0].Secret.Reveal(), page.Lang.t("The endpoint is registered.")
	return p.render(w, http.StatusOK, "endpoint", page)
}
