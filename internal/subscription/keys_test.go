package subscription_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/subscription"
)

// told renders key pairs with their ends in hours after t0, "-" for none.
func told(keys []subscription.SigningKey, t0 time.Time) string {
	var out []string
	for _, k := range keys {
		end := "-"
		if !k.ExpiresAt.IsZero() {
			end = fmt.Sprintf("%g", k.ExpiresAt.Sub(t0).Hours())
		}
		out = append(out, k.ID+":"+end)
	}
	return strings.Join(out, " ")
}

func TestRotateKeys(t *testing.T) {
	t.Parallel()
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type key = subscription.SigningKey
	end := func(hours int) time.Time { return t0.Add(time.Duration(hours) * time.Hour) }
	many := []key{{ID: "9"}}
	for i := 8; i >= 0; i-- {
		many = append(many, key{ID: fmt.Sprint(i), ExpiresAt: end(i + 1)})
	}
	tests := []struct {
		name             string
		keys             []key
		signing, changed string
	}{
		{"the first one", nil, "f:-", "f:-"},
		{"the former current one signs for a day", []key{{ID: "a"}}, "f:- a:24", "f:- a:24"},
		{"one that was rotated before keeps its end", []key{{ID: "b"}, {ID: "a", ExpiresAt: end(3)}}, "f:- b:24 a:3", "f:- b:24"},
		{"one that has ended is left out", []key{{ID: "b"}, {ID: "a", ExpiresAt: t0}}, "f:- b:24", "f:- b:24"},
		{"only ended ones", []key{{ID: "a", ExpiresAt: end(-1)}}, "f:-", "f:-"},
		{"of more than ten the oldest ends at once", many, "f:- 9:24 8:9 7:8 6:7 5:6 4:5 3:4 2:3 1:2", "f:- 9:24 0:0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := told(tt.keys, t0)
			signing, changed := subscription.RotateKeys(tt.keys, key{ID: "f", CreatedAt: t0})
			if got := told(signing, t0); got != tt.signing {
				t.Errorf("signing: got %s, want %s", got, tt.signing)
			}
			if got := told(changed, t0); got != tt.changed {
				t.Errorf("changed: got %s, want %s", got, tt.changed)
			}
			if got := told(tt.keys, t0); got != before {
				t.Errorf("the argument became %s, want %s", got, before)
			}
			if got := len(subscription.KeysAt(signing, t0)); got != len(signing) {
				t.Errorf("got %d that sign at once, want all %d", got, len(signing))
			}
			if got := told(subscription.KeysAt(signing, end(24)), t0); got != "f:-" {
				t.Errorf("a day later: got %s, want f:-", got)
			}
			if !subscription.HasCurrent(signing) || subscription.HasCurrent(signing[1:]) {
				t.Errorf("got %s, want the first one alone current", told(signing, t0))
			}
		})
	}
}
