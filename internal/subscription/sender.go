package subscription

import (
	"strconv"
	"strings"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
)

// The limits of a mail sender's fields, in characters. Those marked ours are
// in no standard.
const (
	MaxHost     = 253 // RFC 1035 2.3.4, as text
	MaxPort     = 65_535
	MaxAddress  = 254 // RFC 5321 4.5.3.1.3: a path of 256 with its brackets
	MaxFromName = 100 // ours
)

// CodeInvalidEmail is the code of what is no mail address.
const CodeInvalidEmail = "invalid_email"

// How a mail sender's connection is secured (RFC 8314).
const (
	StartTLS    = "starttls" // it begins in plain and is secured before anything is said; never without
	ImplicitTLS = "tls"      // secured from the first byte
	NoTLS       = "none"     // plain
)

// The usual ports. Source: RFC 6409 3.1; RFC 8314 3.3.
const (
	PortSubmission  = 587
	PortSubmissions = 465 // ImplicitTLS
)

// DefaultSecurity and DefaultMailsInFlight are what a mail sender gets that
// says nothing. Ours: a mail server counts connections, and few are welcome.
const (
	DefaultSecurity      = StartTLS
	DefaultMailsInFlight = 4
)

// HostCheck tells whether a host may be connected to, as far as that can be
// told before it is dialled (RULES E3 to E6); plain says that nothing will be
// encrypted. Its error names the reason: the code and the sentence of a
// *fault.Error are taken over.
type HostCheck func(host string, port int, plain bool) error

// CodePlainRefused is the code of a HostCheck's error that is about plain.
const CodePlainRefused = "plain_refused"

// SenderDraft is everything that an owner may write on a mail sender, read
// from a request but not checked. Nil pointers, nil slices and empty texts say
// nothing; the default applies.
type SenderDraft struct {
	Host           string
	Port           *int64
	Security       string
	User           string
	Password       SecretInput
	From           string
	FromName       string
	ReplyTo        string
	Status         string
	RetrySchedule  []string
	TimeoutSeconds *int64
	RateLimit      *int64
	MaxInFlight    *int64
}

// Apply checks the draft and returns cur with all editable fields replaced by
// it; cur is unchanged and may be the zero Endpoint.
//
// Every faulty field is returned, its path a JSON Pointer into the request;
// when there is one the endpoint must not be used. A host and port that are
// cur's already are not checked again, unless they become plain. A password
// that is kept while the host or the port changes is "secret_required":
// whoever may edit a sender could else have it sent to himself.
func (d SenderDraft) Apply(cur Endpoint, check HostCheck) (Endpoint, []fault.Field) {
	var v validator
	e := cur
	e.Style, e.Feed, e.UpdateType, e.EventTypes = MailSender, "", "", nil
	e.Auth, e.OnBacklog = Auth{Type: AuthNone}, BacklogAll
	e.Asymmetric, e.SigningKeys = false, nil

	m := Mail{Security: DefaultSecurity, Port: PortSubmission}
	if d.Security != "" && v.oneOf("/security", d.Security, StartTLS, ImplicitTLS, NoTLS) {
		m.Security = d.Security
	}
	if m.Security == ImplicitTLS {
		m.Port = PortSubmissions
	}
	ported := true
	if d.Port != nil {
		before := len(v.fields)
		m.Port = int(v.integer("/port", d.Port, MaxPort))
		ported = len(v.fields) == before
	}
	if m.Host = d.Host; m.Host == "" {
		v.required("/host")
	} else if v.length("/host", m.Host, 1, MaxHost) && ported {
		v.host(m, cur.Mail, check)
	}

	m.User = v.text("/user", d.User, 0, MaxUser)
	switch {
	case d.User != "":
		m.Password = v.secret("/password", d.Password, cur.Mail.Password, true, password)
	case d.Password.Given:
		v.add("/user", CodeRequired, "A password needs its user.")
	}
	if d.From == "" {
		v.required("/from")
	} else {
		m.From = v.address("/from", d.From)
	}
	m.FromName = v.text("/fromName", d.FromName, 0, MaxFromName)
	if d.ReplyTo != "" {
		m.ReplyTo = v.address("/replyTo", d.ReplyTo)
	}
	e.Mail, e.URL = m, m.url()

	e.Status = Active
	if d.Status != "" {
		e.Status = Status(d.Status)
		v.oneOf("/status", d.Status, string(Active), string(Paused))
	}
	e.RetrySchedule = v.schedule(d.RetrySchedule)
	e.Timeout = time.Duration(v.integer("/timeoutSeconds", d.TimeoutSeconds, MaxTimeoutSeconds)) * time.Second
	e.RateLimit = int(v.integer("/rateLimit", d.RateLimit, MaxRateLimit))
	e.MaxInFlight = int(v.integer("/maxInFlight", d.MaxInFlight, MaxInFlightLimit))
	return e, v.fields
}

// host checks where a mail sender connects to.
func (v *validator) host(m, former Mail, check HostCheck) {
	same := canonicalHost(m.Host) == canonicalHost(former.Host) && m.Port == former.Port
	plain := m.Security == NoTLS
	if !same || plain && former.Security != NoTLS {
		if err := check(m.Host, m.Port, plain); err != nil {
			f := asFault(err, CodeInvalidValue, "The host cannot be used.")
			path := "/host"
			if f.Code == CodePlainRefused {
				path = "/security"
			}
			v.add(path, f.Code, f.Msg)
			return
		}
	}
	v.moved = former.Host != "" && !same
}

// canonicalHost returns a host in the one spelling that is compared.
func canonicalHost(h string) string {
	h = strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(h), "["), "]")
	return strings.TrimSuffix(h, ".")
}

// address checks an address of ours that mails name.
func (v *validator) address(path, s string) string {
	if v.length(path, s, 1, MaxAddress) {
		if IsAddress(s) {
			return s
		}
		v.add(path, CodeInvalidEmail, "The address must look like name@example.org.")
	}
	return ""
}

// IsAddress tells whether s is a plain mail address that every mail server
// takes: a dot-atom in ASCII (RFC 5322 3.2.3), "@", and a domain of labels.
func IsAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > MaxAddress { // RFC 5321 4.5.3.1.1
		return false
	}
	for atom := range strings.SplitSeq(s[:at], ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool {
			return !isAlnum(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}) {
			return false
		}
	}
	domain := s[at+1:]
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isAlnum(r) && r != '-' }) {
			return false
		}
	}
	return len(domain) <= MaxHost
}

func isAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// url is how a mail sender is named where an endpoint has its URL.
func (m Mail) url() string {
	host := m.Host
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return "smtp://" + host + ":" + strconv.Itoa(m.Port)
}

// Fields returns the name and the value of each header field that all of a
// sender's mails carry, in a fixed order, as a reader sees them.
func (m Mail) Fields() [][2]string {
	from := m.From
	if m.FromName != "" {
		from = m.FromName + " <" + m.From + ">"
	}
	fs := [][2]string{{"From", from}}
	if m.ReplyTo != "" {
		fs = append(fs, [2]string{"Reply-To", m.ReplyTo})
	}
	return fs
}

// Domain returns what stands behind the "@" of the sender's address.
func (m Mail) Domain() string { return m.From[strings.LastIndexByte(m.From, '@')+1:] }
