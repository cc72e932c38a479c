package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBadBodies: each faulty field is named by its path, whatever the rest.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	sub, in := "/v1/subscriptions/"+o.subscription, "/api/smart-keys/interceptors/"+o.interceptor
	con := "/v1/consents/" + o.consent
	const user = `"loggedUser":{"document":{"identification":"11122233344","rel":"CPF"}}`
	const auth = `"authentication":{"authType":"none"}`
	tests := []struct{ name, method, target, content, want string }{
		{"a consent for nobody", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"]}`, "/loggedUser required"},
		{"a person without a document", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"loggedUser":{}}`, "/loggedUser/document required"},
		{"a document of the wrong kind", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"loggedUser":{"document":1}}`, "/loggedUser/document wrong_type"},
		{"a document of wrong texts", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"loggedUser":{"document":{"identification":"1","rel":"cpf"}}}`, "/loggedUser/document/identification invalid_format, /loggedUser/document/rel invalid_format"},
		{"numbers for texts", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"loggedUser":{"document":{"identification":11122233344,"rel":1}}}`, "/loggedUser/document/identification wrong_type, /loggedUser/document/rel wrong_type"},
		{"permissions that are none", "POST", "/v1/consents", `{"permissions":["a",2,"ACCOUNTS_READ","ACCOUNTS_READ"],` + user + `}`, "/permissions/0 invalid_format, /permissions/1 wrong_type, /permissions/3 duplicate"},
		{"no permission", "POST", "/v1/consents", `{"permissions":[],` + user + `}`, "/permissions required"},
		{"permissions that are no list", "POST", "/v1/consents", `{"permissions":"ACCOUNTS_READ",` + user + `}`, "/permissions wrong_type"},
		{"an unknown type", "POST", "/v1/consents", `{"type":"data","permissions":["ACCOUNTS_READ"],` + user + `}`, "/type invalid_value"},
		{"approvers", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"approvers":11,` + user + `}`, "/approvers out_of_range"},
		{"half an approver", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"approvers":1.5,` + user + `}`, "/approvers wrong_type"},
		{"no time", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"expirationDateTime":"2027-01-01",` + user + `}`, "/expirationDateTime invalid_time"},
		{"an empty citizen", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"citizenId":"",` + user + `}`, "/citizenId too_short"},
		{"a payment without its members", "POST", "/v1/consents", `{"type":"PAYMENT","payment":{},"creditor":{},` + user + `}`, "/creditor/name required, /payment/amount required, /payment/currency required, /payment/type required"},
		{"a payment with wrong ones", "POST", "/v1/consents", `{"type":"PAYMENT","payment":{"type":"TED","currency":"XXX","amount":"1.5"},"creditor":{"name":"n","personType":"x","cpfCnpj":"1"},` + user + `}`,
			"/creditor/cpfCnpj invalid_format, /creditor/personType invalid_value, /payment/amount invalid_format, /payment/currency invalid_value, /payment/type invalid_value"},
		{"members of the other type", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"payment":{"type":"PIX","currency":"BRL","amount":"1.00"},` + user + `}`, "/payment foreign_member"},
		{"an unknown member", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"status":"AUTHORISED",` + user + `}`, "/status unknown_member"},
		{"an unknown member inside", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"loggedUser":{"document":{"identification":"11122233344","rel":"CPF"},"a/b":1}}`, "/loggedUser/a~1b unknown_member"},
		{"a member in another case", "POST", "/v1/consents", `{"Permissions":["ACCOUNTS_READ"],"permissions":["ACCOUNTS_READ"],` + user + `}`, "/Permissions unknown_member"},
		{"a duplicate", "POST", "/v1/consents", `{"permissions":["ACCOUNTS_READ"],"permissions":["ACCOUNTS_READ"],` + user + `}`, "/permissions duplicate_member"},
		{"a NUL", "POST", "/v1/consents", `{"citizenId":"a\u0000",` + user + `}`, "/citizenId invalid_character"},
		{"half a surrogate", "POST", "/v1/consents", `{"citizenId":"\ud800",` + user + `}`, "/citizenId invalid_utf8"},
		{"bytes that are no text", "POST", "/v1/consents", "{\"citizenId\":\"\xff\"}", "/citizenId invalid_utf8"},
		{"two values", "POST", "/v1/consents", `{}{}`, " trailing_data"},
		{"too deep", "POST", "/v1/consents", `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "/a/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0 too_deep"},
		{"half a value", "POST", "/v1/consents", `{"a":`, "/a invalid_json"},
		{"no object", "POST", "/v1/consents", `"x"`, " wrong_type"},
		{"null", "POST", "/v1/consents", `null`, " wrong_type"},

		{"an approver that is none", "POST", con + "/approve", `{"approver":1}`, "/approver wrong_type"},
		{"an empty approver", "POST", con + "/approve", `{"approver":""}`, "/approver too_short"},
		{"an approver with a line end", "POST", con + "/approve", `{"approver":"a\nb"}`, "/approver invalid_format"},
		{"an approver of another name", "POST", con + "/approve", `{"by":"a"}`, "/by unknown_member"},
		{"a decision of nobody", "POST", con + "/reject", `{"rejectedBy":"ME","code":"X","additionalInformation":"` + strings.Repeat("x", 141) + `"}`, "/additionalInformation too_long, /code invalid_value, /rejectedBy invalid_value"},
		{"a revocation of nobody", "POST", con + "/revoke", `{"rejectedBy":""}`, "/rejectedBy too_short"},
		{"a member of nothing", "POST", con + "/consume", `{"a":1}`, "/a unknown_member"},
		{"an extension to no time", "POST", con + "/extend", `{"expirationDateTime":5}`, "/expirationDateTime wrong_type"},

		{"a subscription without a URL", "POST", "/v1/subscriptions", `{}`, "/url required"},
		{"a plain URL", "POST", "/v1/subscriptions", `{"url":"http://a.example"}`, "/url"},
		{"a forbidden address", "POST", "/v1/subscriptions", `{"url":"https://127.0.0.1/"}`, "/url"},
		{"a PUT without authentication", "PUT", sub, `{"url":"https://a.example"}`, "/authentication required"},
		{"a PUT without secrets", "PUT", sub, `{"url":"https://a.example","authentication":{"authType":"api-key","apiKeyAuth":{"location":"header","key":"X-A"}}}`, "/authentication/apiKeyAuth/value required"},
		{"members of another authType", "PUT", sub, `{"url":"https://a.example","authentication":{"authType":"none","token":"x"}}`, "/authentication/token foreign_member"},
		{"all at once", "PUT", sub, `{"url":1,"name":"` + strings.Repeat("n", 51) + `","status":"on","updateType":"x","timeoutSeconds":61,"rateLimit":0,"maxInFlight":"1","metadata":{"a":1},"retrySchedule":["x"],` + auth + `}`,
			"/maxInFlight wrong_type, /metadata/a wrong_type, /name too_long, /rateLimit out_of_range, /retrySchedule/0 invalid_duration, /status invalid_value, /timeoutSeconds out_of_range, /updateType invalid_value, /url wrong_type"},
		{"what is ours to set", "PUT", sub, `{"url":"https://a.example","subscriptionId":"x","signingSecret":"y",` + auth + `}`, "/signingSecret read_only, /subscriptionId read_only"},
		{"a reserved header", "PUT", sub, `{"url":"https://a.example","authentication":{"authType":"api-key","apiKeyAuth":{"location":"header","key":"webhook-id","value":"x"}}}`, "/authentication/apiKeyAuth/key reserved_header"},
		{"a patch that is no object", "PATCH", sub, `[]`, " wrong_type"},
		{"a patch that takes the URL", "PATCH", sub, `{"url":null}`, "/url required"},
		{"a patch of the unknown", "PATCH", sub, `{"colour":null}`, "/colour unknown_member"},

		{"an interceptor of nothing", "POST", "/api/smart-keys/interceptors", `{}`, "/endpoint required, /isAuthenticated required, /type required"},
		{"credentials without authentication", "PUT", in, `{"endpoint":"https://a.example","isAuthenticated":false,"authenticationType":"BASIC","user":"u","password":"p","type":"DATA"}`, "/authenticationType must_be_empty, /password must_be_empty, /user must_be_empty"},
		{"authentication without credentials", "PUT", in, `{"endpoint":"https://a.example","isAuthenticated":true,"type":"DATA"}`, "/authenticationType required, /password required, /user required"},
		{"wrong kinds", "PUT", in, `{"endpoint":1,"isAuthenticated":"no","authenticationType":1,"user":1,"password":1,"type":1}`,
			"/authenticationType wrong_type, /endpoint wrong_type, /isAuthenticated wrong_type, /password wrong_type, /type wrong_type, /user wrong_type"},
		{"an unknown member of an interceptor", "POST", "/api/smart-keys/interceptors", `{"endpoint":"https://a.example","isAuthenticated":false,"type":"DATA","events":[]}`, "/events unknown_member"},
		{"a user with a colon", "PUT", in, `{"endpoint":"https://a.example","isAuthenticated":true,"authenticationType":"basic","user":"a:b","password":"p","type":"DATA"}`, "/user invalid_character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := w.our(tt.method, tt.target, tt.content).want(400).faults(); got != tt.want && (!strings.HasSuffix(tt.want, "/url") || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// nasty are bodies that break careless readers.
func nasty() []string {
	return []string{
		``, ` `, `null`, `true`, `0`, `-0`, `1e999`, `""`, `[]`, `{}`, `{"":""}`, `{"a":{}}`, `[[[[]]]]`, `{`, `}`, `{"a"`, `{"a":1,}`, `{'a':1}`,
		"\xef\xbb\xbf{}", "{}\x00", `{"a":NaN}`, `{"__proto__":{"x":1}}`, `{"\u0000":1}`, `{"name":"\ud83d"}`, `{"permission\u017f":[]}`,
		`{"name":` + strings.Repeat("9", 5000) + `}`, strings.Repeat(`{"a":`, 5000), strings.Repeat("[", 100000), `{"a":"` + strings.Repeat("x", 100000) + `"}`,
		`{"url":"https://a\u0000b/","endpoint":"https://[::1]:99999/","permissions":[null],"loggedUser":[],"payment":"x","creditor":[],"eventIds":[{}],"from":"0000-00-00T00:00:00Z","to":"9999-99-99T99:99:99Z","status":true,"delayMs":1e400,"failureRatio":-1,"headers":[1]}`,
		`{"url":null,"authentication":null,"name":null,"status":null,"metadata":null,"eventTypes":null,"retrySchedule":null,"timeoutSeconds":null}`,
		`{"url":"https://a.example","authentication":{"authType":null,"apiKeyAuth":null,"oauth2Auth":[],"basicAuth":""}}`,
		`{"externalRef":null,"citizenId":[],"changes":[null,{"obtainedAt":"0001-01-01T00:00:00Z","validUntil":"9999-12-31T23:59:59.999Z","optionId":"opt-newsletter","justification":"consent","state":"GRANTED"}],"preferences":[{"choices":null},{"preference":"topics","choices":[null]}],"emails":[null,{}],"options":[null],"choices":[{}],"language":"--"}`,
		`{"externalRef":"\ufeff","changes":[{"optionType":"group","optionId":"grp-all","justification":"consent","state":"PENDING","validFrom":"9999-12-31T23:59:59.999Z"}],"preferences":[{"preference":"topics","choices":[],"obtainedAt":"1900-01-01T00:00:00Z"}]}`,
		`{"reference":".","label":" ","type":"single-choice","choices":[{"reference":"..","label":"\u2028"}],"text":"\u0007","url":"https://[","dataId":"/","purposeId":"%","partyId":"\u00a0","name":"\ud83d\ude00","emails":[{"address":"\"a b\"@[::1]"}]}`,
		`{"timeoutSeconds":1e300,"rateLimit":-9223372036854775809,"maxInFlight":0.1,"approvers":1e2}`,
	}
}

// TestNeverOurFault: no body and no parameter makes any route answer 5xx.
func TestNeverOurFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	for _, op := range w.ops {
		if op.method == http.MethodDelete || op.unlisted != "" {
			continue
		}
		for _, content := range nasty() {
			w.try(op, o, content)
		}
	}
}

