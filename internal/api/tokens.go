package api

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/fault"
)

// sourceTokenBody is the answer of "Webhook in Data Sharing", Access Token
// Response, its members in that order.
type sourceTokenBody struct {
	AccessToken      string `json:"access_token"`
	ExpiresIn        int    `json:"expires_in"`
	RefreshExpiresIn int    `json:"refresh_expires_in"`
	TokenType        string `json:"token_type"`
	NotBeforePolicy  int    `json:"not-before-policy"`
	Scope            string `json:"scope"`
}

// oauthTokenBody is a successful answer of RFC 6749 section 5.1.
type oauthTokenBody struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope,omitempty"`
}

// The bounds of what a caller presents as its credential, in characters. Ours
// are shorter.
const (
	maxClientID     = 255
	maxClientSecret = 2000
)

// address returns the caller's address without its port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (s *server) sourceToken(c *call) (reply, error) {
	o, err := c.fields()
	if err != nil {
		return reply{}, err
	}
	id := o.Str("client_id", body.Required, body.Chars(1, maxClientID))
	sec := o.Str("client_secret", body.Required, body.Chars(1, maxClientSecret))
	if err := o.Err(); err != nil {
		return reply{}, err
	}
	token, err := s.App.IssueToken(c.ctx(), id, sec, address(c.r))
	if err != nil {
		return reply{}, err
	}
	c.caller.ClientID = id
	return ok(sourceTokenBody{
		AccessToken: token.Reveal(), ExpiresIn: int(access.TokenLife.Seconds()),
		TokenType: "Bearer", Scope: "email profile",
	})
}

func (s *server) oauthToken(c *call) (reply, error) {
	form, err := c.form()
	if err != nil {
		return reply{}, err
	}
	id, sec, err := client(c.r, form)
	if err != nil {
		return reply{}, err
	}
	switch form["grant_type"] {
	case "client_credentials":
	case "":
		return reply{}, fault.At(fault.Invalid, "invalid_request", "grant_type", "The parameter grant_type is missing.")
	default:
		return reply{}, fault.At(fault.Invalid, "unsupported_grant_type", "grant_type", "The only grant_type is client_credentials.")
	}
	scope := form["scope"]
	if !validScope(scope) {
		return reply{}, fault.At(fault.Invalid, "invalid_scope", "scope", "A scope is words of visible ASCII characters with single spaces between them.")
	}
	token, err := s.App.IssueToken(c.ctx(), id, sec, address(c.r))
	if err != nil {
		return reply{}, err
	}
	c.caller.ClientID = id
	c.w.Header().Set("Pragma", "no-cache") // RFC 6749 section 5.1
	return ok(oauthTokenBody{AccessToken: token.Reveal(), TokenType: "Bearer", ExpiresIn: int(access.TokenLife.Seconds()), Scope: scope})
}

// form reads a form whose parameters occur once each; one without a value
// counts as absent. Source: RFC 6749 section 3.2.
func (c *call) form() (map[string]string, error) {
	b, err := c.raw(mediaForm)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(b))
	if err != nil {
		// The text of err repeats the body.
		return nil, fault.New(fault.Invalid, "invalid_request", "The body is not a well-formed form.")
	}
	out := make(map[string]string, len(values))
	for name, vs := range values {
		if len(vs) > 1 {
			return nil, fault.New(fault.Invalid, "invalid_request", "A parameter is given more than once.")
		}
		if !utf8.ValidString(vs[0]) || strings.IndexByte(vs[0], 0) >= 0 {
			return nil, fault.New(fault.Invalid, "invalid_request", "A parameter is not valid text.")
		}
		if vs[0] != "" {
			out[name] = vs[0]
		}
	}
	return out, nil
}

// client returns the client's credential from the header or the form, never
// from both. Source: RFC 6749 sections 2.3 and 2.3.1.
func client(r *http.Request, form map[string]string) (id, sec string, err error) {
	id, sec = form["client_id"], form["client_secret"]
	fields := r.Header.Values("Authorization")
	if len(fields) == 0 {
		switch {
		case id == "" && sec == "":
			return "", "", fault.New(fault.Unauthenticated, "invalid_client", "Authenticate the client: by HTTP Basic, or by client_id and client_secret in the body.")
		case id == "" || sec == "":
			return "", "", fault.New(fault.Invalid, "invalid_request", "Both client_id and client_secret are needed.")
		case utf8.RuneCountInString(id) > maxClientID || utf8.RuneCountInString(sec) > maxClientSecret:
			return "", "", errClient()
		}
		return id, sec, nil
	}
	if id != "" || sec != "" {
		return "", "", fault.New(fault.Invalid, "invalid_request", "Authenticate the client in one way only: by HTTP Basic or in the body.")
	}
	scheme, text, _ := strings.Cut(fields[0], " ")
	raw, decErr := base64.StdEncoding.DecodeString(strings.TrimLeft(text, " "))
	user, password, colon := strings.Cut(string(raw), ":")
	if len(fields) > 1 || !strings.EqualFold(scheme, "Basic") || decErr != nil || !colon {
		return "", "", fault.New(fault.Unauthenticated, "invalid_client", "The Authorization header holds no Basic credentials.")
	}
	id, idErr := url.QueryUnescape(user)
	sec, secErr := url.QueryUnescape(password)
	if idErr != nil || secErr != nil || id == "" || len(id) > maxClientID || len(sec) > maxClientSecret || !utf8.ValidString(id) || !utf8.ValidString(sec) {
		return "", "", errClient()
	}
	return id, sec, nil
}

func errClient() error {
	return fault.New(fault.Unauthenticated, "invalid_client", "The client ID or the client secret is wrong.")
}

// validScope tells whether s is a scope, or empty. Source: RFC 6749 section
// 3.3.
func validScope(s string) bool {
	if s == "" {
		return true
	}
	return len(s) <= 1000 && !slices.ContainsFunc(strings.Split(s, " "), func(word string) bool {
		return word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
	})
}
