package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/store/relational"
	"github.com/consentwire/consentwire/internal/store/sqlite"
	"github.com/consentwire/consentwire/internal/store/sqlite/sqlitetest"
	"github.com/consentwire/consentwire/internal/subscription"
	"github.com/consentwire/consentwire/signature"
)

const public = "https://consents.example"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is an inspector over a real store, with an application that has a bin.
type house struct {
	*Sink
	store *relational.Store
	app   *app.App
	owner access.ID
	bin   string
}

func open(t testing.TB) *house {
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
	h := &house{
		Sink:  New(Options{Store: st, PublicURL: func() string { return public }}),
		store: st, app: app.New(app.Options{Store: st}),
	}
	t.Cleanup(func() {
		h.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	h.owner = h.application(t)
	h.bin = h.newBin(t, h.owner)
	return h
}

func (h *house) application(t testing.TB) access.ID {
	t.Helper()
	a, _, _, err := h.app.CreateApplication(context.Background(), "Aurora")
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

func (h *house) newBin(t testing.TB, owner access.ID) string {
	t.Helper()
	b, err := h.app.PutBin(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return b.Name
}

func (h *house) script(t *testing.T, s store.Script) {
	t.Helper()
	if _, err := h.app.ScriptBin(context.Background(), h.owner, h.bin, s); err != nil {
		t.Fatal(err)
	}
}

// endpoint makes a subscription at the address.
func (h *house) endpoint(t testing.TB, owner access.ID, address string, auth subscription.Auth) subscription.Endpoint {
	t.Helper()
	e, err := h.app.CreateEndpoint(context.Background(), owner, subscription.Endpoint{
		Style: subscription.Subscription, Name: "to the inspector", URL: address,
		UpdateType: subscription.EffectivePermission, Status: subscription.Active, Auth: auth, OnBacklog: subscription.BacklogAll,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// send hands a request to the inspector and returns its answer.
func (h *house) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (h *house) post(body string) *httptest.ResponseRecorder {
	return h.send(httptest.NewRequest(http.MethodPost, Prefix+h.bin, strings.NewReader(body)))
}

func (h *house) requests(t *testing.T) []Request {
	t.Helper()
	rs, _, err := h.Requests(context.Background(), h.owner, h.bin, "", MaxRequests)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// last returns the latest request.
func (h *house) last(t *testing.T) Request {
	t.Helper()
	rs := h.requests(t)
	if len(rs) == 0 {
		t.Fatal("got no request, want one")
	}
	return rs[len(rs)-1]
}

// signed returns a delivery to the bin that the secret signed now.
func (h *house) signed(t testing.TB, path, body string, sec secret.Value) *http.Request {
	t.Helper()
	parsed, err := signature.ParseSecret(sec.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	s, err := signature.NewSigner(parsed)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	sig, err := s.Sign("evt_1", now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, Prefix+h.bin+path, strings.NewReader(body))
	r.Header.Set("webhook-id", "evt_1")
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now, 10))
	r.Header.Set("webhook-signature", sig)
	return r
}

func TestSink_keepsWhatCame(t *testing.T) {
	t.Parallel()
	h := open(t)
	r := httptest.NewRequest("PROPFIND", Prefix+h.bin+"/a%20b/c?x=1&y=%C3%A9&x=2", strings.NewReader(`{"event":"consent:approved"}`))
	r.Host = "sink.example"
	r.Header["X-Two"] = []string{"b", "a"}
	w := h.send(r)

	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("got %d %q, want 200 and nothing", w.Code, w.Body)
	}
	got := h.last(t)
	if got.Method != "PROPFIND" || got.Path != Prefix+h.bin+"/a%20b/c" || got.Query != "x=1&y=%C3%A9&x=2" {
		t.Errorf("got %s %s ? %s, want them as sent", got.Method, got.Path, got.Query)
	}
	if got.Body != `{"event":"consent:approved"}` || got.Size != 28 || got.Truncated {
		t.Errorf("got body %q (%d bytes, truncated %v), want it whole", got.Body, got.Size, got.Truncated)
	}
	if fmt.Sprint(got.Headers) != "[{Host sink.example} {X-Two b} {X-Two a}]" {
		t.Errorf("got headers %v, want Host, then both of X-Two in order", got.Headers)
	}
	if got.Signature != None || got.Status != http.StatusOK || got.Bin != h.bin || !strings.HasPrefix(got.ID, "req_") {
		t.Errorf("got %+v, want no signature, 200 and an ID", got)
	}
	if age := time.Since(got.At); age < 0 || age > time.Minute || got.At.Location() != time.UTC || got.At.Nanosecond()%1e6 != 0 {
		t.Errorf("got at %v, want now in UTC with milliseconds", got.At)
	}
	if one, err := h.Get(t.Context(), h.owner, h.bin, got.ID); err != nil || one.ID != got.ID {
		t.Errorf("Get: got %v, %v, want the same", one.ID, err)
	}
	if s := h.Summary(h.bin); s.Kept != 1 || !s.LatestAt.Equal(got.At) {
		t.Errorf("Summary: got %+v, want 1 at %v", s, got.At)
	}
}

func TestSink_anyMethodAndPath(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
		for _, rest := range []string{"", "/", "//", "/x/../y", "?q", "/x?", "/%2F%00"} {
			w := h.send(httptest.NewRequest(method, Prefix+h.bin+rest, nil))
			if w.Code != http.StatusOK {
				t.Errorf("%s %q: got %d, want 200", method, rest, w.Code)
			}
		}
	}
	if got := len(h.requests(t)); got != 9*7 {
		t.Errorf("got %d requests, want %d", got, 9*7)
	}
}

func TestSink_unknownBin(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, path := range []string{Prefix, Prefix + "bin_none", Prefix + "bin_none/x", Prefix + h.bin + "x", Prefix + "/" + h.bin, "/other"} {
		w := h.send(httptest.NewRequest(http.MethodPost, path, nil))
		var p struct {
			Status int
			Code   string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if w.Code != 404 || p.Status != 404 || p.Code != "not_found" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %+v as %s, want a problem 404", path, w.Code, p, w.Header().Get("Content-Type"))
		}
	}
	if got := h.requests(t); len(got) != 0 {
		t.Errorf("got %d requests, want none", len(got))
	}
}

func TestSink_ownersOnly(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.post("x")
	id, other := h.last(t).ID, h.application(t)
	for _, who := range []struct {
		name string
		app  access.ID
		bin  string
	}{{"another application", other, h.bin}, {"no application", "", h.bin}, {"an unknown bin", h.owner, "bin_none"}} {
		_, _, err := h.Requests(t.Context(), who.app, who.bin, "", 1)
		_, err2 := h.Get(t.Context(), who.app, who.bin, id)
		err3 := h.Clear(t.Context(), who.app, who.bin)
		for i, err := range []error{err, err2, err3} {
			if fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s, call %d: got %v, want NotFound", who.name, i, err)
			}
		}
	}
	if _, err := h.Get(t.Context(), h.owner, h.bin, "req_none"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown request: got %v, want NotFound", err)
	}
	if got := len(h.requests(t)); got != 1 {
		t.Errorf("got %d requests, want the one: nobody else may clear", got)
	}
}

func TestSink_script(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		script      store.Script
		status      int
		body        string
		contentType string
		header      string // of X-Seen
	}{
		{"nothing said is 200", store.Script{}, 200, "", "", ""},
		{"a status", store.Script{Status: 410}, 410, "", "", ""},
		{"no content has no body", store.Script{Status: 204, Body: "x"}, 204, "", "text/plain; charset=utf-8", ""},
		{"a body is plain text", store.Script{Status: 200, Body: "<script>alert(1)</script>"}, 200, "<script>alert(1)</script>", "text/plain; charset=utf-8", ""},
		{"headers", store.Script{Status: 503, Headers: map[string]string{"retry-after": "7", "x-seen": "yes"}}, 503, "", "", "yes"},
		{"its own type", store.Script{Status: 200, Body: "{}", Headers: map[string]string{"Content-Type": "application/json"}}, 200, "{}", "application/json", ""},
		{"a script is no script", store.Script{Status: 200, Body: "alert(1)", Headers: map[string]string{"Content-Type": "Text/JavaScript"}}, 200, "alert(1)", "text/plain; charset=utf-8", ""},
		{"a style is no style", store.Script{Status: 200, Body: "a{}", Headers: map[string]string{"Content-Type": "text/css"}}, 200, "a{}", "text/plain; charset=utf-8", ""},
		{"a status that is none", store.Script{Status: 101}, 200, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			h.script(t, tt.script)
			w := h.post("x")
			if w.Code != tt.status || w.Body.String() != tt.body || w.Header().Get("Content-Type") != tt.contentType || w.Header().Get("X-Seen") != tt.header {
				t.Errorf("got %d %q as %q with X-Seen %q", w.Code, w.Body, w.Header().Get("Content-Type"), w.Header().Get("X-Seen"))
			}
			if got := h.last(t).Status; got != tt.status {
				t.Errorf("the request says it was answered %d, want %d", got, tt.status)
			}
		})
	}
}

func TestSink_answersCannotActOnTheOrigin(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.script(t, store.Script{Status: 200, Body: "<script>alert(1)</script>", Headers: map[string]string{
		"Content-Type": "text/html", "Set-Cookie": "consentwire=x", "Content-Security-Policy": "script-src *",
		"X-Content-Type-Options": "sniff", "Alt-Svc": `h2="evil.example:443"`, "Clear-Site-Data": `"*"`,
		"Service-Worker-Allowed": "/", "Strict-Transport-Security": "max-age=1", "Content-Length": "3", "Location": "https://x.example/",
	}})
	w := h.post("x")
	for name, want := range map[string]string{
		"Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
		"Set-Cookie": "", "Alt-Svc": "", "Clear-Site-Data": "", "Service-Worker-Allowed": "", "Strict-Transport-Security": "",
		"Content-Length": "", "Location": "https://x.example/", "Cache-Control": "no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestSink_failureRatio(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ratio      float64
		from, upto int // of 2000: more than six standard deviations either way
	}{{0, 0, 0}, {0.3, 470, 730}, {1, 2000, 2000}} {
		h := open(t)
		h.script(t, store.Script{Status: 202, FailureRatio: tt.ratio})
		failed := 0
		for range 2000 {
			switch w := h.send(httptest.NewRequest(http.MethodPost, Prefix+h.bin, nil)); w.Code {
			case 500:
				failed++
			case 202:
			default:
				t.Fatalf("got %d, want 202 or 500", w.Code)
			}
		}
		if failed < tt.from || failed > tt.upto {
			t.Errorf("ratio %v: got %d failures of 2000, want %d to %d", tt.ratio, failed, tt.from, tt.upto)
		}
	}
}

func TestSink_delay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		end    func(h *house, cancel context.CancelFunc)
		after  time.Duration
		status int
	}{
		{"in full", nil, 40 * time.Second, 201},
		{"until the sender goes", func(_ *house, cancel context.CancelFunc) { cancel() }, 7 * time.Second, 503},
		{"until the server stops", func(h *house, _ context.CancelFunc) { h.Close(); h.Close() }, 7 * time.Second, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := open(t)
				h.script(t, store.Script{Status: 201, Delay: 40 * time.Second})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				t0 := time.Now()
				if tt.end != nil {
					time.AfterFunc(7*time.Second, func() {
						if got := len(h.requests(t)); got != 1 {
							t.Errorf("while it waits: got %d requests, want 1", got)
						}
						tt.end(h, cancel)
					})
				}
				w := h.send(httptest.NewRequest(http.MethodPost, Prefix+h.bin, nil).WithContext(ctx))
				if got := time.Since(t0); got != tt.after || w.Code != tt.status {
					t.Errorf("got %d after %v, want %d after %v", w.Code, got, tt.status, tt.after)
				}
			})
		})
	}
}

