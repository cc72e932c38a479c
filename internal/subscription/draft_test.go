package subscription_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// https stands for the outbound client's own check of an address.
func https(raw string) error {
	if strings.Contains(raw, "unclassified") {
		return errors.New("a text with " + raw)
	}
	if !strings.HasPrefix(strings.ToLower(raw), "https://") {
		return fault.New(fault.Invalid, "scheme", "The address must begin with https://.")
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

func given(s string) subscription.SecretInput {
	return subscription.SecretInput{Given: true, Value: secret.New(s)}
}

func kept() subscription.SecretInput { return subscription.SecretInput{Keep: true} }

// codes returns "path code" of each fault.
func codes(fields []fault.Field) string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Path+" "+f.Code)
	}
	return strings.Join(out, ", ")
}

func valid() subscription.Draft {
	return subscription.Draft{URL: "https://my-subscription/updates", Auth: &subscription.AuthDraft{Type: ptr("none")}}
}

func TestDraft_Apply_checksEveryField(t *testing.T) {
	t.Parallel()
	type draft = subscription.Draft
	n := func(i int64) *int64 { return &i }
	tests := []struct {
		name string
		edit func(d *draft)
		want string
	}{
		{"nothing but what is required", func(*draft) {}, ""},

		{"a name of 50 characters", func(d *draft) { d.Name = strings.Repeat("é", 50) }, ""},
		{"a name of 51 characters", func(d *draft) { d.Name = strings.Repeat("é", 51) }, "/name too_long"},
		{"a name with a line end", func(d *draft) { d.Name = "a\nb" }, "/name invalid_character"},
		{"a name with a C1 control character", func(d *draft) { d.Name = "a\u0085b" }, "/name invalid_character"},

		{"no url", func(d *draft) { d.URL = "" }, "/url required"},
		{"a url of 2000 characters", func(d *draft) { d.URL = "https://a/" + strings.Repeat("é", 1990) }, ""},
		{"a url of 2001 characters", func(d *draft) { d.URL = "https://a/" + strings.Repeat("é", 1991) }, "/url too_long"},
		{"a url that is refused for a reason", func(d *draft) { d.URL = "http://a/" }, "/url scheme"},
		{"a url that is refused without one", func(d *draft) { d.URL = "https://unclassified" }, "/url invalid_url"},

		{"status active", func(d *draft) { d.Status = "active" }, ""},
		{"status paused", func(d *draft) { d.Status = "paused" }, ""},
		{"status suspended is ours to set", func(d *draft) { d.Status = "suspended" }, "/status invalid_value"},
		{"a status in capitals", func(d *draft) { d.Status = "Active" }, "/status invalid_value"},
		{"discard with paused", func(d *draft) { d.Status, d.Discard = "paused", true }, ""},
		{"discard with active", func(d *draft) { d.Discard = true }, "/discard invalid_value"},

		{"updateType citizen-emails", func(d *draft) { d.UpdateType = "citizen-emails" }, ""},
		{"updateType consent-receipts", func(d *draft) { d.UpdateType = "consent-receipts" }, ""},
		{"updateType effective-permission", func(d *draft) { d.UpdateType = "effective-permission" }, ""},
		{"an unknown updateType", func(d *draft) { d.UpdateType = "effective-permissions" }, "/updateType invalid_value"},

		{"every event type that may be listed", func(d *draft) {
			d.EventTypes = []string{"consent.create.received", "consent.created", "consent.approved", "consent.rejected", "consent.expired",
				"consent.revoked", "consent.consumed", "consent.extended", "permissions.effective", "webhook.status_changed"}
		}, ""},
		{"event types as the source spells them", func(d *draft) {
			d.EventTypes = []string{"before : consent : create", "after:consent:create", "Consent : Approved", "CONSENT:REVOKE"}
		}, ""},
		{"an empty list of event types", func(d *draft) { d.EventTypes = []string{} }, "/eventTypes too_short"},
		{"an unknown event type", func(d *draft) { d.EventTypes = []string{"consent.approved", "consent.lost"} }, "/eventTypes/1 invalid_value"},
		{"an empty event type", func(d *draft) { d.EventTypes = []string{""} }, "/eventTypes/0 invalid_value"},
		{"the feed of another updateType", func(d *draft) { d.EventTypes = []string{"permissions.delta", "citizen.email"} },
			"/eventTypes/0 invalid_value, /eventTypes/1 invalid_value"},
		{"the feed of the chosen updateType", func(d *draft) { d.UpdateType, d.EventTypes = "citizen-emails", []string{"citizen.email"} }, ""},
		{"webhook.test cannot be listed", func(d *draft) { d.EventTypes = []string{"webhook.test"} }, "/eventTypes/0 invalid_value"},
		{"an event type twice in two spellings", func(d *draft) { d.EventTypes = []string{"consent.revoked", "consent:revoke"} }, "/eventTypes/1 duplicate"},
		{"an event type with a Kelvin sign", func(d *draft) { d.EventTypes = []string{"webhoo\u212a.status_changed"} }, "/eventTypes/0 invalid_value"},
		{"event types of an unknown updateType are not judged", func(d *draft) { d.UpdateType, d.EventTypes = "x", []string{"permissions.delta"} }, "/updateType invalid_value"},

		{"the shortest and the longest wait", func(d *draft) { d.RetrySchedule = []string{"10ms", "5s", "1h30m", "168h"} }, ""},
		{"as many waits as may be", func(d *draft) { d.RetrySchedule = strings.Split(strings.Repeat("5s,", 19)+"5s", ",") }, ""},
		{"a wait too many", func(d *draft) { d.RetrySchedule = strings.Split(strings.Repeat("5s,", 20)+"5s", ",") }, "/retrySchedule too_many"},
		{"an empty schedule", func(d *draft) { d.RetrySchedule = []string{} }, "/retrySchedule too_short"},
		{"waits that are no durations", func(d *draft) { d.RetrySchedule = []string{"5", "soon", "", "5s ", "1d"} },
			"/retrySchedule/0 invalid_duration, /retrySchedule/1 invalid_duration, /retrySchedule/2 invalid_duration, /retrySchedule/3 invalid_duration, /retrySchedule/4 invalid_duration"},
		{"waits out of bounds", func(d *draft) { d.RetrySchedule = []string{"0s", "-5s", "9ms", "169h"} },
			"/retrySchedule/0 out_of_range, /retrySchedule/1 out_of_range, /retrySchedule/2 out_of_range, /retrySchedule/3 out_of_range"},

		{"the least of the numbers", func(d *draft) { d.TimeoutSeconds, d.RateLimit, d.MaxInFlight = n(1), n(1), n(1) }, ""},
		{"the most of the numbers", func(d *draft) { d.TimeoutSeconds, d.RateLimit, d.MaxInFlight = n(60), n(10_000), n(1024) }, ""},
		{"the numbers too small", func(d *draft) { d.TimeoutSeconds, d.RateLimit, d.MaxInFlight = n(0), n(-1), n(0) },
			"/timeoutSeconds out_of_range, /rateLimit out_of_range, /maxInFlight out_of_range"},
		{"the numbers too large", func(d *draft) { d.TimeoutSeconds, d.RateLimit, d.MaxInFlight = n(61), n(10_001), n(1025) },
			"/timeoutSeconds out_of_range, /rateLimit out_of_range, /maxInFlight out_of_range"},

		{"no part", func(d *draft) { d.Parts = n(0) }, "/parts out_of_range"},
		{"a part too many", func(d *draft) { d.Parts = n(33) }, "/parts out_of_range"},

		{"a description of 500 characters with line ends", func(d *draft) { d.Description = "a\r\n\t" + strings.Repeat("é", 496) }, ""},
		{"a description of 501 characters", func(d *draft) { d.Description = strings.Repeat("é", 501) }, "/description too_long"},
		{"a description with an escape character", func(d *draft) { d.Description = "\x1b[31m" }, "/description invalid_character"},

		{"as many metadata as may be", func(d *draft) { d.Metadata = many(20) }, ""},
		{"metadata too many", func(d *draft) { d.Metadata = many(21) }, "/metadata too_many"},
		{"metadata at their longest", func(d *draft) { d.Metadata = map[string]string{strings.Repeat("k", 40): strings.Repeat("é", 500)} }, ""},
		{"metadata with faulty keys and values", func(d *draft) {
			d.Metadata = map[string]string{"": "x", strings.Repeat("k", 41): "x", "v/~": strings.Repeat("v", 501), "w\n": "", "z": "\x00"}
		}, "/metadata/ too_short, /metadata/" + strings.Repeat("k", 41) + " too_long, /metadata/v~1~0 too_long, /metadata/w\n invalid_character, /metadata/z invalid_character"},

		{"onBacklog all", func(d *draft) { d.OnBacklog, d.UpdateType = "all", "consent-receipts" }, ""},
		{"onBacklog latest with effective-permission", func(d *draft) { d.OnBacklog = "latest" }, ""},
		{"onBacklog latest with another updateType", func(d *draft) { d.OnBacklog, d.UpdateType = "latest", "consent-receipts" }, "/onBacklog invalid_value"},
		{"an unknown onBacklog", func(d *draft) { d.OnBacklog = "newest" }, "/onBacklog invalid_value"},

		{"no authentication", func(d *draft) { d.Auth = nil }, "/authentication required"},
		{"all of it wrong is all told", func(d *draft) {
			*d = draft{Name: strings.Repeat("n", 51), URL: "ftp://x", Status: "x", UpdateType: "x", RetrySchedule: []string{"x"}, TimeoutSeconds: n(0), OnBacklog: "x"}
		}, "/name too_long, /url scheme, /status invalid_value, /updateType invalid_value, /authentication required, /retrySchedule/0 invalid_duration, /timeoutSeconds out_of_range, /onBacklog invalid_value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := valid()
			tt.edit(&d)
			_, fields := d.Apply(subscription.Endpoint{}, false, https)
			if got := codes(fields); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for _, f := range fields {
				if f.Msg == "" || !strings.HasSuffix(f.Msg, ".") {
					t.Errorf("%s says %q, want a sentence", f.Path, f.Msg)
				}
			}
		})
	}
}

