package event_test

import (
	"slices"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		text string
		want event.Type
	}{
		{"dotted", "consent.created", event.ConsentCreated},
		{"as the source renders it", "before : consent : create", event.ConsentCreateReceived},
		{"as the source means it", "after:consent:create", event.ConsentCreated},
		{"the source's name of a revocation", "consent : revoke", event.ConsentRevoked},
		{"the dotted name of a revocation", "consent.revoked", event.ConsentRevoked},
		{"capital letters", "CONSENT.Approved", event.ConsentApproved},
		{"blanks all around, also those of a web page", "\t consent\u00a0:\u2003rejected \r\n", event.ConsentRejected},
		{"an addition of ours by the source's spelling", "consent:extended", event.ConsentExtended},
		{"a permission feed", "permissions.delta", event.PermissionsDelta},
		{"a permission feed in capital letters", "PERMISSIONS.EFFECTIVE", event.PermissionsEffective},
		{"a mail", "citizen.email", event.CitizenEmail},
		{"a test", "webhook.test", event.WebhookTest},
		{"a change of status", "webhook.status_changed", event.WebhookStatusChanged},

		{"nothing", "", ""},
		{"blanks", " \t", ""},
		{"another name", "consent.lost", ""},
		{"the source's spelling with the dotted word", "consent:revoked", ""},
		{"dots for colons", "consent.revoke", ""},
		{"colons for dots", "permissions:delta", ""},
		{"a part of a name", "consent", ""},
		{"a name and more", "consent.created.", ""},
		{"two names", "consent.created consent.approved", ""},
		{"a long s", "con\u017fent.created", ""},
		{"a Kelvin sign", "webhoo\u212a.test", ""},
		{"a dotted capital I", "c\u0130tizen.email", ""},
		{"full width", "ｃonsent.created", ""},
		{"a zero width space", "consent\u200b.created", ""},
		{"a broken character", "consent.created\xff", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := event.Parse(tt.text); got != tt.want {
				t.Errorf("Parse(%q): got %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("before : consent : create")
	f.Add("webhoo\u212a.test")
	f.Fuzz(func(t *testing.T, text string) {
		got := event.Parse(text)
		if got == "" {
			return
		}
		if again := event.Parse(string(got)); again != got {
			t.Errorf("got %q of %q, and of that %q", got, text, again)
		}
		if n := got.SourceName(); n != "" && event.Parse(n) != got {
			t.Errorf("got %q of %q, want %q", event.Parse(n), n, got)
		}
	})
}

// TestLifecycle holds the names to the source's table and to CONTRACT 9.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	want := [][2]string{
		{"consent.create.received", "before:consent:create"},
		{"consent.created", "after:consent:create"},
		{"consent.approved", "consent:approved"},
		{"consent.rejected", "consent:rejected"},
		{"consent.expired", "consent:expired"},
		{"consent.revoked", "consent:revoke"},
		{"consent.consumed", "consent:consumed"},
		{"consent.extended", "consent:extended"},
	}
	var got [][2]string
	for _, lt := range event.Lifecycle() {
		got = append(got, [2]string{string(lt), lt.SourceName()})
		if !lt.IsLifecycle() {
			t.Errorf("%s: got no lifecycle type, want one", lt)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if src := event.SourceLifecycle(); len(src) != 6 || src[5] != event.ConsentRevoked {
		t.Errorf("got %v, want the first six", src)
	}
	for _, other := range []event.Type{"", event.PermissionsDelta, event.WebhookTest} {
		if other.IsLifecycle() || other.SourceName() != "" {
			t.Errorf("%q: got a lifecycle type, want none", other)
		}
	}
	for _, lt := range event.Lifecycle() {
		if want := lt == event.ConsentRevoked || lt == event.ConsentRejected; lt.IsWithdrawal() != want {
			t.Errorf("%s: got a withdrawal %t, want %t", lt, lt.IsWithdrawal(), want)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		at   time.Time
		want string
	}{
		{"whole seconds show their milliseconds", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), "2026-03-01T12:00:00.000Z"},
		{"what is less than a millisecond is cut off", time.Date(2026, 3, 1, 12, 0, 0, 5_999_999, time.UTC), "2026-03-01T12:00:00.005Z"},
		{"another zone is shown in UTC", time.Date(2026, 3, 1, 23, 30, 0, 0, time.FixedZone("BRT", -3*60*60)), "2026-03-02T02:30:00.000Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := event.Format(tt.at); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
