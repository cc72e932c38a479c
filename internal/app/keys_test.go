package app_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/storetest"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

// signedTwice is a subscription that asks for v1a beside v1.
func signedTwice() subscription.Endpoint {
	e := operations()
	e.Asymmetric = true
	return e
}

func (w *world) keyPairs() []subscription.SigningKey {
	w.t.Helper()
	keys, err := w.store.SigningKeys(w.ctx, w.app)
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// edit changes an endpoint.
func (w *world) edit(e subscription.Endpoint, change func(*subscription.Endpoint)) subscription.Endpoint {
	w.t.Helper()
	got, err := w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
		change(&cur)
		return app.Edit{Endpoint: cur}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func TestCreateEndpoint_makesTheFirstKeyPair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(operations())
	if n := len(w.keyPairs()); n != 0 {
		t.Fatalf("nobody asks for v1a: got %d key pairs, want none", n)
	}
	e := w.register(signedTwice())
	keys := w.keyPairs()
	if len(keys) != 1 || !keys[0].ExpiresAt.IsZero() || !keys[0].CreatedAt.Equal(e.CreatedAt) {
		t.Fatalf("got %+v, want one current pair of %s", keys, e.CreatedAt)
	}
	private, err := signature.ParsePrivateKey(keys[0].PrivateKey.Reveal())
	if err != nil || private.Public().Text() != keys[0].PublicKey {
		t.Errorf("got a private key (%v) that is not of %s", err, keys[0].PublicKey)
	}
	w.register(signedTwice())
	if n := len(w.keyPairs()); n != 1 {
		t.Errorf("a second endpoint: got %d key pairs, want the one", n)
	}
	kept, err := w.store.Endpoint(w.ctx, w.app, e.Style, e.ID)
	if err != nil || !kept.Asymmetric || len(kept.SigningKeys) != 1 || kept.SigningKeys[0].ID != keys[0].ID {
		t.Errorf("read back: got %+v (%v), want the endpoint with the pair", kept.SigningKeys, err)
	}
}

func TestEditEndpoint_makesTheFirstKeyPair(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		e := w.register(operations())
		edit := func() error {
			_, err := w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
				cur.Asymmetric = true
				return app.Edit{Endpoint: cur}, nil
			})
			return err
		}
		w.store.FailAt("Update", 1, after)
		wantFault(t, edit(), fault.Unavailable, storetest.Injected)
		// Together: the pair and the wish for it, or neither.
		kept, err := w.store.Endpoint(w.ctx, w.app, e.Style, e.ID)
		if err != nil || kept.Asymmetric != after || len(w.keyPairs()) != map[bool]int{false: 0, true: 1}[after] {
			t.Errorf("a commit that took effect (%t): got v1a: %t, %d pairs, %v", after, kept.Asymmetric, len(w.keyPairs()), err)
		}
		wantNone(t, edit())
		if n := len(w.keyPairs()); n != 1 {
			t.Errorf("after the repeat: got %d pairs, want 1", n)
		}
	}
}

func TestRotateSigningKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.RunTwice()
		first, err := w.RotateSigningKey(w.ctx, w.app)
		if err != nil || len(first) != 1 || !first[0].ExpiresAt.IsZero() {
			t.Fatalf("the first: got %+v, %v, want one current pair", first, err)
		}
		time.Sleep(time.Hour)
		second, err := w.RotateSigningKey(w.ctx, w.app)
		if err != nil || len(second) != 2 || second[0].ID == first[0].ID || second[1].ID != first[0].ID {
			t.Fatalf("the second: got %+v, %v, want a new pair before the first", second, err)
		}
		if got, want := second[1].ExpiresAt.Sub(second[0].CreatedAt), subscription.RotationOverlap; got != want {
			t.Errorf("the former one signs for %s, want %s", got, want)
		}
		if second[1].PublicKey != first[0].PublicKey || second[1].PrivateKey != first[0].PrivateKey || second[0].PublicKey == first[0].PublicKey {
			t.Error("the former pair changed, or the new one is not new")
		}
		kept := w.keyPairs()
		if len(kept) != 2 || kept[0].ID != second[0].ID || !kept[1].ExpiresAt.Equal(second[1].ExpiresAt) {
			t.Errorf("read back: got %+v, want %+v", kept, second)
		}
		w.register(signedTwice())
		if n := len(w.keyPairs()); n != 2 {
			t.Errorf("there is a current one: got %d pairs, want 2", n)
		}
		time.Sleep(subscription.RotationOverlap)
		third, err := w.RotateSigningKey(w.ctx, w.app)
		if err != nil || len(third) != 2 || third[1].ID != second[0].ID {
			t.Errorf("the third: got %+v, %v, want it and the second", third, err)
		}

		other, _, _ := w.application("Another bank")
		if keys, err := w.store.SigningKeys(w.ctx, other); err != nil || len(keys) != 0 {
			t.Errorf("another application: got %d pairs, %v, want none", len(keys), err)
		}
		_, err = w.RotateSigningKey(w.ctx, "app_nobody")
		if fault.KindOf(err) != fault.NotFound {
			t.Errorf("an unknown application: got %v, want not found", err)
		}
	})
}

// refreshing is a subscription whose token we renew.
func refreshing() subscription.Endpoint {
	e := operations()
	e.Auth = subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{
		RefreshToken: secret.New("r"), RefreshURL: "https://login.example/token", ClientID: "c", ClientSecret: secret.New("s"),
	}}
	return e
}

