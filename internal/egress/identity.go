package egress

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"weak"
)

// minRSA is the least size of a client certificate's RSA key, in bits. Source:
// NIST SP 800-57 part 1, table 2 (112 bits of strength).
const minRSA = 2048

// Identity is how one endpoint's TLS differs from everybody's: a client
// certificate, further roots, or both. It has connections of its own, so that
// nobody else's request is ever sent as it. It prints nothing of itself. It
// may be used by several goroutines and with several clients, which it holds
// on to.
type Identity struct {
	certificate *tls.Certificate    // nil: none
	roots       []*x509.Certificate // nil: none

	mu         sync.Mutex
	transports map[route]*http.Transport // made when they are needed
}

// route is what an identity has a transport for.
type route struct {
	client *Client
	own    bool // to our own inspector
}

// NewIdentity reads a client certificate (PEM, the leaf first) with its key
// (PEM, not encrypted: PKCS #8, PKCS #1 or SEC 1; RSA of 2048 bits or more,
// ECDSA on P-256, P-384 or P-521, or Ed25519), or neither, and roots that are
// trusted beside the system's and the operator's. Empty texts are none. It
// never asks for the time: a certificate that has expired is taken.
//
// Its error is a sentence that says which text is wrong and holds nothing of
// any.
func NewIdentity(certificate, privateKey, caCertificate string) (*Identity, error) {
	i := &Identity{transports: map[route]*http.Transport{}}
	var err error
	switch {
	case certificate == "" && privateKey == "":
	case privateKey == "":
		return nil, errors.New("the certificate has no private key")
	case certificate == "":
		return nil, errors.New("the private key has no certificate")
	default:
		if i.certificate, err = keyPair(certificate, privateKey); err != nil {
			return nil, err
		}
	}
	if caCertificate != "" {
		if i.roots, err = readCertificates("CA certificate", caCertificate); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// keyPair reads a certificate and checks that the key is its own.
func keyPair(certificate, privateKey string) (*tls.Certificate, error) {
	chain, err := readCertificates("certificate", certificate)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	switch k := leaf.PublicKey.(type) { // before the private key is read, for a large one takes long
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("the certificate's RSA key is shorter than %d bits", minRSA)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() { // RFC 8446 4.2.3 has no signature for it
			return nil, errors.New("the certificate's key is on a curve that TLS does not sign with")
		}
	case ed25519.PublicKey:
	default:
		return nil, errors.New("the certificate's key is neither RSA nor ECDSA nor Ed25519")
	}
	key, err := readPrivateKey(privateKey)
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return nil, errors.New("the private key does not belong to the certificate")
	}
	out := &tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, c := range chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out, nil
}

// readCertificates returns one certificate or more. Nothing else may be among
// them, least of all a private key: certificates are shown to whoever may read
// the endpoint.
func readCertificates(what, text string) ([]*x509.Certificate, error) {
	if strings.Contains(text, "PRIVATE KEY-----") {
		return nil, fmt.Errorf("the %s holds a private key, which must stand apart", what)
	}
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, fmt.Errorf("the %s cannot be read", what)
		}
		out = append(out, c)
	}
	switch {
	case len(out) == 0:
		return nil, fmt.Errorf("the %s holds no PEM certificate", what)
	case len(out) != strings.Count(text, "-----BEGIN "): // one was passed over
		return nil, fmt.Errorf("the %s cannot be read", what)
	}
	return out, nil
}

// readPrivateKey reads the first private key of a PEM text; what openssl
// writes before it, parameters for example, does not matter.
func readPrivateKey(text string) (crypto.Signer, error) {
	var block *pem.Block
	for rest := []byte(text); block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY"); {
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("the private key holds no PEM private key")
		}
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" { // RFC 5958 3, RFC 1421 4.6.1.3
		return nil, errors.New("the private key is encrypted; it is needed without a passphrase")
	}
	// The block's name is often wrong, its content never.
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := k.(crypto.Signer); ok {
			return signer, nil
		}
	} else if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	} else if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	return nil, errors.New("the private key cannot be read")
}

// transport returns the identity's own transport of a client.
func (i *Identity) transport(c *Client, own bool) (*http.Transport, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := route{c, own}
	if t := i.transports[r]; t != nil {
		return t, nil
	}
	d := *c.dialer
	d.own, d.certificate = own, i.certificate
	if len(i.roots) > 0 {
		d.tls = d.tls.Clone()
		if d.tls.RootCAs == nil {
			d.tls.RootCAs = systemRoots()
		} else {
			d.tls.RootCAs = d.tls.RootCAs.Clone()
		}
		for _, root := range i.roots {
			d.tls.RootCAs.AddCert(root)
		}
	}
	t, err := newTransport(&d)
	if err != nil {
		return nil, err
	}
	i.transports[r] = t
	c.identities.add(t)
	return t, nil
}

// Close closes the connections that nobody uses; the identity may be used
// again. Those of an identity that was dropped close by themselves when they
// have been idle for some seconds.
func (i *Identity) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, t := range i.transports {
		t.CloseIdleConnections()
	}
}

// String returns a fixed mask.
func (*Identity) String() string { return "[identity]" }

// GoString returns a fixed mask.
func (*Identity) GoString() string { return "[identity]" }

// LogValue returns a fixed mask.
func (*Identity) LogValue() slog.Value { return slog.StringValue("[identity]") }

// transports are those of identities. It holds none of them back: one lives
// as long as its identity or a connection of its own.
type transports struct {
	mu    sync.Mutex
	known []weak.Pointer[http.Transport]
	sweep int // the length at which the dead ones are taken out
}

func (s *transports) add(t *http.Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= s.sweep {
		s.known = slices.DeleteFunc(s.known, func(p weak.Pointer[http.Transport]) bool { return p.Value() == nil })
		s.sweep = max(64, 2*len(s.known))
	}
	s.known = append(s.known, weak.Make(t))
}

func (s *transports) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.known {
		if t := p.Value(); t != nil {
			t.CloseIdleConnections()
		}
	}
}

// systemRoots returns the system's roots, none on a machine without.
func systemRoots() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool()
	}
	return pool
}
