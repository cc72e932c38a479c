package relational

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store/db"
)

// The kinds of entries: what lets people into the portal.
const (
	entryUser       = "user"
	entryInvitation = "invitation"
	entrySession    = "session"
)

// entry is a row of portal_entry.
type entry struct {
	kind    string
	hash    []byte
	app     access.ID // empty: none
	owner   string
	expires time.Time // zero: never
}

func entryPlace(kind string, hash []byte) secret.Place {
	return secret.Place{What: "portal " + kind, Owner: hex.EncodeToString(hash), Field: "sealed"}
}

func (s *Store) emailHash(email string) []byte {
	return s.index.Hash(secret.Place{What: "portal user", Field: "email"}, email)
}

// entryFields are the columns that scanEntry reads, of portal_entry e beside
// application a.
const (
	entryFields = "e.hash, COALESCE(a.app_id, ''), e.owner, e.expires_at, e.sealed"
	fromEntries = " FROM portal_entry e LEFT JOIN application a ON a.app = e.app"
)

func (r *reader) scanEntry(kind string, scan func(...any) error, content any) (entry, error) {
	e := entry{kind: kind}
	var sealed []byte
	var expires int64
	if err := scan(&e.hash, (*string)(&e.app), &e.owner, &expires, &sealed); err != nil {
		return e, err
	}
	if expires > 0 {
		e.expires = moment(expires)
	}
	text, err := r.s.keys.Open(sealed, entryPlace(kind, e.hash))
	if err == nil {
		err = json.Unmarshal(text, content)
	}
	if err != nil {
		return e, fmt.Errorf("open a %s: %w", kind, err)
	}
	return e, nil
}

func (r *reader) entry(kind string, hash []byte, content any) (entry, error) {
	return r.scanEntry(kind, func(dst ...any) error {
		return r.get(dst, "SELECT "+entryFields+fromEntries+" WHERE e.kind = ? AND e.hash = ?", kind, hash)
	}, content)
}

// putEntry inserts, or replaces the one of that kind, hash and owner; false:
// another owner has the hash.
func (t *tx) putEntry(e entry, content any) (bool, error) {
	var key int64
	if e.app != "" {
		var err error
		if key, err = t.app(e.app); err != nil {
			return false, err
		}
	}
	text, err := json.Marshal(content)
	if err != nil {
		return false, fmt.Errorf("encode a %s: %w", e.kind, err)
	}
	expires := int64(0)
	if !e.expires.IsZero() {
		expires = millis(e.expires)
	}
	n, err := t.exec(`INSERT INTO portal_entry (kind, hash, app, owner, sealed, expires_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, hash) DO UPDATE SET app = excluded.app, sealed = excluded.sealed, expires_at = excluded.expires_at
		WHERE portal_entry.owner = excluded.owner`, e.kind, e.hash, key, e.owner, t.s.keys.Seal(text, entryPlace(e.kind, e.hash)), expires)
	return n > 0, err
}

// dropEntries drops those that expired.
func (t *tx) dropEntries(now time.Time) error {
	return t.later("DELETE FROM portal_entry WHERE (kind, hash) IN (SELECT kind, hash FROM portal_entry WHERE expires_at > 0 AND expires_at <= ? ORDER BY expires_at LIMIT ?"+t.passing()+")",
		millis(now), dropBatch)
}

type userForm struct {
	Email     string `json:"email"`
	Name      string `json:"name"`
	Role      string `json:"role"`
	Password  string `json:"password,omitzero"`
	CreatedAt int64  `json:"createdAt"`
}

func (f userForm) user(e entry) access.User {
	return access.User{ID: e.owner, Application: e.app, Email: f.Email, Name: f.Name, Role: access.Role(f.Role), Password: f.Password, CreatedAt: moment(f.CreatedAt)}
}

// UserByEmail implements store.Reader.
func (s *Store) UserByEmail(ctx context.Context, email string) (u access.User, err error) {
	err = s.read(ctx, func(r *reader) error {
		u, err = r.userByEmail(email)
		return err
	})
	return u, err
}

// UserByEmail implements store.Tx.
func (t *tx) UserByEmail(email string) (access.User, error) { return t.userByEmail(email) }

func (r *reader) userByEmail(email string) (access.User, error) {
	var f userForm
	e, err := r.entry(entryUser, r.s.emailHash(email), &f)
	if err != nil {
		return access.User{}, err
	}
	return f.user(e), nil
}

// Users implements store.Reader.
func (s *Store) Users(ctx context.Context, app access.ID) (list []access.User, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		return r.entries(entryUser, app, func(scan func(...any) error) error {
			var f userForm
			e, err := r.scanEntry(entryUser, scan, &f)
			list = append(list, f.user(e))
			return err
		})
	})
	return list, err
}

