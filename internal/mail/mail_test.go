package mail_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
)

var update = flag.Bool("update", false, "write the golden files")

// languages are those that we speak.
var languages = []string{"en", "pt"}

func render(t testing.TB, own []mail.Template, name mail.Name, language string, c mail.Content) mail.Message {
	t.Helper()
	m, err := mail.Render(own, name, language, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRender_ours(t *testing.T) {
	t.Parallel()
	for _, name := range mail.Names() {
		for _, language := range languages {
			t.Run(string(name)+" in "+language, func(t *testing.T) {
				t.Parallel()
				m := render(t, nil, name, language, mail.Sample(name))
				bare := render(t, nil, name, language, mail.Content{Application: "Example Shop"})
				got := fmt.Sprintf("%s\n\n%s\n----\n%s\n==== with nothing to say\n%s\n\n%s\n----\n%s", m.Subject, m.Text, m.HTML, bare.Subject, bare.Text, bare.HTML)
				path := filepath.Join("testdata", string(name)+"."+language+".golden")
				if *update {
					if err := os.MkdirAll("testdata", 0o750); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("got\n%s\nwant the content of %s; go test -run TestRender_ours -update writes it", got, path)
				}
			})
		}
	}
}

// TestRender_says: whatever the language, each mail of ours says who writes,
// about what, and until when; and it is said in words of the language.
func TestRender_says(t *testing.T) {
	t.Parallel()
	words := map[string][]string{
		"en": {"Example Shop", "Newsletter (", "purpose: Marketing", "who: Example Shop", "until: 5 January 2028, 10:00 UTC", "Yes, I want to be told of offers.", "https://shop.example/privacy"},
		"pt": {"Example Shop", "Newsletter (", "finalidade: Marketing", "quem: Example Shop", "até: 5 de janeiro de 2028, 10:00 UTC", "Yes, I want to be told of offers.", "https://shop.example/privacy"},
	}
	for _, language := range languages {
		for _, name := range mail.Names() {
			c := mail.Sample(name)
			m := render(t, nil, name, language, c)
			if m.Template != name || m.Language != language || m.ActionURL != c.ActionURL || !m.ExpiresAt.Equal(c.ExpiresAt) || m.ID != "" || m.To != "" {
				t.Errorf("%s: got %+v", name, m)
			}
			if !strings.Contains(m.Subject, "Example Shop") {
				t.Errorf("%s in %s: the subject %q does not say who writes", name, language, m.Subject)
			}
			for _, want := range append(words[language], c.ActionURL) {
				if !strings.Contains(m.Text, want) {
					t.Errorf("%s in %s: the text lacks %q", name, language, want)
				}
				if !strings.Contains(strings.NewReplacer("<strong>", "", "</strong>", "").Replace(m.HTML), want) {
					t.Errorf("%s in %s: the HTML lacks %q", name, language, want)
				}
			}
			if c.ReceiptID != "" && name != mail.DoubleOptIn && name != mail.ExpiryReminder && !strings.Contains(m.Text, c.ReceiptID) {
				t.Errorf("%s in %s: the text lacks the number", name, language)
			}
			stated := map[string]string{"en": "not agreed", "pt": "não concordou"}[language]
			if got := strings.Contains(m.Text, "("+stated); got != (name == mail.Receipt) {
				t.Errorf("%s in %s: an option's state is said: %v", name, language, got)
			}
		}
	}
}

func TestRender_chooses(t *testing.T) {
	t.Parallel()
	own := func(languages ...string) []mail.Template {
		var out []mail.Template
		for _, l := range languages {
			out = append(out, mail.Template{Name: mail.Receipt, Language: l, Subject: "Own " + l, Text: "x", HTML: "x"})
		}
		return out
	}
	tests := []struct {
		name, language string
		own            []mail.Template
		used, subject  string
	}{
		{"ours in the language", "pt", nil, "pt", "Shop: o seu recibo"},
		{"ours in the base language", "pt-BR", nil, "pt", "Shop: o seu recibo"},
		{"whatever the case", "PT-br", nil, "pt", "Shop: o seu recibo"},
		{"English for another language", "de", nil, "en", "Shop: your receipt"},
		{"English for none", "", nil, "en", "Shop: your receipt"},
		{"English for what is no language", "!", nil, "en", "Shop: your receipt"},
		{"one's own before ours", "pt", own("pt"), "pt", "Own pt"},
		{"the exact one before the base", "pt-BR", own("pt", "pt-BR"), "pt-BR", "Own pt-BR"},
		{"the person's language before one's own", "pt", own("en"), "pt", "Shop: o seu recibo"},
		{"one's own English for another language", "de", own("en"), "en", "Own en"},
		{"not that of another region", "pt-BR", own("pt-PT"), "pt", "Shop: o seu recibo"},
		{"a shorter form", "zh-Hant-TW", own("zh-Hant", "zh"), "zh-Hant", "Own zh-Hant"},
		{"no singleton", "de-DE-u-co-phonebk", own("de-DE"), "de-DE", "Own de-DE"},
		{"not another mail's", "pt", []mail.Template{{Name: mail.DoubleOptIn, Language: "pt", Subject: "Own", Text: "x", HTML: "x"}}, "pt", "Shop: o seu recibo"},
		{"not one that cannot be used", "pt", []mail.Template{{Name: mail.Receipt, Language: "pt", Subject: "{{.evil}}", Text: "x", HTML: "x"}}, "pt", "Shop: o seu recibo"},
		{"not one without a page", "pt", []mail.Template{{Name: mail.Receipt, Language: "pt", Subject: "Own"}}, "pt", "Shop: o seu recibo"},
	}
	for _, tt := range tests {
		m := render(t, tt.own, mail.Receipt, tt.language, mail.Content{Application: "Shop"})
		if m.Language != tt.used || m.Subject != tt.subject {
			t.Errorf("%s: got %q in %s, want %q in %s", tt.name, m.Subject, m.Language, tt.subject, tt.used)
		}
	}
	if _, err := mail.Render(nil, "other", "en", mail.Content{}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("got %v, want not found", err)
	}
}

func TestRender_leavesOutWhatSaysNothing(t *testing.T) {
	t.Parallel()
	own := []mail.Template{{
		Name: mail.Receipt, Language: "en", Subject: "{{.options}}",
		Text: "A\n\n{{.statement}} {{.policyUrl}}\r\n \r\nB {{.link}}{{.application}}\n\n\nC\nD {{ .expiresAt }}",
		HTML: "<p>A</p>\n<p class=\"x\">{{.statement}} {{.policyUrl}}</p>\n<p>B {{.link}}{{.application}}</p>\n<p>C</p><p>{{.link}}</p>\n<pre>{{.link}}</pre>",
	}}
	m := render(t, own, mail.Receipt, "en", mail.Content{Application: "Shop"})
	if want := "A\n\nB Shop\n"; m.Text != want {
		t.Errorf("got %q, want %q", m.Text, want)
	}
	if want := "<p>A</p>\n<p>B Shop</p>\n<p>C</p><p></p>\n<pre></pre>"; m.HTML != want {
		t.Errorf("got %q, want %q", m.HTML, want)
	}
	if m.Subject != "" {
		t.Errorf("got the subject %q, want none", m.Subject)
	}
	m = render(t, own, mail.Receipt, "en", mail.Content{
		Application: "Shop", PolicyURL: "https://a.example/?b=1&c=2", ExpiresAt: time.Date(2026, 3, 1, 23, 59, 59, 999e6, time.UTC),
		Options: []mail.Choice{{Name: "One"}, {Name: "Two"}},
	})
	if want := "A\n\n https://a.example/?b=1&c=2\r\n \r\nB Shop\n\n\nC\nD 1 March 2026, 23:59 UTC\n"; m.Text != want {
		t.Errorf("got %q, want %q", m.Text, want)
	}
	if want := `<p class="x"> https://a.example/?b=1&amp;c=2</p>`; !strings.Contains(m.HTML, want) {
		t.Errorf("got %q, want %q in it", m.HTML, want)
	}
	if m.Subject != "One, Two" {
		t.Errorf("got the subject %q, want both", m.Subject)
	}
}

// TestRender_wordless: in a language that we do not speak we add no words of
// another one.
func TestRender_wordless(t *testing.T) {
	t.Parallel()
	own := []mail.Template{{Name: mail.Receipt, Language: "fr", Subject: "Merci", Text: "{{.options}} {{.expiresAt}}", HTML: "x"}}
	c := mail.Sample(mail.Receipt)
	c.ExpiresAt = time.Date(2026, 3, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
	want := "- Newsletter (✓; Marketing; Example Shop; → 2028-01-05 10:00 UTC)\n- Order history (✗; Recommendations; Partners & friends) 2026-02-28 23:00 UTC\n"
	if m := render(t, own, mail.Receipt, "fr-CA", c); m.Text != want {
		t.Errorf("got %q, want %q", m.Text, want)
	}
}

func TestRender_subjectIsShort(t *testing.T) {
	t.Parallel()
	m := render(t, nil, mail.Receipt, "en", mail.Content{Application: strings.Repeat("é", 300)})
	if n := utf8.RuneCountInString(m.Subject); n != mail.MaxSubject || !strings.HasSuffix(m.Subject, "é…") {
		t.Errorf("got %d characters, %q", n, m.Subject)
	}
}

// careless is a template that has a placeholder wherever one may stand.
var careless = mail.Template{
	Name: mail.Receipt, Language: "en", Subject: "{{.application}} {{.options}} {{.statement}} {{.policyUrl}} {{.link}}",
	Text: "{{.application}} {{.options}} {{.statement}} {{.policyUrl}} {{.link}}",
	HTML: `<title>{{.application}}{{.options}}{{.statement}}</title><style>b{color:{{.options}};font-family:"{{.statement}}"}</style>
<p title="{{.options}}{{.statement}}" class='{{.application}}' lang={{.application}}{{.options}}>x</p>
<a href="{{.policyUrl}}">{{.policyUrl}}</a><a href={{.options}}>{{.options}}</a><a href="https://x.example/?q={{.statement}}&r={{.application}}">x</a>
<img src="{{.link}}" alt='{{.statement}}' style="color:{{.application}};background:url('{{.statement}}')"><textarea>{{.options}}{{.statement}}{{.application}}</textarea>
<script>var a = {{.options}}, b = "{{.statement}}", c = '{{.application}}';</script><b onclick="f({{.options}}, '{{.statement}}')">x</b>`,
}

// structure returns a page's elements with the names of their attributes, in
// order, line breaks left out: what no value may change. An address that runs
// code is in it, too.
func structure(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader("<!doctype html><body>" + page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.CommentNode {
			b.WriteString("<!-- -->")
		}
		if n.Type != html.ElementNode || n.Data == "br" {
			continue
		}
		b.WriteString("<" + n.Data)
		for _, a := range n.Attr {
			b.WriteString(" " + a.Key)
			address := strings.ToLower(strings.TrimSpace(a.Val))
			if (a.Key == "href" || a.Key == "src") && !strings.HasPrefix(address, "http:") && !strings.HasPrefix(address, "https:") && !strings.HasPrefix(address, "mailto:") {
				if scheme, _, has := strings.Cut(address, ":"); has && !strings.ContainsAny(scheme, "/?#") {
					b.WriteString("=" + a.Val)
				}
			}
		}
		b.WriteString(">\n")
	}
	return b.String()
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"harmless", "", " ", "a\r\nBcc: all@example.org", "\u2028\u2029\u0085\u202e", "\xff\xfe", "{{.link}}", "{{", "}}", `"><script>alert(1)</script>`, `' onload='f()`, "</title></textarea></style></script>",
		"</script>", "<!--", "-->", "javascript:alert(1)", "https://x.example/\" onclick=\"f()", "`${x}`", `\`, "]]>", "&lt;b&gt;", "<p>", "</ul><h1>", "\x00", "expression(alert(1))", "/*", "*/", "\n\n\n",
	} {
		f.Add(s, s, s, s)
		f.Add("Shop", "Option", s, "https://shop.example")
	}
	f.Fuzz(func(t *testing.T, application, option, statement, address string) {
		content := func(application, option, statement, address string) mail.Content {
			return mail.Content{
				Application: application, Statement: statement, PolicyURL: address, ActionURL: address, ReceiptID: option,
				Options: []mail.Choice{{Name: option, Purpose: option, Party: application, State: permission.State(option)}, {Name: "Other"}},
			}
		}
		harmless := func(s, like string) string {
			if mail.Line(s) == "" {
				return ""
			}
			return like
		}
		try := func(own []mail.Template, name mail.Name, language string) {
			m := render(t, own, name, language, content(application, option, statement, address))
			if n := utf8.RuneCountInString(m.Subject); n > mail.MaxSubject || !utf8.ValidString(m.Subject) ||
				strings.ContainsFunc(m.Subject, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
				t.Errorf("%s in %s: got the subject %q, want one line of it", name, language, m.Subject)
			}
			if !utf8.ValidString(m.Text) || strings.ContainsFunc(m.Text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' || r == '\u202e' }) {
				t.Errorf("%s in %s: got the text %q, want no control characters", name, language, m.Text)
			}
			plain := render(t, own, name, language, content(
				harmless(application, "x"), harmless(option, "x"), harmless(statement, "x"), harmless(address, "https://x.example"),
			))
			if got, want := structure(t, m.HTML), structure(t, plain.HTML); got != want {
				t.Errorf("%s in %s: got\n%s\nwant\n%s\nof\n%s", name, language, got, want, m.HTML)
			}
		}
		for _, name := range mail.Names() {
			for _, language := range languages {
				try(nil, name, language)
			}
		}
		try([]mail.Template{careless}, mail.Receipt, "en")
	})
}

func BenchmarkRender(b *testing.B) {
	own := careless
	for _, bb := range []struct {
		name string
		own  []mail.Template
	}{{"ours", nil}, {"own", []mail.Template{own}}} {
		b.Run(bb.name, func(b *testing.B) {
			c := mail.Sample(mail.Receipt)
			for b.Loop() {
				render(b, bb.own, mail.Receipt, "en", c)
			}
		})
	}
}
