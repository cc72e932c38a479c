package credential

import (
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
)

// The bounds of a token endpoint's answer. Source: RULES O6; those marked ours
// are not there.
const (
	MaxAnswer      = 1 << 20             // bytes of the answer
	MaxAccessToken = 16 << 10            // bytes of a token
	maxLife        = 30 * 24 * time.Hour // ours: a longer expires_in counts as this
	maxDescription = 200                 // ours: characters that are shown of an error's description
	maxCode        = 64                  // ours: characters of an error's code
	maxShown       = 4 << 10             // bytes that are shown of an answer (RULES D4)
)

// answer is what a token endpoint said. It prints nothing of itself.
type answer struct {
	access  string
	refresh string        // empty: none came
	life    time.Duration // of access, when known
	known   bool          // expires_in was given
}

// keepable tells whether the refresh token, if one came, can be kept and sent.
func (a answer) keepable() bool {
	return len(a.refresh) <= MaxAccessToken && !strings.ContainsFunc(a.refresh, unicode.IsControl)
}

// String returns a fixed mask.
func (answer) String() string { return "[token answer]" }

// GoString returns a fixed mask.
func (answer) GoString() string { return "[token answer]" }

// answerError is an answer that holds no token.
type answerError struct {
	code        string // "error" of RFC 6749 5.2; empty: none was given
	description string // untrusted
	reason      string // when there is no code
}

func (e *answerError) Error() string {
	if e.code != "" {
		return e.code
	}
	return e.reason
}

// parseAnswer reads the body of an answer with the given status. Its error is
// an *answerError.
//
// An "error" wins over a token beside it, whatever the status. Members that we
// do not know are ignored, "instance_url" among them: nothing that a token
// endpoint says changes where a delivery goes (RULES E10). Source: RFC 6749
// 5.1, 5.2; RULES O2, O6.
func parseAnswer(status int, body []byte) (answer, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return answer{}, &answerError{reason: "its answer is not one JSON object"}
	}
	if e, ok := members["error"]; ok && e.Kind() != 'n' {
		code, isText := text(e)
		if !isText || !isCode(code) {
			code = ""
		}
		description, _ := text(members["error_description"])
		return answer{}, &answerError{code: code, description: description, reason: "its answer reports an error"}
	}
	if status < 200 || status > 299 {
		return answer{}, &answerError{reason: "its answer holds no token"}
	}
	var a answer
	access, ok := text(members["access_token"])
	switch {
	case !ok || access == "":
		return a, &answerError{reason: "its answer holds no access_token"}
	case len(access) > MaxAccessToken:
		return a, &answerError{reason: "its access_token is longer than 16 KiB"}
	case !visible(access):
		return a, &answerError{reason: "its access_token holds characters that a header must not hold"}
	}
	a.access = access
	// RFC 6749 7.1: a token of an unknown type must not be used. One without a
	// type is a bearer token: RFC 6749 5.1 requires the member, not all send it.
	if v, given := members["token_type"]; given && v.Kind() != 'n' {
		if kind, ok := text(v); !ok || !strings.EqualFold(kind, "bearer") {
			return a, &answerError{reason: "its token is not of the type Bearer"}
		}
	}
	if refresh, ok := text(members["refresh_token"]); ok && refresh != "" {
		a.refresh = refresh
	}
	a.life, a.known = lifetime(members["expires_in"])
	return a, nil
}

// text returns a JSON string's text.
func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", false
	}
	return s, true
}

// isCode tells whether s may be an error code. Source: RFC 6749 5.2.
func isCode(s string) bool {
	return s != "" && len(s) <= maxCode && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r > '~' || r == '"' || r == '\\'
	})
}

// lifetime reads "expires_in": seconds, as a number or as a text of one.
// Anything else says nothing.
func lifetime(v jsontext.Value) (life time.Duration, known bool) {
	s := string(v)
	if v.Kind() != '0' {
		var ok bool
		if s, ok = text(v); !ok {
			return 0, false
		}
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		seconds = math.Copysign(maxLife.Seconds(), seconds)
	case err != nil, math.IsNaN(seconds):
		return 0, false
	}
	if seconds >= maxLife.Seconds() {
		return maxLife, true
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), true
}

// isFinal tells whether an error means that the credentials are refused and
// that asking again is no use until their owner has acted: invalid_grant and
// its like (RFC 6749 5.2; RULES O8), and what Salesforce calls them.
func isFinal(status int, code string) bool {
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return false
	}
	return slices.Contains(final, code)
}

var final = []string{
	"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type", "access_denied",
	"invalid_client_id", "inactive_user", "inactive_org",
}

// showCode returns an error's code as it may be shown. One that everybody
// knows is shown as it is, whatever part of a secret it looks like.
func showCode(code string, m *mask) string {
	if code == "invalid_request" || slices.Contains(final, code) {
		return code
	}
	return m.hide(code)
}

