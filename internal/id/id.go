// Package id makes identifiers: a kind, an underscore, and a UUIDv7 in 26
// characters of lower-case base 32.
//
// They are opaque. Nothing may be ordered by them: clocks of several nodes
// differ, and order is the log's business.
package id

import (
	"encoding/base32"

	"github.com/gofrs/uuid/v5"
)

// The kinds.
const (
	Application  = "app"
	Client       = "cli"
	Consent      = "con"
	Interceptor  = "int"
	Subscription = "sub"
	Event        = "evt"
	Delivery     = "dlv"
	Replay       = "rpl"
	Bin          = "bin"
	Request      = "req"
	SigningKey   = "key"
	Citizen      = "ctz"
	Transaction  = "txn"
	Option       = "opt"
	Group        = "grp"
	Part         = "prt" // data, purpose or party of an option
	Statement    = "stm"
	Policy       = "pol"
	Import       = "imp"
	Mail         = "eml" // a mail that is asked for
	Sender       = "mls" // what sends an application's mails
	Link         = "lnk" // a group of linked citizens
	User         = "usr" // a person who uses the portal
	Node         = "nod" // a process that serves
)

// Encoding is Crockford's base 32 in lower case, without padding: no letter
// that is mistaken for a digit, and no character that needs escaping.
var Encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// New returns a fresh identifier of the kind, 26 characters after the
// underscore. It panics when the system has no randomness, for then nothing
// here is safe.
func New(kind string) string {
	u := uuid.Must(uuid.NewV7())
	return kind + "_" + Encoding.EncodeToString(u[:])
}

// Interaction returns a random UUID (version 4) in its usual form: the value
// of X-Webhook-Interaction-Id, new for each attempt.
func Interaction() string { return uuid.Must(uuid.NewV4()).String() }
