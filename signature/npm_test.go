//go:build npm

package signature_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/signature"
)

// officialBodies are what the official verifiers are asked about.
var officialBodies = []string{"{}", vectorBody, `{"name":"Ærøskøbing 🌊 \u2028","n":[1,2.50]}`, `{"a":"` + strings.Repeat("x", 100_000) + `"}`}

// jwkSet is a JWK set of Ed25519 keys. Source: RFC 7517, section 5; RFC 8037,
// section 2.
type jwkSet struct {
	Keys []map[string]string `json:"keys"`
}

func jwkSetOf(keys ...signature.PublicKey) jwkSet {
	set := jwkSet{Keys: []map[string]string{}}
	for i, k := range keys {
		set.Keys = append(set.Keys, map[string]string{
			"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(k.Bytes()),
			"kid": "key_" + strconv.Itoa(i), "use": "sig", "alg": "EdDSA",
		})
	}
	return set
}

// officialDelivery is a line of what the official verifiers read.
type officialDelivery struct {
	ID              string `json:"id"`
	Timestamp       int64  `json:"timestamp"`
	Signature       string `json:"signature"`
	Secret          string `json:"secret"`
	JWKS            jwkSet `json:"jwks"`
	Body            string `json:"body"`
	Refused         bool   `json:"refused,omitempty"`
	RefusedBySecret bool   `json:"refusedBySecret,omitempty"`
	RefusedByKey    bool   `json:"refusedByKey,omitempty"`
}

// officialDeliveries returns deliveries with one and with two signatures of
// each version, and how each must be judged.
func officialDeliveries(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	now := time.Now().Unix()
	for _, body := range officialBodies {
		current, former, stranger := signature.NewSecret(), signature.NewSecret(), signature.NewSecret()
		key, retired, unknown := signature.NewPrivateKey(), signature.NewPrivateKey(), signature.NewPrivateKey()
		sets := struct{ key, retired, both, unknown, none jwkSet }{
			jwkSetOf(key.Public()), jwkSetOf(retired.Public()), jwkSetOf(key.Public(), retired.Public()), jwkSetOf(unknown.Public()), jwkSetOf(),
		}
		v1 := signed(t, "evt_1", now, body, []signature.Secret{current, former})
		both := signed(t, "evt_1", now, body, []signature.Secret{current}, key)
		all := signed(t, "evt_1", now, body, []signature.Secret{current, former}, key, retired)
		v1a := all[strings.Index(all, "v1a,"):]
		good := officialDelivery{ID: "evt_1", Timestamp: now, Signature: all, Secret: current.Text(), JWKS: sets.both, Body: body}
		for _, change := range []func(d *officialDelivery){
			func(*officialDelivery) {},
			func(d *officialDelivery) { d.Secret, d.JWKS = former.Text(), sets.retired },
			func(d *officialDelivery) { d.JWKS = sets.key },
			func(d *officialDelivery) { d.Signature = both },
			func(d *officialDelivery) { d.Signature, d.JWKS, d.RefusedByKey = both, sets.retired, true },
			func(d *officialDelivery) { d.Signature, d.RefusedByKey = v1, true },
			func(d *officialDelivery) { d.Signature, d.Secret, d.RefusedByKey = v1, former.Text(), true },
			func(d *officialDelivery) { d.Signature, d.RefusedBySecret = v1a, true },
			func(d *officialDelivery) { d.Secret, d.RefusedBySecret = stranger.Text(), true },
			func(d *officialDelivery) { d.JWKS, d.RefusedByKey = sets.unknown, true },
			func(d *officialDelivery) { d.JWKS, d.RefusedByKey = sets.none, true },
			func(d *officialDelivery) { d.ID, d.Refused = "evt_2", true },
			func(d *officialDelivery) { d.Body, d.Refused = body+" ", true },
			func(d *officialDelivery) { d.Timestamp, d.Refused = now-301, true },
		} {
			d := good
			change(&d)
			if err := enc.Encode(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.Bytes()
}

// node runs a script of the interop folder.
func node(t *testing.T, script string, in []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Dir = "interop"
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out, stderr.Bytes())
	}
	return out
}

// Interop with the official verifiers for JavaScript, and with node's own
// Ed25519 under our keys as JWKs: neither library verifies v1a. It needs node,
// and the libraries installed by "npm ci" in signature/interop.
func TestOfficialLibraries_npm(t *testing.T) {
	t.Parallel()
	for _, lib := range []string{"standardwebhooks", "svix"} {
		if _, err := os.Stat("interop/node_modules/" + lib + "/package.json"); err != nil {
			t.Fatalf(`The npm library %s is not installed: run "npm ci" in signature/interop first.`, lib)
		}
	}
	t.Logf("%s", node(t, "verify.mjs", officialDeliveries(t)))
}

// Interop with the other official verifier for Go, which is in a module of its
// own under signature/interop. The go command fetches it.
func TestOfficialLibraries_svix(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "deliveries")
	if err := os.WriteFile(file, officialDeliveries(t), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", ".")
	cmd.Dir = filepath.Join("interop", "svix")
	cmd.Env = append(os.Environ(), "INTEROP_DELIVERIES="+file)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestVerify")) {
		t.Fatalf("The Go library of Svix disagrees with us (%v):\n%s", err, out)
	}
	t.Logf("%s", out)
}

// We verify what node signs, with the key as node writes it.
func TestVerifyKey_node(t *testing.T) {
	t.Parallel()
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, body := range officialBodies {
		if err := enc.Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	dec, now := json.NewDecoder(bytes.NewReader(node(t, "sign.mjs", in.Bytes()))), time.Now()
	for _, body := range officialBodies {
		var d struct {
			ID        string          `json:"id"`
			Timestamp int64           `json:"timestamp"`
			Signature string          `json:"signature"`
			Body      string          `json:"body"`
			JWKS      json.RawMessage `json:"jwks"`
		}
		if err := dec.Decode(&d); err != nil {
			t.Fatal(err)
		}
		if d.Body != body {
			t.Fatalf("node signed %.40q, want %.40q", d.Body, body)
		}
		keys, err := signature.ParseJWKSet(d.JWKS)
		if err != nil || len(keys) != 1 {
			t.Fatalf("ParseJWKSet(%s) = %v, %v; want one key", d.JWKS, keys, err)
		}
		h := headerOf(d.ID, strconv.FormatInt(d.Timestamp, 10), d.Signature)
		if err := signature.VerifyKey(h, []byte(body), now, keys...); err != nil {
			t.Errorf("VerifyKey of what node signed = %v, want nil", err)
		}
		if err := signature.VerifyKey(h, []byte(body+" "), now, keys...); !errors.Is(err, signature.ErrNoMatches) {
			t.Errorf("VerifyKey of another body = %v, want %v", err, signature.ErrNoMatches)
		}
	}
}
