package telemetry

import (
	"encoding"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxText bounds one text of a record, in bytes, so that a line stays a line.
const maxText = 8 << 10

// redactor takes out of a record what must not be in a log.
type redactor struct {
	allowed   map[string]bool // the vocabulary: spares the look at each key
	forbidden map[string]bool
	suffixes  []string
	urls      *regexp.Regexp
	queries   *regexp.Regexp
	secrets   *regexp.Regexp
}

func newRedactor() *redactor {
	r := &redactor{
		allowed:   map[string]bool{slog.MessageKey: true},
		forbidden: map[string]bool{},
		suffixes:  []string{"authorization", "password", "secret", "token", "apikey", "masterkey", "cookie", "query"},
		urls:      regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*`),
		queries:   regexp.MustCompile(`\?[^\s"'<>=]+=[^\s"'<>]*`),
		secrets:   regexp.MustCompile(`whsec_[A-Za-z0-9+/=_-]+|(?i:\b(?:bearer|basic) [A-Za-z0-9._~+/=!-]{16,})`),
	}
	for _, k := range []string{
		"body", "payload", "headers", "header", "signature", "credential", "credentials", "bearer", "apivalue",
		// Personal data (RULES 6): a log names events and endpoints, never people.
		"subject", "citizen", "citizenid", "externalref", "loggeduser", "businessentity", "identification", "document", "email", "address",
	} {
		r.forbidden[k] = true
	}
	for _, k := range Keys() {
		r.allowed[k] = true
	}
	return r
}

// drops tells whether nothing under this key may be written. Case, hyphens and
// underscores do not matter.
func (r *redactor) drops(key string) bool {
	if r.allowed[key] {
		return false
	}
	k := strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(key))
	if r.forbidden[k] {
		return true
	}
	for _, s := range r.suffixes {
		if strings.HasSuffix(k, s) {
			return true
		}
	}
	return false
}

// attr is the handler's ReplaceAttr: it returns a without its secrets, or
// nothing. Values that log themselves are resolved before it is called.
func (r *redactor) attr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch a.Key {
		case slog.TimeKey:
			if a.Value.Kind() == slog.KindTime {
				return slog.Attr{Key: a.Key, Value: stamp(a.Value.Time())}
			}
		case slog.LevelKey:
			return a
		}
	}
	for _, g := range groups {
		if r.drops(g) {
			return slog.Attr{}
		}
	}
	if r.drops(a.Key) {
		return slog.Attr{}
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(r.text(a.Value.String()))
	case slog.KindTime:
		a.Value = stamp(a.Value.Time())
	case slog.KindAny:
		a.Value = r.other(a.Value.Any())
	}
	return a
}

// other returns a text for a value whose kind slog does not know: its own
// text when it has one, else its type, for its fields may be secrets.
func (r *redactor) other(v any) (out slog.Value) {
	defer func() {
		if recover() != nil { // a nil receiver's own method
			out = slog.StringValue(fmt.Sprintf("[%T]", v))
		}
	}()
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(r.text(v.Error()))
	case fmt.Stringer:
		return slog.StringValue(r.text(v.String()))
	case encoding.TextMarshaler:
		b, err := v.MarshalText()
		if err != nil {
			return slog.StringValue(fmt.Sprintf("[%T]", v))
		}
		return slog.StringValue(r.text(string(b)))
	case []string:
		return slog.StringValue(r.text(strings.Join(v, " ")))
	}
	switch x := reflect.ValueOf(v); x.Kind() {
	case reflect.String:
		return slog.StringValue(r.text(x.String()))
	case reflect.Bool:
		return slog.BoolValue(x.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return slog.Int64Value(x.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return slog.Uint64Value(x.Uint())
	case reflect.Float32, reflect.Float64:
		return slog.Float64Value(x.Float())
	}
	return slog.StringValue(fmt.Sprintf("[%T]", v))
}

// text returns s without queries and users of URLs, without anything that
// looks like a bearer, Basic credentials or a signing secret, and without what
// a receiver said out of turn; at most maxText bytes.
func (r *redactor) text(s string) string {
	if at := strings.Index(s, "Unsolicited response"); at >= 0 {
		if cut := strings.Index(s[at:], " starting with "); cut >= 0 {
			s = s[:at+cut]
		}
	}
	if strings.Contains(s, "://") {
		s = r.urls.ReplaceAllStringFunc(s, bareURL)
	}
	if strings.Contains(s, "?") {
		s = r.queries.ReplaceAllString(s, "?[query]")
	}
	if strings.Contains(s, "whsec_") || len(s) >= len("basic ")+16 && strings.Contains(s, " ") {
		s = r.secrets.ReplaceAllString(s, "[secret]")
	}
	if len(s) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return s
}

// bareURL cuts user, query and fragment off a URL.
func bareURL(u string) string {
	if i := strings.IndexAny(u, "?#"); i >= 0 {
		u = u[:i] + "?[query]"
	}
	scheme, rest, _ := strings.Cut(u, "://")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	return scheme + "://" + authority + path
}
