package servertest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
)

// authority is a private CA for servers and for clients.
type authority struct {
	pem  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), cert: cert, key: key}
}

// issue returns a certificate for a server on 127.0.0.1 or for a client, and
// its key, in PEM.
func (ca *authority) issue(t *testing.T, name string, usage x509.ExtKeyUsage) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, private.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER)
}

// client returns the member mtls with a new certificate.
func (ca *authority) client(t *testing.T, name string, servers *authority) map[string]any {
	t.Helper()
	certificate, key := ca.issue(t, name, x509.ExtKeyUsageClientAuth)
	return map[string]any{"certificate": certificate, "privateKey": key, "caCertificate": servers.pem}
}

// subjectOfClient is where newMutual tells the receiver who came.
const subjectOfClient = "X-Test-Client"

// newMutual returns a receiver that lets in only who has a certificate of
// clients, and has one of servers itself.
func newMutual(t *testing.T, servers, clients *authority) *servertest.Receiver {
	t.Helper()
	rcv := &servertest.Receiver{}
	rcv.Answer(func(servertest.Received) servertest.Reply { return servertest.Reply{} })
	certificate, key := servers.issue(t, "receiver", x509.ExtKeyUsageServerAuth)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(clients.cert)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(subjectOfClient, r.TLS.PeerCertificates[0].Subject.CommonName)
		rcv.ServeHTTP(w, r)
	}))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // who is not let in is part of the play
	srv.StartTLS()
	t.Cleanup(srv.Close)
	rcv.URL = srv.URL
	return rcv
}

