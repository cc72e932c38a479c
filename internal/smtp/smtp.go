// Package smtp hands a citizen's mail over to an application's mail server
// (RFC 5321, RFC 6409), over a connection of egress, and says what became of
// it.
//
// A mail is one conversation: at most one connection, one recipient, one
// attempt. It refuses to sign in or to send over a connection that is not
// secured, unless the sender is configured so and the operator allows it; to
// take a server's word for what it does not say; and to let anything that is
// sent end a line that it is a part of.
package smtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
	"golang.org/x/net/idna"

	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/egress"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/subscription"
)

// Dialer opens connections; see egress.Client.
type Dialer interface {
	Dial(ctx context.Context, to egress.Peer, timeout time.Duration) (*egress.Conn, error)
}

// Client hands mails over. It may be used by several goroutines.
type Client struct {
	dialer Dialer
	agent  string // how a mail names us
}

// New returns a client. agent is delivery.UserAgent's.
func New(d Dialer, agent string) *Client { return &Client{d, agent} }

// Mail is one mail and where it is handed over.
type Mail struct {
	Sender  subscription.Mail
	Message mail.Message
	At      time.Time     // its date
	Timeout time.Duration // for everything, from the look-up to the last reply
}

// Outcome is what became of a mail.
type Outcome struct {
	Verdict delivery.Verdict // Success, Retry or Refused
	// AboutMail tells that the server took our connection and our sign-in, and
	// that its word is on this one mail.
	AboutMail bool
	Step      delivery.Step // where it ended
	Status    int           // the reply's code; 0: there was none
	Reply     string        // its text, at most MaxReply bytes; it may repeat secrets
	Reason    string        // in plain words, without a word of the server's; empty when it was taken
}

// MaxReply is how much is kept of a reply, in bytes. Source: CONTRACT 8.
const MaxReply = 4 << 10

// quitWithin is how long a server may take to say good-bye. Ours.
const quitWithin = time.Second

// Send hands a mail over, at most once. The error is that ctx was cancelled:
// then nothing is known.
func (c *Client) Send(ctx context.Context, m *Mail) (Outcome, error) {
	to, err := recipient(m.Message.To)
	if err != nil {
		return Outcome{Verdict: delivery.Refused, AboutMail: true, Step: delivery.StepRequest, Reason: err.Error()}, nil
	}
	conn, err := c.dialer.Dial(ctx, egress.Peer{
		Host: m.Sender.Host, Port: uint16(m.Sender.Port), // #nosec G115 -- checked when it was configured
		Plain: m.Sender.Security == subscription.NoTLS,
	}, m.Timeout)
	if err != nil {
		return broken(err)
	}
	defer conn.Close()
	d := dialogue{conn: conn, sender: m.Sender}
	err = d.open()
	if err == nil {
		err = d.signIn()
	}
	if err == nil {
		err = d.envelope(to)
	}
	if err == nil {
		err = d.content(c.message(m, to))
	}
	if o, ok := errors.AsType[*refusal](err); ok {
		return o.Outcome, nil
	}
	if err != nil {
		return broken(err)
	}
	d.quit()
	return Outcome{
		Verdict: delivery.Success, AboutMail: true, Step: delivery.StepResponse, Status: d.code, Reply: kept(d.reply),
	}, nil
}

// broken is the outcome of a conversation that broke off.
func broken(err error) (Outcome, error) {
	if errors.Is(err, context.Canceled) {
		return Outcome{}, err
	}
	o := Outcome{Verdict: delivery.Retry, Step: delivery.StepRequest, Reason: "the mail could not be sent"}
	if f, ok := errors.AsType[*egress.Error](err); ok {
		o.Step, o.Reason = delivery.Step(f.Step), f.Reason
	}
	return o, nil
}

// refusal is an Outcome as an error.
type refusal struct{ Outcome }

// Error returns the reason.
func (r *refusal) Error() string { return r.Reason }

