package subscription

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/consentwire/consentwire/internal/secret"
)

// The limits of the authentication's fields, in Unicode code points. Source:
// DOMAIN 7.9; those marked ours are not there.
const (
	MaxAPIKeyName   = 100
	MaxAPIKeyValue  = 2000
	MaxToken        = 8192
	MaxClientID     = 255
	MaxClientSecret = 2000
	MaxScope        = 1000
	MaxAudience     = 2000 // ours
	MaxUser         = 255  // ours
	MaxPassword     = 2000 // ours
)

// The values of apiKeyAuth.location, of oauth2Auth.grantType,
// oauth2Auth.contentType and oauth2Auth.clientAuthMethod.
const (
	InHeader = "header"
	InQuery  = "query"

	ClientCredentials = "client-credentials"

	ContentForm = "application-form-urlencoded"
	ContentJSON = "application-json"

	ClientAuthAuto  = "auto"
	ClientAuthBasic = "basic"
	ClientAuthBody  = "body"
)

// auth checks an authentication that is to replace cur's. address is the
// checked url, empty when it is at fault.
func (v *validator) auth(d AuthDraft, cur Endpoint, address string) Auth {
	const at = "/authentication"
	if d.Type == nil {
		v.required(at + "/authType")
		return Auth{}
	}
	a := Auth{Type: AuthType(*d.Type)}
	if !v.oneOf(at+"/authType", *d.Type, string(AuthNone), string(AuthAPIKey), string(AuthToken), string(AuthOAuth2), string(AuthBasic)) {
		return Auth{}
	}

	foreign := "This member does not belong to the authType " + *d.Type + "."
	token := a.Type == AuthToken
	v.foreign(at+"/apiKeyAuth", d.APIKey != nil && a.Type != AuthAPIKey, foreign)
	v.foreign(at+"/oauth2Auth", d.OAuth2 != nil && a.Type != AuthOAuth2, foreign)
	v.foreign(at+"/basicAuth", d.Basic != nil && a.Type != AuthBasic, foreign)
	v.foreign(at+"/token", d.Token.Given && !token, foreign)
	v.foreign(at+"/refreshToken", d.RefreshToken.Given && !token, foreign)
	v.foreign(at+"/refreshUrl", d.RefreshURL != nil && !token, foreign)
	v.foreign(at+"/clientId", d.ClientID != nil && !token, foreign)
	v.foreign(at+"/clientSecret", d.ClientSecret.Given && !token, foreign)

	var former Auth // what may be kept, beside the client certificate
	if cur.Auth.Type == a.Type {
		former = cur.Auth
	}
	switch a.Type {
	case AuthAPIKey:
		if d.APIKey == nil {
			v.required(at + "/apiKeyAuth")
			break
		}
		a.APIKey = v.apiKey(at+"/apiKeyAuth", *d.APIKey, former.APIKey, address)
	case AuthToken:
		a.Bearer = v.bearer(at, d, former.Bearer)
	case AuthOAuth2:
		if d.OAuth2 == nil {
			v.required(at + "/oauth2Auth")
			break
		}
		a.OAuth2 = v.oauth2(at+"/oauth2Auth", *d.OAuth2, former.OAuth2)
	case AuthBasic:
		if d.Basic == nil {
			v.required(at + "/basicAuth")
			break
		}
		a.Basic.User = v.user(at+"/basicAuth/user", d.Basic.User)
		a.Basic.Password = v.secret(at+"/basicAuth/password", d.Basic.Password, former.Basic.Password, true, password)
	}
	if d.MTLS != nil { // last: by now it is known whether an address moved
		a.MTLS = v.mtls(at+"/mtls", *d.MTLS, cur.Auth.MTLS)
	}
	return a
}

