package secret_test

import (
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/secret"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	hash := secret.HashPassword([16]byte{1}, "correct horse battery")
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("got %s, want the PHC form with our cost", hash)
	}
	if hash == secret.HashPassword([16]byte{2}, "correct horse battery") {
		t.Error("another salt: got the same hash")
	}
	for _, tt := range []struct {
		name, hash, give string
		want             bool
	}{
		{"the password", hash, "correct horse battery", true},
		{"another one", hash, "correct horse battery ", false},
		{"none", hash, "", false},
		{"no hash", "", "correct horse battery", false},
		{"a malformed hash", "$argon2id$v=19$m=19456,t=2,p=1$AA$AA", "", false},
	} {
		if got := secret.PasswordFits(tt.hash, tt.give); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}