// A receiver behind client certificates, with a certificate of a CA that only
// the subscription knows, beside each way to show oneself. For OAuth2 the
// token server wants the client certificate too.
func TestMTLS(t *testing.T) {
	t.Parallel()
	servers, clients := newAuthority(t, "Servers of a partner"), newAuthority(t, "Clients of a partner")
	rcv := newMutual(t, servers, clients)
	rcv.Answer(func(r servertest.Received) servertest.Reply {
		if r.Path != "/oauth/token" {
			return servertest.Reply{}
		}
		form, err := url.ParseQuery(string(r.Body))
		if err != nil || form.Get("grant_type") != "client_credentials" {
			return servertest.Reply{Status: 400, Body: `{"error":"invalid_request"}`}
		}
		return servertest.Reply{Status: 200, Body: `{"access_token":"ABC123","token_type":"Bearer","expires_in":3600}`}
	})
	s := servertest.Start(t, servertest.Options{})
	for _, tt := range []struct {
		name   string
		auth   map[string]any
		header string
		value  string
	}{
		{"none", map[string]any{"authType": "none"}, "Authorization", ""},
		{"api-key", map[string]any{"authType": "api-key", "apiKeyAuth": map[string]string{"location": "header", "key": "X-API-Key", "value": "k1"}}, "X-API-Key", "k1"},
		{"basic", map[string]any{"authType": "basic", "basicAuth": map[string]string{"user": "Aladdin", "password": "open sesame"}}, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{"token", map[string]any{"authType": "token", "token": "t1"}, "Authorization", "Bearer t1"},
		{"oauth2", map[string]any{"authType": "oauth2", "oauth2Auth": map[string]string{
			"grantType": "client-credentials", "authenticationUrl": rcv.URL + "/oauth/token", "clientId": "c", "clientSecret": "s",
		}}, "Authorization", "Bearer ABC123"},
	} {
		a := s.NewApplication(tt.name)
		auth := tt.auth
		auth["mtls"] = clients.client(t, "client for "+tt.name, servers)
		path := "/" + tt.name
		id, _ := subscribe(t, a, rcv.URL+path, map[string]any{"authentication": auth})
		if got, body := trialOf(t, a, id); !got.Delivered {
			t.Errorf("%s: got %s, want the test delivered", tt.name, body)
		}
		made := createConsents(t, a, 3)
		wantTold(t, rcv, path, made)
		wantFirstTime(t, a, id, 2*len(made))
		for _, r := range rcv.Received() {
			if r.Path == path && (r.Header.Get(tt.header) != tt.value || r.Header.Get(subjectOfClient) != "client for "+tt.name) {
				t.Errorf("%s: got %s %q from %q, want %q", tt.name, tt.header, r.Header.Get(tt.header), r.Header.Get(subjectOfClient), tt.value)
			}
		}
	}
	tokens := 0
	for _, r := range rcv.Received() {
		if r.Path == "/oauth/token" {
			tokens++
			if who := r.Header.Get(subjectOfClient); who != "client for oauth2" {
				t.Errorf("the token request came from %q, want the subscription's client certificate", who)
			}
		}
	}
	if tokens != 1 {
		t.Errorf("got %d token requests, want 1", tokens)
	}
}

// Without its certificate a receiver lets nobody in, and the record says why
// in plain words. A new certificate takes effect at once.
func TestMTLS_refusedAndRenewed(t *testing.T) {
	t.Parallel()
	servers, clients, strangers := newAuthority(t, "Servers"), newAuthority(t, "Clients"), newAuthority(t, "Strangers")
	rcv := newMutual(t, servers, clients)
	s := servertest.Start(t, servertest.Options{})
	a := s.NewApplication("Bank")
	good, _ := subscribe(t, a, rcv.URL+"/good", map[string]any{"authentication": map[string]any{
		"authType": "none", "mtls": clients.client(t, "first", servers),
	}})
	refused := []struct {
		name   string
		mtls   map[string]any // nil: none
		reason string
		id     string
	}{
		{"nothing of it", nil, "not signed by an authority that we trust", ""},
		{"no client certificate", map[string]any{"caCertificate": servers.pem}, "asks for a client certificate", ""},
		{"a client certificate of another CA", strangers.client(t, "stranger", servers), "refused our client certificate", ""},
		{"the wrong CA for the server", clients.client(t, "misled", clients), "not signed by an authority that we trust", ""},
	}
	for i := range refused {
		tt := &refused[i]
		auth := map[string]any{"authType": "none"}
		if tt.mtls != nil {
			auth["mtls"] = tt.mtls
		}
		tt.id, _ = subscribe(t, a, rcv.URL+"/refused", map[string]any{"authentication": auth, "retrySchedule": []string{"50ms"}})
	}
	made := createConsents(t, a, 2)
	wantTold(t, rcv, "/good", made)
	for _, tt := range refused {
		if got, body := trialOf(t, a, tt.id); got.Delivered || got.Step != "tls" || !strings.Contains(got.Reason, tt.reason) || got.Response != nil {
			t.Errorf("%s: got %s, want it to end at tls with %q", tt.name, body, tt.reason)
		}
		var all []owed
		servertest.Eventually(t, "both attempts to fail", func() bool {
			all = deliveries(t, a, tt.id)
			for _, d := range all {
				if d.Status != "exhausted" {
					return false
				}
			}
			return len(all) == 2*len(made)
		})
		for _, d := range all {
			var full struct {
				Attempts []struct {
					Step, Reason string
					Response     *struct{ Status int }
				}
			}
			a.Call("GET", "/v1/deliveries/"+d.DeliveryID, nil).Want(t, 200).Into(t, &full)
			if len(full.Attempts) != 2 {
				t.Errorf("%s: got %d attempts, want 2", tt.name, len(full.Attempts))
			}
			for _, at := range full.Attempts {
				if at.Step != "tls" || !strings.Contains(at.Reason, tt.reason) || at.Response != nil {
					t.Errorf("%s: got %+v, want it to end at tls with %q", tt.name, at, tt.reason)
				}
			}
		}
	}
	for _, r := range rcv.Received() {
		if r.Path != "/good" || r.Header.Get(subjectOfClient) != "first" {
			t.Errorf("%q came to %s, want the first client only", r.Header.Get(subjectOfClient), r.Path)
		}
	}

	// The key is never shown; the certificates are.
	var read struct {
		Authentication struct{ MTLS map[string]any }
	}
	r := a.Call("GET", "/v1/subscriptions/"+good, nil).Want(t, 200)
	r.Into(t, &read)
	if m := read.Authentication.MTLS; m["privateKey"] != nil || m["privateKeySet"] != true || m["caCertificate"] != servers.pem || m["certificate"] == nil {
		t.Errorf("got the mtls %v, want the certificates, and that a key is set", m)
	}
	if strings.Contains(string(r.Body), "PRIVATE KEY") {
		t.Errorf("got %s, want no private key", r.Body)
	}

	second := clients.client(t, "second", servers)
	a.Call("PATCH", "/v1/subscriptions/"+good, map[string]any{"authentication": map[string]any{"mtls": map[string]any{"certificate": second["certificate"]}}}).Want(t, 400)
	a.Call("PATCH", "/v1/subscriptions/"+good, map[string]any{"authentication": map[string]any{"mtls": second}}).Want(t, 200)
	renewed := createConsents(t, a, 1)
	wantTold(t, rcv, "/good", renewed)
	s.Restart() // the key was kept, sealed
	renewed = append(renewed, a.CreateConsent())
	wantTold(t, rcv, "/good", renewed)
	for _, r := range rcv.Received() {
		want := "first"
		if r.Subject() == renewed[0] || r.Subject() == renewed[1] {
			want = "second"
		}
		if who := r.Header.Get(subjectOfClient); who != want {
			t.Errorf("%s came from %q, want %q", r.Subject(), who, want)
		}
	}
	wantFirstTime(t, a, good, 2*(len(made)+len(renewed)))
}
