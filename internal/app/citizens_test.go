package app_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

func TestCreateCitizen_checks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		name  string
		draft app.CitizenDraft
		want  string // the places of the faults
	}{
		{"a reference alone", app.CitizenDraft{ExternalRef: ptr("CRM 000771/ä")}, "[]"},
		{"no reference", app.CitizenDraft{}, "[/externalRef required]"},
		{"an empty reference", app.CitizenDraft{ExternalRef: ptr("")}, "[/externalRef required]"},
		{"the longest reference", app.CitizenDraft{ExternalRef: ptr(strings.Repeat("é", 255))}, "[]"},
		{"a longer one", app.CitizenDraft{ExternalRef: ptr(strings.Repeat("é", 256))}, "[/externalRef too_long]"},
		{"a line end in the reference", app.CitizenDraft{ExternalRef: ptr("a\nb")}, "[/externalRef invalid_character]"},
		{"white space around the reference", app.CitizenDraft{ExternalRef: ptr(" a")}, "[/externalRef invalid_value]"},
		{"a place as the reference", app.CitizenDraft{ExternalRef: ptr("..")}, "[/externalRef invalid_value]"},
		{"an ID of its owner's", app.CitizenDraft{ID: ptr("ctz-9f31:a@b.c~_"), ExternalRef: ptr("1")}, "[]"},
		{"an empty ID", app.CitizenDraft{ID: ptr(""), ExternalRef: ptr("2")}, "[/citizenId required]"},
		{"the longest ID", app.CitizenDraft{ID: ptr(strings.Repeat("x", 100)), ExternalRef: ptr("3")}, "[]"},
		{"a longer ID", app.CitizenDraft{ID: ptr(strings.Repeat("x", 101)), ExternalRef: ptr("4")}, "[/citizenId too_long]"},
		{"an ID that is no plain text", app.CitizenDraft{ID: ptr("a b"), ExternalRef: ptr("5")}, "[/citizenId invalid_value]"},
		{"an ID that looks like a letter of ours", app.CitizenDraft{ID: ptr("å"), ExternalRef: ptr("5")}, "[/citizenId invalid_value]"},
		{"a consent's ID", app.CitizenDraft{ID: ptr("con_1"), ExternalRef: ptr("5")}, "[/citizenId invalid_value]"},
		{"a subscription's ID", app.CitizenDraft{ID: ptr("sub_1"), ExternalRef: ptr("5")}, "[/citizenId invalid_value]"},
		{"an interceptor's ID", app.CitizenDraft{ID: ptr("int_1"), ExternalRef: ptr("5")}, "[/citizenId invalid_value]"},
		{"a place as the ID", app.CitizenDraft{ID: ptr(".."), ExternalRef: ptr("5")}, "[/citizenId invalid_value]"},
		{"addresses", app.CitizenDraft{ExternalRef: ptr("6"), Emails: []string{"ana@example.org", "josé+x@exämple.org"}}, "[]"},
		{"an address twice", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"ana@example.org", "ana@example.org"}}, "[/emails/1/address duplicate]"},
		{"no address", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{""}}, "[/emails/0/address required]"},
		{"a name and an address", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"Ana <ana@example.org>"}}, "[/emails/0/address invalid_email]"},
		{"an address in brackets", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"<ana@example.org>"}}, "[/emails/0/address invalid_email]"},
		{"two in one", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"ana@example.org, rui@example.org"}}, "[/emails/0/address invalid_email]"},
		{"a header after the address", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"ana@example.org\r\nBcc: rui@example.org"}}, "[/emails/0/address invalid_email]"},
		{"an address of a machine", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"ana@[192.0.2.1]"}}, "[/emails/0/address invalid_email]"},
		{"a quoted address", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{`"a b"@example.org`}}, "[/emails/0/address invalid_email]"},
		{"a comment in the address", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{"ana@example.org (Ana)"}}, "[/emails/0/address invalid_email]"},
		{"an address that is too long", app.CitizenDraft{ExternalRef: ptr("7"), Emails: []string{strings.Repeat("x", 243) + "@example.org"}}, "[/emails/0/address too_long]"},
		{"too many addresses", app.CitizenDraft{ExternalRef: ptr("7"), Emails: make([]string, 21)}, "[/emails too_many]"},
		{"a language", app.CitizenDraft{ExternalRef: ptr("8"), Language: ptr("pt-BR")}, "[]"},
		{"no language", app.CitizenDraft{ExternalRef: ptr("9"), Language: ptr("Portuguese, Brazil")}, "[/language invalid_language]"},
		{"every fault is named", app.CitizenDraft{ID: ptr(" "), Emails: []string{"x"}, Language: ptr("")}, "[/citizenId invalid_value /externalRef required /emails/0/address invalid_email /language invalid_language]"},
	}
	for _, tt := range tests {
		c, err := w.CreateCitizen(w.ctx, w.app, tt.draft)
		got := []string{}
		if f, ok := errors.AsType[*fault.Error](err); ok {
			for _, f := range f.Fields {
				got = append(got, f.Path+" "+f.Code)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, got, tt.want)
		}
		if err != nil {
			continue
		}
		kept, err := w.store.Citizen(w.ctx, w.app, c.ID)
		if err != nil || kept.ExternalRef != *tt.draft.ExternalRef || !slices.Equal(kept.Emails, tt.draft.Emails) || kept.Version != 1 || kept.CreatedAt.IsZero() {
			t.Errorf("%s: read back: got %+v, %v", tt.name, kept, err)
		}
	}
}

