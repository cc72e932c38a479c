package delivery_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
)

func TestJudgeMail(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{
		250: "success true", 251: "success true", 354: "retry false", 0: "retry false", 199: "retry false", 600: "retry false",
		421: "retry false", 450: "retry true", 451: "retry true", 452: "retry true",
		550: "refused true", 552: "refused true", 554: "refused true", 500: "refused true", 599: "refused true",
		530: "retry false", 534: "retry false", 535: "retry false", 538: "retry false",
	} {
		v, about := delivery.JudgeMail(code)
		name := map[delivery.Verdict]string{delivery.Success: "success", delivery.Retry: "retry", delivery.Refused: "refused"}[v]
		if got := fmt.Sprint(name, " ", about); got != want {
			t.Errorf("%d: got %s, want %s", code, got, want)
		}
	}
}

func TestDetail_Request_ofAMail(t *testing.T) {
	t.Parallel()
	evt := mail.Event(permission.Citizen{Application: "app_1", ID: "ctz_1"}, mail.Message{
		ID: "eml_1", Template: mail.Receipt, To: "ana@example.net", Language: "pt", Subject: "Olá\r\nBcc: x", Text: "t", HTML: "h",
	}, t0)
	d := delivery.Detail{View: delivery.View{MailSender: true, EventID: "evt_1"}, Body: evt.Body}
	a := delivery.AttemptView{
		Attempt: delivery.Attempt{N: 2, Timestamp: 1772366400, InteractionID: "8f2a"},
		Shown:   delivery.NewShown("smtp://smtp.example.org:587", [][2]string{{"From", "Privacidade <privacy@example.org>"}, {"Reply-To", "dpo@example.org"}}),
	}
	always := []delivery.Header{
		{Name: "Date", Value: "Sun, 01 Mar 2026 12:00:00 +0000"}, {Name: "Auto-Submitted", Value: "auto-generated"},
		{Name: "User-Agent", Value: "Consentwire/1.2.3"}, {Name: "MIME-Version", Value: "1.0"}, {Name: "Content-Type", Value: "multipart/alternative"},
	}
	want := delivery.Request{
		Method: "SMTP", URL: "smtp://smtp.example.org:587", Body: string(evt.Body),
		Headers: append([]delivery.Header{
			{Name: "From", Value: "Privacidade <privacy@example.org>"}, {Name: "Reply-To", Value: "dpo@example.org"}, {Name: "To", Value: "ana@example.net"},
			{Name: "Subject", Value: "Olá Bcc: x"}, {Name: "Message-ID", Value: "<eml_1@example.org>"}, {Name: "Content-Language", Value: "pt"},
		}, always...),
	}
	for range 2 { // the shown fields are shared by attempts
		if got := d.Request(a, delivery.UserAgent("1.2.3")); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	d.Body = nil // erased
	want.Headers, want.Body = append(a.Shown.Headers[:2:2], always...), ""
	if got := d.Request(a, delivery.UserAgent("1.2.3")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestMailSubject(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Plain words": "Plain words", "": "", " \t\r\n ": "", "a\r\nBcc: b@c.org": "a Bcc: b@c.org", "a  b\u2028c\x00d": "a b c d", "\xff": "\uFFFD",
		strings.Repeat("a", 2000): strings.Repeat("a", 900), strings.Repeat("ã", 1000): strings.Repeat("ã", 450), "b" + strings.Repeat("ã", 1000): "b" + strings.Repeat("ã", 449),
	} {
		if got := delivery.MailSubject(in); got != want || !utf8.ValidString(got) {
			t.Errorf("%.40q: got %.40q of %d bytes, want %.40q of %d", in, got, len(got), want, len(want))
		}
	}
}

func TestMailDate(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 6, 7, 0, 0, 0, time.FixedZone("BRT", -3*3600))
	if got, want := delivery.MailDate(at), "Tue, 06 Jan 2026 10:00:00 +0000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
