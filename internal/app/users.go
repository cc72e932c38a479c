package app

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
)

// sessionSeen is how old the instant at which a session was seen last may be
// before it is written again. Ours: a write for each page would be one too many.
const sessionSeen = time.Minute

// SignIn tells which user of the portal has an address and a password. addr is
// the caller's address without its port.
//
// Errors: fault.Unauthenticated "invalid_password" when the pair is wrong, told
// in the same words and after the same work whether the user exists or not;
// fault.TooMany "slow_down" as of IssueToken.
func (a *App) SignIn(ctx context.Context, email, password, addr string) (access.User, error) {
	at, email := now(), access.NormalEmail(email)
	if wait := a.throttle.check(at, email, addr); wait > 0 {
		return access.User{}, tooManyTries(wait)
	}
	u, err := a.store.UserByEmail(ctx, email)
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return access.User{}, err
	}
	// An unknown user costs the same work as a known one.
	if !secret.PasswordFits(u.Password, password) || err != nil {
		a.throttle.failed(at, email, addr)
		return access.User{}, fault.New(fault.Unauthenticated, "invalid_password", "The address or the password is wrong.")
	}
	return u, nil
}

// SignInOperator tells whether a text is the operator's bearer, slowed as SignIn
// is. Error: fault.Unauthenticated "invalid_token".
func (a *App) SignInOperator(bearer, addr string) error {
	at := now()
	const who = "operator"
	if wait := a.throttle.check(at, who, addr); wait > 0 {
		return tooManyTries(wait)
	}
	if !a.operator.IsSet() || !a.operator.Equal(secret.New(bearer)) {
		a.throttle.failed(at, who, addr)
		return fault.New(fault.Unauthenticated, "invalid_token", "This is not the operator's token.")
	}
	return nil
}

// Visitor is who signs in to the portal.
type Visitor struct {
	User        string // ID; empty: none
	Name        string
	Application access.ID // empty: none is chosen
	Role        access.Role
}

// OpenSession signs a visitor in and returns the secret for the cookie, which is
// kept nowhere.
func (a *App) OpenSession(ctx context.Context, v Visitor) (cookie secret.Value, err error) {
	at := now()
	cookie = secret.New(rand.Text() + rand.Text())
	s := access.Session{
		Hash: access.HashSession(cookie.Reveal()), User: v.User, Name: v.Name, Application: v.Application, Role: v.Role,
		Token: rand.Text(), BeganAt: at, SeenAt: at,
	}
	return cookie, a.update(ctx, func(tx store.Tx) error { return tx.PutSession(s, at) })
}

// Session returns the session of a cookie. seen tells that its visitor is there.
// Error: fault.NotFound when there is none, or it has ended.
func (a *App) Session(ctx context.Context, hash [32]byte, seen bool) (access.Session, error) {
	at := now()
	s, err := a.store.Session(ctx, hash)
	if err == nil && !s.Alive(at) {
		err = fault.New(fault.NotFound, "not_found", "There is no such session.")
	}
	if err != nil || !seen || at.Sub(s.SeenAt) < sessionSeen {
		return s, err
	}
	s.SeenAt = at
	return s, a.update(ctx, func(tx store.Tx) error { return tx.PutSession(s, at) })
}

// ShowApplication makes an application the one whose pages an operator's session
// shows.
func (a *App) ShowApplication(ctx context.Context, hash [32]byte, app access.ID) error {
	s, err := a.Session(ctx, hash, false)
	if err != nil {
		return err
	}
	at := now()
	s.Application, s.SeenAt = app, at
	return a.update(ctx, func(tx store.Tx) error {
		if _, err := tx.Application(app); err != nil {
			return err
		}
		return tx.PutSession(s, at)
	})
}

// CloseSession signs a visitor out. Idempotent.
func (a *App) CloseSession(ctx context.Context, hash [32]byte) error {
	return a.update(ctx, func(tx store.Tx) error { return tx.DeleteSession(hash) })
}

// Invite asks a person to become a user: of an application, or with the empty
// one an operator. The secret is for the link and is returned this once.
//
// Errors: fault.Invalid with the fields "email" and "role"; fault.Conflict
// "email_taken".
func (a *App) Invite(ctx context.Context, app access.ID, email string, role access.Role) (secret.Value, error) {
	at, email := now(), access.NormalEmail(email)
	fields := access.CheckUser(email, role)
	if len(fields) == 0 && (role == access.Operator) != (app == "") {
		fields = []fault.Field{{Path: "role", Code: "invalid_value", Msg: "Choose one of the roles."}}
	}
	if len(fields) > 0 {
		return secret.Value{}, &fault.Error{Kind: fault.Invalid, Code: fields[0].Code, Msg: fields[0].Msg, Fields: fields}
	}
	sec := secret.New("cwi_" + secret.Random(32).Reveal())
	i := access.Invitation{Hash: access.HashSession(sec.Reveal()), Application: app, Email: email, Role: role, ExpiresAt: at.Add(access.InvitationLife)}
	return sec, a.update(ctx, func(tx store.Tx) error {
		switch _, err := tx.UserByEmail(email); {
		case err == nil:
			return emailTaken()
		case fault.KindOf(err) != fault.NotFound:
			return err
		}
		return tx.PutInvitation(i, at)
	})
}

