package portal

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/event"
)

// lang is the language of a page. Texts are written in English; the other
// language has a table from them (texts_pt.go), and a test finds what is
// missing there.
type lang string

// The languages: those of the sources' users.
const (
	english    lang = "en"
	portuguese lang = "pt-BR"
)

func languages() []lang { return []lang{english, portuguese} }

// t returns a text in the language, formatted as fmt.Sprintf does when there
// are arguments.
func (l lang) t(text string, args ...any) string {
	if l == portuguese {
		text = cmp.Or(inPortuguese[text], text)
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// n returns one of two texts by a number, which both show.
func (l lang) n(n int, one, many string) string {
	if n == 1 {
		return l.t(one)
	}
	return l.t(many, l.number(n))
}

func (l lang) funcs() template.FuncMap {
	return template.FuncMap{"t": l.t, "n": l.n, "num": l.number}
}

// number writes n with a mark between thousands.
func (l lang) number(n int) string {
	s := number(n)
	if l == portuguese {
		return strings.ReplaceAll(s, ",", ".")
	}
	return s
}

// at writes a time.
func (l lang) at(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	layout := "2 Jan 2006, 15:04:05 UTC"
	if l == portuguese {
		layout = "02/01/2006, 15:04:05 UTC"
	}
	return moment{t.UTC().Format(layout), event.Format(t)}
}

// The cookies in which a browser keeps what its user prefers.
const (
	langCookie  = "consentwire-lang"
	themeCookie = "consentwire-theme"
)

// langOf returns the language that a visitor chose, or else prefers.
func langOf(r *http.Request) lang {
	if c, err := r.Cookie(langCookie); err == nil {
		for _, l := range languages() {
			if c.Value == string(l) {
				return l
			}
		}
	}
	// The first of ours in the order given is near enough to RFC 9110 12.5.4.
	for _, part := range strings.Split(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch tag, _, _ = strings.Cut(strings.ToLower(tag), "-"); tag {
		case "en":
			return english
		case "pt":
			return portuguese
		}
	}
	return english
}

// themeOf returns "light" or "dark" when the visitor chose one.
func themeOf(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// prefer keeps the visitor's language or colours and leads back. It needs no
// session: it changes nothing but the browser's own cookies.
func (p *Portal) prefer(w http.ResponseWriter, r *http.Request) error {
	if !p.sameSite(r) {
		return foreignForm()
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return malformedForm(err)
	}
	keep := func(name, value string) {
		http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, Secure: p.secure(r), SameSite: http.SameSiteLaxMode}) // #nosec G124 -- HttpOnly and SameSite stand here; Secure where the portal is reached by https
	}
	for _, l := range languages() {
		if r.PostForm.Get("lang") == string(l) {
			keep(langCookie, string(l))
		}
	}
	switch theme := r.PostForm.Get("theme"); theme {
	case "light", "dark", "auto":
		keep(themeCookie, theme)
	}
	back := r.PostForm.Get("back") // a path of the portal and nothing else
	if !strings.HasPrefix(back, p.base()+"/") || strings.ContainsAny(back, "\\\r\n") || strings.Contains(back, "//") {
		back = p.base() + "/"
	}
	http.Redirect(w, r, back, http.StatusSeeOther) // #nosec G710 -- checked above
	return nil
}