// TestCreateCitizen_sameRuleAsRecord: whatever reference a transaction may name
// a new citizen by, a citizen may be made with, and no other.
func TestCreateCitizen_sameRuleAsRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	other, _, _ := w.application("Another bank")
	for _, ref := range []string{"", " ", "a", "a ", "\u00a0a", ".", "..", "...", "a/b", "a\x00", "\u200b", "\xff", strings.Repeat("é", 255), strings.Repeat("é", 256)} {
		_, made := w.CreateCitizen(w.ctx, other, app.CitizenDraft{ExternalRef: &ref})
		_, recorded := w.try(by(ref, change(mailing, permission.Granted)))
		if (made == nil) != (recorded == nil) || fault.KindOf(made) != fault.KindOf(recorded) {
			t.Errorf("%q: got %v for a citizen and %v for a transaction, want one rule", ref, made, recorded)
		}
	}
}

func TestCreateCitizen_taken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, err := w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ExternalRef: ptr("crm-1")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ExternalRef: ptr("crm-1")})
	wantFault(t, err, fault.Conflict, "external_ref_taken")
	_, err = w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ID: ptr(string(first.ID)), ExternalRef: ptr("crm-2")})
	wantFault(t, err, fault.Conflict, "citizen_id_taken")
	if kept, err := w.store.Citizen(w.ctx, w.app, first.ID); err != nil || kept.ExternalRef != "crm-1" {
		t.Errorf("got %+v, %v, want the first as it was", kept, err)
	}
	other, _, _ := w.application("Another bank")
	if _, err := w.CreateCitizen(w.ctx, other, app.CitizenDraft{ID: ptr(string(first.ID)), ExternalRef: ptr("crm-1")}); err != nil {
		t.Errorf("another application's: got %v, want it made", err)
	}
}

