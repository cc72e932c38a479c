package access_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
)

func TestCredential_Opens(t *testing.T) {
	t.Parallel()
	salt := [16]byte{1, 2, 3}
	c := access.Credential{Salt: salt, Hash: access.HashSecret(salt, "correct horse")}
	salted := c
	salted.Salt[15]++
	tests := []struct {
		name   string
		c      access.Credential
		secret string
		want   bool
	}{
		{"its secret", c, "correct horse", true},
		{"another", c, "correct horsf", false},
		{"a part of it", c, "correct hors", false},
		{"more than it", c, "correct horse ", false},
		{"nothing", c, "", false},
		{"another salt", salted, "correct horse", false},
		{"a credential without a hash", access.Credential{}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.c.Opens(tt.secret); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
	if want := sha256.Sum256(append(salt[:], "correct horse"...)); c.Hash != want {
		t.Errorf("got %x, want the SHA-256 of the salt and the secret, %x", c.Hash, want)
	}
}

func TestToken_Valid(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	tests := []struct {
		name string
		at   time.Time
		want bool
	}{
		{"fresh", end.Add(-access.TokenLife), true},
		{"a moment before its end", end.Add(-1), true},
		{"at its end", end, false},
		{"after it", end.Add(time.Hour), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := (access.Token{ExpiresAt: end}).Valid(tt.at); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
	if (access.Token{}).Valid(end) {
		t.Error("a token without an end is valid")
	}
	if access.HashToken("a") != sha256.Sum256([]byte("a")) || access.TokenLife != time.Hour {
		t.Error("a token is not looked up by its SHA-256, or does not live an hour")
	}
}
