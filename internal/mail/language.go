package mail

import (
	"fmt"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/permission"
)

// fallback is the language of last resort.
const fallback = "en"

// Canonical spells a language tag as RFC 5646, section 2.1.1, recommends, so
// that each language has one spelling: "PT-br" is "pt-BR". ok is false for what
// is no tag.
func Canonical(tag string) (_ string, ok bool) {
	if !permission.IsLanguage(tag) {
		return "", false
	}
	subs := strings.Split(strings.ToLower(tag), "-")
	for i, sub := range subs[1:] {
		switch {
		case len(subs[i]) == 1: // behind a singleton all is lower case
		case len(sub) == 2:
			subs[i+1] = strings.ToUpper(sub)
		case len(sub) == 4:
			subs[i+1] = strings.ToUpper(sub[:1]) + sub[1:]
		}
	}
	return strings.Join(subs, "-"), true
}

// candidates returns the languages in which a mail may be written to a person
// of one, the best first: that one, then each shorter form of it, then English.
//
// Source: RFC 4647, section 3.4, "Lookup".
func candidates(language string) []string {
	var out []string
	tag, _ := Canonical(language)
	for tag != "" {
		out = append(out, tag)
		i := max(strings.LastIndexByte(tag, '-'), 0)
		if tag = tag[:i]; i > 1 && tag[i-2] == '-' {
			tag = tag[:i-2] // a singleton means nothing without what follows it
		}
	}
	return append(out, fallback)
}

// locale is how we write what is not in a template.
type locale struct {
	moment  func(time.Time) string
	purpose string // before what it is, with all that stands between
	party   string
	until   string
	states  map[permission.State]string
}

// localeOf returns the one of a language, and for a language that we do not
// speak one that has no words.
func localeOf(language string) locale {
	base, _, _ := strings.Cut(language, "-")
	switch base {
	case "en":
		return english
	case "pt":
		return portuguese
	}
	return wordless
}

var english = locale{
	moment: func(t time.Time) string {
		return fmt.Sprintf("%d %s %d, %s UTC", t.Day(), t.Month(), t.Year(), t.Format("15:04"))
	},
	purpose: "purpose: ", party: "who: ", until: "until: ",
	states: map[permission.State]string{
		permission.Granted: "agreed", permission.Denied: "not agreed", permission.Pending: "to be confirmed",
	},
}

var portuguese = locale{
	moment: func(t time.Time) string {
		months := [...]string{
			"janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro",
		}
		return fmt.Sprintf("%d de %s de %d, %s UTC", t.Day(), months[t.Month()-1], t.Year(), t.Format("15:04"))
	},
	purpose: "finalidade: ", party: "quem: ", until: "até: ",
	states: map[permission.State]string{
		permission.Granted: "concordou", permission.Denied: "não concordou", permission.Pending: "a confirmar",
	},
}

var wordless = locale{
	moment: func(t time.Time) string { return t.Format("2006-01-02 15:04 UTC") },
	until:  "→ ",
	states: map[permission.State]string{permission.Granted: "✓", permission.Denied: "✗", permission.Pending: "?"},
}

// at writes an instant for people, in UTC. A minute that has begun is not
// counted, for what ends must not seem to end later than it does.
func (l locale) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return l.moment(t.UTC())
}

// about says of a choice what stands beside its name; it may be empty.
func (l locale) about(c Choice, state bool) string {
	var parts []string
	if state && l.states[c.State] != "" {
		parts = append(parts, l.states[c.State])
	}
	for _, p := range []struct{ label, text string }{{l.purpose, line(c.Purpose)}, {l.party, line(c.Party)}, {l.until, l.at(c.ValidUntil)}} {
		if p.text != "" {
			parts = append(parts, p.label+p.text)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}
