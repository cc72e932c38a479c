package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/servertest/mailbox"
	"github.com/consentwire/consentwire/internal/smtp"
	"github.com/consentwire/consentwire/internal/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client returns a client that may dial this machine, plain or not.
func client(t *testing.T, roots []byte, p egress.Policy) *smtp.Client {
	t.Helper()
	g, err := egress.NewGuard(p)
	if err != nil {
		t.Fatal(err)
	}
	out, err := egress.New(egress.Options{Guard: g, RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	return smtp.New(out, "Consentwire/1.2.3")
}

func here() egress.Policy { return egress.Policy{Allow: []string{"127.0.0.0/8"}, AllowHTTP: true} }

// letter is a mail to a server.
func letter(at netip.AddrPort, security string) *smtp.Mail {
	return &smtp.Mail{
		Sender: subscription.Mail{
			Host: at.Addr().String(), Port: int(at.Port()), Security: security,
			From: "privacy@example.org", FromName: "Privacidade ☃", ReplyTo: "dpo@example.org",
		},
		Message: mail.Message{
			ID: "eml_1", Template: mail.DoubleOptIn, To: "ana@example.net", Language: "pt-BR", Subject: "Confirme a sua escolha, Ana ☃",
			Text: "Olá!\r\n.\r\nAbra a ligação: https://portal.example.org/confirm/abc\n" + strings.Repeat("x", 3000) + "\n",
			HTML: `<p>Olá! <a href="https://portal.example.org/confirm/abc">Abra</a></p>`,
		},
		At: time.Date(2026, 1, 6, 10, 0, 0, 0, time.UTC), Timeout: 10 * time.Second,
	}
}

func signedIn(m *smtp.Mail, password string) *smtp.Mail {
	m.Sender.User, m.Sender.Password = "mailer", secret.New(password)
	return m
}

func send(t *testing.T, c *smtp.Client, m *smtp.Mail) smtp.Outcome {
	t.Helper()
	o, err := c.Send(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestSend_whatArrives(t *testing.T) {
	t.Parallel()
	for _, security := range []string{subscription.StartTLS, subscription.ImplicitTLS, subscription.NoTLS} {
		for _, mechanism := range []string{"", "PLAIN", "LOGIN"} {
			t.Run(security+" "+mechanism, func(t *testing.T) {
				t.Parallel()
				o := mailbox.Options{Implicit: security == subscription.ImplicitTLS, Plain: security == subscription.NoTLS}
				if mechanism != "" {
					o.User, o.Password, o.Mechanisms = "mailer", "p☃ss word", []string{"X-OTHER", mechanism}
				}
				s := mailbox.Start(t, o)
				m := letter(s.Addr(), security)
				if mechanism != "" {
					signedIn(m, "p☃ss word")
				}
				got := send(t, client(t, s.Roots(), here()), m)
				if got.Verdict != delivery.Success || got.Status != 250 || got.Step != delivery.StepResponse || got.Reason != "" || got.Reply == "" {
					t.Fatalf("got %+v, want a success with 250 and its text", got)
				}
				ms := s.Mails()
				if len(ms) != 1 {
					t.Fatalf("got %d mails, want 1", len(ms))
				}
				if x := ms[0]; x.From != "privacy@example.org" || x.To != "ana@example.net" || x.Secured != (security != subscription.NoTLS) || x.User != m.Sender.User {
					t.Errorf("got from %s to %s secured %v by %q", x.From, x.To, x.Secured, x.User)
				}
				check(t, ms[0], m)
			})
		}
	}
}

// check compares a mail that came with what was asked for.
func check(t *testing.T, came mailbox.Mail, m *smtp.Mail) {
	t.Helper()
	msg := came.Message(t)
	for name, want := range map[string]string{
		"Message-Id": "<eml_1@example.org>", "Date": "Tue, 06 Jan 2026 10:00:00 +0000", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0",
		"User-Agent": "Consentwire/1.2.3", "Content-Language": "pt-BR", "Subject": m.Message.Subject,
	} {
		got, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get(name))
		if err != nil || got != want || len(msg.Header[name]) != 1 {
			t.Errorf("%s: got %q %v, want once %q", name, got, err, want)
		}
	}
	for name, want := range map[string]netmail.Address{
		"From": {Name: "Privacidade ☃", Address: "privacy@example.org"}, "To": {Address: "ana@example.net"}, "Reply-To": {Address: "dpo@example.org"},
	} {
		got, err := msg.Header.AddressList(name)
		if err != nil || len(got) != 1 || *got[0] != want {
			t.Errorf("%s: got %v %v, want %v", name, got, err, want)
		}
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("got the type %s %v, want multipart/alternative", kind, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for _, want := range []struct{ kind, text string }{{"text/plain", m.Message.Text}, {"text/html", m.Message.HTML}} {
		p, err := parts.NextPart() // it undoes quoted-printable
		if err != nil {
			t.Fatal(err)
		}
		kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil || kind != want.kind || !strings.EqualFold(params["charset"], "utf-8") {
			t.Errorf("got the part %s %v %v, want %s in UTF-8", kind, params, err, want.kind)
		}
		got, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := strings.ReplaceAll(string(got), "\r\n", "\n"), strings.ReplaceAll(want.text, "\r\n", "\n"); g != w {
			t.Errorf("%s: got %q, want %q", want.kind, g, w)
		}
	}
	for line := range bytes.SplitSeq(came.Raw, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("a line has %d bytes, want at most 998", len(line))
		}
	}
}

func TestSend_verdicts(t *testing.T) {
	t.Parallel()
	rcpt := func(code int) mailbox.Options {
		return mailbox.Options{Recipient: func(string) error { return mailbox.Refuse(code, "not him") }}
	}
	data := func(code int) mailbox.Options {
		return mailbox.Options{Content: func(mailbox.Mail) error { return mailbox.Refuse(code, "not this") }}
	}
	sender := func(code int) mailbox.Options {
		return mailbox.Options{Sender: func(string) error { return mailbox.Refuse(code, "not you") }}
	}
	signIn := mailbox.Options{User: "mailer", Password: "right"}
	tests := []struct {
		name    string
		server  mailbox.Options
		change  func(*smtp.Mail)
		verdict delivery.Verdict
		about   bool // this one mail
		status  int
		step    delivery.Step
		reason  string
	}{
		{"no such mailbox", rcpt(550), nil, delivery.Refused, true, 550, "response", "the mail server refused the recipient for good (550)"},
		{"a mailbox that is full for good", rcpt(552), nil, delivery.Refused, true, 552, "response", "the mail server refused the recipient for good (552)"},
		{"a greylist", rcpt(451), nil, delivery.Retry, true, 451, "response", "the mail server did not take the recipient now (451)"},
		{"a server that closes at the recipient", rcpt(421), nil, delivery.Retry, false, 421, "response", "the mail server is closing (421)"},
		{"a sign-in wanted at the recipient", rcpt(530), nil, delivery.Retry, false, 530, "response", "the mail server wants another sign-in (530)"},
		{"a mail that is refused", data(554), nil, delivery.Refused, true, 554, "response", "the mail server refused the mail for good (554)"},
		{"a mail that is refused for now", data(452), nil, delivery.Retry, true, 452, "response", "the mail server did not take the mail now (452)"},
		{"another reply that takes it", data(251), nil, delivery.Success, true, 251, "response", ""},
		{"a sender that is refused", sender(553), nil, delivery.Retry, false, 553, "response", "the mail server refused our address as the sender's (553)"},
		{"a sender that is refused for now", sender(451), nil, delivery.Retry, false, 451, "response", "the mail server refused our address as the sender's (451)"},
		{"a wrong password", signIn, func(m *smtp.Mail) { signedIn(m, "wrong") }, delivery.Retry, false, 535, "response", "the mail server refused our sign-in (535)"},
		{"no password where one is wanted", signIn, nil, delivery.Retry, false, 530, "response", "the mail server refused our address as the sender's (530)"},
		{"a sign-in that is not offered", mailbox.Options{}, func(m *smtp.Mail) { signedIn(m, "x") }, delivery.Retry, false, 0, "request", "the mail server offers no sign-in by PLAIN or LOGIN"},
		{"a sign-in by other ways only", mailbox.Options{User: "mailer", Mechanisms: []string{"SCRAM-SHA-256", "NTLM"}}, func(m *smtp.Mail) { signedIn(m, "x") }, delivery.Retry, false, 0, "request", "the mail server offers no sign-in by PLAIN or LOGIN"},
		{"a server that does not speak TLS from the first byte", mailbox.Options{}, func(m *smtp.Mail) { m.Sender.Security = subscription.ImplicitTLS }, delivery.Retry, false, 0, "tls", "the receiver does not speak TLS"},
		{"a certificate of another name", mailbox.Options{Names: []string{"other.example.org"}}, nil, delivery.Retry, false, 0, "tls", "the receiver's certificate is for another host name"},
		{"an old TLS", mailbox.Options{MaxTLS: tls.VersionTLS11}, nil, delivery.Retry, false, 0, "tls", "the receiver does not offer TLS 1.2 or newer"},
		{"nobody's address", mailbox.Options{}, func(m *smtp.Mail) { m.Message.To = "" }, delivery.Refused, true, 0, "request", "no address is kept"},
		{"two addresses", mailbox.Options{}, func(m *smtp.Mail) { m.Message.To = "a@b.org, c@d.org" }, delivery.Refused, true, 0, "request", "the citizen's address is not one that a mail can be sent to"},
		{"an address with a command in it", mailbox.Options{}, func(m *smtp.Mail) { m.Message.To = "a@b.org>\r\nRCPT TO:<c@d.org" }, delivery.Refused, true, 0, "request", "the citizen's address is not one that a mail can be sent to"},
		{"letters that the server does not take", mailbox.Options{}, func(m *smtp.Mail) { m.Message.To = "joão@example.net" }, delivery.Refused, true, 0, "request", "the mail server takes no address with letters beyond ASCII, and the citizen's has some"},
		{"a domain in its own letters", mailbox.Options{}, func(m *smtp.Mail) { m.Message.To = "joao@é.example" }, delivery.Success, true, 250, "response", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := mailbox.Start(t, tt.server)
			m := letter(s.Addr(), subscription.StartTLS)
			if tt.change != nil {
				tt.change(m)
			}
			got := send(t, client(t, s.Roots(), here()), m)
			if got.Verdict != tt.verdict || got.AboutMail != tt.about || got.Status != tt.status || got.Step != tt.step || got.Reason != tt.reason {
				t.Errorf("got %+v, want verdict %d about the mail %v status %d step %s reason %q", got, tt.verdict, tt.about, tt.status, tt.step, tt.reason)
			}
			want := 0
			if tt.verdict == delivery.Success && tt.status == 250 {
				want = 1
			}
			if n := len(s.Mails()); n != want {
				t.Errorf("got %d mails, want %d", n, want)
			}
			if tt.step == delivery.StepTLS && s.Commands() != 0 {
				t.Errorf("got %d commands on a line that is not secured, want none", s.Commands())
			}
		})
	}
}

func TestSend_lettersBeyondASCII(t *testing.T) {
	t.Parallel()
	s := mailbox.Start(t, mailbox.Options{UTF8: true})
	m := letter(s.Addr(), subscription.StartTLS)
	m.Message.To = "joão@example.net"
	if got := send(t, client(t, s.Roots(), here()), m); got.Verdict != delivery.Success || s.Mails()[0].To != "joão@example.net" {
		t.Errorf("got %+v, want a success to joão@example.net", got)
	}
}

// TestSend_neverInPlain: nothing is said of a mail or a password on a line that
// is not secured, whatever the server, or who stands before it, pretends.
func TestSend_neverInPlain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lines []string // the answers, in turn
		step  delivery.Step
		want  string
	}{
		{"STARTTLS is not offered", []string{"220 hi", "250-mail\r\n250 AUTH PLAIN LOGIN"}, "tls", "does not offer STARTTLS"},
		{"the greeting is of old", []string{"220 hi", "502 what?", "250 mail"}, "tls", "does not offer STARTTLS"},
		{"STARTTLS is refused", []string{"220 hi", "250-mail\r\n250-STARTTLS\r\n250 AUTH PLAIN", "454 not now"}, "tls", "refused STARTTLS, and nothing is sent without it (454)"},
		{"STARTTLS is answered as if it had been done", []string{"220 hi", "250-mail\r\n250-STARTTLS\r\n250 AUTH PLAIN", "220 go\r\n250-mail\r\n250 AUTH PLAIN\r\n235 in\r\n250 a\r\n250 b\r\n354 c\r\n250 d"}, "tls", "during the TLS handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, func(l *line) {
				for _, text := range tt.lines {
					l.say(text)
					l.hear()
				}
			})
			got := send(t, client(t, nil, here()), signedIn(letter(s.addr, subscription.StartTLS), "s3cret-of-ours"))
			if got.Verdict != delivery.Retry || got.Step != tt.step || !strings.Contains(got.Reason, tt.want) {
				t.Errorf("got %+v, want step %s and %q", got, tt.step, tt.want)
			}
			if h := s.heard(); strings.Contains(h, "AUTH") || strings.Contains(h, "MAIL") || strings.Contains(h, "ana@") || strings.Contains(h, "s3cret") {
				t.Errorf("got %q in plain, want no more than the greeting", h)
			}
		})
	}
	t.Run("plain is configured and the operator does not allow it", func(t *testing.T) {
		t.Parallel()
		s := mailbox.Start(t, mailbox.Options{Plain: true})
		for _, p := range []egress.Policy{{Allow: []string{"127.0.0.0/8"}}, {AllowHTTP: true}} {
			got := send(t, client(t, nil, p), letter(s.Addr(), subscription.NoTLS))
			if got.Verdict != delivery.Retry || got.Step != delivery.StepConnect || len(s.Mails()) != 0 {
				t.Errorf("%+v: got %+v and %d mails, want a refusal at the connect", p, got, len(s.Mails()))
			}
		}
	})
	t.Run("an address that is not public", func(t *testing.T) {
		t.Parallel()
		s := mailbox.Start(t, mailbox.Options{})
		got := send(t, client(t, s.Roots(), egress.Policy{}), letter(s.Addr(), subscription.StartTLS))
		if got.Step != delivery.StepConnect || !strings.Contains(got.Reason, "not a public address") || s.Commands() != 0 {
			t.Errorf("got %+v, want a refusal at the connect", got)
		}
	})
}

