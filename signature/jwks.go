package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"
)

// maxJWKSet is the size in bytes of the longest JWK set that is read.
const maxJWKSet = 64 << 10

// ParseJWKSet returns the Ed25519 keys of a JWK set, in its order. Keys that
// are not for verifying Ed25519 signatures, or are malformed, are left out, so
// the result may be empty; members that it does not know are skipped.
//
// A key counts with "kty" "OKP", "crv" "Ed25519" and the 32 bytes of its "x",
// under the rules of ParsePublicKey. Where they are given, "use" must be
// "sig", "key_ops" must have "verify", and "alg" must be "EdDSA" or "Ed25519".
// A key that shows its private half ("d") does not count: all can sign with it.
//
// Error: ErrJWKSet, for more than 64 KiB as well. Sources: RFC 7517, sections
// 4 and 5; RFC 8037, sections 2 and 3.1; RFC 9864, section 2.2 ("Ed25519").
func ParseJWKSet(data []byte) ([]PublicKey, error) {
	if len(data) > maxJWKSet {
		return nil, ErrJWKSet
	}
	// Maps, because the fields of a struct match names in any case.
	var set map[string]json.RawMessage
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, ErrJWKSet
	}
	var members []map[string]json.RawMessage
	if err := json.Unmarshal(set["keys"], &members); err != nil || members == nil || slices.ContainsFunc(members, isNull) {
		return nil, ErrJWKSet
	}
	var keys []PublicKey
	for _, m := range members {
		if k, ok := keyOf(m); ok {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func isNull(jwk map[string]json.RawMessage) bool { return jwk == nil }

// keyOf returns the key of one JWK, if it counts.
func keyOf(jwk map[string]json.RawMessage) (PublicKey, bool) {
	if !member(jwk, "kty", "OKP") || !member(jwk, "crv", "Ed25519") || jwk["d"] != nil {
		return PublicKey{}, false
	}
	if jwk["use"] != nil && !member(jwk, "use", "sig") || jwk["alg"] != nil && !member(jwk, "alg", "EdDSA", "Ed25519") {
		return PublicKey{}, false
	}
	if ops := jwk["key_ops"]; ops != nil {
		var list []string
		if err := json.Unmarshal(ops, &list); err != nil || !slices.Contains(list, "verify") {
			return PublicKey{}, false
		}
	}
	var x string
	if err := json.Unmarshal(jwk["x"], &x); err != nil || len(x) != base64.RawURLEncoding.EncodedLen(ed25519.PublicKeySize) {
		return PublicKey{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(x)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return PublicKey{}, false
	}
	k, err := newPublicKey(b)
	return k, err == nil
}

// member tells whether jwk has the member as one of the strings wanted.
func member(jwk map[string]json.RawMessage, name string, want ...string) bool {
	var got *string
	err := json.Unmarshal(jwk[name], &got)
	return err == nil && got != nil && slices.Contains(want, *got)
}
