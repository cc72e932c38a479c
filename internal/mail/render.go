package mail

import (
	"html"
	htmltemplate "html/template"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/consentwire/consentwire/internal/fault"
)

// placeholders are all that a template may hold of what is not text.
var placeholders = []string{"application", "options", "statement", "policyUrl", "link", "expiresAt", "receiptId"}

// Placeholders returns the names of what a template may refer to, such as
// "application" for {{.application}}.
func Placeholders() []string { return slices.Clone(placeholders) }

// Render writes a mail in the language that serves best: for each form of the
// language, from the exact one to English, the application's own template goes
// before ours. The message's Language is the one that was used; its ID and To
// are the caller's to set.
//
// A placeholder that has nothing to say is empty. A paragraph of the text, or a
// line of the HTML that is one whole <p>…</p>, in which no placeholder has
// anything to say is left out. Values are escaped for where they stand; no
// value makes a second line in a subject, which is cut at MaxSubject code
// points. An own template that cannot be used, which Draft.Template lets
// nobody write, is passed over.
//
// Error: fault.NotFound for a name that no template has.
func Render(own []Template, name Name, language string, c Content) (Message, error) {
	for _, tag := range candidates(language) {
		for _, t := range own {
			if t.Name != name || t.Language != tag || t.Subject == "" || t.Text == "" || t.HTML == "" {
				continue
			}
			if k, fs := compile(t); len(fs) == 0 {
				return k.render(t, c), nil
			}
		}
		for i := range builtins {
			if b := &builtins[i]; b.Name == name && b.Language == tag {
				return b.render(b.Template, c), nil
			}
		}
	}
	return Message{}, fault.New(fault.NotFound, "not_found", "There is no such template.")
}

// piece is a part of a template: a text, or the name of a placeholder.
type piece struct {
	text, name string
}

// placeholder is one at the beginning of a text. Source: the names are those of
// placeholders; the form is that of text/template.
var placeholder = regexp.MustCompile(`^\{\{[ \t]*\.([A-Za-z]+)[ \t]*\}\}`)

// scan takes a template apart. ok is false when braces are opened for anything
// but a placeholder.
func scan(s string) (ps []piece, ok bool) {
	for s != "" {
		i := strings.Index(s, "{{")
		if i < 0 {
			return append(ps, piece{text: s}), true
		}
		if i > 0 {
			ps = append(ps, piece{text: s[:i]})
		}
		m := placeholder.FindStringSubmatch(s[i:])
		if m == nil || !slices.Contains(placeholders, m[1]) {
			return nil, false
		}
		ps = append(ps, piece{name: m[1]})
		s = s[i+len(m[0]):]
	}
	return ps, true
}

// compiled is a template that can be filled in.
type compiled struct {
	subject []piece
	text    [][]piece // paragraphs, each with the line ends behind it
	html    *htmltemplate.Template
}

// gaps are what stands between paragraphs.
var gaps = regexp.MustCompile(`(?:\r?\n[ \t]*){2,}`)

// whole is a line that is one paragraph of HTML.
var whole = regexp.MustCompile(`^[ \t]*<p(?:[ \t][^<>]*)?>.*</p>[ \t]*\r?\n?$`)

// compile takes a template apart. Its members are not blank.
func compile(t Template) (compiled, []fault.Field) {
	var c compiled
	var fs []fault.Field
	part := func(path, s string) (ps []piece, ok bool) {
		if ps, ok = scan(s); !ok {
			fs = append(fs, fault.Field{
				Path: path, Code: CodeInvalidPlaceholder,
				Msg: "Two opening braces begin a placeholder, and there are only {{." + strings.Join(placeholders, "}}, {{.") + "}}.",
			})
		}
		return ps, ok
	}
	c.subject, _ = part("/subject", t.Subject)
	if _, ok := part("/text", t.Text); ok {
		from := 0
		for _, gap := range append(gaps.FindAllStringIndex(t.Text, -1), []int{len(t.Text), len(t.Text)}) {
			ps, _ := scan(t.Text[from:gap[1]])
			c.text, from = append(c.text, ps), gap[1]
		}
	}
	if _, ok := part("/html", t.HTML); !ok {
		return c, fs
	}
	var source strings.Builder
	for l := range strings.Lines(t.HTML) {
		ps, _ := scan(l)
		var names []string
		for _, p := range ps {
			if p.name != "" {
				names = append(names, "."+p.name)
			}
		}
		if len(names) == 0 || !whole.MatchString(l) || strings.Count(l, "<p") > 1 {
			source.WriteString(l)
			continue
		}
		source.WriteString("{{if or " + strings.Join(names, " ") + " false}}" + l + "{{end}}")
	}
	var err error
	c.html, err = htmltemplate.New(string(t.Name)).Option("missingkey=error").Parse(source.String())
	if err == nil {
		err = c.html.Execute(new(strings.Builder), c.values(t, Content{}).html) // which works out the escaping
	}
	if err != nil {
		fs = append(fs, fault.Field{
			Path: "/html", Code: CodeInvalidHTML,
			Msg: "The HTML cannot be filled in safely: a tag, an attribute or a comment is not closed, or a placeholder stands where no value can be escaped.",
		})
	}
	return c, fs
}

