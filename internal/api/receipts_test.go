package api

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/permission"
)

// verified checks a receipt as a person does who has the public key set and
// nothing of ours.
func (w *world) verified(a answered) bool {
	w.t.Helper()
	return w.signed(a, "Consentwire-Receipt-Signature")
}

// signed checks an answer by the signature in one of its headers.
func (w *world) signed(a answered, name string) bool {
	w.t.Helper()
	b64 := base64.RawURLEncoding
	header, sig, _ := strings.Cut(a.header.Get(name), "..")
	raw, err := b64.DecodeString(header)
	if err != nil {
		w.t.Fatal(err)
	}
	var h struct{ Alg, Kid string }
	if err := json.Unmarshal(raw, &h); err != nil {
		w.t.Fatalf("%v in %s", err, raw)
	}
	value, err := b64.DecodeString(sig)
	if err != nil {
		w.t.Fatal(err)
	}
	var set struct {
		Keys []struct{ Kty, Crv, X, Kid, Alg string }
	}
	w.keySet(w.ours.application).want(200).into(&set)
	for _, k := range set.Keys {
		x, err := b64.DecodeString(k.X)
		if err != nil || k.Kty != "OKP" || k.Crv != "Ed25519" || k.Alg != h.Alg || k.Kid != h.Kid {
			continue
		}
		return ed25519.Verify(x, []byte(header+"."+b64.EncodeToString(a.body)), value)
	}
	w.t.Errorf("%s: the key set has no key %s", a.asked, h.Kid)
	return false
}

// maskedReceipt replaces what differs from run to run.
func maskedReceipt(t *testing.T, a answered) string {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, a.body, "", "  "); err != nil {
		t.Fatal(err)
	}
	s := pretty.String()
	for _, m := range [][2]string{
		{`"([a-z]{3})_[0-9a-z]{26}"`, `"$1"`},
		{`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`, `now`},
		{`"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`, `"uuid"`},
		{`"consentTimestamp": \d{10},`, `"consentTimestamp": now,`},
	} {
		s = regexp.MustCompile(m[0]).ReplaceAllString(s, m[1])
	}
	return s
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	w.our("POST", "/v1/option-parties", `{"id":"us","name":"Example Ltd"}`).want(201)
	w.our("PUT", "/v1/permission-statements/"+o.statement, `{"text":"May we write?","language":"en"}`).want(200)
	recorded := w.our("POST", "/v1/permissions/transactions", strings.Replace(granted, "{", `{"channel":"web","permissionStatementRef":"newsletter-v2","privacyPolicyRef":"privacy-2026",`, 1)).want(201)
	at := "/v1/receipts/" + recorded.text("transactionId")

	var got bytes.Buffer
	first := map[string]answered{}
	for _, f := range permission.ReceiptForms() {
		a := w.our("GET", at+"?format="+string(f), "").want(200)
		first[string(f)] = a
		if !w.verified(a) {
			t.Errorf("%s: the signature does not verify", f)
		}
		changed := a
		changed.body = append(bytes.Clone(a.body), ' ')
		if w.verified(changed) {
			t.Errorf("%s: the signature verifies other bytes", f)
		}
		got.WriteString("# " + string(f) + "\n" + maskedReceipt(t, a) + "\n\n")
	}
	path := filepath.Join("testdata", "receipts.golden")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant the content of %s; go test -run TestReceipts -update writes it", got.Bytes(), path)
	}
	if a := w.our("GET", at, "").want(200); !bytes.Equal(a.body, first["native"].body) {
		t.Errorf("without a format: got %s, want the native one", a.body)
	}
	if a := w.call("HEAD", at, w.ours.token, "").want(200); a.header.Get("Consentwire-Receipt-Signature") != first["native"].header.Get("Consentwire-Receipt-Signature") || len(a.body) != 0 {
		t.Errorf("HEAD: got %v and %s, want the signature alone", a.header, a.body)
	}

	// Later versions and reversions leave it alone.
	w.our("PUT", "/v1/permission-statements/"+o.statement, `{"text":"Sim?"}`).want(200)
	w.our("PUT", "/v1/privacy-policies/"+o.policy, `{"url":"https://www.example.com/other"}`).want(200)
	reversion := w.our("POST", strings.Replace(at, "receipts", "permissions/transactions", 1)+"/revert", "").want(201)
	for f, a := range first {
		if again := w.our("GET", at+"?format="+f, "").want(200); !bytes.Equal(again.body, a.body) {
			t.Errorf("%s: got\n%s, want the same as before,\n%s", f, again.body, a.body)
		}
		if a := w.our("GET", "/v1/receipts/"+reversion.text("transactionId")+"?format="+f, "").want(200); !w.verified(a) {
			t.Errorf("%s of the reversion: the signature does not verify", f)
		}
	}
}

func TestReceipts_refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	at := "/v1/receipts/" + o.recorded
	for _, query := range []string{"?format=pdf", "?format=Native", "?format=native%20"} {
		if got := w.our("GET", at+query, "").want(400).faults(); got != "format invalid_value" {
			t.Errorf("%s: got %q, want the fault at format", query, got)
		}
	}
	w.call("GET", at, "", "").want(401)
	w.our("GET", "/v1/receipts/txn_none", "").want(404)
	w.our("GET", "/v1/receipts/"+o.consent, "").want(404)
	foreign := w.call("GET", at, w.theirs.token, "").want(404)
	if foreign.header.Get("Consentwire-Receipt-Signature") != "" {
		t.Error("another application's answer is signed")
	}
	w.call("GET", at+"?applicationId="+w.theirs.application, operatorBearer, "").want(404)
	if a := w.call("GET", at+"?applicationId="+w.ours.application, operatorBearer, "").want(200); !w.verified(a) {
		t.Error("the operator's: the signature does not verify")
	}
}

// TestReceipts_logNothingPersonal: what a receipt tells is in no line of the
// log.
func TestReceipts_logNothingPersonal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	a := w.our("POST", "/v1/permissions/transactions", `{"externalRef":"s3cret-ref","recordedByName":"s3cret-clerk","delegatedAuthorityId":"s3cret-guardian","changes":[{"optionId":"`+o.option+`","justification":"consent","state":"DENIED"}]}`).want(201)
	for _, f := range permission.ReceiptForms() {
		got := w.our("GET", "/v1/receipts/"+a.text("transactionId")+"?format="+string(f), "").want(200)
		if f != permission.ReceiptKantara && !bytes.Contains(got.body, []byte("s3cret-")) {
			t.Errorf("%s: got %s, want what was recorded", f, got.body)
		}
	}
	log := w.log.String()
	if !strings.Contains(log, "/v1/receipts/{id}") {
		t.Errorf("got the log %s, want a line for the receipt", log)
	}
	for _, bad := range []string{"s3cret", a.text("citizenId")} {
		if strings.Contains(log, bad) {
			t.Errorf("the log holds %q", bad)
		}
	}
}