// TestSend_badServers: whatever a server does, an attempt ends in time, reads
// little, and is tried again.
func TestSend_badServers(t *testing.T) {
	t.Parallel()
	const ehlo = "250-mail\r\n250 8BITMIME"
	upTo := func(n int, then func(l *line)) func(l *line) {
		return func(l *line) {
			for _, text := range []string{"220 hi", ehlo, "250 from", "250 to", "354 go"}[:n] {
				l.say(text)
				if text == "354 go" {
					l.hearMail()
				} else {
					l.hear()
				}
			}
			then(l)
		}
	}
	stall := func(l *line) { l.hear() }
	drop := func(*line) {}
	endless := func(l *line) {
		for l.write(bytes.Repeat([]byte("250-x"), 1000)) == nil {
		}
	}
	lines := func(l *line) {
		for l.write([]byte("250-more and more\r\n")) == nil {
		}
	}
	garbage := func(l *line) { l.say("\x00\xff\xfe%%% HTTP/1.1 400 Bad Request\r\n\r\n") }
	tests := []struct {
		name   string
		handle func(l *line)
		step   delivery.Step
		want   string
	}{
		{"no word", upTo(0, stall), "request", "did not take the request in time"},
		{"no word behind the greeting", upTo(1, stall), "request", "did not take the request in time"},
		{"no word behind the sender", upTo(2, stall), "request", "did not take the request in time"},
		{"no word behind the mail", upTo(5, stall), "response", "no complete answer within the time allowed"},
		{"closed at once", upTo(0, drop), "request", "closed the connection while the request was sent"},
		{"closed behind the sender", upTo(3, drop), "request", "closed the connection while the request was sent"},
		{"closed behind the mail", upTo(5, drop), "response", "closed the connection before its answer was complete"},
		{"garbage for a greeting", upTo(0, garbage), "request", "cannot be read"},
		{"garbage behind the recipient", upTo(3, garbage), "request", "cannot be read"},
		{"garbage behind the mail", upTo(5, garbage), "response", "cannot be read"},
		{"a line without an end", upTo(0, endless), "request", "too long"},
		{"lines without an end", upTo(1, lines), "request", "too long"},
		{"a line without an end behind the mail", upTo(5, endless), "response", "too long"},
		{"not welcome", upTo(0, func(l *line) { l.say("554 go away") }), "response", "did not welcome us (554)"},
		{"busy", upTo(0, func(l *line) { l.say("421 later") }), "response", "did not welcome us (421)"},
		{"a code that there is not", upTo(3, func(l *line) { l.say("999 wow") }), "response", "cannot be read"},
		{"a code too soon", upTo(2, func(l *line) { l.say("354 go on") }), "response", "refused our address as the sender's (354)"},
		{"the mail is not waited for", upTo(4, func(l *line) { l.say("250 taken") }), "response", "did not take the mail now (250)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, tt.handle)
			m := letter(s.addr, subscription.NoTLS)
			m.Timeout = 1500 * time.Millisecond
			start := time.Now()
			got := send(t, client(t, nil, here()), m)
			if took := time.Since(start); took > m.Timeout+time.Second {
				t.Errorf("took %v, want at most %v", took, m.Timeout)
			}
			if got.Verdict != delivery.Retry || got.Step != tt.step || !strings.Contains(got.Reason, tt.want) {
				t.Errorf("got %+v, want a retry, step %s, %q", got, tt.step, tt.want)
			}
			if n := s.wrote.Load(); n > 32<<20 {
				t.Errorf("the server wrote %d bytes, want them not to be read", n)
			}
		})
	}
}

