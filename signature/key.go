package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// How keys are written. Source: Standard Webhooks 1.0.0, "Signature scheme".
const (
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
)

// PrivateKey signs with Ed25519 (RFC 8032). It prints as a fixed mask; Text
// gives it away.
type PrivateKey struct{ key string } // seed, then public key

// NewPrivateKey returns a fresh random key.
func NewPrivateKey() PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails (crypto/rand)
	return PrivateKey{string(ed25519.NewKeyFromSeed(seed))}
}

// ParsePrivateKey reads "whsk_" and 64 bytes in standard base 64 with
// padding: the seed of 32 bytes, then the public key, which must be the
// seed's. Error: ErrPrivateKey.
//
// A public key that is not the seed's must never sign: two signatures of one
// text that differ only in the public key give the private key away. Source:
// RFC 8032, section 5.1.6, step 4, whose k is then not the same.
func ParsePrivateKey(text string) (PrivateKey, error) {
	key, ok := decode(text, prefixPrivate, ed25519.PrivateKeySize)
	if !ok || subtle.ConstantTimeCompare(ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]), key) != 1 {
		return PrivateKey{}, ErrPrivateKey
	}
	return PrivateKey{string(key)}, nil
}

// Text returns the key as ParsePrivateKey reads it.
func (k PrivateKey) Text() string {
	return prefixPrivate + base64.StdEncoding.EncodeToString([]byte(k.key))
}

// Public returns the key that verifies what k signs, a zero key for a zero k.
func (k PrivateKey) Public() PublicKey {
	if len(k.key) != ed25519.PrivateKeySize {
		return PublicKey{}
	}
	return PublicKey{k.key[ed25519.SeedSize:]}
}

// Format prints a fixed mask, whatever the verb.
func (PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[secret]") }

// LogValue returns a fixed mask.
func (PrivateKey) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText returns a fixed mask, so that no encoder writes the key.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// PublicKey verifies signatures of one PrivateKey. It is no secret. Two equal
// keys are equal with ==.
type PublicKey struct{ key string }

// ParsePublicKey reads "whpk_" and 32 bytes in standard base 64 with padding.
// Error: ErrPublicKey, also for the few keys of small order, of which 32 zero
// bytes are one: anybody can sign for them.
func ParsePublicKey(text string) (PublicKey, error) {
	key, ok := decode(text, prefixPublic, ed25519.PublicKeySize)
	if !ok {
		return PublicKey{}, ErrPublicKey
	}
	return newPublicKey(key)
}

// Text returns the key as ParsePublicKey reads it.
func (k PublicKey) Text() string {
	return prefixPublic + base64.StdEncoding.EncodeToString([]byte(k.key))
}

// String returns Text.
func (k PublicKey) String() string { return k.Text() }

// Bytes returns the 32 bytes of RFC 8032, section 5.1.5, and none of a zero
// key. In base 64 for URLs without padding they are the member "x" of a JWK
// (RFC 8037, section 2).
func (k PublicKey) Bytes() []byte { return []byte(k.key) }

// VerifyKey tells whether a delivery was signed with the private half of one
// of the keys (v1a), and within Tolerance of now. body is what arrived, byte
// for byte, before anything parsed it; bound it first, for each signature
// that is given costs a pass over it. VerifyKey may be called from several
// goroutines.
//
// It returns nil for a genuine delivery. Errors: ErrHeaders, ErrTooOld,
// ErrTooNew and ErrNoMatches as Verify returns them; ErrNoKey and
// ErrPublicKey for a caller without usable keys. A genuine delivery may
// arrive more than once: keep the ids you have seen.
func VerifyKey(h http.Header, body []byte, now time.Time, keys ...PublicKey) error {
	if len(keys) == 0 {
		return ErrNoKey
	}
	for _, k := range keys {
		if len(k.key) != ed25519.PublicKeySize {
			return ErrPublicKey
		}
	}
	text, err := signedText(h, now)
	if err != nil {
		return err
	}
	message := append(text, body...)
	given := signatures(h, versionKey, ed25519.SignatureSize)
	matches := false
	for _, k := range keys {
		for _, g := range given {
			if ed25519.Verify(ed25519.PublicKey(k.key), message, g) {
				matches = true
			}
		}
	}
	if !matches {
		return ErrNoMatches
	}
	return nil
}

// smallOrder are the encodings of the points whose order divides 8, without
// the sign of x: for them a signature can be made without a private key.
// Source: libsodium, ge25519_has_small_order (the values can be checked: eight
// times the point is the neutral element).
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // 0, order 4
	"0100000000000000000000000000000000000000000000000000000000000000", // 1, order 1
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1, order 2
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, that is 0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1, that is 1
}

// newPublicKey returns the key of 32 bytes. Error: ErrPublicKey.
func newPublicKey(key []byte) (PublicKey, error) {
	y := slices.Clone(key)
	y[len(y)-1] &= 0x7f
	if slices.Contains(smallOrder, hex.EncodeToString(y)) {
		return PublicKey{}, ErrPublicKey
	}
	return PublicKey{string(key)}, nil
}

// decode returns the size bytes that text holds in base 64 behind the prefix,
// in the one way to write them.
func decode(text, prefix string, size int) ([]byte, bool) {
	enc, ok := strings.CutPrefix(text, prefix)
	if !ok || len(enc) != base64.StdEncoding.EncodedLen(size) {
		return nil, false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(enc)
	return key, err == nil && len(key) == size
}
