package signature_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/signature"
)

// A receiver that keeps the signing secret of its subscription.
func ExampleVerify() {
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		log.Fatal(err)
	}
	receive := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "The body is too long.", http.StatusRequestEntityTooLarge)
			return
		}
		if err := signature.Verify(r.Header, body, time.Now(), secret); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Printf("%s: %s\n", r.Header.Get(signature.HeaderID), body)
		w.WriteHeader(http.StatusNoContent)
	}

	fmt.Println(deliver(receive, `{"status":"AUTHORISED"}`, `{"status":"AUTHORISED"}`))
	fmt.Println(deliver(receive, `{"status":"AUTHORISED"}`, `{"status":"REVOKED"}`))
	// Output:
	// evt_1: {"status":"AUTHORISED"}
	// 204
	// 401
}

// A receiver that keeps no secret, but the public keys of the application.
func ExampleVerifyKey() {
	// GET {server}/.well-known/consentwire/{applicationId}/jwks.json
	keys, err := signature.ParseJWKSet([]byte(`{"keys": [
		{"kty": "OKP", "crv": "Ed25519", "kid": "key_1", "use": "sig", "alg": "EdDSA", "x": "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4"}
	]}`))
	if err != nil {
		log.Fatal(err)
	}
	receive := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "The body is too long.", http.StatusRequestEntityTooLarge)
			return
		}
		if err := signature.VerifyKey(r.Header, body, time.Now(), keys...); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Printf("%s: %s\n", r.Header.Get(signature.HeaderID), body)
		w.WriteHeader(http.StatusNoContent)
	}

	fmt.Println(deliver(receive, `{"status":"AUTHORISED"}`, `{"status":"AUTHORISED"}`))
	fmt.Println(deliver(receive, `{"status":"AUTHORISED"}`, `{"status":"REVOKED"}`))
	// Output:
	// evt_1: {"status":"AUTHORISED"}
	// 204
	// 401
}

// A sender that replaces its secret and its key: for a while it signs with
// the former ones as well.
func ExampleSigner_WithKeys() {
	s, err := signature.NewSigner(signature.NewSecret(), signature.NewSecret())
	if err != nil {
		log.Fatal(err)
	}
	s = s.WithKeys(signature.NewPrivateKey(), signature.NewPrivateKey())
	value, err := s.Sign("evt_1", time.Now().Unix(), []byte("{}"))
	if err != nil {
		log.Fatal(err)
	}
	for entry := range strings.SplitSeq(value, " ") {
		version, _, _ := strings.Cut(entry, ",")
		fmt.Println(version)
	}
	// Output:
	// v1
	// v1
	// v1a
	// v1a
}

// deliver signs one body, sends the other, and returns the status.
func deliver(receive http.HandlerFunc, signed, sent string) int {
	secret, err := signature.ParseSecret(vectorSecret)
	if err != nil {
		log.Fatal(err)
	}
	key, err := signature.ParsePrivateKey(vectorKey)
	if err != nil {
		log.Fatal(err)
	}
	s, err := signature.NewSigner(secret)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now().Unix()
	value, err := s.WithKeys(key).Sign("evt_1", now, []byte(signed))
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(sent))
	r.Header.Set(signature.HeaderID, "evt_1")
	r.Header.Set(signature.HeaderTimestamp, strconv.FormatInt(now, 10))
	r.Header.Set(signature.HeaderSignature, value)
	w := httptest.NewRecorder()
	receive(w, r)
	return w.Code
}
