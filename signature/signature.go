// Package signature signs deliveries and verifies them, by Standard Webhooks
// 1.0.0, scheme v1 (HMAC-SHA256). Receivers of our deliveries may import it.
//
// What is signed is "id.timestamp.body" over the exact bytes that are sent. A
// signature header may hold several signatures, one per secret, so that a
// secret can be replaced without a moment in which nothing verifies.
//
// The package knows only the symmetric scheme: entries of other versions are
// skipped by the verifier and never made by the signer.
package signature

import (
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
// a rotation needs two, and a header of thousands is nobody's.
const maxSignatures = 64

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253_402_300_799

const (
	prefix  = "whsec_"
	version = "v1,"
)

// Error is a reason why something cannot be signed or is not accepted. It
// never holds a secret.
type Error string

// The reasons. Compare with errors.Is.
const (
	ErrSecret    Error = `a signing secret is "whsec_" and 24 to 64 bytes in base 64`
	ErrID        Error = `a message id is visible ASCII without "."`
	ErrBody      Error = "a body that is signed is not empty and is valid UTF-8"
	ErrNoSecret  Error = "there is no secret to sign or verify with" // #nosec G101 -- a sentence
	ErrHeaders   Error = "the signature headers are missing, repeated or malformed"
	ErrTooOld    Error = "the timestamp is more than five minutes in the past"
	ErrTooNew    Error = "the timestamp is more than five minutes in the future"
	ErrNoMatches Error = "no signature matches"
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

// Signer signs with one or several secrets, each signature in the order of
// the secrets. It keeps its state between calls: one Signer is for one
// goroutine.
type Signer struct {
	macs []hash.Hash
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

// Sign returns the value of the signature header: a space between two
// signatures. unix is the value of the timestamp header in seconds; it is of
// this attempt, while id stays the same over all attempts.
// Errors: ErrID, ErrBody.
func (s *Signer) Sign(id string, unix int64, body []byte) (string, error) {
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
	out := make([]byte, 0, len(s.macs)*(len(version)+base64.StdEncoding.EncodedLen(sha256.Size)+1))
	for i, mac := range s.macs {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, version...)
		out = base64.StdEncoding.AppendEncode(out, s.compute(mac, body))
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

// Verify tells whether a delivery was signed with one of the secrets, and
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
	id, ok := one(h, HeaderID)
	if !ok || !validID(id) {
		return ErrHeaders
	}
	stamp, ok := one(h, HeaderTimestamp)
	if !ok {
		return ErrHeaders
	}
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || unix < 0 || unix > lastSecond || strconv.FormatInt(unix, 10) != stamp {
		return ErrHeaders
	}
	if len(h.Values(HeaderSignature)) == 0 {
		return ErrHeaders
	}
	switch sent := time.Unix(unix, 0); {
	case now.Sub(sent) > Tolerance:
		return ErrTooOld
	case sent.Sub(now) > Tolerance:
		return ErrTooNew
	}
	s := Signer{text: []byte(id + "." + stamp + ".")}
	given := signatures(h)
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

// signatures returns the well-formed v1 signatures of the header's entries.
func signatures(h http.Header) [][]byte {
	var out [][]byte
	seen := 0
	for _, line := range h.Values(HeaderSignature) {
		for entry := range strings.SplitSeq(line, " ") {
			if seen++; seen > maxSignatures {
				return out
			}
			enc, ok := strings.CutPrefix(entry, version)
			if !ok || len(enc) != base64.StdEncoding.EncodedLen(sha256.Size) {
				continue
			}
			if sig, err := base64.StdEncoding.Strict().DecodeString(enc); err == nil && len(sig) == sha256.Size {
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
