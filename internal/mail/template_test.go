package mail_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
)

func TestDraft_Template(t *testing.T) {
	t.Parallel()
	link := "Open {{.link}}"
	tests := []struct {
		name                string
		of                  mail.Name
		language            string
		subject, text, html string // "-": left out
		want                []string
	}{
		{"a good one", mail.Receipt, "en", "Hello", "Text", "<p>HTML</p>", nil},
		{"every placeholder", mail.Receipt, "pt-BR", "{{.application}} {{.options}} {{.statement}}", "{{.policyUrl}} {{.link}} {{.expiresAt}} {{.receiptId}}", "{{ .application }}<a href=\"{{.link}}\">x</a>", nil},
		{"nothing", mail.Receipt, "", "-", "-", "-", []string{"language invalid_language", "/subject required", "/text required", "/html required"}},
		{"blank", mail.Receipt, "en", " ", "\n", "\t", []string{"/subject required", "/text required", "/html required"}},
		{"no language", mail.Receipt, "e_n", "x", "x", "x", []string{"language invalid_language"}},
		{"as long as may be", mail.Receipt, "en", strings.Repeat("é", 200), strings.Repeat("é", 20_000), strings.Repeat("é", 50_000), nil},
		{"longer", mail.Receipt, "en", strings.Repeat("é", 201), strings.Repeat("é", 20_001), strings.Repeat("é", 50_001), []string{"/subject too_long", "/text too_long", "/html too_long"}},
		{"several lines in the subject", mail.Receipt, "en", "a\r\nBcc: b", "a\r\n\tb", "a\r\n\tb", []string{"/subject invalid_character"}},
		{"control characters", mail.Receipt, "en", "\x00", "a\x00", "a\x1b", []string{"/subject invalid_character", "/text invalid_character", "/html invalid_character"}},
		{"no UTF-8", mail.Receipt, "en", "\xff", "\xff", "\xff", []string{"/subject invalid_character", "/text invalid_character", "/html invalid_character"}},
		{"unknown placeholders", mail.Receipt, "en", "{{.evil}}", "{{.Application}}", "{{.application.x}}", []string{"/subject invalid_placeholder", "/text invalid_placeholder", "/html invalid_placeholder"}},
		{"unclosed ones", mail.Receipt, "en", "{{.link", "{{.link}", "{{", []string{"/subject invalid_placeholder", "/text invalid_placeholder", "/html invalid_placeholder"}},
		{"other syntax", mail.Receipt, "en", `{{printf "x"}}`, "{{if .link}}x{{end}}", `{{template "x"}}`, []string{"/subject invalid_placeholder", "/text invalid_placeholder", "/html invalid_placeholder"}},
		{"more syntax", mail.Receipt, "en", "{{/* x */}}", "{{- .link -}}", "{{.link | html}}", []string{"/subject invalid_placeholder", "/text invalid_placeholder", "/html invalid_placeholder"}},
		{"three braces", mail.Receipt, "en", "{{{.link}}", "{{{.link}}}", "{ {.link}}", []string{"/subject invalid_placeholder", "/text invalid_placeholder"}},
		{"closing braces alone", mail.Receipt, "en", "}}", "a }} b", "}}", nil},
		{"an unfinished tag", mail.Receipt, "en", "x", "x", "<p>x</p", []string{"/html invalid_html"}},
		{"an unfinished attribute", mail.Receipt, "en", "x", "x", `<a href="{{.link}}>x</a>`, []string{"/html invalid_html"}},
		{"an unfinished script", mail.Receipt, "en", "x", "x", "<script>x", []string{"/html invalid_html"}},
		{"a value in a comment", mail.Receipt, "en", "x", "x", "<!-- {{.application}} -->x", nil},
		{"a double opt-in", mail.DoubleOptIn, "en", "x", link, `<a href="{{.link}}">x</a>`, nil},
		{"a double opt-in with the link as a text", mail.DoubleOptIn, "en", "x", link, link, nil},
		{"a double opt-in without a link", mail.DoubleOptIn, "en", "{{.link}}", "x", "x", []string{"/text link_required", "/html link_required"}},
		{"a double opt-in whose link nobody sees", mail.DoubleOptIn, "en", "x", link, "<!-- {{.link}} -->x", []string{"/html link_required"}},
		{"a double opt-in whose link leads elsewhere", mail.DoubleOptIn, "en", "x", link, `<a href="https://evil.example/?{{.link}}">x</a>`, []string{"/html link_required"}},
		{"a confirmation needs none", mail.ConsentConfirmation, "en", "x", "x", "x", nil},
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range tests {
		given := func(s string) *string {
			if s == "-" {
				return nil
			}
			return &s
		}
		got, fs := mail.Draft{Subject: given(tt.subject), Text: given(tt.text), HTML: given(tt.html)}.Template(tt.of, tt.language, now)
		var faults []string
		for _, f := range fs {
			faults = append(faults, f.Path+" "+f.Code)
			if f.Msg == "" {
				t.Errorf("%s: %s says nothing", tt.name, f.Path)
			}
		}
		if !slices.Equal(faults, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, faults, tt.want)
		}
		if want := (mail.Template{Name: tt.of, Language: tt.language, Subject: tt.subject, Text: tt.text, HTML: tt.html, UpdatedAt: now}); len(fs) == 0 && got != want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		"en": "en", "EN": "en", "PT-br": "pt-BR", "zh-hANT-tw": "zh-Hant-TW", "es-419": "es-419", "de-ch-1996": "de-CH-1996",
		"en-x-AB": "en-x-ab", "sr-latn": "sr-Latn", "": "", "e": "", "en_US": "", "en-": "", "português": "",
	} {
		if got, ok := mail.Canonical(tag); got != want || ok != (want != "") {
			t.Errorf("%q: got %q %v, want %q", tag, got, ok, want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	own := []mail.Template{
		{Name: mail.Receipt, Language: "en", Subject: "Own"}, {Name: mail.Receipt, Language: "de", Subject: "Eigen"}, {Name: mail.DoubleOptIn, Language: "fr", Subject: "Soi"},
	}
	for _, tt := range []struct {
		name     string
		of       mail.Name
		language string
		want     string // a subject; empty: none
	}{
		{"one's own before ours", mail.Receipt, "en", "Own"},
		{"whatever the case", mail.Receipt, "DE", "Eigen"},
		{"ours", mail.Receipt, "pt", "{{.application}}: o seu recibo"},
		{"no base language", mail.Receipt, "pt-BR", ""},
		{"not another mail's", mail.DoubleOptIn, "de", ""},
		{"no such language", mail.Receipt, "!", ""},
		{"no such mail", "other", "en", ""},
	} {
		got, err := mail.Find(own, tt.of, tt.language)
		if got.Subject != tt.want || (fault.KindOf(err) == fault.NotFound) != (tt.want == "") {
			t.Errorf("%s: got %q %v, want %q", tt.name, got.Subject, err, tt.want)
		}
	}
	var got []string
	for _, x := range mail.All(own) {
		got = append(got, string(x.Name)+" "+x.Language)
	}
	want := []string{
		"double-opt-in en", "double-opt-in fr", "double-opt-in pt", "consent-confirmation en", "consent-confirmation pt", "withdrawal-confirmation en", "withdrawal-confirmation pt",
		"expiry-reminder en", "expiry-reminder pt", "receipt de", "receipt en", "receipt pt",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOurs_couldBeOnesOwn: an application may take a template of ours and edit
// it.
func TestOurs_couldBeOnesOwn(t *testing.T) {
	t.Parallel()
	for _, x := range mail.All(nil) {
		if _, fs := (mail.Draft{Subject: &x.Subject, Text: &x.Text, HTML: &x.HTML}).Template(x.Name, x.Language, time.Time{}); len(fs) > 0 {
			t.Errorf("%s in %s: got %v", x.Name, x.Language, fs)
		}
		c := mail.Sample(x.Name)
		if got, want := render(t, []mail.Template{x}, x.Name, x.Language, c), render(t, nil, x.Name, x.Language, c); got != want {
			t.Errorf("%s in %s: got %+v, want %+v", x.Name, x.Language, got, want)
		}
	}
}
