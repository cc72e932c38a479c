package subscription_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// pair is a certificate of its own and its key, both in PEM.
type pair struct{ certificate, key string }

func newPair(t testing.TB, key crypto.Signer) pair {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2002, 1, 1, 0, 0, 0, 0, time.UTC), // long gone
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{block("CERTIFICATE", der), block("PRIVATE KEY", pk)}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// asked is a whole request with a client certificate.
func asked(m subscription.MTLSDraft) subscription.Draft {
	d := valid()
	d.Auth.MTLS = &m
	return d
}

func TestDraft_Apply_checksTheClientCertificate(t *testing.T) {
	t.Parallel()
	ec := ecKey(t, elliptic.P256())
	p, other := newPair(t, ec), newPair(t, ecKey(t, elliptic.P384()))
	ed := newPair(t, edKey(t))
	strongKey := rsaKey(t, 2048)
	strong, weak := newPair(t, strongKey), newPair(t, rsaKey(t, 1024))
	p224 := newPair(t, ecKey(t, elliptic.P224()))
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	oldStyle := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(strongKey))
	withParameters := block("EC PARAMETERS", []byte{6, 8, 42}) + block("EC PRIVATE KEY", sec1)
	legacy := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: sec1}))

	type draft = subscription.MTLSDraft
	const at = "/authentication/mtls"
	const badCert, badKey = at + "/certificate invalid_certificate", at + "/privateKey invalid_private_key"
	tests := []struct {
		name string
		mtls draft
		want string
	}{
		{"nothing at all", draft{}, ""},
		{"an ECDSA pair, expired long ago", draft{&p.certificate, given(p.key), nil}, ""},
		{"an Ed25519 pair", draft{&ed.certificate, given(ed.key), nil}, ""},
		{"an RSA pair of 2048 bits", draft{&strong.certificate, given(strong.key), nil}, ""},
		{"an RSA key in PKCS 1", draft{&strong.certificate, given(oldStyle), nil}, ""},
		{"an EC key in SEC 1 behind its parameters", draft{&p.certificate, given(withParameters), nil}, ""},
		{"a chain", draft{ptr(p.certificate + other.certificate), given(p.key), nil}, ""},
		{"what openssl writes around a certificate", draft{ptr("Bag Attributes\n    friendlyName: a\n" + p.certificate + "\n\n"), given("\r\n" + p.key), nil}, ""},
		{"a certificate without a line end", draft{ptr(strings.TrimSpace(p.certificate)), given(strings.TrimSpace(p.key)), nil}, ""},
		{"roots alone", draft{CACertificate: ptr(p.certificate + ed.certificate)}, ""},
		{"all three", draft{&p.certificate, given(p.key), &other.certificate}, ""},

		{"a certificate without its key", draft{Certificate: &p.certificate}, at + "/privateKey required"},
		{"a key without its certificate", draft{PrivateKey: given(p.key)}, at + "/certificate required"},
		{"a key without its certificate, beside roots", draft{PrivateKey: given(p.key), CACertificate: &p.certificate}, at + "/certificate required"},
		{"a kept key where there is none", draft{Certificate: &p.certificate, PrivateKey: kept()}, at + "/privateKey required"},
		{"empty texts", draft{ptr(""), given(""), ptr("")}, at + "/certificate too_short, " + at + "/privateKey too_short, " + at + "/caCertificate too_short"},
		{"long texts", draft{ptr(strings.Repeat("é", 20_001)), given(strings.Repeat("é", 10_001)), ptr(strings.Repeat("é", 20_001))},
			at + "/certificate too_long, " + at + "/privateKey too_long, " + at + "/caCertificate too_long"},
		{"texts of the greatest length", draft{ptr(p.certificate + strings.Repeat("é", 20_000-len(p.certificate))), given(p.key + strings.Repeat("é", 10_000-len(p.key))), nil}, ""},
		{"control characters", draft{ptr(p.certificate + "\x00"), given(p.key + "\x1b"), ptr(p.certificate + "\x7f")},
			at + "/certificate invalid_character, " + at + "/privateKey invalid_character, " + at + "/caCertificate invalid_character"},
		{"no PEM", draft{ptr("MIIB"), given("MIIB"), ptr("MIIB")}, badCert + ", " + at + "/caCertificate invalid_certificate"},
		{"a key that is no PEM", draft{&p.certificate, given("MIIB"), nil}, badKey},
		{"a certificate that is none", draft{ptr(block("CERTIFICATE", []byte("x"))), given(p.key), nil}, badCert},
		{"a key that is none", draft{&p.certificate, given(block("PRIVATE KEY", []byte("x"))), nil}, badKey},
		{"a certificate in the place of the key", draft{&p.certificate, given(p.certificate), nil}, badKey},
		{"a key in the place of the certificate", draft{&p.key, given(p.key), nil}, badCert},
		{"a key behind the certificate, where it would be shown", draft{ptr(p.certificate + p.key), given(p.key), nil}, badCert},
		{"a key before the certificate", draft{ptr(p.key + p.certificate), given(p.key), nil}, badCert},
		{"a key among the roots", draft{CACertificate: ptr(p.certificate + p.key)}, at + "/caCertificate invalid_certificate"},
		{"half a key behind the certificate", draft{ptr(p.certificate + p.key[:len(p.key)-30]), given(p.key), nil}, badCert},
		{"half a key before the certificate", draft{ptr(p.key[:len(p.key)-30] + "\n" + p.certificate), given(p.key), nil}, badCert},
		{"a second certificate that is cut short", draft{ptr(p.certificate + other.certificate[:len(other.certificate)-30]), given(p.key), nil}, badCert},
		{"another block behind the certificate", draft{ptr(p.certificate + block("CERTIFICATE REQUEST", []byte("x"))), given(p.key), nil}, badCert},
		{"a key that is encrypted", draft{&p.certificate, given(block("ENCRYPTED PRIVATE KEY", []byte("x"))), nil}, badKey},
		{"a key that is encrypted in the old way", draft{&p.certificate, given(legacy), nil}, badKey},
		{"a pair that does not fit", draft{&p.certificate, given(other.key), nil}, at + "/privateKey key_mismatch"},
		{"a pair of two kinds", draft{&p.certificate, given(strong.key), nil}, at + "/privateKey key_mismatch"},
		{"a chain in the wrong order", draft{ptr(other.certificate + p.certificate), given(p.key), nil}, at + "/privateKey key_mismatch"},
		{"an RSA key of 1024 bits", draft{&weak.certificate, given(weak.key), nil}, at + "/certificate weak_key"},
		{"a curve that TLS 1.3 has not", draft{&p224.certificate, given(p224.key), nil}, at + "/certificate weak_key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, fields := asked(tt.mtls).Apply(subscription.Endpoint{}, false, https)
			if got := codes(fields); got != tt.want {
				t.Fatalf("got  %s\nwant %s", got, tt.want)
			}
			silent(t, fields, tt.mtls.PrivateKey.Value.Reveal())
			if c := tt.mtls.Certificate; c != nil && strings.Contains(*c, "-----END PRIVATE KEY-----") && !strings.Contains(fields[0].Msg, "privateKey") {
				t.Errorf("got the message %q, want one that tells where a key belongs", fields[0].Msg)
			}
			if len(fields) > 0 {
				return
			}
			want := subscription.MTLS{PrivateKey: tt.mtls.PrivateKey.Value}
			if tt.mtls.Certificate != nil {
				want.Certificate = *tt.mtls.Certificate
			}
			if tt.mtls.CACertificate != nil {
				want.CACertificate = *tt.mtls.CACertificate
			}
			if e.Auth.MTLS != want {
				t.Errorf("got %+v, want what was given", e.Auth.MTLS)
			}
			usable(t, e.Auth.MTLS)
		})
	}
}

