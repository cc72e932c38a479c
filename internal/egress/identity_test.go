package egress

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
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// credentials is a client certificate with its key, in PEM.
type credentials struct{ certificate, key string }

// client issues a client certificate for a key.
func (a *authority) client(t testing.TB, name string, key crypto.Signer) credentials {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return credentials{string(rootPEM(der)), pkcs8(t, key)}
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustIdentity(t testing.TB, p credentials, roots string) *Identity {
	t.Helper()
	i, err := NewIdentity(p.certificate, p.key, roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

// mutual is a server that asks for client certificates. Its answers name the
// protocol, the client's certificate and the client's address.
func mutual(t testing.TB, cert tls.Certificate, change func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		who := "nobody"
		if c := r.TLS.PeerCertificates; len(c) > 0 {
			who = c[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s %#x %s %s", r.Proto, r.TLS.Version, who, r.RemoteAddr)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes
	change(s)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func poolOf(a *authority) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// transportsUnderTest are the ways in which a receiver may speak.
var transportsUnderTest = []struct {
	name    string
	http2   bool
	version uint16
	proto   string
}{
	{"HTTP/1.1 on TLS 1.2", false, tls.VersionTLS12, "HTTP/1.1"},
	{"HTTP/1.1 on TLS 1.3", false, tls.VersionTLS13, "HTTP/1.1"},
	{"HTTP/2 on TLS 1.2", true, tls.VersionTLS12, "HTTP/2.0"},
	{"HTTP/2 on TLS 1.3", true, tls.VersionTLS13, "HTTP/2.0"},
}

// TestIdentity_required: a receiver that requires a certificate takes the
// right one, and tells of none and of a wrong one in the step tls, also where
// its refusal comes after the handshake and races with the request.
func TestIdentity_required(t *testing.T) {
	t.Parallel()
	ca, clients, others := newAuthority(t), newAuthority(t), newAuthority(t)
	serves := ca.issue(t, time.Now().Add(time.Hour))
	right := clients.client(t, "right", ecKey(t, elliptic.P256()))
	wrong := others.client(t, "wrong", ecKey(t, elliptic.P256()))
	for _, how := range transportsUnderTest {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			s := mutual(t, serves, func(s *httptest.Server) {
				s.EnableHTTP2 = how.http2
				s.TLS.MinVersion, s.TLS.MaxVersion = how.version, how.version
				s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, poolOf(clients)
			})
			c, target := testClient(t, ca), testTarget(t, s.URL+"/hook")
			tests := []struct {
				name   string
				ident  func() *Identity
				body   int
				reason string // empty: taken
			}{
				{"the right one", func() *Identity { return mustIdentity(t, right, "") }, 100, ""},
				{"none", func() *Identity { return nil }, 100, "the receiver asks for a client certificate"},
				{"none, but roots", func() *Identity { return mustIdentity(t, credentials{}, string(ca.pem())) }, 100, "the receiver asks for a client certificate"},
				{"one of another authority", func() *Identity { return mustIdentity(t, wrong, "") }, 100, "the receiver refused our client certificate"},
				{"one of another authority, with a large request", func() *Identity { return mustIdentity(t, wrong, "") }, 4 << 20, "the receiver refused our client certificate"},
			}
			for _, tt := range tests {
				for range 10 { // the refusal and the request are on the way at the same time
					resp, err := c.Do(t.Context(), &Request{Target: target, Body: make([]byte, tt.body), Identity: tt.ident(), Timeout: 10 * time.Second})
					if tt.reason == "" {
						if want := fmt.Sprintf("%s %#x right ", how.proto, how.version); err != nil || !strings.HasPrefix(resp.Body, want) {
							t.Errorf("%s: got %+v, %v, want %q", tt.name, resp, err, want)
						}
						continue
					}
					if e, ok := errors.AsType[*Error](err); !ok || e.Step != StepTLS || e.Reason != tt.reason {
						t.Errorf("%s: got %+v, %v, want tls: %s", tt.name, resp, err, tt.reason)
					}
				}
			}
		})
	}
}

// TestIdentity_asked: a receiver that asks for a certificate and then closes
// the connection without a word is not said to refuse ours, and a connection
// that it answered on once is beyond the question.
func TestIdentity_asked(t *testing.T) {
	t.Parallel()
	const closed, hint = "the receiver closed the connection before its answer was complete", "; it had asked for a client certificate"
	ca := newAuthority(t)
	serves := ca.issue(t, time.Now().Add(time.Hour))
	own := ca.client(t, "own", ecKey(t, elliptic.P256()))
	once := func(l *line) {
		if l.secure() && l.request() != nil && l.say(answer(200, "")) {
			_ = l.request()
		}
	}
	tests := []struct {
		name   string
		auth   tls.ClientAuthType
		handle func(*line)
		ident  *Identity
		sent   int
		dials  int32
		reason string
	}{
		{"no certificate", tls.RequestClientCert, func(l *line) { _ = l.secure() && l.request() != nil }, nil, 1, 1, closed + hint},
		{"a certificate", tls.RequestClientCert, func(l *line) { _ = l.secure() && l.request() != nil }, mustIdentity(t, own, ""), 1, 1, closed},
		{"not asked", tls.NoClientCert, func(l *line) { _ = l.secure() && l.request() != nil }, nil, 1, 1, closed},
		{"no certificate, and one answer before", tls.RequestClientCert, once, nil, 3, 2, closed},
		{"a certificate, and one answer before", tls.RequestClientCert, once, mustIdentity(t, own, ""), 2, 1, closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, serves, tt.handle)
			r.tls.ClientAuth = tt.auth
			c := testClient(t, ca)
			var err error
			for range tt.sent {
				_, err = c.Do(t.Context(), &Request{Target: testTarget(t, r.url()), Body: []byte("{}"), Identity: tt.ident, Timeout: 10 * time.Second})
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Step != StepResponse || e.Reason != tt.reason {
				t.Errorf("got %v, want response: %s", err, tt.reason)
			}
			if got := r.dials.Load(); got != tt.dials {
				t.Errorf("%d dials, want %d", got, tt.dials)
			}
		})
	}
}

// TestIdentity_roots: private roots hold for their identity alone, and beside
// the others.
func TestIdentity_roots(t *testing.T) {
	t.Parallel()
	operator, private, other := newAuthority(t), newAuthority(t), newAuthority(t)
	const untrusted = "the receiver's certificate is not signed by an authority that we trust"
	tests := []struct {
		name   string
		server *authority
		roots  string
		reason string
	}{
		{"a private receiver, without roots", private, "", untrusted},
		{"a private receiver, with its roots", private, string(private.pem()), ""},
		{"a private receiver, with others' roots too", private, string(other.pem()) + string(private.pem()), ""},
		{"a private receiver, with others' roots alone", private, string(other.pem()), untrusted},
		{"a receiver that the operator trusts", operator, string(private.pem()), ""},
	}
	c := testClient(t, operator)
	t.Run("beside the system's alone", func(t *testing.T) {
		t.Parallel()
		s := mutual(t, private.issue(t, time.Now().Add(time.Hour)), func(*httptest.Server) {})
		bare := testClient(t, operator, func(o *Options) { o.RootCAs = nil })
		ident := mustIdentity(t, credentials{}, string(private.pem()))
		if _, err := bare.Do(t.Context(), &Request{Target: testTarget(t, s.URL), Identity: ident, Timeout: 10 * time.Second}); err != nil {
			t.Errorf("got %v, want an answer", err)
		}
		roots, err := ident.transport(bare, false)
		if err != nil {
			t.Fatal(err)
		}
		want := systemRoots()
		want.AddCert(private.cert)
		if got := roots.TLSClientConfig.RootCAs; !got.Equal(want) {
			t.Error("the roots are not the system's and the private ones")
		}
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := mutual(t, tt.server.issue(t, time.Now().Add(time.Hour)), func(*httptest.Server) {})
			ident := mustIdentity(t, credentials{}, tt.roots)
			_, err := c.Do(t.Context(), &Request{Target: testTarget(t, s.URL), Identity: ident, Timeout: 10 * time.Second})
			if e, _ := errors.AsType[*Error](err); tt.reason == "" && err != nil || tt.reason != "" && (e == nil || e.Step != StepTLS || e.Reason != tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			_, err = c.Do(t.Context(), &Request{Target: testTarget(t, s.URL), Timeout: 10 * time.Second})
			if trusted := tt.server == operator; trusted != (err == nil) {
				t.Errorf("without an identity: got %v, want it trusted: %v", err, trusted)
			}
		})
	}
}

// TestIdentity_sameRules: an identity changes neither what may be dialled nor
// what TLS must be, but for its roots and its certificate.
func TestIdentity_sameRules(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	own := ca.client(t, "own", ecKey(t, elliptic.P256()))
	const unsafe = "the receiver does not offer TLS 1.2 or newer"
	tests := []struct {
		name   string
		names  []string
		end    time.Duration
		max    uint16
		policy Policy
		step   string
		reason string
	}{
		{"loopback, not allowed", nil, time.Hour, 0, Policy{}, StepConnect, "127.0.0.1 is not a public address and the operator does not allow it"},
		{"TLS 1.1", nil, time.Hour, tls.VersionTLS11, Policy{Allow: []string{"127.0.0.0/8"}}, StepTLS, unsafe},
		{"another host's certificate", []string{"other.example"}, time.Hour, 0, Policy{Allow: []string{"127.0.0.0/8"}}, StepTLS, "the receiver's certificate is for another host name"},
		{"an expired certificate", nil, -time.Minute, 0, Policy{Allow: []string{"127.0.0.0/8"}}, StepTLS, "the receiver's certificate has expired or is not valid yet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := mutual(t, ca.issue(t, time.Now().Add(tt.end), tt.names...), func(s *httptest.Server) {
				s.TLS.MinVersion, s.TLS.MaxVersion = tls.VersionTLS10, tt.max
			})
			c := testClient(t, ca, func(o *Options) { o.Guard = testGuard(t, tt.policy) })
			for _, ident := range []*Identity{nil, mustIdentity(t, own, ""), mustIdentity(t, own, string(ca.pem()))} {
				_, err := c.Do(t.Context(), &Request{Target: testTarget(t, s.URL), Identity: ident, Timeout: 10 * time.Second})
				if e, ok := errors.AsType[*Error](err); !ok || e.Step != tt.step || e.Reason != tt.reason {
					t.Errorf("got %v, want %s: %s", err, tt.step, tt.reason)
				}
			}
		})
	}
}

