package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"

	"github.com/consentwire/consentwire/internal/access"
)

// How long things last. Source of the first two: RULES 5.
const (
	sessionIdle = 30 * time.Minute // without a page
	sessionLife = 12 * time.Hour   // in any case
	linkLife    = 10 * time.Minute // of a sign-in link
)

// The most sessions and links at a time; the oldest give way. Ours.
const (
	maxSessions = 1000
	maxLinks    = 1000
)

// maxStreams is how many live pages one session may hold open. Ours.
const maxStreams = 8

// The names of the session's cookie: over TLS a browser takes the first from
// this very host only. Source: RULES 5.
const (
	cookieName      = "__Host-consentwire"
	cookieNamePlain = "consentwire"
)

// session is a visitor who has signed in.
type session struct {
	key     [32]byte  // of the table: the SHA-256 of the cookie
	app     access.ID // whose pages are shown; empty: an operator has chosen none
	role    access.Role
	user    string // who it is, for the page
	token   string // in every form
	began   time.Time
	seen    time.Time
	streams int
}

// signed tells whether there is a visitor.
func (s session) signed() bool { return s.role != "" }

// alive tells whether the session still counts at now. At the instant of its
// end it does not.
func (s session) alive(now time.Time) bool {
	return now.Before(s.seen.Add(sessionIdle)) && now.Before(s.began.Add(sessionLife))
}

// forms tells, in constant time, whether token is that of the session's forms.
func (s session) forms(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1 && s.token != ""
}

// link is a sign-in link that nobody has used.
type link struct {
	app  access.ID
	made time.Time
}

// sessions holds who is signed in and which links are out. It is in memory: a
// restart signs everybody out.
type sessions struct {
	mu    sync.Mutex
	table map[[32]byte]*session
	links map[[32]byte]link
}

func newSessions() *sessions {
	return &sessions{table: map[[32]byte]*session{}, links: map[[32]byte]link{}}
}

// link makes a one-time code.
func (ss *sessions) link(app access.ID) (code string) {
	now := time.Now()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var oldest [32]byte
	for k, l := range ss.links {
		if !now.Before(l.made.Add(linkLife)) {
			delete(ss.links, k)
		} else if o, ok := ss.links[oldest]; !ok || l.made.Before(o.made) {
			oldest = k
		}
	}
	if len(ss.links) >= maxLinks {
		delete(ss.links, oldest)
	}
	code = rand.Text() + rand.Text()
	ss.links[sha256.Sum256([]byte(code))] = link{app, now}
	return code
}

// use turns a code into a session and returns the value of its cookie. ok is
// false for a code that was used, is too old, or never was.
func (ss *sessions) use(code string) (cookie string, ok bool) {
	now := time.Now()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	k := sha256.Sum256([]byte(code))
	l, ok := ss.links[k]
	delete(ss.links, k)
	if !ok || !now.Before(l.made.Add(linkLife)) {
		return "", false
	}
	var oldest *session
	for k, s := range ss.table {
		if !s.alive(now) {
			delete(ss.table, k)
		} else if oldest == nil || s.seen.Before(oldest.seen) {
			oldest = s
		}
	}
	if len(ss.table) >= maxSessions {
		delete(ss.table, oldest.key)
	}
	cookie = rand.Text() + rand.Text()
	s := &session{key: sha256.Sum256([]byte(cookie)), app: l.app, role: access.Operator, token: rand.Text(), began: now, seen: now}
	ss.table[s.key] = s
	return cookie, true
}

// find returns the session of a cookie and notes that it was seen.
func (ss *sessions) find(cookie string) (session, bool) {
	if cookie == "" {
		return session{}, false
	}
	now, k := time.Now(), sha256.Sum256([]byte(cookie))
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.table[k]
	if !ok {
		return session{}, false
	}
	if !s.alive(now) {
		delete(ss.table, k)
		return session{}, false
	}
	s.seen = now
	return *s, true
}

// lives tells whether a session still counts, without noting that it was seen:
// a page that is left open is no visitor.
func (ss *sessions) lives(k [32]byte) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.table[k]
	return ok && s.alive(time.Now())
}

// show makes an application the one whose pages the session shows.
func (ss *sessions) show(k [32]byte, app access.ID) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s, ok := ss.table[k]; ok {
		s.app = app
	}
}

// end revokes a session. Idempotent.
func (ss *sessions) end(k [32]byte) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.table, k)
}

// stream counts one more live page of a session until done is called; ok is
// false when it has too many.
func (ss *sessions) stream(k [32]byte) (done func(), ok bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.table[k]
	if !ok || s.streams >= maxStreams {
		return nil, false
	}
	s.streams++
	return func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		s.streams--
	}, true
}

// cookie returns the value of the request's session cookie.
func (p *Portal) cookie(r *http.Request) string {
	name := cookieNamePlain
	if p.secure(r) {
		name = cookieName
	}
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie gives the browser a session, or takes it when value is empty.
func (p *Portal) setCookie(w http.ResponseWriter, r *http.Request, value string) {
	c := &http.Cookie{Name: cookieNamePlain, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if p.secure(r) {
		c.Name, c.Secure = cookieName, true
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// signIn tells a visitor how to sign in.
func (p *Portal) signIn(w http.ResponseWriter, r *http.Request) error {
	if _, ok := p.sessions.find(p.cookie(r)); ok {
		http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
		return nil
	}
	return p.render(w, http.StatusOK, "sign-in", signInPage{p.frame(r, session{}, "Sign in")})
}

type signInPage struct{ frame }

// useLink signs a visitor in by a link. Only a real visit uses the link up: a
// look at the headers, or a browser that loads pages ahead, does not.
func (p *Portal) useLink(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead || r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != "" {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	former, signed := p.sessions.find(p.cookie(r))
	cookie, ok := p.sessions.use(r.PathValue("code"))
	switch {
	case ok:
		if signed {
			p.sessions.end(former.key)
		}
		p.setCookie(w, r, cookie)
		http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
	case signed: // the same link once more
		http.Redirect(w, r, p.base()+"/", http.StatusSeeOther)
	default:
		return p.render(w, http.StatusGone, "link-spent", signInPage{p.frame(r, session{}, "This link is used up")})
	}
	return nil
}

func (p *Portal) signOut(w http.ResponseWriter, r *http.Request, s session) error {
	p.sessions.end(s.key)
	p.setCookie(w, r, "")
	http.Redirect(w, r, p.base()+"/sign-in", http.StatusSeeOther)
	return nil
}
