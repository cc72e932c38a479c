package app_test

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
)

func TestCreateApplication_names(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		give string
		code string
	}{
		{"none", "", "required"},
		{"blanks only", " \t ", "required"},
		{"a hundred characters", strings.Repeat("é", 100), ""},
		{"one more", strings.Repeat("é", 101), "too_long"},
		{"a line break", "a\nb", "invalid_character"},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ap, cred, sec, err := w.CreateApplication(w.ctx, tt.give)
			if tt.code != "" {
				wantFault(t, err, fault.Invalid, tt.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ap.ID == "" || cred.ClientID == "" || cred.Application != ap.ID || !cred.Opens(sec.Reveal()) {
				t.Errorf("got application %+v with credential %+v, want a secret that opens it", ap, cred)
			}
		})
	}
}

func TestRenameApplication(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		before, err := w.store.Application(w.ctx, w.app)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got, err := w.RenameApplication(w.ctx, w.app, nil); err != nil || got != before {
			t.Errorf("no name: got %+v, %v, want %+v", got, err, before)
		}
		fresh := "Credit union"
		got, err := w.RenameApplication(w.ctx, w.app, &fresh)
		if err != nil || got.Name != fresh || !got.UpdatedAt.Equal(before.UpdatedAt.Add(time.Minute)) || !got.CreatedAt.Equal(before.CreatedAt) {
			t.Errorf("got %+v, %v, want the new name a minute later", got, err)
		}
		_, err = w.RenameApplication(w.ctx, "app_nobody", &fresh)
		if fault.KindOf(err) != fault.NotFound {
			t.Errorf("an unknown application: got %v, want not found", err)
		}
	})
}

func TestIssueToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bearer, err := w.IssueToken(w.ctx, w.cred.ClientID, w.sec.Reveal(), "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		want := access.Caller{Application: w.app, ClientID: w.cred.ClientID}
		time.Sleep(access.TokenLife - time.Millisecond)
		if got, err := w.Authenticate(w.ctx, bearer.Reveal()); err != nil || got != want {
			t.Errorf("a millisecond before its end: got %+v, %v, want %+v", got, err, want)
		}
		for _, forged := range []string{"", "cwt_", bearer.Reveal() + "x", strings.ToUpper(bearer.Reveal()), w.sec.Reveal()} {
			_, err := w.Authenticate(w.ctx, forged)
			wantFault(t, err, fault.Unauthenticated, "invalid_token")
		}
		time.Sleep(time.Millisecond)
		_, err = w.Authenticate(w.ctx, bearer.Reveal())
		wantFault(t, err, fault.Unauthenticated, "invalid_token")
	})
}

func TestIssueToken_tellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, wrongSecret := w.IssueToken(w.ctx, w.cred.ClientID, "wrong", "192.0.2.1")
	_, unknownClient := w.IssueToken(w.ctx, "cli_nobody", "wrong", "192.0.2.2")
	wantFault(t, wrongSecret, fault.Unauthenticated, "invalid_client")
	if wrongSecret == nil || unknownClient == nil || wrongSecret.Error() != unknownClient.Error() {
		t.Errorf("got %v and %v, want the same words", wrongSecret, unknownClient)
	}
	// A store that cannot look is no wrong secret.
	w.store.FailAt("Credential", 1, false)
	if _, err := w.IssueToken(w.ctx, w.cred.ClientID, w.sec.Reveal(), "192.0.2.1"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v from a store that fails, want unavailable", err)
	}
	w.store.FailAt("AccessToken", 1, false)
	if _, err := w.Authenticate(w.ctx, "cwt_any"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v from a store that fails, want unavailable", err)
	}
}

func TestIssueToken_throttling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const addr, elsewhere = "192.0.2.1", "192.0.2.2"
		wrong := func(client, addr string) error {
			_, err := w.IssueToken(w.ctx, client, "wrong", addr)
			return err
		}
		right := func(addr string) error {
			_, err := w.IssueToken(w.ctx, w.cred.ClientID, w.sec.Reveal(), addr)
			return err
		}
		for range 50 {
			wantNone(t, right(addr)) // nobody is slowed by being right
		}
		for range 10 {
			wantFault(t, wrong(w.cred.ClientID, addr), fault.Unauthenticated, "invalid_client")
		}
		err := right(addr)
		wantFault(t, err, fault.TooMany, "slow_down")
		if f, ok := err.(*fault.Error); !ok || f.RetryAfter <= 0 || f.RetryAfter > time.Second {
			t.Errorf("got %v, want to wait up to a second", err)
		}
		wantNone(t, right(elsewhere)) // a guesser locks nobody else out
		time.Sleep(time.Second)
		wantFault(t, wrong(w.cred.ClientID, addr), fault.Unauthenticated, "invalid_client")
		wantFault(t, wrong(w.cred.ClientID, addr), fault.TooMany, "slow_down")

		// An address that tries many clients is slowed as a whole.
		time.Sleep(time.Hour)
		for i := range 100 {
			wantFault(t, wrong("cli_"+strconv.Itoa(i), addr), fault.Unauthenticated, "invalid_client")
		}
		wantFault(t, right(addr), fault.TooMany, "slow_down")
		time.Sleep(100 * time.Millisecond)
		wantNone(t, right(addr))
	})
}

func TestAuthenticate_operator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.Authenticate(w.ctx, operator.Reveal())
	if err != nil || got != (access.Caller{Operator: true}) {
		t.Errorf("got %+v, %v, want the operator", got, err)
	}
}

func TestRemoveCredential_revokes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second, sec, err := w.AddCredential(w.ctx, w.app)
	if err != nil {
		t.Fatal(err)
	}
	token := func(client string, s secret.Value) string {
		t.Helper()
		b, err := w.IssueToken(w.ctx, client, s.Reveal(), "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		return b.Reveal()
	}
	t1, t2 := token(w.cred.ClientID, w.sec), token(second.ClientID, sec)

	other, _, _ := w.application("Another bank")
	if err := w.RemoveCredential(w.ctx, other, w.cred.ClientID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another application's credential: got %v, want not found", err)
	}
	if err := w.RemoveCredential(w.ctx, w.app, w.cred.ClientID); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(w.ctx, t1)
	wantFault(t, err, fault.Unauthenticated, "invalid_token")
	_, err = w.IssueToken(w.ctx, w.cred.ClientID, w.sec.Reveal(), "192.0.2.1")
	wantFault(t, err, fault.Unauthenticated, "invalid_client")
	if got, err := w.Authenticate(w.ctx, t2); err != nil || got.ClientID != second.ClientID {
		t.Errorf("the other credential's token: got %+v, %v, want it to work on", got, err)
	}
	if err := w.RemoveCredential(w.ctx, w.app, w.cred.ClientID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a second removal: got %v, want not found", err)
	}
	if _, _, err := w.AddCredential(w.ctx, "app_nobody"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown application: got %v, want not found", err)
	}
}

func TestDeleteApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, cred, sec := w.application("Another bank")
	bearer, err := w.IssueToken(w.ctx, cred.ClientID, sec.Reveal(), "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	c := w.create(request())
	if err := w.DeleteApplication(w.ctx, other); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(w.ctx, bearer.Reveal())
	wantFault(t, err, fault.Unauthenticated, "invalid_token")
	if err := w.DeleteApplication(w.ctx, other); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a second deletion: got %v, want not found", err)
	}
	if _, err := w.Consent(w.ctx, w.app, string(c.ID)); err != nil {
		t.Errorf("the other application lost its consent: %v", err)
	}
}
