package portal

import (
	"context"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/access"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/store"
)

// unreadable is a reader whose log fails on command.
type unreadable struct {
	store.Reader
	err error
}

func (u *unreadable) Events(ctx context.Context, a access.ID, q store.EventQuery) ([]event.Event, string, error) {
	if u.err != nil {
		return nil, "", u.err
	}
	return u.Reader.Events(ctx, a, q)
}

// post writes mails to a citizen of an application and returns the citizen.
func (h *house) post(t *testing.T, owner access.ID, ms ...mail.Message) permission.CitizenID {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	c := store.Citizen{Application: owner, ID: permission.CitizenID(id.New(id.Citizen)), Version: 1, CreatedAt: now, UpdatedAt: now}
	var evts []event.Event
	for _, m := range ms {
		m.ID = id.New(id.Mail)
		e := mail.Event(permission.Citizen{Application: string(owner), ID: c.ID}, m, now)
		e.ID, e.RecordedAt = id.New(id.Event), now
		evts = append(evts, e)
	}
	err := h.broken.Reader.(store.Store).Update(t.Context(), func(tx store.Tx) error { return tx.PutCitizen(c, evts...) })
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func TestMailbox(t *testing.T) {
	t.Parallel()
	h := open(t)
	other := h.application(t, "Boreas")
	v := h.visit(t, h.owner)
	page := v.get("/portal/mailbox").Body.String()
	for _, want := range []string{"No mail yet.", "citizen-emails", "/v1/mail-sender"} {
		if !strings.Contains(page, want) {
			t.Errorf("empty: the page does not hold %q", want)
		}
	}
	if !strings.Contains(v.get("/portal/").Body.String(), `href="/portal/mailbox"`) {
		t.Error("the overview does not lead to the mailbox")
	}

	const link = "http://127.0.0.1:8080/confirm/abc"
	citizen := h.post(t, h.owner,
		mail.Message{Template: mail.Receipt, Language: "pt", To: "ana@example.org", Subject: "Um & dois", Text: "Primeira\n\nlinha"},
		mail.Message{Template: mail.DoubleOptIn, Language: "en", Subject: "Please confirm", Text: "Open\n" + link, ActionURL: link, ExpiresAt: time.Date(2027, 1, 6, 10, 0, 0, 0, time.UTC)},
	)
	h.post(t, other, mail.Message{Template: mail.Receipt, Language: "en", To: "eve@example.org", Subject: "Not yours", Text: "x"})
	w := v.get("/portal/mailbox")
	page = w.Body.String()
	for _, want := range []string{
		"ana@example.org", "Um &amp; dois", "Primeira\n\nlinha", ">receipt<", "Language pt", string(citizen), "no address is kept", "Please confirm", ">double-opt-in<",
		`<a class="button" href="` + link + `" rel="noopener noreferrer">Open the link</a>`, "6 Jan 2027, 10:00:00 UTC",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if w.Code != 200 || strings.Contains(page, "Not yours") || strings.Contains(page, "eve@") || strings.Contains(page, "No mail yet") || strings.Contains(page, "Older mails") {
		t.Errorf("got %d with\n%s", w.Code, page)
	}
	if strings.Index(page, "Please confirm") > strings.Index(page, "Um &amp; dois") {
		t.Error("got the oldest first, want the newest")
	}
	if page := h.visit(t, other).get("/portal/mailbox").Body.String(); !strings.Contains(page, "Not yours") || strings.Contains(page, "ana@") {
		t.Error("the other application's page shows not its own mail")
	}
	if w := v.get("/portal/mailbox?after=evt_none"); w.Code != 404 {
		t.Errorf("a page that never was: got %d, want 404", w.Code)
	}
}

func TestMailbox_pages(t *testing.T) {
	t.Parallel()
	h := open(t)
	v := h.visit(t, h.owner)
	const all = 2*maxMails + 7
	var ms []mail.Message
	for i := range all {
		ms = append(ms, mail.Message{Template: mail.Receipt, Language: "en", Subject: fmt.Sprintf("Mail %d", i), Text: "x"})
	}
	h.post(t, h.owner, ms...)
	var got []string
	path, pages := "/portal/mailbox", 0
	for path != "" && pages < 10 {
		page := v.get(path).Body.String()
		got = append(got, regexp.MustCompile(`Mail \d+`).FindAllString(page, -1)...)
		path = ""
		if m := regexp.MustCompile(`href="(/portal/mailbox\?after=[^"]+)"`).FindStringSubmatch(page); m != nil {
			path = m[1]
		}
		pages++
	}
	var want []string
	for i := range all {
		want = append(want, fmt.Sprintf("Mail %d", all-1-i))
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("got %d mails on %d pages: %q, want %d on 3", len(got), pages, got, all)
	}
}

func TestMailbox_whenItFails(t *testing.T) {
	t.Parallel()
	h := open(t)
	u := &unreadable{Reader: h.store, err: fmt.Errorf("the disk says <no>")}
	h.store = u
	v := h.visit(t, h.owner)
	if w := v.get("/portal/mailbox"); w.Code != 503 || !strings.Contains(w.Body.String(), "The mails cannot be read now.") || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("got %d, want 503 that says so", w.Code)
	}
	u.err = fault.At(fault.Invalid, "invalid_value", "after", "x")
	if w := v.get("/portal/mailbox?after=x"); w.Code != 404 {
		t.Errorf("got %d, want 404", w.Code)
	}
}

// TestMailbox_erased: of one who was erased the mailbox shows that there was a
// mail, and nothing of it.
func TestMailbox_erased(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.post(t, h.owner, mail.Message{Template: mail.Receipt, Language: "en", To: "ana@example.org", Subject: "Hello Ana", Text: "Dear Ana"})
	err := h.broken.Reader.(store.Store).Update(t.Context(), func(tx store.Tx) error { return tx.Erase(h.owner, string(c)) })
	if err != nil {
		t.Fatal(err)
	}
	page := h.visit(t, h.owner).get("/portal/mailbox").Body.String()
	if strings.Contains(page, "Ana") || strings.Contains(page, "ana@") || strings.Contains(page, string(c)) || !strings.Contains(page, "The person was erased, and the mail with them.") {
		t.Errorf("got %s", page)
	}
	if item := h.mailItem(english, event.Event{ID: "evt_1", Body: []byte("{}")}); item.Note != "This mail cannot be shown." {
		t.Errorf("got %+v of a body that is none", item)
	}
}

func TestMailbox_links(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, tt := range []struct {
		public, address string
		want            bool
	}{
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080/confirm/x", true},
		{"http://127.0.0.1:8080/", "http://127.0.0.1:8080/confirm/x", true},
		{"http://127.0.0.1:8080", "http://127.0.0.1:80801/confirm/x", false},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080.evil.example/confirm/x", false},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080@evil.example/confirm/x", false},
		{"http://127.0.0.1:8080", "http://elsewhere.example/", false},
		{"http://127.0.0.1:8080", "https://elsewhere.example/x", true},
		{"http://127.0.0.1:8080", "https://user@elsewhere.example/x", false},
		{"http://127.0.0.1:8080", "HTTPS://elsewhere.example/x", true},
		{"http://127.0.0.1:8080", "https:elsewhere", false},
		{"http://127.0.0.1:8080", "javascript:alert(1)", false},
		{"http://127.0.0.1:8080", "//elsewhere.example", false},
		{"http://127.0.0.1:8080", "/confirm/x", false},
		{"http://127.0.0.1:8080", "", false},
		{"http://127.0.0.1:8080", "https://[", false},
		{"https://consents.example/cw", "https://consents.example/cw/confirm/x", true},
	} {
		h.public = tt.public
		if got := h.opens(tt.address); got != tt.want {
			t.Errorf("%q at %s: got %v, want %v", tt.address, tt.public, got, tt.want)
		}
		page := pageOfMail(t, h, tt.address)
		if got := strings.Contains(page, "Open the link"); got != tt.want || strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%q: the page leads there: %v, want %v", tt.address, got, tt.want)
		}
	}
}

// pageOfMail renders the page of one mail with an address.
func pageOfMail(t *testing.T, h *house, address string) string {
	t.Helper()
	w := httptest.NewRecorder()
	m := mail.Message{ID: "eml_1", Template: mail.DoubleOptIn, Language: "en", Subject: "x", Text: "x", ActionURL: address}
	item := h.mailItem(english, mail.Event(permission.Citizen{Application: "app_1", ID: "ctz_1"}, m, time.Unix(0, 0)))
	if err := h.render(w, 200, "mailbox", mailboxPage{frame: h.frame(httptest.NewRequest("GET", "/portal/mailbox", nil), session{}, "Mailbox"), Mails: []mailItem{item}}); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}
