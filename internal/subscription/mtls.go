package subscription

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"unicode"
)

// The limits of a client certificate, ours: lengths of PEM in Unicode code
// points, a key's modulus in bits.
const (
	MaxCertificate = 20_000 // certificate and caCertificate
	MaxPrivateKey  = 10_000
	MinRSABits     = 2048
)

// The codes of the faults in a client certificate.
const (
	CodeInvalidCertificate = "invalid_certificate"
	CodeInvalidPrivateKey  = "invalid_private_key"
	CodeKeyMismatch        = "key_mismatch"
	CodeWeakKey            = "weak_key"
)

// MTLSDraft is the member "mtls" of an authentication.
type MTLSDraft struct {
	Certificate   *string
	PrivateKey    SecretInput
	CACertificate *string
}

// mtls checks a client certificate. It never asks for the time: a certificate
// that has expired, or does not hold yet, is taken.
//
// A private key that is kept while the certificate changes, or while the host
// of an address does, is "secret_required".
func (v *validator) mtls(at string, d MTLSDraft, former MTLS) MTLS {
	var m MTLS
	var leaf *x509.Certificate
	if d.Certificate != nil {
		m.Certificate = *d.Certificate
		leaf = v.clientCertificate(at+"/certificate", m.Certificate)
	}
	path := at + "/privateKey"
	key := d.PrivateKey
	switch kept := key.Keep && former.PrivateKey.IsSet(); {
	case d.Certificate == nil && (kept || key.Given):
		v.add(at+"/certificate", CodeRequired, "A privateKey needs its certificate.")
	case kept && m.Certificate != former.Certificate:
		v.add(path, CodeSecretRequired, "The certificate changes, so its privateKey must be given as well.")
	default:
		m.PrivateKey = v.secret(path, key, former.PrivateKey, d.Certificate != nil, privateKey)
		if leaf != nil && m.PrivateKey.IsSet() {
			v.keyOf(path, m.PrivateKey.Reveal(), leaf)
		}
	}
	if d.CACertificate != nil {
		m.CACertificate = *d.CACertificate
		v.certificates(at+"/caCertificate", m.CACertificate, "The text must be certificates in PEM and nothing else.")
	}
	return m
}

// clientCertificate returns the first certificate, nil when it is at fault.
func (v *validator) clientCertificate(path, text string) *x509.Certificate {
	all := v.certificates(path, text, "The text must be certificates in PEM, the client's own first, and nothing else.")
	if all == nil {
		return nil
	}
	leaf := all[0]
	switch k := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < MinRSABits {
			v.add(path, CodeWeakKey, fmt.Sprintf("The certificate's RSA key has %d bits; it must have at least %d.", n, MinRSABits))
			return nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() { // TLS 1.3 cannot sign with it (RFC 8446 4.2.3)
			v.add(path, CodeWeakKey, "The certificate's key must be on the curve P-256, P-384 or P-521.")
			return nil
		}
	case ed25519.PublicKey:
	default:
		v.add(path, CodeInvalidCertificate, "The certificate's key must be of RSA, ECDSA or Ed25519.")
		return nil
	}
	return leaf
}

// certificates reads one or more certificates in PEM; nil when the text is at
// fault. Any other block is refused, for a certificate is shown again and a
// private key must not be. Text between the blocks is what openssl writes
// there.
func (v *validator) certificates(path, text, msg string) []*x509.Certificate {
	if !v.pem(path, text, MaxCertificate) {
		return nil
	}
	var out []*x509.Certificate
	var outside strings.Builder
	rest := []byte(text)
	for {
		before := rest
		block, after := pem.Decode(rest)
		if block == nil {
			outside.Write(rest)
			break
		}
		taken := string(before[:len(before)-len(after)])
		if i := strings.LastIndex(taken, "-----BEGIN "); i >= 0 {
			outside.WriteString(taken[:i])
		}
		rest = after
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			v.add(path, CodeInvalidCertificate, "The text holds a private key; it belongs into privateKey, where it is kept secret.")
			return nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			v.add(path, CodeInvalidCertificate, msg)
			return nil
		}
		out = append(out, c)
	}
	if len(out) == 0 || strings.Contains(outside.String(), "-----") {
		v.add(path, CodeInvalidCertificate, msg)
		return nil
	}
	return out
}

// keyOf checks that a text is the private key of a certificate. The text is in
// none of its faults.
func (v *validator) keyOf(path, text string, leaf *x509.Certificate) {
	var block *pem.Block
	for rest := []byte(text); ; {
		if block, rest = pem.Decode(rest); block == nil {
			v.add(path, CodeInvalidPrivateKey, "The text must be a private key in PEM.")
			return
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") { // openssl writes parameters before it
			break
		}
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		v.add(path, CodeInvalidPrivateKey, "The private key must not be encrypted with a passphrase; it is sealed here.")
		return
	}
	key := privateKeyOf(block.Bytes)
	if key == nil {
		v.add(path, CodeInvalidPrivateKey, "The private key must be of RSA, ECDSA or Ed25519, in PKCS #8, PKCS #1 or SEC 1.")
		return
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		v.add(path, CodeKeyMismatch, "The private key is not that of the first certificate.")
	}
}

// privateKeyOf reads the forms that TLS libraries write; nil: it is none.
func privateKeyOf(der []byte) crypto.Signer {
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		switch k := k.(type) {
		case *rsa.PrivateKey:
			return k
		case *ecdsa.PrivateKey:
			return k
		case ed25519.PrivateKey:
			return k
		}
		return nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k
	}
	return nil
}

// pem bounds a text of lines.
func (v *validator) pem(path, s string, most int) bool {
	return v.length(path, s, 1, most) &&
		v.characters(path, s, func(r rune) bool { return !unicode.IsControl(r) || strings.ContainsRune("\t\n\r", r) },
			"The text must not hold control characters other than line ends and tabs.")
}
