package delivery

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/mail"
)

// Request is a request as it was sent, every secret masked.
type Request struct {
	Method  string
	URL     string
	Headers []Header
	Body    string
}

// Trial is what a test request to an endpoint came to. It is no delivery: it
// is in no log and blocks no lane.
type Trial struct {
	Delivered bool
	Step      Step // where it ended
	Duration  time.Duration
	Reason    string // in plain words; empty when delivered
	Request   Request
	Response  *Response // nil when there was no complete header block
	Token     *Exchange // the token that was fetched for it; nil: none was
}

// NewShown returns how an endpoint's requests look: its URL and the fields of
// its authentication (name and value), secrets masked already.
func NewShown(url string, fields [][2]string) Shown {
	s := Shown{URL: url}
	for _, f := range fields {
		s.Headers = append(s.Headers, Header{f[0], f[1]})
	}
	return s
}

// The header fields that every delivery carries beside the signature's.
// Source: CONTRACT 7.
const (
	HeaderSubject     = "Consentwire-Subject"
	HeaderSequence    = "Consentwire-Sequence"
	HeaderAttempt     = "Consentwire-Attempt"
	HeaderInteraction = "X-Webhook-Interaction-Id"
	HeaderReplay      = "webhook-replay"
)

// UserAgent returns how we name ourselves to a receiver. Source: CONTRACT 7.
func UserAgent(version string) string { return "Consentwire/" + version }

// Request rebuilds the request of one attempt, its fields in the order of
// CONTRACT 7, those of the authentication last. agent is UserAgent's. That of a
// mail sender shows the mail's header fields as a reader sees them, and the
// body of the event from which the mail was made.
func (d Detail) Request(a AttemptView, agent string) Request {
	if d.MailSender {
		return d.mail(a, agent)
	}
	h := []Header{
		{"Content-Type", "application/json"},
		{"User-Agent", agent},
		{"webhook-id", d.EventID},
		{"webhook-timestamp", strconv.FormatInt(a.Timestamp, 10)},
		{"webhook-signature", a.Signature},
		{HeaderSubject, d.Subject},
		{HeaderSequence, strconv.FormatInt(d.Sequence, 10)},
		{HeaderAttempt, strconv.Itoa(a.N)},
		{HeaderInteraction, a.InteractionID},
	}
	if a.Replay {
		h = append(h, Header{HeaderReplay, "true"})
	}
	return Request{Method: "POST", URL: a.Shown.URL, Headers: append(h, a.Shown.Headers...), Body: string(d.Body)}
}

// mail is Request for a mail sender. Of an event that was erased nothing but
// what every mail carries is left.
func (d Detail) mail(a AttemptView, agent string) Request {
	h := a.Shown.Headers[:len(a.Shown.Headers):len(a.Shown.Headers)]
	if m, err := mail.Parse(d.Body); err == nil {
		h = append(h, Header{"To", m.To}, Header{"Subject", MailSubject(m.Subject)})
		for _, f := range h {
			if f.Name == "From" {
				h = append(h, Header{"Message-ID", "<" + MessageID(m.ID, strings.TrimSuffix(f.Value, ">")) + ">"})
				break
			}
		}
		h = append(h, Header{"Content-Language", m.Language})
	}
	h = append(h,
		Header{"Date", MailDate(time.Unix(a.Timestamp, 0))},
		Header{"Auto-Submitted", AutoSubmitted},
		Header{"User-Agent", agent},
		Header{"MIME-Version", "1.0"},
		Header{"Content-Type", "multipart/alternative"},
	)
	return Request{Method: "SMTP", URL: a.Shown.URL, Headers: h, Body: string(d.Body)}
}

// AutoSubmitted is what a mail says of itself, so that no machine answers it.
// Source: RFC 3834 section 5.
const AutoSubmitted = "auto-generated"

// MessageID returns the identifier of a mail, without its brackets: the same
// for each attempt. from is the sender's address. Source: RFC 5322 3.6.4.
func MessageID(id, from string) string { return id + from[strings.LastIndexByte(from, '@'):] }

// MailDate returns an instant as a mail's date. Source: RFC 5322 3.3.
func MailDate(at time.Time) string { return at.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// maxSubject bounds a mail's subject in bytes: a line of a mail has at most 998
// (RFC 5322 2.1.1).
const maxSubject = 900

// MailSubject returns a subject as it can stand in a header field: one line
// without control characters, its words one space apart, cut between two
// characters.
func MailSubject(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(s) <= maxSubject {
		return s
	}
	n := maxSubject
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimRight(s[:n], " ")
}

// TestBody returns the body of a test request at an instant. Source:
// CONTRACT 9.
func TestBody(at time.Time) []byte {
	return []byte(`{"type":"` + string(event.WebhookTest) + `","timestamp":"` + event.Format(at) + `"}`)
}
