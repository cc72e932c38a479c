// Package subscription says who wants which events, where, and how we prove
// ourselves there; it covers both ways to register, interceptors and
// subscriptions, and what sends an application's mails. All are an Endpoint.
//
// It is a rule room: no I/O, no goroutine, no clock.
package subscription

import (
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/secret"
)

// ID names an endpoint: "sub_…", "int_…" or "mls_…", 1..50 characters.
type ID string

// Style is the way an endpoint was registered.
type Style string

// The styles.
const (
	Interceptor  Style = "interceptor"  // source A
	Subscription Style = "subscription" // source B
	MailSender   Style = "mail-sender"  // ours: sends an application's citizen-emails by SMTP
)

// Status is what the owner, or we, made of the endpoint.
type Status string

// The states. Source B knows active and paused; a suspended endpoint shows
// itself as paused with a reason.
const (
	Active    Status = "active"
	Paused    Status = "paused"    // by its owner: updates are discarded
	Suspended Status = "suspended" // by us after a 410: updates wait
)

// UpdateType is the feed that a subscription asks for.
type UpdateType string

// The update types. Source: "Update a Subscription", UpdateType.
const (
	CitizenEmails       UpdateType = "citizen-emails"
	ConsentReceipts     UpdateType = "consent-receipts"
	EffectivePermission UpdateType = "effective-permission"
)

// Own returns the one event type of the update type's own feed.
func (u UpdateType) Own() event.Type {
	switch u {
	case CitizenEmails:
		return event.CitizenEmail
	case ConsentReceipts:
		return event.PermissionsDelta
	}
	return event.PermissionsEffective
}

// AuthType is how we prove ourselves to the receiver.
type AuthType string

// The types: the source's four, and basic.
const (
	AuthNone   AuthType = "none"
	AuthAPIKey AuthType = "api-key"
	AuthToken  AuthType = "token"
	AuthOAuth2 AuthType = "oauth2"
	AuthBasic  AuthType = "basic"
)

// Auth is an endpoint's authentication; only the members of its Type are set.
type Auth struct {
	Type   AuthType
	APIKey APIKey
	Bearer Bearer // authType token
	OAuth2 OAuth2
	Basic  Basic
	MTLS   MTLS // beside any type
}

// MTLS is a client certificate of ours for one endpoint, and the roots that
// its certificate may come from; both are optional. It holds for the
// endpoint's URL and for its token endpoint.
type MTLS struct {
	Certificate   string       // PEM, the leaf first; with PrivateKey or not at all
	PrivateKey    secret.Value // PEM
	CACertificate string       // PEM: trusted beside the public roots and the operator's
}

// APIKey is a key in a header or in the query.
type APIKey struct {
	Location string // "header" | "query"
	Key      string // the header's or the parameter's name
	Value    secret.Value
}

// Bearer is a static token, or a refresh token with what it needs.
type Bearer struct {
	Token        secret.Value
	RefreshToken secret.Value
	RefreshURL   string
	ClientID     string
	ClientSecret secret.Value
}

// OAuth2 are client credentials as "Update a Subscription" configures them.
type OAuth2 struct {
	GrantType         string // "client-credentials"
	AuthenticationURL string
	ContentType       string // "application-form-urlencoded" | "application-json"
	ClientID          string
	ClientSecret      secret.Value
	Scope             string
	ClientAuthMethod  string // "auto" | "basic" | "body"
	Audience          string
}

// Basic is HTTP Basic authentication (RFC 7617).
type Basic struct {
	User     string
	Password secret.Value
}

// Mail is where and how a mail sender hands its mails over (RFC 5321, 6409).
type Mail struct {
	Host     string
	Port     int
	Security string // "starttls" | "tls" | "none"
	User     string // empty: no authentication
	Password secret.Value
	From     string // address
	FromName string // may be empty
	ReplyTo  string // address; may be empty
}

// SigningSecret is one secret that signs deliveries. ExpiresAt is zero for
// the current one; a rotated one signs beside it until it expires.
type SigningSecret struct {
	Secret    secret.Value // "whsec_" and base 64
	ExpiresAt time.Time
}