func TestSink_bodies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		body   io.Reader
		status int
		kept   int
		size   int
		cut    bool
	}{
		{"as much as is kept", strings.NewReader(strings.Repeat("a", MaxBody)), 200, MaxBody, MaxBody, false},
		{"one more", strings.NewReader(strings.Repeat("a", MaxBody+1)), 200, MaxBody, MaxBody + 1, true},
		{"as much as is read", strings.NewReader(strings.Repeat("a", MaxRead)), 200, MaxBody, MaxRead, true},
		{"one more than is read", strings.NewReader(strings.Repeat("a", MaxRead+1)), 413, MaxBody, MaxRead, true},
		{"without end", endless{}, 413, MaxBody, MaxRead, true},
		{"cut within a letter", strings.NewReader("a" + strings.Repeat("é", MaxBody/2)), 200, MaxBody - 1, MaxBody + 1, true},
		{"ends early", io.MultiReader(strings.NewReader("abc"), broken{}), 400, 3, 3, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			w := h.send(httptest.NewRequest(http.MethodPost, Prefix+h.bin, tt.body))
			got := h.last(t)
			if w.Code != tt.status || got.Status != tt.status || len(got.Body) != tt.kept || got.Size != tt.size || got.Truncated != tt.cut {
				t.Errorf("got %d, %d kept of %d, truncated %v; want %d, %d of %d, %v",
					w.Code, len(got.Body), got.Size, got.Truncated, tt.status, tt.kept, tt.size, tt.cut)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestSink_showsValidText(t *testing.T) {
	t.Parallel()
	h := open(t)
	r := httptest.NewRequest(http.MethodPost, Prefix+h.bin, strings.NewReader("a\xff\xfe\x00b\xc3"))
	r.URL.RawQuery, r.Method, r.Host = "q=\xff", "P\xffST", "h\xff"
	r.Header["X-Bytes"] = []string{"\xff\xfe"}
	h.send(r)
	got := h.last(t)
	all := []string{got.Body, got.Query, got.Method}
	for _, f := range got.Headers {
		all = append(all, f.Name, f.Value)
	}
	for _, s := range all {
		if !utf8.ValidString(s) {
			t.Errorf("got %q, want valid UTF-8", s)
		}
	}
	if got.Body != "a\uFFFD\x00b\uFFFD" || got.Size != 6 {
		t.Errorf("got %q of %d bytes", got.Body, got.Size)
	}
}

func TestSink_boundsTheHead(t *testing.T) {
	t.Parallel()
	many := http.Header{}
	for i := range 300 {
		many.Set(fmt.Sprintf("X-%03d", i), "v")
	}
	for name, header := range map[string]http.Header{"many": many, "long": {"X-Long": {strings.Repeat("é", 40<<10)}, "X-Z": {"z"}}} {
		h := open(t)
		r := httptest.NewRequest(http.MethodGet, Prefix+h.bin+"/"+strings.Repeat("p", 20<<10)+"?"+strings.Repeat("q", 20<<10), nil)
		r.Header = header
		h.send(r)
		got := h.last(t)
		n := 0
		for _, f := range got.Headers {
			n += len(f.Name) + len(f.Value)
		}
		if len(got.Headers) > maxFields || n > maxHead || len(got.Path) > maxTarget || len(got.Query) > maxTarget || !got.Truncated {
			t.Errorf("%s: got %d headers of %d bytes, path %d, query %d, truncated %v", name, len(got.Headers), n, len(got.Path), len(got.Query), got.Truncated)
		}
	}
}

func TestSink_keepsTheNewest(t *testing.T) {
	t.Parallel()
	h := open(t)
	for i := range MaxRequests + 7 {
		h.post(strconv.Itoa(i))
	}
	rs := h.requests(t)
	if len(rs) != MaxRequests || rs[0].Body != "7" || rs[MaxRequests-1].Body != strconv.Itoa(MaxRequests+6) {
		t.Errorf("got %d from %s, want %d from 7", len(rs), rs[0].Body, MaxRequests)
	}
}

func TestSink_boundsMemory(t *testing.T) {
	t.Parallel()
	h := open(t)
	const most = 8 << 20
	h.kept.maxBytes = most
	bins := []string{h.bin, h.newBin(t, h.owner), h.newBin(t, h.owner)}
	body := strings.Repeat("a", MaxBody)
	for i := range 100 {
		h.send(httptest.NewRequest(http.MethodPost, Prefix+bins[i%3], strings.NewReader(body)))
	}
	total, n := 0, 0
	for _, b := range bins {
		rs, _, err := h.Requests(t.Context(), h.owner, b, "", MaxRequests)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			total, n = total+len(r.Body), n+1
		}
	}
	if total > most || n != most/(MaxBody+overhead) && n != most/(MaxBody+overhead)-1 {
		t.Errorf("got %d requests of %d bytes, want about %d", n, total, most/MaxBody)
	}
	for _, b := range bins {
		if err := h.Clear(t.Context(), h.owner, b); err != nil {
			t.Fatal(err)
		}
	}
	if h.kept.bytes != 0 || h.kept.all.Len() != 0 || len(h.kept.bins) != 0 {
		t.Errorf("after Clear: got %d bytes, %d requests, %d bins, want nothing", h.kept.bytes, h.kept.all.Len(), len(h.kept.bins))
	}
}

func TestRequests_pages(t *testing.T) {
	t.Parallel()
	h := open(t)
	for i := range 5 {
		h.post(strconv.Itoa(i))
	}
	var got []string
	after := ""
	for range 10 {
		rs, next, err := h.Requests(t.Context(), h.owner, h.bin, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			got = append(got, r.Body)
			after = r.ID
		}
		if next == "" {
			break
		}
		if next != after {
			t.Fatalf("next is %s, want the last one's ID %s", next, after)
		}
	}
	if fmt.Sprint(got) != "[0 1 2 3 4]" {
		t.Errorf("got %v, want all in the order of arrival", got)
	}
	if rs, next, err := h.Requests(t.Context(), h.owner, h.bin, after, 2); err != nil || len(rs) != 0 || next != "" {
		t.Errorf("caught up: got %d, %q, %v, want nothing", len(rs), next, err)
	}
	h.post("5")
	if rs, _, _ := h.Requests(t.Context(), h.owner, h.bin, after, 2); len(rs) != 1 || rs[0].Body != "5" {
		t.Errorf("after one more: got %v, want it", rs)
	}
	if rs, _, _ := h.Requests(t.Context(), h.owner, h.bin, "req_forgotten", 2); len(rs) != 2 || rs[0].Body != "0" {
		t.Errorf("after one that is not kept: got %v, want the oldest two", rs)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	h := open(t)
	seen, cancel := h.Watch(h.bin)
	slow, stop := h.Watch(h.bin)
	defer stop()
	h.post("1")
	if got := <-seen; got.Body != "1" {
		t.Errorf("got %q, want 1", got.Body)
	}
	for range 3 * backlog { // nobody reads: nobody waits
		h.post("2")
	}
	if got := len(slow); got != backlog {
		t.Errorf("a slow watcher holds %d, want %d", got, backlog)
	}
	cancel()
	cancel()
	for range seen { // what was there, then the end
	}
	other, stopOther := h.Watch("bin_other")
	defer stopOther()
	h.Close()
	if _, open := <-other; open {
		t.Error("a watch goes on after Close")
	}
	if late, _ := h.Watch(h.bin); late != nil {
		if _, open := <-late; open {
			t.Error("a watch begins after Close")
		}
	}
}

func TestSink_concurrently(t *testing.T) {
	t.Parallel()
	h := open(t)
	e := h.endpoint(t, h.owner, public+Prefix+h.bin, subscription.Auth{Type: subscription.AuthNone})
	sec := e.SigningSecrets[0].Secret
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				seen, cancel := h.Watch(h.bin)
				h.send(h.signed(t, "", "{}", sec))
				h.Summary(h.bin)
				h.requests(t)
				cancel()
				for range seen {
				}
			}
		})
	}
	wg.Wait()
	rs := h.requests(t)
	if len(rs) != 400 {
		t.Fatalf("got %d, want 400", len(rs))
	}
	for _, r := range rs {
		if r.Signature != Valid {
			t.Fatalf("got %s, want valid", r.Signature)
		}
	}
}

