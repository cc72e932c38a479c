// Package credential proves us to a receiver: it turns an endpoint's
// authentication into what a request must carry, and hides it again in what
// comes back.
//
// A Prepared is made once per version of an endpoint's configuration, so that
// sending costs nothing here. A Source gets the tokens of an endpoint that has
// them fetched: one request at a time, ahead of need, durable before use.
// Nothing is ever sent without its credential: an endpoint whose credential is
// not to be had is held.
package credential

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/subscription"
)

// HeldError says that nothing may be sent to an endpoint now, because its
// credential is not to be had. It is no failed delivery and uses up no
// attempt (CONTRACT 7).
type HeldError struct {
	Reason string // in plain words, for the endpoint's owner
}

// Error returns the reason.
func (e *HeldError) Error() string { return e.Reason }

// Held tells whether nothing may be sent to the endpoint for want of its
// credential, and why. It looks at the configuration alone.
func Held(e subscription.Endpoint) (reason string, held bool) {
	a := e.Auth
	switch a.Type {
	case subscription.AuthNone, "":
		return "", false
	case subscription.AuthOAuth2: // a Source's
	case subscription.AuthToken:
		if !a.Bearer.RefreshToken.IsSet() && !visible(a.Bearer.Token.Reveal()) {
			return "The endpoint has no token that can be sent.", true
		}
	case subscription.AuthBasic:
		if !a.Basic.Password.IsSet() || strings.Contains(a.Basic.User, ":") {
			return "The endpoint has no user and password that can be sent.", true
		}
	case subscription.AuthAPIKey:
		switch {
		case !a.APIKey.Value.IsSet():
		case a.APIKey.Location == "query" && a.APIKey.Key != "":
			return "", false
		case a.APIKey.Location == "header" && httpguts.ValidHeaderFieldName(a.APIKey.Key) && httpguts.ValidHeaderFieldValue(a.APIKey.Value.Reveal()):
			return "", false
		}
		return "The endpoint has no API key that can be sent.", true
	default:
		return "The endpoint's authentication type is not known to this version.", true
	}
	return "", false
}

// visible tells whether s is visible ASCII without a space, and not empty.
func visible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Prepared is what every request to an endpoint carries. It is immutable and
// prints nothing of itself.
type Prepared struct {
	target *egress.Target
	fields []field
	mask   *mask
	ident  *egress.Identity
}

type field struct {
	name  string
	value []string // ready for a header map
}

// Prepare makes the final URL and the header fields of an endpoint, all but
// the bearer token of one whose tokens we get ourselves: that is a Source's.
//
// Errors: a *HeldError when the credential is not to be had; an *egress.Error
// with step connect when the URL may not be requested under the operator's
// present settings, which may have changed since it was configured, and with
// step tls when the client certificate cannot be used.
func Prepare(g *egress.Guard, e subscription.Endpoint) (*Prepared, error) {
	if reason, held := Held(e); held {
		return nil, &HeldError{reason}
	}
	target, urlFault := g.Parse(e.URL)
	if urlFault != nil {
		return nil, &egress.Error{Step: egress.StepConnect, Reason: urlFault.Msg, Err: urlFault}
	}
	ident, err := identityOf(e)
	if err != nil {
		return nil, err
	}
	p := &Prepared{target: target, mask: newMask(secretsOf(e)), ident: ident}
	a := e.Auth
	switch a.Type {
	case subscription.AuthBasic:
		p.add("Authorization", "Basic "+basic(a.Basic))
	case subscription.AuthToken:
		if !e.ManagesToken() {
			p.add("Authorization", "Bearer "+a.Bearer.Token.Reveal())
		}
	case subscription.AuthAPIKey:
		if a.APIKey.Location == "query" {
			p.target = target.WithQuery(a.APIKey.Key, a.APIKey.Value.Reveal())
			p.add("Cache-Control", "no-store")
		} else {
			p.add(a.APIKey.Key, a.APIKey.Value.Reveal())
		}
	}
	return p, nil
}

// identityOf returns the client certificate and the roots of an endpoint; nil:
// it has none of its own.
func identityOf(e subscription.Endpoint) (*egress.Identity, *egress.Error) {
	m := e.Auth.MTLS
	if m.Certificate == "" && m.CACertificate == "" {
		return nil, nil
	}
	ident, err := egress.NewIdentity(m.Certificate, m.PrivateKey.Reveal(), m.CACertificate)
	if err != nil {
		return nil, &egress.Error{Step: egress.StepTLS, Reason: "the endpoint's client certificate or private roots cannot be used", Err: err}
	}
	return ident, nil
}

func (p *Prepared) add(name, value string) {
	p.fields = append(p.fields, field{name, []string{value}})
}

// basic returns user and password as RFC 7617 section 2 sends them, in UTF-8
// (2.1).
func basic(b subscription.Basic) string {
	return base64.StdEncoding.EncodeToString([]byte(b.User + ":" + b.Password.Reveal()))
}

// Target is where the request goes, a key in the query included.
func (p *Prepared) Target() *egress.Target { return p.target }

// Identity is the client certificate and the roots of the endpoint's own; nil:
// it has none.
func (p *Prepared) Identity() *egress.Identity { return p.ident }

// Apply sets the header fields. The names are written as they were
// configured.
func (p *Prepared) Apply(h http.Header) {
	for _, f := range p.fields {
		h[f.name] = f.value
	}
}

// Mask is the function Mask for this endpoint, made ready once.
func (p *Prepared) Mask(text string) string { return p.mask.hide(text) }

// String returns a fixed mask.
func (*Prepared) String() string { return "[credential]" }

// GoString returns a fixed mask.
func (*Prepared) GoString() string { return "[credential]" }

// LogValue returns a fixed mask.
func (*Prepared) LogValue() slog.Value { return slog.StringValue("[credential]") }
