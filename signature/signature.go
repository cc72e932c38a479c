// Package signature signs deliveries and verifies them, by Standard Webhooks
// 1.0.0, schemes v1 (HMAC-SHA256) and v1a (Ed25519). Receivers of our
// deliveries may import it.
//
// What is signed is "id.timestamp.body" over the exact bytes that are sent. A
// signature header may hold several signatures, one per secret and key, so
// that each can be replaced without a moment in which nothing verifies. Every
// delivery has v1 signatures; the v1a ones come behind them for the
// subscriptions that ask for both.
//
// A receiver that keeps the subscription's signing secret calls [Verify]. One
// that would rather keep no secret of ours calls [VerifyKey] with the
// application's public keys. They are at
//
//	GET {server}/.well-known/consentwire/{applicationId}/jwks.json
//
// and [ParseJWKSet] reads them. Fetch them when the receiver starts, and again
// when a delivery has no signature that matches, but not more often than every
// few minutes: a key that is replaced signs on beside the new one for a while.
// Take the address from your configuration, never from a delivery.
//
// Each verifier looks at signatures of its own scheme only and skips the rest.
package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The header fields of a signed delivery. Source: Standard Webhooks 1.0.0,
// "Webhook headers".
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Tolerance is how far a delivery's timestamp may be from the verifier's
// clock, either way, the boundary included. Source: the five minutes of the
// Standard Webhooks libraries.
const Tolerance = 5 * time.Minute

// Key lengths in bytes, both included. Source: Standard Webhooks 1.0.0,
// "Signature scheme" (24 to 64 bytes).
const (
	MinKey = 24
	MaxKey = 64
)

// maxSignatures bounds the entries of a signature header that are looked at:
// a rotation of secret and key needs four, and a header of thousands is
// nobody's.
const maxSignatures = 64

// maxKept bounds in bytes what a Signer keeps of a message for the next one.
const maxKept = 64 << 10

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253_402_300_799

// How a secret and a signature of each version begin. Source: Standard
// Webhooks 1.0.0, "Signature scheme".
const (
	prefix     = "whsec_"
	version    = "v1,"
	versionKey = "v1a,"
)

// Error is a reason why something cannot be signed or is not accepted. It
// never holds a secret.
type Error string

// The reasons. Compare with errors.Is.
const (
	ErrSecret     Error = `a signing secret is "whsec_" and 24 to 64 bytes in base 64`
	ErrPrivateKey Error = `a private key is "whsk_" and 64 bytes in base 64: an Ed25519 seed and its public key`
	ErrPublicKey  Error = `a public key is "whpk_" and 32 bytes in base 64: an Ed25519 key that only its owner can sign for`
	ErrJWKSet     Error = `a JWK set is a JSON object of at most 64 KiB with an array "keys" of objects`
	ErrID         Error = `a message id is visible ASCII without "."`
	ErrBody       Error = "a body that is signed is not empty and is valid UTF-8"
	ErrNoSecret   Error = "there is no secret to sign or verify with" // #nosec G101 -- a sentence
	ErrNoKey      Error = "there is no public key to verify with"
	ErrHeaders    Error = "the signature headers are missing, repeated or malformed"
	ErrTooOld     Error = "the timestamp is more than five minutes in the past"
	ErrTooNew     Error = "the timestamp is more than five minutes in the future"
	ErrNoMatches  Error = "no signature matches"
)

// Error returns the sentence.
func (e Error) Error() string { return string(e) }

// Secret is a signing secret. It prints as a fixed mask; Text gives it away.
type Secret struct{ key string }

// NewSecret returns a secret of 32 random bytes.
func NewSecret() Secret {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return Secret{string(b)}
}

// ParseSecret reads "whsec_" and the key in standard base 64 with padding.
// Error: ErrSecret.
func ParseSecret(text string) (Secret, error) {
	enc, ok := strings.CutPrefix(text, prefix)
	if !ok || len(enc) > base64.StdEncoding.EncodedLen(MaxKey) || strings.ContainsAny(enc, "\r\n") {
		return Secret{}, ErrSecret
	}
	key, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil || len(key) < MinKey || len(key) > MaxKey {
		return Secret{}, ErrSecret
	}
	return Secret{string(key)}, nil
}

// Text returns the secret as ParseSecret reads it.
func (s Secret) Text() string { return prefix + base64.StdEncoding.EncodeToString([]byte(s.key)) }

// Format prints a fixed mask, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[secret]") }

// LogValue returns a fixed mask.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText returns a fixed mask, so that no encoder writes the key.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Signer signs with one or several secrets, and with keys when it has some:
// first the v1 signatures in the order of the secrets, then the v1a ones in
// the order of the keys. It keeps its state between calls: one Signer is for
// one goroutine.
type Signer struct {
	macs []hash.Hash
	keys []ed25519.PrivateKey
	err  error  // why a key cannot sign
	text []byte // "id.timestamp."
	sum  []byte
}

// NewSigner returns a signer for the secrets, the current one first.
// Errors: ErrNoSecret; ErrSecret for a zero Secret.
func NewSigner(secrets ...Secret) (*Signer, error) {
	macs, err := newMACs(secrets)
	if err != nil {
		return nil, err
	}
	return &Signer{macs: macs, text: make([]byte, 0, 96), sum: make([]byte, 0, sha256.Size)}, nil
}

