package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// newPair returns a certificate and its key in PEM.
func newPair(t *testing.T) (certificate, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}))
}

// quote returns a text in JSON.
func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSubscriptions_clientCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	certificate, key := newPair(t)
	other, otherKey := newPair(t)
	shown := `"authentication":{"authType":"none","mtls":{"certificate":` + quote(t, certificate) + `,"privateKey":null,"privateKeySet":true,"caCertificate":` + quote(t, other) + `}}`
	made := w.our("POST", "/v1/subscriptions", `{"url":"https://a.example/x","authentication":{"authType":"none","mtls":{"certificate":`+quote(t, certificate)+
		`,"privateKey":`+quote(t, key)+`,"caCertificate":`+quote(t, other)+`}}}`).want(201)
	path := "/v1/subscriptions/" + made.text("subscriptionId")
	if got := string(w.our("GET", path, "").want(200).body); !strings.Contains(got, shown) {
		t.Errorf("got %s\nwant it to hold %s", got, shown)
	}
	if got := w.our("PATCH", path, `{"authentication":{"authType":"token","token":"t0ken"}}`).want(200); !strings.Contains(string(got.body), `"privateKeySet":true`) {
		t.Errorf("another authType: got %s, want the client certificate kept", got.body)
	}
	if got := w.our("PATCH", path, `{"url":"https://b.example/x"}`).want(400).faults(); got != "/authentication/mtls/privateKey secret_required, /authentication/token secret_required" {
		t.Errorf("another host: got %q", got)
	}
	if got := w.our("PATCH", path, `{"authentication":{"mtls":{"certificate":`+quote(t, other)+`}}}`).want(400).faults(); got != "/authentication/mtls/privateKey secret_required" {
		t.Errorf("another certificate: got %q", got)
	}
	if got := w.our("PATCH", path, `{"authentication":{"mtls":{"certificate":`+quote(t, other)+`,"privateKey":`+quote(t, key)+`}}}`).want(400).faults(); got != "/authentication/mtls/privateKey key_mismatch" {
		t.Errorf("another certificate with the former key: got %q", got)
	}
	w.our("PATCH", path, `{"authentication":{"mtls":{"certificate":`+quote(t, other)+`,"privateKey":`+quote(t, otherKey)+`}}}`).want(200)
	e, err := w.store.Endpoint(context.Background(), access.ID(w.ours.application), subscription.Subscription, subscription.ID(made.text("subscriptionId")))
	if want := (subscription.MTLS{Certificate: other, PrivateKey: secret.New(otherKey), CACertificate: other}); err != nil || e.Auth.MTLS != want {
		t.Errorf("kept %+v (%v), want the other pair and the roots", e.Auth.MTLS, err)
	}
	if got := w.our("PATCH", path, `{"authentication":{"mtls":null}}`).want(200); strings.Contains(string(got.body), "mtls") {
		t.Errorf("taken away: got %s", got.body)
	}
	if got := w.our("POST", "/api/smart-keys/interceptors", `{"endpoint":"https://a.example/x","isAuthenticated":false,"type":"DATA","mtls":{}}`).want(400).faults(); got != "/mtls unknown_member" {
		t.Errorf("an interceptor: got %q", got)
	}
}

// keySet reads an application's key set as a receiver does, without a token.
func (w *world) keySet(application string) answered {
	w.t.Helper()
	return w.call("GET", "/.well-known/consentwire/"+application+"/jwks.json", "", "")
}

func TestSigningKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := string(w.our("GET", "/v1/signing-keys", "").want(200).body); got != `{"items":[]}` {
		t.Errorf("before anybody asks: got %s, want none", got)
	}
	if got := w.keySet(w.ours.application).want(200); string(got.body) != `{"keys":[]}` || got.header.Get("Content-Type") != "application/jwk-set+json" || got.header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("before anybody asks: got %s and %v, want an empty set to be kept for five minutes", got.body, got.header)
	}
	unknown := w.keySet("app_nobody").want(404)
	if got := unknown.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("an unknown application: got Cache-Control %q, want no-store", got)
	}

	made := w.our("POST", "/v1/subscriptions", `{"url":"https://a.example/x","signatures":["v1","v1a"]}`).want(201)
	if !strings.Contains(string(made.body), `"signatures":["v1","v1a"]`) {
		t.Errorf("got %s, want both signatures", made.body)
	}
	first := w.our("GET", "/v1/signing-keys", "").want(200).items()
	if len(first) != 1 || first[0]["expiresAt"] != nil {
		t.Fatalf("got %v, want one current key", first)
	}
	rotated := w.our("POST", "/v1/signing-keys/rotate", "").want(200).items()
	if len(rotated) != 2 || rotated[0]["expiresAt"] != nil || rotated[1]["keyId"] != first[0]["keyId"] || rotated[1]["publicKey"] != first[0]["publicKey"] {
		t.Fatalf("got %v, want a new key before %v", rotated, first)
	}
	begin, _ := time.Parse(time.RFC3339, rotated[0]["createdAt"].(string))
	end, _ := time.Parse(time.RFC3339, rotated[1]["expiresAt"].(string))
	if got := end.Sub(begin); got != subscription.RotationOverlap {
		t.Errorf("the former key signs for %s, want %s", got, subscription.RotationOverlap)
	}
	w.our("POST", "/v1/signing-keys/rotate", `{"x":1}`).want(400)

	// What a receiver reads verifies what the private halves sign.
	set := w.keySet(w.ours.application).want(200)
	public, err := signature.ParseJWKSet(set.body)
	if err != nil || len(public) != 2 {
		t.Fatalf("got %d keys (%v) in %s, want two", len(public), err, set.body)
	}
	for i, k := range rotated {
		if got := public[i].Text(); got != k["publicKey"] {
			t.Errorf("key %d: got %s in the set, want %s", i, got, k["publicKey"])
		}
	}
	var kids struct{ Keys []struct{ Kid string } }
	set.into(&kids)
	if kids.Keys[0].Kid != rotated[0]["keyId"] || kids.Keys[1].Kid != rotated[1]["keyId"] {
		t.Errorf("got the kids %v, want the key IDs", kids)
	}

	if got := w.call("GET", "/v1/signing-keys", w.theirs.token, "").want(200).items(); len(got) != 0 {
		t.Errorf("another application: got %v, want none", got)
	}
	w.call("GET", "/v1/signing-keys?applicationId="+w.ours.application, w.theirs.token, "").want(404)
	if got := w.call("GET", "/v1/signing-keys?applicationId="+w.ours.application, operatorBearer, "").want(200).items(); len(got) != 2 {
		t.Errorf("the operator: got %v, want two", got)
	}
	if a := w.call("HEAD", "/.well-known/consentwire/"+w.ours.application+"/jwks.json", "", "").want(200); len(a.body) != 0 {
		t.Errorf("HEAD: got a body")
	}
}

