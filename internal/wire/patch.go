package wire

import (
	"slices"
	"time"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

// CreateSubscription reads and checks a new subscription. The error is a
// fault.Invalid that lists every faulty field.
func CreateSubscription(n body.Node, check subscription.URLCheck) (subscription.Endpoint, error) {
	e, _, err := apply(n, subscription.Endpoint{}, true, Write, check)
	return e, err
}

// ReplaceSubscription reads and checks a full replacement (PUT) of cur.
// discard tells that a suspended one is to become an owner's pause. Errors as
// of CreateSubscription. It may be called again with the same n.
func ReplaceSubscription(n body.Node, cur subscription.Endpoint, check subscription.URLCheck) (e subscription.Endpoint, discard bool, err error) {
	return apply(n, cur, false, Write, check)
}

// PatchSubscription applies a merge patch (RFC 7396) to cur and checks what
// comes out. Results and errors as of ReplaceSubscription.
func PatchSubscription(patch body.Node, cur subscription.Endpoint, check subscription.URLCheck) (e subscription.Endpoint, discard bool, err error) {
	merged, unknown, err := Patch(cur, patch)
	if err != nil {
		return cur, false, err
	}
	o, err := body.NewObject(merged)
	if err != nil {
		return cur, false, err
	}
	for _, path := range unknown {
		o.Fault(path, body.CodeUnknownMember, "This member is not known here; leave it out.")
	}
	return applyTo(o, cur, false, Patched, check)
}

func apply(n body.Node, cur subscription.Endpoint, creating bool, mode Mode, check subscription.URLCheck) (subscription.Endpoint, bool, error) {
	o, err := body.NewObject(n)
	if err != nil {
		return cur, false, err
	}
	return applyTo(o, cur, creating, mode, check)
}

func applyTo(o *body.Object, cur subscription.Endpoint, creating bool, mode Mode, check subscription.URLCheck) (subscription.Endpoint, bool, error) {
	d := ReadSubscription(o, mode)
	e, fields := d.Apply(cur, creating, check)
	o.Add(fields...)
	if err := o.Err(); err != nil {
		return cur, false, err
	}
	return e, d.Discard, nil
}

// CreateInterceptor reads and checks a new interceptor. The error is a
// fault.Invalid that lists every faulty field.
func CreateInterceptor(n body.Node, check subscription.URLCheck) (subscription.Endpoint, error) {
	return ReplaceInterceptor(n, subscription.Endpoint{}, check)
}

// ReplaceInterceptor reads and checks a full replacement (PUT) of cur. Errors
// as of CreateInterceptor. It may be called again with the same n.
func ReplaceInterceptor(n body.Node, cur subscription.Endpoint, check subscription.URLCheck) (subscription.Endpoint, error) {
	o, err := body.NewObject(n)
	if err != nil {
		return cur, err
	}
	e, fields := ReadInterceptor(o).Apply(cur, check)
	o.Add(fields...)
	if err := o.Err(); err != nil {
		return cur, err
	}
	return e, nil
}

// Patch applies a merge patch to the editable members of cur and returns the
// result, to be read with Patched, and the places of members that are unknown
// although the merge removed them, for they were null.
//
// In the result a secret that stays is null. One stays when the patch does not
// name it, or names it null beside "<member>Set": true. A new authType starts
// from nothing but mtls, which stands beside every type. The error is
// fault.Invalid "wrong_type" for a patch that is no object.
func Patch(cur subscription.Endpoint, patch body.Node) (merged body.Node, unknown []string, err error) {
	if _, err := body.NewObject(patch); err != nil {
		return body.Node{}, nil, err
	}
	target := editable(cur)
	if a, ok := patch.Member(memberAuthentication); ok && a.Kind() == body.Struct {
		unknown = removed(unknown, patch, a)
		if t, ok := a.Member("authType"); ok && t.Text() != string(cur.Auth.Type) {
			target = target.With(memberAuthentication, editableMTLS(body.OfObject(), cur.Auth.MTLS))
		}
		a = keep(a, "token", "refreshToken", "clientSecret")
		for name, secrets := range map[string][]string{memberAPIKey: {"value"}, memberOAuth2: {"clientSecret"}, memberBasic: {"password"}, memberMTLS: {"privateKey"}} {
			if m, ok := a.Member(name); ok && m.Kind() == body.Struct {
				a = a.With(name, keep(m, secrets...))
			}
		}
		patch = patch.With(memberAuthentication, a)
	} else {
		unknown = removed(unknown, patch, body.Node{})
	}
	return body.Merge(target, patch), unknown, nil
}

// keep takes out of a patch each of the secrets that is null beside its
// "…Set": true.
func keep(n body.Node, secrets ...string) body.Node {
	for _, s := range secrets {
		v, ok := n.Member(s)
		is, _ := n.Member(set(s))
		if ok && v.Kind() == body.Null && is.True() {
			n = n.Without(s)
		}
	}
	return n
}

// removed lists the unknown members of a patch whose value is null, read-only
// ones included: the merge takes them away before anybody could refuse them.
func removed(out []string, patch, auth body.Node) []string {
	list := func(n body.Node, path string, known ...string) { out = nullsBut(out, n, path, known...) }
	list(patch, "", "name", "url", "status", "updateType", "eventTypes", memberAuthentication, "retrySchedule",
		"timeoutSeconds", "rateLimit", "maxInFlight", "description", "metadata", "onBacklog", "parts", "signatures", "discard")
	const at = "/" + memberAuthentication
	list(auth, at, "authType", memberAPIKey, memberOAuth2, memberBasic, memberMTLS, "token", set("token"), "refreshToken", set("refreshToken"),
		"refreshUrl", "clientId", "clientSecret", set("clientSecret"))
	sub := func(name string, known ...string) {
		m, _ := auth.Member(name)
		list(m, body.Join(at, name), known...)
	}
	sub(memberAPIKey, "location", "key", "value", set("value"))
	sub(memberOAuth2, "grantType", "authenticationUrl", "contentType", "clientId", "clientSecret", set("clientSecret"),
		"scope", "clientAuthMethod", "audience")
	sub(memberBasic, "user", "password", set("password"))
	sub(memberMTLS, "certificate", "privateKey", set("privateKey"), "caCertificate")
	return out
}

// nullsBut adds the places of n's members that are null and none of the known
// ones.
func nullsBut(out []string, n body.Node, path string, known ...string) []string {
	for _, name := range n.Names() {
		if v, _ := n.Member(name); v.Kind() == body.Null && !slices.Contains(known, name) {
			out = append(out, body.Join(path, name))
		}
	}
	return out
}

// editable returns what an owner may write of e as a request would; each
// secret that is set is null.
func editable(e subscription.Endpoint) body.Node {
	n := body.OfObject()
	num := func(name string, i int64) {
		if i != 0 {
			n = n.With(name, body.OfInt(i))
		}
	}
	n = str(n, "name", e.Name)
	n = str(n, "url", e.URL)
	n = str(n, "status", shownStatus(e))
	n = str(n, "updateType", string(e.UpdateType))
	if len(e.EventTypes) > 0 {
		n = n.With("eventTypes", ofStrings(e.EventTypes, func(t event.Type) string { return string(t) }))
	}
	n = n.With(memberAuthentication, editableMTLS(editableAuth(e.Auth), e.Auth.MTLS))
	if len(e.RetrySchedule) > 0 {
		n = n.With("retrySchedule", ofStrings(e.RetrySchedule, time.Duration.String))
	}
	num("timeoutSeconds", int64(e.Timeout/time.Second))
	num("rateLimit", int64(e.RateLimit))
	num("maxInFlight", int64(e.MaxInFlight))
	num("parts", int64(e.Parts))
	n = str(n, "description", e.Description)
	if len(e.Metadata) > 0 {
		m := body.OfObject()
		for k, v := range e.Metadata {
			m = m.With(k, body.OfString(v))
		}
		n = n.With("metadata", m)
	}
	n = n.With("signatures", ofStrings(e.Signatures(), func(s string) string { return s }))
	return str(n, "onBacklog", string(e.OnBacklog))
}

func ofStrings[T any](in []T, s func(T) string) body.Node {
	items := make([]body.Node, len(in))
	for i, v := range in {
		items[i] = body.OfString(s(v))
	}
	return body.OfArray(items...)
}

// str adds a text that is not empty.
func str(n body.Node, name, s string) body.Node {
	if s == "" {
		return n
	}
	return n.With(name, body.OfString(s))
}

// null adds a secret that is set, as null.
func null(n body.Node, name string, is bool) body.Node {
	if !is {
		return n
	}
	return n.With(name, body.Node{})
}

// editableMTLS adds a client certificate to an authentication that has one.
func editableMTLS(n body.Node, m subscription.MTLS) body.Node {
	if m == (subscription.MTLS{}) {
		return n
	}
	c := str(body.OfObject(), "certificate", m.Certificate)
	c = null(c, "privateKey", m.PrivateKey.IsSet())
	return n.With(memberMTLS, str(c, "caCertificate", m.CACertificate))
}

func editableAuth(a subscription.Auth) body.Node {
	n := str(body.OfObject(), "authType", string(a.Type))
	switch a.Type {
	case subscription.AuthAPIKey:
		k := str(str(body.OfObject(), "location", a.APIKey.Location), "key", a.APIKey.Key)
		n = n.With(memberAPIKey, null(k, "value", a.APIKey.Value.IsSet()))
	case subscription.AuthToken:
		b := a.Bearer
		n = null(n, "token", b.Token.IsSet())
		n = null(n, "refreshToken", b.RefreshToken.IsSet())
		n = str(n, "refreshUrl", b.RefreshURL)
		n = str(n, "clientId", b.ClientID)
		n = null(n, "clientSecret", b.ClientSecret.IsSet())
	case subscription.AuthOAuth2:
		o := a.OAuth2
		c := str(body.OfObject(), "grantType", o.GrantType)
		c = str(c, "authenticationUrl", o.AuthenticationURL)
		c = str(c, "contentType", o.ContentType)
		c = str(c, "clientId", o.ClientID)
		c = null(c, "clientSecret", o.ClientSecret.IsSet())
		c = str(c, "scope", o.Scope)
		c = str(c, "clientAuthMethod", o.ClientAuthMethod)
		c = str(c, "audience", o.Audience)
		n = n.With(memberOAuth2, c)
	case subscription.AuthBasic:
		n = n.With(memberBasic, null(str(body.OfObject(), "user", a.Basic.User), "password", a.Basic.Password.IsSet()))
	}
	return n
}
