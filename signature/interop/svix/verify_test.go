package svix_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"

	svix "github.com/svix/svix-webhooks/go"
)

// Reads the deliveries of the file that INTEROP_DELIVERIES names, as
// verify.mjs reads them, and verifies the v1 signatures of each.
func TestVerify(t *testing.T) {
	t.Parallel()
	name := os.Getenv("INTEROP_DELIVERIES")
	if name == "" {
		t.Skip("INTEROP_DELIVERIES names no file: the tests of the signature package start this one.")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for in := json.NewDecoder(f); ; lines++ {
		var d struct {
			ID, Signature, Secret, Body string
			Timestamp                   int64
			Refused, RefusedBySecret    bool
		}
		if err := in.Decode(&d); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		wh, err := svix.NewWebhook(d.Secret)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set("webhook-id", d.ID)
		h.Set("webhook-timestamp", strconv.FormatInt(d.Timestamp, 10))
		h.Set("webhook-signature", d.Signature)
		if err := wh.Verify([]byte(d.Body), h); (err != nil) != (d.Refused || d.RefusedBySecret) {
			t.Errorf("line %d (%s): got %v, want refused %v", lines+1, d.ID, err, d.Refused || d.RefusedBySecret)
		}
	}
	if lines == 0 {
		t.Error("there was no delivery to verify")
	}
	t.Logf("%d deliveries", lines)
}
