// Package wire is the shape of subscriptions, interceptors and mail senders in
// JSON: how a request is read into a draft, how a merge patch is applied to
// what is registered, and how a registration, and what was sent for it, is
// shown.
//
// A secret goes in and never comes out: a read shows null beside
// "<member>Set": true. What a read shows can be sent back in a PATCH, where
// that pair means "keep it".
package wire

import (
	"math"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Mode says how a request's secrets are read.
type Mode uint8

const (
	// Write reads a request that stands alone (POST, PUT): null is absent.
	Write Mode = iota
	// Patched reads what Patch returns: a secret that is null is kept.
	Patched
)

// The members of each object that an owner may write. The "…Set" members are
// taken and ignored.
const (
	memberAuthentication = "authentication"
	memberAPIKey         = "apiKeyAuth"
	memberOAuth2         = "oauth2Auth"
	memberBasic          = "basicAuth"
	memberMTLS           = "mtls"
)

// set returns the name of the member that tells whether a secret is set.
func set(name string) string { return name + "Set" }

// readOnly are members of a read that a request must not carry.
func readOnly() []string {
	return []string{
		"subscriptionId", "applicationId", "statusReason", "backlog", "discarded", "circuit",
		"authorisation", "signingSecret", "createdAt", "updatedAt",
	}
}

const msgReadOnly = "This member is ours to set; leave it out."

// ReadSubscription reads the members of a subscription. It notes wrong types
// at o; Draft.Apply checks the rest. The faults of both belong into one
// answer: o.Add(fields...), then o.Err().
func ReadSubscription(o *body.Object, mode Mode) subscription.Draft {
	refuse(o, readOnly())
	d := subscription.Draft{
		Name:           o.Str("name", body.Optional),
		URL:            o.Str("url", body.Required),
		Status:         text(o, "status"),
		UpdateType:     text(o, "updateType"),
		EventTypes:     o.Strings("eventTypes", body.Optional),
		RetrySchedule:  o.Strings("retrySchedule", body.Optional),
		TimeoutSeconds: o.OptInt("timeoutSeconds", 1, subscription.MaxTimeoutSeconds),
		RateLimit:      o.OptInt("rateLimit", 1, subscription.MaxRateLimit),
		MaxInFlight:    o.OptInt("maxInFlight", 1, subscription.MaxInFlightLimit),
		Description:    o.Str("description", body.Optional),
		Metadata:       o.Map("metadata", body.Optional),
		OnBacklog:      text(o, "onBacklog"),
		Parts:          o.OptInt("parts", 1, subscription.MaxParts),
		Signatures:     o.Strings("signatures", body.Optional),
		Discard:        o.Bool("discard", body.Optional),
	}
	if a := o.Obj(memberAuthentication, body.Optional); a != nil {
		d.Auth = readAuth(a, mode)
	}
	return d
}

// refuse notes each of the members that is there.
func refuse(o *body.Object, names []string) {
	for _, n := range names {
		if o.Has(n) || o.IsNull(n) {
			o.Refuse(n, "read_only", msgReadOnly)
		}
	}
}

// text reads an optional text of which the empty one is no value.
func text(o *body.Object, name string) string {
	return o.Str(name, body.Optional, body.Chars(1, math.MaxInt))
}

func readAuth(o *body.Object, mode Mode) *subscription.AuthDraft {
	d := &subscription.AuthDraft{
		Type:         o.OptStr("authType"),
		Token:        readSecret(o, "token", mode),
		RefreshToken: readSecret(o, "refreshToken", mode),
		RefreshURL:   o.OptStr("refreshUrl"),
		ClientID:     o.OptStr("clientId"),
		ClientSecret: readSecret(o, "clientSecret", mode),
	}
	if k := o.Obj(memberAPIKey, body.Optional); k != nil {
		d.APIKey = &subscription.APIKeyDraft{
			Location: k.OptStr("location"),
			Key:      k.OptStr("key"),
			Value:    readSecret(k, "value", mode),
		}
	}
	if a := o.Obj(memberOAuth2, body.Optional); a != nil {
		d.OAuth2 = &subscription.OAuth2Draft{
			GrantType:         a.OptStr("grantType"),
			AuthenticationURL: a.OptStr("authenticationUrl"),
			ContentType:       a.OptStr("contentType"),
			ClientID:          a.OptStr("clientId"),
			ClientSecret:      readSecret(a, "clientSecret", mode),
			Scope:             a.OptStr("scope"),
			ClientAuthMethod:  a.OptStr("clientAuthMethod"),
			Audience:          a.OptStr("audience"),
		}
	}
	if b := o.Obj(memberBasic, body.Optional); b != nil {
		d.Basic = &subscription.BasicDraft{
			User:     b.OptStr("user"),
			Password: readSecret(b, "password", mode),
		}
	}
	if m := o.Obj(memberMTLS, body.Optional); m != nil {
		d.MTLS = &subscription.MTLSDraft{
			Certificate:   m.OptStr("certificate"),
			PrivateKey:    readSecret(m, "privateKey", mode),
			CACertificate: m.OptStr("caCertificate"),
		}
	}
	return d
}

func readSecret(o *body.Object, name string, mode Mode) subscription.SecretInput {
	o.Ignore(set(name))
	if mode == Patched && o.IsNull(name) {
		o.Ignore(name)
		return subscription.SecretInput{Keep: true}
	}
	s := o.OptStr(name)
	if s == nil {
		return subscription.SecretInput{}
	}
	return subscription.SecretInput{Given: true, Value: secret.New(*s)}
}

// ReadInterceptor reads the members of an interceptor as source A spells them.
// Faults go the way of ReadSubscription.
func ReadInterceptor(o *body.Object) subscription.InterceptorDraft {
	refuse(o, []string{"id", "status", "statusReason", "backlog", "discarded", "circuit", "signingSecret", "createdAt", "updatedAt"})
	return subscription.InterceptorDraft{
		Endpoint:           o.Str("endpoint", body.Required),
		IsAuthenticated:    o.OptBool("isAuthenticated"),
		AuthenticationType: o.Str("authenticationType", body.Optional),
		User:               o.Str("user", body.Optional),
		Password:           readSecret(o, "password", Write),
		Type:               o.Str("type", body.Required),
	}
}
