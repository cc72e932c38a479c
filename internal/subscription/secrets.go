package subscription

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
)

// mask stands for a secret wherever a request is shown.
const mask = "***"

// MaskedURL returns the address that requests go to, with the value of an API
// key in the query masked.
func (e Endpoint) MaskedURL() string {
	if e.Auth.Type != AuthAPIKey || e.Auth.APIKey.Location != InQuery {
		return e.URL
	}
	glue := "?"
	if _, query, ok := strings.Cut(e.URL, "?"); ok {
		glue = "&"
		if query == "" || strings.HasSuffix(query, "&") {
			glue = ""
		}
	}
	return e.URL + glue + strings.ReplaceAll(url.QueryEscape(e.Auth.APIKey.Key), "+", "%20") + "=" + mask
}

// MaskedHeaders returns the name and the masked value of each header that the
// authentication adds to a request, in a fixed order; of a mail sender, those
// that all of its mails carry. Source: DOMAIN 7.7.
func (e Endpoint) MaskedHeaders() [][2]string {
	if e.Style == MailSender {
		return e.Mail.Fields()
	}
	switch a := e.Auth; a.Type {
	case AuthAPIKey:
		if a.APIKey.Location == InHeader {
			return [][2]string{{a.APIKey.Key, mask}}
		}
		return [][2]string{{"Cache-Control", "no-store"}}
	case AuthBasic:
		return [][2]string{{"Authorization", "Basic " + mask}}
	case AuthToken, AuthOAuth2:
		return [][2]string{{"Authorization", "Bearer " + mask}}
	}
	return nil
}

// Secrets returns every secret of the endpoint that is set: those of its
// authentication or of its mail server, then the signing secrets. None of them may be in a log, an
// answer or an error.
func (e Endpoint) Secrets() []secret.Value {
	a := e.Auth
	all := []secret.Value{
		a.APIKey.Value, a.Bearer.Token, a.Bearer.RefreshToken, a.Bearer.ClientSecret,
		a.OAuth2.ClientSecret, a.Basic.Password, a.MTLS.PrivateKey, e.Mail.Password,
	}
	for _, k := range e.SigningKeys {
		all = append(all, k.PrivateKey)
	}
	for _, s := range e.SigningSecrets {
		all = append(all, s.Secret)
	}
	return slices.DeleteFunc(all, func(s secret.Value) bool { return !s.IsSet() })
}

// ManagesToken tells whether we get the endpoint's bearer token ourselves:
// with client credentials, or with a refresh token.
func (e Endpoint) ManagesToken() bool {
	return e.Auth.Type == AuthOAuth2 || e.Auth.Type == AuthToken && e.Auth.Bearer.RefreshToken.IsSet()
}

// SameCredentials tells whether the two prove themselves in the same way: every
// member of their authentications is equal, secrets included.
func (e Endpoint) SameCredentials(o Endpoint) bool { return e.Auth == o.Auth }

// KeepsToken tells whether a token that was obtained with e's credentials is
// still good when they become those of next.
//
// One of client credentials is not once anything changes. A refresh token that
// replaced the configured one (RFC 6749 6) stays good while the same one is
// configured at the same host, whatever else changes: to fall back on the
// configured one, which is used up, would end the whole grant.
func (e Endpoint) KeepsToken(next Endpoint) bool {
	if e.Auth.Type != AuthToken || next.Auth.Type != AuthToken {
		return e.SameCredentials(next)
	}
	b, n := e.Auth.Bearer, next.Auth.Bearer
	return b.RefreshToken == n.RefreshToken && origin(b.RefreshURL) == origin(n.RefreshURL)
}

// maxSigning bounds how many secrets sign at a time. Ours: a header with more
// signatures than this is no use to anybody.
const maxSigning = 10

// SigningAt returns the secrets that sign at now, newest first: the current
// one and those that were rotated less than RotationOverlap ago. At the
// instant ExpiresAt a rotated one no longer signs.
func (e Endpoint) SigningAt(now time.Time) []SigningSecret {
	var out []SigningSecret
	for _, s := range e.SigningSecrets {
		if s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) {
			out = append(out, s)
		}
	}
	return out
}

// Rotate returns the endpoint with a new signing secret. The current one signs
// beside it until now + RotationOverlap; those rotated before keep their end,
// those that have ended are dropped. e is unchanged.
//
// Of more than ten the oldest are dropped, too.
func (e Endpoint) Rotate(fresh secret.Value, now time.Time) Endpoint {
	ss := []SigningSecret{{Secret: fresh}}
	for _, s := range e.SigningAt(now) {
		if s.ExpiresAt.IsZero() {
			s.ExpiresAt = now.Add(RotationOverlap)
		}
		ss = append(ss, s)
	}
	e.SigningSecrets = ss[:min(len(ss), maxSigning)]
	return e
}
