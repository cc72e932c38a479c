package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/fault"
)

// linkLife is how long a sign-in link works. Ours.
const linkLife = 10 * time.Minute

// maxLinks is how many links are out at a time; the oldest give way. Ours.
const maxLinks = 1000

// maxStreams is how many live pages one session may hold open. Ours.
const maxStreams = 8

// cookieName is the session's cookie's, but for the prefix that TLS gives it.
const cookieName = "consentwire"

// session is a visitor who has signed in; the zero one is nobody.
type session struct {
	key   [32]byte
	app   access.ID // whose pages are shown; empty: an operator has chosen none
	role  access.Role
	user  string // ID; empty: none
	name  string // to be shown
	token string // in every form
}

// signed tells whether there is a visitor.
func (s session) signed() bool { return s.role != "" }

// sessionOf returns the session of a request's cookie; ok is false when there is
// none. seen tells that its visitor is there: a page that is left open is not.
func (p *Portal) sessionOf(r *http.Request, seen bool) (s session, forms func(string) bool, ok bool, err error) {
	cookie := p.cookie(r)
	if cookie == "" {
		return session{}, nil, false, nil
	}
	kept, err := p.app.Session(r.Context(), access.HashSession(cookie), seen)
	if fault.KindOf(err) == fault.NotFound {
		return session{}, nil, false, nil
	}
	if err != nil {
		return session{}, nil, false, err
	}
	return session{kept.Hash, kept.Application, kept.Role, kept.User, kept.Name, kept.Token}, kept.Forms, true, nil
}

// lives tells whether the session of a request still counts. That of a store
// that cannot be asked does.
func (p *Portal) lives(r *http.Request) bool {
	_, _, ok, err := p.sessionOf(r, false)
	return ok || err != nil
}

// link is a sign-in link that nobody has used.
type link struct {
	app  access.ID
	made time.Time
}

// visits holds what one process knows of its visitors: which links are out, and
// how many live pages each session has open here.
type visits struct {
	mu      sync.Mutex
	links   map[[32]byte]link
	streams map[[32]byte]int
}

func newVisits() *visits {
	return &visits{links: map[[32]byte]link{}, streams: map[[32]byte]int{}}
}

// link makes a one-time code.
func (v *visits) link(app access.ID) (code string) {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	var oldest [32]byte
	for k, l := range v.links {
		if !now.Before(l.made.Add(linkLife)) {
			delete(v.links, k)
		} else if o, ok := v.links[oldest]; !ok || l.made.Before(o.made) {
			oldest = k
		}
	}
	if len(v.links) >= maxLinks {
		delete(v.links, oldest)
	}
	code = rand.Text() + rand.Text()
	v.links[sha256.Sum256([]byte(code))] = link{app, now}
	return code
}

// use uses a code up. ok is false for one that was used, is too old, or never
// was.
func (v *visits) use(code string) (app access.ID, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := sha256.Sum256([]byte(code))
	l, ok := v.links[k]
	delete(v.links, k)
	return l.app, ok && time.Now().Before(l.made.Add(linkLife))
}

// stream counts one more live page of a session until done is called; ok is
// false when it has too many.
func (v *visits) stream(k [32]byte) (done func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.streams[k] >= maxStreams {
		return nil, false
	}
	v.streams[k]++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.streams[k]--; v.streams[k] <= 0 {
			delete(v.streams, k)
		}
	}, true
}

// cookie returns the value of the request's session cookie.
func (p *Portal) cookie(r *http.Request) string { return p.ownValue(r, cookieName) }

// setCookie gives the browser a session, or takes it when value is empty.
func (p *Portal) setCookie(w http.ResponseWriter, r *http.Request, value string) {
	http.SetCookie(w, p.ownCookie(r, cookieName, value))
}