func TestCheckScript(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range MaxScriptHeaders + 1 {
		many["X-"+strconv.Itoa(i)] = "v"
	}
	tests := []struct {
		name   string
		script store.Script
		want   []string // paths
	}{
		{"nothing", store.Script{}, nil},
		{"the most of everything", store.Script{Status: 599, Delay: MaxDelay, FailureRatio: 1, Body: strings.Repeat("a", MaxScriptBody), Headers: map[string]string{"Retry-After": "5"}}, nil},
		{"out of range", store.Script{Status: 199, Delay: -1, FailureRatio: 1.01}, []string{"/status", "/delayMs", "/failureRatio"}},
		{"out of range above", store.Script{Status: 600, Delay: MaxDelay + 1, FailureRatio: -0.1}, []string{"/status", "/delayMs", "/failureRatio"}},
		{"headers", store.Script{Headers: map[string]string{"a b": "", "Set-Cookie": "x", "X-A": "x\r\ny", "a/b~": "", "Ok": "ok"}}, []string{"/headers/Set-Cookie", "/headers/X-A", "/headers/a b", "/headers/a~1b~0"}},
		{"too many headers", store.Script{Headers: many}, []string{"/headers"}},
		{"a body too long", store.Script{Body: strings.Repeat("a", MaxScriptBody+1)}, []string{"/body"}},
		{"a body that is no text", store.Script{Body: "\xff"}, []string{"/body"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			if err := CheckScript(tt.script); err != nil {
				if fault.KindOf(err) != fault.Invalid {
					t.Fatalf("got %v, want Invalid", err)
				}
				for _, f := range err.(*fault.Error).Fields {
					got = append(got, f.Path)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// told sends a request as a delivery about a subject.
func (h *house) told(bin, subject, eventID, body string) {
	r := httptest.NewRequest(http.MethodPost, Prefix+bin+"/hooks?a=1", strings.NewReader(body))
	r.Header.Set(delivery.HeaderSubject, subject)
	r.Header.Set(signature.HeaderID, eventID)
	h.send(r)
}

func (h *house) bodies(t *testing.T, owner access.ID, bin string) []string {
	t.Helper()
	rs, _, err := h.Requests(t.Context(), owner, bin, "", MaxRequests)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rs {
		out = append(out, r.Body)
	}
	return out
}

const erasedBody = `{"applicationId":"app_1","citizenId":"ctz_1","externalRef":"CRM-1","erasedAt":"2026-03-04T05:06:07.089Z"}`

func TestForget(t *testing.T) {
	t.Parallel()
	h := open(t)
	second, theirs := h.newBin(t, h.owner), h.application(t)
	foreign := h.newBin(t, theirs)
	seen, cancel := h.Watch(h.bin)
	defer cancel()
	h.told(h.bin, "ctz_1", "evt_1", `{"email":"a@example.org"}`)
	h.told(h.bin, "ctz_2", "evt_2", "of another")
	h.told(h.bin, "ctz_1", "evt_3", erasedBody)
	h.told(second, "ctz_1", "evt_1", "elsewhere")
	h.told(foreign, "ctz_1", "evt_9", "another application's")
	h.post("nobody's")

	h.Forget()
	h.Forget(store.Subject{Application: h.owner, ID: "ctz_1"}, store.Subject{Application: h.owner, ID: "ctz_none"})
	if got, want := h.bodies(t, h.owner, h.bin), []string{"of another", "", "nobody's"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := h.bodies(t, h.owner, second); len(got) != 0 {
		t.Errorf("the other bin: got %q, want nothing", got)
	}
	if got := h.bodies(t, theirs, foreign); len(got) != 1 {
		t.Errorf("the bin of another application: got %q, want its request", got)
	}
	rs, _, err := h.Requests(t.Context(), h.owner, h.bin, "", MaxRequests)
	if err != nil {
		t.Fatal(err)
	}
	e := rs[1]
	if e.Header(delivery.HeaderSubject) != "" || e.Header(signature.HeaderID) != "evt_3" || !e.Truncated || e.Size != len(erasedBody) || e.Path == "" || e.ID == "" {
		t.Errorf("got %+v, want that it came, without the subject", e)
	}
	if one, err := h.Get(t.Context(), h.owner, h.bin, e.ID); err != nil || one.Body != "" {
		t.Errorf("got %+v, %v, want it without its body", one, err)
	}
	h.Forget(store.Subject{Application: h.owner, ID: "ctz_1"})
	if got := h.Summary(h.bin).Kept; got != 3 {
		t.Errorf("forgotten twice: got %d, want 3", got)
	}
	// Those who watch were not disturbed, and hear of what comes next.
	h.post("next")
	for range 4 {
		<-seen
	}
	if r := <-seen; r.Body != "next" {
		t.Errorf("got %q, want what came next", r.Body)
	}
	for _, b := range []struct {
		owner access.ID
		bin   string
	}{{h.owner, h.bin}, {h.owner, second}, {theirs, foreign}} {
		if err := h.Clear(t.Context(), b.owner, b.bin); err != nil {
			t.Fatal(err)
		}
	}
	if h.kept.bytes != 0 || h.kept.all.Len() != 0 {
		t.Errorf("after Clear: got %d bytes, %d requests, want nothing", h.kept.bytes, h.kept.all.Len())
	}
}

// A request that was on its way when its subject was erased comes too late for
// Forget, and is not kept all the same; what tells of the end is.
func TestForget_late(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		c, err := h.app.CreateCitizen(t.Context(), h.owner, app.CitizenDraft{ID: new("ctz_1"), ExternalRef: new("CRM-1")})
		if err != nil {
			t.Fatal(err)
		}
		h.endpoint(t, h.owner, public+Prefix+h.bin, subscription.Auth{Type: subscription.AuthNone})
		const early, late, last = "evt_1", "evt_2", "evt_3"
		publish := func(ids ...string) error {
			return h.store.Update(t.Context(), func(tx store.Tx) error {
				for _, id := range ids {
					e := permission.EffectiveEvent(permission.Citizen{Application: string(h.owner), ID: c.ID}, permission.View{}, c.CreatedAt)
					e.ID, e.RecordedAt = id, c.CreatedAt
					if err := tx.PutCitizen(c, e); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := publish(early, late); err != nil {
			t.Fatal(err)
		}
		h.store.Watch(func(c store.Change) { h.Forget(c.Erased...) })
		h.told(h.bin, "ctz_1", early, "early")
		err = h.store.Update(t.Context(), func(tx store.Tx) error {
			e := permission.ErasedEvent(permission.Citizen{Application: string(h.owner), ID: c.ID}, c.CreatedAt)
			e.ID, e.RecordedAt = last, c.CreatedAt
			return tx.Erase(h.owner, "ctz_1", e)
		})
		if err != nil {
			t.Fatal(err)
		}
		h.told(h.bin, "ctz_1", late, "late")
		h.told(h.bin, "ctz_1", "evt_unknown", "unknown")
		h.told(h.bin, "ctz_1", last, erasedBody)
		if got, want := h.bodies(t, h.owner, h.bin), []string{erasedBody}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		// Later on somebody may send what he likes.
		time.Sleep(afterErasure + time.Second)
		h.Forget(store.Subject{Application: h.owner, ID: "ctz_9"})
		h.told(h.bin, "ctz_1", "evt_unknown", "later")
		if got, want := h.bodies(t, h.owner, h.bin), []string{erasedBody, "later"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