// TestIdentity_apart: no request finds a connection of another identity's, or
// of the same identity's in another client, and each keeps its own.
func TestIdentity_apart(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	serves := ca.issue(t, time.Now().Add(time.Hour))
	for _, how := range transportsUnderTest {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			s := mutual(t, serves, func(s *httptest.Server) {
				s.EnableHTTP2 = how.http2
				s.TLS.MaxVersion, s.TLS.ClientAuth = how.version, tls.RequestClientCert
			})
			c, second, target := testClient(t, ca), testClient(t, ca), testTarget(t, s.URL)
			twice := ca.client(t, "c", ecKey(t, elliptic.P256()))
			users := []struct {
				who    string
				ident  *Identity
				client *Client
			}{
				{"a", mustIdentity(t, ca.client(t, "a", ecKey(t, elliptic.P256())), ""), c},
				{"b", mustIdentity(t, ca.client(t, "b", ecKey(t, elliptic.P256())), ""), c},
				{"c", mustIdentity(t, twice, ""), c},
				{"c", mustIdentity(t, twice, ""), c}, // the same certificate, another endpoint
				{"nobody", nil, c},
				{"nobody", mustIdentity(t, credentials{}, string(ca.pem())), c},
				{"nobody", nil, second},
			}
			users = append(users, users[0])
			users[len(users)-1].client = second
			const rounds = 6
			var mu sync.Mutex
			seen := map[string]int{} // the client's address: which user came from it
			conns := map[int]int{}
			var wg sync.WaitGroup
			for round := range rounds {
				for i, u := range users {
					send := func() {
						resp, err := u.client.Do(t.Context(), &Request{Target: target, Body: []byte("{}"), Identity: u.ident, Timeout: 10 * time.Second})
						if err != nil {
							t.Error(err)
							return
						}
						part := strings.Fields(resp.Body)
						mu.Lock()
						defer mu.Unlock()
						if part[0] != how.proto || part[2] != u.who {
							t.Errorf("user %d: got %s, want %s of %s", i, resp.Body, how.proto, u.who)
						}
						if other, ok := seen[part[3]]; ok && other != i {
							t.Errorf("users %d and %d shared a connection", other, i)
						} else if !ok {
							seen[part[3]] = i
							conns[i]++
						}
					}
					if round < rounds/2 {
						send()
						continue
					}
					wg.Go(send)
				}
				wg.Wait()
			}
			for i, n := range conns {
				most := 1
				if users[i].ident == nil && how.proto == "HTTP/1.1" {
					most = 2 // on the first we learned what the receiver speaks
				}
				if n > most {
					t.Errorf("user %d had %d connections, want %d", i, n, most)
				}
			}
		})
	}
}