// apiKey checks a key for a header or the query. Source: RULES E9, DOMAIN 7.9.
func (v *validator) apiKey(at string, d APIKeyDraft, former APIKey, address string) APIKey {
	var k APIKey
	if d.Location == nil {
		v.required(at + "/location")
	} else if v.oneOf(at+"/location", *d.Location, InHeader, InQuery) {
		k.Location = *d.Location
	}
	if d.Key == nil {
		v.required(at + "/key")
	} else if v.length(at+"/key", *d.Key, 1, MaxAPIKeyName) {
		k.Key = *d.Key
		switch k.Location {
		case InHeader:
			v.headerName(at+"/key", k.Key)
		case InQuery:
			visible := func(r rune) bool { return unicode.IsPrint(r) && !unicode.IsSpace(r) && r != unicode.ReplacementChar }
			if v.characters(at+"/key", k.Key, visible, "A query key must consist of visible characters.") && inQuery(address, k.Key) {
				v.add(at+"/key", CodeKeyInURL, "The url has a query parameter of this name already.")
			}
		}
	}
	rule := queryValue
	if k.Location == InHeader {
		rule = headerValue
	}
	k.Value = v.secret(at+"/value", d.Value, former.Value, true, rule)
	return k
}

// headerName checks the name of an API key's header. Source: RULES E9, RFC
// 9110 5.6.2 (token).
func (v *validator) headerName(path, name string) {
	for _, r := range name {
		alnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", r) {
			v.add(path, CodeInvalidHeader, "A header's name may hold letters, digits and !#$%&'*+-.^_`|~ only.")
			return
		}
	}
	if reservedHeader(name) {
		v.add(path, CodeReservedHeader, "This header is set by us or by the protocol; choose another name.")
	}
}

// reservedHeader tells whether a receiver's key must not go by this name, in
// any case of letters.
func reservedHeader(name string) bool {
	n := strings.ToLower(name)
	switch n {
	case "authorization", "cookie", "user-agent", "host", "transfer-encoding", "connection",
		"keep-alive", "upgrade", "te", "trailer", "expect", "http2-settings":
		return true
	}
	for _, p := range []string{"consentwire-", "x-webhook-", "content-", "proxy-", "webhook-"} {
		if strings.HasPrefix(n, p) {
			return true
		}
	}
	return false
}

// inQuery tells whether the address has a query parameter of that name.
func inQuery(address, name string) bool {
	_, rest, _ := strings.Cut(address, "?")
	for pair := range strings.SplitSeq(rest, "&") {
		k, _, _ := strings.Cut(pair, "=")
		if u, err := url.QueryUnescape(k); err == nil {
			k = u
		}
		if k == name {
			return true
		}
	}
	return false
}

// bearer checks a static token, or a refresh token with what it needs. Which
// of the two it is, the presence of refreshToken or refreshUrl decides.
// Source: DOMAIN 3.3, 7.9, 7.10 (B3, B4).
func (v *validator) bearer(at string, d AuthDraft, former Bearer) Bearer {
	var b Bearer
	if !d.RefreshToken.Given && !d.RefreshToken.Keep && d.RefreshURL == nil {
		const foreign = "This member belongs to a refreshToken, which is absent."
		v.foreign(at+"/clientId", d.ClientID != nil, foreign)
		v.foreign(at+"/clientSecret", d.ClientSecret.Given || d.ClientSecret.Keep, foreign)
		b.Token = v.secret(at+"/token", d.Token, former.Token, true, token)
		return b
	}
	if d.RefreshURL == nil {
		v.required(at + "/refreshUrl")
	} else {
		b.RefreshURL = v.url(at+"/refreshUrl", d.RefreshURL, former.RefreshURL)
	}
	b.Token = v.secret(at+"/token", d.Token, former.Token, false, token)
	b.RefreshToken = v.secret(at+"/refreshToken", d.RefreshToken, former.RefreshToken, true, refreshToken)
	if d.ClientID != nil {
		b.ClientID = v.text(at+"/clientId", *d.ClientID, 1, MaxClientID)
	} else if d.ClientSecret.Given || d.ClientSecret.Keep {
		v.add(at+"/clientId", CodeRequired, "A clientSecret needs its clientId.")
	}
	b.ClientSecret = v.secret(at+"/clientSecret", d.ClientSecret, former.ClientSecret, false, clientSecret)
	return b
}

