package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%swant\n%s", path, got, want)
	}
}

func parse(t *testing.T, s string) body.Node {
	t.Helper()
	n, err := body.Parse([]byte(s))
	if err != nil {
		t.Fatalf("parse %s: %v", s, err)
	}
	return n
}

// https stands for the outbound client's own check of an address.
func https(raw string) error {
	if !strings.HasPrefix(raw, "https://") {
		return fault.New(fault.Invalid, "scheme", "The address must begin with https://.")
	}
	return nil
}

// codes returns "path code" of each fault.
func codes(err error) string {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return ""
	}
	var out []string
	for _, x := range f.Fields {
		out = append(out, x.Path+" "+x.Code)
	}
	return strings.Join(out, ", ")
}

func t0() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC) }

// registered gives e what an owner does not choose.
func registered(e subscription.Endpoint) subscription.Endpoint {
	e.ID, e.Application, e.Version = "sub_1", "app_1", 1
	e.CreatedAt, e.UpdatedAt = t0(), t0().Add(time.Hour)
	e.SigningSecrets = []subscription.SigningSecret{{Secret: secret.New("whsec_signing")}}
	return e
}

// examples are the bodies of "Update a Subscription", as they stand there but
// for the two commas too many and the one too few, and their secrets.
func examples(t *testing.T) map[string]struct{ body, secret string } {
	t.Helper()
	out := map[string]struct{ body, secret string }{}
	for name, secret := range map[string]string{
		"none": "", "api-key-header": "ABC1234", "api-key-query": "ABC1234", "bearer": "ABC1234",
		"oauth2": "<client secret>", "salesforce": "{your refresh token}",
	} {
		b, err := os.ReadFile(filepath.Join("testdata", "source", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = struct{ body, secret string }{string(b), secret}
	}
	return out
}

func TestReplaceSubscription_takesTheSourcesExamples(t *testing.T) {
	t.Parallel()
	for name, ex := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, discard, err := wire.ReplaceSubscription(parse(t, ex.body), subscription.Endpoint{}, https)
			if err != nil || discard {
				t.Fatalf("got %v and discard %t, want neither", err, discard)
			}
			var got []string
			for _, s := range e.Secrets() {
				got = append(got, s.Reveal())
			}
			if strings.Join(got, "|") != ex.secret {
				t.Errorf("got the secrets %q, want %q", got, ex.secret)
			}
			e = registered(e)
			golden(t, "read-"+name, wire.Subscription(e, delivery.Health{}))

			// What a read shows, without what is ours to set, is a patch that
			// changes nothing.
			raw, err := json.Marshal(wire.Subscription(e, delivery.Health{}))
			if err != nil {
				t.Fatal(err)
			}
			patch := parse(t, string(raw))
			for _, ours := range []string{"subscriptionId", "applicationId", "backlog", "discarded", "circuit", "authorisation", "createdAt", "updatedAt"} {
				patch = patch.Without(ours)
			}
			again, _, err := wire.PatchSubscription(patch, e, https)
			if err != nil {
				t.Fatalf("the read sent back: %v", err)
			}
			same(t, again, e)
		})
	}
}