// silent demands that no fault repeats a part of a key.
func silent(t *testing.T, fields []fault.Field, key string) {
	t.Helper()
	for _, f := range fields {
		for line := range strings.Lines(key) {
			if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(f.Msg, line) {
				t.Errorf("the fault %q repeats the key", f.Msg)
			}
		}
	}
}

// usable demands that TLS takes what was accepted.
func usable(t *testing.T, m subscription.MTLS) {
	t.Helper()
	if m.Certificate != "" {
		if _, err := tls.X509KeyPair([]byte(m.Certificate), []byte(m.PrivateKey.Reveal())); err != nil {
			t.Errorf("the pair was accepted, but TLS says: %v", err)
		}
	}
	if m.CACertificate != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(m.CACertificate)) {
		t.Error("the roots were accepted, but there are none")
	}
}

func TestDraft_Apply_keepsTheClientCertificate(t *testing.T) {
	t.Parallel()
	p, other := newPair(t, ecKey(t, elliptic.P256())), newPair(t, ecKey(t, elliptic.P256()))
	cur := subscription.Endpoint{URL: "https://a.example/x", Auth: subscription.Auth{
		Type: subscription.AuthToken,
		Bearer: subscription.Bearer{
			RefreshToken: secret.New("r"), RefreshURL: "https://login.example/token",
		},
		MTLS: subscription.MTLS{Certificate: p.certificate, PrivateKey: secret.New(p.key)},
	}}
	ask := func(edit func(*subscription.Draft)) subscription.Draft {
		d := subscription.Draft{URL: cur.URL, Auth: &subscription.AuthDraft{
			Type: ptr("token"), RefreshToken: given("r"), RefreshURL: ptr("https://login.example/token"),
			MTLS: &subscription.MTLSDraft{Certificate: &p.certificate, PrivateKey: kept()},
		}}
		edit(&d)
		return d
	}
	const key = "/authentication/mtls/privateKey "
	tests := []struct {
		name string
		edit func(*subscription.Draft)
		want string
	}{
		{"nothing changes", func(*subscription.Draft) {}, ""},
		{"other roots", func(d *subscription.Draft) { d.Auth.MTLS.CACertificate = &other.certificate }, ""},
		{"another authType", func(d *subscription.Draft) {
			d.Auth.Type, d.Auth.RefreshToken, d.Auth.RefreshURL = ptr("none"), subscription.SecretInput{}, nil
		}, ""},
		{"another certificate", func(d *subscription.Draft) { d.Auth.MTLS.Certificate = &other.certificate }, key + "secret_required"},
		{"another certificate with its key", func(d *subscription.Draft) {
			d.Auth.MTLS.Certificate, d.Auth.MTLS.PrivateKey = &other.certificate, given(other.key)
		}, ""},
		{"no certificate any more", func(d *subscription.Draft) { d.Auth.MTLS.Certificate = nil }, "/authentication/mtls/certificate required"},
		{"no key any more", func(d *subscription.Draft) { d.Auth.MTLS.PrivateKey = subscription.SecretInput{} }, key + "required"},
		{"another host for url", func(d *subscription.Draft) { d.URL = "https://b.example/x" }, key + "secret_required"},
		{"another host for refreshUrl", func(d *subscription.Draft) { d.Auth.RefreshURL = ptr("https://evil.example/token") }, key + "secret_required"},
		{"another host for url, with the key", func(d *subscription.Draft) {
			d.URL, d.Auth.MTLS.PrivateKey = "https://b.example/x", given(p.key)
		}, ""},
		{"another host and another certificate are one fault", func(d *subscription.Draft) {
			d.URL, d.Auth.MTLS.Certificate = "https://b.example/x", &other.certificate
		}, key + "secret_required"},
		{"no client certificate any more", func(d *subscription.Draft) { d.Auth.MTLS = nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := ask(tt.edit)
			e, fields := d.Apply(cur, false, https)
			if got := codes(fields); got != tt.want {
				t.Fatalf("got  %s\nwant %s", got, tt.want)
			}
			if len(fields) == 0 {
				if got, want := e.Auth.MTLS.PrivateKey.IsSet(), d.Auth.MTLS != nil; got != want {
					t.Errorf("got a key: %t, want %t", got, want)
				}
				usable(t, e.Auth.MTLS)
			}
		})
	}

	t.Run("another host for authenticationUrl", func(t *testing.T) {
		t.Parallel()
		was := cur
		was.Auth = subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{AuthenticationURL: "https://login.example/token"}, MTLS: cur.Auth.MTLS}
		d := subscription.Draft{URL: cur.URL, Auth: &subscription.AuthDraft{
			Type: ptr("oauth2"), OAuth2: &subscription.OAuth2Draft{GrantType: ptr("client-credentials"), AuthenticationURL: ptr("https://other.example/token"), ClientID: ptr("c"), ClientSecret: given("s")},
			MTLS: &subscription.MTLSDraft{Certificate: &p.certificate, PrivateKey: kept()},
		}}
		_, fields := d.Apply(was, false, https)
		if got, want := codes(fields), key+"secret_required"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestDraft_Apply_signatures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		given []string
		want  string
		kinds string
	}{
		{"nothing", nil, "", "v1"},
		{"the one", []string{"v1"}, "", "v1"},
		{"both", []string{"v1", "v1a"}, "", "v1 v1a"},
		{"both in another order", []string{"v1a", "v1"}, "", "v1 v1a"},
		{"an empty list", []string{}, "/signatures required", ""},
		{"v1a alone", []string{"v1a"}, "/signatures required", ""},
		{"one that is not known", []string{"v1", "v2"}, "/signatures/1 invalid_value", ""},
		{"only one that is not known", []string{"V1"}, "/signatures/0 invalid_value", ""},
		{"one twice", []string{"v1", "v1a", "v1"}, "/signatures/2 duplicate", ""},
		{"v1a twice without v1", []string{"v1a", "v1a"}, "/signatures/1 duplicate", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := valid()
			d.Signatures = tt.given
			cur := subscription.Endpoint{Asymmetric: true, SigningKeys: []subscription.SigningKey{{ID: "key_1"}}}
			e, fields := d.Apply(cur, false, https)
			if got := codes(fields); got != tt.want {
				t.Fatalf("got %s, want %s", got, tt.want)
			}
			if len(fields) > 0 {
				return
			}
			if got := strings.Join(e.Signatures(), " "); got != tt.kinds {
				t.Errorf("got %s, want %s", got, tt.kinds)
			}
			if got, want := len(e.SigningKeys) > 0, e.Asymmetric; got != want {
				t.Errorf("got keys: %t, want %t", got, want)
			}
		})
	}
}