// TestIdentity_ends: idle connections close with Close and with the client's
// CloseIdle, and by themselves when the identity is dropped.
func TestIdentity_ends(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	serves := ca.issue(t, time.Now().Add(time.Hour))
	own := ca.client(t, "own", ecKey(t, elliptic.P256()))
	tests := []struct {
		name string
		drop bool
		end  func(*Client, *Identity)
		most time.Duration // which is less than by idleness
	}{
		{"Close", false, func(_ *Client, i *Identity) { i.Close() }, idleTimeout / 2},
		{"CloseIdle", false, func(c *Client, _ *Identity) { c.CloseIdle() }, idleTimeout / 2},
		{"CloseIdle of a dropped one", true, func(c *Client, _ *Identity) { c.CloseIdle() }, idleTimeout / 2},
		{"dropped", true, func(*Client, *Identity) {}, idleTimeout + 10*time.Second},
	}
	for _, tt := range tests {
		for _, how := range transportsUnderTest {
			t.Run(tt.name+", "+how.name, func(t *testing.T) {
				t.Parallel()
				closed := make(chan struct{}, 8)
				s := mutual(t, serves, func(s *httptest.Server) {
					s.EnableHTTP2 = how.http2
					s.TLS.MaxVersion = how.version
					s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
						if state == http.StateClosed {
							closed <- struct{}{}
						}
					}
				})
				c, target := testClient(t, ca), testTarget(t, s.URL)
				ident, err := NewIdentity(own.certificate, own.key, "")
				if err != nil {
					t.Fatal(err)
				}
				send := func() {
					if _, err := c.Do(t.Context(), &Request{Target: target, Identity: ident, Timeout: 10 * time.Second}); err != nil {
						t.Fatal(err)
					}
				}
				send()
				select {
				case <-closed:
					t.Fatal("the connection is not kept")
				case <-time.After(100 * time.Millisecond): // an HTTP/1.1 connection is idle a little after its answer
				}
				if tt.drop {
					ident = nil
					runtime.GC()
				}
				tt.end(c, ident)
				select {
				case <-closed:
				case <-time.After(tt.most):
					t.Fatalf("the connection is open after %v", tt.most)
				}
				if ident != nil {
					send() // it may be used again
				}
			})
		}
	}
}

