package secret

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The cost of a password's hash. Source: OWASP Password Storage Cheat Sheet,
// Argon2id with 19 MiB, two passes, one lane.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// HashPassword returns the hash of a password under a salt, in the PHC form.
func HashPassword(salt [argonSalt]byte, password string) string {
	key := argon2.IDKey([]byte(password), salt[:], argonTime, argonMemory, argonLanes, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes,
		base64.RawStdEncoding.EncodeToString(salt[:]), base64.RawStdEncoding.EncodeToString(key))
}

// PasswordFits tells, in constant time, whether a password has the hash. With a
// hash that is none it does the same work and says no.
func PasswordFits(hash, password string) bool {
	parts := strings.Split(hash, "$")
	var salt [argonSalt]byte
	ok := len(parts) == 6
	if ok {
		b, err := base64.RawStdEncoding.DecodeString(parts[4])
		ok = err == nil && len(b) == argonSalt
		copy(salt[:], b)
	}
	got := HashPassword(salt, password)
	return subtle.ConstantTimeCompare([]byte(got), []byte(hash)) == 1 && ok
}