// try sends a body to an operation, in the name of whoever may call it, and
// wants no fault of ours.
func (w *world) try(op operation, o objects, content string) {
	w.t.Helper()
	bearer := w.ours.token
	if op.scope == operator {
		bearer = operatorBearer
	}
	target := strings.NewReplacer("{applicationId}", w.theirs.application, "{clientId}", "cli_none").Replace(o.path(op))
	r := httptest.NewRequest(op.method, target, strings.NewReader(content))
	r.Header.Set("Authorization", "Bearer "+bearer)
	if op.takes != nil {
		r.Header.Set("Content-Type", op.takes.media[0])
	}
	rec := httptest.NewRecorder()
	w.face.ServeHTTP(rec, r)
	if rec.Code >= 500 {
		w.t.Errorf("%s %s with %.200q: got %d: %s", op.method, op.path, content, rec.Code, rec.Body)
	}
}

// FuzzRequests: every route that takes JSON, any body.
func FuzzRequests(f *testing.F) {
	w := newWorld(f)
	o := w.objects()
	var ops []operation
	for _, op := range w.ops {
		if op.takes != nil {
			ops = append(ops, op)
		}
	}
	for i, op := range ops {
		f.Add(uint8(i), w.body(op))
	}
	for _, b := range nasty() {
		f.Add(uint8(0), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, content string) {
		mine := &world{t: t, face: w.face, ours: w.ours, theirs: w.theirs}
		mine.try(ops[int(which)%len(ops)], o, content)
	})
}

// FuzzTargets: any path and query.
func FuzzTargets(f *testing.F) {
	w := newWorld(f)
	for _, s := range []string{"/v1/consents?limit=1", "/v1/events?after=x", "/v1/deliveries?from=2026-01-01T00:00:00Z", "/v1/consents/%00", "/v1/inspect/../x", "//", "/%2e%2e/", "/v1/subscriptions?offset=18446744073709551616",
		"/v1/permissions?externalRef=CRM-1&at=0001-01-01T00:00:00Z", "/v1/permissions?citizenId=%2F&externalRef=%00", "/v1/citizens/x/history?after=zzz", "/v1/options/%2e%2e?archived=true", "/v1/citizens?after=eyJ9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := http.NewRequest(http.MethodGet, "http://x", nil)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := u.URL.Parse(target)
		if err != nil {
			t.Skip()
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = parsed
		r.Header.Set("Authorization", "Bearer "+w.ours.token)
		rec := httptest.NewRecorder()
		w.face.ServeHTTP(rec, r)
		if rec.Code >= 500 {
			t.Errorf("GET %q: got %d: %s", target, rec.Code, rec.Body)
		}
	})
}