// Invited returns the invitation of a link. Error: fault.NotFound when there is
// none, or its time is over.
func (a *App) Invited(ctx context.Context, sec string) (access.Invitation, error) {
	i, err := a.store.Invitation(ctx, access.HashSession(sec))
	if err == nil && !now().Before(i.ExpiresAt) {
		err = noInvitation()
	}
	return i, err
}

// Join makes the invited person a user and uses the invitation up.
//
// Errors: those of Invited; fault.Invalid with the fields "name" and "password";
// fault.Conflict "email_taken".
func (a *App) Join(ctx context.Context, sec, name, password string) (access.User, error) {
	if fields := access.CheckPassword(name, password); len(fields) > 0 {
		return access.User{}, &fault.Error{Kind: fault.Invalid, Code: fields[0].Code, Msg: fields[0].Msg, Fields: fields}
	}
	at := now()
	if _, err := a.Invited(ctx, sec); err != nil { // before the work of a hash
		return access.User{}, err
	}
	var salt [16]byte
	rand.Read(salt[:]) // never fails (crypto/rand)
	u := access.User{ID: id.New(id.User), Name: name, Password: secret.HashPassword(salt, password), CreatedAt: at}
	err := a.update(ctx, func(tx store.Tx) error {
		return makeUser(tx, sec, &u, at, func(access.Invitation) error { return nil })
	})
	return u, err
}

// makeUser makes of an invited person a user, if check has nothing against it.
func makeUser(tx store.Tx, sec string, u *access.User, at time.Time, check func(access.Invitation) error) error {
	hash := access.HashSession(sec)
	i, err := tx.Invitation(hash)
	if err != nil {
		return err
	}
	if !at.Before(i.ExpiresAt) {
		return noInvitation()
	}
	if err := check(i); err != nil {
		return err
	}
	u.Application, u.Email, u.Role = i.Application, i.Email, i.Role
	switch _, err := tx.UserByEmail(u.Email); {
	case err == nil:
		return emailTaken()
	case fault.KindOf(err) != fault.NotFound:
		return err
	}
	if err := tx.DeleteInvitation(hash); err != nil {
		return err
	}
	return tx.PutUser(*u)
}

// SignInVerified returns the user with an address that an identity provider
// vouches for. Error: fault.Unauthenticated "unknown_user".
func (a *App) SignInVerified(ctx context.Context, email string) (access.User, error) {
	u, err := a.store.UserByEmail(ctx, access.NormalEmail(email))
	if fault.KindOf(err) == fault.NotFound {
		err = fault.New(fault.Unauthenticated, "unknown_user", "The provider knows you, but nobody invited your mail address here. Ask your operator for an invitation, and use its link.")
	}
	return u, err
}

// JoinVerified is Join for a person whose address an identity provider vouches
// for, and who gets no password.
//
// Errors: those of Invited; fault.Conflict "email_taken" and "other_email", when
// the invitation is another address's.
func (a *App) JoinVerified(ctx context.Context, sec, email, name string) (access.User, error) {
	at := now()
	email = access.NormalEmail(email)
	if name = access.NormalName(name); name == "" {
		name = email
	}
	u := access.User{ID: id.New(id.User), Name: name, CreatedAt: at}
	err := a.update(ctx, func(tx store.Tx) error {
		return makeUser(tx, sec, &u, at, func(i access.Invitation) error {
			if i.Email != email {
				return fault.New(fault.Conflict, "other_email", "The invitation is for another mail address than the one with which you signed in.")
			}
			return nil
		})
	})
	return u, err
}

// RemoveUser takes a user away and ends the user's sessions.
func (a *App) RemoveUser(ctx context.Context, app access.ID, uid string) error {
	return a.update(ctx, func(tx store.Tx) error { return tx.DeleteUser(app, uid) })
}

// Uninvite takes an invitation back.
func (a *App) Uninvite(ctx context.Context, app access.ID, hash [32]byte) error {
	return a.update(ctx, func(tx store.Tx) error {
		i, err := tx.Invitation(hash)
		if err == nil && i.Application != app {
			err = noInvitation()
		}
		if err != nil {
			return err
		}
		return tx.DeleteInvitation(hash)
	})
}

func tooManyTries(wait time.Duration) error {
	return &fault.Error{Kind: fault.TooMany, Code: "slow_down", RetryAfter: wait, Msg: "Too many wrong secrets; wait before the next try."}
}

func emailTaken() error {
	return fault.At(fault.Conflict, "email_taken", "email", "There is a user with this address already.")
}

func noInvitation() error {
	return fault.New(fault.NotFound, "not_found", "There is no such invitation, or it was used, or its time is over.")
}
