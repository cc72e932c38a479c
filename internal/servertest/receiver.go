package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/signature"
)

// CA signs the receivers' certificates. Nobody trusts it but who is told to.
type CA struct {
	PEM  []byte // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA returns a new one.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test roots"},
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
	return &CA{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert: cert, key: key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate returns one for 127.0.0.1 and localhost.
func (ca *CA) certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "receiver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Files writes a certificate for 127.0.0.1 and localhost with its key, and
// returns the files' names.
func (ca *CA) Files(t testing.TB) (cert, key string) {
	t.Helper()
	c := ca.certificate(t)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, content []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}

// Pool returns the roots for a client that trusts the CA alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// Received is one request that a receiver got.
type Received struct {
	N        int // from 0, in the order of arrival
	At       time.Time
	Method   string
	Path     string
	Query    string
	Header   http.Header
	Body     []byte
	Answered bool // the answer was written; set on what Received returns
	Status   int  // of the answer, when Answered
}

// ID returns the webhook-id.
func (r Received) ID() string { return r.Header.Get(signature.HeaderID) }

// Subject returns the Consentwire-Subject.
func (r Received) Subject() string { return r.Header.Get(delivery.HeaderSubject) }

// Sequence returns the Consentwire-Sequence, 0 when there is no good one.
func (r Received) Sequence() int64 {
	n, _ := strconv.ParseInt(r.Header.Get(delivery.HeaderSequence), 10, 64)
	return n
}

// Event returns the member "event" of the body.
func (r Received) Event() string {
	var b struct{ Event string }
	_ = json.Unmarshal(r.Body, &b) // then it has none
	return b.Event
}

// Verify tells whether the request was signed with the secret.
func (r Received) Verify(secretText string) error {
	s, err := signature.ParseSecret(secretText)
	if err != nil {
		return err
	}
	return signature.Verify(r.Header, r.Body, r.At, s)
}

// Reply is an answer of a receiver. The zero value is 204.
type Reply struct {
	Status int
	Header http.Header
	Body   string
	// Wait, when not nil, is waited for before the answer is given.
	Wait <-chan struct{}
}

// Receiver is a server that takes deliveries over TLS.
type Receiver struct {
	URL string // https://127.0.0.1:port

	mu       sync.Mutex
	received []Received
	reply    func(Received) Reply
}

// NewReceiver returns a receiver with a certificate of the CA. It answers 204
// until it is told otherwise, and ends with the test.
func NewReceiver(t testing.TB, ca *CA) *Receiver {
	t.Helper()
	r := &Receiver{reply: func(Received) Reply { return Reply{} }}
	srv := httptest.NewUnstartedServer(r)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.certificate(t)}}
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a killed server breaks its connections
	srv.StartTLS()
	t.Cleanup(srv.Close)
	r.URL = srv.URL
	return r
}

// Answer tells how to answer from now on. fn is called by several goroutines.
func (r *Receiver) Answer(fn func(Received) Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = fn
}

// ServeHTTP takes a request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed
	}
	r.mu.Lock()
	got := Received{
		N: len(r.received), At: time.Now(), Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery,
		Header: req.Header.Clone(), Body: body,
	}
	r.received = append(r.received, got)
	reply := r.reply
	r.mu.Unlock()
	a := reply(got)
	if a.Wait != nil {
		select {
		case <-a.Wait:
		case <-req.Context().Done():
			return
		}
	}
	for k, v := range a.Header {
		w.Header()[k] = v
	}
	if a.Status == 0 {
		a.Status = http.StatusNoContent
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // the sender may be gone
	r.mu.Lock()
	r.received[got.N].Answered, r.received[got.N].Status = true, a.Status
	r.mu.Unlock()
}

// Received returns what came, in the order of arrival.
func (r *Receiver) Received() []Received { return r.Since(0) }

// Since is Received without the first n requests.
func (r *Receiver) Since(n int) []Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.received[n:])
}

// Count returns how many requests have come.
func (r *Receiver) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.received)
}

// Wait waits until n requests have come and returns all; the test fails when
// they do not come.
func (r *Receiver) Wait(t testing.TB, n int) []Received {
	t.Helper()
	Eventually(t, strconv.Itoa(n)+" requests at the receiver", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.received) >= n
	})
	return r.Received()
}
