package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
)

// DetachedJWS signs a content that travels beside its signature: a JSON Web
// Signature in compact form whose middle part is empty. Whoever verifies it
// puts the content, in base 64 for URLs without padding, back between the two
// dots. kid names the key as the key set does. One key and one content give
// one signature. It panics for a zero key.
//
// What it signs begins with base 64 of a JSON object and is therefore never
// what a delivery's signature covers.
//
// Source: RFC 7515, section 7.1 and appendix F; RFC 8037, section 3.1, "EdDSA".
func (k PrivateKey) DetachedJWS(kid string, content []byte) string {
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}{"EdDSA", kid})
	if err != nil {
		panic(err) // texts only
	}
	b64 := base64.RawURLEncoding
	protected := b64.EncodeToString(header)
	sig := ed25519.Sign(ed25519.PrivateKey(k.key), []byte(protected+"."+b64.EncodeToString(content)))
	return protected + ".." + b64.EncodeToString(sig)
}