// ownCookie returns a cookie for this very host, until the browser ends; an empty
// value takes it away. Over TLS a browser takes it from this host only. Source:
// RULES 5.
func (p *Portal) ownCookie(r *http.Request, name, value string) *http.Cookie {
	c := &http.Cookie{Name: p.ownName(r, name), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: p.secure(r)} // #nosec G124 -- Secure where the portal is reached by https
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

func (p *Portal) ownName(r *http.Request, name string) string {
	if p.secure(r) {
		return "__Host-" + name
	}
	return name
}

// ownValue returns the value of such a cookie; empty: there is none.
func (p *Portal) ownValue(r *http.Request, name string) string {
	c, err := r.Cookie(p.ownName(r, name))
	if err != nil {
		return ""
	}
	return c.Value
}

// begin signs a visitor in, with a new session in the place of a former one, and
// leads to the start page.
func (p *Portal) begin(w http.ResponseWriter, r *http.Request, v app.Visitor) error {
	if former := p.cookie(r); former != "" {
		if err := p.app.CloseSession(r.Context(), access.HashSession(former)); err != nil {
			return err
		}
	}
	cookie, err := p.app.OpenSession(r.Context(), v)
	if err != nil {
		return err
	}
	p.setCookie(w, r, cookie.Reveal())
	http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
	return nil
}

// signInPage is where people sign in.
type signInPage struct {
	frame
	Email string
	Fault string // of the pair

	Provider      string // its name; empty: there is none
	ProviderFault string
	Token         string // of the operator's token: what is wrong with it
}

func (p *Portal) signInPage(r *http.Request) signInPage {
	return signInPage{frame: p.frame(r, session{}, "Sign in"), Provider: p.providerName()}
}

// signIn shows how to sign in.
func (p *Portal) signIn(w http.ResponseWriter, r *http.Request) error {
	_, _, ok, err := p.sessionOf(r, false)
	if err != nil {
		return err
	}
	if ok {
		http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
		return nil
	}
	return p.render(w, http.StatusOK, "sign-in", p.signInPage(r))
}

// callerAddress returns the address of the caller without its port.
func callerAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// enter signs a visitor in by address and password, or by the operator's token.
func (p *Portal) enter(w http.ResponseWriter, r *http.Request) error {
	if err := p.strangersForm(w, r); err != nil {
		return err
	}
	page := p.signInPage(r)
	page.Email = r.PostForm.Get("email")
	addr := callerAddress(r)
	if bearer := r.PostForm.Get("operator"); bearer != "" {
		err := p.app.SignInOperator(bearer, addr)
		if err == nil {
			return p.begin(w, r, app.Visitor{Name: page.Lang.t("Operator"), Role: access.Operator})
		}
		return p.refused(w, page, &page.Token, err)
	}
	u, err := p.app.SignIn(r.Context(), page.Email, r.PostForm.Get("password"), addr)
	if err != nil {
		return p.refused(w, page, &page.Fault, err)
	}
	return p.begin(w, r, visitorOf(u))
}

// refused shows the sign-in page again with what is wrong.
func (p *Portal) refused(w http.ResponseWriter, page signInPage, at *string, err error) error {
	status := http.StatusUnauthorized
	switch fault.KindOf(err) {
	case fault.Unauthenticated:
	case fault.TooMany:
		status = http.StatusTooManyRequests
	default:
		return err
	}
	text := page.Lang.t(sentenceOf(err))
	if at == &page.Token {
		page.Token = text
	} else {
		page.Fault = text
	}
	return p.render(w, status, "sign-in", page)
}

func visitorOf(u access.User) app.Visitor {
	return app.Visitor{User: u.ID, Name: u.Name, Application: u.Application, Role: u.Role}
}

// strangersForm reads a form of a visitor without a session, which must come
// from a page of ours.
func (p *Portal) strangersForm(w http.ResponseWriter, r *http.Request) error {
	if !p.sameSite(r) {
		return foreignForm()
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return malformedForm(err)
	}
	return nil
}

// useLink signs a visitor in by a link. Only a real visit uses the link up: a
// look at the headers, or a browser that loads pages ahead, does not.
func (p *Portal) useLink(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead || r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != "" {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if a, ok := p.visits.use(r.PathValue("code")); ok {
		return p.begin(w, r, app.Visitor{Name: langOf(r).t("Operator"), Application: a, Role: access.Operator})
	}
	_, _, signed, err := p.sessionOf(r, false)
	if err != nil {
		return err
	}
	if signed { // the same link once more
		http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
		return nil
	}
	return p.render(w, http.StatusGone, "link-spent", signInPage{frame: p.frame(r, session{}, "This link is used up")})
}

func (p *Portal) signOut(w http.ResponseWriter, r *http.Request, s session) error {
	if err := p.app.CloseSession(r.Context(), s.key); err != nil {
		return err
	}
	p.setCookie(w, r, "")
	http.Redirect(w, r, p.base()+"/sign-in", http.StatusSeeOther)
	return nil
}

// joinPage is where an invited person chooses a password.
type joinPage struct {
	frame
	Action                   string
	Email, As, Name          string
	NameFault, PasswordFault string
	Other                    string
	Least                    int
	Provider, ProviderLink   string
}

func (p *Portal) invitation(w http.ResponseWriter, r *http.Request) error {
	return p.showJoin(w, r, http.StatusOK, joinPage{})
}

func (p *Portal) showJoin(w http.ResponseWriter, r *http.Request, status int, page joinPage) error {
	i, err := p.app.Invited(r.Context(), r.PathValue("secret"))
	if err != nil {
		return err
	}
	page.frame = p.frame(r, session{}, "Welcome")
	page.Action = p.base() + "/join/" + url.PathEscape(r.PathValue("secret"))
	page.Email, page.As, page.Least = i.Email, page.Lang.roleName(i.Role), access.MinPassword
	page.Provider, page.ProviderLink = p.providerName(), p.base()+"/sign-in/provider?join="+url.QueryEscape(r.PathValue("secret"))
	return p.render(w, status, "join", page)
}

func (p *Portal) join(w http.ResponseWriter, r *http.Request) error {
	if err := p.strangersForm(w, r); err != nil {
		return err
	}
	l, name := langOf(r), r.PostForm.Get("name")
	u, err := p.app.Join(r.Context(), r.PathValue("secret"), name, r.PostForm.Get("password"))
	if fields := fieldsOf(err); len(fields) > 0 {
		return p.showJoin(w, r, http.StatusUnprocessableEntity, joinPage{Name: name, NameFault: l.t(fields["name"]), PasswordFault: l.t(fields["password"]), Other: l.t(fields["email"])})
	}
	if err != nil {
		return err
	}
	return p.begin(w, r, visitorOf(u))
}
