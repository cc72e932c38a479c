package portal

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
)

// frame is what surrounds every page.
type frame struct {
	Title       string
	Lang        lang
	Theme       string // light or dark; empty: as the visitor's system has it
	Here        string // path and query of the page, for the way back
	Application string // name of the one the visitor looks at; may be empty
	SignedIn    bool
	User        string // who is signed in
	Role        access.Role
	Nav         []navItem
	Token       string // for forms
	Base        string // path of the portal, without a slash at its end
	Version     string
	StyleFile   string // names of the assets
	ScriptFile  string
	IconFile    string
}

// navItem is a way to a part of the portal.
type navItem struct {
	Label, Href string
	Current     bool
}

// May tells whether the visitor has a scope, which templates name by its text.
func (f frame) May(scope string) bool { return f.Role.May(access.Scope(scope)) }

// frame returns what surrounds a page; the title is translated.
func (p *Portal) frame(r *http.Request, s session, title string) frame {
	l := langOf(r)
	return frame{
		Title: l.t(title), Lang: l, Theme: themeOf(r), Here: p.here(r), SignedIn: s.signed(), User: s.name, Role: s.role, Token: s.token, Base: p.base(), Version: p.version,
		Nav:       p.nav(r, s, l),
		StyleFile: p.assets.names["portal.css"], ScriptFile: p.assets.names["portal.js"], IconFile: p.assets.names["mark.svg"],
	}
}

// here is the page's path, with its query, when it can be asked for again.
func (p *Portal) here(r *http.Request) string {
	if r.Method != http.MethodGet {
		return ""
	}
	return p.root() + r.URL.RequestURI()
}

// nav lists the parts of the portal that the visitor may see.
func (p *Portal) nav(r *http.Request, s session, l lang) []navItem {
	if s.app == "" {
		return nil
	}
	var out []navItem
	for _, n := range []struct {
		label, path string
		scope       access.Scope
	}{
		{"Overview", "", access.Look}, {"Endpoints", "endpoints", access.Look}, {"Deliveries", "deliveries", access.Look}, {"Consents", "consents", access.People},
		{"Citizens", "citizens", access.People}, {"Inspector", "inspector", access.Bodies}, {"Mailbox", "mailbox", access.People}, {"Events", "events", access.Look},
		{"Application", "application", access.Look}, {"Users", "users", access.Administer},
	} {
		if !s.role.May(n.scope) {
			continue
		}
		path := Prefix + n.path
		out = append(out, navItem{l.t(n.label), p.base() + "/" + n.path, r.URL.Path == path || n.path != "" && strings.HasPrefix(r.URL.Path, path+"/") || n.path == "endpoints" && strings.HasPrefix(r.URL.Path, Prefix+"new/")})
	}
	return out
}

// signedFrame is the frame with the application's name. A session whose
// application is gone ends.
func (p *Portal) signedFrame(r *http.Request, s session, title string) (frame, error) {
	f := p.frame(r, s, title)
	if s.app == "" {
		return f, nil
	}
	a, err := p.store.Application(r.Context(), s.app)
	if fault.KindOf(err) == fault.NotFound {
		if err := p.app.CloseSession(r.Context(), s.key); err != nil {
			return f, err
		}
		return f, fault.New(fault.NotFound, "application_gone", "The application of this session no longer exists.")
	}
	f.Application = a.Name
	return f, err
}

// render writes a page whole, or nothing and an error.
func (p *Portal) render(w http.ResponseWriter, status int, page string, data interface{ language() lang }) error {
	var b bytes.Buffer
	if err := p.pages[data.language()][page].Execute(&b, data); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that has gone misses nothing
	return nil
}

func (f frame) language() lang { return f.Lang }

// errorPage says what went wrong and what to do.
type errorPage struct {
	frame
	Status  int
	Message string
	Advice  string
}

// failures says how each kind of error looks. A kind that is not listed is our
// fault.
var failures = map[fault.Kind]struct {
	status        int
	title, advice string
}{
	fault.Invalid:         {http.StatusBadRequest, "That did not work", "Go back, mend the form and send it again."},
	fault.Unprocessable:   {http.StatusUnprocessableEntity, "That did not work", "Go back, mend the form and send it again."},
	fault.Unauthenticated: {http.StatusUnauthorized, "You are signed out", "Open a new sign-in link."},
	fault.Forbidden:       {http.StatusForbidden, "Not from here", "Go to the overview and start again."},
	fault.NotFound:        {http.StatusNotFound, "Nothing here", "It was removed, or it never was yours to see."},
	fault.Conflict:        {http.StatusConflict, "Not now", "Look at it again: it has changed meanwhile."},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "Too much", "Send less."},
	fault.TooMany:         {http.StatusTooManyRequests, "Too fast", "Wait a moment and try again."},
	fault.Unavailable:     {http.StatusServiceUnavailable, "Not available now", "Wait a moment and reload the page."},
}

// fail answers with the page for an error. What nobody classified is logged and
// not shown.
func (p *Portal) fail(w http.ResponseWriter, r *http.Request, s session, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	l := langOf(r)
	page := errorPage{
		Status: http.StatusInternalServerError, frame: p.frame(r, s, "Something failed on our side"),
		Message: l.t("The page could not be made."), Advice: l.t("Reload it. If it fails again, the server's log says why."),
	}
	if f, ok := failures[fault.KindOf(err)]; ok {
		page.Status, page.Title, page.Advice = f.status, l.t(f.title), l.t(f.advice)
		if e, ok := errors.AsType[*fault.Error](err); ok {
			page.Message = l.t(e.Msg)
		}
	}
	if page.Status >= http.StatusInternalServerError {
		p.log.ErrorContext(r.Context(), "page failed", "route", r.Pattern, "status", page.Status, "error", err)
	}
	if err := p.render(w, page.Status, "error", page); err != nil {
		p.log.ErrorContext(r.Context(), "page failed", "route", r.Pattern, "error", err)
		http.Error(w, "The page could not be made.", http.StatusInternalServerError)
	}
}

// notice is what a page says after a write, by the value of "done".
func (f frame) notice(r *http.Request) string {
	if text, ok := notices[r.URL.Query().Get("done")]; ok {
		return f.Lang.t(text)
	}
	return ""
}

// sentenceOf is what an error of ours says to people.
func sentenceOf(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		if len(e.Fields) > 0 {
			return e.Fields[0].Msg
		}
		return e.Msg
	}
	return ""
}