func many(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("key", i)] = "value"
	}
	return m
}

func TestDraft_Apply_checksAuthentication(t *testing.T) {
	t.Parallel()
	type auth = subscription.AuthDraft
	header := func(key string, value subscription.SecretInput) auth {
		return auth{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: ptr("header"), Key: &key, Value: value}}
	}
	query := func(key string, value subscription.SecretInput) auth {
		return auth{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: ptr("query"), Key: &key, Value: value}}
	}
	token := func(v string) auth { return auth{Type: ptr("token"), Token: given(v)} }
	refresh := func(edit func(*auth)) auth {
		a := auth{Type: ptr("token"), RefreshToken: given("{your refresh token}"), RefreshURL: ptr("https://login/token")}
		edit(&a)
		return a
	}
	oauth := func(edit func(*subscription.OAuth2Draft)) auth {
		o := subscription.OAuth2Draft{
			GrantType: ptr("client-credentials"), AuthenticationURL: ptr("https://localhost:8080/oauth/token"),
			ClientID: ptr("<client id>"), ClientSecret: given("<client secret>"),
		}
		edit(&o)
		return auth{Type: ptr("oauth2"), OAuth2: &o}
	}
	basic := func(user, pass string) auth {
		return auth{Type: ptr("basic"), Basic: &subscription.BasicDraft{User: &user, Password: given(pass)}}
	}
	k := func(n int) string { return strings.Repeat("k", n) }
	const at = "/authentication"
	tests := []struct {
		name string
		auth auth
		want string
	}{
		{"no authType", auth{}, at + "/authType required"},
		{"an unknown authType", auth{Type: ptr("hmac"), Token: given("x")}, at + "/authType invalid_value"},
		{"an authType in capitals", auth{Type: ptr("None")}, at + "/authType invalid_value"},
		{"an empty authType", auth{Type: ptr("")}, at + "/authType invalid_value"},

		{"none with every foreign member", auth{Type: ptr("none"), APIKey: &subscription.APIKeyDraft{}, Token: given("x"), RefreshToken: given("x"),
			RefreshURL: ptr("x"), ClientID: ptr("x"), ClientSecret: given("x"), OAuth2: &subscription.OAuth2Draft{}, Basic: &subscription.BasicDraft{}},
			at + "/apiKeyAuth foreign_member, " + at + "/oauth2Auth foreign_member, " + at + "/basicAuth foreign_member, " + at + "/token foreign_member, " +
				at + "/refreshToken foreign_member, " + at + "/refreshUrl foreign_member, " + at + "/clientId foreign_member, " + at + "/clientSecret foreign_member"},
		{"api-key with a token", auth{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: ptr("header"), Key: ptr("X-Key"), Value: given("v")}, Token: given("x")},
			at + "/token foreign_member"},
		{"token with oauth2Auth", auth{Type: ptr("token"), Token: given("x"), OAuth2: &subscription.OAuth2Draft{}}, at + "/oauth2Auth foreign_member"},
		{"oauth2 with a clientId beside oauth2Auth", func() auth { a := oauth(func(*subscription.OAuth2Draft) {}); a.ClientID = ptr("x"); return a }(), at + "/clientId foreign_member"},

		{"api-key without apiKeyAuth", auth{Type: ptr("api-key")}, at + "/apiKeyAuth required"},
		{"api-key with an empty apiKeyAuth", auth{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{}},
			at + "/apiKeyAuth/location required, " + at + "/apiKeyAuth/key required, " + at + "/apiKeyAuth/value required"},
		{"an unknown location", auth{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: ptr("cookie"), Key: ptr("k"), Value: given("v")}},
			at + "/apiKeyAuth/location invalid_value"},
		{"a header with inner spaces", header("X-API-Key", given("a b  c")), ""},
		{"a header's name of 100 characters", header(k(100), given("v")), ""},
		{"a header's name of 101 characters", header(k(101), given("v")), at + "/apiKeyAuth/key too_long"},
		{"an empty header's name", header("", given("v")), at + "/apiKeyAuth/key too_short"},
		{"a header's name with every token character", header("aZ09!#$%&'*+-.^_`|~", given("v")), ""},
		{"a header's name with a space", header("X Key", given("v")), at + "/apiKeyAuth/key invalid_header_name"},
		{"a header's name with a colon", header("X-Key:", given("v")), at + "/apiKeyAuth/key invalid_header_name"},
		{"a header's name with a line end", header("X-Key\r\nX-Other", given("v")), at + "/apiKeyAuth/key invalid_header_name"},
		{"a header's name with a Kelvin sign", header("\u212aey", given("v")), at + "/apiKeyAuth/key invalid_header_name"},
		{"a pseudo header", header(":authority", given("v")), at + "/apiKeyAuth/key invalid_header_name"},
		{"a header's value of 2000 characters", header("X-Key", given(k(2000))), ""},
		{"a header's value of 2001 characters", header("X-Key", given(k(2001))), at + "/apiKeyAuth/value too_long"},
		{"an empty header's value", header("X-Key", given("")), at + "/apiKeyAuth/value too_short"},
		{"a header's value with a line end", header("X-Key", given("a\r\nX-Other: 1")), at + "/apiKeyAuth/value invalid_character"},
		{"a header's value with a tab", header("X-Key", given("a\tb")), at + "/apiKeyAuth/value invalid_character"},
		{"a header's value with a letter beyond ASCII", header("X-Key", given("é")), at + "/apiKeyAuth/value invalid_character"},
		{"a header's value with a leading space", header("X-Key", given(" a")), at + "/apiKeyAuth/value invalid_character"},
		{"a header's value with a trailing space", header("X-Key", given("a ")), at + "/apiKeyAuth/value invalid_character"},
		{"a header without its value", header("X-Key", subscription.SecretInput{}), at + "/apiKeyAuth/value required"},
		{"a query key and value that need encoding", query("ключ[]&=", given("1&2=3 é")), ""},
		{"a query key of 101 characters", query(k(101), given("v")), at + "/apiKeyAuth/key too_long"},
		{"a query key with a space", query("a b", given("v")), at + "/apiKeyAuth/key invalid_character"},
		{"a query key with a no-break space", query("a\u00a0b", given("v")), at + "/apiKeyAuth/key invalid_character"},
		{"a query key with a control character", query("a\x7f", given("v")), at + "/apiKeyAuth/key invalid_character"},
		{"a query value with a line end", query("k", given("a\nb")), at + "/apiKeyAuth/value invalid_character"},
		{"a reserved header's name is a fine query key", query("host", given("v")), ""},

		{"a static token", token("ABC1234"), ""},
		{"a static token as Salesforce makes them", token("00D!AQ.x~/+="), ""},
		{"a static token of 8192 characters", token(k(8192)), ""},
		{"a static token of 8193 characters", token(k(8193)), at + "/token too_long"},
		{"an empty static token", token(""), at + "/token too_short"},
		{"a static token with a space", token("a b"), at + "/token invalid_character"},
		{"a static token with a line end", token("abc\r\ndef"), at + "/token invalid_character"},
		{"a static token beyond ASCII", token("é"), at + "/token invalid_character"},
		{"token with nothing", auth{Type: ptr("token")}, at + "/token required"},
		{"a clientId without refreshToken", auth{Type: ptr("token"), Token: given("x"), ClientID: ptr("c"), ClientSecret: given("s")},
			at + "/clientId foreign_member, " + at + "/clientSecret foreign_member"},

		{"a refresh token as the source has it", refresh(func(*auth) {}), ""},
		{"a refresh token with all its companions", refresh(func(a *auth) { a.Token, a.ClientID, a.ClientSecret = given("t"), ptr("c"), given("s") }), ""},
		{"a refresh token with an id alone", refresh(func(a *auth) { a.ClientID = ptr("c") }), ""},
		{"a refresh token with a clientSecret alone", refresh(func(a *auth) { a.ClientSecret = given("s") }), at + "/clientId required"},
		{"a refresh token without its url", refresh(func(a *auth) { a.RefreshURL = nil }), at + "/refreshUrl required"},
		{"a refresh url without its token", refresh(func(a *auth) { a.RefreshToken = subscription.SecretInput{}; a.Token = given("t") }), at + "/refreshToken required"},
		{"a refresh url that is refused", refresh(func(a *auth) { a.RefreshURL = ptr("http://login") }), at + "/refreshUrl scheme"},
		{"an empty refresh token", refresh(func(a *auth) { a.RefreshToken = given("") }), at + "/refreshToken too_short"},
		{"a refresh token with a line end", refresh(func(a *auth) { a.RefreshToken = given("a\nb") }), at + "/refreshToken invalid_character"},
		{"a faulty first token beside a refresh token", refresh(func(a *auth) { a.Token = given("a b") }), at + "/token invalid_character"},
		{"an empty clientId", refresh(func(a *auth) { a.ClientID = ptr("") }), at + "/clientId too_short"},

		{"client credentials as the source has them", oauth(func(*subscription.OAuth2Draft) {}), ""},
		{"client credentials with everything", oauth(func(o *subscription.OAuth2Draft) {
			o.ContentType, o.Scope, o.ClientAuthMethod, o.Audience = ptr("application-json"), ptr("openid profile"), ptr("body"), ptr("https://api")
		}), ""},
		{"client credentials with nothing", auth{Type: ptr("oauth2")}, at + "/oauth2Auth required"},
		{"client credentials without their members", auth{Type: ptr("oauth2"), OAuth2: &subscription.OAuth2Draft{}},
			at + "/oauth2Auth/grantType required, " + at + "/oauth2Auth/authenticationUrl required, " + at + "/oauth2Auth/clientId required, " + at + "/oauth2Auth/clientSecret required"},
		{"another grant", oauth(func(o *subscription.OAuth2Draft) { o.GrantType = ptr("client_credentials") }), at + "/oauth2Auth/grantType invalid_value"},
		{"a token url that is refused", oauth(func(o *subscription.OAuth2Draft) { o.AuthenticationURL = ptr("http://auth.example.org/token") }), at + "/oauth2Auth/authenticationUrl scheme"},
		{"a MIME type for contentType", oauth(func(o *subscription.OAuth2Draft) { o.ContentType = ptr("application/json") }), at + "/oauth2Auth/contentType invalid_value"},
		{"a clientId of 256 characters", oauth(func(o *subscription.OAuth2Draft) { o.ClientID = ptr(k(256)) }), at + "/oauth2Auth/clientId too_long"},
		{"a clientSecret of 2001 characters", oauth(func(o *subscription.OAuth2Draft) { o.ClientSecret = given(k(2001)) }), at + "/oauth2Auth/clientSecret too_long"},
		{"a clientSecret with a control character", oauth(func(o *subscription.OAuth2Draft) { o.ClientSecret = given("a\x00") }), at + "/oauth2Auth/clientSecret invalid_character"},
		{"an empty scope", oauth(func(o *subscription.OAuth2Draft) { o.Scope = ptr("") }), ""},
		{"a scope of 1001 characters", oauth(func(o *subscription.OAuth2Draft) { o.Scope = ptr(k(1001)) }), at + "/oauth2Auth/scope too_long"},
		{"a scope with a line end", oauth(func(o *subscription.OAuth2Draft) { o.Scope = ptr("a\nb") }), at + "/oauth2Auth/scope invalid_character"},
		{"an unknown clientAuthMethod", oauth(func(o *subscription.OAuth2Draft) { o.ClientAuthMethod = ptr("post") }), at + "/oauth2Auth/clientAuthMethod invalid_value"},
		{"basic with a form", oauth(func(o *subscription.OAuth2Draft) { o.ClientAuthMethod = ptr("basic") }), ""},
		{"an audience with a control character", oauth(func(o *subscription.OAuth2Draft) { o.Audience = ptr("a\n") }), at + "/oauth2Auth/audience invalid_character"},

		{"user and password", basic("jürgen", "pass:wörd "), ""},
		{"basic without basicAuth", auth{Type: ptr("basic")}, at + "/basicAuth required"},
		{"basic with an empty basicAuth", auth{Type: ptr("basic"), Basic: &subscription.BasicDraft{}}, at + "/basicAuth/user required, " + at + "/basicAuth/password required"},
		{"a user with a colon", basic("a:b", "p"), at + "/basicAuth/user invalid_character"},
		{"a user with a control character", basic("a\tb", "p"), at + "/basicAuth/user invalid_character"},
		{"an empty user and password", basic("", ""), at + "/basicAuth/user too_short, " + at + "/basicAuth/password too_short"},
		{"a user and password too long", basic(k(256), k(2001)), at + "/basicAuth/user too_long, " + at + "/basicAuth/password too_long"},
		{"a password with a line end", basic("u", "a\r\n"), at + "/basicAuth/password invalid_character"},
		{"a password that is no UTF-8", basic("u", "\xff"), at + "/basicAuth/password invalid_character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := valid()
			d.Auth = &tt.auth
			_, fields := d.Apply(subscription.Endpoint{}, true, https)
			if got := codes(fields); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestDraft_Apply_reservesHeaders names every header of RULES E9, in several
// cases of letters.
func TestDraft_Apply_reservesHeaders(t *testing.T) {
	t.Parallel()
	apply := func(key string) string {
		d := valid()
		d.Auth = &subscription.AuthDraft{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: ptr("header"), Key: &key, Value: given("v")}}
		_, fields := d.Apply(subscription.Endpoint{}, true, https)
		return codes(fields)
	}
	for _, key := range []string{
		"Authorization", "Cookie", "User-Agent", "Consentwire-Subject", "Consentwire-X", "X-Webhook-Interaction-Id", "X-Webhook-Y", "Host",
		"Content-Type", "Content-Length", "Content-Z", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "TE", "Trailer", "Expect",
		"Proxy-Authorization", "Proxy-Connection", "HTTP2-Settings", "webhook-id", "webhook-signature", "webhook-replay",
	} {
		for _, spelt := range []string{key, strings.ToLower(key), strings.ToUpper(key)} {
			if got, want := apply(spelt), "/authentication/apiKeyAuth/key reserved_header"; got != want {
				t.Errorf("%s: got %q, want %q", spelt, got, want)
			}
		}
	}
	for _, key := range []string{"X-API-Key", "Authorization-Key", "X-Content-Key", "Webhook", "Consentwire", "X-Cookie", "Tea", "Hosts"} {
		if got := apply(key); got != "" {
			t.Errorf("%s: got %q, want none", key, got)
		}
	}
}