// same compares all of two endpoints, secrets included.
func same(t *testing.T, got, want subscription.Endpoint) {
	t.Helper()
	type opened struct {
		E subscription.Endpoint
		S []string
	}
	text := func(e subscription.Endpoint) string {
		o := opened{E: e}
		for _, s := range e.Secrets() {
			o.S = append(o.S, s.Reveal())
		}
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if text(got) != text(want) {
		t.Errorf("got  %s\nwant %s", text(got), text(want))
	}
}

func TestSubscription_showsEverything(t *testing.T) {
	t.Parallel()
	pair := newPair(t)
	e, err := wire.CreateSubscription(parse(t, `{"name":"all","url":"https://a.example/x?y=1","status":"paused","updateType":"effective-permission",
		"eventTypes":["before : consent : create","permissions.effective","webhook.status_changed"],
		"authentication":{"authType":"token","token":"first","refreshToken":"renew","refreshUrl":"https://login.example/token","clientId":"client","clientSecret":"hush"},
		"retrySchedule":["5s","1h30m","1500ms"],"timeoutSeconds":20,"rateLimit":50,"maxInFlight":8,"description":"two\nlines","metadata":{"team":"privacy"},"onBacklog":"latest","signatures":["v1","v1a"]}`), https)
	if err != nil {
		t.Fatal(err)
	}
	e = registered(e)
	e.Auth.MTLS = subscription.MTLS{Certificate: "-----BEGIN CERTIFICATE-----…", PrivateKey: secret.New(pair.key), CACertificate: "-----BEGIN CERTIFICATE-----…"}
	golden(t, "created-everything", wire.SubscriptionCreated(e))

	e.Status, e.StatusReason = subscription.Suspended, "The receiver answered 410 Gone."
	golden(t, "read-suspended", wire.Subscription(e, delivery.Health{
		Backlog: delivery.BacklogExact, AtLeast: true, OldestAt: t0(), Discarded: 3,
		Breaker: delivery.Breaker{Open: true, Since: t0(), Failures: 20, Reason: "connection refused"},
	}))

	e.Auth = subscription.Auth{Type: subscription.AuthBasic, Basic: subscription.Basic{User: "jürgen", Password: secret.New("hush")}}
	e.Status, e.StatusReason = subscription.Active, ""
	golden(t, "read-basic", wire.Subscription(e, delivery.Health{Backlog: 1, OldestAt: t0()}))
}

func TestInterceptor_shows(t *testing.T) {
	t.Parallel()
	plain, err := wire.CreateInterceptor(parse(t, `{"endpoint":"https://www.my-domain.com/webhook","isAuthenticated":false,"authenticationType":"","user":"","password":"","type":"DATA"}`), https)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "interceptor-created", wire.InterceptorCreated(registered(plain)))

	basic, err := wire.ReplaceInterceptor(parse(t, `{"endpoint":"https://www.my-domain.com/webhook","isAuthenticated":true,"authenticationType":"basic","user":"u","password":"hush","type":"PAYMENT"}`), plain, https)
	if err != nil {
		t.Fatal(err)
	}
	if got := basic.Auth.Basic.Password.Reveal(); got != "hush" {
		t.Errorf("got the password %q, want hush", got)
	}
	basic = registered(basic)
	basic.Status, basic.StatusReason = subscription.Suspended, "The receiver answered 410 Gone."
	golden(t, "interceptor-suspended", wire.Interceptor(basic, delivery.Health{Backlog: 2, OldestAt: t0()}))
}

