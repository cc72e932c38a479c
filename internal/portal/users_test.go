package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
)

// asRole is a browser of a visitor with a role.
func (h *house) asRole(t *testing.T, role access.Role) *visitor {
	t.Helper()
	c, err := h.app.OpenSession(t.Context(), app.Visitor{Name: "V", Application: h.owner, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{h, &http.Cookie{Name: cookieName, Value: c.Reveal()}}
}

// TestRoutes_scopes: each route asks for a scope, and who has it not is told
// so, and shown nothing.
func TestRoutes_scopes(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, role := range access.Roles() {
		v := h.asRole(t, role)
		for _, rt := range h.signedRoutes() {
			if rt.scope == anyone {
				continue
			}
			method, path, _ := strings.Cut(rt.pattern, " ")
			path = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(strings.TrimSuffix(path, "{$}"), "none")
			if role.May(rt.scope) {
				continue // what it shows or does is not the matter here
			}
			var w *httptest.ResponseRecorder
			if method == http.MethodGet {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.AddCookie(v.cookie)
				w = h.do(r)
			} else {
				w = v.post(path)
			}
			if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Your role does not allow this.") {
				t.Errorf("%s by a %s: got %d, want 403", rt.pattern, role, w.Code)
			}
		}
	}
}

func TestUsers_fromInvitationToSignIn(t *testing.T) {
	t.Parallel()
	h := open(t)
	boss := h.asRole(t, access.Operator)
	if w := boss.post("/portal/users", "email", "no address", "role", "viewer"); w.Code != 422 || !strings.Contains(w.Body.String(), "Write a mail address") {
		t.Errorf("no address: got %d, want 422 that says so", w.Code)
	}
	w := boss.post("/portal/users", "email", "ana@example.org", "role", "viewer")
	link := regexp.MustCompile(`http://127.0.0.1:8080(/portal/join/[^<]+)<`).FindStringSubmatch(w.Body.String())
	if w.Code != 200 || link == nil {
		t.Fatalf("got %d, want a link", w.Code)
	}
	stranger := func(method, path string, fields url.Values) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(fields.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		return h.do(r)
	}
	if w := stranger("GET", link[1], nil); w.Code != 200 || !strings.Contains(w.Body.String(), "ana@example.org") {
		t.Errorf("the link: got %d, want a page that names the address", w.Code)
	}
	const password = "correct horse battery"
	if w := stranger("POST", link[1], url.Values{"name": {"Ana"}, "password": {"short"}}); w.Code != 422 || strings.Contains(w.Body.String(), `value="short"`) {
		t.Errorf("a short password: got %d, want 422 without it", w.Code)
	}
	w = stranger("POST", link[1], url.Values{"name": {"Ana"}, "password": {password}})
	if w.Code != 303 || len(w.Result().Cookies()) != 1 {
		t.Fatalf("got %d with %d cookies, want to be signed in", w.Code, len(w.Result().Cookies()))
	}
	ana := &visitor{h, w.Result().Cookies()[0]}
	if w := ana.get("/portal/"); w.Code != 200 || strings.Contains(w.Body.String(), "New subscription") || strings.Contains(w.Body.String(), h.bin) {
		t.Errorf("the overview of a viewer: got %d, want it without what viewers may not do", w.Code)
	}
	if w := stranger("GET", link[1], nil); w.Code != 404 {
		t.Errorf("the link again: got %d, want 404", w.Code)
	}
	w = stranger("POST", "/portal/sign-in", url.Values{"email": {"ana@example.org"}, "password": {"wrong"}})
	if w.Code != 401 || !strings.Contains(w.Body.String(), "The address or the password is wrong.") || len(w.Result().Cookies()) != 0 {
		t.Errorf("a wrong password: got %d, want 401", w.Code)
	}
	w = stranger("POST", "/portal/sign-in", url.Values{"email": {"ana@example.org"}, "password": {password}})
	if w.Code != 303 || len(w.Result().Cookies()) != 1 {
		t.Errorf("got %d, want to be signed in", w.Code)
	}
	foreign := httptest.NewRequest("POST", "/portal/sign-in", strings.NewReader(""))
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	if w := h.do(foreign); w.Code != 403 {
		t.Errorf("from another site: got %d, want 403", w.Code)
	}
	u, err := h.store.UserByEmail(t.Context(), "ana@example.org")
	if err != nil {
		t.Fatal(err)
	}
	if w := boss.post("/portal/users/" + u.ID + "/remove"); w.Code != 303 {
		t.Errorf("removing: got %d, want 303", w.Code)
	}
	if w := ana.get("/portal/"); w.Code != 303 {
		t.Errorf("a removed user: got %d, want the way to sign in", w.Code)
	}
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, tt := range []struct{ back, want string }{
		{"/portal/deliveries?status=held", "/portal/deliveries?status=held"}, {"https://evil.example/", "/portal/"}, {"//evil.example", "/portal/"},
		{"/portal/\\evil", "/portal/"}, {"", "/portal/"}, {"/portal/x//y", "/portal/"},
	} {
		r := httptest.NewRequest("POST", "/portal/preferences", strings.NewReader(url.Values{"lang": {"pt-BR"}, "theme": {"dark"}, "back": {tt.back}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		w := h.do(r)
		if w.Code != 303 || w.Header().Get("Location") != tt.want || len(w.Result().Cookies()) != 2 {
			t.Errorf("back to %q: got %d to %q", tt.back, w.Code, w.Header().Get("Location"))
		}
	}
	r := httptest.NewRequest("GET", "/portal/sign-in", nil)
	r.AddCookie(&http.Cookie{Name: langCookie, Value: "pt-BR"})
	r.AddCookie(&http.Cookie{Name: themeCookie, Value: "dark"})
	if page := h.do(r).Body.String(); !strings.Contains(page, `<html lang="pt-BR" data-theme="dark">`) || !strings.Contains(page, "Entrar") {
		t.Error("the page is not in the language and colours that were chosen")
	}
	r = httptest.NewRequest("GET", "/portal/sign-in", nil)
	r.Header.Set("Accept-Language", "fr, pt;q=0.8, en;q=0.5")
	if page := h.do(r).Body.String(); !strings.Contains(page, `<html lang="pt-BR">`) {
		t.Error("the page is not in the language that the browser prefers")
	}
}
