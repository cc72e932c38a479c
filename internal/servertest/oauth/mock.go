//go:build npm

package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// MockOptions say what a Mock is. The zero value is a good start.
type MockOptions struct {
	Certificate *Certificate // nil: a new one
	// Clients are those that may ask for tokens, each by Basic or in the
	// body; nil: one.
	Clients []Client
}

// Mock is the npm library oauth2-mock-server as a token server: client
// credentials, access tokens that are JWTs signed with ES256, requests as a
// form or as JSON.
type Mock struct {
	URL         string
	TokenURL    string
	Certificate *Certificate
	Clients     []Client
	Client      Client // the first of Clients

	node *node
}

// StartMock starts a mock in node. It ends with the test.
func StartMock(t testing.TB, o MockOptions) *Mock {
	t.Helper()
	if o.Certificate == nil {
		o.Certificate = NewCertificate(t)
	}
	if o.Clients == nil {
		o.Clients = []Client{{ID: "mock client", Secret: "of:the+mock/=&%41"}} // #nosec G101 -- it opens nothing
	}
	type client struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	options := struct {
		CertFile string   `json:"certFile"`
		KeyFile  string   `json:"keyFile"`
		Clients  []client `json:"clients"`
	}{o.Certificate.CertFile, o.Certificate.KeyFile, nil}
	for _, c := range o.Clients {
		options.Clients = append(options.Clients, client{c.ID, c.Secret})
	}
	n := startNode(t, "mock.mjs", "oauth2-mock-server", o.Certificate, options)
	return &Mock{
		URL: n.url, TokenURL: n.url + "/token", Certificate: o.Certificate, Clients: o.Clients, Client: o.Clients[0], node: n,
	}
}

// Requests returns how many token requests came, refused ones included.
func (m *Mock) Requests() int {
	m.node.t.Helper()
	var a struct{ Requests int }
	m.node.ask("requests", nil, &a)
	return a.Requests
}

// Claims are what a token of the mock says.
type Claims struct {
	Issuer   string `json:"iss"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Expiry   int64  `json:"exp"` // in seconds since 1970
}

// Verify checks a token's signature with the key that the server publishes,
// and its expiry. Source: RFC 7515 5.2; RFC 7518 3.4; RFC 7519 4.1.4.
func (m *Mock) Verify(token string) (Claims, error) {
	var c Claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("the token is not three parts")
	}
	var decoded [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return c, fmt.Errorf("part %d of the token: %w", i, err)
		}
		decoded[i] = b
	}
	var header struct{ Alg, Kid string }
	if err := json.Unmarshal(decoded[0], &header); err != nil || header.Alg != "ES256" || len(decoded[2]) != 64 {
		return c, fmt.Errorf("the header %s (%w) beside %d bytes of signature, want ES256", decoded[0], err, len(decoded[2]))
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, m.URL+"/jwks", nil)
	if err != nil {
		return c, err
	}
	var set struct{ Keys []struct{ Kid, X, Y string } }
	if err := m.node.do(req, &set); err != nil {
		return c, fmt.Errorf("read the keys: %w", err)
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	number := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	for _, k := range set.Keys {
		if k.Kid != header.Kid {
			continue
		}
		x, errX := base64.RawURLEncoding.DecodeString(k.X)
		y, errY := base64.RawURLEncoding.DecodeString(k.Y)
		if err := errors.Join(errX, errY); err != nil {
			return c, fmt.Errorf("read the key: %w", err)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return c, fmt.Errorf("read the key: %w", err)
		}
		if !ecdsa.Verify(key, hash[:], number(decoded[2][:32]), number(decoded[2][32:])) {
			return c, errors.New("the signature is wrong")
		}
		if err := json.Unmarshal(decoded[1], &c); err != nil {
			return c, fmt.Errorf("read the claims: %w", err)
		}
		if time.Now().Unix() >= c.Expiry {
			return c, errors.New("the token has expired")
		}
		return c, nil
	}
	return c, errors.New("the key is not published")
}
