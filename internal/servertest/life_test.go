package servertest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
)

// The source's two commands, as they are printed there; only the host, the
// credential and the token are the reader's own.
//
// Source: "Webhook in Data Sharing", "Access Token Request" and "Webhook
// Registration API".
const (
	sourceToken = `curl --location --request POST 'https://onboard.smartkeys.celcoin.dev.fsapps.io/api/portal/onboard/v1/token' \
 --header 'Content-Type: application/json' \
 --data-raw '{ "client_id":"64b51075-45bf-46cc-aed4-29b69b51816d", "client_secret": "9257b897-01ca-4ebd-9fd4-************"}'`

	sourceRegistration = `curl --location 'https://onboard.smartkeys.celcoin.dev.fsapps.io/api/smart-keys/interceptors' \
--header 'Content-Type: application/json' \
--header 'Authorization: Bearer {{your_generated_access_token_here}}' \
--data '{
"endpoint": "https://www.my-domain.com/webhook",
"isAuthenticated": false,
"authenticationType": "",
"user": "",
"password": "",
"type": "DATA"
}'`
)

func TestSourceDocument(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{})
	a := s.NewApplication("My First App")
	own := strings.NewReplacer(
		"https://onboard.smartkeys.celcoin.dev.fsapps.io", s.URL,
		"64b51075-45bf-46cc-aed4-29b69b51816d", a.ClientID,
		"9257b897-01ca-4ebd-9fd4-************", a.ClientSecret,
	)
	run := func(command string) (status, body string) {
		t.Helper()
		out := shell(t, strings.Replace(own.Replace(command), "curl ", `curl --silent --write-out '\n%{http_code}' `, 1))
		i := strings.LastIndexByte(out, '\n')
		return out[i+1:], out[:i]
	}

	status, body := run(sourceToken)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &token); status != "200" || err != nil || token.AccessToken == "" {
		t.Fatalf("got %s and %s (%v), want 200 and a token", status, body, err)
	}
	if want := `{"access_token":"` + token.AccessToken + `","expires_in":3600,"refresh_expires_in":0,"token_type":"Bearer","not-before-policy":0,"scope":"email profile"}`; strings.TrimSpace(body) != want {
		t.Errorf("got %s, want %s", body, want)
	}

	form := shell(t, `curl --silent '`+s.URL+`/oauth2/token' --user '`+a.ClientID+`:`+a.ClientSecret+`' --data grant_type=client_credentials`)
	var other struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(form), &other); err != nil || other.AccessToken == "" || !strings.EqualFold(other.TokenType, "Bearer") || other.ExpiresIn != 3600 {
		t.Errorf("got %s (%v), want a token of RFC 6749", form, err)
	}

	for _, tt := range []struct{ token, status string }{
		{token.AccessToken, "201"},
		{other.AccessToken, "409"}, // the same endpoint and type again
		{"forged", "401"},
	} {
		status, body := run(strings.Replace(sourceRegistration, "{{your_generated_access_token_here}}", tt.token, 1))
		if status != tt.status {
			t.Errorf("got %s and %s, want %s", status, body, tt.status)
		}
	}
	if status, body := run(strings.NewReplacer("{{your_generated_access_token_here}}", token.AccessToken,
		"https://www", "http://www", "DATA", "CARDS").Replace(sourceRegistration)); status != "400" || !strings.Contains(body, "endpoint") || !strings.Contains(body, "type") {
		t.Errorf("got %s and %s, want 400 and both fields named", status, body)
	}
}