// recipient checks whom a mail goes to, and returns the address as it stands
// in the envelope and in the mail: a domain with letters of other scripts in
// its ASCII form (RFC 5890).
func recipient(to string) (string, error) {
	if to == "" {
		return "", errors.New("no address is kept")
	}
	bad := errors.New("the citizen's address is not one that a mail can be sent to")
	a, err := netmail.ParseAddress(to)
	if err != nil || a.Address != to || a.Name != "" || strings.ContainsFunc(to, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`<>[]"\`, r)
	}) {
		return "", bad
	}
	at := strings.LastIndexByte(to, '@')
	if isASCII(to[at:]) {
		return to, nil
	}
	domain, err := idna.Lookup.ToASCII(to[at+1:])
	if err != nil {
		return "", bad
	}
	return to[:at+1] + domain, nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// dialogue is one conversation with a server.
type dialogue struct {
	conn   *egress.Conn
	sender subscription.Mail
	smtp   *smtp.Client
	code   int // of the last reply
	reply  string
}

// heard makes of an error an *egress.Error or, when it is a reply of the
// server's, a refusal: what is what was asked of the server.
func (d *dialogue) heard(err error, what string) error {
	e, ok := errors.AsType[*textproto.Error](err)
	if !ok {
		return d.conn.Fault(egress.StepRequest, err)
	}
	r := &refusal{Outcome{Verdict: delivery.Retry, Step: delivery.StepResponse, Status: e.Code, Reply: kept(e.Msg)}}
	if e.Code < 200 || e.Code > 599 {
		r.Status = 0
		r.Reason = "the mail server's answer cannot be read"
		return r
	}
	r.Reason = fmt.Sprintf("the mail server %s (%d)", what, e.Code)
	return r
}

// judged is heard for what is said of the recipient or of the mail.
func (d *dialogue) judged(err error, forGood, forNow string) error {
	err = d.heard(err, forNow)
	r, ok := errors.AsType[*refusal](err)
	if !ok || r.Status < 400 {
		return err
	}
	r.Verdict, r.AboutMail = delivery.JudgeMail(r.Status)
	switch {
	case r.Verdict == delivery.Refused:
		r.Reason = fmt.Sprintf("the mail server %s (%d)", forGood, r.Status)
	case r.Status > 499:
		r.Reason = fmt.Sprintf("the mail server wants another sign-in (%d)", r.Status)
	case !r.AboutMail:
		r.Reason = fmt.Sprintf("the mail server is closing (%d)", r.Status)
	}
	return r
}

// trouble is a refusal of ours.
func trouble(step delivery.Step, reason string) error {
	return &refusal{Outcome{Verdict: delivery.Retry, Step: step, Reason: reason}}
}

// open greets the server, on a connection that is secured as it is configured.
func (d *dialogue) open() (err error) {
	line := net.Conn(d.conn)
	if d.sender.Security == subscription.ImplicitTLS {
		if line, err = d.conn.Secure(); err != nil {
			return err
		}
	}
	if d.smtp, err = smtp.NewClient(line, d.conn.Host()); err != nil {
		return d.heard(err, "did not welcome us")
	}
	// Not this machine's name, which is nobody's business.
	if err := d.smtp.Hello(d.sender.Domain()); err != nil {
		return d.heard(err, "did not take our greeting")
	}
	if d.sender.Security != subscription.StartTLS {
		return nil
	}
	if offered, _ := d.smtp.Extension("STARTTLS"); !offered {
		return trouble(delivery.StepTLS, "the mail server does not offer STARTTLS, and nothing is sent without it")
	}
	if err := d.smtp.StartTLS(d.conn.TLS()); err != nil {
		state, secured := d.smtp.TLSConnectionState()
		switch {
		case secured && state.HandshakeComplete:
			return d.heard(err, "did not take our greeting")
		case secured:
			return d.conn.TLSFault(err)
		}
		err = d.heard(err, "refused STARTTLS, and nothing is sent without it")
		if r, ok := errors.AsType[*refusal](err); ok {
			r.Step = delivery.StepTLS
		}
		return err
	}
	return nil
}

// signIn proves who we are, when there is a user. The mechanisms are those that
// every server for submission has, and on a secured line no other is better:
// what a server may ask for in the others costs work without a bound.
func (d *dialogue) signIn() error {
	s := d.sender
	if s.User == "" {
		return nil
	}
	_, offered := d.smtp.Extension("AUTH")
	has := func(mechanism string) bool {
		for _, o := range strings.Fields(offered) {
			if strings.EqualFold(o, mechanism) {
				return true
			}
		}
		return false
	}
	inPlain := s.Security == subscription.NoTLS
	var auth smtp.Auth
	switch {
	case has("PLAIN"):
		auth = smtp.PlainAuth("", s.User, s.Password.Reveal(), d.conn.Host(), inPlain)
	case has("LOGIN"):
		auth = smtp.LoginAuth(s.User, s.Password.Reveal(), d.conn.Host(), inPlain)
	default:
		return trouble(delivery.StepRequest, "the mail server offers no sign-in by PLAIN or LOGIN")
	}
	if err := d.smtp.Auth(auth); err != nil {
		return d.heard(err, "refused our sign-in")
	}
	return nil
}

// envelope says from whom and to whom.
func (d *dialogue) envelope(to string) error {
	plain := isASCII(to)
	if utf, _ := d.smtp.Extension("SMTPUTF8"); !plain && !utf {
		return &refusal{Outcome{
			Verdict: delivery.Refused, AboutMail: true, Step: delivery.StepRequest,
			Reason: "the mail server takes no address with letters beyond ASCII, and the citizen's has some",
		}}
	}
	d.smtp.SkipSMTPUTF8(plain) // with it, a mail that needs none may not get far
	if err := d.smtp.Mail("<" + d.sender.From + ">"); err != nil {
		return d.heard(err, "refused our address as the sender's")
	}
	if err := d.smtp.Rcpt("<" + to + ">"); err != nil {
		return d.judged(err, "refused the recipient for good", "did not take the recipient now")
	}
	return nil
}

// content sends the mail itself.
func (d *dialogue) content(m *gomail.Msg) error {
	const forGood, forNow = "refused the mail for good", "did not take the mail now"
	w, err := d.smtp.Data()
	if err != nil {
		return d.judged(err, forGood, forNow)
	}
	if _, err := m.WriteTo(w); err != nil {
		return d.conn.Fault(egress.StepRequest, err)
	}
	err = w.Close()
	if r, ok := w.(*smtp.DataCloser); ok && err == nil {
		d.code, d.reply = 250, r.ServerResponse()
		return nil
	}
	e, ok := errors.AsType[*textproto.Error](err)
	if !ok {
		return d.conn.Fault(egress.StepResponse, err)
	}
	if v, _ := delivery.JudgeMail(e.Code); v == delivery.Success { // another 2yz has taken it all the same
		d.code, d.reply = e.Code, e.Msg
		return nil
	}
	return d.judged(err, forGood, forNow)
}

// quit says good-bye; what comes of it changes nothing.
func (d *dialogue) quit() {
	if d.conn.SetDeadline(time.Now().Add(quitWithin)) == nil {
		_ = d.smtp.Quit() // the mail is handed over
	}
}

// message builds the mail: plain text and HTML, in UTF-8.
func (c *Client) message(m *Mail, to string) *gomail.Msg {
	g := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	g.FromMailAddress(&netmail.Address{Name: m.Sender.FromName, Address: m.Sender.From})
	if m.Sender.ReplyTo != "" {
		g.ReplyToMailAddress(&netmail.Address{Address: m.Sender.ReplyTo})
	}
	g.ToMailAddress(&netmail.Address{Address: to})
	g.Subject(delivery.MailSubject(m.Message.Subject))
	g.SetMessageIDWithValue(delivery.MessageID(m.Message.ID, m.Sender.From))
	g.SetGenHeader(gomail.HeaderDate, delivery.MailDate(m.At))
	g.SetGenHeader("Auto-Submitted", delivery.AutoSubmitted)
	g.SetGenHeader("Content-Language", m.Message.Language)
	g.SetGenHeader(gomail.HeaderUserAgent, c.agent)
	g.SetBodyString(gomail.TypeTextPlain, m.Message.Text)
	g.AddAlternativeString(gomail.TypeTextHTML, m.Message.HTML)
	return g
}

// kept is a reply as it is kept: valid UTF-8 without NUL, at most MaxReply
// bytes, cut between two characters.
func kept(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= MaxReply {
		return s
	}
	n := MaxReply
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
