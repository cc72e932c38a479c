package credential

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// hidden stands for a secret.
const hidden = "***"

// minPartial is the length in bytes from which the beginning of a secret is
// hidden where a text ends: a kept answer may have been cut inside of it.
const minPartial = 4

// minInner is the length in bytes from which a secret is also looked for
// inside of a longer text in base 64; of a shorter one too little stays there.
const minInner = 6

// maxWork bounds the characters that are compared for one text. An ordinary
// answer of 4 KiB needs some thousands; a text that was made to need more is
// hidden as a whole.
const maxWork = 1 << 18

// Mask replaces every secret of the endpoint by "***" in a text that a
// receiver sent: as it is or in base 64, and each of them also
// percent-encoded or escaped for JSON, JavaScript or HTML, whichever of its
// characters that may be, in any case of letters (a header's name comes back
// in another). Where the text ends within a secret, that part is replaced as
// well.
func Mask(text string, e subscription.Endpoint) string { return newMask(secretsOf(e)).hide(text) }

// Masker returns the function Mask for one endpoint, made ready once.
func Masker(e subscription.Endpoint) func(text string) string { return newMask(secretsOf(e)).hide }

// mask is an endpoint's secrets in all their forms.
type mask struct {
	forms []string   // each once
	heads [16]uint64 // a bit for each pair of bytes with which a form may begin, by pair
}

// pair returns the bit for two bytes, in any case of letters. Others may
// share it.
func pair(a, b byte) (word int, bit uint64) {
	h := (uint32(lower(a))<<8 | uint32(lower(b))) * 2654435761 >> 22 // Fibonacci hashing to 10 bits
	return int(h >> 6), 1 << (h & 63)
}

// secretsOf returns what must not be seen of an endpoint: its secrets, and
// what is made of them on the wire.
func secretsOf(e subscription.Endpoint) []secret.Value {
	secrets := e.Secrets()
	if p := e.Auth.Basic.Password; p.IsSet() {
		secrets = append(secrets, inBasic(e.Auth.Basic.User, p.Reveal())...)
	}
	if m := e.Mail; m.Password.IsSet() { // as a sign-in by PLAIN has them (RFC 4616)
		both := []byte("\x00" + m.User + "\x00" + m.Password.Reveal())
		secrets = append(secrets, secret.New(base64.RawStdEncoding.EncodeToString(both)))
	}
	for _, s := range e.SigningSecrets {
		secrets = append(secrets, secret.New(strings.TrimPrefix(s.Secret.Reveal(), "whsec_")))
	}
	for _, k := range e.SigningKeys {
		secrets = append(secrets, secret.New(strings.TrimPrefix(k.PrivateKey.Reveal(), "whsk_")))
	}
	if o := e.Auth.OAuth2; o.ClientSecret.IsSet() {
		secrets = append(secrets, inBasic(url.QueryEscape(o.ClientID), url.QueryEscape(o.ClientSecret.Reveal()))...)
	}
	return secrets
}

// inBasic returns a name and its secret as the scheme Basic puts them
// together. In base 64 only: as a plain text they begin with the name, which is
// no secret and may be a part of any word.
func inBasic(name, s string) []secret.Value {
	text := []byte(name + ":" + s)
	return []secret.Value{secret.New(base64.RawStdEncoding.EncodeToString(text)), secret.New(base64.RawURLEncoding.EncodeToString(text))}
}

func newMask(secrets []secret.Value) *mask {
	m := &mask{}
	for _, s := range secrets {
		if s.IsSet() {
			m.forms = append(m.forms, forms(s.Reveal())...)
			// What a request escaped may be escaped once more by who shows it.
			for _, escaped := range []string{url.QueryEscape(s.Reveal()), quoted(s.Reveal())} {
				if escaped != s.Reveal() {
					m.forms = append(m.forms, forms(escaped)...)
				}
			}
		}
	}
	slices.Sort(m.forms)
	m.forms = slices.Compact(m.forms)
	for _, f := range m.forms {
		if len(f) > 1 {
			// The second character may be an escape, and a space a plus.
			for _, c := range []byte{f[1], '%', '\\', '&', '+'} {
				m.head(f[0], c)
				if f[0] == ' ' {
					m.head('+', c)
				}
			}
			continue
		}
		for c := range 256 {
			m.head(f[0], byte(c))
			if f[0] == ' ' {
				m.head('+', byte(c))
			}
		}
	}
	return m
}