func TestReadInterceptor_refuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"nothing", `{}`, "/endpoint required, /type required, /isAuthenticated required"},
		{"wrong types", `{"endpoint":1,"isAuthenticated":"false","authenticationType":0,"user":[],"password":{},"type":true}`,
			"/endpoint wrong_type, /isAuthenticated wrong_type, /authenticationType wrong_type, /user wrong_type, /password wrong_type, /type wrong_type"},
		{"members that are ours to set", `{"endpoint":"https://a/","isAuthenticated":false,"type":"DATA","id":"int_1","createdAt":null,"status":"active"}`,
			"/id read_only, /status read_only, /createdAt read_only"},
		{"unknown members and other cases of letters", `{"endpoint":"https://a/","isAuthenticated":false,"type":"DATA","Endpoint":"x","url":"y"}`,
			"/Endpoint unknown_member, /url unknown_member"},
		{"nulls are absent", `{"endpoint":"https://a/","isAuthenticated":false,"authenticationType":null,"user":null,"password":null,"type":"DATA"}`, ""},
		{"a client certificate, which an interceptor has not", `{"endpoint":"https://a/","isAuthenticated":false,"type":"DATA","mtls":{},"signatures":["v1"]}`,
			"/mtls unknown_member, /signatures unknown_member"},
		{"an array", `[]`, " wrong_type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.CreateInterceptor(parse(t, tt.body), https)
			if got := codes(err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestReadSubscription_refuses(t *testing.T) {
	t.Parallel()
	const ok = `"url":"https://a/","authentication":{"authType":"none"}`
	tests := []struct{ name, body, want string }{
		{"nothing", `{}`, "/url required, /authentication required"},
		{"an array", `[]`, " wrong_type"},
		{"wrong types everywhere", `{"name":1,"url":2,"status":3,"updateType":4,"eventTypes":"x","authentication":"none","retrySchedule":"5s","timeoutSeconds":"20",
			"rateLimit":1.5,"maxInFlight":[],"description":{},"metadata":[],"onBacklog":true,"discard":"yes"}`,
			"/name wrong_type, /url wrong_type, /status wrong_type, /updateType wrong_type, /eventTypes wrong_type, /retrySchedule wrong_type, /timeoutSeconds wrong_type, " +
				"/rateLimit wrong_type, /maxInFlight wrong_type, /description wrong_type, /metadata wrong_type, /onBacklog wrong_type, /discard wrong_type, /authentication wrong_type"},
		{"wrong types in lists", `{` + ok + `,"eventTypes":["consent.approved",1],"retrySchedule":[5],"metadata":{"a":1}}`,
			"/eventTypes/1 wrong_type, /retrySchedule/0 wrong_type, /metadata/a wrong_type"},
		{"wrong types in the authentication", `{"url":"https://a/","authentication":{"authType":"api-key","apiKeyAuth":{"location":1,"key":null,"value":7}}}`,
			"/authentication/apiKeyAuth/location wrong_type, /authentication/apiKeyAuth/value wrong_type, /authentication/apiKeyAuth/key required"},
		{"a part of the authentication that is a text", `{"url":"https://a/","authentication":{"authType":"api-key","apiKeyAuth":"x"}}`, "/authentication/apiKeyAuth wrong_type"},
		{"unknown members at every depth", `{"url":"https://a/","x":1,"authentication":{"authType":"oauth2","y":1,"oauth2Auth":{"grantType":"client-credentials",
			"authenticationUrl":"https://a/t","clientId":"c","clientSecret":"s","z":1}}}`, "/x unknown_member, /authentication/y unknown_member, /authentication/oauth2Auth/z unknown_member"},
		{"names in another case of letters", `{` + ok + `,"Name":"x","uRl":"y"}`, "/Name unknown_member, /uRl unknown_member"},
		{"members that are ours to set", `{` + ok + `,"subscriptionId":"sub_1","createdAt":"x","statusReason":null,"backlog":{"count":1}}`,
			"/subscriptionId read_only, /statusReason read_only, /backlog read_only, /createdAt read_only"},
		{"a foreign token", `{"url":"https://a/","authentication":{"authType":"none","token":"x"}}`, "/authentication/token foreign_member"},
		{"a PUT without its secret", `{"url":"https://a/","authentication":{"authType":"token"}}`, "/authentication/token required"},
		{"a PUT of what a read shows has no secret", `{"url":"https://a/","authentication":{"authType":"token","token":null,"tokenSet":true}}`, "/authentication/token required"},
		{"members that tell of a secret are ignored, whatever they say", `{"url":"https://a/","authentication":{"authType":"token","token":"x","tokenSet":"maybe","refreshTokenSet":true,"clientSecretSet":null}}`, ""},
		{"members that tell of a secret are unknown elsewhere", `{` + ok + `,"tokenSet":true}`, "/tokenSet unknown_member"},
		{"null for every optional member", `{` + ok + `,"name":null,"status":null,"updateType":null,"eventTypes":null,"retrySchedule":null,"timeoutSeconds":null,"rateLimit":null,
			"maxInFlight":null,"description":null,"metadata":null,"onBacklog":null,"discard":null}`, ""},
		{"null for the required ones", `{"url":null,"authentication":null}`, "/url required, /authentication required"},
		{"an empty status and updateType", `{` + ok + `,"status":"","updateType":"","onBacklog":""}`, "/status too_short, /updateType too_short, /onBacklog too_short"},
		{"signatures and a client certificate of wrong types", `{"url":"https://a/","signatures":"v1","authentication":{"authType":"none","mtls":[]}}`,
			"/signatures wrong_type, /authentication/mtls wrong_type"},
		{"a client certificate of wrong types", `{"url":"https://a/","signatures":["v1",1],"authentication":{"authType":"none","mtls":{"certificate":1,"privateKey":2,"caCertificate":3,"x":4}}}`,
			"/signatures/1 wrong_type, /authentication/mtls/certificate wrong_type, /authentication/mtls/privateKey wrong_type, /authentication/mtls/caCertificate wrong_type, /authentication/mtls/x unknown_member"},
		{"a PUT of what a read shows has no private key", `{"url":"https://a/","authentication":{"authType":"none","mtls":{"certificate":"x","privateKey":null,"privateKeySet":true}}}`,
			"/authentication/mtls/certificate invalid_certificate, /authentication/mtls/privateKey required"},
		{"null for a client certificate", `{"url":"https://a/","signatures":null,"authentication":{"authType":"none","mtls":null}}`, ""},
		{"numbers out of bounds", `{` + ok + `,"timeoutSeconds":61,"rateLimit":0,"maxInFlight":1e9}`, "/timeoutSeconds out_of_range, /rateLimit out_of_range, /maxInFlight out_of_range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cur := subscription.Endpoint{Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New("old")}}}
			_, _, err := wire.ReplaceSubscription(parse(t, tt.body), cur, https)
			if got := codes(err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestCreateSubscription_needsNoAuthentication(t *testing.T) {
	t.Parallel()
	e, err := wire.CreateSubscription(parse(t, `{"url":"https://a/"}`), https)
	if err != nil || e.Auth.Type != subscription.AuthNone || e.Status != subscription.Active || e.UpdateType != subscription.EffectivePermission {
		t.Errorf("got %v %v %v %v, want none, active, effective-permission", err, e.Auth.Type, e.Status, e.UpdateType)
	}
	if got := e.Filter().Types; !slices.Equal(got, []event.Type{event.CitizenErased, event.PermissionsEffective}) {
		t.Errorf("got the types %v, want citizen.erased and permissions.effective", got)
	}
}

func TestSubscription_tellsHowAManagedTokenIs(t *testing.T) {
	t.Parallel()
	oauth := registered(subscription.Endpoint{Style: subscription.Subscription, Auth: subscription.Auth{Type: subscription.AuthOAuth2}})
	refresh := registered(subscription.Endpoint{Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{RefreshToken: secret.New("r")}}})
	static := registered(subscription.Endpoint{Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New("t")}}})
	held := delivery.Hold{State: delivery.NeedsReauthorisation, Since: t0(), Reason: "The refresh token was refused."}
	waits := delivery.Hold{State: delivery.TokenTrouble, Since: t0(), Reason: "No answer.", NextAt: t0().Add(time.Minute), Exchange: &delivery.Exchange{
		At: t0(), Duration: 1500 * time.Microsecond, Step: delivery.StepConnect, Reason: "refused",
		Request: delivery.Request{Method: "POST", URL: "https://login.example/token", Headers: []delivery.Header{{Name: "Accept", Value: "application/json"}}, Body: "grant_type=***"},
	}}
	tests := []struct {
		name string
		e    subscription.Endpoint
		hold delivery.Hold
		want string
	}{
		{"a static token is its owner's", static, delivery.Hold{}, "null"},
		{"no authentication", registered(subscription.Endpoint{Auth: subscription.Auth{Type: subscription.AuthNone}}), held, "null"},
		{"nothing is known yet", oauth, delivery.Hold{}, `{"state":"authorised","since":"2026-03-01T13:00:00.123Z"}`},
		{"the engine holds it", refresh, held, `{"state":"needs_reauthorisation","since":"2026-03-01T12:00:00.123Z","reason":"The refresh token was refused."}`},
		{"we try again", oauth, waits, `{"state":"held","since":"2026-03-01T12:00:00.123Z","reason":"No answer.","nextAt":"2026-03-01T12:01:00.123Z",` +
			`"lastExchange":{"at":"2026-03-01T12:00:00.123Z","durationMs":1.5,"step":"connect","reason":"refused",` +
			`"request":{"method":"POST","url":"https://login.example/token","headers":{"Accept":"application/json"},"body":"grant_type=***"}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(wire.Subscription(tt.e, delivery.Health{Hold: tt.hold}).Authorisation)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
