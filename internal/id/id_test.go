package id_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/id"
)

func TestNew(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^evt_[0-9a-hjkmnp-tv-z]{26}$`)
	seen := map[string]bool{}
	for range 1000 {
		got := id.New(id.Event)
		if !form.MatchString(got) || seen[got] {
			t.Fatalf("got %q, want a fresh one of the form %s", got, form)
		}
		seen[got] = true
		raw, err := id.Encoding.DecodeString(strings.TrimPrefix(got, "evt_"))
		if err != nil || len(raw) != 16 || raw[6]>>4 != 7 || raw[8]>>6 != 2 {
			t.Fatalf("got %x, %v, want a UUID of version 7 (RFC 9562)", raw, err)
		}
	}
}

func TestInteraction(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if a, b := id.Interaction(), id.Interaction(); !form.MatchString(a) || a == b {
		t.Errorf("got %q and %q, want two UUIDs of version 4", a, b)
	}
}

func TestStable(t *testing.T) {
	t.Parallel()
	// Computed by another program: uuid5(NAMESPACE_URL, "urn:consentwire:txn_1").
	const want = "63520e74-140e-51e2-9f2e-12dc1ce538c1"
	if got := id.Stable("txn_1"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
