package signature_test

import (
	"encoding/base64"
	"testing"

	"github.com/consentwire/consentwire/signature"
)

// TestDetachedJWS holds the signature to the key and the payload of RFC 8037,
// appendix A.4. Its header has no kid, so the expected value was computed by
// another program from the same key.
func TestDetachedJWS(t *testing.T) {
	t.Parallel()
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	key := keyOf(t, "whsk_"+base64.StdEncoding.EncodeToString(append(seed, public...)))
	got := key.DetachedJWS("key_1", []byte("Example of Ed25519 signing"))
	const want = "eyJhbGciOiJFZERTQSIsImtpZCI6ImtleV8xIn0..qoR1xMk2ZYpFZVmsOQq6-PfcDQa9ySaOUulfjDpAQnWkpBxPJvKynPlm3_4N8Ma6LU3miuzXiJiiR8m9iObgAA"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("a zero key signed")
		}
	}()
	signature.PrivateKey{}.DetachedJWS("key_1", nil)
}