// plain returns an untrusted text as one that may be shown: printable
// characters on one line, few of them, and none of the secrets. They are looked
// for before and behind the cleaning, which may bring the parts of one
// together, and ahead of the cut, which may leave a part.
func plain(s string, m *mask) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, m.hide(clip(s)))
	return shorten(strings.TrimSpace(m.hide(clean)), maxDescription)
}

// shorten cuts a text to that many characters.
func shorten(s string, limit int) string {
	n := 0
	for i := range s {
		if n++; n > limit {
			return s[:i] + "…"
		}
	}
	return s
}

// harmless are the members of a token answer whose values tell no secret.
var harmless = []string{
	"token_type", "expires_in", "scope", "error", "error_description", "error_uri", "issued_at", "instance_url", "message", "title", "detail", "status",
}

// telling matches the name of a member that may hold a secret, and tokenField
// the place of a token in a text that is no JSON object.
var (
	telling    = regexp.MustCompile(`(?i)token|secret|password|assertion|jwt|signature|cookie`)
	tokenField = regexp.MustCompile(`(?i)(access|refresh|id|auth|bearer|session)([_-]|%5f|\\u005f)?token`)
)

// The bounds of the search for tokens in an answer, ours: an honest one holds
// three.
const (
	maxTokens = 16
	maxDepth  = 8
)

// tokensOf returns the secrets that an answer itself holds, so that they are
// masked wherever else in it they stand. It is false when they are too many or
// too deep to be searched for: then nothing of the answer is to be shown.
func tokensOf(body []byte) ([]secret.Value, bool) {
	var out []secret.Value
	var walk func(v jsontext.Value, secretly bool, depth int) bool
	walk = func(v jsontext.Value, secretly bool, depth int) bool {
		if depth > maxDepth {
			return false
		}
		switch v.Kind() {
		case '"':
			if s, ok := text(v); ok && secretly && len(s) >= minPartial {
				out = append(out, secret.New(s))
			}
			return len(out) <= maxTokens
		case '[':
			var list []jsontext.Value
			if json.Unmarshal(v, &list) != nil {
				return true
			}
			for _, e := range list {
				if !walk(e, secretly, depth+1) {
					return false
				}
			}
		case '{':
			var members map[string]jsontext.Value
			if json.Unmarshal(v, &members) != nil {
				return true
			}
			for name, e := range members {
				if !walk(e, secretly || telling.MatchString(name) && !slices.Contains(harmless, name), depth+1) {
					return false
				}
			}
		}
		return true
	}
	ok := walk(body, false, 0)
	return out, ok
}

// showAnswer returns an answer's body as it may be kept and shown; m hides the
// answer's own secrets, too. Nobody but the token endpoint knows what its
// tokens look like, so of an object only the values of members that are known
// to be harmless are shown, and of anything else nothing when it came with a
// success or names a token.
func showAnswer(status int, body []byte, m *mask) string {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err == nil && members != nil {
		for name, v := range members {
			if !slices.Contains(harmless, name) {
				members[name] = jsontext.Value(`"` + hidden + `"`)
			} else if s, ok := text(v); ok {
				b, err := json.Marshal(m.hide(clip(s)))
				if err != nil {
					b = []byte(`"` + hidden + `"`)
				}
				members[name] = b
			} else if k := v.Kind(); k == '{' || k == '[' {
				members[name] = jsontext.Value(`"` + hidden + `"`)
			}
		}
		if b, err := json.Marshal(members, json.Deterministic(true)); err == nil {
			return clip(m.hide(strings.ToValidUTF8(string(b[:min(len(b), 2*maxShown)]), "")))
		}
	}
	switch {
	case len(body) == 0:
		return ""
	case status >= 200 && status <= 299, tokenField.Match(body):
		return fmt.Sprintf("(%d bytes that are no JSON object; not shown, for they may hold a token)", len(body))
	}
	return clip(m.hide(strings.ToValidUTF8(strings.ReplaceAll(string(body[:min(len(body), 2*maxShown)]), "\x00", "\uFFFD"), "\uFFFD")))
}

// clip cuts a text to what is shown.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "")
}

// shownFields are the fields of a token answer's header that are kept.
var shownFields = []string{"Content-Type", "Date", "Retry-After", "Server", "Www-Authenticate"}

func showHeader(h []egress.Header, m *mask) [][2]string {
	var out [][2]string
	for _, f := range h {
		if slices.Contains(shownFields, f.Name) {
			out = append(out, [2]string{f.Name, m.hide(f.Value)})
		}
	}
	return out
}

// mediaType returns a Content-Type in plain words.
func mediaType(h []egress.Header) string {
	for _, f := range h {
		if f.Name == "Content-Type" {
			if kind, _, err := mime.ParseMediaType(f.Value); err == nil {
				return kind
			}
		}
	}
	return "no known type"
}
