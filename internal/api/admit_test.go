package api

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
)

// TestStrangers: what is another's answers 404, never 403, on every route that
// names an object, and a list of it is empty.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	walked := 0
	for _, op := range w.ops {
		if op.scope != application {
			continue
		}
		target := o.path(op)
		if op.param == "" {
			switch {
			case op.id == "readPermissions":
				w.call("GET", target+"?citizenId="+o.citizen, w.theirs.token, "").want(404)
				w.call("GET", target+"?externalRef=CRM-1", w.theirs.token, "").want(404)
			case op.id == "readConfiguration":
				a := w.call("GET", target, w.theirs.token, "").want(200)
				if strings.Contains(string(a.body), o.option) || strings.Contains(string(a.body), o.statement) {
					t.Errorf("%s: got %s of another's, want nothing", target, a.body)
				}
			case op.id == "readAudit":
				a := w.call("GET", target, w.theirs.token, "").want(200)
				if !strings.Contains(string(a.body), `"records":0`) || strings.Contains(string(a.body), `"head"`) {
					t.Errorf("%s: got %s of another's, want nothing", target, a.body)
				}
			case op.id == "readMailSender":
				w.call("GET", target, w.theirs.token, "").want(404)
			case op.id == "listEmailTemplates":
				if a := w.call("GET", target, w.theirs.token, "").want(200); strings.Contains(string(a.body), "Merci") {
					t.Errorf("%s: got %s of another's, want only what all have", target, a.body)
				}
			case op.method == "GET":
				if n := len(w.call("GET", target, w.theirs.token, "").want(200).items()); n != 0 {
					t.Errorf("%s: got %d items of another's, want none", target, n)
				}
			}
			if got := w.call(op.method, target+"?applicationId="+w.ours.application, w.theirs.token, w.body(op)).status; got != 404 {
				t.Errorf("%s %s for another application: got %d, want 404", op.method, op.path, got)
			}
			continue
		}
		if op.id == "putEmailTemplate" || op.id == "previewEmailTemplate" {
			continue // whose name is nobody's
		}
		walked++
		// Neither a valid nor a faulty body tells whether it exists.
		for _, content := range []string{w.body(op), `{"nonsense":1}`} {
			if op.takes == nil {
				content = ""
			}
			theirs := w.call(op.method, target, w.theirs.token, content)
			if theirs.status != 404 {
				t.Errorf("%s %s of another: got %d, want 404: %s", op.method, op.path, theirs.status, theirs.body)
			}
		}
	}
	if walked < 20 {
		t.Errorf("got %d routes that name an object, want at least 20", walked)
	}
	// All are still there.
	for _, op := range w.ops {
		if op.scope == application && op.method == "GET" && op.param != "" {
			w.our("GET", o.path(op), "").want(200)
		}
	}
	if n := len(w.call("GET", "/v1/deliveries?subscriptionId="+o.subscription, w.theirs.token, "").want(404).body); n == 0 {
		t.Error("got no body")
	}
}

