//go:build npm

package signature_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/signature"
)

// Interop with the official verifiers for JavaScript. It needs node, and the
// libraries installed by "npm ci" in signature/interop.
func TestOfficialLibraries_npm(t *testing.T) {
	t.Parallel()
	for _, lib := range []string{"standardwebhooks", "svix"} {
		if _, err := os.Stat("interop/node_modules/" + lib + "/package.json"); err != nil {
			t.Fatalf(`The npm library %s is not installed: run "npm ci" in signature/interop first.`, lib)
		}
	}
	type line struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"`
		Signature string `json:"signature"`
		Secret    string `json:"secret"`
		Body      string `json:"body"`
		Refused   bool   `json:"refused,omitempty"`
	}
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	now := time.Now().Unix()
	bodies := []string{"{}", vectorBody, `{"name":"Ærøskøbing 🌊 \u2028","n":[1,2.50]}`, `{"a":"` + strings.Repeat("x", 100_000) + `"}`}
	for _, body := range bodies {
		current, former := signature.NewSecret(), signature.NewSecret()
		signer, err := signature.NewSigner(current, former)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.Sign("evt_1", now, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []line{
			{ID: "evt_1", Timestamp: now, Signature: sig, Secret: current.Text(), Body: body},
			{ID: "evt_1", Timestamp: now, Signature: sig, Secret: former.Text(), Body: body},
			{ID: "evt_2", Timestamp: now, Signature: sig, Secret: current.Text(), Body: body, Refused: true},
			{ID: "evt_1", Timestamp: now, Signature: sig, Secret: signature.NewSecret().Text(), Body: body, Refused: true},
			{ID: "evt_1", Timestamp: now - 301, Signature: sig, Secret: current.Text(), Body: body, Refused: true},
		} {
			if err := enc.Encode(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs")
	cmd.Dir = "interop"
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("The npm verifiers disagree with us (%v):\n%s", err, out)
	}
	t.Logf("%s", out)
}
