package app_test

import (
	"slices"
	"testing"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

func TestPutOption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, err := w.PutOption(w.ctx, w.app, "", permission.OptionDraft{DataID: ptr("email"), PurposeID: ptr("news"), PartyID: ptr("us")})
	if err != nil || made.ID == "" {
		t.Fatalf("got %+v, %v, want an option with an ID of ours", made, err)
	}
	changed, err := w.PutOption(w.ctx, w.app, made.ID, permission.OptionDraft{Name: ptr("News"), DataID: ptr("email"), PurposeID: ptr("news"), PartyID: ptr("them")})
	if err != nil || changed.ID != made.ID || changed.Name != "News" || changed.PartyID != "them" {
		t.Errorf("got %+v, %v, want the same option changed", changed, err)
	}
	if kept, err := w.catalogue().Option(made.ID); err != nil || kept != changed {
		t.Errorf("read back: got %+v, %v, want %+v", kept, err, changed)
	}
	_, err = w.PutOption(w.ctx, w.app, "", optionDraft(string(made.ID)))
	wantFault(t, err, fault.Conflict, "reference_taken")
	_, err = w.PutOption(w.ctx, w.app, "opt-nothing", optionDraft("opt-nothing"))
	wantFault(t, err, fault.NotFound, "not_found")
	_, err = w.PutOption(w.ctx, w.app, "", permission.OptionDraft{})
	wantFault(t, err, fault.Invalid, "invalid_request")
	other, _, _ := w.application("Another bank")
	_, err = w.PutOption(w.ctx, other, made.ID, optionDraft(string(made.ID)))
	wantFault(t, err, fault.NotFound, "not_found")
	if _, err := w.PutOption(w.ctx, other, "", optionDraft(string(made.ID))); err != nil {
		t.Errorf("another application's option of the same ID: got %v, want it made", err)
	}
}

func TestPutPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parts := func(kind permission.Kind) []permission.Part {
		t.Helper()
		ps, err := w.store.Parts(w.ctx, w.app, kind)
		if err != nil {
			t.Fatal(err)
		}
		return ps
	}
	named, err := w.PutPart(w.ctx, w.app, permission.Data, permission.PartDraft{ID: ptr("email"), Name: ptr("E-mail address")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutOption(w.ctx, w.app, "", optionDraft(mailing)); err != nil {
		t.Fatal(err)
	}
	if got, want := parts(permission.Data), []permission.Part{named}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: an option renames nothing", got, want)
	}
	if got, want := parts(permission.Purpose), []permission.Part{{Kind: permission.Purpose, ID: "news", Name: "news"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v, made on first use", got, want)
	}
	if _, err := w.PutPart(w.ctx, w.app, permission.Purpose, permission.PartDraft{ID: ptr("news"), Name: ptr("Newsletter")}); err != nil {
		t.Fatal(err)
	}
	if got, want := parts(permission.Purpose), []permission.Part{{Kind: permission.Purpose, ID: "news", Name: "Newsletter"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ours, err := w.PutPart(w.ctx, w.app, permission.Party, permission.PartDraft{Name: ptr("Them")})
	if err != nil || ours.ID == "" || !slices.Contains(parts(permission.Party), ours) {
		t.Errorf("got %+v, %v, want a part with an ID of ours", ours, err)
	}
	_, err = w.PutPart(w.ctx, w.app, permission.Party, permission.PartDraft{})
	wantFault(t, err, fault.Invalid, "invalid_request")
}

func TestPutConfiguration_namesAndVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	s := w.catalogue().Statements()[0]
	again, err := w.PutStatement(w.ctx, w.app, s.ID, statementDraft("ask", "May we please?"))
	if err != nil || again.Version != 2 || again.ID != s.ID {
		t.Errorf("got %+v, %v, want version 2 of %s", again, err, s.ID)
	}
	if same, err := w.PutStatement(w.ctx, w.app, s.ID, statementDraft("ask", "May we please?")); err != nil || same.Version != 2 {
		t.Errorf("the same text: got version %d, %v, want 2", same.Version, err)
	}
	if all, err := w.store.StatementVersions(w.ctx, w.app, s.ID); err != nil || len(all) != 2 || all[0].Text != s.Text || all[1].Text != "May we please?" {
		t.Errorf("got the versions %+v, %v, want both texts", all, err)
	}
	p := w.catalogue().Policies()[0]
	if next, err := w.PutPolicy(w.ctx, w.app, p.ID, permission.PolicyDraft{URL: ptr("https://example.org/privacy")}); err != nil || next.Version != 2 {
		t.Errorf("got %+v, %v, want version 2 of the policy", next, err)
	}
	if g, err := w.PutGroup(w.ctx, w.app, contact, permission.GroupDraft{Options: []string{research}}); err != nil || !slices.Equal(g.Options, []permission.OptionID{research}) {
		t.Errorf("got %+v, %v, want the group of %s alone", g, err, research)
	}
	if l, err := w.PutPreference(w.ctx, w.app, "topics", preferenceDraft("topics")); err != nil || l.Reference != "topics" {
		t.Errorf("got %+v, %v, want the preference as it was", l, err)
	}

	for name, put := range map[string]func() error{
		"group": func() error {
			_, err := w.PutGroup(w.ctx, w.app, "", permission.GroupDraft{ID: ptr(contact), Options: []string{mailing}})
			return err
		},
		"preference": func() error { _, err := w.PutPreference(w.ctx, w.app, "", preferenceDraft("topics")); return err },
		"statement": func() error {
			_, err := w.PutStatement(w.ctx, w.app, "", statementDraft("ask", "Another text"))
			return err
		},
		"policy": func() error {
			_, err := w.PutPolicy(w.ctx, w.app, "", permission.PolicyDraft{Reference: ptr("privacy")})
			return err
		},
	} {
		if err := put(); fault.KindOf(err) != fault.Conflict || fault.CodeOf(err) != "reference_taken" {
			t.Errorf("a second %s of that name: got %v, want reference_taken", name, err)
		}
	}
	for name, put := range map[string]func() error{
		"group": func() error {
			_, err := w.PutGroup(w.ctx, w.app, "nothing", permission.GroupDraft{Options: []string{mailing}})
			return err
		},
		"preference": func() error {
			_, err := w.PutPreference(w.ctx, w.app, "nothing", preferenceDraft("nothing"))
			return err
		},
		"statement": func() error {
			_, err := w.PutStatement(w.ctx, w.app, "stm_nothing", statementDraft("x", "y"))
			return err
		},
		"policy": func() error {
			_, err := w.PutPolicy(w.ctx, w.app, "pol_nothing", permission.PolicyDraft{Reference: ptr("x")})
			return err
		},
	} {
		if err := put(); fault.KindOf(err) != fault.NotFound {
			t.Errorf("a %s that does not exist: got %v, want not found", name, err)
		}
	}
}

// TestRemoveConfiguration: what a transaction refers to is archived, and only
// what none refers to goes.
func TestRemoveConfiguration(t *testing.T) {
	t.Parallel()
	// parts names one thing of each kind; used tells whether it is referred to.
	parts := func(w *world) map[string]string {
		c := w.catalogue()
		return map[string]string{
			store.Option: mailing, store.Group: contact, store.Preference: "topics",
			store.Statement: string(c.Statements()[0].ID), store.Policy: string(c.Policies()[0].ID),
		}
	}
	left := func(w *world) int {
		c := w.catalogue()
		return len(c.Options()) + len(c.Groups()) + len(c.Preferences()) + len(c.Statements()) + len(c.Policies())
	}

	t.Run("referred to", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.configure()
		both := change(contact, permission.Granted)
		both.OptionType = ptr(permission.TypeGroup)
		r := by("crm-1", both)
		r.PolicyRef, r.StatementRef = ptr("privacy"), ptr("ask")
		r.Preferences = []permission.ChoiceDraft{{Preference: ptr("topics"), Choices: []permission.PickDraft{}}}
		w.record(r)
		before := left(w)
		for kind, ref := range parts(w) {
			for range 2 { // a repeat changes nothing
				if archived, err := w.RemoveConfiguration(w.ctx, w.app, kind, ref); err != nil || !archived {
					t.Errorf("%s: got archived %t, %v, want it archived", kind, archived, err)
				}
			}
		}
		if n := left(w); n != before {
			t.Errorf("got %d things left, want all %d", n, before)
		}
		_, err := w.try(r)
		wantFault(t, err, fault.Invalid, "invalid_request")
		for kind, ref := range parts(w) {
			wantNone(t, w.RestoreConfiguration(w.ctx, w.app, kind, ref))
		}
		if _, err := w.try(r); err != nil {
			t.Errorf("restored: got %v, want it recorded", err)
		}
	})

	t.Run("referred to by nothing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.configure()
		names := parts(w)
		other, _, _ := w.application("Another bank")
		for _, kind := range []string{store.Group, store.Option, store.Preference, store.Statement, store.Policy} {
			_, err := w.RemoveConfiguration(w.ctx, other, kind, names[kind])
			wantFault(t, err, fault.NotFound, "not_found")
			if archived, err := w.RemoveConfiguration(w.ctx, w.app, kind, names[kind]); err != nil || archived {
				t.Errorf("%s: got archived %t, %v, want it deleted", kind, archived, err)
			}
			_, err = w.RemoveConfiguration(w.ctx, w.app, kind, names[kind])
			wantFault(t, err, fault.NotFound, "not_found")
			wantFault(t, w.RestoreConfiguration(w.ctx, w.app, kind, names[kind]), fault.NotFound, "not_found")
		}
		if n := left(w); n != 2 { // phoning and research
			t.Errorf("got %d things left, want 2", n)
		}
		_, err := w.RemoveConfiguration(w.ctx, w.app, "planet", mailing)
		wantFault(t, err, fault.NotFound, "not_found")
	})

	t.Run("an option in a group", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.configure()
		if archived, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, mailing); err != nil || !archived {
			t.Errorf("got archived %t, %v, want it archived as long as the group holds it", archived, err)
		}
		if _, err := w.RemoveConfiguration(w.ctx, w.app, store.Group, contact); err != nil {
			t.Fatal(err)
		}
		if archived, err := w.RemoveConfiguration(w.ctx, w.app, store.Option, mailing); err != nil || archived {
			t.Errorf("without the group: got archived %t, %v, want it deleted", archived, err)
		}
	})
}
