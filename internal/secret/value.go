// Package secret holds values that never print and seals them at rest.
//
// A Value shows itself to no formatter, logger or encoder; the one way to its
// content is Reveal. A Keyring seals content for the disk: each under a data
// key of its own, and that under a master key which never is in the database.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
)

// Value is a secret text. Its zero value is "not set".
type Value struct{ s string }

const masked = "[secret]"

// New returns the secret s.
func New(s string) Value { return Value{s} }

// Reveal returns the content. Call it only where the secret is used: on the
// wire, when it is sealed, and when its owner is shown it for the one time.
func (v Value) Reveal() string { return v.s }

// IsSet tells whether there is any content.
func (v Value) IsSet() bool { return v.s != "" }

// Equal compares in constant time.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.s), []byte(o.s)) == 1
}

// String returns a fixed mask.
func (Value) String() string { return masked }

// GoString returns a fixed mask.
func (Value) GoString() string { return masked }

// LogValue returns a fixed mask.
func (Value) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns a fixed mask, so that no encoder writes the content.
func (Value) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Random returns n random bytes in URL-safe base 64 without padding.
func Random(n int) Value {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return Value{base64.RawURLEncoding.EncodeToString(b)}
}

// RandomStd returns n random bytes in standard base 64 with padding.
func RandomStd(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(b)
}