// WithKeys adds keys to s, the current one first, and returns s. It makes no
// difference without keys. With a zero PrivateKey among them s signs nothing
// any more: Sign then returns ErrPrivateKey.
func (s *Signer) WithKeys(keys ...PrivateKey) *Signer {
	for _, k := range keys {
		if len(k.key) != ed25519.PrivateKeySize {
			s.err = ErrPrivateKey
			continue
		}
		s.keys = append(s.keys, ed25519.PrivateKey(k.key))
	}
	return s
}

// Sign returns the value of the signature header: a space between two
// signatures. unix is the value of the timestamp header in seconds; it is of
// this attempt, while id stays the same over all attempts.
// Errors: ErrID, ErrBody; ErrPrivateKey after WithKeys got a zero key.
func (s *Signer) Sign(id string, unix int64, body []byte) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	if !validID(id) {
		return "", ErrID
	}
	if len(body) == 0 || !utf8.Valid(body) {
		return "", ErrBody
	}
	s.text = append(s.text[:0], id...)
	s.text = append(s.text, '.')
	s.text = strconv.AppendInt(s.text, unix, 10)
	s.text = append(s.text, '.')
	out := make([]byte, 0, len(s.macs)*(len(version)+base64.StdEncoding.EncodedLen(sha256.Size)+1)+
		len(s.keys)*(len(versionKey)+base64.StdEncoding.EncodedLen(ed25519.SignatureSize)+1))
	for i, mac := range s.macs {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, version...)
		out = base64.StdEncoding.AppendEncode(out, s.compute(mac, body))
	}
	if len(s.keys) == 0 {
		return string(out), nil
	}
	message := append(s.text, body...)
	for _, key := range s.keys {
		out = append(out, ' ')
		out = append(out, versionKey...)
		out = base64.StdEncoding.AppendEncode(out, ed25519.Sign(key, message))
	}
	if cap(message) <= maxKept {
		s.text = message
	}
	return string(out), nil
}

func (s *Signer) compute(mac hash.Hash, body []byte) []byte {
	mac.Reset()
	mac.Write(s.text)
	mac.Write(body)
	s.sum = mac.Sum(s.sum[:0])
	return s.sum
}

// Verify tells whether a delivery was signed with one of the secrets (v1), and
// within Tolerance of now. body is what arrived, byte for byte, before
// anything parsed it. It may be called from several goroutines.
//
// It returns nil for a genuine delivery. Errors: ErrHeaders when an id or
// timestamp is missing, given twice or malformed, or no signature is given;
// ErrTooOld, ErrTooNew; ErrNoMatches; ErrNoSecret and ErrSecret for a caller
// without usable secrets. A genuine delivery may arrive more than once: keep
// the ids you have seen.
func Verify(h http.Header, body []byte, now time.Time, secrets ...Secret) error {
	macs, err := newMACs(secrets)
	if err != nil {
		return err
	}
	text, err := signedText(h, now)
	if err != nil {
		return err
	}
	s := Signer{text: text}
	given := signatures(h, version, sha256.Size)
	matches := false
	for _, mac := range macs {
		want := s.compute(mac, body)
		for _, g := range given {
			if hmac.Equal(g, want) {
				matches = true
			}
		}
	}
	if !matches {
		return ErrNoMatches
	}
	return nil
}

// signedText returns what was signed before the body, "id.timestamp.", of a
// delivery within Tolerance of now. Errors: ErrHeaders, ErrTooOld, ErrTooNew.
func signedText(h http.Header, now time.Time) ([]byte, error) {
	id, ok := one(h, HeaderID)
	if !ok || !validID(id) {
		return nil, ErrHeaders
	}
	stamp, ok := one(h, HeaderTimestamp)
	if !ok {
		return nil, ErrHeaders
	}
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || unix < 0 || unix > lastSecond || strconv.FormatInt(unix, 10) != stamp {
		return nil, ErrHeaders
	}
	if len(h.Values(HeaderSignature)) == 0 {
		return nil, ErrHeaders
	}
	switch sent := time.Unix(unix, 0); {
	case now.Sub(sent) > Tolerance:
		return nil, ErrTooOld
	case sent.Sub(now) > Tolerance:
		return nil, ErrTooNew
	}
	return []byte(id + "." + stamp + "."), nil
}

// signatures returns the well-formed signatures of the version, each of size
// bytes, among the header's first maxSignatures entries.
func signatures(h http.Header, version string, size int) [][]byte {
	var out [][]byte
	seen := 0
	for _, line := range h.Values(HeaderSignature) {
		for entry := range strings.SplitSeq(line, " ") {
			if seen++; seen > maxSignatures {
				return out
			}
			enc, ok := strings.CutPrefix(entry, version)
			if !ok || len(enc) != base64.StdEncoding.EncodedLen(size) {
				continue
			}
			if sig, err := base64.StdEncoding.Strict().DecodeString(enc); err == nil && len(sig) == size {
				out = append(out, sig)
			}
		}
	}
	return out
}

func newMACs(secrets []Secret) ([]hash.Hash, error) {
	if len(secrets) == 0 {
		return nil, ErrNoSecret
	}
	macs := make([]hash.Hash, len(secrets))
	for i, s := range secrets {
		if len(s.key) < MinKey {
			return nil, ErrSecret
		}
		macs[i] = hmac.New(sha256.New, []byte(s.key))
	}
	return macs, nil
}

// one returns the field's value when it is given exactly once.
func one(h http.Header, name string) (string, bool) {
	v := h.Values(name)
	if len(v) != 1 || v[0] == "" {
		return "", false
	}
	return v[0], true
}

// validID tells whether id cannot be mistaken for a part of what follows it:
// a dot in it would move the border between id and timestamp.
func validID(id string) bool {
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '.' {
			return false
		}
	}
	return id != ""
}
