package portal

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/sink"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
	"github.com/consentwire/consentwire/internal/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a portal over a real store, with an application that has a bin.
type house struct {
	*Portal
	public string
	owner  access.ID
	bin    string
	broken *breakable
}

// breakable is a reader that fails on command.
type breakable struct {
	store.Reader
	bins, endpoints, application bool
}

func (b *breakable) Bins(ctx context.Context, a access.ID) ([]store.Bin, error) {
	if b.bins {
		return nil, fmt.Errorf("the disk says <no>")
	}
	return b.Reader.Bins(ctx, a)
}

func (b *breakable) Endpoints(ctx context.Context, a access.ID, q store.EndpointQuery) ([]subscription.Endpoint, int, error) {
	if b.endpoints {
		return nil, 0, fmt.Errorf("the disk says <no>")
	}
	return b.Reader.Endpoints(ctx, a, q)
}

func (b *breakable) Application(ctx context.Context, a access.ID) (access.Application, error) {
	if b.application {
		return access.Application{}, fmt.Errorf("the disk says <no>")
	}
	return b.Reader.Application(ctx, a)
}

func open(t *testing.T) *house {
	t.Helper()
	ctx := context.Background()
	keys, err := secret.ParseKeyring(secret.New(secret.RandomStd(32)))
	if err != nil {
		t.Fatal(err)
	}
	st, err := relational.Open(ctx, sqlite.File{Dir: sqlitetest.Dir(t)}, relational.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{public: "http://127.0.0.1:8080", broken: &breakable{Reader: st}}
	public := func() string { return h.public }
	use, box := app.New(app.Options{Store: st, PublicURL: public}), sink.New(sink.Options{Store: st, PublicURL: public})
	t.Cleanup(func() {
		box.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if h.Portal, err = New(Options{App: use, Store: h.broken, Sink: box, PublicURL: public, Version: "1.2.3"}); err != nil {
		t.Fatal(err)
	}
	h.owner = h.application(t, "Aurora & Söhne")
	h.bin = h.newBin(t, h.owner)
	return h
}

func (h *house) application(t *testing.T, name string) access.ID {
	t.Helper()
	a, _, _, err := h.app.CreateApplication(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

func (h *house) newBin(t *testing.T, owner access.ID) string {
	t.Helper()
	b, err := h.app.PutBin(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return b.Name
}

func (h *house) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// visitor is a browser that has signed in.
type visitor struct {
	h      *house
	cookie *http.Cookie
}

func (h *house) visit(t *testing.T, owner access.ID) *visitor {
	t.Helper()
	w := h.do(httptest.NewRequest(http.MethodGet, h.path(h.SignInLink(owner)), nil))
	cookies := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || len(cookies) != 1 {
		t.Fatalf("sign-in: got %d with %d cookies, want 303 with one", w.Code, len(cookies))
	}
	return &visitor{h, cookies[0]}
}

// path cuts the public URL off a link.
func (h *house) path(link string) string { return strings.TrimPrefix(link, h.public) }

func (v *visitor) get(path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.AddCookie(v.cookie)
	return v.h.do(r)
}

// token is that of the visitor's forms.
func (v *visitor) token() string {
	s, err := v.h.app.Session(context.Background(), access.HashSession(v.cookie.Value), false)
	if err != nil {
		return ""
	}
	return s.Token
}

func (v *visitor) form(path string, fields url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(fields.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "null")
	r.AddCookie(v.cookie)
	return r
}

// post sends a form as a page of ours does.
func (v *visitor) post(path string, pairs ...string) *httptest.ResponseRecorder {
	fields := url.Values{"token": {v.token()}}
	for i := 0; i < len(pairs); i += 2 {
		fields.Set(pairs[i], pairs[i+1])
	}
	return v.h.do(v.form(path, fields))
}

func (h *house) deliver(body string, headers ...string) {
	r := httptest.NewRequest(http.MethodPost, sink.Prefix+h.bin, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	h.sink.ServeHTTP(httptest.NewRecorder(), r)
}

func TestPortal_headers(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	for _, path := range []string{
		"/portal/", "/portal/mailbox", "/portal/sign-in", "/portal/sign-in/wrong", "/portal/nowhere", "/portal/inspector/" + h.bin, "/portal/inspector/none",
		"/portal/assets/" + h.assets.names["portal.js"], "/portal/assets/none",
	} {
		for _, public := range []string{"http://127.0.0.1:8080", "https://consents.example"} {
			h.public = public
			w := v.get(path)
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
				"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
			if got, want := w.Header().Get("Strict-Transport-Security") != "", strings.HasPrefix(public, "https"); got != want {
				t.Errorf("%s at %s: HSTS %v, want %v", path, public, got, want)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" && !strings.Contains(path, "assets/portal.") {
				t.Errorf("%s: Cache-Control is %q, want no-store", path, got)
			}
		}
	}
}

func TestPortal_pagesHoldNothingInline(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	h.deliver(`{"a":1}`)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?:[^>]*>[^<]|>)|<base`)
	for _, path := range []string{"/portal/", "/portal/nowhere", "/portal/inspector/" + h.bin} {
		if got := inline.FindString(v.get(path).Body.String()); got != "" {
			t.Errorf("%s: got %q, want nothing inline", path, got)
		}
	}
}

func TestPortal_assets(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	var found []string
	for _, page := range []string{"/portal/", "/portal/inspector/" + h.bin, "/portal/nowhere"} {
		found = append(found, regexp.MustCompile(`/portal/assets/[^"]+`).FindAllString(v.get(page).Body.String(), -1)...)
	}
	if len(found) != 9 {
		t.Fatalf("got the assets %v, want style, script and icon of three pages", found)
	}
	for _, path := range found {
		w := h.do(httptest.NewRequest(http.MethodGet, path, nil)) // without a session
		if w.Code != 200 || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("Content-Type") == "" || w.Body.Len() == 0 {
			t.Errorf("%s: got %d, %v", path, w.Code, w.Header())
		}
		if !regexp.MustCompile(`\.[0-9a-f]{16}\.(css|js|svg)$`).MatchString(path) {
			t.Errorf("%s: want a hash in the name", path)
		}
	}
}

func TestNew_refusesAPageThatDoesNotParse(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{}
	for _, name := range []string{"frame", "parts", "sign-in", "link-spent", "overview", "inspector", "request", "mailbox", "error", "confirm"} {
		tree["templates/"+name+".html"] = &fstest.MapFile{Data: []byte("x")}
	}
	if _, err := parse(tree); err != nil {
		t.Fatalf("got %v, want pages", err)
	}
	tree["templates/error.html"].Data = []byte("{{if}}")
	if _, err := parse(tree); err == nil {
		t.Error("got no error, want one")
	}
}

func TestSignIn_once(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		public, name string
		secure       bool
	}{{"http://127.0.0.1:8080", "consentwire", false}, {"https://consents.example", "__Host-consentwire", true}} {
		h := open(t)
		h.public = tt.public
		link := h.SignInLink(h.owner)
		if !strings.HasPrefix(link, tt.public+"/portal/sign-in/") {
			t.Fatalf("got the link %s", link)
		}
		for _, ahead := range []func(*http.Request){
			func(r *http.Request) { r.Method = http.MethodHead },
			func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") },
		} {
			r := httptest.NewRequest(http.MethodGet, h.path(link), nil)
			ahead(r)
			if w := h.do(r); w.Code != http.StatusNoContent || len(w.Result().Cookies()) != 0 {
				t.Errorf("a look ahead: got %d with %v, want 204 without a cookie", w.Code, w.Result().Cookies())
			}
		}
		w := h.do(httptest.NewRequest(http.MethodGet, h.path(link), nil))
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/portal/" {
			t.Fatalf("got %d to %q, want 303 to the overview", w.Code, w.Header().Get("Location"))
		}
		c := w.Result().Cookies()[0]
		if c.Name != tt.name || c.Secure != tt.secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Value) < 40 {
			t.Errorf("got the cookie %v", c)
		}
		again := h.do(httptest.NewRequest(http.MethodGet, h.path(link), nil))
		if again.Code != http.StatusGone || len(again.Result().Cookies()) != 0 || !strings.Contains(again.Body.String(), "consentwire dev") {
			t.Errorf("again: got %d with %v, want 410 that says how to get another", again.Code, again.Result().Cookies())
		}
		v := &visitor{h, c}
		if w := v.get(h.path(link)); w.Code != http.StatusSeeOther {
			t.Errorf("again, signed in: got %d, want 303", w.Code)
		}
		if w := v.get("/portal/"); w.Code != 200 || !strings.Contains(w.Body.String(), "Aurora &amp; Söhne") {
			t.Errorf("the overview: got %d, want 200 with the application's name", w.Code)
		}
		if strings.Contains(w.Body.String(), c.Value) {
			t.Error("the page shows the session's cookie")
		}
	}
}

func TestSignIn_newSession(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	w := v.get(h.path(h.SignInLink(h.owner)))
	fresh := &visitor{h, w.Result().Cookies()[0]}
	if fresh.cookie.Value == v.cookie.Value {
		t.Error("got the same session, want a new one")
	}
	if w := v.get("/portal/"); w.Code != http.StatusSeeOther {
		t.Errorf("the former session: got %d, want it ended", w.Code)
	}
	if w := fresh.post("/portal/sign-out"); w.Code != http.StatusSeeOther || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign-out: got %d, want 303 and no cookie", w.Code)
	}
	if w := fresh.get("/portal/"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/portal/sign-in" {
		t.Errorf("after it: got %d to %s, want the way to sign in", w.Code, w.Header().Get("Location"))
	}
}

func TestPortal_withoutASession(t *testing.T) {
	t.Parallel()
	h := open(t)
	forged := &visitor{h, &http.Cookie{Name: cookieName, Value: "forged"}}
	for _, path := range []string{"/portal/", "/portal/inspector/" + h.bin, "/portal/nowhere", "/portal/inspector/" + h.bin + "/requests/req_1"} {
		if w := forged.get(path); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/portal/sign-in" || strings.Contains(w.Body.String(), h.bin) {
			t.Errorf("%s: got %d to %s, want the way to sign in", path, w.Code, w.Header().Get("Location"))
		}
	}
	if w := h.do(httptest.NewRequest(http.MethodGet, "/portal/sign-in", nil)); w.Code != 200 || !strings.Contains(w.Body.String(), "consentwire dev") {
		t.Errorf("sign-in: got %d", w.Code)
	}
	for _, path := range []string{"/portal/inspector", "/portal/inspector/" + h.bin + "/clear", "/portal/sign-out"} {
		if w := forged.post(path); w.Code != http.StatusUnauthorized {
			t.Errorf("POST %s: got %d, want 401", path, w.Code)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/portal/inspector/"+h.bin+"/stream", nil)
	r.Header.Set("Accept", "text/event-stream")
	if w := h.do(r); w.Code != http.StatusUnauthorized {
		t.Errorf("the stream: got %d, want 401", w.Code)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVisits()
		late, justInTime := v.link("app_1"), v.link("app_2")
		time.Sleep(linkLife - time.Nanosecond)
		if a, ok := v.use(justInTime); !ok || a != "app_2" {
			t.Errorf("just before ten minutes: got %q, %t, want it to work", a, ok)
		}
		if _, ok := v.use(justInTime); ok {
			t.Error("again: the link works")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := v.use(late); ok {
			t.Error("at ten minutes: the link works")
		}
		first := v.link("app_1")
		for range maxLinks {
			time.Sleep(time.Millisecond)
			v.link("app_1")
		}
		if _, ok := v.use(first); ok || len(v.links) != maxLinks {
			t.Errorf("got %d links, want %d without the oldest", len(v.links), maxLinks)
		}
	})
}

func TestWrites_onlyFromOurPages(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	other := h.visit(t, h.owner)
	h.deliver("kept")
	path := "/portal/inspector/" + h.bin + "/clear"
	tests := []struct {
		name    string
		token   string
		headers map[string]string
		want    int
	}{
		{"without a token", "", nil, 403},
		{"with a wrong token", "wrong", nil, 403},
		{"with another session's token", other.token(), nil, 403},
		{"from another site", v.token(), map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"from a neighbour", v.token(), map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"}, 403},
		{"by an old browser, from another site", v.token(), map[string]string{"Sec-Fetch-Site": "", "Origin": "https://evil.example"}, 403},
		{"by an old browser, without a token", "", map[string]string{"Sec-Fetch-Site": ""}, 403},
		{"by an old browser, from our page", v.token(), map[string]string{"Sec-Fetch-Site": ""}, 303},
		{"from our page", v.token(), nil, 303},
	}
	for _, tt := range tests {
		r := v.form(path, url.Values{"token": {tt.token}})
		for name, value := range tt.headers {
			r.Header.Del(name)
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		kept := h.sink.Summary(h.bin).Kept
		if w := h.do(r); w.Code != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, w.Code, tt.want)
		}
		if got := h.sink.Summary(h.bin).Kept; tt.want == 403 && got != kept {
			t.Errorf("%s: got %d requests, want %d as before", tt.name, got, kept)
		}
		h.deliver("kept")
	}
	r := v.form(path, url.Values{"token": {v.token()}, "x": {strings.Repeat("x", maxForm)}})
	if w := h.do(r); w.Code != 400 {
		t.Errorf("a form that is too large: got %d, want 400", w.Code)
	}
	r = v.form(path, nil)
	r.URL.RawQuery = url.Values{"token": {v.token()}}.Encode()
	if w := h.do(r); w.Code != 403 {
		t.Errorf("the token in the address: got %d, want 403", w.Code)
	}
}

func TestPages_othersAreNotThere(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.deliver("secret of Aurora")
	rs, _, err := h.sink.Requests(t.Context(), h.owner, h.bin, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	v := h.visit(t, h.application(t, "Borealis"))
	for _, path := range []string{"", "/stream", "/requests/" + rs[0].ID} {
		if w := v.get("/portal/inspector/" + h.bin + path); w.Code != 404 || strings.Contains(w.Body.String(), "Aurora") {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
	for _, path := range []string{"/clear", "/script"} {
		if w := v.post("/portal/inspector/"+h.bin+path, "status", "500", "delayMs", "0", "failureRatio", "0"); w.Code != 404 {
			t.Errorf("POST %s: got %d, want 404", path, w.Code)
		}
	}
	if w := v.get("/portal/"); strings.Contains(w.Body.String(), h.bin) || !strings.Contains(w.Body.String(), "No bin yet.") {
		t.Error("the overview shows another's bin")
	}
	if got := h.sink.Summary(h.bin).Kept; got != 1 {
		t.Errorf("got %d requests, want the one", got)
	}
}

func TestSession_endsWithItsApplication(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	if err := h.app.DeleteApplication(t.Context(), h.owner); err != nil {
		t.Fatal(err)
	}
	if w := v.get("/portal/"); w.Code != 303 {
		t.Errorf("got %d, want the way to sign in", w.Code)
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	get := func() (int, string) {
		w := v.get("/portal/")
		return w.Code, w.Body.String()
	}
	if _, page := get(); !strings.Contains(page, "No endpoint yet.") || !strings.Contains(page, ">never<") {
		t.Error("empty: the page does not say so")
	}
	for _, status := range []subscription.Status{subscription.Active, subscription.Paused} {
		if _, err := h.app.CreateEndpoint(t.Context(), h.owner, subscription.Endpoint{
			Style: subscription.Subscription, Name: "CRM " + string(status), URL: "https://crm.example/hook", Status: status,
			UpdateType: subscription.EffectivePermission, Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.app.CreateEndpoint(t.Context(), h.owner, subscription.Endpoint{
		Style: subscription.Interceptor, URL: "https://bank.example/hook", Status: subscription.Active, Feed: "lifecycle-payment",
		Auth: subscription.Auth{Type: subscription.AuthNone},
	}); err != nil {
		t.Fatal(err)
	}
	h.deliver("x")
	status, page := get()
	for _, want := range []string{
		"CRM active", "https://crm.example/hook", ">Active<", "Nothing waits", ">Closed<", "Paused by its owner: updates are discarded.",
		">Interceptor<", "payment consents", `class="num"><div>1</div>`, h.bin, "Answers 200", h.public + "/inspect/" + h.bin,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("full: the page does not say %q", want)
		}
	}
	if status != 200 {
		t.Errorf("full: got %d, want 200", status)
	}
	h.broken.endpoints = true
	if status, page := get(); status != 503 || !strings.Contains(page, "The endpoints cannot be read now.") || !strings.Contains(page, h.bin) || strings.Contains(page, "disk") {
		t.Errorf("failing endpoints: got %d, want 503 that says so and shows the bins", status)
	}
	h.broken.endpoints, h.broken.bins = false, true
	if status, page := get(); status != 503 || !strings.Contains(page, "The bins cannot be read now.") || !strings.Contains(page, "CRM active") {
		t.Errorf("failing bins: got %d, want 503 that says so and shows the endpoints", status)
	}
	h.broken.application = true
	if status, page := get(); status != 500 || !strings.Contains(page, "Something failed on our side") || strings.Contains(page, "disk") {
		t.Errorf("failing altogether: got %d, want 500 without the cause", status)
	}
}

func TestInspector_completeWithoutScript(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	path := "/portal/inspector/" + h.bin
	if page := v.get(path).Body.String(); !strings.Contains(page, "Nothing has come yet.") || !strings.Contains(page, `id="empty">`) {
		t.Error("empty: the page does not say so")
	}
	for i := range sink.MaxRequests {
		h.deliver(fmt.Sprintf(`{"event":"consent:approved","data":{"n":%d}}`, i),
			"Consentwire-Subject", fmt.Sprintf("con_%d", i), "Consentwire-Sequence", "42", "Consentwire-Attempt", "3", "X-Seen", fmt.Sprintf("seen-%d", i))
	}
	page, rows := "", 0
	older := regexp.MustCompile(`(\?from=req_[^"]+)" rel="next"`)
	for next, n := path, 0; next != "" && n < 50; n++ {
		part := v.get(next).Body.String()
		if len(part) > 150_000 {
			t.Errorf("%s has %d bytes, want at most 150 kB", next, len(part))
		}
		page, rows = page+part, rows+strings.Count(part, `<li class="req"`)-1 // but the blank one
		next = ""
		if m := older.FindStringSubmatch(part); m != nil {
			next = path + m[1]
		}
	}
	if rows != sink.MaxRequests {
		t.Errorf("got %d rows on all pages, want %d", rows, sink.MaxRequests)
	}
	for _, want := range []string{"&#34;n&#34;: 0\n", "&#34;n&#34;: 499\n", ">con_7<", ">seen-499<", ">consent:approved<", ">Unsigned<", "A bin keeps its latest 500 requests", "Refresh</a>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if strings.Index(page, ">con_499<") > strings.Index(page, ">con_0<") {
		t.Error("got the oldest first, want the newest")
	}
	h.broken.application = true
	if w := v.get(path); w.Code != 500 || !strings.Contains(w.Body.String(), "Something failed on our side") {
		t.Errorf("failing: got %d, want 500 that says so", w.Code)
	}
}

func TestInspector_oneRequest(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	long := strings.Repeat("a", maxShown) + "the end"
	h.deliver(long)
	page := v.get("/portal/inspector/" + h.bin).Body.String()
	if strings.Contains(page, "the end<") || !strings.Contains(page, "The beginning of 8,199 bytes.") {
		t.Error("the list shows a long body whole")
	}
	href := regexp.MustCompile(`/portal/inspector/[^"]+/requests/req_[^"]+`).FindString(page)
	if w := v.get(href); w.Code != 200 || !strings.Contains(w.Body.String(), "the end<") {
		t.Errorf("%s: got %d, want the whole body", href, w.Code)
	}
	if w := v.get("/portal/inspector/" + h.bin + "/requests/req_none"); w.Code != 404 {
		t.Errorf("an unknown request: got %d, want 404", w.Code)
	}
}

func TestInspector_script(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	path := "/portal/inspector/" + h.bin
	if _, err := h.app.ScriptBin(t.Context(), h.owner, h.bin, store.Script{Status: 200, Headers: map[string]string{"Retry-After": "5"}, Body: "kept"}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name                 string
		status, delay, ratio string
		faults               []string // ids of the fields at fault
	}{
		{"all at fault", "99", "-1", "2", []string{"status", "delay", "ratio"}},
		{"no numbers", "x", "y", "z", []string{"status", "delay", "ratio"}},
		{"empty", "", "", "", []string{"status", "delay", "ratio"}},
		{"zero is no status", "0", "0", "0", []string{"status"}},
		{"not a number", "200", "0", "NaN", []string{"ratio"}},
		{"more than a number holds", "99999999999999999999", "99999999999999999999", "1e999", []string{"status", "delay", "ratio"}},
		{"markup", `"><script>alert(1)</script>`, "0", "0", []string{"status"}},
	}
	for _, tt := range tests {
		w := v.post(path+"/script", "status", tt.status, "delayMs", tt.delay, "failureRatio", tt.ratio)
		page := w.Body.String()
		if w.Code != 422 || !strings.Contains(page, "Nothing was changed.") || strings.Contains(page, "<script>alert") {
			t.Errorf("%s: got %d, want 422 that says so", tt.name, w.Code)
		}
		for _, field := range []string{"status", "delay", "ratio"} {
			want := strings.Contains(" "+strings.Join(tt.faults, " ")+" ", " "+field+" ")
			if got := strings.Contains(page, `id="`+field+`-error"`); got != want {
				t.Errorf("%s: a fault at %s is %v, want %v", tt.name, field, got, want)
			}
		}
		if got := strings.Count(page, `aria-invalid="true"`); got != len(tt.faults) {
			t.Errorf("%s: %d fields are marked, want %d", tt.name, got, len(tt.faults))
		}
	}
	w := v.post(path+"/script", "status", " 503 ", "delayMs", "250", "failureRatio", "0.25")
	if w.Code != 303 || w.Header().Get("Location") != path+"?done=scripted" {
		t.Fatalf("got %d to %s, want 303 back", w.Code, w.Header().Get("Location"))
	}
	b, err := h.store.Bin(t.Context(), h.bin)
	if err != nil {
		t.Fatal(err)
	}
	if s := b.Script; s.Status != 503 || s.Delay != 250*time.Millisecond || s.FailureRatio != 0.25 || s.Body != "kept" || s.Headers["Retry-After"] != "5" {
		t.Errorf("got the script %+v", s)
	}
	page := v.get(w.Header().Get("Location")).Body.String()
	for _, want := range []string{"From now on the bin answers as you said.", "Answers 503 after 250 ms, fails 25 % of requests with 500", `value="503"`, `value="250"`, `value="0.25"`, "It also sends 1 header and a body of 4 bytes"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
}

func TestInspector_makeAndClear(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	w := v.post("/portal/inspector")
	made := strings.TrimSuffix(strings.TrimPrefix(w.Header().Get("Location"), "/portal/inspector/"), "?done=made")
	if b, err := h.store.Bin(t.Context(), made); w.Code != 303 || err != nil || b.Application != h.owner {
		t.Errorf("make: got %d, bin %+v, %v", w.Code, b, err)
	}
	h.deliver("x")
	if w := v.post("/portal/inspector/" + h.bin + "/clear"); w.Code != 303 {
		t.Errorf("clear: got %d, want 303", w.Code)
	}
	if got := h.sink.Summary(h.bin).Kept; got != 0 {
		t.Errorf("got %d requests, want none", got)
	}
}

func TestPortal_belowAFolder(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.public = "https://example.com/cw/"
	link := h.SignInLink(h.owner)
	if !strings.HasPrefix(link, "https://example.com/cw/portal/sign-in/") {
		t.Fatalf("got the link %s", link)
	}
	w := h.do(httptest.NewRequest(http.MethodGet, strings.TrimPrefix(link, "https://example.com/cw"), nil))
	if got := w.Header().Get("Location"); got != "/cw/portal/" {
		t.Errorf("got %s, want the overview below the folder", got)
	}
	v := &visitor{h, w.Result().Cookies()[0]}
	if page := v.get("/portal/").Body.String(); !strings.Contains(page, `href="/cw/portal/assets/portal.`) || strings.Contains(page, `"/portal/`) {
		t.Error("the overview links beside the folder")
	}
}

// body reads an answer whole.
func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
