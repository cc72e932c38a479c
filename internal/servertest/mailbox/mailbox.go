// Package mailbox is a mail server for tests: a real one, in process, that
// keeps what it is given and refuses what it is told to.
package mailbox

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	"net/mail"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Options say how a server behaves. The zero value offers STARTTLS and takes
// every mail without a sign-in.
type Options struct {
	Implicit   bool     // TLS from the first byte
	Plain      bool     // no TLS at all
	Names      []string // of its certificate; nil: 127.0.0.1 and localhost
	MaxTLS     uint16   // the newest version that it knows; 0: all
	User       string   // who must sign in; empty: nobody
	Password   string
	Mechanisms []string // of the sign-in; nil: PLAIN
	UTF8       bool     // it offers SMTPUTF8

	// Sender, Recipient and Content refuse what they return an error for; nil
	// refuses nothing. Refuse makes such an error. They may be called at the
	// same time.
	Sender    func(from string) error
	Recipient func(to string) error
	Content   func(m Mail) error
}

// Refuse is a reply that refuses, such as 550 or 451.
func Refuse(code int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: text}
}

// Mail is a mail that came.
type Mail struct {
	At       time.Time
	From, To string // of the envelope
	User     string // who had signed in; empty: nobody
	Secured  bool   // by TLS
	Raw      []byte
}

// Message returns the mail taken apart.
func (m Mail) Message(t testing.TB) *mail.Message {
	t.Helper()
	msg, err := mail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		t.Fatalf("%v in %q", err, m.Raw)
	}
	return msg
}

// Server is a mail server.
type Server struct {
	o     Options
	addr  netip.AddrPort
	roots []byte

	mu       sync.Mutex
	mails    []Mail
	sessions int
	commands int // sign-ins, senders, recipients and mails
	arrived  chan struct{}
}

// Start runs a server on 127.0.0.1 until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{o: o, arrived: make(chan struct{}, 1)}
	cert, roots := certificate(t, o.Names)
	s.roots = roots
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: o.MaxTLS, MinVersion: tls.VersionTLS10} // #nosec G402 -- old ones are for us to refuse
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().(*net.TCPAddr).AddrPort()
	if o.Implicit {
		ln = tls.NewListener(ln, cfg)
	}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s.mu.Lock()
		s.sessions++
		s.mu.Unlock()
		return &session{s: s, c: c}, nil
	}))
	srv.Domain, srv.ErrorLog = "mail.example.org", log.New(io.Discard, "", 0)
	srv.EnableSMTPUTF8, srv.AllowInsecureAuth = o.UTF8, o.Plain
	if !o.Implicit && !o.Plain {
		srv.TLSConfig = cfg
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) }) // it ends with Close
	t.Cleanup(func() {
		_ = srv.Close() // connections that are cut off are the test's own
		_ = ln.Close()  // it may not have begun to serve
		wg.Wait()
	})
	return s
}

// Addr returns where it listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Roots returns the root in PEM that its certificate comes from.
func (s *Server) Roots() []byte { return s.roots }

// Mails returns those that were taken, in order.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.mails...)
}

// Commands counts what was said behind the greetings: sign-ins, senders,
// recipients and mails.
func (s *Server) Commands() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands
}

// Wait returns the mails once there are n, and fails the test when that takes
// too long.
func (s *Server) Wait(t testing.TB, n int) []Mail {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		if ms := s.Mails(); len(ms) >= n {
			return ms
		}
		select {
		case <-s.arrived:
		case <-late:
			t.Fatalf("got %d mails, want %d", len(s.Mails()), n)
		}
	}
}

func (s *Server) count() {
	s.mu.Lock()
	s.commands++
	s.mu.Unlock()
}

// session is one connection.
type session struct {
	s        *Server
	c        *smtp.Conn
	user     string
	from, to string
}

// AuthMechanisms implements smtp.AuthSession.
func (x *session) AuthMechanisms() []string {
	if x.s.o.User == "" {
		return nil
	}
	if x.s.o.Mechanisms == nil {
		return []string{sasl.Plain}
	}
	return x.s.o.Mechanisms
}

// Auth implements smtp.AuthSession.
func (x *session) Auth(mechanism string) (sasl.Server, error) {
	x.s.count()
	check := func(_, user, password string) error {
		if user != x.s.o.User || password != x.s.o.Password {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no: " + user + " " + password}
		}
		x.user = user
		return nil
	}
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(check), nil
	case sasl.Login:
		return &login{check: check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

// login is the server's side of LOGIN.
type login struct {
	check func(_, user, password string) error
	step  int
	user  string
}

// Next implements sasl.Server.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	case 3:
		return nil, true, l.check("", l.user, string(response))
	}
	return nil, false, errors.New("too many steps")
}

// Mail implements smtp.Session.
func (x *session) Mail(from string, _ *smtp.MailOptions) error {
	x.s.count()
	if x.s.o.User != "" && x.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	if x.s.o.Sender != nil {
		if err := x.s.o.Sender(from); err != nil {
			return err
		}
	}
	x.from = from
	return nil
}

// Rcpt implements smtp.Session.
func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	x.s.count()
	if x.to != "" {
		return fmt.Errorf("a second recipient")
	}
	if x.s.o.Recipient != nil {
		if err := x.s.o.Recipient(to); err != nil {
			return err
		}
	}
	x.to = to
	return nil
}

// Data implements smtp.Session.
func (x *session) Data(r io.Reader) error {
	x.s.count()
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, secured := x.c.TLSConnectionState()
	m := Mail{At: time.Now(), From: x.from, To: x.to, User: x.user, Secured: secured, Raw: raw}
	if x.s.o.Content != nil {
		if err := x.s.o.Content(m); err != nil {
			return err
		}
	}
	x.s.mu.Lock()
	x.s.mails = append(x.s.mails, m)
	x.s.mu.Unlock()
	select {
	case x.s.arrived <- struct{}{}:
	default:
	}
	return nil
}

// Reset implements smtp.Session.
func (x *session) Reset() { x.from, x.to = "", "" }

// Logout implements smtp.Session.
func (x *session) Logout() error { return nil }

// certificate returns a server's certificate and its root in PEM.
func certificate(t testing.TB, names []string) (tls.Certificate, []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	root, rootKey := make(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail roots for tests"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mail server"}, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if names == nil {
		leaf.DNSNames, leaf.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	cert, key := make(leaf, root, rootKey)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
}