func TestSend_replyIsBounded(t *testing.T) {
	t.Parallel()
	s := script(t, func(l *line) {
		l.say("220 hi")
		l.hear()
		l.say("250 mail")
		l.hear()
		l.say("250 from")
		l.hear()
		l.say("550-" + strings.Repeat("ã", 4000) + "\r\n550 \xff\x00end")
	})
	got := send(t, client(t, nil, here()), letter(s.addr, subscription.NoTLS))
	if got.Verdict != delivery.Refused || len(got.Reply) > smtp.MaxReply || len(got.Reply) < smtp.MaxReply-4 || strings.Contains(got.Reply, "\uFFFD") {
		t.Errorf("got %d bytes ending in %q, want at most %d between two characters", len(got.Reply), got.Reply[len(got.Reply)-4:], smtp.MaxReply)
	}
	if strings.Contains(got.Reason, "ã") {
		t.Errorf("got the reason %q, want no word of the server's", got.Reason)
	}
}

// TestSend_noInjection: nothing that is sent ends the line that it is a part
// of, or the mail.
func TestSend_noInjection(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m *smtp.Mail){
		"the subject":          func(m *smtp.Mail) { m.Message.Subject = "a\r\nBcc: evil@example.com\r\n\r\nbody" },
		"bare ends of lines":   func(m *smtp.Mail) { m.Message.Subject = "a\nBcc: evil@example.com\rX-Evil: 1\u2028\u0085\v\fb" },
		"a subject of signs":   func(m *smtp.Mail) { m.Message.Subject = "=?UTF-8?q?a=0D=0ABcc:_evil@example.com?=" },
		"a very long subject":  func(m *smtp.Mail) { m.Message.Subject = strings.Repeat("ã", 5000) },
		"one very long word":   func(m *smtp.Mail) { m.Message.Subject = strings.Repeat("a", 5000) },
		"a subject of nothing": func(m *smtp.Mail) { m.Message.Subject = strings.Repeat(" ", 5000) },
		"the name":             func(m *smtp.Mail) { m.Sender.FromName = "a\r\nBcc: evil@example.com" },
		"a name that quotes":   func(m *smtp.Mail) { m.Sender.FromName = `a" <evil@example.com>, "b` },
		"the language":         func(m *smtp.Mail) { m.Message.Language = "en\r\nBcc: evil@example.com" },
		"the ID":               func(m *smtp.Mail) { m.Message.ID = "eml_1>\r\nBcc: evil@example.com" },
		"the end of the mail":  func(m *smtp.Mail) { m.Message.Text = "a\r\n.\r\nMAIL FROM:<evil@example.com>\r\n.\n.\r.\r\n" },
		"in HTML":              func(m *smtp.Mail) { m.Message.HTML = "a\r\n.\r\nRCPT TO:<evil@example.com>\r\n" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mailbox.Start(t, mailbox.Options{})
			m := letter(s.Addr(), subscription.StartTLS)
			change(m)
			if got := send(t, client(t, s.Roots(), here()), m); got.Verdict != delivery.Success {
				t.Fatalf("got %+v, want a success", got)
			}
			ms := s.Mails()
			if len(ms) != 1 || s.Commands() != 3 {
				t.Fatalf("got %d mails by %d commands, want 1 by 3", len(ms), s.Commands())
			}
			msg := ms[0].Message(t)
			for _, bad := range []string{"Bcc", "X-Evil", "Body"} {
				if msg.Header.Get(bad) != "" {
					t.Errorf("got the field %s: %s", bad, msg.Header.Get(bad))
				}
			}
			if from, err := msg.Header.AddressList("From"); err != nil || len(from) != 1 || from[0].Address != "privacy@example.org" {
				t.Errorf("got from %v %v, want privacy@example.org alone", from, err)
			}
			if len(msg.Header) != 11 {
				t.Errorf("got the fields %v, want 11", msg.Header)
			}
			head, _, _ := bytes.Cut(ms[0].Raw, []byte("\r\n\r\n"))
			for line := range bytes.SplitSeq(head, []byte("\r\n")) {
				if len(line) > 998 || bytes.ContainsAny(line, "\r\n") {
					t.Errorf("got the line %q of %d bytes", line, len(line))
				}
			}
		})
	}
}

