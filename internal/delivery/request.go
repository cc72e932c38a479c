package delivery

import (
	"strconv"
	"time"

	"github.com/consentwire/consentwire/internal/event"
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
// CONTRACT 7, those of the authentication last. agent is UserAgent's.
func (d Detail) Request(a AttemptView, agent string) Request {
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

// TestBody returns the body of a test request at an instant. Source:
// CONTRACT 9.
func TestBody(at time.Time) []byte {
	return []byte(`{"type":"` + string(event.WebhookTest) + `","timestamp":"` + event.Format(at) + `"}`)
}