// SigningKey is one of an application's Ed25519 key pairs, which sign the
// deliveries of the endpoints that ask for it. ExpiresAt is zero for the
// current one; a rotated one signs beside it until it expires.
type SigningKey struct {
	ID         string       // "key_…"
	PrivateKey secret.Value // "whsk_" and base 64
	PublicKey  string       // "whpk_" and base 64
	CreatedAt  time.Time
	ExpiresAt  time.Time
}

// Token is what was obtained with an endpoint's credentials and must outlive
// the process: the access token, and the refresh token that replaced the
// configured one.
type Token struct {
	Access     secret.Value
	ExpiresAt  time.Time    // of Access; zero: not known
	Refresh    secret.Value // unset: the configured one still holds
	ClientAuth string       // the clientAuthMethod that worked, ClientAuthBasic or ClientAuthBody; empty: none did yet
	Generation int64        // grows by one with each that is kept, and when it is forgotten; 0: nothing ever was
}

// OnBacklog says what happens to older full states that wait.
type OnBacklog string

// The ways.
const (
	BacklogAll    OnBacklog = "all"
	BacklogLatest OnBacklog = "latest"
)

// Endpoint is a registered receiver.
type Endpoint struct {
	ID          ID
	Application string
	Style       Style
	Version     int64 // grows by one with each change of the configuration, from 1

	Name string
	URL  string
	Feed event.Feed // interceptors: which lifecycle feed (the source's "type"); empty otherwise

	UpdateType UpdateType   // subscriptions
	EventTypes []event.Type // subscriptions: empty means the feed of UpdateType

	Status       Status
	StatusReason string // why, in plain words; empty when active
	StatusSince  time.Time

	Auth           Auth
	SigningSecrets []SigningSecret // newest first; empty of mail senders only
	Asymmetric     bool            // sign with the application's SigningKeys as well
	SigningKeys    []SigningKey    // newest first; empty unless Asymmetric

	RetrySchedule []time.Duration // empty: the server's
	Timeout       time.Duration   // 0: the server's
	RateLimit     int             // requests per second; 0: none
	MaxInFlight   int             // 0: the server's
	Description   string
	Metadata      map[string]string
	OnBacklog     OnBacklog
	Parts         int  // in how many its subjects are shared out, each with its own cursor; 0 or 1: one. Never changes
	Mail          Mail // mail senders

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Filter says which events an endpoint is told. A change of it starts a new
// version at the log's end; what waits stays under the old one.
type Filter struct {
	Feeds []event.Feed // empty: any
	Types []event.Type // never empty
}

// Matches tells whether the endpoint id is told e.
func (f Filter) Matches(id ID, e event.Event) bool {
	return e.Except != string(id) && slices.Contains(f.Types, e.Type) &&
		(len(f.Feeds) == 0 || slices.Contains(f.Feeds, e.Feed))
}

// Equal tells whether two filters let the same events through.
func (f Filter) Equal(o Filter) bool {
	return slices.Equal(f.Feeds, o.Feeds) && slices.Equal(f.Types, o.Types)
}

// Filter returns the filter that the endpoint's configuration asks for, its
// types in a fixed order.
//
// An interceptor is told the source's six lifecycle events of its type. A
// subscription is told its update type's own event, or exactly the types it
// lists, and of each erasure; a mail sender the mails that are asked for.
func (e Endpoint) Filter() Filter {
	if e.Style == Interceptor {
		return Filter{Feeds: []event.Feed{e.Feed}, Types: event.SourceLifecycle()}
	}
	if e.Style == MailSender {
		return Filter{Types: []event.Type{event.CitizenEmail}}
	}
	ts := append(slices.Clone(e.EventTypes), event.CitizenErased)
	if len(e.EventTypes) == 0 {
		ts = append(ts, e.UpdateType.Own())
	}
	slices.Sort(ts)
	return Filter{Types: slices.Compact(ts)}
}
