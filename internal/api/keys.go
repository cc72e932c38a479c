package api

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// signingKeyBody is the public half of a key pair.
type signingKeyBody struct {
	KeyID     string `json:"keyId"`
	PublicKey string `json:"publicKey"` // whpk_…
	CreatedAt string `json:"createdAt"`
	ExpiresAt string `json:"expiresAt,omitempty"` // absent: it is the current one
}

type signingKeysBody struct {
	Items []signingKeyBody `json:"items"`
}

func signingKeysOf(keys []subscription.SigningKey) signingKeysBody {
	out := signingKeysBody{Items: []signingKeyBody{}}
	for _, k := range keys {
		out.Items = append(out.Items, signingKeyBody{
			KeyID: k.ID, PublicKey: k.PublicKey, CreatedAt: event.Format(k.CreatedAt), ExpiresAt: when(k.ExpiresAt),
		})
	}
	return out
}

func (s *server) listSigningKeys(c *call) (reply, error) {
	keys, err := s.Store.SigningKeys(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	return ok(signingKeysOf(subscription.KeysAt(keys, time.Now())))
}

func (s *server) rotateSigningKey(c *call) (reply, error) {
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	keys, err := s.App.RotateSigningKey(c.ctx(), c.app)
	if err != nil {
		return reply{}, err
	}
	return ok(signingKeysOf(keys))
}

// mediaJWKSet is the type of a JWK set. Source: RFC 7517 section 8.5.2.
const mediaJWKSet = "application/jwk-set+json"

// keySetAge is how long a key set may be kept, in seconds. A receiver that
// meets a kid that it does not know reads the set again.
const keySetAge = 300

// jwk is an Ed25519 public key. Source: RFC 8037 section 2; alg as of section
// 3.1.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"` // the key's 32 bytes in base 64 for URLs
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"` // the keyId
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// keySet shows the public keys that verify an application's deliveries now.
func (s *server) keySet(c *call) (reply, error) {
	keys, err := s.Store.SigningKeys(c.ctx(), access.ID(c.id()))
	if err != nil {
		return reply{}, err
	}
	out := jwkSet{Keys: []jwk{}}
	for _, k := range subscription.KeysAt(keys, time.Now()) {
		public, err := signature.ParsePublicKey(k.PublicKey)
		if err != nil {
			return reply{}, fmt.Errorf("public key of %s: %w", k.ID, err)
		}
		out.Keys = append(out.Keys, jwk{
			Kty: "OKP", Crv: "Ed25519", X: base64.RawURLEncoding.EncodeToString(public.Bytes()),
			Use: "sig", Alg: "EdDSA", Kid: k.ID,
		})
	}
	b, err := encode(out)
	return reply{status: 200, raw: b, media: mediaJWKSet, cache: fmt.Sprintf("public, max-age=%d", keySetAge)}, err
}

type keyRotationBody struct {
	KeyID   string `json:"keyId"`
	Records int    `json:"records"`
}

func (s *server) rotateKeys(c *call) (reply, error) {
	if err := c.nothing(); err != nil {
		return reply{}, err
	}
	r, err := s.App.RotateKeys(c.ctx())
	if err != nil {
		return reply{}, err
	}
	return ok(keyRotationBody{KeyID: r.KeyID, Records: r.Records})
}
