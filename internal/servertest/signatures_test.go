package servertest_test

import (
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/signature"
)

// keySet fetches an application's public keys as a receiver does, without any
// credential.
func keySet(t *testing.T, s *servertest.Server, a *servertest.Application) []signature.PublicKey {
	t.Helper()
	r := s.Call("GET", "/.well-known/consentwire/"+a.ID+"/jwks.json", "", nil).Want(t, 200)
	keys, err := signature.ParseJWKSet(r.Body)
	if err != nil || strings.Contains(string(r.Body), `"d"`) {
		t.Fatalf("got the key set %s (%v), want public keys", r.Body, err)
	}
	return keys
}

// versions returns the versions of a delivery's signatures, in their order.
func versions(r servertest.Received) []string {
	out := []string{}
	for one := range strings.FieldsSeq(r.Header.Get(signature.HeaderSignature)) {
		v, _, _ := strings.Cut(one, ",")
		out = append(out, v)
	}
	return out
}

// With "v1a" a receiver that has no secret verifies with the public keys, one
// that has it as before, and both over a rotation. Whoever did not ask for it
// gets v1 alone.
func TestSignatures_v1a(t *testing.T) {
	t.Parallel()
	ca := servertest.NewCA(t)
	rcv := servertest.NewReceiver(t, ca)
	s := servertest.Start(t, servertest.Options{CA: ca})
	a, other := s.NewApplication("Bank"), s.NewApplication("Other bank")
	subscribe(t, other, "https://127.0.0.1:1/", map[string]any{"signatures": []string{"v1", "v1a"}})
	secrets := map[string]string{}
	var id string
	id, secrets["/both"] = subscribe(t, a, rcv.URL+"/both", map[string]any{"signatures": []string{"v1", "v1a"}})
	_, secrets["/plain"] = subscribe(t, a, rcv.URL+"/plain", nil)
	_, secrets["/interceptor"] = register(t, a, rcv.URL+"/interceptor")

	// check looks at what was told of a consent: the versions of the
	// signatures, and that each of the keys verifies by itself.
	check := func(consent string, both, plain []string, keys []signature.PublicKey) {
		t.Helper()
		for path := range secrets {
			wantTold(t, rcv, path, []string{consent})
		}
		for _, r := range rcv.Received() {
			if r.Subject() != consent {
				continue
			}
			want := plain
			if r.Path == "/both" {
				want = both
			}
			if got := versions(r); !slices.Equal(got, want) {
				t.Errorf("%s: got the signatures %v, want %v", r.Path, got, want)
			}
			official, err := standardwebhooks.NewWebhook(secrets[r.Path])
			if err != nil {
				t.Fatal(err)
			}
			if err := official.Verify(r.Body, r.Header); err != nil {
				t.Errorf("%s: the official library refuses it: %v", r.Path, err)
			}
			for i, k := range keys {
				err := signature.VerifyKey(r.Header, r.Body, r.At, k)
				if ok := r.Path == "/both"; (err == nil) != ok {
					t.Errorf("%s: key %d verifies it: %v, want %v", r.Path, i, err, ok)
				}
			}
			if signature.VerifyKey(r.Header, slices.Concat(r.Body, []byte(" ")), r.At, keys...) == nil {
				t.Errorf("%s: the keys verify another body", r.Path)
			}
			if signature.VerifyKey(r.Header, r.Body, r.At, keySet(t, s, other)...) == nil {
				t.Errorf("%s: the keys of another application verify it", r.Path)
			}
		}
	}

	before := keySet(t, s, a)
	if len(before) != 1 || len(keySet(t, s, other)) != 1 {
		t.Fatalf("got %d keys, want 1", len(before))
	}
	check(a.CreateConsent(), []string{"v1", "v1a"}, []string{"v1"}, before)

	// A new key pair: the former one signs beside it.
	var rotated struct {
		Items []struct{ KeyID, PublicKey, ExpiresAt string }
	}
	a.Call("POST", "/v1/signing-keys/rotate", nil).Want(t, 200).Into(t, &rotated)
	after := keySet(t, s, a)
	if len(rotated.Items) != 2 || len(after) != 2 || rotated.Items[0].ExpiresAt != "" || rotated.Items[1].ExpiresAt == "" ||
		rotated.Items[1].PublicKey != before[0].Text() || !slices.Contains(after, before[0]) {
		t.Fatalf("got %+v and the key set %v, want a new key and the former one %v", rotated, after, before)
	}
	check(a.CreateConsent(), []string{"v1", "v1a", "v1a"}, []string{"v1"}, after)

	// A new secret as well, over a restart.
	former := secrets["/both"]
	secrets["/both"] = a.Call("POST", "/v1/subscriptions/"+id+"/rotate-secret", nil).Want(t, 200).Text(t, "signingSecret")
	s.Restart()
	last := a.CreateConsent()
	check(last, []string{"v1", "v1", "v1a", "v1a"}, []string{"v1"}, keySet(t, s, a))
	for _, r := range rcv.Received() {
		if r.Subject() == last && r.Path == "/both" {
			if err := r.Verify(former); err != nil {
				t.Errorf("the former secret does not verify it: %v", err)
			}
		}
	}

	// Without it there is v1 alone again.
	a.Call("PATCH", "/v1/subscriptions/"+id, map[string]any{"signatures": []string{"v1"}}).Want(t, 200)
	without := a.CreateConsent()
	wantTold(t, rcv, "/both", []string{without})
	for _, r := range rcv.Received() {
		if r.Subject() == without && slices.Contains(versions(r), "v1a") {
			t.Errorf("%s: got the signatures %v, want v1 only", r.Path, versions(r))
		}
	}
}
