package credential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/subscription"
)

// encodings are the ways in which a receiver may echo a text. Those of base
// 64 put something around it, so that it begins at each of the three places.
var encodings = []struct {
	name   string
	encode func(string) string
}{
	{"plain", func(s string) string { return s }},
	{"in capitals", func(s string) string {
		return strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' {
				return r - 'a' + 'A'
			}
			return r
		}, s)
	}},
	{"percent-encoded wholly", func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		return b.String()
	}},
	{"percent-encoded where needed", egress.PercentEncode},
	{"percent-encoded in lower case", func(s string) string { return strings.ToLower(egress.PercentEncode(s)) }},
	{"as a form", url.QueryEscape},
	{"as a path", url.PathEscape},
	{"JSON", func(s string) string { b, _ := json.Marshal(s); return string(b[1 : len(b)-1]) }},
	{"JSON with escaped slashes", func(s string) string {
		b, _ := json.Marshal(s)
		return strings.ReplaceAll(string(b[1:len(b)-1]), "/", `\/`)
	}},
	{"JSON in ASCII", func(s string) string {
		var b strings.Builder
		for _, r := range s {
			if r > 0xffff {
				r -= 0x10000
				fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
				continue
			}
			fmt.Fprintf(&b, `\u%04X`, r)
		}
		return b.String()
	}},
	{"JavaScript", func(s string) string {
		return strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`, "<", `\x3c`, ">", `\x3E`).Replace(s)
	}},
	{"HTML", html.EscapeString},
	{"HTML with names", strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "/", "&sol;").Replace},
	{"HTML with hexadecimal numbers", strings.NewReplacer("&", "&#x26;", "<", "&#X3c;", ">", "&#x3E;", `"`, "&#x22;", "'", "&#x27;", "/", "&#x2F;").Replace},
	{"base 64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base 64 in a longer text", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s + "yz")) }},
	{"base 64 in a longer text, shifted", func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("xx" + s + "yz")) }},
	{"base 64 in a longer text, aligned", func(s string) string {
		return base64.URLEncoding.EncodeToString([]byte("Authorization: Bearer  " + s + "y"))
	}},
	{"base 64, percent-encoded", func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) }},
	{"base 64 in JSON with escaped slashes", func(s string) string {
		return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(s)), "/", `\/`)
	}},
}

// endpoints returns, for each place of a secret, an endpoint that holds s there.
func endpoints(s string) map[string]subscription.Endpoint {
	v := secret.New(s)
	return map[string]subscription.Endpoint{
		"api key":       {Auth: subscription.Auth{Type: subscription.AuthAPIKey, APIKey: subscription.APIKey{Location: "header", Key: "X-Key", Value: v}}},
		"token":         {Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: v}}},
		"refresh token": {Auth: subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{RefreshToken: v}}},
		"client secret": {Auth: subscription.Auth{Type: subscription.AuthOAuth2, OAuth2: subscription.OAuth2{ClientSecret: v}}},
		"password":      {Auth: subscription.Auth{Type: subscription.AuthBasic, Basic: subscription.Basic{User: "bob", Password: v}}},
		"signing":       {SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("whsec_other")}, {Secret: v}}},
	}
}

var secretsToHide = []string{
	"s3cr3t-Token_of.an~endpoint",
	`a"b\c/d<e>f&g'h+i j=k%41l`,
	`%2541%&amp;\\\u0041&lt;+`,
	"pässwörd-größer-💶",
	"short",
	"0 0",
	"a\b\fc\td\ne",
	" a  %b, and more",
	"x",
	"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw/+==",
	strings.Repeat("long-secret/", 160),
}

// TestO9_Mask_hidesEveryForm: whatever place a secret is in and whatever form
// it comes back in, no byte scan finds it.
func TestO9_Mask_hidesEveryForm(t *testing.T) {
	t.Parallel()
	for _, s := range secretsToHide {
		for place, e := range endpoints(s) {
			for _, enc := range encodings {
				echo := enc.encode(s)
				got := Mask("before {"+echo+"} after", e)
				if !strings.HasPrefix(got, "before {") && len(s) > 1 {
					t.Errorf("%s, %s of %q: %q lost what was before", place, enc.name, s, got)
				}
				if strings.Contains(enc.name, "base 64 in a longer") && len(s) < minInner {
					continue // too short to be told from chance
				}
				if strings.Contains(enc.name, "base 64 in a longer") {
					// What the neighbours do not touch must be gone: all but a character at each end.
					gone := len("before {"+echo+"} after") - len(strings.Replace(got, hidden, "", 1))
					if !strings.Contains(got, hidden) || gone < len(s)*8/6-2 {
						t.Errorf("%s, %s of %q: %q", place, enc.name, s, got)
					}
				} else if strings.Contains(strings.ReplaceAll(got, hidden, ""), echo) {
					t.Errorf("%s, %s of %q: %q", place, enc.name, s, got)
				}
			}
		}
	}
}