func TestEndpoint_KeepsToken(t *testing.T) {
	t.Parallel()
	bearer := func(edit func(*subscription.Auth)) subscription.Endpoint {
		a := subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{
			Token: secret.New("t"), RefreshToken: secret.New("r"), RefreshURL: "https://login.example/token", ClientID: "c", ClientSecret: secret.New("s"),
		}}
		edit(&a)
		return subscription.Endpoint{Name: "n", Auth: a}
	}
	client := func(edit func(*subscription.Auth)) subscription.Endpoint {
		a := subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{AuthenticationURL: "https://login.example/token", ClientID: "c", ClientSecret: secret.New("s")}}
		edit(&a)
		return subscription.Endpoint{Auth: a}
	}
	same := func(*subscription.Auth) {}
	tests := []struct {
		name        string
		cur, next   subscription.Endpoint
		keeps, same bool
	}{
		{"a refresh token: nothing changes", bearer(same), bearer(same), true, true},
		{"a refresh token: another one", bearer(same), bearer(func(a *subscription.Auth) { a.Bearer.RefreshToken = secret.New("r2") }), false, false},
		{"a refresh token: none any more", bearer(same), bearer(func(a *subscription.Auth) { a.Bearer.RefreshToken = secret.Value{} }), false, false},
		{"a refresh token: another client", bearer(same), bearer(func(a *subscription.Auth) { a.Bearer.ClientID = "c2" }), true, false},
		{"a refresh token: another host", bearer(same), bearer(func(a *subscription.Auth) { a.Bearer.RefreshURL = "https://other.example/token" }), false, false},
		{"a refresh token: another path", bearer(same), bearer(func(a *subscription.Auth) { a.Bearer.RefreshURL = "https://login.example/t2" }), true, false},
		{"a refresh token: another secret of the client", bearer(same), bearer(func(a *subscription.Auth) { a.Bearer.ClientSecret = secret.New("s2") }), true, false},
		{"a refresh token: another certificate", bearer(same), bearer(func(a *subscription.Auth) { a.MTLS.Certificate = "x" }), true, false},
		{"a refresh token: another type", bearer(same), client(same), false, false},
		{"client credentials: nothing changes", client(same), client(same), true, true},
		{"client credentials: another scope", client(same), client(func(a *subscription.Auth) { a.OAuth2.Scope = "x" }), false, false},
		{"client credentials: another secret", client(same), client(func(a *subscription.Auth) { a.OAuth2.ClientSecret = secret.New("s2") }), false, false},
		{"client credentials: another key", client(same), client(func(a *subscription.Auth) { a.MTLS.PrivateKey = secret.New("x") }), false, false},
		{"client credentials: another type", client(same), bearer(same), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.cur.KeepsToken(tt.next); got != tt.keeps {
				t.Errorf("keeps the token: got %t, want %t", got, tt.keeps)
			}
			if got := tt.cur.SameCredentials(tt.next); got != tt.same {
				t.Errorf("the same credentials: got %t, want %t", got, tt.same)
			}
		})
	}
	if other := bearer(same); !bearer(same).SameCredentials(subscription.Endpoint{Name: "another name", URL: "https://x/", Auth: other.Auth}) {
		t.Error("another name and address: got other credentials, want the same")
	}
}