// oauth2 checks client credentials. Source: DOMAIN 7.9; RULES O1.
func (v *validator) oauth2(at string, d OAuth2Draft, former OAuth2) OAuth2 {
	o := OAuth2{ContentType: ContentForm, ClientAuthMethod: ClientAuthAuto}
	if d.GrantType == nil {
		v.required(at + "/grantType")
	} else if v.oneOf(at+"/grantType", *d.GrantType, ClientCredentials) {
		o.GrantType = *d.GrantType
	}
	o.AuthenticationURL = v.url(at+"/authenticationUrl", d.AuthenticationURL, former.AuthenticationURL)
	if d.ContentType != nil && v.oneOf(at+"/contentType", *d.ContentType, ContentForm, ContentJSON) {
		o.ContentType = *d.ContentType
	}
	if d.ClientID == nil {
		v.required(at + "/clientId")
	} else {
		o.ClientID = v.text(at+"/clientId", *d.ClientID, 1, MaxClientID)
	}
	o.ClientSecret = v.secret(at+"/clientSecret", d.ClientSecret, former.ClientSecret, true, clientSecret)
	if d.Scope != nil && v.length(at+"/scope", *d.Scope, 0, MaxScope) &&
		v.characters(at+"/scope", *d.Scope, func(r rune) bool { return r >= ' ' && r <= '~' }, "A scope consists of visible ASCII characters and single spaces.") {
		o.Scope = *d.Scope
	}
	if d.ClientAuthMethod != nil && v.oneOf(at+"/clientAuthMethod", *d.ClientAuthMethod, ClientAuthAuto, ClientAuthBasic, ClientAuthBody) {
		o.ClientAuthMethod = *d.ClientAuthMethod // a token request in JSON uses the body all the same (RULES O1)
	}
	if d.Audience != nil {
		o.Audience = v.text(at+"/audience", *d.Audience, 0, MaxAudience)
	}
	return o
}

// text checks a text without control characters.
func (v *validator) text(path, s string, least, most int) string {
	if v.length(path, s, least, most) && v.noControl(path, s) {
		return s
	}
	return ""
}

// user checks the user of HTTP Basic authentication, whose name ends at the
// first colon. Source: RFC 7617 2.
func (v *validator) user(path string, user *string) string {
	if user == nil {
		v.required(path)
		return ""
	}
	s := v.text(path, *user, 1, MaxUser)
	if strings.Contains(s, ":") {
		v.add(path, CodeInvalidCharacter, "A user must not hold a colon.")
	}
	return s
}

// secretRule bounds one kind of secret.
type secretRule uint8

const (
	headerValue secretRule = iota
	queryValue
	token
	refreshToken
	clientSecret
	password
	privateKey
)

// secret returns the new or the kept secret. required says that there must be
// one.
func (v *validator) secret(path string, in SecretInput, former secret.Value, required bool, rule secretRule) secret.Value {
	switch {
	case in.Given:
		if s := in.Value.Reveal(); !v.secretText(path, s, rule) {
			return secret.Value{}
		}
		return in.Value
	case in.Keep && former.IsSet():
		if v.moved {
			v.add(path, CodeSecretRequired, "The host of an address changes, so the secret must be given again.")
		}
		return former
	case required:
		v.add(path, CodeRequired, "This secret is required.")
	}
	return secret.Value{}
}

func (v *validator) secretText(path, s string, rule secretRule) bool {
	most := MaxClientSecret
	switch rule {
	case privateKey:
		return v.pem(path, s, MaxPrivateKey)
	case headerValue, queryValue:
		most = MaxAPIKeyValue
	case token, refreshToken:
		most = MaxToken
	case password:
		most = MaxPassword
	}
	if !v.length(path, s, 1, most) {
		return false
	}
	switch rule {
	case headerValue:
		if !v.characters(path, s, func(r rune) bool { return r >= ' ' && r <= '~' }, "A header's value must consist of visible ASCII characters and spaces.") {
			return false
		}
		if strings.TrimSpace(s) != s {
			v.add(path, CodeInvalidCharacter, "A header's value must not begin or end with a space.")
			return false
		}
		return true
	case token:
		return v.characters(path, s, func(r rune) bool { return r > ' ' && r <= '~' }, "A bearer token must consist of visible ASCII characters without spaces.")
	}
	return v.noControl(path, s)
}