func TestDraft_Apply_refusesAKeyThatTheURLHas(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"https://a/b":                true,
		"https://a/b?other=1":        true,
		"https://a/b?xkey=1":         true,
		"https://a/b?KEY=1":          true,
		"https://a/key?x=key":        true,
		"https://a/b?key=1":          false,
		"https://a/b?key":            false,
		"https://a/b?other=1&key=":   false,
		"https://a/b?%6bey=1":        false,
		"https://a/b?other=%zz&key=": false,
	} {
		d := valid()
		d.URL = url
		d.Auth = &subscription.AuthDraft{Type: ptr("api-key"), APIKey: &subscription.APIKeyDraft{Location: ptr("query"), Key: ptr("key"), Value: given("v")}}
		_, fields := d.Apply(subscription.Endpoint{}, true, https)
		if got := codes(fields); (got == "") != want || got != "" && got != "/authentication/apiKeyAuth/key key_in_url" {
			t.Errorf("%s: got %q, want it accepted: %t", url, got, want)
		}
	}
}

func TestDraft_Apply_setsDefaultsAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cur := subscription.Endpoint{
		ID: "sub_1", Application: "app_1", Style: subscription.Subscription, Version: 7, Name: "old", URL: "https://old/", UpdateType: subscription.ConsentReceipts,
		EventTypes: []event.Type{event.ConsentApproved}, Status: subscription.Suspended, StatusReason: "410", StatusSince: at,
		Auth:           subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New("t")}},
		SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("whsec_x")}}, RetrySchedule: []time.Duration{time.Second}, Timeout: time.Second,
		RateLimit: 1, MaxInFlight: 1, Description: "d", Metadata: map[string]string{"a": "b"}, OnBacklog: subscription.BacklogLatest, CreatedAt: at, UpdatedAt: at,
	}
	got, fields := valid().Apply(cur, false, https)
	if len(fields) > 0 {
		t.Fatalf("got %s, want no fault", codes(fields))
	}
	want := cur
	want.Name, want.URL, want.Status, want.UpdateType, want.EventTypes = "", "https://my-subscription/updates", subscription.Active, subscription.EffectivePermission, nil
	want.Auth = subscription.Auth{Type: subscription.AuthNone}
	want.RetrySchedule, want.Timeout, want.RateLimit, want.MaxInFlight, want.Description, want.Metadata = nil, 0, 0, 0, "", nil
	want.OnBacklog = subscription.BacklogAll
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	created, fields := subscription.Draft{URL: "https://a/"}.Apply(subscription.Endpoint{}, true, https)
	if len(fields) > 0 || created.Auth.Type != subscription.AuthNone {
		t.Errorf("created with %v and %s, want authType none and no fault", created.Auth.Type, codes(fields))
	}

	oauth := valid()
	oauth.Auth = &subscription.AuthDraft{Type: ptr("oauth2"), OAuth2: &subscription.OAuth2Draft{
		GrantType: ptr("client-credentials"), AuthenticationURL: ptr("https://a/token"), ClientID: ptr("c"), ClientSecret: given("s"),
	}}
	e, _ := oauth.Apply(cur, false, https)
	if o := e.Auth.OAuth2; o.ContentType != subscription.ContentForm || o.ClientAuthMethod != subscription.ClientAuthAuto {
		t.Errorf("got %s and %s, want %s and %s", o.ContentType, o.ClientAuthMethod, subscription.ContentForm, subscription.ClientAuthAuto)
	}
}