// TestTransports_sweep: what is known of identities does not grow with those
// that are gone.
func TestTransports_sweep(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	c := testClient(t, ca)
	kept := mustIdentity(t, credentials{}, "")
	if _, err := kept.transport(c, false); err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		i, err := NewIdentity("", "", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.transport(c, false); err != nil {
			t.Fatal(err)
		}
		if n%50 == 0 {
			runtime.GC()
		}
	}
	c.identities.mu.Lock()
	defer c.identities.mu.Unlock()
	if got := len(c.identities.known); got > 500 {
		t.Errorf("%d transports are known, want the dead ones taken out", got)
	}
	if c.identities.known[0].Value() != kept.transports[route{c, false}] {
		t.Error("the one that is in use is not known any more")
	}
}

func TestNewIdentity(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p256, rsa2048 := ecKey(t, elliptic.P256()), rsaKey(t, 2048)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	ec, rs := ca.client(t, "ec", p256), ca.client(t, "rsa", rsa2048)
	small, p224 := ca.client(t, "small", rsaKey(t, 1024)), ca.client(t, "p224", ecKey(t, elliptic.P224()))
	other := ca.client(t, "other", ecKey(t, elliptic.P256()))
	root := string(ca.pem())
	parameters := pemOf("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})
	//lint:ignore SA1019 the old encryption of RFC 1423, as openssl still writes it
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", sec1, []byte("open"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(ec.certificate, "\nMII", "\n***", 1)
	tests := []struct {
		name                 string
		certificate, key, ca string
		want                 string // the error; empty: none
	}{
		{"nothing", "", "", "", ""},
		{"roots alone", "", "", root, ""},
		{"ECDSA in PKCS #8", ec.certificate, ec.key, "", ""},
		{"ECDSA in SEC 1", ec.certificate, pemOf("EC PRIVATE KEY", sec1), "", ""},
		{"ECDSA in SEC 1 behind parameters", ec.certificate, parameters + pemOf("EC PRIVATE KEY", sec1), "", ""},
		{"ECDSA under a wrong name", ec.certificate, pemOf("PRIVATE KEY", sec1), "", ""},
		{"RSA in PKCS #8", rs.certificate, rs.key, "", ""},
		{"RSA in PKCS #1", rs.certificate, pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa2048)), "", ""},
		{"Ed25519", ca.client(t, "ed", ed).certificate, pkcs8(t, ed), "", ""},
		{"with two roots", ec.certificate, ec.key, root + root, ""},
		{"a chain with words between", "subject=leaf\n" + ec.certificate + "issuer=root\n" + root, ec.key, "", ""},
		{"line ends of Windows", strings.ReplaceAll(ec.certificate, "\n", "\r\n"), strings.ReplaceAll(ec.key, "\n", "\r\n"), "", ""},

		{"no key", ec.certificate, "", "", "the certificate has no private key"},
		{"no certificate", "", ec.key, root, "the private key has no certificate"},
		{"a certificate that is no PEM", "MIIB", ec.key, "", "the certificate holds no PEM certificate"},
		{"a broken block", broken, ec.key, "", "the certificate holds no PEM certificate"},
		{"a broken block behind a good one", ec.certificate + broken, ec.key, "", "the certificate cannot be read"},
		{"a block that is no certificate", pemOf("CERTIFICATE", []byte("x")), ec.key, "", "the certificate cannot be read"},
		{"a block of another kind", pemOf("PUBLIC KEY", []byte("x")), ec.key, "", "the certificate cannot be read"},
		{"the key in the certificate", ec.certificate + ec.key, ec.key, "", "the certificate holds a private key, which must stand apart"},
		{"the two swapped", ec.key, ec.certificate, "", "the certificate holds a private key, which must stand apart"},
		{"a key that is no PEM", ec.certificate, "secret-key-text", "", "the private key holds no PEM private key"},
		{"a certificate for a key", ec.certificate, ec.certificate, "", "the private key holds no PEM private key"},
		{"a key that is none", ec.certificate, pemOf("PRIVATE KEY", []byte("secret-key-text")), "", "the private key cannot be read"},
		{"a key of openssh", ec.certificate, pemOf("OPENSSH PRIVATE KEY", []byte("openssh-key-v1")), "", "the private key cannot be read"},
		{"a key in PKCS #8 with a passphrase", ec.certificate, pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), "", "the private key is encrypted; it is needed without a passphrase"},
		{"a key with a passphrase of old", ec.certificate, string(pem.EncodeToMemory(legacy)), "", "the private key is encrypted; it is needed without a passphrase"},
		{"another's key", ec.certificate, other.key, "", "the private key does not belong to the certificate"},
		{"a key of another kind", ec.certificate, rs.key, "", "the private key does not belong to the certificate"},
		{"the issuer first", root + ec.certificate, ec.key, "", "the private key does not belong to the certificate"},
		{"RSA of 1024 bits", small.certificate, small.key, "", "the certificate's RSA key is shorter than 2048 bits"},
		{"P-224", p224.certificate, p224.key, "", "the certificate's key is on a curve that TLS does not sign with"},
		{"roots that are no PEM", "", "", "x", "the CA certificate holds no PEM certificate"},
		{"roots that are none", ec.certificate, ec.key, pemOf("CERTIFICATE", []byte("x")), "the CA certificate cannot be read"},
		{"a key among the roots", "", "", root + ec.key, "the CA certificate holds a private key, which must stand apart"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ident, err := NewIdentity(tt.certificate, tt.key, tt.ca)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (ident == nil) != (tt.want != "") {
				t.Errorf("got the identity %v beside the error %q", ident, got)
			}
		})
	}
}

