package app_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store/storetest"
	"github.com/consentwire/consentwire/signature"
)

func (w *world) receipt(tid permission.TransactionID, f permission.ReceiptForm) app.Receipt {
	w.t.Helper()
	r, err := w.Receipt(w.ctx, w.app, tid, f)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// wantSigned checks a receipt's signature with the application's current key,
// and returns the key's ID.
func (w *world) wantSigned(r app.Receipt) string {
	w.t.Helper()
	header, sig, found := strings.Cut(r.Signature, "..")
	b64 := base64.RawURLEncoding
	raw, err := b64.DecodeString(header)
	if err != nil || !found {
		w.t.Fatalf("got the signature %q (%v), want a detached JWS", r.Signature, err)
	}
	var h struct{ Alg, Kid string }
	if err := json.Unmarshal(raw, &h); err != nil || h.Alg != "EdDSA" {
		w.t.Errorf("got the header %s (%v), want EdDSA", raw, err)
	}
	value, err := b64.DecodeString(sig)
	if err != nil {
		w.t.Fatal(err)
	}
	key := w.keyPairs()[0]
	public, err := signature.ParsePublicKey(key.PublicKey)
	if err != nil {
		w.t.Fatal(err)
	}
	if h.Kid != key.ID || !ed25519.Verify(public.Bytes(), []byte(header+"."+b64.EncodeToString(r.Body)), value) {
		w.t.Errorf("the signature of %s does not verify with %s", h.Kid, key.ID)
	}
	return h.Kid
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		recorded := w.record(permission.Request{
			ExternalRef: ptr("CRM-1"), Changes: []permission.ChangeDraft{change(mailing, permission.Granted)}, StatementRef: ptr("ask"), PolicyRef: ptr("privacy"),
		})
		tid := recorded.Transaction.ID()
		first := map[permission.ReceiptForm]app.Receipt{}
		for _, f := range permission.ReceiptForms() {
			first[f] = w.receipt(tid, f)
			w.wantSigned(first[f])
			name := id.Stable(string(tid))
			if f == permission.ReceiptNative {
				name = `"receiptId":"` + string(tid) + `"` // by which it is asked for
			}
			if !bytes.Contains(first[f].Body, []byte(name)) {
				t.Errorf("%s: got %s, want %s in it", f, first[f].Body, name)
			}
		}
		if n := len(w.keyPairs()); n != 1 {
			t.Errorf("got %d key pairs, want the one that the first receipt made", n)
		}
		if got := string(first[permission.ReceiptNative].Body); !strings.Contains(got, `"version":1,"text":"May we?"`) || !strings.Contains(got, `"version":1,"text":"We care."`) {
			t.Errorf("got %s, want the texts that were shown", got)
		}

		// Later texts, times and transactions change nothing in it.
		time.Sleep(time.Hour)
		for _, s := range w.catalogue().Statements() {
			if _, err := w.PutStatement(w.ctx, w.app, s.ID, statementDraft("ask", "Really?")); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range w.catalogue().Policies() {
			if _, err := w.PutPolicy(w.ctx, w.app, p.ID, permission.PolicyDraft{Reference: ptr("privacy"), Text: ptr("We do not.")}); err != nil {
				t.Fatal(err)
			}
		}
		denied := w.record(by("CRM-1", change(mailing, permission.Denied)))
		if got := w.receipt(denied.Transaction.ID(), permission.ReceiptISO27560); !bytes.Contains(got.Body, []byte(`"event_state":"ConsentWithdrawn"`)) {
			t.Errorf("got %s, want a withdrawal", got.Body)
		}
		reverted, err := w.RevertTransaction(w.ctx, w.app, caller, tid)
		wantNone(t, err)
		for _, f := range permission.ReceiptForms() {
			if got := w.receipt(tid, f); !bytes.Equal(got.Body, first[f].Body) || got.Signature != first[f].Signature {
				t.Errorf("%s: got\n%s, want the same as before,\n%s", f, got.Body, first[f].Body)
			}
		}
		if got := w.receipt(reverted.Transaction.ID(), permission.ReceiptNative); !bytes.Contains(got.Body, []byte(`"text":"May we?"`)) || !bytes.Contains(got.Body, []byte(`"countsAgain":false`)) {
			t.Errorf("the reversion: got %s, want what it is about with its texts", got.Body)
		}

		// Another key signs the same bytes.
		former := w.wantSigned(first[permission.ReceiptNative])
		_, err = w.RotateSigningKey(w.ctx, w.app)
		wantNone(t, err)
		again := w.receipt(tid, permission.ReceiptNative)
		if kid := w.wantSigned(again); kid == former || !bytes.Equal(again.Body, first[permission.ReceiptNative].Body) {
			t.Errorf("after a rotation: got the key %s and %s, want a new key and the same body", kid, again.Body)
		}
	})
}

func TestReceipt_ofAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	tid := w.record(by("CRM-1", change(mailing, permission.Granted))).Transaction.ID()
	other, _, _ := w.application("Another bank")
	_, err := w.Receipt(w.ctx, other, tid, permission.ReceiptNative)
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.Receipt(w.ctx, w.app, "txn_none", permission.ReceiptNative)
	wantFault(t, err, fault.NotFound, "not_found")
	if n := len(w.keyPairs()); n != 0 {
		t.Errorf("got %d key pairs, want none for a receipt that there is not", n)
	}
}

// TestReceipt_makesOneKey: whichever way the commit of the first key ends, and
// whoever else asks, there is one.
func TestReceipt_makesOneKey(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		w.configure()
		tid := w.record(by("CRM-1", change(mailing, permission.Granted))).Transaction.ID()
		w.store.FailAt("Update", 1, after)
		_, err := w.Receipt(w.ctx, w.app, tid, permission.ReceiptNative)
		wantFault(t, err, fault.Unavailable, storetest.Injected)
		kids := make(chan string)
		for range 4 {
			go func() {
				r, err := w.Receipt(w.ctx, w.app, tid, permission.ReceiptNative)
				if err != nil {
					t.Error(err)
				}
				kids <- r.Signature
			}()
		}
		first := <-kids
		for range 3 {
			if got := <-kids; got != first {
				t.Errorf("got the signatures %s and %s, want one", got, first)
			}
		}
		if n := len(w.keyPairs()); n != 1 {
			t.Errorf("a commit that took effect (%t): got %d key pairs, want 1", after, n)
		}
	}
}
