package sink

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

var noAuth = subscription.Auth{Type: subscription.AuthNone}

func TestSignature(t *testing.T) {
	t.Parallel()
	h := open(t)
	sec := h.endpoint(t, h.owner, public+Prefix+h.bin+"/hook?tenant=7", noAuth).SigningSecrets[0].Secret
	deep := h.endpoint(t, h.owner, "http://elsewhere.example"+Prefix+h.bin+"/deep", noAuth).SigningSecrets[0].Secret
	beside := h.endpoint(t, h.owner, public+Prefix+h.bin+"x", noAuth).SigningSecrets[0].Secret
	stranger := h.endpoint(t, h.application(t), public+Prefix+h.bin, noAuth).SigningSecrets[0].Secret
	inter, err := h.app.CreateEndpoint(t.Context(), h.owner, subscription.Endpoint{
		Style: subscription.Interceptor, URL: public + Prefix + h.bin, Feed: "lifecycle-data", Status: subscription.Active, Auth: noAuth,
	})
	if err != nil {
		t.Fatal(err)
	}

	change := func(r *http.Request, fn func(*http.Request)) *http.Request { fn(r); return r }
	tests := []struct {
		name string
		r    *http.Request
		want Signature
	}{
		{"no header", httptest.NewRequest(http.MethodPost, Prefix+h.bin, strings.NewReader("{}")), None},
		{"by a subscription", h.signed(t, "/hook?tenant=7", "{}", sec), Valid},
		{"by it, on another path of the bin", h.signed(t, "/other", "{}", sec), Valid},
		{"by an address under a former public URL", h.signed(t, "/deep", "{}", deep), Valid},
		{"by an interceptor", h.signed(t, "", "{}", inter.SigningSecrets[0].Secret), Valid},
		{"a body larger than what is kept", h.signed(t, "", strings.Repeat("a", MaxBody+1), sec), Valid},
		{"by an endpoint that points elsewhere", h.signed(t, "", "{}", beside), Invalid},
		{"by another application's endpoint", h.signed(t, "", "{}", stranger), Invalid},
		{"another body", change(h.signed(t, "", "{}", sec), func(r *http.Request) { r.Body = http.NoBody }), Invalid},
		{"another id", change(h.signed(t, "", "{}", sec), func(r *http.Request) { r.Header.Set("webhook-id", "evt_2") }), Invalid},
		{"too old", change(h.signed(t, "", "{}", sec), func(r *http.Request) { r.Header.Set("webhook-timestamp", "1614265330") }), Invalid},
		{"an empty signature", change(h.signed(t, "", "{}", sec), func(r *http.Request) { r.Header["Webhook-Signature"] = []string{""} }), Invalid},
		{"a body that is too large", h.signed(t, "", strings.Repeat("a", MaxRead+1), sec), Invalid},
	}
	for _, tt := range tests {
		h.send(tt.r)
		if got := h.last(t).Signature; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSignature_belowAFolder(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.publicURL = func() string { return "https://example.com/cw/" }
	sec := h.endpoint(t, h.owner, "https://example.com/cw/inspect/"+h.bin+"/x", noAuth).SigningSecrets[0].Secret
	h.send(h.signed(t, "/x", "{}", sec))
	if got := h.last(t).Signature; got != Valid {
		t.Errorf("got %s, want valid", got)
	}
	if got, want := h.URL(h.bin), "https://example.com/cw/inspect/"+h.bin; got != want {
		t.Errorf("URL: got %s, want %s", got, want)
	}
}

// TestSignature_rotated: the very next delivery under a new secret is valid,
// the old one signs beside it for a day and not a moment longer.
func TestSignature_rotated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		e := h.endpoint(t, h.owner, public+Prefix+h.bin, noAuth)
		first := e.SigningSecrets[0].Secret
		verdict := func(sec secret.Value) Signature {
			h.send(h.signed(t, "", "{}", sec))
			return h.last(t).Signature
		}
		if got := verdict(first); got != Valid {
			t.Fatalf("before: got %s, want valid", got)
		}
		second, err := h.app.RotateSecret(t.Context(), h.owner, subscription.Subscription, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got := verdict(second); got != Valid {
			t.Errorf("the new one, at once: got %s, want valid", got)
		}
		if got := verdict(first); got != Valid {
			t.Errorf("the old one beside it: got %s, want valid", got)
		}
		time.Sleep(subscription.RotationOverlap - time.Millisecond)
		if got := verdict(first); got != Valid {
			t.Errorf("the old one, just before its end: got %s, want valid", got)
		}
		time.Sleep(time.Millisecond)
		if got := verdict(first); got != Invalid {
			t.Errorf("the old one at its end: got %s, want invalid", got)
		}
		if got := verdict(second); got != Valid {
			t.Errorf("the new one then: got %s, want valid", got)
		}
		if err := h.app.DeleteEndpoint(t.Context(), h.owner, subscription.Subscription, e.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(life + time.Millisecond)
		if got := verdict(second); got != Invalid {
			t.Errorf("of a deleted endpoint: got %s, want invalid", got)
		}
	})
}

// counting counts the looks at the endpoints.
type counting struct {
	store.Reader
	looks atomic.Int64
}

func (c *counting) Endpoints(ctx context.Context, app access.ID, q store.EndpointQuery) ([]subscription.Endpoint, int, error) {
	c.looks.Add(1)
	return c.Reader.Endpoints(ctx, app, q)
}

func TestSignature_cheap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		c := &counting{Reader: h.store}
		h.receivers = newReceivers(c)
		sec := h.endpoint(t, h.owner, public+Prefix+h.bin, noAuth).SigningSecrets[0].Secret
		for range 10 {
			for range 100 {
				h.send(h.signed(t, "", "{}", sec))
			}
			time.Sleep(life / 10)
		}
		// Two styles, at the start and a life later.
		if got := c.looks.Load(); got > 4 {
			t.Errorf("got %d looks for 1000 requests in a second, want at most 4", got)
		}
	})
}

