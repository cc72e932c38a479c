package consent_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/consent"
	"github.com/consentwire/consentwire/internal/event"
)

var update = flag.Bool("update", false, "write the golden files")

// TestBody holds every lifecycle body to its golden form: the envelope of
// "Webhook in Data Sharing" and the data of DOMAIN 7.4, for both types.
func TestBody(t *testing.T) {
	t.Parallel()
	day := t0.AddDate(0, 0, 1)
	info := consent.Decision{By: "TPP", AdditionalInformation: `He said "no" & left.`}
	var got bytes.Buffer
	add := func(title string, body []byte) { fmt.Fprintf(&got, "# %s\n%s\n\n", title, body) }
	for _, r := range []consent.Request{data(), payment()} {
		r.BusinessEntity = &consent.Document{Identification: "12345678000190", Rel: "CNPJ"}
		r.CitizenID = "ctz-1"
		if r.Type == consent.Data {
			r.ExpiresAt = day
		}
		seen := map[event.Type]bool{}
		walk := func(title string, ss ...step) {
			c := create(t, r, t0)
			for i, s := range ss {
				next, evts, err := s(c)
				if err != nil {
					t.Fatalf("%s: %v", title, err)
				}
				c = next
				if i == len(ss)-1 {
					add(string(r.Type)+" "+title, evts[0].Body)
					seen[evts[0].Type] = true
				}
			}
		}
		received := consent.Receive("con_1", "app_1", r, t0)
		if received.Type != event.ConsentCreateReceived || received.Subject != "con_1" || received.Application != "app_1" || !received.OccurredAt.Equal(t0) {
			t.Errorf("got %+v, want it about con_1 at t0", received)
		}
		_, created, err := consent.Create("con_1", "app_1", r, t0, policy)
		if err != nil {
			t.Fatal(err)
		}
		if received.Feed != created.Feed {
			t.Errorf("got feeds %s and %s, want one", received.Feed, created.Feed)
		}
		add(string(r.Type)+" received", received.Body)
		add(string(r.Type)+" created", created.Body)
		seen[received.Type], seen[created.Type] = true, true
		walk("approved", approve(10*minute, ""))
		walk("rejected", reject(10*minute, consent.Decision{}))
		walk("rejected with information", reject(10*minute, info))
		walk("expired, not approved in time", expire(99*minute))
		walk("expired, not consumed in time", approve(10*minute, ""), expire(99*minute))
		walk("revoked", approve(10*minute, ""), revoke(20*minute, consent.Decision{}))
		walk("consumed", approve(10*minute, ""), consume(20*minute))
		if r.Type == consent.Data {
			walk("extended", approve(10*minute, ""), extend(20*minute, day.AddDate(0, 0, 2)))
			walk("extended indefinitely", approve(10*minute, ""), extend(20*minute, time.Time{}))
			walk("expired at its end", approve(10*minute, ""), consume(20*minute), expire(2000*minute))
		} else {
			seen[event.ConsentExtended] = true // there is none
		}
		for _, lt := range event.Lifecycle() {
			if !seen[lt] {
				t.Errorf("%s: no golden body of %s", r.Type, lt)
			}
		}
	}

	const file = "testdata/bodies.golden"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}
