package portal

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/consentwire/consentwire/internal/fault"
)

// frame is what surrounds every page.
type frame struct {
	Title       string
	Application string // name of the signed-in visitor's; may be empty
	SignedIn    bool
	Token       string // for forms
	Base        string // path of the portal, without a slash at its end
	Version     string
	StyleFile   string // names of the assets
	ScriptFile  string
	IconFile    string
}

func (p *Portal) frame(s session, title string) frame {
	return frame{
		Title: title, SignedIn: s.app != "", Token: s.token, Base: p.base(), Version: p.version,
		StyleFile: p.assets.names["portal.css"], ScriptFile: p.assets.names["portal.js"], IconFile: p.assets.names["mark.svg"],
	}
}

// signedFrame is the frame with the application's name. A session whose
// application is gone ends.
func (p *Portal) signedFrame(ctx context.Context, s session, title string) (frame, error) {
	f := p.frame(s, title)
	a, err := p.store.Application(ctx, s.app)
	if fault.KindOf(err) == fault.NotFound {
		p.sessions.end(s.key)
		return f, fault.New(fault.NotFound, "application_gone", "The application of this session no longer exists.")
	}
	f.Application = a.Name
	return f, err
}

// render writes a page whole, or nothing and an error.
func (p *Portal) render(w http.ResponseWriter, status int, page string, data any) error {
	var b bytes.Buffer
	if err := p.pages[page].Execute(&b, data); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that has gone misses nothing
	return nil
}

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
	page := errorPage{Status: http.StatusInternalServerError, frame: p.frame(s, "Something failed on our side"), Message: "The page could not be made.", Advice: "Reload it. If it fails again, the server's log says why."}
	if f, ok := failures[fault.KindOf(err)]; ok {
		page.Status, page.Title, page.Advice = f.status, f.title, f.advice
		if e, ok := errors.AsType[*fault.Error](err); ok {
			page.Message = e.Msg
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