func TestMask(t *testing.T) {
	t.Parallel()
	h := open(t)
	at := public + Prefix + h.bin
	const key, param, password, client, short = "k-0123456789/+=", "q 0123456789", "pass\"word-7", "client-secret-9", "abc"
	h.endpoint(t, h.owner, at, subscription.Auth{Type: subscription.AuthAPIKey, APIKey: subscription.APIKey{Location: "header", Key: "X-Api-Key", Value: secret.New(key)}})
	h.endpoint(t, h.owner, at+"/q", subscription.Auth{Type: subscription.AuthAPIKey, APIKey: subscription.APIKey{Location: "query", Key: "api key", Value: secret.New(param)}})
	h.endpoint(t, h.owner, at, subscription.Auth{Type: subscription.AuthBasic, Basic: subscription.Basic{User: "u", Password: secret.New(password)}})
	h.endpoint(t, h.owner, at, subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New(short)}})
	h.endpoint(t, h.owner, "https://elsewhere.example", subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{AuthenticationURL: at + "/token", ClientID: "c", ClientSecret: secret.New(client)}})
	whsec := h.endpoint(t, h.owner, at, noAuth).SigningSecrets[0].Secret.Reveal()
	bare := strings.TrimPrefix(whsec, "whsec_")

	r := httptest.NewRequest(http.MethodPost, Prefix+h.bin+"/x-"+client+"?a=1&api%20key=anything&b=q+0123456789&c="+short+"&d=abcd", strings.NewReader(
		"grant_type=client_credentials&client_secret="+client+"\n"+key+"\n"+`{"p":"pass\"word-7"}`+"\n"+whsec+"\n"+bare+"\n"+short))
	basic := base64.StdEncoding.EncodeToString([]byte("u:" + password))
	r.Header = http.Header{
		"Authorization": {"Bearer some.token", "Basic " + basic, "opaque", "weird<scheme> x"}, "Proxy-Authorization": {"Basic eDp5"},
		"Cookie": {"session=1; b=2"}, "X-Api-Key": {"any value"}, "X-Copy": {key, "a " + key + " b"}, "X-Short": {short, "abcd"}, "X-Plain": {"plain"},
	}
	h.send(r)
	got := h.last(t)

	want := "[{Host example.com} {Authorization Bearer ***} {Authorization Basic ***} {Authorization ***} {Authorization ***} {Cookie ***} " +
		"{Proxy-Authorization Basic ***} {X-Api-Key ***} {X-Copy ***} {X-Copy a *** b} {X-Plain plain} {X-Short ***} {X-Short abcd}]"
	if fmt.Sprint(got.Headers) != want {
		t.Errorf("headers: got  %v\nwant %s", got.Headers, want)
	}
	if want := "a=1&api%20key=***&b=***&c=***&d=abcd"; got.Query != want {
		t.Errorf("query: got %s, want %s", got.Query, want)
	}
	if want := Prefix + h.bin + "/x-***"; got.Path != want {
		t.Errorf("path: got %s, want %s", got.Path, want)
	}
	if want := "grant_type=client_credentials&client_secret=***\n***\n{\"p\":\"***\"}\n***\n***\nabc"; got.Body != want {
		t.Errorf("body: got %q, want %q", got.Body, want)
	}
}

// BenchmarkServeHTTP is one signed delivery, from the request to the answer.
func BenchmarkServeHTTP(b *testing.B) {
	h := open(b)
	sec := h.endpoint(b, h.owner, public+Prefix+h.bin, noAuth).SigningSecrets[0].Secret
	body := `{"event":"consent:approved","data":"` + strings.Repeat("x", 1000) + `"}`
	for b.Loop() {
		h.send(h.signed(b, "", body, sec))
	}
}
