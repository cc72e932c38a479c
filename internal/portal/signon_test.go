package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/fault"
)

// friendly is a provider that vouches for whom the query names, if the browser
// kept what it was given.
type friendly struct{ err error }

func (friendly) Name() string { return "Aurora & ID" }

func (f friendly) Begin(context.Context) (address, kept string, err error) {
	return "https://id.example/auth?state=s", "s.n.v", f.err
}

func (f friendly) Finish(_ context.Context, kept string, q url.Values) (email, name string, err error) {
	if kept != "s.n.v" {
		return "", "", fault.New(fault.Unauthenticated, "sign_in_mixed_up", "Begin again.")
	}
	return q.Get("email"), "Ana\n<b>", nil
}

func TestSignOn(t *testing.T) {
	t.Parallel()
	h := open(t)
	get := func(path string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return h.do(r)
	}
	if w := get("/portal/sign-in"); strings.Contains(w.Body.String(), "/sign-in/provider") {
		t.Error("without a provider the page offers one")
	}
	for _, path := range []string{"/portal/sign-in/provider", CallbackPath} {
		if w := get(path); w.Code != 404 {
			t.Errorf("%s without a provider: got %d, want 404", path, w.Code)
		}
	}
	h.signOn = friendly{}
	if w := get("/portal/sign-in"); !strings.Contains(w.Body.String(), "Sign in with Aurora &amp; ID") {
		t.Error("the page does not offer the provider")
	}
	// go begins a sign-in and lets the provider vouch for email.
	enter := func(begin, email string) *httptest.ResponseRecorder {
		w := get(begin)
		cookies := w.Result().Cookies()
		if w.Code != 303 || w.Header().Get("Location") != "https://id.example/auth?state=s" || len(cookies) != 1 || !cookies[0].HttpOnly {
			t.Fatalf("%s: got %d to %q with %v", begin, w.Code, w.Header().Get("Location"), cookies)
		}
		return get(CallbackPath+"?email="+url.QueryEscape(email), cookies...)
	}
	signedIn := func(w *httptest.ResponseRecorder) *visitor {
		for _, c := range w.Result().Cookies() {
			if c.Name == cookieName && c.Value != "" {
				return &visitor{h, c}
			}
		}
		return nil
	}
	w := enter("/portal/sign-in/provider", "ana@example.org")
	if w.Code != 401 || signedIn(w) != nil || !strings.Contains(w.Body.String(), "nobody invited your mail address") {
		t.Errorf("a stranger: got %d, want 401 that says why", w.Code)
	}
	sec, err := h.app.Invite(t.Context(), h.owner, "ana@example.org", access.Viewer)
	if err != nil {
		t.Fatal(err)
	}
	page := get("/portal/join/" + sec.Reveal()).Body.String()
	link := "/portal/sign-in/provider?join=" + sec.Reveal()
	if !strings.Contains(page, `href="`+link+`"`) {
		t.Errorf("the invitation does not lead to the provider")
	}
	if w := enter(link, "eve@example.org"); w.Code != 401 || signedIn(w) != nil || !strings.Contains(w.Body.String(), "another mail address") {
		t.Errorf("somebody else's invitation: got %d, want 401 that says why", w.Code)
	}
	w = enter(link, "Ana@Example.org")
	ana := signedIn(w)
	if w.Code != 303 || ana == nil {
		t.Fatalf("the invited: got %d, want to be signed in", w.Code)
	}
	if w := ana.get("/portal/"); w.Code != 200 {
		t.Errorf("the overview: got %d", w.Code)
	}
	if u, err := h.store.UserByEmail(t.Context(), "ana@example.org"); err != nil || u.Name != "Ana<b>" || u.Password != "" || u.Role != access.Viewer {
		t.Errorf("got %+v, %v, want a viewer without a password", u, err)
	}
	if w := enter("/portal/sign-in/provider", "ana@example.org"); w.Code != 303 || signedIn(w) == nil {
		t.Errorf("later: got %d, want to be signed in", w.Code)
	}
	for _, password := range []string{"", "x"} {
		if _, err := h.app.SignIn(t.Context(), "ana@example.org", password, "192.0.2.1"); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("with the password %q: got %v, want a refusal", password, err)
		}
	}
	if w := get(CallbackPath + "?email=ana@example.org"); w.Code != 401 || signedIn(w) != nil {
		t.Errorf("a browser that began nothing: got %d, want 401", w.Code)
	}
	h.signOn = friendly{err: fault.New(fault.Unavailable, "provider_unreachable", "The provider cannot be reached.")}
	if w := get("/portal/sign-in/provider"); w.Code != 503 || !strings.Contains(w.Body.String(), "The provider cannot be reached.") {
		t.Errorf("a provider that is down: got %d, want 503 that says so", w.Code)
	}
}
