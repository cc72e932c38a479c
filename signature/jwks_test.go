package signature_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/signature"
)

// The key of RFC 8037, appendix A.2, and its bytes of RFC 8032, section 7.1,
// test 1.
const (
	rfcX      = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	rfcPublic = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

// jwk returns the vector's public key as a JWK with the members behind it.
func jwk(t testing.TB, more string) string {
	t.Helper()
	x := base64.RawURLEncoding.EncodeToString(publicOf(t, vectorPublic).Bytes())
	return `{"kty":"OKP","crv":"Ed25519","x":"` + x + `"` + more + `}`
}

func TestParseJWKSet(t *testing.T) {
	t.Parallel()
	vector, rfc := publicOf(t, vectorPublic), publicOf(t, rfcPublic)
	one := []signature.PublicKey{vector}
	padded := `{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `="}`
	tests := []struct {
		name, set string
		want      []signature.PublicKey
	}{
		{"one key", `{"keys":[` + jwk(t, "") + `]}`, one},
		{"the key of RFC 8037", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `"}]}`, []signature.PublicKey{rfc}},
		{"two keys, in their order", `{"keys":[{"x":"` + rfcX + `","crv":"Ed25519","kty":"OKP"},` + jwk(t, "") + `]}`, []signature.PublicKey{rfc, vector}},
		{"all members that we write", `{"keys":[` + jwk(t, `,"kid":"key_1","use":"sig","alg":"EdDSA","key_ops":["verify"]`) + `]}`, one},
		{"the newer name of the algorithm", `{"keys":[` + jwk(t, `,"alg":"Ed25519"`) + `]}`, one},
		{"members nobody knows", `{"more":[1],"keys":[` + jwk(t, `,"exp":1,"x5c":["a"],"KTY":"RSA","D":"x"`) + `],"next":null}`, one},
		{"an RSA key beside it", `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},` + jwk(t, "") + `]}`, one},
		{"an X25519 key", `{"keys":[{"kty":"OKP","crv":"X25519","x":"` + rfcX + `"}]}`, nil},
		{"an EC key that calls itself Ed25519", `{"keys":[{"kty":"EC","crv":"Ed25519","x":"` + rfcX + `"}]}`, nil},
		{"a type that is no string", `{"keys":[{"kty":["OKP"],"crv":"Ed25519","x":"` + rfcX + `"}]}`, nil},
		{"names in capitals", `{"keys":[{"KTY":"OKP","CRV":"Ed25519","X":"` + rfcX + `"}]}`, nil},
		{"values in another case", `{"keys":[{"kty":"okp","crv":"ed25519","x":"` + rfcX + `"}]}`, nil},
		{"no x", `{"keys":[{"kty":"OKP","crv":"Ed25519"}]}`, nil},
		{"an x that is null", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":null}]}`, nil},
		{"an x with padding", `{"keys":[` + padded + `]}`, nil},
		{"an x in the standard alphabet", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + strings.ReplaceAll(rfcX, "_", "/") + `"}]}`, nil},
		{"an x with bits left over", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcX[:42] + `p"}]}`, nil},
		{"an x of 31 bytes", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcX[:42] + `"}]}`, nil},
		{"an x with a line break behind", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `\n"}]}`, nil},
		{"an x of 31 bytes with a line break inside", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcX[:41] + `\nA"}]}`, nil},
		{"a key for encryption", `{"keys":[` + jwk(t, `,"use":"enc"`) + `]}`, nil},
		{"a use that is null", `{"keys":[` + jwk(t, `,"use":null`) + `]}`, nil},
		{"another algorithm", `{"keys":[` + jwk(t, `,"alg":"ES256"`) + `]}`, nil},
		{"a key that only signs", `{"keys":[` + jwk(t, `,"key_ops":["sign"]`) + `]}`, nil},
		{"operations that are no list", `{"keys":[` + jwk(t, `,"key_ops":"verify"`) + `]}`, nil},
		{"a key that shows its private half", `{"keys":[` + jwk(t, `,"d":"nWGxne_9WmC6hEr0kuwsERJxWl7MmkZcDusAxyuf2A0"`) + `]}`, nil},
		{"no keys", `{"keys":[]}`, nil},
		{"an empty key", `{"keys":[{}]}`, nil},
		{"exactly 64 KiB", `{"keys":[` + jwk(t, "") + `]}` + strings.Repeat(" ", 64<<10-len(`{"keys":[]}`)-len(jwk(t, ""))), one},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := signature.ParseJWKSet([]byte(tt.set))
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("ParseJWKSet = %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestParseJWKSet_refuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, set string }{
		{"nothing", ""},
		{"null", "null"},
		{"a key alone", jwk(t, "")},
		{"an array", "[" + jwk(t, "") + "]"},
		{"no member keys", `{"Keys":[` + jwk(t, "") + `]}`},
		{"keys that are null", `{"keys":null}`},
		{"keys that are an object", `{"keys":` + jwk(t, "") + `}`},
		{"a key that is null", `{"keys":[` + jwk(t, "") + `,null]}`},
		{"a key that is a string", `{"keys":["` + rfcX + `"]}`},
		{"something behind it", `{"keys":[]}{}`},
		{"cut off", `{"keys":[` + jwk(t, "")},
		{"a page", "<!doctype html><title>Not found</title>"},
		{"a byte more than 64 KiB", `{"keys":[]}` + strings.Repeat(" ", 64<<10-len(`{"keys":[]}`)+1)},
		{"very deep", `{"keys":[{"a":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, err := signature.ParseJWKSet([]byte(tt.set)); !errors.Is(err, signature.ErrJWKSet) || got != nil {
				t.Errorf("ParseJWKSet = %v, %v; want %v", got, err, signature.ErrJWKSet)
			}
		})
	}
}

// Whatever is read, nothing panics, and each key that comes out is one that
// ParsePublicKey takes and whose "x" stands in the set.
func FuzzParseJWKSet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + jwk(f, `,"kid":"key_1","use":"sig","alg":"EdDSA","key_ops":["verify"]`) + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},null,{}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `","d":""}]}`))
	f.Add([]byte(`{"keys":{}}`))
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := signature.ParseJWKSet(set)
		if err != nil && keys != nil {
			t.Fatalf("keys beside the error %v", err)
		}
		for _, k := range keys {
			if got, err := signature.ParsePublicKey(k.Text()); err != nil || got != k {
				t.Fatalf("ParsePublicKey(%v) = %v, %v", k, got, err)
			}
			x := base64.RawURLEncoding.EncodeToString(k.Bytes())
			if !strings.Contains(string(set), x) && !strings.Contains(string(set), `\`) {
				t.Fatalf("the key %q does not stand in the set", x)
			}
		}
	})
}
