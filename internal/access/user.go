package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/fault"
)

// How long a session of the portal lasts. Source: RULES 5.
const (
	SessionIdle = 30 * time.Minute // without a page
	SessionLife = 12 * time.Hour   // in any case
)

// InvitationLife is how long an invitation can be accepted. Ours.
const InvitationLife = 7 * 24 * time.Hour

// The bounds of a password, in code points. Source of the first: NIST SP 800-63B
// 3.1.1.2 asks for 15 where nothing else is asked; of the second: ours.
const (
	MinPassword = 15
	MaxPassword = 200
)

// maxUserField is the most code points of a user's name and address. Ours.
const maxUserField = 254

// User is a person who may use the portal.
type User struct {
	ID          string // "usr_…"
	Application ID     // empty: an operator's
	Email       string // in lower case; names the user in all applications
	Name        string
	Role        Role
	Password    string // its hash in the PHC form
	CreatedAt   time.Time
}

// Invitation asks a person to become a user. It works once.
type Invitation struct {
	Hash        [32]byte // SHA-256 of the secret in its link
	Application ID
	Email       string
	Role        Role
	ExpiresAt   time.Time // not at this instant any more
}

// Session is a visitor of the portal who has signed in.
type Session struct {
	Hash        [32]byte // SHA-256 of the cookie
	User        string   // ID; empty: by a link or by the operator's token
	Name        string   // to be shown
	Application ID       // whose pages are shown; empty: an operator has chosen none
	Role        Role
	Token       string // in every form
	BeganAt     time.Time
	SeenAt      time.Time
}

// Ends returns when the session ends if nothing is seen of its visitor.
func (s Session) Ends() time.Time {
	idle, life := s.SeenAt.Add(SessionIdle), s.BeganAt.Add(SessionLife)
	if idle.Before(life) {
		return idle
	}
	return life
}

// Alive tells whether the session still counts at now. At the instant of its
// end it does not.
func (s Session) Alive(now time.Time) bool { return now.Before(s.Ends()) }

// Forms tells, in constant time, whether token is that of the session's forms.
func (s Session) Forms(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1 && s.Token != ""
}

// NormalEmail returns an address as it names a user.
func NormalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// NormalName returns a name that somebody else wrote as one of a user: without
// what cannot be shown, and not too long.
func NormalName(s string) string {
	s = strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return -1
		}
		return c
	}, s))
	if r := []rune(s); len(r) > maxUserField {
		return string(r[:maxUserField])
	}
	return s
}

// CheckUser returns what is wrong with a user's address and role, by the names
// of the fields "email" and "role".
func CheckUser(email string, r Role) []fault.Field {
	var out []fault.Field
	at := strings.LastIndexByte(email, '@')
	if at < 1 || at == len(email)-1 || utf8.RuneCountInString(email) > maxUserField || strings.ContainsFunc(email, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		out = append(out, fault.Field{Path: "email", Code: "invalid_email", Msg: "Write a mail address, e.g. ana@example.org."})
	}
	if scopes[r] == nil {
		out = append(out, fault.Field{Path: "role", Code: "invalid_value", Msg: "Choose one of the roles."})
	}
	return out
}

// CheckPassword returns what is wrong with a password, and with the name of its
// user, by the names of the fields "password" and "name".
func CheckPassword(name, password string) []fault.Field {
	var out []fault.Field
	if n := utf8.RuneCountInString(name); strings.TrimSpace(name) == "" || n > maxUserField || strings.ContainsFunc(name, unicode.IsControl) {
		out = append(out, fault.Field{Path: "name", Code: "invalid_value", Msg: "Write your name."})
	}
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		out = append(out, fault.Field{Path: "password", Code: "too_short", Msg: "A password has at least 15 characters; a few words will do."})
	case n > MaxPassword:
		out = append(out, fault.Field{Path: "password", Code: "too_long", Msg: "A password has at most 200 characters."})
	}
	return out
}

// HashSession returns what an invitation or a session is looked up by.
func HashSession(text string) [32]byte { return sha256.Sum256([]byte(text)) }
