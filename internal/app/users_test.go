package app_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
)

const goodPassword = "correct horse battery"

func TestSession_ends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		signIn := func() [32]byte {
			t.Helper()
			c, err := w.OpenSession(w.ctx, app.Visitor{Application: w.app, Role: access.Viewer})
			if err != nil {
				t.Fatal(err)
			}
			return access.HashSession(c.Reveal())
		}
		idle, busy := signIn(), signIn()
		lives := func(h [32]byte, seen bool) bool {
			_, err := w.Session(w.ctx, h, seen)
			if err != nil && fault.KindOf(err) != fault.NotFound {
				t.Fatal(err)
			}
			return err == nil
		}
		for i := range 24 { // 12 hours of pages, each just in time
			time.Sleep(access.SessionIdle - time.Second)
			if !lives(busy, true) {
				t.Fatalf("page %d: a session in use ended", i)
			}
			if i > 0 && lives(idle, true) {
				t.Fatal("a session without pages went on")
			}
		}
		time.Sleep(24*time.Second - time.Millisecond)
		if !lives(busy, true) {
			t.Error("just before 12 hours: got no session")
		}
		time.Sleep(time.Millisecond)
		if lives(busy, true) {
			t.Error("at 12 hours: got a session")
		}

		watched := signIn()
		for range 3 { // a page that is left open
			time.Sleep(access.SessionIdle/3 - time.Millisecond)
			if !lives(watched, false) {
				t.Fatal("it ended early")
			}
		}
		time.Sleep(3 * time.Millisecond)
		if lives(watched, false) {
			t.Error("after 30 minutes without a page: got a session")
		}
		gone := signIn()
		for range 2 {
			if err := w.CloseSession(w.ctx, gone); err != nil {
				t.Fatal(err)
			}
		}
		if lives(gone, true) {
			t.Error("signed out: got a session")
		}
	})
}

func TestSession_passesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.OpenSession(w.ctx, app.Visitor{Name: "Operator", Role: access.Operator})
	if err != nil {
		t.Fatal(err)
	}
	h := access.HashSession(c.Reveal())
	if err := w.ShowApplication(w.ctx, h, "app_none"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown application: got %v, want not found", err)
	}
	if err := w.ShowApplication(w.ctx, h, w.app); err != nil {
		t.Fatal(err)
	}
	s, err := w.Session(w.ctx, h, true)
	if err != nil || s.Application != w.app || s.Role != access.Operator || s.Name != "Operator" || !s.Forms(s.Token) || s.Forms("") {
		t.Errorf("got %+v, %v, want the application shown", s, err)
	}
}

func TestInvite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, tt := range []struct {
			name, email string
			app         access.ID
			role        access.Role
			field       string
		}{
			{"no address", "ana", w.app, access.Viewer, "email"},
			{"a blank", "a na@example.org", w.app, access.Viewer, "email"},
			{"no such role", "ana@example.org", w.app, "king", "role"},
			{"an operator of one application", "ana@example.org", w.app, access.Operator, "role"},
			{"a viewer of none", "ana@example.org", "", access.Viewer, "role"},
		} {
			_, err := w.Invite(w.ctx, tt.app, tt.email, tt.role)
			if f := wantFields(t, err); len(f) != 1 || f[0].Path != tt.field {
				t.Errorf("%s: got %v, want a fault at %s", tt.name, f, tt.field)
			}
		}
		sec, err := w.Invite(w.ctx, w.app, " Ana@Example.org ", access.PrivacyOfficer)
		if err != nil {
			t.Fatal(err)
		}
		if i, err := w.Invited(w.ctx, sec.Reveal()); err != nil || i.Email != "ana@example.org" || i.Role != access.PrivacyOfficer {
			t.Errorf("got %+v, %v", i, err)
		}
		_, err = w.Join(w.ctx, sec.Reveal(), " ", "short")
		if f := wantFields(t, err); len(f) != 2 {
			t.Errorf("got %v, want faults at name and password", f)
		}
		u, err := w.Join(w.ctx, sec.Reveal(), "Ana", goodPassword)
		if err != nil || u.Application != w.app || u.Role != access.PrivacyOfficer {
			t.Fatalf("got %+v, %v", u, err)
		}
		if _, err := w.Join(w.ctx, sec.Reveal(), "Eve", goodPassword); fault.KindOf(err) != fault.NotFound {
			t.Errorf("again: got %v, want it used up", err)
		}
		if _, err := w.Invite(w.ctx, "", "ana@example.org", access.Operator); fault.CodeOf(err) != "email_taken" {
			t.Errorf("somebody who is a user: got %v, want email_taken", err)
		}
		late, err := w.Invite(w.ctx, "", "rui@example.org", access.Operator)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(access.InvitationLife)
		if _, err := w.Join(w.ctx, late.Reveal(), "Rui", goodPassword); fault.KindOf(err) != fault.NotFound {
			t.Errorf("after seven days: got %v, want not found", err)
		}
	})
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sec, err := w.Invite(w.ctx, w.app, "ana@example.org", access.Developer)
	if err != nil {
		t.Fatal(err)
	}
	u, err := w.Join(w.ctx, sec.Reveal(), "Ana", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	const addr = "192.0.2.1"
	if got, err := w.SignIn(w.ctx, "ANA@example.org", goodPassword, addr); err != nil || got.ID != u.ID {
		t.Errorf("got %+v, %v, want the user", got, err)
	}
	for _, give := range [][2]string{{"ana@example.org", goodPassword + " "}, {"eve@example.org", goodPassword}, {"", ""}} {
		_, err := w.SignIn(w.ctx, give[0], give[1], addr)
		wantFault(t, err, fault.Unauthenticated, "invalid_password")
	}
	for range 20 {
		_, err = w.SignIn(w.ctx, "ana@example.org", "wrong", addr)
	}
	wantFault(t, err, fault.TooMany, "slow_down")
	if _, err := w.SignIn(w.ctx, "ana@example.org", goodPassword, "192.0.2.2"); err != nil {
		t.Errorf("from elsewhere: got %v, want it to work", err)
	}

	c, err := w.OpenSession(w.ctx, app.Visitor{User: u.ID, Application: w.app, Role: u.Role})
	if err != nil {
		t.Fatal(err)
	}
	other, _, _, err := w.CreateApplication(w.ctx, "Other")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveUser(w.ctx, other.ID, u.ID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("as another application: got %v, want not found", err)
	}
	if err := w.RemoveUser(w.ctx, w.app, u.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(w.ctx, access.HashSession(c.Reveal()), true); fault.KindOf(err) != fault.NotFound {
		t.Errorf("the session of a removed user: got %v, want none", err)
	}
	_, err = w.SignIn(w.ctx, "ana@example.org", goodPassword, "192.0.2.3")
	wantFault(t, err, fault.Unauthenticated, "invalid_password")

	if err := w.SignInOperator(operator.Reveal(), addr); err != nil {
		t.Errorf("the operator: got %v", err)
	}
	for range 20 {
		err = w.SignInOperator("wrong", addr)
	}
	wantFault(t, err, fault.TooMany, "slow_down")
}

// wantFields returns the fields of an error that must be Invalid.
func wantFields(t *testing.T, err error) []fault.Field {
	t.Helper()
	e, ok := err.(*fault.Error)
	if !ok || e.Kind != fault.Invalid {
		t.Fatalf("got %v, want it invalid", err)
	}
	return e.Fields
}