func TestEditEndpoint_forgetsATokenOfOtherCredentials(t *testing.T) {
	t.Parallel()
	type endpoint = subscription.Endpoint
	oauth := operations()
	oauth.Auth = subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{AuthenticationURL: "https://login.example/token", ClientID: "c", ClientSecret: secret.New("s")}}
	tests := []struct {
		name   string
		from   endpoint
		change func(*endpoint)
		kept   bool
	}{
		{"another name", refreshing(), func(e *endpoint) { e.Name = "renamed" }, true},
		{"another address", refreshing(), func(e *endpoint) { e.URL = "https://other.example/" }, true},
		{"paused", refreshing(), func(e *endpoint) { e.Status = subscription.Paused }, true},
		{"another refresh token", refreshing(), func(e *endpoint) { e.Auth.Bearer.RefreshToken = secret.New("r2") }, false},
		{"another secret of the client", refreshing(), func(e *endpoint) { e.Auth.Bearer.ClientSecret = secret.New("s2") }, true},
		{"another type", refreshing(), func(e *endpoint) { e.Auth = subscription.Auth{Type: subscription.AuthNone} }, false},
		{"client credentials, another name", oauth, func(e *endpoint) { e.Name = "renamed" }, true},
		{"client credentials, another secret", oauth, func(e *endpoint) { e.Auth.OAuth2.ClientSecret = secret.New("s2") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			e := w.register(tt.from)
			id := delivery.Endpoint(e.ID)
			late, err := w.store.Token(w.ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			late.Access, late.Refresh = secret.New("access"), secret.New("rotated")
			if err := w.store.SaveToken(w.ctx, id, late); err != nil {
				t.Fatal(err)
			}
			w.edit(e, tt.change)
			got, err := w.store.Token(w.ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if got.Refresh.IsSet() != tt.kept || got.Access.IsSet() != tt.kept {
				t.Errorf("got a token: %t, want %t", got.Refresh.IsSet(), tt.kept)
			}
			// A token that was asked for with the former credentials comes late.
			late.Generation++
			err = w.store.SaveToken(w.ctx, id, late)
			if tt.kept {
				wantNone(t, err)
			} else {
				wantFault(t, err, fault.Conflict, "token_changed")
			}
		})
	}
}

func TestEditEndpoint_forgetsTogether(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		e := w.register(refreshing())
		id := delivery.Endpoint(e.ID)
		if err := w.store.SaveToken(w.ctx, id, subscription.Token{Access: secret.New("access")}); err != nil {
			t.Fatal(err)
		}
		w.store.FailAt("Update", 1, after)
		_, err := w.EditEndpoint(w.ctx, w.app, e.Style, e.ID, func(cur subscription.Endpoint) (app.Edit, error) {
			cur.Auth.Bearer.RefreshToken = secret.New("r2")
			return app.Edit{Endpoint: cur}, nil
		})
		wantFault(t, err, fault.Unavailable, storetest.Injected)
		kept, err := w.store.Endpoint(w.ctx, w.app, e.Style, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := w.store.Token(w.ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := kept.Auth.Bearer.RefreshToken.Reveal() == "r2", after; got != want || tok.Access.IsSet() == after {
			t.Errorf("a commit that took effect (%t): got the new credentials: %t, the former token: %t", after, got, tok.Access.IsSet())
		}
	}
}

// master is a source of keys.
type master struct {
	calls atomic.Int32
	wait  chan struct{} // nil: it answers at once
	err   error
}

func (m *master) Renew(context.Context) (string, error) {
	n := m.calls.Add(1)
	if m.wait != nil {
		<-m.wait
	}
	return "key-" + string('0'+rune(n)), m.err
}

func TestRotateKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(refreshing())
	_, err := w.RotateKeys(w.ctx)
	wantFault(t, err, fault.Unavailable, "keys_not_managed")

	m := &master{}
	a := app.New(app.Options{Store: w.store, Policy: ttls, Operator: operator, Keys: m})
	// The ring stays as it is, so there is nothing to seal anew.
	if got, err := a.RotateKeys(w.ctx); err != nil || got != (app.KeyReport{KeyID: "key-1"}) {
		t.Errorf("got %+v, %v, want key-1 and no records", got, err)
	}
	if err := w.keys.Replace(secret.New(secret.RandomStd(32))); err != nil {
		t.Fatal(err)
	}
	got, err := a.RotateKeys(w.ctx)
	if err != nil || got.KeyID != "key-2" || got.Records == 0 {
		t.Errorf("got %+v, %v, want key-2 and some records", got, err)
	}
	if again, err := a.RotateKeys(w.ctx); err != nil || again.Records != 0 {
		t.Errorf("again: got %+v, %v, want no records left", again, err)
	}

	m.err = errors.New("the source is gone")
	calls := w.store.Calls()["Rewrap"]
	if _, err := a.RotateKeys(w.ctx); !errors.Is(err, m.err) {
		t.Errorf("got %v, want %v", err, m.err)
	}
	if got := w.store.Calls()["Rewrap"]; got != calls {
		t.Error("without a new key everything was sealed anew")
	}
	m.err = nil
	w.store.FailAt("Rewrap", 1, false)
	_, err = a.RotateKeys(w.ctx)
	wantFault(t, err, fault.Unavailable, storetest.Injected)
	_, err = a.RotateKeys(w.ctx) // the lock was given up
	wantNone(t, err)
}

func TestRotateKeys_twoAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := &master{wait: make(chan struct{})}
		a := app.New(app.Options{Store: w.store, Policy: ttls, Operator: operator, Keys: m})
		done := make(chan error)
		go func() {
			_, err := a.RotateKeys(w.ctx)
			done <- err
		}()
		synctest.Wait()
		_, err := a.RotateKeys(w.ctx)
		wantFault(t, err, fault.Conflict, "rotation_running")
		close(m.wait)
		wantNone(t, <-done)
		_, err = a.RotateKeys(w.ctx)
		wantNone(t, err)
		if n := m.calls.Load(); n != 2 {
			t.Errorf("got %d renewals, want 2", n)
		}
	})
}