// FuzzDraft_Apply_mTLS: whatever is given, a pair that is accepted is one that
// TLS takes, a certificate that is shown holds no private key, and no fault
// repeats a key.
func FuzzDraft_Apply_mTLS(f *testing.F) {
	p, r := newPair(f, ecKey(f, elliptic.P256())), newPair(f, rsaKey(f, 2048))
	f.Add(p.certificate, p.key)
	f.Add(r.certificate, r.key)
	f.Add(p.certificate+p.key, p.key)
	f.Add(p.key+p.certificate, r.key)
	f.Add("-----BEGIN \n-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----", "-----BEGIN X PRIVATE KEY-----\na: b\n\n-----END X PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, certificate, key string) {
		d := asked(subscription.MTLSDraft{Certificate: &certificate, PrivateKey: given(key), CACertificate: &certificate})
		e, fields := d.Apply(subscription.Endpoint{}, false, https)
		silent(t, fields, key)
		if len(fields) > 0 {
			return
		}
		usable(t, e.Auth.MTLS)
		for _, shown := range []string{e.Auth.MTLS.Certificate, e.Auth.MTLS.CACertificate} {
			if strings.Contains(shown, "PRIVATE KEY-----") {
				t.Errorf("the certificate %q is shown and holds a private key", shown)
			}
		}
	})
}