func TestDraft_Apply_storesCanonicalValues(t *testing.T) {
	t.Parallel()
	d := valid()
	d.EventTypes = []string{"before : consent : create", "CONSENT:REVOKE", "permissions.effective"}
	d.RetrySchedule = []string{"5s", "1h30m", "1.5s"}
	d.TimeoutSeconds = ptr(int64(20))
	e, fields := d.Apply(subscription.Endpoint{}, true, https)
	if len(fields) > 0 {
		t.Fatalf("got %s, want no fault", codes(fields))
	}
	if got, want := fmt.Sprint(e.EventTypes), "[consent.create.received consent.revoked permissions.effective]"; got != want {
		t.Errorf("event types: got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(e.RetrySchedule, e.Timeout), "[5s 1h30m0s 1.5s] 20s"; got != want {
		t.Errorf("durations: got %s, want %s", got, want)
	}
}

func TestDraft_Apply_keepsSecretsOnlyWhereTheyWere(t *testing.T) {
	t.Parallel()
	cur := subscription.Endpoint{URL: "https://a.example/x", Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{
		Token: secret.New("t"), RefreshToken: secret.New("r"), RefreshURL: "https://login.example/token", ClientID: "c", ClientSecret: secret.New("s"),
	}}}
	const all = "/authentication/token secret_required, /authentication/refreshToken secret_required, /authentication/clientSecret secret_required"
	tests := []struct {
		name, url, refreshURL, want string
	}{
		{"nothing changes", "https://a.example/x", "https://login.example/token", ""},
		{"another path and query", "https://a.example/y?z=1", "https://login.example/other", ""},
		{"another spelling of the same host", "HTTPS://A.Example.:443/x", "https://LOGIN.example:443/token", ""},
		{"another host for url", "https://b.example/x", "https://login.example/token", all},
		{"another port for url", "https://a.example:8443/x", "https://login.example/token", all},
		{"another host for refreshUrl", "https://a.example/x", "https://login.example.evil/token", all},
		{"another host that begins alike", "https://a.example.evil/x", "https://login.example/token", all},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := subscription.Draft{URL: tt.url, Auth: &subscription.AuthDraft{
				Type: ptr("token"), Token: kept(), RefreshToken: kept(), RefreshURL: &tt.refreshURL, ClientID: ptr("c"), ClientSecret: kept(),
			}}
			e, fields := d.Apply(cur, false, https)
			if got := codes(fields); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.want == "" && len(e.Secrets()) != 3 {
				t.Errorf("got %d secrets, want the three that were there", len(e.Secrets()))
			}
			d.Auth.Token, d.Auth.RefreshToken, d.Auth.ClientSecret = given("t2"), given("r2"), given("s2")
			if _, fields := d.Apply(cur, false, https); len(fields) > 0 {
				t.Errorf("with all secrets given again got %s, want none", codes(fields))
			}
		})
	}

	t.Run("another authType keeps nothing", func(t *testing.T) {
		t.Parallel()
		d := subscription.Draft{URL: cur.URL, Auth: &subscription.AuthDraft{Type: ptr("basic"), Basic: &subscription.BasicDraft{User: ptr("u"), Password: kept()}}}
		_, fields := d.Apply(cur, false, https)
		if got, want := codes(fields), "/authentication/basicAuth/password required"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("an address that stays is not checked again", func(t *testing.T) {
		t.Parallel()
		old := subscription.Endpoint{URL: "http://allowed.once/"}
		d := valid()
		d.URL = old.URL
		if _, fields := d.Apply(old, false, https); len(fields) > 0 {
			t.Errorf("got %s, want none", codes(fields))
		}
	})
}

func TestInterceptorDraft_Apply(t *testing.T) {
	t.Parallel()
	type draft = subscription.InterceptorDraft
	tests := []struct {
		name string
		edit func(d *draft)
		want string
	}{
		{"as the source has it", func(*draft) {}, ""},
		{"members that are empty but there", func(d *draft) { d.Password = given("") }, ""},
		{"type PAYMENT", func(d *draft) { d.Type = "PAYMENT" }, ""},
		{"BASIC", func(d *draft) {
			d.IsAuthenticated, d.AuthenticationType, d.User, d.Password = ptr(true), "BASIC", "u", given("p")
		}, ""},
		{"basic in another case of letters", func(d *draft) {
			d.IsAuthenticated, d.AuthenticationType, d.User, d.Password = ptr(true), "bAsIc", "u", given("p")
		}, ""},
		{"basic with a long s", func(d *draft) {
			d.IsAuthenticated, d.AuthenticationType, d.User, d.Password = ptr(true), "BA\u017fIC", "u", given("p")
		}, "/authenticationType invalid_value"},
		{"another authenticationType", func(d *draft) {
			d.IsAuthenticated, d.AuthenticationType, d.User, d.Password = ptr(true), "TOKEN", "u", given("p")
		}, "/authenticationType invalid_value"},
		{"no endpoint", func(d *draft) { d.Endpoint = "" }, "/endpoint required"},
		{"an endpoint of 2001 characters", func(d *draft) { d.Endpoint = "https://a/" + strings.Repeat("x", 1991) }, "/endpoint too_long"},
		{"an endpoint that is refused", func(d *draft) { d.Endpoint = "http://a/" }, "/endpoint scheme"},
		{"no isAuthenticated", func(d *draft) { d.IsAuthenticated = nil }, "/isAuthenticated required"},
		{"no type", func(d *draft) { d.Type = "" }, "/type required"},
		{"a type in small letters", func(d *draft) { d.Type = "data" }, "/type invalid_value"},
		{"not authenticated, but with credentials", func(d *draft) { d.AuthenticationType, d.User, d.Password = "BASIC", "u", given("p") },
			"/authenticationType must_be_empty, /user must_be_empty, /password must_be_empty"},
		{"authenticated without credentials", func(d *draft) { d.IsAuthenticated = ptr(true) },
			"/authenticationType required, /user required, /password required"},
		{"authenticated with empty credentials", func(d *draft) { d.IsAuthenticated, d.AuthenticationType, d.Password = ptr(true), "BASIC", given("") },
			"/user required, /password too_short"},
		{"a user with a colon", func(d *draft) {
			d.IsAuthenticated, d.AuthenticationType, d.User, d.Password = ptr(true), "BASIC", "a:b", given("p")
		}, "/user invalid_character"},
		{"everything wrong at once", func(d *draft) { *d = draft{} }, "/endpoint required, /isAuthenticated required, /type required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := draft{Endpoint: "https://www.my-domain.com/webhook", IsAuthenticated: ptr(false), Type: "DATA"}
			tt.edit(&d)
			e, fields := d.Apply(subscription.Endpoint{Status: subscription.Suspended}, https)
			if got := codes(fields); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.want != "" {
				return
			}
			wantAuth, wantFeed := subscription.AuthNone, event.LifecycleData
			if *d.IsAuthenticated {
				wantAuth = subscription.AuthBasic
			}
			if d.Type == "PAYMENT" {
				wantFeed = event.LifecyclePayment
			}
			if e.Auth.Type != wantAuth || e.Feed != wantFeed || e.Status != subscription.Active || e.Style != subscription.Interceptor {
				t.Errorf("got %s %s %s %s, want %s %s active interceptor", e.Auth.Type, e.Feed, e.Status, e.Style, wantAuth, wantFeed)
			}
		})
	}
}

