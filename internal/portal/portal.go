// Package portal is the part of the server that people look at: pages
// rendered here, complete without JavaScript.
//
// Whatever a page shows may have been written by an enemy, so it is only ever
// text. A page runs no script but our own file, sends no form to anywhere
// else, and sits in nobody's frame. The portal never asks our own API: it
// reads from the store and writes through app, as the API does.
package portal

import (
	"context"
	"embed"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Prefix is the path that everything of the portal is below.
const Prefix = "/portal/"

//go:embed templates/*.html assets/*
var files embed.FS

// maxForm bounds the body of a form in bytes. Ours.
const maxForm = 64 << 10

// policy is the content security policy of every page. Source: RULES 5.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Tester sends a webhook.test to an endpoint at once. The error is for what
// kept it from trying; what the receiver made of it is in the trial.
type Tester interface {
	Test(ctx context.Context, e subscription.Endpoint) (delivery.Trial, error)
}

// Doc describes a type of event.
type Doc struct {
	Type    event.Type
	Summary string
	Schema  []byte // JSON Schema of its body
	Example []byte // a body in JSON
}

// Options configure a Portal.
type Options struct {
	App       *app.App
	Store     store.Reader
	Sink      *sink.Sink
	Check     subscription.URLCheck
	Tester    Tester
	SignOn    SignOn        // nil: people sign in by password
	Docs      []Doc         // every type of event, in the order in which they are shown
	PublicURL func() string // how the world reaches us
	Logger    *slog.Logger  // nil: none
	Version   string
}

// Portal is an http.Handler for everything below Prefix and app.ConfirmPath.
type Portal struct {
	app       *app.App
	store     store.Reader
	sink      *sink.Sink
	check     subscription.URLCheck
	tester    Tester
	docs      []Doc
	signOn    SignOn
	publicURL func() string
	log       *slog.Logger
	version   string

	pages  map[lang]map[string]*template.Template
	assets assets
	visits *visits
	origin *http.CrossOriginProtection
	mux    *http.ServeMux
}

// New returns the portal. It fails when a page does not parse.
func New(o Options) (*Portal, error) {
	p := &Portal{
		app: o.App, store: o.Store, sink: o.Sink, check: o.Check, tester: o.Tester, docs: o.Docs, signOn: o.SignOn, publicURL: o.PublicURL, log: o.Logger, version: o.Version,
		visits: newVisits(), origin: http.NewCrossOriginProtection(), mux: http.NewServeMux(),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if p.assets, err = loadAssets(files); err != nil {
		return nil, err
	}
	if p.pages, err = parse(files); err != nil {
		return nil, err
	}
	p.routes()
	return p, nil
}

// parse reads every page with the frame around it, in every language.
func parse(tree fs.FS) (map[lang]map[string]*template.Template, error) {
	names, err := fs.Glob(tree, "templates/*.html")
	if err != nil {
		return nil, err
	}
	all := map[lang]map[string]*template.Template{}
	for _, l := range languages() {
		pages := map[string]*template.Template{}
		for _, file := range names {
			name := strings.TrimSuffix(path.Base(file), ".html")
			with := []string{"templates/frame.html", "templates/parts.html", file}
			switch name {
			case "frame", "parts":
				continue
			case "confirm": // which has a frame of its own
				with = []string{file}
			}
			t, err := template.New(path.Base(with[0])).Option("missingkey=error").Funcs(l.funcs()).ParseFS(tree, with...)
			if err != nil {
				return nil, err
			}
			pages[name] = t
		}
		all[l] = pages
	}
	return all, nil
}

// ServeHTTP answers below Prefix and app.ConfirmPath.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if p.secure(r) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	p.mux.ServeHTTP(w, r)
}

// secure tells whether people reach us over TLS, here or at a proxy.
func (p *Portal) secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(strings.ToLower(p.publicURL()), "https://")
}

// base returns the path of the portal as a browser sees it, without a slash at
// its end.
func (p *Portal) base() string { return p.root() + "/portal" }

// root returns the path at which a browser sees the server, without a slash at
// its end.
func (p *Portal) root() string {
	u, err := url.Parse(p.publicURL())
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// SignInLink returns a link that signs one visitor in for the application. It
// works once, within linkLife.
func (p *Portal) SignInLink(app access.ID) string {
	return strings.TrimSuffix(p.publicURL(), "/") + "/portal/sign-in/" + p.visits.link(app)
}

// handler answers, or returns an error and has written nothing.
type handler func(http.ResponseWriter, *http.Request, session) error

// open serves a page that needs no session.
func (p *Portal) open(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			p.fail(w, r, session{}, err)
		}
	}
}

// signed serves a page that needs a session with the scope. A visitor without
// one is sent to the page that tells how to sign in. A write must come from one
// of our pages: by its origin and by the session's token.
func (p *Portal) signed(scope access.Scope, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, forms, ok, err := p.sessionOf(r, true)
		if err != nil {
			p.fail(w, r, session{}, err)
			return
		}
		if !ok {
			p.unknown(w, r)
			return
		}
		err = p.ours(w, r, forms)
		if err == nil && scope != anyone && !s.role.May(scope) {
			err = fault.New(fault.Forbidden, "role", "Your role does not allow this. Ask an operator for another.")
		}
		if err == nil && s.app == "" && scope != anyone && scope != access.Administer {
			http.Redirect(w, r, p.base()+"/applications", http.StatusSeeOther)
			return
		}
		if err == nil {
			err = h(w, r, s)
		}
		if err != nil {
			p.fail(w, r, s, err)
		}
	}
}

// unknown answers a visitor without a session.
func (p *Portal) unknown(w http.ResponseWriter, r *http.Request) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Accept") != "text/event-stream" {
		http.Redirect(w, r, p.base()+"/sign-in", http.StatusSeeOther)
		return
	}
	p.fail(w, r, session{}, fault.New(fault.Unauthenticated, "session_ended", "Your session has ended. Sign in again; nothing was changed."))
}

// ours checks that a write comes from a page of ours.
func (p *Portal) ours(w http.ResponseWriter, r *http.Request, forms func(string) bool) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if !p.sameSite(r) {
		return foreignForm()
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return malformedForm(err)
	}
	if !forms(r.PostForm.Get("token")) {
		return foreignForm()
	}
	return nil
}

func foreignForm() error {
	return fault.New(fault.Forbidden, "foreign_form", "This form was not sent from a page of your session; nothing was changed. Go back, reload the page and try again.")
}

func malformedForm(err error) error {
	return fault.Wrap(fault.Invalid, "malformed_form", "The form could not be read.", err)
}

// sameSite tells whether a write may come from a page of ours, by what the
// browser says of its origin.
//
// Our referrer policy makes browsers write "Origin: null" on our own forms;
// over plain http to another machine they send no fetch metadata beside it, and
// only a token decides.
func (p *Portal) sameSite(r *http.Request) bool {
	silent := r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "null"
	return silent || p.origin.Check(r) == nil
}