// entries calls fn for each entry of a kind that is an application's, or
// nobody's.
func (r *reader) entries(kind string, app access.ID, fn func(scan func(...any) error) error) error {
	var key int64
	if app != "" {
		var err error
		if key, err = r.app(app); err != nil {
			return err
		}
	}
	return r.each(func(rows db.Rows) error { return fn(rows.Scan) },
		"SELECT "+entryFields+fromEntries+" WHERE e.app = ? AND e.kind = ? ORDER BY e.owner, e.hash", key, kind)
}

// PutUser implements store.Tx.
func (t *tx) PutUser(u access.User) error {
	ok, err := t.putEntry(entry{kind: entryUser, hash: t.s.emailHash(u.Email), app: u.Application, owner: u.ID},
		userForm{u.Email, u.Name, string(u.Role), u.Password, millis(u.CreatedAt)})
	if err == nil && !ok {
		return fault.At(fault.Conflict, "email_taken", "email", "There is a user with this address already.")
	}
	return err
}

// DeleteUser implements store.Tx.
func (t *tx) DeleteUser(app access.ID, id string) error {
	var key int64
	if app != "" {
		var err error
		if key, err = t.app(app); err != nil {
			return err
		}
	}
	n, err := t.exec("DELETE FROM portal_entry WHERE owner = ? AND kind = ? AND app = ?", id, entryUser, key)
	if err != nil {
		return err
	}
	if n == 0 || id == "" {
		return notFound()
	}
	return t.later("DELETE FROM portal_entry WHERE owner = ? AND kind = ?", id, entrySession)
}

type invitationForm struct {
	Email string `json:"email"`
	Role  string `json:"role"`
}

func (f invitationForm) invitation(e entry) access.Invitation {
	return access.Invitation{Hash: [32]byte(e.hash), Application: e.app, Email: f.Email, Role: access.Role(f.Role), ExpiresAt: e.expires}
}

// Invitation implements store.Reader.
func (s *Store) Invitation(ctx context.Context, hash [32]byte) (i access.Invitation, err error) {
	err = s.read(ctx, func(r *reader) error {
		i, err = r.invitation(hash)
		return err
	})
	return i, err
}

// Invitation implements store.Tx.
func (t *tx) Invitation(hash [32]byte) (access.Invitation, error) { return t.invitation(hash) }

func (r *reader) invitation(hash [32]byte) (access.Invitation, error) {
	var f invitationForm
	e, err := r.entry(entryInvitation, hash[:], &f)
	if err != nil {
		return access.Invitation{}, err
	}
	return f.invitation(e), nil
}

// Invitations implements store.Reader.
func (s *Store) Invitations(ctx context.Context, app access.ID) (list []access.Invitation, err error) {
	err = s.read(ctx, func(r *reader) error {
		list = nil
		return r.entries(entryInvitation, app, func(scan func(...any) error) error {
			var f invitationForm
			e, err := r.scanEntry(entryInvitation, scan, &f)
			if err == nil {
				list = append(list, f.invitation(e))
			}
			return err
		})
	})
	return list, err
}

// PutInvitation implements store.Tx.
func (t *tx) PutInvitation(i access.Invitation, now time.Time) error {
	if err := t.dropEntries(now); err != nil {
		return err
	}
	_, err := t.putEntry(entry{kind: entryInvitation, hash: i.Hash[:], app: i.Application, expires: i.ExpiresAt}, invitationForm{i.Email, string(i.Role)})
	return err
}

// DeleteInvitation implements store.Tx.
func (t *tx) DeleteInvitation(hash [32]byte) error {
	n, err := t.exec("DELETE FROM portal_entry WHERE kind = ? AND hash = ?", entryInvitation, hash[:])
	if err == nil && n == 0 {
		return notFound()
	}
	return err
}

type sessionForm struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Token   string `json:"token"`
	BeganAt int64  `json:"beganAt"`
	SeenAt  int64  `json:"seenAt"`
}

// Session implements store.Reader.
func (s *Store) Session(ctx context.Context, hash [32]byte) (out access.Session, err error) {
	err = s.read(ctx, func(r *reader) error {
		var f sessionForm
		e, err := r.entry(entrySession, hash[:], &f)
		if err != nil {
			return err
		}
		out = access.Session{
			Hash: hash, User: e.owner, Name: f.Name, Application: e.app, Role: access.Role(f.Role), Token: f.Token,
			BeganAt: moment(f.BeganAt), SeenAt: moment(f.SeenAt),
		}
		return nil
	})
	return out, err
}

// PutSession implements store.Tx.
func (t *tx) PutSession(s access.Session, now time.Time) error {
	if err := t.dropEntries(now); err != nil {
		return err
	}
	_, err := t.putEntry(entry{kind: entrySession, hash: s.Hash[:], app: s.Application, owner: s.User, expires: s.Ends()},
		sessionForm{s.Name, string(s.Role), s.Token, millis(s.BeganAt), millis(s.SeenAt)})
	return err
}

// DeleteSession implements store.Tx.
func (t *tx) DeleteSession(hash [32]byte) error {
	return t.later("DELETE FROM portal_entry WHERE kind = ? AND hash = ?", entrySession, hash[:])
}
