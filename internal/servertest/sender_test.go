package servertest_test

import (
	"bytes"
	"io/fs"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/servertest/mailbox"
)

// mailServer starts a server that sends its mails to a mailbox, and an
// application with an option that can be asked for.
func mailServer(t *testing.T, o mailbox.Options) (*mailbox.Server, *servertest.Server, *servertest.Application) {
	t.Helper()
	box := mailbox.Start(t, o)
	ca := servertest.NewCA(t)
	ca.PEM = append(bytes.Clone(ca.PEM), box.Roots()...)
	s := servertest.Start(t, servertest.Options{CA: ca})
	a := s.NewApplication("Clínica")
	a.Call("POST", "/v1/options", map[string]any{"optionId": "my-news", "dataId": "email", "purposeId": "news", "partyId": "us"}).Want(t, 201)
	return box, s, a
}

func senderTo(box *mailbox.Server, password string) map[string]any {
	return map[string]any{
		"host": box.Addr().Addr().String(), "port": box.Addr().Port(), "user": "mailer", "password": password,
		"from": "privacidade@example.org", "fromName": "Privacidade ☃", "retrySchedule": slices.Repeat([]string{"1s"}, 20),
	}
}

// TestMailSender_test: the button shows what was sent and answered, and the
// password is nowhere, whatever the server repeats of it.
func TestMailSender_test(t *testing.T) {
	t.Parallel()
	const right, wrong = "hunter2-of-the-mail-server-!&=+/9d1c", "hunter2-that-is-wrong-!&=+/9d1c"
	box, s, a := mailServer(t, mailbox.Options{User: "mailer", Password: right})
	var said bytes.Buffer
	call := func(method, path string, body any) servertest.Response {
		t.Helper()
		r := a.Call(method, path, body)
		said.Write(r.Body)
		return r
	}
	call("PUT", "/v1/mail-sender", senderTo(box, wrong)).Want(t, 201)
	type trial struct {
		Delivered    bool
		Step, Reason string
		Request      struct {
			Method, URL, Body string
			Headers           map[string]string
		}
		Response *struct {
			Status int
			Body   string
		}
	}
	var got trial
	call("POST", "/v1/mail-sender/test", map[string]string{"to": "me@example.org"}).Want(t, 200).Into(t, &got)
	if got.Delivered || got.Step != "response" || got.Reason != "the mail server refused our sign-in (535)" || got.Response == nil || got.Response.Status != 535 || !strings.Contains(got.Response.Body, "***") {
		t.Errorf("got %+v %+v, want the refused sign-in, masked", got, got.Response)
	}
	call("PATCH", "/v1/mail-sender", map[string]any{"password": right}).Want(t, 200)
	got = trial{}
	call("POST", "/v1/mail-sender/test", map[string]string{"to": "me@example.org"}).Want(t, 200).Into(t, &got)
	if !got.Delivered || got.Response == nil || got.Response.Status != 250 || got.Request.Method != "SMTP" || got.Request.URL != "smtp://"+box.Addr().String() {
		t.Errorf("got %+v %+v, want a mail that was taken", got, got.Response)
	}
	ms := box.Wait(t, 1)
	msg := ms[0].Message(t)
	for name, shown := range got.Request.Headers {
		sent, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get(name))
		if name == "From" || name == "To" {
			list, listErr := msg.Header.AddressList(name)
			if listErr != nil || len(list) != 1 || !strings.Contains(shown, list[0].Address) || !strings.Contains(shown, list[0].Name) {
				t.Errorf("%s: got %v (%v), want what is shown: %s", name, list, listErr, shown)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(sent, shown) { // the type goes on with its boundary
			t.Errorf("%s: got %q (%v), want what is shown: %q", name, sent, err, shown)
		}
	}
	if ms[0].To != "me@example.org" || !ms[0].Secured || len(got.Request.Headers) < 9 {
		t.Errorf("got a mail to %s, secured %v, and shown %v", ms[0].To, ms[0].Secured, got.Request.Headers)
	}
	call("GET", "/v1/mail-sender", nil).Want(t, 200)
	call("PATCH", "/v1/mail-sender", map[string]any{"port": 1}).Want(t, 400)
	nowhere(t, s, &said, right, wrong)
}

// nowhere looks for secrets in what was answered and logged and in the data
// folder.
func nowhere(t *testing.T, s *servertest.Server, said *bytes.Buffer, secrets ...string) {
	t.Helper()
	places := map[string][]byte{
		"an answer": said.Bytes(), "the log": []byte(s.Log.String()), "the metrics": s.Call("GET", "/metrics", s.Operator, nil).Want(t, 200).Body,
	}
	err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		places[d.Name()], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		for place, content := range places {
			for how, form := range spellings(secret) {
				if bytes.Contains(content, form) {
					t.Errorf("%s holds %q %s", place, secret, how)
				}
			}
		}
	}
}

