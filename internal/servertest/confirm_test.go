package servertest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/servertest"
)

// days are the instants in a mail's words, which differ from run to run.
var days = regexp.MustCompile(`\d{1,2} (de )?\pL+ (de )?\d{4}(, \d\d:\d\d)?`)

// TestDoubleOptIn is the whole road of a question: it is recorded, sent to a
// subscriber as a mail to be sent, looked at by whoever opens links, answered
// once, and the answer is told.
func TestDoubleOptIn(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{})
	a := s.NewApplication("Aurora & Söhne")
	mails, deltas := servertest.NewReceiver(t, s.CA), servertest.NewReceiver(t, s.CA)
	for _, sub := range []map[string]any{
		{"url": mails.URL + "/mails", "updateType": "citizen-emails", "authentication": map[string]any{"authType": "none"}},
		{"url": deltas.URL + "/deltas", "updateType": "consent-receipts", "authentication": map[string]any{"authType": "none"}},
	} {
		a.Call("POST", "/v1/subscriptions", sub).Want(t, http.StatusCreated)
	}
	for path, b := range map[string]map[string]any{
		"/v1/option-data":           {"id": "email", "name": "E-mail address"},
		"/v1/option-purposes":       {"id": "news", "name": "News & offers"},
		"/v1/permission-statements": {"reference": "ask", "text": "May we write to <you>?\nOnce a week."},
		"/v1/privacy-policies":      {"reference": "privacy", "url": "https://aurora.example/privacy?a=1&b=2"},
	} {
		a.Call("POST", path, b).Want(t, http.StatusCreated)
	}
	for _, o := range []map[string]any{
		{"optionId": "opt-letter", "name": "The weekly letter", "dataId": "email", "purposeId": "news", "partyId": "Aurora"},
		{"optionId": "opt-offers", "dataId": "email", "purposeId": "news", "partyId": "Aurora"},
	} {
		a.Call("POST", "/v1/options", o).Want(t, http.StatusCreated)
	}
	a.Call("POST", "/v1/citizens", map[string]any{
		"citizenId": "person-1", "externalRef": "CRM-000771", "language": "pt-BR", "emails": []map[string]string{{"address": "ana@example.org"}},
	}).Want(t, http.StatusCreated)

	until := time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Millisecond)
	asked := a.Call("POST", "/v1/permissions/transactions", map[string]any{
		"externalRef": "CRM-000771", "permissionStatementRef": "ask", "privacyPolicyRef": "privacy", "sendReceipt": true,
		"changes": []map[string]any{
			{"optionId": "opt-letter", "justification": "consent", "state": "PENDING", "validUntil": until.Format(time.RFC3339Nano)},
			{"optionId": "opt-offers", "justification": "consent", "state": "PENDING"},
		},
	}).Want(t, http.StatusCreated)

	var question struct {
		CitizenID string
		Email     struct{ MessageID, Template, To, Language, ActionURL, ExpiresAt string }
	}
	got := mails.Wait(t, 2)
	if err := json.Unmarshal(got[0].Body, &question); err != nil {
		t.Fatal(err)
	}
	wantGolden(t, "double-opt-in.golden", got[0].Body)
	wantGolden(t, "receipt.golden", got[1].Body)
	if got[0].Subject() != "person-1" || question.CitizenID != "person-1" || question.Email.Language != "pt" {
		t.Errorf("got a mail about %s: %s", got[0].Subject(), got[0].Body)
	}
	recorded, err := time.Parse(time.RFC3339, asked.Text(t, "recordedAt"))
	if err != nil {
		t.Fatal(err)
	}
	if want := recorded.Add(24 * time.Hour).Format("2006-01-02T15:04:05.000Z"); question.Email.ExpiresAt != want {
		t.Errorf("the link expires at %s, want %s", question.Email.ExpiresAt, want)
	}
	link, err := url.Parse(question.Email.ActionURL)
	if err != nil || !strings.HasPrefix(question.Email.ActionURL, s.URL+"/confirm/") {
		t.Fatalf("got the link %q, %v", question.Email.ActionURL, err)
	}
	states := func() string {
		var p struct {
			Permissions []struct{ OptionID, State, ValidUntil, Channel string }
		}
		a.Call("GET", "/v1/permissions?externalRef=CRM-000771", nil).Want(t, http.StatusOK).Into(t, &p)
		var out []string
		for _, x := range p.Permissions {
			out = append(out, x.OptionID+"="+x.State+" "+x.Channel+" "+x.ValidUntil)
		}
		return strings.Join(out, ", ")
	}
	end := until.Format("2006-01-02T15:04:05.000Z")
	deltas.Wait(t, 1)

	for range 2 { // a machine opens every link
		page := s.Call("GET", link.Path, "", nil).Want(t, http.StatusOK)
		for _, want := range []string{`<html lang="pt">`, "Aurora &amp; Söhne", "The weekly letter", "E-mail address", "News &amp; offers", "May we write to &lt;you&gt;?", "https://aurora.example/privacy?a=1&amp;b=2", `<form method="post">`} {
			if !strings.Contains(string(page.Body), want) {
				t.Errorf("the page lacks %q:\n%s", want, page.Body)
			}
		}
		if page.Header.Get("Cache-Control") != "no-store" || strings.Contains(page.Header.Get("Content-Security-Policy"), "unsafe") {
			t.Errorf("got the headers %v", page.Header)
		}
	}
	s.Call("HEAD", link.Path, "", nil).Want(t, http.StatusOK)
	if got, want := states(), "opt-letter=PENDING  "+end+", opt-offers=PENDING  "; got != want {
		t.Fatalf("after a look: got %q, want %q", got, want)
	}

	answer := func() servertest.Response {
		return s.Call("POST", link.Path, "", "", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Origin", "null")
	}
	if r := answer().Want(t, http.StatusSeeOther); r.Header.Get("Location") != link.Path {
		t.Errorf("got %q, want %q", r.Header.Get("Location"), link.Path)
	}
	answer().Want(t, http.StatusSeeOther)
	if page := s.Call("GET", link.Path, "", nil).Want(t, http.StatusOK); !strings.Contains(string(page.Body), "Confirmado") || strings.Contains(string(page.Body), "<form") {
		t.Errorf("got the page\n%s\nwant it to say so", page.Body)
	}
	if got, want := states(), "opt-letter=GRANTED email "+end+", opt-offers=GRANTED email "; got != want {
		t.Errorf("after the answer: got %q, want %q", got, want)
	}

	delta := deltas.Wait(t, 2)[1]
	wantGolden(t, "double-opt-in-delta.golden", delta.Body)
	wantGolden(t, "consent-confirmation.golden", mails.Wait(t, 3)[2].Body)
	var history struct {
		Items []struct {
			TransactionID, Channel string
			Told                   []struct{ EventID, Type string }
		}
	}
	a.Call("GET", "/v1/citizens/person-1/history", nil).Want(t, http.StatusOK).Into(t, &history)
	if len(history.Items) != 2 || history.Items[0].Channel != "email" {
		t.Fatalf("got the history %+v, want a question and its answer", history)
	}
	var told []string
	for _, d := range history.Items[0].Told {
		told = append(told, d.Type)
	}
	if slices.Sort(told); !slices.Equal(told, []string{"citizen.email", "permissions.delta"}) {
		t.Errorf("the answer was told by %v, want a delta and a mail", told)
	}

	s.Call("GET", "/confirm/"+strings.Repeat("A", 43), "", nil).Want(t, http.StatusNotFound)
	s.Call("POST", "/confirm/"+strings.Repeat("A", 43), "", "").Want(t, http.StatusNotFound)
	if log := s.Log.Tail(1000); strings.Contains(log, strings.TrimPrefix(link.Path, "/confirm/")) {
		t.Error("the log holds the link's token")
	}
}

// wantGolden compares a body, masked, with its golden file.
func wantGolden(t *testing.T, name string, body []byte) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, body, "", "  "); err != nil {
		t.Fatalf("%s: %v in %s", name, err, body)
	}
	got := days.ReplaceAllString(indented.String(), "<day>") + "\n"
	for _, m := range masks {
		got = m.of.ReplaceAllString(got, m.by)
	}
	file := filepath.Join("testdata", name)
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