// The six events of the source over the lives of three consents, at a receiver
// with roots of its own.
func TestLife(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		child bool
	}{{"in process", false}, {"as a child", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := servertest.Options{CA: servertest.NewCA(t), Env: []string{"CONSENTWIRE_CONSENT_APPROVAL_TTL=3s", "CONSENTWIRE_LOG_LEVEL=info"}}
			if tt.child {
				o.Binary = binary(t)
			}
			rcv := servertest.NewReceiver(t, o.CA)
			s := servertest.Start(t, o)
			a := s.NewApplication("Bank")
			_, signing := register(t, a, rcv.URL+"/webhook")

			ignored := a.CreateConsent()
			revoked := a.CreateConsent()
			a.Act(revoked, "approve")
			a.Act(revoked, "revoke")
			rejected := a.CreateConsent()
			a.Act(rejected, "reject")

			got := bySubject(rcv.Wait(t, 4+3+3))
			for subject, want := range map[string][]string{
				ignored:  {"before:consent:create", "after:consent:create", "consent:expired"},
				revoked:  {"before:consent:create", "after:consent:create", "consent:approved", "consent:revoke"},
				rejected: {"before:consent:create", "after:consent:create", "consent:rejected"},
			} {
				if !slices.Equal(names(got[subject]), want) {
					t.Errorf("got %v, want %v", names(got[subject]), want)
				}
				for i, r := range got[subject] {
					if err := r.Verify(signing); err != nil {
						t.Errorf("%s: %v", r.Event(), err)
					}
					if r.Sequence() != int64(i+1) {
						t.Errorf("%s: got sequence %d, want %d", r.Event(), r.Sequence(), i+1)
					}
					if r.Method != http.MethodPost || r.Path != "/webhook" || r.Header.Get("Content-Type") != "application/json" ||
						!strings.HasPrefix(r.Header.Get("User-Agent"), "Consentwire/") || r.Header.Get("Consentwire-Attempt") != "1" ||
						r.Header.Get("X-Webhook-Interaction-Id") == "" || r.Header.Get("Authorization") != "" {
						t.Errorf("got %s %s with %v, want a delivery of CONTRACT 7", r.Method, r.Path, r.Header)
					}
				}
			}

			expired := only(events(t, a), "consent.expired")
			if len(expired) != 1 {
				t.Fatalf("got %d expiries in the log, want 1", len(expired))
			}
			created, occurred, recorded := when(t, a, ignored, "consent.created"), at(t, expired[0].OccurredAt), at(t, expired[0].RecordedAt)
			if occurred.Sub(created) != 3*time.Second {
				t.Errorf("expired at %v after its creation, want 3s: the deadline", occurred.Sub(created))
			}
			if late := recorded.Sub(occurred); late < 0 || late > time.Second {
				t.Errorf("recorded %v after the deadline, want at most 1s", late)
			}
		})
	}
}

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// when returns when an event of a consent occurred.
func when(t *testing.T, a *servertest.Application, subject, typ string) time.Time {
	t.Helper()
	for _, e := range only(events(t, a), typ) {
		if e.Subject == subject {
			return at(t, e.OccurredAt)
		}
	}
	t.Fatalf("there is no %s of %s", typ, subject)
	return time.Time{}
}

// What the receiver sees of each way to prove ourselves that needs no token of
// ours.
func TestAuthentication_onTheWire(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	s := servertest.Start(t, servertest.Options{CA: ca})
	a := s.NewApplication("Bank")
	key := func(location, name string) map[string]any {
		return map[string]any{"authType": "api-key", "apiKeyAuth": map[string]string{"location": location, "key": name, "value": "ABC 123&=+"}}
	}
	tests := []struct {
		name, path string
		auth       map[string]any
		header     map[string]string // that must be there, "" for must not
		query      string
	}{
		{"none", "/none", map[string]any{"authType": "none"}, map[string]string{"Authorization": "", "X-Api-Key": ""}, ""},
		{"basic", "/basic", map[string]any{"authType": "basic", "basicAuth": map[string]string{"user": "Aladdin", "password": "open sesame"}},
			map[string]string{"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, ""}, // RFC 7617, section 2
		{"a key in a header", "/header", key("header", "X-API-Key"), map[string]string{"X-Api-Key": "ABC 123&=+", "Authorization": ""}, ""},
		{"a key in the query", "/query?a=1", key("query", "key"), map[string]string{"Authorization": ""}, "a=1&key=ABC%20123%26%3D%2B"},
		{"a token", "/token", map[string]any{"authType": "token", "token": "ABC1234"}, map[string]string{"Authorization": "Bearer ABC1234"}, ""},
	}
	for _, tt := range tests {
		subscribe(t, a, rcv.URL+tt.path, map[string]any{"authentication": tt.auth, "eventTypes": []string{"consent:approved"}})
	}
	a.Call("POST", "/api/smart-keys/interceptors", map[string]any{
		"endpoint": rcv.URL + "/interceptor", "isAuthenticated": true, "authenticationType": "basic", "user": "Aladdin", "password": "open sesame", "type": "DATA",
	}).Want(t, 201)
	c := a.CreateConsent()
	a.Act(c, "approve")
	got := rcv.Wait(t, len(tests)+3)

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _, _ := strings.Cut(tt.path, "?")
			n := slices.IndexFunc(got, func(r servertest.Received) bool { return r.Path == path })
			if n < 0 {
				t.Fatalf("nothing came to %s", path)
			}
			r := got[n]
			for name, want := range tt.header {
				if v := r.Header.Values(name); len(v) > 1 || r.Header.Get(name) != want {
					t.Errorf("got %s %q, want %q", name, v, want)
				}
			}
			// A blank in a query is "+" or "%20" (URL Standard, RFC 3986).
			if q := strings.ReplaceAll(r.Query, "+", "%20"); q != tt.query {
				t.Errorf("got the query %q, want %q", r.Query, tt.query)
			}
			if r.Event() != "consent:approved" {
				t.Errorf("got %s, want only what was subscribed", r.Event())
			}
		})
	}
	for _, r := range got {
		if r.Path == "/interceptor" && r.Header.Get("Authorization") != "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" {
			t.Errorf("the interceptor got %q", r.Header.Get("Authorization"))
		}
	}
}