func TestSigningKeys_expiredOnesAreNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := access.ID(w.ours.application)
	at := time.Now().UTC().Truncate(time.Millisecond)
	for name, end := range map[string]time.Duration{"key_gone": -time.Second, "key_going": time.Hour} {
		private := signature.NewPrivateKey()
		err := w.store.Update(context.Background(), func(tx store.Tx) error {
			return tx.PutSigningKey(app, subscription.SigningKey{
				ID: name, PrivateKey: secret.New(private.Text()), PublicKey: private.Public().Text(), CreatedAt: at.Add(-time.Hour), ExpiresAt: at.Add(end),
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, got := range map[string]string{"the list": string(w.our("GET", "/v1/signing-keys", "").want(200).body), "the key set": string(w.keySet(w.ours.application).want(200).body)} {
		if strings.Contains(got, "key_gone") || !strings.Contains(got, "key_going") {
			t.Errorf("%s: got %s, want the one that signs alone", name, got)
		}
	}
}

func TestSubscriptions_signatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct{ name, given, want string }{
		{"one that is not known", `["v1","v2"]`, "/signatures/1 invalid_value"},
		{"one twice", `["v1","v1"]`, "/signatures/1 duplicate"},
		{"without v1", `["v1a"]`, "/signatures required"},
		{"none", `[]`, "/signatures required"},
		{"no list", `"v1"`, "/signatures wrong_type"},
	}
	for _, tt := range tests {
		if got := w.our("POST", "/v1/subscriptions", `{"url":"https://a.example/x","signatures":`+tt.given+`}`).want(400).faults(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	made := w.our("POST", "/v1/subscriptions", `{"url":"https://a.example/x"}`).want(201)
	if !strings.Contains(string(made.body), `"signatures":["v1"]`) {
		t.Errorf("got %s, want v1 alone", made.body)
	}
	if got := w.our("PATCH", "/v1/subscriptions/"+made.text("subscriptionId"), `{"signatures":["v1","v1a"]}`).want(200); !strings.Contains(string(got.body), `"signatures":["v1","v1a"]`) {
		t.Errorf("got %s, want both", got.body)
	}
	if got := w.our("GET", "/v1/signing-keys", "").want(200).items(); len(got) != 1 {
		t.Errorf("got %v, want the first key", got)
	}
}

func TestKeys_rotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	w.call("POST", "/v1/keys/rotate", "", "").want(401)
	w.our("POST", "/v1/keys/rotate", "").want(404)
	var got struct {
		KeyID   string
		Records int
	}
	w.call("POST", "/v1/keys/rotate", operatorBearer, "").want(200).into(&got)
	if got.KeyID != w.master.keys.KeyID() || got.Records == 0 {
		t.Errorf("got %+v, want the key %s and some records", got, w.master.keys.KeyID())
	}
	w.our("GET", "/v1/consents/"+o.consent, "").want(200)
	w.our("GET", "/v1/events/"+o.event, "").want(200)
	w.call("POST", "/v1/keys/rotate", operatorBearer, `{"x":1}`).want(400)
	w.master.err = fault.New(fault.Unavailable, "master_key_unavailable", "The source of the master key gave none.")
	if got := w.call("POST", "/v1/keys/rotate", operatorBearer, "").want(503).text("code"); got != "master_key_unavailable" {
		t.Errorf("got the code %q", got)
	}
	w.master.err = errors.New("the key is hunter2")
	if a := w.call("POST", "/v1/keys/rotate", operatorBearer, "").want(500); strings.Contains(string(a.body), "hunter2") {
		t.Errorf("got %s, want nothing of the cause", a.body)
	}
}

// TestTokens_areShown: the request for a token is shown with the test, the
// attempt and the state of the authorisation, in one shape.
func TestTokens_areShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
	x := &delivery.Exchange{
		At: at, Duration: 1500 * time.Microsecond, Step: delivery.StepResponse, Reason: "The token endpoint answered 400 Bad Request: invalid_grant.",
		Request:  delivery.Request{Method: "POST", URL: "https://login.example/token", Headers: []delivery.Header{{Name: "Accept", Value: "application/json"}}, Body: "grant_type=refresh_token&refresh_token=***"},
		Response: &delivery.Response{Status: 400, Headers: []delivery.Header{{Name: "A", Value: "1"}, {Name: "a", Value: "<2>"}}, Body: `{"error":"invalid_grant"}`},
	}
	const want = `{"at":"2026-03-01T12:00:00.123Z","durationMs":1.5,"step":"response","reason":"The token endpoint answered 400 Bad Request: invalid_grant.",` +
		`"request":{"method":"POST","url":"https://login.example/token","headers":{"Accept":"application/json"},"body":"grant_type=refresh_token&refresh_token=***"},` +
		`"response":{"status":400,"headers":{"A":"1, <2>"},"body":"{\"error\":\"invalid_grant\"}"}}`

	id := w.our("POST", "/v1/subscriptions", `{"url":"https://a.example/x","eventTypes":["consent.created"],"authentication":{"authType":"token","refreshToken":"r3fresh","refreshUrl":"https://login.example/token"}}`).
		want(201).text("subscriptionId")
	path := "/v1/subscriptions/" + id
	w.tester.trial = delivery.Trial{Step: delivery.StepToken, Reason: x.Reason, Request: delivery.Request{Method: "POST"}, Token: x}
	if got := string(w.our("POST", path+"/test", "").want(200).body); !strings.Contains(got, `"token":`+want+`}`) {
		t.Errorf("the test: got %s\nwant it to end with the token's request %s", got, want)
	}

	w.our("POST", "/v1/consents", dataConsent).want(201)
	e := delivery.Endpoint(id)
	pos, err := w.store.Open(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	page, err := w.store.Read(ctx, e, pos.Cursor, 10, 1<<20)
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("got %d items and %v, want one", len(page.Items), err)
	}
	it := page.Items[0]
	if _, err := w.store.Record(ctx, []delivery.Progress{{
		Lease: pos.Lease, At: at, Cursor: it.Seq,
		Attempts: []delivery.Attempt{{
			Seq: it.Seq, Subject: it.Subject, N: 1, At: at, Delivered: true, Status: 204, Step: delivery.StepResponse, Config: 1,
			Timestamp: at.Unix(), InteractionID: "9e1a", Signature: "v1,abc", Response: &delivery.Response{Status: 204}, Token: x,
		}},
		Hold: &delivery.Hold{State: delivery.TokenTrouble, Since: at, Reason: x.Reason, NextAt: at.Add(time.Minute), Exchange: x},
	}}); err != nil {
		t.Fatal(err)
	}
	list := w.our("GET", "/v1/deliveries?subscriptionId="+id, "").want(200).items()
	if got := string(w.our("GET", "/v1/deliveries/"+list[0]["deliveryId"].(string), "").want(200).body); !strings.Contains(got, `"token":`+want) {
		t.Errorf("the attempt: got %s\nwant it to hold %s", got, want)
	}
	authorisation := `"authorisation":{"state":"held","since":"2026-03-01T12:00:00.123Z","reason":"` + x.Reason + `","nextAt":"2026-03-01T12:01:00.123Z","lastExchange":` + want + `}`
	if got := string(w.our("GET", path, "").want(200).body); !strings.Contains(got, authorisation) {
		t.Errorf("the subscription: got %s\nwant it to hold %s", got, authorisation)
	}
}
