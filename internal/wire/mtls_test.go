package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/internal/wire"
)

// pair is a certificate and its key in PEM.
type pair struct{ certificate, key string }

func newPair(t *testing.T) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: t0(), NotAfter: t0().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})),
	}
}

// fill puts the pairs into a request: $C and $K are the first's certificate
// and key, $D and $L the second's, as JSON texts.
func fill(t *testing.T, request string, p, q pair) string {
	t.Helper()
	for name, s := range map[string]string{"$C": p.certificate, "$K": p.key, "$D": q.certificate, "$L": q.key} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		request = strings.ReplaceAll(request, name, string(b))
	}
	return request
}

func TestPatchSubscription_clientCertificate(t *testing.T) {
	t.Parallel()
	p, q := newPair(t), newPair(t)
	full := subscription.MTLS{Certificate: p.certificate, PrivateKey: secret.New(p.key), CACertificate: q.certificate}
	cur := registered(subscription.Endpoint{
		URL: "https://a.example/x", Style: subscription.Subscription, Status: subscription.Active, UpdateType: subscription.EffectivePermission, OnBacklog: subscription.BacklogAll,
		Asymmetric: true,
		Auth:       subscription.Auth{Type: subscription.AuthBasic, Basic: subscription.Basic{User: "u", Password: secret.New("hush")}, MTLS: full},
	})
	with := func(edit func(*subscription.Auth)) subscription.Auth {
		a := cur.Auth
		edit(&a)
		return a
	}
	const key = "/authentication/mtls/privateKey "
	tests := []struct {
		name, patch, want string
		auth              subscription.Auth
	}{
		{"another name", `{"name":"n"}`, "", cur.Auth},
		{"the key is null beside its mark", `{"authentication":{"mtls":{"privateKey":null,"privateKeySet":true}}}`, "", cur.Auth},
		{"what a read shows", `{"authentication":{"authType":"basic","basicAuth":{"user":"u","password":null,"passwordSet":true},"mtls":{"certificate":$C,"privateKey":null,"privateKeySet":true,"caCertificate":$D}}}`, "", cur.Auth},
		{"an empty patch of it", `{"authentication":{"mtls":{}}}`, "", cur.Auth},
		{"no roots any more", `{"authentication":{"mtls":{"caCertificate":null}}}`, "", with(func(a *subscription.Auth) { a.MTLS.CACertificate = "" })},
		{"roots alone", `{"authentication":{"mtls":{"certificate":null,"privateKey":null}}}`, "", with(func(a *subscription.Auth) { a.MTLS = subscription.MTLS{CACertificate: q.certificate} })},
		{"nothing of it any more", `{"authentication":{"mtls":null}}`, "", with(func(a *subscription.Auth) { a.MTLS = subscription.MTLS{} })},
		{"nothing of it any more, member by member", `{"authentication":{"mtls":{"certificate":null,"privateKey":null,"caCertificate":null}}}`, "", with(func(a *subscription.Auth) { a.MTLS = subscription.MTLS{} })},
		{"another authType keeps it", `{"authentication":{"authType":"none"}}`, "", subscription.Auth{Type: subscription.AuthNone, MTLS: full}},
		{"another authType with a part of it", `{"authentication":{"authType":"token","token":"t","mtls":{"caCertificate":$C}}}`, "",
			subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New("t")}, MTLS: subscription.MTLS{Certificate: p.certificate, PrivateKey: secret.New(p.key), CACertificate: p.certificate}}},
		{"another authType without it", `{"authentication":{"authType":"none","mtls":null}}`, "", subscription.Auth{Type: subscription.AuthNone}},
		{"another pair", `{"authentication":{"mtls":{"certificate":$D,"privateKey":$L}}}`, "", with(func(a *subscription.Auth) {
			a.MTLS.Certificate, a.MTLS.PrivateKey = q.certificate, secret.New(q.key)
		})},

		{"another certificate without its key", `{"authentication":{"mtls":{"certificate":$D}}}`, key + "secret_required", subscription.Auth{}},
		{"another certificate with the key kept", `{"authentication":{"mtls":{"certificate":$D,"privateKey":null,"privateKeySet":true}}}`, key + "secret_required", subscription.Auth{}},
		{"another certificate with the former key", `{"authentication":{"mtls":{"certificate":$D,"privateKey":$K}}}`, key + "key_mismatch", subscription.Auth{}},
		{"the key taken away", `{"authentication":{"mtls":{"privateKey":null}}}`, key + "required", subscription.Auth{}},
		{"the key taken away, its mark false", `{"authentication":{"mtls":{"privateKey":null,"privateKeySet":false}}}`, key + "required", subscription.Auth{}},
		{"the certificate taken away", `{"authentication":{"mtls":{"certificate":null}}}`, "/authentication/mtls/certificate required", subscription.Auth{}},
		{"another host", `{"url":"https://b.example/x"}`, "/authentication/basicAuth/password secret_required, " + key + "secret_required", subscription.Auth{}},
		{"an unknown member that is null", `{"authentication":{"mtls":{"x":null}}}`, "/authentication/mtls/x unknown_member", subscription.Auth{}},
		{"an unknown member", `{"authentication":{"mtls":{"x":1}}}`, "/authentication/mtls/x unknown_member", subscription.Auth{}},
		{"no object", `{"authentication":{"mtls":"x"}}`, "/authentication/mtls wrong_type", subscription.Auth{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, _, err := wire.PatchSubscription(parse(t, fill(t, tt.patch, p, q)), cur, https)
			if c := codes(err); c != tt.want {
				t.Fatalf("got  %s (%v)\nwant %s", c, err, tt.want)
			}
			if tt.want != "" {
				return
			}
			if got.Auth != tt.auth {
				t.Errorf("got %+v, want %+v", got.Auth, tt.auth)
			}
			if !got.Asymmetric {
				t.Error("the signatures were not kept")
			}
		})
	}
}

