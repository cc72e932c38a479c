package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
)

// TestSourceA: the calls of "Webhook in Data Sharing" as they stand there, with
// our host and secrets.
func TestSourceA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.call("POST", "/api/portal/onboard/v1/token", "", `{ "client_id":"`+w.ours.clientID+`", "client_secret": "`+w.ours.clientSecret+`"}`).want(200)
	want := regexp.MustCompile(`^\{"access_token":"[!-~]+","expires_in":3600,"refresh_expires_in":0,"token_type":"Bearer","not-before-policy":0,"scope":"email profile"\}$`)
	if !want.Match(a.body) {
		t.Errorf("got %s, want the members of the source in its order", a.body)
	}
	token := a.text("access_token")
	const registration = `{
"endpoint": "https://www.my-domain.com/webhook",
"isAuthenticated": false,
"authenticationType": "",
"user": "",
"password": "",
"type": "DATA"
}`
	made := w.call("POST", "/api/smart-keys/interceptors", token, registration).want(201)
	if !strings.HasPrefix(made.text("signingSecret"), "whsec_") || made.text("endpoint") != "https://www.my-domain.com/webhook" || made.text("type") != "DATA" {
		t.Errorf("got %s", made.body)
	}
	if strings.Contains(string(made.body), "password") {
		t.Errorf("the answer speaks of a password: %s", made.body)
	}
	if got := made.header.Get("Location"); got != "/api/smart-keys/interceptors/"+made.text("id") {
		t.Errorf("got Location %q", got)
	}
	w.call("GET", made.header.Get("Location"), token, "").want(200)
	if got := w.call("POST", "/api/smart-keys/interceptors", token, registration).want(409).faults(); got != "/endpoint interceptor_exists" {
		t.Errorf("again: got %q", got)
	}
	w.call("POST", "/api/smart-keys/interceptors", token, strings.Replace(registration, "DATA", "PAYMENT", 1)).want(201)
	var envelope struct {
		Errors []struct{ Code, Title, Detail string }
		Meta   struct{ RequestDateTime string }
	}
	w.call("POST", "/api/smart-keys/interceptors", token, `{"endpoint":"http://x","isAuthenticated":true,"user":"a:b","type":"X"}`).want(400).into(&envelope)
	named := ""
	for _, e := range envelope.Errors {
		if e.Code == "" || e.Title == "" || e.Detail == "" {
			t.Errorf("got an entry that lacks something: %+v", e)
		}
		named += e.Detail
	}
	for _, field := range []string{"endpoint", "authenticationType", "user", "password", "type"} {
		if !strings.Contains(named, field+":") {
			t.Errorf("got %q, want %s named", named, field)
		}
	}
	if _, err := time.Parse(event.TimeFormat, envelope.Meta.RequestDateTime); err != nil {
		t.Error(err)
	}
	w.call("POST", "/api/smart-keys/interceptors", "", registration).want(401)
}