func TestFormatWait(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"5s": "5s", "5m": "5m", "300s": "5m", "90s": "90s", "2h": "2h", "24h": "24h", "1h30m": "90m", "1.5s": "1500ms", "10ms": "10ms"} {
		d, err := time.ParseDuration(in)
		if err != nil {
			t.Fatal(err)
		}
		got := subscription.FormatWait(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%s: got %s, want %s, which reads back", in, got, want)
		}
	}
}

// TestApply_partsNeverChange: who is told of a subject hangs on the number of parts.
func TestApply_partsNeverChange(t *testing.T) {
	t.Parallel()
	n := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		has  int
		asks *int64
		ok   bool
	}{{4, nil, true}, {4, n(4), true}, {4, n(5), false}, {4, n(1), false}, {0, nil, true}, {0, n(1), true}, {0, n(2), false}} {
		cur := subscription.Endpoint{ID: "sub_1", URL: "https://x.example/", Parts: tt.has, Auth: subscription.Auth{Type: subscription.AuthNone}}
		authType := "none"
		d := subscription.Draft{URL: cur.URL, Auth: &subscription.AuthDraft{Type: &authType}, Parts: tt.asks}
		e, faults := d.Apply(cur, false, func(string) error { return nil })
		if e.Parts != tt.has || (len(faults) == 0) != tt.ok || !tt.ok && (faults[0].Path != "/parts" || faults[0].Code != subscription.CodePartsFixed) {
			t.Errorf("%d parts, asked for %v: got %d, %v", tt.has, tt.asks, e.Parts, faults)
		}
	}
}

func TestApply_parts(t *testing.T) {
	t.Parallel()
	n := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		parts, inFlight *int64
		want            int
		ok              bool
	}{{nil, nil, 0, true}, {n(1), n(1), 0, true}, {n(32), nil, 32, true}, {n(32), n(32), 32, true}, {n(4), n(3), 4, false}} {
		e, faults := subscription.Draft{URL: "https://x.example/", Parts: tt.parts, MaxInFlight: tt.inFlight}.Apply(subscription.Endpoint{}, true, func(string) error { return nil })
		if e.Parts != tt.want || (len(faults) == 0) != tt.ok || !tt.ok && faults[0].Path != "/maxInFlight" {
			t.Errorf("got %d parts, %v, want %d", e.Parts, faults, tt.want)
		}
	}
}