func TestPatchSubscription_signatures(t *testing.T) {
	t.Parallel()
	cur := subscription.Endpoint{URL: "https://a.example/x", UpdateType: subscription.EffectivePermission, Auth: subscription.Auth{Type: subscription.AuthNone}, Asymmetric: true}
	tests := []struct {
		name, patch, want string
		asymmetric        bool
	}{
		{"absent is kept", `{}`, "", true},
		{"null is the default", `{"signatures":null}`, "", false},
		{"v1 alone", `{"signatures":["v1"]}`, "", false},
		{"both", `{"signatures":["v1","v1a"]}`, "", true},
		{"without v1", `{"signatures":["v1a"]}`, "/signatures required", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, _, err := wire.PatchSubscription(parse(t, tt.patch), cur, https)
			if got := codes(err); got != tt.want {
				t.Fatalf("got %s (%v), want %s", got, err, tt.want)
			}
			if tt.want == "" && e.Asymmetric != tt.asymmetric {
				t.Errorf("got v1a: %t, want %t", e.Asymmetric, tt.asymmetric)
			}
		})
	}
	replaced, _, err := wire.ReplaceSubscription(parse(t, `{"url":"https://a.example/x","authentication":{"authType":"none"}}`), cur, https)
	if err != nil || replaced.Asymmetric {
		t.Errorf("a PUT that says nothing: got v1a: %t (%v), want the default", replaced.Asymmetric, err)
	}
}

func TestSubscription_neverShowsAPrivateKey(t *testing.T) {
	t.Parallel()
	p, q := newPair(t), newPair(t)
	e, err := wire.CreateSubscription(parse(t, fill(t, `{"url":"https://a.example/","authentication":{"authType":"none","mtls":{"certificate":$C,"privateKey":$K,"caCertificate":$D}}}`, p, q)), https)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(wire.Subscription(registered(e), delivery.Health{}).Authentication)
	if err != nil {
		t.Fatal(err)
	}
	want := fill(t, `{"authType":"none","mtls":{"certificate":$C,"privateKey":null,"privateKeySet":true,"caCertificate":$D}}`, p, q)
	if string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
}

func TestFields_keepOrderAndJoin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fields wire.Fields
		want   string
	}{
		{"none", nil, `{}`},
		{"in their order", wire.Fields{{Name: "B", Value: "1"}, {Name: "A", Value: "2"}}, `{"B":"1","A":"2"}`},
		{"of one name", wire.Fields{{Name: "X-A", Value: "1"}, {Name: "B", Value: ""}, {Name: "x-a", Value: "2"}}, `{"X-A":"1, 2","B":""}`},
		{"with what needs escapes", wire.Fields{{Name: "a", Value: "\"\\\n"}}, `{"a":"\"\\\n"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(tt.fields)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
