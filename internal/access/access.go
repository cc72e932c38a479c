// Package access says who calls: applications, their credentials, and the
// tokens these obtain.
//
// It is a rule room: no I/O, no goroutine, no clock, no randomness of its own.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"
)

// ID names an application, the tenant: what one owns, another cannot see.
type ID string

// Application is a tenant.
type Application struct {
	ID        ID
	Name      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Credential lets software act for an application. An application may have
// several, so that they can be rotated.
type Credential struct {
	ClientID    string
	Application ID
	Salt        [16]byte
	Hash        [32]byte // SHA-256 over Salt and the secret
	CreatedAt   time.Time
}

// HashSecret hashes a client secret. Client secrets are random with at least
// 256 bits, so a plain hash suffices (RULES 5, API2).
func HashSecret(salt [16]byte, secret string) [32]byte {
	h := sha256.New()
	h.Write(salt[:])
	h.Write([]byte(secret))
	return [32]byte(h.Sum(nil))
}

// Opens tells, in constant time, whether secret is the credential's.
func (c Credential) Opens(secret string) bool {
	got := HashSecret(c.Salt, secret)
	return subtle.ConstantTimeCompare(got[:], c.Hash[:]) == 1
}

// TokenLife is how long an access token works.
// Source: "Webhook in Data Sharing", Access Token Response: expires_in 3600.
const TokenLife = 3600 * time.Second

// Token is an opaque bearer as it is kept: by the SHA-256 of its text only. It
// ends with its credential.
type Token struct {
	Hash        [32]byte
	ClientID    string
	Application ID
	ExpiresAt   time.Time // not valid at this instant any more
}

// HashToken returns what a bearer is looked up by.
func HashToken(bearer string) [32]byte { return sha256.Sum256([]byte(bearer)) }

// Valid tells whether the token still works at now.
func (t Token) Valid(now time.Time) bool { return now.Before(t.ExpiresAt) }

// Caller is who a request acts for.
type Caller struct {
	Operator    bool // the operator's bearer: may do what any application may
	Application ID   // empty for an operator that named none
	ClientID    string
}