// quoted returns s as a JSON string holds it.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // no text, so in no JSON
		return s
	}
	return string(b[1 : len(b)-1])
}

// head notes that a form may begin with the two bytes.
func (m *mask) head(a, b byte) {
	word, bit := pair(a, b)
	m.heads[word] |= bit
}

// forms returns s and what it becomes in base 64: alone, and inside of a
// longer text, where it may begin at any of three places and where its first
// and last characters depend on what surrounds it.
func forms(s string) []string {
	out := []string{s}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		out = append(out, enc.EncodeToString([]byte(s)))
		if len(s) < minInner {
			continue
		}
		for shift := range 3 {
			text := enc.EncodeToString([]byte("\x00\x00"[:shift] + s))
			bits := 8 * (shift + len(s))
			out = append(out, text[(8*shift+5)/6:bits/6])
		}
	}
	return out
}

// hide returns the text with every secret replaced.
func (m *mask) hide(text string) string {
	if len(m.forms) == 0 {
		return text
	}
	ways := make([]way, 1, 4) // as it is, and each way of escaping that the text may have used
	for _, w := range []way{percent, backslash, ampersand} {
		if strings.IndexByte(text, byte(w)) >= 0 || w == percent && strings.IndexByte(text, '+') >= 0 {
			ways = append(ways, w)
		}
	}
	var out strings.Builder
	kept, work := 0, 0 // how far the text is in out, and how much was compared
	for i := 0; i < len(text); {
		next := byte(0)
		if i+1 < len(text) {
			next = text[i+1]
		}
		if c := text[i]; c != byte(percent) && c != byte(backslash) && c != byte(ampersand) {
			if word, bit := pair(c, next); m.heads[word]&bit == 0 {
				i++
				continue
			}
		}
		n, compared := m.at(text[i:], ways)
		if work += compared; work > maxWork {
			return hidden
		}
		if n == 0 {
			i++
			continue
		}
		out.WriteString(text[kept:i])
		out.WriteString(hidden)
		i += n
		kept = i
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// at returns the length of the longest secret that text begins with, and 0
// when there is none. Text that ends within a secret is one as a whole.
func (m *mask) at(text string, ways []way) (longest, compared int) {
	for _, w := range ways {
		// What an escape at the start stands for excludes most forms at once.
		start, single := text[0], true
		if w != 0 && start == byte(w) {
			char, n, cut := unescape(text)
			if n > 0 {
				start = char[0]
			}
			single = !cut
		}
		for _, f := range m.forms {
			if single && lower(f[0]) != lower(start) && (start != '+' || f[0] != ' ') {
				continue
			}
			n, matched := match(text, f, w)
			compared += 1 + n
			if matched == len(f) || n == len(text) && matched >= min(minPartial, len(f)) {
				longest = max(longest, n)
			}
		}
	}
	return longest, compared
}

// way is a way of escaping: 0 for none, or the character that begins an
// escape. An encoder keeps to one.
type way byte

const (
	percent   way = '%'  // URLs and forms
	backslash way = '\\' // JSON and JavaScript
	ampersand way = '&'  // HTML
)

// match compares text with a form, character by character. It returns how
// much of text it took and how much of the form was found. An escape that is
// cut off at the end of text counts as taken.
func match(text, form string, w way) (taken, matched int) {
	for matched < len(form) && taken < len(text) {
		c := text[taken]
		if w != 0 && c == byte(w) {
			char, n, cut := unescape(text[taken:])
			if cut {
				return len(text), matched
			}
			if n > 0 {
				if !strings.HasPrefix(form[matched:], char) && (len(char) != 1 || lower(char[0]) != lower(form[matched])) {
					return taken, matched
				}
				taken, matched = taken+n, matched+len(char)
				continue
			}
		}
		if lower(c) != lower(form[matched]) && (w != percent || c != '+' || form[matched] != ' ') {
			return taken, matched
		}
		taken, matched = taken+1, matched+1
	}
	return taken, matched
}

// named are the characters that HTML and our readers know by name.
var named = []struct{ name, char string }{
	{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", `"`}, {"&apos;", "'"}, {"&sol;", "/"}, {"&plus;", "+"}, {"&equals;", "="},
}

// unescape reads the escape that text begins with: the character that it
// stands for and its length, 0 when it is none. cut tells that text ends
// within one.
func unescape(text string) (char string, n int, cut bool) {
	switch text[0] {
	case '%':
		return hexByte(text, 1)
	case '&':
		return reference(text)
	case '\\':
		if len(text) == 1 {
			return "", 0, true
		}
		switch text[1] {
		case 'x':
			return hexByte(text, 2)
		case 'u':
			return utf16Escape(text)
		case 'n':
			return "\n", 2, false
		case 'r':
			return "\r", 2, false
		case 't':
			return "\t", 2, false
		case 'b':
			return "\b", 2, false
		case 'f':
			return "\f", 2, false
		}
		if strings.IndexByte(`"'/\`, text[1]) >= 0 {
			return text[1:2], 2, false
		}
	}
	return "", 0, false
}

// hexByte reads two hexadecimal digits behind a prefix.
func hexByte(text string, prefix int) (char string, n int, cut bool) {
	if len(text) < prefix+2 {
		return "", 0, true
	}
	v, err := strconv.ParseUint(text[prefix:prefix+2], 16, 8)
	if err != nil {
		return "", 0, false
	}
	return string([]byte{byte(v)}), prefix + 2, false
}

// utf16Escape reads \uXXXX, or two of them for one character beyond 16 bits.
func utf16Escape(text string) (char string, n int, cut bool) {
	unit := func(s string) (rune, bool, bool) {
		if len(s) < 6 {
			return 0, false, strings.HasPrefix(`\u`, s[:min(2, len(s))])
		}
		v, err := strconv.ParseUint(s[2:6], 16, 16)
		return rune(v), err == nil && s[:2] == `\u`, false
	}
	r, ok, cut := unit(text)
	if !ok {
		return "", 0, cut
	}
	if r < 0xd800 || r > 0xdfff {
		return string(r), 6, false
	}
	low, ok, cut := unit(text[6:])
	if !ok || low < 0xdc00 || low > 0xdfff {
		return "", 0, cut
	}
	return string((r-0xd800)<<10 + (low - 0xdc00) + 0x10000), 12, false
}

// reference reads a character reference of HTML, by name or by number.
func reference(text string) (char string, n int, cut bool) {
	const longest = 9 // &#x10FFFF; without the last character
	for _, e := range named {
		if strings.HasPrefix(text, e.name) {
			return e.char, len(e.name), false
		}
		if strings.HasPrefix(e.name, text) {
			return "", 0, true
		}
	}
	end := strings.IndexByte(text[:min(len(text), longest+1)], ';')
	if end < 0 {
		return "", 0, len(text) <= longest && strings.HasPrefix("&#", text[:min(len(text), 2)])
	}
	digits, ok := strings.CutPrefix(text[:end], "&#")
	if !ok {
		return "", 0, false
	}
	base := 10
	if strings.HasPrefix(digits, "x") || strings.HasPrefix(digits, "X") {
		digits, base = digits[1:], 16
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if err != nil || v > utf8.MaxRune {
		return "", 0, false
	}
	return string(rune(v)), end + 1, false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
