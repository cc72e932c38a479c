package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/telemetry"
)

const operatorBearer = "operator-bearer-of-at-least-32-characters"

// world is the face on a real store, with two applications that know nothing
// of each other.
type world struct {
	t       testing.TB
	face    http.Handler
	store   *relational.Store
	reader  *failing
	ops     []operation
	schemas map[string]*schema
	tester  *tester
	log     *lines
	ready   error
	master  *master
	ours    tenant
	theirs  tenant

	mu      sync.Mutex
	answers []string // every body that was answered
}

type tenant struct{ application, clientID, clientSecret, token string }

// tester answers every test request in the same way.
type tester struct {
	mu    sync.Mutex
	calls int
	to    []string // of mails
	trial delivery.Trial
	err   error
}

func (f *tester) Test(context.Context, subscription.Endpoint) (delivery.Trial, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.trial, f.err
}

func (f *tester) TestMail(_ context.Context, _ subscription.Endpoint, to string) (delivery.Trial, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.to = append(f.to, to)
	return f.trial, f.err
}

// master makes a new master key each time, in place of the configuration.
type master struct {
	keys *secret.Keyring
	err  error
}

func (m *master) Renew(context.Context) (string, error) {
	if m.err != nil {
		return "", m.err
	}
	if err := m.keys.Replace(secret.New(secret.RandomStd(32))); err != nil {
		return "", err
	}
	return m.keys.KeyID(), nil
}

// failing is a store whose list of events fails on command.
type failing struct {
	store.Reader
	err error
}

func (f *failing) Events(ctx context.Context, id access.ID, q store.EventQuery) ([]event.Event, string, error) {
	if f.err != nil {
		return nil, "", f.err
	}
	return f.Reader.Events(ctx, id, q)
}

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	keys, err := secret.ParseKeyring(secret.New(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))))
	if err != nil {
		t.Fatal(err)
	}
	st, err := relational.Open(context.Background(), sqlite.File{Dir: sqlitetest.Dir(t)}, relational.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	guard, err := egress.NewGuard(egress.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, store: st, reader: &failing{Reader: st}, master: &master{keys: keys}, log: &lines{}, schemas: byName(components()),
		tester: &tester{trial: delivery.Trial{
			Delivered: true, Step: delivery.StepResponse, Duration: 12345 * time.Microsecond,
			Request:  delivery.Request{Method: "POST", URL: "https://receiver.example/", Headers: []delivery.Header{{Name: "Authorization", Value: "Basic ***"}}, Body: "{}"},
			Response: &delivery.Response{Status: 204, Headers: []delivery.Header{{Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}}},
		}},
	}
	w.ops = (&server{}).operations()
	url := func() string { return "https://consentwire.example" }
	w.face = New(Options{
		App: app.New(app.Options{
			Store: st, Policy: consent.Policy{ApprovalTTL: time.Hour, ConsumptionTTL: 70 * time.Minute},
			Operator: secret.New(operatorBearer), Keys: w.master, PublicURL: url,
		}),
		Store: w.reader, Tester: w.tester,
		Check: func(raw string) error {
			if f := guard.CheckURL(raw); f != nil {
				return fault.At(fault.Invalid, f.Code, "", f.Msg)
			}
			return nil
		},
		Host: func(host string, port int, plain bool) error {
			if f := guard.CheckHost(host, uint16(port), plain); f != nil {
				return fault.New(fault.Invalid, f.Code, f.Msg)
			}
			return nil
		},
		Sink:    sink.New(sink.Options{Store: st, PublicURL: url}),
		Ready:   func(context.Context) error { return w.ready },
		Version: "1.2.3", PublicURL: url, Logger: telemetry.NewLogger(w.log, telemetry.JSON, slog.LevelDebug),
		Metrics: telemetry.NewMetrics("1.2.3", "abc"),
	})
	w.ours, w.theirs = w.tenant("ours"), w.tenant("theirs")
	return w
}

func (w *world) tenant(name string) tenant {
	w.t.Helper()
	var a struct{ ApplicationID, ClientID, ClientSecret string }
	w.call("POST", "/v1/applications", operatorBearer, fmt.Sprintf(`{"name":%q}`, name)).want(201).into(&a)
	var t struct {
		Token string `json:"access_token"`
	}
	w.call("POST", "/api/portal/onboard/v1/token", "", fmt.Sprintf(`{"client_id":%q,"client_secret":%q}`, a.ClientID, a.ClientSecret)).want(200).into(&t)
	return tenant{a.ApplicationID, a.ClientID, a.ClientSecret, t.Token}
}