func TestCallers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	for _, op := range w.ops {
		target := o.path(op)
		switch op.scope {
		case operator, application:
			target = strings.NewReplacer("{applicationId}", w.theirs.application, "{clientId}", "cli_none").Replace(target)
			for name, header := range map[string]string{
				"none": "", "forged": "Bearer cwt_forged", "no bearer": "Basic YTpi", "empty": "Bearer ", "two words": "Bearer a b", "binary": "Bearer \xff",
			} {
				a := w.call(op.method, target, "", w.body(op), "Authorization", header).want(401)
				if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="consentwire"`) {
					t.Errorf("%s %s with %s: got the challenge %q", op.method, op.path, name, got)
				}
			}
		case public:
			if got := w.call(op.method, target, "", w.body(op)).status; got == 401 && op.method == "GET" {
				t.Errorf("%s: got 401, want it public", op.path)
			}
		}
		if op.scope == operator {
			if got := w.our(op.method, target, w.body(op)).status; got != 404 {
				t.Errorf("%s %s by an application: got %d, want 404", op.method, op.path, got)
			}
		}
		if op.scope == application {
			a := w.call(op.method, target, operatorBearer, w.body(op)).want(400)
			if got := a.faults(); got != "applicationId required" && got != "/applicationId required" {
				t.Errorf("%s %s by the operator: got %q, want applicationId required", op.method, op.path, got)
			}
			if got := w.call(op.method, target+"?applicationId=app_none", operatorBearer, w.body(op)).status; got != 404 {
				t.Errorf("%s %s for an unknown application: got %d, want 404", op.method, op.path, got)
			}
		}
	}
	// The operator may do what the application may.
	for _, op := range w.ops {
		if op.scope == application && op.method == "GET" {
			target := o.path(op) + "?applicationId=" + w.ours.application + o.query(op)
			w.call("GET", target, operatorBearer, "").want(200)
			w.our("GET", target, "").want(200)
		}
	}
	// Two credentials are none.
	r := httptest.NewRequest("GET", "/v1/consents", nil)
	r.Header["Authorization"] = []string{"Bearer " + w.ours.token, "Bearer " + w.ours.token}
	w.send(r).want(401)
}

func TestParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("x", 600)
	tests := []struct{ name, target, want string }{
		{"an unknown parameter", "/v1/consents?colour=red", "colour unknown_parameter"},
		{"a duplicate", "/v1/consents?limit=1&limit=2", "limit duplicate_parameter"},
		{"all that is faulty", "/v1/consents?limit=0&status=NO&type=X&z=1", "limit out_of_range, status invalid_value, type invalid_value, z unknown_parameter"},
		{"a limit too large for source B", "/v1/subscriptions?limit=101", "limit out_of_range"},
		{"a negative offset", "/v1/subscriptions?offset=-1", "offset out_of_range"},
		{"a limit that is no number", "/v1/events?limit=ten", "limit out_of_range"},
		{"a limit with a sign", "/v1/events?limit=%2B1", "limit out_of_range"},
		{"a huge offset", "/v1/subscriptions?offset=99999999999999999999", "offset out_of_range"},
		{"a status of no subscription", "/v1/subscriptions?status=suspended", "status invalid_value"},
		{"an update type", "/v1/subscriptions?updateType=x", "updateType invalid_value"},
		{"a type of no event", "/v1/events?type=x", "type invalid_value"},
		{"an unknown place in the log", "/v1/events?after=evt_none", "after"},
		{"a malformed page", "/v1/consents?after=zzz", "after"},
		{"a malformed page of deliveries", "/v1/deliveries?after=zzz", "after"},
		{"a status of no delivery", "/v1/deliveries?status=lost", "status invalid_value"},
		{"a time of no day", "/v1/deliveries?from=2026-02-30T00:00:00Z", "from invalid_time"},
		{"an end before the beginning", "/v1/deliveries?from=2026-02-02T00:00:00Z&to=2026-02-01T00:00:00Z", "to invalid_value"},
		{"two endpoints", "/v1/deliveries?subscriptionId=a&interceptorId=b", "interceptorId foreign_parameter"},
		{"a long text", "/v1/events?subject=" + long, "subject too_long"},
		{"a control character", "/v1/events?subject=%00", "subject invalid_character"},
		{"no UTF-8", "/v1/events?subject=%ff", "subject invalid_character"},
		{"a long ID", "/v1/subscriptions/" + long, "subscriptionId out_of_range"},
		{"an ID of 51 characters", "/v1/subscriptions/" + strings.Repeat("é", 51), "subscriptionId out_of_range"},
		{"a long consent", "/v1/consents/" + long, "id out_of_range"},
		{"a NUL in an ID", "/v1/events/%00", "id invalid_character"},
		{"an ID that is no UTF-8", "/v1/events/%ff", "id invalid_character"},
		{"nobody's permissions", "/v1/permissions", "externalRef required"},
		{"permissions of a citizen with an empty name", "/v1/permissions?externalRef=", "externalRef required"},
		{"permissions of the future", "/v1/permissions?externalRef=CRM-1&at=2100-01-01T00:00:00Z", "at in_the_future"},
		{"permissions at no time", "/v1/permissions?externalRef=CRM-1&at=yesterday", "at invalid_time"},
		{"a malformed page of citizens", "/v1/citizens?after=zzz", "after"},
		{"archived or not", "/v1/options?archived=yes", "archived invalid_value"},
		{"a broken query", "/v1/consents?a=%zz", "query invalid_query"},
		{"a query with a semicolon", "/v1/consents?a;b", "query invalid_query"},
		{"a token in the query", "/v1/consents?access_token=x", "access_token unknown_parameter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := w.our("GET", tt.target, "").want(400).faults(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	w.our("GET", "/v1/subscriptions/"+strings.Repeat("é", 50), "").want(404)
	w.our("GET", "/v1/events?after=&limit=&type=&subject=", "").want(200) // an empty value is none
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		name, method, target string
		want                 int
		allow                string
	}{
		{"an unknown path", "GET", "/v2/nothing", 404, ""},
		{"a collection that cannot be listed", "GET", "/v1/receipts", 404, ""},
		{"a slash too many at the end", "GET", "/v1/consents/", 404, ""},
		{"a slash too many inside", "GET", "/v1//consents", 404, ""},
		{"a way round", "GET", "/v1/x/../consents", 404, ""},
		{"the root", "GET", "/", 404, ""},
		{"another method", "PUT", "/v1/consents", 405, "GET, HEAD, POST"},
		{"a method of another dialect", "DELETE", "/api/smart-keys/interceptors", 405, "GET, HEAD, POST"},
		{"options", "OPTIONS", "/v1/subscriptions/x", 405, "DELETE, GET, HEAD, PATCH, PUT"},
		{"a method nobody knows", "BREW", "/v1/consents", 405, "GET, HEAD, POST"},
		{"a token by GET", "GET", "/oauth2/token", 405, "POST"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, "http://x/", nil)
			u, err := url.Parse(tt.target)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
			r.Header.Set("Authorization", "Bearer "+w.ours.token)
			a := w.send(r).want(tt.want)
			if got := a.header.Get("Allow"); got != tt.allow {
				t.Errorf("got Allow %q, want %q", got, tt.allow)
			}
			if tt.want == 405 && strings.HasPrefix(tt.target, "/v1/") && a.text("code") != "method_not_allowed" {
				t.Errorf("got the code %q", a.text("code"))
			}
		})
	}
	head := w.call("HEAD", "/openapi.json", "", "").want(200)
	if len(head.body) != 0 || head.header.Get("Content-Length") == "0" {
		t.Errorf("got a body of %d bytes and Content-Length %q in answer to HEAD", len(head.body), head.header.Get("Content-Length"))
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	large := `{"url":"` + strings.Repeat("x", MaxBody) + `"}`
	tests := []struct {
		name    string
		target  string
		content string
		header  []string
		want    int
		code    string
	}{
		{"more than 1 MiB", "/v1/subscriptions", large, nil, 413, "body_too_large"},
		{"text", "/v1/consents", "hello", []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{"no type", "/v1/consents", dataConsent, []string{"Content-Type", ""}, 415, "unsupported_media_type"},
		{"a form", "/v1/consents", "a=b", []string{"Content-Type", mediaForm}, 415, "unsupported_media_type"},
		{"another character set", "/v1/consents", dataConsent, []string{"Content-Type", "application/json; charset=latin1"}, 415, "unsupported_media_type"},
		{"another parameter", "/v1/consents", dataConsent, []string{"Content-Type", "application/json; q=1"}, 415, "unsupported_media_type"},
		{"a broken type", "/v1/consents", dataConsent, []string{"Content-Type", "application/json;;"}, 415, "unsupported_media_type"},
		{"compressed", "/v1/consents", dataConsent, []string{"Content-Encoding", "gzip"}, 415, "unsupported_encoding"},
		{"a merge patch where none is taken", "/v1/consents", dataConsent, []string{"Content-Type", mediaPatch}, 415, "unsupported_media_type"},
		{"UTF-8, said so", "/v1/consents", dataConsent, []string{"Content-Type", `application/json; charset="UTF-8"`}, 201, ""},
		{"nothing", "/v1/consents", "", nil, 400, "empty_body"},
		{"nothing where nothing is needed", "/v1/subscriptions/" + o.subscription + "/test", "", nil, 200, ""},
		{"nothing, with a type", "/v1/subscriptions/" + o.subscription + "/test", "", []string{"Content-Type", "text/plain"}, 200, ""},
		{"an empty object", "/v1/subscriptions/" + o.subscription + "/test", "{}", nil, 200, ""},
		{"a member of nothing", "/v1/subscriptions/" + o.subscription + "/test", `{"a":1}`, nil, 400, "invalid_request"},
		{"a list", "/v1/subscriptions/" + o.subscription + "/test", `[]`, nil, 400, "wrong_type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := w.our("POST", tt.target, tt.content, tt.header...).want(tt.want)
			if tt.code != "" && a.text("code") != tt.code {
				t.Errorf("got the code %q, want %q", a.text("code"), tt.code)
			}
		})
	}
	t.Run("in pieces and too long", func(t *testing.T) {
		t.Parallel()
		r := httptest.NewRequest("POST", "/v1/subscriptions", strings.NewReader(large))
		r.ContentLength = -1
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+w.ours.token)
		w.send(r).want(413)
	})
	t.Run("cut short", func(t *testing.T) {
		t.Parallel()
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v1/consents", nil)
		r.Body, r.ContentLength = cutShort{}, 100
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+w.ours.token)
		w.face.ServeHTTP(rec, r)
		if rec.Code != 400 {
			t.Errorf("got %d, want 400: %s", rec.Code, rec.Body)
		}
	})
}

type cutShort struct{}

func (cutShort) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
func (cutShort) Close() error             { return nil }

func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, sec := w.ours.clientID, w.ours.clientSecret
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+sec))
	wrongBasic := "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":wrong"))
	creds := "&client_id=" + id + "&client_secret=" + sec
	const grant = "grant_type=client_credentials"
	tests := []struct {
		name, form, authorization string
		want                      int
		code                      string
	}{
		{"by Basic", grant, basic, 200, ""},
		{"in the body", grant + creds, "", 200, ""},
		{"with a scope", grant + creds + "&scope=openid+email", "", 200, ""},
		{"with an empty scope and a foreign parameter", grant + creds + "&scope=&audience=x", "", 200, ""},
		{"both ways", grant + creds, basic, 400, "invalid_request"},
		{"half of both ways", grant + "&client_id=" + id, basic, 400, "invalid_request"},
		{"a repeated parameter", grant + "&" + grant, basic, 400, "invalid_request"},
		{"no grant", "scope=x", basic, 400, "invalid_request"},
		{"another grant", "grant_type=password", basic, 400, "unsupported_grant_type"},
		{"a broken scope", grant + "&scope=a++b", basic, 400, "invalid_scope"},
		{"nobody", grant, "", 401, "invalid_client"},
		{"a wrong secret", grant, wrongBasic, 401, "invalid_client"},
		{"an unknown client", grant + "&client_id=cli_none&client_secret=x", "", 401, "invalid_client"},
		{"no secret", grant + "&client_id=" + id, "", 400, "invalid_request"},
		{"a bearer", grant, "Bearer x", 401, "invalid_client"},
		{"broken base 64", grant, "Basic !!", 401, "invalid_client"},
		{"a broken form", grant + "&a=%zz", basic, 400, "invalid_request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := w.call("POST", "/oauth2/token", "", tt.form, "Content-Type", mediaForm, "Authorization", tt.authorization).want(tt.want)
			if a.text("error") != tt.code {
				t.Errorf("got the error %q, want %q: %s", a.text("error"), tt.code, a.body)
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
				t.Errorf("got Cache-Control %q and Pragma %q", a.header.Get("Cache-Control"), a.header.Get("Pragma"))
			}
			if tt.want == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("got the challenge %q", a.header.Get("WWW-Authenticate"))
			}
			if tt.want == 200 {
				w.call("GET", "/v1/consents", a.text("access_token"), "").want(200)
			}
		})
	}
	w.call("POST", "/oauth2/token", "", `{"grant_type":"client_credentials"}`).want(415)
	w.call("POST", "/oauth2/token?client_secret=x", "", grant, "Content-Type", mediaForm, "Authorization", basic).want(400)

	source := []struct {
		name, content, want string
		status              int
	}{
		{"no secret", `{"client_id":"a"}`, "/client_secret required", 400},
		{"nothing", `{}`, "/client_id required, /client_secret required", 400},
		{"a number", `{"client_id":1,"client_secret":"x"}`, "/client_id wrong_type", 400},
		{"a foreign member", `{"client_id":"a","client_secret":"x","grant_type":"y"}`, "/grant_type unknown_member", 400},
		{"twice", `{"client_id":"a","client_id":"a","client_secret":"x"}`, "/client_id duplicate_member", 400},
		{"a wrong secret", `{"client_id":"` + id + `","client_secret":"x"}`, " invalid_client", 401},
		{"an unknown client", `{"client_id":"a","client_secret":"x"}`, " invalid_client", 401},
	}
	for _, tt := range source {
		t.Run("source A: "+tt.name, func(t *testing.T) {
			t.Parallel()
			if got := w.call("POST", "/api/portal/onboard/v1/token", "", tt.content).want(tt.status).faults(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTokens_endWithTheirCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := w.call("POST", "/v1/applications/"+w.ours.application+"/credentials", operatorBearer, "").want(201)
	w.call("DELETE", "/v1/applications/"+w.ours.application+"/credentials/"+w.ours.clientID, operatorBearer, "").want(204)
	w.our("GET", "/v1/consents", "").want(401)
	w.call("POST", "/oauth2/token", "", "grant_type=client_credentials&client_id="+second.text("clientId")+"&client_secret="+second.text("clientSecret"), "Content-Type", mediaForm).want(200)
	w.call("DELETE", "/v1/applications/"+w.ours.application+"/credentials/"+w.ours.clientID, operatorBearer, "").want(404)
}

func TestTokens_guessingIsSlowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 30 {
		a := w.call("POST", "/api/portal/onboard/v1/token", "", `{"client_id":"`+w.ours.clientID+`","client_secret":"guess"}`)
		if a.status == 429 {
			return
		}
		a.want(401)
	}
	t.Error("got 30 guesses answered 401, want 429 before")
}

func TestMetrics_whoMayRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		name, peer string
		header     []string
		want       int
	}{
		{"from the machine itself", "127.0.0.1:1", nil, 200},
		{"from the machine itself by IPv6", "[::1]:1", nil, 200},
		{"mapped", "[::ffff:127.0.0.1]:1", nil, 200},
		{"from elsewhere", "192.0.2.1:1", nil, 401},
		{"passed on", "127.0.0.1:1", []string{"X-Forwarded-For", "192.0.2.1"}, 401},
		{"passed on for a host", "127.0.0.1:1", []string{"X-Forwarded-Host", "a"}, 401},
		{"passed on by the standard", "127.0.0.1:1", []string{"Forwarded", "for=192.0.2.1"}, 401},
		{"passed on by nginx", "127.0.0.1:1", []string{"X-Real-Ip", "192.0.2.1"}, 401},
		{"passed on by a proxy that says so", "127.0.0.1:1", []string{"Via", "1.1 proxy"}, 401},
		{"the operator", "192.0.2.1:1", []string{"Authorization", "Bearer " + operatorBearer}, 200},
		{"a forged bearer", "127.0.0.1:1", []string{"Authorization", "Bearer x"}, 401},
		{"an application", "192.0.2.1:1", []string{"Authorization", "Bearer " + w.ours.token}, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.RemoteAddr = tt.peer
			for i := 0; i+1 < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			a := w.send(r).want(tt.want)
			if tt.want == 200 && !strings.Contains(string(a.body), "consentwire_http_requests_total") {
				t.Error("got no metrics")
			}
		})
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("GET", "/healthz", "", "").want(200)
	w.call("GET", "/readyz", "", "").want(200)
	w.ready = errors.New("disk on fire")
	a := w.call("GET", "/readyz", "", "").want(503)
	if strings.Contains(string(a.body), "fire") {
		t.Errorf("the answer tells the cause: %s", a.body)
	}
	if !strings.Contains(w.log.String(), "disk on fire") {
		t.Error("the log does not tell the cause")
	}
	w.call("GET", "/healthz", "", "").want(200)
}

// TestSilent: an error without a kind reaches no caller; the log has its cause
// and the request's ID.
func TestSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reader.err = errors.New("table event is corrupt at page 7")
	a := w.our("GET", "/v1/events", "", "X-Request-Id", "abc-123").want(500)
	if strings.Contains(string(a.body), "corrupt") || a.text("requestId") != "abc-123" || !strings.Contains(a.text("detail"), "abc-123") {
		t.Errorf("got %s, want one neutral sentence with the request ID", a.body)
	}
	if got := a.header.Get("X-Request-Id"); got != "abc-123" {
		t.Errorf("got X-Request-Id %q, want the caller's", got)
	}
	i := strings.Index(w.log.String(), "corrupt at page 7")
	if i < 0 || !strings.Contains(w.log.String()[i:], "abc-123") {
		t.Errorf("the log does not tell the cause and the request ID: %s", w.log)
	}

	w.reader.err = &fault.Error{Kind: fault.Unavailable, Code: "busy", Msg: "Too much at once.", RetryAfter: 2500e6}
	if got := w.our("GET", "/v1/events", "").want(503).header.Get("Retry-After"); got != "3" {
		t.Errorf("got Retry-After %q, want 3", got)
	}
}

func TestLog_oneWideLinePerRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.our("GET", "/v1/events?subject=con_secret_subject", "", "X-Request-Id", "bad id!")
	var line string
	for l := range strings.SplitSeq(w.log.String(), "\n") {
		if strings.Contains(l, `"route":"/v1/events"`) {
			line = l
		}
	}
	for _, want := range []string{`"msg":"request"`, `"method":"GET"`, `"status":200`, `"durationMs":`, `"clientId":"` + w.ours.clientID, `"application":"` + w.ours.application, `"requestId":"req_`} {
		if !strings.Contains(line, want) {
			t.Errorf("got the line %s, want %s in it", line, want)
		}
	}
	for _, bad := range []string{"con_secret_subject", w.ours.token, w.ours.clientSecret, "bad id", operatorBearer} {
		if strings.Contains(w.log.String(), bad) {
			t.Errorf("the log holds %q", bad)
		}
	}
}

func TestPanic_isAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, is := w.face.(*server)
	if !is {
		t.Fatal("the face is no server")
	}
	s.mux.Handle("/panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the sky fell") }))
	rec := httptest.NewRecorder()
	w.face.ServeHTTP(rec, httptest.NewRequest("GET", "/panic", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "sky") {
		t.Errorf("got %d %s, want a neutral 500", rec.Code, rec.Body)
	}
	if !strings.Contains(w.log.String(), "the sky fell") {
		t.Error("the log does not tell of it")
	}
}

func TestGuard_tellsBrowsersToStayWithTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.call("GET", "/healthz", "", "").header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("without TLS: got %q, want none", got)
	}
	if got := w.call("GET", "https://consentwire.example/healthz", "", "").header.Get("Strict-Transport-Security"); got == "" {
		t.Error("with TLS: got none")
	}
}

func TestStatusOf_everyKind(t *testing.T) {
	t.Parallel()
	var got []int
	for k := fault.Internal; k <= fault.Unavailable; k++ {
		got = append(got, statusOf(k))
	}
	want := []int{500, 400, 422, 401, 404, 404, 409, 413, 415, 429, 503}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