// values are what placeholders stand for, by where they stand.
type values struct {
	subject, text map[string]string
	html          map[string]any
}

func (compiled) values(t Template, c Content) values {
	l := localeOf(t.Language)
	var names, lines, items []string
	for _, o := range c.Options {
		name, about := line(o.Name), l.about(o, t.Name == Receipt)
		names, lines = append(names, name), append(lines, "- "+name+about)
		items = append(items, "<li><strong>"+html.EscapeString(name)+"</strong>"+html.EscapeString(about)+"</li>\n")
	}
	list := ""
	if len(items) > 0 {
		list = "<ul>\n" + strings.Join(items, "") + "</ul>"
	}
	v := values{
		subject: map[string]string{
			"application": line(c.Application), "options": strings.Join(names, ", "), "statement": line(c.Statement), "policyUrl": line(c.PolicyURL),
			"link": line(c.ActionURL), "expiresAt": l.at(c.ExpiresAt), "receiptId": line(c.ReceiptID),
		},
		text: make(map[string]string, len(placeholders)),
		html: make(map[string]any, len(placeholders)),
	}
	for name, s := range v.subject {
		v.text[name], v.html[name] = s, s
	}
	statement := block(c.Statement)
	v.text["options"], v.text["statement"] = strings.Join(lines, "\n"), statement
	v.html["options"] = htmltemplate.HTML(list)                                                               // #nosec G203 -- escaped above
	v.html["statement"] = htmltemplate.HTML(strings.ReplaceAll(html.EscapeString(statement), "\n", "<br>\n")) // #nosec G203 -- escaped here
	return v
}

// render fills a template in.
func (k compiled) render(t Template, c Content) Message {
	v := k.values(t, c)
	m := Message{Template: t.Name, Language: t.Language, ActionURL: c.ActionURL, ExpiresAt: c.ExpiresAt}
	subject, _ := fill(k.subject, v.subject)
	m.Subject = cut(line(subject), MaxSubject)
	var text strings.Builder
	for _, paragraph := range k.text {
		if s, says := fill(paragraph, v.text); says {
			text.WriteString(s)
		}
	}
	m.Text = strings.TrimRight(text.String(), " \t\r\n") + "\n"
	var page strings.Builder
	if err := k.html.Execute(&page, v.html); err != nil {
		panic(err) // compile did the same, and a Builder takes everything
	}
	m.HTML = page.String()
	return m
}

// fill puts values in the place of placeholders. says is false when there are
// placeholders and none has anything to say.
func fill(ps []piece, values map[string]string) (_ string, says bool) {
	var b strings.Builder
	asked := false
	for _, p := range ps {
		b.WriteString(p.text + values[p.name])
		asked = asked || p.name != ""
		says = says || values[p.name] != ""
	}
	return b.String(), says || !asked
}

// turning are the characters that change the direction of what follows them,
// so that a text reads other than it is. Source: UAX #9, section 2.
const turning = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

// line writes a value of others on one line: white space of any kind and
// control characters are one blank, and what turns the direction is left out.
func line(s string) string {
	return strings.Join(strings.FieldsFunc(clean(s), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }), " ")
}

// block writes a value of others on as many lines as it has, of which none is
// blank at either end.
func block(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n").Replace(clean(s))
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, s))
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(turning, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cut shortens a text to n code points, the last of which then says so.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// shows tells whether a page of HTML holds a text as it is, be it within a tag.
func shows(page, text string) bool { return strings.Contains(html.UnescapeString(page), text) }