// answered is one answer.
type answered struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	body   []byte
}

func (a answered) want(status int) answered {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got status %d, want %d; the answer: %s", a.asked, a.status, status, a.body)
	}
	return a
}

func (a answered) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: read %q: %v", a.asked, a.body, err)
	}
}

// text returns the text of a member, at a path of names joined by points.
func (a answered) text(path string) string {
	a.t.Helper()
	var v any
	a.into(&v)
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// items returns the items of a list.
func (a answered) items() []map[string]any {
	a.t.Helper()
	var l struct{ Items []map[string]any }
	a.into(&l)
	if l.Items == nil {
		a.t.Fatalf("%s: got no items in %s", a.asked, a.body)
	}
	return l.Items
}

// faults returns "path code" of every faulty place, sorted; of the envelope
// "title code".
func (a answered) faults() string {
	a.t.Helper()
	var p struct {
		Errors []struct{ Path, Code, Title string }
	}
	a.into(&p)
	var out []string
	for _, e := range p.Errors {
		place := e.Path
		if rest, is := strings.CutPrefix(e.Title, "Faulty field: "); is {
			place = "/" + rest
		}
		out = append(out, place+" "+e.Code)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// call sends a request as application/json, when there is a body.
func (w *world) call(method, target, bearer, content string, header ...string) answered {
	w.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(content))
	if content != "" {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Del(header[i])
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	return w.send(r)
}

// our sends a request of our application.
func (w *world) our(method, target, content string, header ...string) answered {
	w.t.Helper()
	return w.call(method, target, w.ours.token, content, header...)
}

// send carries out a request and holds the answer, and what was asked when it
// succeeds, to the document.
func (w *world) send(r *http.Request) answered {
	w.t.Helper()
	var sent []byte
	if r.Body != nil && r.Body != http.NoBody {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			w.t.Fatal(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	rec := httptest.NewRecorder()
	w.face.ServeHTTP(rec, r)
	a := answered{t: w.t, asked: r.Method + " " + r.URL.String(), status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	w.mu.Lock()
	w.answers = append(w.answers, string(a.body))
	w.mu.Unlock()
	if err := w.documented(r, sent, a); err != nil {
		w.t.Errorf("%s: %v; asked %.300s, got %d %.600s", a.asked, err, sent, a.status, a.body)
	}
	return a
}

// operation returns the row of the table that a request is about; HEAD is GET
// without its body.
func (w *world) operation(r *http.Request) *operation {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	parts := strings.Split(r.URL.EscapedPath(), "/")
	for i, op := range w.ops {
		want := strings.Split(op.path, "/")
		if op.method == method && len(parts) == len(want) && matches(want, parts) {
			return &w.ops[i]
		}
	}
	return nil
}

func matches(pattern, parts []string) bool {
	for i, p := range pattern {
		if !strings.HasPrefix(p, "{") && p != parts[i] {
			return false
		}
	}
	return true
}

// documented tells what of a request and its answer is not as the document
// says.
func (w *world) documented(r *http.Request, sent []byte, a answered) error {
	op := w.operation(r)
	kept := "no-store"
	if op != nil {
		if i := slices.IndexFunc(op.answers, func(x answer) bool { return x.status == a.status }); i >= 0 {
			kept = cmp.Or(op.answers[i].cache, kept)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": kept, "Referrer-Policy": "no-referrer"} {
		if got := a.header.Get(name); got != want {
			return fmt.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	if a.header.Get("X-Request-Id") == "" {
		return errors.New("got no X-Request-Id")
	}
	if r.Method == http.MethodHead {
		return nil
	}
	if op == nil {
		if a.status != 404 && a.status != 405 {
			return errors.New("an operation that is in no table")
		}
		return w.failure(&operation{path: r.URL.Path}, a)
	}
	i := slices.IndexFunc(op.answers, func(x answer) bool { return x.status == a.status })
	if i < 0 {
		if op.unlisted == "" && a.status < 500 && !slices.Contains(op.failures(), a.status) {
			return fmt.Errorf("the status %d is not in the document", a.status)
		}
		if op.unlisted != "" {
			return nil
		}
		return w.failure(op, a)
	}
	if op.takes != nil && len(sent) > 0 && op.takes.media[0] == mediaJSON {
		if err := w.conforms(ref(op.takes.component()), sent, true); err != nil {
			return fmt.Errorf("the request is not as documented: %w", err)
		}
	}
	switch want := op.answers[i]; {
	case want.media != "" && want.schema == "":
		return nil
	case want.schema == "":
		if len(a.body) > 0 {
			return errors.New("a body where none is documented")
		}
		return nil
	default:
		if got := a.header.Get("Content-Type"); got != cmp.Or(want.media, mediaJSON) {
			return fmt.Errorf("got the content type %q", got)
		}
		return w.conforms(ref(want.schema), a.body, false)
	}
}

func (w *world) failure(op *operation, a answered) error {
	schema, media := op.failure()
	if got := a.header.Get("Content-Type"); got != media {
		return fmt.Errorf("got the content type %q, want %q", got, media)
	}
	if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
		return errors.New("got no WWW-Authenticate")
	}
	if (a.status == 429 || a.status == 503) && a.header.Get("Retry-After") == "" {
		return errors.New("got no Retry-After")
	}
	return w.conforms(ref(schema), a.body, false)
}

// conforms checks JSON against a schema. Unlike the document's it lets no
// other member pass, so that what is shown is documented. asked: it is a
// request, where a time may have any offset.
func (w *world) conforms(s *schema, raw []byte, asked bool) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	return w.fits(s, v, "", asked)
}

func (w *world) fits(s *schema, v any, at string, asked bool) error {
	if s.ref != "" {
		c := w.schemas[s.ref]
		if c == nil {
			return fmt.Errorf("%s: there is no component %q", at, s.ref)
		}
		return w.fits(c, v, at, asked)
	}
	if s.anyOf != nil {
		var all []error
		for _, x := range s.anyOf {
			err := w.fits(x, v, at, asked)
			if err == nil {
				return nil
			}
			all = append(all, err)
		}
		return errors.Join(all...)
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s", cmp.Or(at, "/"), fmt.Sprintf(format, args...))
	}
	bound := func(n int64) error {
		if s.least != nil && n < *s.least || s.most != nil && n > *s.most {
			return wrong("%d is out of bounds", n)
		}
		return nil
	}
	if v == nil {
		if s.nullable || s.kind == "null" {
			return nil
		}
		return wrong("got null, want %s", s.kind)
	}
	switch v := v.(type) {
	case string:
		if s.kind != "string" {
			return wrong("got a string, want %s", s.kind)
		}
		if s.enum != nil && !slices.Contains(s.enum, v) {
			return wrong("%q is none of %v", v, s.enum)
		}
		if s.format == "date-time" {
			form := event.TimeFormat // what we say
			if asked {
				form = time.RFC3339Nano // what we take
			}
			if _, err := time.Parse(form, v); err != nil {
				return wrong("%q is no time with milliseconds in UTC", v)
			}
			return nil
		}
		return bound(int64(len([]rune(v))))
	case json.Number:
		if s.kind != "integer" && s.kind != "number" {
			return wrong("got a number, want %s", s.kind)
		}
		n, err := v.Int64()
		if err != nil {
			if s.kind == "integer" {
				return wrong("%s is no whole number", v)
			}
			return nil
		}
		return bound(n)
	case bool:
		if s.kind != "boolean" {
			return wrong("got a boolean, want %s", s.kind)
		}
	case []any:
		if s.kind != "array" {
			return wrong("got an array, want %s", s.kind)
		}
		for i, x := range v {
			if err := w.fits(s.items, x, fmt.Sprintf("%s/%d", at, i), asked); err != nil {
				return err
			}
		}
		return bound(int64(len(v)))
	case map[string]any:
		if s.kind != "object" {
			return wrong("got an object, want %s", s.kind)
		}
		for _, p := range s.props {
			if _, is := v[p.name]; p.required && !is {
				return wrong("%s is missing", p.name)
			}
		}
		for name, x := range v {
			i := slices.IndexFunc(s.props, func(p property) bool { return p.name == name })
			switch {
			case i >= 0:
				if err := w.fits(s.props[i].schema, x, at+"/"+name, asked); err != nil {
					return err
				}
			case s.extra != nil:
				if err := w.fits(s.extra, x, at+"/"+name, asked); err != nil {
					return err
				}
			case s.props != nil || s.closed:
				return wrong("%s is not documented", name)
			}
		}
	}
	return nil
}

// objects are one of each of what our application can own.
type objects struct {
	interceptor, subscription, consent, event, delivery, bin                  string
	option, group, preference, statement, policy, citizen, recorded, imported string
}

const dataConsent = `{"permissions":["ACCOUNTS_READ","ACCOUNTS_BALANCES_READ","RESOURCES_READ"],"loggedUser":{"document":{"identification":"11122233344","rel":"CPF"}},"citizenId":"citizen-1"}`

func (w *world) objects() objects {
	w.t.Helper()
	var o objects
	o.interceptor = w.our("POST", "/api/smart-keys/interceptors", `{"endpoint":"https://receiver.example/i","isAuthenticated":false,"type":"DATA"}`).want(201).text("id")
	o.subscription = w.our("POST", "/v1/subscriptions", `{"url":"https://receiver.example/s"}`).want(201).text("subscriptionId")
	o.consent = w.our("POST", "/v1/consents", dataConsent).want(201).text("id")
	o.event, _ = w.our("GET", "/v1/events", "").want(200).items()[0]["eventId"].(string)
	o.delivery, _ = w.our("GET", "/v1/deliveries", "").want(200).items()[0]["deliveryId"].(string)
	o.bin = w.our("POST", "/v1/inspect", "").want(201).text("bin")
	o.option, o.group, o.preference = "opt-newsletter", "grp-all", "topics"
	w.our("POST", "/v1/options", `{"optionId":"opt-newsletter","dataId":"email","purposeId":"marketing","partyId":"us"}`).want(201)
	w.our("POST", "/v1/option-groups", `{"groupId":"grp-all","options":["opt-newsletter"]}`).want(201)
	w.our("POST", "/v1/preferences", topics).want(201)
	o.statement = w.our("POST", "/v1/permission-statements", `{"reference":"newsletter-v2","text":"Yes, please."}`).want(201).text("permissionStatementId")
	o.policy = w.our("POST", "/v1/privacy-policies", `{"reference":"privacy-2026","url":"https://www.example.com/privacy"}`).want(201).text("privacyPolicyId")
	recorded := w.our("POST", "/v1/permissions/transactions", granted).want(201)
	o.recorded, o.citizen = recorded.text("transactionId"), recorded.text("citizenId")
	w.our("PUT", "/v1/mail-sender", `{"host":"smtp.example.org","from":"privacy@example.org"}`).want(201)
	w.our("PUT", "/v1/email-templates/receipt/fr", `{"subject":"Merci","text":"Merci","html":"Merci"}`).want(200)
	o.imported = w.our("POST", "/v1/permissions/import", "{}", "Content-Type", mediaLines).want(200).text("importId")
	return o
}

const (
	topics  = `{"reference":"topics","label":"Topics you like","type":"multi-choice","choices":[{"reference":"jazz","label":"Jazz"},{"reference":"choro","label":"Choro"}]}`
	granted = `{"externalRef":"CRM-1","changes":[{"optionId":"opt-newsletter","justification":"consent","state":"GRANTED"}],"preferences":[{"preference":"topics","choices":[{"reference":"jazz"}]}]}`
)

// path fills an operation's path with our objects.
func (o objects) path(op operation) string {
	id := o.consent
	switch {
	case strings.HasPrefix(op.path, "/api/smart-keys/interceptors"):
		id = o.interceptor
	case strings.HasPrefix(op.path, "/v1/events"):
		id = o.event
	case strings.HasPrefix(op.path, "/v1/deliveries"):
		id = o.delivery
	case strings.HasPrefix(op.path, "/v1/receipts"):
		id = o.recorded
	}
	return strings.NewReplacer(
		"{id}", id, "{subscriptionId}", o.subscription, "{bin}", o.bin, "{optionId}", o.option, "{groupId}", o.group, "{reference}", o.preference,
		"{template}", "receipt", "{language}", "fr", "{permissionStatementId}", o.statement, "{privacyPolicyId}", o.policy, "{citizenId}", o.citizen, "{transactionId}", o.recorded, "{importId}", o.imported,
	).Replace(op.path)
}

// query returns what an operation needs in its query, after a first parameter.
func (o objects) query(op operation) string {
	if op.id == "readPermissions" {
		return "&citizenId=" + o.citizen
	}
	return ""
}

// body returns an example of what an operation takes, empty when it takes
// nothing.
func (w *world) body(op operation) string {
	if op.takes == nil {
		return ""
	}
	b, err := encode(op.takes.shows(w.schemas)[0].value)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}
