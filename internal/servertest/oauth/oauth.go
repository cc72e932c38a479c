// Package oauth holds OAuth 2.0 servers for tests, over TLS on loopback: a
// scripted one that plays every misbehaviour of RULES 3, a Salesforce, and,
// behind the build tag npm, two real ones that run in node.
//
// It knows nothing of the rooms, so that the tests inside any of them may use
// it. What plays is an http.Handler everywhere: a test serves it with Serve,
// with httptest, or, inside a bubble of testing/synctest, calls it by Direct.
package oauth

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
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long anything that must happen may take.
const patience = 30 * time.Second

// Certificate is who a server is to TLS. A test that runs the whole server
// makes one of the CA that the server trusts: its PEM and its Files.
type Certificate struct {
	CA       []byte // the PEM roots that a client must trust
	CertFile string // for 127.0.0.1 and localhost
	KeyFile  string
}

// NewCertificate returns one of a CA that nobody else has.
func NewCertificate(t testing.TB) *Certificate {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Roots of a token server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(err)
	ca, err = x509.ParseCertificate(caDER)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "token server"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}, ca, key.Public(), caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	return &Certificate{
		CA:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		CertFile: write("cert.pem", "CERTIFICATE", leaf),
		KeyFile:  write("key.pem", "PRIVATE KEY", keyDER),
	}
}

// Pool returns the roots for a client that trusts the CA alone.
func (c *Certificate) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(c.CA)
	return p
}

// Server is a handler that is served over TLS on loopback.
type Server struct {
	URL         string // https://127.0.0.1:port
	Certificate *Certificate
}

// ServeOptions say how a handler is served. The zero value is good.
type ServeOptions struct {
	Certificate *Certificate // nil: a new one
	// HTTP2 offers HTTP/2 as well. There a connection that is cut is only a
	// stream that is reset.
	HTTP2 bool
}

// Serve serves a handler over TLS until the test ends.
func Serve(t testing.TB, h http.Handler, o ServeOptions) *Server {
	t.Helper()
	if o.Certificate == nil {
		o.Certificate = NewCertificate(t)
	}
	pair, err := tls.LoadX509KeyPair(o.Certificate.CertFile, o.Certificate.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	srv.EnableHTTP2 = o.HTTP2
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that give up are part of the play
	srv.StartTLS()
	t.Cleanup(func() {
		srv.CloseClientConnections() // whoever holds an answer back is let go
		srv.Close()
	})
	return &Server{URL: srv.URL, Certificate: o.Certificate}
}