// TestSourceB: the bodies of "Update a Subscription" as they stand there, but
// for what is no JSON in them.
func TestSourceB(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.our("POST", "/v1/subscriptions", `{"url":"https://my-subscription/updates"}`).want(201)
	path := "/v1/subscriptions/" + made.text("subscriptionId")
	files := map[string]string{
		"none": "none", "apiKeyHeader": "api-key-header", "apiKeyQuery": "api-key-query", "token": "bearer", "oauth2": "oauth2", "salesforce": "salesforce",
	}
	examples := subscriptionExamples()
	if len(examples) != len(files) {
		t.Fatalf("got %d examples, want the source's %d", len(examples), len(files))
	}
	for _, e := range examples {
		b, err := encode(e.value)
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(filepath.Join("..", "wire", "testdata", "source", files[e.name]+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var documented, original any
		if err := errors.Join(json.Unmarshal(b, &documented), json.Unmarshal(source, &original)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(documented, original) {
			t.Errorf("%s: the document says %s, want the source's %s", e.name, b, source)
		}
		a := w.our("PUT", path, string(source)).want(200)
		if a.text("name") != "my-subscription" || a.text("signingSecret") != "" {
			t.Errorf("%s: got %s", e.name, a.body)
		}
		if strings.Contains(string(a.body), "ABC1234") || strings.Contains(string(a.body), "<client secret>") || strings.Contains(string(a.body), "{your refresh token}") {
			t.Errorf("%s: the answer holds a secret: %s", e.name, a.body)
		}
		managed := e.name == "oauth2" || e.name == "salesforce"
		if got := a.text("authorisation.state"); managed != (got == "authorised") {
			t.Errorf("%s: got the authorisation %q", e.name, got)
		}
		// A read sent back is a patch that changes nothing but the version.
		var m map[string]any
		w.our("GET", path, "").want(200).into(&m)
		for _, ours := range []string{"subscriptionId", "applicationId", "backlog", "discarded", "circuit", "authorisation", "createdAt", "updatedAt"} {
			delete(m, ours)
		}
		back, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		w.our("PATCH", path, string(back), "Content-Type", mediaPatch).want(200)
	}
	// The samples of the source have commas too many or too few: the fault is
	// named, not guessed away.
	w.our("PUT", path, `{"name":"x","url":"https://a.example","authentication":{"authType":"none",}}`).want(400)

	const unknown = "/v1/subscriptions/sub_none"
	w.our("PUT", unknown, `{"url":"https://a.example","authentication":{"authType":"none"}}`).want(404)
	w.our("PUT", unknown, `nonsense`).want(404)
	w.our("PATCH", unknown, `{}`).want(404)
	w.our("GET", unknown, "").want(404)
	w.our("DELETE", unknown, "").want(404)
	w.our("DELETE", path, "").want(204)
	w.our("DELETE", path, "").want(404)
}

func TestSubscriptions_life(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.our("POST", "/v1/subscriptions", `{"url":"https://a.example/x","eventTypes":["consent.approved","before : consent : create"],"authentication":{"authType":"basic","basicAuth":{"user":"u","password":"p4ssw0rd-x"}},
		"retrySchedule":["5s","1h30m"],"timeoutSeconds":5,"rateLimit":10,"maxInFlight":2,"description":"d","metadata":{"a":"b"},"onBacklog":"latest"}`).want(201)
	path := "/v1/subscriptions/" + made.text("subscriptionId")
	old := made.text("signingSecret")
	if got := w.our("PATCH", path, `{"name":"é","status":"paused"}`).want(200); got.text("status") != "paused" || got.text("name") != "é" {
		t.Errorf("got %s", got.body)
	}
	if got := w.our("POST", path+"/replay", `{"eventIds":["evt_x"]}`).want(409).text("code"); got != "endpoint_paused" {
		t.Errorf("got the code %q", got)
	}
	w.our("PATCH", path, `{"status":"active"}`).want(200)
	if got := w.our("PATCH", path, `{"url":"https://b.example/x"}`).want(400).faults(); got != "/authentication/basicAuth/password secret_required" {
		t.Errorf("a new host without its secret: got %q", got)
	}
	fresh := w.our("POST", path+"/rotate-secret", "").want(200).text("signingSecret")
	if fresh == old || !strings.HasPrefix(fresh, "whsec_") {
		t.Errorf("got the secret %q after %q", fresh, old)
	}
	w.our("POST", "/v1/subscriptions", `{"url":"https://c.example","status":"paused","updateType":"citizen-emails"}`).want(201)
	for query, want := range map[string]int{"": 2, "?status=paused": 1, "?status=active": 1, "?updateType=citizen-emails": 1, "?updateType=consent-receipts": 0, "?limit=1": 1, "?offset=2": 0} {
		a := w.our("GET", "/v1/subscriptions"+query, "").want(200)
		if got := len(a.items()); got != want {
			t.Errorf("%s: got %d items, want %d", query, got, want)
		}
	}
	var page struct{ Total int }
	w.our("GET", "/v1/subscriptions?limit=1", "").into(&page)
	if page.Total != 2 {
		t.Errorf("got the total %d, want 2", page.Total)
	}
}

func TestTest_answersWithTheTrial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	for _, path := range []string{"/v1/subscriptions/" + o.subscription, "/api/smart-keys/interceptors/" + o.interceptor} {
		const want = `{"delivered":true,"step":"response","durationMs":12.345,"request":{"method":"POST","url":"https://receiver.example/","headers":{"Authorization":"Basic ***"},"body":"{}"},` +
			`"response":{"status":204,"headers":{"X-A":"1, 2"},"body":""}}`
		if got := string(w.our("POST", path+"/test", "").want(200).body); got != want {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
	}
	w.tester.trial = delivery.Trial{Step: delivery.StepDNS, Reason: "There is no such name.", Request: delivery.Request{Method: "POST"}}
	if got := string(w.our("POST", "/v1/subscriptions/"+o.subscription+"/test", "").want(200).body); !strings.Contains(got, `"delivered":false,"step":"dns"`) || strings.Contains(got, "response\":") {
		t.Errorf("got %s", got)
	}
	passed, before := 2, 0
	for ; passed < 1000; passed++ {
		before = w.tester.calls
		a := w.our("POST", "/v1/subscriptions/"+o.subscription+"/test", "")
		if a.status == 429 {
			if a.text("code") != "slow_down" {
				t.Errorf("got the code %q", a.text("code"))
			}
			break
		}
		a.want(200)
	}
	if passed < app.TestBurst || passed == 1000 {
		t.Errorf("got %d tests of one endpoint answered, want %d and not many more", passed, app.TestBurst)
	}
	if w.tester.calls != before {
		t.Error("a refused test was sent")
	}
	w.our("POST", "/api/smart-keys/interceptors/"+o.interceptor+"/test", "").want(200) // another endpoint's limit
}

func TestConsents_life(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	create := func(body string) string {
		t.Helper()
		return w.our("POST", "/v1/consents", body).want(201).text("id")
	}
	act := func(id, verb, body string, want int) answered {
		t.Helper()
		return w.our("POST", "/v1/consents/"+id+"/"+verb, body).want(want)
	}
	conflict := func(a answered, code, status string) {
		t.Helper()
		if a.text("code") != code || a.text("currentStatus") != status {
			t.Errorf("%s: got %q in %q, want %q in %q", a.asked, a.text("code"), a.text("currentStatus"), code, status)
		}
	}
	one := w.our("POST", "/v1/consents", dataConsent).want(201)
	id := one.text("id")
	if one.text("status") != "AWAITING_AUTHORISATION" || one.text("lifecycleStatus") != "AWAITING_AUTHORISATION" || one.text("approvalDeadline") == "" || one.header.Get("Location") != "/v1/consents/"+id {
		t.Errorf("got %s", one.body)
	}
	if got := w.our("GET", "/v1/consents/"+one.text("consentId"), "").want(200).text("id"); got != id {
		t.Errorf("by its consentId: got %q, want %q", got, id)
	}
	conflict(act(id, "consume", "", 409), "consent_not_authorised", "AWAITING_AUTHORISATION")
	if a := act(id, "approve", "", 200); a.text("status") != "AUTHORISED" || a.text("consumptionDeadline") == "" {
		t.Errorf("got %s", a.body)
	}
	conflict(act(id, "approve", "{}", 409), "consent_not_awaiting", "AUTHORISED")
	conflict(act(id, "reject", "", 409), "consent_not_awaiting", "AUTHORISED")
	act(id, "consume", "{}", 200)
	conflict(act(id, "consume", "", 409), "consent_already_consumed", "AUTHORISED")
	if got := act(id, "extend", `{"expirationDateTime":"2000-01-01T00:00:00Z"}`, 422).faults(); got != "/expirationDateTime DATA_EXPIRACAO_INVALIDA" {
		t.Errorf("got %q", got)
	}
	act(id, "extend", "", 200)
	if a := act(id, "revoke", `{"rejectedBy":"TPP","additionalInformation":"bye"}`, 200); a.text("status") != "REJECTED" || a.text("lifecycleStatus") != "REVOKED" || a.text("rejection.rejectedBy") != "TPP" {
		t.Errorf("got %s", a.body)
	}
	conflict(act(id, "extend", "", 409), "consent_closed", "REVOKED")
	if got := w.our("DELETE", "/v1/consents/"+id, "").want(422).text("code"); got != "CONSENTIMENTO_EM_STATUS_REJEITADO" {
		t.Errorf("got the code %q", got)
	}

	two := create(strings.Replace(dataConsent, "{", `{"approvers":2,`, 1))
	act(two, "approve", `{"approver":"ana"}`, 200)
	if a := act(two, "approve", `{"approver":"ana"}`, 200); a.text("lifecycleStatus") != "PARTIALLY_ACCEPTED" || a.text("status") != "AWAITING_AUTHORISATION" {
		t.Errorf("the same approver twice: got %s", a.body)
	}
	payment := create(mustJSON(t, paymentExample()))
	rejected := create(dataConsent)
	w.our("DELETE", "/v1/consents/"+rejected, "").want(204)
	partly := create(strings.Replace(mustJSON(t, paymentExample()), "{", `{"approvers":2,`, 1))
	act(partly, "approve", "", 200)

	for query, want := range map[string][]string{
		"?status=REJECTED":                               {rejected, id},
		"?status=REVOKED":                                {id},
		"?lifecycleStatus=REJECTED":                      {rejected},
		"?status=AWAITING_AUTHORISATION":                 {payment, two},
		"?status=PARTIALLY_ACCEPTED":                     {partly, two},
		"?status=REVOKED&lifecycleStatus=EXPIRED":        nil,
		"?type=PAYMENT":                                  {partly, payment},
		"?citizenId=citizen-1":                           {rejected, two, id},
		"?citizenId=citizen-1&status=REJECTED&type=DATA": {rejected, id},
		"?status=CONSUMED":                               nil,
	} {
		var got []string
		for _, i := range w.our("GET", "/v1/consents"+query, "").want(200).items() {
			got = append(got, fmt.Sprint(i["id"]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	var all []string
	for after, n := "", 0; n < 10; n++ {
		a := w.our("GET", "/v1/consents?limit=2&after="+after, "").want(200)
		for _, i := range a.items() {
			all = append(all, fmt.Sprint(i["id"]))
		}
		if after = a.text("next"); after == "" {
			break
		}
	}
	if want := []string{partly, rejected, payment, two, id}; !slices.Equal(all, want) {
		t.Errorf("page by page: got %v, want %v", all, want)
	}

	// A rule's refusal is logged as received, alone.
	before := len(w.our("GET", "/v1/events", "").items())
	if got := w.our("POST", "/v1/consents", strings.Replace(dataConsent, `"ACCOUNTS_READ",`, "", 1)).want(422).text("code"); got != "COMBINACAO_PERMISSOES_INCORRETA" {
		t.Errorf("got the code %q", got)
	}
	if got := w.our("POST", "/v1/consents", strings.Replace(dataConsent, "ACCOUNTS_READ", "NO_SUCH_THING", 1)).want(400).faults(); got != "/permissions/0 permission_unknown" {
		t.Errorf("got %q", got)
	}
	after := w.our("GET", "/v1/events", "").items()[before:]
	if len(after) != 2 || after[0]["type"] != "consent.create.received" || after[1]["type"] != "consent.create.received" {
		t.Errorf("got the events %v", after)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", "k1").want(201)
	w.our("POST", "/v1/consents/"+first.text("id")+"/approve", "").want(200)
	again := w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", "k1").want(201)
	if string(again.body) != string(first.body) || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("got\n%s, want\n%s", again.body, first.body)
	}
	if got := w.our("POST", "/v1/consents", dataConsent+" ", "Idempotency-Key", "k1").want(422).faults(); got != "Idempotency-Key idempotency_key_reused" {
		t.Errorf("another body: got %q", got)
	}
	if w.call("POST", "/v1/consents", w.theirs.token, dataConsent, "Idempotency-Key", "k1").want(201).text("id") == first.text("id") {
		t.Error("another application got our consent")
	}
	// Only success is stored.
	w.our("POST", "/v1/consents", `{"loggedUser":1}`, "Idempotency-Key", "k2").want(400)
	w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", "k2").want(201)

	for name, key := range map[string]string{"a space": "a b", "256 characters": strings.Repeat("k", 256), "beyond ASCII": "é", "a control character": "a\tb"} {
		if got := w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", key).want(400).faults(); got != "Idempotency-Key invalid_idempotency_key" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", strings.Repeat("~", 255)).want(201)
	r := httptest.NewRequest("POST", "/v1/consents", strings.NewReader(dataConsent))
	r.Header = map[string][]string{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + w.ours.token}, "Idempotency-Key": {"a", "b"}}
	w.send(r).want(400)
	r = httptest.NewRequest("POST", "/v1/consents", strings.NewReader(dataConsent))
	r.Header = map[string][]string{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + w.ours.token}, "Idempotency-Key": {""}}
	w.send(r).want(400)
}

func TestIdempotency_underARaceOneConsentIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const callers = 16
	got := make([]answered, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { got[i] = w.our("POST", "/v1/consents", dataConsent, "Idempotency-Key", "race") })
	}
	wg.Wait()
	bodies := map[string]bool{}
	for _, a := range got {
		switch a.status {
		case 201:
			bodies[string(a.body)] = true
		case 409:
			if a.text("code") != "idempotency_in_progress" {
				t.Errorf("got the code %q", a.text("code"))
			}
		default:
			t.Errorf("got %d: %s", a.status, a.body)
		}
	}
	if len(bodies) != 1 {
		t.Errorf("got %d different bodies, want 1", len(bodies))
	}
	if n := len(w.our("GET", "/v1/consents", "").items()); n != 1 {
		t.Errorf("got %d consents, want 1", n)
	}
}

func TestDecisions_underARaceOneWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.our("POST", "/v1/consents", dataConsent).want(201).text("id")
	var wg sync.WaitGroup
	statuses := make([]int, 12)
	for i := range statuses {
		wg.Go(func() {
			verb := []string{"approve", "reject"}[i%2]
			statuses[i] = w.our("POST", "/v1/consents/"+id+"/"+verb, "").status
		})
	}
	wg.Wait()
	slices.Sort(statuses)
	if statuses[0] != 200 || statuses[1] != 409 || statuses[11] != 409 {
		t.Errorf("got %v, want one 200", statuses)
	}
	if n := len(w.our("GET", "/v1/events?subject="+id, "").items()); n != 3 {
		t.Errorf("got %d events, want received, created and one decision", n)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.our("POST", "/v1/consents", dataConsent).want(201).text("id")
	w.our("POST", "/v1/consents/"+id+"/approve", "").want(200)
	w.our("POST", "/v1/consents", dataConsent).want(201)
	var types, ids []string
	for after := ""; ; {
		a := w.our("GET", "/v1/events?limit=2&after="+after, "").want(200)
		for _, e := range a.items() {
			types, ids = append(types, fmt.Sprint(e["type"])), append(ids, fmt.Sprint(e["eventId"]))
		}
		if after = a.text("next"); after == "" {
			break
		}
	}
	if want := []string{"consent.create.received", "consent.created", "consent.approved", "consent.create.received", "consent.created"}; !slices.Equal(types, want) {
		t.Errorf("got %v, want %v", types, want)
	}
	one := w.our("GET", "/v1/events/"+ids[2], "").want(200)
	if one.text("body.event") != "consent:approved" || one.text("body.data.id") != id || one.text("subject") != id || one.text("applicationId") != w.ours.application {
		t.Errorf("got %s", one.body)
	}
	for query, want := range map[string]int{"?type=consent.approved": 1, "?type=after+:+consent+:+create": 2, "?subject=" + id: 3, "?subject=none": 0, "?after=" + ids[4]: 0, "?after=" + ids[1]: 3} {
		if got := len(w.our("GET", "/v1/events"+query, "").want(200).items()); got != want {
			t.Errorf("%s: got %d events, want %d", query, got, want)
		}
	}
	w.our("GET", "/v1/events/evt_none", "").want(404)
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := w.our("POST", "/api/smart-keys/interceptors", `{"endpoint":"https://receiver.example/i","isAuthenticated":true,"authenticationType":"basic","user":"u","password":"p4ssw0rd-y","type":"DATA"}`).want(201).text("id")
	w.our("POST", "/v1/consents", dataConsent).want(201)
	list := w.our("GET", "/v1/deliveries?interceptorId="+in, "").want(200).items()
	if len(list) != 2 || list[0]["status"] != "pending" || list[0]["interceptorId"] != in || list[0]["type"] != "consent.created" {
		t.Fatalf("got %v", list)
	}
	if got := w.our("GET", "/api/smart-keys/interceptors/"+in, "").want(200); !strings.Contains(string(got.body), `"backlog":{"count":2,"oldestAt":`) {
		t.Errorf("got %s, want a backlog of 2", got.body)
	}
	id := fmt.Sprint(list[1]["deliveryId"])
	if got := w.our("POST", "/v1/deliveries/"+id+"/redeliver", "").want(409).text("code"); got != "delivery_waiting" {
		t.Errorf("got the code %q", got)
	}

	// The engine's part: one attempt that failed, one that was delivered.
	ctx := context.Background()
	pos, err := w.store.Open(ctx, delivery.Endpoint(in))
	if err != nil {
		t.Fatal(err)
	}
	page, err := w.store.Read(ctx, delivery.Endpoint(in), pos.Cursor, 10, 1<<20)
	if err != nil || len(page.Items) != 2 {
		t.Fatalf("got %d items and %v", len(page.Items), err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	attempt := func(n int, ok bool, status int) delivery.Attempt {
		a := delivery.Attempt{
			Seq: page.Items[0].Seq, Subject: page.Items[0].Subject, N: n, At: at, Duration: 1500 * time.Microsecond, Delivered: ok, Status: status, Step: delivery.StepResponse,
			Config: 1, Timestamp: at.Unix(), InteractionID: "9e1a", Signature: "v1,abc",
			Response: &delivery.Response{Status: status, Headers: []delivery.Header{{Name: "Content-Type", Value: "text/plain"}}, Body: "hello"},
		}
		if !ok {
			a.Reason = "The receiver answered 503."
		}
		return a
	}
	if _, err := w.store.Record(ctx, []delivery.Progress{{
		Lease: pos.Lease, At: at, Cursor: page.Items[0].Seq, Attempts: []delivery.Attempt{attempt(1, false, 503), attempt(2, true, 204)},
	}}); err != nil {
		t.Fatal(err)
	}
	a := w.our("GET", "/v1/deliveries/"+id, "").want(200)
	var d struct {
		Status       string
		AttemptCount int
		DeliveredAt  string
		Attempts     []struct {
			Attempt    int
			DurationMs float64
			Status     int
			Step       string
			Reason     *string
			Request    struct {
				Method, URL, Body string
				Headers           map[string]string
			}
			Response struct {
				Status int
				Body   string
			}
		}
	}
	a.into(&d)
	if d.Status != "delivered" || d.AttemptCount != 2 || d.DeliveredAt == "" || len(d.Attempts) != 2 {
		t.Fatalf("got %s", a.body)
	}
	first, last := d.Attempts[0], d.Attempts[1]
	if first.Reason == nil || first.Status != 503 || first.DurationMs != 1.5 || last.Reason != nil || last.Response.Body != "hello" {
		t.Errorf("got %s", a.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Consentwire/1.2.3", "webhook-id": page.Items[0].EventID, "webhook-signature": "v1,abc",
		"Consentwire-Attempt": "2", "Authorization": "Basic ***",
	} {
		if got := last.Request.Headers[name]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if last.Request.Body != string(page.Items[0].Body) || last.Request.URL != "https://receiver.example/i" {
		t.Errorf("got the request %+v", last.Request)
	}
	for query, want := range map[string]int{
		"?status=delivered": 1, "?status=pending": 1, "?eventId=" + page.Items[0].EventID: 1, "?from=2100-01-01T00:00:00Z": 0, "?to=2100-01-01T00:00:00Z": 2, "?subject=none": 0,
	} {
		if got := len(w.our("GET", "/v1/deliveries"+query, "").want(200).items()); got != want {
			t.Errorf("%s: got %d deliveries, want %d", query, got, want)
		}
	}
	w.our("GET", "/v1/deliveries?subscriptionId="+in, "").want(404)
	w.our("GET", "/v1/deliveries?interceptorId=int_none", "").want(404)
	if got := w.our("POST", "/v1/deliveries/"+id+"/redeliver", "").want(202).text("deliveryId"); got != id {
		t.Errorf("got the delivery %q, want %q", got, id)
	}
	w.our("POST", "/v1/deliveries/dlv_none/redeliver", "").want(404)
}

func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := w.our("POST", "/api/smart-keys/interceptors", `{"endpoint":"https://receiver.example/i","isAuthenticated":false,"type":"DATA"}`).want(201).text("id")
	path := "/api/smart-keys/interceptors/" + in + "/replay"
	w.our("POST", "/v1/consents", dataConsent).want(201)
	const span = `"from":"2020-01-01T00:00:00Z","to":"2100-01-01T00:00:00Z"`
	var r struct {
		ReplayID string
		Count    int
	}
	w.our("POST", path, "{"+span+"}").want(202).into(&r)
	if r.Count != 0 || !strings.HasPrefix(r.ReplayID, "rpl_") {
		t.Errorf("what waits: got %+v, want none chosen", r)
	}
	tests := []struct{ name, body, want string }{
		{"nothing", `{}`, "/eventIds required"},
		{"both", `{"eventIds":["evt_a"],` + span + `}`, "/eventIds foreign_member"},
		{"no event", `{"eventIds":[]}`, "/eventIds too_short"},
		{"an unknown event", `{"eventIds":["evt_none"]}`, "/eventIds/0"},
		{"numbers", `{"eventIds":[1]}`, "/eventIds/0 wrong_type"},
		{"too many", `{"eventIds":[` + strings.TrimSuffix(strings.Repeat(`"e",`, 1001), ",") + `]}`, "/eventIds too_many"},
		{"no end", `{"from":"2020-01-01T00:00:00Z"}`, "/to required"},
		{"only a status", `{"status":"exhausted"}`, "/from required, /to required"},
		{"an end before the beginning", `{"to":"2020-01-01T00:00:00Z","from":"2100-01-01T00:00:00Z"}`, "/to invalid_value"},
		{"an unknown status", `{` + span + `,"status":"x"}`, "/status invalid_value"},
		{"no time", `{"from":"x","to":1}`, "/from invalid_time, /to wrong_type"},
		{"a foreign member", `{` + span + `,"x":1,"includeStale":"yes"}`, "/includeStale wrong_type, /x unknown_member"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := w.our("POST", path, tt.body).want(400).faults(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestInspector(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bin := w.our("POST", "/v1/inspect", "").want(201)
	name := bin.text("bin")
	if !strings.HasPrefix(name, "bin_") || bin.text("url") != "https://consentwire.example/inspect/"+name {
		t.Errorf("got %s", bin.body)
	}
	a := w.our("PUT", "/v1/inspect/"+name, `{"status":503,"delayMs":5,"failureRatio":0.5,"headers":{"Retry-After":"9"},"body":"no"}`).want(200)
	for _, want := range []string{`"status":503`, `"delayMs":5`, `"failureRatio":0.5`, `"Retry-After":"9"`, `"body":"no"`} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("got %s, want %s in it", a.body, want)
		}
	}
	if got := w.our("PUT", "/v1/inspect/"+name, `{"status":99,"delayMs":-1,"failureRatio":2,"headers":{"Set-Cookie":"a"},"body":1,"x":2}`).want(400).faults(); got !=
		"/body wrong_type, /delayMs out_of_range, /failureRatio out_of_range, /headers/Set-Cookie reserved_header, /status out_of_range, /x unknown_member" {
		t.Errorf("got %q", got)
	}
	w.our("PUT", "/v1/inspect/"+name, `{}`).want(200)
	w.our("PUT", "/v1/inspect/bin_none", `{}`).want(404)

	s, is := w.face.(*server)
	if !is {
		t.Fatal("the face is no server")
	}
	for i := range 3 {
		r := httptest.NewRequest("POST", fmt.Sprintf("/inspect/%s/a?n=%d", name, i), strings.NewReader("hello"))
		s.Sink.ServeHTTP(httptest.NewRecorder(), r)
	}
	page := w.our("GET", "/v1/inspect/"+name+"/requests?limit=2", "").want(200)
	first := page.items()[0]
	if first["method"] != "POST" || first["path"] != "/inspect/"+name+"/a" || first["query"] != "n=0" || first["body"] != "hello" || first["signature"] != "none" {
		t.Errorf("got %v", first)
	}
	rest := w.our("GET", "/v1/inspect/"+name+"/requests?after="+page.text("next"), "").want(200)
	if len(page.items()) != 2 || len(rest.items()) != 1 || rest.text("next") != "" {
		t.Errorf("got %d and %d requests, want 2 and 1", len(page.items()), len(rest.items()))
	}
	if got := w.our("GET", "/v1/inspect", "").want(200).items(); len(got) != 1 || got[0]["kept"] != 3.0 {
		t.Errorf("got %v", got)
	}
	w.our("DELETE", "/v1/inspect/"+name, "").want(204)
	w.our("GET", "/v1/inspect/"+name, "").want(404)
	w.our("GET", "/v1/inspect/"+name+"/requests", "").want(404)
}

func TestApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/applications/" + w.ours.application
	for name, body := range map[string]string{
		"/name required": `{}`, "/name wrong_type": `{"name":1}`, "/name too_long": `{"name":"` + strings.Repeat("é", 101) + `"}`,
		"/name invalid_character": `{"name":"a\nb"}`, "/x unknown_member": `{"name":"a","x":1}`, "/name duplicate_member": `{"name":"a","name":"b"}`,
	} {
		if got := w.call("POST", "/v1/applications", operatorBearer, body).want(400).faults(); got != name {
			t.Errorf("%s: got %q, want %q", body, got, name)
		}
	}
	if got := w.call("PATCH", path, operatorBearer, `{"name":"Neu"}`).want(200).text("name"); got != "Neu" {
		t.Errorf("got the name %q", got)
	}
	w.call("PATCH", path, operatorBearer, `{"name":null}`).want(400)
	w.call("PATCH", path, operatorBearer, `{}`).want(200)
	a := w.call("GET", path, operatorBearer, "").want(200)
	if !strings.Contains(string(a.body), w.ours.clientID) {
		t.Errorf("got %s, want the client ID in it", a.body)
	}
	if got := len(w.call("GET", "/v1/applications?limit=1&offset=1", operatorBearer, "").want(200).items()); got != 1 {
		t.Errorf("got %d applications, want 1", got)
	}
	w.call("DELETE", path, operatorBearer, "").want(204)
	w.our("GET", "/v1/consents", "").want(401)
	w.call("GET", path, operatorBearer, "").want(404)
	w.call("GET", "/v1/consents", w.theirs.token, "").want(200)
}

// TestSecrets: whatever is asked, no answer holds a secret that was given to
// us, and none of ours but the once that it is made.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	given := []string{"s3cret-password", "s3cret-key", "s3cret-token", "s3cret-refresh", "s3cret-client", "s3cret-oauth"}
	certificate, key := newPair(t)
	given = append(given, strings.Split(key, "\n")[1], strings.Trim(quote(t, key), `"`))
	in := w.our("POST", "/api/smart-keys/interceptors", `{"endpoint":"https://receiver.example/i","isAuthenticated":true,"authenticationType":"BASIC","user":"u","password":"s3cret-password","type":"DATA"}`).want(201)
	paths := []string{"/api/smart-keys/interceptors/" + in.text("id")}
	secrets := []string{in.text("signingSecret")}
	for _, auth := range []string{
		`{"authType":"api-key","apiKeyAuth":{"location":"header","key":"X-Key","value":"s3cret-key"}}`,
		`{"authType":"api-key","apiKeyAuth":{"location":"query","key":"k","value":"s3cret-key"}}`,
		`{"authType":"token","token":"s3cret-token"}`,
		`{"authType":"token","token":"s3cret-token","refreshToken":"s3cret-refresh","refreshUrl":"https://a.example/t","clientId":"c","clientSecret":"s3cret-client"}`,
		`{"authType":"oauth2","oauth2Auth":{"grantType":"client-credentials","authenticationUrl":"https://a.example/t","clientId":"c","clientSecret":"s3cret-oauth"}}`,
		`{"authType":"basic","basicAuth":{"user":"u","password":"s3cret-password"}}`,
		`{"authType":"none","mtls":{"certificate":` + quote(t, certificate) + `,"privateKey":` + quote(t, key) + `}}`,
	} {
		a := w.our("POST", "/v1/subscriptions", `{"url":"https://receiver.example/s","signatures":["v1","v1a"],"eventTypes":["consent.created"],"authentication":`+auth+`}`).want(201)
		if strings.Contains(string(a.body), "s3cret-") {
			t.Errorf("the answer to its creation holds a secret: %s", a.body)
		}
		paths = append(paths, "/v1/subscriptions/"+a.text("subscriptionId"))
		secrets = append(secrets, a.text("signingSecret"))
	}
	w.our("POST", "/v1/consents", dataConsent).want(201)
	pairs, err := w.store.SigningKeys(context.Background(), access.ID(w.ours.application))
	if err != nil || len(pairs) != 1 {
		t.Fatalf("got %d key pairs, %v, want one", len(pairs), err)
	}
	given = append(given, pairs[0].PrivateKey.Reveal(), strings.TrimPrefix(pairs[0].PrivateKey.Reveal(), "whsk_")[:40])
	w.mu.Lock()
	w.answers = nil // from here on nothing is made
	w.mu.Unlock()
	for _, p := range paths {
		w.our("GET", p, "").want(200)
		w.our("POST", p+"/test", "").want(200)
		for _, content := range []string{`{"url":"http://s3cret-token@x/","endpoint":"s3cret-key","authentication":{"authType":"token","token":"s3cret-token\u0000"}}`, `{"s3cret`, `{"password":["s3cret-password"]}`,
			`{"url":"https://a.example","authentication":{"authType":"none","mtls":{"certificate":` + quote(t, key) + `,"privateKey":` + quote(t, key+certificate) + `}}}`} {
			w.our("PUT", p, content).want(400)
		}
	}
	w.our("POST", "/v1/signing-keys/rotate", "").want(200)
	w.call("GET", "/.well-known/consentwire/"+w.ours.application+"/jwks.json", "", "").want(200)
	for _, list := range []string{"/v1/signing-keys", "/v1/subscriptions", "/api/smart-keys/interceptors", "/v1/deliveries", "/v1/events", "/v1/consents"} {
		w.our("GET", list, "").want(200)
	}
	for _, d := range w.our("GET", "/v1/deliveries", "").items() {
		w.our("GET", "/v1/deliveries/"+fmt.Sprint(d["deliveryId"]), "").want(200)
	}
	w.call("GET", "/v1/applications/"+w.ours.application, operatorBearer, "").want(200)
	all := strings.Join(w.answers, "\n") + w.log.String()
	for _, s := range slices.Concat(given, secrets, []string{w.ours.clientSecret, w.ours.token, operatorBearer}) {
		if strings.Contains(all, s) {
			t.Errorf("an answer or the log holds the secret %q", s)
		}
	}
}
