package portal

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr[T any](v T) *T { return &v }

// asking gives the application what it needs to ask by mail, and a citizen of a
// language.
func (h *house) asking(t *testing.T, language string) {
	t.Helper()
	ctx := t.Context()
	_, err := h.app.CreateEndpoint(ctx, h.owner, subscription.Endpoint{
		Style: subscription.Subscription, URL: "https://crm.example/", UpdateType: subscription.CitizenEmails, Status: subscription.Active,
		Auth: subscription.Auth{Type: subscription.AuthNone}, OnBacklog: subscription.BacklogAll,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []permission.OptionDraft{
		{ID: ptr("opt-letter"), Name: ptr("The weekly letter"), DataID: ptr("E-mail address"), PurposeID: ptr("News & offers"), PartyID: ptr("Aurora")},
		{ID: ptr("opt-calls"), DataID: ptr("Phone number"), PurposeID: ptr("Advice"), PartyID: ptr("Aurora")},
	} {
		if _, err := h.app.PutOption(ctx, h.owner, "", d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.app.PutStatement(ctx, h.owner, "", permission.StatementDraft{Reference: ptr("ask"), Text: ptr("May we write to you?\nAnd call <you>?")}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.app.PutPolicy(ctx, h.owner, "", permission.PolicyDraft{Reference: ptr("privacy"), URL: ptr("https://aurora.example/privacy?a=1&b=2")}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.app.CreateCitizen(ctx, h.owner, app.CitizenDraft{ExternalRef: ptr("crm-1"), Language: &language}); err != nil {
		t.Fatal(err)
	}
}

// says records an answer about both options.
func (h *house) says(t *testing.T, s permission.State) {
	t.Helper()
	r := permission.Request{ExternalRef: ptr("crm-1"), StatementRef: ptr("ask"), PolicyRef: ptr("privacy")}
	for _, o := range []string{"opt-letter", "opt-calls"} {
		r.Changes = append(r.Changes, permission.ChangeDraft{OptionID: &o, Justification: ptr("consent"), State: ptr(string(s))})
	}
	until := time.Now().AddDate(1, 0, 0)
	r.Changes[0].ValidUntil = &until
	_, err := h.app.Record(t.Context(), h.owner, app.Caller{}, r, app.Keyed{}, func(app.Recorded) (app.Answer, error) { return app.Answer{Status: 201}, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// link returns the path of the link in the last question.
func (h *house) link(t *testing.T) string {
	t.Helper()
	es, _, err := h.store.Events(t.Context(), h.owner, store.EventQuery{Type: event.CitizenEmail, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	path := ""
	for _, e := range es {
		m, err := mail.Parse(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		if m.ActionURL != "" {
			path = strings.TrimPrefix(m.ActionURL, strings.TrimSuffix(h.public, "/"))
		}
	}
	if !strings.HasPrefix(path, "/confirm/") {
		t.Fatalf("got the link %q", path)
	}
	return path
}

func (h *house) press(path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return h.do(r)
}

func (h *house) look(path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return h.do(r)
}

// inForce renders the citizen's state.
func (h *house) inForce(t *testing.T) string {
	t.Helper()
	_, v, err := h.app.Permissions(t.Context(), h.owner, app.CitizenKey{ExternalRef: "crm-1"}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range v.Permissions {
		out = append(out, string(p.Effective()))
	}
	return strings.Join(out, " ")
}

// wantGolden compares a page with its golden file.
func wantGolden(t *testing.T, name string, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Security-Policy") != policy || w.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%s: got %d with %v, want %d and the headers of a page", name, w.Code, w.Header(), status)
	}
	file := filepath.Join("testdata", "confirm-"+name+".html")
	got := w.Body.String()
	a, err := loadAssets(files)
	if err != nil {
		t.Fatal(err)
	}
	for name, hashed := range a.names {
		got = strings.ReplaceAll(got, hashed, name)
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestConfirm is a citizen's way through the page, in both languages.
func TestConfirm(t *testing.T) {
	t.Parallel()
	for _, language := range []string{"en", "pt-BR"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := open(t)
				h.asking(t, language)
				h.says(t, permission.Pending)
				path := h.link(t)
				for range 2 { // a machine looks at every link
					wantGolden(t, language+"-open", h.look(path, "Accept-Language", "de"), http.StatusOK)
				}
				if got := h.inForce(t); got != "PENDING PENDING" {
					t.Errorf("after a look: got %s, want PENDING", got)
				}
				w := h.press(path, "Sec-Fetch-Site", "same-origin", "Origin", "null")
				if w.Code != http.StatusSeeOther || w.Header().Get("Location") != path {
					t.Errorf("got %d to %q, want 303 to %q", w.Code, w.Header().Get("Location"), path)
				}
				if got := h.inForce(t); got != "GRANTED GRANTED" {
					t.Errorf("after the answer: got %s, want GRANTED", got)
				}
				wantGolden(t, language+"-confirmed", h.look(path), http.StatusOK)
				time.Sleep(time.Hour)
				if w := h.press(path); w.Code != http.StatusSeeOther {
					t.Errorf("once more: got %d, want 303", w.Code)
				}
				wantGolden(t, language+"-confirmed", h.look(path), http.StatusOK)

				h.says(t, permission.Pending)
				path = h.link(t)
				h.says(t, permission.Denied)
				wantGolden(t, language+"-settled", h.look(path), http.StatusConflict)
				wantGolden(t, language+"-settled", h.press(path), http.StatusConflict)
				time.Sleep(24 * time.Hour)
				wantGolden(t, language+"-expired", h.look(path), http.StatusGone)
				wantGolden(t, language+"-expired", h.press(path), http.StatusGone)
				if got := h.inForce(t); got != "DENIED DENIED" {
					t.Errorf("in the end: got %s, want DENIED", got)
				}
				wantGolden(t, language+"-unknown", h.look("/confirm/x", "Accept-Language", "de, "+language+";q=0.5, en;q=0.1"), http.StatusNotFound)
				wantGolden(t, language+"-unknown", h.press("/confirm/x", "Accept-Language", language), http.StatusNotFound)
				wantGolden(t, language+"-unknown", h.look("/confirm/", "Accept-Language", language), http.StatusNotFound)
			})
		})
	}
}

// TestConfirm_foreign: a form that says it comes from elsewhere grants nothing,
// and what a browser leaves unsaid does no harm, for the link is the right.
func TestConfirm_foreign(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.asking(t, "en")
	h.says(t, permission.Pending)
	path := h.link(t)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Origin", "https://evil.example"}} {
		if w := h.press(path, headers...); w.Code != http.StatusForbidden || h.inForce(t) != "PENDING PENDING" {
			t.Errorf("%v: got %d and %s, want 403 and nothing granted", headers, w.Code, h.inForce(t))
		}
	}
	if w := h.press(path, "Origin", "null"); w.Code != http.StatusSeeOther || h.inForce(t) != "GRANTED GRANTED" {
		t.Errorf("got %d and %s, want 303 and both granted", w.Code, h.inForce(t))
	}
}

// TestConfirm_prefix: below a path of a proxy the page finds itself and its
// assets.
func TestConfirm_prefix(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.public = "https://consents.example/cw/"
	h.asking(t, "en")
	h.says(t, permission.Pending)
	path := h.link(t)
	if got := h.look(path).Body.String(); !strings.Contains(got, `href="/cw/portal/assets/portal.`) {
		t.Errorf("got no assets below /cw in\n%s", got)
	}
	if w := h.press(path); w.Header().Get("Location") != "/cw"+path || w.Header().Get("Strict-Transport-Security") == "" {
		t.Errorf("got %q, want /cw%s", w.Header().Get("Location"), path)
	}
}

// mute is a store of which no question can be read.
type mute struct{ store.Store }

func (mute) Confirmation(context.Context, [32]byte) (store.Confirmation, error) {
	return store.Confirmation{}, errors.New("the disk says <no>")
}

// TestConfirm_fails: when nothing can be told, the page says so in words of the
// visitor's and tells nothing of ours.
func TestConfirm_fails(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.Portal.app = app.New(app.Options{Store: mute{}})
	wantGolden(t, "failed", h.look("/confirm/x"), http.StatusInternalServerError)
}