// TestNewIdentity_serves: every kind of key that is taken signs a handshake.
func TestNewIdentity_serves(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{
		"RSA": rsaKey(t, 2048), "P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384()),
		"P-521": ecKey(t, elliptic.P521()), "Ed25519": ed,
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s on %#x", name, version), func(t *testing.T) {
				t.Parallel()
				s := mutual(t, ca.issue(t, time.Now().Add(time.Hour)), func(s *httptest.Server) {
					s.TLS.MaxVersion = version
					s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, poolOf(ca)
				})
				resp, err := testClient(t, ca).Do(t.Context(), &Request{Target: testTarget(t, s.URL), Identity: mustIdentity(t, ca.client(t, name, key), "")})
				if err != nil || !strings.Contains(resp.Body, name) {
					t.Errorf("got %+v, %v, want the receiver to see %s", resp, err, name)
				}
			})
		}
	}
}

func TestIdentity_printsNothing(t *testing.T) {
	t.Parallel()
	ident := mustIdentity(t, newAuthority(t).client(t, "name", ecKey(t, elliptic.P256())), "")
	for _, got := range []string{fmt.Sprint(ident), fmt.Sprintf("%+v", ident), fmt.Sprintf("%#v", ident), ident.LogValue().String()} {
		if got != "[identity]" {
			t.Errorf("got %q, want nothing of it", got)
		}
	}
}
