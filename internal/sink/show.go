package sink

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/delivery"
)

// The bounds of what is kept of a request's head, in bytes. Ours.
const (
	maxMethod = 64
	maxTarget = 8 << 10 // of the path, and of the query
	maxFields = 100
	maxHead   = 32 << 10 // of all names and values
)

// hidden stands for a secret.
const hidden = "***"

// minInside is the length in bytes from which a secret is masked inside of a
// text. A shorter one is masked where it is the whole value: inside of texts
// it would be found by chance.
const minInside = 6

// show returns the request as it is kept.
func show(r *http.Request, path string, body []byte, m *mask) Request {
	var out Request
	out.Method, out.Truncated = clip(r.Method, maxMethod, out.Truncated)
	out.Path, out.Truncated = clip(m.text(path), maxTarget, out.Truncated)
	out.Query, out.Truncated = clip(m.query(r.URL.RawQuery), maxTarget, out.Truncated)
	out.Size = len(body)
	out.Truncated = out.Truncated || len(body) > MaxBody
	// Masked before it is cut, or the beginning of a secret could stay.
	out.Body, out.Truncated = clip(m.text(string(body)), MaxBody, out.Truncated)

	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	fields := []delivery.Header{{Name: "Host", Value: r.Host}}
	for _, name := range names {
		for _, value := range r.Header[name] {
			fields = append(fields, delivery.Header{Name: name, Value: m.header(name, value)})
		}
	}
	left := maxHead
	for i, f := range fields {
		if i == maxFields || left <= 0 {
			out.Truncated = true
			break
		}
		f.Name, out.Truncated = clip(f.Name, left, out.Truncated)
		left -= len(f.Name)
		f.Value, out.Truncated = clip(f.Value, max(left, 0), out.Truncated)
		left -= len(f.Value)
		out.Headers = append(out.Headers, f)
	}
	return out
}

// clip returns at most n bytes of s as valid UTF-8, and whether something was
// left out, here or before.
func clip(s string, n int, before bool) (text string, cut bool) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s, before
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n]), true
}

// mask hides the secrets of the endpoints that point at a bin.
type mask struct {
	whole    map[string]bool // every secret in every spelling
	inside   *strings.Replacer
	headers  map[string]bool // lower-case names of API keys in headers
	queries  map[string]bool // names of API keys in queries
	anything bool            // inside replaces something
}

// text returns s with every secret replaced.
func (m *mask) text(s string) string {
	if m.whole[s] {
		return hidden
	}
	if !m.anything {
		return s
	}
	return m.inside.Replace(s)
}

// header returns a field's value as it is shown. Of credentials only the
// scheme is, whosever they are.
func (m *mask) header(name, value string) string {
	switch n := strings.ToLower(name); {
	case n == "authorization" || n == "proxy-authorization":
		scheme, rest, ok := strings.Cut(value, " ")
		if ok && rest != "" && token(scheme) {
			return scheme + " " + hidden
		}
		return hidden
	case n == "cookie" || m.headers[n]:
		return hidden
	}
	return m.text(value)
}

// token tells whether s can be the name of a scheme and nothing worse.
func token(s string) bool {
	return len(s) <= 20 && s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

// query returns a raw query with the values of API keys and secrets masked,
// all else as it was sent.
func (m *mask) query(raw string) string {
	if raw == "" {
		return ""
	}
	parts := strings.Split(raw, "&")
	for i, p := range parts {
		rawName, rawValue, ok := strings.Cut(p, "=")
		if !ok {
			continue
		}
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			name = rawName
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			value = rawValue
		}
		if m.queries[name] || m.text(value) != value {
			parts[i] = rawName + "=" + hidden
		}
	}
	return m.text(strings.Join(parts, "&"))
}