func TestEditCitizen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		c := w.record(by("crm-1", change(mailing, permission.Granted))).Citizen
		w.record(by("crm-2", change(mailing, permission.Granted)))
		edit := func(d app.CitizenDraft) (store.Citizen, error) {
			return w.EditCitizen(w.ctx, w.app, c.ID, func(store.Citizen) (app.CitizenDraft, error) { return d, nil })
		}
		time.Sleep(time.Minute)
		got, err := edit(app.CitizenDraft{ExternalRef: ptr("crm-1b"), Emails: []string{"ana@example.org"}, Language: ptr("pt")})
		if err != nil || got.Version != 2 || !got.UpdatedAt.Equal(c.UpdatedAt.Add(time.Minute)) || !got.CreatedAt.Equal(c.CreatedAt) || got.Language != "pt" {
			t.Errorf("got %+v, %v, want version 2, changed a minute later", got, err)
		}
		if again, err := edit(app.CitizenDraft{ID: ptr(string(c.ID)), ExternalRef: ptr("crm-1b"), Emails: []string{"ana@example.org"}, Language: ptr("pt")}); err != nil || again.Version != 2 {
			t.Errorf("a repeat: got version %d, %v, want 2", again.Version, err)
		}
		if kept, v := w.now("crm-1b"); kept.ID != c.ID || len(v.Permissions) != 1 || v.Permissions[0].Effective() != permission.Granted {
			t.Errorf("under the new reference: got %s with %+v, want %s and its permission", kept.ID, v.Permissions, c.ID)
		}
		_, err = w.store.CitizenByRef(w.ctx, w.app, "crm-1")
		wantFault(t, err, fault.NotFound, "not_found")
		_, err = edit(app.CitizenDraft{ExternalRef: ptr("crm-2")})
		wantFault(t, err, fault.Conflict, "external_ref_taken")
		_, err = edit(app.CitizenDraft{ID: ptr("ctz-other"), ExternalRef: ptr("crm-1b")})
		wantFault(t, err, fault.Invalid, "invalid_request")
		refused := errors.New("the face refuses")
		_, err = w.EditCitizen(w.ctx, w.app, c.ID, func(store.Citizen) (app.CitizenDraft, error) { return app.CitizenDraft{}, refused })
		if !errors.Is(err, refused) {
			t.Errorf("got %v, want %v", err, refused)
		}
		other, _, _ := w.application("Another bank")
		_, err = w.EditCitizen(w.ctx, other, c.ID, func(store.Citizen) (app.CitizenDraft, error) {
			t.Error("another application's citizen was shown")
			return app.CitizenDraft{}, nil
		})
		wantFault(t, err, fault.NotFound, "not_found")
	})
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.configure()
		made, err := w.CreateCitizen(w.ctx, w.app, app.CitizenDraft{ExternalRef: ptr("crm-1")})
		if err != nil {
			t.Fatal(err)
		}
		t0 := time.Now().UTC()
		at := func(d time.Duration) string {
			t.Helper()
			_, v, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: made.ID}, t0.Add(d))
			if err != nil {
				t.Fatal(err)
			}
			out := []string{}
			for _, p := range v.Permissions {
				out = append(out, string(p.Option)+"="+string(p.Effective()))
			}
			return strings.Join(out, " ")
		}
		time.Sleep(time.Hour)
		c := change(mailing, permission.Granted)
		c.ValidUntil = ptr(t0.Add(3 * time.Hour))
		w.record(by("crm-1", c))
		time.Sleep(time.Hour)
		late := change(mailing, permission.Denied) // of before the grant: it counts once that lapses
		late.ObtainedAt = ptr(t0.Add(30 * time.Minute))
		w.record(by("crm-1", late))
		time.Sleep(8 * time.Hour)
		for i := range 2 { // before and after the lapse was told
			for d, want := range map[time.Duration]string{
				-time.Hour: "", 0: "", time.Hour - time.Millisecond: "", time.Hour: mailing + "=GRANTED",
				2 * time.Hour: mailing + "=GRANTED", 3*time.Hour - time.Millisecond: mailing + "=GRANTED",
				3 * time.Hour: mailing + "=DENIED", 10 * time.Hour: mailing + "=DENIED",
				10*time.Hour + permission.MaxAhead: mailing + "=DENIED",
			} {
				if got := at(d); got != want {
					t.Errorf("pass %d, after %s: got %q, want %q", i, d, got, want)
				}
			}
			if _, err := w.AdvanceDue(w.ctx); err != nil {
				t.Fatal(err)
			}
		}

		// What is ahead has not happened yet, however far clocks differ.
		c.ValidUntil = ptr(time.Now().Add(time.Minute))
		w.record(by("crm-1", c))
		calls := w.store.Calls()["Past"]
		if got := at(10*time.Hour + permission.MaxAhead); got != mailing+"=GRANTED" {
			t.Errorf("before the end: got %q, want it granted", got)
		}
		if got := at(10 * time.Hour); got != mailing+"=GRANTED" {
			t.Errorf("when it was recorded: got %q, want it granted", got)
		}
		if n := w.store.Calls()["Past"] - calls; n != 0 {
			t.Errorf("the past was read %d times for a state that is the present one, want 0", n)
		}

		refused := []struct {
			name string
			key  app.CitizenKey
			at   time.Time
			kind fault.Kind
			code string
		}{
			{"nobody is named", app.CitizenKey{}, time.Time{}, fault.Invalid, "required"},
			{"two citizens", app.CitizenKey{ID: made.ID, ExternalRef: "crm-2"}, time.Time{}, fault.Invalid, "mismatch"},
			{"an unknown reference", app.CitizenKey{ExternalRef: "crm-2"}, time.Time{}, fault.NotFound, "not_found"},
			{"an unknown ID", app.CitizenKey{ID: "ctz_nobody"}, time.Time{}, fault.NotFound, "not_found"},
			{"the future", app.CitizenKey{ID: made.ID}, time.Now().Add(permission.MaxAhead + time.Millisecond), fault.Invalid, "in_the_future"},
		}
		for _, r := range refused {
			_, _, err := w.Permissions(w.ctx, w.app, r.key, r.at)
			if fault.KindOf(err) != r.kind || fault.CodeOf(err) != r.code {
				t.Errorf("%s: got %v, want %s", r.name, err, r.code)
			}
		}
		if got, _, err := w.Permissions(w.ctx, w.app, app.CitizenKey{ID: made.ID, ExternalRef: "crm-1"}, time.Time{}); err != nil || got.ID != made.ID {
			t.Errorf("by both names: got %s, %v, want %s", got.ID, err, made.ID)
		}
	})
}
