package wire

import (
	"time"

	"github.com/consentwire/consentwire/internal/body"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/subscription"
)

// MailSenderBody is a mail sender as a read shows it; the password never is.
type MailSenderBody struct {
	MailSenderID   string      `json:"mailSenderId"`
	ApplicationID  string      `json:"applicationId"`
	Host           string      `json:"host"`
	Port           int         `json:"port"`
	Security       string      `json:"security"`
	User           string      `json:"user,omitempty"`
	Password       *Hidden     `json:"password,omitempty"`
	PasswordSet    bool        `json:"passwordSet,omitempty"`
	From           string      `json:"from"`
	FromName       string      `json:"fromName,omitempty"`
	ReplyTo        string      `json:"replyTo,omitempty"`
	Status         string      `json:"status"` // active or paused
	StatusReason   string      `json:"statusReason,omitempty"`
	RetrySchedule  []string    `json:"retrySchedule,omitempty"`
	TimeoutSeconds int         `json:"timeoutSeconds,omitempty"`
	RateLimit      int         `json:"rateLimit,omitempty"`
	MaxInFlight    int         `json:"maxInFlight"`
	Backlog        BacklogBody `json:"backlog"`
	Discarded      int         `json:"discarded"` // since it was last paused by its owner
	Lost           *LossBody   `json:"lost,omitempty"`
	Circuit        CircuitBody `json:"circuit"`
	CreatedAt      string      `json:"createdAt"`
	UpdatedAt      string      `json:"updatedAt"`
}

// MailSender shows a mail sender and how it does. It never shows a secret.
func MailSender(e subscription.Endpoint, h delivery.Health) MailSenderBody {
	m := e.Mail
	b := MailSenderBody{
		MailSenderID:   string(e.ID),
		ApplicationID:  e.Application,
		Host:           m.Host,
		Port:           m.Port,
		Security:       m.Security,
		User:           m.User,
		Password:       hide(m.Password.IsSet()),
		PasswordSet:    m.Password.IsSet(),
		From:           m.From,
		FromName:       m.FromName,
		ReplyTo:        m.ReplyTo,
		Status:         shownStatus(e),
		StatusReason:   e.StatusReason,
		TimeoutSeconds: int(e.Timeout / time.Second),
		RateLimit:      e.RateLimit,
		MaxInFlight:    e.MaxInFlight,
		Backlog:        backlog(h),
		Discarded:      h.Discarded,
		Lost:           lost(h.Lost),
		Circuit:        circuit(h.Breaker),
		CreatedAt:      event.Format(e.CreatedAt),
		UpdatedAt:      event.Format(e.UpdatedAt),
	}
	if b.MaxInFlight == 0 {
		b.MaxInFlight = subscription.DefaultMailsInFlight
	}
	for _, d := range e.RetrySchedule {
		b.RetrySchedule = append(b.RetrySchedule, subscription.FormatWait(d))
	}
	return b
}

// readSender reads the members of a mail sender. Faults go the way of
// ReadSubscription.
func readSender(o *body.Object, mode Mode) subscription.SenderDraft {
	refuse(o, []string{"mailSenderId", "applicationId", "statusReason", "backlog", "discarded", "circuit", "createdAt", "updatedAt"})
	return subscription.SenderDraft{
		Host:           o.Str("host", body.Required),
		Port:           o.OptInt("port", 1, subscription.MaxPort),
		Security:       text(o, "security"),
		User:           text(o, "user"),
		Password:       readSecret(o, "password", mode),
		From:           o.Str("from", body.Required),
		FromName:       o.Str("fromName", body.Optional),
		ReplyTo:        text(o, "replyTo"),
		Status:         text(o, "status"),
		RetrySchedule:  o.Strings("retrySchedule", body.Optional),
		TimeoutSeconds: o.OptInt("timeoutSeconds", 1, subscription.MaxTimeoutSeconds),
		RateLimit:      o.OptInt("rateLimit", 1, subscription.MaxRateLimit),
		MaxInFlight:    o.OptInt("maxInFlight", 1, subscription.MaxInFlightLimit),
	}
}

// ReplaceSender reads and checks a mail sender (PUT) that is to replace cur,
// which is the zero Endpoint when there is none. The error is a fault.Invalid
// that lists every faulty field. It may be called again with the same n.
func ReplaceSender(n body.Node, cur subscription.Endpoint, check subscription.HostCheck) (subscription.Endpoint, error) {
	o, err := body.NewObject(n)
	if err != nil {
		return cur, err
	}
	return applySender(o, cur, Write, check)
}

// PatchSender applies a merge patch (RFC 7396) to cur and checks what comes
// out; see Patch for the password. Results and errors as of ReplaceSender.
func PatchSender(patch body.Node, cur subscription.Endpoint, check subscription.HostCheck) (subscription.Endpoint, error) {
	if _, err := body.NewObject(patch); err != nil {
		return cur, err
	}
	target := editableSender(cur)
	known := []string{
		"host", "port", "security", "user", "password", set("password"), "from", "fromName", "replyTo",
		"status", "retrySchedule", "timeoutSeconds", "rateLimit", "maxInFlight",
	}
	unknown := nullsBut(nil, patch, "", known...)
	// Another way to secure the line has another port, unless one is chosen.
	if _, secured := patch.Member("security"); secured && cur.Mail.Port == usualPort(cur.Mail.Security) {
		target = target.Without("port")
	}
	o, err := body.NewObject(body.Merge(target, keep(patch, "password")))
	if err != nil {
		return cur, err
	}
	for _, path := range unknown {
		o.Fault(path, body.CodeUnknownMember, "This member is not known here; leave it out.")
	}
	return applySender(o, cur, Patched, check)
}

func applySender(o *body.Object, cur subscription.Endpoint, mode Mode, check subscription.HostCheck) (subscription.Endpoint, error) {
	e, fields := readSender(o, mode).Apply(cur, check)
	o.Add(fields...)
	if err := o.Err(); err != nil {
		return cur, err
	}
	return e, nil
}

func usualPort(security string) int {
	if security == subscription.ImplicitTLS {
		return subscription.PortSubmissions
	}
	return subscription.PortSubmission
}

// editableSender returns what an owner may write of e as a request would; a
// password that is set is null.
func editableSender(e subscription.Endpoint) body.Node {
	m := e.Mail
	n := str(body.OfObject(), "host", m.Host)
	n = n.With("port", body.OfInt(int64(m.Port)))
	n = str(n, "security", m.Security)
	n = str(n, "user", m.User)
	n = null(n, "password", m.Password.IsSet())
	n = str(n, "from", m.From)
	n = str(n, "fromName", m.FromName)
	n = str(n, "replyTo", m.ReplyTo)
	n = str(n, "status", shownStatus(e))
	if len(e.RetrySchedule) > 0 {
		n = n.With("retrySchedule", ofStrings(e.RetrySchedule, time.Duration.String))
	}
	for name, i := range map[string]int64{
		"timeoutSeconds": int64(e.Timeout / time.Second), "rateLimit": int64(e.RateLimit), "maxInFlight": int64(e.MaxInFlight),
	} {
		if i != 0 {
			n = n.With(name, body.OfInt(i))
		}
	}
	return n
}