// TestO9_Mask_whereTheTextEnds: an answer is kept up to a limit, which may cut
// a secret, or one of its escapes, anywhere.
func TestO9_Mask_whereTheTextEnds(t *testing.T) {
	t.Parallel()
	for _, s := range secretsToHide {
		if len(s) < 2*minPartial {
			continue
		}
		e := endpoints(s)["token"]
		for _, enc := range encodings {
			if strings.HasPrefix(enc.name, "base 64 in a longer") {
				continue // its first characters are not the secret's alone
			}
			echo := enc.encode(s)
			for n := 1; n < len(echo) && n < 200; n++ {
				text := "x: " + echo[:n]
				got := Mask(text, e)
				if i := strings.Index(got, hidden); i >= 0 {
					got = got[:i+len(hidden)] + strings.TrimLeft(got[i+len(hidden):], "=%3D") // the padding
				}
				// Three characters may stay, each written in up to twelve bytes.
				if got != text && got != "x: "+hidden {
					t.Errorf("%s of %q, cut at %d: %q", enc.name, s, n, got)
				}
				if got == text && n >= 12*minPartial {
					t.Errorf("%s of %q, cut at %d, stays", enc.name, s, n)
				}
				if got == text && enc.name == "plain" && n >= minPartial {
					t.Errorf("%q, cut at %d, stays", s, n)
				}
			}
		}
	}
}

func TestMask_leavesTheRest(t *testing.T) {
	t.Parallel()
	e := endpoints("s3cr3t-Token")["token"]
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"an ordinary answer", `{"ok":true}`, `{"ok":true}`},
		{"escapes of other things", `100% & \u0041 &lt; %zz %4 \x`, `100% & \u0041 &lt; %zz %4 \x`},
		{"half a secret that goes on otherwise", "s3cr3t-Tok!", "s3cr3t-Tok!"},
		{"three characters at the end", "... s3c", "... s3c"},
		{"four characters at the end", "... s3cr", "... ***"},
		{"twice", "s3cr3t-Token,s3cr3t-Token", "***,***"},
		{"without anything between", "s3cr3t-Tokens3cr3t-Token", "******"},
		{"a beginning before the whole", "s3cr3t-s3cr3t-Token.", "s3cr3t-***."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Mask(tt.text, e); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := Mask("anything", subscription.Endpoint{}); got != "anything" {
		t.Errorf("without a secret: %q", got)
	}
}

// FuzzMask: no encoding of any secret survives in any surroundings, and what
// is masked does not change when it is masked again.
func FuzzMask(f *testing.F) {
	for i, s := range secretsToHide {
		f.Add(s, "before ", " after", uint8(i))
		f.Add(s, `%2\u0&#`, `;41\"`, uint8(i+8))
		f.Add(s, s[:len(s)/2], s[len(s)/2:], uint8(i+3))
	}
	f.Fuzz(func(t *testing.T, s, before, after string, way uint8) {
		enc := encodings[int(way)%len(encodings)]
		if s == "" || strings.Contains(s, "\uFFFF") || len(s) > 500 || len(before)+len(after) > 4096 || strings.ToValidUTF8(s, "") != s || strings.Contains(enc.name, "in a longer") {
			return
		}
		if enc.name == "percent-encoded in lower case" && strings.ToLower(s) != s {
			return // another text
		}
		e := endpoints(s)["token"]
		echo := enc.encode(s)
		got := Mask(before+echo+after, e)
		if rest := strings.ReplaceAll(got, hidden, "\uFFFF"); len(echo) > 0 && strings.Contains(rest, echo) && !strings.Contains(hidden, echo) {
			t.Errorf("%s of %q in %q: %q", enc.name, s, before+echo+after, got)
		}
	})
}

// TestMask_boundsItsWork: a secret and an answer that were made for each
// other cost no more than a moment.
func TestMask_boundsItsWork(t *testing.T) {
	t.Parallel()
	for _, s := range []string{strings.Repeat("a", 8000), strings.Repeat("%", 8000), strings.Repeat(`\`, 4000), strings.Repeat("&amp;", 1600)} {
		m := newMask(secretsOf(endpoints(s)["token"]))
		text := s[:2000] + "!" + s[:2000] + "!"
		begin := time.Now()
		if got := m.hide(text); strings.Contains(got, s[:2000]) && got != text {
			t.Errorf("%.8q: %.40q", s, got)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%.8q: took %v", s, took)
		}
	}
}

// BenchmarkMask is what every delivery pays, with an ordinary small answer
// and with a full one.
func BenchmarkMask(b *testing.B) {
	m := newMask(secretsOf(subscription.Endpoint{
		Auth:           subscription.Auth{Type: subscription.AuthToken, Bearer: subscription.Bearer{Token: secret.New("s3cr3t-Token_of.an~endpoint-0123456789")}},
		SigningSecrets: []subscription.SigningSecret{{Secret: secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}},
	}))
	for name, text := range map[string]string{
		"small": `{"status":"received","id":"0123456789"}`,
		"full":  strings.Repeat(`{"status":"received & stored","id":"0123456789\n"},`, 80)[:4000],
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if m.hide(text) != text {
					b.Fatal("changed")
				}
			}
		})
	}
}