func TestSend_calledOff(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	s := script(t, func(l *line) {
		close(asked)
		l.hear()
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := client(t, nil, here()).Send(ctx, letter(s.addr, subscription.NoTLS))
		done <- err
	}()
	<-asked
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was called off", err)
	}
}

// TestSend_doesNotWaitForAGoodBye: a mail that was taken stays taken.
func TestSend_doesNotWaitForAGoodBye(t *testing.T) {
	t.Parallel()
	s := script(t, func(l *line) {
		for _, text := range []string{"220 hi", "250 mail", "250 from", "250 to", "354 go"} {
			l.say(text)
			if text == "354 go" {
				l.hearMail()
			} else {
				l.hear()
			}
		}
		l.say("250 taken")
		l.hear()
		l.hear() // never says good-bye
	})
	start := time.Now()
	got := send(t, client(t, nil, here()), letter(s.addr, subscription.NoTLS))
	if got.Verdict != delivery.Success || time.Since(start) > 5*time.Second {
		t.Errorf("got %+v after %v, want a success within little more than a second", got, time.Since(start))
	}
}

// scripted is a server that does on each connection exactly what it is told.
type scripted struct {
	addr  netip.AddrPort
	wrote atomic.Int64
	mu    sync.Mutex
	said  bytes.Buffer
}

type line struct {
	s *scripted
	c net.Conn
	r *bufio.Reader
}

func script(t *testing.T, handle func(*line)) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				l := &line{s: s, c: c}
				l.r = bufio.NewReader(io.TeeReader(c, l))
				handle(l)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return s
}

// Write keeps what was heard.
func (l *line) Write(p []byte) (int, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.s.said.Write(p)
}

func (l *line) write(p []byte) error {
	n, err := l.c.Write(p)
	l.s.wrote.Add(int64(n))
	return err
}

func (l *line) say(text string) { fmt.Fprintf(l.c, "%s\r\n", text) }

// hear reads one line, or to the end.
func (l *line) hear() string {
	s, _ := l.r.ReadString('\n')
	return s
}

// hearMail reads to the end of a mail.
func (l *line) hearMail() {
	for s := l.hear(); s != "" && s != ".\r\n"; s = l.hear() {
	}
}

func (s *scripted) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}
