package credential

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// hidden stands for a secret.
const hidden = "***"

// minPartial is the length in bytes from which the beginning of a secret is
// hidden where a text ends: a kept answer may have been cut inside of it.
const minPartial = 4

// Mask replaces every secret of the endpoint by "***" in a text that a
// receiver sent: as it is, and in the forms in which an echo would bring it
// back (base 64, percent-encoded, escaped for JSON or HTML). Where the text
// ends within a secret, that part is replaced as well.
func Mask(text string, e subscription.Endpoint) string { return newMask(e).hide(text) }

// mask is an endpoint's secrets in all their forms.
type mask struct {
	forms    []string // longest first, so that no part of one is hidden before the whole
	replacer *strings.Replacer
	starts   [1024 / 64]uint64 // of the first two bytes of each form, by pair
	short    bool              // a form has fewer than two bytes
}

// pair is the bit of two bytes in mask.starts.
func pair(a, b byte) (word, bit uint) {
	n := (uint(a)*37 + uint(b)) % 1024
	return n / 64, n % 64
}

// may tells whether any form, or the beginning of one, can be in the text: a
// look at each pair of bytes, for nearly every text holds none.
func (m *mask) may(text string) bool {
	if m.short {
		return true
	}
	for i := range len(text) - 1 {
		if w, b := pair(text[i], text[i+1]); m.starts[w]&(1<<b) != 0 {
			return true
		}
	}
	return false
}

func newMask(e subscription.Endpoint) *mask {
	a := e.Auth
	secrets := []secret.Value{
		a.APIKey.Value, a.Bearer.Token, a.Bearer.RefreshToken, a.Bearer.ClientSecret, a.OAuth2.ClientSecret, a.Basic.Password,
	}
	if a.Basic.Password.IsSet() {
		secrets = append(secrets, secret.New(a.Basic.User+":"+a.Basic.Password.Reveal()))
	}
	for _, s := range e.SigningSecrets {
		secrets = append(secrets, s.Secret, secret.New(strings.TrimPrefix(s.Secret.Reveal(), "whsec_")))
	}
	m := &mask{}
	for _, s := range secrets {
		if s.IsSet() {
			m.forms = append(m.forms, forms(s.Reveal())...)
		}
	}
	slices.SortFunc(m.forms, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	m.forms = slices.Compact(m.forms)
	pairs := make([]string, 0, 2*len(m.forms))
	for _, f := range m.forms {
		pairs = append(pairs, f, hidden)
		if len(f) < 2 {
			m.short = true
			continue
		}
		w, b := pair(f[0], f[1])
		m.starts[w] |= 1 << b
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

// forms returns the spellings of s.
func forms(s string) []string {
	escaped := []string{egress.PercentEncode(s), url.QueryEscape(s), url.PathEscape(s)}
	out := []string{s, html.EscapeString(s)}
	for _, e := range escaped {
		out = append(out, e, lowerEscapes(e))
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		out = append(out, enc.EncodeToString([]byte(s)))
	}
	for _, plain := range []bool{true, false} { // as a JSON string, without and with escapes for HTML
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(!plain)
		if enc.Encode(s) == nil {
			inner := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
			out = append(out, inner, strings.ReplaceAll(inner, "/", `\/`))
		}
	}
	return out
}

// lowerEscapes writes the hexadecimal digits after a percent sign in lower
// case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

func (m *mask) hide(text string) string {
	if len(m.forms) == 0 || !m.may(text) {
		return text
	}
	text = m.replacer.Replace(text)
	// The earliest place from which the rest of the text is the beginning of
	// a form.
	end := len(text)
	for _, f := range m.forms {
		for i := max(0, len(text)-len(f)+1); i <= len(text)-minPartial && i < end; i++ {
			if strings.HasPrefix(f, text[i:]) {
				end = i
			}
		}
	}
	if end < len(text) {
		return text[:end] + hidden
	}
	return text
}