// TestMailSender_doubleOptIn: a pending change is asked by mail, through a
// mail server that is of no use at first, and each step can be looked at.
func TestMailSender_doubleOptIn(t *testing.T) {
	t.Parallel()
	const right, wrong = "hunter2-of-the-mail-server-!&=+/9d1c", "hunter2-that-is-wrong-!&=+/9d1c"
	box, s, a := mailServer(t, mailbox.Options{User: "mailer", Password: right, Recipient: func(to string) error {
		if strings.HasPrefix(to, "gone") {
			return mailbox.Refuse(550, "no such user here")
		}
		return nil
	}})
	sender := a.Call("PUT", "/v1/mail-sender", senderTo(box, wrong)).Want(t, 201).Text(t, "mailSenderId")
	ask := func(ref, address string) (citizen string) {
		t.Helper()
		body := map[string]any{"externalRef": ref, "language": "pt-BR"}
		if address != "" {
			body["emails"] = []map[string]string{{"address": address}}
		}
		citizen = a.Call("POST", "/v1/citizens", body).Want(t, 201).Text(t, "citizenId")
		a.Call("POST", "/v1/permissions/transactions", map[string]any{
			"externalRef": ref, "changes": []map[string]any{{"optionId": "my-news", "justification": "consent", "state": "PENDING"}},
		}).Want(t, 201)
		return citizen
	}
	ana, gone, nobody := ask("CRM-1", "ana.maria@example.net"), ask("CRM-2", "gone@example.net"), ask("CRM-3", "")

	var said bytes.Buffer
	type delivery struct {
		DeliveryID, MailSenderID, SubscriptionID, Type, Status, Reason string
		AttemptCount                                                   int
		Attempts                                                       []struct {
			Status       int
			Step, Reason string
			Request      struct {
				Method, URL, Body string
				Headers           map[string]string
			}
			Response *struct {
				Status int
				Body   string
			}
		}
	}
	read := func(citizen string) (d delivery) {
		t.Helper()
		var page struct{ Items []delivery }
		r := a.Call("GET", "/v1/deliveries?mailSenderId="+sender+"&subject="+citizen, nil).Want(t, 200)
		r.Into(t, &page)
		said.Write(r.Body)
		if len(page.Items) != 1 {
			return d
		}
		r = a.Call("GET", "/v1/deliveries/"+page.Items[0].DeliveryID, nil).Want(t, 200)
		said.Write(r.Body)
		r.Into(t, &d)
		return d
	}
	servertest.Eventually(t, "a sign-in that was refused", func() bool { return read(ana).AttemptCount > 0 })
	d := read(ana)
	if x := d.Attempts[0]; d.MailSenderID != sender || d.SubscriptionID != "" || d.Type != "citizen.email" || x.Status != 535 || x.Response == nil || !strings.Contains(x.Response.Body, "***") {
		t.Errorf("got %+v, want the refused sign-in of the mail sender, masked", d)
	}
	servertest.Eventually(t, "the end without an address", func() bool { return read(nobody).Status == "exhausted" })
	if d := read(nobody); d.AttemptCount != 1 || d.Reason != "no address is kept" || d.Attempts[0].Response != nil {
		t.Errorf("got %+v, want it exhausted at once", d)
	}
	a.Call("PATCH", "/v1/mail-sender", map[string]any{"password": right}).Want(t, 200)
	servertest.Eventually(t, "the mail to Ana", func() bool { return read(ana).Status == "delivered" })
	servertest.Eventually(t, "the end of a mailbox that is none", func() bool { return read(gone).Status == "exhausted" })
	if d := read(gone); !strings.Contains(d.Reason, "refused the recipient for good (550)") {
		t.Errorf("got %+v, want the reason of its end", d)
	}

	ms := box.Wait(t, 1)
	msg := ms[0].Message(t)
	d = read(ana)
	last := d.Attempts[len(d.Attempts)-1]
	if last.Request.Method != "SMTP" || last.Request.URL != "smtp://"+box.Addr().String() || last.Response == nil || last.Response.Status != 250 {
		t.Errorf("got %+v, want what was sent and answered", last)
	}
	if ms[0].To != "ana.maria@example.net" || msg.Header.Get("Message-Id") != last.Request.Headers["Message-ID"] || !strings.HasPrefix(msg.Header.Get("Message-Id"), "<eml_") {
		t.Errorf("got a mail to %s with the ID %s, want that of %s", ms[0].To, msg.Header.Get("Message-Id"), last.Request.Headers["Message-ID"])
	}
	if raw := strings.ReplaceAll(string(ms[0].Raw), "=\r\n", ""); !strings.Contains(raw, s.URL+"/confirm/") {
		t.Errorf("got %s, want the link to confirm", raw)
	}
	for _, bad := range []string{"ana.maria", "gone@example", msg.Header.Get("Subject")} {
		if strings.Contains(s.Log.String(), bad) {
			t.Errorf("the log holds %q", bad)
		}
	}
	nowhere(t, s, &said, right, wrong)
}
