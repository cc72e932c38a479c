package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/access"
)

// TestShare: whoever has the link reads the bin and does nothing else, until it
// is taken back or made anew.
func TestShare(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.deliver(`{"event":"consent.created"}`)
	dev := h.asRole(t, access.Developer)
	read := func(path string) *httptest.ResponseRecorder {
		ctx, cancel := context.WithCancel(t.Context())
		if strings.HasSuffix(path, "/stream") {
			cancel() // it would not end
		}
		defer cancel()
		return h.do(httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx))
	}
	link := func() string {
		w := dev.post("/portal/inspector/" + h.bin + "/share")
		m := regexp.MustCompile(`http://127.0.0.1:8080(/portal/shared/[^<"]+)<`).FindStringSubmatch(w.Body.String())
		if w.Code != 200 || m == nil {
			t.Fatalf("got %d, want a page with the link", w.Code)
		}
		return m[1]
	}
	first := link()
	page := read(first)
	if body := page.Body.String(); page.Code != 200 || !strings.Contains(body, "consent.created") || strings.Contains(body, `method="post" action="/portal/inspector`) ||
		strings.Contains(body, "/requests/") || strings.Contains(body, "Aurora") || !strings.Contains(body, `data-stream="`+first+`/stream"`) {
		t.Errorf("the shared page: got %d, want the requests and no way to change anything", page.Code)
	}
	if w := read(first + "/stream"); w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("the shared stream: got %d of %s", w.Code, w.Header().Get("Content-Type"))
	}
	if w := dev.get("/portal/inspector/" + h.bin); !strings.Contains(w.Body.String(), "others may read it until") || strings.Contains(w.Body.String(), first) {
		t.Error("the bin's own page does not tell that it is shared, or tells the link again")
	}
	gone := func(what, path string) {
		t.Helper()
		for _, p := range []string{path, path + "/stream"} {
			if w := h.do(httptest.NewRequest(http.MethodGet, p, nil)); w.Code != 404 || strings.Contains(w.Body.String(), "consent.created") {
				t.Errorf("%s, %s: got %d, want 404", what, p, w.Code)
			}
		}
	}
	gone("a guess", first[:len(first)-2]+"xx")
	gone("of another bin", strings.Replace(first, h.bin, h.newBin(t, h.owner), 1))
	second := link()
	gone("the link before", first)
	if w := dev.post("/portal/inspector/"+h.bin+"/script", "status", "204", "delayMs", "0", "failureRatio", "0"); w.Code != 303 {
		t.Errorf("scripting: got %d", w.Code)
	}
	if w := read(second); w.Code != 200 {
		t.Errorf("after the bin was scripted: got %d, want it shared still", w.Code)
	}
	if w := dev.post("/portal/inspector/" + h.bin + "/unshare"); w.Code != 303 {
		t.Errorf("taking back: got %d", w.Code)
	}
	gone("taken back", second)
	third := link()
	if w := dev.post("/portal/inspector/" + h.bin + "/remove"); w.Code != 303 {
		t.Errorf("deleting: got %d", w.Code)
	}
	gone("deleted", third)
	if w := dev.get("/portal/inspector/" + h.bin); w.Code != 404 {
		t.Errorf("the page of a deleted bin: got %d, want 404", w.Code)
	}
}
