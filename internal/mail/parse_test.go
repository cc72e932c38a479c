package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
)

func TestParse_readsWhatEventWrites(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 6, 10, 0, 0, 0, time.UTC)
	full := mail.Message{
		ID: "eml_1", Template: mail.DoubleOptIn, To: "ana@example.net", Language: "pt-BR", Subject: "Olá \"☃\"", Text: "a\r\nb\x00", HTML: "<p>&amp;</p>",
		ActionURL: "https://portal.example.org/confirm/abc", ExpiresAt: at,
	}
	bare := mail.Message{ID: "eml_2", Template: mail.Receipt, Language: "en"}
	for _, want := range []mail.Message{full, bare} {
		for _, ref := range []string{"", "CRM-1"} {
			e := mail.Event(permission.Citizen{Application: "app_1", ID: "ctz_1", ExternalRef: ref}, want, at)
			if got, err := mail.Parse(e.Body); err != nil || got != want {
				t.Errorf("got %+v %v, want %+v", got, err, want)
			}
		}
	}
	if m, err := mail.Parse(mail.Trial("app_1", "me@example.org", "eml_3")); err != nil || m.To != "me@example.org" || m.ID != "eml_3" || m.Subject == "" || m.Text == "" || m.HTML == "" {
		t.Errorf("got %+v %v, want a mail to me", m, err)
	}
}

func TestParse_strictly(t *testing.T) {
	t.Parallel()
	good := string(mail.Trial("app_1", "me@example.org", "eml_3"))
	for name, body := range map[string]string{
		"nothing":                "",
		"no JSON":                "{",
		"no object":              "[]",
		"null":                   "null",
		"more behind it":         good + "{}",
		"an unknown member":      strings.Replace(good, `{"applicationId"`, `{"evil":1,"applicationId"`, 1),
		"a member twice":         strings.Replace(good, `"language":"en"`, `"language":"en","to":"you@example.org"`, 1),
		"another case":           strings.Replace(good, `"subject"`, `"Subject"`, 1),
		"no email":               `{"applicationId":"a","citizenId":"c","externalRef":null}`,
		"a member that is null":  strings.Replace(good, `"language":"en"`, `"language":null`, 1),
		"a number for a text":    strings.Replace(good, `"language":"en"`, `"language":1`, 1),
		"an instant that is not": strings.Replace(good, `"language":"en"`, `"language":"en","expiresAt":"soon"`, 1),
		"invalid UTF-8":          strings.Replace(good, `"en"`, "\"\xff\"", 1),
	} {
		if body == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if m, err := mail.Parse([]byte(body)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, m)
		} else if strings.Contains(err.Error(), "example.org") || strings.Contains(err.Error(), "soon") {
			t.Errorf("%s: got %q, want nothing of the body repeated", name, err)
		}
	}
}
