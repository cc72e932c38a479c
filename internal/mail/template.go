package mail

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

// The limits of a template, in Unicode code points. Ours: they bound what one
// mail can cost.
const (
	MaxSubject = 200
	MaxText    = 20_000
	MaxHTML    = 50_000
)

// The codes of the faults in a draft.
const (
	CodeRequired           = "required"
	CodeTooLong            = "too_long"
	CodeInvalidCharacter   = "invalid_character"
	CodeInvalidLanguage    = "invalid_language"
	CodeInvalidPlaceholder = "invalid_placeholder"
	CodeInvalidHTML        = "invalid_html"
	CodeLinkRequired       = "link_required"
)

// Draft is what an owner may write on a template.
type Draft struct {
	Subject *string
	Text    *string
	HTML    *string
}

// Template checks the draft and returns the template that it makes of a name,
// which is known, in a language at now. Each fault names its place: a pointer
// into the draft, or "language".
//
// No member may be blank or too long. A subject holds no control characters;
// the others none but line ends and tabs. Of what could be template syntax only
// the placeholders are allowed, with or without blanks within the braces, and
// in the HTML only where a value can be escaped. A double opt-in must show its
// link in the text and in the HTML, for else nobody can answer.
func (d Draft) Template(name Name, language string, now time.Time) (Template, []fault.Field) {
	var fs []fault.Field
	t := Template{Name: name, UpdatedAt: now}
	add := func(path, code, msg string) { fs = append(fs, fault.Field{Path: path, Code: code, Msg: msg}) }
	tag, ok := Canonical(language)
	if !ok {
		add("language", CodeInvalidLanguage, `The language is a tag such as "en" or "pt-BR".`)
	}
	t.Language = tag
	sound := t // with a text that has no faults in the place of one that has
	for _, m := range []struct {
		path      string
		is        *string
		to, sound *string
		most      int
		lines     bool
	}{
		{"/subject", d.Subject, &t.Subject, &sound.Subject, MaxSubject, false},
		{"/text", d.Text, &t.Text, &sound.Text, MaxText, true},
		{"/html", d.HTML, &t.HTML, &sound.HTML, MaxHTML, true},
	} {
		*m.sound = "{{.link}}"
		if m.is == nil || strings.TrimSpace(*m.is) == "" {
			add(m.path, CodeRequired, "This member is required.")
			continue
		}
		*m.to = *m.is
		if code, msg := check(*m.is, m.most, m.lines); code != "" {
			add(m.path, code, msg)
			continue
		}
		*m.sound = *m.is
	}
	c, found := compile(sound)
	fs = append(fs, found...)
	if len(found) > 0 || name != DoubleOptIn {
		return t, fs
	}
	s := Sample(name)
	m := c.render(sound, s)
	if !strings.Contains(m.Text, s.ActionURL) {
		add("/text", CodeLinkRequired, "A double opt-in must show {{.link}}, or nobody can confirm.")
	}
	if !shows(m.HTML, s.ActionURL) {
		add("/html", CodeLinkRequired, "A double opt-in must show {{.link}} as a text or as the address of a link, or nobody can confirm.")
	}
	return t, fs
}

// check returns what is wrong with a text; an empty code: nothing.
func check(s string, most int, lines bool) (code, msg string) {
	control := func(r rune) bool { return unicode.IsControl(r) && (!lines || !strings.ContainsRune("\t\n\r", r)) }
	switch {
	case utf8.RuneCountInString(s) > most:
		return CodeTooLong, fmt.Sprintf("The text must have at most %d characters.", most)
	case !utf8.ValidString(s):
		return CodeInvalidCharacter, "The text must be valid UTF-8."
	case strings.ContainsFunc(s, control) && lines:
		return CodeInvalidCharacter, "The text must not hold control characters other than line ends and tabs."
	case strings.ContainsFunc(s, control):
		return CodeInvalidCharacter, "The text must not hold control characters."
	}
	return "", ""
}

// All returns what mails are made of: an application's own templates and, for
// each of ours that has none of its own in its place, that one; by name, in the
// order of Names, then by language.
func All(own []Template) []Template {
	out := slices.Clone(own)
	for _, b := range builtins {
		if !slices.ContainsFunc(own, func(t Template) bool { return t.Name == b.Name && t.Language == b.Language }) {
			out = append(out, b.Template)
		}
	}
	order := Names()
	slices.SortStableFunc(out, func(a, b Template) int {
		return cmp.Or(slices.Index(order, a.Name)-slices.Index(order, b.Name), strings.Compare(a.Language, b.Language))
	})
	return out
}

// Find returns the template of a name in exactly that language: one's own, or
// ours.
//
// Error: fault.NotFound.
func Find(own []Template, name Name, language string) (Template, error) {
	tag, _ := Canonical(language)
	all := All(own)
	i := slices.IndexFunc(all, func(t Template) bool { return t.Name == name && t.Language == tag })
	if i < 0 || tag == "" {
		return Template{}, fault.New(fault.NotFound, "not_found", "There is no such template in this language.")
	}
	return all[i], nil
}

// Sample returns what a mail may speak of, to show what a template looks like.
func Sample(name Name) Content {
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 10, 0, 0, 0, time.UTC) }
	c := Content{
		Application: "Example Shop",
		Options: []Choice{
			{Name: "Newsletter", Purpose: "Marketing", Party: "Example Shop", ValidUntil: day(2028, time.January, 5), State: permission.Granted},
			{Name: "Order history", Purpose: "Recommendations", Party: "Partners & friends", State: permission.Denied},
		},
		Statement: "Yes, I want to be told of offers.",
		PolicyURL: "https://shop.example/privacy",
		ReceiptID: "txn_01j5n3t9x0e8v7q2m4c6b8a0zk",
	}
	switch name {
	case DoubleOptIn:
		c.ActionURL, c.ExpiresAt = "https://consentwire.example/confirm/c2FtcGxlLXRva2VuLW9mLTMyLXJhbmRvbS1ieXRlcw", day(2027, time.January, 6)
	case ExpiryReminder:
		c.Options, c.ExpiresAt = c.Options[:1], day(2028, time.January, 5)
	case ConsentConfirmation, WithdrawalConfirmation, Receipt:
	}
	return c
}
